"""Arms from a dense network: exact masks, honest clocks, controls that differ in nothing else, the same bytes always.

Weights, masks and LRs are those that a spy sees right before each update; what the tables say is computed again from
them, in float64.
"""

import dataclasses
import itertools
import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_jobs import (
    MLP,
    RESNET,
    STEPS,
    VOLATILE,
    Killed,
    KilledAt,
    dense_of,
    make_job,
    make_spec,
    same,
    table,
    train,
)

from prunebench.config import RetrainSpec, parse, parse_preset
from prunebench.config.arms import Shed
from prunebench.errors import InputError
from prunebench.pruning.criteria import CRITERIA
from prunebench.pruning.masks import alive, survivors
from prunebench.training import job, retrain, updates
from prunebench.training.checkpoint import load_tensors, save_tensors
from prunebench.training.compare import compare
from prunebench.training.job import resume_path
from prunebench.training.retrain import COLUMNS, MASKS, harvest

pytestmark = pytest.mark.usefixtures("one_thread")

DENSE_EPOCHS = 3
CRITERIA_HERE = [name for name, criterion in CRITERIA.items() if not criterion.needs_previous_weights]


def phase(*prune, epochs=2, profile="constant", max_lr=0.05, weight_decay=1e-3, **more):
    content = {
        "prune": list(prune),
        "epochs": epochs,
        "profile": {"kind": profile} if isinstance(profile, str) else profile,
        "max_lr": max_lr,
        "weight_decay": weight_decay,
        "profile_epochs": epochs,
    }
    return content | more


def to(sparsity, criterion="global_magnitude", **ramp):
    return {"kind": "sparsity", "criterion": criterion, "sparsity": sparsity, "ramp": ramp or None}


def arm(name, *phases, follows=(), **axes):
    return {"name": name, "axes": axes, "phases": list(phases), "follows": list(follows)}


def retraining(*arms, keep=(), measure=(), seed=0, **more):
    """A job of arms from a network that was trained for three epochs."""
    chain = make_spec(training={"epochs": DENSE_EPOCHS}, profile={"kind": "step_decay", "milestones": [0.6]}, seed=seed)
    chain = chain.model_copy(update={"augmentation": chain.augmentation.model_copy(update={"flip": False})})
    if more:
        chain = type(chain).model_validate(chain.model_dump() | more)
    content = {name: getattr(chain, name) for name in ("task", "dataset", "network", "training", "augmentation")}
    return parse(
        RetrainSpec,
        content
        | {
            "study": "cascade",
            "part": "test",
            "seed": seed,
            "batch": 0,
            "dense": dense_of(chain, keep),
            "arms": list(arms),
            "measure": {"shedding": True, "below": 0.05} | dict(measure),
        },
        "test",
    )


@dataclasses.dataclass
class Moment:
    """What an arm was right before an update."""

    arm: str
    phase: int
    done: int
    weights: dict
    masks: dict
    momentum: list


class Seen:
    """What a job did, update by update."""

    def __init__(self, out):
        self.out = out
        self.moments, self.ends, self.lrs, self.orders = [], [], [], []

    def at(self, arm, phase=0, done=0):
        return next(m for m in self.moments if (m.arm, m.phase, m.done) == (arm, phase, done))

    def of(self, arm, phase=None):
        return [m for m in self.moments if m.arm == arm and phase in (None, m.phase)]

    def end(self, arm, phase=0):
        return next(m for m in self.ends if (m.arm, m.phase) == (arm, phase))

    def lr(self, arm, phase):
        return [lr for m, lr in zip(self.moments, self.lrs, strict=True) if (m.arm, m.phase) == (arm, phase)]

    def rows(self, name, **where):
        return [row for row in table(self.out, name) if all(row[k] == str(v) for k, v in where.items())]


@pytest.fixture(scope="module")
def networks():
    """Dense networks by the digests of their spec and data."""
    return {}


@pytest.fixture
def start(networks, digits, tmp_path_factory):
    """The dense network that a spec starts from, trained once."""

    def go(spec, data=digits):
        key = spec.dense.digest(), data.mean
        if key not in networks:
            networks[key] = train(spec.dense, data, tmp_path_factory.mktemp("dense"))
        return networks[key]

    return go


@pytest.fixture
def run(digits, start, monkeypatch, tmp_path_factory):
    """Runs a job of arms; gives what was seen."""

    def go(spec, *, data=digits, out=None, resume=None, network=None):
        seen = Seen(out or tmp_path_factory.mktemp("retrain"))
        network = network or start(spec, data)

        def moment(of, state, name, done):
            parameters = {n: t.clone() for n, t in state.model.state_dict().items()}
            masks = {n: m.clone() for n, m in state.masks.items()}
            return Moment(name, state.position["cycle"], done, parameters, masks, [b.clone() for b in state.buffers])

        arms = []

        def trace(of, one, *rest):
            arms.append(one.name)
            return retrain_trace(of, one, *rest)

        def train_(of, state, leg, save, before_update, after_epoch):
            def about_to_update(done):
                before_update(done)
                seen.moments.append(moment(of, state, arms[-1], done))

            converged = job.train_(of, state, leg, save, about_to_update, after_epoch)
            seen.ends.append(moment(of, state, arms[-1], leg.epochs * of.steps_per_epoch))
            return converged

        def step(*arguments, lr, **more):
            seen.lrs.append(lr)
            sgd_step_(*arguments, lr=lr, **more)

        def batches(*arguments, epoch, **more):
            seen.orders.append((arms[-1], epoch))
            return train_batches(*arguments, epoch=epoch, **more)

        retrain_trace, sgd_step_, train_batches = retrain.Trace, updates.sgd_step_, job.train_batches
        with monkeypatch.context() as patch:
            patch.setattr(retrain, "Trace", trace)
            patch.setattr(retrain, "train_", train_)
            patch.setattr(updates, "sgd_step_", step)
            patch.setattr(job, "train_batches", batches)
            retrain.retrain(make_job(spec, data, seen.out, resume), network, seen.out)
        return seen

    return go


def results(out):
    """Every table but for seconds and memory, and the masks."""
    tables = {
        name: [{k: v for k, v in row.items() if k not in VOLATILE} for row in table(out, name)] for name in COLUMNS
    }
    packed, metadata = load_tensors(out / MASKS)
    return tables | {"masks": ({k: v.tolist() for k, v in packed.items()}, metadata)}


def rows_of(out, arm, without=()):
    """All rows of an arm by table."""
    left_out = {*VOLATILE, *without}
    return {
        name: [{k: v for k, v in row.items() if k not in left_out} for row in table(out, name) if row["arm"] == arm]
        for name in COLUMNS
    }


def prunable(moment):
    return {name: moment.weights[name] for name in moment.masks}


def total(masks):
    return sum(mask.numel() for mask in masks.values())


# ----------------------------------------------------------------------------------------------- controls that match

FULL = {"shedding": True, "histograms": True, "removable_images": 40, "occupancy": [4], "masks": True}


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_an_arm_that_prunes_nothing_sheds_bit_for_bit_what_its_control_sheds(run, network):
    recipe = {"max_lr": 0.2, "weight_decay": 0.3}
    spec = retraining(
        arm("nothing", phase(to(0.0), **recipe)),
        arm("control", phase(**recipe), follows=["nothing"]),
        measure=FULL,
        network=network,
    )
    seen = run(spec)
    ours, control = (rows_of(seen.out, name, without=["arm", "followed"]) for name in ("nothing", "control"))
    assert ours == control
    assert len(ours["shedding"]) == 1 + 2 + 2
    assert float(ours["shedding"][-1]["relative"]) > 0.05  # there was something to shed
    assert all(float(row["absolute"]) == 0 for row in ours["shedding"])  # no threshold without a prune
    for a, b in zip(seen.of("nothing"), seen.of("control"), strict=True):
        assert same(a.weights, b.weights)


