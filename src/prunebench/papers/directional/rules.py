"""How the rules of claims C1 to C9 decide, and the truths that they are tried with in the calibration.

A condition on every cell is one on each cell's interval: all must hold, which needs no correction. A condition that one
of several cells can fulfil, and every refutation, for which one cell is enough, widens its intervals for all that it
looks at (Bonferroni). A claim that is not shown is not therefore refuted: refutations have margins of their own.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from prunebench.papers.directional.config import DirectionalMargins
from prunebench.stats import Interval
from prunebench.suite.cells import Cell, value
from prunebench.suite.claim import Bools, Cells, Ruling, Sample, Scenario, any_cell, in_first

Margin = str | float
"""A number, or the name of a margin, with `-` before it where its negative is meant."""

Condition = tuple[str, str, Margin]
"""A quantity, one of < <= > >=, and a margin: the whole interval lies on that side of it."""

_SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _bound(margins: DirectionalMargins, margin: Margin, ratio: bool) -> float:
    """The value that a quantity is compared with: that of a ratio is a logarithm."""
    if not isinstance(margin, str):
        return margin
    bound = float(getattr(margins, margin.removeprefix("-")))
    return float(np.log(bound)) if ratio else -bound if margin[0] == "-" else bound


def conditions(
    every: Mapping[str, Condition],
    some: Mapping[str, Condition],
    ratios: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> Callable[[Sample, DirectionalMargins], Ruling]:
    """A rule: reproduced where `every` condition holds in each cell, refuted where one of `some` holds in any.

    Conditions are named by what they say. ratios: quantities whose values are logarithms of what their margins are.
    optional: quantities that need not have a cell.
    """

    def judge(sample: Sample, margins: DirectionalMargins) -> Ruling:
        def holds(condition: Condition, intervals: Callable[[str], Interval]) -> Bools:
            quantity, sign, margin = condition
            interval = intervals(quantity)
            end = interval.low if sign.startswith(">") else interval.high
            return np.asarray(_SIGNS[sign](end, _bound(margins, margin, quantity in ratios)))

        def in_every(condition: Condition) -> Bools:
            held = holds(condition, sample.each)
            return np.asarray(held.all(axis=-1)) if condition[0] in optional else sample.every(condition[0], held)

        def in_some(condition: Condition) -> Bools:
            return any_cell(holds(condition, lambda quantity: sample.any_of(quantity, len(some))))

        return Ruling(
            {text: in_every(condition) for text, condition in every.items()},
            {text: in_some(condition) for text, condition in some.items()},
        )

    return judge


def truths(claimed: Mapping[str, float], quantity: str, margin: str, ratio: bool = False) -> dict[str, Any]:
    """A claim's two scenarios: the claimed effect, and the same but for one quantity's first cell, at its margin."""

    def no_effect(margins: DirectionalMargins, cells: Cells) -> Scenario:
        return {**claimed, quantity: in_first(cells[quantity], _bound(margins, margin, ratio), claimed[quantity])}

    def as_claimed(margins: DirectionalMargins, cells: Cells) -> Scenario:
        return claimed

    return {"claimed": as_claimed, "no_effect": no_effect}


# --- C2


def _tasks(cells: Sequence[Cell]) -> list[str]:
    """The tasks of these cells, each once."""
    return list(dict.fromkeys(value(cell, "task") for cell in cells))


def _is_of(task: str, cell: Cell) -> bool:
    return bool(value(cell, "task") == task)


def judge_c2(sample: Sample, margins: DirectionalMargins) -> Ruling:
    """On every task some setting is enough."""
    none = np.zeros(len(sample.values["difference"]), dtype=bool)
    tasks = _tasks(sample.cells["difference"])
    sound, lost = [], [none]
    for task in tasks:
        of_task = partial(_is_of, task)
        of = sample.only("difference", of_task).only("sparsity", of_task)
        # One setting of a task is enough: an interval allows for all of them.
        difference, sparsity = of.any_of("difference"), of.any_of("sparsity")
        sound.append(any_cell((difference.low > -margins.c2_margin) & (sparsity.low > margins.c2_sparsity)))
        # All settings, but of one task. That none became sparse does not count: it says that c was too small.
        certain = of.each("difference", 1 - 0.05 / len(tasks))
        lost.append(of.every("difference", certain.high < -margins.c2_margin))
    held = np.all(sound or [none], axis=0)
    return Ruling(
        {"on every task some setting becomes sparse by itself and does not lose as much as the margin": held},
        {"on some task every setting loses more than the margin": np.any(lost, axis=0)},
    )


def no_effect_c2(margins: DirectionalMargins, cells: Cells) -> Scenario:
    """False on the first task, in all of its settings."""
    first = _tasks(cells["difference"])[:1]
    there = {cell: -margins.c2_margin for cell in cells["difference"] if value(cell, "task") in first}
    return {"difference": dict.fromkeys(cells["difference"], 0.0004) | there, "sparsity": 0.905}


# --- Equivalence


def judge_c5(sample: Sample, margins: DirectionalMargins) -> Ruling:
    """Within a margin of 0, or above 0.

    Two ways to hold, and no correction for it: where the true difference is minus the margin, either needs the 90 %
    interval to lie above that, which happens in at most 5 % of tables.
    """
    tost, superior = sample.each("difference", 0.9), sample.each("difference")
    equivalent = (tost.low > -margins.c5_margin) & (tost.high < margins.c5_margin)
    held = sample.every("difference", equivalent | (superior.low > 0))
    return Ruling(
        {"in every cell it is within the margin of SGD, or better than SGD": held},
        {"in some cell it loses more than the margin": any_cell(sample.any_of("difference").high < -margins.c5_margin)},
    )


def judge_c8(sample: Sample, margins: DirectionalMargins) -> Ruling:
    """SGD's within a margin of 1, gRDA's above one."""
    low, high, grown = np.log(1 - margins.c8_sgd), np.log(1 + margins.c8_sgd), np.log(margins.c8_grda)
    sgd, grda = sample.each("sgd", 0.9), sample.each("grda")
    moved, stays = sample.any_of("sgd", 2), sample.any_of("grda", 2)
    within = (sgd.low > low) & (sgd.high < high)
    return Ruling(
        {
            "on every task SGD's concentration stays within the margin": sample.every("sgd", within),
            "in every cell gRDA's grows as much as the margin": sample.every("grda", grda.low >= grown),
        },
        {
            "on some task SGD's changes by more": any_cell((moved.high < low) | (moved.low > high)),
            "in some cell gRDA's grows no more than SGD's may": any_cell(stays.high < high),
        },
    )


def judge_c9(sample: Sample, margins: DirectionalMargins) -> Ruling:
    """Within a margin of 0."""
    same, other, margin = sample.each("difference", 0.9), sample.any_of("difference"), margins.c5_margin
    return Ruling(
        {"every row is within the margin": sample.every("difference", (same.low > -margin) & (same.high < margin))},
        {"some row is not": any_cell((other.high < -margin) | (other.low > margin))},
    )
