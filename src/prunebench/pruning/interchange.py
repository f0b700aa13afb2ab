"""Masks and pruned networks for others: torch.nn.utils.prune, safetensors, torch's semi-structured tensors."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import prune

from prunebench.errors import InputError, nearest
from prunebench.files import write_bytes
from prunebench.pruning.layers import Layer, layers_of, prunable_weights
from prunebench.pruning.masks import Masks, density, full_masks, layer_densities, nonzero
from prunebench.pruning.structured import groupable, occupancy

_KEY = "prunebench"
"""The one entry of a file's metadata, a JSON object: safetensors does not keep several in a fixed order."""


def masks_from_torch(model: nn.Module, include_norm: bool = False) -> Masks:
    """The masks of what torch.nn.utils.prune has pruned; where it has not, every weight is alive. Layers and errors as
    `layers_of`.

    >>> import torch
    >>> from torch.nn.utils import prune
    >>> from prunebench.pruning.interchange import masks_from_torch
    >>> masks_from_torch(prune.custom_from_mask(torch.nn.Linear(2, 1), "weight", torch.tensor([[1, 0]])))
    {'weight': tensor([[ True, False]])}
    """
    layers = layers_of(model, include_norm)
    masks = full_masks({name: layer.weight() for name, layer in layers.items()})
    for name, layer in layers.items():
        if prune.is_pruned(layer.module) and f"{layer.key}_mask" in layer.module._buffers:
            masks[name] = layer.module.get_buffer(f"{layer.key}_mask").bool()
    return masks