def test_a_control_is_measured_over_the_survivors_of_each_arm_that_it_follows(run):
    spec = retraining(
        arm("tenth", phase(to(0.1), max_lr=0.1, weight_decay=0.5)),
        arm("half", phase(to(0.5, "layer_random"), max_lr=0.1, weight_decay=0.5)),
        arm("control", phase(max_lr=0.1, weight_decay=0.5), follows=["tenth", "half"]),
        measure={"histograms": True},
    )
    seen = run(spec)
    followed = {name: seen.end(name).masks for name in ("tenth", "half")}
    first, last = seen.at("control"), seen.end("control")
    for name, masks in followed.items():
        pairs = zip(seen.rows("shedding", arm="control", followed=name), seen.rows("shedding", arm=name), strict=True)
        for mine, its in pairs:
            for column in ("phase", "epoch", "steps", "clock", "sparsity", "survivors", "tau"):
                assert mine[column] == its[column], column
        for moment, row in ((first, 0), (last, -1)):
            expected = shed_by_hand(prunable(moment), prunable(first), masks)
            got = seen.rows("shedding", arm="control", followed=name)[row]
            assert float(got["relative"]) == expected["relative"]
            assert float(got["absolute"]) == expected["absolute"]
        histogram = seen.rows("histograms", arm="control", followed=name)
        assert sum(int(row["count"]) for row in histogram) == 2 * alive(masks)
    assert all(bool(mask.all()) for mask in (*first.masks.values(), *last.masks.values()))


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


# ------------------------------------------------------------------------------------------------------- what is shed


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_weights_that_do_not_move_shed_nothing(run, network):
    """No LR, no weight decay."""
    spec = retraining(
        arm("pruned", phase(to(0.5), max_lr=0.0, weight_decay=0.0)),
        arm("control", phase(max_lr=0.0, weight_decay=0.0), follows=["pruned"]),
        network=network,
    )
    seen = run(spec)
    rows = seen.rows("shedding")
    assert len(rows) == 2 * 5
    for row in rows:
        assert [float(row[k]) for k in ("absolute", "relative", "in_dead", "clock")] == [0, 0, 0, 0]
    for name in ("pruned", "control"):
        first, last = seen.at(name), seen.end(name)
        assert same(prunable(first), prunable(last))


def test_no_weight_decay_keeps_the_clock_at_zero_whatever_the_lr(run):
    seen = run(retraining(arm("a", phase(to(0.2), weight_decay=0.0), phase(weight_decay=0.0))))
    assert {float(row["clock"]) for name in ("epochs", "phases", "shedding") for row in seen.rows(name)} == {0.0}
    assert {lr > 0 for lr in seen.lrs} == {True}


def test_the_clock_is_weight_decay_times_the_sum_of_the_lr_of_the_updates(run):
    phases = [
        phase(to(0.2), profile="cosine", max_lr=0.1, weight_decay=0.02, epochs=2),
        phase(profile="cyclical", max_lr=0.05, weight_decay=0.0, epochs=1),
        phase(to(0.5), profile="cosine", max_lr=0.2, weight_decay=0.3, epochs=2, first_epoch=1, profile_epochs=4),
    ]
    seen = run(retraining(arm("a", *phases)))
    ticks = [seen_phase["weight_decay"] * lr for number, seen_phase in enumerate(phases) for lr in seen.lr("a", number)]
    assert len(ticks) == 5 * STEPS
    for row in (*seen.rows("shedding"), *seen.rows("epochs")):
        assert float(row["clock"]) == pytest.approx(sum(ticks[: int(row["steps"])]), rel=1e-12, abs=1e-18)
    ends = [2 * STEPS, 3 * STEPS, 5 * STEPS]
    for row, steps in zip(seen.rows("phases"), ends, strict=True):
        assert float(row["clock"]) == pytest.approx(sum(ticks[:steps]), rel=1e-12)


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_shares_of_the_tables_are_those_of_the_weights_one_by_one(run, start, digits, network):
    """At the arm's start, after 1, 2, 4, ... updates of the first epoch, at each epoch's end and at the arm's end."""
    spec = retraining(
        arm("a", phase(to(0.3), max_lr=0.2, weight_decay=0.3), phase(to(0.6, "layer_magnitude"), max_lr=0.2, epochs=1)),
        measure={"removable_images": 32},
        training={"epochs": DENSE_EPOCHS, "batch_size": 36, "precision": "fp32"},  # five updates per epoch
        network=network,
    )
    seen = run(spec)
    rows = seen.rows("shedding")
    assert [int(row["steps"]) for row in rows] == [0, 1, 2, 4, 5, 10, 15]
    assert [float(row["epoch"]) for row in rows] == pytest.approx([0, 0.2, 0.4, 0.8, 1, 2, 3])
    assert [row["phase"] for row in rows] == ["0"] * 6 + ["1"]
    tensors, _ = load_tensors(start(spec))
    dense = {name: tensors[f"model/{name}"] for name in seen.moments[0].masks}
    moments = [*(seen.at("a", 0, done) for done in (0, 1, 2, 4, 5)), seen.end("a", 0), seen.end("a", 1)]
    for row, moment in zip(rows, moments, strict=True):
        expected = shed_by_hand(prunable(moment), dense, moment.masks)
        assert int(row["survivors"]) == alive(moment.masks)
        assert float(row["sparsity"]) == 1 - alive(moment.masks) / total(moment.masks)
        assert {k: float(row[k]) for k in expected} == expected
        living = {
            name: mask & ~((w.abs() < 0.05 * dense[name].abs()) | (w == 0))
            for (name, mask), w in zip(moment.masks.items(), prunable(moment).values(), strict=True)
        }
        filters = [kept.flatten(1).any(1) for kept in living.values()]
        assert int(row["filters"]) == sum(len(f) for f in filters)
        assert int(row["dead_filters"]) == sum(int((~f).sum()) for f in filters)
        assert 0 <= float(row["in_dead"]) <= 1
    few = type(digits.validation)(digits.validation.images[:32], digits.validation.labels[:32])
    for row, moment in zip(rows, moments, strict=True):
        measured = int(row["steps"]) in (0, 5, 10, 15)  # not within the first epoch
        # A network no better than guessing has none: taking its weights away cannot hurt it.
        learnt = loss_of(spec, digits, moment, few) < math.log(10)
        assert (row["removable"] != "") == (measured and learnt), row["steps"]
        assert row["removable"] == "" or 0 <= float(row["removable"]) <= 1
    assert rows[0]["removable"]
    assert any(float(row[share]) > 0 for row in rows for share in ("absolute", "relative"))


def loss_of(spec, data, moment, split):
    """The loss of the network as it was at a moment."""
    of = make_job(spec, data, None, resume=object())
    model = job.new_state(of).model
    model.load_state_dict(moment.weights)
    return job.evaluate(of, model, split)[0]


