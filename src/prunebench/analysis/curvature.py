"""Leading eigenvectors of the training loss's Hessian, and how much of a step lies along them (claim C7 of the gRDA
paper).

The Hessian is that of the mean cross-entropy over fixed images in eval mode: a symmetric matrix that does not depend on
how the images are cut into batches. (The authors' own, measured in train mode on shuffled and augmented batches,
is neither.) Vectors (d,) run through the parameters as `connectivity.flatten` does.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn

from prunebench.analysis._derivatives import differentiation, gradient_of, product_of, second_derivatives
from prunebench.analysis.connectivity import Batch, unflatten
from prunebench.errors import InputError
from prunebench.seeding import generator


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """`values` (k,) from the algebraically largest down, and orthonormal `vectors` (k, d) of the same order, both
    float64; `products`: how many Hessian-vector products they took.

    >>> import torch
    >>> from prunebench.analysis.curvature import Eigenpairs, quadratic
    >>> pairs = Eigenpairs(torch.tensor([2.0]), torch.tensor([[1.0, 0.0]]), products=5)
    >>> quadratic(pairs.values, pairs.vectors, torch.tensor([3.0, 4.0]))  # 0.5 * 2 * 3^2
    9.0
    """

    values: Tensor
    vectors: Tensor
    products: int


def hessian_vector_product(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batches: Callable[[], Iterable[Batch]],
    vector: Tensor,
) -> Tensor:
    """H v (d,), float64: H the Hessian of the mean cross-entropy over all images, with respect to `parameters`.

    parameters: some or all of the model's, by name: its own or others of these shapes, at which H is taken; vector (d,)
    runs through them as `flatten` does. Frozen ones count like others; one that the loss does not depend on has zeros.
    `batches()` gives the chunks of one fixed set of images: x (N, C, H, W), or token ids (N, T), and y (N,) classes.
    How it is cut changes nothing beyond rounding: sums over chunks are kept in float64. By double backward (Pearlmutter
    1994) in the parameters' dtype; BN uses its running statistics, autocast is off, and TF32 on a
    GPU follows torch's own switches. Where ReLU has a kink, its second derivative counts as 0. Attention is computed
    unfused and hard-sigmoid as relu6(x + 3) / 6, since torch has no second derivatives of its own functions for these.

    Neither parameters, `.grad`, buffers, modes nor the global RNG change. Raises InputError where the vector's length
    or a name does not fit, where there are no images, and for another function without a second derivative in torch.

    >>> import torch
    >>> from prunebench.analysis.curvature import hessian_vector_product
    >>> model, weights = torch.nn.Linear(1, 2, bias=False), {"weight": torch.zeros(2, 1)}
    >>> batches = [(torch.ones(1, 1), torch.tensor([0]))]  # H is [[0.25, -0.25], [-0.25, 0.25]]
    >>> hessian_vector_product(model, weights, lambda: batches, torch.tensor([1.0, 0.0]))
    tensor([ 0.2500, -0.2500], dtype=torch.float64)
    """
    images = 0
    with differentiation(model, parameters) as network, second_derivatives():
        directions = list(unflatten(vector.to(network.device), parameters).values())
        total = torch.zeros(len(vector), dtype=torch.float64, device=network.device)
        for x, y in batches():
            gradients = gradient_of(network.loss(x, y), network.weights, twice=True)
            products = product_of(gradients, network.weights, directions)
            total += torch.cat([product.reshape(-1) for product in products])
            images += len(y)
    if images == 0:
        raise InputError("no images to take the Hessian on")
    return total / images


def leading_eigenpairs(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    batches: Callable[[], Iterable[Batch]],
    k: int,
    *,
    seed: int,
    tol: float = 1e-3,
    max_products: int = 1000,
    known: list[NDArray[np.float64]] | None = None,
) -> Eigenpairs:
    """The k algebraically largest eigenvalues of `hessian_vector_product`'s Hessian, and their eigenvectors (float64).

    By ARPACK's Lanczos iteration, with a starting vector that depends on `seed` alone, so a rerun gives the same
    numbers. A pair counts as found when ||H v - value v|| <= tol |value|, which bounds the value's relative error by
    tol; the vector's is about tol |value| over the distance to the next value. That no larger value was missed does
    not follow: of two nearly equal values, one may be missing where the k-th lies between them. Measured on small
    networks on Fashion-MNIST: 22 to 34 products for k = 10 whether tol is 1e-2 or 1e-3, 128 to 218 for k = 50.

    known: the products (d,) that an interrupted call has computed, in their order. They are not computed again, since
    the iteration asks for the same ones; new ones are appended.

    k: 1 to d - 1. Raises InputError for another k, where `max_products` do not suffice, where a product is not finite
    (the network has diverged), and as `hessian_vector_product` does.

    >>> import torch
    >>> from prunebench.analysis.curvature import leading_eigenpairs
    >>> model, weights = torch.nn.Linear(1, 2, bias=False), {"weight": torch.zeros(2, 1)}
    >>> batches = [(torch.ones(1, 1), torch.tensor([0]))]  # H is [[0.25, -0.25], [-0.25, 0.25]]
    >>> leading_eigenpairs(model, weights, lambda: batches, k=1, seed=0).values
    tensor([0.5000], dtype=torch.float64)
    """
    size = sum(parameter.numel() for parameter in parameters.values())
    if not 1 <= k < size:
        raise InputError(f"{k} eigenpairs of {size} parameters; allowed: 1 to {size - 1}")
    products = 0

    def multiply(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal products
        if products == max_products:
            raise InputError(
                f"{k} eigenpairs were not found to tol {tol:g} in {max_products} Hessian-vector products: allow more, "
                "or a larger tol"
            )
        products += 1
        if known is not None and products <= len(known):
            return known[products - 1]
        # A copy: ARPACK's own memory would change under torch.
        result = hessian_vector_product(model, parameters, batches, torch.from_numpy(vector.reshape(-1).copy()))
        if not bool(result.isfinite().all()):
            raise InputError("the Hessian of the loss is not finite: has the network diverged?")
        product = result.cpu().numpy()
        if known is not None:
            known.append(product)
        return product

    start = torch.randn(size, generator=generator(seed, "curvature"), dtype=torch.float64).numpy()
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    # ncv, the vectors kept, stays at scipy's 2k + 1: measured, 1.5k missed a value and 3k took more products.
    try:
        values, vectors = eigsh(operator, k, which="LA", v0=start, tol=tol)
    except ArpackError as error:
        raise InputError(f"{k} eigenpairs of the Hessian were not found: {error}") from error
    down = np.argsort(values)[::-1]
    return Eigenpairs(torch.from_numpy(values[down]), torch.from_numpy(vectors.T[down]), products)


def share(vectors: Tensor, dw: Tensor) -> float:
    """||P dw|| / ||dw|| in [0, 1], with P the projector on the span of orthonormal `vectors` (k, d); dw (d,).

    NaN where dw is 0. Raises InputError where d differs.

    >>> import torch
    >>> from prunebench.analysis.curvature import share
    >>> round(share(torch.tensor([[1.0, 0.0]]), torch.tensor([3.0, 4.0])), 6)
    0.6
    """
    _check_lengths(vectors, dw)
    dw = dw.to(vectors)
    return float((vectors @ dw).norm() / dw.norm())


def chance(k: int, d: int) -> float:
    """sqrt(k / d): the root mean square of `share` of a random direction in d dimensions, for k vectors of 0 to d.

    Raises InputError for other numbers.

    >>> from prunebench.analysis.curvature import chance
    >>> chance(1, 4)
    0.5
    """
    if not 0 <= k <= d or d < 1:
        raise InputError(f"{k} vectors in {d} dimensions; allowed: 0 to the number of dimensions, which is 1 or more")
    return math.sqrt(k / d)


def quadratic(values: Tensor, vectors: Tensor, dw: Tensor) -> float:
    """sum_i 0.5 value_i (v_i . dw)^2: 0.5 dw H dw with dw projected on the span of the eigenvectors (k, d), in nats.

    Raises InputError where k or d differ.

    >>> import torch
    >>> from prunebench.analysis.curvature import quadratic
    >>> quadratic(torch.tensor([2.0]), torch.tensor([[1.0, 0.0]]), torch.tensor([3.0, 4.0]))  # 0.5 * 2 * 3^2
    9.0
    """
    _check_lengths(vectors, dw)
    if values.shape != vectors.shape[:1]:
        raise InputError(f"{tuple(values.shape)} values for {len(vectors)} vectors; must be as many")
    return 0.5 * float(values @ (vectors @ dw.to(vectors)) ** 2)


def _check_lengths(vectors: Tensor, dw: Tensor) -> None:
    if vectors.dim() != 2 or dw.shape != vectors.shape[1:]:
        raise InputError(f"vectors {tuple(vectors.shape)} and a step {tuple(dw.shape)}; must be (k, d) and (d,)")
