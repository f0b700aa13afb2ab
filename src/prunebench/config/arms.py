"""Arms: what a job of the cascade study does, phase by phase.

An *arm* is a list of phases that starts from a dense network; a phase prunes, or not, and trains.
"""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prunebench.config.parsing import Name, Strict
from prunebench.config.tasks import CriterionName, DenseSpec, ProfileConfig, RunSpec, profile_of
from prunebench.errors import InputError
from prunebench.pruning.criteria import get_criterion
from prunebench.schedules import Profile

Sparsity = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
CONSTANT = {"kind": "constant"}

BELOW = 0.05
"""A survivor below this share of its dense magnitude counts as shed [ours]."""


class Ramp(Strict):
    """Gradual pruning: sparsity follows a cubic curve during a phase (Zhu & Gupta 2017)."""

    share: float = Field(gt=0, le=1)
    """Share of the phase's updates after which the target is reached."""
    every: int = Field(ge=1)
    """Updates between two prunes."""


class ToSparsity(Strict):
    """Prunes by a criterion until this share of all prunable weights is pruned."""

    kind: Literal["sparsity"] = "sparsity"
    """Prune to a sparsity."""
    criterion: CriterionName
    """Pruning criterion."""
    sparsity: float = Field(ge=0, lt=1)
    """Share of the prunable weights that is pruned afterwards; 0 prunes nothing."""
    ramp: Ramp | None = None
    """Gradual pruning over the phase; null prunes at once."""


class Shed(Strict):
    """Prunes what has been shed: survivors below `below` times their dense magnitude (the harvest)."""

    kind: Literal["shed"] = "shed"
    """Prune what is shed."""
    below: float = Field(default=BELOW, gt=0, lt=1)
    """Share of a weight's dense magnitude below which it counts as shed."""
    at_most: Sparsity
    """Sparsity that the harvest does not go beyond."""


class NOfM(Strict):
    """N:M sparsity: of every m consecutive weights along the input dimension the n largest are kept."""

    kind: Literal["n_of_m"] = "n_of_m"
    """N:M sparsity."""
    n: int = Field(ge=1)
    """Weights kept in each group."""
    m: int = Field(ge=2, le=64)
    """Weights of a group."""

    @model_validator(mode="after")
    def _keeps_fewer_than_all(self) -> Self:
        if self.n >= self.m:
            raise InputError(f"n is {self.n}, which must be below m, {self.m}")
        return self

    @property
    def label(self) -> str:
        """As the field writes it: 2:4."""
        return f"{self.n}:{self.m}"


class Blocks(Strict):
    """1 x size blocks along the input dimension, pruned or kept whole by the sum of magnitudes."""

    kind: Literal["blocks"] = "blocks"
    """Blocks."""
    size: int = Field(ge=2, le=64)
    """Weights of a block."""
    sparsity: Sparsity
    """Share of the blocks that is pruned."""

    @property
    def label(self) -> str:
        """1x4@0.5: blocks of 4 at 50 % sparsity."""
        return f"1x{self.size}@{self.sparsity:g}"


Pattern = Annotated[NOfM | Blocks, Field(discriminator="kind")]
Prune = Annotated[ToSparsity | Shed | NOfM | Blocks, Field(discriminator="kind")]


class Phase(Strict):
    """A part of an arm: prunes, in order, then training."""

    prune: list[Prune] = []
    rewind: int | None = Field(default=None, ge=0)
    """The weights left after the prunes go back to this epoch of the dense training."""
    epochs: Epochs
    profile: ProfileConfig
    max_lr: float = Field(ge=0)
    weight_decay: float = Field(ge=0)
    first_epoch: int = Field(default=0, ge=0)
    """Epoch of the LR profile that the phase begins at."""
    profile_epochs: Epochs
    """Epochs that the LR profile spans."""

    @cached_property
    def _schedule(self) -> Profile:
        return profile_of(self.profile)

    def lr(self, step: int, steps_per_epoch: int) -> float:
        """LR of an update, counted from the phase's beginning."""
        begin = self.first_epoch * steps_per_epoch
        return self._schedule.lr(begin + step, self.profile_epochs * steps_per_epoch, self.max_lr)


class Arm(Strict):
    """A trajectory from the dense network on."""

    name: str
    axes: dict[str, str | float]
    """What the arm is in its part's comparison: columns of the study's tables."""
    phases: list[Phase] = Field(min_length=1)
    follows: list[str] = []
    """For a control: earlier arms of the job over whose survivors it is measured."""


class Measure(Strict):
    """What a job measures beside accuracy and cost."""

    shedding: bool = False
    histograms: bool = False
    removable_images: int = 0
    occupancy: list[int] = []
    masks: bool = False
    below: float = BELOW


class RetrainSpec(RunSpec):
    """A job: arms that start from one dense network."""

    part: Name
    batch: int
    dense: DenseSpec
    arms: list[Arm] = Field(min_length=1)
    measure: Measure

    @model_validator(mode="after")
    def _arms_find_what_they_need(self) -> Self:
        before: set[str] = set()
        for arm in self.arms:
            if arm.name in before:
                raise InputError(f"the same arm twice: {arm.name}")
            for name in arm.follows:
                if name not in before:
                    raise InputError(f"arm {arm.name} follows '{name}', which is no earlier arm of the job")
            before.add(arm.name)
            for phase in arm.phases:
                if phase.rewind is not None and phase.rewind not in self.dense.keep:
                    raise InputError(f"arm {arm.name} rewinds to epoch {phase.rewind}, which dense.keep lacks")
                for action in phase.prune:
                    if isinstance(action, ToSparsity) and get_criterion(action.criterion).needs_previous_weights:
                        raise InputError(
                            f"arm {arm.name} prunes by {action.criterion}, which compares with weights of an epoch "
                            "before: only pruning chains have them"
                        )
        return self

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return f"{self.study}/{self.task}/{self.part}/seed-{self.seed}/batch-{self.batch}"


def constant_phase(prune: list[Any], epochs: int, max_lr: float, weight_decay: float) -> Phase:
    """Training at a constant LR after these prunes."""
    return Phase.model_validate(
        {
            "prune": [action.model_dump() for action in prune],
            "epochs": epochs,
            "profile": CONSTANT,
            "max_lr": max_lr,
            "weight_decay": weight_decay,
            "profile_epochs": epochs,
        }
    )
