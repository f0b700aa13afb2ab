"""Intervals and tests against SciPy, statsmodels and printed tables, and their promises in simulations."""

import math
import statistics
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.formula import api as formula
from statsmodels.stats import anova, meta_analysis, multitest, weightstats

from prunebench.stats import (
    bca_interval,
    correlation,
    holm,
    interquartile_mean,
    random_effects,
    slope,
    summarise,
    t_interval,
    t_test_p,
    tost,
    two_way,
)

T_975 = {1: 12.7062, 2: 4.3027, 4: 2.7764, 9: 2.2622, 29: 2.0452}
"""Degrees of freedom -> 97.5 % quantile of Student's t, from a printed table."""

GAPS = np.array([[0.3, 0.1, np.nan, 0.5], [np.nan, np.nan, 2.0, np.nan], [1.0, 1.5, 0.5, -0.25], [np.nan] * 4])
"""Four rows of seeds, some missing."""

numbers = st.floats(-1e6, 1e6, allow_nan=False)
p_values = arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1) | st.just(math.nan))


def rows(width: int, count: int = 5) -> np.ndarray:
    """Rows of numbers with some missing."""
    values = np.random.default_rng(width).normal(1, 2, (count, width))
    values[1, 0] = values[2, -1] = np.nan
    return values


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


@pytest.mark.parametrize("value", [0.5, 0.1, 1 / 3])
@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_equal_values_are_their_mean_to_the_last_bit(value, n):
    """(0.1 + 0.1 + 0.1) / 3 is above 0.1."""
    got = summarise([value] * n)
    assert (got.n, got.mean, got.std, got.low, got.high) == (n, value, 0.0, value, value)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_covers_the_true_mean_in_95_of_100_experiments(n):
    """10,000 experiments: a true coverage of 95 % gives 94.1 to 95.9 % with four standard errors."""
    got = t_interval(np.random.default_rng(20240 + n).normal(3.0, 2.0, (10_000, n)))
    assert 0.941 <= np.mean((got.low <= 3.0) & (got.high >= 3.0)) <= 0.959


def test_rows_are_summarised_as_each_alone_without_its_missing_values():
    got = t_interval(GAPS[:, None], 0.9)
    assert got.mean.shape == (4, 1)
    for place, row in enumerate(GAPS):
        alone = summarise(row[~np.isnan(row)].tolist(), 0.9)
        fields = (got.n, got.mean, got.std, got.low, got.high)
        expected = (alone.n, alone.mean, alone.std, alone.low, alone.high)
        np.testing.assert_array_equal([field[place, 0] for field in fields], expected)


def test_order_in_memory_changes_nothing():
    values = np.random.default_rng(1).normal(size=(7, 3, 5))
    same = np.ascontiguousarray(values.T).T
    for field in ("n", "mean", "std", "low", "high"):
        np.testing.assert_allclose(getattr(t_interval(values), field), getattr(t_interval(same), field), rtol=1e-14)


def test_no_seeds_and_no_cells_are_no_error():
    assert np.isnan(t_interval(np.empty((1, 2, 0))).mean).all()
    assert t_interval(np.empty((1, 0, 3))).low.shape == (1, 0)


def test_a_mean_of_an_infinite_value_decides_nothing():
    got = t_interval([1.0, 2.0, math.inf])
    assert not got.low > 0
    assert not got.high < 0


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("null", [0.0, 0.75])
def test_p_values_are_scipys(alternative, null):
    values = rows(6)
    expected = stats.ttest_1samp(values, null, axis=-1, nan_policy="omit", alternative=alternative).pvalue
    np.testing.assert_allclose(t_test_p(values, null, alternative), expected, rtol=1e-10)


def test_p_values_of_one_value_and_of_equal_values():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = t_test_p([[1.0, np.nan, np.nan], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0]], 0, "greater")
    np.testing.assert_array_equal(got, [np.nan, 0, np.nan])
    assert t_test_p([0.1, 0.1], 0, "less") == 1


