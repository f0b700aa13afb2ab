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


View = dict[str, Any]
"""What the template shows, by name."""


def forest(quantity: View, seeds: Mapping[str, Sequence[float]]) -> View:
    """The forest plot of a quantity of claims.json; `seeds` holds the single seeds' values by cell.

    rows: a line per cell and one for the mean over them, as text and as marks (`_Axis.marks`). common: what the names
    of all cells begin with; rows have the rest. lines: `x`, `kind` (null or margin) and `label`.
    has: which of the columns std, bca and p hold anything. beside: other summaries of the cells as (name, text).
    """
    unit, cells, pooled = quantity["unit"], quantity["cells"], quantity["pooled"]
    summaries = [*cells, *([pooled] if pooled and len(cells) != 1 else [])]
    axis = _Axis.of(unit, summaries, [v for values in seeds.values() for v in values], quantity.get("margins") or [])
    digits = numbers.digits_of(summaries, unit)
    common, names = _shared([cell["cell"] for cell in cells])
    shown = [(cell, name, seeds.get(cell["cell"], ())) for cell, name in zip(cells, names, strict=True)]
    shown += [(mean, f"mean over {len(cells)} cells", ()) for mean in summaries[len(cells) :]]
    rows = [
        _row(summary, unit, digits) | {"cell": name, "pooled": summary is pooled, "marks": axis.marks(summary, values)}
        for summary, name, values in shown
    ]
    return {
        "rows": rows,
        "lines": axis.lines(),
        "ticks": axis.ticks(),
        "unit": numbers.UNIT.get(unit, ""),
        "common": common,
        "has": {name for name in ("std", "bca", "p") if any(row[name] not in ("", numbers.NONE) for row in rows)},
        "beside": _beside(pooled, unit, digits, len(cells)) if pooled else [],
    }


def _shared(names: Sequence[str]) -> tuple[str, list[str]]:
    """What names begin with alike, in whole parts, and what is left of each: at least the last part."""
    parts = [name.split(SEPARATOR) for name in names]
    shared = 0
    if len(names) > 1:
        while all(len(p) > shared + 1 for p in parts) and len({p[shared] for p in parts}) == 1:
            shared += 1
    common = SEPARATOR.join(parts[0][:shared]) if shared else ""
    return common, [SEPARATOR.join(p[shared:]) for p in parts]


def headline(summary: View) -> View:
    """The ledger's effect: a claim's headline as text; `sort` is the number that rows sort by."""
    unit = summary["unit"]
    texts = numbers.estimate(summary, unit, numbers.digits_of([summary], unit))
    return {**texts, "shown": numbers.with_unit(texts["mean"], unit), "sort": numbers.in_unit(summary["mean"], unit)}


def _row(summary: View, unit: str, digits: int) -> View:
    """A cell's numbers as text, or those of the mean over cells, which has neither `std` nor `p`."""
    std, p, missing = (summary.get(name) for name in ("std", "p_holm", "missing"))
    low, high = (numbers.in_unit(summary.get(f"bca_{end}"), unit) for end in ("low", "high"))
    return {
        "n": f"{summary['n']} ({missing} missing)" if missing else str(summary["n"]),
        # The standard deviation of logarithms is none of ratios.
        "std": "" if std is None or unit == "ratio" else numbers.text(numbers.in_unit(std, unit), digits),
        "bca": numbers.interval(low, high, digits, unit in numbers.SIGNED),
        "p": "" if p is None else numbers.p_value(p),
        **numbers.estimate(summary, unit, digits),
    }


def _beside(pooled: View, unit: str, digits: int, cells: int) -> list[tuple[str, str]]:
    beside = []
    iqm = numbers.in_unit(pooled.get("iqm"), unit)
    if iqm is not None:
        beside.append(("interquartile mean", numbers.text(iqm, digits, unit in numbers.SIGNED)))
    if cells >= BETWEEN and pooled.get("random_mean") is not None:
        random = numbers.estimate({end: pooled.get(f"random_{end}") for end in ("mean", "low", "high")}, unit, digits)
        beside.append(("random-effects mean", f"{random['mean']} {random['interval']}".strip()))
    if cells >= BETWEEN and pooled.get("i2") is not None:
        beside.append(("I²", f"{100 * pooled['i2']:.0f} %"))
    return beside


