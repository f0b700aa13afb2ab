"""The whole configuration: the one source of defaults, of every key's meaning and of the JSON schema.

A preset (config/<name>.yaml) says which studies run on which tasks; `Preset.s_cyc_chains()` and its siblings resolve it
into run specs, each holding every number that its run depends on. Imports no torch: Snakemake reads this at each start.
"""

import dataclasses
import hashlib
import inspect
import json
import math
import operator
import typing
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from prunebench.errors import InputError, nearest
from prunebench.models.names import ACTIVATIONS, KINDS, MAX_WIDTH, VGG_DEPTHS
from prunebench.pruning.after import AfterPrune
from prunebench.pruning.criteria import CRITERIA, get_criterion
from prunebench.schedules import POLICIES, PROFILES, Policy, Profile, Schedule, make_policy, make_profile


class Strict(BaseModel):
    """Refuses unknown keys and changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
"""A name that also serves as a folder of a result's path."""


M = typing.TypeVar("M", bound=Strict)


def _criterion(name: str) -> str:
    return get_criterion(name).name


CriterionName = Annotated[str, Field(json_schema_extra={"enum": list(CRITERIA)}), AfterValidator(_criterion)]


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
    """Family: `resnet` (CIFAR-style), `mlp` (the paper's gradient figure), `vgg` (small, with batch normalisation)."""
    depth: int | None = Field(default=None, ge=1)
    """Layers; null is the family's default. ResNet: 6n+2 (8, 20, 32, 56)."""
    width: float = Field(default=1.0, gt=0, le=MAX_WIDTH)
    """Width factor of the family's standard widths."""
    stem_stride: Literal[1, 2] = 1
    """Stride of a ResNet's first convolution; 2 trains about 2 times cheaper [ours]."""
    activation: Literal[ACTIVATIONS] = "relu"  # type: ignore[valid-type]
    """Non-linearity; anything but `relu` is a control (claim A1b of docs/methods.md)."""

    @model_validator(mode="after")
    def _has_a_known_depth(self) -> Self:
        if self.kind == "resnet" and self.depth is not None and (self.depth < 8 or self.depth % 6 != 2):
            raise InputError(f"depth is {self.depth}; a resnet's is 6n+2: 8, 20, 32, 56, ...")
        if self.kind == "vgg" and self.depth is not None and self.depth not in VGG_DEPTHS:
            raise InputError(f"depth is {self.depth}; a vgg's is one of {', '.join(map(str, VGG_DEPTHS))}")
        if self.kind != "resnet" and self.stem_stride != 1:
            raise InputError(f"stem_stride is {self.stem_stride}; only a resnet has one")
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
        return Schedule(_profile(self.profile), _policy(self.policy))


class ScheduleConfig(LRSchedule):
    """An LR schedule and what it is in the comparison; a run depends on its profile and policy alone."""

    role: Literal["benchmark", "method", "control"]
    """One of the paper's benchmarks, a proposed method, or a control of ours."""
    source: str = "[ours]"
    """Where the numbers come from: a mark of docs/methods.md."""


def _profile(config: Any) -> Profile:
    return make_profile(config.kind, **_settings(config))


def _policy(config: Any) -> Policy:
    return make_policy(config.kind, **_settings(config))


def _settings(config: Any) -> dict[str, Any]:
    return {key: value for key, value in config if key != "kind"}


DEFAULT_SCORE_IMAGES = 1000


class Pruning(Strict):
    """Iterative pruning."""

    rate: float = Field(gt=0, lt=1)
    """Share of the surviving weights that each cycle prunes."""
    cycles: int = Field(ge=1, le=1000)
    """Pruning cycles after the dense one."""
    after: AfterPrune = AfterPrune.REINITIALISE
    """What happens to the weights after a prune [authors' code: re-initialised]."""
    rewind_epoch: int = Field(default=0, ge=0)
    """The epoch k that `rewind_weights` and `rewind_lr` go back to."""
    include_norm: bool = False
    """Prune normalisation weights too [authors' code: yes]; by default only convolution and linear weights."""
    score_images: int = Field(default=DEFAULT_SCORE_IMAGES, ge=1)
    """Training images on which gradient criteria take dL/dw."""


