"""Rules made of comparisons with margins, and the truths of the calibration that follow from them.

A condition on every cell is one on each cell's interval: all must hold, which needs no correction. Of refutations by
some cell one is enough, so their intervals allow for all cells and all such refutations (Bonferroni).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from prunebench.suite.claim import (
    ROUNDING,
    Bools,
    Cells,
    Claim,
    Level,
    Quantity,
    Ruling,
    Sample,
    Scenario,
    above,
    any_cell,
    below,
)

Scope = Literal["every", "wherever", "no", "some", "pooled", "between"]
"""In every cell, of which there must be one; in every cell, if there is any; in no cell for certain; in some cell; of
the mean over cells, by the spread between seeds or between cells (random effects)."""

Sign = Literal["<", "<=", ">", ">=", "within", "outside"]

_HOLDS: Mapping[Sign, Callable[..., Any]] = {
    "<": lambda of, level: below(of.high, level),
    "<=": lambda of, level: of.high <= level + ROUNDING,
    ">": lambda of, level: above(of.low, level),
    ">=": lambda of, level: of.low >= level - ROUNDING,
    "within": lambda of, least, most: above(of.low, least) & below(of.high, most),
    "outside": lambda of, least, most: below(of.high, least) | above(of.low, most),
}
"""Whether whole intervals lie there."""


@dataclass(frozen=True)
class Comparison:
    """Intervals of a quantity on one side of a level: 95 %, and 90 % where equivalence is shown (`within`)."""

    scope: Scope
    quantity: str
    sign: Sign
    level: Level | tuple[Level, Level]
    """Of `within` and `outside` both ends, or a margin that stands on either side of 0."""
    point: bool = False
    """Whether the estimate itself has to lie there, instead of its interval."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The level, or both ends."""
        if isinstance(self.level, tuple):
            return self.level
        return (f"-{self.level}", self.level) if self.sign in ("within", "outside") else (self.level,)

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """Its quantity, and the margins that it is compared with."""
        return {self.quantity: tuple(level for level in self.levels if isinstance(level, str))}

    def holds(self, sample: Sample, margins: Any, quantities: Mapping[str, Quantity], looks: int) -> Any:
        """Where it holds, of shape (tables,); looks: how many refutations by some cell are looked at."""
        name, confidence = self.quantity, 0.9 if self.sign == "within" else 0.95
        levels = [quantities[name].raw(level, margins) for level in self.levels]

        def there(of: Any) -> Bools:
            of = replace(of, low=of.mean, high=of.mean) if self.point else of
            return np.asarray(_HOLDS[self.sign](of, *levels))

        match self.scope:
            case "pooled":
                return there(sample.pooled(name, confidence))
            case "between":
                return there(sample.between(name))
            case "some":
                return any_cell(there(sample.any_of(name, max(looks, 1))))
        each = there(sample.each(name, confidence))
        if self.scope == "every":
            return sample.every(name, each)
        return ~any_cell(each) if self.scope == "no" else each.all(axis=-1)


every, wherever, no, some, pooled, between = (partial(Comparison, scope) for scope in get_args(Scope))


