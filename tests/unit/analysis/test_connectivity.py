"""Curves between networks: exact ends, gradients against autograd, BN statistics, distances in the plane."""

import copy
import math
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from prunebench.analysis.connectivity import (
    Plane,
    bezier,
    distance,
    flatten,
    length,
    midpoint,
    point,
    segment,
    train_bend_,
    unflatten,
)
from prunebench.errors import InputError
from prunebench.models import build
from prunebench.seeding import generator

pytestmark = pytest.mark.usefixtures("one_thread")


def weights_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def random_weights(*names, dtype=torch.float64):
    draw = generator(*names)
    shapes = {"conv": (4, 2, 3, 3), "bias": (4,), "linear": (3, 5)}
    return {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in shapes.items()}


def zeros_like(weights):
    return {name: torch.zeros_like(weight) for name, weight in weights.items()}


def same(a, b):
    """Equal to the bit, also in the sign of zeros."""
    return a.keys() == b.keys() and all(
        torch.equal(a[n], b[n]) and torch.equal(a[n].signbit(), b[n].signbit()) for n in a
    )


def train_(model, batches, epochs, lr):
    parameters = list(model.train().parameters())
    for _ in range(epochs):
        for x, y in batches:
            gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
            with torch.no_grad():
                torch._foreach_sub_(parameters, torch._foreach_mul(gradients, lr))


def draws(count, *names):
    return torch.rand(count, generator=generator(*names)).tolist()


# Points, distances and lengths


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_path_begins_and_ends_with_its_ends_to_the_bit(dtype):
    a, b, bend = (random_weights(name, dtype=dtype) for name in ("a", "b", "bend"))
    a["bias"][0] = -0.0
    bend["bias"][:] = math.inf
    for t, end in ((0, a), (0.0, a), (1, b), (1.0, b)):
        assert same(bezier(a, bend, b, t), end)
        assert same(segment(a, b, t), end)
    bezier(a, bend, b, 0)["bias"].zero_()
    assert a["bias"][1] != 0  # a copy


def test_points_of_the_curve_are_those_of_the_formula():
    a, b, bend = (random_weights(name) for name in ("a", "b", "bend"))
    for t in (0.1, 0.5, 0.77):
        found, line = bezier(a, bend, b, t), segment(a, b, t)
        for name in a:
            expected = (1 - t) ** 2 * a[name] + 2 * t * (1 - t) * bend[name] + t**2 * b[name]
            torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(line[name], (1 - t) * a[name] + t * b[name], rtol=1e-12, atol=1e-12)
            # with the bend in the middle, the curve is the line
            straight = bezier(a, midpoint(a, b), b, t)[name]
            torch.testing.assert_close(straight, line[name], rtol=1e-12, atol=1e-12)


def test_flattening_is_undone_and_reads_row_by_row_in_any_memory_format():
    weights = random_weights("a", dtype=torch.float32)
    back = unflatten(flatten(weights), weights)
    assert same(back, weights)
    last = {n: w.to(memory_format=torch.channels_last) if w.dim() == 4 else w for n, w in weights.items()}
    assert last["conv"].stride() != weights["conv"].stride()
    assert torch.equal(flatten(last), flatten(weights))


def polyline(a, bend, b, pieces=20_000):
    """Length by straight pieces in float64."""
    p, q, r = (flatten(w) for w in (a, bend, b))
    t = torch.linspace(0, 1, pieces + 1, dtype=torch.float64)[:, None]
    return float(((1 - t) ** 2 * p + 2 * t * (1 - t) * q + t**2 * r).diff(dim=0).norm(dim=1).sum())


