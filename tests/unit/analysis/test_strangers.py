"""Networks that are not the suite's go through every analysis, and give the values of an independent calculation.

torchvision's MobileNetV3 and vision transformer, a small causal transformer with tied embeddings, and a resnet18 in
channels_last and bf16: what a user has. Ten lines each are enough.
"""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from prunebench.analysis.connectivity import bezier, displacement, flatten, midpoint, point, train_bend_
from prunebench.analysis.cost import flops, sparse_flops
from prunebench.analysis.curvature import hessian_vector_product, leading_eigenpairs
from prunebench.analysis.gradients import gradient_statistics, mean_gradients
from prunebench.analysis.shedding import shed, structures
from prunebench.errors import InputError
from prunebench.models.batch_norm import recompute_statistics_
from prunebench.optim import GRDA
from prunebench.pruning import ScoreInputs, get_criterion
from prunebench.pruning.layers import LeftOut, layers_of, prunable_parameters, prunable_weights
from prunebench.pruning.masks import apply_masks_, density, density_after, full_masks, nonzero
from prunebench.pruning.structured import n_of_m_masks, occupancy
from prunebench.schedules import S_CYC

pytestmark = pytest.mark.filterwarnings("ignore::prunebench.pruning.layers.LeftOut")


class TiedTransformer(nn.Module):
    """Token ids (N, T) -> classes; the classes are the words, and their embedding is the head's weight."""

    def __init__(self, vocabulary=20, width=16, length=6):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Parameter(0.1 * torch.randn(1, length, width))
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], dtype=self.places.dtype)
        return self.head(self.blocks(self.words(ids) + self.places, mask=mask)[:, -1])


def mobilenet():
    import torchvision

    return torchvision.models.mobilenet_v3_small(num_classes=10, width_mult=0.25)


def vision_transformer():
    import torchvision

    return torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, dropout=0.1, num_classes=10)


def resnet18():
    import torchvision

    return torchvision.models.resnet18(num_classes=10)


def images(n=8, dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(n, 3, 32, 32, dtype=dtype), torch.randint(10, (n,))


def tokens(n=8, dtype=None):
    torch.manual_seed(1)
    return torch.randint(20, (n, 6)), torch.randint(20, (n,))


NETWORKS = {
    "mobilenet_v3": (mobilenet, images),
    "vit": (vision_transformer, images),
    "transformer": (TiedTransformer, tokens),
}


@pytest.fixture(params=NETWORKS)
def stranger(request, one_thread):
    """A network in train mode, and a batch of inputs and classes."""
    torch.manual_seed(0)
    make, batch = NETWORKS[request.param]
    return make(), batch


def ordinary(model):
    """The model's own, to compare afterwards: parameters, buffers, modes."""
    return copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]


def unchanged(model, before):
    state, modes = before
    same = all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    return same and modes == [module.training for module in model.modules()]


def loss_of(model, x, y):
    return nn.functional.cross_entropy(model.eval()(x), y)


# --- pruned, trained and measured in ten lines


def test_a_stranger_is_pruned_trained_and_measured(stranger):
    model, batch = stranger
    x, y = batch()
    weights, layers = prunable_parameters(model), layers_of(model)
    masks = get_criterion("global_magnitude").prune(ScoreInputs(weights, full_masks(weights)), density_after(0.2, 1))
    masks = n_of_m_masks({name: w.detach().abs() for name, w in weights.items()}, masks, 2, 4, layers)
    apply_masks_(weights, masks)
    start = {name: w.detach().clone() for name, w in weights.items()}
    optimizer = GRDA(model.parameters(), lr=0.05, c=2.0, mu=0.6)
    scheduler = S_CYC["resnet20_cifar10"].as_torch(optimizer, steps_per_cycle=5)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(x), y).backward()
        optimizer.step()
        scheduler.step()
        apply_masks_(weights, masks)

    assert all(bool((w[~masks[name]] == 0).all()) for name, w in weights.items())
    assert density(nonzero(prunable_weights(model))) < density(masks) < 0.75
    assert occupancy(masks, 4, layers)[3:].sum() == 0
    gone = shed(weights, start, masks)
    counts = structures({name: masks[name] & ~gone[name] for name in masks}, layers)
    assert 0 <= counts["dead_filters"] < counts["filters"]
    dense = flops(model, x[:1])
    assert 0.3 * sum(dense.values()) < sparse_flops(dense, masks) < 0.95 * sum(dense.values())
    statistics = gradient_statistics(model, weights, masks, [(x, y)])
    assert statistics.rows[0]["n"] == sum(int(mask.sum()) for mask in masks.values())


