"""From the S-Cyc study's configuration to jobs: which there are, what they depend on, and what a cycle does."""

import re
from itertools import pairwise

import pytest

from prunebench.papers.s_cyc.config import Cell
from prunebench.papers.s_cyc.plan import cycle_phase
from prunebench.pruning.after import AfterPrune
from prunebench.runs.probes import Defects, Gradients
from prunebench.runs.spec import Best, Init, RunSpec, Trained
from prunebench.schedules import Constant
from prunebench.suite.preset import parse_preset


def test_every_cell_has_a_job_per_seed_and_the_oracle_one_per_cycle(smoke):
    plan = smoke.plan()
    counts = {name: len(stage.jobs) for name, stage in plan.stages.items()}
    seeds, cycles = 2, 4
    assert counts == {
        "train_dense": 5 * seeds,
        "search_max_lr": cycles * seeds,
        "select_max_lr": cycles * seeds,
        "measure_gradients": 3 * seeds,
        "prune_chains": (8 + 2 * 2) * seeds,
        "measure_defects": 4 * seeds,
        "time_schedules": 1,
    }
    folders = [job.folder for job in plan.jobs()]
    assert len(folders) == len({*folders})
    assert [plan.stages[name].priority for name in ("search_max_lr", "select_max_lr", "prune_chains")] == [10, 10, 0]
    assert [name for name, stage in plan.stages.items() if stage.local] == ["select_max_lr"]
    assert [name for name, stage in plan.stages.items() if stage.alone] == ["time_schedules"]


def test_a_spec_survives_its_own_json(smoke):
    for job in smoke.plan().jobs():
        assert type(job).model_validate(job.content()) == job


def test_folders_name_the_axes(smoke):
    folders = {job.folder for job in smoke.plan().jobs("s_cyc")}
    assert {
        "s_cyc/chains/digits-resnet8/layer_magnitude/s_cyc/seed-1",
        "s_cyc/gradients/digits-mlp/random/cyclical/seed-0",
        "s_cyc/oracle/digits-resnet8/global_magnitude/seed-0/cycle-3/batch-0",
        "s_cyc/choice/digits-resnet8/global_magnitude/seed-0/cycle-3",
    } <= folders


# --- Chains


def test_a_cell_in_both_grids_is_one_run_that_is_measured(smoke):
    grid = {"tasks": ["digits-resnet8"], "criteria": ["global_magnitude"], "schedules": ["cyclical"]}
    both = smoke.changed("s_cyc", "gradients", to=[*smoke.content["s_cyc"]["gradients"], grid])
    before, after = ({job.folder for job in smoke.chains(content)} for content in (None, both))
    where = "digits-resnet8/global_magnitude/cyclical"
    assert before - after == {f"s_cyc/chains/{where}/seed-{seed}" for seed in (0, 1)}
    assert after - before == {f"s_cyc/gradients/{where}/seed-{seed}" for seed in (0, 1)}


def test_a_chain_starts_from_the_network_of_its_own_task_seed_and_first_lr(smoke):
    plan = smoke.plan()
    dense = {job.folder: job for job in plan.stages["train_dense"].jobs}
    for job in plan.stages["prune_chains"].jobs:
        start, entry = job.arms[0].start, plan.preset.schedules[job.axes["schedule"]]
        assert isinstance(start, Trained)
        first = dense[start.run]
        for key in ("task", "dataset", "network", "batch_size", "augmentation", "seed"):
            assert getattr(first, key) == getattr(job, key), key
        [phase] = first.arms[0].phases
        assert (phase.profile, phase.max_lr) == (entry.profile, entry.policy.at(0))
        assert (start.spec, start.epoch) == (first.digest(), phase.epochs)
        assert [phase.axes for phase in job.arms[0].phases] == [{"cycle": cycle} for cycle in (1, 2, 3)]


def test_a_chain_whose_gradients_are_measured_trains_its_own_network(smoke):
    for job in smoke.plan().stages["measure_gradients"].jobs:
        [arm] = job.arms
        assert isinstance(arm.start, Init)
        assert [phase.axes for phase in arm.phases] == [{"cycle": cycle} for cycle in range(4)]
        assert all(phase.probes == [Gradients(images=512)] for phase in arm.phases)


def test_schedules_that_train_the_dense_network_alike_share_one(smoke):
    """The same profile and the same first max_lr; what a policy does later makes no other dense network."""
    recipes = {
        job.axes["schedule"]: job.arms[0].start.run.split("/")[2] for job in smoke.plan().stages["prune_chains"].jobs
    }
    assert recipes == {
        "constant": "constant",
        "step_decay": "step_decay",
        "cyclical": "cyclical",
        "s_cyc": "cyclical",
        "linear_ramp": "cyclical",
        "lr_warmup": "lr_warmup",
        "silo": "lr_warmup",
        "constant_at_top": "constant_at_top",
    }


