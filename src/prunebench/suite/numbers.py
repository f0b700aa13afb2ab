"""Numbers as a reader sees them: units, decimals that fit the uncertainty, typographic minus signs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNIT = {"points": "points", "share": "%", "ratio": "ratio", "nats": "nats"}
"""What heads a column of numbers of a unit; the others are plain numbers."""

SIGNED = ("points", "slope", "correlation")
"""Units whose plus sign is written."""

FROM_ZERO = ("points", "ratio", "slope", "correlation")
"""Units of quantities that are 0 (the logarithm of a ratio) where there is no effect."""

MOST = 4
"""Decimals at most."""

NONE = "n/a"


def in_unit(value: float | None, unit: str) -> float | None:
    """A number of claims.json as it is shown: shares in percent, ratios from their logarithms; None stays None."""
    if value is None or not math.isfinite(value):
        return None
    if unit == "ratio":
        return math.exp(min(value, 700.0))
    return 100 * value if unit in ("points", "share") else value


def decimals(values: Iterable[float | None], spreads: Iterable[float | None]) -> int:
    """Decimals that give a small spread (the lower quartile) two digits; without spreads, the largest value three."""
    widths = sorted(s for s in spreads if s is not None and math.isfinite(s) and s > 0)
    if widths:
        return _clamped(1 - math.floor(math.log10(widths[len(widths) // 4])))
    sizes = [abs(v) for v in values if v]
    return _clamped(2 - math.floor(math.log10(max(sizes)))) if sizes else 1


def _clamped(digits: int) -> int:
    return max(0, min(digits, MOST))


def text(value: float | None, digits: int, signed: bool = False) -> str:
    """`value` with so many decimals, powers of ten where it has none of them; `n/a` for None and NaN."""
    if value is None or not math.isfinite(value):
        return NONE
    sign = "+" if signed else ""
    plain = f"{value:{sign}.{digits}f}"
    if abs(value) >= 1e6 or (value and digits == MOST and not float(plain)):
        return minus(f"{value:{sign}.1e}")
    return minus(plain if float(plain) else plain.lstrip("+-"))


def with_unit(number: str, unit: str) -> str:
    """A number as text with its unit."""
    if number == NONE or unit not in UNIT:
        return number
    return f"× {number}" if unit == "ratio" else f"{number} {UNIT[unit]}"


def minus(number: str) -> str:
    """A number with the typographic minus sign."""
    return number.replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, digits: int, signed: bool = False) -> str:
    """`[low, high]`, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{text(low, digits, signed)}, {text(high, digits, signed)}]"


def significant(value: float | None) -> str:
    """A positive number with two significant digits."""
    if not value or not math.isfinite(value):
        return text(value, 0)
    return text(value, max(0, 1 - math.floor(math.log10(value))))


def estimate(summary: Mapping[str, Any], unit: str, digits: int) -> dict[str, str]:
    """An estimate's raw `mean`, `low` and `high` as text: `mean`, and `interval`, empty where there is none."""
    mean, low, high = (in_unit(summary.get(name), unit) for name in ("mean", "low", "high"))
    if unit == "ratio" and low is not None and high is not None and high > 3 * low:
        # Decimals that fit the upper end would round the lower one to 0.
        mean_text, low_text, high_text = (significant(value) for value in (mean, low, high))
        return {"mean": mean_text, "interval": f"[{low_text}, {high_text}]"}
    signed = unit in SIGNED
    return {"mean": text(mean, digits, signed), "interval": interval(low, high, digits, signed)}


def digits_of(summaries: Sequence[Mapping[str, Any]], unit: str) -> int:
    """Decimals that fit estimates which are shown together."""
    shown = [[in_unit(summary.get(name), unit) for name in ("mean", "low", "high")] for summary in summaries]
    spreads = [(high - low) / 2 for _, low, high in shown if low is not None and high is not None]
    return decimals([mean for mean, _, _ in shown], spreads)


def p_value(p: float | None) -> str:
    """A p-value with two digits, `< 0.001` below that."""
    if p is None or not math.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def share(value: float) -> str:
    """A share of simulated cases in percent: a decimal below 10 %, and never 0 or 100 %, which no simulation shows.

    >>> from prunebench.suite.numbers import share
    >>> share(0.8712), share(0.013), share(0.0), share(1.0)
    ('87 %', '1.3 %', '< 0.1 %', '> 99 %')
    """
    if value < 0.001:
        return "< 0.1 %"
    if value >= 0.995:
        return "> 99 %"
    return f"{100 * value:.{0 if value >= 0.0995 else 1}f} %"


def count(value: float) -> str:
    """A whole number with thin spaces between its thousands."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def large(value: float) -> str:
    """A large number with three digits and a power of ten."""
    if not value:
        return "0"
    power = math.floor(math.log10(abs(value)))
    return count(value) if power < 6 else f"{value / 10.0**power:.2f} × 10{str(power).translate(_RAISED)}"


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def duration(seconds: float) -> str:
    """Seconds as a person says them: 48 s, 12 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(octets: int) -> str:
    """Bytes as kB or MB."""
    return f"{octets / 1e6:.1f} MB" if octets >= 1e6 else f"{max(1, round(octets / 1e3))} kB"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within [low, high], at most `most` steps apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def ratio_ticks(low: float, high: float) -> list[float]:
    """Round ratios within [low, high], both above 0: 1, 2, 5 times powers of ten where these are enough."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    series = [s * 10.0**p for p in powers for s in (1, 2, 5) if low <= s * 10.0**p <= high]
    if len(series) > 7:
        series = [value for value in series if math.isclose(math.log10(value), round(math.log10(value)))]
    return series if len(series) >= 3 else [value for value in ticks(low, high) if value > 0]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Ticks as text, as short as they can be and differ."""
    return [minus(f"{value:.6g}") if value else "0" for value in (round(v, 12) for v in values)]
