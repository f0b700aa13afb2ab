"""Fixtures that several test files share."""

import copy
import csv
import importlib.util
import json
import multiprocessing
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from prunebench.runs import numerics

# What is computed in this process and in those that it starts is what jobs compute.
numerics.pin()

# Test files run side by side, one per core: a library that starts threads of its own for each would slow all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# All files of a process share one fork server, which is started once with what the first of them asks for: so all ask
# for the same. What it has imported starts in milliseconds, in a process of its own.
multiprocessing.get_context("forkserver").set_forkserver_preload(
    [
        *("snakemake.cli", "pandas", "prunebench.suite.exhibits", "prunebench.cli", "prunebench.runs.run"),
        *("prunebench.runs.engine", "prunebench.papers.directional.connect", "tests.faults.test_kill"),
    ]
)

# CI decides whether a change lands, so it must not depend on luck; elsewhere every run searches afresh.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """A tiny prepared data set: 192 training, 64 validation and 64 test images of scikit-learn's digits, 8x8."""
    from prunebench.data.prepare import prepare

    folder = tmp_path_factory.mktemp("digits")
    out = folder / "digits.safetensors"
    prepare(
        "digits",
        None,
        folder / "cache",
        size=None,
        train=192,
        validation=64,
        test=64,
        split_seed=0,
        out=out,
        manifest=folder / "digits.json",
    )
    return out


@pytest.fixture(scope="session")
def digits(digits_file):
    """`digits_file` in memory."""
    from prunebench.data.batches import load_prepared

    return load_prepared(digits_file)


