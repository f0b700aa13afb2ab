"""N:M and block masks: exact counts, the best survive, never revived; and torch's own 2:4 conversion as a witness."""

import functools
import itertools
import math
import operator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

from prunebench.errors import InputError
from prunebench.pruning.masks import alive, full_masks, survivors
from prunebench.pruning.structured import block_masks, groupable, n_of_m_masks, occupancy

SHAPES = [(3, 4), (1, 8), (5,), (2, 3), (2, 4, 3, 2), (3, 8, 1, 1), (4, 1, 2, 2), (2, 12, 2)]
KINDS = {"real": st.floats(-10, 10), "few": st.integers(0, 1).map(float), "wild": st.sampled_from([-math.inf, 0.0])}


@st.composite
def networks(draw, kinds=("real", "few", "wild"), full=False):
    """(scores, masks) of one to three layers, at least one of them with groups of 1, 2 and 4; the scores of dead
    weights are NaN, so that reading one shows. "few" makes most scores equal."""
    shapes = [draw(st.sampled_from([(3, 4), (2, 4, 3, 2)])), *draw(st.lists(st.sampled_from(SHAPES), max_size=2))]
    value = KINDS[draw(st.sampled_from(kinds))]
    scores, masks = {}, {}
    for i, shape in enumerate(draw(st.permutations(shapes))):
        size = math.prod(shape)
        living = [True] * size if full else draw(st.lists(st.booleans(), min_size=size, max_size=size))
        values = draw(st.lists(value, min_size=size, max_size=size))
        values = [v if a else math.nan for v, a in zip(values, living, strict=True)]
        scores[f"layer{i}"] = torch.tensor(values, dtype=torch.float64).reshape(shape)
        masks[f"layer{i}"] = torch.tensor(living).reshape(shape)
    return scores, masks


def groups(shape, m):
    """The index tuples of each group of m along dim 1, groups in the row-major order of their first weight."""
    if len(shape) < 2 or shape[1] % m:
        return []
    firsts = [i for i in itertools.product(*map(range, shape)) if i[1] % m == 0]
    return [[(i[0], i[1] + k, *i[2:]) for k in range(m)] for i in firsts]


def test_the_groups_lie_along_the_input_dimension_at_one_output_and_one_kernel_position():
    scores = {"conv": torch.zeros(2, 4, 1, 2), "linear": torch.tensor([[1.0, 4, 3, 2, 5, 6, 8, 7]])}
    scores["conv"][1, 2, 0, 1] = 1
    scores["conv"][0, 3, 0, 0] = 1
    kept = n_of_m_masks(scores, full_masks(scores), 1, 4)
    assert kept["linear"].nonzero().tolist() == [[0, 1], [0, 6]]
    # where all scores are equal, channel 0
    assert kept["conv"].nonzero().tolist() == [[0, 0, 0, 1], [0, 3, 0, 0], [1, 0, 0, 0], [1, 2, 0, 1]]


@given(networks(), st.sampled_from([(1, 1), (1, 2), (1, 4), (2, 4), (3, 4), (4, 4)]))
def test_the_best_n_of_every_m_alive_weights_survive_ties_by_index(network, pattern):
    n, m = pattern
    scores, masks = network
    before = {name: mask.clone() for name, mask in masks.items()}
    kept = n_of_m_masks(scores, masks, n, m)
    assert list(kept) == list(masks)
    for name, mask in masks.items():
        wanted = mask.clone()
        for group in groups(mask.shape, m):
            ranked = sorted((-float(scores[name][i]), i) for i in group if mask[i])
            for _, i in ranked[n:]:
                wanted[i] = False
        assert torch.equal(kept[name], wanted)
        assert torch.equal(mask, before[name])
        assert kept[name].data_ptr() != mask.data_ptr()


@given(networks(full=True), st.sampled_from([(1, 2), (2, 4), (1, 4)]))
def test_exactly_n_of_every_m_survive_and_pruning_again_to_fewer_is_nested(network, pattern):
    n, m = pattern
    scores, masks = network
    kept = n_of_m_masks(scores, masks, n, m)
    for name, mask in masks.items():
        grouped = groups(mask.shape, m)
        assert [sum(bool(kept[name][i]) for i in group) for group in grouped] == [n] * len(grouped)
        assert bool(kept[name].all()) == (not grouped)
    assert [int(count) for count in occupancy(kept, m)] == [
        sum(len(groups(mask.shape, m)) for mask in masks.values()) if i == n else 0 for i in range(m + 1)
    ]
    again = n_of_m_masks(scores, kept, n, m)
    fewer = n_of_m_masks(scores, kept, 1, m)
    for name in masks:
        assert torch.equal(again[name], kept[name])
        assert not bool((fewer[name] & ~kept[name]).any())


