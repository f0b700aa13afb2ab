"""From the directional study's configuration to jobs: which there are, what their arms do, and what changes which."""

import pytest

from prunebench.errors import InputError
from prunebench.runs.spec import Init, Trained
from prunebench.schedules import Constant

TASK = "digits-resnet8-sgd"
FIRST, SECOND = "grda.c0.1.mu0.6", "grda.c0.1.mu0.7"


@pytest.fixture(scope="module")
def stages(smoke):
    return smoke.plan().stages


@pytest.fixture(scope="module")
def minima(stages):
    return stages["train_minima"].jobs[0]


def phases(job):
    return {arm.name: arm.phases[0] for arm in job.arms}


def test_there_is_a_job_per_task_and_seed_but_for_exact_problems_and_timings(stages):
    assert {name: len(stage.jobs) for name, stage in stages.items()} == {
        **dict.fromkeys(("train_minima", "train_baselines", "train_around", "train_released"), 2),
        **dict.fromkeys(("connect_minima", "measure_curvature"), 2),
        "solve_exact": 2,
        "time_optimizers": 1,
    }
    folders = {job.folder for stage in stages.values() for job in stage.jobs}
    assert {
        f"directional/minima/{TASK}/seed-1",
        f"directional/curvature/{TASK}/seed-0",
        "directional/toy/network",
        "directional/overhead/all",
    } <= folders


def test_a_spec_survives_its_own_json(smoke):
    for job in smoke.plan().jobs():
        assert type(job).model_validate(job.content()) == job


def test_the_minima_are_sgd_its_controls_and_every_setting(minima):
    of = phases(minima)
    assert list(of) == ["sgd", "sgd_order", "sgd_init", FIRST, SECOND, "l1.0.001", "l1.0.01"]
    for arm in minima.arms:
        phase = of[arm.name]
        assert isinstance(arm.start, Init)
        assert (arm.start.draw == "independent") is (arm.name == "sgd_init")
        assert (phase.order == of["sgd"].order) is (arm.name not in ("sgd_order", "sgd_init"))
        assert (phase.epochs, phase.profile, phase.max_lr, phase.prune) == (4, of["sgd"].profile, 0.1, [])
        # Epochs at which curvature is measured, where it looks, and the last one, which all other jobs look at.
        assert phase.keep == ([1, 4] if arm.name in ("sgd", "sgd_order", FIRST) else [4])
    orders = [{*range(of[name].order, of[name].order + 4)} for name in ("sgd", "sgd_order", "sgd_init")]
    assert len(set.union(*orders)) == 3 * 4
    assert [of[name].update.l1 for name in ("l1.0.001", "l1.0.01")] == [0.001, 0.01]
    assert (of[FIRST].update.c, of[FIRST].update.mu) == (0.1, 0.6)
    assert (of["sgd"].update.momentum, of["sgd"].update.weight_decay) == (0, 0)


def test_every_arm_is_watched_by_the_same_probes(stages):
    for name in ("train_minima", "train_baselines", "train_around"):
        for job in stages[name].jobs:
            assert {type(probe).__name__ for arm in job.arms for probe in arm.phases[0].probes} == {"Weights", "Layers"}


def test_baselines_are_matched_to_every_setting_and_train_as_long_as_told(stages, minima):
    spec = stages["train_baselines"].jobs[0]
    methods = ["l1.0.001", "l1.0.01", "gmp_gradual", "gmp_one_shot", "random"]
    assert [arm.name for arm in spec.arms] == ["sgd_strong", *(f"{m}.{s}" for s in (FIRST, SECOND) for m in methods)]
    strong = spec.arms[0].phases[0]
    assert (strong.update.momentum, strong.update.weight_decay, strong.epochs, strong.prune) == (0.9, 5e-4, 4, [])
    for arm in spec.arms[1:]:
        [phase], method = arm.phases, arm.axes["method"]
        [prune] = phase.prune
        like, start = prune.like, arm.name.removesuffix(f".{prune.like.arm}")
        assert (like.run, like.spec, like.epoch) == (minima.folder, minima.digest(), 4)
        assert arm.axes["matched_to"] == {FIRST: "c 0.1, mu 0.6", SECOND: "c 0.1, mu 0.7"}[like.arm]
        assert arm.axes["strength"] == (float(start[3:]) if method == "l1" else None)
        if method in ("l1", "gmp_one_shot"):
            assert isinstance(arm.start, Trained)
            assert (arm.start.run, arm.start.spec, arm.start.epoch) == (like.run, like.spec, like.epoch)
            assert arm.start.arm == (start if method == "l1" else "sgd")
        else:
            assert arm.start == Init(kind="init")
        assert phase.epochs == {"l1": 0, "gmp_one_shot": 2}.get(method, 4)
        # fine-tuning sees the epochs of data after those of the dense training
        assert phase.order == (4 if method == "gmp_one_shot" else 0)
        assert prune.criterion == ("random" if method == "random" else "global_magnitude")
        assert (prune.ramp is not None) is (method == "gmp_gradual")
        assert phase.recalibrate == (500 if method == "l1" else 0)


