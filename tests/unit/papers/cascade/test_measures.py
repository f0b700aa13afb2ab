"""The cascade study's tables of shedding and accuracy from made-up runs, against numbers worked out by plain loops."""

import itertools

import numpy as np
import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.papers.cascade import PAPER
from prunebench.suite.preset import parse_preset
from prunebench.suite.study import Study

THRESHOLDS = ("absolute", "relative", "removable", "in_dead", "dead_filters", "dead_channels")
PARTS = ("shedding", "criteria", "retraining", "schedules", "gmp", "semi_structured")


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


# --- All tables


def test_every_table_has_rows_with_the_declared_columns(tables):
    for table in PAPER.tables:
        assert len(tables[table.name]), table.name
        assert {*tables[table.name].columns} == {column.name for column in table.columns}, table.name


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_gives_its_tables_and_the_others_have_no_rows(cascade, part):
    frames = cascade.runs(parts=[part]).tables()
    assert {name for name, frame in frames.items() if len(frame)} == {*cascade.parts[part]}


def test_a_preset_without_the_study_has_no_tables(cascade, tmp_path):
    content = cascade.content() | {"cascade": None}
    content["s_cyc"] = {
        "pruning": {"rate": 0.5, "cycles": 1},
        "accuracy": [{"tasks": ["net_a"], "criteria": ["random"], "schedules": ["flat"]}],
    }
    with pytest.raises(InputError, match="preset 'tiny' does not run the study 'cascade'"):
        Study.of(PAPER, parse_preset(content, "tiny"), tmp_path)


@pytest.mark.parametrize(
    "lost", ["criteria/*/*/*/phases.csv", "shedding/*/*/*/shedding.csv", "cascade/overlap/*/overlap.csv"]
)
def test_a_missing_file_of_a_run_is_named(cascade, lost):
    runs = cascade.runs(parts=["shedding", "criteria"], seeds=[0])
    path = next(runs.folder.rglob(lost))
    path.unlink()
    with pytest.raises(InputError, match=f"cannot read {path}"):
        runs.tables()


def test_how_groups_are_spread_over_jobs_changes_nothing(cascade, tables):
    runs = cascade.runs(groups_per_job=1)
    assert any(job.folder.endswith("/batch-1") for job in runs.jobs())
    for name, frame in runs.tables().items():
        ordered = [each.sort_values(list(each.columns), ignore_index=True) for each in (tables[name], frame)]
        pd.testing.assert_frame_equal(*ordered, check_exact=True)


def test_one_seed_has_means_and_no_intervals(cascade):
    frames = cascade.runs(seeds=[4]).tables()
    for name, frame in frames.items():
        ends = [column for column in frame if column.endswith(("low", "high")) or column == "std"]
        means = [column for column in ("excess", "difference", "fitting", "share", "test_accuracy") if column in frame]
        assert len(frame), name
        assert frame[ends].isna().all(axis=None), name
        assert frame[means].notna().all(axis=None), name
    assert set(frames["cascade_overlap"]["comparison"]) == {"schemes"}  # there is no second seed to compare with


@pytest.mark.parametrize("lost", [0, -1], ids=["while retraining", "dense network"])
def test_where_every_run_diverged_accuracies_are_chance_and_the_rest_is_nan(cascade, lost):
    frames = cascade.runs(lost=lambda job, arm: lost).tables()
    shed = frames["cascade_shedding"]
    assert len(shed) == 2 * len(SHEDDING_CELLS) * len(THRESHOLDS)
    assert (shed["n"] == 0).all()
    assert shed[["clock", "pruned", "control", "excess", "excess_low"]].isna().all(axis=None)
    for name in ("cascade_shedding_curves", "cascade_magnitudes", "cascade_progress"):
        assert not len(frames[name])
    for name in ("cascade_criteria", "cascade_retraining", "cascade_schedules", "cascade_gmp"):
        assert frames[name]["test_accuracy"].tolist() == pytest.approx([0.1] * len(frames[name]))
        assert (frames[name]["diverged"] == 3).all()
    assert (frames["cascade_gmp"]["reached"] == 0).all()
    assert (frames["cascade_overlap"]["n"] == 0).all()
    assert frames["cascade_retraining"][["clock", "shed", "excess", "excess_difference"]].isna().all(axis=None)


# --- Shedding

SHEDDING_CELLS = [
    {"criterion": criterion, "max_lr": max_lr, "weight_decay": decay, "pruned_share": share}
    for criterion in ("global_magnitude", "random")
    for max_lr, decay, share in ((0.1, 0.01, 0.1), (0.1, 0.01, 0.2), (0.01, 0.0, 0.2))
]


