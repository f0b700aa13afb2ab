"""Networks on disk: those that a job hands on, and the files that arms start from.

A file holds records, `<arm>/<epoch>/model/...` (the winner's `best/model/...`) with `mask/...`, one bit per weight,
where weights are pruned and `previous/...` where the weights of one epoch before were kept. Its metadata names the spec
and each arm's status.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from prunebench.analysis.overlap import pack, unpack
from prunebench.errors import InputError
from prunebench.models import fitted_state
from prunebench.pruning.masks import Masks
from prunebench.runs.checkpoint import group, join, load_tensors, save_tensors
from prunebench.runs.job import Network, State
from prunebench.runs.spec import NETWORKS_FILE, Best, File, Trained


@dataclass(frozen=True)
class Record:
    """A network at one moment: state_dict, masks (empty: nothing is pruned), weights of one epoch before (or none), and
    what a winner of a selection kept of earlier epochs."""

    model: Network
    masks: Masks
    previous: Network
    kept: Network = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, in memory of their own; a mask as one bit per weight (`overlap.pack`)."""
        packed = {name: pack({name: mask})[0] for name, mask in self.masks.items()}
        joined = join({"model": self.model, "mask": packed, "previous": self.previous, "kept": self.kept})
        return {name: tensor.clone() for name, tensor in joined.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> "Record":
        """The record of these tensors; InputError where a mask does not fit the weight of its name."""
        model, packed, previous, kept = (group(tensors, name, device) for name in ("model", "mask", "previous", "kept"))
        masks: Masks = {}
        for name, bits in packed.items():
            if name not in model:
                raise InputError(f"a mask is that of '{name}', which is no tensor of its network")
            weight = model[name]
            masks |= {name: unpack(bits, [(name, weight.numel())])[name].reshape(weight.shape).to(device)}
        return cls(model, masks, previous, kept)


def record_of(state: State, kept: Network | None = None) -> Record:
    """The network in training as it is now; without masks where nothing is pruned."""
    pruned = not all(bool(mask.all()) for mask in state.masks.values())
    return Record(state.model.state_dict(), state.masks if pruned else {}, state.previous, kept or {})


@dataclass(frozen=True)
class Networks:
    """The networks that a job handed on."""

    path: Path
    tensors: Mapping[str, Tensor]
    spec: str
    status: Mapping[str, str]

    def at(self, arm: str, epoch: int, device: torch.device) -> Record | None:
        """An arm's network after so many epochs; None where the arm has diverged.

        Raises InputError where the file should hold it and does not.
        """
        return self._record(arm, f"{arm}/{epoch}", device)

    def best(self, device: torch.device) -> Record | None:
        """The best arm's last network; None where every arm has diverged."""
        return self._record("best", "best", device)

    def _record(self, arm: str, name: str, device: torch.device) -> Record | None:
        tensors = group(self.tensors, name, device)
        status = self.status.get(arm)
        if status is None or (not tensors and status == "trained"):
            raise InputError(f"{self.path} holds no network {name}")
        whole = tensors and all(bool(tensor.isfinite().all()) for tensor in tensors.values())
        return Record.of(tensors, device) if whole else None


def load_networks(path: Path, specs: tuple[str, ...]) -> Networks:
    """The networks in a file that the job of one of these specs, by digest, wrote; else InputError."""
    try:
        tensors, about = load_tensors(path)
        networks = Networks(path, tensors, about["spec"], about["status"])
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as networks of a job: {str(error)[:120]}") from None
    if networks.spec not in specs:
        raise InputError(f"{path} holds networks of another spec than {path.parent.name} has now: run its job again")
    return networks


def save_networks(out: Path, tensors: Mapping[str, Tensor], spec: str, status: Mapping[str, str], **more: Any) -> None:
    """Writes the networks that a job hands on."""
    save_tensors(out / NETWORKS_FILE, tensors, {"spec": spec, "status": status, **more})


def start_record(start: Trained | Best, runs: Path, device: torch.device, epoch: int | None = None) -> Record | None:
    """The network that an arm starts from, or the one of another `epoch` of the same arm; None where it diverged."""
    path = runs / start.run / NETWORKS_FILE
    if isinstance(start, Best):
        return load_networks(path, tuple(start.specs)).best(device)
    return load_networks(path, (start.spec,)).at(start.arm, start.epoch if epoch is None else epoch, device)


def load_weights_(model: nn.Module, start: File) -> None:
    """Loads a file of weights into `model`; InputError where it cannot be read, is another or does not fit."""
    path = Path(start.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    if start.sha256 not in (None, digest):
        raise InputError(f"{path} has SHA-256 {digest}, expected {start.sha256}")
    try:
        state: Any = load_tensors(path)[0] if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        model.load_state_dict(fitted_state(state, model))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # torch raises many kinds for a file that is not one of weights
        raise InputError(f"{path} holds no weights of this network: {' '.join(str(error).split())[:200]}") from None
