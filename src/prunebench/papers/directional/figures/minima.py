"""Figures of minima: paths and planes between them, curvature along their difference."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from prunebench.papers.directional.figures.common import epoch_axis, method_label, rows_in
from prunebench.suite import numbers as number
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import log_axis, values_of
from prunebench.suite.report.style import SMALL, WIDTH, Floats, Look, interval_text, plain, wrapped

_PATHS = {
    "curve": Look("trained Bezier curve", "#D55E00", "", width=1.6, order=4.0),
    "line": Look("straight line", "#0072B2", "", (0, (4.0, 1.2)), width=1.3, order=3.0),
}


def _ends(pair: str) -> tuple[str, str]:
    a, _, b = pair.partition(":")
    return method_label(a), method_label(b)


def connectivity(drawn: Drawn) -> Figure:
    """Claim C6: training loss along the trained curve and the straight line, a column per pair, with the barriers."""
    frame, barriers = rows_in(drawn.tables, "paths"), rows_in(drawn.tables, "connectivity")
    # Stale batch-norm statistics may raise the loss a thousandfold; the table has them.
    frame = frame[frame["statistics"] != "stale"]
    blocks = panels.blocks_of(frame, "task")
    pairs = list(dict.fromkeys(frame["pair"]))
    fig, laid_out = panels.in_lines(blocks, [pairs] * len(blocks), 4, 2.35, 1.2)
    for part, lines, _ in laid_out:
        task = str(part["task"].iloc[0])
        for chunk, [row] in lines:
            log_axis(row[0], *values_of(part, "train_loss", 1.0))
            for ax, pair in zip(row, chunk, strict=True):
                _path_panel(ax, part[part["pair"] == pair])
                control = "control: " if "grda" not in pair else ""
                title = wrapped("{}{}\nto {}".format(control, *_ends(pair)), 6.3 / min(4, len(pairs)), letter=0.52)
                of_pair = (
                    barriers[(barriers["task"] == task) & (barriers["pair"] == pair)] if len(barriers) else barriers
                )
                ax.set_title("\n".join([title, *_barriers(of_pair)]), loc="left", fontsize=SMALL + 0.5)
                ax.set_xlabel("position on the path")
            row[0].set_ylabel("training loss (nats, log)")
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands')}, in brackets the same. Barrier: highest loss on the path "
        "above that of its higher end, in nats. Batch-norm statistics recomputed at every point",
        _kinship(pairs),
    ]
    return panels.finish(fig, panels.handles_of(_PATHS.values()), drawn.scale, notes)


def _barriers(rows: pd.DataFrame) -> list[str]:
    """The barrier of each path of a pair, as a title says it."""
    lines = []
    for path, name in (("curve", "curve"), ("line", "line")):
        for row in rows[(rows["path"] == path) & np.isfinite(rows["barrier"])].itertuples():
            ends = number.interval(row.barrier_low, row.barrier_high, 2) if np.isfinite(row.barrier_low) else ""
            lines.append(f"{name}: {number.text(row.barrier, 2)} {ends}".strip())
    return lines


def _kinship(pairs: list[str]) -> str:
    """A note on what the runs of the pairs share."""
    notes = {
        "sgd_order": "SGD in another order of data shares only the initialisation",
        "sgd_init": "SGD with another initialisation shares neither",
    }
    used = [text for name, text in notes.items() if any(name in pair.split(":") for pair in pairs)]
    return "; ".join(["gRDA and SGD share initialisation and order of data", *used])


def _path_panel(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xlim(-0.02, 1.02)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if panels.is_empty(ax, rows, "train_loss", text="no values" if len(rows) else "not run"):
        return
    for path, look in _PATHS.items():
        part = rows[rows["path"] == path].sort_values("t")
        panels.curve(ax, look, part["t"].to_numpy(), *values_of(part, "train_loss", 1.0))


# --- The plane

_HALO = [Stroke(linewidth=3.2, foreground="white"), Normal()]
_SHORT = {"sgd_init": "SGD, other init.", "sgd_order": "SGD, other order"}
_BEZIER: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.6}
_STRAIGHT: dict[str, Any] = {"color": "black", "linewidth": 1.1, "linestyle": (0, (4.0, 1.5))}
_POINT: dict[str, Any] = {"marker": "o", "markersize": 5.5, "color": "white"}
_POINT |= {"markeredgecolor": "black", "markeredgewidth": 1.1}
_BEND = _POINT | {"marker": "D", "markersize": 4.0}


_PANELS = 3
"""Planes that a figure has room for."""


def plane(drawn: Drawn) -> Figure:
    """Claim C6: training loss in the plane through two minima and the bend of the curve between them."""
    frame = rows_in(drawn.tables, "planes")
    most = max(1, _PANELS // frame["task"].nunique())
    shown = []
    hidden = False
    for task, part in frame.groupby("task", sort=False):
        seed = int(part["seed"].iloc[0])
        pairs = list(part[part["seed"] == seed].groupby("pair", sort=False))
        hidden |= len(pairs) > most or part["seed"].nunique() > 1
        shown += [(f"{task}, seed {seed}", pair, rows) for pair, rows in pairs[:most]]
    hidden |= len(shown) > _PANELS
    shown = shown[:_PANELS]
    fig = style.new_figure(3.6)
    row = fig.subplots(1, len(shown), squeeze=False)[0]
    for ax, (title, pair, part) in zip(row, shown, strict=True):
        ax.set_title(wrapped(f"{title}\n{' and '.join(_ends(pair))}", WIDTH / len(row) - 0.4), loc="left")
        _plane_panel(ax, part[part["kind"] == "grid"])
        _marks(ax, part[part["kind"] == "point"], [_SHORT.get(name, method_label(name)) for name in pair.split(":")])
    handles: list[Artist] = [
        Line2D([], [], label="trained Bezier curve", path_effects=_HALO, **_BEZIER),
        Line2D([], [], label="straight line", **_STRAIGHT),
        Line2D([], [], linestyle="", label="minima", **_POINT),
        Line2D([], [], linestyle="", label="bend (control point)", **_BEND),
    ]
    notes = [
        "n = 1, no interval. Each cell of the grid is one evaluation of the training loss, with batch-norm statistics "
        "recomputed; distances in weight space, both axes to one scale",
        *(["White: no finite value"] if not np.isfinite(frame["train_loss"]).all() else []),
        *(["Other seeds or pairs are in the table"] if hidden else []),
    ]
    return panels.finish(fig, handles, drawn.scale, notes)


def _plane_panel(ax: Axes, grid: pd.DataFrame) -> None:
    """The training loss of each point of the grid as a cell, with the colour bar."""
    ax.grid(False)
    ax.set_aspect("equal")
    ax.set_xlabel("distance in weight space")
    known = grid[np.isfinite(grid["train_loss"])]
    if min(known["x"].nunique(), known["y"].nunique()) < 2:
        panels.empty_panel(ax)
        return
    values = known["train_loss"].to_numpy(dtype=np.float64)
    positive = values[values > 0]
    low = float(positive.min()) if positive.size else 1e-12
    high = max(float(values.max()), 1.2 * low)
    table = grid.pivot_table(index="y", columns="x", values="train_loss", dropna=False)
    shown = np.ma.masked_invalid(np.maximum(table.to_numpy(dtype=np.float64), low))
    palette = sns.color_palette("mako_r", as_cmap=True)
    edges = (_edges(axis.to_numpy(dtype=np.float64)) for axis in (table.columns, table.index))
    mesh = ax.pcolormesh(*edges, shown, cmap=palette, norm=LogNorm(low, high), edgecolors="face", linewidth=0.1)
    bar = ax.figure.colorbar(mesh, ax=ax, orientation="horizontal", pad=0.02, shrink=0.9)
    bar.ax.xaxis.set_minor_locator(NullLocator())
    ticks = panels.log_ticks(low, high, 4)
    bar.set_ticks(ticks)
    bar.set_ticklabels([plain(tick) for tick in ticks])
    bar.set_label("training loss (nats, log)", fontsize=SMALL + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4))


def _edges(centres: Floats) -> Floats:
    """Edges of cells around centres: midway between neighbours."""
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


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
    frame = rows_in(drawn.tables, "curvature")
    ks = sorted(int(k) for k in frame["k"].unique())
    looks = {(pair, k): _displaced(pair, nth, k) for pair in dict.fromkeys(frame["pair"]) for nth, k in enumerate(ks)}
    blocks = panels.blocks_of(frame, "task")
    fig, laid_out = panels.in_blocks(blocks, [[2.1]] * len(blocks), 1.45)
    for part, (place,) in laid_out:
        [(left, right)] = panels.panels_at(fig, place, 2, share=False)
        _over_epochs(left, part, "over_chance", looks, (1.0,))
        panels.level_line(left, 1.0)
        panels.text_beside(left, 1.0, "chance")
        _over_epochs(right, part, "quadratic", looks)
        left.set_ylabel("share in the leading\neigenspace over chance (log)")
        right.set_ylabel("loss it predicts\n(nats, log)")
        left.set_title(_at_the_end(part, "over_chance", "\u00d7 {}"), loc="left")
        right.set_title(_at_the_end(part, "quadratic", "{} nats"), loc="left")
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}. \u0394w: displacement from SGD's network to the other. Left: the "
        "share of \u2016\u0394w\u2016 that lies along the k leading eigenvectors of the Hessian of the training loss, "
        "over \u221a(k/d), which a random direction has",
        "Right: the rise of the loss that the curvature along them predicts, \u00bd \u03a3 \u03bb "
        "(v\u00b7\u0394w)\u00b2. In the titles: gRDA minus SGD at the last epoch",
        panels.SIDEWAYS,
        *panels.off_log(frame, "over_chance", "quadratic"),
    ]
    return panels.finish(fig, panels.handles_of(looks.values()), drawn.scale, notes)


def _at_the_end(part: pd.DataFrame, column: str, form: str) -> str:
    """gRDA's value at the last epoch in the smallest eigenspace, as a title says it."""
    rows = part[part["pair"].str.startswith("grda") & np.isfinite(part[column])]
    if not len(rows):
        return ""
    row = rows[rows["k"] == rows["k"].min()].sort_values("epoch").iloc[-1]
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    digits = min(3, number.decimals([row[column]], [(high - low) / 2]))
    ends = f" {number.interval(low, high, digits)}" if np.isfinite(low) else ""
    return form.format(number.text(row[column], digits)) + ends


def _displaced(pair: str, nth: int, k: int) -> Look:
    """The look of a pair's displacement in the `nth` eigenspace, of dimension k."""
    base = _DISPLACED.get(pair) or Look(" minus ".join(_ends(pair)), "#6A3D9A", "D", width=1.2)
    return replace(base, label=f"{base.label}, k = {k}", dash=_K_DASHES[nth % 4], size=base.size - 0.8 * (nth > 0))


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
