"""Cells of LaTeX tables: numbers, intervals, marks; and the frame around them."""

import math
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from prunebench.suite import columns
from prunebench.suite.notes import MARK, best_of, excludes
from prunebench.suite.paper import Column, Table
from prunebench.suite.registry import papers
from prunebench.suite.report import latex


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        (1.25, ".1f", "1.2"),
        (-1.26, ".1f", "$-$1.3"),
        (-0.04, ".1f", "0.0"),
        (0.0126, ".1%", "1.3"),
        (math.nan, ".1%", "n/a"),
        (math.inf, ".2f", r"$\infty$"),
        (-math.inf, ".1%", r"$-\infty$"),
        (0.012345, ".3g", "0.0123"),
        (-0.5, ".3g", "$-$0.5"),
        (1234567, ".3g", r"$1.23 \cdot 10^{6}$"),
        (-4.5e-7, ".3g", r"$-4.5 \cdot 10^{-7}$"),
        (np.float64(1e-5), ".3g", r"$1 \cdot 10^{-5}$"),
    ],
)
def test_numbers(value, form, expected, check_latex):
    assert latex.number(value, form) == expected
    check_latex(expected)


def frame_of(*ends):
    return pd.DataFrame([{"x": mean, "x_low": low, "x_high": high} for mean, low, high in ends])


@pytest.mark.parametrize(
    ("ends", "null", "marked"),
    [
        ((0.02, 0.01, 0.03), 0, True),
        ((-0.02, -0.03, -0.01), 0, True),
        ((0.02, -0.01, 0.05), 0, False),
        ((0.0, 0.0, 0.0), 0, False),  # the reference itself
        ((0.02, 0.0, 0.04), 0, False),  # at the value is not beyond it
        ((0.02, 1e-17, 0.04), 0, False),  # nor is a rounding error
        ((0.02, math.nan, math.nan), 0, False),
        ((math.nan, math.nan, math.nan), 0, False),
        ((1.0, 1.0, 1.0), 1, False),
        ((0.9, 0.8, 0.99), 1, True),
        ((0.9, 0.8, 1.01), 1, False),
        ((0.9, 0.8, 0.99), math.nan, False),
        ((1e-4, 5e-5, 2e-4), 0, True),  # though it prints as 0.0 [0.0, 0.0]
    ],
)
def test_an_interval_is_marked_where_it_excludes_the_value_of_no_effect(ends, null, marked, check_latex):
    (text,) = latex.intervals(frame_of(ends), "x", null=null)
    assert text.endswith(MARK) == marked
    assert latex.sure_of(frame_of(ends), "x", null) == [marked]
    check_latex(text)


def test_intervals_show_the_mean_alone_where_there_is_none():
    frame = frame_of((0.0123, math.nan, math.nan), (-0.5, -1, 0.25))
    assert latex.intervals(frame, "x") == ["1.2", "$-$50.0 [$-$100.0, 25.0]"]
    assert latex.intervals(frame, "x", ".3g") == ["0.0123", "$-$0.5 [$-$1, 0.25]"]


@pytest.mark.parametrize(
    ("column", "rows", "header", "expected"),
    [
        (Column("lr_policy", "", "name"), {"lr_policy": ["a_b", ""]}, "lr policy", [r"a\_b", "n/a"]),
        (Column("x", "", "name", absent="none"), {"x": ["a", ""]}, "x", ["a", "none"]),
        (Column("n", ""), {"n": [75002, 3]}, "n", ["75002", "3"]),
        (Column("x", "", "", "most x"), {"x": [0.012345, math.nan]}, "most x", ["0.0123", "n/a"]),
        (Column("x", "", absent="none", form=".2f"), {"x": [2.0, math.nan]}, "x", ["2.00", "none"]),
        (Column("x", "", form=".0f", per=1e3), {"x": [2000.0, 3400.0]}, "x", ["2", "3"]),
        (Column("x", "", form=".1f", per=1e3), {"x": [2000, 3400]}, "x", ["2.0", "3.4"]),
        (Column("x", "", "share"), {"x": [0.5, 0.0123]}, "x, %", ["50.0", "1.2"]),
        (Column("x", "", "share", form=".3g"), {"x": [0.5, 0.0123]}, "x", ["0.5", "0.0123"]),
        (Column("x", "", "points", form=".2%"), {"x": [0.5, 0.0123]}, "x, points", ["50.00", "1.23"]),
        (Column("x", "", "nats"), {"x": [1.2345, 2.0]}, "x, nats", ["1.23", "2"]),
        (Column("x", "", "seeds"), {"x": [1, 0], "n": [3, 2]}, "x", ["1 of 3", "0 of 2"]),
        (Column("x", "", "", form=".1f"), {"x": [1.0, 2.0], "x_std": [0.5, math.nan]}, "x", [r"1.0 $\pm$ 0.5", "2.0"]),
    ],
)
def test_a_column_s_cells_follow_from_its_declaration(column, rows, header, expected):
    view = latex.view(Table("toy", (column,), ""), [column.name], pd.DataFrame(rows))
    assert view.to_dict("list") == {header: expected}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (columns.with_interval("x", "", "points"), f"200.0 [150.0, 250.0]{MARK}"),
        (columns.with_interval("x", "", "ratio"), f"2.00 [1.50, 2.50]{MARK}"),
        (columns.with_interval("x", "", "ratio", null=math.nan), "2.00 [1.50, 2.50]"),
        (columns.with_interval("x", "", "ratio", null=2), "2.00 [1.50, 2.50]"),
        (columns.with_interval("x", "", "nats"), "2 [1.5, 2.5]"),
        (columns.with_interval("x", "", "nats", null=0), f"2 [1.5, 2.5]{MARK}"),
        (columns.with_interval("x", "", "share"), "200.0 [150.0, 250.0]"),
    ],
)
def test_differences_and_ratios_have_intervals_and_marks(column, expected):
    view = latex.view(Table("toy", column, ""), ["x"], frame_of((2.0, 1.5, 2.5)))
    assert view.to_numpy().tolist() == [[expected]]


