"""The engine: what a phase does, what a killed job ends with, what selects nothing."""

import dataclasses

import pytest
import safetensors.torch
import torch

from prunebench.errors import InputError
from prunebench.pruning.masks import sparsity
from prunebench.runs import engine

UPDATES = {
    "sgd": {"kind": "sgd"},
    "momentum": {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"kind": "nesterov"},
    "adamw": {"kind": "adamw"},
    "grda": {"kind": "grda", "c": 0.05, "mu": 0.6},
    "proximal_l1": {"kind": "proximal_l1", "l1": 0.01, "momentum": 0.9},
    "torch": {"kind": "torch", "optimizer": "torch.optim:Adam", "keywords": {"betas": [0.8, 0.99]}},
}


def chain(workshop, update=None, **keys):
    """A dense phase and two prunes, each trained again."""
    made = {"update": update} if update else {}
    prunes = [[], [workshop.prune(0.5)], [workshop.prune(0.75)]]
    return [
        workshop.phase(prune=prune, keep=[0, 1], axes={"cycle": n}, **made, **keys) for n, prune in enumerate(prunes)
    ]


def watch(monkeypatch, see):
    """Calls `see(view)` before every update."""
    original = engine.follow_ramp_

    def seen(view, *rest):
        see(view)
        return original(view, *rest)

    monkeypatch.setattr(engine, "follow_ramp_", seen)


# --- Killed and resumed


@pytest.mark.parametrize("update", UPDATES)
def test_a_chain_under_any_update_killed_before_every_update_ends_with_the_same_bytes(workshop, update):
    spec = workshop.spec(chain(workshop, UPDATES[update]), hands_on="kept")
    killed, deaths = workshop.killed_often(spec)
    assert deaths > 15
    assert workshop.results(killed) == workshop.results(workshop.run(spec))


def kinds(workshop):
    prune, phase = workshop.prune, workshop.phase
    ramp = {"share": 0.8, "every": 2}
    probes = [{"kind": "shedding", "removable_images": 32}, {"kind": "histograms"}, {"kind": "layers"}]
    return {
        "rewound weights": [
            [phase(keep=[1]), phase(prune=[prune()], rewind=1, epochs=1, first_epoch=1, profile_epochs=2)]
        ],
        "drawn anew": [[phase(), phase(prune=[prune()], reinitialise=1)]],
        "a carried state": [
            [phase(epochs=1, profile_epochs=2), phase(epochs=1, profile_epochs=2, first_epoch=1, carry=True)]
        ],
        "a ramp": [[phase(prune=[prune(0.8, ramp=ramp)])]],
        "a gradient criterion": [[phase(), phase(prune=[prune(criterion="global_gradient")])]],
        "weights of an epoch before": [
            [phase(keep_previous=True), phase(prune=[prune(criterion="global_weight_change")], keep_previous=True)]
        ],
        "patterns": [
            [phase(prune=[{"kind": "n_of_m", "n": 2, "m": 4}]), phase(prune=[{"kind": "n_of_m", "n": 1, "m": 4}])]
        ],
        "gradients measured": [[phase(probes=[{"kind": "gradients", "images": 64}])]],
        "arms and a control": [
            [phase(prune=[prune()], probes=probes)],
            {"name": "control", "phases": [phase(probes=probes)], "follows": ["arm0"]},
        ],
    }


@pytest.mark.parametrize(
    "kind",
    [
        *("rewound weights", "drawn anew", "a carried state", "a ramp", "a gradient criterion"),
        *("weights of an epoch before", "patterns", "gradients measured", "arms and a control"),
    ],
)
def test_any_kind_of_phase_killed_before_every_update_ends_with_the_same_bytes(workshop, kind):
    network = workshop.resnet if kind == "drawn anew" else workshop.mlp
    if kind == "patterns":
        network = {"kind": "mlp", "depth": 1, "width": 0.0625}
    spec = workshop.spec(*kinds(workshop)[kind], network=network, hands_on="masks")
    killed, deaths = workshop.killed_often(spec, every=2)
    assert deaths > 2
    assert workshop.results(killed) == workshop.results(workshop.run(spec))


