"""Two made-up papers in the place of the package's, their presets, runs and observations."""

import stat
from pathlib import Path

import pandas as pd
import pytest

from prunebench.files import write_csv, write_json

PAPERS = [str(Path(__file__).parent / "papers" / name) for name in ("toy", "other")]

PROVENANCE = {"commit": "abc", "precision": "fp32", "threads": 2, "source_digest": "f00", "data_sha256": "d00"}

COST = ("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb")


@pytest.fixture
def only_toys(monkeypatch):
    """No paper of the package is registered: the tests of the suite know no room."""
    from prunebench.suite import preset, registry

    caches = (registry.papers, preset.preset_model)
    monkeypatch.setattr(registry, "BUILT_IN", ())
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def toy_content():
    """Content of a preset that runs the toy study; keys replace its own."""

    def content(**keys):
        return {
            "preset": "tiny",
            "scale": "x",
            "papers": PAPERS,
            "seeds": [0, 1, 2],
            "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
            "tasks": {"net": {"dataset": "d", "network": {"kind": "mlp"}, "training": {"epochs": 1, "batch_size": 10}}},
            "schedules": {
                name: {"profile": {"kind": "cyclical"}, "policy": {"kind": "fixed", "max_lr": 0.1}, "role": role}
                for name, role in (("ours", "method"), ("theirs", "method"), ("benchmark", "benchmark"))
            },
            "toy": {"tasks": ["net"], "schedules": ["ours", "theirs", "benchmark"]},
            **keys,
        }

    return content


@pytest.fixture
def changed(toy_content):
    """The toy preset's content with `to` at a path of keys, or without what is there."""

    def content(*path, to=None, remove=False):
        whole = place = toy_content()
        for key in path[:-1]:
            place = place[key]
        if remove:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        return whole

    return content


@pytest.fixture
def toy_preset(only_toys, toy_content):
    """A preset that runs the toy study and leaves the other one out."""
    from prunebench.suite.preset import parse_preset

    return lambda **keys: parse_preset(toy_content(**keys), "tiny")


@pytest.fixture
def run_files():
    """Writes the files of a job: rows of phases, whose cost is `number` times what one phase costs, and provenance."""
    one = dict(zip(COST, (10, 100, 1000, 500, 0.5, 1), strict=True))

    def row(arm="dense", phase=0, accuracy=0.8, number=1, status="trained", sparsity=0.0):
        cost = {name: number * value for name, value in one.items()} | {"peak_memory_mb": 200 + number}
        return {
            "arm": arm,
            "phase": phase,
            "density": 1 - sparsity,
            "sparsity": sparsity,
            "sparsity_start": 0.0,
            "status": status,
            "validation_accuracy": accuracy,
            "test_accuracy": accuracy - 0.05,
            **cost,
        }

    def write(folder, *rows):
        table = [row(**each) for each in rows]
        write_csv(folder / "phases.csv", table, list(table[0]))
        write_json(folder / "provenance.json", PROVENANCE)

    return write


@pytest.fixture
def toy_runs(run_files):
    """Writes the runs of the toy study below a folder.

    Dense networks end at 0.8; chains at 0.5, but `ours` gains 2 points and `theirs` 3 in each cycle, and 0.1 points by
    seed; candidates at 0.5, 0.7 and (alone) 0.4; arms one after another at 0.3, 0.4, 0.5, the last one unmatched.
    """
    from prunebench.suite.plan import make_plan

    def write(preset, runs):
        plan = make_plan(preset)
        for job in plan.stages["train_dense"].jobs:
            run_files(runs / job.folder, {"number": 4})
        for job in plan.stages["prune_toys"].jobs:
            gain = {"ours": 0.02, "theirs": 0.03, "benchmark": 0.0}[job.axes["schedule"]]
            accuracies = [0.55 + cycle * gain + 0.001 * job.seed * (gain > 0) for cycle in (1, 2)]
            rows = (
                {
                    "arm": "chain",
                    "phase": phase,
                    "accuracy": at,
                    "number": phase + 1,
                    "sparsity": 1 - 0.5 ** (phase + 1),
                }
                for phase, at in enumerate(accuracies)
            )
            run_files(runs / job.folder, *rows)
        for job in plan.stages["search_toys"].jobs:
            ends = {0.1: 0.5, 0.2: 0.7, 0.4: 0.4}
            rows = ({"arm": arm.name, "accuracy": ends[arm.axes["max_lr"]], "sparsity": 0.5} for arm in job.arms)
            run_files(runs / job.folder, *rows)
        for job in plan.stages["train_toy_arms"].jobs:
            rows = [
                ("first", 0, "trained"),
                ("second", 0, "trained"),
                ("second", 1, "trained"),
                ("lost", 0, "unmatched"),
            ]
            run_files(
                runs / job.folder,
                *(
                    {"arm": a, "phase": p, "status": s, "accuracy": 0.2 + n / 10, "number": n, "sparsity": 0.2 * n}
                    for n, (a, p, s) in enumerate(rows, 1)
                ),
            )
        if "time_toys" in plan.stages:
            write_json(runs / "toy/timing/once/provenance.json", {})
        return runs

    return write


@pytest.fixture
def observations():
    """Makes observations of a claim's quantity: by cell, which `net` and a name make, the values over seeds."""
    from prunebench.suite.cells import cell
    from prunebench.suite.claim import OBSERVATION

    def make(values, claim="T1", quantity="gain"):
        rows = [
            (claim, quantity, cell(task="net", place=place), seed, value)
            for place, over_seeds in values.items()
            for seed, value in enumerate(over_seeds)
        ]
        return pd.DataFrame(rows, columns=list(OBSERVATION))

    return make


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Makes programs in the only folder of the PATH: name -> lines of a shell script."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(**scripts):
        for name, script in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(stat.S_IRWXU)

    return make


@pytest.fixture
def toy_results(toy_preset, toy_runs, tmp_path):
    """A folder of results of the toy study in which every job is done, with all its files and their checksums."""
    from prunebench.files import RUN_RECORD, seal
    from prunebench.runs.spec import RunSpec
    from prunebench.suite.plan import make_plan
    from prunebench.suite.runs import write_runs

    def epochs(job):
        rows = []
        for arm in job.arms:
            for number in range(len(arm.phases)):
                at = {
                    "arm": arm.name,
                    "phase": number,
                    "epoch": 0,
                    "lr": 0.1 / (number + 1),
                    "steps": 10 * (number + 1),
                }
                losses = {
                    "train_loss": 1 / (number + 1),
                    "validation_loss": 1.1,
                    "validation_accuracy": 0.5 + number / 10,
                }
                rows.append(at | losses)
        return rows

    def make(**keys):
        preset, results = toy_preset(**keys), tmp_path / "results/tiny"
        toy_runs(preset, results / "runs")
        for job in make_plan(preset).jobs():
            folder = results / "runs" / job.folder
            write_json(folder / "spec.json", job.content())
            if isinstance(job, RunSpec):
                rows = epochs(job)
                write_csv(folder / "epochs.csv", rows, list(rows[0]))
            for name in job.files:
                if not (folder / name).exists():
                    (folder / name).write_text("seconds\n1.5\n" if name.endswith(".csv") else "x")
            seal(folder / RUN_RECORD, [folder / name for name in job.files])
        write_json(results / "plan.json", preset.model_dump(mode="json", exclude={"raw_data"}))
        write_runs(preset, results / "runs", results / "runs.csv")
        return results

    return make
