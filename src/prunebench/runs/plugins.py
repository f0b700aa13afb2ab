"""Files of a user's own ideas: what they register is valid in presets, and a run depends on the files that it uses.

Nothing here imports torch.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType

from prunebench.errors import InputError
from prunebench.models.kinds import NETWORKS
from prunebench.pruning.criteria import CRITERIA
from prunebench.runs.probes import PROBES
from prunebench.runs.updates import UPDATES
from prunebench.schedules import POLICIES, PROFILES

REGISTRIES = (PROFILES, POLICIES, UPDATES, NETWORKS, PROBES, CRITERIA)
"""What a user's file may add to."""

ROOT = "PRUNEBENCH_ROOT"
"""The environment variable that names the folder in which relative paths of a preset are looked for, after the working
directory. The workflow sets it to its own folder."""

_LOADED: dict[str, ModuleType] = {}


def load_plugins(paths: Iterable[str]) -> None:
    """Imports files of a user's ideas, each once."""
    for path in paths:
        _LOADED[path] = load_file(path)


def used_plugins(names: Callable[[], Iterable[str]]) -> dict[str, str]:
    """The SHA-256 of each loaded file that registered one of `names()`."""
    if not _LOADED:
        return {}
    wanted, used = {*names()}, {}
    for path, module in _LOADED.items():
        own = {name for registry in REGISTRIES for name, entry in registry.items() if _home(entry) == module.__name__}
        if own & wanted:
            used[path] = hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
    return used


def _home(entry: object) -> str:
    """The module of a registered class, or of a criterion's function."""
    return str(getattr(getattr(entry, "score", entry), "__module__", ""))


def located(path: str) -> Path:
    """A path of a preset: absolute, in the working directory, or in the workflow's folder; else InputError."""
    places = [Path(path), *([Path(os.environ[ROOT]) / path] if ROOT in os.environ else [])]
    for place in places:
        if place.exists():
            return place.resolve()
    raise InputError(f"{path}: no such file or folder, looked for in {', '.join(str(p.parent) for p in places)}")


@cache
def load_file(path: str) -> ModuleType:
    """The module of a file, or the package of a folder; InputError where there is none or it cannot be imported."""
    place = located(path)
    file = place / "__init__.py" if place.is_dir() else place
    name = f"prunebench_user_{place.stem}_{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(
        name, file, submodule_search_locations=[str(place)] if place.is_dir() else None
    )
    if spec is None or spec.loader is None or not file.is_file():
        raise InputError(f"{path}: no Python file, nor a folder with an __init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:  # a user's file may raise anything
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
