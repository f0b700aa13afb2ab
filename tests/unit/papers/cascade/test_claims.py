"""Claims B1 to B9: what they declare, and how often their rules err on simulated tables."""

import itertools
import math

import numpy as np
import pytest

from prunebench.papers.cascade import PAPER
from prunebench.papers.cascade.config import CascadeMargins
from prunebench.suite.cells import cell
from prunebench.suite.claim import Sample

MARGINS = CascadeMargins()
IDS = ["B1", "B1c", "B2", "B3", "B4", "B5a", "B5b", "B6", "B7", "B8", "B9"]
CLAIM = dict(zip(IDS, PAPER.claims, strict=True))


def test_claims_come_in_order_from_the_abstract_which_has_no_number():
    assert [claim.id for claim in PAPER.claims] == IDS
    assert {(claim.paper, claim.mark, claim.published) for claim in PAPER.claims} == {("cascade", "[abstract]", "n/a")}


def test_every_claim_names_tables_and_figures_that_there_are():
    tables, figures = {table.name for table in PAPER.tables}, {figure.name for figure in PAPER.figures}
    for claim in PAPER.claims:
        assert set() < {*claim.tables} <= tables
        assert set() < {*claim.figures} <= figures


def test_rules_tell_their_margins():
    words = {claim.id: claim.rule_in_words(MARGINS) for claim in PAPER.claims}
    assert "above 20 % of the survivors" in words["B1"]
    assert "{" not in "".join(words.values())
    assert "above 30 % of the survivors" in CLAIM["B1"].rule_in_words(CascadeMargins(b1_excess=0.3))


# --- How often the rules err

RECIPES = [
    cell(task="r", criterion="c", max_lr=lr, weight_decay=decay) for lr, decay in ((0.1, 0.01), (0.1, 0.1), (0.01, 0.1))
]
DOSES = [(*recipe, ("pruned_share", share)) for recipe in RECIPES for share in (0.05, 0.1, 0.2)]
SCHEMES = [
    cell(task="n", sparsity=setting / 10, criterion=scheme)
    for setting in range(10)
    for scheme in ("random", "layer_random", "layer_magnitude")
]
SIX = [cell(task=f"t{number}") for number in range(6)]
TWO_WAY = [
    cell(task="t", pruning=pruning, lr_schedule=schedule)
    for pruning in ("one_shot", "iterative", "gradual")
    for schedule in ("low", "high")
]
WAYS = [
    cell(task="t", criterion=criterion, sparsity=0.8, retraining=way)
    for criterion in "wxyz"
    for way in ("rewind_lr", "rewind_weights")
]
CELLS = {
    "B1": {"relative": DOSES, "removable": DOSES},
    "B1c": {"slope": RECIPES, "excess": DOSES},
    "B4": {"behind": SCHEMES},
    "B6": {"accuracy": TWO_WAY, "excess": TWO_WAY},
    "B7": {"accuracy": WAYS, "excess": WAYS},
    **{
        name: {quantity.name: SIX for quantity in CLAIM[name].quantities}
        for name in ("B2", "B3", "B5a", "B5b", "B8", "B9")
    },
}
"""More cells than the laptop has: rules that look for any one cell err more often the more there are."""


def simulated(claim, truth, count, seeds, noise, shared=0.0, unequal=False):
    """Tables with these true means; `shared`: the correlation of cells and quantities through the seed."""
    scenario = getattr(CLAIM[claim], truth)(MARGINS, CELLS[claim])
    rng = np.random.default_rng([IDS.index(claim), seeds, int(100 * shared), len(truth)])
    common = rng.normal(size=(count, 1, seeds))
    values = {}
    for name, cells in CELLS[claim].items():
        true = scenario[name]
        means = np.array([true if isinstance(true, float) else true[at] for at in cells])
        each = rng.normal(size=(count, len(cells), seeds))
        sizes = np.where(np.arange(len(cells)) % 3 == 0, 1.0, 0.02)[:, None] if unequal else 1.0
        values[name] = means[:, None] + noise * sizes * (math.sqrt(shared) * common + math.sqrt(1 - shared) * each)
    return Sample(values, CELLS[claim])


@pytest.mark.parametrize("claim", IDS)
@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_where_a_claim_is_false_it_is_reproduced_in_at_most_5_percent(claim, noise):
    count = 2000
    worst = 0.05 + 3 * math.sqrt(0.05 * 0.95 / count)
    for seeds, kind in itertools.product((3, 5, 10), ({}, {"shared": 0.5}, {"unequal": True})):
        found = CLAIM[claim].judge(simulated(claim, "no_effect", count, seeds, noise, **kind), MARGINS)
        assert found.yes.mean() <= worst, (seeds, kind)


@pytest.mark.parametrize("claim", IDS)
def test_where_it_holds_and_noise_is_little_it_is_reproduced_and_never_refuted(claim):
    found = CLAIM[claim].judge(simulated(claim, "claimed", 2000, 5, 5e-4), MARGINS)
    assert found.yes.mean() > 0.99
    assert not found.no.any()


@pytest.mark.parametrize("claim", IDS)
def test_means_at_the_margin_without_any_noise_reproduce_nothing(claim):
    for seeds in range(3, 31):
        assert not CLAIM[claim].judge(simulated(claim, "no_effect", 1, seeds, 0.0), MARGINS).yes.any()


@pytest.mark.parametrize("claim", IDS)
@pytest.mark.parametrize("truth", ["no_effect", "claimed"])
def test_conditions_of_both_verdicts_never_hold_together(claim, truth):
    for noise, seeds in itertools.product((1e-3, 0.01, 0.1), (2, 3, 10)):
        found = CLAIM[claim].judge(simulated(claim, truth, 2000, seeds, noise), MARGINS)
        assert all(holds.shape == (2000,) for holds in (*found.reproduced.values(), *found.refuted.values()))
        assert not (found.yes & np.logical_or.reduce([*found.refuted.values()])).any()


@pytest.mark.parametrize("claim", IDS)
def test_both_truths_are_about_all_quantities_and_differ(claim):
    truths = [truth(MARGINS, CELLS[claim]) for truth in (CLAIM[claim].no_effect, CLAIM[claim].claimed)]
    assert truths[0] != truths[1]
    assert truths[0].keys() == truths[1].keys() == CELLS[claim].keys()
