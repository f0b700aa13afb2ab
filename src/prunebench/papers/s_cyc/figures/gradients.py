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
from matplotlib.gridspec import SubplotSpec

from prunebench.papers.s_cyc.figures.common import activations, criterion_text, is_control
from prunebench.suite.report import panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import Series, values_of
from prunebench.suite.report.style import SMALL, WIDTH, Look, interval_text, plain, pretty, seeds_text, wrapped

_NETWORK = ["task", "criterion", "schedule"]


def gradient_distribution(drawn: Drawn) -> Figure:
    """Histograms of dL/dw over surviving weights at the end of each cycle, one panel per network and criterion.

    The x axis is asinh-spaced as the bins are; each ridge is as high as its tallest bin but the central one, where
    gradients of dead units are exactly 0: that one's share is printed instead.
    """
    frame = drawn.tables["s_cyc_gradient_histograms"]
    frame = frame[np.isfinite(frame["left"]) & np.isfinite(frame["right"])]
    kinds = activations(drawn.tables)
    families = _families(list(frame["task"].unique()))
    networks = sorted(frame.groupby(_NETWORK, sort=False), key=lambda part: (families[part[0][0]], *part[0][:2]))
    cycles = sorted(frame["cycle"].unique())
    shown = style.thinned(cycles, 9)
    fig, axes = panels.facets(len(networks), _columns(len(networks)), 0.75 + 0.24 * len(shown), 1.0, sharex=True)
    densities = style.sparsity_position(frame.groupby("cycle")["sparsity"].mean().loc[cycles])
    norm = Normalize(0, float(densities.max()) or 1.0)
    palette = sns.color_palette("crest", as_cmap=True)
    reach = _reach(frame)
    for ax, ((task, criterion, schedule), part) in zip(axes.flat, networks, strict=False):
        _ridges(ax, part, shown, reach, lambda s: palette(norm(float(style.sparsity_position(s)))))
        name = f"{task}, {pretty(kinds[task])}" if task in kinds else str(task)
        several = f", {pretty(schedule)}" if frame["schedule"].nunique() > 1 else ""
        title = f"{name}\n{criterion_text(criterion)}{several}"
        ax.set_title(wrapped(title, WIDTH / axes.shape[2] - 0.5), loc="left")
    panels.label_facets(axes, len(networks), "gradient dL/dw\n(asinh scale)", "sparsity (%)")
    notes = [
        "dL/dw of surviving weights at the end of each pruning cycle, seeds pooled; every ridge to its own height. At "
        "the right: share of weights in the central bin, where exact zeros (dead units) lie, which is not drawn",
        *([f"{len(shown)} of {len(cycles)} cycles shown"] if len(shown) < len(cycles) else []),
    ]
    return panels.finish(fig, [], drawn.scale, notes)


def _columns(count: int) -> int:
    """Panels side by side: three or four, whichever leaves fewer places empty."""
    return min((3, 4), key=lambda columns: (-count % columns, columns))


def _reach(frame: pd.DataFrame) -> float:
    """The |gradient| within which each histogram has 99.5 % of its weights: the x axis ends there."""
    farthest = np.maximum(frame["left"].abs(), frame["right"].abs())
    ordered = frame.assign(edge=farthest).sort_values("edge", kind="stable")
    inside = ordered.groupby([*_NETWORK, "cycle"])["weights_share"].cumsum() <= 0.995
    shown = ordered.loc[inside & (ordered["weights_share"] > 0), "edge"]
    return float(shown.max()) if len(shown) else float(farthest.max())


