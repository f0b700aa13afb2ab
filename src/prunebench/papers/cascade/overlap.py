"""Overlap of the weights that arms have kept: between arms of one seed, and between seeds of one arm."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from prunebench.analysis.overlap import chance_jaccard, jaccard, unpack
from prunebench.config import RetrainSpec, parse
from prunebench.errors import InputError
from prunebench.files import write_csv
from prunebench.training.checkpoint import load_tensors

COLUMNS = ["sparsity", "arm_a", "seed_a", "arm_b", "seed_b", "jaccard", "chance"]


@dataclass(frozen=True)
class _Kept:
    """What one arm has kept."""

    arm: str
    seed: int
    sparsity: float
    masks: dict[str, Tensor]


def compare(folders: Sequence[Path], out: Path) -> None:
    """Writes a table of the pairs of arms of equal sparsity: two arms of one seed, or one arm's two seeds.

    `folders` are those of jobs that keep their masks. Raises InputError where one of its files cannot be read or two
    hold masks of different networks.
    """
    kept = [one for folder in folders for one in _read(folder)]
    rows = [
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
    write_csv(out, rows, COLUMNS)


def _read(folder: Path) -> list[_Kept]:
    path = folder / "spec.json"
    try:
        spec = parse(RetrainSpec, json.loads(path.read_text(encoding="utf-8")), str(path))
        path = folder / "masks.safetensors"
        packed, metadata = load_tensors(path)
        layers = [(str(name), int(count)) for name, count in json.loads(metadata["layers"])]
        return [
            _Kept(arm.name, spec.seed, float(arm.axes["sparsity"]), unpack(packed[arm.name], layers))
            for arm in spec.arms
        ]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not of a job that keeps its masks: {str(error)[:120]}") from None
