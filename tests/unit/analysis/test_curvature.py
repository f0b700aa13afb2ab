"""Hessian-vector products and leading eigenpairs against the dense Hessian in float64."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from prunebench.analysis.connectivity import Plane, displacement, distance, flatten
from prunebench.analysis.curvature import (
    chance,
    hessian_vector_product,
    leading_eigenpairs,
    quadratic,
    share,
)
from prunebench.errors import InputError
from prunebench.models import build
from prunebench.seeding import generator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def case():
    """A small convolutional network with lived-in BN statistics in float64, 24 images, and its dense Hessian (d, d)."""
    draw = generator("curvature test")
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, bias=False),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Conv2d(3, 4, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.5)
    x = torch.randn(24, 1, 7, 7, generator=draw).double()
    y = torch.randint(3, (24,), generator=draw)
    for _ in range(3):
        model(2 * x + 1)
    twin = copy.deepcopy(model).eval()
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def mean_loss(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        logits = functional_call(twin, named, (x,))
        return (torch.logsumexp(logits, 1) - logits.gather(1, y[:, None])[:, 0]).mean()

    dense = hessian(mean_loss, flatten(dict(model.named_parameters())))
    return model, dict(model.named_parameters()), lambda: [(x[:9], y[:9]), (x[9:19], y[9:19]), (x[19:], y[19:])], dense


def random_vector(*names, size):
    return torch.randn(size, generator=generator(*names), dtype=torch.float64)


def test_products_are_those_of_the_dense_hessian_however_the_images_are_cut(case):
    model, parameters, batches, dense = case
    vector = random_vector("v", size=len(dense))
    product = hessian_vector_product(model, parameters, batches, vector)
    torch.testing.assert_close(product, dense @ vector, rtol=1e-9, atol=1e-9)
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    torch.testing.assert_close(
        hessian_vector_product(model, parameters, lambda: [(x, y)], vector), product, rtol=1e-12, atol=1e-12
    )


def test_products_are_symmetric_and_linear(case):
    model, parameters, batches, dense = case
    u, v = (random_vector(name, size=len(dense)) for name in "uv")
    hu, hv, sum_ = (hessian_vector_product(model, parameters, batches, w) for w in (u, v, 2 * u + v))
    assert float(u @ hv) == pytest.approx(float(v @ hu), rel=1e-10)
    torch.testing.assert_close(sum_, 2 * hu + hv, rtol=1e-9, atol=1e-10)


def test_the_hessian_is_taken_at_the_parameters_that_are_given(case):
    model, parameters, batches, dense = case
    moved = {name: parameter.detach() * 1.3 for name, parameter in parameters.items()}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1.3)
    vector = random_vector("v", size=len(dense))
    product = hessian_vector_product(model, moved, batches, vector)
    expected = hessian_vector_product(twin, dict(twin.named_parameters()), batches, vector)
    assert torch.equal(product, expected)
    assert not torch.allclose(product, dense @ vector, rtol=0.1)


def test_products_over_some_of_the_parameters_are_of_their_block(case):
    model, parameters, batches, dense = case
    some = {name: parameters[name] for name in ("7.weight", "0.weight")}  # not in the model's order
    sizes = dict(zip(parameters, torch.arange(len(dense)).split([p.numel() for p in parameters.values()]), strict=True))
    index = torch.cat([sizes[name] for name in some])
    vector = random_vector("v", size=len(index))
    product = hessian_vector_product(model, some, batches, vector)
    torch.testing.assert_close(product, dense[index][:, index] @ vector, rtol=1e-9, atol=1e-9)


def test_products_in_float32_and_channels_last_are_those_of_float64():
    model = build("resnet", classes=5, in_channels=1, image_size=8, width=0.25, depth=8, seed=1)
    x = torch.randn(20, 1, 8, 8, generator=generator("x"))
    y = torch.randint(5, (20,), generator=generator("y"))
    model(3 * x + 1)
    fine = copy.deepcopy(model).double()
    vector = random_vector("v", size=sum(p.numel() for p in model.parameters()))
    exact = hessian_vector_product(fine, dict(fine.named_parameters()), lambda: [(x, y)], vector)
    model = model.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    # bf16 would be off by 1e-2
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        product = hessian_vector_product(model, dict(model.named_parameters()), lambda: [(x, y)], vector)
    assert product.dtype == torch.float64
    assert float((product - exact).norm()) < 1e-4 * float(exact.norm())


@pytest.mark.parametrize("k", [1, 4, 10])
def test_eigenpairs_are_the_dense_hessians(case, k):
    model, parameters, batches, dense = case
    found = leading_eigenpairs(model, parameters, batches, k, seed=0, tol=1e-8)
    values, vectors = torch.linalg.eigh(dense)
    torch.testing.assert_close(found.values, values.flip(0)[:k], rtol=1e-4, atol=0)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(k).double(), rtol=0, atol=1e-10)
    # The same subspace: the cosines of all principal angles are 1.
    cosines = torch.linalg.svdvals(found.vectors @ vectors.flip(1)[:, :k])
    assert float(cosines.min()) > 1 - 1e-8
    assert k <= found.products < 10 * len(dense)


def test_the_largest_eigenvalues_are_meant_not_the_largest_in_size(case):
    model, parameters, batches, dense = case
    values = torch.linalg.eigvalsh(dense)
    k = int((values > -values[0]).sum()) + 1
    assert 0 < values[-k] < -values[0]  # by size, the lowest would come among these k
    found = leading_eigenpairs(model, parameters, batches, k, seed=0, tol=1e-8)
    assert float(found.values[-1]) == pytest.approx(float(values[-k]), rel=1e-4)
    assert torch.equal(found.values, found.values.sort(descending=True).values)


def test_eigenpairs_are_a_function_of_the_seed(case):
    model, parameters, batches, _ = case
    first, again, other = (leading_eigenpairs(model, parameters, batches, 3, seed=s, tol=0.1) for s in (5, 5, 6))
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.vectors, again.vectors)
    assert not torch.equal(first.vectors, other.vectors)


def test_nothing_of_the_model_changes(case):
    model, parameters, batches, _ = case
    model = copy.deepcopy(model).train()
    model[1].eval()  # frozen BN
    parameters = dict(model.named_parameters())
    parameters["7.bias"].requires_grad_(False)
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, 3.0)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    rng = torch.get_rng_state()
    leading_eigenpairs(model, parameters, batches, 2, seed=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(bool((parameter.grad == 3).all()) for parameter in parameters.values())
    assert [name for name, parameter in parameters.items() if not parameter.requires_grad] == ["7.bias"]
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_vector_inside_the_subspace_has_share_1_and_one_across_it_0():
    basis = torch.linalg.qr(random_vector("basis", size=(50, 4))).Q.T
    inside = torch.tensor([1.0, -2.0, 0.5, 3.0]).double() @ basis
    across = random_vector("across", size=50)
    across -= basis.T @ (basis @ across)
    assert share(basis, inside) == pytest.approx(1, abs=1e-12)
    assert share(basis, across) == pytest.approx(0, abs=1e-12)
    both = inside / inside.norm() + 2 * across / across.norm()
    assert share(basis, both) == pytest.approx(1 / math.sqrt(5), rel=1e-12)
    assert math.isnan(share(basis, torch.zeros(50).double()))


def test_a_random_directions_mean_square_share_is_that_of_chance():
    basis = torch.linalg.qr(random_vector("basis", size=(60, 6))).Q.T
    squares = [share(basis, direction) ** 2 for direction in random_vector("directions", size=(2000, 60))]
    # the standard error of the mean is 0.0012
    assert sum(squares) / len(squares) == pytest.approx(chance(6, 60) ** 2, abs=0.005)
    assert chance(10, 1000) == pytest.approx(0.1, rel=1e-12)


def test_the_quadratic_form_is_that_of_the_step_within_the_subspace(case):
    model, parameters, batches, dense = case
    found = leading_eigenpairs(model, parameters, batches, 5, seed=0, tol=1e-10)
    step = random_vector("step", size=len(dense))
    inside = found.vectors.T @ (found.vectors @ step)
    assert quadratic(found.values, found.vectors, step) == pytest.approx(0.5 * float(inside @ dense @ inside), rel=1e-6)
    values, vectors = torch.linalg.eigh(dense)
    assert quadratic(values, vectors.T, step) == pytest.approx(0.5 * float(step @ dense @ step), rel=1e-9)


def test_a_displacement_runs_through_the_weights_as_the_vectors_do():
    a = {"z": torch.arange(6.0).view(2, 3), "a": torch.tensor([7.0])}
    b = {"a": torch.tensor([9.0]), "z": torch.zeros(2, 3)}
    assert displacement(a, b).tolist() == [0, -1, -2, -3, -4, -5, 2]
    assert flatten(a).tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert distance(a, b) == pytest.approx(math.sqrt(55 + 4))
    assert Plane.through(a, b, {n: -w for n, w in b.items()}).x_axis.shape == (7,)


def test_bad_input_is_refused(case):
    model, parameters, batches, dense = case
    size = len(dense)
    vector = torch.zeros(size).double()
    with pytest.raises(InputError, match="allowed: 1 to"):
        leading_eigenpairs(model, parameters, batches, 0, seed=0)
    with pytest.raises(InputError, match=f"{size} eigenpairs"):
        leading_eigenpairs(model, parameters, batches, size, seed=0)
    with pytest.raises(InputError, match="in 12 Hessian-vector products"):
        leading_eigenpairs(model, parameters, batches, 5, seed=0, max_products=12)
    with pytest.raises(InputError, match="no images"):
        hessian_vector_product(model, parameters, list, vector)
    with pytest.raises(InputError, match=f"for {size} weights"):
        hessian_vector_product(model, parameters, batches, vector[1:])
    with pytest.raises(InputError, match=r"no parameter '7.weigt': did you mean '7.weight'"):
        hessian_vector_product(model, {"7.weigt": parameters["7.weight"]}, batches, vector)
    with pytest.raises(InputError, match=r"'7.weight' has shape"):
        hessian_vector_product(model, {"7.weight": parameters["7.bias"]}, batches, vector)
    with pytest.raises(InputError, match="no parameters"):
        hessian_vector_product(model, {}, batches, vector)
    diverged = {name: parameter.detach() * math.nan for name, parameter in parameters.items()}
    with pytest.raises(InputError, match="not finite"):
        leading_eigenpairs(model, diverged, batches, 2, seed=0)
    with pytest.raises(InputError, match="dimensions"):
        chance(5, 4)
    with pytest.raises(InputError, match="must be"):
        share(torch.eye(3).double(), torch.zeros(4).double())
    with pytest.raises(InputError, match="as many"):
        quadratic(torch.zeros(2).double(), torch.eye(3).double(), torch.zeros(3).double())
