"""The oracle: candidates that do not know of each other, a choice by validation accuracy alone."""

import csv
import dataclasses
import json
import math
import signal

import pytest
import torch
from safetensors import safe_open
from training_jobs import VOLATILE, Killed, KilledAt, same

from prunebench.config import OracleSpec
from prunebench.errors import InputError
from prunebench.files import write_bytes, write_csv
from prunebench.training import job, oracle, updates
from prunebench.training.checkpoint import ResumeFile
from prunebench.training.job import Job, resume_path
from prunebench.training.oracle import search
from prunebench.training.selection import CANDIDATE_COLUMNS, select

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = [0.01, 0.05, 0.2, 1e30]
STEPS, EPOCHS = 3, 2


def make_spec(cycle, max_lr, *, batch=0, pruning=(), criterion="global_magnitude", training=()):
    return OracleSpec.model_validate(
        {
            "study": "s_cyc",
            "task": "digits-tiny",
            "dataset": "digits",
            "network": {"kind": "mlp", "depth": 1, "width": 0.05},
            "training": {"epochs": EPOCHS, "batch_size": 64, "precision": "fp32"} | dict(training),
            "augmentation": {"pad": 1},
            "pruning": {"rate": 0.5, "cycles": 2, "score_images": 100} | dict(pruning),
            "criterion": criterion,
            "seed": 0,
            "profile": {"kind": "cyclical"},
            "cycle": cycle,
            "batch": batch,
            "max_lr": max_lr,
        }
    )


def run_search(spec, data, start, out, resume=None):
    resume = resume or ResumeFile(resume_path(out), spec.digest(), 1e9)
    search(Job(spec, data, torch.device("cpu"), resume, lambda line: None), start, out)
    return out


def run_oracle(data, root, batches, cycles=2, **more):
    """One folder per cycle, as the workflow lays them out; gives the cycles' folders."""
    start, folders = None, []
    for cycle in range(cycles):
        folder = root / f"cycle-{cycle}"
        portions = [
            run_search(make_spec(cycle, max_lr, batch=i, **more), data, start, folder / f"batch-{i}")
            for i, max_lr in enumerate(batches)
        ]
        select(portions, folder)
        start = folder / "winner.safetensors"
        folders.append(folder)
    return folders


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in VOLATILE} for row in csv.DictReader(file)]


def tensors(path):
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


CASES = {
    "magnitude": {},
    "previous weights": {"criterion": "layer_weight_times_change"},
    "gradient, rewound weights": {
        "criterion": "global_gradient",
        "pruning": {"after": "rewind_weights", "rewind_epoch": 1},
    },
    "keep": {"pruning": {"after": "keep"}},
}


@pytest.mark.parametrize("case", CASES)
def test_how_candidates_are_batched_changes_nothing(digits, tmp_path, case):
    more = CASES[case]
    whole = run_oracle(digits, tmp_path / "whole", [GRID], **more)
    for name, batches in {"single": [[lr] for lr in GRID], "pairs": [GRID[:2], GRID[2:]]}.items():
        folders = run_oracle(digits, tmp_path / name, batches, **more)
        for one, other in zip(whole, folders, strict=True):
            assert read(one / "selection.csv") == read(other / "selection.csv")
            assert same(tensors(one / "winner.safetensors"), tensors(other / "winner.safetensors"))
    statuses = [[row["status"] for row in read(folder / "selection.csv")] for folder in whole]
    assert statuses == [["trained"] * 3 + ["diverged"]] * 2
    assert all(row["selected"] == "0" for folder in whole for row in read(folder / "selection.csv")[3:])


def test_the_order_of_candidates_changes_nothing(digits, tmp_path):
    forth = run_search(make_spec(0, GRID), digits, None, tmp_path / "forth")
    back = run_search(make_spec(0, GRID[::-1]), digits, None, tmp_path / "back")
    assert read(forth / "candidates.csv") == read(back / "candidates.csv")[::-1]
    assert same(tensors(forth / "best.safetensors"), tensors(back / "best.safetensors"))


