"""Figures of masks: overlap of kept weights, semi-structured patterns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from prunebench.papers.cascade.figures.common import against_control, prelude_looks, with_control
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import (
    BEYOND,
    Series,
    blocks_of,
    bounds_of,
    chunks_of,
    diverged_crosses,
    empty_panel,
    finish,
    graded_looks,
    handles_of,
    level_line,
    named_ticks,
    panel_row,
    places_of,
    series_by,
    side_by_side,
    stacked,
    values_of,
    with_values,
)
from prunebench.suite.report.style import (
    SMALL,
    Floats,
    Look,
    interval_text,
    legend_above,
    limits,
    not_run,
    percent,
    pretty,
    thinned,
    wrapped,
)


def overlap(drawn: Drawn) -> Figure:
    """Claim B8: overlap of the kept weights between schemes and between seeds, above that of chance."""
    tables, scale = drawn.tables, drawn.scale
    frame = tables["cascade_overlap"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return not_run("Overlap of kept weights", scale)
    blocks = blocks_of(frame, ("task",))
    pairs, seeds = (frame[frame["comparison"] == name] for name in ("schemes", "seeds"))
    most = float(np.nanmax(np.abs(pairs["excess"].to_numpy(dtype=np.float64)), initial=0.01))
    names = [list(dict.fromkeys([*part["a"], *part["b"]])) for _, part in blocks]
    labels = [[_numbered(nth, name, 1.75) for nth, name in enumerate(schemes)] for schemes in names]
    heights = []
    for told in labels:
        deep = max(label.count("\n") for label in told) + 1
        heights.append(0.95 + max(0.2, 0.04 + 0.13 * deep) * max(len(told), 4))
    fig, places = stacked(
        [row for (title, _), height in zip(blocks, heights, strict=True) for row in (title, height)],
        0.95 + 0.25 * bool(len(seeds)),
    )
    looks = graded_looks(
        sorted(seeds["sparsity"].unique()), "crest", lambda sparsity: f"{percent(sparsity)} % sparse (right)"
    )
    reach = limits(np.append(values_of(seeds, "excess")[0], 0.0), *values_of(seeds, "excess")[1:], reach=1.0, least=5.0)
    hidden = False
    for (_, part), place, schemes, told in zip(blocks, places, names, labels, strict=True):
        rows = part[part["comparison"] == "schemes"]
        here = sorted(rows["sparsity"].unique())
        shown = thinned(here, 2 if len(schemes) > 7 else 4)
        hidden |= len(shown) < len(here)
        maps = chunks_of(shown, 2)
        same = part[part["comparison"] == "seeds"]
        widths = [*([2.6] * len(maps)), *([1.5] if len(same) else [])]
        panels = panel_row(fig, place.subgridspec(1, len(widths), width_ratios=widths), 0, len(widths))
        for ax, two in zip(panels, maps, strict=False):
            _overlap_map(ax, rows, schemes, two, most)
        if len(same):
            panels[-1].set_xlim(reach)
            _seed_dots(panels[-1], same, schemes, looks)
        panels[0].set_ylim(len(schemes) - 0.5, -0.5)
        named_ticks(panels[0].yaxis, told)
    if looks:
        legend_above(fig, handles_of(looks.values()))
    bold = ", bold where the 95 % t interval excludes 0" if len(pairs) and pairs["n"].max() > 1 else ""
    notes = [
        "Numbers: 100 x (Jaccard index of the kept weights minus that of masks drawn at random in each layer at the "
        f"same densities), of two schemes at the same seed, mean of seeds{bold}",
        *([f"Right: two seeds of the same scheme; {interval_text(seeds['n'])}"] if looks else []),
        *(["Not every sparsity is shown on the left"] if hidden else []),
    ]
    return finish(fig, scale, notes)


def _numbered(nth: int, name: str, inches: float) -> str:
    """The scheme's number, which is its column, after its name."""
    spelt = " + ".join(pretty(word) for word in name.split(" + "))
    return f"{wrapped(spelt, inches, SMALL)}  {nth + 1}"


def _overlap_map(ax: Axes, rows: pd.DataFrame, names: list[str], sparsities: Sequence[float], most: float) -> None:
    size = len(names)
    grid = np.full((size, size), np.nan)
    place = {name: nth for nth, name in enumerate(names)}
    marks = []
    for nth, sparsity in enumerate(sparsities):
        for pair in rows[rows["sparsity"] == sparsity].itertuples():
            ends = sorted((place[pair.a], place[pair.b]))
            i, j = ends if nth else ends[::-1]
            grid[i, j] = pair.excess
            marks.append((i, j, pair.excess, pair.excess_low > 0 or pair.excess_high < 0))
    norm, palette = Normalize(-most, most), mpl.colormaps["PuOr_r"].with_extremes(bad="0.93")
    edges = np.arange(size + 1) - 0.5
    ax.pcolormesh(edges, edges, np.ma.masked_invalid(grid), cmap=palette, norm=norm, edgecolors="white", linewidth=0.8)
    for i, j, value, sure in marks:
        told = f"{100 * value:.0f}".replace("-0", "0") if abs(value) < 0.005 else f"{100 * value:.0f}"
        ax.text(
            j,
            i,
            told.replace("-", "\u2212") if math.isfinite(value) else "n/a",
            ha="center",
            va="center",
            fontsize=SMALL,
            weight="bold" if sure else "normal",
            color="white" if abs(value) > 0.62 * most else "black",
        )
    ax.set_xlim(-0.5, size - 0.5)
    ax.xaxis.set_major_locator(FixedLocator(range(size)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda _, i: str(i + 1) if i is not None else ""))
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    where = [f"below the diagonal: {percent(sparsities[0])} % sparse"] if len(sparsities) else []
    where += [f"above it: {percent(sparsities[1])} %"] if len(sparsities) > 1 else []
    ax.set_title("\n".join(where), loc="left")


