"""From the directional study's configuration to its jobs.

All networks of a task and seed that are compared lie in one job, the *minima*: SGD's, gRDA's and the controls.
Baselines, curves and curvature start from the networks of that job.
"""

from collections.abc import Iterable, Iterator, Mapping
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
    Sensitivity,
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
    each = [_Jobs(config, preset, task, seed) for task in config.grda for seed in preset.seeds_of(task)]
    around = config.sensitivity

    def on(part: Any) -> "list[_Jobs]":
        """The tasks and seeds that have a part."""
        return [of for of in each if of.has(part)]

    sensitivity = [of.around(around) for of in on(around)] if around else []
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
        stage("time_optimizers", "overhead", "Timing", timings, run=".overhead:time", part="overhead"),
    ]


class _Jobs:
    """The jobs of one task and seed; that of the minima, which others start from, is `trained`."""

    def __init__(self, config: Directional, preset: Preset, task: str, seed: int) -> None:
        self.config, self.preset, self.task, self.seed = config, preset, task, seed
        self.epochs, self.settings = preset.tasks[task].training.epochs, config.grda[task]
        self.trained = self._job("minima", self._minima_arms(), hands_on="kept")
        arms = {name: name for name in (SGD, ORDER, INIT)} | {"grda": arm_of(self.settings[0])}
        self.minima = Minima(run=self.trained.folder, spec=self.trained.digest(), arms=arms, epochs=self.epochs)

    def has(self, part: Any) -> bool:
        """Whether the task and seed have a part of the study."""
        if part is None or self.task not in (part.tasks or self.config.grda):
            return False
        return self.seed in self.preset.seeds_of(self.task)[: getattr(part, "seeds", None)]

    def _fields(self, part: str) -> dict[str, Any]:
        folder = f"directional/{part}/{self.task}/seed-{self.seed}"
        return {"folder": folder, **self.preset.task_fields(self.task, self.seed)}

    def _job(self, part: str, arms: Iterable[Arm], **more: Any) -> RunSpec:
        return RunSpec(**self._fields(part), axes={"part": part}, arms=[*arms], evaluate_train=True, **more)

    def _arm(
        self, name: str, method: str, update: Update, *, start: Any = None, axes: Mapping[str, Any] = DENSE, **how: Any
    ) -> Arm:
        """An arm of one phase: the paper's training, from scratch and under the study's LR schedule, but for `how`."""
        profile = self.config.profiles.get(self.task, self.config.profile)
        phase = {"epochs": self.epochs, "profile": profile, "max_lr": self.config.max_lr}
        phase |= {"update": update, "probes": [Weights(), Layers()], **how}
        axes = {"method": method, **axes}
        return Arm(name=name, axes=axes, start=start or Init(kind="init"), phases=[Phase.model_validate(phase)])

    def _grda(self, setting: Grda, keep: list[int], **axes: float) -> Arm:
        axes_of = {"c": setting.c, "mu": setting.mu, "matched_to": setting.label, **axes}
        return self._arm(arm_of(setting), "grda", setting, axes=axes_of, keep=keep)

    def _minima_arms(self) -> Iterator[Arm]:
        config = self.config
        matched, curved, bent = map(self.has, (config.baselines, config.connectivity, config.curvature))
        # Kept is what other jobs start from or look at: a wide ResNet has 146 MB.
        last = [self.epochs] if matched else []
        end = [self.epochs] if matched or curved else []
        looked_at = sorted({*config.curvature.epochs, self.epochs}) if config.curvature and bent else end
        independent = Init(kind="init", draw="independent")
        yield self._arm(SGD, SGD, Sgd(), keep=looked_at)
        # Controls of curves and curvature alone.
        if curved or bent:
            # Other epochs of the order of data than the first ones: another order and augmentation of the same images.
            yield self._arm(ORDER, ORDER, Sgd(), keep=looked_at, order=self.epochs)
        if curved:
            yield self._arm(INIT, INIT, Sgd(), keep=end, start=independent, order=2 * self.epochs)
        yield self._grda(self.settings[0], looked_at)
        for setting in self.settings[1:]:
            yield self._grda(setting, last)
        for strength in config.baselines.l1 if config.baselines and matched else ():
            yield self._arm(f"l1.{strength:g}", UNCUT, ProximalL1(l1=strength), keep=last)
        for name, update in self.config.updates.items():
            yield self._arm(name, name, update, axes={**DENSE, "matched_to": name}, keep=last)

    def around(self, part: Sensitivity) -> RunSpec:
        """gRDA around the reference."""
        around = part.settings(self.settings[0])
        arms = [self._grda(setting, [], c_factor=factor, mu_shift=shift) for setting, factor, shift in around]
        return self._job("sensitivity", arms)

    def released(self) -> RunSpec:
        """gRDA at the reference setting under a constant LR."""
        setting = self.settings[0]
        axes = {"c": setting.c, "mu": setting.mu, "matched_to": setting.label}
        name = f"{arm_of(setting)}.constant"
        return self._job("released", [self._arm(name, "grda", setting, axes=axes, profile=Constant())])

    def baselines(self, part: Baselines) -> RunSpec:
        """The strong dense baseline, then those at the sparsity that each setting of gRDA ended with."""
        strong = Sgd(part.strong.momentum, part.strong.weight_decay)
        arms = [self._arm(STRONG, STRONG, strong, max_lr=part.strong.max_lr)]
        for setting in self.settings:
            arms += self._matched_arms(part, setting)
        return self._job("baselines", arms)

    def _matched_arms(self, part: Baselines, setting: Grda) -> Iterator[Arm]:
        like = self.minima.start(arm_of(setting))

        def arm(method: str, start: Any = None, strength: float | None = None, **how: Any) -> Arm:
            name = f"{method}{f'.{strength:g}' if strength else ''}.{arm_of(setting)}"
            axes = {**DENSE, "matched_to": setting.label, "strength": strength}
            return self._arm(name, method, Sgd(), start=start, axes=axes, **how)

        def prune(criterion: str = "global_magnitude", ramp: Ramp | None = None) -> list[Matched]:
            return [Matched(kind="matched", criterion=criterion, like=like, ramp=ramp)]

        for strength in part.l1:
            # The cut moves every activation: batch normalisation gets statistics that fit what is left.
            cut = {"epochs": 0, "prune": prune(), "recalibrate": self.config.recalibration_images}
            yield arm("l1", self.minima.start(f"l1.{strength:g}"), strength, **cut)
        yield arm("gmp_gradual", prune=prune(ramp=part.ramp))
        tuning = dict(part.fine_tuning) | {"order": self.epochs}
        yield arm("gmp_one_shot", self.minima.start(SGD), prune=prune(), **tuning)
        yield arm("random", prune=prune("random"))

    def curves(self, part: Connectivity) -> Curves:
        """Paths between the minima, and planes of the first seeds."""
        plane = part.plane if part.plane and self.seed in self.preset.seeds_of(self.task)[: part.plane.seeds] else None
        # A seed's job does not read how many seeds have planes.
        plane = plane and plane.model_copy(update={"seeds": 1})
        curves = part.of(self.task).model_copy(update={"plane": plane})
        return Curves(**self._fields("connectivity"), minima=self.minima, connectivity=curves)

    def curvatures(self, part: Curvature) -> Curvatures:
        """The Hessian along SGD's trajectory."""
        epochs = sorted({*part.epochs, self.epochs})
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
