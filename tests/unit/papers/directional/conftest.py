"""Files of made-up runs of the directional study, written as its plan says, and what the study makes of them."""

import copy
import itertools
import json
import math
import random
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from prunebench.files import write_csv, write_json

# Written out, not imported: these are the files' formats, and importing them from the engine would load torch.
MEASURED = ("train_loss", "train_error", "test_loss", "test_error")
COLUMNS = {
    "epochs": "arm phase epoch lr train_loss validation_loss validation_accuracy sparsity steps clock flops "
    "flops_sparse",
    "phases": "arm phase density sparsity sparsity_start status max_lr validation_loss validation_accuracy train_loss "
    "train_accuracy test_loss test_accuracy steps images flops flops_sparse seconds peak_memory_mb clock",
    "weights": "arm phase epoch steps parameters sparsity sparsity_all l1 l2 threshold",
    "layers": "arm phase layer position weights alive",
    "paths": f"pair path t statistics {' '.join(MEASURED)}",
    "curves": "pair distance length epochs train_loss",
    "plane": f"pair kind point x y {' '.join(MEASURED)}",
    "curvature": "epoch pair k share chance quadratic norm_ratio own_share",
    "eigenvalues": "epoch rank eigenvalue",
    "toy": "seed fixed problem gamma t c mu steps lam error soft_error cosine d flat largest_flat smallest_steep "
    "sparsity sgd_loss grda_loss",
    "seconds": "network parameters measure optimizer block seconds",
    "memory": "network parameters optimizer parameter_bytes state_bytes peak_bytes",
}


class Numbers:
    """Made-up measurements: each depends on its key alone, so that a test can say which of them a table shows."""

    EPOCHS, TUNING, POINTS, D = 4, 3, 5, 400
    LAYERS = MappingProxyType({"conv_1.weight": 50, "fc.weight": 20})
    GAMMA = (0.1, 0.03, 0.003)
    OPTIMIZERS = ("sgd_momentum", "grda", "grda_reference", "sgd")  # as they happened to be measured
    LOSSES = MappingProxyType({"net_a": 0.05, "b_0.5_x": 0.5})
    """The training loss that runs end with: one task at a minimum, one not."""

    @staticmethod
    def value(*key):
        """In [0, 1)."""
        return random.Random(repr(key)).random()

    def last_epoch(self, arm):
        """Epochs of an arm: fine-tuning has its own number, an l1 network is cut without training."""
        method = arm.split(".")[0]
        return {"gmp_one_shot": self.TUNING, "l1": 0 if "grda" in arm else self.EPOCHS}.get(method, self.EPOCHS)

    def score(self, task, arm, seed):
        """Test accuracy at the end."""
        return 0.5 + 0.4 * self.value(task, arm, seed)

    def validation(self, task, arm, seed):
        """Validation accuracy at the end."""
        return 0.5 + 0.4 * self.value(task, arm, seed, "validation")

    def zeros(self, task, arm, seed, epoch=None, which="prunable"):
        """Sparsity after an epoch of an arm, by default the last one."""
        epoch = self.last_epoch(arm) if epoch is None else epoch
        return 0.8 + 0.1 * self.value(task, arm, seed, which, epoch)

    def accuracy_at(self, task, arm, seed, epoch):
        """Validation accuracy after an epoch."""
        return self.value(task, arm, seed, "accuracy", epoch)

    def norms(self, task, arm, seed, epoch):
        """l2 and l1 norm after an epoch."""
        return 1 + self.value(task, arm, seed, "l2", epoch), 10 + self.value(task, arm, seed, "l1", epoch)

    def norm_ratio(self, task, arm, seed, epoch):
        l2, l1 = self.norms(task, arm, seed, epoch)
        return l2 / l1

    def alive(self, task, arm, seed, layer):
        """Weights of a layer at the end."""
        return 1 + int(19 * self.value(task, arm, seed, layer))

    def on_path(self, *key):
        """Loss or error by task, seed, pair, path, statistics, t and measure. It is higher between the ends."""
        t = key[-2]
        return self.value(*key) + 8 * t * (1 - t)

    def hessian(self, task, seed, epoch, pair, k, what):
        """A positive number."""
        return 0.01 + self.value(task, seed, epoch, pair, k, what)

    def eigenvalue(self, task, seed, epoch, rank):
        return self.value(task, seed, epoch, rank) / rank

    def error(self, gamma, seed, fixed):
        """A power law of the learning rate with exponent 0.5, 0.6, 0.7 of seeds 0, 1, 2; 1 less with lam fixed."""
        return (2 + seed) * gamma ** (0.5 + 0.1 * seed - (fixed == "lam"))

    def seconds(self, network, measure, optimizer, block):
        return 0.01 + self.value(network, measure, optimizer, block)

    # --- Over seeds

    def scores(self, task, arm, seeds=(0, 1, 2)):
        return [self.score(task, arm, seed) for seed in seeds]

    def sparsities(self, task, arm, seeds=(0, 1, 2), which="prunable"):
        return [self.zeros(task, arm, seed, which=which) for seed in seeds]


