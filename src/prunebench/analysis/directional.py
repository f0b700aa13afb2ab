"""Directional pruning, and how near gRDA comes to it on problems whose flat directions are known.

Chao, Wang, Xing and Cheng, "Directional Pruning of Deep Neural Networks" (NeurIPS 2020, arXiv 2006.09358): let w be the
minimiser that SGD finds, without zeros, and P0 the projector onto the eigenvectors of the loss's Hessian at w with
(near-)zero eigenvalues, the flat directions. Directional pruning with strength lam minimises over v

    0.5 ||v - w||^2 + lam sum_j s_j |v_j|,        s_j = sign(w_j) (P0 sign(w))_j        (the score),

and the minimiser is v_j = sign(w_j) [ |w_j| - lam s_j ]_+ : a weight with s_j > 0 shrinks and may become 0, one with
s_j < 0 grows, and until the first weight is 0 the displacement -lam P0 sign(w) stays in the flat directions. The
paper's theorem [recalled]: with t = n gamma fixed and the learning rate gamma -> 0, gRDA is at the directional pruning
of where SGD is, with lam = c sqrt(gamma) t^mu and scores that depend on t and tend to the ones above as t -> infinity.

The two toy problems have fewer samples than weights, and noise on the labels that is drawn anew for every update
[ours]: the theorem is about noisy gradients, and fixed labels could all be fitted, where a minibatch's gradient has no
noise left. Such noise has no part in flat directions. Labels and all else are float64.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prunebench.errors import InputError
from prunebench.optim.grda_step import grda_step_, threshold_increment
from prunebench.seeding import generator

Array = npt.NDArray[np.float64]


class FlatSpace(NamedTuple):
    """The flat directions of a Hessian, and how clearly they are set apart from the others.

    projector: (d, d), P0, orthogonal. dimension: of its range, 0 to d. largest_flat, smallest_steep: the sizes of the
    eigenvalues next to the tolerance below and above it, as shares of the largest; NaN where there is none. The flat
    space is the same for every tolerance from the first up to just below the second.

    >>> import torch
    >>> from prunebench.analysis.directional import flat_space
    >>> space = flat_space(torch.diag(torch.tensor([2.0, 1.0, 0.0])), tolerance=0.1)
    >>> space.dimension, space.largest_flat, space.smallest_steep
    (1, 0.0, 0.5)
    """

    projector: Tensor
    dimension: int
    largest_flat: float
    smallest_steep: float


def flat_space(hessian: Tensor, tolerance: float) -> FlatSpace:
    """The span of the eigenvectors with |eigenvalue| <= tolerance * the largest |eigenvalue|; all of it for Hessian 0.

    hessian: (d, d), symmetric, finite. tolerance: in [0, 1). Raises InputError for anything else.

    >>> import torch
    >>> from prunebench.analysis.directional import flat_space
    >>> flat_space(torch.diag(torch.tensor([2.0, 0.0])), tolerance=0.1).projector
    tensor([[0., 0.],
            [0., 1.]])
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance of flat eigenvalues is {tolerance}; allowed: >= 0 and < 1")
    if hessian.dim() != 2 or hessian.shape[0] != hessian.shape[1] or not len(hessian):
        raise InputError(f"the Hessian has shape {tuple(hessian.shape)}; allowed: (d, d) with d >= 1")
    if not bool(hessian.isfinite().all()):
        raise InputError("the Hessian contains NaN or infinity: has the network diverged?")
    largest = float(hessian.abs().max())
    if not torch.allclose(hessian, hessian.T, rtol=0.0, atol=1e-6 * largest):
        raise InputError("the Hessian is not symmetric: its two triangles differ by more than rounding")
    values, vectors = torch.linalg.eigh(hessian)
    sizes = values.abs() / values.abs().max() if largest else values
    flat = sizes <= tolerance
    basis = vectors[:, flat]
    return FlatSpace(
        projector=basis @ basis.T,
        dimension=int(flat.count_nonzero()),
        largest_flat=float(sizes[flat].max()) if bool(flat.any()) else math.nan,
        smallest_steep=float(sizes[~flat].min()) if not bool(flat.all()) else math.nan,
    )


