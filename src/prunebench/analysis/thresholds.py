"""What a global threshold prunes whose scores hold some layers twice: a defect of released pruning scripts."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from prunebench.errors import InputError, nearest
from prunebench.pruning.masks import check_scores, check_share, survivors


def sparsity_with_repeats(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], parameters: Iterable[str], density: float
) -> float:
    """The sparsity, in [0, 1], that a global threshold reaches instead of 1 - `density`.

    The threshold is to keep a share of the survivors: those that `density` (of all weights, in [0, 1]) keeps over those
    that are alive. It is taken over scores into which every parameter that has none, such as a bias, puts those of the
    last one before it again; a weight is kept whose score is not below it [authors' code: SILO resnet_20_cifar_10.py].

    scores, masks: of the prunable weights, by name and of one shape; dead weights' scores are never read. parameters:
    the names of all of the network's parameters, in its order. Raises InputError for names, shapes or a density that
    are not so.

    >>> import torch
    >>> from prunebench.analysis.thresholds import sparsity_with_repeats
    >>> scores = {"conv.weight": torch.arange(1.0, 9), "fc.weight": torch.tensor([9.0, 10])}
    >>> masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    >>> sparsity_with_repeats(scores, masks, ["conv.weight", "fc.weight"], 0.5)
    0.5
    >>> sparsity_with_repeats(scores, masks, ["conv.weight", "fc.weight", "fc.bias"], 0.5)  # 6 of 8 + 2 + 2
    0.6
    """
    check_scores(scores, masks)
    check_share(density, "density")
    total = sum(mask.numel() for mask in masks.values())
    living = {name: scores[name].detach().double()[mask].cpu() for name, mask in masks.items()}
    names, pool = [*parameters], list[Tensor]()
    for name in masks:
        if name not in names:
            raise InputError(f"the parameters lack '{name}': {nearest(name, names)}")
    for name in names:
        pool += [living[name]] if name in living else pool[-1:]
    alive, everything = torch.cat([*living.values()]).numpy(), torch.cat(pool).numpy()
    wanted = survivors(total, density)
    kept = survivors(len(everything), wanted / len(alive)) if len(alive) else 0
    if kept == 0:
        return 1.0
    threshold = np.partition(everything, len(everything) - kept)[len(everything) - kept]
    return 1 - int((alive >= threshold).sum()) / total
