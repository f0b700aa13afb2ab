"""The directional-pruning study's figures, from its tables alone: nothing is trained, no configuration is read."""

from pathlib import Path

from prunebench.report.directional.arms import accuracy, layerwise, norms, trajectory
from prunebench.report.directional.minima import connectivity, curvature, plane, toy
from prunebench.report.style import Drawing, draw_figures
from prunebench.studies.directional_names import DATA, FIGURES, TABLES

_NAMES = (
    *("task", "method", "matched_to", "pair", "path", "statistics", "kind", "point", "problem", "layer"),
    *("schedule", "source", "network", "measure", "optimizer", "fixed", "scale"),
)

_ARM = "task method matched_to"
_ENDS = "train_loss train_loss_low train_loss_high test_error test_error_low test_error_high"

_NEEDED = {
    "directional_accuracy": f"{_ARM} n diverged sparsity sparsity_low sparsity_high test_accuracy ci_low "
    "ci_high difference difference_low difference_high grda_difference grda_difference_low grda_difference_high",
    "directional_sensitivity": "",
    "directional_overhead": "",
    "directional_connectivity": "",
    "directional_curvature": "task epoch pair k n share share_low share_high chance quadratic quadratic_low "
    "quadratic_high",
    "directional_norms": "",
    "directional_toy": "problem gamma fixed n lam error error_low error_high soft_error soft_error_low soft_error_high "
    "cosine cosine_low cosine_high slope slope_low slope_high d flat scale",
    "directional_trajectory": f"{_ARM} epoch n validation_accuracy low high density density_low density_high",
    "directional_norm_curves": f"{_ARM} epoch n ratio low high floor",
    "directional_layers": f"{_ARM} position layer weights n sparsity low high",
    "directional_paths": f"task pair path statistics t n {_ENDS}",
    "directional_planes": "task seed pair kind point x y train_loss test_error",
    "directional_spectrum": "task epoch rank n eigenvalue low high",
    "directional_published": "method schedule sparsity accuracy source",
}

_FIGURES = {
    "directional_accuracy": Drawing("Accuracy against sparsity", ("directional_accuracy",), accuracy),
    "directional_trajectory": Drawing("Accuracy and density in training", ("directional_trajectory",), trajectory),
    "directional_connectivity": Drawing("Paths between minima", ("directional_paths",), connectivity),
    "directional_plane": Drawing("The plane through two minima", ("directional_planes",), plane),
    "directional_curvature": Drawing(
        "Displacement and curvature", ("directional_curvature", "directional_spectrum"), curvature
    ),
    "directional_norms": Drawing("Concentration of the weights", ("directional_norm_curves",), norms),
    "directional_layerwise": Drawing("Sparsity by layer", ("directional_layers",), layerwise),
    "directional_toy": Drawing("gRDA and directional pruning on toy problems", ("directional_toy",), toy),
}


_OWN = ("directional_overhead", "directional_toy", "directional_published")
"""Tables whose `scale` is not that of the preset's training."""


def draw(tables: Path, out: Path) -> None:
    """Draws every figure of the study, from the CSV files in `tables`, as SVG and PNG in `out`.

    A table without rows gives a figure that says so. The same tables give the same bytes. Raises InputError for a
    table that is missing, unreadable or lacks a column.
    """
    # The first table with rows states the preset's scale.
    names = sorted((*TABLES, *DATA), key=lambda name: name in _OWN)
    needed = {name: _NEEDED[name].split() for name in names}
    draw_figures(tables, out, needed, _NAMES, {name: _FIGURES[name] for name in FIGURES})
