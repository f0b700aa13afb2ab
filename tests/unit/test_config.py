"""The configuration: what it resolves to, what it refuses and in which words, and that its documents are not stale."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prunebench import config_docs
from prunebench.claims import document
from prunebench.config import (
    ChainSpec,
    Dataset,
    DenseSpec,
    Gradients,
    OracleSpec,
    RetrainSpec,
    load_preset,
    parse,
    parse_preset,
)
from prunebench.errors import InputError

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "config").glob("*.yaml"))
# Without the file's shared aliases, and with two seeds, whose jobs can then be told apart.
SMOKE = json.loads(json.dumps(yaml.safe_load((ROOT / "config/smoke.yaml").read_text()))) | {"seeds": [0, 1]}
RESNET = ("tasks", "digits-resnet8")
CASCADE = ("cascade",)
REMOVED = object()


def changed(*path, to, base=SMOKE):
    content = copy.deepcopy(base)
    place = content
    for key in path[:-1]:
        place = place[key]
    if to is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return content


def refusal(content):
    with pytest.raises(InputError) as caught:
        parse_preset(content, "my.yaml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("my.yaml: ")
    return message


def digests(content):
    return {spec.folder: spec.digest() for spec in parse_preset(content, "my.yaml").jobs()}


def differing(content):
    before, after = digests(SMOKE), digests(content)
    assert before.keys() == after.keys()
    return {folder for folder in before if before[folder] != after[folder]}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_resolves_into_distinct_runs(path):
    preset = load_preset(path)
    assert preset.preset == path.stem
    specs = preset.jobs()
    assert specs
    assert len({spec.folder for spec in specs}) == len({spec.digest() for spec in specs}) == len(specs)
    study = preset.s_cyc
    if study is None:
        assert not preset.s_cyc_chains() + preset.s_cyc_oracle_jobs()
        return
    cells = {
        (task, criterion, schedule)
        for grid in (*study.accuracy, *study.gradients)
        for task in grid.tasks
        for criterion in grid.criteria
        for schedule in grid.schedules
    }
    chains = preset.s_cyc_chains()
    assert {(c.task, c.criterion, c.schedule_name, c.seed) for c in chains} == {
        (*cell, seed) for cell in cells for seed in preset.seeds
    }
    assert len(chains) == len(cells) * len(preset.seeds)
    jobs = preset.s_cyc_oracle_jobs()
    if study.oracle:
        assert len(jobs) == len(preset.seeds) * (study.pruning.cycles + 1) * len(study.oracle.batches())
    assert [spec for spec in specs if spec.study == "s_cyc"] == [*chains, *jobs]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_spec_and_a_preset_survive_their_own_json(path):
    preset = load_preset(path)
    assert parse_preset(json.loads(preset.model_dump_json()), "plan.json") == preset
    kinds = (preset.dense_jobs(), preset.s_cyc_chains(), preset.s_cyc_oracle_jobs(), preset.cascade_jobs())
    for spec in (spec for jobs in kinds for spec in (*jobs[:3], *jobs[-3:])):
        again = parse(type(spec), json.loads(spec.to_json()), "--spec")
        assert (again, again.to_json()) == (spec, spec.to_json())


def test_at_least_the_two_first_scales_are_there():
    assert {"smoke", "laptop"} <= {path.stem for path in PRESETS}


def test_a_cell_in_both_grids_is_one_run_that_is_measured():
    grid = {"tasks": ["digits-resnet8"], "criteria": ["global_magnitude"], "schedules": ["cyclical"]}
    before = parse_preset(SMOKE, "x").s_cyc_chains()
    after = parse_preset(changed("s_cyc", "gradients", to=[*SMOKE["s_cyc"]["gradients"], grid]), "x").s_cyc_chains()
    assert [chain.folder for chain in after] == [chain.folder for chain in before]

    def measured(chains):
        return {chain.folder for chain in chains if chain.gradients}

    assert measured(after) - measured(before) == {
        f"s_cyc/digits-resnet8/global_magnitude/cyclical/seed-{seed}" for seed in SMOKE["seeds"]
    }


def test_the_oracle_s_grid_is_the_same_in_one_job_or_in_many():
    many = parse_preset(changed("s_cyc", "oracle", "candidates_per_job", to=2), "x")
    assert many.s_cyc.oracle.batches() == [[0.03, 0.1], [0.3]]
    cycle = [job for job in many.s_cyc_oracle_jobs() if (job.seed, job.cycle) == (0, 1)]
    assert [(job.batch, job.max_lr) for job in cycle] == [(0, [0.03, 0.1]), (1, [0.3])]


def test_beta_of_s_cyc_changes_only_the_chains_of_s_cyc():
    touched = differing(changed("schedules", "s_cyc", "policy", "beta", to=3))
    assert touched == {folder for folder in digests(SMOKE) if "/s_cyc/seed-" in folder}
    assert all(folder.startswith("s_cyc/") for folder in touched)  # no dense network knows of beta
    assert touched


def test_one_task_s_recipe_changes_only_that_task_s_runs():
    touched = differing(changed("tasks", "digits-mlp", "training", "epochs", to=3))
    assert touched == {folder for folder in digests(SMOKE) if folder.startswith("s_cyc/digits-mlp/")}
    assert touched


def test_the_pruning_rate_changes_every_run_of_its_study():
    touched = differing(changed("s_cyc", "pruning", "rate", to=0.5))
    assert touched == {folder for folder in digests(SMOKE) if folder.startswith("s_cyc/")}


def test_the_measure_of_gradients_changes_only_measured_runs():
    touched = differing(changed("s_cyc", "gradient_measure", "images", to=64))
    assert touched == {folder for folder in digests(SMOKE) if folder.startswith("s_cyc/digits-mlp")}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("s_cyc", "oracle", "tolerance"), 0.1),
        (("scale",), "another label"),
        (("resources",), {"mem_mb": 3000, "runtime": 5}),
        (("raw_data",), "/some/where"),
        (("s_cyc", "gradient_measure", "at"), Gradients(images=1).at),  # as by default
    ],
)
def test_what_no_run_depends_on_changes_no_spec(path, value):
    assert not differing(changed(*path, to=value))


def test_another_seed_adds_runs_and_changes_none():
    before, after = digests(SMOKE), digests(changed("seeds", to=[0, 1, 2]))
    assert before.items() < after.items()
    assert all(re.search(r"/seed-2(/|$)", folder) for folder in after.keys() - before.keys())


def test_key_order_changes_no_digest():
    def reverse(value):
        return {k: reverse(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    assert sorted(digests(reverse(SMOKE)).values()) == sorted(digests(SMOKE).values())


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("sedes",), [1], ["unknown key 'sedes'", "did you mean 'seeds'?"]),
        ((*RESNET, "trainning"), {}, ["'tasks.digits-resnet8.trainning'", "did you mean 'training'?"]),
        ((*RESNET, "training", "momentun"), 1, ["'tasks.digits-resnet8.training.momentun'", "mean 'momentum'?"]),
        (("schedules", "s_cyc", "policy", "betta"), 3, ["schedules.s_cyc.policy", "betta'", "mean 'beta'?"]),
        (("schedules", "s_cyc", "profile", "period"), 3, ["schedules.s_cyc.profile", "period'", "mean 'periods'?"]),
        (("s_cyc", "oracle", "tolerence"), 0, ["'s_cyc.oracle.tolerence'", "mean 'tolerance'?"]),
        (("s_cyc", "accuracy", 0, "criterias"), [], ["'s_cyc.accuracy.0.criterias'", "mean 'criteria'?"]),
        ((*RESNET, "network", "kind"), "resnt", ["tasks.digits-resnet8.network.kind", "'resnt'", "mean 'resnet'?"]),
        ((*RESNET, "network", "activation"), "rellu", ["network.activation", "'rellu'", "mean 'relu'?"]),
        (("s_cyc", "accuracy", 0, "criteria"), ["globl_magnitude"], ["s_cyc.accuracy.0.criteria", "global_magnitude"]),
        (("s_cyc", "oracle", "criterion"), "lampp", ["s_cyc.oracle.criterion", "mean 'lamp'?"]),
        (("schedules", "s_cyc", "profile", "kind"), "cyclicl", ["schedules.s_cyc.profile", "mean 'cyclical'?"]),
        (("schedules", "s_cyc", "policy", "kind"), "s_shap", ["schedules.s_cyc.policy", "mean 's_shape'?"]),
        (("schedules", "s_cyc", "profile"), {}, ["schedules.s_cyc.profile", "'kind'"]),
        (("schedules", "constant", "policy", "max_lr"), -1, ["schedules.constant", "max_lr is -1", "> 0"]),
        (("schedules", "constant", "policy", "max_lr"), float("inf"), ["schedules.constant", "max_lr", "finite"]),
        (("schedules", "step_decay", "profile", "milestones"), [0.6, 0.5], ["schedules.step_decay", "milestones"]),
        (("s_cyc", "pruning", "rate"), 1.2, ["'s_cyc.pruning.rate'", "less than 1", "1.2"]),
        (("s_cyc", "pruning", "after"), "rewnd", ["s_cyc.pruning.after", "rewind_weights", "'rewnd'"]),
        (("s_cyc", "pruning", "rewind_epoch"), 2, ["s_cyc.pruning.rewind_epoch"]),
        ((*RESNET, "training", "batch_size"), 5000, ["tasks.digits-resnet8.training.batch_size is 5000", "1024"]),
        ((*RESNET, "training", "epochs"), "two", ["'tasks.digits-resnet8.training.epochs'", "integer", "'two'"]),
        ((*RESNET, "training", "epochs"), 2.5, ["'tasks.digits-resnet8.training.epochs'", "2.5"]),
        ((*RESNET, "training", "weight_decay"), float("inf"), ["training.weight_decay", "finite"]),
        ((*RESNET, "training", "momentum"), float("nan"), ["training.momentum"]),
        ((*RESNET, "training"), REMOVED, ["'tasks.digits-resnet8.training'", "required"]),
        ((*RESNET, "dataset"), "digts", ["tasks.digits-resnet8.dataset", "'digts'", "mean 'digits'?"]),
        (("s_cyc", "accuracy", 0, "tasks"), ["digits-resnet"], ["s_cyc.accuracy[0].tasks", "mean 'digits-resnet8'?"]),
        (("s_cyc", "accuracy", 0, "tasks"), "digits-resnet8", ["'s_cyc.accuracy.0.tasks'", "list"]),
        (("s_cyc", "oracle", "schedule"), "cyclic", ["s_cyc.oracle.schedule", "mean 'cyclical'?"]),
        (("s_cyc", "oracle", "max_lr"), [0.3, 0.1], ["s_cyc.oracle.max_lr", "ascend"]),
        (("s_cyc", "oracle", "max_lr"), [-1, 0.1], ["s_cyc.oracle.max_lr", "greater than 0"]),
        (("s_cyc", "gradient_measure", "at"), [], ["s_cyc.gradient_measure.at"]),
        (("s_cyc", "gradient_measure", "at"), [0.5], ["gradient_measure.at", "end with 1"]),
        (("s_cyc", "pruning", "cycles"), 10**12, ["s_cyc.pruning.cycles", "less than or equal to 1000"]),
        (("seeds",), [0, 0], ["seeds", "twice"]),
        (("seeds",), [], ["'seeds'", "at least 1"]),
        (("seeds",), [-1], ["'seeds.0'", "greater than or equal to 0"]),
        (("preset",), "../x", ["'preset'", "'../x'"]),
        (("preset",), "<b>", ["'preset'", "'<b>'"]),
        (("tasks", "<b>"), SMOKE["tasks"]["digits-mlp"], ["tasks.<b>"]),
        (("tasks", "../x"), SMOKE["tasks"]["digits-mlp"], ["tasks.../x"]),
        (("datasets", "a/b"), SMOKE["datasets"]["digits"], ["datasets.a/b"]),
        (("tasks", "x\n"), SMOKE["tasks"]["digits-mlp"], ["tasks.x"]),
        (("tasks", 5), SMOKE["tasks"]["digits-mlp"], ["tasks.5"]),
        (("a\nb",), 1, ["unknown key"]),
        ((*RESNET, "network", "kind"), "res\nnet", ["network.kind"]),
        ((*CASCADE, "dense"), "step_decy", ["cascade.dense names 'step_decy'", "mean 'step_decay'?"]),
        ((*CASCADE, "denso"), 1, ["unknown key 'cascade.denso'", "mean 'dense'?"]),
        ((*CASCADE, "retrain", "epoch"), 1, ["'cascade.retrain.epoch'", "mean 'epochs'?"]),
        ((*CASCADE, "retrain", "max_lr"), 0, ["'cascade.retrain.max_lr'", "greater than 0"]),
        (
            (*CASCADE, "retrain", "profile"),
            {"kind": "step_decay", "milestones": [0.6, 0.5]},
            ["cascade.retrain: ", "milestones"],
        ),
        ((*CASCADE, "preludes", "shedding", "epochs"), 3, ["cascade.preludes.shedding.epochs is 3", "retrain has 3"]),
        (
            (*CASCADE, "preludes", "shedding", "sparsity"),
            0.99,
            ["cascade.criteria: prelude 'shedding' must prune less"],
        ),
        ((*CASCADE, "criteria", "preludes"), ["sheding"], ["cascade.criteria.preludes", "mean 'shedding'?"]),
        ((*CASCADE, "gmp", "preludes"), ["none"], ["cascade.gmp.preludes names 'none'"]),
        ((*CASCADE, "semi_structured", "preludes"), ["x"], ["cascade.semi_structured.preludes names 'x'"]),
        ((*CASCADE, "gmp", "tasks"), ["digits-resnet"], ["cascade.gmp.tasks", "mean 'digits-resnet8'?"]),
        ((*CASCADE, "criteria", "criteria"), ["lampp"], ["cascade.criteria.criteria.0", "mean 'lamp'?"]),
        ((*CASCADE, "criteria", "criteria"), ["global_weight_change"], ["cascade.criteria: arm", "pruning chains"]),
        (
            (*CASCADE, "criteria", "criteria"),
            ["random", "lamp", "random"],
            ["cascade.criteria.criteria: holds random twice"],
        ),
        ((*CASCADE, "criteria", "sparsities"), [0.5, 1], ["cascade.criteria.sparsities.1", "less than 1"]),
        ((*CASCADE, "retraining", "sparsities"), [0.8, 0.8], ["cascade.retraining.sparsities: holds 0.8 twice"]),
        ((*CASCADE, "retraining", "rewind_epoch"), 2, ["cascade.retraining.rewind_epoch", "'digits-resnet8'"]),
        ((*CASCADE, "shedding", "removable_images"), 257, ["cascade.shedding.removable_images", "validation"]),
        (
            (*CASCADE, "shedding", "settings", 0, "pruned_shares"),
            [0.2, 0.2],
            ["cascade.shedding.settings.0.pruned_shares: holds 0.2 twice"],
        ),
        ((*CASCADE, "shedding", "settings", 0, "weight_decay"), 0.1, ["cascade.shedding: the same arm twice"]),
        ((*CASCADE, "schedules", "rounds"), 3, ["cascade.schedules", "epochs is 2", "rounds, 3"]),
        ((*CASCADE, "schedules", "rounds"), 1, ["cascade.schedules.rounds", "greater than or equal to 2"]),
        ((*CASCADE, "schedules", "ramp", "share"), 1.1, ["cascade.schedules.ramp.share", "less than or equal to 1"]),
        ((*CASCADE, "schedules", "lr_schedules"), {}, ["cascade.schedules.lr_schedules", "at least 1"]),
        ((*CASCADE, "schedules", "lr_schedules", "low", "profile", "kind"), "cosin", ["low.profile", "mean 'cosine'?"]),
        (
            (*CASCADE, "schedules", "lr_schedules", "low", "profile"),
            {"kind": "cyclical", "periods": -1},
            ["cascade.schedules.lr_schedules.low: ", "periods is -1"],
        ),
        ((*CASCADE, "schedules", "lr_schedules", "../x"), {}, ["lr_schedules.../x"]),
        ((*CASCADE, "semi_structured", "patterns", 0, "n"), 4, ["patterns.0", "n is 4", "below m, 4"]),
        ((*CASCADE, "semi_structured", "patterns", 0, "n"), 0, ["patterns.0", "greater than or equal to 1"]),
        ((*CASCADE, "semi_structured", "patterns", 0, "kind"), "nofm", ["patterns.0", "mean 'n_of_m'?"]),
        (
            (*CASCADE, "semi_structured", "patterns", 1),
            {"kind": "n_of_m", "n": 2, "m": 4},
            ["cascade.semi_structured: the same arm twice: 2-of-4.none"],
        ),
        ((*CASCADE, "groups_per_job"), 0, ["cascade.groups_per_job", "greater than or equal to 1"]),
        (
            (*CASCADE, "criteria", "tasks"),
            ["digits-resnet8"] * 2,
            ["cascade.criteria.tasks: holds digits-resnet8 twice"],
        ),
        (
            (*CASCADE, "preludes", "none"),
            {"sparsity": 0.1, "epochs": 1, "max_lr": 0.1, "weight_decay": 0},
            ["no prelude"],
        ),
        ((*CASCADE, "preludes", "shedding", "control"), "no_decoy", ["no_decay"]),
        ((*CASCADE, "gmp", "ramp", "share"), 0.3, ["cascade.gmp.ramp ends after 0.9 epochs, within a prelude"]),
        (("tasks", "digits-mlp", "network"), {"kind": "torchvision_resnet50"}, ["needs colour images", "grey"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_bad_value_is_one_line_that_names_file_key_and_what_is_allowed(path, value, words):
    message = refusal(changed(*path, to=value))
    for word in words:
        assert word in message


def test_a_policy_that_ends_before_the_cycles_is_refused_before_anything_trains():
    message = refusal(changed("schedules", "constant", "policy", to={"kind": "table", "values": [0.1, 0.1]}))
    assert "schedules.constant" in message
    assert "cycle 2" in message
    parse_preset(changed("schedules", "constant", "policy", to={"kind": "table", "values": [0.1] * 4}), "x")


def test_a_schedule_may_not_take_the_oracle_s_folder():
    assert "schedules.oracle" in refusal(changed("schedules", "oracle", to=SMOKE["schedules"]["constant"]))


def alone(study, to=None):
    """The smoke preset with one study, or none, and `to` in the others' place."""
    content = SMOKE
    for other in ("s_cyc", "cascade", "directional"):
        content = content if other == study else changed(other, to=to, base=content)
    return content


