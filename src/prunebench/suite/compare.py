"""Two folders of results side by side: of two presets, machines or versions of the code."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunebench.errors import InputError, printable
from prunebench.files import write_csv
from prunebench.parsing import flatten
from prunebench.suite.effects import effect, number
from prunebench.suite.inputs import read_frame, read_json
from prunebench.suite.places import results_folder
from prunebench.suite.record import Cell, Finding, Headline, Ledger, read_ledger

COLUMNS = ("part", "name", "what", "a", "b", "a_low", "a_high", "b_low", "b_high", "difference", "note")
"""Columns of the comparison as a table."""

PROVENANCE = (
    *("prunebench", "commit", "dirty", "source_digest", "python", "torch", "numpy", "platform", "device", "threads"),
    *("precision", "numerics", "data_sha256"),
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
        """The effect in each, where both are of the same quantity in the same unit and cells can be told apart."""
        a, b = self.headlines
        same = a and b and (a.quantity, a.unit) == (b.quantity, b.unit) and self._cells != AMBIGUOUS
        return (a, b) if a and b and same else None

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
        if all(self.headlines):
            other = self.effects is None and self._cells != AMBIGUOUS
            notes += ["other quantity"] if other else [self._cells] if self._cells else []
        if not math.isnan(self.difference):
            notes.append({True: "intervals disjoint", False: "intervals overlap", None: "no interval"}[self.disjoint])
        return notes

    @property
    def _cells(self) -> str:
        """Whether the headlines' quantities have other cells in b than in a; empty: the same ones.

        Cells are matched by their axes. An older file has labels alone, with percentages to one decimal: two cells
        that agree in these, such as 98.41 % and 98.44 %, could be taken for each other, and are not matched at all.
        """
        cells = [_cells_of(finding) for finding in (self.a, self.b)]
        axes = all(cell.axes for each in cells for cell in each)
        keys = [[frozenset(cell.axes.items()) if axes else _old_label(cell) for cell in each] for each in cells]
        if any(len({*each}) < len(each) for each in keys):
            return AMBIGUOUS
        return "" if {*keys[0]} == {*keys[1]} else "other cells"


AMBIGUOUS = "not compared: labels of cells are ambiguous"


def _cells_of(finding: Finding | None) -> list[Cell]:
    if finding is None or finding.headline is None:
        return []
    return next((each.cells for each in finding.quantities if each.name == finding.headline.quantity), [])


def _old_label(cell: Cell) -> tuple[str, ...]:
    """The words of a label, without what separates them, percentages to one decimal."""
    rounded = re.sub(r"(\d+\.?\d*) %", lambda share: f"{float(share[1]):.1f} %", cell.cell)
    return tuple(re.findall(r"[^\s·()]+", rounded))


@dataclass(frozen=True)
class Pair:
    """A value in both; None where one does not have it."""

    name: str
    a: str | None
    b: str | None

    @property
    def note(self) -> str:
        """Whether they agree."""
        return "same" if self.a == self.b else "differs"


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
    runs: pd.DataFrame | None
    """As `_paired` gives them."""
    absent: tuple[str, ...]
    equal: frozenset[str]
    """Claims whose observations are the same in both, to the byte."""


def main(a: Path, b: Path, out: Path | None = None, brief: bool = False, as_json: bool = False) -> None:
    """Prints the comparison, in short or as JSON if wanted, and writes it to `out` if given.

    Raises InputError as `compare`.
    """
    comparison = compare(a, b)
    console = Console()
    if as_json:
        print(json.dumps({"absent": comparison.absent, "rows": [*rows(comparison)]}, indent=2, default=str))
    elif brief:
        for line in in_short(comparison):
            console.print(_text(line))
    else:
        # Rich takes 80 columns where there is no terminal: too narrow for a table that a program is to search.
        show(comparison, console if console.is_terminal else Console(width=160))
    if out:
        write(comparison, out)


def compare(a: Path, b: Path) -> Comparison:
    """Compares the results in two folders, such as results/laptop: claims.json, plan.json and runs.csv.

    Raises InputError, in one line that names it, for a folder or claims.json that is missing, and for a file that
    cannot be read or lacks a key. Without plan.json or runs.csv that part is left out.
    """
    ledgers = read_ledger(results_folder(a)), read_ledger(results_folder(b))
    of_a, of_b = ({finding.id: finding for finding in ledger.findings} for ledger in ledgers)
    files = {name: [folder / name for folder in (a, b)] for name in ("plan.json", "runs.csv")}
    absent = {name: [str(path) for path in paths if not path.exists()] for name, paths in files.items()}
    plans = [] if absent["plan.json"] else [read_json(path) for path in files["plan.json"]]
    tables = [] if absent["runs.csv"] else [_runs(path) for path in files["runs.csv"]]
    seeds = [", ".join(map(str, ledger.seeds)) for ledger in ledgers]
    return Comparison(
        a,
        b,
        ledgers,
        tuple(ClaimPair(name, of_a.get(name), of_b.get(name)) for name in dict.fromkeys([*of_a, *of_b])),
        tuple(_changes(*plans)) if plans else None,
        (Pair("seeds", *seeds), *(_provenance(*tables) if tables else ())),
        _paired(*tables) if tables else None,
        (*absent["plan.json"], *absent["runs.csv"]),
        _equal(a / "observations.csv", b / "observations.csv"),
    )


def _equal(a: Path, b: Path) -> frozenset[str]:
    """Claims of which two files of observations hold the same lines; none where a file is missing."""
    if not (a.exists() and b.exists()):
        return frozenset()
    of_a, of_b = (
        {claim: rows.to_csv(index=False) for claim, rows in read_frame(path, dtype=str).groupby("claim", sort=False)}
        for path in (a, b)
    )
    return frozenset(str(claim) for claim, text in of_a.items() if of_b.get(claim) == text)


def _runs(path: Path) -> pd.DataFrame:
    """runs.csv as text, by folder; test accuracies are numbers."""
    # As text: a commit of digits is no number.
    table = read_frame(path, dtype=str, keep_default_na=False, na_values={"test_accuracy": ["", "nan"]})
    for column in ("folder", "test_accuracy"):
        if column not in table:
            raise InputError(f"{path}: column {column} is missing; found {', '.join(table.columns)}")
    for run in table["folder"][table["folder"].duplicated()]:
        raise InputError(f"{path}: run {run} is there twice")
    try:
        return table.assign(test_accuracy=pd.to_numeric(table["test_accuracy"])).set_index("folder")
    except ValueError as error:
        raise InputError(f"{path}: column test_accuracy: {error}") from None


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Pair]:
    flat_a, flat_b = dict(flatten(a)), dict(flatten(b))
    for key in dict.fromkeys([*flat_a, *flat_b]):
        if key not in flat_a or key not in flat_b or flat_a[key] != flat_b[key]:
            texts = (json.dumps(flat[key], ensure_ascii=False) if key in flat else None for flat in (flat_a, flat_b))
            yield Pair(key, *texts)


def _provenance(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[Pair]:
    for name in PROVENANCE:
        values = [sorted({value for value in table[name] if value}) if name in table else [] for table in (a, b)]
        if any(values):
            yield Pair(name, *(", ".join(texts) if texts else None for texts in values))


def _paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Every run of either, by folder: its test accuracy in `a` and `b` (NaN where it has none) and their `difference`.

    in_a, in_b: which have the run. same_spec: whether both trained it by the same specification. equal: whether the
    accuracies are. The largest difference comes first, those without one last.
    """
    runs = pd.DataFrame({"a": a["test_accuracy"], "b": b["test_accuracy"]})
    runs["difference"] = runs["b"] - runs["a"]
    runs["in_a"], runs["in_b"] = runs.index.isin(a.index), runs.index.isin(b.index)
    specs = [table.get("spec_sha256", pd.Series(dtype=str)).reindex(runs.index, fill_value="") for table in (a, b)]
    runs["same_spec"] = (specs[0] == specs[1]) & (specs[0] != "")
    runs["equal"] = runs["in_a"] & runs["in_b"] & ((runs["a"] == runs["b"]) | (runs["a"].isna() & runs["b"].isna()))
    return runs.sort_values("difference", key=lambda change: -change.abs(), kind="stable")


