"""What an optimizer's step costs in time and memory: gRDA beside SGD, SGD with momentum, and the gRDA of its paper.

Times are wall time on this machine, all optimizers interleaved in one run, so only their ratios mean anything. Bytes
are counted, not measured: the same on every machine.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prunebench.errors import InputError
from prunebench.optim.grda import GRDA
from prunebench.seeding import generator

Row = dict[str, Any]
Factory = Callable[[list[nn.Parameter]], Optimizer]
LR, C, MU = 0.01, 0.0005, 0.6


class ReferenceGRDA(Optimizer):
    """gRDA as its authors wrote it, for comparison: after a description of their code (arXiv 2006.09358).

    Every parameter has a counter of steps and a threshold of its own, one-element tensors on the CPU; each step makes
    full-size temporaries of the magnitude, the difference, the sign and the product, and binds the parameter to a new
    tensor. Use `GRDA`, which does the same to rounding.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, c: float = C, mu: float = MU) -> None:
        super().__init__(params, {"lr": lr, "c": c, "mu": mu})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; takes no closure."""
        for group in self.param_groups:
            lr, c, mu = group["lr"], group["c"], group["mu"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros(1)
                    state["threshold"] = torch.zeros(1)
                    state["accumulator"] = p.detach().clone()
                state["step"] += 1
                n, v = state["step"], state["accumulator"]
                v.add_(p.grad, alpha=-lr)
                state["threshold"] += c * lr ** (mu + 0.5) * (torch.pow(n, mu) - torch.pow(n - 1, mu))
                shrunk = v.abs() - state["threshold"].to(v.device)
                p.data = v.sign() * shrunk.clamp(min=0)


OPTIMIZERS: dict[str, Factory] = {
    "sgd": partial(SGD, lr=LR, foreach=True),
    "sgd_momentum": partial(SGD, lr=LR, momentum=0.9, foreach=True),
    "grda": partial(GRDA, lr=LR, c=C, mu=MU),
    "grda_reference": partial(ReferenceGRDA, lr=LR, c=C, mu=MU),
}
"""Name -> parameters -> optimizer. SGD in torch's multi-tensor form, without weight decay."""


def _resnet50_shapes() -> tuple[tuple[int, ...], ...]:
    """He et al. 2016, table 1, in the order of torchvision's `parameters()`; a test compares the two."""

    def convolution(wide: int, narrow: int, size: int) -> list[tuple[int, ...]]:
        return [(wide, narrow, size, size), (wide,), (wide,)]  # with batch normalisation

    shapes = convolution(64, 3, 7)
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += convolution(width, before, 1) + convolution(width, width, 3) + convolution(4 * width, width, 1)
            if block == 0:
                shapes += convolution(4 * width, before, 1)
            before = 4 * width
    return (*shapes, (1000, before), (1000,))


RESNET50_SHAPES = _resnet50_shapes()
"""The 161 parameters of ResNet-50 for ImageNet, 25,557,032 numbers."""


def _draw(shapes: Sequence[Sequence[int]], device: torch.device, *names: object) -> list[Tensor]:
    draw = generator("optimizer_cost", *names)
    return [(0.05 * torch.randn(tuple(shape), generator=draw)).to(device) for shape in shapes]


def _parameters(shapes: Sequence[Sequence[int]], device: torch.device) -> list[nn.Parameter]:
    """Always the same, each with the same gradient."""
    parameters = [nn.Parameter(value) for value in _draw(shapes, device, "parameters")]
    for p, gradient in zip(parameters, _draw(shapes, device, "gradients"), strict=True):
        p.grad = gradient
    return parameters


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _interleave(sides: Mapping[str, Callable[[], object]], blocks: int, steps: int, device: torch.device) -> list[Row]:
    """Times the sides in turn: a block of `steps` calls each, after one that warms up and does not count."""
    if blocks < 1 or steps < 1 or not sides:
        raise InputError(f"{len(sides)} optimizers, {blocks} blocks of {steps} steps; allowed: 1 or more of each")
    names, rows = list(sides), []
    for block in range(blocks + 1):
        # Each side comes first in turn, so that none always follows the same other.
        first = block % len(names)
        for name in names[first:] + names[:first]:
            _synchronise(device)
            start = time.perf_counter()
            for _ in range(steps):
                sides[name]()
            _synchronise(device)
            if block:
                rows.append({"optimizer": name, "block": block, "seconds": (time.perf_counter() - start) / steps})
    return rows


