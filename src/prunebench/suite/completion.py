"""What a shell's Tab offers: folders of results and of jobs, claims, presets. It reads names and imports nothing heavy.

A shell asks at every Tab, so nothing here may take long, say a word or fail: what cannot be read offers nothing.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prunebench.errors import InputError
from prunebench.files import RESUME_FILE, read_text
from prunebench.runs.plugins import ROOT
from prunebench.suite.places import RUNS, known_results

MOST = 1000
"""Jobs that are offered."""

LARGEST = 1 << 24
"""Bytes of the largest ledger that is read."""


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def results(incomplete: str) -> list[str]:
    """Folders of results; elsewhere any folder."""
    return _beginning((path.as_posix() for path in known_results()), incomplete) or _folders(incomplete)


def _folders(incomplete: str) -> list[str]:
    parent = incomplete.rpartition("/")[0]
    try:
        there = sorted(Path(parent or ("/" if incomplete.startswith("/") else ".")).iterdir())
        return _beginning((path.as_posix() for path in there if path.is_dir()), incomplete)
    except OSError:
        return []


def jobs(incomplete: str) -> list[str]:
    """Folders of jobs that have left something, of the results that are begun with or of all."""
    found = []
    for folder in _job_folders(incomplete):
        found += _beginning([folder], incomplete)
        if len(found) == MOST:
            break
    return found or _folders(incomplete)


def _job_folders(incomplete: str) -> Iterator[str]:
    roots = [path for path in known_results() if (path / RUNS).is_dir()]
    begun = [path for path in roots if incomplete.startswith(f"{path.as_posix()}/")]
    if not begun and incomplete.rpartition(f"/{RUNS}/")[1]:
        begun = [Path(incomplete.rpartition(f"/{RUNS}/")[0])]
    for root in begun or roots:
        for folder, below, files in os.walk(root / RUNS):
            below.sort()
            if "spec.json" in files or RESUME_FILE in files:
                yield Path(folder).as_posix()


def claims(folder: Any, incomplete: str) -> list[str]:
    """The claims of a ledger."""
    try:
        findings = json.loads(read_text(Path(folder) / "claims.json", LARGEST))["findings"]
        return _beginning((str(finding["id"]) for finding in findings), incomplete)
    except (InputError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def presets(incomplete: str) -> list[str]:
    """The presets of config/, there and in the workflow's folder; elsewhere .yaml files."""
    places = [Path(root) / "config" for root in ("", os.environ.get(ROOT, ""))]
    names = dict.fromkeys(path.stem for place in places for path in sorted(place.glob("*.yaml")))
    files = (path.as_posix() for path in sorted(Path(incomplete.rpartition("/")[0] or ".").glob("*.yaml")))
    return _beginning(names, incomplete) or _beginning(files, incomplete)


def states(incomplete: str) -> list[str]:
    """How jobs can be."""
    from prunebench.suite.jobs import STATES

    return _beginning(STATES, incomplete)


def rubbish(incomplete: str) -> list[str]:
    """What `prunebench clean` deletes."""
    from prunebench.suite.clean import KINDS

    return _beginning(KINDS, incomplete)
