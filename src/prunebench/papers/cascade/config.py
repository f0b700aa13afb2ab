"""The configuration of the cascade-weight-shedding study, and how it becomes jobs of arms.

Arms of one *group* are compared with each other, so they run in one job, from the same dense network and with the same
order of data: pruned arms and the control that follows their survivors.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from prunebench.config.arms import (
    CONSTANT,
    Arm,
    Epochs,
    Measure,
    NOfM,
    Pattern,
    Phase,
    Positive,
    Ramp,
    RetrainSpec,
    Shed,
    Sparsity,
    ToSparsity,
    constant_phase,
)
from prunebench.config.parsing import Name, Names, Strict, distinct, parse
from prunebench.config.tasks import CriterionName, ProfileConfig, known, profile_of
from prunebench.errors import InputError
from prunebench.pruning.amounts import round_density

if TYPE_CHECKING:
    from prunebench.config.preset import Preset

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

    def phase(self, prune: list[Any], begin: int = 0) -> Phase:
        """The retraining from epoch `begin` on, after these prunes; its LR starts over there."""
        epochs = self.epochs - begin
        return Phase(
            prune=prune,
            epochs=epochs,
            profile=self.profile,
            max_lr=self.max_lr,
            weight_decay=self.weight_decay,
            profile_epochs=epochs,
        )


class Prelude(Strict):
    """A small prune and epochs meant to shed weights (or, as a control, not to) before the real prune."""

    sparsity: Sparsity
    """Share of the weights that the small prune takes."""
    epochs: Epochs
    """Epochs, taken from the retraining's."""
    max_lr: Positive
    """LR, constant."""
    weight_decay: float = Field(ge=0)
    """Weight decay: what makes weights that the loss does not hold up shrink."""
    control: Name | None = None
    """The prelude that this one is compared with: the same without what is meant to shed."""

    def phase(self, criterion: str) -> Phase:
        """The prelude after a prune by this criterion."""
        prune = ToSparsity(criterion=criterion, sparsity=self.sparsity)
        return constant_phase([prune], self.epochs, self.max_lr, self.weight_decay)


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


class SheddingPart(Part):
    """Shedding after a small prune, against a control without one."""

    criteria: Criteria = ["global_magnitude"]
    """Criteria of the small prune."""
    epochs: Epochs
    """Epochs of fine-tuning, where a setting does not say otherwise."""
    settings: list[Setting] = Field(min_length=1)
    """Fine-tuning settings; their clocks should span from nothing to what long fine-tunings reach (about 0.5)."""
    removable_images: int = Field(default=1000, ge=0)
    """Validation images on which the share of removable weights is measured; 0 leaves it out."""

    def groups(self, study: "Cascade", preset: "Preset", task: str) -> Iterator[list[Arm]]:
        """One group per setting: the pruned arms and their control."""
        for setting in self.settings:
            if setting.tasks is not None and task not in setting.tasks:
                continue
            recipe = (setting.epochs or self.epochs, setting.max_lr, setting.weight_decay)
            axes: dict[str, Any] = {"max_lr": setting.max_lr, "weight_decay": setting.weight_decay}
            where = f"lr{setting.max_lr:g}.wd{setting.weight_decay:g}"
            pruned = [
                Arm(
                    name=f"{criterion}.p{share:g}.{where}",
                    axes=axes | {"criterion": criterion, "pruned_share": share},
                    phases=[constant_phase([ToSparsity(criterion=criterion, sparsity=share)], *recipe)],
                )
                for criterion in self.criteria
                for share in setting.pruned_shares
            ]
            yield [*pruned, _control(where, {"criterion": "none", "pruned_share": 0.0} | axes, pruned, recipe)]

    def measure(self) -> Measure:
        """Curves, histograms and the removable share."""
        return Measure(shedding=True, histograms=True, removable_images=self.removable_images)


def _control(where: str, axes: dict[str, Any], pruned: list[Arm], recipe: tuple[int, float, float]) -> Arm:
    return Arm(
        name=f"control.{where}", axes=axes, phases=[constant_phase([], *recipe)], follows=[arm.name for arm in pruned]
    )


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

    def groups(self, study: "Cascade", preset: "Preset", task: str) -> Iterator[list[Arm]]:
        """One group per sparsity."""
        for sparsity in self.sparsities:
            plain = [
                Arm(
                    name=f"{criterion}.s{sparsity:g}",
                    axes={"criterion": criterion, "prelude": "none", "sparsity": sparsity},
                    phases=[study.retrain.phase([ToSparsity(criterion=criterion, sparsity=sparsity)])],
                )
                for criterion in self.criteria
            ]
            onward = ToSparsity(criterion="global_magnitude", sparsity=sparsity)
            begun = [
                Arm(
                    name=f"{criterion}.{name}.s{sparsity:g}",
                    axes={"criterion": criterion, "prelude": name, "sparsity": sparsity},
                    phases=[study.preludes[name].phase(criterion), study.after_prelude(name, [onward])],
                )
                for criterion in (self.prelude_criteria if task in (self.prelude_tasks or self.tasks) else [])
                for name in self.preludes
            ]
            yield plain + begun

    def measure(self) -> Measure:
        """The kept masks, for their overlap."""
        return Measure(masks=True)


