"""Figures of weight gradients (claims A1, A1b)."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from prunebench.papers.s_cyc.figures.common import activations, criterion_text, is_control
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import (
    SMALL,
    WIDTH,
    Look,
    draw_points,
    footer,
    interval_text,
    label_bottoms,
    limits,
    new_figure,
    percent,
    plain,
    pretty,
    seeds_text,
    sparsity_axis,
    sparsity_position,
    thinned,
    wrapped,
)

# --- Figure 1


def gradient_distribution(drawn: Drawn) -> Figure:
    """Histograms of dL/dw over surviving weights at the end of each cycle, one panel per network and criterion.

    The x axis is asinh-spaced as the bins are; heights are shares of weights per bin, cut where they would
    reach into the next ridge. The share of the central bin, where gradients of dead units are exactly 0, is printed.
    """
    tables, scale = drawn.tables, drawn.scale
    frame = tables["s_cyc_gradient_histograms"]
    frame = frame[np.isfinite(frame["left"]) & np.isfinite(frame["right"])]
    kinds = activations(tables)
    families = _families(list(frame["task"].unique()))
    keys = ["task", "criterion", "schedule"]
    panels = sorted(
        frame.groupby(keys, sort=False), key=lambda panel: (families[panel[0][0]], panel[0][0], panel[0][1])
    )
    several = frame["schedule"].nunique() > 1
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    cycles = sorted(frame["cycle"].unique())
    shown = thinned(cycles, 9)
    height = 0.55 + lines * (0.75 + 0.24 * len(shown)) + 0.6
    fig = new_figure(height)
    axes = fig.subplots(lines, columns, squeeze=False, sharex=True)
    densities = sparsity_position(frame.groupby("cycle")["sparsity"].mean().loc[cycles])
    norm = Normalize(0, float(densities.max()) or 1.0)
    palette = sns.color_palette("crest", as_cmap=True)
    reach = _reach(frame)
    for ax, (key, panel) in zip(axes.flat, panels, strict=False):
        task, criterion, schedule = key
        _ridges(ax, panel, shown, reach, lambda s: palette(norm(float(sparsity_position(s)))))
        name = f"{task}, {pretty(kinds[task])}" if task in kinds else str(task)
        title = f"{name}\n{criterion_text(criterion)}" + (f", {pretty(schedule)}" if several else "")
        ax.set_title(wrapped(title, WIDTH / columns - 0.5), loc="left")
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    label_bottoms(axes, len(panels), "gradient dL/dw (asinh scale)")
    for ax in axes[:, 0]:
        ax.set_ylabel("sparsity (%)")
    notes = [
        "dL/dw of surviving weights at the end of each pruning cycle, seeds pooled; bins of equal width on the asinh "
        "scale, heights of one panel comparable",
        "Right of each ridge: share of weights in the central bin, where exact zeros (dead units) lie; bars are cut at "
        "the height of the next ridge",
    ]
    if len(shown) < len(cycles):
        notes.append(f"{len(shown)} of {len(cycles)} cycles shown")
    footer(fig, scale, notes)
    return fig


def _reach(frame: pd.DataFrame) -> float:
    """The |gradient| within which each histogram has 99.5 % of its weights: the x axis ends there."""
    farthest = np.maximum(frame["left"].abs(), frame["right"].abs())
    ordered = frame.assign(edge=farthest).sort_values("edge", kind="stable")
    keys = ["task", "criterion", "schedule", "cycle"]
    inside = ordered.groupby(keys)["weights_share"].cumsum() <= 0.995
    shown = ordered.loc[inside & (ordered["weights_share"] > 0), "edge"]
    return float(shown.max()) if len(shown) else float(farthest.max())


def _ridges(ax: Axes, panel: pd.DataFrame, shown: list[int], reach: float, color: Callable[[float], Any]) -> None:
    edges = np.unique(np.append(panel["left"], panel["right"]))
    central = (panel["left"] < 0) & (panel["right"] > 0)
    # Bins around 0 are many times as high as the rest: drawn whole, they would leave every other bin flat.
    positive = panel.loc[~central & (panel["weights_share"] > 0), "weights_share"]
    tallest = positive.quantile(0.96)
    tallest = float(tallest) if tallest > 0 else 1.0
    # Bins are evenly spaced on the scale they were made on, so their index is the coordinate: no constant is repeated.
    index = np.arange(edges.size, dtype=np.float64)
    span = (float(np.interp(-reach, edges, index)), float(np.interp(reach, edges, index)))
    sparsities = []
    for row, cycle in enumerate(shown):
        ridge = panel[panel["cycle"] == cycle].sort_values("left")
        base = -float(row)
        sparsities.append(percent(float(ridge["sparsity"].iloc[0])) if len(ridge) else "")
        if ridge["weights_share"].sum() > 0:
            height = np.minimum(ridge["weights_share"].to_numpy() / tallest, 1.15) * 0.85
            left = np.interp(ridge["left"], edges, index)
            tint = color(float(ridge["sparsity"].iloc[0]))
            steps = np.append(left, np.interp(ridge["right"].iloc[-1], edges, index))
            ax.stairs(height + base, steps, baseline=base, fill=True, color=tint, alpha=0.45, zorder=3 + row)
            ax.stairs(height + base, steps, baseline=base, color=tint, linewidth=0.7, zorder=3 + row)
            zero = float(ridge.loc[central.loc[ridge.index], "weights_share"].sum())
            told = f"{100 * zero:.0f} %"
        else:
            told = "no data"
        ax.text(1.0, base + 0.3, told, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=SMALL)
    # Room for the shares that are printed at the right.
    ax.set_xlim(span[0], span[1] + 0.17 * (span[1] - span[0]))
    ax.set_ylim(-len(shown) + 0.9, 1.1)
    ax.yaxis.set_major_locator(FixedLocator([-float(row) for row in range(len(shown))]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda _, i: sparsities[i] if i is not None else ""))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    zero_at = (edges.size - 1) / 2
    apart = 0.2 * (span[1] - span[0])
    ticks: dict[float, float] = {}
    for power in (10.0**k for k in range(12, -13, -1)):
        at = float(np.interp(power, edges, index))
        if power <= reach and at - zero_at > apart and min((abs(at - x) for x in ticks.values()), default=at) > apart:
            ticks[power] = at
    places = [2 * zero_at - at for at in ticks.values()] + [zero_at, *ticks.values()]
    named = [f"\u2212{plain(power)}" for power in ticks] + ["0"] + [plain(power) for power in ticks]
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda _, i: named[i] if i is not None else ""))
    ax.axvline(zero_at, color="0.6", linewidth=0.6, zorder=1)
    ax.tick_params(axis="x", labelbottom=True)


# --- Figure 2

_ACTIVATION_COLORS = {
    "relu": "#882255",
    "leaky_relu": "#44AA99",
    "elu": "#88CCEE",
    "gelu": "#999933",
    "tanh": "#332288",
}
_WEIGHTS = {"surviving": "surviving", "all": "all weights", "all_zeroed": "all, pruned as 0"}


def gradient_spread(drawn: Drawn) -> Figure:
    """Claim A1: std of dL/dw relative to the dense network's against sparsity, a row per family of networks.

    Columns: surviving weights at the end of the cycle; the same at matched training loss; and, for the ReLU network,
    what changes when pruned weights are counted too (counted as 0 they narrow the distribution trivially).
    """
    tables, scale, narrowed = drawn.tables, drawn.scale, drawn.margins.a1_ratio
    frame = tables["s_cyc_gradients"]
    families = _families(list(frame["task"].unique()))
    names = list(dict.fromkeys(families.values()))
    whole = frame[frame["weights"].isin(list(_WEIGHTS))].assign(family=frame["task"].map(families))
    looks = {name: _network_looks(whole[whole["family"] == name]) for name in names}
    heights = []
    for name in names:
        deep = math.ceil(len(looks[name]) / _key_columns(looks[name].values()))
        heights += [2.0, 0.16 * max(deep, len(_WEIGHTS)) + 0.06]
    fig = new_figure(1.0 + sum(heights) + 0.6 * len(names))
    grid = fig.add_gridspec(2 * len(names), 3, height_ratios=heights)
    heads = (
        "surviving weights,\nend of the cycle",
        "surviving weights,\nat matched training loss",
        "ReLU, which weights count,\nend of the cycle",
    )
    for place, family in enumerate(names):
        left = fig.add_subplot(grid[2 * place, 0])
        row = [left, *(fig.add_subplot(grid[2 * place, column], sharey=left) for column in (1, 2))]
        rows = whole[whole["family"] == family]
        surviving = rows[rows["weights"] == "surviving"]
        relu = rows[(rows["activation"] == "relu") & (rows["at"] == "end")]
        criteria = sorted(relu["criterion"].unique(), key=is_control)
        relu = relu[relu["criterion"].isin(criteria[:1])]
        parts = (
            _by_network(surviving[surviving["at"] == "end"], looks[family]),
            _by_network(surviving[surviving["at"] == "matched_loss"], looks[family]),
            _by_weights(relu),
        )
        bounds = _log_limits(narrowed, surviving, relu)
        for ax, lines, head in zip(row, parts, heads, strict=True):
            _spread_panel(ax, lines, bounds, narrowed, relu=ax is row[2])
            ax.tick_params(axis="y", labelleft=ax is left)
            extra = f"\n{criterion_text(criteria[0])}" if ax is row[2] and criteria else ""
            count = f", {seeds_text(_seeds_behind(pd.concat([group for _, group in lines])))}" if lines else ""
            ax.set_title(wrapped(f"{head}{extra}{count}", WIDTH / 3 - 0.3), loc="left")
        # A legend of its own place: the panels keep their widths whatever the names.
        for space, shown, columns in (
            (grid[2 * place + 1, :2], list(looks[family].values()), _key_columns(looks[family].values())),
            (grid[2 * place + 1, 2], [look for look, _ in parts[2]], 1),
        ):
            legend = fig.add_subplot(space)
            legend.set_axis_off()
            handles = [Line2D([], [], label=look.label, **look.line()) for look in shown]
            if handles:
                legend.legend(
                    handles=handles,
                    loc="upper left",
                    ncols=columns,
                    fontsize=SMALL,
                    handlelength=2.2,
                    columnspacing=0.8,
                    borderaxespad=0.0,
                    borderpad=0.0,
                ).set_in_layout(False)
        row[0].set_ylabel(f"{wrapped(family, 2.2)}\nstd of dL/dw / dense\n\u2190 narrower \u00b7 wider \u2192")
        for text, level, side in (("dense", 1.0, "bottom"), (f"{narrowed:g}: A1", narrowed, "top")):
            row[2].text(1.02, level, text, transform=row[2].get_yaxis_transform(), va=side, fontsize=SMALL, color="0.3")
    notes = [
        "Geometric mean of the seeds' ratios to their own dense network; "
        f"{interval_text(_seeds_behind(frame))}, on the log",
        f"Below 1: narrower than dense. {narrowed:g}: the ratio that claim A1 asks for at the last cycle",
        "Triangles: bars go on beyond the axis. Hollow: one seed, no bar. No point: "
        "the cycle did not train, or that loss was not measured in it or in the dense network",
    ]
    footer(fig, scale, notes)
    return fig


def _key_columns(looks: Iterable[Look]) -> int:
    """Columns of a legend under two panels, for labels of these lengths."""
    longest = max(len(look.label) for look in looks)
    return max(1, min(4, int(4.3 / (0.5 + longest * 0.55 * SMALL / 72))))


def _families(tasks: list[str]) -> dict[str, str]:
    """Task -> family: tasks whose name continues another's (fashion-mlp-tanh, fashion-mlp) belong to it."""
    return {
        task: min((head for head in tasks if task == head or task.startswith(f"{head}-")), key=len) for task in tasks
    }