@pytest.mark.parametrize("task", ["net_a", "net_b"])
def test_the_excess_is_over_the_weights_of_the_pruned_arm_seed_by_seed(made, tables, only, assert_interval, task):
    frame = tables["cascade_shedding"]
    assert len(frame) == 2 * len(SHEDDING_CELLS) * len(THRESHOLDS)
    for axes, threshold in itertools.product(SHEDDING_CELLS, THRESHOLDS):
        row = only(frame, task=task, threshold=threshold, **axes)
        pruned, control = made.shares("shedding", task, made.arm("shedding", task, **axes), 2, threshold)
        assert (row["epoch"], row["clock"], row["n"]) == (2, pytest.approx(0.2), 3)
        assert (row["pruned"], row["control"]) == pytest.approx((sum(pruned) / 3, sum(control) / 3))
        assert_interval(row, "excess", minus(pruned, control))


def test_curves_have_every_time_and_removable_where_it_is_measured(made, tables, assert_interval):
    frame = tables["cascade_shedding_curves"]
    axes = SHEDDING_CELLS[4]
    arm = made.arm("shedding", "net_b", **axes)
    cell = frame[(frame["task"] == "net_b") & np.logical_and.reduce([frame[k] == v for k, v in axes.items()])]
    times = {name: cell.loc[cell["threshold"] == name, "epoch"].tolist() for name in THRESHOLDS}
    assert times == {name: [0, 1, 2] if name == "removable" else [0, 0.25, 1, 2] for name in THRESHOLDS}
    for row in cell.to_dict("records"):
        pruned, control = made.shares("shedding", "net_b", arm, row["epoch"], row["threshold"])
        assert (row["n"], row["clock"]) == (3, pytest.approx(0.1 * row["epoch"]))
        assert_interval(row, "pruned", pruned)
        assert_interval(row, "control", control)
        assert_interval(row, "excess", minus(pruned, control))


def test_a_control_that_does_the_same_has_an_excess_of_exactly_0(cascade):
    """Means of 0.1 and the like are not exact: differences within a seed are."""

    def change(job, rows_of):
        for row in rows_of.get("shedding", ()):
            row |= {name: 0.1 * (job.seed + 1) for name in THRESHOLDS[:4] if name in row}
            row |= dict.fromkeys(THRESHOLDS[4:], job.seed + 1)

    frames = cascade.runs(parts=["shedding", "retraining", "schedules"], change=change).tables()
    for name in ("cascade_shedding", "cascade_shedding_curves", "cascade_retraining", "cascade_schedules"):
        assert (frames[name][["excess", "excess_low", "excess_high"]] == 0).all(axis=None)
    assert (frames["cascade_retraining"]["excess_difference"] == 0).all()


@pytest.mark.parametrize("victim", ["the pruned arm", "its control"])
def test_a_diverged_seed_is_left_out_of_shed_shares(cascade, only, assert_interval, victim):
    axes = SHEDDING_CELLS[5]
    planned = cascade.planned(parts=["shedding"])
    arm = planned.arm("shedding", "net_a", **axes)
    name = arm.name if victim == "the pruned arm" else planned.control("shedding", "net_a", arm)
    runs = planned.write(lost=lambda job, arm: 0 if (job.task, job.seed, arm.name) == ("net_a", 1, name) else None)
    frames = runs.tables()
    for threshold in THRESHOLDS:
        row = only(frames["cascade_shedding"], task="net_a", threshold=threshold, **axes)
        pruned, control = runs.shares("shedding", "net_a", arm, 2, threshold, seeds=(0, 2))
        assert (row["n"], row["clock"]) == (2, pytest.approx(0.2))
        assert (row["pruned"], row["control"]) == pytest.approx((sum(pruned) / 2, sum(control) / 2))
        assert_interval(row, "excess", minus(pruned, control))
    curves, bins = (
        frame[(frame["task"] == "net_a") & (frame["criterion"] == "random") & (frame["max_lr"] == 0.01)]
        for frame in (frames["cascade_shedding_curves"], frames["cascade_magnitudes"])
    )
    assert set(curves["n"]) == {2}
    # without the pruned arm its control, which is measured over that arm's survivors, has nothing to stand beside
    counted = {"pruned": {2 if victim == "the pruned arm" else 3}, "control": {2}}
    assert {run: set(rows["n"]) for run, rows in bins.groupby("run")} == counted
    assert bins["clock"].to_numpy() == pytest.approx(0.2)


