"""The directional-pruning study's tables, made of what its runs wrote and of nothing else (docs/methods.md).

Everything is paired by seed: a difference or a ratio is the mean over seeds of the differences (geometric: of the
ratios) within a seed, with its 95 % t interval. A diverged run counts as chance in accuracies; what else it measured is
worth nothing, so its seed is missing from sparsities, curves, paths and curvature.

A gRDA run is known by its setting's label, which is its `matched_to`; a baseline's `matched_to` is the label of the
setting whose sparsity it was pruned to, and a dense run's is empty.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from prunebench.config import ConnectSpec, CurvatureSpec, Directional, Preset, TrajectoriesSpec
from prunebench.config.directional import INIT, ORDER, SGD, UNCUT
from prunebench.errors import InputError
from prunebench.studies.runs import read_table
from prunebench.studies.summaries import ACCURACY, DIFFERENCE, Row, accuracy, difference, mark_best, mean, ratio

CONTROL = f"{SGD}:{INIT}"
"""The pair that the paths of every other pair stand beside: two networks of SGD from independent initialisations."""

ORDERS = f"{ORDER}:{SGD}"
"""The pair that gRDA's displacement stands beside: SGD with another order of the same data."""

OPTIMIZERS = {"ratio_sgd": "sgd", "ratio_momentum": "sgd_momentum", "ratio_reference": "grda_reference"}
"""Whose time each ratio of the overhead divides by; the last is gRDA as the authors released it."""

PUBLISHED = "directional_published.csv"

RUN = ["task", "seed", "arm"]
ARM = ("task", "method", "c", "mu", "matched_to")
_MEASURED = ("train_loss", "train_error", "test_loss", "test_error")


def _with_interval(*names: str) -> tuple[str, ...]:
    """Each column, and the ends of its interval."""
    return tuple(name + end for name in names for end in ("", "_low", "_high"))


COLUMNS = {
    "directional_accuracy": (
        *(*ARM, "strength", "n", "diverged", *_with_interval("sparsity", "sparsity_all"), *ACCURACY[2:], "best"),
        *(*DIFFERENCE, *_with_interval("grda_difference"), "epochs"),
    ),
    "directional_sensitivity": (
        *("task", "c", "mu", "c_factor", "mu_shift", "n", "diverged", *_with_interval("sparsity"), *ACCURACY[2:]),
        *(*DIFFERENCE, *_with_interval("sparsity_change")),
    ),
    "directional_overhead": (
        *("network", "parameters", "measure", "optimizer", "n", "milliseconds", *_with_interval(*OPTIMIZERS)),
        *("state_ratio", "peak_ratio"),
    ),
    "directional_connectivity": (
        *("task", "pair", "path", "n", *_with_interval("barrier", "above_line", "error_rise")),
        *("end_loss", "lower_end_loss"),
        *_with_interval("test_error_most", "test_error_end", "length_ratio", "control_difference", "stale_barrier"),
    ),
    "directional_curvature": (
        *("task", "epoch", "pair", "k", "n", *_with_interval("share"), "chance"),
        *_with_interval("over_chance", "quadratic", "control_ratio", "early_ratio"),
        *("norm_ratio", "own_share", "top_eigenvalue"),
    ),
    "directional_norms": (*ARM, "n", *_with_interval("start", "end", "ratio"), "floor"),
    "directional_toy": (
        *("problem", "fixed", "gamma", "n", "steps", "c", "lam"),
        *(*_with_interval("error", "soft_error", "cosine", "sparsity", "slope"), "d", "flat"),
    ),
    "directional_trajectory": (
        *(*ARM, "epoch", "n", "validation_accuracy", "low", "high", *_with_interval("density")),
    ),
    "directional_norm_curves": (*ARM, "epoch", "n", "ratio", "low", "high", "floor"),
    "directional_layers": (*ARM, "position", "layer", "weights", "n", "sparsity", "low", "high"),
    "directional_paths": ("task", "pair", "path", "statistics", "t", "n", *_with_interval(*_MEASURED)),
    "directional_planes": ("task", "seed", "pair", "kind", "point", "x", "y", *_MEASURED),
    "directional_spectrum": ("task", "epoch", "rank", "n", "eigenvalue", "low", "high"),
    "directional_published": ("method", "schedule", "c", "mu", "sparsity", "accuracy", "source"),
}
"""The study's tables and their columns; a last one is `scale`."""

