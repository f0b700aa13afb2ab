"""Tiny training jobs that several test files run: specs, tables, and processes that are killed.

Every job here trains a network of a few hundred to a few thousand weights on 192 digits, three updates per epoch.
"""

import csv

import torch

from prunebench.config import ChainSpec, DenseSpec
from prunebench.training.chain import COLUMNS
from prunebench.training.checkpoint import ResumeFile
from prunebench.training.dense import NETWORK, train_dense
from prunebench.training.job import Job, resume_path

MLP = {"kind": "mlp", "depth": 1, "width": 0.05}
RESNET = {"kind": "resnet", "depth": 8, "width": 0.25}
VOLATILE = {"seconds", "peak_memory_mb"}
STEPS = 3
EPOCHS = 2
CYCLES = 2


def make_spec(
    *,
    network=MLP,
    training=(),
    pruning=(),
    profile=None,
    policy=None,
    gradients=None,
    criterion="global_magnitude",
    **more,
):
    return ChainSpec.model_validate(
        {
            "study": "s_cyc",
            "task": "digits-tiny",
            "dataset": "digits",
            "network": network,
            "training": {"epochs": EPOCHS, "batch_size": 64, "precision": "fp32"} | dict(training),
            "augmentation": {"pad": 1, "flip": True},
            "pruning": {"rate": 0.5, "cycles": CYCLES, "score_images": 100} | dict(pruning),
            "criterion": criterion,
            "seed": 0,
            "schedule_name": "ramp",
            "schedule": {
                "profile": profile or {"kind": "cyclical"},
                "policy": policy or {"kind": "linear", "start": 0.1, "top": 0.3, "last": 2},
            },
            "gradients": gradients,
        }
        | more
    )


def make_job(spec, data, out, resume=None, report=lambda line: None):
    resume = resume or ResumeFile(resume_path(out), spec.digest(), 1e9)
    return Job(spec, data, torch.device("cpu"), resume, report)


def table(out, name):
    with (out / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def results(out):
    """The bytes of every table, but for what the clock and the memory say."""
    texts = {name: (out / f"{name}.csv").read_text() for name in COLUMNS if name != "cost"}
    texts["cost"] = [{k: v for k, v in row.items() if k not in VOLATILE} for row in table(out, "cost")]
    texts["spec"] = (out / "spec.json").read_text()
    return texts


class Killed(Exception):
    """Stands for the end of the process right after a save."""


class KilledAt(ResumeFile):
    """Saves before update `at` (counted from 0 over this process) and is killed."""

    def __init__(self, path, digest, at):
        super().__init__(path, digest, 1e9)
        self.left = at

    def due(self):
        self.left -= 1
        return self.left < 0

    def save(self, tensors, values):
        super().save(tensors, values)
        raise Killed


def weights(state):
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def dense_of(spec, keep=()):
    """The spec of the dense network that a job's spec starts from, with these epochs kept."""
    return DenseSpec.model_validate(
        {name: getattr(spec, name) for name in ("task", "dataset", "network", "training", "augmentation", "seed")}
        | {
            "study": "dense",
            "recipe": spec.schedule_name,
            "profile": spec.schedule.profile,
            "max_lr": spec.schedule.schedule().policy.at(0),
            "keep": list(keep),
        }
    )


def train(spec, data, out, resume=None):
    """Trains a dense network into a folder; gives its file."""
    train_dense(make_job(spec, data, out, resume), out)
    return out / NETWORK
