"""The rules of claims C1 to C9, and the truths that they are tried with in the calibration.

A condition on every cell is one on each cell's interval: all must hold, which needs no correction. A condition that one
of several cells can fulfil, and every refutation, for which one cell is enough, widens its intervals for all that it
looks at (Bonferroni). What has not been shown is not thereby refuted: a refutation has a margin of its own.
"""

from collections.abc import Sequence

import numpy as np

from prunebench.papers.directional.config import DirectionalMargins
from prunebench.suite.cells import Cell, value
from prunebench.suite.claim import Cells, Ruling, Sample, Scenario, any_cell, in_first


def _tasks(cells: Sequence[Cell]) -> list[str]:
    """The tasks of these cells, each once."""
    return list(dict.fromkeys(value(cell, "task") for cell in cells))


def _of_task(sample: Sample, task: str, *quantities: str) -> Sample:
    for quantity in quantities:
        sample = sample.only(quantity, lambda cell: value(cell, "task") == task)
    return sample


def judge_c1(sample: Sample, margins: DirectionalMargins) -> Ruling:
    slope, error, cosine, control = (sample.each(name) for name in ("slope", "error", "cosine", "control"))
    flat, away, better = (sample.any_of(name, 3) for name in ("slope", "cosine", "control"))
    return Ruling(
        {
            "on every problem the error falls with the learning rate": sample.every(
                "slope", slope.low > margins.c1_flat
            ),
            "on every problem it ends below the margin": sample.every("error", error.high < margins.c1_error),
            "on every problem gRDA moves where directional pruning does": sample.every(
                "cosine", cosine.low > margins.c1_cosine
            ),
            "on every problem soft-thresholding, which knows no directions, fits worse": sample.every(
                "control", control.low > 0
            ),
        },
        {
            "on some problem the error does not fall": any_cell(flat.high < margins.c1_flat),
            "on some problem gRDA moves elsewhere": any_cell(away.high < margins.c1_not_cosine),
            "on some problem soft-thresholding fits better": any_cell(better.high < 0),
        },
    )


def claimed_c1(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"slope": 0.5, "error": 0.1, "cosine": 0.98, "control": 0.3}


