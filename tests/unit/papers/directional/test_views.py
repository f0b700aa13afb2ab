"""The study's tables as files: tidy CSV, and LaTeX that says what their numbers are."""

import math

import pandas as pd
import pytest

from prunebench.papers.directional import PAPER
from prunebench.papers.directional.tables import TABLES
from prunebench.suite.report.tables import write_tables

LATEX = [table.name for table in TABLES if table.latex]
"""Tables that readers get."""
MARKED = {
    "directional_accuracy": {"minus SGD, points", "gRDA minus it, points"},
    "directional_sensitivity": {"minus SGD, points", "sparsity minus reference, points"},
    "directional_released": {"minus SGD, points", "minus scheduled, points", "sparsity minus scheduled, points"},
    "directional_overhead": {"time / SGD", "time / SGD with momentum", "time / authors' gRDA"},
    "directional_connectivity": {"minus SGD to SGD, nats"},
    "directional_curvature": {"share / chance", "share / control's", "share / first epoch's"},
    "directional_norms": {"end / start"},
    "directional_toy": {"slope of log error"},
}
"""Columns that may hold a mark: differences and ratios, but no barriers, which cannot be below 0."""


def of_reader(text):
    """What a LaTeX cell says."""
    return text.replace(r"\_", "_").replace(r"\%", "%")


@pytest.fixture(scope="module")
def write(made, tmp_path_factory):
    """Writes the study's tables, with these frames in the place of theirs; gives their folder."""
    data = made.data()

    def write(scale="x", **frames):
        from prunebench.suite.report.tables import write_table

        out = tmp_path_factory.mktemp("tables")
        if not frames:
            write_tables(PAPER, data, scale, out)
        for name, frame in frames.items():
            write_table(PAPER.table(name), frame, scale, out, PAPER)
        return out

    return write


@pytest.fixture(scope="module")
def written(write):
    return write()


@pytest.fixture
def lines(written, parse_latex):
    """The rows of a table in LaTeX, as cells by their header."""

    def lines(name):
        header, rows = parse_latex((written / f"directional_{name}.tex").read_text())
        return [dict(zip(map(of_reader, header), map(of_reader, row), strict=True)) for row in rows]

    return lines


# --- Files


def test_every_table_of_this_study_is_written_and_reads_back(written, all_tables):
    assert {path.name for path in written.iterdir()} == {file for table in TABLES for file in table.files}
    for table in TABLES:
        frame = all_tables[table.name.removeprefix("directional_")]
        back = pd.read_csv(written / f"{table.name}.csv")
        assert list(back.columns) == [*(column.name for column in table.columns), "scale"]
        assert set(back["scale"]) == {table.scale or "x"}
        for name in back.columns.intersection(["matched_to", "point", "schedule"]):
            back[name] = back[name].fillna("")
        expected = frame.reset_index(drop=True)[[column.name for column in table.columns]]
        pd.testing.assert_frame_equal(back.drop(columns="scale"), expected, check_dtype=False)


@pytest.mark.parametrize("name", LATEX)
def test_latex_is_a_booktabs_table_with_a_line_per_row(written, all_tables, parse_latex, name):
    header, rows = parse_latex((written / f"{name}.tex").read_text())
    assert len(set(header)) == len(header)
    assert len(rows) == len(all_tables[name.removeprefix("directional_")])


def test_a_part_that_is_left_out_is_written_as_a_table_without_rows(study, tmp_path):
    write_tables(PAPER, study.runs(parts=[], seeds=[0]).data(), "x", tmp_path)
    for name in ("directional_sensitivity", "directional_toy", "directional_connectivity"):
        assert "no rows" in (tmp_path / f"{name}.tex").read_text()
        back = pd.read_csv(tmp_path / f"{name}.csv")
        assert len(back) == 0
        assert list(back.columns) == [*(column.name for column in PAPER.table(name).columns), "scale"]


