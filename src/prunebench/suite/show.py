"""One job as a person looks at it: the curves of its arms, and how its phases ended."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunebench.errors import InputError, nearest, printable
from prunebench.files import RESUME_FILE
from prunebench.suite.curves import chart, has_braille, spark
from prunebench.suite.inputs import number, read_csv
from prunebench.suite.places import job_folder

CURVES = {
    "train_loss": "training loss, nats",
    "validation_loss": "validation loss, nats",
    "validation_accuracy": "validation accuracy, share",
    "lr": "learning rate at each epoch's end",
}
"""Columns of epochs.csv that are drawn."""

ENDS = {
    "arm": "arm",
    "phase": "phase",
    "status": "status",
    "sparsity": "sparsity",
    "max_lr": "max_lr",
    "validation_accuracy": "val. acc.",
    "test_accuracy": "test acc.",
    "steps": "steps",
}
"""Columns of phases.csv that a terminal shows, and what stands above them."""

SPARKS = {"train_loss": "train. loss", "validation_loss": "val. loss", "validation_accuracy": "val. acc.", "lr": "LR"}
"""What stands above the curves of several arms."""

HEIGHT = 6
"""Lines of a chart."""

MOST_ROWS = 20
"""Rows of a table that a terminal shows."""

MOST_HEADER = 1 << 26
"""Bytes of the largest header of a resume file that is read."""

Row = Mapping[str, Any]
Tables = dict[str, list[dict[str, Any]]]


def read_job(path: Path, arm: str | None = None) -> dict[str, Any]:
    """A job's tables, as they are, or as its resume file has them where it is not done: JSON types.

    arm: rows of this one alone. Raises InputError with the nearest name for a folder or an arm that is not there.
    """
    folder = job_folder(path)
    tables: Tables = {each.stem: [*map(_typed, read_csv(each) or ())] for each in sorted(folder.glob("*.csv"))}
    done = bool(tables)
    if not done:
        tables = saved_rows(folder / RESUME_FILE)
    if arm is not None:
        arms = {str(row["arm"]) for rows in tables.values() for row in rows if "arm" in row}
        if arm not in arms:
            raise InputError(f"no arm '{arm}' in {path}: {nearest(arm, arms) if arms else 'it has none'}")
        tables = {name: [row for row in rows if str(row.get("arm")) == arm] for name, rows in tables.items()}
    return {"job": str(path), "done": done, "tables": tables}


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    def typed(name: str, text: str) -> Any:
        value = None if name in ("arm", "status") else number(text)
        if value is None:
            return text or None
        return int(value) if value.is_integer() and "." not in text and "e" not in text.lower() else value

    return {name: typed(name, text) for name, text in row.items()}


def saved_rows(path: Path) -> Tables:
    """The rows so far of a job that is not done: its resume file says them beside its tensors, which are not read.

    Empty where there is no such file, or it is none.
    """
    try:
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size)) if size <= MOST_HEADER else {}
        rows = json.loads(json.loads(header["__metadata__"]["about"])["values"])["rows"]
        return {str(name): [dict(row) for row in each] for name, each in rows.items()}
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


# --- In a terminal


def print_job(job: Mapping[str, Any], console: Console) -> None:
    """The curves of a job's only arm, or a line for each of several; the ends of phases; other jobs' tables."""
    tables: Tables = job["tables"]
    title = Text(printable(job["job"] + ("" if job["done"] else ": not done; as it was saved last")))
    console.print(title, soft_wrap=True)
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for row in tables.get("epochs", ()):
        by_arm.setdefault(str(row.get("arm")), []).append(row)
    plain = not has_braille(console.encoding)
    if len(by_arm) == 1:
        (rows,) = by_arm.values()
        for line in _charts(rows, min(console.width, 100), plain):
            console.print(Text(line))
    elif by_arm:
        console.print(_sparks(by_arm, plain))
    if "phases" in tables:
        console.print(_table(tables["phases"], ENDS))
    for name in () if by_arm else tables:
        console.print(Text(f"{printable(name)}: {len(tables[name])} rows"))
        first = [*(tables[name] or [{}])[0]][:8]
        console.print(_table(tables[name][:MOST_ROWS], {column: column for column in first}))
    if len(by_arm) > 1:
        console.print("The charts of one: --arm NAME", markup=False)
    if not tables:
        console.print("It has written no table yet.")


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) if isinstance(row.get(name), int | float) else math.nan for row in rows]


def _charts(rows: Sequence[Row], width: int, plain: bool) -> list[str]:
    """Curves over the arm's epochs; a mark on the axis where a phase begins."""
    marks = [n for n, row in enumerate(rows) if n == 0 or row.get("phase") != rows[n - 1].get("phase")]
    lines = []
    for name, title in CURVES.items():
        values = _values(rows, name)
        if any(map(math.isfinite, values)):
            lines += [f"{title} (epochs 1 to {len(rows)}, last {values[-1]:.4g})"]
            lines += [*chart(values, marks, width, HEIGHT, plain), ""]
    return lines


def _sparks(by_arm: Mapping[str, Sequence[Row]], plain: bool) -> Table:
    """A line per arm: each curve in a few letters, with its last value."""
    grid = Table(box=box.SIMPLE_HEAD, padding=0)
    grid.add_column("arm", overflow="fold", min_width=10)
    for title in SPARKS.values():
        grid.add_column(title, no_wrap=True)
    for arm, rows in by_arm.items():
        curves = (_values(rows, name) for name in SPARKS)
        cells = (f"{spark(values, 8, plain)} {values[-1]:.3g}" for values in curves)
        grid.add_row(Text(printable(arm)), *map(Text, cells))
    return grid


def _table(rows: Sequence[Row], columns: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for title in columns.values():
        names_arms = title == "arm"
        least = 10 if names_arms else 0
        table.add_column(printable(title), no_wrap=not names_arms, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    return table


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else printable(str(value))
