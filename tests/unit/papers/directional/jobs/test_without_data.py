"""Exact problems and timings: jobs of no task's data, run for real."""

import json
import math

import pytest

from prunebench.papers.directional import overhead, toy
from prunebench.papers.directional.spec import ExactProblem
from prunebench.parsing import parse


@pytest.fixture
def rows(tiny_jobs):
    return tiny_jobs.rows


def test_an_exact_problem_writes_every_seed_and_learning_rate(tmp_path, rows):
    content = {"problem": "least_squares", "seeds": [3], "gamma": [0.1, 0.05], "t": 5, "c": 0.02, "mu": 0.6}
    spec = parse(ExactProblem, content | {"folder": "directional/toy/least_squares"}, "test")
    toy.solve(spec, tmp_path, tmp_path)
    solved = rows(tmp_path, "toy")
    assert [(row["fixed"], row["seed"], float(row["gamma"]), int(row["steps"])) for row in solved] == [
        ("c", "3", 0.1, 50),
        ("lam", "3", 0.1, 50),
        ("c", "3", 0.05, 100),
        ("lam", "3", 0.05, 100),
    ]
    lam = [float(row["lam"]) for row in solved]
    assert lam[0] == lam[1] == pytest.approx(lam[3])
    assert lam[2] == pytest.approx(lam[0] / math.sqrt(2))
    assert [float(row["c"]) for row in solved] == pytest.approx([0.02, 0.02, 0.02, 0.02 * math.sqrt(2)])
    assert all(math.isfinite(float(row["error"])) for row in solved)
    assert json.loads((tmp_path / "spec.json").read_text()) == spec.content()
    first = (tmp_path / "toy.csv").read_bytes()
    toy.solve(spec, tmp_path, tmp_path)
    assert (tmp_path / "toy.csv").read_bytes() == first


def test_overhead_times_every_network_and_counts_its_memory(tiny_jobs, tmp_path, rows):
    timing = {"tasks": ["tiny"], "resnet50": False, "blocks": 2, "steps": 1}
    jobs = tiny_jobs(tiny_jobs.RESNET, overhead=timing)
    overhead.time(jobs.spec("time_optimizers"), tmp_path, tmp_path)
    optimizers = {"sgd", "sgd_momentum", "grda", "grda_reference"}
    seconds = rows(tmp_path, "seconds")
    expected = {(m, o, b) for m in ("optimizer step", "training step") for o in optimizers for b in ("1", "2")}
    assert {(row["measure"], row["optimizer"], row["block"]) for row in seconds} == expected
    assert len(seconds) == len(expected)
    assert all(float(row["seconds"]) > 0 for row in seconds)
    size = sum(p.numel() for p in jobs.job(jobs.spec("train_minima")).network().parameters())
    memory = {row["optimizer"]: row for row in rows(tmp_path, "memory")}
    assert memory.keys() == optimizers
    assert {int(row["parameters"]) for row in (*memory.values(), *seconds)} == {size}
    kept = {name: int(row["state_bytes"]) / (4 * size) for name, row in memory.items()}
    assert kept == {"sgd": 0, "sgd_momentum": 1, "grda": 1, "grda_reference": 1}
