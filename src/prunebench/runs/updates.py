"""What one update does to the weights: a registry of frozen dataclasses, like profiles and criteria.

An update holds hyperparameters; what changes while it runs (momentum, accumulators, counts) is an `UpdateState`, which
a resume file saves. A preset's `update: {kind: grda, c: 0.05, mu: 0.6}` becomes `Grda(c=0.05, mu=0.6)`. To add one:

    from prunebench.runs.updates import UPDATES, Update, UpdateState

    @dataclass(frozen=True)
    class SignSgd(Update):
        '''Moves every weight by the learning rate.'''

        def step_(self, parameters, gradients, state, lr):
            for parameter, gradient in zip(parameters, gradients):
                parameter.sub_(lr * gradient.sign())

    UPDATES["sign_sgd"] = SignSgd

Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


TINY = math.ulp(0.0)
"""The least value of a hyperparameter that must be above 0."""


class UpdateState:
    """What an update keeps between two steps: lists of tensors and numbers, by name. `numbers` must fit into JSON."""

    def __init__(
        self, tensors: Mapping[str, list[Tensor]] | None = None, numbers: Mapping[str, float] | None = None
    ) -> None:
        self.tensors: dict[str, list[Tensor]] = dict(tensors or {})
        self.numbers: dict[str, Any] = dict(numbers or {})

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors under unique names, and numbers."""
        named = {f"{name}/{i}": tensor for name, group in self.tensors.items() for i, tensor in enumerate(group)}
        return named, dict(self.numbers)

    def load_(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores what `save` gave, by copies into the present tensors: their memory layout stays."""
        for name, group in self.tensors.items():
            for i, tensor in enumerate(group):
                tensor.copy_(tensors[f"{name}/{i}"])
        self.numbers = dict(numbers)


class Update:
    """How a phase of training moves the weights; the base of every update."""

    makes_zeros: ClassVar[bool] = False
    """Whether it sets weights to exactly zero by itself."""

    allowed: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Hyperparameter -> the least value, which is allowed, and the bound, which is not."""

    weight_decay: float
    """L2 weight decay, for the clock of shedding; absent means none."""

    def __post_init__(self) -> None:
        for name, (least, bound) in self.allowed.items():
            value = getattr(self, name)
            if not least <= value < bound:
                above = "> 0" if least == TINY else f">= {least:g}"
                raise InputError(f"{name} is {value:g}; allowed: {above}" + (f" and < {bound:g}" * (bound < math.inf)))

    def begin(self, parameters: list[Tensor]) -> UpdateState:
        """The state before the first step, from the weights as they are then."""
        return UpdateState()

    def step_(self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, lr: float) -> None:
        """One update in place, without gradients being recorded; `gradients` may be consumed.

        An update of one's own overrides this, or `move_` (and `numbers`): then a GPU can record it and replay it.
        """
        self.move_(parameters, gradients, state, *self.numbers(state, lr))

    def numbers(self, state: UpdateState, lr: float) -> tuple[float, ...]:
        """What the host knows of the next update: its LR, and what counts in `state.numbers`, which it moves on."""
        return (lr,)

    def move_(
        self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, *numbers: float | Tensor
    ) -> None:
        """`step_` with the next update's `numbers`: floats, or 0-dim tensors on a GPU, which are not waited for."""
        raise NotImplementedError

    @property
    def recordable(self) -> bool:
        """Whether all that changes from update to update is in its tensors and `numbers`."""
        return type(self).step_ is Update.step_


def _zeros(parameters: list[Tensor]) -> list[Tensor]:
    import torch

    return [torch.zeros_like(parameter) for parameter in parameters]


@dataclass(frozen=True)
class Sgd(Update):
    """SGD with momentum and L2 weight decay on every parameter, as torch.optim.SGD."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    allowed = {"momentum": (0, 1), "weight_decay": (0, math.inf)}
    nesterov = False

    def begin(self, parameters: list[Tensor]) -> UpdateState:
        """Momentum 0."""
        return UpdateState({"momentum": _zeros(parameters)} if self.momentum else {})

    def move_(
        self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, *numbers: float | Tensor
    ) -> None:
        """One update; the number is its LR."""
        from prunebench.optim.sgd import sgd_step_

        (lr,) = numbers
        buffers, how = state.tensors.get("momentum", []), {"momentum": self.momentum, "weight_decay": self.weight_decay}
        sgd_step_(parameters, gradients, buffers, lr=lr, **how, nesterov=self.nesterov)


@dataclass(frozen=True)
class Nesterov(Sgd):
    """SGD with Nesterov's momentum (Sutskever et al. 2013, in torch.optim.SGD's form) and L2 weight decay."""

    momentum: float = 0.9
    allowed = {**Sgd.allowed, "momentum": (TINY, 1)}
    nesterov = True


@dataclass(frozen=True)
class ProximalL1(Sgd):
    """SGD with an l1 penalty on weights of two or more dimensions, taken as a proximal step.

    After each update a weight is shrunk towards zero by lr x l1, and becomes exactly zero there (ISTA; Daubechies et
    al. 2004).
    """

    l1: float = 1e-4
    allowed = {**Sgd.allowed, "l1": (0, math.inf)}
    makes_zeros = True

    def move_(
        self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, *numbers: float | Tensor
    ) -> None:
        """One update; the number is its LR."""
        super().move_(parameters, gradients, state, *numbers)
        threshold: Any = numbers[0] * self.l1
        for parameter in parameters:
            if parameter.dim() > 1:
                parameter.sub_(parameter.clamp(-threshold, threshold))


@dataclass(frozen=True)
class AdamW(Update):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01

    allowed = {"beta1": (0, 1), "beta2": (0, 1), "eps": (0, math.inf), "weight_decay": (0, math.inf)}

    def begin(self, parameters: list[Tensor]) -> UpdateState:
        """Both moments 0."""
        return UpdateState({"first": _zeros(parameters), "second": _zeros(parameters)}, {"updates": 0})

    def step_(self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, lr: float) -> None:
        import torch

        state.numbers["updates"] += 1
        n, first, second = state.numbers["updates"], state.tensors["first"], state.tensors["second"]
        torch._foreach_mul_(parameters, 1 - lr * self.weight_decay)
        torch._foreach_lerp_(first, gradients, 1 - self.beta1)
        torch._foreach_mul_(second, self.beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - self.beta2)
        scale = _square_roots(second)
        torch._foreach_div_(scale, math.sqrt(1 - self.beta2**n))
        torch._foreach_add_(scale, self.eps)
        torch._foreach_addcdiv_(parameters, first, scale, -lr / (1 - self.beta1**n))


def _square_roots(tensors: list[Tensor]) -> list[Tensor]:
    """Of each tensor. On a CPU NumPy's: MKL's, which are torch's, are rounded otherwise on an AMD than on an Intel."""
    import numpy as np
    import torch

    if tensors[0].device.type == "cpu":
        return [torch.from_numpy(np.sqrt(each.numpy())) for each in tensors]
    return list(torch._foreach_sqrt(tensors))


