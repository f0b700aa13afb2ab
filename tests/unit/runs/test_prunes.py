"""Prunes: exact counts, masks that only shrink, weights that stay zero, gradual curves, patterns, the harvest."""

import dataclasses
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.analysis.shedding import shed
from prunebench.errors import InputError
from prunebench.pruning.criteria import CRITERIA
from prunebench.runs.prune import harvest
from prunebench.runs.spec import Shed

COMPARING = [name for name, criterion in CRITERIA.items() if criterion.needs_previous_weights]
NETWORKS = ["mlp", "resnet"]


def kept_of(size, sparsity):
    """How many of `size` weights are left: the nearest integer, halves rounded up."""
    return math.floor(size * (1 - sparsity) + 0.5)


def counts(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


# --- Criteria


@pytest.mark.parametrize("network", NETWORKS)
def test_masks_of_every_criterion_are_exactly_at_their_sparsity_in_every_phase(workshop, network):
    sparsities = (0.3, 0.3, 0.75)
    phase, prune = workshop.phase, workshop.prune
    dense = phase(epochs=1, keep_previous=True)

    def arm(criterion):
        cycles = [
            phase(prune=[prune(s, criterion, draw=n)], epochs=1, keep_previous=True) for n, s in enumerate(sparsities)
        ]
        return {"name": criterion, "phases": [dense, *cycles]}

    seen = workshop.watch(workshop.spec(*map(arm, CRITERIA), network=getattr(workshop, network)))
    for name, criterion in CRITERIA.items():
        for number, sparsity in enumerate(sparsities, 1):
            for moment in (*seen.of(name, number), seen.end(name, number)):
                if criterion.scope == "layer" and not criterion.ratios:
                    assert counts(moment.masks) == {n: kept_of(m.numel(), sparsity) for n, m in moment.masks.items()}
                else:
                    assert moment.alive == kept_of(moment.size, sparsity)
            row = seen.rows("phases", arm=name, phase=number)[0]
            assert float(row["sparsity"]) == 1 - moment.alive / moment.size == 1 - float(row["density"])
            assert row["sparsity_start"] == row["sparsity"]
            assert {e["sparsity"] for e in seen.rows("epochs", arm=name, phase=number)} == {row["sparsity"]}
    seen.assert_masks_hold()
    gmp, drawn = (seen.at(name, 1).masks for name in ("global_magnitude", "random_gmp_ratios"))
    assert counts(drawn) == counts(gmp)
    assert not workshop.same(drawn, gmp)


@pytest.mark.parametrize("what", ["keep", "rewind", "reinitialise"])
@pytest.mark.parametrize("criterion", ["global_magnitude", "random", "layer_gradient"])
def test_pruned_weights_stay_zero_whatever_becomes_of_the_others(workshop, what, criterion):
    phase, prune = workshop.phase, workshop.prune
    after = {"keep": {}, "rewind": {"rewind": 1}, "reinitialise": {"reinitialise": 1}}[what]
    cycles = [phase(prune=[prune(s, criterion)], **after) for s in (0.5, 0.75)]
    seen = workshop.watch(workshop.spec([phase(keep=[1]), *cycles], network=workshop.resnet))
    seen.assert_masks_hold()
    last = seen.end(phase=2)
    assert last.size - last.alive > 0
    assert all(last.weights[name][mask].any() for name, mask in last.masks.items() if mask.any())


def test_global_magnitude_keeps_the_largest_weights(workshop):
    phases = [workshop.phase(), workshop.phase(prune=[workshop.prune(0.4)])]
    seen = workshop.watch(workshop.spec(phases, network=workshop.resnet))
    trained, pruned = seen.end(), seen.at(phase=1)
    sizes = torch.cat([weight.abs().flatten() for weight in trained.prunable.values()])
    kept = torch.cat([mask.flatten() for mask in pruned.masks.values()])
    assert sizes[kept].min() >= sizes[~kept].max()
    for name, mask in pruned.masks.items():
        assert torch.equal(pruned.weights[name], trained.weights[name] * mask)


@pytest.mark.parametrize("criterion", COMPARING)
def test_a_criterion_of_change_compares_with_the_weights_of_one_epoch_before(workshop, monkeypatch, criterion):
    asked = []
    score = CRITERIA[criterion].score

    def heard(inputs):
        asked.append({name: weight.clone() for name, weight in inputs.weights.items()})
        asked.append(dict(inputs.previous_weights))
        return score(inputs)

    monkeypatch.setitem(CRITERIA, criterion, dataclasses.replace(CRITERIA[criterion], score=heard))
    phases = [workshop.phase(epochs=3, keep_previous=True), workshop.phase(prune=[workshop.prune(0.5, criterion)])]
    seen = workshop.watch(workshop.spec(phases))
    assert workshop.same(asked[0], seen.end().prunable)
    assert workshop.same(asked[1], seen.at(done=6).prunable)


def test_gradient_criteria_see_the_stated_images_without_augmentation(workshop, digits, monkeypatch):
    from prunebench.runs import prune

    asked, mean_gradients = [], prune.mean_gradients

    def heard(model, parameters, batches):
        batches = list(batches)
        asked.append(batches)
        return mean_gradients(model, parameters, batches)

    monkeypatch.setattr(prune, "mean_gradients", heard)
    for images in (70, None):
        scored = workshop.prune(0.5, "global_gradient", score_images=images)
        workshop.run(workshop.spec([workshop.phase(), workshop.phase(prune=[scored])]))
        seen, labels = (torch.cat(parts) for parts in zip(*asked.pop(), strict=True))
        assert torch.equal(labels, digits.train.labels[:images])
        expected = (digits.train.images[:images].double() / 255 - digits.mean[0]) / digits.std[0]
        torch.testing.assert_close(seen.double(), expected, rtol=1e-5, atol=1e-6)
        assert not asked


@pytest.mark.parametrize("include_norm", [False, True])
def test_normalisation_weights_are_pruned_only_where_asked(workshop, include_norm):
    phases = [workshop.phase(epochs=1, prune=[workshop.prune(0.9)])]
    seen = workshop.watch(workshop.spec(phases, network=workshop.resnet, include_norm=include_norm))
    assert ("bn.weight" in seen.end().masks) is include_norm


def test_draws_of_random_prunes_are_not_nested(workshop):
    prune, phase = workshop.prune, workshop.phase
    once = {"name": "once", "phases": [phase(prune=[prune(0.5, "random")])]}
    twice = {"name": "twice", "phases": [phase(prune=[prune(0.5, "random", draw=1)])]}
    seen = workshop.watch(workshop.spec(once, twice))
    kept, other = seen.at("once").masks, seen.at("twice").masks
    common = sum(int((kept[name] & other[name]).sum()) for name in kept) / seen.at("once").alive
    assert common == pytest.approx(0.5, abs=0.1)  # by chance


# --- Gradual pruning


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
def test_a_ramp_is_on_the_cubic_curve_at_every_prune(workshop, share, every, prunes, criterion, begin):
    final, prune = 0.8, workshop.prune
    first = [workshop.phase(prune=[prune(begin)], epochs=1)] if begin else []
    ramp = workshop.phase(prune=[prune(final, criterion, ramp={"share": share, "every": every})], epochs=4)
    seen = workshop.watch(workshop.spec([*first, ramp]))
    moments = seen.of(phase=len(first))
    size = moments[0].size
    now = start = 1 - kept_of(size, begin) / size
    for moment in moments:
        if moment.done in prunes:
            now = cubic(start, final, moment.done, prunes[-1])
        assert moment.alive == kept_of(size, now), moment.done
    assert moments[-1].alive == kept_of(size, final)
    seen.assert_masks_hold()
    row = seen.rows("phases")[-1]
    assert float(row["sparsity_start"]) == pytest.approx(start, abs=1e-12)
    assert float(row["sparsity"]) == 1 - kept_of(size, final) / size


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_ramp_over_very_few_updates_reaches_its_target_before_the_last(workshop, epochs):
    ramp = workshop.prune(0.8, ramp={"share": 1.0, "every": 1})
    seen = workshop.watch(workshop.spec([workshop.phase(prune=[ramp], epochs=epochs)], batch_size=192))
    assert len(seen.of()) == epochs
    assert seen.of()[-1].alive == kept_of(seen.end().size, 0.8)


def test_a_ramp_to_less_than_is_pruned_already_changes_nothing(workshop):
    ramp = workshop.prune(0.5, ramp={"share": 0.5, "every": 1})
    phases = [workshop.phase(prune=[workshop.prune(0.7)], epochs=1), workshop.phase(prune=[ramp])]
    seen = workshop.watch(workshop.spec(phases))
    assert all(workshop.same(moment.masks, seen.at().masks) for moment in seen.moments)


# --- N:M and blocks

BEFORE = ["at once", "after a prune", "after shedding"]


def before(workshop, name):
    """The phases before a pattern."""
    decay = {"kind": "sgd", "weight_decay": 1.0}
    shedding = workshop.phase(prune=[workshop.prune(0.2)], max_lr=0.2, update=decay, epochs=4)
    plain = workshop.phase(prune=[workshop.prune(0.6)], epochs=1)
    return {"at once": [], "after a prune": [plain], "after shedding": [shedding]}[name]


def groups_of(tensor, m):
    """(groups, m): consecutive along dim 1 at a fixed output and kernel position."""
    return tensor.movedim(1, -1).reshape(-1, m)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("when", BEFORE)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 8)])
