"""The figure of the claims' rules: how often each is wrong where its claim is false, and right where it holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from prunebench.suite.claim import ALLOWED, POWER
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import DOTS, finish, graded_looks, handles_of, text_beside
from prunebench.suite.report.style import SMALL, Look, new_figure, set_ticks

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
    claims = [rows["claim"].nunique() for _, rows in papers]
    seeds = sorted(frame["n"].dropna().unique())
    looks = graded_looks(seeds, "crest", lambda n: f"{n:.0f} seeds")
    fig = new_figure(1.5 + sum(0.25 + 0.22 * count for count in claims))
    ratios = {"height_ratios": claims, "width_ratios": (1, 1.6)}
    axes = fig.subplots(len(papers), 2, squeeze=False, sharex="col", sharey="row", gridspec_kw=ratios)
    for (left, right), (paper, rows) in zip(axes, papers, strict=True):
        left.set_title(drawn.titles.get(paper, paper), loc="left", weight="bold")
        _claims(left, right, rows, looks)
    highest = np.nanmax([ALLOWED * 1.2, frame["null_reproduced"].max() * 1.05])
    # Beyond the ends: a marker at 0 or 100 % is seen whole.
    axes[0, 0].set_xlim(-2 * highest, 100 * highest)
    axes[0, 1].set_xlim(-1.5, 101.5)
    axes[-1, 0].set_xlabel('false "reproduced" at no effect (%)')
    axes[-1, 1].set_xlabel('power: "reproduced" at the claimed effect (%)')
    text_beside(axes[0, 1], 1.0, "seeds for\n80 % power", (9, 3), xycoords="axes fraction", va="bottom", color="black")
    handles = handles_of(looks.values())
    if (frame["null_reproduced_low"] > ALLOWED).any():
        handles += [Line2D([], [], label="above 5 % beyond the simulation's error", **_RING)]
    return finish(fig, handles, drawn.scale, _notes(frame))


def _claims(left: Axes, right: Axes, rows: pd.DataFrame, looks: Mapping[float, Look]) -> None:
    names = [str(name) for name in dict.fromkeys(rows["claim"])]
    for ax, line in ((left, ALLOWED), (right, POWER)):
        ax.grid(False, axis="y")
        ax.grid(True, axis="x")
        ax.tick_params(axis="y", length=0, labelleft=ax is left)
        ax.axvline(100 * line, color="0.3", linewidth=0.9, linestyle=DOTS, zorder=1)
        for place in range(0, len(names), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="0.96", linewidth=0, zorder=0)
    left.set_ylim(len(names) - 0.5, -0.5)
    set_ticks(left.yaxis, range(len(names)), names)
    offsets = np.linspace(-0.27, 0.27, len(looks)) if len(looks) > 1 else np.zeros(len(looks))
    for place, name in enumerate(names):
        claim = rows[rows["claim"] == name]
        if claim["n"].isna().all():
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL, "color": "0.4"}
            right.text(50, place, f"noise {claim['noise_from'].iloc[0]}", **style)
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
    wrong = cell[cell["null_reproduced_low"] > ALLOWED]
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
        "Dotted lines: 5 % and 80 %",
    ]
