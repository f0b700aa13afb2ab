"""How far a run is: its stages, what runs, what failed, and the time left. Knows no Snakemake and no screen."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunebench.suite.remaining import Job, left, lost
from prunebench.suite.weights import Weights

REST = "tables, figures, report"
"""The stage of all rules that do no job of the plan."""

DRAW, OTHERS = 5.0, 1.0
"""Seconds of rules that draw a paper's figures, and of others that do no job of the plan [ours: smoke preset]."""


@dataclass(frozen=True)
class Planned:
    """A job that Snakemake will run.

    number: Snakemake's. run: what its wildcards say. folder: of a job of the plan. after: the numbers of the jobs that
    it waits for.
    """

    number: int
    rule: str
    stage: str
    run: str = ""
    folder: str = ""
    threads: int = 1
    priority: int = 0
    after: Sequence[int] = ()


@dataclass(frozen=True)
class Stage:
    """A line of the screen: numbers of jobs. lost: will not run, since what they wait for has failed."""

    name: str
    total: int
    done: int
    running: int
    failed: int
    lost: int

    @property
    def state(self) -> str:
        """waiting, running, done or failed."""
        if (self.failed or self.lost) and not self.running:
            return "failed"
        if self.done == self.total:
            return "done"
        return "running" if self.running or self.done else "waiting"


class Progress:
    """What became of a run's jobs up to now; times are seconds of one clock."""

    def __init__(self, jobs: Iterable[Planned], workers: int, now: float) -> None:
        self.jobs = {job.number: job for job in jobs}
        self.workers, self.began = workers, now
        self.running: dict[int, float] = {}
        """Number -> when it began, in that order."""
        self.took: dict[int, float] = {}
        self.failed: set[int] = set()
        self._weighed: dict[str, Job] | None = None

    def weigh_(self, weights: Weights) -> None:
        """Learns what the plan's jobs should take."""
        self._weighed = {str(job.number): _weighed(job, weights) for job in self.jobs.values()}

    def begin_(self, number: int, now: float) -> None:
        """A job begins, perhaps anew."""
        if number in self.jobs:
            self.failed.discard(number)
            self.running[number] = now

    def end_(self, number: int, now: float) -> None:
        """A job has ended well."""
        if number in self.running:
            self.took[number] = max(now - self.running.pop(number), 0.01)

    def fail_(self, number: int) -> None:
        """A job has failed."""
        if self.running.pop(number, None) is not None:
            self.failed.add(number)

    def stop_(self, number: int) -> None:
        """A job was told to stop."""
        self.running.pop(number, None)

    @property
    def lost(self) -> set[int]:
        """Jobs that wait for one that failed."""
        jobs = {str(job.number): Job(0, after=tuple(map(str, job.after))) for job in self.jobs.values()}
        return {int(name) for name in lost(jobs, {*map(str, self.failed)})} - self.failed if self.failed else set()

    def stages(self) -> list[Stage]:
        """Every stage, in the order of its first job."""
        counts: dict[str, list[int]] = {}
        groups: tuple[Container[int], ...] = (self.jobs, self.took, self.running, self.failed, self.lost)
        for number, job in self.jobs.items():
            row = counts.setdefault(job.stage, [0] * len(groups))
            for place, group in enumerate(groups):
                row[place] += number in group
        return [Stage(name, *row) for name, row in counts.items()]

    def left(self, now: float) -> float | None:
        """Seconds until the last job ends; None while it cannot be told."""
        if self._weighed is None:
            return None
        took = {str(number): seconds for number, seconds in self.took.items()}
        running = {str(number): now - began for number, began in self.running.items()}
        return left(self._weighed, self.workers, took, running, {*map(str, self.failed)})


def _weighed(job: Planned, weights: Mapping[str, tuple[str, float]]) -> Job:
    unknown = "", DRAW if job.rule.startswith("draw_") else OTHERS
    network, seconds = weights.get(job.folder or job.rule, unknown)
    kind = job.stage if job.folder else job.rule
    return Job(seconds, job.threads, job.priority, tuple(map(str, job.after)), kind, network)