def _miniatures():
    """tests/miniatures.py, which lies in no package."""
    spec = importlib.util.spec_from_file_location("miniatures", Path(__file__).with_name("miniatures.py"))
    module = sys.modules["miniatures"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MINIATURES = _miniatures()


def pytest_collection_modifyitems(items):
    """`pytest -m gpu` runs what `make gpu` does; elsewhere these tests skip and say so."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


def pytest_generate_tests(metafunc):
    """A test that takes `miniature` runs for every layout of every source."""
    if "miniature" in metafunc.fixturenames:
        metafunc.parametrize("miniature", list(MINIATURES.MAKERS), indirect=True)


@pytest.fixture(scope="session")
def miniatures():
    """Makers of miniatures of every data set in its publisher's layout."""
    return MINIATURES


@pytest.fixture
def miniature(miniatures, request, tmp_path):
    """The data set of a layout, written."""
    return miniatures.make(request.param, tmp_path)


SHARED_DATA = "PRUNEBENCH_SHARED_DATA"


@pytest.fixture(scope="session")
def packed():
    """The folder of the packed images."""
    named = [Path(os.environ[SHARED_DATA])] if SHARED_DATA in os.environ else []
    for folder in (*named, *(parent / "shared" / "data" for parent in Path(__file__).resolve().parents)):
        if (folder / "unpack.py").is_file():
            return folder
    pytest.skip(
        f"needs real images: {SHARED_DATA} names no folder with unpack.py, nor is there shared/data above the tests"
    )


@pytest.fixture(scope="session")
def unpacked(packed, tmp_path_factory):
    """Unpacks a data set as its publisher lays it out; gives the folder of raw data."""

    def unpack(name):
        folder = tmp_path_factory.mktemp(name)
        subprocess.run([sys.executable, packed / "unpack.py", name, folder], check=True, capture_output=True)
        return folder

    return unpack


@pytest.fixture(autouse=True)
def denormal_numbers():
    """A job that a test does in this process turns denormal numbers off, which hypothesis needs."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def one_thread():
    """One CPU thread for the test: tiny networks are slower on more, and results depend on it in the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class MadeUpResults:
    """Results folders with made-up numbers of any preset: claims, runs, tables, figures.

    One simple rule decides all claims: the first is reproduced, the second is not, the third is open, and so on; of a
    paper's last one nothing is measured.
    """

    LEVELS = (0.75, 0.875, 0.9375, 0.96875, 0.984375)
    MEANS = ((0.03, 0.003), (-0.03, 0.003), (0.012, 0.02))
    SVG = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="518.4pt" height="216pt" viewBox="0 0 518.4 216">'
        '<rect width="518.4" height="216" fill="white"/><path d="M40 180L480 40" stroke="#0072B2" fill="none"/></svg>'
    )

    def __init__(self):
        self.kept = {}
        """Ledgers, which take time to judge."""

    def observations(self, preset):
        """Numbers of each claim in a task's five sparsities."""
        import pandas as pd

        from prunebench.suite.asked import all_claims
        from prunebench.suite.cells import cell
        from prunebench.suite.claim import OBSERVATION

        last = {claim.paper: claim.id for claim in all_claims(preset) if claim.method is None}
        cells = [cell(task=next(iter(preset.tasks)), sparsity=level) for level in self.LEVELS]
        rows = []
        for index, claim in enumerate(all_claims(preset)):
            mean, spread = self.MEANS[index % 3]
            for quantity in claim.quantities if claim.id not in last.values() else ():
                draw = random.Random(f"{claim.id} {quantity.name}")
                rows += [
                    (claim.id, quantity.name, at, seed, draw.gauss(mean, spread))
                    for at in cells
                    for seed in preset.seeds
                ]
        return pd.DataFrame(rows, columns=list(OBSERVATION))

    def networks(self, preset):
        """What a task's network reaches, for every study."""
        from prunebench.suite.record import Network

        network = Network(task=next(iter(preset.tasks)), accuracy=0.8432, n=len(preset.seeds))
        return {key: [network] for key in preset.studies()}

    def ledger(self, preset, missing=()):
        """The content of claims.json."""
        key = preset.model_dump_json(), tuple(missing)
        if key not in self.kept:
            self.kept[key] = self._judged(preset, missing)
        return copy.deepcopy(self.kept[key])

    def _judged(self, preset, missing):
        from prunebench.suite import ledger
        from prunebench.suite.claim import Ruling, above, below

        def judge(sample, margins):
            mean = sample.pooled(next(iter(sample.cells)))
            high, low = (f"the mean's interval lies {side} 0.01" for side in ("above", "below"))
            return Ruling({high: above(mean.low, 0.01)}, {low: below(mean.high, 0.01)})

        def simple(claim):
            first = claim.quantities[0].name
            truths = {
                "no_effect": lambda margins, cells: {first: 0.01},
                "claimed": lambda margins, cells: {first: 0.02},
            }
            return replace(claim, judge=judge, direction=None, **truths)

        with pytest.MonkeyPatch.context() as patch:
            of = ledger.all_claims
            patch.setattr(ledger, "all_claims", lambda preset: [*map(simple, of(preset))])
            seen = ledger.Seen(self.observations(preset), missing, networks=self.networks(preset))
            return ledger.judge(preset, seen).model_dump(mode="json")

    def runs(self, preset):
        """A run per study and seed, as runs.csv has them."""
        return [
            {
                "study": study, "task": next(iter(preset.tasks)), "seed": seed, "sparsity": 0.5, "status": "trained",
                "steps": 100, "images": 6400, "flops": 2e12, "flops_sparse": 1e12, "seconds": 40.5,
                "peak_memory_mb": 310.2, "commit": "f3e1277bdd7dbb8c", "dirty": False, "device": "a processor",
                "finished": "2026-11-22T00:42:46+00:00", "platform": "Linux", "precision": "bf16", "threads": 1,
                "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "prunebench": "0.1.0",
                "source_digest": "08dcc1cd457a7472f88f", "folder": f"{study}/task/seed-{seed}",
            }
            for study in preset.studies()
            for seed in preset.seeds
        ]  # fmt: skip

    def calibration(self, preset):
        """Rows of calibration.csv."""
        from prunebench.suite.asked import all_claims

        return [
            {
                "claim": claim.id, "n": n, "noise": noise, "tables": 10_000, "null_reproduced": 0.02 + 0.0001 * n,
                "null_reproduced_low": 0.018, "null_reproduced_high": 0.024, "claimed_reproduced": min(0.99, n / 11),
                "claimed_not_reproduced": 0.01, "seeds_for_80": 9, "noise_from": "measured: 3 seeds", "scale": "x",
            }
            for claim in all_claims(preset)
            for n in (3, 5, 10)
            for noise in ("independent", "shared by seed", "heavy-tailed")
        ]  # fmt: skip

    def stability(self, preset):
        """Rows of calibration_stability.csv."""
        from prunebench.suite.asked import all_claims

        return [
            {
                "claim": claim.id, "paper": claim.paper, "n": 10, "verdict": "reproduced", "same": 0.9,
                "opposite": 0.001, "opposite_low": 0.0002, "half": 5, "splits": 252, "forecast_same": 0.8,
                "found_same": 0.75, "forecast_opposite": 0.0, "found_opposite": 0.0, "scale": "x",
            }
            for claim in all_claims(preset)
        ]  # fmt: skip

    def table(self):
        """Rows of every other table."""
        return [
            {
                "schedule": "ours", "n": 3, "test_accuracy": 0.78033, "std": 0.008, "ci_low": 0.76, "ci_high": 0.80,
                "best": best, "difference": -0.0123, "difference_low": -0.02, "difference_high": 0.001, "control": "",
                "scale": "x",
            }
            for best in (True, False)
        ]  # fmt: skip

    def write(self, folder, preset, claims=None):
        """The folders of the results and of the figures."""
        from prunebench.suite.claim import write_observations

        results, figures = folder / "results", folder / "figures"
        (results / "tables").mkdir(parents=True)
        figures.mkdir()
        plan = preset.model_dump(mode="json", exclude={"raw_data"})
        (results / "plan.json").write_text(json.dumps(plan))
        (results / "claims.json").write_text(json.dumps(claims or self.ledger(preset)))
        write_observations(results / "observations.csv", self.observations(preset))
        self.rows(results / "runs.csv", self.runs(preset))
        for paper, _ in preset.studies().values():
            for table in paper.tables:
                self.rows(results / "tables" / f"{table.name}.csv", self.table())
            for figure in paper.figures:
                (figures / f"{figure.name}.svg").write_text(self.SVG)
        self.rows(results / "tables" / "calibration.csv", self.calibration(preset))
        self.rows(results / "tables" / "calibration_stability.csv", self.stability(preset))
        for name in ("calibration_power", "calibration_stability"):
            (figures / f"{name}.svg").write_text(self.SVG)
        return results, figures

    @staticmethod
    def rows(path, rows):
        """Writes rows as CSV; the first names the columns."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture(scope="session")
def made_up():
    """Writes results folders with made-up numbers."""
    return MadeUpResults()
