"""Rewinding against fine-tuning (Renda et al., ICLR 2020, arXiv 2003.02389). study.py has what computes."""

from collections.abc import Iterator

from pydantic import Field

from prunebench.errors import InputError
from prunebench.parsing import Names, Positive, Share, Strict, known
from prunebench.runs.spec import Arm, Phase, RunSpec, Sparsity, ToSparsity
from prunebench.schedules import Constant
from prunebench.suite import columns
from prunebench.suite.paper import Column, Figure, Paper, Stage, Table
from prunebench.suite.plan import DenseNetworks, DenseWish
from prunebench.suite.preset import Preset

WAYS = ("fine_tune", "rewind_lr", "rewind_weights")


class Rewinding(Strict):
    """The study: a dense network is pruned once by global magnitude and trained again in three ways."""

    tasks: Names = Field(min_length=1)
    schedule: str
    """Name of an entry of `schedules`: the dense training's, which rewinding replays."""
    sparsities: list[Sparsity] = Field(min_length=1)
    rewind_epoch: int = Field(ge=0)
    """The epoch k that is gone back to; all three ways train for the epochs after it."""

    def check(self, preset: Preset) -> None:
        """InputError where a name is unknown or the rewind epoch lies beyond the training."""
        known("rewinding.schedule", self.schedule, preset.schedules)
        for task in self.tasks:
            known("rewinding.tasks", task, preset.tasks)
            if self.rewind_epoch >= preset.tasks[task].training.epochs:
                raise InputError(f"rewinding.rewind_epoch must be below the epochs of '{task}'")


class Margins(Strict):
    """Margins of claims D1 and D2 [ours]."""

    d1_gain: Share = 0.002
    """D1 fails where a way of rewinding gains less than this over fine-tuning for certain."""
    d2_margin: Positive = 0.005
    """D2: LR rewinding is competitive where it loses less than this to each other way."""


def dense(config: Rewinding, preset: Preset) -> Iterator[DenseWish]:
    """The dense networks that arms start from, with the epoch that they rewind to."""
    return (DenseWish(task, config.schedule, keep=(config.rewind_epoch,)) for task in config.tasks)


def plan(config: Rewinding, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """One job per task and seed: every way at every sparsity, from the same network and with the same data."""
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
    """A one-shot prune and the epochs after it: at the last LR, or with the schedule from epoch k on."""
    schedule, recipe = preset.schedules[config.schedule], preset.tasks[task].training
    max_lr, k, total = schedule.policy.at(0), config.rewind_epoch, 1000 * recipe.epochs
    replay = {"profile": schedule.profile, "max_lr": max_lr, "first_epoch": k, "profile_epochs": recipe.epochs}
    last = {"profile": Constant(), "max_lr": schedule.profile.lr(total - 1, total, max_lr)}
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
        Column("task", "task of the preset", "name"),
        Column("sparsity", "share of the prunable weights that is pruned", "share"),
        Column("way", "fine-tuning, LR rewinding or weight rewinding", "name"),
        *columns.ACCURACY,
        *columns.with_interval("difference", "test accuracy minus fine-tuning's, paired by seed", "points"),
    ),
    make=".study:accuracy",
    latex=".study:view",
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
