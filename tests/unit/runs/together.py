"""What the processes of `test_distributed` do: `torchrun together.py FOLDER PART`, with a prepared data set in FOLDER.

Each process leaves what it has found in FOLDER/<rank>.json.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.models import register_network
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.distributed import digest_of_contents, joined
from prunebench.runs.engine import train
from prunebench.runs.probes import PROBES, Probe
from prunebench.runs.run import run_job
from prunebench.runs.spec import Choice, RunSpec

SGD = {"kind": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
PHASE = {"epochs": 2, "profile": {"kind": "cosine"}, "max_lr": 0.1, "update": SGD, "keep": [1, 2]}
PRUNE = {"kind": "sparsity", "criterion": "global_magnitude", "sparsity": 0.5}
BY_GRADIENT = {"kind": "sparsity", "criterion": "global_gradient", "sparsity": 0.5, "score_images": 64}


@register_network("drawing")
@dataclasses.dataclass(frozen=True)
class Drawing:
    """Batch normalisation and dropout."""

    def build(self, *, classes, in_channels, image_size):
        first = [nn.Conv2d(in_channels, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.3)]
        return nn.Sequential(*first, nn.Flatten(), nn.Linear(5 * (image_size - 2) ** 2, classes))


@dataclasses.dataclass(frozen=True)
class Watch(Probe):
    """Notes a digest of everything that all processes have to agree on; may send a signal."""

    seen: ClassVar = []
    send: ClassVar = [None]

    def before_update(self, view, done):
        state = view.state
        held = state.model.state_dict(), state.masks, *map(dict, state.update.save())
        self.seen.append(digest_of_contents(part for part in held if all(torch.is_tensor(t) for t in part.values())))
        rank, at = self.send[0] or (None, None)
        if (view.job.processes.rank, done) == (rank, at):
            os.kill(os.getpid(), signal.SIGTERM)


PROBES["watch"] = Watch


def spec(name, *phases, network=MappingProxyType({"kind": "drawing"}), batch_size=48):
    """A job of one arm on the digits."""
    common = {"task": "digits", "dataset": "digits", "precision": "fp32", "augmentation": {"pad": 1, "flip": True}}
    arm = {"name": "arm", "phases": [PHASE | phase for phase in phases]}
    about = {"network": {**network}, "batch_size": batch_size, "seed": 0, "arms": [arm], "hands_on": "kept"}
    return RunSpec.model_validate({"folder": name} | common | about)


def mlp():
    """The job that one process does, too: no batch normalisation, nothing drawn."""
    return spec("mlp", {}, {"prune": [PRUNE]}, network={"kind": "mlp"})


def chain():
    """Prunes at once and along a ramp, by magnitude and by gradient."""
    ramp = BY_GRADIENT | {"sparsity": 0.8, "ramp": {"share": 0.8, "every": 2}}
    watch = {"probes": [{"kind": "watch"}]}
    return spec("chain", watch, watch | {"prune": [BY_GRADIENT]}, watch | {"prune": [ramp]})


def long():
    """A job that takes some seconds: there is time to kill it."""
    phases = {"epochs": 12, "keep": [12]}, {"epochs": 4, "keep": [4], "prune": [PRUNE]}
    return spec("long", *phases, network={"kind": "resnet", "depth": 8, "width": 0.25})


class Killed(Exception):
    """Stands for the end of all processes right after a save."""


def do(folder, job, out, **keys):
    run_job(job, train, folder / out, folder, folder / "digits.safetensors", **keys)


def killed_often(folder, job, out):
    """Does a job that ends at its third save, again and again; gives how often."""
    save = ResumeFile.save

    def third(self, tensors, values):
        save(self, tensors, values)
        self.saves = getattr(self, "saves", 0) + 1
        if self.saves > 2:
            raise Killed

    ResumeFile.save = third
    try:
        for deaths in range(100):
            with contextlib.suppress(Killed):
                do(folder, job, out, save_every=0)
                return deaths
    finally:
        ResumeFile.save = save
    raise AssertionError("the job never ends")


def ended(action):
    """How an action ends: a line of InputError, an exit code, or None."""
    try:
        action()
    except (InputError, SystemExit) as end:
        return end.code if isinstance(end, SystemExit) else str(end)
    return None


def alike(folder, processes):
    """Jobs of all kinds, done by all processes; gives what this one has found."""
    found = {}
    do(folder, mlp(), "mlp")
    do(folder, chain(), "chain")
    found["seen"] = [*Watch.seen]
    found["deaths"] = killed_often(folder, chain(), "killed")
    # The last process alone is told to stop.
    Watch.send[0] = (processes.size - 1, 4)
    found["told"] = ended(lambda: do(folder, chain(), "told", save_every=0))
    Watch.send[0] = None
    found["saved"] = (folder / "told/.resume.safetensors").exists()
    processes.wait()
    do(folder, chain(), "told")
    # What they refuse.
    found["odd"] = ended(lambda: do(folder, spec("odd", {}, batch_size=49), "odd"))
    found["small"] = ended(lambda: do(folder, spec("small", {}, batch_size=processes.size), "small"))
    choice = Choice.model_construct(folder="choice")
    found["choice"] = ended(lambda: run_job(choice, train, folder / "choice", folder))
    masks = {"weight": torch.tensor([True, processes.rank != 1])}
    found["same"] = ended(lambda: processes.check_same("masks", {"weight": torch.tensor([True])}))
    found["other"] = ended(lambda: processes.check_same("masks", masks))
    return found


def main(folder, part):
    with joined() as processes:
        if part == "alike":
            found = alike(folder, processes)
        else:
            do(folder, long(), "long")
            do(folder, long(), "straight")
            found = {}
        (folder / f"{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
