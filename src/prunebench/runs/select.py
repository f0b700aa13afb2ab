"""A selection among jobs' arms: by validation accuracy, and nothing else."""

import csv
import json
from pathlib import Path
from typing import Any

from prunebench.errors import InputError
from prunebench.files import write_bytes, write_csv, write_json
from prunebench.runs.spec import NETWORKS_FILE, Choice


def rank(row: dict[str, Any]) -> tuple[bool, float]:
    """Sort key of an arm's last row, larger is better: trained before diverged, then validation accuracy."""
    return row["status"] == "trained", float(row["validation_accuracy"])


def select(spec: Choice, runs: Path, out: Path) -> None:
    """Picks the best arm of the jobs `spec.among`, the first of equal ones.

    Writes selection.csv (every arm's last row with its axes, the winner marked) and the winner's networks.
    """
    candidates: list[tuple[dict[str, Any], str]] = []
    for folder in spec.among:
        axes = _axes(runs / folder / "spec.json")
        path = runs / folder / "phases.csv"
        try:
            with path.open(newline="", encoding="utf-8") as file:
                ends = {row["arm"]: row for row in csv.DictReader(file)}  # each arm's last phase
            for arm, row in ends.items():
                rank(row)
                candidates.append((axes[arm] | row, folder))
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise InputError(f"{path} is no table of arms' phases: {error}") from None
    winner, folder = max(candidates, key=lambda item: rank(item[0]))
    rows = [row | {"selected": int(row is winner)} for row, _ in candidates]
    write_bytes(out / NETWORKS_FILE, (runs / folder / NETWORKS_FILE).read_bytes())
    write_csv(out / "selection.csv", rows, list(rows[0]))
    write_json(out / "spec.json", spec.content())
    write_bytes(out / "provenance.json", (runs / folder / "provenance.json").read_bytes())


def _axes(path: Path) -> dict[str, dict[str, Any]]:
    """Arm -> axes, as a job's spec.json has them."""
    try:
        arms = json.loads(path.read_text(encoding="utf-8"))["arms"]
        return {arm["name"]: arm.get("axes", {}) for arm in arms}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not the spec of a job that trains arms: {error}") from None
