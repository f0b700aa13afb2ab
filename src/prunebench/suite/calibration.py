"""How often each claim's rule errs, measured by judging tables whose truth is known.

Tables are drawn with the cells and the spread of the observed ones, and with the means that a claim names: those where
it is false, as near to the claim as false can be, and those where it holds. The rule that judges the real observations
judges them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from prunebench.seeding import derive_seed
from prunebench.stats import t_interval
from prunebench.suite.asked import all_claims
from prunebench.suite.cells import Cell
from prunebench.suite.claim import (
    ALLOWED,
    OPPOSITE,
    POWER,
    Claim,
    Floats,
    Quantity,
    Sample,
    Scenario,
    read_observations,
    sample,
)
from prunebench.suite.effects import exact
from prunebench.suite.exhibits import CALIBRATION
from prunebench.suite.numbers import share
from prunebench.suite.preset import Calibration, Preset

NOISES = ("independent", "shared by seed", "heavy-tailed")
"""Kinds of noise, all with the observed standard deviations: normal; normal with a correlation of 0.5 between all cells
and quantities of a seed; Student's t with 3 degrees of freedom."""

LADDER = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100)
"""Numbers of seeds, besides those of the configuration, among which the least that gives `POWER` is looked for."""

_LADDER_TABLES = 1000  # a standard error of 1.3 points at 20 and 80 %, which nobody needs finer
_BLOCK = 1000  # tables drawn and judged together: what fits a processor's cache


# --- What fails


def false_too_often(rates: pd.DataFrame) -> "pd.Series[bool]":
    """The rows of `CALIBRATION` whose rule calls noise "reproduced" in more tables than it may, beyond the
    simulation's own error."""
    return rates["null_reproduced_low"] > ALLOWED


def opposite_too_often(verdicts: pd.DataFrame) -> "pd.Series[bool]":
    """The rows of `STABILITY` whose verdict more repeats contradict than may, beyond the simulation's own error."""
    return verdicts["opposite_low"] > OPPOSITE


def failures(rates: pd.DataFrame, verdicts: pd.DataFrame) -> list[tuple[str, str]]:
    """The claims that fail the calibration, each with a phrase that says how; from `CALIBRATION` and `STABILITY`."""
    found = []
    for claim, rows in rates[false_too_often(rates)].groupby("claim", sort=False):
        worst = rows.loc[rows["null_reproduced"].idxmax()]
        tables = f"{share(worst['null_reproduced'])} of the tables with n = {worst['n']:g} and noise {worst['noise']}"
        found.append((str(claim), f'its rule calls noise "reproduced" in {tables}; {100 * ALLOWED:g} % may be'))
    for row in verdicts[opposite_too_often(verdicts)].to_dict("records"):
        repeats = f"{share(row['opposite'])} of repeats give the opposite verdict"
        found.append((row["claim"], f"{repeats}; {100 * OPPOSITE:g} % may"))
    return found


# --- The rates


def calibrate_results(
    preset: Preset, observations: Path, tables: int | None = None, report: Callable[[str], None] = lambda line: None
) -> pd.DataFrame:
    """`calibrate` for every claim of a preset, from its file observations.csv.

    tables: how many are simulated; None: as many as the preset says. Raises InputError where the file is missing or no
    table of observations.
    """
    config = preset.claims.calibration
    config = config if tables is None else config.model_copy(update={"tables": tables})
    return calibrate(all_claims(preset), read_observations(observations), config, preset.margins, report)


