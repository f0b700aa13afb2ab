"""The study's tables of trained networks from made-up runs, against numbers worked out by plain loops."""

import itertools
import math

import numpy as np
import pytest

from prunebench.errors import InputError
from prunebench.papers.directional import PAPER
from prunebench.suite.preset import parse_preset
from prunebench.suite.study import Study

TASKS = ("net_a", "b_0.5_x")
GRDA = "grda.c0.02.mu0.6"
FIRST, SECOND = "c 0.02, mu 0.6", "c 0.02, mu 0.6, weights only"
PARTS = ("sensitivity", "baselines", "connectivity", "curvature", "toy", "overhead", "released")


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def compared(study):
    """Task, method, matched_to and name of every arm that is compared."""
    return [(task, *key, name) for task in TASKS for key, name in study.arms_of(task).items()]


def keys(frame):
    return list(frame[["task", "method", "matched_to"]].itertuples(index=False, name=None))


# --- All tables


def test_every_table_has_rows_with_the_declared_columns(all_tables):
    for table in PAPER.tables:
        frame = all_tables[table.name.removeprefix("directional_")]
        assert len(frame), table.name
        assert {*frame.columns} == {column.name for column in table.columns}, table.name


@pytest.fixture(scope="module")
def one_seed(study):
    return study.runs(seeds=[0])


@pytest.mark.parametrize("part", [None, *PARTS])
def test_parts_that_are_left_out_give_tables_without_rows(study, one_seed, part):
    frames = study.planned(one_seed.folder, seeds=[0], parts=[part] if part else []).tables()
    assert {name for name, frame in frames.items() if len(frame)} == {*study.always, *study.parts.get(part, ())}


def test_without_baselines_only_sgd_and_grda_are_compared(study):
    frame = study.runs(parts=[]).table("accuracy")
    expected = [(task, "sgd", "") for task in TASKS]
    expected += [(task, "grda", label) for task in TASKS for label in study.settings[task]]
    assert sorted(keys(frame)) == sorted(expected)
    assert frame["best"].tolist() == (frame["method"] == "grda").tolist()  # alone in its group


def test_a_preset_without_the_study_has_no_tables(study, tmp_path):
    content = study.content() | {"directional": None}
    flat = {"kind": "fixed", "max_lr": 0.1}
    content["schedules"] = {"flat": {"profile": {"kind": "constant"}, "policy": flat, "role": "benchmark"}}
    grid = {"tasks": ["net_a"], "criteria": ["random"], "schedules": ["flat"]}
    content["s_cyc"] = {"pruning": {"rate": 0.5, "cycles": 1}, "accuracy": [grid]}
    with pytest.raises(InputError, match="preset 'tiny' does not run the study 'directional'"):
        Study.of(PAPER, parse_preset(content, "tiny"), tmp_path)


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        *((None, f"minima/*/seed-0/{table}.csv") for table in ("phases", "weights")),
        *(("baselines", f"baselines/*/seed-0/{table}.csv") for table in ("epochs", "layers")),
        ("sensitivity", "sensitivity/*/seed-0/phases.csv"),
        *(("connectivity", f"connectivity/*/seed-0/{table}.csv") for table in ("paths", "curves", "plane")),
        *(("curvature", f"curvature/*/seed-0/{table}.csv") for table in ("curvature", "eigenvalues")),
        ("toy", "toy/network/toy.csv"),
        ("released", "released/*/seed-0/phases.csv"),
        *(("overhead", f"overhead/all/{table}.csv") for table in ("seconds", "memory")),
    ],
)
def test_a_missing_file_of_a_run_is_named(study, one_seed, part, lost):
    path = next(one_seed.folder.rglob(lost))
    path.rename(path.with_suffix(".gone"))
    try:
        with pytest.raises(InputError, match=f"cannot read {path}"):
            study.planned(one_seed.folder, seeds=[0], parts=[part] if part else []).tables()
    finally:
        path.with_suffix(".gone").rename(path)


def test_one_seed_has_means_and_no_intervals(study, only):
    frames = study.runs(seeds=[4]).tables()
    for name, frame in frames.items():
        if name == "overhead":  # its intervals are over blocks
            continue
        bounds = [column for column in frame if column.endswith(("low", "high")) or column == "std"]
        assert frame[bounds].isna().all(axis=None), name
        means = ("difference", "share", "test_accuracy", "barrier", "error", "slope", "density", "ratio", "sparsity")
        assert frame[[column for column in means if column in frame]].notna().all(axis=None), name
    assert only(frames["toy"], problem="network", fixed="c", gamma=0.1)["slope"] == pytest.approx(0.9)


