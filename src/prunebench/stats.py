"""Intervals for small numbers of seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Summary:
    """n values: mean, sample standard deviation (n - 1) and the confidence interval of the mean.

    With one value `std`, `low` and `high` are NaN: one seed says nothing about spread.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float


def summarise(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Mean with Student's t interval (Student 1908); NaN throughout for no values."""
    array = np.asarray(values, dtype=np.float64)
    n = array.size
    if n == 0:
        return Summary(0, *[math.nan] * 4)
    mean = float(array.mean())
    if n == 1:
        return Summary(1, mean, *[math.nan] * 3)
    std = float(array.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * std / math.sqrt(n)
    return Summary(n, mean, std, mean - half, mean + half)