SCALES = {
    "directional_toy": "exact problems at their own size",
    "directional_overhead": "measured at the size named",
    "directional_published": "published, not measured here",
}
"""The scale of tables that no preset scales down."""


def study(preset: Preset) -> Directional:
    """The study's configuration; raises InputError where the preset leaves the study out."""
    if preset.directional is None:
        raise InputError(f"preset '{preset.preset}' does not run the study of directional pruning")
    return preset.directional


def tables(preset: Preset, runs: Path) -> dict[str, pd.DataFrame]:
    """Every table of the study by name; those of a part that the preset leaves out have no rows.

    Raises InputError, naming the file, where a run's table is missing or no CSV.
    """
    directional = study(preset)
    ends = read_ends(preset, runs, *compared_parts(preset))
    ratios = concentration(preset, runs, ends)
    made: dict[str, list[Row]] = {
        "directional_accuracy": accuracies(preset, ends),
        "directional_norms": norms(ends, ratios),
        "directional_trajectory": trajectory(preset, runs, ends),
        "directional_norm_curves": norm_curves(ratios),
        "directional_layers": layers(preset, runs, ends),
        "directional_published": published(),
    }
    if directional.sensitivity:
        made["directional_sensitivity"] = sensitivity(preset, runs, ends)
    if directional.overhead:
        made["directional_overhead"] = overhead(preset, runs)
    if directional.connectivity:
        points = read_points(preset, runs)
        made["directional_connectivity"] = connectivity(preset, runs, points)
        made["directional_paths"] = paths(points)
        made["directional_planes"] = planes(preset, runs)
    if directional.curvature:
        made["directional_curvature"] = curvature(preset, runs)
        made["directional_spectrum"] = spectrum(preset, runs)
    if directional.toy:
        made["directional_toy"] = toy(preset, runs)
    return {
        name: pd.DataFrame(made.get(name, []), columns=list(columns)).assign(scale=SCALES.get(name, preset.scale))
        for name, columns in COLUMNS.items()
    }


# --- Reading


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def _of_jobs(
    jobs: Sequence[ConnectSpec] | Sequence[CurvatureSpec] | Sequence[TrajectoriesSpec], runs: Path, table: str
) -> pd.DataFrame:
    """One table of all jobs of a part, stacked: task, seed, then its rows."""
    frames = []
    for spec in jobs:
        rows = read_table(runs / spec.folder / f"{table}.csv")
        rows.insert(0, "task", spec.task)
        rows.insert(1, "seed", spec.seed)
        frames.append(rows)
    return _stacked(frames)


def _arms(preset: Preset, runs: Path, table: str, *parts: str) -> pd.DataFrame:
    """One table of the arms of these parts, without the runs of SGD that are controls of other tables.

    First task, seed, arm, its axes (c and mu NaN where it has none), `before`, the epochs behind the network that it
    starts from, and `epochs`, these and its own.
    """
    jobs = [spec for spec in preset.directional_jobs() if spec.part in parts]
    axes = []
    for spec in jobs:
        lengths = {arm.name: arm.epochs for arm in spec.minima.arms} if spec.minima else {}
        for arm in spec.arms:
            before = lengths[arm.start] if arm.start else 0
            counted = {"before": before, "epochs": before + arm.epochs}
            axes.append({"task": spec.task, "seed": spec.seed, "arm": arm.name, **arm.axes, **counted})
    named = pd.DataFrame(axes, columns=list(dict.fromkeys(["strength", *(name for row in axes for name in row)])))
    named = named.astype({"c": float, "mu": float, "strength": float})
    return named[~named["method"].isin([ORDER, INIT, UNCUT])].merge(_of_jobs(jobs, runs, table), on=RUN)


