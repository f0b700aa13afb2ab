"""The workflow where a user may have it: names with spaces, no home folder, a folder that is read-only or in use."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EXACT = "results/mine/runs/directional/toy/network"
DENSE = "results/smoke/runs/dense/digits-resnet8/cyclical/seed-0"

mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which root alone may do")


@pytest.fixture
def checkout(tmp_path):
    """What the workflow needs of the repository, in a folder whose name would break careless quoting."""
    folder = tmp_path / "Prüfstand 'a' $b"
    for name in ("workflow", "profiles", "config"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    tools = folder / ".venv/bin"
    tools.mkdir(parents=True)
    # Two jobs for all: one that reads the user's images, and one that reads none.
    wanted = f"results/mine/data/digits.safetensors {EXACT}/provenance.json"
    (tools / "prunebench").write_text(f'#!/bin/sh\nexec {BIN}/prunebench "$@" {wanted}\n')
    (tools / "prunebench").chmod(0o755)
    (folder / ".venv/installed").touch()
    return folder


def test_make_in_a_folder_with_spaces_with_images_in_another_without_a_home_for_the_owner_alone(
    checkout, miniatures, tmp_path
):
    miniature = miniatures.cifar(tmp_path / "Tom's Bilder ü")
    content = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    for study in ("s_cyc", "cascade"):
        del content[study]
    for name in content["datasets"]:
        content["datasets"][name] = {"source": miniature.source, "train": 16, "validation": 8, "test": 10}
    for task in content["tasks"].values():
        task["training"] = task["training"] | {"batch_size": 8}
    content["directional"]["curvature"]["images"] = 16
    (checkout / "config/mine.yaml").write_text(yaml.safe_dump(content | {"preset": "mine"}))
    line = ["make", "reproduce", "PRESET=mine", "CORES=2", f"RAW_DATA={miniature.raw}"]
    before = os.umask(0o077)
    try:
        homeless = os.environ | {"HOME": "/proc"}
        done = subprocess.run(line, cwd=checkout, env=homeless, capture_output=True, text=True, timeout=600)
    finally:
        os.umask(before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("All 2 jobs are done, in ")
    made = [checkout / "results/mine/data/digits.safetensors", checkout / EXACT / "toy.csv", checkout / EXACT]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o600, 0o600, 0o700]


@pytest.fixture
def in_use(tmp_path):
    """A folder in which another Snakemake is at work."""
    (tmp_path / ".snakemake").mkdir()
    with open(tmp_path / ".snakemake/prunebench.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 1 on elsewhere")
        file.flush()
        yield tmp_path


def test_a_second_snakemake_is_refused_in_one_line_and_may_look_all_the_same(in_use, snakemake):
    target = "results/smoke/data/digits.safetensors"
    done = snakemake.forked(in_use, snakemake.words(in_use, "--cores", "1", target))
    assert done.returncode == 1
    assert f"another Snakemake works in {in_use}: process 1 on elsewhere; wait for it" in done.stdout
    assert not (in_use / "results").exists()
    assert snakemake.plan(in_use, target)[0] == {"prepare_data": 1}


def mounted(folder, options, *line):
    """Runs a command in a file system of its own, which is mounted at the folder and is gone afterwards."""
    script = 'mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"'
    line = ["unshare", "--mount", "bash", "-c", script, options, str(folder), *map(str, line)]
    done = subprocess.run(line, cwd=folder.parent, capture_output=True, text=True, timeout=300)
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    return done


@mounts
def test_a_read_only_folder_is_one_line(tmp_path, snakemake):
    folder = tmp_path / "folder"
    folder.mkdir()
    done = mounted(folder, "ro", *snakemake.command(folder, "--cores", "1"))
    assert done.returncode == 1
    assert f"cannot write into {folder}: " in done.stderr
    assert "Traceback" not in done.stderr


@mounts
def test_a_disk_that_is_really_full_is_one_line_and_with_more_room_the_same_command_works(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    spec = '{"source": "digits", "train": 1000, "validation": 200, "test": 200}'
    prepare = f"{BIN}/prunebench prepare-data --spec '{spec}' --out data/digits.safetensors"
    say = f"{prepare}; echo $? $(ls -A data)"
    done = mounted(folder, "size=64k", "bash", "-c", f"cd folder; {say}; mount -o remount,size=1m .; {say}")
    assert done.stdout.splitlines() == ["2", "0 digits.json digits.safetensors"]
    assert done.stderr.splitlines() == [
        f"prunebench: cannot write data/digits.safetensors: {os.strerror(errno.ENOSPC)}"
    ]


@pytest.fixture
def endless(tmp_path, snakemake):
    """Starts Snakemake on a job that trains for ever; waits until the job's log, which it gives, has a word."""
    log = tmp_path / "results/smoke/logs/train_dense" / f"{DENSE.partition('dense/')[2]}.log"
    tasks = {key: {"training": {"epochs": 100_000}} for key in ("digits-resnet8", "digits-resnet8-fifth")}
    config = ("preset=smoke", f"tasks={json.dumps(tasks)}")
    line = snakemake.command(tmp_path, "--cores", "1", f"{DENSE}/provenance.json", config=config)

    @contextlib.contextmanager
    def start(word):
        quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
        with subprocess.Popen(line, cwd=tmp_path, **quiet) as process:
            wait_for(log, word, 300, process)
            yield process, log

    return start


def wait_for(log, word, seconds, process=None):
    """Until a log has a word; the process, if one is given, has to live so long."""
    deadline = time.monotonic() + seconds
    while word not in (log.read_text() if log.exists() else ""):
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


STOPPED = "told to stop (signal 15): state saved in "


def test_a_signal_to_all_processes_of_a_job_lets_it_save(tmp_path, endless):
    """As a cluster sends it: to the job, and to the shells in between, with which the job would be killed."""
    with endless("epoch 1:") as (process, log):
        os.killpg(process.pid, signal.SIGTERM)
        wait_for(log, STOPPED, 10)
    assert process.returncode == 1
    resume = log.read_text().partition(STOPPED)[2].strip()
    assert (tmp_path / resume).stat().st_size > 10_000


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="a job is told of Snakemake's end on Linux")
@pytest.mark.long
def test_when_snakemake_alone_is_killed_its_job_saves_and_ends_and_the_next_one_goes_on(endless):
    with endless("epoch 1:") as (process, log):
        process.kill()
        wait_for(log, STOPPED, 10)
    with endless("going on in dense at ") as (process, log):
        os.killpg(process.pid, signal.SIGTERM)
        wait_for(log, STOPPED, 10)
