"""From the cascade study's configuration to its jobs.

Arms of one *group* are compared with each other, so they run in one job, from the same dense network and with the same
order of data: pruned arms and the control that follows their survivors.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prunebench.errors import InputError
from prunebench.papers.cascade.config import Cascade, GmpPart, NamedLR, Part, Prelude, SchedulesPart
from prunebench.papers.cascade.overlaps import Overlaps
from prunebench.pruning.amounts import round_density
from prunebench.pruning.criteria import get_criterion
from prunebench.runs.probes import BELOW, Histograms, Occupancy, Probe, Shedding
from prunebench.runs.spec import Arm, Phase, Ramp, RunSpec, Shed, ToSparsity
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
            first = [draft.legs[0] for group in _groups(name, part, config, preset, task) for draft in group]
            keep = {leg["rewind"] for leg in first if "rewind" in leg}
            criteria = {prune.criterion for leg in first for prune in leg["prune"] if isinstance(prune, ToSparsity)}
            previous = any(get_criterion(criterion).needs_previous_weights for criterion in criteria)
            yield DenseWish(task, config.dense, tuple(keep), previous)


def plan(config: Cascade, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """A stage per part, and the comparison of kept masks."""
    stages, overlaps = [], []
    for name, part in config.parts().items():
        jobs: list[RunSpec] = []
        for task in part.tasks:
            of_task = list(_jobs(name, part, config, preset, task, networks))
            overlaps += [Overlaps.of(task, of_task)] if name == "criteria" else []
            jobs += of_task
        title = f"Retraining ({name.replace('_', '-')})"
        stages.append(Stage(STAGES[name], f"cascade/{name}", tuple(jobs), title, priority=5))
    title = "Comparing kept weights"
    compared = Stage(
        "compare_masks", "cascade/overlap", tuple(overlaps), title, ".overlaps:compare", optional=True, device=False
    )
    return [*stages, compared]


def _jobs(
    name: str, part: Part, config: Cascade, preset: Preset, task: str, networks: DenseNetworks
) -> Iterator[RunSpec]:
    """The jobs of a part on a task; InputError where two arms have one name, by which tables tell them apart."""
    groups = list(_groups(name, part, config, preset, task))
    arms = [arm.name for group in groups for arm in group]
    if twice := [arm for arm in arms if arms.count(arm) > 1]:
        raise InputError(f"cascade.{name}: the same arm twice: {twice[0]}")
    size, probes = config.groups_per_job or len(groups), _probes(config, name)
    for batch, first in enumerate(range(0, len(groups), size)):
        drafts = [draft for group in groups[first : first + size] for draft in group]
        phases = [_phases(draft, config, preset, task, probes) for draft in drafts]
        for seed in preset.seeds_of(task):
            start = networks.start(task, config.dense, seed)
            yield RunSpec(
                folder=f"cascade/{name}/{task}/seed-{seed}/batch-{batch}",
                **preset.task_fields(task, seed),
                axes={"part": name},
                arms=[
                    Arm(name=draft.name, axes=draft.axes, start=start, phases=of_draft, follows=[*draft.follows])
                    for draft, of_draft in zip(drafts, phases, strict=True)
                ],
                hands_on="masks" if name == "criteria" else "nothing",
            )


def _probes(config: Cascade, part: str) -> list[Probe]:
    if config.shedding and part == "shedding":
        return [Shedding(config.shedding.removable_images), Histograms()]
    if config.semi_structured and part == "semi_structured":
        return [Occupancy(tuple(sorted({pattern.size for pattern in config.semi_structured.patterns})))]
    return [Shedding()] if part in ("retraining", "schedules") else []


def _phases(draft: Draft, config: Cascade, preset: Preset, task: str, probes: list[Probe]) -> list[Phase]:
    """The phases of an arm: the same for every seed."""
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
    return phases


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
    leg = {name: getattr(config.retrain, name) for name in ("epochs", "profile", "max_lr", "weight_decay")}
    begun = config.preludes[prelude].epochs if prelude else 0
    return leg | {"prune": prune, "epochs": leg["epochs"] - begun}


# --- Groups of arms


def _with_control(pruned: list[Draft], name: str, axes: dict[str, Any], legs: list[Leg]) -> list[Draft]:
    """The pruned arms and their control: these legs without a prune, measured over their survivors."""
    return [*pruned, Draft(f"control.{name}", {"criterion": "none"} | axes, legs, [arm.name for arm in pruned])]


def _shedding(part: Any, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per setting: the pruned arms and their control."""
    for setting in part.settings_of(task):
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
        yield _with_control(pruned, where, {"pruned_share": 0.0} | axes, [_constant([], *recipe)])


