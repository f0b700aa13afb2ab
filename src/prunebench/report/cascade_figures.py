"""The cascade study's figures, from its tables alone: nothing is trained, no configuration is read."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecBase, SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from prunebench.report.style import (
    SMALL,
    WIDTH,
    Drawing,
    Floats,
    Look,
    Tables,
    cross,
    draw_figures,
    draw_points,
    footer,
    interval_text,
    legend_above,
    limits,
    mark_diverged,
    new_figure,
    not_run,
    percent,
    plain,
    pretty,
    seeds_text,
    settle,
    spaced_labels,
    spacing,
    sparsity_axis,
    sparsity_position,
    stacked_labels,
    thinned,
    wrapped,
)
from prunebench.studies.cascade_names import DATA, FIGURES, TABLES

SHED = 0.2
"""Claim B1's line: reproduced needs an excess above this share of the survivors, after pruning at most as much."""

_NAMES = (
    *("task", "criterion", "prelude", "threshold", "retraining", "pruning", "lr_schedule", "comparison", "a", "b"),
    *("pattern", "run", "moment", "scale"),
)

_ACCURACY = "n diverged test_accuracy ci_low ci_high"
_DIFFERENCE = "difference difference_low difference_high"
_EXCESS = "excess excess_low excess_high"
_SETTING = "task criterion max_lr weight_decay pruned_share"

_NEEDED = {
    "cascade_shedding": f"{_SETTING} clock threshold n {_EXCESS}",
    "cascade_criteria": f"task criterion prelude sparsity {_ACCURACY} {_DIFFERENCE}",
    "cascade_retraining": f"task criterion sparsity retraining {_ACCURACY} {_DIFFERENCE} excess_difference "
    "excess_difference_low excess_difference_high",
    "cascade_schedules": f"task criterion sparsity pruning lr_schedule {_ACCURACY} best {_EXCESS}",
    "cascade_gmp": f"task prelude sparsity {_ACCURACY} {_DIFFERENCE} reached steps_ratio steps_ratio_low "
    "steps_ratio_high flops_ratio flops_ratio_low flops_ratio_high",
    "cascade_overlap": f"task sparsity comparison a b n {_EXCESS}",
    "cascade_semi_structured": f"task pattern prelude {_ACCURACY} {_DIFFERENCE} fitting fitting_low fitting_high",
    "cascade_shedding_curves": f"{_SETTING} epoch clock threshold n pruned pruned_low pruned_high control control_low "
    f"control_high {_EXCESS}",
    "cascade_magnitudes": f"{_SETTING} run moment n left right weights_share",
    "cascade_occupancy": "task prelude m alive n share share_low share_high chance",
    "cascade_progress": "task prelude sparsity steps n sparsity_now validation_accuracy low high",
}


def draw(tables: Path, out: Path) -> None:
    """Draws every figure of the study, from the CSV files in `tables`, as SVG and PNG in `out`.

    A table without rows gives a figure that says so. The same tables give the same bytes. Raises InputError for a
    table that is missing, unreadable or lacks a column.
    """
    needed = {name: _NEEDED[name].split() for name in (*TABLES, *DATA)}
    draw_figures(tables, out, needed, _NAMES, {name: _FIGURES[name] for name in FIGURES})


# --- What several figures share

Series = list[tuple[Look, pd.DataFrame]]

_CRITERIA = {
    "global_magnitude": ("#009E73", "o"),
    "layer_magnitude": ("#7A7A3A", "s"),
    "random": ("#CC79A7", "v"),
    "layer_random": ("#E69F00", "^"),
    "random_gmp_ratios": ("#56B4E9", "D"),
}
_OTHERS = tuple(zip(("#999999", "#882255", "#332288", "#117733", "#AA4499", "#661100"), "P<X>dh", strict=True))
_WAYS = tuple(zip(("#D55E00", "#0072B2", "#6A3D9A", "#E69F00", "#8C3F00", "#00585C"), "s^Dv<>", strict=True))
_NETWORKS = tuple(zip(("#882255", "#44AA99", "#332288", "#999933", "#88CCEE", "#661100"), "os^DvP", strict=True))
_SCHEDULES = tuple(zip(("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000"), "os^DvP", strict=True))
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ((0, (4.0, 1.5)), (0, (1.0, 1.0)), (0, (6.0, 1.5, 1.0, 1.5)))

PRUNED = Look("pruned", "#D55E00", "o", width=1.5, size=3.0, order=3.0)
CONTROL = Look("control: trained alike, not pruned", "#0072B2", "s", (0, (3.0, 1.2)), width=1.2, size=3.0)


