"""What of a folder of results can go, and how much disk it takes: `prunebench clean`.

Only files that prunebench and its workflow have written are ever deleted, by their names: a file of anybody else's
stays, with its folder. No link is followed, and nothing outside of the folder is touched.
"""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prunebench.errors import InputError, nearest, printable
from prunebench.files import RESUME_FILE, RUN_RECORD, read_text
from prunebench.runs import events
from prunebench.runs.spec import Spec
from prunebench.suite import exhibits, numbers
from prunebench.suite.jobs import is_locked
from prunebench.suite.places import RUNS, preset_of
from prunebench.suite.plan import Plan, make_plan
from prunebench.suite.study import is_stale

KINDS = {
    "resume": "what stopped jobs would go on from, and what killed ones left",
    "stale": "jobs of another spec than the preset's, and jobs that it has no more",
    "runs": "all jobs",
    "all": "all that prunebench made in the folder: jobs, data, tables, ledger, report, logs, plan",
}
"""What can go."""

LEAVINGS = (
    *("plan.json", "plan.sha256", "runs.csv", "runs.sha256", "claims.json", "claims.csv", "claims.sha256"),
    *("observations.csv", "report.html"),
)
"""Files of a folder of results that lie in no folder of their own."""

LONGEST = 1 << 20
"""Bytes of the longest record of checksums that is read."""


@dataclass(frozen=True)
class Rubbish:
    """Files that can go, with their sizes; `kept` says what stays though it is of the kind, and why."""

    files: dict[Path, int]
    kept: list[str]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(self.files.values())


class Folder:
    """A folder of results in which something may go; InputError for a kept one, which no command would make again."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.preset = preset_of(results)
        if not (results / RUNS).is_dir() or (results / RUNS).is_symlink():
            raise InputError(f"{results} has no {RUNS}/: it is a kept folder, of which nothing goes")
        if is_locked(results.resolve().parent.parent / ".snakemake" / "prunebench.lock"):
            raise InputError(f"a Snakemake works in {results.resolve().parent.parent}: wait for it, or stop it")
        self.kept: list[str] = []

    @cached_property
    def plan(self) -> Plan:
        """Every job of the preset."""
        return make_plan(self.preset)

    @cached_property
    def jobs(self) -> dict[Path, Spec | None]:
        """Every folder of a job, those of the plan and those that it has no more."""
        planned: dict[str, Spec] = {job.folder: job for job in self.plan.jobs()}
        found = {}
        for folder in self._folders(self.results / RUNS):
            name = folder.relative_to(self.results / RUNS).as_posix()
            if name in planned or any((folder / own).is_file() for own in (RUN_RECORD, RESUME_FILE)):
                found[folder] = planned.get(name)
        return found

    def rubbish(self, kind: str) -> Rubbish:
        """What is of a kind. Jobs in whose folders a process works stay."""
        self.kept = []
        paths = {"resume": self._resume, "stale": self._stale, "runs": self._runs, "all": self._all}[kind]()
        files = {path: _size(path) for path in paths if _is_plain(path)}
        behind = {folder for folder in {path.parent for path in files} if _inside(self.results, folder) is None}
        self.kept += [f"{folder}: it lies behind a link" for folder in sorted(behind)]
        return Rubbish({path: size for path, size in files.items() if path.parent not in behind}, self.kept)

    def _folders(self, below: Path) -> Iterator[Path]:
        for folder, _, _ in os.walk(below, followlinks=False):
            yield Path(folder)

    def _free(self, folders: Iterable[Path]) -> Iterator[Path]:
        for folder in folders:
            if is_locked(folder / ".lock"):
                self.kept.append(f"{folder}: a process works in it")
            else:
                yield folder

    def _resume(self) -> Iterator[Path]:
        for folder in self._free(self.jobs):
            yield folder / RESUME_FILE
        for folder in self._folders(self.results):
            yield from (path for path in folder.glob(f".*.{'[0-9a-f]' * 12}.tmp") if not is_locked(path))

    def _stale(self) -> Iterator[Path]:
        for folder in self._free(self.jobs):
            job = self.jobs[folder]
            if job is None or self._is_of_another(job, folder):
                yield from self._of_job(folder, job)

    def _is_of_another(self, job: Spec, folder: Path) -> bool:
        try:
            return is_stale(job, self.results / RUNS)
        except InputError as error:
            self.kept.append(f"{folder}: {error}")
            return False

    def _runs(self) -> Iterator[Path]:
        for folder in self._free(self.jobs):
            yield from self._of_job(folder, self.jobs[folder])

    def _of_job(self, folder: Path, job: Spec | None) -> Iterator[Path]:
        names = {RUN_RECORD, RESUME_FILE, ".lock", *(job.files if job else ()), *_sealed(folder / RUN_RECORD)}
        yield from (folder / name for name in sorted(names))
        yield from sorted((folder / events.FOLDER).glob(f"*/{events.FILES}"))

    def _all(self) -> Iterator[Path]:
        yield from self._runs()
        yield from self._resume()
        yield from (self.results / name for name in LEAVINGS)
        for name in self.preset.datasets:
            yield from (self.results / "data" / f"{name}{end}" for end in (".safetensors", ".json"))
        papers = self.preset.all_papers().values()
        tables = [*exhibits.TABLES, *(table for paper in papers for table in paper.tables)]
        yield from (self.results / "tables" / name for table in tables for name in table.files)
        records = ("calibration", *self.preset.all_papers())
        yield from (self.results / "tables" / f"{name}.sha256" for name in records)
        for folder in self._folders(self.results / "logs"):
            yield from sorted(folder.glob("*.log"))


def _sealed(record: Path) -> list[str]:
    """The names of a record of checksums that are names of files beside it."""
    try:
        lines = read_text(record, LONGEST).splitlines() if record.is_file() else []
    except InputError:
        return []
    names = [line[66:] for line in lines if line[64:66] == "  "]
    return [name for name in names if name not in ("", ".", "..") and "/" not in name]


def _is_plain(path: Path) -> bool:
    """Whether there is a file at a path, itself no link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _inside(results: Path, folder: Path) -> Path | None:
    """The place of a folder of the results on the disk; None where a link leads to it."""
    place = results.resolve() / folder.relative_to(results)
    return place if place.resolve() == place else None


