"""FLOPs against a count by hand; memory in the unit it names."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from prunebench.analysis.cost import flops_per_image, peak_memory_mb, sparse_flops
from prunebench.models import build


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.down(self.stem(x)).mean((2, 3)))


BY_HAND = {"stem.0": 2 * 3 * 4 * 9 * 8 * 8, "down": 2 * 4 * 6 * 9 * 4 * 4, "head": 2 * 6 * 5}


def test_flops_equal_a_count_by_hand():
    model = Small().train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    flops = flops_per_image(model, (3, 8, 8))
    assert flops == BY_HAND
    assert list(flops) == list(BY_HAND)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())


def test_resnet20_flops():
    """40.8 million multiply-adds: the figure commonly quoted for ResNet-20 on CIFAR-10 (0.041 G)."""
    model = build("resnet", classes=10, in_channels=3, image_size=32, depth=20, seed=0)
    stages = [(3 * 16 + 6 * 16 * 16) * 32**2, (16 * 32 + 5 * 32 * 32) * 16**2, (32 * 64 + 5 * 64 * 64) * 8**2]
    total = sum(flops_per_image(model, (3, 32, 32)).values())
    assert total == 2 * (9 * sum(stages) + 640)
    assert total / 2 == pytest.approx(40.8e6, rel=0.01)


def test_sparse_flops_scale_by_density():
    masks = {
        "stem.0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.bool),
        "head.weight": torch.ones(5, 6, dtype=torch.bool),
    }
    masks["stem.0.weight"].view(-1)[:27] = True
    sparse = sparse_flops(BY_HAND, masks)
    assert sparse == BY_HAND["stem.0"] / 4 + BY_HAND["down"] + BY_HAND["head"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel's own figure is read from /proc")
def test_peak_memory_is_the_kernels_figure_in_megabytes():
    high_water = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak_memory_mb() == pytest.approx(int(high_water[1]) * 1024 / 1e6, rel=0.05)


@pytest.mark.parametrize("kind", ["resnet", "vgg", "mlp"])
def test_flops_equal_torchs_own_counter(kind):
    from torch.utils.flop_counter import FlopCounterMode

    model = build(kind, classes=10, in_channels=3, image_size=16, seed=0)
    model(torch.zeros(2, 3, 16, 16))
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, 16, 16))
    assert sum(flops_per_image(model, (3, 16, 16)).values()) == counter.get_total_flops()
