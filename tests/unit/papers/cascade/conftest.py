"""Files of made-up runs of the cascade study, written as its plan says, and what the study makes of them."""

import copy
import itertools
import json
import math
import random
from pathlib import Path

import pandas as pd
import pytest
import yaml
from scipy import stats

from prunebench.files import write_csv, write_json

# Written out, not imported: these are the files' formats, and importing them from the engine would load torch.
COLUMNS = {
    "epochs": [
        *("arm", "phase", "epoch", "lr", "train_loss", "validation_loss", "validation_accuracy"),
        *("sparsity", "steps", "clock", "flops", "flops_sparse"),
    ],
    "phases": [
        *("arm", "phase", "density", "sparsity", "sparsity_start", "status", "max_lr"),
        *("validation_loss", "validation_accuracy", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
        *("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb", "clock"),
    ],
    "shedding": [
        *("arm", "phase", "followed", "epoch", "steps", "clock", "sparsity", "survivors", "tau"),
        *("absolute", "relative", "removable", "filters", "dead_filters", "channels", "dead_channels", "in_dead"),
    ],
    "histograms": ["arm", "phase", "followed", "epoch", "left", "right", "count"],
    "occupancy": ["arm", "phase", "moment", "m", "alive", "blocks"],
    "overlap": ["sparsity", "arm_a", "seed_a", "arm_b", "seed_b", "jaccard", "chance"],
}


STRUCTURES = {"dead_filters": "filters", "dead_channels": "channels"}
THRESHOLDS = ("absolute", "relative", "removable", "in_dead", *STRUCTURES)


class Numbers:
    """Made-up measurements: each depends on its key alone, so that a test can say which of them a table shows."""

    STEPS = 10
    """Updates per epoch."""
    UNITS = 50
    """Filters, and input channels, of a network."""
    BINS = ((0.0, 1e-8), (1e-8, 1.0), (1.0, math.inf))

    @staticmethod
    def value(*key):
        """In [0, 1)."""
        return random.Random(repr(key)).random()

    def shed_share(self, task, arm, followed, seed, epoch, threshold):
        share = self.value(task, arm, followed, seed, float(epoch), threshold)
        return int(self.UNITS * share) / self.UNITS if threshold in STRUCTURES else share

    def count(self, task, arm, followed, seed, epoch, left):
        """Weights in a bin of a histogram."""
        return int(1000 * self.value(task, arm, followed, seed, epoch, left) ** 2)

    def blocks(self, task, arm, phase, moment, seed, m, alive):
        """Groups of m weights with so many alive."""
        return 5 + int(50 * self.value(task, arm, phase, moment, seed, m, alive))

    def score(self, task, arm, seed):
        """Test accuracy at a run's end."""
        return 0.5 + 0.4 * self.value(task, arm, seed)


class Runs(Numbers):
    """What the jobs of a preset leave below a folder, and what the study makes of it.

    lost: (job, arm) -> the phase in which the arm diverges, -1 in the dense training, None where it does not. epoch:
    (job, arm, steps, row) -> the row of `epochs` instead. change: (job, tables), edits a job's rows by table.
    """

    def __init__(self, preset, folder):
        from prunebench.suite.plan import make_plan

        self.preset, self.folder, self.plan = preset, folder, make_plan(preset)

    def jobs(self):
        """The study's jobs that train arms."""
        return [job for job in self.plan.jobs("cascade") if hasattr(job, "arms")]

    def write(self, lost=lambda job, arm: None, epoch=lambda job, arm, steps, row: row, change=lambda job, tables: 0):
        for job in self.jobs():
            tables = {name: [] for name in job.tables}
            for arm in job.arms:
                self._write_arm(job, arm, lost(job, arm), epoch, tables)
            change(job, tables)
            for name, rows in tables.items():
                write_csv(self.folder / job.folder / f"{name}.csv", rows, COLUMNS[name])
        for job in self.plan.dense.jobs:
            dense = [{"arm": "dense", "status": "trained", "test_accuracy": self.score(job.task, "dense", job.seed)}]
            write_csv(self.folder / job.folder / "phases.csv", dense, COLUMNS["phases"])
        for stage in self.plan.studies["cascade"]:
            for job in stage.jobs if stage.name == "compare_masks" else ():
                write_csv(self.folder / job.folder / "overlap.csv", self._overlaps(job), COLUMNS["overlap"])
        for job in self.plan.jobs():
            write_json(self.folder / job.folder / "provenance.json", {})
        return self

    def _write_arm(self, job, arm, lost, epoch, tables):
        steps, flops = 0, 0.0
        for number, phase in enumerate(arm.phases):
            at = {"arm": arm.name, "phase": number}
            end = at | {"sparsity_start": 0.3 * number, "sparsity": 0.2 + 0.05 * job.seed}
            if lost is not None and number >= lost:
                chance = {"test_accuracy": 0.1, "validation_accuracy": 0.1}
                tables["phases"].append(end | chance | {"status": "diverged", "clock": 77})
                if number == lost:
                    tables["epochs"].append(at | {"epoch": 0, "validation_accuracy": 0.1})
                continue
            for place in range(phase.epochs):
                steps, flops = steps + self.STEPS, flops + self.STEPS * (1 - 0.1 * number)
                row = at | {"epoch": place, "steps": steps, "flops_sparse": flops, "sparsity": end["sparsity"]}
                row["validation_accuracy"] = self.value(job.task, arm.name, job.seed, "validation", steps)
                tables["epochs"].append(epoch(job, arm, steps, row))
            # the last epoch's, as in a run
            end["validation_accuracy"] = tables["epochs"][-1]["validation_accuracy"]
            end |= {"test_accuracy": self.score(job.task, arm.name, job.seed), "status": "trained"}
            tables["phases"].append(end | {"clock": 0.01 * steps})
        self._probe(job, arm, lost, tables)

    def _probe(self, job, arm, lost, tables):
        probes = {type(probe).__name__: probe for probe in job.probes()}
        last = len(arm.phases) - 1
        # 0.25: a time in the first epoch; a run that diverges measured nonsense until then
        times = (0.0, 0.25, *range(1, arm.epochs + 1)) if lost is None else (0.0, 0.25) if lost >= 0 else ()
        for followed, epoch in itertools.product(arm.follows or [arm.name], times):
            at = {"arm": arm.name, "phase": last, "followed": followed, "epoch": float(epoch)}
            key = (job.task, arm.name, followed, job.seed, epoch)
            if "Shedding" in probes:
                removable = probes["Shedding"].removable_images and epoch == int(epoch)
                tables["shedding"].append(at | self._shed(key, removable) | {"clock": 0.1 * epoch, "sparsity": 0.123})
            if "Histograms" in probes and epoch in (0, arm.epochs):
                bins = [{"left": left, "right": right, "count": self.count(*key, left)} for left, right in self.BINS]
                tables["histograms"] += [at | each for each in bins]
        sizes = probes["Occupancy"].sizes if "Occupancy" in probes else ()
        for number, moment, m in itertools.product(range(last + 1), ("before", "after"), sizes):
            if lost is None or number < lost or (number, moment) == (lost, "before"):
                at = {"arm": arm.name, "phase": number, "moment": moment, "m": m}
                key = (job.task, arm.name, number, moment, job.seed, m)
                tables["occupancy"] += [at | {"alive": n, "blocks": self.blocks(*key, n)} for n in range(m + 1)]

    def _shed(self, key, removable):
        row = {}
        for threshold in THRESHOLDS:
            share = self.shed_share(*key, threshold)
            if whole := STRUCTURES.get(threshold):
                row |= {threshold: round(self.UNITS * share), whole: self.UNITS}
            elif threshold != "removable" or removable:
                row[threshold] = share
        return row

    def _overlaps(self, job):
        arms = [(arm, kept.seed, sparsity) for kept in job.jobs for arm, sparsity in kept.arms.items()]
        return [
            {"sparsity": sparsity, "arm_a": a, "seed_a": seed_a, "arm_b": b, "seed_b": seed_b}
            | {"jaccard": self.value(job.task, a, seed_a, b, seed_b), "chance": self.value(job.task, a, b) / 9}
            for (a, seed_a, sparsity), (b, seed_b, other) in itertools.combinations(arms, 2)
            if sparsity == other and (seed_a == seed_b or a == b)
        ]

    # --- What the study makes of them

    def data(self):
        """What the paper's `read` gives."""
        from prunebench.papers.cascade import PAPER
        from prunebench.papers.cascade.data import read
        from prunebench.suite.study import Study

        return read(Study.of(PAPER, self.preset, self.folder))

    def tables(self):
        """Every table of the study as a frame."""
        from prunebench.papers.cascade import PAPER

        data = self.data()
        return {table.name: pd.DataFrame(PAPER.resolve(table.make)(data)) for table in PAPER.tables}

    def table(self, name):
        """One table alone."""
        from prunebench.papers.cascade import PAPER

        return pd.DataFrame(PAPER.resolve(PAPER.table(name).make)(self.data()))

    def observations(self):
        """What the study's claims observe."""
        from prunebench.suite.ledger import observe

        seen = observe(self.preset, self.folder)
        assert not seen.missing
        return seen.observations

    # --- What went into them

    def arm(self, part, task, **axes):
        """The one arm with these axes, whatever its seed."""
        named = {
            arm.name: arm
            for job in self.jobs()
            if (job.axes["part"], job.task) == (part, task)
            for arm in job.arms
            if axes.items() <= arm.axes.items()
        }
        [arm] = named.values()
        return arm

    def control(self, part, task, arm):
        """The name of the one arm that follows this one."""
        [name] = {
            other.name
            for job in self.jobs()
            if (job.axes["part"], job.task) == (part, task)
            for other in job.arms
            if arm.name in other.follows
        }
        return name

    def scores(self, part, task, **axes):
        """The test accuracy of an arm by seed."""
        name = self.arm(part, task, **axes).name
        return [self.score(task, name, seed) for seed in self.preset.seeds]

    def shares(self, part, task, arm, epoch, threshold="relative", seeds=(0, 1, 2)):
        """Shed shares of an arm and of its control over the same weights, by seed."""
        control = self.control(part, task, arm)
        return tuple(
            [self.shed_share(task, name, arm.name, seed, epoch, threshold) for seed in seeds]
            for name in (arm.name, control)
        )


PARTS = {
    "shedding": ("cascade_shedding", "cascade_shedding_curves", "cascade_magnitudes"),
    "criteria": ("cascade_criteria", "cascade_overlap"),
    "retraining": ("cascade_retraining",),
    "schedules": ("cascade_schedules",),
    "gmp": ("cascade_gmp", "cascade_progress"),
    "semi_structured": ("cascade_semi_structured", "cascade_occupancy"),
}
"""Part -> the tables that are made from it."""

CONSTANT = {"profile": {"kind": "constant"}, "max_lr": 0.1}
PRELUDE = {"sparsity": 0.2, "epochs": 1, "max_lr": 0.1}
PRELUDES = {
    "shedding": {**PRELUDE, "weight_decay": 0.05, "control": "no_decay"},
    "no_decay": {**PRELUDE, "weight_decay": 0},
}
RAMP = {"share": 0.5, "every": 2}
STUDY = {
    "shedding": {
        "tasks": ["net_a", "net_b"],
        "epochs": 2,
        "criteria": ["global_magnitude", "random"],
        "removable_images": 5,
        "settings": [
            {"max_lr": 0.1, "weight_decay": 0.01, "pruned_shares": [0.1, 0.2]},
            {"max_lr": 0.01, "weight_decay": 0, "pruned_shares": [0.2]},
        ],
    },
    "criteria": {
        "tasks": ["net_a", "net_b"],
        "criteria": ["random", "global_magnitude"],
        "sparsities": [0.5, 0.9],
        "preludes": [*PRELUDES],
        "prelude_criteria": ["random", "global_magnitude"],
    },
    "retraining": {
        "tasks": ["net_a"],
        "criteria": ["global_magnitude", "random"],
        "sparsities": [0.8],
        "rewind_epoch": 1,
    },
    "schedules": {
        "tasks": ["net_a"],
        "sparsity": 0.8,
        "epochs": 4,
        "weight_decay": 0.05,
        "rounds": 2,
        "ramp": RAMP,
        "lr_schedules": {"high": CONSTANT, "low": CONSTANT | {"max_lr": 0.01}},
    },
    "gmp": {"tasks": ["net_a"], "sparsities": [0.8, 0.9], "ramp": RAMP, "preludes": [*PRELUDES]},
    "semi_structured": {
        "tasks": ["net_a"],
        "patterns": [
            {"kind": "n_of_m", "n": 2, "m": 4},
            {"kind": "blocks", "size": 4, "sparsity": 0.5},
            {"kind": "n_of_m", "n": 6, "m": 8},
        ],
        "preludes": [*PRELUDES],
    },
}
NETWORKS = {"net_a": {"kind": "resnet", "depth": 8}, "net_b": {"kind": "mobilenet", "width": 0.5}}


class Cascade:
    """A tiny preset of every part of the study on a ResNet, `net_a`, and a MobileNet, `net_b`; and its runs."""

    parts = PARTS

    def __init__(self, new_folder):
        self._new_folder = new_folder

    def content(self, *, seeds=(0, 1, 2), parts=None, networks=NETWORKS, scale="x", margins=None, **changes):
        """The preset. parts: those that are run, None for all; `changes` are laid over the study's configuration."""
        study = {
            "dense": "flat",
            "retrain": {"epochs": 4, "weight_decay": 0.0, **CONSTANT},
            "preludes": PRELUDES,
            **{part: STUDY[part] for part in parts or PARTS},
        }
        study |= {key: study[key] | to if key in PARTS else to for key, to in changes.items()}
        training = {"epochs": 4, "batch_size": 10}
        flat = {"kind": "linear", "start": 0.1, "top": 0.3, "last": 1}
        return {
            "preset": "tiny",
            "scale": scale,
            "seeds": [*seeds],
            "datasets": {"d": {"source": "digits", "train": 10 * Numbers.STEPS, "validation": 10}},
            "tasks": {
                name: {"dataset": "d", "network": network, "training": training} for name, network in networks.items()
            },
            "schedules": {"flat": {"profile": {"kind": "constant"}, "policy": flat, "role": "control"}},
            "cascade": study,
            "claims": {"cascade": margins or {}},
        }

    def planned(self, content=None, **options):
        """The runs of a preset in a new folder, still to be written; `options` are those of `content`."""
        from prunebench.suite.preset import parse_preset

        return Runs(parse_preset(content or self.content(**options), "tiny"), self._new_folder())

    def written(self, preset):
        """The runs of any preset."""
        return Runs(preset, self._new_folder()).write()

    def runs(self, content=None, *, lost=None, epoch=None, change=None, **options):
        """The written runs of a preset; `lost`, `epoch` and `change` are those of `Runs`."""
        edits = {"lost": lost, "epoch": epoch, "change": change}
        return self.planned(content, **options).write(**{name: edit for name, edit in edits.items() if edit})


@pytest.fixture(scope="session")
def cascade(tmp_path_factory):
    """Makes presets and runs."""
    return Cascade(lambda: tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def made(cascade):
    """The runs of the whole tiny preset with three seeds."""
    return cascade.runs()


@pytest.fixture(scope="session")
def tables(made):
    """Its tables as frames by name."""
    return made.tables()


@pytest.fixture(scope="session")
def observed(made):
    """What the claims observe in these runs."""
    return made.observations()


@pytest.fixture(scope="session")
def assert_interval():
    """Asserts that columns hold the mean of these values and its 95 % t interval, as scipy has it."""

    def check(row, name, values, low=None, high=None):
        mean = sum(values) / len(values)
        ends = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=stats.sem(values))
        names = [name, low or f"{name}_low", high or f"{name}_high"]
        assert [row[column] for column in names] == pytest.approx([mean, *ends], abs=1e-12)

    return check


@pytest.fixture(scope="session")
def write_frames():
    """Writes frames of the study's tables as files, as they are after `make`."""

    def write(frames, out, scale="x"):
        from prunebench.papers.cascade import PAPER
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
        self.content = json.loads(json.dumps(yaml.safe_load(text)))
        self.content |= {"seeds": [0, 1], "s_cyc": None, "directional": None}

    def changed(self, *path, to, base=None):
        """The content, or `base`, with another value there."""
        content = copy.deepcopy(base or self.content)
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

    def jobs(self, content=None):
        """The study's jobs that train arms."""
        return [job for job in self.plan(content).jobs("cascade") if hasattr(job, "arms")]

    def job(self, part, content=None, task="digits-resnet8", seed=0):
        """The one job of a part."""
        [job] = [job for job in self.jobs(content) if (job.axes["part"], job.task, job.seed) == (part, task, seed)]
        return job

    def arms(self, part, content=None):
        """A job's arms by name."""
        return {arm.name: arm for arm in self.job(part, content).arms}

    def differing(self, content):
        """Folders of the jobs whose specs differ; the jobs must be the same."""
        before, after = ({job.folder: job.digest() for job in self.plan(of).jobs()} for of in (self.content, content))
        assert before.keys() == after.keys()
        return {folder for folder in before if before[folder] != after[folder]}


@pytest.fixture(scope="session")
def smoke():
    return Smoke()