# --- As released


def test_as_released_stands_beside_the_schedule_and_sgd(study, all_tables, only, assert_interval, assert_nothing):
    assert len(all_tables["released"]) == 2 * len(TASKS)
    for task in TASKS:
        scheduled = study.references[task]
        constant, sgd = f"{scheduled}.constant", study.scores(task, "sgd")
        for lr, arm in (("constant", constant), ("scheduled", scheduled)):
            row = only(all_tables["released"], task=task, lr=lr)
            assert_interval(row, "test_accuracy", study.scores(task, arm), "ci_low", "ci_high")
            assert_interval(row, "sparsity", study.sparsities(task, arm))
            assert_interval(row, "difference", minus(study.scores(task, arm), sgd))
        row = only(all_tables["released"], task=task, lr="constant")
        assert_interval(row, "released_difference", minus(study.scores(task, constant), study.scores(task, scheduled)))
        assert_interval(
            row, "sparsity_change", minus(study.sparsities(task, constant), study.sparsities(task, scheduled))
        )
        beside = only(all_tables["released"], task=task, lr="scheduled")
        assert_nothing(beside, "released_difference", "sparsity_change")


# --- Accuracy


def test_accuracy_has_the_compared_arms_and_no_controls_task_by_task(study, all_tables):
    rows = keys(all_tables["accuracy"])
    assert len(rows) == 12 + 7
    assert set(rows) == {key[:3] for key in compared(study)}
    assert rows[:4] == [("net_a", "sgd", ""), ("net_a", "sgd_strong", "")] + [
        ("net_a", "grda", label) for label in (FIRST, SECOND)
    ]
    assert [row[0] for row in rows] == ["net_a"] * 12 + ["b_0.5_x"] * 7


def test_accuracy_and_sparsity_of_every_arm(study, all_tables, only, assert_interval, assert_nothing):
    for task, method, matched_to, arm in compared(study):
        row = only(all_tables["accuracy"], task=task, method=method, matched_to=matched_to)
        own = study.scores(task, arm)
        assert (row["n"], row["diverged"]) == (3, 0)
        assert_interval(row, "test_accuracy", own, "ci_low", "ci_high")
        assert row["std"] == pytest.approx(np.std(own, ddof=1))
        assert_interval(row, "sparsity", study.sparsities(task, arm))
        assert_interval(row, "sparsity_all", study.sparsities(task, arm, which="all"))
        if method == "sgd":
            assert (row["difference"], row["difference_low"], row["difference_high"]) == (0, 0, 0)
        else:
            assert_interval(row, "difference", minus(own, study.scores(task, "sgd")))
        c_and_mu = {"net_a": (0.02, 0.6), "b_0.5_x": (0.01, 0.75)}[task] if method == "grda" else (math.nan, math.nan)
        assert (row["c"], row["mu"]) == pytest.approx(c_and_mu, nan_ok=True)
        if method == "grda" or not matched_to:
            assert_nothing(row, "grda_difference")
        else:
            grda = study.settings[task][matched_to]
            assert_interval(row, "grda_difference", minus(study.scores(task, grda), own))
        strength = study.l1_arm(task, study.settings[task][matched_to])[0] if method == "l1" else math.nan
        assert row["strength"] == pytest.approx(strength, nan_ok=True)
        # fine-tuning comes on top of the dense network's epochs; the cut after an l1 penalty adds none
        assert row["epochs"] == (study.EPOCHS + study.TUNING if method == "gmp_one_shot" else study.EPOCHS)