@pytest.mark.parametrize("to", [None, REMOVED])
def test_a_preset_without_a_study_is_refused(to):
    assert "no study" in refusal(alone(None, to))


# ------------------------------------------------------------------------------------------------- dense networks


def test_schedules_that_train_the_dense_network_alike_share_one():
    """The same profile and the same first max_lr; what a policy does later makes no other dense network."""
    preset = parse_preset(SMOKE, "x")
    recipes = {spec.schedule_name: spec.dense.recipe for spec in preset.s_cyc_chains() if spec.dense}
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
    dense = [spec for spec in preset.dense_jobs() if spec.task == "digits-resnet8"]
    wanted = {(recipe, seed) for recipe in recipes.values() for seed in preset.seeds}
    assert {(spec.recipe, spec.seed) for spec in dense} == wanted
    assert len(dense) == len(wanted)


def test_a_chain_starts_from_the_network_of_its_own_task_seed_and_first_lr():
    for spec in parse_preset(SMOKE, "x").s_cyc_chains():
        if spec.dense is None:
            continue
        for key in ("task", "dataset", "network", "training", "augmentation", "seed"):
            assert getattr(spec.dense, key) == getattr(spec, key), key
        assert spec.dense.profile == spec.schedule.profile
        assert spec.dense.max_lr == spec.schedule.schedule().policy.at(0)
        assert spec.dense.folder == f"dense/{spec.task}/{spec.dense.recipe}/seed-{spec.seed}"


