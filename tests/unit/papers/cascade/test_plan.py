"""From the cascade study's configuration to jobs: which arms there are, and what each of their phases does."""

from pathlib import Path

import pytest
import yaml

from prunebench.papers.cascade.config import PARTS
from prunebench.runs.probes import BELOW, Histograms, Occupancy, Shedding
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

CONFIG = Path(__file__).parents[4] / "config"
PRESETS = [path for path in sorted(CONFIG.glob("*.yaml")) if "cascade" in yaml.safe_load(path.read_text())]


def numbers(phase):
    kind = type(phase.profile).__name__
    return phase.epochs, kind, phase.max_lr, phase.update.weight_decay, phase.first_epoch, phase.profile_epochs


def prunes(phase):
    """What a phase prunes, without the numbers that tell draws apart."""
    return [each.model_dump(exclude_defaults=True, exclude={"draw"}) for each in phase.prune]


def sparsity(value, criterion="global_magnitude", **more):
    return {"kind": "sparsity", "criterion": criterion, "sparsity": value} | more


# --- Jobs


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_arms_have_names_of_their_own_and_controls_follow_arms_of_their_job(path):
    jobs = [job for job in make_plan(load_preset(path)).jobs("cascade") if hasattr(job, "arms")]
    assert jobs
    for job in jobs:
        names = [arm.name for arm in job.arms]
        assert len({*names}) == len(names)
        for number, arm in enumerate(job.arms):
            assert {*arm.follows} <= {*names[:number]}
            assert bool(arm.follows) == arm.name.startswith("control.")


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_arms_that_are_compared_train_for_the_same_number_of_epochs(path):
    for job in make_plan(load_preset(path)).jobs("cascade"):
        epochs = {arm.name: arm.epochs for arm in getattr(job, "arms", ())}
        for arm in getattr(job, "arms", ()):
            assert {epochs[name] for name in arm.follows} <= {arm.epochs}, arm.name
        if epochs and job.axes["part"] != "shedding":  # its settings, each with its own control, may differ
            assert len({*epochs.values()}) == 1, job.folder


def test_there_is_one_job_per_part_task_and_seed(smoke):
    plan = smoke.plan()
    wanted = {
        f"cascade/{name}/{task}/seed-{seed}/batch-0"
        for name, part in plan.preset.cascade.parts().items()
        for task in part.tasks
        for seed in (0, 1)
    }
    assert [job.folder for job in smoke.jobs() if job.folder not in wanted] == []
    assert len(smoke.jobs()) == len(wanted) == 8 * 2
    assert {job.arms[0].start.run.split("/")[2] for job in smoke.jobs()} == {"step_decay"}


def test_masks_of_a_task_are_compared_over_all_its_seeds(smoke):
    plan = smoke.plan()
    criteria = [job for job in smoke.jobs() if job.axes["part"] == "criteria"]
    assert {job.hands_on for job in criteria} == {"masks"}
    assert {job.hands_on for job in smoke.jobs() if job not in criteria} == {"nothing"}
    compared = {job.task: job for job in plan.stages["compare_masks"].jobs}
    assert {*compared} == {"digits-resnet8", "digits-mobilenet"}
    for task, job in compared.items():
        wanted = [(each.folder, each.digest(), each.seed) for each in criteria if each.task == task]
        assert [(kept.run, kept.spec, kept.seed) for kept in job.jobs] == wanted
        assert all(kept.arms["layer_random.shedding.s0.8"] == 0.8 for kept in job.jobs)


@pytest.mark.parametrize("part", PARTS)
def test_groups_stay_together_however_many_a_job_has(smoke, part):
    content = smoke.changed("cascade", "criteria", "sparsities", to=[0.5, 0.9])
    single = smoke.changed("cascade", "groups_per_job", to=1, base=content)
    batches = [
        [arm.name for arm in job.arms]
        for job in smoke.jobs(single)
        if (job.axes["part"], job.task, job.seed) == (part, "digits-resnet8", 0)
    ]
    assert [name for batch in batches for name in batch] == [*smoke.arms(part, content)]
    assert len(batches) == {"retraining": 3, "gmp": 1}.get(part, 2)


def test_how_arms_are_spread_over_jobs_changes_no_arm(smoke):
    def arms(content):
        return {
            (job.axes["part"], job.task, job.seed, arm.name): arm for job in smoke.jobs(content) for arm in job.arms
        }

    assert arms(smoke.content) == arms(smoke.changed("cascade", "groups_per_job", to=1))