@dataclass(frozen=True)
class Grda(Update):
    """gRDA, the optimizer of directional pruning (`prunebench.optim.GRDA` says more).

    The threshold after n updates at one LR is c sqrt(LR) (n LR)^mu. c: its size [authors' code: 5e-4 to 1e-2 at 10^5
    updates and more]. mu: its growth; the theory needs more than 0.5 [authors' code: 0.4 to 0.85]. spare_norm_and_bias:
    leave parameters of fewer than two dimensions to plain SGD [authors' code: no].
    """

    c: float
    mu: float
    spare_norm_and_bias: bool = False
    allowed = {"c": (TINY, math.inf), "mu": (TINY, 1)}
    makes_zeros = True

    @property
    def label(self) -> str:
        """As tables write it."""
        return f"c {self.c:g}, mu {self.mu:g}" + (", weights only" if self.spare_norm_and_bias else "")

    def begin(self, parameters: list[Tensor]) -> UpdateState:
        """The accumulators start at the weights, the threshold at 0."""
        accumulators = [parameter.detach().clone() for parameter in parameters]
        return UpdateState({"accumulator": accumulators}, {"updates": 0, "threshold": 0.0})

    def numbers(self, state: UpdateState, lr: float) -> tuple[float, ...]:
        """LR and threshold, which grows by this update's increment first."""
        from prunebench.optim.grda_step import threshold_increment

        state.numbers["updates"] += 1
        state.numbers["threshold"] += threshold_increment(state.numbers["updates"], lr, self.c, self.mu)
        return lr, state.numbers["threshold"]

    def move_(
        self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, *numbers: float | Tensor
    ) -> None:
        """One update; the numbers are its LR and threshold."""
        from prunebench.optim.grda_step import grda_step_

        lr, threshold = numbers
        spared = [self.spare_norm_and_bias and parameter.dim() < 2 for parameter in parameters]
        for chosen, below in ((False, threshold), (True, 0.0)):
            part = [i for i, spare in enumerate(spared) if spare is chosen]
            if part:
                lists = (
                    [tensors[i] for i in part] for tensors in (parameters, gradients, state.tensors["accumulator"])
                )
                grda_step_(*lists, lr=lr, threshold=below, foreach=parameters[0].is_cuda)


class _TorchState(UpdateState):
    """The state of a torch optimizer, which makes its tensors at its first step."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__()
        self.optimizer = optimizer

    def save(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors of the optimizer's state by parameter and key; what else its state holds, which must be JSON."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Any] = {}
        for index, entries in self.optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                (tensors if hasattr(value, "dtype") else numbers)[f"{index}/{key}"] = value
        return tensors, numbers

    def load_(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores what `save` gave."""
        state: dict[int, dict[str, Any]] = {}
        for name, value in {**tensors, **numbers}.items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


@dataclass(frozen=True)
class TorchOptimizer(Update):
    """Any torch optimizer: its class as `module:Class`, and the keywords that it is made with beside the LR."""

    optimizer: str
    keywords: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        module, colon, name = self.optimizer.partition(":")
        if not (module and colon and name):
            raise InputError(f"optimizer is '{self.optimizer}'; allowed: module:Class, such as torch.optim:Adam")
        if "lr" in self.keywords:
            raise InputError("keywords hold lr, which is the schedule's to set")

    @property
    def weight_decay(self) -> float:  # type: ignore[override]
        """The keyword of that name."""
        return float(self.keywords.get("weight_decay", 0.0))

    def begin(self, parameters: list[Tensor]) -> UpdateState:
        """A new optimizer of these parameters."""
        from importlib import import_module

        module, _, name = self.optimizer.partition(":")
        try:
            return _TorchState(getattr(import_module(module), name)(parameters, lr=0.0, **self.keywords))
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f"optimizer {self.optimizer} cannot be made: {error}") from None

    def step_(self, parameters: list[Tensor], gradients: list[Tensor], state: UpdateState, lr: float) -> None:
        """One step of the optimizer at this LR."""
        assert isinstance(state, _TorchState)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        state.optimizer.step()
        for parameter in parameters:
            parameter.grad = None


UPDATES: dict[str, type[Update]] = {
    "sgd": Sgd,
    "nesterov": Nesterov,
    "adamw": AdamW,
    "grda": Grda,
    "proximal_l1": ProximalL1,
    "torch": TorchOptimizer,
}
"""Kind -> class. A plugin adds its own."""
