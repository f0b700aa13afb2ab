"""One training job: a network that is trained, measured and pruned cycle by cycle.

`Job` is what never changes while it runs, `State` what does and what a resume file therefore holds. A pruning chain and
the oracle's candidates are both made of the functions below.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from prunebench.analysis.cost import TRAINING_FACTOR, flops_per_image, peak_memory_mb, sparse_flops
from prunebench.analysis.gradients import gradient_statistics, mean_gradients
from prunebench.config import RunSpec
from prunebench.data.batches import Augment, Prepared, Split, eval_batches, steps_per_epoch, train_batches
from prunebench.files import write_json
from prunebench.models import build
from prunebench.models.batch_norm import recompute_statistics_
from prunebench.pruning.criteria import CRITERIA, ScoreInputs
from prunebench.pruning.masks import Masks, density, full_masks, prunable_parameters
from prunebench.training.checkpoint import ResumeFile
from prunebench.training.device import autocast, resolve_precision
from prunebench.training.provenance import provenance
from prunebench.training.updates import Update

EVALUATION_BATCH = 1000
GRADIENT_BATCH = 500
CALIBRATION_IMAGES = 500

Row = dict[str, Any]
"""One line of a tidy table."""


@dataclass
class State:
    """Everything that a killed job needs to go on: tensors, position, and the rows written so far.

    buffers, threshold: what the update keeps, one tensor per parameter (momentum, or gRDA's accumulators) and a number.
    """

    model: nn.Module
    masks: dict[str, torch.Tensor]
    buffers: list[torch.Tensor]
    loss_sum: torch.Tensor
    previous_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    position: dict[str, int] = field(default_factory=lambda: {"cycle": 0, "epoch": 0, "step": 0})
    rows: dict[str, list[Row]] = field(default_factory=dict)
    threshold: float = 0.0
    seconds_before: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall time of the job so far: with earlier tries up to their last save, without measuring gradients."""
        return self.seconds_before + time.perf_counter() - self.started

    def write(self, table: str, rows: list[Row]) -> None:
        """Appends rows to a table of the run."""
        self.rows.setdefault(table, []).extend(rows)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors under unique names."""
        groups = {
            "model": self.model.state_dict(),
            "mask": self.masks,
            "buffer": {str(i): buffer for i, buffer in enumerate(self.buffers)},
            "previous": self.previous_weights,
            "kept": self.kept,
        }
        flat = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return flat | {"loss_sum": self.loss_sum}

    def keep(self, epoch: int) -> None:
        """Keeps the network as it is now, as that of the dense training's `epoch`, for jobs that rewind to it."""
        self.kept |= {f"{epoch}/{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}

    def kept_network(self, epoch: int) -> dict[str, torch.Tensor]:
        """The state_dict kept at `epoch`; KeyError where none was."""
        prefix = f"{epoch}/"
        found = {k.removeprefix(prefix): v for k, v in self.kept.items() if k.startswith(prefix)}
        if not found:
            raise KeyError(f"no network was kept at epoch {epoch}")
        return found

    def values(self) -> dict[str, Any]:
        """All that is not a tensor."""
        return {
            "position": self.position,
            "rows": self.rows,
            "threshold": self.threshold,
            "seconds": self.seconds,
        }

    @torch.no_grad()
    def load_(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Takes up a saved state; copies into the tensors there are, so that their memory layout stays as built."""

        def group(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        device = self.loss_sum.device
        self.model.load_state_dict(group("model/"))
        for name, mask in group("mask/").items():
            self.masks[name] = mask.to(device)
        for index, buffer in group("buffer/").items():
            self.buffers[int(index)].copy_(buffer)
        self.previous_weights = {k: v.to(device) for k, v in group("previous/").items()}
        self.kept = {k: v.to(device) for k, v in group("kept/").items()}
        self.loss_sum.copy_(tensors["loss_sum"])
        self.position, self.rows = values["position"], values["rows"]
        self.threshold, self.seconds_before = values["threshold"], values["seconds"]


@dataclass(frozen=True)
class Job:
    """A spec with the data, the device and the file it resumes from."""

    spec: RunSpec
    data: Prepared
    device: torch.device
    resume: ResumeFile
    report: Callable[[str], None]

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return resolve_precision(self.spec.training.precision, self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one epoch."""
        return steps_per_epoch(self.data.train, self.spec.training.batch_size)

    def batches(self, split: Split, limit: int | None = None, size: int = EVALUATION_BATCH) -> Iterator[Any]:
        """The split in order, without augmentation; the first `limit` images."""
        if limit is not None:
            split = Split(split.images[:limit], split.labels[:limit])
        return eval_batches(split, batch_size=size, mean=self.data.mean, std=self.data.std)


def new_state(job: Job) -> State:
    """The dense network at its initialisation, a pure function of (seed, network)."""
    network = job.spec.network
    channels, size = job.data.train.images.shape[1:3]
    model = build(
        network.kind,
        classes=job.data.classes,
        in_channels=channels,
        image_size=size,
        activation=network.activation,
        width=network.width,
        depth=network.depth,
        stem_stride=network.stem_stride,
        seed=job.spec.seed,
    ).to(job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(
        model=model,
        masks=full_masks(prunable_parameters(model, include_norm=job.spec.prunes_norm)),
        buffers=[torch.zeros_like(p) for p in model.parameters()],
        loss_sum=torch.zeros((), device=job.device),
    )


def prunable(job: Job, state: State) -> dict[str, nn.Parameter]:
    """The weights that the job may prune, by name."""
    return prunable_parameters(state.model, include_norm=job.spec.prunes_norm)


def pruned_masks(
    job: Job, state: State, criterion: str, density: float, *, cycle: int = 0, score_images: int | None = None
) -> Masks | None:
    """New masks of this density in [0, 1] by a criterion; `cycle` tells draws of random criteria apart.

    `score_images`: training images on which gradient criteria take dL/dw; None takes all. None where weights or
    gradients are not finite: the network has diverged.
    """
    parameters = prunable(job, state)
    if not all(bool(weight.isfinite().all()) for weight in parameters.values()):
        return None
    gradients = None
    if CRITERIA[criterion].needs_gradients:
        gradients = mean_gradients(state.model, parameters, job.batches(job.data.train, score_images, GRADIENT_BATCH))
        if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            return None
    inputs = ScoreInputs(
        weights={name: p.detach() for name, p in parameters.items()},
        masks=state.masks,
        gradients=gradients,
        previous_weights=state.previous_weights or None,
        seed=job.spec.seed,
        cycle=cycle,
    )
    return CRITERIA[criterion].prune(inputs, density)


def begin_(state: State, cycle: int, epoch: int = 0, *, keep_momentum: bool = False) -> None:
    """Puts the state at the beginning of a cycle (or phase), with fresh momentum unless it is kept."""
    state.position |= {"cycle": cycle, "epoch": epoch, "step": 0}
    state.loss_sum.zero_()
    for buffer in [] if keep_momentum else state.buffers:
        buffer.zero_()


@dataclass(frozen=True)
class Leg:
    """Training from the state's epoch up to `epochs`.

    lr: update of the leg, counted from its epoch 0 -> LR. update: what moves the weights. order: the epoch 0's place in
    the job's order of data: legs with the same order see the same images. keep: epochs whose networks are kept, 0 the
    one before training. keep_previous: keep the weights as they are one epoch before the end, for criteria that
    compare. recalibrate: take batch normalisation's statistics anew before each evaluation.
    """

    epochs: int
    lr: Callable[[int], float]
    update: Update
    order: int
    keep: frozenset[int] = frozenset()
    keep_previous: bool = False
    recalibrate: bool = False


def train_(
    job: Job,
    state: State,
    leg: Leg,
    save: Callable[[], None],
    before_update: Callable[[int], None] = lambda done: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> bool:
    """Trains a leg to its end; False where the loss became NaN or infinite.

    `save` is called when the resume file is due; a resumed state goes on at its very step. `before_update` is called
    with the number of updates that the leg has behind it, and may change `state.masks`; `after_epoch` when an epoch's
    row has been written.
    """
    if not is_finite(state):
        return False  # a dense network that diverged, handed on: it would have stopped here, too
    spe = job.steps_per_epoch
    if state.position["step"] == 0 and state.position["epoch"] == 0:
        state.threshold = 0.0
        leg.update.begin_(list(state.model.parameters()), state.buffers)
    if state.position["step"] == 0 and state.position["epoch"] in leg.keep:
        state.keep(state.position["epoch"])
    while (epoch := state.position["epoch"]) < leg.epochs:
        if leg.keep_previous and epoch == leg.epochs - 1 and state.position["step"] == 0:
            state.previous_weights = {n: p.detach().clone() for n, p in prunable(job, state).items()}
        lr_at = [leg.lr(epoch * spe + step) for step in range(spe)]
        _train_epoch_(job, state, leg, lr_at, save, before_update)
        train_loss = float(state.loss_sum) / spe
        state.position |= {"epoch": epoch + 1, "step": 0}
        state.loss_sum.zero_()
        if leg.recalibrate:
            recalibrate_(job, state)
        _record_epoch(job, state, epoch, lr_at[-1], train_loss)
        if not is_finite(state):
            return False
        if epoch + 1 in leg.keep:
            state.keep(epoch + 1)
        after_epoch()
    return is_finite(state)


def is_finite(state: State) -> bool:
    """Whether the last epoch that was trained, if any, ended with finite losses."""
    last = state.rows.get("epochs", [])[-1:]
    return all(math.isfinite(row[loss]) for row in last for loss in ("train_loss", "validation_loss"))


def _train_epoch_(
    job: Job,
    state: State,
    leg: Leg,
    lr_at: list[float],
    save: Callable[[], None],
    before_update: Callable[[int], None],
) -> None:
    """The rest of one epoch, from `state.position['step']` on. No step waits for the device."""
    recipe, model, epoch = job.spec.training, state.model.train(), state.position["epoch"]
    parameters: list[torch.Tensor] = list(model.parameters())
    augment = Augment(job.spec.augmentation.pad, job.spec.augmentation.flip)
    batches = train_batches(
        job.data.train,
        batch_size=recipe.batch_size,
        seed=job.spec.seed,
        epoch=leg.order + epoch,
        augment=augment,
        mean=job.data.mean,
        std=job.data.std,
    )
    precision = job.precision
    masks: Masks | None = None
    weights: list[torch.Tensor] = []
    kept: list[torch.Tensor] = []
    for images, labels in islice(batches, state.position["step"], None):
        if job.resume.due():
            save()
        # After the save: a resumed job does this very update again, and no row is written twice.
        done = epoch * len(lr_at) + state.position["step"]
        before_update(done)
        if state.masks is not masks:
            masks = state.masks
            weights, kept = _pruned(job, state)
        with autocast(precision, job.device):
            loss = F.cross_entropy(model(images), labels)
        gradients = list(torch.autograd.grad(loss, parameters))
        state.threshold = leg.update.step_(
            parameters,
            gradients,
            state.buffers,
            lr=lr_at[state.position["step"]],
            n=done + 1,
            threshold=state.threshold,
        )
        if kept:
            torch._foreach_mul_(weights, kept)
        state.loss_sum += loss.detach()
        state.position["step"] += 1


def _pruned(job: Job, state: State) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The weights that have pruned ones among them, and their masks as numbers."""
    pruned = [(p.detach(), state.masks[n]) for n, p in prunable(job, state).items() if not bool(state.masks[n].all())]
    return [p for p, _ in pruned], [mask.to(p.dtype) for p, mask in pruned]


def _record_epoch(job: Job, state: State, epoch: int, lr: float, train_loss: float) -> None:
    """Writes the epoch's row."""
    loss, accuracy = evaluate(job, state.model, job.data.validation)
    cycle = state.position["cycle"]
    row = {"cycle": cycle, "epoch": epoch, "lr": lr, "train_loss": train_loss}
    state.write("epochs", [row | {"validation_loss": loss, "validation_accuracy": accuracy}])
    job.report(f"cycle {cycle} epoch {epoch}: loss {train_loss:.4f}, validation accuracy {accuracy:.4f}")


def recalibrate_(job: Job, state: State) -> None:
    """Takes batch normalisation's running statistics anew on the first training images, without augmentation.

    Weights that decay by percents per update leave running averages behind: a network at 10 % accuracy by these was at
    66 % by statistics of its own (laptop preset, after a prelude). Training itself does not read them.
    """
    batches = job.batches(job.data.train, CALIBRATION_IMAGES, GRADIENT_BATCH)
    with autocast(job.precision, job.device):
        recompute_statistics_(state.model, (images for images, _ in batches))


@torch.no_grad()
def evaluate(job: Job, model: nn.Module, split: Split, precision: str | None = None) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy in [0, 1] on a whole split, in `precision` (None: the job's)."""
    model.eval()
    loss = torch.zeros((), device=job.device)
    correct = torch.zeros((), device=job.device, dtype=torch.int64)
    for images, labels in job.batches(split):
        with autocast(precision or job.precision, job.device):
            logits = model(images).float()
        loss += F.cross_entropy(logits, labels, reduction="sum")
        correct += (logits.argmax(1) == labels).sum()
    return float(loss) / len(split.labels), int(correct) / len(split.labels)


def cycle_row(job: Job, state: State, max_lr: float, converged: bool) -> Row:
    """What a cycle ended with. A diverged one stands at chance accuracy: divergence is a result, too."""
    kept = density(state.masks)
    row = {"cycle": state.position["cycle"], "density": kept, "sparsity": 1 - kept, "max_lr": max_lr}
    if not converged:
        chance = 1 / job.data.classes
        return row | {"status": "diverged", "validation_accuracy": chance, "test_accuracy": chance}
    last = state.rows["epochs"][-1]
    test_loss, test_accuracy = evaluate(job, state.model, job.data.test)
    return row | {
        "status": "trained",
        "validation_loss": last["validation_loss"],
        "validation_accuracy": last["validation_accuracy"],
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
    }


def cost_row(job: Job, state: State, first_epoch: int = 0) -> Row:
    """What the cycle cost from `first_epoch` on: updates, images, FLOPs of its training, wall time with evaluations,
    peak memory."""
    cycle = state.position["cycle"]
    steps = (state.position["epoch"] - first_epoch) * job.steps_per_epoch
    images = steps * job.spec.training.batch_size
    channels, height, width = job.data.train.images.shape[1:]
    layers = flops_per_image(state.model, (channels, height, width))
    return {
        "cycle": cycle,
        "steps": steps,
        "images": images,
        "flops": TRAINING_FACTOR * images * sum(layers.values()),
        "flops_sparse": TRAINING_FACTOR * images * sparse_flops(layers, state.masks),
        "seconds": state.seconds - sum(row["seconds"] for row in state.rows.get("cost", [])),
        "peak_memory_mb": peak_memory_mb(job.device),
    }


def measure_gradients(job: Job, state: State, images: int, share: float) -> None:
    """Writes the statistics of dL/dw on the first `images` training images after `share` of the cycle's updates.

    The histogram is written at the end of the cycle only. The time it takes is not counted in `State.seconds`: it is no
    part of what a schedule costs.
    """
    begin = time.perf_counter()
    batches = job.batches(job.data.train, images, GRADIENT_BATCH)
    snapshot = gradient_statistics(state.model, prunable(job, state), state.masks, batches)
    at = {"cycle": state.position["cycle"], "share": share, "sparsity": 1 - density(state.masks)}
    state.write("gradients", [at | row for row in snapshot.rows])
    if share == 1:
        state.write("gradient_histograms", [at | row for row in snapshot.histogram])
    state.started += time.perf_counter() - begin


def finish(job: Job, out: Path) -> None:
    """Ends a job whose tables are written: spec.json and provenance.json beside them, and nothing left to resume."""
    write_json(out / "spec.json", job.spec.model_dump(mode="json"))
    write_json(out / "provenance.json", provenance(job.device, job.precision, job.data.checksum))
    job.resume.delete()


def resume_path(out: Path) -> Path:
    """Where a job with results in `out` keeps what it needs to go on: not a declared output."""
    return out / ".resume.safetensors"
