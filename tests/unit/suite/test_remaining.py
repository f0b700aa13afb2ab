"""The time left: exact small cases, and runs that were kept, replayed on several cores."""

import csv
from pathlib import Path

import pytest

from prunebench.suite.forecast import preset_of
from prunebench.suite.plan import make_plan
from prunebench.suite.remaining import Job, Paces, left, lost
from prunebench.suite.timetable import simulate
from prunebench.suite.weights import weights_of

ROOT = Path(__file__).parents[3]


def train(length, **more):
    return Job(length, **{"stage": "train", "network": "small", **more})


def test_nothing_is_said_before_a_network_was_trained():
    jobs = {"a": train(10), "b": Job(3, stage="draw")}
    assert left(jobs, 1, {}, {"a": 4}) is None
    assert left(jobs, 1, {"b": 3}, {"a": 4}) is None
    assert left({"b": Job(3, stage="draw")}, 1, {}, {}) == 3


def test_jobs_that_run_at_once_are_not_added_up():
    jobs = {name: train(10) for name in "abcde"}
    assert left(jobs, 2, {"a": 10}, {}) == 20
    assert left(jobs, 4, {"a": 10}, {}) == 10


def test_the_tail_is_as_long_as_the_chain_of_jobs_that_wait_for_each_other():
    jobs = {"a": train(1), "b": train(5), "c": train(5, after=("b",)), "d": train(5, after=("c",))}
    assert left(jobs, 100, {"a": 1}, {}) == 15
    assert left(jobs, 100, {"a": 1, "b": 5}, {"c": 2}) == 8


def test_a_job_that_runs_counts_what_is_left_of_it_and_one_that_overruns_a_tenth_of_what_it_took():
    jobs = {"a": train(10), "b": train(10), "c": train(10, network="other")}
    assert left(jobs, 2, {"a": 10}, {"b": 4}) == pytest.approx(10)  # c, which has not begun
    assert left({**jobs, "c": train(0.001)}, 2, {"a": 10}, {"b": 4}) == pytest.approx(6)
    assert left({"a": train(10), "b": train(10)}, 2, {"a": 10}, {"b": 30}) == pytest.approx(3)


def test_a_job_that_overruns_says_that_its_kind_is_slower():
    jobs = {"a": train(10), "b": train(10, stage="slow"), "c": train(10, stage="slow", after=("b",))}
    assert left(jobs, 1, {"a": 10}, {"b": 5}) == pytest.approx(15)
    assert left(jobs, 1, {"a": 10}, {"b": 50}) > 35


def test_what_failed_and_what_waits_for_it_takes_no_more_time():
    jobs = {"a": train(1), "b": train(1), "c": train(1, after=("b",)), "d": train(1, after=("c", "a")), "e": train(1)}
    assert lost(jobs, {"b"}) == {"b", "c", "d"}
    assert left(jobs, 1, {"a": 1}, {}, {"b"}) == 1


def test_a_kind_s_pace_comes_from_its_own_jobs_and_before_from_its_network_s_and_all_others():
    jobs = {
        "small": train(10),
        "large": train(10, network="large"),
        "pruned": train(10, stage="prune"),
        "unknown": train(10, stage="prune", network="new"),
        "figure": Job(4, stage="draw"),
    }
    paces = Paces(jobs, {"small": 20, "large": 40})
    assert paces.of(jobs["unknown"]) == 3
    assert 2 < paces.of(jobs["pruned"]) < 3 < paces.of(train(1, stage="other", network="large")) < 4
    assert paces.of(jobs["figure"]) == 1  # a GPU makes networks faster, and no figure
    many = {f"{n}": jobs["pruned"] for n in range(100)}
    assert Paces(jobs | many, dict.fromkeys(many, 70)).of(jobs["pruned"]) == pytest.approx(7, rel=0.01)


# --- Replays


def kept(preset):
    """The jobs of a kept run that trained networks, and the seconds that each took."""
    with open(ROOT / f"results/reference/{preset}/runs.csv", newline="") as file:
        seconds = {row["folder"]: float(row["seconds"]) for row in csv.DictReader(file)}
    plan = make_plan(preset_of(str(ROOT / f"config/{preset}.yaml"), []))
    weights = weights_of(plan)
    jobs = {}
    for stage in plan.stages.values():
        for job in stage.jobs:
            if job.folder in seconds:
                network, length = weights[job.folder]
                after = dict.fromkeys(need.rsplit("/", 1)[0] for need in job.needs)
                after = tuple(other for other in after if other in seconds)
                jobs[job.folder] = Job(length, 1, stage.priority, after, stage.name, network)
    return jobs, {folder: seconds[folder] for folder in jobs}


def replay(jobs, seconds, cores):
    """When each job begins and ends: by priority, and as the plan has them."""
    begins, ends, now = {}, {}, 0.0
    while len(begins) < len(jobs):
        free = cores - sum(end > now for end in ends.values())
        ready = [n for n, job in jobs.items() if n not in begins and all(ends.get(a, 1e99) <= now for a in job.after)]
        for name in sorted(ready, key=lambda name: -jobs[name].priority)[:free]:
            begins[name], ends[name] = now, now + seconds[name]
        now = min((end for end in ends.values() if end > now), default=now)
    return begins, ends


@pytest.fixture(scope="module", params=["laptop", "cifar"])
def run(request):
    return kept(request.param)


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_after_a_tenth_of_a_kept_run_the_forecast_is_within_a_fifth(run, cores):
    jobs, seconds = run
    begins, ends = replay(jobs, seconds, cores)
    total = max(ends.values())
    for share in (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        now = share * total
        took = {name: end - begins[name] for name, end in ends.items() if end <= now}
        running = {name: now - begin for name, begin in begins.items() if begin <= now < ends[name]}
        told = left(jobs, cores, took, running)
        assert now + told == pytest.approx(total, rel=0.2), share
        if share == 0.1:
            assert told == pytest.approx(total - now, rel=0.2)


def test_the_weights_tell_more_than_the_number_of_jobs_does(run):
    """Else the screen might as well count jobs."""
    jobs, seconds = run
    begins, ends = replay(jobs, seconds, 1)
    total, now = max(ends.values()), 0.1 * max(ends.values())
    took = {name: end - begins[name] for name, end in ends.items() if end <= now}
    running = {name: now - begin for name, begin in begins.items() if begin <= now < ends[name]}
    mean = sum(took.values()) / len(took)
    by_count = simulate({name: Job(mean) for name in jobs if name not in took}, 1).length
    assert abs(left(jobs, 1, took, running) - (total - now)) < abs(by_count - (total - now)) / 2
