"""Every job of a folder of results and how it is: what there is, what failed, what is stale."""

import fcntl
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunebench.errors import InputError, nearest, printable
from prunebench.files import RESUME_FILE, check
from prunebench.runs.spec import RunSpec, Spec
from prunebench.suite.failures import last_line
from prunebench.suite.inputs import read_csv
from prunebench.suite.paper import Stage
from prunebench.suite.places import RUNS, preset_of
from prunebench.suite.plan import make_plan
from prunebench.suite.study import is_stale

STATES = {
    "done": "all its files are there and as they were written",
    "kept": "runs.csv lists it, its folder was not kept",
    "running": "a process works in its folder",
    "stopped": "it was stopped or killed; the same command goes on where it was",
    "failed": "it ended with an error, the last line of its log",
    "stale": "its folder holds what another spec left; `snakemake` does it anew",
    "damaged": "a file is missing, or its checksum is another; delete the folder and run again",
    "missing": "it has not run",
}
"""How a job can be."""

SHOWN = 10
"""Jobs of a state that a terminal shows."""

_ERROR = re.compile(r"(prunebench: |[\w.]*(Error|Exception)\b)")


@dataclass(frozen=True)
class Found:
    """A job: its stage, its folder below runs/, its state, why it is so, and its log where there is one."""

    stage: str
    folder: str
    state: str
    why: str = ""
    log: str = ""


def survey(results: Path) -> list[Found]:
    """Every job of the folder's preset; of a kept folder, without runs/, those that train, which its runs.csv lists.

    Raises InputError where the folder holds no results, or no plan.json.
    """
    stages = make_plan(preset_of(results)).stages.values()
    kept = {row["folder"] for row in read_csv(results / "runs.csv", ["folder"]) or ()}
    every = (results / RUNS).is_dir()
    jobs = [(stage, job) for stage in stages for job in stage.jobs if every or isinstance(job, RunSpec)]
    return [_found(results, stage, job, kept) for stage, job in jobs]


def _found(results: Path, stage: Stage, job: Spec, kept: set[str]) -> Found:
    folder = results / RUNS / job.folder
    log = results / "logs" / stage.name / f"{job.folder.removeprefix(f'{stage.folder}/')}.log"
    if is_locked(folder / ".lock"):
        return Found(stage.name, job.folder, "running", last_line([str(log)])[1], str(log))
    if not (folder / "provenance.json").is_file():
        if not folder.exists() and job.folder in kept:
            return Found(stage.name, job.folder, "kept")
        return _unfinished(stage, job, log, (folder / RESUME_FILE).is_file())
    try:
        if is_stale(job, results / RUNS):
            return Found(stage.name, job.folder, "stale", STATES["stale"])
        for name in job.files:
            if not (folder / name).is_file():
                return Found(stage.name, job.folder, "damaged", f"{name} is missing")
            check(folder / name)
    except InputError as error:
        return Found(stage.name, job.folder, "damaged", str(error))
    return Found(stage.name, job.folder, "done")


def _unfinished(stage: Stage, job: Spec, log: Path, resumes: bool) -> Found:
    said = last_line([str(log)])[1]
    state = "stopped" if resumes and not _ERROR.match(said) else "failed" if said else "missing"
    return Found(stage.name, job.folder, state, said, str(log) if said else "")


def is_locked(path: Path) -> bool:
    """Whether another process holds a lock of `prunebench.files` on a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the disk has no locks
        pass
    finally:
        os.close(descriptor)
    return False


def known_state(name: str) -> str:
    """`name`, where it is a state; else InputError with the nearest one."""
    if name not in STATES:
        raise InputError(f"no state '{name}': {nearest(name, STATES)}")
    return name


# --- For people


def as_json(results: Path, found: Sequence[Found]) -> dict[str, Any]:
    """The whole survey as JSON types."""
    return {
        "results": str(results),
        "counts": dict(Counter(job.state for job in found)),
        "stages": {stage: dict(counts) for stage, counts in _by_stage(found).items()},
        "jobs": [asdict(job) for job in found],
    }


def _by_stage(found: Sequence[Found]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for job in found:
        counts.setdefault(job.stage, Counter())[job.state] += 1
    return counts


def print_survey(results: Path, found: Sequence[Found], console: Console) -> None:
    """A line per stage with how many jobs are in which state; then those that somebody has to look after."""
    counts = _by_stage(found)
    states = [state for state in STATES if any(state in each for each in counts.values())]
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for name in ("stage", "jobs", *states):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for stage, each in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        if stage == "all":
            table.add_section()
        table.add_row(stage, str(each.total()), *(str(each[state] or "") for state in states))
    console.print(table)
    for state in states:
        if state not in ("done", "kept", "missing"):
            for line in _lines([job for job in found if job.state == state], state):
                console.print(Text(printable(line)), soft_wrap=True)
    if "missing" in states:
        preset = results.name
        console.print(f"What is missing: `snakemake --cores 2 --config preset={preset}`", markup=False, soft_wrap=True)


def _lines(jobs: Sequence[Found], state: str) -> Iterator[str]:
    yield f"{state}: {STATES[state]}"
    for job in jobs[:SHOWN]:
        why = f": {job.why[:200]}" if job.why and job.why != STATES[state] else ""
        yield f"  {job.folder}{why}"
        if state == "failed":
            yield f"    log: {job.log}"
    if len(jobs) > SHOWN:
        yield f"  and {len(jobs) - SHOWN} more: `prunebench runs --state {state}` lists all"
