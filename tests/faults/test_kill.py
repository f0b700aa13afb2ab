"""Jobs that are killed again and again, at every kind of moment, end with the bytes of one that nobody disturbed."""

import csv
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from prunebench import files
from prunebench.runs.provenance import source_digest
from prunebench.suite.paper import resolve
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

ROOT = Path(__file__).parents[2]
SERVER = multiprocessing.get_context("forkserver")
TIMINGS = {"seconds", "peak_memory_mb"}
CIRCUMSTANCES = {"finished", "commit", "dirty", "cpu_seconds", "others_load"}
RESUME = ".resume.safetensors"
CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
"""What a job that was told to stop ends with: EX_TEMPFAIL means that the same command goes on."""

SMALL = {
    "seeds": [0],
    "datasets": {
        "digits": {"train": 512, "validation": 64, "test": 64},
        "digits-fifth": {"train": 210, "validation": 64, "test": 64},  # 0.8^4 of these
    },
    "s_cyc": {"oracle": {"max_lr": [0.05, 0.2, 1e30]}},
    "cascade": {"shedding": {"removable_images": 64}},
}
source_digest()  # kept by the process, so that a change to the sources while the test runs changes no job
PLAN = make_plan(load_preset(ROOT / "config/smoke.yaml", SMALL))
STAGES = [
    *("train_dense", "prune_chains", "measure_gradients", "search_max_lr", "watch_shedding", "retrain_rewound"),
    *("retrain_schedules", "retrain_patterns", "train_minima", "train_baselines", "connect_minima"),
]
"""One of each kind that goes on where it was killed: the other stages' jobs do nothing that these do not."""


def job_of(stage):
    """A job of a stage: one that starts from another job's network, where the stage has such."""
    jobs = PLAN.stages[stage].jobs
    return next((job for job in jobs if job.needs), jobs[-1])


# --- In the process that dies


def child(results, folder, save_every, log, fate):
    """Does a job, its output in a file, unless `fate`, a function's name and its arguments, ends it before."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from prunebench.runs.run import run_job

    stage, spec = PLAN.find(folder)
    run = resolve(stage.run, f"prunebench.papers.{folder.split('/')[0]}")
    if fate:
        globals()[fate[0]](*fate[1:])
    run_job(
        spec, run, results / "runs" / folder, results / "runs", results / "digits.safetensors", save_every=save_every
    )


def at_update(number, signum):
    """The signal arrives at the `number`-th moment at which the job asks whether to save."""
    _when_asked("due", number, signum)


def in_measurement(number, signum):
    """The signal arrives at the `number`-th moment at which a measurement asks whether to end."""
    _when_asked("leave", number, signum)


def _when_asked(question, number, signum):
    from prunebench.runs.checkpoint import ResumeFile

    seen, ask = 0, getattr(ResumeFile, question)

    def asked(self):
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signum)
        return ask(self)

    setattr(ResumeFile, question, asked)


def after_seconds(seconds):
    """The kernel ends the process, wherever it is."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def at_write(number, saves, renamed):
    """SIGKILL at the `number`-th save, or file of results, with half of it on the disk or the whole renamed."""
    real_replace, seen = os.replace, 0

    def fsync(descriptor):
        nonlocal seen
        if (RESUME in os.readlink(f"/proc/self/fd/{descriptor}")) == saves:
            seen += 1
            if seen == number and not renamed:
                os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        # Not on the disk before the rename: it is the process that dies here, and not the machine.

    def replace(source, target):
        real_replace(source, target)
        if seen == number and (RESUME in str(target)) == saves:
            os.kill(os.getpid(), signal.SIGKILL)

    files.os.fsync, files.os.replace = fsync, replace


# --- In the process that watches


class Job:
    """A job of the plan in a folder of results, started as often as it takes."""

    def __init__(self, results, folder):
        self.results_folder, self.folder = results, folder
        self.out = results / "runs" / folder
        self.log = results / f"{folder.replace('/', '.')}.log"

    def live(self, *fate, save_every=0.0):
        """One life of the job; gives how it ended."""
        process = SERVER.Process(target=child, args=(self.results_folder, self.folder, save_every, self.log, fate))
        process.start()
        process.join(120)
        return process.exitcode

    @property
    def text(self):
        return self.log.read_text()

    @property
    def resume(self):
        return self.out / RESUME

    def results(self):
        """Every file of the folder but timings: {name: content}."""
        return {path.name: content(path) for path in sorted(self.out.iterdir()) if not path.name.startswith(".")}

    def left(self):
        """What a kill in the middle of a write has left: hidden, and read by nothing."""
        kept = {self.resume.name, ".lock"}  # the lock goes with the next job in the folder
        return [path for path in self.out.iterdir() if path.name.startswith(".") and path.name not in kept]