def test_equivalence_is_statsmodels_and_the_90_percent_interval_inside_the_margins():
    values = np.random.default_rng(5).normal(0.2, 0.5, (200, 6))
    p = tost(values, 0.6)
    assert p[:20] == pytest.approx([weightstats.DescrStatsW(row).ttost_mean(-0.6, 0.6)[0] for row in values[:20]])
    inside = t_interval(values, 0.9)
    decided = (inside.low > -0.6) & (inside.high < 0.6)
    assert 0 < decided.sum() < 200
    np.testing.assert_array_equal(p < 0.05, decided)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_equivalence_at_the_margin_is_found_in_5_of_100_experiments(n):
    """4 standard errors of 20,000 experiments are 0.6 points; a small spread, so that one side alone decides."""
    values = np.random.default_rng(n).normal(0.5, 0.1, (20_000, n))
    assert np.mean(tost(values, 0.5) < 0.05) == pytest.approx(0.05, abs=0.0062)


def test_holm_is_statsmodels():
    p = np.random.default_rng(2).random((4, 7)) ** 3
    expected = [multitest.multipletests(row, method="holm")[1] for row in p]
    np.testing.assert_allclose(holm(p), expected, rtol=1e-12)


def test_holm_of_an_example_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])


@given(p_values, st.randoms())
def test_holm_keeps_order_and_missing_values_and_only_raises(p, random):
    got = holm(p)
    known = ~np.isnan(p)
    np.testing.assert_array_equal(np.isnan(got), ~known)
    assert (got[known] >= p[known]).all()
    assert (got[known] <= 1).all()
    assert (np.diff(got[known][np.argsort(p[known], kind="stable")]) >= 0).all()
    np.testing.assert_array_equal(got[known], holm(p[known]))
    assert not known.any() or got[known].min() == min(1, p[known].min() * known.sum())
    order = list(range(p.size))
    random.shuffle(order)
    np.testing.assert_array_equal(holm(p[order]), got[order])


@given(arrays.arrays(np.float64, (3, 5), elements=st.floats(0, 1)))
def test_holm_of_many_rows_is_holm_of_each(p):
    np.testing.assert_array_equal(holm(p), [holm(row) for row in p])


def test_bca_is_scipys_and_seeded():
    values = np.random.default_rng(3).gamma(2.0, 1.0, 12)
    rng = np.random.default_rng(7)
    low, high = stats.bootstrap((values,), np.mean, method="BCa", rng=rng).confidence_interval
    got = bca_interval(values, seed=7)
    assert (got.n, got.mean, got.low, got.high) == (12, pytest.approx(values.mean()), low, high)
    assert bca_interval([*values, math.nan], seed=7) == got
    assert bca_interval(values, seed=8).low != low
    narrow = bca_interval(values, 0.5, seed=7)
    assert got.low < narrow.low < got.mean < narrow.high < got.high


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 2.0, math.nan]])
def test_bca_below_three_values_has_no_ends(values):
    got = bca_interval(values)
    assert got.n == len([value for value in values if value == value])
    assert math.isnan(got.low)
    assert math.isnan(got.high)


def test_bca_of_equal_values_has_no_width():
    got = bca_interval([0.1, 0.1, 0.1])
    assert (got.mean, got.low, got.high) == (0.1, 0.1, 0.1)


BCA_COVERAGE = {3: (0.68, 0.75), 5: (0.81, 0.88), 10: (0.87, 0.93), 50: (0.93, 0.97)}
"""Seeds -> within what the share of intervals that cover the mean lies."""


@pytest.mark.parametrize("n", BCA_COVERAGE)
def test_bca_covers_95_of_100_for_many_values_and_fewer_for_few(n):
    """What `bca_interval` says of itself, for normal values."""
    values = np.random.default_rng(n).normal(size=(500, n))
    got = [bca_interval(row, seed=i, resamples=999) for i, row in enumerate(values)]
    low, high = BCA_COVERAGE[n]
    assert low <= np.mean([interval.low <= 0 <= interval.high for interval in got]) <= high


