"""How likely a repeat with other seeds gives the same verdict, and whether that forecast holds.

A repeat has as many seeds as the run. Its truth is not known, only what the run's seeds say of it: so its means are
drawn with the uncertainty that the observed ones have, and its spread with that of the observed one. To take the
observed means for the true ones would promise too much (docs/methods.md has the figures). The rule that judged the run
judges the repeats.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from prunebench.seeding import derive_seed
from prunebench.stats import t_interval
from prunebench.suite.claim import Claim, Sample, Verdict, sample
from prunebench.suite.exhibits import STABILITY
from prunebench.suite.numbers import share

REPEATS = 4000
"""Repeats that are drawn for a claim: a standard error of 0.6 points at 80 %, of 0.16 at 1 %."""

HALVES = 252
"""The most pairs of halves that a forecast is tried on: all of ten seeds."""

_AT_ONCE = 4_000_000  # random numbers in memory, n squared for a repeat: up to 31 seeds all repeats are drawn at once
_FEW = 10  # below which the halves of claims, which depend on each other, average to anything
_OF_A_HALF = 200  # repeats drawn for one half; shares are over all halves

_VERDICTS: Mapping[int, Verdict] = {1: "reproduced", -1: "not reproduced", 0: "inconclusive"}


@dataclass(frozen=True)
class Stability:
    """Shares of repeats of a run."""

    same: float
    """Those with the run's verdict."""
    opposite: float | None
    """Those that find the opposite; None where the run is inconclusive."""


