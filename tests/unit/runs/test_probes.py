"""Probes against the weights themselves: every share, count and moment computed again, one weight at a time."""

import dataclasses
import math
import time

import numpy as np
import pytest
import torch

from prunebench.errors import InputError
from prunebench.runs.probes import Gradients
from prunebench.seeding import derive_seed, generator

FULL = [
    {"kind": "shedding", "removable_images": 40},
    {"kind": "histograms"},
    {"kind": "occupancy", "sizes": [4]},
    {"kind": "weights"},
    {"kind": "layers"},
    {"kind": "gradients", "images": 50},
]


def decaying(workshop, *, weight_decay=0.3, momentum=0.9, **keys):
    """A phase in which weights shrink fast."""
    update = {"kind": "sgd", "weight_decay": weight_decay, "momentum": momentum}
    return workshop.phase(**{"max_lr": 0.2, "update": update, "profile": {"kind": "constant"}} | keys)


def shed_by_hand(weights, reference, masks):
    """Shares of the survivors, each weight by itself; thresholds in the weights' own float32, as they are stored."""
    chosen = [
        (w, w0)
        for name, mask in masks.items()
        for w, w0, kept in zip(
            weights[name].flatten().numpy(), reference[name].flatten().numpy(), mask.flatten().tolist(), strict=True
        )
        if kept
    ]
    sizes = sorted(abs(float(w)) for w in np.concatenate([r.flatten().numpy() for r in reference.values()]))
    tau = sizes[len(sizes) - len(chosen)] if len(chosen) < len(sizes) else 0.0
    return {
        "tau": tau,
        "absolute": sum(abs(float(w)) < tau for w, _ in chosen) / len(chosen),
        "relative": sum(abs(w) < np.float32(0.05) * abs(w0) or w == 0 for w, w0 in chosen) / len(chosen),
    }


def living(moment, first):
    """The survivors that are not shed."""
    return {
        name: mask & (w.abs() >= 0.05 * first[name].abs()) & (w != 0)
        for (name, mask), w in zip(moment.masks.items(), moment.prunable.values(), strict=True)
    }


# --- Shedding


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_shares_that_are_shed_are_those_of_the_weights_one_by_one(workshop, digits, network):
    """At the arm's start, after 1, 2, 4, ... updates of the first epoch, at each epoch's end and at the arm's end."""
    probes = [{"kind": "shedding", "removable_images": 32}]
    dense = workshop.spec(
        [workshop.phase(epochs=3, keep=[3], max_lr=0.3)], network=getattr(workshop, network), hands_on="kept"
    )
    workshop.run(dense)
    phases = [
        decaying(workshop, prune=[workshop.prune(0.3)], probes=probes),
        decaying(workshop, prune=[workshop.prune(0.6, "layer_magnitude")], epochs=1, probes=probes),
    ]
    arm = {"start": workshop.trained(dense), "phases": phases}
    seen = workshop.watch(workshop.spec(arm, network=getattr(workshop, network), batch_size=36))
    rows = seen.rows("shedding")
    assert [int(row["steps"]) for row in rows] == [0, 1, 2, 4, 5, 10, 15]
    assert [float(row["epoch"]) for row in rows] == pytest.approx([0, 0.2, 0.4, 0.8, 1, 2, 3])
    assert [row["phase"] for row in rows] == ["0"] * 6 + ["1"]
    first = workshop.watch(dense).end().prunable
    moments = [*(seen.at(done=done) for done in (0, 1, 2, 4, 5)), seen.end(), seen.end(phase=1)]
    for row, moment in zip(rows, moments, strict=True):
        expected = shed_by_hand(moment.prunable, first, moment.masks)
        assert {k: float(row[k]) for k in expected} == expected
        assert int(row["survivors"]) == moment.alive
        assert float(row["sparsity"]) == 1 - moment.alive / moment.size
        filters = [kept.flatten(1).any(1) for kept in living(moment, first).values()]
        assert int(row["filters"]) == sum(len(f) for f in filters)
        assert int(row["dead_filters"]) == sum(int((~f).sum()) for f in filters)
        assert 0 <= float(row["in_dead"]) <= 1
        measured = int(row["steps"]) in (0, 5, 10, 15)  # not within the first epoch
        loss = loss_of(workshop, network, moment, digits.validation.first(32))
        # A network no better than guessing has none: taking its weights away cannot hurt it.
        assert (row["removable"] != "") == (measured and loss < math.log(10))
        assert row["removable"] == "" or 0 <= float(row["removable"]) <= 1
    assert rows[0]["removable"]
    assert any(float(row[share]) > 0 for row in rows for share in ("absolute", "relative"))


