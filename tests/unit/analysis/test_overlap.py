"""Overlap of masks against brute force and against masks drawn at random."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.analysis.overlap import chance_jaccard, jaccard, pack, unpack
from prunebench.errors import InputError

SHAPES = {"conv": (6, 4, 3, 3), "point": (5, 6, 1, 1), "head": (7, 5)}


def draw(rng, densities):
    return {
        n: torch.from_numpy(rng.random(shape) < density)
        for (n, shape), density in zip(SHAPES.items(), densities, strict=True)
    }


def brute_force(a, b):
    kept_a = {(n, i) for n, m in a.items() for i, alive in enumerate(m.flatten().tolist()) if alive}
    kept_b = {(n, i) for n, m in b.items() for i, alive in enumerate(m.flatten().tolist()) if alive}
    return len(kept_a & kept_b) / len(kept_a | kept_b) if kept_a | kept_b else math.nan


mask_sets = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.integers(0, 2**32 - 1)), max_size=4
).map(
    lambda layers: {
        f"layer{k}": torch.from_numpy(np.random.default_rng(seed).random((o, i, s, s)) < 0.5)
        for k, (o, i, s, seed) in enumerate(layers)
    }
)


@settings(max_examples=100, deadline=None)
@given(mask_sets)
def test_unpack_undoes_pack(masks):
    packed, layers = pack(masks)
    total = sum(m.numel() for m in masks.values())
    assert packed.dtype == torch.uint8
    assert packed.shape == (math.ceil(total / 8),)
    assert layers == [(n, m.numel()) for n, m in masks.items()]
    restored = unpack(packed, layers)
    assert list(restored) == list(masks)
    for n, m in masks.items():
        assert restored[n].dtype == torch.bool
        assert torch.equal(restored[n].reshape(m.shape), m)
    last, _ = pack({n: m.contiguous(memory_format=torch.channels_last) for n, m in masks.items()})
    assert torch.equal(last, packed), "the memory format must not matter"


def test_the_bits_lie_where_they_are_said_to():
    masks = {"a": torch.tensor([[True, False, True]]), "b": torch.tensor([True] * 6)}
    packed, layers = pack(masks)
    assert packed.tolist() == [0b10111111, 0b10000000]
    assert layers == [("a", 3), ("b", 6)]


def test_jaccard_equals_brute_force():
    rng = np.random.default_rng(0)
    for densities in ((0.1, 0.5, 0.9), (0.3, 0.3, 0.3), (0.0, 1.0, 0.02)):
        a, b = draw(rng, densities), draw(rng, densities[::-1])
        assert jaccard(a, b) == jaccard(b, a) == pytest.approx(brute_force(a, b), abs=1e-15)
        assert jaccard(a, a) == 1.0
        assert jaccard(a, {n: ~m for n, m in a.items()}) == 0.0
        last = {n: m.contiguous(memory_format=torch.channels_last) if m.dim() == 4 else m for n, m in b.items()}
        assert jaccard(a, last) == jaccard(a, b)
        assert chance_jaccard(a, last) == chance_jaccard(a, b)
        flat_a, flat_b = unpack(*pack(a)), unpack(*pack(last))
        assert jaccard(flat_a, flat_b) == jaccard(a, b)
        assert chance_jaccard(flat_a, flat_b) == chance_jaccard(a, b)


def test_chance_equals_masks_permuted_within_their_layers():
    rng = np.random.default_rng(1)
    a, b = draw(rng, (0.1, 0.4, 0.9)), draw(rng, (0.3, 0.2, 0.6))
    both = either = 0
    ratios = []
    for _ in range(2000):
        shuffled = {n: torch.from_numpy(rng.permutation(m.numpy().ravel())) for n, m in b.items()}
        common = sum(int((a[n].flatten() & m).sum()) for n, m in shuffled.items())
        union = sum(int((a[n].flatten() | m).sum()) for n, m in shuffled.items())
        both, either = both + common, either + union
        ratios.append(common / union)
    error = 4 * np.std(ratios) / math.sqrt(2000)
    assert error < 0.01
    assert chance_jaccard(a, b) == pytest.approx(both / either, abs=error)
    assert chance_jaccard(a, b) == pytest.approx(np.mean(ratios), abs=error + 0.002)
    # layer ratios are what raises it above d / (2 - d) of the whole network's density
    d = sum(int(m.sum()) for m in a.values()) / sum(m.numel() for m in a.values())
    assert chance_jaccard(a, a) > d / (2 - d) + 0.05


def test_chance_by_hand():
    quarter = {"a": torch.arange(16).reshape(4, 4) % 4 == 0}
    assert chance_jaccard(quarter, quarter) == pytest.approx(0.25 / (2 - 0.25))
    full = {"a": torch.ones(4, 4, dtype=torch.bool)}
    assert chance_jaccard(quarter, full) == jaccard(quarter, full) == 0.25
    a = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False])}
    b = {"a": torch.tensor([True, False, False, False]), "b": torch.tensor([True, True])}
    assert chance_jaccard(a, b) == pytest.approx((0.5 + 1.0) / (2.5 + 2.0))
    assert jaccard(a, b) == pytest.approx(2 / 4)


def test_the_overlap_of_nothing_is_nan():
    none = {n: torch.zeros(s, dtype=torch.bool) for n, s in SHAPES.items()}
    some = draw(np.random.default_rng(0), (0.5, 0.5, 0.5))
    assert math.isnan(jaccard(none, none))
    assert math.isnan(chance_jaccard(none, none))
    assert jaccard(none, some) == chance_jaccard(none, some) == 0.0
    assert math.isnan(jaccard({}, {}))
    hollow = {"a": torch.empty(0, 3, dtype=torch.bool)}
    assert chance_jaccard(some | hollow, some | hollow) == chance_jaccard(some, some)


def test_bad_input_is_named():
    masks = draw(np.random.default_rng(0), (0.5, 0.5, 0.5))
    packed, layers = pack(masks)
    for measure in (jaccard, chance_jaccard):
        with pytest.raises(InputError, match="only one of them has: head"):
            measure(masks, {n: m for n, m in masks.items() if n != "head"})
        with pytest.raises(InputError, match=r"'head' are torch.bool \(7, 5\) and torch.bool \(5, 7\)"):
            measure(masks, masks | {"head": masks["head"].T})
        with pytest.raises(InputError, match="must be bool"):
            measure(masks, masks | {"head": masks["head"].float()})
    with pytest.raises(InputError, match=r"mask 'head' has type torch.float32"):
        pack(masks | {"head": masks["head"].float()})
    with pytest.raises(InputError, match="281 weights take 36 of uint8"):
        unpack(packed[:-1], layers)
    with pytest.raises(InputError, match="281 weights take 36 of uint8"):
        unpack(packed.int(), layers)