def _ridges(ax: Axes, part: pd.DataFrame, shown: list[int], reach: float, color: Callable[[float], Any]) -> None:
    """The histograms of the `shown` cycles, one under the other."""
    edges = np.unique(np.append(part["left"], part["right"]))
    central = (part["left"] < 0) & (part["right"] > 0)
    # Bins are evenly spaced on the scale they were made on, so their index is the coordinate: no constant is repeated.
    index = np.arange(edges.size, dtype=np.float64)
    sparsities = []
    for row, cycle in enumerate(shown):
        ridge = part[part["cycle"] == cycle].sort_values("left")
        base = -float(row)
        sparsities.append(style.percent(float(ridge["sparsity"].iloc[0])) if len(ridge) else "")
        text = "no data"
        if ridge["weights_share"].sum() > 0:
            shares = ridge["weights_share"].where(~central.loc[ridge.index], 0.0).to_numpy()
            height = 0.9 * shares / max(float(shares.max()), 1e-12)
            steps = np.interp(np.append(ridge["left"], ridge["right"].iloc[-1]), edges, index)
            how = {"color": color(float(ridge["sparsity"].iloc[0])), "baseline": base, "zorder": 3 + row}
            ax.stairs(height + base, steps, fill=True, alpha=0.45, **how)
            ax.stairs(height + base, steps, linewidth=0.7, **how)
            zero = float(ridge.loc[central.loc[ridge.index], "weights_share"].sum())
            text = f"{100 * zero:.0f} %"
        ax.text(1.0, base + 0.3, text, transform=ax.get_yaxis_transform(), ha="right", va="center", fontsize=SMALL)
    left, right = (float(np.interp(end, edges, index)) for end in (-reach, reach))
    # Room for the shares that are printed at the right.
    ax.set_xlim(left, right + 0.17 * (right - left))
    ax.set_ylim(-len(shown) + 0.9, 1.1)
    style.set_ticks(ax.yaxis, [-float(row) for row in range(len(shown))], sparsities)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    zero_at = (edges.size - 1) / 2
    _power_ticks(
        ax,
        {10.0**k: float(np.interp(10.0**k, edges, index)) for k in range(12, -13, -1) if 10.0**k <= reach},
        zero_at,
        0.2 * (right - left),
    )
    ax.axvline(zero_at, color="0.6", linewidth=0.6, zorder=1)
    ax.tick_params(axis="x", labelbottom=True)


def _power_ticks(ax: Axes, powers: Mapping[float, float], zero_at: float, apart: float) -> None:
    """Ticks at 0 and at falling powers of ten, of both signs, that are `apart`; `powers` maps each to its place."""
    ticks: dict[float, float] = {}
    for power, at in powers.items():
        if at - zero_at > apart and min((abs(at - x) for x in ticks.values()), default=at) > apart:
            ticks[power] = at
    places = [2 * zero_at - at for at in ticks.values()] + [zero_at, *ticks.values()]
    texts = [f"\u2212{plain(power)}" for power in ticks] + ["0"] + [plain(power) for power in ticks]
    style.set_ticks(ax.xaxis, places, texts)


_ACTIVATION_COLORS = {
    "relu": "#882255",
    "leaky_relu": "#44AA99",
    "elu": "#88CCEE",
    "gelu": "#999933",
    "tanh": "#332288",
}
_RELU = Look("surviving", _ACTIVATION_COLORS["relu"], width=1.8, size=4.5, order=4.0)
_WEIGHTS = {
    "surviving": _RELU,
    "all": replace(_RELU, label="all weights", color="#B0709A", marker="s", width=1.1, dash=(0, (4.0, 1.5))),
    "all_zeroed": replace(_RELU, label="all, pruned as 0", color="0.45", marker="v", width=1.1, dash=":"),
}
_HEADS = (
    "surviving weights,\nend of the cycle",
    "surviving weights,\nat matched training loss",
    "ReLU, which weights count,\nend of the cycle",
)


