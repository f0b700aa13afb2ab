"""A run on a terminal: its stages with bars, what runs, the time left; or, where there is no terminal, a few lines."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prunebench.errors import printable
from prunebench.suite.progress import Planned, Progress, Stage
from prunebench.suite.weights import Weights

RUNNING_LINES = 4
"""Jobs at work that are named."""

BAR = 24

SHARE = 0.1
SILENCE = 600.0
"""Without a terminal: a line for each such share of the time, and after so many seconds without one."""

PAUSE = 0.1
"""Seconds between two pictures, at least, when jobs begin."""

AT_MOST = 0.02
"""The share of one core that telling the time left may take."""

STYLES = {"waiting": "dim", "running": "", "done": "green", "failed": "red"}
MARKS = {"waiting": " ", "running": ">", "done": "+", "failed": "x"}


class Screen:
    """Shows a run on a console; `live` where it is a terminal. Call `tick_` about once a second."""

    def __init__(self, console: Console) -> None:
        self.console, self.live = console, console.is_terminal and not console.is_dumb_terminal
        self.progress: Progress | None = None
        self._shown: Live | None = None
        self._told: set[str] = set()
        self._share, self._spoke = 0.0, 0.0
        self._left: tuple[float, float] | None = None
        """The time left that was computed last, and when."""
        self._next = 0.0
        self._drawn = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Lines that stay; above the bars where there are any."""
        lines = [printable(line) for line in text.strip("\n").split("\n")]
        self.console.print(Text("\n".join(lines), style=style), soft_wrap=True)

    def begin_(self, jobs: Iterable[Planned], workers: int, now: float, title: str) -> None:
        """The run begins."""
        self.progress, self._spoke = Progress(jobs, workers, now), now
        self.say(title)
        if self.live:
            self._shown = Live(
                console=self.console, auto_refresh=False, get_renderable=lambda: self.render(time.time())
            )
            self._shown.start(refresh=True)

    def weigh_(self, weights: Weights) -> None:
        """Learns what the plan's jobs should take."""
        if self.progress:
            self.progress.weigh_(weights)

    def tick_(self, now: float) -> None:
        """Shows what it is like now."""
        self._drawn = now
        if self._shown:
            self._shown.refresh()
        elif self.progress:
            self._tell_(self.progress, now)

    def glance_(self, now: float) -> None:
        """Jobs have begun: shows them even if they end before the next tick."""
        if self._shown and now >= self._drawn + PAUSE:
            self.tick_(now)

    def end_(self, stopped: bool, now: float) -> None:
        """The run has ended, and with it the bars: one line stays."""
        self.tick_(now)
        if self._shown:
            self._shown.stop()
            self._shown = None
        if self.progress:
            done = len(self.progress.took) == len(self.progress.jobs)
            self.say(closing(self.progress, stopped, now), "bold green" if done else "bold red")
            self.progress = None

    # --- The time left

    def left(self, now: float) -> float | None:
        """Seconds left, computed anew no more often than `AT_MOST` has it."""
        assert self.progress
        if now >= self._next:
            began = time.perf_counter()
            seconds = self.progress.left(now)
            self._left = None if seconds is None else (seconds, now)
            self._next = now + (time.perf_counter() - began) / AT_MOST
        return max(self._left[0] - (now - self._left[1]), 0.0) if self._left else None

    def share(self, now: float) -> float | None:
        """The share of the time that has passed."""
        assert self.progress
        gone, left = now - self.progress.began, self.left(now)
        return None if left is None else gone / max(gone + left, 1e-9)

    def status(self, now: float) -> str:
        """Share of the time, time that has passed, time left, jobs that failed."""
        assert self.progress
        gone, left, share = now - self.progress.began, self.left(now), self.share(now)
        parts = [f"{duration(gone)} so far"]
        if left is None or share is None:
            parts.append("time left not known yet")
        else:
            parts = [f"{share:.0%} of the time", *parts, f"about {duration(left)} left"]
        if failed := len(self.progress.failed):
            parts.append(f"{failed} failed")
        return ", ".join(parts)

    # --- With a terminal

    def render(self, now: float) -> RenderableType:
        """All that changes: stages, what runs, one line about the whole."""
        if not self.progress:
            return Text()
        running = self._running(self.progress, now)
        stages = folded(self.progress.stages(), max(self.console.height - len(running) - 4, 3))
        status = Text(self.status(now), style="bold", no_wrap=True, overflow="ellipsis")
        return Group(self._stages(stages, self.share(now) or 0.0), *running, status)

    def _stages(self, stages: Sequence[Stage], share: float) -> Table:
        """A line for each stage, and one for all, whose bar shows the time."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_column(width=BAR)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(no_wrap=True)
        for stage in stages:
            style = STYLES[stage.state]
            bar = ProgressBar(
                stage.total, stage.done, width=BAR, complete_style=style or "cyan", finished_style="green"
            )
            counts = {"running": stage.running, "failed": stage.failed, "cannot run": stage.lost}
            note = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
            head = Text(MARKS[stage.state], style=style), Text(stage.name, style=style)
            grid.add_row(*head, bar, Text(f"{stage.done}/{stage.total}"), Text(note))
        assert self.progress
        count = f"{len(self.progress.took)}/{len(self.progress.jobs)}"
        grid.add_row("", Text("all", style="bold"), ProgressBar(1.0, share, width=BAR), Text(count, style="bold"), "")
        return grid

    def _running(self, progress: Progress, now: float) -> list[Text]:
        """The jobs at work, the longest first."""
        lines = []
        for number, began in list(progress.running.items())[:RUNNING_LINES]:
            job = progress.jobs[number]
            lines.append(f"  {clock(now - began)}  {job.rule} {job.run}")
        if (more := len(progress.running) - RUNNING_LINES) > 0:
            lines.append(f"         and {more} more")
        return [Text(printable(line), no_wrap=True, overflow="ellipsis", style="cyan") for line in lines]

    # --- Without

    def _tell_(self, progress: Progress, now: float) -> None:
        """A line for each stage that ended, for each tenth of the time, and after a long silence."""
        for stage in progress.stages():
            if stage.done == stage.total and stage.name not in self._told:
                self._told.add(stage.name)
                self._speak_(f"{stage.name}: all {stage.total} jobs done, {duration(now - progress.began)} so far", now)
        share = self.share(now) or 0.0
        if len(progress.took) == len(progress.jobs):
            return
        if share >= self._share + SHARE or now >= self._spoke + SILENCE:
            self._share = max(self._share, share // SHARE * SHARE)
            self._speak_(f"{len(progress.took)} of {len(progress.jobs)} jobs, {self.status(now)}", now)

    def _speak_(self, line: str, now: float) -> None:
        self._spoke = now
        self.say(line)


def folded(stages: Sequence[Stage], room: int) -> list[Stage]:
    """The stages in so many lines: those that are done become one, if need be also those that wait."""
    stages = list(stages)
    for state, name in (("done", "{} stages done"), ("waiting", "{} stages to come")):
        some = [stage for stage in stages if stage.state == state]
        if len(stages) > room and len(some) > 1:
            one = Stage(name.format(len(some)), sum(s.total for s in some), sum(s.done for s in some), 0, 0, 0)
            rest = [stage for stage in stages if stage.state != state]
            stages = [one, *rest] if state == "done" else [*rest, one]
    return stages[:room]


def closing(progress: Progress, stopped: bool, now: float) -> str:
    """The last line: what became of the jobs."""
    total, done, failed = len(progress.jobs), len(progress.took), len(progress.failed)
    passed = duration(now - progress.began)
    if done == total:
        return f"All {total} jobs are done, in {passed}."
    parts = [f"{'Stopped: ' if stopped else ''}{done} of {total} jobs are done"]
    if failed and not stopped:
        parts.append(f"{failed} failed")
        if waiting := len(progress.lost):
            parts.append(f"{waiting} wait for what failed")
    return f"{', '.join(parts)}, in {passed}. The same command goes on from there."


def duration(seconds: float) -> str:
    """In words: 40 s, 12 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """As a clock shows it: 0:07, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    text = f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return f"{text:>7}"
