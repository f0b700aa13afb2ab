"""What the figures of directional pruning share: looks of arms, axes of epochs and of density."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prunebench.suite.report.panels import OTHERS, Series, looks_of
from prunebench.suite.report.style import Floats, Look, Tables, percent, set_ticks, spaced_labels, sparsity_position

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

_LABELS = {
    **{name: look.label for name, look in _METHODS.items()},
    "grda": "gRDA",
    "sgd_init": "SGD, other initialisation",
    "sgd_order": "SGD, other order of data",
}

_BLANKS = ("matched_to", "schedule", "source", "point")


def rows_in(tables: Tables, name: str) -> pd.DataFrame:
    """The table `directional_<name>` without runs that serve as controls alone.

    Text that is left blank becomes "": pandas reads it as missing.
    """
    frame = tables[f"directional_{name}"]
    frame = frame[~frame["method"].isin(_CONTROLS)] if "method" in frame else frame
    return frame.fillna({column: "" for column in _BLANKS if column in frame})


def method_label(name: str) -> str:
    """A method's name in legends and notes."""
    return _LABELS.get(name, name.replace("_", " "))


def setting_label(setting: str) -> str:
    """A gRDA setting's name in legends and notes."""
    return setting.replace("mu ", "\u03bc ")


def settings_of(frame: pd.DataFrame) -> list[str]:
    """The labels of the gRDA runs, in the table's order: a task's first is its reference."""
    return list(dict.fromkeys(frame.loc[frame["method"] == "grda", "matched_to"]))


def arm_looks(tables: Tables, shown: pd.DataFrame | None = None) -> dict[Arm, Look]:
    """One look per arm for every figure: dense runs, gRDA's settings, baselines; of `shown` those that have rows."""
    frames = [rows_in(tables, name) for name in ("accuracy", "trajectory", "norm_curves", "layers")]
    frames = [frame for frame in frames if len(frame)]
    methods = dict.fromkeys(name for frame in frames for name in frame["method"])
    settings = dict.fromkeys(setting for frame in frames for setting in settings_of(frame))
    looks: dict[Arm, Look] = {(name, ""): look for name, look in _METHODS.items() if name in methods}
    firsts = {settings_of(part)[0] for frame in frames[:1] for _, part in frame.groupby("task") if settings_of(part)}
    for nth, setting in enumerate(settings):
        color, marker, dash = _GRDA[nth % len(_GRDA)]
        # Tasks may have settings of their own: then none is the reference of all.
        first = " (reference)" if firsts == {setting} and len(settings) > 1 else ""
        name = f"gRDA, {setting_label(setting)}{first}"
        looks["grda", setting] = Look(name, color, marker, dash, 1.3 + 0.5 * (nth == 0), 4.4, 4.0 - 0.05 * nth)
    others = looks_of((name for name in methods if name not in (*_METHODS, "grda")), OTHERS)
    looks |= {(name, ""): look for name, look in others.items()}
    order = ["sgd", "sgd_strong", "grda", *_METHODS, *others]
    ordered = sorted(looks.items(), key=lambda entry: order.index(entry[0][0]))
    return {arm: look for arm, look in ordered if shown is None or is_arm(shown, arm).any()}


def is_arm(rows: pd.DataFrame, arm: Arm) -> pd.Series:
    """Which rows are of an arm."""
    method, setting = arm
    here = rows["method"] == method
    return here & (rows["matched_to"] == setting) if setting else here


def series_of(rows: pd.DataFrame, looks: dict[Arm, Look], column: str) -> Series:
    """A series per arm that has rows, in the looks' order; `x` is the column, or the place of a sparsity."""
    x = sparsity_position(rows["sparsity"]) if column == "sparsity" else rows[column]
    rows = rows.assign(x=x).sort_values(column, kind="stable")
    return [(look, rows[is_arm(rows, arm)]) for arm, look in looks.items() if is_arm(rows, arm).any()]


def matched_to(rows: pd.DataFrame) -> str:
    """The gRDA setting of a task that its baselines are shown for: the first that has any."""
    settings = settings_of(rows)
    matched = [name for name in dict.fromkeys(rows.loc[rows["method"] != "grda", "matched_to"]) if name]
    return next((name for name in (*settings, *matched) if name in matched), settings[0] if settings else "")


def at_setting(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Without the baselines that are matched to another gRDA setting."""
    return rows[(rows["method"] == "grda") | rows["matched_to"].isin(["", setting])]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a footer, the first `most` of them."""
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more} more" if more > 0 else "")


def epoch_axis(ax: Axes, epochs: Iterable[float]) -> None:
    last = float(np.nanmax(np.asarray(epochs, dtype=np.float64), initial=0.0))
    ax.set_xlim(-0.02 * max(last, 1.0), 1.02 * max(last, 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
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


def density_axis(ax: Axes, sparsities: Iterable[float], inches: float) -> None:
    """An x axis of log density around `sparsities`, with round ticks."""
    places: Floats = sparsity_position([value for value in sparsities if math.isfinite(value)])
    pad = max(0.07 * float(np.ptp(places)), 0.25)
    ax.set_xlim(float(places.min()) - pad, float(places.max()) + pad)
    ticks = round_sparsities(*ax.get_xlim())
    spaced_labels(ax, sparsity_position(ticks), [f"{100 * tick:.6g}" for tick in ticks], inches)
    ax.set_xlabel("sparsity (%)")


def density_ticks(ax: Axes, top: float) -> None:
    """A y axis of log density from dense to the sparsity `top`, in % of weights pruned."""
    ceiling = max(1.08 * float(sparsity_position(top)), 0.8)
    ax.set_ylim(-0.04 * ceiling, ceiling)
    shown: dict[float, float] = {}
    for tick in _ROUND:
        place = float(sparsity_position(tick))
        if place <= ceiling and place - max(shown.values(), default=-ceiling) > 0.12 * ceiling:
            shown[tick] = place
    set_ticks(ax.yaxis, shown.values(), [percent(tick) for tick in shown])