def gradient_spread(drawn: Drawn) -> Figure:
    """Claim A1: std of dL/dw relative to the dense network's against sparsity, a row per family of networks.

    Columns: surviving weights at the end of the cycle; the same at matched training loss; and, for the ReLU network,
    what changes when pruned weights are counted too (counted as 0 they narrow the distribution trivially).
    """
    margin = drawn.margins.a1_ratio
    frame = drawn.tables["s_cyc_gradients"]
    families = _families(list(frame["task"].unique()))
    names = list(dict.fromkeys(families.values()))
    frame_by = dict(list(frame[frame["weights"].isin(list(_WEIGHTS))].groupby(frame["task"].map(families))))
    looks = {name: _network_looks(frame_by[name]) for name in names}
    heights = []
    for name in names:
        lines = math.ceil(len(looks[name]) / _key_columns(looks[name].values()))
        heights += [2.0, 0.16 * max(lines, len(_WEIGHTS)) + 0.06]
    fig = style.new_figure(1.0 + sum(heights) + 0.6 * len(names))
    grid = fig.add_gridspec(2 * len(names), 3, height_ratios=heights)
    for nth, name in enumerate(names):
        left = fig.add_subplot(grid[2 * nth, 0])
        row = [left, *(fig.add_subplot(grid[2 * nth, column], sharey=left) for column in (1, 2))]
        relu = _family_panels(row, name, frame_by[name], looks[name], margin)
        # Legends have places of their own: the panels keep their widths whatever the names.
        columns = _key_columns(looks[name].values())
        _key(fig, grid[2 * nth + 1, :2], looks[name].values(), columns)
        _key(fig, grid[2 * nth + 1, 2], [look for look, _ in relu], 1)
        left.set_ylabel("std of dL/dw over\nthe dense network's")
        for text, level, side in (("dense", 1.0, "bottom"), (f"{margin:g}: A1", margin, "top")):
            panels.text_beside(row[2], level, text, va=side)
    seeds = _seeds_behind(frame)
    notes = [
        f"Geometric mean of the seeds' ratios to their own dense network; {interval_text(seeds)}, on the log",
        f"Below 1: narrower than dense. {margin:g}: the ratio that claim A1 asks for at the last cycle",
        "Triangles: bars go on beyond the axis. Hollow: one seed, no bar. No point: "
        "the cycle did not train, or that loss was not measured in it or in the dense network",
    ]
    return panels.finish(fig, [], drawn.scale, notes)


def _at_the_end(series: Series) -> str:
    """The first ReLU series' ratio in its last cycle that has one, as a title says it."""
    for _, rows in series:
        known = rows[(rows["activation"] == "relu") & (rows["std_ratio"] > 0)]
        if len(known):
            row = known.loc[known["cycle"].idxmax()]
            ends = ", ".join(f"{row[end]:.2g}" for end in ("std_ratio_low", "std_ratio_high"))
            interval = f" [{ends}]" if math.isfinite(row["std_ratio_low"]) else ""
            return f"ReLU, {style.percent(row['sparsity'])} %: \u00d7 {row['std_ratio']:.2g}{interval}"
    return ""


def _family_panels(row: list[Axes], name: str, rows: pd.DataFrame, looks: Mapping[Any, Look], margin: float) -> Series:
    """A family's three panels; the series of the third."""
    surviving = rows[rows["weights"] == "surviving"]
    relu = rows[(rows["activation"] == "relu") & (rows["at"] == "end")]
    criteria = sorted(relu["criterion"].unique(), key=is_control)[:1]
    relu = relu[relu["criterion"].isin(criteria)]
    parts = [
        [(looks[key], group) for key, group in surviving[surviving["at"] == at].groupby(_NETWORK, sort=False)]
        for at in ("end", "matched_loss")
    ]
    parts.append(_by_weights(relu))
    ratios = pd.concat([surviving, relu])
    # Room for the mark of the margin, wherever it is.
    always = (min(0.7, 0.9 * margin), max(1.25, 1.1 * margin))
    mean, low, high = (np.append(values, always) for values in values_of(ratios, "std_ratio", 1.0))
    panels.log_axis(row[0], mean, low, high, factor=1.65, reach=0.25)
    for ax, series, head in zip(row, parts, _HEADS, strict=True):
        _spread_panel(ax, series, margin, "no ReLU network" if ax is row[2] else "not measured")
        ax.tick_params(axis="y", labelleft=ax is row[0])
        extra = "".join(f"\n{criterion_text(criterion)}" for criterion in criteria if ax is row[2])
        count = f", {seeds_text(_seeds_behind(pd.concat([group for _, group in series])))}" if series else ""
        family = f"{name}\n" if ax is row[0] else ""
        ax.set_title(wrapped(f"{family}{head}{extra}{count}\n{_at_the_end(series)}", WIDTH / 3 - 0.3), loc="left")
    return parts[2]


