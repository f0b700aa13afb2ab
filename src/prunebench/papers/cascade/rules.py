"""The rules of claims B1 to B9, and the truths that they are tried with in the calibration."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from prunebench.papers.cascade.config import CascadeMargins
from prunebench.stats import correlation, t_interval, two_way
from prunebench.suite.cells import Cell, value, without
from prunebench.suite.claim import (
    ROUNDING,
    Bools,
    Cells,
    Floats,
    Ruling,
    Sample,
    Scenario,
    above,
    any_cell,
    below,
    corrected,
)
from prunebench.suite.conditions import Check

FACTORS = ("pruning", "lr_schedule")
"""B6's axes: what was pruned when, under which LR schedule."""


def enough(*quantities: str) -> Check:
    """B1. With some recipe these excesses all are; each one's interval is corrected for the number of recipes."""

    def judge(sample: Sample, margins: CascadeMargins) -> Bools | bool:
        cells = sample.cells["relative"]
        if any(sample.cells[name] != cells for name in quantities):
            return False
        needed = np.array([max(margins.b1_excess, _dose(cell)) for cell in cells])
        return any_cell(np.logical_and.reduce([above(sample.any_of(name).low, needed) for name in quantities]))

    return Check(judge, dict.fromkeys(quantities, ("b1_excess",)))


def _dose(of: Cell) -> float:
    return float(value(of, "pruned_share"))


def _largest(cells: Cells) -> dict[Cell, Cell]:
    """The cell of each recipe's largest dose."""
    return {without(cell, "pruned_share"): cell for cell in sorted(cells["excess"], key=_dose)}


def rises_and_sheds(sample: Sample, margins: CascadeMargins) -> Bools:
    """B1c. A slope is not enough, since doses could merely catch up with the control: the largest must exceed it."""
    largest = _largest(sample.cells)
    places = [sample.cells["excess"].index(largest[recipe]) for recipe in sample.cells["slope"]]
    looks = corrected(len(places))
    rises = above(sample.each("slope", looks).low, 0)
    return any_cell(rises & above(sample.each("excess", looks).low[:, places], margins.b1_none))


def _at_least(share: float, total: int) -> int:
    """How many of `total` are at least this share."""
    return max(1, math.ceil(share * total - 1e-9))


def _setting(cell: Cell) -> Cell:
    """Where the schemes of B4 are compared."""
    return without(cell, "criterion")


def competitive(sample: Sample, margins: CascadeMargins) -> Bools:
    """B4. GMP is compared with every other scheme, not with the best one, which would have to be chosen.

    That k of n settings hold is tested as a partial conjunction (Benjamini and Heller 2008): each setting at
    0.05 / (n - k + 1), because as many may be mistaken before fewer than k are left.
    """
    settings = sample.groups(_setting)
    needed = _at_least(margins.b4_cells, len(settings))
    high = [of.each("behind", corrected(len(settings) - needed + 1)).high for of in settings]
    return np.asarray(sum(below(each, margins.b4_gap).all(axis=-1) for each in high) >= needed)


def far_behind(sample: Sample, margins: CascadeMargins) -> Bools:
    """B4. Where some scheme is far above GMP in too many settings, by the same test."""
    settings = sample.groups(_setting)
    failing = _at_least(margins.b4_far_cells, len(settings))
    low = [of.any_of("behind", len(settings) - failing + 1).low for of in settings]
    return np.asarray(sum(any_cell(above(each, margins.b4_far)) for each in low) >= failing)


def some_never_reach(sample: Sample, margins: CascadeMargins) -> Bools:
    """Runs of B5b without a number of updates, of which a mean would be flattering."""
    never = np.isnan(sample.values["steps"]) & ~np.isnan(sample.values["lead"])
    return np.asarray(never.any(axis=(-2, -1)))


def all_reach(sample: Sample, margins: CascadeMargins) -> Bools:
    """That there are no such runs."""
    return ~some_never_reach(sample, margins)


