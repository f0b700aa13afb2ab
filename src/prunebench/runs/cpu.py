"""What this machine's processor is, without torch."""

import platform
from functools import cache
from pathlib import Path

BF16 = frozenset(("avx512_bf16", "amx_bf16"))
"""Flags of CPUs that multiply bf16 natively; elsewhere it would be emulated, slower than fp32."""


@cache
def cpu_flags() -> frozenset[str]:
    """The CPU's feature flags as Linux names them; empty on other systems."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def cpu_name() -> str:
    """The CPU's model."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
