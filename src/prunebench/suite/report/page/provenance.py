"""What the runs cost, what made them, what is missing, and the set-up they had."""

from collections.abc import Sequence
from typing import Any

from prunebench.models.kinds import NETWORKS
from prunebench.parsing import kind_of
from prunebench.runs.updates import UPDATES, Update
from prunebench.suite import numbers
from prunebench.suite.inputs import Record, number
from prunebench.suite.preset import Preset

COSTS = ("steps", "images", "flops", "flops_sparse", "seconds")

ENVIRONMENT = {
    "device": "hardware",
    "platform": "system",
    "threads": "threads per job",
    "precision": "training precision",
    "python": "Python",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "prunebench": "prunebench",
}
"""Columns of runs.csv that say where a run ran, and what readers call them."""


def costs(runs: Sequence[Record]) -> list[dict[str, str]]:
    """What the training jobs cost, by study and in all."""
    studies = {study: [row for row in runs if row["study"] == study] for study in _studies(runs)}
    groups = [*studies.items(), *([("all", list(runs))] if len(studies) > 1 else [])]
    shown = []
    for study, rows in groups:
        total = {name: sum(number(row.get(name, "")) or 0.0 for row in rows) for name in COSTS}
        memory = max(number(row.get("peak_memory_mb", "")) or 0.0 for row in rows)
        shown.append(
            {
                "study": study,
                "runs": numbers.count(len(rows)),
                "steps": numbers.count(total["steps"]),
                "images": numbers.large(total["images"]),
                "flops": numbers.large(total["flops"]),
                "flops_sparse": numbers.large(total["flops_sparse"]),
                "seconds": numbers.duration(total["seconds"]),
                "memory": f"{numbers.count(memory)} MB" if memory else numbers.NONE,
            }
        )
    return shown


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


def data_sets(preset: Preset) -> list[dict[str, str]]:
    """The preset's data sets, for comparison with the papers'."""
    return [
        {
            "name": name,
            "source": data.source,
            "side": f"{data.size} × {data.size}" if data.size else "as they are",
            "train": numbers.count(data.train),
            "validation": numbers.count(data.validation),
            "test": numbers.count(data.test) if data.test else "all",
        }
        for name, data in preset.datasets.items()
    ]


def tasks(preset: Preset) -> list[dict[str, str]]:
    """The preset's tasks: network and recipe."""
    shown = []
    for name, task in preset.tasks.items():
        training, augmentation = task.training, task.augmentation
        options = dict(vars(task.network))
        activation = str(options.pop("activation", "as it has")).replace("_", " ")
        crop = [f"crop {augmentation.pad}"] if augmentation.pad else []
        shown.append(
            {
                "name": name,
                "data": task.dataset,
                "network": ", ".join([kind_of(NETWORKS, task.network), *(f"{k} {v:g}" for k, v in options.items())]),
                "activation": activation,
                "epochs": str(training.epochs),
                "batch": str(training.batch_size),
                "update": _update(training.mover),
                "augmentation": ", ".join([*crop, *(["flip"] if augmentation.flip else [])]) or "none",
            }
        )
    return shown


def _update(update: Update) -> str:
    settings = (f"{name.replace('_', ' ')} {value}" for name, value in vars(update).items())
    return ", ".join([kind_of(UPDATES, update), *settings])