def scores(weights: Tensor, projector: Tensor) -> Tensor:
    """The directional pruning scores s_j = sign(w_j) (P0 sign(w))_j, shape (d,).

    weights: (d,), none of them 0, as the definition demands; projector: (d, d). Raises InputError where not so.

    >>> import torch
    >>> from prunebench.analysis.directional import scores
    >>> projector = torch.tensor([[0.8, 0.4], [0.4, 0.2]])  # (2, 1) is the flat direction
    >>> scores(torch.tensor([3.0, -2.0]), projector)
    tensor([ 0.4000, -0.2000])
    """
    if weights.dim() != 1 or projector.shape != (len(weights), len(weights)):
        found = f"{tuple(weights.shape)} and {tuple(projector.shape)}"
        raise InputError(f"weights and projector have shapes {found}; allowed: (d,) and (d, d)")
    zeros = len(weights) - int(weights.count_nonzero())
    if zeros:
        raise InputError(f"{zeros} of {len(weights)} weights are 0; scores are defined only where none is")
    signs = weights.sign()
    return signs * (projector @ signs)


def directional_prune(weights: Tensor, scores: Tensor, lam: float) -> Tensor:
    """The minimiser of 0.5 ||v - w||^2 + lam sum_j s_j |v_j| over v: sign(w_j) [ |w_j| - lam s_j ]_+, shape (d,).

    Also where s_j < 0 and the sum is not convex: either sign of v_j can have a local minimum, w_j + lam |s_j| and
    w_j - lam |s_j|, and the one with w's sign is lower by 2 lam |s_j w_j|. (At w_j = 0 both are as low, and the formula
    gives 0.) lam: >= 0. Raises InputError for another lam, and where weights and scores are not both of shape (d,).

    >>> import torch
    >>> from prunebench.analysis.directional import directional_prune
    >>> directional_prune(torch.tensor([3.0, -2.0, 0.5]), scores=torch.tensor([1.0, -1.0, 1.0]), lam=1.0)
    tensor([ 2., -3.,  0.])
    """
    if not 0 <= lam < math.inf:
        raise InputError(f"lam is {lam}; allowed: >= 0 and finite")
    if weights.dim() != 1 or scores.shape != weights.shape:
        found = f"{tuple(weights.shape)} and {tuple(scores.shape)}"
        raise InputError(f"weights and scores have shapes {found}; allowed: (d,) both")
    return weights.sign() * (weights.abs() - lam * scores).clamp(min=0)


def soft_threshold(weights: Tensor, lam: float) -> Tensor:
    """sign(w_j) [ |w_j| - lam ]_+ : `directional_prune` with all scores 1, blind to the Hessian. The control.

    Raises InputError as that does.

    >>> import torch
    >>> from prunebench.analysis.directional import soft_threshold
    >>> soft_threshold(torch.tensor([3.0, -2.0, 0.5]), lam=1.0)
    tensor([ 2., -1.,  0.])
    """
    return directional_prune(weights, torch.ones_like(weights), lam)


@dataclass(frozen=True, eq=False)
class Problem:
    """Regression with a known loss: E over the n inputs and the label noise of 0.5 (prediction - label)^2.

    inputs: (n, k); targets: (n,), what the labels are without noise; w0: (d,), where SGD and gRDA start;
    label_noise: standard deviation of the normal noise on each label, >= 0; batch: samples per update, drawn with
    replacement. tolerance: what counts as flat, see `flat_space`.

    >>> import torch
    >>> from prunebench.analysis.directional import toy_problem
    >>> problem = toy_problem("least_squares", seed=0)
    >>> problem.inputs.shape, problem.w0.shape, problem.hessian(problem.w0).shape
    (torch.Size([20, 40]), torch.Size([40]), torch.Size([40, 40]))
    """

    name: str
    inputs: Tensor
    targets: Tensor
    w0: Tensor
    label_noise: float
    batch: int
    tolerance: float

    def predict(self, w: Tensor) -> Tensor:
        """The predictions (n,) for the inputs with weights w (d,)."""
        raise NotImplementedError

    def gradient(self, w: Array, x: Array, y: Array) -> Array:
        """Gradient (r, d) of the mean of 0.5 (prediction - y)^2 over a batch x (b, k), y (b,), at r points w (r, d).

        By hand and in numpy: for so few numbers autograd would take some ten times as long.
        """
        raise NotImplementedError

    def loss(self, w: Tensor) -> Tensor:
        """Mean of 0.5 (prediction - target)^2 over the n inputs: the loss without the label noise's constant."""
        return 0.5 * (self.predict(w) - self.targets).square().mean()

    def hessian(self, w: Tensor) -> Tensor:
        """Exact Hessian (d, d) of `loss` at w."""
        # torch.func.hessian gives the same, but loads torch._dynamo, which takes over a second
        return torch.autograd.functional.hessian(self.loss, w.detach())


