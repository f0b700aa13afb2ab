"""The S-Cyc study's part of a preset, and the margins of its claims."""

from dataclasses import replace
from itertools import product
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from prunebench.errors import InputError
from prunebench.parsing import Name, Positive, Share, Strict, known
from prunebench.pruning.after import AfterPrune
from prunebench.pruning.criteria import get_criterion
from prunebench.runs.probes import Gradients
from prunebench.runs.spec import CriterionName
from prunebench.schedules import WarmupStepDecay
from prunebench.suite.preset import Preset


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
    score_images: int = Field(default=1000, ge=1)
    """Training images on which gradient criteria take dL/dw."""


class GradientMeasure(Strict):
    """Measurement of weight gradients (claim A1 of docs/methods.md)."""

    images: int = Field(ge=1)
    """Training images of the fixed batch, the same for every cycle and schedule."""
    at: list[Share] = Field(default=[0.0, 0.03, 0.1, 0.3, 0.6, 1.0], min_length=1)
    """Shares of a cycle's updates after which gradients are measured; ends with 1. The early ones let cycles be
    compared at the same training loss."""
    trained: Share = 0.9
    """A cycle counts as trained where its loss on the batch falls to this share of the first one measured [ours]."""

    @model_validator(mode="after")
    def _is_a_probe(self) -> Self:
        self.probe()
        return self

    def probe(self) -> Gradients:
        """The probe that measures so; InputError where it cannot."""
        return Gradients(self.images, tuple(self.at))


FIFTH_RUN = 0.8**4
"""Share of the training images that the scripts' fifth run has left [authors' code]."""


class Cell(NamedTuple):
    """What one pruning chain per seed is of."""

    task: str
    criterion: str
    schedule: str


class Grid(Strict):
    """A set of runs: every combination of the names, for every seed."""

    tasks: list[Name] = Field(min_length=1)
    """Names of entries of `tasks`."""
    criteria: list[CriterionName] = Field(min_length=1)
    """Pruning criteria."""
    schedules: list[Name] = Field(min_length=1)
    """Names of entries of `schedules`."""

    def cells(self) -> list[Cell]:
        """Every combination."""
        return [Cell(*names) for names in product(self.tasks, self.criteria, self.schedules)]


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


class Timing(Strict):
    """Chains of a schedule and of another in alternation, by one job that has the machine to itself (claim A5)."""

    task: Name
    """Name of an entry of `tasks`."""
    criterion: CriterionName
    """Pruning criterion."""
    schedule: Name
    """The schedule whose chains are timed."""
    reference: Name
    """The schedule that it is compared with."""
    epochs: int = Field(default=1, ge=1)
    """Epochs of each cycle, at most the task's: a late update costs what an early one does [ours]."""
    blocks: int = Field(default=5, ge=2)
    """Blocks of four chains: the schedule's, two of the reference's, the schedule's; a pair warms up [ours]."""

    def cells(self) -> list[Cell]:
        """The schedule's and the reference's."""
        return [Cell(self.task, self.criterion, schedule) for schedule in (self.schedule, self.reference)]

    def check(self, preset: Preset) -> None:
        """Raises InputError where a name is unknown or the two schedules are one."""
        known("s_cyc.timing.task", self.task, preset.tasks)
        for key in ("schedule", "reference"):
            known(f"s_cyc.timing.{key}", getattr(self, key), preset.schedules)
        if self.schedule == self.reference:
            raise InputError(f"s_cyc.timing: '{self.schedule}' is compared with itself")


