"""Figures of LR schedules and of accuracy under them (claims A3, A4, A7)."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from prunebench.papers.s_cyc.figures.common import criterion_text, looks_of_schedules
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import (
    WIDTH,
    Look,
    cross,
    draw_points,
    footer,
    interval_text,
    label_bottoms,
    legend_above,
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

# --- Figure 3


def lr_schedules(drawn: Drawn) -> Figure:
    """Learning rate over the chain of pruning cycles, one panel per schedule, with the envelope max_lr(cycle)."""
    tables, scale = drawn.tables, drawn.scale
    frame = tables["s_cyc_lr_schedules"]
    looks = looks_of_schedules(tables)
    names = [name for name in looks if name in set(frame["schedule"])]
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    fig = new_figure(0.7 + 1.45 * lines)
    axes = fig.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    last = int(frame["cycle"].max())
    top = float(max(frame["lr"].max(), frame["max_lr"].max()))
    for ax, name in zip(axes.flat, names, strict=False):
        rows = frame[frame["schedule"] == name].sort_values(["cycle", "share"])
        look = looks[name]
        envelope = rows.groupby("cycle")["max_lr"].first()
        ax.stairs(
            envelope,
            np.append(envelope.index, envelope.index[-1] + 1),
            color="0.35",
            linewidth=1.0,
            linestyle=(0, (2.0, 1.2)),
            baseline=None,
            zorder=3,
        )
        # A gap between cycles: the LR starts anew, no line leads from one cycle's end to the next one's start.
        for _, cycle in rows.groupby("cycle"):
            ax.plot(cycle["cycle"] + cycle["share"], cycle["lr"], color=look.color, linewidth=1.2, zorder=2)
        ax.set_title(wrapped(f"{pretty(name)}\n{rows['role'].iloc[0]}", WIDTH / columns - 0.3), loc="left")
        ax.set_xlim(0, last + 1)
        ax.set_ylim(0, 1.08 * top if top > 0 else 1.0)
        ax.xaxis.set_major_locator(FixedLocator(range(0, last + 1, math.ceil((last + 1) / 7))))
        ax.grid(True, axis="x")
        ax.tick_params(axis="x", labelbottom=True)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    label_bottoms(axes, len(names), "pruning cycle")
    for ax in axes[:, 0]:
        ax.set_ylabel("learning rate")
    handles = [
        Line2D([], [], color="0.35", linestyle=(0, (2.0, 1.2)), label="max_lr of the cycle"),
        Line2D([], [], color="0.6", linewidth=1.2, label="learning rate (colour: schedule)"),
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=2)
    notes = ["From the configuration. Cycle 0 is dense; vertical lines: starts of pruning cycles"]
    footer(fig, scale, notes)
    return fig


# --- Figure 4


def accuracy(drawn: Drawn) -> Figure:
    """Test accuracy against sparsity by schedule, and below it the paired difference to the best benchmark.

    One pair of panels per task and criterion. The best benchmark of a sparsity is the one with the highest mean
    validation accuracy there. Markers are side by side for clarity: their sparsity is that of the tick.
    """
    tables, scale = drawn.tables, drawn.scale
    frame = tables["s_cyc_accuracy"]
    every = looks_of_schedules(tables)
    present = set(frame["schedule"])
    looks = {name: look for name, look in every.items() if name in present}
    facets = list(frame.groupby(["task", "criterion"], sort=False))
    columns = min(3, len(facets))
    blocks = math.ceil(len(facets) / columns)
    fig = new_figure(1.3 + 4.1 * blocks)
    axes = fig.subplots(2 * blocks, columns, squeeze=False)
    inches = WIDTH / columns - 0.55
    for place, ((task, criterion), cell) in enumerate(facets):
        top, bottom = axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
        _accuracy_panels(top, bottom, frame[frame["task"] == task], cell, looks, inches)
        title = f"{task}\n{criterion_text(criterion)}, {seeds_text(cell['n'])}"
        top.set_title(wrapped(title, inches + 0.3), loc="left")
        if place % columns == 0:
            top.set_ylabel("test accuracy (%)")
            bottom.set_ylabel("difference to the best\nbenchmark (points)")
    for place in range(len(facets), blocks * columns):
        for ax in axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]:
            ax.set_axis_off()
    handles = [Line2D([], [], label=look.label, **look.line()) for look in looks.values()]
    if (frame["diverged"] > 0).any():
        handles.append(cross("seeds diverged, counted as chance"))
    legend_above(fig, handles)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences are paired by seed, without bars for benchmarks",
        "Best benchmark: chosen on validation accuracy at each sparsity, where it lies at 0",
        "Triangles at an edge: a point or bar goes on beyond the axis. Markers are moved sideways a little",
    ]
    footer(fig, scale, notes)
    return fig


def _accuracy_panels(
    top: Axes, bottom: Axes, task: pd.DataFrame, cell: pd.DataFrame, looks: Mapping[str, Look], inches: float
) -> None:
    here = [name for name in looks if name in set(cell["schedule"])]
    low, high = limits(task["test_accuracy"], task["ci_low"], task["ci_high"], reach=0.25, least=0.02)
    top.set_ylim(100 * max(low, 0.0), min(100 * high, 101.0))
    # Benchmarks far below would flatten the differences that the claim is about: they may leave the axis, marked.
    of_claim = task[(task["role"] != "benchmark") & task["difference"].notna()]
    of_claim = of_claim if len(of_claim) else task
    low, high = limits(
        np.append(of_claim["difference"], 0.0), of_claim["difference_low"], of_claim["difference_high"], 0.6, 0.01
    )
    bottom.set_ylim(100 * low, 100 * high)
    bottom.axhline(0, color="0.3", linewidth=0.9, zorder=1)
    spots = np.unique(sparsity_position(cell["sparsity"]))
    gap = spacing(spots)
    step = 0.75 * gap / max(len(here), 4)
    for nth, name in enumerate(here):
        rows = cell[cell["schedule"] == name].sort_values("cycle")
        x = sparsity_position(rows["sparsity"]) + (nth - (len(here) - 1) / 2) * step
        value = {
            column: 100 * rows[column].to_numpy(dtype=np.float64)
            for column in ("test_accuracy", "ci_low", "ci_high", "difference", "difference_low", "difference_high")
        }
        # A share of 1 bounds accuracy: the t interval does not know.
        ci_low, ci_high = np.clip(value["ci_low"], 0, 100), np.clip(value["ci_high"], 0, 100)
        draw_points(top, x, value["test_accuracy"], ci_low, ci_high, looks[name], bars=0.6)
        quiet = replace(looks[name], width=0.6 * looks[name].width)
        benchmark = (rows["role"] == "benchmark").to_numpy()
        gap_low, gap_high = (np.where(benchmark, np.nan, value[f"difference_{end}"]) for end in ("low", "high"))
        draw_points(bottom, x, value["difference"], gap_low, gap_high, quiet, bars=0.9)
        mark_diverged(top, x, value["test_accuracy"], rows["diverged"], rows["n"])
    for ax in (top, bottom):
        ax.set_xlim(spots[0] - 0.65 * gap, spots[-1] + 0.65 * gap)
        sparsity_axis(ax, list(cell["sparsity"]), inches, label=ax is bottom)


# --- Figure 5
