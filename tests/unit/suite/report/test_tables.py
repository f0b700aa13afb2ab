"""Tables as files: declared columns in their order, with the scale, as CSV and LaTeX."""

import pandas as pd
import pytest

from prunebench.suite.report.tables import write_table, write_tables

ROWS = [
    {"schedule": "ours_&", "n": 3, "difference": 0.02, "difference_low": 0.01, "difference_high": 0.03},
    {"schedule": "theirs", "n": 3, "difference": 0.0, "difference_low": -0.01, "difference_high": 0.01},
]


def test_every_table_of_a_paper_is_written(paper, tmp_path):
    write_tables(paper, ROWS, "small", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name for table in paper.tables for name in table.files}
    lines = (tmp_path / "shown_accuracy.csv").read_text().splitlines()
    assert lines[:2] == ["schedule,n,difference,difference_low,difference_high,scale", "ours_&,3,0.02,0.01,0.03,small"]
    text = (tmp_path / "shown_accuracy.tex").read_text()
    assert text.startswith("% shown_accuracy (small). Needs booktabs.\n")
    assert "Differences in accuracy of schedules (small)." in text
    assert "ours\\_\\& & 3 \\\\" in text
    assert "A note." in text


def test_columns_stand_as_they_are_declared_whatever_their_order(paper, tmp_path):
    write_table(paper.tables[0], pd.DataFrame(ROWS)[["n", *ROWS[0].keys() - {"n"}]], "small", tmp_path, paper)
    assert (tmp_path / "shown_accuracy.csv").read_text().startswith("schedule,n,difference,")


def test_a_table_that_no_preset_scales_has_a_label_of_its_own(paper, tmp_path):
    write_tables(paper, ROWS, "small", tmp_path)
    assert (tmp_path / "shown_published.csv").read_text() == "schedule,scale\nours,as published\n"


def test_a_table_without_rows_has_a_header(paper, tmp_path):
    write_tables(paper, [], "small", tmp_path)
    assert (tmp_path / "shown_curve.csv").read_text() == "schedule,share,scale\n"
    assert (tmp_path / "shown_accuracy.csv").read_text().count("\n") == 1
    text = (tmp_path / "shown_accuracy.tex").read_text()
    assert "(no rows)" in text
    assert "A note." not in text


@pytest.mark.parametrize(
    "rows",
    [
        [{**row, "extra": 1} for row in ROWS],
        [{name: value for name, value in row.items() if name != "n"} for row in ROWS],
        [{**{name: value for name, value in row.items() if name != "n"}, "extra": 1} for row in ROWS],
    ],
    ids=["made but not declared", "declared but not made", "both"],
)
def test_declared_and_made_columns_agree(paper, tmp_path, rows):
    odd = ", ".join(sorted({*rows[0]} ^ {column.name for column in paper.tables[0].columns}))
    with pytest.raises(ValueError, match=f"table shown_accuracy: declared and made columns differ in {odd}"):
        write_tables(paper, rows, "small", tmp_path)
    assert not list(tmp_path.iterdir())
