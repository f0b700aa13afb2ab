"""What the figures of directional pruning share: looks of arms, curves with bands, axes of epochs and of logarithms."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from prunebench.suite.report.panels import OTHERS, Series, looks_of
from prunebench.suite.report.style import (
    Floats,
    Look,
    Tables,
    draw_points,
    limits,
    percent,
    plain,
    spaced_labels,
    sparsity_position,
)

Arm = tuple[str, str]
"""Method, and of gRDA the setting's label, which its `matched_to` holds."""

_METHODS = {
    "sgd": Look("SGD", "#000000", "o", width=1.3, size=3.5, order=3.0),
    "sgd_strong": Look("SGD, momentum + weight decay", "#808080", "h", (0, (5.0, 1.5)), width=1.1, size=4.0),
    "l1": Look("l1 penalty, then cut", "#0072B2", "s", (0, (4.0, 1.2)), width=1.1, size=3.8),
    "gmp_gradual": Look("gradual GMP", "#009E73", "D", (0, (1.2, 1.0)), width=1.3, size=3.5),
    "gmp_one_shot": Look("one-shot GMP, fine-tuned", "#56B4E9", "^", (0, (6.0, 1.5, 1.0, 1.5)), width=1.1, size=4.2),
    "random": Look("random from the initialisation on", "#CC79A7", "v", (0, (2.5, 1.0)), width=1.1, size=4.2),
}

# Vermillion is the method's; the other settings' oranges and browns differ in lightness, marker and dash.
_GRDA = (
    ("#D55E00", "o", "-"),
    ("#F0A202", ">", (0, (5.0, 1.2))),
    ("#7A3300", "<", (0, (3.0, 1.0, 1.0, 1.0))),
    ("#F2B38F", "p", (0, (1.2, 0.8))),
    ("#3D1A00", "H", (0, (7.0, 1.5))),
    ("#B07D2B", "d", (0, (2.0, 1.2))),
)

_CONTROLS = ("sgd_order", "sgd_init")
"""Runs of SGD that serve curvature and connectivity alone."""

_WORDS = {
    "grda": "gRDA",
    "sgd": "SGD",
    "sgd_init": "SGD, other initialisation",
    "sgd_order": "SGD, other order of data",
}


_BLANKS = ("matched_to", "schedule", "source", "point")

DOTS: Any = (0, (1.0, 1.5))


def rows_in(tables: Tables, name: str) -> pd.DataFrame:
    """The table `directional_<name>` without runs that serve as controls alone.

    Text that is left blank becomes "": pandas reads it as missing.
    """
    frame = tables[f"directional_{name}"]
    frame = frame[~frame["method"].isin(_CONTROLS)] if "method" in frame else frame
    return frame.fillna({column: "" for column in _BLANKS if column in frame})


def word(name: str) -> str:
    """An arm's method as a reader spells it."""
    return _WORDS.get(name) or (_METHODS[name].label if name in _METHODS else name.replace("_", " "))


def settings_of(frame: pd.DataFrame) -> list[str]:
    """The labels of the gRDA runs, in the table's order: a task's first is its reference."""
    return list(dict.fromkeys(frame.loc[frame["method"] == "grda", "matched_to"]))


def arm_looks(tables: Tables) -> dict[Arm, Look]:
    """One look per arm for every figure: dense runs, gRDA's settings, baselines."""
    frames = [rows_in(tables, name) for name in ("accuracy", "trajectory", "norm_curves", "layers")]
    frames = [frame for frame in frames if len(frame)]
    methods = dict.fromkeys(name for frame in frames for name in frame["method"])
    settings = dict.fromkeys(setting for frame in frames for setting in settings_of(frame))
    looks: dict[Arm, Look] = {(name, ""): _METHODS[name] for name in _METHODS if name in methods}
    firsts = {settings_of(part)[0] for frame in frames[:1] for _, part in frame.groupby("task") if settings_of(part)}
    for nth, setting in enumerate(settings):
        color, marker, dash = _GRDA[nth % len(_GRDA)]
        # Tasks may have settings of their own: then none is the reference of all.
        first = " (reference)" if firsts == {setting} and len(settings) > 1 else ""
        name = f"gRDA, {spelt(setting)}{first}"
        looks["grda", setting] = Look(name, color, marker, dash, 1.3 + 0.5 * (nth == 0), 4.4, 4.0 - 0.05 * nth)
    others = looks_of((name for name in methods if name not in (*_METHODS, "grda")), OTHERS)
    looks |= {(name, ""): look for name, look in others.items()}
    return dict(sorted(looks.items(), key=lambda entry: _rank(entry[0][0])))


