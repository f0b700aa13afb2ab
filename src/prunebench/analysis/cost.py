"""What a run costs: FLOPs and peak memory. Wall time belongs to the training loop."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunebench.analysis._modes import eval_mode

TRAINING_FACTOR = 3
"""FLOPs of a training step over those of a forward pass: forward, and the two products of the backward pass
(for the input's gradient and the weight's). Slightly high: the first layer needs no input gradient."""


def flops_per_image(model: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """Layer name -> dense forward FLOPs for one (C, H, W) image; the values add up to the network's.

    Convolutions and linear layers, a multiply-add as 2 FLOPs, padding included; batch norm, activations, pooling and
    additions count as 0: the conventions of torch.utils.flop_counter, which a test holds this to. That counter itself
    costs a second and a half to import, more than a small run trains. In the order in which forward calls the layers.
    The model's modes and buffers stay as they are.
    """
    flops: dict[str, int] = {}

    def count(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            weight = layer.get_parameter("weight")
            flops[name] = flops.get(name, 0) + 2 * output.numel() * weight[0].numel()

        return hook

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count(name)) for name, layer in layers]
    parameter = next(model.parameters())
    x = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    try:
        with eval_mode(model), torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return flops


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