def optimizer_seconds(
    parameters: Sequence[Sequence[int]],
    optimizers: Mapping[str, Factory] = OPTIMIZERS,
    *,
    blocks: int,
    steps: int,
    device: torch.device | str = "cpu",
) -> list[Row]:
    """Seconds per `Optimizer.step` on fp32 parameters of these shapes, each with a gradient: rows optimizer, block
    (1 to `blocks`), seconds, in the order in which they were measured.

    Each optimizer has parameters of its own. Set torch's threads before. Raises InputError where there is nothing to
    measure.
    """
    device = torch.device(device)
    sides = {name: make(_parameters(parameters, device)).step for name, make in optimizers.items()}
    return _interleave(sides, blocks, steps, device)


def training_seconds(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    optimizers: Mapping[str, Factory] = OPTIMIZERS,
    *,
    blocks: int,
    steps: int,
    device: torch.device | str = "cpu",
) -> list[Row]:
    """The same of a whole training step, in fp32: forward, cross-entropy, backward, update.

    Each optimizer trains a copy of its own of `model`, which stays as it was, on the one batch (images, labels).
    """
    device = torch.device(device)
    images, labels = batch[0].to(device), batch[1].to(device)

    def side(make: Factory) -> Callable[[], None]:
        network = deepcopy(model).to(device).train()
        optimizer = make(list(network.parameters()))

        def step() -> None:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()

        return step

    return _interleave({name: side(make) for name, make in optimizers.items()}, blocks, steps, device)


def optimizer_memory(
    parameters: Sequence[Sequence[int]], make: Factory, *, device: torch.device | str = "cpu"
) -> dict[str, int]:
    """Bytes that an optimizer needs for fp32 parameters of these shapes.

    parameter_bytes: of the parameters. state_bytes: of the tensors of more than one element in its state. peak_bytes:
    the most that is alive at once during one step, the second, beyond what was alive before it.
    """
    tensors = _parameters(parameters, torch.device(device))
    optimizer = make(tensors)
    optimizer.step()
    state = [value for of in optimizer.state.values() for value in of.values() if isinstance(value, Tensor)]
    state = [value for value in state if value.numel() > 1]
    gradients = [p.grad for p in tensors if p.grad is not None]
    with _Alive([p.data for p in tensors] + gradients + state) as alive:
        # else these lists would keep alive what a step replaces
        sizes = {
            "parameter_bytes": sum(p.nbytes for p in tensors),
            "state_bytes": sum(value.nbytes for value in state),
        }
        del state, gradients
        optimizer.step()
    return sizes | {"peak_bytes": alive.peak}


class _Alive(TorchDispatchMode):
    """Counts the bytes of the storages that operators see, by weak references; `peak` is the most beyond `tensors`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch would import torch._dynamo (2 s) to keep it from tracing this."""
        return False

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._known: dict[StorageWeakRef, int] = {}
        for tensor in tensors:
            self._see(tensor)
        self._before = sum(self._known.values())

    def _see(self, tensor: Tensor) -> int:
        """Bytes of its storage where it is new, else 0."""
        storage = tensor.untyped_storage()
        known = (reference := StorageWeakRef(storage)) in self._known
        self._known[reference] = storage.nbytes()
        return 0 if known else storage.nbytes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # An input that is new here was made before: a counter, say.
        self._before += sum(self._see(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor))
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                self._see(x)
        self._known = {storage: size for storage, size in self._known.items() if not storage.expired()}
        self.peak = max(self.peak, sum(self._known.values()) - self._before)
        return result
