"""Files of a results folder as they are read back: what is broken is an InputError that names the file."""

import base64
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.errors import InputError
from prunebench.files import check, read_text
from prunebench.suite import numbers

if TYPE_CHECKING:
    import pandas as pd

EMBEDDED = 600_000
"""Bytes up to which a table's file is part of the page; of a larger one the page gives the path."""

MOST_BYTES = 1 << 28
"""Bytes of the largest table or JSON file that is read."""

LARGEST = 1e300
"""A larger number is a mistake, and sums of such would be infinite."""

Record = dict[str, str]
"""A row of a CSV file as text, by column."""


def read_json(path: Path, hint: str = "") -> dict[str, Any]:
    """The mapping that a JSON file holds; InputError for any other, which ends with `hint` where it cannot be read."""
    if not path.exists():
        raise InputError(f"cannot read {path}: No such file or directory{hint}")
    check(path)
    text = read_text(path, MOST_BYTES)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a mapping of keys to values, found {content!r:.80}")
    return content


def read_csv(path: Path, needed: Sequence[str] = ()) -> list[Record] | None:
    """A CSV file's rows, None where there is no file.

    Raises InputError for a file that is no table, or has rows but not the columns that are `needed`.
    """
    if not path.exists():
        return None
    check(path)
    header, *lines = _cells(read_text(path, MOST_BYTES), path, needed)
    return [dict(zip(header, line, strict=True)) for line in lines]


def read_frame(path: Path, needed: Sequence[str] = (), **how: Any) -> "pd.DataFrame":
    """A CSV file as a frame. `how`: keywords of pandas.read_csv.

    Raises InputError for a file that cannot be read, is no table, or has rows but not the columns that are `needed`.
    """
    import pandas as pd

    check(path)
    text = read_text(path, MOST_BYTES)
    _cells(text, path, needed)
    try:
        return pd.read_csv(io.StringIO(text), **how)
    except ValueError as error:
        raise InputError(f"{path} is not a table: {' '.join(str(error).split())}") from None


def _cells(text: str, path: Path, needed: Sequence[str]) -> list[list[str]]:
    """The cells of a CSV file, the header first; InputError where lines differ in length, or a spreadsheet wrote it."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[list[str]] = []
    try:
        for line in reader:
            if not lines and len(line) == 1 and (mark := re.search("[;\t]", line[0])):
                raise InputError(f"{path} is not a table: {mark[0]!a} stands between its cells. {_SPREADSHEET}")
            if lines and line and len(line) != len(lines[0]):
                counts = f"{len(line)} cells, the header has {len(lines[0])}"
                raise InputError(f"{path} is not a table: line {reader.line_num} has {counts}")
            lines += [line] if line else []
    except csv.Error as error:
        raise InputError(f"{path} is not a table: line {reader.line_num}: {error}") from None
    if not lines:
        raise InputError(f"{path} is not a table: it is empty")
    lacking = next((column for column in needed if len(lines) > 1 and column not in lines[0]), None)
    if lacking:
        raise InputError(f"{path}: column {lacking} is missing; found {', '.join(lines[0])}")
    if '"' in text:  # where a number with a comma must stand
        _check_points(lines, path)
    return lines


_SPREADSHEET = "A spreadsheet wrote it: save it with commas between the cells, and points in numbers"


def _check_points(lines: list[list[str]], path: Path) -> None:
    """InputError for a column of numbers some of which have a decimal comma: they would be read as words."""
    for name, *cells in zip(*lines, strict=True):
        comma = next((cell for cell in cells if "," in cell and _NUMBER.fullmatch(cell.replace(",", ".", 1))), None)
        if comma and all(not cell or _NUMBER.fullmatch(cell.replace(",", ".", 1)) for cell in cells):
            raise InputError(f"{path}: column {name} has the number {comma}, with a comma. {_SPREADSHEET}")


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def number(text: str) -> float | None:
    """A cell's number; None beyond LARGEST and for words, `nan` and `inf` too: a schedule may have that name."""
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and abs(value) <= LARGEST else None


@dataclass(frozen=True)
class Download:
    """A file that the page holds, or says where to find if it is too large."""

    name: str
    size: str
    uri: str | None


def download(path: Path, kind: str) -> Download:
    """A file of the results, as part of the page where it is small enough."""
    check(path)
    data = path.read_bytes()
    return Download(path.name, numbers.size(len(data)), data_uri(kind, data) if len(data) <= EMBEDDED else None)


def data_uri(kind: str, data: bytes) -> str:
    """`data` as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