def test_a_job_s_folder_can_be_named_whatever_the_numbers(smoke):
    setting = {"max_lr": 1e6, "weight_decay": 1e-9, "pruned_shares": [0.2]}
    assert "control.lr1e+06.wd1e-09" in smoke.arms(
        "shedding", smoke.changed("cascade", "shedding", "settings", 0, to=setting)
    )


# --- The arms of each part


def test_shedding_has_pruned_arms_and_a_control_over_the_same_weights(smoke):
    arms = smoke.arms("shedding")
    assert [*arms] == [
        *("global_magnitude.p0.2.lr0.1.wd0", "control.lr0.1.wd0"),
        *("global_magnitude.p0.1.lr0.1.wd0.1", "global_magnitude.p0.2.lr0.1.wd0.1", "control.lr0.1.wd0.1"),
    ]
    pruned, control = arms["global_magnitude.p0.1.lr0.1.wd0.1"], arms["control.lr0.1.wd0.1"]
    assert prunes(pruned.phases[0]) == [sparsity(0.1)]
    assert prunes(control.phases[0]) == []
    assert numbers(pruned.phases[0]) == numbers(control.phases[0]) == (2, "Constant", 0.1, 0.1, 0, None)
    assert control.follows == [*arms][2:4]
    assert pruned.axes == {"criterion": "global_magnitude", "max_lr": 0.1, "weight_decay": 0.1, "pruned_share": 0.1}
    assert control.axes == {"criterion": "none", "max_lr": 0.1, "weight_decay": 0.1, "pruned_share": 0.0}
    assert control.phases[0].probes == [Shedding(256), Histograms()]


def test_a_setting_may_have_tasks_and_epochs_of_its_own(smoke):
    content = smoke.changed("cascade", "shedding", "settings", 0, "tasks", to=["digits-resnet8"])
    content = smoke.changed("cascade", "shedding", "settings", 0, "epochs", to=5, base=content)
    assert smoke.arms("shedding", content)["control.lr0.1.wd0"].epochs == 5
    names = [arm.name for arm in smoke.job("shedding", content, task="digits-mobilenet").arms]
    assert all(name.endswith("wd0.1") for name in names)


def test_criteria_prune_at_once_or_after_a_prelude_within_the_same_epochs(smoke):
    arms = smoke.arms("criteria", smoke.changed("cascade", "criteria", "sparsities", to=[0.5, 0.9]))
    assert len(arms) == 2 * (4 + 2)
    [only] = arms["layer_random.s0.9"].phases
    assert (prunes(only), numbers(only)) == ([sparsity(0.9, "layer_random")], (3, "Cosine", 0.1, 5e-4, 0, None))
    first, second = arms["layer_random.shedding.s0.9"].phases
    assert (prunes(first), numbers(first)) == (
        [sparsity(0.2, "layer_random")],
        (1, "Constant", 0.1, 0.05, 0, None),
    )
    assert (prunes(second), numbers(second)) == ([sparsity(0.9)], (2, "Cosine", 0.1, 5e-4, 0, None))
    axes = {"criterion": "layer_random", "prelude": "shedding", "sparsity": 0.9}
    assert arms["layer_random.shedding.s0.9"].axes == axes
    assert only.probes == first.probes == second.probes == []


def test_preludes_may_be_for_some_tasks_alone(smoke):
    content = smoke.changed("cascade", "criteria", "prelude_tasks", to=["digits-resnet8"])
    preludes = {
        task: {arm.axes["prelude"] for arm in smoke.job("criteria", content, task).arms}
        for task in ("digits-resnet8", "digits-mobilenet")
    }
    assert preludes == {"digits-resnet8": {"none", "shedding", "no_decay"}, "digits-mobilenet": {"none"}}


def test_a_prelude_s_random_prune_is_not_the_one_shot_arm_s(smoke):
    """The same draw would make the two arms' masks nested."""
    arms = smoke.arms("criteria")
    once, begun = arms["layer_random.s0.8"], arms["layer_random.shedding.s0.8"]
    assert once.phases[0].prune[0].draw != begun.phases[0].prune[0].draw


def test_phases_go_on_with_momentum_and_the_order_of_data(smoke):
    """As in an arm without a prelude: the dense training's two epochs, then those of the arm."""
    for arm in smoke.arms("criteria").values():
        assert [phase.order for phase in arm.phases] == [2, 3][: len(arm.phases)]
        assert [phase.carry for phase in arm.phases] == [False, True][: len(arm.phases)]
        assert {phase.recalibrate for phase in arm.phases} == {500}


