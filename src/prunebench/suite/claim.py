"""What a claim is: its quantities, its rule, and what the rule sees."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from prunebench.errors import InputError
from prunebench.files import write_text
from prunebench.stats import Interval, RandomEffects, random_effects, t_interval
from prunebench.suite.cells import Cell, dumps, label, loads
from prunebench.suite.inputs import LARGEST, read_frame

Verdict = Literal["reproduced", "not reproduced", "inconclusive", "not run at this scale"]

OBSERVATION = ("claim", "quantity", "cell", "seed", "value")
"""Columns of the observations: one number per claim, quantity, cell and seed."""

ALLOWED = 0.05
"""The share of false "reproduced" that a rule may have."""

POWER = 0.8
"""The power that a rule should have at the claimed effect."""

TOO_FEW = 0.2
"""The power below which so many seeds cannot decide a claim."""

FIRM = 0.8
"""The stability below which a verdict holds narrowly."""

OPPOSITE = 0.01
"""The share of repeats that may find the opposite of a verdict."""

ROUNDING = 1e-9
"""The size of rounding errors: a mean of equal numbers may differ from them in its last bit."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Level = float | str | Callable[[Any], float]
"""A value of a quantity: a number, the name of a margin, with `-` before it for its negative, or what a function makes
of the margins."""


@dataclass(frozen=True)
class Quantity:
    """What one claim measures in each of its cells, once per seed."""

    name: str
    meaning: str
    """One phrase, such as `test accuracy of S-Cyc minus that of the best benchmark`."""
    unit: Literal["points", "share", "ratio", "nats", "count", "slope", "correlation", "number"]
    """`points` are differences of shares, shown times 100; values of a `ratio` are logarithms, shown as e to them."""
    decides: bool = True
    """Whether the rule reads it; the others are controls or explanations."""
    marks: tuple[str, ...] = ()
    """Names of margins that its plots show, with `-` before one for its negative."""

    def raw(self, level: Level, margins: Any) -> float:
        """A level as the quantity has its values: of a ratio the logarithm."""
        value = level(margins) if callable(level) else level
        if isinstance(value, str):
            size = float(getattr(margins, value.removeprefix("-")))
            value = -size if value[0] == "-" else size
        return math.log(value) if self.unit == "ratio" else float(value)

    def margins(self, margins: Any) -> list[float]:
        """The raw values, such as those that the quantity has, that its marks stand for."""
        return [self.raw(mark, margins) for mark in self.marks]


def corrected(looks: int) -> float:
    """The confidence of an interval that is one of several looked at: 1 - 0.05 / looks (Bonferroni)."""
    return 1 - 0.05 / max(looks, 1)


class Observed(NamedTuple):
    """One number of a claim: of a quantity, in a cell, at a seed."""

    quantity: str
    cell: Cell
    seed: int
    value: float


def observed(quantity: str, rows: pd.DataFrame, values: Any, *axes: str) -> list[Observed]:
    """These values, one per row; the columns `axes` of a row name its cell, its column `seed` the seed."""
    columns = [rows[axis].tolist() for axis in axes]
    cells = [tuple(zip(axes, at, strict=True)) for at in zip(*columns, strict=True)]
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [Observed(quantity, *each) for each in zip(cells, rows["seed"].tolist(), numbers, strict=True)]


def above(values: Floats, bound: "float | Floats") -> Bools:
    """Where values lie above a bound by more than rounding; false for NaN."""
    return np.asarray(values > bound + ROUNDING)


def below(values: Floats, bound: "float | Floats") -> Bools:
    """Where values lie below a bound by more than rounding; false for NaN."""
    return np.asarray(values < bound - ROUNDING)


def any_cell(holds: Bools) -> Bools:
    """Where a condition of shape (tables, cells) holds in at least one cell."""
    return np.asarray(np.asarray(holds).any(axis=-1))


