"""What every registered paper declares fits together: claims, their margins, tables and figures."""

import math

import pytest

from prunebench.suite.registry import BUILT_IN, papers


@pytest.fixture(params=[name.rsplit(".", 1)[-1] for name in BUILT_IN])
def paper(request):
    return papers()[request.param]


def test_no_two_papers_share_a_claim_table_or_figure():
    declared = [each for paper in papers().values() for each in (*paper.tables, *paper.figures)]
    for names in (
        [claim.id for paper in papers().values() for claim in paper.claims],
        [each.name for each in declared if hasattr(each, "columns")],
        [each.name for each in declared if not hasattr(each, "columns")],
    ):
        assert len(names) == len(set(names)) > 0


def test_every_claim_of_the_three_abstracts_is_there():
    """shared/papers.md numbers them; A8, of its defects of released scripts, is ours. A letter marks a part of a
    sentence that can hold without the others."""
    numbers = {
        key: sorted({int(claim.id[1:].rstrip("abc")) for claim in each.claims}) for key, each in papers().items()
    }
    assert numbers == {"s_cyc": [*range(1, 9)], "cascade": [*range(1, 10)], "directional": [*range(1, 10)]}
    letters = {key: {claim.id[0] for claim in each.claims} for key, each in papers().items()}
    assert letters == {"s_cyc": {"A"}, "cascade": {"B"}, "directional": {"C"}}


def test_every_scenario_is_about_quantities_of_its_claim(paper):
    margins = paper.margins()
    for claim in paper.claims:
        names = {quantity.name for quantity in claim.quantities}
        cells = {name: [] for name in names}
        for scenario in (claim.no_effect(margins, cells), claim.claimed(margins, cells)):
            assert {*scenario} <= names, claim.id


def test_every_claim_has_a_rule_with_margins_that_the_paper_has(paper):
    margins = paper.margins()
    for claim in paper.claims:
        assert claim.paper == paper.key
        assert "{" not in claim.rule_in_words(margins)
        for quantity in claim.quantities:
            assert all(math.isfinite(value) for value in quantity.margins(margins))


def test_every_margin_decides_or_marks_something(paper):
    """A margin that nothing reads would be a key without an effect."""
    source = "".join(path.read_text() for path in paper.folder.rglob("*.py") if path.name != "config.py")
    for name in type(paper.margins()).model_fields:
        assert name in source, f"{name} is used nowhere"


def test_every_claim_says_where_it_comes_from_and_what_was_published(paper):
    for claim in paper.claims:
        assert claim.mark == "[abstract]" or claim.mark.startswith("(implied")
        assert claim.published
        assert claim.claimed_as


def test_every_claim_is_shown_by_tables_and_figures_of_its_paper(paper):
    for claim in paper.claims:
        assert set(claim.tables) <= {table.name for table in paper.tables}
        assert set(claim.figures) <= {figure.name for figure in paper.figures}


def test_every_claim_names_its_quantities_and_its_headline(paper):
    for claim in paper.claims:
        names = [quantity.name for quantity in claim.quantities]
        assert len(names) == len(set(names))
        assert any(quantity.decides for quantity in claim.quantities)
        assert claim.headline in {"", None, *names}


def test_a_claim_that_asks_of_a_method_has_a_sentence_for_it(paper):
    for claim in paper.claims:
        assert bool(claim.asks) == ("{method}" in claim.asked_sentence)
        if claim.asks:
            asked = claim.asked_of("my_method")
            assert (asked.id, asked.judge, asked.paper) == (f"{claim.id}:my_method", claim.judge, paper.key)
            assert "my_method" in asked.sentence
            assert not any(claim.subject and claim.subject in each.meaning for each in asked.quantities)


def test_figures_read_tables_that_their_paper_declares(paper):
    tables = {table.name for table in paper.tables}
    for figure in paper.figures:
        assert {*figure.needs, *figure.reads} <= tables
