"""Student's t interval against SciPy's own, a printed table, and its promise in a simulation."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from prunebench.stats import summarise

T_975 = {1: 12.7062, 2: 4.3027, 4: 2.7764, 9: 2.2622, 29: 2.0452}
"""Degrees of freedom -> 97.5 % quantile of Student's t, from a printed table."""

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize("freedom", T_975)
def test_half_width_is_the_tabled_quantile_times_the_standard_error(freedom):
    values = [((7 * i) % 11) / 3 for i in range(freedom + 1)]
    got = summarise(values)
    mean, std = statistics.fmean(values), statistics.stdev(values)
    half = T_975[freedom] * std / math.sqrt(len(values))
    assert got.n == freedom + 1
    assert (got.mean, got.std) == (pytest.approx(mean, rel=1e-12), pytest.approx(std, rel=1e-12))
    assert (got.low, got.high) == (pytest.approx(mean - half, abs=2e-4), pytest.approx(mean + half, abs=2e-4))


@settings(deadline=None)
@given(st.lists(numbers, min_size=2, max_size=30).filter(lambda v: max(v) - min(v) > 1e-3), st.floats(0.5, 0.999))
def test_equals_scipys_interval(values, confidence):
    got = summarise(values, confidence)
    result = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    width = result.high - result.low
    assert got.low == pytest.approx(result.low, abs=1e-9 * width)
    assert got.high == pytest.approx(result.high, abs=1e-9 * width)


def test_one_value_says_nothing_about_spread():
    got = summarise([0.25])
    assert (got.n, got.mean) == (1, 0.25)
    assert all(map(math.isnan, (got.std, got.low, got.high)))


def test_no_value_says_nothing():
    got = summarise([])
    assert got.n == 0
    assert all(map(math.isnan, (got.mean, got.std, got.low, got.high)))


def test_equal_values_have_no_spread():
    got = summarise([0.5, 0.5, 0.5])
    assert (got.n, got.mean, got.std, got.low, got.high) == (3, 0.5, 0.0, 0.5, 0.5)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_covers_the_true_mean_in_95_of_100_experiments(n):
    """4000 experiments: a true coverage of 95 % gives 93.6 to 96.4 % with four standard errors."""
    samples = np.random.default_rng(20240 + n).normal(3.0, 2.0, (4000, n))
    covered = np.mean([got.low <= 3.0 <= got.high for got in map(summarise, samples.tolist())])
    assert 0.936 <= covered <= 0.964
