"""Figures of minima: paths and planes between them, curvature along their difference, the toy problems."""

from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from prunebench.papers.directional.figures.common import (
    DOTS,
    curve,
    dense_handle,
    ends_of,
    epoch_axis,
    log_ticks,
    numbers,
    off_log,
    points,
    rows_in,
    shifted,
    value_axis,
    word,
)
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import (
    BEYOND,
    blocks_of,
    chunks_of,
    empty_panel,
    finish,
    handles_of,
    panel_row,
    stacked,
)
from prunebench.suite.report.style import (
    SMALL,
    Floats,
    Look,
    interval_text,
    legend_above,
    plain,
    thinned,
    wrapped,
)

_PATHS = {
    "curve": Look("trained Bezier curve", "#D55E00", "", width=1.6, order=4.0),
    "line": Look("straight line", "#0072B2", "", (0, (4.0, 1.2)), width=1.3, order=3.0),
}

_DASH: Any = (0, (4.0, 1.5))


def _ends(pair: str) -> tuple[str, str]:
    a, _, b = pair.partition(":")
    return word(a), word(b)


def _pair(pair: str) -> str:
    a, b = _ends(pair)
    control = "control: " if "grda" not in pair else ""
    return f"{control}{a} (t = 0)\nto {b} (t = 1)"


def connectivity(drawn: Drawn) -> Figure:
    """Claim C6: training loss and test error along the trained curve and the straight line, a column per pair."""
    tables, scale = drawn.tables, drawn.scale
    frame = rows_in(tables, "paths")
    blocks = blocks_of(frame, ("task",))
    pairs = list(dict.fromkeys(frame["pair"]))
    chunks = chunks_of(pairs, 4)
    height = 3.1 if len(blocks) * len(chunks) < 3 else 2.6
    stale = frame["statistics"] == "stale"
    handles: list[Artist] = [dense_handle(look) for look in _PATHS.values()]
    handles += [dense_handle(_stale(look)) for path, look in _PATHS.items() if (frame.loc[stale, "path"] == path).any()]
    rows: list[str | float] = []
    for title, _ in blocks:
        rows += [title, *([height] * len(chunks))]
    fig, places = stacked(rows, 1.45)
    columns = max(len(chunk) for chunk in chunks)
    place = iter(places)
    for _, part in blocks:
        for chunk in chunks:
            grid = next(place).subgridspec(2, columns)
            tops, bottoms = panel_row(fig, grid, 0, len(chunk)), panel_row(fig, grid, 1, len(chunk))
            # Stale statistics may raise the loss a thousandfold: they leave the axis.
            sound = part[part["statistics"] != "stale"]
            value_axis(tops[0], *numbers(sound, *ends_of("train_loss")))
            value_axis(bottoms[0], *numbers(sound, *ends_of("test_error"), factor=100))
            for top, bottom, pair in zip(tops, bottoms, chunk, strict=True):
                top.set_title(wrapped(_pair(pair), 6.3 / columns, letter=0.52), loc="left")
                rows_of_pair = part[part["pair"] == pair]
                for ax, column, factor in ((top, "train_loss", 1.0), (bottom, "test_error", 100.0)):
                    _path_panel(ax, rows_of_pair, column, factor)
                top.tick_params(axis="x", labelbottom=False)
                bottom.set_xlabel("position t")
            tops[0].set_ylabel("train loss (nats)")
            bottoms[0].set_ylabel("test error (%)")
    legend_above(fig, handles)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands')}",
        "Strong: batch-norm statistics recomputed at every point",
        *(["Faint: statistics not recomputed (stale); they may leave the axis"] if stale.any() else []),
        _kinship(pairs),
    ]
    return finish(fig, scale, notes)


