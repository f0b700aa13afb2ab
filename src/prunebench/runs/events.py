"""TensorBoard event files of a job that trains: its tables' rows while they come. They change no result.

A job that resumes writes them anew from its first row, so none is there twice. Imports no torch.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prunebench.errors import InputError

FOLDER = "tensorboard"
"""The folder within a job's, with one folder of event files per arm."""

FILES = "events.out.tfevents.*"
"""What TensorBoard calls its files."""

TAGS = {
    "epochs": {
        "train_loss": "loss/train",
        "validation_loss": "loss/validation",
        "validation_accuracy": "accuracy/validation",
        "lr": "lr",
        "sparsity": "sparsity",
    },
    "phases": {"test_loss": "loss/test", "test_accuracy": "accuracy/test"},
}
"""Columns of a job's tables that TensorBoard shows, over the arm's updates."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def with_events(run: Callable[..., None]) -> Callable[..., None]:
    """A function that trains as `run` does and writes event files beside its tables.

    Raises InputError where the package `tensorboard` is missing.
    """
    if not find_spec("tensorboard"):
        needs = "resources.tensorboard needs the package tensorboard"
        raise InputError(f"{needs}: pip install 'prunebench[tensorboard]', or set it to false")

    def trained(job: Any, out: Path) -> None:
        if job.processes.rank:
            run(job, out)
            return
        events = Events(out / FOLDER)
        try:
            run(replace(job, watch=events.follow), out)
        finally:
            events.close()

    return trained


class Events:
    """The event files of one job in a folder; those of an earlier try of it are removed."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # before the job's clock starts

        self._folder = folder
        self._open: Callable[..., Any] = SummaryWriter
        self._writers: dict[str, Any] = {}
        self._written: Counter[str] = Counter()
        self._steps: Counter[str] = Counter()
        for left in sorted(folder.glob(f"*/{FILES}")):
            left.unlink()
            with suppress(OSError):
                left.parent.rmdir()

    def follow(self, rows: Rows) -> None:
        """Writes those of a job's rows that it has not written yet."""
        for table in TAGS:
            for row in rows.get(table, ())[self._written[table] :]:
                self._write(table, row)
                self._written[table] += 1

    def _write(self, table: str, row: Mapping[str, Any]) -> None:
        arm = str(row["arm"])
        if table == "phases":  # whose steps are the phase's
            self._steps[arm] += row["steps"]
        at = self._steps[arm] if table == "phases" else row["steps"]
        for column, tag in TAGS[table].items():
            if row.get(column) is not None:
                self._writer(arm).add_scalar(tag, row[column], at)
        self._writer(arm).flush()

    def _writer(self, arm: str) -> Any:
        if arm not in self._writers:
            self._writers[arm] = self._open(str(self._folder / re.sub(r"[^\w=+-]+", "_", arm)))
        return self._writers[arm]

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
