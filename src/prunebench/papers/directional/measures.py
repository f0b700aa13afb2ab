"""The directional study's tables, computed from the files of its runs alone (docs/methods.md).

Everything is paired by seed: a difference or a ratio is the mean over seeds of the differences (geometric: of the
ratios) within a seed, with its 95 % t interval. A diverged run counts as chance in accuracies; nothing else that it
measured counts, so its seed is missing from sparsities, curves, paths and curvature.

`matched_to` of a gRDA run is its setting's label; that of a baseline is the label of the
setting whose sparsity it was pruned to, and a dense run's is empty.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from prunebench.papers.directional.config import INIT, ORDER, SGD
from prunebench.papers.directional.data import Data, where
from prunebench.suite import summaries
from prunebench.suite.study import RUN
from prunebench.suite.summaries import Row, cells, curve, difference, mark_best, mean, means, ratio

CONTROL = f"{SGD}:{INIT}"
"""The pair that the paths of every other pair stand beside: two networks of SGD from independent initialisations."""

ORDERS = f"{ORDER}:{SGD}"
"""The pair that gRDA's displacement stands beside: SGD with another order of the same data."""

OPTIMIZERS = {"ratio_sgd": "sgd", "ratio_momentum": "sgd_momentum", "ratio_reference": "grda_reference"}
"""Whose time each ratio of the overhead divides by; the last is gRDA as the authors released it."""

ARM = ("task", "method", "c", "mu", "matched_to")
_MEASURED = ("train_loss", "train_error", "test_loss", "test_error")


def _by_arm(rows: pd.DataFrame, *within: str) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Cells of one arm each (and of one value of `within`), task by task, with what names them."""
    for _, group in rows.groupby("task", sort=False):
        for _, cell in group.groupby(["arm", *within], sort=False):
            yield {name: cell[name].iloc[0] for name in (*ARM, *within)}, cell


def _n(cell: pd.DataFrame, name: str) -> Row:
    """Seeds that have a value."""
    return {"n": int(cell[name].notna().sum())}


# --- Networks


def accuracy(data: Data) -> list[Row]:
    """Test accuracy and sparsity of SGD, of gRDA's settings, and of the baselines at the sparsities these reached.

    `difference` is to SGD; `grda_difference` is the gRDA run that a baseline is matched to, minus the baseline; `best`
    is within such a group. `epochs` includes those of the network that an arm starts from.
    """
    dense: list[Row] = []
    sparse: list[Row] = []
    for row, cell in _by_arm(data.ends):
        # gRDA itself is compared with none.
        matched = row["matched_to"] if row["method"] != "grda" else ""
        grda = where(data.ends, task=row["task"], method="grda", matched_to=matched)
        row |= summaries.accuracy(cell) | means(cell, "sparsity", "sparsity_all")
        row |= difference(cell, where(data.ends, task=row["task"], method=SGD))
        row |= difference(grda, cell, name="grda_difference")
        row |= {"strength": cell["strength"].iloc[0], "epochs": cell["epochs"].iloc[0]}
        (sparse if row["matched_to"] else dense).append(row)
    rows = [row | {"best": False} for row in dense] + mark_best(sparse, "task", "matched_to")
    tasks = [*data.config.grda]
    return sorted(rows, key=lambda row: tasks.index(row["task"]))


def sensitivity(data: Data) -> list[Row]:
    """gRDA at the reference setting and around it: accuracy, sparsity, and how far it moves from the reference's."""
    if data.config.sensitivity is None:
        return []
    around, ends = data.around, data.ends
    references = [where(ends, task=task, arm=data.reference(task)) for task in around["task"].unique()]
    reference = pd.concat(references, ignore_index=True).assign(c_factor=1.0, mu_shift=0.0)
    rows = []
    for row, cell in _by_arm(pd.concat([reference, around], ignore_index=True), "c_factor", "mu_shift"):
        row = {name: row[name] for name in ("task", "c", "mu", "c_factor", "mu_shift")}
        row |= summaries.accuracy(cell) | means(cell, "sparsity")
        row |= difference(cell, where(ends, task=row["task"], method=SGD))
        rows.append(row | difference(cell, where(reference, task=row["task"]), "sparsity", "sparsity_change"))
    return rows


