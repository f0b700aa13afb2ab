"""Resume files: what a killed job needs to end with the same bytes as an undisturbed one.

Snakemake deletes a job's declared outputs before it reruns the job, so this file is not one of them. It is written to a
temporary name and renamed, carries the digest of the run's spec, and is deleted when the job is done.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from prunebench.files import remove_leftovers, write_bytes
from prunebench.runs.distributed import ALONE, Processes, digest_of_contents

SAVE_EVERY = 20.0
"""Least seconds between two saves, unless a job is told others [ours]."""

SHARE = 0.01
"""Of the time, at most, that saves take, and copies in memory as much again [ours]."""

GO_ON = os.EX_TEMPFAIL
"""Exit code, 75, of a job that was told to stop before its end: the same command goes on where it was."""

Saved = tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]
"""Tensors and values of a job's state."""


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Writes tensors of any device and layout as safetensors, and JSON about them, whole or not at all.

    The JSON is one entry of the file's metadata: safetensors writes several in an order that changes from call to call.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(on_cpu, {"about": json.dumps(about, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors of a safetensors file and what `save_tensors` wrote about them; {} for a file of another program.

    Raises SafetensorError, OSError or JSONDecodeError where it cannot be read.
    """
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {}).get("about", "{}"))
        return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118


def join(groups: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Groups of tensors as one: the names become `<group>/<name>`."""
    return {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}


def group(tensors: Mapping[str, torch.Tensor], name: str, device: torch.device) -> dict[str, torch.Tensor]:
    """One of the groups that `join` joined, on a device."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): tensor.to(device) for k, tensor in tensors.items() if k.startswith(prefix)}


def _checksum(spec: str, values: str, tensors: Mapping[str, torch.Tensor]) -> str:
    return digest_of_contents([spec, values, dict(sorted(tensors.items()))])


class ResumeFile:
    """The file in which a job saves its state: every so many seconds, and at once when it is told to stop.

    every: seconds between two saves; None: SAVE_EVERY, or more where saves would take more than SHARE of the time. It
    changes no result. Of several processes the first writes the file and all read it; its clock, and the signal to any
    of them, decide for all.
    """

    def __init__(self, path: Path, digest: str, every: float | None = None, processes: Processes = ALONE) -> None:
        self.path = path
        self._digest = digest
        self._every = every
        self._processes = processes
        self._last = time.monotonic()
        self._cost = 0.0  # seconds of the last save
        self._signal = 0  # that this process has had
        self._stop = 0  # by which the job stops
        self._kept: Saved | None = None  # newer than the file
        self._next_copy = 0.0

    def stop_on_signals(self) -> None:
        """From now on SIGTERM, SIGUSR1 and SIGINT end the job at its next step, after a save."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and values of the last save, or None. A file damaged or of another spec is named and ignored.

        Raises InputError where processes have read different files.
        """
        saved = self._load()
        self._processes.check_same(f"{self.path}", json.dumps(saved[1]) if saved else "")
        return saved

    def _load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        if not self.path.exists():
            return None
        try:
            tensors, about = load_tensors(self.path)
            if about["sha256"] != _checksum(about["spec"], about["values"], tensors):
                raise ValueError("its content does not have its checksum")
            if about["spec"] != self._digest:
                line = "belongs to another spec, data, code or machine: starting from the beginning"
                print(f"{self.path} {line}", flush=True)
                return None
            return tensors, json.loads(about["values"])
        except (SafetensorError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
            print(f"{self.path} cannot be read ({error}): starting from the beginning", flush=True)
            return None

    @property
    def interval(self) -> float:
        """Seconds between two saves."""
        return max(SAVE_EVERY, self._cost / SHARE) if self._every is None else self._every

    def due(self) -> bool:
        """Whether a save is due: the interval has passed, or the job was told to stop.

        Every process of the job has to ask, before each update.
        """
        late = time.monotonic() - self._last >= self.interval
        self._stop, late = self._processes.decide(self._signal, late, self.interval)
        return late or self._stop > 0

    def save(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Saves; where the job was told to stop, exits afterwards: GO_ON, or 130 after an interrupt (Ctrl-C)."""
        begin = time.monotonic()
        if self._processes.rank == 0:
            text = json.dumps(values, sort_keys=True)
            on_cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
            about = {"spec": self._digest, "values": text, "sha256": _checksum(self._digest, text, on_cpu)}
            save_tensors(self.path, on_cpu, about)
        self._last = time.monotonic()
        self._cost = self._last - begin
        self._kept = None
        if self._stop:
            self._exit(f"state saved in {self.path}")

    def keep(self, copy: Callable[[], Saved]) -> None:
        """Keeps a copy of the state in memory for `leave`, as often as takes SHARE of the time.

        Asked before each update or measurement. copy: gives the state in memory that nothing changes afterwards.
        """
        begin = time.monotonic()
        if self._processes.size > 1 or begin < self._next_copy:
            return
        self._kept = copy()
        self._next_copy = begin + (time.monotonic() - begin) / SHARE

    def leave(self) -> None:
        """Asked again and again within a long measurement: where the job was told to stop, saves what `keep` has kept
        and exits as `save` does. Several processes go on to the next update, where all stop together.
        """
        if not self._signal or self._processes.size > 1:
            return
        self._stop = self._signal
        if self._kept:
            self.save(*self._kept)
        self._exit(f"{self.path} is of the last save" if self.path.exists() else "there was nothing to save yet")

    def _exit(self, line: str) -> NoReturn:
        self._processes.wait()  # torchrun ends all processes once one has ended
        print(f"told to stop (signal {self._stop}): {line}", flush=True)
        raise SystemExit(128 + signal.SIGINT if self._stop == signal.SIGINT else GO_ON)

    def delete(self) -> None:
        """Removes the file, and what a killed save has left: the job is done."""
        self.path.unlink(missing_ok=True)
        remove_leftovers(self.path)
