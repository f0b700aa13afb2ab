"""Jobs with bad files, bad places and bad numbers: one line, exit code 2, nothing half-written."""

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
from prunebench.runs.spec import RunSpec

SGD = {"kind": "sgd", "momentum": 0.9}
PHASE = {"epochs": 1, "profile": {"kind": "cyclical"}, "max_lr": 0.1, "update": SGD}
PRUNE = {"kind": "sparsity", "criterion": "global_magnitude", "sparsity": 0.5}


def spec_of(folder, *phases, start=None, hands_on="nothing", **keys):
    arm = {"name": "arm", "phases": list(phases)} | ({"start": start} if start else {})
    common = {"task": "digits", "dataset": "digits", "network": {"kind": "mlp", "width": 0.25}, "batch_size": 32}
    content = common | {"folder": folder, "precision": "fp32", "seed": 0, "arms": [arm], "hands_on": hands_on} | keys
    return RunSpec.model_validate(content)


DENSE = spec_of("dense", PHASE | {"keep": [1]}, hands_on="kept")
CHAIN = spec_of("chain", PHASE, PHASE | {"prune": [PRUNE]}, PHASE | {"prune": [PRUNE | {"sparsity": 0.75}]})
FROM = {"kind": "trained", "run": "dense", "spec": DENSE.digest(), "arm": "arm", "epoch": 1}
STARTED = spec_of("started", PHASE | {"prune": [PRUNE]}, start=FROM)

SERVER = multiprocessing.get_context("forkserver")


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


def run(spec, data, out, *words, runs=None, **how):
    """`prunebench do` by a spec in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec if isinstance(spec, dict) else spec.content()))
        line = ["do", out, "--spec", path, "--data", data, "--runs", runs or out.parent]
        return prunebench(*line, *words, **how)


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


@pytest.fixture
def dense(data, tmp_path):
    """The folder of all runs, in which the dense network has been trained."""
    done = run(DENSE, data, tmp_path / "runs/dense")
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs"


def test_a_corrupt_data_file_is_named_and_nothing_is_written(data, tmp_path):
    broken = tmp_path / data.name
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x10
    broken.write_bytes(content)
    broken.with_suffix(".json").write_bytes(data.with_suffix(".json").read_bytes())
    assert_refused(run(CHAIN, broken, tmp_path / "out"), broken, "corrupt")
    broken.write_bytes(content[:1000])
    assert_refused(run(CHAIN, broken, tmp_path / "out"), broken)
    assert not (tmp_path / "out").exists()


def test_a_max_lr_that_diverges_is_a_result(data, tmp_path):
    lost = spec_of("lost", *[PHASE | {"max_lr": 1e30}] * 3)
    done = run(lost, data, tmp_path / "lost")
    assert (done.returncode, done.stderr) == (0, "")
    with open(tmp_path / "lost/phases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["status"], row["test_accuracy"]) for row in rows] == [
        (str(number), "diverged", "0.1") for number in range(3)
    ]
    assert {path.name for path in (tmp_path / "lost").iterdir()} == {*lost.files, "run.sha256"}


@pytest.mark.parametrize(
    "change", [{"arms": []}, {"seed": "x"}, {"batch_size": 1}, {"colour": 1}, {"network": {"kind": "mpl"}}]
)
def test_a_spec_that_is_none_is_one_line(data, tmp_path, change):
    assert_refused(run(CHAIN.content() | change, data, tmp_path / "out"), next(iter(change)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", [0, 5, 1000, -10])
def test_a_truncated_network_is_named(data, dense, keep):
    start = dense / "dense/networks.safetensors"
    start.write_bytes(start.read_bytes()[:keep])
    assert_refused(run(STARTED, data, dense / "started"), start)
    assert not (dense / "started").exists()


def test_what_is_not_the_network_of_the_spec_is_named(data, dense):
    start = dense / "dense/networks.safetensors"
    other = spec_of("started", PHASE, start=FROM | {"spec": "0" * 64})
    assert_refused(run(other, data, dense / "started"), start, "another spec", progress=True)
    wider = spec_of("started", PHASE, start=FROM, network={"kind": "mlp", "width": 0.5})
    assert_refused(run(wider, data, dense / "started"), start.parent, "another network", progress=True)
    absent = spec_of("started", PHASE, start=FROM | {"epoch": 7})
    assert_refused(run(absent, data, dense / "started"), start, progress=True)
    start.unlink()
    assert_refused(run(STARTED, data, dense / "started"), start)


def test_a_network_that_diverges_is_a_result_for_what_starts_from_it(data, tmp_path):
    lost = spec_of("dense", PHASE | {"max_lr": 1e30, "keep": [1]}, hands_on="kept")
    assert run(lost, data, tmp_path / "dense").returncode == 0
    started = spec_of("started", PHASE, start=FROM | {"spec": lost.digest()})
    done = run(started, data, tmp_path / "started")
    assert (done.returncode, done.stderr) == (0, "")
    with open(tmp_path / "started/phases.csv", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["diverged"]


def test_an_out_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(run(CHAIN, data, tmp_path / "file/out"), f"cannot write {tmp_path}/file/out", progress=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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


@pytest.mark.parametrize(("name", "there"), [("epochs.csv", []), ("phases.csv", ["epochs.csv"]), (".resume", [])])
def test_a_full_disk_is_one_line_and_leaves_whole_files_alone(data, tmp_path, name, there):
    """The write of one file is refused as a full disk would; the next try, with room, makes the job whole."""
    out = tmp_path / "out"
    done = run(CHAIN, data, out, "--save-every", "0", sabotage=DiskFullAt(name))
    assert_refused(done, f"cannot write {out}/", "No space left on device", progress=True)
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == there
    assert not list(out.glob(".*.tmp"))
    done = run(CHAIN, data, out)
    assert done.returncode == 0, done.stderr
    assert not list(out.glob(".*"))


def test_tables_name_the_run_that_is_missing(tmp_path):
    from prunebench.suite.plan import make_plan
    from prunebench.suite.preset import load_preset

    preset = load_preset(Path(__file__).parents[2] / "config/smoke.yaml")
    (tmp_path / "plan.json").write_text(preset.model_dump_json())
    for key in preset.studies():
        done = prunebench("tabulate", key, "--plan", tmp_path / "plan.json", "--out", tmp_path / "out")
        assert_refused(done, "cannot read", "/runs/")
    done = prunebench("tabulate-runs", "--plan", tmp_path / "plan.json", "--out", tmp_path / "out.csv")
    assert_refused(done, make_plan(preset).trained()[0].folder)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_plan_or_folder_that_does_not_fit_is_one_line(tmp_path):
    from prunebench.suite.preset import load_preset

    preset = load_preset(Path(__file__).parents[2] / "config/smoke.yaml")
    plan = tmp_path / "plan.json"
    plan.write_text(preset.model_dump_json())
    job = tmp_path / "runs/dense/digits-resnet8/cyclical/seed-0"
    assert_refused(prunebench("do", tmp_path / "elsewhere", "--plan", plan), "is not below")
    assert_refused(
        prunebench("do", tmp_path / "runs/dense/digits-resnet8/cyclical/seed-9", "--plan", plan), "no job", job.name
    )
    assert_refused(prunebench("do", job, "--plan", plan, "--digest", "abc"), "another spec")
    assert_refused(prunebench("do", job), "--plan", "--spec")
