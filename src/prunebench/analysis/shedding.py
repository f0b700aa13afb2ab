"""How many of a pruned network's surviving weights are shed: so small that removing them does not matter.

The paper (Azarian and Porikli, "Cascade Weight Shedding in Deep Neural Networks", arXiv 2103.10629) says that after a
small prune a large share of the remaining weights "is shed over a few epochs" of fine-tuning [abstract]; what counts as
shed is not known to this project, whose makers have not read its full text. So every definition here is [ours]:

* absolute: |w| < tau, tau the magnitude below which the same share of the dense network's weights lies as is pruned
  (`absolute_threshold`, `below_threshold`);
* relative: |w| < 0.05 |w_dense| (`shed`);
* functional: the largest share that can be set to zero at no more than 1 % more loss (`removable_share`).

Survivors are the weights whose mask is True, also in a control network that is not pruned: its weights outside the
masks are not looked at, not even when they are not zero. Tensors may be in any memory format and on any device; no
result depends on either. A NaN (a diverged network) is never smaller than anything, so it is never shed.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from prunebench.errors import InputError
from prunebench.pruning.layers import Layer, transposed
from prunebench.pruning.masks import Masks, survivors

HISTOGRAM_EDGES = tuple(10.0 ** (k / 4) for k in range(-32, 5))
"""Finite edges of `magnitude_histogram`: 4 bins per decade from 1e-8 to 10 [ours]."""


@torch.no_grad()
def shed(
    weights: Mapping[str, Tensor], reference: Mapping[str, Tensor], masks: Mapping[str, Tensor], below: float = 0.05
) -> Masks:
    """The survivors with |w| < below * |reference|, and those that are exactly 0: True where shed [ours].

    weights, reference, masks: tensors of the same names and shapes; reference holds the dense network's weights, in
    the weights' dtype, in which the product is rounded. So where the reference is 0, w is shed just if it is 0 too.
    below: positive. Raises InputError where names, shapes or `below` are not so.

    >>> import torch
    >>> from prunebench.analysis.shedding import shed
    >>> dense, masks = {"w": torch.tensor([10.0, 10.0, 10.0])}, {"w": torch.tensor([True, True, False])}
    >>> shed({"w": torch.tensor([0.4, 0.6, 0.0])}, dense, masks)  # 0.05 * 10
    {'w': tensor([ True, False, False])}
    """
    if not below > 0:
        raise InputError(f"below is {below}; allowed: > 0")
    _check("weights", weights, masks)
    _check("reference weights", reference, masks)
    result = {}
    for name, mask in masks.items():
        size = weights[name].abs()
        # zeros by themselves: for a reference of 0, and one so small that the product underflows, none is below it
        result[name] = (size < reference[name].abs().mul_(below)).logical_or_(size == 0).logical_and_(mask)
    return result


@torch.no_grad()
def below_threshold(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], threshold: float) -> Masks:
    """The survivors with |w| < threshold, the same for all layers: True where shed [ours].

    With threshold 0 there is none. Raises InputError where names or shapes do not fit.

    >>> import torch
    >>> from prunebench.analysis.shedding import below_threshold
    >>> masks = {"w": torch.tensor([True, True, False])}
    >>> below_threshold({"w": torch.tensor([-0.4, 0.6, 0.0])}, masks, threshold=0.5)
    {'w': tensor([ True, False, False])}
    """
    _check("weights", weights, masks)
    return {name: (weights[name].abs() < threshold).logical_and_(mask) for name, mask in masks.items()}


@torch.no_grad()
def absolute_threshold(reference: Mapping[str, Tensor], share: float) -> float:
    """tau: the smallest |w| that magnitude pruning of a share of all weights of `reference` would keep [ours].

    Equivalently the largest tau for which no more weights have |w| < tau than such a prune removes, which are
    n - survivors(n, 1 - share) of the n weights: just so many if |w| has no ties at tau. So right after a global
    magnitude prune of that share no survivor is below tau. share: in [0, 1]; 0 gives 0.0 and 1 gives inf.

    Exact, by partition: torch.quantile refuses more than 2^24 elements. Raises InputError for another share, for no
    weights, and where a weight is NaN.

    >>> import torch
    >>> from prunebench.analysis.shedding import absolute_threshold
    >>> absolute_threshold({"w": torch.tensor([4.0, -1.0, 3.0, 2.0])}, share=0.5)
    3.0
    """
    if not 0 <= share <= 1:
        raise InputError(f"share of pruned weights is {share}; allowed: >= 0 and <= 1")
    if not sum(weight.numel() for weight in reference.values()):
        raise InputError("there are no reference weights to take a threshold of")
    sizes = torch.cat([_as_known(weight).abs().flatten().cpu() for weight in reference.values()])
    for name, weight in reference.items():
        if bool(weight.isnan().any()):
            raise InputError(f"the reference weights of '{name}' contain NaN: has the network diverged?")
    pruned = sizes.numel() - survivors(sizes.numel(), 1 - share)
    if pruned == 0:
        return 0.0
    if pruned == sizes.numel():
        return math.inf
    return float(np.partition(sizes.numpy(), pruned)[pruned])


def structures(alive: Mapping[str, Tensor], layers: Mapping[str, Layer] | None = None) -> dict[str, int]:
    """How many filters and input channels the layers have, and how many of them are dead [ours].

    alive: name -> bool tensor, True = in the mask and not shed. layers: of `layers_of(model)`, needed where the network
    has transposed convolutions, whose dim 0 and 1 are the other way round. A filter is one output channel of a layer
    (dim 0), an input channel one index of dim 1; it is dead when none of its weights in this layer is alive. Input
    channels are counted only in layers with more than one in dim 1, thus not in depthwise convolutions ([C, 1, k, k]),
    where they would repeat the layer as a whole; in grouped ones an index of dim 1 stands for one channel in each
    group. Weights of fewer than 2 dimensions (normalisation) have neither. The keys: filters, dead_filters, channels,
    dead_channels.

    >>> import torch
    >>> from prunebench.analysis.shedding import structures
    >>> structures({"w": torch.tensor([[True, False, True], [False, False, False]])})
    {'filters': 2, 'dead_filters': 1, 'channels': 3, 'dead_channels': 1}
    """
    counts = dict.fromkeys(("filters", "dead_filters", "channels", "dead_channels"), 0)
    for mask in transposed(alive, layers).values():
        if mask.dim() < 2:
            continue
        filters, channels = _living(mask)
        counts["filters"] += filters.numel()
        counts["dead_filters"] += filters.numel() - int(filters.count_nonzero())
        if channels is not None:
            counts["channels"] += channels.numel()
            counts["dead_channels"] += channels.numel() - int(channels.count_nonzero())
    return counts


def in_dead(
    alive: Mapping[str, Tensor], masks: Mapping[str, Tensor], layers: Mapping[str, Layer] | None = None
) -> float:
    """Share of the survivors in `masks` that lie in a dead filter or a dead input channel of their layer, in [0, 1].

    Dead as in `structures`, by `alive`; within a layer only: a weight that reads a channel which the layer before no
    longer writes is not counted for that [ours]. NaN without survivors. Raises InputError where names or shapes differ.

    >>> import torch
    >>> from prunebench.analysis.shedding import in_dead
    >>> masks = {"w": torch.ones(2, 2, dtype=torch.bool)}
    >>> in_dead({"w": torch.tensor([[True, True], [False, False]])}, masks)
    0.5
    """
    _check("alive weights", alive, masks)
    alive, masks = (transposed(tensors, layers) for tensors in (alive, masks))
    dead = total = 0
    for name, mask in masks.items():
        total += int(mask.count_nonzero())
        if mask.dim() < 2:
            continue
        filters, channels = _living(alive[name])
        reached = filters[:, None] if channels is None else filters[:, None] & channels
        if not bool(reached.all()):
            dead += int((mask.reshape(*mask.shape[:2], -1) & ~reached[..., None]).count_nonzero())
    return dead / total if total else math.nan


@torch.no_grad()
def magnitude_histogram(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> list[dict[str, float | int]]:
    """Counts of |w| of the survivors: rows of left, right, count, the bins [left, right) in increasing order [ours].

    The same bins always: [0, 1e-8), 4 per decade up to 10 (`HISTOGRAM_EDGES`), [10, inf). Infinite weights count in
    the last one, NaN in none, so the counts add up to the survivors of every network that has not diverged. Raises
    InputError where names or shapes do not fit.

    >>> import torch
    >>> from prunebench.analysis.shedding import magnitude_histogram
    >>> masks = {"w": torch.tensor([True, True, False])}
    >>> rows = magnitude_histogram({"w": torch.tensor([0.0, -20.0, 1.0])}, masks)
    >>> [(row["left"], row["count"]) for row in rows if row["count"]]
    [(0.0, 1), (10.0, 1)]
    """
    _check("weights", weights, masks)
    parts = [_as_known(weights[name].abs().masked_select(mask)) for name, mask in masks.items()]
    sizes = torch.cat(parts) if parts else torch.empty(0)
    bins = torch.bucketize(sizes, _edges(sizes.dtype).to(sizes.device), right=True)
    counts = torch.bincount(bins, minlength=len(HISTOGRAM_EDGES) + 1)
    counts[-1] -= sizes.isnan().count_nonzero()  # NaN sorts above all numbers
    bounds = (0.0, *HISTOGRAM_EDGES, math.inf)
    return [
        {"left": left, "right": right, "count": count}
        for left, right, count in zip(bounds[:-1], bounds[1:], counts.tolist(), strict=True)
    ]


@torch.no_grad()
def removable_share(
    loss_of: Callable[[], float],
    weights: Mapping[str, nn.Parameter],
    masks: Mapping[str, Tensor],
    tolerance: float = 0.01,
    resolution: float = 1 / 128,
) -> float:
    """Share of the survivors that can be set to zero with loss_of() <= (1 + tolerance) * loss_of() before [ours].

    loss_of: a loss of the network with its weights as they are at the call, >= 0; called once with all of them, then
    about log2(1 / resolution) times. A share removes the survivors(n, share) smallest |w| of all n survivors over all
    layers together; among equal ones the lower index goes first, in the order of `masks` and then in flat (row-major)
    order. resolution: in (0, 1]; the result is a multiple of it, in [0, 1]. It is found by bisection: the result passes
    and one step more does not, which makes it the largest that passes wherever the loss never falls as more is removed.

    NaN where the loss before is not finite, and without survivors; a share whose loss is NaN does not pass. The weights
    are changed in place during the calls and restored to the bit, also when loss_of raises. Raises InputError where
    names or shapes do not fit, for another resolution, and for a negative tolerance.

    >>> import torch
    >>> from prunebench.analysis.shedding import removable_share
    >>> w = torch.nn.Parameter(torch.tensor([1.0, 4.0, 2.0, 3.0]))
    >>> masks = {"w": torch.ones(4, dtype=torch.bool)}
    >>> removable_share(lambda: 1.0 if w[3] else 2.0, {"w": w}, masks, resolution=0.25)  # 1 and 2 go first, then 3
    0.5
    """
    if not 0 < resolution <= 1:
        raise InputError(f"resolution is {resolution}; allowed: > 0 and <= 1")
    if not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}; allowed: >= 0")
    _check("weights", weights, masks)
    total = sum(int(mask.count_nonzero()) for mask in masks.values())
    before = loss_of()
    if not math.isfinite(before) or not total:
        return math.nan
    ranks = _ranks(weights, masks, total)
    saved = {name: weights[name].clone() for name in masks}

    def passes(share: float) -> bool:
        count = survivors(total, share)
        for name, rank in ranks.items():
            weights[name].copy_(saved[name]).masked_fill_(rank < count, 0)
        return loss_of() <= (1 + tolerance) * before

    # 1 / (1 / 93) is just below 93; a share that rounding puts above 1 is 1
    passing, failing = 0, math.floor(1 / resolution + 1e-9) + 1
    try:
        while failing - passing > 1:
            middle = (passing + failing) // 2
            if passes(min(middle * resolution, 1.0)):
                passing = middle
            else:
                failing = middle
    finally:
        for name, weight in saved.items():
            weights[name].copy_(weight)
    return min(passing * resolution, 1.0)


def _ranks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], total: int) -> dict[str, Tensor]:
    """Each survivor's place among all of them by |w|, from 0; ties by index. `total` for other weights."""
    # selecting by a mask reads in row-major order whatever the memory format
    order = (
        torch.cat([weights[name].abs().masked_select(mask) for name, mask in masks.items()]).sort(stable=True).indices
    )
    places = torch.empty_like(order, dtype=torch.int32)
    places[order] = torch.arange(total, dtype=torch.int32, device=order.device)
    ranks = {}
    for (name, mask), part in zip(
        masks.items(), places.split([int(mask.count_nonzero()) for mask in masks.values()]), strict=True
    ):
        ranks[name] = torch.full_like(weights[name], total, dtype=torch.int32)
        ranks[name][mask] = part
    return ranks


