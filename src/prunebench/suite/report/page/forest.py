"""Forest plots: where the marks of each row lie, in percent of the plot's width, so that it fits any width."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunebench.suite import numbers
from prunebench.suite.cells import SEPARATOR
from prunebench.suite.inputs import LARGEST

REACH = 1.5
"""How far beyond the means the axis goes at most, in spans of the means or in half the length of the median interval,
whichever is more: an interval of two seeds may be ten times as long as the others, and is cut."""

BETWEEN = 3
"""Cells from which on their spread says something of others like them."""

EDGE = 3.0
"""Percent left free at each side."""


@dataclass(frozen=True)
class Line:
    """A vertical line: the null, or a margin of the rule."""

    x: float
    kind: str
    """`null` or `margin`."""
    label: str


@dataclass(frozen=True)
class Marks:
    """What one row's plot shows; None where there is nothing to show."""

    mean: float | None
    low: float | None
    high: float | None
    cut_low: bool
    """The interval goes on beyond the left edge."""
    cut_high: bool
    seeds: tuple[float, ...]
    """Single seeds."""


@dataclass(frozen=True)
class Row:
    """One cell of a quantity, or the mean over its cells."""

    cell: str
    n: str
    mean: str
    interval: str
    std: str
    bca: str
    p: str
    pooled: bool
    marks: Marks


@dataclass(frozen=True)
class Forest:
    """A quantity's cells and what is pooled over them, as text and as marks on one axis."""

    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    unit: str
    common: str
    """What the names of all cells begin with; rows have the rest."""
    has: frozenset[str]
    """Which of the columns std, bca and p hold anything."""
    beside: tuple[tuple[str, str], ...]
    """Other summaries of the pooled cells: what and how much."""


def forest(quantity: Mapping[str, Any], seeds: Mapping[str, Sequence[float]]) -> Forest:
    """The forest plot of a quantity of claims.json; `seeds` holds the single seeds' values by cell."""
    unit, cells, pooled = quantity["unit"], quantity["cells"], quantity["pooled"]
    summaries = [*cells, *([pooled] if pooled and len(cells) != 1 else [])]
    axis = _Axis.of(unit, summaries, [v for values in seeds.values() for v in values], quantity.get("margins") or [])
    digits = numbers.digits_of(summaries, unit)
    common, names = _shared([cell["cell"] for cell in cells])
    rows = [
        _row(cell, name, unit, digits, axis, seeds.get(cell["cell"], ()))
        for cell, name in zip(cells, names, strict=True)
    ]
    if len(summaries) > len(cells):
        rows.append(_row(pooled, f"mean over {len(cells)} cells", unit, digits, axis, (), pooled=True))
    columns = ("std", "bca", "p")
    return Forest(
        tuple(rows),
        axis.lines(),
        axis.ticks(),
        numbers.UNIT.get(unit, ""),
        common,
        frozenset(name for name in columns if any(getattr(row, name) not in ("", numbers.NONE) for row in rows)),
        _beside(pooled, unit, digits, len(cells)) if pooled else (),
    )