def test_saving_changes_no_result_and_a_done_job_leaves_no_resume_file(workshop):
    spec = workshop.spec(chain(workshop))
    one, other = workshop.run(spec), workshop.run(spec, workshop.runs / "again")
    assert workshop.results(one) == workshop.results(other)
    assert not list(workshop.runs.rglob(".resume*"))


@pytest.mark.parametrize("damage", ["text", "another spec"])
def test_a_resume_file_that_is_damaged_or_another_job_s_is_named_and_ignored(workshop, capsys, damage):
    spec = workshop.spec(chain(workshop))
    out = workshop.runs / "killed"
    out.mkdir()
    if damage == "text":
        (out / ".resume.safetensors").write_text("no tensors")
    else:
        other = workshop.spec(chain(workshop), seed=1)
        assert workshop.run(other, out, kill_at=4) is None
    assert workshop.results(workshop.run(spec, out)) == workshop.results(workshop.run(spec))
    assert "starting from the beginning" in capsys.readouterr().out


# --- Starts


def test_a_chain_from_another_job_s_network_is_one_that_trains_it_itself(workshop):
    dense, *cycles = chain(workshop)
    whole = workshop.run(workshop.spec([dense, *cycles]))
    dense_kept = workshop.spec([dense | {"keep": [0, 1, 2]}], hands_on="kept")
    workshop.run(dense_kept)
    rest = workshop.run(workshop.spec({"start": workshop.trained(dense_kept), "phases": cycles}))
    ends = [row["test_accuracy"] for row in workshop.rows(whole, "phases")]
    assert [row["test_accuracy"] for row in workshop.rows(rest, "phases")] == ends[1:]


def test_a_network_of_another_spec_is_refused(workshop):
    first = workshop.spec([workshop.phase(keep=[2])], hands_on="kept")
    workshop.run(first)
    start = workshop.trained(first) | {"spec": "0" * 64}
    with pytest.raises(InputError, match="spec"):
        workshop.run(workshop.spec({"start": start, "phases": [workshop.phase()]}))


def test_weights_of_a_file_are_a_start(workshop):
    from prunebench.models import build

    model = build(workshop.spec([workshop.phase()]).network, classes=10, in_channels=1, image_size=8, seed=7)
    path = workshop.runs / "weights.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    spec = workshop.spec(
        {"start": {"kind": "file", "path": str(path)}, "phases": [workshop.phase(epochs=0, keep=[0])]}, hands_on="kept"
    )
    out = workshop.run(spec)
    kept = safetensors.torch.load_file(out / "networks.safetensors")
    for name, tensor in model.state_dict().items():
        assert any(key.endswith(name) and torch.equal(kept[key], tensor) for key in kept)


# --- Phases


def test_counts_are_exact_and_pruned_weights_stay_zero_after_every_update(workshop, monkeypatch):
    seen = []

    def see(view):
        for name, parameter in view.job.prunable(view.state.model).items():
            assert not parameter[~view.state.masks[name]].any()
        seen.append(sparsity(view.state.masks))

    watch(monkeypatch, see)
    out = workshop.run(workshop.spec(chain(workshop)))
    assert {0.0, 0.5, 0.75} == {round(share, 2) for share in seen}
    assert [round(float(row["sparsity"]), 2) for row in workshop.rows(out, "phases")] == [0, 0.5, 0.75]


@pytest.mark.parametrize("update", ["momentum", "grda", "adamw"])
def test_a_leg_from_a_rewound_epoch_begins_with_the_state_of_those_weights(workshop, monkeypatch, update):
    """gRDA's accumulators are the rewound weights, not zeros; momentum and moments begin at zero."""
    phase, made = workshop.phase, {"update": UPDATES[update]}
    first = {}

    def see(view):
        if view.number == 1 and not first:
            first.update({name: [t.clone() for t in group] for name, group in view.state.update.tensors.items()})
            first["weights"] = [p.detach().clone() for p in view.trained_parameters()]

    watch(monkeypatch, see)
    leg = phase(prune=[workshop.prune()], rewind=1, epochs=1, first_epoch=1, profile_epochs=2, **made)
    workshop.run(workshop.spec([phase(keep=[1], **made), leg]))
    weights = first.pop("weights")
    assert first
    for name, group in first.items():
        wanted = weights if name == "accumulator" else [torch.zeros_like(w) for w in weights]
        assert all(torch.equal(a, b) for a, b in zip(group, wanted, strict=True)), name


