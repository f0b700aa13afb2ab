"""Effects of the ledger in a line of text."""

from collections.abc import Mapping
from typing import Any

from prunebench import numbers


def number(value: float | None, unit: str) -> str:
    """A raw value (share, logarithm of a ratio, ...) alone, as readers see it; n/a where there is none."""
    shown = numbers.in_unit(value, unit)
    return numbers.text(shown, numbers.decimals([shown], []), unit in numbers.SIGNED)


def exact(value: float, unit: str) -> str:
    """A raw value that somebody chose, with the digits that it has and its unit, such as `+0.5 points`."""
    shown = numbers.in_unit(value, unit)
    return numbers.with_unit(numbers.minus(f"{shown:{'+' if unit in numbers.SIGNED else ''}.6g}"), unit)


def effect(found: Mapping[str, Any] | None) -> str:
    """Mean with its interval and unit, such as `+1.2 [−0.3, +2.7] points`; n/a where nothing was measured."""
    if not found or found["mean"] is None:
        return numbers.NONE
    unit = found["unit"]
    shown = numbers.estimate(found, unit, numbers.digits_of([found], unit))
    return numbers.with_unit(" ".join(text for text in (shown["mean"], shown["interval"]) if text), unit)


def where(headline: Mapping[str, Any]) -> str:
    """What a headline is of: its cell, or the mean over cells and how far these reach, and how many values."""
    unit = headline["unit"]
    digits = numbers.digits_of([headline], unit)
    least, most = (
        numbers.text(numbers.in_unit(headline[name], unit), digits, unit in numbers.SIGNED)
        for name in ("lowest", "highest")
    )
    reach = "" if headline["lowest"] == headline["highest"] else f" from {least} to {most}"
    return f"{headline['cell']}{reach}, n = {headline['n']}"
