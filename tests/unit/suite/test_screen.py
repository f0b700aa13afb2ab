"""A run as the screen shows it, with a terminal and without."""

import io
import time

import pytest
from rich.console import Console

from prunebench.suite.progress import REST, Planned, Progress, Stage
from prunebench.suite.screen import Screen, clock, closing, duration, folded

WEIGHTS = {f"train/{n}": ("resnet", 10.0) for n in range(4)} | {"prune/0": ("resnet", 20.0)}


def jobs():
    """Four that train, one that prunes what the first has trained, one that draws all."""
    trained = [Planned(n, "train_dense", "train_dense", f"task/seed-{n}", f"train/{n}", priority=20) for n in range(4)]
    pruned = Planned(4, "prune_chains", "prune_chains", "task/seed-0", "prune/0", after=(0,))
    return [*trained, pruned, Planned(5, "draw_x", REST, after=(1, 4))]


@pytest.fixture
def progress():
    made = Progress(jobs(), 2, 0.0)
    made.weigh_(WEIGHTS)
    return made


def screen(terminal, height=30, width=100):
    """A screen that writes into a file, with the run begun at 0."""
    size = {"width": width, "height": height}
    made = Screen(Console(file=io.StringIO(), force_terminal=terminal, no_color=True, highlight=False, **size))
    made.progress = Progress(jobs(), 2, 0.0)
    made.progress.weigh_(WEIGHTS)
    return made


def lines(screen, now):
    """What a terminal shows."""
    console = Console(file=io.StringIO(), width=screen.console.width, height=screen.console.height, record=True)
    console.print(screen.render(now))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_stages_count_what_is_done_runs_failed_and_cannot_run(progress):
    for number in (0, 1, 2):
        progress.begin_(number, 0)
    progress.end_(1, 9)
    progress.fail_(0)
    assert progress.stages() == [
        Stage("train_dense", 4, 1, 1, 1, 0),
        Stage("prune_chains", 1, 0, 0, 0, 1),
        Stage(REST, 1, 0, 0, 0, 1),
    ]
    assert [stage.state for stage in progress.stages()] == ["running", "failed", "failed"]
    progress.begin_(0, 10)  # tried again
    assert [stage.failed + stage.lost for stage in progress.stages()] == [0, 0, 0]


def test_jobs_that_it_was_not_told_of_do_not_count(progress):
    progress.begin_(99, 0)
    progress.end_(99, 1)
    progress.fail_(98)
    assert (progress.running, progress.took, progress.failed) == ({}, {}, set())


def test_the_time_left_follows_from_weights_and_what_jobs_took(progress):
    progress.begin_(0, 0)
    assert progress.left(5) is None
    progress.end_(0, 20)  # twice as long as it should have taken
    assert progress.left(20) == pytest.approx(20 + 40 + 5)  # two networks, one while another is pruned; figures
    assert Progress(jobs(), 2, 0.0).left(20) is None  # nothing was weighed


def test_a_terminal_shows_a_line_per_stage_what_runs_and_the_whole():
    made = screen(True)
    made.progress.begin_(0, 0)
    made.progress.end_(0, 20)
    made.progress.begin_(1, 18)
    made.progress.begin_(4, 20)
    *stages, whole, first, second, status = lines(made, 25.0)
    assert [line.split()[:2] for line in stages] == [
        [">", "train_dense"],
        [">", "prune_chains"],
        ["tables,", "figures,"],
    ]
    ends = ("1/4 1 running", "0/1 1 running", "0/1")
    assert all(line.endswith(end) for line, end in zip(stages, ends, strict=True))
    assert first.split() == ["0:07", "train_dense", "task/seed-1"]
    assert second.split() == ["0:05", "prune_chains", "task/seed-0"]
    # Twice as slow as weighed: 13 s of a network and two more after it; figures do not wait for these.
    assert status == "32% of the time, 25 s so far, about 53 s left"
    assert whole.split()[0] == "all"
    assert whole.endswith(" 1/6")


def test_many_jobs_at_once_are_counted():
    made = screen(True)
    made.progress = Progress([Planned(n, "train", "train", f"seed-{n}") for n in range(30)], 30, 0.0)
    for number in range(30):
        made.progress.begin_(number, 0)
    assert [line.strip() for line in lines(made, 1.0)][6] == "and 26 more"


