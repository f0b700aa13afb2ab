"""The configuration of the directional-pruning study (gRDA), and how it becomes jobs.

All networks of a task and seed that are compared lie in one job, *minima*: SGD's, gRDA's and the controls. Baselines,
mode connectivity and curvature start from what that job leaves.
"""

import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from prunebench.config.arms import Epochs, Positive, Ramp
from prunebench.config.parsing import Name, Names, Strict, distinct
from prunebench.config.tasks import CHANNELS, SIDES, CriterionName, Network, ProfileConfig, RunSpec, Spec, known
from prunebench.errors import InputError

if TYPE_CHECKING:
    from prunebench.config.preset import Preset

Share = Annotated[float, Field(ge=0, le=1)]
Mu = Annotated[float, Field(gt=0, lt=1)]
Pair = Literal["grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init"]
Problem = Literal["least_squares", "network"]

CLASSES = 10
"""Of every data set here: what a timed network tells apart."""

SGD, ORDER, INIT, STRONG, UNCUT = "sgd", "sgd_order", "sgd_init", "sgd_strong", "l1_uncut"
"""Methods of arms: the paper's SGD, the same with another order of data, from another initialisation, with momentum and
weight decay, and with an l1 penalty."""


class SGDUpdate(Strict):
    """SGD."""

    kind: Literal["sgd"] = "sgd"
    """SGD."""
    momentum: float = Field(ge=0, lt=1)
    """Momentum."""
    weight_decay: float = Field(ge=0)
    """L2 weight decay on every parameter."""
    l1: float = Field(default=0.0, ge=0)
    """Weight of an l1 penalty on weights of two or more dimensions, taken as a proximal step."""


class GRDASetting(Strict):
    """gRDA's hyperparameters. The threshold after n updates at one LR is c sqrt(LR) (n LR)^mu."""

    c: Positive
    """Size of the threshold [authors' code: 5e-4 to 1e-2 at 10^5 updates and more]."""
    mu: Mu
    """Growth of the threshold; the theory needs more than 0.5 [authors' code: 0.4 to 0.85]."""
    spare_norm_and_bias: bool = False
    """Leave parameters of fewer than two dimensions to plain SGD [authors' code: no]."""

    @property
    def arm(self) -> str:
        """The name of its arm."""
        return f"grda.c{self.c:g}.mu{self.mu:g}" + (".spared" if self.spare_norm_and_bias else "")

    @property
    def label(self) -> str:
        """As tables write it."""
        return f"c {self.c:g}, mu {self.mu:g}" + (", weights only" if self.spare_norm_and_bias else "")


class GRDAUpdate(GRDASetting):
    """gRDA."""

    kind: Literal["grda"] = "grda"
    """gRDA."""


class Match(Strict):
    """Prunes to the sparsity that an arm of the minima ended with."""

    criterion: CriterionName
    like: str
    when: Literal["start", "training", "end"]
    ramp: Ramp | None = None


class Trajectory(Strict):
    """An arm: training from somewhere on, with or without a prune."""

    name: str
    axes: dict[str, str | float | None]
    """What the arm is in the study's tables: method, c, mu, matched_to."""
    start: str | None = None
    """Arm of the minima whose end it starts from; None: an initialisation."""
    independent: bool = False
    """Starts from another initialisation than the seed's own."""
    order: int
    """Place of its first epoch in the job's order of data: arms of the same order see the same images."""
    epochs: int = Field(ge=0, le=100_000)
    profile: ProfileConfig
    max_lr: float
    update: Annotated[SGDUpdate | GRDAUpdate, Field(discriminator="kind")]
    prune: Match | None = None
    keep: list[int] = []
    """Epochs after which its network is kept, beside the last."""


class TrajectoriesSpec(RunSpec):
    """A job: arms of one task and seed."""

    part: Literal["minima", "baselines", "sensitivity"]
    arms: list[Trajectory] = Field(min_length=1)
    minima: "TrajectoriesSpec | None" = None
    """The job whose networks the arms start from or are matched to."""

    @model_validator(mode="after")
    def _arms_find_what_they_need(self) -> Self:
        names = [arm.name for arm in self.arms]
        distinct(names)
        there = {arm.name for arm in self.minima.arms} if self.minima else set()
        for arm in self.arms:
            for key, needed in (("start", arm.start), ("prune.like", arm.prune and arm.prune.like)):
                if needed is not None and needed not in there:
                    raise InputError(f"{key} of arm {arm.name} is '{needed}', which is no arm of its minima")
        return self

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return f"{self.study}/{self.task}/{self.part}/seed-{self.seed}"


