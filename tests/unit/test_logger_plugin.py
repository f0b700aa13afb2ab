"""The logger plugin: what Snakemake asks of one, and what becomes of its events."""

import io
import logging
import subprocess
import sys

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

from prunebench.suite.failures import in_short
from prunebench.suite.progress import Planned
from prunebench.suite.screen import Screen
from snakemake_logger_plugin_prunebench import LogHandler


class TestInterface(TestLogHandlerBase):
    """The interface's own tests."""

    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return None


def test_snakemake_finds_it_by_its_name_and_importing_it_is_cheap():
    assert "prunebench" in LoggerPluginRegistry().plugins
    heavy = "{'rich', 'torch', 'pandas', 'pydantic', 'prunebench.suite.screen'} & sys.modules.keys()"
    line = [sys.executable, "-c", f"import sys, snakemake_logger_plugin_prunebench; assert not {heavy}, {heavy}"]
    subprocess.run(line, check=True)


@pytest.fixture
def handler():
    """A handler without threads, with two jobs, the second of which waits for the first."""
    made = LogHandler(MockOutputSettings(), None)
    made._screen = Screen(Console(file=io.StringIO(), width=200))
    made._screen.begin_([Planned(7, "train", "train", "a/b"), Planned(8, "draw", "draw", after=(7,))], 2, 0.0, "begun")
    return made


def record(event, text="", level=logging.INFO, path="logging.py", **more):
    made = logging.LogRecord("snakemake", level, path, 1, text, (), None)
    vars(made).update(event=event, **more)
    return made


def failed(number, tmp_path):
    log = tmp_path / "results/x/logs/train/a/b.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("prunebench: no room\n")
    about = {"jobid": number, "rule_name": "train", "rule_msg": None, "log": [str(log)], "aux": {}}
    made = record(LogEvent.JOB_ERROR, level=logging.ERROR, **about, shellcmd="prunebench do x")
    assert in_short(made)
    return made


def said(handler):
    return handler._screen.console.file.getvalue()


def test_it_counts_jobs_by_their_events(handler):
    handler.emit(record(LogEvent.JOB_STARTED, "Execute 2 jobs...", jobs=[7, 9]))
    assert set(handler._screen.progress.running) == {7}
    handler.emit(record(LogEvent.JOB_FINISHED, "Finished jobid: 7", job_id=7))
    assert set(handler._screen.progress.took) == {7}
    handler.close()
    assert "train: all 1 jobs done, " in said(handler)
    assert "1 of 2 jobs are done" in said(handler)


def test_a_failed_job_is_told_with_the_last_line_of_its_log(handler, tmp_path):
    handler.emit(record(LogEvent.JOB_STARTED, jobs=[7]))
    handler.emit(failed(7, tmp_path))
    assert "Failed: train/a/b\n    prunebench: no room\n    log: " in said(handler)
    assert "by hand: prunebench do x" in said(handler)
    handler.close()
    handler.close()  # logging closes every handler once more, as Python ends
    assert said(handler).count("0 of 2 jobs are done, 1 failed, 1 wait for what failed") == 1


def test_a_job_that_was_told_to_stop_has_not_failed(handler, tmp_path):
    handler.emit(record(LogEvent.JOB_STARTED, jobs=[7]))
    handler.emit(record(None, "Terminating processes on user request, this might take some time."))
    handler.emit(failed(7, tmp_path))
    handler.close()
    assert "Failed" not in said(handler)
    assert "Stopping: " in said(handler)
    assert "Stopped: 0 of 2 jobs are done" in said(handler)


def test_messages_of_the_workflow_and_errors_are_shown_and_snakemake_s_own_lines_are_not(handler):
    shown = [
        record(None, "schedules.x: 1 -> 2", path="/a/workflow/rules/common.smk"),
        record(None, "Nothing to be done (all requested files are present and up to date)."),
        record(None, "a warning", logging.WARNING),
        record(LogEvent.ERROR, "WorkflowError:\nno preset 'x'", logging.ERROR),
    ]
    hidden = [
        record(None, "Building DAG of jobs..."),
        record(LogEvent.JOB_INFO, "rule x: input: a, b, c"),
        record(LogEvent.SHELLCMD, "prunebench do"),
        record(LogEvent.RUN_INFO, "Job stats"),
        record(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR),
    ]
    for each in (*shown, *hidden):
        handler.emit(each)
    text = "".join(f"{each.getMessage()}\n" for each in shown)
    assert said(handler) == f"begun\n{text}"


def test_a_dry_run_is_snakemake_s(handler):
    settings = MockOutputSettings()
    assert LogHandler(settings, None).writes_to_stream
    settings.dryrun = True
    dry = LogHandler(settings, None)
    assert not dry.writes_to_stream
    dry._screen = handler._screen
    dry.emit(record(None, "a warning", logging.WARNING))
    assert said(handler) == "begun\n"


def test_what_an_event_lacks_is_told_by_logging_and_ends_nothing(handler, capsys):
    handler.emit(record(LogEvent.JOB_FINISHED))
    assert "job_id" in capsys.readouterr().err