def test_batch_normalisation_s_statistics_are_those_of_training_images_at_the_start_and_after_each_epoch(run, digits):
    """The first layer's, against its outputs in float64: of all training images, here fewer than 1000."""
    seen = run(retraining(arm("a", phase(to(0.5), max_lr=0.2, weight_decay=0.5), phase(to(0.7))), network=RESNET))
    images = (digits.train.images.double() / 255 - digits.mean[0]) / digits.std[0]
    for moment in (seen.at("a"), seen.at("a", 0, STEPS), seen.end("a", 0), seen.end("a", 1)):
        weight = moment.weights["conv.weight"].double()
        outputs = torch.nn.functional.conv2d(images, weight, padding=weight.shape[-1] // 2)
        for name, expected in (("mean", outputs.mean((0, 2, 3))), ("var", outputs.var((0, 2, 3)))):
            torch.testing.assert_close(moment.weights[f"bn.running_{name}"].double(), expected, rtol=1e-4, atol=1e-5)


def test_measuring_changes_no_training(run):
    arms = (
        arm("a", phase(to(0.5), max_lr=0.2, weight_decay=0.3), phase(to(0.8))),
        arm("b", phase(), follows=["a"]),
    )
    plain, measured = (run(retraining(*arms, measure=m, network=RESNET)) for m in ({"shedding": False}, FULL))
    for a, b in zip(plain.ends, measured.ends, strict=True):
        assert same(a.weights, b.weights)
    for name in ("epochs", "phases"):
        assert rows_of(plain.out, "a")[name] == rows_of(measured.out, "a")[name]
    for name in ("shedding", "histograms", "occupancy"):
        assert plain.rows(name) == []
        assert measured.rows(name) != []
    assert load_tensors(plain.out / MASKS)[0] == {}


def test_histograms_hold_every_survivor_at_the_arm_s_start_and_end(run):
    spec = retraining(arm("a", phase(to(0.5), epochs=1), phase(to(0.8), epochs=2)), measure={"histograms": True})
    seen = run(spec)
    rows = seen.rows("histograms")
    for epoch, moment in ((0.0, seen.at("a")), (3.0, seen.end("a", 1))):
        here = [row for row in rows if float(row["epoch"]) == epoch]
        sizes = np.concatenate([w[moment.masks[n]].abs().double().numpy() for n, w in prunable(moment).items()])
        for row in here:
            left, right = float(row["left"]), float(row["right"])
            assert int(row["count"]) == int(((sizes >= left) & (sizes < right)).sum())
        assert sum(int(row["count"]) for row in here) == alive(moment.masks)
    assert {float(row["epoch"]) for row in rows} == {0.0, 3.0}


def test_occupancy_counts_the_groups_before_a_phase_s_prune_and_after_its_training(run, start):
    spec = retraining(
        arm("a", phase(to(0.5), max_lr=0.1, weight_decay=0.5, epochs=1), phase(to(0.8))), measure={"occupancy": [4, 8]}
    )
    seen = run(spec)
    tensors, _ = load_tensors(start(spec))
    name = "hidden.0.weight"
    dense = tensors[f"model/{name}"]
    ones = {n: torch.ones_like(m) for n, m in seen.moments[0].masks.items()}
    places = {
        ("0", "before"): (dense, ones),
        ("0", "after"): (seen.end("a", 0).weights[name], seen.end("a", 0).masks),
        ("1", "before"): (seen.end("a", 0).weights[name], seen.end("a", 0).masks),
        ("1", "after"): (seen.end("a", 1).weights[name], seen.end("a", 1).masks),
    }
    for (number, moment), (weight, masks) in places.items():
        living = masks[name] & (weight.abs() >= dense.abs() * 0.05) & (weight != 0)
        for m in (4, 8):
            counts = living.reshape(13, 64 // m, m).sum(2).flatten().tolist()
            rows = seen.rows("occupancy", phase=number, moment=moment, m=m)
            assert [int(row["blocks"]) for row in rows] == [counts.count(k) for k in range(m + 1)]


def dark(digits):
    """The digits with black at exactly 0, and which pixels are black in every training image."""
    data = dataclasses.replace(digits, mean=(0.0,))
    black = (data.train.images == 0).all(0).flatten()
    assert 4 <= int(black.sum()) < 64
    return data, black


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_weight_without_a_gradient_decays_as_the_recursion_says_and_is_shed_at_that_epoch(run, digits, momentum):
    """Weights that read a pixel which is always 0, against SGD's recursion in float64."""
    data, black = dark(digits)
    lr, decay, epochs = (0.2, 1.0, 7) if momentum == 0 else (0.02, 0.6, 12)
    spec = retraining(
        arm("a", phase(max_lr=lr, weight_decay=decay, epochs=epochs)),
        training={"epochs": DENSE_EPOCHS, "batch_size": 64, "precision": "fp32", "momentum": momentum},
        augmentation={},
    )
    seen = run(spec, data=data)
    first = seen.at("a").weights["hidden.0.weight"][:, black].double()
    share, velocity, shares = 1.0, 0.0, [1.0]  # the share of a weight that is left after each update
    for _ in range(epochs * STEPS):
        velocity = momentum * velocity + decay * share
        share -= lr * velocity
        shares.append(share)
    if momentum == 0:
        assert shares[-1] == pytest.approx(math.prod([1 - lr * decay] * (epochs * STEPS)))
    moments = [*seen.of("a"), seen.end("a")]
    for moment, left in zip(moments, shares, strict=True):
        weights = moment.weights["hidden.0.weight"][:, black].double()
        torch.testing.assert_close(weights, first * left, rtol=1e-4, atol=1e-7)
    # clear of the threshold at every epoch's end, so that rounding decides nothing
    at_ends = shares[::STEPS]
    assert all(abs(abs(left) - 0.05) > 0.002 for left in at_ends)
    gone = [abs(left) < 0.05 for left in at_ends]
    assert set(gone) == {False, True}
    rows = [row for row in seen.rows("shedding") if float(row["epoch"]).is_integer()]
    dense = prunable(seen.at("a"))
    for row, shed_now, moment in zip(rows, gone, moments[::STEPS], strict=True):
        others = {name: torch.ones_like(mask) for name, mask in moment.masks.items()}
        others["hidden.0.weight"][:, black] = False
        elsewhere = shed_by_hand(prunable(moment), dense, others)["relative"] * alive(others)
        counted = float(row["relative"]) * int(row["survivors"])
        assert round(counted - elsewhere) == (13 * int(black.sum()) if shed_now else 0), row["epoch"]


# ------------------------------------------------------------------------------------------------------------- masks


def assert_zero_where_pruned(seen):
    for moment in (*seen.moments, *seen.ends):
        for name, mask in moment.masks.items():
            assert not moment.weights[name][~mask].any(), (moment.arm, moment.phase, moment.done, name)


def assert_monotone(moments):
    for earlier, later in itertools.pairwise(moments):
        assert all(bool((later.masks[name] <= mask).all()) for name, mask in earlier.masks.items())


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_masks_of_every_criterion_are_exactly_at_their_sparsity_in_every_phase(run, network):
    sparsities = (0.3, 0.3, 0.75)
    arms = [arm(c, *(phase(to(s, c), epochs=1) for s in sparsities)) for c in CRITERIA_HERE]
    seen = run(retraining(*arms, network=network))
    for name in CRITERIA_HERE:
        for number, sparsity in enumerate(sparsities):
            for moment in (*seen.of(name, number), seen.end(name, number)):
                kept = {n: alive({n: mask}) for n, mask in moment.masks.items()}
                if CRITERIA[name].scope == "layer" and not CRITERIA[name].ratios:
                    assert kept == {n: survivors(m.numel(), 1 - sparsity) for n, m in moment.masks.items()}
                else:
                    assert sum(kept.values()) == survivors(total(moment.masks), 1 - sparsity)
            row = seen.rows("phases", arm=name, phase=number)[0]
            assert float(row["sparsity"]) == 1 - alive(moment.masks) / total(moment.masks)
            assert row["sparsity_start"] == row["sparsity"]
            assert {e["sparsity"] for e in seen.rows("epochs", arm=name, phase=number)} == {row["sparsity"]}
        assert_monotone(seen.of(name))
    assert_zero_where_pruned(seen)
    dense, kept = prunable(seen.at("global_magnitude")), seen.at("global_magnitude").masks
    per_layer = {n: alive({n: mask}) for n, mask in kept.items()}
    ratios = seen.at("random_gmp_ratios").masks
    assert {n: alive({n: mask}) for n, mask in ratios.items()} == per_layer
    assert not same(ratios, kept)
    assert all(bool(dense[n].any()) for n in dense)


def test_global_magnitude_prunes_the_dense_network_s_smallest_weights(run, start):
    spec = retraining(arm("a", phase(to(0.4))), network=RESNET)
    seen = run(spec)
    tensors, _ = load_tensors(start(spec))
    masks = seen.at("a").masks
    sizes = torch.cat([tensors[f"model/{name}"].abs().flatten() for name in masks])
    kept = torch.cat([mask.flatten() for mask in masks.values()])
    assert sizes[kept].min() >= sizes[~kept].max()
    for name, mask in masks.items():
        assert torch.equal(seen.at("a").weights[name], tensors[f"model/{name}"] * mask)


def cubic(begin, final, done, last):
    """Zhu & Gupta (2017), equation 1, with n * dt = `last` updates."""
    return final + (begin - final) * (1 - done / last) ** 3


@pytest.mark.parametrize(
    ("share", "every", "prunes"),
    [
        (0.6, 2, [2, 4, 6, 7]),
        (0.5, 3, [3, 6]),
        (1.0, 4, [4, 8, 11]),  # the target is reached before the last of 12 updates, not after it
        (0.01, 1, [1]),
        (0.6, 100, [7]),
    ],
)
@pytest.mark.parametrize(
    ("criterion", "begin"), [("global_magnitude", 0.0), ("global_magnitude", 0.2), ("random", 0.2), ("lamp", 0.0)]
)
def test_a_gradual_ramp_is_on_the_cubic_curve_at_every_prune(run, share, every, prunes, criterion, begin):
    final, epochs = 0.8, 4
    first = [phase(to(begin), epochs=1)] if begin else []
    ramp = phase(to(final, criterion, share=share, every=every), epochs=epochs)
    seen = run(retraining(arm("a", *first, ramp)))
    moments = seen.of("a", len(first))
    size = total(moments[0].masks)
    start = 1 - survivors(size, 1 - begin) / size
    now = start
    for moment in moments:
        if moment.done in prunes:
            now = cubic(start, final, moment.done, prunes[-1])
        assert alive(moment.masks) == math.floor(size * (1 - now) + 0.5), moment.done
    assert alive(moments[-1].masks) == survivors(size, 1 - final)
    assert_monotone(moments)
    assert_zero_where_pruned(seen)
    row = seen.rows("phases")[-1]
    assert float(row["sparsity_start"]) == pytest.approx(start, abs=1e-12)
    assert float(row["sparsity"]) == 1 - survivors(size, 1 - final) / size


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_ramp_of_a_phase_of_very_few_updates_reaches_its_target_too(run, epochs):
    """One or two updates: pruned before the last of them, so that what is left is trained."""
    training = {"epochs": DENSE_EPOCHS, "batch_size": 192, "precision": "fp32"}
    seen = run(retraining(arm("a", phase(to(0.8, share=1.0, every=1), epochs=epochs)), training=training))
    assert alive(seen.of("a")[-1].masks) == survivors(total(seen.end("a").masks), 0.2)
    assert len(seen.of("a")) == epochs


def test_a_ramp_to_less_than_is_pruned_already_changes_nothing(run):
    seen = run(retraining(arm("a", phase(to(0.7), epochs=1), phase(to(0.5, share=0.5, every=1)))))
    assert all(same(moment.masks, seen.at("a").masks) for moment in seen.moments)


def test_iterative_rounds_take_the_same_share_of_the_survivors_each(run):
    """The phases that the configuration makes, run."""
    spec = part_of("schedules")
    arms = [one for one in spec.arms if one.name.startswith("iterative")]
    seen = run(spec)
    for one in arms:
        size = total(seen.moments[0].masks)
        counts = [alive(seen.at(one.name, number).masks) for number in range(3)]
        for number, count in enumerate(counts, 1):
            assert count == pytest.approx(size * 0.2 ** (number / 3), abs=0.51)
        assert counts[-1] == survivors(size, 0.2)
        # Momentum goes on over a round's boundary, as in the control, which has none.
        assert not any(buffer.any() for buffer in seen.at(one.name).momentum)
        for number in (1, 2):
            begun, ended = seen.at(one.name, number).momentum, seen.end(one.name, number - 1).momentum
            assert all(torch.equal(a, b) for a, b in zip(begun, ended, strict=True))
            assert any(buffer.any() for buffer in begun)
    assert_zero_where_pruned(seen)


def test_a_phase_border_at_which_nothing_is_pruned_changes_nothing(run):
    halves = [phase(epochs=1, profile="cosine", first_epoch=begin, profile_epochs=2) for begin in (0, 1)]
    seen = run(retraining(arm("whole", phase(profile="cosine")), arm("halves", *halves), network=RESNET))
    assert same(seen.end("whole").weights, seen.end("halves", 1).weights)
    assert seen.lr("whole", 0) == seen.lr("halves", 0) + seen.lr("halves", 1)


def test_a_prelude_s_random_prune_is_not_the_one_shot_arm_s(run):
    """The same draw would make the two arms' masks nested."""
    once = arm("once", phase(to(0.5, "random")))
    twice = arm("twice", phase(to(0.5, "random"), epochs=1), phase(to(0.8, "random"), epochs=1))
    seen = run(retraining(once, twice))
    kept, other = seen.at("once").masks, seen.at("twice").masks
    common = sum(int((kept[name] & other[name]).sum()) for name in kept) / alive(kept)
    assert common == pytest.approx(0.5, abs=0.1)  # by chance


# ------------------------------------------------------------------------------------------------- N:M and blocks

N_OF_M = {"kind": "n_of_m", "n": 2, "m": 4}
BLOCKS = {"kind": "blocks", "size": 4, "sparsity": 0.5}
PRELUDES = {
    "at once": (),
    "after a prune": (phase(to(0.6), epochs=1),),
    "after shedding": (phase(to(0.2), max_lr=0.2, weight_decay=1.0, epochs=4),),
}


def groups_of(tensor, m):
    """(groups, m): consecutive along dim 1 at a fixed output and kernel position."""
    return tensor.movedim(1, -1).reshape(-1, m)


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
@pytest.mark.parametrize("before", PRELUDES)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 8)])
def test_of_every_m_weights_exactly_n_survive(run, start, network, before, n, m):
    first = PRELUDES[before]
    pattern = {"kind": "n_of_m", "n": n, "m": m}
    seen = run(retraining(arm("a", *first, phase(pattern, epochs=1)), network=network))
    number = len(first)
    grouped = [name for name, mask in seen.end("a", number).masks.items() if mask.shape[1] % m == 0]
    left = seen.end("a", number - 1).masks if first else None
    assert grouped
    for moment in (*seen.of("a", number), seen.end("a", number)):
        for name, mask in moment.masks.items():
            if name in grouped:
                assert set(groups_of(mask, m).sum(1).tolist()) == {n}, name
            else:
                assert torch.equal(mask, left[name] if left else torch.ones_like(mask)), name
    tensors, _ = load_tensors(start(retraining(arm("a", phase()), network=network)))
    start = seen.end("a", number - 1).weights if first else {n: tensors[f"model/{n}"] for n in left or moment.masks}
    for name in grouped:
        sizes, kept = groups_of(start[name].abs(), m), groups_of(seen.at("a", number).masks[name], m)
        smallest = sizes.masked_fill(~kept, math.inf).amin(1)
        largest = sizes.masked_fill(kept, -math.inf).amax(1)
        assert bool((smallest >= largest).all()), name
    assert_zero_where_pruned(seen)
    row = seen.rows("phases", phase=number)[0]
    assert float(row["sparsity"]) == 1 - alive(moment.masks) / total(moment.masks)