def compared_parts(preset: Preset) -> list[str]:
    """The parts whose arms are compared in accuracy, trajectory and layers."""
    return ["minima", "baselines"] if study(preset).baselines else ["minima"]


def read_ends(preset: Preset, runs: Path, *parts: str) -> pd.DataFrame:
    """Where every arm of these parts ended; sparsities are NaN where it diverged.

    An arm that had nothing to be matched to was not trained and is left out, and so is an l1 penalty of another
    strength than the one with the best mean validation accuracy at its sparsity.
    """
    ends = _arms(preset, runs, "ends", *parts)
    ends = ends[ends["status"] != "unmatched"]
    for name in ("sparsity", "sparsity_all"):
        ends[name] = ends[name].where(ends["status"] == "trained")
    scores = ends[ends["method"] == "l1"].groupby(["task", "matched_to", "strength"])["validation_accuracy"].mean()
    chosen = set(scores.groupby(["task", "matched_to"]).idxmax()) if len(scores) else set()
    keys = zip(ends["task"], ends["matched_to"], ends["strength"], strict=True)
    kept = [key in chosen or method != "l1" for key, method in zip(keys, ends["method"], strict=True)]
    return ends[np.array(kept, dtype=bool)]


def _trained(preset: Preset, runs: Path, ends: pd.DataFrame, table: str, *parts: str) -> pd.DataFrame:
    """`_arms`, only of runs that did not diverge by their `ends`."""
    return _arms(preset, runs, table, *parts).merge(ends.loc[ends["status"] == "trained", RUN], on=RUN)


def _by_arm(rows: pd.DataFrame, *within: str) -> Iterator[tuple[Row, pd.DataFrame, pd.DataFrame]]:
    """Cells of one arm each (and of one value of `within`): what names the cell, the cell, and all rows of its task."""
    for _, group in rows.groupby("task", sort=False):
        for _, cell in group.groupby(["arm", *within], sort=False):
            yield {name: cell[name].iloc[0] for name in (*ARM, *within)}, cell, group


