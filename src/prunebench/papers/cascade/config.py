"""The cascade study's part of a preset, and the margins of its claims."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from prunebench.errors import InputError
from prunebench.parsing import Epochs, Name, Names, Positive, Share, Strict, distinct, known
from prunebench.runs.spec import CriterionName, Pattern, ProfileConfig, Ramp, Sparsity
from prunebench.suite.preset import Preset

Criteria = Annotated[list[CriterionName], AfterValidator(distinct)]
Sparsities = Annotated[list[Sparsity], AfterValidator(distinct)]


class Retraining(Strict):
    """Training after a prune, where a part of the study does not say otherwise."""

    epochs: Epochs
    """Epochs, those of a prelude included."""
    profile: ProfileConfig
    """LR over these epochs."""
    max_lr: Positive
    """Peak LR."""
    weight_decay: float = Field(ge=0)
    """Weight decay."""


class Prelude(Strict):
    """A small prune and epochs meant to shed weights (or, as a control, not to) before the real prune."""

    sparsity: Sparsity
    """Share of the weights that the small prune takes."""
    epochs: Epochs
    """Epochs, taken from the retraining's."""
    max_lr: Positive
    """LR, constant."""
    weight_decay: float = Field(ge=0)
    """Weight decay: it shrinks the weights that the loss does not sustain."""
    control: Name | None = None
    """The prelude that this one is compared with: the same without what makes it shed, such as weight decay."""


class Setting(Strict):
    """One fine-tuning setting: LR x weight decay, and how much is pruned before it."""

    max_lr: Positive
    """LR, constant."""
    weight_decay: float = Field(ge=0)
    """Weight decay. The clock of shedding is weight decay x LR x updates."""
    pruned_shares: Sparsities = Field(min_length=1)
    """Shares of the weights that are pruned, each beside the same control without a prune."""
    tasks: Names | None = None
    """The part's tasks that have this setting; null means all of them."""
    epochs: Epochs | None = None
    """Epochs of fine-tuning; null means the part's."""


class Part(Strict):
    """A part of the study."""

    tasks: Names = Field(min_length=1)
    """Names of entries of `tasks`."""

    def check_task(self, key: str, task: str, preset: Preset) -> None:
        """Raises InputError where the part cannot be run on one of its tasks; `key` is the part's in the preset."""


class SheddingPart(Part):
    """Shedding after a small prune, against a control without one."""

    criteria: Criteria = ["global_magnitude"]
    """Criteria of the small prune."""
    epochs: Epochs
    """Epochs of fine-tuning, where a setting does not say otherwise."""
    settings: list[Setting] = Field(min_length=1)
    """Fine-tuning settings; their clocks should range from 0 to what long fine-tuning reaches (about 0.5)."""
    removable_images: int = Field(default=1000, ge=0)
    """Validation images on which the share of removable weights is measured; 0 leaves it out."""

    def settings_of(self, task: str) -> list[Setting]:
        """The task's settings."""
        return [setting for setting in self.settings if setting.tasks is None or task in setting.tasks]

    def check_task(self, key: str, task: str, preset: Preset) -> None:
        """Settings name tasks of the part and leave none without, and there are as many images as are asked for."""
        for setting in self.settings:
            for named in setting.tasks or ():
                known(f"{key}.settings.tasks", named, self.tasks)
        if not self.settings_of(task):
            raise InputError(f"{key}: no setting names the task '{task}'")
        images = preset.datasets[preset.tasks[task].dataset].validation
        if self.removable_images > images:
            raise InputError(f"{key}.removable_images is more than the {images} validation images")


class CriteriaPart(Part):
    """Pruning criteria at several sparsities, with and without a prelude."""

    criteria: Criteria = Field(min_length=1)
    """Criteria: one-shot to the sparsity, then retraining."""
    sparsities: Sparsities = Field(min_length=1)
    """Sparsities."""
    preludes: Names = []
    """Preludes after which the network is pruned on by global magnitude."""
    prelude_criteria: Criteria = []
    """Criteria of the preludes' small prune."""
    prelude_tasks: Names | None = None
    """The part's tasks that have preludes; null means all of them."""

    def check_task(self, key: str, task: str, preset: Preset) -> None:
        """Preludes are for tasks of the part."""
        for named in self.prelude_tasks or ():
            known(f"{key}.prelude_tasks", named, self.tasks)