@dataclass(frozen=True)
class Sample:
    """Tables of observations of one claim: real ones, of which there is one, or many simulated ones.

    `values[quantity]` has shape (tables, cells, seeds); NaN where a seed has no value (missing, diverged, unmatched).
    `cells[quantity]` names the cells. All quantities have the same seeds in the same order: a seed pairs them.
    """

    values: Mapping[str, Floats]
    cells: Mapping[str, Sequence[Cell]]

    @property
    def n(self) -> int:
        """The number of seeds."""
        return max((values.shape[-1] for values in self.values.values()), default=0)

    def each(self, quantity: str, confidence: float = 0.95) -> Interval:
        """Every cell's interval over its seeds; fields have shape (tables, cells)."""
        return t_interval(self.values[quantity], confidence)

    def pooled(self, quantity: str, confidence: float = 0.95) -> Interval:
        """The interval of the mean over these cells; fields have shape (tables,).

        Cells share their seeds, so they are averaged within a seed first: how cells and seeds correlate cannot make
        the interval too narrow. Only seeds with a value in every cell count.
        """
        return t_interval(self.within(quantity), confidence)

    def within(self, quantity: str) -> Floats:
        """The mean over a quantity's cells within each seed, of shape (tables, seeds); NaN without cells."""
        values = self.values[quantity]
        return values.mean(axis=-2) if self.cells[quantity] else np.full((len(values), values.shape[-1]), np.nan)

    def between(self, quantity: str) -> RandomEffects:
        """The mean over these cells, whose true effects differ; fields have shape (tables,)."""
        each = self.each(quantity)
        return random_effects(each.mean, each.std**2 / each.n)

    def every(self, quantity: str, holds: Bools) -> Bools:
        """Where a condition of shape (tables, cells) holds in every cell of a quantity; false where it has no cell."""
        cells = len(self.cells[quantity])
        # Compared with a quantity that has no cells, `holds` has none either.
        return np.asarray(np.asarray(holds).all(axis=-1) & (holds.shape[-1] == cells > 0))

    def any_of(self, quantity: str, ways: int = 1) -> Interval:
        """`each` for a rule that needs any one cell, in `ways` ways: corrected for all intervals that it looks at."""
        return self.each(quantity, corrected(ways * len(self.cells[quantity])))

    def groups(self, key: Callable[[Cell], Any]) -> "list[Sample]":
        """The parts of this sample whose cells have the same `key`, in order."""
        names = dict.fromkeys(key(cell) for cells in self.cells.values() for cell in cells)
        return [self.only(partial(lambda name, cell: bool(key(cell) == name), name)) for name in names]

    def only(self, keep: Callable[[Cell], bool]) -> "Sample":
        """This sample with the cells that `keep` accepts."""
        at = {name: [place for place, cell in enumerate(cells) if keep(cell)] for name, cells in self.cells.items()}
        cells = {name: [self.cells[name][place] for place in places] for name, places in at.items()}
        return Sample({name: self.values[name][:, places] for name, places in at.items()}, cells)


@dataclass(frozen=True)
class Ruling:
    """What a rule finds in each table: conditions by what they say, each of shape (tables,).

    A claim is reproduced where all of `reproduced` hold, else not reproduced where any of `refuted` does, else it is
    inconclusive. A comparison with a number that could not be computed is false, so it decides nothing.
    """

    reproduced: Mapping[str, Bools]
    refuted: Mapping[str, Bools]

    @property
    def yes(self) -> Bools:
        """Where the claim is reproduced."""
        return np.logical_and.reduce([*self.reproduced.values()])

    @property
    def no(self) -> Bools:
        """Where it is not."""
        return np.logical_or.reduce([*self.refuted.values()]) & ~self.yes

    @property
    def verdicts(self) -> NDArray[np.int_]:
        """1 where the claim is reproduced, -1 where it is not, 0 where it is inconclusive; of shape (tables,)."""
        return self.yes.astype(int) - self.no.astype(int)


Cells = Mapping[str, Sequence[Cell]]
"""A quantity's cells."""