@pytest.mark.parametrize("before", PRELUDES)
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_blocks_are_whole_or_gone_and_exactly_as_many_as_asked_for(run, before, sparsity):
    first = PRELUDES[before]
    pattern = BLOCKS | {"sparsity": sparsity}
    seen = run(retraining(arm("a", *first, phase(pattern, epochs=1)), network=RESNET))
    masks = seen.at("a", len(first)).masks
    grouped = {name: groups_of(mask, 4).sum(1) for name, mask in masks.items() if mask.shape[1] % 4 == 0}
    counts = torch.cat(list(grouped.values()))
    assert set(counts.tolist()) == {0, 4}
    assert int((counts == 4).sum()) == survivors(len(counts), 1 - sparsity)
    assert all(same(moment.masks, masks) for moment in seen.of("a", len(first)))
    assert_zero_where_pruned(seen)


def test_a_group_that_fits_no_layer_is_refused_in_one_line(run, tmp_path):
    spec = retraining(arm("a", phase({"kind": "n_of_m", "n": 1, "m": 7})))
    with pytest.raises(InputError, match="no layer has a multiple of 7"):
        run(spec, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------------- harvest


@pytest.mark.parametrize("at_most", [0.9, 0.25, 0.1])
def test_a_harvest_prunes_the_shed_weights_and_not_beyond_its_bound(run, start, at_most):
    shed = {"kind": "shed", "below": 0.05, "at_most": at_most}
    spec = retraining(arm("a", phase(to(0.2), max_lr=0.2, weight_decay=0.6, epochs=4), phase(shed)))
    seen = run(spec)
    tensors, _ = load_tensors(start(spec))
    before, after = seen.end("a", 0), seen.at("a", 1)
    ratios, gone = {}, {}
    for name, mask in before.masks.items():
        w, w0 = before.weights[name].double(), tensors[f"model/{name}"].double()
        ratios[name] = w.abs() / w0.abs()
        gone[name] = mask & (ratios[name] < 0.05)
        assert not bool((mask & ((ratios[name] - 0.05).abs() < 1e-6)).any())  # rounding decides nothing here
    size, shed_now = total(before.masks), alive(gone)
    all_gone = 1 - (alive(before.masks) - shed_now) / size
    assert 0.25 < all_gone < 0.9
    if at_most == 0.9:
        assert all(torch.equal(after.masks[n], before.masks[n] & ~gone[n]) for n in gone)
    elif at_most == 0.25:
        assert alive(after.masks) == survivors(size, 0.75)
        pruned = {n: before.masks[n] & ~after.masks[n] for n in gone}
        assert all(bool((pruned[n] <= gone[n]).all()) for n in gone)
        most = max(float(ratios[n][pruned[n]].max()) for n in gone if pruned[n].any())
        least = min(float(ratios[n][gone[n] & after.masks[n]].min()) for n in gone if (gone[n] & after.masks[n]).any())
        assert most <= least * (1 + 1e-6)
    else:  # more than that is pruned already
        assert same(after.masks, before.masks)
    assert_zero_where_pruned(seen)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.3]), st.floats(0.01, 0.99))
