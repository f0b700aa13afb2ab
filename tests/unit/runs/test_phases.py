"""What a phase begins with and how it trains: weights kept, rewound or drawn anew, the LR of every update, seeds."""

import dataclasses
import math

import pytest
import torch

from prunebench.errors import InputError

PROFILES = [
    {"kind": "cyclical"},
    {"kind": "warmup_step_decay", "warmup": 0.5, "milestones": [0.5, 0.7]},
    {"kind": "constant"},
]


def masked(weights, masks):
    """A network of these weights under masks: pruned weights are 0, everything else is as it was, to the bit."""
    return {
        name: torch.where(masks[name], tensor, torch.zeros_like(tensor)) if name in masks else tensor
        for name, tensor in weights.items()
    }


def momentum_is_zero(moment):
    return not any(tensor.any() for tensor in moment.state["momentum"])


# --- The weights that a phase begins with


def test_a_phase_goes_on_from_the_trained_weights_with_momentum_at_zero(workshop):
    cycles = [workshop.phase(prune=[workshop.prune(s)]) for s in (0.5, 0.75)]
    seen = workshop.watch(workshop.spec([workshop.phase(), *cycles], network=workshop.resnet))
    for number in (1, 2):
        begun = seen.at(phase=number)
        assert workshop.same(begun.weights, masked(seen.end(phase=number - 1).weights, begun.masks))
        assert momentum_is_zero(begun)
        assert not momentum_is_zero(seen.end(phase=number))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_weight_rewinding_restores_epoch_k_to_the_bit_where_the_trained_network_keeps_weights(workshop, epoch):
    """It is the trained network that decides which weights stay (Renda et al. 2020)."""
    dense = workshop.phase(keep=[0, 1, 2])
    trained = workshop.spec([dense], network=workshop.resnet, hands_on="kept")
    workshop.run(trained)
    at = workshop.watch(trained)
    at_k = [at.at(), at.at(done=3), at.end()][epoch].weights
    cut = [workshop.prune(0.5)]
    start = workshop.trained(trained)
    arms = {
        "own": {"phases": [dense, workshop.phase(prune=cut, rewind=epoch)]},
        "started": {"start": start, "phases": [workshop.phase(prune=cut, rewind=epoch)]},
        "not rewound": {"start": start, "phases": [workshop.phase(prune=cut)]},
        "nothing pruned": {"start": start, "phases": [workshop.phase(rewind=epoch)]},
        "later": {
            "start": start,
            "phases": [workshop.phase(prune=[workshop.prune(0.3)]), workshop.phase(prune=cut, rewind=epoch)],
        },
    }
    seen = workshop.watch(workshop.spec(*({"name": name} | arm for name, arm in arms.items()), network=workshop.resnet))
    for name in ("own", "started", "nothing pruned", "later"):
        begun = seen.at(name, phase=len(arms[name]["phases"]) - 1)
        assert workshop.same(begun.weights, masked(at_k, begun.masks)), name
        assert momentum_is_zero(begun)
    kept = seen.at("not rewound").masks
    assert workshop.same(seen.at("own", 1).masks, kept)
    assert workshop.same(seen.at("started").masks, kept)
    seen.assert_masks_hold()


def test_reinitialised_weights_are_new_in_every_cycle_and_the_same_under_every_schedule(workshop):
    def phases(profile):
        cycles = [
            workshop.phase(prune=[workshop.prune(1 - 0.5**n, "random", draw=n)], reinitialise=n, profile=profile)
            for n in (1, 2)
        ]
        return [workshop.phase(profile=profile), *cycles]

    arms = [{"name": kind, "phases": phases({"kind": kind})} for kind in ("constant", "cosine")]
    seen = workshop.watch(workshop.spec(*arms, network=workshop.resnet))
    begun = [seen.at("constant", number) for number in range(3)]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        for name, mask in begun[later].masks.items():
            drawn = begun[later].weights[name][mask]
            assert not (drawn == begun[earlier].weights[name][mask]).any()
            if drawn.numel() > 50:
                assert drawn.std() == pytest.approx(float(begun[0].weights[name].std()), rel=0.5)
    for moment in begun:
        assert not moment.weights["bn.running_mean"].any()
        assert workshop.same(moment.weights, seen.at("cosine", moment.phase).weights)


