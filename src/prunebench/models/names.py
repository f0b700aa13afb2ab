"""The names a configuration may use for networks. Without torch: Snakemake validates them at parse time."""

from typing import Final

TORCHVISION_KINDS: Final = (
    "torchvision_resnet50",
    "torchvision_mobilenet_v3_small",
    "torchvision_mobilenet_v3_large",
)
"""torchvision's own networks for RGB images of 32x32 or more, untrained: no depth, width, stem_stride or activation."""

KINDS: Final = ("mlp", "resnet", "vgg", "mobilenet", *TORCHVISION_KINDS)
"""Kinds of network that `models.build` knows."""

ACTIVATIONS: Final = ("relu", "leaky_relu", "elu", "gelu", "tanh")
"""Activations that mlp, resnet and vgg take; claim A1b, an effect tied to ReLU, needs the others as controls. The
other kinds have their own activations, and take `relu` only, the default."""

DEFAULT_DEPTH: Final = {"mlp": 3, "resnet": 20, "vgg": 11}
"""Kind -> depth when none is given: hidden layers (mlp), layers with weights (resnet, vgg). The kinds that are not
here have one depth, and take none."""

STEM_STRIDE_KINDS: Final = ("resnet", "mobilenet")
"""Kinds whose first convolution may have stride 2."""

VGG_DEPTHS: Final = (11, 13, 16, 19)
"""Configurations A, B, D, E of Simonyan and Zisserman (2015)."""

MAX_WIDTH: Final = 10.0
"""Largest width factor, WRN-28-10's. A larger number is far more likely a count of channels, such as 16."""