def test_each_candidate_is_trained_at_its_own_max_lr(digits, tmp_path, monkeypatch):
    used = []

    def step(*arguments, lr, **more):
        used.append(lr)
        sgd_step_(*arguments, lr=lr, **more)

    sgd_step_ = updates.sgd_step_
    monkeypatch.setattr(updates, "sgd_step_", step)
    spec = make_spec(0, [0.02, 0.3])
    out = run_search(spec, digits, None, tmp_path)
    total = EPOCHS * STEPS
    assert used == [spec.profile_of().lr(s, total, max_lr) for max_lr in (0.02, 0.3) for s in range(total)]
    assert [float(row["max_lr"]) for row in read(out / "candidates.csv")] == [0.02, 0.3]
    assert [int(row["steps"]) for row in read(out / "candidates.csv")] == [total] * 2


@pytest.mark.parametrize("after", ["rewind_lr", "keep"])
def test_candidates_start_from_the_previous_winner(digits, tmp_path, monkeypatch, after):
    [first] = run_oracle(digits, tmp_path / "first", [GRID], cycles=1)
    winner = tensors(first / "winner.safetensors")
    starts = []

    def train_(of, state, *arguments):
        starts.append({name: tensor.clone() for name, tensor in state.tensors().items()})
        return job.train_(of, state, *arguments)

    monkeypatch.setattr(oracle, "train_", train_)
    spec = make_spec(1, GRID[:3], pruning={"after": after})
    out = run_search(spec, digits, first / "winner.safetensors", tmp_path / "second")
    assert len(starts) == 3
    for start in starts:
        masks = {name: tensor for name, tensor in start.items() if name.startswith("mask/")}
        assert sum(int(mask.sum()) for mask in masks.values()) == (64 * 13 + 13 * 10) // 2
        for name, mask in masks.items():
            assert bool((mask <= winner[name]).all())
            model = name.replace("mask/", "model/")
            assert torch.equal(start[model], winner[model] * mask)
        assert not any(tensor.any() for name, tensor in start.items() if name.startswith("buffer/"))
    best = tensors(out / "best.safetensors")
    assert all(torch.equal(best[name], mask) for name, mask in masks.items())
    assert all(row["density"] == "0.5" for row in read(out / "candidates.csv"))


def test_the_winner_is_the_best_candidates_own_network(digits, tmp_path):
    """Its validation accuracy, computed again from the file, is the one in the table."""
    for cycle, folder in enumerate(run_oracle(digits, tmp_path, [GRID[:2], GRID[2:]])):
        rows = read(folder / "selection.csv")
        chosen = [row for row in rows if row["selected"] == "1"]
        assert len(chosen) == 1
        assert float(chosen[0]["validation_accuracy"]) == max(float(row["validation_accuracy"]) for row in rows)
        state = job.new_state(Job(make_spec(cycle, GRID), digits, torch.device("cpu"), None, print))
        state.load_(tensors(folder / "winner.safetensors"), state.values())
        loss, accuracy = job.evaluate(
            Job(make_spec(cycle, GRID), digits, torch.device("cpu"), None, print), state.model, digits.validation
        )
        assert (accuracy, loss) == tuple(float(chosen[0][f"validation_{name}"]) for name in ("accuracy", "loss"))


def test_the_test_split_selects_nothing(digits, tmp_path):
    labels = digits.test.labels[torch.arange(len(digits.test)).roll(5)]
    permuted = dataclasses.replace(digits, test=dataclasses.replace(digits.test, labels=labels))
    mine = run_oracle(digits, tmp_path / "mine", [GRID])
    its = run_oracle(permuted, tmp_path / "its", [GRID])
    for a, b in zip(mine, its, strict=True):
        assert same(tensors(a / "winner.safetensors"), tensors(b / "winner.safetensors"))
        for row, other in zip(read(a / "selection.csv"), read(b / "selection.csv"), strict=True):
            assert {k for k in row if row[k] != other[k]} <= {"test_loss", "test_accuracy"}
            assert row["status"] == "diverged" or row["test_loss"] != other["test_loss"]


