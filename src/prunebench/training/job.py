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
from prunebench.models import build, fresh_state
from prunebench.pruning.after import AfterPrune, after_prune_
from prunebench.pruning.criteria import CRITERIA, ScoreInputs
from prunebench.pruning.masks import density, density_after, full_masks, prunable_parameters
from prunebench.schedules import Profile
from prunebench.training.checkpoint import ResumeFile
from prunebench.training.device import autocast, resolve_precision
from prunebench.training.provenance import provenance
from prunebench.training.sgd import sgd_step_

EVALUATION_BATCH = 1000
GRADIENT_BATCH = 500

Row = dict[str, Any]
"""One line of a tidy table."""


@dataclass
class State:
    """Everything that a killed job needs to go on: tensors, position, and the rows written so far."""

    model: nn.Module
    masks: dict[str, torch.Tensor]
    momentum: list[torch.Tensor]
    loss_sum: torch.Tensor
    previous_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    rewind: dict[str, torch.Tensor] = field(default_factory=dict)
    position: dict[str, int] = field(default_factory=lambda: {"cycle": 0, "epoch": 0, "step": 0})
    rows: dict[str, list[Row]] = field(default_factory=dict)
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
            "momentum": {str(i): buffer for i, buffer in enumerate(self.momentum)},
            "previous": self.previous_weights,
            "rewind": self.rewind,
        }
        flat = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return flat | {"loss_sum": self.loss_sum}

    def values(self) -> dict[str, Any]:
        """All that is not a tensor."""
        return {"position": self.position, "rows": self.rows, "seconds": self.seconds}

    @torch.no_grad()
    def load_(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Takes up a saved state; copies into the tensors there are, so that their memory layout stays as built."""

        def group(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        device = self.loss_sum.device
        self.model.load_state_dict(group("model/"))
        for name, mask in group("mask/").items():
            self.masks[name] = mask.to(device)
        for index, buffer in group("momentum/").items():
            self.momentum[int(index)].copy_(buffer)
        self.previous_weights = {k: v.to(device) for k, v in group("previous/").items()}
        self.rewind = {k: v.to(device) for k, v in group("rewind/").items()}
        self.loss_sum.copy_(tensors["loss_sum"])
        self.position, self.rows, self.seconds_before = values["position"], values["rows"], values["seconds"]


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
    state = State(
        model=model,
        masks=full_masks(_prunable(job, model)),
        momentum=[torch.zeros_like(p) for p in model.parameters()],
        loss_sum=torch.zeros((), device=job.device),
    )
    _keep_rewind_state(job, state)
    return state


def _prunable(job: Job, model: nn.Module) -> dict[str, nn.Parameter]:
    return prunable_parameters(model, include_norm=job.spec.pruning.include_norm)


def prune_(job: Job, state: State, cycle: int) -> bool:
    """Prunes to the density of `cycle` and prepares the weights for its training.

    False, with the masks as they were, where the criterion's gradients are not finite: the network has diverged.
    """
    state.position = {"cycle": cycle, "epoch": first_epoch(job, cycle), "step": 0}
    state.loss_sum.zero_()
    pruning = job.spec.pruning
    criterion = CRITERIA[job.spec.criterion]
    parameters = _prunable(job, state.model)
    gradients = None
    if criterion.needs_gradients:
        batches = job.batches(job.data.train, pruning.score_images, GRADIENT_BATCH)
        gradients = mean_gradients(state.model, parameters, batches)
        if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            return False
    inputs = ScoreInputs(
        weights={name: p.detach() for name, p in parameters.items()},
        masks=state.masks,
        gradients=gradients,
        previous_weights=state.previous_weights or None,
        seed=job.spec.seed,
        cycle=cycle,
    )
    state.masks = criterion.prune(inputs, density_after(pruning.rate, cycle))
    fresh = None
    if pruning.after is AfterPrune.REINITIALISE:
        fresh = fresh_state(state.model, job.spec.seed, "cycle", cycle)
    after_prune_(state.model, state.masks, pruning.after, saved_state=state.rewind or None, fresh_state=fresh)
    for buffer in state.momentum:
        buffer.zero_()
    return True


def first_epoch(job: Job, cycle: int) -> int:
    """The epoch that a cycle's training starts at: rewinding goes back to epoch k of the schedule."""
    pruning = job.spec.pruning
    return pruning.rewind_epoch if cycle > 0 and pruning.after.rewinds else 0


def _lr(job: Job, profile: Profile, max_lr: float, cycle: int, step: int, total: int) -> float:
    if cycle > 0 and not job.spec.pruning.after.restarts_lr:
        step = total - 1  # fine-tuning: the trained weights go on at the schedule's last LR (Renda et al. 2020)
    return profile.lr(step, total, max_lr)


def train_cycle_(
    job: Job,
    state: State,
    profile: Profile,
    max_lr: float,
    save: Callable[[], None],
    before_update: Callable[[int], None] = lambda done: None,
) -> bool:
    """Trains the cycle that `state.position` stands in to its end; False where the loss became NaN or infinite.

    `save` is called when the resume file is due; a resumed state goes on at its very step. `before_update` is called
    with the number of updates that the cycle's schedule has behind it.
    """
    recipe, spe = job.spec.training, job.steps_per_epoch
    cycle = state.position["cycle"]
    needs_previous = CRITERIA[job.spec.criterion].needs_previous_weights
    while (epoch := state.position["epoch"]) < recipe.epochs:
        if needs_previous and epoch == recipe.epochs - 1 and state.position["step"] == 0:
            state.previous_weights = {n: p.detach().clone() for n, p in _prunable(job, state.model).items()}
        lr_at = [_lr(job, profile, max_lr, cycle, epoch * spe + step, recipe.epochs * spe) for step in range(spe)]
        _train_epoch_(job, state, cycle * recipe.epochs + epoch, lr_at, save, before_update)
        train_loss = float(state.loss_sum) / spe
        state.position |= {"epoch": epoch + 1, "step": 0}
        state.loss_sum.zero_()
        validation_loss = _record_epoch(job, state, epoch, lr_at[-1], train_loss)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            return False
        _keep_rewind_state(job, state)
    return True


def _train_epoch_(
    job: Job,
    state: State,
    order: int,
    lr_at: list[float],
    save: Callable[[], None],
    before_update: Callable[[int], None],
) -> None:
    """The rest of one epoch, from `state.position['step']` on. No step waits for the device."""
    recipe, model = job.spec.training, state.model.train()
    parameters: list[torch.Tensor] = list(model.parameters())
    pruned = [(p, state.masks[n]) for n, p in _prunable(job, model).items() if not bool(state.masks[n].all())]
    weights, masks = [p.detach() for p, _ in pruned], [m.to(p.dtype) for p, m in pruned]
    augment = Augment(job.spec.augmentation.pad, job.spec.augmentation.flip)
    batches = train_batches(
        job.data.train,
        batch_size=recipe.batch_size,
        seed=job.spec.seed,
        epoch=order,
        augment=augment,
        mean=job.data.mean,
        std=job.data.std,
    )
    precision = job.precision
    for images, labels in islice(batches, state.position["step"], None):
        if job.resume.due():
            save()
        # After the save: a resumed job measures this very update again, and no row is written twice.
        before_update(state.position["epoch"] * len(lr_at) + state.position["step"])
        with autocast(precision, job.device):
            loss = F.cross_entropy(model(images), labels)
        gradients = list(torch.autograd.grad(loss, parameters))
        sgd_step_(
            parameters,
            gradients,
            state.momentum,
            lr=lr_at[state.position["step"]],
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        if masks:
            torch._foreach_mul_(weights, masks)
        state.loss_sum += loss.detach()
        state.position["step"] += 1


def _keep_rewind_state(job: Job, state: State) -> None:
    """Keeps the dense network's weights as they are at epoch k, for rewinding."""
    at_k = state.position["cycle"] == 0 and state.position["epoch"] == job.spec.pruning.rewind_epoch
    if job.spec.pruning.after is AfterPrune.REWIND_WEIGHTS and at_k:
        state.rewind = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def _record_epoch(job: Job, state: State, epoch: int, lr: float, train_loss: float) -> float:
    """Writes the epoch's row; returns the validation loss in nats."""
    loss, accuracy = evaluate(job, state.model, job.data.validation)
    cycle = state.position["cycle"]
    row = {"cycle": cycle, "epoch": epoch, "lr": lr, "train_loss": train_loss}
    state.write("epochs", [row | {"validation_loss": loss, "validation_accuracy": accuracy}])
    job.report(f"cycle {cycle} epoch {epoch}: loss {train_loss:.4f}, validation accuracy {accuracy:.4f}")
    return loss


@torch.no_grad()
def evaluate(job: Job, model: nn.Module, split: Split) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy in [0, 1] on a whole split, in the job's precision."""
    model.eval()
    loss = torch.zeros((), device=job.device)
    correct = torch.zeros((), device=job.device, dtype=torch.int64)
    for images, labels in job.batches(split):
        with autocast(job.precision, job.device):
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


def cost_row(job: Job, state: State) -> Row:
    """What the cycle cost: updates, images, FLOPs of its training, wall time with evaluations, peak memory."""
    cycle = state.position["cycle"]
    steps = (state.position["epoch"] - first_epoch(job, cycle)) * job.steps_per_epoch
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
    snapshot = gradient_statistics(state.model, _prunable(job, state.model), state.masks, batches)
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