def test_names_and_scale_with_special_characters_stay_text_also_of_one_seed(study, tmp_path, parse_latex):
    write_tables(PAPER, study.runs(seeds=[0]).data(), "10 % of & {data}", tmp_path)
    for name in LATEX:
        text = (tmp_path / f"{name}.tex").read_text()
        assert (PAPER.table(name).scale or "10 % of & {data}") in text.splitlines()[0]
        parse_latex(text)
    for name in ("accuracy", "sensitivity", "connectivity", "curvature", "norms"):
        assert r"b\_0.5\_x" in (tmp_path / f"directional_{name}.tex").read_text(), name


# --- Numbers


def points(row, name, scale=100, decimals=1, null=None):
    """A mean with its interval, marked where that excludes `null`."""
    mean, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    text = f"{scale * mean:.{decimals}f} [{scale * low:.{decimals}f}, {scale * high:.{decimals}f}]"
    return text.replace("-", "$-$") + (null is not None and not low <= null <= high) * "$^{*}$"


def digits(row, name, null=None):
    """The same with three significant digits."""
    text = f"{row[name]:.3g} [{row[f'{name}_low']:.3g}, {row[f'{name}_high']:.3g}]".replace("-", "$-$")
    assert "e" not in text
    return text + (null is not None and not row[f"{name}_low"] <= null <= row[f"{name}_high"]) * "$^{*}$"


def test_latex_shows_accuracy_in_percent_differences_in_points_and_the_best_in_bold(all_tables, lines):
    for (_, row), line in zip(all_tables["accuracy"].iterrows(), lines("accuracy"), strict=True):
        text = rf"{100 * row['test_accuracy']:.1f} $\pm$ {100 * row['std']:.1f}"
        assert line["test accuracy, %"] == (rf"\textbf{{{text}}}" if row["best"] else text)
        assert (line["task"], line["method"]) == (row["task"], row["method"])
        assert (line["gRDA"], line["epochs"]) == (row["matched_to"] or "none", str(row["epochs"]))
        assert line["sparsity, %"] == points(row, "sparsity")
        assert line["l1 penalty"] == ("none" if math.isnan(row["strength"]) else f"{row['strength']:g}")
        assert line["minus SGD, points"] == points(row, "difference", null=0)
        none = math.isnan(row["grda_difference"])
        assert line["gRDA minus it, points"] == ("n/a" if none else points(row, "grda_difference", null=0))