def _between_trained(preset: Preset, runs: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Only rows whose `pair`, by methods, names two networks that did not diverge by the end of their training."""
    ends = _of_jobs(study(preset).minima_jobs(preset), runs, "ends")
    sound = set(ends.loc[ends["status"] == "trained", RUN].itertuples(index=False, name=None))
    references = {task: settings[0].arm for task, settings in study(preset).grda.items()}
    both = [
        all((task, seed, references[task] if method == "grda" else method) in sound for method in pair.split(":"))
        for task, seed, pair in zip(rows["task"], rows["seed"], rows["pair"], strict=True)
    ]
    return rows.loc[np.array(both, dtype=bool)]


def having(rows: pd.DataFrame, **values: str | float) -> pd.DataFrame:
    """The rows with these values."""
    for name, value in values.items():
        rows = rows[rows[name] == value]
    return rows


def _curve(name: str, values: pd.Series) -> Row:
    """`mean` of what a figure draws: its interval is `low` and `high`."""
    return dict(zip((name, "low", "high"), mean(name, values).values(), strict=True))


# --- Networks


def accuracies(preset: Preset, ends: pd.DataFrame) -> list[Row]:
    """Test accuracy and sparsity of SGD, of gRDA's settings, and of the baselines at the sparsities these reached.

    `difference` is to SGD; `grda_difference` is the gRDA run that a baseline is matched to, minus the baseline; `best`
    is within such a group. `epochs` counts those of the network that an arm starts from, too.
    """
    dense: list[Row] = []
    sparse: list[Row] = []
    for row, cell, group in _by_arm(ends):
        grda = having(group, method="grda", matched_to=row["matched_to"])
        row |= accuracy(cell)
        row |= mean("sparsity", cell["sparsity"]) | mean("sparsity_all", cell["sparsity_all"])
        row |= difference(cell, having(group, method=SGD))
        # to itself there is nothing to say
        row |= difference(grda if row["method"] != "grda" else grda[:0], cell, name="grda_difference")
        row |= {"strength": cell["strength"].iloc[0], "epochs": cell["epochs"].iloc[0]}
        (sparse if row["matched_to"] else dense).append(row)
    rows = [row | {"best": False} for row in dense] + mark_best(sparse, "task", "matched_to")
    tasks = [*study(preset).grda]
    return sorted(rows, key=lambda row: tasks.index(row["task"]))


def sensitivity(preset: Preset, runs: Path, ends: pd.DataFrame) -> list[Row]:
    """gRDA at the reference setting and around it: accuracy, sparsity, and how far it moves from the reference's."""
    around = read_ends(preset, runs, "sensitivity")
    settings = {task: study(preset).grda[task] for task in dict.fromkeys(around["task"])}
    references = [having(ends, task=task, arm=first.arm) for task, (first, *_) in settings.items()]
    reference = pd.concat(references, ignore_index=True).assign(c_factor=1.0, mu_shift=0.0)
    rows = []
    for row, cell, _ in _by_arm(pd.concat([reference, around], ignore_index=True), "c_factor", "mu_shift"):
        row = {name: row[name] for name in ("task", "c", "mu", "c_factor", "mu_shift")}
        row |= accuracy(cell) | mean("sparsity", cell["sparsity"])
        row |= difference(cell, having(ends, task=row["task"], method=SGD))
        row |= difference(cell, having(reference, task=row["task"]), "sparsity", "sparsity_change")
        rows.append(row)
    return rows


def trajectory(preset: Preset, runs: Path, ends: pd.DataFrame) -> list[Row]:
    """Validation accuracy and density by epoch; epochs of the network that an arm starts from are behind it, too.

    Where an arm begins it has a density and no accuracy. A cut without training has no course.
    """
    parts = compared_parts(preset)
    weights = _trained(preset, runs, ends, "weights", *parts)
    weights = weights[weights["epochs"] > weights["before"]]
    trained = _trained(preset, runs, ends, "epochs", *parts)[[*RUN, "epoch", "validation_accuracy"]]
    rows = weights.merge(trained.assign(epoch=trained["epoch"] + 1), on=[*RUN, "epoch"], how="left")
    rows = rows.assign(epoch=rows["before"] + rows["epoch"], density=1 - rows["sparsity"])
    return [
        row
        | {"n": len(cell)}
        | _curve("validation_accuracy", cell["validation_accuracy"])
        | mean("density", cell["density"])
        for row, cell, _ in _by_arm(rows, "epoch")
    ]


def layers(preset: Preset, runs: Path, ends: pd.DataFrame) -> list[Row]:
    """Sparsity of each layer at the end of training, of the networks that are sparse."""
    rows = _trained(preset, runs, ends, "layers", *compared_parts(preset))
    rows = rows[rows["matched_to"] != ""]
    rows = rows.assign(sparsity=1 - rows["alive"] / rows["weights"])
    return [
        row | {"weights": cell["weights"].iloc[0], "n": len(cell)} | _curve("sparsity", cell["sparsity"])
        for row, cell, _ in _by_arm(rows, "position", "layer")
    ]


def concentration(preset: Preset, runs: Path, ends: pd.DataFrame) -> pd.DataFrame:
    """`ratio`, l2 / l1 over all d parameters, of SGD's and gRDA's networks after every epoch, and its least, d^-1/2."""
    weights = _trained(preset, runs, ends, "weights", "minima").merge(ends[[*RUN, "parameters"]], on=RUN)
    return weights.assign(ratio=weights["l2"] / weights["l1"], floor=weights["parameters"] ** -0.5)


def norms(ends: pd.DataFrame, ratios: pd.DataFrame) -> list[Row]:
    """Concentration of SGD's and gRDA's weights before and after the training."""
    rows = []
    for row, cell, _ in _by_arm(ends[ends["method"].isin([SGD, "grda"])]):
        own = ratios.merge(cell[RUN], on=RUN)
        start, end = own[own["epoch"] == 0], own[own["epoch"] == own["epochs"]]
        row |= {"n": int(end["ratio"].notna().sum())} | mean("start", start["ratio"]) | mean("end", end["ratio"])
        rows.append(row | ratio(end, start, "ratio", "ratio") | {"floor": own["floor"].mean()})
    return rows


def norm_curves(ratios: pd.DataFrame) -> list[Row]:
    """Concentration of SGD's and gRDA's weights by epoch."""
    return [
        row
        | {"n": int(cell["ratio"].notna().sum())}
        | _curve("ratio", cell["ratio"])
        | {"floor": cell["floor"].iloc[0]}
        for row, cell, _ in _by_arm(ratios, "epoch")
    ]


# --- Connectivity


def read_points(preset: Preset, runs: Path) -> pd.DataFrame:
    """Every point of every path between two networks that did not diverge."""
    return _between_trained(preset, runs, _of_jobs(preset.connection_jobs(), runs, "paths"))


def _largest(values: pd.Series) -> float:
    """NaN where any is: a maximum that skips the points where a curve has diverged would miss its barrier."""
    return float(values.to_numpy(dtype=np.float64).max())


def connectivity(preset: Preset, runs: Path, points: pd.DataFrame) -> list[Row]:
    """What lies between two minima: the rise of loss and error on a path above the larger of its two ends.

    `points`: those of `paths`. Batch-normalisation statistics are recomputed at every point; `stale_barrier` shows what
    the trained curve would have been without that. `control_difference` is to the barrier between two independent runs
    of SGD.
    """
    part = study(preset).connectivity
    assert part is not None
    curves = _of_jobs(preset.connection_jobs(), runs, "curves")
    found = barriers(points).merge(curves[["task", "seed", "pair", "length", "distance"]], on=["task", "seed", "pair"])
    lengths = (found["length"] / found["distance"]).where(found["path"] == "curve")
    found = found.assign(length_ratio=lengths)
    rises, errors = ("barrier", "above_line", "error_rise", "stale_barrier"), ("test_error_most", "test_error_end")
    rows = []
    for task, pair, path in [(t, p, w) for t in study(preset).grda for p in part.pairs for w in ("curve", "line")]:
        cell = having(found, task=task, pair=pair, path=path)
        control = having(found, task=task, pair=CONTROL if pair != CONTROL else "", path=path)
        row = {"task": task, "pair": pair, "path": path, "n": int(cell["barrier"].notna().sum())}
        for name in (*rises, *errors, "length_ratio"):
            row |= mean(name, cell[name])
        row |= {name: cell[name].mean() for name in ("end_loss", "lower_end_loss")}
        rows.append(row | difference(cell, control, "barrier", "control_difference"))
    return rows


def barriers(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per task, seed, pair and kind of path."""
    key, measured = ["task", "seed", "pair", "path"], list(_MEASURED)
    recomputed = having(rows, statistics="recomputed")
    most = recomputed.groupby(key)[measured].agg(_largest)
    at_ends = recomputed[recomputed["t"].isin([0, 1])].groupby(key)[measured]
    ends, lower = at_ends.agg(_largest), at_ends.agg(lambda values: -_largest(-values))
    stale = having(rows, statistics="stale").groupby(key)["train_loss"].agg(_largest)
    made = {
        "barrier": most["train_loss"] - ends["train_loss"],
        "above_line": recomputed.assign(above=_above_line(recomputed, key)).groupby(key)["above"].agg(_largest),
        "error_rise": most["train_error"] - ends["train_error"],
        "end_loss": ends["train_loss"],
        "lower_end_loss": lower["train_loss"],
        "test_error_most": most["test_error"],
        "test_error_end": ends["test_error"],
        "stale_barrier": stale - ends["train_loss"],
    }
    return pd.DataFrame(made).reset_index()


def _above_line(rows: pd.DataFrame, key: list[str]) -> pd.Series:
    """Training loss minus the linear interpolation of a path's two ends (Frankle et al. 2020)."""

    def end(t: int) -> pd.Series:
        return rows["train_loss"].where(rows["t"] == t).groupby([rows[name] for name in key]).transform("first")

    return rows["train_loss"] - (1 - rows["t"]) * end(0) - rows["t"] * end(1)


def paths(points: pd.DataFrame) -> list[Row]:
    """Loss and error along every path."""
    keys = ["task", "pair", "path", "statistics", "t"]
    rows = []
    for key, cell in points.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True)) | {"n": int(cell["train_loss"].notna().sum())}
        for name in _MEASURED:
            row |= mean(name, cell[name])
        rows.append(row)
    return rows


