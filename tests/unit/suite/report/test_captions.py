"""Captions: every figure and table has one, it is valid reST without markup, and it says what a reader needs."""

import re
import tomllib
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

import prunebench
from prunebench.suite.exhibits import FIGURES, TABLES
from prunebench.suite.registry import papers
from prunebench.suite.report import captions

SUITE = {
    "figure": {figure.name for figure in FIGURES},
    "table": {*(table.name for table in TABLES), "claims", "report", "runs"},
}
"""Of the suite's exhibits; the last three are files that Snakemake's report shows."""

PAPERS = [*papers().values(), None]


def names(paper, kind):
    if paper is None:
        return SUITE[kind]
    return {each.name for each in (paper.figures if kind == "figure" else paper.tables)}


ALL = [(paper, kind, name) for paper in PAPERS for kind in SUITE for name in sorted(names(paper, kind))]
EACH = pytest.mark.parametrize(("paper", "kind", "name"), ALL, ids=[f"{kind} {name}" for _, kind, name in ALL])


@pytest.mark.parametrize("kind", SUITE)
@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.key if paper else "suite")
def test_no_caption_is_left_over_and_none_is_missing(paper, kind):
    folder = (paper.folder if paper else Path(prunebench.__file__).parent / "suite") / "captions" / f"{kind}s"
    assert {path.name for path in folder.iterdir()} == {f"{name}.rst" for name in names(paper, kind)}


@pytest.mark.parametrize("paper", papers().values(), ids=lambda paper: paper.key)
def test_every_reference_of_a_paper_leads_to_a_function(paper):
    makers = [each.make for each in (*paper.tables, *paper.figures)]
    views = [table.latex for table in paper.tables if table.latex and not isinstance(table.latex, tuple)]
    assert all(callable(paper.resolve(ref)) for ref in (*makers, *views, paper.read))


@pytest.mark.parametrize("paper", papers().values(), ids=lambda paper: paper.key)
def test_what_readers_see_and_what_is_bold_are_columns_of_the_table(paper):
    for table in paper.tables:
        shown = table.latex if isinstance(table.latex, tuple) else ()
        assert {*shown, *table.best} <= {column.name for column in table.columns}


@pytest.mark.parametrize("paper", papers().values(), ids=lambda paper: paper.key)
def test_columns_are_told_apart_and_have_meanings(paper):
    for table in paper.tables:
        columns = [column.name for column in table.columns]
        assert len(set(columns)) == len(columns)
        assert "scale" not in columns
        assert all(column.meaning and not column.meaning.endswith(".") for column in table.columns)


@EACH
def test_a_caption_is_rest_without_markup(paper, kind, name):
    """docutils reads the same plain text that the page and LaTeX show, and has nothing to complain of."""
    text = captions.path(paper, kind, name).read_text(encoding="utf-8")
    tree = publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2, "warning_stream": False})
    shown = [node for node in tree.children if not isinstance(node, nodes.comment)]
    assert all(isinstance(node, nodes.paragraph) and len(node.children) == 1 for node in shown)
    assert [" ".join(node.astext().split()) for node in shown] == captions.caption(paper, kind, name).split("\n\n")
    # Snakemake renders captions as Jinja templates before docutils reads them.
    assert not re.search(r"\{\{|\{%|\{#", text)
    assert max(len(line) for line in text.splitlines()) <= 120


@EACH
def test_a_caption_says_what_is_shown_with_which_intervals_and_from_where(paper, kind, name):
    text = captions.caption(paper, kind, name)
    assert text.endswith(".")
    assert len(text) > 250
    # LaTeX writes it into comments that authors take over: characters that any LaTeX knows.
    assert (text + captions.title(paper, kind, name)).isascii()
    if name != "directional_published":
        assert "Source: " in text or "Computed from the configuration" in text
    assert re.search(r"interval|standard deviations|pooled|no seeds|no means", text), "says nothing of intervals"
    assert re.search(r"\bseeds?\b", text) or name == "directional_published"


@EACH
def test_titles_and_labels(paper, kind, name):
    title = captions.title(paper, kind, name)
    assert 10 < len(title) < 70
    assert not title.endswith(".")
    assert captions.labels(paper, kind, name) == {"shows": title, "kind": kind}
    assert title not in captions.caption(paper, kind, name).split("\n\n")
    if kind == "figure":
        alt = captions.alt(paper, name)
        assert alt.endswith(".")
        assert 60 < len(alt) < 320
        assert alt not in captions.caption(paper, kind, name)


@pytest.mark.parametrize("kind", SUITE)
def test_titles_tell_figures_apart_and_tables_too(kind):
    titles = [captions.title(paper, kind, name) for paper, of, name in ALL if of == kind]
    assert len(set(titles)) == len(titles)


def test_a_published_table_says_so_with_its_mark():
    directional = papers()["directional"]
    for kind, name in (("table", "directional_published"), ("figure", "directional_published")):
        assert "not measured here" in captions.caption(directional, kind, name)
        assert "[authors' data]" in captions.caption(directional, kind, name)


def test_categories_are_the_papers(paper):
    assert [captions.category(each) for each in PAPERS] == [
        "S-Cyc (arXiv 2110.08764)",
        "Cascade shedding (arXiv 2103.10629)",
        "Directional pruning (arXiv 2006.09358)",
        "Claims and runs",
    ]
    assert captions.category(paper) == "Shown (arXiv 2222.22222)"


def test_a_paper_from_outside_has_captions_of_its_own(paper):
    assert captions.title(paper, "figure", "shown_accuracy") == "Accuracy of shown schedules"
    assert captions.alt(paper, "shown_accuracy") == "A point for each schedule. A line is the margin."
    text = "Mean test accuracy with 95 % t intervals over seeds.\n\nSource: table shown_accuracy."
    assert captions.caption(paper, "figure", "shown_accuracy") == text
    assert captions.path(paper, "figure", "shown_accuracy").is_relative_to(paper.folder)


def test_a_name_without_a_caption_is_an_error_that_names_the_file(paper):
    with pytest.raises(KeyError, match=r"figures/no_such\.rst is missing"):
        captions.caption(paper, "figure", "no_such")
    with pytest.raises(KeyError, match="no caption for table 'shown_accuracy'"):
        captions.path(None, "table", "shown_accuracy")


def test_captions_are_package_data(request):
    project = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())
    package = Path(prunebench.__file__).parent
    shipped = {
        file
        for pattern in project["tool"]["setuptools"]["package-data"]["prunebench"]
        for file in package.glob(pattern)
    }
    assert {captions.path(*each) for each in ALL} <= shipped