def test_arms_around_the_reference_are_settings_of_grda(stages):
    spec = stages["train_around"].jobs[0]
    assert [arm.name for arm in spec.arms] == [
        *("grda.c0.05.mu0.6", "grda.c0.2.mu0.6", "grda.c0.1.mu0.55", "grda.c0.1.mu0.65"),
    ]
    assert [(arm.axes["c_factor"], arm.axes["mu_shift"]) for arm in spec.arms] == [
        *((0.5, 0), (2, 0), (1, -0.05), (1, 0.05)),
    ]


def test_as_released_the_reference_trains_at_a_constant_lr_and_all_else_is_the_same(stages, minima):
    [arm] = stages["train_released"].jobs[0].arms
    [phase], reference = arm.phases, phases(minima)[FIRST]
    assert phase == reference.model_copy(update={"profile": Constant(), "keep": []})
    assert [phase.lr(step, 16) for step in range(4 * 16)] == [0.1] * 64
    assert reference.lr(63, 16) < 0.01
    assert (arm.start, arm.axes) == (Init(kind="init"), next(a.axes for a in minima.arms if a.name == FIRST))


def test_curves_and_curvature_look_at_the_minima_of_their_task_and_seed(stages):
    for name in ("connect_minima", "measure_curvature"):
        for job, minima in zip(stages[name].jobs, stages["train_minima"].jobs, strict=True):
            assert (job.seed, job.task) == (minima.seed, minima.task)
            assert job.minima.run == minima.folder
            assert job.minima.spec == minima.digest()
            assert job.minima.arms == {"sgd": "sgd", "sgd_order": "sgd_order", "sgd_init": "sgd_init", "grda": FIRST}
            assert job.needs == (f"{minima.folder}/networks.safetensors",)
    assert stages["measure_curvature"].jobs[0].epochs == [1, 4]


def test_only_as_many_seeds_as_asked_for_have_planes(smoke):
    stages = smoke.plan(smoke.content | {"seeds": [5, 3, 4]}).stages
    planes = {job.seed: job.connectivity.plane is not None for job in stages["connect_minima"].jobs}
    assert planes == {5: True, 3: False, 4: False}


def test_exact_problems_and_timings_are_of_no_seed(stages):
    first, second = stages["solve_exact"].jobs
    assert (first.problem, second.problem) == ("least_squares", "network")
    assert (first.seeds, first.gamma, first.t, first.c, first.mu) == ([0, 1, 2], [0.1, 0.03], 5, 0.1, 0.6)
    [timing] = stages["time_optimizers"].jobs
    [timed] = timing.timed
    assert (timed.name, timed.channels, timed.classes, timed.image_size) == (TASK, 1, 10, 8)
    assert (timing.resnet50, timing.blocks, timing.steps) == (False, 3, 3)


@pytest.mark.parametrize(
    ("part", "stage"),
    [
        ("baselines", "train_baselines"),
        ("sensitivity", "train_around"),
        ("connectivity", "connect_minima"),
        ("curvature", "measure_curvature"),
        ("toy", "solve_exact"),
        ("overhead", "time_optimizers"),
    ],
)
def test_a_part_that_is_left_out_has_no_jobs(smoke, stages, part, stage):
    left = smoke.plan(smoke.changed("directional", part, to=None)).stages
    assert {*stages} - {name for name, each in left.items() if each.jobs} == {stage}


def test_a_further_update_is_an_arm_of_the_minima(smoke, minima):
    adam = {"kind": "adamw"}
    job = smoke.plan(smoke.changed("directional", "updates", to={"adam": adam})).stages["train_minima"].jobs[0]
    assert [arm.name for arm in job.arms] == [*(arm.name for arm in minima.arms), "adam"]
    last = job.arms[-1]
    assert (last.axes["method"], last.axes["matched_to"], last.start) == ("adam", "adam", Init(kind="init"))