def test_cycles_prune_the_same_share_of_survivors_and_see_data_in_the_order_of_their_place(smoke):
    for job in smoke.chains():
        phases = [phase for phase in job.arms[0].phases if phase.axes["cycle"]]
        assert [phase.target for phase in phases] == pytest.approx([1 - 0.25**cycle for cycle in (1, 2, 3)])
        assert [phase.order for phase in phases] == [2, 4, 6]
        assert [phase.prune[0].draw for phase in phases] == [phase.reinitialise for phase in phases] == [1, 2, 3]
        taken = 256 if job.axes["criterion"] == "global_gradient" else None
        assert {phase.prune[0].score_images for phase in phases} == {taken}


# --- What a cycle does


@pytest.fixture
def cycle(smoke):
    """The phase of a cycle of `digits-resnet8-sgd`, which trains 4 epochs of 16 updates, by what follows a prune."""

    def make(number, after, criterion="global_magnitude", begin=3):
        pruning = {"rate": 0.75, "cycles": 3, "after": after, "rewind_epoch": begin}
        content = smoke.changed("s_cyc", "pruning", to=pruning)
        content["s_cyc"] |= {
            "accuracy": [{"tasks": ["digits-resnet8-sgd"], "criteria": ["random"], "schedules": ["s_cyc"]}]
        }
        content["s_cyc"] |= {"gradients": [], "oracle": None, "released": None, "timing": None}
        preset = parse_preset(content, "my.yaml")
        return cycle_phase(preset.s_cyc, preset, Cell("digits-resnet8-sgd", criterion, "step_decay"), number, 0.1)

    return make


@pytest.mark.parametrize("after", list(AfterPrune))
def test_the_dense_cycle_is_whole_whatever_follows_a_prune(cycle, after):
    phase = cycle(0, after)
    assert (phase.prune, phase.rewind, phase.reinitialise) == ([], None, None)
    assert (phase.epochs, phase.first_epoch, phase.order, phase.max_lr) == (4, 0, 0, 0.1)
    assert phase.keep == ([3] if after is AfterPrune.REWIND_WEIGHTS else [])


def test_reinitialised_weights_train_the_whole_cycle(cycle):
    phase = cycle(2, AfterPrune.REINITIALISE)
    assert (phase.reinitialise, phase.rewind, phase.epochs, phase.first_epoch, phase.order) == (2, None, 4, 0, 8)


@pytest.mark.parametrize(("after", "rewind"), [(AfterPrune.REWIND_WEIGHTS, 3), (AfterPrune.REWIND_LR, None)])
def test_rewinding_goes_on_at_its_epoch_of_lr_and_data(cycle, after, rewind):
    phase = cycle(2, after)
    assert (phase.reinitialise, phase.rewind) == (None, rewind)
    assert (phase.epochs, phase.first_epoch, phase.profile_epochs, phase.order) == (1, 3, 4, 11)
    whole = cycle(0, after)
    assert [phase.lr(step, 16) for step in range(16)] == [whole.lr(step, 16) for step in range(48, 64)]


def test_kept_weights_are_tuned_at_the_last_lr(cycle):
    phase = cycle(1, AfterPrune.KEEP)
    assert isinstance(phase.profile, Constant)
    assert phase.max_lr == cycle(0, AfterPrune.KEEP).lr(63, 16) < 0.1
    assert (phase.epochs, phase.first_epoch, phase.order, phase.rewind, phase.reinitialise) == (4, 0, 4, None, None)


def test_criteria_that_compare_keep_the_weights_of_one_epoch_before(cycle):
    for criterion, kept in (("global_magnitude", False), ("layer_weight_times_change", True)):
        assert {cycle(number, AfterPrune.KEEP, criterion).keep_previous for number in range(3)} == {kept}


# --- The oracle


def test_every_cycle_of_the_oracle_starts_from_the_choice_before_it(smoke):
    plan = smoke.plan()
    choices = {job.folder: job for job in plan.stages["select_max_lr"].jobs}
    by_cycle = {job.axes["cycle"]: job for job in plan.stages["search_max_lr"].jobs if job.seed == 1}
    for cycle, job in by_cycle.items():
        assert (job.hands_on, job.axes["schedule"]) == ("best", "oracle")
        assert [arm.axes for arm in job.arms] == [{"max_lr": max_lr} for max_lr in (0.03, 0.1, 0.3)]
        assert [arm.phases[0].max_lr for arm in job.arms] == [0.03, 0.1, 0.3]
        choice = choices[f"s_cyc/choice/digits-resnet8/global_magnitude/seed-1/cycle-{cycle}"]
        assert (choice.among, choice.specs) == ([job.folder], [job.digest()])
    assert all(isinstance(arm.start, Init) for arm in by_cycle[0].arms)
    for before, after in pairwise(by_cycle.values()):
        assert {(arm.start.kind, *arm.start.specs) for arm in after.arms} == {("best", before.digest())}
        assert all(isinstance(arm.start, Best) for arm in after.arms)


