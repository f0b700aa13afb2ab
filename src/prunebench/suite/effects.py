"""Effects of the ledger in a line of text."""

from prunebench.suite import numbers
from prunebench.suite.record import Headline


def number(value: float | None, unit: str) -> str:
    """A raw value (share, logarithm of a ratio, ...) alone, as readers see it; n/a where there is none."""
    shown = numbers.in_unit(value, unit)
    return numbers.text(shown, numbers.decimals([shown], []), unit in numbers.SIGNED)


def exact(value: float, unit: str) -> str:
    """A raw value that somebody chose, with the digits that it has and its unit, such as `+0.5 points`."""
    shown = numbers.in_unit(value, unit)
    return numbers.with_unit(numbers.minus(f"{shown:{'+' if unit in numbers.SIGNED else ''}.6g}"), unit)


def effect(headline: Headline | None) -> str:
    """Mean with its interval and unit, such as `+1.2 [−0.3, +2.7] points`; n/a where nothing was measured."""
    if headline is None or headline.mean is None:
        return numbers.NONE
    summary, unit = headline.model_dump(), headline.unit
    shown = numbers.estimate(summary, unit, numbers.digits_of([summary], unit))
    return numbers.with_unit(" ".join(text for text in (shown["mean"], shown["interval"]) if text), unit)


def where(headline: Headline) -> str:
    """What a headline is of: its cell, or the mean over cells and how far these reach, and how many values."""
    unit = headline.unit
    digits = numbers.digits_of([headline.model_dump()], unit)
    least, most = (
        numbers.text(numbers.in_unit(mean, unit), digits, unit in numbers.SIGNED)
        for mean in (headline.lowest, headline.highest)
    )
    reach = "" if headline.lowest == headline.highest else f" from {least} to {most}"
    return f"{headline.cell}{reach}, n = {headline.n}"
