"""The arithmetic of one gRDA update, for a loop of its own; `prunebench.optim.grda` has the optimizer.

Importing this module does not import torch._dynamo (1.3 s); constructing a torch optimizer does.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Number = TypeVar("Number", float, Tensor)


def threshold_increment(n: Number, lr: Number | float, c: float, mu: float) -> Number:
    """What update n = 1, 2, ... adds to the threshold: c lr^(mu + 1/2) (n^mu - (n - 1)^mu).

    n and lr: floats, or 0-dim float64 tensors for loops that must not wait for a device. At a constant lr the sum over
    updates is the paper's g(n, lr) = c lr^(1/2 + mu) n^mu. As a sum, as in the authors' PyTorch code, a lower lr makes
    the threshold grow more slowly; the closed form with the current lr would let it collapse.

    >>> from prunebench.optim.grda_step import threshold_increment
    >>> increments = [threshold_increment(n, lr=0.25, c=1.0, mu=0.5) for n in (1, 2, 3, 4)]
    >>> round(increments[0], 6), round(sum(increments), 6)  # 0.25 n^0.5 after n updates
    (0.25, 0.5)
    """
    return c * lr ** (mu + 0.5) * (n**mu - (n - 1) ** mu)


@torch.no_grad()
def grda_step_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    accumulators: list[Tensor],
    *,
    lr: float | Tensor,
    threshold: float | Tensor,
    foreach: bool = False,
) -> None:
    """One update in place: v -= lr g, w = v - clamp(v, -threshold, threshold) = sign(v) max(|v| - threshold, 0).

    parameters (w), gradients (g) and accumulators (v): tensors of the same shapes, in the same order; v begins as a
    clone of w and may have a wider dtype. threshold >= 0, that of this update, its `threshold_increment` included; 0
    makes this SGD, to the bit where lr and threshold are numbers and nothing is compiled. Numbers for lr and threshold,
    or 0-dim tensors on the parameters' device, which are not waited for.
    foreach: torch's multi-tensor functions in place of a loop; the result has the same bits. NaN stays NaN; the sign of
    a zero means nothing. No parameter-sized temporary for numbers, and at most one per tensor for tensors.

    >>> import torch
    >>> from prunebench.optim.grda_step import grda_step_
    >>> w, v, g = torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.5]), torch.tensor([1.0, 1.0])
    >>> grda_step_([w], [g], [v], lr=0.25, threshold=0.5)
    >>> v, w
    (tensor([0.7500, 0.2500]), tensor([0.2500, 0.0000]))
    """
    if not parameters:
        return
    if not all(type(v) is Tensor for v in accumulators):
        parameters, gradients, accumulators = _local_parts(parameters, gradients, accumulators)
    if isinstance(lr, Tensor) or isinstance(threshold, Tensor):
        # One dtype at a time: 0-dim tensors are rounded to it just as numbers are by the functions below.
        for dtype in dict.fromkeys(v.dtype for v in accumulators):
            device = next(v.device for v in accumulators if v.dtype == dtype)
            rounded_lr, rounded_threshold = (
                x.to(device=device, dtype=dtype) if isinstance(x, Tensor) else x for x in (lr, threshold)
            )
            chosen = [t for t in zip(parameters, gradients, accumulators, strict=True) if t[2].dtype == dtype]
            step: Callable[..., None] = _multi_tensor_from_device_ if foreach else _single_tensor_
            step(*map(list, zip(*chosen, strict=True)), rounded_lr, rounded_threshold)
    else:
        step = _multi_tensor_ if foreach else _single_tensor_
        step(parameters, gradients, accumulators, lr, threshold)


def _local_parts(
    parameters: list[Tensor], gradients: list[Tensor], accumulators: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Sharded tensors (DTensor) as this process's parts: the update acts on each number by itself."""
    parts: tuple[list[Tensor], ...] = [], [], []
    tensors: Iterable[tuple[Any, Any, Any]] = zip(parameters, gradients, accumulators, strict=True)
    for p, g, v in tensors:
        if hasattr(p, "to_local"):
            sums = g.redistribute(placements=p.placements) if g.placements != p.placements else g
            p, g, v = p.to_local(), sums.to_local(), v.to_local()
        for part, tensor in zip(parts, (p, g, v), strict=True):
            part.append(tensor)
    return parts  # type: ignore[return-value]


