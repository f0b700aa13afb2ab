"""Figures of what is shed: curves, magnitudes, networks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from prunebench.papers.cascade.figures import common
from prunebench.papers.cascade.figures.common import CONTROL, PRUNED, Setting
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import Span, bounds_of, values_of
from prunebench.suite.report.style import SMALL, Floats, Look, interval_text, plain, pretty, seeds_text, wrapped

_THRESHOLDS = {
    "relative": "relative: |w| < 5 %\nof before pruning",
    "absolute": "absolute: |w| < \u03c4,\nthe pruned weights' bound",
    "removable": "removable: loss rises\nby < 1 % without them",
}


def shedding(drawn: Drawn) -> Figure:
    """Claim B1: shed survivors over the epochs after pruning, in the pruned network and its control, and the excess.

    Per network and criterion: one panel per setting, ordered by clock, at one dose; below, the excess at the end for
    every dose and definition of shed.
    """
    ends, curves, margins = drawn.tables["cascade_shedding"], drawn.tables["cascade_shedding_curves"], drawn.margins
    dose = common.shown_dose(ends, margins.b1_dose)
    relative = curves[(curves["threshold"] == "relative") & np.isclose(curves["pruned_share"], dose)]
    doses = panels.graded_looks(
        sorted(ends["pruned_share"].unique()), "flare", lambda share: f"{100 * share:g} % pruned (lower row)"
    )
    blocks = panels.blocks_of(ends, "task", "criterion")
    settings = [common.settings_of(part) for _, part in blocks]
    fig, laid_out = panels.in_lines(blocks, settings, 6, 2.6, 1.1, below=[1.45], heights=(1.0, 0.9))
    always = (0.0, 100 * margins.b1_excess)
    low, high = bounds_of(relative, "pruned", tuple(values_of(relative, "control")[0]), least=10.0)
    shed_span = max(low, 0.0) if low > 2 else -1.0, min(high, 101.0)
    excess_span = bounds_of(relative, "excess", always, least=10.0)
    end_span = bounds_of(ends, "excess", always, least=10.0)
    for part, lines, (place,) in laid_out:
        first = part.iloc[0]
        of_block = relative[(relative["task"] == first["task"]) & (relative["criterion"] == first["criterion"])]
        for chunk, (tops, bottoms) in lines:
            tops[0].set_ylim(shed_span)
            bottoms[0].set_ylim(excess_span)
            for top, bottom, setting in zip(tops, bottoms, chunk, strict=True):
                top.set_title(common.setting_text(part, setting), loc="left", fontsize=SMALL + 0.5)
                _curves(top, bottom, common.rows_of(of_block, setting).sort_values("epoch"))
                common.claim_line(bottom, margins.b1_excess, named=bottom is bottoms[-1])
            tops[0].set_ylabel("S: shed\n(% of survivors)")
            bottoms[0].set_ylabel("excess\n(points)")
        _end_panels(fig, place, part, doses, end_span, margins.b1_excess)
    runs = panels.handles_of((replace(PRUNED, label=f"pruned ({100 * dose:g} %)"), CONTROL), marker="")
    notes = [
        f"Upper rows, {100 * dose:g} % pruned: S, the share of survivors with |w| below 5 % of its value before "
        "pruning, and excess, S of the pruned network minus S of the control over the same weights, paired by seed; "
        "epochs since pruning, linear up to the first update that was measured, logarithmic beyond",
        f"Mean of seeds; {interval_text(ends['n'], 'bands and bars')}",
        f"Dotted: the excess that claim B1 asks for after pruning at most {100 * margins.b1_dose:g} %. {common.CLOCK}",
        panels.BEYOND,
    ]
    return panels.finish(fig, [*runs, *panels.handles_of(doses.values())], drawn.scale, notes)


def _curves(top: Axes, bottom: Axes, rows: pd.DataFrame) -> None:
    """Shedding of a setting in the pruned network and in its control, and the excess."""
    panels.level_line(bottom)
    if not np.isfinite(rows[["pruned", "excess"]]).any(axis=None):
        for ax in (top, bottom):
            panels.empty_panel(ax)
        return
    (epochs,) = panels.numbers(rows, "epoch")
    for ax, column, look in ((top, "control", CONTROL), (top, "pruned", PRUNED), (bottom, "excess", PRUNED)):
        panels.curve(ax, look, epochs, *values_of(rows, column), shade=0.22)
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
    style.set_ticks(ax.xaxis, [*ticks, *([last] if last > 2.5 * ticks[-1] else [])])
    ax.set_xlim(0, last * 1.15)


def _end_panels(
    fig: Figure, place: Any, part: pd.DataFrame, doses: Mapping[float, Look], span: Span, margin: float
) -> None:
    """The excess at the end by setting and dose, a panel per definition of shed."""
    order = common.settings_of(part)
    shown = [name for name in _THRESHOLDS if (part["threshold"] == name).any()]
    [row] = panels.panels_at(fig, place, max(1, len(shown)))
    row[0].set_ylabel("excess at the\nend (points)")
    for ax, threshold in zip(row, shown, strict=False):
        rows = part[part["threshold"] == threshold]
        ax.set_ylim(span)
        panels.level_line(ax)
        common.claim_line(ax, margin, named=ax is row[-1])
        _by_setting(ax, rows, "pruned_share", doses, order, [""] * len(order))
        clocks = [common.clock_text(rows, setting) for setting in order]
        style.spaced_labels(ax, np.arange(len(order), dtype=np.float64), clocks, 5.8 / len(shown))
        ax.set_title(_THRESHOLDS[threshold], loc="left")
        ax.set_xlabel("clock, settings as above")


def _by_setting(
    ax: Axes, rows: pd.DataFrame, column: str, looks: Mapping[Any, Look], order: list[Setting], labels: list[str]
) -> None:
    """The excess, with a place per setting and a series per value of `column`."""
    places = [float(order.index(key)) for key in zip(rows["max_lr"], rows["weight_decay"], strict=True)]
    panels.category_panel(ax, panels.series_by(rows.assign(x=places), column, looks), "excess", labels)


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
    start: list[Artist] = [Patch(facecolor="0.8", edgecolor="0.5", label="just pruned")]
    ends = replace(PRUNED, label="end, pruned"), replace(CONTROL, label=f"end, {CONTROL.label}")
    notes = [
        f"Magnitudes of the weights that survive pruning {100 * dose:g} %, seeds pooled ({seeds_text(frame['n'])}), "
        "without bars; four bins per decade of a log axis; the first and the last bin shown hold all that lies beyond",
        f"Control: the same weights in a network trained alike but not pruned. {common.CLOCK}",
    ]
    return panels.finish(fig, [*start, *panels.handles_of(ends, marker="")], drawn.scale, notes)


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
    logs = [(nth, math.log10(edge)) for nth, edge in enumerate(edges) if edge > 0 and first <= nth <= last + 1]
    powers = {float(nth): plain(10.0 ** round(log)) for nth, log in logs if abs(log - round(log)) < 0.01}
    style.spaced_labels(ax, np.array(list(powers), dtype=np.float64), list(powers.values()), 0.9)


_SHORT = {"relative": "relative", "removable": "removable", "in_dead": "in dead filters"}

_SETTINGS_IN_WORDS = 8
"""So many settings have room for words at their ticks."""


def networks(drawn: Drawn) -> Figure:
    """Claim B3: excess shedding by setting, and what random pruning costs, with the networks side by side."""
    shed, criteria, margins = drawn.tables["cascade_shedding"], drawn.tables["cascade_criteria"], drawn.margins
    tasks = dict.fromkeys([*shed["task"], *criteria["task"]])
    looks = {task: replace(look, label=task) for task, look in panels.looks_of(tasks, common.NETWORKS).items()}
    dose = common.shown_dose(shed, margins.b1_dose)
    rows = shed[np.isclose(shed["pruned_share"], dose)]
    order = common.settings_of(rows)
    shown = [
        (criterion, threshold)
        for criterion in rows["criterion"].unique()
        for threshold in _SHORT
        if ((rows["threshold"] == threshold) & (rows["criterion"] == criterion)).any()
    ]
    random = [name for name in common.criterion_looks(drawn.tables) if "random" in name]
    gaps = criteria[(criteria["prelude"] == "none") & criteria["criterion"].isin(random)]
    # Global magnitude minus random: the table has the opposite sign.
    gaps = gaps.assign(gap=-gaps["difference"], gap_low=-gaps["difference_high"], gap_high=-gaps["difference_low"])
    heads = [f"Excess at the end, {100 * dose:g} % pruned, {seeds_text(rows['n'])}"]
    heads += [f"Cost of random pruning, {seeds_text(gaps['n'])}"]
    fig, places = panels.stacked([heads[0], 1.15 * len(shown) + 0.4, heads[1], 2.1], 1.1)
    upper = panels.panels_at(fig, places[0], 1, heights=(1.0,) * max(1, len(shown)))
    span = bounds_of(rows, "excess", (0.0, 100 * margins.b1_excess), least=10.0)
    dots = {task: replace(look, dash="") for task, look in looks.items()}
    for (ax,), (criterion, threshold) in zip(upper, shown, strict=False):
        part = rows[(rows["threshold"] == threshold) & (rows["criterion"] == criterion)]
        ax.set_ylim(span)
        panels.level_line(ax)
        if threshold != "in_dead":
            common.claim_line(ax, margins.b1_excess, named=True)
        _by_setting(ax, part, "task", dots, order, _setting_labels(rows, order))
        ax.set_ylabel(f"{_SHORT[threshold]}\n(points)")
        if rows["criterion"].nunique() > 1:
            ax.set_title(pretty(criterion), loc="left")
        ax.tick_params(axis="x", labelbottom=ax is upper[-1][0])
    _gap_panels(fig, places[1], gaps, [name for name in random if (gaps["criterion"] == name).any()], looks)
    small = ". At the ticks: learning rate, weight decay, clock" if len(order) > _SETTINGS_IN_WORDS else ""
    notes = [
        "Excess: share of survivors that are shed in the pruned network minus that in the control, trained alike but "
        "not pruned. Relative: |w| below 5 % of its value before pruning; removable: without them the loss rises by "
        "less than 1 %; in dead filters: in a filter or channel without any weight left",
        f"Mean of seeds; {interval_text(pd.concat([rows['n'], gaps['n']]))}; all is paired by seed",
        f"Dotted: claim B1's mark. {common.CLOCK}{small}",
        panels.BEYOND,
    ]
    return panels.finish(fig, panels.handles_of(looks.values()), drawn.scale, notes)


def _gap_panels(fig: Figure, place: Any, gaps: pd.DataFrame, criteria: list[str], looks: Mapping[str, Look]) -> None:
    """What each random criterion costs against sparsity."""
    [row] = panels.panels_at(fig, place, max(len(criteria), 1))
    row[0].set_ylabel("test accuracy (points)\n> 0: magnitude is better", fontsize=SMALL + 0.5)
    if not criteria:
        panels.empty_panel(row[0], "no random criterion")
        row[0].yaxis.set_major_locator(NullLocator())
        return
    row[0].set_ylim(bounds_of(gaps, "gap", (0.0,), least=2.0))
    for ax, criterion in zip(row, criteria, strict=True):
        panels.level_line(ax)
        series = panels.series_by(gaps[gaps["criterion"] == criterion], "task", looks)
        panels.sparsity_panel(ax, series, "gap", 6.0 / len(criteria))
        ax.set_title(wrapped(f"global magnitude minus\n{pretty(criterion)}", 6.6 / len(criteria)), loc="left")


def _setting_labels(rows: pd.DataFrame, order: list[Setting]) -> list[str]:
    texts = [common.setting_text(rows, setting) for setting in order]
    if len(order) <= _SETTINGS_IN_WORDS:
        return texts
    return ["\n".join(line.split()[-1] for line in text.split("\n")) for text in texts]