def calibrate(
    claims: Sequence[Claim],
    observations: pd.DataFrame,
    config: Calibration,
    margins: Callable[[str], Any],
    report: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """The error rates of each claim's rule: one row per claim, kind of noise and number of seeds (`CALIBRATION`).

    `null_reproduced` is the share of false "reproduced" with its 95 % Clopper-Pearson interval, `claimed_reproduced`
    the power, `claimed_not_reproduced` the share of false "not reproduced". `seeds_for_80` is the least number of seeds
    with a power of 80 %, empty where 100 seeds have less. A claim without observations, or a part of which (a quantity
    that its claimed truth names) has none or no second seed, has one row without rates, which says so. What is drawn
    for a claim depends on no other claim.

    margins: (key of a paper) -> the margins of its claims. report: gets a line when a claim is done.
    Raises ValueError where a claim's scenario or rule does not fit its quantities and cells.
    """
    rows: list[dict[str, Any]] = []
    for number, claim in enumerate(claims, 1):
        rates = list(_rows(claim, observations, config, margins(claim.paper)))
        report(f"{claim.id} ({number} of {len(claims)}): {_summary(rates)}")
        rows += rates
    frame = pd.DataFrame(rows, columns=[column.name for column in CALIBRATION.columns])
    return frame.astype(dict.fromkeys(("n", "tables", "seeds_for_80"), "Int64"))


def _summary(rates: Sequence[Mapping[str, Any]]) -> str:
    """The worst rates of a claim in a line."""
    if "n" not in rates[0]:
        return str(rates[0]["noise_from"])
    fewest = min(row["n"] for row in rates)
    power = min(row["claimed_reproduced"] for row in rates if row["n"] == fewest)
    false = max(row["null_reproduced"] for row in rates)
    return f'false "reproduced" at most {100 * false:.1f} %, power with {fewest} seeds at least {100 * power:.0f} %'


def _rows(claim: Claim, observations: pd.DataFrame, config: Calibration, margins: Any) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {"claim": claim.id, "paper": claim.paper, "claimed_as": claim.claimed_as}
    observed = sample(observations, claim)
    row["noise_from"], worlds = _worlds(claim, observed, margins)
    if not worlds:
        yield row
        return
    for name, scenario in (("null", claim.no_effect), ("claimed", claim.claimed)):
        row[f"{name}_effect"] = _in_words(claim.quantities, scenario(margins, observed.cells))
    for world in worlds:
        yield from (row | rates for rates in world.rows(config))


def _worlds(claim: Claim, observed: Sample, margins: Any) -> "tuple[str, list[_World]]":
    """What the noise of a claim is taken from, and what its tables are drawn from, by kind of noise.

    Without what is needed there are none, and the text says why.
    """
    if not any(observed.cells.values()):
        return "not measured", []
    scenarios = claim.no_effect(margins, observed.cells), claim.claimed(margins, observed.cells)
    spread, seeds = _spread(observed)
    # A part of a claim that has no cells cannot be simulated; controls that no scenario names may be missing.
    if absent := [
        name for name in observed.cells if name not in spread and (observed.cells[name] or name in scenarios[1])
    ]:
        return f"not measured: {', '.join(absent)}", []
    null, claimed = (_means(claim, scenario, observed) for scenario in scenarios)
    if not any(spread[name].any() for name in scenarios[1]):
        return "not measured: no spread between seeds", []
    worlds = [_World(claim, margins, observed.cells, spread, null, claimed, noise) for noise in NOISES]
    return f"measured: {seeds} seeds", worlds


@dataclass(frozen=True)
class Power:
    """How a rule does where the claimed effect is there, under the worst kind of noise."""

    share: float
    """How often it says reproduced with as many seeds as ran."""
    seeds: int | None
    """The least number of seeds that gives `POWER`; None where 100 have less."""


def power(claim: Claim, observed: Sample, margins: Any) -> Power | None:
    """A rule's power with the seeds and the spread of one table of observations; None where it cannot be simulated."""
    if observed.n < 2:
        return None
    _, worlds = _worlds(claim, observed, margins)
    if not worlds:
        return None
    known = [{observed.n: world.rates(observed.n, _LADDER_TABLES)} for world in worlds]
    needed = [world.seeds_for_power(rates) for world, rates in zip(worlds, known, strict=True)]
    seeds = None if None in needed else max(filter(None, needed))
    return Power(min(rates[observed.n][1] for rates in known), seeds)


def _spread(observed: Sample) -> tuple[dict[str, Floats], str]:
    """Standard deviations over seeds by quantity and cell, and from how many seeds they are ("3", "2–3").

    A cell with fewer than two values has the median of its quantity's other cells; a quantity of such cells alone is
    left out.
    """
    spread, seeds = {}, []
    for name, values in observed.values.items():
        each = t_interval(values[0])
        known = np.isfinite(each.std)
        if known.any():
            spread[name] = np.where(known, each.std, np.median(each.std[known]))
            seeds += each.n[known].tolist()
    return spread, "–".join(dict.fromkeys((f"{min(seeds)}", f"{max(seeds)}"))) if seeds else ""


def _means(claim: Claim, scenario: Scenario, observed: Sample) -> dict[str, Floats]:
    """True means by quantity and cell: the scenario's, and the observed ones of quantities that it leaves out."""
    if unknown := {*scenario} - {*observed.values}:
        raise ValueError(f"claim {claim.id}: a scenario names {sorted(unknown)[0]}, which is not among its quantities")
    means = {}
    for name, cells in observed.cells.items():
        given = scenario.get(name)
        if given is None:
            means[name] = t_interval(observed.values[name][0]).mean
        elif isinstance(given, Mapping):
            if {*given} != {*cells}:
                raise ValueError(f"claim {claim.id}: a scenario's cells of {name} are not the observed ones")
            means[name] = np.array([given[cell] for cell in cells])
        else:
            means[name] = np.full(len(cells), given)
    return means


@dataclass(frozen=True)
class _World:
    """What tables of one claim are drawn from: by quantity, each cell's spread and its two true means."""

    claim: Claim
    margins: Any
    cells: Mapping[str, Sequence[Cell]]
    spread: Mapping[str, Floats]
    null: Mapping[str, Floats]
    claimed: Mapping[str, Floats]
    noise: str

    def rows(self, config: Calibration) -> Iterator[dict[str, Any]]:
        """The rates by number of seeds."""
        by_n = {n: self.rates(n, config.tables) for n in sorted(config.seeds)}
        enough = self.seeds_for_power(by_n)
        for n, (false, power, missed) in by_n.items():
            exact = stats.binomtest(round(false * config.tables), config.tables).proportion_ci(0.95, "exact")
            yield {
                "n": n,
                "noise": self.noise,
                "tables": config.tables,
                "null_reproduced": false,
                "null_reproduced_low": exact.low,
                "null_reproduced_high": exact.high,
                "claimed_reproduced": power,
                "claimed_not_reproduced": missed,
                "seeds_for_80": enough,
            }

    def rates(self, n: int, tables: int) -> tuple[float, float, float]:
        """Shares of tables of n seeds: reproduced where the claim is false; reproduced, not reproduced, where it holds.

        Both truths meet the same noise.
        """
        rng = np.random.default_rng(derive_seed("calibration", self.claim.id, self.noise, n))
        counts = np.zeros(3)
        for first in range(0, tables, _BLOCK):
            size = min(_BLOCK, tables - first)
            errors = self._errors(rng, size, n)
            null, claimed = (self._judged(errors, means, size) for means in (self.null, self.claimed))
            counts += null[0], *claimed
        false, power, missed = (counts / tables).tolist()
        return false, power, missed

    def seeds_for_power(self, known: Mapping[int, tuple[float, float, float]]) -> int | None:
        """The least number of seeds with a power of `POWER`, which is taken to rise with seeds; `known` rates stand."""
        ladder = sorted({*LADDER, *known})

        def enough(n: int) -> bool:
            return (known[n] if n in known else self.rates(n, _LADDER_TABLES))[1] >= POWER

        place = bisect_left(ladder, True, key=enough)
        return ladder[place] if place < len(ladder) else None

    def _errors(self, rng: np.random.Generator, tables: int, n: int) -> dict[str, Floats]:
        ends = np.cumsum([len(cells) for cells in self.cells.values()])
        drawn = np.split(draw_noise(rng, self.noise, (tables, int(ends[-1]), n)), ends[:-1], axis=1)
        # Quantities without a spread have no cells.
        deviations = (self.spread.get(name, np.empty(0)) for name in self.cells)
        return {name: std[:, None] * part for name, std, part in zip(self.cells, deviations, drawn, strict=True)}

    def _judged(self, errors: Mapping[str, Floats], means: Mapping[str, Floats], tables: int) -> tuple[int, int]:
        values = {name: means[name][:, None] + part for name, part in errors.items()}
        ruling = self.claim.judge(Sample(values, self.cells), self.margins)
        for text, holds in {**ruling.reproduced, **ruling.refuted}.items():
            if np.shape(holds) != (tables,):
                raise ValueError(f"claim {self.claim.id}: condition '{text}' is not one truth value per table")
        return int(ruling.yes.sum()), int(ruling.no.sum())


def draw_noise(rng: np.random.Generator, noise: str, shape: tuple[int, int, int]) -> Floats:
    """Noise of one of `NOISES` with mean 0 and variance 1; `shape` is (tables, cells of all quantities, seeds)."""
    tables, cells, n = shape
    # Seeds first in memory: what is summed over seeds is then summed as whole arrays.
    if noise == "heavy-tailed":
        return rng.standard_t(3, (n, cells, tables)).T / np.sqrt(3)
    normal = rng.standard_normal((n, cells, tables)).T
    if noise == "independent":
        return normal
    shared = rng.standard_normal((n, 1, tables)).T
    return np.sqrt(0.5) * (normal + shared)


def _in_words(quantities: Sequence[Quantity], scenario: Scenario) -> str:
    """`gain +1 points, ratio × 0.8 to × 0.9`; a range where cells differ."""
    parts = []
    for quantity in quantities:
        given = scenario.get(quantity.name)
        if given is not None:
            values = sorted({*map(float, given.values())}) if isinstance(given, Mapping) else [float(given)]
            ends = dict.fromkeys(exact(value, quantity.unit) for value in (values[:1] + values[-1:]))
            parts.append(f"{quantity.name} {' to '.join(ends) or 'n/a'}")
    return ", ".join(parts)