class Sensitivity(Strict):
    """gRDA around the reference setting (claim C2): at least one other setting."""

    tasks: Names | None = None
    """Tasks of the study; null means all of them."""
    c_factors: list[Positive] = [0.5, 2.0]
    """c times these, at the reference's mu."""
    mu_shifts: list[float] = [-0.05, 0.05]
    """mu plus these, at the reference's c."""

    def settings(self, reference: GRDASetting) -> Iterator[tuple[GRDASetting, float, float]]:
        """Settings with their factor of c and their shift of mu; the reference itself is not among them."""
        for factor in self.c_factors:
            yield reference.model_copy(update={"c": reference.c * factor}), factor, 0.0
        for shift in self.mu_shifts:
            yield reference.model_copy(update={"mu": round(reference.mu + shift, 12)}), 1.0, shift


class Strong(Strict):
    """The strong dense baseline: SGD with momentum and weight decay."""

    momentum: float = Field(default=0.9, gt=0, lt=1)
    """Momentum."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay."""
    max_lr: Positive
    """Peak LR; the profile is the study's."""


class FineTuning(Strict):
    """Training after a one-shot prune, by the task's SGD."""

    epochs: Epochs
    """Epochs, beside those of the dense network."""
    max_lr: Positive
    """Peak LR."""
    profile: ProfileConfig
    """LR over these epochs."""


class Baselines(Strict):
    """What gRDA is compared with at the sparsity that it ended with."""

    strong: Strong
    """The strong dense baseline."""
    l1: Annotated[list[Positive], Field(min_length=1), AfterValidator(distinct)]
    """Weights of the l1 penalty; after training the network is cut to the sparsity by magnitude, without retraining.
    Tables hold the one with the best validation accuracy at each sparsity."""
    ramp: Ramp
    """Gradual magnitude pruning."""
    fine_tuning: FineTuning
    """After one-shot magnitude pruning."""


class Plane(Strict):
    """The plane through two minima and the bend of the curve between them."""

    points: int = Field(ge=2)
    """Points along each side of the grid."""
    margin: float = Field(default=0.2, ge=0)
    """Grid beyond the three points, as a share of their extent [authors' code: 0.2]."""
    pairs: list[Pair] = ["grda:sgd"]
    """Pairs whose planes are evaluated."""
    seeds: int = Field(default=1, ge=1)
    """How many of the preset's seeds have planes, from the first on."""


class Connectivity(Strict):
    """Quadratic Bezier curves between minima, and straight lines (claim C6)."""

    pairs: Annotated[list[Pair], AfterValidator(distinct)] = list(typing.get_args(Pair))
    """Pairs of minima. gRDA and SGD share initialisation and order of data; `sgd:sgd_order` shares the initialisation,
    `sgd:sgd_init`, the control that curves stand beside, neither."""
    epochs: Epochs
    """Epochs that the bend is trained for [authors' code: 300 and 200]."""
    max_lr: Positive
    """Peak LR of the bend."""
    profile: ProfileConfig
    """LR over these epochs."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of the bend [authors' code: 0.9 for VGG16, 0 for WRN]."""
    points: int = Field(ge=3)
    """Points of t, evenly from 0 to 1, at which paths are evaluated [authors' code: 61]."""
    plane: Plane | None = None
    """Grids of loss and error; null leaves them out."""


class Curvature(Strict):
    """Leading eigenpairs of the Hessian of the training loss at SGD's network (claim C7)."""

    epochs: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    """Epochs after which they are computed; the last epoch is always among them."""
    k: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(distinct)] = [10]
    """Sizes of the leading eigenspace [authors' code: 10]."""
    tolerance: Positive = 1e-3
    """Relative tolerance of the eigenvalues [authors' code: 1e-6]."""
    images: int | None = Field(default=None, ge=1)
    """Training images of the loss; null takes all."""


