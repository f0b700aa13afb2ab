"""Figures of trained networks: accuracy at matched sparsity, courses over epochs, norms, layers."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from prunebench.papers.directional.figures.common import (
    FULL,
    Arm,
    arm_looks,
    at_setting,
    curve,
    dense_handle,
    density_axis,
    density_ticks,
    epoch_axis,
    is_arm,
    listed,
    matched_to,
    numbers,
    rows_in,
    series_of,
    shifted,
    spelt,
    value_axis,
    word,
)
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
    handles_of,
    level_line,
    panel_row,
    stacked,
    values_of,
    with_values,
)
from prunebench.suite.report.style import (
    SMALL,
    WIDTH,
    Floats,
    Look,
    draw_points,
    interval_text,
    legend_above,
    limits,
    mark_diverged,
    not_run,
    sparsity_position,
    wrapped,
)

_WEAK = ("l1", "random")
"""Baselines that may fall so far that all else would lie on one line: then they leave the axis, marked."""

_GRDA = Look("gRDA", "#D55E00", "", width=1.8, order=3.5)


def _margin(handles: int) -> float:
    """Inches for a legend of so many entries and for the footer."""
    return 1.15 + 0.16 * -(-handles // 3)


def _at(rows: pd.DataFrame) -> Floats:
    return sparsity_position(rows["sparsity"])


def accuracy(drawn: Drawn) -> Figure:
    """Claims C2, C3 and C5: accuracy against sparsity, gRDA minus each baseline, and the published numbers."""
    tables, scale = drawn.tables, drawn.scale
    frame, published = rows_in(tables, "accuracy"), rows_in(tables, "published")
    looks = {arm: look for arm, look in arm_looks(tables).items() if is_arm(frame, arm).any()}
    blocks = blocks_of(frame, ("task",))
    height = 2.05 if len(blocks) < 3 else 1.7
    rows: list[str | float] = [row for title, _ in blocks for row in (title, height)]
    if len(published):
        rows += ["Published, not measured here: ResNet-50 on ImageNet", height - 0.1]
    dense = [arm for arm in looks if arm[0] in ("sgd", "sgd_strong")]
    handles: list[Artist] = [dense_handle(looks[arm]) for arm in dense]
    handles += handles_of(
        replace(look, dash="-" if arm[0] == "grda" else look.dash) for arm, look in looks.items() if arm not in dense
    )
    handles += diverged_crosses(frame)
    fig, places = stacked(rows, _margin(len(handles)) + 0.15)
    unseen: list[str] = []
    for (_, part), place in zip(blocks, places, strict=False):
        panels = panel_row(fig, place.subgridspec(1, 2, width_ratios=(1.2, 1.0)), 0, 2, share=False)
        of_dense = [(looks[arm], part[is_arm(part, arm)]) for arm in dense]
        sparse = part[~part["method"].isin(["sgd", "sgd_strong"])]
        shown = sparse[sparse["sparsity"] < FULL]
        lost = sparse[~(sparse["sparsity"] < FULL)]
        several = f"{part['task'].iloc[0]}: " if len(blocks) > 1 else ""
        unseen += [f"{several}{_named(row.method, row.matched_to)}" for row in lost.itertuples()]
        series = [entry for entry in series_of(shown, looks, "sparsity") if entry[0].label]
        _accuracy_panel(panels[0], of_dense, series, shown, part)
        _difference_panel(panels[1], shown, looks)
    if len(published):
        _published_panel(fig, places[-1], published)
    legend_above(fig, handles)
    own = "; horizontal bars: gRDA's own sparsity" if frame["n"].max() > 1 else ""
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bars and bands')}. Baselines: pruned to the sparsity that gRDA's "
        f"run of the same seed ended with{own}. Right: test accuracy of gRDA minus that of each baseline at the same "
        "sparsity, and minus that of SGD, paired by seed",
        f"{BEYOND}. Markers are moved sideways a little",
    ]
    if len(published):
        sources = "; ".join(dict.fromkeys(name for name in published["source"] if name))
        notes.append(f"Published: no intervals are known. Sources: {sources}" if sources else "Published: no intervals")
    if unseen:
        notes.append(f"Not shown, without sparsity or without any weight left: {listed(unseen)}")
    return finish(fig, scale, notes)


def _named(method: str, setting: str) -> str:
    return f"gRDA, {spelt(setting)}" if method == "grda" else f"{word(method)} at {spelt(setting)}"


def _accuracy_panel(ax: Axes, dense: Series, series: Series, shown: pd.DataFrame, part: pd.DataFrame) -> None:
    ax.set_ylabel("test accuracy (%)")
    low, high = bounds_of(part, "test_accuracy", least=2.0)
    core = bounds_of(part[~part["method"].isin(_WEAK)], "test_accuracy", least=2.0)
    low, high = core if high - low > 2 * (core[1] - core[0]) else (low, high)
    # Room for the counts over crosses at the lower edge.
    ax.set_ylim(low - (0.15 * (high - low) if (part["diverged"] > 0).any() else 0.0), high)
    for look, rows in dense:
        level, floor, ceiling = (float(values[0]) for values in values_of(rows, "test_accuracy"))
        ax.axhline(level, color=look.color, linestyle=look.dash, linewidth=look.width, zorder=1.8)
        if np.isfinite(floor):
            band = np.clip((floor, ceiling), *ax.get_ylim())
            ax.axhspan(band[0], band[1], color=look.color, alpha=0.1, linewidth=0, zorder=0.8)
    if not np.isfinite(shown["test_accuracy"]).any():
        empty_panel(ax, "no values")
        return
    density_axis(ax, list(shown["sparsity"]), 3.2)
    grda = [nth for nth, (_, rows) in enumerate(series) if (rows["method"] == "grda").all()]
    others = [entry for nth, entry in enumerate(series) if nth not in grda]
    # gRDA keeps its places; the baselines of a setting lie around it.
    sides = iter(nth - len(others) / 2 + (nth >= len(others) / 2) for nth in range(len(others)))
    low_x, high_x = ax.get_xlim()
    places = [
        _at(rows) + (0 if nth in grda else next(sides)) * 0.022 * (high_x - low_x)
        for nth, (_, rows) in enumerate(series)
    ]
    line = shown[shown["method"] == "grda"].sort_values("sparsity")
    if len(line):
        ax.plot(_at(line), values_of(line, "test_accuracy")[0], **_GRDA.line() | {"alpha": 0.7})
    for nth, ((look, rows), x) in enumerate(zip(series, places, strict=True)):
        mean, below, above = values_of(rows, "test_accuracy")
        draw_points(ax, x, mean, below, above, replace(look, dash="") if nth in grda else look)
        if nth in grda:
            left, right = numbers(rows, "sparsity_low", "sparsity_high")
            inside = (mean >= ax.get_ylim()[0]) & (mean <= ax.get_ylim()[1])
            sides_x = (np.clip(sparsity_position(np.clip(side, 0, FULL)), low_x, high_x) for side in (left, right))
            from_x, to_x = (side[inside] for side in sides_x)
            ax.hlines(mean[inside], from_x, to_x, color=look.color, linewidth=0.8, alpha=0.75, zorder=3.4)
    rows = pd.concat([rows for _, rows in series])
    mean = values_of(rows, "test_accuracy")[0]
    mark_diverged(ax, np.concatenate(places), mean, rows["diverged"], rows["n"], 0.07 * (high_x - low_x))


def _difference_panel(ax: Axes, shown: pd.DataFrame, looks: dict[Arm, Look]) -> None:
    """gRDA minus SGD and minus each baseline: the matched rows hold it, but for SGD gRDA's own."""
    ax.set_ylabel("gRDA minus other\n(points)")
    own = shown[shown["method"] == "grda"].sort_values("sparsity")
    ends = ("", "_low", "_high")
    own = own.assign(**{f"grda_difference{end}": own[f"difference{end}"] for end in ends})
    baselines = series_of(shown[shown["method"] != "grda"], looks, "sparsity")
    sgd = looks.get(("sgd", ""))
    series = with_values([*([(sgd, own)] if sgd else []), *baselines], "grda_difference")
    if not series:
        empty_panel(ax, "no values")
        return
    whole = pd.concat([rows for _, rows in series])
    core = pd.concat([rows for _, rows in series if not rows["method"].isin(_WEAK).all()] or [whole])
    low, high = bounds_of(whole, "grda_difference", (0.0,), least=1.0)
    inner = bounds_of(core, "grda_difference", (0.0,), least=1.0)
    ax.set_ylim(inner if high - low > 2 * (inner[1] - inner[0]) else (low, high))
    level_line(ax)
    density_axis(ax, list(shown["sparsity"]), 2.6)
    for (look, rows), x in zip(series, shifted(series, _at, ax, 0.024), strict=True):
        draw_points(ax, x, *values_of(rows, "grda_difference"), look)


