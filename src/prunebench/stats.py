"""Intervals, tests and pooled effects for small numbers of seeds.

Arrays, or what becomes one, hold seeds (or cells) on their last axis and are computed row by row, all rows at once: the
calibration of the claims' rules judges thousands of tables. A NaN is a value that is missing.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """n values: mean, sample standard deviation (n - 1) and the confidence interval of the mean.

    With one value `std`, `low` and `high` are NaN: one seed says nothing about spread.

    >>> from prunebench.stats import summarise
    >>> got = summarise([1.0, 2.0, 3.0])
    >>> got.n, got.mean, got.std, round(got.low, 2), round(got.high, 2)  # 2 ± 4.303 / sqrt(3)
    (3, 2.0, 1.0, -0.48, 4.48)
    """

    n: int
    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """Means with their confidence intervals, elementwise: every field has the shape of the values without seeds.

    Below two values `std`, `low` and `high` are NaN: one seed says nothing about spread.

    >>> import numpy as np
    >>> from prunebench.stats import t_interval
    >>> got = t_interval(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, np.nan]]))
    >>> got.n, got.mean, got.std
    (array([3, 2]), array([2., 4.]), array([1., 0.]))
    """

    n: NDArray[np.int_]
    mean: Floats
    std: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class RandomEffects:
    """A mean over cells whose true effects differ, elementwise, with its interval.

    `tau2` is the variance of the true effects, `i2` the share of the cells' spread that seeds do not explain.

    >>> import numpy as np
    >>> from prunebench.stats import random_effects
    >>> got = random_effects(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    >>> float(got.mean), float(got.tau2), float(got.i2)
    (2.0, 1.0, 0.5)
    """

    mean: Floats
    low: Floats
    high: Floats
    tau2: Floats
    i2: Floats


@dataclass(frozen=True)
class Slope:
    """Slope of a straight line with its confidence interval; NaN where there are too few points for it.

    >>> import numpy as np
    >>> from prunebench.stats import slope
    >>> slope(np.array([0.0, 1.0]), np.array([1.0, 3.0]))
    Slope(slope=2.0, low=nan, high=nan)
    """

    slope: float
    low: float
    high: float


def summarise(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Mean with Student's t interval (Student 1908); NaN throughout for no values. A NaN is no value.

    >>> from prunebench.stats import summarise
    >>> summarise([0.5, 0.5, 0.5])
    Summary(n=3, mean=0.5, std=0.0, low=0.5, high=0.5)
    """
    got = t_interval(np.asarray(values), confidence)
    return Summary(int(got.n), *(float(field) for field in (got.mean, got.std, got.low, got.high)))


def t_interval(values: Floats, confidence: float = 0.95) -> Interval:
    """Student's t interval over the last axis; a NaN is no value. Infinite values give infinite or NaN ends.

    values: (..., seeds). confidence: in (0, 1).

    >>> import numpy as np
    >>> from prunebench.stats import t_interval
    >>> got = t_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(float(got.low), 2), round(float(got.high), 2)  # 2 ± 4.303 / sqrt(3)
    (-0.48, 4.48)
    """
    values = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(values)
    n = there.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, values, 0).sum(axis=-1) / n
        # Rounding may put the mean of equal values beside them: (0.1 + 0.1 + 0.1) / 3 > 0.1 would pass a margin of 0.1.
        least = np.fmin.reduce(values, axis=-1, initial=np.inf)
        mean = np.clip(mean, least, np.fmax.reduce(values, axis=-1, initial=-np.inf))
        deviations = np.where(there, values - mean[..., None], 0)
        std = np.where(n > 1, np.sqrt((deviations**2).sum(axis=-1) / (n - 1)), np.nan)
        half = _quantile(n, confidence) * std / np.sqrt(n)
    return Interval(n, mean, std, mean - half, mean + half)


def _quantile(n: NDArray[np.int_], confidence: float) -> Floats:
    """Half the width of the t interval of n values, in standard errors; NaN below two values."""
    by_n = np.full(int(n.max(initial=0)) + 1, np.nan)
    by_n[2:] = special.stdtrit(np.arange(1, max(by_n.size - 1, 1)), (1 + confidence) / 2)
    return by_n[n]


