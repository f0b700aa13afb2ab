"""The longest chain and the schedule: exact small cases, and bounds that hold for every one."""

import doctest
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.suite import timetable
from prunebench.suite.timetable import Schedule, Task, longest_chain, simulate


@st.composite
def graphs(draw):
    """Up to twelve jobs of whole lengths; each waits for some of those before it."""
    tasks = {}
    for number in range(draw(st.integers(1, 12))):
        after = tuple(name for name in tasks if draw(st.integers(0, 3)) == 0)
        tasks[f"job-{number}"] = Task(draw(st.integers(1, 20)), 1, draw(st.integers(0, 2)), after)
    return tasks


def test_the_examples_run():
    assert doctest.testmod(timetable) == (0, 4)


def test_no_jobs_take_no_time():
    assert longest_chain({}) == (0, [])
    assert simulate({}, 2) == Schedule(0, 0)


@given(graphs())
def test_a_chain_is_a_path_whose_lengths_add_up(tasks):
    length, chain = longest_chain(tasks)
    assert length == sum(tasks[name].length for name in chain)
    assert all(first in tasks[second].after for first, second in itertools.pairwise(chain))
    assert not tasks[chain[0]].after


@given(graphs(), st.integers(1, 4))
def test_a_schedule_lies_within_what_any_must_take_and_graham_s_bound(tasks, workers):
    """Graham (1966): at most work / workers + (1 - 1 / workers) x the longest chain, whatever the order."""
    work, chain = sum(task.length for task in tasks.values()), longest_chain(tasks)[0]
    done = simulate(tasks, workers)
    assert max(chain, work / workers) <= done.length + 1e-9
    assert done.length <= work / workers + (1 - 1 / workers) * chain + 1e-9
    assert done.busy == pytest.approx(work / workers / done.length)


@given(graphs())
def test_one_worker_does_one_after_another_and_enough_workers_take_as_long_as_the_chain(tasks):
    assert simulate(tasks, 1) == Schedule(sum(task.length for task in tasks.values()), 1)
    assert simulate(tasks, len(tasks)).length == longest_chain(tasks)[0]


def test_priority_comes_before_length_and_length_before_order():
    """Which job comes first shows by when the one that waits for it can end."""

    def end(**tasks):
        return simulate({name: Task(*task) for name, task in tasks.items()}, 2).length

    # Two workers, three jobs: the last to begin decides.
    assert end(a=(2,), b=(2,), c=(4,)) == 4
    assert end(a=(2, 1, 1), b=(2, 1, 1), c=(4,)) == 6


def test_a_job_of_several_cores_waits_for_them_while_a_smaller_one_begins():
    tasks = {"a": Task(2), "wide": Task(3, 2, 1, ("a",)), "b": Task(4), "c": Task(1)}
    # a and b begin; after a one core is free: c begins, wide waits for b.
    assert simulate(tasks, 2).length == 7
    assert simulate({"wide": Task(3, 8)}, 2) == Schedule(3, 1)


def test_a_job_of_no_worker_begins_when_what_it_waits_for_has_ended():
    tasks = {"a": Task(2), "choice": Task(1, 0, 0, ("a",)), "b": Task(1), "c": Task(2, 1, 0, ("choice",))}
    assert simulate(tasks, 1) == Schedule(5, 1)  # b beside the choice
    assert simulate({"choice": Task(1, 0), "a": Task(1)}, 1) == Schedule(1, 1)
