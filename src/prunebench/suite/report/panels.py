"""What figures of several studies share: panels side by side, rows of panels, series of points, looks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecBase, SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from prunebench.suite.report.style import (
    SMALL,
    WIDTH,
    Floats,
    Look,
    cross,
    draw_points,
    fix_layout,
    footer,
    limits,
    mark_diverged,
    new_figure,
    pretty,
    seeds_text,
    spacing,
    sparsity_axis,
    sparsity_position,
    wrapped,
)

Series = list[tuple[Look, pd.DataFrame]]
OTHERS = tuple(zip(("#999999", "#882255", "#332288", "#117733", "#AA4499", "#661100"), "P<X>dh", strict=True))


def looks_of(names: Iterable[str], palette: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look per name, in their order; beyond the palette colours come again with other markers."""
    looks = {}
    for nth, name in enumerate(dict.fromkeys(names)):
        turn = nth // len(palette)
        marker = palette[(nth + turn) % len(palette)][1]
        looks[name] = Look(pretty(name), palette[nth % len(palette)][0], marker, width=1.1, size=4.0)
    return looks


def values_of(rows: pd.DataFrame, column: str, factor: float = 100.0) -> tuple[Floats, Floats, Floats]:
    """A column with its interval; shares become percent."""
    ends = ("ci_low", "ci_high") if column == "test_accuracy" else (f"{column}_low", f"{column}_high")
    mean, low, high = (factor * rows[name].to_numpy(dtype=np.float64) for name in (column, *ends))
    # A share of 1 bounds accuracy: the t interval does not know.
    return (mean, np.clip(low, 0, 100), np.clip(high, 0, 100)) if column == "test_accuracy" else (mean, low, high)


def bounds_of(
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
    mean, low, high = values_of(sound if np.isfinite(sound[column]).any() else rows, column, factor)
    bottom, top = limits(np.append(mean, always), low, high, reach=reach, least=least)
    return (max(bottom, 0.0), min(top, 101.0)) if column == "test_accuracy" else (bottom, top)


def side_by_side(
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
    spots, places = places_of(series, at)
    gap = spacing(spots)
    for (look, rows), x in zip(series, places, strict=True):
        mean, low, high = values_of(rows, column, factor)
        draw_points(ax, x, mean, low, high, look, bars=0.9)
    if crosses:
        rows = pd.concat([rows for _, rows in series])
        mean = values_of(rows, column, factor)[0]
        apart = 0.24 / inches * (np.ptp(spots) + 1.2 * gap)
        mark_diverged(ax, np.concatenate(places), mean, rows["diverged"], rows["n"], apart)
    ax.set_xlim(spots.min() - 0.6 * gap, spots.max() + 0.6 * gap)


def places_of(series: Series, at: Callable[[pd.DataFrame], Floats]) -> tuple[Floats, list[Floats]]:
    """The positions of all rows, and each series' own, moved sideways."""
    spots = np.concatenate([at(rows) for _, rows in series])
    # Lines over sparsity keep near their ticks; points over names have the room between the names.
    room = 0.3 if at is at_sparsity else 0.75
    step = room * spacing(spots) / max(len(series), 4)
    return spots, [at(rows) + (nth - (len(series) - 1) / 2) * step for nth, (_, rows) in enumerate(series)]


def at_sparsity(rows: pd.DataFrame) -> Floats:
    return sparsity_position(rows["sparsity"])


def sparsity_panel(ax: Axes, series: Series, column: str, inches: float, label: bool = True, **how: Any) -> None:
    """`side_by_side` against sparsity; without rows or numbers the panel says so."""
    series = [(look, rows.sort_values("sparsity")) for look, rows in series if len(rows)]
    if not any(np.isfinite(rows[column]).any() for _, rows in series):
        empty_panel(ax, "no values")
        return
    side_by_side(ax, series, at_sparsity, column, inches=inches, **how)
    sparsity_axis(ax, [value for _, rows in series for value in rows["sparsity"]], inches, label=False)
    if label:
        ax.set_xlabel("sparsity (%)")


def empty_panel(ax: Axes, text: str) -> None:
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


def level_line(ax: Axes, value: float = 0.0) -> None:
    """The line of no difference."""
    ax.axhline(value, color="0.3", linewidth=0.9, zorder=1)


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


def finish(fig: Figure, scale: str, notes: Sequence[str]) -> Figure:
    footer(fig, scale, notes)
    fix_layout(fig)
    return fig


def panel_row(fig: Figure, grid: GridSpecBase, row: int, columns: int, share: bool = True) -> list[Axes]:
    """The panels of a row of `grid`, with one y axis if `share`."""
    first = fig.add_subplot(grid[row, 0])
    rest = [fig.add_subplot(grid[row, column], sharey=first if share else None) for column in range(1, columns)]
    for ax in rest:
        ax.tick_params(axis="y", labelleft=not share)
    return [first, *rest]


def handles_of(looks: Iterable[Look]) -> list[Artist]:
    return [Line2D([], [], label=look.label, **look.line()) for look in looks]


def named_ticks(axis: Any, names: Sequence[str]) -> None:
    """A tick with a name at 0, 1, 2 and so on; `axis` is ax.xaxis or ax.yaxis."""
    axis.set_major_locator(FixedLocator(range(len(names))))
    axis.set_major_formatter(FuncFormatter(lambda _, i: names[i] if i is not None else ""))


def diverged_crosses(*frames: pd.DataFrame) -> list[Artist]:
    lost = any((frame["diverged"] > 0).any() for frame in frames)
    return [cross("seeds diverged, counted as chance")] if lost else []


def series_by(rows: pd.DataFrame, column: str, looks: Mapping[str, Look]) -> Series:
    """A series per look that has rows, in the looks' order."""
    return [(look, rows[rows[column] == name]) for name, look in looks.items() if (rows[column] == name).any()]


def with_values(series: Series, column: str) -> Series:
    """The series that have a number in `column`."""
    return [(look, rows) for look, rows in series if np.isfinite(rows[column]).any()]


BEYOND = "Triangles at an edge: a point or bar goes on beyond the axis"


def blocks_of(rows: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Rows by `keys` (names of text columns) with a heading that says which, and how many seeds."""
    return [
        (f"{', '.join([key[0], *(pretty(name) for name in key[1:])])}, {seeds_text(part['n'])}", part)
        for key, part in rows.groupby(list(keys), sort=False)
    ]


def chunks_of(values: list[Any], size: int) -> list[list[Any]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def graded_looks(values: Sequence[float], palette: str, label: Callable[[float], str]) -> dict[float, Look]:
    """Markers whose colour darkens with the value."""
    tints = sns.color_palette(palette, as_cmap=True)(np.linspace(0.0, 1.0, len(values)))
    return {
        value: Look(label(value), mpl.colors.to_hex(tint), "os^DvPX<>dh"[nth % 11], "", size=4.0)
        for nth, (value, tint) in enumerate(zip(values, tints, strict=True))
    }
