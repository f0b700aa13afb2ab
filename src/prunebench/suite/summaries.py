"""Summaries over seeds that the studies' tables share: each becomes some columns of a row."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from prunebench.stats import summarise

Row = dict[str, Any]


def cells(rows: pd.DataFrame, *keys: str, sort: bool = False) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Rows that agree in `keys`, with these keys by name; in the order in which the rows come, or sorted."""
    for key, cell in rows.groupby([*keys], sort=sort) if len(rows) else ():
        yield dict(zip(keys, key, strict=True)), cell


def mean(name: str, values: pd.Series) -> Row:
    """Mean and 95 % t interval over the seeds that have a value."""
    score = summarise(values.dropna().tolist())
    return {name: score.mean, f"{name}_low": score.low, f"{name}_high": score.high}


def means(cell: pd.DataFrame, *names: str) -> Row:
    """`mean` of each of these columns."""
    return {key: value for name in names for key, value in mean(name, cell[name]).items()}


def curve(cell: pd.DataFrame, name: str) -> Row:
    """`mean` of a column that a figure draws: its interval is `low` and `high`."""
    return dict(zip((name, "low", "high"), mean(name, cell[name]).values(), strict=True))


def accuracy(cell: pd.DataFrame) -> Row:
    """Test accuracy of runs with a `status`; a diverged one counts with what it stands at, which is chance."""
    score = summarise(cell["test_accuracy"].tolist())
    return {
        "n": score.n,
        "diverged": int((cell["status"] == "diverged").sum()),
        "test_accuracy": score.mean,
        "std": score.std,
        "ci_low": score.low,
        "ci_high": score.high,
    }


def difference(
    cell: pd.DataFrame, reference: pd.DataFrame, column: str = "test_accuracy", name: str = "difference"
) -> Row:
    """The cell's column minus the reference's, seed by seed; NaN without a reference."""
    return mean(name, cell.set_index("seed")[column] - reference.set_index("seed")[column])


def ratio(cell: pd.DataFrame, reference: pd.DataFrame, column: str, name: str, by: str = "seed") -> Row:
    """Geometric mean of the cell's column over the reference's, paired `by` seed, with the t interval of the log."""
    ratios = cell.set_index(by)[column] / reference.set_index(by)[column]
    return {key: float(np.exp(value)) for key, value in mean(name, np.log(ratios.astype(float))).items()}


def mark_best(rows: list[Row], *keys: str) -> list[Row]:
    """`best`: the highest mean test accuracy among the rows that agree in `keys`; equal ones all are."""
    highest: dict[tuple[Any, ...], float] = {}
    for row in rows:
        cell = tuple(row[key] for key in keys)
        highest[cell] = max(row["test_accuracy"], highest.get(cell, -math.inf))
    return [row | {"best": row["test_accuracy"] >= highest[tuple(row[key] for key in keys)] - 1e-12} for row in rows]
