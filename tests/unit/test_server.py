"""`prunebench` done by a server: as without it, whoever is told to stop or is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import prunebench
from prunebench.runs.spec import Arm, Phase, RunSpec
from prunebench.runs.updates import Sgd
from prunebench.server import ADDRESS, KILLED

LONGEST = 300
"""Seconds that a busy machine may take."""

SNAKEMAKE = f"""
import os, sys
from prunebench import server
server.start()
print(os.environ[{ADDRESS!r}], flush=True)
sys.stdin.read()
"""
"""What Snakemake does of it."""


class Served:
    """A process that has started a server, and `prunebench` called below it."""

    def __init__(self, **variables):
        self.environment = os.environ | variables
        how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": self.environment}
        self.snakemake = subprocess.Popen([sys.executable, "-c", SNAKEMAKE], **how)
        self.address = self.snakemake.stdout.readline().strip()
        [self.server] = children(self.snakemake.pid)

    def call(self, *words, **how):
        """Starts `prunebench WORD...`."""
        variables = {ADDRESS: self.address, **how.pop("variables", {})}
        line = [sys.executable, "-m", "prunebench", *map(str, words)]
        return subprocess.Popen(line, env=self.environment | variables, text=True, **how)

    @property
    def commands(self):
        """The processes that do commands."""
        return children(self.server)

    def end(self):
        if self.snakemake.poll() is None:
            self.snakemake.communicate()


def children(number):
    """Processes that a process has started and that have not ended."""
    try:
        return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def wait(condition, what):
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_gone(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="module")
def served():
    one = Served()
    yield one
    one.end()


@pytest.fixture
def job(tmp_path, digits_file):
    """The words of a job of so many epochs, its folder's name last."""

    def words(epochs, name="out"):
        from prunebench.models.kinds import MlpKind

        arm = Arm(name="arm", phases=[Phase(epochs=epochs, max_lr=0.01, update=Sgd())])
        about = {"folder": "toy/job", "task": "toy", "dataset": "digits", "batch_size": 32, "seed": 0}
        spec = RunSpec(**about, network=MlpKind(width=0.25), arms=[arm])
        (tmp_path / "spec.json").write_text(json.dumps(spec.content()))
        return "do", tmp_path / name, "--spec", tmp_path / "spec.json", "--data", digits_file

    return words


@pytest.fixture
def endless(served, job, tmp_path):
    """A training under way: its caller, and the process that does it."""

    callers = []

    def begin(by=served, **how):
        log = open(tmp_path / "log", "w+")  # noqa: SIM115
        callers.append(by.call(*job(100_000), stdout=log, stderr=log, **how))
        wait(lambda: "epoch 1:" in (tmp_path / "log").read_text(), "it does not train")
        return callers[-1], (by.commands or [callers[-1].pid])[0]

    yield begin
    for caller in callers:
        caller.kill()
        caller.wait()
    wait(lambda: not served.commands, "it goes on without its caller")


def test_a_command_leaves_says_and_ends_with_what_it_does_without_a_server(served, job, tmp_path):
    ends = []
    for name, address in (("served", served.address), ("alone", "nobody-listens-here")):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "variables": {ADDRESS: address}}
        said = served.call(*job(2, name), **streams).communicate()
        wrong = served.call("do", tmp_path / name, cwd=tmp_path, **streams)
        ends.append((said, wrong.communicate(), wrong.returncode))
    assert ends[0] == ends[1]
    assert ends[0][1:] == (("", "prunebench: a job comes from --plan or from --spec: give exactly one of them\n"), 2)
    for name in ("spec.json", "epochs.csv"):
        assert (tmp_path / "served" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_to_the_caller_lets_the_job_save(served, endless, tmp_path, number, code):
    caller, process = endless()
    assert process != caller.pid
    caller.send_signal(number)
    assert caller.wait(LONGEST) == code
    assert (tmp_path / "log").read_text().count(f"told to stop (signal {int(number)}): state saved in ") == 1
    wait(lambda: not served.commands, "it has not ended")


def test_a_job_dies_with_its_caller_and_a_caller_with_its_job(served, endless):
    caller, process = endless()
    caller.kill()
    wait(lambda: is_gone(process), "it goes on without its caller")
    caller, process = endless()
    os.kill(process, signal.SIGKILL)
    assert caller.wait(LONGEST) == KILLED


def test_a_server_that_is_killed_takes_its_jobs_along_and_the_next_ones_do_without_it(endless, tmp_path):
    mortal = Served()
    caller, process = endless(mortal)
    os.kill(mortal.server, signal.SIGKILL)
    assert caller.wait(LONGEST) == KILLED
    assert "killed with the server of its Snakemake; the same command goes on" in (tmp_path / "log").read_text()
    wait(lambda: is_gone(process), "it goes on without its server")
    caller, process = endless(mortal)
    assert process == caller.pid
    mortal.end()


def test_a_server_ends_with_its_snakemake_but_after_its_last_command(endless):
    orphan = Served()
    caller, _ = endless(orphan)
    orphan.snakemake.kill()
    orphan.snakemake.wait()
    assert f"@{orphan.address}" in Path("/proc/net/unix").read_text()
    caller.send_signal(signal.SIGTERM)
    assert caller.wait(LONGEST) == 75
    wait(lambda: is_gone(orphan.server), "it has not ended")
    assert f"@{orphan.address}" not in Path("/proc/net/unix").read_text()


@pytest.mark.parametrize("variables", [{"MKL_DYNAMIC": "FALSE"}, {"SLURM_JOB_ID": "7"}, {"PYTHONWARNINGS": "ignore"}])
def test_a_caller_whose_libraries_may_compute_otherwise_does_its_command_itself(served, endless, variables):
    caller, process = endless(variables=variables)
    assert process == caller.pid


def test_after_a_change_to_the_sources_callers_do_their_commands_themselves(endless, tmp_path):
    shutil.copytree(Path(prunebench.__file__).parent, tmp_path / "src/prunebench")
    old = Served(PYTHONPATH=str(tmp_path / "src"))
    caller, process = endless(old)
    assert process != caller.pid
    caller.kill()
    wait(lambda: is_gone(process), "it goes on without its caller")
    with open(tmp_path / "src/prunebench/errors.py", "a") as file:
        file.write("# changed\n")
    caller, process = endless(old)
    assert process == caller.pid
    old.end()