def counts(runs: pd.DataFrame) -> dict[str, int]:
    """How many runs both have, and how many of these agree in what."""
    both = runs[runs["in_a"] & runs["in_b"]]
    return {
        "in both": len(both),
        "of the same specification": int(both["same_spec"].sum()),
        "of equal test accuracy": int(both["equal"].sum()),
        "of equal test accuracy and the same specification": int((both["equal"] & both["same_spec"]).sum()),
    }


# --- In short


def in_short(comparison: Comparison) -> Iterator[str]:
    """What somebody who has repeated a kept run wants to know: whether it came out alike, and if not, whether noise
    explains it."""
    measured = [pair for pair in comparison.claims if all(map(_is_measured, (pair.a, pair.b)))]
    same = [pair for pair in measured if pair.id in comparison.equal]
    changed = [pair for pair in comparison.claims if pair.changed]
    if measured and len(same) == len(measured):
        yield f"Equal to {comparison.b}, to the byte: the numbers behind every claim."
    else:
        others = ", ".join(pair.id for pair in measured if pair.id not in comparison.equal)
        yield f"Beside {comparison.b}: equal to the byte for {len(same)} of {len(measured)} claims; not {others}."
    yield f"Verdicts: {len(comparison.claims) - len(changed)} of {len(comparison.claims)} are the same."
    for pair in changed:
        verdicts = [finding.verdict if finding else "not in this ledger" for finding in (pair.a, pair.b)]
        yield f"  {pair.id}: {verdicts[0]} here, {verdicts[1]} there; {_explained(pair)}"


