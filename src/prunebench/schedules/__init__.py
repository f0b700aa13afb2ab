"""Learning-rate schedules for iterative pruning: an LR profile within each cycle under a max_lr policy across
cycles.

    from prunebench.schedules import S_CYC, s_cyc

    schedule = S_CYC["resnet20_cifar10"]
    schedule = s_cyc(rate=0.2, delay=1, eps=0.03, alpha=0.04, beta=5)
    schedule.lr(cycle=5, step=100, total_steps=10_000)      # a pure function, or:
    scheduler = schedule.as_torch(optimizer, steps_per_cycle=10_000)

Everything is a frozen dataclass without state. This package does not import torch until `as_torch` is called.
"""

from dataclasses import MISSING, fields
from typing import Any

from prunebench.errors import InputError, nearest
from prunebench.schedules.policies import (
    POLICIES,
    PUBLISHED_S_SHAPES,
    Fixed,
    Linear,
    Policy,
    SShape,
    Table,
)
from prunebench.schedules.profiles import (
    PROFILES,
    PUBLISHED_WARMUPS,
    WARMUP_RESNET20,
    WARMUP_VGG19,
    Constant,
    Cosine,
    Cyclical,
    HoldThenLinear,
    OneCycle,
    Profile,
    StepDecay,
    WarmupStepDecay,
)
from prunebench.schedules.schedule import Schedule

__all__ = [
    "POLICIES",
    "PROFILES",
    "PUBLISHED_S_SHAPES",
    "PUBLISHED_WARMUPS",
    "SILO",
    "S_CYC",
    "WARMUP_RESNET20",
    "WARMUP_VGG19",
    "Constant",
    "Cosine",
    "Cyclical",
    "Fixed",
    "HoldThenLinear",
    "Linear",
    "OneCycle",
    "Policy",
    "Profile",
    "SShape",
    "Schedule",
    "StepDecay",
    "Table",
    "WarmupStepDecay",
    "make_policy",
    "make_profile",
    "s_cyc",
    "silo",
]


def s_cyc(rate: float, delay: int, eps: float, alpha: float, beta: float, profile: Cyclical | None = None) -> Schedule:
    """S-Cyc (arXiv 2110.08764): a cyclical LR, one triangle per pruning cycle by default, under the S-shape.

    rate, delay, eps, alpha, beta: see `SShape`, which raises InputError on bad values. The number of
    triangles per cycle is [ours]; the paper's step size is not known.

    >>> from prunebench.schedules import s_cyc
    >>> schedule = s_cyc(rate=0.2, delay=1, eps=0.03, alpha=0.04, beta=5)
    >>> [round(schedule.lr(cycle, step=4, total_steps=10), 3) for cycle in (0, 1, 4, 25)]  # the peaks
    [0.03, 0.03, 0.048, 0.07]
    """
    return Schedule(profile or Cyclical(), SShape(rate, delay, eps, alpha, beta))


def silo(profile: WarmupStepDecay, rate: float, delay: int, eps: float, alpha: float, beta: float) -> Schedule:
    """SILO (arXiv 2212.06144): a warm-up profile with step drops under the S-shape (see `SShape`).

    >>> from prunebench.schedules import WARMUP_RESNET20, silo
    >>> schedule = silo(WARMUP_RESNET20, rate=0.2, delay=1, eps=0.03, alpha=0.04, beta=5)
    >>> [round(schedule.lr(0, step, total_steps=100), 6) for step in (0, 49, 50, 64)]
    [0.0006, 0.03, 0.003, 0.0003]
    """
    return Schedule(profile, SShape(rate, delay, eps, alpha, beta))


S_CYC: dict[str, Schedule] = {name: Schedule(Cyclical(), shape) for name, shape in PUBLISHED_S_SHAPES.items()}
"""S-Cyc with the constants of PUBLISHED_S_SHAPES."""

SILO: dict[str, Schedule] = {
    name: Schedule(PUBLISHED_WARMUPS[name.removesuffix("_beta4")], shape) for name, shape in PUBLISHED_S_SHAPES.items()
}
"""SILO with the constants of PUBLISHED_S_SHAPES and the warm-ups of PUBLISHED_WARMUPS."""


def make_profile(name: str, **settings: Any) -> Profile:
    """The profile called `name` in PROFILES with these fields; InputError names an unknown name or field.

    >>> from prunebench.schedules import make_profile
    >>> make_profile("step_decay", milestones=(0.5, 0.75))
    StepDecay(milestones=(0.5, 0.75), factor=0.1)
    """
    return _make("profile", PROFILES, name, settings)


def make_policy(name: str, **settings: Any) -> Policy:
    """The policy called `name` in POLICIES with these fields; InputError names an unknown name or field.

    >>> from prunebench.schedules import make_policy
    >>> make_policy("table", values=[0.1, 0.4]).at(1)
    0.4
    """
    return _make("policy", POLICIES, name, settings)


def _make(kind: str, registry: dict[str, type], name: str, settings: dict[str, Any]) -> Any:
    if name not in registry:
        raise InputError(f"unknown {kind} '{name}': {nearest(str(name), registry)}")
    known = {field.name: field for field in fields(registry[name])}
    for key in settings:
        if key not in known:
            hint = nearest(str(key), known) if known else "it has no settings"
            raise InputError(f"{kind} '{name}' has no setting '{key}': {hint}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in settings]
    if missing:
        raise InputError(f"{kind} '{name}' needs {', '.join(missing)}")
    return registry[name](**settings)