def content(path):
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]
    if path.name == "provenance.json":
        return {key: value for key, value in json.loads(path.read_text()).items() if key not in CIRCUMSTANCES}
    if path.name == "run.sha256":  # of timings, too
        return [line[66:] for line in path.read_text().splitlines()]
    return path.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Stage -> its job that nobody disturbed, in one folder with those that it needs, and the seconds that it took."""
    from prunebench.data.prepare import prepare

    results = tmp_path_factory.mktemp("undisturbed")
    counts = {"size": None, "train": 512, "validation": 64, "test": 64, "split_seed": 0}
    out, manifest = results / "digits.safetensors", results / "digits.json"
    prepare("digits", None, results / "cache", **counts, out=out, manifest=manifest)
    done = {}

    def finish(folder):
        if folder not in done:
            for need in PLAN.find(folder)[1].needs:
                finish(need.rsplit("/", 1)[0])
            job, began = Job(results, folder), time.monotonic()
            assert job.live(save_every=1000) == 0, job.text
            done[folder] = job, time.monotonic() - began
        return done[folder]

    return lambda stage: finish(job_of(stage).folder)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_every_kind_of_moment_it_ends_with_the_same_bytes(undisturbed, tmp_path, stage):
    """Told to stop before an update and in a measurement; killed between two updates, in a save, at any moment of the
    clock, in a result, after a result."""
    straight, seconds = undisturbed(stage)
    expected = straight.results()
    assert expected
    job = Job(tmp_path, straight.folder)
    shutil.copytree(straight.results_folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.log"))
    shutil.rmtree(job.out)
    draw = random.Random(f"{stage} 1")

    told = draw.choice([*CODES])
    assert job.live("at_update", draw.randint(2, 4), told, save_every=1000) == CODES[told], job.text
    assert [path.name for path in job.out.iterdir()] == [RESUME]
    assert f"told to stop (signal {int(told)})" in job.text

    saved = job.resume.read_bytes()
    told = draw.choice([*CODES])
    assert job.live("in_measurement", draw.randint(1, 3), told, save_every=1000) == CODES[told], job.text
    assert [path.name for path in job.out.iterdir()] == [RESUME]
    assert job.resume.read_bytes() != saved

    saved = job.resume.read_bytes()
    assert job.live("at_update", draw.randint(2, 4), signal.SIGKILL, save_every=1000) == -signal.SIGKILL, job.text
    assert job.resume.read_bytes() == saved

    assert job.live("at_write", 1, True, False) == -signal.SIGKILL, job.text
    assert job.resume.read_bytes() == saved
    assert len(job.left()) == 1
    assert job.live("at_write", draw.randint(1, 2), True, True) == -signal.SIGKILL, job.text
    assert not job.left()  # the next writer has cleared it away
    assert job.live("after_seconds", draw.uniform(0, seconds / 2)) in (-signal.SIGALRM, 0), job.text
    if not job.resume.exists():  # it was done in time: what follows begins anew
        shutil.rmtree(job.out)
        job.out.mkdir()

    for renamed in (False, True):
        for name in job.results():  # as Snakemake does before it runs a job again
            (job.out / name).unlink()
        number = draw.randint(1, len(expected))
        assert job.live("at_write", number, False, renamed) == -signal.SIGKILL, job.text
        whole = job.results()
        assert len(whole) == number - 1 + renamed
        assert all(value == expected[name] for name, value in whole.items())
        assert job.resume.exists()  # kept until every result is in its place
        assert renamed or len(job.left()) == 1

    assert job.live() == 0, job.text
    assert job.results() == expected
    assert [path.name for path in job.out.iterdir() if path.name.startswith(".")] == []
    assert job.text.count("going on") >= 5
