"""What a run costs: FLOPs and peak memory. Wall time belongs to the training loop."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from prunebench.models.batch_norm import buffers_kept
from prunebench.models.modes import eval_mode
from prunebench.pruning.layers import Layer, table_of

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
        kwargs, count = kwargs or {}, _PRODUCTS.get(func._overloadpacket)
        if count is None:
            # Functions that are made of others, attention's among them, show what they are made of.
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        out = func(*args, **kwargs)
        if count is not None:
            name = self.name_of(args)
            self.flops[name] = self.flops.get(name, 0) + count(args, out)
        return out


def _of_product(a: Tensor, b: Tensor) -> int:
    return 2 * a.numel() * b.shape[-1]


def _of_convolution(args: tuple[Any, ...], out: Tensor) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    return 2 * weight.numel() * x.shape[0] * (x if transposed else out)[0, 0].numel()


def _of_attention(args: tuple[Any, ...], _: Any) -> int:
    query, key, value = args[:3]
    return 2 * query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])


_aten = torch.ops.aten
_PRODUCTS: dict[Any, Callable[[tuple[Any, ...], Any], int]] = {
    _aten.mm: lambda args, _: _of_product(args[0], args[1]),
    _aten.bmm: lambda args, _: _of_product(args[0], args[1]),
    _aten.addmm: lambda args, _: _of_product(args[1], args[2]),
    _aten.baddbmm: lambda args, _: _of_product(args[1], args[2]),
    _aten.convolution: _of_convolution,
    _aten._scaled_dot_product_flash_attention: _of_attention,
    _aten._scaled_dot_product_flash_attention_for_cpu: _of_attention,
    _aten._scaled_dot_product_efficient_attention: _of_attention,
    _aten._scaled_dot_product_cudnn_attention: _of_attention,
}
"""A function of torch -> FLOPs of a call, from its arguments and result."""


class _Names:
    """The name that FLOPs are counted by: of the weight among the operands, else of the module that is running."""

    def __init__(self, model: nn.Module) -> None:
        layers, _ = table_of(model)
        self.running = [""]
        self.weights: dict[int, list[tuple[int, int, str]]] = {}
        self.kept: list[Tensor] = []
        self.of_hooks: dict[int, list[Layer]] = {}
        self.of_lists: dict[int, str] = {}
        for layer in layers.values():
            if layer.plain:
                self._know(layer.name, layer.weight())
            elif parametrize.is_parametrized(layer.module, layer.key):
                self.of_lists[id(layer.module.parametrizations[layer.key])] = layer.name  # type: ignore[index]
            else:
                self.of_hooks.setdefault(id(layer.module), []).append(layer)
                self._know(layer.name, getattr(layer.module, layer.key))

    def _know(self, name: str, weight: Tensor) -> None:
        self.kept.append(weight)  # or its memory could become another tensor's
        start = int(weight.storage_offset())
        place = (start, start + weight.numel(), name)
        self.weights.setdefault(weight.untyped_storage()._cdata, []).append(place)

    def enter(self, name: str, module: nn.Module) -> None:
        """A module begins, and what makes its weights has run."""
        self.running.append(name)
        for layer in self.of_hooks.get(id(module), ()):
            self._know(layer.name, getattr(module, layer.key))

    def leave(self, module: nn.Module, out: Any) -> None:
        """A module ends; a list of parametrizations has made a weight."""
        self.running.pop()
        if id(module) in self.of_lists and isinstance(out, Tensor):
            self._know(self.of_lists[id(module)], out)

    def __call__(self, args: tuple[Any, ...]) -> str:
        for tensor in args[:3]:
            if isinstance(tensor, Tensor):
                for start, end, name in self.weights.get(tensor.untyped_storage()._cdata, ()):
                    if start <= tensor.storage_offset() < end:
                        return name
        return self.running[-1]


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
    names = _Names(model)
    handles: list[Any] = []
    for name, module in model.named_modules():
        handles += [
            module.register_forward_pre_hook(lambda m, _, name=name: names.enter(name, m)),
            module.register_forward_hook(lambda m, _, out: names.leave(m, out), always_call=True),
        ]
    device = next((x.device.type for x in inputs), "cpu")
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        # Fused functions of several layers show no products.
        torch.backends.mha.set_fastpath_enabled(False)
        with (
            eval_mode(model),
            buffers_kept(model),
            torch.no_grad(),
            torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext(),
            _unfused_cells(model),
            _Counter(names) as counter,
        ):
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return counter.flops


@contextmanager
def _unfused_cells(model: nn.Module) -> Iterator[None]:
    """Recurrent layers without the libraries whose one function for all of a layer shows no products."""
    if not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch speaks of Intel GPUs when this switch is touched
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False):
            yield


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
