"""A SLURM for the tests of this folder, which only run where they are asked for: they start daemons as root."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKED = "PRUNEBENCH_SLURM_TESTS"


def _module(path):
    """A file of the tests, which lie in no package."""
    name = f"{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLUSTER = _module(Path(__file__).with_name("cluster.py"))


def pytest_collection_modifyitems(items):
    """Skips the tests of this folder, by name, where no SLURM can be started."""
    reason = CLUSTER.missing() if os.environ.get(ASKED) else f"starts a SLURM as root: set {ASKED}=1, as .ci/run does"
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def until():
    """Waits for a condition."""
    return CLUSTER.until


@pytest.fixture
def cluster(request):
    """A SLURM of one node; the parameter has what differs. Not in pytest's folder, which munge finds too secret."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, CLUSTER.Cluster(folder, **request.param) as cluster:
        yield cluster


class Submitted:
    """A `snakemake` at work in the background, as a user starts it in the repository."""

    def __init__(self, folder, *words, config):
        folder.mkdir()
        self.folder, self.output = folder, folder / "output"
        line = [Path(sys.executable).with_name("snakemake"), "--directory", folder, *words, "--config", *config]
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(line, cwd=ROOT, stdout=output, stderr=output)

    @property
    def text(self):
        """What it has printed so far."""
        return self.output.read_text()

    def finish(self, seconds=900):
        """Waits for its end; gives its exit code."""
        return self.process.wait(seconds)


@pytest.fixture
def snakemake(tmp_path):
    """Starts `snakemake WORD...` with `--config`; what still runs at the end of the test is stopped."""
    started = []

    def start(name, *words, **how):
        started.append(Submitted(tmp_path / name, *words, **how))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def literal():
    """The words behind `snakemake` with which README.md and docs/cluster.md submit to a cluster."""
    words = ("--cores", "8", "--profile", "slurm")
    assert f"snakemake {' '.join(words)}" in (ROOT / "README.md").read_text()
    return words
