"""From the cascade study's configuration to its jobs.

Arms of one *group* are compared with each other, so they run in one job, from the same dense network and with the same
order of data: pruned arms and the control that follows their survivors.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prunebench.errors import InputError
from prunebench.papers.cascade.config import (
    Cascade,
    CriteriaPart,
    GmpPart,
    NamedLR,
    Prelude,
    RetrainingPart,
    SchedulesPart,
    SemiStructuredPart,
    SheddingPart,
)
from prunebench.papers.cascade.overlaps import Overlaps
from prunebench.pruning.amounts import round_density
from prunebench.pruning.criteria import get_criterion
from prunebench.runs.probes import BELOW, Histograms, Occupancy, Probe, Shedding
from prunebench.runs.spec import Arm, Phase, Ramp, RunSpec, Shed, Start, ToSparsity
from prunebench.schedules import Constant
from prunebench.suite.paper import Stage
from prunebench.suite.plan import DenseNetworks, DenseWish
from prunebench.suite.preset import Preset

STAGES = {
    "shedding": "watch_shedding",
    "criteria": "retrain_criteria",
    "retraining": "retrain_rewound",
    "schedules": "retrain_schedules",
    "gmp": "retrain_gmp",
    "semi_structured": "retrain_patterns",
}
"""Part -> its stage: the jobs of a part leave the same files."""

GMP = "global_magnitude"
RETRAININGS = ("fine_tune", "rewind_lr", "rewind_weights")
PRUNINGS = ("one_shot", "iterative", "gradual")

Leg = dict[str, Any]
"""A phase before its place in an arm is known: keys of `Phase`, and `weight_decay`."""


@dataclasses.dataclass(frozen=True)
class Draft:
    """An arm before its start, data order and probes are known."""

    name: str
    axes: dict[str, Any]
    legs: list[Leg]
    follows: Sequence[str] = ()


def dense(config: Cascade, preset: Preset) -> Iterator[DenseWish]:
    """The dense networks that arms start from, with what their first phases need of them."""
    for name, part in config.parts().items():
        for task in part.tasks:
            first = [draft.legs[0] for group in arms_of_part(name, config, preset, task) for draft in group]
            keep = {leg["rewind"] for leg in first if "rewind" in leg}
            criteria = {prune.criterion for leg in first for prune in leg["prune"] if isinstance(prune, ToSparsity)}
            previous = any(get_criterion(criterion).needs_previous_weights for criterion in criteria)
            yield DenseWish(task, config.dense, tuple(keep), previous)


def plan(config: Cascade, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """A stage per part, and the comparison of kept masks."""
    stages = []
    for name, part in config.parts().items():
        for task in part.tasks:
            # In one job or in several: tables tell arms of a part by what their names say.
            arms = [arm.name for group in arms_of_part(name, config, preset, task) for arm in group]
            if twice := [arm for arm in arms if arms.count(arm) > 1]:
                raise InputError(f"cascade.{name}: the same arm twice: {twice[0]}")
        jobs = [
            _job(name, config, preset, task, batch, drafts, networks, seed)
            for task in part.tasks
            for batch, drafts in enumerate(_batches(config, list(arms_of_part(name, config, preset, task))))
            for seed in preset.seeds
        ]
        title = f"Retraining ({name.replace('_', '-')})"
        stages.append(Stage(STAGES[name], f"cascade/{name}", tuple(jobs), title, priority=5))
    compared = [job for stage in stages for job in stage.jobs if isinstance(job, RunSpec) and job.hands_on == "masks"]
    overlaps = [Overlaps.of(task, [job for job in compared if job.task == task]) for task in _tasks(compared)]
    compare = Stage(
        "compare_masks",
        "cascade/overlap",
        tuple(overlaps),
        "Comparing kept weights",
        ".overlaps:compare",
        optional=True,
    )
    return [*stages, compare]


def _tasks(jobs: Sequence[RunSpec]) -> list[str]:
    return list(dict.fromkeys(job.task for job in jobs))


def _batches(config: Cascade, groups: list[list[Draft]]) -> list[list[Draft]]:
    size = config.groups_per_job or len(groups)
    return [[arm for group in groups[i : i + size] for arm in group] for i in range(0, len(groups), size)]


def _job(
    part: str,
    config: Cascade,
    preset: Preset,
    task: str,
    batch: int,
    drafts: list[Draft],
    networks: DenseNetworks,
    seed: int,
) -> RunSpec:
    start = networks.start(task, config.dense, seed)
    return RunSpec(
        folder=f"cascade/{part}/{task}/seed-{seed}/batch-{batch}",
        **preset.task_fields(task, seed),
        axes={"part": part},
        arms=[_arm(draft, config, preset, task, start, _probes(config, part)) for draft in drafts],
        hands_on="masks" if part == "criteria" else "nothing",
    )


def _arm(draft: Draft, config: Cascade, preset: Preset, task: str, start: Start, probes: list[Probe]) -> Arm:
    training = preset.tasks[task].training
    phases: list[Phase] = []
    for number, leg in enumerate(draft.legs):
        rest = {key: value for key, value in leg.items() if key not in ("weight_decay", "prune")}
        # Counted from the arm's end, so that a prelude's random prune is not the one-shot arm's.
        draw = number - len(draft.legs)
        prunes = [p.model_copy(update={"draw": draw}) if isinstance(p, ToSparsity) else p for p in leg["prune"]]
        phases.append(
            Phase(
                **rest,
                prune=prunes,
                update=dataclasses.replace(training.mover, weight_decay=leg["weight_decay"]),  # type: ignore[type-var]
                # Momentum goes on, as it does in a control that has no such boundary; a rewound network has none.
                carry=number > 0 and leg.get("rewind") is None,
                order=training.epochs + sum(phase.epochs for phase in phases),
                recalibrate=config.recalibration_images,
                probes=probes,
            )
        )
    return Arm(name=draft.name, axes=draft.axes, start=start, phases=phases, follows=[*draft.follows])


def _probes(config: Cascade, part: str) -> list[Probe]:
    if part == "shedding":
        assert config.shedding is not None
        return [Shedding(config.shedding.removable_images), Histograms()]
    if part == "semi_structured":
        assert config.semi_structured is not None
        return [Occupancy(tuple(sorted({pattern_size(p) for p in config.semi_structured.patterns})))]
    return [Shedding()] if part in ("retraining", "schedules") else []


def pattern_size(pattern: Any) -> int:
    """Weights of a group of an N:M or block pattern."""
    return int(pattern.size)


# --- Legs


def _to(sparsity: float, criterion: str = GMP, ramp: Ramp | None = None) -> ToSparsity:
    return ToSparsity(kind="sparsity", criterion=criterion, sparsity=sparsity, ramp=ramp)


def _constant(prune: list[Any], epochs: int, max_lr: float, weight_decay: float) -> Leg:
    """Training at a constant LR after these prunes."""
    return {"prune": prune, "epochs": epochs, "profile": Constant(), "max_lr": max_lr, "weight_decay": weight_decay}


def _prelude(prelude: Prelude, criterion: str = GMP) -> Leg:
    prune = [_to(prelude.sparsity, criterion)]
    return _constant(prune, prelude.epochs, prelude.max_lr, prelude.weight_decay)


def _retrain(config: Cascade, prune: list[Any], prelude: str | None = None) -> Leg:
    """The retraining in the epochs that a prelude leaves; its LR starts over there."""
    own, begin = config.retrain, config.preludes[prelude].epochs if prelude else 0
    how = {"profile": own.profile, "max_lr": own.max_lr, "weight_decay": own.weight_decay}
    return {"prune": prune, "epochs": own.epochs - begin, **how}


# --- Groups of arms


def arms_of_part(name: str, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """The arms of a part on a task, in groups that are compared with each other."""
    return _GROUPS[name](getattr(config, name), config, preset, task)


def _shedding(part: SheddingPart, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per setting: the pruned arms and their control."""
    for setting in part.settings:
        if setting.tasks is not None and task not in setting.tasks:
            continue
        recipe = (setting.epochs or part.epochs, setting.max_lr, setting.weight_decay)
        axes: dict[str, Any] = {"max_lr": setting.max_lr, "weight_decay": setting.weight_decay}
        where = f"lr{setting.max_lr:g}.wd{setting.weight_decay:g}"
        pruned = [
            Draft(
                f"{criterion}.p{share:g}.{where}",
                axes | {"criterion": criterion, "pruned_share": share},
                [_constant([_to(share, criterion)], *recipe)],
            )
            for criterion in part.criteria
            for share in setting.pruned_shares
        ]
        control = {"criterion": "none", "pruned_share": 0.0} | axes
        yield [*pruned, Draft(f"control.{where}", control, [_constant([], *recipe)], [arm.name for arm in pruned])]


