"""What the rules of claims B1 to B9 make of made-up observations."""

import math

import numpy as np
import pytest

from prunebench.papers.cascade import PAPER
from prunebench.papers.cascade.config import CascadeMargins
from prunebench.suite.cells import cell
from prunebench.suite.claim import Sample

CLAIM = {claim.id: claim for claim in PAPER.claims}
MARGINS = CascadeMargins()
A, B = cell(task="a"), cell(task="b")


def around(mean, spread=0.001):
    """Three seeds; with this spread the 95 % interval is 0.0025 wide on either side."""
    return [mean - spread, mean, mean + spread]


def ruling(claim, margins=MARGINS, **quantities):
    """The ruling on one table: {cell: a value per seed} by quantity; a quantity that is not named has no cells."""
    seeds = max(len(values) for cells in quantities.values() for values in cells.values())
    cells = {quantity.name: quantities.get(quantity.name, {}) for quantity in CLAIM[claim].quantities}
    values = {
        name: np.array([*rows.values()], dtype=float).reshape(1, len(rows), seeds) for name, rows in cells.items()
    }
    found = CLAIM[claim].judge(Sample(values, {name: list(rows) for name, rows in cells.items()}), margins)
    assert not (found.yes & np.logical_or.reduce([*found.refuted.values()])).any()
    return found


def verdict(claim, margins=MARGINS, **quantities):
    found = ruling(claim, margins, **quantities)
    return "yes" if found.yes[0] else "no" if found.no[0] else "open"


def in_one_cell(claim, **means):
    """The verdict where each quantity has these means in one cell."""
    return verdict(claim, **{name: {A: around(mean)} for name, mean in means.items()})


# --- B1: an excess

SMALL, LARGE = cell(task="a", pruned_share=0.1), cell(task="a", pruned_share=0.2)


@pytest.mark.parametrize(
    ("relative", "removable", "expected"),
    [
        ((0.0, 0.4), (0.0, 0.4), "yes"),
        ((0.0, 0.4), (0.4, 0.0), "open"),  # each with another recipe
        ((0.0, 0.4), (0.0, 0.0), "open"),
        ((0.0, 0.15), (0.0, 0.15), "open"),
        ((0.0, 0.02), (0.02, -0.3), "no"),
        ((0.0, 0.02), (0.02, 0.1), "open"),
        ((0.0, 0.2027), (0.0, 0.4), "open"),  # above, but not by the interval of one of two
        ((0.2027,), (0.4,), "yes"),
    ],
)
def test_b1_needs_one_recipe_with_both_excesses(relative, removable, expected):
    cells = (SMALL, LARGE)[-len(relative) :]
    quantities = {
        name: {at: around(mean) for at, mean in zip(cells, means, strict=True)}
        for name, means in (("relative", relative), ("removable", removable))
    }
    assert verdict("B1", **quantities) == expected


@pytest.mark.parametrize(("excess", "expected"), [(0.25, "open"), (0.35, "yes")])
def test_b1_needs_as_much_as_was_pruned(excess, expected):
    cells = {cell(task="a", pruned_share=0.3): around(excess)}
    assert verdict("B1", relative=cells, removable=cells) == expected


@pytest.mark.parametrize(
    ("slope", "excess", "expected"),
    [
        (1.0, (0.1, 0.2), "yes"),
        (0.0, (0.2, 0.2), "open"),
        (-1.0, (0.2, 0.1), "open"),
        (1.0, (-0.15, -0.05), "no"),  # rises to what the control sheds
        (1.0, (0.0, 0.04), "no"),
        (1.0, (0.0, 0.051), "open"),
    ],
)
def test_b1c_needs_a_slope_and_an_excess_after_the_largest_prune(slope, excess, expected):
    # the largest share is not the last that is named
    cells = {LARGE: around(excess[1]), SMALL: around(excess[0])}
    assert verdict("B1c", slope={A: around(slope)}, excess=cells) == expected


# --- B2 to B5: accuracy


