"""Figures of accuracy: criteria, retraining, schedules, gradual pruning with a prelude."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from prunebench.papers.cascade.figures import common
from prunebench.suite.report import forest, panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.forest import Effect, effects_of
from prunebench.suite.report.panels import bounds_of, series_by
from prunebench.suite.report.style import Look, interval_text, pretty, seeds_text


def random_vs_magnitude(drawn: Drawn) -> Figure:
    """Claims B2 and B4: what other criteria lose to global magnitude, and what a prelude changes in random pruning."""
    frame = drawn.tables["cascade_criteria"]
    criteria, preludes = common.criterion_looks(drawn.tables), common.prelude_looks(drawn.tables)
    columns = []
    for _, part in frame.groupby("task", sort=False):
        several = part["sparsity"].nunique() > 1
        plain = part[(part["prelude"] == "none") & (part["criterion"] != "global_magnitude")]
        plain = plain.sort_values("sparsity", kind="stable")
        after = part[part["prelude_control"].notna()].sort_values("sparsity", kind="stable")
        columns.append(
            (
                effects_of(plain, "difference", _criterion_name(several), lambda row: criteria[row.criterion]),
                effects_of(after, "control_difference", _control_name(several), lambda row: preludes[row.prelude]),
            )
        )
    with_preludes = any(after for _, after in columns)
    blocks = [
        (f"{task}, {seeds_text(part['n'])}: global magnitude reaches {_reached(part)}", each)
        for (task, part), each in zip(frame.groupby("task", sort=False), columns, strict=True)
    ]
    fig, laid_out = panels.in_blocks(blocks, [[forest.height(*each)] for each in columns], 0.75)
    for (plain, after), (place,) in laid_out:
        [row] = panels.panels_at(fig, place, 2 if after else 1, 2 if with_preludes else 1, share=False)
        forest.draw(row[0], plain, least=2.0)
        row[0].set_title("without a prelude (B4)", loc="left", pad=14)
        row[0].set_xlabel("test accuracy minus\nglobal magnitude's (points)")
        if after:
            forest.draw(row[1], after, least=2.0)
            row[1].set_title("after a prelude (B2)", loc="left", pad=14)
            row[1].set_xlabel("test accuracy after a prelude that sheds\nminus after its control (points)")
    return panels.finish(fig, [], drawn.scale, [_paired(frame)])


def _paired(frame: pd.DataFrame) -> str:
    cut = "; triangles: an interval goes on beyond the axis" if frame["n"].max() > 1 else ""
    return f"Mean of seeds, paired by seed; {interval_text(frame['n'])}{cut}"


def _at(row: Any, several: bool) -> str:
    return f", {style.percent(row.sparsity)} %" if several else ""


def _criterion_name(several: bool) -> Any:
    return lambda row: f"{pretty(row.criterion)}{_at(row, several)}"


def _control_name(several: bool) -> Any:
    return lambda row: (
        f"{pretty(row.criterion)}, {pretty(row.prelude)} minus {pretty(row.prelude_control)}" + _at(row, several)
    )


def _reached(part: pd.DataFrame) -> str:
    """What global magnitude without a prelude reaches at each sparsity."""
    rows = part[(part["prelude"] == "none") & (part["criterion"] == "global_magnitude")].sort_values("sparsity")
    return _accuracies(rows)


def _accuracies(rows: pd.DataFrame) -> str:
    """Accuracies by sparsity, as a heading says them."""
    texts = [f"{100 * row.test_accuracy:.1f} % at {style.percent(row.sparsity)} %" for row in rows.itertuples()]
    return f"{', '.join(texts)} sparsity" if texts else "no value"


FLAT = 0.1
"""Points: differences in shedding that are all smaller are told in a sentence, not drawn."""


def _is_flat(rows: pd.DataFrame, column: str) -> bool:
    """Whether a panel of this column would be a line at 0."""
    values = np.concatenate(panels.values_of(rows, column))
    return bool((np.abs(values[np.isfinite(values)]) < FLAT).all())


def retraining(drawn: Drawn) -> Figure:
    """Claim B7: rewinding minus fine-tuning, in accuracy and, where it differs, in excess shedding."""
    table = drawn.tables["cascade_retraining"]
    frame = table[(table["sparsity"] > 0) & (table["retraining"] != "fine_tune")]
    if not len(frame):
        return style.not_run("Rewinding and fine-tuning", drawn.scale)
    frame, left_out = common.few_sparsities(frame)
    looks = panels.looks_of(frame["retraining"], common.SCHEDULES)
    flat = _is_flat(frame, "excess_difference")
    columns = {"difference": "test accuracy minus\nfine-tuning's (points)"}
    if not flat:
        columns["excess_difference"] = "excess shedding minus\nfine-tuning's (points)"
    blocks = []
    for (task, criterion), part in frame.groupby(["task", "criterion"], sort=False):
        tuned = table[(table["task"] == task) & (table["criterion"] == criterion)]
        tuned = tuned[tuned["sparsity"].isin(part["sparsity"])]
        tuned = tuned[tuned["retraining"] == "fine_tune"].sort_values("sparsity")
        title = f"{task}, {pretty(criterion)}, {seeds_text(part['n'])}: fine-tuning reaches {_accuracies(tuned)}"
        ordered = part.sort_values("sparsity", kind="stable")
        blocks.append((title, [_rewound(ordered, column, looks) for column in columns]))
    fig = _side_by_side(blocks, columns, lambda ax, effects, column: forest.draw(ax, effects, least=0.5))
    notes = [_paired(frame), *left_out, *([_told("Excess shedding differs from fine-tuning's")] if flat else [])]
    return panels.finish(fig, [], drawn.scale, notes)


def _rewound(rows: pd.DataFrame, column: str, looks: Mapping[str, Look]) -> list[Effect]:
    return effects_of(
        rows,
        column,
        lambda row: f"{pretty(row.retraining)}, {style.percent(row.sparsity)} %",
        lambda row: looks[row.retraining],
    )


def _side_by_side(
    blocks: Sequence[tuple[str, Sequence[list[Effect]]]],
    columns: Mapping[str, str],
    draw: Callable[[Axes, Sequence[Effect], str], None],
) -> Figure:
    """Blocks with a title and effects for each column; draw: of one column into a panel, which gets its label."""
    fig, laid_out = panels.in_blocks(blocks, [[forest.height(*each, head=0)] for _, each in blocks], 0.75)
    for effects, (place,) in laid_out:
        [row] = panels.panels_at(fig, place, len(columns), share=False)
        for ax, of_one, (column, label) in zip(row, effects, columns.items(), strict=True):
            draw(ax, of_one, column)
            ax.set_xlabel(label)
    return fig


def _told(what: str) -> str:
    return f"{what} by less than {FLAT:g} points in every cell, so it is not drawn"


def schedules(drawn: Drawn) -> Figure:
    """Claim B6: accuracy and, where there is any, excess shedding by pruning schedule and learning-rate schedule."""
    frame = drawn.tables["cascade_schedules"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return style.not_run("Pruning and learning-rate schedules", drawn.scale)
    frame, left_out = common.few_sparsities(frame)
    looks = panels.looks_of(frame["lr_schedule"], common.SCHEDULES)
    flat = _is_flat(frame, "excess")
    columns = {"test_accuracy": "test accuracy (%)"} | ({} if flat else {"excess": "excess shedding (points)"})
    known = ("one_shot", "iterative", "gradual")
    blocks = []
    for (task, criterion, sparsity), part in frame.groupby(["task", "criterion", "sparsity"], sort=False):
        ordered = part.sort_values(
            "pruning", key=lambda names: names.map(lambda name: known.index(name) if name in known else len(known))
        )
        title = f"{task}, {pretty(criterion)}, {style.percent(sparsity)} % sparse, {seeds_text(part['n'])}"
        blocks.append((title, [_scheduled(ordered, column, looks) for column in columns]))

    def draw(ax: Axes, effects: Sequence[Effect], column: str) -> None:
        accuracy = column == "test_accuracy"
        best = max((each.mean for each in effects), default=0.0) if accuracy else 0.0
        forest.draw(ax, effects, null=best, least=1.0, signed=not accuracy)

    fig = _side_by_side(blocks, columns, draw)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; solid line: the highest mean accuracy",
        *left_out,
        *([_told("The excess over the unpruned control differs from 0")] if flat else [_EXCESS]),
    ]
    return panels.finish(fig, [], drawn.scale, notes)


_EXCESS = "Excess: weights that shrank below 5 % of their value, minus those in the control that is not pruned"


def _scheduled(rows: pd.DataFrame, column: str, looks: Mapping[str, Look]) -> list[Effect]:
    return effects_of(
        rows,
        column,
        lambda row: f"{pretty(row.pruning)}, {pretty(row.lr_schedule)} LR",
        lambda row: looks[row.lr_schedule],
    )


def gmp(drawn: Drawn) -> Figure:
    """Claim B5: gradual magnitude pruning with and without a prelude: its course, its end and its computation."""
    frame, left_out = common.few_sparsities(drawn.tables["cascade_gmp"])
    progress = drawn.tables["cascade_progress"]
    looks = common.prelude_looks(drawn.tables)
    blocks = []
    for task, part in frame.groupby("task", sort=False):
        course = progress[progress["task"] == task] if len(progress) else progress
        blocks.append((f"{task}, {seeds_text(part['n'])}", (course, *_ends(part, looks))))
    ratios = any(computation for _, (_, _, computation) in blocks)
    heights = [
        [max(2.1, forest.height(ends) + (forest.height(computation) if computation else 0.0))]
        for _, (_, ends, computation) in blocks
    ]
    fig, laid_out = panels.in_blocks(blocks, heights, 1.15)
    for (course, ends, computation), (place,) in laid_out:
        halves = place.subgridspec(1, 2, width_ratios=(1.0, 1.25))
        left, right = halves[0], halves[1]
        _course(fig.add_subplot(left), course, looks)
        cells = right.subgridspec(2, 1, height_ratios=(len(ends) + 2, len(computation) + 2)) if computation else [right]
        ax = fig.add_subplot(cells[0])
        forest.draw(ax, ends, least=2.0)
        ax.set_xlabel("test accuracy at the end (points)")
        if computation:
            ax = fig.add_subplot(cells[1])
            forest.draw(ax, computation, null=1.0, least=0.2, log=True, signed=False)
            ax.set_xlabel("computation to equal no prelude (ratio)")
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    notes = [
        f"{_paired(frame)}, bands the same. Left: large marker where the target sparsity is reached",
        *left_out,
        "Ratio: computation until the validation accuracy that no prelude ends with, less a margin, is reached; FLOPs "
        "with zeros skipped"
        if ratios
        else "No run with a prelude reached the accuracy of one without: there is no ratio of computation to show",
    ]
    return panels.finish(fig, [*panels.handles_of(shown), *panels.diverged_crosses(frame)], drawn.scale, notes)


def _ends(part: pd.DataFrame, looks: Mapping[str, Look]) -> tuple[list[Effect], list[Effect]]:
    """A task's rows of accuracy, and of computation as far as seeds reached the accuracy without a prelude."""
    part = part[part["prelude"] != "none"].sort_values("sparsity", kind="stable")
    several = part["sparsity"].nunique() > 1

    def look(row: Any) -> Look:
        return looks[row.prelude]

    ends = effects_of(part, "difference", lambda row: f"{pretty(row.prelude)} minus none{_at(row, several)}", look)
    ends += effects_of(
        part[part["prelude_control"].notna()],
        "control_difference",
        lambda row: f"{pretty(row.prelude)} minus its control, {pretty(row.prelude_control)}{_at(row, several)}",
        look,
    )
    computation = [
        replace(each, diverged="")
        for column, what in (("steps_ratio", "updates"), ("flops_ratio", "FLOPs"))
        for each in effects_of(part[np.isfinite(part[column])], column, _ratio_name(what, several), look, 1.0)
    ]
    return ends, computation


