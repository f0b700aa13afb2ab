"""Two folders of results side by side: of two presets, machines or versions of the code."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunebench.errors import InputError, nearest
from prunebench.files import write_csv
from prunebench.parsing import flatten
from prunebench.suite.effects import effect, number
from prunebench.suite.record import Cell, Finding, Headline, Ledger, read_ledger

COLUMNS = ("part", "name", "what", "a", "b", "a_low", "a_high", "b_low", "b_high", "difference", "note")
"""Columns of the comparison as a table."""

PROVENANCE = (
    *("prunebench", "commit", "dirty", "source_digest", "python", "torch", "numpy", "platform", "device", "threads"),
    *("precision", "data_sha256"),
)
"""Columns of runs.csv that say by which code and on which machine a run was made."""

_SHOWN = 30
"""Lines of a list that a terminal shows; the table has all."""


@dataclass(frozen=True)
class ClaimPair:
    """One claim in both ledgers; None where a ledger does not have it."""

    id: str
    a: Finding | None
    b: Finding | None

    @property
    def changed(self) -> bool:
        """Whether the verdicts differ."""
        return (self.a and self.a.verdict) != (self.b and self.b.verdict)

    @property
    def headlines(self) -> tuple[Headline | None, Headline | None]:
        """The effect in each."""
        return (self.a.headline if self.a else None, self.b.headline if self.b else None)

    @property
    def effects(self) -> tuple[Headline, Headline] | None:
        """The effect in each, where both are of the same quantity in the same unit."""
        a, b = self.headlines
        return (a, b) if a and b and (a.quantity, a.unit) == (b.quantity, b.unit) else None

    @property
    def difference(self) -> float:
        """Effect of b minus that of a, raw: of a ratio the difference of logarithms. NaN where there is none."""
        a, b = self.effects or (None, None)
        return b.mean - a.mean if a and b and a.mean is not None and b.mean is not None else math.nan

    @property
    def disjoint(self) -> bool | None:
        """Whether the effects' intervals have no value in common; None where one has no interval."""
        a, b = self.effects or (None, None)
        if not a or not b or a.low is None or a.high is None or b.low is None or b.high is None:
            return None
        return a.high < b.low or b.high < a.low

    @property
    def notes(self) -> list[str]:
        """What a reader must know before reading the difference, in words."""
        notes = ["verdict changed"] if self.changed else []
        if self.effects is None:
            return [*notes, "other quantity"] if all(self.headlines) else notes
        if self.a and self.b and not _same_cells(self.a, self.b):
            notes.append("other cells")
        if not math.isnan(self.difference):
            words = {True: "intervals disjoint", False: "intervals overlap", None: "no interval"}
            notes.append(words[self.disjoint])
        return notes


def _same_cells(a: Finding, b: Finding) -> bool:
    """Whether the headlines' quantities have the same cells.

    Labels of older files are written in another way: where one file knows no axes, as many cells count as the same.
    """
    cells_a, cells_b = _cells(a), _cells(b)
    if all(cell.axes for cell in cells_a) == all(cell.axes for cell in cells_b):
        return {_key(cell) for cell in cells_a} == {_key(cell) for cell in cells_b}
    return len(cells_a) == len(cells_b)


def _cells(finding: Finding) -> list[Cell]:
    name = finding.headline.quantity if finding.headline else ""
    return [cell for quantity in finding.quantities if quantity.name == name for cell in quantity.cells]


def _key(cell: Cell) -> object:
    return frozenset(cell.axes.items()) or cell.cell


@dataclass(frozen=True)
class Pair:
    """A value in both; None where one does not have it."""

    name: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class RunPair:
    """A run that both have, with its test accuracy in each; NaN where it has none."""

    folder: str
    a: float
    b: float
    same_spec: bool


@dataclass(frozen=True)
class Runs:
    """What the two lists of runs have in common."""

    both: int
    same_spec: int
    equal: int
    equal_same_spec: int
    different: tuple[RunPair, ...]
    """Runs whose test accuracies differ, the largest difference first, those without a number last."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds. `preset` and `runs` are None where a file is missing, which `absent` then names."""

    a: Path
    b: Path
    ledgers: tuple[Ledger, Ledger]
    claims: tuple[ClaimPair, ...]
    preset: tuple[Pair, ...] | None
    """Keys of the resolved presets whose values differ."""
    provenance: tuple[Pair, ...]
    """Seeds, code and machine, alike or not; several values where runs of one folder differ."""
    runs: Runs | None
    absent: tuple[str, ...]


