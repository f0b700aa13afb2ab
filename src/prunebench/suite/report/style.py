"""What every figure shares: tables in, sizes, colours, axes of sparsity, the label of the scale, and files out."""

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from prunebench.files import write_bytes

WIDTH = 7.2
"""Inches: a journal's double column."""

SMALL = 7.0
"""Points: the smallest text at print size."""

Floats = npt.NDArray[np.float64]

Tables = Mapping[str, pd.DataFrame]
"""Tables by name."""

RC: dict[Any, Any] = {
    "font.size": 8.0,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": SMALL + 0.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    # Names come from configurations: a $ in one is a dollar.
    "text.parse_math": False,
    # Text stays text: searchable, and readable for those who cannot see the figure.
    "svg.fonttype": "none",
    "svg.hashsalt": "prunebench",
    "savefig.dpi": 300,
}


@contextmanager
def shared_style() -> Iterator[None]:
    """matplotlib's own defaults with `RC`, whatever the user's matplotlibrc says: the same bytes everywhere."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


@dataclass(frozen=True)
class Look:
    """How one series is drawn: its label in the legend, colour, marker, dashes, sizes in points, drawing order."""

    label: str
    color: str
    marker: str = "o"
    dash: str | tuple[int, tuple[float, ...]] = "-"
    width: float = 1.0
    size: float = 3.5
    order: float = 2.0

    def line(self) -> dict[str, Any]:
        """Keywords of Axes.plot."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.dash,
            "linewidth": self.width,
            "markersize": self.size,
            "markeredgewidth": 0.4,
            "markeredgecolor": "white",
            "zorder": self.order,
        }


_LABELS = {"s_cyc": "S-Cyc", "lr_warmup": "LR warm-up", "relu": "ReLU", "leaky_relu": "leaky ReLU"}
_LABELS |= {name: name.upper() for name in ("gelu", "elu", "lamp", "silo")}
_LABELS |= {"random_gmp_ratios": "random, GMP ratios", "one_shot": "one-shot"}
_LABELS |= {"fine_tune": "fine-tuning", "rewind_lr": "LR rewinding", "rewind_weights": "weight rewinding"}


def pretty(name: str) -> str:
    """A name of the configuration as readers know it."""
    return _LABELS.get(name, name.replace("_", " "))


def wrapped(text: str, inches: float, points: float = 8.0, letter: float = 0.57) -> str:
    """`text` in lines that fit `inches`; its line breaks stay, and neither `n = 3` nor `80 %` is broken.

    letter: a letter's mean width in font sizes.
    """
    columns = max(8, int(inches * 72 / (letter * points)))
    held = text.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")
    lines = [line for part in held.split("\n") for line in textwrap.wrap(part, columns) or [""]]
    return "\n".join(lines).replace("\u00a0", " ")


def percent(sparsity: float) -> str:
    """Sparsity in %, with the decimals that give its density within 3.5 %."""
    density = 100 * (1 - sparsity)
    digits = 0
    while density > 1e-6 and digits < 6 and abs(round(density, digits) - density) > 0.035 * density:
        digits += 1
    return f"{100 * sparsity:.{digits}f}"


def plain(value: float) -> str:
    """A number as a plain label: 0.05, 0.233, 1e-4."""
    if value == 0 or 1e-3 <= abs(value) < 1e3:
        return f"{value:.3g}"
    factor, exponent = f"{value:.2e}".split("e")
    return f"{float(factor):g}e{int(exponent)}".replace("-", "\u2212")


def set_ticks(axis: Axis, places: Iterable[float], texts: Sequence[str] | Callable[[float], str] = plain) -> None:
    """Ticks at `places` alone; `texts`: their labels, or what makes a label of a place."""
    axis.set_major_locator(FixedLocator([float(place) for place in places]))
    if callable(texts):
        axis.set_major_formatter(FuncFormatter(lambda place, _: texts(place)))
    else:
        axis.set_major_formatter(FuncFormatter(lambda _, i: texts[i] if i is not None else ""))
    axis.set_minor_locator(NullLocator())


def sparsity_position(sparsity: object) -> Floats:
    """Where sparsities lie on an axis of log density: cycles that prune the same share are evenly spaced."""
    return -np.log(np.clip(1 - np.asarray(sparsity, dtype=np.float64), 1e-9, None))


def sparsity_axis(ax: Axes, sparsities: Iterable[float], inches: float, label: bool = True) -> None:
    """An x axis of log density with ticks at `sparsities`, labelled in % where `inches` have room."""
    values = sorted({value for value in sparsities if math.isfinite(value)})
    spaced_labels(ax, sparsity_position(values), [percent(value) for value in values], inches)
    if label:
        ax.set_xlabel("sparsity (% of weights pruned)")