def _is_measured(finding: Finding | None) -> bool:
    return finding is not None and any(each.cells for each in finding.quantities)


def _explained(pair: ClaimPair) -> str:
    """Whether the noise of both runs explains how far a claim's effects are apart: 95 % of differences without a cause
    are smaller than the root of the summed squares of the intervals' halves."""
    a, b = pair.effects or (None, None)
    if not a or not b or pair.disjoint is None or math.isnan(pair.difference):
        return "no two intervals to compare"
    noise = math.hypot(*((each.high - each.low) / 2 for each in (a, b)))  # type: ignore[operator]  # both have ends
    shown = f"{effect(a)} here, {effect(b)} there"
    return f"{'noise explains' if abs(pair.difference) <= noise else 'noise does not explain'} {shown}"


# --- On a terminal


def show(comparison: Comparison, console: Console) -> None:
    """Prints the comparison, in words that need no colour."""
    for letter, folder, ledger in zip("AB", (comparison.a, comparison.b), comparison.ledgers, strict=True):
        console.print(_text(f"{letter}: {folder} ({ledger.preset}; {ledger.scale})"))
    console.print()
    changed = [pair.id for pair in comparison.claims if pair.changed]
    heads = ("claim", "verdict A", "verdict B", "effect A", "effect B", "B minus A", "note")
    _table(console, heads, map(_line, comparison.claims))
    outcome = f"changed: {', '.join(changed)}" if changed else "none changed"
    console.print(_text(f"Verdicts of {len(comparison.claims)} claims: {outcome}. Ratios: B over A."))
    console.print(_text("Intervals that overlap do not show that effects are equal."))
    console.print()
    versions = [(pair.name, _short(pair.a), _short(pair.b), pair.note) for pair in comparison.provenance]
    _table(console, ("code and machine", "A", "B", ""), versions)
    if comparison.preset:
        keys = [(p.name, *("not there" if at is None else at for at in (p.a, p.b))) for p in comparison.preset]
        _table(console, ("key of the preset", "A", "B"), keys[:_SHOWN])
        if len(keys) > _SHOWN:
            console.print(_text(f"... and {len(keys) - _SHOWN} more keys (--out FILE.csv has all)."))
    elif comparison.preset is not None:
        console.print(_text("The presets are equal in every key."))
    runs = () if comparison.runs is None else _run_lines(comparison.runs)
    for line in (*runs, *(f"Not compared: {path} is missing." for path in comparison.absent)):
        console.print(_text(line))


def _line(pair: ClaimPair) -> tuple[str, ...]:
    quantity = next((headline.quantity for headline in pair.headlines if headline), "")
    verdicts = (finding.shown if finding else "not in this ledger" for finding in (pair.a, pair.b))
    name = f"{pair.id} {quantity}".strip()
    return (name, *verdicts, *map(effect, pair.headlines), _difference(pair), ", ".join(pair.notes))


def _difference(pair: ClaimPair) -> str:
    if pair.effects is None or math.isnan(pair.difference):
        return "n/a"
    unit = pair.effects[0].unit
    if unit == "ratio":
        return f"× {number(pair.difference, unit)}"
    # Shares differ by points; a difference has a sign, whatever its unit.
    text = number(pair.difference, "points" if unit == "share" else unit)
    return text if pair.difference < 0 or text.startswith("+") else f"+{text}"


