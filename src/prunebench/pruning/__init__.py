"""Pruning: masks with exact counts, criteria by name, and what happens to the weights after a prune.

    from prunebench.pruning import ScoreInputs, after_prune_, get_criterion
    from prunebench.pruning.masks import density_after, full_masks, prunable_weights

    masks = full_masks(prunable_weights(model))
    for cycle in range(1, 26):
        train(model, masks)
        inputs = ScoreInputs(prunable_weights(model), masks, cycle=cycle)
        masks = get_criterion("global_magnitude").prune(inputs, density_after(0.2, cycle))
        after_prune_(model, masks, "rewind_lr")

This package does not import torch; its modules `layers`, `masks`, `structured`, `interchange` and `lightning` do.
"""

from prunebench.pruning.after import AfterPrune, after_prune_
from prunebench.pruning.amounts import cubic_density, round_density
from prunebench.pruning.criteria import CRITERIA, Criterion, ScoreInputs, get_criterion, register

__all__ = [
    "CRITERIA",
    "AfterPrune",
    "Criterion",
    "ScoreInputs",
    "after_prune_",
    "cubic_density",
    "get_criterion",
    "register",
    "round_density",
]