def total(values):
    """The sum in the order given; Python's own compensates rounding from 3.12 on."""
    return functools.reduce(operator.add, values, 0.0)


@given(networks(("real", "few")), st.sampled_from([1, 2, 4]), st.floats(0, 1))
def test_the_best_blocks_survive_whole_in_exact_number(network, size, share):
    scores, masks = network
    blocks = [
        (-total(abs(float(scores[name][i])) for i in group if mask[i]), layer, number, name, group)
        for layer, (name, mask) in enumerate(masks.items())
        for number, group in enumerate(groups(mask.shape, size))
    ]
    living = [block for block in blocks if any(masks[block[3]][i] for i in block[4])]
    share *= len(living) / len(blocks)
    kept = block_masks(scores, masks, share, size)
    wanted = {name: mask.clone() if not groups(mask.shape, size) else mask & False for name, mask in masks.items()}
    for *_, name, group in sorted(living)[: survivors(len(blocks), share)]:
        for i in group:
            wanted[name][i] = masks[name][i]
    assert list(kept) == list(masks)
    for name, mask in masks.items():
        assert torch.equal(kept[name], wanted[name])
        assert kept[name].data_ptr() != mask.data_ptr()


def test_blocks_of_a_dense_network_are_kept_or_pruned_whole():
    torch.manual_seed(0)
    scores = {"a": torch.rand(8, 16), "stem": torch.rand(8, 1, 3, 3), "b": torch.rand(4, 8, 3, 3)}
    kept = block_masks(scores, full_masks(scores), 0.5, 4)
    assert occupancy(kept, 4).tolist() == [52, 0, 0, 0, 52]
    assert kept["stem"].all()
    assert 0 < alive({"a": kept["a"]}) != 64


@given(networks(), st.sampled_from([1, 2, 4]))
def test_occupancy_counts_the_groups_by_their_alive_weights(network, m):
    _, masks = network
    wanted = [0] * (m + 1)
    for mask in masks.values():
        for group in groups(mask.shape, m):
            wanted[sum(bool(mask[i]) for i in group)] += 1
    counts = occupancy(masks, m)
    assert counts.dtype == torch.int64
    assert counts.tolist() == wanted


@pytest.mark.parametrize("few", [False, True])
def test_the_memory_format_decides_nothing(few):
    torch.manual_seed(0)
    scores = torch.rand(6, 8, 3, 3)
    if few:
        scores = (scores * 3).floor()
    mask = torch.rand(scores.shape) < 0.8
    last = torch.channels_last
    formats = [
        ({"w": s}, {"w": a})
        for s in (scores, scores.to(memory_format=last))
        for a in (mask, mask.to(memory_format=last))
    ]
    for prune in (lambda s, a: n_of_m_masks(s, a, 2, 4), lambda s, a: block_masks(s, a, 0.4, 4)):
        first, *others = (prune(s, a)["w"] for s, a in formats)
        assert all(torch.equal(first, other) for other in others)
    assert len({tuple(occupancy(a, 4).tolist()) for _, a in formats}) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int64])
def test_scores_of_any_type_are_ranked(dtype):
    scores = {"w": torch.tensor([[3, 1, 2, 5, 0, 9, 0, 0]]).to(dtype)}
    assert n_of_m_masks(scores, full_masks(scores), 2, 4)["w"].nonzero()[:, 1].tolist() == [0, 3, 4, 5]
    assert block_masks(scores, full_masks(scores), 0.5, 4)["w"].nonzero()[:, 1].tolist() == [0, 1, 2, 3]


def test_scores_may_be_parameters():
    weight = torch.nn.Linear(8, 2).weight
    assert alive(n_of_m_masks({"w": weight}, full_masks({"w": weight}), 1, 4)) == 4
    assert alive(block_masks({"w": weight}, full_masks({"w": weight}), 0.5, 4)) == 8


def test_the_layers_that_have_groups():
    shapes = {"stem": (8, 1, 3, 3), "conv": (4, 8, 3, 3), "depthwise": (8, 1, 3, 3), "norm": (8,), "fc": (10, 12)}
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}
    assert groupable(masks, 4) == ["conv", "fc"]
    assert groupable(masks, 8) == ["conv"]
    assert groupable(masks, 1) == ["stem", "conv", "depthwise", "fc"]


