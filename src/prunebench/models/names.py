"""The names a configuration may use for networks. Without torch: Snakemake validates them at parse time."""

from typing import Final

KINDS: Final = ("mlp", "resnet", "vgg")
"""Kinds of network that `models.build` knows."""

ACTIVATIONS: Final = ("relu", "leaky_relu", "elu", "gelu", "tanh")
"""Activations that every network takes; claim A1b, an effect tied to ReLU, needs the others as controls."""

DEFAULT_DEPTH: Final = {"mlp": 3, "resnet": 20, "vgg": 11}
"""Kind -> depth when none is given: hidden layers (mlp), layers with weights (resnet, vgg)."""

VGG_DEPTHS: Final = (11, 13, 16, 19)
"""Configurations A, B, D, E of Simonyan and Zisserman (2015)."""

MAX_WIDTH: Final = 10.0
"""Largest width factor, WRN-28-10's. A larger number is far more likely a count of channels, such as 16."""
