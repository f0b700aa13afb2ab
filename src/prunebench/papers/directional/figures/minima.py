"""Figures of minima: paths and planes between them, curvature along their difference."""

from collections.abc import Mapping
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

from prunebench.papers.directional.figures.common import epoch_axis, method_label, rows_in
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import DOTS, log_axis, numbers, values_of
from prunebench.suite.report.style import SMALL, Floats, Look, interval_text, plain, wrapped

_PATHS = {
    "curve": Look("trained Bezier curve", "#D55E00", "", width=1.6, order=4.0),
    "line": Look("straight line", "#0072B2", "", (0, (4.0, 1.2)), width=1.3, order=3.0),
}

_FACTORS = {"train_loss": 1.0, "test_error": 100.0}
"""What is shown of paths and planes, and what makes its unit."""


def _ends(pair: str) -> tuple[str, str]:
    a, _, b = pair.partition(":")
    return method_label(a), method_label(b)


def connectivity(drawn: Drawn) -> Figure:
    """Claim C6: training loss and test error along the trained curve and the straight line, a column per pair."""
    frame = rows_in(drawn.tables, "paths")
    blocks = panels.blocks_of(frame, "task")
    pairs = list(dict.fromkeys(frame["pair"]))
    height = 3.1 if len(blocks) * -(-len(pairs) // 4) < 3 else 2.6
    fig, laid_out = panels.in_lines(blocks, [pairs] * len(blocks), 4, height, 1.45, heights=(1, 1))
    stale = frame["statistics"] == "stale"
    for part, lines, _ in laid_out:
        # Stale statistics may raise the loss a thousandfold: they leave the axis.
        sound = part[part["statistics"] != "stale"]
        for chunk, (tops, bottoms) in lines:
            for row, (column, factor) in zip((tops, bottoms), _FACTORS.items(), strict=True):
                log_axis(row[0], *values_of(sound, column, factor))
                for ax, pair in zip(row, chunk, strict=True):
                    _path_panel(ax, part[part["pair"] == pair], column, factor)
            for top, bottom, pair in zip(tops, bottoms, chunk, strict=True):
                control = "control: " if "grda" not in pair else ""
                title = "{}{} (t = 0)\nto {} (t = 1)".format(control, *_ends(pair))
                top.set_title(wrapped(title, 6.3 / min(4, len(pairs)), letter=0.52), loc="left")
                top.tick_params(axis="x", labelbottom=False)
                bottom.set_xlabel("position t")
            tops[0].set_ylabel("train loss (nats)")
            bottoms[0].set_ylabel("test error (%)")
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands')}",
        "Strong: batch-norm statistics recomputed at every point",
        *(["Faint: statistics not recomputed (stale); they may leave the axis"] if stale.any() else []),
        _kinship(pairs),
    ]
    faint = [_stale(look) for path, look in _PATHS.items() if (frame.loc[stale, "path"] == path).any()]
    return panels.finish(fig, panels.handles_of([*_PATHS.values(), *faint]), drawn.scale, notes)


def _kinship(pairs: list[str]) -> str:
    """A note on what the runs of the pairs share."""
    notes = {
        "sgd_order": "SGD in another order of data shares only the initialisation",
        "sgd_init": "SGD with another initialisation shares neither",
    }
    used = [text for name, text in notes.items() if any(name in pair.split(":") for pair in pairs)]
    return "; ".join(["gRDA and SGD share initialisation and order of data", *used])


def _stale(look: Look) -> Look:
    red, green, blue = (0.5 + 0.5 * part for part in mpl.colors.to_rgb(look.color))
    tint = mpl.colors.to_hex((red, green, blue))
    return Look(f"{look.label}, stale batch norm", tint, "", DOTS, 1.1, order=2.0)


