"""FLOPs against a count by hand; memory in the unit it names."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from prunebench.analysis.cost import flops, flops_per_image, peak_memory_mb, sparse_flops
from prunebench.errors import InputError
from prunebench.models import build
from prunebench.pruning.masks import full_masks, prunable_weights


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.down(self.stem(x)).mean((2, 3)))


BY_HAND = {"stem.0.weight": 2 * 3 * 4 * 9 * 8 * 8, "down.weight": 2 * 4 * 6 * 9 * 4 * 4, "head.weight": 2 * 6 * 5}


def test_flops_equal_a_count_by_hand():
    model = Small().train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    counted = flops_per_image(model, (3, 8, 8))
    assert counted == BY_HAND
    assert list(counted) == list(BY_HAND)
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
    assert sparse == BY_HAND["stem.0.weight"] / 4 + BY_HAND["down.weight"] + BY_HAND["head.weight"]


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


# --- against torch's own counter and by hand, on layers of every kind


class Transformer(nn.Module):
    """Token ids -> logits; causal, with the embedding's weight as the head's."""

    def __init__(self, vocabulary=50, width=32, heads=4, length=12):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.1, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        return self.head(self.blocks(x, mask=nn.Transformer.generate_square_subsequent_mask(ids.shape[1])))


def images(size=32, channels=3):
    return torch.zeros(2, channels, size, size)


def torchvisions(name, **options):
    import torchvision

    return lambda: getattr(torchvision.models, name)(**options)


STRANGERS = {
    "mobilenet_v3": (torchvisions("mobilenet_v3_small"), lambda: images(64)),
    "vit": (
        torchvisions(
            "VisionTransformer", image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64
        ),
        images,
    ),
    "resnet18": (torchvisions("resnet18"), lambda: images(64)),
    "transformer": (Transformer, lambda: torch.zeros(2, 12, dtype=torch.long)),
    "1-D": (
        lambda: nn.Sequential(nn.Conv1d(4, 6, 3, groups=2), nn.ConvTranspose1d(6, 4, 4, stride=2)),
        lambda: torch.zeros(2, 4, 20),
    ),
    "3-D": (
        lambda: nn.Sequential(nn.Conv3d(2, 6, 3, stride=2), nn.ConvTranspose3d(6, 4, 2, groups=2)),
        lambda: torch.zeros(2, 2, 9, 9, 9),
    ),
    "up": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1)), images),
    "held": (
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 5, 3)),
        ),
        images,
    ),
}


@pytest.mark.filterwarnings("ignore::prunebench.pruning.layers.LeftOut")
@pytest.mark.parametrize("name", STRANGERS)
def test_flops_of_any_network_equal_torchs_own_counter(name):
    from torch.utils.flop_counter import FlopCounterMode

    make, inputs = STRANGERS[name]
    torch.manual_seed(0)
    model, x = make().train(), inputs()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    counted = flops(model, x)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(module.training for module in model.modules())
    # fused attention, which torch's counter does not know on a CPU, in its parts
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.eval()(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert sum(counted.values()) == counter.get_total_flops() > 0
    masks = full_masks(prunable_weights(model))
    assert set(masks) <= set(counted)
    assert sparse_flops(counted, masks) == sum(counted.values())


def test_attentions_projections_and_products_by_hand():
    """The case found: 197,248 of 721,536, since attention had none."""
    torch.manual_seed(0)
    length, width = 12, 32
    model = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True)
    counted = flops(model, torch.zeros(1, length, width))
    assert counted == {
        "self_attn.in_proj_weight": 2 * length * width * 3 * width,
        "self_attn": 2 * 2 * length * length * width,
        "self_attn.out_proj.weight": 2 * length * width * width,
        "linear1.weight": 2 * length * width * 64,
        "linear2.weight": 2 * length * 64 * width,
    }
    masks = full_masks(prunable_weights(model))
    masks["self_attn.in_proj_weight"][:24] = False
    assert sparse_flops(counted, masks) == sum(counted.values()) - counted["self_attn.in_proj_weight"] / 4


def test_a_transposed_convolution_by_hand():
    """Each input pixel meets the whole kernel of its channel."""
    model = nn.ConvTranspose2d(4, 6, 3, stride=2)
    assert flops(model, torch.zeros(1, 4, 8, 8)) == {"weight": 2 * 8 * 8 * 4 * 6 * 3 * 3}


def test_a_bf16_network_in_channels_last_costs_the_same():
    make, inputs = STRANGERS["resnet18"]
    plain = flops(make(), inputs())
    model = make().to(torch.bfloat16, memory_format=torch.channels_last)
    assert flops(model, inputs().to(torch.bfloat16, memory_format=torch.channels_last)) == plain


def test_flops_are_by_weight_wherever_it_lies():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    plain = flops(model, torch.zeros(1, 4))
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(model.parameters()), model.parameters())
    assert flops(model, torch.zeros(1, 4)) == plain == {"0.weight": 32, "1.weight": 16}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert flops(model, torch.zeros(1, 4)) == plain
    assert flops(model.to("meta"), torch.zeros(1, 4, device="meta")) == plain


def test_flops_of_held_weights_are_theirs_and_products_attentions():
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    plain = flops(attention, torch.zeros(1, 3, 8))
    nn.utils.parametrizations.weight_norm(attention.self_attn, "in_proj_weight")
    nn.utils.parametrizations.spectral_norm(attention.self_attn.out_proj)
    nn.utils.prune.identity(attention.linear1, "weight")
    assert flops(attention, torch.zeros(1, 3, 8)) == plain
    assert plain["self_attn"] == 2 * 2 * 3 * 3 * 8


def test_products_in_other_ways_are_counted_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.bad = nn.LSTM(4, 4), nn.Linear(9, 9)

        def forward(self, x):
            out = torch.empty(2, 2)
            torch.mm(x[0, :2, :2], x[0, :2, :2], out=out)
            with suppress(RuntimeError):
                self.bad(x)
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                nn.functional.scaled_dot_product_attention(*[x[:, None]] * 3)
            return self.cell(x)[0]

    with pytest.raises(InputError, match="no convolution or linear weight"):
        flops(nn.LSTM(4, 4), torch.zeros(3, 1, 4))
    counted = flops(Net(), torch.zeros(1, 3, 4))
    cell = 2 * 3 * 16 * (4 + 4)
    assert counted == {"": 2 * 8 + 2 * 2 * 9 * 4, "cell": cell}
