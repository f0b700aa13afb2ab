"""A paper of yours: what it configures, which jobs it runs, which tables, figures and claims it has.

Snakemake reads this file, so it imports neither torch nor pandas. What computes is in study.py. As it stands, networks
are pruned once by each criterion and not trained again; its claim Z1 is that magnitude keeps more accuracy than chance.
"""

from collections.abc import Iterator

from pydantic import Field

from prunebench.parsing import Names, Share, Strict, known
from prunebench.runs.spec import Arm, Phase, RunSpec, Sparsity, ToSparsity
from prunebench.schedules import Constant
from prunebench.suite import columns
from prunebench.suite.paper import Figure, Paper, Stage, Table
from prunebench.suite.plan import DenseNetworks, DenseWish
from prunebench.suite.preset import Preset

CRITERIA = ("global_magnitude", "random")


class MyIdea(Strict):
    """The paper's part of a preset; every field is one of its keys."""

    tasks: Names = Field(min_length=1)
    schedule: str
    """Name of an entry of `schedules`: it trains the dense networks."""
    sparsities: list[Sparsity] = Field(min_length=1)

    def check(self, preset: Preset) -> None:
        """InputError for an unknown name."""
        known("my_idea.schedule", self.schedule, preset.schedules)
        for task in self.tasks:
            known("my_idea.tasks", task, preset.tasks)


class Margins(Strict):
    """Margins of its claims; a preset sets them under `claims.my_idea`."""

    z1_gain: Share = 0.02
    """Z1 asks for more than this [ours]."""


def dense(config: MyIdea, preset: Preset) -> Iterator[DenseWish]:
    """The dense networks that its arms start from; each is trained once for all papers."""
    return (DenseWish(task, config.schedule) for task in config.tasks)


def plan(config: MyIdea, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """One job per task and seed: an arm, a prune without training, for each criterion and sparsity."""
    jobs = [
        RunSpec(
            folder=f"my_idea/pruned/{task}/seed-{seed}",
            **preset.task_fields(task, seed),
            arms=[
                Arm(
                    name=f"{criterion}.s{sparsity:g}",
                    axes={"sparsity": sparsity, "criterion": criterion},
                    start=networks.start(task, config.schedule, seed),
                    phases=[
                        Phase(
                            prune=[ToSparsity(kind="sparsity", criterion=criterion, sparsity=sparsity)],
                            epochs=0,
                            profile=Constant(),
                            max_lr=0.1,
                            update=preset.tasks[task].training.mover,
                        )
                    ],
                )
                for sparsity in config.sparsities
                for criterion in CRITERIA
            ],
        )
        for task in config.tasks
        for seed in preset.seeds_of(task)
    ]
    return [Stage("prune_my_idea", "my_idea/pruned", tuple(jobs), "Pruning")]


ACCURACY = Table(
    name="my_idea_accuracy",
    columns=(columns.TASK, columns.sparsity(), columns.CRITERION, *columns.ACCURACY),
    make=".study:accuracy",
    latex=("task", "sparsity", "criterion", "n", "test_accuracy"),
)

PAPER = Paper(
    key="my_idea",
    title="My idea",
    short="My idea",
    reference="not published",
    arxiv=(),
    package=__name__,
    config=MyIdea,
    margins=Margins,
    dense=dense,
    plan=plan,
    read=".study:read",
    claims_ref=".study:CLAIMS",
    tables=(ACCURACY,),
    figures=(Figure("my_idea_accuracy", "Accuracy after one prune", ("my_idea_accuracy",), ".study:figure"),),
)
