"""Paths between two networks in weight space: the straight line, and a trained curve (claim C6 of the gRDA paper).

The curve is the quadratic Bezier curve of Garipov et al., "Loss Surfaces, Mode Connectivity, and Fast Ensembling of
DNNs" (NeurIPS 2018): p(t) = (1-t)^2 a + 2t(1-t) bend + t^2 b for t in [0, 1]. Both ends are frozen, and the bend is
trained to lower the mean loss over uniformly drawn t. Batch normalisation's running statistics belong to one point of
weight space only, so they are taken anew at every point that is evaluated.

`Weights` are parameters by name, as `model.named_parameters()` gives them; gradients never flow out of what a function
here returns. Tensors may be in any memory format; those of one name have the same shape, dtype and device.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module

from prunebench.analysis._derivatives import check_statistics
from prunebench.errors import InputError
from prunebench.models.batch_norm import buffers_kept, recompute_statistics_
from prunebench.models.modes import eval_mode
from prunebench.optim.sgd import sgd_step_

Weights = dict[str, Tensor]
"""Name -> parameter."""

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) in the weights' dtype, and classes (N,)."""


@torch.no_grad()
def flatten(weights: Mapping[str, Tensor]) -> Tensor:
    """All weights as one float64 vector (d,): tensors in the mapping's order, each row-major in any memory format.

    Raises InputError where there are none.

    >>> import torch
    >>> from prunebench.analysis.connectivity import flatten
    >>> flatten({"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])})
    tensor([1., 2., 3.], dtype=torch.float64)
    """
    if not weights:
        raise InputError("there are no weights: at least one tensor is needed")
    return torch.cat([weight.detach().reshape(-1).double() for weight in weights.values()])