def test_a_resnet18_in_bf16_and_channels_last_too(one_thread):
    torch.manual_seed(0)
    model = resnet18().to(memory_format=torch.channels_last)
    x, y = images(4)
    weights = prunable_parameters(model)
    masks = get_criterion("lamp").prune(ScoreInputs(weights, full_masks(weights)), 0.2)
    apply_masks_(weights, masks)
    optimizer = GRDA(model.parameters(), lr=0.05, c=0.01, mu=0.6)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x.to(memory_format=torch.channels_last)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        apply_masks_(weights, masks)
    assert density(nonzero(weights)) <= density(masks) == pytest.approx(0.2, abs=1e-4)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights.values() if p.dim() == 4)
    assert sparse_flops(flops(model, x[:1]), masks) < 0.6 * sum(flops(model, x[:1]).values())


# --- derivatives, against differences in float64


def differences(model, parameters, x, y, direction, step=1e-7):
    """The Hessian times a direction, from gradients on both sides: no second derivative is taken."""
    flat = flatten(parameters)
    gradients = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        shifted = flat + sign * step * direction
        own = dict(moved.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for (name, p), part in zip(
                parameters.items(), shifted.split([p.numel() for p in parameters.values()]), strict=True
            ):
                own[name].copy_(part.reshape(p.shape))
        for p in moved.parameters():
            p.requires_grad_(True)
        loss_of(moved, x, y).backward()
        gradients.append(torch.cat([own[name].grad.reshape(-1) for name in parameters]))
    return (gradients[0] - gradients[1]) / (2 * step)


def test_the_hessian_of_a_stranger_is_that_of_differences(stranger):
    model, batch = stranger
    model.double()
    x, y = batch(dtype=torch.float64)
    parameters = dict(model.named_parameters())
    with torch.no_grad():  # off the kinks: a channel that is 0 throughout lies on ReLU's
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    direction = torch.randn(len(flatten(parameters)), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    before = ordinary(model)
    product = hessian_vector_product(model, parameters, lambda: [(x[:5], y[:5]), (x[5:], y[5:])], direction)
    assert unchanged(model, before)
    expected = differences(model, parameters, x, y, direction)
    assert float((product - expected).norm() / expected.norm()) < 1e-5
    with torch.inference_mode():
        inside = hessian_vector_product(model, parameters, lambda: [(x.clone(), y.clone())], direction)
    torch.testing.assert_close(inside, product)


def test_the_leading_eigenpair_of_a_stranger_is_one(stranger):
    model, batch = stranger
    weights = {n: p for n, p in prunable_parameters(model).items() if p.numel() < 1500}
    pairs = leading_eigenpairs(model, weights, lambda: [batch()], 1, seed=0, tol=1e-2)
    product = hessian_vector_product(model, weights, lambda: [batch()], pairs.vectors[0])
    assert float((product - pairs.values[0] * pairs.vectors[0]).norm()) < 0.02 * abs(float(pairs.values[0]))


def test_frozen_unused_and_tied_weights_have_their_derivatives(one_thread):
    torch.manual_seed(0)
    model = TiedTransformer().double()
    model.spare = nn.Linear(3, 3).double()  # that forward never uses
    x, y = tokens()
    names = ["head.weight", "blocks.layers.0.linear1.weight", "spare.weight"]
    own = dict(model.named_parameters(remove_duplicate=False))
    parameters = {name: own[name] for name in names}
    expected = mean_gradients(model, parameters, [(x, y)])
    loss_of(model, x, y).backward()
    torch.testing.assert_close(expected["head.weight"], model.words.weight.grad)
    assert torch.equal(expected["spare.weight"], torch.zeros_like(model.spare.weight))
    for p in model.parameters():
        p.requires_grad_(False)
    with torch.inference_mode():
        frozen = mean_gradients(model, parameters, [(x.clone(), y)])
    for name in names:
        torch.testing.assert_close(frozen[name], expected[name])
        assert not own[name].requires_grad
    direction = torch.randn(len(flatten(parameters)), dtype=torch.float64)
    product = hessian_vector_product(model, parameters, lambda: [(x, y)], direction)
    assert torch.equal(product[-9:], torch.zeros(9, dtype=torch.float64))
    used = {name: own[name] for name in names[:2]}
    expected = differences(model, used, x, y, direction[:-9])
    assert float((product[:-9] - expected).norm() / expected.norm()) < 1e-5


def test_a_network_made_in_inference_mode_has_derivatives_too(one_thread):
    with torch.inference_mode():
        torch.manual_seed(0)
        inside = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))
        batch = images(4)
    torch.manual_seed(0)
    outside = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10))
    gradients = [mean_gradients(m, {"0.weight": m[0].weight}, [batch])["0.weight"] for m in (inside, outside)]
    torch.testing.assert_close(*gradients)