def spaced_labels(ax: Axes, positions: Floats, texts: Sequence[str], inches: float) -> None:
    """Ticks at rising `positions` of the x axis, labelled where `inches` have room, with the first and the last."""
    low, high = ax.get_xlim()
    halves = [(len(text) * 0.6 * SMALL / 72 + 0.08) / 2 * (high - low) / inches for text in texts]
    shown = [0] if texts else []
    for i in range(1, len(texts)):
        if positions[i] - positions[shown[-1]] >= halves[i] + halves[shown[-1]]:
            shown.append(i)
    last = len(texts) - 1
    if len(shown) > 1 and shown[-1] != last:
        while len(shown) > 1 and positions[last] - positions[shown[-1]] < halves[last] + halves[shown[-1]]:
            shown.pop()
        # Sparsities that differ in their last digits alone, as those of two tasks do, are one tick.
        shown = [*shown, last]
    set_ticks(ax.xaxis, positions, [text if i in shown else "" for i, text in enumerate(texts)])


def spacing(spots: Floats) -> float:
    """The smallest distance between positions that differ, 0.5 where all are equal."""
    gaps = np.diff(np.unique(spots))
    gaps = gaps[gaps > 0.02]
    return float(gaps.min() if gaps.size else 0.5)


def limits(mean: object, low: object, high: object, reach: float, least: float) -> tuple[float, float]:
    """Limits that show every mean, and intervals up to `reach` times the means' span (at least `least`) beyond them."""
    means = np.asarray(mean, dtype=np.float64)
    means = means[np.isfinite(means)]
    if means.size == 0:
        return (0.0, 1.0)
    span = max(float(np.ptp(means)), least)
    lows, highs = (np.asarray(ends, dtype=np.float64) for ends in (low, high))
    bottom = max(min(np.nanmin(np.append(lows, means)), means.min()), means.min() - reach * span)
    top = min(max(np.nanmax(np.append(highs, means)), means.max()), means.max() + reach * span)
    pad = max(0.06 * (top - bottom), 0.1 * least)
    return (float(bottom - pad), float(top + pad))


def draw_points(
    ax: Axes,
    x: Floats,
    mean: Floats,
    low: Floats,
    high: Floats,
    look: Look,
    *,
    bars: float = 0.8,
    hollow: npt.NDArray[np.bool_] | None = None,
) -> None:
    """A line through `mean` with its intervals; the axes' limits are set before.

    What lies beyond the limits is marked with a small triangle at the edge, on a logarithmic axis also a mean of 0 or
    less; points of `hollow` are not filled.
    """
    if ax.get_yscale() == "log":
        nowhere = mean <= 0
        mean, low = np.where(nowhere, np.nan, mean), np.where(nowhere, 0.0, low)
    style = look.line()
    # Many cycles: smaller markers, or the line of markers hides every other.
    style["markersize"] = look.size * min(1.0, max(0.45, 11 / max(len(x), 1)))
    ax.plot(x, mean, **style)
    if hollow is not None and hollow.any():
        empty = {"markerfacecolor": "white", "markeredgecolor": look.color, "markeredgewidth": 1.0, "linestyle": ""}
        ax.plot(x[hollow], mean[hollow], **style | empty)
    bottom, top = ax.get_ylim()
    wide = np.isfinite(low) & np.isfinite(high) & (high > low)
    ends = np.maximum(low[wide], bottom), np.minimum(high[wide], top)
    ax.vlines(x[wide], *ends, color=look.color, linewidth=bars, alpha=0.75, zorder=look.order - 0.5)
    # Comparisons with NaN are false: a gap has no triangle.
    for cut, edge, marker in (((mean < bottom) | (low < bottom), bottom, "v"), ((mean > top) | (high > top), top, "^")):
        style = {"color": look.color, "markersize": 3.0, "markeredgewidth": 0.0, "linestyle": "", "clip_on": False}
        # An empty line has an empty box, which collapses the layout.
        if cut.any():
            ax.plot(x[cut], np.full(int(cut.sum()), edge), marker=marker, **style)


def cross(label: str) -> Line2D:
    """The legend's handle of what `mark_diverged` draws."""
    return Line2D([], [], color="black", marker="x", markersize=6, markeredgewidth=1.3, linestyle="", label=label)


def mark_diverged(ax: Axes, x: Floats, y: Floats, diverged: object, counts: object, apart: float = 0.0) -> None:
    """A cross at each point with diverged seeds, and how many of how many; the axes' limits are set before."""
    diverged, counts = np.asarray(diverged), np.asarray(counts)
    marked = diverged > 0
    heights = np.clip(np.where(np.isfinite(y), y, -np.inf), *ax.get_ylim())[marked]
    for at, value in zip(x[marked], heights, strict=True):
        ax.plot([at], [value], "x", color="black", markersize=6, markeredgewidth=1.3, zorder=6, clip_on=False)
    texts = [f"{int(count)}/{int(seeds)}" for count, seeds in zip(diverged[marked], counts[marked], strict=True)]
    stacked_labels(ax, x[marked], heights, texts, apart)