def loss_of(workshop, network, moment, split):
    """The loss of the network as it was at a moment."""
    job = workshop.job(workshop.spec([workshop.phase()], network=getattr(workshop, network)))
    model = job.network()
    model.load_state_dict(moment.weights)
    return job.evaluate(model, split)[0]


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_weights_that_do_not_move_shed_nothing(workshop, network):
    """No LR, no weight decay."""
    still = {"max_lr": 0.0, "weight_decay": 0.0, "probes": [{"kind": "shedding"}]}
    arms = [
        {"name": "pruned", "phases": [decaying(workshop, prune=[workshop.prune(0.5)], **still)]},
        {"name": "control", "phases": [decaying(workshop, **still)], "follows": ["pruned"]},
    ]
    seen = workshop.watch(workshop.spec(*arms, network=getattr(workshop, network)))
    rows = seen.rows("shedding")
    assert len(rows) == 2 * 5
    for row in rows:
        assert [float(row[k]) for k in ("absolute", "relative", "in_dead", "clock")] == [0, 0, 0, 0]
    for name in ("pruned", "control"):
        assert workshop.same(seen.at(name).prunable, seen.end(name).prunable)


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_an_arm_that_prunes_nothing_sheds_bit_for_bit_what_its_control_sheds(workshop, network):
    arms = [
        {"name": "nothing", "phases": [decaying(workshop, prune=[workshop.prune(0.0)], probes=FULL)]},
        {"name": "control", "phases": [decaying(workshop, probes=FULL)], "follows": ["nothing"]},
    ]
    spec = workshop.spec(*arms, network=getattr(workshop, network))
    tables = workshop.results(workshop.run(spec))
    for table in spec.tables:
        ours, control = (
            [
                {k: v for k, v in row.items() if k not in ("arm", "followed")}
                for row in tables[f"{table}.csv"]
                if row["arm"] == name
            ]
            for name in ("nothing", "control")
        )
        assert ours == control
        assert ours
        if table == "shedding":
            assert len(ours) == 1 + 2 + 2
            assert float(ours[-1]["relative"]) > 0.03  # there was something to shed
            assert {row["absolute"] for row in ours} == {"0.0"}  # no threshold without a prune


def test_a_control_is_measured_over_the_survivors_of_each_arm_that_it_follows(workshop):
    probes = [{"kind": "shedding"}, {"kind": "histograms"}]
    prunes = {"tenth": workshop.prune(0.1), "half": workshop.prune(0.5, "layer_random")}
    arms = [
        *({"name": n, "phases": [decaying(workshop, prune=[p], probes=probes)]} for n, p in prunes.items()),
        {"name": "control", "phases": [decaying(workshop, probes=probes)], "follows": [*prunes]},
    ]
    seen = workshop.watch(workshop.spec(*arms))
    first, last = seen.at("control"), seen.end("control")
    for name in prunes:
        masks = seen.end(name).masks
        mine, its = seen.rows("shedding", arm="control", followed=name), seen.rows("shedding", arm=name)
        alike = ("phase", "epoch", "steps", "clock", "sparsity", "survivors", "tau")
        assert [[row[c] for c in alike] for row in mine] == [[row[c] for c in alike] for row in its]
        for moment, row in ((first, mine[0]), (last, mine[-1])):
            expected = shed_by_hand(moment.prunable, first.prunable, masks)
            assert {k: float(row[k]) for k in expected} == expected
        counted = sum(int(row["count"]) for row in seen.rows("histograms", arm="control", followed=name))
        assert counted == 2 * seen.end(name).alive
    assert all(bool(mask.all()) for mask in (*first.masks.values(), *last.masks.values()))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_weight_without_a_gradient_is_shed_at_the_epoch_that_the_recursion_says(workshop, digits, momentum):
    """Weights that read a pixel which is always 0, against SGD's recursion in float64."""
    black = (digits.train.images == 0).all(0).flatten()
    assert 4 <= int(black.sum()) < 64
    lr, decay, epochs = (0.2, 1.0, 7) if momentum == 0 else (0.02, 0.6, 12)
    phase = decaying(
        workshop, max_lr=lr, weight_decay=decay, momentum=momentum, epochs=epochs, probes=[{"kind": "shedding"}]
    )
    data = dataclasses.replace(digits, mean=(0.0,))
    seen = workshop.watch(workshop.spec([phase], augmentation={}), data=data)
    share, velocity, shares = 1.0, 0.0, [1.0]  # the share of a weight that is left after each update
    for _ in range(epochs * 3):
        velocity = momentum * velocity + decay * share
        share -= lr * velocity
        shares.append(share)
    first, moments = seen.at(), [*seen.of(), seen.end()]
    for moment, left in zip(moments, shares, strict=True):
        weights = moment.weights["hidden.0.weight"][:, black].double()
        expected = first.weights["hidden.0.weight"][:, black].double() * left
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-7)
    at_ends = shares[::3]
    assert all(abs(abs(left) - 0.05) > 0.002 for left in at_ends)  # so that rounding decides nothing
    gone = [abs(left) < 0.05 for left in at_ends]
    assert set(gone) == {False, True}
    others = {name: torch.ones_like(mask) for name, mask in first.masks.items()}
    others["hidden.0.weight"][:, black] = False
    rows = [row for row in seen.rows("shedding") if float(row["epoch"]).is_integer()]
    for row, shed_now, moment in zip(rows, gone, moments[::3], strict=True):
        elsewhere = shed_by_hand(moment.prunable, first.prunable, others)["relative"] * sum(
            int(mask.sum()) for mask in others.values()
        )
        counted = float(row["relative"]) * int(row["survivors"])
        assert round(counted - elsewhere) == (13 * int(black.sum()) if shed_now else 0), row["epoch"]


