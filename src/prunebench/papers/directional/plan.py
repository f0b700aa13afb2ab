"""From the directional study's configuration to its jobs.

All networks of a task and seed that are compared lie in one job, the *minima*: SGD's, gRDA's and the controls.
Baselines, curves and curvature start from the networks of that job.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from prunebench.papers.directional.config import (
    INIT,
    ORDER,
    SGD,
    STRONG,
    UNCUT,
    Baselines,
    Connectivity,
    Curvature,
    Directional,
    Overhead,
    Toy,
    arm_of,
)
from prunebench.papers.directional.spec import Curvatures, Curves, ExactProblem, Minima, Timed, Timings
from prunebench.runs.probes import Layers, Weights
from prunebench.runs.spec import Arm, Init, Matched, Phase, Ramp, RunSpec, Spec
from prunebench.runs.updates import Grda, ProximalL1, Sgd, Update
from prunebench.schedules import Constant
from prunebench.suite.paper import Stage
from prunebench.suite.plan import DenseNetworks
from prunebench.suite.preset import Preset

DENSE: Mapping[str, Any] = {"c": None, "mu": None, "matched_to": ""}
"""Axes of an arm that is matched to no setting of gRDA."""


def plan(config: Directional, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """Minima, baselines, gRDA around the reference and as released, curves, curvature, exact problems and timings."""
    each = [
        _Jobs(arms, seed)
        for arms in (_Arms(config, preset, task) for task in config.grda)
        for seed in preset.seeds_of(arms.task)
    ]

    def on(part: Any) -> "list[_Jobs]":
        """The tasks and seeds that have a part."""
        return [of for of in each if of.has(part)]

    sensitivity = [of.around() for of in on(config.sensitivity)]
    baselines = [of.baselines(config.baselines) for of in on(config.baselines)] if config.baselines else []
    curves = [of.curves(config.connectivity) for of in on(config.connectivity)] if config.connectivity else []
    curvatures = [of.curvatures(config.curvature) for of in on(config.curvature)] if config.curvature else []
    released = [of.released() for of in on(config.released)]
    exact = _exact(config.toy) if config.toy else []
    timings = [_timings(config.overhead, preset)] if config.overhead else []

    def stage(name: str, folder: str, title: str, jobs: Iterable[Spec], **more: Any) -> Stage:
        return Stage(name, f"directional/{folder}", tuple(jobs), title, **more)

    return [
        stage("train_minima", "minima", "Minima", [of.trained for of in each], priority=20),
        stage("train_baselines", "baselines", "Baselines", baselines, priority=5),
        stage("train_around", "sensitivity", "gRDA around the reference", sensitivity, priority=5),
        stage("train_released", "released", "gRDA as released", released, priority=5),
        stage("connect_minima", "connectivity", "Curves", curves, run=".connect:connect", priority=10),
        stage("measure_curvature", "curvature", "Curvature", curvatures, run=".curvature:measure", priority=10),
        stage("solve_exact", "toy", "Exact problem", exact, run=".toy:solve", part="toy", device=False),
        stage("time_optimizers", "overhead", "Timing", timings, run=".overhead:time", part="overhead", alone=True),
    ]


class _Arms:
    """The arms of a task, those that every seed has made once: a large plan's time is that of its models."""

    def __init__(self, config: Directional, preset: Preset, task: str) -> None:
        self.config, self.preset, self.task = config, preset, task
        self.epochs, self.settings = preset.tasks[task].training.epochs, config.grda[task]
        self._minima: dict[tuple[bool, ...], list[Arm]] = {}

    def arm(
        self, name: str, method: str, update: Update, *, start: Any = None, axes: Mapping[str, Any] = DENSE, **how: Any
    ) -> Arm:
        """An arm of one phase: the paper's training, from scratch and under the study's LR schedule, but for `how`."""
        profile = self.config.profiles.get(self.task, self.config.profile)
        phase = {"epochs": self.epochs, "profile": profile, "max_lr": self.config.max_lr}
        phase |= {"update": update, "probes": [Weights(), Layers()], **how}
        axes = {"method": method, **axes}
        return Arm(name=name, axes=axes, start=start or Init(kind="init"), phases=[Phase.model_validate(phase)])

    def grda(self, setting: Grda, keep: list[int], **axes: float) -> Arm:
        """gRDA at a setting."""
        axes_of = {"c": setting.c, "mu": setting.mu, "matched_to": setting.label, **axes}
        return self.arm(arm_of(setting), "grda", setting, axes=axes_of, keep=keep)

    def minima(self, matched: bool, curved: bool, bent: bool) -> list[Arm]:
        """Those whose minima are compared, by which parts of the study look at them."""
        which = matched, curved, bent
        if which not in self._minima:
            self._minima[which] = [*self._make_minima(*which)]
        return self._minima[which]

    def _make_minima(self, matched: bool, curved: bool, bent: bool) -> Iterator[Arm]:
        config = self.config
        # Kept is what other jobs start from or look at: a wide ResNet has 146 MB.
        last = [self.epochs] if matched else []
        end = [self.epochs] if matched or curved else []
        looked_at = sorted({*config.curvature.epochs, self.epochs}) if config.curvature and bent else end
        independent = Init(kind="init", draw="independent")
        yield self.arm(SGD, SGD, Sgd(), keep=looked_at)
        # Controls of curves and curvature alone.
        if curved or bent:
            # Other epochs of the order of data than the first ones: another order and augmentation of the same images.
            yield self.arm(ORDER, ORDER, Sgd(), keep=looked_at, order=self.epochs)
        if curved:
            yield self.arm(INIT, INIT, Sgd(), keep=end, start=independent, order=2 * self.epochs)
        yield self.grda(self.settings[0], looked_at)
        for setting in self.settings[1:]:
            yield self.grda(setting, last)
        for strength in config.baselines.l1 if config.baselines and matched else ():
            yield self.arm(f"l1.{strength:g}", UNCUT, ProximalL1(l1=strength), keep=last)
        for name, update in config.updates.items():
            yield self.arm(name, name, update, axes={**DENSE, "matched_to": name}, keep=last)

    @cached_property
    def around(self) -> list[Arm]:
        """gRDA around the reference."""
        around = self.config.sensitivity.settings(self.settings[0]) if self.config.sensitivity else []
        return [self.grda(setting, [], c_factor=factor, mu_shift=shift) for setting, factor, shift in around]

    @cached_property
    def released(self) -> Arm:
        """gRDA at the reference setting under a constant LR."""
        setting = self.settings[0]
        axes = {"c": setting.c, "mu": setting.mu, "matched_to": setting.label}
        return self.arm(f"{arm_of(setting)}.constant", "grda", setting, axes=axes, profile=Constant())

    @cached_property
    def strong(self) -> list[Arm]:
        """The strong dense baseline, if there are baselines."""
        if self.config.baselines is None:
            return []
        recipe = self.config.baselines.strong
        return [self.arm(STRONG, STRONG, Sgd(recipe.momentum, recipe.weight_decay), max_lr=recipe.max_lr)]

    def matched(self, part: Baselines, setting: Grda, minima: Minima) -> Iterator[Arm]:
        """Baselines at the sparsity that a setting of gRDA ended with in a seed's minima."""
        like = minima.start(arm_of(setting))

        def arm(method: str, start: Any = None, strength: float | None = None, **how: Any) -> Arm:
            name = f"{method}{f'.{strength:g}' if strength else ''}.{arm_of(setting)}"
            axes = {**DENSE, "matched_to": setting.label, "strength": strength}
            return self.arm(name, method, Sgd(), start=start, axes=axes, **how)

        def prune(criterion: str = "global_magnitude", ramp: Ramp | None = None) -> list[Matched]:
            return [Matched(kind="matched", criterion=criterion, like=like, ramp=ramp)]

        for strength in part.l1:
            # The cut moves every activation: batch normalisation gets statistics that fit what is left.
            cut = {"epochs": 0, "prune": prune(), "recalibrate": self.config.recalibration_images}
            yield arm("l1", minima.start(f"l1.{strength:g}"), strength, **cut)
        yield arm("gmp_gradual", prune=prune(ramp=part.ramp))
        tuning = dict(part.fine_tuning) | {"order": self.epochs}
        yield arm("gmp_one_shot", minima.start(SGD), prune=prune(), **tuning)
        yield arm("random", prune=prune("random"))


