"""Masks: which weights of a network are alive, exact counts of survivors, and their application.

A mask set is `dict[str, torch.Tensor]`: parameter name -> bool tensor of the parameter's shape, True = alive.
The order of its layers is the order in which the network's modules are registered, and it decides ties.
"""

import math
from collections.abc import Iterable, Mapping
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from prunebench.errors import InputError, nearest
from prunebench.pruning.amounts import density_after as density_after
from prunebench.pruning.layers import check_mask, mask_layer_, table_of
from prunebench.pruning.layers import prunable_parameters as prunable_parameters
from prunebench.pruning.layers import prunable_weights as prunable_weights

Masks = dict[str, Tensor]


def full_masks(params: Mapping[str, Tensor]) -> Masks:
    """Masks of the parameters' shapes and devices in which every weight is alive.

    >>> import torch
    >>> from prunebench.pruning.masks import full_masks
    >>> full_masks({"w": torch.zeros(2)})
    {'w': tensor([True, True])}
    """
    return {name: torch.ones_like(p, dtype=torch.bool) for name, p in params.items()}


def nonzero(weights: Mapping[str, Tensor]) -> Masks:
    """Masks of the weights that are not zero; a NaN is not.

    >>> import torch
    >>> from prunebench.pruning.masks import nonzero
    >>> nonzero({"w": torch.tensor([0.0, 2.0, float("nan")])})
    {'w': tensor([False,  True,  True])}
    """
    return {name: weight.detach() != 0 for name, weight in weights.items()}


def alive(masks: Mapping[str, Tensor]) -> int:
    """How many weights are alive.

    >>> import torch
    >>> from prunebench.pruning.masks import alive
    >>> alive({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    3
    """
    return sum(int(mask.count_nonzero()) for mask in masks.values())


def density(masks: Mapping[str, Tensor]) -> float:
    """Share of the prunable weights that are alive, in [0, 1].

    Raises InputError if there is none.

    >>> import torch
    >>> from prunebench.pruning.masks import density
    >>> density({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    0.75
    """
    return alive(masks) / _total(masks)


def sparsity(masks: Mapping[str, Tensor]) -> float:
    """Share of the prunable weights that are pruned, in [0, 1].

    Raises InputError if there is none.

    >>> import torch
    >>> from prunebench.pruning.masks import sparsity
    >>> sparsity({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    0.25
    """
    total = _total(masks)
    return (total - alive(masks)) / total


def layer_densities(masks: Mapping[str, Tensor]) -> dict[str, float]:
    """Per layer, the share of its weights that are alive, in [0, 1].

    >>> import torch
    >>> from prunebench.pruning.masks import layer_densities
    >>> layer_densities({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    {'a': 0.5, 'b': 1.0}
    """
    return {name: density({name: mask}) for name, mask in masks.items()}


def survivors(total: int, share: float) -> int:
    """How many of `total` weights a density of `share` keeps: the nearest integer, halves rounded up.

    total: >= 0. share: in [0, 1]; neither is checked.

    >>> from prunebench.pruning.masks import survivors
    >>> survivors(10, 0.25), survivors(10, 0.24)
    (3, 2)
    """
    return math.floor(total * share + 0.5)


