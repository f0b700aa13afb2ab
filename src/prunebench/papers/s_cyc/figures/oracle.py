"""The oracle's grid search (claims A2, A6)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from prunebench.papers.s_cyc.figures.common import criterion_text, looks_of_schedules
from prunebench.suite.report import forest, panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import SMALL, Look, interval_text, percent, plain, pretty, seeds_text

_MOST = 5
"""Cycles that a row has room for."""

_DEEPEST = 10.0
"""Points below the best: what lies deeper is marked at the edge."""

_GRID = Look("", "0.45", "o", width=1.0, size=4.5)


def oracle(drawn: Drawn) -> Figure:
    """Validation accuracy by max_lr in each cycle, with the oracle's choice and the schedule's max_lr.

    Below it the oracle's test accuracy minus the schedule's, paired by seed.
    """
    grid, summary = drawn.tables["s_cyc_oracle_grid"], drawn.tables["s_cyc_oracle"]
    looks = looks_of_schedules(drawn.tables)
    blocks = []
    for (task, criterion), rows in summary.groupby(["task", "criterion"], sort=False):
        part = grid[(grid["task"] == task) & (grid["criterion"] == criterion)]
        schedule = pretty(str(rows["schedule"].iloc[0]))
        near = f"{schedule} near-best in {int(rows['inside'].sum())} of {len(rows)} cycles"
        title = f"{task}, {criterion_text(criterion)}, {seeds_text(part['n'])}: {near}"
        shown = rows[rows["cycle"].isin(style.thinned(sorted(rows["cycle"].unique()), _MOST))].sort_values("cycle")
        gaps = forest.effects_of(shown, "difference", lambda row: f"{percent(row.sparsity)} % sparse", looks["oracle"])
        blocks.append((title, (part, shown, gaps, schedule)))
    fig, laid_out = panels.in_blocks(blocks, [[1.75, forest.height(gaps)] for _, (_, _, gaps, _) in blocks], 1.15)
    policy = looks[str(summary["schedule"].iloc[0])]
    for (part, shown, gaps, schedule), (upper, lower) in laid_out:
        [row] = panels.panels_at(fig, upper, len(shown), _MOST if len(blocks) > 1 else None)
        score = part.assign(below=100 * (part["validation_accuracy"] - _best(part)))
        row[0].set_ylim(_limits(score))
        row[0].yaxis.set_major_locator(MaxNLocator(4))
        row[0].set_ylabel("validation accuracy below\nthe cycle's best (points)")
        for ax, cycle in zip(row, shown.itertuples(), strict=True):
            _cycle(ax, score[score["cycle"] == cycle.cycle], cycle, looks["oracle"], policy)
        [[ax]] = panels.panels_at(fig, lower, 1)
        forest.draw(ax, gaps, none="no paired seeds")
        ax.set_xlabel(f"test accuracy of the oracle minus that of {schedule} (points; above 0: the oracle is better)")
    handles = [
        Line2D([], [], label="near-best max_lr", **_GRID.line() | {"linestyle": ""}),
        Line2D([], [], label="other max_lr tried", **_GRID.line() | {"linestyle": "", **_HOLLOW}),
        Line2D([], [], label="oracle's choice", color=looks["oracle"].color, linestyle=panels.DOTS, linewidth=1.6),
        Line2D(
            [], [], label=f"max_lr of {pretty(str(summary['schedule'].iloc[0]))}", color=policy.color, linewidth=1.6
        ),
    ]
    diverged = bool((grid["diverged"] > 0).any())
    notes = [
        "Oracle's choice: geometric mean of the seeds' choices by validation accuracy. Below: paired by seed, "
        f"{interval_text(summary['n'])}",
        *(["A diverged seed counts as chance; d/n: d of n seeds"] if diverged else []),
    ]
    return panels.finish(fig, handles, drawn.scale, notes)


_HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "0.45", "markeredgewidth": 0.9}


def _best(part: pd.DataFrame) -> pd.Series:
    return part.groupby("cycle")["validation_accuracy"].transform("max")


def _limits(score: pd.DataFrame) -> tuple[float, float]:
    low = max(-_DEEPEST, min(-1.0, float(np.nanmin(score["below"].to_numpy(dtype=np.float64), initial=0.0))))
    return 1.12 * low, -0.12 * low


def _cycle(ax: Axes, rows: pd.DataFrame, choice: Any, chosen: Look, policy: Look) -> None:
    """What each max_lr of a cycle reaches, and the two choices."""
    rows = rows.sort_values("max_lr")
    rates = rows["max_lr"].to_numpy(dtype=np.float64)
    ax.set_title(f"{percent(choice.sparsity)} % sparse" if choice.sparsity else "dense", loc="left")
    ax.set_xscale("log")
    ax.set_xlim(rates.min() / 1.6, rates.max() * 1.6)
    style.set_ticks(ax.xaxis, style.thinned(list(rates), 3), lambda rate: plain(float(f"{rate:.2g}")))
    ax.set_xlabel("max_lr")
    ax.axvline(choice.schedule_max_lr, color=policy.color, linewidth=1.6, zorder=1.4)
    ax.axvline(choice.oracle_max_lr, color=chosen.color, linewidth=1.6, linestyle=panels.DOTS, zorder=1.5)
    near = rows["near_best"].astype(str).to_numpy() == "True"
    below = rows["below"].to_numpy(dtype=np.float64)
    none = np.full_like(below, np.nan)
    style.draw_points(ax, rates, below, none, none, _GRID, hollow=~near)
    for rate, row in zip(rates, rows.itertuples(), strict=True):
        if row.diverged > 0:
            text = f"{int(row.diverged)}/{int(row.n)}"
            ax.annotate(text, (rate, ax.get_ylim()[0]), (0, 2), textcoords="offset points", fontsize=SMALL, ha="center")
