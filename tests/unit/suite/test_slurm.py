"""What jobs ask a cluster for, and which of them it does."""

import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.errors import InputError
from prunebench.suite import slurm
from prunebench.suite.costs import costs_of, workloads_of
from prunebench.suite.forecast import preset_of
from prunebench.suite.machine import Machine, Throughput
from prunebench.suite.plan import make_plan


def plan_of(preset, *overrides):
    return make_plan(preset_of(preset, overrides))


# --- What a job asks for


def test_a_job_asks_for_more_at_each_try_but_never_for_more_time_than_the_preset_allows():
    request = slurm.Request(minutes=40, most=100, mem_mb=2000)
    assert [request.at("runtime", attempt) for attempt in (1, 2, 3)] == [40, 80, 100]
    assert [request.at("mem_mb", attempt) for attempt in (1, 2, 3)] == [2000, 4000, 6000]


def test_larger_networks_and_longer_trainings_get_more_time_and_memory():
    def requests(preset, *overrides):
        return slurm.requests(plan_of(preset, *overrides))

    job = "dense/cifar10-resnet20/cyclical/seed-0"
    jobs = requests("cifar")
    assert job in jobs
    longer = requests("cifar", "tasks={cifar10-resnet20: {training: {epochs: 20}}}")
    wider = requests("cifar", "tasks={cifar10-resnet20: {network: {width: 4}}}")
    assert jobs[job].minutes < longer[job].minutes < 240
    assert jobs[job].minutes < wider[job].minutes
    assert jobs[job].mem_mb == 3000 < wider[job].mem_mb
    assert {request.most for request in jobs.values()} == {240}


def test_a_measured_machine_tells_the_time_and_a_wrong_one_is_named(tmp_path, monkeypatch):
    plan = plan_of("smoke")
    speeds = {"device": "x", "training_images_per_s": 10, "evaluation_images_per_s": 40, "start_s": 60}
    rows = [Throughput.model_validate(vars(w) | speeds) for w in workloads_of(costs_of(plan))]
    Machine(rows, "x").write(tmp_path / "node.csv")
    slow = slurm.requests(plan)
    monkeypatch.setenv(slurm.MACHINE, str(tmp_path / "node.csv"))
    measured = slurm.requests(plan)
    [gmp] = [folder for folder in measured if folder.startswith("cascade/gmp/")]
    cost = costs_of(plan)[gmp]
    seconds = 60 + cost.estimate.training / 10 + cost.estimate.evaluation / 40
    assert measured[gmp].minutes == pytest.approx(slurm.LEAST_MINUTES + slurm.MARGIN * seconds / 60, abs=1)
    assert measured[gmp].minutes > slow[gmp].minutes
    monkeypatch.setenv(slurm.MACHINE, str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match=r"none\.csv"):
        slurm.requests(plan)


def test_what_the_laptop_s_jobs_took_is_less_than_they_ask_for(rows_of_reference):
    """The kept run: 1.6 to 30 s and 0.35 GB at most."""
    requests = slurm.requests(plan_of("laptop"))
    for row in rows_of_reference:
        if row["folder"] in requests:
            assert float(row["seconds"]) * 3 < 60 * requests[row["folder"]].minutes
            assert float(row["peak_memory_mb"]) < requests[row["folder"]].mem_mb


@pytest.fixture
def rows_of_reference():
    import csv

    path = Path(__file__).parents[3] / "results/reference/laptop/runs.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    return rows


# --- Who does it


def submitted(preset, *overrides):
    plan = plan_of(preset, *overrides)
    gpus = plan.preset.resources.gpu
    return {n for n, s in plan.stages.items() if slurm.is_submitted(plan.preset, s, gpus if s.device else 0)}


def test_jobs_of_seconds_do_not_wait_in_a_queue_and_long_ones_do():
    assert submitted("smoke") == set()
    everything = set(plan_of("cifar").stages)
    assert submitted("cifar") == everything
    assert "train_dense" not in submitted("laptop")
    assert "measure_curvature" in submitted("laptop")


def test_all_is_submitted_where_the_preset_says_so_but_what_only_picks_a_file():
    assert submitted("smoke", "resources={submit: all}") == set(plan_of("smoke").stages) - {"select_max_lr"}


def test_what_needs_a_gpu_is_submitted_and_what_does_not_asks_for_none():
    stages = set(plan_of("workstation").stages)
    assert submitted("workstation") == stages - {"select_max_lr", "compare_masks", "solve_exact"}


def test_the_environment_chooses_partition_account_and_model(monkeypatch):
    for name in slurm.CHOICES:
        monkeypatch.delenv(name, raising=False)
    assert slurm.choices(0) == {}
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_ACCOUNT", "")
    monkeypatch.setenv("PRUNEBENCH_GPU_MODEL", "a100")
    assert slurm.choices(2) == {"slurm_partition": "gpu", "gpu_model": "a100", "gpu": 2}
    assert slurm.choices(0) == {"slurm_partition": "gpu"}


# --- When its time is up


@pytest.mark.parametrize(("state", "again"), [("RUNNING", True), ("COMPLETING", False), ("", False)])
def test_a_job_whose_time_is_nearly_up_is_queued_again_and_a_cancelled_one_is_not(
    programs, tmp_path, monkeypatch, state, again
):
    programs(squeue=f"echo {state}", scontrol=f'echo "$@" > {tmp_path}/told')
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    slurm.queue_again()
    told = tmp_path / "told"
    assert (told.read_text() == "requeue 17\n") if again else not told.exists()


def test_outside_slurm_nothing_is_queued(programs, tmp_path, monkeypatch):
    programs(squeue=f"touch {tmp_path}/told")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    slurm.queue_again()
    assert not (tmp_path / "told").exists()


def test_it_is_told_without_torch():
    code = "import sys, prunebench.suite.slurm, prunebench.suite.failures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
