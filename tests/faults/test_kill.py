"""Jobs that are killed: at random points, in the middle of a write, told to stop. They end with the same bytes."""

import csv
import io
import json
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from prunebench import files
from prunebench.config import ChainSpec, ConnectSpec, DenseSpec, OracleSpec, RetrainSpec, TrajectoriesSpec, parse

# A fork server that has imported torch once: a job starts in milliseconds, and is still a process of its own to kill.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["prunebench.cli", *(f"prunebench.training.{name}" for name in ("chain", "oracle", "dense", "retrain", "connect"))]
)
TIMINGS = {"seconds", "peak_memory_mb"}
RESUME = ".resume.safetensors"

COMMON = {
    "study": "s_cyc",
    "task": "digits",
    "dataset": "digits",
    "network": {"kind": "resnet", "depth": 8, "width": 0.25},
    "training": {"epochs": 2, "batch_size": 32, "precision": "fp32"},
    "augmentation": {"pad": 1, "flip": True},
    "pruning": {"rate": 0.5, "cycles": 2, "score_images": 64},
    "seed": 3,
}
CHAIN = COMMON | {
    "criterion": "global_weight_change",
    "schedule_name": "s_cyc",
    "schedule": {
        "profile": {"kind": "cyclical"},
        "policy": {"kind": "s_shape", "rate": 0.5, "delay": 0, "eps": 0.1, "alpha": 0.1, "beta": 2},
    },
    "gradients": {"images": 64, "at": [0.1, 0.5, 1.0]},
}
SEARCH = COMMON | {
    "criterion": "global_gradient",
    "profile": {"kind": "cyclical"},
    "cycle": 0,
    "batch": 0,
    "max_lr": [0.05, 0.2, 1e30],
}
REWINDING = CHAIN | {"pruning": COMMON["pruning"] | {"after": "rewind_weights", "rewind_epoch": 1}}
DENSE = {key: value for key, value in COMMON.items() if key != "pruning"} | {
    "study": "dense",
    "recipe": "s_cyc",
    "profile": {"kind": "cyclical"},
    "max_lr": 0.1,
    "keep": [0, 1],
}
STARTED = CHAIN | {"gradients": None, "dense": DENSE}
PHASE = {"epochs": 1, "profile": {"kind": "cosine"}, "max_lr": 0.1, "weight_decay": 0.1, "profile_epochs": 1}
PRUNE = {"kind": "sparsity", "criterion": "global_magnitude", "sparsity": 0.5}
ARMS = {key: value for key, value in COMMON.items() if key != "pruning"} | {
    "study": "cascade",
    "part": "schedules",
    "batch": 0,
    "dense": DENSE,
    "arms": [
        {
            "name": "gradual",
            "axes": {},
            "phases": [PHASE | {"prune": [PRUNE | {"ramp": {"share": 0.7, "every": 2}}]}, PHASE | {"rewind": 1}],
        },
        {"name": "control", "axes": {}, "phases": [PHASE | {"epochs": 2, "profile_epochs": 2}], "follows": ["gradual"]},
    ],
    "measure": {
        "shedding": True,
        "histograms": True,
        "removable_images": 32,
        "occupancy": [4],
        "masks": True,
        "below": 0.05,
    },
}
SGD = {"kind": "sgd", "momentum": 0, "weight_decay": 0}
RUN = {key: value for key, value in COMMON.items() if key != "pruning"} | {"study": "directional"}
MINIMA = RUN | {
    "part": "minima",
    "arms": [
        {"name": name, "axes": {}, "order": nth, "epochs": 2, "profile": {"kind": "constant"}, "max_lr": 0.1}
        | {"update": {"kind": "grda", "c": 0.1, "mu": 0.6} if name == "grda" else SGD}
        for nth, name in enumerate(["sgd", "grda"])
    ],
}
CURVES = RUN | {
    "minima": MINIMA,
    "reference": "grda",
    "connectivity": {"pairs": ["grda:sgd"], "epochs": 12, "max_lr": 0.1, "profile": {"kind": "constant"}, "points": 3},
}
SPECS = {
    "train-chain": ChainSpec,
    "search-max-lr": OracleSpec,
    "train-dense": DenseSpec,
    "retrain": RetrainSpec,
    "train-trajectories": TrajectoriesSpec,
    "connect-minima": ConnectSpec,
}