def _kinship(pairs: list[str]) -> str:
    """A footer's note on what the runs of the pairs share."""
    told = {
        "sgd_order": "SGD in another order of data shares only the initialisation",
        "sgd_init": "SGD with another initialisation shares neither",
    }
    used = [text for name, text in told.items() if any(name in pair.split(":") for pair in pairs)]
    return "; ".join(["gRDA and SGD share initialisation and order of data", *used])


def _stale(look: Look) -> Look:
    red, green, blue = (0.5 + 0.5 * part for part in mpl.colors.to_rgb(look.color))
    tint = mpl.colors.to_hex((red, green, blue))
    return Look(f"{look.label}, stale batch norm", tint, "", DOTS, 1.1, order=2.0)


def _path_panel(ax: Axes, rows: pd.DataFrame, column: str, factor: float) -> None:
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if not np.isfinite(rows[column]).any():
        empty_panel(ax, "no values" if len(rows) else "not run")
        return
    for path, look in _PATHS.items():
        for statistics, drawn in (("stale", _stale(look)), ("recomputed", look)):
            of_one = rows[(rows["path"] == path) & (rows["statistics"] == statistics)].sort_values("t")
            mean, low, high = numbers(of_one, *ends_of(column), factor=factor)
            if statistics == "stale":
                low = high = np.full_like(mean, np.nan)
            curve(ax, drawn, of_one["t"].to_numpy(dtype=np.float64), mean, low, high)


# --- The plane


_SHORT = {"sgd_init": "SGD, other init.", "sgd_order": "SGD, other order"}
_MEASURES = {"train_loss": "train loss (nats)", "test_error": "test error (%)"}


