"""Figures of accuracy: criteria, retraining, schedules, gradual pruning with a prelude."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from prunebench.papers.cascade.figures.common import (
    DASHES,
    SCHEDULES,
    against_control,
    criterion_looks,
    prelude_looks,
    with_control,
)
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import (
    BEYOND,
    Series,
    at_sparsity,
    blocks_of,
    bounds_of,
    chunks_of,
    diverged_crosses,
    empty_panel,
    finish,
    handles_of,
    level_line,
    looks_of,
    named_ticks,
    panel_row,
    places_of,
    series_by,
    side_by_side,
    sparsity_panel,
    stacked,
    values_of,
    with_values,
)
from prunebench.suite.report.style import (
    SMALL,
    Floats,
    Look,
    interval_text,
    legend_above,
    limits,
    not_run,
    percent,
    pretty,
    stacked_labels,
    thinned,
    wrapped,
)


def random_vs_magnitude(drawn: Drawn) -> Figure:
    """Claims B2 and B4: accuracy against sparsity by criterion, what a prelude changes, and the paired differences."""
    tables, scale = drawn.tables, drawn.scale
    frame = tables["cascade_criteria"]
    criteria, preludes = criterion_looks(tables), prelude_looks(tables)
    varied = [name for name in criteria if ((frame["criterion"] == name) & (frame["prelude"] != "none")).any()]
    panels: list[str | None] = [None, *varied]
    chunks = chunks_of(panels, 6)
    blocks = blocks_of(frame, ("task",))
    rows: list[str | float] = []
    for title, _ in blocks:
        rows += [title, *([3.7] * len(chunks))]
    fig, places = stacked(rows, 1.35)
    widths = [1.7, *([1.0] * (max(len(chunk) for chunk in chunks) - 1))]
    inches = 6.0 / sum(widths)
    span = bounds_of(frame, "difference", (0.0,), least=2.0)
    place = iter(places)
    for _, part in blocks:
        reference = part[(part["criterion"] == "global_magnitude") & (part["prelude"] == "none")]
        for chunk in chunks:
            grid = next(place).subgridspec(2, len(widths), width_ratios=widths)
            tops, bottoms = panel_row(fig, grid, 0, len(chunk)), panel_row(fig, grid, 1, len(chunk))
            tops[0].set_ylim(bounds_of(part, "test_accuracy", least=2.0))
            bottoms[0].set_ylim(span)
            for top, bottom, criterion, width in zip(tops, bottoms, chunk, widths, strict=False):
                if criterion is None:
                    series = series_by(part[part["prelude"] == "none"], "criterion", criteria)
                    title = "all criteria,\nno prelude"
                else:
                    series = series_by(part[part["criterion"] == criterion], "prelude", preludes)
                    title = pretty(criterion)
                    _behind(top, reference, criteria)
                top.set_title(wrapped(title, width * inches - 0.05), loc="left")
                level_line(bottom)
                sparsity_panel(top, series, "test_accuracy", width * inches, label=False, crosses=True)
                sparsity_panel(bottom, series, "difference", width * inches)
            tops[0].set_ylabel("test accuracy (%)")
            bottoms[0].set_ylabel("difference to global\nmagnitude (points)")
    shown = [look for name, look in criteria.items() if (frame["criterion"] == name).any()]
    if varied:
        shown += [look for name, look in preludes.items() if (frame["prelude"] == name).any()]
    legend_above(fig, [*handles_of(shown), *diverged_crosses(frame)])
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences: to global magnitude without prelude, paired by seed",
        *(["Wide line in the panels of one criterion: global magnitude without prelude"] if varied else []),
        f"{BEYOND}. Markers are moved sideways a little",
    ]
    return finish(fig, scale, notes)


def _behind(ax: Axes, reference: pd.DataFrame, criteria: Mapping[str, Look]) -> None:
    """The criterion that differences are taken to, as a wide pale line."""
    if len(reference):
        rows = reference.sort_values("sparsity")
        color = criteria["global_magnitude"].color
        mean = values_of(rows, "test_accuracy")[0]
        ax.plot(at_sparsity(rows), mean, color=color, linewidth=2.5, alpha=0.35, zorder=1.2)


def retraining(drawn: Drawn) -> Figure:
    """Claim B7: rewinding against fine-tuning in accuracy and in excess shedding, and how the two go together."""
    tables, scale = drawn.tables, drawn.scale
    frame = tables["cascade_retraining"]
    frame = frame[(frame["sparsity"] > 0) & (frame["retraining"] != "fine_tune")]
    if not len(frame):
        return not_run("Rewinding and fine-tuning", scale)
    dashes = ("-", *DASHES)
    looks = {
        (criterion, way): replace(
            look,
            label=f"{look.label}, {pretty(way)}",
            dash=dashes[nth % len(dashes)],
            marker=look.marker if nth == 0 else "XPdH"[nth % 4],
            size=look.size + 0.8 * (nth > 0),
        )
        for criterion, look in criterion_looks(tables).items()
        for nth, way in enumerate(frame["retraining"].unique())
        if ((frame["criterion"] == criterion) & (frame["retraining"] == way)).any()
    }
    blocks = blocks_of(frame, ("task",))
    fig, places = stacked([row for title, _ in blocks for row in (title, 2.45)], 1.45)
    spans = {column: bounds_of(frame, column, (0.0,), least=2.0) for column in ("difference", "excess_difference")}
    for (_, part), place in zip(blocks, places, strict=True):
        panels = panel_row(fig, place.subgridspec(1, 3), 0, 3, share=False)
        series = [
            (look, part[(part["criterion"] == criterion) & (part["retraining"] == way)])
            for (criterion, way), look in looks.items()
        ]
        for ax, (column, span) in zip(panels, spans.items(), strict=False):
            ax.set_ylim(span)
            level_line(ax)
            sparsity_panel(ax, series, column, 1.8, crosses=column == "difference")
        panels[0].set_ylabel("test accuracy minus\nfine-tuning (points)")
        panels[1].set_ylabel("excess shedding minus\nfine-tuning (points)")
        _scatter(panels[2], series, spans)
    legend_above(fig, [*handles_of(looks.values()), *diverged_crosses(frame)])
    notes = [
        f"Mean of seeds, paired by seed with fine-tuning; {interval_text(frame['n'])}",
        "Excess: share of survivors with |w| below 5 % of its value before pruning, minus that in the control. Right: "
        "each point is a criterion, a sparsity and a way of retraining",
        f"{BEYOND}. Left and middle: markers are moved sideways a little",
    ]
    return finish(fig, scale, notes)


def _scatter(ax: Axes, series: Series, spans: Mapping[str, tuple[float, float]]) -> None:
    ax.set_xlim(spans["excess_difference"])
    ax.set_ylim(spans["difference"])
    level_line(ax)
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    for look, rows in series:
        x, left, right = values_of(rows, "excess_difference")
        y, low, high = values_of(rows, "difference")
        ax.hlines(y, left, right, color=look.color, linewidth=0.6, alpha=0.5)
        ax.vlines(x, low, high, color=look.color, linewidth=0.6, alpha=0.5)
        ax.plot(x, y, **look.line() | {"linestyle": "", "zorder": 3})
    ax.set_xlabel("excess minus fine-tuning (points)", fontsize=SMALL + 0.5)
    ax.set_ylabel("test accuracy minus\nfine-tuning (points)")


def schedules(drawn: Drawn) -> Figure:
    """Claim B6: accuracy and excess shedding by pruning schedule and learning-rate schedule."""
    tables, scale = drawn.tables, drawn.scale
    frame = tables["cascade_schedules"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return not_run("Pruning and learning-rate schedules", scale)
    looks = {name: replace(look, dash="") for name, look in looks_of(frame["lr_schedule"], SCHEDULES).items()}
    known = ("one_shot", "iterative", "gradual")
    names = sorted(frame["pruning"].unique(), key=lambda name: known.index(name) if name in known else len(known))
    where = {name: float(nth) for nth, name in enumerate(names)}

    def at(rows: pd.DataFrame) -> Floats:
        return rows["pruning"].map(where).to_numpy(dtype=np.float64)

    blocks = blocks_of(frame, ("task", "criterion"))
    lines = [chunks_of(list(part.groupby("sparsity")), 3) for _, part in blocks]
    rows: list[str | float] = []
    for (title, _), chunks in zip(blocks, lines, strict=True):
        rows += [title, *([3.2] * len(chunks))]
    fig, places = stacked(rows, 1.15)
    columns = max(len(chunk) for chunks in lines for chunk in chunks)
    room = 6.2 / columns / len(names)
    span = bounds_of(frame, "excess", (0.0,), least=5.0)
    place = iter(places)
    for (_, part), chunks in zip(blocks, lines, strict=True):
        for chunk in chunks:
            grid = next(place).subgridspec(2, columns)
            tops, bottoms = panel_row(fig, grid, 0, len(chunk)), panel_row(fig, grid, 1, len(chunk))
            tops[0].set_ylim(bounds_of(part, "test_accuracy", least=2.0))
            bottoms[0].set_ylim(span)
            for top, bottom, (sparsity, cell) in zip(tops, bottoms, chunk, strict=True):
                series = series_by(cell, "lr_schedule", looks)
                level_line(bottom)
                for ax, column in ((top, "test_accuracy"), (bottom, "excess")):
                    if not np.isfinite(cell[column]).any():
                        empty_panel(ax, "no values")
                        continue
                    side_by_side(ax, series, at, column, inches=6.2 / columns, crosses=ax is top)
                    ax.set_xlim(-0.6, len(names) - 0.4)
                    named_ticks(ax.xaxis, [wrapped(pretty(name), room, SMALL) for name in names])
                    ax.tick_params(axis="x", length=0, labelbottom=ax is bottom)
                    for edge in range(1, len(names)):
                        ax.axvline(edge - 0.5, color="0.85", linewidth=0.6, zorder=0.5)
                _ring_best(top, series, at)
                top.set_title(f"{percent(sparsity)} % sparse", loc="left")
            tops[0].set_ylabel("test accuracy (%)")
            bottoms[0].set_ylabel("excess (points)")
    style: dict[str, Any] = {
        "marker": "o",
        "markersize": 8,
        "markerfacecolor": "none",
        "markeredgecolor": "black",
        "linestyle": "",
    }
    ring = [Line2D([], [], label="best of the sparsity", **style)] if _is_best(frame).any() else []
    legend_above(fig, [*handles_of(looks.values()), *ring, *diverged_crosses(frame)])
    notes = [
        f"Colours and markers: learning-rate schedules. Mean of seeds; {interval_text(frame['n'])}",
        "Excess: share of survivors with |w| below 5 % of its value before pruning, minus that in the control with the "
        "same learning-rate schedule, paired by seed",
        BEYOND,
    ]
    return finish(fig, scale, notes)


def _is_best(rows: pd.DataFrame) -> pd.Series:
    # Text where a value of the column is missing: then the column is not read as bool.
    return rows["best"].astype(str) == "True"


def _ring_best(ax: Axes, series: Series, at: Callable[[pd.DataFrame], Floats]) -> None:
    style: dict[str, Any] = {
        "markersize": 8,
        "markerfacecolor": "none",
        "markeredgecolor": "black",
        "zorder": 5,
        "linestyle": "",
    }
    for (_, rows), x in zip(series, places_of(series, at)[1], strict=True):
        best = (_is_best(rows) & np.isfinite(rows["test_accuracy"])).to_numpy()
        if best.any():
            ax.plot(x[best], values_of(rows, "test_accuracy")[0][best], marker="o", **style)


def gmp(drawn: Drawn) -> Figure:
    """Claim B5: gradual magnitude pruning with and without a prelude: its course, its end and its computation."""
    tables, scale = drawn.tables, drawn.scale
    frame, progress = tables["cascade_gmp"], tables["cascade_progress"]
    looks = prelude_looks(tables)
    blocks = blocks_of(frame, ("task",))
    fig, places = stacked([row for title, _ in blocks for row in (title, 2.0, 1.85)], 1.2)
    kinds = ("steps_ratio", "flops_ratio")
    ratios = pd.concat([_renamed(frame, kind) for kind in kinds])
    heads = {
        "difference": "test accuracy minus\nno prelude (points)",
        **against_control(frame),
        "steps_ratio": "updates to equal\nno prelude (ratio)",
        "flops_ratio": "FLOPs to equal\nno prelude (ratio)",
    }
    spans = dict.fromkeys(kinds, bounds_of(ratios, "ratio", (0.9, 1.0), least=0.2, factor=1.0))
    spans |= {name: bounds_of(frame, name, (0.0,), least=2.0) for name in heads if name not in kinds}
    room = 5.4 / len(heads)
    for nth, (_, part) in enumerate(blocks):
        course = progress[progress["task"] == part["task"].iloc[0]] if len(progress) else progress
        sparsities = thinned(sorted(course["sparsity"].unique()), 4) if len(course) else []
        columns = max(len(sparsities), 1)
        panels = panel_row(fig, places[2 * nth].subgridspec(1, columns), 0, columns)
        for ax, sparsity in zip(panels, sparsities, strict=False):
            _course(ax, series_by(course[course["sparsity"] == sparsity], "prelude", looks), sparsity)
        if sparsities:
            panels[0].set_ylim(_progress_bounds(course))
        else:
            empty_panel(panels[0], "no values")
        panels[0].set_ylabel("validation accuracy (%)")
        series = [
            (replace(look, dash=""), rows)
            for look, rows in series_by(part, "prelude", looks)
            if look is not looks.get("none")
        ]
        lower = panel_row(fig, places[2 * nth + 1].subgridspec(1, len(heads)), 0, len(heads), share=False)
        for ax, (column, label) in zip(lower, heads.items(), strict=True):
            ax.set_ylim(spans[column])
            ax.set_ylabel(label)
            if column in kinds:
                level_line(ax, 1.0)
                sparsity_panel(ax, series, column, room, factor=1.0)
                _reached(ax, [(look, rows[np.isfinite(rows[column])]) for look, rows in series], room)
            else:
                level_line(ax)
                sparsity_panel(ax, with_values(series, column), column, room, crosses=True)
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    legend_above(fig, [*handles_of(shown), *diverged_crosses(frame)])
    notes = [
        *([f"Top: mean of seeds; {interval_text(progress['n'], 'bands')}"] if len(progress) else []),
        *(["Large marker: the target is reached"] if len(progress) else []),
        f"Bottom: paired by seed{with_control(frame)}; {interval_text(frame['n'])}",
        "Ratios: geometric means of the computation (FLOPs: with zeros skipped, which no hardware here does) until the "
        "validation accuracy that no prelude ends with, less a margin, is reached at the final sparsity; below 1: less "
        "with the prelude; no point: not reached; k/n: reached by k of n seeds",
        BEYOND,
    ]
    return finish(fig, scale, notes)


def _reached(ax: Axes, series: Series, inches: float) -> None:
    """Under a ratio, of how many seeds it is, where some did not get there."""
    series = [(look, rows.sort_values("sparsity")) for look, rows in series if len(rows)]
    if not series:
        return
    rows = pd.concat([rows for _, rows in series])
    some = (rows["reached"] < rows["n"]).to_numpy()
    places = places_of(series, at_sparsity)[1]
    texts = [f"{int(k)}/{int(n)}" for k, n in zip(rows["reached"][some], rows["n"][some], strict=True)]
    low, high = ax.get_xlim()
    at = np.concatenate(places)[some]
    stacked_labels(ax, at, np.full(at.size, ax.get_ylim()[0]), texts, 0.24 / inches * (high - low))


def _renamed(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    ends = ("", "_low", "_high")
    return frame[[f"{kind}{end}" for end in ends]].set_axis([f"ratio{end}" for end in ends], axis=1)


def _progress_bounds(course: pd.DataFrame) -> tuple[float, float]:
    mean, low, high = (100 * course[name].to_numpy(dtype=np.float64) for name in ("validation_accuracy", "low", "high"))
    bottom, top = limits(mean, low, high, reach=0.2, least=2.0)
    return max(bottom, 0.0), min(top, 101.0)


def _course(ax: Axes, series: Series, sparsity: float) -> None:
    for look, rows in series:
        ordered = rows.sort_values("steps")
        steps, mean, low, high = (
            ordered[name].to_numpy(dtype=np.float64) for name in ("steps", "validation_accuracy", "low", "high")
        )
        ax.plot(steps, 100 * mean, **look.line() | ({"marker": ""} if np.isfinite(mean).sum() > 2 else {}))
        ax.fill_between(steps, 100 * low, 100 * high, color=look.color, alpha=0.16, linewidth=0, zorder=1.5)
        reached = np.flatnonzero(ordered["sparsity_now"].to_numpy() >= sparsity - 1e-3)[:1]
        if reached.size:
            ax.plot(steps[reached], 100 * mean[reached], **look.line() | {"markersize": 5.5, "zorder": 4})
    ax.set_title(f"to {percent(sparsity)} % sparsity", loc="left")
    ax.set_xlabel("updates")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at / 1000:g}k" if abs(at) >= 1000 else f"{at:g}"))