_PUBLISHED = {
    "magnitude": ("#009E73", "D", (0, (1.2, 1.0))),
    "magnitude v2": ("#56B4E9", "^", (0, (6.0, 1.5, 1.0, 1.5))),
    "variational dropout": ("#0072B2", "s", (0, (4.0, 1.2))),
    "random": ("#CC79A7", "v", (0, (2.5, 1.0))),
}
_SCHEDULES = (("#D55E00", "o"), ("#F0A202", ">"), ("#7A3300", "<"), ("#F2B38F", "p"))


def _published_panel(fig: Figure, place: SubplotSpec, published: pd.DataFrame) -> None:
    ax = fig.add_subplot(place)
    sparse = published[(published["sparsity"] > 0) & (published["sparsity"] < FULL)]
    ax.set_ylabel("top-1 accuracy (%)")
    if not np.isfinite(sparse["accuracy"]).any():
        empty_panel(ax, "no values")
        return
    mean = 100 * published["accuracy"].to_numpy(dtype=np.float64)
    ax.set_ylim(limits(mean, mean, mean, reach=0.0, least=2.0))
    density_axis(ax, list(sparse["sparsity"]), 4.9)
    plain_colors = iter(("#999999", "#882255", "#332288", "#117733"))
    schedules = iter(_SCHEDULES * len(published))
    for (method, schedule), rows in published.groupby(["method", "schedule"], sort=False):
        told = word(method) if method in ("sgd", "grda") else str(method)
        named = told + (f", {schedule}" if schedule else "")
        if (rows["sparsity"] == 0).all():
            ax.axhline(
                100 * rows["accuracy"].mean(),
                color="black",
                linewidth=1.3,
                zorder=1.8,
                label=wrapped(named, 1.5, SMALL),
            )
            continue
        if method == "grda":
            look = Look(named, *next(schedules), width=1.5, size=4.4, order=4.0)
        else:
            color, marker, dash = _PUBLISHED.get(str(method)) or (next(plain_colors, "#999999"), "<", "-")
            look = Look(named, color, marker, dash, width=1.1, size=4.0)
        ordered = rows.sort_values("sparsity")
        ax.plot(_at(ordered), 100 * ordered["accuracy"], **look.line(), label=wrapped(named, 1.5, SMALL))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), borderaxespad=0.0, labelspacing=0.45)


