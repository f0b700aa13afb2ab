"""The order in which jobs run: the longest chain of jobs that wait for each other, and a schedule over workers."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter


@dataclass(frozen=True)
class Task:
    """A job as a scheduler sees it.

    length: hours, or another unit. units: how many of the cores or GPUs it holds; 0: none, it waits for none. after:
    the jobs that it waits for.
    """

    length: float
    units: int = 1
    priority: int = 0
    after: tuple[str, ...] = ()


def longest_chain(tasks: Mapping[str, Task]) -> tuple[float, list[str]]:
    """The chain of jobs that wait for each other whose lengths add up to most: that sum, and the jobs in order.

    No number of workers makes a run shorter.

    >>> from prunebench.suite.timetable import Task, longest_chain
    >>> longest_chain({"a": Task(1), "b": Task(2, after=("a",)), "c": Task(2.5)})
    (3, ['a', 'b'])
    """
    ends: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for name in TopologicalSorter({name: task.after for name, task in tasks.items()}).static_order():
        last = max(tasks[name].after, key=lambda other: ends[other], default=None)
        before[name] = last
        ends[name] = tasks[name].length + (ends[last] if last is not None else 0)
    if not ends:
        return 0.0, []
    end: str | None = max(ends, key=lambda name: ends[name])
    chain, length = [], ends[str(end)]
    while end is not None:
        chain.append(end)
        end = before[end]
    return length, chain[::-1]


@dataclass(frozen=True)
class Schedule:
    """length: from the first job's beginning to the last one's end. busy: the share of all workers' time at work."""

    length: float
    busy: float


def simulate(tasks: Mapping[str, Task], workers: int) -> Schedule:
    """The jobs on so many cores or GPUs: whenever one is free the waiting job of the highest priority begins, of equal
    ones the longest, as Snakemake's priorities have it. A job that asks for more than there are gets all.

    >>> from prunebench.suite.timetable import Task, simulate
    >>> simulate({"a": Task(1), "b": Task(2, after=("a",)), "c": Task(3)}, workers=2)
    Schedule(length=3.0, busy=1.0)
    """
    run = _Run(tasks, workers)
    while run.running:
        run.end_first_()
    used = sum(task.length * min(task.units, workers) for task in tasks.values())
    return Schedule(run.now, used / (run.now * workers) if run.now else 0.0)


class _Run:
    """A run under way: what waits, what could begin, what runs, what is free."""

    def __init__(self, tasks: Mapping[str, Task], workers: int) -> None:
        self.tasks, self.workers, self.free, self.now = tasks, workers, workers, 0.0
        self.waits = {name: len({*task.after}) for name, task in tasks.items()}
        self.then: dict[str, list[str]] = {name: [] for name in tasks}
        for name, task in tasks.items():
            for other in {*task.after}:
                self.then[other].append(name)
        self.places = {name: (-t.priority, -t.length, place) for place, (name, t) in enumerate(tasks.items())}
        self.ready: list[tuple[tuple[int, float, int], str]] = []
        self.running: list[tuple[float, int, str]] = []
        for name, left in self.waits.items():
            if not left:
                self._admit_(name)
        self._fill_()

    def _admit_(self, name: str) -> None:
        """A job waits for no other any more."""
        if self.tasks[name].units:
            heapq.heappush(self.ready, (self.places[name], name))
        else:
            heapq.heappush(self.running, (self.now + self.tasks[name].length, 0, name))

    def _fill_(self) -> None:
        """Begins every job that there is room for, in order."""
        too_large = []
        while self.ready and self.free:
            place, name = heapq.heappop(self.ready)
            units = min(self.tasks[name].units, self.workers)
            if units > self.free:
                too_large.append((place, name))
                continue
            self.free -= units
            heapq.heappush(self.running, (self.now + self.tasks[name].length, units, name))
        for entry in too_large:
            heapq.heappush(self.ready, entry)

    def end_first_(self) -> None:
        """Goes on to the next end of a job, and begins what waited for it."""
        self.now, units, name = heapq.heappop(self.running)
        self.free += units
        for other in self.then[name]:
            self.waits[other] -= 1
            if not self.waits[other]:
                self._admit_(other)
        self._fill_()
