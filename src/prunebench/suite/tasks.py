"""What every study shares in a preset: data sets, tasks, LR schedules, resources."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from prunebench.data.sources import SOURCES, Source
from prunebench.parsing import Label, Name, Strict, distinct, registered
from prunebench.runs.numerics import Numerics
from prunebench.runs.spec import Augmentation, NetworkConfig, PolicyConfig, ProfileConfig, UpdateConfig
from prunebench.runs.updates import Sgd, Update
from prunebench.schedules import Schedule

if TYPE_CHECKING:
    SourceConfig = Source
else:
    SourceConfig = registered(SOURCES, "source")


Seed = Annotated[int, Field(ge=0, le=10**9)]
"""A training seed."""


class Dataset(Strict):
    """One prepared data set: source, size and splits."""

    source: SourceConfig
    """Where the raw images come from: its name, or `kind` with options."""
    size: int | None = Field(default=None, ge=4, le=512)
    """Side in pixels that images are resized to (antialiased, and cut to a square); null keeps the source's own."""
    train: int = Field(ge=1)
    """Training images, drawn from the source's training part after the validation images are set aside."""
    validation: int = Field(ge=1)
    """Validation images, drawn from the source's training part; all selection happens on them."""
    test: int | None = Field(default=None, ge=1)
    """Test images; null means all that the source has. The test set selects nothing."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split: the same for every training seed."""

    @property
    def side(self) -> int:
        """Side of its images in pixels."""
        return self.size or self.source.side or 0


class Training(Strict):
    """The recipe of one pruning cycle."""

    epochs: int = Field(ge=1, le=100_000)
    """Epochs per cycle, the dense cycle included."""
    batch_size: int = Field(ge=2)
    """Images per update; the incomplete last batch of an epoch is dropped."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """SGD momentum [authors' code: 0.9]."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 weight decay on every parameter [authors' code: 5e-4]."""
    update: UpdateConfig | None = None
    """What moves the weights; null is SGD with the momentum and weight decay above."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` is autocast, refused where the hardware would emulate it; analyses are always fp32."""

    @property
    def mover(self) -> Update:
        """The update that moves the weights."""
        return self.update or Sgd(self.momentum, self.weight_decay)


class WeightsFile(Strict):
    """Weights that somebody else trained."""

    path: str
    """A safetensors state_dict, or one that torch saved (read without running code): torchvision's, timm's, yours."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the file's bytes; null takes any."""


class Longer(Strict):
    """What other runs of a task's network reach when they train longer: how far from fully trained it is here."""

    epochs: int = Field(ge=2, le=100_000)
    """Epochs of those runs; more than the recipe's."""
    schedule: Label
    """Their LR schedule in a word; it need not be that of the runs here."""
    accuracy: float = Field(ge=0, le=1)
    """Their mean test accuracy in [0, 1]."""


class Task(Strict):
    """Data set + network + recipe under a short name."""

    dataset: Name
    """Name of an entry of `datasets`."""
    network: NetworkConfig
    """The network: its kind and that kind's options."""
    training: Training
    """The recipe."""
    augmentation: Augmentation = Augmentation()
    """Augmentation of training images."""
    seeds: Annotated[list[Seed], AfterValidator(distinct)] | None = Field(default=None, min_length=1)
    """Those of the preset's seeds that the task's runs have; null means all."""
    weights: WeightsFile | None = None
    """A file in place of dense networks of the suite's own training; studies that train from scratch refuse it."""


class TaskSchedule(Strict):
    """What a schedule is on one task."""

    profile: ProfileConfig | None = None
    """LR over one pruning cycle; null is the schedule's."""
    policy: PolicyConfig | None = None
    """max_lr over pruning cycles; null is the schedule's."""


class ScheduleConfig(Strict):
    """LR schedule = profile within a cycle x policy of max_lr across cycles, and what it is in the comparison."""

    profile: ProfileConfig
    """LR over one pruning cycle, as a function of the step and of max_lr."""
    policy: PolicyConfig
    """max_lr over pruning cycles."""
    role: Literal["benchmark", "method", "control"]
    """One of the paper's benchmarks, a proposed method, or a control of ours."""
    source: str = "[ours]"
    """Where the numbers come from: a mark of docs/methods.md."""
    tasks: dict[Name, TaskSchedule] = {}
    """Tasks on which its numbers are others."""

    def schedule(self, task: str | None = None) -> Schedule:
        """The schedule itself, on a task."""
        other = self.tasks.get(task or "")
        if other is None:
            return Schedule(self.profile, self.policy)
        return Schedule(other.profile or self.profile, other.policy or self.policy)


class Resources(Strict):
    """What one training job asks for."""

    threads: int = Field(default=1, ge=1, le=1024)
    """CPU threads of a process; results depend on it in the last bits, so it is part of the preset."""
    numerics: Numerics = "portable"
    """How a CPU computes: `portable` gives the same bytes on every x86-64 CPU with AVX2, `native` uses the CPU's widest
    instructions (docs/portable.md)."""
    workers: int = Field(default=0, ge=0, le=1024)
    """Processes that decode images which stream from shards, of each process that trains; they change no result."""
    mem_mb: int = Field(default=1500, ge=100)
    """Resident memory in MB that a job asks a cluster for at least; its data and network may need more."""
    runtime: int = Field(default=1440, ge=1)
    """Minutes that a job asks a cluster for at most; one that takes longer saves its state, is queued again and goes on
    (docs/cluster.md)."""
    submit: Literal["long", "all"] = "long"
    """Which jobs a cluster's queue does: those that take longer than seconds and those that need a GPU, or all. The
    others run where Snakemake runs."""
    tensorboard: bool = False
    """Whether each job that trains writes TensorBoard event files, too, into its folder: `tensorboard --logdir
    results/<preset>/runs`. They change no result; the package is the extra `tensorboard`."""
    gpu: int = Field(default=0, ge=0, le=1024)
    """GPUs. A job that trains has a process on each of several (docs/distributed.md), any other job one."""
