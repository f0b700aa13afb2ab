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
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import WIDTH, Look, interval_text, pretty, seeds_text, wrapped

_ENVELOPE = (0, (2.0, 1.2))


def lr_schedules(drawn: Drawn) -> Figure:
    """Learning rate over the chain of pruning cycles, one panel per schedule, with the envelope max_lr(cycle)."""
    frame = drawn.tables["s_cyc_lr_schedules"]
    looks = {name: look for name, look in looks_of_schedules(drawn.tables).items() if name in set(frame["schedule"])}
    fig, axes = panels.facets(len(looks), 4, 1.45, 0.7, sharex=True, sharey=True)
    last = int(frame["cycle"].max())
    top = float(frame[["lr", "max_lr"]].max(axis=None))
    for ax, (name, look) in zip(axes.flat, looks.items(), strict=False):
        rows = frame[frame["schedule"] == name].sort_values(["cycle", "share"])
        envelope = rows.groupby("cycle")["max_lr"].first()
        steps = np.append(envelope.index, envelope.index[-1] + 1)
        ax.stairs(envelope, steps, color="0.35", linewidth=1.0, linestyle=_ENVELOPE, baseline=None, zorder=3)
        # A gap between cycles: the LR starts anew, no line leads from one cycle's end to the next one's start.
        for _, cycle in rows.groupby("cycle"):
            ax.plot(cycle["cycle"] + cycle["share"], cycle["lr"], color=look.color, linewidth=1.2, zorder=2)
        ax.set_title(wrapped(f"{pretty(name)}\n{rows['role'].iloc[0]}", WIDTH / axes.shape[2] - 0.3), loc="left")
        ax.set_xlim(0, last + 1)
        ax.set_ylim(0, 1.08 * top if top > 0 else 1.0)
        ax.xaxis.set_major_locator(FixedLocator(range(0, last + 1, math.ceil((last + 1) / 7))))
        ax.grid(True, axis="x")
        ax.tick_params(axis="x", labelbottom=True)
    panels.label_facets(axes, len(looks), "pruning cycle", "learning rate")
    handles = [
        Line2D([], [], color="0.35", linestyle=_ENVELOPE, label="max_lr of the cycle"),
        Line2D([], [], color="0.6", linewidth=1.2, label="learning rate (colour: schedule)"),
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=2)
    notes = ["From the configuration. Cycle 0 is dense; vertical lines: starts of pruning cycles"]
    return panels.finish(fig, [], drawn.scale, notes)


def accuracy(drawn: Drawn) -> Figure:
    """Test accuracy against sparsity by schedule, and below it the paired difference to the best benchmark.

    One pair of panels per task and criterion. The best benchmark of a sparsity is the one with the highest mean
    validation accuracy there. Markers are side by side for clarity: their sparsity is that of the tick.
    """
    frame = drawn.tables["s_cyc_accuracy"]
    present = set(frame["schedule"])
    looks = {name: look for name, look in looks_of_schedules(drawn.tables).items() if name in present}
    cells = list(frame.groupby(["task", "criterion"], sort=False))
    fig, axes = panels.facets(len(cells), 3, 4.1, 1.3, rows=2)
    inches = WIDTH / axes.shape[2] - 0.55
    # By facet: (lines, rows, columns) -> (facets, rows).
    for (top, bottom), ((task, criterion), cell) in zip(axes.swapaxes(1, 2).reshape(-1, 2), cells, strict=False):
        _accuracy_panels(top, bottom, frame[frame["task"] == task], cell, looks, inches)
        title = f"{task}\n{criterion_text(criterion)}, {seeds_text(cell['n'])}"
        top.set_title(wrapped(title, inches + 0.3), loc="left")
    for top, bottom in axes[:, :, 0]:
        top.set_ylabel("test accuracy (%)")
        bottom.set_ylabel("difference to the best\nbenchmark (points)")
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences are paired by seed, without bars for benchmarks",
        "Best benchmark: chosen on validation accuracy at each sparsity, where it lies at 0",
        panels.SIDEWAYS,
    ]
    return panels.finish(fig, [*panels.handles_of(looks.values()), *panels.diverged_crosses(frame)], drawn.scale, notes)


def _accuracy_panels(
    top: Axes, bottom: Axes, task: pd.DataFrame, cell: pd.DataFrame, looks: Mapping[str, Look], inches: float
) -> None:
    """Accuracy and differences of a criterion; the axes show those of the whole task."""
    top.set_ylim(panels.bounds_of(task.drop(columns="diverged"), "test_accuracy", least=2.0, reach=0.25))
    # Benchmarks far below would flatten the differences that the claim is about: they may leave the axis, marked.
    of_claim = task[(task["role"] != "benchmark") & task["difference"].notna()].drop(columns="diverged")
    of_claim = of_claim if len(of_claim) else task
    bottom.set_ylim(panels.bounds_of(of_claim, "difference", (0.0,), least=1.0, reach=0.6))
    panels.level_line(bottom)
    series = panels.on_sparsity(panels.series_by(cell, "schedule", looks))
    for (look, rows), x in zip(series, panels.places_of(series), strict=True):
        mean, low, high = panels.values_of(rows, "test_accuracy")
        style.draw_points(top, x, mean, low, high, look, bars=0.6)
        style.mark_diverged(top, x, mean, rows["diverged"], rows["n"])
        gap, *ends = panels.values_of(rows, "difference")
        low, high = (np.where(rows["role"] == "benchmark", np.nan, end) for end in ends)
        style.draw_points(bottom, x, gap, low, high, replace(look, width=0.6 * look.width), bars=0.9)
    spots = np.unique(np.concatenate([rows["x"] for _, rows in series]))
    pad = 0.65 * style.spacing(spots)
    for ax in (top, bottom):
        ax.set_xlim(spots[0] - pad, spots[-1] + pad)
        style.sparsity_axis(ax, cell["sparsity"], inches, label=ax is bottom)
