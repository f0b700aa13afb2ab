"""Figures of what is shed: curves, magnitudes, networks."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from prunebench.papers.cascade.figures.common import (
    CLOCK,
    CONTROL,
    NETWORKS,
    PRUNED,
    claim_line,
    clock_text,
    criterion_looks,
    rows_of,
    setting_text,
    settings_of,
    shown_dose,
)
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import (
    BEYOND,
    Series,
    blocks_of,
    bounds_of,
    chunks_of,
    empty_panel,
    finish,
    graded_looks,
    handles_of,
    level_line,
    looks_of,
    named_ticks,
    panel_row,
    series_by,
    side_by_side,
    sparsity_panel,
    stacked,
    values_of,
)
from prunebench.suite.report.style import (
    SMALL,
    Floats,
    interval_text,
    legend_above,
    plain,
    pretty,
    seeds_text,
    spaced_labels,
    thinned,
    wrapped,
)

_THRESHOLDS = {
    "relative": "relative: |w| < 5 %\nof before pruning",
    "absolute": "absolute: |w| < \u03c4,\nthe pruned weights' bound",
    "removable": "removable: loss rises\nby < 1 % without them",
    "in_dead": "in a dead filter\nor channel",
}


def shedding(drawn: Drawn) -> Figure:
    """Claim B1: shed survivors over the epochs after pruning, in the pruned network and its control, and the excess.

    Per network and criterion: one panel per setting, ordered by clock, at one dose; below, the excess at the end for
    every dose and definition of shed.
    """
    tables, scale, margins = drawn.tables, drawn.scale, drawn.margins
    ends, curves = tables["cascade_shedding"], tables["cascade_shedding_curves"]
    dose = shown_dose(ends, margins.b1_dose)
    relative = curves[(curves["threshold"] == "relative") & np.isclose(curves["pruned_share"], dose)]
    doses = graded_looks(
        sorted(ends["pruned_share"].unique()), "flare", lambda share: f"{100 * share:g} % pruned (lower row)"
    )
    blocks = blocks_of(ends, ("task", "criterion"))
    lines = [chunks_of(settings_of(part), 6) for _, part in blocks]
    rows: list[str | float] = []
    for (title, _), chunks in zip(blocks, lines, strict=True):
        rows += [title, *([2.6] * len(chunks)), 1.45]
    fig, places = stacked(rows, 1.1)
    spans = (
        bounds_of(relative, "pruned", tuple(values_of(relative, "control")[0]), least=10.0),
        bounds_of(relative, "excess", (0.0, 100 * margins.b1_excess), least=10.0),
        bounds_of(ends, "excess", (0.0, 100 * margins.b1_excess), least=10.0),
    )
    columns = max(len(chunk) for chunks in lines for chunk in chunks)
    place = iter(places)
    for (_, part), chunks in zip(blocks, lines, strict=True):
        first = part.iloc[0]
        here = relative[(relative["task"] == first["task"]) & (relative["criterion"] == first["criterion"])]
        for settings in chunks:
            grid = next(place).subgridspec(2, columns, height_ratios=(1.0, 0.9))
            tops, bottoms = panel_row(fig, grid, 0, len(settings)), panel_row(fig, grid, 1, len(settings))
            for top, bottom, setting in zip(tops, bottoms, settings, strict=True):
                top.set_title(setting_text(part, setting), loc="left", fontsize=SMALL + 0.5)
                _curves(top, bottom, rows_of(here, setting).sort_values("epoch"), spans[:2])
                claim_line(bottom, margins.b1_excess, named=bottom is bottoms[-1])
            tops[0].set_ylabel("S: shed\n(% of survivors)")
            bottoms[0].set_ylabel("excess\n(points)")
        shown = [name for name in ("relative", "absolute", "removable") if (part["threshold"] == name).any()]
        order = settings_of(part)
        panels = panel_row(fig, next(place).subgridspec(1, max(1, len(shown))), 0, max(1, len(shown)))
        for ax, threshold in zip(panels, shown, strict=False):
            of_one = part[part["threshold"] == threshold]
            ax.set_ylim(spans[2])
            level_line(ax)
            claim_line(ax, margins.b1_excess, named=ax is panels[-1])
            _setting_panel(
                ax, [(look, of_one[of_one["pruned_share"] == share]) for share, look in doses.items()], order
            )
            clocks = [clock_text(of_one, setting) for setting in order]
            spaced_labels(ax, np.arange(len(order), dtype=np.float64), clocks, 5.8 / len(shown))
            ax.set_title(_THRESHOLDS[threshold], loc="left")
            ax.set_xlabel("clock, settings as above")
        panels[0].set_ylabel("excess at the\nend (points)")
    runs = (replace(PRUNED, label=f"pruned ({100 * dose:g} %)", marker=""), replace(CONTROL, marker=""))
    legend_above(fig, handles_of((*runs, *doses.values())))
    notes = [
        f"Upper rows, {100 * dose:g} % pruned: S, the share of survivors with |w| below 5 % of its value before "
        "pruning, and excess, S of the pruned network minus S of the control over the same weights, paired by seed; "
        "epochs since pruning, linear up to the first update that was measured, logarithmic beyond",
        f"Mean of seeds; {interval_text(ends['n'], 'bands and bars')}",
        f"Dotted: the excess that claim B1 asks for after pruning at most {100 * margins.b1_dose:g} %. {CLOCK}",
        BEYOND,
    ]
    return finish(fig, scale, notes)


def _setting_panel(ax: Axes, series: Series, order: list[tuple[float, float]]) -> None:
    """The excess, with a place per setting."""
    place = {setting: float(nth) for nth, setting in enumerate(order)}

    def at(rows: pd.DataFrame) -> Floats:
        return np.array(
            [place[key] for key in zip(rows["max_lr"], rows["weight_decay"], strict=True)], dtype=np.float64
        )

    series = [(look, rows) for look, rows in series if len(rows)]
    side_by_side(ax, series, at, "excess")
    if not any(np.isfinite(rows["excess"]).any() for _, rows in series):
        empty_panel(ax, "no values")


def _curves(top: Axes, bottom: Axes, rows: pd.DataFrame, spans: tuple[tuple[float, float], ...]) -> None:
    top.set_ylim(max(spans[0][0], 0.0) if spans[0][0] > 2 else -1.0, min(spans[0][1], 101.0))
    bottom.set_ylim(spans[1])
    level_line(bottom)
    epochs = rows["epoch"].to_numpy(dtype=np.float64)
    for ax, column, look in ((top, "control", CONTROL), (top, "pruned", PRUNED), (bottom, "excess", PRUNED)):
        mean, low, high = values_of(rows, column)
        if not np.isfinite(mean).any():
            continue
        style = look.line() | ({"marker": ""} if np.isfinite(mean).sum() > 2 else {})
        ax.plot(epochs, mean, **style)
        ax.fill_between(epochs, low, high, color=look.color, alpha=0.22, linewidth=0, zorder=look.order - 0.5)
    if not np.isfinite(rows[["pruned", "excess"]]).any(axis=None):
        for ax in (top, bottom):
            empty_panel(ax, "no values")
        return
    for ax in (top, bottom):
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
    ticks += [last] if last > 2.5 * ticks[-1] else []
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0, last * 1.15)


def histograms(drawn: Drawn) -> Figure:
    """|w| of the survivors: just pruned, and at the end with and without pruning, per network and setting."""
    tables, scale = drawn.tables, drawn.scale
    frame = tables["cascade_magnitudes"]
    dose = shown_dose(frame, drawn.margins.b1_dose)
    frame = frame[np.isclose(frame["pruned_share"], dose)]
    keys = ["task", "criterion", "max_lr", "weight_decay", "run", "moment"]
    edges = np.sort(frame["left"].unique())
    first, last = _reach(frame, keys, edges)
    frame = frame.assign(bin=np.clip(np.searchsorted(edges, frame["left"]), first, last))
    tallest = frame.groupby([*keys, "bin"])["weights_share"].sum().max()
    blocks = blocks_of(frame, ("task", "criterion"))
    lines = [chunks_of(settings_of(part), 6) for _, part in blocks]
    rows: list[str | float] = []
    for (title, _), chunks in zip(blocks, lines, strict=True):
        rows += [title, *([1.75] * len(chunks))]
    fig, places = stacked(rows, 1.1)
    columns = max(len(chunk) for chunks in lines for chunk in chunks)
    place = iter(places)
    for (_, part), chunks in zip(blocks, lines, strict=True):
        for settings in chunks:
            panels = panel_row(fig, next(place).subgridspec(1, columns), 0, len(settings))
            for ax, setting in zip(panels, settings, strict=True):
                _outlines(ax, rows_of(part, setting), edges, first, last)
                ax.set_title(setting_text(part, setting), loc="left", fontsize=SMALL + 0.5)
                ax.set_ylim(0, 105 * tallest if tallest > 0 else 1.0)
                ax.set_xlabel("|w|", labelpad=1.0)
            panels[0].set_ylabel("% of survivors per bin")
    handles: list[Artist] = [Patch(facecolor="0.8", edgecolor="0.5", label="just pruned")]
    ends = replace(PRUNED, label="end, pruned", marker=""), replace(CONTROL, label=f"end, {CONTROL.label}", marker="")
    legend_above(fig, [*handles, *handles_of(ends)])
    notes = [
        f"Magnitudes of the weights that survive pruning {100 * dose:g} %, seeds pooled ({seeds_text(frame['n'])}), "
        "without bars; four bins per decade of a log axis; the first and the last bin shown hold all that lies beyond",
        f"Control: the same weights in a network trained alike but not pruned. {CLOCK}",
    ]
    return finish(fig, scale, notes)


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
    powers = [(nth, edge) for nth, edge in enumerate(edges) if edge > 0 and abs(math.log10(edge) % 1 - 0.5) > 0.49]
    shown = thinned([(nth, edge) for nth, edge in powers if first <= nth <= last + 1], 1000)
    texts = [plain(10.0 ** round(math.log10(edge))) for _, edge in shown]
    spaced_labels(ax, np.array([nth for nth, _ in shown], dtype=np.float64), texts, 0.9)


def networks(drawn: Drawn) -> Figure:
    """Claim B3: excess shedding by setting, and what random pruning costs, with the networks side by side."""
    tables, scale, margins = drawn.tables, drawn.scale, drawn.margins
    shed, criteria = tables["cascade_shedding"], tables["cascade_criteria"]
    tasks = dict.fromkeys([*shed["task"], *criteria["task"]])
    looks = {task: replace(look, label=task) for task, look in looks_of(tasks, NETWORKS).items()}
    dose = shown_dose(shed, margins.b1_dose)
    rows = shed[np.isclose(shed["pruned_share"], dose)]
    order = settings_of(rows)
    shown = [
        (criterion, threshold)
        for criterion in rows["criterion"].unique()
        for threshold in ("relative", "removable", "in_dead")
        if ((rows["threshold"] == threshold) & (rows["criterion"] == criterion)).any()
    ]
    random = [name for name in criterion_looks(tables) if "random" in name]
    gaps = criteria[(criteria["prelude"] == "none") & criteria["criterion"].isin(random)]
    # Global magnitude minus random: the table has the opposite sign.
    gaps = gaps.assign(gap=-gaps["difference"], gap_low=-gaps["difference_high"], gap_high=-gaps["difference_low"])
    heads = [f"Excess at the end, {100 * dose:g} % pruned, {seeds_text(rows['n'])}"]
    heads += [f"Cost of random pruning, {seeds_text(gaps['n'])}"]
    fig, places = stacked([heads[0], 1.15 * len(shown) + 0.4, heads[1], 2.1], 1.1)
    span = bounds_of(rows, "excess", (0.0, 100 * margins.b1_excess), least=10.0)
    grid = places[0].subgridspec(max(1, len(shown)), 1)
    for nth, (criterion, threshold) in enumerate(shown):
        ax = fig.add_subplot(grid[nth, 0])
        part = rows[(rows["threshold"] == threshold) & (rows["criterion"] == criterion)]
        ax.set_ylim(span)
        level_line(ax)
        if threshold != "in_dead":
            claim_line(ax, margins.b1_excess, named=True)
        _setting_panel(
            ax, [(replace(look, dash=""), part[part["task"] == task]) for task, look in looks.items()], order
        )
        ax.set_xlim(-0.6, len(order) - 0.4)
        ax.set_ylabel(f"{_SHORT[threshold]}\n(points)")
        if rows["criterion"].nunique() > 1:
            ax.set_title(pretty(criterion), loc="left")
        named_ticks(ax.xaxis, _setting_labels(rows, order))
        ax.tick_params(axis="x", labelbottom=nth == len(shown) - 1)
    here = [name for name in random if (gaps["criterion"] == name).any()]
    panels = panel_row(fig, places[1].subgridspec(1, max(len(here), 1)), 0, max(len(here), 1))
    if here:
        panels[0].set_ylim(bounds_of(gaps, "gap", (0.0,), least=2.0))
    else:
        empty_panel(panels[0], "no random criterion")
        panels[0].yaxis.set_major_locator(NullLocator())
    for ax, criterion in zip(panels, here, strict=False):
        part = gaps[gaps["criterion"] == criterion]
        level_line(ax)
        sparsity_panel(ax, series_by(part, "task", looks), "gap", 6.0 / len(here))
        ax.set_title(wrapped(f"global magnitude minus\n{pretty(criterion)}", 6.6 / len(here)), loc="left")
    panels[0].set_ylabel("test accuracy (points)\n> 0: magnitude is better", fontsize=SMALL + 0.5)
    legend_above(fig, handles_of(looks.values()))
    small = ". At the ticks: learning rate, weight decay, clock" if len(order) > _WORDED else ""
    notes = [
        "Excess: share of survivors that are shed in the pruned network minus that in the control, trained alike but "
        "not pruned. Relative: |w| below 5 % of its value before pruning; removable: without them the loss rises by "
        "less than 1 %; in dead filters: in a filter or channel without any weight left",
        f"Mean of seeds; {interval_text(pd.concat([rows['n'], gaps['n']]))}; all is paired by seed",
        f"Dotted: claim B1's mark. {CLOCK}{small}",
        BEYOND,
    ]
    return finish(fig, scale, notes)


_SHORT = {"relative": "relative", "removable": "removable", "in_dead": "in dead filters"}

_WORDED = 8
"""Settings that have room for words at their ticks."""


def _setting_labels(rows: pd.DataFrame, order: list[tuple[float, float]]) -> list[str]:
    texts = [setting_text(rows, setting) for setting in order]
    if len(order) <= _WORDED:
        return texts
    return ["\n".join(line.split()[-1] for line in text.split("\n")) for text in texts]