def test_of_the_l1_penalties_the_one_with_the_best_mean_validation_accuracy_is_kept(study, only, assert_interval):
    """At each sparsity its own: not the best in test accuracy, nor in one seed; a diverged seed counts as chance."""
    weak, strong = study.strengths
    first, second, third = (("net_a", GRDA), ("net_a", f"{GRDA}.spared"), ("b_0.5_x", study.references["b_0.5_x"]))
    reached = {  # validation accuracy of every seed, and a test accuracy
        (weak, *first): ([0.6, 0.9, 0.6], 0.9),
        (strong, *first): ([0.7, 0.75, 0.71], 0.6),
        (weak, *second): ([0.55, 0.7, 0.7], 0.5),
        (strong, *second): ([0.6, 0.6, 0.6], 0.8),
        (weak, *third): ([0.65, 0.65, 0.64], 0.55),
        (strong, *third): ([0.9, 0.9, 0.1], 0.85),  # the last diverged
    }
    arms = {(task, f"l1.{strength:g}.{grda}"): ends for (strength, task, grda), ends in reached.items()}

    def scored(job, tables):
        for row in tables.get("phases", ()):
            if (job.task, row["arm"]) in arms and row["status"] == "trained":
                validated, row["test_accuracy"] = arms[job.task, row["arm"]]
                row["validation_accuracy"] = validated[job.seed]

    lost = {("b_0.5_x", f"l1.{strong:g}.{study.references['b_0.5_x']}", 2)}
    frames = study.runs(parts=["baselines"], lost=lost, change=scored).tables("accuracy", "layers")
    labels = [(task, label) for task in TASKS for label in study.settings[task]]
    for (task, label), kept in zip(labels, (strong, weak, weak), strict=True):
        row = only(frames["accuracy"], task=task, method="l1", matched_to=label)
        grda = study.settings[task][label]
        assert (row["strength"], row["n"], row["diverged"]) == (kept, 3, 0)
        assert row["test_accuracy"] == pytest.approx(reached[kept, task, grda][1])
        arm = f"l1.{kept:g}.{grda}"
        assert_interval(row, "sparsity", study.sparsities(task, arm))
        for layer, weights in study.LAYERS.items():
            shares = [1 - study.alive(task, arm, seed, layer) / weights for seed in range(3)]
            row = only(frames["layers"], task=task, method="l1", matched_to=label, layer=layer)
            assert_interval(row, "sparsity", shares, "low", "high")
    assert frames["accuracy"].loc[frames["accuracy"]["method"] != "l1", "strength"].isna().all()


def test_the_best_is_the_highest_of_those_at_one_matched_sparsity_and_never_dense(study, all_tables):
    frame = all_tables["accuracy"]
    expected = set()
    labels = [(task, label) for task in TASKS for label in study.settings[task]]
    for task, label in labels:
        group = {key: sum(study.scores(task, arm)) for key, arm in study.arms_of(task).items() if key[1] == label}
        expected.add((task, *max(group, key=group.get)))
    assert set(keys(frame[frame["best"]])) == expected


def test_a_further_update_is_compared_with_sgd_at_its_own_sparsity(study, only, assert_interval):
    frame = study.runs(parts=[], updates={"adam": {"kind": "adamw"}}).table("accuracy")
    row = only(frame, task="net_a", method="adam")
    assert row["matched_to"] == "adam"
    assert_interval(row, "difference", minus(study.scores("net_a", "adam"), study.scores("net_a", "sgd")))


# --- Around the reference


def test_sensitivity_is_around_the_reference_of_each_task_which_is_a_row_itself(study, all_tables, assert_interval):
    frame = all_tables["sensitivity"]
    around = {
        "net_a": {
            GRDA: (0.02, 0.6, 1, 0),
            "grda.c0.01.mu0.6": (0.01, 0.6, 0.5, 0),
            "grda.c0.02.mu0.65": (0.02, 0.65, 1, 0.05),
        },
        "b_0.5_x": {
            "grda.c0.01.mu0.75": (0.01, 0.75, 1, 0),
            "grda.c0.005.mu0.75": (0.005, 0.75, 0.5, 0),
            "grda.c0.01.mu0.8": (0.01, 0.8, 1, 0.05),
        },
    }
    assert len(frame) == 6
    for row, (task, name, axes) in zip(
        frame.to_dict("records"),
        [(task, *each) for task, arms in around.items() for each in arms.items()],
        strict=True,
    ):
        assert row["task"] == task
        assert [row[axis] for axis in ("c", "mu", "c_factor", "mu_shift")] == pytest.approx(axes)
        assert (row["n"], row["diverged"]) == (3, 0)
        assert_interval(row, "test_accuracy", study.scores(task, name), "ci_low", "ci_high")
        assert row["std"] == pytest.approx(np.std(study.scores(task, name), ddof=1))
        assert_interval(row, "difference", minus(study.scores(task, name), study.scores(task, "sgd")))
        own, reference = (study.sparsities(task, each) for each in (name, study.references[task]))
        assert_interval(row, "sparsity", own)
        if name == study.references[task]:
            assert (row["sparsity_change"], row["sparsity_change_low"]) == (0, 0)
        else:
            assert_interval(row, "sparsity_change", minus(own, reference))


def test_sensitivity_of_one_task_has_rows_of_that_task_alone(study):
    around = {"tasks": ["net_a"], "c_factors": [0.5], "mu_shifts": []}
    frame = study.runs(parts=["sensitivity"], sensitivity=around).table("sensitivity")
    assert frame[["task", "c_factor"]].values.tolist() == [["net_a", 1.0], ["net_a", 0.5]]


# --- By epoch and by layer


