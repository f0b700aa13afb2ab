"""The exact problems (claim C1)."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from prunebench.papers.directional.figures.common import (
    DOTS,
    ends_of,
    numbers,
    off_log,
    points,
    rows_in,
    value_axis,
)
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import (
    BEYOND,
    chunks_of,
    empty_panel,
    finish,
    handles_of,
    panel_row,
    stacked,
)
from prunebench.suite.report.style import (
    SMALL,
    WIDTH,
    Floats,
    Look,
    interval_text,
    legend_above,
    limits,
    plain,
    pretty,
    seeds_text,
    thinned,
    wrapped,
)

_FITS = {
    ("error", "c"): Look("directional pruning, c fixed", "#D55E00", "o", width=1.6, size=4.4, order=4.0),
    ("error", "lam"): Look(
        "directional pruning, \u03bb fixed", "#7A3300", "^", (0, (3.0, 1.0, 1.0, 1.0)), 1.3, 4.6, 3.5
    ),
    ("soft_error", "c"): Look(
        "control: soft thresholding, all scores 1, c fixed", "#0072B2", "s", (0, (4.0, 1.2)), 1.2, 4.0, 3.0
    ),
}
"""Looks by column and by what is fixed as gamma falls."""

_FIXED = {"c": "c fixed", "lam": "\u03bb fixed"}


def toy(drawn: Drawn) -> Figure:
    """Claim C1: how far gRDA's end is from the directional pruning of SGD's, as gamma falls; a column per problem.

    The footer has the scale of the table: the problems have one of their own, whatever the preset's.
    """
    tables, near, aligned = drawn.tables, drawn.margins.c1_error, drawn.margins.c1_cosine
    frame = rows_in(tables, "toy")
    problems = list(frame.groupby("problem", sort=False))
    chunks = chunks_of(problems, 3)
    columns = max(len(chunk) for chunk in chunks)
    inches = (WIDTH - 0.8) / columns
    fig, places = stacked([4.3] * len(chunks), 1.5)
    errors = [
        np.concatenate([numbers(frame[frame["fixed"] == fixed], f"{name}{end}")[0] for name, fixed in _FITS])
        for end in ("", "_low", "_high")
    ]
    cosine, least, most = numbers(frame, *ends_of("cosine"))
    for chunk, place in zip(chunks, places, strict=True):
        grid = place.subgridspec(2, columns, height_ratios=(1.25, 1.0))
        tops, bottoms = panel_row(fig, grid, 0, len(chunk)), panel_row(fig, grid, 1, len(chunk))
        value_axis(tops[0], *(np.append(values, near) for values in errors))
        bottom, top = limits(np.append(cosine, (aligned, 1.0)), least, most, reach=0.3, least=0.2)
        bottoms[0].set_ylim(max(bottom, -1.05), min(top, 1.05))
        for above, below, (problem, rows) in zip(tops, bottoms, chunk, strict=True):
            rows = rows.sort_values("gamma")
            above.set_title(_toy_title(str(problem), rows, inches - 0.1), loc="left")
            _mark(above, near, f"C1: R < {near:g} at\nthe least \u03b3", last=above is tops[-1])
            _mark(below, aligned, f"C1: > {aligned:g} at\nthe least \u03b3", last=above is tops[-1])
            for ax in (above, below):
                _gamma_axis(ax, frame["gamma"].to_numpy(dtype=np.float64), inches)
            _toy_panel(above, rows, _FITS)
            _toy_panel(below, rows, {("cosine", fixed): _FITS["error", fixed] for fixed in _FIXED})
            above.tick_params(axis="x", labelbottom=False)
            below.set_xlabel("step size \u03b3")
        tops[0].set_ylabel("relative error R")
        bottoms[0].set_ylabel("cosine of the\ndisplacements")
    legend_above(fig, handles_of(_FITS.values()))
    notes = [
        "R: \u2016w(gRDA) \u2212 w*\u2016 / \u2016w(SGD) \u2212 w*\u2016, where w* is SGD's end after directional "
        "pruning (control: after soft thresholding); the same minibatches, at a fixed \u03b3 x updates. Cosine: of "
        "w(gRDA) \u2212 w(SGD) with minus the projection of sign(w(SGD)) on the flat space",
        *_of_lam(frame),
        f"Mean of seeds; {interval_text(frame['n'])}; slope: of log R on log \u03b3 for directional pruning, per seed",
        f"Dotted: claim C1's marks. {BEYOND}. Markers are moved sideways a little",
        *off_log(frame, "error", "soft_error"),
    ]
    return finish(fig, str(frame["scale"].iloc[0]), notes)


def _of_lam(frame: pd.DataFrame) -> list[str]:
    """What it means that c, or lam, is fixed."""
    told = []
    lams = frame.loc[(frame["fixed"] == "c") & np.isfinite(frame["lam"]), "lam"]
    if len(lams):
        told.append(
            f"With c fixed \u03bb falls with \u221a\u03b3 (here from {plain(lams.max())} to {plain(lams.min())}), so R "
            "may fall because \u03bb does"
        )
    if (frame["fixed"] == "lam").any():
        told.append("At a fixed \u03bb (c grows as \u03b3 falls) it shows whether R falls with \u03b3 itself")
    return told


def _toy_title(problem: str, rows: pd.DataFrame, inches: float) -> str:
    lines = [
        f"{pretty(problem)}, {seeds_text(rows['n'])}",
        f"d = {_span(rows['d'])}, flat space {_span(rows['flat'])}",
    ]
    for fixed, name in _FIXED.items():
        of_one = rows[rows["fixed"] == fixed]
        if len(of_one):
            lines.append(f"{name}: {_slope(of_one.iloc[0])}")
    return wrapped("\n".join(lines), inches, letter=0.54)


def _slope(row: pd.Series) -> str:
    if not math.isfinite(row["slope"]):
        return "slope n/a"
    told = f"slope {row['slope']:.2f}"
    if math.isfinite(row["slope_low"]):
        told += f" [{row['slope_low']:.2f}, {row['slope_high']:.2f}]"
    return told.replace("-", "\u2212")


def _span(values: pd.Series) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "n/a"
    return f"{known.min():g}" if known.min() == known.max() else f"{known.min():g}\u2013{known.max():g}"


def _mark(ax: Axes, value: float, text: str, last: bool) -> None:
    ax.axhline(value, color="0.35", linewidth=0.9, linestyle=DOTS, zorder=1.2)
    if last:
        ax.annotate(
            text,
            (1, value),
            (3, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
            fontsize=SMALL,
            color="0.3",
            va="center",
        )


def _gamma_axis(ax: Axes, gammas: Floats, inches: float) -> None:
    known = gammas[gammas > 0]
    ax.set_xscale("log")
    ax.set_xlim(float(known.min()) / 1.6, float(known.max()) * 1.6)
    ticks = thinned(sorted(set(known)), max(2, int(inches / 0.5)))
    ax.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.xaxis.set_minor_locator(NullLocator())


def _toy_panel(ax: Axes, rows: pd.DataFrame, looks: dict[tuple[str, str], Look]) -> None:
    """Columns of the rows with one value of `fixed`, by learning rate."""
    drawn = {(name, fixed): rows[rows["fixed"] == fixed] for name, fixed in looks}
    if not any(np.isfinite(of_one[name]).any() for (name, _), of_one in drawn.items()):
        empty_panel(ax, "no values")
        return
    left, right = ax.get_xlim()
    for nth, ((name, fixed), of_one) in enumerate(drawn.items()):
        if len(of_one):
            x = of_one["gamma"].to_numpy(dtype=np.float64)
            x = x * (right / left) ** (0.02 * (nth - (len(drawn) - 1) / 2))
            mean, low, high = numbers(of_one, *ends_of(name))
            points(ax, x, mean, low, high, looks[name, fixed])