def test_interquartile_mean_is_scipys_and_leaves_out_what_is_missing():
    values = [5.0, 1.0, 100.0, 2.0, 3.0, 4.0, -50.0, 6.0]
    assert interquartile_mean(values) == 3.5 == stats.trim_mean(values, 0.25)
    assert interquartile_mean([[math.nan, *values], [math.nan] * 9]) == 3.5
    assert interquartile_mean([1.0, 2.0, 6.0]) == 3
    assert math.isnan(interquartile_mean([math.nan]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning:statsmodels", "ignore:.*nobs:UserWarning")
@pytest.mark.parametrize("apart", [0.0, 0.5, 3.0])
def test_random_effects_are_statsmodels(apart):
    rng = np.random.default_rng(11)
    variances = rng.uniform(0.05, 0.4, (8, 6))
    means = 1 + apart * rng.normal(size=(8, 6)) + np.sqrt(variances) * rng.normal(size=(8, 6))
    got = random_effects(means, variances)
    for place in range(8):
        expected = meta_analysis.combine_effects(means[place], variances[place], method_re="dl", use_t=True)
        frame = expected.summary_frame()
        assert got.tau2[place] == pytest.approx(max(expected.tau2, 0), abs=1e-12)
        assert got.i2[place] == pytest.approx(max(expected.i2, 0), abs=1e-12)
        if expected.tau2 > 0:  # statsmodels keeps a negative variance
            line = frame.loc["random effect wls", ["eff", "ci_low", "ci_upp"]].tolist()
            assert [got.mean[place], got.low[place], got.high[place]] == pytest.approx(line)
    assert (got.tau2 == 0).any() or apart


def test_random_effects_leave_out_missing_cells_and_say_nothing_of_one():
    means, variances = [[1.0, np.nan, 3.0, 2.5], [1.0, np.nan, np.nan, np.nan], [np.nan] * 4], [0.1, 0.1, 0.2, 0.3]
    got, alone = random_effects(means, variances), random_effects([1.0, 3.0, 2.5], [0.1, 0.2, 0.3])
    for field in ("mean", "low", "high", "tau2", "i2"):
        assert getattr(got, field)[0] == pytest.approx(getattr(alone, field), rel=1e-12)
    assert (got.mean[1], got.tau2[1]) == (1, 0)
    assert np.isnan([got.low[1], got.high[1], got.i2[1], got.mean[2], got.low[2]]).all()
    assert np.isnan(random_effects([1.0, 2.0], [0.0, 0.1]).mean)


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_random_effects_cover_the_true_mean_in_95_of_100_experiments(apart):
    """Six cells of equal variance, where the interval is exact without spread and near it with much."""
    rng = np.random.default_rng(13)
    means = 2 + np.hypot(apart, 0.3) * rng.normal(size=(10_000, 6))
    got = random_effects(means, np.full(6, 0.09))
    assert 0.93 <= np.mean((got.low <= 2) & (got.high >= 2)) <= 0.97


def test_slope_is_scipys_with_its_t_interval_and_skips_missing_points():
    x, y = np.arange(7.0), np.array([0.0, -0.2, -0.1, -0.5, -0.4, -0.9, -0.6])
    line = stats.linregress(x, y)
    got = slope([*x, 99.0, math.nan], [*y, math.nan, 1.0], 0.9)
    half = stats.t.ppf(0.95, 5) * line.stderr
    assert (got.slope, got.low, got.high) == pytest.approx((line.slope, line.slope - half, line.slope + half))


def test_slope_of_few_points():
    two = slope([0.0, 2.0], [1.0, 2.0])
    assert two.slope == 0.5
    assert math.isnan(two.low)
    for none in (slope([], []), slope([1.0], [1.0]), slope([1.0, 1.0], [1.0, 2.0]), slope([1.0, 2.0], [math.nan, 2.0])):
        assert math.isnan(none.slope)


def test_slope_covers_the_true_slope_in_95_of_100_experiments():
    x, noise = np.arange(7.0), np.random.default_rng(17).normal(size=(3000, 7))
    got = [slope(x, 0.5 * x + row) for row in noise]
    assert 0.93 <= np.mean([line.low <= 0.5 <= line.high for line in got]) <= 0.97


def test_correlation_is_scipys_with_fishers_interval():
    rng = np.random.default_rng(19)
    x = rows(9)
    y = 0.5 * x + rng.normal(size=x.shape)
    y[3, 3] = np.nan
    got = correlation(x, y, 0.9)
    for place in range(len(x)):
        there = ~np.isnan(x[place] + y[place])
        expected = stats.pearsonr(x[place][there], y[place][there])
        ends = expected.confidence_interval(0.9)
        assert got.n[place] == there.sum()
        fields = (got.mean[place], got.low[place], got.high[place])
        assert fields == pytest.approx((expected.statistic, ends.low, ends.high), rel=1e-12)


def test_correlation_of_few_of_equal_and_of_aligned_pairs():
    few = correlation([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert few.mean == pytest.approx(0.5)
    assert math.isnan(few.low)
    assert math.isnan(correlation([0.1] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]).mean)
    line = correlation([1.0, 2.0, 3.0, 4.0, 5.0], [3.0, 5.0, 7.0, 9.0, 11.0])
    assert (line.mean, line.low, line.high) == (1, 1, 1)


def test_correlation_covers_the_true_one_in_95_of_100_experiments():
    x, noise = np.random.default_rng(23).normal(size=(2, 10_000, 8))
    got = correlation(x, 0.6 * x + 0.8 * noise)
    assert 0.93 <= np.mean((got.low <= 0.6) & (got.high >= 0.6)) <= 0.97


def layout(a: int, b: int, seeds: int) -> np.ndarray:
    """Three tables with effects of both factors, of their interaction and of seeds."""
    rng = np.random.default_rng(a * b * seeds)
    first, second, seed = (rng.normal(size=shape) for shape in ((a, 1, 1), (b, 1), (seeds,)))
    return 0.7 * first + 0.3 * second + 2 * seed + rng.normal(size=(3, a, b, seeds))


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 2, 5), (2, 2, 10)])
def test_two_way_is_the_analysis_of_variance_of_statsmodels(shape):
    values = layout(*shape)
    values[1, 0, 1, 2] = np.nan
    got = two_way(values)
    named = {"first": "C(a)", "second": "C(b)", "interaction": "C(a):C(b)"}
    for place, table in enumerate(values):
        index = pd.MultiIndex.from_product(map(range, shape), names=["a", "b", "seed"])
        frame = pd.Series(table.ravel(), index, name="y").reset_index()
        frame = frame[~frame["seed"].isin(frame.loc[frame["y"].isna(), "seed"])]
        table_of = anova.anova_lm(formula.ols("y ~ C(a) * C(b) + C(seed)", frame).fit())
        for name, (eta2, p) in got.items():
            squares, error = table_of.loc[named[name], "sum_sq"], table_of.loc["Residual", "sum_sq"]
            assert eta2[place] == pytest.approx(squares / (squares + error), rel=1e-9)
            assert p[place] == pytest.approx(table_of.loc[named[name], "PR(>F)"], rel=1e-7)


def test_two_way_says_nothing_of_one_seed_or_one_level():
    for eta2, p in two_way(layout(2, 3, 1)).values():
        assert np.isnan([eta2, p]).all()
    assert np.isnan(two_way(layout(1, 3, 4))["first"][1]).all()


def test_two_way_without_effects_has_uniform_p_values():
    values = np.random.default_rng(29).normal(size=(10_000, 2, 3, 3)) + np.arange(3.0)
    for _, p in two_way(values).values():
        assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.009)
