"""Forests: a row per effect with its interval, and the number itself at the right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prunebench.suite import numbers
from prunebench.suite.report import panels, style
from prunebench.suite.report.style import SMALL, Look, wrapped

CONFIDENCE = "[95 % t interval]"

LINE = 0.185
"""Inches of a row."""

NAMES = 1.45
"""Inches that the rows' names may take before they are wrapped."""


@dataclass(frozen=True)
class Effect:
    """A row: its name, its look, its mean and interval in the axis' unit, and how many of how many seeds diverged."""

    name: str
    look: Look
    mean: float
    low: float
    high: float
    diverged: str = ""


def effects_of(
    rows: pd.DataFrame,
    column: str,
    name: Callable[[Any], str],
    look: Look | Callable[[Any], Look],
    factor: float = 100.0,
) -> list[Effect]:
    """The rows of a table that have a number in `column`, or diverged seeds, in their order."""
    known = rows[np.isfinite(rows[column]) | (rows["diverged"] > 0 if "diverged" in rows else False)]
    values = zip(known.itertuples(), *panels.values_of(known, column, factor), strict=True)
    return [
        Effect(name(row), look if isinstance(look, Look) else look(row), mean, low, high, _diverged(row))
        for row, mean, low, high in values
    ]


def _diverged(row: Any) -> str:
    return f"{int(row.diverged)}/{int(row.n)} diverged" if getattr(row, "diverged", 0) > 0 else ""


def height(*columns: Sequence[Effect], head: int = 1) -> float:
    """Inches of panels side by side with these rows, `head` lines of title and the axis' label."""
    return 0.62 + 0.16 * (head - 1) + LINE * max([2, *(sum(_lines(each) for each in rows) for rows in columns)])


def _lines(effect: Effect) -> int:
    return max(_text(effect).count("\n") + 1, 2 * bool(effect.diverged))


def _text(effect: Effect) -> str:
    return wrapped(effect.name, NAMES, SMALL, 0.54)


def draw(
    ax: Axes,
    effects: Sequence[Effect],
    *,
    null: float = 0.0,
    margins: Sequence[tuple[float, str]] = (),
    least: float = 1.0,
    log: bool = False,
    signed: bool = True,
    none: str = "no values",
) -> None:
    """The effects from the top down, with lines of no effect and of a claim's margins; `none` where there is none.

    An interval that is much longer than the means' span is cut at the edge, marked with a triangle. least: the least
    span of the axis. log: effects are ratios.
    """
    if not effects:
        panels.empty_panel(ax, none)
        ax.yaxis.set_visible(False)
        return
    means, lows, highs = (np.array([getattr(each, end) for each in effects]) for end in ("mean", "low", "high"))
    marks = [null, *(value for value, _ in margins)]
    _limits(ax, np.append(means, marks), lows, highs, least, log)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x")
    ax.tick_params(axis="y", length=0)
    ax.axvline(null, color="0.3", linewidth=0.9, zorder=1)
    for value, text in margins:
        ax.axvline(value, color="0.3", linewidth=0.9, linestyle=panels.DOTS, zorder=1)
        ax.annotate(text, (value, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points", **_ABOVE)
    digits = min(2, numbers.decimals(means[np.isfinite(means)], (highs - lows) / 2))
    heights = np.array([_lines(each) for each in effects])
    edges = np.append(0, heights.cumsum())
    ax.set_ylim(float(edges[-1]), 0)
    style.set_ticks(ax.yaxis, (edges[:-1] + edges[1:]) / 2, [_text(each) for each in effects])
    for nth, each in enumerate(effects):
        if nth % 2 == 0:
            ax.axhspan(edges[nth], edges[nth + 1], color="0.96", linewidth=0, zorder=0)
        _row(ax, each, float(edges[nth] + edges[nth + 1]) / 2)
        shown = numbers.text(each.mean, digits, signed)
        if np.isfinite(each.low):
            shown += f" {numbers.interval(each.low, each.high, digits, signed)}"
        shown += f"\n{each.diverged}" if each.diverged else ""
        panels.text_beside(ax, float(edges[nth] + edges[nth + 1]) / 2, shown, (5, 0), color="black", linespacing=0.95)
    if np.isfinite(lows).any():
        how: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False, "fontsize": SMALL}
        ax.annotate(f"mean {CONFIDENCE}", (1, 1), (5, 2), xycoords="axes fraction", color="0.3", va="bottom", **how)


_ABOVE: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": SMALL, "color": "0.3"}


def _limits(ax: Axes, means: style.Floats, lows: style.Floats, highs: style.Floats, least: float, log: bool) -> None:
    """The x axis: all means, and intervals as far as twice their span."""
    if log:
        ends = style.limits(np.log(means), np.log(lows), np.log(highs), reach=2.0, least=least)
        low, high = (float(np.exp(end)) for end in ends)
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        style.set_ticks(ax.xaxis, panels.log_ticks(low, high, 4))
    else:
        ax.set_xlim(style.limits(means, lows, highs, reach=2.0, least=least))
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))


def _row(ax: Axes, effect: Effect, y: float) -> None:
    """A marker with its interval, up to the axis' ends."""
    left, right = ax.get_xlim()
    look = effect.look
    if np.isfinite(effect.low):
        ax.hlines(y, max(effect.low, left), min(effect.high, right), color=look.color, linewidth=1.1, zorder=2.5)
    ax.plot([effect.mean], [y], **look.line() | {"linestyle": "", "zorder": 3})
    for beyond, edge, marker in ((effect.low < left, left, "<"), (effect.high > right, right, ">")):
        if beyond:
            ax.plot([edge], [y], marker=marker, color=look.color, markersize=3.0, markeredgewidth=0, clip_on=False)
