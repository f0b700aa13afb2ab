"""The directional-pruning study's part of a preset (gRDA), and the margins of its claims."""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from prunebench.errors import InputError
from prunebench.parsing import Epochs, Name, Names, Positive, Share, Strict, distinct, known
from prunebench.runs.spec import ProfileConfig, Ramp, UpdateConfig
from prunebench.runs.updates import Grda
from prunebench.suite.preset import Preset

Pair = Literal["grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init"]
Problem = Literal["least_squares", "network"]

SGD, ORDER, INIT, STRONG, UNCUT = "sgd", "sgd_order", "sgd_init", "sgd_strong", "l1_uncut"
"""Methods of arms: the paper's SGD, the same with another order of data, from another initialisation, with momentum and
weight decay, and with an l1 penalty."""


def _as_grda(value: Any) -> Any:
    """A setting of gRDA needs no `kind`."""
    return {"kind": "grda", **value} if isinstance(value, Mapping) and "kind" not in value else value


if TYPE_CHECKING:
    Setting = Grda  # the study's check refuses any other
else:
    Setting = Annotated[UpdateConfig, BeforeValidator(_as_grda)]
"""A setting of gRDA: c, mu and, if need be, spare_norm_and_bias."""


def arm_of(setting: Grda) -> str:
    """The name of the arm of a setting."""
    return f"grda.c{setting.c:g}.mu{setting.mu:g}" + (".spared" if setting.spare_norm_and_bias else "")


class Sensitivity(Strict):
    """gRDA around the reference setting (claim C2): at least one other setting."""

    tasks: Names | None = None
    """Tasks of the study; null means all of them."""
    c_factors: list[Positive] = [0.5, 2.0]
    """c times these, at the reference's mu."""
    mu_shifts: list[float] = [-0.05, 0.05]
    """mu plus these, at the reference's c."""

    def settings(self, reference: Grda) -> Iterator[tuple[Grda, float, float]]:
        """Settings with their factor of c and their shift of mu; the reference itself is not among them."""
        for factor in self.c_factors:
            yield replace(reference, c=reference.c * factor), factor, 0.0
        for shift in self.mu_shifts:
            try:
                yield replace(reference, mu=round(reference.mu + shift, 12)), 1.0, shift
            except InputError as error:
                raise InputError(f"directional.sensitivity.mu_shifts: {shift:g} is too much: {error}") from None


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

    tasks: Names | None = None
    """Tasks of the study; null means all of them."""
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


class Bend(Strict):
    """How the bend of a task's curves is trained where it differs."""

    epochs: Epochs | None = None
    """Epochs; null is the part's."""
    max_lr: Positive | None = None
    """Peak LR; null is the part's."""
    momentum: float | None = Field(default=None, ge=0, lt=1)
    """Momentum; null is the part's."""


class Connectivity(Strict):
    """Quadratic Bezier curves between minima, and straight lines (claim C6)."""

    tasks: Names | None = None
    """Tasks of the study; null means all of them."""
    seeds: int | None = Field(default=None, ge=1)
    """How many of a task's seeds have curves, from the first on; null means all [authors' code: 1]."""
    bends: dict[Name, Bend] = {}
    """Tasks whose bends are trained otherwise."""
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

    def of(self, task: str) -> "Connectivity":
        """The part as a task's job has it."""
        own = self.bends.get(task, Bend()).model_dump(exclude_none=True)
        return self.model_copy(update={"tasks": None, "seeds": None, "bends": {}, **own})


class Curvature(Strict):
    """Leading eigenpairs of the Hessian of the training loss at SGD's network (claim C7)."""

    tasks: Names | None = None
    """Tasks of the study; null means all of them."""
    seeds: int | None = Field(default=None, ge=1)
    """How many of a task's seeds are measured, from the first on; null means all [authors' code: 1]."""
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


class Released(Strict):
    """gRDA at the reference setting under a constant LR (claim C9): what the released scripts for a scheduled LR train,
    since they call the program with a fixed one [authors' code]. Beside it stands the reference, which has the named
    fix: the schedule."""

    tasks: Names | None = None
    """Tasks of the study; null means all of them."""


