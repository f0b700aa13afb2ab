"""What a run costs: FLOPs and peak memory. Wall time belongs to the training loop."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from prunebench.models.modes import eval_mode
from prunebench.pruning.layers import table_of

TRAINING_FACTOR = 3
"""FLOPs of a training step over those of a forward pass: forward, and the two products of the backward pass
(for the input's gradient and the weight's). Slightly high: the first layer needs no input gradient."""


class _Counter(TorchDispatchMode):
    """Adds up the FLOPs of what runs, by `name_of` its operands."""

    def __init__(self, name_of: Callable[[tuple[Any, ...]], str]) -> None:
        super().__init__()
        self.flops: dict[str, int] = {}
        self.name_of = name_of

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would import torch._dynamo (2 s) to keep it from tracing this."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Functions that are made of others, attention's among them, show what they are made of.
        if func not in _PRODUCTS and (made := func.decompose(*args, **(kwargs or {}))) is not NotImplemented:
            return made
        out = func(*args, **(kwargs or {}))
        if func in _PRODUCTS:
            name = self.name_of(args)
            self.flops[name] = self.flops.get(name, 0) + _PRODUCTS[func](args, out)
        return out


def _of_product(a: Tensor, b: Tensor) -> int:
    return 2 * a.numel() * b.shape[-1]


def _of_convolution(args: tuple[Any, ...], out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return 2 * weight.numel() * x.shape[0] * (x if transposed else out)[0, 0].numel()


_aten = torch.ops.aten
_PRODUCTS: dict[Any, Callable[[tuple[Any, ...], Any], int]] = {
    _aten.mm.default: lambda args, _: _of_product(args[0], args[1]),
    _aten.bmm.default: lambda args, _: _of_product(args[0], args[1]),
    _aten.addmm.default: lambda args, _: _of_product(args[1], args[2]),
    _aten.baddbmm.default: lambda args, _: _of_product(args[1], args[2]),
    _aten.convolution.default: _of_convolution,
}
"""A function of torch -> FLOPs of a call, from its arguments and result."""


def flops(model: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Name -> dense FLOPs of a forward pass of these inputs in eval mode; the values add up to the network's.

    Convolutions (1-D to 3-D, transposed ones), linear layers, attention and any other product of matrices; a
    multiply-add as 2 FLOPs, padding included; normalisation, activations, pooling and additions count as 0: the
    conventions of torch.utils.flop_counter, which tests hold this to. (That counter itself costs a second and a half to
    import, more than a small run trains.) By the name of the weight, as in `layers_of`, in the order in which they are
    used; products without a weight, such as attention's, by the module that they are in. The model's modes and buffers
    stay as they are.

    >>> import torch
    >>> from prunebench.analysis.cost import flops
    >>> flops(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)), torch.zeros(1, 3))
    {'0.weight': 12, '2.weight': 4}
    """
    layers, _ = table_of(model)
    storages = {_storage(layer.weight()): name for name, layer in layers.items() if layer.plain}
    held = {id(layer.module): name for name, layer in layers.items() if not layer.plain}
    running: list[tuple[str, nn.Module]] = [("", model)]

    def name_of(args: tuple[Any, ...]) -> str:
        tensors = (arg for arg in args[:3] if isinstance(arg, Tensor))
        inside, module = running[-1]
        return next((storages[at] for at in map(_storage, tensors) if at in storages), held.get(id(module), inside))

    handles: list[Any] = []
    for name, module in model.named_modules():
        enter, leave = (lambda m, _, name=name: running.append((name, m))), (lambda *_: running.pop() and None)
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # one fused function, which shows no products
        with eval_mode(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter(name_of) as counter:
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return counter.flops


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def flops_per_image(model: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """`flops` of one (C, H, W) image.

    >>> import torch
    >>> from prunebench.analysis.cost import flops_per_image
    >>> flops_per_image(torch.nn.Conv2d(1, 2, 3), (1, 5, 5))  # 2 * 18 weights at 3 * 3 positions
    {'weight': 324}
    """
    like = next(model.parameters(), torch.empty(0))
    return flops(model, like.new_zeros(1, *input_shape))


def sparse_flops(flops: Mapping[str, int], masks: Mapping[str, Tensor]) -> float:
    """Sum of the FLOPs of each weight times the density of its mask; dense where there is none.

    Theoretical: what hardware that skips every zero would do. Nothing here runs sparse; time does not follow.

    >>> import torch
    >>> from prunebench.analysis.cost import sparse_flops
    >>> sparse_flops({"a": 12, "b": 4}, {"a": torch.tensor([True, False])})
    10.0
    """
    total = 0.0
    for name, dense in flops.items():
        mask = masks.get(name)
        total += dense if mask is None else dense * (int(mask.count_nonzero()) / mask.numel())
    return total


def peak_memory_mb(device: str | torch.device = "cpu") -> float:
    """Peak memory in MB (10**6 bytes) so far: on CUDA of torch's tensors on `device` (since the last
    torch.cuda.reset_peak_memory_stats), else the resident set of the whole process.

    >>> from prunebench.analysis.cost import peak_memory_mb
    >>> peak_memory_mb() > 1
    True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource

    # KiB on Linux, bytes on macOS (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
