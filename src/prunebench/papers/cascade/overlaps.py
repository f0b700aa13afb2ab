"""Overlap of the weights that arms have kept: between arms of one seed, and between seeds of one arm."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.errors import InputError
from prunebench.files import write_csv, write_json
from prunebench.parsing import Name, Strict
from prunebench.runs.estimate import Estimate, Sizes
from prunebench.runs.spec import NETWORKS_FILE, Folder, RunSpec, Spec

if TYPE_CHECKING:
    from prunebench.pruning.masks import Masks


class Kept(Strict):
    """A job that hands on its arms' masks."""

    run: Folder
    """Its folder."""
    spec: str
    """Digest of its spec."""
    seed: int
    """Its seed."""
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
                arms={arm.name: arm.axes["sparsity"] for arm in job.arms},
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

    def estimate(self, sizes: Sizes) -> Estimate:
        """A row per pair of arms, at most."""
        arms = sum(len(job.arms) for job in self.jobs)
        return Estimate(cells=len(COLUMNS) * arms * (arms - 1) // 2)


COLUMNS = ("sparsity", "arm_a", "seed_a", "arm_b", "seed_b", "jaccard", "chance")


def compare(spec: Overlaps, runs: Path, out: Path) -> None:
    """Writes the pairs of arms of equal sparsity: two arms of one seed, or one arm's two seeds.

    Raises InputError where a file cannot be read, is another job's, or two hold masks of different networks.
    """
    import torch

    from prunebench.analysis.overlap import chance_jaccard, jaccard
    from prunebench.runs.provenance import provenance

    kept = [each for job in spec.jobs for each in _read(job, runs)]
    pairs = [
        (sparsity, arm_a, seed_a, arm_b, seed_b, jaccard(a, b), chance_jaccard(a, b))
        for (arm_a, seed_a, sparsity, a), (arm_b, seed_b, other, b) in itertools.combinations(kept, 2)
        if sparsity == other and (seed_a == seed_b or arm_a == arm_b)
    ]
    write_csv(out / "overlap.csv", [dict(zip(COLUMNS, pair, strict=True)) for pair in pairs], COLUMNS)
    write_json(out / "spec.json", spec.content())
    write_json(out / "provenance.json", provenance(torch.device("cpu"), "none", "none"))


def _read(job: Kept, runs: Path) -> "list[tuple[str, int, float, Masks]]":
    """Arm, seed, sparsity and masks of each of a job's arms."""
    from safetensors import SafetensorError

    from prunebench.analysis.overlap import unpack
    from prunebench.runs.checkpoint import load_tensors

    path = runs / job.run / NETWORKS_FILE
    try:
        packed, about = load_tensors(path)
        if about["spec"] != job.spec:
            raise InputError("its masks are of another spec than its job has now")
        layers = [(str(name), int(count)) for name, count in about["layers"]]
        return [(arm, job.seed, at, unpack(packed[f"masks/{arm}"], layers)) for arm, at in job.arms.items()]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot compare the masks in {path}; run its job again: {str(error)[:120]}") from None