class Directional(Strict):
    """The study of directional pruning by gRDA."""

    profile: ProfileConfig
    """LR over a training, for every method."""
    profiles: dict[Name, ProfileConfig] = {}
    """Tasks on which that LR is another."""
    max_lr: Positive
    """Peak LR of SGD and gRDA."""
    grda: dict[Name, Annotated[list[Setting], Field(min_length=1)]] = Field(min_length=1)
    """Settings of gRDA by task; the first is the reference of sensitivity, connectivity and curvature. The tasks'
    recipes are the paper's SGD: no momentum, no weight decay."""
    updates: dict[Name, UpdateConfig] = {}
    """Further updates by name, trained on every task of the study beside SGD and gRDA: same initialisation, order of
    data and LR schedule. Claims C2 and C5 can be asked of them."""
    recalibration_images: int = Field(default=500, ge=1)
    """Training images on which batch normalisation's statistics are taken anew after a cut [ours]."""
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
    released: Released | None = None
    """gRDA under the LR that the released scripts run; null leaves it out."""

    def check(self, preset: Preset) -> None:
        """Raises InputError where a name is unknown or numbers contradict each other."""
        for task in self.grda:
            known("directional.grda", task, preset.tasks)
            recipe = preset.tasks[task].training
            for key in ("momentum", "weight_decay"):
                if getattr(recipe, key):
                    raise InputError(
                        f"directional.grda: {key} of '{task}' is {getattr(recipe, key):g}; gRDA has none, so that its "
                        "SGD must have 0"
                    )
            if preset.tasks[task].weights:
                raise InputError(f"directional trains '{task}' from scratch, but the task has weights of a file")
            for epoch in (
                self.curvature.epochs if self.curvature and task in (self.curvature.tasks or self.grda) else []
            ):
                if epoch > recipe.epochs:
                    raise InputError(f"directional.curvature.epochs: {epoch} is beyond the {recipe.epochs} of '{task}'")
            images = self.curvature.images if self.curvature else None
            if images is not None and images > preset.datasets[preset.tasks[task].dataset].train:
                raise InputError(f"directional.curvature.images: {images}, more than the training images of '{task}'")
            for setting in self.grda[task]:
                if not isinstance(setting, Grda):
                    raise InputError(f"directional.grda: a setting of '{task}' is not gRDA; see directional.updates")
        for name in self.updates:
            if name in (SGD, ORDER, INIT, STRONG, UNCUT, "grda", "l1", "gmp_gradual", "gmp_one_shot", "random"):
                raise InputError(f"directional.updates.{name}: a method of the study has that name; choose another")
        for task in self.overhead.tasks if self.overhead else []:
            known("directional.overhead.tasks", task, preset.tasks)
        for key in ("sensitivity", "baselines", "connectivity", "curvature", "released"):
            for task in getattr(getattr(self, key), "tasks", None) or []:
                known(f"directional.{key}.tasks", task, self.grda)
        named = {"profiles": self.profiles} | (
            {"connectivity.bends": self.connectivity.bends} if self.connectivity else {}
        )
        for key, tasks in named.items():
            for task in tasks:
                known(f"directional.{key}", task, self.grda)
        for task, settings in self.grda.items():
            around = list(self.sensitivity.settings(settings[0])) if self.sensitivity else []
            if self.sensitivity and not around:
                raise InputError("directional.sensitivity: c_factors and mu_shifts are both empty")
            for key, group in (
                (f"grda.{task}", settings),
                ("sensitivity", [settings[0], *(each[0] for each in around)]),
            ):
                try:
                    distinct([arm_of(setting) for setting in group])
                except InputError as error:
                    raise InputError(f"directional.{key}: {error}") from None
        if self.overhead and not self.overhead.tasks and not self.overhead.resnet50:
            raise InputError("directional.overhead: nothing to time, no tasks and no resnet50")
        if self.connectivity and self.connectivity.plane:
            for pair in self.connectivity.plane.pairs:
                known("directional.connectivity.plane.pairs", pair, self.connectivity.pairs)


