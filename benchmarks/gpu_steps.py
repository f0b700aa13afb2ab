"""How fast a GPU trains: a chain launched kernel by kernel, a chain of recorded updates, several chains side by side.

`nondeterministic` is a recorded chain whose kernels may add in any order, which the suite's never do.

A chain is a process that trains one network, as `prunebench do` does; the rows are tasks of a preset. Chains of a row
begin together, after each has warmed up. The share of the device's limit is the FLOPs of the images, forward and
backward, over those of a large matrix product in the same precision, measured in the same run. On a CPU the same rows
run without recordings; `--seconds 0.2` shows that the script works.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prunebench.analysis.cost import TRAINING_FACTOR
from prunebench.errors import InputError
from prunebench.runs.device import autocast, device_name, pick_device, set_up
from prunebench.runs.spec import TaskSpec
from prunebench.suite.costs import network_of
from prunebench.suite.forecast import preset_of
from prunebench.suite.machine import Workload, workload_of
from prunebench.suite.plan import make_plan
from prunebench.suite.throughput import WARM_UP, Probe

COLUMNS = ("task", "batch", "precision", "way", "chains", "images_per_s", "ratio_to_eager", "share_of_limit")

MATRIX = {"cuda": 8192, "cpu": 512}
"""Rows and columns of the matrices whose product is the device's limit [ours]."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    task: str
    way: str
    chains: int


def job_of(preset: str, task: str) -> tuple[Workload, TaskSpec]:
    """The first job of a preset's plan on a task."""
    content = preset_of(preset, [])
    for stage in make_plan(content).stages.values():
        for job in stage.jobs:
            if isinstance(job, TaskSpec) and job.task == task:
                return workload_of(content, job), job
    raise InputError(f"preset {preset} has no jobs on task '{task}'")


def chain(options: argparse.Namespace) -> int:
    """One chain of a row: says when it is ready, begins when it is told to, gives images and seconds."""
    torch.set_num_threads(1)
    workload, job = job_of(options.preset, options.chain)
    probe = Probe(workload, job, pick_device(), eager=options.way == "eager")
    if options.way == "nondeterministic":
        torch.use_deterministic_algorithms(False)
    images, began = -WARM_UP * probe.images, 0.0

    def after_block() -> None:  # the loss at its end has waited for the device
        nonlocal began, images
        images += probe.images
        if images == 0:
            print("ready", flush=True)
            sys.stdin.readline()
            began = time.perf_counter()
        elif images > 0 and time.perf_counter() - began >= options.seconds:
            raise StopIteration

    probe.train_(after_block)
    print(json.dumps([images, time.perf_counter() - began]), flush=True)
    return 0


def measure(row: Row, options: argparse.Namespace) -> float:
    """Images per second of all chains of a row together."""
    command = [sys.executable, __file__, "--preset", options.preset, "--seconds", str(options.seconds)]
    command += ["--chain", row.task, "--way", row.way]
    chains = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(row.chains)
    ]
    for process in chains:
        if process.stdout.readline() != "ready\n":  # type: ignore[union-attr]
            raise SystemExit(f"a chain failed: {' '.join(command)}")
    for process in chains:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    rates = [json.loads(process.communicate()[0]) for process in chains]
    return sum(images / seconds for images, seconds in rates)


def limit(precision: str, device: torch.device) -> float:
    """FLOPs per second of a large matrix product: the best of six."""
    size, best = MATRIX[device.type], 0.0
    a, b = torch.randn(2, size, size, device=device)
    with autocast(precision, device):
        for _ in range(6):
            began = time.perf_counter()
            (a @ b)[0, 0].item()
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def lines_of(options: argparse.Namespace, rows: Sequence[Row]) -> list[Mapping[str, object]]:
    """The rows that begin before the time is over, printed as they come."""
    until, device = time.monotonic() + 60 * options.minutes, pick_device()
    set_up(device)
    limits = {precision: limit(precision, device) for precision in ("fp32", "bf16")}
    for precision, flops in limits.items():
        print(f"{device_name(device)}: {flops / 1e12:.3g} TFLOP/s in a matrix product in {precision}", flush=True)
    lines: list[Mapping[str, object]] = []
    eager: dict[str, float] = {}
    for row in rows:
        if time.monotonic() > until:
            print(f"no time left for {len(rows) - len(lines)} of {len(rows)} rows", flush=True)
            break
        workload, job = job_of(options.preset, row.task)
        rate = measure(row, options)
        eager.setdefault(row.task, rate)  # a task's first row
        flops = rate * TRAINING_FACTOR * network_of(job, workload).flops
        precision = workload.precision
        values = row.task, workload.batch, precision, row.way, row.chains, rate
        line = dict(zip(COLUMNS, (*values, rate / eager[row.task], flops / limits[precision]), strict=True))
        print(*(f"{value:.4g}" if isinstance(value, float) else value for value in line.values()), flush=True)
        lines.append(line)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the options, measures, prints the rows and writes them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="workstation", help="whose tasks (default: %(default)s)")
    papers = ["cifar10-resnet20", "cifar10-vgg16", "cifar10-wrn28x10"]
    parser.add_argument("--tasks", nargs="+", default=papers, help="default: %(default)s")
    parser.add_argument("--chains", type=int, nargs="*", default=[2, 4, 8], help="side by side, of the first task")
    parser.add_argument("--seconds", type=float, default=5, help="for each row, after its start (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=4, help="no row begins later (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write the rows")
    parser.add_argument("--chain", help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.chain is not None:
        return chain(options)
    rows = [Row(task, way, 1) for task in options.tasks for way in ("eager", "recorded", "nondeterministic")]
    rows += [Row(options.tasks[0], way, chains) for chains in options.chains for way in ("eager", "recorded")]
    lines = lines_of(options, rows)
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
