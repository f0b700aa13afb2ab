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
from matplotlib.ticker import MaxNLocator

from prunebench.papers.s_cyc.figures.common import criterion_text, looks_of_schedules
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import SMALL, Floats, Look, interval_text, pretty, seeds_text, wrapped

_HATCH: dict[str, Any] = {"edgecolor": "black", "linewidth": 0, "hatch": "xxx"}
_HALO = [Stroke(linewidth=3.2, foreground="white"), Normal()]


def oracle(drawn: Drawn) -> Figure:
    """Validation accuracy by cycle and max_lr, with what the oracle chose and what the S-shaped policy sets.

    Colour is the shortfall to the cycle's best max_lr, so that cycles of different accuracy compare; a bar
    spans the near-best values of max_lr. Beside it the oracle's test accuracy minus the schedule's, paired by seed.
    """
    grid, summary = drawn.tables["s_cyc_oracle_grid"], drawn.tables["s_cyc_oracle"]
    looks = looks_of_schedules(drawn.tables)
    cells = list(summary.groupby(["task", "criterion"], sort=False))
    fig = style.new_figure(1.3 + 2.9 * len(cells))
    axes = fig.subplots(len(cells), 2, squeeze=False, width_ratios=(1.9, 1.0))
    for (left, right), ((task, criterion), rows) in zip(axes, cells, strict=True):
        part = grid[(grid["task"] == task) & (grid["criterion"] == criterion)]
        rows = rows.sort_values("cycle")
        schedule = str(rows["schedule"].iloc[0])
        look = looks[schedule]
        _map(left, part, rows)
        _choices(left, part, rows, looks["oracle"], look)
        share = f"{pretty(schedule)} near-best in {int(rows['inside'].sum())} of {len(rows)} cycles"
        title = f"{task}, {criterion_text(criterion)}, {seeds_text(part['n'])}\n{share}"
        left.set_title(wrapped(title, 4.2), loc="left")
        _gap(right, rows)
        right.set_title(wrapped(f"oracle minus {pretty(schedule)},\n{seeds_text(rows['n'])}", 2.0), loc="left")
    handles = [
        Line2D([], [], label="oracle's choice", **looks["oracle"].line()),
        Line2D([], [], label=f"max_lr of {pretty(schedule)}", **look.line()),
        Line2D([], [], label="near-best interval", linestyle="", marker="|", color="black", markersize=9, mew=1.6),
    ]
    diverged = bool((grid["diverged"] > 0).any())
    notes = [
        "Left: mean validation accuracy (%) of each max_lr tried; near-best interval: from the lowest to the highest "
        "near-best max_lr that was tried; hollow circle: the nearest max_lr that was tried is not near-best; "
        "oracle's choice: geometric mean of the seeds' choices; right: test accuracy, "
        f"paired by seed, {interval_text(summary['n'])}",
        *(["A diverged seed counts as chance; d/n: d of n seeds"] if diverged else []),
    ]
    hatched = [Patch(facecolor="white", label="seeds diverged", **_HATCH)] if diverged else []
    return panels.finish(fig, [*handles, *hatched], drawn.scale, notes)


def _map(ax: Axes, part: pd.DataFrame, rows: pd.DataFrame) -> None:
    """The shortfall of each max_lr by cycle, with accuracies where cells have room."""
    cycles, rates = sorted(part["cycle"].unique()), np.sort(part["max_lr"].unique())
    score = part.pivot(index="max_lr", columns="cycle", values="validation_accuracy").reindex(rates, columns=cycles)
    shortfall = 100 * (score - score.max())
    edges = _log_edges(rates)
    deepest = max(2.0, min(10.0, -float(np.nanmin(shortfall.to_numpy(dtype=np.float64), initial=0.0))))
    palette, norm = mpl.colormaps["cividis"].with_extremes(bad="0.85"), Normalize(-deepest, 0)
    values, columns = np.ma.masked_invalid(shortfall), np.arange(len(cycles) + 1) - 0.5
    mesh = ax.pcolormesh(columns, edges, values, cmap=palette, norm=norm, edgecolors="white", linewidth=0.5)
    ax.set_yscale("log")
    of_policy = rows["schedule_max_lr"]
    ax.set_ylim(min(edges[0], 0.95 * float(of_policy.min())), max(edges[-1], 1.05 * float(of_policy.max())))
    ax.set_xlim(-0.5, len(cycles) - 0.5)
    ax.grid(False)
    for cell in part.itertuples():
        i, j = cycles.index(cell.cycle), int(np.searchsorted(rates, cell.max_lr))
        low, high = edges[j], edges[j + 1]
        if cell.diverged > 0:
            ax.add_patch(Rectangle((i - 0.5, low), 1, high - low, fill=False, zorder=2, **_HATCH))
        if _has_room(part) and math.isfinite(cell.validation_accuracy):
            shade = norm(shortfall.loc[cell.max_lr, cell.cycle])
            text = f"{100 * cell.validation_accuracy:.1f}"
            text += f"\n{int(cell.diverged)}/{int(cell.n)}" if cell.diverged > 0 else ""
            how: dict[str, Any] = {"ha": "left", "va": "top", "fontsize": SMALL, "zorder": 2.5}
            how |= {"bbox": {"facecolor": palette(shade), "pad": 0.6, "linewidth": 0}}
            ax.text(i - 0.46, high / (high / low) ** 0.08, text, color="white" if shade < 0.55 else "black", **how)
    sparsity = part.groupby("cycle")["sparsity"].mean().loc[cycles]
    style.spaced_labels(ax, np.arange(len(cycles), dtype=np.float64), [style.percent(value) for value in sparsity], 3.4)
    ax.set_xlabel("sparsity (% of weights pruned)")
    style.set_ticks(ax.yaxis, style.thinned(list(rates), 9))
    ax.set_ylabel("max_lr (log scale)")
    extend = "min" if np.nanmin(shortfall) < -deepest else "neither"
    bar = ax.figure.colorbar(mesh, ax=ax, extend=extend, pad=0.02)
    bar.set_label("below the cycle's\nbest (points)", fontsize=SMALL + 0.5)
    bar.outline.set_visible(False)