def test_retrainings_have_equal_epochs_and_the_lr_of_their_kind(smoke):
    content = smoke.changed("tasks", "digits-resnet8", "training", "epochs", to=10)
    content = smoke.changed("cascade", "retraining", "rewind_epoch", to=4, base=content)
    arms = smoke.arms("retraining", content)
    assert len(arms) == 6
    for name, expected in {
        "fine_tune": (6, "Constant", pytest.approx(0.1 * 0.01), 5e-4, 0, None),  # below both milestones
        "rewind_lr": (6, "StepDecay", 0.1, 5e-4, 4, 10),
        "rewind_weights": (6, "StepDecay", 0.1, 5e-4, 4, 10),
    }.items():
        pruned, control = arms[f"global_magnitude.s0.8.{name}"], arms[f"control.{name}"]
        assert numbers(pruned.phases[0]) == numbers(control.phases[0]) == expected
        assert (prunes(pruned.phases[0]), prunes(control.phases[0])) == ([sparsity(0.8)], [])
        assert {arm.phases[0].rewind for arm in (pruned, control)} == {4 if name == "rewind_weights" else None}
        assert control.follows == [pruned.name]
        assert (pruned.axes["retraining"], control.axes["retraining"]) == (name, name)
        assert pruned.phases[0].probes == [Shedding()]


def test_rewinding_replays_the_dense_lr_from_epoch_k_and_fine_tuning_goes_on_at_its_last(smoke):
    content = smoke.changed("tasks", "digits-resnet8", "training", "epochs", to=10)
    content = smoke.changed("cascade", "retraining", "rewind_epoch", to=4, base=content)
    arms = smoke.arms("retraining", content)
    [dense] = [
        job.arms[0].phases[0]
        for job in smoke.plan(content).stages["train_dense"].jobs
        if (job.task, job.seed) == ("digits-resnet8", 0)
    ]
    replayed = [dense.lr(step, 16) for step in range(4 * 16, 160)]
    assert len({*replayed}) > 1
    for name in ("rewind_lr", "rewind_weights"):
        assert [arms[f"control.{name}"].phases[0].lr(step, 16) for step in range(6 * 16)] == replayed
    assert {arms["control.fine_tune"].phases[0].lr(step, 16) for step in range(6 * 16)} == {replayed[-1]}
    assert dense.keep == [4, 10]


def test_schedules_cross_pruning_with_lr_schedules_over_the_same_epochs(smoke):
    content = smoke.changed("cascade", "schedules", "epochs", to=8)
    arms = smoke.arms("schedules", smoke.changed("cascade", "schedules", "rounds", to=4, base=content))
    pruned = ("one_shot", "iterative", "gradual")
    assert {*arms} == {f"{name}.{lr}" for name in (*pruned, "control") for lr in ("low", "cosine")}
    ramp = {"share": 0.75, "every": 4}
    assert [prunes(phase) for phase in arms["one_shot.low"].phases] == [[sparsity(0.8)]]
    assert [prunes(phase) for phase in arms["gradual.low"].phases] == [[sparsity(0.8, ramp=ramp)]]
    assert [prunes(phase) for phase in arms["control.low"].phases] == [[]]
    rounds = [phase.target for phase in arms["iterative.cosine"].phases]
    assert rounds == pytest.approx([1 - 0.2 ** (i / 4) for i in (1, 2, 3, 4)])
    assert rounds[-1] == 0.8
    # an LR schedule spans all epochs, whatever is pruned when
    wanted = [(2, "Cosine", 0.1, 0.05, begin, 8) for begin in (0, 2, 4, 6)]
    assert [numbers(phase) for phase in arms["iterative.cosine"].phases] == wanted
    assert numbers(arms["one_shot.cosine"].phases[0]) == (8, "Cosine", 0.1, 0.05, 0, None)
    assert arms["control.low"].follows == [f"{name}.low" for name in pruned]
    axes = {"criterion": "none", "sparsity": 0, "pruning": "none", "lr_schedule": "low"}
    assert arms["control.low"].axes == axes


def test_gmp_harvests_after_the_prelude_and_never_beyond_the_target(smoke):
    arms = smoke.arms("gmp")
    rest = {"share": pytest.approx((0.6 * 3 - 1) / 2), "every": 4}  # so that both ramps end at the same update
    [plain] = arms["none.s0.8"].phases
    assert prunes(plain) == [sparsity(0.8, ramp={"share": 0.6, "every": 4})]
    assert numbers(plain) == (3, "Cosine", 0.1, 5e-4, 0, None)
    first, second = arms["no_decay.s0.8"].phases
    assert (prunes(first), numbers(first)) == ([sparsity(0.2)], (1, "Constant", 0.1, 0, 0, None))
    assert prunes(second) == [{"kind": "shed", "below": BELOW, "at_most": 0.8}, sparsity(0.8, ramp=rest)]
    assert numbers(second) == (2, "Cosine", 0.1, 5e-4, 0, None)