def released(data: Data) -> list[Row]:
    """gRDA at the reference setting under the constant LR that the released scripts run, and under the schedule.

    `released_difference` and `sparsity_change` are the former minus the latter, paired by seed; `difference` is to SGD.
    """
    if data.config.released is None:
        return []
    rows = []
    for row, cell in _by_arm(data.released):
        task = row["task"]
        scheduled = where(data.ends, task=task, arm=data.reference(task))
        for lr, runs in (("constant", cell), ("scheduled", scheduled)):
            of = {name: row[name] for name in ("task", "c", "mu")} | {"lr": lr}
            of |= summaries.accuracy(runs) | means(runs, "sparsity")
            of |= difference(runs, where(data.ends, task=task, method=SGD))
            # The schedule itself is compared with none.
            other = scheduled if lr == "constant" else scheduled[:0]
            of |= difference(runs, other, name="released_difference")
            rows.append(of | difference(runs, other, "sparsity", "sparsity_change"))
    return rows


def trajectory(data: Data) -> list[Row]:
    """Validation accuracy and density by epoch, counted from the start of the network that an arm starts from.

    An arm has a density and no accuracy before its first epoch. An arm that is cut and not trained is left out.
    """
    weights = data.trained("weights")
    weights = weights[weights["epochs"] > weights["before"]]
    trained = data.trained("epochs")[[*RUN, "epoch", "validation_accuracy"]]
    rows = weights.merge(trained.assign(epoch=trained["epoch"] + 1), on=[*RUN, "epoch"], how="left")
    rows = rows.assign(epoch=rows["before"] + rows["epoch"], density=1 - rows["sparsity"])
    return [
        row | {"n": len(cell)} | curve(cell, "validation_accuracy") | means(cell, "density")
        for row, cell in _by_arm(rows, "epoch")
    ]


def layers(data: Data) -> list[Row]:
    """Sparsity of each layer at the end of training, of the networks that are sparse."""
    rows = data.trained("layers")
    rows = rows[rows["matched_to"] != ""]
    rows = rows.assign(sparsity=1 - rows["alive"] / rows["weights"])
    return [
        row | {"weights": cell["weights"].iloc[0], "n": len(cell)} | curve(cell, "sparsity")
        for row, cell in _by_arm(rows, "position", "layer")
    ]


def norms(data: Data) -> list[Row]:
    """Concentration (l2 over l1 norm) of SGD's and gRDA's weights before and after the training."""
    rows, ends = [], data.ends
    for row, cell in _by_arm(ends[ends["method"].isin([SGD, "grda"])]):
        ratios = data.concentration.merge(cell[RUN], on=RUN)
        start, end = ratios[ratios["epoch"] == 0], ratios[ratios["epoch"] == ratios["epochs"]]
        row |= _n(end, "ratio") | mean("start", start["ratio"]) | mean("end", end["ratio"])
        rows.append(row | ratio(end, start, "ratio", "ratio") | {"floor": ratios["floor"].mean()})
    return rows


def norm_curves(data: Data) -> list[Row]:
    """Concentration of SGD's and gRDA's weights by epoch."""
    return [
        row | _n(cell, "ratio") | curve(cell, "ratio") | {"floor": cell["floor"].iloc[0]}
        for row, cell in _by_arm(data.concentration, "epoch")
    ]


# --- Connectivity


def _largest(values: pd.Series) -> float:
    """NaN where any is: a maximum that skips the points where a curve has diverged would miss its barrier."""
    return float(values.to_numpy(dtype=np.float64).max())