def _rank(method: str) -> int:
    order = ("sgd", "sgd_strong", "grda", *_METHODS)
    return order.index(method) if method in order else len(order)


def is_arm(rows: pd.DataFrame, arm: Arm) -> pd.Series:
    method, setting = arm
    here = rows["method"] == method
    return here & (rows["matched_to"] == setting) if setting else here


def series_of(rows: pd.DataFrame, looks: dict[Arm, Look], sort: str) -> Series:
    """A series per arm that has rows, in the looks' order."""
    parts = ((look, rows[is_arm(rows, arm)]) for arm, look in looks.items())
    return [(look, part.sort_values(sort, kind="stable")) for look, part in parts if len(part)]


def matched_to(rows: pd.DataFrame) -> str:
    """The gRDA setting of a task that its baselines are shown for: the first that has any."""
    own = settings_of(rows)
    matched = [name for name in dict.fromkeys(rows.loc[rows["method"] != "grda", "matched_to"]) if name]
    return next((name for name in (*own, *matched) if name in matched), own[0] if own else "")


def at_setting(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Without the baselines that are matched to another gRDA setting."""
    return rows[(rows["method"] == "grda") | rows["matched_to"].isin(["", setting])]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a footer, the first `most` of them."""
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more} more" if more > 0 else "")


def spelt(setting: str) -> str:
    return setting.replace("mu ", "\u03bc ")


def dense_handle(look: Look, **how: Any) -> Artist:
    """The legend's handle of a line without markers."""
    return Line2D([], [], label=look.label, **replace(look, marker="").line() | how)


def numbers(rows: pd.DataFrame, *columns: str, factor: float = 1.0) -> list[Floats]:
    return [factor * rows[name].to_numpy(dtype=np.float64) for name in columns]


# --- Axes