class _Jobs:
    """The jobs of one task and seed; that of the minima, which others start from, is `trained`."""

    def __init__(self, arms: _Arms, seed: int) -> None:
        self.arms, self.seed = arms, seed
        self.config, self.preset, self.task = arms.config, arms.preset, arms.task
        parts = map(self.has, (self.config.baselines, self.config.connectivity, self.config.curvature))
        self.trained = self._job("minima", arms.minima(*parts), hands_on="kept")
        names = {name: name for name in (SGD, ORDER, INIT)} | {"grda": arm_of(arms.settings[0])}
        self.minima = Minima(run=self.trained.folder, spec=self.trained.digest(), arms=names, epochs=arms.epochs)

    def has(self, part: Any) -> bool:
        """Whether the task and seed have a part of the study."""
        if part is None or self.task not in (part.tasks or self.config.grda):
            return False
        return self.seed in self.preset.seeds_of(self.task)[: getattr(part, "seeds", None)]

    def _fields(self, part: str) -> dict[str, Any]:
        folder = f"directional/{part}/{self.task}/seed-{self.seed}"
        return {"folder": folder, **self.preset.task_fields(self.task, self.seed)}

    def _job(self, part: str, arms: list[Arm], **more: Any) -> RunSpec:
        return RunSpec(**self._fields(part), axes={"part": part}, arms=arms, evaluate_train=True, **more)

    def around(self) -> RunSpec:
        """gRDA around the reference."""
        return self._job("sensitivity", self.arms.around)

    def released(self) -> RunSpec:
        """gRDA at the reference setting under a constant LR."""
        return self._job("released", [self.arms.released])

    def baselines(self, part: Baselines) -> RunSpec:
        """The strong dense baseline, then those at the sparsity that each setting of gRDA ended with."""
        matched = (arm for of in self.arms.settings for arm in self.arms.matched(part, of, self.minima))
        return self._job("baselines", [*self.arms.strong, *matched])

    def curves(self, part: Connectivity) -> Curves:
        """Paths between the minima, and planes of the first seeds."""
        plane = part.plane if part.plane and self.seed in self.preset.seeds_of(self.task)[: part.plane.seeds] else None
        # A seed's job does not read how many seeds have planes.
        plane = plane and plane.model_copy(update={"seeds": 1})
        curves = part.of(self.task).model_copy(update={"plane": plane})
        return Curves(**self._fields("connectivity"), minima=self.minima, connectivity=curves)

    def curvatures(self, part: Curvature) -> Curvatures:
        """The Hessian along SGD's trajectory."""
        epochs = sorted({*part.epochs, self.arms.epochs})
        measured = part.model_copy(update={"tasks": None, "seeds": None})
        return Curvatures(**self._fields("curvature"), minima=self.minima, curvature=measured, epochs=epochs)


# --- Jobs of no task


def _exact(part: Toy) -> list[ExactProblem]:
    settings = part.model_dump(exclude={"problems"})
    return [ExactProblem(folder=f"directional/toy/{name}", problem=name, **settings) for name in part.problems]


def _timings(part: Overhead, preset: Preset) -> Timings:
    timed = []
    for name in part.tasks:
        task = preset.tasks[name]
        data = preset.datasets[task.dataset]
        sizes = {"channels": data.source.channels, "classes": data.source.classes, "image_size": data.side}
        timed.append(Timed(name=name, network=task.network, batch_size=task.training.batch_size, **sizes))
    return Timings(folder="directional/overhead/all", timed=timed, **part.model_dump(exclude={"tasks"}))
