"""Rewinding against fine-tuning (Renda et al., ICLR 2020, arXiv 2003.02389): configuration, jobs, declarations.

Snakemake reads this file, so it imports neither torch nor pandas. What computes is in study.py.
"""

from collections.abc import Iterator

from pydantic import Field

from prunebench.errors import InputError
from prunebench.parsing import Names, Positive, Share, Strict, known
from prunebench.runs.spec import Arm, Phase, RunSpec, Sparsity, ToSparsity
from prunebench.schedules import Constant
from prunebench.suite import columns
from prunebench.suite.notes import excludes
from prunebench.suite.paper import Column, Figure, Paper, Stage, Table
from prunebench.suite.plan import DenseNetworks, DenseWish
from prunebench.suite.preset import Preset

WAYS = ("fine_tune", "rewind_lr", "rewind_weights")


class Rewinding(Strict):
    """The study: a dense network is pruned once by global magnitude, then retrained in three ways."""

    tasks: Names = Field(min_length=1)
    schedule: str
    """Name of an entry of `schedules`: it trains the dense network, and rewinding replays it."""
    sparsities: list[Sparsity] = Field(min_length=1)
    rewind_epoch: int = Field(ge=0)
    """Epoch k to rewind to. All three ways retrain for as many epochs as come after it."""

    def check(self, preset: Preset) -> None:
        """InputError for an unknown name, or a rewind epoch at or after the end of training."""
        known("rewinding.schedule", self.schedule, preset.schedules)
        for task in self.tasks:
            known("rewinding.tasks", task, preset.tasks)
            if self.rewind_epoch >= preset.tasks[task].training.epochs:
                raise InputError(f"rewinding.rewind_epoch must be below the epochs of '{task}'")


class Margins(Strict):
    """Margins of claims D1 and D2 [ours]."""

    d1_gain: Share = 0.002
    """D1 fails where the interval of a way's gain over fine-tuning lies below this."""
    d2_margin: Positive = 0.005
    """D2: LR rewinding is competitive where it loses less than this to both other ways."""


def dense(config: Rewinding, preset: Preset) -> Iterator[DenseWish]:
    """The dense networks that the arms start from, also kept after the epoch to rewind to."""
    return (DenseWish(task, config.schedule, keep=(config.rewind_epoch,)) for task in config.tasks)


def plan(config: Rewinding, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """One job per task and seed: an arm for each way and sparsity, all from the same network and data."""
    jobs = [
        RunSpec(
            folder=f"rewinding/retrained/{task}/seed-{seed}",
            **preset.task_fields(task, seed),
            arms=[
                Arm(
                    name=f"{way}.s{sparsity:g}",
                    axes={"sparsity": sparsity, "way": way},
                    start=networks.start(task, config.schedule, seed),
                    phases=[retraining(config, preset, task, way, sparsity)],
                )
                for sparsity in config.sparsities
                for way in WAYS
            ],
        )
        for task in config.tasks
        for seed in preset.seeds
    ]
    return [Stage("retrain_pruned", "rewinding/retrained", tuple(jobs), "Retraining")]


def retraining(config: Rewinding, preset: Preset, task: str, way: str, sparsity: float) -> Phase:
    """A one-shot prune, then training: at the last LR (fine-tuning), or with the schedule from epoch k on."""
    schedule, recipe = preset.schedules[config.schedule], preset.tasks[task].training
    max_lr, k = schedule.policy.at(0), config.rewind_epoch
    steps = recipe.epochs * (preset.datasets[preset.tasks[task].dataset].train // recipe.batch_size)
    replay = {"profile": schedule.profile, "max_lr": max_lr, "first_epoch": k, "profile_epochs": recipe.epochs}
    last = {"profile": Constant(), "max_lr": schedule.profile.lr(steps - 1, steps, max_lr)}
    return Phase(
        prune=[ToSparsity(kind="sparsity", criterion="global_magnitude", sparsity=sparsity)],
        rewind=k if way == "rewind_weights" else None,
        epochs=recipe.epochs - k,
        update=recipe.mover,
        order=recipe.epochs,
        **(last if way == "fine_tune" else replay),
    )


ACCURACY = Table(
    name="rewinding_accuracy",
    columns=(
        *(columns.TASK, columns.sparsity(), Column("way", "fine-tuning, LR rewinding or weight rewinding", "name")),
        *columns.ACCURACY,
        *columns.difference("fine-tuning", "minus fine-tuning"),
    ),
    make=".study:accuracy",
    latex=("task", "sparsity", "way", "n", "test_accuracy", "difference"),
    notes=(excludes("Paired difference"),),
)

PAPER = Paper(
    key="rewinding",
    title="Rewinding against fine-tuning",
    short="Rewinding",
    reference="Renda, Frankle and Carbin, ICLR 2020",
    arxiv=(("arXiv 2003.02389", "2003.02389"),),
    package=__name__,
    config=Rewinding,
    margins=Margins,
    dense=dense,
    plan=plan,
    read=".study:read",
    claims_ref=".study:CLAIMS",
    tables=(ACCURACY,),
    figures=(Figure("rewinding_accuracy", "Rewinding and fine-tuning", ("rewinding_accuracy",), ".study:figure"),),
)