def test_the_oracle_goes_on_as_a_chain_does(smoke):
    """But for the LR, a candidate's cycle is that of the chain under its schedule."""
    plan = smoke.plan()
    where = "digits-resnet8/global_magnitude"
    _, chain = plan.find(f"s_cyc/chains/{where}/s_cyc/seed-0")
    for phase in chain.arms[0].phases:
        _, job = plan.find(f"s_cyc/oracle/{where}/seed-0/cycle-{phase.axes['cycle']}/batch-0")
        for arm in job.arms:
            assert arm.phases == [phase.model_copy(update={"max_lr": arm.axes["max_lr"]})]


def test_the_oracle_s_grid_is_the_same_in_one_job_or_in_many(smoke):
    many = smoke.plan(smoke.changed("s_cyc", "oracle", "candidates_per_job", to=2))
    jobs = [job for job in many.stages["search_max_lr"].jobs if (job.seed, job.axes["cycle"]) == (0, 1)]
    assert [[arm.axes["max_lr"] for arm in job.arms] for job in jobs] == [[0.03, 0.1], [0.3]]
    [choice] = [job for job in many.stages["select_max_lr"].jobs if (job.seed, job.axes["cycle"]) == (0, 1)]
    assert choice.among == [job.folder for job in jobs]
    assert {start.run for job in jobs for start in job.starts()} == {choice.folder.replace("cycle-1", "cycle-0")}


# --- The released scripts


def test_defects_are_measured_on_both_tasks_and_under_both_ramps(smoke):
    jobs = smoke.plan().stages["measure_defects"].jobs
    assert {(job.task, job.axes["schedule"], job.seed) for job in jobs} == {
        (task, schedule, seed)
        for task in ("digits-resnet8", "digits-resnet8-fifth")
        for schedule in ("silo", "silo_cut")
        for seed in (0, 1)
    }
    for job in jobs:
        [arm] = job.arms
        assert job.include_norm  # as the scripts prune
        assert isinstance(arm.start, Init)
        assert [phase.axes for phase in arm.phases] == [{"cycle": cycle} for cycle in range(4)]
        assert all(phase.probes == [Defects()] for phase in arm.phases)
        assert job.tables == ("epochs", "phases", "tested", "thresholds")


def test_chains_that_defects_are_measured_on_differ_in_their_defect_alone(smoke):
    plan = smoke.plan()

    def chain(task, schedule):
        return plan.find(f"s_cyc/released/{task}/global_magnitude/{schedule}/seed-1")[1]

    sound, cut = chain("digits-resnet8", "silo"), chain("digits-resnet8", "silo_cut")
    small = chain("digits-resnet8-fifth", "silo")
    assert small.arms == sound.arms
    assert {key for key, value in small.content().items() if value != sound.content()[key]} == {
        *("folder", "task", "dataset"),
    }
    for whole, short in zip(sound.arms[0].phases, cut.arms[0].phases, strict=True):
        assert short == whole.model_copy(update={"profile": short.profile})
        # 32 updates: the ramp takes 16 of them
        assert [short.lr(step, 16) for step in range(16)] == pytest.approx([0.7 * whole.lr(s, 16) for s in range(16)])
        assert [short.lr(step, 16) for step in range(16, 32)] == [whole.lr(step, 16) for step in range(16, 32)]
        assert whole.lr(15, 16) == whole.max_lr
    # but for the probe, and for pruning normalisation, a chain is that of the comparison
    _, ordinary = plan.find("s_cyc/chains/digits-resnet8/global_magnitude/silo/seed-1")
    bare = [phase.model_copy(update={"probes": []}) for phase in sound.arms[0].phases]
    assert bare[1:] == ordinary.arms[0].phases


def test_a_preset_without_oracle_or_gradients_has_no_such_jobs(smoke):
    parts = {"oracle": None, "gradients": [], "released": None, "timing": None}
    content = smoke.changed("s_cyc", to=smoke.content["s_cyc"] | parts)
    assert {*smoke.plan(content).stages} == {"train_dense", "prune_chains"}


# --- What changes which runs


def test_beta_of_s_cyc_changes_only_the_chains_under_its_policy(smoke):
    touched = smoke.differing(smoke.changed("schedules", "s_cyc", "policy", "beta", to=3))
    assert touched > {(timing := "s_cyc/timing/digits-resnet8/global_magnitude")}
    assert all(re.fullmatch(r"s_cyc/chains/.*/s_cyc/seed-\d", folder) for folder in touched - {timing})


