"""The oracle's search: every max_lr of a grid trained from the same starting state (docs/methods.md, Oracle).

A job trains one portion of the grid in one cycle and hands on its best candidate's network; selection.py picks the best
portion, and the next cycle's jobs start from its network.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from prunebench.config import OracleSpec
from prunebench.errors import InputError
from prunebench.files import write_csv
from prunebench.pruning.masks import density_after
from prunebench.training.checkpoint import load_tensors, save_tensors
from prunebench.training.iterative import cycle_leg, first_epoch, prune_
from prunebench.training.job import Job, State, begin_, cost_row, cycle_row, finish, new_state, train_
from prunebench.training.selection import CANDIDATE_COLUMNS, better


def search(job: Job, start: Path | None, out: Path) -> None:
    """Trains the candidates of `job.spec` from the previous cycle's winner (`start`; None in the dense cycle).

    Writes candidates.csv, best.safetensors, spec.json and provenance.json into `out`. What a candidate ends with does
    not depend on which others share its job.
    """
    spec = job.spec
    assert isinstance(spec, OracleSpec)
    rows: list[dict[str, Any]] = []
    best: dict[str, torch.Tensor] = {}
    resumed = job.resume.load()
    if resumed:
        tensors, values = resumed
        rows = values["candidates"]
        best = {k.removeprefix("best/"): v for k, v in tensors.items() if k.startswith("best/")}
    while len(rows) < len(spec.max_lr):
        state, viable = _starting_state(job, start)
        if resumed:
            state.load_(*resumed)
            resumed = None
        row = _train_candidate(job, state, spec.max_lr[len(rows)], viable, rows, best)
        if better(row, rows):
            best = state.tensors()
        rows.append(row)
    metadata = {"converged": json.dumps(any(row["status"] == "trained" for row in rows))}
    save_tensors(out / "best.safetensors", best, metadata)
    write_csv(out / "candidates.csv", rows, CANDIDATE_COLUMNS)
    finish(job, out)


def _starting_state(job: Job, start: Path | None) -> tuple[State, bool]:
    """The state every candidate of the cycle starts from, and whether the previous cycle left a finite network."""
    spec = job.spec
    assert isinstance(spec, OracleSpec)
    state = new_state(job)
    if start is None:
        return state, True
    try:
        tensors, metadata = load_tensors(start)
        converged = json.loads(metadata["converged"])
        state.load_(tensors, state.values())
    except (SafetensorError, OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(f"{start} is not the network of this oracle's previous cycle: {str(error)[:120]}") from None
    if converged:
        return state, prune_(job, state, spec.cycle)
    begin_(state, spec.cycle, first_epoch(job, spec.cycle))
    return state, False


def _train_candidate(
    job: Job, state: State, max_lr: float, viable: bool, rows: list[dict[str, Any]], best: dict[str, torch.Tensor]
) -> dict[str, Any]:
    spec = job.spec
    assert isinstance(spec, OracleSpec)

    def save() -> None:
        named_best = {f"best/{name}": tensor for name, tensor in best.items()}
        job.resume.save(state.tensors() | named_best, state.values() | {"candidates": rows})

    converged = viable and train_(job, state, cycle_leg(job, spec.cycle, spec.profile_of(), max_lr), save)
    row = cycle_row(job, state, max_lr, converged) | cost_row(job, state, first_epoch(job, spec.cycle))
    if not viable:
        kept = density_after(spec.pruning.rate, spec.cycle)
        row |= {"density": kept, "sparsity": 1 - kept}
    print(
        f"cycle {spec.cycle} max_lr {max_lr:g}: {row['status']}, accuracy {row['validation_accuracy']:.4f}", flush=True
    )
    return row
