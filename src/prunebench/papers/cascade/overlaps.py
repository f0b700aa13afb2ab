"""Overlap of the weights that arms have kept: between arms of one seed, and between seeds of one arm."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.errors import InputError
from prunebench.files import write_csv, write_json
from prunebench.parsing import Name, Strict
from prunebench.runs.spec import NETWORKS_FILE, Folder, RunSpec, Spec

if TYPE_CHECKING:
    from torch import Tensor


class Kept(Strict):
    """A job that kept its arms' masks."""

    run: Folder
    spec: str
    """Digest of its spec."""
    seed: int
    arms: dict[str, float]
    """Arm -> its sparsity."""


class Overlaps(Spec):
    """A job: the overlaps of all arms of a task."""

    task: Name
    jobs: list[Kept]

    @classmethod
    def of(cls, task: str, jobs: Sequence[RunSpec]) -> "Overlaps":
        """The comparison of these jobs' arms."""
        kept = [
            Kept(
                run=job.folder,
                spec=job.digest(),
                seed=job.seed,
                arms={arm.name: float(arm.axes["sparsity"]) for arm in job.arms},
            )
            for job in jobs
        ]
        return cls(folder=f"cascade/overlap/{task}", task=task, jobs=kept)

    @property
    def tables(self) -> tuple[str, ...]:
        """`overlap`."""
        return ("overlap",)

    @property
    def needs(self) -> tuple[str, ...]:
        """The jobs' masks."""
        return tuple(f"{job.run}/{NETWORKS_FILE}" for job in self.jobs)


COLUMNS = ["sparsity", "arm_a", "seed_a", "arm_b", "seed_b", "jaccard", "chance"]


@dataclass(frozen=True)
class _Masks:
    """What one arm has kept."""

    arm: str
    seed: int
    sparsity: float
    masks: "dict[str, Tensor]"


def compare(spec: Overlaps, runs: Path, out: Path) -> None:
    """Writes the pairs of arms of equal sparsity: two arms of one seed, or one arm's two seeds.

    Raises InputError where a file cannot be read, is another job's, or two hold masks of different networks.
    """
    import torch

    from prunebench.analysis.overlap import chance_jaccard, jaccard
    from prunebench.runs.provenance import provenance

    kept = [one for job in spec.jobs for one in _read(job, runs)]
    rows: list[dict[str, Any]] = [
        {
            "sparsity": a.sparsity,
            "arm_a": a.arm,
            "seed_a": a.seed,
            "arm_b": b.arm,
            "seed_b": b.seed,
            "jaccard": jaccard(a.masks, b.masks),
            "chance": chance_jaccard(a.masks, b.masks),
        }
        for a, b in itertools.combinations(kept, 2)
        if a.sparsity == b.sparsity and (a.seed == b.seed or a.arm == b.arm)
    ]
    write_csv(out / "overlap.csv", rows, COLUMNS)
    write_json(out / "spec.json", spec.content())
    write_json(out / "provenance.json", provenance(torch.device("cpu"), "none", "none"))


def _read(job: Kept, runs: Path) -> list[_Masks]:
    from safetensors import SafetensorError

    from prunebench.analysis.overlap import unpack
    from prunebench.runs.checkpoint import load_tensors

    path = runs / job.run / NETWORKS_FILE
    try:
        packed, about = load_tensors(path)
        layers = [(str(name), int(count)) for name, count in about["layers"]]
        if about["spec"] != job.spec:
            raise InputError(f"{path} holds masks of another spec than its job has now: run it again")
        return [
            _Masks(arm, job.seed, sparsity, unpack(packed[f"masks/{arm}"], layers))
            for arm, sparsity in job.arms.items()
        ]
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not of a job that keeps its masks: {str(error)[:120]}") from None
