"""What every study shares: data sets, networks, recipes, LR schedules, and the specs of training jobs."""

import dataclasses
import hashlib
import inspect
import json
import operator
import typing
from collections.abc import Iterable
from functools import reduce
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from prunebench.config.parsing import Name, Strict
from prunebench.errors import InputError, nearest
from prunebench.models.names import (
    ACTIVATIONS,
    DEFAULT_DEPTH,
    KINDS,
    MAX_WIDTH,
    STEM_STRIDE_KINDS,
    TORCHVISION_KINDS,
    VGG_DEPTHS,
)
from prunebench.pruning.criteria import CRITERIA, get_criterion
from prunebench.schedules import POLICIES, PROFILES, Policy, Profile, Schedule, make_policy, make_profile


def _criterion(name: str) -> str:
    return get_criterion(name).name


CriterionName = Annotated[str, Field(json_schema_extra={"enum": list(CRITERIA)}), AfterValidator(_criterion)]


CHANNELS = {"digits": 1, "fashion_mnist": 1}
"""Source -> channels of its images."""

SIDES = {"digits": 8, "fashion_mnist": 28}
"""Source -> side of its images in pixels."""


class Dataset(Strict):
    """One prepared data set: source, size and splits."""

    source: Literal["digits", "fashion_mnist"]
    """Where the raw images come from: scikit-learn's bundled digits or Fashion-MNIST."""
    size: int | None = Field(default=None, ge=4, le=512)
    """Side in pixels that images are resized to (antialiased); null keeps the source's own."""
    train: int = Field(ge=1)
    """Training images, drawn from the source's training part after the validation images are set aside."""
    validation: int = Field(ge=1)
    """Validation images, drawn from the source's training part; all selection happens on them."""
    test: int | None = Field(default=None, ge=1)
    """Test images; null means all that the source has. The test set selects nothing."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split: the same for every training seed."""


class Augmentation(Strict):
    """Augmentation of training images, on the device."""

    pad: int = Field(default=0, ge=0, le=32)
    """Zero padding on each side before a random crop back to the image's size, in pixels."""
    flip: bool = False
    """Flip left-right with probability 1/2."""


