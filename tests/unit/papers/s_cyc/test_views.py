"""The study's tables as files: tidy CSV, and LaTeX that says what the numbers by hand are."""

import csv
import math

import numpy as np
import pandas as pd
import pytest

from prunebench.papers.s_cyc.tables import TABLES

LATEX = [table.name for table in TABLES if table.latex]
"""Tables that readers get."""
MARKED = {
    "s_cyc_accuracy": {r"0.0 \%", r"50.0 \%", r"75.0 \%"},
    "s_cyc_oracle": {"oracle minus schedule, points"},
    "s_cyc_cost": {"time / cyclical"},
    "s_cyc_timing": {"time / reference"},
    "s_cyc_released": {r"0.0 \%", r"50.0 \%", r"75.0 \%"},
    "s_cyc_gradients": {r"0.0 \%", r"50.0 \%", r"75.0 \%"},
}
"""Columns that may hold a mark: differences and ratios."""
ENDS = ("_low", "_high")
"""How the columns of an interval's ends are called."""


@pytest.fixture
def write(tables, tmp_path, write_frames):
    """Writes the tables with these frames in the place of theirs: (table name) -> its LaTeX."""

    def write(scale="x", **frames):
        out = write_frames(tables | frames, tmp_path / "tables", scale)
        return lambda name: (out / f"{name}.tex").read_text()

    return write


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory, write_frames):
    return write_frames(tables, tmp_path_factory.mktemp("tables"))


@pytest.mark.parametrize("name", LATEX)
def test_latex_is_a_booktabs_table_with_equal_rows(written, name, parse_latex):
    header, rows = parse_latex((written / f"{name}.tex").read_text())
    assert rows
    assert len(set(header)) == len(header)


def test_every_table_is_written_with_its_scale_and_reads_back(written, tables):
    assert {path.name for path in written.iterdir()} == {file for table in TABLES for file in table.files}
    for name, frame in tables.items():
        back = pd.read_csv(written / f"{name}.csv")
        assert set(back.columns) == {*frame.columns, "scale"}
        assert set(back["scale"]) == {"x"}
        assert len(back) == len(frame)
    back = pd.read_csv(written / "s_cyc_accuracy.csv")
    assert np.array_equal(back["test_accuracy"], tables["s_cyc_accuracy"]["test_accuracy"])


def test_tables_without_rows_are_written(tables, write, tmp_path):
    latex = write(**{name: frame[:0] for name, frame in tables.items()})
    for table in TABLES:
        with (tmp_path / "tables" / f"{table.name}.csv").open() as file:
            assert list(csv.DictReader(file)) == []
    assert all("no rows" in latex(name) for name in LATEX)


def test_a_scale_with_a_percent_sign_stays_in_its_comment(write, parse_latex):
    scale = "10 % of & {data}"
    latex = write(scale)
    for name in LATEX:
        assert scale in latex(name).splitlines()[0]
        parse_latex(latex(name))


# --- Numbers


def test_accuracy_table_shows_percent_and_bolds_the_best(written, parse_latex):
    header, rows = parse_latex((written / "s_cyc_accuracy.tex").read_text())
    assert header == ["task", "criterion", "schedule", "n", r"0.0 \%", r"50.0 \%", r"75.0 \%"]
    assert [row[2] for row in rows] == ["cyclical", "constant", "s\\_cyc", "oracle"]
    assert rows[0][:5] == ["net\\_a", "global\\_magnitude", "cyclical", "3", r"\textbf{92.0 $\pm$ 2.0}"]
    assert rows[2][4:] == [r"82.3 $\pm$ 3.2", r"81.3 $\pm$ 3.2", r"80.3 $\pm$ 3.2"]
    assert [sum("textbf" in row[i] for row in rows) for i in (4, 5, 6)] == [1, 1, 1]


def test_oracle_table_shows_what_was_near_best_and_the_difference(written, parse_latex):
    _, rows = parse_latex((written / "s_cyc_oracle.tex").read_text())
    assert rows[2][:5] == [r"75.0 \%", "0.8", "0.4 to 0.8", "0.3", "yes"]
    assert [row[5] for row in rows] == ["1.7 [$-$4.6, 7.9]", "2.7 [$-$3.6, 8.9]", "3.7 [$-$2.6, 9.9]"]
    assert rows[0][4] == "yes"


def test_cost_table_shows_a_chain_s_cost_and_its_ratio_to_the_reference(written, parse_latex):
    header, rows = parse_latex((written / "s_cyc_cost.tex").read_text())
    by_schedule = {row[2]: dict(zip(header, row, strict=True)) for row in rows}
    oracle = by_schedule["oracle"]
    assert (oracle["updates"], oracle["seconds"], oracle["peak memory, MB"]) == ("240", r"6.0 $\pm$ 0.0", "300")
    assert oracle["TFLOPs"] == r"$1.2 \cdot 10^{-8}$"
    assert {name: row["time / cyclical"] for name, row in by_schedule.items() if name != "oracle"} == {
        "cyclical": "1.00 [1.00, 1.00]",
        "s\\_cyc": "1.50 [1.50, 1.50]$^{*}$",
        "constant": "1.17 [$-$0.73, 3.06]",
    }


