"""Arms from a dense network: prune a little or much, train on, and watch what happens to the survivors.

A job runs its arms one after another. All start from the same dense network and see the same images in the same order,
so that two arms differ in nothing but what their phases say.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from prunebench.analysis.cost import TRAINING_FACTOR, flops_per_image, sparse_flops
from prunebench.analysis.overlap import pack, unpack
from prunebench.analysis.shedding import shed
from prunebench.config import Arm, Phase, RetrainSpec
from prunebench.config.arms import Blocks, NOfM, Shed, ToSparsity
from prunebench.pruning.masks import Masks, alive, apply_masks_, density, keep_top
from prunebench.pruning.structured import block_masks, groupable, n_of_m_masks
from prunebench.training.arms import Finished, Save, follow_ramp_, run_arms
from prunebench.training.checkpoint import save_tensors
from prunebench.training.dense import start_from_
from prunebench.training.job import (
    Job,
    Leg,
    Row,
    State,
    begin_,
    cost_row,
    cycle_row,
    finish,
    new_state,
    prunable,
    pruned_masks,
    recalibrate_,
    train_,
)
from prunebench.training.trace import Trace
from prunebench.training.updates import Sgd

COLUMNS = {
    "epochs": [
        *("arm", "phase", "epoch", "lr", "train_loss", "validation_loss", "validation_accuracy"),
        *("sparsity", "steps", "clock", "flops", "flops_sparse"),
    ],
    "phases": [
        *("arm", "phase", "sparsity_start", "sparsity", "status"),
        *("validation_loss", "validation_accuracy", "test_loss", "test_accuracy"),
        *("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb", "clock"),
    ],
    "shedding": [
        *("arm", "followed", "phase", "epoch", "steps", "clock", "sparsity", "survivors", "tau"),
        *("absolute", "relative", "removable", "filters", "dead_filters", "channels", "dead_channels", "in_dead"),
    ],
    "histograms": ["arm", "followed", "epoch", "left", "right", "count"],
    "occupancy": ["arm", "phase", "moment", "m", "alive", "blocks"],
}
"""The tables that a job writes into its folder, each `<name>.csv`, with their columns."""

MASKS = "masks.safetensors"


def retrain(job: Job, start: Path, out: Path) -> None:
    """Runs the arms of `job.spec` from the dense network in `start`; writes tables, kept masks (where they are asked
    for), spec.json and provenance.json into `out`."""
    spec = job.spec
    assert isinstance(spec, RetrainSpec)
    layers: list[tuple[str, int]] = []

    def prepare(arm: Arm, finished: Finished) -> tuple[State, Callable[[Save], None]]:
        state, viable = _dense_state(job, start)
        reference = {name: p.detach().clone() for name, p in prunable(job, state).items()}
        layers[:] = [(name, tensor.numel()) for name, tensor in reference.items()]
        # The survivors that a control follows are those of arms that are done.
        followed = {name: _unpack(finished.tensors[name], layers, reference) for name in arm.follows}

        def run(save: Save) -> None:
            _run_arm(job, state, Trace(job, arm, reference, followed), viable, save)
            finished.tensors[arm.name] = pack(state.masks)[0]

        return state, run

    finished = run_arms(job, spec.arms, prepare, _rows)
    finished.write(out, COLUMNS)
    kept = finished.tensors if spec.measure.masks else {}
    save_tensors(out / MASKS, kept, {"layers": json.dumps(layers)})
    finish(job, out)


def _rows(state: State) -> dict[str, list[Row]]:
    """An arm's rows; what a chain calls a cycle is a phase here."""
    tables = {table: rows for table, rows in state.rows.items() if table in COLUMNS}
    return {
        table: [{("phase" if key == "cycle" else key): value for key, value in row.items()} for row in rows]
        for table, rows in tables.items()
    }


