"""What an arm is watched for while it trains: shedding, magnitudes of weights, occupancy of groups.

A pruned arm is measured over its own survivors; a control over the survivors of the arms that it follows, so that an
excess compares the same weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from prunebench.analysis.shedding import (
    absolute_threshold,
    below_threshold,
    in_dead,
    magnitude_histogram,
    removable_share,
    shed,
    structures,
)
from prunebench.config import Arm, RetrainSpec
from prunebench.config.arms import Measure
from prunebench.data.batches import Split
from prunebench.pruning.masks import Masks, alive, density
from prunebench.pruning.structured import occupancy
from prunebench.training.job import Job, State, evaluate, prunable


@dataclass
class Trace:
    """Measures one arm against the dense network's weights, and writes the rows into its state."""

    job: Job
    arm: Arm
    reference: dict[str, Tensor]
    """The dense network's prunable weights."""
    followed: dict[str, Masks]
    """Survivors of the arms that a control follows; empty: the arm's own."""
    thresholds: dict[float, float] = field(default_factory=dict)
    """Density -> absolute threshold: the dense weights stay the same, and ranking them takes longest."""

    @property
    def measure(self) -> Measure:
        """What the job measures."""
        assert isinstance(self.job.spec, RetrainSpec)
        return self.job.spec.measure

    def begin(self, state: State) -> None:
        """The arm's start: after the first phase's prune, before any update."""
        self._shedding(state, removable=True)
        self._histograms(state)

    def before_update(self, state: State, done: int) -> None:
        """In the arm's first epoch, after 1, 2, 4, 8, ... updates."""
        first = state.position["cycle"] == 0 and 0 < done < self.job.steps_per_epoch
        if first and done & (done - 1) == 0:
            self._shedding(state)

    def after_epoch(self, state: State) -> None:
        """Every epoch's end but the arm's last, which `end` measures."""
        last = self.arm.phases[-1]
        if (state.position["cycle"], state.position["epoch"]) != (len(self.arm.phases) - 1, last.epochs):
            self._shedding(state, removable=True)

    def end(self, state: State) -> None:
        """The arm's end."""
        self._shedding(state, removable=True)
        self._histograms(state)

    def occupancy(self, state: State, moment: str) -> None:
        """How many weights of each group are alive, kept and not shed: before a phase's prune or after its training."""
        if not self.measure.occupancy:
            return
        living = self._living(state, state.masks)
        for m in self.measure.occupancy:
            at = {"phase": state.position["cycle"], "moment": moment, "m": m}
            counts = occupancy(living, m).tolist()
            state.write("occupancy", [at | {"alive": n, "blocks": blocks} for n, blocks in enumerate(counts)])

    def progress(self, state: State) -> dict[str, float]:
        """Updates of the arm so far, its clock (weight decay x sum of LR), and epochs as a number with a fraction."""
        at, spe = state.position["cycle"], self.job.steps_per_epoch
        steps = [phase.epochs * spe for phase in self.arm.phases[:at]]
        steps.append(state.position["epoch"] * spe + state.position["step"])
        clock = math.fsum(
            phase.weight_decay * phase.lr(step, spe)
            for phase, count in zip(self.arm.phases, steps, strict=False)
            for step in range(count)
        )
        return {"epoch": sum(steps) / spe, "steps": sum(steps), "clock": clock}

    def _survivors(self, state: State) -> Mapping[str, Masks]:
        return self.followed or {self.arm.name: state.masks}

    def _weights(self, state: State) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in prunable(self.job, state).items()}

    def _living(self, state: State, masks: Masks) -> Masks:
        gone = shed(self._weights(state), self.reference, masks, self.measure.below)
        return {name: masks[name] & ~gone[name] for name in masks}

    def _shedding(self, state: State, removable: bool = False) -> None:
        if not self.measure.shedding:
            return
        weights, at = self._weights(state), self.progress(state)
        for name, masks in self._survivors(state).items():
            living, count = self._living(state, masks), alive(masks)
            if count == 0:
                continue  # nothing survives that could be shed
            tau = self._threshold(density(masks))
            row = at | {
                "followed": name,
                "phase": state.position["cycle"],
                "sparsity": 1 - density(masks),
                "survivors": count,
                "tau": tau,
                "absolute": alive(below_threshold(weights, masks, tau)) / count,
                "relative": (count - alive(living)) / count,
                "in_dead": in_dead(living, masks),
                **structures(living),
            }
            if removable and self.measure.removable_images:
                row["removable"] = self._removable(state, masks)
            state.write("shedding", [row])

    def _threshold(self, kept: float) -> float:
        if kept not in self.thresholds:
            self.thresholds[kept] = absolute_threshold(self.reference, 1 - kept)
        return self.thresholds[kept]

    def _removable(self, state: State, masks: Masks) -> float | None:
        """None where the network is no better than guessing: taking weights away cannot hurt it."""
        validation, images = self.job.data.validation, self.measure.removable_images
        split = Split(validation.images[:images], validation.labels[:images])

        def loss() -> float:
            return evaluate(self.job, state.model, split, precision="fp32")[0]

        if not loss() < math.log(self.job.data.classes):
            return None
        return removable_share(loss, prunable(self.job, state), masks)

    def _histograms(self, state: State) -> None:
        if not self.measure.histograms:
            return
        epoch = self.progress(state)["epoch"]
        for name, masks in self._survivors(state).items():
            bins = magnitude_histogram(self._weights(state), masks)
            state.write("histograms", [{"followed": name, "epoch": epoch} | each for each in bins])
