"""What a run costs: FLOPs counted by torch, and peak memory. Wall time belongs to the training loop."""

import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunebench.analysis._modes import eval_mode

TRAINING_FACTOR = 3
"""FLOPs of a training step over those of a forward pass: forward, and the two products of the backward pass
(for the input's gradient and the weight's). Slightly high: the first layer needs no input gradient."""


def flops_per_image(model: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Layer name -> dense forward FLOPs for one (C, H, W) image; the values add up to the network's.

    Counted by torch.utils.flop_counter: convolutions and matrix products, a multiply-add as 2 FLOPs, padding
    included. Batch norm, activations, pooling and additions count as 0 there. Only layers with FLOPs are
    listed, in the order of registration. The model's modes and buffers stay as they are.
    """
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(model.parameters())
    x = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    counter = FlopCounterMode(display=False)
    with eval_mode(model), torch.no_grad(), counter:
        model(x)
    counts = counter.get_flop_counts()
    leaves = [name for name, module in model.named_modules() if not list(module.children())]
    flops = {name: sum(counts.get(f"{type(model).__name__}.{name}", {}).values()) for name in leaves}
    return {name: count for name, count in flops.items() if count}


def sparse_flops(per_layer_flops: Mapping[str, int], masks: Mapping[str, Tensor]) -> float:
    """Sum of each layer's FLOPs times the density of the mask of "<layer>.weight"; dense where there is none.

    Theoretical: what hardware that skips every zero would do. Nothing here runs sparse; time does not follow.
    """
    total = 0.0
    for layer, flops in per_layer_flops.items():
        mask = masks.get(f"{layer}.weight")
        total += flops if mask is None else flops * (int(mask.count_nonzero()) / mask.numel())
    return total


def peak_memory_mb(device: str | torch.device = "cpu") -> float:
    """Peak memory in MB (10**6 bytes) so far: on CUDA of torch's tensors on `device` (since the last
    torch.cuda.reset_peak_memory_stats), else the resident set of the whole process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    # KiB on Linux, bytes on macOS (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
