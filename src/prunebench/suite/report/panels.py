"""What figures of several studies share: blocks of panels, series with intervals, axes, legends."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from prunebench.suite.report.style import (
    SMALL,
    WIDTH,
    Floats,
    Look,
    cross,
    draw_points,
    fix_layout,
    footer,
    legend_above,
    limits,
    mark_diverged,
    new_figure,
    pretty,
    seeds_text,
    set_ticks,
    spacing,
    sparsity_axis,
    sparsity_position,
    wrapped,
)

Series = list[tuple[Look, pd.DataFrame]]
Span = tuple[float, float]

BEYOND = "Triangles at an edge: a point or bar goes on beyond the axis"
SIDEWAYS = f"{BEYOND}. Markers are moved sideways a little"
PAGE = 9.7
"""Inches that a figure may be high."""

DOTS: Any = (0, (1.0, 1.5))
OTHERS = tuple(zip(("#999999", "#882255", "#332288", "#117733", "#AA4499", "#661100"), "P<X>dh", strict=True))

# --- Looks and legends


def looks_of(names: Iterable[str], palette: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look per name, in their order; beyond the palette colours come again with other markers."""
    looks = {}
    for nth, name in enumerate(dict.fromkeys(names)):
        turn = nth // len(palette)
        marker = palette[(nth + turn) % len(palette)][1]
        looks[name] = Look(pretty(name), palette[nth % len(palette)][0], marker, width=1.1, size=4.0)
    return looks


def graded_looks(values: Sequence[float], palette: str, label: Callable[[float], str]) -> dict[float, Look]:
    """Markers whose colour darkens with the value."""
    tints = sns.color_palette(palette, as_cmap=True)(np.linspace(0.0, 1.0, len(values)))
    return {
        value: Look(label(value), mpl.colors.to_hex(tint), "os^DvPX<>dh"[nth % 11], "", size=4.0)
        for nth, (value, tint) in enumerate(zip(values, tints, strict=True))
    }


def handles_of(looks: Iterable[Look], **changes: Any) -> list[Artist]:
    """A legend's handles; `changes` replace fields of every look."""
    return [Line2D([], [], label=look.label, **replace(look, **changes).line()) for look in looks]


def diverged_crosses(*frames: pd.DataFrame) -> list[Artist]:
    """The legend's handle of cells with diverged seeds, where there are any."""
    diverged = any((frame["diverged"] > 0).any() for frame in frames)
    return [cross("seeds diverged, counted as chance")] if diverged else []


def finish(fig: Figure, handles: Sequence[Artist], scale: str, notes: Sequence[str]) -> Figure:
    """Adds the legend, the notes and the label of the runs' scale, and fixes the layout."""
    if handles:
        legend_above(fig, handles)
    footer(fig, scale, notes)
    fix_layout(fig)
    return fig


# --- Numbers


def numbers(rows: pd.DataFrame, *columns: str, factor: float = 1.0) -> list[Floats]:
    return [factor * rows[name].to_numpy(dtype=np.float64) for name in columns]


def values_of(rows: pd.DataFrame, column: str, factor: float = 100.0) -> tuple[Floats, Floats, Floats]:
    """A column and the ends of its interval, shares in percent: `<column>_low` and `_high`, else the table's only ones.

    Accuracies' intervals end at 0 and 100 %, of which the t interval knows nothing.
    """
    prefix = next(prefix for prefix in (f"{column}_", "ci_", "") if f"{prefix}low" in rows)
    mean, low, high = numbers(rows, column, f"{prefix}low", f"{prefix}high", factor=factor)
    return (mean, np.clip(low, 0, 100), np.clip(high, 0, 100)) if column.endswith("accuracy") else (mean, low, high)


def bounds_of(
    rows: pd.DataFrame,
    column: str,
    always: Sequence[float] = (),
    *,
    least: float,
    reach: float = 1.0,
    factor: float = 100,
) -> Span:
    """Limits of an axis for `column`; cells with diverged seeds may leave it, marked, lest they flatten the rest."""
    sound = rows[rows["diverged"] == 0] if "diverged" in rows else rows
    mean, low, high = values_of(sound if np.isfinite(sound[column]).any() else rows, column, factor)
    bottom, top = limits(np.append(mean, always), low, high, reach=reach, least=least)
    return (max(bottom, 0.0), min(top, 101.0)) if column.endswith("accuracy") else (bottom, top)


