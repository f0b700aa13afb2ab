"""A MobileNetV3-style network for small images (Howard et al. 2019, "Searching for MobileNetV3")."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# In the manner of MobileNetV3-Small's first blocks: expanded width, width, squeeze-excite, activation, stride.
# 3x3 throughout: on the 2x2 maps that 16x16 images end in (stem_stride 2), 16 of a 5x5 kernel's 25 weights would meet
# padding alone, and shrink by weight decay whatever was pruned.
_BLOCKS: tuple[tuple[int, int, bool, Callable[[], nn.Module], int], ...] = (
    (16, 16, True, nn.ReLU, 2),
    (64, 24, False, nn.ReLU, 1),
    (96, 40, True, nn.Hardswish, 2),
    (120, 40, True, nn.Hardswish, 1),
    (120, 40, True, nn.Hardswish, 1),
)
_STEM, _HIDDEN = 16, 48


def divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 8, and the next one up where that would lose more than 10 %:
    the rule of the MobileNets' authors and of torchvision.

    >>> from prunebench.models.mobilenet import divisible
    >>> divisible(3), divisible(11), divisible(19), divisible(20)  # 8 would lose more than 10 % of 11
    (8, 16, 24, 24)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class _Depthwise(nn.Conv2d):
    """A 3x3 convolution with one filter per channel; on a CPU never under autocast.

    oneDNN has no fast bf16 gradient for a depthwise convolution with a stride or on a 2x2 map: with 64 channels and
    stride 2 it takes 33 ms where fp32 takes 0.6 (torch 2.13, AVX512_BF16), which made the whole network about 3 times
    slower.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(channels, channels, 3, stride, padding=1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))


class _SqueezeExcite(nn.Module):
    """Each channel times a hard-sigmoid gate, computed from all channels' means through a quarter as many units."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels // 4)
        # Linear layers do what 1x1 convolutions do to a 1x1 map, a little faster.
        self.reduce = nn.Linear(channels, squeezed)
        self.act = nn.ReLU()
        self.expand = nn.Linear(squeezed, channels)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(self.act(self.reduce(x.mean((2, 3))))))[:, :, None, None]


class _InvertedResidual(nn.Module):
    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        squeeze_excite: bool,
        activation: Callable[[], nn.Module],
        stride: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers += [nn.Conv2d(in_channels, expanded, 1, bias=False), nn.BatchNorm2d(expanded), activation()]
        layers += [_Depthwise(expanded, stride), nn.BatchNorm2d(expanded), activation()]
        if squeeze_excite:
            layers.append(_SqueezeExcite(expanded))
        layers += [nn.Conv2d(expanded, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MobileNet(nn.Module):
    """Five inverted residuals in the style of MobileNetV3-Small, of about the size of the ResNet of depth 8 [ours].

    Each expands by a 1x1 convolution (the first does not, as in the original), filters each channel by itself, gates
    the channels (squeeze-excite; not in the second) and projects back by a 1x1 convolution. ReLU in the first two,
    hard-swish in the others, the stem and the head. The head is the original's: a 1x1 convolution to 6 times the
    width, global mean, one hidden layer, linear; without its dropout [ours]. Every width is a multiple of 8
    (`divisible`), so that there are groups of 4 or 8 input channels to prune. Any image size; the last maps are 4 x
    `stem_stride` times smaller.

    Batch norm has torch's momentum 0.1 and eps 1e-5. torchvision's MobileNetV3 has momentum 0.01 and eps 1e-3; its
    running statistics still hold 5 % of their start after 300 updates, about as many as a short training has.

    >>> import torch
    >>> from prunebench.models import MobileNet
    >>> MobileNet(classes=10, in_channels=3, width=0.5)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, classes: int, in_channels: int, width: float, stem_stride: int = 1) -> None:
        super().__init__()
        channels = divisible(_STEM * width)
        self.conv = nn.Conv2d(in_channels, channels, 3, stem_stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.Hardswish()
        blocks = []
        for expanded, out_channels, squeeze_excite, act, stride in _BLOCKS:
            wide, narrow = divisible(expanded * width), divisible(out_channels * width)
            blocks.append(_InvertedResidual(channels, wide, narrow, squeeze_excite, act, stride))
            channels = narrow
        self.blocks = nn.Sequential(*blocks)
        last, hidden = 6 * channels, divisible(_HIDDEN * width)
        self.last = nn.Sequential(nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.Hardswish())
        self.hidden = nn.Sequential(nn.Linear(last, hidden), nn.Hardswish())
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.last(self.blocks(self.act(self.bn(self.conv(x)))))
        return self.classifier(self.hidden(maps.mean((2, 3))))
