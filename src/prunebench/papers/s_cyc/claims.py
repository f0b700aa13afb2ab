"""Claims A1 to A8: S-Cyc (arXiv 2110.08764) and its successor SILO (arXiv 2212.06144)."""

import math
from functools import partial
from typing import Any

import numpy as np

from prunebench.papers.s_cyc import observations as see
from prunebench.papers.s_cyc.config import SCycMargins
from prunebench.papers.s_cyc.observations import Axis
from prunebench.stats import t_interval
from prunebench.suite.cells import value
from prunebench.suite.claim import ROUNDING, Bools, Claim, Quantity, Sample, above, any_cell, below
from prunebench.suite.conditions import Check, between, declare, every, no, pooled, some

ACCURACY: dict[str, Any] = {"tables": ("s_cyc_accuracy",), "figures": ("s_cyc_accuracy",)}
ORACLE: dict[str, Any] = {"tables": ("s_cyc_oracle",), "figures": ("s_cyc_oracle",)}
"""Of claims that a preset can ask of another schedule."""

CYCLES = 6
"""Pruning cycles over which a claimed change is spread when it is simulated."""


def narrowing(margins: SCycMargins) -> float:
    """The slope that is simulated for A1: the margin's ratio squared, over all cycles."""
    return 2 * math.log(margins.a1_ratio) / CYCLES


# --- A1, A1b: gradients

A1 = declare(
    id="A1",
    sentence="The distribution of weight gradients narrows as a ReLU network is iteratively pruned.",
    quantities=(
        Quantity("slope", "slope of log std of dL/dw over surviving weights, per cycle", "slope"),
        Quantity("ratio", "std of dL/dw over surviving weights, last cycle that trains over dense", "ratio"),
        Quantity("matched_slope", "the slope at matched training loss", "slope"),
        Quantity("zeros_slope", "the slope with pruned weights counted as zero: narrows by construction", "slope"),
        Quantity("random_slope", "the slope under random pruning, a control", "slope"),
        Quantity("random_ratio", "the ratio under random pruning, a control", "ratio"),
    ),
    rule="Reproduced where, in every ReLU network pruned by magnitude, the 95 % interval of the slope lies below 0 and "
    "that of the ratio below {a1_ratio:g}. Not reproduced where in some network the interval (corrected for looking at "
    "several) lies above {a1_flat:g} per cycle.",
    reproduced={
        "in every ReLU network the slope's interval lies below 0": every("slope", "<", 0),
        "in every ReLU network the ratio's interval lies below the margin": every("ratio", "<", "a1_ratio"),
    },
    refuted={
        "in some ReLU network the slope's interval lies above the mark of a flat one": some("slope", ">", "a1_flat")
    },
    claimed={"slope": narrowing, "ratio": lambda margins: margins.a1_ratio**2},
    false={"slope": 0},
    claimed_as="the margin's ratio squared over 6 cycles [ours]",
    published="n/a: no value of the figure is known here",
    observe=see.narrowing,
    tables=("s_cyc_gradients",),
    figures=("s_cyc_gradient_distribution", "s_cyc_gradient_spread"),
)


def equivalent_to_relu(sample: Sample, margins: SCycMargins) -> Bools:
    """Where every difference is within a share of ReLU's own slope."""
    difference = sample.values["difference"]
    share = margins.a1b_equivalent * np.abs(sample.each("relu_slope").mean[..., None])
    less, more = t_interval(difference - share, 0.9), t_interval(difference + share, 0.9)
    return sample.every("difference", (less.high < 0) & (more.low > 0))


A1B = declare(
    id="A1b",
    sentence="The narrowing belongs to ReLU networks.",
    mark="(implied)",
    quantities=(
        Quantity("difference", "ReLU's slope of log spread minus that of the other activation", "slope"),
        Quantity("relu_slope", "slope of log spread of the ReLU network beside it", "slope"),
    ),
    rule="Reproduced where ReLU's slope lies below every other activation's (95 % interval of the difference). Not "
    "reproduced where it is within {a1b_equivalent:.0%} of its own size of every other's (90 % interval), or above "
    "some other's for certain.",
    reproduced={"ReLU's slope lies below every other activation's": every("difference", "<", 0)},
    refuted={
        "ReLU's slope is equivalent to every other activation's": Check(equivalent_to_relu, {"relu_slope": ()}),
        "ReLU's slope lies above some other activation's": some("difference", ">", 0),
    },
    claimed={"difference": narrowing, "relu_slope": narrowing},
    false={"difference": 0},
    claimed_as="ReLU narrows as simulated for A1, the others not at all [ours]",
    observe=see.other_activations,
    tables=("s_cyc_gradients",),
    figures=("s_cyc_gradient_spread",),
)