def stacked_labels(ax: Axes, x: Floats, y: Floats, texts: Sequence[str], apart: float) -> None:
    """A small label over each point; labels of points nearer than `apart` along x are stacked."""
    near = 0.12 * abs(ax.get_ylim()[1] - ax.get_ylim()[0])
    placed: list[tuple[float, float, int]] = []
    for at, value, text in zip(x, y, texts, strict=True):
        taken = {level for other, height, level in placed if abs(other - at) < apart and abs(height - value) < near}
        level = next(level for level in range(len(placed) + 1) if level not in taken)
        placed.append((at, value, level))
        ax.annotate(
            text,
            (at, value),
            (0, 4 + level * 1.2 * SMALL),
            textcoords="offset points",
            fontsize=SMALL,
            ha="center",
            va="bottom",
        )


def seeds_text(counts: object) -> str:
    """`n = 3`, or `n = 2–3` where cells differ."""
    values = np.asarray(counts, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return "n = 0"
    least, most = int(values.min()), int(values.max())
    return f"n = {least}" if least == most else f"n = {least}–{most}"


def interval_text(counts: object, what: str = "bars") -> str:
    """What the error bars (or `what` shows intervals) are, for `counts` seeds."""
    values = np.asarray(counts, dtype=np.float64)
    if values.size == 0 or np.nanmax(values) < 2:
        return "n = 1 seed: no interval"
    alone = ", none where n = 1" if np.nanmin(values) < 2 else ""
    return f"{what}: 95 % t interval over {seeds_text(values)} seeds{alone}"


def footer(fig: Figure, scale: str, notes: Sequence[str] = ()) -> None:
    """Notes and the label of the runs' scale at the bottom, clear of the panels (constrained layout)."""
    width, height = fig.get_size_inches()
    text = wrapped(". ".join(note.rstrip(".") for note in notes) + "." if notes else "", width - 0.2, SMALL, 0.52)
    label = wrapped(scale, width - 0.2, SMALL)
    lines = label.count("\n") + 1
    step = SMALL * 1.35 / 72 / height
    fig.text(0.012, 0.35 * step, label, fontsize=SMALL, weight="bold", va="bottom", linespacing=1.3)
    if notes:
        fig.text(0.012, (0.6 + lines) * step, text, fontsize=SMALL, va="bottom", linespacing=1.3, color="0.25")
        lines += text.count("\n") + 1
    engine = fig.get_layout_engine()
    if engine is not None:
        bottom = (lines + 1.0) * step
        engine.set(rect=(0.0, bottom, 1.0, 1.0 - bottom))  # type: ignore[call-arg]


def new_figure(height: float) -> Figure:
    """A figure two columns wide and `height` inches high, in constrained layout."""
    fig = Figure(figsize=(WIDTH, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.05, h_pad=0.05)  # type: ignore[union-attr,call-arg]
    return fig


def legend_above(fig: Figure, handles: Sequence[Artist]) -> None:
    """One legend over all panels, in as many columns as its longest label leaves room for."""
    for handle in handles:
        handle.set_label(wrapped(str(handle.get_label()), 3.0, SMALL))
    longest = max(len(line) for handle in handles for line in str(handle.get_label()).split("\n"))
    columns = int((WIDTH - 0.05) / (0.45 + longest * 0.5 * (SMALL + 0.5) / 72))
    fig.legend(
        handles=list(handles),
        loc="outside upper center",
        ncols=max(1, min(columns, 4, len(handles))),
        columnspacing=1.2,
    )


def thinned(values: list[Any], most: int) -> list[Any]:
    """At most `most` of `values`, evenly, with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, most)]


def not_run(title: str, scale: str) -> Figure:
    """A figure that says that the preset has nothing to plot."""
    fig = new_figure(1.6)
    ax = fig.subplots()
    ax.set_axis_off()
    ax.set_title(title)
    ax.text(0.5, 0.5, "not run in this preset", ha="center", va="center", fontsize=11, color="0.3")
    footer(fig, scale)
    return fig


def fix_layout(fig: Figure) -> None:
    """Lays the figure out for good: `save` then writes the same bytes in every process.

    The layout's solver leaves noise in the last digits of the panels' positions, which differs between processes;
    rounding far below what is visible takes it off.
    """
    fig.draw_without_rendering()
    fig.set_layout_engine(None)  # "none" would leave an engine that does nothing, for which savefig draws twice
    # Positions of panels are often round numbers. With a round number of steps one could lie midway between two of
    # them, where noise decides which way it is rounded.
    steps = 9_973 * 10**6
    for ax in fig.axes:
        left, bottom, width, height = (round(steps * side) / steps for side in ax.get_position().bounds)
        ax.set_position((left, bottom, width, height))


def save(fig: Figure, out: Path, name: str) -> None:
    """Writes `<name>.svg` and `<name>.png`, the same bytes for the same figure: no dates, no versions."""
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Creator": None, "Title": name},
        "png": {"Software": None, "Title": name},
    }
    # Laid out once: both files show the same, and layout is what takes time.
    if fig.get_layout_engine() is not None:
        fix_layout(fig)
    for kind, stated in metadata.items():
        buffer = BytesIO()
        fig.savefig(buffer, format=kind, metadata=stated)
        write_bytes(out / f"{name}.{kind}", buffer.getvalue())
