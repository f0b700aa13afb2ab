"""The S-Cyc study's configuration and the specs of its jobs."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from prunebench.config.parsing import Name, Strict
from prunebench.config.tasks import CriterionName, DenseSpec, LRSchedule, ProfileConfig, RunSpec, known, profile_of
from prunebench.errors import InputError
from prunebench.pruning.after import AfterPrune
from prunebench.pruning.criteria import get_criterion
from prunebench.schedules import Profile

if TYPE_CHECKING:
    from prunebench.config.preset import Preset

DEFAULT_SCORE_IMAGES = 1000


class Pruning(Strict):
    """Iterative pruning."""

    rate: float = Field(gt=0, lt=1)
    """Share of the surviving weights that each cycle prunes."""
    cycles: int = Field(ge=1, le=1000)
    """Pruning cycles after the dense one."""
    after: AfterPrune = AfterPrune.REINITIALISE
    """What happens to the weights after a prune [authors' code: re-initialised]."""
    rewind_epoch: int = Field(default=0, ge=0)
    """The epoch k that `rewind_weights` and `rewind_lr` go back to."""
    include_norm: bool = False
    """Prune normalisation weights too [authors' code: yes]; by default only convolution and linear weights."""
    score_images: int = Field(default=DEFAULT_SCORE_IMAGES, ge=1)
    """Training images on which gradient criteria take dL/dw."""


class Gradients(Strict):
    """Measurement of weight gradients (claim A1 of docs/methods.md)."""

    images: int = Field(ge=1)
    """Training images of the fixed batch, the same for every cycle and schedule."""
    at: list[Annotated[float, Field(ge=0, le=1)]] = Field(default=[0.0, 0.03, 0.1, 0.3, 0.6, 1.0], min_length=1)
    """Shares of a cycle's updates after which gradients are measured; ends with 1. The early ones let cycles be
    compared at the same training loss."""

    @model_validator(mode="after")
    def _ends_with_one(self) -> Self:
        if sorted(set(self.at)) != self.at or self.at[-1] != 1:
            raise InputError(f"gradient_measure.at must ascend and end with 1, found {self.at}")
        return self


class Grid(Strict):
    """A set of runs: every combination of the names, for every seed."""

    tasks: list[Name] = Field(min_length=1)
    """Names of entries of `tasks`."""
    criteria: list[CriterionName] = Field(min_length=1)
    """Pruning criteria."""
    schedules: list[Name] = Field(min_length=1)
    """Names of entries of `schedules`."""


class Oracle(Strict):
    """Grid search of max_lr in each pruning cycle (docs/methods.md; the grid is [ours])."""

    task: Name
    """Name of an entry of `tasks`."""
    criterion: CriterionName
    """Pruning criterion."""
    schedule: Name
    """The schedule whose profile every candidate follows and whose max_lr the oracle's is compared with."""
    max_lr: list[Annotated[float, Field(gt=0)]] = Field(min_length=2)
    """The grid, ascending. It may reach into divergence: a diverged candidate is a recorded result."""
    candidates_per_job: int | None = Field(default=None, ge=1)
    """Candidates that one job trains; null is all of them (where a process start would cost more than the training)."""
    tolerance: float = Field(default=0.005, ge=0, lt=1)
    """A max_lr is near-best where its mean validation accuracy is within max(tolerance, 1 SE) of the best [ours]."""

    def batches(self) -> list[list[float]]:
        """The grid in portions of one job each."""
        size = self.candidates_per_job or len(self.max_lr)
        return [self.max_lr[i : i + size] for i in range(0, len(self.max_lr), size)]


class SCyc(Strict):
    """The S-Cyc study."""

    pruning: Pruning
    """Iterative pruning, the same for every run of the study."""
    accuracy: list[Grid] = Field(min_length=1)
    """Runs of the accuracy comparison."""
    gradients: list[Grid] = []
    """Runs whose weight gradients are measured; a run that is in both lists is trained once."""
    gradient_measure: Gradients = Gradients(images=1000)
    """How gradients are measured."""
    oracle: Oracle | None = None
    """The oracle grid search; null leaves it out."""

    def check(self, preset: "Preset") -> None:
        """Raises InputError where a name is unknown or numbers do not hold together."""
        for name, config in preset.schedules.items():
            try:
                policy = config.schedule().policy
                for cycle in range(self.pruning.cycles + 1):
                    policy.at(cycle)
            except InputError as error:
                raise InputError(f"schedules.{name}: {error}") from None
        for part in ("accuracy", "gradients"):
            for i, grid in enumerate(getattr(self, part)):
                for key, names in (("tasks", preset.tasks), ("schedules", preset.schedules)):
                    for value in getattr(grid, key):
                        known(f"s_cyc.{part}[{i}].{key}", value, names)
        for task in dict.fromkeys(task for task, _, _ in self._cells()):
            if self.pruning.rewind_epoch >= preset.tasks[task].training.epochs:
                raise InputError(f"s_cyc.pruning.rewind_epoch must be below the epochs of '{task}'")
        for spec in self.chains(preset):
            if spec.images_measured() > preset.datasets[spec.dataset].train:
                raise InputError(
                    f"s_cyc takes gradients on {spec.images_measured()} images (gradient_measure.images, "
                    f"pruning.score_images), more than the training images of '{spec.dataset}'"
                )
        if oracle := self.oracle:
            known("s_cyc.oracle.task", oracle.task, preset.tasks)
            known("s_cyc.oracle.schedule", oracle.schedule, preset.schedules)
            if sorted(set(oracle.max_lr)) != oracle.max_lr or not all(map(math.isfinite, oracle.max_lr)):
                raise InputError(f"s_cyc.oracle.max_lr must ascend without repeats, found {oracle.max_lr}")

    def chains(self, preset: "Preset") -> list["ChainSpec"]:
        """Every pruning chain, each once, in a stable order."""
        measured = self._measured()
        return [
            ChainSpec(
                **self._common(preset, task, criterion, seed),
                schedule_name=schedule,
                schedule=LRSchedule(
                    profile=preset.schedules[schedule].profile, policy=preset.schedules[schedule].policy
                ),
                gradients=self.gradient_measure if (task, criterion, schedule) in measured else None,
                # Gradients are measured during the dense training too, so such a chain trains its own network.
                dense=None if (task, criterion, schedule) in measured else preset.dense(task, schedule, seed),
            )
            for task, criterion, schedule in self._cells()
            for seed in preset.seeds
        ]

    def oracle_jobs(self, preset: "Preset") -> list["OracleSpec"]:
        """The oracle's training jobs: one per seed, cycle and portion of the grid."""
        oracle = self.oracle
        if oracle is None:
            return []
        return [
            OracleSpec(
                **self._common(preset, oracle.task, oracle.criterion, seed),
                profile=preset.schedules[oracle.schedule].profile,
                cycle=cycle,
                batch=batch,
                max_lr=max_lr,
            )
            for seed in preset.seeds
            for cycle in range(self.pruning.cycles + 1)
            for batch, max_lr in enumerate(oracle.batches())
        ]

    def kept_epochs(self, preset: "Preset") -> Iterator[tuple[str, str, int]]:
        """(task, schedule, epoch) of every dense network of which a chain needs another epoch than the last."""
        measured = self._measured()
        for task, criterion, schedule in self._cells():
            if (task, criterion, schedule) in measured:
                continue
            if self.pruning.after is AfterPrune.REWIND_WEIGHTS:
                yield task, schedule, self.pruning.rewind_epoch
            if get_criterion(criterion).needs_previous_weights:
                yield task, schedule, preset.tasks[task].training.epochs - 1

    def _cells(self) -> list[tuple[str, str, str]]:
        return list(dict.fromkeys(cell for grid in (*self.accuracy, *self.gradients) for cell in _cells(grid)))

    def _measured(self) -> set[tuple[str, str, str]]:
        return {cell for grid in self.gradients for cell in _cells(grid)}

    def _common(self, preset: "Preset", task: str, criterion: str, seed: int) -> dict[str, Any]:
        # What a run never reads is put at its default, so that changing it does not rerun the run.
        unread = {} if get_criterion(criterion).needs_gradients else {"score_images": DEFAULT_SCORE_IMAGES}
        if not self.pruning.after.rewinds:
            unread["rewind_epoch"] = 0
        return preset.common("s_cyc", task, seed) | {
            "pruning": self.pruning.model_copy(update=unread),
            "criterion": criterion,
        }


class PruningSpec(RunSpec):
    """A job of iterative pruning."""

    pruning: Pruning
    criterion: CriterionName

    @property
    def prunes_norm(self) -> bool:
        """Whether normalisation weights are pruned too."""
        return self.pruning.include_norm


class ChainSpec(PruningSpec):
    """One pruning chain: dense training, then prune and train again, cycle by cycle."""

    schedule_name: Name
    schedule: LRSchedule
    gradients: Gradients | None
    dense: DenseSpec | None = None
    """The dense network that the chain starts from; None: it trains its own."""

    @property
    def folder(self) -> str:
        """The run's folder below results/<preset>/runs."""
        return f"{self.study}/{self.task}/{self.criterion}/{self.schedule_name}/seed-{self.seed}"

    def images_measured(self) -> int:
        """Training images that gradients are taken on at most, by the criterion or by the measurement."""
        scored = self.pruning.score_images if get_criterion(self.criterion).needs_gradients else 0
        return max(scored, self.gradients.images if self.gradients else 0)


class OracleSpec(PruningSpec):
    """One portion of the oracle's grid in one cycle."""

    profile: ProfileConfig
    cycle: int
    batch: int
    max_lr: list[float]

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return (
            f"{oracle_folder(self.study, self.task, self.criterion, self.seed)}/cycle-{self.cycle}/batch-{self.batch}"
        )

    def profile_of(self) -> Profile:
        """The LR profile that every candidate follows."""
        return profile_of(self.profile)


def oracle_folder(study: str, task: str, criterion: str, seed: int) -> str:
    """The folder of one seed's oracle below results/<preset>/runs."""
    return f"{study}/{task}/{criterion}/oracle/seed-{seed}"


def _cells(grid: Grid) -> Iterator[tuple[str, str, str]]:
    for task in grid.tasks:
        for criterion in grid.criteria:
            for schedule in grid.schedules:
                yield task, criterion, schedule
