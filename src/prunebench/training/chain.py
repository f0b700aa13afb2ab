"""A pruning chain: train the dense network, then prune and train again, cycle by cycle, under one LR schedule."""

from pathlib import Path

from prunebench.config import ChainSpec
from prunebench.files import write_csv
from prunebench.pruning.criteria import get_criterion
from prunebench.pruning.masks import density_after
from prunebench.training import dense
from prunebench.training.iterative import cycle_leg, first_epoch, prune_
from prunebench.training.job import (
    Job,
    State,
    cost_row,
    cycle_row,
    finish,
    measure_gradients,
    new_state,
    prunable,
    train_,
)

COLUMNS = dense.COLUMNS | {
    "gradients": [
        *("cycle", "share", "sparsity", "weights", "n", "loss", "mean", "std", "iqr_over_1349"),
        *("q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"),
    ],
    "gradient_histograms": ["cycle", "share", "sparsity", "left", "right", "count"],
}
"""The tables that a chain writes into its folder, each `<name>.csv`, with their columns."""


def run_chain(job: Job, out: Path, start: Path | None = None) -> None:
    """Runs the chain of `job.spec` and writes its tables, spec.json and provenance.json into `out`.

    `start` is the dense network that the chain starts from; None: the chain trains its own.
    """
    spec = job.spec
    assert isinstance(spec, ChainSpec)
    state = new_state(job)
    if saved := job.resume.load():
        state.load_(*saved)
        print(f"going on at {state.position}", flush=True)
    elif start is not None:
        assert spec.dense is not None
        viable = dense.start_from_(job, state, spec.dense, start)
        if viable and get_criterion(spec.criterion).needs_previous_weights:
            earlier = state.kept_network(spec.training.epochs - 1)
            state.previous_weights = {name: earlier[name].clone() for name in prunable(job, state)}
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

    cycle = state.position["cycle"]
    leg = cycle_leg(job, cycle, spec.schedule.schedule().profile, max_lr)
    converged = viable and train_(job, state, leg, save, before_update)
    if measure and converged:
        measure_gradients(job, state, measure.images, 1.0)
    state.write("cycles", [cycle_row(job, state, max_lr, converged)])
    state.write("cost", [cost_row(job, state, first_epoch(job, cycle))])
    return converged


def _fill_up_after_divergence(job: Job, state: State, spec: ChainSpec) -> None:
    """A chain that diverged stays at chance in every later cycle: tables have a row for each cycle all the same."""
    last = state.rows["cycles"][-1]
    for cycle in range(last["cycle"] + 1, spec.pruning.cycles + 1):
        kept = density_after(spec.pruning.rate, cycle)
        max_lr = spec.schedule.schedule().policy.at(cycle)
        state.write("cycles", [last | {"cycle": cycle, "density": kept, "sparsity": 1 - kept, "max_lr": max_lr}])