Scenario = Mapping[str, "float | Mapping[Cell, float]"]
"""True means by quantity: one for all cells, or one per cell."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of an abstract, and how it is decided. `margins` is the paper's part of the preset's `claims`."""

    id: str
    sentence: str
    """What the abstract says, in words of our own where it is not in quotation marks."""
    mark: str = "[abstract]"
    """Where the sentence comes from."""
    quantities: tuple[Quantity, ...]
    rule: str
    """The rule in words; `{name}` is a margin, `{name:.0%}` formats it."""
    judge: Callable[[Sample, Any], Ruling]
    """(sample, margins) -> ruling."""
    no_effect: Callable[[Any, Cells], Scenario]
    """(margins, cells) -> true means where the claim is false, as near to the claim as false can be."""
    claimed: Callable[[Any, Cells], Scenario]
    """(margins, cells) -> true means where the claim holds with the published effect, or one of ours (`claimed_as`)."""
    claimed_as: str
    """Where the size of the claimed effect comes from."""
    published: str = "n/a"
    """The paper's numbers with their mark."""
    observe: Callable[[Any, str | None], Iterable[Observed]]
    """(what the paper's `read` gave, method) -> observations. The method is None for the paper's own, or the name of
    one that the preset asks the claim of; a claim that `asks` of nothing gets None only."""
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    replicates: str = "seeds"
    """What the values of a cell are repeated over."""
    headline: str | None = ""
    """The quantity that stands for the claim in the ledger: its first by default; None where no single one does."""
    controls: tuple[str, ...] = ()
    """The conditions of being reproduced that are about a control: what else could explain what was found."""
    direction: tuple[str, str] | None = None
    """Of an effect whose direction the paper does not give: what it is where the headline's mean is below 0, and where
    it is above; the verdict says which was found."""
    subject: str = ""
    """How the quantities' meanings name the paper's method: where another one is asked about, its name stands there."""
    asked_sentence: str = ""
    """The sentence for another method, with `{method}`."""
    notes: Callable[[Any, str | None], Sequence[str]] = lambda data, method: ()
    """(as `observe`) -> what a reader of the verdict has to know beside it."""
    paper: str = ""
    """The key of its paper, which fills this in."""
    asks: str = ""
    """The kind of method that it is about, which the paper fills in (`Paper.asks`); empty: none."""
    method: str | None = None
    """The method that it is asked of; None: the paper's own."""

    def asked_of(self, method: str) -> "Claim":
        """This claim, asked of another method than the paper's: the same rule, quantities and margins."""
        return replace(
            self,
            id=f"{self.id}:{method}",
            sentence=self.asked_sentence.format(method=method),
            quantities=tuple(
                replace(each, meaning=each.meaning.replace(self.subject, method)) if self.subject else each
                for each in self.quantities
            ),
            mark="[asked]",
            published="n/a: asked of a method that the paper does not have",
            method=method,
        )

    def rule_in_words(self, margins: Any) -> str:
        """The rule with its margins."""
        return re.sub(r"(?<=\d)%", " %", self.rule.format(**margins.model_dump()))


def sample(observations: pd.DataFrame, claim: Claim) -> Sample:
    """A claim's observations as a sample of one table; a quantity without any has no cells.

    Raises ValueError for a second value of a quantity in the same cell at the same seed.
    """
    observations = observations[observations["claim"] == claim.id]
    seeds = {seed: place for place, seed in enumerate(sorted(observations["seed"].unique()))}
    values: dict[str, Floats] = {}
    cells: dict[str, list[Cell]] = {}
    for quantity in claim.quantities:
        rows = observations[observations["quantity"] == quantity.name]
        if (twice := rows.duplicated(["cell", "seed"])).any():
            first = rows[twice].iloc[0]
            where = f"in the cell '{label(first['cell'])}' at seed {first['seed']}"
            raise ValueError(f"claim {claim.id}: {quantity.name} has two values {where}")
        places = {each: place for place, each in enumerate(dict.fromkeys(rows["cell"]))}
        table = np.full((1, len(places), len(seeds)), np.nan)
        table[0, [places[each] for each in rows["cell"]], [seeds[each] for each in rows["seed"]]] = rows["value"]
        values[quantity.name], cells[quantity.name] = table, list(places)
    return Sample(values, cells)


def read_observations(path: Path) -> pd.DataFrame:
    """observations.csv with its cells as data; InputError where it is missing or no table of observations."""
    if not path.exists():
        raise InputError(f"cannot read {path}: No such file or directory; `snakemake claims` makes it")
    # Nothing but an empty value is missing: a quantity may be called "NA".
    nothing = {"value": [""]}
    frame = read_frame(path, OBSERVATION, converters={"cell": loads}, keep_default_na=False, na_values=nothing)
    try:
        frame = frame.astype({"claim": str, "quantity": str, "seed": int, "value": float})[[*OBSERVATION]]
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is no table of observations: {' '.join(str(error).split())}") from None
    if (twice := frame.duplicated(["claim", "quantity", "cell", "seed"])).any():
        first = frame[twice].iloc[0]
        where = f"{first['quantity']} in the cell '{label(first['cell'])}' at seed {first['seed']}"
        raise InputError(f"{path}: claim {first['claim']} has two values of {where}")
    if (beyond := frame["value"].abs() > LARGEST).any():
        first = frame[beyond].iloc[0]
        raise InputError(f"{path}: claim {first['claim']} has the value {first['value']}, which is none")
    return frame


def write_observations(path: Path, observations: pd.DataFrame) -> None:
    """Writes observations.csv: cells as JSON objects, so that no reader has to parse a label."""
    frame = observations.assign(cell=[dumps(each) for each in observations["cell"]])
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))
