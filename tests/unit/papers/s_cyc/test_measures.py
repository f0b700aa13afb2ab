"""The study's tables against numbers worked out by hand."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest

from prunebench.papers.s_cyc.measures import gradients
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import parse_preset

T2 = 4.302652729749464
"""97.5 % quantile of Student's t with 2 degrees of freedom: sqrt(2 a^2 / (1 - a^2)) with a = 0.95."""


def interval(values):
    """Mean, standard deviation and 95 % interval of three values."""
    a, b, c = values
    mean = (a + b + c) / 3
    std = math.sqrt(((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2)
    half = T2 * std / math.sqrt(3)
    return mean, std, mean - half, mean + half


def mean_interval(values):
    mean, _, low, high = interval(values)
    return pytest.approx([mean, low, high])


def geometric(logs):
    mean, _, low, high = interval(logs)
    return pytest.approx([math.exp(mean), math.exp(low), math.exp(high)])


def shown(row, name):
    """A mean and the ends of its interval, as a row has them."""
    return [row[name], row[f"{name}_low"], row[f"{name}_high"]]


# --- Accuracy


@pytest.mark.parametrize("cycle", range(3))
@pytest.mark.parametrize("schedule", ["cyclical", "constant", "s_cyc"])
def test_accuracy_is_mean_deviation_and_interval_over_seeds(by_hand, tables, only, schedule, cycle):
    row = only(tables["s_cyc_accuracy"], schedule=schedule, cycle=cycle)
    expected = interval([value - cycle / 100 for value in by_hand.test[schedule]])
    assert row[["test_accuracy", "std", "ci_low", "ci_high"]].tolist() == pytest.approx(list(expected), abs=1e-9)
    assert row["validation_accuracy"] == pytest.approx(sum(by_hand.validation[schedule]) / 3 - cycle / 100)
    assert (row["n"], row["diverged"], row["sparsity"]) == (3, 0, 1 - 0.5**cycle)


def test_the_best_benchmark_is_chosen_on_validation_not_on_test(tables):
    rows = tables["s_cyc_accuracy"]
    assert set(rows["best_benchmark"]) == {"constant"}
    assert rows.loc[rows["best"], ["schedule", "cycle"]].to_numpy().tolist() == [["cyclical", n] for n in range(3)]


@pytest.mark.parametrize("schedule", ["cyclical", "constant", "s_cyc", "oracle"])
def test_differences_to_the_best_benchmark_are_paired_by_seed(by_hand, tables, only, schedule):
    accuracies = by_hand.test | {"oracle": by_hand.oracle_test}
    pairs = zip(accuracies[schedule], by_hand.test["constant"], strict=True)
    row = only(tables["s_cyc_accuracy"], schedule=schedule, cycle=0)
    assert shown(row, "difference") == mean_interval([a - b for a, b in pairs])


def test_pairing_is_by_seed_whatever_the_order_of_runs(by_hand, tables, only):
    shuffled = by_hand.tables(by_hand.content(seeds=(2, 0, 1)))["s_cyc_accuracy"]
    for schedule in by_hand.test:
        a, b = (only(frame, schedule=schedule, cycle=1) for frame in (shuffled, tables["s_cyc_accuracy"]))
        assert shown(a, "difference") == pytest.approx(shown(b, "difference"))


def test_methods_and_the_oracle_are_never_the_benchmark(by_hand):
    def best_on_validation(job, rows):
        return [row | {"validation_accuracy": 0.999} if job.axes["schedule"] == "s_cyc" else row for row in rows]

    rows = by_hand.tables(cycles=best_on_validation)["s_cyc_accuracy"]
    assert set(rows["best_benchmark"]) == {"constant"}
    roles = {"cyclical": "benchmark", "constant": "benchmark", "s_cyc": "method", "oracle": "oracle"}
    assert dict(zip(rows["schedule"], rows["role"], strict=True)) == roles


def test_without_a_benchmark_there_is_no_difference(by_hand):
    content = by_hand.content(schedules=("s_cyc",), oracle=False, gradients=False)
    rows = by_hand.tables(content)["s_cyc_accuracy"]
    assert rows[["best_benchmark", "difference"]].isna().all(axis=None)
    assert rows["best"].all()


def test_one_seed_has_no_interval(by_hand, only):
    made = by_hand.tables(by_hand.content(seeds=(0,)))
    rows = made["s_cyc_accuracy"]
    assert set(rows["n"]) == {1}
    assert rows[["std", "ci_low", "ci_high", "difference_low", "difference_high"]].isna().all(axis=None)
    assert only(rows, schedule="s_cyc", cycle=0)["difference"] == pytest.approx(0.10)
    ratio = only(made["s_cyc_gradients"], at="end", weights="surviving", cycle=1)
    assert math.isfinite(ratio["std_ratio"])
    assert math.isnan(ratio["std_ratio_low"])


def test_a_diverged_run_counts_at_chance(by_hand, only):
    lost = {"status": "diverged", "validation_accuracy": 0.1, "test_accuracy": 0.1, "test_loss": None}

    def diverge(job, rows):
        """As a chain writes it: chance from cycle 1 on."""
        return (
            [rows[0], *(row | lost for row in rows[1:])] if (job.axes["schedule"], job.seed) == ("s_cyc", 1) else rows
        )

    rows = by_hand.tables(cycles=diverge)["s_cyc_accuracy"]
    assert [only(rows, schedule="s_cyc", cycle=cycle)["diverged"] for cycle in range(3)] == [0, 1, 1]
    row = only(rows, schedule="s_cyc", cycle=2)
    assert row["n"] == 3
    assert row["test_accuracy"] == pytest.approx((0.78 + 0.10 + 0.84) / 3)
    assert row["difference"] == pytest.approx(((0.78 - 0.68) + (0.10 - 0.73) + (0.84 - 0.69)) / 3)


def test_equal_best_schedules_are_both_marked(by_hand):
    def even(job, rows):
        return [row | {"test_accuracy": 0.95} if job.axes["schedule"] != "constant" else row for row in rows]

    rows = by_hand.tables(by_hand.content(oracle=False), cycles=even)["s_cyc_accuracy"]
    assert rows.groupby("schedule")["best"].all().to_dict() == {"cyclical": True, "constant": False, "s_cyc": True}


def test_runs_that_only_measure_gradients_are_not_compared(tables):
    of = {"s_cyc_accuracy": "net_a", "s_cyc_cost": "net_a", "s_cyc_gradients": "net_b"}
    assert {name: set(tables[name]["task"]) for name in of} == {name: {task} for name, task in of.items()}


# --- The released scripts


def effects_by_hand(rows, sound, cut, small, both, seed, cycle):
    """Effects of defects at a seed and cycle, from the rows of the four chains, by plain loops."""

    def end(chain):
        [accuracy] = [row["test_accuracy"] for row in rows[chain, seed]["phases"] if row["cycle"] == cycle]
        return accuracy

    def epochs(chain, column):
        return [row[column] for row in rows[chain, seed]["tested"] if row["cycle"] == cycle]

    accuracy = epochs(sound, "accuracy")
    effects = {
        "best_epoch": max(accuracy) - accuracy[-1],
        "augmented": epochs(sound, "augmented")[-1] - accuracy[-1],
        "whole_batches": epochs(sound, "whole_batches")[-1] - accuracy[-1],
        "smaller_set": end(small) - end(sound),
        "cut_ramp": end(cut) - end(sound),
        "first_run": max(epochs(cut, "augmented_whole_batches")) - end(sound),
        "fifth_run": max(epochs(both, "augmented_whole_batches")) - end(sound),
    }
    for row in rows[sound, seed]["thresholds"]:
        if row["cycle"] == cycle:
            effects["repeated_scores"] = row["reached"] - row["nominal"]
    return effects


CHAINS = [(task, schedule) for task in ("net_a", "net_a_small") for schedule in ("whole", "cut")]


def rows_of_chains(runs, by_hand):
    jobs = {((job.task, job.axes["schedule"]), job.seed): job for job in runs.jobs("measure_defects")}
    assert {*jobs} == {(chain, seed) for chain in CHAINS for seed in (0, 1, 2)}
    return {key: by_hand.released(job) for key, job in jobs.items()}


def test_what_each_defect_adds_is_paired_by_seed(by_hand, only):
    runs = by_hand.runs()
    rows, table = rows_of_chains(runs, by_hand), runs.tables()["s_cyc_released"]
    sound, cut, small, both = CHAINS
    for cycle in range(3):
        seeds = [effects_by_hand(rows, sound, cut, small, both, seed, cycle) for seed in (0, 1, 2)]
        assert len(seeds[0]) == 7 + (cycle > 0)
        for defect in seeds[0]:
            row = only(table, defect=defect, cycle=cycle)
            assert shown(row, "effect") == mean_interval([effects[defect] for effects in seeds])
            assert (row["task"], row["criterion"], row["n"]) == ("net_a", "global_magnitude", 3)
            assert row["sparsity"] == 1 - 0.5**cycle
    assert len(table) == 7 * 3 + 2
    assert table["defect"].drop_duplicates().tolist() == [*seeds[0]]


def test_epochs_count_by_their_number_and_not_by_their_place(by_hand):
    """A table that was written in another order says the same."""
    table = by_hand.tables(tested=lambda job, rows: rows[::-1])["s_cyc_released"]
    pd.testing.assert_frame_equal(table, by_hand.tables()["s_cyc_released"])


@pytest.mark.parametrize("chain", CHAINS)
def test_a_cycle_that_diverged_stands_at_chance_and_is_no_network_to_measure(by_hand, only, chain):
    def lost(job):
        return ((job.task, job.axes["schedule"]), job.seed) == (chain, 1)

    def phases(job, rows):
        return [
            row | ({"status": "diverged", "test_accuracy": 0.1} if lost(job) and row["cycle"] else {}) for row in rows
        ]

    def tested(job, rows):
        """It was measured until it diverged, and no later cycle was."""
        return [row for row in rows if not lost(job) or (row["cycle"], row["epoch"]) < (1, 3)]

    runs = by_hand.runs(phases=phases, tested=tested)
    rows, table = rows_of_chains(runs, by_hand), runs.tables()["s_cyc_released"]
    sound, cut, small, both = CHAINS
    of = {"smaller_set": small, "cut_ramp": cut, "first_run": cut, "fifth_run": both}
    for cycle in (1, 2):
        for defect in ("best_epoch", "augmented", "whole_batches"):
            assert only(table, defect=defect, cycle=cycle)["n"] == (2 if chain == sound else 3)
        for defect, its in of.items():
            row, effects = only(table, defect=defect, cycle=cycle), []
            for seed in (0, 1, 2):
                [end] = [each["test_accuracy"] for each in rows[sound, seed]["phases"] if each["cycle"] == cycle]
                effect = effects_by_hand(rows, sound, cut, small, both, seed, cycle)[defect]
                if seed == 1 and chain == its:
                    effect = 0.1 - end
                if seed == 1 and chain == sound:
                    effect += end - 0.1
                effects.append(effect)
            assert row["n"] == 3
            assert shown(row, "effect") == mean_interval(effects)


def test_without_its_part_there_are_no_defects(by_hand):
    assert not len(by_hand.tables(by_hand.content(released=False))["s_cyc_released"])


# --- Cost


@pytest.mark.parametrize("schedule", ["cyclical", "constant", "s_cyc"])
def test_cost_is_that_of_whole_chains_and_ratios_are_paired_by_seed(by_hand, tables, only, schedule):
    row, seconds = only(tables["s_cyc_cost"], schedule=schedule), by_hand.seconds[schedule]
    assert row[["seconds", "seconds_std"]].tolist() == pytest.approx(list(interval(seconds)[:2]))
    assert row[["steps", "images", "flops", "flops_sparse"]].tolist() == [60, 600, 3000, 1750]
    ratios = [own / reference for own, reference in zip(seconds, by_hand.seconds["cyclical"], strict=True)]
    assert shown(row, "seconds_ratio") == mean_interval(ratios)
    assert (row["steps_ratio"], row["peak_memory_mb"], row["n"]) == (1.0, 122, 3)


def test_the_oracle_costs_what_all_its_candidates_cost(tables, only):
    row = only(tables["s_cyc_cost"], schedule="oracle")
    assert row[["steps", "images", "flops", "flops_sparse"]].tolist() == [240, 2400, 12000, 6000]
    assert row["seconds"] == pytest.approx(3 * 4 * 0.5)
    assert row["steps_ratio"] == 4
    assert row["seconds_ratio"] == pytest.approx((6 / 2 + 6 / 4 + 6 / 5) / 3)
    assert row["peak_memory_mb"] == 300


def test_time_is_a_geometric_mean_over_blocks_without_the_one_that_warms_up(tables, only, by_hand):
    row = only(tables["s_cyc_timing"], schedule="s_cyc")
    assert (row["reference"], row["n"], row["steps_ratio"], row["others_load"]) == ("cyclical", 2, 1, 0.25)
    assert (row["seconds"], row["reference_seconds"]) == pytest.approx((6.9, 6.0))
    assert row["seconds_ratio"] == pytest.approx(math.sqrt(1.1 * 1.2))
    assert row["seconds_ratio_low"] < 1.1 < 1.2 < row["seconds_ratio_high"]
    assert not len(by_hand.tables(by_hand.content(timing=False))["s_cyc_timing"])


def test_without_cyclical_there_is_no_ratio(by_hand, only):
    content = by_hand.content(schedules=("constant",), oracle=False, gradients=False, timing=False)
    row = only(by_hand.tables(content)["s_cyc_cost"], schedule="constant")
    assert row[["steps_ratio", "seconds_ratio", "seconds_ratio_low"]].isna().all()


# --- The oracle


def near_best(grid):
    """The near-best max_lr by cycle."""
    return {cycle: sorted(rows.loc[rows["near_best"], "max_lr"]) for cycle, rows in grid.groupby("cycle")}


def test_near_best_is_within_the_tolerance_or_one_standard_error(tables, only):
    grid = tables["s_cyc_oracle_grid"]
    assert near_best(grid) == {0: [0.1, 0.2], 1: [0.2, 0.4], 2: [0.4, 0.8]}
    row = only(grid, cycle=1, max_lr=0.4)
    assert [row["validation_accuracy"], row["validation_std"]] == pytest.approx([0.6, 0.1])
    assert (row["n"], row["selected"], row["diverged"]) == (3, 2, 0)
    assert only(grid, cycle=0, max_lr=0.8)["diverged"] == 3
    assert grid.groupby("cycle")["selected"].sum().tolist() == [3, 3, 3]


def test_the_tolerance_is_the_presets(by_hand):
    content = by_hand.content()
    content["s_cyc"]["oracle"]["tolerance"] = 0.101
    assert near_best(by_hand.tables(content)["s_cyc_oracle_grid"])[0] == [0.1, 0.2, 0.4]


def test_a_max_lr_exactly_at_the_tolerance_is_near_best(by_hand, only):
    """Not a far-fetched case: accuracies are multiples of 1 / images, and so may the tolerance be."""
    runs = by_hand.runs(by_hand.content(gradients=False))
    for path in runs.folder.glob("s_cyc/choice/net_a/global_magnitude/seed-*/cycle-2/selection.csv"):
        path.write_text(path.read_text().replace(",0.391,", ",0.39,"))
    assert only(runs.tables()["s_cyc_oracle_grid"], cycle=2, max_lr=0.4)["near_best"]


def test_with_one_seed_the_tolerance_alone_counts(by_hand):
    grid = by_hand.tables(by_hand.content(seeds=(1,)))["s_cyc_oracle_grid"]
    assert near_best(grid) == {0: [0.1, 0.2], 1: [0.4], 2: [0.4, 0.8]}


@pytest.mark.parametrize(
    ("cycle", "chosen", "low", "high", "max_lr"),
    [
        (0, 0.1 * 2 ** (1 / 3), 0.1, 0.2, 0.1),
        (1, (0.2 * 0.4 * 0.4) ** (1 / 3), 0.2, 0.4, 0.3),
        (2, 0.8, 0.4, 0.8, 0.3),  # 0.3 is nearer to 0.4 than to 0.2 in log, so it is inside
    ],
)
def test_oracle_summary_compares_with_the_schedule(by_hand, tables, only, cycle, chosen, low, high, max_lr):
    row = only(tables["s_cyc_oracle"], cycle=cycle)
    columns = ["oracle_max_lr", "low", "high", "schedule_max_lr"]
    assert row[columns].tolist() == pytest.approx([chosen, low, high, max_lr])
    assert row["inside"]
    test = [value - cycle / 100 for value in by_hand.test["s_cyc"]]
    assert shown(row, "difference") == mean_interval([a - b for a, b in zip(by_hand.oracle_test, test, strict=True)])
    assert row["oracle_test_accuracy"] == pytest.approx(0.84)
    assert row["schedule_test_accuracy"] == pytest.approx(sum(test) / 3)
    assert row["n"] == 3


def test_an_oracle_whose_schedule_was_not_compared_has_no_difference(by_hand):
    summary = by_hand.tables(by_hand.content(schedules=("cyclical",), gradients=False))["s_cyc_oracle"]
    assert summary["difference"].isna().all()
    assert summary["inside"].tolist() == [True, True, True]


def test_a_max_lr_nearest_to_one_that_is_not_near_best_is_outside(by_hand):
    content = by_hand.content()
    content["schedules"]["s_cyc"]["policy"]["top"] = 0.25  # nearer to 0.2 than to 0.4 in log
    assert by_hand.tables(content)["s_cyc_oracle"]["inside"].tolist() == [True, True, False]


# --- Gradients


@pytest.mark.parametrize("cycle", range(3))
@pytest.mark.parametrize("weights", ["surviving", "all", "hidden.0.weight"])
def test_ratios_at_the_end_are_geometric_means_with_intervals_on_the_log(by_hand, tables, only, weights, cycle):
    row = only(tables["s_cyc_gradients"], at="end", weights=weights, cycle=cycle)
    loss = by_hand.losses[cycle][2]
    fall = by_hand.log_slope * (loss - by_hand.losses[0][2])
    for name in ("std_ratio", "iqr_ratio"):
        assert shown(row, name) == geometric([(-0.5 + 0.1 * seed) * cycle + fall for seed in range(3)])
        assert row[f"{name}_n"] == 3
    assert row["std"] == pytest.approx(sum(by_hand.spread_at(cycle, seed, loss) for seed in range(3)) / 3)
    assert (row["n"], row["weights_counted"], row["activation"]) == (3, 64 >> cycle, "tanh")
    assert row["loss"] == pytest.approx(loss)


@pytest.mark.parametrize("cycle", range(3))
@pytest.mark.parametrize("weights", ["surviving", "all"])
def test_at_matched_loss_interpolation_is_exact_where_log_std_is_linear(by_hand, tables, only, weights, cycle):
    """At equal loss only the cycle's own factor is left."""
    row = only(tables["s_cyc_gradients"], at="matched_loss", weights=weights, cycle=cycle)
    assert row["loss"] == 0.75
    assert shown(row, "std_ratio") == geometric([(-0.5 + 0.1 * seed) * cycle for seed in range(3)])
    assert row["std"] == pytest.approx(sum(by_hand.spread_at(cycle, seed, 0.75) for seed in range(3)) / 3)
    assert row["iqr_over_1349"] == pytest.approx(2 * row["std"])


def test_matched_loss_is_for_whole_networks_only(tables):
    rows = tables["s_cyc_gradients"]
    assert set(rows[rows["at"] == "matched_loss"]["weights"]) == {"surviving", "all"}
    assert rows["at"].value_counts().to_dict() == {"end": 9, "matched_loss": 6}


@pytest.fixture
def spread_with(by_hand):
    """The table of spreads where chains, of this seed or of all, have other losses."""

    def make(losses, seed=None):
        def edit(job, rows):
            return by_hand.gradients(job.seed, losses) if seed in (None, job.seed) else rows

        return by_hand.tables(gradients=edit)["s_cyc_gradients"]

    return make


def test_matched_loss_is_matched_within_each_seed(by_hand, spread_with, only):
    """Seed 2 reaches less: its cycles are compared at its own loss."""
    rows = spread_with({cycle: [loss + 1 for loss in at] for cycle, at in by_hand.losses.items()}, seed=2)
    row = only(rows, at="matched_loss", weights="all", cycle=2)
    assert row["loss"] == pytest.approx((0.75 + 0.75 + 1.75) / 3)
    assert row["std_ratio"] == pytest.approx(math.exp(2 * (-0.5 + 0.1)))


@pytest.mark.parametrize("cycle_2", [{2: [None, None, None]}, {}], ids=["NaN", "absent"])
def test_a_diverged_chain_leaves_the_ratio_of_the_others(by_hand, spread_with, only, cycle_2):
    rows = spread_with({cycle: by_hand.losses[cycle] for cycle in (0, 1)} | cycle_2, seed=1)
    for at, fall in (("end", by_hand.log_slope * 0.5), ("matched_loss", 0.0)):
        row = only(rows, at=at, weights="surviving", cycle=2)
        assert row["std_ratio"] == pytest.approx(math.exp(sum(2 * (-0.5 + 0.1 * seed) + fall for seed in (0, 2)) / 2))
        assert row["std_ratio_n"] == 2
    # its sound cycles meet at the lowest loss that both reach, and count
    row = only(rows, at="matched_loss", weights="surviving", cycle=1)
    assert row["n"] == 3
    assert row["std_ratio"] == pytest.approx(math.exp(-0.4))


def test_a_chain_that_diverged_in_the_dense_cycle_has_no_ratio(by_hand, spread_with, only):
    row = only(spread_with({0: [None, None, None]}, seed=1), at="end", weights="all", cycle=1)
    logs = [-0.5 + 0.1 * seed + by_hand.log_slope * 0.25 for seed in (0, 2)]
    assert row["std_ratio"] == pytest.approx(math.exp(sum(logs) / 2))


def test_a_dense_cycle_below_the_target_at_once_has_no_matched_ratio(spread_with, only):
    """The sparse networks never come as low as the dense one was at its first measurement."""
    rows = spread_with({0: [0.5, 0.3, 0.1], 1: [2.0, 1.0, 0.75], 2: [2.5, 1.5, 0.75]})
    assert math.isfinite(only(rows, at="end", weights="all", cycle=2)["std_ratio"])
    assert rows.loc[rows["at"] == "matched_loss", "std_ratio"].isna().all()


def test_a_cycle_that_never_trained_does_not_set_the_target(by_hand, spread_with):
    """The sparsest network stays at the loss of guessing; the others still meet at the lowest loss both reach."""
    rows = spread_with(by_hand.losses | {2: [2.31, 2.305, 2.302]}).query("weights == 'surviving'")
    matched = rows[rows["at"] == "matched_loss"]
    assert matched[["cycle", "loss"]].to_numpy().tolist() == [[0, 0.5], [1, 0.5]]
    assert matched["std_ratio"].tolist() == pytest.approx([1.0, math.exp(-0.4)])
    assert rows.loc[rows["at"] == "end", "cycle"].tolist() == [0, 1, 2]


def test_what_counts_as_trained_is_the_presets_and_no_run_depends_on_it(by_hand):
    """A loss that falls from 2 to 1.92, to 96 %: by default such a cycle has not trained."""
    lenient = by_hand.content()
    lenient["s_cyc"]["gradient_measure"]["trained"] = 0.97
    losses = by_hand.losses | {2: [2.0, 1.95, 1.92]}
    for content, cycles in ((by_hand.content(), [0, 1]), (lenient, [0, 1, 2])):
        made = by_hand.tables(content, gradients=lambda job, rows: by_hand.gradients(job.seed, losses))
        rows = made["s_cyc_gradients"].query("at == 'matched_loss' and weights == 'surviving'")
        assert rows["cycle"].tolist() == cycles
    digests = [
        {job.digest() for job in make_plan(parse_preset(content, "tiny")).jobs()}
        for content in (by_hand.content(), lenient)
    ]
    assert digests[0] == digests[1]


@pytest.fixture
def zeroed(by_hand):
    """The table of spreads where a column is 0 at one measurement, of this seed or of all."""

    def make(column, at, seed=None):
        def edit(job, rows):
            hit = seed in (None, job.seed)
            return [row | {column: 0.0} if hit and (row["cycle"], row["share"]) == at else row for row in rows]

        return by_hand.tables(gradients=edit)["s_cyc_gradients"]

    return make


@pytest.mark.parametrize("column", ["std", "iqr_over_1349"])
def test_what_cannot_be_interpolated_is_left_out(zeroed, only, column):
    """A spread of 0 has no log: the matched value is unknown, not that of a lower loss."""
    row = only(zeroed(column, (1, 0.5)), at="matched_loss", weights="all", cycle=1)
    assert row[[column, f"{column.split('_')[0]}_ratio"]].isna().all()


def test_a_seed_without_any_spread_leaves_the_ratio_undefined(zeroed, only):
    """Its ratio is 0: the mean over the other seeds would hide the narrowest of them."""
    rows = zeroed("std", (2, 1.0), seed=1)
    row = only(rows, at="end", weights="surviving", cycle=2)
    assert (row["zero"], row["n"], row["std_ratio_n"]) == (1, 3, 0)
    assert math.isnan(row["std_ratio"])
    assert only(rows, at="end", weights="surviving", cycle=1)["zero"] == 0


def test_a_very_wide_interval_is_no_crash(by_hand, only):
    preset = parse_preset(by_hand.content(), "tiny")
    rows = [
        {"task": "net_a", "criterion": "random", "schedule": "cyclical", "seed": seed, "cycle": cycle, "share": 1.0}
        | {"sparsity": 0.0, "weights": "all", "n": 5, "loss": 1.0, "std": std, "iqr_over_1349": std}
        | dict.fromkeys(("q05", "q25", "q50", "q75", "q95"), 0.0)
        for seed, last in enumerate((1e-38, 1e25))
        for cycle, std in enumerate((1.0, last))
    ]
    data = SimpleNamespace(gradients=pd.DataFrame(rows), preset=preset, config=preset.s_cyc)
    row = only(pd.DataFrame(gradients(data)), cycle=1, at="end")
    assert row["std_ratio"] == pytest.approx(10**-6.5)
    assert (row["std_ratio_low"], row["std_ratio_high"]) == (0.0, math.inf)


def test_histograms_pool_seeds_into_shares(tables):
    pooled = tables["s_cyc_gradient_histograms"]
    for cycle, total in ((0, 21), (1, 27), (2, 33)):
        rows = pooled[pooled["cycle"] == cycle]
        assert rows["count"].tolist() == [3, 18, 6 * cycle]
        assert rows["weights_share"].tolist() == pytest.approx([3 / total, 18 / total, 6 * cycle / total])
        assert (rows["left"].iloc[0], rows["right"].iloc[-1]) == (-math.inf, math.inf)


# --- LR schedules, and what is left out


def test_lr_schedules_are_the_configurations(by_hand, tables):
    rows = tables["s_cyc_lr_schedules"]
    assert set(rows["schedule"]) == set(by_hand.content()["schedules"])
    highest = rows.groupby("schedule")["lr"].agg(lambda lr: lr.max()).to_dict()
    assert highest == pytest.approx(dict.fromkeys(("constant", "cyclical", "s_cyc", "whole"), 0.3) | {"cut": 0.21})
    by_cycle = rows[rows["schedule"] != "cut"].groupby(["schedule", "cycle"])["lr"].max()
    assert by_cycle.tolist() == pytest.approx([0.1, 0.3, 0.3] * 4)
    flat = rows[rows["schedule"] == "constant"]
    assert (flat["lr"] == flat["max_lr"]).all()


def test_what_a_preset_leaves_out_or_no_run_measured_makes_tables_without_rows(by_hand):
    left_out = by_hand.tables(by_hand.content(oracle=False, gradients=False))
    for name in ("s_cyc_oracle", "s_cyc_oracle_grid", "s_cyc_gradients", "s_cyc_gradient_histograms"):
        assert left_out[name].empty
    unmeasured = by_hand.tables(gradients=lambda job, rows: [], histograms=lambda job, rows: [])
    assert unmeasured["s_cyc_gradients"].empty
    assert unmeasured["s_cyc_gradient_histograms"].empty
