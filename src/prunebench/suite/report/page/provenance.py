"""What the runs cost, what made them, what is missing, and the set-up they had."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prunebench.models.kinds import NETWORKS
from prunebench.parsing import kind_of
from prunebench.runs.updates import UPDATES, Update
from prunebench.suite import numbers
from prunebench.suite.inputs import Record, number
from prunebench.suite.preset import Preset
from prunebench.suite.tasks import Task

COSTS = {
    "steps": numbers.count,
    "images": numbers.large,
    "flops": numbers.large,
    "flops_sparse": numbers.large,
    "seconds": numbers.duration,
}
"""Columns of runs.csv that add up, and how their sums are shown."""

ENVIRONMENT = {
    "device": "hardware",
    "platform": "system",
    "threads": "threads per job",
    "precision": "training precision",
    "numerics": "numerics",
    "python": "Python",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "prunebench": "prunebench",
}
"""Columns of runs.csv that say where a run ran, and what readers call them."""


def costs(runs: Sequence[Record]) -> list[dict[str, str]]:
    """What the training jobs cost, by study and in all."""
    studies = {study: [row for row in runs if row["study"] == study] for study in _studies(runs)}
    groups = studies | ({"all": [*runs]} if len(studies) > 1 else {})

    def values(name: str, rows: Sequence[Record]) -> list[float]:
        return [number(row.get(name, "")) or 0.0 for row in rows]

    def memory(rows: Sequence[Record]) -> str:
        most = max(values("peak_memory_mb", rows))
        return f"{numbers.count(most)} MB" if most else numbers.NONE

    return [
        {"study": study, "runs": numbers.count(len(rows)), "memory": memory(rows)}
        | {name: show(sum(values(name, rows))) for name, show in COSTS.items()}
        for study, rows in groups.items()
    ]


def _studies(runs: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(row["study"] for row in runs))


def versions(runs: Sequence[Record]) -> list[dict[str, Any]]:
    """The versions of the code that made the runs, each with the studies and tasks that it made, in order of date."""
    groups: dict[tuple[str, str, bool], list[Record]] = {}
    for row in runs:
        key = (row.get("source_digest", ""), row.get("commit", ""), row.get("dirty") == "True")
        groups.setdefault(key, []).append(row)
    shown = [
        {
            "digest": digest,
            "commit": commit,
            "dirty": dirty,
            "runs": len(rows),
            "made": [
                (study, sorted({row["task"] for row in rows if row["study"] == study})) for study in _studies(rows)
            ],
            "dates": dates(rows),
        }
        for (digest, commit, dirty), rows in groups.items()
    ]
    return sorted(shown, key=lambda version: (str(version["dates"]), str(version["digest"])))


def dates(runs: Sequence[Record]) -> str:
    """The days on which runs finished; empty where none says so."""
    days = sorted(row["finished"][:10] for row in runs if row.get("finished"))
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def environment(runs: Sequence[Record]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Machine and versions of software: each with its values and how many runs had them."""
    shown = []
    for column, name in ENVIRONMENT.items():
        values = [row.get(column) or "not recorded" for row in runs]
        shown.append((name, [(value, values.count(value)) for value in dict.fromkeys(values)]))
    return shown


def missing_seeds(preset: Preset, runs: Sequence[Record]) -> list[str]:
    """Seeds of the preset of which a study has fewer runs than of its others."""
    found = []
    for study in _studies(runs):
        seeds = [row["seed"] for row in runs if row["study"] == study]
        counts = {seed: seeds.count(str(seed)) for seed in preset.seeds}
        most = max(counts.values())
        found += [
            f"{study}: seed {seed}: {most - n} of {most} runs are missing" for seed, n in counts.items() if n < most
        ]
    return found


def setup(task: Task) -> dict[str, str]:
    """A task's network, activation, update and augmentation in words."""
    options = dict(vars(task.network))
    activation = str(options.pop("activation", "as it has")).replace("_", " ")
    augmentation = [f"crop {task.augmentation.pad}"] * bool(task.augmentation.pad) + ["flip"] * task.augmentation.flip
    if (smallest := task.augmentation.resized_crop) is not None:
        augmentation.insert(0, f"resized crop of {smallest:.0%} or more")
    shown = (f"{name.replace('_', ' ')} {_option(value)}" for name, value in options.items())
    weights = [f"weights of {Path(task.weights.path).name}"] if task.weights else []
    return {
        "network": ", ".join([kind_of(NETWORKS, task.network), *shown, *weights]),
        "activation": activation,
        "update": _update(task.training.mover),
        "augmentation": ", ".join(augmentation) or "none",
    }


def _option(value: object) -> str:
    """An option of a network as a reader sees it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(_option, value)) or "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _update(update: Update) -> str:
    settings = (f"{name.replace('_', ' ')} {value}" for name, value in vars(update).items())
    return ", ".join([kind_of(UPDATES, update), *settings])
