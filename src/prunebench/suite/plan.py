"""From a preset to its jobs: the stages of every study, and the dense networks that they share."""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from prunebench.errors import InputError, nearest
from prunebench.parsing import explain
from prunebench.runs.spec import Arm, File, Phase, RunSpec, Spec, Trained
from prunebench.suite.paper import Stage
from prunebench.suite.preset import Preset

DENSE = "dense"
"""The folder of dense networks, and the name of their arms."""


@dataclass(frozen=True)
class DenseWish:
    """A dense network that jobs of a study start from, for every seed.

    keep: epochs whose networks are needed beside the last. previous: whether the weights of one epoch before the end
    are needed.
    """

    task: str
    schedule: str
    keep: tuple[int, ...] = ()
    previous: bool = False


class DenseNetworks:
    """The dense networks of a preset, each trained once for all jobs that start from it."""

    def __init__(self, preset: Preset, wishes: Iterable[DenseWish]) -> None:
        self.preset = preset
        self._recipes: dict[tuple[str, str], str] = {}
        wished: dict[tuple[str, str], list[DenseWish]] = {}
        for wish in wishes:
            if preset.tasks[wish.task].weights is None:
                wished.setdefault((wish.task, self.recipe(wish.task, wish.schedule)), []).append(wish)
            elif wish.keep or wish.previous:
                raise InputError(
                    f"tasks.{wish.task}.weights: a file holds no epoch before the last, which a study rewinds to or "
                    "compares with"
                )
        self._specs = {
            (task, recipe, seed): self._spec(task, recipe, seed, same)
            for (task, recipe), same in wished.items()
            for seed in preset.seeds_of(task)
        }
        self._starts: dict[str, Trained] = {}

    def recipe(self, task: str, schedule: str) -> str:
        """The first schedule by name whose dense cycle is the same on the task: it names the network."""
        if (task, schedule) not in self._recipes:
            names = sorted(self.preset.schedules)
            mine = self._dense_cycle(task, schedule)
            self._recipes[task, schedule] = next(name for name in names if self._dense_cycle(task, name) == mine)
        return self._recipes[task, schedule]

    def _dense_cycle(self, task: str, schedule: str) -> tuple[Any, float]:
        of = self.preset.schedule(task, schedule)
        return of.profile, of.policy.at(0)

    def _spec(self, task: str, recipe: str, seed: int, wishes: Sequence[DenseWish]) -> RunSpec:
        training, schedule = self.preset.tasks[task].training, self.preset.schedule(task, recipe)
        phase = Phase(
            axes={"cycle": 0},
            epochs=training.epochs,
            profile=schedule.profile,
            max_lr=schedule.policy.at(0),
            update=training.mover,
            keep=sorted({training.epochs, *(epoch for wish in wishes for epoch in wish.keep)}),
            keep_previous=any(wish.previous for wish in wishes),
        )
        return RunSpec(
            folder=f"{DENSE}/{task}/{recipe}/seed-{seed}",
            **self.preset.task_fields(task, seed),
            axes={"schedule": recipe},
            arms=[Arm(name=DENSE, phases=[phase])],
            hands_on="kept",
        )

    def spec(self, task: str, schedule: str, seed: int) -> RunSpec:
        """The spec of a task's dense network under a schedule; KeyError for one that no study asked for."""
        return self._specs[task, self.recipe(task, schedule), seed]

    def start(self, task: str, schedule: str, seed: int) -> Trained | File:
        """The start of an arm: that network after its last epoch, or the file that the task names in its place."""
        weights = self.preset.tasks[task].weights
        if weights is not None:
            return File(kind="file", path=weights.path, sha256=weights.sha256)
        spec = self.spec(task, schedule, seed)
        if spec.folder not in self._starts:  # many arms have the same one
            self._starts[spec.folder] = Trained(
                kind="trained", run=spec.folder, spec=spec.digest(), arm=DENSE, epoch=spec.arms[0].epochs
            )
        return self._starts[spec.folder]

    def stage(self) -> Stage:
        """The stage that trains them; everything else waits for it."""
        return Stage("train_dense", DENSE, tuple(self._specs.values()), "Dense network", priority=20)


@dataclass(frozen=True)
class Plan:
    """All jobs of a preset, by stage. `studies`: paper -> its own stages."""

    preset: Preset
    dense: Stage
    studies: Mapping[str, tuple[Stage, ...]]

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Every stage with a job, by name."""
        every = [self.dense, *(stage for stages in self.studies.values() for stage in stages)]
        return {stage.name: stage for stage in every if stage.jobs}

    def jobs(self, key: str | None = None) -> list[Spec]:
        """Every job, or every one of a study alone."""
        stages = self.stages.values() if key is None else self.studies.get(key, ())
        return [job for stage in stages for job in stage.jobs]

    def trained(self) -> list[RunSpec]:
        """Every job that trains arms."""
        return [job for job in self.jobs() if isinstance(job, RunSpec)]

    def find(self, folder: str) -> tuple[Stage, Spec]:
        """The job of a folder; InputError with the nearest one where there is none."""
        for stage in self.stages.values():
            for job in stage.jobs:
                if job.folder == folder:
                    return stage, job
        folders = [job.folder for job in self.jobs()]
        raise InputError(f"no job '{folder}' in preset '{self.preset.preset}': {nearest(folder, folders)[:200]}")


def make_plan(preset: Preset) -> Plan:
    """Every job of a preset; InputError where a study asks for a job that cannot be."""
    studies = preset.studies()
    with _uncollected():
        wishes = [wish for paper, config in studies.values() for wish in paper.dense(config, preset)]
        try:
            dense = DenseNetworks(preset, wishes)
            planned = {key: tuple(paper.plan(config, preset, dense)) for key, (paper, config) in studies.items()}
        except ValidationError as error:
            raise InputError(f"preset '{preset.preset}': {explain(error)}") from None
        return Plan(preset, dense.stage(), planned)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python's collector of reference cycles rests: looking at a large plan's objects took as long as making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