class Toy(Strict):
    """Directional pruning where it can be computed exactly (claim C1)."""

    problems: Annotated[list[Problem], Field(min_length=1), AfterValidator(distinct)] = ["least_squares", "network"]
    """Problems."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(distinct)] = Field(
        default=list(range(10)), min_length=1
    )
    """Seeds of their own: a problem takes seconds where a network takes minutes, and three seeds decide little."""
    gamma: Annotated[list[Positive], Field(min_length=2), AfterValidator(distinct)] = [0.1, 0.03, 0.01, 0.003]
    """Learning rates."""
    t: Positive
    """Time: updates x learning rate."""
    c: Positive
    """gRDA's c."""
    mu: float = Field(gt=0.5, lt=1)
    """gRDA's mu: the theorem's range."""

    @model_validator(mode="after")
    def _has_time_for_an_update(self) -> Self:
        if self.t < max(self.gamma):
            raise InputError(f"t is {self.t:g}, less than one update at gamma {max(self.gamma):g}")
        return self


class Overhead(Strict):
    """Time and memory of the optimizers (claim C4)."""

    tasks: Names = []
    """Tasks whose networks' updates and whole training steps are timed."""
    resnet50: bool = True
    """Time updates of ResNet-50's parameters too."""
    blocks: int = Field(default=7, ge=2)
    """Interleaved blocks; the ratios are taken within a block."""
    steps: int = Field(default=20, ge=1)
    """Updates in a block."""


