"""Where a result came from: code, versions, machine."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy
import torch

import prunebench
from prunebench.runs import load, numerics
from prunebench.runs.device import device_name

PACKAGE = Path(prunebench.__file__).parent


@cache
def source_digest() -> str:
    """SHA-256 over the package's Python sources, so that results of different code can be told apart."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def git_state(folder: Path = PACKAGE) -> tuple[str, bool | None]:
    """Commit and whether tracked files differ from it; ("unknown", None) outside a git checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None


def provenance(device: torch.device, precision: str, data: str) -> dict[str, Any]:
    """What `provenance.json` holds beside a run's tables; `data` is the prepared file's checksum."""
    commit, dirty = git_state()
    return {
        "prunebench": importlib.metadata.version("prunebench"),
        "source_digest": source_digest(),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "numerics": numerics.found() if device.type == "cpu" else "native",
        "precision": precision,
        "data_sha256": data,
        "cpu_seconds": round(sum(os.times()[:4]), 2),  # of this process and those that it has waited for
        "others_load": load.others(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