def plane(drawn: Drawn) -> Figure:
    """Claim C6: loss and error in the plane through two minima and the bend of the curve between them."""
    tables, scale = drawn.tables, drawn.scale
    frame = rows_in(tables, "planes")
    tasks = list(dict.fromkeys(frame["task"]))
    most = max(1, 3 // len(tasks))
    shown: list[tuple[str, int, str, pd.DataFrame]] = []
    hidden = False
    for task in tasks:
        part = frame[frame["task"] == task]
        seed = int(part["seed"].iloc[0])
        pairs = list(dict.fromkeys(part.loc[part["seed"] == seed, "pair"]))
        hidden |= len(pairs) > most or part["seed"].nunique() > 1
        shown += [(task, seed, pair, part[(part["seed"] == seed) & (part["pair"] == pair)]) for pair in pairs[:most]]
    heights = [min(2.2, 7.4 / len(shown))] * len(shown)
    rows: list[str | float] = []
    for (task, seed, pair, _), height in zip(shown, heights, strict=True):
        rows += [f"{task}, seed {seed}: {' and '.join(_ends(pair))}", height]
    fig, places = stacked(rows, 1.15)
    panels: list[Axes] = []
    for (_, _, pair, part), place in zip(shown, places, strict=True):
        for ax, (column, label) in zip(
            panel_row(fig, place.subgridspec(1, 2), 0, 2, share=False), _MEASURES.items(), strict=True
        ):
            _plane_panel(ax, part, column, label)
            _marks(ax, part[part["kind"] == "point"], [_SHORT.get(name, word(name)) for name in pair.split(":")])
            panels.append(ax)
    outlined = [Stroke(linewidth=3.2, foreground="white"), Normal()]
    handles: list[Artist] = [
        Line2D([], [], color="#D55E00", linewidth=1.6, label="trained Bezier curve", path_effects=outlined),
        Line2D([], [], color="black", linewidth=1.1, linestyle=_DASH, label="straight line"),
        Line2D([], [], linestyle="", label="minima", **_POINT),
        Line2D([], [], linestyle="", label="bend (control point)", **_POINT | {"marker": "D", "markersize": 4.0}),
    ]
    legend_above(fig, handles)
    notes = [
        "n = 1, no interval: the plane through both minima and the bend of the curve, batch-norm statistics "
        "recomputed at every point; axes: distance in weight space, the vertical one to another scale, as it says; "
        "levels of the loss are logarithmic",
        *(["White: no finite value"] if not np.isfinite(frame[list(_MEASURES)]).all(axis=None) else []),
        *(["Other seeds or pairs are in the table"] if hidden else []),
    ]
    finish(fig, scale, notes)
    # The panels have their sizes now; the label keeps its own.
    for ax in panels:
        ax.set_ylabel(f"distance,\n{_stretch(ax)}")
    return fig


def _stretch(ax: Axes) -> str:
    """How much longer a distance is drawn along y than along x."""
    width, height = ax.bbox.size
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    factor = float(height / (top - bottom) / (width / (right - left)))
    many = max(factor, 1 / factor)
    told = f"{float(f'{many:.2g}'):g}"
    if told == "1":
        return "at the same scale"
    return f"{'stretched' if factor > 1 else 'shrunk'} {told}\u00d7"


_POINT: dict[str, Any] = {
    "marker": "o",
    "markersize": 5.5,
    "color": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 1.1,
}


def _plane_panel(ax: Axes, part: pd.DataFrame, column: str, label: str) -> None:
    factor = 100.0 if column == "test_error" else 1.0
    grid = part[part["kind"] == "grid"]
    known = grid[np.isfinite(grid[column])]
    ax.grid(False)
    ax.set_xlabel("distance in weight space")
    ax.set_ylabel("distance,\nstretched 10\u00d7")
    ax.set_title(label, loc="left")
    sides = known["x"].nunique(), known["y"].nunique()
    if min(sides) < 2:
        empty_panel(ax, "no values")
        return
    logarithmic = column == "train_loss"
    levels, norm, ticks = _levels(factor * known[column].to_numpy(dtype=np.float64), logarithmic)
    how: dict[str, Any] = {"levels": levels, "norm": norm, "cmap": sns.color_palette("mako_r", as_cmap=True)}
    if len(grid) == len(grid.drop_duplicates(["x", "y"])) == grid["x"].nunique() * grid["y"].nunique():
        table = grid.pivot(index="y", columns="x", values=column)
        values = np.clip(factor * table.to_numpy(dtype=np.float64), levels[0], np.inf)
        filled: ContourSet = ax.contourf(table.columns, table.index, np.ma.masked_invalid(values), **how)
    else:
        x, y, z = numbers(known, "x", "y", column)
        filled = ax.tricontourf(x, y, np.maximum(factor * z, levels[0]), **how)
    inset = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
    bar = ax.figure.colorbar(filled, cax=inset)
    bar.set_ticks(ticks)
    bar.set_ticklabels([plain(tick) for tick in ticks])
    inset.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4))