def test_what_a_harvest_takes_is_what_counts_as_shed(seed, below, at_most):
    """Also at the threshold itself, where a quotient and a product may round to different sides."""
    from prunebench.analysis.shedding import shed

    draw = torch.Generator().manual_seed(seed)
    reference = {"a": torch.randn(40, generator=draw), "b": torch.randn(20, generator=draw)}
    reference["a"][:3] = 0
    edge = {name: w.abs() * below for name, w in reference.items()}
    steps = torch.tensor([-math.inf, 0.0, math.inf])
    weights = {
        name: torch.where(
            torch.rand(e.shape, generator=draw) < 0.7,
            torch.nextafter(e, steps[torch.randint(0, 3, e.shape, generator=draw)].where(e > 0, e)).abs(),
            torch.rand(e.shape, generator=draw),
        )
        for name, e in edge.items()
    }
    masks = {name: torch.rand(e.shape, generator=draw) < 0.8 for name, e in edge.items()}
    gone = shed(weights, reference, masks, below)
    kept = harvest(weights, reference, masks, Shed(below=below, at_most=at_most))
    assert all(bool((kept[n] <= masks[n]).all()) for n in masks)
    fewest = survivors(60, 1 - at_most)
    if alive(masks) - alive(gone) >= max(fewest, 60 * (1 - at_most)):
        assert same(kept, {n: masks[n] & ~gone[n] for n in masks})
    else:
        assert alive(kept) == min(alive(masks), fewest)


# --------------------------------------------------------------------------------------------------------- rewinding


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_weight_rewinding_restores_epoch_k_to_the_bit_where_the_trained_network_keeps_weights(run, start, epoch):
    spec = retraining(
        arm("rewound", phase(to(0.5), rewind=epoch)),
        arm("kept", phase(to(0.5))),
        arm("control", phase(rewind=epoch), follows=["rewound"]),
        arm("later", phase(to(0.3), epochs=1), phase(to(0.5), rewind=epoch, epochs=1)),
        keep=[0, 1, 2],
        network=RESNET,
    )
    seen = run(spec)
    tensors, _ = load_tensors(start(spec))
    at_k = {n.removeprefix(f"kept/{epoch}/"): t for n, t in tensors.items() if n.startswith(f"kept/{epoch}/")}
    rewound, control, later = seen.at("rewound"), seen.at("control"), seen.at("later", 1)
    # Running statistics are taken anew for evaluation; training does not read them.
    parameters = [name for name in at_k if "running" not in name and "tracked" not in name]
    for name in parameters:
        mask = rewound.masks.get(name)
        assert torch.equal(rewound.weights[name], at_k[name] if mask is None else at_k[name] * mask), name
        assert torch.equal(control.weights[name], at_k[name]), name
        assert torch.equal(later.weights[name], at_k[name] * later.masks.get(name, 1)), name
    # It is the trained network that decides which weights stay (Renda et al. 2020).
    assert same(rewound.masks, seen.at("kept").masks)
    assert not any(buffer.any() for buffer in (*rewound.momentum, *control.momentum, *later.momentum))
    assert_zero_where_pruned(seen)


def tiny(**cascade):
    """A preset of the cascade study on the fixture's digits."""
    task = {
        "dataset": "digits",
        "network": MLP,
        "training": {"epochs": DENSE_EPOCHS, "batch_size": 64, "precision": "fp32"},
    }
    profile = {"kind": "cyclical"}
    return parse_preset(
        {
            "preset": "tiny",
            "scale": "tiny",
            "seeds": [0, 1],
            "datasets": {"digits": {"source": "digits", "train": 192, "validation": 64, "test": 64}},
            "tasks": {"mlp": task},
            "schedules": {
                "triangle": {"profile": profile, "policy": {"kind": "fixed", "max_lr": 0.1}, "role": "benchmark"}
            },
            "cascade": {
                "dense": "triangle",
                "retrain": {"epochs": 3, "profile": {"kind": "cosine"}, "max_lr": 0.1, "weight_decay": 5e-4},
                "preludes": {"shedding": {"sparsity": 0.2, "epochs": 1, "max_lr": 0.1, "weight_decay": 0.5}},
                "shedding": {
                    "tasks": ["mlp"],
                    "epochs": 2,
                    "removable_images": 32,
                    "settings": [{"max_lr": 0.1, "weight_decay": 0.1, "pruned_shares": [0.1, 0.2]}],
                },
                "criteria": {
                    "tasks": ["mlp"],
                    "criteria": ["global_magnitude", "random"],
                    "sparsities": [0.5, 0.9],
                    "preludes": ["shedding"],
                    "prelude_criteria": ["layer_random"],
                },
                "retraining": {
                    "tasks": ["mlp"],
                    "criteria": ["global_magnitude"],
                    "sparsities": [0.8],
                    "rewind_epoch": 1,
                },
                "schedules": {
                    "tasks": ["mlp"],
                    "sparsity": 0.8,
                    "epochs": 3,
                    "weight_decay": 0.05,
                    "rounds": 3,
                    "ramp": {"share": 0.75, "every": 2},
                    "lr_schedules": {
                        "low": {"profile": {"kind": "constant"}, "max_lr": 0.001},
                        "cosine": {"profile": {"kind": "cosine"}, "max_lr": 0.1},
                    },
                },
                "gmp": {
                    "tasks": ["mlp"],
                    "sparsities": [0.8],
                    "ramp": {"share": 0.6, "every": 2},
                    "preludes": ["shedding"],
                },
                "semi_structured": {"tasks": ["mlp"], "patterns": [N_OF_M, BLOCKS], "preludes": ["shedding"]},
            }
            | cascade,
        },
        "tiny",
    )


