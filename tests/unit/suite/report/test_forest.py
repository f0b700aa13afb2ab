"""Forest plots: where marks lie, and what rows say."""

import math
from types import SimpleNamespace

import pytest

from prunebench.suite.report.page import forest


def quantity(values, unit="points", **more):
    """A quantity with cells of (mean, half length of the interval)."""
    cells = [
        {
            "cell": name, "n": 3, "missing": 0, "mean": mean, "std": half, "p": 0.1, "p_holm": 0.2,
            "low": mean - half, "high": mean + half, "bca_low": None, "bca_high": None,
        }
        for name, (mean, half) in values.items()
    ]  # fmt: skip
    return {"name": "q", "meaning": "m", "unit": unit, "confidence": 0.95, "pooled": None, "cells": cells, **more}


def drawn(*args):
    """The plot with attributes for names, all the way down, as the template reads it."""
    plot = forest.forest(*args)
    rows = [SimpleNamespace(**row | {"marks": SimpleNamespace(**row["marks"])}) for row in plot["rows"]]
    return SimpleNamespace(**plot | {"rows": rows, "lines": [SimpleNamespace(**line) for line in plot["lines"]]})


def test_marks_lie_in_the_order_of_their_numbers():
    plot = drawn(quantity({"a": (0.02, 0.01), "b": (-0.01, 0.005)}), {"a": [0.015, 0.025]})
    a, b = (row.marks for row in plot.rows)
    null = plot.lines[0].x
    assert b.low < b.mean < b.high < null < a.low < a.seeds[0] < a.mean < a.seeds[1] < a.high
    assert b.low > 0
    assert a.high < 100
    ticks = {label: x for x, label in plot.ticks}
    assert ticks["0"] == pytest.approx(null)
    assert ticks["2"] == pytest.approx(a.mean)


def test_an_interval_far_longer_than_the_others_is_cut_and_marked():
    plot = drawn(quantity({"a": (0.01, 0.002), "b": (0.011, 0.003), "c": (0.012, 5.0)}), {})
    a, _, c = (row.marks for row in plot.rows)
    assert (c.cut_low, c.cut_high) == (True, True)
    assert (c.low, c.high) == (forest.EDGE, 100 - forest.EDGE)
    assert (a.cut_low, a.cut_high) == (False, False)


def test_margins_of_the_rule_are_drawn():
    plot = drawn(quantity({"a": (0.02, 0.001)}, margins=[{"value": 0.01, "label": "margin"}]), {})
    null, margin = plot.lines
    assert (null.kind, margin.kind, margin.label) == ("null", "margin", "margin")
    assert null.x < margin.x < plot.rows[0].marks.low


@pytest.mark.parametrize("cells", [2, 3])
def test_a_mean_between_cells_needs_three_of_them(cells):
    pooled = {"n": 3, "mean": 0.1, "low": 0.0, "high": 0.2, "iqm": 0.1, "i2": 0.5}
    pooled |= dict.fromkeys(("bca_low", "bca_high")) | {f"random_{end}": 0.1 for end in ("mean", "low", "high")}
    values = {f"{cell}": (0.1, 0.05) for cell in range(cells)}
    beside = drawn(quantity(values, pooled=pooled), {}).beside
    names = ["interquartile mean", "random-effects mean", "I²"]
    assert [name for name, _ in beside] == (names if cells == 3 else names[:1])
    pooled |= dict.fromkeys(("random_mean", "random_low", "random_high", "i2", "iqm"))
    assert drawn(quantity(values, pooled=pooled), {}).beside == []


def test_ratios_are_shown_as_ratios_on_a_log_axis():
    plot = drawn(quantity({"a": (math.log(2), 0.1), "b": (-math.log(2), 0.1)}, "ratio"), {})
    a, b = plot.rows
    assert (a.mean, a.interval) == ("2.000", "[1.810, 2.210]")
    assert a.std == ""
    assert a.marks.mean - plot.lines[0].x == pytest.approx(plot.lines[0].x - b.marks.mean, abs=0.02)


def test_cells_drop_what_their_names_begin_with_alike():
    plot = drawn(quantity({"net · gmp · 50 %": (0.0, 0.1), "net · gmp · 75 %": (0.0, 0.1)}), {})
    assert plot.common == "net · gmp"
    assert [row.cell for row in plot.rows] == ["50 %", "75 %"]
    assert drawn(quantity({"net · gmp": (0.0, 0.1)}), {}).rows[0].cell == "net · gmp"


def test_one_seed_has_a_mean_and_no_interval():
    one = quantity({"a": (0.02, 0.0)})
    one["cells"][0] |= dict.fromkeys(("std", "low", "high", "p", "p_holm"))
    (row,) = drawn(one, {"a": [0.02]}).rows
    assert (row.mean, row.interval, row.std, row.p) == ("+2.00", "", "", "")
    assert (row.marks.low, row.marks.high) == (None, None)
    assert row.marks.mean == row.marks.seeds[0]


def test_a_cell_without_any_value_is_said_to_have_none():
    none = quantity({"a": (0.02, 0.01), "b": (0.0, 0.0)})
    none["cells"][1] |= {"n": 0, "missing": 3} | dict.fromkeys(("mean", "std", "low", "high", "p", "p_holm"))
    row = drawn(none, {}).rows[1]
    assert (row.n, row.mean) == ("0 (3 missing)", "n/a")
    assert row.marks.mean is None


@pytest.mark.parametrize("unit", ["ratio", "number"])
def test_numbers_beyond_all_measure_still_have_an_axis(unit):
    plot = drawn(quantity({"a": (-800.0, 1e307), "b": (1e307, 1.0)}, unit), {"a": [1e308]})
    assert all(0 <= row.marks.mean <= 100 for row in plot.rows)


def test_equal_values_still_have_an_axis():
    plot = drawn(quantity({"a": (0.3, 0.0), "b": (0.3, 0.0)}, "number"), {})
    assert plot.rows[0].marks.mean == pytest.approx(50)
    assert len(plot.ticks) >= 3
