"""What the defects of the released scripts do (claim A8)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunebench.papers.s_cyc.figures.common import criterion_text
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import Look, interval_text, percent, seeds_text, wrapped

_ALONE = {
    "best_epoch": "best epoch on the test set,\nnot the last",
    "augmented": "augmented test images",
    "whole_batches": "incomplete test batch\ncounts as wrong",
    "smaller_set": "41 % of the training images\n(fifth run)",
    "cut_ramp": "LR ramp cut below max_lr",
}
_ALL = {"first_run": "reported by the first run", "fifth_run": "reported by the fifth run"}
_SPARSITY = {"repeated_scores": "threshold over scores\nwith repeats"}
_MOST = 6
"""Sparsities that a row has room for."""


def released(drawn: Drawn) -> Figure:
    """A row per defect with the effect at each sparsity and its interval: alone, all together, and on sparsity."""
    frame = drawn.tables["s_cyc_released"]
    cycles = style.thinned(sorted(frame["cycle"].unique()), _MOST)
    sparsity = frame.groupby("cycle")["sparsity"].mean()
    looks = panels.graded_looks(cycles, "crest", lambda cycle: f"{percent(sparsity[cycle])} % pruned")
    groups = (_ALONE, _ALL, _SPARSITY)
    heights = [0.52 * len(rows) for rows in groups]
    fig = style.new_figure(2.3 + sum(heights))
    axes = fig.subplots(3, 1, gridspec_kw={"height_ratios": heights})
    accuracy = frame[frame["defect"] != "repeated_scores"]
    axes[1].sharex(axes[0])
    margin = 100 * drawn.margins.a8_margin
    for ax, rows in zip(axes, groups, strict=True):
        of_axis = frame[frame["defect"].isin(rows)] if rows is _SPARSITY else accuracy
        ax.set_xlim(_limits(of_axis, margin if rows is not _SPARSITY else 0.0))
        _rows(ax, frame[frame["cycle"].isin(cycles)], rows, looks)
    for end in (-margin, margin):
        axes[1].axvline(end, color="0.3", linewidth=0.9, linestyle=panels.DOTS, zorder=1)
    where = f"{frame['task'].iloc[0]}, {criterion_text(frame['criterion'].iloc[0])}, {seeds_text(frame['n'])}"
    axes[0].set_title(wrapped(f"Each defect alone: {where}", 5.0), loc="left")
    axes[1].set_title(f"All of these together; dotted: A8's margin of ± {margin:g} points", loc="left")
    axes[0].set_xlabel("effect on test accuracy (points)")
    axes[1].set_xlabel("reported minus sound test accuracy (points)")
    axes[2].set_title("On the sparsity of a prune", loc="left")
    axes[2].set_xlabel("sparsity reached minus sparsity wanted (points)")
    notes = [
        f"Mean of seeds, paired; {interval_text(frame['n'])}",
        "Triangles at an edge: a bar goes on beyond the axis",
        *([f"{len(cycles)} of {frame['cycle'].nunique()} cycles are shown"] if len(cycles) < len(sparsity) else []),
    ]
    return panels.finish(fig, panels.handles_of(looks.values()), drawn.scale, notes)


def _limits(rows: pd.DataFrame, margin: float) -> panels.Span:
    """Of every mean, of 0 and of the margin; intervals may leave them, marked."""
    mean, low, high = panels.values_of(rows, "effect")
    return style.limits(np.append(mean, (-margin, 0.0, margin)), low, high, reach=0.6, least=0.1)


def _rows(ax: Axes, frame: pd.DataFrame, labels: Mapping[str, str], looks: Mapping[float, Look]) -> None:
    """A row per label; within it a marker per pruning cycle, the first one at the top."""
    ax.grid(False, axis="y")
    ax.grid(True, axis="x")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(labels) - 0.5, -0.5)
    style.set_ticks(ax.yaxis, range(len(labels)), [*labels.values()])
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    offsets = np.linspace(-0.36, 0.36, len(looks)) if len(looks) > 1 else np.zeros(1)
    for place, defect in enumerate(labels):
        if place % 2 == 0:
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0, zorder=0)
        for (cycle, look), offset in zip(looks.items(), offsets, strict=True):
            cell = frame[(frame["defect"] == defect) & (frame["cycle"] == cycle)]
            _interval(ax, place + offset, panels.values_of(cell, "effect"), look)


def _interval(ax: Axes, y: float, of: Sequence[style.Floats], look: Look) -> None:
    """A marker with its interval, up to the axis' ends; no cell leaves a gap."""
    mean, low, high = of
    ax.plot(mean, np.full(len(mean), y), **look.line())
    left, right = ax.get_xlim()
    ax.hlines(np.full(len(mean), y), np.maximum(low, left), np.minimum(high, right), color=look.color, linewidth=1.0)
    for beyond, edge, marker in ((low < left, left, "<"), (high > right, right, ">")):
        if beyond.any():
            ax.plot([edge], [y], marker=marker, color=look.color, markersize=3.0, markeredgewidth=0, clip_on=False)