def no_effect_c1(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {**claimed_c1(margins, cells), "slope": in_first(cells["slope"], margins.c1_flat, 0.5)}


def judge_c2(sample: Sample, margins: DirectionalMargins) -> Ruling:
    names = ("difference", "sparsity")
    tasks = [_of_task(sample, task, *names) for task in _tasks(sample.cells["difference"])]
    sound, lost = [], []
    for own in tasks:
        # One setting of a task is enough: an interval allows for all of them.
        difference, sparsity = (own.any_of(name) for name in names)
        sound.append(any_cell((difference.low > -margins.c2_margin) & (sparsity.low > margins.c2_sparsity)))
        # All settings, but of one task. That none became sparse does not count: it says that c was too small.
        certain = own.each("difference", 1 - 0.05 / len(tasks))
        lost.append(own.every("difference", certain.high < -margins.c2_margin))
    none = np.zeros(len(sample.values["difference"]), dtype=bool)
    return Ruling(
        {
            "on every task some setting becomes sparse by itself and does not lose as much as the margin": np.all(
                sound or [none], axis=0
            )
        },
        {"on some task every setting loses more than the margin": np.any([none, *lost], axis=0)},
    )


def claimed_c2(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"difference": 0.0004, "sparsity": 0.905}


def no_effect_c2(margins: DirectionalMargins, cells: Cells) -> Scenario:
    # False on the first task, in all of its settings.
    first = _tasks(cells["difference"])[0]
    there = {cell: -margins.c2_margin for cell in cells["difference"] if value(cell, "task") == first}
    return {"difference": dict.fromkeys(cells["difference"], 0.0004) | there, "sparsity": 0.905}


def judge_c3(sample: Sample, margins: DirectionalMargins) -> Ruling:
    gradual, random = sample.each("over_gradual"), sample.each("over_random")
    behind, below = sample.any_of("over_gradual", 2), sample.any_of("over_random", 2)
    return Ruling(
        {
            "in every cell it does not lose as much as the margin to magnitude pruning": sample.every(
                "over_gradual", gradual.low > -margins.c3_margin
            ),
            "in every cell it gains more than the margin over random pruning": sample.every(
                "over_random", random.low > margins.c3_random
            ),
        },
        {
            "in some cell it is clearly behind magnitude pruning": any_cell(behind.high < -margins.c3_not),
            "in some cell it is behind random pruning": any_cell(below.high < 0),
        },
    )


def claimed_c3(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"over_gradual": 0.0044, "over_random": 0.0824}


def no_effect_c3(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {
        **claimed_c3(margins, cells),
        "over_gradual": in_first(cells["over_gradual"], -margins.c3_margin, 0.0044),
    }


def judge_c5(sample: Sample, margins: DirectionalMargins) -> Ruling:
    # Two ways to hold, and no correction for it: where the true difference is minus the margin, either needs the 90 %
    # interval to lie above that, which happens in at most 5 % of tables.
    tost, superior = sample.each("difference", 0.9), sample.each("difference")
    equivalent = (tost.low > -margins.c5_margin) & (tost.high < margins.c5_margin)
    return Ruling(
        {
            "in every cell it is within the margin of SGD, or better than SGD": sample.every(
                "difference", equivalent | (superior.low > 0)
            )
        },
        {"in some cell it loses more than the margin": any_cell(sample.any_of("difference").high < -margins.c5_margin)},
    )


def claimed_c5(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"difference": 0.0004}


def no_effect_c5(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"difference": in_first(cells["difference"], -margins.c5_margin, 0.0004)}


def judge_c4(sample: Sample, margins: DirectionalMargins) -> Ruling:
    time, state = sample.each("time"), sample.each("state")
    slow, large = sample.any_of("time", 2), sample.any_of("state", 2)
    return Ruling(
        {
            "a training step takes only slightly longer on every network": sample.every(
                "time", time.high < np.log(margins.c4_time)
            ),
            "gRDA keeps only slightly more memory on every network": sample.every(
                "state", state.high <= margins.c4_state
            ),
        },
        {
            "on some network a training step takes much longer": any_cell(slow.low > np.log(margins.c4_not_time)),
            "on some network gRDA keeps much more memory": any_cell(large.low > margins.c4_not_state),
        },
    )


def claimed_c4(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"time": float(np.log(1.05)), "state": 1.0}


def no_effect_c4(margins: DirectionalMargins, cells: Cells) -> Scenario:
    limit = float(np.log(margins.c4_time))
    return {"time": in_first(cells["time"], limit, float(np.log(1.05))), "state": 1.0}


def judge_c6(sample: Sample, margins: DirectionalMargins) -> Ruling:
    barrier, rise, gap = (sample.each(name) for name in ("barrier", "error_rise", "gap"))
    high, wrong = sample.any_of("barrier", 2), sample.any_of("error_rise", 2)
    return Ruling(
        {
            "on every task the loss stays low along the curve": sample.every(
                "barrier", barrier.high < margins.c6_barrier
            ),
            "on every task the training error stays low along it, too": sample.every(
                "error_rise", rise.high < margins.c6_error
            ),
            # A curve that falls all the way from a gRDA that ended high has no barrier and joins no two minima.
            "on every task gRDA's training loss is within the margin of SGD's": sample.every(
                "gap", gap.high < margins.c6_barrier
            ),
        },
        {
            "on some task there is a barrier of loss": any_cell(high.low > margins.c6_not_barrier),
            "on some task the training error rises along the curve": any_cell(wrong.low > margins.c6_not_error),
        },
    )


def claimed_c6(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"barrier": 0.0022, "error_rise": 0.0, "gap": 0.00005}


def no_effect_c6(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {**claimed_c6(margins, cells), "barrier": in_first(cells["barrier"], margins.c6_barrier, 0.0022)}


def judge_c7(sample: Sample, margins: DirectionalMargins) -> Ruling:
    over, early, control, quadratic = (sample.each(name) for name in ("over_chance", "early", "control", "quadratic"))
    further, curved = sample.any_of("control", 2), sample.any_of("quadratic", 2)
    return Ruling(
        {
            "on every task the share ends near chance": sample.every("over_chance", over.high <= margins.c7_chance),
            "on every task it has fallen during training": sample.every(
                "early", early.high <= np.log(margins.c7_early)
            ),
            "on every task it is like that of SGD in another order": sample.every(
                "control", control.high <= np.log(margins.c7_control)
            ),
            # Without this condition a claim could hold that the last one below refutes. It holds without any network.
            "wherever the curvature predicts a loss, that is small": np.asarray(
                (quadratic.high < margins.c7_quadratic).all(axis=-1)
            ),
        },
        {
            "on some task the share is far above that of SGD in another order": any_cell(
                further.low > np.log(margins.c7_not_control)
            ),
            "somewhere the curvature predicts a loss that is not small": any_cell(curved.low > margins.c7_quadratic),
        },
    )


def claimed_c7(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"over_chance": 3.3, "early": float(np.log(2.7e-3 / 3.7e-2)), "control": 0.0, "quadratic": 3.3e-3}


def no_effect_c7(margins: DirectionalMargins, cells: Cells) -> Scenario:
    limit = float(np.log(margins.c7_control))
    return {**claimed_c7(margins, cells), "control": in_first(cells["control"], limit, 0.0)}


def judge_c8(sample: Sample, margins: DirectionalMargins) -> Ruling:
    low, high, grown = np.log(1 - margins.c8_sgd), np.log(1 + margins.c8_sgd), np.log(margins.c8_grda)
    sgd, grda = sample.each("sgd", 0.9), sample.each("grda")
    moved, stays = sample.any_of("sgd", 2), sample.any_of("grda", 2)
    return Ruling(
        {
            "on every task SGD's concentration stays within the margin": sample.every(
                "sgd", (sgd.low > low) & (sgd.high < high)
            ),
            "in every cell gRDA's grows as much as the margin": sample.every("grda", grda.low >= grown),
        },
        {
            "on some task SGD's changes by more": any_cell((moved.high < low) | (moved.low > high)),
            "in some cell gRDA's grows no more than SGD's may": any_cell(stays.high < high),
        },
    )


def claimed_c8(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"sgd": float(np.log(1.09)), "grda": float(np.log(1.9))}


def no_effect_c8(margins: DirectionalMargins, cells: Cells) -> Scenario:
    limit = float(np.log(margins.c8_grda))
    return {**claimed_c8(margins, cells), "grda": in_first(cells["grda"], limit, float(np.log(1.9)))}


def judge_c9(sample: Sample, margins: DirectionalMargins) -> Ruling:
    same, other = sample.each("difference", 0.9), sample.any_of("difference")
    margin = margins.c5_margin
    return Ruling(
        {"every row is within the margin": sample.every("difference", (same.low > -margin) & (same.high < margin))},
        {"some row is not": any_cell((other.high < -margin) | (other.low > margin))},
    )


def claimed_c9(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"difference": 0.0}


def no_effect_c9(margins: DirectionalMargins, cells: Cells) -> Scenario:
    return {"difference": in_first(cells["difference"], -margins.c5_margin, 0.0)}
