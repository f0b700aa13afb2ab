"""runs.csv: every job that trains, with its axes, result, cost and provenance."""

from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.errors import InputError
from prunebench.files import write_csv
from prunebench.runs.select import rank
from prunebench.runs.spec import RunSpec
from prunebench.suite.inputs import read_json
from prunebench.suite.paper import Stage
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import Preset
from prunebench.suite.study import read_table

AXES = ("criterion", "schedule", "cycle")
"""Axes that are columns; empty where a job has none, or its arms differ."""

COST = ("steps", "images", "flops", "flops_sparse", "seconds")
"""Columns of cost that add up."""

NUMBERS = ("validation_accuracy", "test_accuracy", *COST, "peak_memory_mb", "sparsity")
"""Columns of phases.csv that a job is listed by."""


def write_runs(preset: Preset, runs: Path, out: Path, study: str | None = None) -> None:
    """Writes runs.csv: one line per job that trains, of all studies or of one (`dense`: the dense networks).

    A job is listed at the end of its last arm, and as diverged if any phase diverged; a job that hands on the best of
    its arms is listed at the end of that one. Its cost is the sum over its phases; the dense network that a chain
    starts from has a line of its own. Raises InputError for a table or provenance that is missing or unreadable, and
    for a study that trains nothing here.
    """
    stages = [stage for stage in make_plan(preset).stages.values() if study in (None, stage.study)]
    rows = [_row(stage, job, runs / job.folder) for stage in stages for job in stage.jobs if isinstance(job, RunSpec)]
    if study and not rows:
        raise InputError(f"{preset.preset} trains nothing in a study '{study}'")
    # Provenance of another version may know other keys: the union, in the order in which they come.
    write_csv(out, rows, list(dict.fromkeys(key for row in rows for key in row)))


def _row(stage: Stage, job: RunSpec, folder: Path) -> dict[str, Any]:
    axes = _axes(job)
    phases = read_table(folder / "phases.csv", NUMBERS)
    if phases.empty:
        raise InputError(f"{folder / 'phases.csv'} has no rows")
    end = _end(job, phases)
    return {
        "study": stage.study,
        "task": job.task,
        "part": stage.folder.partition("/")[2],
        **{name: axes.get(name, "") for name in AXES},
        "seed": job.seed,
        "sparsity": _sparsity(job, end, folder),
        **{name: end[name] for name in ("status", "validation_accuracy", "test_accuracy")},
        **{name: phases[name].sum() for name in COST},
        "peak_memory_mb": phases["peak_memory_mb"].max(),
        "spec_sha256": job.digest(),
        **read_json(folder / "provenance.json"),
        "folder": job.folder,
    }


def _axes(job: RunSpec) -> dict[str, Any]:
    """The axes of a job, and those that all its arms share at their end."""
    first, *others = [arm.axes | arm.phases[-1].axes for arm in job.arms]
    agreed = {axis: at for axis, at in first.items() if all(other.get(axis) == at for other in others)}
    return agreed | job.axes


def _end(job: RunSpec, phases: pd.DataFrame) -> "pd.Series[Any]":
    """The row of phases.csv that a job is listed by."""
    if job.hands_on == "best":
        ends = phases.groupby("arm", sort=False).tail(1)
        return max((row for _, row in ends.iterrows()), key=rank)
    # An arm without a match was not run; it is listed only where no other arm was run.
    trained = phases[phases["status"] != "unmatched"]
    end = (trained if len(trained) else phases).iloc[-1].copy()
    if (phases["status"] == "diverged").any():
        end["status"] = "diverged"
    return end


def _sparsity(job: RunSpec, end: "pd.Series[Any]", folder: Path) -> float:
    """The share of weights that is zero at the end: pruned or, where a probe counts zeros, also left by the update."""
    if "weights" in job.tables:
        counted = read_table(folder / "weights.csv", ["sparsity"])
        counted = counted[counted["arm"] == end["arm"]]
        if len(counted):
            return float(counted["sparsity"].iloc[-1])
    return float(end["sparsity"])