# --- What changes which jobs


def folders(*parts):
    return {f"directional/{part}/{TASK}/seed-{seed}" for part in parts for seed in (0, 1)}


@pytest.mark.parametrize(
    ("path", "to", "touched"),
    [
        # what hangs on the minima is trained again with them
        (("curvature", "epochs"), [1, 3], ("minima", "baselines", "connectivity", "curvature")),
        (("max_lr",), 0.2, ("minima", "baselines", "sensitivity", "released", "connectivity", "curvature")),
        (("sensitivity",), {"c_factors": [0.5, 3.0]}, ("sensitivity",)),
        (("baselines", "fine_tuning", "epochs"), 3, ("baselines",)),
        (("connectivity", "points"), 9, ("connectivity",)),
        (("curvature", "tolerance"), 0.1, ("curvature",)),
    ],
)
def test_a_number_of_the_study_changes_only_the_jobs_of_its_parts(smoke, path, to, touched):
    assert smoke.differing(smoke.changed("directional", *path, to=to)) == folders(*touched)


def test_the_exact_problems_and_timings_change_alone(smoke):
    assert smoke.differing(smoke.changed("directional", "toy", "t", to=6)) == {
        *("directional/toy/least_squares", "directional/toy/network"),
    }
    assert smoke.differing(smoke.changed("directional", "overhead", "steps", to=4)) == {"directional/overhead/all"}


def test_margins_change_no_job(smoke):
    assert not smoke.differing(smoke.content | {"claims": {"directional": {"c6_barrier": 0.02}}})


def test_how_many_seeds_have_planes_reruns_no_seed_that_has_one_already(smoke):
    touched = smoke.differing(smoke.changed("directional", "connectivity", "plane", "seeds", to=2))
    assert touched == {f"directional/connectivity/{TASK}/seed-1"}


def test_a_part_may_have_some_of_the_tasks_and_seeds_and_then_less_is_kept(smoke):
    content = smoke.changed("directional", "connectivity", "seeds", to=1)
    content["directional"]["curvature"]["seeds"] = 1
    content["directional"]["baselines"]["tasks"] = [TASK]
    stages = smoke.plan(content).stages
    assert [job.seed for job in stages["connect_minima"].jobs] == [0]
    assert [job.seed for job in stages["measure_curvature"].jobs] == [0]
    assert len(stages["train_baselines"].jobs) == 2
    first, second = stages["train_minima"].jobs
    assert phases(first)["sgd"].keep == [1, 4]
    assert {tuple(phase.keep) for phase in phases(second).values()} == {(4,)}
    assert not {"sgd_order", "sgd_init"} & {*phases(second)}  # controls of curves and curvature alone
    content["directional"]["baselines"] = None
    first, second = smoke.plan(content).stages["train_minima"].jobs
    assert {name: tuple(phase.keep) for name, phase in phases(first).items()} == {
        **dict.fromkeys(("sgd", "sgd_order", FIRST), (1, 4)),
        "sgd_init": (4,),
        SECOND: (),
    }
    assert {name: phase.keep for name, phase in phases(second).items()} == {"sgd": [], FIRST: [], SECOND: []}


def test_a_task_s_curves_and_profile_may_be_its_own(smoke):
    content = smoke.changed("directional", "connectivity", "bends", to={TASK: {"epochs": 9, "momentum": 0}})
    content["directional"]["profiles"] = {TASK: {"kind": "step_decay", "milestones": [0.9]}}
    stages = smoke.plan(content).stages
    curves = stages["connect_minima"].jobs[0].connectivity
    assert (curves.epochs, curves.momentum, curves.bends) == (9, 0, {})
    assert phases(stages["train_minima"].jobs[0])["sgd"].profile.milestones == (0.9,)
    for path in (("connectivity", "bends"), ("profiles",), ("connectivity", "tasks"), ("curvature", "tasks")):
        with pytest.raises(InputError, match=rf"directional.{'.'.join(path)} names 'nowhere', which is not defined"):
            smoke.plan(
                smoke.changed(
                    "directional",
                    *path,
                    to=["nowhere"]
                    if path[-1] == "tasks"
                    else {"nowhere": {"kind": "cosine"} if path[-1] == "profiles" else {}},
                )
            )
