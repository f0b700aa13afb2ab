"""What the jobs of a plan cost and leave, from their specs alone: images, FLOPs, files, bytes."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prunebench.runs.estimate import Estimate, Sizes
from prunebench.runs.spec import Choice, RunSpec, Spec, TaskSpec
from prunebench.suite.exhibits import FIGURES, TABLES
from prunebench.suite.machine import Workload, workload_of
from prunebench.suite.paper import Stage
from prunebench.suite.plan import Plan
from prunebench.suite.preset import Preset

OPEN_TEST = 10_000
"""Images of a test set whose size the preset leaves to the source: those of CIFAR and Fashion-MNIST."""

CELL_BYTES = 12
"""Of one number in a CSV file [ours: 4 to 15 in the tables of the smoke preset's runs]."""

JOB_BYTES = 1200
"""Of a job's provenance and log together [ours: smoke preset]."""

FIGURE_BYTES, TABLE_BYTES = 350_000, 25_000
"""Of a figure in all its files, twice since the report holds it, and of a table [ours: smoke and laptop presets]."""

FILES_OF_RESULTS = ("plan.json", "runs.csv", "claims.json", "claims.csv", "observations.csv", "report.html")
RECORDS_OF_RESULTS = ("plan.sha256", "runs.sha256", "claims.sha256")
LOGS_OF_RESULTS = ("tabulate_runs", "judge_claims", "calibrate", "draw_calibration", "write_report")

PASSES = 3
"""FLOPs of an update over those of a forward pass: backward costs twice as much as forward."""


@dataclass(frozen=True)
class Network:
    """Sizes of a network: bytes of its state_dict, prunable weights, their layers, FLOPs of one image forward."""

    state_bytes: int
    weights: int
    layers: int
    flops: int

    def file_bytes(self, estimate: Estimate) -> int:
        """Bytes of a file with so many networks, sets of weights (fp32) and masks (a bit per weight)."""
        each = self.state_bytes, 4 * self.weights, self.weights / 8
        counts = estimate.networks, estimate.weights, estimate.masks
        return round(sum(n * size for n, size in zip(counts, each, strict=True)))


def network_of(job: TaskSpec, workload: Workload) -> Network:
    """The sizes of a job's network, which is built without memory for its weights."""
    import torch

    from prunebench.analysis.cost import flops_per_image
    from prunebench.pruning.layers import LeftOut
    from prunebench.pruning.masks import prunable_parameters

    channels, side = workload.channels, workload.side
    with torch.device("meta"):
        model = job.network.build(classes=workload.classes, in_channels=channels, image_size=side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOut)  # the job itself says what it leaves out
        prunable = prunable_parameters(model, include_norm=job.include_norm)
    return Network(
        state_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        weights=sum(weight.numel() for weight in prunable.values()),
        layers=len(prunable),
        flops=sum(flops_per_image(model, (channels, side, side)).values()),
    )


@dataclass(frozen=True)
class JobCost:
    """What one job costs and leaves. workload, network: None for a job that is on no task's network.

    bytes: of all its files, its log among them.
    """

    stage: Stage
    job: Spec
    estimate: Estimate
    workload: Workload | None
    network: Network | None
    bytes: int

    @property
    def epochs(self) -> int:
        """Epochs of its arms."""
        return sum(arm.epochs for arm in self.job.arms) if isinstance(self.job, RunSpec) else 0

    @property
    def files(self) -> int:
        """Its files with their checksums, and its log."""
        return len(self.job.files) + 2

    @property
    def images(self) -> float:
        """Training images; one that is only evaluated counts as a third."""
        return self.estimate.training + self.estimate.evaluation / PASSES

    @property
    def flops(self) -> float:
        """FLOPs of networks whose zeros count."""
        return PASSES * self.images * self.network.flops if self.network else 0.0


def costs_of(plan: Plan) -> dict[str, JobCost]:
    """What every job costs and leaves, by its folder."""
    networks: dict[Any, tuple[Workload, Network]] = {}
    costs: dict[str, JobCost] = {}
    for stage in plan.stages.values():
        for job in stage.jobs:
            workload = network = None
            sizes = Sizes()
            if isinstance(job, TaskSpec):
                key = job.network, job.dataset, job.batch_size, job.precision, job.include_norm
                if key not in networks:
                    workload = workload_of(plan.preset, job)
                    networks[key] = workload, network_of(job, workload)
                workload, network = networks[key]
                sizes = _sizes(plan.preset, job.dataset, network)
            estimate = job.estimate(sizes)
            if isinstance(job, Choice):  # it copies the file of the job that it picks
                picked = costs[job.among[0]]
                kept = {name: getattr(picked.estimate, name) for name in ("networks", "weights", "masks")}
                estimate, network = replace(estimate, **kept), picked.network
            costs[job.folder] = JobCost(stage, job, estimate, workload, network, _bytes(job, estimate, network))
    return costs


def _sizes(preset: Preset, dataset: str, network: Network) -> Sizes:
    data = preset.datasets[dataset]
    return Sizes(data.train, data.validation, OPEN_TEST if data.test is None else data.test, network.layers)


def _bytes(job: Spec, estimate: Estimate, network: Network | None) -> int:
    spec = 2 * len(json.dumps(job.content()))  # indented, it is about twice as long
    return JOB_BYTES + spec + CELL_BYTES * estimate.cells + (network.file_bytes(estimate) if network else 0)


@dataclass(frozen=True)
class Exhibits:
    """Tables, figures, verdicts and report of a preset: their files with checksums and logs, and their bytes."""

    files: int
    bytes: int


def exhibits_of(preset: Preset) -> Exhibits:
    """What is made of the jobs' results; the prepared data sets are not among it, their logs are."""
    papers = [paper for paper, _ in preset.studies().values()]
    tables = [table for paper in papers for table in paper.tables] + [*TABLES]
    figures = [figure for paper in papers for figure in paper.figures] + [*FIGURES]
    files = len(FILES_OF_RESULTS) + len(RECORDS_OF_RESULTS) + 2 * (len(papers) + 1)
    files += sum(len(table.files) for table in tables) + sum(len(figure.files) for figure in figures)
    logs = len(LOGS_OF_RESULTS) + 2 * len(papers) + len(preset.datasets)
    return Exhibits(files + logs, 2 * FIGURE_BYTES * len(figures) + TABLE_BYTES * len(tables))


def workloads_of(costs: Mapping[str, JobCost]) -> dict[Workload, TaskSpec]:
    """The different networks at work, each with a job on it."""
    pairs = ((cost.workload, cost.job) for cost in costs.values())
    return {workload: job for workload, job in pairs if workload and isinstance(job, TaskSpec)}