def _dense_state(job: Job, start: Path) -> tuple[State, bool]:
    """The dense network, before any phase, and whether it converged."""
    assert isinstance(job.spec, RetrainSpec)
    state = new_state(job)
    viable = start_from_(job, state, job.spec.dense, start)
    state.rows, state.seconds_before = {}, 0.0
    begin_(state, -1)
    state.position["sparse_flops"] = 0
    return state, viable


def _unpack(packed: torch.Tensor, layers: list[tuple[str, int]], like: dict[str, torch.Tensor]) -> Masks:
    flat = unpack(packed, layers)
    return {name: flat[name].reshape(tensor.shape).to(tensor.device) for name, tensor in like.items()}


def _run_arm(job: Job, state: State, trace: Trace, viable: bool, save: Callable[[], None]) -> None:
    channels, height, width = job.data.train.images.shape[1:]
    layers = flops_per_image(state.model, (channels, height, width))
    for number, phase in enumerate(trace.arm.phases):
        if state.position["cycle"] > number:
            continue  # a resumed arm has this phase behind it
        if state.position["cycle"] < number:
            # Momentum goes on, as it does in a control that has no such boundary; a rewound network has none.
            begin_(state, number, keep_momentum=number > 0 and phase.rewind is None)
            viable = viable and _begin_phase(job, state, trace, phase)
        viable = viable and _train_phase(job, state, trace, phase, layers, save)
        _end_phase(job, state, trace, phase, viable)
        if not viable:
            _fill_up_after_divergence(state, trace)
            return
    trace.end(state)


def _begin_phase(job: Job, state: State, trace: Trace, phase: Phase) -> bool:
    """Prunes, rewinds and measures; False where a criterion's gradients are not finite."""
    trace.occupancy(state, "before")
    for action in phase.prune:
        masks = _masks_of(job, state, trace, action)
        if masks is None:
            return False
        state.masks = masks
        apply_masks_(prunable(job, state), masks)
    if phase.rewind is not None:
        state.model.load_state_dict(state.kept_network(phase.rewind))
        apply_masks_(prunable(job, state), state.masks)
    state.position["alive"] = alive(state.masks)
    if state.position["cycle"] == 0:
        recalibrate_(job, state)
        trace.begin(state)
    return True


def _masks_of(job: Job, state: State, trace: Trace, action: Any) -> Masks | None:
    """The masks after a prune at the beginning of a phase."""
    if isinstance(action, ToSparsity):
        if action.ramp or action.sparsity == 0:
            return state.masks
        # Counted from the arm's end, so that a prelude's random prune is not the one-shot arm's.
        draw = state.position["cycle"] - len(trace.arm.phases)
        return pruned_masks(job, state, action.criterion, 1 - action.sparsity, cycle=draw)
    weights = {name: p.detach().abs() for name, p in prunable(job, state).items()}
    if isinstance(action, Shed):
        return harvest(weights, trace.reference, state.masks, action)
    # A pattern takes every weight into account, pruned ones at their 0: each group has exactly n, each block is whole.
    size = action.m if isinstance(action, NOfM) else action.size
    grouped = set(groupable(state.masks, size))
    free = {n: torch.ones_like(mask) if n in grouped else mask for n, mask in state.masks.items()}
    if isinstance(action, NOfM):
        return n_of_m_masks(weights, free, action.n, action.m)
    assert isinstance(action, Blocks)
    return block_masks(weights, free, 1 - action.sparsity, action.size)


def harvest(
    magnitudes: dict[str, torch.Tensor], reference: dict[str, torch.Tensor], masks: Masks, action: Shed
) -> Masks:
    """Prunes what has been shed, and of it the weights that have shrunk most where all of it would be too much."""
    gone = shed(magnitudes, reference, masks, action.below)
    kept = {name: mask & ~gone[name] for name, mask in masks.items()}
    if density(kept) >= 1 - action.at_most:
        return kept
    ratios = {name: torch.nan_to_num(w / reference[name].abs(), nan=0.0) for name, w in magnitudes.items()}
    return keep_top(ratios, masks, min(1 - action.at_most, density(masks)))


