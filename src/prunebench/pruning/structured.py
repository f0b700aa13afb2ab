"""Semi-structured masks: N:M sparsity and blocks, both along the input dimension.

A group is m consecutive weights along the input dimension (features or channels) of a weight of two or more dimensions,
at a fixed output and, in a convolution, a fixed kernel position. That is dim 1, but dim 0 in transposed convolutions:
`layers`, from `layers_of(model)`, says which these are, and needs to be given where there are any. Groups are
consecutive in the innermost dimension of the matrix that semi-structured kernels multiply by: a linear layer's
(out, in), and (out, kh * kw * in) of a convolution in channels_last format. Layers whose inputs are not a multiple of
m, such as a stem of one channel or depthwise convolutions, have no groups and keep their masks.
"""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from prunebench.errors import InputError
from prunebench.pruning.layers import Layer, transposed
from prunebench.pruning.masks import Masks, alive, check_scores, check_share, keep_top, survivors


def groupable(masks: Mapping[str, Tensor], m: int, layers: Mapping[str, Layer] | None = None) -> list[str]:
    """The layers that split into groups of m, in order. InputError if there is none or m is not positive.

    >>> import torch
    >>> from prunebench.pruning.masks import full_masks
    >>> from prunebench.pruning.structured import groupable
    >>> groupable(full_masks({"stem": torch.zeros(8, 3, 3, 3), "conv": torch.zeros(8, 8, 3, 3)}), m=4)
    ['conv']
    """
    if m < 1:
        raise InputError(f"group size is {m}; allowed: >= 1")
    masks = transposed(masks, layers)
    names = [name for name, mask in masks.items() if mask.dim() >= 2 and mask.shape[1] % m == 0]
    if not names:
        raise InputError(f"no layer has a multiple of {m} input channels: there is nothing to group")
    return names


@torch.no_grad()
def n_of_m_masks(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    n: int,
    m: int,
    layers: Mapping[str, Layer] | None = None,
) -> Masks:
    """New masks in which of every m weights the n alive ones with the highest scores survive, 1 <= n <= m.

    scores: one number per weight, in the shapes of the masks; higher is kept. Those of dead weights are never read.

    A dead weight stays dead, so a group of fewer than n alive weights keeps just these. Among equal scores the lower
    index survives. Layers without groups keep their masks. Nothing is changed in place.

    Raises InputError if the pattern is not as above, no layer can be grouped, an alive weight's score is NaN, or names
    or shapes differ.

    >>> import torch
    >>> from prunebench.pruning.masks import full_masks
    >>> from prunebench.pruning.structured import n_of_m_masks
    >>> scores = {"w": torch.tensor([[4.0, 1.0, 3.0, 2.0]])}
    >>> n_of_m_masks(scores, full_masks(scores), n=2, m=4)
    {'w': tensor([[ True, False,  True, False]])}
    """
    if not 1 <= n <= m:
        raise InputError(f"pattern is {n}:{m}; allowed: 1 <= n <= m")
    check_scores(scores, masks)
    scores, masks = (transposed(tensors, layers) for tensors in (scores, masks))
    kept: Masks = {name: mask.clone() for name, mask in masks.items()}
    for name in groupable(masks, m):
        score, living = _grouped(scores[name], m).contiguous(), _grouped(masks[name], m).contiguous()
        if bool((score.isnan() & living).any()):
            raise InputError(f"the scores of '{name}' contain NaN: has the network diverged?")
        # Pair by pair over all groups at once: several times faster than a sort of each group, and exact for
        # infinite scores too, because a dead weight needs no score of its own to rank last.
        rank = torch.zeros_like(living, dtype=torch.int16)
        for i in range(m):
            for j in range(i + 1, m):
                ahead = (living[i] & (score[i] >= score[j])) | ~living[j]
                rank[j] += ahead
                rank[i] += ~ahead
        kept[name] = (living & (rank < n)).movedim(0, 2).flatten(1, 2)
    return transposed(kept, layers)


@torch.no_grad()
def block_masks(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    density: float,
    size: int,
    layers: Mapping[str, Layer] | None = None,
) -> Masks:
    """New masks in which 1 x size blocks, the groups of `size` weights, survive or are pruned whole.

    Blocks are ranked over all layers that have them by the sum of |score| of their alive weights, in float64, and
    exactly `survivors(all blocks, density)` are kept, where density is in [0, 1] and dead blocks count as blocks. A
    dead weight stays dead, also in a block that is kept. Among equal sums the block whose first weight has the lower
    index survives. Layers without blocks keep their masks. Nothing is changed in place.

    Raises InputError if more blocks are asked for than have an alive weight, no layer has blocks, an alive weight's
    score is NaN, or names, shapes or density are not as above.

    >>> import torch
    >>> from prunebench.pruning.masks import full_masks
    >>> from prunebench.pruning.structured import block_masks
    >>> scores = {"w": torch.tensor([[4.0, 1.0, 3.0, 3.0]])}
    >>> block_masks(scores, full_masks(scores), density=0.5, size=2)
    {'w': tensor([[False, False,  True,  True]])}
    """
    check_scores(scores, masks)
    scores, masks = (transposed(tensors, layers) for tensors in (scores, masks))
    sums: dict[str, Tensor] = {}
    living: Masks = {}
    for name in groupable(masks, size):
        mask = _grouped(masks[name], size)
        # added one by one, because the order in which `sum` adds depends on device and memory format
        sums[name] = functools.reduce(torch.add, _grouped(scores[name], size).double().abs().where(mask, 0.0))
        living[name] = mask.any(0)
    count = survivors(sum(blocks.numel() for blocks in living.values()), check_share(density, "density"))
    if count > alive(living):
        raise InputError(f"{count} blocks of 1x{size} were to be kept but only {alive(living)} have an alive weight")
    chosen = keep_top(sums, living, density)
    kept = {
        name: mask & chosen[name].repeat_interleave(size, dim=1) if name in chosen else mask.clone()
        for name, mask in masks.items()
    }
    return transposed(kept, layers)


@torch.no_grad()
def occupancy(alive: Mapping[str, Tensor], m: int, layers: Mapping[str, Layer] | None = None) -> Tensor:
    """How many groups of m have 0, 1, ..., m alive weights, over all layers that have groups.

    alive: a mask set. Returns int64 of length m + 1, on the CPU. Raises InputError if no layer has groups.

    >>> import torch
    >>> from prunebench.pruning.structured import occupancy
    >>> occupancy({"w": torch.tensor([[True, False, True, True]])}, m=2)
    tensor([0, 1, 1])
    """
    alive = transposed(alive, layers)
    names = groupable(alive, m)
    counts = torch.zeros(m + 1, dtype=torch.int64)
    for name in names:
        counts += _grouped(alive[name], m).sum(0).flatten().bincount(minlength=m + 1).cpu()
    return counts


def _grouped(tensor: Tensor, m: int) -> Tensor:
    """View of shape (m, out, in / m, *kernel): entry i holds the i-th weight of every group."""
    return tensor.unflatten(1, (-1, m)).movedim(2, 0)
