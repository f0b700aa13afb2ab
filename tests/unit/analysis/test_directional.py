"""The definition of directional pruning against brute force, and the toy runs against cases with a known answer."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from prunebench.analysis.directional import (
    PROBLEMS,
    LeastSquares,
    directional_prune,
    flat_space,
    run_toy,
    scores,
    soft_threshold,
    toy_problem,
    trajectories,
)
from prunebench.errors import InputError

SETTING = {"gamma": 0.1, "t": 5.0, "c": 0.05, "mu": 0.6, "seed": 0}


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(inputs, targets, w0, **changes):
    """A least-squares problem made by hand, by default without noise on the labels."""
    fields = {"label_noise": 0.0, "batch": len(targets), "tolerance": 1e-8} | changes
    return LeastSquares(name="hand", inputs=inputs, targets=targets, w0=w0, **fields)


def without_curvature(d=12):
    """All inputs 0: no gradient anywhere, and every direction flat."""
    return linear(torch.zeros(3, d, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), randn(d))


# The definition


@pytest.mark.parametrize("lam", [0.0, 0.3, 2.0])
def test_the_formula_is_the_global_minimiser_for_scores_of_either_sign(lam):
    w, s = randn(60), 1.5 * randn(60, seed=1)
    assert bool((s < 0).any())
    v = directional_prune(w, s, lam)
    grid = torch.linspace(-12, 12, 6001, dtype=torch.float64)  # in steps of 0.004, 0 among them
    objective = 0.5 * (grid[:, None] - w).square() + lam * s * grid[:, None].abs()
    lowest, at = objective.min(0)
    torch.testing.assert_close(v, grid[at], rtol=0, atol=0.00401)
    # nowhere on the grid is it lower than at v
    assert bool((0.5 * (v - w).square() + lam * s * v.abs() <= lowest + 1e-12).all())


def test_scores_and_solution_of_a_flat_line_in_the_plane_by_hand():
    w = torch.tensor([2.0, -1.0], dtype=torch.float64)
    projector = torch.tensor([[0.9, 0.3], [0.3, 0.1]], dtype=torch.float64)  # onto (3, 1)
    s = scores(w, projector)
    torch.testing.assert_close(s, torch.tensor([0.6, -0.2], dtype=torch.float64))
    # the second weight grows
    torch.testing.assert_close(directional_prune(w, s, 1.0), torch.tensor([1.4, -1.2], dtype=torch.float64))
    # strong enough, the first is 0 and stays there
    torch.testing.assert_close(directional_prune(w, s, 5.0), torch.tensor([0.0, -2.0], dtype=torch.float64))


def test_the_flat_projector_is_a_projector_that_kills_the_row_space_of_the_inputs():
    x = randn(5, 11)
    space = flat_space(x.T @ x / 5, 1e-10)
    projector = space.projector
    assert space.dimension == 6
    torch.testing.assert_close(projector, projector.T, rtol=0, atol=1e-14)
    torch.testing.assert_close(projector @ projector, projector, rtol=0, atol=1e-13)
    assert float(projector.trace()) == pytest.approx(6)
    torch.testing.assert_close(projector @ x.T, torch.zeros(11, 5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_flat_is_small_in_size_whatever_the_sign_and_the_gap_is_told():
    hessian = torch.diag(torch.tensor([-2.0, 1.0, 0.02, 0.0], dtype=torch.float64))
    space = flat_space(hessian, 0.1)
    assert space.projector.equal(torch.diag(torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)))
    assert (space.dimension, space.largest_flat, space.smallest_steep) == (2, 0.01, 0.5)


def test_until_a_weight_is_zero_directional_pruning_moves_in_the_flat_space_only():
    x, w = randn(5, 11), randn(11, seed=1)
    space = flat_space(x.T @ x, 1e-10)
    s = scores(w, space.projector)
    lam = 0.9 * float((w.abs() / s)[s > 0].min())  # just before the first zero
    move = directional_prune(w, s, lam) - w
    torch.testing.assert_close(move, -lam * space.projector @ w.sign())
    assert float((x @ move).norm()) < 1e-12 * float(x.norm())
    # with a zero it leaves the flat space: the clipping of one weight is not made up for by others
    assert float((x @ (directional_prune(w, s, 3 * lam) - w)).norm()) > 1e-3


def test_if_all_is_flat_directional_pruning_is_soft_thresholding():
    w = randn(9)
    space = flat_space(torch.zeros(9, 9, dtype=torch.float64), 0.0)
    assert space.dimension == 9
    assert math.isnan(space.smallest_steep)
    assert scores(w, space.projector).equal(torch.ones(9, dtype=torch.float64))
    pruned = directional_prune(w, scores(w, space.projector), 0.5)
    assert pruned.equal(soft_threshold(w, 0.5))
    torch.testing.assert_close(pruned, torch.nn.functional.softshrink(w, 0.5))


def test_if_nothing_is_flat_directional_pruning_does_nothing():
    w = randn(9)
    space = flat_space(torch.eye(9, dtype=torch.float64), 0.5)
    assert (space.dimension, space.smallest_steep) == (0, 1.0)
    assert math.isnan(space.largest_flat)
    assert directional_prune(w, scores(w, space.projector), 0.5).equal(w)


# The problems


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_has_fewer_samples_than_weights_and_no_zero_at_the_start(name):
    problem = toy_problem(name, 3)
    assert problem.name == name
    assert len(problem.targets) < len(problem.w0) <= 80
    assert int(problem.w0.count_nonzero()) == len(problem.w0)
    assert {problem.inputs.dtype, problem.targets.dtype, problem.w0.dtype} == {torch.float64}
    again, other = toy_problem(name, 3), toy_problem(name, 4)
    for field in ("inputs", "targets", "w0"):
        assert getattr(problem, field).equal(getattr(again, field))
        assert not getattr(problem, field).equal(getattr(other, field))


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_by_hand_equal_autograd(name):
    problem = toy_problem(name, 0)
    chosen = torch.tensor([3, 0, 3])  # with replacement
    batch = dataclasses.replace(problem, inputs=problem.inputs[chosen], targets=problem.targets[chosen] + 0.3)
    w = torch.stack((problem.w0, randn(len(problem.w0), seed=5)))
    found = problem.gradient(w.numpy(), batch.inputs.numpy(), batch.targets.numpy())
    for row, point in zip(found, w, strict=True):
        point = point.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(batch.loss(point), point)
        np.testing.assert_allclose(row, wanted.numpy(), rtol=1e-12, atol=1e-14)


def test_the_hessian_of_least_squares_is_that_of_the_inputs_with_the_eigenvalues_it_is_made_of():
    problem = toy_problem("least_squares", 0)
    hessian = problem.hessian(problem.w0)
    torch.testing.assert_close(hessian, problem.inputs.T @ problem.inputs / len(problem.targets))
    eigenvalues = torch.linalg.eigvalsh(hessian)
    torch.testing.assert_close(eigenvalues[:20], torch.zeros(20, dtype=torch.float64), rtol=0, atol=1e-13)
    assert float(eigenvalues[20]) == pytest.approx(0.5)
    assert float(eigenvalues[-1]) == pytest.approx(2)


def test_the_hessian_of_the_network_is_the_difference_of_its_gradients():
    problem = toy_problem("network", 0)
    x, y, w = problem.inputs.numpy(), problem.targets.numpy(), problem.w0.numpy()
    steps = 1e-5 * np.eye(len(w))
    differences = (problem.gradient(w + steps, x, y) - problem.gradient(w - steps, x, y)) / 2e-5
    np.testing.assert_allclose(problem.hessian(problem.w0).numpy(), differences, atol=1e-8)


def test_unknown_problems_are_refused_with_the_allowed_names():
    with pytest.raises(InputError, match="unknown toy problem 'mnist'; allowed: least_squares, network"):
        toy_problem("mnist", 0)


# SGD and gRDA


@pytest.mark.parametrize("name", PROBLEMS)
def test_trajectories_are_those_of_the_textbook_formulas(name):
    # one sample and no noise: there is nothing to draw
    whole = toy_problem(name, 0)
    changes = {"inputs": whole.inputs[:1], "targets": whole.targets[:1], "label_noise": 0.0, "batch": 1}
    problem = dataclasses.replace(whole, **changes)
    gamma, c, mu = 0.05, 0.3, 0.7

    def gradient(w):
        w = w.clone().requires_grad_()
        return torch.autograd.grad(problem.loss(w), w)[0]

    sgd = grda = v = problem.w0
    for n in range(1, 41):
        sgd = sgd - gamma * gradient(sgd)
        v = v - gamma * gradient(grda)
        grda = v.sign() * (v.abs() - c * math.sqrt(gamma) * (n * gamma) ** mu).clamp(min=0)
    found = trajectories(problem, gamma=gamma, steps=40, c=c, mu=mu, seed=0)
    torch.testing.assert_close(found[0], sgd, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found[1], grda, rtol=1e-10, atol=1e-12)
    assert bool((found[1] == 0).any())


@pytest.mark.parametrize("name", PROBLEMS)
def test_without_a_penalty_grda_is_sgd_to_the_bit(name):
    sgd, grda = trajectories(toy_problem(name, 0), gamma=0.1, steps=50, c=0.0, mu=0.6, seed=0)
    assert sgd.equal(grda)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_trajectory_is_a_function_of_the_seed_and_sees_the_same_minibatches_for_every_penalty(name):
    def ends(seed, c):
        return trajectories(toy_problem(name, 0), gamma=0.1, steps=50, c=c, mu=0.6, seed=seed)

    first, again, weaker, other = ends(0, 0.05), ends(0, 0.05), ends(0, 0.01), ends(1, 0.05)
    assert first[0].equal(again[0])
    assert first[1].equal(again[1])
    assert first[0].equal(weaker[0])
    assert not first[1].equal(weaker[1])
    assert not first[0].equal(other[0])


def test_label_noise_keeps_sgd_moving_at_the_minimum_but_not_in_flat_directions():
    problem = toy_problem("least_squares", 0)
    projector = flat_space(problem.hessian(problem.w0), problem.tolerance).projector
    arguments = {"gamma": 0.1, "steps": 1000, "c": 0.0, "mu": 0.6, "seed": 0}
    noisy, _ = trajectories(problem, **arguments)
    quiet, _ = trajectories(dataclasses.replace(problem, label_noise=0.0), **arguments)
    assert float(problem.loss(quiet)) < 1e-20
    assert float(problem.loss(noisy)) > 1e-5
    assert float((projector @ (noisy - problem.w0)).norm()) < 1e-12


def test_on_least_squares_grda_ends_at_the_fit_with_the_least_distance_and_l1_norm_at_every_penalty():
    # relaxed gRDA: v - w0 in the row space, w = soft(v), X w = y, which are the optimality conditions of
    # min 0.5 ||w - w0||^2 + lam ||w||_1 subject to X w = y; solved here by ADMM
    problem = dataclasses.replace(toy_problem("least_squares", 0), label_noise=0.0)
    projector = flat_space(problem.hessian(problem.w0), problem.tolerance).projector
    fit = projector @ problem.w0 + torch.linalg.pinv(problem.inputs) @ problem.targets
    lam = 0.05 * math.sqrt(0.1) * 100**0.6
    z, u = fit, torch.zeros_like(fit)
    for _ in range(3000):
        w = fit + projector @ ((problem.w0 + z - u) / 2 - fit)
        z = soft_threshold(w + u, lam)
        u = u + w - z
    sgd, grda = trajectories(problem, gamma=0.1, steps=1000, c=0.05, mu=0.6, seed=0)
    torch.testing.assert_close(sgd, fit, rtol=0, atol=1e-8)
    assert int((z == 0).sum()) > 2
    # apart from the lag of about mu / (eigenvalue t)
    assert float((grda - z).norm()) < 0.03 * float((fit - z).norm())


# The comparison


def test_where_there_is_no_curvature_grda_is_directional_pruning_exactly():
    problem = without_curvature()
    run = run_toy(problem, gamma=0.03, t=20.0, c=0.5, mu=0.6, seed=0)
    lam = 0.5 * math.sqrt(0.03) * (667 * 0.03) ** 0.6
    assert run.steps == 667
    assert run.lam == pytest.approx(lam, rel=1e-12)
    assert run.error < 1e-12
    assert run.soft_error < 1e-12
    assert run.flat == run.d == 12
    assert run.sparsity == float((problem.w0.abs() <= lam).double().mean()) > 0


def test_without_curvature_and_zeros_the_cosine_is_one():
    run = run_toy(without_curvature(), gamma=0.1, t=2.0, c=0.001, mu=0.6, seed=0)
    assert run.sparsity == 0
    assert run.cosine == pytest.approx(1, abs=1e-12)


def test_where_nothing_is_flat_the_errors_and_the_cosine_are_nan():
    problem = linear(randn(4, 3), randn(4, seed=1), randn(3, seed=2), tolerance=0.0)
    run = run_toy(problem, **SETTING)
    assert (run.d, run.flat) == (3, 0)
    assert math.isnan(run.error)
    assert math.isnan(run.soft_error)
    assert math.isnan(run.cosine)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_error_falls_with_the_learning_rate_and_soft_thresholding_fits_worse(name):
    large, small = (
        [run_toy(toy_problem(name, s), gamma=gamma, t=100.0, c=0.05, mu=0.6, seed=s) for s in range(2)]
        for gamma in (0.1, 0.03)
    )
    errors = [[run.error for run in runs] for runs in (large, small)]
    assert np.mean(errors[1]) < 0.9 * np.mean(errors[0])
    for run in small:
        assert run.error < 0.7 * run.soft_error
        assert run.cosine > 0.8
    for run in large:
        assert run.sparsity > 0
        assert run.largest_flat < toy_problem(name, 0).tolerance < run.smallest_steep


def test_with_a_penalty_too_weak_for_zeros_the_error_falls_as_time_goes_on():
    # steep directions lag behind the growing penalty by mu / (eigenvalue t) of it
    problem = toy_problem("least_squares", 0)
    early, late = (run_toy(problem, gamma=0.1, t=t, c=1e-6, mu=0.6, seed=0).error for t in (20.0, 200.0))
    assert late < 0.2 * early


def test_a_run_is_the_same_every_time():
    problem = toy_problem("network", 1)
    assert run_toy(problem, **SETTING) == run_toy(toy_problem("network", 1), **SETTING)


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 0.0}, "gamma is 0.0; allowed: > 0 and finite"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"t": -1.0}, "t is -1.0; allowed: > 0"),
        ({"t": math.inf}, "t is inf"),
        ({"t": 0.01}, "t is 0.01, less than half of one update"),
        ({"c": 0.0}, "c is 0.0; allowed: > 0"),
        ({"mu": 0.5}, "mu is 0.5; allowed: > 0.5 and < 1"),
        ({"mu": 1.0}, "mu is 1.0"),
        ({"gamma": 5.0, "t": 5000.0}, "SGD diverged on 'least_squares' with gamma 5.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        run_toy(toy_problem("least_squares", 0), **(SETTING | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; allowed"),
        ({"gamma": -1.0}, "gamma is -1.0; allowed"),
        ({"c": -0.1}, "c is -0.1; allowed: >= 0"),
        ({"mu": 0.0}, "mu is 0.0; allowed: > 0 and < 1"),
    ],
)
def test_trajectories_out_of_range_are_refused(changes, message):
    arguments = {"gamma": 0.1, "steps": 3, "c": 0.1, "mu": 0.6, "seed": 0} | changes
    with pytest.raises(InputError, match=message):
        trajectories(without_curvature(), **arguments)


def test_a_minimiser_with_a_zero_is_refused():
    with pytest.raises(InputError, match="1 of 3 weights are 0; scores are defined only where none is"):
        scores(torch.tensor([1.0, 0.0, -2.0]), torch.eye(3))


@pytest.mark.parametrize(
    ("hessian", "tolerance", "message"),
    [
        (torch.eye(3), 1.0, "tolerance of flat eigenvalues is 1.0; allowed: >= 0 and < 1"),
        (torch.eye(3), -0.1, "is -0.1"),
        (torch.zeros(3, 2), 0.1, r"shape \(3, 2\); allowed: \(d, d\)"),
        (torch.zeros(0, 0), 0.1, r"shape \(0, 0\)"),
        (torch.full((2, 2), math.nan), 0.1, "NaN or infinity"),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 0.1, "not symmetric"),
    ],
)
def test_hessians_and_tolerances_out_of_range_are_refused(hessian, tolerance, message):
    with pytest.raises(InputError, match=message):
        flat_space(hessian, tolerance)


def test_shapes_that_do_not_fit_and_negative_strengths_are_refused():
    with pytest.raises(InputError, match=r"\(3,\) and \(2, 2\); allowed: \(d,\) and \(d, d\)"):
        scores(torch.ones(3), torch.eye(2))
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\); allowed: \(d,\) both"):
        directional_prune(torch.ones(3), torch.ones(2), 0.1)
    for lam in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=f"lam is {lam}; allowed: >= 0"):
            directional_prune(torch.ones(3), torch.ones(3), lam)
