"""Figures and tables as the page shows them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prunebench.suite import numbers
from prunebench.suite.inputs import Download, Record, data_uri, download, number, read_csv
from prunebench.suite.paper import Paper, Table
from prunebench.suite.report import captions

ROWS = 100
"""Rows of a table that the page shows; its file, which the page holds too, has all."""

SPREAD = 1e4
"""Numbers of one column whose sizes differ by more than this are rounded one by one."""


@dataclass(frozen=True)
class FigureView:
    """A figure; without `uri` its file is missing. `width` and `height` are in CSS pixels."""

    name: str
    title: str
    caption: tuple[str, ...]
    alt: str
    uri: str | None
    width: int
    height: int
    claims: tuple[str, ...]
    """The claims that it is evidence for."""


@dataclass(frozen=True)
class TableView:
    """A table's first rows as text, and its files; `rows` is None where its file is missing."""

    name: str
    title: str
    caption: tuple[str, ...]
    columns: tuple[str, ...]
    meanings: tuple[str, ...]
    """What each column holds, with its unit."""
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...] | None
    total: int
    """Rows of the file."""
    left_out: tuple[str, ...]
    """Columns without any value."""
    files: tuple[Download, ...]
    claims: tuple[str, ...]


def figure(paper: Paper | None, name: str, folder: Path, claims: Sequence[str]) -> FigureView:
    """A figure as an image: a script in it would not run, and names within it cannot clash with those of others."""
    title, alt = captions.title(paper, "figure", name), captions.alt(paper, name)
    caption = tuple(captions.caption(paper, "figure", name).split("\n\n"))
    for ending, kind in (("svg", "image/svg+xml"), ("png", "image/png")):
        path = folder / f"{name}.{ending}"
        if path.is_file():
            data = path.read_bytes()
            width, height = _svg_size(data) if ending == "svg" else _png_size(data)
            return FigureView(name, title, caption, alt, data_uri(kind, data), width, height, tuple(claims))
    return FigureView(name, title, caption, alt, None, 0, 0, tuple(claims))


_FALLBACK = (691, 400)


def _svg_size(data: bytes) -> tuple[int, int]:
    found = re.search(rb'viewBox="0 0 (\d{1,6}(?:\.\d+)?) (\d{1,6}(?:\.\d+)?)"', data[:4000])
    # matplotlib's user unit is the point
    width, height = (round(float(side) * 4 / 3) for side in found.groups()) if found else _FALLBACK
    return (width, height) if width and height else _FALLBACK


def _png_size(data: bytes) -> tuple[int, int]:
    # big-endian, in the header that every PNG begins with
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return (_FALLBACK[0], round(_FALLBACK[0] * height / width)) if width and height else _FALLBACK


def table(paper: Paper | None, declared: Table, folder: Path, claims: Sequence[str]) -> TableView:
    """A table: numbers rounded, intervals beside their means, columns that hold nothing left out."""
    name = declared.name
    title = captions.title(paper, "table", name)
    caption = tuple(captions.caption(paper, "table", name).split("\n\n"))
    rows = read_csv(folder / f"{name}.csv")
    if rows is None:
        return TableView(name, title, caption, (), (), (), None, 0, (), (), tuple(claims))
    empty = [column for column in (rows[0] if rows else ()) if not any(row[column] for row in rows)]
    shown = _columns([column for column in (rows[0] if rows else ()) if column not in [*empty, "scale"]], rows)
    cells = [texts[:ROWS] for _, texts in shown.values()]
    units = {column.name: "" if column.unit in ("", "name") else f" ({column.unit})" for column in declared.columns}
    meanings = {column.name: f"{column.meaning}{units[column.name]}" for column in declared.columns}
    return TableView(
        name=name,
        title=title,
        caption=caption,
        columns=tuple(shown),
        meanings=tuple(meanings.get(column, "") for column in shown),
        numeric=tuple(numeric for numeric, _ in shown.values()),
        rows=tuple(zip(*cells, strict=True)),
        total=len(rows),
        left_out=tuple(column for column in empty if column != "scale"),
        files=tuple(files(name, folder)),
        claims=tuple(claims),
    )


def files(name: str, folder: Path) -> list[Download]:
    """A table's files, CSV and LaTeX, as far as they are there."""
    kinds = (("csv", "text/csv"), ("tex", "application/x-tex"))
    paths = ((folder / f"{name}.{ending}", kind) for ending, kind in kinds)
    return [download(path, kind) for path, kind in paths if path.is_file()]


def _columns(columns: Sequence[str], rows: Sequence[Record]) -> dict[str, tuple[bool, list[str]]]:
    """Columns as whether they are numbers and as text; a column's interval stands in brackets behind its value."""
    bounds = {c: (f"{c}_low", f"{c}_high") for c in columns} | {"test_accuracy": ("ci_low", "ci_high")}
    bounds = {c: ends for c, ends in bounds.items() if {c, *ends} <= {*columns}}
    inner = {end for ends in bounds.values() for end in ends}
    shown = {}
    for name in columns:
        if name in inner:
            continue
        own = (name, *bounds.get(name, ()))
        if any(row[column] and number(row[column]) is None for row in rows for column in own):
            shown[name] = (False, [_WORDS.get(row[name], row[name]) for row in rows])
            continue
        values = [[number(row[column]) for column in own] for row in rows]
        digits = _digits(values)
        shown[name] = (True, [_cell(row, digits) for row in values])
    return shown


_WORDS = {"True": "yes", "False": "no", "": "–"}


def _digits(values: Iterable[Iterable[float | None]]) -> int | None:
    """Decimals for a column: four digits of its largest number; None where its numbers differ much in size."""
    sizes = [abs(value) for row in values for value in row if value]
    if all(size < 1e7 and size.is_integer() for size in sizes):
        return 0
    if max(sizes) >= 1e5 or min(sizes) * SPREAD < max(sizes):
        return None
    return max(0, 4 - len(str(int(max(sizes)))) + (max(sizes) < 1))


def _cell(values: Sequence[float | None], digits: int | None) -> str:
    texts = ["–" if v is None else numbers.minus(f"{v:.3g}" if digits is None else f"{v:.{digits}f}") for v in values]
    interval = f" [{', '.join(texts[1:])}]" if len(values) > 1 and None not in values[1:] else ""
    return texts[0] + interval
