"""Checks that the schedules share; a failure is one line: the field, the value, what is allowed."""

import itertools
import math
from collections.abc import Iterable
from numbers import Integral, Real

from prunebench.errors import InputError


def number(
    owner: object,
    key: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Raises InputError unless field `key` of `owner` is a finite number between `low` and `high`."""
    number_value(type(owner).__name__, key, getattr(owner, key), low, high, low_open, high_open)


def number_value(
    owner: str,
    key: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    bounds = []
    if low != -math.inf:
        bounds.append(f"{'>' if low_open else '>='} {low:g}")
    if high != math.inf:
        bounds.append(f"{'<' if high_open else '<='} {high:g}")
    allowed = " and ".join(bounds) or "finite"
    # bool is an int to Python; `rate: true` in a config is a mistake, not a rate of 1
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{owner}: {key} is {value!r}; allowed: a number {allowed}")
    number = float(value)
    if (
        not math.isfinite(number)
        or number < low
        or number > high
        or (low_open and number == low)
        or (high_open and number == high)
    ):
        raise InputError(f"{owner}: {key} is {value}; allowed: a finite number {allowed}")


def integer(owner: object, key: str, *, low: int) -> None:
    """Raises InputError unless field `key` of `owner` is an integer of at least `low`."""
    value = getattr(owner, key)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{type(owner).__name__}: {key} is {value!r}; allowed: an integer >= {low}")


def as_tuple(owner: object, key: str) -> tuple[float, ...]:
    """Field `key` of frozen `owner`, made a tuple in place so that a list from a config hashes."""
    value = getattr(owner, key)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InputError(f"{type(owner).__name__}: {key} is {value!r}; allowed: a list of numbers")
    items = tuple(value)
    object.__setattr__(owner, key, items)
    return items


def milestones(owner: object) -> None:
    """Raises InputError unless `owner.milestones` are strictly increasing shares of the cycle in [0, 1]."""
    items = as_tuple(owner, "milestones")
    name = type(owner).__name__
    for item in items:
        number_value(name, "milestones entry", item, 0, 1)
    if any(a >= b for a, b in itertools.pairwise(items)):
        raise InputError(f"{name}: milestones are {list(items)}; allowed: strictly increasing shares of the cycle")


def cycle(m: int) -> None:
    """Raises InputError unless `m` is a pruning cycle (an integer >= 0)."""
    if isinstance(m, bool) or not isinstance(m, Integral) or m < 0:
        raise InputError(f"pruning cycle is {m!r}; allowed: an integer >= 0 (0 is the dense network)")


def step(index: int, total_steps: int) -> None:
    """Raises InputError unless 0 <= index < total_steps."""
    if not 0 <= index < total_steps:
        raise InputError(f"step is {index} of {total_steps}; allowed: 0 <= step < total_steps")