class RetrainingPart(Part):
    """Fine-tuning, LR rewinding and weight rewinding (Renda et al. 2020), for as many epochs each."""

    criteria: Criteria = Field(min_length=1)
    """Criteria, one-shot."""
    sparsities: Sparsities = Field(min_length=1)
    """Sparsities."""
    rewind_epoch: int = Field(ge=0)
    """Epoch k of the dense training to which LR and weights are rewound; all three train for the epochs from k on."""

    def check_task(self, key: str, task: str, preset: Preset) -> None:
        """The dense training has that epoch, and epochs after it."""
        if self.rewind_epoch >= preset.tasks[task].training.epochs:
            raise InputError(f"{key}.rewind_epoch must be below the epochs of '{task}'")


class NamedLR(Strict):
    """An LR schedule of a retraining."""

    profile: ProfileConfig
    """LR over the epochs of the part."""
    max_lr: Positive
    """Peak LR."""


class SchedulesPart(Part):
    """One-shot, iterative and gradual pruning, each under several LR schedules, with equal epochs."""

    criterion: CriterionName = "global_magnitude"
    """Pruning criterion."""
    sparsity: Sparsity
    """Final sparsity."""
    epochs: Epochs
    """Epochs of every arm."""
    weight_decay: float = Field(ge=0)
    """Weight decay."""
    rounds: int = Field(ge=2, le=100)
    """Prunes of iterative pruning, spread evenly over the epochs; each takes the same share of the survivors."""
    ramp: Ramp
    """The curve of gradual pruning."""
    lr_schedules: dict[Name, NamedLR] = Field(min_length=1)
    """LR schedules, over all epochs whatever is pruned when."""

    @model_validator(mode="after")
    def _rounds_divide_the_epochs(self) -> Self:
        if self.epochs % self.rounds:
            raise InputError(f"epochs is {self.epochs}, which rounds, {self.rounds}, must divide")
        return self


class GmpPart(Part):
    """Gradual magnitude pruning, with and without a phase of shedding whose shed weights are harvested."""

    sparsities: Sparsities = Field(min_length=1)
    """Final sparsities."""
    ramp: Ramp
    """The curve of gradual pruning; its share is of all the retraining's epochs, so that the target is reached at the
    same update with and without a prelude."""
    preludes: Names = Field(min_length=1)
    """Preludes; after each its shed weights are harvested and gradual pruning goes on."""


class SemiStructuredPart(Part):
    """N:M and block patterns, imposed at once or after a prelude, by magnitude."""

    patterns: list[Pattern] = Field(min_length=1)
    """Patterns along the input dimension."""
    preludes: Names = []
    """Preludes."""


class Cascade(Strict):
    """The study of cascade weight shedding."""

    dense: Name
    """Schedule of the dense training: its profile, at its policy's first max_lr."""
    retrain: Retraining
    """Training after a prune, where a part does not say otherwise."""
    preludes: dict[Name, Prelude] = {}
    """Preludes by name."""
    recalibration_images: int = Field(default=500, ge=1)
    """Training images on which batch normalisation's statistics are recomputed before each evaluation [ours]."""
    groups_per_job: int | None = Field(default=None, ge=1)
    """Groups of arms that one job trains; null puts all groups of a part into one job, which saves process starts."""
    shedding: SheddingPart | None = None
    """Shedding against the no-prune control."""
    criteria: CriteriaPart | None = None
    """Pruning criteria, with and without a prelude."""
    retraining: RetrainingPart | None = None
    """Fine-tuning, LR rewinding, weight rewinding."""
    schedules: SchedulesPart | None = None
    """Pruning schedules x LR schedules."""
    gmp: GmpPart | None = None
    """Gradual magnitude pruning with a phase of shedding."""
    semi_structured: SemiStructuredPart | None = None
    """N:M and block patterns."""

    def parts(self) -> dict[str, Part]:
        """The parts that are run, by name."""
        named = {name: getattr(self, name) for name in PARTS}
        return {name: part for name, part in named.items() if part is not None}

    def check(self, preset: Preset) -> None:
        """Raises InputError where a name is unknown or numbers do not hold together."""
        known("cascade.dense", self.dense, preset.schedules)
        for name, prelude in self.preludes.items():
            if name == "none":
                raise InputError("cascade.preludes.none: 'none' means no prelude; choose another name")
            if prelude.control is not None:
                known(f"cascade.preludes.{name}.control", prelude.control, self.preludes)
            if prelude.epochs >= self.retrain.epochs:
                raise InputError(
                    f"cascade.preludes.{name}.epochs is {prelude.epochs}; retrain has {self.retrain.epochs} in all"
                )
        for name, part in self.parts().items():
            key = f"cascade.{name}"
            for task in part.tasks:
                known(f"{key}.tasks", task, preset.tasks)
                if not hasattr(preset.tasks[task].training.mover, "weight_decay"):
                    raise InputError(f"{key}.tasks: the update of '{task}' has no weight decay to set")
                part.check_task(key, task, preset)
            for prelude_name in getattr(part, "preludes", ()):
                known(f"{key}.preludes", prelude_name, self.preludes)
                for sparsity in getattr(part, "sparsities", ()):
                    if self.preludes[prelude_name].sparsity >= sparsity:
                        raise InputError(
                            f"{key}: prelude '{prelude_name}' must prune less than the sparsity {sparsity:g}"
                        )


