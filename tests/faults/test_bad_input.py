"""Training jobs with bad files, bad places and bad numbers: one line, exit code 2, nothing half-written."""

import csv
import errno
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from prunebench import files

CHAIN = {
    "study": "s_cyc",
    "task": "digits",
    "dataset": "digits",
    "network": {"kind": "mlp", "width": 0.25},
    "training": {"epochs": 1, "batch_size": 32, "precision": "fp32"},
    "augmentation": {},
    "pruning": {"rate": 0.5, "cycles": 2},
    "criterion": "global_magnitude",
    "seed": 0,
    "schedule_name": "cyclical",
    "schedule": {"profile": {"kind": "cyclical"}, "policy": {"kind": "fixed", "max_lr": 0.1}},
    "gradients": None,
}
SEARCH = {key: value for key, value in CHAIN.items() if key not in ("schedule_name", "schedule", "gradients")} | {
    "profile": {"kind": "cyclical"},
    "cycle": 0,
    "batch": 0,
    "max_lr": [0.05, 1e30],
}
DENSE = {key: CHAIN[key] for key in ("task", "dataset", "network", "training", "augmentation", "seed")} | {
    "study": "dense",
    "recipe": "cyclical",
    "profile": {"kind": "cyclical"},
    "max_lr": 0.1,
    "keep": [],
}
PHASE = {"epochs": 1, "profile": {"kind": "constant"}, "max_lr": 0.1, "weight_decay": 0.1, "profile_epochs": 1}
PRUNE = {"kind": "sparsity", "criterion": "global_magnitude", "sparsity": 0.5}
ARMS = {key: value for key, value in DENSE.items() if key not in ("recipe", "profile", "max_lr", "keep")} | {
    "study": "cascade",
    "part": "criteria",
    "batch": 0,
    "dense": DENSE,
    "arms": [{"name": "a", "axes": {"sparsity": 0.5}, "phases": [PHASE | {"prune": [PRUNE]}]}],
    "measure": {"masks": True, "shedding": True, "below": 0.05},
}


# A fork server that has imported torch once: each command is a process of its own, started in milliseconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["prunebench.cli", *(f"prunebench.training.{name}" for name in ("chain", "oracle", "dense", "retrain"))]
)


def child(words, output, sabotage):
    """The console command in a fresh process, its output in files."""
    for number, name in enumerate(("stdout", "stderr"), start=1):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT), number)
    if sabotage:
        sabotage()
    from prunebench.cli import main

    sys.argv = ["prunebench", *words]
    main()


