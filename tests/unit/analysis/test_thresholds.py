"""Thresholds over scores with repeats, against lists of numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunebench.analysis.thresholds import sparsity_with_repeats
from prunebench.errors import InputError
from prunebench.pruning.masks import keep_top


@st.composite
def layers(draw):
    """Scores without ties and masks of one to four layers, at least one weight of which is alive."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    ranks = draw(st.permutations(range(sum(sizes))))
    alive = draw(st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes)).filter(any))
    names = [f"{n}.weight" for n in range(len(sizes))]
    scores = torch.tensor(ranks, dtype=torch.float64).split(sizes)
    masks = torch.tensor(alive).split(sizes)
    return dict(zip(names, scores, strict=True)), dict(zip(names, masks, strict=True))


@given(layers(), st.floats(0, 1), st.integers(1, 3))
def test_without_repeats_or_with_as_many_of_each_layer_the_density_is_reached(of, share, times):
    """But for half a weight, where the doubled numbers are rounded."""
    scores, masks = of
    total, living = (sum(int(f(mask)) for mask in masks.values()) for f in (torch.numel, torch.sum))
    kept = math.floor(share * living)
    names = [each for name in scores for each in (name, *(f"{name}.bias{n}" for n in range(times - 1)))]
    reached = sparsity_with_repeats(scores, masks, names, kept / total)
    exact = keep_top(scores, masks, kept / total)
    assert reached == pytest.approx(1 - sum(int(mask.sum()) for mask in exact.values()) / total)


@given(layers(), st.floats(0, 1), st.data())
def test_repeats_are_the_last_layer_s_before_a_parameter_without_scores(of, share, data):
    scores, masks = of
    total, living = (sum(int(f(mask)) for mask in masks.values()) for f in (torch.numel, torch.sum))
    wanted = math.floor(share * living)
    biased = data.draw(st.sets(st.sampled_from([*scores])))
    names = ["first.bias", *(each for name in scores for each in (name, *([f"{name}.bias"] if name in biased else [])))]
    pool = [
        float(score)
        for name in scores
        for score in (*scores[name][masks[name]], *(scores[name][masks[name]] if name in biased else ()))
    ]
    kept = math.floor(len(pool) * (wanted / living) + 0.5)
    above = sorted(pool, reverse=True)[:kept]
    survivors = sum(float(score) in above for name in scores for score in scores[name][masks[name]])
    assert sparsity_with_repeats(scores, masks, names, wanted / total) == pytest.approx(1 - survivors / total)


def test_a_weight_at_the_threshold_is_kept_and_dead_ones_are_never_read():
    scores = {"w": torch.tensor([1.0, 2.0, 2.0, math.nan])}
    masks = {"w": torch.tensor([True, True, True, False])}
    assert sparsity_with_repeats(scores, masks, ["w"], 0.25) == 0.5
    assert sparsity_with_repeats(scores, masks, ["w"], 0.0) == 1.0
    assert sparsity_with_repeats({"w": torch.ones(2)}, {"w": torch.zeros(2, dtype=torch.bool)}, ["w"], 0.0) == 1.0


@pytest.mark.parametrize(
    ("names", "density", "words"),
    [(["bias"], 0.5, "the parameters lack 'w'"), (["w"], 1.5, "density is 1.5; allowed"), (["w"], -1, "density is -1")],
)
def test_what_does_not_fit_is_named(names, density, words):
    scores = {"w": torch.ones(4)}
    with pytest.raises(InputError, match=words):
        sparsity_with_repeats(scores, {"w": torch.ones(4, dtype=torch.bool)}, names, density)


def test_masks_and_scores_must_fit():
    with pytest.raises(InputError, match="shape"):
        sparsity_with_repeats({"w": torch.ones(4)}, {"w": torch.ones(3, dtype=torch.bool)}, ["w"], 0.5)