def test_a_chain_whose_gradients_are_measured_trains_its_own_network():
    chains = parse_preset(SMOKE, "x").s_cyc_chains()
    assert {spec.dense is None for spec in chains} == {True, False}
    assert all((spec.dense is None) == (spec.gradients is not None) for spec in chains)


def test_both_studies_share_a_dense_network_where_the_recipe_is_the_same():
    preset = parse_preset(SMOKE, "x")
    chain = next(s for s in preset.s_cyc_chains() if (s.task, s.schedule_name) == ("digits-resnet8", "step_decay"))
    arms = [spec for spec in preset.cascade_jobs() if (spec.task, spec.seed) == (chain.task, chain.seed)]
    assert arms
    assert all(spec.dense == chain.dense for spec in arms)
    folders = [spec.folder for spec in preset.dense_jobs()]
    assert folders.count(chain.dense.folder) == 1
    # under another schedule that trains alike it is still the same one
    preset = parse_preset(changed("cascade", "dense", to="silo"), "x")
    assert {spec.dense.recipe for spec in preset.cascade_jobs()} == {"lr_warmup"}


def test_only_the_epochs_that_some_job_goes_back_to_are_kept():
    def kept(content):
        return {(s.task, s.recipe): s.keep for s in parse_preset(content, "x").dense_jobs() if s.keep}

    ours = ("digits-resnet8", "step_decay")
    assert kept(SMOKE) == {ours: [1]}  # cascade.retraining.rewind_epoch
    assert kept(changed("cascade", "retraining", "rewind_epoch", to=0)) == {ours: [0]}
    assert kept(changed("cascade", "retraining", to=None)) == {}
    rewinding = changed("s_cyc", "pruning", to={"rate": 0.75, "cycles": 3, "after": "rewind_weights"})
    recipes = ("constant", "step_decay", "cyclical", "lr_warmup", "constant_at_top")
    assert kept(rewinding) == {("digits-resnet8", recipe): [0] for recipe in recipes} | {ours: [0, 1]}
    compared = changed("s_cyc", "accuracy", 1, "criteria", to=["layer_weight_times_change"])
    assert kept(compared) == {ours: [1], ("digits-resnet8", "cyclical"): [1]}