def test_a_border_of_phases_at_which_nothing_happens_changes_nothing(workshop):
    halves = [
        workshop.phase(epochs=1, profile_epochs=2, first_epoch=first, order=first, carry=bool(first))
        for first in (0, 1)
    ]
    arms = {"name": "whole", "phases": [workshop.phase()]}, {"name": "halves", "phases": halves}
    seen = workshop.watch(workshop.spec(*arms, network=workshop.resnet))
    whole, half = seen.end("whole"), seen.end("halves", 1)
    assert workshop.same(whole.weights, half.weights)
    assert all(map(torch.equal, whole.state["momentum"], half.state["momentum"]))
    assert seen.lr("whole") == seen.lr("halves")


def test_batch_normalisation_is_recalibrated_on_training_images_at_the_start_and_after_each_epoch(workshop, digits):
    """The first layer's statistics, against its outputs in float64."""
    phases = [
        workshop.phase(prune=[workshop.prune(0.5)], max_lr=0.2, recalibrate=1000),
        workshop.phase(prune=[workshop.prune(0.7)], recalibrate=1000),
    ]
    seen = workshop.watch(workshop.spec(phases, network=workshop.resnet))
    images = (digits.train.images.double() / 255 - digits.mean[0]) / digits.std[0]
    for moment in (seen.at(), seen.at(done=3), seen.end(), seen.at(phase=1), seen.end(phase=1)):
        weight = moment.weights["conv.weight"].double()
        outputs = torch.nn.functional.conv2d(images, weight, padding=weight.shape[-1] // 2)
        for name, expected in (("mean", outputs.mean((0, 2, 3))), ("var", outputs.var((0, 2, 3)))):
            torch.testing.assert_close(moment.weights[f"bn.running_{name}"].double(), expected, rtol=1e-4, atol=1e-5)


# --- The LR of every update


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile["kind"])
@pytest.mark.parametrize(("first", "epochs", "span"), [(0, 3, None), (2, 1, 3), (1, 2, 4)])
def test_every_update_and_every_recorded_lr_is_the_profile_s(workshop, profile, first, epochs, span):
    phases = [
        workshop.phase(epochs=epochs, profile=profile, max_lr=m, first_epoch=first, profile_epochs=span)
        for m in (0.3, 0.05)
    ]
    spec = workshop.spec(phases)
    seen = workshop.watch(spec)
    shape, total = spec.arms[0].phases[0].profile, 3 * (span or epochs)
    expected = [shape.lr(first * 3 + step, total, m) for m in (0.3, 0.05) for step in range(3 * epochs)]
    assert seen.lrs == expected
    assert [float(row["lr"]) for row in seen.rows("epochs")] == expected[2::3]
    assert [(row["phase"], row["epoch"]) for row in seen.rows("epochs")] == [
        (str(n), str(e)) for n in (0, 1) for e in range(epochs)
    ]
    assert [float(row["max_lr"]) for row in seen.rows("phases")] == [0.3, 0.05]


def test_an_lr_profile_that_ends_before_the_phase_is_refused(workshop):
    with pytest.raises(InputError, match="step"):
        workshop.run(workshop.spec([workshop.phase(profile_epochs=1)]))


