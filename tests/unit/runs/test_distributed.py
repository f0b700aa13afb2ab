"""One job on several processes: as one process does it, alike in all of them, and killed without harm.

torchrun starts processes of one thread on the CPU, which talk by gloo. A start takes seconds, so tests share one.
"""

import contextlib
import csv
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from prunebench.runs.checkpoint import load_tensors
from prunebench.runs.distributed import ALONE, joined
from prunebench.runs.engine import train
from prunebench.runs.run import resume_path, run_job

SCRIPT = Path(__file__).with_name("together.py")
TIMINGS = {"seconds", "peak_memory_mb"}
MARK = "PRUNEBENCH_TEST_PROCESSES"


def torchrun(processes, *words):
    """Starts the processes, which `started` finds by the mark that they have in their environment."""
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, *words]
    mark = {MARK: secrets.token_hex(8)}
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} | mark
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen([str(word) for word in line], env=environment, **pipes)
    process.mark = f"{MARK}={mark[MARK]}"
    return process


def started(process, variable=None):
    """The ids of the processes that live, or of those with a variable in their environment."""
    ids = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if {process.mark, variable or process.mark} <= {*file.read_text(errors="replace").split("\0")}:
                ids.append(int(file.parent.name))
    return ids


def end(process):
    """Kills it and all that it started."""
    for pid in started(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def finish(process, timeout=120):
    """Its exit code and output; nothing that it started lives on."""
    try:
        output, _ = process.communicate(timeout=timeout)
        assert not started(process)
    finally:
        end(process)
    return process.returncode, output


@pytest.fixture(scope="module")
def together():
    """What the processes do, as a module; what it registers for them is taken back."""
    from prunebench.models.kinds import NETWORKS
    from prunebench.runs.probes import PROBES

    kept = {**NETWORKS}, {**PROBES}
    module = importlib.util.module_from_spec(source := importlib.util.spec_from_file_location("together", SCRIPT))
    source.loader.exec_module(module)
    yield module
    for registry, before in zip((NETWORKS, PROBES), kept, strict=True):
        registry.clear()
        registry.update(before)


@pytest.fixture(scope="module")
def folder(digits_file, tmp_path_factory):
    """A folder with the prepared data set."""
    made = tmp_path_factory.mktemp("together")
    for suffix in (".safetensors", ".json"):
        shutil.copy(digits_file.with_suffix(suffix), made / f"digits{suffix}")
    return made


@pytest.fixture(scope="module")
def alike(folder):
    """The folder after three processes have done their jobs, and what each of them has found."""
    code, output = finish(torchrun(3, SCRIPT, folder, "alike"))
    assert code == 0, output
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)], output


def results(out):
    """What a job leaves, but for what clock and memory say."""
    found = {}
    for path in sorted(out.iterdir()):
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                found[path.name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in csv.DictReader(file)]
        elif path.name not in ("provenance.json", "run.sha256"):
            found[path.name] = path.read_bytes()
    return found


# --- One process


def test_without_torchrun_or_with_one_process_there_is_nothing_to_join(monkeypatch):
    with joined() as processes:
        assert processes is ALONE
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as processes:
        assert processes is ALONE
    assert not torch.distributed.is_initialized()


# --- Three processes


@pytest.mark.long
def test_three_processes_train_as_one_does(alike, together, one_thread, tmp_path):
    """Weights differ by float32 roundings of 16 updates alone, the accuracies not at all: of some 100 images."""
    folder, *_ = alike
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    run_job(together.mlp(), train, tmp_path / "one", tmp_path, folder / "digits.safetensors")
    torch.set_flush_denormal(False)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    one, _ = load_tensors(tmp_path / "one/networks.safetensors")
    three, _ = load_tensors(folder / "mlp/networks.safetensors")
    assert one.keys() == three.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(three[name], tensor, rtol=0, atol=1e-5)
    for table in ("epochs", "phases"):
        ours, theirs = (results(out)[f"{table}.csv"] for out in (folder / "mlp", tmp_path / "one"))
        for row, other in zip(ours, theirs, strict=True):
            losses = [name for name in row if name.endswith("loss") and row[name]]
            assert [float(row.pop(name)) for name in losses] == pytest.approx([float(other.pop(n)) for n in losses])
            assert row == other
    assert json.loads((folder / "mlp/provenance.json").read_text())["processes"] == 3