def test_a_preset_may_hold_any_study_alone():
    for study in ("s_cyc", "cascade", "directional"):
        preset = parse_preset(alone(study), "x")
        assert {spec.study for spec in preset.jobs()} == {study} | ({"dense"} if study != "directional" else set())
        assert bool(preset.s_cyc_chains()) is (study == "s_cyc")
        assert bool(preset.s_cyc_oracle_jobs()) is (study == "s_cyc")
        assert bool(preset.cascade_jobs()) is (study == "cascade")
        assert bool(preset.directional_jobs()) is (study == "directional")
    assert {spec.recipe for spec in parse_preset(alone("cascade"), "x").dense_jobs()} == {"step_decay"}


# ---------------------------------------------------------------------------------------------- the cascade study


def job_of(part, content=SMOKE, task="digits-resnet8", seed=0):
    jobs = parse_preset(content, "x").cascade_jobs()
    [found] = [spec for spec in jobs if (spec.part, spec.task, spec.seed) == (part, task, seed)]
    return found


def arms_of(part, content=SMOKE):
    return {arm.name: arm for arm in job_of(part, content).arms}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_arms_have_names_of_their_own_and_controls_follow_arms_of_their_job(path):
    for spec in load_preset(path).cascade_jobs():
        names = [arm.name for arm in spec.arms]
        assert len(set(names)) == len(names)
        for number, arm in enumerate(spec.arms):
            assert set(arm.follows) <= set(names[:number])
            assert bool(arm.follows) == arm.name.startswith("control.")
            assert sum(phase.epochs for phase in arm.phases) > 0


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_arms_that_are_compared_train_for_the_same_number_of_epochs(path):
    for spec in load_preset(path).cascade_jobs():
        epochs = {arm.name: sum(phase.epochs for phase in arm.phases) for arm in spec.arms}
        for arm in spec.arms:
            assert {epochs[name] for name in arm.follows} <= {epochs[arm.name]}, arm.name
        if spec.part != "shedding":  # whose settings, each with its own control, may have epochs of their own
            assert len(set(epochs.values())) == 1, spec.folder


def test_jobs_of_the_cascade_study_are_one_per_part_task_and_seed():
    preset = parse_preset(SMOKE, "x")
    wanted = {
        (part, task, seed, 0)
        for part, value in preset.cascade.parts().items()
        for task in value.tasks
        for seed in preset.seeds
    }
    jobs = preset.cascade_jobs()
    assert {(s.part, s.task, s.seed, s.batch) for s in jobs} == wanted
    assert len(jobs) == len(wanted) == 8 * 2
    assert {s.folder for s in jobs} == {f"cascade/{task}/{part}/seed-{seed}/batch-0" for part, task, seed, _ in wanted}
    assert {s.dense.recipe for s in jobs} == {"step_decay"}