def test_removable_is_absent_where_the_preset_does_not_measure_it(cascade):
    runs = cascade.runs(parts=["shedding"], shedding={"removable_images": 0})
    for name in ("cascade_shedding", "cascade_shedding_curves"):
        assert set(runs.table(name)["threshold"]) == {*THRESHOLDS} - {"removable"}


def test_a_network_without_input_channels_has_no_share_of_dead_ones(cascade):
    def change(job, rows_of):
        for row in rows_of["shedding"]:
            row |= {"channels": 0, "dead_channels": 0}

    frames = cascade.runs(parts=["shedding"], shedding={"tasks": ["net_a"]}, change=change).tables()
    cell = frames["cascade_shedding"].set_index("threshold")
    assert (cell.loc["dead_channels", "n"] == 0).all()
    assert cell.loc["dead_channels", ["pruned", "control", "excess"]].isna().all(axis=None)
    assert (cell.loc["dead_filters", "n"] == 3).all()
    assert "dead_channels" not in set(frames["cascade_shedding_curves"]["threshold"])


def test_histograms_pool_the_weights_of_all_seeds(made, tables, only):
    frame = tables["cascade_magnitudes"]
    assert len(frame) == 2 * len(SHEDDING_CELLS) * 2 * 2 * len(made.BINS)
    for axes in SHEDDING_CELLS:
        arm = made.arm("shedding", "net_a", **axes)
        runs = {"pruned": arm.name, "control": made.control("shedding", "net_a", arm)}
        for (run, name), (moment, epoch) in itertools.product(runs.items(), {"start": 0.0, "end": 2}.items()):
            counts = {
                left: sum(made.count("net_a", name, arm.name, seed, epoch, left) for seed in range(3))
                for left, _ in made.BINS
            }
            for left, right in made.BINS:
                row = only(frame, task="net_a", run=run, moment=moment, left=left, **axes)
                assert (row["n"], row["right"], row["clock"]) == (3, right, pytest.approx(0.2))
                assert row["weights_share"] == pytest.approx(counts[left] / sum(counts.values()))


# --- Accuracy


@pytest.fixture
def assert_accuracy(assert_interval):
    def check(row, values, diverged=0):
        assert (row["n"], row["diverged"]) == (len(values), diverged)
        assert_interval(row, "test_accuracy", values, "ci_low", "ci_high")
        assert row["std"] == pytest.approx(np.std(values, ddof=1))

    return check


SCHEMES = list(itertools.product(("random", "global_magnitude"), ("none", "shedding", "no_decay")))