def test_a_trajectory_counts_the_epochs_behind_the_network_that_it_starts_from(study, all_tables, assert_interval):
    frame = all_tables["trajectory"]
    for task, method, matched_to, arm in compared(study):
        own = frame[(frame["task"] == task) & (frame["method"] == method) & (frame["matched_to"] == matched_to)]
        if method == "l1":  # cut without training
            assert len(own) == 0
            continue
        before, last = (study.EPOCHS, study.TUNING) if method == "gmp_one_shot" else (0, study.EPOCHS)
        assert own["epoch"].tolist() == [before + epoch for epoch in range(last + 1)]
        for epoch, (_, row) in enumerate(own.iterrows()):
            assert row["n"] == 3
            assert_interval(row, "density", [1 - study.zeros(task, arm, seed, epoch) for seed in range(3)])
            if epoch == 0:
                assert row[["validation_accuracy", "low", "high"]].isna().all()
            else:
                reached = [study.accuracy_at(task, arm, seed, epoch) for seed in range(3)]
                assert_interval(row, "validation_accuracy", reached, "low", "high")


def test_no_table_of_arms_has_the_controls_or_what_is_cut_later(all_tables):
    for name in ("accuracy", "trajectory", "layers", "norms", "norm_curves"):
        assert not set(all_tables[name]["method"]) & {"sgd_order", "sgd_init", "l1_uncut"}, name


def test_layers_are_those_of_sparse_networks(study, all_tables, only, assert_interval):
    frame = all_tables["layers"]
    sparse = [key for key in compared(study) if key[2]]
    assert len(frame) == 2 * len(sparse)
    for (task, method, matched_to, arm), (position, layer) in itertools.product(sparse, enumerate(study.LAYERS)):
        row = only(frame, task=task, method=method, matched_to=matched_to, layer=layer)
        weights = study.LAYERS[layer]
        assert row[["position", "weights", "n"]].tolist() == [position, weights, 3]
        shares = [1 - study.alive(task, arm, seed, layer) / weights for seed in range(3)]
        assert_interval(row, "sparsity", shares, "low", "high")


def test_norms_are_of_sgd_and_of_every_setting_of_grda(study, all_tables, only, assert_interval, assert_geometric):
    frame, curves = all_tables["norms"], all_tables["norm_curves"]
    kinds = [key for key in compared(study) if key[1] in ("sgd", "grda")]
    assert len(frame) == len(kinds)
    assert len(curves) == len(kinds) * (study.EPOCHS + 1)
    for task, method, matched_to, arm in kinds:
        where = {"task": task, "method": method, "matched_to": matched_to}
        row = only(frame, **where)
        start, end = ([study.norm_ratio(task, arm, seed, at) for seed in range(3)] for at in (0, study.EPOCHS))
        assert row["n"] == 3
        assert_interval(row, "start", start)
        assert_interval(row, "end", end)
        assert_geometric(row, "ratio", [b / a for a, b in zip(start, end, strict=True)])
        assert row["floor"] == pytest.approx(0.05)  # 400 parameters
        for epoch in range(study.EPOCHS + 1):
            point = only(curves, **where, epoch=epoch)
            values = [study.norm_ratio(task, arm, seed, epoch) for seed in range(3)]
            assert_interval(point, "ratio", values, "low", "high")
            assert (point["n"], point["floor"]) == (3, pytest.approx(0.05))


def test_a_network_without_a_weight_left_has_no_concentration(study, only, assert_interval):
    def emptied(job, tables):
        for row in tables.get("weights", ()):
            if (job.task, job.seed, row["arm"], row["epoch"]) == ("net_a", 1, GRDA, study.EPOCHS):
                row |= {"l1": 0, "l2": 0}

    frame = study.runs(parts=[], change=emptied).table("norms")
    row = only(frame, task="net_a", matched_to=FIRST)
    assert row["n"] == 2
    assert_interval(row, "end", [study.norm_ratio("net_a", GRDA, seed, study.EPOCHS) for seed in (0, 2)])


# --- Divergence