def test_every_recorded_lr_is_the_profile_s(workshop):
    spec = workshop.spec([workshop.phase(epochs=3, profile_epochs=4, first_epoch=1, max_lr=0.3)])
    rows = workshop.rows(workshop.run(spec), "epochs")
    profile = spec.arms[0].phases[0].profile
    last = [profile.lr(3 * (1 + epoch) - 1, 12, 0.3) for epoch in (1, 2, 3)]
    assert [float(row["lr"]) for row in rows] == pytest.approx(last)


def test_the_clock_is_weight_decay_times_the_sum_of_the_lr(workshop):
    decay = {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.05}
    spec = workshop.spec([workshop.phase(update=decay), workshop.phase(update={"kind": "sgd"})])
    rows = workshop.rows(workshop.run(spec), "phases")
    phase = spec.arms[0].phases[0]
    total = 0.05 * sum(phase.lr(step, 3) for step in range(6))
    assert [float(row["clock"]) for row in rows] == pytest.approx([total, total], rel=1e-12)


def test_phases_of_one_order_see_the_same_images(workshop):
    spec = workshop.spec(
        [workshop.phase(max_lr=0.01)], [workshop.phase(max_lr=0.01)], [workshop.phase(max_lr=0.01, order=5)]
    )
    rows = workshop.rows(workshop.run(spec), "phases")
    ends = [row["test_loss"] for row in rows]
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_divergence_is_a_result_and_later_phases_stand_at_chance(workshop, network):
    phases = chain(workshop)
    phases[1]["max_lr"] = 1e30
    out = workshop.run(workshop.spec(phases, [workshop.phase()], network=getattr(workshop, network)))
    rows = workshop.rows(out, "phases")
    assert [row["status"] for row in rows] == ["trained", "diverged", "diverged", "trained"]
    assert [float(row["test_accuracy"]) for row in rows[1:3]] == [0.1, 0.1]


def test_the_test_split_selects_nothing(workshop, digits):
    """With other test images every number but those of the test split is the same."""
    spec = workshop.spec(chain(workshop), [workshop.phase(max_lr=0.02)], hands_on="best")
    test = dataclasses.replace(digits.test, labels=digits.test.labels.flip(0))
    one = workshop.results(workshop.run(spec))
    other = workshop.results(workshop.run(spec, workshop.runs / "other", data=dataclasses.replace(digits, test=test)))

    def without_test(results):
        rows = [{k: v for k, v in row.items() if not k.startswith("test_")} for row in results["phases.csv"]]
        return results | {"phases.csv": rows}

    assert one != other
    assert without_test(one) == without_test(other)


def test_sparse_flops_of_a_ramp_are_those_of_each_update_s_own_masks(workshop):
    prune = workshop.prune(0.8, ramp={"share": 1.0, "every": 1})
    gradual, dense, at_once = (
        workshop.rows(workshop.run(workshop.spec([workshop.phase(prune=p)])), "phases")[0]
        for p in ([prune], [], [workshop.prune(0.8)])
    )
    assert float(dense["flops_sparse"]) == float(dense["flops"]) == float(gradual["flops"])
    assert float(at_once["flops_sparse"]) < float(gradual["flops_sparse"]) < float(dense["flops"])


def test_a_matched_prune_ends_at_the_other_network_s_number_of_zeros(workshop):
    grda = {"kind": "grda", "c": 0.3, "mu": 0.6}
    sparse = workshop.spec([workshop.phase(update=grda, keep=[2], probes=[{"kind": "weights"}])], hands_on="kept")
    out = workshop.run(sparse)
    like = workshop.trained(sparse)
    prune = {"kind": "matched", "criterion": "global_magnitude", "like": like}
    rows = workshop.rows(workshop.run(workshop.spec([workshop.phase(prune=[prune])])), "phases")
    zeros = float(workshop.rows(out, "weights")[-1]["sparsity"])
    assert 0 < zeros < 1
    assert float(rows[0]["sparsity"]) == pytest.approx(zeros, abs=0.05)