def planes(preset: Preset, runs: Path) -> list[Row]:
    """Loss and error in the plane through two minima and the bend of the curve between them, seed by seed."""
    rows = _between_trained(preset, runs, _of_jobs(preset.connection_jobs(), runs, "plane"))
    made: list[Row] = rows.assign(point=rows["point"].fillna("")).to_dict("records")
    return made


# --- Curvature


def read_curvature(preset: Preset, runs: Path) -> pd.DataFrame:
    """Every row of curvature with the largest eigenvalue at its epoch; runs that diverged later on are left out."""
    jobs = preset.curvature_jobs()
    rows = _between_trained(preset, runs, _of_jobs(jobs, runs, "curvature"))
    top = having(_of_jobs(jobs, runs, "eigenvalues"), rank=1)[["task", "seed", "epoch", "eigenvalue"]]
    rows = rows.merge(top.rename(columns={"eigenvalue": "top_eigenvalue"}), on=["task", "seed", "epoch"], how="left")
    return rows.assign(over_chance=rows["share"] / rows["chance"])


def curvature(preset: Preset, runs: Path) -> list[Row]:
    """How much of a displacement from SGD's network lies in the leading eigenspaces of the Hessian there.

    `control_ratio` is gRDA's share over that of SGD with another order of data, at the same epoch; `early_ratio` is the
    share over that of the first epoch at which it was measured.
    """
    part = study(preset).curvature
    assert part is not None
    found = read_curvature(preset, runs)
    epochs = {spec.task: spec.epochs() for spec in preset.curvature_jobs()}
    cells = [(task, e, p, k) for task in epochs for e in epochs[task] for p in (f"grda:{SGD}", ORDERS) for k in part.k]
    rows = []
    for task, epoch, pair, k in cells:
        same = having(found, task=task, k=k)
        cell = having(same, epoch=epoch, pair=pair)
        control = having(same, epoch=epoch, pair=ORDERS if pair != ORDERS else "")
        first = having(same, epoch=epochs[task][0], pair=pair)
        row = {"task": task, "epoch": epoch, "pair": pair, "k": k, "n": int(cell["share"].notna().sum())}
        row |= mean("share", cell["share"]) | mean("over_chance", cell["over_chance"])
        row |= mean("quadratic", cell["quadratic"])
        row |= ratio(cell, control, "share", "control_ratio") | ratio(cell, first, "share", "early_ratio")
        rows.append(row | {name: cell[name].mean() for name in ("chance", "norm_ratio", "own_share", "top_eigenvalue")})
    return rows