def t_test_p(
    values: Floats, null: float | Floats = 0.0, alternative: Literal["two-sided", "greater", "less"] = "two-sided"
) -> Floats:
    """p-values of Student's t test that the mean over the last axis is `null`; NaN below two values.

    Equal values give 0 or 1; NaN where they equal `null`, because they say nothing.

    >>> import numpy as np
    >>> from prunebench.stats import t_test_p
    >>> float(t_test_p(np.array([-1.0, 0.0, 1.0]))), float(t_test_p(np.array([-1.0, 0.0, 1.0]), alternative="greater"))
    (1.0, 0.5)
    """
    got = t_interval(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (got.mean - null) * np.sqrt(got.n) / got.std
    if alternative == "two-sided":
        return 2 * special.stdtr(got.n - 1, -np.abs(t))
    return special.stdtr(got.n - 1, t if alternative == "less" else -t)


def tost(values: Floats, margin: float) -> Floats:
    """p-values of two one-sided t tests (Schuirmann 1987) that the mean over the last axis lies within ± `margin`.

    Below 0.05 exactly where the 90 % t interval lies inside the margins.

    margin: > 0.

    >>> import numpy as np
    >>> from prunebench.stats import tost
    >>> values = np.array([-1.0, 0.0, 1.0])  # the 90 % interval is ± 1.69
    >>> bool(tost(values, margin=1.7) < 0.05), bool(tost(values, margin=1.6) < 0.05)
    (True, False)
    """
    above, below = t_test_p(values, -margin, "greater"), t_test_p(values, margin, "less")
    return np.maximum(above, below)


def holm(p: Floats) -> Floats:
    """p-values over the last axis, adjusted so that the chance of any false one is bounded (Holm 1979); NaN stay.

    >>> import numpy as np
    >>> from prunebench.stats import holm
    >>> holm(np.array([0.04, 0.01, 0.03])).tolist()  # 3 * 0.01, 2 * 0.03, and no less than that
    [0.06, 0.03, 0.06]
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=-1)
    # NaN sort last: the first of the others is multiplied by their number, the next by one less.
    left = (~np.isnan(p)).sum(axis=-1, keepdims=True) - np.arange(p.shape[-1])
    raised = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * left, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(raised, 1), axis=-1)
    return adjusted


def bca_interval(values: Floats, confidence: float = 0.95, seed: int = 0, resamples: int = 9999) -> Interval:
    """The mean of one row of values with its bias-corrected and accelerated bootstrap interval (Efron 1987).

    It assumes no distribution but needs many values: at 95 % it covers the mean of a normal distribution in 71 % of
    experiments at n = 3 (whose resamples take 10 values), 79 % at 4, 85 % at 5, 90 % at 10, 93 % at 20 and 94 % at 50,
    which the t interval does in 95 % at any n. Below 3 values the ends are NaN; equal values have no width.

    >>> import numpy as np
    >>> from prunebench.stats import bca_interval
    >>> got = bca_interval(np.array([1.0, 2.0, 3.0, 4.0, 10.0]), resamples=999)
    >>> bool(got.low < got.mean < got.high), bool(got.high - got.mean > got.mean - got.low)  # the tail is on the right
    (True, True)
    """
    values = np.asarray(values, dtype=np.float64)
    plain = t_interval(values, confidence)
    values = values[~np.isnan(values)]
    if values.size < 3 or not plain.std > 0:
        ends = plain.mean if values.size >= 3 and plain.std == 0 else np.array(np.nan)
        return Interval(plain.n, plain.mean, plain.std, ends, ends)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # NaN ends say the same
        low, high = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(plain.n, plain.mean, plain.std, np.asarray(low), np.asarray(high))


def interquartile_mean(values: Floats) -> float:
    """The mean of all values but the lowest and the highest quarter; NaN for no value.

    Of fewer than 4 values none is left out, so it is their mean. For results of few runs by Agarwal et al. (2021).

    >>> import numpy as np
    >>> from prunebench.stats import interquartile_mean
    >>> interquartile_mean(np.array([0.0, 1.0, 2.0, 100.0]))
    1.5
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    return float(stats.trim_mean(values, 0.25)) if values.size else math.nan


def random_effects(means: Floats, variances: Floats, confidence: float = 0.95) -> RandomEffects:
    """The mean of the cells' true effects (last axis), which may differ; tau2 by DerSimonian & Laird (1986).

    `variances` are squared standard errors of `means`. The interval is that of Hartung & Knapp (2001): Student's t with
    one degree less than cells. It takes the cells as independent: noise that they share, such as that of a seed, is not
    in it. A cell with a NaN is missing; one cell has no interval; a variance of 0 gives NaN, as no weight suits it.

    >>> import numpy as np
    >>> from prunebench.stats import random_effects
    >>> got = random_effects(np.array([1.0, 3.0]), np.array([1.0, 1.0]))
    >>> float(got.mean), float(got.tau2), float(got.i2)  # a variance of 2, of which seeds explain 1
    (2.0, 1.0, 0.5)
    """
    means, variances = (np.asarray(field, dtype=np.float64) for field in (means, variances))
    there = ~(np.isnan(means) | np.isnan(variances))
    k = there.sum(axis=-1)
    y = np.where(there, means, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(there, 1 / variances, 0)
        total = weights.sum(axis=-1)
        fixed = (weights * y).sum(axis=-1) / total
        q = (weights * (y - fixed[..., None]) ** 2).sum(axis=-1)
        beyond = np.maximum(q - (k - 1), 0)
        tau2 = np.where(k > 1, beyond / (total - (weights**2).sum(axis=-1) / total), np.where(k == 1, 0, np.nan))
        weights = np.where(there, 1 / (variances + tau2[..., None]), 0)
        total = weights.sum(axis=-1)
        mean = (weights * y).sum(axis=-1) / total
        spread = (weights * (y - mean[..., None]) ** 2).sum(axis=-1)
        half = _quantile(k, confidence) * np.sqrt(spread / ((k - 1) * total))
        i2 = np.where(k > 1, np.where(q == 0, 0, beyond / q), np.nan)
    return RandomEffects(mean, mean - half, mean + half, tau2, i2)


def slope(x: Floats, y: Floats, confidence: float = 0.95) -> Slope:
    """Slope of the least-squares line of one row, with its t interval; a NaN in x or y leaves the point out.

    Two points have no interval; fewer, or equal x, no slope.

    x, y: (n,).

    >>> import numpy as np
    >>> from prunebench.stats import slope
    >>> slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    Slope(slope=2.0, low=2.0, high=2.0)
    """
    x, y = (np.asarray(field, dtype=np.float64) for field in (x, y))
    there = ~(np.isnan(x) | np.isnan(y))
    x, y = x[there], y[there]
    if x.size < 2 or np.ptp(x) == 0:
        return Slope(math.nan, math.nan, math.nan)
    line = stats.linregress(x, y)
    if x.size == 2:
        return Slope(float(line.slope), math.nan, math.nan)
    half = float(special.stdtrit(x.size - 2, (1 + confidence) / 2) * line.stderr)
    return Slope(float(line.slope), float(line.slope) - half, float(line.slope) + half)


def correlation(x: Floats, y: Floats, confidence: float = 0.95) -> Interval:
    """Pearson's r over the last axis (`mean`) with Fisher's z interval; a NaN in x or y leaves the pair out.

    `n` counts pairs, which the interval takes as independent; `std` is NaN. Below 4 pairs there are no ends; where x or
    y does not vary there is no r.

    >>> import numpy as np
    >>> from prunebench.stats import correlation
    >>> got = correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0]))
    >>> int(got.n), round(float(got.mean), 6)
    (4, 0.8)
    """
    x, y = np.broadcast_arrays(*(np.asarray(field, dtype=np.float64) for field in (x, y)))
    there = ~(np.isnan(x) | np.isnan(y))
    x, y = (np.where(there, field, np.nan) for field in (x, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (np.where(there, field - t_interval(field).mean[..., None], 0) for field in (x, y))
        r = (a * b).sum(axis=-1) / np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
        r = np.clip(r, -1, 1)
        n = there.sum(axis=-1)
        half = special.ndtri((1 + confidence) / 2) / np.sqrt(np.where(n > 3, n - 3, np.nan))
        low, high = np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
    return Interval(n, r, np.full_like(r, np.nan), low, high)


def two_way(values: Floats) -> dict[str, tuple[Floats, Floats]]:
    """Partial eta squared and p-value of `first`, `second` and their `interaction`, in a balanced two-way layout.

    `values` has shape (..., a, b, seeds), results have shape (...). Seeds are blocks: what a seed adds to all its cells
    is taken off. Only seeds with a value in every cell count; below two of them, or two levels, there is NaN.

    Partial eta squared (Cohen 1973) is the effect's sum of squares over its sum with the error's; p is of the F test.

    >>> import numpy as np
    >>> from prunebench.stats import two_way
    >>> values = np.array([[[0.0, 1.0], [0.0, 1.0]], [[2.0, 4.0], [2.0, 4.0]]])  # shape (2, 2, 2)
    >>> {name: round(float(eta), 2) for name, (eta, p) in two_way(values).items()}
    {'first': 0.96, 'second': 0.0, 'interaction': 0.0}
    """
    values = np.asarray(values, dtype=np.float64)
    a, b = values.shape[-3:-1]
    there = np.asarray(~np.isnan(values).any(axis=(-3, -2)))
    n = there.sum(axis=-1)
    y = np.where(there[..., None, None, :], values, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        cell = y.sum(axis=-1) / n[..., None, None]
        grand = cell.mean(axis=(-2, -1), keepdims=True)
        first = cell.mean(axis=-1, keepdims=True) - grand
        second = cell.mean(axis=-2, keepdims=True) - grand
        seed = y.mean(axis=(-3, -2), keepdims=True)
        rest = np.where(there[..., None, None, :], y - cell[..., None] - seed + grand[..., None], 0)
        error = np.where(n > 1, (rest**2).sum(axis=(-3, -2, -1)), np.nan)
        freedom = (a * b - 1) * (n - 1)
        effects = {
            "first": (b * n * (first**2).sum(axis=(-2, -1)), a - 1),
            "second": (a * n * (second**2).sum(axis=(-2, -1)), b - 1),
            "interaction": (n * ((cell - grand - first - second) ** 2).sum(axis=(-2, -1)), (a - 1) * (b - 1)),
        }
        return {
            name: (squares / (squares + error), special.fdtrc(own, freedom, squares / own / (error / freedom)))
            for name, (squares, own) in effects.items()
        }
