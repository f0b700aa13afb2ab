"""Tables as files: tidy CSV for programs, booktabs LaTeX for papers."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.files import write_text
from prunebench.suite.paper import Paper, Table, resolve
from prunebench.suite.report import captions, latex


def write_tables(paper: Paper, data: Any, scale: str, out: Path) -> None:
    """Writes every table of a paper, made from what its `read` gave; `scale` is the preset's label."""
    for table in paper.tables:
        write_table(table, pd.DataFrame(paper.resolve(table.make)(data)), scale, out, paper)


def write_table(table: Table, frame: pd.DataFrame, scale: str, out: Path, paper: Paper | None = None) -> None:
    """Writes a table as <name>.csv, and as <name>.tex where readers get it.

    A table that the preset does not make (no oracle, no gradients) is written with a header and no rows, so that its
    absence shows. Raises ValueError where the frame has other columns than the declaration.
    """
    names = [column.name for column in table.columns]
    if len(frame) and (odd := {*names} ^ {*frame.columns}):
        raise ValueError(f"table {table.name}: declared and made columns differ in {', '.join(sorted(odd))}")
    whole = frame.reindex(columns=names).assign(scale=table.scale or scale)
    write_text(out / f"{table.name}.csv", whole.to_csv(index=False, lineterminator="\n"))
    if look := table.latex:
        package = paper.package if paper else "prunebench"
        shown = partial(latex.view, table, look) if isinstance(look, tuple) else resolve(look, package)
        view = shown(whole) if len(whole) else whole
        title, caption = (read(paper, "table", table.name) for read in (captions.title, captions.caption))
        write_text(out / f"{table.name}.tex", latex.table(table, view, whole, title, caption))
