"""SGD with momentum as one multi-tensor function.

torch.optim's constructor imports torch._dynamo, 1.3 s of the 2.5 s that a training job takes to start, and a benchmark
is hundreds of jobs; the arithmetic is torch's and a test holds the two equal.
"""

import torch


@torch.no_grad()
def sgd_step_(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    momentum_buffers: list[torch.Tensor],
    *,
    lr: float | torch.Tensor,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> None:
    """One update in place: g += wd w, b = momentum b + g, w -= lr b (Sutskever et al. 2013 in torch.optim.SGD's form).

    nesterov: w -= lr (g + momentum b) with the new b in place of the last. The three sequences hold tensors of the same
    shapes, in the same order; `gradients` are consumed.

    momentum_buffers begin as zeros; they are neither read nor written at momentum 0. lr >= 0: a number, or a 0-dim
    tensor on the parameters' device, which is not waited for; momentum in [0, 1), weight_decay >= 0.

    >>> import torch
    >>> from prunebench.optim.sgd import sgd_step_
    >>> w, b = torch.tensor([1.0]), torch.tensor([1.0])
    >>> sgd_step_([w], [torch.tensor([2.0])], [b], lr=0.25, momentum=0.5, weight_decay=0.0)
    >>> b, w  # 0.5 * 1 + 2, and 1 - 0.25 * 2.5
    (tensor([2.5000]), tensor([0.3750]))
    """
    if not parameters:
        return
    if weight_decay:
        torch._foreach_add_(gradients, parameters, alpha=weight_decay)
    if momentum:
        torch._foreach_mul_(momentum_buffers, momentum)
        torch._foreach_add_(momentum_buffers, gradients)
        if nesterov:
            torch._foreach_add_(gradients, momentum_buffers, alpha=momentum)
        else:
            gradients = momentum_buffers
    if isinstance(lr, torch.Tensor):
        torch._foreach_sub_(parameters, torch._foreach_mul(gradients, lr))
    else:
        torch._foreach_add_(parameters, gradients, alpha=-lr)