def child(words, log, sabotage):
    """The console command in a fresh process, its output in a file."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if sabotage:
        sabotage()
    from prunebench.cli import main

    sys.argv = ["prunebench", *words]
    main()


class Job:
    """A verb with its spec, data and folder, started as often as it takes."""

    def __init__(self, verb, spec, data, out, start=None):
        self.out, self.log = Path(out), Path(f"{out}.log")
        parse(SPECS[verb], spec, "test")
        self.words = [verb, "--spec", json.dumps(spec), "--data", str(data), "--out", str(out)]
        self.words += ["--start", str(start)] if start else []

    def begin(self, save_every=0.0, sabotage=None):
        words = [*self.words, "--save-every", str(save_every)]
        process = SERVER.Process(target=child, args=(words, self.log, sabotage))
        process.start()
        return process

    def finish(self, save_every=0.0, sabotage=None):
        process = self.begin(save_every, sabotage)
        process.join(120)
        return process.exitcode

    @property
    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def results(self):
        """Every file of the folder but timings: {name: content}."""
        return {path.name: content(path) for path in sorted(self.out.iterdir()) if path.name != RESUME}


def content(path):
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return [{key: value for key, value in row.items() if key not in TIMINGS} for row in rows]
    if path.name == "provenance.json":
        return {key: value for key, value in json.loads(path.read_text()).items() if key != "finished"}
    if path.name == "network.safetensors":
        from prunebench.training.checkpoint import load_tensors

        tensors, metadata = load_tensors(path)
        values = {key: value for key, value in json.loads(metadata["values"]).items() if key not in TIMINGS}
        return {key: value.tolist() for key, value in tensors.items()}, values, metadata["spec"]
    return path.read_bytes()


def wait_for(condition, process=None, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        if process is not None and not process.is_alive():
            return False
        time.sleep(0.002)
    return True


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from prunebench.data.prepare import prepare

    folder = tmp_path_factory.mktemp("data")
    out = folder / "digits.safetensors"
    counts = {"size": None, "train": 512, "validation": 64, "test": 64, "split_seed": 0}
    prepare("digits", None, folder, **counts, out=out, manifest=folder / "digits.json")
    return out


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """{name: (job, seconds)} of jobs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    jobs = {}
    network = folder / "dense" / "network.safetensors"
    for name, (verb, spec, start) in {
        "chain": ("train-chain", CHAIN, None),
        "rewinding": ("train-chain", REWINDING, None),
        "search": ("search-max-lr", SEARCH, None),
        "dense": ("train-dense", DENSE, None),
        "started": ("train-chain", STARTED, network),
        "arms": ("retrain", ARMS, network),
        "minima": ("train-trajectories", MINIMA, None),
        "curves": ("connect-minima", CURVES, folder / "minima" / "networks.safetensors"),
    }.items():
        job = Job(verb, spec, data, folder / name, start)
        began = time.monotonic()
        assert job.finish(save_every=1000) == 0, job.text
        assert not (job.out / RESUME).exists()
        jobs[name] = job, time.monotonic() - began
    return jobs


def disturbed(undisturbed, name, folder):
    job = undisturbed[name][0]
    again = Job.__new__(Job)
    again.out, again.log = folder / name, folder / f"{name}.log"
    again.words = [str(again.out) if word == str(job.out) else word for word in job.words]
    return again


def assert_same(job, undisturbed, name):
    expected = undisturbed[name][0].results()
    assert job.results().keys() == expected.keys()
    for file, value in job.results().items():
        assert value == expected[file], file
    assert not (job.out / RESUME).exists()


@pytest.mark.parametrize("name", ["chain", "rewinding", "search", "dense", "started", "arms", "minima", "curves"])
def test_killed_at_random_points_it_ends_with_the_same_bytes(undisturbed, tmp_path, name):
    """SIGKILL at seeded random points of the work, a rerun after each, a save before every update."""
    rng = random.Random(f"{name} 1")
    job, seconds = disturbed(undisturbed, name, tmp_path), undisturbed[name][1]
    kills = 0
    for _ in range(4):
        before = (job.out / RESUME).stat().st_mtime_ns if kills else 0
        process = job.begin(save_every=0)
        moved_on = wait_for(
            lambda before=before: (job.out / RESUME).exists() and (job.out / RESUME).stat().st_mtime_ns > before,
            process,
        )
        time.sleep(rng.uniform(0, seconds / 6))
        process.kill()
        process.join()
        if not moved_on or process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 2, "killed too late to test anything"
    if process.exitcode != 0:
        assert job.finish(save_every=0) == 0, job.text
    if name != "search":
        assert len(re.findall(r"^going on (in \w+ at|at|with) ", job.text, re.MULTILINE)) >= kills - 1
    left = [path.name for path in job.out.iterdir() if path.name.endswith(".tmp")]
    for file in left:  # what a kill in the middle of a write leaves is hidden and nothing reads it
        assert file.startswith(".")
        (job.out / file).unlink()
    assert_same(job, undisturbed, name)


