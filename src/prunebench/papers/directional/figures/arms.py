"""Figures of trained networks: accuracy at matched sparsity, courses over epochs, norms, layers."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from prunebench.papers.directional.figures import common
from prunebench.papers.directional.figures.common import FULL, Arm, arm_looks, listed, method_label, rows_in, series_of
from prunebench.suite.report import forest, panels, style
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.forest import Effect
from prunebench.suite.report.panels import Series, Span, bounds_of, numbers, values_of
from prunebench.suite.report.style import SMALL, WIDTH, Look, interval_text, wrapped

_DENSE = ("sgd", "sgd_strong")

_WEAK = ("l1", "random")
"""Baselines that may fall so far that all else would lie on one line: then they leave the axis, marked."""

_GRDA = Look("gRDA", "#D55E00", "", width=1.8, order=3.5)


def _margin(handles: int) -> float:
    """Inches for a legend of so many entries and for the footer."""
    return 1.15 + 0.16 * -(-handles // 3)


def accuracy(drawn: Drawn) -> Figure:
    """Claims C2, C3 and C5: accuracy against sparsity, and gRDA minus SGD and minus each baseline."""
    frame = rows_in(drawn.tables, "accuracy")
    looks = arm_looks(drawn.tables, frame)
    dense = {arm: look for arm, look in looks.items() if arm[0] in _DENSE}
    sparse = [replace(look, dash="-") if arm[0] == "grda" else look for arm, look in looks.items() if arm not in dense]
    handles = [*panels.handles_of(dense.values(), marker=""), *panels.handles_of(sparse)]
    handles += panels.diverged_crosses(frame)
    blocks = []
    for title, part in panels.blocks_of(frame, "task"):
        shown = part[~part["method"].isin(_DENSE) & (part["sparsity"] < FULL)]
        blocks.append((title, (part, shown, _differences(shown, looks))))
    heights = [[max(2.0, forest.height(effects))] for _, (_, _, effects) in blocks]
    fig, laid_out = panels.in_blocks(blocks, heights, _margin(len(handles)))
    for (part, shown, effects), (place,) in laid_out:
        [(left, right)] = panels.panels_at(fig, place, 2, share=False)
        _accuracy_panel(left, series_of(part, dense, "epochs"), series_of(shown, looks, "sparsity"), part)
        forest.draw(right, effects)
        right.set_xlabel("test accuracy of gRDA minus other (points)")
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bars and bands')}; differences are paired by seed. Baselines are "
        "pruned to the sparsity that gRDA's run of the same seed ended with",
        panels.SIDEWAYS,
    ]
    unplaced = frame[~frame["method"].isin(_DENSE) & ~(frame["sparsity"] < FULL)]
    if len(unplaced):
        notes.append(f"Not shown, without sparsity or without any weight left: {listed(_arm_names(unplaced, frame))}")
    return panels.finish(fig, handles, drawn.scale, notes)


def _differences(shown: pd.DataFrame, looks: dict[Arm, Look]) -> list[Effect]:
    """gRDA minus SGD and minus each baseline, by gRDA's setting: matched rows hold it, but for SGD gRDA's own."""
    effects = []
    for setting in common.settings_of(shown):
        rows = shown[shown["matched_to"] == setting]
        own = rows[rows["method"] == "grda"]
        ends = {f"grda_difference{end}": own[f"difference{end}"] for end in ("", "_low", "_high")}
        of_sgd = own.assign(method="sgd", diverged=0, **ends)
        sparsity = style.percent(round(float(own["sparsity"].iloc[0]), 3))
        effects += forest.effects_of(
            pd.concat([of_sgd, rows[rows["method"] != "grda"]]),
            "grda_difference",
            partial(_named, sparsity),
            lambda row: looks.get((row.method, ""), looks["grda", row.matched_to]),
        )
    return effects


def _named(sparsity: str, row: Any) -> str:
    return f"{_SHORT.get(row.method, method_label(row.method))}, {sparsity} %"


_SHORT = {"l1": "l1 penalty", "gmp_one_shot": "one-shot GMP", "random": "random"}
"""Names of baselines where a row has little room."""


def _arm_names(rows: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    """Rows by task (where there are several), method and setting."""
    return [
        (f"{row.task}: " if frame["task"].nunique() > 1 else "")
        + method_label(row.method)
        + (", " if row.method == "grda" else " at ")
        + common.setting_label(row.matched_to)
        for row in rows.itertuples()
    ]


def _span(rows: pd.DataFrame, column: str, always: tuple[float, ...], least: float) -> Span:
    """Limits for all rows, or without the weak baselines where these would more than double them."""
    low, high = bounds_of(rows, column, always, least=least)
    strong = rows[~rows["method"].isin(_WEAK)]
    core = bounds_of(strong if len(strong) else rows, column, always, least=least)
    return core if high - low > 2 * (core[1] - core[0]) else (low, high)


def _accuracy_panel(ax: Axes, dense: Series, series: Series, part: pd.DataFrame) -> None:
    ax.set_ylabel("test accuracy (%)")
    low, high = _span(part, "test_accuracy", (), 2.0)
    # Room for the counts over crosses at the lower edge.
    ax.set_ylim(low - (0.15 * (high - low) if (part["diverged"] > 0).any() else 0.0), high)
    for look, rows in dense:
        level, floor, ceiling = (float(values[0]) for values in values_of(rows, "test_accuracy"))
        ax.axhline(level, color=look.color, linestyle=look.dash, linewidth=look.width, zorder=1.8)
        if np.isfinite(floor):
            band = np.clip((floor, ceiling), *ax.get_ylim())
            ax.axhspan(band[0], band[1], color=look.color, alpha=0.1, linewidth=0, zorder=0.8)
    if not panels.with_values(series, "test_accuracy"):
        panels.empty_panel(ax)
        return
    every = pd.concat([rows for _, rows in series])
    common.density_axis(ax, every["sparsity"], 3.2)
    width = float(np.ptp(ax.get_xlim()))
    line = every[every["method"] == "grda"].sort_values("sparsity")
    if len(line):
        ax.plot(line["x"], values_of(line, "test_accuracy")[0], **_GRDA.line() | {"alpha": 0.7})
    others = sum((rows["method"] != "grda").any() for _, rows in series)
    # gRDA keeps its places; the baselines of a setting lie around it.
    sides = iter(nth - others / 2 + (nth >= others / 2) for nth in range(others))
    places = []
    for look, rows in series:
        (x,), values = numbers(rows, "x"), values_of(rows, "test_accuracy")
        if rows["method"].iloc[0] == "grda":
            style.draw_points(ax, x, *values, replace(look, dash=""))
            _sparsity_bars(ax, rows, values[0], look)
        else:
            x = x + next(sides) * 0.022 * width
            style.draw_points(ax, x, *values, look)
        places.append(x)
    mean = values_of(every, "test_accuracy")[0]
    style.mark_diverged(ax, np.concatenate(places), mean, every["diverged"], every["n"], 0.07 * width)


def _sparsity_bars(ax: Axes, rows: pd.DataFrame, mean: np.ndarray, look: Look) -> None:
    """The interval of gRDA's own sparsity."""
    inside = (mean >= ax.get_ylim()[0]) & (mean <= ax.get_ylim()[1])
    _, *ends = values_of(rows, "sparsity", 1.0)
    left, right = (np.clip(style.sparsity_position(np.clip(end, 0, FULL)), *ax.get_xlim())[inside] for end in ends)
    ax.hlines(mean[inside], left, right, color=look.color, linewidth=0.8, alpha=0.75, zorder=3.4)