def test_a_function_without_a_second_derivative_is_one_line(one_thread):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.abs()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(context, gradient):
            return gradient * context.saved_tensors[0].sign()

    class Net(nn.Linear):
        def forward(self, x):
            return Once.apply(super().forward(x))

    model = Net(3, 2)
    parameters = dict(model.named_parameters())
    batch = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(InputError, match="a function of the network is differentiable once only"):
        hessian_vector_product(model, parameters, lambda: [batch], torch.ones(8, dtype=torch.float64))


def test_a_function_of_torchs_without_a_second_derivative_is_one_line(one_thread):
    class Net(nn.Linear):
        def forward(self, x):
            path = super().forward(x)[None].log_softmax(-1)
            ones = torch.ones(4, 1, dtype=torch.long)
            return nn.functional.ctc_loss(path, ones, [1] * 4, [1] * 4, reduction="none")[:, None].expand(4, 2)

    model = Net(3, 5)
    parameters = dict(model.named_parameters())
    batch = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    with pytest.raises(InputError, match=r"^torch has no second derivative of a function of the network: [^\n]*$"):
        hessian_vector_product(model, parameters, lambda: [batch], torch.ones(20, dtype=torch.float64))


# --- what would be wrong without a word


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_keeps_the_weights_or_is_refused(reentrant, one_thread):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.checkpointed = nn.Linear(4, 5), nn.Linear(5, 3), True

        def hidden(self, x):
            return self.a(x).tanh()

        def forward(self, x):
            hidden = checkpoint(self.hidden, x, use_reentrant=reentrant) if self.checkpointed else self.hidden(x)
            return self.b(hidden)

    torch.manual_seed(0)
    model, batch = Net().double(), (torch.randn(6, 4, dtype=torch.float64), torch.randint(3, (6,)))
    away = {name: 3 * p.detach() for name, p in model.named_parameters()}
    direction = torch.randn(len(flatten(away)), dtype=torch.float64)
    model.checkpointed = False
    expected = hessian_vector_product(model, away, lambda: [batch], direction)
    model.checkpointed = True
    if reentrant:
        with pytest.raises(InputError, match="use_reentrant=True"):
            hessian_vector_product(model, away, lambda: [batch], direction)
    else:
        torch.testing.assert_close(hessian_vector_product(model, away, lambda: [batch], direction), expected)


def test_a_hard_sigmoid_in_place_changes_its_input(one_thread):
    class Net(nn.Linear):
        def __init__(self, in_place):
            super().__init__(4, 3)
            self.in_place = in_place

        def forward(self, x):
            h = super().forward(x)
            if self.in_place:
                nn.functional.hardsigmoid(h, inplace=True)
                return h
            return nn.functional.hardsigmoid(h)

    torch.manual_seed(0)
    batch, direction = (torch.randn(6, 4), torch.randint(3, (6,))), torch.randn(15).double()
    products = []
    for in_place in (False, True):
        torch.manual_seed(1)
        model = Net(in_place)
        products.append(hessian_vector_product(model, dict(model.named_parameters()), lambda: [batch], direction))
    torch.testing.assert_close(*products)


def test_statistics_of_the_batch_are_refused(one_thread):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    batch = torch.randn(6, 4), torch.randint(3, (6,))
    weights = {name: p.detach() for name, p in model.named_parameters()}
    for run in (lambda: mean_gradients(model, weights, [batch]), lambda: point(model, weights, None, {"all": [batch]})):
        with pytest.raises(InputError, match="'1' has no running statistics: in eval mode its output depends"):
            run()


