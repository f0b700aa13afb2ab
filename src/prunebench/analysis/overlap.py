"""How far two pruned networks kept the same weights: Jaccard overlap of masks, and what chance alone would give."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from prunebench.errors import InputError
from prunebench.pruning.masks import Masks


def pack(masks: Mapping[str, Tensor]) -> tuple[Tensor, list[tuple[str, int]]]:
    """One bit per weight: uint8 tensor of ceil(n / 8) bytes on the CPU, and the layers' (name, number of weights).

    Bits run through the layers in order, each in flat (row-major) order whatever its memory format, the highest bit of
    a byte first; the last byte is filled up with zeros. Shapes are not kept. Raises InputError for a mask not bool.

    >>> import torch
    >>> from prunebench.analysis.overlap import pack
    >>> pack({"w": torch.tensor([[True, False, True]])})  # 0b10100000
    (tensor([160], dtype=torch.uint8), [('w', 3)])
    """
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise InputError(f"mask '{name}' has type {mask.dtype}; allowed: torch.bool")
    bits = [mask.flatten().cpu().numpy() for mask in masks.values()]
    packed = np.packbits(np.concatenate(bits)) if bits else np.empty(0, dtype=np.uint8)
    return torch.from_numpy(packed), [(name, mask.numel()) for name, mask in masks.items()]


def unpack(packed: Tensor, layers: Sequence[tuple[str, int]]) -> Masks:
    """The masks of `pack`, each as a 1-D bool tensor in flat order: all that overlap needs.

    Raises InputError where the number of bytes is not that of the layers' weights.

    >>> import torch
    >>> from prunebench.analysis.overlap import unpack
    >>> unpack(torch.tensor([0b10100000], dtype=torch.uint8), [("w", 3)])
    {'w': tensor([ True, False,  True])}
    """
    total = sum(size for _, size in layers)
    if packed.dtype != torch.uint8 or packed.shape != (-(-total // 8),):
        wanted = f"{-(-total // 8)} of uint8"
        raise InputError(f"packed masks are {packed.dtype} {tuple(packed.shape)}; {total} weights take {wanted}")
    bits = torch.from_numpy(np.unpackbits(packed.cpu().numpy(), count=total).astype(np.bool_))
    parts = bits.split([size for _, size in layers])
    return {name: part for (name, _), part in zip(layers, parts, strict=True)}


def jaccard(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Weights alive in both mask sets over weights alive in either, all layers together, in [0, 1].

    Names and shapes must be the same, else InputError; `unpack`'s flat masks will do. NaN where none is alive.

    >>> import torch
    >>> from prunebench.analysis.overlap import jaccard
    >>> jaccard({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([True, False, False])})
    0.5
    """
    both = either = 0
    for _, mask_a, mask_b in _pairs(a, b):
        both += int((mask_a & mask_b).count_nonzero())
        either += int((mask_a | mask_b).count_nonzero())
    return both / either if either else math.nan


def chance_jaccard(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The overlap to expect of masks that agree in nothing but how many weights each keeps per layer, in [0, 1].

    With layer l of n_l weights and densities a_l and b_l, masks drawn independently and uniformly within each layer
    have the expected intersection sum_l n_l a_l b_l and the expected union sum_l n_l (a_l + b_l - a_l b_l); this is
    their ratio [ours]. One layer of density d in both gives d / (2 - d). Not quite the expected ratio: their
    difference falls as 1 / n. Names and shapes as in `jaccard`; NaN where none is alive.

    >>> import torch
    >>> from prunebench.analysis.overlap import chance_jaccard, jaccard
    >>> a, b = {"w": torch.tensor([True, True, False, False])}, {"w": torch.tensor([True, True, False, False])}
    >>> jaccard(a, b), round(chance_jaccard(a, b), 4)  # 0.5 / (2 - 0.5)
    (1.0, 0.3333)
    """
    both = either = 0.0
    for size, mask_a, mask_b in _pairs(a, b):
        alive_a, alive_b = int(mask_a.count_nonzero()), int(mask_b.count_nonzero())
        common = alive_a * alive_b / size if size else 0.0
        both += common
        either += alive_a + alive_b - common
    return both / either if either else math.nan


def _pairs(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Number of weights, mask of a, mask of b, layer by layer."""
    if a.keys() != b.keys():
        odd = ", ".join(sorted(a.keys() ^ b.keys()))
        raise InputError(f"two mask sets to compare must have the same names; only one of them has: {odd}")
    for name, mask in a.items():
        if mask.dtype != torch.bool or b[name].dtype != torch.bool or mask.shape != b[name].shape:
            of_a, of_b = f"{mask.dtype} {tuple(mask.shape)}", f"{b[name].dtype} {tuple(b[name].shape)}"
            raise InputError(f"masks '{name}' are {of_a} and {of_b}; they must be bool and of one shape")
        yield mask.numel(), mask, b[name]