def part_of(part, seed=0):
    return next(spec for spec in tiny().cascade_jobs() if (spec.part, spec.seed) == (part, seed))


def test_lr_rewinding_replays_the_dense_schedule_from_epoch_k_and_fine_tuning_goes_on_at_its_last_lr(run, start):
    spec = part_of("retraining")
    seen = run(spec)
    steps = DENSE_EPOCHS * STEPS
    dense = [spec.dense.profile_of().lr(step, steps, spec.dense.max_lr) for step in range(steps)]
    assert len(set(dense)) > 3
    for name in ("global_magnitude.s0.8", "control"):
        for how in ("rewind_lr", "rewind_weights"):
            assert seen.lr(f"{name}.{how}", 0) == dense[STEPS:]
        assert seen.lr(f"{name}.fine_tune", 0) == [dense[-1]] * (steps - STEPS)
    rows = seen.rows("epochs", arm="control.rewind_lr")
    assert [(row["epoch"], float(row["lr"])) for row in rows] == [("0", dense[5]), ("1", dense[8])]
    tensors, _ = load_tensors(start(spec))
    for name, kept in (("fine_tune", "model"), ("rewind_lr", "model"), ("rewind_weights", "kept/1")):
        first = seen.at(f"control.{name}").weights
        assert all(torch.equal(first[n], tensors[f"{kept}/{n}"]) for n in first)


@pytest.mark.parametrize("part", ["shedding", "criteria", "retraining", "schedules", "gmp", "semi_structured"])
def test_every_part_runs_with_a_row_for_each_phase(run, part):
    spec = part_of(part)
    seen = run(spec)
    wanted = [(one.name, str(number)) for one in spec.arms for number in range(len(one.phases))]
    assert [(row["arm"], row["phase"]) for row in seen.rows("phases")] == wanted
    assert {row["status"] for row in seen.rows("phases")} == {"trained"}
    wanted = [
        (one.name, str(number), str(epoch))
        for one in spec.arms
        for number, each in enumerate(one.phases)
        for epoch in range(each.epochs)
    ]
    assert [(row["arm"], row["phase"], row["epoch"]) for row in seen.rows("epochs")] == wanted
    assert bool(seen.rows("shedding")) is spec.measure.shedding
    assert set(load_tensors(seen.out / MASKS)[0]) == ({one.name for one in spec.arms} if part == "criteria" else set())
    stored = RetrainSpec.model_validate(json.loads((seen.out / "spec.json").read_text()))
    assert stored.digest() == spec.digest()
    assert {path.name for path in seen.out.iterdir()} == {
        *(f"{name}.csv" for name in COLUMNS),
        *(MASKS, "spec.json", "provenance.json"),
    }


# ------------------------------------------------------------------------------------------- arms that do not touch

MIXED = (
    arm("magnitude", phase(to(0.5))),
    arm("random", phase(to(0.3, "random"), max_lr=0.2, weight_decay=0.3), phase(to(0.8))),
    arm("gradient", phase(to(0.5, "global_gradient"))),
    arm("ramp", phase(to(0.8, share=0.6, every=2))),
    arm("rewound", phase(to(0.5), rewind=1), phase(N_OF_M, epochs=1)),
    arm("lost", phase(to(0.5), max_lr=1e30), phase(to(0.8)), phase(to(0.9))),
    arm(
        "harvest", phase(to(0.2), max_lr=0.2, weight_decay=0.8), phase({"kind": "shed", "below": 0.05, "at_most": 0.9})
    ),
    arm("plain", phase()),
)


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_an_arm_alone_in_a_job_gives_the_rows_that_it_gives_among_others(run, network):
    together = run(retraining(*MIXED, keep=[1], measure=FULL, network=network))
    backwards = run(retraining(*MIXED[::-1], keep=[1], measure=FULL, network=network))
    for one in MIXED:
        alone = run(retraining(one, keep=[1], measure=FULL, network=network))
        rows = rows_of(alone.out, one["name"])
        assert rows["phases"]
        assert rows_of(together.out, one["name"]) == rows
        assert rows_of(backwards.out, one["name"]) == rows
        masks = load_tensors(alone.out / MASKS)[0][one["name"]]
        assert torch.equal(load_tensors(together.out / MASKS)[0][one["name"]], masks)


def test_all_arms_see_the_same_images_in_the_same_order_and_not_those_of_the_dense_training(run):
    arms = (
        arm("one", phase(to(0.5), epochs=4)),
        arm("two", phase(to(0.5), epochs=1), phase(to(0.6), epochs=3)),
        arm("rewound", phase(to(0.5), rewind=1, epochs=2, first_epoch=1, profile_epochs=3), phase(epochs=2)),
    )
    seen = run(retraining(*arms, keep=[1]))
    for one in arms:
        orders = [epoch for name, epoch in seen.orders if name == one["name"]]
        assert orders == [DENSE_EPOCHS + epoch for epoch in range(4)]


def test_an_arm_s_first_loss_is_paired_with_its_control_s(run):
    """A prune of nothing and no LR: the same network on the same images, whatever the arm is called."""
    spec = retraining(arm("a", phase(max_lr=0.0)), arm("b", phase(to(0.0), max_lr=0.0, weight_decay=0.7)))
    rows = run(spec).rows("epochs")
    assert rows[0]["train_loss"] == rows[2]["train_loss"]


def test_the_test_split_selects_nothing(run, digits):
    order = torch.arange(len(digits.test)).roll(7)
    permuted = dataclasses.replace(digits, test=dataclasses.replace(digits.test, labels=digits.test.labels[order]))
    spec = retraining(*MIXED, keep=[1], measure=FULL)
    mine, its = results(run(spec).out), results(run(spec, data=permuted).out)
    for a, b in zip(mine.pop("phases"), its.pop("phases"), strict=True):
        assert {k for k in a if a[k] != b[k]} <= {"test_loss", "test_accuracy"}
    assert mine == its


# ------------------------------------------------------------------------------------------------------------- cost


def test_cost_counts_updates_images_and_flops(run):
    """Against the sizes written down: an MLP of 64 inputs, 13 hidden units, 10 classes."""
    spec = retraining(arm("a", phase(to(0.5, "layer_magnitude")), phase(to(0.75, "layer_magnitude"), epochs=1)))
    seen = run(spec)
    images = STEPS * 64
    dense, sparse, rows = 2 * (832 + 130), [416 + 65, 416 + 65, 208 + 33], seen.rows("epochs")
    assert [int(row["steps"]) for row in rows] == [3, 6, 9]
    for number, row in enumerate(rows, 1):
        assert float(row["flops"]) == 3 * images * dense * number
        assert float(row["flops_sparse"]) == pytest.approx(3 * images * 2 * sum(sparse[:number]), rel=1e-12)
    for row, epochs, left in zip(seen.rows("phases"), (2, 1), (416 + 65, 208 + 33), strict=True):
        assert (int(row["steps"]), int(row["images"])) == (STEPS * epochs, images * epochs)
        assert float(row["flops"]) == 3 * images * epochs * dense
        assert float(row["flops_sparse"]) == pytest.approx(3 * images * epochs * 2 * left, rel=1e-12)
        assert float(row["seconds"]) > 0
        assert float(row["peak_memory_mb"]) > 0


