"""`prunebench run`: on a pseudo terminal and without one, with a job that fails, stopped by Ctrl-C, from nothing."""

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PRUNEBENCH = Path(sys.executable).with_name("prunebench")
FIXED = {"kind": "fixed", "max_lr": 0.1}
PRESET = {
    "preset": "short",
    "scale": "short: bundled digits 8x8; decides no claim",
    "seeds": [0],
    "plugins": ["ideas.py"],
    "datasets": {"digits": {"source": "digits", "train": 256, "validation": 64, "test": 64}},
    "tasks": {
        "digits-mlp": {
            "dataset": "digits",
            "network": {"kind": "mlp"},
            "training": {"epochs": 1, "batch_size": 64},
        }
    },
    "schedules": {
        "constant": {"profile": {"kind": "constant"}, "policy": FIXED, "role": "benchmark"},
        "cyclical": {"profile": {"kind": "cyclical"}, "policy": FIXED, "role": "benchmark"},
    },
    "s_cyc": {
        "pruning": {"rate": 0.75, "cycles": 1, "score_images": 64},
        "accuracy": [
            {"tasks": ["digits-mlp"], "criteria": ["global_magnitude"], "schedules": ["constant", "cyclical"]}
        ],
    },
    "claims": {"calibration": {"tables": 100, "seeds": [3]}},
}
IDEAS = '''
"""A criterion that does not work."""

from prunebench.pruning import register


@register("broken")
def broken(inputs):
    """nothing, for it fails"""
    raise ValueError("no score for anything")
'''


@pytest.fixture(scope="module")
def ready(clone):
    """(folder) -> the folder with the workflow and the preset."""

    def write(folder):
        (folder / "ideas.py").write_text(IDEAS)
        (folder / "short.yaml").write_text(yaml.safe_dump(PRESET, sort_keys=False))
        return clone(folder)

    return write


@pytest.fixture(scope="module")
def finished(tmp_path_factory, ready):
    """A run without a terminal, from nothing to the report: (folder, the command's end)."""
    folder = ready(tmp_path_factory.mktemp("finished"))
    return folder, prunebench(folder, "run", "short.yaml", "--cores", "2")


def prunebench(folder, *words):
    return subprocess.run([PRUNEBENCH, *words], cwd=folder, capture_output=True, text=True, timeout=600)


def on_a_terminal(folder, *words, ctrl_c=None, rows=30):
    """The command on a pseudo terminal: (exit code, all that it wrote). ctrl_c: when the key is to be pressed."""
    number, terminal = pty.fork()
    if number == 0:
        os.chdir(folder)
        os.execv(PRUNEBENCH, [str(PRUNEBENCH), *words])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
    os.set_blocking(terminal, False)
    said, deadline = b"", time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            said += os.read(terminal, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            break
        if ctrl_c and ctrl_c():
            os.write(terminal, b"\x03")
            ctrl_c = None
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), said.decode()


def plain(said):
    """What a terminal's user reads, without what steers it; a picture drawn over the one before begins a line."""
    said = re.sub(r"\x1b\[\d*A", "\n", said)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said).replace("\r", "")


def test_without_a_terminal_it_says_a_few_plain_lines_then_the_ledger(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert "\x1b" not in done.stderr
    assert "━" not in done.stderr
    jobs = int(re.search(r"preset short, (\d+) jobs, 2 cores", done.stderr)[1])
    assert "prune_chains: all 2 jobs done" in done.stderr
    assert said[-1].startswith(f"All {jobs} jobs are done, in ")
    assert len(said) < 25
    assert max(map(len, said)) < 200  # no lists of files
    log = Path(re.search(r"Snakemake's own output: (.*)", done.stderr)[1])
    assert log.parent == folder / ".snakemake/log"
    assert "Reason: Missing output files" in log.read_text()
    assert f"{jobs + 1} of {jobs + 1} steps (100%) done" in log.read_text()  # the target is Snakemake's, too
    assert "not run at this scale" in done.stdout
    assert done.stdout.rstrip().endswith("The report: results/short/report.html")


def test_again_there_is_nothing_to_do_but_the_ledger(finished):
    folder, first = finished
    below = folder / "results/short"
    done = prunebench(below, "run", "../../short.yaml")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stderr
    assert done.stdout == first.stdout


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)