def prunebench(*words, sabotage=None):
    """The command with these words: its exit code and output. `sabotage` is called in its process first."""
    with tempfile.TemporaryDirectory() as folder:
        process = SERVER.Process(target=child, args=([str(word) for word in words], Path(folder), sabotage))
        process.start()
        process.join(120)
        stdout, stderr = ((Path(folder) / name).read_text() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(words, process.exitcode, stdout, stderr)


def train(spec, data, out, **how):
    return prunebench("train-chain", "--spec", json.dumps(spec), "--data", data, "--out", out, **how)


def search(spec, data, out, start=None, **how):
    words = ["--start", start] if start else []
    return prunebench("search-max-lr", "--spec", json.dumps(spec), "--data", data, "--out", out, *words, **how)


def retrain(spec, data, out, start, **how):
    words = ["retrain", "--spec", json.dumps(spec), "--data", data, "--out", out, "--start", start]
    return prunebench(*words, **how)


def assert_refused(done, *words, progress=False):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("prunebench: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert str(word) in done.stderr
    assert progress or done.stdout == ""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    spec = json.dumps({"source": "digits", "train": 128, "validation": 32, "test": 32})
    assert prunebench("prepare-data", "--spec", spec, "--out", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def cycle_0(data, tmp_path_factory):
    """The oracle's dense cycle: a search and its selection."""
    out = tmp_path_factory.mktemp("cycle") / "cycle-0"
    done = search(SEARCH, data, out / "batch-0")
    assert done.returncode == 0, done.stderr
    assert prunebench("select-max-lr", out / "batch-0", "--out", out).returncode == 0
    return out


@pytest.fixture(scope="module")
def network(data, tmp_path_factory):
    """A dense network."""
    out = tmp_path_factory.mktemp("dense")
    done = prunebench("train-dense", "--spec", json.dumps(DENSE), "--data", data, "--out", out)
    assert done.returncode == 0, done.stderr
    return out / "network.safetensors"


def test_a_corrupt_data_file_is_named_and_nothing_is_written(data, tmp_path):
    broken = tmp_path / data.name
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x10
    broken.write_bytes(content)
    broken.with_suffix(".json").write_bytes(data.with_suffix(".json").read_bytes())
    assert_refused(train(CHAIN, broken, tmp_path / "out"), broken, "corrupt")
    broken.write_bytes(content[:1000])
    assert_refused(train(CHAIN, broken, tmp_path / "out"), broken)
    assert not (tmp_path / "out").exists()


def test_a_max_lr_that_diverges_is_a_result(data, tmp_path):
    spec = json.loads(json.dumps(CHAIN))
    spec["schedule"]["policy"]["max_lr"] = 1e30
    done = train(spec, data, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with open(tmp_path / "cycles.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["cycle"], row["status"], row["test_accuracy"]) for row in rows] == [
        (str(cycle), "diverged", "0.1") for cycle in range(3)
    ]
    assert [float(row["density"]) for row in rows] == [1, 0.5, 0.25]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("epochs.csv", "cycles.csv", "gradients.csv", "gradient_histograms.csv", "cost.csv"),
        *("spec.json", "provenance.json"),
    }


def test_a_candidate_that_diverges_is_recorded_and_loses(cycle_0):
    with open(cycle_0 / "selection.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(float(row["max_lr"]), row["status"], row["selected"]) for row in rows] == [
        (0.05, "trained", "1"),
        (1e30, "diverged", "0"),
    ]


@pytest.mark.parametrize("keep", [0, 5, 1000, -10])
def test_a_truncated_winner_is_named(data, cycle_0, tmp_path, keep):
    winner = tmp_path / "winner.safetensors"
    winner.write_bytes((cycle_0 / "winner.safetensors").read_bytes()[:keep])
    assert_refused(search(SEARCH | {"cycle": 1}, data, tmp_path / "out", winner), winner)
    assert not (tmp_path / "out").exists()


def test_what_is_not_this_oracle_s_winner_is_named(data, cycle_0, tmp_path):
    wider = SEARCH | {"cycle": 1, "network": {"kind": "mlp", "width": 0.5}}
    winner = cycle_0 / "winner.safetensors"
    assert_refused(search(wider, data, tmp_path / "out", winner), winner)
    assert_refused(search(SEARCH | {"cycle": 1}, data, tmp_path / "out", data), data)
    missing = tmp_path / "none.safetensors"
    assert_refused(search(SEARCH | {"cycle": 1}, data, tmp_path / "out", missing), missing)
    assert_refused(search(SEARCH | {"cycle": 1}, data, tmp_path / "out"), "--start", "cycle 1")
    assert_refused(search(SEARCH, data, tmp_path / "out", winner), "--start", "cycle 0")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 5, 1000, -10])
def test_a_truncated_dense_network_is_named(data, network, tmp_path, keep):
    start = tmp_path / "network.safetensors"
    start.write_bytes(network.read_bytes()[:keep])
    assert_refused(retrain(ARMS, data, tmp_path / "out", start), start)
    words = ["train-chain", "--spec", json.dumps(CHAIN | {"dense": DENSE}), "--data", data, "--out", tmp_path / "out"]
    assert_refused(prunebench(*words, "--start", start), start)
    assert not (tmp_path / "out").exists()


def test_what_is_not_the_dense_network_of_the_spec_is_named(data, network, cycle_0, tmp_path):
    out = tmp_path / "out"
    other = ARMS | {"dense": DENSE | {"seed": 1}}
    assert_refused(retrain(other, data, out, network), network, "another network than dense/digits/cyclical/seed-1")
    wider = {"network": {"kind": "mlp", "width": 0.5}}
    assert_refused(retrain(ARMS | wider | {"dense": DENSE | wider}, data, out, network), network, "another network")
    # A spec by hand whose arms are not of its dense network's kind: torch's message has several lines.
    assert_refused(retrain(ARMS | wider, data, out, network), network)
    for start in (cycle_0 / "winner.safetensors", data, tmp_path / "none.safetensors", tmp_path):
        assert_refused(retrain(ARMS, data, out, start), start)
    assert_refused(train(CHAIN | {"dense": DENSE}, data, out), "--start")
    assert not out.exists()


def test_a_dense_network_that_diverges_is_a_result_for_all_that_start_from_it(data, tmp_path):
    lost = DENSE | {"max_lr": 1e30}
    out = tmp_path / "dense"
    words = ["--data", data, "--out"]
    done = prunebench("train-dense", "--spec", json.dumps(lost), *words, out)
    assert (done.returncode, done.stderr) == (0, "")
    done = retrain(ARMS | {"dense": lost}, data, tmp_path / "arms", out / "network.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    with open(tmp_path / "arms/phases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["status"], row["test_accuracy"]) for row in rows] == [("0", "diverged", "0.1")]
    chain = CHAIN | {"dense": lost, "gradients": None}
    words = ["train-chain", "--spec", json.dumps(chain), *words, tmp_path / "chain"]
    done = prunebench(*words, "--start", out / "network.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    with open(tmp_path / "chain/cycles.csv", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["diverged"] * 3


def test_masks_that_cannot_be_compared_are_named(data, network, tmp_path):
    assert retrain(ARMS, data, tmp_path / "arms", network).returncode == 0
    without = ARMS | {"measure": ARMS["measure"] | {"masks": False}}
    assert retrain(without, data, tmp_path / "without", network).returncode == 0
    masks = tmp_path / "arms/masks.safetensors"
    out = tmp_path / "overlap.csv"
    assert prunebench("compare-masks", tmp_path / "arms", "--out", out).returncode == 0
    out.unlink()
    assert_refused(prunebench("compare-masks", tmp_path / "arms", tmp_path / "without", "--out", out), "without/masks")
    masks.write_bytes(masks.read_bytes()[:-1])
    assert_refused(prunebench("compare-masks", tmp_path / "arms", "--out", out), masks)
    assert_refused(prunebench("compare-masks", tmp_path / "none", "--out", out), tmp_path / "none")
    assert not out.exists()


def test_an_out_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(train(CHAIN, data, tmp_path / "file/out"), f"cannot write {tmp_path}/file/out", progress=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the case above stands in for it")
def test_an_unwritable_out_folder_is_named(data, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    assert_refused(train(CHAIN, data, tmp_path / "out"), f"cannot write {tmp_path}/out/", progress=True)
    assert not list((tmp_path / "out").iterdir())


class DiskFullAt:
    """Called in the command's process: the disk is full for one file."""

    def __init__(self, name):
        self.name = name

    def __call__(self):
        real = os.fsync

        def fsync(descriptor):
            if self.name in os.readlink(f"/proc/self/fd/{descriptor}"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        files.os.fsync = fsync


@pytest.mark.parametrize(
    ("name", "there"),
    [("epochs.csv", []), ("gradients.csv", ["cost.csv", "cycles.csv", "epochs.csv"]), (".resume", [])],
)
def test_a_full_disk_is_one_line_and_leaves_whole_files_alone(data, tmp_path, name, there):
    """The write of one file is refused as a full disk would; the next try, with room, makes the job whole."""
    out = tmp_path / "out"
    words = ["train-chain", "--spec", json.dumps(CHAIN), "--data", data, "--out", out, "--save-every", "0"]
    done = prunebench(*words, sabotage=DiskFullAt(name))
    assert_refused(done, f"cannot write {out}/", "No space left on device", progress=True)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == there
    assert not list(out.glob(".*.tmp"))
    done = train(CHAIN, data, out)
    assert done.returncode == 0, done.stderr
    assert not list(out.glob(".*"))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 96 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system takes root and the right to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_really_full_disk_is_one_line_and_nothing_half_written(data, small_disk):
    out = small_disk / "out"
    words = ["train-chain", "--spec", json.dumps(CHAIN), "--data", data, "--out", out, "--save-every", "0"]
    assert_refused(prunebench(*words), f"cannot write {out}", "No space left on device", progress=True)
    assert not [path for path in small_disk.rglob("*") if path.is_file()]
    assert_refused(search(SEARCH, data, out), f"cannot write {out}", "No space left on device", progress=True)
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


def test_the_tables_of_a_study_name_the_run_that_is_missing(tmp_path):
    from prunebench.config import load_preset

    preset = load_preset(Path(__file__).parents[2] / "config/smoke.yaml")
    (tmp_path / "plan.json").write_text(preset.model_dump_json())
    first = {
        "tabulate-s-cyc": preset.s_cyc_chains()[0],
        "tabulate-runs": preset.dense_jobs()[0],
        "tabulate-cascade": preset.cascade_jobs()[0],
        "tabulate-directional": preset.directional_jobs()[0],
    }
    for verb, spec in first.items():
        done = prunebench(verb, "--plan", tmp_path / "plan.json", "--runs", tmp_path, "--out", tmp_path / "out")
        assert_refused(done, spec.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