def test_groups_stay_together_however_many_a_job_has():
    def groups(content):
        preset = parse_preset(content, "x")
        jobs = [spec for spec in preset.cascade_jobs() if (spec.seed, spec.task) == (0, "digits-resnet8")]
        return {spec.folder: [arm.name for arm in spec.arms] for spec in jobs}

    content = changed("cascade", "criteria", "sparsities", to=[0.5, 0.9])
    whole, single = groups(content), groups(changed("cascade", "groups_per_job", to=1, base=content))
    for part in ("shedding", "criteria", "retraining", "schedules", "gmp", "semi_structured"):
        folder = f"cascade/digits-resnet8/{part}/seed-0/batch-"
        portions = [single[name] for name in sorted(single) if name.startswith(folder)]
        assert [name for portion in portions for name in portion] == whole[f"{folder}0"]
        assert len(portions) == {"shedding": 2, "criteria": 2, "retraining": 3, "schedules": 2}.get(
            part, len(SMOKE["cascade"][part].get("patterns", [0]))
        )


def numbers(phase):
    return phase.epochs, phase.profile.kind, phase.max_lr, phase.weight_decay, phase.first_epoch, phase.profile_epochs


def prunes(phase):
    return [action.model_dump(exclude_none=True) for action in phase.prune]


def sparsity(value, criterion="global_magnitude", **more):
    return {"kind": "sparsity", "criterion": criterion, "sparsity": value} | more


def test_the_arms_of_shedding_are_pruned_ones_and_a_control_over_the_same_weights():
    arms = arms_of("shedding")
    assert list(arms) == [
        *("global_magnitude.p0.2.lr0.1.wd0", "control.lr0.1.wd0"),
        *("global_magnitude.p0.1.lr0.1.wd0.1", "global_magnitude.p0.2.lr0.1.wd0.1", "control.lr0.1.wd0.1"),
    ]
    pruned, control = arms["global_magnitude.p0.1.lr0.1.wd0.1"], arms["control.lr0.1.wd0.1"]
    assert prunes(pruned.phases[0]) == [sparsity(0.1)]
    assert prunes(control.phases[0]) == []
    assert numbers(pruned.phases[0]) == numbers(control.phases[0]) == (2, "constant", 0.1, 0.1, 0, 2)
    assert control.follows == list(arms)[2:4]
    assert pruned.axes == {"criterion": "global_magnitude", "max_lr": 0.1, "weight_decay": 0.1, "pruned_share": 0.1}
    assert control.axes == {"criterion": "none", "max_lr": 0.1, "weight_decay": 0.1, "pruned_share": 0.0}
    measure = job_of("shedding").measure
    assert (measure.shedding, measure.histograms, measure.removable_images, measure.below) == (True, True, 256, 0.05)


def test_the_arms_of_criteria_prune_at_once_or_after_a_prelude_within_the_same_epochs():
    arms = arms_of("criteria", changed("cascade", "criteria", "sparsities", to=[0.5, 0.9]))
    assert len(arms) == 2 * (4 + 2)
    assert len(arms["layer_random.s0.9"].phases) == 1
    assert prunes(arms["layer_random.s0.9"].phases[0]) == [sparsity(0.9, "layer_random")]
    assert numbers(arms["layer_random.s0.9"].phases[0]) == (3, "cosine", 0.1, 5e-4, 0, 3)
    first, second = arms["layer_random.shedding.s0.9"].phases
    assert prunes(first) == [sparsity(0.2, "layer_random")]
    assert numbers(first) == (1, "constant", 0.1, 0.05, 0, 1)
    assert prunes(second) == [sparsity(0.9)]
    assert numbers(second) == (2, "cosine", 0.1, 5e-4, 0, 2)
    assert arms["layer_random.shedding.s0.9"].axes == {
        "criterion": "layer_random",
        "prelude": "shedding",
        "sparsity": 0.9,
    }
    measure = job_of("criteria").measure
    assert (measure.masks, measure.shedding) == (True, False)


def test_the_arms_of_retraining_train_for_as_many_epochs_at_the_lr_of_their_kind():
    content = changed("tasks", "digits-resnet8", "training", "epochs", to=10)
    content = changed("cascade", "retraining", "rewind_epoch", to=4, base=content)
    arms = arms_of("retraining", content)
    assert len(arms) == 6
    for name, expected in {
        "fine_tune": (6, "constant", pytest.approx(0.1 * 0.01), 5e-4, 0, 6),  # below both milestones
        "rewind_lr": (6, "step_decay", 0.1, 5e-4, 4, 10),
        "rewind_weights": (6, "step_decay", 0.1, 5e-4, 4, 10),
    }.items():
        pruned, control = arms[f"global_magnitude.s0.8.{name}"], arms[f"control.{name}"]
        assert numbers(pruned.phases[0]) == numbers(control.phases[0]) == expected
        assert prunes(pruned.phases[0]) == [sparsity(0.8)]
        assert prunes(control.phases[0]) == []
        rewind = 4 if name == "rewind_weights" else None
        assert (pruned.phases[0].rewind, control.phases[0].rewind) == (rewind, rewind)
        assert control.follows == [pruned.name]
        assert (pruned.axes["retraining"], control.axes["retraining"]) == (name, name)
    assert job_of("retraining", content).dense.keep == [4]


