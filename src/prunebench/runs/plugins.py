"""A user's own ideas: what their files and packages register is valid in presets, and a run depends on those it uses.

A preset names files; an installed package says by the entry point `prunebench.plugins` which of its modules to import.
Nothing here imports torch.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from prunebench.data.sources import SOURCES
from prunebench.errors import InputError
from prunebench.models.kinds import NETWORKS
from prunebench.pruning.criteria import CRITERIA
from prunebench.runs.probes import PROBES
from prunebench.runs.updates import UPDATES
from prunebench.schedules import POLICIES, PROFILES

REGISTRIES = (PROFILES, POLICIES, UPDATES, NETWORKS, PROBES, CRITERIA, SOURCES)
"""What a user's file or package may add to."""

GROUP = "prunebench.plugins"
"""The group of entry points of installed packages."""

ROOT = "PRUNEBENCH_ROOT"
"""The environment variable that names the folder in which relative paths of a preset are looked for, after the working
directory. The workflow sets it to its own folder."""

_LOADED: dict[str, ModuleType] = {}


def load_plugins(paths: Iterable[str]) -> None:
    """Imports the modules of installed packages and files of a user's ideas, each once."""
    _LOADED.update(installed())
    for path in paths:
        _LOADED[path] = load_file(path)


@cache
def installed() -> dict[str, ModuleType]:
    """Name of an entry point -> its module; InputError, naming the package, for one that cannot be imported."""
    modules = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        of = point.dist.name if point.dist else "an installed package"
        try:
            modules[point.name] = point.load()
        except Exception as error:  # a package may raise anything
            raise InputError(f"{of}: its plugin {point.value} cannot be imported: {error}") from error
        if not isinstance(modules[point.name], ModuleType):
            raise InputError(f"{of}: its plugin {point.value} is no module")
    return modules


def used_plugins(names: Callable[[], Iterable[str]]) -> dict[str, str]:
    """The digest of each loaded file or package that registered one of `names()`."""
    if not _LOADED:
        return {}
    wanted = {*names()}
    homes = {_home(entry) for registry in REGISTRIES for name, entry in registry.items() if name in wanted}
    return {
        path: _digest(module)
        for path, module in _LOADED.items()
        if any(f"{home}.".startswith(f"{module.__name__}.") for home in homes)
    }


def digests() -> dict[str, str]:
    """The digest of each loaded file or package: of its Python sources."""
    return {path: _digest(module) for path, module in _LOADED.items()}


def _digest(module: ModuleType) -> str:
    """SHA-256 of a module's file, of a package over the digests of all its files."""
    file = Path(str(module.__file__))
    if not hasattr(module, "__path__"):
        return hashlib.sha256(file.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for part in sorted(file.parent.rglob("*.py")):
        whole.update(hashlib.sha256(part.read_bytes()).digest())
    return whole.hexdigest()


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
