"""A pruning chain: train the dense network, then prune and train again, cycle by cycle, under one LR schedule."""

from pathlib import Path

from prunebench.config import ChainSpec
from prunebench.files import write_csv
from prunebench.pruning.masks import density_after
from prunebench.training.job import (
    Job,
    State,
    cost_row,
    cycle_row,
    finish,
    measure_gradients,
    new_state,
    prune_,
    train_cycle_,
)

COLUMNS = {
    "epochs": ["cycle", "epoch", "lr", "train_loss", "validation_loss", "validation_accuracy"],
    "cycles": [
        *("cycle", "density", "sparsity", "max_lr", "status"),
        *("validation_loss", "validation_accuracy", "test_loss", "test_accuracy"),
    ],
    "gradients": [
        *("cycle", "share", "sparsity", "weights", "n", "loss", "mean", "std", "iqr_over_1349"),
        *("q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"),
    ],
    "gradient_histograms": ["cycle", "share", "sparsity", "left", "right", "count"],
    "cost": ["cycle", "steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb"],
}
"""The tables that a chain writes into its folder, each `<name>.csv`, with their columns."""


def run_chain(job: Job, out: Path) -> None:
    """Runs the chain of `job.spec` and writes its tables, spec.json and provenance.json into `out`."""
    spec = job.spec
    assert isinstance(spec, ChainSpec)
    state = new_state(job)
    if saved := job.resume.load():
        state.load_(*saved)
        print(f"going on at {state.position}", flush=True)
    schedule = spec.schedule.schedule()
    for cycle in range(state.position["cycle"], spec.pruning.cycles + 1):
        pruned = state.position["cycle"] == cycle or prune_(job, state, cycle)
        if not _train_and_measure(job, state, schedule.policy.at(cycle), spec, pruned):
            break
    _fill_up_after_divergence(job, state, spec)
    for table, columns in COLUMNS.items():
        write_csv(out / f"{table}.csv", state.rows.get(table, []), columns)
    finish(job, out)


def _train_and_measure(job: Job, state: State, max_lr: float, spec: ChainSpec, viable: bool) -> bool:
    def save() -> None:
        job.resume.save(state.tensors(), state.values())

    total = spec.training.epochs * job.steps_per_epoch
    measure = spec.gradients
    shares = {round(share * total): share for share in measure.at} if measure else {}

    def before_update(done: int) -> None:
        if measure and done in shares:
            measure_gradients(job, state, measure.images, shares[done])

    profile = spec.schedule.schedule().profile
    converged = viable and train_cycle_(job, state, profile, max_lr, save, before_update)
    if measure and converged:
        measure_gradients(job, state, measure.images, 1.0)
    state.write("cycles", [cycle_row(job, state, max_lr, converged)])
    state.write("cost", [cost_row(job, state)])
    return converged


def _fill_up_after_divergence(job: Job, state: State, spec: ChainSpec) -> None:
    """A chain that diverged stays at chance in every later cycle: tables have a row for each cycle all the same."""
    last = state.rows["cycles"][-1]
    for cycle in range(last["cycle"] + 1, spec.pruning.cycles + 1):
        kept = density_after(spec.pruning.rate, cycle)
        max_lr = spec.schedule.schedule().policy.at(cycle)
        state.write("cycles", [last | {"cycle": cycle, "density": kept, "sparsity": 1 - kept, "max_lr": max_lr}])