class Released(Strict):
    """What the defects of the released scripts do (claim A8): chains with a sound protocol, with the scripts' training
    sets and with their ramp, on each of which the scripts' way to measure runs beside ours [authors' code: SILO].

    Normalisation weights are pruned, as the scripts do."""

    task: Name
    """Name of an entry of `tasks`: the scripts' first run, with all training images."""
    small_task: Name
    """Name of an entry of `tasks`: their fifth run. It differs from `task` in the training images alone, of which it
    has the share 0.8^4, because every run of the scripts splits what the one before it left."""
    criterion: CriterionName
    """Pruning criterion, a global one: the scripts' threshold is global."""
    schedule: Name
    """Name of an entry of `schedules` whose profile is `warmup_step_decay`: ramps that reach max_lr."""
    truncated: Name
    """Name of an entry of `schedules`: the same, but for ramps that end at the share `top` of max_lr."""

    def cells(self) -> list[Cell]:
        """The chains: both tasks under both schedules."""
        pairs = product((self.task, self.small_task), (self.schedule, self.truncated))
        return [Cell(task, self.criterion, schedule) for task, schedule in pairs]

    def check(self, preset: Preset) -> None:
        """Raises InputError where a name is unknown, or the two tasks or schedules differ in something else."""
        for key, names in (("task", preset.tasks), ("small_task", preset.tasks)):
            known(f"s_cyc.released.{key}", getattr(self, key), names)
        for key in ("schedule", "truncated"):
            known(f"s_cyc.released.{key}", getattr(self, key), preset.schedules)
        criterion = get_criterion(self.criterion)
        if criterion.scope != "global":
            raise InputError(f"s_cyc.released.criterion: '{self.criterion}' ranks each layer by itself, not globally")
        self._check_tasks(preset)
        self._check_ramps(preset)

    def _check_tasks(self, preset: Preset) -> None:
        large, small = preset.tasks[self.task], preset.tasks[self.small_task]
        of, its = preset.datasets[large.dataset], preset.datasets[small.dataset]
        wanted, batch = round(FIFTH_RUN * of.train), large.training.batch_size
        if its.train != wanted:
            raise InputError(
                f"s_cyc.released.small_task: '{small.dataset}' has {its.train} training images; the scripts' fifth run "
                f"has {wanted} of the {of.train} of '{large.dataset}'"
            )
        others = its.model_copy(update={"train": of.train}), small.model_copy(update={"dataset": large.dataset})
        if others != (of, large):
            raise InputError(
                f"s_cyc.released.small_task: '{self.small_task}' must differ from '{self.task}' in the number of "
                "training images alone"
            )
        if of.test is not None and batch > of.test:
            raise InputError(
                f"s_cyc.released.task: the scripts test in whole batches, here of {batch}, and '{large.dataset}' has "
                f"{of.test} test images"
            )

    def _check_ramps(self, preset: Preset) -> None:
        full, cut = (preset.schedule(self.task, name) for name in (self.schedule, self.truncated))
        if not isinstance(full.profile, WarmupStepDecay) or full.profile.top != 1:
            raise InputError(
                f"s_cyc.released.schedule: '{self.schedule}' must be a warmup_step_decay whose ramp reaches max_lr"
            )
        alike = isinstance(cut.profile, WarmupStepDecay) and replace(cut.profile, top=1.0) == full.profile
        if not alike or cut.profile == full.profile or cut.policy != full.policy:
            raise InputError(
                f"s_cyc.released.truncated: '{self.truncated}' must be '{self.schedule}' with a ramp that ends below "
                "max_lr (top)"
            )


