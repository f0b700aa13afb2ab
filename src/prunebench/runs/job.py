"""A job, and its state while it runs: all that a resume file holds."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunebench.analysis.cost import flops_per_image
from prunebench.data.batches import AnySplit, Batch, Prepared, eval_batches, steps_per_epoch
from prunebench.files import RUN_RECORD, seal, write_json
from prunebench.models import build
from prunebench.pruning.masks import Masks, full_masks, prunable_parameters
from prunebench.runs.checkpoint import ResumeFile, group, join
from prunebench.runs.device import autocast
from prunebench.runs.distributed import ALONE, Processes
from prunebench.runs.provenance import provenance
from prunebench.runs.spec import TaskSpec
from prunebench.runs.updates import UpdateState

EVALUATION_BATCH = 1000
"""Images of one forward pass; it changes roundings alone."""

EVALUATION_VALUES = 1 << 24
"""Most values of the images of one forward pass: a thousand of 64x64 in colour, a hundred of 224x224."""

Row = dict[str, Any]
"""One line of a tidy table."""

Network = dict[str, Tensor]
"""A state_dict."""

S = TypeVar("S", bound=TaskSpec)


@dataclass(frozen=True)
class Job(Generic[S]):
    """A spec with the data, the device, the folder of all runs, the file it resumes from, the processes that do it.

    watch: is told all rows of the job's tables so far whenever there are new ones, and changes nothing.
    eager: a GPU gets every kernel of an update by itself, and no recording (`prunebench.runs.step`); no byte depends on
    it.
    """

    spec: S
    data: Prepared
    device: torch.device
    runs: Path
    resume: ResumeFile
    report: Callable[[str], None]
    processes: Processes = ALONE
    eager: bool = False
    watch: Callable[[dict[str, list[Row]]], None] = lambda rows: None

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return self.spec.precision

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one epoch."""
        return steps_per_epoch(self.data.train, self.spec.batch_size)

    def batches(self, split: AnySplit, size: int = EVALUATION_BATCH, part: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """The split in order, without augmentation; `part`: what a process of several takes of it."""
        most = max(1, EVALUATION_VALUES // math.prod(split.shape))
        return self.stoppable(
            eval_batches(split, batch_size=min(size, most), mean=self.data.mean, std=self.data.std, part=part)
        )

    def stoppable(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a measurement, at each of which the job may end by a signal."""
        for batch in batches:
            self.resume.leave()
            yield batch

    def network(self) -> nn.Module:
        """The network at its initialisation, a pure function of (seed, network)."""
        channels, size, _ = self.data.train.shape
        model = build(
            self.spec.network,
            classes=self.data.classes,
            in_channels=channels,
            image_size=size,
            seed=self.spec.seed,
        )
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prunable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The weights that the job may prune, by name."""
        return prunable_parameters(model, include_norm=self.spec.include_norm)

    def layer_flops(self, model: nn.Module) -> dict[str, int]:
        """FLOPs by weight for one image."""
        return flops_per_image(model, self.data.train.shape)

    def autocast(self) -> Any:
        """The context of the job's precision."""
        return autocast(self.precision, self.device)

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: AnySplit, precision: str | None = None) -> tuple[float, float]:
        """Mean cross-entropy in nats and accuracy in [0, 1] on a whole split, in `precision` (None: the job's).

        Each process does its part of it, so all have to call this.
        """
        model.eval()
        loss = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device, dtype=torch.int64)
        for images, labels in self.batches(split, part=self.processes.part):
            with autocast(precision or self.precision, self.device):
                logits = model(images).float()
            loss += F.cross_entropy(logits, labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
        self.processes.add_(loss, correct)
        return float(loss) / len(split), int(correct) / len(split)

    def finish(self, out: Path) -> None:
        """Ends a job whose tables are written: spec, provenance, checksums beside them, and nothing left to resume."""
        write_json(out / "spec.json", self.spec.content())
        made_by = provenance(self.device, self.precision, self.data.checksum)
        about = {"data_verified": self.data.verified, "processes": self.processes.size}
        write_json(out / "provenance.json", made_by | about)
        seal(out / RUN_RECORD, [out / name for name in self.spec.files])
        self.resume.delete()


@dataclass
class Position:
    """Where a job is: arm, phase (-1 before the first), epochs of the phase and updates of the epoch behind it."""

    arm: int = 0
    phase: int = -1
    epoch: int = 0
    step: int = 0


@dataclass
class Clock:
    """Weight decay x the sum of LRs, as an exactly compensated sum (Neumaier 1974)."""

    total: float = 0.0
    lost: float = 0.0

    def add(self, term: float) -> None:
        """Adds one update's term."""
        new = self.total + term
        large, small = (self.total, term) if abs(self.total) >= abs(term) else (term, self.total)
        self.lost += (large - new) + small
        self.total = new

    def __float__(self) -> float:
        return self.total + self.lost


@dataclass
class State:
    """Everything that a killed job needs to go on: the arm in training, and what earlier arms have left.

    masks: of the prunable weights, True = alive. loss_sum: over the epoch's updates, of this process's part of each.
    previous: the weights of one epoch before a phase's end. kept: "<epoch>/<name>" -> networks kept by the arm. handed:
    networks and masks for other jobs, and survivors that controls follow. rows: the job's tables so far. status: each
    arm's end.
    """

    model: nn.Module
    masks: Masks
    loss_sum: Tensor
    update: UpdateState = field(default_factory=UpdateState)
    previous: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)
    handed: dict[str, Tensor] = field(default_factory=dict)
    position: Position = field(default_factory=Position)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    flops_sparse: int = 0
    density_start: float = 1.0
    seconds_before: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def new(cls, job: Job[Any], arm: int = 0, earlier: "State | None" = None) -> "State":
        """The state at the beginning of an arm, with the tables, status and networks of the `earlier` arms."""
        model = job.network()
        left = {name: getattr(earlier, name) for name in ("handed", "rows", "status")} if earlier else {}
        masks = full_masks(job.prunable(model))
        return cls(model, masks, torch.zeros((), device=job.device), position=Position(arm), **left)

    @property
    def seconds(self) -> float:
        """Wall time of the arm so far: with earlier tries up to their last save, without what is off the clock."""
        return self.seconds_before + time.perf_counter() - self.started

    def save(self, processes: Processes) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All tensors under unique names, and all that is not a tensor; the loss's sum of every process."""
        update, numbers = self.update.save()
        groups = {"model": self.model.state_dict(), "mask": self.masks, "update": update}
        tensors = join(groups | {name: getattr(self, name) for name in _TENSORS})
        values = {name: getattr(self, name) for name in _VALUES}
        values |= {"rows": {table: [*rows] for table, rows in self.rows.items()}, "status": {**self.status}}
        values |= {"position": {**vars(self.position)}, "clock": {**vars(self.clock)}}
        values |= {"numbers": numbers, "seconds_before": self.seconds}
        return tensors | {"loss_sum": processes.gather(self.loss_sum)}, values

    def copy(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `save` gives, of a process that is alone, in memory that no later update changes.

        Updates write into the model, into their own state and the loss's sum; all else is replaced and not written to.
        """
        tensors, values = self.save(ALONE)
        written = ("model/", "update/", "loss_sum")
        return {n: t.detach().clone() if n.startswith(written) else t for n, t in tensors.items()}, values

    @torch.no_grad()
    def load_(self, tensors: dict[str, Tensor], values: dict[str, Any], processes: Processes) -> None:
        """Restores what `save` gave; `update` must be of the right kind already."""
        device = self.loss_sum.device
        self.model.load_state_dict(group(tensors, "model", device))
        masks = group(tensors, "mask", device)
        self.masks = {name: masks[name] for name in self.masks}  # the file has another order
        self.update.load_(group(tensors, "update", device), values["numbers"])
        self.loss_sum.copy_(tensors["loss_sum"][processes.rank])
        self.position, self.clock = Position(**values["position"]), Clock(**values["clock"])
        for name in _TENSORS:
            setattr(self, name, group(tensors, name, device))
        for name in (*_VALUES, "seconds_before"):
            setattr(self, name, values[name])


_TENSORS, _VALUES = ("previous", "kept", "handed"), ("rows", "status", "flops_sparse", "density_start")
"""Fields of a state that a resume file holds as they are."""