def main(a: Path, b: Path, out: Path | None = None) -> None:
    """Prints the comparison, and writes it to `out` if that is given; raises InputError as `compare` does."""
    comparison = compare(a, b)
    console = Console()
    # Rich takes 80 columns where there is no terminal: too narrow for a table that a program is to search.
    show(comparison, console if console.is_terminal else Console(width=160))
    if out:
        write(comparison, out)


def compare(a: Path, b: Path) -> Comparison:
    """Compares the results in two folders, such as results/laptop: claims.json, plan.json and runs.csv.

    Raises InputError, in one line that names it, for a folder or claims.json that is missing, and for a file that
    cannot be read or lacks a key. Without plan.json or runs.csv that part is left out.
    """
    for folder in (a, b):
        if not folder.is_dir():
            siblings = [path.name for path in folder.parent.glob("*") if path.is_dir()]
            raise InputError(f"{folder}: no such folder; {nearest(folder.name, siblings)}")
    ledgers = read_ledger(a), read_ledger(b)
    of_a, of_b = ({finding.id: finding for finding in ledger.findings} for ledger in ledgers)
    absent = [str(path) for name in ("plan.json", "runs.csv") for path in (a / name, b / name) if not path.exists()]
    plans = None if any(path.endswith("plan.json") for path in absent) else (_plan(a), _plan(b))
    tables = None if any(path.endswith("runs.csv") for path in absent) else (_runs(a), _runs(b))
    seeds = [", ".join(map(str, ledger.seeds)) for ledger in ledgers]
    return Comparison(
        a,
        b,
        ledgers,
        tuple(ClaimPair(name, of_a.get(name), of_b.get(name)) for name in dict.fromkeys([*of_a, *of_b])),
        tuple(_changes(*plans)) if plans else None,
        (Pair("seeds", *seeds), *(_provenance(*tables) if tables else ())),
        _common(*tables) if tables else None,
        tuple(absent),
    )


# --- Reading


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None


def _plan(folder: Path) -> Mapping[str, Any]:
    path = folder / "plan.json"
    plan = _json(path)
    if not isinstance(plan, dict):
        raise InputError(f"{path}: must hold a mapping of keys to values, found {plan!r:.80}")
    return plan


def _runs(folder: Path) -> pd.DataFrame:
    """runs.csv as text, by folder; test accuracies are numbers."""
    path = folder / "runs.csv"
    try:
        # As text: a commit of digits is no number.
        nothing = {"test_accuracy": ["", "nan"]}
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=nothing)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    for column in ("folder", "test_accuracy"):
        if column not in table:
            raise InputError(f"{path}: column {column} is missing; found {', '.join(table.columns)}")
    if table["folder"].duplicated().any():
        raise InputError(f"{path}: run {table.loc[table['folder'].duplicated(), 'folder'].iloc[0]} is there twice")
    try:
        return table.assign(test_accuracy=pd.to_numeric(table["test_accuracy"])).set_index("folder")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: column test_accuracy: {error}") from None


# --- Comparing


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Pair]:
    flat_a, flat_b = dict(flatten(dict(a))), dict(flatten(dict(b)))
    for key in dict.fromkeys([*flat_a, *flat_b]):
        if key not in flat_a or key not in flat_b or flat_a[key] != flat_b[key]:
            texts = (json.dumps(flat[key], ensure_ascii=False) if key in flat else None for flat in (flat_a, flat_b))
            yield Pair(key, *texts)