class Gradients(Strict):
    """Measurement of weight gradients (claim A1 of docs/methods.md)."""

    images: int = Field(ge=1)
    """Training images of the fixed batch, the same for every cycle and schedule."""
    at: list[Annotated[float, Field(ge=0, le=1)]] = Field(default=[0.0, 0.03, 0.1, 0.3, 0.6, 1.0], min_length=1)
    """Shares of a cycle's updates after which gradients are measured; ends with 1. The early ones let cycles be
    compared at the same training loss."""

    @model_validator(mode="after")
    def _ends_with_one(self) -> Self:
        if sorted(set(self.at)) != self.at or self.at[-1] != 1:
            raise InputError(f"gradient_measure.at must ascend and end with 1, found {self.at}")
        return self


class Grid(Strict):
    """A set of runs: every combination of the names, for every seed."""

    tasks: list[Name] = Field(min_length=1)
    """Names of entries of `tasks`."""
    criteria: list[CriterionName] = Field(min_length=1)
    """Pruning criteria."""
    schedules: list[Name] = Field(min_length=1)
    """Names of entries of `schedules`."""


class Oracle(Strict):
    """Grid search of max_lr in each pruning cycle (docs/methods.md; the grid is [ours])."""

    task: Name
    """Name of an entry of `tasks`."""
    criterion: CriterionName
    """Pruning criterion."""
    schedule: Name
    """The schedule whose profile every candidate follows and whose max_lr the oracle's is compared with."""
    max_lr: list[Annotated[float, Field(gt=0)]] = Field(min_length=2)
    """The grid, ascending. It may reach into divergence: a diverged candidate is a recorded result."""
    candidates_per_job: int | None = Field(default=None, ge=1)
    """Candidates that one job trains; null is all of them (where a process start would cost more than the training)."""
    tolerance: float = Field(default=0.005, ge=0, lt=1)
    """A max_lr is near-best where its mean validation accuracy is within max(tolerance, 1 SE) of the best [ours]."""

    def batches(self) -> list[list[float]]:
        """The grid in portions of one job each."""
        size = self.candidates_per_job or len(self.max_lr)
        return [self.max_lr[i : i + size] for i in range(0, len(self.max_lr), size)]


class SCyc(Strict):
    """The S-Cyc study."""

    pruning: Pruning
    """Iterative pruning, the same for every run of the study."""
    accuracy: list[Grid] = Field(min_length=1)
    """Runs of the accuracy comparison."""
    gradients: list[Grid] = []
    """Runs whose weight gradients are measured; a run that is in both lists is trained once."""
    gradient_measure: Gradients = Gradients(images=1000)
    """How gradients are measured."""
    oracle: Oracle | None = None
    """The oracle grid search; null leaves it out."""


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