def trajectory(drawn: Drawn) -> Figure:
    """Validation accuracy and density over epochs, baselines as matched to the reference setting."""
    tables, scale = drawn.tables, drawn.scale
    frame = rows_in(tables, "trajectory")
    looks = {arm: look for arm, look in arm_looks(tables).items() if is_arm(frame, arm).any()}
    blocks = blocks_of(frame, ("task",))
    handles = [dense_handle(look) for look in looks.values()]
    fig, places = stacked([row for title, _ in blocks for row in (title, 2.2)], _margin(len(handles)))
    chosen: dict[str, None] = {}
    below: list[str] = []
    for (_, part), place in zip(blocks, places, strict=True):
        left, right = panel_row(fig, place.subgridspec(1, 2), 0, 2, share=False)
        setting = matched_to(part)
        chosen |= {spelt(setting): None}
        series = series_of(at_setting(part, setting), looks, "epoch")
        lost = _score_limits(left, [rows for _, rows in series])
        task = f"{part['task'].iloc[0]}, " if len(blocks) > 1 else ""
        below += [
            f"{task}{look.label} (ends at {100 * lost[nth]:.1f} %)"
            for nth, (look, _) in enumerate(series)
            if nth in lost
        ]
        rows = pd.concat([rows for _, rows in series])
        value_axis(right, *numbers(rows, "density", "density_low", "density_high", factor=100))
        right.set_ylim(top=min(right.get_ylim()[1], 115.0))
        both = ((left, ("validation_accuracy", "low", "high")), (right, ("density", "density_low", "density_high")))
        for ax, columns in both:
            epoch_axis(ax, rows["epoch"].to_numpy(dtype=np.float64))
            if not np.isfinite(rows[columns[0]]).any():
                empty_panel(ax, "no values")
                continue
            for look, of_one in series:
                # Many bands over each other are mud.
                shade = 0.16 if len(series) < 4 or of_one["method"].iloc[0] in ("sgd", "grda") else 0.0
                x = numbers(of_one, "epoch")[0]
                curve(ax, look, x, *numbers(of_one, *columns, factor=100), shade=shade)
        left.set_ylabel("validation accuracy (%)")
        right.set_ylabel("density: prunable\nweights not 0 (%)")
    legend_above(fig, handles)
    # The cut of the l1 penalty's end is no training: where the table has no course of it, the footer says so.
    methods = [("l1" in table["method"].to_numpy()) for table in (frame, tables["directional_accuracy"]) if len(table)]
    has_course, has_l1 = methods[0], methods[-1]
    starts = frame.groupby("method", sort=False)["epoch"].min()
    later = [word(str(name)) for name, start in starts.items() if start > 0]
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands of SGD and gRDA')}",
        *([f"Baselines: as matched to gRDA with {', or '.join(chosen)}"] if (frame["matched_to"] != "").any() else []),
        "Left: the axis begins where curves are after a quarter of the epochs",
        *([f"From SGD's end on, pruned there: {listed(later)}"] if later else []),
        *(
            ["l1: as its penalty trains it, with zeros of its own, before the cut to the matched sparsity at the end"]
            if has_course
            else []
        ),
        *(
            ["No curve for l1: it is the end of a run with an l1 penalty, cut without training"]
            if has_l1 and not has_course
            else []
        ),
        *([f"Below the axis: {listed(below)}"] if below else []),
    ]
    return finish(fig, scale, notes)