def _has_room(part: pd.DataFrame) -> bool:
    """Whether the map's cells are large enough for numbers."""
    return part["cycle"].nunique() <= 9 and part["max_lr"].nunique() <= 9


def _choices(ax: Axes, part: pd.DataFrame, rows: pd.DataFrame, chosen: Look, policy: Look) -> None:
    """Over the map: the near-best interval of each cycle, the policy's max_lr and the oracle's."""
    cycles = sorted(part["cycle"].unique())
    at = np.array([cycles.index(cycle) for cycle in rows["cycle"]])
    # Beside the printed accuracies, which stand at the left of their cells.
    lines_at = at + (0.13 if _has_room(part) else 0.0)
    bar: dict[str, Any] = {"color": "black", "linewidth": 1.6, "marker": "_", "markersize": min(7.0, 50 / len(cycles))}
    for i, low, high in zip(at, rows["low"], rows["high"], strict=True):
        ax.plot([i + 0.36, i + 0.36], [low, high], path_effects=_HALO, zorder=3, markeredgewidth=1.6, **bar)
    small = min(1.0, max(0.6, 12 / len(cycles)))
    how = policy.line() | {"linewidth": 1.4, "markersize": 6 * small, "zorder": 4}
    ax.plot(lines_at, rows["schedule_max_lr"], path_effects=_HALO, clip_on=False, **how)
    out = ~rows["inside"].to_numpy(dtype=bool)
    if out.any():
        how |= {"linestyle": "", "markerfacecolor": "white", "markeredgecolor": policy.color, "markeredgewidth": 1.3}
        ax.plot(lines_at[out], rows.loc[out, "schedule_max_lr"], clip_on=False, **how)
    how = chosen.line() | {"linewidth": 1.4, "markersize": 8 * small, "zorder": 5}
    ax.plot(lines_at, rows["oracle_max_lr"], path_effects=_HALO, clip_on=False, **how)


def _log_edges(rates: Floats) -> Floats:
    """Edges of cells around `rates` on a log axis: midway between neighbours."""
    logs = np.log(rates)
    if logs.size == 1:
        return np.exp(np.array([logs[0] - 0.35, logs[0] + 0.35]))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))


def _gap(ax: Axes, rows: pd.DataFrame) -> None:
    """The oracle's test accuracy minus the schedule's."""
    gap, low, high = panels.values_of(rows, "difference")
    ax.set_ylim(style.limits(np.append(gap, 0.0), low, high, reach=4.0, least=1.0))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    panels.level_line(ax)
    look = Look(label="", color="black", marker="o", dash=":", width=0.8, size=4.5, order=3.0)
    style.draw_points(ax, style.sparsity_position(rows["sparsity"]), gap, low, high, look, bars=1.1)
    if not np.isfinite(gap).any():
        ax.text(0.5, 0.5, "no paired seeds", transform=ax.transAxes, ha="center", color="0.3")
    style.sparsity_axis(ax, rows["sparsity"], 1.6)
    ax.set_ylabel("test accuracy (points)\n> 0: the oracle is better", fontsize=SMALL + 0.5)
    sns.despine(ax=ax)