_PUBLISHED = {
    "magnitude": ("#009E73", "D", (0, (1.2, 1.0))),
    "magnitude v2": ("#56B4E9", "^", (0, (6.0, 1.5, 1.0, 1.5))),
    "variational dropout": ("#0072B2", "s", (0, (4.0, 1.2))),
    "random": ("#CC79A7", "v", (0, (2.5, 1.0))),
}
# No colour of a gRDA setting: these are other settings on another network.
_SCHEDULES = (("#332288", "o"), ("#882255", ">"), ("#661100", "<"), ("#AA4499", "p"))


def published(drawn: Drawn) -> Figure:
    """Claim C3: what is published of ResNet-50 on ImageNet, gRDA and other methods; nothing is measured here."""
    frame = rows_in(drawn.tables, "published")
    sparse = frame[(frame["sparsity"] > 0) & (frame["sparsity"] < FULL)]
    fig = style.new_figure(2.9)
    ax = fig.subplots()
    ax.set_ylabel("top-1 accuracy (%)")
    sources = "; ".join(dict.fromkeys(name for name in frame["source"] if name))
    notes = [
        "Published numbers, none measured here; no intervals are known" + (f". Sources: {sources}" * bool(sources))
    ]
    scale = str(frame["scale"].iloc[0])
    if panels.is_empty(ax, sparse, "accuracy"):
        return panels.finish(fig, [], scale, notes)
    (mean,) = numbers(frame, "accuracy", factor=100)
    ax.set_ylim(style.limits(mean, mean, mean, reach=0.0, least=2.0))
    common.density_axis(ax, sparse["sparsity"], 4.9)
    others = iter(("#999999", "#999933", "#117733"))
    schedules = iter(_SCHEDULES * len(frame))
    for (method, schedule), rows in frame.groupby(["method", "schedule"], sort=False):
        name = method_label(method) if method in ("sgd", "grda") else str(method)
        label = wrapped(name + (f", LR {schedule}" if schedule else ""), 1.6, SMALL)
        if (rows["sparsity"] == 0).all():
            level = 100 * rows["accuracy"].mean()
            ax.axhline(level, color="black", linewidth=1.3, zorder=1.8, label=label)
            continue
        if method == "grda":
            look = Look(label, *next(schedules), width=1.5, size=4.4, order=4.0)
        else:
            color, marker, dash = _PUBLISHED.get(str(method)) or (next(others, "#999999"), "<", "-")
            look = Look(label, color, marker, dash, width=1.1, size=4.0)
        ordered = rows.sort_values("sparsity")
        ax.plot(style.sparsity_position(ordered["sparsity"]), 100 * ordered["accuracy"], **look.line(), label=label)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), borderaxespad=0.0, labelspacing=0.45)
    return panels.finish(fig, [], scale, notes)