def _looks(names: Iterable[str], palette: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look per name, in their order; beyond the palette colours come again with other markers."""
    looks = {}
    for nth, name in enumerate(dict.fromkeys(names)):
        turn = nth // len(palette)
        marker = palette[(nth + turn) % len(palette)][1]
        looks[name] = Look(pretty(name), palette[nth % len(palette)][0], marker, width=1.1, size=4.0)
    return looks


def _criterion_looks(tables: Tables) -> dict[str, Look]:
    """One look per criterion for every figure."""
    frames = [tables[f"cascade_{name}"] for name in ("criteria", "retraining", "schedules", "shedding")]
    present = dict.fromkeys(name for frame in frames if len(frame) for name in frame["criterion"])
    known = {
        name: Look(pretty(name), color, marker, width=1.1, size=4.0)
        for name, (color, marker) in _CRITERIA.items()
        if name in present
    }
    return known | _looks((name for name in present if name not in known), _OTHERS)


def _prelude_looks(tables: Tables) -> dict[str, Look]:
    """One look per prelude for every figure; none is black."""
    frames = [tables[f"cascade_{name}"] for name in ("criteria", "gmp", "semi_structured", "occupancy", "progress")]
    present = dict.fromkeys(name for frame in frames if len(frame) for name in frame["prelude"])
    looks = {"none": Look("no prelude", "#000000", width=1.1, size=4.0)} if "none" in present else {}
    for nth, (name, look) in enumerate(_looks((name for name in present if name != "none"), _WAYS).items()):
        looks[name] = replace(look, label=f"prelude: {look.label}", dash=_DASHES[nth % len(_DASHES)])
    return looks


def _values(rows: pd.DataFrame, column: str, factor: float = 100.0) -> tuple[Floats, Floats, Floats]:
    """A column with its interval; shares become percent."""
    ends = ("ci_low", "ci_high") if column == "test_accuracy" else (f"{column}_low", f"{column}_high")
    mean, low, high = (factor * rows[name].to_numpy(dtype=np.float64) for name in (column, *ends))
    # A share of 1 bounds accuracy: the t interval does not know.
    return (mean, np.clip(low, 0, 100), np.clip(high, 0, 100)) if column == "test_accuracy" else (mean, low, high)


def _bounds(
    rows: pd.DataFrame,
    column: str,
    always: Sequence[float] = (),
    *,
    least: float,
    reach: float = 1.0,
    factor: float = 100,
) -> tuple[float, float]:
    """Limits of an axis for `column`; cells with diverged seeds may leave it, marked, lest they flatten the rest."""
    sound = rows[rows["diverged"] == 0] if "diverged" in rows else rows
    mean, low, high = _values(sound if np.isfinite(sound[column]).any() else rows, column, factor)
    bottom, top = limits(np.append(mean, always), low, high, reach=reach, least=least)
    return (max(bottom, 0.0), min(top, 101.0)) if column == "test_accuracy" else (bottom, top)


def _side_by_side(
    ax: Axes,
    series: Series,
    at: Callable[[pd.DataFrame], Floats],
    column: str,
    *,
    inches: float = 1.0,
    factor: float = 100.0,
    crosses: bool = False,
) -> None:
    """Each series' `column` with its interval, around `at(rows)`: a little sideways, so that none hides another.

    The y limits are set before; the x limits leave room for all. `crosses` marks cells with diverged seeds, whose
    labels have `inches` of axis.
    """
    spots, places = _places(series, at)
    gap = spacing(spots)
    for (look, rows), x in zip(series, places, strict=True):
        mean, low, high = _values(rows, column, factor)
        draw_points(ax, x, mean, low, high, look, bars=0.9)
    if crosses:
        rows = pd.concat([rows for _, rows in series])
        mean = _values(rows, column, factor)[0]
        apart = 0.24 / inches * (np.ptp(spots) + 1.2 * gap)
        mark_diverged(ax, np.concatenate(places), mean, rows["diverged"], rows["n"], apart)
    ax.set_xlim(spots.min() - 0.6 * gap, spots.max() + 0.6 * gap)


def _places(series: Series, at: Callable[[pd.DataFrame], Floats]) -> tuple[Floats, list[Floats]]:
    """The positions of all rows, and each series' own, moved sideways."""
    spots = np.concatenate([at(rows) for _, rows in series])
    step = 0.75 * spacing(spots) / max(len(series), 4)
    return spots, [at(rows) + (nth - (len(series) - 1) / 2) * step for nth, (_, rows) in enumerate(series)]


def _at_sparsity(rows: pd.DataFrame) -> Floats:
    return sparsity_position(rows["sparsity"])


def _sparsity_panel(ax: Axes, series: Series, column: str, inches: float, label: bool = True, **how: Any) -> None:
    """`_side_by_side` against sparsity; without rows or numbers the panel says so."""
    series = [(look, rows.sort_values("sparsity")) for look, rows in series if len(rows)]
    if not any(np.isfinite(rows[column]).any() for _, rows in series):
        _empty(ax, "no values")
        return
    _side_by_side(ax, series, _at_sparsity, column, inches=inches, **how)
    sparsity_axis(ax, [value for _, rows in series for value in rows["sparsity"]], inches, label=False)
    if label:
        ax.set_xlabel("sparsity (%)")


def _empty(ax: Axes, text: str) -> None:
    ax.text(
        0.5,
        0.5,
        text,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color="0.3",
        fontsize=SMALL,
        backgroundcolor="white",
    )
    ax.xaxis.set_major_locator(NullLocator())


def _level(ax: Axes, value: float = 0.0) -> None:
    """The line of no difference."""
    ax.axhline(value, color="0.3", linewidth=0.9, zorder=1)


def _claim_line(ax: Axes, named: bool) -> None:
    """The line of claim B1's mark, named at the right of the panel."""
    ax.axhline(100 * SHED, color="0.3", linewidth=0.9, dashes=(1, 1.5), zorder=1)
    if named:
        ax.annotate(
            f"{100 * SHED:g} %:\nB1",
            (1, 100 * SHED),
            (3, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            fontsize=SMALL,
            color="0.3",
            va="center",
        )


def _stack(rows: Sequence[str | float], margin: float) -> tuple[Figure, list[SubplotSpec]]:
    """A figure and the places of its rows of panels, top down: a text is a heading over what follows.

    A number is the height of a row in inches, with its titles and labels; `margin` is for the legend and the footer.
    """
    texts = [wrapped(row, WIDTH - 0.3, letter=0.65) if isinstance(row, str) else "" for row in rows]
    heights = [
        0.13 + 0.18 * text.count("\n") if isinstance(row, str) else row for row, text in zip(rows, texts, strict=True)
    ]
    fig = new_figure(margin + sum(heights))
    grid = fig.add_gridspec(len(rows), 1, height_ratios=heights)
    places = []
    for nth, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if isinstance(row, str):
            ax = fig.add_subplot(grid[nth, 0])
            ax.set_axis_off()
            # Lower by some points: nearer to its own panels than to those above.
            place: dict[str, Any] = {
                "xycoords": "axes fraction",
                "textcoords": "offset points",
                "va": "top",
                "weight": "bold",
            }
            ax.annotate(text, (0, 1), (0, -5 + 4 * ("\n" in text)), annotation_clip=False, **place).set_in_layout(False)
        else:
            places.append(grid[nth, 0])
    return fig, places


def _finished(fig: Figure, scale: str, notes: Sequence[str]) -> Figure:
    footer(fig, scale, notes)
    settle(fig)
    return fig


def _row(fig: Figure, grid: GridSpecBase, row: int, columns: int, share: bool = True) -> list[Axes]:
    """The panels of a row of `grid`, with one y axis if `share`."""
    first = fig.add_subplot(grid[row, 0])
    rest = [fig.add_subplot(grid[row, column], sharey=first if share else None) for column in range(1, columns)]
    for ax in rest:
        ax.tick_params(axis="y", labelleft=not share)
    return [first, *rest]


def _handles(looks: Iterable[Look]) -> list[Artist]:
    return [Line2D([], [], label=look.label, **look.line()) for look in looks]


def _named_ticks(axis: Any, names: Sequence[str]) -> None:
    """A tick with a name at 0, 1, 2 and so on; `axis` is ax.xaxis or ax.yaxis."""
    axis.set_major_locator(FixedLocator(range(len(names))))
    axis.set_major_formatter(FuncFormatter(lambda _, i: names[i] if i is not None else ""))


def _crosses(*frames: pd.DataFrame) -> list[Artist]:
    lost = any((frame["diverged"] > 0).any() for frame in frames)
    return [cross("seeds diverged, counted as chance")] if lost else []


def _by(rows: pd.DataFrame, column: str, looks: Mapping[str, Look]) -> Series:
    """A series per look that has rows, in the looks' order."""
    return [(look, rows[rows[column] == name]) for name, look in looks.items() if (rows[column] == name).any()]


_BEYOND = "Triangles at an edge: a point or bar goes on beyond the axis"
_CLOCK = "Clock: weight decay x sum of the learning rates of all updates"


def _settings(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """(max_lr, weight_decay) ordered by clock, then by max_lr."""
    clocks = rows.groupby(["max_lr", "weight_decay"])["clock"].max().reset_index()
    ordered = clocks.sort_values(["clock", "max_lr", "weight_decay"])
    return list(zip(ordered["max_lr"], ordered["weight_decay"], strict=True))


def _of(rows: pd.DataFrame, setting: tuple[float, float]) -> pd.DataFrame:
    return rows[(rows["max_lr"] == setting[0]) & (rows["weight_decay"] == setting[1])]


def _setting_text(rows: pd.DataFrame, setting: tuple[float, float]) -> str:
    clock = _of(rows, setting)["clock"].max()
    return f"LR {plain(setting[0])}\nwd {plain(setting[1])}\nclock {_two_digits(clock)}"


def _two_digits(value: float) -> str:
    return plain(float(f"{value:.1e}")) if math.isfinite(value) else "n/a"


def _dose(rows: pd.DataFrame) -> float:
    """The dose that single-dose panels show: claim B1's 20 %, else the largest."""
    doses = sorted(rows["pruned_share"].unique())
    return next((float(dose) for dose in doses if math.isclose(dose, SHED)), float(doses[-1]))


def _blocks(rows: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Rows by `keys` (names of text columns) with a heading that says which, and how many seeds."""
    return [
        (f"{', '.join([key[0], *(pretty(name) for name in key[1:])])}, {seeds_text(part['n'])}", part)
        for key, part in rows.groupby(list(keys), sort=False)
    ]


# --- Figure 1

_THRESHOLDS = {
    "relative": "relative: |w| < 5 %\nof before pruning",
    "absolute": "absolute: |w| < \u03c4,\nthe pruned weights' bound",
    "removable": "removable: loss rises\nby < 1 % without them",
    "in_dead": "in a dead filter\nor channel",
}


def shedding(tables: Tables, scale: str) -> Figure:
    """Claim B1: shed survivors over the epochs after pruning, in the pruned network and its control, and the excess.

    Per network and criterion: one panel per setting, ordered by clock, at one dose; below, the excess at the end for
    every dose and definition of shed.
    """
    ends, curves = tables["cascade_shedding"], tables["cascade_shedding_curves"]
    dose = _dose(ends)
    relative = curves[(curves["threshold"] == "relative") & np.isclose(curves["pruned_share"], dose)]
    doses = _graded(
        sorted(ends["pruned_share"].unique()), "flare", lambda share: f"{100 * share:g} % pruned (lower row)"
    )
    blocks = _blocks(ends, ("task", "criterion"))
    lines = [_chunks(_settings(part), 6) for _, part in blocks]
    rows: list[str | float] = []
    for (title, _), chunks in zip(blocks, lines, strict=True):
        rows += [title, *([2.6] * len(chunks)), 1.45]
    fig, places = _stack(rows, 1.1)
    spans = (
        _bounds(relative, "pruned", tuple(_values(relative, "control")[0]), least=10.0),
        _bounds(relative, "excess", (0.0, 100 * SHED), least=10.0),
        _bounds(ends, "excess", (0.0, 100 * SHED), least=10.0),
    )
    columns = max(len(chunk) for chunks in lines for chunk in chunks)
    place = iter(places)
    for (_, part), chunks in zip(blocks, lines, strict=True):
        first = part.iloc[0]
        here = relative[(relative["task"] == first["task"]) & (relative["criterion"] == first["criterion"])]
        for settings in chunks:
            grid = next(place).subgridspec(2, columns, height_ratios=(1.0, 0.9))
            tops, bottoms = _row(fig, grid, 0, len(settings)), _row(fig, grid, 1, len(settings))
            for top, bottom, setting in zip(tops, bottoms, settings, strict=True):
                top.set_title(_setting_text(part, setting), loc="left", fontsize=SMALL + 0.5)
                _curves(top, bottom, _of(here, setting).sort_values("epoch"), spans[:2])
                _claim_line(bottom, named=bottom is bottoms[-1])
            tops[0].set_ylabel("S: shed\n(% of survivors)")
            bottoms[0].set_ylabel("excess\n(points)")
        shown = [name for name in ("relative", "absolute", "removable") if (part["threshold"] == name).any()]
        order = _settings(part)
        panels = _row(fig, next(place).subgridspec(1, max(1, len(shown))), 0, max(1, len(shown)))
        for ax, threshold in zip(panels, shown, strict=False):
            of_one = part[part["threshold"] == threshold]
            ax.set_ylim(spans[2])
            _level(ax)
            _claim_line(ax, named=ax is panels[-1])
            _setting_panel(
                ax, [(look, of_one[of_one["pruned_share"] == share]) for share, look in doses.items()], order
            )
            clocks = [_two_digits(_of(of_one, setting)["clock"].max()) for setting in order]
            spaced_labels(ax, np.arange(len(order), dtype=np.float64), clocks, 5.8 / len(shown))
            ax.set_title(_THRESHOLDS[threshold], loc="left")
            ax.set_xlabel("clock, settings as above")
        panels[0].set_ylabel("excess at the\nend (points)")
    runs = (replace(PRUNED, label=f"pruned ({100 * dose:g} %)", marker=""), replace(CONTROL, marker=""))
    legend_above(fig, _handles((*runs, *doses.values())))
    notes = [
        f"Upper rows, {100 * dose:g} % pruned: S, the share of survivors with |w| below 5 % of its value before "
        "pruning, and excess, S of the pruned network minus S of the control over the same weights, paired by seed; "
        "epochs since pruning, linear up to the first update that was measured, logarithmic beyond",
        f"Mean of seeds; {interval_text(ends['n'], 'bands and bars')}",
        f"Dotted: the excess that claim B1 asks for after pruning at most {100 * SHED:g} %. {_CLOCK}",
        _BEYOND,
    ]
    return _finished(fig, scale, notes)


def _chunks(values: list[Any], size: int) -> list[list[Any]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _graded(values: Sequence[float], palette: str, label: Callable[[float], str]) -> dict[float, Look]:
    """Markers whose colour darkens with the value."""
    tints = sns.color_palette(palette, as_cmap=True)(np.linspace(0.0, 1.0, len(values)))
    return {
        value: Look(label(value), mpl.colors.to_hex(tint), "os^DvPX<>dh"[nth % 11], "", size=4.0)
        for nth, (value, tint) in enumerate(zip(values, tints, strict=True))
    }


def _setting_panel(ax: Axes, series: Series, order: list[tuple[float, float]]) -> None:
    """The excess, with a place per setting."""
    place = {setting: float(nth) for nth, setting in enumerate(order)}

    def at(rows: pd.DataFrame) -> Floats:
        return np.array(
            [place[key] for key in zip(rows["max_lr"], rows["weight_decay"], strict=True)], dtype=np.float64
        )

    series = [(look, rows) for look, rows in series if len(rows)]
    _side_by_side(ax, series, at, "excess")
    if not any(np.isfinite(rows["excess"]).any() for _, rows in series):
        _empty(ax, "no values")


def _curves(top: Axes, bottom: Axes, rows: pd.DataFrame, spans: tuple[tuple[float, float], ...]) -> None:
    top.set_ylim(max(spans[0][0], 0.0) if spans[0][0] > 2 else -1.0, min(spans[0][1], 101.0))
    bottom.set_ylim(spans[1])
    _level(bottom)
    epochs = rows["epoch"].to_numpy(dtype=np.float64)
    for ax, column, look in ((top, "control", CONTROL), (top, "pruned", PRUNED), (bottom, "excess", PRUNED)):
        mean, low, high = _values(rows, column)
        if not np.isfinite(mean).any():
            continue
        style = look.line() | ({"marker": ""} if np.isfinite(mean).sum() > 2 else {})
        ax.plot(epochs, mean, **style)
        ax.fill_between(epochs, low, high, color=look.color, alpha=0.22, linewidth=0, zorder=look.order - 0.5)
    if not np.isfinite(rows[["pruned", "excess"]]).any(axis=None):
        for ax in (top, bottom):
            _empty(ax, "no values")
        return
    for ax in (top, bottom):
        _epoch_axis(ax, epochs)
    top.tick_params(axis="x", labelbottom=False)
    bottom.set_xlabel("epoch", labelpad=1.0)


def _epoch_axis(ax: Axes, epochs: Floats) -> None:
    """Linear up to the first update that was measured, logarithmic beyond: the first epoch is not a line."""
    positive = epochs[epochs > 0]
    if positive.size == 0:
        return
    first, last = float(positive.min()), float(positive.max())
    ax.set_xscale("symlog", linthresh=first, linscale=0.35)
    ticks = [0.0] + [10.0**k for k in range(-6, 6) if 1.2 * first <= 10.0**k <= last]
    ticks += [last] if last > 2.5 * ticks[-1] else []
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0, last * 1.15)


# --- Figure 2


def histograms(tables: Tables, scale: str) -> Figure:
    """|w| of the survivors: just pruned, and at the end with and without pruning, per network and setting."""
    frame, shed = tables["cascade_magnitudes"], tables["cascade_shedding"]
    dose = _dose(frame)
    frame = frame[np.isclose(frame["pruned_share"], dose)]
    # Clocks come from the table of shedding; without it settings are ordered by LR, then by weight decay.
    known = shed if len(shed) else frame.assign(clock=math.nan)
    keys = ["task", "criterion", "max_lr", "weight_decay", "run", "moment"]
    edges = np.sort(frame["left"].unique())
    first, last = _reach(frame, keys, edges)
    frame = frame.assign(bin=np.clip(np.searchsorted(edges, frame["left"]), first, last))
    tallest = frame.groupby([*keys, "bin"])["weights_share"].sum().max()
    blocks = _blocks(frame, ("task", "criterion"))
    lines = [_chunks([s for s in _settings(known) if len(_of(part, s))], 6) for _, part in blocks]
    rows: list[str | float] = []
    for (title, _), chunks in zip(blocks, lines, strict=True):
        rows += [title, *([1.75] * len(chunks))]
    fig, places = _stack(rows, 1.1)
    columns = max(len(chunk) for chunks in lines for chunk in chunks)
    place = iter(places)
    for (_, part), chunks in zip(blocks, lines, strict=True):
        for settings in chunks:
            panels = _row(fig, next(place).subgridspec(1, columns), 0, len(settings))
            for ax, setting in zip(panels, settings, strict=True):
                _outlines(ax, _of(part, setting), edges, first, last)
                ax.set_title(
                    _setting_text(known[known["task"] == part["task"].iloc[0]], setting),
                    loc="left",
                    fontsize=SMALL + 0.5,
                )
                ax.set_ylim(0, 105 * tallest if tallest > 0 else 1.0)
                ax.set_xlabel("|w|", labelpad=1.0)
            panels[0].set_ylabel("% of survivors per bin")
    handles: list[Artist] = [Patch(facecolor="0.8", edgecolor="0.5", label="just pruned")]
    ends = replace(PRUNED, label="end, pruned", marker=""), replace(CONTROL, label=f"end, {CONTROL.label}", marker="")
    legend_above(fig, [*handles, *_handles(ends)])
    notes = [
        f"Magnitudes of the weights that survive pruning {100 * dose:g} %, seeds pooled ({seeds_text(frame['n'])}), "
        "without bars; four bins per decade of a log axis; the first and the last bin shown hold all that lies beyond",
        f"Control: the same weights in a network trained alike but not pruned. {_CLOCK}",
    ]
    return _finished(fig, scale, notes)


def _reach(frame: pd.DataFrame, keys: list[str], edges: Floats) -> tuple[int, int]:
    """The first and the last bin that are shown: at most 0.2 % of any histogram's weights lie beyond either."""
    ordered = frame.sort_values("left")
    below = ordered.groupby(keys)["weights_share"].cumsum()
    inside = ordered[(below > 0.002) & (below - ordered["weights_share"] < 0.998)]
    if not len(inside):
        return 0, len(edges) - 1
    first, last = np.searchsorted(edges, [inside["left"].min(), inside["left"].max()])
    return int(first), int(last)


def _outlines(ax: Axes, rows: pd.DataFrame, edges: Floats, first: int, last: int) -> None:
    def heights(run: str, moment: str) -> Floats:
        part = rows[(rows["run"] == run) & (rows["moment"] == moment)]
        summed = part.groupby("bin")["weights_share"].sum().reindex(range(first, last + 1), fill_value=0.0)
        return 100 * summed.to_numpy(dtype=np.float64)

    steps = np.arange(first, last + 2, dtype=np.float64)
    start = heights("pruned", "start")
    if not start.any():
        start = heights("control", "start")
    ax.stairs(start, steps, fill=True, color="0.83", zorder=1.5)
    ax.stairs(start, steps, color="0.5", linewidth=0.7, zorder=1.6)
    for run, look in (("control", CONTROL), ("pruned", PRUNED)):
        ends = heights(run, "end")
        if ends.any():
            ax.stairs(ends, steps, color=look.color, linewidth=look.width, linestyle=look.dash, zorder=look.order)
    ax.set_xlim(first, last + 1)
    powers = [(nth, edge) for nth, edge in enumerate(edges) if edge > 0 and abs(math.log10(edge) % 1 - 0.5) > 0.49]
    shown = thinned([(nth, edge) for nth, edge in powers if first <= nth <= last + 1], 1000)
    texts = [plain(10.0 ** round(math.log10(edge))) for _, edge in shown]
    spaced_labels(ax, np.array([nth for nth, _ in shown], dtype=np.float64), texts, 0.9)


# --- Figure 3


def random_vs_magnitude(tables: Tables, scale: str) -> Figure:
    """Claims B2 and B4: accuracy against sparsity by criterion, what a prelude changes, and the paired differences."""
    frame = tables["cascade_criteria"]
    criteria, preludes = _criterion_looks(tables), _prelude_looks(tables)
    varied = [name for name in criteria if ((frame["criterion"] == name) & (frame["prelude"] != "none")).any()]
    panels: list[str | None] = [None, *varied]
    chunks = _chunks(panels, 6)
    blocks = _blocks(frame, ("task",))
    rows: list[str | float] = []
    for title, _ in blocks:
        rows += [title, *([3.7] * len(chunks))]
    fig, places = _stack(rows, 1.35)
    widths = [1.7, *([1.0] * (max(len(chunk) for chunk in chunks) - 1))]
    inches = 6.0 / sum(widths)
    span = _bounds(frame, "difference", (0.0,), least=2.0)
    place = iter(places)
    for _, part in blocks:
        reference = part[(part["criterion"] == "global_magnitude") & (part["prelude"] == "none")]
        for chunk in chunks:
            grid = next(place).subgridspec(2, len(widths), width_ratios=widths)
            tops, bottoms = _row(fig, grid, 0, len(chunk)), _row(fig, grid, 1, len(chunk))
            tops[0].set_ylim(_bounds(part, "test_accuracy", least=2.0))
            bottoms[0].set_ylim(span)
            for top, bottom, criterion, width in zip(tops, bottoms, chunk, widths, strict=False):
                if criterion is None:
                    series = _by(part[part["prelude"] == "none"], "criterion", criteria)
                    title = "all criteria,\nno prelude"
                else:
                    series = _by(part[part["criterion"] == criterion], "prelude", preludes)
                    title = pretty(criterion)
                    _behind(top, reference, criteria)
                top.set_title(wrapped(title, width * inches - 0.05), loc="left")
                _level(bottom)
                _sparsity_panel(top, series, "test_accuracy", width * inches, label=False, crosses=True)
                _sparsity_panel(bottom, series, "difference", width * inches)
            tops[0].set_ylabel("test accuracy (%)")
            bottoms[0].set_ylabel("difference to global\nmagnitude (points)")
    shown = [look for name, look in criteria.items() if (frame["criterion"] == name).any()]
    if varied:
        shown += [look for name, look in preludes.items() if (frame["prelude"] == name).any()]
    legend_above(fig, [*_handles(shown), *_crosses(frame)])
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences: to global magnitude without prelude, paired by seed",
        *(["Wide line in the panels of one criterion: global magnitude without prelude"] if varied else []),
        f"{_BEYOND}. Markers are moved sideways a little",
    ]
    return _finished(fig, scale, notes)


def _behind(ax: Axes, reference: pd.DataFrame, criteria: Mapping[str, Look]) -> None:
    """The criterion that differences are taken to, as a wide pale line."""
    if len(reference):
        rows = reference.sort_values("sparsity")
        color = criteria["global_magnitude"].color
        mean = _values(rows, "test_accuracy")[0]
        ax.plot(_at_sparsity(rows), mean, color=color, linewidth=2.5, alpha=0.35, zorder=1.2)


# --- Figure 4


def networks(tables: Tables, scale: str) -> Figure:
    """Claim B3: excess shedding by setting, and what random pruning costs, with the networks side by side."""
    shed, criteria = tables["cascade_shedding"], tables["cascade_criteria"]
    tasks = dict.fromkeys([*shed["task"], *criteria["task"]])
    looks = {task: replace(look, label=task) for task, look in _looks(tasks, _NETWORKS).items()}
    dose = _dose(shed)
    rows = shed[np.isclose(shed["pruned_share"], dose)]
    order = _settings(rows)
    shown = [
        (criterion, threshold)
        for criterion in rows["criterion"].unique()
        for threshold in ("relative", "removable", "in_dead")
        if ((rows["threshold"] == threshold) & (rows["criterion"] == criterion)).any()
    ]
    random = [name for name in _criterion_looks(tables) if "random" in name]
    gaps = criteria[(criteria["prelude"] == "none") & criteria["criterion"].isin(random)]
    # Global magnitude minus random: the table has the opposite sign.
    gaps = gaps.assign(gap=-gaps["difference"], gap_low=-gaps["difference_high"], gap_high=-gaps["difference_low"])
    heads = [f"Excess at the end, {100 * dose:g} % pruned, {seeds_text(rows['n'])}"]
    heads += [f"Cost of random pruning, {seeds_text(gaps['n'])}"]
    fig, places = _stack([heads[0], 1.15 * len(shown) + 0.4, heads[1], 2.1], 1.1)
    span = _bounds(rows, "excess", (0.0, 100 * SHED), least=10.0)
    grid = places[0].subgridspec(max(1, len(shown)), 1)
    for nth, (criterion, threshold) in enumerate(shown):
        ax = fig.add_subplot(grid[nth, 0])
        part = rows[(rows["threshold"] == threshold) & (rows["criterion"] == criterion)]
        ax.set_ylim(span)
        _level(ax)
        if threshold != "in_dead":
            _claim_line(ax, named=True)
        _setting_panel(
            ax, [(replace(look, dash=""), part[part["task"] == task]) for task, look in looks.items()], order
        )
        ax.set_xlim(-0.6, len(order) - 0.4)
        ax.set_ylabel(f"{_SHORT[threshold]}\n(points)")
        if rows["criterion"].nunique() > 1:
            ax.set_title(pretty(criterion), loc="left")
        _named_ticks(ax.xaxis, _setting_labels(rows, order))
        ax.tick_params(axis="x", labelbottom=nth == len(shown) - 1)
    here = [name for name in random if (gaps["criterion"] == name).any()]
    panels = _row(fig, places[1].subgridspec(1, max(len(here), 1)), 0, max(len(here), 1))
    if here:
        panels[0].set_ylim(_bounds(gaps, "gap", (0.0,), least=2.0))
    else:
        _empty(panels[0], "no random criterion")
        panels[0].yaxis.set_major_locator(NullLocator())
    for ax, criterion in zip(panels, here, strict=False):
        part = gaps[gaps["criterion"] == criterion]
        _level(ax)
        _sparsity_panel(ax, _by(part, "task", looks), "gap", 6.0 / len(here))
        ax.set_title(wrapped(f"global magnitude minus\n{pretty(criterion)}", 6.6 / len(here)), loc="left")
    panels[0].set_ylabel("test accuracy (points)\n> 0: magnitude is better", fontsize=SMALL + 0.5)
    legend_above(fig, _handles(looks.values()))
    small = ". At the ticks: learning rate, weight decay, clock" if len(order) > _WORDED else ""
    notes = [
        "Excess: share of survivors that are shed in the pruned network minus that in the control, trained alike but "
        "not pruned. Relative: |w| below 5 % of its value before pruning; removable: without them the loss rises by "
        "less than 1 %; in dead filters: in a filter or channel without any weight left",
        f"Mean of seeds; {interval_text(pd.concat([rows['n'], gaps['n']]))}; all is paired by seed",
        f"Dotted: claim B1's mark. {_CLOCK}{small}",
        _BEYOND,
    ]
    return _finished(fig, scale, notes)


_SHORT = {"relative": "relative", "removable": "removable", "in_dead": "in dead filters"}

_WORDED = 8
"""Settings that have room for words at their ticks."""


def _setting_labels(rows: pd.DataFrame, order: list[tuple[float, float]]) -> list[str]:
    texts = [_setting_text(rows, setting) for setting in order]
    if len(order) <= _WORDED:
        return texts
    return ["\n".join(line.split()[-1] for line in text.split("\n")) for text in texts]


# --- Figure 5


def retraining(tables: Tables, scale: str) -> Figure:
    """Claim B7: rewinding against fine-tuning in accuracy and in excess shedding, and how the two go together."""
    frame = tables["cascade_retraining"]
    frame = frame[(frame["sparsity"] > 0) & (frame["retraining"] != "fine_tune")]
    if not len(frame):
        return not_run(_FIGURES["cascade_retraining"].title, scale)
    dashes = ("-", *_DASHES)
    looks = {
        (criterion, way): replace(
            look,
            label=f"{look.label}, {pretty(way)}",
            dash=dashes[nth % len(dashes)],
            marker=look.marker if nth == 0 else "XPdH"[nth % 4],
            size=look.size + 0.8 * (nth > 0),
        )
        for criterion, look in _criterion_looks(tables).items()
        for nth, way in enumerate(frame["retraining"].unique())
        if ((frame["criterion"] == criterion) & (frame["retraining"] == way)).any()
    }
    blocks = _blocks(frame, ("task",))
    fig, places = _stack([row for title, _ in blocks for row in (title, 2.45)], 1.45)
    spans = {column: _bounds(frame, column, (0.0,), least=2.0) for column in ("difference", "excess_difference")}
    for (_, part), place in zip(blocks, places, strict=True):
        panels = _row(fig, place.subgridspec(1, 3), 0, 3, share=False)
        series = [
            (look, part[(part["criterion"] == criterion) & (part["retraining"] == way)])
            for (criterion, way), look in looks.items()
        ]
        for ax, (column, span) in zip(panels, spans.items(), strict=False):
            ax.set_ylim(span)
            _level(ax)
            _sparsity_panel(ax, series, column, 1.8, crosses=column == "difference")
        panels[0].set_ylabel("test accuracy minus\nfine-tuning (points)")
        panels[1].set_ylabel("excess shedding minus\nfine-tuning (points)")
        _scatter(panels[2], part, series, spans)
    legend_above(fig, [*_handles(looks.values()), *_crosses(frame)])
    notes = [
        f"Mean of seeds, paired by seed with fine-tuning; {interval_text(frame['n'])}",
        "Excess: share of survivors with |w| below 5 % of its value before pruning, minus that in the control. Right: "
        "each criterion, sparsity and way of retraining is a cell; r: Pearson's correlation over cells, without those "
        "in which seeds diverged",
        f"{_BEYOND}. Left and middle: markers are moved sideways a little",
    ]
    return _finished(fig, scale, notes)


def _scatter(ax: Axes, part: pd.DataFrame, series: Series, spans: Mapping[str, tuple[float, float]]) -> None:
    ax.set_xlim(spans["excess_difference"])
    ax.set_ylim(spans["difference"])
    _level(ax)
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    for look, rows in series:
        x, left, right = _values(rows, "excess_difference")
        y, low, high = _values(rows, "difference")
        ax.hlines(y, left, right, color=look.color, linewidth=0.6, alpha=0.5)
        ax.vlines(x, low, high, color=look.color, linewidth=0.6, alpha=0.5)
        ax.plot(x, y, **look.line() | {"linestyle": "", "zorder": 3})
    sound = part[(part["diverged"] == 0) & np.isfinite(part["difference"]) & np.isfinite(part["excess_difference"])]
    x, y = sound["excess_difference"].to_numpy(dtype=np.float64), sound["difference"].to_numpy(dtype=np.float64)
    known = len(sound) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
    told = f"r = {np.corrcoef(x, y)[0, 1]:.2f}".replace("-", "\u2212") if known else "r not defined"
    ax.set_title(f"{told}, {len(sound)} cells", loc="right", fontsize=SMALL + 0.5)
    ax.set_xlabel("excess minus fine-tuning (points)", fontsize=SMALL + 0.5)
    ax.set_ylabel("test accuracy minus\nfine-tuning (points)")


# --- Figure 6


def schedules(tables: Tables, scale: str) -> Figure:
    """Claim B6: accuracy and excess shedding by pruning schedule and learning-rate schedule."""
    frame = tables["cascade_schedules"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return not_run(_FIGURES["cascade_schedules"].title, scale)
    looks = {name: replace(look, dash="") for name, look in _looks(frame["lr_schedule"], _SCHEDULES).items()}
    known = ("one_shot", "iterative", "gradual")
    names = sorted(frame["pruning"].unique(), key=lambda name: known.index(name) if name in known else len(known))
    where = {name: float(nth) for nth, name in enumerate(names)}

    def at(rows: pd.DataFrame) -> Floats:
        return rows["pruning"].map(where).to_numpy(dtype=np.float64)

    blocks = _blocks(frame, ("task", "criterion"))
    lines = [_chunks(list(part.groupby("sparsity")), 3) for _, part in blocks]
    rows: list[str | float] = []
    for (title, _), chunks in zip(blocks, lines, strict=True):
        rows += [title, *([3.2] * len(chunks))]
    fig, places = _stack(rows, 1.15)
    columns = max(len(chunk) for chunks in lines for chunk in chunks)
    room = 6.2 / columns / len(names)
    span = _bounds(frame, "excess", (0.0,), least=5.0)
    place = iter(places)
    for (_, part), chunks in zip(blocks, lines, strict=True):
        for chunk in chunks:
            grid = next(place).subgridspec(2, columns)
            tops, bottoms = _row(fig, grid, 0, len(chunk)), _row(fig, grid, 1, len(chunk))
            tops[0].set_ylim(_bounds(part, "test_accuracy", least=2.0))
            bottoms[0].set_ylim(span)
            for top, bottom, (sparsity, cell) in zip(tops, bottoms, chunk, strict=True):
                series = _by(cell, "lr_schedule", looks)
                _level(bottom)
                for ax, column in ((top, "test_accuracy"), (bottom, "excess")):
                    if not np.isfinite(cell[column]).any():
                        _empty(ax, "no values")
                        continue
                    _side_by_side(ax, series, at, column, inches=6.2 / columns, crosses=ax is top)
                    ax.set_xlim(-0.6, len(names) - 0.4)
                    _named_ticks(ax.xaxis, [wrapped(pretty(name), room, SMALL) for name in names])
                    ax.tick_params(axis="x", length=0, labelbottom=ax is bottom)
                    for edge in range(1, len(names)):
                        ax.axvline(edge - 0.5, color="0.85", linewidth=0.6, zorder=0.5)
                _ring_best(top, series, at)
                top.set_title(f"{percent(sparsity)} % sparse", loc="left")
            tops[0].set_ylabel("test accuracy (%)")
            bottoms[0].set_ylabel("excess (points)")
    style: dict[str, Any] = {
        "marker": "o",
        "markersize": 8,
        "markerfacecolor": "none",
        "markeredgecolor": "black",
        "linestyle": "",
    }
    ring = [Line2D([], [], label="best of the sparsity", **style)] if _is_best(frame).any() else []
    legend_above(fig, [*_handles(looks.values()), *ring, *_crosses(frame)])
    notes = [
        f"Colours and markers: learning-rate schedules. Mean of seeds; {interval_text(frame['n'])}",
        "Excess: share of survivors with |w| below 5 % of its value before pruning, minus that in the control with the "
        "same learning-rate schedule, paired by seed",
        _BEYOND,
    ]
    return _finished(fig, scale, notes)


def _is_best(rows: pd.DataFrame) -> pd.Series:
    # Text where a value of the column is missing: then the column is not read as bool.
    return rows["best"].astype(str) == "True"


def _ring_best(ax: Axes, series: Series, at: Callable[[pd.DataFrame], Floats]) -> None:
    style: dict[str, Any] = {
        "markersize": 8,
        "markerfacecolor": "none",
        "markeredgecolor": "black",
        "zorder": 5,
        "linestyle": "",
    }
    for (_, rows), x in zip(series, _places(series, at)[1], strict=True):
        best = (_is_best(rows) & np.isfinite(rows["test_accuracy"])).to_numpy()
        if best.any():
            ax.plot(x[best], _values(rows, "test_accuracy")[0][best], marker="o", **style)


# --- Figure 7


def gmp(tables: Tables, scale: str) -> Figure:
    """Claim B5: gradual magnitude pruning with and without a prelude: its course, its end and its computation."""
    frame, progress = tables["cascade_gmp"], tables["cascade_progress"]
    looks = _prelude_looks(tables)
    blocks = _blocks(frame, ("task",))
    fig, places = _stack([row for title, _ in blocks for row in (title, 2.0, 1.85)], 1.2)
    kinds = ("steps_ratio", "flops_ratio")
    ratios = pd.concat([_renamed(frame, kind) for kind in kinds])
    heads = {
        "difference": "test accuracy minus\nno prelude (points)",
        "steps_ratio": "updates to equal\nno prelude (ratio)",
        "flops_ratio": "FLOPs to equal\nno prelude (ratio)",
    }
    spans = dict.fromkeys(kinds, _bounds(ratios, "ratio", (0.9, 1.0), least=0.2, factor=1.0))
    spans["difference"] = _bounds(frame, "difference", (0.0,), least=2.0)
    for nth, (_, part) in enumerate(blocks):
        course = progress[progress["task"] == part["task"].iloc[0]] if len(progress) else progress
        sparsities = thinned(sorted(course["sparsity"].unique()), 4) if len(course) else []
        columns = max(len(sparsities), 1)
        panels = _row(fig, places[2 * nth].subgridspec(1, columns), 0, columns)
        for ax, sparsity in zip(panels, sparsities, strict=False):
            _course(ax, _by(course[course["sparsity"] == sparsity], "prelude", looks), sparsity)
        if sparsities:
            panels[0].set_ylim(_progress_bounds(course))
        else:
            _empty(panels[0], "no values")
        panels[0].set_ylabel("validation accuracy (%)")
        series = [
            (replace(look, dash=""), rows)
            for look, rows in _by(part, "prelude", looks)
            if look is not looks.get("none")
        ]
        lower = _row(fig, places[2 * nth + 1].subgridspec(1, 3), 0, 3, share=False)
        for ax, (column, label) in zip(lower, heads.items(), strict=True):
            ax.set_ylim(spans[column])
            ax.set_ylabel(label)
            if column == "difference":
                _level(ax)
                _sparsity_panel(ax, series, column, 1.8, crosses=True)
            else:
                _level(ax, 1.0)
                _sparsity_panel(ax, series, column, 1.8, factor=1.0)
                _reached(ax, [(look, rows[np.isfinite(rows[column])]) for look, rows in series])
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    legend_above(fig, [*_handles(shown), *_crosses(frame)])
    notes = [
        *([f"Top: mean of seeds; {interval_text(progress['n'], 'bands')}"] if len(progress) else []),
        *(["Large marker: the target is reached"] if len(progress) else []),
        f"Bottom: paired by seed with no prelude; {interval_text(frame['n'])}",
        "Ratios: geometric means of the computation (FLOPs: with zeros skipped, which no hardware here does) until the "
        "validation accuracy that no prelude ends with, less a margin, is reached at the final sparsity; below 1: less "
        "with the prelude; no point: not reached; k/n: reached by k of n seeds",
        _BEYOND,
    ]
    return _finished(fig, scale, notes)


def _reached(ax: Axes, series: Series) -> None:
    """Under a ratio, of how many seeds it is, where some did not get there."""
    series = [(look, rows.sort_values("sparsity")) for look, rows in series if len(rows)]
    if not series:
        return
    rows = pd.concat([rows for _, rows in series])
    some = (rows["reached"] < rows["n"]).to_numpy()
    places = _places(series, _at_sparsity)[1]
    texts = [f"{int(k)}/{int(n)}" for k, n in zip(rows["reached"][some], rows["n"][some], strict=True)]
    low, high = ax.get_xlim()
    at = np.concatenate(places)[some]
    stacked_labels(ax, at, np.full(at.size, ax.get_ylim()[0]), texts, 0.24 / 1.8 * (high - low))


def _renamed(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    ends = ("", "_low", "_high")
    return frame[[f"{kind}{end}" for end in ends]].set_axis([f"ratio{end}" for end in ends], axis=1)


def _progress_bounds(course: pd.DataFrame) -> tuple[float, float]:
    mean, low, high = (100 * course[name].to_numpy(dtype=np.float64) for name in ("validation_accuracy", "low", "high"))
    bottom, top = limits(mean, low, high, reach=0.2, least=2.0)
    return max(bottom, 0.0), min(top, 101.0)


def _course(ax: Axes, series: Series, sparsity: float) -> None:
    for look, rows in series:
        ordered = rows.sort_values("steps")
        steps, mean, low, high = (
            ordered[name].to_numpy(dtype=np.float64) for name in ("steps", "validation_accuracy", "low", "high")
        )
        ax.plot(steps, 100 * mean, **look.line() | ({"marker": ""} if np.isfinite(mean).sum() > 2 else {}))
        ax.fill_between(steps, 100 * low, 100 * high, color=look.color, alpha=0.16, linewidth=0, zorder=1.5)
        reached = np.flatnonzero(ordered["sparsity_now"].to_numpy() >= sparsity - 1e-3)[:1]
        if reached.size:
            ax.plot(steps[reached], 100 * mean[reached], **look.line() | {"markersize": 5.5, "zorder": 4})
    ax.set_title(f"to {percent(sparsity)} % sparsity", loc="left")
    ax.set_xlabel("updates")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at / 1000:g}k" if abs(at) >= 1000 else f"{at:g}"))


# --- Figure 8


def overlap(tables: Tables, scale: str) -> Figure:
    """Claim B8: overlap of the kept weights between schemes and between seeds, above that of chance."""
    frame = tables["cascade_overlap"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return not_run(_FIGURES["cascade_overlap"].title, scale)
    blocks = _blocks(frame, ("task",))
    pairs, seeds = (frame[frame["comparison"] == name] for name in ("schemes", "seeds"))
    most = float(np.nanmax(np.abs(pairs["excess"].to_numpy(dtype=np.float64)), initial=0.01))
    names = [list(dict.fromkeys([*part["a"], *part["b"]])) for _, part in blocks]
    labels = [[_numbered(nth, name, 1.75) for nth, name in enumerate(schemes)] for schemes in names]
    heights = []
    for told in labels:
        deep = max(label.count("\n") for label in told) + 1
        heights.append(0.95 + max(0.2, 0.04 + 0.13 * deep) * max(len(told), 4))
    fig, places = _stack(
        [row for (title, _), height in zip(blocks, heights, strict=True) for row in (title, height)],
        0.95 + 0.25 * bool(len(seeds)),
    )
    looks = _graded(
        sorted(seeds["sparsity"].unique()), "crest", lambda sparsity: f"{percent(sparsity)} % sparse (right)"
    )
    reach = limits(np.append(_values(seeds, "excess")[0], 0.0), *_values(seeds, "excess")[1:], reach=1.0, least=5.0)
    hidden = False
    for (_, part), place, schemes, told in zip(blocks, places, names, labels, strict=True):
        rows = part[part["comparison"] == "schemes"]
        here = sorted(rows["sparsity"].unique())
        shown = thinned(here, 2 if len(schemes) > 7 else 4)
        hidden |= len(shown) < len(here)
        maps = _chunks(shown, 2)
        same = part[part["comparison"] == "seeds"]
        widths = [*([2.6] * len(maps)), *([1.5] if len(same) else [])]
        panels = _row(fig, place.subgridspec(1, len(widths), width_ratios=widths), 0, len(widths))
        for ax, two in zip(panels, maps, strict=False):
            _overlap_map(ax, rows, schemes, two, most)
        if len(same):
            panels[-1].set_xlim(reach)
            _seed_dots(panels[-1], same, schemes, looks)
        panels[0].set_ylim(len(schemes) - 0.5, -0.5)
        _named_ticks(panels[0].yaxis, told)
    if looks:
        legend_above(fig, _handles(looks.values()))
    bold = ", bold where the 95 % t interval excludes 0" if len(pairs) and pairs["n"].max() > 1 else ""
    notes = [
        "Numbers: 100 x (Jaccard index of the kept weights minus that of masks drawn at random in each layer at the "
        f"same densities), of two schemes at the same seed, mean of seeds{bold}",
        *([f"Right: two seeds of the same scheme; {interval_text(seeds['n'])}"] if looks else []),
        *(["Not every sparsity is shown on the left"] if hidden else []),
    ]
    return _finished(fig, scale, notes)


def _numbered(nth: int, name: str, inches: float) -> str:
    """The scheme's number, which is its column, after its name."""
    spelt = " + ".join(pretty(word) for word in name.split(" + "))
    return f"{wrapped(spelt, inches, SMALL)}  {nth + 1}"


def _overlap_map(ax: Axes, rows: pd.DataFrame, names: list[str], sparsities: Sequence[float], most: float) -> None:
    size = len(names)
    grid = np.full((size, size), np.nan)
    place = {name: nth for nth, name in enumerate(names)}
    marks = []
    for nth, sparsity in enumerate(sparsities):
        for pair in rows[rows["sparsity"] == sparsity].itertuples():
            ends = sorted((place[pair.a], place[pair.b]))
            i, j = ends if nth else ends[::-1]
            grid[i, j] = pair.excess
            marks.append((i, j, pair.excess, pair.excess_low > 0 or pair.excess_high < 0))
    norm, palette = Normalize(-most, most), mpl.colormaps["PuOr_r"].with_extremes(bad="0.93")
    edges = np.arange(size + 1) - 0.5
    ax.pcolormesh(edges, edges, np.ma.masked_invalid(grid), cmap=palette, norm=norm, edgecolors="white", linewidth=0.8)
    for i, j, value, sure in marks:
        told = f"{100 * value:.0f}".replace("-0", "0") if abs(value) < 0.005 else f"{100 * value:.0f}"
        ax.text(
            j,
            i,
            told.replace("-", "\u2212") if math.isfinite(value) else "n/a",
            ha="center",
            va="center",
            fontsize=SMALL,
            weight="bold" if sure else "normal",
            color="white" if abs(value) > 0.62 * most else "black",
        )
    ax.set_xlim(-0.5, size - 0.5)
    ax.xaxis.set_major_locator(FixedLocator(range(size)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda _, i: str(i + 1) if i is not None else ""))
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    where = [f"below the diagonal: {percent(sparsities[0])} % sparse"] if len(sparsities) else []
    where += [f"above it: {percent(sparsities[1])} %"] if len(sparsities) > 1 else []
    ax.set_title("\n".join(where), loc="left")


def _seed_dots(ax: Axes, rows: pd.DataFrame, names: list[str], looks: Mapping[float, Look]) -> None:
    place = {name: float(nth) for nth, name in enumerate(names)}
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    ax.grid(True, axis="x")
    for nth, (sparsity, look) in enumerate(looks.items()):
        part = rows[rows["sparsity"] == sparsity]
        y = part["a"].map(place).to_numpy(dtype=np.float64) + 0.6 * ((nth + 0.5) / len(looks) - 0.5)
        mean, low, high = _values(part, "excess")
        ax.hlines(y, low, high, color=look.color, linewidth=0.9, alpha=0.75)
        ax.plot(mean, y, **look.line())
    ax.set_title("seed against seed", loc="left")
    ax.set_xlabel("overlap above\nchance (points)")


# --- Figure 9


def semi_structured(tables: Tables, scale: str) -> Figure:
    """Claim B9: accuracy of N:M and block patterns with and without a prelude, and how full the groups were before."""
    frame, occupancy = tables["cascade_semi_structured"], tables["cascade_occupancy"]
    looks = {name: replace(look, dash="") for name, look in _prelude_looks(tables).items()}
    patterns = list(dict.fromkeys(frame["pattern"]))
    where = {name: float(nth) for nth, name in enumerate(patterns)}

    def at(rows: pd.DataFrame) -> Floats:
        return rows["pattern"].map(where).to_numpy(dtype=np.float64)

    blocks = _blocks(frame, ("task",))
    fig, places = _stack([row for title, _ in blocks for row in (title, 1.85, 1.85)], 1.3)
    heads = {
        "test_accuracy": "test accuracy (%)",
        "difference": "test accuracy minus\nno prelude (points)",
        "fitting": "groups that fitted\nbefore (%)",
    }
    spans = {
        "difference": _bounds(frame, "difference", (0.0,), least=2.0),
        "fitting": _bounds(frame, "fitting", (0.0,), least=5.0),
    }
    for nth, (_, part) in enumerate(blocks):
        panels = _row(fig, places[2 * nth].subgridspec(1, 3), 0, 3, share=False)
        for ax, (column, label) in zip(panels, heads.items(), strict=True):
            rows = part[part["prelude"] != "none"] if column == "difference" else part
            ax.set_ylabel(label)
            ax.set_ylim(spans.get(column) or _bounds(part, column, least=2.0))
            if column != "test_accuracy":
                _level(ax)
            if not np.isfinite(rows[column]).any():
                _empty(ax, "no values")
                continue
            _side_by_side(ax, _by(rows, "prelude", looks), at, column, inches=1.8, crosses=column == "test_accuracy")
            ax.set_xlim(-0.6, len(patterns) - 0.4)
            _named_ticks(ax.xaxis, [name.replace("@", "\n@") for name in patterns])
        groups = occupancy[occupancy["task"] == part["task"].iloc[0]] if len(occupancy) else occupancy
        sizes = sorted(groups["m"].unique()) if len(groups) else []
        widths = [m + 2 for m in sizes] or [1]
        lower = _row(fig, places[2 * nth + 1].subgridspec(1, len(widths), width_ratios=widths), 0, len(widths))
        lower[0].set_ylabel("groups (%)")
        lower[0].set_ylim(-2, 104)
        for ax, m in zip(lower, sizes, strict=False):
            _occupancy_panel(ax, _by(groups[groups["m"] == m], "prelude", looks), int(m))
        if not sizes:
            _empty(lower[0], "no values")
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    dash: dict[str, Any] = {"color": "0.4", "marker": "_", "markersize": 9, "markeredgewidth": 1.4, "linestyle": ""}
    chance = [Line2D([], [], label="chance: binomial, same density", **dash)] if len(occupancy) else []
    legend_above(fig, [*_handles(shown), *chance, *_crosses(frame)])
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences are paired by seed with no prelude",
        "n:m keeps n of m consecutive weights, 1xk@s prunes whole blocks of k to sparsity s. Fitted before: groups "
        "with at most n weights alive (blocks: none alive) before the pattern was imposed",
        f"Bottom: groups of m weights by how many are alive then. {_BEYOND}",
    ]
    return _finished(fig, scale, notes)


def _occupancy_panel(ax: Axes, series: Series, m: int) -> None:
    def at(rows: pd.DataFrame) -> Floats:
        return rows["alive"].to_numpy(dtype=np.float64)

    _side_by_side(ax, series, at, "share")
    for (look, rows), x in zip(series, _places(series, at)[1], strict=True):
        ax.plot(
            x, 100 * rows["chance"], "_", color=look.color, markersize=9, markeredgewidth=1.4, zorder=1.8, alpha=0.6
        )
    ax.xaxis.set_major_locator(FixedLocator(range(m + 1)))
    ax.set_title(f"groups of {m}", loc="left")
    ax.set_xlabel(f"weights alive, of {m}")


_FIGURES = {
    "cascade_shedding": Drawing("Shedding after pruning", ("cascade_shedding", "cascade_shedding_curves"), shedding),
    "cascade_histograms": Drawing("Magnitudes of surviving weights", ("cascade_magnitudes",), histograms),
    "cascade_random_vs_magnitude": Drawing("Random and magnitude pruning", ("cascade_criteria",), random_vs_magnitude),
    "cascade_networks": Drawing("Shedding by network", ("cascade_shedding", "cascade_criteria"), networks),
    "cascade_retraining": Drawing("Rewinding and fine-tuning", ("cascade_retraining",), retraining),
    "cascade_schedules": Drawing("Pruning and learning-rate schedules", ("cascade_schedules",), schedules),
    "cascade_gmp": Drawing("Gradual magnitude pruning with a prelude", ("cascade_gmp",), gmp),
    "cascade_overlap": Drawing("Overlap of kept weights", ("cascade_overlap",), overlap),
    "cascade_semi_structured": Drawing("Semi-structured pruning", ("cascade_semi_structured",), semi_structured),
}