def _provenance(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[Pair]:
    for name in PROVENANCE:
        values = [sorted({value for value in table[name] if value}) if name in table else [] for table in (a, b)]
        if any(values):
            yield Pair(name, *(", ".join(texts) if texts else None for texts in values))


def _common(a: pd.DataFrame, b: pd.DataFrame) -> Runs:
    both = [folder for folder in a.index if folder in b.index]
    specs = [table["spec_sha256"] if "spec_sha256" in table else pd.Series("", table.index) for table in (a, b)]
    pairs = [
        RunPair(
            folder,
            float(a.at[folder, "test_accuracy"]),
            float(b.at[folder, "test_accuracy"]),
            bool(specs[0][folder] and specs[0][folder] == specs[1][folder]),
        )
        for folder in both
    ]
    equal = [pair.a == pair.b or (math.isnan(pair.a) and math.isnan(pair.b)) for pair in pairs]
    different = [pair for pair, same in zip(pairs, equal, strict=True) if not same]
    return Runs(
        both=len(both),
        same_spec=sum(pair.same_spec for pair in pairs),
        equal=sum(equal),
        equal_same_spec=sum(same and pair.same_spec for pair, same in zip(pairs, equal, strict=True)),
        different=tuple(sorted(different, key=_by_size)),
        only_a=tuple(folder for folder in a.index if folder not in b.index),
        only_b=tuple(folder for folder in b.index if folder not in a.index),
    )


def _by_size(pair: RunPair) -> tuple[bool, float]:
    size = abs(pair.b - pair.a)
    return (math.isnan(size), -size)


# --- Showing


def show(comparison: Comparison, console: Console) -> None:
    """Prints the comparison, in words that need no colour."""
    for letter, folder, ledger in zip("AB", (comparison.a, comparison.b), comparison.ledgers, strict=True):
        console.print(_text(f"{letter}: {folder} ({ledger.preset}; {ledger.scale})"))
    console.print()
    changed = [pair.id for pair in comparison.claims if pair.changed]
    heads = ("claim", "verdict A", "verdict B", "effect A", "effect B", "B minus A", "note")
    _table(console, heads, _lines(comparison))
    outcome = f"changed: {', '.join(changed)}" if changed else "none changed"
    console.print(_text(f"Verdicts of {len(comparison.claims)} claims: {outcome}. Ratios: B over A."))
    console.print(_text("Intervals that overlap do not show that effects are equal."))
    console.print()
    _table(
        console,
        ("code and machine", "A", "B", ""),
        [(p.name, _short(p.a), _short(p.b), "same" if p.a == p.b else "differs") for p in comparison.provenance],
    )
    if comparison.preset:
        keys = [(pair.name, _there(pair.a), _there(pair.b)) for pair in comparison.preset]
        _table(console, ("key of the preset", "A", "B"), keys[:_SHOWN])
        if len(keys) > _SHOWN:
            console.print(_text(f"... and {len(keys) - _SHOWN} more keys (--out FILE.csv has all)."))
    elif comparison.preset is not None:
        console.print(_text("The presets are equal in every key."))
    for line in (*_run_lines(comparison.runs), *(f"Not compared: {path} is missing." for path in comparison.absent)):
        console.print(_text(line))


def _lines(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for pair in comparison.claims:
        quantity = next((headline.quantity for headline in pair.headlines if headline), "")
        yield (
            f"{pair.id} {quantity}".strip(),
            *(finding.verdict if finding else "not in this ledger" for finding in (pair.a, pair.b)),
            *map(effect, pair.headlines),
            _difference(pair),
            ", ".join(pair.notes),
        )


def _difference(pair: ClaimPair) -> str:
    if pair.effects is None or math.isnan(pair.difference):
        return "n/a"
    unit = pair.effects[0].unit
    if unit == "ratio":
        return f"× {number(pair.difference, unit)}"
    # Shares differ by points; a difference has a sign, whatever its unit.
    text = number(pair.difference, "points" if unit == "share" else unit)
    return text if pair.difference < 0 or text.startswith("+") else f"+{text}"


def _run_lines(runs: Runs | None) -> Iterator[str]:
    if runs is None:
        return
    yield (
        f"Runs that both have: {runs.both}, of the same specification: {runs.same_spec}. Of equal test accuracy: "
        f"{runs.equal} of {runs.both}; of the same specification: {runs.equal_same_spec} of {runs.same_spec}."
    )
    for head, pairs in (
        ("Largest difference", runs.different),
        ("Largest with the same specification", [pair for pair in runs.different if pair.same_spec]),
    ):
        for pair in pairs[:1]:
            change = "n/a" if math.isnan(pair.b - pair.a) else f"{100 * (pair.b - pair.a):+.2f} points"
            yield f"{head}: {change} in {pair.folder} ({100 * pair.a:.2f} and {100 * pair.b:.2f} %)."
    for letter, folders in (("A", runs.only_a), ("B", runs.only_b)):
        if folders:
            yield f"Runs that only {letter} has: {len(folders)}, such as {', '.join(folders[:3])}."


def _table(console: Console, heads: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for line in lines:
        table.add_row(*map(_text, line))
    console.print(table)
    console.print()


def _text(line: str) -> Text:
    """As it is, without markup; what steers a terminal is left out, for the files may come from anyone."""
    return Text("".join(letter if letter.isprintable() else " " for letter in line))


def _there(value: str | None) -> str:
    return "not there" if value is None else value


def _short(value: str | None) -> str:
    """Digests and commits by their beginning."""
    if value is None:
        return "not recorded"
    hexadecimal = set("0123456789abcdef")
    parts = value.split(", ")
    return ", ".join(part[:12] if len(part) >= 40 and set(part) <= hexadecimal else part for part in parts)


# --- As a table


def rows(comparison: Comparison) -> Iterator[dict[str, object]]:
    """The whole comparison, one row per thing compared; effects and accuracies raw, as in their files."""
    one, other = comparison.ledgers
    yield {"part": "results", "name": "folder", "a": comparison.a.as_posix(), "b": comparison.b.as_posix()}
    yield {"part": "results", "name": "preset", "a": one.preset, "b": other.preset}
    yield {"part": "results", "name": "scale", "a": one.scale, "b": other.scale}
    for pair in comparison.claims:
        verdicts = {key: f.verdict if f else "" for key, f in (("a", pair.a), ("b", pair.b))}
        note = "changed" if pair.changed else "same"
        yield {"part": "claim", "name": pair.id, "what": "verdict", **verdicts, "note": note}
        effects = {key: headline for key, headline in zip("ab", pair.headlines, strict=True) if headline}
        for together in [effects] if pair.effects else [{key: value} for key, value in effects.items()]:
            yield _effect_row(pair, together)
    for name, pairs in (("preset", comparison.preset or ()), ("provenance", comparison.provenance)):
        for entry in pairs:
            note = "same" if entry.a == entry.b else "differs"
            yield {"part": name, "name": entry.name, "a": entry.a, "b": entry.b, "note": note}
    if comparison.runs:
        yield from _run_rows(comparison.runs)


def _effect_row(pair: ClaimPair, effects: Mapping[str, Headline]) -> dict[str, object]:
    """`effects`: of one quantity, by `a` and `b`."""
    first, cells = next(iter(effects.values())), dict.fromkeys(value.cell for value in effects.values())
    what = f"{first.quantity} ({first.unit}), {' / '.join(cells)}"
    row: dict[str, object] = {"part": "claim", "name": pair.id, "what": what}
    for key, value in effects.items():
        row |= {key: value.mean, f"{key}_low": value.low, f"{key}_high": value.high}
    difference = None if math.isnan(pair.difference) else pair.difference
    return row | {"difference": difference, "note": ", ".join(note for note in pair.notes if note != "verdict changed")}


def _run_rows(runs: Runs) -> Iterator[dict[str, object]]:
    counts = {
        "in both": runs.both,
        "of the same specification": runs.same_spec,
        "of equal test accuracy": runs.equal,
        "of equal test accuracy and the same specification": runs.equal_same_spec,
    }
    for name, count in counts.items():
        yield {"part": "runs", "name": name, "a": count, "b": count}
    yield {"part": "runs", "name": "in one only", "a": len(runs.only_a), "b": len(runs.only_b)}
    for pair in runs.different:
        spec = "same specification" if pair.same_spec else "other specification"
        values = {"a": _known(pair.a), "b": _known(pair.b), "difference": _known(pair.b - pair.a)}
        yield {"part": "run", "name": pair.folder, "what": "test_accuracy", **values, "note": spec}
    for note, folders in (("not in b", runs.only_a), ("not in a", runs.only_b)):
        for folder in folders:
            yield {"part": "run", "name": folder, "note": note}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def write(comparison: Comparison, out: Path) -> None:
    """Writes `rows` as CSV: the same results give the same bytes."""
    write_csv(out, list(rows(comparison)), COLUMNS)
