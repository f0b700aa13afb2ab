"""Initial weights of layers of every kind: their scale, and what is refused."""

import math

import pytest
import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.models import build, initialise_

pytestmark = pytest.mark.usefixtures("one_thread")


def test_initial_scale_of_a_grouped_convolution_counts_the_outputs_that_an_input_feeds():
    grouped, plain = nn.Conv2d(256, 512, 3, groups=64), nn.Conv2d(4, 512, 3)
    depthwise = nn.Conv2d(4096, 4096, 3, groups=4096)
    up, grouped_up = nn.ConvTranspose2d(64, 128, 3), nn.ConvTranspose2d(128, 256, 3, groups=8)
    assert grouped.weight.shape == plain.weight.shape
    for conv, fan_out in ((grouped, 8 * 9), (plain, 512 * 9), (depthwise, 9), (up, 128 * 9), (grouped_up, 32 * 9)):
        initialise_(conv, 0)
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
        # Counted without the formula: the inputs' gradients of a sum of ones over all outputs.
        ones = torch.zeros(1, conv.in_channels, 5, 5, requires_grad=True)
        product = nn.functional.conv_transpose2d if isinstance(conv, nn.ConvTranspose2d) else nn.functional.conv2d
        product(ones, torch.ones_like(conv.weight), padding=1, groups=conv.groups).sum().backward()
        assert ones.grad[0, 0, 2, 2] == fan_out


# Layer, its parameter, and the standard deviation, mean 0, of its initial values.
SCALES = [
    (lambda: nn.Conv1d(64, 128, 5), "weight", math.sqrt(2 / (128 * 5))),
    (lambda: nn.Conv3d(16, 32, 3), "weight", math.sqrt(2 / (32 * 27))),
    (lambda: nn.ConvTranspose1d(128, 64, 5), "weight", math.sqrt(2 / (64 * 5))),
    (lambda: nn.ConvTranspose3d(16, 32, 3), "weight", math.sqrt(2 / (32 * 27))),
    (lambda: nn.Embedding(200, 64), "weight", 1),
    (lambda: nn.MultiheadAttention(128, 4), "in_proj_weight", math.sqrt(1 / 128)),
    (lambda: nn.MultiheadAttention(128, 4), "out_proj.weight", math.sqrt(2 / 128)),
    (lambda: nn.MultiheadAttention(128, 4, kdim=256, vdim=64), "k_proj_weight", math.sqrt(1 / 256)),
    (lambda: nn.MultiheadAttention(2048, 4, add_bias_kv=True), "bias_k", math.sqrt(1 / 2048)),
]


@pytest.mark.parametrize(("make", "name", "std"), SCALES)
def test_initial_scale_of_layers_of_other_kinds(make, name, std):
    layer = make()
    initialise_(layer, 0)
    values = layer.get_parameter(name)
    assert values.std().item() == pytest.approx(std, rel=0.04)
    assert abs(values.mean().item()) < 4 * std / math.sqrt(values.numel())
    for key, other in layer.named_parameters():
        assert other.any() != key.endswith("bias"), key
    before = values.detach().clone()
    initialise_(layer, 1)
    assert not torch.equal(values, before)
    torch.rand(1)
    initialise_(layer, 0)
    assert torch.equal(values, before)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm3d(4),
        nn.BatchNorm2d(4, affine=False),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.RMSNorm(4),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_norms_start_as_torchs_do(norm):
    fresh = {name: value.clone() for name, value in norm.state_dict().items()}
    with torch.no_grad():
        for value in norm.state_dict().values():
            value.add_(3)
    initialise_(nn.Sequential(norm), 0)
    assert all(torch.equal(value, fresh[name]) for name, value in norm.state_dict().items())


def test_the_row_of_padding_is_zero():
    words = nn.Embedding(5, 3, padding_idx=2)
    initialise_(words, 0)
    assert words.weight.any(dim=1).tolist() == [True, True, False, True, True]


def test_a_vision_transformer_starts_as_its_docstring_says():
    model = build("vit", layers=2, classes=10, in_channels=3, image_size=32, seed=0)
    assert not model.class_token.any()
    for values in (model.encoder.pos_embedding, model.heads.head.weight):
        assert values.std().item() == pytest.approx(0.02, rel=0.04)
    for block in model.encoder.layers:
        assert block.mlp[0].weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
        assert block.mlp[3].weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GRU(3, 3), "weight_ih_l0 of layer '1' of type GRU"),
        (nn.PReLU(), "weight of layer '1' of type PReLU"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "original0 of layer '1.parametrizations.weight'"),
        (nn.ParameterList([torch.zeros(2)]), "0 of layer '1' of type ParameterList"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_initialise_refuses_layers_it_does_not_know(layer, message):
    model = nn.Sequential(nn.Linear(3, 3), layer)
    before = model[0].weight.clone()
    with pytest.raises(TypeError, match=message):
        initialise_(model, 0)
    assert torch.equal(model[0].weight, before)


def test_a_network_may_name_the_scale_of_its_own_parameters():
    class Scaled(nn.Module):
        def __init__(self, **stds):
            super().__init__()
            self.scale, self.head = nn.Parameter(torch.ones(4000)), nn.Linear(400, 10)
            self.initial_std = stds

    model = Scaled(**{"scale": 0.5, "head.weight": 0.1})
    initialise_(model, 0)
    assert model.scale.std().item() == pytest.approx(0.5, rel=0.05)
    assert model.head.weight.std().item() == pytest.approx(0.1, rel=0.05)
    with pytest.raises(InputError, match=r"model.initial_std: head.wieght is no parameter"):
        initialise_(Scaled(**{"scale": 0.5, "head.wieght": 0.1}), 0)
    with pytest.raises(TypeError, match=r"scale of layer '' of type Scaled; model.initial_std may name it"):
        initialise_(Scaled(), 0)
