"""One arm in training, as prunes and probes see it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from prunebench.analysis.overlap import unpack
from prunebench.analysis.shedding import absolute_threshold, shed
from prunebench.data.batches import AnySplit
from prunebench.errors import InputError
from prunebench.models import initialise_
from prunebench.pruning.layers import Layer, table_of
from prunebench.pruning.masks import Masks, density
from prunebench.runs.job import Job, Row, State
from prunebench.runs.networks import load_weights_, start_record
from prunebench.runs.spec import Arm, File, Init, Phase, RunSpec


@dataclass
class View:
    """One arm in training.

    first: the prunable weights at the arm's start, before any prune. followed: survivors of the arms that a control
    follows; empty: the arm's own. layers: FLOPs by weight for one image. viable: whether the arm has a network of
    finite weights to go on with. matched: the sparsity that the arm's prunes are matched to.
    """

    job: Job[RunSpec]
    arm: Arm
    state: State
    first: dict[str, Tensor]
    followed: dict[str, Masks]
    layers: dict[str, int]
    viable: bool = True
    matched: float = 0.0
    flops_per_update: int = 0
    _thresholds: dict[float, float] = field(default_factory=dict)

    @classmethod
    def at_start(cls, job: Job[RunSpec], arm: Arm, state: State) -> "View":
        """The arm's start: its network loaded, nothing pruned."""
        viable = _load_start_(job, arm, state)
        first = {name: p.detach().clone() for name, p in job.prunable(state.model).items()}
        sizes = [(name, mask.numel()) for name, mask in state.masks.items()]
        followed = {}
        for name in arm.follows:
            flat = unpack(state.handed[f"masks/{name}"], sizes)
            followed[name] = {n: flat[n].reshape(m.shape).to(job.device) for n, m in state.masks.items()}
        return cls(job, arm, state, first, followed, job.layer_flops(state.model), viable)

    def resume_(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Restores the state of a killed job, which was training this arm."""
        self.state.update = self.arm.phases[values["position"]["phase"]].update.begin(self.trained_parameters())
        self.state.load_(tensors, values, self.job.processes)
        self.viable = True

    # --- Where the arm is

    @property
    def number(self) -> int:
        """The phase in training."""
        return self.state.position.phase

    @property
    def phase(self) -> Phase:
        """The phase in training."""
        return self.arm.phases[self.number]

    @property
    def updates(self) -> int:
        """Updates of the phase in all."""
        return self.phase.epochs * self.job.steps_per_epoch

    @property
    def epochs_before(self) -> int:
        """Epochs of the arm's earlier phases."""
        return sum(phase.epochs for phase in self.arm.phases[: max(self.number, 0)])

    @property
    def at_end(self) -> bool:
        """Whether the arm has no update left."""
        return self.epochs_before + self.state.position.epoch == self.arm.epochs

    def progress(self) -> dict[str, float]:
        """Epochs of the arm so far as a number with a fraction, its updates, and its clock."""
        per_epoch, at = self.job.steps_per_epoch, self.state.position
        steps = (self.epochs_before + at.epoch) * per_epoch + at.step
        return {"epoch": steps / per_epoch, "steps": steps, "clock": float(self.state.clock)}

    # --- Its weights

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The prunable weights by name."""
        return self.job.prunable(self.state.model)

    @property
    def prunable_layers(self) -> dict[str, Layer]:
        """The layers of the prunable weights by the weights' names."""
        return table_of(self.state.model, self.job.spec.include_norm)[0]

    def trained_parameters(self) -> list[Tensor]:
        """Everything that an update moves."""
        return list(self.state.model.parameters())

    def weights(self) -> dict[str, Tensor]:
        """The prunable weights without their gradients."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def sparsity(self) -> float:
        """Share of the prunable weights that masks prune."""
        return 1 - density(self.state.masks)

    def survivors(self) -> dict[str, Masks]:
        """The weights that probes measure, by the arm whose survivors they are."""
        return self.followed or {self.arm.name: self.state.masks}

    def living(self, masks: Masks, below: float) -> Masks:
        """Those of `masks` that have not been shed."""
        gone = shed(self.weights(), self.first, masks, below)
        return {name: masks[name] & ~gone[name] for name in masks}

    def threshold(self, kept: float) -> float:
        """The magnitude below which the first weights would be pruned to the density `kept`."""
        if kept not in self._thresholds:
            self._thresholds[kept] = absolute_threshold(self.first, 1 - kept)
        return self._thresholds[kept]

    # --- What probes do

    def evaluate(self, split: AnySplit, precision: str | None = None) -> tuple[float, float]:
        """Loss and accuracy of the network on a split."""
        return self.job.evaluate(self.state.model, split, precision)

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Time spent inside is not counted in the phase's seconds."""
        begin = time.perf_counter()
        yield
        self.state.started += time.perf_counter() - begin

    def write(self, table: str, rows: list[Row]) -> None:
        """Appends rows of this arm and phase to a table of the job."""
        at = {"arm": self.arm.name, "phase": self.number}
        self.state.rows.setdefault(table, []).extend(at | row for row in rows)
        self.job.watch(self.state.rows)


def _load_start_(job: Job[RunSpec], arm: Arm, state: State) -> bool:
    """Loads the network that an arm starts from; False where it has diverged."""
    start = arm.start
    if isinstance(start, Init):
        if start.draw is not None:
            initialise_(state.model, job.spec.seed, start.draw)
        return True
    if isinstance(start, File):
        load_weights_(state.model, start)
        return True
    record = start_record(start, job.runs, job.device)
    if record is None:
        return False
    try:
        state.model.load_state_dict(record.model)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{job.runs / start.run} holds another network than {job.spec.folder} trains: {reason}"
        ) from None
    state.masks = record.masks or state.masks
    state.previous, state.kept = record.previous, record.kept
    return True
