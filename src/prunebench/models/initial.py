"""Initial weights as a pure function of (seed, network)."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from prunebench.errors import InputError
from prunebench.seeding import generator

GAIN = {
    "relu": math.sqrt(2.0),
    "leaky_relu": math.sqrt(2.0 / (1.0 + 0.01**2)),
    "tanh": 5.0 / 3.0,
    "gelu": math.sqrt(2.0),
    "elu": math.sqrt(2.0),
}
"""Activation -> gain. ReLU and leaky ReLU (slope 0.01): He et al. (2015, "Delving deep into rectifiers");
tanh: `torch.nn.init.calculate_gain`. GELU and ELU have no gain in either source; they get ReLU's, which they
resemble."""


_CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
_TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_NORMS = _NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm


@torch.no_grad()
def initialise_(model: nn.Module, seed: int, *names: object) -> None:
    """Give every parameter and BN buffer of `model` its initial value, in place.

    The values depend on `seed`, `names`, the parameters' names and shapes, and the activation; not on the
    global RNG state, the device, the memory format or the model's previous weights. Each parameter has its
    own generator. `names` tells draws of one seed apart: `initialise_(model, seed, "cycle", m)` after prune
    m.

    * Convolutions: normal with std gain / sqrt(fan_out), as in the authors' ResNet code (fb.resnet.torch). fan_out is
      the number of outputs that an input feeds at one position of the kernel each (He et al. 2015, section 2.2,
      "Backward Propagation Case"): k*k*out_channels / groups, for a depthwise convolution k*k. torch.nn.init
      leaves the groups out, and would start a depthwise convolution of n channels sqrt(n) times too small. Those of
      1 and 3 dimensions and transposed ones alike.
    * Linear layers: normal with std gain / sqrt(fan_in). The classifier's fan_out is the number of classes,
      so the other choice would start 10-class training at logits several times too large.
    * Attention's projections to queries, keys and values, and its extra key and value: normal with std 1 /
      sqrt(fan_in), Glorot and Bengio's (2010) variance for a square matrix, which Dosovitskiy et al. (2021) draw
      uniformly; no activation comes before them. Its output is a linear layer.
    * Embeddings: standard normal, the row of padding 0, as torch's.
    * Parameters that `model.initial_std` names, a mapping from name to std: normal, before any other rule.
    * Biases 0; weights of batch, instance, group, layer and RMS norm 1, biases 0, running means 0, variances 1.

    The gain is that of `model.activation` (see `GAIN`), ReLU's for a model without that attribute.
    Raises TypeError, before any change, for a model with any other parameter, and InputError for an activation
    without a gain and for a name in `model.initial_std` that no parameter has.

    >>> import torch
    >>> from prunebench.models import initialise_
    >>> a, b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    >>> initialise_(a, seed=0)
    >>> initialise_(b, seed=0)
    >>> torch.equal(a.weight, b.weight), a.bias.tolist()
    (True, [0.0, 0.0])
    """
    for name, parameter, std in _draws(model):
        # A contiguous CPU tensor: normal_ fills memory in order, so channels_last weights would differ.
        draw = torch.zeros(parameter.shape)
        if std:
            draw.normal_(generator=generator("initial weights", seed, *names, name)).mul_(std)
        parameter.copy_(draw)
    for module in model.modules():
        if isinstance(module, _NORMS):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx] = 0


def _draws(model: nn.Module) -> list[tuple[str, Tensor, float]]:
    """What each draw is named by, its parameter and its standard deviation: all parameters but those of norms."""
    activation = getattr(model, "activation", "relu")
    if activation not in GAIN:
        raise InputError(f"no gain known for activation {activation!r}; allowed: {', '.join(GAIN)}")
    named: dict[str, float] = dict(getattr(model, "initial_std", {}))
    draws = []
    for name, module in model.named_modules():
        for key, parameter in () if isinstance(module, _NORMS) else module.named_parameters(recurse=False):
            std = named.pop(f"{name}.{key}".lstrip("."), None)
            if std is None and (std := _std(module, key, parameter, GAIN[activation])) is None:
                layer = f"layer {name!r} of type {type(module).__name__}"
                raise TypeError(f"no initialisation known for {key} of {layer}; model.initial_std may name it")
            draws.append((name if key == "weight" else f"{name}.{key}", parameter, std))
    if named:
        raise InputError(f"model.initial_std: {', '.join(named)} is no parameter to draw")
    return draws


def _std(module: nn.Module, key: str, parameter: Tensor, gain: float) -> float | None:
    """Standard deviation of the initial values of a module's parameter `key`; None where no rule is known."""
    if isinstance(module, nn.MultiheadAttention) and (key.endswith("proj_weight") or key in ("bias_k", "bias_v")):
        return 1 / math.sqrt(parameter.shape[-1])
    if (key == "bias" and isinstance(module, nn.Linear | _CONVOLUTIONS | _TRANSPOSED)) or key == "in_proj_bias":
        return 0.0
    if key != "weight":
        return None
    if isinstance(module, nn.Embedding):
        return 1.0
    if isinstance(module, nn.Linear | _TRANSPOSED):
        return gain / math.sqrt(parameter[0].numel())  # (in, out / groups, *kernel) where transposed: fan_out
    if isinstance(module, _CONVOLUTIONS):
        return gain / math.sqrt(parameter[:, 0].numel() // module.groups)
    return None


def fresh_state(model: nn.Module, seed: int, *names: object) -> dict[str, Tensor]:
    """The state dict that `initialise_(model, seed, *names)` would give; `model` is left as it is.

    >>> import torch
    >>> from prunebench.models import fresh_state, initialise_
    >>> model = torch.nn.Linear(3, 2)
    >>> state = fresh_state(model, 0, "cycle", 1)
    >>> initialise_(model, 0, "cycle", 1)
    >>> torch.equal(model.weight, state["weight"])
    True
    """
    twin = copy.deepcopy(model)
    initialise_(twin, seed, *names)
    return twin.state_dict()
