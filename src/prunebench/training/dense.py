"""Dense training: the network that pruning starts from, trained once for every job that does."""

import json
from pathlib import Path

from safetensors import SafetensorError

from prunebench.config import DenseSpec
from prunebench.errors import InputError
from prunebench.files import write_csv
from prunebench.training.checkpoint import load_tensors, save_tensors
from prunebench.training.job import Job, Leg, State, cost_row, cycle_row, finish, is_finite, new_state, train_
from prunebench.training.updates import Sgd

COLUMNS = {
    "epochs": ["cycle", "epoch", "lr", "train_loss", "validation_loss", "validation_accuracy"],
    "cycles": [
        *("cycle", "density", "sparsity", "max_lr", "status"),
        *("validation_loss", "validation_accuracy", "test_loss", "test_accuracy"),
    ],
    "cost": ["cycle", "steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb"],
}
"""The tables that dense training writes into its folder, each `<name>.csv`, with their columns."""

NETWORK = "network.safetensors"


def train_dense(job: Job, out: Path) -> None:
    """Trains the network of `job.spec`; writes its state, tables, spec.json and provenance.json into `out`.

    The state is what a killed job would resume from at the end of its dense training: a pruning chain that starts from
    it goes on as if it had trained the network itself. A diverged network is handed on, too.
    """
    spec = job.spec
    assert isinstance(spec, DenseSpec)
    state = new_state(job)
    if saved := job.resume.load():
        state.load_(*saved)
        print(f"going on at {state.position}", flush=True)
    profile, total = spec.profile_of(), spec.training.epochs * job.steps_per_epoch
    leg = Leg(
        epochs=spec.training.epochs,
        lr=lambda step: profile.lr(step, total, spec.max_lr),
        update=Sgd(spec.training.momentum, spec.training.weight_decay),
        order=0,
        keep=frozenset(spec.keep),
    )
    converged = train_(job, state, leg, lambda: job.resume.save(state.tensors(), state.values()))
    values = json.dumps(state.values())
    save_tensors(out / NETWORK, state.tensors(), {"spec": spec.digest(), "values": values})
    state.write("cycles", [cycle_row(job, state, spec.max_lr, converged)])
    state.write("cost", [cost_row(job, state)])
    for table, columns in COLUMNS.items():
        write_csv(out / f"{table}.csv", state.rows[table], columns)
    finish(job, out)


def start_from_(job: Job, state: State, dense: DenseSpec, start: Path) -> bool:
    """Takes up the dense network in `start`; False where it diverged.

    Raises InputError where the file cannot be read or holds another network than `dense`.
    """
    try:
        tensors, metadata = load_tensors(start)
        if metadata.get("spec") != dense.digest():
            raise InputError(f"{start} is another network than {dense.folder}")
        state.load_(tensors, json.loads(metadata["values"]))
    except (SafetensorError, OSError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(f"{start} is not a dense network of this preset: {str(error)[:120]}") from None
    return is_finite(state)
