"""Ideas of installed packages, and what a run depends on."""

import hashlib
import json
import subprocess
import sys

import pytest

SCHEDULE = """
from dataclasses import dataclass

from prunebench.schedules import PROFILES
from prunebench.suite.registry import register_claims


@dataclass(frozen=True)
class Flat:
    def lr(self, step, total_steps, max_lr):
        return max_lr / 2


PROFILES["flat"] = Flat


@register_claims("s_cyc")
def claims():
    from prunebench.papers.s_cyc.claims import beats

    yield beats("Z7", "schedule", "mine", "cyclical")
"""
PRESET = """
preset: mine
scale: x
seeds: [0]
datasets:
  d: {source: digits, train: 100, validation: 10}
tasks:
  net: {dataset: d, network: {kind: mlp}, training: {epochs: 1, batch_size: 10}}
schedules:
  mine: {profile: {kind: flat}, policy: {kind: fixed, max_lr: 0.1}, role: method}
  cyclical: {profile: {kind: cyclical}, policy: {kind: fixed, max_lr: 0.1}, role: benchmark}
s_cyc:
  pruning: {rate: 0.5, cycles: 1}
  accuracy: [{tasks: [net], criteria: [global_magnitude], schedules: [mine, cyclical]}]
"""
PLAN = """
import json, sys
from prunebench.suite.asked import all_claims
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset
preset = load_preset("mine.yaml")
plan = {job.folder: job.plugins for job in make_plan(preset).jobs()}
assert not {"torch", "pandas"} & {*sys.modules}, "a dry run loads neither"
print(json.dumps({"plan": plan, "claims": [claim.id for claim in all_claims(preset)]}))
"""


@pytest.fixture
def package(tmp_path):
    """Installs a package `theirs` with an entry point into a folder of its own, and runs code beside it."""

    def install(code, module="theirs"):
        site = tmp_path / "site"
        (site / "theirs-1.0.dist-info").mkdir(parents=True)
        (site / "theirs-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (site / "theirs-1.0.dist-info/entry_points.txt").write_text(f"[prunebench.plugins]\nideas = {module}\n")
        (site / "theirs").mkdir()
        (site / "theirs/__init__.py").write_text("from theirs import schedules\n")
        (site / "theirs/schedules.py").write_text(code)
        (tmp_path / "mine.yaml").write_text(PRESET)
        run = f"import sys; sys.path.insert(0, {str(site)!r}); exec({PLAN!r})"
        return subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True), site

    return install


def test_an_installed_package_adds_what_it_registers_and_runs_depend_on_its_files(package):
    done, site = package(SCHEDULE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    files = (site / "theirs/__init__.py", site / "theirs/schedules.py")
    digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
    # The dense network and the chain under its schedule depend on the package, those under another one do not.
    assert (
        {folder for folder, plugins in found["plan"].items() if plugins}
        == {folder for folder in found["plan"] if "/mine/" in folder}
        != set()
    )
    assert {json.dumps(plugins) for plugins in found["plan"].values()} == {"{}", json.dumps({"ideas": digest})}
    assert "Z7" in found["claims"]
    assert found["claims"].index("Z7") < found["claims"].index("B1")  # among those of its paper


@pytest.mark.parametrize(
    ("code", "module", "said"),
    [
        ("1 / 0", "theirs", "theirs: its plugin theirs cannot be imported: division by zero"),
        (SCHEDULE, "theirs.schedules:Flat", "theirs: its plugin theirs.schedules:Flat is no module"),
        (SCHEDULE, "nowhere", "theirs: its plugin nowhere cannot be imported: No module named 'nowhere'"),
    ],
)
def test_a_broken_package_is_named(package, code, module, said):
    done, _ = package(code, module)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