@torch.no_grad()
def apply_masks_(weights: Mapping[str, Tensor] | nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Sets the pruned weights to zero in place, also those that are NaN. Weights without a mask are left alone.

    weights: parameters by name, or a model, whose weights are zeroed through weight_norm, spectral_norm and torch's
    pruning, too.

    Raises InputError if a mask has no weight or another shape than its weight, before any is changed.

    >>> import torch
    >>> from prunebench.pruning.masks import apply_masks_
    >>> weights = {"w": torch.tensor([1.0, 2.0])}
    >>> apply_masks_(weights, {"w": torch.tensor([True, False])})
    >>> weights
    {'w': tensor([1., 0.])}
    """
    layers = None
    if isinstance(weights, nn.Module):
        layers, _ = table_of(weights, include_norm=True)
        shapes = {name: layer.weight().shape for name, layer in layers.items()}
    else:
        shapes = {name: weight.shape for name, weight in weights.items()}
    for name, mask in masks.items():
        if name not in shapes:
            raise InputError(f"mask '{name}' has no parameter: {nearest(name, shapes)}")
        if shapes[name] != mask.shape:
            raise InputError(f"mask '{name}' has shape {tuple(mask.shape)}, its parameter {tuple(shapes[name])}")
        if mask.dtype != torch.bool:
            raise InputError(f"mask '{name}' has type {mask.dtype}; allowed: torch.bool")
        if layers is not None:
            check_mask(layers[name], mask)
    for name, mask in masks.items():
        if layers is not None:
            mask_layer_(layers[name], mask)
        else:
            weights[name].masked_fill_(~mask, 0)  # type: ignore[index]


@torch.no_grad()
def keep_top(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    density: float | Mapping[str, float],
    scope: str = "global",
) -> Masks:
    """New masks in which the alive weights with the highest scores survive.

    scores: one number per weight, in the shapes of the masks; higher is kept. Those of dead weights are never
    read.
    density: share in [0, 1] of *all* prunable weights, dead ones included, that is alive afterwards; a dict
        gives each layer its own share and implies scope "layer".
    scope: "global" ranks all layers together and keeps exactly `survivors(all weights, density)`; "layer"
        ranks each layer by itself and keeps exactly `survivors(its weights, density)`. Either can empty a
        layer.

    Masks are monotone: a dead weight stays dead. Among equal scores the lower index survives, in the order of
    `masks` and then in flat (row-major) order, so equal weights are never over- or under-pruned. Nothing is
    changed in place.

    Raises InputError if more weights are asked for than are alive, if an alive weight's score is NaN, or if
    names, shapes, density or scope are not as above.

    >>> import torch
    >>> from prunebench.pruning.masks import full_masks, keep_top
    >>> scores = {"a": torch.tensor([9.0, 8.0]), "b": torch.tensor([1.0, 2.0])}
    >>> keep_top(scores, full_masks(scores), density=0.5)
    {'a': tensor([True, True]), 'b': tensor([False, False])}
    >>> keep_top(scores, full_masks(scores), density=0.5, scope="layer")
    {'a': tensor([ True, False]), 'b': tensor([False,  True])}
    """
    check_scores(scores, masks)
    if isinstance(density, Mapping):
        _same_names("densities", density, masks)
        shares = {name: check_share(density[name], f"density of '{name}'") for name in masks}
    else:
        share = check_share(density, "density")
        if scope == "global":
            return _keep(scores, masks, survivors(_total(masks), share), "the network")
        if scope != "layer":
            raise InputError(f"unknown scope '{scope}': {nearest(str(scope), ('global', 'layer'))}")
        shares = dict.fromkeys(masks, share)
    kept: Masks = {}
    for name, mask in masks.items():
        count = survivors(mask.numel(), shares[name])
        kept |= _keep({name: scores[name]}, {name: mask}, count, f"'{name}'")
    return kept


def _keep(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], count: int, where: str) -> Masks:
    """The `count` alive weights with the highest scores over all the given layers."""
    candidates = torch.cat([_candidates(name, scores[name], mask) for name, mask in masks.items()])
    total = candidates.numel()
    if count > total:
        raise InputError(f"{count} weights of {where} were to be kept but only {total} are alive")
    if count == total:
        return {name: mask.clone() for name, mask in masks.items()}
    if count == 0:
        return {name: torch.zeros_like(mask) for name, mask in masks.items()}
    # partition in linear time, no sort; torch.quantile refuses more than 2^24 elements
    threshold = torch.from_numpy(np.partition(candidates.numpy(), total - count)[[total - count]])
    chosen = candidates > threshold
    tied = (candidates == threshold).nonzero().squeeze(1)
    chosen[tied[: count - int(chosen.count_nonzero())]] = True
    kept: Masks = {}
    start = 0
    for name, mask in masks.items():
        size = int(mask.count_nonzero())
        part = chosen[start : start + size].to(mask.device)
        kept[name] = part.clone().reshape(mask.shape) if size == mask.numel() else _scatter(mask, part)
        start += size
    return kept


def _candidates(name: str, scores: Tensor, mask: Tensor) -> Tensor:
    """The scores of the alive weights, in flat order, on the CPU."""
    # a channels_last tensor is contiguous in another order, and indices must not depend on the memory format
    flat = scores.detach().contiguous().reshape(-1)
    if not bool(mask.all()):
        flat = flat[mask.contiguous().reshape(-1)]
    if bool(flat.isnan().any()):
        raise InputError(f"the scores of '{name}' contain NaN: has the network diverged?")
    # ranked on the CPU whatever the device: the same masks everywhere, and numpy knows no bfloat16
    return (flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat).cpu()


def _scatter(mask: Tensor, chosen: Tensor) -> Tensor:
    flat = torch.zeros(mask.numel(), dtype=torch.bool, device=mask.device)
    flat[mask.contiguous().reshape(-1)] = chosen
    return flat.reshape(mask.shape)


def check_share(value: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{what} is {value!r}; allowed: a number >= 0 and <= 1")
    return float(value)


def check_scores(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    if not masks:
        raise InputError("there are no masks: nothing to prune")
    _same_names("scores", scores, masks)
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise InputError(f"mask '{name}' has type {mask.dtype}; allowed: torch.bool")
        if scores[name].shape != mask.shape:
            raise InputError(
                f"the scores of '{name}' have shape {tuple(scores[name].shape)}, its mask {tuple(mask.shape)}"
            )


def _same_names(what: str, given: Iterable[str], masks: Iterable[str]) -> None:
    given, masks = list(given), list(masks)
    for name in given:
        if name not in masks:
            raise InputError(f"the {what} name '{name}', which has no mask: {nearest(name, masks)}")
    for name in masks:
        if name not in given:
            raise InputError(f"the {what} lack '{name}'")


def _total(masks: Mapping[str, Tensor]) -> int:
    total = sum(mask.numel() for mask in masks.values())
    if not total:
        raise InputError("there are no masks: nothing to prune")
    return total