def test_the_arms_of_schedules_cross_pruning_with_lr_schedules_over_the_same_epochs():
    content = changed("cascade", "schedules", "epochs", to=8)
    content = changed("cascade", "schedules", "rounds", to=4, base=content)
    arms = arms_of("schedules", content)
    assert set(arms) == {
        f"{p}.{lr}" for p in ("one_shot", "iterative", "gradual", "control") for lr in ("low", "cosine")
    }
    ramp = {"share": 0.75, "every": 4}
    assert [prunes(phase) for phase in arms["one_shot.low"].phases] == [[sparsity(0.8)]]
    assert [prunes(phase) for phase in arms["gradual.low"].phases] == [[sparsity(0.8, ramp=ramp)]]
    assert [prunes(phase) for phase in arms["control.low"].phases] == [[]]
    rounds = [phase.prune[0].sparsity for phase in arms["iterative.cosine"].phases]
    assert rounds == pytest.approx([1 - 0.2 ** (i / 4) for i in (1, 2, 3, 4)])
    assert rounds[-1] == 0.8
    # an LR schedule spans all epochs, whatever is pruned when
    wanted = [(2, "cosine", 0.1, 0.05, begin, 8) for begin in (0, 2, 4, 6)]
    assert [numbers(phase) for phase in arms["iterative.cosine"].phases] == wanted
    assert numbers(arms["one_shot.cosine"].phases[0]) == (8, "cosine", 0.1, 0.05, 0, 8)
    assert arms["control.low"].follows == ["one_shot.low", "iterative.low", "gradual.low"]
    assert arms["control.low"].axes == {"criterion": "none", "sparsity": 0, "pruning": "none", "lr_schedule": "low"}


def test_the_arms_of_gmp_harvest_after_the_prelude_and_never_beyond_the_target():
    arms = arms_of("gmp")
    ramp = {"share": 0.6, "every": 4}
    rest = {"share": pytest.approx((0.6 * 3 - 1) / 2), "every": 4}  # so that both ramps end at the same update
    assert prunes(arms["none.s0.8"].phases[0]) == [sparsity(0.8, ramp=ramp)]
    assert numbers(arms["none.s0.8"].phases[0]) == (3, "cosine", 0.1, 5e-4, 0, 3)
    first, second = arms["no_decay.s0.8"].phases
    assert prunes(first) == [sparsity(0.2)]
    assert numbers(first) == (1, "constant", 0.1, 0, 0, 1)
    assert prunes(second) == [{"kind": "shed", "below": 0.05, "at_most": 0.8}, sparsity(0.8, ramp=rest)]
    assert numbers(second) == (2, "cosine", 0.1, 5e-4, 0, 2)


def test_the_arms_of_semi_structured_impose_each_pattern_at_once_and_after_each_prelude():
    arms = arms_of("semi_structured")
    labels = {"2-of-4": "2:4", "1x4-at-0.5": "1x4@0.5"}
    preludes = ("none", "shedding", "no_decay")
    assert set(arms) == {f"{name}.{prelude}" for name in labels for prelude in preludes}
    for name, label in labels.items():
        for prelude in preludes:
            assert arms[f"{name}.{prelude}"].axes == {"pattern": label, "prelude": prelude}
    assert prunes(arms["2-of-4.shedding"].phases[1]) == [{"kind": "n_of_m", "n": 2, "m": 4}]
    assert prunes(arms["1x4-at-0.5.none"].phases[0]) == [{"kind": "blocks", "size": 4, "sparsity": 0.5}]
    assert job_of("semi_structured").measure.occupancy == [4]


def cascade_folders(*parts, task=""):
    return {f for f in digests(SMOKE) if any(f"/{part}/seed-" in f for part in parts) and f"cascade/{task}" in f}


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (("cascade", "retrain", "max_lr"), 0.2, ("criteria", "gmp", "semi_structured")),
        (("cascade", "retrain", "epochs"), 4, ("criteria", "gmp", "semi_structured")),
        (("cascade", "preludes", "no_decay", "max_lr"), 0.2, ("criteria", "gmp", "semi_structured")),
        (("cascade", "shedding", "epochs"), 3, ("shedding",)),
        (("cascade", "shedding", "removable_images"), 100, ("shedding",)),
        (("cascade", "shedding", "settings", 1, "weight_decay"), 0.2, ("shedding",)),
        (("cascade", "criteria", "sparsities"), [0.5, 0.95], ("criteria",)),
        (("cascade", "schedules", "ramp", "every"), 5, ("schedules",)),
        (("cascade", "schedules", "lr_schedules", "low", "max_lr"), 0.002, ("schedules",)),
        (("cascade", "gmp", "ramp", "share"), 0.5, ("gmp",)),
        (("cascade", "semi_structured", "patterns", 0, "n"), 1, ("semi_structured",)),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_number_of_the_cascade_study_changes_only_the_jobs_of_its_parts(path, value, parts):
    assert differing(changed(*path, to=value)) == cascade_folders(*parts) != set()


def test_the_epoch_that_is_rewound_to_changes_the_dense_network_and_all_that_starts_from_it():
    touched = differing(changed("cascade", "retraining", "rewind_epoch", to=0))
    starting = {
        spec.folder
        for spec in parse_preset(SMOKE, "x").jobs()
        if getattr(spec, "dense", None) and spec.dense.folder.startswith("dense/digits-resnet8/step_decay/")
    }
    assert touched == starting | {f"dense/digits-resnet8/step_decay/seed-{seed}" for seed in SMOKE["seeds"]}


def test_a_task_s_recipe_changes_its_dense_networks_and_all_that_starts_from_them():
    touched = differing(changed("tasks", "digits-mobilenet", "training", "momentum", to=0.8))
    assert touched == {folder for folder in digests(SMOKE) if folder.split("/")[1] == "digits-mobilenet"}
    assert any(folder.startswith("dense/") for folder in touched)


def test_how_arms_are_spread_over_jobs_changes_no_arm():
    def arms(content):
        return {
            (spec.part, spec.task, spec.seed, arm.name): arm
            for spec in parse_preset(content, "x").cascade_jobs()
            for arm in spec.arms
        }

    assert arms(SMOKE) == arms(changed("cascade", "groups_per_job", to=1))


def test_large_and_tiny_numbers_make_names_of_arms_all_the_same():
    content = changed(
        "cascade", "shedding", "settings", 0, to={"max_lr": 1e6, "weight_decay": 1e-9, "pruned_shares": [0.2]}
    )
    assert "control.lr1e+06.wd1e-09" in arms_of("shedding", content)


# ------------------------------------------------------------------------------------------ the directional study

GRDA = "digits-resnet8-sgd"
FIRST, SECOND = "grda.c0.1.mu0.6", "grda.c0.1.mu0.7"


def directional(content=SMOKE):
    preset = parse_preset(content, "x")
    return preset, {spec.part: spec for spec in preset.directional_jobs()}