def _path_panel(ax: Axes, rows: pd.DataFrame, column: str, factor: float) -> None:
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if panels.is_empty(ax, rows, column, text="no values" if len(rows) else "not run"):
        return
    for path, look in _PATHS.items():
        for statistics, of_one in (("stale", _stale(look)), ("recomputed", look)):
            part = rows[(rows["path"] == path) & (rows["statistics"] == statistics)].sort_values("t")
            mean, low, high = values_of(part, column, factor)
            ends = (low, high) if statistics == "recomputed" else (np.full_like(mean, np.nan),) * 2
            panels.curve(ax, of_one, part["t"].to_numpy(), mean, *ends)


# --- The plane

_HALO = [Stroke(linewidth=3.2, foreground="white"), Normal()]
_SHORT = {"sgd_init": "SGD, other init.", "sgd_order": "SGD, other order"}
_BEZIER: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.6}
_STRAIGHT: dict[str, Any] = {"color": "black", "linewidth": 1.1, "linestyle": (0, (4.0, 1.5))}
_POINT: dict[str, Any] = {"marker": "o", "markersize": 5.5, "color": "white"}
_POINT |= {"markeredgecolor": "black", "markeredgewidth": 1.1}
_BEND = _POINT | {"marker": "D", "markersize": 4.0}


