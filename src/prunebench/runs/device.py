"""Where and in what precision a job computes."""

import ctypes
import fcntl
import itertools
import os
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import torch

from prunebench.errors import InputError
from prunebench.runs.cpu import BF16, cpu_flags, cpu_name


def pick_device(index: int | None = None) -> torch.device:
    """The CUDA device with this number, or the CPU where there is none. None: the one that has the fewest jobs."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if index is None and count > 1:
        index = least_taken(count, Path(tempfile.gettempdir()))
    device = torch.device("cuda", index or 0)
    torch.cuda.set_device(device)
    return device


def least_taken(count: int, folder: Path) -> int:
    """The GPU of `count` visible ones that the fewest jobs of this user and machine have; this process now has it, too.

    A place on a GPU is a file below `folder` that its job has locked: the system unlocks it when the job ends, however
    it ends.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    places = folder / f"prunebench-gpus-{os.getuid()}-{visible}"
    places.mkdir(mode=0o700, exist_ok=True)
    for number in itertools.count():
        place, gpu = divmod(number, count)
        file = open(places / f"{place}-{gpu}", "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _PLACES.append(file)
        return gpu
    raise AssertionError


_PLACES: list[IO[str]] = []
"""Locked as long as they are open, which is as long as the process lives."""


KEPT = {-3: 32 << 20, -1: 256 << 20}
"""glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in bytes: blocks up to the first come from the heap, which keeps as
much as the second of what was freed at its end [ours]."""


def keep_freed_memory() -> None:
    """From now on glibc keeps what is freed, within KEPT; another C library goes on as it does.

    An evaluation frees and asks for megabytes at every layer. By default they go back to the system, which zeroes them
    page by page before it gives them again: a third of an evaluation's time (benchmarks/cpu.py). No number depends on
    it.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter, size in KEPT.items():
            library.mallopt(parameter, size)


def set_up(device: torch.device) -> None:
    """What every job sets before it computes: the same bytes again on the same device, as far as torch can give them.

    On a GPU: deterministic kernels (torch warns where an operation has none), and fp32 that is fp32, not TF32, whose
    products have 10 bits. On a CPU: no denormal numbers, into which weights decay, and which x86 multiplies many times
    slower.
    """
    torch.set_flush_denormal(True)
    keep_freed_memory()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first call
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a kernel per tensor
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def check_precision(precision: str, device: torch.device) -> None:
    """Raises InputError for bf16 on a device that would emulate it, slower than fp32.

    CUDA multiplies it natively from compute capability 8.0, x86 with AVX512_BF16 or AMX.
    """
    if precision == "bf16":
        cuda = device.type == "cuda"
        native = torch.cuda.get_device_capability(device) >= (8, 0) if cuda else BF16 & cpu_flags()
        if not native:
            raise InputError(f"precision: bf16, but {device_name(device)} has no native bf16: ask for fp32")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The autocast context of a precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def device_name(device: torch.device) -> str:
    """The device's model, for provenance."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()
