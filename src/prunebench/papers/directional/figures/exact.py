"""The exact problems (claim C1)."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunebench.papers.directional.figures.common import rows_in
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import values_of
from prunebench.suite.report.style import WIDTH, Floats, Look, interval_text, plain, pretty, seeds_text, wrapped

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
    near, aligned = drawn.margins.c1_error, drawn.margins.c1_cosine
    frame = rows_in(drawn.tables, "toy")
    problems = list(frame.groupby("problem", sort=False))
    inches = (WIDTH - 0.8) / min(3, len(problems))
    fig, [(_, lines, _)] = panels.in_lines([("", None)], [problems], 3, 4.3, 1.5, heights=(1.25, 1.0))
    errors = [values_of(frame[frame["fixed"] == fixed], name, 1.0) for name, fixed in _FITS]
    span = [np.append(np.concatenate(ends), near) for ends in zip(*errors, strict=True)]
    cosine, least, most = values_of(frame, "cosine", 1.0)
    low, high = style.limits(np.append(cosine, (aligned, 1.0)), least, most, reach=0.3, least=0.2)
    for chunk, (tops, bottoms) in lines:
        panels.log_axis(tops[0], *span)
        bottoms[0].set_ylim(max(low, -1.05), min(high, 1.05))
        for top, bottom, (problem, rows) in zip(tops, bottoms, chunk, strict=True):
            top.set_title(_title(str(problem), rows, inches - 0.1), loc="left")
            last = top is tops[-1]
            panels.margin_line(top, near, f"C1: R < {near:g} at\nthe least \u03b3" if last else "")
            panels.margin_line(bottom, aligned, f"C1: > {aligned:g} at\nthe least \u03b3" if last else "")
            for ax in (top, bottom):
                _gamma_axis(ax, frame["gamma"].to_numpy(dtype=np.float64), inches)
            _fits(top, rows.sort_values("gamma"), _FITS)
            _fits(bottom, rows.sort_values("gamma"), {("cosine", fixed): _FITS["error", fixed] for fixed in _FIXED})
            top.tick_params(axis="x", labelbottom=False)
            bottom.set_xlabel("step size \u03b3")
        tops[0].set_ylabel("relative error R")
        bottoms[0].set_ylabel("cosine of the\ndisplacements")
    notes = [
        "R: \u2016w(gRDA) \u2212 w*\u2016 / \u2016w(SGD) \u2212 w*\u2016, w*: SGD's end after directional pruning "
        "(control: after soft thresholding). Cosine: of gRDA's displacement from SGD with that of directional pruning",
        *_notes_of_fixed(frame),
        f"Mean of seeds; {interval_text(frame['n'])}; slope: of log R on log \u03b3. Dotted: claim C1's marks",
        *panels.off_log(frame, "error", "soft_error"),
    ]
    return panels.finish(fig, panels.handles_of(_FITS.values()), str(frame["scale"].iloc[0]), notes)


def _notes_of_fixed(frame: pd.DataFrame) -> list[str]:
    """What it means that c, or lam, is fixed."""
    notes = []
    lams = frame.loc[(frame["fixed"] == "c") & np.isfinite(frame["lam"]), "lam"]
    if len(lams):
        fall = f"from {plain(lams.max())} to {plain(lams.min())}"
        notes.append(f"With c fixed \u03bb falls with \u03b3, {fall}, and R may fall because \u03bb does")
    if (frame["fixed"] == "lam").any():
        notes.append("With \u03bb fixed R would fall by \u03b3 alone")
    return notes


def _title(problem: str, rows: pd.DataFrame, inches: float) -> str:
    slopes = rows.sort_values("gamma").drop_duplicates("fixed").set_index("fixed")
    lines = [
        f"{pretty(problem)}, {seeds_text(rows['n'])}",
        f"d = {_span(rows['d'])}, flat space {_span(rows['flat'])}",
        *(f"{name}: {_slope(slopes.loc[fixed])}" for fixed, name in _FIXED.items() if fixed in slopes.index),
    ]
    return wrapped("\n".join(lines), inches, letter=0.54)


def _slope(row: pd.Series) -> str:
    if not math.isfinite(row["slope"]):
        return "slope n/a"
    interval = f" [{row['slope_low']:.2f}, {row['slope_high']:.2f}]" if math.isfinite(row["slope_low"]) else ""
    return f"slope {row['slope']:.2f}{interval}".replace("-", "\u2212")


def _span(values: pd.Series) -> str:
    known = sorted(set(values[np.isfinite(values)]))
    return "\u2013".join(dict.fromkeys(f"{end:g}" for end in (known[0], known[-1]))) if known else "n/a"


def _gamma_axis(ax: Axes, gammas: Floats, inches: float) -> None:
    known = gammas[gammas > 0]
    ax.set_xscale("log")
    ax.set_xlim(float(known.min()) / 1.6, float(known.max()) * 1.6)
    style.set_ticks(ax.xaxis, style.thinned(sorted(set(known)), max(2, int(inches / 0.5))))


def _fits(ax: Axes, rows: pd.DataFrame, looks: dict[tuple[str, str], Look]) -> None:
    """Columns of the rows with one value of `fixed`, by learning rate."""
    parts = {(name, fixed): rows[rows["fixed"] == fixed] for name, fixed in looks}
    if not any(np.isfinite(part[name]).any() for (name, _), part in parts.items()):
        panels.empty_panel(ax)
        return
    left, right = ax.get_xlim()
    for nth, ((name, fixed), part) in enumerate(parts.items()):
        if len(part):
            x = part["gamma"].to_numpy(dtype=np.float64) * (right / left) ** (0.02 * (nth - (len(parts) - 1) / 2))
            style.draw_points(ax, x, *values_of(part, name, 1.0), looks[name, fixed])