@dataclass(frozen=True)
class Check:
    """A condition that is more than a comparison."""

    judge: Callable[[Sample, Any], Bools | bool]
    """(sample, margins) -> where it holds, of shape (tables,), or whether it does in all tables."""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What no comparison of the claim reads: quantities, each with the margins that its plots show."""

    def holds(self, sample: Sample, margins: Any, quantities: Mapping[str, Quantity], looks: int) -> Any:
        """As for `Comparison`."""
        return self.judge(sample, margins)


Condition = Comparison | Check | tuple[Comparison | Check, ...]
"""A tuple: conditions that hold together."""


Truth = Callable[[Any, Cells], Scenario]
"""(margins, cells) -> true means."""


def _parts(condition: Condition) -> tuple[Comparison | Check, ...]:
    return condition if isinstance(condition, tuple) else (condition,)


def _in_some(condition: Condition) -> bool:
    return any(isinstance(part, Comparison) and part.scope == "some" for part in _parts(condition))


def _as_read(quantity: Quantity, parts: list[Comparison | Check]) -> Quantity:
    """A quantity that decides if conditions read it, marked with the margins that they compare it with."""
    marks = [mark for part in parts for mark in part.reads.get(quantity.name, ())]
    names = dict.fromkeys(mark.removeprefix("-") for mark in marks)
    ordered = tuple(mark for name in names for mark in (f"-{name}", name) if mark in marks)
    return replace(quantity, decides=any(quantity.name in part.reads for part in parts), marks=ordered)


def declare(
    *,
    quantities: tuple[Quantity, ...],
    reproduced: Mapping[str, Condition],
    controls: Mapping[str, Condition] | None = None,
    refuted: Mapping[str, Condition],
    claimed: Mapping[str, Level] | Truth,
    false: Mapping[str, Level] | Truth,
    **rest: Any,
) -> Claim:
    """A claim whose rule is made of conditions, each under what it says; `rest` are the other fields of `Claim`.

    reproduced, controls: all must hold; controls are about what else could explain it. refuted: one is enough. claimed:
    each quantity's level where the claim holds. false: what differs where the claim is false: in all cells of a
    quantity that is pooled, of others in the first alone, which is the hardest case for a rule about every cell. Either
    may be a function of (margins, cells), as in `Claim`.
    Raises ValueError where a condition reads what is no quantity of the claim, and for an effect in either direction
    without words for both (`direction`), or the other way round.
    """
    reproduced = {**reproduced, **(controls or {})}
    named = {quantity.name: quantity for quantity in quantities}
    parts = [part for condition in (*reproduced.values(), *refuted.values()) for part in _parts(condition)]
    if unknown := {name for part in parts for name in part.reads} - {*named}:
        raise ValueError(
            f"claim {rest['id']}: a condition reads {sorted(unknown)[0]}, which is not among its quantities"
        )
    either = any(
        isinstance(part, Comparison) and part.sign == "outside"
        for condition in reproduced.values()
        for part in _parts(condition)
    )
    if either != (rest.get("direction") is not None):
        raise ValueError(f"claim {rest['id']}: 'direction' belongs to a claim of an effect in either direction")
    mean = {part.quantity for part in parts if isinstance(part, Comparison) and part.scope == "pooled"}
    looks = sum(map(_in_some, refuted.values()))

    def judge(sample: Sample, margins: Any) -> Ruling:
        def holds(condition: Condition) -> Bools:
            tables = np.ones(len(sample.values[quantities[0].name]), dtype=np.bool_)
            held = [part.holds(sample, margins, named, looks) for part in _parts(condition)]
            return np.asarray(np.logical_and.reduce(np.broadcast_arrays(tables, *held)))

        return Ruling(*({text: holds(each) for text, each in asked.items()} for asked in (reproduced, refuted)))

    def truth(levels: Mapping[str, Level] | Truth, margins: Any, cells: Cells) -> dict[str, Any]:
        if callable(levels):
            return {**levels(margins, cells)}
        return {name: named[name].raw(level, margins) for name, level in levels.items()}

    def no_effect(margins: Any, cells: Cells) -> Scenario:
        true, wrong = truth(claimed, margins, cells), truth(false, margins, cells)
        if not callable(false):
            for name in wrong.keys() - mean:
                elsewhere, first = dict.fromkeys(cells[name], true[name]), dict.fromkeys(cells[name][:1], wrong[name])
                wrong[name] = elsewhere | first
        return true | wrong

    return Claim(
        quantities=tuple(_as_read(quantity, parts) for quantity in quantities),
        judge=judge,
        claimed=partial(truth, claimed),
        no_effect=no_effect,
        controls=tuple(controls or ()),
        **rest,
    )
