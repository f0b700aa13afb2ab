"""The networks: a CIFAR-style ResNet, a wide one, a VGG, a multi-layer perceptron, torchvision's, and `build`.

All take (N, C, H, W) float images, contiguous or channels_last, and return (N, classes) logits. In each,
modules are registered in the order in which forward calls them; pruning and the per-layer tables rely on it.
(torchvision's register their convolutions and linear layers so, not their activations.) Dropout draws from torch's
global generator, which the engine seeds before every update.
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


class _WideBlock(nn.Module):
    """Batch norm, ReLU and convolution, twice; the second convolution has the stride, and the shortcut starts before
    the first batch norm, both as in the code of Garipov et al. (Zagoruyko and Komodakis: the first, and after it)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.act1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(self.act1(self.bn1(x))))
        return self.conv2(self.act2(self.bn2(out))) + self.shortcut(x)


class WideResNet(nn.Module):
    """WRN-`depth`-`widen` for small images, n pre-activation blocks at each of three widths, depth 6n+4 (Zagoruyko and
    Komodakis 2016, "Wide residual networks").

    Widths 16, 32, 64 times `widen` after a first convolution of 16; shortcuts between widths are 1x1 convolutions.
    Every convolution has a bias, as in the code of Garipov et al. (2018) that gRDA's authors use: WRN-28-10 has
    36,546,980 parameters at 100 classes, of which 10,096 are these biases. Their last batch norm has momentum 0.9;
    here all have torch's 0.1 [ours]. Any image size.

    >>> import torch
    >>> from prunebench.models import WideResNet
    >>> model = WideResNet(classes=10, in_channels=3, depth=10, widen=1)
    >>> model(torch.zeros(2, 3, 8, 8)).shape, sum(isinstance(part, torch.nn.Conv2d) for part in model.modules())
    (torch.Size([2, 10]), 9)
    """

    def __init__(self, *, classes: int, in_channels: int, depth: int, widen: int, dropout: float = 0.0) -> None:
        super().__init__()
        channels = 16
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        blocks = []
        for stage in range(3):
            for block in range((depth - 4) // 6):
                wider = 16 * 2**stage * widen
                blocks.append(_WideBlock(channels, wider, 2 if stage > 0 and block == 0 else 1, dropout))
                channels = wider
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.act(self.bn(self.blocks(self.conv(x)))).mean((2, 3)))


_VGG_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """VGG for small images: configurations A, B, D, E of Simonyan and Zisserman (2015).

    Widths 64, 128, 256, 512, 512 times the factor `width`; convolutions have batch norm, or biases without it. One
    linear layer after a global mean replaces the three fully connected ones, as usual on CIFAR, so `depth` counts the
    ImageNet original's layers. `hidden` are the units of hidden layers before it, each after a dropout. Each stage
    ends with a 2x2 max-pool unless the map is 1x1 already: all five pools from 32x32 on, three at 8x8.

    At 10 classes and 3 channels VGG-19 has 20,035,018 parameters. VGG-16 without batch norm and with two hidden layers
    of 512 has 15,245,130: the network of Garipov et al. (2018), whose code gRDA's authors use.

    >>> import torch
    >>> from prunebench.models import VGG
    >>> model = VGG(classes=10, in_channels=3, image_size=8, activation="relu", width=0.125, depth=11)
    >>> model(torch.zeros(2, 3, 8, 8)).shape, sum(isinstance(part, torch.nn.MaxPool2d) for part in model.features)
    (torch.Size([2, 10]), 3)
    """

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int,
        image_size: int,
        activation: str,
        width: float,
        depth: int,
        batch_norm: bool = True,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        layers: list[nn.Module] = []
        size, channels = image_size, in_channels
        for stage, convolutions in enumerate(_VGG_CONVOLUTIONS[depth]):
            for _ in range(convolutions):
                wider = _scaled(64 * 2 ** min(stage, 3), width)
                layers.append(nn.Conv2d(channels, wider, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(wider)] if batch_norm else []
                layers.append(_ACTIVATION[activation]())
                channels = wider
            if size >= 2:
                layers.append(nn.MaxPool2d(2))
                size //= 2
        self.features = nn.Sequential(*layers)
        head: list[nn.Module] = []
        for units in hidden:
            head += [nn.Dropout(dropout), nn.Linear(channels, units), _ACTIVATION[activation]()]
            channels = units
        self.hidden = nn.Sequential(*head)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.hidden(self.features(x).mean((2, 3))))


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


def torchvision_network(
    kind: str, *, classes: int, in_channels: int, image_size: int, small_stem: bool = False, **options: Any
) -> nn.Module:
    """torchvision's network as it comes, untrained.

    kind: "torchvision_" and the name of one of its constructors, which takes `options`. small_stem: in a ResNet, a 3x3
    convolution of stride 1 and no max-pool instead of the 7x7 one of stride 2 with its pool. Raises InputError
    unless in_channels is 3 and image_size is 32 or more, and where torchvision cannot be imported.

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
    models = _torchvision_models(kind)
    name = kind.removeprefix("torchvision_")
    if name not in (known := models.list_models(models)):
        raise InputError(f"torchvision has no network '{name}': {nearest(name, known)}")
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    if small_stem:
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model


def _torchvision_models(kind: str) -> Any:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision was built for another torch
        needed = f"'{kind}' needs the torchvision that belongs to torch {torch.__version__}"
        raise InputError(f"{needed}, as pip install 'prunebench[workflow]' brings it: {error}") from error
    return models


def vision_transformer(
    *,
    classes: int,
    in_channels: int,
    image_size: int,
    patch: int,
    layers: int,
    heads: int,
    hidden: int,
    mlp: int,
    dropout: float = 0.0,
) -> nn.Module:
    """torchvision's vision transformer (Dosovitskiy et al. 2021), untrained, for images of any number of channels.

    `initialise_` draws positions with std 0.02 and sets the class token to 0, as torchvision (the 0.02 is BERT's), and
    draws the classifier's weight with std 0.02, as Touvron et al. (2021) and timm: torchvision's 0 would pass no
    gradient on at first, and with the std of other linear layers SGD at an LR of 0.1 learnt nothing (digits, three
    seeds).

    image_size and patch: sides in pixels; the second divides the first. hidden: width of a token, which `heads`
    divides. mlp: units of a block's hidden layer. Raises InputError where torchvision cannot be imported.

    >>> import torch
    >>> from prunebench.models.networks import vision_transformer
    >>> sizes = {"patch": 4, "layers": 1, "heads": 2, "hidden": 16, "mlp": 32}
    >>> model = vision_transformer(classes=10, in_channels=1, image_size=8, **sizes)
    >>> model(torch.zeros(2, 1, 8, 8)).shape, model.encoder.pos_embedding.shape  # four patches and the class token
    (torch.Size([2, 10]), torch.Size([1, 5, 16]))
    """
    model = _torchvision_models("vit").VisionTransformer(
        image_size, patch, layers, heads, hidden, mlp, dropout=dropout, num_classes=classes
    )
    model.conv_proj = nn.Conv2d(in_channels, hidden, patch, patch)  # torchvision's takes three channels
    model.initial_std = {"class_token": 0.0, "encoder.pos_embedding": 0.02, "heads.head.weight": 0.02}
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
