"""A preset: one scale of the whole suite, from its YAML file to the specs of every training job."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, model_validator

from prunebench.config.cascade import Cascade, RetrainSpec
from prunebench.config.claims import Claims
from prunebench.config.directional import (
    ConnectSpec,
    CurvatureSpec,
    Directional,
    OverheadSpec,
    ToySpec,
    TrajectoriesSpec,
)
from prunebench.config.parsing import Name, Strict, parse
from prunebench.config.s_cyc import ChainSpec, OracleSpec, SCyc
from prunebench.config.tasks import CHANNELS, Dataset, DenseSpec, Resources, RunSpec, ScheduleConfig, Task, known
from prunebench.errors import InputError, nearest
from prunebench.models.names import TORCHVISION_KINDS


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
    s_cyc: SCyc | None = None
    """The S-Cyc study; null leaves it out."""
    cascade: Cascade | None = None
    """The study of cascade weight shedding; null leaves it out."""
    directional: Directional | None = None
    """The study of directional pruning by gRDA; null leaves it out."""
    claims: Claims = Claims()
    """How claims are decided."""
    resources: Resources = Resources()
    """What one training job asks for."""

    @model_validator(mode="after")
    def _names_and_numbers_hold_together(self) -> Self:
        for name, task in self.tasks.items():
            known(f"tasks.{name}.dataset", task.dataset, self.datasets)
            data = self.datasets[task.dataset]
            if task.network.kind in TORCHVISION_KINDS and CHANNELS[data.source] != 3:
                raise InputError(
                    f"tasks.{name}: {task.network.kind} needs colour images, '{data.source}' has grey ones"
                )
            if task.training.batch_size > data.train:
                raise InputError(
                    f"tasks.{name}.training.batch_size is {task.training.batch_size}, "
                    f"more than the {data.train} training images of '{task.dataset}'"
                )
        for name, config in self.schedules.items():
            if name == "oracle":
                raise InputError("schedules.oracle: 'oracle' is the grid search's own name; choose another")
            try:
                config.schedule().policy.at(0)
            except InputError as error:
                raise InputError(f"schedules.{name}: {error}") from None
        if len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seeds holds a value twice: {self.seeds}")
        if not self._studies():
            raise InputError("no study: a preset needs s_cyc, cascade or directional")
        if self.cascade:  # before any study is checked: which dense networks there are hangs on all studies
            known("cascade.dense", self.cascade.dense, self.schedules)
        for study in self._studies():
            study.check(self)
        return self

    def _studies(self) -> list[SCyc | Cascade | Directional]:
        return [study for study in (self.s_cyc, self.cascade, self.directional) if study is not None]

    def s_cyc_chains(self) -> list[ChainSpec]:
        """Every pruning chain of the S-Cyc study, each once, in a stable order."""
        return self.s_cyc.chains(self) if self.s_cyc else []

    def s_cyc_oracle_jobs(self) -> list[OracleSpec]:
        """The oracle's training jobs: one per seed, cycle and portion of the grid."""
        return self.s_cyc.oracle_jobs(self) if self.s_cyc else []

    def cascade_jobs(self) -> list[RetrainSpec]:
        """The jobs of the cascade study: one per part, task, seed and portion of the part's arms."""
        return self.cascade.jobs(self) if self.cascade else []

    def directional_jobs(self) -> list[TrajectoriesSpec]:
        """The jobs of the directional study that train networks: minima, baselines and sensitivity."""
        study = self.directional
        if study is None:
            return []
        return [*study.minima_jobs(self), *study.baseline_jobs(self), *study.sensitivity_jobs(self)]

    def connection_jobs(self) -> list[ConnectSpec]:
        """Paths between minima: one job per task and seed."""
        return self.directional.connection_jobs(self) if self.directional else []

    def curvature_jobs(self) -> list[CurvatureSpec]:
        """The Hessian's leading eigenpairs: one job per task and seed."""
        return self.directional.curvature_jobs(self) if self.directional else []

    def toy_jobs(self) -> list[ToySpec]:
        """The exact problems: one job per seed."""
        return self.directional.toy_jobs(self) if self.directional else []

    def overhead_jobs(self) -> list[OverheadSpec]:
        """Cost of the optimizers: one job."""
        return self.directional.overhead_jobs(self) if self.directional else []

    def dense_jobs(self) -> list[DenseSpec]:
        """The dense networks that other jobs start from, each once."""
        starts = [spec.dense for spec in self.s_cyc_chains() if spec.dense]
        starts += [spec.dense for spec in self.cascade_jobs()]
        return list({spec.folder: spec for spec in starts}.values())

    def jobs(self) -> list[RunSpec]:
        """Every training job."""
        return [
            *self.dense_jobs(),
            *self.s_cyc_chains(),
            *self.s_cyc_oracle_jobs(),
            *self.cascade_jobs(),
            *self.directional_jobs(),
        ]

    def dense(self, task: str, schedule: str, seed: int) -> DenseSpec:
        """The dense network of a task under a schedule: one for all schedules that train it alike."""
        recipe = self._recipe(schedule)
        config = self.schedules[recipe]
        return DenseSpec(
            **self.common("dense", task, seed),
            recipe=recipe,
            profile=config.profile,
            max_lr=config.schedule().policy.at(0),
            keep=self._kept_epochs.get((task, recipe), []),
        )

    def common(self, study: str, task: str, seed: int) -> dict[str, Any]:
        """What the specs of all jobs hold."""
        recipe = self.tasks[task]
        return {
            "study": study,
            "task": task,
            "dataset": recipe.dataset,
            "network": recipe.network,
            "training": recipe.training,
            "augmentation": recipe.augmentation,
            "seed": seed,
        }

    def _recipe(self, schedule: str) -> str:
        """The first schedule by name whose dense cycle is the same."""

        def dense_cycle(name: str) -> tuple[Any, float]:
            return self.schedules[name].profile, self.schedules[name].schedule().policy.at(0)

        return next(name for name in sorted(self.schedules) if dense_cycle(name) == dense_cycle(schedule))

    @cached_property
    def _kept_epochs(self) -> dict[tuple[str, str], list[int]]:
        kept: dict[tuple[str, str], set[int]] = {}
        for study in self._studies():
            for task, schedule, epoch in study.kept_epochs(self):
                kept.setdefault((task, self._recipe(schedule)), set()).add(epoch)
        return {key: sorted(epochs) for key, epochs in kept.items()}


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