def test_on_a_terminal_it_shows_bars_what_runs_and_one_last_line(copy):
    for gone in ("results/short/runs", "results/short/tables", "figures/short"):
        shutil.rmtree(copy / gone)
    code, said = on_a_terminal(copy, "run", "short.yaml", "--cores", "1", "s_cyc")
    assert code == 0, said
    text = plain(said)
    # Jobs may follow each other faster than pictures: one of the stages is seen at work.
    assert re.search(r"^> \w+ +━+ \d/\d 1 running", text, re.MULTILINE)
    assert re.search(r"^ +0:\d\d  (train_dense|prune_chains|tabulate_s_cyc|draw_s_cyc)\b", text, re.MULTILINE)
    assert re.search(r"^\d+% of the time, \d+ s so far, about \d+ s left", text, re.MULTILINE)
    assert re.search(r"^All \d+ jobs are done, in \d+ s\.$", text, re.MULTILINE)
    assert "Reason:" not in text
    assert "claims" not in text  # which were not asked for
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")  # the cursor is back


def test_a_failed_job_is_told_with_its_log_and_command(copy):
    cells = {"tasks": ["digits-mlp"], "criteria": ["broken"], "schedules": ["cyclical"]}
    both = {"accuracy": [*PRESET["s_cyc"]["accuracy"], cells]}
    code, said = on_a_terminal(copy, "run", "short.yaml", f"s_cyc={json.dumps(both)}", "--cores", "2")
    text = plain(said)
    assert code == 1, text
    [failed, last, log, by_hand] = [line.strip() for line in text.partition("Failed: ")[2].splitlines()[:4]]
    assert failed == "prune_chains/digits-mlp/broken/cyclical/seed-0"
    assert last == "ValueError: no score for anything"
    assert (copy / log.removeprefix("log: ")).is_file()
    assert re.search(r"x prune_chains +━* *0/1 1 failed", text)
    assert re.search(r"tables, figures, report +━* *0/7 7 cannot run", text)
    assert re.match(r"0 of 8 jobs are done, 1 failed, 7 wait for what failed, in", text.splitlines()[-1])
    command = by_hand.removeprefix("by hand: ")
    again = subprocess.run(command, shell=True, cwd=copy, env=_with_tools(), capture_output=True, text=True)
    assert again.returncode == 1
    assert last in again.stderr


def _with_tools():
    return os.environ | {"PATH": f"{PRUNEBENCH.parent}:{os.environ['PATH']}", "PRUNEBENCH_ROOT": str(ROOT)}


def test_ctrl_c_lets_jobs_save_and_the_same_command_goes_on(copy):
    long = "tasks={digits-mlp: {training: {epochs: 100000}}}"
    log = copy / "results/short/logs/train_dense/digits-mlp/constant/seed-0.log"
    log.unlink()
    target = "results/short/runs/dense/digits-mlp/constant/seed-0/provenance.json"
    words = ("run", "short.yaml", long, "--cores", "1", target)
    code, said = on_a_terminal(copy, *words, ctrl_c=lambda: log.exists() and "epoch 1:" in log.read_text())
    assert code == 130
    text = plain(said)
    assert "Stopping: the jobs that run save where they are, and end." in text
    assert re.search(
        r"^Stopped: 0 of 1 jobs are done, in .* The same command goes on from there\.$", text, re.MULTILINE
    )
    assert "Failed" not in text
    assert "state saved in" in log.read_text()


def test_plain_snakemake_shows_the_same(finished):
    folder, _ = finished
    line = [PRUNEBENCH.with_name("snakemake"), "results/short/claims.json", "--forcerun", "judge_claims"]
    line += ["--logger", "prunebench", "--cores", "1", "--config", "preset=short.yaml"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "tables, figures, report: all 1 jobs done" in done.stderr
    assert "All 1 jobs are done" in done.stderr
    assert "Reason" not in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["smok"], "did you mean 'smoke'?"),
        (["short.yaml", "seed=[1]"], "unknown key 'seed': did you mean 'seeds'?"),
        (["short.yaml", "--cores", "0"], "cores"),
    ],
)
def test_bad_input_is_one_line_before_snakemake_starts(tmp_path, ready, words, said):
    done = prunebench(ready(tmp_path), "run", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / ".snakemake").exists()


def test_outside_of_a_clone_one_line_says_so(tmp_path):
    done = prunebench(tmp_path, "run", "smoke")
    assert done.returncode == 2
    where = f"no workflow in {tmp_path} or above it"
    assert done.stderr == f"prunebench: {where}: start in a clone of prunebench, the folder with its Snakefile\n"
