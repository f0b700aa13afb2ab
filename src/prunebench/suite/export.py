"""A folder of results as one tidy long table, with a dictionary of its data and RO-Crate metadata, for other people's
tools: `prunebench export`."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from prunebench.errors import InputError
from prunebench.files import atomic_output, write_csv, write_json, write_text
from prunebench.suite import dictionary, exhibits
from prunebench.suite.crate import METADATA, crate, is_export
from prunebench.suite.load import Results
from prunebench.suite.paper import Column
from prunebench.suite.record import Ledger

LONG, PARQUET, DICTIONARY = "results.csv", "results.parquet", "dictionary.csv"
"""The long table, twice, and what its columns and quantities mean."""

COPIED = ("plan.json", "claims.json", "runs.csv")
"""Files of the results that go along as they are: the preset, the ledger, the provenance of every run."""

ABOUT = {
    LONG: "every number of the results: one per row, with study, table, axes, quantity and unit",
    PARQUET: "the same table, typed",
    DICTIONARY: "what every axis and every quantity means, with its unit",
    "plan.json": "the preset as it was resolved: every hyperparameter",
    "claims.json": "the ledger of claims: verdicts, effects with intervals, rules",
    "runs.csv": "every job that trains with its cost and provenance",
}
"""The files of an export, in words."""

FIRST, LAST = ("study", "table", "task", "seed"), ("quantity", "unit", "value", "text")
"""The columns that every row has, before and behind the other axes."""

OF_A_CELL = "tells the cells of a claim apart (claims.json)"
"""The meaning of an axis that no table declares."""

MEANINGS = ("table", "name", "role", "unit", "meaning")
"""Columns of the dictionary."""


@dataclass(frozen=True)
class Source:
    """A frame that goes into the long table: axes tell its rows apart, quantities are measured, both declared.

    study: of all its rows; None: its own column. unit: whether a column `unit` has the rows' units.
    """

    name: str
    frame: pd.DataFrame
    axes: tuple[str, ...]
    quantities: tuple[Column, ...]
    study: str | None = None


# --- What goes into it


def sources(results: Results, epochs: bool) -> Iterator[Source]:
    """Every frame of the results that there is: tables, runs, phases, observations, claims, and, if wanted, epochs."""
    for study, table in _declared(results):
        if table.name in results:
            frame = results[table.name]
            axes = axes_of(frame, [column.name for column in table.columns])
            yield Source(table.name, frame, axes, tuple(c for c in table.columns if c.name not in axes), study)
    if "runs" in results:
        axes = ("study", "task", "part", "criterion", "schedule", "cycle", "seed", "folder")
        wanted = ("sparsity", "status", *(c.name for c in (*dictionary.ACCURACIES, *dictionary.COST)))
        yield Source("runs", results.runs, axes, tuple(c for c in dictionary.RUNS if c.name in wanted))
    for name, columns in (("phases", dictionary.PHASES), ("epochs", dictionary.EPOCHS)):
        if name in results and (epochs or name == "phases"):
            frame = results[name]
            measured = {column.name for column in columns}
            yield Source(name, frame, tuple(n for n in frame.columns if n not in measured), columns)


def _declared(results: Results) -> Iterator[tuple[str, Any]]:
    """Every table that is declared, with its study."""
    for key, paper in results.preset.all_papers().items():
        yield from ((key, table) for table in paper.tables)
    yield from (("calibration", table) for table in exhibits.TABLES)


def axes_of(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that tell a table's rows apart: those before `n`, and as many more as it takes."""
    names = [name for name in columns if name in frame]
    count = names.index("n") if "n" in names else 1
    while count < len(names) and frame.duplicated(names[:count]).any():
        count += 1
    others = [name for name in names[:count] if name != "n"]
    return tuple(others if not frame.duplicated(others).any() else names[:count])


# --- The long table


def long_of(source: Source) -> pd.DataFrame:
    """A source as rows of the long table: a number or a word each; what is absent has no row."""
    frame = source.frame if source.study is None else source.frame.assign(study=source.study)
    axes = list(dict.fromkeys(name for name in ("study", *source.axes) if name in frame))
    parts = []
    for column in source.quantities:
        if column.name not in frame:
            continue
        values = frame[column.name]
        part = frame[axes].assign(quantity=column.name, unit="" if column.unit == "name" else column.unit)
        if is_numeric_dtype(values):  # truth values, too
            part["value"] = values.astype(float)
        else:
            part["text"] = values.astype(object)
        parts.append(part[values.notna()])
    return pd.concat(parts, ignore_index=True).assign(table=source.name) if parts else pd.DataFrame()


def observations(results: Results) -> pd.DataFrame:
    """The observations as rows of the long table."""
    return results.observations.drop(columns="cell").dropna(subset=["value"]).assign(table="observations")


def claims(ledger: Ledger) -> pd.DataFrame:
    """The ledger as rows of the long table."""
    rows: list[dict[str, Any]] = []
    for finding in ledger.findings:
        at = {"study": finding.paper, "table": "claims", "claim": finding.id}
        rows.append(at | {"quantity": "verdict", "unit": "", "text": finding.verdict})
        if finding.headline:
            ends = {"effect": "mean", "effect_low": "low", "effect_high": "high"}
            of = finding.headline
            rows += [at | {"quantity": q, "unit": of.unit, "value": getattr(of, end)} for q, end in ends.items()]
        for column in dictionary.CLAIMS[4:]:
            rows.append(at | {"quantity": column.name, "unit": column.unit, "value": getattr(finding, column.name)})
    frame = pd.DataFrame(rows)
    return frame[frame["value"].notna() | frame["text"].notna()].astype({"value": float})