@pytest.mark.long
def test_all_hold_the_same_state_before_every_update(alike):
    """Weights, buffers of batch normalisation, masks and momentum, with prunes by gradients and dropout."""
    _, found, _ = alike
    assert len(found[0]["seen"]) == 3 * 2 * 4
    assert len({*found[0]["seen"]}) == len(found[0]["seen"])
    assert found[0]["seen"] == found[1]["seen"] == found[2]["seen"]


@pytest.mark.long
def test_killed_before_every_other_update_they_end_with_the_same_bytes(alike):
    """With three, the order in which they are added up shows in the last bits, which two would not tell."""
    folder, found, _ = alike
    assert [each["deaths"] for each in found] == [11] * 3
    assert results(folder / "killed") == results(folder / "chain")


@pytest.mark.long
def test_a_signal_to_one_saves_and_ends_all_with_the_same_code(alike):
    folder, found, output = alike
    assert [each["told"] for each in found] == [75] * 3
    assert all(each["saved"] for each in found)
    assert output.count("told to stop (signal 15)") == 1
    assert results(folder / "told") == results(folder / "chain")


@pytest.mark.long
def test_what_cannot_be_split_is_refused_in_one_line_by_the_first(alike):
    folder, (first, *others), _ = alike
    assert first["odd"] == (
        "batch_size 49 cannot be split over 3 processes; allowed: multiples of 3, of two images per process or more"
    )
    assert first["small"].startswith("batch_size 3 cannot be split over 3 processes")
    assert first["choice"].startswith("job choice trains no arms, so 3 processes cannot share it")
    assert [(each["odd"], each["small"], each["choice"]) for each in others] == [(2, 2, 2)] * 2
    assert not any((folder / name).exists() for name in ("odd", "small", "choice"))


@pytest.mark.long
def test_processes_that_differ_are_refused(alike):
    _, (first, *others), _ = alike
    assert first["other"].startswith("masks: process 1 differs from process 0")
    assert [each["other"] for each in others] == [2, 2]
    assert [each["same"] for each in (first, *others)] == [None] * 3


@pytest.mark.long
def test_only_the_first_speaks(alike):
    *_, output = alike
    assert output.count("arm phase 0 epoch 0:") == len(["mlp", "chain", "killed", "told"])


# --- Processes that die


def wait_for(process, condition):
    began = time.monotonic()
    while not condition():
        if process.poll() is not None or time.monotonic() - began > 60:
            end(process)
            pytest.fail(process.communicate()[0])
        time.sleep(0.02)


@pytest.mark.long
def test_a_job_whose_launcher_is_stopped_and_a_process_killed_ends_with_the_same_bytes(together, folder):
    saved, job = resume_path(folder / "long"), folder / "long.json"
    job.write_text(json.dumps(together.long().content()))
    words = ["do", folder / "long", "--spec", job, "--data", folder / "digits.safetensors", "--runs", folder]
    command = ["-m", "prunebench", *words, "--save-every", "0.1"]

    process = torchrun(2, *command)
    wait_for(process, saved.exists)
    told = time.monotonic()
    process.terminate()
    code, output = finish(process)
    assert code
    assert time.monotonic() - told < 20
    assert f"told to stop (signal 15): state saved in {saved}" in output
    first = saved.read_bytes()

    process = torchrun(2, *command)
    wait_for(process, lambda: saved.read_bytes() != first)
    [rank] = started(process, "RANK=1")
    os.kill(rank, signal.SIGKILL)
    code, output = finish(process)
    assert code
    assert "exitcode: -9" in output
    assert "going on in arm" in output
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]

    code, output = finish(torchrun(2, SCRIPT, folder, "go on"))
    assert code == 0, output
    assert output.count("going on in arm") == 1
    assert results(folder / "long") == results(folder / "straight")
    assert not saved.exists()
