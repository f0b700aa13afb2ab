"""Trajectories of the directional-pruning study: SGD, gRDA, and baselines at the sparsity that gRDA reached."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from prunebench.analysis.cost import TRAINING_FACTOR, flops_per_image, sparse_flops
from prunebench.config import TrajectoriesSpec, Trajectory
from prunebench.config.directional import GRDAUpdate
from prunebench.config.tasks import profile_of
from prunebench.errors import InputError
from prunebench.models.initial import initialise_
from prunebench.pruning.masks import Masks, apply_masks_, sparsity
from prunebench.training.arms import Finished, Save, follow_ramp_, run_arms
from prunebench.training.checkpoint import load_tensors, save_tensors
from prunebench.training.job import (
    Job,
    Leg,
    Row,
    State,
    begin_,
    cost_row,
    evaluate,
    finish,
    new_state,
    prunable,
    pruned_masks,
    recalibrate_,
    train_,
)
from prunebench.training.updates import Grda, Sgd, Update

COLUMNS = {
    "epochs": ["arm", "epoch", "lr", "train_loss", "validation_loss", "validation_accuracy"],
    "weights": ["arm", "epoch", "steps", "sparsity", "sparsity_all", "l1", "l2", "threshold"],
    "ends": [
        *("arm", "parameters", "sparsity", "sparsity_all", "status", "validation_loss", "validation_accuracy"),
        *("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
        *("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb"),
    ],
    "layers": ["arm", "layer", "position", "weights", "alive"],
}
"""The tables that a job writes into its folder, each `<name>.csv`, with their columns."""

NETWORKS = "networks.safetensors"

Network = dict[str, torch.Tensor]
"""A state_dict."""


@dataclass(frozen=True)
class Networks:
    """The networks that the job of `spec` leaves: of each arm its last one, and those of the epochs it keeps."""

    spec: TrajectoriesSpec
    tensors: dict[str, torch.Tensor]

    def at(self, arm: str, epoch: int) -> Network | None:
        """An arm's state_dict after this many epochs; None where it had diverged by then."""
        prefix = f"{arm}/{epoch}/"
        found = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        return found if found and all(bool(tensor.isfinite().all()) for tensor in found.values()) else None

    def end(self, arm: str) -> Network | None:
        """An arm's last state_dict; None where it has diverged."""
        return self.at(arm, next(each.epochs for each in self.spec.arms if each.name == arm))


