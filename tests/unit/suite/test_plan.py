"""From a preset to jobs: dense networks that several jobs share, and how a job is looked up."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from prunebench.errors import InputError
from prunebench.runs.spec import File, RunSpec
from prunebench.suite.paper import Stage
from prunebench.suite.plan import DenseNetworks, DenseWish, make_plan
from prunebench.suite.preset import load_preset

CONFIG = Path(__file__).parents[3] / "config"


@pytest.fixture(scope="module", params=["smoke", "laptop", "shedding-sweep"])
def kept(request):
    """The plan of a kept preset."""
    return make_plan(load_preset(CONFIG / f"{request.param}.yaml"))


# --- Plans of the kept presets


def test_every_job_of_a_kept_preset_has_a_folder_and_a_specification_of_its_own(kept):
    jobs = kept.jobs()
    assert len(jobs) == len({job.folder for job in jobs}) == len({job.digest() for job in jobs}) > 0
    assert jobs == [*kept.dense.jobs, *(job for key in kept.studies for job in kept.jobs(key))]


def test_a_specification_survives_its_own_json(kept):
    for job in kept.jobs():
        assert type(job).model_validate(job.content()) == job


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIG.glob("*.yaml")))
def test_a_digest_is_that_of_the_specification_s_json_whatever_a_plan_shares(name):
    """Computed anew from the JSON of each job and phase alone: kept results are found by it."""

    def sha256(content):
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def expected(content):
        if "arms" not in content:
            return sha256(content)
        own = content | {"arms": [{k: v for k, v in arm.items() if k != "phases"} for arm in content["arms"]]}
        return sha256([own, [[sha256(phase) for phase in arm["phases"]] for arm in content["arms"]]])

    jobs = make_plan(load_preset(CONFIG / f"{name}.yaml")).jobs()
    assert [job.digest() for job in jobs] == [expected(json.loads(json.dumps(job.content()))) for job in jobs]


def test_each_seed_of_a_kept_preset_has_as_many_jobs(kept):
    stages = [stage for stage in kept.stages.values() if not stage.part]  # timing has no seeds
    seeds = [job.seed for stage in stages for job in stage.jobs if hasattr(job, "seed")]
    assert {*seeds} == {*kept.preset.seeds}
    assert len({seeds.count(seed) for seed in kept.preset.seeds}) == 1


def test_a_kept_preset_stays_as_small_as_its_name_says(kept):
    """A process and its imports cost seconds per job: 60 of them are minutes, 200 a quarter of an hour on two cores."""
    assert len(kept.jobs()) <= {"smoke": 60, "laptop": 200, "shedding-sweep": 40}[kept.preset.preset]


def test_what_a_job_needs_some_other_job_leaves(kept):
    left = {f"{job.folder}/{name}" for job in kept.jobs() for name in job.files}
    for job in kept.jobs():
        assert {*job.needs} <= left, job.folder


# --- Dense networks


@pytest.fixture
def networks(toy_preset):
    """The dense networks that are wished for, of the toy preset's schedules or of others."""

    def make(*wishes, **schedules):
        preset = toy_preset()
        entries = {
            name: {"profile": profile, "policy": policy, "role": "control"}
            for name, (profile, policy) in schedules.items()
        }
        whole = preset.model_dump()["schedules"] | entries
        return DenseNetworks(toy_preset(schedules=whole), [DenseWish("net", *wish) for wish in wishes])

    return make


def test_schedules_whose_dense_cycle_is_the_same_share_a_network(networks):
    """The same profile and the same first max_lr; what a policy does later makes no other dense network."""
    triangle = {"kind": "cyclical"}
    linear = {"kind": "linear", "start": 0.1, "top": 0.5, "last": 3}
    made = networks(
        ("ours",),
        ("rising",),
        ("high",),
        ("flat",),
        rising=(triangle, linear),
        high=(triangle, linear | {"start": 0.2}),
        flat=({"kind": "constant"}, linear),
    )
    shared = {name: made.recipe("net", name) for name in ("ours", "theirs", "benchmark", "rising", "high", "flat")}
    assert shared == dict.fromkeys(("ours", "theirs", "benchmark", "rising"), "benchmark") | {
        "high": "high",
        "flat": "flat",
    }
    folders = [job.folder for job in made.stage().jobs]
    assert folders == [f"dense/net/{name}/seed-{seed}" for name in ("benchmark", "high", "flat") for seed in (0, 1, 2)]
    assert made.spec("net", "rising", 1) is made.spec("net", "ours", 1)


def test_a_network_keeps_what_any_of_its_jobs_goes_back_to(networks):
    made = networks(("ours", (0,)), ("theirs", (), True))
    [phase] = made.spec("net", "benchmark", 0).arms[0].phases
    assert (phase.keep, phase.keep_previous) == ([0, 1], True)
    [phase] = networks(("ours",)).spec("net", "ours", 0).arms[0].phases
    assert (phase.keep, phase.keep_previous) == ([1], False)