@pytest.mark.parametrize(
    ("control", "one_shot", "expected"),
    [
        (0.02, 0.02, "yes"),
        (0.02, 0.011, "open"),
        (0.02, 0.002, "no"),
        (0.002, 0.02, "no"),
        (0.008, 0.008, "open"),
    ],
)
def test_b2_needs_both_gains(control, one_shot, expected):
    assert in_one_cell("B2", over_control=control, over_one_shot=one_shot) == expected


@pytest.mark.parametrize(("loss", "expected"), [(-0.04, "open"), (0.0, "yes")])
def test_b2_is_not_reproduced_by_one_control_that_breaks_down(loss, expected):
    gains = {A: around(0.35), B: around(loss)}
    assert verdict("B2", over_control=gains, over_one_shot={A: around(0.1)}) == expected


@pytest.mark.parametrize(
    ("excess", "gap", "expected"),
    [
        (0.1, 0.02, "yes"),
        (0.1, 0.0, "open"),
        (0.01, 0.02, "open"),  # above 0, but within what counts as none
        (0.001, 0.001, "no"),
        (0.1, -0.02, "no"),
        (-0.1, 0.02, "no"),
    ],
)
def test_b3_needs_both_differences(excess, gap, expected):
    assert in_one_cell("B3", excess=excess, gap=gap) == expected
    assert in_one_cell("B3", excess=0.1) == in_one_cell("B3", gap=0.1) == "open"


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ([(-0.01, -0.02)] * 5, "yes"),
        ([(-0.01, -0.02)] * 4 + [(-0.01, 0.03)], "yes"),  # 4 of 5 are enough
        ([(-0.01, -0.02)] * 3 + [(-0.01, 0.03)] * 2, "open"),
        ([(-0.01, -0.02)] * 2 + [(-0.01, 0.03)] * 3, "no"),
        ([(0.02, 0.03)] * 5, "no"),
        ([(0.008, 0.008)] * 5, "open"),
        ([(-0.01, 0.0127)] * 5, "open"),  # far by 95 % intervals, not by those of two schemes in three settings
    ],
)
def test_b4_counts_settings(leads, expected):
    cells = {
        cell(task="net", sparsity=setting / 10, criterion=scheme): around(lead)
        for setting, both in enumerate(leads)
        for scheme, lead in zip(("random", "layer_magnitude"), both, strict=True)
    }
    assert verdict("B4", behind=cells) == expected


@pytest.mark.parametrize(
    ("gain", "control", "expected"),
    [
        (0.02, 0.02, "yes"),
        (0.02, 0.0, "open"),  # the control gains as much
        (0.0, 0.02, "no"),
        (0.004, 0.02, "open"),
    ],
)
def test_b5a_needs_a_gain_over_plain_pruning_and_over_the_control(gain, control, expected):
    assert in_one_cell("B5a", gain=gain, over_control=control) == expected


@pytest.mark.parametrize(("loss", "expected"), [(-0.01, "open"), (0.0, "yes")])
def test_b5a_is_not_reproduced_by_one_cell_alone(loss, expected):
    gain = {A: around(0.1), B: around(loss)}
    assert verdict("B5a", gain=gain, over_control={A: around(0.02)}) == expected


@pytest.mark.parametrize(
    ("ratios", "lead", "expected"),
    [
        ((0.5, 0.5, 0.5), 0.01, "yes"),
        ((0.5, 0.5, math.nan), -0.001, "open"),  # the seed that never gets there counts
        ((0.95, 0.95, 0.95), 0.0, "open"),
        ((1.2, 1.2, 1.2), 0.0, "no"),
        ((math.nan, math.nan, math.nan), -0.02, "no"),
        ((math.nan, math.nan, math.nan), -0.003, "open"),
    ],
)
def test_b5b_needs_every_run_to_reach_the_accuracy_in_fewer_updates(ratios, lead, expected):
    steps = [math.log(ratio) + nudge for ratio, nudge in zip(ratios, around(0), strict=True)]
    assert verdict("B5b", steps={A: steps}, lead={A: around(lead)}) == expected


def test_b5b_leaves_out_a_seed_in_which_there_is_nothing_to_reach():
    assert verdict("B5b", steps={A: [-0.7, -0.701, math.nan, -0.699]}, lead={A: [0.0, 0.01, math.nan, 0.0]}) == "yes"


