"""Cells, observations, and what a rule sees of them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.suite.cells import cell, dumps, label, label_of, loads, value, without
from prunebench.suite.claim import (
    OBSERVATION,
    ROUNDING,
    Observed,
    Ruling,
    Sample,
    above,
    any_cell,
    below,
    corrected,
    observed,
    read_observations,
    sample,
    write_observations,
)

# --- Cells


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (cell(task="net", criterion="random", sparsity=0.984375), "net \u00b7 random \u00b7 98.44 %"),
        (cell(task="net", pruned_share=0.05), "net \u00b7 pruned 5 %"),
        (cell(max_lr=0.1, weight_decay=5e-4), "LR 0.1 \u00b7 weight decay 0.0005"),
        (cell(c_factor=0.5, mu_shift=-0.1, k=10), "c x 0.5 \u00b7 mu -0.1 \u00b7 leading 10"),
        (cell(depth=20, epoch=3.0), "depth 20 \u00b7 epoch 3"),
        ((), ""),
    ],
)
def test_a_label_names_the_axes_that_their_values_do_not_tell(of, text):
    assert label(of) == text


def test_axes_are_read_and_taken_off():
    of = cell(task="net", sparsity=0.5)
    assert (value(of, "sparsity"), value(of, "seed"), value(of, "seed", 3)) == (0.5, None, 3)
    assert without(of, "sparsity", "seed") == cell(task="net")


VALUES = st.text(max_size=5) | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_a_cell_is_read_as_it_was_written_with_its_axes_in_order(axes):
    assert loads(dumps(tuple(axes.items()))) == tuple(axes.items())
    assert label_of(dumps(tuple(axes.items()))) == label(tuple(axes.items()))


def test_numbers_of_arrays_are_numbers_and_nan_is_no_axis():
    of = (("cycle", np.int64(3)), ("sparsity", np.float64(0.5)))
    assert loads(dumps(of)) == cell(cycle=3, sparsity=0.5)
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps(cell(sparsity=math.nan))


@pytest.mark.parametrize("text", ["net \u00b7 50 %", "NA", "1.0", "[1]", '{"a": null}', ""])
def test_the_label_of_an_older_file_is_no_cell(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)
    assert label_of(text) == text


# --- Observations


ROWS = pd.DataFrame({"task": ["a", "a", "b"], "sparsity": [0.5, 0.5, 0.9], "seed": [0, 1, 0]})


def test_rows_become_observations_of_the_cells_that_their_axes_name():
    seen = observed("gain", ROWS, np.array([1, 2, 3]), "task", "sparsity")
    assert seen[1] == Observed("gain", cell(task="a", sparsity=0.5), 1, 2.0)
    assert [type(part) for part in seen[1]] == [str, tuple, int, float]


def frame(rows):
    return pd.DataFrame([("T1", *row) for row in rows], columns=list(OBSERVATION))


@pytest.fixture
def claim(toy_preset):
    """The toy's first claim, of the quantity `gain`."""
    return toy_preset().all_papers()["toy"].claims[0]


def test_a_sample_pairs_seeds_and_keeps_gaps(claim):
    a, b = cell(task="a"), cell(task="b")
    rows = [("gain", b, 5, 0.1), ("gain", a, 5, 0.2), ("gain", b, 3, 0.3), ("gain", b, 7, math.nan)]
    got = sample(pd.concat([frame(rows), frame([("gain", a, 9, 1.0)]).assign(claim="T2")]), claim)
    assert got.cells["gain"] == [b, a]
    np.testing.assert_equal(got.values["gain"], [[[0.3, 0.1, math.nan], [math.nan, 0.2, math.nan]]])


def test_a_sample_of_a_claim_without_observations_has_no_cells(claim):
    got = sample(frame([]), claim)
    assert got.cells == {"gain": []}
    assert math.isnan(got.pooled("gain").mean[0])


