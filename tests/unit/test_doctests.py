"""The plain library's docstrings: every example runs, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
import torch

from prunebench.models import NETWORKS
from prunebench.pruning import CRITERIA

PACKAGES = ("analysis", "models", "optim", "pruning", "schedules")

WITHOUT = {
    "analysis.optimizer_cost": "times of a machine, which no example can state, and the code that is timed",
    "models.kinds.TorchvisionMobileNetV3Large": "has no method of its own; `torchvision_network` has the example",
    "models.kinds.TorchvisionMobileNetV3Small": "has no method of its own; `torchvision_network` has the example",
    "models.kinds.TorchvisionResNet50": "has no method of its own; `torchvision_network` has the example",
    "models.kinds.TorchvisionVgg19Bn": "has no method of its own; `torchvision_network` has the example",
    "pruning.layers.check_mask": "a part of `masks.apply_masks_`, which has the example",
    "pruning.layers.mask_layer_": "a part of `masks.apply_masks_`, which has the example",
    "pruning.layers.table_of": "a part of `layers_of`, which has the example",
    "pruning.layers.transposed": "for the modules beside it; `Layer` has the example",
    "pruning.masks.check_scores": "for the modules beside it",
    "pruning.masks.check_share": "for the modules beside it",
}
"""Public names, or modules of them, without an example, and why."""


def modules() -> list[str]:
    found = ["stats"]
    for package in PACKAGES:
        path = importlib.import_module(f"prunebench.{package}").__path__
        found += [package, *(module.name for module in pkgutil.walk_packages(path, f"{package}."))]
    return found


def own(module: ModuleType) -> dict[str, object]:
    """The functions and classes that a module defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isroutine(value)) and value.__module__ == module.__name__
    }


def examples(name: str, value: object) -> list[doctest.DocTest]:
    # Not `doctest.testmod`, which takes a function under `torch.no_grad` or `contextmanager` for another module's.
    # Nothing is given to an example: it imports what it needs, so that it can be pasted.
    found = doctest.DocTestFinder().find(value, name, module=False, globs={})
    return [test for test in found if test.examples]


@pytest.fixture
def nothing_left_behind():
    registries = [(registry, dict(registry)) for registry in (CRITERIA, NETWORKS)]
    with torch.random.fork_rng(devices=[]):
        yield
    for registry, before in registries:
        registry.clear()
        registry.update(before)


@pytest.mark.parametrize("name", modules())
def test_the_examples_run(name, nothing_left_behind):
    module = importlib.import_module(f"prunebench.{name}")
    tests = doctest.DocTestFinder(recurse=False).find(module, name, globs={})
    for key, value in own(module).items():
        tests += examples(key, value)
    said: list[str] = []
    for test in tests:
        doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "\n" + "".join(said)


def test_every_public_name_has_an_example():
    lacking = set()
    for name in modules():
        if any(part.startswith("_") for part in name.split(".")):
            continue
        module = importlib.import_module(f"prunebench.{name}")
        for key, value in own(module).items():
            if key.startswith("_") or getattr(value, "_is_protocol", False):
                continue
            # A score function is looked up by its criterion's name, and described by its first line.
            if any(value is criterion.score for criterion in CRITERIA.values()):
                continue
            # In a class or a method of its own: the docstrings of what a preset names are in the presets' schema.
            if not examples(key, value):
                lacking.add(f"{name}.{key}" if name not in WITHOUT else name)
    assert lacking == set(WITHOUT)
