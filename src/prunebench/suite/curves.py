"""A job's curves in a terminal: braille where its encoding has it, plain signs elsewhere. Python's library alone."""

import math
from collections.abc import Iterable, Sequence

Floats = Sequence[float]

BLOCKS, PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
"""The levels of a curve of one line."""

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille letter's dots, by row and column."""


def has_braille(encoding: str | None) -> bool:
    """Whether an output's encoding has what curves are drawn with."""
    try:
        f"⣿{BLOCKS}".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def spark(values: Floats, width: int, plain: bool = False) -> str:
    """A curve of one line: means of equal parts of the values, from the least to the largest of them."""
    levels = PLAIN_BLOCKS if plain else BLOCKS
    parts = min(width, len(values))
    means = [_mean(values[len(values) * n // parts : len(values) * (n + 1) // parts]) for n in range(parts)]
    low, high = _range(means)
    return "".join(
        levels[min(int((mean - low) / (high - low) * len(levels)), len(levels) - 1)] if math.isfinite(mean) else " "
        for mean in means
    )


def _mean(values: Floats) -> float:
    return sum(values) / len(values)


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Least and largest finite value, apart: equal ones are in the middle."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    around = (abs(low) or 1) / 2
    return (low, high) if high > low else (low - around, low + around)


def chart(values: Floats, marks: Sequence[int], width: int, height: int, plain: bool = False) -> list[str]:
    """A curve of `height` lines over the numbers of the values, its range at the left.

    marks: numbers of values with which a phase begins, which the axis below shows. Infinite values and NaN are left
    out. plain: with one star for each place, in place of braille's eight dots.
    """
    across, down = (1, 1) if plain else (2, 4)
    low, high = _range(values)
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    columns = max(width - margin - 2, 10)
    dots: set[tuple[int, int]] = set()
    across_all, down_all = columns * across - 1, height * down - 1

    def place(number: int) -> tuple[int, int]:
        share = number / max(len(values) - 1, 1)
        return round(share * across_all), round((high - values[number]) / (high - low) * down_all)

    previous = None
    for number, value in enumerate(values):
        here = place(number) if math.isfinite(value) else None
        dots |= _line(previous or here, here) if here else set()
        previous = here
    lines = [
        f"{label:>{margin}} │{''.join(_letter(dots, row, column, plain) for column in range(columns)).rstrip()}"
        for row, label in enumerate(labels)
    ]
    begins = {round(mark / max(len(values) - 1, 1) * (columns - 1)) for mark in marks if mark < len(values)}
    axis = "".join("┴" if column in begins else "─" for column in range(columns))
    lines.append(f"{'':>{margin}} └{axis}")
    return [line.translate(_PLAIN_AXES) for line in lines] if plain else lines


_PLAIN_AXES = str.maketrans("│└─┴", "|+-+")


def _letter(dots: set[tuple[int, int]], row: int, column: int, plain: bool) -> str:
    if plain:
        return "*" if (column, row) in dots else " "
    bits = sum(
        bit
        for down, pair in enumerate(DOTS)
        for across, bit in enumerate(pair)
        if (2 * column + across, 4 * row + down) in dots
    )
    return chr(0x2800 + bits) if bits else " "


def _line(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    """The dots from one to another."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return {
        (round(start[0] + (end[0] - start[0]) * n / steps), round(start[1] + (end[1] - start[1]) * n / steps))
        for n in range(steps + 1)
    }