# --- B6: schedules

NOISE = np.random.default_rng(5).normal(size=(2, 3, 2, 3))
CROSSED = ((1, -1), (-1, 1), (0, 0))


def schedules(accuracy, excess, task="a"):
    """Three pruning schedules by two LR schedules, three seeds; means as functions of both."""
    return {
        name: {
            cell(task=task, pruning=pruning, lr_schedule=schedule): mean(p, s) + 0.001 * NOISE[outcome, p, s]
            for p, pruning in enumerate(("one_shot", "iterative", "gradual"))
            for s, schedule in enumerate(("low", "cosine"))
        }
        for outcome, (name, mean) in enumerate({"accuracy": accuracy, "excess": excess}.items())
    }


def of_lr(accuracy=0.05, excess=0.1, task="a"):
    return schedules(lambda p, s: accuracy * s, lambda p, s: excess * s, task)


@pytest.mark.parametrize(
    ("accuracy", "excess", "expected"),
    [
        (lambda p, s: 0.05 * s, lambda p, s: 0.1 * s, "yes"),
        (lambda p, s: 0.05 * p, lambda p, s: 0.1 * p, "yes"),
        (lambda p, s: 0.05 * p, lambda p, s: 0.1 * s, "open"),  # not one and the same
        (lambda p, s: 0.05 * s, lambda p, s: 0.0, "no"),
        (lambda p, s: 0.05 * s, lambda p, s: 0.02 * s, "no"),  # certain, and too little to matter
        (lambda p, s: 0.05 * s, lambda p, s: 0.0495 * s, "open"),  # too little, but not for certain
        (lambda p, s: 0.05 * CROSSED[p][s], lambda p, s: 0.1 * CROSSED[p][s], "open"),  # neither alone
    ],
)
def test_b6_needs_one_factor_with_an_effect_on_both_outcomes(accuracy, excess, expected):
    assert verdict("B6", **schedules(accuracy, excess)) == expected


@pytest.mark.parametrize(("step", "expected"), [(0.0, "no"), (0.02, "open")])
def test_b6_is_refuted_where_no_effect_is_as_much_as_a_small_one(step, expected):
    """Seeds that cancel out exactly: the cells' means are equal while their values are not."""
    turns = ([-0.01, 0.0, 0.01], [0.01, -0.01, 0.0], [0.0, 0.01, -0.01])
    cells = {
        cell(task="a", pruning=pruning, lr_schedule=schedule): [x + step * (s == 2) for x in turns[(p + s) % 3]]
        for p, pruning in enumerate("xyz")
        for s, schedule in enumerate("uvw")
    }
    assert verdict("B6", accuracy=cells, excess=cells) == expected


@pytest.mark.parametrize("missing", ["a combination", "a level", "an outcome"])
def test_b6_has_no_answer_for_an_incomplete_layout(missing):
    found, gone = of_lr(), cell(task="a", pruning="gradual", lr_schedule="low")
    for name, cells in found.items():
        if missing == "a level":
            found[name] = {at: values for at, values in cells.items() if ("lr_schedule", "low") not in at}
        elif missing == "a combination" or name == "excess":
            del cells[gone]
    result = ruling("B6", **found)
    assert not result.reproduced["every pruning schedule was run under every LR schedule"].any()
    assert not result.yes.any()
    assert not result.no.any()


def test_b6_needs_every_network():
    with_effect, without = of_lr(), of_lr(excess=0.0, task="b")
    assert verdict("B6", **{name: with_effect[name] | without[name] for name in without}) == "open"


def test_b6_leaves_out_a_seed_without_every_value():
    found = of_lr()
    found["excess"][cell(task="a", pruning="gradual", lr_schedule="low")][2] = math.nan
    assert verdict("B6", **found) == "yes"


# --- B7: rewinding

WAYS = [
    cell(task="a", criterion=criterion, sparsity=0.8, retraining=way)
    for criterion in "xy"
    for way in ("rewind_lr", "rewind_weights")
]


