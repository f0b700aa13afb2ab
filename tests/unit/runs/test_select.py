"""The oracle's search and every other choice: by validation accuracy alone, whatever the order and the batches."""

import dataclasses

import pytest
import safetensors.torch
import torch

from prunebench.errors import InputError
from prunebench.files import write_bytes, write_csv, write_json
from prunebench.runs.select import select
from prunebench.runs.spec import Choice

GRID = [0.01, 0.05, 0.2, 1e30]
VOLATILE = {"seconds", "peak_memory_mb"}


def candidates(workshop, cycle, grid, start=None, batch=0, **keys):
    """The spec of a cycle's job with one arm per max_lr."""
    cut = [workshop.prune(1 - 0.5**cycle, keys.pop("criterion", "global_magnitude"))] if cycle else []
    phase = workshop.phase(prune=cut, keep=[] if cycle else [1], keep_previous=True, **keys)
    start = {"start": start} if start else {}
    arms = [{"name": f"lr{lr:g}", "axes": {"max_lr": lr}, "phases": [phase | {"max_lr": lr}]} | start for lr in grid]
    spec = workshop.spec(*arms, hands_on="best")
    return spec.model_copy(update={"folder": f"{workshop.place}/cycle-{cycle}/batch-{batch}"})


def choose(workshop, specs, cycle=0):
    """The choice among jobs; gives its folder and the start that it is."""
    folder = f"{workshop.place}/choice-{cycle}"
    digests = [spec.digest() for spec in specs]
    choice = Choice(folder=folder, among=[spec.folder for spec in specs], specs=digests, seed=0, task="digits")
    select(choice, workshop.runs, workshop.runs / folder)
    return workshop.runs / folder, {"kind": "best", "run": folder, "specs": digests}


def oracle(workshop, place, batches, data=None, cycles=2, first=(), **keys):
    """Searches cycle by cycle, each from the winner of the one before; gives the folders of the choices."""
    workshop.place = place
    start, folders = None, []
    for cycle in range(cycles):
        more = keys if cycle else dict(first)
        specs = [candidates(workshop, cycle, grid, start, batch, **more) for batch, grid in enumerate(batches)]
        for spec in specs:
            workshop.run(spec, data=data)
        folder, start = choose(workshop, specs, cycle)
        folders.append(folder)
    return folders


def rows_of(workshop, folder):
    return [{k: v for k, v in row.items() if k not in VOLATILE} for row in workshop.rows(folder, "selection")]


def winner(folder):
    return safetensors.torch.load_file(folder / "networks.safetensors")


CASES = {
    "kept weights": {},
    "weights of an epoch before": {"criterion": "layer_weight_times_change"},
    "gradients, rewound weights": {"criterion": "global_gradient", "rewind": 1},
}


@pytest.mark.parametrize("case", CASES)
def test_how_candidates_are_batched_changes_nothing(workshop, case):
    whole = oracle(workshop, "whole", [GRID], **CASES[case])
    for place, batches in {"single": [[lr] for lr in GRID], "pairs": [GRID[:2], GRID[2:]]}.items():
        for one, other in zip(whole, oracle(workshop, place, batches, **CASES[case]), strict=True):
            assert rows_of(workshop, one) == rows_of(workshop, other)
            assert workshop.same(winner(one), winner(other))
    for folder in whole:
        rows = rows_of(workshop, folder)
        assert [row["status"] for row in rows] == ["trained"] * 3 + ["diverged"]
        assert [float(row["max_lr"]) for row in rows] == GRID
        assert [row["selected"] for row in rows].count("1") == 1
        assert rows[3]["selected"] == "0"


def test_the_order_of_candidates_changes_nothing(workshop):
    forth, back = (oracle(workshop, name, [grid], cycles=1) for name, grid in (("forth", GRID), ("back", GRID[::-1])))
    assert rows_of(workshop, forth[0]) == rows_of(workshop, back[0])[::-1]
    assert workshop.same(winner(forth[0]), winner(back[0]))


def test_each_candidate_is_trained_at_its_own_max_lr_from_the_winner(workshop):
    [folder] = oracle(workshop, "first", [GRID], cycles=1)
    best = winner(folder)
    start = {"kind": "best", "run": "first/choice-0", "specs": [candidates(workshop, 0, GRID).digest()]}
    workshop.place = "second"
    spec = candidates(workshop, 1, GRID[:3], start)
    seen = workshop.watch(spec)
    for arm in spec.arms:
        phase, begun = arm.phases[0], seen.at(arm.name)
        assert seen.lr(arm.name) == [phase.profile.lr(step, 6, phase.max_lr) for step in range(6)]
        assert begun.alive == begun.size // 2
        for name, weight in begun.weights.items():
            mask = begun.masks.get(name)
            assert torch.equal(weight, best[f"best/model/{name}"] * (1 if mask is None else mask))
        assert not any(tensor.any() for tensor in begun.state["momentum"])
    assert {row["density"] for row in seen.rows("phases")} == {"0.5"}


def test_the_winner_is_the_best_candidate_s_own_network(workshop, digits):
    """Its validation accuracy, computed again from the file, is the one in the table, and none is higher."""
    for folder in oracle(workshop, "own", [GRID[:2], GRID[2:]]):
        rows = rows_of(workshop, folder)
        [chosen] = [row for row in rows if row["selected"] == "1"]
        assert float(chosen["validation_accuracy"]) == max(float(row["validation_accuracy"]) for row in rows)
        job = workshop.job(candidates(workshop, 0, GRID))
        model = job.network()
        prefix = "best/model/"
        model.load_state_dict({k.removeprefix(prefix): v for k, v in winner(folder).items() if k.startswith(prefix)})
        measured = job.evaluate(model, digits.validation)
        assert measured == tuple(float(chosen[f"validation_{name}"]) for name in ("loss", "accuracy"))


