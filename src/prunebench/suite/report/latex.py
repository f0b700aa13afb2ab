"""Numbers and names as cells of a LaTeX table."""

import math
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd
from pandas.api.types import is_integer_dtype

from prunebench.suite.notes import MARK
from prunebench.suite.paper import Column, Table
from prunebench.suite.summaries import mark_best

END = "\\end{tabular}\n"

FORMS = {"share": ".1%", "points": ".1%", "ratio": ".2f"}
"""How numbers of a unit are shown; others with three significant digits, and integers as they are."""

NULLS = {"points": 0.0, "ratio": 1.0}
"""The value of no effect by unit: an interval that excludes it is marked."""


def table(declared: Table, view: pd.DataFrame, frame: pd.DataFrame, title: str, caption: str) -> str:
    """`view`, whose cells are LaTeX and whose columns are plain text, in booktabs, for an author's `table` environment.

    The declared notes stand below the last rule, in lines of the text's width; a table without rows has none. Comments
    name the scale of `frame`, suggest a caption and a label, and describe the table's CSV file.
    """
    name, notes = declared.name, declared.notes
    scale = " ".join(str(frame["scale"].iloc[0]).split()) if len(frame) else "no rows"
    comments = [f"{name} ({scale}). Needs booktabs.", f"\\caption{{{escape(f'{title} ({scale}).')}}}"]
    comments += [f"\\label{{tab:{name}}}", *caption.split("\n\n")]
    columns = len(view.columns)
    body = view.rename(columns=escape).to_latex(index=False, escape=False, column_format="l" * columns)
    below = [f"\\multicolumn{{{columns}}}{{p{{.95\\linewidth}}}}{{\\footnotesize {note}}} \\\\" for note in notes]
    lines = [*(f"% {line}" for line in comments), body.removesuffix(END), *(below if len(frame) else [])]
    return "\n".join(line.rstrip("\n") for line in lines) + f"\n{END}"


def view(declared: Table, shown: Iterable[str], frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that are `shown` to readers, as cells in LaTeX."""
    if declared.best:
        frame = frame.assign(best=[row["best"] for row in mark_best(frame.to_dict("records"), *declared.best)])
    columns = {column.name: column for column in declared.columns}
    return pd.DataFrame({_header(columns[name]): _cells(columns[name], frame) for name in shown})


def _header(column: Column) -> str:
    header = column.header or column.name.replace("_", " ")
    if column.unit == "share":
        return header if column.form and "%" not in column.form else f"{header}, %"
    return f"{header}, {column.unit}" if column.unit in ("points", "nats") else header


def _cells(column: Column, frame: pd.DataFrame) -> list[str]:
    """The cells of a column, by its unit and by what stands beside it: an interval or a standard deviation."""
    name, form = column.name, column.form or FORMS.get(column.unit, ".3g")
    if name == "test_accuracy":
        return accuracies(frame)
    if f"{name}_low" in frame:
        null = NULLS.get(column.unit, math.nan) if column.null is None else column.null
        return intervals(frame, name, form, null=null)
    if f"{name}_std" in frame:
        return [spread(*both, form) for both in zip(frame[name], frame[f"{name}_std"], strict=True)]
    if column.unit == "seeds":
        return [f"{count} of {n}" for count, n in zip(frame[name], frame["n"], strict=True)]
    if column.unit == "name" or (is_integer_dtype(frame[name]) and not column.form):
        return [escape(text) if text != "" else column.absent for text in frame[name]]
    return [column.absent if math.isnan(value) else number(value / column.per, form) for value in frame[name]]


def pivot(cells: pd.DataFrame, index: list[str], by: str) -> pd.DataFrame:
    """One line per index in the order they come in, one column per value of `by`, named by its mean sparsity.

    By pruning cycle where there is one, because sparsities of one cycle differ in rounding (exact counts, networks,
    scopes) and those of the last cycles may print alike.
    """
    wide = cells.pivot_table(index=index, columns=by, values="cell", aggfunc="first", sort=False)
    sparsity = cells.groupby(by)["sparsity"].mean()  # sorted by `by`
    wide = wide.reindex(columns=sparsity.index).fillna("n/a")
    digits = next((d for d in range(1, 6) if len({f"{100 * s:z.{d}f}" for s in sparsity}) == len(sparsity)), 6)
    wide = wide.set_axis([f"{100 * s:z.{digits}f} %" for s in sparsity], axis=1).reset_index()
    for name in index:
        wide[name] = wide[name].map(escape)
    return wide


def spread(mean: float, std: float, form: str) -> str:
    """Mean ± standard deviation; the mean alone where there is no deviation."""
    return number(mean, form) if math.isnan(std) else f"{number(mean, form)} $\\pm$ {number(std, form)}"


def intervals(frame: pd.DataFrame, name: str, form: str = ".1%", *, null: float = math.nan) -> list[str]:
    """A column `name` with its `name_low` and `name_high` in brackets; the mean alone where there is no interval.

    An interval that excludes `null` is marked, by its exact ends and not by the digits that are shown.
    """
    columns = (frame[name + end] for end in ("", "_low", "_high"))
    texts = [
        number(mean, form) if math.isnan(low) else f"{number(mean, form)} [{number(low, form)}, {number(high, form)}]"
        for mean, low, high in zip(*columns, strict=True)
    ]
    return [text + MARK * sure for text, sure in zip(texts, sure_of(frame, name, null), strict=True)]


def sure_of(frame: pd.DataFrame, name: str, null: float = 0.0) -> list[bool]:
    """Whether the interval of column `name` excludes `null`; never where it has none, or `null` is NaN."""
    # 1e-12: a run's difference to itself is 0 whichever way its last bit was rounded.
    ends = zip(frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    return [bool(low > null + 1e-12 or high < null - 1e-12) for low, high in ends]


def accuracies(frame: pd.DataFrame, marks: Iterable[bool] | None = None) -> list[str]:
    """Mean ± std of test accuracy in %, the best in bold, with the seeds that diverged: they count as chance."""
    marks = [False] * len(frame) if marks is None else marks
    return [_accuracy(row) + MARK * sure + _lost(row) for row, sure in zip(frame.itertuples(), marks, strict=True)]


def _accuracy(row: Any) -> str:
    return bold(spread(row.test_accuracy, row.std, ".1%"), getattr(row, "best", False))


def _lost(row: Any) -> str:
    return f" ({row.diverged} diverged)" if row.diverged else ""


def number(value: float, form: str) -> str:
    """A number in a Python format; with `%`, times 100 and without the sign. `n/a` for NaN."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "$\\infty$" if value > 0 else "$-\\infty$"
    return typeset(f"{value:z{form}}".removesuffix("%"))  # z: no minus at a zero


def typeset(text: str) -> str:
    """A number that Python wrote, with a minus and powers of ten as a paper has them."""
    if power := re.fullmatch(r"(.+)e([+-]\d+)", text):
        return f"${power[1]} \\cdot 10^{{{int(power[2])}}}$"
    return text.replace("-", "$-$")


def bold(text: str, wanted: bool) -> str:
    """In bold where wanted."""
    return f"\\textbf{{{text}}}" if wanted else text


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in str(text))