@pytest.mark.parametrize("name", ["chain", "search", "dense", "arms", "minima"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_and_the_rerun_ends_the_same(undisturbed, tmp_path, name, number):
    job = disturbed(undisturbed, name, tmp_path)
    process = job.begin(save_every=1000)
    assert wait_for(lambda: "cycle 0 epoch 0" in job.text, process)
    assert not (job.out / RESUME).exists()
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    assert [path.name for path in job.out.iterdir()] == [RESUME]
    assert f"told to stop (signal {int(number)})" in job.text
    assert job.finish(save_every=1000) == 0, job.text
    assert job.text.count("cycle 0 epoch 0") == job_text(undisturbed, name).count("cycle 0 epoch 0")
    assert_same(job, undisturbed, name)


def job_text(undisturbed, name):
    """What a job says that nobody disturbs: a resumed one must train no epoch again."""
    return undisturbed[name][0].text


def die_at_write(number, after_rename):
    """In the child: SIGKILL at the `number`-th file that is not the resume file, with half of it on the disk or all."""
    real_replace, real_fsync = os.replace, os.fsync
    seen = 0

    def fsync(descriptor):
        nonlocal seen
        if RESUME in os.readlink(f"/proc/self/fd/{descriptor}"):
            return
        seen += 1
        if seen == number and not after_rename:
            os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        real_fsync(descriptor)

    def replace(source, target):
        real_replace(source, target)
        if seen == number and RESUME not in str(target):
            os.kill(os.getpid(), signal.SIGKILL)

    files.os.fsync, files.os.replace = fsync, replace


class Sabotage:
    """Picklable, for the fork server."""

    def __init__(self, *words):
        self.words = words

    def __call__(self):
        die_at_write(*self.words)


@pytest.mark.parametrize("after_rename", [False, True])
@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("chain", 1), ("chain", 4), ("chain", 7), ("search", 1), ("search", 2)),
        *(("dense", 1), ("dense", 2), ("arms", 2), ("arms", 6)),
    ],
)
def test_killed_while_it_writes_its_results_no_file_is_half_written(undisturbed, tmp_path, name, number, after_rename):
    job = disturbed(undisturbed, name, tmp_path)
    expected = undisturbed[name][0].results()
    assert job.finish(0, Sabotage(number, after_rename)) == -signal.SIGKILL, job.text
    left = list(job.out.iterdir())
    whole = [path for path in left if not path.name.startswith(".")]
    assert len(whole) == number - 1 + after_rename
    for path in whole:
        assert content(path) == expected[path.name]
    assert (job.out / RESUME).exists()  # kept until every result is in its place
    hidden = [path for path in left if path.name.startswith(".") and path.name != RESUME]
    assert len(hidden) == (not after_rename)
    for path in hidden:
        path.unlink()
    assert job.finish(0) == 0, job.text
    assert_same(job, undisturbed, name)


def killed_after_a_save(job):
    """The resume file of a job that was killed with a whole epoch behind it."""
    process = job.begin(save_every=0)
    assert wait_for(lambda: "epoch 0" in job.text, process)
    process.kill()
    process.join()
    return (job.out / RESUME).read_bytes()


def test_a_resume_file_of_another_spec_or_a_damaged_one_is_named_and_not_used(undisturbed, tmp_path):
    job = disturbed(undisturbed, "chain", tmp_path)
    saved = killed_after_a_save(job)
    for damaged in (saved[: len(saved) // 2], b"", saved[:8] + b"\xff" * 64 + saved[72:]):
        (job.out / RESUME).write_bytes(damaged)
        job.log.unlink()
        assert job.finish(1000) == 0
        assert f"{job.out / RESUME} cannot be read" in job.text
        assert_same(job, undisturbed, "chain")
    (job.out / RESUME).write_bytes(saved)
    other = Job("train-chain", CHAIN | {"seed": 4}, job.words[job.words.index("--data") + 1], job.out)
    assert other.finish(1000) == 0
    assert "belongs to another spec" in other.text
    assert "going on at" not in other.text


def test_a_resume_file_made_from_other_data_is_not_used(undisturbed, data, tmp_path):
    """The spec only names its data set: prepared anew under that name, it must not meet the old weights."""
    from prunebench.data.prepare import prepare

    other = tmp_path / "other.safetensors"
    counts = {"size": None, "train": 512, "validation": 64, "test": 64, "split_seed": 1}
    prepare("digits", None, tmp_path, **counts, out=other, manifest=tmp_path / "other.json")
    job = disturbed(undisturbed, "chain", tmp_path)
    killed_after_a_save(job)
    again = Job("train-chain", CHAIN, other, job.out)
    fresh = Job("train-chain", CHAIN, other, tmp_path / "fresh")
    assert again.finish(1000) == 0
    assert fresh.finish(1000) == 0
    assert fresh.results() != undisturbed["chain"][0].results()
    assert again.results() == fresh.results()


def test_a_search_that_began_with_another_network_is_not_gone_on_with(undisturbed, data, tmp_path):
    first = undisturbed["search"][0].out / "best.safetensors"
    second = Job("search-max-lr", SEARCH | {"max_lr": [0.01, 0.02]}, data, tmp_path / "second")
    assert second.finish(1000) == 0
    spec = SEARCH | {"cycle": 1, "max_lr": [0.05, 0.2]}
    job = Job("search-max-lr", spec, data, tmp_path / "job", start=first)
    killed_after_a_save(job)
    again = Job("search-max-lr", spec, data, job.out, start=second.out / "best.safetensors")
    fresh = Job("search-max-lr", spec, data, tmp_path / "fresh", start=second.out / "best.safetensors")
    assert again.finish(1000) == 0
    assert fresh.finish(1000) == 0
    assert again.results() == fresh.results()