def test_the_clock_is_weight_decay_times_the_sum_of_the_lr_of_the_updates(workshop):
    decays = [0.02, 0.0, 0.3]
    more = [
        {"max_lr": 0.1},
        {"profile": {"kind": "cyclical"}, "epochs": 1},
        {"max_lr": 0.2, "first_epoch": 1, "profile_epochs": 4},
    ]
    phases = [
        workshop.phase(update={"kind": "sgd", "weight_decay": decay}, **keys)
        for decay, keys in zip(decays, more, strict=True)
    ]
    seen = workshop.watch(workshop.spec(phases))
    ticks = [decay * lr for number, decay in enumerate(decays) for lr in seen.lr(phase=number)]
    assert len(ticks) == 5 * 3
    for row in seen.rows("epochs"):
        assert float(row["clock"]) == pytest.approx(math.fsum(ticks[: int(row["steps"])]), rel=1e-15)
    for row, steps in zip(seen.rows("phases"), (6, 9, 15), strict=True):
        assert float(row["clock"]) == pytest.approx(math.fsum(ticks[:steps]), rel=1e-15)


# --- Seeds and arms


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_a_seed_gives_the_same_bytes_whatever_the_global_generator_says(workshop, network):
    probes = [{"kind": "gradients", "images": 100}]
    phases = [workshop.phase(probes=probes), workshop.phase(prune=[workshop.prune(0.5, "random")], probes=probes)]
    spec = workshop.spec(phases, network=getattr(workshop, network), hands_on="kept")
    torch.manual_seed(1)
    one = workshop.results(workshop.run(spec))
    torch.manual_seed(2)
    torch.rand(17)
    assert workshop.results(workshop.run(spec, workshop.runs / "again")) == one


def test_another_seed_has_other_weights_from_the_start(workshop):
    one, other = (workshop.watch(workshop.spec([workshop.phase()], seed=seed)) for seed in (0, 1))
    assert not torch.equal(one.at().weights["hidden.0.weight"], other.at().weights["hidden.0.weight"])
    for mine, its in zip(one.rows("epochs"), other.rows("epochs"), strict=True):
        assert all(mine[column] != its[column] for column in ("train_loss", "validation_loss"))


def test_another_draw_is_another_initialisation_of_the_seed(workshop):
    arms = [
        {"name": str(draw), "start": {"kind": "init", "draw": draw}, "phases": [workshop.phase(epochs=1)]}
        for draw in (None, "second")
    ]
    first, second = (workshop.watch(workshop.spec(*arms)).at(name).weights for name in ("None", "second"))
    assert not torch.equal(first["hidden.0.weight"], second["hidden.0.weight"])


def test_a_seed_pairs_schedules_at_the_same_network_and_the_same_images(workshop):
    """Two schedules with the same first LRs have the same first loss."""
    phases = [workshop.phase(profile=p) for p in ({"kind": "constant"}, {"kind": "step_decay", "milestones": [0.5]})]
    rows = workshop.rows(workshop.run(workshop.spec(*([one] for one in phases))), "epochs")
    losses = [row["train_loss"] for row in rows]
    assert losses[0] == losses[2]
    assert losses[1] != losses[3]


def mixed(workshop):
    """Arms that have little in common."""
    phase, prune = workshop.phase, workshop.prune
    shedding = phase(prune=[prune(0.2)], max_lr=0.2, update={"kind": "sgd", "weight_decay": 0.8})
    arms = {
        "magnitude": [phase(prune=[prune(0.5)])],
        "random": [phase(prune=[prune(0.3, "random")]), phase(prune=[prune(0.8)])],
        "gradient": [phase(prune=[prune(0.5, "global_gradient")])],
        "ramp": [phase(prune=[prune(0.8, ramp={"share": 0.6, "every": 2})])],
        "rewound": [phase(keep=[1]), phase(prune=[{"kind": "n_of_m", "n": 2, "m": 4}], rewind=1)],
        "lost": [phase(max_lr=1e30), phase(prune=[prune(0.8)])],
        "harvest": [shedding, phase(prune=[{"kind": "shed", "below": 0.05, "at_most": 0.9}])],
        "grda": [phase(update={"kind": "grda", "c": 0.05, "mu": 0.6})],
        "plain": [phase()],
    }
    return [{"name": name, "phases": phases} for name, phases in arms.items()]


