"""The engine: carries out a `RunSpec`, arm by arm and phase by phase, from wherever a killed job was.

Everything that a study trains goes through `train`: dense networks, pruning chains, the oracle's candidates, retraining
after a prune, trajectories of an update. A NaN or infinite loss ends an arm, which is recorded at chance
accuracy from there on: divergence is a result. What dropout and its like draw is a pure function of (seed, epoch of
the data's order, update), as the order itself is.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from prunebench.analysis.cost import TRAINING_FACTOR, peak_memory_mb, sparse_flops
from prunebench.analysis.overlap import pack
from prunebench.data.batches import Augment, Batch, train_batches
from prunebench.files import write_csv
from prunebench.models.batch_norm import recompute_statistics_
from prunebench.pruning.masks import Masks, density, nonzero, prunable_parameters
from prunebench.pruning.masks import sparsity as share_pruned
from prunebench.runs.checkpoint import group
from prunebench.runs.job import Job, Row, State
from prunebench.runs.networks import record_of, save_networks, start_record
from prunebench.runs.probes import GRADIENT_BATCH
from prunebench.runs.prune import begin_phase_, follow_ramp_
from prunebench.runs.select import rank
from prunebench.runs.spec import Matched, RunSpec
from prunebench.runs.step import Step, step_of
from prunebench.runs.view import View
from prunebench.seeding import global_draws

COLUMNS = {
    "epochs": (
        *("arm", "phase", "epoch", "lr", "train_loss", "validation_loss", "validation_accuracy"),
        *("sparsity", "steps", "clock", "flops", "flops_sparse"),
    ),
    "phases": (
        *("arm", "phase", "density", "sparsity", "sparsity_start", "status", "max_lr"),
        *("validation_loss", "validation_accuracy", "train_loss", "train_accuracy", "test_loss", "test_accuracy"),
        *("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb", "clock"),
    ),
}
"""The tables that every job writes, beside those of its probes. In `epochs`, steps, clock and FLOPs are the arm's so
far; in `phases`, all but the clock are the phase's."""

COSTS = ("steps", "images", "flops", "flops_sparse", "seconds")
"""Columns that are 0 for a phase that never began."""


def train(job: Job[RunSpec], out: Path) -> None:
    """Trains the arms of `job.spec`; writes tables, networks that are handed on, spec and provenance into `out`.

    Of several processes each trains on its part of every batch, and the first one writes.
    """
    spec, resumed = job.spec, job.resume.load()
    state = State.new(job)
    if resumed:
        state.handed = group(resumed[0], "handed", job.device)  # the start of an arm may need it
        state.position.arm = resumed[1]["position"]["arm"]
    for number, arm in enumerate(spec.arms[state.position.arm :], state.position.arm):
        state = State.new(job, number, state)
        view = View.at_start(job, arm, state)
        if resumed:
            view.resume_(*resumed)
            resumed = None
            print(f"going on in {arm.name} at {state.position}", flush=True)
        _run_arm(view)
    if job.processes.rank == 0:
        _write_results(job, state, out)
    job.processes.wait()


def _write_results(job: Job[RunSpec], state: State, out: Path) -> None:
    spec = job.spec
    columns = COLUMNS | {
        table: ("arm", "phase", *names) for probe in spec.probes() for table, names in probe.columns.items()
    }
    for table in spec.tables:
        write_csv(out / f"{table}.csv", state.rows.get(table, []), columns[table])
    if spec.hands_on != "nothing":
        wanted = {k: v for k, v in state.handed.items() if k.startswith("masks/") == (spec.hands_on == "masks")}
        layers = [[name, mask.numel()] for name, mask in state.masks.items()]
        save_networks(out, wanted, spec.digest(), state.status, layers=layers)
    job.finish(out)


# --- An arm


def _run_arm(view: View) -> None:
    state, arm = view.state, view.arm
    print(f"arm {arm.name}", flush=True)
    if not _find_match(view):
        enter_(view, 0)
        _write_ends(view, "unmatched", begun=False)
        return
    for number in range(max(state.position.phase, 0), len(arm.phases)):
        if state.position.phase < number:  # a resumed arm has begun its phase already
            enter_(view, number)
            view.viable = view.viable and begin_(view)
        begun = view.viable
        if not (begun and train_phase(view)):
            _write_ends(view, "diverged", begun=begun)
            return
        _write_end(view)
        for probe in view.phase.probes:
            probe.end_phase(view)
    for probe in view.phase.probes:
        probe.end(view)
    state.status[arm.name] = "trained"
    _hand_on(view)


def _find_match(view: View) -> bool:
    """Reads the sparsity of the network that the arm is matched to; False where that network is lost or all zero."""
    for action in (action for phase in view.arm.phases for action in phase.prune if isinstance(action, Matched)):
        record = start_record(action.like, view.job.runs, view.job.device)
        if record is None:
            return False
        view.matched = share_pruned(nonzero({name: record.model[name] for name in view.parameters}))
        if view.matched >= 1:
            return False
    return True


