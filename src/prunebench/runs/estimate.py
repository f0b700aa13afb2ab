"""What a job costs and leaves, estimated from its spec alone: `prunebench plan` adds these up. Imports no torch.

Costs are counted in images, so that a machine's throughput (images/s) makes hours of them. They are estimates: an arm
that diverges costs less; what is done once per update or epoch beside the images (thresholds, statistics, tables) is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunebench.runs.spec import Arm, RunSpec


@dataclass(frozen=True)
class Estimate:
    """What a job, or a part of it, costs and leaves; sums of them add up field by field.

    training: images that go forward and backward. evaluation: images that go forward only. seconds: time that no
    network's throughput tells, in seconds of one core [ours: measured on an Intel Xeon at 2.5 GHz]. cells: numbers in
    the job's tables, at most. networks, weights, masks: state_dicts, sets of the prunable weights alone, and sets of
    masks in the job's file of networks, at most.

    >>> from prunebench.runs.estimate import Estimate
    >>> (Estimate(training=64) + Estimate(training=36, cells=12)).training
    100
    """

    training: float = 0
    evaluation: float = 0
    seconds: float = 0
    cells: int = 0
    networks: int = 0
    weights: int = 0
    masks: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Sizes:
    """Images of a data set's splits, and the number of layers with prunable weights of the network on them."""

    train: int = 0
    validation: int = 0
    test: int = 0
    layers: int = 0


@dataclass(frozen=True)
class Span:
    """A phase as a probe's estimate sees it.

    epochs: of the phase. updates: of the phase. first, last: whether it is the first or the last of its arm. followed:
    how many arms' survivors are measured.
    """

    epochs: int
    updates: int
    first: bool
    last: bool
    followed: int
    layers: int


def of_arms(spec: RunSpec, sizes: Sizes) -> Estimate:
    """What a job that trains arms costs and leaves."""
    parts = [part for arm in spec.arms for part in _of_arm(spec, arm, sizes)]
    if spec.hands_on == "masks":
        parts.append(Estimate(masks=len(spec.arms)))
    if spec.hands_on == "best":  # one arm's end, with what it kept of earlier epochs
        kept = max(sum(len(phase.keep) for phase in arm.phases) for arm in spec.arms)
        parts.append(Estimate(networks=1 + kept, masks=1 + kept, weights=1 + kept if _previous(spec.arms) else 0))
    return total(parts)


def total(parts: list[Estimate]) -> Estimate:
    """The sum."""
    return sum(parts, Estimate())


def _previous(arms: list[Arm]) -> bool:
    return any(phase.keep_previous for arm in arms for phase in arm.phases)


def _of_arm(spec: RunSpec, arm: Arm, sizes: Sizes) -> Iterator[Estimate]:
    """Phase by phase: prunes, training, evaluations, probes, networks that are kept."""
    steps = sizes.train // spec.batch_size
    pruned = arm.start.kind != "init"
    for number, phase in enumerate(arm.phases):
        pruned = pruned or bool(phase.prune)
        updates = phase.epochs * steps
        evaluated = max(phase.epochs, 1) * sizes.validation + sizes.test + spec.evaluate_train * sizes.train
        evaluated += (1 + phase.epochs) * min(phase.recalibrate, sizes.train)
        yield Estimate(
            training=updates * spec.batch_size + sum(_scored(prune, updates, sizes.train) for prune in phase.prune),
            evaluation=evaluated,
            cells=12 * phase.epochs + 22,  # columns of `epochs` and `phases`, a row per epoch and per phase
        )
        last = number == len(arm.phases) - 1
        span = Span(phase.epochs, updates, number == 0, last, max(len(arm.follows), 1), sizes.layers)
        yield from (probe.estimate(span) for probe in phase.probes)
        if spec.hands_on == "kept" and phase.keep:
            kept = len(phase.keep)
            yield Estimate(networks=kept, masks=kept * pruned, weights=kept * _previous([arm]))


def _scored(prune: Any, updates: int, train: int) -> int:
    """Images on which a criterion takes gradients for a prune, at each step of its ramp."""
    from prunebench.pruning.criteria import get_criterion

    if not (hasattr(prune, "criterion") and get_criterion(prune.criterion).needs_gradients):
        return 0
    times = 1
    if prune.ramp is not None:
        last = min(max(1, round(prune.ramp.share * updates)), updates - 1)
        times += max(last - 1, 0) // prune.ramp.every
    return times * min(prune.score_images or train, train)
