"""What else a machine does while a job runs: times that decide claims are worth no more than it allows."""

import os
import time

import psutil

_IDLE = ("idle", "iowait", "guest", "guest_nice")  # guests' time is in user's, too
_started: list[float] = []


def _reading() -> list[float]:
    """Seconds that this machine's processors have worked, those of this process among them, and wall time."""
    busy = sum(seconds for name, seconds in psutil.cpu_times()._asdict().items() if name not in _IDLE)
    return [busy, sum(os.times()[:4]), time.perf_counter()]


def watch() -> None:
    """A job begins in this process."""
    _started[:] = _reading()


def others() -> float | None:
    """The share of the machine's processors that others took since `watch`, in [0, 1]; None before it.

    Of the last try alone, where a job was killed and went on.
    """
    if not _started:
        return None
    busy, own, wall = (after - before for after, before in zip(_reading(), _started, strict=True))
    whole = wall * (os.cpu_count() or 1)
    return round(min(max((busy - own) / whole, 0.0), 1.0), 4) if whole > 0 else None