def test_the_minima_are_sgd_its_controls_and_every_setting():
    _, jobs = directional()
    arms = {arm.name: arm for arm in jobs["minima"].arms}
    assert list(arms) == ["sgd", "sgd_order", "sgd_init", FIRST, SECOND, "l1.0.001", "l1.0.01"]
    sgd = arms["sgd"]
    for name, arm in arms.items():
        assert (arm.independent, arm.order == sgd.order) == (name == "sgd_init", name not in ("sgd_order", "sgd_init"))
        assert (arm.epochs, arm.profile, arm.max_lr, arm.start) == (4, sgd.profile, 0.1, None)
        # Curvature's epochs but the last, which every arm leaves; only where curvature looks.
        assert arm.keep == ([1] if name in ("sgd", "sgd_order", FIRST) else [])
    orders = [range(arm.order, arm.order + arm.epochs) for arm in (sgd, arms["sgd_order"], arms["sgd_init"])]
    assert not set(orders[0]) & set(orders[1]) | set(orders[0]) & set(orders[2])
    assert [arms[name].update.l1 for name in ("sgd", "l1.0.001", "l1.0.01")] == [0, 0.001, 0.01]
    assert (arms[FIRST].update.c, arms[FIRST].update.mu) == (0.1, 0.6)


def test_baselines_are_matched_to_every_setting_and_train_as_long_as_told():
    _, jobs = directional()
    spec = jobs["baselines"]
    assert spec.minima == jobs["minima"]
    methods = ["l1.0.001", "l1.0.01", "gmp_gradual", "gmp_one_shot", "random"]
    assert [arm.name for arm in spec.arms] == ["sgd_strong", *(f"{m}.{s}" for s in (FIRST, SECOND) for m in methods)]
    for arm in spec.arms[1:]:
        setting = arm.prune.like
        method = arm.name.removesuffix(f".{setting}")
        assert arm.axes["matched_to"] == {FIRST: "c 0.1, mu 0.6", SECOND: "c 0.1, mu 0.7"}[setting]
        start = method if method.startswith("l1") else "sgd" if method == "gmp_one_shot" else None
        epochs = {"l1": 0, "gmp_one_shot": 2}.get(arm.axes["method"], 4)
        assert (arm.start, arm.epochs, arm.order >= 4) == (start, epochs, method == "gmp_one_shot")
        assert arm.prune.criterion == ("random" if method == "random" else "global_magnitude")
        assert arm.prune.when == {"l1": "end", "gmp_gradual": "training"}.get(arm.axes["method"], "start")
        assert arm.axes["strength"] == (float(method[3:]) if method.startswith("l1") else None)


def test_what_hangs_on_the_minima_is_trained_again_with_them():
    touched = differing(changed("directional", "curvature", "epochs", to=[1, 3]))
    folders = [f"directional/{GRDA}/{{}}/seed-{seed}" for seed in (0, 1)]
    assert touched == {folder.format(part) for folder in folders for part in ("minima", "baselines")}
    touched = differing(changed("directional", "sensitivity", to={"c_factors": [0.5, 3.0]}))
    assert touched == {folder.format("sensitivity") for folder in folders}
    assert not differing(changed("directional", "connectivity", "points", to=9))
    assert not differing(changed("directional", "toy", "t", to=6))