def _size(path: Path) -> int:
    return os.lstat(path).st_blocks * 512


def remove(results: Path, rubbish: Rubbish) -> None:
    """Deletes the files and the folders that this leaves empty; the folder of results itself stays.

    Raises InputError where the system refuses.
    """
    for path in rubbish.files:
        place = _inside(results, path.parent)
        if place is None:  # since it was looked at
            continue
        try:
            (place / path.name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot delete {path}: {error.strerror or error}") from None
        _remove_empty(place, results.resolve())


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:  # not empty
            return
        folder = folder.parent


# --- For people

SHOWN = 5
"""Files of a kind that a terminal shows."""


def main(results: Path, what: str | None, yes: bool, as_json: bool = False) -> None:
    """Prints what would go, of every kind or of one; with `yes` that one goes.

    Raises InputError where it is not said which.
    """
    if what not in (None, *KINDS):
        raise InputError(f"--what '{what}': {nearest(str(what), KINDS)}")
    if yes and what is None:
        raise InputError(f"--yes deletes only what is named: give --what, one of {', '.join(KINDS)}")
    folder = Folder(results)
    found = {kind: folder.rubbish(kind) for kind in ([what] if what else KINDS)}
    if yes and what:
        remove(results, found[what])
    if as_json:
        print(json.dumps({"deleted": yes, **{kind: _content(each) for kind, each in found.items()}}, indent=2))
        return
    for kind, each in found.items():
        size = numbers.size(each.size) if each.files else ""
        print(f"{kind:<7} {len(each.files):>6} files {size:>10} {'deleted' if yes else 'would go'}: {KINDS[kind]}")
        for line in each.kept:
            print(printable(f"  stays: {line}"))
        for path in [*each.files][:SHOWN] if what and not yes else ():
            print(printable(f"  {path}"))
        if what and not yes and len(each.files) > SHOWN:
            print(f"  and {len(each.files) - SHOWN} more: --json lists all")
    if not yes:
        command = f"prunebench clean {printable(str(results))} --what {what or 'KIND'} --yes"
        print(f"Nothing is deleted without --yes: {command}")


def _content(rubbish: Rubbish) -> dict[str, object]:
    return {"bytes": rubbish.size, "files": [str(path) for path in rubbish.files], "kept": rubbish.kept}
