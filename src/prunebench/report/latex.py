"""Numbers and names as cells of a LaTeX table."""

import math
from typing import Any

import pandas as pd


def table(name: str, view: pd.DataFrame, frame: pd.DataFrame) -> str:
    """`view`, whose cells are LaTeX and whose columns are plain text, in booktabs; a comment names `frame`'s scale."""
    scale = str(frame["scale"].iloc[0]) if len(frame) else "no rows"
    body = view.rename(columns=escape).to_latex(index=False, escape=False, column_format="l" * len(view.columns))
    return f"% {name} ({scale}). Needs booktabs.\n{body}"


def pivot(cells: pd.DataFrame, index: list[str], by: str) -> pd.DataFrame:
    """One line per index in the order they come in, one column per value of `by`, named by its mean sparsity.

    By pruning cycle where there is one, because sparsities of one cycle differ in rounding (exact counts, networks,
    scopes) and those of the last cycles may print alike.
    """
    wide = cells.pivot_table(index=index, columns=by, values="cell", aggfunc="first", sort=False)
    sparsity = cells.groupby(by)["sparsity"].mean()  # sorted by `by`
    wide = wide.reindex(columns=sparsity.index).fillna("n/a")
    digits = next((d for d in range(1, 6) if len({f"{100 * s:.{d}f}" for s in sparsity}) == len(sparsity)), 6)
    wide = wide.set_axis([f"{100 * s:.{digits}f} %" for s in sparsity], axis=1).reset_index()
    for name in index:
        wide[name] = wide[name].map(escape)
    return wide


def spread(mean: float, std: float, factor: float, digits: int) -> str:
    """Mean ± standard deviation, both times `factor`; the mean alone where there is no deviation."""
    if math.isnan(std):
        return number(factor * mean, digits)
    return f"{factor * mean:.{digits}f} $\\pm$ {factor * std:.{digits}f}"


def interval(mean: float, low: float, high: float, digits: int) -> str:
    """Mean with its interval in brackets; the mean alone where there is no interval."""
    if math.isnan(low):
        return number(mean, digits)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def intervals(frame: pd.DataFrame, name: str, factor: float = 100, digits: int = 1) -> list[str]:
    """A column `name` with its `name_low` and `name_high`, all times `factor`: shares become percent."""
    columns = (factor * frame[name + end] for end in ("", "_low", "_high"))
    return [interval(mean, low, high, digits) for mean, low, high in zip(*columns, strict=True)]


def accuracy(row: Any) -> str:
    """Mean ± std of test accuracy in %, the best in bold, with the seeds that diverged: they count as chance."""
    text = bold(spread(row.test_accuracy, row.std, 100, 1), getattr(row, "best", False))
    return f"{text} ({row.diverged} diverged)" if row.diverged else text


def number(value: float, digits: int) -> str:
    """`n/a` for NaN."""
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def bold(text: str, wanted: bool) -> str:
    """In bold where wanted."""
    return f"\\textbf{{{text}}}" if wanted else text


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in str(text))