class LeastSquares(Problem):
    """Linear regression: the Hessian is X^T X / n everywhere, and its flat space X's null space.

    >>> import torch
    >>> from prunebench.analysis.directional import LeastSquares
    >>> x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([1.0, 1.0])
    >>> problem = LeastSquares("one", x, torch.tensor([5.0]), w, label_noise=0.0, batch=1, tolerance=1e-6)
    >>> float(problem.loss(w)), problem.hessian(w).tolist()  # 0.5 (3 - 5)^2 and X^T X
    (2.0, [[1.0, 2.0], [2.0, 4.0]])
    """

    def predict(self, w: Tensor) -> Tensor:
        return self.inputs @ w

    def gradient(self, w: Array, x: Array, y: Array) -> Array:
        errors = w @ x.T
        errors -= y
        errors /= len(y)
        return errors @ x


class Network(Problem):
    """One hidden layer of m tanh units, no biases: the weights are [W (m, k) in row-major order, a (m)].

    >>> import torch
    >>> from prunebench.analysis.directional import Network
    >>> x, w = torch.tensor([[1.0, 2.0]]), torch.tensor([0.0, 0.0, 7.0])
    >>> problem = Network("one", x, torch.tensor([5.0]), w, label_noise=0.0, batch=1, tolerance=1e-6)
    >>> problem.hidden, problem.predict(w)  # 7 tanh(0)
    (1, tensor([0.]))
    """

    @property
    def hidden(self) -> int:
        """m, the number of hidden units."""
        return len(self.w0) // (self.inputs.shape[1] + 1)

    def predict(self, w: Tensor) -> Tensor:
        first, last = w[: -self.hidden], w[-self.hidden :]
        return torch.tanh(self.inputs @ first.view(self.hidden, -1).T) @ last

    def gradient(self, w: Array, x: Array, y: Array) -> Array:
        m = self.hidden
        first, last = w[:, :-m].reshape(len(w), m, -1), w[:, None, -m:]
        units = np.tanh(first @ x.T)  # (r, m, b)
        errors = last @ units  # (r, 1, b)
        errors -= y
        errors /= len(y)
        slopes = 1 - units * units
        slopes *= errors
        below = slopes @ x  # (r, m, k)
        below *= last.transpose(0, 2, 1)
        result = np.empty_like(w)
        result[:, :-m] = below.reshape(len(w), -1)
        result[:, -m:] = (units @ errors.transpose(0, 2, 1))[..., 0]
        return result


def least_squares(seed: int) -> LeastSquares:
    """20 samples, 40 weights; the Hessian's non-zero eigenvalues lie evenly in the logarithm over [0.5, 2] [ours].

    They are chosen, not drawn, so that all directions which are not flat have long relaxed at t = 100 (exp(-50) is
    left of them). Random are the singular vectors, the start and the weights that the targets belong to.

    >>> from prunebench.analysis.directional import flat_space, least_squares
    >>> problem = least_squares(seed=0)
    >>> flat_space(problem.hessian(problem.w0), problem.tolerance).dimension  # 40 weights, 20 samples
    20
    """
    samples, d = 20, 40
    left, _ = torch.linalg.qr(_normal("least_squares", "left", seed, shape=(samples, samples)))
    right, _ = torch.linalg.qr(_normal("least_squares", "right", seed, shape=(d, samples)))
    roots = torch.logspace(math.log10(0.5) / 2, math.log10(2) / 2, samples, dtype=torch.float64)  # of the eigenvalues
    inputs = (left * math.sqrt(samples) * roots) @ right.T
    return LeastSquares(
        name="least_squares",
        inputs=inputs,
        targets=inputs @ _normal("least_squares", "truth", seed, shape=(d,)),
        w0=_normal("least_squares", "start", seed, shape=(d,)),
        label_noise=0.1,
        batch=4,
        tolerance=1e-8,
    )