def test_how_many_seeds_have_planes_reruns_no_seed_that_has_one_already():
    before, after = (
        {spec.seed: spec.digest() for spec in parse_preset(content, "x").connection_jobs()}
        for content in (SMOKE, changed("directional", "connectivity", "plane", "seeds", to=2))
    )
    assert {seed for seed in before if before[seed] != after[seed]} == {1}


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("grda",), {}, ["'directional.grda'", "at least 1"]),
        (("grda",), {"digits-mlp-sgd": [{"c": 1, "mu": 0.5}]}, ["directional.grda names 'digits-mlp-sgd'", "mean '"]),
        (("grda",), {"digits-mlp": [{"c": 1, "mu": 0.5}]}, ["momentum of 'digits-mlp' is 0.9"]),
        (("grda", GRDA), [], ["'directional.grda.digits-resnet8-sgd'", "at least 1"]),
        (("grda", GRDA), [{"c": 0, "mu": 0.5}], ["c'", "greater than 0"]),
        (("grda", GRDA), [{"c": 1, "mu": 1}], ["mu'", "less than 1"]),
        (("grda", GRDA), [{"c": 1, "mu": 0.5}] * 2, ["directional.grda.digits-resnet8-sgd: holds grda.c1.mu0.5 twice"]),
        (("grda", GRDA), [{"c": 1, "nu": 0.5}], ["unknown key", "mean 'mu'?"]),
        (("sensitivity", "mu_shifts"), [0.5], ["directional.sensitivity.mu_shifts: 0.5 makes mu of", "1.1"]),
        (("sensitivity", "mu_shifts"), [0.0], ["directional.sensitivity: holds grda.c0.1.mu0.6 twice"]),
        (("sensitivity", "c_factors"), [0], ["c_factors.0'"]),
        (("sensitivity", "tasks"), ["digits-mlp"], ["directional.sensitivity.tasks names 'digits-mlp'"]),
        (("sensitivity",), {"c_factors": [], "mu_shifts": []}, ["c_factors and mu_shifts are both empty"]),
        (("baselines", "l1"), [], ["'directional.baselines.l1'", "at least 1"]),
        (("baselines", "l1"), [0.1, 0.1], ["directional.baselines.l1: holds 0.1 twice"]),
        (("curvature", "k"), [], ["'directional.curvature.k'", "at least 1"]),
        (("curvature", "k"), [5, 5], ["holds 5 twice"]),
        (("toy", "gamma"), [0.1, 0.1], ["holds 0.1 twice"]),
        (("toy", "gamma"), [0.1, 10.0], ["directional.toy: t is 5, less than one update at gamma 10"]),
        (("toy", "problems"), [], ["'directional.toy.problems'", "at least 1"]),
        (("overhead",), {"resnet50": False}, ["directional.overhead: nothing to time"]),
        (("baselines", "ramp", "share"), 2, ["'directional.baselines.ramp.share'"]),
        (("connectivity", "pairs"), ["sgd:grda"], ["pairs.0'", "'sgd:grda'"]),
        (("connectivity", "pairs"), ["sgd:sgd_init"], ["plane.pairs names 'grda:sgd'"]),
        (("curvature", "epochs"), [5], ["directional.curvature.epochs: 5 is beyond the 4 of"]),
        (("curvature", "images"), 1025, ["directional.curvature.images: 1025"]),
        (("curvature", "k"), [0], ["k.0'"]),
        (("toy", "mu"), 0.5, ["'directional.toy.mu'", "greater than 0.5"]),
        (("toy", "problems"), ["networks"], ["problems.0'", "mean 'network'?"]),
        (("toy", "seeds"), [0, 0], ["holds 0 twice"]),
        (("overhead", "tasks"), ["nope"], ["directional.overhead.tasks names 'nope'"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_bad_value_of_the_directional_study_is_named(path, to, words):
    message = refusal(changed("directional", *path, to=to))
    assert all(word in message for word in words), message


@pytest.mark.parametrize("content", [None, [], [1], "x", 5])
def test_what_is_no_mapping_is_refused(content):
    message = refusal(content)
    assert "mapping" in message
    assert "Preset" not in message  # no class of ours says anything to a user


@pytest.mark.parametrize(
    "key", [key for key in SMOKE if key not in {"raw_data", "resources", "claims", "s_cyc", "cascade", "directional"}]
)
def test_a_missing_key_is_named(key):
    assert f"'{key}': field required" in refusal(changed(key, to=REMOVED))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"- 1\n", b"a: [1", b"\xff\xfe\0", b"a: !!python/object:os.system x", b"? {a: 1}\n: 2", b"\t"),
        *(b"a: 2001-99-99", b"a: !!int x", b"[" * 5000, b"seeds: &a [*a]", b"a: \0"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_file_that_is_no_preset_is_one_line_that_names_it(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        load_preset(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_comes_with_the_nearest_preset():
    with pytest.raises(InputError, match=r"smok\.yaml: No such file or directory; did you mean 'smoke'\? allowed: "):
        load_preset(ROOT / "config/smok.yaml")
    with pytest.raises(InputError, match="Is a directory"):
        load_preset(ROOT / "config")


def places(value, path=()):
    """The path of every key and list entry of a preset."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["../x", "<script>", "a\nb", "cyclical", "digits", "1e3", "{x}", 10**400, [], {}, [[]], [None]]),
    st.dictionaries(st.text(max_size=4) | st.integers() | st.none(), st.none() | st.integers(), max_size=2),
    st.lists(st.integers() | st.floats() | st.text(max_size=3), max_size=3),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(places(SMOKE))), ODD, st.booleans()), min_size=1, max_size=3))
def test_a_mutated_preset_resolves_or_is_refused_in_one_line(mutations):
    content = copy.deepcopy(SMOKE)
    for path, value, as_key in mutations:
        place = content
        try:
            for key in path[:-1]:
                place = place[key]
            if as_key and isinstance(place, dict):
                place[value if isinstance(value, str | int | None) else "odd"] = place.pop(path[-1])
            else:
                place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation took the place away
    try:
        preset, message = parse_preset(content, "my.yaml"), ""
    except InputError as error:
        preset, message = None, str(error)
    assert len(message.splitlines()) == (preset is None)
    for spec in preset.jobs() if preset else ():
        assert ".." not in spec.folder.split("/")
        again = json.loads(spec.to_json())
        json.dumps(again, allow_nan=False)
        assert parse(type(spec), again, "x") == spec


@pytest.mark.parametrize("model", [Dataset, ChainSpec, OracleSpec, DenseSpec, RetrainSpec])
def test_specs_given_by_hand_are_held_to_the_same_standard(model):
    with pytest.raises(InputError, match="--spec: unknown key 'odd'"):
        parse(model, {"odd": 1}, "--spec")


@pytest.mark.parametrize(("key", "value"), [("criterion", "nope"), ("task", "../x"), ("schedule_name", "a/b")])
def test_a_chain_s_spec_by_hand_cannot_name_what_a_preset_could_not(key, value):
    content = json.loads(parse_preset(SMOKE, "x").s_cyc_chains()[0].to_json()) | {key: value}
    with pytest.raises(InputError, match=key):
        parse(ChainSpec, content, "--spec")


def test_the_schema_and_the_readme_are_those_that_the_models_give():
    """Stale? Run `prunebench document-config`."""
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == config_docs.json_schema()
    assert (ROOT / "config/README.md").read_text() == config_docs.markdown()


def test_the_document_of_the_claims_is_the_one_that_their_rules_give():
    """Stale? Run `prunebench document-config`."""
    assert (ROOT / "docs/claims.md").read_text() == document.markdown()


def test_the_readme_tells_every_key_with_a_meaning():
    text = config_docs.markdown()
    schema = json.loads(config_docs.json_schema())
    for name, model in {"preset": schema, **schema["$defs"]}.items():
        for key, field in model.get("properties", {}).items():
            assert f"| `{key}` |" in text
            # A schedule's fields are told in its class's docstring; a field that only repeats its model's has none.
            if name == "ScheduleConfig" or not name.endswith("Config"):
                assert "$ref" in field or field.get("description"), f"{name}.{key} has no docstring"


def packages_of(lines):
    """Name to specifier, of requirements."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r.specifier for r in requirements}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wanted(project):
    extras = project["optional-dependencies"]
    assert "prunebench[workflow]" in extras["dev"]
    packages = packages_of([*project["dependencies"], *extras["workflow"], *extras["dev"]])
    del packages["prunebench"]
    return packages


def test_the_conda_environment_is_what_make_installs(project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert f"python{project['requires-python']}" in conda
    assert pip == ["-c constraints.txt", "-e .[dev]"]
    assert "-c constraints.txt -e '.[dev]'" in (ROOT / "Makefile").read_text()


def test_the_constraints_pin_every_package_inside_its_range(wanted):
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = packages_of(lines)
    assert len(pins) == len(lines)
    for name, allowed in wanted.items():
        assert name in pins, f"{name} is not pinned"
        (pin,) = (part for part in pins[name] if part.operator != "!=")
        assert pin.operator == "=="
        assert pin.version in allowed


def test_reading_a_preset_imports_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from prunebench.config import load_preset; import prunebench.files;"
        "import prunebench.studies.s_cyc_names, prunebench.studies.cascade_names;"
        "load_preset(Path(sys.argv[1])).jobs();"
        "print([m for m in ('torch', 'numpy', 'pandas', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, ROOT / "config/smoke.yaml"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