def test_of_every_m_weights_exactly_the_n_largest_survive(workshop, network, when, n, m):
    first = [workshop.phase(epochs=1), *before(workshop, when)]
    pattern = workshop.phase(prune=[{"kind": "n_of_m", "n": n, "m": m}], epochs=1)
    seen = workshop.watch(workshop.spec([*first, pattern], network=getattr(workshop, network)))
    number, trained = len(first), seen.end(phase=len(first) - 1)
    grouped = [name for name, mask in trained.masks.items() if mask.shape[1] % m == 0]
    assert grouped
    for moment in (*seen.of(phase=number), seen.end(phase=number)):
        for name, mask in moment.masks.items():
            if name in grouped:
                assert set(groups_of(mask, m).sum(1).tolist()) == {n}, name
            else:
                assert torch.equal(mask, trained.masks[name]), name
    for name in grouped:
        sizes, kept = groups_of(trained.weights[name].abs(), m), groups_of(seen.at(phase=number).masks[name], m)
        smallest = sizes.masked_fill(~kept, math.inf).amin(1)
        largest = sizes.masked_fill(kept, -math.inf).amax(1)
        assert bool((smallest >= largest).all()), name
    row = seen.rows("phases", phase=number)[0]
    assert float(row["sparsity"]) == 1 - moment.alive / moment.size