def spectrum(preset: Preset, runs: Path) -> list[Row]:
    """Leading eigenvalues of the Hessian at SGD's network."""
    values = _of_jobs(preset.curvature_jobs(), runs, "eigenvalues")
    values = _between_trained(preset, runs, values.assign(pair=SGD))
    keys = ["task", "epoch", "rank"]
    return [
        dict(zip(keys, key, strict=True)) | {"n": len(cell)} | _curve("eigenvalue", cell["eigenvalue"])
        for key, cell in values.groupby(keys, sort=False)
    ]


# --- Without a task


def toy(preset: Preset, runs: Path) -> list[Row]:
    """How near gRDA comes to directional pruning where that can be computed, by learning rate.

    `slope` is that of log error over log learning rate, fitted within a seed; every row of a problem and of what is
    fixed has it.
    """
    rows = read_toy(preset, runs)
    made = []
    for (problem, fixed), group in rows.groupby(["problem", "fixed"], sort=False):
        slopes = mean("slope", pd.Series([toy_slope(cell) for _, cell in group.groupby("seed")]))
        for gamma, cell in group.groupby("gamma", sort=False):
            row = {"problem": problem, "fixed": fixed, "gamma": gamma, "n": int(cell["error"].notna().sum())}
            row |= {name: cell[name].mean() for name in ("steps", "c", "lam", "d", "flat")}
            for name in ("error", "soft_error", "cosine", "sparsity"):
                row |= mean(name, cell[name])
            made.append(row | slopes)
    return made


