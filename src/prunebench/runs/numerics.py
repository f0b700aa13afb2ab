"""How a CPU computes: pinned, every x86-64 CPU with AVX2 gives the same bytes (docs/portable.md). Without torch."""

import json
import os
from collections.abc import Mapping
from typing import Literal

from prunebench.errors import InputError
from prunebench.runs.cpu import cpu_flags

Numerics = Literal["portable", "native"]
"""`portable`: the same bytes on every x86-64 CPU with AVX2. `native`: the CPU's own, widest instructions."""

PINS: Mapping[str, str] = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}
"""Variables of the environment, which libraries read when they first compute: convolutions (oneDNN), torch's own
kernels, its matrix products and vector functions (MKL: with `AVX2` Intel's CPUs and others differ), linear algebra of
NumPy and SciPy (OpenBLAS, whose sums depend on the number of threads, too), NumPy's functions."""

BEFORE = "PRUNEBENCH_BEFORE_PINS"
"""The variable that holds, as JSON, what the pins have replaced: a process that inherits them can take them back."""


def pin() -> None:
    """Pins this process and those that it starts; before torch and NumPy are imported. Elsewhere than on x86-64 with
    AVX2 it does nothing."""
    if can_be_portable():
        os.environ.setdefault(BEFORE, json.dumps({name: os.environ.get(name) for name in PINS}))
        os.environ.update(PINS)


def unpin() -> None:
    """Gives the environment back what `pin` took, here or in a process that started this one; before torch computes."""
    for name, value in json.loads(os.environ.pop(BEFORE, "{}")).items():
        os.environ.pop(name, None)
        os.environ.update({} if value is None else {name: value})


def can_be_portable() -> bool:
    """Whether this machine is an x86-64 with AVX2."""
    return "avx2" in cpu_flags()


def found() -> Numerics:
    """How this process computes on the CPU, as far as its environment says."""
    pinned = can_be_portable() and all(os.environ.get(name) == value for name, value in PINS.items())
    return "portable" if pinned else "native"


def check(wanted: Numerics) -> None:
    """Raises InputError where a process that could compute portably, and should, does not, or does and should not."""
    if wanted == "native" and found() != "native":
        raise InputError(f"numerics: native, but the environment has the pins of portable: unset {', '.join(PINS)}")
    if wanted == "portable" and can_be_portable() and found() != "portable":
        unset = next(name for name, value in PINS.items() if os.environ.get(name) != value)
        raise InputError(
            f"numerics: portable, but {unset} is not {PINS[unset]}: call prunebench.runs.numerics.pin() before torch "
            "is imported, or ask for native"
        )
