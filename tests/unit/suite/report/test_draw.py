"""Figures drawn from tables: whole files, the same bytes, margins of the ledger, and what is not there."""

import pytest

from prunebench.errors import InputError
from prunebench.suite.report.draw import draw_paper
from prunebench.suite.report.style import pretty, wrapped
from prunebench.suite.report.tables import write_tables

ROWS = [{"schedule": "NA", "n": 3, "difference": 0.02, "difference_low": 0.01, "difference_high": 0.03}]


@pytest.fixture
def tables(paper, tmp_path):
    """A folder with the paper's tables; there are no curves."""
    write_tables(paper, ROWS, "scaled-down: <toys>", tmp_path / "tables")
    return tmp_path / "tables"


def test_every_figure_is_drawn_as_svg_and_png(paper, tables, tmp_path):
    draw_paper(paper, paper.margins(), tables, tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {name for figure in paper.figures for name in figure.files}


def test_what_a_figure_marks_are_the_margins_that_it_is_given(paper, tables, tmp_path, text_of):
    draw_paper(paper, paper.margins(s1_gain=0.07), tables, tmp_path)
    assert "margin 0.07" in text_of(tmp_path / "shown_accuracy.svg")


def test_every_figure_carries_the_scale_of_the_runs(paper, tables, tmp_path, text_of):
    """And not that of a table which no preset scales."""
    draw_paper(paper, paper.margins(), tables, tmp_path)
    for figure in paper.figures:
        assert "scaled-down: <toys>" in text_of(tmp_path / f"{figure.name}.svg")


def test_a_name_that_reads_as_missing_elsewhere_stays_text(paper, tables, tmp_path, text_of):
    draw_paper(paper, paper.margins(), tables, tmp_path)
    assert "NA" in text_of(tmp_path / "shown_accuracy.svg").split()


def test_a_figure_whose_table_has_no_rows_says_so(paper, tables, tmp_path, text_of):
    draw_paper(paper, paper.margins(), tables, tmp_path)
    assert "not run in this preset" in text_of(tmp_path / "shown_curve.svg")
    assert "Curves of schedules" in text_of(tmp_path / "shown_curve.svg")
    assert "not run" not in text_of(tmp_path / "shown_accuracy.svg")


def test_same_tables_same_bytes(paper, tables, tmp_path):
    for out in ("one", "two"):
        draw_paper(paper, paper.margins(), tables, tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read .*shown_accuracy.csv"),
        (b"", "is not a table"),
        (b"\xff\xfe", "is UTF-16"),
        (b"schedule,n,difference,scale\nours,3,0.1,x\n", "column difference_low is missing; found schedule, n, "),
    ],
)
def test_a_bad_table_is_named_and_nothing_is_drawn(paper, tables, tmp_path, content, words):
    path = tables / "shown_accuracy.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        draw_paper(paper, paper.margins(), tables, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_as_readers_write_them():
    assert [pretty(name) for name in ("s_cyc", "fine_tune", "lamp", "my_own_schedule")] == [
        *("S-Cyc", "fine-tuning", "LAMP", "my own schedule"),
    ]


def test_lines_fit_and_own_line_ends_stay():
    lines = wrapped("a long line of many words\nand another", 1.0).split("\n")
    assert lines[-1] == "and another"
    assert max(map(len, lines)) <= 72 / (0.57 * 8)


def test_neither_an_equation_nor_a_percentage_is_broken():
    assert wrapped("many seeds, n = 9", 1.0) == "many seeds,\nn = 9"
    assert wrapped("it reaches 80.1 %", 1.0) == "it reaches\n80.1 %"
