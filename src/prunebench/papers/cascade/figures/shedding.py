"""Figures of what is shed: curves, magnitudes, networks."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from prunebench.papers.cascade.figures import common
from prunebench.papers.cascade.figures.common import CONTROL, PRUNED, Setting
from prunebench.suite.report import forest, panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.forest import Effect, effects_of
from prunebench.suite.report.panels import bounds_of, values_of
from prunebench.suite.report.style import SMALL, Floats, interval_text, plain, pretty, seeds_text

_THRESHOLDS = {"relative": "shrunk: |w| < 5 % of before", "removable": "removable at 1 % more loss"}
"""The definitions of shed that claim B1 is decided by; the table has others."""


def shedding(drawn: Drawn) -> Figure:
    """Claim B1: what is shed over the epochs after pruning and in the control, and the excess at the end.

    A row per network and criterion: curves of the setting that sheds most, then the excess of every setting and dose by
    two definitions of shed.
    """
    ends, curves, margins = drawn.tables["cascade_shedding"], drawn.tables["cascade_shedding_curves"], drawn.margins
    dose = common.shown_dose(ends, margins.b1_dose)
    relative = curves[(curves["threshold"] == "relative") & np.isclose(curves["pruned_share"], dose)]
    blocks = []
    for (task, criterion), part in ends.groupby(["task", "criterion"], sort=False):
        of_block = relative[(relative["task"] == task) & (relative["criterion"] == criterion)]
        title = f"{task}, {pretty(criterion)}, {seeds_text(part['n'])}"
        blocks.append((title, (of_block, [_excesses(part, threshold) for threshold in _THRESHOLDS])))
    heights = [[max(1.9, forest.height(*effects))] for _, (_, effects) in blocks]
    fig, laid_out = panels.in_blocks(blocks, heights, 1.15)
    margin = [(100 * margins.b1_excess, f"B1: {100 * margins.b1_excess:g}")]
    for (of_block, effects), (place,) in laid_out:
        [(left, middle, right)] = panels.panels_at(fig, place, 3, widths=(0.95, 1.0, 1.0), share=False)
        _curves(left, of_block)
        for ax, rows, label in zip((middle, right), effects, _THRESHOLDS.values(), strict=True):
            forest.draw(ax, rows, margins=margin, least=5.0)
            ax.set_xlabel(f"excess at the end (points)\n{label}")
        # The settings are named once.
        right.tick_params(axis="y", labelleft=not effects[0] or not effects[1] or not _alike(*effects))
    runs = panels.handles_of((replace(PRUNED, label=f"pruned ({100 * dose:g} %)"), CONTROL), marker="")
    notes = [
        "Excess: shed survivors of the pruned network minus the control's, paired by seed, by learning rate (LR), "
        "weight decay (wd) and share pruned. Left: the setting that sheds most",
        f"Mean of seeds; {interval_text(ends['n'], 'bands and bars')}. B1: the excess that the claim asks for, after "
        f"pruning at most {100 * margins.b1_dose:g} %",
    ]
    return panels.finish(fig, runs, drawn.scale, notes)


def _alike(first: list[Effect], second: list[Effect]) -> bool:
    return [each.name for each in first] == [each.name for each in second]


def _excesses(part: pd.DataFrame, threshold: str) -> list[Effect]:
    """The excess at the end of every setting, by clock, and dose."""
    rows = part[part["threshold"] == threshold]
    several = part["pruned_share"].nunique() > 1
    return [
        effect
        for setting in common.settings_of(rows)
        for effect in effects_of(
            common.rows_of(rows, setting).sort_values("pruned_share"),
            "excess",
            lambda row: _setting_name(row, several),
            PRUNED,
        )
    ]


def _setting_name(row: Any, several: bool) -> str:
    """A setting in a line, and the dose where there are several."""
    dose = f", {100 * row.pruned_share:g} %" if several else ""
    return f"LR {plain(row.max_lr)}, wd {plain(row.weight_decay)}{dose}"


def _curves(ax: Axes, rows: pd.DataFrame) -> None:
    """Shedding in the pruned network and in its control, under the setting that sheds most."""
    ax.set_ylabel("shrunk survivors (%)")
    known = rows[np.isfinite(rows["pruned"])]
    if not len(known):
        panels.empty_panel(ax)
        return
    most = known.loc[known["pruned"].idxmax()]
    rows = common.rows_of(rows, (most["max_lr"], most["weight_decay"])).sort_values("epoch")
    low, high = bounds_of(rows, "pruned", (0.0, *values_of(rows, "control")[0]), least=10.0)
    ax.set_ylim(max(low, -1.0), min(high, 101.0))
    (epochs,) = panels.numbers(rows, "epoch")
    for column, look in (("control", CONTROL), ("pruned", PRUNED)):
        panels.curve(ax, look, epochs, *values_of(rows, column), shade=0.22)
    ax.set_xlim(0, float(epochs.max()) * 1.03)
    ax.set_title(f"LR {plain(most['max_lr'])}, weight decay {plain(most['weight_decay'])}", loc="left")
    ax.set_xlabel("epochs since pruning")


def histograms(drawn: Drawn) -> Figure:
    """|w| of the survivors: just pruned, and at the end with and without pruning, per network and setting."""
    frame = drawn.tables["cascade_magnitudes"]
    dose = common.shown_dose(frame, drawn.margins.b1_dose)
    frame = frame[np.isclose(frame["pruned_share"], dose)]
    keys = ["task", "criterion", "max_lr", "weight_decay", "run", "moment"]
    edges = np.sort(frame["left"].unique())
    first, last = _reach(frame, keys, edges)
    frame = frame.assign(bin=np.clip(np.searchsorted(edges, frame["left"]), first, last))
    tallest = frame.groupby([*keys, "bin"])["weights_share"].sum().max()
    blocks = panels.blocks_of(frame, "task", "criterion")
    fig, laid_out = panels.in_lines(blocks, [common.settings_of(part) for _, part in blocks], 6, 1.75, 1.1)
    for part, lines, _ in laid_out:
        for chunk, [row] in lines:
            for ax, setting in zip(row, chunk, strict=True):
                _outlines(ax, common.rows_of(part, setting), edges, first, last)
                ax.set_title(common.setting_text(part, setting), loc="left", fontsize=SMALL + 0.5)
                ax.set_ylim(0, 105 * tallest if tallest > 0 else 1.0)
                ax.set_xlabel("|w|", labelpad=1.0)
            row[0].set_ylabel("% of survivors per bin")
    handles: list[Artist] = [
        Line2D([], [], color="0.45", linestyle=panels.DOTS, linewidth=1.0, label="just pruned"),
        *panels.handles_of([replace(PRUNED, label="end, pruned", width=1.2)], marker=""),
        Patch(facecolor=CONTROL.color, alpha=0.35, label=f"end, {CONTROL.label}"),
    ]
    notes = [
        f"Magnitudes of the weights that survive pruning {100 * dose:g} %, seeds pooled ({seeds_text(frame['n'])}), "
        "without bars; four bins per decade of a log axis; the first and the last bin shown hold all that lies beyond",
        f"Control: the same weights in a network trained alike but not pruned. {common.CLOCK}",
    ]
    return panels.finish(fig, handles, drawn.scale, notes)


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
    ax.stairs(start, steps, color="0.45", linewidth=1.0, linestyle=panels.DOTS, zorder=1.6)
    control, pruned = heights("control", "end"), heights("pruned", "end")
    # An area under a line: where the line follows its edge, pruning changed nothing.
    if control.any():
        ax.stairs(control, steps, fill=True, color=CONTROL.color, alpha=0.35, linewidth=0, zorder=1.5)
    if pruned.any():
        ax.stairs(pruned, steps, color=PRUNED.color, linewidth=1.2, zorder=PRUNED.order)
    ax.set_xlim(first, last + 1)
    logs = [(nth, math.log10(edge)) for nth, edge in enumerate(edges) if edge > 0 and first <= nth <= last + 1]
    powers = {float(nth): plain(10.0 ** round(log)) for nth, log in logs if abs(log - round(log)) < 0.01}
    style.spaced_labels(ax, np.array(list(powers), dtype=np.float64), list(powers.values()), 0.9)


def networks(drawn: Drawn) -> Figure:
    """Claim B3: excess shedding and what random pruning costs, with the networks side by side."""
    shed, criteria, margins = drawn.tables["cascade_shedding"], drawn.tables["cascade_criteria"], drawn.margins
    tasks = dict.fromkeys([*shed["task"], *criteria["task"]])
    looks = {task: replace(look, label=task) for task, look in panels.looks_of(tasks, common.NETWORKS).items()}
    dose = common.shown_dose(shed, margins.b1_dose)
    rows = shed[np.isclose(shed["pruned_share"], dose) & (shed["threshold"] == "relative")]
    several = rows["criterion"].nunique() > 1
    excess = [
        effect
        for setting in _compared(rows)
        for effect in effects_of(
            common.rows_of(rows, setting), "excess", lambda row: _excess_name(row, several), lambda row: looks[row.task]
        )
    ]
    random = [name for name in common.criterion_looks(drawn.tables) if "random" in name]
    gaps = criteria[(criteria["prelude"] == "none") & criteria["criterion"].isin(random)]
    # Global magnitude minus random: the table has the opposite sign.
    gaps = gaps.assign(gap=-gaps["difference"], gap_low=-gaps["difference_high"], gap_high=-gaps["difference_low"])
    gaps = gaps.sort_values(["criterion", "sparsity"], kind="stable")
    costs = effects_of(gaps, "gap", _gap_name(gaps["sparsity"].nunique() > 1), lambda row: looks[row.task])
    fig = style.new_figure(1.45 + forest.height(excess, costs))
    left, right = fig.subplots(1, 2)
    forest.draw(left, excess, margins=[(100 * margins.b1_excess, f"B1: {100 * margins.b1_excess:g}")], least=5.0)
    left.set_title(f"Shedding, {100 * dose:g} % pruned, {seeds_text(rows['n'])}", loc="left", pad=14)
    left.set_xlabel("excess at the end (points)")
    forest.draw(right, costs, least=2.0)
    right.set_title(f"Cost of random pruning, {seeds_text(gaps['n'])}", loc="left", pad=14)
    right.set_xlabel("test accuracy of global magnitude\nminus that of random pruning (points)")
    notes = [
        "Excess: survivors that shrank below 5 % of their value, minus those of the control, trained alike but not "
        "pruned. Settings under which every network ran",
        f"Mean of seeds, paired by seed; {interval_text(pd.concat([rows['n'], gaps['n']]))}",
    ]
    return panels.finish(fig, panels.handles_of(looks.values(), dash=""), drawn.scale, notes)


def _compared(rows: pd.DataFrame) -> list[Setting]:
    """The settings that every network has, all where there is none."""
    order = common.settings_of(rows)
    every = rows["task"].nunique()
    return [each for each in order if common.rows_of(rows, each)["task"].nunique() == every] or order


def _excess_name(row: Any, several: bool) -> str:
    return f"LR {plain(row.max_lr)}, wd {plain(row.weight_decay)}" + (f", {pretty(row.criterion)}" if several else "")


def _gap_name(several: bool) -> Any:
    return lambda row: pretty(row.criterion) + (f", {style.percent(row.sparsity)} %" if several else "")