def series_by(rows: pd.DataFrame, column: str, looks: Mapping[str, Look]) -> Series:
    """A series per look that has rows, in the looks' order."""
    return [(look, rows[rows[column] == name]) for name, look in looks.items() if (rows[column] == name).any()]


def with_values(series: Series, column: str) -> Series:
    """The series that have a number in `column`."""
    return [(look, rows) for look, rows in series if np.isfinite(rows[column]).any()]


def chunks_of(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def blocks_of(rows: pd.DataFrame, *keys: str) -> list[tuple[str, pd.DataFrame]]:
    """Rows by `keys` (names of text columns) with a heading: their values and the number of seeds."""
    return [
        (f"{', '.join([key[0], *(pretty(name) for name in key[1:])])}, {seeds_text(part['n'])}", part)
        for key, part in rows.groupby(list(keys), sort=False)
    ]


# --- Layout


def stacked(rows: Sequence[str | float], margin: float) -> tuple[Figure, list[SubplotSpec]]:
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
    # Lower by some points: nearer to its own panels than to those above.
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "weight": "bold"}
    for nth, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if isinstance(row, str):
            ax = fig.add_subplot(grid[nth, 0])
            ax.set_axis_off()
            ax.annotate(text, (0, 1), (0, -5 + 4 * ("\n" in text)), annotation_clip=False, **style).set_in_layout(False)
        else:
            places.append(grid[nth, 0])
    return fig, places


def in_blocks(
    blocks: Sequence[tuple[str, Any]], heights: Sequence[Sequence[float]], margin: float
) -> tuple[Figure, list[tuple[Any, list[SubplotSpec]]]]:
    """A figure of blocks, each a heading (none if empty) over rows of these heights; by block its content and places.

    heights: inches of each block's rows, less where the figure would be higher than a page; margin: inches for the
    legend and the footer.
    """
    free = PAGE - margin - 0.31 * sum(bool(title) for title, _ in blocks)
    scale = min(1.0, free / sum(sum(of_block) for of_block in heights))
    heights = [[scale * height for height in of_block] for of_block in heights]
    rows: list[str | float] = []
    for (title, _), of_block in zip(blocks, heights, strict=True):
        rows += [*([title] if title else []), *of_block]
    fig, places = stacked(rows, margin)
    place = iter(places)
    return fig, [(block, [next(place) for _ in of_block]) for (_, block), of_block in zip(blocks, heights, strict=True)]


def in_lines(
    blocks: Sequence[tuple[str, Any]],
    items: Sequence[Sequence[Any]],
    most: int,
    height: float,
    margin: float,
    *,
    below: Sequence[float] = (),
    **grid: Any,
) -> tuple[Figure, Iterator[tuple[Any, Iterator[tuple[Sequence[Any], list[list[Axes]]]], list[SubplotSpec]]]]:
    """`in_blocks` with a panel for each of a block's `items`, `most` to a line of `height` inches.

    below: heights of further rows under a block's lines. grid: how `panels_at` divides a line. By block: its content;
    its lines, each with its items and rows of panels; the places below.
    """
    chunks = [chunks_of(of_block, most) for of_block in items]
    columns = max(len(chunk) for lines in chunks for chunk in lines)
    fig, laid_out = in_blocks(blocks, [[*([height] * len(lines)), *below] for lines in chunks], margin)

    def walk() -> Iterator[Any]:
        for (block, places), lines in zip(laid_out, chunks, strict=True):
            drawn = (
                (chunk, panels_at(fig, at, len(chunk), columns, **grid))
                for chunk, at in zip(lines, places, strict=False)
            )
            yield block, drawn, places[len(lines) :]

    return fig, walk()


def panels_at(
    fig: Figure,
    place: SubplotSpec,
    count: int,
    columns: int | None = None,
    *,
    heights: Sequence[float] = (1.0,),
    widths: Sequence[float] | None = None,
    share: bool = True,
) -> list[list[Axes]]:
    """Rows of `count` panels, with room for `columns`; the panels of a row have one y axis if `share`."""
    columns = max(columns or count, 1)
    grid = place.subgridspec(len(heights), columns, height_ratios=heights, width_ratios=widths)
    rows = []
    for nth in range(len(heights)):
        first = fig.add_subplot(grid[nth, 0])
        rest = [fig.add_subplot(grid[nth, column], sharey=first if share else None) for column in range(1, count)]
        for ax in rest:
            ax.tick_params(axis="y", labelleft=not share)
        rows.append([first, *rest])
    return rows