def load_networks(path: Path, spec: TrajectoriesSpec, device: torch.device) -> Networks:
    """The networks in a file that the job of `spec` wrote; InputError where it cannot be read or is another job's."""
    try:
        tensors, metadata = load_tensors(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {str(error)[:120]}") from None
    if metadata.get("spec") != spec.digest():
        raise InputError(f"{path} holds other networks than {spec.folder}")
    return Networks(spec, {name: tensor.to(device) for name, tensor in tensors.items()})


def train_trajectories(job: Job, out: Path, start: Path | None = None) -> None:
    """Trains the arms of `job.spec`; writes tables, spec.json, provenance.json and, where other jobs start from them,
    networks into `out`.

    `start` holds the networks of the minima that arms start from or are matched to; None where no arm needs any.
    """
    spec = job.spec
    assert isinstance(spec, TrajectoriesSpec)
    minima = load_networks(start, spec.minima, job.device) if spec.minima and start else None

    def prepare(arm: Trajectory, finished: Finished) -> tuple[State, Callable[[Save], None]]:
        state = new_state(job)
        if arm.independent:
            initialise_(state.model, spec.seed, "independent")
        begin_(state, 0)
        state.position["sparse_flops"] = 0

        def run(save: Save) -> None:
            _Run(job, state, arm, minima).to_its_end(save)
            if spec.part == "minima":
                state.keep(arm.epochs)
                finished.tensors |= {f"{arm.name}/{name}": tensor for name, tensor in state.kept.items()}

        return state, run

    finished = run_arms(job, spec.arms, prepare, _rows)
    finished.write(out, COLUMNS)
    if spec.part == "minima":
        save_tensors(out / NETWORKS, finished.tensors, {"spec": spec.digest()})
    finish(job, out)


def _rows(state: State) -> dict[str, list[Row]]:
    """An arm's rows: it has no cycles."""
    return {
        table: [{key: value for key, value in row.items() if key in names} for row in state.rows.get(table, [])]
        for table, names in COLUMNS.items()
    }


class _Run:
    """One arm from its beginning, or where a killed job was, to its end."""

    def __init__(self, job: Job, state: State, arm: Trajectory, minima: Networks | None) -> None:
        self.job, self.state, self.arm, self.minima = job, state, arm, minima
        channels, height, width = job.data.train.images.shape[1:]
        self.layers = flops_per_image(state.model, (channels, height, width))
        self.target = self._matched_sparsity()

    def _matched_sparsity(self) -> float | None:
        """Share of zeros among the prunable weights of the arm that this one is matched to; None where there is nothing
        to match: it has diverged, or has no weight left."""
        if self.arm.prune is None or self.minima is None:
            return None
        network = self.minima.end(self.arm.prune.like)
        if network is None:
            return None
        found = sparsity({name: network[name] != 0 for name in prunable(self.job, self.state)})
        return found if found < 1 else None

    def to_its_end(self, save: Save) -> None:
        job, state, arm = self.job, self.state, self.arm
        if arm.prune and self.target is None:
            self._write_end("unmatched")
            return
        spe, profile = job.steps_per_epoch, profile_of(arm.profile)
        # A resumed arm has its beginning behind it.
        converged = "weights" in state.rows or self._begin()
        leg = Leg(
            epochs=arm.epochs,
            lr=lambda step: profile.lr(step, arm.epochs * spe, arm.max_lr),
            update=_update(arm),
            order=arm.order,
            keep=frozenset(arm.keep),
        )
        converged = converged and train_(job, state, leg, save, self._before_update, self._after_epoch)
        if converged and arm.prune and arm.prune.when == "end":
            converged = self._prune()
            # The cut moves every activation: the baseline gets statistics that fit what is left of it.
            recalibrate_(job, state)
        self._write_end("trained" if converged else "diverged")

    def _begin(self) -> bool:
        """Takes up the network that the arm starts from and prunes it; False where that network has diverged."""
        arm, state = self.arm, self.state
        if arm.start is not None:
            assert self.minima is not None
            network = self.minima.end(arm.start)
            if network is None:
                return False
            state.model.load_state_dict(network)
        if arm.prune and arm.prune.when == "start" and not self._prune():
            return False
        self._measure_weights()
        return True

    def _prune(self) -> bool:
        """At once, to the matched sparsity; False where weights or gradients are not finite."""
        match = self.arm.prune
        assert match is not None
        assert self.target is not None
        masks = pruned_masks(self.job, self.state, match.criterion, 1 - self.target)
        if masks is None:
            return False
        self.state.masks = masks
        apply_masks_(prunable(self.job, self.state), masks)
        return True

    def _before_update(self, done: int) -> None:
        match = self.arm.prune
        if match and match.ramp and self.target is not None:
            total = self.arm.epochs * self.job.steps_per_epoch
            follow_ramp_(
                self.job, self.state, match.criterion, match.ramp, self.target, start=1.0, done=done, total=total
            )

    def _after_epoch(self) -> None:
        images = self.job.steps_per_epoch * self.job.spec.training.batch_size
        alive = nonzero(prunable(self.job, self.state))
        self.state.position["sparse_flops"] += round(TRAINING_FACTOR * images * sparse_flops(self.layers, alive))
        self._measure_weights()

    def _measure_weights(self) -> None:
        state = self.state
        everything = [p.detach() for p in state.model.parameters()]
        epoch = state.position["epoch"]
        row = {
            "epoch": epoch,
            "steps": epoch * self.job.steps_per_epoch,
            "sparsity": sparsity(nonzero(prunable(self.job, state))),
            "sparsity_all": sparsity(nonzero(dict(state.model.named_parameters()))),
            "l1": sum(float(p.abs().sum(dtype=torch.float64)) for p in everything),
            "l2": sum(float(p.double().square().sum()) for p in everything) ** 0.5,
            "threshold": state.threshold,
        }
        state.write("weights", [row])

    def _write_end(self, status: str) -> None:
        """What the arm ended with. A diverged one stands at chance; an unmatched one has not been trained."""
        job, state = self.job, self.state
        masks, everything = nonzero(prunable(job, state)), nonzero(dict(state.model.named_parameters()))
        row: Row = {
            "parameters": sum(mask.numel() for mask in everything.values()),
            "sparsity": sparsity(masks),
            "sparsity_all": sparsity(everything),
            "status": status,
        }
        if status == "diverged":
            row |= dict.fromkeys(("validation_accuracy", "test_accuracy"), 1 / job.data.classes)
        if status == "trained":
            splits = {"validation": job.data.validation, "train": job.data.train, "test": job.data.test}
            for name, split in splits.items():
                row[f"{name}_loss"], row[f"{name}_accuracy"] = evaluate(job, state.model, split)
            layers = enumerate(masks.items())
            sizes = [(name, i, mask.numel(), int(mask.count_nonzero())) for i, (name, mask) in layers]
            state.write(
                "layers", [dict(zip(("layer", "position", "weights", "alive"), size, strict=True)) for size in sizes]
            )
        state.write("ends", [row | cost_row(job, state) | {"flops_sparse": state.position["sparse_flops"]}])


def nonzero(weights: dict[str, torch.nn.Parameter]) -> Masks:
    """Masks of what is not zero; a NaN is not."""
    return {name: p.detach() != 0 for name, p in weights.items()}


def _update(arm: Trajectory) -> Update:
    update = arm.update
    if isinstance(update, GRDAUpdate):
        return Grda(update.c, update.mu, update.spare_norm_and_bias)
    return Sgd(update.momentum, update.weight_decay, update.l1)
