"""The rules of claims A1 to A8 on made-up observations: what they say, and how often they err."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.papers.s_cyc import PAPER
from prunebench.papers.s_cyc.config import SCycMargins
from prunebench.suite.cells import cell
from prunebench.suite.claim import Sample

CLAIMS = PAPER.claims
CLAIM = {claim.id: claim for claim in CLAIMS}
MARGINS = SCycMargins()

# --- What the rules say


def drawn(claim, means, spread=1e-4, seeds=3, cells=2):
    """A sample of one table whose cells have these means exactly, and a little spread over seeds."""
    offsets = np.linspace(-1, 1, seeds) * spread
    names = [cell(task="task", course="constant", schedule=f"c{index}") for index in range(cells)]
    values = {}
    for quantity in CLAIM[claim].quantities:
        mean = np.broadcast_to(np.asarray(means.get(quantity.name, 0.0), dtype=float), (cells,))
        values[quantity.name] = (mean[:, None] + offsets)[None]
    return Sample(values, {quantity.name: names for quantity in CLAIM[claim].quantities})


LOG = math.log


@pytest.mark.parametrize(
    ("claim", "means", "verdict"),
    [
        ("A1", {"slope": -0.2, "ratio": LOG(0.5)}, "yes"),
        ("A1", {"slope": -0.2, "ratio": LOG(0.9)}, "open"),
        ("A1", {"slope": [-0.2, 0.1], "ratio": LOG(0.5)}, "no"),
        ("A1", {"slope": -0.005, "ratio": LOG(0.9)}, "no"),
        ("A1b", {"difference": -0.1, "relu_slope": -0.1}, "yes"),
        ("A1b", {"difference": -0.01, "relu_slope": -0.1}, "yes"),
        ("A1b", {"difference": 0.01, "relu_slope": -0.1}, "no"),
        ("A1b", {"difference": [-0.1, 0.1], "relu_slope": -0.1}, "no"),
        ("A1b", {"difference": 0.0, "relu_slope": -0.1}, "no"),
        ("A2", {"slope": 0.3, "ratio": LOG(2), "step": 0.1, "slope_step": 0.05}, "yes"),
        ("A2", {"slope": 0.3, "ratio": LOG(1.2), "step": 0.1, "slope_step": 0.05}, "open"),
        ("A2", {"slope": 0.3, "ratio": LOG(2), "step": 0.5, "slope_step": 0.4}, "open"),
        ("A2", {"slope": 0.0, "ratio": 0.0, "step": 0.05, "slope_step": 0.05}, "no"),
        ("A2", {"slope": 0.0, "ratio": 0.0, "step": 0.4, "slope_step": 0.1}, "open"),
        ("A2", {"slope": -0.3, "ratio": 0.0, "step": 0.4, "slope_step": 0.1}, "no"),
        ("A3", {"gain": 0.02}, "yes"),
        ("A3", {"gain": [0.05, -0.005]}, "open"),
        ("A3", {"gain": 0.005}, "no"),
        ("A3", {"gain": -0.02}, "no"),
        ("A5", {"seconds": 0.0, "steps": 0.0}, "open"),  # updates differ by the spread
        ("A5", {"seconds": LOG(1.2), "steps": 0.0}, "no"),
        ("A6", {"difference": 0.0, "inside": 0.9}, "yes"),
        ("A6", {"difference": 0.0, "inside": 0.6}, "open"),
        ("A6", {"difference": 0.0, "inside": 0.2}, "no"),
        ("A6", {"difference": 0.02, "inside": 0.9}, "no"),
        ("A6", {"difference": -0.02, "inside": 0.9}, "open"),
        ("A7", {"gain": 0.01}, "yes"),
        ("A7", {"gain": [0.01, 0.0]}, "no"),
        ("A7", {"gain": 0.003}, "open"),
        ("A8", {"difference": 0.0}, "yes"),
        ("A8", {"difference": [0.004, -0.004], "smaller_set": -0.1}, "yes"),
        ("A8", {"difference": [0.0, 0.01]}, "no"),
        ("A8", {"difference": [0.0, -0.01]}, "no"),
        ("A8", {"difference": 0.005}, "open"),
    ],
)
def test_rules_with_hardly_any_noise(claim, means, verdict):
    ruling = CLAIM[claim].judge(drawn(claim, means), MARGINS)
    assert (bool(ruling.yes[0]), bool(ruling.no[0])) == {"yes": (True, False), "no": (False, True)}.get(
        verdict, (False, False)
    )


def test_a5_with_equal_updates():
    found = drawn("A5", {"seconds": 0.0, "steps": 0.0})
    equal = Sample({**found.values, "steps": np.zeros((1, 2, 3))}, found.cells)
    assert CLAIM["A5"].judge(equal, MARGINS).yes[0]


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.02, 0.021, 0.019], (True, False)),
        ([0.02, 0.02], (False, False)),
        ([0.04, 0.03, -0.02], (False, True)),
        ([0.0, 0.001, -0.0001], (False, True)),
    ],
)
def test_a4_needs_three_criteria_and_none_that_loses(gains, verdict):
    ruling = CLAIM["A4"].judge(drawn("A4", {"gain": gains}, 1e-4, cells=len(gains)), MARGINS)
    assert (bool(ruling.yes[0]), bool(ruling.no[0])) == verdict


@given(
    claim=st.sampled_from(CLAIMS),
    cells=st.integers(0, 4),
    seeds=st.integers(1, 6),
    scale=st.sampled_from([1e-3, 0.1, 3.0]),
    seed=st.integers(0, 1000),
)
def test_no_ruling_is_both_and_none_fails(claim, cells, seeds, scale, seed):
    rng = np.random.default_rng(seed)
    values, names = {}, {}
    for quantity in claim.quantities:
        drawn_values = rng.normal(0, scale, (7, cells, seeds))
        drawn_values[rng.random(drawn_values.shape) < 0.1] = np.nan
        values[quantity.name], names[quantity.name] = drawn_values, [cell(task=f"c{index}") for index in range(cells)]
    ruling = claim.judge(Sample(values, names), MARGINS)
    for holds in (*ruling.reproduced.values(), *ruling.refuted.values()):
        assert holds.shape == (7,)
        assert holds.dtype == bool
    if claim.id not in ("A1", "A4"):  # what they measure may lie between their two marks: then they are reproduced
        assert not (ruling.yes & np.logical_or.reduce([*ruling.refuted.values()])).any()
    if cells == 0:
        assert not ruling.yes.any()


# --- How often the rules err

CELLS = {
    **{claim: [cell(task="a"), cell(task="b")] for claim in ("A1", "A1b")},
    **{claim: [cell(task="a")] for claim in ("A2", "A5")},
    "A3": [cell(task="net", sparsity=level) for level in (0.75, 0.875, 0.9375)],
    "A4": [cell(criterion=name) for name in "abc"],
    "A6": [cell(sparsity=level) for level in (0.0, 0.5, 0.75)],
    "A8": [cell(task="net", run=run, sparsity=level) for run in ("first", "fifth") for level in (0.0, 0.75)],
    "A7": [
        cell(task="net", course=course, schedule=name) for course, name in (("constant", "top"), ("linear", "ramp"))
    ],
}
ALWAYS = {"A2": {"step": 0.2, "slope_step": 0.05}, "A5": {"steps": 0.0}}
"""What neither truth names: known, without noise."""


def simulated(claim, scenario, noise, n, shared=0.0, tables=2000):
    """Tables drawn from one of a claim's truths: normal noise, part of it shared by all cells of a seed."""
    rng = np.random.default_rng([n, int(1000 * noise), int(10 * shared)])
    cells = {quantity.name: CELLS[claim.id] for quantity in claim.quantities}
    truth = getattr(claim, scenario)(MARGINS, cells)
    common = rng.normal(size=(tables, 1, n))
    values = {}
    for name, names in cells.items():
        given = truth.get(name, ALWAYS.get(claim.id, {}).get(name, 0.0))
        means = np.array([given[at] if isinstance(given, dict) else given for at in names])
        own = rng.normal(size=(tables, len(names), n))
        drawn_noise = noise * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
        values[name] = means[:, None] + (drawn_noise if name in truth else 0.0 * drawn_noise)
    return Sample(values, cells)