def test_nothing_of_the_callers_changes(one_thread):
    """An embedding that renormalises itself, a buffer that counts, dropout that forgets its mode."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head = nn.Embedding(9, 4, max_norm=0.1), nn.Linear(4, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, ids):
            self.calls += 1
            return self.head(nn.functional.dropout(self.words(ids).mean(1)))

    model, batch = Net(), (torch.randint(9, (6, 5)), torch.randint(3, (6,)))
    before, random = ordinary(model), torch.random.get_rng_state()
    mean_gradients(model, {"head.weight": model.head.weight, "words.weight": model.words.weight}, [batch])
    assert torch.equal(random, torch.random.get_rng_state())
    assert unchanged(model, before)


def test_tied_names_frozen_models_and_sparse_gradients(one_thread):
    model = TiedTransformer()
    own = dict(model.named_parameters(remove_duplicate=False))
    with pytest.raises(InputError, match=r"'head\.weight' and 'words\.weight' are one tied parameter"):
        mean_gradients(model, {name: own[name] for name in ("head.weight", "words.weight")}, [tokens()])
    sparse = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(12, 3)).double()
    ids, y = torch.randint(9, (6, 3)), torch.randint(3, (6,))
    weights = dict(sparse.named_parameters())
    direction = torch.randn(len(flatten(weights)), dtype=torch.float64)
    product = hessian_vector_product(sparse, weights, lambda: [(ids, y)], direction)
    sparse[0].sparse = False
    torch.testing.assert_close(product, hessian_vector_product(sparse, weights, lambda: [(ids, y)], direction))
    spare = nn.Module()
    spare.used, spare.unused = nn.Linear(3, 2), nn.Linear(2, 2)
    spare.forward = lambda x: spare.used(x)
    spare.requires_grad_(False)
    gradients = mean_gradients(spare, {"unused.weight": spare.unused.weight}, [(torch.randn(4, 3), torch.ones(4))])
    assert torch.equal(gradients["unused.weight"], torch.zeros(2, 2))


# --- paths: dropout, batches of one, frozen weights


def test_a_point_of_a_path_is_the_networks_own_loss_every_time(stranger):
    model, batch = stranger
    x, y = batch()
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    before = ordinary(model)
    losses = {point(model, weights, [(x, y)], {"all": [(x, y)]})["all"][0] for _ in range(4)}
    assert len(losses) == 1
    assert unchanged(model, before)
    reference = copy.deepcopy(model)
    recompute_statistics_(reference, [x])
    assert losses.pop() == pytest.approx(float(loss_of(reference, x, y)), rel=1e-6)


def test_the_bend_of_a_strangers_curve_is_trained(stranger):
    model, batch = stranger
    for p in list(model.parameters())[:2]:
        p.requires_grad_(False)
    a = {name: p.detach().clone() for name, p in model.named_parameters()}
    b = {name: w + 0.01 * torch.randn_like(w) for name, w in a.items()}
    bend = midpoint(a, b)
    momentum = {name: torch.zeros_like(w) for name, w in a.items()}
    start = {name: w.clone() for name, w in bend.items()}
    with pytest.raises(InputError, match=r"allowed: outside torch\.inference_mode\(\)"), torch.inference_mode():
        train_bend_(model, a, b, bend, momentum, [batch()], [0.5], [0.1], autocast=nullcontext)
    loss = train_bend_(model, a, b, bend, momentum, [batch()] * 2, [0.5, 0.3], [0.1] * 2, autocast=nullcontext)
    assert 0 < loss < 20
    assert float(displacement(start, bend).norm()) > 0
    assert displacement(a, bezier(a, bend, b, 0.0)).norm() == 0


class PerImage(nn.Module):
    """Batch normalisation over one value per image and channel: a batch of one has no variance."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, x):
        return self.norm(self.drop(self.first(x)))


@pytest.mark.parametrize("sizes", [(4, 4, 1), (1, 4, 4), (4, 1, 4), (2, 1), (4, 1, 1, 1)])
def test_a_batch_of_one_joins_its_neighbour(sizes):
    torch.manual_seed(0)
    model, x = PerImage(), torch.randn(sum(sizes), 5)
    model.norm.eval()
    recompute_statistics_(model, x.split(sizes))
    with torch.no_grad():
        values = model.first(x)
    torch.testing.assert_close(model.norm.running_mean, values.mean(0))
    assert bool((model.norm.running_var > 0).all())
    assert [module.training for module in model.children()] == [True, False, True]
    assert model.norm.momentum == 0.1


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(4), lambda: nn.InstanceNorm1d(4, track_running_stats=True)])
def test_a_layer_that_is_used_twice_takes_both_uses(make):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = make()

        def forward(self, x):
            return self.norm(x) + self.norm(x + 5)

    model, x = Twice(), 7 + torch.randn(8, 4, 6)
    recompute_statistics_(model, x.split(4))
    torch.testing.assert_close(model.norm.running_mean, x.mean((0, 2)) + 2.5)


def test_no_image_at_all_changes_no_statistics():
    model = PerImage()
    model.norm.running_mean.fill_(3)
    with pytest.raises(InputError, match="statistics are to be taken on no image; allowed: two or more"):
        recompute_statistics_(model, [])
    assert bool((model.norm.running_mean == 3).all())


def test_one_image_alone_has_no_statistics():
    with pytest.raises(InputError, match="statistics are to be taken on one image; allowed: two or more"):
        recompute_statistics_(PerImage(), [torch.randn(1, 5)])


def test_what_is_left_out_of_the_transformer_is_named():
    with pytest.warns(LeftOut, match=r"TiedTransformer: these weights are never pruned: places \(TiedTransformer\)$"):
        layers_of(TiedTransformer())
