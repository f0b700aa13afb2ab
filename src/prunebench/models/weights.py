"""Weights from files of others, made to fit a network: what they are nested in, and how their keys are prefixed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunebench.errors import InputError

NESTS = ("state_dict", "model", "model_state", "model_ema")
"""Keys under which training scripts keep a state dict; of several the first counts, so an average only where it is
alone."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel and averages, torch.compile, and Lightning modules put before the keys."""

SHOWN = 3


def fitted_state(state: object, model: nn.Module) -> dict[str, Tensor]:
    """The state dict for `model` in `state`, which is what torch.load or safetensors gave; no tensor is copied.

    state: a state dict, or a mapping that holds one under one of `NESTS`; its keys may have any of `PREFIXES`, also
    several. As torch does for files older than them, it takes batch norm's missing counters of batches as 0; an
    average's own counter (`n_averaged`) is left out. Raises InputError, in one line, where keys are missing, unexpected
    or of another shape, naming the first of each; a classifier of another number of classes is named as such.

    >>> import torch
    >>> from prunebench.models import fitted_state
    >>> model = torch.nn.Linear(3, 2)
    >>> saved = {"epoch": 9, "state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}}
    >>> list(fitted_state(saved, model))
    ['weight', 'bias']
    >>> fitted_state(torch.nn.Linear(3, 7).state_dict(), model)
    Traceback (most recent call last):
        ...
    prunebench.errors.InputError: these weights are for 7 classes, the network has 2 (weight)
    """
    own = model.state_dict()
    found: dict[str, Any] = {}
    for key, value in _flat(state).items():
        name = _without_prefixes(str(key), own)
        if name == "n_averaged" and name not in own:
            continue
        if name in found:
            raise InputError(f"these weights hold {_short(name)} twice, with another prefix each")
        found[name] = value
    for name in own.keys() - found.keys():
        if name.endswith("num_batches_tracked"):
            found[name] = torch.zeros_like(own[name])
    missing = [name for name in own if name not in found]
    unexpected = [name for name in found if name not in own]
    wrong = [name for name in own if name in found and not _alike(found[name], own[name])]
    if not missing and not unexpected and (classes := _other_classes(found, own, wrong, model)):
        raise InputError(classes)
    if missing or unexpected or wrong:
        shapes = [f"{name} {_kind(found[name])} for {_kind(own[name])}" for name in wrong]
        groups = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        raise InputError(f"these weights do not fit: {'; '.join(f'{what} {_few(n)}' for what, n in groups if n)}")
    return {name: found[name] for name in own}


def _flat(state: object) -> Mapping[Any, Any]:
    """The innermost mapping under `NESTS`; at most two levels, for a mapping may hold itself."""
    for _ in range(2):
        if isinstance(state, Mapping):
            state = next((state[nest] for nest in NESTS if isinstance(state.get(nest), Mapping)), state)
    if not isinstance(state, Mapping):
        raise InputError(f"no weights by name, but a {type(state).__name__}")
    return state


def _without_prefixes(key: str, own: Mapping[str, Tensor]) -> str:
    """The key without prefixes; as long as the network has no such key itself."""
    name = key
    while name not in own and (prefix := next((p for p in PREFIXES if name.startswith(p)), "")):
        name = name.removeprefix(prefix)
    return name


def _alike(value: object, own: Tensor) -> bool:
    """Whether a value has the shape of a tensor, and is of floating-point numbers where that is."""
    return (
        isinstance(value, Tensor) and value.shape == own.shape and value.is_floating_point() == own.is_floating_point()
    )


def _other_classes(
    found: Mapping[str, Any], own: Mapping[str, Tensor], wrong: list[str], model: nn.Module
) -> str | None:
    """What is wrong where it is the outputs of the last linear layer alone."""
    head = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
    names = [f"{name}.{key}".lstrip(".") for name in head for key in ("weight", "bias")]
    if not wrong or not set(wrong) <= set(names):
        return None
    name = wrong[0]
    value = found[name]
    if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[1:] != own[name].shape[1:]:
        return None
    return f"these weights are for {len(value)} classes, the network has {len(own[name])} ({name})"


def _kind(value: object) -> str:
    """A value's shape, with its type where that is not a float's."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{tuple(value.shape)}{'' if value.is_floating_point() else f' of {value.dtype}'}"


def _few(names: list[str]) -> str:
    more = [f"... ({len(names)} in all)"] * (len(names) > SHOWN)
    return ", ".join([*map(_short, names[:SHOWN]), *more])


def _short(name: str) -> str:
    """A name from a file, on one line and not too long."""
    return " ".join(name.split())[:100]
