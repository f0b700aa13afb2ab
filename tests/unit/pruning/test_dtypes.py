"""Masks and criteria in every dtype that torch trains in, and with every kind of number."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from prunebench.pruning import CRITERIA, ScoreInputs, get_criterion
from prunebench.pruning.masks import alive, apply_masks_, full_masks, keep_top, survivors
from prunebench.pruning.structured import n_of_m_masks

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64, torch.complex128]


def weights(dtype):
    torch.manual_seed(0)
    return {"a": torch.randn(8, 4, 3, 3).to(dtype), "b": torch.randn(6, 8).to(dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_prunes_exactly_in_every_dtype(name, dtype):
    w, other = weights(dtype), {n: t * 0.5 for n, t in weights(dtype).items()}
    inputs = ScoreInputs(w, full_masks(w), gradients=other, previous_weights=other)
    masks = get_criterion(name).prune(inputs, 0.25)
    total = (
        sum(survivors(t.numel(), 0.25) for t in w.values()) if CRITERIA[name].scope == "layer" else survivors(336, 0.25)
    )
    assert abs(alive(masks) - total) <= (1 if CRITERIA[name].ratios else 0)
    apply_masks_(w, masks)
    assert all(bool((t[~masks[n]] == 0).all()) for n, t in w.items())


@pytest.mark.parametrize("dtype", DTYPES)
def test_magnitude_is_that_of_the_number(dtype):
    w = weights(dtype)
    masks = get_criterion("global_magnitude").prune(ScoreInputs(w, full_masks(w)), 0.5)
    sizes = torch.cat([t.abs().double().flatten() for t in w.values()])
    kept = torch.cat([mask.flatten() for mask in masks.values()])
    assert float(sizes[kept].min()) >= float(sizes[~kept].max())
    assert alive(n_of_m_masks({n: t.abs() for n, t in w.items()}, masks, 2, 4)) <= 336 // 2


@pytest.mark.parametrize("half", [np.float32(0.5), np.float64(0.5), Fraction(1, 2), np.float16(0.5)])
def test_a_density_is_any_real_number(half):
    scores = {n: t.abs() for n, t in weights(torch.float32).items()}
    assert alive(keep_top(scores, full_masks(scores), half)) == 168
    assert alive(keep_top(scores, full_masks(scores), {"a": half, "b": 1})) == 144 + 48