def test_sparse_flops_of_a_ramp_are_those_of_each_update_s_own_masks(run):
    """A weight of an MLP costs a multiplication and an addition per image, three times per update."""
    seen = run(retraining(arm("a", phase(to(0.2), epochs=1), phase(to(0.8, share=0.9, every=1), epochs=3))))
    costs = [3 * 64 * 2 * alive(moment.masks) for moment in seen.moments]
    assert len(set(costs)) > 5
    for row in seen.rows("epochs"):
        assert float(row["flops_sparse"]) == pytest.approx(sum(costs[: int(row["steps"])]), rel=1e-6)
    for row, part in zip(seen.rows("phases"), (costs[:STEPS], costs[STEPS:]), strict=True):
        assert float(row["flops_sparse"]) == pytest.approx(sum(part), rel=1e-6)


def test_accuracies_are_those_of_the_arm_s_final_network(run, digits):
    """Against a plain forward pass in float64."""
    seen = run(retraining(arm("a", phase(to(0.5)))))
    state = seen.end("a").weights
    row = seen.rows("phases")[0]
    for name, split in (("validation", digits.validation), ("test", digits.test)):
        x = ((split.images.double() / 255 - digits.mean[0]) / digits.std[0]).flatten(1)
        hidden = torch.relu(x @ state["hidden.0.weight"].double().T + state["hidden.0.bias"].double())
        logits = hidden @ state["classifier.weight"].double().T + state["classifier.bias"].double()
        assert float(row[f"{name}_accuracy"]) == float((logits.argmax(1) == split.labels).double().mean())
        loss = torch.nn.functional.cross_entropy(logits, split.labels)
        assert float(row[f"{name}_loss"]) == pytest.approx(float(loss), rel=1e-4)


# ------------------------------------------------------------------------------------------------------- divergence


def assert_lost(rows):
    for row in rows:
        assert (row["status"], row["validation_accuracy"], row["test_accuracy"]) == ("diverged", "0.1", "0.1")
        assert (row["validation_loss"], row["test_loss"]) == ("", "")