def facets(count: int, most: int, height: float, margin: float, rows: int = 1, **share: Any) -> tuple[Figure, Any]:
    """A figure of `count` facets, `most` to a line of `height` inches; each has `rows` panels, one under the other.

    Returns the axes as an array of shape (lines, rows, columns); unused ones are invisible.
    """
    columns = min(most, count)
    lines = math.ceil(count / columns)
    fig = new_figure(margin + height * lines)
    axes = fig.subplots(lines * rows, columns, squeeze=False, **share).reshape(lines, rows, columns)
    for unused in range(count, lines * columns):
        for ax in axes[-1, :, unused % columns]:
            ax.set_axis_off()
    return fig, axes


def label_facets(axes: Any, count: int, x: str, *y: str) -> None:
    """The x label under the lowest of the `count` facets in each column, the y labels at the left."""
    lines, _, columns = axes.shape
    for column in range(columns):
        axes[lines - 1 if (lines - 1) * columns + column < count else lines - 2, -1, column].set_xlabel(x)
    for line in axes[:, :, 0]:
        for ax, label in zip(line, y, strict=True):
            ax.set_ylabel(label)


# --- Panels


def empty_panel(ax: Axes, text: str = "no values") -> None:
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": "0.3", "backgroundcolor": "white"}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, fontsize=SMALL, **style)
    ax.xaxis.set_major_locator(NullLocator())


def is_empty(ax: Axes, rows: pd.DataFrame, *columns: str, text: str = "no values") -> bool:
    """Whether no column has a number; then the panel says so."""
    empty = not np.isfinite(rows[list(columns)]).any(axis=None)
    if empty:
        empty_panel(ax, text)
    return bool(empty)


def level_line(ax: Axes, value: float = 0.0) -> None:
    """The line of no difference."""
    ax.axhline(value, color="0.3", linewidth=0.9, zorder=1)


def margin_line(ax: Axes, value: float, text: str = "") -> None:
    """The dotted line of a claim's margin, with `text` at its right end."""
    ax.axhline(value, color="0.3", linewidth=0.9, linestyle=DOTS, zorder=1)
    if text:
        text_beside(ax, value, text)


def text_beside(ax: Axes, y: float, text: str, shift: Span = (3, 0), **style: Any) -> None:
    """Text right of the axes at height `y` of the data, moved by `shift` points."""
    place: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "color": "0.3", "va": "center", "fontsize": SMALL}
    ax.annotate(text, (1, y), shift, textcoords="offset points", annotation_clip=False, **place | style)


def side_by_side(
    ax: Axes,
    series: Series,
    column: str,
    *,
    inches: float = 1.0,
    factor: float = 100.0,
    crosses: bool = False,
    room: float = 0.75,
) -> None:
    """Each series' `column` with its interval, around its rows' `x`: a little sideways, so that none hides another.

    The y limits are set before; the x limits leave room for all. `crosses` marks cells with diverged seeds, whose
    labels have `inches` of axis.
    """
    places = places_of(series, room)
    spots = np.concatenate([numbers(rows, "x")[0] for _, rows in series])
    gap = spacing(spots)
    for (look, rows), x in zip(series, places, strict=True):
        draw_points(ax, x, *values_of(rows, column, factor), look, bars=0.9)
    if crosses:
        rows = pd.concat([rows for _, rows in series])
        mean = values_of(rows, column, factor)[0]
        apart = 0.24 / inches * (np.ptp(spots) + 1.2 * gap)
        mark_diverged(ax, np.concatenate(places), mean, rows["diverged"], rows["n"], apart)
    ax.set_xlim(spots.min() - 0.6 * gap, spots.max() + 0.6 * gap)


def places_of(series: Series, room: float = 0.75) -> list[Floats]:
    """Each series' `x`, moved sideways: together they take `room` of the least distance."""
    places = [numbers(rows, "x")[0] for _, rows in series]
    step = room * spacing(np.concatenate(places)) / max(len(series), 4)
    return [x + (nth - (len(series) - 1) / 2) * step for nth, x in enumerate(places)]