class DirectionalMargins(Strict):
    """Margins of claims C1 to C9."""

    c1_error: Positive = 0.2
    """C1 needs a relative error below this at the smallest learning rate [ours]."""
    c1_cosine: Share = 0.9
    """C1 needs a cosine above this between gRDA's displacement and the predicted one [ours]."""
    c1_not_cosine: Share = 0.5
    """C1 fails where that cosine is below this for certain [ours]."""
    c1_flat: Positive = 0.05
    """C1 needs log error to rise by more than this per unit of log learning rate, and fails where it rises by less for
    certain [ours]: 19 % from the largest to the smallest of the preset's learning rates."""
    c2_sparsity: Share = 0.8
    """C2 needs a run to become this sparse by itself [ours]: the sparse settings of the paper's
    wide ResNets (mu above 0.5) are at 83 % and more."""
    c2_margin: Share = 0.005
    """C2: such a run may lose less than this to SGD [ours]."""
    c3_sparsities: tuple[Share, Share] = (0.9, 0.95)
    """C3 looks at runs whose sparsity is between these: the published point is at 91.6 %."""
    c3_margin: Share = 0.005
    """C3: gRDA may lose less than this to magnitude pruning [ours]."""
    c3_not: Share = 0.01
    """C3 fails where gRDA loses more than this to magnitude pruning for certain [ours]."""
    c3_random: Share = 0.03
    """C3 needs gRDA to gain at least this over random pruning [ours]: the published gap at 90 % is 8 points."""
    c4_time: Positive = 1.1
    """C4: "slightly higher" wall time is below this ratio to SGD [ours]; the authors' logs give 1.05 and 1.09."""
    c4_not_time: Positive = 1.25
    """C4 fails where the ratio is above this for certain [ours]."""
    c4_state: Positive = 1.2
    """C4: "slightly higher" memory is at most this many times the parameters' bytes [ours]; one accumulator is 1."""
    c4_not_state: Positive = 2
    """C4 fails where it is more than this [ours]."""
    c5_margin: Share = 0.005
    """C5: gRDA is on par with SGD within this [ours]. C9: as released it is as accurate as with the fix."""
    c6_minimum: Positive = 0.1
    """C6 and C7 leave out tasks where SGD ends with a training loss (nats) above this: no minimum [ours]."""
    c6_barrier: Positive = 0.01
    """C6 needs a barrier on the curve below this, in nats [ours]; the authors' data give 0.0022 and 0.00007."""
    c6_error: Share = 0.002
    """C6 needs the training error on the curve to rise by less than this [ours]."""
    c6_not_barrier: Positive = 0.1
    """C6 fails where the barrier is above this for certain [ours]."""
    c6_not_error: Share = 0.02
    """C6 fails where the rise of the error is above this for certain [ours]."""
    c7_chance: Positive = 6.2
    """C7 needs the share in the leading eigenspace to be at most this many times chance [ours]: 5e-3 over the chance
    level of the paper's VGG16, because chance depends on the number of weights."""
    c7_early: Positive = 0.3
    """C7 needs the share at the end to be at most this ratio to the first one measured [ours]."""
    c7_control: Positive = 2
    """C7 needs it to be at most this ratio to that of SGD in another order of data [ours]."""
    c7_not_control: Positive = 5
    """C7 fails where that ratio is above this for certain [ours]."""
    c7_quadratic: Positive = 0.1
    """C7 fails where the quadratic term is above this for certain, in nats [ours]."""
    c8_sgd: Share = 0.15
    """C8: SGD's concentration stays within this share of where it began [ours]."""
    c8_grda: Positive = 1.5
    """C8 needs gRDA's concentration to end at this many times where it began [ours]; authors' data: 1.9 and 4."""
    c9_sparsity: Share = 0.01
    """C9: as released gRDA is as sparse as with the fix within this [ours]; the published rows differ by 0.0005."""