def test_no_weight_decay_keeps_the_clock_at_zero(workshop):
    seen = workshop.watch(workshop.spec([decaying(workshop, weight_decay=0.0, probes=[{"kind": "shedding"}])]))
    assert {float(row["clock"]) for table in ("epochs", "phases", "shedding") for row in seen.rows(table)} == {0.0}
    assert min(seen.lrs) > 0


# --- The other probes


def test_histograms_hold_every_survivor_at_the_arm_s_start_and_end(workshop):
    probes = [{"kind": "histograms"}]
    phases = [
        workshop.phase(prune=[workshop.prune(0.5)], epochs=1, probes=probes),
        workshop.phase(prune=[workshop.prune(0.8)], probes=probes),
    ]
    seen = workshop.watch(workshop.spec(phases))
    rows = seen.rows("histograms")
    assert {float(row["epoch"]) for row in rows} == {0.0, 3.0}
    for epoch, moment in ((0.0, seen.at()), (3.0, seen.end(phase=1))):
        here = [row for row in rows if float(row["epoch"]) == epoch]
        sizes = np.concatenate([w[moment.masks[n]].abs().double().numpy() for n, w in moment.prunable.items()])
        for row in here:
            left, right = float(row["left"]), float(row["right"])
            assert int(row["count"]) == int(((sizes >= left) & (sizes < right)).sum())
        assert sum(int(row["count"]) for row in here) == moment.alive