def _layouts(sample: Sample) -> list[dict[str, Floats]]:
    """Each task's values by outcome, (tables, prunings, LR schedules, seeds); none where a combination is missing."""
    layouts = []
    for of in sample.groups(lambda cell: without(cell, *FACTORS)):
        there = [tuple(value(cell, factor) for factor in FACTORS) for cell in of.cells["accuracy"]]
        prunings, schedules = (
            (list(dict.fromkeys(levels)) for levels in zip(*there, strict=True)) if there else ([], [])
        )
        wanted = [*itertools.product(prunings, schedules)]
        if (
            of.cells["excess"] != of.cells["accuracy"]
            or min(len(prunings), len(schedules)) < 2
            or {*wanted} != {*there}
        ):
            return []
        at = np.array([there.index(each) for each in wanted]).reshape(len(prunings), len(schedules))
        layouts.append({name: values[:, at] for name, values in of.values.items()})
    return layouts


def schedules_matter(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B6.

    An eta squared measures an effect by the noise: where nothing is shed in most cells, the least excess has a large
    one, so means must also be apart. That every effect is estimated below that of a small one rests on no interval,
    but this is rare where an effect is large on both outcomes; an upper bound below it would take hundreds of seeds.
    Where an outcome hardly moves, as where nothing is shed, few seeds are certain of it, and what asks for both fails.
    Iterative and gradual pruning prune what has shed: that the pruning schedule moves the excess is in part how it is
    measured, so there accuracy decides.
    """
    layouts, tables = _layouts(sample), sample.values["accuracy"].shape[0]
    least = {"accuracy": margins.b6_accuracy, "excess": margins.b6_excess}
    complete, matters, nothing, alike = np.full((4, tables), bool(layouts))
    for layout in layouts:
        strong = np.ones((2, tables), dtype=np.bool_)
        still = np.zeros(tables, dtype=np.bool_)
        known = np.ones(tables, dtype=np.bool_)
        for name, values in layout.items():
            effects = two_way(values)
            for nth, factor in enumerate(("first", "second")):
                eta, p = effects[factor]
                levels = values.mean(axis=2 - nth)
                strong[nth] &= (eta >= margins.b6_effect) & (p < margins.b6_p)
                strong[nth] &= np.ptp(t_interval(levels).mean, axis=-1) >= least[name]
            cells = values.reshape(tables, -1, values.shape[-1])
            still |= _within(cells, least[name])
            known &= np.isfinite(t_interval(cells).std).all(axis=-1)
            nothing &= np.logical_and.reduce([eta < margins.b6_none for eta, _ in effects.values()])
        matters &= strong.any(axis=0)
        alike &= still & known  # networks that diverged are all at chance
    return Ruling(
        reproduced={
            "every pruning schedule was run under every LR schedule": complete,
            "one and the same of the two has a large and certain effect on both outcomes": matters,
        },
        refuted={
            "no effect of either, or of both together, is as much as a small one": nothing,
            "one outcome moves by less than counts, for certain": alike,
        },
    )


def _within(cells: Floats, margin: float) -> Bools:
    """Where all cells, (tables, cells, seeds), are equivalent to each other within a margin, at 2.5 %: either of two
    outcomes is enough."""
    pairs = itertools.combinations(range(cells.shape[1]), 2)
    apart = [t_interval(cells[:, a] - cells[:, b]) for a, b in pairs]
    return np.logical_and.reduce([above(each.low, -margin) & below(each.high, margin) for each in apart])


def rewinding(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B7. Either way of rewinding will do, so what one of them must show is corrected for their number.

    Where hardly anything is shed, hardly anything more of it is for certain more: means must be worth the name. Of
    cells that do not differ, those with the most noise alone decide their correlation (up to 46 % false ones in a
    simulation of noise in one cell of twelve): cells must differ for certain in both, which leaves less than 4 %.
    """
    ways = sample.groups(lambda cell: value(cell, "retraining"))
    least = {"accuracy": margins.b7_gain, "excess": margins.b7_excess}
    # Of each way of rewinding, by quantity: more than fine-tuning, and not more.
    shape = (len(sample.values["accuracy"]), len(ways))
    more, no_more = ({name: np.zeros(shape, dtype=np.bool_) for name in least} for _ in range(2))
    for nth, of in enumerate(ways):
        for name in least:
            mean = of.pooled(name, corrected(len(ways)))
            more[name][:, nth] = above(mean.low, 0) & (mean.mean >= least[name])
            no_more[name][:, nth] = of.pooled(name).high <= ROUNDING
    link = correlation(sample.each("accuracy").mean, sample.each("excess").mean)
    differ = [two_way(values[:, :, None, :])["first"][1] < 0.05 for values in sample.values.values()]
    none = {name: np.asarray(holds.all(axis=-1) & bool(ways)) for name, holds in no_more.items()}
    return Ruling(
        reproduced={
            "rewinding gains accuracy over fine-tuning": any_cell(more["accuracy"]),
            "the same way of rewinding sheds more than fine-tuning": any_cell(more["accuracy"] & more["excess"]),
            "there are the four cells that a correlation needs": np.full(
                len(link.low), len(sample.cells["accuracy"]) >= 4
            ),
            "cells differ for certain in both": np.logical_and.reduce(differ),
            "across cells, more accuracy goes with more shedding": above(link.low, 0),
        },
        refuted={
            "no way of rewinding gains accuracy over fine-tuning": none["accuracy"],
            "no way of rewinding sheds more than fine-tuning": none["excess"],
        },
    )


# --- Truths for the calibration


def dose_response(size: Callable[[float, float], float]) -> Callable[[Any, Cells], Scenario]:
    """An excess that is proportional to the share pruned, `size` of (margin, largest share) at the largest."""

    def truth(margins: CascadeMargins, cells: Cells) -> Scenario:
        largest = _largest(cells)
        slopes = {each: size(margins.b1_none, _dose(largest[each])) / _dose(largest[each]) for each in cells["slope"]}
        excess = {cell: slopes[without(cell, "pruned_share")] * _dose(cell) for cell in cells["excess"]}
        return {"slope": slopes, "excess": excess}

    return truth


def nearly_competitive(margins: CascadeMargins, cells: Cells) -> Scenario:
    """One setting too few in which GMP is competitive; in the others one scheme is at the margin."""
    first = {_setting(cell): cell for cell in reversed(cells["behind"])}
    failing = len(first) - _at_least(margins.b4_cells, len(first)) + 1
    settings = list(dict.fromkeys(map(_setting, cells["behind"])))[:failing]
    at_margin = dict.fromkeys((first[each] for each in settings), margins.b4_gap)
    return {"behind": dict.fromkeys(cells["behind"], -4 * margins.b4_far) | at_margin}


def by_lr_schedule(accuracy: float, excess: float) -> Callable[[Any, Cells], Scenario]:
    """LR schedules that are these steps apart; pruning schedules that make no difference."""

    def truth(margins: CascadeMargins, cells: Cells) -> Scenario:
        schedules: dict[Cell, list[str]] = {}
        for cell in cells["accuracy"]:
            schedules.setdefault(without(cell, *FACTORS), []).append(value(cell, "lr_schedule"))
        levels = {task: list(dict.fromkeys(each)) for task, each in schedules.items()}
        nth = {cell: levels[without(cell, *FACTORS)].index(value(cell, "lr_schedule")) for cell in cells["accuracy"]}
        steps = {"accuracy": accuracy, "excess": excess}
        return {name: {cell: step * nth[cell] for cell in cells[name]} for name, step in steps.items()}

    return truth


def in_proportion(cells: Cells) -> Scenario:
    """Gains in accuracy of 1 to 4 points, and five times as much of the survivors shed."""
    accuracy = dict(zip(cells["accuracy"], np.linspace(0.01, 0.04, len(cells["accuracy"])).tolist(), strict=True))
    return {"accuracy": accuracy, "excess": {cell: 5 * gain for cell, gain in accuracy.items()}}