# --- A2, A6: the oracle


A2 = declare(
    id="A2",
    sentence="Sparser networks need a larger learning rate.",
    quantities=(
        Quantity("slope", "slope of log best max_lr over -log density, best by validation accuracy", "slope"),
        Quantity("ratio", "best max_lr of the sparsest network over the dense one's", "ratio"),
        Quantity("step", "a step of the grid", "ratio"),
        Quantity("slope_step", "what rounding to the grid can do to the slope", "slope"),
    ),
    rule="Reproduced where the 95 % interval of the slope, widened by the grid's rounding, lies above 0 and the "
    "ratio is at least {a2_ratio:g}. Not reproduced where the widened interval of the slope lies below 0, or that "
    "of the ratio, widened by a step of the grid, below {a2_flat:g}.",
    # Seeds that agree on a value of the grid have no spread; what is not known then is the grid's step.
    reproduced={
        "the slope's interval, widened by the grid's rounding, lies above 0": Check(
            lambda of, margins: of.every("slope", above(of.each("slope").low - of.each("slope_step").mean, 0)),
            {"slope": ()},
        ),
        "the sparsest network's best max_lr is as many times the dense one's as it must be": (
            every("ratio", ">=", "a2_ratio", point=True)
        ),
    },
    refuted={
        "the widened interval of the slope lies below 0": Check(
            lambda of, margins: any_cell(below(of.any_of("slope").high + of.each("slope_step").mean, 0))
        ),
        "the interval of the ratio, widened by a step of the grid, lies below the mark of a flat one": Check(
            lambda of, margins: any_cell(
                below(of.any_of("ratio").high + of.each("step").mean, math.log(margins.a2_flat))
            ),
            {"ratio": ("a2_flat",)},
        ),
    },
    claimed={"slope": math.log(2.3) / (CYCLES * math.log(2)), "ratio": 2.3},
    false=lambda margins, cells: {"slope": 0.0, "ratio": math.log(2.3)},
    claimed_as="the authors' x2.3, halving the weights 6 times",
    published="x2.3 (0.03 to 0.07, ResNet-20), x2.5 (0.04 to 0.10, VGG-19) [authors' code]",
    headline="ratio",
    observe=see.best_max_lr,
    notes=see.ends_of_the_grid,
    **ORACLE,
)

A6 = declare(
    id="A6",
    sentence="S-Cyc is comparable to an oracle that tunes max_lr by grid search in every cycle.",
    quantities=(
        Quantity("difference", "test accuracy of the oracle minus that of S-Cyc", "points"),
        Quantity(
            "inside",
            "share of cycles in which S-Cyc's max_lr is near the grid's best, by this seed's validation accuracies",
            "share",
        ),
    ),
    rule="Reproduced where the 90 % interval of the mean difference lies within {a6_margin:.1%} (absolute) and "
    "S-Cyc's max_lr is near-best in {a6_inside:.0%} of the cycles. Not reproduced where the oracle is better by "
    "more than the margin for certain, or that share lies below {a6_outside:.0%} for certain.",
    reproduced={
        "the mean difference's 90 % interval lies within the margin": pooled("difference", "within", "a6_margin"),
        "S-Cyc's max_lr is near the best in enough cycles": pooled("inside", ">=", "a6_inside", point=True),
    },
    refuted={
        "the oracle is better by more than the margin for certain": pooled("difference", ">", "a6_margin"),
        "S-Cyc's max_lr is near the best in too few cycles for certain": pooled("inside", "<", "a6_outside"),
    },
    claimed={"difference": 0, "inside": 1},
    false={"difference": "a6_margin"},
    claimed_as="no difference",
    published='"comparable" [abstract]; no number',
    observe=see.against_oracle,
    **ORACLE,
)

# --- A3, A4, A7: accuracy

