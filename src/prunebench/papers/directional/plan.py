"""From the directional study's configuration to its jobs.

All networks of a task and seed that are compared lie in one job, the *minima*: SGD's, gRDA's and the controls.
Baselines, curves and curvature start from what that job leaves.
"""

from collections.abc import Iterator
from typing import Any

from prunebench.data.names import SOURCES
from prunebench.papers.directional.config import INIT, ORDER, SGD, STRONG, UNCUT, Directional, arm_of
from prunebench.papers.directional.spec import Curvatures, Curves, ExactProblem, Minima, Timed, Timings
from prunebench.runs.probes import Layers, Weights
from prunebench.runs.spec import Arm, Init, Matched, Phase, Ramp, RunSpec
from prunebench.runs.updates import Grda, ProximalL1, Sgd, Update
from prunebench.suite.paper import Stage
from prunebench.suite.plan import DenseNetworks
from prunebench.suite.preset import Preset

PROBES = [Weights(), Layers()]
DENSE: dict[str, Any] = {"c": None, "mu": None, "matched_to": ""}
"""Axes of an arm that is matched to no setting of gRDA."""


def plan(config: Directional, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """Minima, baselines, gRDA around the reference, curves, curvature, exact problems and timings."""
    keys = [(task, seed) for task in config.grda for seed in preset.seeds]
    minima = {key: _job("minima", config, preset, key, _minima_arms(config, preset, key[0]), "kept") for key in keys}
    refs = {key: _reference(config, key[0], spec) for key, spec in minima.items()}
    baselines, around = config.baselines, config.sensitivity
    return [
        _stage("train_minima", "minima", list(minima.values()), "Minima", priority=20),
        _stage(
            "train_baselines",
            "baselines",
            [
                _job("baselines", config, preset, key, list(_baseline_arms(config, preset, key[0], refs[key])))
                for key in (keys if baselines else [])
            ],
            "Baselines",
            priority=5,
        ),
        _stage(
            "train_around",
            "sensitivity",
            [
                _job("sensitivity", config, preset, key, _arms_around(config, preset, key[0]))
                for key in keys
                if around and key[0] in (around.tasks or config.grda)
            ],
            "gRDA around the reference",
            priority=5,
        ),
        _stage("connect_minima", "connectivity", _curves(config, preset, refs), "Curves", ".connect:connect", 10),
        _stage(
            "measure_curvature", "curvature", _curvatures(config, preset, refs), "Curvature", ".curvature:measure", 10
        ),
        _stage("solve_exact", "toy", _exact(config), "Exact problem", ".toy:solve", part="toy"),
        _stage("time_optimizers", "overhead", _timings(config, preset), "Timing", ".overhead:time", part="overhead"),
    ]


def _stage(
    name: str, folder: str, jobs: list[Any], title: str, run: Any = None, priority: int = 0, part: str = ""
) -> Stage:
    extra = {"run": run} if run else {}
    return Stage(name, f"directional/{folder}", tuple(jobs), title, priority=priority, part=part, **extra)


def _job(
    part: str, config: Directional, preset: Preset, key: tuple[str, int], arms: list[Arm], hands_on: Any = "nothing"
) -> RunSpec:
    task, seed = key
    return RunSpec(
        folder=f"directional/{part}/{task}/seed-{seed}",
        **preset.task_fields(task, seed),
        axes={"part": part},
        arms=arms,
        evaluate_train=True,
        hands_on=hands_on,
    )


def _reference(config: Directional, task: str, minima: RunSpec) -> Minima:
    arms = {name: name for name in (SGD, ORDER, INIT)} | {"grda": arm_of(config.grda[task][0])}
    return Minima(run=minima.folder, spec=minima.digest(), arms=arms, epochs=minima.arms[0].epochs)


# --- Arms


def _phase(config: Directional, preset: Preset, task: str, update: Update, **more: Any) -> Phase:
    """The paper's training: from scratch, under the study's LR schedule."""
    epochs = preset.tasks[task].training.epochs
    how: dict[str, Any] = {
        "epochs": epochs,
        "profile": config.profile,
        "max_lr": config.max_lr,
        "update": update,
        "probes": PROBES,
    }
    return Phase(**(how | more))


def _minima_arms(config: Directional, preset: Preset, task: str) -> list[Arm]:
    epochs = preset.tasks[task].training.epochs
    early = [epoch for epoch in (config.curvature.epochs if config.curvature else []) if epoch != epochs]
    keep = sorted({*early, epochs})

    def arm(name: str, method: str, update: Update, kept: list[int], axes: dict[str, Any] = DENSE, **how: Any) -> Arm:
        start = how.pop("start", Init(kind="init"))
        phase = _phase(config, preset, task, update, keep=kept, **how)
        return Arm(name=name, axes={"method": method, **axes}, start=start, phases=[phase])

    reference, *others = config.grda[task]
    independent = Init(kind="init", draw="independent")
    return [
        arm(SGD, SGD, Sgd(), keep),
        # Other epochs of the order of data than the first ones: another order and augmentation of the same images.
        arm(ORDER, ORDER, Sgd(), keep, order=epochs),
        arm(INIT, INIT, Sgd(), [epochs], start=independent, order=2 * epochs),
        _grda(config, preset, task, reference, keep),
        *(_grda(config, preset, task, setting, [epochs]) for setting in others),
        *(
            arm(f"l1.{strength:g}", UNCUT, ProximalL1(l1=strength), [epochs])
            for strength in (config.baselines.l1 if config.baselines else [])
        ),
        *(
            arm(name, name, update, [epochs], {"c": None, "mu": None, "matched_to": name})
            for name, update in config.updates.items()
        ),
    ]


def _grda(config: Directional, preset: Preset, task: str, setting: Grda, keep: list[int], **axes: float) -> Arm:
    named = {"method": "grda", "c": setting.c, "mu": setting.mu, "matched_to": setting.label}
    phase = _phase(config, preset, task, setting, keep=keep)
    return Arm(name=arm_of(setting), axes=named | axes, phases=[phase])


def _arms_around(config: Directional, preset: Preset, task: str) -> list[Arm]:
    assert config.sensitivity is not None
    around = config.sensitivity.settings(config.grda[task][0])
    return [
        _grda(config, preset, task, setting, [], c_factor=factor, mu_shift=shift) for setting, factor, shift in around
    ]


def _baseline_arms(config: Directional, preset: Preset, task: str, minima: Minima) -> Iterator[Arm]:
    """The strong dense baseline, then those at the sparsity that each setting of gRDA ended with."""
    part = config.baselines
    assert part is not None
    strong = Sgd(part.strong.momentum, part.strong.weight_decay)
    phase = _phase(config, preset, task, strong, max_lr=part.strong.max_lr)
    yield Arm(name=STRONG, axes={"method": STRONG, **DENSE}, phases=[phase])
    for setting in config.grda[task]:
        like = minima.start(arm_of(setting))

        def matched(criterion: str, ramp: Ramp | None = None, like: Any = like) -> list[Matched]:
            return [Matched(kind="matched", criterion=criterion, like=like, ramp=ramp)]

        def arm(
            method: str, phase: Phase, start: Any = None, strength: float | None = None, setting: Any = setting
        ) -> Arm:
            axes = {"method": method, "c": None, "mu": None, "matched_to": setting.label, "strength": strength}
            name = f"{method}{f'.{strength:g}' if strength else ''}.{arm_of(setting)}"
            return Arm(name=name, axes=axes, start=start or Init(kind="init"), phases=[phase])

        for strength in part.l1:
            # The cut moves every activation: the baseline gets statistics that fit what is left of it.
            cut = _phase(
                config,
                preset,
                task,
                Sgd(),
                epochs=0,
                prune=matched("global_magnitude"),
                recalibrate=config.recalibration_images,
            )
            yield arm("l1", cut, minima.start(f"l1.{strength:g}"), strength)
        yield arm("gmp_gradual", _phase(config, preset, task, Sgd(), prune=matched("global_magnitude", part.ramp)))
        tuned = dict(part.fine_tuning) | {"order": minima.epochs, "prune": matched("global_magnitude")}
        yield arm("gmp_one_shot", _phase(config, preset, task, Sgd(), **tuned), minima.start(SGD))
        yield arm("random", _phase(config, preset, task, Sgd(), prune=matched("random")))


# --- Jobs that do not train arms


def _curves(config: Directional, preset: Preset, refs: dict[tuple[str, int], Minima]) -> list[Curves]:
    part = config.connectivity
    if part is None:
        return []
    planes = set(preset.seeds[: part.plane.seeds]) if part.plane else set()
    # How many seeds have planes, a seed's job does not read.
    plane = part.plane and part.plane.model_copy(update={"seeds": 1})
    return [
        Curves(
            folder=f"directional/connectivity/{task}/seed-{seed}",
            **preset.task_fields(task, seed),
            minima=minima,
            connectivity=part.model_copy(update={"plane": plane if seed in planes else None}),
        )
        for (task, seed), minima in refs.items()
    ]


def _curvatures(config: Directional, preset: Preset, refs: dict[tuple[str, int], Minima]) -> list[Curvatures]:
    part = config.curvature
    if part is None:
        return []
    return [
        Curvatures(
            folder=f"directional/curvature/{task}/seed-{seed}",
            **preset.task_fields(task, seed),
            minima=minima,
            curvature=part,
            epochs=sorted({*part.epochs, minima.epochs}),
        )
        for (task, seed), minima in refs.items()
    ]


def _exact(config: Directional) -> list[ExactProblem]:
    part = config.toy
    if part is None:
        return []
    settings = part.model_dump(exclude={"problems"})
    return [ExactProblem(folder=f"directional/toy/{name}", problem=name, **settings) for name in part.problems]


def _timings(config: Directional, preset: Preset) -> list[Timings]:
    part = config.overhead
    if part is None:
        return []
    timed = []
    for name in part.tasks:
        task = preset.tasks[name]
        data = preset.datasets[task.dataset]
        source = SOURCES[data.source]
        timed.append(
            Timed(
                name=name,
                network=task.network,
                channels=source.channels,
                classes=source.classes,
                image_size=data.side,
                batch_size=task.training.batch_size,
            )
        )
    how: dict[str, Any] = {"resnet50": part.resnet50, "blocks": part.blocks, "steps": part.steps}
    return [Timings(folder="directional/overhead/all", timed=timed, **how)]