def test_an_arm_that_diverges_is_recorded_at_chance_with_all_its_phases(run):
    spec = retraining(
        arm("late", phase(to(0.5)), phase(to(0.6), max_lr=1e30), phase(to(0.8)), phase(to(0.9))),
        arm("control", phase(), follows=["late"]),
        arm("plain", phase(to(0.5))),
        measure=FULL,
    )
    seen = run(spec)
    rows = seen.rows("phases", arm="late")
    assert [row["phase"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[0]["status"] == "trained"
    assert_lost(rows[1:])
    assert [int(row["steps"]) for row in rows] == [6, 3, 0, 0]
    for row in rows[2:]:
        assert [float(row[k]) for k in ("steps", "images", "flops", "flops_sparse", "seconds")] == [0] * 5
    assert {row["status"] for name in ("control", "plain") for row in seen.rows("phases", arm=name)} == {"trained"}
    assert rows_of(seen.out, "plain") == rows_of(run(retraining(spec.arms[2], measure=FULL)).out, "plain")
    assert {row["phase"] for row in seen.rows("shedding", arm="late")} == {"0"}
    assert not resume_path(seen.out).exists()


def test_gradients_that_are_not_finite_end_an_arm_like_a_diverged_one(run, monkeypatch):
    def broken(*arguments):
        return {name: gradient * math.inf for name, gradient in mean_gradients(*arguments).items()}

    mean_gradients = job.mean_gradients
    monkeypatch.setattr(job, "mean_gradients", broken)
    lost = arm("a", phase(to(0.3), epochs=1), phase(to(0.5, "global_gradient")), phase(to(0.8)))
    seen = run(retraining(lost, arm("b", phase(to(0.5)))))
    rows = seen.rows("phases")
    assert [(row["arm"], row["phase"]) for row in rows] == [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0")]
    assert [row["status"] for row in rows] == ["trained", "diverged", "diverged", "trained"]
    assert_lost(rows[1:3])
    assert [int(row["steps"]) for row in rows] == [3, 0, 0, 6]
    assert {(m.arm, m.phase) for m in seen.moments} == {("a", 0), ("b", 0)}


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_from_a_diverged_dense_network_every_phase_of_every_arm_is_recorded_as_diverged(run, network):
    policy = {"kind": "fixed", "max_lr": 1e30}
    schedule = {"profile": {"kind": "constant"}, "policy": policy}
    spec = retraining(*MIXED, arm("control", phase(), follows=["ramp"]), keep=[1], network=network, schedule=schedule)
    seen = run(spec)
    rows = seen.rows("phases")
    wanted = [(one.name, str(number)) for one in spec.arms for number in range(len(one.phases))]
    assert [(row["arm"], row["phase"]) for row in rows] == wanted
    assert_lost(rows)
    for row in rows:
        assert [float(row[k]) for k in ("steps", "images", "flops", "flops_sparse", "clock")] == [0] * 5
    assert not seen.moments
    for name in ("epochs", "shedding", "histograms", "occupancy"):
        assert seen.rows(name) == []


# ------------------------------------------------------------------------------------------------------------ resume

RESUMED = (
    arm("random", phase(to(0.3, "random"), max_lr=0.2, weight_decay=0.3, epochs=1), phase(to(0.8), epochs=1)),
    arm("ramp", phase(to(0.8, share=0.7, every=1))),
    arm("rewound", phase(to(0.5), rewind=1, epochs=1), phase(N_OF_M, epochs=1)),
    arm("lost", phase(max_lr=1e30), phase(epochs=1)),
    arm("control", phase(max_lr=0.2, weight_decay=0.3), follows=["random", "ramp"]),
)
UPDATES = 6 + 6 + 6 + 3 + 6


@pytest.fixture(scope="module")
def undisturbed():
    return {}


@pytest.mark.parametrize(
    ("network", "at"),
    [
        *((MLP, at) for at in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 15, 17, 18, 20, 21, 22, 24, 26)),
        *((RESNET, at) for at in (0, 4, 8, 13, 19, 23)),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else value,
)
def test_killed_and_resumed_ends_with_the_same_bytes(run, tmp_path, capsys, undisturbed, network, at):
    """Updates 3, 9 and 15 are the first of a phase or an epoch, 6, 12, 18 and 21 of an arm."""
    spec = retraining(*RESUMED, keep=[1], measure=FULL, network=network)
    if network["kind"] not in undisturbed:
        seen = run(spec)
        assert len(seen.moments) == UPDATES
        undisturbed[network["kind"]] = results(seen.out)
    with pytest.raises(Killed):
        run(spec, out=tmp_path, resume=KilledAt(resume_path(tmp_path), spec.digest(), at))
    assert not (tmp_path / "phases.csv").exists()
    capsys.readouterr()
    run(spec, out=tmp_path)
    assert "going on in" in capsys.readouterr().out
    assert results(tmp_path) == undisturbed[network["kind"]]
    assert not resume_path(tmp_path).exists()


def test_killed_before_every_single_update(run, tmp_path):
    """A process that never does more than one update between two kills."""
    spec = retraining(*RESUMED, keep=[1], measure=FULL)
    kills = 0
    while True:
        try:
            run(spec, out=tmp_path, resume=KilledAt(resume_path(tmp_path), spec.digest(), 1))
            break
        except Killed:
            kills += 1
            assert kills < 2 * UPDATES
    assert kills == UPDATES - 1
    assert results(tmp_path) == results(run(spec).out)


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("damage", ["another seed", "text", "missing", "other epochs kept"])
def test_a_start_that_is_not_the_spec_s_dense_network_is_refused(run, start, tmp_path, damage):
    spec = retraining(arm("a", phase(rewind=1)), keep=[1])
    network = tmp_path / "network.safetensors"
    if damage == "another seed":
        network = start(retraining(arm("a", phase()), keep=[1], seed=1))
    elif damage == "other epochs kept":
        network = start(retraining(arm("a", phase())))
    elif damage == "text":
        network.write_text("text")
    with pytest.raises(InputError, match=str(network)):
        run(spec, network=network, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ([], ["'arms'", "at least 1"]),
        ([arm("a")], ["'arms.0.phases'", "at least 1"]),
        ([arm("a", phase()), arm("a", phase())], ["the same arm twice: a"]),
        ([arm("a", phase(), follows=["b"]), arm("b", phase())], ["arm a follows 'b'", "no earlier arm"]),
        ([arm("a", phase(), follows=["a"])], ["arm a follows 'a'"]),
        ([arm("a", phase(rewind=2))], ["arm a rewinds to epoch 2", "dense.keep"]),
        ([arm("a", phase(to(0.5, "lampp")))], ["arms.0.phases.0.prune.0", "mean 'lamp'?"]),
        ([arm("a", phase(to(1.0)))], ["sparsity", "less than 1"]),
        ([arm("a", phase(to(0.5, "global_weight_change")))], ["arm a prunes by global_weight_change"]),
        ([arm("a", phase({"kind": "n_of_m", "n": 4, "m": 4}))], ["n is 4", "below m, 4"]),
        ([arm("a", phase({"kind": "of"}))], ["prune.0", "'of'", "blocks, n_of_m, shed, sparsity"]),
        ([arm("a", phase(profile="cosin"))], ["profile", "mean 'cosine'?"]),
        ([arm("a", phase(first=1))], ["unknown key", "mean 'first_epoch'?"]),
        ([arm("a", phase(max_lr=-1))], ["max_lr", "greater than or equal to 0"]),
        ([arm("a", phase(weight_decay=-1))], ["weight_decay", "greater than or equal to 0"]),
        ([arm("a", phase(epochs=0))], ["epochs", "greater than or equal to 1"]),
        ([arm("a", phase(rewind=-1))], ["rewind", "greater than or equal to 0"]),
    ],
    ids=lambda value: value[0] if value and isinstance(value[0], str) else "",
)
def test_a_spec_by_hand_that_cannot_be_run_is_one_line(arms, words):
    with pytest.raises(InputError) as caught:
        retraining(*arms, keep=[1])
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


def test_an_lr_profile_that_ends_before_the_phase_is_one_line(run):
    with pytest.raises(InputError, match="step"):
        run(retraining(arm("a", phase(epochs=2, profile_epochs=1))))


# ----------------------------------------------------------------------------------------------------------- overlap


@pytest.fixture
def kept(run, tmp_path):
    """The folders of two seeds' jobs of the criteria part."""
    return [run(part_of("criteria", seed), out=tmp_path / f"seed-{seed}").out for seed in (0, 1)]


def alive_in(folder, name):
    """Per layer, the set of the indices that an arm keeps, bit by bit from the file."""
    packed, metadata = load_tensors(folder / MASKS)
    bits = [int(bit) for byte in packed[name].tolist() for bit in f"{byte:08b}"]
    layers, begin = {}, 0
    for layer, size in json.loads(metadata["layers"]):
        layers[layer] = ({i for i in range(size) if bits[begin + i]}, size)
        begin += size
    return layers


def test_the_overlap_of_masks_is_that_of_sets(kept, tmp_path):
    compare(kept, tmp_path / "overlap.csv")
    rows = table(tmp_path, "overlap")
    plain, begun = ("global_magnitude", "random"), ("layer_random.shedding",)
    expected = set()
    for sparsity in ("0.5", "0.9"):
        arms = [f"{name}.s{sparsity}" for name in (*plain, *begun)]
        for seed in ("0", "1"):
            expected |= {(sparsity, a, seed, b, seed) for a, b in itertools.combinations(arms, 2)}
        expected |= {(sparsity, a, "0", a, "1") for a in arms}
    keys = [tuple(row[k] for k in ("sparsity", "arm_a", "seed_a", "arm_b", "seed_b")) for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == expected
    for row in rows:
        a, b = (alive_in(kept[int(row[f"seed_{x}"])], row[f"arm_{x}"]) for x in "ab")
        both = sum(len(a[layer][0] & b[layer][0]) for layer in a)
        either = sum(len(a[layer][0] | b[layer][0]) for layer in a)
        assert float(row["jaccard"]) == both / either
        common = sum(len(a[layer][0]) * len(b[layer][0]) / size for layer, (_, size) in a.items())
        apart = sum(len(a[layer][0]) + len(b[layer][0]) for layer in a) - common
        assert float(row["chance"]) == pytest.approx(common / apart, rel=1e-12)


def test_masks_in_the_file_are_those_that_the_arm_ended_with(run):
    spec = part_of("criteria")
    seen = run(spec)
    for one in spec.arms:
        masks = seen.end(one.name, len(one.phases) - 1).masks
        layers = alive_in(seen.out, one.name)
        assert layers.keys() == masks.keys()
        for name, mask in masks.items():
            assert layers[name] == (set(mask.flatten().nonzero().flatten().tolist()), mask.numel())


def test_one_job_alone_is_compared_within_itself(kept, tmp_path):
    compare(kept[:1], tmp_path / "overlap.csv")
    rows = table(tmp_path, "overlap")
    assert len(rows) == 2 * 3
    assert {(row["seed_a"], row["seed_b"]) for row in rows} == {("0", "0")}


@pytest.mark.parametrize("damage", ["no masks", "no file", "text", "no spec", "another part", "short"])
def test_masks_that_cannot_be_compared_are_named(kept, run, tmp_path, damage):
    folder, file = kept[1], kept[1] / MASKS
    if damage == "no masks":
        save_tensors(file, {}, load_tensors(file)[1])
    elif damage == "no file":
        file.unlink()
    elif damage == "text":
        file.write_text("text")
    elif damage == "no spec":
        (folder / "spec.json").unlink()
    elif damage == "another part":
        folder = run(part_of("gmp"), out=tmp_path / "gmp").out
    elif damage == "short":
        packed, metadata = load_tensors(file)
        save_tensors(file, {name: bits[:-1] for name, bits in packed.items()}, metadata)
    with pytest.raises(InputError, match=str(folder)):
        compare([kept[0], folder], tmp_path / "overlap.csv")
    assert not (tmp_path / "overlap.csv").exists()


def test_masks_of_different_networks_are_not_compared(kept, run, tmp_path):
    other = retraining(
        arm("random.s0.5", phase(to(0.5, "random")), sparsity=0.5), measure={"masks": True}, network=RESNET
    )
    folder = run(other, out=tmp_path / "other").out
    with pytest.raises(InputError, match="same names"):
        compare([kept[0], folder], tmp_path / "overlap.csv")


def test_many_random_jobs_keep_their_masks_exact(run):
    """Arms drawn at random, so that combinations nobody thought of are met too."""
    draw = random.Random(5)
    for _ in range(6):
        sparsity, phases = 0.0, []
        for _ in range(draw.randint(1, 4)):
            sparsity += (0.97 - sparsity) * draw.random() * 0.7
            ramp = {"share": draw.random() or 1.0, "every": draw.randint(1, 4)} if draw.random() < 0.5 else {}
            criterion = draw.choice(["global_magnitude", "random", "lamp", "global_gradient"])
            phases.append(phase(to(sparsity, criterion, **ramp), epochs=draw.randint(1, 2)))
        seen = run(retraining(arm("a", *phases)))
        for number, each in enumerate(phases):
            end = seen.end("a", number)
            assert alive(end.masks) == survivors(total(end.masks), 1 - each["prune"][0]["sparsity"])
            assert alive(seen.of("a", number)[-1].masks) == alive(end.masks)  # before the last update, not after it
        assert_zero_where_pruned(seen)
        assert_monotone(seen.moments)