def line(*numbers):
    return {"w": torch.tensor(numbers, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("a", "bend", "b"),
    [
        *((random_weights(i), random_weights(i, 1), random_weights(i, 2)) for i in range(3)),
        (line(0, 0), line(1, 2), line(3, 0)),
        (line(0, 0), line(5, 0), line(1, 0)),  # beyond the end and back, on the line itself
        (line(0, 0), line(5, 1e-7), line(1, 0)),
        (line(0, 0), line(0, 0), line(1, 0)),  # without speed at its beginning
        (line(0, 0), line(1, 0), line(1, 0)),
        (line(0, 0), line(3, 1), line(0, 0)),  # closed
        (line(0, 0), line(0.5, 1e-5), line(1, 0)),  # nearly straight
        (line(0, 0), line(0.5, 0.02), line(1, 0)),
        (line(0, 0), line(0.5 + 1e-9, 1e-8), line(1, 0)),
        (line(0, 0), line(0.5 + 1e-13, 0), line(1, 0)),
    ],
)
def test_length_is_that_of_a_fine_polyline(a, bend, b):
    assert length(a, bend, b) == pytest.approx(polyline(a, bend, b), rel=1e-7)
    assert length(b, bend, a) == pytest.approx(length(a, bend, b), rel=1e-9)


def test_a_straight_curve_is_as_long_as_the_distance_of_its_ends():
    for dtype, accuracy in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        a, b = random_weights("a", dtype=dtype), random_weights("b", dtype=dtype)
        assert length(a, midpoint(a, b), b) == pytest.approx(distance(a, b), rel=accuracy)
        assert length(a, segment(a, b, 0.3), b) == pytest.approx(distance(a, b), rel=accuracy)
        assert length(a, a, a) == 0
    assert distance(line(1, 1), line(4, 5)) == 5


def test_the_plane_gives_back_coordinates_and_distances():
    a, b, c = (random_weights(name, dtype=torch.float32) for name in "abc")
    plane = Plane.through(a, b, c)
    assert same(plane.at(0, 0), a)
    assert plane.coordinates(a) == (0, 0)
    assert plane.coordinates(b) == pytest.approx((distance(a, b), 0), abs=1e-12)
    x, y = plane.coordinates(c)
    assert y > 0
    assert math.hypot(x, y) == pytest.approx(distance(a, c), rel=1e-12)
    assert math.hypot(x - distance(a, b), y) == pytest.approx(distance(b, c), rel=1e-12)
    for weights in (b, c):
        back = plane.at(*plane.coordinates(weights))
        assert all(torch.allclose(back[n], weights[n], atol=1e-6) and back[n].dtype == torch.float32 for n in a)
    places = [(-1.5, 2.0), (3.0, -0.25)]
    points = [plane.at(*place) for place in places]
    for place, weights in zip(places, points, strict=True):
        assert plane.coordinates(weights) == pytest.approx(place, abs=1e-6)
    assert distance(*points) == pytest.approx(math.dist(*places), rel=1e-6)
    # all of the curve lies in the plane of its three points
    on_curve = bezier(a, c, b, 0.3)
    assert distance(plane.at(*plane.coordinates(on_curve)), on_curve) < 1e-5
    # what lies outside is projected
    outside = random_weights("d", dtype=torch.float32)
    shadow = plane.at(*plane.coordinates(outside))
    assert distance(a, shadow) < distance(a, outside)
    assert distance(shadow, outside) <= distance(plane.at(0.5, 0.5), outside)


def test_the_axes_are_orthonormal_also_for_nearly_collinear_points():
    a, b, d = (random_weights(name) for name in "abd")
    near = {name: segment(a, b, 0.4)[name] + 1e-4 * d[name] for name in a}
    plane = Plane.through(a, b, near)
    axes = torch.stack([plane.x_axis, plane.y_axis])
    torch.testing.assert_close(axes @ axes.T, torch.eye(2).double(), rtol=0, atol=1e-14)


# Training


def small_network(seed, dtype=torch.float64):
    """2 inputs, 2 classes; with batch normalisation, whose statistics must not be kept."""
    model = nn.Sequential(nn.Linear(2, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Linear(12, 2)).to(dtype)
    with torch.no_grad():
        for parameter in (model[0].weight, model[0].bias, model[3].weight):
            parameter.copy_(torch.randn(parameter.shape, generator=generator(seed)))
    return model


def rings(count=256, dtype=torch.float64):
    """Two classes, separable: inside and outside of a ring."""
    draw = generator("rings")
    angle, inner = 2 * math.pi * torch.rand(count, generator=draw), torch.rand(count, generator=draw)
    y = torch.arange(count) % 2
    radius = torch.where(y == 0, inner, 1.5 + inner)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1).to(dtype), y


def test_an_update_is_that_of_autograd_through_the_interpolation():
    model = small_network(0)
    a, b, bend = (weights_of(small_network(seed)) for seed in (1, 2, 3))
    x, y = rings(64)
    batches = [(x[:32], y[:32]), (x[32:], y[32:])]
    ts, lrs, factor = [0.3, 0.8], [0.1, 0.05], 0.9

    expected, buffers, losses = {n: w.clone() for n, w in bend.items()}, zeros_like(bend), []
    twin = copy.deepcopy(model).train()
    for (images, classes), t, lr in zip(batches, ts, lrs, strict=True):
        leaf = {name: weight.clone().requires_grad_() for name, weight in expected.items()}
        at = {n: (1 - t) ** 2 * a[n] + 2 * t * (1 - t) * leaf[n] + t**2 * b[n] for n in a}
        loss = F.cross_entropy(functional_call(twin, at, (images,)), classes)
        loss.backward()
        losses.append(loss.item())
        for name, weight in leaf.items():
            buffers[name] = factor * buffers[name] + weight.grad
            expected[name] = expected[name] - lr * buffers[name]

    momentum = zeros_like(bend)
    mean = train_bend_(model, a, b, bend, momentum, batches, ts, lrs, momentum_factor=factor, autocast=nullcontext)
    assert mean == pytest.approx(sum(losses) / 2, rel=1e-12)
    for name in bend:
        torch.testing.assert_close(bend[name], expected[name], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(momentum[name], buffers[name], rtol=1e-10, atol=1e-12)


def test_at_its_ends_the_curve_does_not_move_the_bend():
    model = small_network(0)
    a, b, bend = (weights_of(small_network(seed)) for seed in (1, 2, 3))
    before = {name: weight.clone() for name, weight in bend.items()}
    train_bend_(model, a, b, bend, zeros_like(bend), [rings(), rings()], [0.0, 1.0], [1.0, 1.0], autocast=nullcontext)
    assert same(bend, before)


def test_training_changes_the_bend_and_its_momentum_alone():
    model = small_network(0)
    model(rings()[0])  # lived-in statistics
    model.train()
    model[1].eval()
    a, b, bend = (weights_of(small_network(seed)) for seed in (1, 2, 3))
    a["0.bias"][0] = -0.0
    momentum = zeros_like(bend)
    kept = copy.deepcopy((a, b, model.state_dict()))
    started = copy.deepcopy(bend)
    rng = torch.get_rng_state()
    with torch.no_grad():  # the caller's
        train_bend_(model, a, b, bend, momentum, [rings()], [0.5], [0.1], momentum_factor=0.9, autocast=nullcontext)
    assert same(a, kept[0])
    assert same(b, kept[1])
    assert same(model.state_dict(), kept[2])
    assert [module.training for module in model] == [True, False, True, True]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(weight.requires_grad for weights in (a, b, bend, momentum) for weight in weights.values())
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(not torch.equal(bend[name], started[name]) for name in ("0.weight", "1.weight", "3.weight"))
    assert any(bool(buffer.any()) for buffer in momentum.values())


def test_precision_is_the_callers():
    x, y = rings(dtype=torch.float32)
    model, ends = small_network(0, torch.float32), [weights_of(small_network(s, torch.float32)) for s in (1, 2)]
    seen = []
    model[3].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for factory in (nullcontext, lambda: torch.autocast("cpu", torch.bfloat16)):
        bend = midpoint(*ends)
        train_bend_(model, *ends, bend, zeros_like(bend), [(x, y)], [0.5], [0.1], autocast=factory)
        assert all(weight.dtype == torch.float32 for weight in bend.values())
    assert seen == [torch.float32, torch.bfloat16]
    with torch.autocast("cpu", torch.bfloat16):
        point(model, ends[0], None, {"all": [(x, y)]})
    assert seen[2:] == [torch.float32]


def test_a_trained_curve_passes_round_the_barrier_of_the_straight_line():
    x, y = rings()
    batches = list(zip(x.split(64), y.split(64), strict=True))
    model = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    model.load_state_dict({n.replace("3.", "2."): w for n, w in weights_of(small_network(4)).items() if n[0] != "1"})
    train_(model, batches, 300, 0.5)
    a = weights_of(model)
    # The same function with its hidden units in another order: as low a loss, another place.
    order = torch.randperm(12, generator=generator("order"))
    b = {"0.weight": a["0.weight"][order], "0.bias": a["0.bias"][order]}
    b |= {"2.weight": a["2.weight"][:, order], "2.bias": a["2.bias"]}

    def most(path):
        return max(point(model, path(i / 20), None, {"train": batches})["train"][0] for i in range(21))

    ends = max(point(model, end, None, {"train": batches})["train"][0] for end in (a, b))
    barrier = most(lambda t: segment(a, b, t)) - ends
    assert ends < 0.05
    assert barrier > 0.3
    bend = midpoint(a, b)
    momentum = zeros_like(bend)
    means = [
        train_bend_(
            model,
            a,
            b,
            bend,
            momentum,
            batches,
            draws(4, "t", e),
            [0.05] * 4,
            momentum_factor=0.9,
            autocast=nullcontext,
        )
        for e in range(150)
    ]
    assert most(lambda t: bezier(a, bend, b, t)) - ends < 0.2 * barrier
    assert sum(means[-20:]) < 0.5 * sum(means[:20])
    assert length(a, bend, b) > distance(a, b)


# Evaluation


@pytest.fixture(scope="module")
def networks():
    """Two residual networks with batch normalisation, trained independently, and their training batches."""
    draw = generator("images")
    patterns = torch.randn(4, 1, 8, 8, generator=draw)
    y = torch.arange(192) % 4
    x = patterns[y] + 0.5 * torch.randn(192, 1, 8, 8, generator=draw)
    batches = list(zip(x.split(64), y.split(64), strict=True))
    models = [build("resnet", classes=4, in_channels=1, image_size=8, width=0.5, depth=8, seed=s) for s in (1, 2)]
    for model in models:
        train_(model, batches, 12, 0.1)
    return models, batches


def test_the_ends_have_their_own_losses(networks):
    models, batches = networks
    a, b = (weights_of(model) for model in models)
    bend = midpoint(a, b)
    for t, model in enumerate(models):
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        with torch.no_grad():
            logits = copy.deepcopy(model).eval()(x).double()
        expected = (torch.logsumexp(logits, 1) - logits.gather(1, y[:, None])[:, 0]).mean().item()
        wrong = (logits.argmax(1) != y).double().mean().item()
        for weights in (bezier(a, bend, b, t), segment(a, b, t)):
            found = point(model, weights, None, {"train": batches, "some": batches[:1]})
            assert list(found) == ["train", "some"]
            assert found["train"] == (pytest.approx(expected, rel=1e-5), pytest.approx(wrong, abs=1e-12))
        # and its statistics are its own again when they are taken anew in the other network
        other = models[1 - t]
        anew = point(other, weights, batches, {"train": batches})["train"][0]
        assert anew == pytest.approx(point(model, weights, batches, {"train": batches})["train"][0], rel=1e-6)


def test_statistics_of_an_end_are_wrong_between_the_ends(networks):
    (first, second), batches = networks
    middle = midpoint(weights_of(first), weights_of(second))
    stale = point(first, middle, None, {"train": batches})["train"]
    anew = point(first, middle, batches, {"train": batches})["train"]
    assert abs(stale[0] - anew[0]) > 0.2
    # As torch itself takes them: an average over batches in train mode.
    twin = copy.deepcopy(first)
    twin.load_state_dict(middle, strict=False)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for x, _ in batches:
            twin.train()(x)
    assert point(twin, weights_of(twin), None, {"train": batches})["train"] == pytest.approx(anew, rel=1e-5)


def test_evaluation_leaves_the_model_as_it_was(networks):
    (model, other), batches = networks
    model = copy.deepcopy(model).train()
    model.bn.eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    for statistics in (None, iter(batches)):
        point(model, weights_of(other), statistics, {"train": iter(batches)})
        assert same(model.state_dict(), before)
        assert [module.training for module in model.modules()] == modes
        assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(InputError, match="split 'none' has no images"):
        point(model, weights_of(other), batches, {"none": []})
    assert same(model.state_dict(), before)


def test_an_output_that_is_not_a_number_is_an_error(networks):
    (model, _), batches = networks
    broken = {name: weight * math.nan for name, weight in weights_of(model).items()}
    loss, error = point(model, broken, None, {"train": batches})["train"]
    assert math.isnan(loss)
    assert error == 1


def test_bad_input_is_refused(networks):
    (model, _), batches = networks
    a = weights_of(model)
    fewer = {name: weight for name, weight in a.items() if name != "conv.weight"}
    other = a | {"conv.weight": torch.zeros(1, 2)}
    for wrong, message in ((fewer, "only one of them has: conv.weight"), (other, r"'conv.weight' of .* \(1, 2\)")):
        for call in (
            lambda w: segment(a, w, 0.5),
            lambda w: bezier(a, w, a, 0.5),
            lambda w: bezier(a, a, w, 0.5),
            lambda w: midpoint(w, a),
            lambda w: distance(a, w),
            lambda w: length(a, w, a),
            lambda w: Plane.through(a, a, w),
            lambda w: point(model, w, None, {}),
            lambda w: train_bend_(model, a, a, w, a, batches, [0.5], [0.1], autocast=nullcontext),
            lambda w: train_bend_(model, a, a, a, w, batches, [0.5], [0.1], autocast=nullcontext),
            lambda w: train_bend_(model, w, w, w, w, batches, [0.5], [0.1], autocast=nullcontext),
        ):
            with pytest.raises(InputError, match=message):
                call(wrong)
    for t in (-0.01, 1.01, math.nan):
        with pytest.raises(InputError, match=r"allowed: >= 0 and <= 1"):
            segment(a, a, t)
        with pytest.raises(InputError, match=r"allowed: >= 0 and <= 1"):
            bezier(a, a, a, t)
        with pytest.raises(InputError, match=r"allowed: >= 0 and <= 1"):
            train_bend_(model, a, a, a, a, batches, [t] * 3, [0.1] * 3, autocast=nullcontext)
    bend, momentum = midpoint(a, a), zeros_like(a)
    for ts, lrs, message in (
        ([0.5] * 2, [0.1] * 2, "more than 2 batches"),
        ([0.5] * 4, [0.1] * 4, "3 batches for 4 positions"),
        ([0.5] * 3, [0.1] * 2, "3 positions on the curve and 2 LRs"),
        ([], [], "0 positions"),
    ):
        with pytest.raises(InputError, match=message):
            train_bend_(model, a, a, bend, momentum, batches, ts, lrs, autocast=nullcontext)
    with pytest.raises(InputError, match="no weights"):
        flatten({})
    with pytest.raises(InputError, match="no images to take batch normalisation's statistics on"):
        point(model, a, [], {"train": batches})
    with pytest.raises(InputError, match="the same"):
        Plane.through(a, a, midpoint(a, a))
    with pytest.raises(InputError, match="on one line"):
        Plane.through(line(0, 0), line(1, 1), line(-3, -3))
    with pytest.raises(InputError, match=r"vector of shape \(3,\) for 2 weights"):
        unflatten(torch.zeros(3), line(0, 0))


def test_importing_the_module_imports_neither_scipy_nor_dynamo():
    code = "import prunebench.analysis.connectivity, sys; print({'scipy', 'torch._dynamo'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert found.stdout.strip() == "set()"