def _criteria(part: CriteriaPart, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per sparsity."""
    begun = part.prelude_criteria if task in (part.prelude_tasks or part.tasks) else []
    for sparsity in part.sparsities:
        plain = [
            Draft(
                f"{criterion}.s{sparsity:g}",
                {"criterion": criterion, "prelude": "none", "sparsity": sparsity},
                [_retrain(config, [_to(sparsity, criterion)])],
            )
            for criterion in part.criteria
        ]
        yield plain + [
            Draft(
                f"{criterion}.{name}.s{sparsity:g}",
                {"criterion": criterion, "prelude": name, "sparsity": sparsity},
                [_prelude(config.preludes[name], criterion), _retrain(config, [_to(sparsity)], name)],
            )
            for criterion in begun
            for name in part.preludes
        ]


def _retraining(part: RetrainingPart, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per retraining, with its own control."""
    schedule, training = preset.schedules[config.dense], preset.tasks[task].training
    max_lr, begin = schedule.policy.at(0), part.rewind_epoch
    steps = training.epochs * (preset.datasets[preset.tasks[task].dataset].train // training.batch_size)
    last_lr = schedule.profile.lr(steps - 1, steps, max_lr)
    replay = {"profile": schedule.profile, "max_lr": max_lr, "first_epoch": begin, "profile_epochs": training.epochs}
    for retraining in RETRAININGS:
        leg: Leg = {"epochs": training.epochs - begin, "weight_decay": training.weight_decay}
        leg |= {"profile": Constant(), "max_lr": last_lr} if retraining == "fine_tune" else replay
        leg |= {"rewind": begin} if retraining == "rewind_weights" else {}
        pruned = [
            Draft(
                f"{criterion}.s{sparsity:g}.{retraining}",
                {"criterion": criterion, "sparsity": sparsity, "retraining": retraining},
                [leg | {"prune": [_to(sparsity, criterion)]}],
            )
            for criterion in part.criteria
            for sparsity in part.sparsities
        ]
        axes = {"criterion": "none", "sparsity": 0.0, "retraining": retraining}
        follows = [arm.name for arm in pruned]
        yield [*pruned, Draft(f"control.{retraining}", axes, [leg | {"prune": []}], follows)]


def _schedules(part: SchedulesPart, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per LR schedule, with its own control."""
    for name, schedule in sorted(part.lr_schedules.items()):
        axes: dict[str, Any] = {"criterion": part.criterion, "sparsity": part.sparsity}
        pruned = [
            Draft(
                f"{pruning}.{name}",
                axes | {"pruning": pruning, "lr_schedule": name},
                _spans(part, schedule, _schedule_prunes(part, pruning)),
            )
            for pruning in PRUNINGS
        ]
        axes = {"criterion": "none", "sparsity": 0.0, "pruning": "none", "lr_schedule": name}
        yield [*pruned, Draft(f"control.{name}", axes, _spans(part, schedule, [[]]), [arm.name for arm in pruned])]


def _schedule_prunes(part: SchedulesPart, pruning: str) -> list[list[ToSparsity]]:
    """The prunes of each phase."""
    if pruning == "iterative":
        densities = [round_density(1.0, 1 - part.sparsity, i, part.rounds) for i in range(1, part.rounds)]
        return [[_to(sparsity, part.criterion)] for sparsity in (*(1 - kept for kept in densities), part.sparsity)]
    return [[_to(part.sparsity, part.criterion, part.ramp if pruning == "gradual" else None)]]


def _spans(part: SchedulesPart, schedule: NamedLR, prunes: list[list[ToSparsity]]) -> list[Leg]:
    """Phases of equal length, one per element of `prunes`, under one LR schedule over all of them."""
    epochs = part.epochs // len(prunes)
    how = {"profile": schedule.profile, "max_lr": schedule.max_lr, "weight_decay": part.weight_decay}
    span = {"profile_epochs": part.epochs} if len(prunes) > 1 else {}
    return [
        {"prune": prune, "epochs": epochs, "first_epoch": number * epochs, **how, **span}
        for number, prune in enumerate(prunes)
    ]


def _gmp(part: GmpPart, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per sparsity."""
    for sparsity in part.sparsities:
        gradual = _to(sparsity, ramp=part.ramp)
        harvest = Shed(kind="shed", below=BELOW, at_most=sparsity)
        plain = {"prelude": "none", "sparsity": sparsity}
        arms = [Draft(f"none.s{sparsity:g}", plain, [_retrain(config, [gradual])])]
        for name in part.preludes:
            onward = _to(sparsity, ramp=_ramp_after(part, config.preludes[name].epochs, config.retrain.epochs))
            legs = [_prelude(config.preludes[name]), _retrain(config, [harvest, onward], name)]
            arms.append(Draft(f"{name}.s{sparsity:g}", {"prelude": name, "sparsity": sparsity}, legs))
        yield arms


def _ramp_after(part: GmpPart, begun: int, epochs: int) -> Ramp:
    """The rest of the ramp for a phase that begins after `begun` of `epochs` epochs."""
    share = (part.ramp.share * epochs - begun) / (epochs - begun)
    if share <= 0:
        raise InputError(f"cascade.gmp.ramp ends after {part.ramp.share * epochs:g} epochs, within a prelude")
    return Ramp(share=share, every=part.ramp.every)


def _semi_structured(part: SemiStructuredPart, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per pattern."""
    for pattern in part.patterns:
        name = pattern.label.replace(":", "-of-").replace("@", "-at-")
        plain = {"pattern": pattern.label, "prelude": "none"}
        arms = [Draft(f"{name}.none", plain, [_retrain(config, [pattern])])]
        for prelude in part.preludes:
            legs = [_prelude(config.preludes[prelude]), _retrain(config, [pattern], prelude)]
            arms.append(Draft(f"{name}.{prelude}", {"pattern": pattern.label, "prelude": prelude}, legs))
        yield arms


_GROUPS: dict[str, Callable[..., Iterator[list[Draft]]]] = {
    "shedding": _shedding,
    "criteria": _criteria,
    "retraining": _retraining,
    "schedules": _schedules,
    "gmp": _gmp,
    "semi_structured": _semi_structured,
}