@pytest.mark.parametrize(("network", "every"), [("mlp", 1), ("resnet", 4)])
def test_an_arm_alone_in_a_job_is_the_arm_that_it_is_among_others(workshop, network, every):
    arms = mixed(workshop)[::every]
    probes = [{"kind": "shedding"}, {"kind": "weights"}, {"kind": "occupancy", "sizes": [4]}]
    for arm in arms:
        arm["phases"] = [phase | {"probes": probes} for phase in arm["phases"]]

    def rows(*some):
        spec = workshop.spec(*some, network=getattr(workshop, network), hands_on="masks")
        out = workshop.run(spec)
        tables = {table: workshop.results(out)[f"{table}.csv"] for table in spec.tables}
        return {
            arm["name"]: {table: [row for row in all_ if row["arm"] == arm["name"]] for table, all_ in tables.items()}
            for arm in some
        }

    together = rows(*arms)
    assert rows(*arms[::-1]) == together
    for arm in arms:
        assert rows(arm) == {arm["name"]: together[arm["name"]]}


def test_the_test_split_selects_nothing(workshop, digits):
    """With other test labels every number but those of the test split is the same."""
    spec = workshop.spec(*mixed(workshop), hands_on="best")
    test = dataclasses.replace(digits.test, labels=digits.test.labels.roll(7))
    one = workshop.results(workshop.run(spec))
    other = workshop.results(workshop.run(spec, workshop.runs / "other", data=dataclasses.replace(digits, test=test)))
    for mine, its in zip(one.pop("phases.csv"), other.pop("phases.csv"), strict=True):
        assert {k for k in mine if mine[k] != its[k]} <= {"test_loss", "test_accuracy"}
        assert mine["status"] == "diverged" or mine["test_loss"] != its["test_loss"]
    assert one == other


# --- From another job's network


CASES = {
    "magnitude": {},
    "batch norm": {"network": "resnet"},
    "normalisation pruned": {"network": "resnet", "include_norm": True},
    "weights of an epoch before": {"criterion": "layer_weight_times_change"},
    "gradient": {"criterion": "global_gradient", "network": "resnet"},
    "random": {"criterion": "random"},
    "rewound to the start": {"rewind": 0, "network": "resnet"},
    "rewound to epoch 1": {"rewind": 1},
    "rewound, weights of an epoch before": {"rewind": 1, "criterion": "layer_weight_times_change"},
    "diverged": {"max_lr": 1e30},
}


@pytest.mark.parametrize("case", CASES)
def test_a_chain_from_another_job_s_network_is_the_one_that_trains_it_itself(workshop, case):
    keys = dict(CASES[case])
    network = getattr(workshop, keys.pop("network", "mlp"))
    norm = {"include_norm": keys.pop("include_norm", False), "network": network}
    criterion = keys.pop("criterion", "global_magnitude")
    rewind = {"rewind": keys.pop("rewind", None)}
    dense = workshop.phase(keep=[0, 1, 2], keep_previous=True, **keys)
    cycles = [workshop.phase(prune=[workshop.prune(s, criterion)], keep_previous=True, **rewind) for s in (0.5, 0.75)]
    alone = workshop.watch(workshop.spec([dense, *cycles], **norm))
    trained = workshop.spec([dense], hands_on="kept", **norm)
    workshop.run(trained)
    started = workshop.watch(workshop.spec({"start": workshop.trained(trained), "phases": cycles}, **norm))
    left_out = {"phase", "steps", "clock", "flops", "flops_sparse", "seconds", "peak_memory_mb"}  # the arm's so far
    for table in ("epochs", "phases"):
        one = [{k: v for k, v in row.items() if k not in left_out} for row in alone.rows(table) if row["phase"] != "0"]
        other = [{k: v for k, v in row.items() if k not in left_out} for row in started.rows(table)]
        assert one == other
        assert bool(one) is (case != "diverged" or table == "phases")
    if case != "diverged":
        assert workshop.same(alone.end(phase=2).weights, started.end(phase=1).weights)
        assert workshop.same(alone.end(phase=2).masks, started.end(phase=1).masks)