def test_a_start_names_the_job_its_specification_and_its_last_epoch(networks):
    made = networks(("ours",))
    start, spec = made.start("net", "theirs", 2), made.spec("net", "ours", 2)
    assert (start.run, start.spec, start.arm, start.epoch) == (spec.folder, spec.digest(), "dense", 1)


def test_a_schedule_has_a_task_s_own_numbers_there_alone(toy_preset):
    content = toy_preset().model_dump()
    content["schedules"]["ours"]["tasks"] = {"net": {"policy": {"kind": "fixed", "max_lr": 0.7}}}
    preset = toy_preset(schedules=content["schedules"])
    here, there = preset.schedule("net", "ours"), preset.schedule("elsewhere", "ours")
    assert (here.policy.at(0), there.policy.at(0)) == (0.7, toy_preset().schedules["ours"].policy.at(0))
    assert here.profile == there.profile
    made = DenseNetworks(preset, [DenseWish("net", "ours"), DenseWish("net", "theirs")])
    assert made.spec("net", "ours", 0).arms[0].phases[0].max_lr == 0.7
    assert made.recipe("net", "theirs") == "benchmark"


def test_a_task_may_have_some_of_the_seeds(toy_preset):
    preset = toy_preset()
    tasks = preset.model_dump()["tasks"]
    tasks["net"]["seeds"] = [2, 0]
    few = toy_preset(tasks=tasks)
    assert few.seeds_of("net") == [0, 2]
    made = DenseNetworks(few, [DenseWish("net", "ours")])
    assert [job.seed for job in made.stage().jobs] == [0, 2]
    tasks["net"]["seeds"] = [7]
    with pytest.raises(InputError, match=r"tasks.net.seeds: 7 is not among the preset's seeds, \[0, 1, 2\]"):
        toy_preset(tasks=tasks)


def test_a_file_of_weights_takes_the_place_of_dense_networks(toy_preset):
    tasks = toy_preset().model_dump()["tasks"]
    tasks["net"]["weights"] = {"path": "resnet.pth", "sha256": "0" * 64}
    preset = toy_preset(tasks=tasks)
    made = DenseNetworks(preset, [DenseWish("net", "ours")])
    assert made.stage().jobs == ()
    assert made.start("net", "ours", 1) == File(kind="file", path="resnet.pth", sha256="0" * 64)
    for wish in (DenseWish("net", "ours", keep=(0,)), DenseWish("net", "ours", previous=True)):
        with pytest.raises(InputError, match=r"tasks\.net\.weights: a file holds no epoch before the last"):
            DenseNetworks(preset, [wish])


def test_a_network_that_nobody_wished_for_is_none(networks):
    with pytest.raises(KeyError):
        networks().spec("net", "ours", 0)
    assert networks().stage().jobs == ()


# --- Plans


def test_stages_stand_by_name_those_without_jobs_left_out(toy_preset, changed):
    plan = make_plan(toy_preset())
    assert [*plan.stages] == ["train_dense", "prune_toys", "search_toys", "train_toy_arms", "time_toys"]
    assert plan.jobs("toy") == plan.jobs()[3:]
    assert all(isinstance(job, RunSpec) for job in plan.trained())
    without = make_plan(toy_preset(toy={"tasks": [], "schedules": ["ours", "benchmark"], "timing": None}))
    assert (without.stages, without.jobs(), without.jobs("other")) == ({}, [], [])


def test_a_job_is_found_by_its_folder_or_else_the_nearest_is_named(toy_preset):
    plan = make_plan(toy_preset())
    stage, job = plan.find("toy/arms/net/seed-1")
    assert (stage.name, job.folder) == ("train_toy_arms", "toy/arms/net/seed-1")
    with pytest.raises(InputError, match=r"no job 'toy/arm/net/seed-1' in preset 'tiny': did you mean 'toy/arms/net"):
        plan.find("toy/arm/net/seed-1")


def test_a_job_that_cannot_be_is_one_line(toy_preset, monkeypatch):
    preset = toy_preset()
    paper, config = preset.studies()["toy"]

    def impossible(config, preset, networks):
        return [Stage("train_x", "x", (RunSpec(folder="../x", **preset.task_fields("net", 0), arms=[]),), "X")]

    monkeypatch.setattr(type(preset), "studies", lambda self: {"toy": (replace(paper, plan=impossible), config)})
    with pytest.raises(InputError) as caught:
        make_plan(preset)
    assert str(caught.value).startswith("preset 'tiny': 'folder'")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("folder", "message"), [("toy/other", "is not below toy/arms"), ("toy/arms/net", "leaves other files than")]
)
def test_jobs_of_a_stage_lie_below_its_folder_and_leave_the_same_files(toy_preset, folder, message):
    preset = toy_preset()
    [first, *_] = make_plan(preset).stages["train_toy_arms"].jobs
    other = make_plan(preset).stages["time_toys"].jobs[0].model_copy(update={"folder": folder})
    with pytest.raises(ValueError, match=message):
        Stage("train_toy_arms", "toy/arms", (first, other), "Toy arms")