def _score_limits(ax: Axes, series: list[pd.DataFrame]) -> dict[int, float]:
    """Limits for accuracies but for the steep first quarter and for runs that fail: which fail, and their ends."""
    ends = {}
    for nth, rows in enumerate(series):
        known = rows.loc[np.isfinite(rows["validation_accuracy"]), "validation_accuracy"]
        if len(known):
            ends[nth] = float(known.iloc[-1])
    # Half of the best: chance is below it for any number of classes.
    lost = {nth: end for nth, end in ends.items() if end < 0.5 * max(ends.values())}
    held = [rows[rows["epoch"] >= 0.25 * rows["epoch"].max()] for nth, rows in enumerate(series) if nth not in lost]
    later = 100 * np.concatenate([rows["validation_accuracy"].to_numpy(dtype=np.float64) for rows in held])
    bottom, top = limits(later, later, later, reach=0.0, least=2.0)
    ax.set_ylim(max(bottom, 0.0), min(top, 101.0))
    return lost


def norms(drawn: Drawn) -> Figure:
    """Claim C8: the ratio of the weights' L2 and L1 norms over epochs, for SGD and gRDA."""
    tables, scale = drawn.tables, drawn.scale
    frame = rows_in(tables, "norm_curves")
    looks = {arm: look for arm, look in arm_looks(tables).items() if is_arm(frame, arm).any()}
    looks = {arm: look for arm, look in looks.items() if arm[0] in ("sgd", "sgd_strong", "grda")}
    floor = Line2D(
        [],
        [],
        color="0.35",
        linewidth=1.0,
        linestyle=(0, (1.0, 1.5)),
        label="least possible, d^(\u22121/2)",
    )
    handles: list[Artist] = [dense_handle(look) for look in looks.values()]
    handles += [floor] if np.isfinite(frame["floor"]).any() else []
    blocks = [(title, part) for title, part in blocks_of(frame, ("task",))]
    lines = chunks_of(blocks, 3)
    fig, places = stacked([2.35] * len(lines), _margin(len(handles)) - 0.2)
    columns = max(len(line) for line in lines)
    for line, place in zip(lines, places, strict=True):
        panels = panel_row(fig, place.subgridspec(1, columns), 0, len(line), share=False)
        for ax, (title, part) in zip(panels, line, strict=True):
            series = series_of(part, looks, "epoch")
            least = float(part["floor"].max())
            values = pd.concat([rows for _, rows in series]) if series else part
            mean, low, high = numbers(values, "ratio", "low", "high")
            value_axis(ax, np.append(mean, least), np.append(low, least), np.append(high, least))
            epoch_axis(ax, part["epoch"].to_numpy(dtype=np.float64))
            ax.set_title(wrapped(title, (WIDTH - 0.7) / columns - 0.35), loc="left", weight="bold")
            if not np.isfinite(mean).any():
                empty_panel(ax, "no values")
                continue
            if np.isfinite(least):
                ax.axhline(least, color="0.35", linewidth=1.0, linestyle=(0, (1.0, 1.5)), zorder=1.2)
            for look, rows in series:
                curve(ax, look, *numbers(rows, "epoch", "ratio", "low", "high"))
        panels[0].set_ylabel("\u2016w\u2016\u2082 / \u2016w\u2016\u2081, all parameters")
    legend_above(fig, handles)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands')}",
        "Norms are over all d parameters; the ratio is least where all weights are of one size, and rises as they "
        "concentrate",
    ]
    return finish(fig, scale, notes)


