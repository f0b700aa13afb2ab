"""Folders of results and of jobs that a person names; an unknown one is answered with the nearest that there is."""

from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.errors import InputError, nearest
from prunebench.files import RESUME_FILE

if TYPE_CHECKING:
    from prunebench.suite.preset import Preset

HOLDS = ("plan.json", "claims.json", "runs.csv")
"""What a folder of results has, any of them."""

NONE = "there are no results in results/, `snakemake` makes some"

RUNS = "runs"
"""The folder of all jobs within one of results."""


def known_results() -> list[Path]:
    """The folders of results in results/ and results/reference/."""
    return [each for place in ("results", "results/reference") for each in _results_in(Path(place))]


def _results_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _is_results(path)) if folder.is_dir() else []


def _is_results(path: Path) -> bool:
    return any((path / name).is_file() for name in HOLDS)


def results_folder(path: Path) -> Path:
    """`path`, where it is a folder of results; InputError with the nearest one where it is none."""
    if path.is_dir():
        if _is_results(path):
            return path
        raise InputError(f"{path} holds no results: none of {', '.join(HOLDS)}")
    if beside := [each.name for each in _results_in(path.parent)]:
        raise InputError(f"{path}: no such folder; {nearest(path.name, beside)}")
    found = [each.as_posix() for each in known_results()]
    raise InputError(f"{path}: no such folder; {nearest(path.as_posix(), found) if found else NONE}")


def preset_of(results: Path) -> "Preset":
    """The preset of a folder of results; InputError as `results_folder`, or where plan.json is missing or broken."""
    from prunebench.suite.inputs import read_json
    from prunebench.suite.preset import parse_preset

    plan = results_folder(results) / "plan.json"
    return parse_preset(read_json(plan), str(plan))


def job_folder(path: Path) -> Path:
    """`path`, where it is a job's folder; InputError with the nearest job where it is none."""
    if any((path / name).is_file() for name in ("spec.json", RESUME_FILE)):
        return path
    if path.is_dir():
        below = sorted(each.name for each in path.iterdir() if each.is_dir())
        raise InputError(f"{path} is no job's folder; below it: {', '.join(below)[:200] or 'nothing'}")
    results = next((each.parent for each in path.parents if each.name == RUNS and _is_results(each.parent)), None)
    if results is not None:
        from prunebench.suite.plan import make_plan

        folder = path.relative_to(results / RUNS).as_posix()
        make_plan(preset_of(results)).find(folder)
        raise InputError(f"{path}: the job has left nothing yet; `prunebench runs {results}` tells how it is")
    parent = next((each for each in path.parents if each.is_dir()), Path())
    wrong = path.relative_to(parent).parts[0] if parent != Path() else path.parts[0]
    raise InputError(f"{path}: no such folder; {nearest(wrong, (each.name for each in parent.iterdir()))[:200]}")