def network(seed: int) -> Network:
    """8 samples of 8 inputs, 8 hidden units, thus 72 weights: 64 flat directions where all targets are fitted [ours].

    The inputs are orthogonal with mean square 1, so that the 8 other eigenvalues are alike (the smallest is 0.16 of
    the largest or more over 10 seeds) and have all relaxed at t = 100. The targets are normal numbers: there is nothing
    to learn but the samples. As the label noise keeps SGD off the minimum, flat eigenvalues are not quite 0 (up to 0.04
    of the largest over 10 seeds, at gamma 0.1 and t = 30); the tolerance is in the middle of the gap.

    >>> from prunebench.analysis.directional import network
    >>> problem = network(seed=0)
    >>> problem.hidden, len(problem.w0)
    (8, 72)
    """
    samples, k, m = 8, 8, 8
    directions, _ = torch.linalg.qr(_normal("network", "inputs", seed, shape=(k, samples)))
    first = _normal("network", "first layer", seed, shape=(m * k,)) / math.sqrt(k)
    last = _normal("network", "last layer", seed, shape=(m,)) / math.sqrt(m)
    return Network(
        name="network",
        inputs=math.sqrt(k) * directions.T.contiguous(),
        targets=_normal("network", "targets", seed, shape=(samples,)),
        w0=torch.cat((first, last)),
        label_noise=0.1,
        batch=4,
        tolerance=0.07,
    )


PROBLEMS = {"least_squares": least_squares, "network": network}
"""The toy problems by name; each is a function of the seed alone."""


def toy_problem(name: str, seed: int) -> Problem:
    """The toy problem of that name and seed. Raises InputError for an unknown name.

    >>> from prunebench.analysis.directional import toy_problem
    >>> len(toy_problem("network", seed=0).w0)
    72
    """
    if name not in PROBLEMS:
        raise InputError(f"unknown toy problem '{name}'; allowed: {', '.join(PROBLEMS)}")
    return PROBLEMS[name](seed)