class Directional(Strict):
    """The study of directional pruning by gRDA."""

    profile: ProfileConfig
    """LR over a training, for every method."""
    max_lr: Positive
    """Peak LR of SGD and gRDA."""
    grda: dict[Name, Annotated[list[GRDASetting], Field(min_length=1)]] = Field(min_length=1)
    """Settings of gRDA by task; the first is the reference of sensitivity, connectivity and curvature. The tasks'
    recipes are the paper's SGD: no momentum, no weight decay."""
    sensitivity: Sensitivity | None = None
    """gRDA around the reference; null leaves it out."""
    baselines: Baselines | None = None
    """Dense and pruned baselines; null leaves them out."""
    connectivity: Connectivity | None = None
    """Paths between minima; null leaves them out."""
    curvature: Curvature | None = None
    """The Hessian; null leaves it out."""
    toy: Toy | None = None
    """The exact test of the theory; null leaves it out."""
    overhead: Overhead | None = None
    """Cost of the optimizers; null leaves it out."""

    def check(self, preset: "Preset") -> None:
        """Raises InputError where a name is unknown or numbers do not hold together."""
        for task in self.grda:
            known("directional.grda", task, preset.tasks)
            recipe = preset.tasks[task].training
            for key in ("momentum", "weight_decay"):
                if getattr(recipe, key):
                    raise InputError(
                        f"directional.grda: {key} of '{task}' is {getattr(recipe, key):g}; gRDA has none, so that its "
                        "SGD must have 0"
                    )
            for epoch in self.curvature.epochs if self.curvature else []:
                if epoch > recipe.epochs:
                    raise InputError(f"directional.curvature.epochs: {epoch} is beyond the {recipe.epochs} of '{task}'")
            images = self.curvature.images if self.curvature else None
            if images is not None and images > preset.datasets[preset.tasks[task].dataset].train:
                raise InputError(f"directional.curvature.images: {images}, more than the training images of '{task}'")
        for task in self.overhead.tasks if self.overhead else []:
            known("directional.overhead.tasks", task, preset.tasks)
        for task in (self.sensitivity and self.sensitivity.tasks) or []:
            known("directional.sensitivity.tasks", task, self.grda)
        for task, settings in self.grda.items():
            around = list(self.sensitivity.settings(settings[0])) if self.sensitivity else []
            if self.sensitivity and not around:
                raise InputError("directional.sensitivity: c_factors and mu_shifts are both empty")
            for setting, _, shift in around:
                if not 0 < setting.mu < 1:
                    raise InputError(
                        f"directional.sensitivity.mu_shifts: {shift:g} makes mu of '{task}' {setting.mu:g}; "
                        "allowed: in (0, 1)"
                    )
            for key, group in (
                (f"grda.{task}", settings),
                ("sensitivity", [settings[0], *(each[0] for each in around)]),
            ):
                try:
                    distinct([setting.arm for setting in group])
                except InputError as error:
                    raise InputError(f"directional.{key}: {error}") from None
        if self.overhead and not self.overhead.tasks and not self.overhead.resnet50:
            raise InputError("directional.overhead: nothing to time, no tasks and no resnet50")
        if self.connectivity and self.connectivity.plane:
            for pair in self.connectivity.plane.pairs:
                known("directional.connectivity.plane.pairs", pair, self.connectivity.pairs)

    def kept_epochs(self, preset: "Preset") -> Iterator[tuple[str, str, int]]:
        """No dense network of another study is kept for this one."""
        return iter(())

    def minima_jobs(self, preset: "Preset") -> list[TrajectoriesSpec]:
        """SGD's minima and gRDA's: one job per task and seed."""
        return [self._minima(preset, task, seed) for task in self.grda for seed in preset.seeds]

    def baseline_jobs(self, preset: "Preset") -> list[TrajectoriesSpec]:
        """The baselines: one job per task and seed."""
        return [
            TrajectoriesSpec(
                **preset.common("directional", task, seed),
                part="baselines",
                arms=list(self._baselines(preset, task)),
                minima=self._minima(preset, task, seed),
            )
            for task in (self.grda if self.baselines else [])
            for seed in preset.seeds
        ]

    def sensitivity_jobs(self, preset: "Preset") -> list[TrajectoriesSpec]:
        """gRDA around the reference: one job per task and seed."""
        if self.sensitivity is None:
            return []
        return [
            TrajectoriesSpec(
                **preset.common("directional", task, seed),
                part="sensitivity",
                arms=[
                    self._grda(preset, task, setting, c_factor=factor, mu_shift=shift)
                    for setting, factor, shift in self.sensitivity.settings(self.grda[task][0])
                ],
            )
            for task in self.grda
            if task in (self.sensitivity.tasks or self.grda)
            for seed in preset.seeds
        ]

    def connection_jobs(self, preset: "Preset") -> list["ConnectSpec"]:
        """Mode connectivity: one job per task and seed."""
        part = self.connectivity
        if part is None:
            return []
        planes = set(preset.seeds[: part.plane.seeds]) if part.plane else set()
        # How many seeds have planes, a seed's job does not read.
        plane = part.plane and part.plane.model_copy(update={"seeds": 1})
        return [
            ConnectSpec(
                **preset.common("directional", task, seed),
                minima=self._minima(preset, task, seed),
                reference=self.grda[task][0].arm,
                connectivity=part.model_copy(update={"plane": plane if seed in planes else None}),
            )
            for task in self.grda
            for seed in preset.seeds
        ]

    def curvature_jobs(self, preset: "Preset") -> list["CurvatureSpec"]:
        """The Hessian's leading eigenpairs: one job per task and seed."""
        if self.curvature is None:
            return []
        return [
            CurvatureSpec(
                **preset.common("directional", task, seed),
                minima=self._minima(preset, task, seed),
                reference=self.grda[task][0].arm,
                curvature=self.curvature,
            )
            for task in self.grda
            for seed in preset.seeds
        ]

    def toy_jobs(self, preset: "Preset") -> list["ToySpec"]:
        """The exact problems: one job each."""
        if self.toy is None:
            return []
        settings = self.toy.model_dump(exclude={"problems"})
        return [ToySpec(problem=problem, **settings) for problem in self.toy.problems]

    def overhead_jobs(self, preset: "Preset") -> list["OverheadSpec"]:
        """Cost of the optimizers: one job."""
        part = self.overhead
        if part is None:
            return []
        timed = []
        for name in part.tasks:
            task = preset.tasks[name]
            data = preset.datasets[task.dataset]
            timed.append(
                Timed(
                    name=name,
                    network=task.network,
                    channels=CHANNELS[data.source],
                    image_size=data.size or SIDES[data.source],
                    batch_size=task.training.batch_size,
                )
            )
        return [OverheadSpec(timed=timed, resnet50=part.resnet50, blocks=part.blocks, steps=part.steps)]

    def _minima(self, preset: "Preset", task: str, seed: int) -> TrajectoriesSpec:
        sgd = self._sgd(preset, task)
        epochs = preset.tasks[task].training.epochs
        keep = sorted({*self.curvature.epochs} - {epochs}) if self.curvature else []
        reference, *others = self.grda[task]
        # Other epochs of the order of data than the first ones: another order and augmentation of the same images.
        another = {"order": epochs, "axes": {"method": ORDER, "c": None, "mu": None, "matched_to": ""}}
        arms = [
            sgd.model_copy(update={"keep": keep}),
            sgd.model_copy(update=another | {"name": ORDER, "keep": keep}),
            sgd.model_copy(
                update={"name": INIT, "independent": True, "order": 2 * epochs, "axes": sgd.axes | {"method": INIT}}
            ),
            self._grda(preset, task, reference).model_copy(update={"keep": keep}),
            *(self._grda(preset, task, setting) for setting in others),
            *(
                self._sgd(preset, task, f"l1.{strength:g}", l1=strength)
                for strength in (self.baselines.l1 if self.baselines else [])
            ),
        ]
        return TrajectoriesSpec(**preset.common("directional", task, seed), part="minima", arms=arms)

    def _sgd(self, preset: "Preset", task: str, name: str = SGD, **update: Any) -> Trajectory:
        """The paper's SGD, or SGD with another update."""
        return Trajectory(
            name=name,
            axes={"method": UNCUT if name.startswith("l1.") else name, "c": None, "mu": None, "matched_to": ""},
            order=0,
            epochs=preset.tasks[task].training.epochs,
            profile=self.profile,
            max_lr=self.max_lr,
            update=SGDUpdate(**{"momentum": 0.0, "weight_decay": 0.0} | update),
        )

    def _grda(self, preset: "Preset", task: str, setting: GRDASetting, **axes: float) -> Trajectory:
        update = GRDAUpdate(**setting.model_dump(exclude={"kind"}))
        return self._sgd(preset, task).model_copy(
            update={
                "name": setting.arm,
                "axes": {"method": "grda", "c": setting.c, "mu": setting.mu, "matched_to": setting.label} | axes,
                "update": update,
            }
        )

    def _baselines(self, preset: "Preset", task: str) -> Iterator[Trajectory]:
        part = self.baselines
        assert part is not None
        strong = part.strong
        yield self._sgd(preset, task, STRONG, momentum=strong.momentum, weight_decay=strong.weight_decay).model_copy(
            update={"max_lr": strong.max_lr}
        )
        for setting in self.grda[task]:
            sgd = self._sgd(preset, task)
            for strength in part.l1:
                uncut = f"l1.{strength:g}"
                cut = sgd.model_copy(update={"start": uncut, "epochs": 0})
                arm = self._matched(cut, "l1", setting, "global_magnitude", "end", strength=strength)
                yield arm.model_copy(update={"name": f"{uncut}.{setting.arm}"})
            yield self._matched(sgd, "gmp_gradual", setting, "global_magnitude", "training", ramp=part.ramp)
            tuned = sgd.model_copy(update=dict(part.fine_tuning) | {"start": SGD, "order": sgd.epochs})
            yield self._matched(tuned, "gmp_one_shot", setting, "global_magnitude", "start")
            yield self._matched(sgd, "random", setting, "random", "start")

    def _matched(
        self,
        arm: Trajectory,
        method: str,
        setting: GRDASetting,
        criterion: str,
        when: Literal["start", "training", "end"],
        *,
        ramp: Ramp | None = None,
        strength: float | None = None,
    ) -> Trajectory:
        """An arm pruned to the sparsity of a setting of gRDA."""
        axes = {"method": method, "c": None, "mu": None, "matched_to": setting.label, "strength": strength}
        match = Match(criterion=criterion, like=setting.arm, when=when, ramp=ramp)
        name = f"{method}.{setting.arm}"
        return arm.model_copy(update={"name": name, "axes": axes, "prune": match})