def rewound(accuracy, excess):
    """Cells by criterion and way of rewinding."""
    return {
        name: {at: around(mean) for at, mean in zip(WAYS, means, strict=True)}
        for name, means in (("accuracy", accuracy), ("excess", excess))
    }


@pytest.mark.parametrize(
    ("accuracy", "excess", "expected"),
    [
        ((0.01, 0.02, 0.03, 0.04), (0.1, 0.2, 0.3, 0.4), "yes"),
        ((0.01, 0.02, 0.03, 0.04), (0.4, 0.3, 0.2, 0.1), "open"),  # better and sheds more, without a link
        ((0.01, -0.02, 0.03, -0.04), (0.1, -0.2, 0.3, -0.4), "yes"),  # one way of the two
        ((0.01, -0.02, 0.03, -0.04), (-0.1, 0.2, -0.1, 0.2), "open"),  # gains one way and sheds the other
        ((0.002, -0.02, 0.0044, -0.04), (0.1, -0.2, 0.3, -0.4), "open"),  # gains, not by the interval of one of two
        ((-0.01, -0.02, -0.03, -0.04), (0.1, 0.2, 0.3, 0.4), "no"),
        ((0.01, 0.02, 0.03, 0.04), (-0.1, -0.2, -0.1, -0.2), "no"),
        ((0.01, 0.02, 0.03, 0.04), (0.006, 0.007, 0.008, 0.009), "open"),  # more, but hardly
    ],
)
def test_b7_needs_a_gain_more_shedding_and_a_link(accuracy, excess, expected):
    assert verdict("B7", **rewound(accuracy, excess)) == expected


def test_b7_with_two_cells_stays_open_and_says_why():
    accuracy, excess = ({at: around(mean) for at in WAYS[:2]} for mean in (0.02, 0.1))
    result = ruling("B7", accuracy=accuracy, excess=excess)
    assert [bool(holds[0]) for holds in result.reproduced.values()] == [True, True, False, False, False]
    assert not result.no.any()


def test_b7_needs_cells_that_differ():
    """With three quiet cells and a noisy one, noise that goes up in both is a correlation of 1."""
    accuracy = {at: [0.02, 0.02, 0.02 + 1e-5 * n] for n, at in enumerate(WAYS)}
    excess = {at: [0.1, 0.1, 0.1 + 1e-5 * n] for n, at in enumerate(WAYS)}
    accuracy[WAYS[0]], excess[WAYS[0]] = [0.05, 0.01, 0.06], [0.2, 0.08, 0.25]
    result = ruling("B7", accuracy=accuracy, excess=excess)
    assert result.reproduced["across cells, more accuracy goes with more shedding"].all()
    assert not result.reproduced["cells differ for certain in both"].any()


def test_b7_is_refuted_where_nothing_is_shed_at_all():
    found = rewound((0.01, 0.02, 0.03, 0.04), (0.0, 0.0, 0.0, 0.0))
    found["excess"] = {at: [0.0, 0.0, 0.0] for at in WAYS}
    assert verdict("B7", **found) == "no"


# --- B8 and B9: an effect in either direction


@pytest.mark.parametrize(("claim", "quantity", "margin"), [("B8", "overlap", 0.01), ("B9", "accuracy", 0.003)])
@pytest.mark.parametrize("sign", [1, -1])
def test_b8_and_b9_find_an_effect_in_either_direction(claim, quantity, margin, sign):
    for mean, expected in ((3, "yes"), (1, "open"), (0, "no")):
        cells = {at: around(sign * mean * margin, 0.1 * margin) for at in (A, B)}
        assert verdict(claim, **{quantity: cells}) == expected
    opposite = {A: around(3 * margin, 0.1 * margin), B: around(-3 * margin, 0.1 * margin)}
    assert verdict(claim, **{quantity: opposite}) == "open"


def test_a_mean_that_lies_above_the_margin_by_its_rounding_does_not():
    assert (0.1 + 0.1 + 0.1) / 3 > 0.1
    cells = {at: [0.1] * 3 for at in (A, B)}
    assert verdict("B9", CascadeMargins(b9_loss=0.1), accuracy=cells) == "open"
