"""Measures how fast this machine trains and evaluates networks, by the engine's own phases on random images."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import torch

from prunebench.data.batches import Prepared, Split
from prunebench.data.prepare import prepare
from prunebench.errors import InputError
from prunebench.files import write_json
from prunebench.models.kinds import MlpKind
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.device import device_name, pick_device, set_up
from prunebench.runs.engine import begin_, enter_, train_phase
from prunebench.runs.job import EVALUATION_BATCH, Job, State
from prunebench.runs.spec import Arm, Phase, RunSpec, TaskSpec, ToSparsity
from prunebench.runs.updates import Sgd
from prunebench.runs.view import View
from prunebench.suite.machine import Machine, Throughput, Workload

STEPS = 8
"""Updates of a block: between two looks at the clock."""

BLOCKS = 100_000
"""Blocks at most."""

WARM_UP = 2
"""Blocks before those that are measured."""


def measure(workloads: Mapping[Workload, TaskSpec], seconds: float, report: Callable[[str], None]) -> Machine:
    """The throughput of this machine's device at each workload, about so many seconds for each."""
    device = pick_device()
    start = start_seconds()
    report(f"{device_name(device)}: a job's start takes {start:.1f} s")
    rows = []
    for workload, job in workloads.items():
        torch.set_num_threads(workload.threads)
        training, evaluation = Probe(workload, job, device).rates(seconds)
        report(f"{workload}: {training:,.0f} images/s trained, {evaluation:,.0f} evaluated")
        row = vars(workload) | {"device": device_name(device), "start_s": round(start, 2)}
        # Four digits: a file that people can read.
        row |= {
            "training_images_per_s": float(f"{training:.4g}"),
            "evaluation_images_per_s": float(f"{evaluation:.4g}"),
        }
        rows.append(Throughput.model_validate(row))
    return Machine(rows, "this machine")


class Probe:
    """One network in training on random images; half of its weights are pruned, as most are in a study.

    images: of a block. eager: see `Job`.
    """

    def __init__(self, workload: Workload, job: TaskSpec, device: torch.device, eager: bool = False) -> None:
        set_up(device)
        self.device, self.images = device, STEPS * workload.batch
        half = ToSparsity(kind="sparsity", criterion="global_magnitude", sparsity=0.5)
        phase = Phase(epochs=BLOCKS, max_lr=1e-4, update=Sgd(0.9, 5e-4), prune=[half])
        task = {name: getattr(job, name) for name in TaskSpec.model_fields if name not in ("folder", "plugins")}
        spec = RunSpec(folder="probe/throughput", **task, arms=[Arm(name="arm", phases=[phase])])
        draw = torch.Generator().manual_seed(0)
        shape = (max(self.images, EVALUATION_BATCH), workload.channels, workload.side, workload.side)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw).to(device)
        whole = Split(images, torch.randint(0, workload.classes, shape[:1], generator=draw).to(device))
        self.evaluated = whole.first(EVALUATION_BATCH)
        even = (0.5,) * workload.channels, (0.25,) * workload.channels
        data = Prepared(
            whole.first(self.images),
            whole.first(2),
            whole.first(2),
            *even,
            workload.classes,
            "random",
            "",
            verified=True,
        )
        resume = ResumeFile(Path(tempfile.gettempdir()) / "never-written", "", every=float("inf"))
        self.job = Job(spec, data, device, Path(), resume, report=lambda _: self._after_block(), eager=eager)
        self.view = View.at_start(self.job, spec.arms[0], State.new(self.job))

    def train_(self, after_block: Callable[[], None]) -> None:
        """Trains block after block, one epoch each, until `after_block` raises StopIteration."""
        self._after_block = after_block
        enter_(self.view, 0)
        with suppress(StopIteration):
            if not (begin_(self.view) and train_phase(self.view)):
                raise InputError(f"{self.job.spec.task} diverged on random images: its time means nothing")

    def rates(self, seconds: float) -> tuple[float, float]:
        """Images per second of training, in four fifths of the time, and of evaluation: medians of blocks."""
        training, evaluation = _Watch(self.device, seconds * 0.8), _Watch(self.device, seconds * 0.2)
        self.train_(training.note)
        with suppress(StopIteration):
            while True:
                self.job.evaluate(self.view.state.model, self.evaluated)
                evaluation.note()
        return self.images / training.median, len(self.evaluated) / evaluation.median


class _Watch:
    """Takes the time of blocks: of those within `seconds` after the warm-up, three at least."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self._device, self._seconds = device, seconds
        self._times: list[float] = []

    def note(self) -> None:
        """A block is done; raises StopIteration after the last one."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._times.append(time.perf_counter())
        measured = self._times[WARM_UP - 1 :]
        if len(measured) > 3 and measured[-1] - measured[0] >= self._seconds:
            raise StopIteration

    @property
    def median(self) -> float:
        """Seconds of a block."""
        return statistics.median(b - a for a, b in pairwise(self._times[WARM_UP - 1 :]))


def start_seconds() -> float:
    """Seconds that a job takes beside its images: `prunebench do` of one update, the faster of two.

    The first reads the libraries from the disk.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "digits.safetensors"
        sizes = {"size": None, "train": 64, "validation": 2, "test": 2, "split_seed": 0}
        prepare("digits", None, folder, **sizes, out=data, manifest=folder / "digits.json")  # type: ignore[arg-type]
        spec = RunSpec(
            folder="probe/start",
            task="start",
            dataset="digits",
            network=MlpKind(),
            batch_size=64,
            seed=0,
            arms=[Arm(name="arm", phases=[Phase(epochs=1, max_lr=0.1, update=Sgd())])],
        )
        write_json(folder / "spec.json", spec.content())
        command = [sys.executable, "-m", "prunebench", "do", str(folder / "out")]
        command += ["--spec", str(folder / "spec.json"), "--data", str(data)]
        return min(_seconds_of(command) for _ in range(2))


def _seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"a job to measure its start failed: {done.stderr.strip()[-200:]}")
    return time.perf_counter() - began
