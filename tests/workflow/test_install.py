"""What an installation brings: the library with the base dependencies alone, and a torchvision that imports plainly."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
LIBRARY = ("schedules", "pruning", "optim", "analysis", "models", "data", "stats", "errors", "files", "seeding")
WITHOUT_EXTRAS = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Blocked())
"""
IMPORT_ALL = """
from importlib import import_module
from pkgutil import walk_packages

def load(name):
    module = import_module(name)
    for public in getattr(module, "__all__", ()):
        getattr(module, public)
    for part in walk_packages(getattr(module, "__path__", ()), f"{name}."):
        if part.name != "prunebench.pruning.lightning":  # a part of Lightning's, for those who have it
            load(part.name)

for name in sys.argv[1:]:
    load(f"prunebench.{name}")
"""
DIGITS = """
from pathlib import Path
from prunebench.data.sources import source_of
source_of("digits").read(None, Path())
"""
RESNET50 = """
from prunebench.models import build
build("torchvision_resnet50", classes=10, in_channels=3, image_size=32, seed=0)
"""
COMMAND = "from prunebench.__main__ import main; main()"


def names_of(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def modules_of_the_extras():
    """What the extras bring by name, as modules; what they bring along besides is not looked at."""
    extras = names_of(line for lines in PROJECT["optional-dependencies"].values() for line in lines) - {"prunebench"}
    owners = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
    modules = {module for module, names in owners.items() if names & extras}
    assert {"pandas", "pydantic", "snakemake", "sklearn", "torchvision", "typer", "yaml"} <= modules
    return modules


def run_without_extras(code, *words):
    line = [sys.executable, "-c", WITHOUT_EXTRAS + code, ",".join(modules_of_the_extras()), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_the_library_imports_with_the_base_dependencies_alone():
    done = run_without_extras(IMPORT_ALL, *LIBRARY)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("code", "words"), [(DIGITS, "digits: No module named 'sklearn'"), (RESNET50, "torchvision")])
def test_what_of_the_library_needs_the_extra_says_so(code, words):
    last = run_without_extras(code).stderr.splitlines()[-1]
    assert last.startswith("prunebench.errors.InputError: ")
    assert words in last
    assert "prunebench[workflow]" in last


def test_the_callback_without_lightning_says_what_it_needs():
    last = run_without_extras("import prunebench.pruning.lightning").stderr.splitlines()[-1]
    assert last == "ImportError: prunebench.pruning.lightning needs Lightning: pip install lightning"


@pytest.mark.parametrize("verb", [("claims", "results/laptop"), ("--help",), ()])
def test_the_command_without_its_extra_is_one_line(verb):
    done = run_without_extras(COMMAND, *verb)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "prunebench needs its workflow extra: pip install 'prunebench[workflow]'\n"


def test_an_import_that_fails_for_another_reason_is_not_taken_for_a_missing_extra():
    code = "import sys; sys.modules['prunebench.cli'] = None\n" + COMMAND
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ModuleNotFoundError: " in done.stderr or "ImportError: " in done.stderr


def test_the_installed_command_is_the_one_that_looks_for_its_extra():
    assert PROJECT["scripts"] == {"prunebench": "prunebench.__main__:main"}


def test_torchvision_imports_plainly_with_its_operators():
    """Fails? torch and torchvision are not built for each other: see torch's line in constraints.txt."""
    code = (
        "import torch, torchvision, torchvision.transforms.v2; torchvision.models.mobilenet_v3_small();"
        "kept = torchvision.ops.nms(torch.eye(4)[:2], torch.ones(2), 0.5); assert len(kept) == 2"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