def displacement(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    """b - a as a vector (d,), float64, in the order of a. Raises InputError where names or shapes differ.

    >>> import torch
    >>> from prunebench.analysis.connectivity import displacement
    >>> displacement({"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([4.0, 5.0])})
    tensor([3., 4.], dtype=torch.float64)
    """
    _check(a, b=b)
    return flatten({name: b[name] for name in a}).sub_(flatten(a))


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """||b - a||, Euclidean. Raises InputError where names or shapes differ.

    >>> import torch
    >>> from prunebench.analysis.connectivity import distance
    >>> distance({"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([4.0, 5.0])})
    5.0
    """
    return float(displacement(a, b).norm())


@torch.no_grad()
def segment(a: Mapping[str, Tensor], b: Mapping[str, Tensor], t: float) -> Weights:
    """(1-t) a + t b: the straight line, with t in [0, 1]; at t = 0 and 1 copies of a and b to the bit.

    Raises InputError for another t, and where names or shapes differ.

    >>> import torch
    >>> from prunebench.analysis.connectivity import segment
    >>> segment({"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([4.0, 8.0])}, t=0.25)
    {'w': tensor([1., 5.])}
    """
    _check(a, b=b)
    return _mixture(t, (a, 1 - t), (b, t))


@torch.no_grad()
def bezier(a: Mapping[str, Tensor], bend: Mapping[str, Tensor], b: Mapping[str, Tensor], t: float) -> Weights:
    """(1-t)^2 a + 2t(1-t) bend + t^2 b, with t in [0, 1]; at t = 0 and 1 copies of a and b to the bit.

    Raises InputError for another t, and where names or shapes differ.

    >>> import torch
    >>> from prunebench.analysis.connectivity import bezier
    >>> a, bend, b = ({"w": torch.tensor([value])} for value in (0.0, 4.0, 0.0))
    >>> bezier(a, bend, b, t=0.5)  # half of the bend
    {'w': tensor([2.])}
    """
    _check(a, bend=bend, b=b)
    return _mixture(t, (a, (1 - t) ** 2), (bend, 2 * t * (1 - t)), (b, t**2))


def midpoint(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Weights:
    """(a + b) / 2, the bend with which a curve begins: with it, the curve is the straight line.

    Raises InputError where names or shapes differ.

    >>> import torch
    >>> from prunebench.analysis.connectivity import midpoint
    >>> midpoint({"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])})
    {'w': tensor([2.])}
    """
    return segment(a, b, 0.5)


def train_bend_(
    model: nn.Module,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    bend: Mapping[str, Tensor],
    momentum: Mapping[str, Tensor],
    batches: Iterable[Batch],
    ts: Sequence[float],
    lrs: Sequence[float],
    *,
    momentum_factor: float = 0.0,
    autocast: Callable[[], AbstractContextManager[None]],
    loss_sum: Tensor | None = None,
) -> float:
    """Trains the bend of a curve in place, one update per batch; the mean cross-entropy (nats) of the batches.

    At step i the network is taken at t = ts[i] of the curve, in train mode: batch normalisation uses the batch's own
    statistics. dp/dbend is 2t(1-t) times the identity, so the bend's gradient is the point's times 2t(1-t); no graph
    of the interpolation is built. lrs[i] is the LR of SGD with `momentum_factor`, whose buffers, like the bend, are
    changed in place. `autocast()` is entered at each step for the forward pass. No step waits for the device.

    ts in [0, 1] (uniform draws, by Garipov et al.) and lrs are as many as the batches. loss_sum: () float64, to which
    each batch's loss is added in place: an epoch that is trained in several calls has its loss there. The ends, the
    model's own parameters, buffers, `.grad` and modes are left as they were. The loss is NaN or infinite where training
    diverged. Raises InputError where names or shapes differ or numbers do not fit.

    >>> from contextlib import nullcontext
    >>> import torch
    >>> from prunebench.analysis.connectivity import train_bend_
    >>> end, bend, momentum = ({"weight": torch.zeros(2, 1)} for _ in range(3))
    >>> batches, model = [(torch.ones(1, 1), torch.tensor([0]))], torch.nn.Linear(1, 2, bias=False)
    >>> loss = train_bend_(model, end, end, bend, momentum, batches, ts=[0.5], lrs=[1.0], autocast=nullcontext)
    >>> round(loss, 4), bend["weight"].tolist()  # log 2, and the gradient (-0.5, 0.5) times 2t(1-t)
    (0.6931, [[0.25], [-0.25]])
    """
    _check(a, b=b, bend=bend, momentum=momentum)
    _check_training(model, a, ts, lrs)
    names = list(a)
    start, end, middle, buffers = ([weights[name].detach() for name in names] for weights in (a, b, bend, momentum))
    total = torch.zeros((), dtype=torch.float64, device=start[0].device)
    steps = 0
    # eval_mode gives back each module's own mode; inside it the model trains.
    with eval_mode(model), buffers_kept(model), torch.enable_grad():
        model.train()
        for x, y in batches:
            if steps == len(ts):
                raise InputError(f"there are more than {len(ts)} batches: need one position on the curve for each")
            t = ts[steps]
            point = _combined((start, (1 - t) ** 2), (middle, 2 * t * (1 - t)), (end, t**2))
            for weight in point:
                weight.requires_grad_()
            # The weights stay until the backward pass is done: activation checkpointing runs forward again in it.
            with _reparametrize_module(model, dict(zip(names, point, strict=True)), tie_weights=True):
                with autocast():
                    loss = F.cross_entropy(model(x), y)
                gradients = list(torch.autograd.grad(loss, point, materialize_grads=True))
            torch._foreach_mul_(gradients, 2 * t * (1 - t))
            sgd_step_(middle, gradients, buffers, lr=lrs[steps], momentum=momentum_factor, weight_decay=0.0)
            total += loss.detach()
            if loss_sum is not None:
                loss_sum += loss.detach()
            steps += 1
    if steps != len(ts):
        raise InputError(f"there are {steps} batches for {len(ts)} positions on the curve: need as many of both")
    return float(total) / steps


@torch.no_grad()
def point(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    statistics: Iterable[Batch] | None,
    splits: Mapping[str, Iterable[Batch]],
) -> dict[str, tuple[float, float]]:
    """Split -> mean cross-entropy (nats) and error in [0, 1] of the model with these weights, in eval mode.

    statistics: batches over which batch normalisation's running statistics are taken, each batch's with equal weight;
    None keeps the model's own buffers. Autocast is off. The model is left as it was: parameters and buffers to the
    bit, and modes. The loss is NaN where an output is not a number, and such an image counts as an error.
    Raises InputError where names or shapes differ, and for statistics or a split without images.

    >>> import torch
    >>> from prunebench.analysis.connectivity import point
    >>> model, weights = torch.nn.Linear(1, 2, bias=False), {"weight": torch.zeros(2, 1)}
    >>> found = point(model, weights, None, {"test": [(torch.ones(4, 1), torch.tensor([0, 0, 0, 1]))]})
    >>> [round(value, 4) for value in found["test"]]  # log 2, and one image in four
    [0.6931, 0.25]
    """
    _check_model(model, weights)
    _check_ordinary(model)
    check_statistics(model)
    device = next(iter(weights.values())).device
    with (
        eval_mode(model),
        buffers_kept(model),
        _parameters_set(model, weights),
        torch.autocast(device.type, enabled=False),
    ):
        if statistics is not None:
            images = (x for x, _ in statistics)
            first = next(images, None)
            if first is None:
                raise InputError("no images to take batch normalisation's statistics on")
            recompute_statistics_(model, chain([first], images))
        return {name: _loss_and_error(model, split, name) for name, split in splits.items()}


def _loss_and_error(model: nn.Module, batches: Iterable[Batch], name: str) -> tuple[float, float]:
    sums: list[Tensor] = []
    images = 0
    for x, y in batches:
        logits = model(x)
        right = (logits.argmax(1) == y) & ~logits.isnan().any(1)
        sums.append(torch.stack([F.cross_entropy(logits, y.long(), reduction="sum").double(), (~right).sum().double()]))
        images += len(y)
    if not images:
        raise InputError(f"split '{name}' has no images to evaluate on")
    loss, errors = (torch.stack(sums).sum(0) / images).tolist()
    return loss, errors


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane through three points of weight space, with coordinates in which distances are Euclidean ones there.

    The origin is a, the x axis points towards b, and c has y > 0. Made by `through`. `x_axis` and `y_axis`: orthonormal
    vectors (d,) in float64, in the order of `origin`'s names.

    >>> import torch
    >>> from prunebench.analysis.connectivity import Plane
    >>> plane = Plane.through(*({"w": torch.tensor(at)} for at in ([0.0, 0.0], [2.0, 0.0], [1.0, 3.0])))
    >>> plane.coordinates({"w": torch.tensor([1.0, 3.0])})
    (1.0, 3.0)
    >>> plane.at(2.0, 1.0)
    {'w': tensor([2., 1.])}
    """

    origin: Weights
    x_axis: Tensor
    y_axis: Tensor

    @classmethod
    def through(cls, a: Mapping[str, Tensor], b: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> "Plane":
        """The plane by Gram-Schmidt in float64. Raises InputError where names or shapes differ, and for three points
        on one line (c within 1e-6 of its distance from a)."""
        to_b, to_c = displacement(a, b), displacement(a, c)
        reach = float(to_c.norm())
        if not (length := float(to_b.norm())):
            raise InputError("the plane's first two points are the same; they must differ")
        x_axis = to_b / length
        # Twice, so that rounding in the first subtraction leaves no part along x.
        for _ in range(2):
            to_c -= (x_axis @ to_c) * x_axis
        height = float(to_c.norm())
        if height <= 1e-6 * reach:
            raise InputError("the plane's three points lie on one line; they must not")
        return cls({name: weight.detach().clone() for name, weight in a.items()}, x_axis, to_c / height)

    def coordinates(self, weights: Mapping[str, Tensor]) -> tuple[float, float]:
        """(x, y) of the weights' orthogonal projection onto the plane; the unit is Euclidean distance."""
        offset = displacement(self.origin, weights)
        return float(self.x_axis @ offset), float(self.y_axis @ offset)

    def at(self, x: float, y: float) -> Weights:
        """The weights at (x, y), in the origin's dtype; at (0, 0) the origin to the bit, where it has no -0.0."""
        flat = flatten(self.origin) + x * self.x_axis + y * self.y_axis
        return unflatten(flat, self.origin)


def unflatten(vector: Tensor, like: Mapping[str, Tensor]) -> Weights:
    """The inverse of `flatten`: the vector (d,) cut into tensors with the shapes, dtypes and order of `like`.

    Raises InputError where d is another number.

    >>> import torch
    >>> from prunebench.analysis.connectivity import unflatten
    >>> unflatten(torch.tensor([1.0, 2.0, 3.0]), like={"a": torch.zeros(1, 2), "b": torch.zeros(1)})
    {'a': tensor([[1., 2.]]), 'b': tensor([3.])}
    """
    sizes = [weight.numel() for weight in like.values()]
    if vector.shape != (sum(sizes),):
        raise InputError(f"a vector of shape {tuple(vector.shape)} for {sum(sizes)} weights; they must be as many")
    parts = vector.split(sizes)
    return {n: part.reshape(w.shape).to(w.dtype) for (n, w), part in zip(like.items(), parts, strict=True)}


def length(a: Mapping[str, Tensor], bend: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Length of the curve `bezier` from a to b, in units of Euclidean distance; at least `distance(a, b)`.

    The speed is 2 ||u + t w|| with u = bend - a and w = a - 2 bend + b. With s = t + u.w / w.w and h the part of u
    across w, it is 2 ||w|| sqrt(s^2 + h^2 / w^2), whose primitive is closed. Raises InputError where names or shapes
    differ.

    >>> import torch
    >>> from prunebench.analysis.connectivity import length
    >>> a, bend, b = ({"w": torch.tensor(at)} for at in ([0.0, 0.0], [1.0, 1.0], [2.0, 0.0]))
    >>> round(length(a, bend, b), 4)  # the parabola y = x - x^2 / 2: sqrt(2) + asinh(1)
    2.2956
    """
    u = displacement(a, bend)
    w = displacement(bend, b) - u
    uu, uw, ww = float(u @ u), float(u @ w), float(w @ w)
    # Nearly even speed: the primitives would cancel, and the chord is right to second order in ||w|| / ||u||.
    if ww <= 1e-12 * uu or ww == 0:
        return distance(a, b)
    shift = uw / ww
    across = float((u - shift * w).norm()) / math.sqrt(ww)

    def primitive(s: float) -> float:
        return s * math.hypot(s, across) + (across**2 * math.asinh(s / across) if across else 0.0)

    return math.sqrt(ww) * (primitive(1 + shift) - primitive(shift))


def _mixture(t: float, *terms: tuple[Mapping[str, Tensor], float]) -> Weights:
    """The weighted sum of the terms by name; the first or last term itself, copied, at t = 0 or 1."""
    _check_t(t)
    first, last = terms[0][0], terms[-1][0]
    # By the sum, -0.0 would become 0.0 there, and a bend that is not finite would spoil the ends.
    if t in (0, 1):
        return {name: (last if t else first)[name].detach().clone() for name in first}
    return dict(zip(first, _combined(*(([w[n].detach() for n in first], f) for w, f in terms)), strict=True))


def _combined(*terms: tuple[list[Tensor], float]) -> list[Tensor]:
    """The sum of factor * tensors over the terms."""
    (tensors, factor), *others = terms
    result = list(torch._foreach_mul(tensors, factor))
    for tensors, factor in others:
        torch._foreach_add_(result, tensors, alpha=factor)
    return result


@contextmanager
def _parameters_set(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other weights inside; afterwards its own, to the bit."""
    own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.detach().copy_(weights[name])
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.detach().copy_(own[name])


def _check_t(t: float) -> None:
    if not 0 <= t <= 1:
        raise InputError(f"position {t} on the path; allowed: >= 0 and <= 1")


def _check_training(model: nn.Module, weights: Mapping[str, Tensor], ts: Sequence[float], lrs: Sequence[float]) -> None:
    """Raises InputError unless a curve of this model can be trained at these positions."""
    _check_model(model, weights)
    if torch.is_inference_mode_enabled():
        raise InputError("a curve is trained with gradients; allowed: outside torch.inference_mode()")
    _check_ordinary(model)
    if len(ts) != len(lrs) or not ts:
        raise InputError(f"{len(ts)} positions on the curve and {len(lrs)} LRs: need one of each per batch")
    for t in ts:
        _check_t(t)


def _check_ordinary(model: nn.Module) -> None:
    """Raises InputError for a network that was made in inference mode: its weights cannot be written."""
    if any(p.is_inference() for p in model.parameters()) and not torch.is_inference_mode_enabled():
        raise InputError("the network was made in torch.inference_mode(), so its weights cannot change outside of it")


def _check_model(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    _check(dict(model.named_parameters()), weights=weights)


def _check(first: Mapping[str, Tensor], **others: Mapping[str, Tensor]) -> None:
    """Raises InputError unless all have the names and shapes of the first, of which there is at least one."""
    if not first:
        raise InputError("there are no weights: at least one tensor is needed")
    for what, other in others.items():
        if first.keys() != other.keys():
            odd = ", ".join(sorted(first.keys() ^ other.keys()))
            raise InputError(f"'{what}' must have the names of the other weights; only one of them has: {odd}")
        for name, weight in first.items():
            if other[name].shape != weight.shape:
                found, wanted = tuple(other[name].shape), tuple(weight.shape)
                raise InputError(f"'{name}' of '{what}' has shape {found}; it must be {wanted}")
