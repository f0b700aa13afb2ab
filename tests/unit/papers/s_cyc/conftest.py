"""Files of made-up runs of the S-Cyc study, written as its plan says, and what the study makes of them."""

import copy
import json
import math
import random
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
    "tested": ["arm", "phase", "epoch", "accuracy", "whole_batches", "augmented", "augmented_whole_batches"],
    "thresholds": ["arm", "phase", "nominal", "reached"],
}


class Runs:
    """Writes what the jobs of a preset leave below a folder, and reads it as the study does.

    end: (job, cycle) -> columns of the cycle's end. candidate: (job, cycle, max_lr) -> columns of a candidate's end,
    `selected` among them. gradients, histograms: (job) -> rows, each with its `cycle`. released: (job, table) -> rows
    of `phases`, `tested` or `thresholds` of a chain that defects are measured on, each with its `cycle`.
    """

    def __init__(self, preset, folder):
        from prunebench.suite.plan import make_plan

        self.preset, self.folder = preset, folder
        self.stages = make_plan(preset).stages

    def jobs(self, *stages):
        return [job for name in stages if name in self.stages for job in self.stages[name].jobs]

    def write(self, end, gradients, histograms, candidate, released=lambda job, table: []):
        for job in self.jobs("train_dense", "prune_chains", "measure_gradients"):
            self._phases(job, [end(job, phase.axes["cycle"]) for phase in job.arms[0].phases])
        for job in self.jobs("measure_gradients"):
            for name, rows in (("gradients", gradients(job)), ("gradient_histograms", histograms(job))):
                named = [{"arm": "chain", "phase": row["cycle"]} | row for row in rows]
                write_csv(
                    self.folder / job.folder / f"{name}.csv", [_without(row, "cycle") for row in named], PROBED[name]
                )
        for job in self.jobs("measure_defects"):
            for name in ("phases", "tested", "thresholds"):
                named = [
                    {"arm": "chain", "phase": row["cycle"]} | _without(row, "cycle") for row in released(job, name)
                ]
                write_csv(self.folder / job.folder / f"{name}.csv", named, PROBED.get(name, PHASES))
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
        for job in self.jobs("time_schedules"):
            self._timing(job)
        return self

    def _timing(self, job):
        """Chains of 3 s and 30 updates; those of `s_cyc` take a tenth more per block. A quarter of the machine is
        others'."""
        rows = [
            {"arm": arm.name, "phase": phase, "steps": 10, "status": "trained"}
            | {
                "seconds": 100
                if arm.axes["block"] == 0
                else 1 + 0.1 * arm.axes["block"] * (arm.axes["schedule"] == "s_cyc")
            }
            for arm in job.arms
            for phase in range(3)
        ]
        write_csv(self.folder / job.folder / "phases.csv", rows, PHASES)
        write_json(self.folder / job.folder / "provenance.json", {"others_load": 0.25})

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

        seen = observe(self.preset, self.folder)
        assert not seen.missing
        return seen.observations, seen.notes


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