def value_axis(ax: Axes, mean: Floats, low: Floats, high: Floats, *, factor: float = 3.0, reach: float = 0.3) -> None:
    """A logarithmic y axis that shows every positive mean, and intervals up to `reach` of their span beyond.

    The axis spans `factor` at least. Without a positive mean it stays linear.
    """
    positive = mean[np.isfinite(mean) & (mean > 0)]
    if positive.size == 0:
        return
    with np.errstate(invalid="ignore"):
        means, lows, highs = (np.log10(np.where(values > 0, values, np.nan)) for values in (mean, low, high))
    bottom, top = (10.0**end for end in limits(means, lows, highs, reach=reach, least=math.log10(factor)))
    middle, half = math.sqrt(bottom * top), max(math.sqrt(top / bottom), math.sqrt(factor))
    ax.set_yscale("log")
    ax.set_ylim(middle / half, middle * half)
    ax.yaxis.set_major_locator(FixedLocator(log_ticks(*ax.get_ylim())))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.yaxis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Three to `most` round numbers within (low, high): powers of ten, as fine as can be, or else other digits."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [[10.0**k for k in range(first - first % step, last + 1, step)] for step in (1, 2, 3, 4, 5)]
    digits = ((1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 2, 3, 4, 6), range(1, 10))
    finer = [[digit * 10.0**k for k in range(first, last + 1) for digit in some] for some in digits]
    for grid in (*powers, *finer):
        ticks = [tick for tick in grid if low <= tick <= high]
        if 3 <= len(ticks) <= most:
            return ticks
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def epoch_axis(ax: Axes, epochs: Floats, label: bool = True) -> None:
    last = float(np.nanmax(epochs, initial=0.0))
    ax.set_xlim(-0.02 * max(last, 1.0), 1.02 * max(last, 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if label:
        ax.set_xlabel("epoch")


_ROUND = (0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)

FULL = 0.99995
"""Sparsity from which on a network counts as empty: an axis of log density has no place for it."""


def round_sparsities(low: float, high: float) -> list[float]:
    """Round sparsities between two positions on the log-density axis, finer where the axis is narrow."""
    ticks = [tick for tick in _ROUND if low <= float(sparsity_position(tick)) <= high]
    if len(ticks) > 2:
        return ticks
    ends = (100 * (1 - math.exp(-position)) for position in (low, high))
    finer = [round(float(tick) / 100, 8) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(*ends)]
    return [tick for tick in finer if tick < 1 and low <= float(sparsity_position(tick)) <= high]


def density_axis(ax: Axes, sparsities: Sequence[float], inches: float) -> None:
    """An x axis of log density around `sparsities`, with round ticks."""
    places = sparsity_position([value for value in sparsities if math.isfinite(value)])
    pad = max(0.07 * float(np.ptp(places)), 0.25)
    low, high = float(places.min()) - pad, float(places.max()) + pad
    ax.set_xlim(low, high)
    ticks = round_sparsities(low, high)
    spaced_labels(ax, sparsity_position(ticks), [f"{100 * tick:.6g}" for tick in ticks], inches)
    ax.set_xlabel("sparsity (%)")


def density_ticks(ax: Axes, top: float) -> None:
    """A y axis of log density from dense to the sparsity `top`, in % of weights pruned."""
    ceiling = max(1.08 * float(sparsity_position(top)), 0.8)
    ax.set_ylim(-0.04 * ceiling, ceiling)
    shown: list[float] = []
    for tick in _ROUND:
        place = float(sparsity_position(tick))
        if place <= ceiling and (not shown or place - float(sparsity_position(shown[-1])) > 0.12 * ceiling):
            shown.append(tick)
    ax.yaxis.set_major_locator(FixedLocator([float(sparsity_position(tick)) for tick in shown]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda _, i: percent(shown[i]) if i is not None else ""))


# --- Curves


def curve(
    ax: Axes,
    look: Look,
    x: Floats,
    mean: Floats,
    low: Floats,
    high: Floats,
    *,
    marks: bool = False,
    shade: float = 0.16,
) -> None:
    """A line through `mean` with its interval as a band; the axes' limits are set before.

    Lines of more than two points have markers if `marks`. On a logarithmic axis values that are not positive are gaps
    (with a triangle at the edge if `marks`), and a band whose lower end is not positive goes down to the axis.
    """
    bottom, top = ax.get_ylim()
    if ax.get_yscale() == "log":
        lost = mean <= 0
        mean = np.where(lost, np.nan, mean)
        if marks and lost.any():
            edge = np.full(int(lost.sum()), bottom)
            ax.plot(x[lost], edge, marker="v", color=look.color, markersize=3.0, linestyle="", clip_on=False)
    known = np.isfinite(mean)
    if not known.any():
        return
    style = look.line() | ({} if marks or known.sum() <= 2 else {"marker": ""})
    ax.plot(x, mean, **style)
    if np.isfinite(low).any():
        ends = np.clip(low, bottom, top), np.clip(high, bottom, top)
        ax.fill_between(x, *ends, color=look.color, alpha=shade, linewidth=0, zorder=1.5)
        if known.sum() == 1:
            ax.vlines(
                x[known], ends[0][known], ends[1][known], color=look.color, linewidth=0.9, zorder=look.order - 0.5
            )


def points(ax: Axes, x: Floats, mean: Floats, low: Floats, high: Floats, look: Look) -> None:
    """`draw_points`; on a logarithmic axis a mean that is not positive is a gap with a triangle at the lower edge."""
    if ax.get_yscale() == "log":
        lost = mean <= 0
        mean, low = np.where(lost, np.nan, mean), np.where(lost, 0.0, low)
    draw_points(ax, x, mean, low, high, look)


def off_log(frame: pd.DataFrame, *columns: str) -> list[str]:
    """A footer's note on the gaps of logarithmic axes, if any of these columns has them."""
    lost = (frame[list(columns)] <= 0).any(axis=None)
    return ["A triangle without a point: 0 or less, for which a logarithmic axis has no place"] if lost else []


def shifted(series: Series, at: Callable[[pd.DataFrame], Floats], ax: Axes, step: float = 0.02) -> list[Floats]:
    """Each series' positions, `step` of the x axis apart, so that none hides another; the x limits are set before."""
    low, high = ax.get_xlim()
    return [at(rows) + (nth - (len(series) - 1) / 2) * step * (high - low) for nth, (_, rows) in enumerate(series)]


def ends_of(name: str) -> tuple[str, str, str]:
    """A column and its interval."""
    return name, f"{name}_low", f"{name}_high"