def test_a_diverged_run_counts_as_chance_and_leaves_everything_else(study, only, assert_interval):
    tables = study.runs(parts=["baselines", "sensitivity"], lost={("net_a", GRDA, 1)}).tables()
    row = only(tables["accuracy"], task="net_a", method="grda", matched_to=FIRST)
    held = [study.score("net_a", GRDA, 0), 0.1, study.score("net_a", GRDA, 2)]
    assert (row["n"], row["diverged"]) == (3, 1)
    assert_interval(row, "test_accuracy", held, "ci_low", "ci_high")
    assert_interval(row, "difference", minus(held, study.scores("net_a", "sgd")))
    assert_interval(row, "sparsity", study.sparsities("net_a", GRDA, (0, 2)))
    assert_interval(row, "sparsity_all", study.sparsities("net_a", GRDA, (0, 2), "all"))
    assert only(tables["accuracy"], task="net_a", method="grda", matched_to=SECOND)["diverged"] == 0

    around = only(tables["sensitivity"], task="net_a", c_factor=0.5)
    own, reference = (study.sparsities("net_a", arm, (0, 2)) for arm in ("grda.c0.01.mu0.6", GRDA))
    assert_interval(around, "sparsity_change", minus(own, reference))
    assert only(tables["sensitivity"], task="net_a", c_factor=1, mu_shift=0)["diverged"] == 1

    for name in ("trajectory", "norm_curves", "norms", "layers"):
        frame = tables[name]
        mine = (frame["task"] == "net_a") & (frame["matched_to"] == FIRST)  # what is matched to it, too
        assert set(frame.loc[mine, "n"]) == {2}, name
        assert set(frame.loc[~mine, "n"]) == {3}, name
    norms = only(tables["norms"], task="net_a", matched_to=FIRST)
    assert_interval(norms, "end", [study.norm_ratio("net_a", GRDA, seed, study.EPOCHS) for seed in (0, 2)])


@pytest.mark.parametrize("why", ["lost", "empty"])
def test_baselines_that_had_nothing_to_be_matched_to_are_left_out(study, only, assert_interval, why):
    """Their gRDA run diverged or has no weight left; the other seeds count, also where a strength of l1 is chosen."""
    tables = study.runs(parts=["baselines"], **{why: {("net_a", GRDA, 1)}}).tables()
    frame, left = tables["accuracy"], (0, 2)
    grda = only(frame, task="net_a", method="grda", matched_to=FIRST)
    assert (grda["n"], grda["diverged"]) == (3, 1 if why == "lost" else 0)
    strength, arm = study.l1_arm("net_a", GRDA, left)
    arms = {"l1": arm} | {method: f"{method}.{GRDA}" for method in ("gmp_gradual", "gmp_one_shot", "random")}
    for method, name in arms.items():
        where = {"task": "net_a", "method": method, "matched_to": FIRST}
        row, own = only(frame, **where), study.scores("net_a", name, left)
        assert (row["n"], row["diverged"]) == (2, 0)
        assert_interval(row, "test_accuracy", own, "ci_low", "ci_high")
        assert_interval(row, "difference", minus(own, study.scores("net_a", "sgd", left)))
        assert_interval(row, "grda_difference", minus(study.scores("net_a", GRDA, left), own))
        assert_interval(row, "sparsity", study.sparsities("net_a", name, left))
        assert_interval(row, "sparsity_all", study.sparsities("net_a", name, left, "all"))
        if method != "l1":
            before, epoch = (study.EPOCHS, 1) if method == "gmp_one_shot" else (0, study.EPOCHS)
            row = only(tables["trajectory"], **where, epoch=before + epoch)
            assert row["n"] == 2
            assert_interval(row, "density", [1 - study.zeros("net_a", name, seed, epoch) for seed in left])
        row = only(tables["layers"], **where, layer="fc.weight")
        assert row["n"] == 2
        shares = [1 - study.alive("net_a", name, seed, "fc.weight") / 20 for seed in left]
        assert_interval(row, "sparsity", shares, "low", "high")
    assert only(frame, task="net_a", method="l1", matched_to=FIRST)["strength"] == strength
    others = frame[(frame["task"] != "net_a") | (frame["matched_to"] != FIRST)]
    assert (others["n"] == 3).all()
    assert (others["diverged"] == 0).all()


def test_where_no_seed_has_anything_to_match_only_grda_itself_stands_at_its_setting(study, only):
    lost = {("net_a", GRDA, 0), ("net_a", GRDA, 2)}
    tables = study.runs(parts=["baselines"], lost=lost, empty={("net_a", GRDA, 1)}).tables()
    row = only(tables["accuracy"], task="net_a", matched_to=FIRST)
    assert (row["method"], row["n"], row["diverged"], row["best"]) == ("grda", 3, 2, True)
    assert len(tables["accuracy"]) == len(compared(study)) - 4
    for name in ("trajectory", "layers"):
        frame = tables[name]
        assert set(frame.loc[(frame["task"] == "net_a") & (frame["matched_to"] == FIRST), "method"]) == {"grda"}
        assert set(frame.loc[frame["matched_to"] != FIRST, "n"]) == {3}
