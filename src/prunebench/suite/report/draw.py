"""Draws a paper's figures from its tables alone: nothing is trained, no run is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from prunebench.errors import InputError
from prunebench.suite.inputs import number, read_frame
from prunebench.suite.paper import Figure, Paper, Table, resolve
from prunebench.suite.report.style import not_run, save, shared_style


@dataclass(frozen=True)
class Drawn:
    """What a figure is made of.

    tables: by name; text stays text whatever it says. scale: the label that every figure carries. margins: those of
    the paper's claims, so that what a figure marks is what the ledger judges by. titles: papers' short titles by key,
    for a figure of all papers.
    """

    tables: Mapping[str, pd.DataFrame]
    scale: str
    margins: Any = None
    titles: Mapping[str, str] = field(default_factory=dict)


def draw_paper(paper: Paper, margins: Any, folder: Path, out: Path) -> None:
    """Draws every figure of a paper."""
    draw_figures(paper.figures, paper.tables, folder, out, package=paper.package, margins=margins)


def draw_figures(
    figures: Sequence[Figure],
    tables: Sequence[Table],
    folder: Path,
    out: Path,
    *,
    package: str = "prunebench",
    margins: Any = None,
    titles: Mapping[str, str] | None = None,
) -> None:
    """Draws `figures` as SVG and PNG in `out`, from the CSV files of `tables` in `folder`.

    A figure whose tables lack rows says so. The same tables give the same bytes. Raises InputError for a table that is
    missing, unreadable or lacks a column.
    """
    frames = {table.name: _read(folder / f"{table.name}.csv", table) for table in tables}
    drawn = Drawn(frames, _scale(tables, frames), margins, titles or {})
    with shared_style():
        for figure in figures:
            run = all(len(frames[name]) for name in figure.needs)
            drawing = resolve(figure.make, package)(drawn) if run else not_run(figure.title, drawn.scale)
            save(drawing, out, figure.name)


def _read(path: Path, table: Table) -> pd.DataFrame:
    texts = [column.name for column in table.columns if column.unit == "name"]
    # Only an empty cell is missing: a schedule may be named "NA", and one named "1" stays text.
    words = dict.fromkeys((*texts, "scale"), str)
    names = [column.name for column in table.columns]
    frame = read_frame(path, names, converters=words, keep_default_na=False, na_values=[""])
    for column in table.columns:
        if len(frame) and column.name not in texts and not is_numeric_dtype(frame[column.name]):
            word = next(cell for cell in frame[column.name] if isinstance(cell, str) and number(cell) is None)
            raise InputError(f"{path}: column {column.name} has '{word:.80}', which is no number")
    return frame


def _scale(tables: Sequence[Table], frames: Mapping[str, pd.DataFrame]) -> str:
    """The label of the runs' scale: of a table with rows, best of one that has no label of its own."""
    for table in sorted(tables, key=lambda table: table.scale is not None):
        frame = frames[table.name]
        if len(frame) and "scale" in frame:
            return str(frame["scale"].iloc[0])
    return "scale not stated: no table with rows has it"