class ByHand:
    """A tiny study whose tables can be worked out by hand: what its runs leave, by schedule and seed."""

    def __init__(self, runs_of):
        self._runs_of = runs_of
        # Accuracies of cycle 0, by seed; each cycle loses 0.01. Of the benchmarks `constant` is the best one on
        # validation, `cyclical` on test.
        self.validation = {"cyclical": [0.80, 0.82, 0.84], "constant": [0.81, 0.83, 0.85], "s_cyc": [0.80, 0.80, 0.80]}
        self.test = {"cyclical": [0.90, 0.92, 0.94], "constant": [0.70, 0.75, 0.71], "s_cyc": [0.80, 0.81, 0.86]}
        self.seconds = {"cyclical": [2.0, 4.0, 5.0], "constant": [1.0, 4.0, 10.0], "s_cyc": [3.0, 6.0, 7.5]}
        # Training loss at shares 0.2, 0.5 and 1, by cycle: every cycle reaches 0.75.
        self.losses = {0: [2.0, 1.0, 0.25], 1: [2.25, 1.25, 0.5], 2: [2.5, 1.5, 0.75]}
        self.log_slope = 1.7
        # The oracle's validation accuracies by cycle, max_lr and seed. Near the best: in cycle 0 within the tolerance
        # of 0.01; in cycle 1 within one standard error, 0.1 / sqrt 3 = 0.0577; in cycle 2 0.4 and 0.8, while the
        # schedule has 0.3.
        self.grid = {
            0: {0.1: [0.90, 0.90, 0.90], 0.2: [0.891, 0.891, 0.891], 0.4: [0.80, 0.80, 0.80], 0.8: [0.1, 0.1, 0.1]},
            1: {0.1: [0.54, 0.54, 0.54], 0.2: [0.55, 0.55, 0.55], 0.4: [0.50, 0.60, 0.70], 0.8: [0.2, 0.2, 0.2]},
            2: {0.1: [0.30, 0.30, 0.30], 0.2: [0.30, 0.30, 0.30], 0.4: [0.391, 0.391, 0.391], 0.8: [0.4, 0.4, 0.4]},
        }
        self.chosen = {0: [0.1, 0.1, 0.2], 1: [0.2, 0.4, 0.4], 2: [0.8, 0.8, 0.8]}
        self.oracle_test = [0.84, 0.80, 0.88]

    def content(self, seeds=(0, 1, 2), schedules=("cyclical", "constant", "s_cyc"), **left_out):
        """The preset: three schedules on one task; the oracle, gradients on another task and the released scripts,
        unless they are False."""
        task = {
            "dataset": "d",
            "network": {"kind": "mlp", "activation": "tanh"},
            "training": {"epochs": 2, "batch_size": 10},
        }
        # Each schedule has a dense network of its own, so that their numbers may differ in cycle 0, too.
        profiles = {"constant": {"kind": "constant"}, "s_cyc": {"kind": "cyclical", "min_share": 0.1}}
        ramp = {"kind": "warmup_step_decay", "warmup": 0.5, "milestones": [0.5]}
        profiles |= {"whole": ramp, "cut": ramp | {"top": 0.7}}
        study = {
            "pruning": {"rate": 0.5, "cycles": 2},
            "accuracy": [{"tasks": ["net_a"], "criteria": ["global_magnitude"], "schedules": list(schedules)}],
        }
        if left_out.get("gradients", True):
            study["gradients"] = [{"tasks": ["net_b"], "criteria": ["random"], "schedules": ["cyclical"]}]
            study["gradient_measure"] = {"images": 100}
        if left_out.get("released", True):
            study["released"] = {"task": "net_a", "small_task": "net_a_small", "criterion": "global_magnitude"}
            study["released"] |= {"schedule": "whole", "truncated": "cut"}
        if left_out.get("timing", True):
            study["timing"] = {"task": "net_a", "criterion": "global_magnitude", "blocks": 2}
            study["timing"] |= {"schedule": "s_cyc", "reference": "cyclical"}
        if left_out.get("oracle", True):
            searched = {"task": "net_a", "criterion": "global_magnitude", "schedule": "s_cyc"}
            study["oracle"] = searched | {"max_lr": [0.1, 0.2, 0.4, 0.8], "tolerance": 0.01}
        return {
            "preset": "tiny",
            "scale": "x",
            "seeds": list(seeds),
            "datasets": {
                name: {"source": "digits", "train": train, "validation": 10} for name, train in (("d", 100), ("e", 41))
            },
            "tasks": {"net_a": task, "net_b": task, "net_a_small": task | {"dataset": "e"}},
            "schedules": {
                name: {
                    "profile": profiles.get(name, {"kind": "cyclical"}),
                    "policy": {"kind": "linear", "start": 0.1, "top": 0.3, "last": 1},
                    "role": "method" if name == "s_cyc" else "benchmark",
                }
                for name in ("cyclical", "constant", "s_cyc", *(("whole", "cut") if "released" in study else ()))
            },
            "s_cyc": study,
        }

    def runs(self, content=None, **edits):
        """The written runs; `cycles`, `gradients`, `histograms`, and `phases`, `tested`, `thresholds` of a chain that
        defects are measured on: (job, its rows) -> the rows that it leaves instead."""
        from prunebench.suite.preset import parse_preset

        def edited(table, job, rows):
            return edits[table](job, rows) if table in edits else rows

        return self._runs_of(parse_preset(content or self.content(), "tiny")).write(
            lambda job, cycle: edited("cycles", job, self._cycles(job.axes["schedule"], job.seed))[cycle],
            lambda job: edited("gradients", job, self.gradients(job.seed)),
            lambda job: edited("histograms", job, self._histogram(job.seed)),
            self._candidate,
            lambda job, table: edited(table, job, self.released(job)[table]),
        )

    def tables(self, content=None, **edits):
        """The study's tables of these runs."""
        return self.runs(content, **edits).tables()

    def _cycles(self, schedule, seed):
        return [
            {
                "density": 0.5**cycle,
                "sparsity": 1 - 0.5**cycle,
                "max_lr": 0.1,
                "status": "trained",
                "validation_accuracy": self.validation[schedule][seed] - cycle / 100,
                "test_accuracy": self.test[schedule][seed] - cycle / 100,
                "steps": 20,
                "images": 200,
                "flops": 1000,
                "flops_sparse": 1000 * 0.5**cycle,
                "seconds": self.seconds[schedule][seed] / 4 * (2 if cycle == 2 else 1),
                "peak_memory_mb": 100 + 10 * cycle + seed,
            }
            for cycle in range(3)
        ]

    def spread_at(self, cycle, seed, loss):
        """A std whose log is exactly linear in the loss: interpolation between measurements must be exact."""
        return math.exp(-2 + 0.3 * seed + (-0.5 + 0.1 * seed) * cycle + self.log_slope * loss)

    def gradients(self, seed, losses=None):
        """Measurements of a chain. `losses` replace the study's: None is NaN; an absent cycle was not reached."""
        rows = []
        for cycle, at in (losses or self.losses).items():
            for share, loss in zip([0.2, 0.5, 1.0], at, strict=True):
                std = math.nan if loss is None else self.spread_at(cycle, seed, loss)
                rows += [
                    {"cycle": cycle, "share": share, "sparsity": 1 - 0.5**cycle, "weights": name, "n": 64 >> cycle}
                    | {"loss": math.nan if loss is None else loss, "std": std, "iqr_over_1349": 2 * std}
                    | dict.fromkeys(("mean", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"), 0.125)
                    for name in ("surviving", "all", "hidden.0.weight")
                ]
        return rows

    @staticmethod
    def _histogram(seed):
        return [
            {"cycle": cycle, "share": 1.0, "sparsity": 0.0, "left": left, "right": right, "count": count}
            for cycle in range(3)
            for left, right, count in [(-math.inf, -1.0, seed), (-1.0, 1.0, 6), (1.0, math.inf, 2 * cycle)]
        ]

    @staticmethod
    def released(job):
        """Made-up rows by table of a chain that defects are measured on: no two numbers are alike."""
        rng = random.Random(f"{job.task} {job.axes['schedule']} {job.seed}")
        rows = {"phases": [], "tested": [], "thresholds": []}
        for cycle in range(3):
            end = {"cycle": cycle, "status": "trained", "sparsity": 1 - 0.5**cycle, "density": 0.5**cycle}
            rows["phases"].append(end | {"test_accuracy": rng.uniform(0.7, 0.9)})
            for epoch in (1, 2, 3):
                shares = {name: rng.uniform(0.5, 0.9) for name in PROBED["tested"][3:]}
                rows["tested"].append({"cycle": cycle, "epoch": epoch} | shares)
            if cycle:
                reached = 1 - 0.5**cycle + rng.uniform(0.0, 0.01)
                rows["thresholds"].append({"cycle": cycle, "nominal": 1 - 0.5**cycle, "reached": reached})
        return rows

    def _candidate(self, choice, cycle, max_lr):
        validation, chosen = self.grid[cycle][max_lr][choice.seed], max_lr == self.chosen[cycle][choice.seed]
        return {
            "density": 0.5**cycle,
            "sparsity": 1 - 0.5**cycle,
            "status": "diverged" if validation == 0.1 else "trained",
            "validation_accuracy": validation,
            "test_accuracy": self.oracle_test[choice.seed] if chosen else 0.99,
            "steps": 20,
            "images": 200,
            "flops": 1000,
            "flops_sparse": 500,
            "seconds": 0.5,
            "peak_memory_mb": 300,
            "selected": int(chosen),
        }


@pytest.fixture(scope="session")
def by_hand(runs_of):
    """The study by hand."""
    return ByHand(runs_of)


@pytest.fixture(scope="session")
def tables(by_hand):
    """Its tables as frames by name, with three seeds, the oracle and gradients."""
    return by_hand.tables()


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