def _seed_dots(ax: Axes, rows: pd.DataFrame, names: list[str], looks: Mapping[float, Look]) -> None:
    place = {name: float(nth) for nth, name in enumerate(names)}
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    ax.grid(True, axis="x")
    for nth, (sparsity, look) in enumerate(looks.items()):
        part = rows[rows["sparsity"] == sparsity]
        y = part["a"].map(place).to_numpy(dtype=np.float64) + 0.6 * ((nth + 0.5) / len(looks) - 0.5)
        mean, low, high = values_of(part, "excess")
        ax.hlines(y, low, high, color=look.color, linewidth=0.9, alpha=0.75)
        ax.plot(mean, y, **look.line())
    ax.set_title("seed against seed", loc="left")
    ax.set_xlabel("overlap above\nchance (points)")


def semi_structured(drawn: Drawn) -> Figure:
    """Claim B9: accuracy of N:M and block patterns with and without a prelude, and how full the groups were before."""
    tables, scale = drawn.tables, drawn.scale
    frame, occupancy = tables["cascade_semi_structured"], tables["cascade_occupancy"]
    looks = {name: replace(look, dash="") for name, look in prelude_looks(tables).items()}
    patterns = list(dict.fromkeys(frame["pattern"]))
    where = {name: float(nth) for nth, name in enumerate(patterns)}

    def at(rows: pd.DataFrame) -> Floats:
        return rows["pattern"].map(where).to_numpy(dtype=np.float64)

    blocks = blocks_of(frame, ("task",))
    fig, places = stacked([row for title, _ in blocks for row in (title, 1.85, 1.85)], 1.3)
    heads = {
        "test_accuracy": "test accuracy (%)",
        "difference": "test accuracy minus\nno prelude (points)",
        **against_control(frame),
        "fitting": "groups that fitted\nbefore (%)",
    }
    spans = {
        name: bounds_of(frame, name, (0.0,), least=5.0 if name == "fitting" else 2.0)
        for name in heads
        if name != "test_accuracy"
    }
    room = 5.4 / len(heads)
    for nth, (_, part) in enumerate(blocks):
        panels = panel_row(fig, places[2 * nth].subgridspec(1, len(heads)), 0, len(heads), share=False)
        for ax, (column, label) in zip(panels, heads.items(), strict=True):
            rows = part[part["prelude"] != "none"] if column == "difference" else part
            ax.set_ylabel(label)
            ax.set_ylim(spans.get(column) or bounds_of(part, column, least=2.0))
            if column != "test_accuracy":
                level_line(ax)
            if not np.isfinite(rows[column]).any():
                empty_panel(ax, "no values")
                continue
            series = with_values(series_by(rows, "prelude", looks), column)
            side_by_side(ax, series, at, column, inches=room, crosses=column == "test_accuracy")
            ax.set_xlim(-0.6, len(patterns) - 0.4)
            named_ticks(ax.xaxis, [name.replace("@", "\n@") for name in patterns])
        groups = occupancy[occupancy["task"] == part["task"].iloc[0]] if len(occupancy) else occupancy
        sizes = sorted(groups["m"].unique()) if len(groups) else []
        widths = [m + 2 for m in sizes] or [1]
        lower = panel_row(fig, places[2 * nth + 1].subgridspec(1, len(widths), width_ratios=widths), 0, len(widths))
        lower[0].set_ylabel("groups (%)")
        lower[0].set_ylim(-2, 104)
        for ax, m in zip(lower, sizes, strict=False):
            _occupancy_panel(ax, series_by(groups[groups["m"] == m], "prelude", looks), int(m))
        if not sizes:
            empty_panel(lower[0], "no values")
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    dash: dict[str, Any] = {"color": "0.4", "marker": "_", "markersize": 9, "markeredgewidth": 1.4, "linestyle": ""}
    chance = [Line2D([], [], label="chance: binomial, same density", **dash)] if len(occupancy) else []
    legend_above(fig, [*handles_of(shown), *chance, *diverged_crosses(frame)])
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences are paired by seed{with_control(frame)}",
        "n:m keeps n of m consecutive weights, 1xk@s prunes whole blocks of k to sparsity s. Fitted before: groups "
        "with at most n weights alive (blocks: none alive) before the pattern was imposed",
        f"Bottom: groups of m weights by how many are alive then. {BEYOND}",
    ]
    return finish(fig, scale, notes)


def _occupancy_panel(ax: Axes, series: Series, m: int) -> None:
    def at(rows: pd.DataFrame) -> Floats:
        return rows["alive"].to_numpy(dtype=np.float64)

    side_by_side(ax, series, at, "share")
    for (look, rows), x in zip(series, places_of(series, at)[1], strict=True):
        ax.plot(
            x, 100 * rows["chance"], "_", color=look.color, markersize=9, markeredgewidth=1.4, zorder=1.8, alpha=0.6
        )
    ax.xaxis.set_major_locator(FixedLocator(range(m + 1)))
    ax.set_title(f"groups of {m}", loc="left")
    ax.set_xlabel(f"weights alive, of {m}")