def shifted(ax: Axes, series: Series, step: float = 0.02) -> list[Floats]:
    """Each series' `x`, moved by `step` of the x axis, whose limits are set before."""
    low, high = ax.get_xlim()
    return [
        numbers(rows, "x")[0] + (nth - (len(series) - 1) / 2) * step * (high - low)
        for nth, (_, rows) in enumerate(series)
    ]


def on_sparsity(series: Series) -> Series:
    """The series that have rows, in order of sparsity, with its position on the log-density axis as `x`."""
    return [
        (look, rows.assign(x=sparsity_position(rows["sparsity"])).sort_values("sparsity"))
        for look, rows in series
        if len(rows)
    ]


SPARSITY_ROOM = 0.3
"""Lines over sparsity keep near their ticks; points over names have the room between the names."""


def sparsity_panel(ax: Axes, series: Series, column: str, inches: float, label: bool = True, **how: Any) -> None:
    """`side_by_side` against sparsity; without rows or numbers the panel says so."""
    series = on_sparsity(series)
    if not with_values(series, column):
        empty_panel(ax)
        return
    side_by_side(ax, series, column, inches=inches, room=SPARSITY_ROOM, **how)
    sparsity_axis(ax, (value for _, rows in series for value in rows["sparsity"]), inches, label=False)
    if label:
        ax.set_xlabel("sparsity (%)")


def category_panel(ax: Axes, series: Series, column: str, names: Sequence[str], **how: Any) -> bool:
    """`side_by_side` over `names`, which the rows' `x` counts; whether there were numbers."""
    known = bool(with_values(series, column))
    if known:
        side_by_side(ax, series, column, **how)
    else:
        empty_panel(ax)
    ax.set_xlim(-0.6, len(names) - 0.4)
    set_ticks(ax.xaxis, range(len(names)), names)
    return known


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
        nowhere = mean <= 0
        mean = np.where(nowhere, np.nan, mean)
        if marks and nowhere.any():
            edge = np.full(int(nowhere.sum()), bottom)
            ax.plot(x[nowhere], edge, marker="v", color=look.color, markersize=3.0, linestyle="", clip_on=False)
    known = np.isfinite(mean)
    if not known.any():
        return
    ax.plot(x, mean, **look.line() | ({} if marks or known.sum() <= 2 else {"marker": ""}))
    if np.isfinite(low).any():
        ends = np.clip(low, bottom, top), np.clip(high, bottom, top)
        ax.fill_between(x, *ends, color=look.color, alpha=shade, linewidth=0, zorder=1.5)
        if known.sum() == 1:
            bar = ends[0][known], ends[1][known]
            ax.vlines(x[known], *bar, color=look.color, linewidth=0.9, zorder=look.order - 0.5)


# --- Logarithmic axes


def log_axis(ax: Axes, mean: Floats, low: Floats, high: Floats, *, factor: float = 3.0, reach: float = 0.3) -> None:
    """A logarithmic y axis that shows every positive mean, and intervals up to `reach` of their span beyond.

    The axis spans `factor` at least. Without a positive mean it stays linear.
    """
    if not (mean > 0).any():
        return
    with np.errstate(invalid="ignore"):
        means, lows, highs = (np.log10(np.where(values > 0, values, np.nan)) for values in (mean, low, high))
    bottom, top = (10.0**end for end in limits(means, lows, highs, reach=reach, least=math.log10(factor)))
    middle, half = math.sqrt(bottom * top), max(math.sqrt(top / bottom), math.sqrt(factor))
    ax.set_yscale("log")
    ax.set_ylim(middle / half, middle * half)
    set_ticks(ax.yaxis, log_ticks(*ax.get_ylim()))


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Three to `most` round numbers within (low, high): powers of ten, as fine as can be, or else other digits."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [[10.0**k for k in range(first - first % step, last + 1, step)] for step in (1, 2, 3, 4, 5)]
    digits = ((1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 2, 3, 4, 6), range(1, 10))
    finer = [[digit * 10.0**k for k in range(first, last + 1) for digit in each] for each in digits]
    for grid in (*powers, *finer):
        ticks = [tick for tick in grid if low <= tick <= high]
        if 3 <= len(ticks) <= most:
            return ticks
    return [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def off_log(frame: pd.DataFrame, *columns: str) -> list[str]:
    """A note on the gaps of logarithmic axes, if any of these columns has them."""
    gaps = (frame[list(columns)] <= 0).any(axis=None)
    return ["A triangle without a point: 0 or less, for which a logarithmic axis has no place"] if gaps else []
