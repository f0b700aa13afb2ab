"""The S-Cyc study's tables from run folders written by hand, against numbers worked out by hand."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from prunebench.papers.s_cyc.measures import gradient_spread
from prunebench.papers.s_cyc.tables import TABLES
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import parse_preset

LATEX = [table.name for table in TABLES if table.latex]
"""Tables that readers get."""
T2 = 4.302652729749464
"""97.5 % quantile of Student's t with 2 degrees of freedom: sqrt(2 a^2 / (1 - a^2)) with a = 0.95."""
LOG_SLOPE = 1.7


def make_preset(
    *, seeds=(0, 1, 2), schedules=("cyclical", "constant", "s_cyc"), oracle=True, gradients=True, scale="x"
):
    task = {
        "dataset": "d",
        "network": {"kind": "mlp", "activation": "tanh"},
        "training": {"epochs": 2, "batch_size": 10},
    }
    # Each schedule has a dense network of its own, so that their numbers may differ in cycle 0, too.
    profiles = {"constant": {"kind": "constant"}, "s_cyc": {"kind": "cyclical", "min_share": 0.1}}
    content = {
        "preset": "tiny",
        "scale": scale,
        "seeds": list(seeds),
        "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
        "tasks": {"net_a": task, "net_b": task},
        "schedules": {
            name: {
                "profile": profiles.get(name, {"kind": "cyclical"}),
                "policy": {"kind": "linear", "start": 0.1, "top": 0.3, "last": 1},
                "role": role,
            }
            for name, role in {"cyclical": "benchmark", "constant": "benchmark", "s_cyc": "method"}.items()
        },
        "s_cyc": {
            "pruning": {"rate": 0.5, "cycles": 2},
            "accuracy": [{"tasks": ["net_a"], "criteria": ["global_magnitude"], "schedules": list(schedules)}],
        },
    }
    if gradients:
        measured = {"tasks": ["net_b"], "criteria": ["random"], "schedules": ["cyclical"]}
        content["s_cyc"]["gradients"] = [measured]
        content["s_cyc"]["gradient_measure"] = {"images": 100}
    if oracle:
        content["s_cyc"]["oracle"] = {
            "task": "net_a",
            "criterion": "global_magnitude",
            "schedule": "s_cyc",
            "max_lr": [0.1, 0.2, 0.4, 0.8],
            "tolerance": 0.01,
        }
    return parse_preset(content, "tiny")


VALIDATION = {"cyclical": [0.80, 0.82, 0.84], "constant": [0.81, 0.83, 0.85], "s_cyc": [0.80, 0.80, 0.80]}
TEST = {"cyclical": [0.90, 0.92, 0.94], "constant": [0.70, 0.75, 0.71], "s_cyc": [0.80, 0.81, 0.86]}
"""By schedule and seed: on validation the best benchmark is `constant`, on test it would be `cyclical`."""
SECONDS = {"cyclical": [2.0, 4.0, 5.0], "constant": [1.0, 4.0, 10.0], "s_cyc": [3.0, 6.0, 7.5]}


def cycle_rows(schedule, seed):
    return [
        {
            "density": 0.5**cycle,
            "sparsity": 1 - 0.5**cycle,
            "max_lr": 0.1,
            "status": "trained",
            "validation_accuracy": VALIDATION[schedule][seed] - cycle / 100,
            "test_accuracy": TEST[schedule][seed] - cycle / 100,
            "steps": 20,
            "images": 200,
            "flops": 1000,
            "flops_sparse": 1000 * 0.5**cycle,
            "seconds": SECONDS[schedule][seed] / 4 * (2 if cycle == 2 else 1),
            "peak_memory_mb": 100 + 10 * cycle + seed,
        }
        for cycle in range(3)
    ]


LOSSES = {0: [2.0, 1.0, 0.25], 1: [2.25, 1.25, 0.5], 2: [2.5, 1.5, 0.75]}
"""Training loss at shares 0.2, 0.5 and 1 by cycle: all cycles reach 0.75."""


def spread_at(cycle, seed, loss):
    """A std whose log is exactly linear in the loss: interpolation between measurements must be exact."""
    return math.exp(-2 + 0.3 * seed + (-0.5 + 0.1 * seed) * cycle + LOG_SLOPE * loss)