def test_one_task_s_recipe_changes_only_that_task_s_runs(smoke):
    touched = smoke.differing(smoke.changed("tasks", "digits-mlp", "training", "epochs", to=3))
    assert touched == {job.folder for job in smoke.chains() if job.task == "digits-mlp"}


def test_the_pruning_rate_changes_every_run_but_what_is_dense(smoke):
    touched = smoke.differing(smoke.changed("s_cyc", "pruning", "rate", to=0.5))
    plan = smoke.plan()
    dense = {job.folder for job in plan.stages["search_max_lr"].jobs if job.axes["cycle"] == 0}
    dense |= {job.folder for job in plan.stages["select_max_lr"].jobs if job.axes["cycle"] == 0}
    assert touched == {job.folder for job in plan.jobs("s_cyc")} - dense


def test_the_measure_of_gradients_changes_only_measured_runs(smoke):
    touched = smoke.differing(smoke.changed("s_cyc", "gradient_measure", "images", to=64))
    assert touched == {job.folder for job in smoke.plan().stages["measure_gradients"].jobs}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("s_cyc", "oracle", "tolerance"), 0.1),
        (("s_cyc", "gradient_measure", "trained"), 0.5),
        (("s_cyc", "gradient_measure", "at"), list(Gradients(images=1).at)),  # as by default
        (("claims",), {"s_cyc": {"a3_gain": 0.02}}),
        (("scale",), "another label"),
    ],
)
def test_what_no_run_depends_on_changes_no_spec(smoke, path, value):
    assert not smoke.differing(smoke.changed(*path, to=value))


def test_another_seed_adds_runs_and_changes_none(smoke):
    before, after = (
        {job.folder: job.digest() for job in smoke.plan(content).jobs()}
        for content in (smoke.content, smoke.content | {"seeds": [0, 1, 2]})
    )
    assert before.items() < after.items()
    assert all(re.search(r"/seed-2(/|$)", folder) for folder in after.keys() - before.keys())


def test_only_the_epochs_that_a_chain_rewinds_to_are_kept(smoke):
    def kept(content):
        return {tuple(job.arms[0].phases[0].keep) for job in smoke.plan(content).stages["train_dense"].jobs}

    assert kept(smoke.content) == {(2,)}
    rewinding = {"rate": 0.75, "cycles": 3, "after": "rewind_weights", "rewind_epoch": 1}
    assert kept(smoke.changed("s_cyc", "pruning", to=rewinding)) == {(1, 2)}


def test_the_weights_of_one_epoch_before_are_kept_for_criteria_that_compare(smoke):
    content = smoke.changed("s_cyc", "accuracy", 1, "criteria", to=["layer_weight_times_change"])
    dense = smoke.plan(content).stages["train_dense"].jobs
    assert {job.axes["schedule"] for job in dense if job.arms[0].phases[0].keep_previous} == {"cyclical"}


def test_any_update_moves_the_weights_of_every_chain(smoke):
    content = smoke.changed("tasks", "digits-resnet8", "training", "update", to={"kind": "grda", "c": 0.005, "mu": 0.6})
    for key in ("momentum", "weight_decay"):
        content["tasks"]["digits-resnet8"]["training"].pop(key, None)
    content["s_cyc"]["released"] = None
    plan = smoke.plan(content)
    updates = {
        type(phase.update).__name__
        for job in plan.trained()
        if isinstance(job, RunSpec) and job.task == "digits-resnet8"
        for arm in job.arms
        for phase in arm.phases
    }
    assert len(updates) == 1
    assert updates != {"Sgd"}


# --- Timing


def test_chains_are_timed_in_alternation_by_one_job_whichever_seeds_there_are(smoke):
    [job] = smoke.plan().stages["time_schedules"].jobs
    assert [(arm.axes["block"], arm.axes["schedule"]) for arm in job.arms] == [
        *((0, name) for name in ("s_cyc", "cyclical")),  # warms up
        *((1, name) for name in ("s_cyc", "cyclical", "cyclical", "s_cyc")),
        *((2, name) for name in ("s_cyc", "cyclical", "cyclical", "s_cyc")),
    ]
    for arm in job.arms:
        assert [phase.epochs for phase in arm.phases] == [1] * 4
        policy = smoke.content["schedules"][arm.axes["schedule"]]["policy"]["kind"]
        assert len({phase.max_lr for phase in arm.phases}) == {"fixed": 1, "s_shape": 3}[policy]
    [other] = smoke.plan(smoke.changed("seeds", to=[7, 8])).stages["time_schedules"].jobs
    assert other == job