class Runs(Numbers):
    """What the jobs of a preset leave below a folder, and what the study makes of it.

    lost: (task, arm, seed) of what diverges in its second epoch. empty: of what has no weight left, so that nothing is
    matched to it. change: (job, tables), edits a job's rows by table.
    """

    def __init__(self, preset, folder):
        from prunebench.suite.plan import make_plan

        self.preset, self.folder, self.plan = preset, folder, make_plan(preset)

    def jobs(self, stage):
        return [job for each in self.plan.studies["directional"] if each.name == stage for job in each.jobs]

    def write(self, lost=(), empty=(), change=lambda job, tables: None):
        rows_of = {
            "connect_minima": self._connection,
            "measure_curvature": self._curvature,
            "solve_exact": self._exact,
            "time_optimizers": self._timings,
        }
        for stage in self.plan.studies["directional"]:
            for job in stage.jobs:
                tables = {name: [] for name in job.tables}
                if stage.name in rows_of:
                    rows_of[stage.name](job, tables)
                for arm in getattr(job, "arms", ()):
                    self._arm(job, arm, lost, empty, tables)
                change(job, tables)
                for name, rows in tables.items():
                    write_csv(self.folder / job.folder / f"{name}.csv", rows, COLUMNS[name].split())
                write_json(self.folder / job.folder / "provenance.json", {})
        return self

    def _arm(self, job, arm, lost, empty, tables):
        task, seed, name = job.task, job.seed, arm.name
        [phase], at = arm.phases, {"arm": name, "phase": 0}
        like = [prune.like.arm for prune in phase.prune]
        if any((task, each, seed) in {*lost, *empty} for each in like):
            tables["phases"].append(at | {"status": "unmatched"})
            return
        diverged = (task, name, seed) in lost
        for epoch in range(phase.epochs + 1):
            if diverged and epoch == 2:
                break  # what it measured until then is nonsense
            l2, l1 = self.norms(task, name, seed, epoch)
            zeros = {"sparsity": self.zeros(task, name, seed, epoch)}
            zeros["sparsity_all"] = self.zeros(task, name, seed, epoch, "all")
            tables["weights"].append(at | {"epoch": epoch, "parameters": self.D, "l1": l1, "l2": l2} | zeros)
            if epoch < phase.epochs:
                reached = self.accuracy_at(task, name, seed, epoch + 1)
                tables["epochs"].append(at | {"epoch": epoch, "validation_accuracy": reached})
        end = at | {"steps": 10, "images": 100, "flops": 7, "flops_sparse": 5, "seconds": 2, "peak_memory_mb": seed}
        end |= {"status": "trained", "train_loss": self.LOSSES[task], "test_accuracy": self.score(task, name, seed)}
        end |= {
            "validation_accuracy": self.validation(task, name, seed),
            "sparsity": 0.123,
        }  # of the mask, not the zeros
        if diverged:
            tables["phases"].append(end | {"status": "diverged", "validation_accuracy": 0.1, "test_accuracy": 0.1})
            return
        tables["phases"].append(end)
        for position, (layer, weights) in enumerate(self.LAYERS.items()):
            row = {"layer": layer, "position": position, "weights": weights}
            tables["layers"].append(at | row | {"alive": self.alive(task, name, seed, layer)})

    def _connection(self, job, tables):
        task, seed = job.task, job.seed
        kinds = (("curve", "recomputed"), ("line", "recomputed"), ("curve", "stale"))
        for pair in job.connectivity.pairs:
            for step, (path, statistics) in itertools.product(range(self.POINTS), kinds):
                at = {"pair": pair, "path": path, "t": step / (self.POINTS - 1), "statistics": statistics}
                key = (task, seed, pair, path, statistics, at["t"])
                tables["paths"].append(at | {name: self.on_path(*key, name) for name in MEASURED})
            row = {"pair": pair, "distance": 1 + self.value(task, seed, pair, "distance")}
            tables["curves"].append(row | {"length": 2 + self.value(task, seed, pair, "length"), "epochs": 2})
            if job.connectivity.plane and pair in job.connectivity.plane.pairs:
                places = {(name,): {"kind": "point", "point": name, "x": 1.5, "y": 0.5} for name in ("a", "b", "bend")}
                for x, y in itertools.product((-1.0, 1.0), repeat=2):
                    places[x, y] = {"kind": "grid", "point": "", "x": x, "y": y}
                for place, at in places.items():
                    measured = {name: self.value(task, seed, pair, *place, name) for name in MEASURED}
                    tables["plane"].append({"pair": pair} | at | measured)

    def _curvature(self, job, tables):
        task, seed = job.task, job.seed
        for epoch in job.epochs:
            for rank in (1, 2, 3, 4):
                row = {"epoch": epoch, "rank": rank, "eigenvalue": self.eigenvalue(task, seed, epoch, rank)}
                tables["eigenvalues"].append(row)
            for pair, k in itertools.product(("grda:sgd", "sgd_order:sgd"), job.curvature.k):
                row = {"epoch": epoch, "pair": pair, "k": k, "chance": math.sqrt(k / self.D)}
                names = ("share", "quadratic", "norm_ratio", "own_share")
                row |= {name: self.hessian(task, seed, epoch, pair, k, name) for name in names}
                tables["curvature"].append(row)

    def _exact(self, job, tables):
        for seed, gamma, fixed in itertools.product(job.seeds, self.GAMMA, ("c", "lam")):
            scale = gamma**0.5 if fixed == "lam" else 1.0
            row = {"seed": seed, "fixed": fixed, "problem": job.problem, "gamma": gamma, "t": 50, "mu": 0.6, "d": 40}
            row |= {"steps": round(50 / gamma), "c": 0.02 / scale, "lam": gamma**0.5 / scale, "flat": 20 + seed}
            others = ("soft_error", "cosine", "sparsity")
            row |= {name: self.value(seed, fixed, job.problem, gamma, name) for name in others}
            tables["toy"].append(row | {"error": self.error(gamma, seed, fixed)})

    def _timings(self, job, tables):
        measures = {timed.name: ("optimizer step", "training step") for timed in job.timed}
        measures["resnet50"] = ("optimizer step",)
        for network, measured in measures.items():
            at = {"network": network, "parameters": self.D}
            for measure, block, optimizer in itertools.product(measured, (1, 2, 3), self.OPTIMIZERS):
                if (measure, optimizer) != ("training step", "grda_reference"):
                    row = {"measure": measure, "optimizer": optimizer, "block": block}
                    took = self.seconds(network, measure, optimizer, block)
                    tables["seconds"].append(at | row | {"seconds": took})
            for number, optimizer in enumerate(self.OPTIMIZERS):
                kept = {"state_bytes": 0 if optimizer == "sgd" else 1600, "peak_bytes": 400 * number}
                tables["memory"].append(at | {"optimizer": optimizer, "parameter_bytes": 1600} | kept)

    # --- What the study makes of them

    def data(self):
        """What the paper's `read` gives."""
        from prunebench.papers.directional import PAPER
        from prunebench.suite.study import Study

        return PAPER.resolve(PAPER.read)(Study.of(PAPER, self.preset, self.folder))

    def tables(self, *names):
        """These tables of the study, by default all of them, as frames by their names without `directional_`."""
        from prunebench.papers.directional import PAPER

        data, tables = self.data(), {table.name.removeprefix("directional_"): table for table in PAPER.tables}
        return {name: pd.DataFrame(PAPER.resolve(tables[name].make)(data)) for name in names or tables}

    def table(self, name):
        """One table alone."""
        return self.tables(name)[name]

    def observations(self):
        """What the study's claims observe, and the notes by claim, those without any left out."""
        from prunebench.suite.ledger import observe

        seen = observe(self.preset, self.folder)
        assert not seen.missing
        return seen.observations, {claim: lines for claim, lines in seen.notes.items() if lines}