class SCyc(Strict):
    """The S-Cyc study."""

    pruning: Pruning
    """Iterative pruning, the same for every run of the study."""
    accuracy: list[Grid] = Field(min_length=1)
    """Runs of the accuracy comparison."""
    gradients: list[Grid] = []
    """Runs whose weight gradients are measured; a run that is in both lists is trained once."""
    gradient_measure: GradientMeasure = GradientMeasure(images=1000)
    """How gradients are measured."""
    oracle: Oracle | None = None
    """The oracle grid search; null leaves it out."""
    released: Released | None = None
    """What the defects of the released scripts do; null leaves it out."""
    timing: Timing | None = None
    """What a chain costs in time; null leaves it out."""

    def check(self, preset: Preset) -> None:
        """Raises InputError where a name is unknown or numbers do not hold together."""
        for name, config in preset.schedules.items():
            try:
                for policy in (config.policy, *(other.policy for other in config.tasks.values() if other.policy)):
                    for cycle in range(self.pruning.cycles + 1):
                        policy.at(cycle)
            except InputError as error:
                raise InputError(f"schedules.{name}: {error}") from None
        for part in ("accuracy", "gradients"):
            for i, grid in enumerate(getattr(self, part)):
                for key, names in (("tasks", preset.tasks), ("schedules", preset.schedules)):
                    for value in getattr(grid, key):
                        known(f"s_cyc.{part}[{i}].{key}", value, names)
        measured = self.measured()
        if self.released:
            self.released.check(preset)
        if self.timing:
            self.timing.check(preset)
        for cell in self._trained():
            task = preset.tasks[cell.task]
            if task.weights:
                raise InputError(f"s_cyc trains '{cell.task}' from scratch, but the task has weights of a file")
            if self.pruning.rewind_epoch >= task.training.epochs:
                raise InputError(f"s_cyc.pruning.rewind_epoch must be below the epochs of '{cell.task}'")
            images = max(self.gradient_measure.images * (cell in measured), self.score_images(cell.criterion) or 0)
            if images > preset.datasets[task.dataset].train:
                raise InputError(
                    f"s_cyc takes gradients on {images} images (gradient_measure.images, "
                    f"pruning.score_images), more than the training images of '{task.dataset}'"
                )
        if oracle := self.oracle:
            known("s_cyc.oracle.task", oracle.task, preset.tasks)
            known("s_cyc.oracle.schedule", oracle.schedule, preset.schedules)
            if sorted(set(oracle.max_lr)) != oracle.max_lr:
                raise InputError(f"s_cyc.oracle.max_lr must ascend without repeats, found {oracle.max_lr}")

    def _trained(self) -> list[Cell]:
        """The cells of all chains."""
        return [*self.cells(), *(cell for part in (self.released, self.timing) if part for cell in part.cells())]

    def cells(self) -> list[Cell]:
        """Every cell of the comparison and of gradients, each once."""
        return list(dict.fromkeys(cell for grid in (*self.accuracy, *self.gradients) for cell in grid.cells()))

    def compared(self) -> set[Cell]:
        """The cells of the accuracy comparison."""
        return {cell for grid in self.accuracy for cell in grid.cells()}

    def measured(self) -> set[Cell]:
        """The cells whose gradients are measured."""
        return {cell for grid in self.gradients for cell in grid.cells()}

    def score_images(self, criterion: str) -> int | None:
        """Training images on which a criterion takes dL/dw; None where it takes none."""
        return self.pruning.score_images if get_criterion(criterion).needs_gradients else None


class SCycMargins(Strict):
    """Margins of claims A1 to A8. Accuracies and their differences are shares: 0.01 is one point."""

    a1_ratio: Positive = 0.8
    """A1 needs the gradients' spread to end at or below this share of the dense network's [ours]: a fifth narrower can
    be seen in a histogram."""
    a1_flat: float = Field(default=-0.01, le=0)
    """A1 fails where the slope of log spread per cycle is above this for certain [ours]: 7 % over seven cycles."""
    a1b_equivalent: Positive = 0.25
    """A1b fails where another activation's slope is within this share of ReLU's [ours]."""
    a2_ratio: Positive = 1.25
    """A2 needs the best max_lr of the sparsest network to be this many times the dense one's [ours]: about a
    quarter of the authors' x2.3 on the logarithm."""
    a2_flat: Positive = 1.1
    """A2 fails where that ratio is below this for certain [ours]."""
    a3_density: Share = 0.34
    """A3 and A4 look at cycles of at most this density: the densest of the published levels is 33 %."""
    a3_gain: Share = 0.01
    """A3 needs more than this: half of the low end of the published gain of 2.1 to 3.4 [abstract]."""
    a4_gain: Share = 0.005
    """A4 fails where the mean over criteria is below this for certain: half of A3's margin [ours]."""
    a5_time: Positive = 1.05
    """A5 allows this ratio of wall time to the cyclical schedule's [ours]."""
    a6_margin: Share = 0.005
    """A6: the oracle is comparable where it is within this of S-Cyc [ours]: a quarter of the published gain."""
    a6_inside: Share = 0.8
    """A6 needs S-Cyc's max_lr to be near the oracle's best in this share of cycles [ours]."""
    a6_outside: Share = 0.5
    """A6 fails where that share is below this for certain [ours]."""
    a7_gain: Share = 0.003
    """A7: the S-shape matters where it gains more than this over each other shape, and does not where it is within it
    of each [ours]: a seventh of the published gain."""
    a8_margin: Share = 0.005
    """A8: the scripts report what a sound protocol gives where it is within this of it [ours]: A6's margin."""
