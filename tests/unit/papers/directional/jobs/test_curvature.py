"""Leading eigenpairs along SGD's trajectory, measured for real."""

import math

import pytest
import torch
from torch.func import functional_call, hessian

EPOCHS = 3
PAIRS = {"grda:sgd": "grda.c0.1.mu0.6", "sgd_order:sgd": "sgd_order"}


@pytest.fixture(scope="module")
def curved(mlp):
    return mlp, mlp.run("measure_curvature")


def test_curvature_is_measured_at_each_epoch_for_grda_and_its_control(curved):
    jobs, out = curved
    rows = jobs.rows(out, "curvature")
    assert [(int(row["epoch"]), row["pair"], int(row["k"])) for row in rows] == [
        (epoch, pair, k) for epoch in (1, EPOCHS) for pair in PAIRS for k in (1, 3)
    ]
    for row in rows:
        assert 0 <= float(row["share"]) <= 1
        assert float(row["chance"]) == pytest.approx(math.sqrt(int(row["k"]) / (64 * 13 + 13 + 13 * 10 + 10)))


def test_eigenvalues_and_shares_are_those_of_the_dense_hessian(digits, curved):
    """Against the Hessian as a whole, built by autograd in float64 from the file's own networks."""
    jobs, out = curved
    job = jobs.job(jobs.spec("measure_curvature"))
    model = job.network().double()
    [(images, labels)] = list(job.batches(digits.train))
    for epoch in (1, EPOCHS):
        sgd = jobs.weights("sgd", epoch)
        flat = torch.cat([t.flatten() for t in sgd.values()]).double()
        shapes = {name: t.shape for name, t in sgd.items()}

        def loss(vector, shapes=shapes):
            parts = vector.split([shape.numel() for shape in shapes.values()])
            named = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            logits = functional_call(model, named, (images.double(),))
            return torch.nn.functional.cross_entropy(logits, labels)

        values, vectors = torch.linalg.eigh(hessian(loss)(flat))
        leading, top = values.flip(0)[:3], vectors.flip(1)[:, :3].T
        measured = [float(row["eigenvalue"]) for row in jobs.rows(out, "eigenvalues", epoch=epoch)]
        assert measured == pytest.approx(leading.tolist(), rel=2e-3)
        for pair, arm in PAIRS.items():
            moved = torch.cat([t.flatten() for t in jobs.weights(arm, epoch).values()]).double() - flat
            [row] = jobs.rows(out, "curvature", epoch=epoch, pair=pair, k=3)
            along = top @ moved
            assert float(row["share"]) == pytest.approx(float(along.norm() / moved.norm()), rel=0.02)
            assert float(row["quadratic"]) == pytest.approx(float(0.5 * (leading * along**2).sum()), rel=0.02)
            assert float(row["norm_ratio"]) == pytest.approx(float(moved.norm() / flat.norm()), rel=1e-6)
            assert float(row["own_share"]) == pytest.approx(float((top @ flat).norm() / flat.norm()), rel=0.02)


@pytest.mark.parametrize("at", [0, 1])
def test_killed_between_epochs_curvature_ends_with_the_same_bytes(curved, tmp_path, at):
    jobs, whole = curved
    assert jobs.run("measure_curvature", tmp_path, kill_at=at) is None
    assert jobs.results(jobs.run("measure_curvature", tmp_path)) == jobs.results(whole)
