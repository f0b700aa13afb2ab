"""Derivatives of any network's loss with respect to some of its weights, whatever mode the caller is in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from prunebench.errors import InputError, nearest
from prunebench.models.modes import eval_mode


class Differentiable:
    """A model as a function of some of its weights, of which derivatives can be taken: frozen ones too.

    weights: name -> leaf tensor that requires a gradient. A network that was made in inference mode is copied, since
    torch keeps no such tensor for a backward pass.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        own = dict(model.named_parameters(remove_duplicate=False))
        if not weights:
            raise InputError("no parameters to take derivatives with respect to")
        for name, weight in weights.items():
            if name not in own:
                raise InputError(f"the model has no parameter '{name}': {nearest(name, own)}")
            if weight.shape != own[name].shape:
                found, wanted = tuple(weight.shape), tuple(own[name].shape)
                raise InputError(f"parameter '{name}' has shape {found}; the model's has {wanted}")
        self.model = model
        self.weights = {name: _ordinary(weight).detach().requires_grad_() for name, weight in weights.items()}
        # Tied weights have several names, of which functional_call takes one.
        taken = {id(own[name]) for name in weights}
        others = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.rest = {n: _ordinary(t) for n, t in others.items() if t.is_inference() and id(t) not in taken}

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the cross-entropies of one batch: x (N, ...), numbers in the weights' dtype or token ids; y (N,)
        classes."""
        like = next(iter(self.weights.values()))
        x, y = _ordinary(x).to(like.device), _ordinary(y).to(like.device).long()
        x = x.to(like.dtype) if x.is_floating_point() else x
        return F.cross_entropy(functional_call(self.model, {**self.weights, **self.rest}, (x,)), y, reduction="sum")


@contextmanager
def differentiation(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model in eval mode, without autocast, with gradients on, inside torch.inference_mode() too."""
    with (
        torch.inference_mode(False),
        eval_mode(model),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        yield


def gradient_of(loss: Tensor, weights: Mapping[str, Tensor], *, twice: bool = False) -> list[Tensor]:
    """dloss/dweights, zeros for weights that the loss does not depend on."""
    return list(torch.autograd.grad(loss, list(weights.values()), create_graph=twice, materialize_grads=True))


def product_of(gradients: list[Tensor], weights: Mapping[str, Tensor], directions: list[Tensor]) -> list[Tensor]:
    """The Hessian times the directions, from gradients that were taken with `twice`."""
    depending = [(g, d) for g, d in zip(gradients, directions, strict=True) if g.requires_grad]
    if not depending:
        return [torch.zeros_like(weight) for weight in weights.values()]
    of, along = zip(*depending, strict=True)
    return list(torch.autograd.grad(of, list(weights.values()), along, materialize_grads=True))


def check_twice(gradients: list[Tensor]) -> None:
    """Raises InputError where a function of the network is differentiable once only: torch's `once_differentiable` cuts
    the graph there, and its part of the Hessian would be 0."""
    nodes = [g.grad_fn for g in gradients if g.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name().endswith("::Error"):
            raise InputError("a function of the network is differentiable once only (once_differentiable)")
        following = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= following
        nodes += following


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Functions that torch differentiates only once are replaced by equal ones: fused attention, hard-sigmoid.

    Raises InputError, in one line, where the network has another such function.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH), _HardSigmoid():
            yield
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise InputError(
            f"torch has no second derivative of a function of the network: {error}".split("\n")[0]
        ) from error


class _HardSigmoid(TorchFunctionMode):
    """hardsigmoid(x) = relu6(x + 3) / 6."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (F.hardsigmoid, torch._C._nn.hardsigmoid, torch._C._nn.hardsigmoid_):
            return F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one that was made in inference mode; to be called outside of that."""
    return tensor.clone() if tensor.is_inference() else tensor