@pytest.mark.parametrize("when", BEFORE)
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_blocks_are_whole_or_gone_and_exactly_as_many_as_asked_for(workshop, when, sparsity):
    first = before(workshop, when)
    pattern = workshop.phase(prune=[{"kind": "blocks", "size": 4, "sparsity": sparsity}], epochs=1)
    seen = workshop.watch(workshop.spec([*first, pattern], network=workshop.resnet))
    masks = seen.at(phase=len(first)).masks
    whole = torch.cat([groups_of(mask, 4).sum(1) for mask in masks.values() if mask.shape[1] % 4 == 0])
    assert set(whole.tolist()) == {0, 4}
    assert int((whole == 4).sum()) == kept_of(len(whole), sparsity)
    assert all(workshop.same(moment.masks, masks) for moment in seen.of(phase=len(first)))


def test_groups_that_fit_no_layer_are_refused(workshop):
    with pytest.raises(InputError, match="no layer has a multiple of 7"):
        workshop.run(workshop.spec([workshop.phase(prune=[{"kind": "n_of_m", "n": 1, "m": 7}])]))


# --- The harvest of what is shed


@pytest.mark.parametrize("at_most", [0.9, 0.25, 0.1])
def test_a_harvest_prunes_what_is_shed_and_of_it_what_shrank_most(workshop, at_most):
    decay = {"kind": "sgd", "weight_decay": 0.8}
    first = workshop.phase(prune=[workshop.prune(0.2)], max_lr=0.2, update=decay, epochs=3)
    take = workshop.phase(prune=[{"kind": "shed", "below": 0.3, "at_most": at_most}], epochs=1)
    seen = workshop.watch(workshop.spec([workshop.phase(max_lr=0.0, epochs=1), first, take]))
    dense, then, now = seen.at().prunable, seen.end(phase=1), seen.at(phase=2)
    ratios = {name: then.weights[name].abs() / weight.abs() for name, weight in dense.items()}
    gone = {n: then.masks[n] & ((then.weights[n].abs() < 0.3 * dense[n].abs()) | (then.weights[n] == 0)) for n in dense}
    shed_now = sum(int(mask.sum()) for mask in gone.values())
    assert then.size * 0.06 < shed_now < then.alive * 0.7
    if at_most == 0.9:
        assert all(torch.equal(now.masks[n], then.masks[n] & ~gone[n]) for n in gone)
    elif at_most == 0.25:
        assert now.alive == kept_of(now.size, 0.25)
        taken = {n: then.masks[n] & ~now.masks[n] for n in gone}
        assert all(bool((taken[n] <= gone[n]).all()) for n in gone)
        most = max(float(ratios[n][taken[n]].max()) for n in gone if taken[n].any())
        least = min(float(ratios[n][gone[n] & now.masks[n]].min()) for n in gone if (gone[n] & now.masks[n]).any())
        assert most <= least * (1 + 1e-6)
    else:  # more than that is pruned already
        assert workshop.same(now.masks, then.masks)
    seen.assert_masks_hold()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.3]), st.floats(0.01, 0.99))
