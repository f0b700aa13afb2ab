"""Captions: every figure and table has one, it is valid reST without markup, and it says what a reader needs."""

import re
import tomllib
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from prunebench.report import captions
from prunebench.studies import cascade_names, directional_names, s_cyc_names

STUDIES = (s_cyc_names, cascade_names, directional_names)

WANTED = {
    "figure": {*(name for study in STUDIES for name in study.FIGURES), "calibration_power"},
    "table": {
        *(name for study in STUDIES for name in (*study.TABLES, *study.DATA)),
        *("calibration", "claims", "report", "runs"),
    },
}
ALL = [(kind, name) for kind, wanted in WANTED.items() for name in sorted(wanted)]


@pytest.mark.parametrize("kind", WANTED)
def test_every_figure_and_table_has_a_caption_and_no_caption_is_left_over(kind):
    assert set(captions.names(kind)) == WANTED[kind]
    assert len(captions.names(kind)) == len(WANTED[kind])


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_caption_is_rest_without_markup(kind, name):
    """docutils reads the same plain text that the page and LaTeX show, and has nothing to complain of."""
    text = captions.path(kind, name).read_text(encoding="utf-8")
    tree = publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 2, "warning_stream": False})
    shown = [node for node in tree.children if not isinstance(node, nodes.comment)]
    assert all(isinstance(node, nodes.paragraph) and len(node.children) == 1 for node in shown)
    assert [" ".join(node.astext().split()) for node in shown] == captions.caption(kind, name).split("\n\n")
    # Snakemake renders captions as Jinja templates before docutils reads them.
    assert not re.search(r"\{\{|\{%|\{#", text)
    assert max(len(line) for line in text.splitlines()) <= 120


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_caption_says_what_is_shown_with_which_intervals_and_from_where(kind, name):
    text = captions.caption(kind, name)
    assert text.endswith(".")
    assert len(text) > 250
    # LaTeX writes it into comments that authors take over: characters that any LaTeX knows.
    assert (text + captions.title(kind, name)).isascii()
    if name != "directional_published":
        assert "Source: " in text or "Computed from the configuration" in text
    assert re.search(r"interval|standard deviations|pooled|no seeds|no means", text), "says nothing of intervals"
    assert re.search(r"\bseeds?\b", text) or name == "directional_published"


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_titles_and_labels(kind, name):
    title = captions.title(kind, name)
    assert 10 < len(title) < 70
    assert not title.endswith(".")
    assert captions.labels(kind, name) == {"shows": title, "kind": kind}
    assert title not in captions.caption(kind, name).split("\n\n")


@pytest.mark.parametrize("name", sorted(WANTED["figure"]))
def test_a_figure_has_alternative_text_of_a_sentence_or_two(name):
    alt = captions.alt(name)
    assert alt.endswith(".")
    assert 60 < len(alt) < 320
    assert alt not in captions.caption("figure", name)


def test_titles_tell_figures_apart_and_tables_too():
    for kind in WANTED:
        titles = [captions.title(kind, name) for name in captions.names(kind)]
        assert len(set(titles)) == len(titles)


def test_a_published_table_says_so_with_its_mark():
    for kind, name in (("table", "directional_published"), ("figure", "directional_accuracy")):
        assert "not measured here" in captions.caption(kind, name)
        assert "[authors' data]" in captions.caption(kind, name)


def test_categories_are_the_papers():
    assert captions.category("s_cyc_accuracy") == "S-Cyc (arXiv 2110.08764)"
    assert captions.category("cascade_gmp") == "Cascade weight shedding (arXiv 2103.10629)"
    assert captions.category("directional_toy") == "Directional pruning (arXiv 2006.09358)"
    assert {captions.category(name) for name in ("claims", "runs", "calibration", "calibration_power")} == {
        "Claims and runs"
    }
    for study in STUDIES:
        assert len({captions.category(name) for name in (*study.TABLES, *study.DATA, *study.FIGURES)}) == 1


def test_a_name_without_a_caption_is_an_error_that_names_the_file():
    with pytest.raises(KeyError, match=r"figures/no_such\.rst is missing"):
        captions.caption("figure", "no_such")
    with pytest.raises(KeyError, match=r"table 's_cyc_accuracy/\.\./s_cyc_cost'"):
        captions.path("table", "s_cyc_accuracy/../s_cyc_cost")


def test_paragraphs_and_comments_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    text = ".. title: Some\n   title\n.. alt: What it\n   looks like.\n\nOne\nparagraph.\n\nAnother.\n"
    (tmp_path / "figures" / "made_up.rst").write_text(text, encoding="utf-8")
    monkeypatch.setattr(captions, "_FOLDER", tmp_path)
    for cached in (captions.names, captions._blocks):
        cached.cache_clear()
    try:
        assert captions.title("figure", "made_up") == "Some title"
        assert captions.alt("made_up") == "What it looks like."
        assert captions.caption("figure", "made_up") == "One paragraph.\n\nAnother."
    finally:
        for cached in (captions.names, captions._blocks):
            cached.cache_clear()


def test_captions_are_package_data():
    project = Path(__file__).parents[2] / "pyproject.toml"
    patterns = tomllib.loads(project.read_text())["tool"]["setuptools"]["package-data"]["prunebench"]
    package = Path(captions.__file__).parents[2]
    shipped = {file for pattern in patterns for file in package.glob(pattern)}
    assert {captions.path(kind, name) for kind, name in ALL} <= shipped