def _levels(values: Floats, logarithmic: bool) -> tuple[list[float], Normalize, list[float]]:
    """Edges of the contours, their colours and the bar's ticks."""
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        positive = values[values > 0]
        low = float(positive.min()) if positive.size else 1e-12
        high = max(high, 2 * low)
        # A shade lower and higher: rounding must not leave the extremes out.
        levels = [float(level) for level in np.geomspace(low / 1.001, high * 1.001, 13)]
        return levels, LogNorm(levels[0], levels[-1]), log_ticks(low, high)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    levels = [float(level) for level in MaxNLocator(11, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return levels, Normalize(levels[0], levels[-1]), thinned(levels, 6) if len(levels) < 7 else levels[::2]


def _marks(ax: Axes, points: pd.DataFrame, ends: list[str]) -> None:
    """The minima, the bend, the line and the curve between them."""
    where = {
        name: points.loc[points["point"] == name, ["x", "y"]].to_numpy(dtype=np.float64) for name in ("a", "b", "bend")
    }
    found = {name: place[0] for name, place in where.items() if len(place) and np.isfinite(place[0]).all()}
    if "a" in found and "b" in found:
        (line,) = ax.plot(
            *np.array([found["a"], found["b"]]).T, color="black", linewidth=1.1, linestyle=_DASH, zorder=3
        )
        line.set_path_effects([Stroke(linewidth=2.4, foreground="white"), Normal()])
        if "bend" in found:
            t = np.linspace(0.0, 1.0, 101)[:, None]
            bezier = (1 - t) ** 2 * found["a"] + 2 * t * (1 - t) * found["bend"] + t**2 * found["b"]
            (line,) = ax.plot(*bezier.T, color="#D55E00", linewidth=1.6, zorder=4)
            line.set_path_effects([Stroke(linewidth=3.2, foreground="white"), Normal()])
    for name, place in found.items():
        ax.plot(*place, zorder=5, **_POINT | ({"marker": "D", "markersize": 4.0} if name == "bend" else {}))
    middle = np.mean([place[0] for place in found.values()]) if found else 0.0
    bottom, top = ax.get_ylim()
    for name, text in (("a", ends[0]), ("b", ends[1])):
        if name in found:
            right = found[name][0] > middle
            # Below the minimum, inwards, where the plane has room for a line; else above it.
            above = found[name][1] - bottom < 0.12 * (top - bottom)
            where_to: dict[str, Any] = {"ha": "right" if right else "left", "va": "bottom" if above else "top"}
            shift = (-4 if right else 4, 5 if above else -5)
            told = ax.annotate(
                text, found[name], shift, textcoords="offset points", fontsize=SMALL, zorder=6, **where_to
            )
            told.set_path_effects([Stroke(linewidth=2.0, foreground="white"), Normal()])


# --- Curvature


_DISPLACED = {
    "grda:sgd": Look("gRDA minus SGD", "#D55E00", "o", width=1.5, size=4.0, order=4.0),
    "sgd_order:sgd": Look(
        "control: SGD in another data order minus SGD", "#0072B2", "s", width=1.2, size=3.6, order=3.0
    ),
}
_K_DASHES: tuple[Any, ...] = ("-", (0, (4.0, 1.2)), (0, (6.0, 1.5, 1.0, 1.5)), (0, (2.0, 1.0)))


def curvature(drawn: Drawn) -> Figure:
    """Claim C7: how much of the minima's difference lies in the leading eigenspace of the Hessian, over epochs."""
    tables, scale = drawn.tables, drawn.scale
    frame, spectrum = rows_in(tables, "curvature"), rows_in(tables, "spectrum")
    ks = sorted(int(k) for k in frame["k"].unique())
    blocks = blocks_of(frame, ("task",))
    handles: list[Artist] = []
    looks = {}
    for pair in dict.fromkeys(frame["pair"]):
        base = _DISPLACED.get(pair) or Look(" minus ".join(_ends(pair)), "#6A3D9A", "D", width=1.2)
        for nth, k in enumerate(ks):
            looks[pair, k] = replace(base, label=f"{base.label}, k = {k}", dash=_K_DASHES[nth % 4])
            looks[pair, k] = replace(looks[pair, k], size=base.size - 0.8 * (nth > 0))
    handles += handles_of(looks.values())
    tints = {
        k: mpl.colors.to_hex(sns.color_palette("Greys", as_cmap=True)(0.85 - 0.3 * nth / max(1, len(ks) - 1)))
        for nth, k in enumerate(ks)
    }
    chances = {k: Look(f"chance, sqrt(k/d), k = {k}", tints[k], "", DOTS, 1.1 + 0.2 * nth) for nth, k in enumerate(ks)}
    handles += [dense_handle(look) for look in chances.values()]
    ranks = sorted(int(rank) for rank in spectrum["rank"].unique())
    few = len(ranks) <= 12
    shades = sns.color_palette("viridis", as_cmap=True)(np.linspace(0.0, 0.9, len(ranks)))
    eigen = {
        rank: Look(
            f"eigenvalue {rank}" + (" (largest)" if rank == 1 else ""),
            mpl.colors.to_hex(shade),
            "o" if few else "",
            width=0.9 if few else 0.7,
            size=2.6,
        )
        for rank, shade in zip(ranks, shades, strict=True)
    }
    handles += handles_of(eigen[rank] for rank in dict.fromkeys((ranks[0], ranks[-1])))
    height = 2.2 if len(blocks) < 3 else 2.0
    fig, places = stacked([row for title, _ in blocks for row in (title, height)], 1.75)
    for (_, part), place in zip(blocks, places, strict=True):
        left, middle, right = panel_row(fig, place.subgridspec(1, 3), 0, 3, share=False)
        _course(left, part, "share", looks, tuple(part["chance"]))
        for k, look in chances.items():
            level = part.loc[part["k"] == k, "chance"]
            if len(level):
                left.axhline(
                    float(level.iloc[0]), color=look.color, linestyle=look.dash, linewidth=look.width, zorder=1.2
                )
        _course(middle, part, "quadratic", looks, ())
        here = spectrum[spectrum["task"] == part["task"].iloc[0]]
        _spectrum(right, here, eigen)
        left.set_ylabel("share of \u2016\u0394w\u2016 in the\ntop-k eigenspace")
        middle.set_ylabel("quadratic form, top k (nats)")
        right.set_ylabel("leading eigenvalues")
    legend_above(fig, handles)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bars and band')}",
        "Eigenspaces: of the Hessian of the train loss at the SGD network of the same epoch. Left: "
        "\u2016P\u0394w\u2016 / \u2016\u0394w\u2016; dotted: what a random direction has. Middle: "
        "\u00bd \u03a3 \u03bb (v\u00b7\u0394w)\u00b2 over the top k. Right: by rank, "
        f"{ranks[0]} to {ranks[-1]}; interval for the first alone",
        f"{BEYOND}. Left and middle: markers are moved sideways a little",
        *(off_log(frame, "share", "quadratic") or off_log(spectrum, "eigenvalue")),
    ]
    return finish(fig, scale, notes)


def _course(
    ax: Axes, part: pd.DataFrame, column: str, looks: dict[tuple[str, int], Look], levels: tuple[float, ...]
) -> None:
    mean, low, high = numbers(part, *ends_of(column))
    value_axis(ax, np.append(mean, levels), np.append(low, levels), np.append(high, levels))
    epoch_axis(ax, part["epoch"].to_numpy(dtype=np.float64))
    if not np.isfinite(mean).any():
        empty_panel(ax, "no values")
        return
    parts = [(look, part[(part["pair"] == pair) & (part["k"] == k)]) for (pair, k), look in looks.items()]
    series = [(look, rows.sort_values("epoch")) for look, rows in parts if len(rows)]
    for (look, rows), x in zip(series, shifted(series, _at_epoch, ax, 0.009), strict=True):
        mean, low, high = numbers(rows, *ends_of(column))
        points(ax, x, mean, low, high, look)


def _at_epoch(rows: pd.DataFrame) -> Floats:
    return rows["epoch"].to_numpy(dtype=np.float64)


def _spectrum(ax: Axes, rows: pd.DataFrame, looks: dict[int, Look]) -> None:
    if not np.isfinite(rows["eigenvalue"]).any():
        empty_panel(ax, "no values")
        return
    mean, low, high = numbers(rows, "eigenvalue", "low", "high")
    first = (rows["rank"] == rows["rank"].min()).to_numpy()
    value_axis(ax, mean, np.where(first, low, mean), np.where(first, high, mean))
    epoch_axis(ax, rows["epoch"].to_numpy(dtype=np.float64))
    for rank, look in looks.items():
        x, mean, low, high = numbers(
            rows[rows["rank"] == rank].sort_values("epoch"), "epoch", "eigenvalue", "low", "high"
        )
        alone = np.full_like(mean, np.nan)
        ends = (low, high) if rank == min(looks) else (alone, alone)
        curve(ax, look, x, mean, *ends, marks=True)


# --- The toy problems
