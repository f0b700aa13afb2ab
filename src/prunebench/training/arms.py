"""A job of several trainings, its *arms*, one after another: a process start costs about what a small one trains."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import torch

from prunebench.config.arms import Ramp
from prunebench.files import write_csv
from prunebench.pruning.amounts import cubic_density
from prunebench.pruning.masks import apply_masks_
from prunebench.training.job import Job, Row, State, prunable, pruned_masks

Save = Callable[[], None]


class Named(Protocol):
    """An arm's spec: anything with a name."""

    @property
    def name(self) -> str: ...


A = TypeVar("A", bound=Named)


class Finished:
    """What arms that are done leave to the job: the rows of their tables, and tensors under any names."""

    def __init__(self, rows: dict[str, list[Row]], tensors: dict[str, torch.Tensor]) -> None:
        self.rows, self.tensors = rows, tensors

    def write(self, out: Path, columns: dict[str, list[str]]) -> None:
        """Writes each table with its columns into `out`, as `<name>.csv`."""
        for table, names in columns.items():
            write_csv(out / f"{table}.csv", self.rows.get(table, []), names)


def run_arms(
    job: Job,
    arms: Iterable[A],
    prepare: Callable[[A, Finished], tuple[State, Callable[[Save], None]]],
    rows_of: Callable[[State], dict[str, list[Row]]],
) -> Finished:
    """Runs the arms in turn, from where a killed job was.

    `prepare` gives an arm's state at its beginning, which a resumed arm then overwrites with where it was, and what
    runs the arm from its state on, with a function that saves. `rows_of` gives the rows that an arm leaves.
    """
    finished, number, resumed = Finished({}, {}), 0, job.resume.load()
    if resumed:
        tensors, values = resumed
        kept = {k.removeprefix("finished/"): v for k, v in tensors.items() if k.startswith("finished/")}
        finished, number = Finished(values["finished"], kept), values["arm"]
    for at, arm in enumerate(list(arms)[number:], number):
        state, run = prepare(arm, finished)
        if resumed:
            state.load_(*resumed)
            resumed = None
            print(f"going on in {arm.name} at {state.position}", flush=True)

        def save(state: State = state, at: int = at) -> None:
            done = {f"finished/{name}": tensor for name, tensor in finished.tensors.items()}
            job.resume.save(state.tensors() | done, state.values() | {"finished": finished.rows, "arm": at})

        print(f"arm {arm.name}", flush=True)
        run(save)
        for table, rows in rows_of(state).items():
            finished.rows.setdefault(table, []).extend({"arm": arm.name} | row for row in rows)
    return finished


def follow_ramp_(
    job: Job, state: State, criterion: str, ramp: Ramp, sparsity: float, *, start: float, done: int, total: int
) -> None:
    """Gradual pruning to `sparsity` on its cubic curve from density `start`, before update `done` of `total`.

    The target is reached before the last update.
    """
    last = min(max(1, round(ramp.share * total)), total - 1)
    if not (done == last or (0 < done < last and done % ramp.every == 0)):
        return
    # The network may be sparser than the target already.
    target = cubic_density(start, min(start, 1 - sparsity), done / last if last else 1.0)
    masks = pruned_masks(job, state, criterion, target, cycle=state.position["cycle"])
    if masks is not None:  # None: gradients have become infinite, which the epoch's loss will show
        state.masks = masks
        apply_masks_(prunable(job, state), masks)