A3 = declare(
    id="A3",
    sentence="S-Cyc beats the best of four benchmark schedules consistently, by 2.1 to 3.4 %.",
    quantities=(Quantity("gain", "test accuracy of S-Cyc minus that of the best benchmark by validation", "points"),),
    rule="In cycles of at most {a3_density:.0%} density: reproduced where the mean gain is positive in every cell "
    "and the 95 % interval of the mean over cells lies above {a3_gain:.1%} (absolute); not reproduced where that "
    "interval lies below it.",
    reproduced={
        "the gain is positive in every cell": every("gain", ">", 0, point=True),
        "the mean gain's interval lies above the margin": pooled("gain", ">", "a3_gain"),
    },
    refuted={"the mean gain's interval lies below the margin": pooled("gain", "<", "a3_gain")},
    claimed={"gain": 0.021},
    false={"gain": "a3_gain"},
    claimed_as="the low end of the published gain, read as points",
    published="+2.1 to +3.4 % [abstract]; absolute or relative is not said",
    observe=see.gains_by_cell,
    asked_sentence="{method} beats the best of the benchmark schedules consistently.",
    **ACCURACY,
    subject="S-Cyc",
)


def three_criteria(sample: Sample, margins: SCycMargins) -> bool:
    """The least for an interval between criteria."""
    return len(sample.cells["gain"]) >= 3


def mean_below_margin(sample: Sample, margins: SCycMargins) -> Bools:
    """By both intervals of the mean over criteria, or by one where seeds or criteria agree too well for the other."""
    high = np.fmax(sample.between("gain").high, sample.pooled("gain").high)
    return three_criteria(sample, margins) & below(high, margins.a4_gain)


A4 = declare(
    id="A4",
    sentence="S-Cyc works whatever the pruning method.",
    quantities=(
        Quantity(
            "gain",
            "test accuracy of S-Cyc minus that of the best benchmark that ran, mean over the sparse cycles",
            "points",
        ),
    ),
    rule="With at least three criteria: reproduced where the mean over criteria lies above 0, by a random-effects "
    "interval between criteria and by one between seeds, and no criterion's interval lies below 0. Not reproduced "
    "where some criterion loses for certain, or where the mean over criteria lies below {a4_gain:.1%} for certain.",
    reproduced={
        "at least three criteria ran": Check(three_criteria),
        # Between criteria alone, what all of them share in a seed would not count as uncertain.
        "the mean over criteria lies above 0, between criteria (random effects) and between seeds": (
            *(between("gain", ">", 0), pooled("gain", ">", 0)),
        ),
        "no criterion's interval lies below 0": no("gain", "<", 0),
    },
    refuted={
        "some criterion loses for certain": some("gain", "<", 0),
        "the mean over criteria lies below the margin for certain": Check(mean_below_margin, {"gain": ("a4_gain",)}),
    },
    claimed={"gain": 0.021},
    false={"gain": 0},
    claimed_as="the low end of A3's published gain",
    published="n/a: said in words",
    observe=see.gains_by_criterion,
    notes=see.compared_with,
    asked_sentence="{method} works whatever the pruning method.",
    **ACCURACY,
    subject="S-Cyc",
)


def against_a_constant(sample: Sample, margins: SCycMargins) -> bool:
    """With the published constants S-Cyc is a constant max_lr in the sparse cycles."""
    return any(value(cell, "course") == "constant" for cell in sample.cells["gain"])


A7 = declare(
    id="A7",
    sentence="It is the S-shape of max_lr over the cycles that matters.",
    mark="(implied)",
    quantities=(Quantity("gain", "test accuracy of S-Cyc minus that of another course of max_lr", "points"),),
    rule="Reproduced where the 95 % interval of the gain over every other shape (a constant max_lr is among them) "
    "lies above {a7_gain:.1%} (absolute). Not reproduced where the gain over some other lies below it for certain "
    "(corrected for looking at several).",
    reproduced={
        "a constant max_lr is among the other shapes": Check(against_a_constant),
        "S-Cyc's gain over every other shape lies above the margin": every("gain", ">", "a7_gain"),
    },
    # An interval within the margin on both sides lies below it, too: equivalence is one way to fail.
    refuted={"its gain over some other shape lies below the margin": some("gain", "<", "a7_gain")},
    claimed={"gain": 0.01},
    false={"gain": "a7_gain"},
    claimed_as="one point [ours]",
    published="n/a; with the published constants the S is finished at 21 % density [computed]",
    observe=see.shapes,
    tables=("s_cyc_accuracy",),
    figures=("s_cyc_lr_schedules", "s_cyc_accuracy"),
    notes=lambda data, method: (
        "A step in max_lr over the cycles, the third other shape that was thought of, is not run.",
    ),
    asked_sentence="It is the shape of max_lr over the cycles under {method} that matters.",
    subject="S-Cyc",
)

# --- A5: cost