def enter_(view: View, number: int) -> None:
    """Puts the position at the beginning of a phase."""
    at = view.state.position
    at.phase, at.epoch, at.step = number, 0, 0
    view.state.loss_sum.zero_()


def begin_(view: View) -> bool:
    """Prunes, rewinds or re-initialises; False where a criterion's gradients are not finite."""
    state, phase = view.state, view.phase
    for probe in phase.probes:
        probe.before_prune(view)
    sound = begin_phase_(view)
    where = f"{view.arm.name}, begin of phase {view.number}"
    view.job.processes.check_same(where, str(sound), state.masks, state.model.state_dict())
    if not sound:
        return False
    state.density_start = density(state.masks)
    if not phase.carry:
        state.update = phase.update.begin(view.trained_parameters())
    recalibrate_(view)
    if view.number == 0:
        if 0 in phase.keep:
            _keep(view, 0)
        for probe in phase.probes:
            probe.begin(view)
    return True


def recalibrate_(view: View) -> None:
    """Takes batch normalisation's running statistics anew on the first training images, without augmentation.

    Weights that decay by percents per update leave running averages behind: a network at 10 % accuracy by these was at
    66 % by statistics of its own (laptop preset, after a prelude). Training itself does not read them.
    """
    if view.phase.recalibrate:
        batches = view.job.batches(view.job.data.train.first(view.phase.recalibrate), GRADIENT_BATCH)
        with view.job.autocast():
            recompute_statistics_(view.state.model, (images for images, _ in batches))
        view.job.processes.copy_first_(view.state.model.buffers())


def _keep(view: View, epoch: int) -> None:
    view.state.kept |= {f"{epoch}/{name}": tensor for name, tensor in record_of(view.state).tensors().items()}


def _hand_on(view: View) -> None:
    """Hands on what controls that follow the arm and other jobs need of it."""
    state, name, hands_on = view.state, view.arm.name, view.job.spec.hands_on
    if hands_on == "masks" or any(name in arm.follows for arm in view.job.spec.arms):
        state.handed[f"masks/{name}"] = pack(state.masks)[0]
    if hands_on == "kept":
        state.handed |= {f"{name}/{key}": tensor for key, tensor in state.kept.items()}
    if hands_on == "best":
        ends = {row["arm"]: rank(row) for row in state.rows["phases"]}  # each arm's last row
        if state.status[name] == "trained" and all(ends[name] > end for arm, end in ends.items() if arm != name):
            tensors = record_of(state, state.kept).tensors()
            state.handed = {k: v for k, v in state.handed.items() if not k.startswith("best/")}
            state.handed |= {f"best/{key}": tensor for key, tensor in tensors.items()}
            state.status["best"] = "trained"
        state.status.setdefault("best", "diverged")


# --- A phase


def train_phase(view: View) -> bool:
    """Trains the phase to its end, from wherever it is; False where the loss became NaN or infinite."""
    job, state, phase = view.job, view.state, view.phase
    per_epoch = job.steps_per_epoch
    step = step_of(view, job.processes.parallel(state.model.train(), job.data.train.shape))
    while (epoch := state.position.epoch) < phase.epochs:
        if phase.keep_previous and epoch == phase.epochs - 1 and state.position.step == 0:
            # With the weights of normalisation: a job that starts here may prune them, too.
            every = prunable_parameters(state.model, include_norm=True)
            state.previous = {name: p.detach().clone() for name, p in every.items()}
        lr_at = [phase.lr(epoch * per_epoch + number, per_epoch) for number in range(per_epoch)]
        _train_epoch_(view, step, lr_at)
        where = f"{view.arm.name}, phase {view.number}, epoch {epoch}"
        job.processes.check_same(where, state.masks, state.model.state_dict())
        job.processes.add_(state.loss_sum)
        train_loss = float(state.loss_sum) / job.processes.size / per_epoch
        state.position.epoch, state.position.step = epoch + 1, 0
        state.loss_sum.zero_()
        recalibrate_(view)
        if not _write_epoch(view, epoch, lr_at[-1], train_loss):
            return False
        if view.epochs_before + epoch + 1 in phase.keep:
            _keep(view, view.epochs_before + epoch + 1)
        for probe in phase.probes:
            probe.after_epoch(view)
    return True


