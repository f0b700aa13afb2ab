"""The S-Cyc study's figures, from its tables alone: nothing is trained, no configuration is read."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from prunebench.report.style import (
    SMALL,
    WIDTH,
    Drawing,
    Floats,
    Look,
    Tables,
    cross,
    draw_figures,
    draw_points,
    footer,
    interval_text,
    label_bottoms,
    legend_above,
    limits,
    mark_diverged,
    new_figure,
    percent,
    plain,
    pretty,
    schedule_looks,
    seeds_text,
    spacing,
    sparsity_axis,
    sparsity_position,
    thinned,
    wrapped,
)
from prunebench.studies.s_cyc_names import DATA, FIGURES, TABLES

NARROWED = 0.8
"""Claim A1's line: reproduced needs a std of at most this share of the dense network's (docs/methods.md, Claims)."""

_NAMES = ("task", "criterion", "schedule", "role", "at", "weights", "activation", "best_benchmark", "scale")

_NEEDED = {
    "s_cyc_accuracy": "task criterion schedule role cycle sparsity n diverged test_accuracy ci_low ci_high "
    "best_benchmark difference difference_low difference_high",
    "s_cyc_oracle": "task criterion cycle sparsity n oracle_max_lr low high schedule schedule_max_lr inside difference "
    "difference_low difference_high",
    "s_cyc_gradients": "task criterion schedule at weights cycle activation sparsity std_ratio_n zero std_ratio "
    "std_ratio_low std_ratio_high",
    "s_cyc_oracle_grid": "task criterion cycle sparsity max_lr n diverged validation_accuracy near_best",
    "s_cyc_gradient_histograms": "task criterion schedule cycle left right sparsity weights_share",
    "s_cyc_lr_schedules": "schedule role cycle share lr max_lr",
    "s_cyc_cost": "",
}


def draw(tables: Path, out: Path) -> None:
    """Draws every figure of the study, from the CSV files in `tables`, as SVG and PNG in `out`.

    A table without rows gives a figure that says so. The same tables give the same bytes. Raises InputError for a
    table that is missing, unreadable or lacks a column.
    """
    needed = {name: _NEEDED[name].split() for name in (*TABLES, *DATA)}
    draw_figures(tables, out, needed, _NAMES, {name: _figures()[name] for name in FIGURES})


def _figures() -> dict[str, Drawing]:
    histograms, spread = ("s_cyc_gradient_histograms",), ("s_cyc_gradients",)
    return {
        "s_cyc_gradient_distribution": Drawing("Distribution of weight gradients", histograms, gradient_distribution),
        "s_cyc_gradient_spread": Drawing("Spread of weight gradients", spread, gradient_spread),
        "s_cyc_lr_schedules": Drawing("Learning-rate schedules", ("s_cyc_lr_schedules",), lr_schedules),
        "s_cyc_accuracy": Drawing("Test accuracy", ("s_cyc_accuracy",), accuracy),
        "s_cyc_oracle": Drawing("Oracle for max_lr", ("s_cyc_oracle", "s_cyc_oracle_grid"), oracle),
    }


def _looks(tables: Tables) -> dict[str, Look]:
    """One look per schedule for every figure: in the order of the configuration, which the LR table keeps."""
    roles: dict[str, str] = {}
    for name in ("s_cyc_lr_schedules", "s_cyc_accuracy"):
        frame = tables[name]
        if len(frame):
            roles |= dict(zip(frame["schedule"], frame["role"], strict=True))
    if len(tables["s_cyc_oracle"]):
        roles = dict.fromkeys(tables["s_cyc_oracle"]["schedule"], "method") | roles
    return schedule_looks(roles | {"oracle": "oracle"})


def _activations(tables: Tables) -> dict[str, str]:
    frame = tables["s_cyc_gradients"]
    return dict(zip(frame["task"], frame["activation"], strict=True)) if len(frame) else {}


def _is_control(criterion: str) -> bool:
    return criterion == "random"


def _criterion(name: str) -> str:
    return f"{pretty(name)} (control)" if _is_control(name) else pretty(name)


# --- Figure 1


def gradient_distribution(tables: Tables, scale: str) -> Figure:
    """Histograms of dL/dw over surviving weights at the end of each cycle, one panel per network and criterion.

    The x axis is asinh-spaced as the bins are; heights are shares of weights per bin, cut where they would
    reach into the next ridge. The share of the central bin, where gradients of dead units are exactly 0, is printed.
    """
    frame = tables["s_cyc_gradient_histograms"]
    frame = frame[np.isfinite(frame["left"]) & np.isfinite(frame["right"])]
    activations = _activations(tables)
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
        name = f"{task}, {pretty(activations[task])}" if task in activations else str(task)
        title = f"{name}\n{_criterion(criterion)}" + (f", {pretty(schedule)}" if several else "")
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


def gradient_spread(tables: Tables, scale: str) -> Figure:
    """Claim A1: std of dL/dw relative to the dense network's against sparsity, a row per family of networks.

    Columns: surviving weights at the end of the cycle; the same at matched training loss; and, for the ReLU network,
    what changes when pruned weights are counted too (counted as 0 they narrow the distribution trivially).
    """
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
        criteria = sorted(relu["criterion"].unique(), key=_is_control)
        relu = relu[relu["criterion"].isin(criteria[:1])]
        parts = (
            _by_network(surviving[surviving["at"] == "end"], looks[family]),
            _by_network(surviving[surviving["at"] == "matched_loss"], looks[family]),
            _by_weights(relu),
        )
        bounds = _log_limits(surviving, relu)
        for ax, lines, head in zip(row, parts, heads, strict=True):
            _spread_panel(ax, lines, bounds, relu=ax is row[2])
            ax.tick_params(axis="y", labelleft=ax is left)
            extra = f"\n{_criterion(criteria[0])}" if ax is row[2] and criteria else ""
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
        for text, level, side in (("dense", 1.0, "bottom"), (f"{NARROWED:g}: A1", NARROWED, "top")):
            row[2].text(1.02, level, text, transform=row[2].get_yaxis_transform(), va=side, fontsize=SMALL, color="0.3")
    notes = [
        "Geometric mean of the seeds' ratios to their own dense network; "
        f"{interval_text(_seeds_behind(frame))}, on the log",
        f"Below 1: narrower than dense. {NARROWED:g}: the ratio that claim A1 asks for at the last cycle",
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
    methods = {criterion for (_, criterion, _), _ in groups if not _is_control(criterion)}
    looks = {}
    for nth, (key, group) in enumerate(groups):
        _, criterion, schedule = key
        activation = str(group["activation"].iloc[0])
        label = pretty(activation)
        if _is_control(criterion) or len(methods) > 1:
            label += f", {pretty(criterion)}"
        looks[key] = Look(
            label=label + (f", {pretty(schedule)}" if several else ""),
            color=_ACTIVATION_COLORS.get(activation, "#777777"),
            marker="osD^vP"[nth % 6],
            dash=(0, (3.0, 1.5)) if _is_control(criterion) else "-",
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


def _log_limits(*parts: pd.DataFrame) -> tuple[float, float]:
    rows = pd.concat(parts)
    rows = rows[rows["std_ratio"] > 0]
    columns = ("std_ratio", "std_ratio_low", "std_ratio_high")
    logs = [np.log(rows[name].where(rows[name] > 0).to_numpy(dtype=np.float64)) for name in columns]
    fixed = np.log([0.7, 1.25])
    bottom, top = limits(np.append(logs[0], fixed), logs[1], logs[2], reach=0.25, least=0.5)
    return math.exp(bottom), math.exp(top)


def _seeds_behind(rows: pd.DataFrame) -> pd.Series:
    """Seeds behind each ratio that is drawn; a ratio of no seed is not."""
    return rows["std_ratio_n"][rows["std_ratio_n"] > 0]


def _spread_panel(ax: Axes, lines: list[tuple[Look, pd.DataFrame]], bounds: tuple[float, float], relu: bool) -> None:
    ax.set_yscale("log")
    ax.set_ylim(bounds)
    decades = math.log10(bounds[1] / bounds[0])
    ticks = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.6 else tuple(range(1, 10))
    ax.yaxis.set_major_locator(LogLocator(subs=ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(1, color="0.3", linewidth=0.9, zorder=1)
    ax.axhline(NARROWED, color="0.3", linewidth=0.9, dashes=(1, 1.5), zorder=1)
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


# --- Figure 3


def lr_schedules(tables: Tables, scale: str) -> Figure:
    """Learning rate over the chain of pruning cycles, one panel per schedule, with the envelope max_lr(cycle)."""
    frame = tables["s_cyc_lr_schedules"]
    looks = _looks(tables)
    names = [name for name in looks if name in set(frame["schedule"])]
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    fig = new_figure(0.7 + 1.45 * lines)
    axes = fig.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    last = int(frame["cycle"].max())
    top = float(max(frame["lr"].max(), frame["max_lr"].max()))
    for ax, name in zip(axes.flat, names, strict=False):
        rows = frame[frame["schedule"] == name].sort_values(["cycle", "share"])
        look = looks[name]
        envelope = rows.groupby("cycle")["max_lr"].first()
        ax.stairs(
            envelope,
            np.append(envelope.index, envelope.index[-1] + 1),
            color="0.35",
            linewidth=1.0,
            linestyle=(0, (2.0, 1.2)),
            baseline=None,
            zorder=3,
        )
        # A gap between cycles: the LR starts anew, no line leads from one cycle's end to the next one's start.
        for _, cycle in rows.groupby("cycle"):
            ax.plot(cycle["cycle"] + cycle["share"], cycle["lr"], color=look.color, linewidth=1.2, zorder=2)
        ax.set_title(wrapped(f"{pretty(name)}\n{rows['role'].iloc[0]}", WIDTH / columns - 0.3), loc="left")
        ax.set_xlim(0, last + 1)
        ax.set_ylim(0, 1.08 * top if top > 0 else 1.0)
        ax.xaxis.set_major_locator(FixedLocator(range(0, last + 1, math.ceil((last + 1) / 7))))
        ax.grid(True, axis="x")
        ax.tick_params(axis="x", labelbottom=True)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    label_bottoms(axes, len(names), "pruning cycle")
    for ax in axes[:, 0]:
        ax.set_ylabel("learning rate")
    handles = [
        Line2D([], [], color="0.35", linestyle=(0, (2.0, 1.2)), label="max_lr of the cycle"),
        Line2D([], [], color="0.6", linewidth=1.2, label="learning rate (colour: schedule)"),
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=2)
    notes = ["From the configuration. Cycle 0 is dense; vertical lines: starts of pruning cycles"]
    footer(fig, scale, notes)
    return fig


# --- Figure 4


def accuracy(tables: Tables, scale: str) -> Figure:
    """Test accuracy against sparsity by schedule, and below it the paired difference to the best benchmark.

    One pair of panels per task and criterion. The best benchmark of a sparsity is the one with the highest mean
    validation accuracy there. Markers are side by side for clarity: their sparsity is that of the tick.
    """
    frame = tables["s_cyc_accuracy"]
    every = _looks(tables)
    present = set(frame["schedule"])
    looks = {name: look for name, look in every.items() if name in present}
    facets = list(frame.groupby(["task", "criterion"], sort=False))
    columns = min(3, len(facets))
    blocks = math.ceil(len(facets) / columns)
    fig = new_figure(1.3 + 4.1 * blocks)
    axes = fig.subplots(2 * blocks, columns, squeeze=False)
    inches = WIDTH / columns - 0.55
    for place, ((task, criterion), cell) in enumerate(facets):
        top, bottom = axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]
        _accuracy_panels(top, bottom, frame[frame["task"] == task], cell, looks, inches)
        title = f"{task}\n{_criterion(criterion)}, {seeds_text(cell['n'])}"
        top.set_title(wrapped(title, inches + 0.3), loc="left")
        if place % columns == 0:
            top.set_ylabel("test accuracy (%)")
            bottom.set_ylabel("difference to the best\nbenchmark (points)")
    for place in range(len(facets), blocks * columns):
        for ax in axes[2 * (place // columns) : 2 * (place // columns) + 2, place % columns]:
            ax.set_axis_off()
    handles = [Line2D([], [], label=look.label, **look.line()) for look in looks.values()]
    if (frame["diverged"] > 0).any():
        handles.append(cross("seeds diverged, counted as chance"))
    legend_above(fig, handles)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'])}; differences are paired by seed, without bars for benchmarks",
        "Best benchmark: chosen on validation accuracy at each sparsity, where it lies at 0",
        "Triangles at an edge: a point or bar goes on beyond the axis. Markers are moved sideways a little",
    ]
    footer(fig, scale, notes)
    return fig


def _accuracy_panels(
    top: Axes, bottom: Axes, task: pd.DataFrame, cell: pd.DataFrame, looks: Mapping[str, Look], inches: float
) -> None:
    here = [name for name in looks if name in set(cell["schedule"])]
    low, high = limits(task["test_accuracy"], task["ci_low"], task["ci_high"], reach=0.25, least=0.02)
    top.set_ylim(100 * max(low, 0.0), min(100 * high, 101.0))
    # Benchmarks far below would flatten the differences that the claim is about: they may leave the axis, marked.
    of_claim = task[(task["role"] != "benchmark") & task["difference"].notna()]
    of_claim = of_claim if len(of_claim) else task
    low, high = limits(
        np.append(of_claim["difference"], 0.0), of_claim["difference_low"], of_claim["difference_high"], 0.6, 0.01
    )
    bottom.set_ylim(100 * low, 100 * high)
    bottom.axhline(0, color="0.3", linewidth=0.9, zorder=1)
    spots = np.unique(sparsity_position(cell["sparsity"]))
    gap = spacing(spots)
    step = 0.75 * gap / max(len(here), 4)
    for nth, name in enumerate(here):
        rows = cell[cell["schedule"] == name].sort_values("cycle")
        x = sparsity_position(rows["sparsity"]) + (nth - (len(here) - 1) / 2) * step
        value = {
            column: 100 * rows[column].to_numpy(dtype=np.float64)
            for column in ("test_accuracy", "ci_low", "ci_high", "difference", "difference_low", "difference_high")
        }
        # A share of 1 bounds accuracy: the t interval does not know.
        ci_low, ci_high = np.clip(value["ci_low"], 0, 100), np.clip(value["ci_high"], 0, 100)
        draw_points(top, x, value["test_accuracy"], ci_low, ci_high, looks[name], bars=0.6)
        quiet = replace(looks[name], width=0.6 * looks[name].width)
        benchmark = (rows["role"] == "benchmark").to_numpy()
        gap_low, gap_high = (np.where(benchmark, np.nan, value[f"difference_{end}"]) for end in ("low", "high"))
        draw_points(bottom, x, value["difference"], gap_low, gap_high, quiet, bars=0.9)
        mark_diverged(top, x, value["test_accuracy"], rows["diverged"], rows["n"])
    for ax in (top, bottom):
        ax.set_xlim(spots[0] - 0.65 * gap, spots[-1] + 0.65 * gap)
        sparsity_axis(ax, list(cell["sparsity"]), inches, label=ax is bottom)


# --- Figure 5


def oracle(tables: Tables, scale: str) -> Figure:
    """Validation accuracy by cycle and max_lr, with what the oracle chose and what the S-shaped policy sets.

    Colour is the shortfall to the cycle's best max_lr, so that cycles of different accuracy compare; a bar
    spans the near-best values of max_lr. Beside it the oracle's test accuracy minus the schedule's, paired by seed.
    """
    grid, summary = tables["s_cyc_oracle_grid"], tables["s_cyc_oracle"]
    looks = _looks(tables)
    cells = list(summary.groupby(["task", "criterion"], sort=False))
    fig = new_figure(1.3 + 2.9 * len(cells))
    axes = fig.subplots(len(cells), 2, squeeze=False, width_ratios=(1.9, 1.0))
    diverged = bool((grid["diverged"] > 0).any())
    for (left, right), ((task, criterion), rows) in zip(axes, cells, strict=True):
        part = grid[(grid["task"] == task) & (grid["criterion"] == criterion)]
        rows = rows.sort_values("cycle")
        schedule = str(rows["schedule"].iloc[0])
        look = looks[schedule]
        _oracle_map(fig, left, part, rows, looks["oracle"], look)
        share = f"{pretty(schedule)} near-best in {int(rows['inside'].sum())} of {len(rows)} cycles"
        left.set_title(wrapped(f"{task}, {_criterion(criterion)}, {seeds_text(part['n'])}\n{share}", 4.2), loc="left")
        _oracle_gap(right, rows)
        right.set_title(wrapped(f"oracle minus {pretty(schedule)},\n{seeds_text(rows['n'])}", 2.0), loc="left")
    handles: list[Any] = [
        Line2D([], [], label="oracle's choice", **looks["oracle"].line()),
        Line2D([], [], label=f"max_lr of {pretty(schedule)}", **look.line()),
        Line2D([], [], label="near-best interval", linestyle="", marker="|", color="black", markersize=9, mew=1.6),
    ]
    if diverged:
        handles.append(Patch(facecolor="white", edgecolor="black", linewidth=0, hatch="xxx", label="seeds diverged"))
    legend_above(fig, handles)
    notes = [
        "Left: mean validation accuracy (%) of each max_lr tried; near-best interval: from the lowest to the highest "
        "near-best max_lr that was tried; hollow circle: the nearest max_lr that was tried is not near-best; "
        "oracle's choice: geometric mean of the seeds' choices; right: test accuracy, "
        f"paired by seed, {interval_text(summary['n'])}",
    ]
    if diverged:
        notes.append("A diverged seed counts as chance; d/n: d of n seeds")
    footer(fig, scale, notes)
    return fig


_INTERVAL: dict[str, Any] = {
    "color": "black",
    "linewidth": 1.6,
    "marker": "_",
    "markersize": 7,
    "markeredgewidth": 1.6,
}


def _oracle_map(fig: Figure, ax: Axes, part: pd.DataFrame, rows: pd.DataFrame, chosen: Look, policy: Look) -> None:
    cycles = sorted(part["cycle"].unique())
    rates = np.array(sorted(part["max_lr"].unique()))
    score = part.pivot(index="max_lr", columns="cycle", values="validation_accuracy").reindex(rates, columns=cycles)
    shortfall = 100 * (score - score.max())
    edges = _log_edges(rates)
    deepest = max(2.0, min(10.0, -float(np.nanmin(shortfall.to_numpy(dtype=np.float64), initial=0.0))))
    palette = mpl.colormaps["cividis"].with_extremes(bad="0.85")
    norm = Normalize(-deepest, 0)
    mesh = ax.pcolormesh(
        np.arange(len(cycles) + 1) - 0.5,
        edges,
        np.ma.masked_invalid(shortfall),
        cmap=palette,
        norm=norm,
        edgecolors="white",
        linewidth=0.5,
    )
    ax.set_yscale("log")
    bottom = min(edges[0], 0.95 * float(rows["schedule_max_lr"].min()))
    ax.set_ylim(bottom, max(edges[-1], 1.05 * float(rows["schedule_max_lr"].max())))
    ax.set_xlim(-0.5, len(cycles) - 0.5)
    ax.grid(False)
    told = len(cycles) <= 9 and len(rates) <= 9
    for cell in part.itertuples():
        i, j = cycles.index(cell.cycle), int(np.searchsorted(rates, cell.max_lr))
        low, high = edges[j], edges[j + 1]
        if cell.diverged > 0:
            ax.add_patch(
                Rectangle(
                    (i - 0.5, low), 1, high - low, fill=False, edgecolor="black", linewidth=0, hatch="xxx", zorder=2
                )
            )
        if told and math.isfinite(cell.validation_accuracy):
            dark = norm(shortfall.loc[cell.max_lr, cell.cycle]) < 0.55
            text = f"{100 * cell.validation_accuracy:.1f}"
            text += f"\n{int(cell.diverged)}/{int(cell.n)}" if cell.diverged > 0 else ""
            ax.text(
                i - 0.46,
                high / (high / low) ** 0.08,
                text,
                ha="left",
                va="top",
                fontsize=SMALL,
                zorder=2.5,
                color="white" if dark else "black",
                bbox={"facecolor": palette(norm(shortfall.loc[cell.max_lr, cell.cycle])), "pad": 0.6, "linewidth": 0},
            )
    halo = [Stroke(linewidth=3.2, foreground="white"), Normal()]
    at = np.array([cycles.index(cycle) for cycle in rows["cycle"]])
    # Beside the printed accuracies, which stand at the left of their cells.
    lines_at = at + (0.13 if told else 0.0)
    interval = _INTERVAL | {"markersize": min(7.0, 50 / len(cycles))}
    for i, low, high in zip(at, rows["low"], rows["high"], strict=True):
        ax.plot([i + 0.36, i + 0.36], [low, high], path_effects=halo, zorder=3, **interval)
    for order, (look, column) in enumerate(((policy, "schedule_max_lr"), (chosen, "oracle_max_lr"))):
        style = look.line() | {"linewidth": 1.4, "markersize": 6 if look is policy else 8, "zorder": 4 + order}
        style["markersize"] *= min(1.0, max(0.6, 12 / len(cycles)))
        ax.plot(lines_at, rows[column], path_effects=halo, clip_on=False, **style)
        if look is policy:
            out = ~rows["inside"].to_numpy(dtype=bool)
            style |= {
                "linestyle": "",
                "markerfacecolor": "white",
                "markeredgecolor": look.color,
                "markeredgewidth": 1.3,
            }
            if out.any():
                ax.plot(lines_at[out], rows.loc[out, column], clip_on=False, **style)
    sparsity = part.groupby("cycle")["sparsity"].mean().loc[cycles]
    sparsity_axis(ax, list(sparsity), 3.4, places=list(range(len(cycles))))
    shown = thinned(list(rates), 9)
    ax.yaxis.set_major_locator(FixedLocator(shown))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("max_lr (log scale)")
    bar = fig.colorbar(mesh, ax=ax, extend="min" if np.nanmin(shortfall) < -deepest else "neither", pad=0.02)
    bar.set_label("below the cycle's\nbest (points)", fontsize=SMALL + 0.5)
    bar.outline.set_visible(False)


def _log_edges(rates: Floats) -> Floats:
    """Edges of cells around `rates` on a log axis: midway between neighbours."""
    logs = np.log(rates)
    if logs.size == 1:
        return np.exp(np.array([logs[0] - 0.35, logs[0] + 0.35]))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))


def _oracle_gap(ax: Axes, rows: pd.DataFrame) -> None:
    gap, low, high = (
        100 * rows[name].to_numpy(dtype=np.float64) for name in ("difference", "difference_low", "difference_high")
    )
    ax.set_ylim(limits(np.append(gap, 0.0), low, high, reach=4.0, least=1.0))
    ax.yaxis.set_major_locator(MaxNLocator(6))
    ax.axhline(0, color="0.3", linewidth=0.9, zorder=1)
    look = Look(label="", color="black", marker="o", dash=":", width=0.8, size=4.5, order=3.0)
    draw_points(ax, sparsity_position(rows["sparsity"]), gap, low, high, look, bars=1.1)
    if not np.isfinite(gap).any():
        ax.text(0.5, 0.5, "no paired seeds", transform=ax.transAxes, ha="center", color="0.3")
    sparsity_axis(ax, list(rows["sparsity"]), 1.6)
    ax.set_ylabel("test accuracy (points)\n> 0: the oracle is better", fontsize=SMALL + 0.5)
    sns.despine(ax=ax)