def _key(fig: Figure, place: SubplotSpec, looks: Iterable[Look], columns: int) -> None:
    """A legend at a place of its own."""
    ax = fig.add_subplot(place)
    ax.set_axis_off()
    handles = panels.handles_of(looks)
    if handles:
        close: dict[str, Any] = {"handlelength": 2.2, "columnspacing": 0.8, "borderaxespad": 0.0, "borderpad": 0.0}
        legend = ax.legend(handles=handles, loc="upper left", ncols=columns, fontsize=SMALL, **close)
        legend.set_in_layout(False)


def _key_columns(looks: Iterable[Look]) -> int:
    """Columns of a legend under two panels, for labels of these lengths."""
    longest = max(len(look.label) for look in looks)
    return max(1, min(4, int(4.3 / (0.5 + longest * 0.55 * SMALL / 72))))


def _families(tasks: list[str]) -> dict[str, str]:
    """Task -> family: tasks whose name continues another's (fashion-mlp-tanh, fashion-mlp) belong to it."""
    return {
        task: min((head for head in tasks if task == head or task.startswith(f"{head}-")), key=len) for task in tasks
    }


def _network_looks(rows: pd.DataFrame) -> dict[Any, Look]:
    """A look per (task, criterion, schedule) of a family: colour by activation, random pruning dashed."""
    methods = {criterion for criterion in rows["criterion"] if not is_control(criterion)}
    looks = {}
    for nth, (key, group) in enumerate(rows.groupby(_NETWORK, sort=False)):
        _, criterion, schedule = key
        activation = str(group["activation"].iloc[0])
        relu = activation == "relu"
        label = pretty(activation)
        label += f", {pretty(criterion)}" if is_control(criterion) or len(methods) > 1 else ""
        looks[key] = Look(
            label=label + (f", {pretty(schedule)}" if rows["schedule"].nunique() > 1 else ""),
            color="#999999" if is_control(criterion) else _ACTIVATION_COLORS.get(activation, "#777777"),
            marker="osD^vP"[nth % 6],
            dash=(0, (3.0, 1.5)) if is_control(criterion) else "-",
            width=1.8 if relu else 1.1,
            size=4.5 if relu else 3.8,
            order=4.0 if relu else 3.0,
        )
    return looks


def _by_weights(rows: pd.DataFrame) -> Series:
    """A series per choice of weights of the first network: a second one would draw over it."""
    for column in ("task", "schedule"):
        rows = rows[rows[column] == rows[column].iloc[0]] if len(rows) else rows
    return panels.series_by(rows, "weights", _WEIGHTS)


def _seeds_behind(rows: pd.DataFrame) -> pd.Series:
    """Seeds behind each ratio that is drawn; a ratio of no seed is not."""
    return rows["std_ratio_n"][rows["std_ratio_n"] > 0]


def _spread_panel(ax: Axes, series: Series, margin: float, none: str) -> None:
    """Ratios of std against sparsity; `none`: what the panel says without a series."""
    panels.level_line(ax, 1.0)
    panels.margin_line(ax, margin)
    if not series:
        panels.empty_panel(ax, none)
        return
    rows = pd.concat([group for _, group in series])
    gaps = np.diff(np.unique(np.round(style.sparsity_position(rows["sparsity"]), 1)))
    step = 0.2 * float(gaps.min() if gaps.size else 1.0) / max(len(series), 3)
    for nth, (look, group) in enumerate(series):
        ordered = group.sort_values("cycle")
        x = style.sparsity_position(ordered["sparsity"]) + (nth - (len(series) - 1) / 2) * step
        ratio, low, high = values_of(ordered, "std_ratio", 1.0)
        shown = np.where(ratio > 0, ratio, np.nan)
        style.draw_points(ax, x, shown, low, high, look, hollow=np.isfinite(shown) & ~np.isfinite(low))
        zero = (ordered["zero"] > 0).to_numpy()
        if zero.any():
            edge = np.full(int(zero.sum()), ax.get_ylim()[0])
            ax.plot(x[zero], edge, "x", color=look.color, clip_on=False, markersize=5)
            ax.annotate("x: std = 0 in some seed", (0.02, 0.02), xycoords="axes fraction", fontsize=SMALL)
    style.sparsity_axis(ax, rows["sparsity"], WIDTH / 3 - 0.4)