def trajectories(
    problem: Problem, *, gamma: float, steps: int, c: float, mu: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Where SGD and gRDA are after `steps` updates with learning rate gamma from problem.w0: two tensors (d,).

    Both see the same minibatches with the same label noise, which depend on the problem's name, gamma and the seed
    only (and so are the same for all c and mu). Neither has momentum or weight decay. Numbers that overflow become
    infinite or NaN. c: >= 0; 0 is SGD. Raises InputError for gamma, steps, c or mu out of range.

    >>> import torch
    >>> from prunebench.analysis.directional import least_squares, trajectories
    >>> sgd, grda = trajectories(least_squares(seed=0), gamma=0.1, steps=10, c=0.0, mu=0.6, seed=0)
    >>> torch.equal(sgd, grda)
    True
    """
    for name, value in (("gamma", gamma), ("steps", steps)):
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; allowed: > 0 and finite")
    if not 0 <= c < math.inf:
        raise InputError(f"c is {c}; allowed: >= 0 and finite")
    if not 0 < mu < 1:
        raise InputError(f"mu is {mu}; allowed: > 0 and < 1")
    names = ("directional toy", problem.name, "updates", float(gamma), seed)
    shape = (steps, problem.batch)
    index = torch.randint(len(problem.targets), shape, generator=generator(*names, "samples")).numpy()
    noise = problem.label_noise * torch.randn(shape, generator=generator(*names, "noise"), dtype=torch.float64).numpy()
    # every batch at once, which is faster: 43 MB for the largest number of updates of the presets
    inputs, labels = problem.inputs.numpy()[index], problem.targets.numpy()[index] + noise

    both = np.stack([problem.w0.numpy()] * 2)
    # the same memory: numpy takes the gradients at both points at once, torch makes the updates
    sgd, grda = torch.from_numpy(both)
    parameters, accumulators = [grda], [grda.clone()]
    threshold = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for n, (x, y) in enumerate(zip(inputs, labels, strict=True), start=1):
            at_sgd, at_grda = torch.from_numpy(problem.gradient(both, x, y))
            sgd.sub_(at_sgd, alpha=gamma)
            threshold += threshold_increment(n, gamma, c, mu)
            grda_step_(parameters, [at_grda], accumulators, lr=gamma, threshold=threshold)
    return sgd.clone(), grda.clone()


@dataclass(frozen=True)
class ToyRun:
    """How far gRDA ended from the directional pruning of SGD's end, for one problem, learning rate and seed.

    problem: its name. t: the time asked for; steps: t / gamma, rounded. lam: c sqrt(gamma) (steps gamma)^mu.
    error: ||w_gRDA - DP|| / ||w_SGD - DP|| with DP the directional pruning of w_SGD; soft_error: the same with
    soft-thresholding in DP's place (both are 1 for a gRDA that did what SGD did). cosine: between w_gRDA - w_SGD and
    -P0 sign(w_SGD). All three are NaN where nothing is flat. d: weights. flat, largest_flat, smallest_steep: see
    `FlatSpace`; of the Hessian at w_SGD. sparsity: share of weights that are 0 in w_gRDA, in [0, 1].
    sgd_loss, grda_loss: of `Problem.loss`.

    >>> from prunebench.analysis.directional import least_squares, run_toy
    >>> run = run_toy(least_squares(seed=0), gamma=0.1, t=10.0, c=0.1, mu=0.6, seed=0)
    >>> run.steps, run.d, run.flat, run.error < run.soft_error
    (100, 40, 20, True)
    """

    problem: str
    gamma: float
    t: float
    c: float
    mu: float
    steps: int
    lam: float
    error: float
    soft_error: float
    cosine: float
    d: int
    flat: int
    largest_flat: float
    smallest_steep: float
    sparsity: float
    sgd_loss: float
    grda_loss: float


def run_toy(problem: Problem, *, gamma: float, t: float, c: float, mu: float, seed: int) -> ToyRun:
    """SGD and gRDA over time t with learning rate gamma, compared with the theorem (see `ToyRun`).

    gamma, t: > 0, t at least half of gamma (one update); c: > 0, as without a penalty nothing is displaced and the
    errors are 0 / 0; mu: in (0.5, 1), as the theorem has it. Raises InputError for others, where a weight of SGD ended
    as 0, and where SGD or gRDA diverged.

    >>> from prunebench.analysis.directional import least_squares, run_toy
    >>> run = run_toy(least_squares(seed=0), gamma=0.25, t=4.0, c=0.5, mu=0.75, seed=0)
    >>> run.steps, round(run.lam, 6)  # 0.5 * 0.25^0.5 * 4^0.75
    (16, 0.707107)
    """
    for name, value in (("gamma", gamma), ("t", t), ("c", c)):
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; allowed: > 0 and finite")
    if not 0.5 < mu < 1:
        raise InputError(f"mu is {mu}; allowed: > 0.5 and < 1")
    steps = round(t / gamma)
    if steps < 1:
        raise InputError(f"t is {t}, less than half of one update with gamma {gamma}; allowed: >= gamma")
    sgd, grda = trajectories(problem, gamma=gamma, steps=steps, c=c, mu=mu, seed=seed)
    for name, end in (("SGD", sgd), ("gRDA", grda)):
        if not bool(end.isfinite().all()):
            raise InputError(f"{name} diverged on '{problem.name}' with gamma {gamma}: choose a smaller gamma")
    space = flat_space(problem.hessian(sgd), problem.tolerance)
    lam = c * math.sqrt(gamma) * (steps * gamma) ** mu
    score = scores(sgd, space.projector)
    displacement = grda - sgd
    # exactly 0 where nothing is flat
    expected = -space.projector @ sgd.sign()
    return ToyRun(
        problem=problem.name,
        gamma=gamma,
        t=t,
        c=c,
        mu=mu,
        steps=steps,
        lam=lam,
        error=_relative_error(grda, sgd, directional_prune(sgd, score, lam)),
        soft_error=_relative_error(grda, sgd, soft_threshold(sgd, lam)) if space.dimension else math.nan,
        cosine=_ratio(float(displacement @ expected), float(displacement.norm() * expected.norm())),
        d=len(sgd),
        flat=space.dimension,
        largest_flat=space.largest_flat,
        smallest_steep=space.smallest_steep,
        sparsity=float((grda == 0).double().mean()),
        sgd_loss=float(problem.loss(sgd)),
        grda_loss=float(problem.loss(grda)),
    )


def _relative_error(found: Tensor, start: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||start - expected||."""
    return _ratio(float((found - expected).norm()), float((start - expected).norm()))


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _normal(*names: object, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=generator("directional toy", *names), dtype=torch.float64)
