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
from matplotlib.ticker import FixedLocator

from prunebench.papers.cascade.figures import common
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import series_by, values_of
from prunebench.suite.report.style import SMALL, Look, interval_text, pretty, wrapped


def overlap(drawn: Drawn) -> Figure:
    """Claim B8: overlap of the kept weights between schemes and between seeds, above that of chance."""
    frame = drawn.tables["cascade_overlap"]
    frame = frame[frame["sparsity"] > 0]
    if not len(frame):
        return style.not_run("Overlap of kept weights", drawn.scale)
    pairs, seeds = (frame[frame["comparison"] == name] for name in ("schemes", "seeds"))
    blocks = panels.blocks_of(frame, "task")
    schemes = [list(dict.fromkeys([*part["a"], *part["b"]])) for _, part in blocks]
    labels = [[_numbered(nth, name, 1.75) for nth, name in enumerate(names)] for names in schemes]
    heights = [[_height(of_block)] for of_block in labels]
    fig, laid_out = panels.in_blocks(blocks, heights, 0.95 + 0.25 * bool(len(seeds)))
    looks = panels.graded_looks(
        sorted(seeds["sparsity"].unique()), "crest", lambda sparsity: f"{style.percent(sparsity)} % sparse (right)"
    )
    most = float(np.nanmax(np.abs(pairs["excess"].to_numpy(dtype=np.float64)), initial=0.01))
    reach = panels.bounds_of(seeds, "excess", (0.0,), least=5.0)
    hidden = False
    for (part, (place,)), names, of_block in zip(laid_out, schemes, labels, strict=True):
        rows, same = (part[part["comparison"] == name] for name in ("schemes", "seeds"))
        sparsities = sorted(rows["sparsity"].unique())
        shown = style.thinned(sparsities, 2 if len(names) > 7 else 4)
        hidden |= len(shown) < len(sparsities)
        maps = panels.chunks_of(shown, 2)
        widths = [*([2.6] * len(maps)), *([1.5] if len(same) else [])]
        [row] = panels.panels_at(fig, place, len(widths), widths=widths)
        for ax, two in zip(row, maps, strict=False):
            _overlap_map(ax, rows, names, two, most)
        if len(same):
            row[-1].set_xlim(reach)
            _seed_dots(row[-1], same, names, looks)
        row[0].set_ylim(len(names) - 0.5, -0.5)
        style.set_ticks(row[0].yaxis, range(len(names)), of_block)
    bold = ", bold where the 95 % t interval excludes 0" if len(pairs) and pairs["n"].max() > 1 else ""
    notes = [
        "Numbers: 100 x (Jaccard index of the kept weights minus that of masks drawn at random in each layer at the "
        f"same densities), of two schemes at the same seed, mean of seeds{bold}",
        *([f"Right: two seeds of the same scheme; {interval_text(seeds['n'])}"] if looks else []),
        *(["Not every sparsity is shown on the left"] if hidden else []),
    ]
    return panels.finish(fig, panels.handles_of(looks.values()), drawn.scale, notes)


def _numbered(nth: int, name: str, inches: float) -> str:
    """A scheme's name and its number, which is its column's label."""
    text = " + ".join(pretty(part) for part in name.split(" + "))
    return f"{wrapped(text, inches, SMALL)}  {nth + 1}"


def _height(labels: Sequence[str]) -> float:
    """Inches of a map with these labels at its rows."""
    lines = max(label.count("\n") for label in labels) + 1
    return 0.95 + max(0.2, 0.04 + 0.13 * lines) * max(len(labels), 4)


def _overlap_map(ax: Axes, rows: pd.DataFrame, names: list[str], sparsities: Sequence[float], most: float) -> None:
    """The overlap of each pair of schemes: the first sparsity below the diagonal, the second above it."""
    size = len(names)
    grid = np.full((size, size), np.nan)
    for nth, sparsity in enumerate(sparsities):
        for pair in rows[rows["sparsity"] == sparsity].itertuples():
            ends = sorted((names.index(pair.a), names.index(pair.b)), reverse=nth == 0)
            grid[*ends] = pair.excess
            text = (
                f"{100 * pair.excess:.0f}".replace("-0", "0")
                if abs(pair.excess) < 0.005
                else f"{100 * pair.excess:.0f}"
            )
            ax.text(
                ends[1],
                ends[0],
                text.replace("-", "\u2212") if math.isfinite(pair.excess) else "n/a",
                ha="center",
                va="center",
                fontsize=SMALL,
                weight="bold" if pair.excess_low > 0 or pair.excess_high < 0 else "normal",
                color="white" if abs(pair.excess) > 0.62 * most else "black",
            )
    norm, palette = Normalize(-most, most), mpl.colormaps["PuOr_r"].with_extremes(bad="0.93")
    edges = np.arange(size + 1) - 0.5
    ax.pcolormesh(edges, edges, np.ma.masked_invalid(grid), cmap=palette, norm=norm, edgecolors="white", linewidth=0.8)
    ax.set_xlim(-0.5, size - 0.5)
    style.set_ticks(ax.xaxis, range(size), [str(nth + 1) for nth in range(size)])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    titles = [
        f"{where} {style.percent(sparsity)} %{unit}"
        for sparsity, where, unit in zip(
            sparsities, ("below the diagonal:", "above it:"), (" sparse", ""), strict=False
        )
    ]
    ax.set_title("\n".join(titles), loc="left")


