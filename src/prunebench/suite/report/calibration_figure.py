"""The figures of the calibration: how often rules err, and how likely a repeat gives the same verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from prunebench.suite.calibration import false_too_often, opposite_too_often
from prunebench.suite.claim import ALLOWED, FIRM, OPPOSITE, POWER
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import DOTS, finish, graded_looks, handles_of, text_beside
from prunebench.suite.report.style import SMALL, Look, new_figure, set_ticks
from prunebench.suite.stability import forecast

_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 7.0,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
    "linestyle": "",
    "clip_on": False,
    "zorder": 5,
}


def power(drawn: Drawn) -> Figure:
    """A line per claim: false "reproduced" where the claim is false (left), power at the claimed effect (right).

    A marker per number of seeds under independent noise, with a bar over all kinds of noise; at the right end the
    seeds that give a power of 80 %.
    """
    frame = drawn.tables["calibration"]
    papers = [(str(paper), rows) for paper, rows in frame.groupby("paper", sort=False)]
    seeds = sorted(frame["n"].dropna().unique())
    looks = graded_looks(seeds, "crest", lambda n: f"{n:.0f} seeds")
    fig, axes = _panels(drawn, papers)
    for (left, right), (_, rows) in zip(axes, papers, strict=True):
        _claims(left, right, rows, looks)
    highest = np.nanmax([ALLOWED * 1.2, frame["null_reproduced"].max() * 1.05])
    # Beyond the ends: a marker at 0 or 100 % is seen whole.
    axes[0, 0].set_xlim(-2 * highest, 100 * highest)
    axes[0, 1].set_xlim(-1.5, 101.5)
    axes[-1, 0].set_xlabel('false "reproduced" at no effect (%)')
    axes[-1, 1].set_xlabel('power: "reproduced" at the claimed effect (%)')
    text_beside(axes[0, 1], 1.0, "seeds for\n80 % power", (9, 3), xycoords="axes fraction", va="bottom", color="black")
    handles = handles_of(looks.values())
    if false_too_often(frame).any():
        handles += [Line2D([], [], label="above 5 % beyond the simulation's error", **_RING)]
    return finish(fig, handles, drawn.scale, _notes(frame))


def _panels(drawn: Drawn, papers: Sequence[tuple[str, pd.DataFrame]]) -> tuple[Figure, Any]:
    """Two panels for each paper, as high as it has claims."""
    claims = [rows["claim"].nunique() for _, rows in papers]
    fig = new_figure(1.5 + sum(0.25 + 0.22 * count for count in claims))
    ratios = {"height_ratios": claims, "width_ratios": (1, 1.6)}
    axes = fig.subplots(len(papers), 2, squeeze=False, sharex="col", sharey="row", gridspec_kw=ratios)
    for (left, _), (paper, _) in zip(axes, papers, strict=True):
        left.set_title(drawn.titles.get(paper, paper), loc="left", weight="bold")
    return fig, axes


def _lines(left: Axes, right: Axes, rows: pd.DataFrame, *marks: float) -> list[str]:
    """A line per claim over both panels, each with a dotted mark; gives the claims' names."""
    names = [str(name) for name in dict.fromkeys(rows["claim"])]
    for ax, mark in zip((left, right), marks, strict=True):
        ax.grid(False, axis="y")
        ax.grid(True, axis="x")
        ax.tick_params(axis="y", length=0, labelleft=ax is left)
        ax.axvline(100 * mark, color="0.3", linewidth=0.9, linestyle=DOTS, zorder=1)
        for place in range(0, len(names), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0, zorder=0)
    left.set_ylim(len(names) - 0.5, -0.5)
    set_ticks(left.yaxis, range(len(names)), names)
    return names


def _claims(left: Axes, right: Axes, rows: pd.DataFrame, looks: Mapping[float, Look]) -> None:
    names = _lines(left, right, rows, ALLOWED, POWER)
    offsets = np.linspace(-0.27, 0.27, len(looks)) if len(looks) > 1 else np.zeros(len(looks))
    for place, name in enumerate(names):
        claim = rows[rows["claim"] == name]
        if claim["n"].isna().all():
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": "0.4"}
            right.text(50, place, f"noise {str(claim['noise_from'].iloc[0]).split(':')[0]}", **style)
            continue
        for (n, look), offset in zip(looks.items(), offsets, strict=True):
            _rates(left, right, claim[claim["n"] == n], place + offset, look)
        text_beside(right, place, _seeds(claim), (9, 0), color="black")


def _rates(left: Axes, right: Axes, cell: pd.DataFrame, y: float, look: Look) -> None:
    """The rates of one claim and number of seeds: a marker for independent noise, a bar over all kinds."""
    main = cell[cell["noise"] == "independent"]
    for ax, column in ((left, "null_reproduced"), (right, "claimed_reproduced")):
        ax.hlines(y, 100 * cell[column].min(), 100 * cell[column].max(), color=look.color, linewidth=1.0, zorder=2)
        ax.plot(100 * main[column], [y] * len(main), clip_on=False, **look.line())
    wrong = cell[false_too_often(cell)]
    # An empty line has an empty box, which collapses the layout.
    if len(wrong):
        left.plot([100 * wrong["null_reproduced"].max()], [y], **_RING)


