"""Files of a results folder as they are read back: what is broken is an InputError that names the file."""

import base64
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunebench.errors import InputError
from prunebench.files import check
from prunebench.suite import numbers

EMBEDDED = 600_000
"""Bytes up to which a table's file is part of the page; of a larger one the page gives the path."""

LARGEST = 1e300
"""A larger number is a mistake, and sums of such would be infinite."""

Record = dict[str, str]
"""A row of a CSV file as text, by column."""


def read_json(path: Path, hint: str = "") -> dict[str, Any]:
    """The mapping that a JSON file holds; InputError for any other, which ends with `hint` where it cannot be read."""
    check(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a mapping of keys to values, found {content!r:.80}")
    return content


def read_csv(path: Path, needed: Sequence[str] = ()) -> list[Record] | None:
    """A CSV file's rows, None where there is no file.

    Raises InputError for a file that is no table, or has rows but not the columns that are `needed`.
    """
    check(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    rows: list[Record] = []
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise InputError(f"{path} is not a table: line {reader.line_num} has not as many cells as the header")
            rows.append(row)
    except csv.Error as error:
        raise InputError(f"{path} is not a table: {error}") from None
    lacking = next((column for column in needed if rows and column not in rows[0]), None)
    if lacking:
        raise InputError(f"{path}: column {lacking} is missing; found {', '.join(rows[0])}")
    return rows


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
