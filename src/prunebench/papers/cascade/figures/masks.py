"""Figures of masks: overlap of kept weights, semi-structured patterns."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from prunebench.papers.cascade.figures import common
from prunebench.suite.numbers import text as number_text
from prunebench.suite.report import forest, panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.forest import effects_of
from prunebench.suite.report.panels import values_of
from prunebench.suite.report.style import SMALL, Look, interval_text, pretty, seeds_text, wrapped


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
    handles = panels.handles_of(looks.values()) if len(looks) > 1 else []
    return panels.finish(fig, handles, drawn.scale, notes)


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
            ax.text(
                ends[1],
                ends[0],
                number_text(100 * pair.excess, 1),
                ha="center",
                va="center",
                fontsize=SMALL,
                weight="bold" if pair.excess_low > 0 or pair.excess_high < 0 else "normal",
                color="white" if abs(pair.excess) > 0.62 * most else "black",
            )
    norm, palette = Normalize(-most, most), mpl.colormaps["PuOr_r"].with_extremes(bad="white")
    edges = np.arange(size + 1) - 0.5
    ax.pcolormesh(edges, edges, np.ma.masked_invalid(grid), cmap=palette, norm=norm, edgecolors="white", linewidth=0.8)
    ax.set_xlim(-0.5, size - 0.5)
    style.set_ticks(ax.xaxis, range(size), [str(nth + 1) for nth in range(size)])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    places = ("below the diagonal:", "above it:") if len(sparsities) > 1 else ("",)
    titles = [
        f"{where} {style.percent(sparsity)} %{unit}".strip()
        for sparsity, where, unit in zip(sparsities, places, (" sparse", ""), strict=False)
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


def semi_structured(drawn: Drawn) -> Figure:
    """Claim B9: accuracy under N:M and block patterns after a prelude, and how many groups fitted before."""
    frame = drawn.tables["cascade_semi_structured"]
    looks = common.prelude_looks(drawn.tables)
    paired = np.isfinite(frame["control_difference"]).any()
    column = "control_difference" if paired else "difference"
    blocks = []
    for task, part in frame.groupby("task", sort=False):
        plain = part[part["prelude"] == "none"]
        reached = ", ".join(f"{row.pattern} {100 * row.test_accuracy:.1f} %" for row in plain.itertuples())
        changes = effects_of(
            part[part["prelude_control"].notna() if paired else part["prelude"] != "none"],
            column,
            lambda row: f"{row.pattern}, {pretty(row.prelude)}",
            lambda row: looks[row.prelude],
        )
        fitting = effects_of(
            part,
            "fitting",
            lambda row: f"{row.pattern}, {looks[row.prelude].label.removeprefix('prelude: ')}",
            lambda row: looks[row.prelude],
        )
        title = f"{task}, {seeds_text(part['n'])}: without a prelude {reached or 'no value'}"
        blocks.append((title, (changes, fitting)))
    fig, laid_out = panels.in_blocks(blocks, [[forest.height(*each)] for _, each in blocks], 0.85)
    for (changes, fitting), (place,) in laid_out:
        [(left, right)] = panels.panels_at(fig, place, 2, share=False)
        forest.draw(left, changes, least=2.0)
        left.set_title("accuracy after a prelude (B9)", loc="left", pad=14)
        left.set_xlabel(f"test accuracy minus\n{'its control' if paired else 'no prelude'}'s (points)")
        forest.draw(right, fitting, least=5.0, signed=False)
        right.set_title("groups that fitted before", loc="left", pad=14)
        right.set_xlabel("share of the groups (%)")
    notes = [
        f"Mean of seeds, paired by seed; {interval_text(frame['n'])}",
        "n:m keeps n of m consecutive weights, 1xk@s prunes whole blocks of k to sparsity s. Fitted before: groups "
        "with at most n weights alive (blocks: none alive) before the pattern was imposed",
    ]
    return panels.finish(fig, [], drawn.scale, notes)
