"""Masks: exact counts, monotone, ties by index, and one clear line for each bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunebench.errors import InputError
from prunebench.pruning.layers import LeftOut
from prunebench.pruning.masks import (
    alive,
    apply_masks_,
    density,
    density_after,
    full_masks,
    keep_top,
    layer_densities,
    prunable_parameters,
    sparsity,
    survivors,
)

SHARE = st.floats(0, 1)


@st.composite
def networks(draw, few_values=False):
    """(scores, masks) of one to four layers; few_values makes most scores equal."""
    shapes = draw(st.lists(st.sampled_from([(1,), (7,), (3, 4), (2, 3, 2, 2)]), min_size=1, max_size=4))
    value = st.integers(0, 1).map(float) if few_values else st.floats(-10, 10)
    scores, masks = {}, {}
    for i, shape in enumerate(shapes):
        size = math.prod(shape)
        values = draw(st.lists(value, min_size=size, max_size=size))
        living = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        scores[f"layer{i}"] = torch.tensor(values, dtype=torch.float64).reshape(shape)
        masks[f"layer{i}"] = torch.tensor(living).reshape(shape)
    return scores, masks


def reference(scores, masks, count):
    """The indices that survive when all weights are sorted one by one."""
    ranked = sorted(
        (-score, layer, index)
        for layer, name in enumerate(masks)
        for index, (score, living) in enumerate(
            zip(scores[name].flatten().tolist(), masks[name].flatten().tolist(), strict=True)
        )
        if living
    )
    return {(layer, index) for _, layer, index in ranked[:count]}


def indices(masks):
    return {
        (layer, index)
        for layer, mask in enumerate(masks.values())
        for index, living in enumerate(mask.flatten().tolist())
        if living
    }


@given(networks() | networks(few_values=True), SHARE)
def test_a_global_prune_keeps_the_best_in_exact_number(network, share):
    scores, masks = network
    total = sum(mask.numel() for mask in masks.values())
    share *= alive(masks) / total
    before = {name: mask.clone() for name, mask in masks.items()}
    kept = keep_top(scores, masks, share)
    assert indices(kept) == reference(scores, masks, survivors(total, share))
    assert indices(kept) <= indices(masks)
    assert all(torch.equal(before[name], masks[name]) for name in masks)
    assert all(kept[name].data_ptr() != masks[name].data_ptr() for name in masks)


@given(networks() | networks(few_values=True), st.data())
def test_a_layer_prune_keeps_the_best_of_each_layer_in_exact_number(network, data):
    scores, masks = network
    shares = {name: data.draw(SHARE) * density({name: mask}) for name, mask in masks.items()}
    kept = keep_top(scores, masks, shares)
    for name, mask in masks.items():
        count = survivors(mask.numel(), shares[name])
        assert indices({name: kept[name]}) == reference({name: scores[name]}, {name: mask}, count)
    share = min(layer_densities(masks).values())
    assert keep_top(scores, masks, share, "layer").keys() == masks.keys()
    for name, mask in keep_top(scores, masks, share, "layer").items():
        assert alive({name: mask}) == survivors(mask.numel(), share)


@settings(max_examples=30)
@given(networks(few_values=True), st.sampled_from(["global", "layer"]), st.floats(0.05, 0.9))
def test_masks_over_many_cycles_are_nested_and_have_the_stated_density(network, scope, rate):
    scores, masks = network
    masks = full_masks(masks)
    for cycle in range(1, 8):
        share = density_after(rate, cycle)
        pruned = keep_top(scores, masks, share, scope)
        assert indices(pruned) <= indices(masks)
        layers = {name: {name: mask} for name, mask in pruned.items()} if scope == "layer" else {"": pruned}
        for group in layers.values():
            assert alive(group) == survivors(sum(mask.numel() for mask in group.values()), share)
        masks = pruned


def test_equal_weights_are_not_over_pruned():
    masks = {"a": torch.ones(4, dtype=torch.bool), "b": torch.ones(2, 3, dtype=torch.bool)}
    scores = {name: torch.full(mask.shape, 0.25) for name, mask in masks.items()}
    kept = keep_top(scores, masks, 0.5)
    assert kept["a"].tolist() == [True] * 4
    assert kept["b"].tolist() == [[True, False, False], [False] * 3]


def test_the_memory_format_does_not_decide_ties():
    scores = torch.ones(2, 3, 2, 2)
    mask = torch.ones_like(scores, dtype=torch.bool)
    plain = keep_top({"w": scores}, {"w": mask}, 0.3)["w"]
    last = torch.channels_last
    assert torch.equal(keep_top({"w": scores.to(memory_format=last)}, {"w": mask}, 0.3)["w"], plain)
    half = mask.clone().to(memory_format=last)
    half[1] = False
    kept = keep_top({"w": scores.to(memory_format=last)}, {"w": half}, 0.3)["w"]
    assert torch.equal(kept, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int64])
def test_scores_of_any_type_are_ranked(dtype):
    scores = {"w": torch.tensor([3, 1, 2, 5, 4]).to(dtype)}
    kept = keep_top(scores, full_masks(scores), 0.4)
    assert kept["w"].tolist() == [False, False, False, True, True]


def test_infinite_scores_are_ranked():
    scores = {"w": torch.tensor([-math.inf, 0.0, math.inf, -math.inf])}
    assert keep_top(scores, full_masks(scores), 0.75)["w"].tolist() == [True, True, True, False]


def test_dead_scores_are_never_read():
    scores = {"w": torch.tensor([math.nan, 1.0, 2.0])}
    masks = {"w": torch.tensor([False, True, True])}
    assert keep_top(scores, masks, 1 / 3)["w"].tolist() == [False, False, True]


def test_counts_round_to_the_nearest_and_halves_up():
    assert [survivors(10, share) for share in (0, 0.04, 0.05, 0.25, 0.8, 1)] == [0, 0, 1, 3, 8, 10]
    assert density_after(0.2, 0) == 1
    assert density_after(0.2, 4) == pytest.approx(0.4096)


def test_densities():
    masks = {"a": torch.tensor([True, False, False, False]), "b": torch.tensor([[True, True]])}
    assert alive(masks) == 3
    assert density(masks) == 0.5
    assert sparsity(masks) == 0.5
    assert layer_densities(masks) == {"a": 0.25, "b": 1}


M = {"conv": torch.tensor([True, True, False, True])}
S = {"conv": torch.arange(4.0)}
BAD = [
    (lambda: keep_top(S, M, 1.0), "4 weights of the network were to be kept but only 3 are alive"),
    (lambda: keep_top(S, M, 1.0, "layer"), "4 weights of 'conv' were to be kept but only 3 are alive"),
    (lambda: keep_top({"conv": S["conv"] * math.nan}, M, 0.5), "the scores of 'conv' contain NaN"),
    (lambda: keep_top(S, M, -0.1), "density is -0.1; allowed: a number >= 0 and <= 1"),
    (lambda: keep_top(S, M, math.nan), "density is nan; allowed"),
    (lambda: keep_top(S, M, True), "density is True; allowed"),
    (lambda: keep_top(S, M, {"conv": 2}), "density of 'conv' is 2; allowed"),
    (
        lambda: keep_top(S, M, {"cnv": 0.2}),
        "the densities name 'cnv', which has no mask: did you mean 'conv'?",
    ),
    (lambda: keep_top(S, M, {}), "the densities lack 'conv'"),
    (lambda: keep_top({}, M, 0.5), "the scores lack 'conv'"),
    (lambda: keep_top({}, {}, 0.5), "there are no masks"),
    (
        lambda: keep_top({"conv": torch.ones(3)}, M, 0.5),
        "the scores of 'conv' have shape (3,), its mask (4,)",
    ),
    (lambda: keep_top(S, {"conv": torch.ones(4)}, 0.5), "mask 'conv' has type torch.float32"),
    (lambda: keep_top(S, M, 0.5, "globl"), "unknown scope 'globl': did you mean 'global'?"),
    (lambda: density({}), "there are no masks"),
    (lambda: density_after(1, 2), "prune rate is 1; allowed: >= 0 and < 1"),
    (lambda: density_after(0.2, -1), "number of cycles is -1; allowed: >= 0"),
    (lambda: apply_masks_({"con": torch.ones(4)}, M), "mask 'conv' has no parameter: did you mean 'con'?"),
    (lambda: apply_masks_({"conv": torch.ones(5)}, M), "mask 'conv' has shape (4,), its parameter (5,)"),
    (lambda: prunable_parameters(nn.ReLU()), "ReLU has no convolution or linear weight to prune"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_input_gives_one_clear_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masks_are_applied_in_place_and_bury_nan():
    params = {"w": nn.Parameter(torch.tensor([1.0, -2.0, math.nan])), "other": nn.Parameter(torch.ones(1))}
    apply_masks_(params, {"w": torch.tensor([True, False, False])})
    assert params["w"].tolist() == [1, 0, 0]
    assert params["other"].tolist() == [1]
    assert params["w"].requires_grad


def test_the_prunable_weights_of_a_network():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.ConvTranspose2d(4, 4, 3), nn.GroupNorm(2, 4)),
        shared,
        shared,
        nn.LayerNorm(4),
        nn.BatchNorm1d(4, affine=False),
        nn.MultiheadAttention(4, 2),
        nn.Embedding(3, 4),
    )
    plain = ["0.weight", "2.0.weight", "3.weight", "7.in_proj_weight", "7.out_proj.weight"]
    with pytest.warns(LeftOut, match=r"never pruned: 8\.weight \(Embedding\)"):
        assert list(prunable_parameters(model)) == plain
    del model[8]
    with_norm = prunable_parameters(model, include_norm=True)
    assert [name for name in with_norm if name not in plain] == ["1.weight", "2.1.weight", "5.weight"]
    assert all(model.get_parameter(name) is weight for name, weight in with_norm.items())
    assert list(prunable_parameters(nn.Linear(2, 2))) == ["weight"]
    masks = full_masks(with_norm)
    assert density(masks) == 1
    assert all(mask.dtype == torch.bool and not mask.requires_grad for mask in masks.values())