@pytest.mark.parametrize("height", [8, 12, 24, 50])
def test_it_fits_any_terminal(height):
    made = screen(True, height, width=60)
    made.progress = Progress([Planned(n, f"rule_{n}", f"rule_{n}", "x" * 80) for n in range(30)], 2, 0.0)
    for number in range(12):
        made.progress.begin_(number, 0)
    for number in range(10):
        made.progress.end_(number, 5)
    shown = lines(made, 6.0)
    assert len(shown) < height
    assert all(len(line) <= 60 for line in shown)
    assert any("rule_10" in line for line in shown)
    assert ("10 stages done" in shown[0]) == (height < 50)
    assert any("18 stages to come" in line for line in shown) == (12 <= height < 50)  # 8 has no room for all of it


def test_stages_are_folded_only_where_there_is_no_room():
    stages = [Stage(f"s{n}", 2, 2 if n < 3 else 0, int(n == 3), 0, 0) for n in range(7)]
    assert folded(stages, 7) == stages
    assert [stage.name for stage in folded(stages, 6)] == ["3 stages done", "s3", "s4", "s5", "s6"]
    assert [stage.name for stage in folded(stages, 3)] == ["3 stages done", "s3", "3 stages to come"]
    assert folded(stages, 3)[0] == Stage("3 stages done", 6, 6, 0, 0, 0)


def test_without_a_terminal_there_are_a_few_lines_and_no_bars():
    made = screen(False)
    for number in range(6):
        made.progress.begin_(number, 20.0 * number)
        for step in range(100):
            made.tick_(20.0 * number + 0.2 * step)
        made.progress.end_(number, 20.0 * (number + 1))
    made.end_(False, 120.0)
    said = made.console.file.getvalue()
    assert "━" not in said
    assert "\x1b" not in said
    told = said.splitlines()
    assert "train_dense: all 4 jobs done, 80 s so far" in told
    assert told[-1] == "All 6 jobs are done, in 2 min."
    assert sum("of the time" in line for line in told) <= 11
    assert len(told) < 16


def test_without_a_terminal_a_long_job_is_no_silence():
    made = screen(False)
    made.progress.begin_(0, 0)
    for now in range(0, 3601, 60):
        made.tick_(now)
    assert made.console.file.getvalue().count("0 of 6 jobs") == 6


def test_the_last_line_says_what_became_of_it(progress):
    progress.begin_(0, 0)
    progress.fail_(0)
    assert closing(progress, False, 61.0) == (
        "0 of 6 jobs are done, 1 failed, 2 wait for what failed, in 61 s. The same command goes on from there."
    )
    assert closing(progress, True, 61.0).startswith("Stopped: 0 of 6 jobs are done, in 61 s.")


def test_what_others_wrote_steers_no_terminal():
    made = screen(True)
    made.say("Failed: x\n    \x1b[2J[bold]y[/bold]\x07")
    assert made.console.file.getvalue() == "Failed: x\n     [2J[bold]y[/bold] \n"


def test_a_live_screen_ends_with_its_last_line_and_the_cursor_back():
    made = screen(True)
    made.begin_(jobs(), 2, time.time(), "prunebench: a title")
    made.tick_(time.time())
    made.say("a message above the bars")
    made.end_(True, time.time())
    said = made.console.file.getvalue()
    assert said.index("a title") < said.index("a message") < said.rindex("Stopped: ")
    assert said.rindex("\x1b[?25h") > said.index("\x1b[?25l")


@pytest.mark.parametrize(
    ("seconds", "words", "digits"),
    [(7.2, "7 s", "0:07"), (99.6, "2 min", "1:39"), (5400, "90 min", "1:30:00"), (12_000, "3 h 20 min", "3:20:00")],
)
def test_times_are_short(seconds, words, digits):
    assert duration(seconds) == words
    assert clock(seconds).strip() == digits


def test_telling_the_time_left_of_a_large_plan_takes_little_of_a_core():
    made = screen(True)
    many = [Planned(n, "train", "train", f"{n}", f"train/{n}") for n in range(3000)]
    made.progress = Progress(many, 8, 0.0)
    made.progress.weigh_({f"train/{n}": ("resnet", 10.0) for n in range(3000)})
    made.progress.begin_(0, 0)
    made.progress.end_(0, 10)
    calls = []
    real = made.progress.left
    made.progress.left = lambda now: calls.append(now) or real(now)
    began = time.perf_counter()
    made.left(10)
    spent = time.perf_counter() - began
    for tick in range(100):
        made.left(10 + 30 * spent * tick / 100)
    assert len(calls) == 1