def test_what_a_harvest_takes_is_what_counts_as_shed(seed, below, at_most):
    """Also at the threshold itself, where a quotient and a product may round to different sides."""
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
    kept = harvest(weights, reference, masks, Shed(kind="shed", below=below, at_most=at_most))
    alive, lost, left = (sum(counts(m).values()) for m in (masks, gone, kept))
    assert all(bool((kept[n] <= masks[n]).all()) for n in masks)
    fewest = kept_of(60, at_most)
    if alive - lost >= max(fewest, 60 * (1 - at_most)):
        assert all(torch.equal(kept[n], masks[n] & ~gone[n]) for n in masks)
    else:
        assert left == min(alive, fewest)


# --- Any of them, one after another


def test_jobs_drawn_at_random_keep_their_masks_exact(workshop):
    """So that combinations nobody thought of are met, too."""
    draw = random.Random(5)
    for _ in range(6):
        sparsity, phases = 0.0, []
        for number in range(draw.randint(1, 4)):
            sparsity += (0.97 - sparsity) * draw.random() * 0.7
            ramp = {"share": draw.random() or 1.0, "every": draw.randint(1, 4)} if draw.random() < 0.5 else None
            criterion = draw.choice(["global_magnitude", "random", "lamp", "global_gradient"])
            prune = workshop.prune(sparsity, criterion, ramp=ramp, draw=number)
            phases.append(workshop.phase(prune=[prune], epochs=draw.randint(1, 2)))
        seen = workshop.watch(workshop.spec(phases))
        for number, each in enumerate(phases):
            end = seen.end(phase=number)
            assert end.alive == kept_of(end.size, each["prune"][0]["sparsity"])
            assert seen.of(phase=number)[-1].alive == end.alive  # before the last update, not after it
        seen.assert_masks_hold()
