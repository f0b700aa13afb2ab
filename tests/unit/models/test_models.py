"""Networks by name: options, shapes, order, initial weights; those of the papers in test_networks_of_the_papers.py."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.models import NETWORKS, fresh_state, initialise_
from prunebench.models import build as build_kind
from prunebench.models.initial import GAIN
from prunebench.models.kinds import ACTIVATIONS, VGG_DEPTHS
from prunebench.models.mobilenet import divisible

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "mlp": {"width": 0.1, "depth": 2},
    "resnet": {"width": 0.25, "depth": 8},
    "vgg": {"width": 0.05, "depth": 11},
    "mobilenet": {"width": 0.25},
    "wide_resnet": {"widen": 1, "depth": 10},
    "vit": {"layers": 2, "heads": 2, "hidden": 16, "mlp": 32},
}
OWN = tuple(SMALL)
# Those whose activation is a choice.
PLAIN = ("mlp", "resnet", "vgg")
DEFAULT_DEPTH = {name: NETWORKS[name]().depth for name in PLAIN}


def build(kind, *, classes, in_channels, image_size, seed, **options):
    """The network of a kind with these options."""
    sizes = {"classes": classes, "in_channels": in_channels, "image_size": image_size}
    return build_kind(NETWORKS[kind](**options) if options else kind, **sizes, seed=seed)


def small(kind, *, seed=0, image_size=8, in_channels=1, classes=10, **options):
    return build(
        kind,
        classes=classes,
        in_channels=in_channels,
        image_size=image_size,
        seed=seed,
        **SMALL[kind] | options,
    )


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_every_activation_has_a_gain():
    assert set(ACTIVATIONS) == set(GAIN)


def test_the_registry_loads_without_torch():
    code = "import sys, prunebench.models.kinds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_registry_module_refuses_unknown_attributes():
    import prunebench.models

    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        _ = prunebench.models.biuld


def test_mlp_and_vgg_sizes():
    mlp = build("mlp", classes=10, in_channels=1, image_size=28, seed=0)
    assert parameters(mlp) == 784 * 256 + 256 + 2 * (256 * 256 + 256) + 256 * 10 + 10
    for depth in VGG_DEPTHS:
        vgg = build("vgg", classes=10, in_channels=3, image_size=8, depth=depth, width=0.05, seed=None)
        # The ImageNet original has three linear layers, this network one.
        assert sum(isinstance(m, nn.Conv2d) for m in vgg.modules()) == depth - 3


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("image_size", [8, 16, 28, 32])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_output_shape(kind, image_size, in_channels):
    model = small(kind, image_size=image_size, in_channels=in_channels, classes=7)
    assert model(torch.randn(2, in_channels, image_size, image_size)).shape == (2, 7)


@pytest.mark.parametrize(("image_size", "pools"), [(1, 0), (8, 3), (16, 4), (28, 4), (32, 5), (64, 5)])
def test_vgg_skips_pools_that_a_small_map_has_no_room_for(image_size, pools):
    model = small("vgg", image_size=image_size)
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == pools
    assert model.eval()(torch.randn(1, 1, image_size, image_size)).isfinite().all()


@pytest.mark.parametrize("kind", OWN)
def test_modules_are_registered_in_forward_order(kind):
    model = small(kind, **{"mlp": {"depth": 3}, "resnet": {"depth": 14}, "vgg": {"depth": 13}}.get(kind, {}))
    called = []
    # Attention reads its last layer's weight and does not call it.
    leaves = {name: m for name, m in model.named_modules() if not list(m.children()) and not name.endswith("out_proj")}
    for name, module in leaves.items():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    model(torch.randn(2, 1, 8, 8))
    assert called == list(leaves)


def test_resnet_shortcut_is_option_a():
    block = build("resnet", classes=10, in_channels=3, image_size=32, depth=8, seed=0).blocks[1]
    x = torch.randn(2, 16, 7, 7)
    y = block.shortcut(x)
    assert list(block.shortcut.parameters()) == []
    assert y.shape == (2, 32, 4, 4) == block.conv1(x).shape
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_the_one_asked_for(activation):
    expected = getattr(torch.nn.functional, activation) if activation != "tanh" else torch.tanh
    x = torch.randn(100)
    for kind in PLAIN:
        acts = [m for m in small(kind, activation=activation).modules() if type(m).__module__.endswith("activation")]
        assert len(acts) == {"mlp": 2, "resnet": 7, "vgg": 8}[kind]
        before = x.clone()
        assert all(torch.equal(act(x), expected(x)) for act in acts)
        assert torch.equal(x, before), "an activation in place changes what a hook has kept"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "leaky_rely"}, "did you mean 'leaky_relu'"),
        ({"depth": 21}, "6n\\+2"),
        ({"depth": 2}, "6n\\+2"),
        ({"kind": "vgg", "depth": 12}, "allowed: 11, 13, 16, 19"),
        ({"kind": "mlp", "depth": 0}, "1 hidden layer or more"),
        ({"width": 16}, "not a number of channels"),
        ({"width": 0.0}, r"\(0, 10\]"),
        ({"width": float("nan")}, r"\(0, 10\]"),
        ({"classes": 0}, "classes is 0"),
        ({"in_channels": -1}, "in_channels is -1"),
        ({"image_size": 0}, "image_size is 0"),
        ({"stem_stride": 3}, "stem_stride 3 of 'resnet': must be 1 or 2"),
        ({"kind": "wide_resnet", "depth": 26}, "depth 26 of 'wide_resnet': must be 6n\\+4"),
        ({"kind": "wide_resnet", "depth": 4}, "6n\\+4"),
        ({"kind": "wide_resnet", "widen": 0}, "widen 0 of 'wide_resnet': must be 1 or more"),
        ({"kind": "wide_resnet", "dropout": 1.0}, r"dropout 1 of 'wide_resnet': must be in \[0, 1\)"),
        ({"kind": "vgg", "hidden": (8,), "dropout": -0.1}, r"dropout -0.1 of 'vgg': must be in \[0, 1\)"),
        ({"kind": "vgg", "dropout": 0.5}, "dropout 0.5 of 'vgg': it comes before hidden layers"),
        ({"kind": "vgg", "hidden": (8, 0)}, r"hidden \[8, 0\] of 'vgg'"),
        ({"kind": "vit", "patch": 3}, "patch 3 of 'vit': must divide the side of the images, 8 pixels"),
        ({"kind": "vit", "heads": 3}, "heads 3 of 'vit': must divide hidden, which is 256"),
        ({"kind": "vit", "layers": 0}, "layers 0 of 'vit'"),
        ({"kind": "vit", "dropout": float("nan")}, "dropout nan of 'vit'"),
        ({"kind": "torchvision_vgg19_bn", "dropout": 2.0}, "dropout 2 of 'torchvision_vgg19_bn'"),
        ({"kind": "torchvision_mobilenet_v3_small", "dropout": 1.0}, "dropout 1 of 'torchvision_mobilenet_v3_small'"),
        ({"kind": "torchvision_mobilenet_v3_large", "dropout": 1.0}, "dropout 1 of 'torchvision_mobilenet_v3_large'"),
    ],
)
def test_bad_input_names_what_is_wrong(change, message):
    options = {"kind": "resnet", "classes": 10, "in_channels": 1, "image_size": 8, "seed": 0} | change
    with pytest.raises(InputError, match=message):
        build(options.pop("kind"), **options)


def test_an_unknown_kind_is_named_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'resnet'"):
        build_kind("resnt", classes=10, in_channels=1, image_size=8, seed=0)


def test_an_option_that_a_kind_does_not_have_is_refused_by_name():
    from prunebench.parsing import Strict, parse
    from prunebench.runs.spec import NetworkConfig

    class Holder(Strict):
        network: NetworkConfig

    for kind, option in (("mobilenet", "depth"), ("vgg", "stem_stride"), ("mobilenet", "activation")):
        with pytest.raises(InputError, match=option):
            parse(Holder, {"network": {"kind": kind, option: 2}}, "test")


@pytest.mark.parametrize("kind", DEFAULT_DEPTH)
def test_default_depth_is_the_documented_one(kind):
    options = {"classes": 10, "in_channels": 1, "image_size": 8, "width": 0.05, "seed": 0}
    assert same(build(kind, **options).state_dict(), build(kind, depth=DEFAULT_DEPTH[kind], **options).state_dict())


@pytest.mark.parametrize(
    ("channels", "rounded"), [(0.1, 8), (11, 16), (12, 16), (19, 24), (20, 24), (34, 32), (44, 48)]
)
def test_widths_are_divisible_as_in_torchvision(channels, rounded):
    """11: rounding down to 8 would lose 27 %, more than the 10 % that are allowed."""
    assert divisible(channels) == rounded


def test_mobilenet_size_is_about_resnet8s():
    options = {"classes": 10, "in_channels": 3, "image_size": 16, "seed": None}
    model = build("mobilenet", **options)
    assert parameters(model) == pytest.approx(parameters(build("resnet", depth=8, **options)), rel=0.03)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    depthwise = [m for m in convolutions if m.groups > 1]
    assert [(m.in_channels, m.stride[0]) for m in depthwise] == [(16, 2), (64, 1), (96, 2), (120, 1), (120, 1)]
    assert all(m.groups == m.in_channels == m.out_channels and m.weight.shape[2:] == (3, 3) for m in depthwise)
    grouped = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    grouped += [m.weight for m in convolutions[1:] if m.groups == 1]
    assert len(grouped) == 9 + 1 + 8 + 2
    assert all(w.shape[1] % 8 == 0 for w in grouped), "no groups of 8 input channels to prune"


def test_mobilenet_mixes_relu_and_hard_swish():
    blocks = build("mobilenet", classes=10, in_channels=1, image_size=16, seed=0).blocks
    kinds = [{type(m) for m in block.body if not list(m.parameters())} for block in blocks]
    assert kinds == [{nn.ReLU}, {nn.ReLU}, {nn.Hardswish}, {nn.Hardswish}, {nn.Hardswish}]


@pytest.mark.parametrize("width", [0.05, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_mobilenet_residuals_only_where_shapes_match(width, stem_stride):
    model = build("mobilenet", classes=10, in_channels=1, image_size=16, width=width, stem_stride=stem_stride, seed=0)
    model.eval()
    maps = {}
    for name, block in model.blocks.named_children():
        block.register_forward_hook(lambda m, x, y, name=name: maps.update({name: (m, x[0], y)}))
    with torch.no_grad():
        model(torch.randn(2, 1, 16, 16))
        for block, x, y in maps.values():
            torch.testing.assert_close(y, block.body(x) + (x if x.shape == y.shape else 0))
    assert maps["4"][2].shape[2:] == (4 // stem_stride, 4 // stem_stride)


def test_squeeze_excite_scales_each_channel_by_a_gate_of_the_means():
    gate = build("mobilenet", classes=10, in_channels=1, image_size=16, seed=0).blocks[2].body[6].double()
    x = torch.randn(3, 96, 4, 4, dtype=torch.float64)
    squeezed = (x.mean((2, 3)) @ gate.reduce.weight.T).clamp(min=0)
    scale = ((squeezed @ gate.expand.weight.T) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(gate(x), torch.einsum("nchw,nc->nchw", x, scale))


def test_depthwise_convolutions_leave_autocast_on_a_cpu():
    model = build("mobilenet", classes=10, in_channels=1, image_size=16, seed=0)
    model = model.to(memory_format=torch.channels_last)
    types = {}
    for name, m in model.named_modules():
        if isinstance(m, nn.Conv2d):
            m.register_forward_hook(lambda m, x, y, name=name: types.update({name: (m.groups > 1, y.dtype, y)}))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(2, 1, 16, 16).to(memory_format=torch.channels_last))
    assert {(depthwise, dtype) for depthwise, dtype, _ in types.values()} == {
        (True, torch.float32),
        (False, torch.bfloat16),
    }
    assert all(y.is_contiguous(memory_format=torch.channels_last) for _, _, y in types.values())
    assert model.double()(torch.randn(2, 1, 16, 16, dtype=torch.float64)).dtype == torch.float64


def test_mobilenet_learns_digits_in_five_epochs():
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    x = ((x - x.mean()) / x.std()).to(memory_format=torch.channels_last)
    y = torch.tensor(data.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    test, train = order[:360], order[360:]
    model = build("mobilenet", classes=10, in_channels=1, image_size=8, seed=0).to(memory_format=torch.channels_last)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(5):
        shuffled = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch))]
        for batch in shuffled.split(64):
            opt.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            opt.step()
    with torch.no_grad():
        accuracy = (model.eval()(x[test]).argmax(1) == y[test]).float().mean().item()
    assert accuracy > 0.9


@pytest.mark.parametrize("kind", OWN)
def test_initial_weights_are_a_function_of_the_seed_alone(kind):
    torch.manual_seed(1)
    a = small(kind, seed=3).state_dict()
    torch.manual_seed(2)
    torch.rand(5)
    state = torch.get_rng_state()
    b = small(kind, seed=3)
    small(kind, seed=None)
    assert torch.equal(torch.get_rng_state(), state), "the global RNG was used"
    assert same(a, b.state_dict())
    other = small(kind, seed=4).state_dict()
    weights = [n for n in a if n.endswith("weight") and a[n].dim() > 1]
    assert all(not torch.equal(a[n], other[n]) for n in weights)
    first = [a[n].flatten()[:4] for n in weights]
    assert all(not torch.equal(first[0], rest) for rest in first[1:]), "two layers share their draws"


@pytest.mark.parametrize("kind", OWN)
def test_initialise_forgets_the_past_and_the_memory_format(kind):
    model = small(kind, seed=3)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    model = model.to(memory_format=torch.channels_last)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(4, 1, 8, 8)).square().sum().backward()
    opt.step()
    assert not same(model.state_dict(), fresh)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert same(fresh_state(model, 3), fresh)
    assert same(model.state_dict(), before), "fresh_state changed the model"
    initialise_(model, 3)
    assert same(model.state_dict(), fresh)
    initialise_(model, 3, "cycle", 2)
    assert not same(model.state_dict(), fresh)
    assert same(model.state_dict(), fresh_state(model, 3, "cycle", 2))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_scale(activation):
    options = {"classes": 10, "in_channels": 3, "image_size": 16, "activation": activation, "seed": 0}
    resnet, mlp = build("resnet", depth=8, **options), build("mlp", **options)
    gain = nn.init.calculate_gain({"gelu": "relu", "elu": "relu"}.get(activation, activation))
    conv = resnet.blocks[2].conv2.weight
    assert conv.std().item() == pytest.approx(gain / (64 * 9) ** 0.5, rel=0.02)
    assert resnet.conv.weight.std().item() == pytest.approx(gain / (16 * 9) ** 0.5, rel=0.1)
    assert mlp.hidden[0].weight.std().item() == pytest.approx(gain / (3 * 256) ** 0.5, rel=0.02)
    assert not mlp.hidden[0].bias.any()
    norm = resnet.blocks[0].bn1
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


@pytest.mark.parametrize("kind", OWN)
def test_channels_last_and_bf16_autocast(kind):
    model = small(kind, in_channels=3).eval()
    x = torch.randn(4, 3, 8, 8)
    plain = model(x)
    last = model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x), plain, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        out = last.train()(x)
        loss = nn.functional.cross_entropy(out, torch.arange(4))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