def test_occupancy_counts_the_groups_before_a_phase_s_prune_and_after_its_training(workshop):
    probes = [{"kind": "occupancy", "sizes": [4, 8]}]
    phases = [
        decaying(workshop, prune=[workshop.prune(0.5)], epochs=1, probes=probes),
        workshop.phase(prune=[workshop.prune(0.8)], probes=probes),
    ]
    seen = workshop.watch(workshop.spec([workshop.phase(max_lr=0.0, epochs=0), *phases]))
    name = "hidden.0.weight"
    dense = workshop.watch(workshop.spec([workshop.phase()])).at()
    first = dense.prunable
    places = {("1", "before"): dense, ("1", "after"): seen.end(phase=1)}
    places |= {("2", "before"): seen.end(phase=1), ("2", "after"): seen.end(phase=2)}
    for (number, when), moment in places.items():
        for m in (4, 8):
            counts = living(moment, first)[name].reshape(13, 64 // m, m).sum(2).flatten().tolist()
            rows = seen.rows("occupancy", phase=number, moment=when, m=m)
            assert [int(row["blocks"]) for row in rows] == [counts.count(k) for k in range(m + 1)]


def test_weights_and_layers_are_those_of_the_network(workshop):
    """Under gRDA, which makes zeros: counts by hand, norms in float64, its threshold from the update's state."""
    grda = {"kind": "grda", "c": 0.05, "mu": 0.6}
    phases = [workshop.phase(update=grda, probes=[{"kind": "weights"}, {"kind": "layers"}])]
    seen = workshop.watch(workshop.spec(phases, network=workshop.resnet))
    parameters = [name for name in seen.at().weights if "running" not in name and "tracked" not in name]
    moments = [seen.at(), seen.at(done=3), seen.end()]
    for row, moment in zip(seen.rows("weights"), moments, strict=True):
        everything = np.concatenate([moment.weights[name].double().numpy().ravel() for name in parameters])
        prunable = np.concatenate([w.double().numpy().ravel() for w in moment.prunable.values()])
        assert int(row["parameters"]) == everything.size
        assert float(row["sparsity"]) == pytest.approx((prunable == 0).mean(), abs=1e-12)
        assert float(row["sparsity_all"]) == pytest.approx((everything == 0).mean(), abs=1e-12)
        assert float(row["l1"]) == pytest.approx(np.abs(everything).sum(), rel=1e-9)
        assert float(row["l2"]) == pytest.approx(np.sqrt((everything**2).sum()), rel=1e-9)
    thresholds = [float(row["threshold"]) for row in seen.rows("weights")]
    assert thresholds[0] == 0 < thresholds[1] < thresholds[2]
    assert float(row["sparsity"]) > 0
    for at, row in enumerate(seen.rows("layers")):
        weight = seen.end().prunable[row["layer"]]
        assert (int(row["position"]), int(row["weights"])) == (at, weight.numel())
        assert int(row["alive"]) == int((weight != 0).sum())
    assert at + 1 == len(seen.end().masks)


def test_gradients_are_those_of_the_stated_images_at_the_stated_shares(workshop, digits):
    """Mean, spread and extremes over the surviving weights, against a backward pass in float64."""
    probes = [{"kind": "gradients", "images": 90, "at": [0.0, 0.34, 0.5, 1.0]}]
    phases = [workshop.phase(probes=probes), workshop.phase(prune=[workshop.prune(0.5)], probes=probes)]
    seen = workshop.watch(workshop.spec(phases))
    rows = [row for row in seen.rows("gradients") if row["weights"] == "surviving"]
    shares = ["0.0", "0.34", "0.5", "1.0"]
    assert [(row["phase"], row["share"]) for row in rows] == [(str(n), share) for n in (0, 1) for share in shares]
    moments = [m for n in (0, 1) for m in (*(seen.at(phase=n, done=done) for done in (0, 2, 3)), seen.end(phase=n))]
    images = ((digits.train.images[:90].double() / 255 - digits.mean[0]) / digits.std[0]).flatten(1)
    for row, moment in zip(rows, moments, strict=True):
        weights = {name: tensor.double().requires_grad_() for name, tensor in moment.weights.items()}
        hidden = torch.relu(images @ weights["hidden.0.weight"].T + weights["hidden.0.bias"])
        logits = hidden @ weights["classifier.weight"].T + weights["classifier.bias"]
        loss = torch.nn.functional.cross_entropy(logits, digits.train.labels[:90])
        loss.backward()
        values = torch.cat([weights[name].grad[mask] for name, mask in moment.masks.items()]).numpy()
        assert int(row["n"]) == values.size == moment.alive
        assert float(row["sparsity"]) == 1 - moment.alive / moment.size
        expected = {"loss": loss.item(), "mean": values.mean(), "std": values.std()}
        expected |= {"min": values.min(), "max": values.max(), "q50": np.quantile(values, 0.5)}
        for column, value in expected.items():
            assert float(row[column]) == pytest.approx(value, rel=1e-3, abs=1e-7), column
    for number in (0, 1):
        counts = [int(row["count"]) for row in seen.rows("gradient_histograms", phase=number)]
        assert sum(counts) == seen.end(phase=number).alive


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"images": 0}, "images is 0"),
        ({"images": 1, "at": ()}, "end with 1"),
        ({"images": 1, "at": (0.5,)}, "end with 1"),
        ({"images": 1, "at": (0.5, 0.2, 1.0)}, "ascend"),
        ({"images": 1, "at": (-0.1, 1.0)}, "from 0"),
    ],
)
def test_gradients_that_cannot_be_measured_are_one_line(keys, line):
    with pytest.raises(InputError, match=line):
        Gradients(**keys)


# --- Defects of released scripts

