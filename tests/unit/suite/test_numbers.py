"""Numbers as a reader sees them: units, decimals, ticks."""

import math
from itertools import pairwise

import pytest

from prunebench.suite import numbers


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (0.4567, 2, False, "0.46"),
        (-0.4567, 1, True, "−0.5"),
        (0.4567, 1, True, "+0.5"),
        (-0.001, 2, True, "0.00"),
        (0.0, 1, True, "0.0"),
        (1.23e-7, 4, False, "1.2e−07"),
        (-2.5e8, 0, False, "−2.5e+08"),
        (None, 2, False, "n/a"),
        (math.nan, 2, False, "n/a"),
    ],
)
def test_a_number_as_text(value, digits, signed, text):
    assert numbers.text(value, digits, signed) == text


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        ("points", 0.02, 2.0),
        ("share", 0.5, 50.0),
        ("ratio", math.log(1.25), 1.25),
        ("nats", 0.3, 0.3),
        ("share", None, None),
    ],
)
def test_units_are_those_of_the_reader(unit, value, shown):
    assert numbers.in_unit(value, unit) == pytest.approx(shown)


def test_decimals_follow_the_uncertainty_or_else_the_size():
    assert numbers.decimals([12.345], [0.52]) == 2
    assert numbers.decimals([12.345], [5.2]) == 1
    assert numbers.decimals([1234.5], [520]) == 0
    assert numbers.decimals([0.01234], [None]) == 4
    assert numbers.decimals([123.4], []) == 0
    assert numbers.decimals([], []) == 1


def test_durations_and_p_values():
    assert [numbers.duration(s) for s in (0.42, 48.3, 725, 12_000)] == ["0.4 s", "48 s", "12 min 5 s", "3 h 20 min"]
    assert [numbers.p_value(p) for p in (0.0004, 0.0123, 0.4567, None)] == ["< 0.001", "0.012", "0.46", "n/a"]


@pytest.mark.parametrize(("low", "high"), [(-3.2, 4.1), (0.0, 1e-5), (87.0, 93.0), (-1e4, -10.0)])
def test_ticks_are_few_round_and_within(low, high):
    ticks = numbers.ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    steps = {round((b - a) / (high - low), 9) for a, b in pairwise(ticks)}
    assert len(steps) == 1


@pytest.mark.parametrize(
    ("low", "high", "among"), [(0.3, 4.0, {0.5, 1, 2}), (1e-4, 1e4, {0.01, 1, 100}), (0.95, 1.08, {1.0})]
)
def test_ratio_ticks_are_round_ratios(low, high, among):
    ticks = numbers.ratio_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert among <= {round(tick, 9) for tick in ticks}


def test_a_ratio_known_within_orders_of_magnitude_keeps_both_ends():
    wide = {"mean": math.log(5.04), "low": math.log(0.121), "high": math.log(209)}
    assert numbers.estimate(wide, "ratio", 0) == {"mean": "5.0", "interval": "[0.12, 209]"}