def test_the_test_split_selects_nothing(workshop, digits):
    test = dataclasses.replace(digits.test, labels=digits.test.labels.roll(5))
    mine = oracle(workshop, "mine", [GRID])
    its = oracle(workshop, "its", [GRID], data=dataclasses.replace(digits, test=test))
    for a, b in zip(mine, its, strict=True):
        assert workshop.same(winner(a), winner(b))
        for row, other in zip(rows_of(workshop, a), rows_of(workshop, b), strict=True):
            assert {k for k in row if row[k] != other[k]} <= {"test_loss", "test_accuracy"}
            assert row["status"] == "diverged" or row["test_loss"] != other["test_loss"]


@pytest.mark.parametrize("keys", [{}, {"rewind": 1}, {"reinitialise": 1}], ids=["kept", "rewound", "drawn anew"])
def test_a_cycle_in_which_all_diverge_does_not_stop_the_next(workshop, keys):
    folders = oracle(workshop, "lost", [[1e28, 1e29], [1e30]], cycles=3, **keys)
    for cycle, folder in enumerate(folders):
        rows = workshop.rows(folder, "selection")
        assert [row["status"] for row in rows] == ["diverged"] * 3
        assert {row[name] for row in rows for name in ("validation_accuracy", "test_accuracy")} == {"0.1"}
        assert [float(row["max_lr"]) for row in rows if row["selected"] == "1"] == [1e28]
        for row in rows:
            assert float(row["sparsity"]) == pytest.approx(1 - 0.5**cycle, abs=1e-3)
            assert float(row["density"]) == 1 - float(row["sparsity"])
            assert (float(row["steps"]) == float(row["flops"]) == 0) is (cycle > 0)  # they never train


# --- The choice alone


def end(validation, *, test=0.5, status="trained"):
    return {"phase": 0, "status": status, "validation_accuracy": validation, "test_accuracy": test}


@pytest.mark.parametrize(
    ("ends", "best"),
    [
        ([end(0.5, test=0.9), end(0.6, test=0.1), end(0.4)], 1),
        ([end(0.6, test=0.1), end(0.6, test=0.9), end(0.6)], 0),
        ([end(0.09), end(0.1, status="diverged")], 0),
        ([end(0.1, status="diverged"), end(0.1, status="diverged")], 0),
        ([end(0.7), end(0.7000001)], 1),
        ([end(9e-1), end(1e-1)], 0),
    ],
    ids=["not by test", "ties to the first", "trained before chance", "all diverged", "by a hair", "as numbers"],
)
@pytest.mark.parametrize("together", [True, False])
def test_the_best_on_validation_is_chosen_and_of_equals_the_first(tmp_path, ends, best, together):
    rows = [{"arm": f"arm{n}"} | row for n, row in enumerate(ends)]
    portions = [rows] if together else [[row] for row in rows]
    for n, portion in enumerate(portions):
        folder = tmp_path / f"batch-{n}"
        write_csv(folder / "phases.csv", [portion[0] | {"validation_accuracy": 1.0}, *portion], list(rows[0]))
        arms = [{"name": row["arm"], "axes": {"max_lr": int(row["arm"][3:])}} for row in portion]
        write_json(folder / "spec.json", {"arms": arms})
        for name in ("networks.safetensors", "provenance.json"):
            write_bytes(folder / name, folder.name.encode())
    among = [f"batch-{n}" for n in range(len(portions))]
    choice = Choice(folder="choice", among=among, specs=[], seed=0, task="digits")
    select(choice, tmp_path, tmp_path / "choice")
    text = (tmp_path / "choice/selection.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in text[1:]] == [str(n) for n in range(len(ends))]
    assert [line.endswith(",1") for line in text[1:]] == [n == best for n in range(len(ends))]
    number = 0 if together else best
    assert (tmp_path / "choice/networks.safetensors").read_text() == f"batch-{number}"


@pytest.mark.parametrize("damage", ["no folder", "no arm column", "no spec", "a word for a number", "another arm"])
def test_jobs_that_cannot_be_chosen_among_are_named(tmp_path, damage):
    choice = Choice(folder="choice", among=["batch"], specs=[], seed=0, task="digits")
    if damage == "no arm column":
        write_json(tmp_path / "batch/spec.json", {"arms": []})
        (tmp_path / "batch/phases.csv").write_text("phase\n0\n")
    elif damage in ("a word for a number", "another arm"):
        arm, validation = ("a", "good") if damage == "a word for a number" else ("b", 0.5)
        write_json(tmp_path / "batch/spec.json", {"arms": [{"name": "a"}]})
        write_csv(tmp_path / "batch/phases.csv", [{"arm": arm} | end(validation)], ["arm", *end(0.5)])
    elif damage == "no spec":
        write_csv(tmp_path / "batch/phases.csv", [{"arm": "a"} | end(0.5)], ["arm", *end(0.5)])
    with pytest.raises(InputError, match="batch"):
        select(choice, tmp_path, tmp_path / "choice")
    assert not (tmp_path / "choice").exists()
