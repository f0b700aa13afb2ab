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
from prunebench.suite import numbers
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
    validation accuracy there; the lower panels have those that the claims are about, not the other benchmarks.
    """
    frame = drawn.tables["s_cyc_accuracy"]
    present = set(frame["schedule"])
    looks = {name: look for name, look in looks_of_schedules(drawn.tables).items() if name in present}
    cells = list(frame.groupby(["task", "criterion"], sort=False))
    fig, axes = panels.facets(len(cells), 3, 4.1, 1.2, rows=2)
    inches = WIDTH / axes.shape[2] - 0.55
    # By facet: (lines, rows, columns) -> (facets, rows).
    for (top, bottom), ((task, criterion), cell) in zip(axes.swapaxes(1, 2).reshape(-1, 2), cells, strict=False):
        _accuracy_panels(top, bottom, frame[frame["task"] == task], cell, looks, inches)
        title = f"{task}\n{criterion_text(criterion)}, {seeds_text(cell['n'])}"
        top.set_title(wrapped(title, inches + 0.3), loc="left")
        bottom.set_title(wrapped(_at_the_end(cell), inches + 0.3), loc="left")
    for top, bottom in axes[:, :, 0]:
        top.set_ylabel("test accuracy (%)")
        bottom.set_ylabel("difference to the best\nbenchmark (points)")
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}, above for the method alone; differences are paired by seed",
        "Best benchmark: by validation accuracy at each sparsity; it is the line at 0, and the other benchmarks are "
        f"drawn above alone. {panels.BEYOND}",
    ]
    return panels.finish(fig, [*panels.handles_of(looks.values()), *panels.diverged_crosses(frame)], drawn.scale, notes)


def _at_the_end(cell: pd.DataFrame) -> str:
    """The method's difference at the highest sparsity, as a title says it."""
    rows = cell[(cell["role"] == "method") & np.isfinite(cell["difference"])]
    if not len(rows):
        return "method not run"
    row = rows.loc[rows["sparsity"].idxmax()]
    mean, low, high = (100 * row[name] for name in ("difference", "difference_low", "difference_high"))
    interval = f"\n{numbers.interval(low, high, 1, signed=True)}" if math.isfinite(low) else ""
    where = f"{pretty(row['schedule'])} at {style.percent(row['sparsity'])} %"
    return f"{where}: {numbers.text(mean, 1, signed=True)}{interval}"


_ROOM = 0.22
"""Of the distance between sparsities that differences beside each other take."""


def _accuracy_panels(
    top: Axes, bottom: Axes, task: pd.DataFrame, cell: pd.DataFrame, looks: Mapping[str, Look], inches: float
) -> None:
    """Accuracy and differences of a criterion; the axes show those of the whole task."""
    top.set_ylim(panels.bounds_of(task.drop(columns="diverged"), "test_accuracy", least=2.0, reach=0.25))
    of_claim = task[(task["role"] != "benchmark") & task["difference"].notna()].drop(columns="diverged")
    of_claim = of_claim if len(of_claim) else task
    bottom.set_ylim(panels.bounds_of(of_claim, "difference", (0.0,), least=1.0, reach=0.6))
    panels.level_line(bottom)
    series = panels.on_sparsity(panels.series_by(cell, "schedule", looks))
    for look, rows in series:
        x = rows["x"].to_numpy(dtype=np.float64)
        mean, *ends = panels.values_of(rows, "test_accuracy")
        low, high = (np.where(rows["role"] == "method", end, np.nan) for end in ends)
        style.draw_points(top, x, mean, low, high, look, bars=0.9)
        style.mark_diverged(top, x, mean, rows["diverged"], rows["n"])
    compared = [(look, rows) for look, rows in series if (rows["role"] != "benchmark").all()]
    for (look, rows), x in zip(compared, panels.places_of(compared, _ROOM) if compared else [], strict=True):
        style.draw_points(bottom, x, *panels.values_of(rows, "difference"), replace(look, width=0.6 * look.width))
    spots = np.unique(np.concatenate([rows["x"] for _, rows in series]))
    pad = 0.3 * style.spacing(spots)
    for ax in (top, bottom):
        ax.set_xlim(spots[0] - pad, spots[-1] + pad)
        style.sparsity_axis(ax, cell["sparsity"], inches, label=ax is bottom)
