"""The kinds of network by name: each a frozen dataclass of its options, with what builds it.

Importing this module does not import torch, so that a preset can be checked where no tensor is needed. A new network is
one class with `build` and one entry of NETWORKS:

    from prunebench.models import register_network

    @register_network("two_layers")
    @dataclass(frozen=True)
    class TwoLayers:
        '''Two linear layers.'''

        hidden: int = 32

        def build(self, *, classes, in_channels, image_size):
            from torch import nn
            return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, self.hidden), nn.ReLU(),
                                 nn.Linear(self.hidden, classes))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from prunebench.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import nn

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "tanh")
"""Activations of mlp, resnet and vgg; claim A1b, an effect tied to ReLU, needs the others as controls."""

VGG_DEPTHS = (11, 13, 16, 19)
"""Configurations A, B, D, E of Simonyan and Zisserman (2015)."""

MAX_WIDTH = 10.0
"""Largest width factor, WRN-28-10's. A larger number is far more likely a count of channels, such as 16."""


class NetworkKind(Protocol):
    """The options of a network."""

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network, with arbitrary weights, for (N, in_channels, image_size, image_size) images."""
        ...


NETWORKS: dict[str, type[NetworkKind]] = {}
"""Kind -> class of its options."""

C = TypeVar("C", bound=type)


def register_network(name: str) -> Callable[[C], C]:
    """Decorator that puts a frozen dataclass with `build` into NETWORKS; InputError if the name is taken.

    >>> from dataclasses import dataclass
    >>> from prunebench.models import build, register_network
    >>> @register_network("linear")
    ... @dataclass(frozen=True)
    ... class LinearKind:
    ...     def build(self, *, classes, in_channels, image_size):
    ...         from torch import nn
    ...         return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))
    >>> build("linear", classes=10, in_channels=1, image_size=8, seed=0)[1]
    Linear(in_features=64, out_features=10, bias=True)
    """
    if name in NETWORKS:
        raise InputError(f"network '{name}' exists already: choose another name")

    def add(cls: C) -> C:
        NETWORKS[name] = cls
        return cls

    return add


def _check(kind: str, width: float, activation: str, stem_stride: int = 1) -> None:
    if not 0 < width <= MAX_WIDTH:
        wanted = f"a factor of the standard width in (0, {MAX_WIDTH:g}]"
        raise InputError(f"width {width:g} of '{kind}': must be {wanted}, not a number of channels")
    if activation not in ACTIVATIONS:
        raise InputError(f"unknown activation '{activation}' of '{kind}': {nearest(activation, ACTIVATIONS)}")
    if stem_stride not in (1, 2):
        raise InputError(f"stem_stride {stem_stride} of '{kind}': must be 1 or 2")


def _check_dropout(kind: str, dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout:g} of '{kind}': must be in [0, 1)")


def _check_counts(kind: str, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} {count} of '{kind}': must be 1 or more")


@register_network("mlp")
@dataclass(frozen=True)
class MlpKind:
    """Fully connected, without batch norm.

    depth: hidden layers (3 of 256 are the S-Cyc paper's gradient figure, from memory). width: factor of 256 units.
    """

    depth: int = 3
    width: float = 1.0
    activation: str = "relu"

    def __post_init__(self) -> None:
        _check("mlp", self.width, self.activation)
        if self.depth < 1:
            raise InputError(f"depth {self.depth} of 'mlp': must be 1 hidden layer or more")

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network.

        >>> from prunebench.models.kinds import MlpKind
        >>> MlpKind(depth=1, width=0.5).build(classes=10, in_channels=1, image_size=8).classifier
        Linear(in_features=128, out_features=10, bias=True)
        """
        from prunebench.models.networks import MLP

        return MLP(**vars(self), classes=classes, in_channels=in_channels, image_size=image_size)


@register_network("resnet")
@dataclass(frozen=True)
class ResNetKind:
    """ResNet for small images (He et al. 2016, 4.2).

    depth: layers with weights, 6n+2: 8, 20, 32, 56. width: factor of 16, 32, 64 channels. stem_stride: stride of the
    first convolution; 2 trains about 2 times cheaper [ours].
    """

    depth: int = 20
    width: float = 1.0
    stem_stride: int = 1
    activation: str = "relu"

    def __post_init__(self) -> None:
        _check("resnet", self.width, self.activation, self.stem_stride)
        if self.depth < 8 or self.depth % 6 != 2:
            raise InputError(f"depth {self.depth} of 'resnet': must be 6n+2, such as 8, 20, 32, 44, 56 or 110")

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network.

        >>> from prunebench.models.kinds import ResNetKind
        >>> ResNetKind(depth=8, width=0.25).build(classes=10, in_channels=1, image_size=8).classifier
        Linear(in_features=16, out_features=10, bias=True)
        """
        from prunebench.models.networks import CifarResNet

        return CifarResNet(**vars(self), classes=classes, in_channels=in_channels)


@register_network("wide_resnet")
@dataclass(frozen=True)
class WideResNetKind:
    """Wide residual network for small images (Zagoruyko and Komodakis 2016), pre-activation, as gRDA's authors have it.

    Its convolutions have biases: WRN-28-10 has 36,546,980 parameters at 100 classes. depth: 6n+4: 10, 16, 22, 28, 40.
    widen: factor of 16, 32, 64 channels. dropout: between the two convolutions of a block, in [0, 1).
    """

    depth: int = 28
    widen: int = 10
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_counts("wide_resnet", widen=self.widen)
        _check_dropout("wide_resnet", self.dropout)
        if self.depth < 10 or self.depth % 6 != 4:
            raise InputError(f"depth {self.depth} of 'wide_resnet': must be 6n+4, such as 10, 16, 22, 28 or 40")

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network.

        >>> from prunebench.models.kinds import WideResNetKind
        >>> WideResNetKind(depth=10, widen=1).build(classes=10, in_channels=1, image_size=8).classifier
        Linear(in_features=64, out_features=10, bias=True)
        """
        from prunebench.models.networks import WideResNet

        return WideResNet(**vars(self), classes=classes, in_channels=in_channels)


@register_network("vgg")
@dataclass(frozen=True)
class VggKind:
    """VGG for small images: one linear layer after a global mean, or a head with hidden layers.

    depth: 11, 13, 16 or 19, counted as in the ImageNet original. width: factor of 64 to 512 channels. batch_norm:
    without it the convolutions have biases. hidden: units of each hidden layer of the head. dropout: before each hidden
    layer, in [0, 1). {depth: 16, batch_norm: false, hidden: [512, 512], dropout: 0.5} is the VGG-16 of Garipov et al.
    (2018), which gRDA's authors train.
    """

    depth: int = 11
    width: float = 1.0
    activation: str = "relu"
    batch_norm: bool = True
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check("vgg", self.width, self.activation)
        _check_dropout("vgg", self.dropout)
        if self.depth not in VGG_DEPTHS:
            raise InputError(f"depth {self.depth} of 'vgg': allowed: {', '.join(map(str, VGG_DEPTHS))}")
        if any(units < 1 for units in self.hidden):
            raise InputError(f"hidden {list(self.hidden)} of 'vgg': each layer must have 1 unit or more")
        if self.dropout and not self.hidden:
            raise InputError(f"dropout {self.dropout:g} of 'vgg': it comes before hidden layers, and hidden names none")

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network.

        >>> from prunebench.models.kinds import VggKind
        >>> VggKind(depth=11, width=0.125).build(classes=10, in_channels=1, image_size=8).classifier
        Linear(in_features=64, out_features=10, bias=True)
        """
        from prunebench.models.networks import VGG

        return VGG(**vars(self), classes=classes, in_channels=in_channels, image_size=image_size)


@register_network("mobilenet")
@dataclass(frozen=True)
class MobileNetKind:
    """Inverted residuals in the style of MobileNetV3-Small, for small images; its own mix of ReLU and hard-swish.

    width: factor of 16 to 240 channels, rounded to multiples of 8. stem_stride: stride of the first convolution.
    """

    width: float = 1.0
    stem_stride: int = 1

    def __post_init__(self) -> None:
        _check("mobilenet", self.width, "relu", self.stem_stride)

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network.

        >>> from prunebench.models.kinds import MobileNetKind
        >>> MobileNetKind(width=0.5).build(classes=10, in_channels=1, image_size=8).classifier
        Linear(in_features=24, out_features=10, bias=True)
        """
        from prunebench.models.mobilenet import MobileNet

        return MobileNet(**vars(self), classes=classes, in_channels=in_channels)


@register_network("vit")
@dataclass(frozen=True)
class VitKind:
    """Vision transformer (Dosovitskiy et al. 2021), torchvision's, with a class token and learnt positions.

    The defaults are ViT-Lite-7/4's (Hassani et al. 2021), for 32x32 images; with a patch of 8, 64x64 ones cost as much.
    patch: side of a patch in pixels, which divides that of the images. layers: transformer blocks. heads: of attention;
    they divide `hidden`, the width of the tokens. mlp: units of a block's hidden layer. dropout: after the positions,
    attention and both layers of the mlp, in [0, 1).
    """

    patch: int = 4
    layers: int = 7
    heads: int = 4
    hidden: int = 256
    mlp: int = 512
    dropout: float = 0.0

    def __post_init__(self) -> None:
        counts = dict(vars(self))
        _check_dropout("vit", counts.pop("dropout"))
        _check_counts("vit", **counts)
        if self.hidden % self.heads:
            raise InputError(f"heads {self.heads} of 'vit': must divide hidden, which is {self.hidden}")

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network; InputError where the patch does not divide the image or torchvision cannot be imported.

        >>> from prunebench.models.kinds import VitKind
        >>> VitKind(layers=1, hidden=32).build(classes=10, in_channels=1, image_size=8).heads.head
        Linear(in_features=32, out_features=10, bias=True)
        """
        from prunebench.models.networks import vision_transformer

        if image_size % self.patch:
            raise InputError(f"patch {self.patch} of 'vit': must divide the side of the images, {image_size} pixels")
        return vision_transformer(**vars(self), classes=classes, in_channels=in_channels, image_size=image_size)


@dataclass(frozen=True)
class _Torchvision:
    """torchvision's network as it comes, untrained; colour images of 32x32 or more."""

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network."""
        from prunebench.models.networks import torchvision_network

        name = next(name for name, cls in NETWORKS.items() if cls is type(self))
        return torchvision_network(name, classes=classes, in_channels=in_channels, image_size=image_size, **vars(self))


@register_network("torchvision_resnet50")
@dataclass(frozen=True)
class TorchvisionResNet50(_Torchvision):
    """torchvision's ResNet-50, untrained; colour images of 32x32 or more.

    small_stem: a 3x3 convolution of stride 1 without a max-pool instead of the 7x7 one of stride 2 with its pool,
    for images of 64x64 [ours].
    """

    small_stem: bool = False


@register_network("torchvision_vgg19_bn")
@dataclass(frozen=True)
class TorchvisionVgg19Bn(_Torchvision):
    """torchvision's VGG-19 with batch norm, untrained; colour images of 32x32 or more.

    Its head of 25,088-4,096-4,096-classes holds 119.6 of its 139.6 million parameters at 10 classes: what S-Cyc's
    authors prune on CIFAR-10 [authors' code]. dropout: after each hidden layer of the head, in [0, 1).
    """

    dropout: float = 0.5

    def __post_init__(self) -> None:
        _check_dropout("torchvision_vgg19_bn", self.dropout)


@register_network("torchvision_mobilenet_v3_small")
@dataclass(frozen=True)
class TorchvisionMobileNetV3Small(_Torchvision):
    """torchvision's MobileNetV3-Small, untrained; colour images of 32x32 or more.

    dropout: before the last layer, in [0, 1); 0.2 is torchvision's.
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_dropout("torchvision_mobilenet_v3_small", self.dropout)


@register_network("torchvision_mobilenet_v3_large")
@dataclass(frozen=True)
class TorchvisionMobileNetV3Large(_Torchvision):
    """torchvision's MobileNetV3-Large, untrained; colour images of 32x32 or more.

    dropout: before the last layer, in [0, 1); 0.2 is torchvision's.
    """

    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_dropout("torchvision_mobilenet_v3_large", self.dropout)


def network_kind(kind: str, **options: object) -> NetworkKind:
    """The options of the network `kind`; InputError for an unknown kind or option, or a number out of range.

    >>> from prunebench.models.kinds import network_kind
    >>> network_kind("resnet", depth=8)
    ResNetKind(depth=8, width=1.0, stem_stride=1, activation='relu')
    """
    if kind not in NETWORKS:
        raise InputError(f"unknown network '{kind}': {nearest(kind, NETWORKS)}")
    cls = NETWORKS[kind]
    fields = [*getattr(cls, "__dataclass_fields__", {})]
    for option in options:
        if option not in fields:
            raise InputError(
                f"network '{kind}' has no option '{option}': {nearest(option, fields) if fields else 'it has none'}"
            )
    return cls(**options)
