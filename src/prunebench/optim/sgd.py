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
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool = False,
) -> None:
    """One update in place: g += wd w, b = momentum b + g, w -= lr b (Sutskever et al. 2013 in torch.optim.SGD's form).

    nesterov: w -= lr (g + momentum b) with the new b in place of the last. The three sequences hold tensors of the same
    shapes, in the same order; `gradients` are consumed.
    """
    if weight_decay:
        torch._foreach_add_(gradients, parameters, alpha=weight_decay)
    if momentum:
        torch._foreach_mul_(momentum_buffers, momentum)
        torch._foreach_add_(momentum_buffers, gradients)
        if nesterov:
            torch._foreach_add_(gradients, momentum_buffers, alpha=momentum)
        else:
            gradients = momentum_buffers
    torch._foreach_add_(parameters, gradients, alpha=-lr)
