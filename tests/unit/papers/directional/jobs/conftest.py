"""Tiny jobs of the directional study that are run for real, and killed."""

import csv
from types import MappingProxyType

import pytest
import yaml

TINY = """
preset: tiny
scale: tiny
seeds: [0]
datasets:
  digits: {source: digits, train: 192, validation: 64, test: 64}
tasks:
  tiny:
    dataset: digits
    network: {}
    training: {epochs: 3, batch_size: 64, momentum: 0, weight_decay: 0, precision: fp32}
    augmentation: {pad: 1}
schedules: {}
directional:
  profile: {kind: hold_then_linear}
  max_lr: 0.2
  grda:
    tiny: [{c: 0.1, mu: 0.6}, {c: 0.05, mu: 0.7}]
  sensitivity: {}
  baselines:
    strong: {max_lr: 0.1}
    l1: [0.005, 0.01]
    ramp: {share: 0.67, every: 2}
    fine_tuning: {epochs: 2, max_lr: 0.05, profile: {kind: cosine}}
  connectivity: {epochs: 2, max_lr: 0.1, profile: {kind: constant}, points: 3, plane: {points: 3}}
  curvature: {epochs: [1], k: [1, 3]}
"""


class Killed(Exception):
    """Stands for the end of the process right after a save."""


class Jobs:
    """The jobs of a study of one tiny task on 192 digits, 3 epochs of 3 updates, as its plan has them; run for real.

    `changes` are laid over the study's configuration.
    """

    MLP = MappingProxyType({"kind": "mlp", "depth": 1, "width": 0.05})
    RESNET = MappingProxyType({"kind": "resnet", "depth": 8, "width": 0.25})
    VOLATILE = ("seconds", "peak_memory_mb")

    def __init__(self, data, runs, network, **changes):
        from prunebench.suite.plan import make_plan
        from prunebench.suite.preset import parse_preset

        content = yaml.safe_load(TINY)
        content["tasks"]["tiny"]["network"] = dict(network)
        content["directional"] |= changes
        self.data, self.runs = data, runs
        self.stages = {stage.name: stage for stage in make_plan(parse_preset(content, "tiny")).stages.values()}

    def spec(self, stage):
        """The one job of a stage."""
        [spec] = self.stages[stage].jobs
        return spec

    def job(self, spec, out=None, kill_at=None):
        """The job; with `kill_at`, one that is killed after the save with that number."""
        import torch

        from prunebench.runs.checkpoint import ResumeFile
        from prunebench.runs.job import Job
        from prunebench.runs.run import resume_path

        class File(ResumeFile):
            saves = 0

            def due(self):
                return kill_at is not None

            def save(self, tensors, values):
                super().save(tensors, values)
                if self.saves == kill_at:
                    raise Killed
                self.saves += 1

        resume = File(resume_path(out or self.runs / spec.folder), spec.digest(), 1e9)
        return Job(spec, self.data, torch.device("cpu"), self.runs, resume, lambda line: None)

    def run(self, stage, out=None, kill_at=None, **edits):
        """Runs the stage's job, or it with these keys edited; gives its folder, or None where it was killed."""
        from prunebench.papers.directional import PAPER

        spec = self.spec(stage).model_copy(update=edits)
        out = out or self.runs / spec.folder
        out.mkdir(parents=True, exist_ok=True)
        try:
            PAPER.resolve(self.stages[stage].run)(self.job(spec, out, kill_at), out)
        except Killed:
            return None
        return out

    def weights(self, arm, epoch=3):
        """The parameters of an arm of the minima after an epoch, by name."""
        import torch

        from prunebench.runs.networks import load_networks

        spec = self.spec("train_minima")
        networks = load_networks(self.runs / spec.folder / "networks.safetensors", (spec.digest(),))
        model = networks.at(arm, epoch, torch.device("cpu")).model
        return {name: tensor for name, tensor in model.items() if "running" not in name and "tracked" not in name}

    @staticmethod
    def rows(out, table, **where):
        """A table's rows with these values, as text."""
        with (out / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if all(row[key] == str(at) for key, at in where.items())]

    def results(self, out):
        """What a job leaves, but for what clock and memory say."""
        texts = {}
        for path in sorted(out.iterdir()):
            if path.suffix == ".csv":
                rows = self.rows(out, path.stem)
                texts[path.name] = [{k: v for k, v in row.items() if k not in self.VOLATILE} for row in rows]
            elif path.name not in ("provenance.json", "run.sha256"):
                texts[path.name] = path.read_bytes()
        return texts


@pytest.fixture(scope="module")
def one_thread_for_all():
    """Fixtures of a module train, too; results depend on the number of threads in the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny_jobs(digits, tmp_path_factory, one_thread_for_all):
    """Makes the jobs of a network, by default an MLP, in a folder of their own."""

    def make(network=Jobs.MLP, **changes):
        return Jobs(digits, tmp_path_factory.mktemp("runs"), network, **changes)

    make.RESNET, make.rows = Jobs.RESNET, Jobs.rows
    return make


@pytest.fixture(scope="module")
def mlp(tiny_jobs):
    """The jobs on an MLP; its minima are trained."""
    jobs = tiny_jobs()
    jobs.run("train_minima")
    return jobs


@pytest.fixture(scope="module")
def resnet(tiny_jobs):
    """The jobs on a residual network with batch normalisation; its minima are trained."""
    jobs = tiny_jobs(Jobs.RESNET)
    jobs.run("train_minima")
    return jobs
