"""Effects as text, by unit, for the terminal and documents."""

import math
from collections.abc import Mapping
from typing import Any

UNITS = {"points": " points", "share": " %", "nats": " nats"}

_SIGNED = ("points", "slope", "correlation")


def number(value: float | None, unit: str) -> str:
    """A raw value (share, logarithm of a ratio, ...) as readers see it; n/a where there is none."""
    if value is None or math.isnan(value):
        return "n/a"
    if unit == "ratio":
        value = math.exp(value) if value < 700 else math.inf
    elif unit in ("points", "share"):
        value = 100 * value
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    sign = "+" if unit in _SIGNED else ""
    decimals = 1 if abs(value) >= 1 else 2  # margins are fractions of a point
    text = f"{value:{sign}.{decimals}f}" if unit in ("points", "share") else f"{value:{sign}.3g}"
    if not float(text):
        text = text.lstrip("+-")  # no sign of what rounds to nothing
    return text.replace("e-0", "e-").replace("e+0", "e")


def effect(found: Mapping[str, Any] | None) -> str:
    """Mean with its interval and unit, such as `+1.2 [-0.3, +2.7] points`; n/a where nothing was measured."""
    if not found or found["mean"] is None:
        return "n/a"
    unit = found["unit"]
    text = ("×" if unit == "ratio" else "") + number(found["mean"], unit)
    if found["low"] is not None:
        text += f" [{number(found['low'], unit)}, {number(found['high'], unit)}]"
    return text + UNITS.get(unit, "")


def where(headline: Mapping[str, Any]) -> str:
    """What a headline is of: its cell, or the mean over cells and how far these reach, and how many values."""
    unit = headline["unit"]
    text = f"{headline['cell']}"
    if headline["lowest"] != headline["highest"]:
        text += f" from {number(headline['lowest'], unit)} to {number(headline['highest'], unit)}"
    return f"{text}, n = {headline['n']}"