def read_toy(preset: Preset, runs: Path) -> pd.DataFrame:
    """Every row of every exact problem."""
    return _stacked([read_table(runs / spec.folder / "toy.csv") for spec in preset.toy_jobs()])


def toy_slope(cell: pd.DataFrame) -> float:
    """Slope of log error over log learning rate of one seed, by least squares; NaN where an error is missing or 0."""
    if not (cell["error"] > 0).all():
        return float("nan")
    return float(np.polyfit(np.log(cell["gamma"]), np.log(cell["error"]), 1)[0])


def read_overhead(preset: Preset, runs: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seconds by network, measure, optimizer and block, and bytes by network and optimizer."""
    (spec,) = preset.overhead_jobs()
    return read_table(runs / spec.folder / "seconds.csv"), read_table(runs / spec.folder / "memory.csv")


def overhead(preset: Preset, runs: Path) -> list[Row]:
    """Time of an update and of a whole training step by optimizer, and the memory of an update.

    Ratios of times are geometric means over blocks, each within its block. `state_ratio` and `peak_ratio` are bytes
    that the optimizer keeps, and the most that are alive within an update beside these, per byte of parameters.
    """
    seconds, memory = read_overhead(preset, runs)
    rows = []
    for (network, measure), group in seconds.groupby(["network", "measure"], sort=False):
        for optimizer, cell in group.groupby("optimizer"):  # in which order they were measured means nothing
            row = {"network": network, "parameters": cell["parameters"].iloc[0], "measure": measure}
            row |= {"optimizer": optimizer, "n": len(cell), "milliseconds": 1000 * cell["seconds"].median()}
            for name, other in OPTIMIZERS.items():
                row |= ratio(cell, having(group, optimizer=other), "seconds", name, by="block")
            bytes_ = having(memory, network=network, optimizer=optimizer)
            if measure == "optimizer step" and len(bytes_):
                used = bytes_.iloc[0]
                row |= {f"{name}_ratio": used[f"{name}_bytes"] / used["parameter_bytes"] for name in ("state", "peak")}
            rows.append(row)
    return rows


def published() -> list[Row]:
    """Published numbers of ResNet-50 on ImageNet: gRDA's, and those it was compared with (one run each, no spread)."""
    with (resources.files("prunebench.studies") / PUBLISHED).open(encoding="utf-8") as file:
        frame = pd.read_csv(file)
    made: list[Row] = frame.assign(schedule=frame["schedule"].fillna("")).to_dict("records")
    return made