def equal_updates(sample: Sample, margins: SCycMargins) -> Bools:
    """In every block."""
    return sample.every("steps", np.asarray((np.abs(sample.values["steps"]) < ROUNDING).all(axis=-1)))


A5 = declare(
    id="A5",
    sentence="S-Cyc does not substantially increase complexity.",
    quantities=(
        Quantity(
            "seconds",
            "wall time of a whole chain over that of the cyclical schedule; n counts interleaved timing blocks",
            "ratio",
        ),
        Quantity("steps", "updates of a whole chain over those of the cyclical schedule", "ratio"),
    ),
    rule="Reproduced where both make equally many updates and the 95 % interval of the time ratio lies below "
    "{a5_time:g}; not reproduced where it lies above.",
    reproduced={
        "both make the same number of updates": Check(equal_updates, {"steps": ()}),
        "the ratio of wall time lies below the margin": pooled("seconds", "<", "a5_time"),
    },
    refuted={"the ratio of wall time lies above the margin": pooled("seconds", ">", "a5_time")},
    claimed={"seconds": 1},
    false={"seconds": "a5_time"},
    claimed_as="equal time",
    published="n/a: said in words",
    observe=see.costs,
    tables=("s_cyc_timing", "s_cyc_cost"),
    replicates="timing blocks",
    notes=see.how_it_was_timed,
)

# --- A8: the released scripts

A8 = declare(
    id="A8",
    sentence="The released scripts report the accuracy that a sound protocol gives.",
    mark="(implied)",
    quantities=(
        Quantity(
            "difference",
            "accuracy that the scripts report, with all defects but the threshold's, minus test accuracy at the end of "
            "a sound protocol",
            "points",
        ),
        Quantity("best_epoch", "test accuracy of the best epoch minus that of the last", "points"),
        Quantity("augmented", "accuracy on augmented test images minus that on these as they are", "points"),
        Quantity("whole_batches", "right ones in whole batches over all test images, minus test accuracy", "points"),
        Quantity("smaller_set", "test accuracy after training on the fifth run's set minus that on all", "points"),
        Quantity("cut_ramp", "test accuracy under a ramp cut below max_lr minus that under a whole one", "points"),
        Quantity("repeated_scores", "sparsity of a threshold over repeated scores minus the wanted one", "points"),
    ),
    rule="Reproduced: in the scripts' first run and in their fifth, at every sparsity, the 90 % interval of the "
    "difference lies within {a8_margin:.1%} (absolute). Not reproduced: somewhere it lies outside for certain "
    "(corrected for looking at several). What each defect adds alone is shown and not judged.",
    reproduced={
        "in every run and at every sparsity it is within the margin": every("difference", "within", "a8_margin")
    },
    refuted={"in some run at some sparsity it is outside": some("difference", "outside", "a8_margin")},
    claimed={"difference": 0},
    false={"difference": "a8_margin"},
    claimed_as="no difference",
    published="n/a: said nowhere; the scripts' results are taken as accuracies of a test set",
    observe=see.of_released,
    tables=("s_cyc_released",),
    figures=("s_cyc_released",),
    notes=see.what_defects_are,
)

CLAIMS = (A1, A1B, A2, A3, A4, A5, A6, A7, A8)

# --- Claims of users'


def beats(id: str, axis: Axis, own: str, reference: str) -> Claim:
    """The claim of a user's that `own` prunes better than `reference`: two schedules, criteria or tasks of the study.

    Two tasks may differ in their update or in their network. Compared are chains that are alike in all else, seed by
    seed, in the sparse cycles that S-Cyc's claims are about; there is nothing to see where one of the two did not run.
    """
    return declare(
        id=id,
        sentence=f"{own} prunes better than {reference}.",
        mark="[yours]",
        quantities=(Quantity("gain", f"test accuracy of {own} minus that of {reference}", "points"),),
        rule="In cycles of at most {a3_density:.0%} density: reproduced where the 95 % interval of the mean gain over "
        "cells lies above 0, not reproduced where it lies below 0.",
        reproduced={"the mean gain's interval lies above 0": pooled("gain", ">", 0)},
        refuted={"the mean gain's interval lies below 0": pooled("gain", "<", 0)},
        claimed={"gain": "a3_gain"},
        false={"gain": 0},
        claimed_as="the gain that A3 asks for",
        published="n/a: yours",
        observe=partial(see.gains_between, axis=axis, own=own, reference=reference),
        **ACCURACY,
    )
