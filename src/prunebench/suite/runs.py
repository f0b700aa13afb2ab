"""Reads the tables that runs wrote, and lists every run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.config import ChainSpec, DenseSpec, OracleSpec, Preset, RetrainSpec, RunSpec, TrajectoriesSpec
from prunebench.errors import InputError
from prunebench.files import write_csv
from prunebench.training.selection import rank

AXES = ["study", "task", "criterion", "schedule", "seed"]


def read_table(path: Path) -> pd.DataFrame:
    """A run's CSV; raises InputError, naming the file, where it is missing or no CSV."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def read_chains(chains: Sequence[ChainSpec], runs: Path, table: str) -> pd.DataFrame:
    """One table of all chains, stacked, with the axes as its first columns."""
    parts = []
    for spec in chains:
        part = read_table(runs / spec.folder / f"{table}.csv")
        axes = [spec.study, spec.task, spec.criterion, spec.schedule_name, spec.seed]
        for position, (name, value) in enumerate(zip(AXES, axes, strict=True)):
            part.insert(position, name, value)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def read_oracle(jobs: Sequence[OracleSpec], runs: Path) -> pd.DataFrame:
    """Every candidate of the oracle with its seed and whether it was selected."""
    folders = {(Path(job.folder).parent, job.seed): None for job in jobs}
    parts = [read_table(runs / folder / "selection.csv").assign(seed=seed) for folder, seed in folders]
    return pd.concat(parts, ignore_index=True)


def write_runs(preset: Preset, runs: Path, out: Path) -> None:
    """runs.csv: one line per training job with its axes, status, result, cost and provenance.

    A job of arms stands with its last arm's last phase, and as diverged if any arm or phase did; its arms are in its
    own tables.
    """
    rows = []
    for spec in preset.jobs():
        folder = runs / spec.folder
        axes, last, cost = _summary(spec, folder)
        rows.append(
            {
                "study": spec.study,
                "task": spec.task,
                "part": "",
                "criterion": "",
                "schedule": "",
                **axes,
                "seed": spec.seed,
                "sparsity": last["sparsity"],
                "status": last["status"],
                "validation_accuracy": last["validation_accuracy"],
                "test_accuracy": last["test_accuracy"],
                **{name: cost[name].sum() for name in ("steps", "images", "flops", "flops_sparse", "seconds")},
                "peak_memory_mb": cost["peak_memory_mb"].max(),
                "spec_sha256": spec.digest(),
                **_provenance(folder / "provenance.json"),
                "folder": spec.folder,
            }
        )
    # Provenance of another version may know other keys: the union, in the order in which they come.
    write_csv(out, rows, list(dict.fromkeys(key for row in rows for key in row)))


def _summary(spec: RunSpec, folder: Path) -> tuple[dict[str, Any], pd.Series, pd.DataFrame]:
    """A job's axes, the row that it ended with, and the table that holds its cost."""
    if isinstance(spec, OracleSpec):
        candidates = read_table(folder / "candidates.csv")
        best = max((row for _, row in candidates.iterrows()), key=rank)
        return {"criterion": spec.criterion, "schedule": "oracle", "cycle": spec.cycle}, best, candidates
    if isinstance(spec, RetrainSpec | TrajectoriesSpec):
        ends = read_table(folder / ("phases.csv" if isinstance(spec, RetrainSpec) else "ends.csv"))
        # An arm that found nothing to be matched to was not run; it stands for the job only where no other was.
        last = (ends[ends["status"] != "unmatched"] if (ends["status"] != "unmatched").any() else ends).iloc[-1].copy()
        if (ends["status"] == "diverged").any():
            last["status"] = "diverged"
        return {"part": spec.part}, last, ends
    cycles, cost = read_table(folder / "cycles.csv"), read_table(folder / "cost.csv")
    axes: dict[str, Any] = {"cycle": cycles.iloc[-1]["cycle"]}
    if isinstance(spec, ChainSpec):
        axes |= {"criterion": spec.criterion, "schedule": spec.schedule_name}
    if isinstance(spec, DenseSpec):
        axes |= {"schedule": spec.recipe}
    return axes, cycles.iloc[-1], cost


def _provenance(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    return found
