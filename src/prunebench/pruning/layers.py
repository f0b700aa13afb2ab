"""The layers whose weights can be pruned: one table for masks, N:M patterns, structures, FLOPs and lookahead.

A weight is known by its name in the module, such as "conv1.weight", also where another parameter holds it: under
weight_norm, spectral_norm and torch.nn.utils.prune. What the table does not hold is named in a `LeftOut` warning.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prunebench.errors import InputError
from prunebench.models.modes import eval_mode

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

LAYERS: dict[type[nn.Module] | tuple[type[nn.Module], ...], tuple[str, ...]] = {
    (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED): ("weight",),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
}
"""Modules with weights to prune, and their names."""

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Modules whose weight is pruned with `include_norm` alone, and whose weight and bias are never named as left out."""


class LeftOut(UserWarning):
    """Weights of a network are not pruned, since their layers are not in the table.

    >>> import warnings, torch
    >>> from prunebench.pruning.layers import LeftOut, prunable_weights
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", LeftOut)
    ...     prunable_weights(torch.nn.Sequential(torch.nn.Embedding(3, 4), torch.nn.Linear(4, 2)))
    Traceback (most recent call last):
        ...
    prunebench.pruning.layers.LeftOut: Sequential: these weights are never pruned: 0.weight (Embedding)
    """


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight that can be pruned, and how it is read.

    name: as in `masks`. module: what has it, as attribute `key`. transposed: of shape (in, out / groups, *kernel), as
    transposed convolutions have it; else (out, in / groups, *kernel).

    >>> import torch
    >>> from prunebench.pruning.layers import layers_of
    >>> layer = layers_of(torch.nn.ConvTranspose2d(4, 6, 3))["weight"]
    >>> layer.weight().shape, layer.transpose(layer.weight()).shape
    (torch.Size([4, 6, 3, 3]), torch.Size([6, 4, 3, 3]))
    """

    name: str
    module: nn.Module
    key: str

    @property
    def transposed(self) -> bool:
        """Whether dim 0 is that of the inputs."""
        return isinstance(self.module, TRANSPOSED)

    @property
    def plain(self) -> bool:
        """Whether the weight is a parameter itself."""
        return self.module._parameters.get(self.key) is not None

    @torch.no_grad()
    def weight(self) -> Tensor:
        """The weight that the next forward pass in eval mode takes, detached; of a plain one, its own memory."""
        if self.plain:
            return self.module._parameters[self.key].detach()  # type: ignore[union-attr]
        if parametrize.is_parametrized(self.module, self.key):
            # In train mode spectral_norm would take a step of its power iteration.
            with eval_mode(_parametrizations(self.module, self.key)):
                return getattr(self.module, self.key).detach()
        return _of_hook(self.module, self.key).detach()

    def transpose(self, tensor: Tensor) -> Tensor:
        """A tensor of the weight's shape as (out, in / groups, *kernel), and one of that shape back; a view where the
        layer is not grouped, the tensor itself where it is not transposed."""
        if not self.transposed:
            return tensor
        groups: int = self.module.groups  # type: ignore[assignment]
        return tensor.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def layers_of(model: nn.Module, include_norm: bool = False) -> dict[str, Layer]:
    """The weights that can be pruned, by name and in module order: of convolutions, transposed ones too, of linear
    layers, and attention's projections.

    include_norm: also the weights of normalisation (batch, instance, group, layer, RMS), which the authors of SILO
    prune along with the rest [authors' code]. Biases never. A weight that several modules share appears once, under the
    first of these names. Weights of two or more dimensions that are left out (embeddings, recurrent layers, parameters
    of modules that are not known here, layers under a parametrization that may not keep zeros) are named in a
    `LeftOut` warning. Raises InputError if the model has no weight to prune, or one without a shape yet.

    >>> import torch
    >>> from prunebench.pruning.layers import layers_of
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    >>> list(layers_of(model)), list(layers_of(model, include_norm=True))
    (['0.weight', '2.weight'], ['0.weight', '1.weight', '2.weight'])
    """
    return _warned(model, include_norm)


def _warned(model: nn.Module, include_norm: bool) -> dict[str, Layer]:
    """`layers_of`, for a public function to call: the warning points at that one's caller."""
    found, left_out = table_of(model, include_norm)
    if left_out:
        message = f"{type(model).__name__}: these weights are never pruned: {', '.join(left_out)}"
        warnings.warn(message, LeftOut, stacklevel=3)
    return found


def table_of(model: nn.Module, include_norm: bool = False) -> tuple[dict[str, Layer], list[str]]:
    """`layers_of` without its warning, and what that would name."""
    found: dict[str, Layer] = {}
    taken: set[int] = set()
    others: dict[int, str] = {}
    for prefix, module in model.named_modules():
        for key in _keys(module, include_norm):
            layer = Layer(f"{prefix}.{key}" if prefix else key, module, key)
            holders = _holders(layer)
            if holders is None:
                others[id(layer)] = f"{layer.name} ({_kind(module)} under what may not keep its zeros)"
                taken.update(id(parameter) for parameter in module.parameters())
            elif holders and id(holders[0]) not in taken:
                taken.update(map(id, holders))
                found[layer.name] = layer
    for prefix, module in model.named_modules():
        if isinstance(module, NORMS):
            continue
        if type(module).__module__.startswith("torch.ao.nn"):
            others[id(module)] = f"{prefix} ({_kind(module)})"
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.dim() > 1 and id(parameter) not in taken:
                others.setdefault(id(parameter), f"{prefix}.{key} ({_kind(module)})".lstrip("."))
    if not found:
        raise InputError(f"{type(model).__name__} has no convolution or linear weight to prune")
    return found, list(others.values())


def _kind(module: nn.Module) -> str:
    return parametrize.type_before_parametrizations(module).__name__


def _keys(module: nn.Module, include_norm: bool) -> tuple[str, ...]:
    """The names of a module's weights, those that it has."""
    names = next((names for kinds, names in LAYERS.items() if isinstance(module, kinds)), ())
    if include_norm and isinstance(module, NORMS):
        names = ("weight",)
    # Not by hasattr: a parametrized weight would be computed, and spectral_norm take a step.
    return tuple(
        name
        for name in names
        if module._parameters.get(name) is not None or parametrize.is_parametrized(module, name) or _hook(module, name)
    )


def _holders(layer: Layer) -> list[nn.Parameter] | None:
    """The parameters that hold a weight, the one of its shape first; None where a zero in it is none in the weight."""
    module, key = layer.module, layer.key
    if (plain := module._parameters.get(key)) is not None:
        if isinstance(plain, nn.parameter.UninitializedParameter):
            raise InputError(f"'{layer.name}' has no shape yet: run a batch through the lazy layer first")
        return [plain]
    if parametrize.is_parametrized(module, key):
        chain = _parametrizations(module, key)
        if not all(isinstance(part, _SpectralNorm | _WeightNorm) for part in chain):
            return None
        own = chain._parameters
        names = ["original1", "original0"] if isinstance(chain[0], _WeightNorm) else ["original"]
    else:
        hook, own = _hook(module, key), module._parameters
        names = [f"{key}_v", f"{key}_g"] if isinstance(hook, WeightNorm) else [f"{key}_orig"]
        if isinstance(module, NonDynamicallyQuantizableLinear):  # attention reads its weight and runs no hook
            return None
    holders = [own.get(name) for name in names]
    return None if any(holder is None for holder in holders) else holders


def _parametrizations(module: nn.Module, key: str) -> Any:
    return module.parametrizations[key]  # type: ignore[index]


def _hook(module: nn.Module, key: str) -> WeightNorm | SpectralNorm | BasePruningMethod | None:
    """What makes the weight before each forward pass, in the ways that came before parametrizations."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm | SpectralNorm) and hook.name == key:
            return hook
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == key:
            return hook
    return None


def _of_hook(module: nn.Module, key: str) -> Tensor:
    hook = _hook(module, key)
    if isinstance(hook, SpectralNorm):
        return hook.compute_weight(module, do_power_iteration=False)
    if isinstance(hook, WeightNorm):
        return hook.compute_weight(module)
    assert hook is not None
    return hook.apply_mask(module)


def prunable_weights(model: nn.Module, include_norm: bool = False) -> dict[str, Tensor]:
    """Name -> weight as the network uses it, detached, for scores and densities: through weight_norm, spectral_norm and
    torch's pruning too. The layers, warnings and errors of `layers_of`.

    >>> import torch
    >>> from prunebench.pruning.masks import prunable_weights
    >>> model = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))
    >>> {name: tuple(weight.shape) for name, weight in prunable_weights(model).items()}
    {'weight': (2, 3)}
    """
    return {name: layer.weight() for name, layer in _warned(model, include_norm).items()}


def prunable_parameters(model: nn.Module, include_norm: bool = False) -> dict[str, nn.Parameter]:
    """Name -> the weight itself, which may be written in place. The layers, warnings and errors of `layers_of`.

    Raises InputError, too, where a weight is no parameter of its own: under weight_norm or spectral_norm, or pruned by
    torch. `prunable_weights` gives these, and `apply_masks_` of the model prunes them.

    >>> import torch
    >>> from prunebench.pruning.masks import prunable_parameters
    >>> model = torch.nn.Linear(3, 2)
    >>> prunable_parameters(model)["weight"] is model.weight
    True
    """
    layers = _warned(model, include_norm)
    if held := [name for name, layer in layers.items() if not layer.plain]:
        raise InputError(
            f"{', '.join(held)}: no parameter of its own (weight_norm, spectral_norm or torch's pruning); allowed: "
            "prunable_weights(model) and apply_masks_(model, masks), or the plain weight made of it first"
        )
    return {name: layer.module.get_parameter(layer.key) for name, layer in layers.items()}


@torch.no_grad()
def mask_layer_(layer: Layer, mask: Tensor) -> None:
    """Sets the pruned weights of a layer to zero, whatever holds them, also those that are NaN."""
    holders = _holders(layer)
    assert holders is not None
    holder = holders[0]
    hook = _hook(layer.module, layer.key)
    if len(holders) == 2:
        # weight = g v / ||v||. The other weights stay as they are; where none is left, g is 0 and v keeps a norm.
        kept = holder.where(mask, 0)
        left, whole = (torch.norm_except_dim(v, 2, _norm_dim(layer)) for v in (kept, holder))
        holders[1].mul_(torch.where(whole.isfinite() & (whole > 0), left / whole, (left > 0).to(left)))
        holder.copy_(kept.where(left > 0, torch.ones_like(kept).where(holder.isnan(), holder)))
    else:
        holder.masked_fill_(~mask, 0)
    if hook is not None:
        setattr(layer.module, layer.key, _of_hook(layer.module, layer.key))


def check_mask(layer: Layer, mask: Tensor) -> None:
    """Raises InputError where no weight is left of what is divided by its own norm."""
    parts = _parametrizations(layer.module, layer.key) if parametrize.is_parametrized(layer.module, layer.key) else []
    normed = any(isinstance(part, _SpectralNorm) for part in parts)
    if (normed or isinstance(_hook(layer.module, layer.key), SpectralNorm)) and not bool(mask.any()):
        raise InputError(f"no weight of '{layer.name}' is left: spectral_norm would divide by its norm of 0")


def _norm_dim(layer: Layer) -> int:
    """The dimension that weight_norm's norms are apart in, -1 for one norm of all."""
    hook = _hook(layer.module, layer.key)
    if isinstance(hook, WeightNorm):
        return hook.dim
    return next(part.dim for part in _parametrizations(layer.module, layer.key) if isinstance(part, _WeightNorm))


def transposed(tensors: Mapping[str, Tensor], layers: Mapping[str, Layer] | None) -> dict[str, Tensor]:
    """Each tensor through `Layer.transpose`: as (out, in / groups, *kernel), and back. Those without a layer as they
    are."""
    layers = layers or {}
    return {name: layers[name].transpose(t) if name in layers else t for name, t in tensors.items()}
