"""`snakemake --logger prunebench`: one screen instead of Snakemake's lines, which go to its log file alone.

Snakemake imports this whether it is asked for or not: nothing heavy here.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from prunebench.suite.plan import Plan
    from prunebench.suite.progress import Planned

LOGGER = logging.getLogger("snakemake.logging")

OURS = (".smk", "Snakefile")
"""How the files end whose messages are shown: Snakemake's own say what the screen shows."""

STOPPING = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
"""How Snakemake's messages begin that it was told to stop."""

SHOWN = ("Nothing to be done", "Trying to restart job")
"""How those of its own messages begin that are shown all the same."""

KNOWN = ("At least one job did not complete", "Exiting because a job execution failed", "Cancelling snakemake")
"""What is in messages about errors that the last line tells."""


class LogHandler(LogHandlerBase):
    """Shows a run of this workflow. In a dry run it leaves everything to Snakemake."""

    def __post_init__(self) -> None:
        from rich.console import Console

        from prunebench.suite.screen import Screen

        no_color = self.common_settings.nocolor or None  # None: as the terminal and NO_COLOR have it
        self._screen = Screen(Console(stderr=not self.common_settings.stdout, no_color=no_color, highlight=False))
        self._ended = threading.Event()
        self._stopped = False

    @property
    def writes_to_stream(self) -> bool:
        """Whether Snakemake's own lines stay away from the terminal."""
        return not self.common_settings.dryrun

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's log file is Snakemake's."""
        return False

    @property
    def has_filter(self) -> bool:
        """`--quiet` takes nothing away that is counted here."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Messages are shown as they are."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Jobs are told by `expect`."""
        return False

    def expect(self, jobs: "Iterable[Planned]", workers: int, title: str, plan: str) -> None:
        """Tells which jobs will run, and how many at once; Snakemake itself tells only how many there are.

        plan: the file with the resolved preset.
        """
        log = next((each.baseFilename for each in LOGGER.handlers if isinstance(each, logging.FileHandler)), "nowhere")
        with self.lock:  # type: ignore[union-attr]
            self._screen.begin_(jobs, workers, time.time(), f"{title}\nSnakemake's own output: {log}")
        for task in (self._tick, self._weigh):
            threading.Thread(target=task, args=(plan,) if task == self._weigh else (), daemon=True).start()

    def _weigh(self, plan: str) -> None:
        """In a process of its own, since torch counts the FLOPs: that of the jobs' server where there is one."""
        line = [sys.executable, "-m", "prunebench", "weigh", "--plan", plan]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)
        if done.returncode == 0:
            with self.lock:  # type: ignore[union-attr]
                self._screen.weigh_(json.loads(done.stdout))

    def _tick(self) -> None:
        while not self._ended.wait(1.0):
            with self.lock:  # type: ignore[union-attr]
                if not self._ended.is_set():
                    self._screen.tick_(time.time())

    def emit(self, record: logging.LogRecord) -> None:
        """Takes what Snakemake says."""
        if self.common_settings.dryrun:
            return
        try:
            self._take(vars(record), record.getMessage())
        except Exception:
            self.handleError(record)

    def _take(self, said: dict[str, Any], message: str) -> None:
        event, progress, now = said.get("event"), self._screen.progress, said["created"]
        if progress and event == LogEvent.JOB_STARTED:
            for number in said["jobs"]:
                progress.begin_(number, now)
            self._screen.glance_(now)
        elif progress and event == LogEvent.JOB_FINISHED:
            progress.end_(said["job_id"], now)
        elif progress and "failed" in said and self._stopped:
            progress.stop_(said["jobid"])
        elif progress and "failed" in said:
            progress.fail_(said["jobid"])
            self._screen.say(message, "red")
        elif message.startswith(STOPPING):
            self._stopped = True
            self._screen.say("Stopping: the jobs that run save where they are, and end.", "yellow")
        elif said["levelno"] >= logging.WARNING:
            if not any(known in message for known in KNOWN):
                self._screen.say(message, "red" if said["levelno"] >= logging.ERROR else "yellow")
        elif event is None and (said["pathname"].endswith(OURS) or message.startswith(SHOWN)):
            self._screen.say(message)

    def close(self) -> None:
        """The run has ended, however."""
        if not self._ended.is_set():
            self._ended.set()
            with self.lock:  # type: ignore[union-attr]
                self._screen.end_(self._stopped, time.time())
        super().close()


def tell_screen(workflow: Any, plan: "Plan", file: str) -> None:
    """Tells the screen, if there is one, what a Snakemake that has begun will run. file: with the plan's preset."""
    for handler in workflow.logger_manager.get_log_handlers():
        if isinstance(handler, LogHandler):
            jobs = [*_planned(workflow, plan)]
            workers, kind = (
                (workflow.cores, "cores" if workflow.cores > 1 else "core")
                if workflow.local_exec
                else (workflow.nodes, "jobs at once")
            )
            title = f"prunebench: preset {plan.preset.preset}, {len(jobs)} jobs, {workers} {kind}"
            handler.expect(jobs, workers, title, file)


def _planned(workflow: Any, plan: "Plan") -> "Iterator[Planned]":
    """The jobs that make a file, stage by stage."""
    from prunebench.suite.progress import REST, Planned

    places = {name: place for place, name in enumerate(("prepare_data", *plan.stages))}
    dag, last = workflow.dag, len(places)
    jobs = [job for job in dag.needrun_jobs() if job.output]
    for job in sorted(jobs, key=lambda job: (places.get(job.rule.name, last), job.jobid)):
        rule, run = job.rule.name, "/".join(job.wildcards_dict.values())
        yield Planned(
            number=job.jobid,
            rule=rule,
            stage=rule if rule in places else REST,
            run=run,
            folder=f"{plan.stages[rule].folder}/{run}" if rule in plan.stages else "",
            threads=job.threads if workflow.local_exec else 1,
            priority=job.priority,
            after=[other.jobid for other in dag.dependencies[job] if dag.needrun(other)],
        )
