"""The oracle's choice: by validation accuracy, and nothing else. Reads tables only."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunebench.errors import InputError
from prunebench.files import write_bytes, write_csv

CANDIDATE_COLUMNS = [
    *("cycle", "max_lr", "density", "sparsity", "status", "validation_loss", "validation_accuracy"),
    *("test_loss", "test_accuracy", "steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb"),
]
"""Columns of candidates.csv."""


def rank(row: dict[str, Any]) -> tuple[bool, float, float]:
    """Sort key, larger is better: trained before diverged, then validation accuracy, then the smaller max_lr."""
    return row["status"] == "trained", float(row["validation_accuracy"]), -float(row["max_lr"])


def better(row: dict[str, Any], others: Sequence[dict[str, Any]]) -> bool:
    """Whether a candidate beats all others."""
    return all(rank(row) > rank(other) for other in others)


def select(batches: Sequence[Path], out: Path) -> None:
    """Picks the winner among all portions of one cycle's grid.

    `batches` are the portions' folders. Writes selection.csv (every candidate, the winner marked), winner.safetensors.
    """
    found: list[tuple[dict[str, Any], Path]] = []
    for folder in batches:
        path = folder / "candidates.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                found += [(row, folder) for row in csv.DictReader(file)]
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
    if not found:
        raise InputError(f"no candidates in {', '.join(map(str, batches))}")
    winner, folder = max(found, key=lambda item: rank(item[0]))
    rows = [row | {"selected": int(row is winner)} for row, _ in found]
    write_bytes(out / "winner.safetensors", (folder / "best.safetensors").read_bytes())
    write_csv(out / "selection.csv", rows, [*CANDIDATE_COLUMNS, "selected"])
