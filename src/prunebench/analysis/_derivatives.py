"""Derivatives of any network's loss with respect to some of its weights, whatever mode the caller is in."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.stateless import _reparametrize_module
from torch.overrides import TorchFunctionMode

from prunebench.errors import InputError, nearest
from prunebench.models.batch_norm import buffers_kept
from prunebench.models.modes import eval_mode


class Differentiable:
    """A model as a function of some of its weights, of which derivatives can be taken: frozen ones too.

    weights: name -> leaf tensor that requires a gradient, a copy. A network that was made in inference mode is copied
    as a whole, since torch keeps no such tensor for a backward pass.
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        own = dict(model.named_parameters(remove_duplicate=False))
        if not weights:
            raise InputError("no parameters to take derivatives with respect to")
        first: dict[int, str] = {}
        for name, weight in weights.items():
            if name not in own:
                raise InputError(f"the model has no parameter '{name}': {nearest(name, own)}")
            if weight.shape != own[name].shape:
                found, wanted = tuple(weight.shape), tuple(own[name].shape)
                raise InputError(f"parameter '{name}' has shape {found}; the model's has {wanted}")
            if (other := first.setdefault(id(own[name]), name)) != name:
                raise InputError(f"'{other}' and '{name}' are one tied parameter; allowed: one of its names")
        self.model = model
        self.device = next(iter(weights.values())).device
        self.weights = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        others = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.rest = {n: t.clone() for n, t in others.items() if t.is_inference() and id(t) not in first}
        dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
        self.dtype = dtypes.pop() if len(dtypes) == 1 else None

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the cross-entropies of one batch: x (N, ...), numbers, which take the model's dtype, or token ids;
        y (N,) classes."""
        x, y = _ordinary(x).to(self.device), _ordinary(y).to(self.device).long()
        if x.is_floating_point():
            # Checkpointing cuts itself out of the graph, unseen, where its inputs need no gradient.
            x = x.to(self.dtype or x.dtype).detach().requires_grad_()
        loss = F.cross_entropy(self.model(x), y, reduction="sum")
        _refuse(
            loss, "CheckpointFunctionBackward", "recomputes without its weights (checkpoint with use_reentrant=True)"
        )
        return loss


@contextmanager
def differentiation(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[Differentiable]:
    """The model at these weights, in eval mode, without autocast, with gradients on, in torch.inference_mode() too.

    It has them until the end, since activation checkpointing runs forward again in the backward pass. Afterwards its
    parameters, buffers and modes are as before, and so is the random generator. Raises InputError for batch
    normalisation without running statistics, which would make the loss depend on how images are cut into batches.
    """
    check_statistics(model)
    device = next(iter(weights.values())).device if weights else torch.device("cpu")
    with (
        torch.inference_mode(False),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        eval_mode(model),
        buffers_kept(model),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        network = Differentiable(model, weights)
        with _reparametrize_module(model, {**network.weights, **network.rest}, tie_weights=True):
            yield network


def check_statistics(model: nn.Module) -> None:
    """Raises InputError where a batch normalisation has no running statistics to evaluate by."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise InputError(f"'{name}' has no running statistics: in eval mode its output depends on the other images")


def gradient_of(loss: Tensor, weights: Mapping[str, Tensor], *, twice: bool = False) -> list[Tensor]:
    """dloss/dweights, zeros for weights that the loss does not depend on.

    twice: to be differentiated again. Raises InputError, then, where a function is differentiable once only: torch's
    `once_differentiable` cuts the graph there, and its part of the Hessian would be 0.
    """
    if not loss.requires_grad:
        return [torch.zeros_like(weight) for weight in weights.values()]
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=twice, materialize_grads=True)
    if twice:
        for gradient in gradients:
            _refuse(gradient, "torch::autograd::Error", "is differentiable once only (once_differentiable)")
    return _dense(gradients)


def product_of(gradients: list[Tensor], weights: Mapping[str, Tensor], directions: list[Tensor]) -> list[Tensor]:
    """The Hessian times the directions, from gradients that were taken with `twice`."""
    depending = [(g, d) for g, d in zip(gradients, directions, strict=True) if g.requires_grad]
    if not depending:
        return [torch.zeros_like(weight) for weight in weights.values()]
    of, along = zip(*depending, strict=True)
    return _dense(torch.autograd.grad(of, list(weights.values()), along, materialize_grads=True))


def _dense(gradients: Iterable[Tensor]) -> list[Tensor]:
    return [g.to_dense() if g.layout == torch.sparse_coo else g for g in gradients]


def _refuse(tensor: Tensor, node_name: str, why: str) -> None:
    """Raises InputError where such a node is in the tensor's graph."""
    nodes = [] if tensor.grad_fn is None else [tensor.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node.name() == node_name:
            raise InputError(f"a function of the network {why}")
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
        if not any(text in str(error) for text in ("derivative for", "double backward")):
            raise
        raise InputError(
            f"torch has no second derivative of a function of the network: {error}".split("\n")[0]
        ) from error


class _HardSigmoid(TorchFunctionMode):
    """hardsigmoid(x) = relu6(x + 3) / 6."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (F.hardsigmoid, torch._C._nn.hardsigmoid, torch._C._nn.hardsigmoid_):
            value = F.relu6(args[0] + 3) / 6
            in_place = func is torch._C._nn.hardsigmoid_ or kwargs.get("inplace") or (True in args[1:2])
            return args[0].copy_(value) if in_place else value
        return func(*args, **kwargs)


def _ordinary(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one that was made in inference mode; to be called outside of that."""
    return tensor.clone() if tensor.is_inference() else tensor
