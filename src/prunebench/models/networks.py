"""The networks: a CIFAR-style ResNet, a VGG with batch norm, a multi-layer perceptron, torchvision's, and `build`.

All take (N, C, H, W) float images, contiguous or channels_last, and return (N, classes) logits. In each,
modules are registered in the order in which forward calls them; pruning and the per-layer tables rely on it.
(torchvision's register their convolutions and linear layers so, not their activations.)
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunebench.errors import InputError, nearest
from prunebench.models.initial import initialise_
from prunebench.models.kinds import NetworkKind, network_kind

# Not in place, though that is 3 % faster on one core: hooks that keep pre-activations, for the S-Cyc paper's
# figure of hidden representations, would find them overwritten.
_ACTIVATION: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


class _ZeroPadShortcut(nn.Module):
    """He et al.'s option A: every second pixel, new channels zero (half before, half after the old ones)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        new = out_channels - in_channels
        self.stride = stride
        self.pad = (0, 0, 0, 0, new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        # A 1x1 mean with a stride takes every second pixel exactly. Slicing does too, but its gradient comes
        # back contiguous and slows the ReLU before it 30-fold in a channels_last network (measured on a CPU).
        return F.pad(F.avg_pool2d(x, 1, self.stride), self.pad)


class _BasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = activation()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else _ZeroPadShortcut(in_channels, out_channels, stride)
        self.act2 = activation()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return self.act2(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet of depth 6n+2 for small images, n basic blocks at each of three widths (He et al. 2016, 4.2).

    Widths 16, 32, 64 times the factor `width`; shortcuts are option A, zero padding without parameters, as
    the authors used on CIFAR-10, so every convolution lies on the main path. Any image size. `stem_stride` is
    the first convolution's; 2 makes training about 2 times cheaper, which small presets need ([ours]).

    >>> import torch
    >>> from prunebench.models import CifarResNet
    >>> model = CifarResNet(classes=10, in_channels=3, activation="relu", width=0.25, depth=8)
    >>> model(torch.zeros(2, 3, 8, 8)).shape, model.classifier.in_features
    (torch.Size([2, 10]), 16)
    """

    def __init__(
        self, *, classes: int, in_channels: int, activation: str, width: float, depth: int, stem_stride: int = 1
    ) -> None:
        super().__init__()
        self.activation = activation
        act = _ACTIVATION[activation]
        channels = _scaled(16, width)
        self.conv = nn.Conv2d(in_channels, channels, 3, stem_stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = act()
        blocks = []
        for stage in range(3):
            for block in range((depth - 2) // 6):
                wider = _scaled(16 * 2**stage, width)
                blocks.append(_BasicBlock(channels, wider, 2 if stage > 0 and block == 0 else 1, act))
                channels = wider
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.act(self.bn(self.conv(x)))).mean((2, 3)))


_VGG_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """VGG with batch norm for small images: configurations A, B, D, E of Simonyan and Zisserman (2015).

    Widths 64, 128, 256, 512, 512 times the factor `width`. One linear layer after a global mean replaces the
    three fully connected ones, as usual on CIFAR, so `depth` counts the ImageNet original's layers. Each
    stage ends with a 2x2 max-pool unless the map is 1x1 already: all five pools from 32x32 on, three at 8x8.

    >>> import torch
    >>> from prunebench.models import VGG
    >>> model = VGG(classes=10, in_channels=3, image_size=8, activation="relu", width=0.125, depth=11)
    >>> model(torch.zeros(2, 3, 8, 8)).shape, sum(isinstance(part, torch.nn.MaxPool2d) for part in model.features)
    (torch.Size([2, 10]), 3)
    """

    def __init__(
        self, *, classes: int, in_channels: int, image_size: int, activation: str, width: float, depth: int
    ) -> None:
        super().__init__()
        self.activation = activation
        layers: list[nn.Module] = []
        size, channels = image_size, in_channels
        for stage, convolutions in enumerate(_VGG_CONVOLUTIONS[depth]):
            for _ in range(convolutions):
                wider = _scaled(64 * 2 ** min(stage, 3), width)
                layers += [nn.Conv2d(channels, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider)]
                layers.append(_ACTIVATION[activation]())
                channels = wider
            if size >= 2:
                layers.append(nn.MaxPool2d(2))
                size //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class MLP(nn.Module):
    """Fully connected: `depth` hidden layers of 256 units times the factor `width`, with biases, without BN.

    Three hidden layers of 256 are the network of the S-Cyc paper's gradient figure (docs/methods.md, Gradients; from
    memory).

    >>> import torch
    >>> from prunebench.models import MLP
    >>> model = MLP(classes=10, in_channels=1, image_size=8, activation="relu", width=0.5, depth=2)
    >>> [tuple(p.shape) for p in model.parameters() if p.dim() == 2]
    [(128, 64), (128, 128), (10, 128)]
    """

    def __init__(
        self, *, classes: int, in_channels: int, image_size: int, activation: str, width: float, depth: int
    ) -> None:
        super().__init__()
        self.activation = activation
        features = in_channels * image_size**2
        hidden = _scaled(256, width)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(features, hidden), _ACTIVATION[activation]()]
            features = hidden
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(x.flatten(1)))


def torchvision_network(kind: str, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
    """torchvision's network as it comes, untrained; its MobileNets without dropout, which draws from the global RNG
    and would make a run depend on more than its seed.

    kind: "torchvision_" and the name of one of its constructors. Raises InputError unless in_channels is 3 and
    image_size is 32 or more, and where torchvision cannot be imported.

    >>> from prunebench.models.networks import torchvision_network
    >>> model = torchvision_network("torchvision_mobilenet_v3_small", classes=1000, in_channels=3, image_size=224)
    >>> sum(p.numel() for p in model.parameters())
    2542856
    """
    for wrong, what in (
        (in_channels != 3, f"in_channels {in_channels} of '{kind}': must be 3"),
        (image_size < 32, f"image_size {image_size} of '{kind}': must be 32 or more"),
    ):
        if wrong:
            raise InputError(what)
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision was built for another torch
        needed = f"'{kind}' needs the torchvision that belongs to torch {torch.__version__}"
        raise InputError(f"{needed}, as pip install 'prunebench[workflow]' brings it: {error}") from error
    dropout = {"dropout": 0.0} if "mobilenet" in kind else {}
    name = kind.removeprefix("torchvision_")
    if name not in (known := models.list_models(models)):
        raise InputError(f"torchvision has no network '{name}': {nearest(name, known)}")
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **dropout)
    return model


def build(
    kind: str | NetworkKind,
    *,
    classes: int,
    in_channels: int,
    image_size: int,
    seed: int | None,
    **options: Any,
) -> nn.Module:
    """The network `kind` on the CPU, in train mode, for (N, in_channels, image_size, image_size) images.

    kind: a name of `kinds.NETWORKS`, its `options` being the fields of its class; or an instance of such a class.
    seed: fixes the weights (`initialise_`); with None they are arbitrary, for a caller that loads others. The global
    RNG is left as it was. Raises InputError for an unknown kind or option and for a number out of range.

    >>> import torch
    >>> from prunebench.models import build
    >>> model = build("resnet", depth=8, width=0.25, classes=10, in_channels=1, image_size=8, seed=0)
    >>> model(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    network = network_kind(kind, **options) if isinstance(kind, str) else kind
    for name, count in (("classes", classes), ("in_channels", in_channels), ("image_size", image_size)):
        if count < 1:
            raise InputError(f"{name} is {count}: must be 1 or more")
    with torch.random.fork_rng(devices=[]):
        model = network.build(classes=classes, in_channels=in_channels, image_size=image_size)
    if seed is not None:
        initialise_(model, seed)
    return model
