"""Snakemake as the tests call it, what a preset's plan says to expect of it, and one finished smoke run."""

import csv
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from prunebench.suite.plan import Plan, make_plan
from prunebench.suite.preset import Preset, parse_preset

ROOT = Path(__file__).parents[2]
SERVER = multiprocessing.get_context("forkserver")
TEST_SECONDS = 600


def call_snakemake(words, folder, output):
    """In a process of the fork server: the `snakemake` command, its output in a file."""
    os.chdir(folder)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from snakemake.cli import main

    sys.argv = ["snakemake", *words]
    main()


class Snakemake:
    """The workflow's `snakemake` command in a folder of results. stdout and stderr are one text."""

    def words(self, folder, *words, config=("preset=smoke",)):
        """The command line behind the program's name; an empty `config` leaves `--config` out."""
        line = ["--snakefile", ROOT / "Snakefile", "--directory", folder, *words]
        return [str(word) for word in (*line, *(("--config", *config) if config else ()))]

    def command(self, folder, *words, **how):
        """The command line, for a process of the test's own."""
        return [Path(sys.executable).with_name("snakemake"), *self.words(folder, *words, **how)]

    def run(self, folder, *words, environment=None, **how):
        """The command as a user starts it. Each has a server, and so hash seeds, of its own: a result that two of them
        write to the same bytes does not depend on any."""
        line = self.command(folder, *words, **how)
        merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.run(line, cwd=folder, timeout=TEST_SECONDS, env=environment, **merged)

    def dry_run(self, folder, *words, cores=2, **how):
        """Plans and runs nothing. The process comes from a server that has imported Snakemake: 1 second, not 3."""
        line = self.words(folder, "--dry-run", "--cores", cores, *words, **how)
        return self.forked(folder, line)

    def forked(self, folder, line):
        """The command in a process of the fork server."""
        with tempfile.TemporaryDirectory() as outside:
            output = Path(outside) / "output"
            process = SERVER.Process(target=call_snakemake, args=(line, folder, output))
            process.start()
            process.join(TEST_SECONDS)
            return subprocess.CompletedProcess(line, process.exitcode, output.read_text())

    def plan(self, folder, *words, **how):
        """A dry run: ({rule: jobs}, the jobs' messages)."""
        done = self.dry_run(folder, *words, **how)
        assert done.returncode == 0, done.stdout
        table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\n\n", done.stdout, re.MULTILINE | re.DOTALL)
        assert table or "Nothing to be done" in done.stdout, done.stdout
        stats = {}
        for line in table.group(1).splitlines() if table else ():
            rule, count = line.split()
            stats[rule] = int(count)
        stats.pop("total", None)
        return stats, re.findall(r"^Job \d+: (.*)$", done.stdout, re.MULTILINE)


@dataclass
class Expected:
    """What a preset asks of Snakemake, told by the plan alone."""

    preset: Preset
    plan: Plan = field(init=False)

    def __post_init__(self):
        self.plan = make_plan(self.preset)

    @property
    def training(self):
        """The rules that prepare data or run jobs of the plan."""
        return {"prepare_data", *self.plan.stages}

    def stages(self, study):
        return {stage.name for stage in self.plan.studies[study]}

    def message(self, stage, job):
        return f"{stage.title} {job.folder.removeprefix(f'{stage.folder}/')}"

    def messages(self, wanted=lambda job: True):
        """The messages of the plan's jobs."""
        return {self.message(stage, job) for stage in self.plan.stages.values() for job in stage.jobs if wanted(job)}

    def jobs_among(self, messages):
        """The messages of the plan's jobs, without those of rules that read what jobs leave."""
        titles = tuple(f"{stage.title} " for stage in self.plan.stages.values())
        return {message for message in messages if message.startswith(titles)}

    def changed_since(self, earlier):
        """Messages of the jobs whose specs an earlier preset does not have, and of those that read their files."""
        before = {job.digest() for job in earlier.plan.jobs()}
        changed = {job.folder for job in self.plan.jobs() if job.digest() not in before}
        while further := {job.folder for job in self.plan.jobs() if job.folder not in changed and reads(job, changed)}:
            changed |= further
        return self.messages(lambda job: job.folder in changed)


def reads(job, folders):
    return any(need.rsplit("/", 1)[0] in folders for need in job.needs)


def pytest_collection_modifyitems(items):
    """The smoke run comes first: it is the longest file, and what starts last must be short."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")


@pytest.fixture(scope="session")
def snakemake():
    """Snakemake by the repository's Snakefile."""
    return Snakemake()


@pytest.fixture(scope="session")
def clone():
    """(folder) -> the folder, with what the workflow needs of the repository, without a copy of it."""

    def link(folder):
        for name in ("Snakefile", "workflow", "profiles", "config"):
            (folder / name).symlink_to(ROOT / name)
        return folder

    return link


@pytest.fixture(scope="session")
def expected():
    """What a preset with these changes asks of Snakemake; `expected()` is the smoke preset.

    The changes are made here and not by the product, in a copy without aliases: each means one place.
    """

    def of(name="smoke", **changes):
        content = json.loads(json.dumps(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())))
        change(content, changes)
        return Expected(parse_preset(content, name))

    return of


def change(content, changes):
    for key, value in changes.items():
        if isinstance(value, dict) and key in content:
            change(content[key], value)
        else:
            content[key] = value


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, snakemake):
    """The smoke preset from nothing to the last figure. Tests that change it do so in a copy."""
    folder = tmp_path_factory.mktemp("smoke")
    done = snakemake.run(folder, "--cores", "2")
    assert done.returncode == 0, done.stdout[-6000:]
    return folder


@pytest.fixture(scope="session")
def rows_of():
    """Reads a CSV file."""

    def rows(path):
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return rows