def long_table(results: Results, parts: Sequence[Source]) -> pd.DataFrame:
    """All of it, one number or word a row: study, table, task, seed, the other axes, quantity, unit, value, text.

    An axis that is a word in one table and a number in another is a column of words.
    """
    frames = [long_of(source) for source in parts]
    frames += [observations(results)] if "observations" in results else []
    frames += [claims(results.ledger)] if results.ledger else []
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        raise InputError(f"{results.folder} has no table, no runs and no claims yet: there is nothing to export")
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    axes = [name for name in names if name not in (*FIRST, *LAST)]
    words = [name for name in ("task", *axes) if any(name in frame and _has_words(frame[name]) for frame in frames)]
    frames = [frame.assign(**{n: _as_words(frame[n]) for n in words if n in frame}) for frame in frames]
    whole = pd.concat(frames, ignore_index=True).reindex(columns=[*FIRST, *axes, *LAST])
    numbers = [name for name in ("seed", *axes, "value") if name not in words]
    return whole.astype({name: float for name in numbers if name != "seed"} | {"seed": "Int64"})


def _has_words(values: "pd.Series[Any]") -> bool:
    return not is_numeric_dtype(values)


def _as_words(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if _has_words(values):
        return values.astype(object)
    return values.map(lambda number: f"{number:g}", na_action="ignore").astype(object)


# --- Its dictionary


def meanings(results: Results, parts: Sequence[Source], table: pd.DataFrame) -> list[dict[str, str]]:
    """A row per axis and quantity of each table: `unit` is `text` for words."""
    rows = [_meaning("", "column", column) for column in dictionary.LONG]
    declared = {column.name: column for column in dictionary.AXES}
    for _, each in _declared(results):
        declared = {column.name: column for column in each.columns} | declared
    declared = {column.name: column for column in dictionary.RUNS} | declared
    own = {source.name: {c.name: c for c in _columns_of(results, source)} for source in parts}
    axes = [name for name in table.columns if name not in ("study", "table", *LAST)]
    for name, rows_of in table.groupby("table", sort=False):
        for axis in (axis for axis in axes if rows_of[axis].notna().any()):
            plain = axis.removesuffix("_axis")
            column = own.get(str(name), {}).get(axis) or declared.get(plain) or Column(axis, OF_A_CELL)
            rows.append(_meaning(str(name), "axis", Column(axis, column.meaning, column.unit)))
        source = next((each for each in parts if each.name == name), None)
        there = {*rows_of["quantity"]}
        rows += [_meaning(str(name), "quantity", c) for c in (source.quantities if source else ()) if c.name in there]
    if results.ledger:
        rows += [_meaning("claims", "quantity", column) for column in dictionary.CLAIMS]
        for finding in results.ledger.findings if "observations" in results else ():
            for quantity in finding.quantities:
                meaning = f"claim {finding.id}: {quantity.meaning}"
                rows.append(_meaning("observations", "quantity", Column(quantity.name, meaning, quantity.unit)))
    return rows


def _columns_of(results: Results, source: Source) -> tuple[Column, ...]:
    table = next((table for _, table in _declared(results) if table.name == source.name), None)
    return table.columns if table else source.quantities


def _meaning(table: str, role: str, column: Column) -> dict[str, str]:
    unit = "text" if column.unit == "name" else column.unit
    return dict(zip(MEANINGS, (table, column.name, role, unit, column.meaning), strict=True))


# --- On the disk


def export(folder: Path, out: Path, epochs: bool = False) -> tuple[list[Path], str]:
    """Writes an export of the results in `folder` into `out`; gives its files, and a line on what it lacks.

    An earlier export in `out` is replaced. Raises InputError for a folder of anything else, and where the results are
    none or broken. Without pyarrow there is no Parquet file.
    """
    results = Results(folder)
    check_out(out)
    parts = [*sources(results, epochs)]
    table = long_table(results, parts)
    words = meanings(results, parts, table)
    lacking = "" if find_spec("pyarrow") else f"no {PARQUET}: it needs pyarrow, pip install 'prunebench[export]'"
    write_text(out / LONG, table.to_csv(index=False, lineterminator="\n"))
    (out / PARQUET).unlink(missing_ok=True)
    if not lacking:
        with atomic_output(out / PARQUET) as file:
            table.to_parquet(file, index=False, engine="pyarrow")
    write_csv(out / DICTIONARY, words, MEANINGS)
    for name in COPIED:
        (out / name).unlink(missing_ok=True)
        if (folder / name).is_file():
            with atomic_output(out / name) as file, open(folder / name, "rb") as source:
                shutil.copyfileobj(source, file)
    files = {name: about for name, about in ABOUT.items() if (out / name).is_file()}
    write_json(out / METADATA, crate(results, out, files, variables(table, words)))
    return [out / name for name in (*files, METADATA)], lacking


def check_out(out: Path) -> None:
    """InputError where a folder is not empty and holds no export: nothing of anybody's is overwritten."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"--out {out} is no folder")
    if out.is_dir() and any(out.iterdir()) and not is_export(out):
        raise InputError(f"--out {out} is not empty and holds no export: name another folder")


def variables(table: pd.DataFrame, words: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The columns of the long table with what they mean."""
    known = {row["name"]: row["meaning"] for row in reversed(words) if row["role"] != "quantity"}
    return [{"name": name, "meaning": known.get(name, "")} for name in table.columns]