def connectivity(data: Data) -> list[Row]:
    """What lies between two minima: the rise of loss and error on a path above the larger of its two ends.

    Batch-normalisation statistics are recomputed at every point; `stale_barrier` is the barrier of the trained curve
    without that. `control_difference` is to the barrier between two independent runs of SGD.
    """
    part = data.config.connectivity
    if part is None:
        return []
    key = ["task", "seed", "pair"]
    curves = data.study.rows("connect_minima", "curves")[[*key, "length", "distance"]]
    every = barriers(data.points).merge(curves, on=key)
    every = every.assign(length_ratio=(every["length"] / every["distance"]).where(every["path"] == "curve"))
    rises, errors = ("barrier", "above_line", "error_rise", "stale_barrier"), ("test_error_most", "test_error_end")
    rows = []
    for task, pair, path in itertools.product(data.config.grda, part.pairs, ("curve", "line")):
        cell = where(every, task=task, pair=pair, path=path)
        control = where(every, task=task, pair=CONTROL if pair != CONTROL else "", path=path)
        row = {"task": task, "pair": pair, "path": path} | _n(cell, "barrier")
        row |= means(cell, *rises, *errors, "length_ratio")
        row |= {name: cell[name].mean() for name in ("end_loss", "lower_end_loss")}
        rows.append(row | difference(cell, control, "barrier", "control_difference"))
    return rows