RETRAININGS = ("fine_tune", "rewind_lr", "rewind_weights")


class RetrainingPart(Part):
    """Fine-tuning, LR rewinding and weight rewinding (Renda et al. 2020), for as many epochs each."""

    criteria: Criteria = Field(min_length=1)
    """Criteria, one-shot."""
    sparsities: Sparsities = Field(min_length=1)
    """Sparsities."""
    rewind_epoch: int = Field(ge=0)
    """Epoch k of the dense training that is gone back to; all three train for the epochs from k on."""

    def groups(self, study: "Cascade", preset: "Preset", task: str) -> Iterator[list[Arm]]:
        """One group per retraining, with its own control."""
        schedule, training = preset.schedules[study.dense], preset.tasks[task].training
        max_lr = schedule.schedule().policy.at(0)
        steps = training.epochs * (preset.datasets[preset.tasks[task].dataset].train // training.batch_size)
        profile: Any = schedule.profile
        last_lr = profile_of(profile).lr(steps - 1, steps, max_lr)
        epochs = training.epochs - self.rewind_epoch
        for retraining in RETRAININGS:
            fine = retraining == "fine_tune"
            base = {
                "rewind": self.rewind_epoch if retraining == "rewind_weights" else None,
                "epochs": epochs,
                "profile": CONSTANT if fine else profile.model_dump(),
                "max_lr": last_lr if fine else max_lr,
                "weight_decay": training.weight_decay,
                "first_epoch": 0 if fine else self.rewind_epoch,
                "profile_epochs": epochs if fine else training.epochs,
            }
            pruned = [
                Arm.model_validate(
                    {
                        "name": f"{criterion}.s{sparsity:g}.{retraining}",
                        "axes": {"criterion": criterion, "sparsity": sparsity, "retraining": retraining},
                        "phases": [
                            base | {"prune": [{"criterion": criterion, "sparsity": sparsity, "kind": "sparsity"}]}
                        ],
                    }
                )
                for criterion in self.criteria
                for sparsity in self.sparsities
            ]
            control = Arm.model_validate(
                {
                    "name": f"control.{retraining}",
                    "axes": {"criterion": "none", "sparsity": 0.0, "retraining": retraining},
                    "phases": [base],
                    "follows": [arm.name for arm in pruned],
                }
            )
            yield [*pruned, control]

    def measure(self) -> Measure:
        """Shedding beside accuracy."""
        return Measure(shedding=True)


class NamedLR(Strict):
    """An LR schedule of a retraining."""

    profile: ProfileConfig
    """LR over the epochs of the part."""
    max_lr: Positive
    """Peak LR."""


PRUNINGS = ("one_shot", "iterative", "gradual")


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

    def groups(self, study: "Cascade", preset: "Preset", task: str) -> Iterator[list[Arm]]:
        """One group per LR schedule, with its own control."""
        for name, config in sorted(self.lr_schedules.items()):
            pruned = [
                self._arm(pruning, name, config, self._phases(pruning))
                for pruning in ("one_shot", "iterative", "gradual")
            ]
            control = self._arm("none", name, config, [(self.epochs, [])])
            yield [*pruned, control.model_copy(update={"follows": [arm.name for arm in pruned]})]

    def _phases(self, pruning: str) -> list[tuple[int, list[ToSparsity]]]:
        """(epochs, prunes) of each phase."""
        target = ToSparsity(criterion=self.criterion, sparsity=self.sparsity)
        if pruning == "one_shot":
            return [(self.epochs, [target])]
        if pruning == "gradual":
            return [(self.epochs, [target.model_copy(update={"ramp": self.ramp})])]
        densities = [round_density(1.0, 1 - self.sparsity, i, self.rounds) for i in range(1, self.rounds + 1)]
        prunes = [target.model_copy(update={"sparsity": 1 - density}) for density in densities[:-1]] + [target]
        return [(self.epochs // self.rounds, [prune]) for prune in prunes]

    def _arm(self, pruning: str, name: str, config: NamedLR, phases: list[tuple[int, list[ToSparsity]]]) -> Arm:
        begun = 0
        made = []
        for epochs, prune in phases:
            made.append(
                Phase(
                    prune=[*prune],
                    epochs=epochs,
                    profile=config.profile,
                    max_lr=config.max_lr,
                    weight_decay=self.weight_decay,
                    first_epoch=begun,
                    profile_epochs=self.epochs,
                )
            )
            begun += epochs
        control = pruning == "none"
        axes: dict[str, str | float] = {
            "criterion": "none" if control else self.criterion,
            "sparsity": 0.0 if control else self.sparsity,
            "pruning": pruning,
            "lr_schedule": name,
        }
        return Arm(name=f"{'control' if control else pruning}.{name}", axes=axes, phases=made)

    def measure(self) -> Measure:
        """Shedding beside accuracy."""
        return Measure(shedding=True)


class GmpPart(Part):
    """Gradual magnitude pruning, with and without a phase of shedding whose shed weights are harvested."""

    sparsities: Sparsities = Field(min_length=1)
    """Final sparsities."""
    ramp: Ramp
    """The curve of gradual pruning; its share is of all the retraining's epochs, so that the target is reached at the
    same update with and without a prelude."""
    preludes: Names = Field(min_length=1)
    """Preludes; after each its shed weights are harvested and gradual pruning goes on."""

    def groups(self, study: "Cascade", preset: "Preset", task: str) -> Iterator[list[Arm]]:
        """One group per sparsity."""
        for sparsity in self.sparsities:
            gradual = ToSparsity(criterion="global_magnitude", sparsity=sparsity, ramp=self.ramp)
            harvest = Shed(at_most=sparsity)
            arms = [
                Arm(
                    name=f"none.s{sparsity:g}",
                    axes={"prelude": "none", "sparsity": sparsity},
                    phases=[study.retrain.phase([gradual])],
                )
            ]
            for name in self.preludes:
                first = study.preludes[name].phase("global_magnitude")
                onward = gradual.model_copy(update={"ramp": self.ramp_after(first.epochs, study.retrain.epochs)})
                arms.append(
                    Arm(
                        name=f"{name}.s{sparsity:g}",
                        axes={"prelude": name, "sparsity": sparsity},
                        phases=[first, study.after_prelude(name, [harvest, onward])],
                    )
                )
            yield arms

    def ramp_after(self, begun: int, epochs: int) -> Ramp:
        """The rest of the ramp for a phase that begins after `begun` of `epochs` epochs."""
        share = (self.ramp.share * epochs - begun) / (epochs - begun)
        if share <= 0:
            raise InputError(f"cascade.gmp.ramp ends after {self.ramp.share * epochs:g} epochs, within a prelude")
        return Ramp(share=share, every=self.ramp.every)

    def measure(self) -> Measure:
        """Nothing more."""
        return Measure()


class SemiStructuredPart(Part):
    """N:M and block patterns, imposed at once or after a prelude, by magnitude."""

    patterns: list[Pattern] = Field(min_length=1)
    """Patterns along the input dimension."""
    preludes: Names = []
    """Preludes."""

    def groups(self, study: "Cascade", preset: "Preset", task: str) -> Iterator[list[Arm]]:
        """One group per pattern."""
        for pattern in self.patterns:
            name = pattern.label.replace(":", "-of-").replace("@", "-at-")
            arms = [
                Arm(
                    name=f"{name}.none",
                    axes={"pattern": pattern.label, "prelude": "none"},
                    phases=[study.retrain.phase([pattern])],
                )
            ]
            for prelude in self.preludes:
                first = study.preludes[prelude].phase("global_magnitude")
                arms.append(
                    Arm(
                        name=f"{name}.{prelude}",
                        axes={"pattern": pattern.label, "prelude": prelude},
                        phases=[first, study.after_prelude(prelude, [pattern])],
                    )
                )
            yield arms

    def measure(self) -> Measure:
        """How many weights of a group are alive."""
        sizes = {p.m if isinstance(p, NOfM) else p.size for p in self.patterns}
        return Measure(occupancy=sorted(sizes))


AnyPart = SheddingPart | CriteriaPart | RetrainingPart | SchedulesPart | GmpPart | SemiStructuredPart


class Cascade(Strict):
    """The study of cascade weight shedding."""

    dense: Name
    """Schedule of the dense training: its profile, at its policy's first max_lr."""
    retrain: Retraining
    """Training after a prune, where a part does not say otherwise."""
    preludes: dict[Name, Prelude] = {}
    """Preludes by name."""
    groups_per_job: int | None = Field(default=None, ge=1)
    """Groups of arms that one job trains; null is all of a part's (where a process start would cost more)."""
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

    def parts(self) -> dict[str, AnyPart]:
        """The parts that are run, by name."""
        named = {name: getattr(self, name) for name in PARTS}
        return {name: part for name, part in named.items() if part is not None}

    def after_prelude(self, prelude: str, prune: list[Any]) -> Phase:
        """The retraining in the epochs that a prelude leaves."""
        return self.retrain.phase(prune, self.preludes[prelude].epochs)

    def check(self, preset: "Preset") -> None:
        """Raises InputError where a name is unknown or numbers do not hold together."""
        for name, prelude in self.preludes.items():
            if name == "none":
                raise InputError("cascade.preludes.none: 'none' means no prelude; choose another name")
            if prelude.control is not None:
                known(f"cascade.preludes.{name}.control", prelude.control, self.preludes)
            if prelude.epochs >= self.retrain.epochs:
                raise InputError(
                    f"cascade.preludes.{name}.epochs is {prelude.epochs}; retrain has {self.retrain.epochs} in all"
                )
        profiles = {"retrain": self.retrain.profile}
        if self.schedules:
            named = self.schedules.lr_schedules.items()
            profiles |= {f"schedules.lr_schedules.{name}": config.profile for name, config in named}
        for key, profile in profiles.items():
            try:
                profile_of(profile)
            except InputError as error:
                raise InputError(f"cascade.{key}: {error}") from None
        for name, part in self.parts().items():
            for task in part.tasks:
                known(f"cascade.{name}.tasks", task, preset.tasks)
            self._check_preludes(f"cascade.{name}", part)
        if self.retraining:
            for task in self.retraining.tasks:
                if self.retraining.rewind_epoch >= preset.tasks[task].training.epochs:
                    raise InputError(f"cascade.retraining.rewind_epoch must be below the epochs of '{task}'")
        for task in (self.criteria.prelude_tasks or []) if self.criteria else []:
            known("cascade.criteria.prelude_tasks", task, self.criteria.tasks if self.criteria else [])
        if self.shedding:
            self._check_shedding(self.shedding, preset)
        for name, part in self.parts().items():
            for task in part.tasks:
                arms = [arm.name for group in part.groups(self, preset, task) for arm in group]
                # In one job or in several: tables tell arms of a part by what their names say.
                if twice := [arm for arm in arms if arms.count(arm) > 1]:
                    raise InputError(f"cascade.{name}: the same arm twice: {twice[0]}")
        self.jobs(preset)

    @staticmethod
    def _check_shedding(part: SheddingPart, preset: "Preset") -> None:
        """Settings name tasks of the part and leave none without, and there are as many images as are asked for."""
        for setting in part.settings:
            for task in setting.tasks or []:
                known("cascade.shedding.settings.tasks", task, part.tasks)
        for task in part.tasks:
            if not any(setting.tasks is None or task in setting.tasks for setting in part.settings):
                raise InputError(f"cascade.shedding: no setting names the task '{task}'")
            images = preset.datasets[preset.tasks[task].dataset].validation
            if part.removable_images > images:
                raise InputError(f"cascade.shedding.removable_images is more than the {images} validation images")

    def _check_preludes(self, key: str, part: Part) -> None:
        """Preludes exist and take less than what is pruned after them."""
        targets = getattr(part, "sparsities", [])
        for name in getattr(part, "preludes", []):
            known(f"{key}.preludes", name, self.preludes)
            for sparsity in targets:
                if self.preludes[name].sparsity >= sparsity:
                    raise InputError(f"{key}: prelude '{name}' must prune less than the sparsity {sparsity:g}")

    def jobs(self, preset: "Preset") -> list[RetrainSpec]:
        """Every job, in a stable order: one per part, task, portion of the part's groups, and seed."""
        return [
            parse(
                RetrainSpec,
                preset.common("cascade", task, seed)
                | {
                    "part": name,
                    "batch": batch,
                    "dense": preset.dense(task, self.dense, seed),
                    "arms": arms,
                    "measure": part.measure(),
                },
                f"cascade.{name}",
            )
            for name, part in self.parts().items()
            for task in part.tasks
            for batch, arms in enumerate(self._batches(part, preset, task))
            for seed in preset.seeds
        ]

    def _batches(self, part: AnyPart, preset: "Preset", task: str) -> list[list[Arm]]:
        groups = list(part.groups(self, preset, task))
        size = self.groups_per_job or len(groups)
        return [[arm for group in groups[i : i + size] for arm in group] for i in range(0, len(groups), size)]

    def kept_epochs(self, preset: "Preset") -> Iterator[tuple[str, str, int]]:
        """(task, schedule, epoch) of every dense network of which an arm needs another epoch than the last."""
        if self.retraining:
            for task in self.retraining.tasks:
                yield task, self.dense, self.retraining.rewind_epoch


PARTS = ("shedding", "criteria", "retraining", "schedules", "gmp", "semi_structured")
"""The parts in the order in which jobs are listed."""