def stability(claim: Claim, observed: Sample, margins: Any) -> Stability | None:
    """The stability of the verdict on one table of observations; None below two seeds, which show no spread."""
    if observed.n < 2:
        return None
    rng = np.random.default_rng(derive_seed("stability", claim.id))
    verdict, again = _judged(claim, observed, margins)[0], np.zeros(0)
    while (left := REPEATS - len(again)) > 0:
        drawn = repeats(observed, min(left, max(1, _AT_ONCE // observed.n**2)), rng)
        again = np.append(again, _judged(claim, drawn, margins))
    return Stability(float((again == verdict).mean()), float((again == -verdict).mean()) if verdict else None)


def _judged(claim: Claim, of: Sample, margins: Any) -> NDArray[np.int_]:
    return claim.judge(of, margins).verdicts


def repeats(observed: Sample, tables: int, rng: np.random.Generator) -> Sample:
    """Repeats of one table with other seeds.

    The predictive distribution given n seeds, a multivariate t with n - 1 degrees of freedom: with D, the deviations of
    the seeds from the means m, the covariance S = D D' / (n - 1), and w = (n - 1) / chi-squared(n - 1), one of a table,
    its true means are normal around m with covariance w S / n, its seeds around these with w S. Normal combinations of
    the columns of D have exactly the covariance S, how cells and quantities of a seed correlate included. A repeat's
    seed has no value where an observed one, drawn at random, has none; a cell with less than two values, whose spread
    is not known, has none at all.
    """
    n = observed.n
    values = np.concatenate([table[0] for table in observed.values.values()])
    each, there = t_interval(values), ~np.isnan(values)
    known = each.n > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = np.where(known[:, None] & there, values - each.mean[:, None], 0) / np.sqrt(each.n - 1)[:, None]
        deviations = np.where(known[:, None], deviations, np.nan)
        wider = np.sqrt((n - 1) / rng.chisquare(n - 1, tables))
        of_mean = deviations @ rng.standard_normal((n, tables)) / np.sqrt(each.n)[:, None]
    # Seeds first in memory: what is summed over seeds is then summed as whole arrays.
    drawn = each.mean[:, None] + wider * (deviations @ rng.standard_normal((n, n, tables)) + of_mean)
    if not there.all():
        drawn = np.where(there[:, rng.integers(n, size=(n, tables))].swapaxes(0, 1), drawn, np.nan)
    ends = np.cumsum([len(cells) for cells in observed.cells.values()])[:-1]
    parts = np.split(drawn.T, ends, axis=1)
    return Sample(dict(zip(observed.values, parts, strict=True)), observed.cells)


# --- Whether the forecast holds


def check(claims: Sequence[Claim], observations: pd.DataFrame, margins: Any) -> pd.DataFrame:
    """The stability of every claim's verdict, and how well such forecasts do: one row per claim (`STABILITY`).

    The seeds are split in halves, in every way (of more than ten seeds in `HALVES` ways drawn at random): from one half
    it is forecast how often another as large gives the same verdict, and the other half says whether it did. Below four
    seeds there is no such check. margins: (key of a paper) -> the margins of its claims.
    """
    rows = [_row(claim, sample(observations, claim), margins(claim.paper)) for claim in claims]
    frame = pd.DataFrame(rows, columns=[column.name for column in STABILITY.columns])
    return frame.astype(dict.fromkeys(("n", "half", "splits"), "Int64"))


def forecast(frame: pd.DataFrame) -> str:
    """How the forecasts of halves did over all claims of `STABILITY`, in a sentence."""
    tried = frame.dropna(subset=["found_same"])
    if tried.empty:
        return "No run has four seeds, so no half could forecast the verdict of the other."
    means = {name: share(float(tried[name].mean())) for name in ("forecast_same", "found_same")}
    return (
        f"Halves of the seeds, mean over {len(tried)} claims: the same verdict in {means['forecast_same']} of pairs by "
        f"forecast, in {means['found_same']} as found{'; so few claims say little' if len(tried) < _FEW else ''}."
    )


def _row(claim: Claim, observed: Sample, margins: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"claim": claim.id, "paper": claim.paper}
    if not any(observed.cells[quantity.name] for quantity in claim.quantities if quantity.decides):
        return row
    of = stability(claim, observed, margins)
    if of is None:
        return row
    row |= {"n": observed.n, "verdict": _VERDICTS[_judged(claim, observed, margins)[0]], "same": of.same}
    if of.opposite is not None:
        found = stats.binomtest(round(of.opposite * REPEATS), REPEATS).proportion_ci(0.95, "exact")
        row |= {"opposite": of.opposite, "opposite_low": found.low}
    return row | (_tried(claim, observed, margins) if observed.n >= 4 else {})


def _tried(claim: Claim, observed: Sample, margins: Any) -> dict[str, Any]:
    """What halves forecast of their others, and what these say."""
    rng = np.random.default_rng(derive_seed("halves", claim.id))
    pairs = [*_halves(observed.n, rng)]
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    halves = [_joined([_of_seeds(observed, seeds) for seeds in side]) for side in (first, second)]
    verdict, other = (_judged(claim, of, margins)[:, None] for of in halves)
    drawn = _joined([repeats(_of_seeds(observed, seeds), _OF_A_HALF, rng) for seeds in first])
    expected = _judged(claim, drawn, margins).reshape(len(pairs), _OF_A_HALF)
    row = {"half": first.shape[1], "splits": len(pairs)}
    for name, verdicts in (("forecast", expected), ("found", other)):
        row |= {f"{name}_same": (verdicts == verdict).mean(), f"{name}_opposite": (verdicts * verdict == -1).mean()}
    return row


def _halves(n: int, rng: np.random.Generator) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Pairs of disjoint halves of n seeds, each of n // 2."""
    half = n // 2
    if comb(n, half) * comb(n - half, half) > HALVES:
        orders = (rng.permutation(n).tolist() for _ in range(HALVES))
        yield from ((order[:half], order[half : 2 * half]) for order in orders)
        return
    for first in combinations(range(n), half):
        for second in combinations([seed for seed in range(n) if seed not in first], half):
            yield first, second


def _of_seeds(observed: Sample, seeds: Sequence[int]) -> Sample:
    return Sample({name: values[..., seeds] for name, values in observed.values.items()}, observed.cells)


def _joined(samples: Sequence[Sample]) -> Sample:
    values = {name: np.concatenate([of.values[name] for of in samples]) for name in samples[0].values}
    return Sample(values, samples[0].cells)
