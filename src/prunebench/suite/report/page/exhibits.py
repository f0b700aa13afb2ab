"""Figures and tables as the page shows them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prunebench.files import check
from prunebench.suite import numbers
from prunebench.suite.inputs import Download, Record, data_uri, download, number, read_csv
from prunebench.suite.paper import Paper, Table
from prunebench.suite.report import captions

ROWS = 100
"""Rows of a table that the page shows; its file, which the page holds too, has all."""

SPREAD = 1e4
"""Numbers of one column whose sizes differ by more than this are rounded one by one."""


View = dict[str, Any]
"""What the template shows, by name."""


def _captioned(paper: Paper | None, kind: captions.Kind, name: str, claims: Sequence[str]) -> View:
    """What figures and tables have in common; `claims`: those that it is evidence for."""
    paragraphs = captions.caption(paper, kind, name).split("\n\n")
    return {"name": name, "title": captions.title(paper, kind, name), "caption": paragraphs, "claims": claims}


def figure(paper: Paper | None, name: str, folder: Path, claims: Sequence[str]) -> View:
    """A figure with its size in CSS pixels; `uri` is None where its file is missing.

    It becomes an image: a script in it would not run, and names within it cannot clash with those of others.
    """
    view = _captioned(paper, "figure", name, claims) | {"alt": captions.alt(paper, name), "uri": None}
    for ending, kind, size in (("svg", "image/svg+xml", _svg_size), ("png", "image/png", _png_size)):
        path = folder / f"{name}.{ending}"
        if path.is_file():
            check(path)
            data = path.read_bytes()
            width, height = size(data)
            return view | {"uri": data_uri(kind, data), "width": width, "height": height}
    return view


_FALLBACK = (691, 400)


def _svg_size(data: bytes) -> tuple[int, int]:
    box = re.search(rb'viewBox="0 0 (\d{1,6}(?:\.\d+)?) (\d{1,6}(?:\.\d+)?)"', data[:4000])
    # matplotlib's user unit is the point
    width, height = (round(float(side) * 4 / 3) for side in box.groups()) if box else _FALLBACK
    return (width, height) if width and height else _FALLBACK


def _png_size(data: bytes) -> tuple[int, int]:
    # big-endian, in the header that every PNG begins with
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return (_FALLBACK[0], round(_FALLBACK[0] * height / width)) if width and height else _FALLBACK


def table(paper: Paper | None, declared: Table, folder: Path, claims: Sequence[str]) -> View:
    """A table as text: numbers rounded, intervals beside their means, columns that hold nothing left out.

    rows: the first `ROWS` of `total`; None where the file is missing. columns: (name, meaning with its unit, whether it
    holds numbers). left_out: columns without any value. files: to download.
    """
    view = _captioned(paper, "table", declared.name, claims)
    rows = read_csv(folder / f"{declared.name}.csv")
    if rows is None:
        return view | {"rows": None, "total": 0, "files": []}
    names = [name for name in (rows[0] if rows else ()) if name != "scale"]
    empty = [name for name in names if not any(row[name] for row in rows)]
    shown = _columns([name for name in names if name not in empty], rows)
    units = {column.name: "" if column.unit in ("", "name") else f" ({column.unit})" for column in declared.columns}
    meanings = {column.name: f"{column.meaning}{units[column.name]}" for column in declared.columns}
    return view | {
        "columns": [(name, meanings.get(name, ""), numeric) for name, (numeric, _) in shown.items()],
        "rows": list(zip(*(texts[:ROWS] for _, texts in shown.values()), strict=True)),
        "total": len(rows),
        "left_out": empty,
        "files": files(declared.name, folder),
    }


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
        group = (name, *bounds.get(name, ()))
        if any(row[column] and number(row[column]) is None for row in rows for column in group):
            shown[name] = (False, [_WORDS.get(row[name], row[name]) for row in rows])
            continue
        values = [[number(row[column]) for column in group] for row in rows]
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
