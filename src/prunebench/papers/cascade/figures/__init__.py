"""The cascade study's figures, from its tables alone: nothing is trained, no configuration is read."""

from pathlib import Path

from prunebench.report.cascade.accuracy import gmp, random_vs_magnitude, retraining, schedules
from prunebench.report.cascade.masks import overlap, semi_structured
from prunebench.report.cascade.shedding import histograms, networks, shedding
from prunebench.report.style import Drawing, draw_figures
from prunebench.studies.cascade_names import DATA, FIGURES, TABLES

_NAMES = (
    *("task", "criterion", "prelude", "threshold", "retraining", "pruning", "lr_schedule", "comparison", "a", "b"),
    *("prelude_control", "pattern", "run", "moment", "scale"),
)

_ACCURACY = "n diverged test_accuracy ci_low ci_high"
_DIFFERENCE = "difference difference_low difference_high"
_CONTROL = "prelude_control control_difference control_difference_low control_difference_high"
_EXCESS = "excess excess_low excess_high"
_SETTING = "task criterion max_lr weight_decay pruned_share"

_NEEDED = {
    "cascade_shedding": f"{_SETTING} clock threshold n {_EXCESS}",
    "cascade_criteria": f"task criterion prelude sparsity {_ACCURACY} {_DIFFERENCE}",
    "cascade_retraining": f"task criterion sparsity retraining {_ACCURACY} {_DIFFERENCE} excess_difference "
    "excess_difference_low excess_difference_high",
    "cascade_schedules": f"task criterion sparsity pruning lr_schedule {_ACCURACY} best {_EXCESS}",
    "cascade_gmp": f"task prelude sparsity {_ACCURACY} {_DIFFERENCE} {_CONTROL} reached steps_ratio steps_ratio_low "
    "steps_ratio_high flops_ratio flops_ratio_low flops_ratio_high",
    "cascade_overlap": f"task sparsity comparison a b n {_EXCESS}",
    "cascade_semi_structured": f"task pattern prelude {_ACCURACY} {_DIFFERENCE} {_CONTROL} fitting fitting_low "
    "fitting_high",
    "cascade_shedding_curves": f"{_SETTING} epoch clock threshold n pruned pruned_low pruned_high control control_low "
    f"control_high {_EXCESS}",
    "cascade_magnitudes": f"{_SETTING} clock run moment n left right weights_share",
    "cascade_occupancy": "task prelude m alive n share share_low share_high chance",
    "cascade_progress": "task prelude sparsity steps n sparsity_now validation_accuracy low high",
}

_FIGURES = {
    "cascade_shedding": Drawing("Shedding after pruning", ("cascade_shedding", "cascade_shedding_curves"), shedding),
    "cascade_histograms": Drawing("Magnitudes of surviving weights", ("cascade_magnitudes",), histograms),
    "cascade_random_vs_magnitude": Drawing("Random and magnitude pruning", ("cascade_criteria",), random_vs_magnitude),
    "cascade_networks": Drawing("Shedding by network", ("cascade_shedding", "cascade_criteria"), networks),
    "cascade_retraining": Drawing("Rewinding and fine-tuning", ("cascade_retraining",), retraining),
    "cascade_schedules": Drawing("Pruning and learning-rate schedules", ("cascade_schedules",), schedules),
    "cascade_gmp": Drawing("Gradual magnitude pruning with a prelude", ("cascade_gmp",), gmp),
    "cascade_overlap": Drawing("Overlap of kept weights", ("cascade_overlap",), overlap),
    "cascade_semi_structured": Drawing("Semi-structured pruning", ("cascade_semi_structured",), semi_structured),
}


def draw(tables: Path, out: Path) -> None:
    """Draws every figure of the study, from the CSV files in `tables`, as SVG and PNG in `out`.

    A table without rows gives a figure that says so. The same tables give the same bytes. Raises InputError for a
    table that is missing, unreadable or lacks a column.
    """
    needed = {name: _NEEDED[name].split() for name in (*TABLES, *DATA)}
    draw_figures(tables, out, needed, _NAMES, {name: _FIGURES[name] for name in FIGURES})
