"""Jobs on a SLURM cluster: what a job asks for, what it does when its time is up.

How it is used: docs/cluster.md. Imports no torch; `requests` does when it is called.
"""

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from prunebench.runs.estimate import Sizes
from prunebench.runs.spec import TaskSpec
from prunebench.suite.costs import OPEN_TEST, JobCost, costs_of
from prunebench.suite.machine import Machine
from prunebench.suite.paper import Stage
from prunebench.suite.plan import Plan
from prunebench.suite.preset import Preset

MACHINE = "PRUNEBENCH_MACHINE"
"""Names the file of the cluster's measured throughput, as `prunebench plan --probe --save` writes it."""

SLOW = f"Jobs ask for the time of a slow machine: measure yours and name the file in {MACHINE} (docs/cluster.md)"
"""What is said where nobody measured a machine."""

CHOICES = {
    "SBATCH_PARTITION": "slurm_partition",
    "SBATCH_ACCOUNT": "slurm_account",
    "PRUNEBENCH_GPU_MODEL": "gpu_model",
}
"""Environment variables -> resources of a job. The first two are sbatch's own, but Snakemake would choose a partition
and an account itself; sbatch reads its others, such as SBATCH_QOS and SBATCH_CONSTRAINT, alone."""

SHORT = 2e7
"""Pixels of all images that a job trains, up to which it is short: at most 20 s for small networks [ours: laptop]."""

CPU_FLOPS, CPU_IMAGE_SECONDS = 1e10, 2e-3
GPU_FLOPS, GPU_IMAGE_SECONDS = 2e12, 2e-4
"""Of a core and of a GPU whose throughput nobody measured: FLOP/s, and seconds that each image takes besides.

On purpose slow [ours]: on a core of an AMD EPYC ResNet-20 trains at 7e10 FLOP/s, a small MobileNet takes 1.4e-3 s."""

LEAST_MINUTES, MARGIN = 10, 2
"""Minutes that every job asks for, and by how much an estimate is multiplied: nodes differ, file systems are slow."""

BASE_MB, GPU_BASE_MB = 700, 4000
"""Resident memory of a job beside its data and network: Python, torch, on a GPU CUDA's libraries [ours: 0.3 GB is the
most that a job of the laptop preset took; that on a GPU is a guess]."""

COPIES = 8
"""Times that a network's weights are in memory: itself, gradients, an update's state, a mask, what was kept, a save."""

FLOPS_PER_ACTIVATION = 64
"""FLOPs of a forward pass per number that it keeps for the backward pass; ResNet-20 has twice as many [ours]."""


def choices(gpus: int) -> dict[str, int | str]:
    """Resources of a job: its GPUs, and what the environment names. Without GPUs none is named, not 0 of them, which
    executors of other clusters take for a wish.
    """
    named = {resource: os.environ[name] for name, resource in CHOICES.items() if os.environ.get(name)}
    if not gpus:
        named.pop("gpu_model", None)
    return named | ({"gpu": gpus} if gpus else {})


def is_submitted(preset: Preset, stage: Stage, gpus: int) -> bool:
    """Whether a cluster's queue does the jobs of a stage; others run where Snakemake runs, since a job of seconds would
    wait longer than it runs. Told without torch, so roughly: by the pixels that the longest of one seed's jobs trains.
    """
    if stage.local:
        return False
    if gpus or preset.resources.submit == "all":
        return True
    seed = getattr(stage.jobs[0], "seed", None)
    return any(_pixels(preset, job) > SHORT for job in stage.jobs if getattr(job, "seed", None) == seed)


def _pixels(preset: Preset, job: object) -> float:
    if not isinstance(job, TaskSpec):
        return 0
    data = preset.datasets[job.dataset]
    estimate = job.estimate(Sizes(data.train, data.validation, data.test or OPEN_TEST))
    return (estimate.training + estimate.evaluation / 3) * data.source.channels * data.side**2


@dataclass(frozen=True)
class Request:
    """What a job asks for at its first try: minutes, at most `most` at any try, and megabytes of memory."""

    minutes: int
    most: int
    mem_mb: int

    def at(self, name: str, attempt: int) -> int:
        """`runtime` or `mem_mb` at a try: the second gets twice as much, in case that the first had too little."""
        return min(self.minutes * attempt, self.most) if name == "runtime" else self.mem_mb * attempt


def requests(plan: Plan) -> dict[str, Request]:
    """What each job asks for, by its folder. Raises InputError where MACHINE names no file of a machine."""
    where = os.environ.get(MACHINE)
    machine = Machine.read(Path(where)) if where else None
    return {folder: request(cost, plan.preset, machine) for folder, cost in costs_of(plan).items()}


def request(cost: JobCost, preset: Preset, machine: Machine | None) -> Request:
    """What a job asks for: MARGIN times what a machine of that throughput takes, else a slow one, and its memory."""
    resources = preset.resources
    seconds = machine.seconds(cost.workload, cost.estimate) if machine else _slow_seconds(cost, resources.gpu)
    minutes = min(LEAST_MINUTES + math.ceil(MARGIN * seconds / 60), resources.runtime)
    return Request(minutes, resources.runtime, max(resources.mem_mb, _memory(cost, preset)))


def _slow_seconds(cost: JobCost, gpus: int) -> float:
    flops, each = (GPU_FLOPS, GPU_IMAGE_SECONDS) if gpus else (CPU_FLOPS, CPU_IMAGE_SECONDS)
    return cost.estimate.seconds + cost.images * each + cost.flops / flops


def _memory(cost: JobCost, preset: Preset) -> int:
    """Megabytes: libraries, the data set with a copy while it is read, copies of the network, on a CPU activations."""
    size = 0.0
    if isinstance(cost.job, TaskSpec) and cost.network:
        data, gpus = preset.datasets[cost.job.dataset], preset.resources.gpu
        images = 0 if data.source.sharded else data.train + data.validation + (data.test or OPEN_TEST)
        size += 2 * images * data.source.channels * data.side**2
        size += COPIES * cost.network.state_bytes + cost.network.file_bytes(cost.estimate)
        size += 0 if gpus else 4 * cost.job.batch_size * cost.network.flops / FLOPS_PER_ACTIVATION
    return (GPU_BASE_MB if preset.resources.gpu else BASE_MB) + math.ceil(size / 1e6)


def queue_again() -> None:
    """Puts the SLURM job that this process belongs to back into the queue, if its time is nearly up: it has saved.

    A job that runs and is told to stop is near its limit: SLURM takes one that is cancelled, requeued or preempted out
    of the state RUNNING before it tells it so.
    """
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return
    state = subprocess.run(["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True, check=False)
    if state.stdout.strip() == "RUNNING":
        subprocess.run(["scontrol", "requeue", number], check=False)