def test_two_values_of_one_cell_and_seed_are_an_error(claim):
    a = cell(task="a", sparsity=0.5)
    with pytest.raises(ValueError, match=r"claim T1: gain has two values in the cell 'a \u00b7 50 %' at seed 1"):
        sample(frame([("gain", a, 1, 0.1), ("gain", a, 2, 0.1), ("gain", a, 1, 0.2)]), claim)


def test_observations_are_read_as_they_were_written(tmp_path):
    """Names that look like numbers or like nothing stay names; every digit of a value is kept."""
    rows = [("gain", cell(task="NA", place="1.0"), 0, 1 / 3), ("NA", cell(cycle=3, sparsity=0.1), 1, math.nan)]
    write_observations(tmp_path / "observations.csv", frame(rows))
    pd.testing.assert_frame_equal(read_observations(tmp_path / "observations.csv"), frame(rows), check_exact=True)


# --- What a rule sees


def test_what_rounding_alone_puts_beyond_a_bound_is_not_beyond_it():
    values = np.array([0.1 + ROUNDING / 2, 0.1 + 2 * ROUNDING, 0.1 - 2 * ROUNDING, math.nan])
    assert above(values, 0.1).tolist() == [False, True, False, False]
    assert below(values, 0.1).tolist() == [False, False, True, False]


def test_every_cell_and_any_cell():
    several = Sample({"gain": np.zeros((2, 2, 3))}, {"gain": [cell(task="a"), cell(task="b")]})
    holds = np.array([[True, True], [True, False]])
    assert several.every("gain", holds).tolist() == [True, False]
    assert any_cell(holds).tolist() == [True, True]
    none = several.only(lambda where: value(where, "task") == "c")
    assert none.cells["gain"] == []
    assert none.every("gain", none.each("gain").mean > 0).tolist() == [False, False]
    # A comparison with a quantity that has no cells is one of no cells, too.
    assert several.every("gain", none.each("gain").mean > 0).tolist() == [False, False]


def test_a_sample_falls_into_groups_of_cells_in_order():
    cells = [cell(task="b", way="x"), cell(task="a", way="x"), cell(task="b", way="y")]
    values = np.arange(6.0).reshape(1, 3, 2)
    b, a = Sample({"gain": values, "loss": values[:, :1]}, {"gain": cells, "loss": cells[:1]}).groups(
        lambda where: value(where, "task")
    )
    assert (b.cells["gain"], b.cells["loss"]) == ([cells[0], cells[2]], [cells[0]])
    assert (a.cells["gain"], a.cells["loss"]) == ([cells[1]], [])
    assert b.values["gain"].tolist() == [[[0, 1], [4, 5]]]


def test_looking_at_several_cells_makes_the_interval_wider():
    assert (corrected(1), corrected(0), corrected(5)) == (0.95, 0.95, 0.99)
    values = np.array([[[0.0, 1.0, 2.0]] * 3])
    got = Sample({"gain": values}, {"gain": [cell(place=place) for place in range(3)]})
    assert got.any_of("gain").high[0, 0] == pytest.approx(got.each("gain", 1 - 0.05 / 3).high[0, 0])
    assert got.any_of("gain", ways=2).high[0, 0] == pytest.approx(got.each("gain", 1 - 0.05 / 6).high[0, 0])


def test_cells_are_averaged_within_a_seed_that_has_them_all():
    got = Sample({"gain": np.array([[[1.0, 2.0, 3.0], [3.0, math.nan, 5.0]]])}, {"gain": [cell(c=0), cell(c=1)]})
    np.testing.assert_equal(got.within("gain"), [[2.0, math.nan, 4.0]])
    assert (got.pooled("gain").mean[0], got.pooled("gain").n[0]) == (3.0, 2)


def test_a_claim_is_reproduced_first_refuted_second_and_else_open():
    ruling = Ruling(
        {"one": np.array([True, True, False, False]), "two": np.array([True, False, True, False])},
        {"three": np.array([True, True, False, False])},
    )
    assert ruling.yes.tolist() == [True, False, False, False]
    assert ruling.no.tolist() == [False, True, False, False]