def _seeds(claim: pd.DataFrame) -> str:
    """Seeds for a power of 80 %: `5`, `5–8` over the kinds of noise, `>100` where no number up to 100 gives it."""
    needed = claim["seeds_for_80"].fillna(np.inf)
    return "–".join(dict.fromkeys(">100" if np.isinf(end) else f"{end:.0f}" for end in (needed.min(), needed.max())))


def _notes(frame: pd.DataFrame) -> list[str]:
    measured = frame[frame["n"].notna()]
    if measured.empty:
        return ["No claim has two seeds in all its quantities: there is no measured noise to simulate"]
    tables = int(measured["tables"].max())
    error = 100 * 1.96 * np.sqrt(ALLOWED * (1 - ALLOWED) / tables)
    spans = {text.removeprefix("measured: ").removesuffix(" seeds") for text in measured["noise_from"]}
    sources = ", ".join(sorted(spans, key=lambda span: [int(end) for end in span.split("–")]))
    return [
        f"{tables:,} simulated tables per marker: 95 % error ±{error:.1f} points at 5 %",
        "Markers: normal noise, independent between cells; bars reach over the other kinds (correlated 0.5 within a "
        "seed; heavy-tailed, t with 3 degrees of freedom), all with the standard deviations observed in the runs, over "
        f"{sources} seeds",
        f'False "not reproduced" at the claimed effect: at most {100 * measured["claimed_not_reproduced"].max():.1f} %',
        "Dotted lines: 5 % and 80 %",
    ]


# --- Stability

_VERDICTS = {
    "reproduced": Look("reproduced", "#0072B2", "o", "", size=5.0),
    "not reproduced": Look("not reproduced", "#D55E00", "s", "", size=4.6),
    "inconclusive": Look("inconclusive", "#999999", "D", "", size=4.2),
}
_HALVES = {
    "forecast_same": Look("halves: forecast", "0.55", "v", "", size=4.6),
    "found_same": Look("halves: found", "black", "^", "", size=4.6),
}


def stability(drawn: Drawn) -> Figure:
    """A line per claim: how likely a repeat gives the opposite verdict (left), and the same one (right).

    Beside the latter, where there are four seeds, what halves of them forecast of each other, and what they have.
    """
    frame = drawn.tables["calibration_stability"]
    papers = [(str(paper), rows) for paper, rows in frame.groupby("paper", sort=False)]
    fig, axes = _panels(drawn, papers)
    for (left, right), (_, rows) in zip(axes, papers, strict=True):
        _lines(left, right, rows, OPPOSITE, FIRM)
        for place, row in enumerate(rows.to_dict("records")):
            _verdict(left, right, place, row)
        failing = np.flatnonzero(opposite_too_often(rows))
        if len(failing):
            left.plot(100 * rows["opposite"].iloc[failing], failing, **_RING)
    highest = np.nanmax([OPPOSITE * 1.2, frame["opposite"].max() * 1.05])
    axes[0, 0].set_xlim(-2 * highest, 100 * highest)
    axes[0, 1].set_xlim(-1.5, 101.5)
    axes[-1, 0].set_xlabel("opposite verdict in a repeat (%)")
    axes[-1, 1].set_xlabel("same verdict in a repeat (%)")
    text_beside(axes[0, 1], 1.0, "seeds", (9, 3), xycoords="axes fraction", va="bottom", color="black")
    split = frame["half"].notna().any()
    handles = handles_of([*_VERDICTS.values(), *(_HALVES.values() if split else ())])
    if opposite_too_often(frame).any():
        handles += [Line2D([], [], label="above 1 % beyond the simulation's error", **_RING)]
    notes = ["Repeats with as many other seeds, drawn with what the run's seeds leave uncertain of means and spread"]
    if split:
        notes += ["One claim's halves say little: an odd seed lies in one of them", forecast(frame).rstrip(".")]
    return finish(fig, handles, drawn.scale, [*notes, "Dotted lines: 1 % and 80 %"])


def _verdict(left: Axes, right: Axes, place: int, row: Mapping[str, Any]) -> None:
    """The line of one claim."""
    look = _VERDICTS.get(row["verdict"])
    if look is None:
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": "0.4"}
        right.text(50, place, "not measured, or by one seed", **style)
        return
    for ax, share in ((left, row["opposite"]), (right, row["same"])):
        ax.plot([100 * share], [place], clip_on=False, **look.line())
    for name, half in _HALVES.items():
        right.plot([100 * row[name]], [place], clip_on=False, **half.line())
    text_beside(right, place, f"{row['n']:.0f}", (9, 0), color="black")
