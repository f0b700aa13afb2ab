"""The tables of every job: accuracies, costs, divergence at chance, arms without a match, provenance."""

import json
import math

import pytest
import torch

from prunebench.errors import InputError
from prunebench.runs import device, job, prune
from prunebench.runs.spec import RunSpec

DENSE = 2 * (64 * 13 + 13 * 10)
"""FLOPs of the MLP for one image: 64 inputs, 13 hidden units, 10 classes; a weight multiplies and adds."""


# --- Accuracies


def test_accuracies_and_losses_are_those_of_the_final_network(workshop, digits):
    """Against a plain forward pass in float64, image by image."""
    phases = [workshop.phase(), workshop.phase(prune=[workshop.prune(0.5)])]
    spec = workshop.spec(phases, network=workshop.resnet, evaluate_train=True)
    seen = workshop.watch(spec)
    model = workshop.job(spec).network().double().eval()
    for row, number in zip(seen.rows("phases"), (0, 1), strict=True):
        model.load_state_dict(seen.end(phase=number).weights)
        for name, split in (("train", digits.train), ("validation", digits.validation), ("test", digits.test)):
            losses, hits = [], 0
            for image, label in zip(split.images, split.labels, strict=True):
                logits = model((image.double()[None] / 255 - digits.mean[0]) / digits.std[0]).detach()[0]
                losses.append(float(torch.logsumexp(logits, 0) - logits[label]))
                hits += int(logits.argmax()) == int(label)
            assert float(row[f"{name}_accuracy"]) == hits / len(split)
            assert float(row[f"{name}_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-4)
        last = seen.rows("epochs", phase=number)[-1]
        assert all(last[name] == row[name] for name in ("validation_loss", "validation_accuracy"))


def test_a_phase_without_training_is_evaluated(workshop):
    """A prune alone: its accuracy is that of the pruned network, its cost nothing."""
    phases = [workshop.phase(keep=[2]), workshop.phase(prune=[workshop.prune(0.9)], epochs=0)]
    row, cut = workshop.rows(workshop.run(workshop.spec(phases)), "phases")
    assert cut["validation_loss"] != row["validation_loss"]
    assert [float(cut[k]) for k in ("steps", "images", "flops", "flops_sparse")] == [0, 0, 0, 0]


# --- Costs


def test_cost_counts_updates_images_and_flops(workshop):
    cuts = [workshop.prune(s, "layer_magnitude") for s in (0.5, 0.75)]
    seen = workshop.watch(workshop.spec([workshop.phase(prune=[cuts[0]]), workshop.phase(prune=[cuts[1]], epochs=1)]))
    images, left = 3 * 64, [416 + 65, 416 + 65, 208 + 33]
    assert [int(row["steps"]) for row in seen.rows("epochs")] == [3, 6, 9]
    for number, row in enumerate(seen.rows("epochs"), 1):
        assert float(row["flops"]) == 3 * images * DENSE * number
        assert float(row["flops_sparse"]) == pytest.approx(3 * images * 2 * sum(left[:number]), rel=1e-12)
    for row, epochs, alive in zip(seen.rows("phases"), (2, 1), left[1:], strict=True):
        assert (int(row["steps"]), int(row["images"])) == (3 * epochs, images * epochs)
        assert float(row["flops"]) == 3 * images * epochs * DENSE
        assert float(row["flops_sparse"]) == pytest.approx(3 * images * epochs * 2 * alive, rel=1e-12)
        assert float(row["seconds"]) > 0
        assert float(row["peak_memory_mb"]) > 0


def test_sparse_flops_of_a_ramp_are_those_of_each_update_s_masks(workshop):
    ramp = workshop.prune(0.8, ramp={"share": 0.9, "every": 1})
    phases = [workshop.phase(prune=[workshop.prune(0.2)], epochs=1), workshop.phase(prune=[ramp], epochs=3)]
    seen = workshop.watch(workshop.spec(phases))
    costs = [3 * 64 * 2 * moment.alive for moment in seen.moments]
    assert len(set(costs)) > 5
    for row in seen.rows("epochs"):
        assert float(row["flops_sparse"]) == pytest.approx(sum(costs[: int(row["steps"])]), rel=1e-6)
    for row, part in zip(seen.rows("phases"), (costs[:3], costs[3:]), strict=True):
        assert float(row["flops_sparse"]) == pytest.approx(sum(part), rel=1e-6)


def test_sparse_flops_of_an_update_that_makes_zeros_are_those_of_each_epoch_s_end(workshop):
    seen = workshop.watch(workshop.spec([workshop.phase(update={"kind": "grda", "c": 0.2, "mu": 0.6})]))
    alive = [sum(int((w != 0).sum()) for w in m.prunable.values()) for m in (seen.at(done=3), seen.end())]
    assert alive[1] < alive[0] < DENSE // 2
    expected = [3 * 3 * 64 * 2 * n for n in (alive[0], sum(alive))]
    assert [float(row["flops_sparse"]) for row in seen.rows("epochs")] == pytest.approx(expected, rel=1e-6)


# --- Divergence


def assert_at_chance(rows):
    for row in rows:
        assert (row["status"], row["validation_accuracy"], row["test_accuracy"]) == ("diverged", "0.1", "0.1")
        assert (row["validation_loss"], row["test_loss"]) == ("", "")


def assert_free(rows):
    for row in rows:
        assert [float(row[k]) for k in ("steps", "images", "flops", "flops_sparse", "seconds")] == [0] * 5


@pytest.mark.parametrize("network", ["mlp", "resnet"])
@pytest.mark.parametrize("criterion", ["global_magnitude", "global_gradient", "layer_weight_times_change"])
@pytest.mark.parametrize("first", [0, 1])
def test_an_arm_that_diverges_stands_at_chance_in_all_its_later_phases(workshop, network, criterion, first):
    probes = [{"kind": "gradients", "images": 50}, {"kind": "shedding"}]
    lrs = [*[0.05] * first, *[1e30] * (3 - first)]
    prunes = [[], [workshop.prune(0.5, criterion)], [workshop.prune(0.75, criterion)]]
    phases = [
        workshop.phase(max_lr=lr, prune=p, probes=probes, keep_previous=True) for lr, p in zip(lrs, prunes, strict=True)
    ]
    arms = [
        {"name": "late", "phases": phases},
        {"name": "control", "phases": [workshop.phase(probes=probes)], "follows": ["late"]},
    ]
    seen = workshop.watch(workshop.spec(*arms, network=getattr(workshop, network)))
    rows = seen.rows("phases", arm="late")
    assert [row["status"] for row in rows[:first]] == ["trained"] * first
    assert_at_chance(rows[first:])
    assert_free(rows[first + 1 :])
    assert [float(row["max_lr"]) for row in rows] == lrs
    assert [float(row["sparsity"]) for row in rows] == pytest.approx([0, 0.5, 0.75], abs=1e-3)
    assert all(float(row["density"]) == 1 - float(row["sparsity"]) for row in rows[first:])
    ended = [str(n) for n in range(first)]  # a lost network has no gradients at the end of its phase
    gradients = seen.rows("gradients", arm="late")
    assert list(dict.fromkeys(row["phase"] for row in gradients if row["share"] == "1.0")) == ended
    assert [row["status"] for row in seen.rows("phases", arm="control")] == ["trained"]


def test_divergence_in_the_last_update_is_seen(workshop):
    """The loss of the last update is that of the weights before it: finite, while the network is lost."""
    lrs = (0.05, 1e30, 0.05)
    phases = [workshop.phase(epochs=1, max_lr=lr, profile={"kind": "constant"}) for lr in lrs]
    rows = workshop.rows(workshop.run(workshop.spec(phases, batch_size=192)), "phases")
    assert rows[0]["status"] == "trained"
    assert_at_chance(rows[1:])


def test_gradients_that_are_not_finite_end_an_arm_like_a_diverged_one(workshop, monkeypatch):
    mean_gradients = prune.mean_gradients

    def broken(*arguments):
        return {name: gradient * math.inf for name, gradient in mean_gradients(*arguments).items()}

    monkeypatch.setattr(prune, "mean_gradients", broken)
    cuts = [workshop.prune(0.3), workshop.prune(0.5, "global_gradient"), workshop.prune(0.8)]
    phases = [workshop.phase(prune=[cut], epochs=1) for cut in cuts]
    seen = workshop.watch(workshop.spec(phases, [workshop.phase(prune=[workshop.prune()])]))
    rows = seen.rows("phases")
    assert [(row["arm"], row["phase"]) for row in rows] == [("arm0", str(n)) for n in range(3)] + [("arm1", "0")]
    assert [row["status"] for row in rows] == ["trained", "diverged", "diverged", "trained"]
    assert_at_chance(rows[1:3])
    assert_free(rows[2:3])
    assert [row["steps"] for row in rows] == ["3", "0", "0", "6"]
    assert [float(row["sparsity"]) for row in rows[:3]] == pytest.approx([0.3, 0.5, 0.8], abs=1e-3)
    assert {(m.arm, m.phase) for m in seen.moments} == {("arm0", 0), ("arm1", 0)}


@pytest.mark.parametrize("epochs", [1, 2])
def test_from_a_diverged_network_every_phase_is_recorded_as_diverged_and_nothing_is_trained(workshop, epochs):
    lost = workshop.spec([workshop.phase(max_lr=1e30, epochs=epochs, keep=[epochs])], hands_on="kept")
    workshop.run(lost)
    probes = [{"kind": "shedding"}, {"kind": "histograms"}, {"kind": "occupancy", "sizes": [4]}]
    arm = {
        "start": workshop.trained(lost),
        "phases": [workshop.phase(prune=[workshop.prune(s)], probes=probes) for s in (0.5, 0.75)],
    }
    spec = workshop.spec({"name": "a"} | arm, {"name": "b", "follows": ["a"]} | arm)
    seen = workshop.watch(spec)
    rows = seen.rows("phases")
    assert [(row["arm"], row["phase"]) for row in rows] == [(a, p) for a in "ab" for p in "01"]
    assert_at_chance(rows)
    assert_free(rows[1::2])
    for row in rows:
        assert [float(row[k]) for k in ("steps", "images", "flops", "flops_sparse", "clock")] == [0] * 5
    assert not seen.moments
    assert all(not seen.rows(table) for table in spec.tables if table != "phases")


# --- Matched arms


def test_a_matched_prune_has_exactly_the_other_network_s_number_of_zeros(workshop):
    grda = {"kind": "grda", "c": 0.3, "mu": 0.6}
    sparse = workshop.spec([workshop.phase(update=grda, keep=[2], probes=[{"kind": "layers"}])], hands_on="kept")
    layers = workshop.rows(workshop.run(sparse), "layers")
    alive = sum(int(row["alive"]) for row in layers)
    assert 0 < alive < sum(int(row["weights"]) for row in layers)
    matched = {"kind": "matched", "criterion": "global_magnitude", "like": workshop.trained(sparse)}
    ramp = matched | {"ramp": {"share": 0.5, "every": 1}}
    seen = workshop.watch(workshop.spec([workshop.phase(prune=[matched])], [workshop.phase(prune=[ramp])]))
    assert [seen.end(arm).alive for arm in ("arm0", "arm1")] == [alive, alive]
    assert seen.at().alive == alive
    assert seen.at("arm1").alive > seen.at("arm1", done=2).alive > alive


def test_an_arm_matched_to_a_lost_network_is_unmatched_and_stands_nowhere(workshop):
    lost = workshop.spec([workshop.phase(max_lr=1e30, keep=[2])], hands_on="kept")
    empty = workshop.spec([workshop.phase(update={"kind": "grda", "c": 1e6, "mu": 0.6}, keep=[2])], hands_on="kept")
    for like in (lost, empty):
        workshop.run(like)
        prunes = [{"kind": "matched", "criterion": "global_magnitude", "like": workshop.trained(like)}]
        seen = workshop.watch(workshop.spec([workshop.phase(), workshop.phase(prune=prunes)], [workshop.phase()]))
        rows = seen.rows("phases")
        assert [row["status"] for row in rows] == ["unmatched", "unmatched", "trained"]
        assert_free(rows[1:2])
        assert {row[name] for row in rows[:2] for name in ("validation_accuracy", "test_accuracy")} == {""}
        assert {moment.arm for moment in seen.moments} == {"arm1"}


# --- Provenance


@pytest.mark.parametrize("threads", [1, 2])
def test_provenance_says_what_a_result_depends_on(workshop, digits, threads):
    torch.set_num_threads(threads)
    spec = workshop.spec([workshop.phase(epochs=1)])
    out = workshop.run(spec)
    record = json.loads((out / "provenance.json").read_text())
    assert (record["threads"], record["precision"]) == (threads, "fp32")
    assert record["data_sha256"] == digits.checksum
    assert record["torch"] == torch.__version__
    assert len(record["source_digest"]) == 64
    stored = RunSpec.model_validate(json.loads((out / "spec.json").read_text()))
    assert stored == spec
    assert stored.digest() == spec.digest()
    assert {path.name for path in out.iterdir()} == {*spec.files, "run.sha256"}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_precision_is_used_and_recorded(workshop, monkeypatch, precision):
    used, autocast = [], job.autocast

    def heard(name, where):
        used.append(name)
        return autocast(name, where)

    monkeypatch.setattr(job, "autocast", heard)
    out = workshop.run(workshop.spec([workshop.phase(epochs=1)], precision=precision))
    assert json.loads((out / "provenance.json").read_text())["precision"] == precision
    assert set(used) == {precision}


@pytest.mark.parametrize(
    ("flag", "native"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512f", False), ("avx2", False)]
)
def test_bf16_is_refused_where_a_cpu_would_emulate_it(monkeypatch, flag, native):
    cpu = torch.device("cpu")
    monkeypatch.setattr(device, "cpu_flags", lambda: {flag})
    device.check_precision("fp32", cpu)
    if native:
        device.check_precision("bf16", cpu)
    else:
        with pytest.raises(InputError, match=r"precision: bf16, but .* has no native bf16: ask for fp32"):
            device.check_precision("bf16", cpu)


def test_bf16_trains_otherwise_than_fp32(workshop):
    losses = [
        workshop.rows(workshop.run(workshop.spec([workshop.phase()], precision=name)), "epochs")[0]["train_loss"]
        for name in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