CONSTANT = {"profile": {"kind": "constant"}, "max_lr": 0.1}
SETTINGS = {
    "net_a": {"c 0.02, mu 0.6": "grda.c0.02.mu0.6", "c 0.02, mu 0.6, weights only": "grda.c0.02.mu0.6.spared"},
    "b_0.5_x": {"c 0.01, mu 0.75": "grda.c0.01.mu0.75"},
}
"""Arms by label: two settings of the first task differ in neither c nor mu."""
STRENGTHS = (0.0001, 0.001)
PARTS = {
    "sensitivity": {"c_factors": [0.5], "mu_shifts": [0.05]},
    "baselines": {
        "strong": {"max_lr": 0.05},
        "l1": [*STRENGTHS],
        "ramp": {"share": 0.5, "every": 2},
        "fine_tuning": {"epochs": Numbers.TUNING, **CONSTANT},
    },
    "connectivity": {
        "pairs": ["grda:sgd", "sgd:sgd_init", "grda:sgd_init"],
        "epochs": 2,
        "points": Numbers.POINTS,
        "plane": {"points": 2, "seeds": 2},
        **CONSTANT,
    },
    "curvature": {"epochs": [1, 2], "k": [1, 4]},
    "toy": {"t": 50, "c": 0.02, "mu": 0.6, "gamma": [*Numbers.GAMMA]},
    "overhead": {"tasks": ["net_a"], "blocks": 3},
    "released": {},
}
TABLES_OF = {
    "sensitivity": ("sensitivity",),
    "baselines": (),
    "connectivity": ("connectivity", "paths", "planes"),
    "curvature": ("curvature", "spectrum"),
    "toy": ("toy",),
    "overhead": ("overhead",),
    "released": ("released",),
}
ALWAYS = ("accuracy", "norms", "trajectory", "norm_curves", "layers", "published")


