"""How fast a machine is: a tidy CSV file of measured throughput, one row per network at work. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field

from prunebench.errors import InputError
from prunebench.files import write_csv
from prunebench.parsing import Positive, Strict, parse
from prunebench.runs.estimate import Estimate
from prunebench.runs.spec import TaskSpec
from prunebench.suite.inputs import read_csv
from prunebench.suite.preset import Preset


@dataclass(frozen=True)
class Workload:
    """A network at work: all that its throughput depends on, but the machine.

    network: its options as canonical JSON. channels, side: of its images, in pixels. batch: images per update.
    threads: CPU threads of a job.
    """

    network: str
    channels: int
    classes: int
    side: int
    batch: int
    precision: str
    threads: int

    def __str__(self) -> str:
        images = f"{self.channels}x{self.side}x{self.side}"
        return f"{self.network}, {images}, batch {self.batch}, {self.precision}, {self.threads} thread(s)"


def workload_of(preset: Preset, job: TaskSpec) -> Workload:
    """The workload of a job on a task of the preset."""
    data = preset.datasets[job.dataset]
    options = job.model_dump(mode="json", include={"network"})["network"]
    return Workload(
        network=json.dumps(options, sort_keys=True, separators=(",", ":")),
        channels=data.source.channels,
        classes=data.source.classes,
        side=data.side,
        batch=job.batch_size,
        precision=job.precision,
        threads=preset.resources.threads,
    )


class Throughput(Strict):
    """A row of a machine's file: a workload, and how fast the machine is at it."""

    network: str
    channels: int = Field(ge=1)
    classes: int = Field(ge=1)
    side: int = Field(ge=1)
    batch: int = Field(ge=1)
    precision: Literal["fp32", "bf16"]
    threads: int = Field(ge=1)
    device: str
    """Model of the CPU or GPU."""
    training_images_per_s: Positive
    """Images per second forward, backward and updated."""
    evaluation_images_per_s: Positive
    """Images per second forward alone."""
    start_s: float = Field(ge=0)
    """Seconds that a job takes beside its images: the process, its imports, reading and writing files."""

    @property
    def workload(self) -> Workload:
        """What it is the throughput of."""
        return Workload(**{name: getattr(self, name) for name in Workload.__dataclass_fields__})


COLUMNS = tuple(Throughput.model_fields)


@dataclass(frozen=True)
class Machine:
    """The throughput of one machine. where: what messages call it."""

    rows: Sequence[Throughput]
    where: str

    @classmethod
    def read(cls, path: Path) -> "Machine":
        """The machine of a CSV file; InputError where there is none, or a row is not one of a machine's throughput."""
        records = read_csv(path, COLUMNS)
        if not records:
            raise InputError(f"{path}: no such file" if records is None else f"{path} has no rows")
        rows = [parse(Throughput, record, f"{path}, row {number}") for number, record in enumerate(records, 1)]
        if len({row.device for row in rows}) > 1:
            raise InputError(f"{path} holds rows of several devices: {', '.join(sorted({r.device for r in rows}))}")
        if len({row.workload for row in rows}) < len(rows):
            raise InputError(f"{path} holds a network twice")
        return cls(rows, str(path))

    def write(self, path: Path) -> None:
        """Writes the CSV file."""
        write_csv(path, [row.model_dump() for row in self.rows], COLUMNS)

    @property
    def device(self) -> str:
        """Model of its CPU or GPU."""
        return self.rows[0].device

    @cached_property
    def _by_workload(self) -> Mapping[Workload, Throughput]:
        return {row.workload: row for row in self.rows}

    @cached_property
    def start(self) -> float:
        """Seconds that a job takes beside its images: the mean of the rows."""
        return sum(row.start_s for row in self.rows) / len(self.rows)

    def seconds(self, workload: Workload | None, estimate: Estimate) -> float:
        """Seconds of a job of this estimate; InputError where the network's throughput is not known."""
        seconds = self.start + estimate.seconds
        if workload is None:
            return seconds
        if (row := self._by_workload.get(workload)) is None:
            raise InputError(f"{self.where} has no throughput of {workload}: measure it with --probe")
        return seconds + (
            estimate.training / row.training_images_per_s + estimate.evaluation / row.evaluation_images_per_s
        )