@pytest.mark.parametrize("task", ["net_a", "net_b"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_criteria_are_compared_with_global_magnitude_without_a_prelude(
    made, tables, only, assert_interval, assert_accuracy, task, sparsity
):
    scores = {
        (criterion, prelude): made.scores("criteria", task, criterion=criterion, prelude=prelude, sparsity=sparsity)
        for criterion, prelude in SCHEMES
    }
    best = max(scores, key=lambda scheme: sum(scores[scheme]))
    for (criterion, prelude), values in scores.items():
        row = only(tables["cascade_criteria"], task=task, sparsity=sparsity, criterion=criterion, prelude=prelude)
        assert_accuracy(row, values)
        assert row["best"] == ((criterion, prelude) == best)
        if (criterion, prelude) == ("global_magnitude", "none"):
            assert (row["difference"], row["difference_low"], row["difference_high"]) == (0, 0, 0)
        else:
            assert_interval(row, "difference", minus(values, scores["global_magnitude", "none"]))
        # only the prelude that sheds has a control, the one without weight decay
        if prelude == "shedding":
            assert row["prelude_control"] == "no_decay"
            assert_interval(row, "control_difference", minus(values, scores[criterion, "no_decay"]))
        else:
            assert row["prelude_control"] == ""
            assert row[["control_difference", "control_difference_low", "control_difference_high"]].isna().all()
    assert len(tables["cascade_criteria"]) == 2 * 2 * len(SCHEMES)


def test_without_global_magnitude_there_is_no_difference(cascade):
    runs = cascade.runs(parts=["criteria"], criteria={"criteria": ["random", "layer_magnitude"]})
    frame = runs.table("cascade_criteria")
    assert frame[["difference", "difference_low", "difference_high"]].isna().all(axis=None)
    assert frame["test_accuracy"].notna().all()


def test_equal_best_cells_are_all_marked_and_a_diverged_run_is_at_chance(cascade, assert_interval, assert_accuracy):
    def change(job, rows_of):
        for row in rows_of["phases"]:
            row["test_accuracy"] = 0.7 if row["status"] == "trained" else 0.1

    def lost(job, arm):
        return 0 if (job.seed, arm.axes["prelude"]) == (2, "shedding") else None

    frame = cascade.runs(parts=["criteria"], change=change, lost=lost).table("cascade_criteria")
    assert set(frame["prelude"]) == {"none", "shedding", "no_decay"}
    for row in frame.to_dict("records"):
        if row["prelude"] == "shedding":
            assert_accuracy(row, [0.7, 0.7, 0.1], diverged=1)
            assert_interval(row, "difference", [0, 0, 0.1 - 0.7])
        assert row["best"] == (row["prelude"] != "shedding")


def test_retraining_is_compared_with_fine_tuning_in_accuracy_and_in_excess(
    made, tables, only, assert_interval, assert_accuracy
):
    frame = tables["cascade_retraining"]
    ways = ("fine_tune", "rewind_lr", "rewind_weights")
    assert len(frame) == 2 * len(ways)
    for criterion, way in itertools.product(("global_magnitude", "random"), ways):
        cell = {"criterion": criterion, "sparsity": 0.8}
        row = only(frame, task="net_a", retraining=way, **cell)
        arm, tuned = (made.arm("retraining", "net_a", retraining=name, **cell) for name in (way, "fine_tune"))
        values, fine = (made.scores("retraining", "net_a", retraining=name, **cell) for name in (way, "fine_tune"))
        pruned, control = made.shares("retraining", "net_a", arm, 3)
        assert_accuracy(row, values)
        assert row["clock"] == pytest.approx(0.01 * 3 * made.STEPS)
        assert (row["shed"], row["control"]) == pytest.approx((sum(pruned) / 3, sum(control) / 3))
        assert_interval(row, "excess", minus(pruned, control))
        if way == "fine_tune":
            assert (row["difference"], row["excess_difference"], row["excess_difference_high"]) == (0, 0, 0)
        else:
            excess = minus(*made.shares("retraining", "net_a", tuned, 3))
            assert_interval(row, "difference", minus(values, fine))
            assert_interval(row, "excess_difference", minus(minus(pruned, control), excess))


def test_a_diverged_retraining_has_accuracy_but_no_excess_and_no_clock(cascade, only, assert_interval, assert_accuracy):
    cell = {"criterion": "random", "sparsity": 0.8}

    def lost(job, arm):
        hit = cell | {"retraining": "rewind_lr"} == arm.axes
        return 0 if hit and job.seed == 0 else None

    runs = cascade.runs(parts=["retraining"], lost=lost)
    row = only(runs.table("cascade_retraining"), retraining="rewind_lr", **cell)
    values = [0.1, *runs.scores("retraining", "net_a", retraining="rewind_lr", **cell)[1:]]
    assert_accuracy(row, values, diverged=1)
    assert_interval(
        row, "difference", minus(values, runs.scores("retraining", "net_a", retraining="fine_tune", **cell))
    )
    assert row["clock"] == pytest.approx(0.01 * 3 * runs.STEPS)
    excess = {}
    for way in ("rewind_lr", "fine_tune"):
        arm = runs.arm("retraining", "net_a", retraining=way, **cell)
        pruned, control = runs.shares("retraining", "net_a", arm, 3, seeds=(1, 2))
        excess[way] = minus(pruned, control)
        if way == "rewind_lr":
            assert (row["shed"], row["control"]) == pytest.approx((sum(pruned) / 2, sum(control) / 2))
    assert_interval(row, "excess", excess["rewind_lr"])
    assert_interval(row, "excess_difference", minus(excess["rewind_lr"], excess["fine_tune"]))


def test_schedules_have_accuracy_clock_and_excess_and_one_best(made, tables, only, assert_interval, assert_accuracy):
    cells = list(itertools.product(("one_shot", "iterative", "gradual"), ("high", "low")))
    assert len(tables["cascade_schedules"]) == len(cells)
    scores = {cell: made.scores("schedules", "net_a", pruning=cell[0], lr_schedule=cell[1]) for cell in cells}
    best = max(scores, key=lambda cell: sum(scores[cell]))
    for (pruning, schedule), values in scores.items():
        names = {"pruning": pruning, "lr_schedule": schedule}
        row = only(tables["cascade_schedules"], task="net_a", criterion="global_magnitude", sparsity=0.8, **names)
        pruned, control = made.shares("schedules", "net_a", made.arm("schedules", "net_a", **names), 4)
        assert_accuracy(row, values)
        assert row["best"] == ((pruning, schedule) == best)
        assert row["clock"] == pytest.approx(0.01 * 4 * made.STEPS)
        assert (row["shed"], row["control"]) == pytest.approx((sum(pruned) / 3, sum(control) / 3))
        assert_interval(row, "excess", minus(pruned, control))