@pytest.mark.parametrize(
    ("name", "where", "told"),
    [
        (
            "sensitivity",
            {"task": "net_a", "mu_shift": 0.05},
            {
                "c": "0.02",
                "mu": "0.65",
                "c / reference": "1",
                "mu minus reference": "0.05",
                "sparsity minus reference, points": lambda row: points(row, "sparsity_change", null=0),
            },
        ),
        (
            "overhead",
            {"network": "net_a", "measure": "optimizer step", "optimizer": "grda"},
            {
                "parameters": "400",
                "blocks": "3",
                "ms": lambda row: f"{row['milliseconds']:.3g}",
                "state / parameters": "1.00",
                "peak / parameters": "0.25",
                "time / SGD": lambda row: points(row, "ratio_sgd", 1, 2, null=1),
                "time / SGD with momentum": lambda row: points(row, "ratio_momentum", 1, 2, null=1),
                "time / authors' gRDA": lambda row: points(row, "ratio_reference", 1, 2, null=1),
            },
        ),
        (
            "connectivity",
            {"task": "b_0.5_x", "pair": "grda:sgd", "path": "curve"},
            {
                "n": "3",
                "barrier, nats": lambda row: digits(row, "barrier"),
                "minus SGD to SGD, nats": lambda row: digits(row, "control_difference", null=0),
                "train error rise, points": lambda row: points(row, "error_rise", 100, 2),
                "above the line between its ends, nats": lambda row: digits(row, "above_line"),
                "higher end, nats": lambda row: f"{row['end_loss']:.3g}",
                "lower end, nats": lambda row: f"{row['lower_end_loss']:.3g}",
                "test error, most, %": lambda row: points(row, "test_error_most"),
                "test error, end, %": lambda row: points(row, "test_error_end"),
                "length / distance": lambda row: points(row, "length_ratio", 1, 2),
                "barrier with stale statistics, nats": lambda row: digits(row, "stale_barrier"),
            },
        ),
        (
            "connectivity",
            {"task": "b_0.5_x", "pair": "sgd:sgd_init", "path": "line"},
            {"minus SGD to SGD, nats": "n/a", "length / distance": "n/a"},
        ),
        (
            "curvature",
            {"task": "net_a", "epoch": 4, "pair": "grda:sgd", "k": 4},
            {
                "epoch": "4",
                "k": "4",
                "share": lambda row: digits(row, "share"),
                "chance": "0.1",
                "share / chance": lambda row: digits(row, "over_chance", null=1),
                "share / control's": lambda row: digits(row, "control_ratio", null=1),
                "share / first epoch's": lambda row: digits(row, "early_ratio", null=1),
                "quadratic term, nats": lambda row: digits(row, "quadratic"),
                "displacement / weights": lambda row: f"{row['norm_ratio']:.3g}",
                "weights' own share": lambda row: f"{row['own_share']:.3g}",
                "top eigenvalue": lambda row: f"{row['top_eigenvalue']:.3g}",
            },
        ),
        (
            "norms",
            {"task": "net_a", "method": "sgd"},
            {
                "gRDA": "none",
                "floor": "0.05",
                "start": lambda row: digits(row, "start"),
                "end": lambda row: digits(row, "end"),
                "end / start": lambda row: points(row, "ratio", 1, 2, null=1),
            },
        ),
        (
            "toy",
            {"problem": "least_squares", "fixed": "c", "gamma": 0.03},
            {
                "d": "40",
                "flat": "21",
                "gamma": "0.03",
                "updates": "1667",
                "fixed": "c",
                "lambda": lambda row: f"{row['lam']:.3g}",
                "error": lambda row: digits(row, "error"),
                "error of soft-thresholding": lambda row: digits(row, "soft_error"),
                "cosine": lambda row: points(row, "cosine", 1, 3),
                "slope of log error": lambda row: points(row, "slope", 1, 2, null=0),
                "sparsity, %": lambda row: points(row, "sparsity"),
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_latex_shows_the_other_tables_numbers(all_tables, lines, only, name, where, told):
    row = only(all_tables[name].reset_index(drop=True), **where)
    line = lines(name)[row.name]
    for column, expected in told.items():
        assert line[column] == (expected(row) if callable(expected) else expected), column


# --- Marks


@pytest.mark.parametrize(
    ("low", "high", "marked"), [(2.0, 3.0, MARKED), (math.nan, math.nan, {name: set() for name in MARKED})]
)
@pytest.mark.parametrize("name", LATEX)
def test_differences_and_ratios_alone_are_marked_where_intervals_exclude_no_effect(
    all_tables, write, marked_columns, name, low, high, marked
):
    """2 to 3 excludes both 0 and 1; without intervals there are no marks."""
    frame = all_tables[name.removeprefix("directional_")]
    ends = {column: low if column.endswith("_low") else high for column in frame if column.endswith(("_low", "_high"))}
    text = (write(**{name: frame.assign(**ends)}) / f"{name}.tex").read_text()
    assert marked_columns(text) == marked[name]
    assert "nan" not in text


@pytest.mark.parametrize(
    ("name", "column", "itself"),
    [
        ("accuracy", "minus SGD, points", {"method": "sgd"}),
        ("sensitivity", "sparsity minus reference, points", {"c / reference": "1", "mu minus reference": "0"}),
        ("overhead", "time / SGD", {"optimizer": "sgd"}),
        ("curvature", "share / first epoch's", {"epoch": "1"}),
    ],
)
def test_what_is_compared_with_itself_is_not_marked(lines, name, column, itself):
    own = [line for line in lines(name) if itself.items() <= line.items()]
    assert own
    assert not any("$^{*}$" in line[column] for line in own)


def test_accuracies_say_how_many_seeds_diverged(all_tables, write, parse_latex):
    out = write(directional_accuracy=all_tables["accuracy"].assign(diverged=2))
    _, rows = parse_latex((out / "directional_accuracy.tex").read_text())
    assert all(any("(2 diverged)" in cell for cell in row) for row in rows)