def masks_to_torch_(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Prunes the model in place by torch.nn.utils.prune: `weight_orig` and `weight_mask` where `weight` was.

    Raises InputError, before anything is changed, where a mask fits no weight, or one under a parametrization.

    >>> import torch
    >>> from prunebench.pruning.interchange import masks_to_torch_
    >>> model = torch.nn.Linear(2, 1)
    >>> masks_to_torch_(model, {"weight": torch.tensor([[True, False]])})
    >>> model.weight_mask
    tensor([[1., 0.]])
    """
    layers = layers_of(model, include_norm=True)
    uses = Counter(id(p) for module in model.modules() for p in module._parameters.values())
    for name, mask in masks.items():
        layer = _fitting(name, mask, layers)
        if isinstance(layer.module, NonDynamicallyQuantizableLinear):
            raise InputError(f"'{name}': attention reads this weight and runs no hook, as torch.nn.utils.prune needs")
        if uses[id(layer.module._parameters.get(layer.key))] > 1 and layer.plain:
            raise InputError(f"'{name}' is tied: torch.nn.utils.prune would prune one of its uses alone")
        if not layer.plain and f"{layer.key}_mask" not in layer.module._buffers:
            raise InputError(f"'{name}' is under a parametrization; torch.nn.utils.prune allows plain weights only")
    for name, mask in masks.items():
        layer = layers[name]
        prune.custom_from_mask(layer.module, layer.key, mask.to(layer.weight().device))


def _fitting(name: str, mask: Tensor, layers: Mapping[str, Layer]) -> Layer:
    if name not in layers:
        raise InputError(f"mask '{name}' has no weight: {nearest(name, layers)}")
    if mask.dtype != torch.bool:
        raise InputError(f"mask '{name}' has type {mask.dtype}; allowed: torch.bool")
    if mask.shape != (shape := layers[name].weight().shape):
        raise InputError(f"mask '{name}' has shape {tuple(mask.shape)}, its weight {tuple(shape)}")
    return layers[name]


def save_masks(path: str | os.PathLike[str], masks: Mapping[str, Tensor]) -> None:
    """Writes masks to a safetensors file of bool tensors, whole or not at all.

    >>> import tempfile, torch
    >>> from prunebench.pruning.interchange import load_masks, save_masks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_masks(f"{folder}/masks.safetensors", {"weight": torch.tensor([[True, False]])})
    ...     load_masks(f"{folder}/masks.safetensors")
    {'weight': tensor([[ True, False]])}
    """
    _check_bool(masks)
    tensors = {name: mask.detach().cpu().contiguous() for name, mask in masks.items()}
    write_bytes(Path(path), save(tensors, {_KEY: json.dumps({"kind": "masks"})}))


def load_masks(path: str | os.PathLike[str]) -> Masks:
    """The masks of a safetensors file, on the CPU. Raises InputError unless it is one, of bool tensors.

    >>> import tempfile, torch
    >>> from prunebench.pruning.interchange import load_masks, save_masks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_masks(f"{folder}/masks.safetensors", {"weight": torch.tensor([[True, False]])})
    ...     load_masks(f"{folder}/masks.safetensors")
    {'weight': tensor([[ True, False]])}
    """
    tensors, _ = _read(path)
    _check_bool(tensors, f"{path}: ")
    return tensors


def _check_bool(masks: Mapping[str, Tensor], where: str = "") -> None:
    """Raises InputError unless masks are bool."""
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise InputError(f"{where}'{name}' is {mask.dtype}; a mask is torch.bool")


def save_pruned(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any]:
    """Writes a model's state_dict to a safetensors file, with how sparse it is in the metadata; returns that.

    sparsity: share of the prunable weights (`layers_of`) that are zero as the network uses them. densities: name ->
    share that is not. weights: how many there are. Tensors with several names (tied weights) are written once.

    >>> import tempfile, torch
    >>> from prunebench.pruning.interchange import save_pruned
    >>> model = torch.nn.Linear(4, 1)
    >>> model.weight.data = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_pruned(f"{folder}/model.safetensors", model)["sparsity"]
    0.75
    """
    masks = nonzero(prunable_weights(model))
    info = {
        "kind": "network",
        "sparsity": 1 - density(masks),
        "weights": sum(mask.numel() for mask in masks.values()),
        "densities": layer_densities(masks),
    }
    tensors: dict[str, Tensor] = {}
    first: dict[tuple[Any, ...], str] = {}
    aliases = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"'{name}' of the state_dict is no tensor; a safetensors file holds nothing else")
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, str(tensor.device))
        if tensor.numel() and place in first:
            aliases[name] = first[place]
        else:
            first[place] = name
            tensors[name] = tensor.detach().cpu().contiguous().clone()
    write_bytes(Path(path), save(tensors, {_KEY: json.dumps(info | {"aliases": aliases}, sort_keys=True)}))
    return info


def load_pruned(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state_dict of a file of `save_pruned`, on the CPU, and what it says of its sparsity.

    Raises InputError unless it is such a file.

    >>> import tempfile, torch
    >>> from prunebench.pruning.interchange import load_pruned, save_pruned
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_pruned(f"{folder}/model.safetensors", torch.nn.Linear(4, 1))
    ...     state, info = load_pruned(f"{folder}/model.safetensors")
    >>> sorted(state), info["weights"]
    (['bias', 'weight'], 4)
    """
    tensors, info = _read(path)
    aliases = info.pop("aliases", None)
    if info.get("kind") != "network" or not isinstance(aliases, dict) or not set(aliases.values()) <= set(tensors):
        raise InputError(f"{path} is no file of save_pruned: its metadata does not say so")
    for name, original in aliases.items():
        tensors[name] = tensors[original]
    return tensors, info


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            info = json.loads(metadata.get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, info if isinstance(info, dict) else {}
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no safetensors file that can be read: {error}".split("\n")[0]) from None


def semi_structured_(model: nn.Module) -> list[str]:
    """Replaces the weights of linear layers in which 2 of every 4 are zero by torch's semi-structured tensors, for
    inference on an NVIDIA GPU of compute capability 8.0 or higher; returns their names.

    Raises InputError, before anything is changed, where there is none such, or one on another device or of a shape or
    dtype that torch's kernels do not take.

    >>> import torch
    >>> from prunebench.pruning.interchange import semi_structured_
    >>> model = torch.nn.Linear(128, 128).half()
    >>> model.weight.data[:, ::2] = 0
    >>> semi_structured_(model.cuda())  # doctest: +SKIP
    ['weight']
    >>> semi_structured_(model.cpu())
    Traceback (most recent call last):
        ...
    prunebench.errors.InputError: 'weight' lies on the CPU; torch's semi-structured tensors need a CUDA GPU
    """
    layers = {n: layer for n, layer in layers_of(model).items() if type(layer.module) is nn.Linear and layer.plain}
    masks = nonzero({name: layer.weight() for name, layer in layers.items()})
    names = [name for name in groupable(masks, 4) if not occupancy({name: masks[name]}, 4)[3:].any()]
    if not names:
        raise InputError(f"{type(model).__name__} has no linear layer in which 2 of every 4 weights are zero")
    if on_cpu := [name for name in names if not layers[name].weight().is_cuda]:
        raise InputError(f"'{on_cpu[0]}' lies on the CPU; torch's semi-structured tensors need a CUDA GPU")
    try:
        sparse = {name: torch.sparse.to_sparse_semi_structured(layers[name].weight()) for name in names}
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"torch cannot make semi-structured tensors of these weights: {error}".split("\n")[0]
        ) from error
    for name, tensor in sparse.items():
        layers[name].module.weight = nn.Parameter(tensor, requires_grad=False)
    return names
