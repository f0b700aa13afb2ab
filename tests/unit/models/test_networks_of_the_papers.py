"""The networks that the papers train, a row each: as many parameters as published, and all of the library takes it."""

import copy
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prunebench.analysis.cost import flops_per_image
from prunebench.errors import InputError
from prunebench.models import NETWORKS, build, initialise_
from prunebench.models.batch_norm import buffers_kept
from prunebench.pruning.layers import prunable_weights
from prunebench.pruning.masks import apply_masks_

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::prunebench.pruning.layers.LeftOut"),
]


@dataclass(frozen=True)
class Row:
    """A network for colour images of a side, with its number of parameters, and the options of one that trains fast."""

    kind: str
    count: int
    options: dict = field(default_factory=dict)
    classes: int = 10
    side: int = 32
    fast: dict = field(default_factory=dict)

    def build(self, seed, **sizes):
        """The network, of the published size where sizes are not others."""
        options = self.options | self.fast if sizes else self.options
        return build(
            self.kind,
            **{"classes": self.classes, "in_channels": 3, "image_size": self.side} | sizes,
            seed=seed,
            **options,
        )

    def fast_build(self, seed):
        return self.build(seed, classes=7, image_size=32)


def plain_resnet(depth):
    """He et al. 2016, 4.2, with option A: n = (depth - 2) / 6 blocks of two 3x3 convolutions at 16, 32, 64 channels."""
    n = (depth - 2) // 6
    convolutions = 9 * (3 * 16 + 2 * n * 16 * 16 + 16 * 32 + (2 * n - 1) * 32 * 32 + 32 * 64 + (2 * n - 1) * 64 * 64)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    return convolutions + norms + 64 * 10 + 10


# Simonyan and Zisserman 2015, table 1, E; weights of the convolutions, batch norm, one linear layer.
VGG19 = sum(9 * a * b + 2 * b for a, b in pairwise((3, 64, 64, 128, 128, *[256] * 4, *[512] * 8))) + 512 * 10 + 10

# torchvision's documentation, "num_params" of each network's weights, at 1,000 classes.
VGG19_BN, RESNET50, MOBILENET_SMALL, MOBILENET_LARGE, VIT_B_16 = (
    143_678_248,
    25_557_032,
    2_542_856,
    5_483_032,
    86_567_656,
)

# Hassani et al. 2021, ViT-Lite-7/4, 3.717 M; theirs has no bias in the projections to queries, keys and values.
VIT_LITE = 3_716_874 + 7 * 3 * 256

GARIPOV = {"depth": 16, "batch_norm": False, "hidden": (512, 512), "dropout": 0.5}
BASE = {"patch": 16, "layers": 12, "heads": 12, "hidden": 768, "mlp": 3072}
DROPOUT = {"dropout": 0.2}

ROWS = {
    **{
        f"resnet{depth}": Row("resnet", plain_resnet(depth), {"depth": depth}, fast={"width": 0.25})
        for depth in (20, 32, 44, 56, 110)
    },
    "vgg16 of gRDA": Row("vgg", 15_245_130, GARIPOV),  # the authors' data
    "vgg19": Row("vgg", VGG19, {"depth": 19}),
    "vgg19 of S-Cyc": Row("torchvision_vgg19_bn", VGG19_BN - 990 * 4097),
    "wrn28-10 of gRDA": Row("wide_resnet", 36_546_980, {}, 100, fast={"depth": 10, "widen": 2}),  # the authors' data
    "wrn28-10, 10 classes": Row("wide_resnet", 36_546_980 - 90 * 641, DROPOUT, fast={"depth": 10, "widen": 2}),
    "resnet50": Row("torchvision_resnet50", RESNET50, {}, 1000, 224),
    "resnet50, 64x64": Row(
        "torchvision_resnet50", RESNET50 - 800 * 2049 - 3 * 64 * (49 - 9), {"small_stem": True}, 200, 64
    ),
    "mobilenet_v3_small": Row("torchvision_mobilenet_v3_small", MOBILENET_SMALL, {}, 1000, 224),
    "mobilenet_v3_large": Row("torchvision_mobilenet_v3_large", MOBILENET_LARGE, {}, 1000, 224),
    "mobilenet_v3_large, dropout": Row("torchvision_mobilenet_v3_large", MOBILENET_LARGE, DROPOUT, 1000, 224),
    "vit-lite-7/4": Row("vit", VIT_LITE),
    "vit-b/16": Row("vit", VIT_B_16, BASE, 1000, 224, fast={"layers": 2, "heads": 2, "hidden": 32, "mlp": 64}),
    "vit, dropout": Row("vit", VIT_LITE, DROPOUT, fast={"layers": 2, "hidden": 32}),
}
TORCHVISION = sorted({row.kind for row in ROWS.values() if row.kind.startswith("torchvision")})


@pytest.fixture(scope="module", params=ROWS.values(), ids=ROWS)
def row(request):
    return request.param


@pytest.fixture(scope="module")
def fresh(row):
    """The row's fast network with seed 0, which tests leave as it is."""
    state = torch.get_rng_state()
    model = row.fast_build(0)
    assert torch.equal(torch.get_rng_state(), state)
    return model


def images(n=4, seed=0):
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_torchvision_kind_has_a_row():
    assert {row.kind for row in ROWS.values()} >= {name for name in NETWORKS if name.startswith("torchvision")}


