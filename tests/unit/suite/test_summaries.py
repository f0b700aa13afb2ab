"""Summaries over seeds, which tables of several papers share."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prunebench.suite import columns, summaries


def runs(accuracies, seeds=None, **more):
    seeds = range(len(accuracies)) if seeds is None else seeds
    return pd.DataFrame({"seed": [*seeds], "test_accuracy": accuracies, "status": "trained"}).assign(**more)


def test_a_mean_has_student_s_interval_over_the_seeds_with_a_value():
    row = summaries.mean("gain", pd.Series([0.1, np.nan, 0.2, 0.4]))
    low, high = stats.t.interval(0.95, 2, np.mean([0.1, 0.2, 0.4]), stats.sem([0.1, 0.2, 0.4]))
    assert row == pytest.approx({"gain": 0.7 / 3, "gain_low": low, "gain_high": high})
    assert all(math.isnan(value) for value in summaries.mean("gain", pd.Series([], dtype=float)).values())


def test_cells_are_rows_that_agree_in_the_order_of_the_rows_or_sorted():
    rows = pd.DataFrame({"task": list("bab"), "cycle": [1, 1, 1], "x": [1.0, 2.0, 3.0]})
    told = [(axes, cell["x"].tolist()) for axes, cell in summaries.cells(rows, "task", "cycle")]
    assert told == [({"task": "b", "cycle": 1}, [1.0, 3.0]), ({"task": "a", "cycle": 1}, [2.0])]
    assert [axes for axes, _ in summaries.cells(rows, "task", sort=True)] == [{"task": "a"}, {"task": "b"}]
    assert not [*summaries.cells(pd.DataFrame(), "task")]


def test_means_and_curves_of_columns_are_means_of_their_values():
    cell = pd.DataFrame({"x": [1.0, 2.0, np.nan], "y": [0.0, 1.0, 2.0]})
    assert summaries.means(cell, "x", "y") == summaries.mean("x", cell["x"]) | summaries.mean("y", cell["y"])
    assert [*summaries.curve(cell, "x")] == [column.name for column in columns.curve("x", "what is drawn")]
    assert [*summaries.curve(cell, "x").values()] == [*summaries.mean("x", cell["x"]).values()]


def test_an_accuracy_counts_diverged_seeds_at_what_they_stand_at():
    row = summaries.accuracy(runs([0.9, 0.1, 0.8], status=["trained", "diverged", "trained"]))
    assert list(row) == [column.name for column in columns.ACCURACY]
    assert (row["n"], row["diverged"]) == (3, 1)
    assert row["test_accuracy"] == pytest.approx(0.6)
    assert row["std"] == pytest.approx(np.std([0.9, 0.1, 0.8], ddof=1))


def test_differences_and_ratios_are_paired_by_seed_whatever_the_order():
    ours, theirs = runs([0.8, 0.9, 0.7], seeds=[2, 0, 1]), runs([0.5, 0.6, 0.4], seeds=[0, 1, 3])
    row = summaries.difference(ours, theirs)  # seeds 0 and 1: 0.4 and 0.1
    assert row["difference"] == pytest.approx(0.25)
    ratio = summaries.ratio(ours, theirs, "test_accuracy", "factor")
    assert ratio["factor"] == pytest.approx(math.sqrt(0.9 / 0.5 * 0.7 / 0.6))
    assert ratio["factor_low"] < ratio["factor"] < ratio["factor_high"]
    assert math.isnan(summaries.difference(ours, theirs.iloc[:0])["difference"])


def test_the_best_of_each_group_is_marked_equal_ones_all():
    rows = [{"task": task, "test_accuracy": at} for task, at in (("a", 0.5), ("a", 0.7), ("b", 0.1), ("b", 0.1))]
    assert [row["best"] for row in summaries.mark_best(rows, "task")] == [False, True, True, True]


def test_columns_of_a_summary_are_declared_under_its_names():
    declared = columns.with_interval("gain", "what is gained", "points")
    assert [column.name for column in declared] == list(summaries.mean("gain", pd.Series([1.0, 2.0])))
    assert {column.unit for column in declared} == {"points"}
    assert [column.name for column in columns.curve("gain", "what is gained")] == ["gain", "low", "high"]