def _train_epoch_(view: View, step: Step, lr_at: list[float]) -> None:
    """The rest of one epoch, from the position's step on. No step waits for the device."""
    job, state, phase, spec = view.job, view.state, view.phase, view.job.spec
    epoch, decay = state.position.epoch, getattr(phase.update, "weight_decay", 0.0)
    state.model.train()
    masks: Masks | None = None
    with global_draws(job.device, spec.seed, phase.order + epoch, "network", job.processes.rank) as begin_draws:
        for images, labels in _batches(view):
            if job.resume.due():
                job.resume.save(*state.save(job.processes))
            job.resume.keep(state.copy)
            # After the save: a resumed job does this very update again, and no row is written twice.
            done, lr = epoch * len(lr_at) + state.position.step, lr_at[state.position.step]
            follow_ramp_(view, done)
            for probe in phase.probes:
                probe.before_update(view, done)
            if state.masks is not masks:
                masks = state.masks
                step.follow_masks_()
                view.flops_per_update = round(TRAINING_FACTOR * spec.batch_size * sparse_flops(view.layers, masks))
            begin_draws(state.position.step)
            step(images, labels, lr)
            state.clock.add(decay * lr)
            state.flops_sparse += 0 if phase.update.makes_zeros else view.flops_per_update
            state.position.step += 1
    if phase.update.makes_zeros:
        images_seen = len(lr_at) * spec.batch_size
        state.flops_sparse += round(TRAINING_FACTOR * images_seen * sparse_flops(view.layers, nonzero(view.parameters)))


def _batches(view: View) -> Iterator[Batch]:
    """This process's part of the batches of the rest of the epoch."""
    job, spec, at = view.job, view.job.spec, view.state.position
    return train_batches(
        job.data.train,
        batch_size=spec.batch_size,
        seed=spec.seed,
        epoch=view.phase.order + at.epoch,
        augment=Augment(**dict(spec.augmentation)),
        mean=job.data.mean,
        std=job.data.std,
        part=job.processes.part,
        first=at.step,
    )


# --- Rows


def _write_epoch(view: View, epoch: int, lr: float, train_loss: float) -> bool:
    """Writes the epoch's row; False where a loss is NaN or infinite."""
    loss, accuracy = view.evaluate(view.job.data.validation)
    at = view.progress()
    row = {"epoch": epoch, "lr": lr, "train_loss": train_loss, "validation_loss": loss, "validation_accuracy": accuracy}
    row |= {"sparsity": view.sparsity(), "steps": at["steps"], "clock": at["clock"]}
    row |= {"flops": _dense_flops(view, int(at["steps"])), "flops_sparse": view.state.flops_sparse}
    view.write("epochs", [row])
    where = f"{view.arm.name} phase {view.number} epoch {epoch}"
    view.job.report(f"{where}: loss {train_loss:.4f}, validation accuracy {accuracy:.4f}")
    return math.isfinite(train_loss) and math.isfinite(loss)


def _write_end(view: View) -> None:
    """Writes the row of a phase that ended with finite losses."""
    data, row = view.job.data, _cost(view)
    splits = {"train": data.train} if view.job.spec.evaluate_train else {}
    splits |= {"validation": data.validation, "test": data.test}
    if view.phase.epochs:
        row |= {name: view.state.rows["epochs"][-1][name] for name in ("validation_loss", "validation_accuracy")}
        del splits["validation"]
    for name, split in splits.items():
        row[f"{name}_loss"], row[f"{name}_accuracy"] = view.evaluate(split)
    view.write("phases", [row | {"status": "trained"}])


def _write_ends(view: View, status: str, *, begun: bool) -> None:
    """Writes a row for the phase in which an arm is lost and for each later one, which costs nothing.

    A diverged arm is recorded at chance accuracy; an unmatched one was not trained and has no accuracy. begun: whether
    the phase's prunes are done; a phase that never began is recorded at the density that it was to have.
    """
    row, first = _cost(view), view.number
    if status == "diverged":
        row |= dict.fromkeys(("validation_accuracy", "test_accuracy"), 1 / view.job.data.classes)
    for number, phase in enumerate(view.arm.phases[first:], first):
        if number > first:
            view.state.position.phase = number
            row |= dict.fromkeys(COSTS, 0)
        if phase.target is not None and not (number == first and begun):
            row |= {"density": 1 - phase.target, "sparsity": phase.target}
        view.write("phases", [row | {"max_lr": phase.max_lr, "status": status}])
    view.state.status[view.arm.name] = status
    _hand_on(view)


def _cost(view: View) -> Row:
    """Sparsity and cost of the phase so far: updates, images, FLOPs, wall time with evaluations, peak memory."""
    job, state = view.job, view.state
    kept = density(state.masks)
    steps = state.position.epoch * job.steps_per_epoch
    earlier = [row for row in state.rows.get("phases", []) if row["arm"] == view.arm.name]
    return {
        "density": kept,
        "sparsity": 1 - kept,
        "sparsity_start": 1 - state.density_start,
        "max_lr": view.phase.max_lr,
        "steps": steps,
        "images": steps * job.spec.batch_size,
        "flops": _dense_flops(view, steps),
        "flops_sparse": state.flops_sparse - sum(row["flops_sparse"] for row in earlier),
        "seconds": state.seconds - sum(row["seconds"] for row in earlier),
        "peak_memory_mb": peak_memory_mb(job.device),
        "clock": float(state.clock),
    }


def _dense_flops(view: View, steps: int) -> int:
    """FLOPs of so many updates of the network without its zeros left out."""
    return TRAINING_FACTOR * steps * view.job.spec.batch_size * sum(view.layers.values())