def _shared(names: Sequence[str]) -> tuple[str, list[str]]:
    """What names begin with alike, in whole parts, and what is left of each: at least the last part."""
    parts = [name.split(SEPARATOR) for name in names]
    shared = 0
    if len(names) > 1:
        while all(len(p) > shared + 1 for p in parts) and len({p[shared] for p in parts}) == 1:
            shared += 1
    common = SEPARATOR.join(parts[0][:shared]) if shared else ""
    return common, [SEPARATOR.join(p[shared:]) for p in parts]


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The ledger's effect: a claim's headline as text; `sort` is the number that rows sort by."""
    unit = summary["unit"]
    texts = numbers.estimate(summary, unit, numbers.digits_of([summary], unit))
    return {**texts, "shown": numbers.with_unit(texts["mean"], unit), "sort": numbers.in_unit(summary["mean"], unit)}


def _row(
    summary: Mapping[str, Any],
    label: str,
    unit: str,
    digits: int,
    axis: "_Axis",
    seeds: Sequence[float],
    pooled: bool = False,
) -> Row:
    std = summary.get("std")
    bca = [numbers.in_unit(summary.get(f"bca_{end}"), unit) for end in ("low", "high")]
    missing = summary.get("missing") or 0
    p = summary.get("p_holm")
    return Row(
        cell=label,
        n=f"{summary['n']} ({missing} missing)" if missing else str(summary["n"]),
        # The standard deviation of logarithms is none of ratios.
        std="" if pooled or std is None or unit == "ratio" else numbers.text(numbers.in_unit(std, unit), digits),
        bca=numbers.interval(bca[0], bca[1], digits, unit in numbers.SIGNED),
        p="" if pooled or p is None else numbers.p_value(p),
        pooled=pooled,
        marks=axis.marks(summary, seeds),
        **numbers.estimate(summary, unit, digits),
    )


def _beside(pooled: Mapping[str, Any], unit: str, digits: int, cells: int) -> tuple[tuple[str, str], ...]:
    found = []
    iqm = numbers.in_unit(pooled.get("iqm"), unit)
    if iqm is not None:
        found.append(("interquartile mean", numbers.text(iqm, digits, unit in numbers.SIGNED)))
    if cells < BETWEEN:
        return tuple(found)
    if pooled.get("random_mean") is not None:
        random = numbers.estimate({end: pooled.get(f"random_{end}") for end in ("mean", "low", "high")}, unit, digits)
        found.append(("random-effects mean", f"{random['mean']} {random['interval']}".strip()))
    if pooled.get("i2") is not None:
        found.append(("I²", f"{100 * pooled['i2']:.0f} %"))
    return tuple(found)


@dataclass(frozen=True)
class _Axis:
    """The axis of one quantity: in percent or in the unit itself, for ratios in their logarithm."""

    unit: str
    low: float
    high: float
    margins: tuple[tuple[float, str], ...]

    @classmethod
    def of(
        cls,
        unit: str,
        summaries: Sequence[Mapping[str, Any]],
        seeds: Sequence[float],
        margins: Sequence[Mapping[str, Any]],
    ) -> "_Axis":
        core = [_placed(s["mean"], unit) for s in summaries if s.get("mean") is not None]
        core += [_placed(margin["value"], unit) for margin in margins]
        core += [0.0] if unit in numbers.FROM_ZERO else []
        ends = [_placed(s[end], unit) for s in summaries for end in ("low", "high") if s.get(end) is not None]
        ends += [_placed(value, unit) for value in seeds]
        if not core:
            core = [0.0]
        span = max(core) - min(core) or max((abs(end - core[0]) for end in ends), default=0) or abs(core[0]) or 1.0
        halves = sorted(
            (_placed(s["high"], unit) - _placed(s["low"], unit)) / 2 for s in summaries if s.get("low") is not None
        )
        reach = REACH * max([span, *halves[len(halves) // 2 :][:1]])
        low, high = max(min([*core, *ends]), min(core) - reach), min(max([*core, *ends]), max(core) + reach)
        if high - low < 1e-9 * span:
            low, high = low - span / 2, high + span / 2
        return cls(unit, low, high, tuple((_placed(margin["value"], unit), str(margin["label"])) for margin in margins))

    def at(self, value: float) -> float:
        """Percent of the width."""
        return round(EDGE + (100 - 2 * EDGE) * (value - self.low) / (self.high - self.low), 2)

    def lines(self) -> tuple[Line, ...]:
        null = [Line(self.at(0.0), "null", "no effect")] if self.unit in numbers.FROM_ZERO else []
        return (*null, *(Line(self.at(value), "margin", label) for value, label in self.margins))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        if self.unit == "ratio":
            ratios = numbers.ratio_ticks(math.exp(self.low), math.exp(self.high))
            return tuple(zip((self.at(math.log(r)) for r in ratios), numbers.tick_labels(ratios), strict=True))
        values = numbers.ticks(self.low, self.high)
        return tuple(zip(map(self.at, values), numbers.tick_labels(values), strict=True))

    def marks(self, summary: Mapping[str, Any], seeds: Sequence[float]) -> Marks:
        mean, low, high = (
            _placed(summary[name], self.unit) if summary.get(name) is not None else None
            for name in ("mean", "low", "high")
        )
        dots = [value for value in (_placed(seed, self.unit) for seed in seeds) if self.low <= value <= self.high]
        return Marks(
            mean=None if mean is None else self.at(mean),
            low=None if low is None else self.at(max(low, self.low)),
            high=None if high is None else self.at(min(high, self.high)),
            cut_low=low is not None and low < self.low,
            cut_high=high is not None and high > self.high,
            seeds=tuple(map(self.at, dots)),
        )


def _placed(value: float, unit: str) -> float:
    """A raw number on the axis of its unit, within what arithmetic and the exponential of a ratio bear."""
    most = 300.0 if unit == "ratio" else LARGEST
    return max(-most, min((100.0 if unit in ("points", "share") else 1.0) * value, most))
