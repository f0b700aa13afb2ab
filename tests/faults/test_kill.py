"""Jobs that are killed: at random points, in the middle of a write, told to stop. They end with the same bytes."""

import csv
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from prunebench import files
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

ROOT = Path(__file__).parents[2]
# A fork server that has imported torch once: a job starts in milliseconds, and is still a process of its own to kill.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["prunebench.cli", "prunebench.runs.run", "prunebench.runs.engine", "prunebench.runs.select"]
    + [f"prunebench.papers.directional.{name}" for name in ("connect", "curvature")]
)
TIMINGS = {"seconds", "peak_memory_mb"}
RESUME = ".resume.safetensors"

SMALL = {
    "seeds": [0],
    "datasets": {"digits": {"train": 512, "validation": 64, "test": 64}},
    "s_cyc": {"oracle": {"max_lr": [0.05, 0.2, 1e30]}},
    "cascade": {"shedding": {"removable_images": 64}},
}
PLAN = make_plan(load_preset(ROOT / "config/smoke.yaml", SMALL))
KINDS = {
    "dense": "train_dense",
    "chain": "prune_chains",
    "gradients": "measure_gradients",
    "search": "search_max_lr",
    "shedding": "watch_shedding",
    "rewinding": "retrain_rewound",
    "schedules": "retrain_schedules",
    "patterns": "retrain_patterns",
    "minima": "train_minima",
    "baselines": "train_baselines",
    "curves": "connect_minima",
}
"""A job of every kind that goes on where it was killed, by its stage."""


def spec_of(name):
    """The last of a stage's jobs: of the oracle's, one that starts from an earlier cycle's winner."""
    return PLAN.stages[KINDS[name]].jobs[-1]


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
    """A job of the plan in a folder of results, started as often as it takes."""

    def __init__(self, results, folder):
        self.results_folder, self.folder = Path(results), folder
        self.out = self.results_folder / "runs" / folder
        self.log = self.results_folder / f"{folder.replace('/', '.')}.log"
        self.words = ["run", str(self.out), "--plan", str(self.results_folder / "plan.json")]

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
    return path.read_bytes()


def wait_for(condition, process=None, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        if process is not None and not process.is_alive():
            return False
        time.sleep(0.002)
    return True


def prepare_digits(results, split_seed=0):
    from prunebench.data.prepare import prepare

    data = results / "data"
    counts = {"size": None, "train": 512, "validation": 64, "test": 64, "split_seed": split_seed}
    prepare("digits", None, data, **counts, out=data / "digits.safetensors", manifest=data / "digits.json")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """{name: (job, seconds)} of jobs that nobody disturbed, after those that they need."""
    results = tmp_path_factory.mktemp("undisturbed")
    (results / "plan.json").write_text(PLAN.preset.model_dump_json(exclude={"raw_data"}))
    prepare_digits(results)
    times = {}

    def finish(folder):
        if folder in times:
            return
        for need in PLAN.find(folder)[1].needs:
            finish(need.rsplit("/", 1)[0])
        job, began = Job(results, folder), time.monotonic()
        assert job.finish(save_every=1000) == 0, job.text
        assert not (job.out / RESUME).exists()
        times[folder] = time.monotonic() - began

    for name in KINDS:
        finish(spec_of(name).folder)
    return {name: (Job(results, spec_of(name).folder), times[spec_of(name).folder]) for name in KINDS}


def disturbed(undisturbed, name, folder):
    """The same job in a copy of the results in which it has not run yet."""
    job = undisturbed[name][0]
    shutil.copytree(job.results_folder, folder / "results", ignore=shutil.ignore_patterns("*.log"))
    again = Job(folder / "results", job.folder)
    shutil.rmtree(again.out)
    return again


def assert_same(job, undisturbed, name):
    expected = undisturbed[name][0].results()
    assert job.results().keys() == expected.keys()
    for file, value in job.results().items():
        assert value == expected[file], file
    assert not (job.out / RESUME).exists()


@pytest.mark.parametrize("name", KINDS)
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
    assert kills >= 1, "killed too late to test anything"
    if process.exitcode != 0:
        assert job.finish(save_every=0) == 0, job.text
    left = [path.name for path in job.out.iterdir() if path.name.endswith(".tmp")]
    for file in left:  # what a kill in the middle of a write leaves is hidden and nothing reads it
        assert file.startswith(".")
        (job.out / file).unlink()
    assert_same(job, undisturbed, name)


@pytest.mark.parametrize("name", ["chain", "search", "dense", "shedding", "minima"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_and_the_rerun_ends_the_same(undisturbed, tmp_path, name, number):
    job = disturbed(undisturbed, name, tmp_path)
    process = job.begin(save_every=1000)
    assert wait_for(lambda: "epoch 0: " in job.text, process)
    assert not (job.out / RESUME).exists()
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    assert [path.name for path in job.out.iterdir()] == [RESUME]
    assert f"told to stop (signal {int(number)})" in job.text
    assert job.finish(save_every=1000) == 0, job.text
    assert job.text.count("epoch 0: ") == job_text(undisturbed, name).count("epoch 0: ")
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
        *(("chain", 1), ("chain", 2), ("chain", 4), ("search", 2), ("search", 3)),
        *(("dense", 3), ("dense", 5), ("shedding", 2), ("shedding", 6)),
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
    neighbour = Job(job.results_folder, PLAN.stages["prune_chains"].jobs[0].folder)
    shutil.rmtree(neighbour.out, ignore_errors=True)
    neighbour.out.mkdir(parents=True)
    (neighbour.out / RESUME).write_bytes(saved)
    start = PLAN.find(neighbour.folder)[1].needs[0].rsplit("/", 1)[0]
    assert Job(job.results_folder, start).finish(1000) == 0
    assert neighbour.finish(1000) == 0, neighbour.text
    assert "belongs to another spec" in neighbour.text
    assert "going on" not in neighbour.text


def test_a_resume_file_made_from_other_data_is_not_used(undisturbed, tmp_path):
    """The spec only names its data set: prepared anew under that name, it must not meet the old weights."""
    job = disturbed(undisturbed, "gradients", tmp_path)
    killed_after_a_save(job)
    prepare_digits(job.results_folder, split_seed=1)
    assert job.finish(1000) == 0
    assert "belongs to another spec" in job.text
    again = job.results()
    shutil.rmtree(job.out)
    assert job.finish(1000) == 0
    assert again == job.results() != undisturbed["gradients"][0].results()


def test_a_job_that_began_with_another_network_is_not_gone_on_with(undisturbed, tmp_path):
    """What a job starts from is trained anew, from other data: its file has other bytes, its spec is the same."""
    job = disturbed(undisturbed, "chain", tmp_path)
    killed_after_a_save(job)
    start = Job(job.results_folder, PLAN.find(job.folder)[1].needs[0].rsplit("/", 1)[0])
    shutil.rmtree(start.out)
    kept = (
        (job.results_folder / "data/digits.safetensors").read_bytes(),
        (job.results_folder / "data/digits.json").read_bytes(),
    )
    prepare_digits(job.results_folder, split_seed=1)
    assert start.finish(1000) == 0
    (job.results_folder / "data/digits.safetensors").write_bytes(kept[0])
    (job.results_folder / "data/digits.json").write_bytes(kept[1])
    assert job.finish(1000) == 0
    assert "going on" not in job.text.partition("belongs to another spec")[2]
    assert job.results() != undisturbed["chain"][0].results()