def _network_looks(rows: pd.DataFrame) -> dict[tuple[str, str, str], Look]:
    """A look per (task, criterion, schedule) of a family: colour by activation, random pruning dashed."""
    groups = list(rows.groupby(["task", "criterion", "schedule"], sort=False))
    several = rows["schedule"].nunique() > 1
    methods = {criterion for (_, criterion, _), _ in groups if not is_control(criterion)}
    looks = {}
    for nth, (key, group) in enumerate(groups):
        _, criterion, schedule = key
        activation = str(group["activation"].iloc[0])
        label = pretty(activation)
        if is_control(criterion) or len(methods) > 1:
            label += f", {pretty(criterion)}"
        looks[key] = Look(
            label=label + (f", {pretty(schedule)}" if several else ""),
            color=_ACTIVATION_COLORS.get(activation, "#777777"),
            marker="osD^vP"[nth % 6],
            dash=(0, (3.0, 1.5)) if is_control(criterion) else "-",
            width=1.8 if activation == "relu" else 1.1,
            size=4.5 if activation == "relu" else 3.8,
            order=4.0 if activation == "relu" else 3.0,
        )
    return looks


def _by_network(rows: pd.DataFrame, looks: Mapping[tuple[str, str, str], Look]) -> list[tuple[Look, pd.DataFrame]]:
    return [(looks[key], group) for key, group in rows.groupby(["task", "criterion", "schedule"], sort=False)]


