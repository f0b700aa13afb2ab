"""The oracle's grid search (claims A2, A6)."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from prunebench.papers.s_cyc.figures.common import criterion_text, looks_of_schedules
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import (
    SMALL,
    Floats,
    Look,
    draw_points,
    footer,
    interval_text,
    legend_above,
    limits,
    new_figure,
    plain,
    pretty,
    seeds_text,
    sparsity_axis,
    sparsity_position,
    thinned,
    wrapped,
)


def oracle(drawn: Drawn) -> Figure:
    """Validation accuracy by cycle and max_lr, with what the oracle chose and what the S-shaped policy sets.

    Colour is the shortfall to the cycle's best max_lr, so that cycles of different accuracy compare; a bar
    spans the near-best values of max_lr. Beside it the oracle's test accuracy minus the schedule's, paired by seed.
    """
    tables, scale = drawn.tables, drawn.scale
    grid, summary = tables["s_cyc_oracle_grid"], tables["s_cyc_oracle"]
    looks = looks_of_schedules(tables)
    cells = list(summary.groupby(["task", "criterion"], sort=False))
    fig = new_figure(1.3 + 2.9 * len(cells))
    axes = fig.subplots(len(cells), 2, squeeze=False, width_ratios=(1.9, 1.0))
    diverged = bool((grid["diverged"] > 0).any())
    for (left, right), ((task, criterion), rows) in zip(axes, cells, strict=True):
        part = grid[(grid["task"] == task) & (grid["criterion"] == criterion)]
        rows = rows.sort_values("cycle")
        schedule = str(rows["schedule"].iloc[0])
        look = looks[schedule]
        _oracle_map(fig, left, part, rows, looks["oracle"], look)
        share = f"{pretty(schedule)} near-best in {int(rows['inside'].sum())} of {len(rows)} cycles"
        left.set_title(
            wrapped(f"{task}, {criterion_text(criterion)}, {seeds_text(part['n'])}\n{share}", 4.2), loc="left"
        )
        _oracle_gap(right, rows)
        right.set_title(wrapped(f"oracle minus {pretty(schedule)},\n{seeds_text(rows['n'])}", 2.0), loc="left")
    handles: list[Any] = [
        Line2D([], [], label="oracle's choice", **looks["oracle"].line()),
        Line2D([], [], label=f"max_lr of {pretty(schedule)}", **look.line()),
        Line2D([], [], label="near-best interval", linestyle="", marker="|", color="black", markersize=9, mew=1.6),
    ]
    if diverged:
        handles.append(Patch(facecolor="white", edgecolor="black", linewidth=0, hatch="xxx", label="seeds diverged"))
    legend_above(fig, handles)
    notes = [
        "Left: mean validation accuracy (%) of each max_lr tried; near-best interval: from the lowest to the highest "
        "near-best max_lr that was tried; hollow circle: the nearest max_lr that was tried is not near-best; "
        "oracle's choice: geometric mean of the seeds' choices; right: test accuracy, "
        f"paired by seed, {interval_text(summary['n'])}",
    ]
    if diverged:
        notes.append("A diverged seed counts as chance; d/n: d of n seeds")
    footer(fig, scale, notes)
    return fig


_INTERVAL: dict[str, Any] = {
    "color": "black",
    "linewidth": 1.6,
    "marker": "_",
    "markersize": 7,
    "markeredgewidth": 1.6,
}


def _oracle_map(fig: Figure, ax: Axes, part: pd.DataFrame, rows: pd.DataFrame, chosen: Look, policy: Look) -> None:
    cycles = sorted(part["cycle"].unique())
    rates = np.array(sorted(part["max_lr"].unique()))
    score = part.pivot(index="max_lr", columns="cycle", values="validation_accuracy").reindex(rates, columns=cycles)
    shortfall = 100 * (score - score.max())
    edges = _log_edges(rates)
    deepest = max(2.0, min(10.0, -float(np.nanmin(shortfall.to_numpy(dtype=np.float64), initial=0.0))))
    palette = mpl.colormaps["cividis"].with_extremes(bad="0.85")
    norm = Normalize(-deepest, 0)
    mesh = ax.pcolormesh(
        np.arange(len(cycles) + 1) - 0.5,
        edges,
        np.ma.masked_invalid(shortfall),
        cmap=palette,
        norm=norm,
        edgecolors="white",
        linewidth=0.5,
    )
    ax.set_yscale("log")
    bottom = min(edges[0], 0.95 * float(rows["schedule_max_lr"].min()))
    ax.set_ylim(bottom, max(edges[-1], 1.05 * float(rows["schedule_max_lr"].max())))
    ax.set_xlim(-0.5, len(cycles) - 0.5)
    ax.grid(False)
    told = len(cycles) <= 9 and len(rates) <= 9
    for cell in part.itertuples():
        i, j = cycles.index(cell.cycle), int(np.searchsorted(rates, cell.max_lr))
        low, high = edges[j], edges[j + 1]
        if cell.diverged > 0:
            ax.add_patch(
                Rectangle(
                    (i - 0.5, low), 1, high - low, fill=False, edgecolor="black", linewidth=0, hatch="xxx", zorder=2
                )
            )
        if told and math.isfinite(cell.validation_accuracy):
            dark = norm(shortfall.loc[cell.max_lr, cell.cycle]) < 0.55
            text = f"{100 * cell.validation_accuracy:.1f}"
            text += f"\n{int(cell.diverged)}/{int(cell.n)}" if cell.diverged > 0 else ""
            ax.text(
                i - 0.46,
                high / (high / low) ** 0.08,
                text,
                ha="left",
                va="top",
                fontsize=SMALL,
                zorder=2.5,
                color="white" if dark else "black",
                bbox={"facecolor": palette(norm(shortfall.loc[cell.max_lr, cell.cycle])), "pad": 0.6, "linewidth": 0},
            )
    halo = [Stroke(linewidth=3.2, foreground="white"), Normal()]
    at = np.array([cycles.index(cycle) for cycle in rows["cycle"]])
    # Beside the printed accuracies, which stand at the left of their cells.
    lines_at = at + (0.13 if told else 0.0)
    interval = _INTERVAL | {"markersize": min(7.0, 50 / len(cycles))}
    for i, low, high in zip(at, rows["low"], rows["high"], strict=True):
        ax.plot([i + 0.36, i + 0.36], [low, high], path_effects=halo, zorder=3, **interval)
    for order, (look, column) in enumerate(((policy, "schedule_max_lr"), (chosen, "oracle_max_lr"))):
        style = look.line() | {"linewidth": 1.4, "markersize": 6 if look is policy else 8, "zorder": 4 + order}
        style["markersize"] *= min(1.0, max(0.6, 12 / len(cycles)))
        ax.plot(lines_at, rows[column], path_effects=halo, clip_on=False, **style)
        if look is policy:
            out = ~rows["inside"].to_numpy(dtype=bool)
            style |= {
                "linestyle": "",
                "markerfacecolor": "white",
                "markeredgecolor": look.color,
                "markeredgewidth": 1.3,
            }
            if out.any():
                ax.plot(lines_at[out], rows.loc[out, column], clip_on=False, **style)
    sparsity = part.groupby("cycle")["sparsity"].mean().loc[cycles]
    sparsity_axis(ax, list(sparsity), 3.4, places=list(range(len(cycles))))
    shown = thinned(list(rates), 9)
    ax.yaxis.set_major_locator(FixedLocator(shown))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("max_lr (log scale)")
    bar = fig.colorbar(mesh, ax=ax, extend="min" if np.nanmin(shortfall) < -deepest else "neither", pad=0.02)
    bar.set_label("below the cycle's\nbest (points)", fontsize=SMALL + 0.5)
    bar.outline.set_visible(False)


def _log_edges(rates: Floats) -> Floats:
    """Edges of cells around `rates` on a log axis: midway between neighbours."""
    logs = np.log(rates)
    if logs.size == 1:
        return np.exp(np.array([logs[0] - 0.35, logs[0] + 0.35]))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))


def _oracle_gap(ax: Axes, rows: pd.DataFrame) -> None:
    gap, low, high = (
        100 * rows[name].to_numpy(dtype=np.float64) for name in ("difference", "difference_low", "difference_high")
    )
    ax.set_ylim(limits(np.append(gap, 0.0), low, high, reach=4.0, least=1.0))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.axhline(0, color="0.3", linewidth=0.9, zorder=1)
    look = Look(label="", color="black", marker="o", dash=":", width=0.8, size=4.5, order=3.0)
    draw_points(ax, sparsity_position(rows["sparsity"]), gap, low, high, look, bars=1.1)
    if not np.isfinite(gap).any():
        ax.text(0.5, 0.5, "no paired seeds", transform=ax.transAxes, ha="center", color="0.3")
    sparsity_axis(ax, list(rows["sparsity"]), 1.6)
    ax.set_ylabel("test accuracy (points)\n> 0: the oracle is better", fontsize=SMALL + 0.5)
    sns.despine(ax=ax)