def trajectory(drawn: Drawn) -> Figure:
    """Validation accuracy and density over epochs, baselines as matched to the reference setting."""
    frame = rows_in(drawn.tables, "trajectory")
    looks = arm_looks(drawn.tables, frame)
    handles = panels.handles_of(looks.values(), marker="")
    blocks = panels.blocks_of(frame, "task")
    fig, laid_out = panels.in_blocks(blocks, [[2.2]] * len(blocks), _margin(len(handles)))
    settings = [common.matched_to(part) for _, part in blocks]
    below: list[str] = []
    for (part, (place,)), setting in zip(laid_out, settings, strict=True):
        [(left, right)] = panels.panels_at(fig, place, 2, share=False)
        series = series_of(common.at_setting(part, setting), looks, "epoch")
        failed = _score_limits(left, series)
        task = f"{part['task'].iloc[0]}, " if len(blocks) > 1 else ""
        below += [f"{task}{label} (ends at {100 * end:.1f} %)" for label, end in failed.items()]
        rows = pd.concat([rows for _, rows in series])
        panels.log_axis(right, *values_of(rows, "density"))
        right.set_ylim(top=min(right.get_ylim()[1], 115.0))
        for ax, column in ((left, "validation_accuracy"), (right, "density")):
            common.epoch_axis(ax, rows["epoch"])
            if panels.is_empty(ax, rows, column):
                continue
            for look, of_one in series:
                mean, *ends = values_of(of_one, column)
                # Of many bands over each other none can be read: the last epoch alone has its interval.
                low, high = (np.where(of_one["epoch"] == of_one["epoch"].max(), end, np.nan) for end in ends)
                style.draw_points(ax, of_one["epoch"].to_numpy(), mean, low, high, replace(look, marker=""), bars=1.1)
        left.set_ylabel("validation accuracy (%)")
        right.set_ylabel("density: prunable\nweights not 0 (%)")
    matched = ", or ".join(dict.fromkeys(common.setting_label(setting) for setting in settings))
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bars at the last epoch')}",
        *([f"Baselines: as matched to gRDA with {matched}"] if (frame["matched_to"] != "").any() else []),
        "Left: the axis begins where curves are after a quarter of the epochs",
        *_notes_of_baselines(frame, drawn.tables["directional_accuracy"]),
        *([f"Below the axis: {listed(below)}"] if below else []),
    ]
    return panels.finish(fig, handles, drawn.scale, notes)


def _notes_of_baselines(frame: pd.DataFrame, accuracies: pd.DataFrame) -> list[str]:
    """From when baselines have curves, and of what phase l1's is."""
    starts = frame.groupby("method", sort=False)["epoch"].min()
    later = [method_label(str(name)) for name, start in starts.items() if start > 0]
    notes = [f"From SGD's end on, pruned there: {listed(later)}"] if later else []
    # The cut at the end of the l1 run is no training: a table may lack the run's epochs, which the footer says.
    if (frame["method"] == "l1").any():
        notes.append(
            "l1: as its penalty trains it, with zeros of its own, before the cut to the matched sparsity at the end"
        )
    elif len(accuracies) and (accuracies["method"] == "l1").any():
        notes.append("No curve for l1: it is the end of a run with an l1 penalty, cut without training")
    return notes