def _ratio_name(what: str, several: bool) -> Any:
    return lambda row: f"{what}, {pretty(row.prelude)}{_at(row, several)} ({int(row.reached)} of {int(row.n)} seeds)"


def _course(ax: Axes, course: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Validation accuracy over updates to the highest target sparsity."""
    ax.set_ylabel("validation accuracy (%)")
    if not len(course):
        panels.empty_panel(ax)
        return
    ax.set_ylim(bounds_of(course, "validation_accuracy", least=2.0, reach=0.2))
    sparsity = course["sparsity"].max()
    for look, rows in series_by(course[course["sparsity"] == sparsity], "prelude", looks):
        ordered = rows.sort_values("steps")
        (steps,), values = panels.numbers(ordered, "steps"), panels.values_of(ordered, "validation_accuracy")
        panels.curve(ax, look, steps, *values, marks=len(steps) < 20)
        reached = np.flatnonzero(ordered["sparsity_now"].to_numpy() >= sparsity - 1e-3)[:1]
        if reached.size:
            ax.plot(steps[reached], values[0][reached], **look.line() | {"markersize": 7.0, "zorder": 4})
    ax.set_title(f"on the way to {style.percent(sparsity)} % sparsity", loc="left")
    ax.set_xlabel("updates")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at / 1000:g}k" if abs(at) >= 1000 else f"{at:g}"))
