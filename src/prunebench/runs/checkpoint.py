"""Resume files: what a killed job needs to end with the same bytes as an undisturbed one.

Snakemake deletes a job's declared outputs before it reruns the job, so this file is not one of them. It is written to a
temporary name and renamed, carries the digest of the run's spec, and is deleted when the job is done.
"""

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from prunebench.files import write_bytes
from prunebench.runs.distributed import ALONE, Processes


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


class ResumeFile:
    """The file in which a job saves its state: every so many seconds, and at once when it is told to stop.

    every: seconds between two saves; it changes no result. Of several processes the first writes the file and all read
    it; its clock, and the signal to any of them, decide for all.
    """

    def __init__(self, path: Path, digest: str, every: float, processes: Processes = ALONE) -> None:
        self.path = path
        self._digest = digest
        self._every = every
        self._processes = processes
        self._last = time.monotonic()
        self._signal = 0  # that this process has had
        self._stop = 0  # by which the job stops

    def stop_on_signals(self) -> None:
        """From now on SIGTERM and SIGINT end the job at its next step, after a save."""
        for number in (signal.SIGTERM, signal.SIGINT):
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
            if about.get("spec") != self._digest:
                line = "belongs to another spec, data, code or machine: starting from the beginning"
                print(f"{self.path} {line}", flush=True)
                return None
            return tensors, about["values"]
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            print(f"{self.path} cannot be read ({error}): starting from the beginning", flush=True)
            return None

    def due(self) -> bool:
        """Whether a save is due: `every` seconds have passed, or the job was told to stop.

        Every process of the job has to ask, before each update.
        """
        late = time.monotonic() - self._last >= self._every
        self._stop, late = self._processes.decide(self._signal, late, self._every)
        return late or self._stop > 0

    def save(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Saves; where the job was told to stop, exits with 128 + the signal's number afterwards."""
        if self._processes.rank == 0:
            save_tensors(self.path, tensors, {"spec": self._digest, "values": values})
        self._last = time.monotonic()
        if self._stop:
            self._processes.wait()  # torchrun ends all processes once one has ended
            print(f"told to stop (signal {self._stop}): state saved in {self.path}", flush=True)
            raise SystemExit(128 + self._stop)

    def delete(self) -> None:
        """Removes the file: the job is done."""
        self.path.unlink(missing_ok=True)
