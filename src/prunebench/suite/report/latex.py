"""Numbers and names as cells of a LaTeX table."""

import math
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from prunebench.suite.notes import MARK
from prunebench.suite.paper import Table

END = "\\end{tabular}\n"


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


def spread(mean: float, std: float, factor: float, digits: int) -> str:
    """Mean ± standard deviation, both times `factor`; the mean alone where there is no deviation."""
    if math.isnan(std):
        return number(factor * mean, digits)
    return f"{number(factor * mean, digits)} $\\pm$ {number(factor * std, digits)}"


def intervals(
    frame: pd.DataFrame,
    name: str,
    factor: float = 100,
    digits: int | None = 1,
    *,
    null: float = math.nan,
) -> list[str]:
    """A column `name` with its `name_low` and `name_high` in brackets, all times `factor`: shares become percent.

    The mean alone where there is no interval; three significant digits where `digits` is None. An interval that
    excludes `null` is marked, by its exact ends and not by the digits that are shown.
    """
    columns = (factor * frame[name + end] for end in ("", "_low", "_high"))
    texts = [
        number(mean, digits)
        if math.isnan(low)
        else f"{number(mean, digits)} [{number(low, digits)}, {number(high, digits)}]"
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
    return bold(spread(row.test_accuracy, row.std, 100, 1), getattr(row, "best", False))


def _lost(row: Any) -> str:
    return f" ({row.diverged} diverged)" if row.diverged else ""


def with_best(frame: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """`best`: the highest mean test accuracy among the rows that agree in `keys`; equal ones all are."""
    highest = frame.groupby([*keys])["test_accuracy"].transform("max")
    return frame.assign(best=frame["test_accuracy"] >= highest - 1e-12)


def number(value: float, digits: int | None) -> str:
    """A number with that many decimals, or None: with three significant digits. `n/a` for NaN."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "$\\infty$" if value > 0 else "$-\\infty$"
    return typeset(f"{value:z.3g}" if digits is None else f"{value:z.{digits}f}")  # z: no minus at a zero


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