def _score_limits(ax: Axes, series: Series) -> dict[str, float]:
    """Limits for accuracies but for the steep first quarter and for runs that fail: labels and ends of those."""
    known = panels.with_values(series, "validation_accuracy")
    ends = {look.label: float(rows["validation_accuracy"].dropna().iloc[-1]) for look, rows in known}
    # Half of the best: chance is below it for any number of classes.
    failed = {label: end for label, end in ends.items() if end < 0.5 * max(ends.values())}
    kept = [rows[rows["epoch"] >= 0.25 * rows["epoch"].max()] for look, rows in series if look.label not in failed]
    later = np.concatenate([numbers(rows, "validation_accuracy", factor=100)[0] for rows in kept])
    bottom, top = style.limits(later, later, later, reach=0.0, least=2.0)
    ax.set_ylim(max(bottom, 0.0), min(top, 101.0))
    return failed


def norms(drawn: Drawn) -> Figure:
    """Claim C8: how the ratio of the weights' L2 and L1 norms changes over the epochs, for SGD and gRDA."""
    frame = rows_in(drawn.tables, "norm_curves")
    looks = {arm: look for arm, look in arm_looks(drawn.tables, frame).items() if arm[0] in (*_DENSE, "grda")}
    handles = panels.handles_of(looks.values(), marker="")
    blocks = [(title, _over_start(part)) for title, part in panels.blocks_of(frame, "task")]
    room = (WIDTH - 0.7) / min(3, len(blocks)) - 0.35
    fig, [(_, lines, _)] = panels.in_lines([("", None)], [blocks], 3, 2.35, _margin(len(handles)) - 0.2)
    every = pd.concat([part for _, part in blocks])
    for line, [row] in lines:
        # One axis for all networks: changes compare.
        panels.log_axis(row[0], *(np.append(each, 1.0) for each in values_of(every, "ratio", 1.0)), factor=1.5)
        for ax, (title, part) in zip(row, line, strict=True):
            series = series_of(part, looks, "epoch")
            common.epoch_axis(ax, part["epoch"])
            ax.set_title(wrapped(title, room), loc="left", weight="bold")
            if panels.is_empty(ax, part, "ratio"):
                continue
            panels.level_line(ax, 1.0)
            for look, rows in series:
                panels.curve(ax, look, rows["epoch"].to_numpy(), *values_of(rows, "ratio", 1.0))
                last = rows.dropna(subset="ratio").tail(1)
                for end in last.itertuples():
                    panels.text_beside(ax, end.ratio, f"\u00d7 {end.ratio:.2f}", color="black")
        row[0].set_ylabel("\u2016w\u2016\u2082 / \u2016w\u2016\u2081 over that\nat the start (log)")
    notes = [
        f"Mean of seeds, over the mean at the start; {interval_text(frame['n'], 'bands')}. Norms are over all "
        "parameters; the ratio rises as the weights concentrate on few. At the right: the value at the end",
    ]
    return panels.finish(fig, handles, drawn.scale, notes)


def _over_start(part: pd.DataFrame) -> pd.DataFrame:
    """Ratios and their intervals over the arm's mean at its first epoch."""
    part = part.sort_values("epoch", kind="stable")
    first = part.groupby(["method", "matched_to"])["ratio"].transform("first")
    return part.assign(**{name: part[name] / first for name in ("ratio", "low", "high")})


_MARKED = 30
"""So many layers have room for markers."""

_LONGEST = 26
"""Letters of a layer's name that are shown."""