DEFECTS = [{"kind": "defects"}]


def augmented_by_hand(digits, seed, epoch, images):
    """The first `images` test images of an epoch's order, cut out of a black border of 1 and mirrored, one by one."""
    drawn = derive_seed(seed, "test")
    split, count = digits.test, len(digits.test)
    order = torch.randperm(count, generator=generator(drawn, epoch, "order")).tolist()
    crops = torch.randint(0, 3, (count, 2), generator=generator(drawn, epoch, "crop")).tolist()
    mirrored = torch.randint(0, 2, (count,), generator=generator(drawn, epoch, "flip")).tolist()
    cut = []
    for place, (top, left), mirror in zip(order[:images], crops, mirrored, strict=False):
        image = np.pad(split.images[place, 0].numpy(), 1)[top : top + 8, left : left + 8]
        cut.append(image[:, ::-1] if mirror else image)
    return torch.from_numpy(np.stack(cut).astype(np.float64)), split.labels[order[:images]]


def right(weights, images, labels, digits):
    """How many images a multilayer perceptron of these weights classifies right, in float64."""
    of = {name: tensor.double() for name, tensor in weights.items()}
    pixels = ((images.double() / 255 - digits.mean[0]) / digits.std[0]).flatten(1)
    hidden = torch.relu(pixels @ of["hidden.0.weight"].T + of["hidden.0.bias"])
    logits = hidden @ of["classifier.weight"].T + of["classifier.bias"]
    return int((logits.argmax(1) == labels).sum())


def test_test_accuracy_is_taken_after_every_epoch_as_it_should_be_and_as_it_should_not(workshop, digits):
    """64 test images in batches of 50: the second one is not whole."""
    phases = [
        workshop.phase(probes=DEFECTS),
        workshop.phase(prune=[workshop.prune(0.5)], order=2, probes=DEFECTS),
    ]
    seen = workshop.watch(workshop.spec(phases, batch_size=50, seed=3))
    rows = seen.rows("tested")
    assert [(row["phase"], row["epoch"]) for row in rows] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    moments = [moment for n in (0, 1) for moment in (seen.at(phase=n, done=3), seen.end(phase=n))]
    test, labels = digits.test.images[:, 0], digits.test.labels
    for epoch, row, moment in zip((1, 2, 3, 4), rows, moments, strict=True):
        everything, whole = (right(moment.weights, test[:n], labels[:n], digits) for n in (64, 50))
        changed = right(moment.weights, *augmented_by_hand(digits, 3, epoch, 50), digits)
        expected = {"accuracy": everything / 64, "whole_batches": whole / 64}
        expected |= {"augmented": changed / 50, "augmented_whole_batches": changed / 64}
        assert {name: float(row[name]) for name in expected} == expected
    for number, row in enumerate(seen.rows("phases")):
        assert float(row["test_accuracy"]) == float(rows[2 * number + 1]["accuracy"])
    assert len({row["augmented"] for row in rows}) > 1


def with_the_defect(model, scores, masks, density):
    """The sparsity after the scripts' threshold: the statement that appends stands outside the `if`."""
    pool, scored = [], {}
    for name, _ in model.named_parameters():
        if "weight" in name:
            tensor = [float(s) for s, m in zip(scores[name].flatten(), masks[name].flatten(), strict=True) if m]
            scored[name] = tensor
        pool.extend(tensor)
    alive, total = sum(map(len, scored.values())), sum(mask.numel() for mask in masks.values())
    kept = math.floor(len(pool) * math.floor(total * density + 0.5) / alive + 0.5)
    threshold = sorted(pool, reverse=True)[kept - 1]
    return 1 - sum(score >= threshold for tensor in scored.values() for score in tensor) / total


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_a_threshold_over_repeated_scores_is_that_of_the_scripts(workshop, network):
    phases = [
        workshop.phase(probes=DEFECTS, prune=[workshop.prune(sparsity)] if sparsity else [])
        for sparsity in (0, 0.5, 0.75)
    ]
    spec = workshop.spec(phases, network=getattr(workshop, network), include_norm=True)
    seen, model = workshop.watch(spec), workshop.job(spec).network()
    rows = seen.rows("thresholds")
    assert [row["phase"] for row in rows] == ["1", "2"]
    for row, sparsity in zip(rows, (0.5, 0.75), strict=True):
        before, after = seen.end(phase=int(row["phase"]) - 1), seen.at(phase=int(row["phase"]))
        scores = {name: weight.abs() for name, weight in before.prunable.items()}
        assert float(row["reached"]) == with_the_defect(model, scores, before.masks, 1 - sparsity)
        # the run itself prunes exactly
        assert float(row["nominal"]) == 1 - after.alive / after.size
        # batch normalisation's weights, near 1, count twice, and push the threshold up; all of a perceptron's do
        assert (float(row["reached"]) > float(row["nominal"])) is (network == "resnet")