def _living(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Bool per filter and per input channel of one layer, True = not dead; None where channels do not count."""
    pairs = mask.reshape(*mask.shape[:2], -1).any(2)
    return pairs.any(1), pairs.any(0) if mask.shape[1] > 1 else None


def _as_known(tensor: Tensor) -> Tensor:
    """In a dtype that numpy knows and that holds every value of the tensor's own."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _edges(dtype: torch.dtype) -> Tensor:
    """`HISTOGRAM_EDGES` in `dtype`, rounded up: for numbers of `dtype` >= compares with them as with the edges."""
    edges = torch.tensor(HISTOGRAM_EDGES, dtype=torch.float64)
    near = edges.to(dtype)
    return torch.where(near.double() < edges, near.nextafter(torch.tensor(math.inf, dtype=dtype)), near)


def _check(what: str, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    if tensors.keys() != masks.keys():
        odd = ", ".join(sorted(tensors.keys() ^ masks.keys()))
        raise InputError(f"{what} and masks must have the same names; only one of them has: {odd}")
    for name, mask in masks.items():
        if mask.dtype != torch.bool or mask.shape != tensors[name].shape:
            wanted = f"bool {tuple(tensors[name].shape)}"
            raise InputError(f"mask of '{name}' is {mask.dtype} {tuple(mask.shape)}; the {what} need {wanted}")