def _by_weights(rows: pd.DataFrame) -> list[tuple[Look, pd.DataFrame]]:
    base = Look(label="", color=_ACTIVATION_COLORS["relu"], width=1.8, size=4.5, order=4.0)
    looks = {
        "surviving": replace(base, label=_WEIGHTS["surviving"]),
        "all": replace(base, label=_WEIGHTS["all"], color="#B0709A", marker="s", width=1.1, dash=(0, (4.0, 1.5))),
        "all_zeroed": replace(base, label=_WEIGHTS["all_zeroed"], color="0.45", marker="v", width=1.1, dash=":"),
    }
    # One network per family has its own name; a second ReLU network of the family would draw over the first.
    first = rows[rows["task"] == rows["task"].iloc[0]] if len(rows) else rows
    first = first[first["schedule"] == first["schedule"].iloc[0]] if len(first) else first
    groups = [(look, first[first["weights"] == name]) for name, look in looks.items()]
    return [(look, group) for look, group in groups if len(group)]


def _log_limits(narrowed: float, *parts: pd.DataFrame) -> tuple[float, float]:
    rows = pd.concat(parts)
    rows = rows[rows["std_ratio"] > 0]
    columns = ("std_ratio", "std_ratio_low", "std_ratio_high")
    logs = [np.log(rows[name].where(rows[name] > 0).to_numpy(dtype=np.float64)) for name in columns]
    # Room for the mark of the margin, wherever it is.
    fixed = np.log([min(0.7, 0.9 * narrowed), max(1.25, 1.1 * narrowed)])
    bottom, top = limits(np.append(logs[0], fixed), logs[1], logs[2], reach=0.25, least=0.5)
    return math.exp(bottom), math.exp(top)