class Network(Strict):
    """A network by kind."""

    kind: Literal[KINDS]  # type: ignore[valid-type]
    """Family: `resnet` (CIFAR-style), `mobilenet` (MobileNetV3-style for small images), `mlp` (the paper's gradient
    figure), `vgg` (small, with batch normalisation); `torchvision_...` are torchvision's own for large images."""
    depth: int | None = Field(default=None, ge=1)
    """Layers; null is the family's default. ResNet: 6n+2 (8, 20, 32, 56). MobileNets and torchvision's have none."""
    width: float = Field(default=1.0, gt=0, le=MAX_WIDTH)
    """Width factor of the family's standard widths."""
    stem_stride: Literal[1, 2] = 1
    """Stride of the first convolution of a `resnet` or `mobilenet`; 2 trains about 2 times cheaper [ours]."""
    activation: Literal[ACTIVATIONS] = "relu"  # type: ignore[valid-type]
    """Non-linearity; anything but `relu` is a control (claim A1b of docs/methods.md)."""

    @model_validator(mode="after")
    def _is_one_that_can_be_built(self) -> Self:
        if self.kind == "resnet" and self.depth is not None and (self.depth < 8 or self.depth % 6 != 2):
            raise InputError(f"depth is {self.depth}; a resnet's is 6n+2: 8, 20, 32, 56, ...")
        if self.kind == "vgg" and self.depth is not None and self.depth not in VGG_DEPTHS:
            raise InputError(f"depth is {self.depth}; a vgg's is one of {', '.join(map(str, VGG_DEPTHS))}")
        if self.kind not in DEFAULT_DEPTH and self.depth is not None:
            raise InputError(f"depth is {self.depth}; a {self.kind} has none to choose")
        if self.kind not in STEM_STRIDE_KINDS and self.stem_stride != 1:
            raise InputError(f"stem_stride is {self.stem_stride}; only {' and '.join(STEM_STRIDE_KINDS)} have one")
        if self.kind in TORCHVISION_KINDS and self.width != 1:
            raise InputError(f"width is {self.width:g}; a {self.kind} has only its own")
        if self.kind in ("mobilenet", *TORCHVISION_KINDS) and self.activation != "relu":
            raise InputError(f"activation is {self.activation}; a {self.kind} has its own, which `relu` stands for")
        return self


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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 autocast where the hardware has it natively, else fp32; analyses are always fp32."""


class Task(Strict):
    """Data set + network + recipe under a short name."""

    dataset: Name
    """Name of an entry of `datasets`."""
    network: Network
    """The network."""
    training: Training
    """The recipe."""
    augmentation: Augmentation = Augmentation()
    """Augmentation of training images."""


def _config_of(kind: str, cls: type) -> type[Strict]:
    """The pydantic twin of a schedule dataclass: its fields appear in the schema without being written twice."""
    hints = typing.get_type_hints(cls)
    fields: dict[str, Any] = {"kind": (Literal[kind], ...)}
    for field in dataclasses.fields(cls):
        default = ... if field.default is dataclasses.MISSING else field.default
        fields[field.name] = (hints[field.name], default)
    doc = " ".join((inspect.getdoc(cls) or "").split())
    return create_model(f"{cls.__name__}Config", __base__=Strict, __doc__=doc, **fields)


def _one_of(registry: dict[str, type]) -> Any:
    models = [_config_of(kind, cls) for kind, cls in registry.items()]
    return Annotated[reduce(operator.or_, models), Field(discriminator="kind")]


ProfileConfig = _one_of(PROFILES)
PolicyConfig = _one_of(POLICIES)


class LRSchedule(Strict):
    """LR schedule = profile within a cycle x policy of max_lr across cycles."""

    profile: ProfileConfig  # type: ignore[valid-type]
    """LR over one pruning cycle, as a function of the step and of max_lr."""
    policy: PolicyConfig  # type: ignore[valid-type]
    """max_lr over pruning cycles."""

    def schedule(self) -> Schedule:
        """The schedule itself; raises InputError on a value out of range."""
        return Schedule(profile_of(self.profile), policy_of(self.policy))


class ScheduleConfig(LRSchedule):
    """An LR schedule and what it is in the comparison; a run depends on its profile and policy alone."""

    role: Literal["benchmark", "method", "control"]
    """One of the paper's benchmarks, a proposed method, or a control of ours."""
    source: str = "[ours]"
    """Where the numbers come from: a mark of docs/methods.md."""


def profile_of(config: Any) -> Profile:
    """The profile that a configuration describes; raises InputError on a value out of range."""
    return make_profile(config.kind, **_settings(config))


def policy_of(config: Any) -> Policy:
    return make_policy(config.kind, **_settings(config))


def _settings(config: Any) -> dict[str, Any]:
    return {key: value for key, value in config if key != "kind"}


class Resources(Strict):
    """What one training job asks for."""

    threads: int = Field(default=1, ge=1)
    """CPU threads; results depend on it in the last bits, so it is part of the preset."""
    mem_mb: int = Field(default=1500, ge=100)
    """Resident memory in MB."""
    runtime: int = Field(default=60, ge=1)
    """Minutes."""
    gpu: int = Field(default=0, ge=0)
    """GPUs."""


class Spec(Strict):
    """All that a job depends on. Each kind of job has a `folder` of its own."""

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Compact JSON with sorted keys: equal specs give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """SHA-256 of `to_json`, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class RunSpec(Spec):
    """What every job on a task's network and data depends on."""

    study: Name
    task: Name
    dataset: Name
    network: Network
    training: Training
    augmentation: Augmentation
    seed: int

    @property
    def prunes_norm(self) -> bool:
        """Whether normalisation weights are pruned too."""
        return False


class DenseSpec(RunSpec):
    """Training of a dense network, shared by every job that starts from it."""

    recipe: Name
    """The first schedule by name that trains the dense network like this: it names the folder."""
    profile: ProfileConfig  # type: ignore[valid-type]
    max_lr: float
    keep: list[int]
    """Epochs whose weights are kept beside the last ones, for jobs that rewind to them."""

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return f"dense/{self.task}/{self.recipe}/seed-{self.seed}"

    def profile_of(self) -> Profile:
        """The LR profile."""
        return profile_of(self.profile)


def known(key: str, name: str, names: Iterable[str]) -> None:
    """Raises InputError where `key` names something that is not among `names`."""
    if name not in names:
        raise InputError(f"{key} names '{name}', which is not defined: {nearest(name, names)}")
