"""Time left of a run, from what its jobs should take and what those that ended took. Knows no Snakemake, no screen."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from statistics import mean

from prunebench.suite.timetable import Task, simulate

BELIEF = 0.5
"""How many jobs of a kind a guess from other kinds counts for, beside those of the kind that ended [ours: replays of
the kept runs]."""

AS_WEIGHED = 5.0
"""For jobs without a network: seconds of weight that are believed to hold, beside those of jobs that ended [ours]."""

AT_LEAST = 0.1
"""Of the time that a job has run: what is left of it at least, and of one that has overrun what it should take."""


FIRST = 1_000_000
"""The priority of what runs."""


@dataclass(frozen=True)
class Job(Task):
    """A job whose length is its seconds on the machine that the weights come from.

    stage, network: jobs that agree in both are slower or faster than that machine by the same factor, its pace. No
    network: it has a pace in common with others of that kind alone.
    """

    stage: str = ""
    network: str = ""


def left(
    jobs: Mapping[str, Job],
    workers: int,
    took: Mapping[str, float],
    running: Mapping[str, float],
    failed: Collection[str] = (),
) -> float | None:
    """Seconds until the last job ends; None as long as none that trains a network has.

    took: seconds of the jobs that ended. running: seconds since the others began. failed: jobs that, like those that
    wait for them, will not run.

    >>> from prunebench.suite.remaining import Job, left
    >>> jobs = {name: Job(10, stage="train", network="small") for name in "abcd"}
    >>> left(jobs, workers=1, took={"a": 20}, running={"b": 5})
    55.0
    """
    paces = Paces(jobs, took)
    if paces.all is None and any(job.network for job in jobs.values()):
        return None
    grown = {name: seconds * (1 + AT_LEAST) for name, seconds in running.items()}
    overrun = {name: seconds for name, seconds in grown.items() if seconds > jobs[name].length * paces.of(jobs[name])}
    paces = Paces(jobs, {**took, **overrun})
    gone = {*took, *lost(jobs, failed)}
    tasks = {}
    for name, job in jobs.items():
        if name in gone:
            continue
        length = job.length * paces.of(job)
        if name in running:
            rest = max(length - running[name], AT_LEAST * running[name])
            tasks[name] = replace(job, length=rest, after=(), priority=FIRST)
        else:
            tasks[name] = replace(job, length=length, after=tuple(other for other in job.after if other not in gone))
    return simulate(tasks, workers).length


def lost(jobs: Mapping[str, Job], failed: Collection[str]) -> set[str]:
    """The failed jobs, and those that wait for them."""
    gone = {*failed}
    while further := {name for name, job in jobs.items() if name not in gone and not gone.isdisjoint(job.after)}:
        gone |= further
    return gone


class Paces:
    """Seconds over those on the machine of the weights: of all jobs, of a network's, of a stage's on a network.

    The finest is a mean of what was measured and of the next coarser one, which counts for `BELIEF` jobs. Coarse ones
    are means over jobs: what one stage does beside its images shall not be laid on others.
    """

    def __init__(self, jobs: Mapping[str, Job], took: Mapping[str, float]) -> None:
        ended = [(jobs[name], seconds) for name, seconds in took.items()]
        trained = [seconds / job.length for job, seconds in ended if job.network]
        self.all = mean(trained) if trained else None
        others = [(job.length, seconds) for job, seconds in ended if not job.network]
        self._rest = (AS_WEIGHED + sum(s for _, s in others)) / (AS_WEIGHED + sum(length for length, _ in others))
        self._networks: dict[str, list[float]] = {}
        self._kinds: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for job, seconds in ended:
            self._networks.setdefault(job.network, []).append(seconds / job.length)
            self._kinds.setdefault((job.stage, job.network), []).append((job.length, seconds))
        self._known: dict[tuple[str, str], float] = {}

    def of(self, job: Job) -> float:
        """The pace of a job that has not ended."""
        kind = job.stage, job.network
        if kind not in self._known:
            self._known[kind] = self._measured(kind)
        return self._known[kind]

    def _measured(self, kind: tuple[str, str]) -> float:
        _, network = kind
        pace = self.all if network and self.all is not None else self._rest
        if network and (same := self._networks.get(network)):
            pace = (len(same) * mean(same) + BELIEF * pace) / (len(same) + BELIEF)
        if ended := self._kinds.get(kind):
            lengths, seconds = map(sum, zip(*ended, strict=True))
            guess = BELIEF * lengths / len(ended)
            pace = (seconds + guess * pace) / (lengths + guess)
        return pace