def _seeds_behind(rows: pd.DataFrame) -> pd.Series:
    """Seeds behind each ratio that is drawn; a ratio of no seed is not."""
    return rows["std_ratio_n"][rows["std_ratio_n"] > 0]


def _spread_panel(
    ax: Axes, lines: list[tuple[Look, pd.DataFrame]], bounds: tuple[float, float], narrowed: float, relu: bool
) -> None:
    ax.set_yscale("log")
    ax.set_ylim(bounds)
    decades = math.log10(bounds[1] / bounds[0])
    ticks = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.6 else tuple(range(1, 10))
    ax.yaxis.set_major_locator(LogLocator(subs=ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(1, color="0.3", linewidth=0.9, zorder=1)
    ax.axhline(narrowed, color="0.3", linewidth=0.9, dashes=(1, 1.5), zorder=1)
    if not lines:
        ax.text(
            0.5,
            0.5,
            "no ReLU network" if relu else "not measured",
            transform=ax.transAxes,
            ha="center",
            va="center",
            color="0.3",
        )
        ax.xaxis.set_major_locator(NullLocator())
        return
    rows = pd.concat([group for _, group in lines])
    spots = sparsity_position(sorted(rows["sparsity"].unique()))
    gaps = np.diff(np.unique(np.round(spots, 1)))
    step = 0.5 * float(gaps.min() if gaps.size else 1.0) / max(len(lines), 3)
    for nth, (look, group) in enumerate(lines):
        ordered = group.sort_values("cycle")
        x = sparsity_position(ordered["sparsity"]) + (nth - (len(lines) - 1) / 2) * step
        ratio, low, high = (
            ordered[name].to_numpy(dtype=np.float64) for name in ("std_ratio", "std_ratio_low", "std_ratio_high")
        )
        shown = np.where(ratio > 0, ratio, np.nan)
        draw_points(ax, x, shown, low, high, look, hollow=np.isfinite(shown) & ~np.isfinite(low))
        lost = (ordered["zero"] > 0).to_numpy()
        if lost.any():
            ax.plot(x[lost], np.full(int(lost.sum()), bounds[0]), "x", color=look.color, clip_on=False, markersize=5)
            ax.annotate("x: std = 0 in some seed", (0.02, 0.02), xycoords="axes fraction", fontsize=SMALL)
    sparsity_axis(ax, list(rows["sparsity"]), WIDTH / 3 - 0.4)
