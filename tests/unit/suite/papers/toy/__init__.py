"""A made-up paper for the tests of the suite: chains, a search, arms, a part of no seed; its claims are beside."""

from collections.abc import Iterator

from prunebench.errors import InputError
from prunebench.parsing import Names, Positive, Share, Strict, known
from prunebench.runs.probes import Weights
from prunebench.runs.spec import Arm, Init, Phase, RunSpec, Spec, ToSparsity
from prunebench.runs.updates import Sgd
from prunebench.suite.paper import Column, Figure, Paper, Stage, Table
from prunebench.suite.plan import DenseWish

MAX_LR = (0.1, 0.2, 0.4)


class Toy(Strict):
    """The toy study."""

    tasks: Names
    """Names of entries of `tasks`."""
    schedules: Names
    """Names of entries of `schedules`; the first is the method, the last the benchmark."""
    zeros: bool = False
    """Whether a probe counts the zeros of the arms."""
    timing: bool | None = True
    """Timings, which have no seed; null leaves them out."""

    def check(self, preset):
        for task in self.tasks:
            known("toy.tasks", task, preset.tasks)
        if len(self.schedules) < 2:
            raise InputError("toy.schedules needs a method and a benchmark")


class ToyMargins(Strict):
    """Margins of claims T1 to T3."""

    t1_gain: Share = 0.01
    """T1 needs more than this."""
    t2_gap: Share = 0.005
    """T2 allows this."""
    t2_time: Positive = 1.05
    """T2 allows this ratio of times."""


class Timing(Spec):
    """A job of no seed."""

    @property
    def tables(self):
        return ("times",)


def dense(config, preset) -> Iterator[DenseWish]:
    """The dense networks that chains start from."""
    return (DenseWish(task, schedule) for task in config.tasks for schedule in config.schedules)


def pruned(sparsity, **settings):
    """A phase that prunes at random and trains an epoch."""
    prune = ToSparsity(kind="sparsity", criterion="random", sparsity=sparsity)
    return Phase(**{"prune": [prune], "epochs": 1, "max_lr": 0.1, "update": Sgd()} | settings)


def plan(config, preset, networks):
    """Chains of two cycles, a search over max_lr in two jobs, a job of three arms, timings."""
    pairs = [(task, seed) for task in config.tasks for seed in preset.seeds]
    chains = [
        RunSpec(
            folder=f"toy/chains/{task}/{schedule}/seed-{seed}",
            **preset.task_fields(task, seed),
            axes={"criterion": "random", "schedule": schedule},
            arms=[
                Arm(
                    name="chain",
                    start=networks.start(task, schedule, seed),
                    phases=[pruned(1 - 0.5**cycle, axes={"cycle": cycle}) for cycle in (1, 2)],
                )
            ],
        )
        for task, seed in pairs
        for schedule in config.schedules
    ]
    candidates = [
        RunSpec(
            folder=f"toy/search/{task}/seed-{seed}/batch-{batch}",
            **preset.task_fields(task, seed),
            axes={"criterion": "random", "schedule": "oracle"},
            arms=[
                Arm(name=f"lr{lr}", axes={"max_lr": lr}, phases=[pruned(0.5, axes={"cycle": 1}, max_lr=lr)])
                for lr in values
            ],
            hands_on="best",
        )
        for task, seed in pairs
        for batch, values in enumerate((MAX_LR[:2], MAX_LR[2:]))
    ]
    arms = [
        RunSpec(
            folder=f"toy/arms/{task}/seed-{seed}",
            **preset.task_fields(task, seed),
            arms=[
                Arm(
                    name=name,
                    axes={"criterion": name},
                    start=Init(kind="init"),
                    phases=[pruned(0.8, probes=[Weights()] if config.zeros else [])] * phases,
                )
                for name, phases in (("first", 1), ("second", 2), ("lost", 1))
            ],
        )
        for task, seed in pairs
    ]
    stages = [
        Stage("prune_toys", "toy/chains", tuple(chains), "Toy chain"),
        Stage("search_toys", "toy/search", tuple(candidates), "Toy candidates"),
        Stage("train_toy_arms", "toy/arms", tuple(arms), "Toy arms"),
    ]
    if config.timing:
        stages.append(Stage("time_toys", "toy/timing", (Timing(folder="toy/timing/once"),), "Timing", part="timing"))
    return stages


def read(study):
    """The ends of the chains, with the study's configuration beside them."""
    return study.config, study.rows("prune_toys", "phases").drop(columns="sparsity_start")


ACCURACY = Table("toy_accuracy", (Column("task", "task of the preset", "name"),), lambda data: [])

PAPER = Paper(
    key="toy",
    title="Toys",
    short="Toys",
    reference="Nobody, 2026",
    arxiv=(("arXiv 0000.00000", "0000.00000"),),
    package=__name__,
    config=Toy,
    margins=ToyMargins,
    dense=dense,
    plan=plan,
    read=read,
    claims_ref=".claims:CLAIMS",
    asks={"T1": "schedule", "T3": "criterion"},
    tables=(ACCURACY,),
    figures=(Figure("toy_accuracy", "Toys", ("toy_accuracy",), lambda drawn: None),),
)