def _single_tensor_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    accumulators: list[Tensor],
    lr: Any,  # with threshold a float or a tensor: torch's stubs know no union of the two
    threshold: Any,
) -> None:
    for p, g, v in zip(parameters, gradients, accumulators, strict=True):
        if isinstance(lr, Tensor):
            v.sub_(g * lr)
        else:
            v.add_(g, alpha=-lr)
        _shrink_(p, v, threshold)


def _multi_tensor_(
    parameters: list[Tensor], gradients: list[Tensor], accumulators: list[Tensor], lr: float, threshold: float
) -> None:
    torch._foreach_add_(accumulators, gradients, alpha=-lr)
    # On a CPU torch's multi-tensor functions are loops themselves; casts they would make before they shrink.
    if any(p.is_cpu or p.dtype != v.dtype for p, v in zip(parameters, accumulators, strict=True)):
        for p, v in zip(parameters, accumulators, strict=True):
            _shrink_(p, v, threshold)
    else:
        _multi_shrink_(parameters, accumulators, threshold)


def _shrink_(p: Tensor, v: Tensor, threshold: Any) -> None:
    """p = sign(v) max(|v| - threshold, 0) for a threshold that is a float or a tensor."""
    if not isinstance(threshold, Tensor) and threshold == 0:
        p.copy_(v)  # v - clamp(v, 0, 0) would turn -0.0 into 0.0
    elif torch.compiler.is_compiling() or type(v) is not Tensor or v.dtype != p.dtype:
        # Fused when compiled; the tracer knows no out= with strides, other kinds of tensor perhaps none at all.
        p.copy_(v - v.clamp(-threshold, threshold))
    elif p.is_cpu and p.dtype in (torch.float32, torch.float64) and not isinstance(threshold, Tensor):
        # One pass where the general way takes two, 1.3 times as fast a step. Not general: it takes no tensor, rounds a
        # threshold in bf16 otherwise, and the sign of its zeros depends on strides.
        F.softshrink(v, threshold, out=p)  # type: ignore[call-arg]
    else:
        torch.clamp(v, -threshold, threshold, out=p)
        torch.sub(v, p, out=p)


def _multi_shrink_(parameters: list[Tensor], accumulators: list[Tensor], threshold: float) -> None:
    """`_shrink_` in its general way."""
    torch._foreach_copy_(parameters, accumulators)
    if threshold == 0:
        return
    torch._foreach_clamp_min_(parameters, -threshold)
    torch._foreach_clamp_max_(parameters, threshold)
    torch._foreach_neg_(parameters)
    torch._foreach_add_(parameters, accumulators)


def _multi_tensor_from_device_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    accumulators: list[Tensor],
    lr: float | Tensor,
    threshold: float | Tensor,
) -> None:
    """With no multi-tensor clamp at a tensor: max(v - threshold, 0) + min(v + threshold, 0), one of which is 0."""
    if isinstance(lr, Tensor):
        torch._foreach_sub_(accumulators, torch._foreach_mul(gradients, lr))
    else:
        torch._foreach_add_(accumulators, gradients, alpha=-lr)
    torch._foreach_copy_(parameters, accumulators)
    torch._foreach_add_(parameters, -threshold)
    torch._foreach_clamp_min_(parameters, 0.0)
    negative = torch._foreach_add(accumulators, threshold)
    torch._foreach_clamp_max_(negative, 0.0)
    torch._foreach_add_(parameters, negative)