def _seed_dots(ax: Axes, rows: pd.DataFrame, names: list[str], looks: Mapping[float, Look]) -> None:
    ax.axvline(0, color="0.3", linewidth=0.9, zorder=1)
    ax.grid(True, axis="x")
    for nth, (sparsity, look) in enumerate(looks.items()):
        part = rows[rows["sparsity"] == sparsity]
        y = part["a"].map(names.index).to_numpy(dtype=np.float64) + 0.6 * ((nth + 0.5) / len(looks) - 0.5)
        mean, low, high = values_of(part, "excess")
        ax.hlines(y, low, high, color=look.color, linewidth=0.9, alpha=0.75)
        ax.plot(mean, y, **look.line())
    ax.set_title("seed against seed", loc="left")
    ax.set_xlabel("overlap above\nchance (points)")


_CHANCE: dict[str, Any] = {"marker": "_", "markersize": 9, "markeredgewidth": 1.4, "linestyle": ""}


def semi_structured(drawn: Drawn) -> Figure:
    """Claim B9: accuracy of N:M and block patterns with and without a prelude, and how full the groups were before."""
    frame, occupancy = drawn.tables["cascade_semi_structured"], drawn.tables["cascade_occupancy"]
    looks = {name: replace(look, dash="") for name, look in common.prelude_looks(drawn.tables).items()}
    patterns = list(dict.fromkeys(frame["pattern"]))
    labels = [name.replace("@", "\n@") for name in patterns]
    frame = frame.assign(x=frame["pattern"].map(patterns.index))
    heads = {
        "test_accuracy": "test accuracy (%)",
        "difference": "test accuracy minus\nno prelude (points)",
        **common.against_control(frame),
        "fitting": "groups that fitted\nbefore (%)",
    }
    least = dict.fromkeys(heads, 2.0) | {"fitting": 5.0}
    blocks = panels.blocks_of(frame, "task")
    fig, laid_out = panels.in_blocks(blocks, [[1.85, 1.85]] * len(blocks), 1.3)
    for part, (upper, lower) in laid_out:
        [row] = panels.panels_at(fig, upper, len(heads), share=False)
        for ax, (column, label) in zip(row, heads.items(), strict=True):
            absolute = column == "test_accuracy"
            rows = part[part["prelude"] != "none"] if column == "difference" else part
            ax.set_ylabel(label)
            ax.set_ylim(
                panels.bounds_of(part if absolute else frame, column, () if absolute else (0.0,), least=least[column])
            )
            if not absolute:
                panels.level_line(ax)
            series = panels.with_values(series_by(rows, "prelude", looks), column)
            panels.category_panel(ax, series, column, labels, inches=5.4 / len(heads), crosses=absolute)
        groups = occupancy[occupancy["task"] == part["task"].iloc[0]] if len(occupancy) else occupancy
        _occupancy_panels(fig, lower, groups, looks)
    shown = [look for name, look in looks.items() if (frame["prelude"] == name).any()]
    chance = [Line2D([], [], label="chance: binomial, same density", color="0.4", **_CHANCE)] if len(occupancy) else []
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences are paired by seed{common.with_control(frame)}",
        "n:m keeps n of m consecutive weights, 1xk@s prunes whole blocks of k to sparsity s. Fitted before: groups "
        "with at most n weights alive (blocks: none alive) before the pattern was imposed",
        f"Bottom: groups of m weights by how many are alive then. {panels.BEYOND}",
    ]
    handles = [*panels.handles_of(shown), *chance, *panels.diverged_crosses(frame)]
    return panels.finish(fig, handles, drawn.scale, notes)


def _occupancy_panels(fig: Figure, place: Any, groups: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """Groups of m weights by how many are alive, a panel per m."""
    sizes = [int(m) for m in sorted(groups["m"].unique())] if len(groups) else []
    [row] = panels.panels_at(fig, place, max(len(sizes), 1), widths=[m + 2 for m in sizes] or None)
    row[0].set_ylabel("groups (%)")
    row[0].set_ylim(-2, 104)
    if not sizes:
        panels.empty_panel(row[0])
    for ax, m in zip(row, sizes, strict=False):
        of_one = groups[groups["m"] == m]
        series = series_by(of_one.assign(x=of_one["alive"]), "prelude", looks)
        panels.side_by_side(ax, series, "share")
        for (look, rows), x in zip(series, panels.places_of(series), strict=True):
            ax.plot(x, 100 * rows["chance"], color=look.color, zorder=1.8, alpha=0.6, **_CHANCE)
        ax.xaxis.set_major_locator(FixedLocator(range(m + 1)))
        ax.set_title(f"groups of {m}", loc="left")
        ax.set_xlabel(f"weights alive, of {m}")