class Preset(Strict):
    """One scale of the whole suite."""

    preset: Name
    """The preset's name: its results lie in results/<preset>."""
    scale: str
    """A label that every table and figure carries, such as `scaled-down: ...`."""
    raw_data: str | None = None
    """Folder that holds the raw data files; null takes an earlier download, the system's package, the mirror or a
    rootless package download. Where the files come from changes no result, so it reruns nothing."""
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    """Training seeds. The same seed pairs runs across schedules and criteria: same initialisation, same data order."""
    datasets: dict[Name, Dataset]
    """Prepared data sets by name."""
    tasks: dict[Name, Task]
    """Tasks by name."""
    schedules: dict[Name, ScheduleConfig]
    """LR schedules by name."""
    s_cyc: SCyc
    """The S-Cyc study."""
    resources: Resources = Resources()
    """What one training job asks for."""

    @model_validator(mode="after")
    def _names_and_numbers_hold_together(self) -> Self:
        for name, task in self.tasks.items():
            _known(f"tasks.{name}.dataset", task.dataset, self.datasets)
            data = self.datasets[task.dataset]
            if task.training.batch_size > data.train:
                raise InputError(
                    f"tasks.{name}.training.batch_size is {task.training.batch_size}, "
                    f"more than the {data.train} training images of '{task.dataset}'"
                )
        for name, config in self.schedules.items():
            if name == "oracle":
                raise InputError("schedules.oracle: 'oracle' is the grid search's own name; choose another")
            try:
                policy = config.schedule().policy
                for cycle in range(self.s_cyc.pruning.cycles + 1):
                    policy.at(cycle)
            except InputError as error:
                raise InputError(f"schedules.{name}: {error}") from None
        for part in ("accuracy", "gradients"):
            for i, grid in enumerate(getattr(self.s_cyc, part)):
                for key, known in (("tasks", self.tasks), ("schedules", self.schedules)):
                    for value in getattr(grid, key):
                        _known(f"s_cyc.{part}[{i}].{key}", value, known)
        for spec in self.s_cyc_chains():
            if spec.images_measured() > self.datasets[spec.dataset].train:
                raise InputError(
                    f"s_cyc takes gradients on {spec.images_measured()} images (gradient_measure.images, "
                    f"pruning.score_images), more than the training images of '{spec.dataset}'"
                )
        if len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seeds holds a value twice: {self.seeds}")
        if self.s_cyc.pruning.rewind_epoch >= min(t.training.epochs for t in self.tasks.values()):
            raise InputError("s_cyc.pruning.rewind_epoch must be below the epochs of every task")
        if oracle := self.s_cyc.oracle:
            _known("s_cyc.oracle.task", oracle.task, self.tasks)
            _known("s_cyc.oracle.schedule", oracle.schedule, self.schedules)
            if sorted(set(oracle.max_lr)) != oracle.max_lr or not all(map(math.isfinite, oracle.max_lr)):
                raise InputError(f"s_cyc.oracle.max_lr must ascend without repeats, found {oracle.max_lr}")
        return self

    def s_cyc_chains(self) -> list["ChainSpec"]:
        """Every pruning chain of the S-Cyc study, each once, in a stable order."""
        study = self.s_cyc
        measured = {(t, c, s) for grid in study.gradients for t, c, s in _cells(grid)}
        cells = dict.fromkeys(cell for grid in (*study.accuracy, *study.gradients) for cell in _cells(grid))
        return [
            ChainSpec(
                **self._common(task, criterion, seed),
                schedule_name=schedule,
                schedule=LRSchedule(profile=self.schedules[schedule].profile, policy=self.schedules[schedule].policy),
                gradients=study.gradient_measure if (task, criterion, schedule) in measured else None,
            )
            for task, criterion, schedule in cells
            for seed in self.seeds
        ]

    def s_cyc_oracle_jobs(self) -> list["OracleSpec"]:
        """The oracle's training jobs: one per seed, cycle and portion of the grid."""
        oracle = self.s_cyc.oracle
        if oracle is None:
            return []
        return [
            OracleSpec(
                **self._common(oracle.task, oracle.criterion, seed),
                profile=self.schedules[oracle.schedule].profile,
                cycle=cycle,
                batch=batch,
                max_lr=max_lr,
            )
            for seed in self.seeds
            for cycle in range(self.s_cyc.pruning.cycles + 1)
            for batch, max_lr in enumerate(oracle.batches())
        ]

    def _common(self, task: str, criterion: str, seed: int) -> dict[str, Any]:
        recipe, pruning = self.tasks[task], self.s_cyc.pruning
        # What a run never reads is put at its default, so that changing it does not rerun the run.
        unread = {} if get_criterion(criterion).needs_gradients else {"score_images": DEFAULT_SCORE_IMAGES}
        if not pruning.after.rewinds:
            unread["rewind_epoch"] = 0
        return {
            "study": "s_cyc",
            "task": task,
            "dataset": recipe.dataset,
            "network": recipe.network,
            "training": recipe.training,
            "augmentation": recipe.augmentation,
            "pruning": pruning.model_copy(update=unread),
            "criterion": criterion,
            "seed": seed,
        }


class RunSpec(Strict):
    """What every training job depends on. Each kind of job has a `folder` of its own."""

    study: Name
    task: Name
    dataset: Name
    network: Network
    training: Training
    augmentation: Augmentation
    pruning: Pruning
    criterion: CriterionName
    seed: int

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


class ChainSpec(RunSpec):
    """One pruning chain: dense training, then prune and train again, cycle by cycle."""

    schedule_name: Name
    schedule: LRSchedule
    gradients: Gradients | None

    @property
    def folder(self) -> str:
        """The run's folder below results/<preset>/runs."""
        return f"{self.study}/{self.task}/{self.criterion}/{self.schedule_name}/seed-{self.seed}"

    def images_measured(self) -> int:
        """Training images that gradients are taken on at most, by the criterion or by the measurement."""
        scored = self.pruning.score_images if get_criterion(self.criterion).needs_gradients else 0
        return max(scored, self.gradients.images if self.gradients else 0)