def effect_of(claim):
    """How far a claim's two truths are apart."""
    cells = {quantity.name: CELLS[claim.id] for quantity in claim.quantities}

    def first(scenario, name):
        given = getattr(claim, scenario)(MARGINS, cells)[name]
        return given[CELLS[claim.id][0]] if isinstance(given, dict) else given

    return max(abs(first("claimed", name) - first("no_effect", name)) for name in claim.no_effect(MARGINS, cells))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_where_a_claim_is_false_it_is_reproduced_in_at_most_5_percent(claim, n):
    for noise in (0.1, 0.5, 2.0):
        for shared in (0.0, 0.5):
            sample_of = simulated(claim, "no_effect", noise * effect_of(claim), n, shared)
            assert claim.judge(sample_of, MARGINS).yes.mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_where_it_holds_and_noise_is_little_it_is_reproduced(claim):
    ruling = claim.judge(simulated(claim, "claimed", 0.05 * effect_of(claim), 10), MARGINS)
    assert ruling.yes.mean() > 0.95


@pytest.mark.parametrize("claim", [CLAIM[name] for name in ("A3", "A5", "A6", "A7", "A8")], ids=lambda claim: claim.id)
def test_the_margin_is_where_the_rule_says(claim):
    """At the margin an interval clears it in 2.5 % (one side of 95 %) to 5 % (one of 90 %) of tables, not in none."""
    rate = claim.judge(simulated(claim, "no_effect", 0.1 * effect_of(claim), 10, 0.5), MARGINS).yes.mean()
    assert 0.01 < rate < 0.07