def layerwise(drawn: Drawn) -> Figure:
    """Sparsity of each layer at the end: gRDA's settings, and the baselines matched to the reference."""
    frame = rows_in(drawn.tables, "layers")
    frame = frame[~frame["method"].str.startswith("sgd")]
    if not len(frame):
        return style.not_run("Sparsity by layer", drawn.scale)
    looks = arm_looks(drawn.tables, frame)
    blocks = panels.blocks_of(frame, "task")
    height = (1.75 if len(blocks) < 3 else 1.3) + 0.062 * max(len(_layer(name)) for name in frame["layer"]) + 0.15
    fig, laid_out = panels.in_blocks(blocks, [[height]] * len(blocks), _margin(len(looks)))
    every_layer_named = True
    for part, (place,) in laid_out:
        setting = common.matched_to(part)
        part = common.at_setting(part, setting)
        layers = part.drop_duplicates("position").sort_values("position")
        known = part.loc[part["sparsity"] < FULL, "sparsity"]
        columns = _layer_columns(part, setting)
        tops, strips = panels.panels_at(fig, place, len(columns), heights=(1.0, 0.22))
        for ax, strip, (title, rows) in zip(tops, strips, columns, strict=True):
            common.density_ticks(ax, float(known.max()) if len(known) else 0.9)
            ax.set_title(title, loc="left")
            for look, of_one in series_of(rows, looks, "position"):
                _layer_curve(ax, of_one, look)
            ax.tick_params(axis="x", labelbottom=False, length=2)
            every_layer_named &= _sizes(strip, layers, 6.1 / len(columns))
            ax.set_xlim(strip.get_xlim())
            ax.xaxis.set_major_locator(FixedLocator([float(at) for at in layers["position"]]))
        tops[0].set_ylabel("sparsity (%),\nlog of density")
        strips[0].set_ylabel("weights", labelpad=8.0)
    notes = [
        f"Mean of seeds; {interval_text(frame['n'], 'bands')}",
        "Layers from input to output; grey: weights of the layer, logarithmic",
        *(["Triangles: no weight of the layer is left"] if (frame["sparsity"] >= FULL).any() else []),
        *([] if every_layer_named else ["Not every layer is named"]),
    ]
    return panels.finish(fig, panels.handles_of(looks.values()), drawn.scale, notes)


def _layer_columns(part: pd.DataFrame, setting: str) -> list[tuple[str, pd.DataFrame]]:
    """What a task's panels show: gRDA's settings, and the baselines beside the setting that they are matched to."""
    grda, others = part[part["method"] == "grda"], part[part["method"] != "grda"]
    reference = grda[grda["matched_to"] == setting]
    several = [("all settings of gRDA", grda)] if len(grda) > len(reference) or not len(others) else []
    title = f"at the sparsity of gRDA with {common.setting_label(setting)}"
    return several + ([(title, pd.concat([reference, others]))] if len(others) else [])


def _layer(name: str) -> str:
    short = name.removesuffix(".weight")
    return short if len(short) <= _LONGEST else f"{short[: _LONGEST // 2 - 1]}\u2026{short[-_LONGEST // 2 :]}"


def _layer_curve(ax: Axes, rows: pd.DataFrame, look: Look) -> None:
    """A network's layers, triangles at those without a weight."""
    (x,), values = numbers(rows, "x"), values_of(rows, "sparsity", 1.0)
    ceiling = ax.get_ylim()[1]
    places = (np.minimum(style.sparsity_position(np.clip(each, 0.0, 1.0)), ceiling) for each in values)
    small = replace(look, size=look.size * min(1.0, max(0.5, 18 / max(len(rows), 1))))
    panels.curve(ax, small, x, *places, marks=len(rows) <= _MARKED)
    empty = values[0] >= FULL
    if empty.any():
        mark: dict[str, Any] = {"marker": "^", "markersize": 4, "linestyle": "", "clip_on": False, "zorder": 5}
        ax.plot(x[empty], np.full(int(empty.sum()), ceiling), color=look.color, **mark)


def _sizes(ax: Axes, layers: pd.DataFrame, inches: float) -> bool:
    """The layers' sizes and names; whether there is room to name every layer."""
    x, size = numbers(layers, "position", "weights")
    ax.set_xlim(float(x.min()) - 0.6, float(x.max()) + 0.6)
    ax.bar(x, np.maximum(size, 1.0), width=0.7, color="0.75", linewidth=0)
    ax.set_yscale("log")
    low, high = max(float(np.nanmin(size)) / 3, 0.5), float(np.nanmax(size)) * 2
    ax.set_ylim(low, high)
    powers = [10.0**k for k in range(12) if low <= 10.0**k <= high]
    style.set_ticks(ax.yaxis, powers[:: max(1, len(powers) - 1)], _short)
    ax.grid(False)
    step = max(1, -(-len(x) // int(inches * 72 / (1.15 * SMALL))))
    style.set_ticks(ax.xaxis, x, ["" if nth % step else _layer(name) for nth, name in enumerate(layers["layer"])])
    ax.tick_params(axis="x", labelrotation=90, length=2)
    return step == 1


def _short(value: float) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
