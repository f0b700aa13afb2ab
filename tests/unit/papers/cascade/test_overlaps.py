"""The job that compares the kept weights of all arms of a task, against sets of indices."""

import csv
import itertools

import pytest
import torch

from prunebench.analysis.overlap import pack
from prunebench.errors import InputError
from prunebench.papers.cascade.overlaps import Overlaps, compare
from prunebench.runs.checkpoint import save_tensors

LAYERS = {"first": (3, 4), "second": (5,)}
"""Shapes of a network's layers."""
ARMS = {"plain": 0.5, "begun": 0.5, "other": 0.9}
"""Arm -> sparsity."""


@pytest.fixture
def masks():
    """Arm and seed -> its masks."""
    draws = torch.Generator().manual_seed(0)
    return {
        (arm, seed): {name: torch.rand(shape, generator=draws) > sparsity / 2 for name, shape in LAYERS.items()}
        for arm, sparsity in ARMS.items()
        for seed in (0, 1)
    }


@pytest.fixture
def save(tmp_path):
    """Writes the networks file of a seed's job, as a job that hands on masks does."""

    def write(seed, masks, spec="x"):
        packed = {f"masks/{arm}": pack(each)[0] for (arm, of), each in masks.items() if of == seed}
        layers = [[name, mask.numel()] for name, mask in next(iter(masks.values())).items()]
        path = tmp_path / f"seed-{seed}" / "networks.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_tensors(path, packed, {"spec": spec, "layers": layers})
        return path

    return write


def job(*seeds):
    kept = [{"run": f"seed-{seed}", "spec": "x", "seed": seed, "arms": ARMS} for seed in seeds]
    return Overlaps.model_validate({"folder": "cascade/overlap/t", "task": "t", "jobs": kept})


@pytest.fixture
def rows(tmp_path):
    """What the comparison of these seeds writes."""

    def compared(*seeds):
        out = tmp_path / "out"
        out.mkdir()
        compare(job(*seeds), tmp_path, out)
        assert {path.name for path in out.iterdir()} == {*job(*seeds).files}
        with (out / "overlap.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return compared


def test_the_overlap_of_masks_is_that_of_sets(masks, save, rows):
    for seed in (0, 1):
        save(seed, masks)
    found = rows(0, 1)
    pairs = {("plain", seed, "begun", seed) for seed in (0, 1)} | {(arm, 0, arm, 1) for arm in ARMS}
    assert {(row["arm_a"], int(row["seed_a"]), row["arm_b"], int(row["seed_b"])) for row in found} == pairs
    assert len(found) == len(pairs)
    for row in found:
        a, b = (
            {name: {*mask.flatten().nonzero().flatten().tolist()} for name, mask in masks[key].items()}
            for key in ((row["arm_a"], int(row["seed_a"])), (row["arm_b"], int(row["seed_b"])))
        )
        sizes = {name: mask.numel() for name, mask in masks["plain", 0].items()}
        assert float(row["sparsity"]) == ARMS[row["arm_a"]]
        both, either = (sum(len(op(a[name], b[name])) for name in sizes) for op in (set.intersection, set.union))
        assert float(row["jaccard"]) == both / either
        common = sum(len(a[name]) * len(b[name]) / size for name, size in sizes.items())
        apart = sum(len(a[name]) + len(b[name]) for name in sizes) - common
        assert float(row["chance"]) == pytest.approx(common / apart, rel=1e-12)


def test_one_seed_is_compared_within_itself(masks, save, rows):
    save(0, masks)
    assert [(row["arm_a"], row["seed_a"], row["arm_b"], row["seed_b"]) for row in rows(0)] == [
        ("plain", "0", "begun", "0")
    ]


def test_the_job_needs_the_masks_of_every_seed():
    assert job(0, 1).needs == ("seed-0/networks.safetensors", "seed-1/networks.safetensors")


@pytest.mark.parametrize("damage", ["no masks", "no file", "text", "another spec", "short", "no layers"])
def test_masks_that_cannot_be_compared_are_named(masks, save, tmp_path, damage):
    save(0, masks)
    path = save(1, masks, spec="y" if damage == "another spec" else "x")
    if damage == "no file":
        path.unlink()
    elif damage == "text":
        path.write_text("text")
    elif damage in ("no masks", "no layers", "short"):
        packed = {f"masks/{arm}": pack(masks[arm, 1])[0][: -1 if damage == "short" else None] for arm in ARMS}
        layers = [[name, mask.numel()] for name, mask in masks["plain", 1].items()]
        about = {"spec": "x"} | ({} if damage == "no layers" else {"layers": layers})
        save_tensors(path, {} if damage == "no masks" else packed, about)
    with pytest.raises(InputError, match=str(path)):
        compare(job(0, 1), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_masks_of_different_networks_are_not_compared(masks, save, tmp_path):
    save(0, masks)
    save(1, {key: {"first": each["first"], "third": each["second"]} for key, each in masks.items()})
    with pytest.raises(InputError, match="same names"):
        compare(job(0, 1), tmp_path, tmp_path / "out")


def test_combinations_of_arms_are_those_of_the_job(masks, save, rows):
    """Only arms of equal sparsity, of one seed or of one name."""
    for seed in (0, 1):
        save(seed, masks)
    every = itertools.combinations([(arm, seed) for seed in (0, 1) for arm in ARMS], 2)
    wanted = [(a, b) for a, b in every if ARMS[a[0]] == ARMS[b[0]] and (a[0] == b[0] or a[1] == b[1])]
    found = [((row["arm_a"], int(row["seed_a"])), (row["arm_b"], int(row["seed_b"]))) for row in rows(0, 1)]
    assert found == wanted
