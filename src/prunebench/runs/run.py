"""Runs one job: reads its inputs, lets it resume where an earlier try was killed, calls its function."""

import contextlib
import os
import select
import signal
import threading
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prunebench.data.batches import Prepared, load_prepared
from prunebench.errors import InputError
from prunebench.files import RESUME_FILE, RUN_RECORD, check, seal, sha256_of, sole_writer
from prunebench.parsing import digest_of
from prunebench.runs import load
from prunebench.runs import numerics as cpu_numerics
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.device import check_precision, pick_device, set_up
from prunebench.runs.distributed import Processes, joined
from prunebench.runs.job import Job
from prunebench.runs.progress import reporting
from prunebench.runs.provenance import source_digest
from prunebench.runs.spec import RunSpec, Spec, TaskSpec

SNAKEMAKE = "PRUNEBENCH_SNAKEMAKE"
"""The environment variable that names the process of the Snakemake which started a job, on the same machine."""


def resume_path(out: Path) -> Path:
    """Where a job with results in `out` keeps what it needs to go on: not a declared output."""
    return out / RESUME_FILE


def spec_class(run: Callable[..., Any]) -> type[Spec]:
    """The class of the specs that a job's function takes, by the annotation of its first parameter; else InputError."""
    hints = list(typing.get_type_hints(run).values()) if callable(run) else []
    (first, *_) = (typing.get_args(hints[0]) or (hints[0],)) if hints else (None,)
    if not (isinstance(first, type) and issubclass(first, Spec)):
        raise InputError(f"{run!r:.80} does no job: its first parameter is annotated with no spec")
    return first


def end_with(process: int) -> None:
    """From now on the end of a process is a SIGTERM to this one: a Snakemake that is killed tells its jobs nothing.

    Nothing where the system cannot tell (Linux can).
    """

    def wait() -> None:
        try:
            select.select([os.pidfd_open(process)], [], [])
        except ProcessLookupError:  # it has ended already
            pass
        except (AttributeError, OSError):
            return
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def run_job(
    spec: Spec,
    run: Callable[..., None],
    out: Path,
    runs: Path,
    data: Path | None = None,
    *,
    threads: int = 1,
    numerics: cpu_numerics.Numerics = "portable",
    workers: int = 0,
    save_every: float | None = None,
    eager: bool = False,
) -> None:
    """Does the job of `spec`: `run(Job, out)` for one on a task's data, `run(spec, runs, out)` for another.

    runs: the folder of all runs, in which other jobs' results lie. data: the prepared data set. workers: processes that
    decode images which stream from shards. numerics: how the CPU computes, which this process has to be told before it
    imports torch (`prunebench.runs.numerics`). eager: see `Job`. Under torchrun, its processes do a job that trains
    arms together (`prunebench.runs.distributed`). Raises InputError where a file that the job needs is missing, damaged
    or not that of the spec, where several processes cannot do it, and where this process computes otherwise than asked.
    """
    cpu_numerics.check(numerics)
    load.watch()
    torch.set_num_threads(threads)
    if SNAKEMAKE in os.environ:
        end_with(int(os.environ[SNAKEMAKE]))
    with joined() as processes:
        if isinstance(spec, RunSpec):
            processes.check_batch(spec.batch_size)
        else:
            processes.check_alone(spec.folder)
        inputs = [_digest(runs / need) for need in spec.needs]
        if not isinstance(spec, TaskSpec):
            with sole_writer(out):
                run(spec, runs, out)
                seal(out / RUN_RECORD, [out / name for name in spec.files])
        elif data is None:
            raise InputError(f"job {spec.folder} needs the prepared data set '{spec.dataset}'")
        else:
            read = partial(load_prepared, data, workers=workers)
            _run_task(spec, run, out, runs, inputs, read, save_every, processes, eager)


def _run_task(
    spec: TaskSpec,
    run: Callable[..., None],
    out: Path,
    runs: Path,
    inputs: list[str],
    read: Callable[[torch.device], Prepared],
    save_every: float | None,
    processes: Processes,
    eager: bool,
) -> None:
    device = pick_device(processes.local_rank)
    set_up(device)
    prepared = read(device)
    check_precision(spec.precision, device)
    machine = (device.type, cpu_numerics.found(), str(torch.get_num_threads()), torch.__version__, str(processes.size))
    # All that a resumed job must share with the killed one.
    shared = digest_of([spec.digest(), source_digest(), prepared.checksum, *inputs, *machine])
    processes.check_same(f"job {spec.folder}: spec, data, code or machine", shared)
    resume = ResumeFile(resume_path(out), shared, save_every, processes)
    epochs = sum(arm.epochs for arm in spec.arms) if isinstance(spec, RunSpec) else 1
    alone = sole_writer(out) if processes.rank == 0 else contextlib.nullcontext()
    with alone, reporting(epochs) as report:
        resume.stop_on_signals()  # while it waits for another process there is nothing to save
        run(Job(spec, prepared, device, runs, resume, report, processes, eager), out)


def _digest(path: Path) -> str:
    if not path.exists():
        raise InputError(f"{path}: No such file or directory; the job that writes it comes first")
    check(path)
    return sha256_of(path)