def survives_compression(matrix):
    """Whether torch's semi-structured format, which holds two of every four weights of a row, holds the matrix.

    Rows must be a multiple of 32; columns too, although torch says 16: it then writes past its metadata.
    """
    return torch.equal(
        sparse_semi_structured_to_dense_cutlass(*sparse_semi_structured_from_dense_cutlass(matrix)), matrix
    )


@pytest.mark.parametrize("pattern", [(2, 4), (1, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_torch_compresses_a_masked_linear_layer_without_loss(dtype, pattern):
    torch.manual_seed(0)
    weight = torch.randn(64, 96).to(dtype)
    mask = n_of_m_masks({"w": weight.abs()}, full_masks({"w": weight}), *pattern)["w"]
    assert survives_compression(weight * mask)
    # the witness tells: half of the weights, or the pattern along the outputs, is not enough
    assert not survives_compression(weight * (weight.abs() > weight.abs().float().median()))
    across = n_of_m_masks({"w": weight.abs().t()}, full_masks({"w": weight.t()}), *pattern)["w"].t()
    assert not survives_compression(weight * across)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_torch_compresses_a_masked_channels_last_convolution_without_loss(dtype):
    torch.manual_seed(0)
    weight = torch.randn(32, 32, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    mask = n_of_m_masks({"w": weight.abs()}, full_masks({"w": weight}), 2, 4)["w"]
    masked = (weight * mask).to(memory_format=torch.channels_last)
    matrix = masked.permute(0, 2, 3, 1).reshape(32, 3 * 3 * 32)
    assert matrix.data_ptr() == masked.data_ptr()
    assert survives_compression(matrix)
    assert not survives_compression(masked.contiguous().reshape(32, 32 * 3 * 3))


def test_a_pattern_after_unstructured_pruning_leaves_fewer_and_still_compresses():
    torch.manual_seed(0)
    weight = torch.randn(32, 64).half()
    masks = {"w": torch.rand(weight.shape) < 0.4}
    kept = n_of_m_masks({"w": weight.abs()}, masks, 2, 4)
    before, after = occupancy(masks, 4).tolist(), occupancy(kept, 4).tolist()
    assert after == [before[0], before[1], sum(before[2:]), 0, 0]
    assert survives_compression(weight * kept["w"])


S = {"conv": torch.rand(2, 4, 3, 3), "norm": torch.rand(4)}
M = full_masks(S)
HALF_DEAD = {"conv": torch.arange(2).reshape(2, 1, 1, 1).expand(2, 4, 3, 3) == 1, "norm": M["norm"]}
BAD = [
    (lambda: n_of_m_masks(S, M, 0, 4), "pattern is 0:4; allowed: 1 <= n <= m"),
    (lambda: n_of_m_masks(S, M, 5, 4), "pattern is 5:4; allowed: 1 <= n <= m"),
    (lambda: n_of_m_masks(S, M, 2, 3), "no layer has a multiple of 3 input channels"),
    (lambda: n_of_m_masks({**S, "conv": S["conv"] * math.nan}, M, 2, 4), "the scores of 'conv' contain NaN"),
    (lambda: n_of_m_masks({"conv": S["conv"]}, M, 2, 4), "the scores lack 'norm'"),
    (lambda: n_of_m_masks({}, {}, 2, 4), "there are no masks"),
    (lambda: block_masks(S, M, 0.5, 3), "no layer has a multiple of 3 input channels"),
    (lambda: block_masks(S, M, 0.5, 0), "group size is 0; allowed: >= 1"),
    (lambda: block_masks(S, M, 1.5, 4), "density is 1.5; allowed"),
    (lambda: block_masks(S, M, math.nan, 4), "density is nan; allowed"),
    (lambda: block_masks({**S, "conv": S["conv"] * math.nan}, M, 0.5, 4), "the scores of 'conv' contain NaN"),
    (lambda: block_masks({"conv": S["conv"]}, M, 0.5, 4), "the scores lack 'norm'"),
    (
        lambda: block_masks(S, HALF_DEAD, 0.6, 4),
        "11 blocks of 1x4 were to be kept but only 9 have an alive weight",
    ),
    (lambda: occupancy(M, 8), "no layer has a multiple of 8 input channels"),
    (lambda: occupancy(M, -2), "group size is -2; allowed: >= 1"),
    (lambda: groupable({"norm": M["norm"]}, 1), "no layer has a multiple of 1 input channels"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_input_gives_one_clear_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