def layerwise(drawn: Drawn) -> Figure:
    """Sparsity of each layer at the end: gRDA's settings, and the baselines matched to the reference."""
    tables, scale = drawn.tables, drawn.scale
    frame = rows_in(tables, "layers")
    frame = frame[~frame["method"].str.startswith("sgd")]
    if not len(frame):
        return not_run("Sparsity by layer", scale)
    looks = {arm: look for arm, look in arm_looks(tables).items() if is_arm(frame, arm).any()}
    blocks = blocks_of(frame, ("task",))
    handles = handles_of(looks.values())
    deepest = max((len(_layer(name)) for name in frame["layer"]), default=8)
    names = 0.062 * min(deepest, _LONGEST) + 0.15
    height = (1.75 if len(blocks) < 3 else 1.3) + names
    fig, places = stacked([row for title, _ in blocks for row in (title, height)], _margin(len(handles)))
    thinned = full = False
    for (_, part), place in zip(blocks, places, strict=True):
        setting = matched_to(part)
        part = at_setting(part, setting)
        layers = part.drop_duplicates("position").sort_values("position")
        known = part.loc[part["sparsity"] < FULL, "sparsity"]
        top = float(known.max()) if len(known) else 0.9
        grda = part[part["method"] == "grda"]
        first = grda[grda["matched_to"] == setting]
        matched = pd.concat([first, part[part["method"] != "grda"]])
        told = f"at the sparsity of gRDA with {spelt(setting)}"
        shown = [("all settings of gRDA", grda)] if len(grda) > len(first) or len(matched) == len(grda) else []
        shown += [(told, matched)] if len(matched) > len(first) else []
        grid = place.subgridspec(2, len(shown), height_ratios=(1.0, 0.22))
        tops, strips = panel_row(fig, grid, 0, len(shown)), panel_row(fig, grid, 1, len(shown))
        for ax, strip, (title, rows) in zip(tops, strips, shown, strict=True):
            density_ticks(ax, top)
            ax.set_title(title, loc="left")
            for look, of_one in series_of(rows, looks, "position"):
                full |= _layers(ax, of_one, look)
            ax.tick_params(axis="x", labelbottom=False, length=2)
            thinned |= _sizes(strip, layers, 6.1 / len(shown))
            ax.set_xlim(strip.get_xlim())
            ax.xaxis.set_major_locator(FixedLocator([float(at) for at in layers["position"]]))
        tops[0].set_ylabel("sparsity (%)")
        strips[0].set_ylabel("weights", labelpad=8.0)
    legend_above(fig, handles)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands')}",
        "Layers from input to output; grey: weights of the layer, logarithmic",
        *(["Triangles: no weight of the layer is left"] if full else []),
        *(["Not every layer is named"] if thinned else []),
    ]
    return finish(fig, scale, notes)