PARTS = ("shedding", "criteria", "retraining", "schedules", "gmp", "semi_structured")
"""The parts in the order in which jobs are listed."""


class CascadeMargins(Strict):
    """Margins of claims B1 to B9; the paper gives no number, so all are [ours]."""

    b1_excess: Share = 0.2
    """B1 needs an excess above this share of the survivors: the least that "a large percentage" can mean."""
    b1_none: Share = 0.05
    """B1 and B1c fail where the interval of the excess lies below this."""
    b1_dose: Share = 0.2
    """B1 looks at prunes of at most this share: the abstract's "small percentage"."""
    b1_epochs: Positive = 10
    """B1 looks at most this many epochs after the prune: the abstract's "few epochs"."""
    b2_gain: Share = 0.01
    """B2 needs the shedding recipe to gain more than this over each control."""
    b2_none: Share = 0.005
    """B2 fails where the interval of the gain lies below this."""
    b3_excess: Share = 0.05
    """B3: networks do not differ in excess where they are within this of each other."""
    b3_gap: Share = 0.005
    """B3: networks do not differ in what random pruning costs where they are within this of each other."""
    b4_gap: Share = 0.005
    """B4: global magnitude pruning is competitive in a cell where it is within this of the best scheme."""
    b4_far: Share = 0.01
    """B4: it is not competitive in a cell where it is further than this from the best."""
    b4_cells: Share = 0.8
    """B4 needs it to be competitive in this share of the cells."""
    b4_far_cells: Share = 0.5
    """B4 fails where it is far from the best in this share of the cells."""
    b5a_gain: Share = 0.003
    """B5a needs more accuracy than this at the same epochs and sparsity."""
    b5b_reach: Share = 0.002
    """B5b: plain gradual pruning counts as reached within this of its validation accuracy."""
    b5b_ratio: Positive = 0.9
    """B5b needs fewer updates than this ratio to plain gradual pruning's."""
    b6_effect: Share = 0.14
    """B6 needs a partial eta squared of at least this: a large effect (Cohen 1988)."""
    b6_accuracy: Share = 0.005
    """B6 needs a schedule to move accuracy by at least this: with little noise any effect has a large eta squared."""
    b6_excess: Share = 0.05
    """B6 needs it to move the excess by at least this."""
    b6_none: Share = 0.01
    """B6 fails where every partial eta squared is below this: less than a small effect (Cohen 1988)."""
    b6_p: Share = 0.01
    """B6 needs a p-value below this."""
    b7_gain: Share = 0.003
    """B7 needs rewinding to gain at least this over fine-tuning."""
    b7_excess: Share = 0.01
    """B7 needs it to shed at least this much more of the survivors."""
    b8_overlap: Share = 0.01
    """B8 needs the overlap of kept weights to differ by at least this."""
    b9_loss: Share = 0.003
    """B9 needs the accuracy under a pattern to differ by at least this."""