def test_parameters_are_as_many_as_published(row):
    with torch.device("meta"):
        model = row.build(None)
    assert sum(parameter.numel() for parameter in model.parameters()) == row.count


# He et al. 2016, table 6, millions of parameters for CIFAR-10.
@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_resnets_have_the_parameters_of_he_et_al(depth, millions):
    assert round(ROWS[f"resnet{depth}"].count / 1e6, 1 if depth == 110 else 2) == millions


def test_weights_are_a_function_of_the_seed_alone_also_after_a_prune(row, fresh):
    model = copy.deepcopy(fresh)
    weights = prunable_weights(model)
    matrices = {name for name, value in model.named_parameters() if value.dim() > 1}
    assert matrices - weights.keys() == ({"class_token", "encoder.pos_embedding"} if row.kind == "vit" else set())
    apply_masks_(model, {name: value > 0 for name, value in weights.items()})
    assert all(value.any() and not (value < 0).any() for value in prunable_weights(model).values())
    assert model(images()).isfinite().all()
    initialise_(model, 1)
    drawn = prunable_weights(model)
    assert all(not torch.equal(value, drawn[name]) for name, value in prunable_weights(fresh).items())
    initialise_(model, 0)
    assert same(model.state_dict(), fresh.state_dict())


def test_a_step_leaves_gradients_finite_and_a_state_dict_goes_round(row, fresh):
    model, x = copy.deepcopy(fresh), images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        out = model(x)
        assert out.shape == (4, 7)
        nn.functional.cross_entropy(out, torch.arange(4)).backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
        assert all(parameter.grad.any() for parameter in model.parameters() if parameter.dim() > 1)
        optimizer.step()
    with torch.device("meta"):
        twin = row.fast_build(None)
    twin.load_state_dict(model.state_dict(), assign=True)
    with torch.no_grad():
        out = model.eval()(x)
        assert torch.equal(twin.eval()(x), out)
        last = twin.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, out, rtol=1e-3, atol=1e-3)


def test_dropout_draws_from_the_global_generator_and_nothing_else_does(row, fresh):
    @torch.no_grad()
    def forward(seed):
        torch.manual_seed(seed)
        with buffers_kept(fresh):
            return fresh(images())

    assert torch.equal(forward(0), forward(0))
    dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in fresh.modules())
    assert torch.equal(forward(0), forward(1)) != dropout
    assert dropout == (getattr(NETWORKS[row.kind](**row.options), "dropout", 0) > 0)


def mobilenet(size):
    return build("mobilenet", classes=10, in_channels=3, image_size=size, seed=None)


BUILDERS = {name: (partial(row.fast_build, None), 32) for name, row in ROWS.items()} | {
    f"mobilenet {size}": (partial(mobilenet, size), size) for size in (16, 9)
}


@pytest.mark.parametrize(("builder", "size"), BUILDERS.values(), ids=BUILDERS)
def test_flops_are_those_of_torchs_counter_and_weights_come_in_forward_order(builder, size):
    model = builder().eval()
    # Fused attention, which torch's counter does not know on a CPU, in its parts; with gradients it is not fused more.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size))
    flops = flops_per_image(model, (3, size, size))
    assert sum(flops.values()) == counter.get_total_flops() > 0
    weights = prunable_weights(model)
    assert [name for name in flops if name in weights] == [*weights]


def test_the_small_stem_keeps_maps_four_times_as_large():
    sides = {}
    for small in (False, True):
        model = build("torchvision_resnet50", classes=10, in_channels=3, image_size=64, seed=None, small_stem=small)
        model.layer1.register_forward_pre_hook(lambda _, x, small=small: sides.update({small: x[0].shape[-1]}))
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, 64, 64))
    assert sides == {False: 16, True: 64}


def test_a_wide_block_has_its_stride_second_and_its_shortcut_before_the_norm():
    model = ROWS["wrn28-10 of gRDA"].fast_build(0)
    block, x = model.blocks[1].eval(), torch.randn(2, 32, 8, 8)
    assert [(conv.stride[0], conv.bias is not None) for conv in (block.conv1, block.conv2, block.shortcut)] == [
        (1, True),
        (2, True),
        (2, True),
    ]
    scale = (1 + block.bn1.eps) ** -0.5  # of batch norm that has seen nothing
    inside = nn.functional.conv2d((x * scale).clamp(min=0), block.conv1.weight, padding=1)
    inside = nn.functional.conv2d((inside * scale).clamp(min=0), block.conv2.weight, stride=2, padding=1)
    outside = nn.functional.conv2d(x[:, :, ::2, ::2], block.shortcut.weight)
    torch.testing.assert_close(block(x), inside + outside)


@pytest.mark.parametrize("kind", TORCHVISION)
@pytest.mark.parametrize(
    ("change", "message"),
    [({"in_channels": 1}, "in_channels 1 of '{}'"), ({"image_size": 31}, "image_size 31 of '{}'")],
)
def test_torchvision_kinds_want_colour_images_of_a_size(kind, change, message):
    with pytest.raises(InputError, match=message.format(kind)) as error:
        build(kind, **{"classes": 10, "in_channels": 3, "image_size": 32, "seed": None} | change)
    assert "\n" not in str(error.value)