def test_patterns_are_imposed_at_once_and_after_each_prelude(smoke):
    arms = smoke.arms("semi_structured")
    labels, preludes = {"2-of-4": "2:4", "1x4-at-0.5": "1x4@0.5"}, ("none", "shedding", "no_decay")
    axes = {
        f"{name}.{each}": {"pattern": label, "prelude": each} for name, label in labels.items() for each in preludes
    }
    assert {name: arm.axes for name, arm in arms.items()} == axes
    assert prunes(arms["2-of-4.shedding"].phases[1]) == [{"kind": "n_of_m", "n": 2, "m": 4}]
    assert prunes(arms["1x4-at-0.5.none"].phases[0]) == [{"kind": "blocks", "size": 4, "sparsity": 0.5}]
    assert {probe for arm in arms.values() for phase in arm.phases for probe in phase.probes} == {Occupancy((4,))}


# --- What changes which runs

RETRAINED = ("criteria", "gmp", "semi_structured")


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (("retrain", "max_lr"), 0.2, RETRAINED),
        (("retrain", "epochs"), 4, RETRAINED),
        (("preludes", "no_decay", "max_lr"), 0.2, RETRAINED),
        (("shedding", "epochs"), 3, ("shedding",)),
        (("shedding", "removable_images"), 100, ("shedding",)),
        (("shedding", "settings", 1, "weight_decay"), 0.2, ("shedding",)),
        (("criteria", "sparsities"), [0.5, 0.95], ("criteria",)),
        (("schedules", "ramp", "every"), 5, ("schedules",)),
        (("schedules", "lr_schedules", "low", "max_lr"), 0.002, ("schedules",)),
        (("gmp", "ramp", "share"), 0.5, ("gmp",)),
        (("semi_structured", "patterns", 0, "n"), 1, ("semi_structured",)),
        (("recalibration_images",), 100, PARTS),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_number_changes_only_the_jobs_of_its_parts(smoke, path, value, parts):
    wanted = {job.folder for job in smoke.jobs() if job.axes["part"] in parts}
    if "criteria" in parts:
        wanted |= {job.folder for job in smoke.plan().stages["compare_masks"].jobs}
    assert smoke.differing(smoke.changed("cascade", *path, to=value)) == wanted


def test_the_margins_change_no_job(smoke):
    assert smoke.differing(smoke.changed("claims", to={"cascade": {"b1_excess": 0.3}})) == set()


def test_the_epoch_that_is_rewound_to_changes_the_dense_network_and_all_that_starts_from_it(smoke):
    touched = smoke.differing(smoke.changed("cascade", "retraining", "rewind_epoch", to=0))
    starting = {job.folder for job in smoke.jobs() if job.task == "digits-resnet8"} | {"cascade/overlap/digits-resnet8"}
    assert touched == starting | {f"dense/digits-resnet8/step_decay/seed-{seed}" for seed in (0, 1)}


def test_a_task_s_recipe_changes_its_dense_networks_and_all_that_starts_from_them(smoke):
    touched = smoke.differing(smoke.changed("tasks", "digits-mobilenet", "training", "momentum", to=0.8))
    folders = {job.folder for job in smoke.plan().jobs()}
    assert touched == {folder for folder in folders if "digits-mobilenet" in folder}
    assert any(folder.startswith("dense/") for folder in touched)


def test_only_the_epoch_that_is_rewound_to_is_kept(smoke):
    def kept(content):
        return {(job.task, *job.arms[0].phases[0].keep) for job in smoke.plan(content).stages["train_dense"].jobs}

    assert kept(smoke.content) == {("digits-resnet8", 1, 2), ("digits-mobilenet", 2)}
    assert kept(smoke.changed("cascade", "retraining", "rewind_epoch", to=0)) == {
        ("digits-resnet8", 0, 2),
        ("digits-mobilenet", 2),
    }
    assert kept(smoke.changed("cascade", "retraining", to=None)) == {("digits-resnet8", 2), ("digits-mobilenet", 2)}


@pytest.mark.parametrize("part", ["shedding", "criteria", "retraining"])
def test_the_dense_network_keeps_the_weights_that_a_criterion_compares_with(smoke, part):
    def kept(content):
        return {
            job.task for job in smoke.plan(content).stages["train_dense"].jobs if job.arms[0].phases[0].keep_previous
        }

    compared = smoke.changed("cascade", part, "criteria", to=["global_weight_change"])
    assert kept(smoke.content) == set()
    assert kept(compared) == {*smoke.content["cascade"][part]["tasks"]}
