"""Initial weights as a pure function of (seed, network)."""

import copy
import math

import torch
from torch import Tensor, nn

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
      leaves the groups out, and would start a depthwise convolution of n channels sqrt(n) times too small.
    * Linear layers: normal with std gain / sqrt(fan_in). The classifier's fan_out is the number of classes,
      so the other choice would start 10-class training at logits several times too large.
    * Biases 0; BN weight 1, bias 0, running mean 0, running variance 1.

    The gain is that of `model.activation` (see `GAIN`), ReLU's for a model without that attribute.
    Raises TypeError, before any change, for a model with parameters in any other kind of layer, and InputError for an
    activation without a gain.

    >>> import torch
    >>> from prunebench.models import initialise_
    >>> a, b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    >>> initialise_(a, seed=0)
    >>> initialise_(b, seed=0)
    >>> torch.equal(a.weight, b.weight), a.bias.tolist()
    (True, [0.0, 0.0])
    """
    leaves = [(name, module) for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    for name, module in leaves:
        if not isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d):
            raise TypeError(f"no initialisation known for layer {name!r} of type {type(module).__name__}")
    activation = getattr(model, "activation", "relu")
    if activation not in GAIN:
        raise InputError(f"no gain known for activation {activation!r}; allowed: {', '.join(GAIN)}")
    gain = GAIN[activation]
    for name, module in leaves:
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            fan = weight[0].numel() if isinstance(module, nn.Linear) else weight[:, 0].numel() // module.groups
            # A contiguous CPU tensor: normal_ fills memory in order, so channels_last weights would differ.
            draw = torch.empty(weight.shape).normal_(generator=generator("initial weights", seed, *names, name))
            weight.copy_(draw.mul_(gain / math.sqrt(fan)))
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.reset_parameters()


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
