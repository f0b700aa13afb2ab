"""Tiny jobs: networks of some hundreds of weights on 192 digits, three updates per epoch; and jobs that are killed."""

import csv

import pytest

VOLATILE = {"seconds", "peak_memory_mb"}
MLP = {"kind": "mlp", "depth": 1, "width": 0.05}
RESNET = {"kind": "resnet", "depth": 8, "width": 0.25}


class Killed(Exception):
    """Stands for the end of the process right after a save."""


def phase(**keys):
    """A phase of two epochs of SGD, but for what is given."""
    sgd = {"kind": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    return {"epochs": 2, "profile": {"kind": "cosine"}, "max_lr": 0.1, "update": sgd} | keys


def prune(sparsity=0.5, criterion="global_magnitude", **keys):
    return {"kind": "sparsity", "criterion": criterion, "sparsity": sparsity, "score_images": 64} | keys


class Workshop:
    """Runs jobs below one folder, kills them, and reads what they leave."""

    phase, prune = staticmethod(phase), staticmethod(prune)
    mlp, resnet = MLP, RESNET

    def __init__(self, data, runs):
        self.data, self.runs = data, runs
        self.count = 0

    def spec(self, *arms, network=MLP, **keys):
        """A job's spec; an arm is a list of phases, or a mapping."""
        from prunebench.runs.spec import RunSpec

        self.count += 1
        arms = [arm if isinstance(arm, dict) else {"phases": arm} for arm in arms]
        return RunSpec.model_validate(
            {
                "folder": f"test/run-{self.count}",
                "task": "digits",
                "dataset": "digits",
                "network": network,
                "batch_size": 64,
                "precision": "fp32",
                "augmentation": {"pad": 1, "flip": True},
                "seed": 0,
                "arms": [{"name": f"arm{i}"} | arm for i, arm in enumerate(arms)],
            }
            | keys
        )

    def job(self, spec, out=None, kill_at=None, data=None):
        """The job; with `kill_at`, one that is killed after it has saved before that update (from 0, in this try)."""
        import torch

        from prunebench.runs.checkpoint import ResumeFile
        from prunebench.runs.job import Job
        from prunebench.runs.run import resume_path

        class File(ResumeFile):
            left = -1 if kill_at is None else kill_at

            def due(self):
                self.left -= 1
                return kill_at is not None and self.left < 0

            def save(self, tensors, values):
                super().save(tensors, values)
                raise Killed

        resume = File(resume_path(out or self.runs / spec.folder), spec.digest(), 1e9)
        return Job(spec, data or self.data, torch.device("cpu"), self.runs, resume, lambda line: None)

    def run(self, spec, out=None, kill_at=None, data=None):
        """Trains; gives the folder, or None where the job was killed."""
        from prunebench.runs.engine import train

        out = out or self.runs / spec.folder
        out.mkdir(parents=True, exist_ok=True)
        try:
            train(self.job(spec, out, kill_at, data), out)
        except Killed:
            return None
        return out

    def killed_often(self, spec, every=1):
        """Trains a job that is killed before each `every`-th update; gives the folder and how often it was killed."""
        out = self.runs / f"{spec.folder}-killed"
        for deaths in range(1000):
            if self.run(spec, out, kill_at=every if deaths else 0):
                return out, deaths
        raise AssertionError("the job never ends")

    def trained(self, spec, arm="arm0", epoch=None):
        """The start that is this job's network, for other jobs."""
        epoch = spec.arms[0].epochs if epoch is None else epoch
        return {"kind": "trained", "run": spec.folder, "spec": spec.digest(), "arm": arm, "epoch": epoch}

    @staticmethod
    def rows(out, table):
        with (out / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def results(self, out):
        """What a job leaves, but for what clock and memory say."""
        texts = {}
        for path in sorted(out.iterdir()):
            if path.suffix == ".csv":
                rows = self.rows(out, path.stem)
                texts[path.name] = [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows]
            elif path.name != "provenance.json":
                texts[path.name] = path.read_bytes()
        return texts


@pytest.fixture
def workshop(digits, tmp_path, one_thread):
    return Workshop(digits, tmp_path)
