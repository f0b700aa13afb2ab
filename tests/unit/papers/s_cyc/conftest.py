"""Files of made-up runs of the S-Cyc study, written as its plan says, and what the study makes of them."""

import copy
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from prunebench.files import write_csv, write_json

# Written out, not imported: these are the files' formats, and importing them from the engine would load torch.
PHASES = [
    *("arm", "phase", "density", "sparsity", "sparsity_start", "status", "max_lr"),
    *("validation_loss", "validation_accuracy", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
    *("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb", "clock"),
]
PROBED = {
    "gradients": [
        *("arm", "phase", "share", "sparsity", "weights", "n", "loss", "mean", "std", "iqr_over_1349"),
        *("q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"),
    ],
    "gradient_histograms": ["arm", "phase", "share", "sparsity", "left", "right", "count"],
}


class Runs:
    """Writes what the jobs of a preset leave below a folder, and reads it as the study does.

    end: (job, cycle) -> columns of the cycle's end. candidate: (job, cycle, max_lr) -> columns of a candidate's end,
    `selected` among them. gradients, histograms: (job) -> rows, each with its `cycle`.
    """

    def __init__(self, preset, folder):
        from prunebench.suite.plan import make_plan

        self.preset, self.folder = preset, folder
        self.stages = make_plan(preset).stages

    def jobs(self, *stages):
        return [job for name in stages if name in self.stages for job in self.stages[name].jobs]

    def write(self, end, gradients, histograms, candidate):
        for job in self.jobs("train_dense", "prune_chains", "measure_gradients"):
            self._phases(job, [end(job, phase.axes["cycle"]) for phase in job.arms[0].phases])
        for job in self.jobs("measure_gradients"):
            for name, rows in (("gradients", gradients(job)), ("gradient_histograms", histograms(job))):
                named = [{"arm": "chain", "phase": row["cycle"]} | row for row in rows]
                write_csv(
                    self.folder / job.folder / f"{name}.csv", [_without(row, "cycle") for row in named], PROBED[name]
                )
        searches = {job.folder: job for job in self.jobs("search_max_lr")}
        for choice in self.jobs("select_max_lr"):
            rows = [
                {"max_lr": arm.axes["max_lr"], "arm": arm.name, "phase": 0}
                | candidate(choice, choice.axes["cycle"], arm.axes["max_lr"])
                for folder in choice.among
                for arm in searches[folder].arms
            ]
            write_csv(
                self.folder / choice.folder / "selection.csv", rows, ["max_lr", *_without(PHASES, "max_lr"), "selected"]
            )
        for job in self.jobs(*self.stages):
            write_json(self.folder / job.folder / "provenance.json", {})
        return self

    def _phases(self, job, ends):
        rows = [{"arm": job.arms[0].name, "phase": phase} | end for phase, end in enumerate(ends)]
        write_csv(self.folder / job.folder / "phases.csv", rows, PHASES)

    def data(self):
        """What the paper's `read` gives."""
        from prunebench.papers.s_cyc import PAPER
        from prunebench.papers.s_cyc.data import read
        from prunebench.suite.study import Study

        return read(Study.of(PAPER, self.preset, self.folder))

    def tables(self):
        """Every table of the study as a frame."""
        from prunebench.papers.s_cyc import PAPER

        data = self.data()
        return {table.name: pd.DataFrame(PAPER.resolve(table.make)(data)) for table in PAPER.tables}

    def observations(self):
        """What the study's claims observe, and the notes by claim."""
        from prunebench.suite.ledger import observe

        observed, missing, notes = observe(self.preset, self.folder)
        assert not missing
        return observed, notes


def _without(of, *names):
    kept = [name for name in of if name not in names]
    return {name: of[name] for name in kept} if isinstance(of, dict) else kept


@pytest.fixture(scope="session")
def runs_of(tmp_path_factory):
    """(preset) -> its runs in a new folder, still to be written."""
    return lambda preset: Runs(preset, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def write_frames():
    """Writes frames of the study's tables as files, as they are after `make`."""

    def write(frames, out, scale="x"):
        from prunebench.papers.s_cyc import PAPER
        from prunebench.suite.report.tables import write_table

        for name, frame in frames.items():
            write_table(PAPER.table(name), frame, scale, out, PAPER)
        return out

    return write


class Smoke:
    """The smoke preset's content with two seeds and no other study, and what becomes of it."""

    def __init__(self):
        text = (Path(__file__).parents[4] / "config/smoke.yaml").read_text(encoding="utf-8")
        # Through JSON, so that no value is shared as the file's aliases share them.
        self.content = json.loads(json.dumps(yaml.safe_load(text))) | {
            "seeds": [0, 1],
            "cascade": None,
            "directional": None,
        }

    def changed(self, *path, to):
        """The content with another value there."""
        content = copy.deepcopy(self.content)
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        return content

    def plan(self, content=None):
        """The plan of the content."""
        from prunebench.suite.plan import make_plan
        from prunebench.suite.preset import parse_preset

        return make_plan(parse_preset(content or self.content, "my.yaml"))

    def chains(self, content=None):
        """The pruning chains: those that are measured, and the others."""
        stages = self.plan(content).stages
        return [job for name in ("measure_gradients", "prune_chains") for job in stages[name].jobs]

    def differing(self, content):
        """Folders of the jobs whose specs differ; the jobs must be the same."""
        before, after = ({job.folder: job.digest() for job in self.plan(of).jobs()} for of in (self.content, content))
        assert before.keys() == after.keys()
        return {folder for folder in before if before[folder] != after[folder]}


@pytest.fixture(scope="session")
def smoke():
    return Smoke()