def barriers(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per task, seed, pair and kind of path."""
    key = ["task", "seed", "pair", "path"]
    recomputed = where(rows, statistics="recomputed")
    at_start, at_end = (
        recomputed["train_loss"].where(recomputed["t"] == t).groupby([recomputed[name] for name in key]) for t in (0, 1)
    )
    t, loss = recomputed["t"], recomputed["train_loss"]
    # Above the linear interpolation of a path's two ends (Frankle et al. 2020).
    above = loss - (1 - t) * at_start.transform("first") - t * at_end.transform("first")
    recomputed = recomputed.assign(above_line=above)
    most = recomputed.groupby(key)[[*_MEASURED, "above_line"]].agg(_largest)
    at_ends = recomputed[recomputed["t"].isin([0, 1])].groupby(key)[[*_MEASURED]]
    ends, lower = at_ends.agg(_largest), at_ends.agg(lambda values: -_largest(-values))
    stale = where(rows, statistics="stale").groupby(key)["train_loss"].agg(_largest)
    columns = {
        "barrier": most["train_loss"] - ends["train_loss"],
        "above_line": most["above_line"],
        "error_rise": most["train_error"] - ends["train_error"],
        "end_loss": ends["train_loss"],
        "lower_end_loss": lower["train_loss"],
        "test_error_most": most["test_error"],
        "test_error_end": ends["test_error"],
        "stale_barrier": stale - ends["train_loss"],
    }
    return pd.DataFrame(columns).reset_index()


def paths(data: Data) -> list[Row]:
    """Loss and error along every path."""
    return [
        row | _n(cell, "train_loss") | means(cell, *_MEASURED)
        for row, cell in cells(data.points, "task", "pair", "path", "statistics", "t")
    ]


def planes(data: Data) -> list[Row]:
    """Loss and error in the plane through two minima and the bend of the curve between them, seed by seed."""
    rows: list[Row] = data.between_trained("connect_minima", "plane").fillna({"point": ""}).to_dict("records")
    return rows


# --- Curvature


def curvature(data: Data) -> list[Row]:
    """How much of a displacement from SGD's network lies in the leading eigenspaces of the Hessian there.

    `control_ratio` is gRDA's share over that of SGD with another order of data, at the same epoch; `early_ratio` is the
    share over that of the first epoch at which it was measured.
    """
    part, every = data.config.curvature, data.curvature
    if part is None:
        return []
    epochs = {job.task: job.epochs for job in data.study.jobs("measure_curvature")}
    at = [(task, e, p, k) for task in epochs for e in epochs[task] for p in (f"grda:{SGD}", ORDERS) for k in part.k]
    rows = []
    for task, epoch, pair, k in at:
        same = where(every, task=task, k=k)
        cell = where(same, epoch=epoch, pair=pair)
        control = where(same, epoch=epoch, pair=ORDERS if pair != ORDERS else "")
        first = where(same, epoch=epochs[task][0], pair=pair)
        row = {"task": task, "epoch": epoch, "pair": pair, "k": k} | _n(cell, "share")
        row |= means(cell, "share", "over_chance", "quadratic")
        row |= ratio(cell, control, "share", "control_ratio") | ratio(cell, first, "share", "early_ratio")
        rows.append(row | {name: cell[name].mean() for name in ("chance", "norm_ratio", "own_share", "top_eigenvalue")})
    return rows


def spectrum(data: Data) -> list[Row]:
    """Leading eigenvalues of the Hessian at SGD's network."""
    rows = data.between_trained("measure_curvature", "eigenvalues", pair=SGD)
    return [row | {"n": len(cell)} | curve(cell, "eigenvalue") for row, cell in cells(rows, "task", "epoch", "rank")]


# --- Without a task


def toy(data: Data) -> list[Row]:
    """How near gRDA comes to directional pruning where that can be computed, by learning rate.

    `slope` is that of log error over log learning rate, fitted within a seed; every row of a problem and of what is
    fixed has it.
    """
    rows = []
    for _, group in cells(data.study.rows("solve_exact", "toy"), "problem", "fixed"):
        slopes = mean("slope", pd.Series([toy_slope(cell) for _, cell in group.groupby("seed")]))
        for row, cell in cells(group, "problem", "fixed", "gamma"):
            row |= _n(cell, "error") | {name: cell[name].mean() for name in ("steps", "c", "lam", "d", "flat")}
            rows.append(row | means(cell, "error", "soft_error", "cosine", "sparsity") | slopes)
    return rows


def toy_slope(cell: pd.DataFrame) -> float:
    """Slope of log error over log learning rate of one seed, by least squares; NaN where an error is missing or 0."""
    if not (cell["error"] > 0).all():
        return float("nan")
    return float(np.polyfit(np.log(cell["gamma"]), np.log(cell["error"]), 1)[0])


def overhead(data: Data) -> list[Row]:
    """Time of an update and of a whole training step by optimizer, and the memory of an update.

    Ratios of times are geometric means over blocks, each within its block. `state_ratio` and `peak_ratio` are bytes
    that the optimizer keeps, and the most that are alive within an update beside these, per byte of parameters.
    """
    rows, memory = [], data.study.rows("time_optimizers", "memory")
    for row_of, group in cells(data.study.rows("time_optimizers", "seconds"), "network", "parameters", "measure"):
        for optimizer, cell in group.groupby("optimizer"):  # sorted: the order of measurement has no meaning
            row = row_of | {"optimizer": optimizer, "n": len(cell), "milliseconds": 1000 * cell["seconds"].median()}
            for name, other in OPTIMIZERS.items():
                row |= ratio(cell, where(group, optimizer=other), "seconds", name, by="block")
            used = where(memory, network=row["network"], optimizer=optimizer)
            if row["measure"] == "optimizer step" and len(used):
                bytes_ = used.iloc[0]
                row |= {f"{of}_ratio": bytes_[f"{of}_bytes"] / bytes_["parameter_bytes"] for of in ("state", "peak")}
            rows.append(row)
    return rows


def published(data: Data) -> list[Row]:
    """Published numbers of ResNet-50 on ImageNet: gRDA's, and those it was compared with (one run each, no spread)."""
    frame = pd.read_csv(Path(__file__).with_name("published.csv")).fillna({"schedule": ""})
    rows: list[Row] = frame.to_dict("records")
    return rows