# --------------------------------------------------------------------------------------------------------- selection


def candidate(max_lr, validation, *, test=0.5, status="trained"):
    return {"cycle": 0, "max_lr": max_lr, "status": status, "validation_accuracy": validation, "test_accuracy": test}


@pytest.mark.parametrize(
    ("rows", "winner"),
    [
        ([candidate(0.1, 0.5, test=0.9), candidate(0.2, 0.6, test=0.1), candidate(0.4, 0.4)], 0.2),
        ([candidate(0.4, 0.6, test=0.9), candidate(0.1, 0.6, test=0.1), candidate(0.2, 0.6)], 0.1),
        ([candidate(0.1, 0.09), candidate(0.2, 0.1, status="diverged")], 0.1),
        ([candidate(0.2, 0.1, status="diverged"), candidate(0.1, 0.1, status="diverged")], 0.1),
        ([candidate(0.05, 0.7), candidate(1.0, 0.7000001)], 1.0),
        ([candidate(9.0, 0.6), candidate(10.0, 0.6)], 9.0),
    ],
    ids=["not by test", "ties to the smaller", "trained before chance", "all diverged", "by a hair", "as numbers"],
)
@pytest.mark.parametrize("together", [True, False])
def test_selection_by_validation_accuracy_with_ties_to_the_smaller_max_lr(tmp_path, rows, winner, together):
    portions = [rows] if together else [[row] for row in rows]
    folders = [tmp_path / f"batch-{i}" for i in range(len(portions))]
    for folder, portion in zip(folders, portions, strict=True):
        write_csv(folder / "candidates.csv", portion, CANDIDATE_COLUMNS)
        write_bytes(folder / "best.safetensors", folder.name.encode())
    select(folders, tmp_path)
    got = read(tmp_path / "selection.csv")
    assert [float(row["max_lr"]) for row in got] == [row["max_lr"] for row in rows]
    assert [float(row["max_lr"]) for row in got if row["selected"] == "1"] == [winner]
    number = 0 if together else [row["max_lr"] for row in rows].index(winner)
    assert (tmp_path / "winner.safetensors").read_text() == f"batch-{number}"


def test_selection_without_candidates_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"candidates\.csv"):
        select([tmp_path / "nothing"], tmp_path)
    write_csv(tmp_path / "candidates.csv", [], CANDIDATE_COLUMNS)
    with pytest.raises(InputError, match="no candidates"):
        select([tmp_path], tmp_path)


# -------------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("after", ["reinitialise", "keep", "rewind_lr", "rewind_weights"])
def test_a_cycle_in_which_all_diverge_does_not_stop_the_next(digits, tmp_path, after):
    pruning = {"after": after, "rewind_epoch": 1}
    first, second, third = run_oracle(digits, tmp_path, [[1e28, 1e29], [1e30]], cycles=3, pruning=pruning)
    for cycle, folder in enumerate((first, second, third)):
        rows = read(folder / "selection.csv")
        assert [(row["cycle"], row["status"]) for row in rows] == [(str(cycle), "diverged")] * 3
        assert [row["validation_accuracy"] for row in rows] == ["0.1"] * 3
        assert [row["test_accuracy"] for row in rows] == ["0.1"] * 3
        assert [float(row["max_lr"]) for row in rows if row["selected"] == "1"] == [1e28]


@pytest.mark.parametrize("after", ["rewind_lr", "rewind_weights"])
def test_candidates_that_never_train_cost_nothing(digits, tmp_path, after):
    pruning = {"after": after, "rewind_epoch": 1}
    _, second = run_oracle(digits, tmp_path, [[1e30]], pruning=pruning)
    [row] = read(second / "selection.csv")
    assert [float(row[name]) for name in ("steps", "images", "flops", "flops_sparse")] == [0, 0, 0, 0]