def _run_lines(runs: pd.DataFrame) -> Iterator[str]:
    both, same, equal, equal_same = counts(runs).values()
    yield (
        f"Runs that both have: {both}, of the same specification: {same}. Of equal test accuracy: "
        f"{equal} of {both}; of the same specification: {equal_same} of {same}."
    )
    different = runs[runs["in_a"] & runs["in_b"] & ~runs["equal"]]
    largest = {"Largest difference": different}
    largest["Largest with the same specification"] = different[different["same_spec"]]
    for head, rows in largest.items():
        for run in rows.head(1).itertuples():
            change = "n/a" if math.isnan(run.difference) else f"{100 * run.difference:+.2f} points"
            yield f"{head}: {change} in {run.Index} ({100 * run.a:.2f} and {100 * run.b:.2f} %)."
    for letter, other in (("A", "in_b"), ("B", "in_a")):
        alone = runs.index[~runs[other]]
        if len(alone):
            yield f"Runs that only {letter} has: {len(alone)}, such as {', '.join(alone[:3])}."


def _table(console: Console, heads: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for line in lines:
        table.add_row(*map(_text, line))
    console.print(table)
    console.print()


def _text(line: str) -> Text:
    """As it is, without markup."""
    return Text(printable(line))


def _short(value: str | None) -> str:
    """Digests and commits by their beginning."""
    return "not recorded" if value is None else re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b", r"\1", value)


# --- As a table


def rows(comparison: Comparison) -> Iterator[dict[str, object]]:
    """The whole comparison, one row per thing compared; effects and accuracies raw, as in their files."""
    one, other = comparison.ledgers
    yield {"part": "results", "name": "folder", "a": comparison.a.as_posix(), "b": comparison.b.as_posix()}
    for name in ("preset", "scale"):
        yield {"part": "results", "name": name, "a": getattr(one, name), "b": getattr(other, name)}
    for pair in comparison.claims:
        verdicts = {key: finding.verdict if finding else "" for key, finding in (("a", pair.a), ("b", pair.b))}
        note = "changed" if pair.changed else "same"
        yield {"part": "claim", "name": pair.id, "what": "verdict", **verdicts, "note": note}
        effects = {key: headline for key, headline in zip("ab", pair.headlines, strict=True) if headline}
        for together in [effects] if pair.effects else [{key: value} for key, value in effects.items()]:
            yield _effect_row(pair, together)
    for part, pairs in (("preset", comparison.preset or ()), ("provenance", comparison.provenance)):
        for value in pairs:
            yield {"part": part, "name": value.name, "a": value.a, "b": value.b, "note": value.note}
    if comparison.runs is not None:
        yield from _run_rows(comparison.runs)


def _effect_row(pair: ClaimPair, effects: Mapping[str, Headline]) -> dict[str, object]:
    """`effects`: of one quantity, by `a` and `b`."""
    first, cells = next(iter(effects.values())), dict.fromkeys(value.cell for value in effects.values())
    what = f"{first.quantity} ({first.unit}), {' / '.join(cells)}"
    row: dict[str, object] = {"part": "claim", "name": pair.id, "what": what}
    for key, value in effects.items():
        row |= {key: value.mean, f"{key}_low": value.low, f"{key}_high": value.high}
    note = ", ".join(note for note in pair.notes if note != "verdict changed")
    return row | {"difference": _known(pair.difference), "note": note}


def _run_rows(runs: pd.DataFrame) -> Iterator[dict[str, object]]:
    for name, count in counts(runs).items():
        yield {"part": "runs", "name": name, "a": count, "b": count}
    yield {"part": "runs", "name": "in one only", "a": int((~runs["in_b"]).sum()), "b": int((~runs["in_a"]).sum())}
    for run in runs[~runs["equal"]].itertuples():
        row = {"part": "run", "name": run.Index}
        if run.in_a and run.in_b:
            values = {"a": _known(run.a), "b": _known(run.b), "difference": _known(run.difference)}
            spec = "same specification" if run.same_spec else "other specification"
            yield row | {"what": "test_accuracy", **values, "note": spec}
        else:
            yield row | {"note": "not in b" if run.in_a else "not in a"}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def write(comparison: Comparison, out: Path) -> None:
    """Writes `rows` as CSV: the same results give the same bytes."""
    write_csv(out, list(rows(comparison)), COLUMNS)