class MadeUpStudy(Numbers):
    """A tiny preset of every part of the study on two tasks, and its runs."""

    parts, always, settings, strengths = TABLES_OF, ALWAYS, SETTINGS, STRENGTHS
    references = MappingProxyType({task: next(iter(arms.values())) for task, arms in SETTINGS.items()})

    def __init__(self, new_folder):
        self._new_folder = new_folder

    def content(self, *, seeds=(0, 1, 2), parts=None, networks=None, margins=None, **changes):
        """The preset. parts: those that are run, None for all; `changes` are laid over the study's configuration."""
        setting = {"c": 0.02, "mu": 0.6}
        grda = {"net_a": [setting, setting | {"spare_norm_and_bias": True}], "b_0.5_x": [{"c": 0.01, "mu": 0.75}]}
        study = {**CONSTANT, "grda": grda, **{part: PARTS[part] for part in (PARTS if parts is None else parts)}}
        if "toy" in study:
            study["toy"] = study["toy"] | {"seeds": [*seeds]}
        training = {"epochs": self.EPOCHS, "batch_size": 10, "momentum": 0, "weight_decay": 0}
        kind = networks or {"kind": "mlp"}
        return {
            "preset": "tiny",
            "scale": "x",
            "seeds": [*seeds],
            "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
            "tasks": {task: {"dataset": "d", "network": kind, "training": training} for task in SETTINGS},
            "schedules": {},
            "directional": study | changes,
            # Every gRDA run of this study is 80 to 90 % sparse.
            "claims": {"directional": {"c3_sparsities": [0.8, 0.9]} if margins is None else margins},
        }

    def planned(self, folder=None, **options):
        """The runs of a preset, in a new folder still to be written, or in one that is; options: of `content`."""
        from prunebench.suite.preset import parse_preset

        return Runs(parse_preset(self.content(**options), "tiny"), folder or self._new_folder())

    def runs(self, *, lost=(), empty=(), change=lambda job, tables: None, **options):
        """The written runs of a preset; `lost`, `empty` and `change` are those of `Runs`."""
        return self.planned(**options).write(lost, empty, change)

    def arms_of(self, task):
        """(method, matched_to) -> name of the arms that are compared; of l1, of the strength that validates best."""
        names = {("sgd", ""): "sgd", ("sgd_strong", ""): "sgd_strong"}
        for label, grda in SETTINGS[task].items():
            names |= {("grda", label): grda, ("l1", label): self.l1_arm(task, grda)[1]}
            names |= {(method, label): f"{method}.{grda}" for method in ("gmp_gradual", "gmp_one_shot", "random")}
        return names

    def l1_arm(self, task, grda, seeds=(0, 1, 2)):
        """The strength with the best mean validation accuracy at this sparsity, and its arm."""
        arms = {strength: f"l1.{strength:g}.{grda}" for strength in STRENGTHS}
        return max(arms.items(), key=lambda each: sum(self.validation(task, each[1], seed) for seed in seeds))


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Makes presets and runs."""
    return MadeUpStudy(lambda: tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def made(study):
    """The runs of the whole tiny preset with three seeds."""
    return study.runs()


@pytest.fixture(scope="session")
def all_tables(made):
    """Their tables as frames by name."""
    return made.tables()


def _interval(values):
    mean = sum(values) / len(values)
    return [mean, *stats.t.interval(0.95, len(values) - 1, loc=mean, scale=stats.sem(values))]


@pytest.fixture(scope="session")
def assert_interval():
    """Asserts that columns hold the mean of these values and its 95 % t interval, as scipy has it."""

    def check(row, name, values, low=None, high=None):
        names = [name, low or f"{name}_low", high or f"{name}_high"]
        assert [row[column] for column in names] == pytest.approx(_interval(values), rel=1e-9, abs=1e-12), name

    return check


@pytest.fixture(scope="session")
def assert_geometric():
    """The same of the geometric mean and the t interval of the logarithm."""

    def check(row, name, ratios):
        expected = np.exp(_interval(np.log(ratios)))
        assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(expected, rel=1e-9), name

    return check


@pytest.fixture(scope="session")
def assert_nothing():
    """Asserts that a row has no number, and no interval, in these columns."""

    def check(row, *names):
        for name in names:
            assert row[[name, f"{name}_low", f"{name}_high"]].isna().all(), name

    return check


# --- The smoke preset


class Smoke:
    """The smoke preset's content with two seeds and no other study, and what becomes of it."""

    def __init__(self):
        text = (Path(__file__).parents[4] / "config/smoke.yaml").read_text(encoding="utf-8")
        # Through JSON, so that no value is shared as the file's aliases share them.
        self.content = json.loads(json.dumps(yaml.safe_load(text)))
        self.content |= {"seeds": [0, 1], "s_cyc": None, "cascade": None}

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

    def differing(self, content):
        """Folders of the jobs whose specs differ; the jobs must be the same."""
        before, after = ({job.folder: job.digest() for job in self.plan(of).jobs()} for of in (self.content, content))
        assert before.keys() == after.keys()
        return {folder for folder in before if before[folder] != after[folder]}


@pytest.fixture(scope="session")
def smoke():
    return Smoke()