class ConnectSpec(RunSpec):
    """A job: paths between the minima of one task and seed."""

    minima: TrajectoriesSpec
    reference: str
    connectivity: Connectivity

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return f"{self.study}/{self.task}/connectivity/seed-{self.seed}"

    def arm(self, method: str) -> str:
        """The arm of the minima that an end of a pair names."""
        return self.reference if method == "grda" else method


class CurvatureSpec(RunSpec):
    """A job: the Hessian's leading eigenpairs along SGD's trajectory of one task and seed."""

    minima: TrajectoriesSpec
    reference: str
    curvature: Curvature

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return f"{self.study}/{self.task}/curvature/seed-{self.seed}"

    def epochs(self) -> list[int]:
        """Epochs after which eigenpairs are computed, the last included."""
        return sorted({*self.curvature.epochs, self.training.epochs})


class ToySpec(Spec):
    """A job: one exact problem at every seed and learning rate."""

    problem: Problem
    seeds: list[int]
    gamma: list[float]
    t: float
    c: float
    mu: float

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return f"directional/toy/{self.problem}"


class Timed(Strict):
    """A network whose training step is timed."""

    name: Name
    network: Network
    channels: int
    image_size: int
    batch_size: int


class OverheadSpec(Spec):
    """A job: time and memory of the optimizers."""

    timed: list[Timed]
    resnet50: bool
    blocks: int
    steps: int

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return "directional/overhead"