def test_gradient_table_shows_ratios_to_the_dense_network(written, parse_latex):
    _, rows = parse_latex((written / "s_cyc_gradients.tex").read_text())
    matched = next(row for row in rows if "matched\\_loss" in row)
    # cycle 1: seeds at exp(-0.5, -0.4, -0.3), so a half width of 0.1 t / sqrt 3 on the log
    low, high = (math.exp(-0.4 + side * 0.1 * 4.302653 / math.sqrt(3)) for side in (-1, 1))
    assert high < 1
    assert matched[-3:-1] == ["1.00 [1.00, 1.00]", f"{math.exp(-0.4):.2f} [{low:.2f}, {high:.2f}]$^{{*}}$"]


def test_gradient_table_shows_every_measured_schedule(tables, write, parse_latex):
    frame = tables["s_cyc_gradients"]
    other = frame.assign(schedule="s_cyc", std_ratio=7.77, std_ratio_low=7.77, std_ratio_high=7.77)
    text = write(s_cyc_gradients=pd.concat([frame, other]))("s_cyc_gradients")
    assert len(parse_latex(text)[1]) == 4
    assert "7.77" in text


def test_table_of_defects_shows_points_by_sparsity_and_gaps_where_nothing_is_pruned(tables, write, parse_latex, only):
    frame = tables["s_cyc_released"].assign(effect=0.01234, effect_low=-0.001, effect_high=0.0257)
    header, rows = parse_latex(write(s_cyc_released=frame)("s_cyc_released"))
    assert header == ["task", "criterion", "defect", r"0.0 \%", r"50.0 \%", r"75.0 \%"]
    shown = {row[2]: row[3:] for row in rows}
    assert shown["best\\_epoch"] == ["1.23 [$-$0.10, 2.57]"] * 3
    assert shown["repeated\\_scores"] == ["n/a", *["1.23 [$-$0.10, 2.57]"] * 2]
    assert len(rows) == 8


def test_accuracies_say_how_many_seeds_diverged(tables, write, parse_latex):
    latex = write(s_cyc_accuracy=tables["s_cyc_accuracy"].assign(diverged=2))
    assert parse_latex(latex("s_cyc_accuracy"))[1][0][4] == r"\textbf{92.0 $\pm$ 2.0} (2 diverged)"


# --- Columns by cycle


def test_one_column_per_cycle_though_sparsities_differ_in_rounding(by_hand, write, parse_latex):
    """Exact counts differ between networks and scopes, and a diverged chain records the planned sparsity."""

    def a_little_less(job, rows):
        less = 0.0006 * (job.axes["schedule"] == "constant")
        return [row | {"sparsity": row["sparsity"] - less} for row in rows]

    latex = write(**by_hand.tables(cycles=a_little_less))
    header, rows = parse_latex(latex("s_cyc_accuracy"))
    assert len(header) == 4 + 3
    assert not any("n/a" in row for row in rows)


def test_cycles_that_print_the_same_sparsity_keep_their_own_columns(by_hand, write):
    def nearly_alike(job, rows):
        return [row | {"sparsity": sparsity} for row, sparsity in zip(rows, (0.0, 0.9996, 0.9998), strict=True)]

    frames = by_hand.tables(by_hand.content(oracle=False), cycles=nearly_alike)
    text = write(**frames)("s_cyc_accuracy")
    assert all(number in text for number in (r"82.3 $\pm$ 3.2", r"81.3 $\pm$ 3.2", r"80.3 $\pm$ 3.2"))


# --- Marks


def test_accuracies_are_marked_where_they_differ_from_the_best_benchmark(tables, write, parse_latex, marked_columns):
    """Above or below it; not benchmarks, not the best one itself, and not where there is no interval."""
    frame = tables["s_cyc_accuracy"]
    first = frame["cycle"] == 0
    ends = {"cyclical": (0.0, 0.0), "constant": (-0.3, -0.1), "s_cyc": (0.001, 0.2), "oracle": (-0.2, -0.001)}
    low, high = (frame["schedule"].map(lambda name, end=end: ends[name][end]) for end in (0, 1))
    frame = frame.assign(
        difference_low=low.where(first, -0.1).where(frame["cycle"] < 2),
        difference_high=high.where(first, 0.1).where(frame["cycle"] < 2),
    )
    text = write(s_cyc_accuracy=frame)("s_cyc_accuracy")
    header, rows = parse_latex(text)
    assert marked_columns(text) == {header[4]}
    assert {row[2]: row[4] for row in rows} == {
        "cyclical": r"\textbf{92.0 $\pm$ 2.0}",
        "constant": r"72.0 $\pm$ 2.6",
        "s\\_cyc": r"82.3 $\pm$ 3.2$^{*}$",
        "oracle": r"84.0 $\pm$ 4.0$^{*}$",
    }


@pytest.mark.parametrize(
    ("low", "high", "marked"), [(2.0, 3.0, MARKED), (math.nan, math.nan, {name: set() for name in MARKED})]
)
@pytest.mark.parametrize("name", LATEX)
def test_differences_and_ratios_alone_are_marked_where_intervals_exclude_no_effect(
    tables, write, marked_columns, name, low, high, marked
):
    """2 to 3 excludes both 0 and 1; without intervals there are no marks."""
    ends = {column: low if column.endswith("_low") else high for column in tables[name] if column.endswith(ENDS)}
    text = write(**{name: tables[name].assign(**ends)})(name)
    assert marked_columns(text) == marked[name]
    assert "nan" not in text
