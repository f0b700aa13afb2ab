"""Figures of accuracy: criteria, retraining, schedules, gradual pruning with a prelude."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from prunebench.papers.cascade.figures import common
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import Series, Span, bounds_of, series_by
from prunebench.suite.report.style import SMALL, Look, interval_text, pretty, wrapped


def random_vs_magnitude(drawn: Drawn) -> Figure:
    """Claims B2 and B4: accuracy against sparsity by criterion, what a prelude changes, and the paired differences."""
    frame = drawn.tables["cascade_criteria"]
    criteria, preludes = common.criterion_looks(drawn.tables), common.prelude_looks(drawn.tables)
    varied = [name for name in criteria if ((frame["criterion"] == name) & (frame["prelude"] != "none")).any()]
    blocks = panels.blocks_of(frame, "task")
    widths = [1.7, *([1.0] * min(len(varied), 5))]
    inches = [6.0 * width / sum(widths) for width in widths]
    fig, laid_out = panels.in_lines(blocks, [["", *varied]] * len(blocks), 6, 3.7, 1.35, heights=(1, 1), widths=widths)
    span = bounds_of(frame, "difference", (0.0,), least=2.0)
    for part, lines, _ in laid_out:
        no_prelude = part[part["prelude"] == "none"]
        for chunk, (tops, bottoms) in lines:
            tops[0].set_ylim(bounds_of(part, "test_accuracy", least=2.0))
            bottoms[0].set_ylim(span)
            for top, bottom, criterion, width in zip(tops, bottoms, chunk, inches, strict=False):
                if criterion:
                    series = series_by(part[part["criterion"] == criterion], "prelude", preludes)
                    _reference(top, no_prelude[no_prelude["criterion"] == "global_magnitude"], criteria)
                else:
                    series = series_by(no_prelude, "criterion", criteria)
                title = pretty(criterion) if criterion else "all criteria,\nno prelude"
                top.set_title(wrapped(title, width - 0.05), loc="left")
                panels.level_line(bottom)
                panels.sparsity_panel(top, series, "test_accuracy", width, label=False, crosses=True)
                panels.sparsity_panel(bottom, series, "difference", width)
            tops[0].set_ylabel("test accuracy (%)")
            bottoms[0].set_ylabel("difference to global\nmagnitude (points)")
    shown = [look for name, look in criteria.items() if (frame["criterion"] == name).any()]
    if varied:
        shown += [look for name, look in preludes.items() if (frame["prelude"] == name).any()]
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences: to global magnitude without prelude, paired by seed",
        *(["Wide line in the panels of one criterion: global magnitude without prelude"] if varied else []),
        panels.SIDEWAYS,
    ]
    return panels.finish(fig, [*panels.handles_of(shown), *panels.diverged_crosses(frame)], drawn.scale, notes)


def _reference(ax: Axes, rows: pd.DataFrame, criteria: Mapping[str, Look]) -> None:
    """The criterion that differences are taken to, as a wide pale line."""
    for _, ordered in panels.on_sparsity([(criteria["global_magnitude"], rows)]):
        mean = panels.values_of(ordered, "test_accuracy")[0]
        color = criteria["global_magnitude"].color
        ax.plot(ordered["x"], mean, color=color, linewidth=2.5, alpha=0.35, zorder=1.2)


def retraining(drawn: Drawn) -> Figure:
    """Claim B7: rewinding against fine-tuning in accuracy and in excess shedding, and how the two go together."""
    frame = drawn.tables["cascade_retraining"]
    frame = frame[(frame["sparsity"] > 0) & (frame["retraining"] != "fine_tune")]
    if not len(frame):
        return style.not_run("Rewinding and fine-tuning", drawn.scale)
    dashes = ("-", *common.DASHES)
    looks = {}
    for criterion, look in common.criterion_looks(drawn.tables).items():
        for nth, way in enumerate(frame["retraining"].unique()):
            if ((frame["criterion"] == criterion) & (frame["retraining"] == way)).any():
                marker, size = (look.marker, look.size) if nth == 0 else ("XPdH"[nth % 4], look.size + 0.8)
                changed = replace(look, dash=dashes[nth % len(dashes)], marker=marker, size=size)
                looks[criterion, way] = replace(changed, label=f"{look.label}, {pretty(way)}")
    blocks = panels.blocks_of(frame, "task")
    fig, laid_out = panels.in_blocks(blocks, [[2.45]] * len(blocks), 1.45)
    spans = {column: bounds_of(frame, column, (0.0,), least=2.0) for column in ("difference", "excess_difference")}
    for part, (place,) in laid_out:
        [(left, middle, right)] = panels.panels_at(fig, place, 3, share=False)
        series = [
            (look, part[(part["criterion"] == criterion) & (part["retraining"] == way)])
            for (criterion, way), look in looks.items()
        ]
        for ax, (column, span) in zip((left, middle), spans.items(), strict=True):
            ax.set_ylim(span)
            panels.level_line(ax)
            panels.sparsity_panel(ax, series, column, 1.8, crosses=ax is left)
        left.set_ylabel("test accuracy minus\nfine-tuning (points)")
        middle.set_ylabel("excess shedding minus\nfine-tuning (points)")
        _scatter(right, series, spans)
    notes = [
        f"Mean of seeds, paired by seed with fine-tuning; {interval_text(frame['n'])}",
        "Excess: share of survivors with |w| below 5 % of its value before pruning, minus that in the control. Right: "
        "each point is a criterion, a sparsity and a way of retraining",
        f"{panels.BEYOND}. Left and middle: markers are moved sideways a little",
    ]
    return panels.finish(fig, [*panels.handles_of(looks.values()), *panels.diverged_crosses(frame)], drawn.scale, notes)


def _scatter(ax: Axes, series: Series, spans: Mapping[str, Span]) -> None:
    ax.set_xlim(spans["excess_difference"])
    ax.set_ylim(spans["difference"])
    panels.level_line(ax)
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    for look, rows in series:
        x, left, right = panels.values_of(rows, "excess_difference")
        y, low, high = panels.values_of(rows, "difference")
        ax.hlines(y, left, right, color=look.color, linewidth=0.6, alpha=0.5)
        ax.vlines(x, low, high, color=look.color, linewidth=0.6, alpha=0.5)
        ax.plot(x, y, **look.line() | {"linestyle": "", "zorder": 3})
    ax.set_xlabel("excess minus fine-tuning (points)", fontsize=SMALL + 0.5)
    ax.set_ylabel("test accuracy minus\nfine-tuning (points)")


_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 8,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "linestyle": "",
}


def schedules(drawn: Drawn) -> Figure:
    """Claim B6: accuracy and excess shedding by pruning schedule and learning-rate schedule."""
    frame = drawn.tables["cascade_schedules"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return style.not_run("Pruning and learning-rate schedules", drawn.scale)
    looks = {
        name: replace(look, dash="") for name, look in panels.looks_of(frame["lr_schedule"], common.SCHEDULES).items()
    }
    known = ("one_shot", "iterative", "gradual")
    names = sorted(frame["pruning"].unique(), key=lambda name: known.index(name) if name in known else len(known))
    frame = frame.assign(x=frame["pruning"].map(names.index))
    blocks = panels.blocks_of(frame, "task", "criterion")
    cells = [list(part.groupby("sparsity")) for _, part in blocks]
    inches = 6.2 / min(3, max(len(of_block) for of_block in cells))
    labels = [wrapped(pretty(name), inches / len(names), SMALL) for name in names]
    fig, laid_out = panels.in_lines(blocks, cells, 3, 3.2, 1.15, heights=(1, 1))
    span = bounds_of(frame, "excess", (0.0,), least=5.0)
    for part, lines, _ in laid_out:
        for chunk, (tops, bottoms) in lines:
            tops[0].set_ylim(bounds_of(part, "test_accuracy", least=2.0))
            bottoms[0].set_ylim(span)
            for top, bottom, (sparsity, cell) in zip(tops, bottoms, chunk, strict=True):
                panels.level_line(bottom)
                _schedule_panel(top, cell, looks, "test_accuracy", labels, inches)
                _schedule_panel(bottom, cell, looks, "excess", labels, inches)
                top.tick_params(axis="x", labelbottom=False)
                top.set_title(f"{style.percent(sparsity)} % sparse", loc="left")
            tops[0].set_ylabel("test accuracy (%)")
            bottoms[0].set_ylabel("excess (points)")
    ring = [Line2D([], [], label="best of the sparsity", **_RING)] if _is_best(frame).any() else []
    notes = [
        f"Colours and markers: learning-rate schedules. Mean of seeds; {interval_text(frame['n'])}",
        "Excess: share of survivors with |w| below 5 % of its value before pruning, minus that in the control with the "
        "same learning-rate schedule, paired by seed",
        panels.BEYOND,
    ]
    handles = [*panels.handles_of(looks.values()), *ring, *panels.diverged_crosses(frame)]
    return panels.finish(fig, handles, drawn.scale, notes)


def _schedule_panel(
    ax: Axes, cell: pd.DataFrame, looks: Mapping[str, Look], column: str, labels: list[str], inches: float
) -> None:
    """A column by pruning schedule, the best accuracy in a ring."""
    series = series_by(cell, "lr_schedule", looks)
    accuracy = column == "test_accuracy"
    if not panels.category_panel(ax, series, column, labels, inches=inches, crosses=accuracy):
        return
    ax.tick_params(axis="x", length=0)
    for edge in range(1, len(labels)):
        ax.axvline(edge - 0.5, color="0.85", linewidth=0.6, zorder=0.5)
    for (_, rows), x in zip(series, panels.places_of(series), strict=True):
        best = (_is_best(rows) & np.isfinite(rows[column])).to_numpy()
        if accuracy and best.any():
            ax.plot(x[best], panels.values_of(rows, column)[0][best], zorder=5, **_RING)


def _is_best(rows: pd.DataFrame) -> pd.Series:
    # Text where a value of the column is missing: then the column is not read as bool.
    return rows["best"].astype(str) == "True"


_RATIOS = {
    "steps_ratio": "updates to equal\nno prelude (ratio)",
    "flops_ratio": "FLOPs to equal\nno prelude (ratio)",
}


def gmp(drawn: Drawn) -> Figure:
    """Claim B5: gradual magnitude pruning with and without a prelude: its course, its end and its computation."""
    frame, progress = drawn.tables["cascade_gmp"], drawn.tables["cascade_progress"]
    looks = common.prelude_looks(drawn.tables)
    blocks = panels.blocks_of(frame, "task")
    fig, laid_out = panels.in_blocks(blocks, [[2.0, 1.85]] * len(blocks), 1.2)
    heads = {"difference": "test accuracy minus\nno prelude (points)", **common.against_control(frame)}
    spans = {name: bounds_of(frame, name, (0.0,), least=2.0) for name in heads} | _ratio_spans(frame)
    heads |= _RATIOS
    inches = 5.4 / len(heads)
    for part, (upper, lower) in laid_out:
        course = progress[progress["task"] == part["task"].iloc[0]] if len(progress) else progress
        _progress_panels(fig, upper, course, looks)
        preludes = {name: replace(look, dash="") for name, look in looks.items() if name != "none"}
        series = series_by(part, "prelude", preludes)
        [row] = panels.panels_at(fig, lower, len(heads), share=False)
        for ax, (column, label) in zip(row, heads.items(), strict=True):
            ax.set_ylim(spans[column])
            ax.set_ylabel(label)
            panels.level_line(ax, float(column in _RATIOS))
            if column in _RATIOS:
                panels.sparsity_panel(ax, series, column, inches, factor=1.0)
                _reached(ax, [(look, rows[np.isfinite(rows[column])]) for look, rows in series], inches)
            else:
                panels.sparsity_panel(ax, panels.with_values(series, column), column, inches, crosses=True)
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    top = [f"Top: mean of seeds; {interval_text(progress['n'], 'bands')}. Large marker: the target is reached"]
    notes = [
        *(top if len(progress) else []),
        f"Bottom: paired by seed{common.with_control(frame)}; {interval_text(frame['n'])}",
        "Ratios: geometric means of the computation (FLOPs: with zeros skipped, which no hardware here does) until the "
        "validation accuracy that no prelude ends with, less a margin, is reached at the final sparsity; below 1: less "
        "with the prelude; no point: not reached; k/n: reached by k of n seeds",
        panels.BEYOND,
    ]
    return panels.finish(fig, [*panels.handles_of(shown), *panels.diverged_crosses(frame)], drawn.scale, notes)


def _ratio_spans(frame: pd.DataFrame) -> dict[str, Span]:
    """One axis for both ratios."""
    ends = ("", "_low", "_high")
    parts = [
        frame[[f"{kind}{end}" for end in ends]].set_axis([f"ratio{end}" for end in ends], axis=1) for kind in _RATIOS
    ]
    return dict.fromkeys(_RATIOS, bounds_of(pd.concat(parts), "ratio", (0.9, 1.0), least=0.2, factor=1.0))


def _reached(ax: Axes, series: Series, inches: float) -> None:
    """At the bottom, of how many seeds a ratio is, where not all reached the accuracy."""
    series = panels.on_sparsity(series)
    if not series:
        return
    rows = pd.concat([rows for _, rows in series])
    fewer = (rows["reached"] < rows["n"]).to_numpy()
    texts = [f"{int(k)}/{int(n)}" for k, n in zip(rows["reached"][fewer], rows["n"][fewer], strict=True)]
    low, high = ax.get_xlim()
    x = np.concatenate(panels.places_of(series, panels.SPARSITY_ROOM))[fewer]
    style.stacked_labels(ax, x, np.full(x.size, ax.get_ylim()[0]), texts, 0.24 / inches * (high - low))


def _progress_panels(fig: Figure, place: Any, course: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Validation accuracy over updates, a panel per target sparsity."""
    sparsities = style.thinned(sorted(course["sparsity"].unique()), 4) if len(course) else []
    [row] = panels.panels_at(fig, place, max(len(sparsities), 1))
    row[0].set_ylabel("validation accuracy (%)")
    if not sparsities:
        panels.empty_panel(row[0])
        return
    row[0].set_ylim(bounds_of(course, "validation_accuracy", least=2.0, reach=0.2))
    for ax, sparsity in zip(row, sparsities, strict=True):
        for look, rows in series_by(course[course["sparsity"] == sparsity], "prelude", looks):
            ordered = rows.sort_values("steps")
            (steps,), values = panels.numbers(ordered, "steps"), panels.values_of(ordered, "validation_accuracy")
            panels.curve(ax, look, steps, *values)
            reached = np.flatnonzero(ordered["sparsity_now"].to_numpy() >= sparsity - 1e-3)[:1]
            if reached.size:
                ax.plot(steps[reached], values[0][reached], **look.line() | {"markersize": 5.5, "zorder": 4})
        ax.set_title(f"to {style.percent(sparsity)} % sparsity", loc="left")
        ax.set_xlabel("updates")
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at / 1000:g}k" if abs(at) >= 1000 else f"{at:g}"))