class OracleSpec(RunSpec):
    """One portion of the oracle's grid in one cycle."""

    profile: ProfileConfig  # type: ignore[valid-type]
    cycle: int
    batch: int
    max_lr: list[float]

    @property
    def folder(self) -> str:
        """The job's folder below results/<preset>/runs."""
        return (
            f"{oracle_folder(self.study, self.task, self.criterion, self.seed)}/cycle-{self.cycle}/batch-{self.batch}"
        )

    def profile_of(self) -> Profile:
        """The LR profile that every candidate follows."""
        return _profile(self.profile)


def oracle_folder(study: str, task: str, criterion: str, seed: int) -> str:
    """The folder of one seed's oracle below results/<preset>/runs."""
    return f"{study}/{task}/{criterion}/oracle/seed-{seed}"


def _cells(grid: Grid) -> Iterator[tuple[str, str, str]]:
    for task in grid.tasks:
        for criterion in grid.criteria:
            for schedule in grid.schedules:
                yield task, criterion, schedule


def _known(key: str, name: str, known: dict[str, Any]) -> None:
    if name not in known:
        raise InputError(f"{key} names '{name}', which is not defined: {nearest(name, known)}")


def load_preset(path: Path, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Reads and validates a preset file; raises InputError with one line that names file, key and allowed values.

    `overrides` are laid over the file's values, key by key; Snakemake hands on `--config` that way.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        presets = sorted(p.stem for p in Path(path).parent.glob("*.yaml"))
        raise InputError(f"{path}: {error.strerror}; {nearest(Path(path).stem, presets)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return parse_preset(_overlaid(content, overrides or {}), str(path))


def _overlaid(content: object, overrides: object) -> object:
    """Changes no mapping in place: a YAML alias is one object under several keys, an override means one of them."""
    if isinstance(content, dict) and isinstance(overrides, Mapping):
        return content | {key: _overlaid(content.get(key), value) for key, value in overrides.items()}
    if isinstance(overrides, Mapping):
        return content if not overrides else dict(overrides)
    return None if overrides == "null" else overrides  # below the first level, Snakemake leaves values as text


def parse_preset(content: object, where: str) -> Preset:
    """Validates a preset that has been read already; `where` begins the error message."""
    return parse(Preset, content, where)


def parse(model: type[M], content: object, where: str) -> M:
    """`content` as a `model`; raises InputError whose one line names the first bad key and what is allowed."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(" ".join(f"{where}: {_explain(error, model)}".split())) from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a validation as one line; an unknown key comes with the nearest key of its model."""
    faults = error.errors(include_url=False)
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    location = fault["loc"]
    if not location and fault["type"] in ("model_type", "dict_type"):
        return f"must hold a mapping of keys to values, found {fault['input']!r:.80}"
    key = ".".join(str(part) for part in location)
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{key}': {nearest(str(location[-1]), _siblings(model, location))}"
    if fault["type"] == "value_error":
        return f"{key}: {fault['ctx']['error']}" if key else str(fault["ctx"]["error"])
    found = fault["input"]
    if fault["type"] in ("literal_error", "union_tag_invalid"):
        context = fault["ctx"]
        allowed = str(context.get("expected", context.get("expected_tags"))).replace(" or ", ", ")
        names = [name.strip(" '") for name in allowed.split(",")]
        value = context.get("tag", found)
        return f"'{key}' is '{value}': {nearest(str(value), names)}"
    shown = "" if fault["type"] == "missing" else f", found {found!r:.80}"
    return f"'{key}': {fault['msg'][0].lower()}{fault['msg'][1:]}{shown}"


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at `location` knows, found by walking the annotations along the location."""
    candidates: list[Any] = [model]
    for part in location[:-1]:
        found: list[Any] = []
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                if part in candidate.model_fields:
                    found += _models_in(candidate.model_fields[str(part)].annotation)
                else:
                    found.append(candidate)  # a dict key, a list index or a union's tag: not a field
        if isinstance(part, str) and any(_tag(c) == part for c in found):
            found = [c for c in found if _tag(c) == part]
        candidates = found
    return sorted({name for c in candidates if hasattr(c, "model_fields") for name in c.model_fields})


def _tag(model: Any) -> str | None:
    kind = getattr(model, "model_fields", {}).get("kind")
    values = typing.get_args(kind.annotation) if kind else ()
    return values[0] if len(values) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]
