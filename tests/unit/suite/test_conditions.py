"""Rules that are declared as comparisons, and what follows from them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from prunebench.suite.cells import cell
from prunebench.suite.claim import Quantity, Sample
from prunebench.suite.conditions import Check, between, declare, every, no, pooled, some, wherever

A, B = cell(task="a"), cell(task="b")
MARGINS = SimpleNamespace(gain=0.01, far=0.05, time=1.2)
QUANTITIES = (
    Quantity("gain", "what is gained", "points"),
    Quantity("time", "time over another's", "ratio"),
    Quantity("other", "a control", "points"),
)


def claim(reproduced, refuted=None, claimed=None, false=None, **rest):
    """A claim of one or two conditions."""
    if getattr(reproduced, "sign", "") == "outside":
        rest = {"direction": ("less", "more")} | rest
    return declare(
        id="X1",
        sentence="It is better.",
        quantities=QUANTITIES,
        rule="by a margin",
        reproduced=reproduced if isinstance(reproduced, dict) else {"it is": reproduced},
        refuted=refuted if isinstance(refuted, dict) else {"it is not": refuted or Check(lambda of, margins: False)},
        claimed=claimed or {},
        false=false or {},
        claimed_as="[ours]",
        observe=lambda data, method: (),
        **rest,
    )


def sample(spread=1e-4, seeds=3, **means):
    """One table with these means in cells A, B, ...; quantities without a mean have no cells."""
    offsets = spread * np.linspace(-1, 1, seeds)
    values = {each.name: np.array([*means.get(each.name, ())]).reshape(1, -1, 1) + offsets for each in QUANTITIES}
    return Sample(values, {name: [A, B, cell(task="c")][: of.shape[1]] for name, of in values.items()})


def holds(condition, of):
    ruling = claim(condition).judge(of, MARGINS)
    assert ruling.yes.shape == (1,)
    assert ruling.yes.dtype == bool
    return bool(ruling.yes[0])


# --- Conditions


@pytest.mark.parametrize(
    ("condition", "gains", "expected"),
    [
        (every("gain", ">", "gain"), (0.02, 0.03), True),
        (every("gain", ">", "gain"), (0.02, 0.0), False),
        (every("gain", ">", "gain"), (), False),
        (every("gain", "<", 0), (-0.1, -0.2), True),
        (every("gain", "<", "-gain"), (-0.1, -0.005), False),
        (wherever("gain", ">", "gain"), (), True),
        (wherever("gain", ">", "gain"), (0.02, 0.0), False),
        (no("gain", "<", 0), (0.0, 0.1), True),
        (no("gain", "<", 0), (-0.1, 0.1), False),
        (some("gain", ">", "gain"), (0.0, 0.02), True),
        (some("gain", ">", "gain"), (), False),
        (pooled("gain", ">", "gain"), (0.0, 0.03), True),
        (pooled("gain", ">", "gain"), (0.0, 0.01), False),
        (between("gain", ">", 0), (0.019, 0.02, 0.021), True),
        (between("gain", ">", 0), (-0.1, 0.1, 0.2), False),
        (every("gain", "within", "gain"), (0.009, -0.009), True),
        (every("gain", "within", "gain"), (0.009, -0.02), False),
        (every("gain", "within", ("gain", "far")), (0.02, 0.04), True),
        (every("gain", "within", ("gain", "far")), (0.02, 0.0), False),
        (some("gain", "outside", "gain"), (0.0, -0.02), True),
        (some("gain", "outside", "gain"), (0.0, 0.0), False),
        (pooled("gain", ">", lambda margins: 2 * margins.gain), (0.021,), True),
        ((every("gain", ">", 0), pooled("gain", ">", "gain")), (0.001, 0.03), True),
        ((every("gain", ">", 0), pooled("gain", ">", "gain")), (-0.001, 0.05), False),
        (Check(lambda of, margins: len(of.cells["gain"]) == 2), (0.0, 0.0), True),
        ((Check(lambda of, margins: len(of.cells["gain"]) == 2), every("gain", ">", 0)), (0.1,), False),
    ],
)
def test_where_conditions_hold(condition, gains, expected):
    assert holds(condition, sample(gain=gains)) is expected


def test_an_estimate_may_lie_where_its_interval_does_not():
    of = sample(gain=(0.02,), spread=0.05)
    assert holds(pooled("gain", ">=", "gain", point=True), of)
    assert not holds(pooled("gain", ">=", "gain"), of)


@pytest.mark.parametrize(("sign", "expected"), [(">", False), (">=", True), ("<", False), ("<=", True)])
def test_equal_values_at_a_level_reach_it_and_are_not_beyond_it(sign, expected):
    """The mean of three times 0.01 may be another number in its last bit."""
    assert holds(every("gain", sign, "gain"), sample(gain=(0.01, 0.01), spread=0.0)) is expected


@pytest.mark.parametrize(
    "condition", [every("gain", ">=", -9), pooled("gain", "<=", 9), some("gain", "outside", "gain")]
)
def test_one_seed_has_no_interval_and_decides_nothing(condition):
    assert not holds(condition, sample(gain=(0.5, 0.5), seeds=1))


def test_levels_of_a_ratio_are_ratios_and_its_values_logarithms():
    of = sample(time=(math.log(1.1),))
    assert holds(pooled("time", "<", "time"), of)
    assert holds(pooled("time", ">", 1), of)
    assert not holds(pooled("time", "<", 1.05), of)


def test_equivalence_is_shown_by_90_percent_intervals():
    """Their half width for three seeds is 1.69 standard deviations, that of 95 % intervals 2.48."""
    of = sample(gain=(0.0,), spread=0.005)
    assert holds(every("gain", "within", "gain"), of)
    assert not holds((every("gain", ">", "-gain"), every("gain", "<", "gain")), of)


def test_refutations_by_some_cell_allow_for_all_cells_and_for_each_other():
    """Half widths for three seeds: 3.57 standard deviations at 1 - 0.05 / 2, 5.07 at 1 - 0.05 / 4."""
    of = sample(gain=(-0.04, 0.0), spread=0.01)
    one, other = some("gain", "<", 0), some("gain", ">", "far")
    assert claim(every("gain", ">", 0), {"one": one, "not of some": pooled("gain", "<", -9)}).judge(of, MARGINS).no[0]
    assert not claim(every("gain", ">", 0), {"one": one, "other": other}).judge(of, MARGINS).no[0]


@pytest.mark.parametrize("condition", [every("loss", ">", 0), Check(lambda of, margins: True, {"loss": ()})])
def test_a_condition_on_what_is_no_quantity_of_the_claim_is_an_error(condition):
    with pytest.raises(ValueError, match="claim X1: a condition reads loss"):
        claim(every("gain", ">", 0), (condition, no("gain", "<", 0)))


@pytest.mark.parametrize(
    ("condition", "direction"), [(some("gain", "outside", "gain"), None), (some("gain", ">", 0), ("less", "more"))]
)
def test_an_effect_in_either_direction_and_no_other_has_words_for_both(condition, direction):
    with pytest.raises(ValueError, match="claim X1: 'direction' belongs to a claim of an effect in either direction"):
        claim(condition, direction=direction)


def test_controls_must_hold_like_the_other_conditions_and_are_told_apart():
    controlled = claim({"more": every("gain", ">", 0)}, controls={"its control": every("other", "<", 0)})
    assert controlled.controls == ("its control",)
    ruling = controlled.judge(sample(gain=(0.1,), other=(0.1,)), MARGINS)
    assert {text: bool(holds[0]) for text, holds in ruling.reproduced.items()} == {"more": True, "its control": False}
    assert ruling.verdicts.tolist() == [0]
    assert controlled.judge(sample(gain=(0.1,), other=(-0.1,)), MARGINS).verdicts.tolist() == [1]
    assert [each.decides for each in controlled.quantities] == [True, False, True]


# --- What follows


def test_what_conditions_read_decides_and_is_marked_with_their_margins():
    read = claim(
        {"more": every("gain", ">", "gain"), "as long": pooled("time", "<", 1.1)},
        {"less": some("gain", "outside", "far"), "worse": some("gain", "<", lambda margins: -1)},
    )
    gain, time, other = read.quantities
    assert gain.marks == ("gain", "-far", "far")
    assert gain.margins(MARGINS) == [0.01, -0.05, 0.05]
    assert (time.marks, time.decides) == ((), True)
    assert (other.marks, other.decides) == ((), False)
    checked = claim(Check(lambda of, margins: True, {"other": ("-gain",), "time": ("time",)})).quantities
    assert [each.decides for each in checked] == [False, True, True]
    assert checked[2].margins(MARGINS) == [-0.01]
    assert checked[1].margins(MARGINS) == [math.log(1.2)]


def test_a_claim_is_false_in_one_cell_or_where_it_is_about_a_mean_in_all():
    cells = {"gain": [A, B], "time": [A, B], "other": []}
    truths = {"claimed": {"gain": "far", "time": 1}, "false": {"gain": "gain"}}
    each = claim({"more": every("gain", ">", "gain"), "time": pooled("time", "<", "time")}, **truths)
    assert each.claimed(MARGINS, cells) == {"gain": 0.05, "time": 0.0}
    assert each.no_effect(MARGINS, cells) == {"gain": {A: 0.01, B: 0.05}, "time": 0.0}
    mean = claim({"more": pooled("gain", ">", "gain"), "never less": no("gain", "<", 0)}, **truths)
    assert mean.no_effect(MARGINS, cells) == {"gain": 0.01, "time": 0.0}
    given = claim(every("gain", ">", 0), claimed=lambda margins, cells: {"gain": 1.0}, false={"gain": 0})
    assert given.no_effect(MARGINS, cells) == {"gain": {A: 0.0, B: 1.0}}
    alone = claim(every("gain", ">", 0), claimed={"gain": 1}, false=lambda margins, cells: {"gain": {A: 1.0, B: 0.0}})
    assert alone.no_effect(MARGINS, cells) == {"gain": {A: 1.0, B: 0.0}}