@dataclass(frozen=True)
class _Axis:
    """The axis of one quantity: in percent or in the unit itself, for ratios in their logarithm."""

    unit: str
    low: float
    high: float
    margins: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, unit: str, summaries: Sequence[View], seeds: Sequence[float], margins: Sequence[View]) -> "_Axis":
        """The axis that shows these means and margins, and of intervals and seeds what lies within `REACH`."""

        def placed(name: str) -> list[float]:
            return [_placed(summary[name], unit) for summary in summaries if summary.get(name) is not None]

        marks = tuple((_placed(margin["value"], unit), str(margin["label"])) for margin in margins)
        core = [*placed("mean"), *(value for value, _ in marks), *([0.0] if unit in numbers.FROM_ZERO else [])] or [0.0]
        ends = [*placed("low"), *placed("high"), *(_placed(value, unit) for value in seeds)]
        span = max(core) - min(core) or max((abs(end - core[0]) for end in ends), default=0) or abs(core[0]) or 1.0
        halves = sorted((high - low) / 2 for low, high in zip(placed("low"), placed("high"), strict=True))
        reach = REACH * max([span, *halves[len(halves) // 2 :][:1]])
        low, high = max(min([*core, *ends]), min(core) - reach), min(max([*core, *ends]), max(core) + reach)
        if high - low < 1e-9 * span:
            low, high = low - span / 2, high + span / 2
        return cls(unit, low, high, marks)

    def at(self, value: float) -> float:
        """Percent of the width."""
        return round(EDGE + (100 - 2 * EDGE) * (value - self.low) / (self.high - self.low), 2)

    def lines(self) -> list[View]:
        """The vertical lines: no effect, where that is a number, and the margins of the rule."""
        null = [(0.0, "null", "no effect")] if self.unit in numbers.FROM_ZERO else []
        drawn = [*null, *((value, "margin", label) for value, label in self.margins)]
        return [{"x": self.at(value), "kind": kind, "label": label} for value, kind, label in drawn]

    def ticks(self) -> list[tuple[float, str]]:
        """Places of round numbers, and these as text."""
        if self.unit == "ratio":
            ratios = numbers.ratio_ticks(math.exp(self.low), math.exp(self.high))
            return list(zip((self.at(math.log(r)) for r in ratios), numbers.tick_labels(ratios), strict=True))
        values = numbers.ticks(self.low, self.high)
        return list(zip(map(self.at, values), numbers.tick_labels(values), strict=True))

    def marks(self, summary: View, seeds: Sequence[float]) -> View:
        """Places of a row's mean, interval and single seeds; None where there is nothing to show.

        cut_low, cut_high: whether the interval goes on beyond that edge.
        """
        mean, low, high = (
            _placed(summary[name], self.unit) if summary.get(name) is not None else None
            for name in ("mean", "low", "high")
        )
        dots = (_placed(seed, self.unit) for seed in seeds)
        return {
            "mean": None if mean is None else self.at(mean),
            "low": None if low is None else self.at(max(low, self.low)),
            "high": None if high is None else self.at(min(high, self.high)),
            "cut_low": low is not None and low < self.low,
            "cut_high": high is not None and high > self.high,
            "seeds": [self.at(value) for value in dots if self.low <= value <= self.high],
        }


def _placed(value: float, unit: str) -> float:
    """A raw number on the axis of its unit, within what arithmetic and the exponential of a ratio bear."""
    most = 300.0 if unit == "ratio" else LARGEST
    return max(-most, min((100.0 if unit in ("points", "share") else 1.0) * value, most))