def _criteria(part: Any, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per sparsity."""
    begun = part.prelude_criteria if task in (part.prelude_tasks or part.tasks) else []
    for sparsity in part.sparsities:
        schemes = [(criterion, "none", [_retrain(config, [_to(sparsity, criterion)])]) for criterion in part.criteria]
        for criterion in begun:
            for name in part.preludes:
                legs = [_prelude(config.preludes[name], criterion), _retrain(config, [_to(sparsity)], name)]
                schemes.append((criterion, name, legs))
        yield [
            Draft(
                f"{criterion}.s{sparsity:g}" if prelude == "none" else f"{criterion}.{prelude}.s{sparsity:g}",
                {"criterion": criterion, "prelude": prelude, "sparsity": sparsity},
                legs,
            )
            for criterion, prelude, legs in schemes
        ]


def _retraining(part: Any, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per way of retraining, each with a control."""
    schedule, training = preset.schedule(task, config.dense), preset.tasks[task].training
    max_lr, begin = schedule.policy.at(0), part.rewind_epoch
    steps = training.epochs * (preset.datasets[preset.tasks[task].dataset].train // training.batch_size)
    last_lr = schedule.profile.lr(steps - 1, steps, max_lr)
    replay = {"profile": schedule.profile, "max_lr": max_lr, "first_epoch": begin, "profile_epochs": training.epochs}
    for name, how in {
        "fine_tune": {"profile": Constant(), "max_lr": last_lr},
        "rewind_lr": replay,
        "rewind_weights": replay | {"rewind": begin},
    }.items():
        leg: Leg = {"epochs": training.epochs - begin, "weight_decay": training.weight_decay, **how}
        pruned = [
            Draft(
                f"{criterion}.s{sparsity:g}.{name}",
                {"criterion": criterion, "sparsity": sparsity, "retraining": name},
                [leg | {"prune": [_to(sparsity, criterion)]}],
            )
            for criterion in part.criteria
            for sparsity in part.sparsities
        ]
        yield _with_control(pruned, name, {"sparsity": 0.0, "retraining": name}, [leg | {"prune": []}])


def _schedules(part: Any, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per LR schedule, each with a control."""
    densities = [round_density(1.0, 1 - part.sparsity, i, part.rounds) for i in range(1, part.rounds)]
    prunes = {
        "one_shot": [[_to(part.sparsity, part.criterion)]],
        "iterative": [[_to(at, part.criterion)] for at in (*(1 - kept for kept in densities), part.sparsity)],
        "gradual": [[_to(part.sparsity, part.criterion, part.ramp)]],
    }
    axes = {"criterion": part.criterion, "sparsity": part.sparsity}
    for name, schedule in sorted(part.lr_schedules.items()):
        pruned = [
            Draft(f"{pruning}.{name}", axes | {"pruning": pruning, "lr_schedule": name}, _spans(part, schedule, each))
            for pruning, each in prunes.items()
        ]
        of_control = {"sparsity": 0.0, "pruning": "none", "lr_schedule": name}
        yield _with_control(pruned, name, of_control, _spans(part, schedule, [[]]))


def _spans(part: SchedulesPart, schedule: NamedLR, prunes: list[list[ToSparsity]]) -> list[Leg]:
    """Phases of equal length, one per element of `prunes`, under one LR schedule over all of them."""
    epochs = part.epochs // len(prunes)
    how = {"profile": schedule.profile, "max_lr": schedule.max_lr, "weight_decay": part.weight_decay, "epochs": epochs}
    how |= {"profile_epochs": part.epochs} if len(prunes) > 1 else {}
    return [how | {"prune": prune, "first_epoch": number * epochs} for number, prune in enumerate(prunes)]


def _gmp(part: Any, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per sparsity."""
    for sparsity in part.sparsities:
        harvest = Shed(kind="shed", below=BELOW, at_most=sparsity)
        legs = {"none": [_retrain(config, [_to(sparsity, ramp=part.ramp)])]}
        for name in part.preludes:
            prelude = config.preludes[name]
            onward = _to(sparsity, ramp=_ramp_after(part, prelude.epochs, config.retrain.epochs))
            legs[name] = [_prelude(prelude), _retrain(config, [harvest, onward], name)]
        yield [
            Draft(f"{name}.s{sparsity:g}", {"prelude": name, "sparsity": sparsity}, each) for name, each in legs.items()
        ]


def _ramp_after(part: GmpPart, begun: int, epochs: int) -> Ramp:
    """The rest of the ramp for a phase that begins after `begun` of `epochs` epochs."""
    share = (part.ramp.share * epochs - begun) / (epochs - begun)
    if share <= 0:
        raise InputError(f"cascade.gmp.ramp ends after {part.ramp.share * epochs:g} epochs, within a prelude")
    return Ramp(share=share, every=part.ramp.every)


def _semi_structured(part: Any, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """One group per pattern."""
    for pattern in part.patterns:
        name = pattern.label.replace(":", "-of-").replace("@", "-at-")
        legs = {"none": [_retrain(config, [pattern])]}
        legs |= {each: [_prelude(config.preludes[each]), _retrain(config, [pattern], each)] for each in part.preludes}
        yield [
            Draft(f"{name}.{prelude}", {"pattern": pattern.label, "prelude": prelude}, each)
            for prelude, each in legs.items()
        ]


def _groups(name: str, part: Part, config: Cascade, preset: Preset, task: str) -> Iterator[list[Draft]]:
    """The arms of a part on a task, in groups whose arms are compared with each other."""
    makers: dict[str, Callable[..., Iterator[list[Draft]]]] = {
        "shedding": _shedding,
        "criteria": _criteria,
        "retraining": _retraining,
        "schedules": _schedules,
        "gmp": _gmp,
        "semi_structured": _semi_structured,
    }
    return makers[name](part, config, preset, task)
