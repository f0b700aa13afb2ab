"""Captions: every figure and table has one, it is valid reST without markup, and it says what a reader needs."""

import re
import tomllib
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from prunebench.suite.registry import papers
from prunebench.suite.report import captions

PAPERS = papers()
WANTED = {
    None: {"figure": {"calibration_power"}, "table": {"calibration", "claims", "report", "runs"}},
    **{
        key: {"figure": {f.name for f in paper.figures}, "table": {t.name for t in paper.tables}}
        for key, paper in PAPERS.items()
    },
}
ALL = [(key, kind, name) for key, kinds in WANTED.items() for kind, names in kinds.items() for name in sorted(names)]
FIGURES = [(key, name) for key, kind, name in ALL if kind == "figure"]


def paper_of(key):
    return PAPERS[key] if key else None


@pytest.mark.parametrize("key", WANTED)
def test_no_caption_is_left_over(key):
    for kind, names in WANTED[key].items():
        folder = captions.path(paper_of(key), kind, next(iter(names))).parent
        assert {path.stem for path in folder.iterdir()} == names


@pytest.mark.parametrize(("key", "kind", "name"), ALL)
def test_a_caption_is_rest_without_markup(key, kind, name):
    """docutils reads the same plain text that the page and LaTeX show, and has nothing to complain of."""
    text = captions.path(paper_of(key), kind, name).read_text(encoding="utf-8")
    tree = publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2, "warning_stream": False})
    shown = [node for node in tree.children if not isinstance(node, nodes.comment)]
    assert all(isinstance(node, nodes.paragraph) and len(node.children) == 1 for node in shown)
    assert [" ".join(node.astext().split()) for node in shown] == captions.caption(paper_of(key), kind, name).split(
        "\n\n"
    )
    # Snakemake renders captions as Jinja templates before docutils reads them.
    assert not re.search(r"\{\{|\{%|\{#", text)
    assert max(len(line) for line in text.splitlines()) <= 120


@pytest.mark.parametrize(("key", "kind", "name"), ALL)
def test_a_caption_says_what_is_shown_with_which_intervals_and_from_where(key, kind, name):
    text = captions.caption(paper_of(key), kind, name)
    assert text.endswith(".")
    assert len(text) > 250
    # LaTeX writes it into comments that authors take over: characters that any LaTeX knows.
    assert (text + captions.title(paper_of(key), kind, name)).isascii()
    if name != "directional_published":
        assert "Source: " in text or "Computed from the configuration" in text
    assert re.search(r"interval|standard deviations|pooled|no seeds|no means", text), "says nothing of intervals"
    assert re.search(r"\bseeds?\b", text) or name == "directional_published"


@pytest.mark.parametrize(("key", "kind", "name"), ALL)
def test_titles_and_labels(key, kind, name):
    title = captions.title(paper_of(key), kind, name)
    assert 10 < len(title) < 70
    assert not title.endswith(".")
    assert captions.labels(paper_of(key), kind, name) == {"shows": title, "kind": kind}
    assert title not in captions.caption(paper_of(key), kind, name).split("\n\n")


@pytest.mark.parametrize(("key", "name"), FIGURES)
def test_a_figure_has_alternative_text_of_a_sentence_or_two(key, name):
    alt = captions.alt(paper_of(key), name)
    assert alt.endswith(".")
    assert 60 < len(alt) < 320
    assert alt not in captions.caption(paper_of(key), "figure", name)


def test_titles_tell_figures_apart_and_tables_too():
    for wanted in ("figure", "table"):
        titles = [captions.title(paper_of(key), kind, name) for key, kind, name in ALL if kind == wanted]
        assert len(set(titles)) == len(titles)


def test_a_published_table_says_so_with_its_mark():
    for kind, name in (("table", "directional_published"), ("figure", "directional_accuracy")):
        assert "not measured here" in captions.caption(PAPERS["directional"], kind, name)
        assert "[authors' data]" in captions.caption(PAPERS["directional"], kind, name)


def test_categories_are_the_papers():
    assert [captions.category(paper) for paper in (*PAPERS.values(), None)] == [
        "S-Cyc (arXiv 2110.08764)",
        "Cascade shedding (arXiv 2103.10629)",
        "Directional pruning (arXiv 2006.09358)",
        "Claims and runs",
    ]


def test_a_name_without_a_caption_is_an_error_that_names_the_file():
    with pytest.raises(KeyError, match=r"figures/no_such\.rst is missing"):
        captions.caption(None, "figure", "no_such")


def test_captions_are_package_data():
    project = Path(__file__).parents[4] / "pyproject.toml"
    patterns = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]["prunebench"]
    package = Path(captions.__file__).parents[2]
    shipped = {file for pattern in patterns for file in package.glob(pattern)}
    assert {captions.path(paper_of(key), kind, name) for key, kind, name in ALL} <= shipped