def _train_phase(
    job: Job, state: State, trace: Trace, phase: Phase, layers: dict[str, int], save: Callable[[], None]
) -> bool:
    assert isinstance(job.spec, RetrainSpec)
    spe = job.steps_per_epoch
    ramp = next((a for a in phase.prune if isinstance(a, ToSparsity) and a.ramp), None)
    before = trace.arm.phases[: state.position["cycle"]]

    costs = _SparseCost(job, layers)

    def before_update(done: int) -> None:
        if ramp and ramp.ramp:
            start = state.position["alive"] / sum(mask.numel() for mask in state.masks.values())
            total = phase.epochs * spe
            follow_ramp_(job, state, ramp.criterion, ramp.ramp, ramp.sparsity, start=start, done=done, total=total)
        trace.before_update(state, done)
        state.position["sparse_flops"] += costs.of_update(state.masks)

    def after_epoch() -> None:
        _record_cost(job, state, trace, layers)
        trace.after_epoch(state)

    leg = Leg(
        epochs=phase.epochs,
        lr=lambda step: phase.lr(step, spe),
        update=Sgd(job.spec.training.momentum, phase.weight_decay),
        order=job.spec.training.epochs + sum(earlier.epochs for earlier in before),
        recalibrate=True,
    )
    return train_(job, state, leg, save, before_update, after_epoch)


class _SparseCost:
    """FLOPs of an update with each layer scaled by its density, counted anew only when the masks change."""

    def __init__(self, job: Job, layers: dict[str, int]) -> None:
        self._images, self._layers = job.spec.training.batch_size, layers
        self._masks: Masks | None = None
        self._flops = 0

    def of_update(self, masks: Masks) -> int:
        if masks is not self._masks:
            self._masks = masks
            self._flops = round(TRAINING_FACTOR * self._images * sparse_flops(self._layers, masks))
        return self._flops


def _record_cost(job: Job, state: State, trace: Trace, layers: dict[str, int]) -> None:
    """Completes the epoch's row: sparsity now, and what the arm has cost so far."""
    progress = trace.progress(state)
    images = progress["steps"] * job.spec.training.batch_size
    state.rows["epochs"][-1] |= {
        "sparsity": 1 - density(state.masks),
        "steps": progress["steps"],
        "clock": progress["clock"],
        "flops": TRAINING_FACTOR * images * sum(layers.values()),
        "flops_sparse": state.position["sparse_flops"],
    }


def _end_phase(job: Job, state: State, trace: Trace, phase: Phase, viable: bool) -> None:
    """Writes the phase's row, as `cycle_row` and `cost_row` write a cycle's."""
    total = sum(mask.numel() for mask in state.masks.values())
    cost = cost_row(job, state)
    state.write("cost", [cost])
    row = cycle_row(job, state, phase.max_lr, viable) | cost
    row |= {
        "flops_sparse": state.position["sparse_flops"]
        - sum(earlier["flops_sparse"] for earlier in state.rows.get("phases", [])),
        "sparsity_start": 1 - state.position["alive"] / total if "alive" in state.position else row["sparsity"],
        "clock": trace.progress(state)["clock"],
    }
    state.write("phases", [{key: row[key] for key in row if key not in ("density", "max_lr")}])
    if viable:
        trace.occupancy(state, "after")


def _fill_up_after_divergence(state: State, trace: Trace) -> None:
    """An arm that diverged stays at chance in every later phase: tables have a row for each phase all the same."""
    last = state.rows["phases"][-1]
    for number in range(last["cycle"] + 1, len(trace.arm.phases)):
        costless = {"steps": 0, "images": 0, "flops": 0, "flops_sparse": 0, "seconds": 0.0}
        state.write("phases", [last | {"cycle": number} | costless])
