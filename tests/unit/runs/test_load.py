"""How much of a machine others took while a job ran."""

import os
import subprocess
import sys
import time

import pytest

from prunebench.runs import load


def test_before_a_job_begins_nothing_is_known(monkeypatch):
    monkeypatch.setattr(load, "_started", [])
    assert load.others() is None


@pytest.mark.parametrize(
    ("busy", "own", "share"), [(3.0, 1.0, 0.25), (1.0, 1.0, 0.0), (0.9, 1.0, 0.0), (9.0, 1.0, 1.0)]
)
def test_others_are_what_was_busy_and_not_own(monkeypatch, busy, own, share):
    """In 4 s on two processors. The system's clocks differ by a tick: no share is negative."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    readings = iter([[10.0, 5.0, 100.0], [10.0 + busy, 5.0 + own, 104.0]])
    monkeypatch.setattr(load, "_reading", lambda: next(readings))
    load.watch()
    assert load.others() == pytest.approx(share)


def test_what_another_process_works_counts():
    works = "import time\nwhile time.process_time() < 0.5: pass\nprint('done', flush=True)\ntime.sleep(60)"
    load.watch()
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", works], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        share, wall = load.others(), time.perf_counter() - began
        other.kill()
    assert share * os.cpu_count() * wall > 0.4