def test_candidates_that_never_train_stand_at_their_cycles_sparsity(digits, tmp_path):
    for cycle, folder in enumerate(run_oracle(digits, tmp_path, [[1e30]], cycles=3)):
        [row] = read(folder / "selection.csv")
        assert float(row["sparsity"]) == pytest.approx(1 - 0.5**cycle, abs=1e-3)
        assert float(row["density"]) == 1 - float(row["sparsity"])


# ------------------------------------------------------------------------------------------------------------ resume


@pytest.fixture(scope="module")
def undisturbed(digits, tmp_path_factory):
    """Two cycles' folders of a case, searched once."""
    found = {}

    def go(case):
        if case not in found:
            found[case] = run_oracle(digits, tmp_path_factory.mktemp("undisturbed"), [GRID], **CASES[case])
        return found[case]

    return go


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at", [0, 1, 3, 6, 8, 11])
def test_killed_and_resumed_finds_the_same(digits, tmp_path, undisturbed, case, at):
    """Six updates per candidate, three where it is rewound: 3 and 6 are the first ones of a candidate."""
    first, second = undisturbed(case)
    start, spec = first / "winner.safetensors", make_spec(1, GRID, **CASES[case])
    straight = second / "batch-0"
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        run_search(spec, digits, start, out, KilledAt(resume_path(out), spec.digest(), at))
    assert not (out / "candidates.csv").exists()
    run_search(spec, digits, start, out)
    assert read(out / "candidates.csv") == read(straight / "candidates.csv")
    assert same(tensors(out / "best.safetensors"), tensors(straight / "best.safetensors"))
    assert not resume_path(out).exists()


@pytest.fixture
def command_line(monkeypatch):
    """Runs a verb in this process; with `killed_after`, up to that many saves. Puts back what it changes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def go(verb, *arguments, killed_after=math.inf, **more):
        saves = 0
        save = ResumeFile.save

        def counted(self, tensors, values):
            nonlocal saves
            save(self, tensors, values)
            saves += 1
            if saves > killed_after:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(ResumeFile, "save", counted)
            verb(*arguments, threads=1, save_every=0, **more)

    yield go
    torch.set_flush_denormal(False)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_resume_file_of_another_start_is_ignored(command_line, digits, digits_file, tmp_path):
    """An earlier cycle was searched again (its grid is another cycle's spec) while a killed job waited."""
    from prunebench.cli import search_max_lr

    a, b = (run_oracle(digits, tmp_path / f"{lr}", [[lr]], cycles=1)[0] / "winner.safetensors" for lr in (0.05, 0.2))
    spec, out = make_spec(1, [0.1], pruning={"after": "rewind_lr"}).to_json(), tmp_path / "run"
    command_line(search_max_lr, spec, digits_file, tmp_path / "straight", start=b)
    with pytest.raises(Killed):
        command_line(search_max_lr, spec, digits_file, out, start=a, killed_after=4)
    command_line(search_max_lr, spec, digits_file, out, start=b)
    assert read(out / "candidates.csv") == read(tmp_path / "straight" / "candidates.csv")


@pytest.mark.parametrize("damage", ["text", "no metadata", "missing"])
def test_a_start_that_is_no_winner_is_refused_by_name(digits, tmp_path, damage):
    from safetensors.torch import save

    start = tmp_path / "winner.safetensors"
    if damage != "missing":
        start.write_bytes(b"text" if damage == "text" else save({"loss_sum": torch.zeros(())}))
    with pytest.raises(InputError, match=r"winner\.safetensors"):
        run_search(make_spec(1, [0.1]), digits, start, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_a_portion(digits, tmp_path):
    spec = make_spec(0, GRID)
    out = run_search(spec, digits, None, tmp_path)
    assert OracleSpec.model_validate(json.loads((out / "spec.json").read_text())).digest() == spec.digest()
    record = json.loads((out / "provenance.json").read_text())
    assert (record["precision"], record["threads"], record["data_sha256"]) == ("fp32", 1, digits.checksum)
    assert sorted(path.name for path in out.iterdir()) == [
        "best.safetensors",
        "candidates.csv",
        "provenance.json",
        "spec.json",
    ]