def plane(drawn: Drawn) -> Figure:
    """Claim C6: loss and error in the plane through two minima and the bend of the curve between them."""
    frame = rows_in(drawn.tables, "planes")
    most = max(1, 3 // frame["task"].nunique())
    blocks = []
    hidden = False
    for task, part in frame.groupby("task", sort=False):
        seed = int(part["seed"].iloc[0])
        pairs = list(part[part["seed"] == seed].groupby("pair", sort=False))
        hidden |= len(pairs) > most or part["seed"].nunique() > 1
        blocks += [(f"{task}, seed {seed}: {' and '.join(_ends(pair))}", (pair, rows)) for pair, rows in pairs[:most]]
    fig, laid_out = panels.in_blocks(blocks, [[min(2.2, 7.4 / len(blocks))]] * len(blocks), 1.15)
    drawn_on: list[Axes] = []
    for (pair, part), (place,) in laid_out:
        [row] = panels.panels_at(fig, place, 2, share=False)
        for ax, column, title in zip(row, _FACTORS, ("train loss (nats)", "test error (%)"), strict=True):
            ax.set_title(title, loc="left")
            _plane_panel(ax, part[part["kind"] == "grid"], column)
            _marks(
                ax, part[part["kind"] == "point"], [_SHORT.get(name, method_label(name)) for name in pair.split(":")]
            )
        drawn_on += row
    handles: list[Artist] = [
        Line2D([], [], label="trained Bezier curve", path_effects=_HALO, **_BEZIER),
        Line2D([], [], label="straight line", **_STRAIGHT),
        Line2D([], [], linestyle="", label="minima", **_POINT),
        Line2D([], [], linestyle="", label="bend (control point)", **_BEND),
    ]
    notes = [
        "n = 1, no interval: the plane through both minima and the bend of the curve, batch-norm statistics "
        "recomputed at every point; axes: distance in weight space, the vertical one to another scale, as it says; "
        "levels of the loss are logarithmic",
        *(["White: no finite value"] if not np.isfinite(frame[list(_FACTORS)]).all(axis=None) else []),
        *(["Other seeds or pairs are in the table"] if hidden else []),
    ]
    panels.finish(fig, handles, drawn.scale, notes)
    # The panels have their sizes now; the label keeps its own.
    for ax in drawn_on:
        ax.set_ylabel(f"distance,\n{_stretch(ax)}")
    return fig


def _stretch(ax: Axes) -> str:
    """How much longer a distance is drawn along y than along x."""
    width, height = ax.bbox.size
    factor = float(height / np.ptp(ax.get_ylim()) / (width / np.ptp(ax.get_xlim())))
    times = f"{float(f'{max(factor, 1 / factor):.2g}'):g}"
    return "at the same scale" if times == "1" else f"{'stretched' if factor > 1 else 'shrunk'} {times}\u00d7"


def _plane_panel(ax: Axes, grid: pd.DataFrame, column: str) -> None:
    """Filled contours of a column with their colour bar."""
    ax.grid(False)
    ax.set_xlabel("distance in weight space")
    ax.set_ylabel("distance,\nstretched 10\u00d7")
    known = grid[np.isfinite(grid[column])]
    if min(known["x"].nunique(), known["y"].nunique()) < 2:
        panels.empty_panel(ax)
        return
    factor = _FACTORS[column]
    levels, norm, ticks = _levels(numbers(known, column, factor=factor)[0], logarithmic=column == "train_loss")
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
        return levels, LogNorm(levels[0], levels[-1]), panels.log_ticks(low, high)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    levels = [float(level) for level in MaxNLocator(11, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return levels, Normalize(levels[0], levels[-1]), style.thinned(levels, 6) if len(levels) < 7 else levels[::2]


def _marks(ax: Axes, points: pd.DataFrame, names: list[str]) -> None:
    """The minima, the bend, the line and the curve between them."""
    points = points[np.isfinite(points[["x", "y"]]).all(axis=1)].drop_duplicates("point").set_index("point")
    at = {
        name: points.loc[name, ["x", "y"]].to_numpy(dtype=np.float64)
        for name in ("a", "b", "bend")
        if name in points.index
    }
    if "a" in at and "b" in at:
        (line,) = ax.plot(*np.array([at["a"], at["b"]]).T, zorder=3, **_STRAIGHT)
        line.set_path_effects([Stroke(linewidth=2.4, foreground="white"), Normal()])
        if "bend" in at:
            t = np.linspace(0.0, 1.0, 101)[:, None]
            bezier = (1 - t) ** 2 * at["a"] + 2 * t * (1 - t) * at["bend"] + t**2 * at["b"]
            ax.plot(*bezier.T, zorder=4, path_effects=_HALO, **_BEZIER)
    for name, place in at.items():
        ax.plot(*place, zorder=5, **_BEND if name == "bend" else _POINT)
    middle = np.mean([place[0] for place in at.values()]) if at else 0.0
    bottom, top = ax.get_ylim()
    for name, text in zip("ab", names, strict=True):
        if name in at:
            right = at[name][0] > middle
            # Below the minimum, inwards, where the plane has room for a line; else above it.
            above = at[name][1] - bottom < 0.12 * (top - bottom)
            how: dict[str, Any] = {"ha": "right" if right else "left", "va": "bottom" if above else "top"}
            how |= {"textcoords": "offset points", "fontsize": SMALL, "zorder": 6}
            label = ax.annotate(text, at[name], (-4 if right else 4, 5 if above else -5), **how)
            label.set_path_effects([Stroke(linewidth=2.0, foreground="white"), Normal()])


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
    frame, spectrum = rows_in(drawn.tables, "curvature"), rows_in(drawn.tables, "spectrum")
    ks = sorted(int(k) for k in frame["k"].unique())
    looks = {(pair, k): _displaced(pair, nth, k) for pair in dict.fromkeys(frame["pair"]) for nth, k in enumerate(ks)}
    greys = sns.color_palette("Greys", as_cmap=True)(0.85 - 0.3 * np.arange(len(ks)) / max(1, len(ks) - 1))
    chances = {
        k: Look(f"chance, sqrt(k/d), k = {k}", mpl.colors.to_hex(grey), "", DOTS, 1.1 + 0.2 * nth)
        for nth, (k, grey) in enumerate(zip(ks, greys, strict=True))
    }
    ranks = _rank_looks(sorted(int(rank) for rank in spectrum["rank"].unique()))
    blocks = panels.blocks_of(frame, "task")
    fig, laid_out = panels.in_blocks(blocks, [[2.2 if len(blocks) < 3 else 2.0]] * len(blocks), 1.75)
    for part, (place,) in laid_out:
        [(left, middle, right)] = panels.panels_at(fig, place, 3, share=False)
        _over_epochs(left, part, "share", looks, tuple(part["chance"]))
        for k, look in chances.items():
            for level in part.loc[part["k"] == k, "chance"][:1]:
                left.axhline(level, color=look.color, linestyle=look.dash, linewidth=look.width, zorder=1.2)
        _over_epochs(middle, part, "quadratic", looks)
        _spectrum(right, spectrum[spectrum["task"] == part["task"].iloc[0]], ranks)
        left.set_ylabel("share of \u2016\u0394w\u2016 in the\ntop-k eigenspace")
        middle.set_ylabel("quadratic form, top k (nats)")
        right.set_ylabel("leading eigenvalues")
    handles = panels.handles_of(looks.values()) + panels.handles_of(chances.values())
    first, last = min(ranks), max(ranks)
    handles += panels.handles_of(ranks[rank] for rank in dict.fromkeys((first, last)))
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bars and band')}",
        "Eigenspaces: of the Hessian of the train loss at the SGD network of the same epoch. Left: "
        "\u2016P\u0394w\u2016 / \u2016\u0394w\u2016; dotted: what a random direction has. Middle: "
        "\u00bd \u03a3 \u03bb (v\u00b7\u0394w)\u00b2 over the top k. Right: by rank, "
        f"{first} to {last}; interval for the first alone",
        f"{panels.BEYOND}. Left and middle: markers are moved sideways a little",
        *(panels.off_log(frame, "share", "quadratic") or panels.off_log(spectrum, "eigenvalue")),
    ]
    return panels.finish(fig, handles, drawn.scale, notes)


def _displaced(pair: str, nth: int, k: int) -> Look:
    """The look of a pair's displacement in the `nth` eigenspace, of dimension k."""
    base = _DISPLACED.get(pair) or Look(" minus ".join(_ends(pair)), "#6A3D9A", "D", width=1.2)
    return replace(base, label=f"{base.label}, k = {k}", dash=_K_DASHES[nth % 4], size=base.size - 0.8 * (nth > 0))


def _rank_looks(ranks: list[int]) -> dict[int, Look]:
    """Looks of eigenvalues by rank; many have no markers."""
    marker, width = ("o", 0.9) if len(ranks) <= 12 else ("", 0.7)
    shades = sns.color_palette("viridis", as_cmap=True)(np.linspace(0.0, 0.9, len(ranks)))
    return {
        rank: Look(
            f"eigenvalue {rank}" + (" (largest)" if rank == 1 else ""),
            mpl.colors.to_hex(shade),
            marker,
            width=width,
            size=2.6,
        )
        for rank, shade in zip(ranks, shades, strict=True)
    }


def _over_epochs(
    ax: Axes, part: pd.DataFrame, column: str, looks: Mapping[tuple[str, int], Look], levels: tuple[float, ...] = ()
) -> None:
    """A column of the curvature table by pair and k; the axis shows the `levels` too."""
    log_axis(ax, *(np.append(values, levels) for values in values_of(part, column, 1.0)))
    epoch_axis(ax, part["epoch"])
    if panels.is_empty(ax, part, column):
        return
    part = part.assign(x=part["epoch"]).sort_values("epoch")
    groups = [(look, part[(part["pair"] == pair) & (part["k"] == k)]) for (pair, k), look in looks.items()]
    series = [(look, rows) for look, rows in groups if len(rows)]
    for (look, rows), x in zip(series, panels.shifted(ax, series, 0.009), strict=True):
        style.draw_points(ax, x, *values_of(rows, column, 1.0), look)


def _spectrum(ax: Axes, rows: pd.DataFrame, looks: Mapping[int, Look]) -> None:
    if panels.is_empty(ax, rows, "eigenvalue"):
        return
    rows = rows.sort_values("epoch")
    # The first alone has an interval.
    rows = rows.assign(**{end: rows[end].where(rows["rank"] == rows["rank"].min()) for end in ("low", "high")})
    log_axis(ax, *values_of(rows, "eigenvalue", 1.0))
    epoch_axis(ax, rows["epoch"])
    for rank, look in looks.items():
        of_one = rows[rows["rank"] == rank]
        panels.curve(ax, look, of_one["epoch"].to_numpy(), *values_of(of_one, "eigenvalue", 1.0), marks=True)
