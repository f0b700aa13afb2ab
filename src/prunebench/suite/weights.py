"""What every job of a run should take on one machine: by `suite.remaining` the time left follows from it. Imports torch
only when it counts FLOPs."""

from prunebench.suite.costs import PASSES, JobCost, costs_of
from prunebench.suite.plan import Plan

FLOPS_PER_SECOND = 3e10
"""[ours: ResNet-8 at 16x16, one thread of an AMD EPYC, fp32, the kept laptop run]"""

EVALUATED = 0.5
"""Time of an image that is only evaluated over that of a trained one: more than its FLOPs say [ours: 0.6 in the kept
laptop run, 0.4 in the kept cifar run]."""

START = 0.5
"""Seconds of a job beside its network's and those that its estimate names."""

Weights = dict[str, tuple[str, float]]
"""The folder of a job of the plan, or the name of another rule -> the network at work, and seconds."""

TABLES_PER_SECOND = 1000
"""Simulated tables, of all claims [ours: laptop preset, AMD EPYC]."""


def weights_of(plan: Plan) -> Weights:
    """The weight of every job of a plan, and of the calibration; no network where none trains or is evaluated."""
    calibration = START + plan.preset.claims.calibration.tables / TABLES_PER_SECOND
    return {"calibrate": ("", calibration)} | {
        folder: (str(cost.workload) if cost.flops else "", _seconds(cost)) for folder, cost in costs_of(plan).items()
    }


def _seconds(cost: JobCost) -> float:
    images = cost.estimate.training + EVALUATED * cost.estimate.evaluation
    flops = PASSES * images * cost.network.flops if cost.network else 0
    return round(START + cost.estimate.seconds + flops / FLOPS_PER_SECOND, 3)