def test_the_best_of_the_declared_groups_is_bold_and_columns_stand_in_the_order_of_readers():
    declared = Table("toy", (columns.TASK, *columns.ACCURACY), "", best=("task",))
    frame = pd.DataFrame({"task": list("aabb"), "test_accuracy": [0.5, 0.6, 0.7, 0.7 - 1e-14]})
    view = latex.view(declared, ["test_accuracy", "task"], frame.assign(std=math.nan, diverged=0))
    assert view["test accuracy, %"].tolist() == ["50.0", r"\textbf{60.0}", r"\textbf{70.0}", r"\textbf{70.0}"]
    assert [*view] == ["test accuracy, %", "task"]


def test_accuracies_have_the_best_in_bold_and_name_diverged_seeds():
    rows = [
        {"test_accuracy": 0.5, "std": 0.1, "best": True, "diverged": 0},
        {"test_accuracy": 0.4, "std": math.nan, "best": False, "diverged": 2},
    ]
    texts = latex.accuracies(pd.DataFrame(rows), [False, True])
    assert texts == [r"\textbf{50.0 $\pm$ 10.0}", f"40.0{MARK} (2 diverged)"]


def test_a_pivot_has_a_column_per_cycle_named_by_its_sparsity():
    cells = pd.DataFrame(
        [
            {"task": task, "cycle": cycle, "sparsity": sparsity, "cell": f"{task}{cycle}"}
            for task, cycle, sparsity in (("b_1", 2, 0.75), ("b_1", 1, 0.5), ("a", 1, 0.5002))
        ]
    )
    wide = latex.pivot(cells, ["task"], "cycle")
    assert wide.columns.tolist() == ["task", "50.0 %", "75.0 %"]
    assert wide.to_numpy().tolist() == [[r"b\_1", "b_11", "b_12"], ["a", "a1", "n/a"]]


def test_columns_of_a_pivot_are_told_apart_where_sparsities_print_alike():
    cells = pd.DataFrame({"task": "a", "cycle": [1, 2], "sparsity": [0.9991, 0.9994], "cell": ["x", "y"]})
    assert latex.pivot(cells, ["task"], "cycle").columns.tolist() == ["task", "99.91 %", "99.94 %"]


def test_text_prints_as_it_is():
    assert latex.escape(r"a_b & 5 % #1 $2 \x {~^}") == (
        r"a\_b \& 5 \% \#1 \$2 \textbackslash{}x \{\textasciitilde{}\textasciicircum{}\}"
    )


def test_a_table_names_its_scale_caption_label_and_notes():
    view = pd.DataFrame({"a_b": ["1"], "c, %": ["2"]})
    declared = Table("toy_cost", (), "", notes=("A note.", "Another."))
    frame = pd.DataFrame({"scale": ["one % of\n it"]})
    assert latex.table(declared, view, frame, "Cost of a run", "First.\n\nSecond.").splitlines() == [
        "% toy_cost (one % of it). Needs booktabs.",
        r"% \caption{Cost of a run (one \% of it).}",
        r"% \label{tab:toy_cost}",
        "% First.",
        "% Second.",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"a\_b & c, \% \\",
        r"\midrule",
        r"1 & 2 \\",
        r"\bottomrule",
        r"\multicolumn{2}{p{.95\linewidth}}{\footnotesize A note.} \\",
        r"\multicolumn{2}{p{.95\linewidth}}{\footnotesize Another.} \\",
        r"\end{tabular}",
    ]
    assert "multicolumn" not in latex.table(declared, view, frame[:0], "Cost", "First.")


@pytest.mark.parametrize("paper", papers().values(), ids=lambda paper: paper.key)
def test_every_table_with_marks_has_a_note_that_says_what_they_mean(paper):
    for table in paper.tables:
        if table.latex:
            (note,) = [note for note in table.notes if note.startswith(MARK)]
            assert "not corrected for multiplicity" in note


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex: the structure alone is tested")
def test_pdflatex_takes_a_table(tmp_path):
    row = {"n": 3, "diverged": 1, "test_accuracy": 0.5, "std": 0.1, "best": True}
    cells = pd.DataFrame([row | {"x": -1e-7, "x_low": -2e-7, "x_high": -1e-8, "scale": "s"}])
    view = pd.DataFrame({"a & b": latex.accuracies(cells, [True]), "c_d": latex.intervals(cells, "x", ".3g", null=0)})
    declared = Table("toy_cost", (), "", notes=(best_of("all"), excludes("It")))
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\begin{table}"
        + latex.table(declared, view, cells, "Cost", "Cost.")
        + r"\end{table}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