def gradient_rows(seed, losses=None, weights=("surviving", "all", "hidden.0.weight")):
    rows = []
    for cycle, at in (losses or LOSSES).items():
        for share, loss in zip([0.2, 0.5, 1.0], at, strict=True):
            std = spread_at(cycle, seed, loss) if loss is not None else math.nan
            for name in weights:
                rows.append(
                    {"cycle": cycle, "share": share, "sparsity": 1 - 0.5**cycle, "weights": name, "n": 64 >> cycle}
                    | {"loss": math.nan if loss is None else loss, "std": std, "iqr_over_1349": 2 * std}
                    | dict.fromkeys(("mean", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"), 0.125)
                )
    return rows


def histogram_rows(seed):
    return [
        {"cycle": cycle, "share": 1.0, "sparsity": 0.0, "left": left, "right": right, "count": count}
        for cycle in range(3)
        for left, right, count in [(-math.inf, -1.0, seed), (-1.0, 1.0, 6), (1.0, math.inf, 2 * cycle)]
    ]


GRID = {
    0: {0.1: [0.90, 0.90, 0.90], 0.2: [0.891, 0.891, 0.891], 0.4: [0.80, 0.80, 0.80], 0.8: [0.1, 0.1, 0.1]},
    1: {0.1: [0.54, 0.54, 0.54], 0.2: [0.55, 0.55, 0.55], 0.4: [0.50, 0.60, 0.70], 0.8: [0.2, 0.2, 0.2]},
    2: {0.1: [0.30, 0.30, 0.30], 0.2: [0.30, 0.30, 0.30], 0.4: [0.391, 0.391, 0.391], 0.8: [0.4, 0.4, 0.4]},
}
"""Validation accuracies by cycle, max_lr and seed. Near the best: in cycle 0 within the tolerance of 0.01; in cycle 1
within one standard error, 0.1 / sqrt 3 = 0.0577; in cycle 2 0.4 and 0.8, while the schedule has 0.3."""
CHOSEN = {0: [0.1, 0.1, 0.2], 1: [0.2, 0.4, 0.4], 2: [0.8, 0.8, 0.8]}
ORACLE_TEST = [0.84, 0.80, 0.88]


def candidate(choice, cycle, max_lr):
    validation, chosen = GRID[cycle][max_lr][choice.seed], max_lr == CHOSEN[cycle][choice.seed]
    return {
        "density": 0.5**cycle,
        "sparsity": 1 - 0.5**cycle,
        "status": "diverged" if validation == 0.1 else "trained",
        "validation_accuracy": validation,
        "test_accuracy": ORACLE_TEST[choice.seed] if chosen else 0.99,
        "steps": 20,
        "images": 200,
        "flops": 1000,
        "flops_sparse": 500,
        "seconds": 0.5,
        "peak_memory_mb": 300,
        "selected": int(chosen),
    }


@pytest.fixture(scope="module")
def write_runs(runs_of):
    """Writes the runs of a preset with the numbers above; `change`: (job) -> what replaces a job's rows, by table."""

    def write(preset, change=lambda job: {}):
        def end(job, cycle):
            return (change(job).get("cycles") or cycle_rows(job.axes["schedule"], job.seed))[cycle]

        return runs_of(preset).write(
            end,
            lambda job: change(job).get("gradients", gradient_rows(job.seed)),
            lambda job: change(job).get("gradient_histograms", histogram_rows(job.seed)),
            candidate,
        )

    return write


@pytest.fixture(scope="module")
def preset():
    return make_preset()


@pytest.fixture(scope="module")
def all_made(preset, write_runs):
    return write_runs(preset).tables()


@pytest.fixture
def made(all_made):
    return {name: frame.copy() for name, frame in all_made.items()}


def only(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1, f"{len(frame)} rows for {where}"
    return frame.iloc[0]


def interval(values):
    """Mean, standard deviation and 95 % interval of three values."""
    a, b, c = values
    mean = (a + b + c) / 3
    std = math.sqrt(((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2)
    half = T2 * std / math.sqrt(3)
    return mean, std, mean - half, mean + half


# ---------------------------------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize("schedule", ["cyclical", "constant", "s_cyc"])
def test_accuracy_is_mean_deviation_and_interval_over_seeds(made, schedule):
    for cycle in range(3):
        row = only(made["s_cyc_accuracy"], schedule=schedule, cycle=cycle)
        expected = interval([value - cycle / 100 for value in TEST[schedule]])
        got = [row["test_accuracy"], row["std"], row["ci_low"], row["ci_high"]]
        assert got == pytest.approx(list(expected), abs=1e-9)
        assert row["validation_accuracy"] == pytest.approx(sum(VALIDATION[schedule]) / 3 - cycle / 100)
        assert (row["n"], row["diverged"], row["sparsity"]) == (3, 0, 1 - 0.5**cycle)


def test_the_best_benchmark_is_chosen_on_validation_not_on_test(made):
    rows = made["s_cyc_accuracy"]
    assert set(rows["best_benchmark"]) == {"constant"}
    assert {tuple(row) for row in rows.loc[rows["best"], ["schedule", "cycle"]].to_numpy().tolist()} == {
        ("cyclical", cycle) for cycle in range(3)
    }


@pytest.mark.parametrize("schedule", ["cyclical", "constant", "s_cyc", "oracle"])
def test_differences_to_it_are_paired_by_seed(made, schedule):
    row = only(made["s_cyc_accuracy"], schedule=schedule, cycle=0)
    mine = ORACLE_TEST if schedule == "oracle" else TEST[schedule]
    mean, _, low, high = interval([a - b for a, b in zip(mine, TEST["constant"], strict=True)])
    assert [row["difference"], row["difference_low"], row["difference_high"]] == pytest.approx([mean, low, high])


def test_pairing_is_by_seed_whatever_the_order_of_runs(made, write_runs):
    shuffled = make_preset(seeds=(2, 0, 1))
    again = write_runs(shuffled).tables()["s_cyc_accuracy"]
    columns = ["difference", "difference_low", "difference_high"]
    for schedule in TEST:
        got, wanted = (only(frame, schedule=schedule, cycle=1) for frame in (again, made["s_cyc_accuracy"]))
        assert got[columns].tolist() == pytest.approx(wanted[columns].tolist())


def test_methods_and_controls_are_never_the_benchmark(preset, write_runs):
    def change(job):
        if job.axes["schedule"] != "s_cyc":
            return {}
        return {"cycles": [row | {"validation_accuracy": 0.999} for row in cycle_rows("s_cyc", job.seed)]}

    rows = write_runs(preset, change).tables()["s_cyc_accuracy"]
    assert set(rows["best_benchmark"]) == {"constant"}
    assert dict(zip(rows["schedule"], rows["role"], strict=True)) == {
        "cyclical": "benchmark",
        "constant": "benchmark",
        "s_cyc": "method",
        "oracle": "oracle",
    }


def test_without_a_benchmark_there_is_no_difference(write_runs):
    preset = make_preset(schedules=("s_cyc",), oracle=False, gradients=False)
    rows = write_runs(preset).tables()["s_cyc_accuracy"]
    assert rows["best_benchmark"].isna().all()
    assert rows["difference"].isna().all()
    assert rows["best"].all()


def test_one_seed_has_no_interval(tmp_path, write_runs, write_frames):
    preset = make_preset(seeds=(0,))
    made = write_runs(preset).tables()
    rows = made["s_cyc_accuracy"]
    assert set(rows["n"]) == {1}
    assert rows[["std", "ci_low", "ci_high", "difference_low", "difference_high"]].isna().all(axis=None)
    assert only(rows, schedule="s_cyc", cycle=0)["difference"] == pytest.approx(0.10)
    ratio = only(made["s_cyc_gradients"], at="end", weights="surviving", cycle=1)
    assert math.isfinite(ratio["std_ratio"])
    assert math.isnan(ratio["std_ratio_low"])
    write_frames(made, tmp_path / "tables")
    assert "nan" not in "".join((tmp_path / "tables" / f"{name}.tex").read_text() for name in LATEX)


def diverge(rows, first):
    """As a chain writes it: chance from cycle `first` on."""
    lost = {"status": "diverged", "validation_accuracy": 0.1, "test_accuracy": 0.1, "test_loss": None}
    return rows[:first] + [row | lost for row in rows[first:]]


def test_a_diverged_run_counts_at_chance(preset, write_runs):
    def change(job):
        if (job.axes["schedule"], job.seed) != ("s_cyc", 1):
            return {}
        return {"cycles": diverge(cycle_rows("s_cyc", 1), 1)}

    rows = write_runs(preset, change).tables()["s_cyc_accuracy"]
    assert [only(rows, schedule="s_cyc", cycle=cycle)["diverged"] for cycle in range(3)] == [0, 1, 1]
    row = only(rows, schedule="s_cyc", cycle=2)
    assert row["n"] == 3
    assert row["test_accuracy"] == pytest.approx((0.78 + 0.10 + 0.84) / 3)
    assert row["difference"] == pytest.approx(((0.78 - 0.68) + (0.10 - 0.73) + (0.84 - 0.69)) / 3)


def test_runs_that_only_measure_gradients_are_not_compared(made):
    assert set(made["s_cyc_accuracy"]["task"]) == {"net_a"}
    assert set(made["s_cyc_cost"]["task"]) == {"net_a"}
    assert set(made["s_cyc_gradients"]["task"]) == {"net_b"}


# -------------------------------------------------------------------------------------------------------------- cost


def test_cost_is_that_of_whole_chains_and_ratios_are_paired_by_seed(made):
    for schedule, seconds in SECONDS.items():
        row = only(made["s_cyc_cost"], schedule=schedule)
        mean, std, *_ = interval(seconds)
        assert [row["seconds"], row["seconds_std"]] == pytest.approx([mean, std])
        assert [row["steps"], row["images"], row["flops"], row["flops_sparse"]] == [60, 600, 3000, 1750]
        ratios = [mine / its for mine, its in zip(seconds, SECONDS["cyclical"], strict=True)]
        mean, _, low, high = interval(ratios)
        got = [row["seconds_ratio"], row["seconds_ratio_low"], row["seconds_ratio_high"]]
        assert got == pytest.approx([mean, low, high])
        assert (row["steps_ratio"], row["peak_memory_mb"], row["n"]) == (1.0, 122, 3)


def test_the_oracle_costs_what_all_its_candidates_cost(made):
    row = only(made["s_cyc_cost"], schedule="oracle")
    assert [row["steps"], row["images"], row["flops"], row["flops_sparse"]] == [240, 2400, 12000, 6000]
    assert row["seconds"] == pytest.approx(3 * 4 * 0.5)
    assert row["steps_ratio"] == 4
    assert row["seconds_ratio"] == pytest.approx((6 / 2 + 6 / 4 + 6 / 5) / 3)
    assert row["peak_memory_mb"] == 300


def test_without_cyclical_there_is_no_ratio(write_runs):
    preset = make_preset(schedules=("constant",), oracle=False, gradients=False)
    row = only(write_runs(preset).tables()["s_cyc_cost"], schedule="constant")
    assert row[["steps_ratio", "seconds_ratio", "seconds_ratio_low"]].isna().all()


# ------------------------------------------------------------------------------------------------------------ oracle


def test_near_best_is_within_the_tolerance_or_one_standard_error(made):
    grid = made["s_cyc_oracle_grid"]
    near = {cycle: sorted(grid[(grid["cycle"] == cycle) & grid["near_best"]]["max_lr"]) for cycle in range(3)}
    assert near == {0: [0.1, 0.2], 1: [0.2, 0.4], 2: [0.4, 0.8]}
    row = only(grid, cycle=1, max_lr=0.4)
    assert [row["validation_accuracy"], row["validation_std"]] == pytest.approx([0.6, 0.1])
    assert (row["n"], row["selected"], row["diverged"]) == (3, 2, 0)
    assert only(grid, cycle=0, max_lr=0.8)["diverged"] == 3
    assert grid.groupby("cycle")["selected"].sum().tolist() == [3, 3, 3]


def test_the_tolerance_is_the_presets(write_runs):
    wide = make_preset()
    wide = wide.model_copy(
        update={
            "s_cyc": wide.s_cyc.model_copy(update={"oracle": wide.s_cyc.oracle.model_copy(update={"tolerance": 0.101})})
        }
    )
    grid = write_runs(wide).tables()["s_cyc_oracle_grid"]
    assert sorted(grid[(grid["cycle"] == 0) & grid["near_best"]]["max_lr"]) == [0.1, 0.2, 0.4]


def test_a_max_lr_exactly_at_the_tolerance_is_near_best(tmp_path, write_runs):
    """Not a far-fetched case: accuracies are multiples of 1 / images, and so may the tolerance be."""
    preset = make_preset(gradients=False)
    runs = write_runs(preset)
    for path in runs.folder.glob("s_cyc/choice/net_a/global_magnitude/seed-*/cycle-2/selection.csv"):
        path.write_text(path.read_text().replace(",0.391,", ",0.39,"))
    grid = runs.tables()["s_cyc_oracle_grid"]
    assert only(grid, cycle=2, max_lr=0.4)["near_best"]


def test_with_one_seed_the_tolerance_alone_counts(write_runs):
    preset = make_preset(seeds=(1,))
    grid = write_runs(preset).tables()["s_cyc_oracle_grid"]
    near = {cycle: sorted(grid[(grid["cycle"] == cycle) & grid["near_best"]]["max_lr"]) for cycle in range(3)}
    assert near == {0: [0.1, 0.2], 1: [0.4], 2: [0.4, 0.8]}


def test_oracle_summary_compares_with_the_schedule(made):
    summary = made["s_cyc_oracle"]
    expected = {
        0: (0.1 * 2 ** (1 / 3), 0.1, 0.2, 0.1, True),
        1: ((0.2 * 0.4 * 0.4) ** (1 / 3), 0.2, 0.4, 0.3, True),
        2: (0.8, 0.4, 0.8, 0.3, True),  # 0.3 is nearer to 0.4 than to 0.2 in log
    }
    for cycle, (chosen, low, high, max_lr, inside) in expected.items():
        row = only(summary, cycle=cycle)
        assert [row["oracle_max_lr"], row["low"], row["high"], row["schedule_max_lr"]] == pytest.approx(
            [chosen, low, high, max_lr]
        )
        assert bool(row["inside"]) is inside
        theirs = [value - cycle / 100 for value in TEST["s_cyc"]]
        mean, _, low, high = interval([a - b for a, b in zip(ORACLE_TEST, theirs, strict=True)])
        assert [row["difference"], row["difference_low"], row["difference_high"]] == pytest.approx([mean, low, high])
        assert row["oracle_test_accuracy"] == pytest.approx(0.84)
        assert row["schedule_test_accuracy"] == pytest.approx(sum(theirs) / 3)
        assert row["n"] == 3


def test_an_oracle_whose_schedule_was_not_compared_has_no_difference(write_runs):
    preset = make_preset(schedules=("cyclical",), gradients=False)
    summary = write_runs(preset).tables()["s_cyc_oracle"]
    assert summary["difference"].isna().all()
    assert summary["inside"].tolist() == [True, True, True]


def test_a_max_lr_nearest_to_one_that_is_not_near_best_is_outside(write_runs):
    content = make_preset().content()
    content["schedules"]["s_cyc"]["policy"]["top"] = 0.25  # nearer to 0.2 than to 0.4 in log
    preset = parse_preset(content, "tiny")
    summary = write_runs(preset).tables()["s_cyc_oracle"]
    assert summary["inside"].tolist() == [True, True, False]


# --------------------------------------------------------------------------------------------------------- gradients


def geometric(logs):
    mean, _, low, high = interval(logs)
    return [math.exp(mean), math.exp(low), math.exp(high)]


@pytest.mark.parametrize("weights", ["surviving", "all", "hidden.0.weight"])
def test_ratios_at_the_end_are_geometric_means_with_intervals_on_the_log(made, weights):
    for cycle in range(3):
        row = only(made["s_cyc_gradients"], at="end", weights=weights, cycle=cycle)
        logs = [(-0.5 + 0.1 * s) * cycle + LOG_SLOPE * (LOSSES[cycle][2] - LOSSES[0][2]) for s in range(3)]
        assert [row["std_ratio"], row["std_ratio_low"], row["std_ratio_high"]] == pytest.approx(geometric(logs))
        assert [row["iqr_ratio"], row["iqr_ratio_low"], row["iqr_ratio_high"]] == pytest.approx(geometric(logs))
        stds = [spread_at(cycle, seed, LOSSES[cycle][2]) for seed in range(3)]
        assert row["std"] == pytest.approx(sum(stds) / 3)
        assert (row["n"], row["weights_counted"], row["activation"]) == (3, 64 >> cycle, "tanh")
        assert (row["std_ratio_n"], row["iqr_ratio_n"]) == (3, 3)
        assert row["loss"] == pytest.approx(LOSSES[cycle][2])


@pytest.mark.parametrize("weights", ["surviving", "all"])
def test_at_matched_loss_interpolation_is_exact_where_log_std_is_linear(made, weights):
    """At equal loss only the cycle's own factor is left."""
    for cycle in range(3):
        row = only(made["s_cyc_gradients"], at="matched_loss", weights=weights, cycle=cycle)
        assert row["loss"] == 0.75
        logs = [(-0.5 + 0.1 * seed) * cycle for seed in range(3)]
        assert [row["std_ratio"], row["std_ratio_low"], row["std_ratio_high"]] == pytest.approx(geometric(logs))
        assert row["std"] == pytest.approx(sum(spread_at(cycle, seed, 0.75) for seed in range(3)) / 3)
        assert row["iqr_over_1349"] == pytest.approx(2 * row["std"])


def test_matched_loss_is_for_whole_networks_only(made):
    rows = made["s_cyc_gradients"]
    assert set(rows[rows["at"] == "matched_loss"]["weights"]) == {"surviving", "all"}
    assert len(rows[rows["at"] == "end"]) == 9
    assert len(rows[rows["at"] == "matched_loss"]) == 6


def test_matched_loss_is_matched_within_each_seed(preset, write_runs):
    """Seed 2 reaches less: its cycles are compared at its own loss."""

    def change(job):
        losses = {cycle: [a + 1 for a in at] for cycle, at in LOSSES.items()}
        return {"gradients": gradient_rows(2, losses)} if job.seed == 2 else {}

    rows = write_runs(preset, change).tables()["s_cyc_gradients"]
    row = only(rows, at="matched_loss", weights="all", cycle=2)
    assert row["loss"] == pytest.approx((0.75 + 0.75 + 1.75) / 3)
    assert row["std_ratio"] == pytest.approx(math.exp(2 * (-0.5 + 0.1)))


def spread_of(preset, losses, write_runs):
    """The table where the chain of seed 1 has other losses; None is NaN, a missing cycle was never reached."""

    def change(job):
        return {"gradients": gradient_rows(1, losses)} if job.seed == 1 else {}

    return write_runs(preset, change).tables()["s_cyc_gradients"]


@pytest.mark.parametrize("cycle_2", [[None, None, None], None], ids=["NaN", "absent"])
def test_a_diverged_chain_leaves_the_others_ratio(preset, write_runs, cycle_2):
    losses = {0: LOSSES[0], 1: LOSSES[1]} | ({} if cycle_2 is None else {2: cycle_2})
    rows = spread_of(preset, losses, write_runs)
    for at, slopes in (("end", LOG_SLOPE * 0.5), ("matched_loss", 0.0)):
        row = only(rows, at=at, weights="surviving", cycle=2)
        logs = [2 * (-0.5 + 0.1 * seed) + slopes for seed in (0, 2)]
        assert row["std_ratio"] == pytest.approx(math.exp(sum(logs) / 2))
        assert row["std_ratio_n"] == 2
    # its sound cycles meet at the lowest loss that both reach, and count
    row = only(rows, at="matched_loss", weights="surviving", cycle=1)
    assert row["n"] == 3
    assert row["std_ratio"] == pytest.approx(math.exp(-0.4))


def test_a_chain_that_diverged_in_the_dense_cycle_has_no_ratio(preset, write_runs):
    rows = spread_of(preset, {0: [None, None, None]}, write_runs)
    assert only(rows, at="end", weights="all", cycle=1)["std_ratio"] == pytest.approx(
        math.exp(sum(-0.5 + 0.1 * seed + LOG_SLOPE * 0.25 for seed in (0, 2)) / 2)
    )


def test_no_measurement_at_all_makes_an_empty_table(preset, tmp_path, write_runs, write_frames):
    def change(job):
        return {"gradients": [], "gradient_histograms": []}

    made = write_runs(preset, change).tables()
    assert len(made["s_cyc_gradients"]) == 0
    write_frames(made, tmp_path / "tables")
    assert (tmp_path / "tables" / "s_cyc_gradients.csv").exists()


def test_a_dense_cycle_below_the_target_at_once_has_no_matched_ratio(preset, write_runs):
    """The sparse networks never come as low as the dense one was at its first measurement."""
    losses = {0: [0.5, 0.3, 0.1], 1: [2.0, 1.0, 0.75], 2: [2.5, 1.5, 0.75]}

    def change(job):
        return {"gradients": gradient_rows(job.seed, losses)}

    rows = write_runs(preset, change).tables()["s_cyc_gradients"]
    assert math.isfinite(only(rows, at="end", weights="all", cycle=2)["std_ratio"])
    matched = rows[rows["at"] == "matched_loss"]
    assert matched["std_ratio"].isna().all()


@pytest.mark.parametrize("lost", ["std", "iqr_over_1349"])
def test_what_cannot_be_interpolated_is_left_out(preset, lost, write_runs):
    """A spread of 0 has no log: the matched value is unknown, not that of a lower loss."""

    def change(job):
        rows = gradient_rows(job.seed)
        for row in rows:
            if (row["cycle"], row["share"]) == (1, 0.5):
                row[lost] = 0.0
        return {"gradients": rows}

    rows = write_runs(preset, change).tables()["s_cyc_gradients"]
    row = only(rows, at="matched_loss", weights="all", cycle=1)
    assert math.isnan(row[lost])
    assert math.isnan(row[f"{lost.split('_')[0]}_ratio"])


def test_a_cycle_that_never_trained_does_not_set_the_target(preset, write_runs):
    """The sparsest network stays at the loss of guessing; the others still meet at the lowest loss both reach."""
    losses = {0: LOSSES[0], 1: LOSSES[1], 2: [2.31, 2.305, 2.302]}

    def change(job):
        return {"gradients": gradient_rows(job.seed, losses)}

    rows = write_runs(preset, change).tables()["s_cyc_gradients"]
    matched = rows[(rows["at"] == "matched_loss") & (rows["weights"] == "surviving")]
    assert matched["cycle"].tolist() == [0, 1]
    assert matched["loss"].tolist() == [0.5, 0.5]
    assert only(matched, cycle=1)["std_ratio"] == pytest.approx(math.exp(-0.4))
    assert len(rows[(rows["at"] == "end") & (rows["weights"] == "surviving")]) == 3


def test_a_seed_without_any_spread_leaves_the_ratio_undefined(preset, write_runs):
    """Its ratio is 0: the mean over the other seeds would hide the narrowest of them."""

    def change(job):
        rows = gradient_rows(job.seed)
        for row in rows:
            if job.seed == 1 and (row["cycle"], row["share"]) == (2, 1.0):
                row["std"] = 0.0
        return {"gradients": rows}

    rows = write_runs(preset, change).tables()["s_cyc_gradients"]
    row = only(rows, at="end", weights="surviving", cycle=2)
    assert (row["zero"], row["n"], row["std_ratio_n"]) == (1, 3, 0)
    assert math.isnan(row["std_ratio"])
    assert only(rows, at="end", weights="surviving", cycle=1)["zero"] == 0


def test_equal_best_schedules_are_both_marked(preset, write_runs):
    rows = write_runs(preset).tables()["s_cyc_accuracy"]
    for _, cell in rows.groupby(["task", "criterion", "cycle"]):
        assert cell["best"].tolist() == (cell["test_accuracy"] == cell["test_accuracy"].max()).tolist()


def test_a_very_wide_interval_is_no_crash(preset):
    rows = [
        {"task": "net_a", "criterion": "random", "schedule": "cyclical", "seed": seed, "cycle": cycle, "share": 1.0}
        | {"sparsity": 0.0, "weights": "all", "n": 5, "loss": 1.0, "std": std, "iqr_over_1349": std}
        | dict.fromkeys(("mean", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"), 0.0)
        for seed, last in enumerate((1e-38, 1e25))
        for cycle, std in enumerate((1.0, last))
    ]
    data = SimpleNamespace(gradients=pd.DataFrame(rows), preset=preset, config=preset.s_cyc)
    row = only(pd.DataFrame(gradient_spread(data)), cycle=1, at="end")
    assert row["std_ratio"] == pytest.approx(10**-6.5)
    assert (row["std_ratio_low"], row["std_ratio_high"]) == (0.0, math.inf)


def test_histograms_pool_seeds_into_shares(made):
    pooled = made["s_cyc_gradient_histograms"]
    for cycle, total in ((0, 21), (1, 27), (2, 33)):
        rows = pooled[pooled["cycle"] == cycle]
        assert rows["count"].tolist() == [3, 18, 6 * cycle]
        assert rows["weights_share"].tolist() == pytest.approx([3 / total, 18 / total, 6 * cycle / total])
        assert (rows["left"].iloc[0], rows["right"].iloc[-1]) == (-math.inf, math.inf)


def test_lr_schedules_are_the_configurations(made, preset):
    rows = made["s_cyc_lr_schedules"]
    assert set(rows["schedule"]) == set(preset.schedules)
    assert rows.groupby(["schedule", "cycle"])["lr"].max().tolist() == pytest.approx([0.1, 0.3, 0.3] * 3)
    flat = rows[rows["schedule"] == "constant"]
    assert (flat["lr"] == flat["max_lr"]).all()


# ------------------------------------------------------------------------------------------------------------- LaTeX


@pytest.fixture
def written(made, tmp_path, write_frames):
    write_frames(made, tmp_path / "tables")
    return tmp_path / "tables"


@pytest.mark.parametrize("name", LATEX)
def test_latex_is_a_booktabs_table_with_equal_rows(written, name, parse_latex):
    header, lines = parse_latex((written / f"{name}.tex").read_text())
    assert lines
    assert len(set(header)) == len(header)


def test_every_table_is_written_and_reads_back(written, made):
    assert {path.name for path in written.iterdir()} == {
        *(f"{name}.csv" for name in made),
        *(f"{name}.tex" for name in LATEX),
    }
    for name, frame in made.items():
        back = pd.read_csv(written / f"{name}.csv")
        assert set(back.columns) == {*frame.columns, "scale"}
        assert len(back) == len(frame)
    back = pd.read_csv(written / "s_cyc_accuracy.csv")
    assert np.array_equal(back["test_accuracy"], made["s_cyc_accuracy"]["test_accuracy"])


def test_accuracy_table_shows_percent_and_bolds_the_best(written, parse_latex):
    header, lines = parse_latex((written / "s_cyc_accuracy.tex").read_text())
    assert header == ["task", "criterion", "schedule", "n", r"0.0 \%", r"50.0 \%", r"75.0 \%"]
    cells = {line[2]: line for line in lines}
    assert cells["cyclical"][:5] == ["net\\_a", "global\\_magnitude", "cyclical", "3", r"\textbf{92.0 $\pm$ 2.0}"]
    assert cells["s\\_cyc"][4:] == [r"82.3 $\pm$ 3.2", r"81.3 $\pm$ 3.2", r"80.3 $\pm$ 3.2"]
    assert [sum("textbf" in line[i] for line in lines) for i in (4, 5, 6)] == [1, 1, 1]
    assert [line[2] for line in lines] == ["cyclical", "constant", "s\\_cyc", "oracle"]


def test_oracle_cost_and_gradient_tables_show_the_numbers(written, parse_latex):
    _, lines = parse_latex((written / "s_cyc_oracle.tex").read_text())
    assert lines[2][:5] == [r"75.0 \%", "0.8", "0.4 to 0.8", "0.3", "yes"]
    assert [line[5] for line in lines] == ["1.7 [$-$4.6, 7.9]", "2.7 [$-$3.6, 8.9]", "3.7 [$-$2.6, 9.9]"]
    assert lines[0][4] == "yes"
    header, lines = parse_latex((written / "s_cyc_cost.tex").read_text())
    oracle = dict(zip(header, next(line for line in lines if line[2] == "oracle"), strict=True))
    assert (oracle["updates"], oracle["seconds"], oracle["peak memory, MB"]) == ("240", r"6.0 $\pm$ 0.0", "300")
    assert oracle["TFLOPs"] == r"$1.2 \cdot 10^{-8}$"
    times = {line[2]: line[-1] for line in lines}
    assert times["cyclical"] == "1.00 [1.00, 1.00]"  # the reference
    assert times["s\\_cyc"] == "1.50 [1.50, 1.50]$^{*}$"
    assert times["constant"] == "1.17 [$-$0.73, 3.06]"
    header, lines = parse_latex((written / "s_cyc_gradients.tex").read_text())
    low, high = geometric([-0.5, -0.4, -0.3])[1:]
    matched = next(line for line in lines if "matched\\_loss" in line)
    assert high < 1
    assert matched[-2] == f"{math.exp(-0.4):.2f} [{low:.2f}, {high:.2f}]$^{{*}}$"
    assert matched[-3] == "1.00 [1.00, 1.00]"  # the dense network


def test_accuracies_are_marked_where_they_differ_from_the_best_benchmark(
    made, tmp_path, write_frames, parse_latex, marked_columns
):
    """Above or below it; not benchmarks, not the best one itself, and not where there is no interval."""
    frame = made["s_cyc_accuracy"]
    first = frame["cycle"] == 0
    ends = {"cyclical": (0.0, 0.0), "constant": (-0.3, -0.1), "s_cyc": (0.001, 0.2), "oracle": (-0.2, -0.001)}
    low = frame["schedule"].map(lambda name: ends[name][0])
    high = frame["schedule"].map(lambda name: ends[name][1])
    frame = frame.assign(
        difference_low=low.where(first, -0.1).where(frame["cycle"] < 2),
        difference_high=high.where(first, 0.1).where(frame["cycle"] < 2),
    )
    write_frames(made | {"s_cyc_accuracy": frame}, tmp_path / "tables")
    text = (tmp_path / "tables" / "s_cyc_accuracy.tex").read_text()
    header, lines = parse_latex(text)
    cells = {line[2]: line[4:] for line in lines}
    assert marked_columns(text) == {header[4]}
    assert cells["s\\_cyc"][0] == r"82.3 $\pm$ 3.2$^{*}$"
    assert cells["oracle"][0] == r"84.0 $\pm$ 4.0$^{*}$"
    assert cells["cyclical"][0] == r"\textbf{92.0 $\pm$ 2.0}"
    assert cells["constant"][0] == r"72.0 $\pm$ 2.6"


def test_accuracies_say_how_many_seeds_diverged(made, tmp_path, write_frames, parse_latex):
    frame = made["s_cyc_accuracy"].assign(diverged=2)
    write_frames(made | {"s_cyc_accuracy": frame}, tmp_path / "tables")
    _, lines = parse_latex((tmp_path / "tables" / "s_cyc_accuracy.tex").read_text())
    assert lines[0][4] == r"\textbf{92.0 $\pm$ 2.0} (2 diverged)"


MARKED = {
    "s_cyc_accuracy": {r"0.0 \%", r"50.0 \%", r"75.0 \%"},
    "s_cyc_oracle": {"oracle minus schedule, points"},
    "s_cyc_cost": {"time / cyclical"},
    "s_cyc_gradients": {r"0.0 \%", r"50.0 \%", r"75.0 \%"},
}
"""Columns that may hold a mark: differences and ratios."""


def all_sure(frame):
    """A table all of whose intervals exclude both 0 and 1."""
    low = {name: 2.0 for name in frame if name.endswith("_low")}
    return frame.assign(**low, **{name.replace("_low", "_high"): 3.0 for name in low})


@pytest.mark.parametrize("name", LATEX)
def test_only_differences_and_ratios_are_marked(made, tmp_path, name, write_frames, marked_columns):
    write_frames(made | {name: all_sure(made[name])}, tmp_path / "tables")
    assert marked_columns((tmp_path / "tables" / f"{name}.tex").read_text()) == MARKED[name]


@pytest.mark.parametrize("name", LATEX)
def test_where_there_are_no_intervals_there_are_no_marks(made, tmp_path, name, write_frames, marked_columns):
    frame = made[name].assign(**{end: float("nan") for end in made[name] if end.endswith(("_low", "_high"))})
    write_frames(made | {name: frame}, tmp_path / "tables")
    assert not marked_columns((tmp_path / "tables" / f"{name}.tex").read_text())


def test_a_scale_with_a_percent_sign_stays_in_its_comment(tmp_path, write_runs, write_frames, parse_latex):
    preset = make_preset(scale="10 % of & {data}")
    write_frames(write_runs(preset).tables(), tmp_path / "tables", preset.scale)
    for name in LATEX:
        text = (tmp_path / "tables" / f"{name}.tex").read_text()
        assert preset.scale in text.splitlines()[0]
        parse_latex(text)


def test_tables_that_a_preset_does_not_make_are_there_and_empty(tmp_path, write_runs, write_frames):
    preset = make_preset(oracle=False, gradients=False)
    write_frames(write_runs(preset).tables(), tmp_path / "tables")
    for name in ("s_cyc_oracle", "s_cyc_oracle_grid", "s_cyc_gradients", "s_cyc_gradient_histograms"):
        with (tmp_path / "tables" / f"{name}.csv").open() as file:
            assert list(csv.DictReader(file)) == []
    assert "no rows" in (tmp_path / "tables" / "s_cyc_oracle.tex").read_text()


def test_one_column_per_cycle_though_sparsities_differ_in_rounding(
    preset, tmp_path, write_runs, write_frames, parse_latex
):
    """Exact counts differ between networks and scopes, and a diverged chain records the planned sparsity."""

    def change(job):
        if job.axes["schedule"] != "constant":
            return {}
        return {"cycles": [row | {"sparsity": row["sparsity"] - 0.0006} for row in cycle_rows("constant", job.seed)]}

    write_frames(write_runs(preset, change).tables(), tmp_path / "tables")
    header, lines = parse_latex((tmp_path / "tables" / "s_cyc_accuracy.tex").read_text())
    assert len(header) == 4 + 3
    assert not any("n/a" in line for line in lines)


def test_cycles_that_print_the_same_sparsity_keep_their_own_columns(preset, tmp_path, write_runs, write_frames):
    def change(job):
        rows = cycle_rows(job.axes["schedule"], job.seed)
        for row, sparsity in zip(rows, (0.0, 0.9996, 0.9998), strict=True):
            row["sparsity"] = sparsity
        return {"cycles": rows}

    made = write_runs(preset, change).tables()
    made["s_cyc_accuracy"] = made["s_cyc_accuracy"][made["s_cyc_accuracy"]["schedule"] != "oracle"]
    write_frames(made, tmp_path / "tables")
    text = (tmp_path / "tables" / "s_cyc_accuracy.tex").read_text()
    assert all(number in text for number in (r"82.3 $\pm$ 3.2", r"81.3 $\pm$ 3.2", r"80.3 $\pm$ 3.2"))


def test_gradient_table_shows_every_measured_schedule(preset, tmp_path, write_runs, write_frames, parse_latex):
    made = write_runs(preset).tables()
    frame = made["s_cyc_gradients"]
    other = frame.assign(schedule="s_cyc", std_ratio=7.77, std_ratio_low=7.77, std_ratio_high=7.77)
    write_frames(made | {"s_cyc_gradients": pd.concat([frame, other])}, tmp_path / "tables")
    _, lines = parse_latex((tmp_path / "tables" / "s_cyc_gradients.tex").read_text())
    assert len(lines) == 4
    assert "7.77" in (tmp_path / "tables" / "s_cyc_gradients.tex").read_text()


@pytest.mark.parametrize("name", [table.name for table in TABLES])
def test_every_table_carries_its_scale(written, preset, name):
    assert set(pd.read_csv(written / f"{name}.csv")["scale"]) == {preset.scale}


def test_what_counts_as_trained_is_the_presets_and_no_run_depends_on_it(write_runs):
    """A loss that falls from 2 to 1.92, to 96 %: by default such a cycle has not trained."""
    losses = {0: LOSSES[0], 1: LOSSES[1], 2: [2.0, 1.95, 1.92]}
    content = make_preset().content()
    content["s_cyc"]["gradient_measure"]["trained"] = 0.97
    lenient = parse_preset(content, "tiny")
    for preset, cycles in ((make_preset(), [0, 1]), (lenient, [0, 1, 2])):
        rows = write_runs(preset, lambda job: {"gradients": gradient_rows(job.seed, losses)}).tables()[
            "s_cyc_gradients"
        ]
        counted = rows[(rows["at"] == "matched_loss") & (rows["weights"] == "surviving")]
        assert counted["cycle"].tolist() == cycles
    assert {job.digest() for job in make_plan(lenient).jobs()} == {
        job.digest() for job in make_plan(make_preset()).jobs()
    }