def test_prunes_that_have_no_global_threshold_have_none_to_measure(workshop):
    ramp = {"share": 0.5, "every": 1}
    prunes = [[workshop.prune(0.3, "layer_magnitude")], [workshop.prune(0.5, ramp=ramp)], [], [workshop.prune(0.8)]]
    phases = [workshop.phase(epochs=1, prune=prune, probes=DEFECTS) for prune in prunes]
    out = workshop.run(workshop.spec(phases))
    assert [row["phase"] for row in workshop.rows(out, "thresholds")] == ["3"]
    assert len(workshop.rows(out, "tested")) == 4


def test_what_diverges_is_measured_until_then(workshop):
    phases = [workshop.phase(probes=DEFECTS), workshop.phase(max_lr=1e30, prune=[workshop.prune()], probes=DEFECTS)]
    phases.append(workshop.phase(prune=[workshop.prune(0.8)], probes=DEFECTS))
    out = workshop.run(workshop.spec(phases))
    assert [row["status"] for row in workshop.rows(out, "phases")] == ["trained", "diverged", "diverged"]
    assert [row["phase"] for row in workshop.rows(out, "tested")] == ["0", "0"]
    assert [row["phase"] for row in workshop.rows(out, "thresholds")] == ["1"]


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_measuring_defects_changes_no_training_and_a_killed_job_measures_the_same(workshop, network):
    def spec(probes):
        prunes = [[], [workshop.prune(0.5)], [workshop.prune(0.75)]]
        phases = [workshop.phase(prune=prune, reinitialise=n or None, probes=probes) for n, prune in enumerate(prunes)]
        return workshop.spec(phases, network=getattr(workshop, network), batch_size=50, include_norm=True)

    plain, measured = (workshop.results(workshop.run(spec(probes))) for probes in ([], DEFECTS))
    assert all(plain[table] == measured[table] for table in ("epochs.csv", "phases.csv"))
    killed, deaths = workshop.killed_often(again := spec(DEFECTS))
    assert deaths == 3 * 2 * 3
    undisturbed = workshop.results(workshop.run(again))
    assert workshop.results(killed) == undisturbed
    assert undisturbed["tested.csv"] == measured["tested.csv"]
    assert len(undisturbed["thresholds.csv"]) == 2


# --- Measuring


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_measuring_changes_no_training(workshop, network):
    def arms(probes):
        phases = [decaying(workshop, prune=[workshop.prune(0.5)], probes=probes), workshop.phase(probes=probes)]
        return {"name": "a", "phases": phases}, {
            "name": "b",
            "phases": [workshop.phase(probes=probes)],
            "follows": ["a"],
        }

    specs = [workshop.spec(*arms(p), network=getattr(workshop, network), hands_on="masks") for p in ([], FULL)]
    plain, measured = (workshop.watch(spec) for spec in specs)
    for a, b in zip(plain.ends, measured.ends, strict=True):
        assert workshop.same(a.weights, b.weights)
    one, other = workshop.results(plain.out), workshop.results(measured.out)
    for table in ("epochs.csv", "phases.csv"):
        assert one[table] == other[table]
    assert set(other) - set(one) == {f"{table}.csv" for table in specs[1].tables[2:]}
    assert all(other[f"{table}.csv"] for table in specs[1].tables)


def test_measuring_gradients_takes_no_time_of_the_phase(workshop, monkeypatch):
    """It is no part of what a schedule costs."""
    from prunebench.analysis import gradients

    real = gradients.gradient_statistics

    def slow(*arguments):
        time.sleep(0.5)
        return real(*arguments)

    monkeypatch.setattr(gradients, "gradient_statistics", slow)
    phase = workshop.phase(probes=[{"kind": "gradients", "images": 10, "at": [0.0, 1.0]}], epochs=1)
    assert float(workshop.rows(workshop.run(workshop.spec([phase])), "phases")[0]["seconds"]) < 0.5