_MARKED = 30
"""Layers that have room for markers."""

_LONGEST = 26
"""Letters of a layer's name that are shown."""


def _layer(name: str) -> str:
    short = name.removesuffix(".weight")
    return short if len(short) <= _LONGEST else f"{short[: _LONGEST // 2 - 1]}\u2026{short[-_LONGEST // 2 :]}"


def _layers(ax: Axes, rows: pd.DataFrame, look: Look) -> bool:
    """A network's layers; whether one is empty."""
    x, mean, low, high = numbers(rows, "position", "sparsity", "low", "high")
    ceiling = ax.get_ylim()[1]
    empty = mean >= FULL
    places = [np.minimum(sparsity_position(np.clip(values, 0.0, 1.0)), ceiling) for values in (mean, low, high)]
    small = replace(look, size=look.size * min(1.0, max(0.5, 18 / max(len(rows), 1))))
    curve(ax, small, x, *places, marks=len(rows) <= _MARKED)
    if empty.any():
        ax.plot(
            x[empty],
            np.full(int(empty.sum()), ceiling),
            marker="^",
            color=look.color,
            markersize=4,
            linestyle="",
            clip_on=False,
            zorder=5,
        )
    return bool(empty.any())


def _sizes(ax: Axes, layers: pd.DataFrame, inches: float) -> bool:
    """The layers' sizes and names; whether some are not named for want of room."""
    x, size = numbers(layers, "position", "weights")
    ax.set_xlim(float(x.min()) - 0.6, float(x.max()) + 0.6)
    ax.bar(x, np.maximum(size, 1.0), width=0.7, color="0.75", linewidth=0)
    ax.set_yscale("log")
    low, high = max(float(np.nanmin(size)) / 3, 0.5), float(np.nanmax(size)) * 2
    ax.set_ylim(low, high)
    powers = [10.0**k for k in range(12) if low <= 10.0**k <= high]
    ticks = powers[:: max(1, len(powers) - 1)] if len(powers) > 1 else powers
    ax.yaxis.set_major_locator(FixedLocator(ticks))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(False)
    step = max(1, -(-len(x) // int(inches * 72 / (1.15 * SMALL))))
    named = {float(at): _layer(name) for at, name in zip(x[::step], layers["layer"].iloc[::step], strict=True)}
    ax.xaxis.set_major_locator(FixedLocator([float(at) for at in x]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: named.get(float(value), "")))
    ax.tick_params(axis="x", labelrotation=90, length=2)
    return step > 1


def _short(value: float) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
