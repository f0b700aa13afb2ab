"""The S-Cyc study's tables, computed from what its runs wrote and from nothing else (docs/methods.md)."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from prunebench.papers.s_cyc.data import CHAIN, Data
from prunebench.papers.s_cyc.plan import ORACLE
from prunebench.schedules import Cyclical, SShape
from prunebench.stats import summarise
from prunebench.suite import summaries
from prunebench.suite.claim import ROUNDING
from prunebench.suite.preset import Preset
from prunebench.suite.study import stacked
from prunebench.suite.summaries import Row, cells

REFERENCE = "cyclical"
"""The schedule that costs are compared with."""

CELL = ["task", "criterion", "cycle"]
"""What accuracies are compared within."""


# --- Accuracy


def role(preset: Preset, schedule: str) -> str:
    """A schedule's role; that of the oracle is `oracle`."""
    return ORACLE if schedule == ORACLE else preset.schedules[schedule].role


def accuracy(data: Data) -> pd.DataFrame:
    """Test accuracy by task, criterion, schedule and sparsity; each schedule also against the best benchmark.

    `best` marks the highest mean test accuracy of a cell. `best_benchmark` is the benchmark with the highest mean
    *validation* accuracy of the cell; `difference` is the mean of the seeds' paired differences of test accuracy to
    it, with its 95 % t interval.
    """
    rows: list[Row] = []
    for axes, cell in cells(data.cycles, *CELL):
        benchmark = best_benchmark(data.preset, cell)
        for schedule, runs in cell.groupby("schedule", sort=False):
            row = {"schedule": schedule, "role": role(data.preset, str(schedule)), "best_benchmark": benchmark}
            means = {name: runs[name].mean() for name in ("sparsity", "validation_accuracy")}
            compared = summaries.difference(runs, cell[cell["schedule"] == benchmark])
            rows.append(axes | row | means | summaries.accuracy(runs) | compared)
    marked = pd.DataFrame(summaries.mark_best(rows, *CELL))
    return marked.sort_values(["task", "criterion"], kind="stable", ignore_index=True)


def best_benchmark(preset: Preset, cell: pd.DataFrame) -> str | None:
    """The benchmark schedule with the best mean validation accuracy of a cell; None where none ran."""
    ran = cell[[role(preset, name) == "benchmark" for name in cell["schedule"]]]
    return str(ran.groupby("schedule")["validation_accuracy"].mean().idxmax()) if len(ran) else None


def s_cyc_schedule(preset: Preset) -> str | None:
    """The schedule that is S-Cyc: the cyclical profile under the S-shape. None where the preset has none."""
    for name, entry in preset.schedules.items():
        if isinstance(entry.profile, Cyclical) and isinstance(entry.policy, SShape):
            return name
    return None


def differences(data: Data, schedule: str | None, reference: str | None = None) -> pd.DataFrame:
    """Test accuracy of a schedule minus that of `reference` (None: of the best benchmark of each cell).

    Columns: task, criterion, cycle, sparsity, seed, difference. No rows where one of the two did not run.
    """
    if (schedule, reference) not in data.differences:
        data.differences[schedule, reference] = _differences(data, schedule, reference)
    return data.differences[schedule, reference].copy()


def _differences(data: Data, schedule: str | None, reference: str | None) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=[*CELL, "sparsity", "seed", "difference"])]
    for axes, cell in cells(data.cycles, *CELL):
        runs = {name: rows.set_index("seed") for name, rows in cell.groupby("schedule")}
        other = reference or best_benchmark(data.preset, cell)
        if schedule in runs and other in runs:
            difference = runs[schedule]["test_accuracy"] - runs[other]["test_accuracy"]
            axes["sparsity"] = runs[schedule]["sparsity"].mean()
            parts.append(difference.rename("difference").reset_index().assign(**axes))
    return stacked(parts)


# --- Cost


def cost(data: Data) -> list[Row]:
    """What a whole chain costs, by schedule; the oracle's is that of all its candidates.

    `seconds` is wall time with evaluations, `flops_sparse` is theoretical (no hardware here skips zeros), the `ratio`
    columns compare with the `cyclical` schedule of the same task and criterion, seed by seed.
    """
    sums = dict.fromkeys(("steps", "images", "flops", "flops_sparse", "seconds"), "sum")
    chains = data.cost.groupby(CHAIN, sort=False).agg(sums | {"peak_memory_mb": "max"}).reset_index("schedule")
    rows: list[Row] = []
    for axes, cell in cells(chains, "task", "criterion"):
        reference = cell[cell["schedule"] == REFERENCE]
        for schedule, runs in cell.groupby("schedule", sort=False):
            rows.append(
                axes
                | {"schedule": schedule, "role": role(data.preset, str(schedule)), "n": len(runs)}
                | {name: runs[name].mean() for name in sums}
                | {"seconds_std": runs["seconds"].std(), "peak_memory_mb": runs["peak_memory_mb"].max()}
                | {"steps_ratio": (runs["steps"] / reference["steps"]).mean()}
                | summaries.mean("seconds_ratio", runs["seconds"] / reference["seconds"])
            )
    return rows


def timing(data: Data) -> list[Row]:
    """Wall time of chains in alternation, on a machine that does nothing else, against the reference's."""
    part = data.config.timing
    if part is None or not len(data.timing):
        return []
    own, reference = (data.timing[data.timing["schedule"] == name] for name in (part.schedule, part.reference))
    return [
        {"task": part.task, "criterion": part.criterion, "schedule": part.schedule, "reference": part.reference}
        | {"n": len(own), "seconds": own["seconds"].mean(), "reference_seconds": reference["seconds"].mean()}
        | {"steps_ratio": own["steps"].sum() / reference["steps"].sum()}
        | summaries.ratio(own, reference, "seconds", "seconds_ratio", by="block")
        | {"others_load": data.study.others_load("time_schedules")}
    ]


# --- The oracle


def oracle_grid(data: Data) -> list[Row]:
    """Accuracy of every max_lr in every cycle; `near_best` marks the interval of near-best max_lr.

    A max_lr is near-best where its mean validation accuracy is within max(tolerance, one standard error of the best's
    mean) of the best mean (docs/methods.md, Oracle).
    """
    oracle = data.config.oracle
    if oracle is None:
        return []
    rows: list[Row] = []
    for axes, candidates in cells(data.candidates, *CELL, sort=True):
        runs = dict(list(candidates.groupby("max_lr")))
        scores = {max_lr: summarise(group["validation_accuracy"].tolist()) for max_lr, group in runs.items()}
        best = max(scores.values(), key=lambda score: score.mean)
        # A mean exactly at the tolerance is within it, whichever way its last bit was rounded. One seed has no error.
        least = best.mean - np.fmax(oracle.tolerance, best.std / math.sqrt(best.n)) - ROUNDING
        for max_lr, group in runs.items():
            score, test = scores[max_lr], summarise(group["test_accuracy"].tolist())
            rows.append(
                axes
                | {"max_lr": max_lr, "sparsity": group["sparsity"].mean(), "n": score.n}
                | {"validation_accuracy": score.mean, "validation_std": score.std, "near_best": score.mean >= least}
                | {"test_accuracy": test.mean, "test_std": test.std, "selected": group["selected"].sum()}
                | {"diverged": (group["status"] == "diverged").sum()}
            )
    return rows


def oracle(data: Data) -> list[Row]:
    """The oracle against the schedule it is compared with, cycle by cycle.

    `oracle_max_lr` is the geometric mean of the seeds' choices; `low` and `high` bound the near-best max_lr of the
    grid; `inside`: the max_lr of the grid that is nearest to the schedule's (in log) is near-best; `difference` is the
    oracle's test accuracy minus the schedule's, paired by seed, with its 95 % t interval.
    """
    oracle = data.config.oracle
    if oracle is None:
        return []
    policy = data.preset.schedule(oracle.task, oracle.schedule).policy
    cycles = data.cycles.groupby(CELL)
    rows: list[Row] = []
    for axes, grid in cells(pd.DataFrame(oracle_grid(data)), *CELL, sort=True):
        cell = cycles.get_group(tuple(axes.values()))
        own, compared = (cell[cell["schedule"] == schedule] for schedule in (ORACLE, oracle.schedule))
        near, max_lr = grid.loc[grid["near_best"], "max_lr"], policy.at(int(grid["cycle"].iloc[0]))
        rows.append(
            axes
            | {"sparsity": grid["sparsity"].mean(), "n": len(own)}
            | {"oracle_max_lr": np.exp(np.log(own["max_lr"]).mean()), "low": near.min(), "high": near.max()}
            | {"schedule": oracle.schedule, "schedule_max_lr": max_lr}
            | {"inside": grid.loc[nearest(grid["max_lr"], max_lr), "near_best"]}
            | {"oracle_test_accuracy": own["test_accuracy"].mean()}
            | {"schedule_test_accuracy": compared["test_accuracy"].mean()}
            | summaries.difference(own, compared)
        )
    return rows


def nearest(grid: pd.Series, max_lr: float) -> Any:
    """Index of the grid's value that is nearest to `max_lr` in log: a schedule's max_lr seldom lies on the grid."""
    return (np.log(grid) - math.log(max_lr)).abs().idxmin()


# --- Gradients


def gradients(data: Data) -> list[Row]:
    """Spread of dL/dw by network, pruning criterion and sparsity, and its ratio to the dense network's.

    `at` is `end` (of the cycle's training) or `matched_loss`: where each cycle of a seed first reaches the lowest loss
    that all its trained cycles reach, found by interpolating log std between measurements; a cycle that did not train
    is left out (`_matched_rows`). Ratios are geometric means over seeds of std (and IQR/1.349) over that of cycle 0,
    with 95 % t intervals on the log; `zero` counts the seeds with a std of 0, which leave the ratio undefined.
    """
    gradients = data.gradients
    if not len(gradients):
        return []
    ends = gradients[gradients["share"] == 1.0].assign(at="end")
    both = pd.concat([ends, at_matched_loss(data)], ignore_index=True)
    keys = ["task", "criterion", "schedule", "at", "weights", "cycle"]
    chain = [*keys[:-1], "seed"]
    dense = both.loc[both["cycle"] == 0, [*chain, "std", "iqr_over_1349"]]
    both = both.merge(dense, on=chain, how="left", suffixes=("", "_dense"))
    means = ("sparsity", "loss", "std", "iqr_over_1349", "q05", "q25", "q50", "q75", "q95")
    return [
        axes
        | {"activation": activation(data.preset, axes["task"])}
        | {name: group[name].mean() for name in means}
        | {"n": group["std"].count(), "weights_counted": group["n"].mean(), "std_sd": group["std"].std()}
        | {"zero": (group["std"] == 0).sum()}
        | _ratio(group, "std")
        | _ratio(group, "iqr_over_1349")
        for axes, group in cells(both, *keys)
    ]


def _ratio(group: pd.DataFrame, column: str) -> Row:
    """Geometric mean over seeds of a column over the dense network's, with its interval and number of seeds."""
    name = f"{column.split('_')[0]}_ratio"
    with np.errstate(divide="ignore", over="ignore"):
        logs = np.log(group[column] / group[f"{column}_dense"])
        # A spread of 0 is -inf on the log: leaving such a seed out would bias the mean upwards, so there is no mean.
        if np.isinf(logs).any():
            logs = logs.iloc[:0]
        mean = {end: np.exp(value) for end, value in summaries.mean(name, logs).items()}
    return mean | {f"{name}_n": logs.count()}


def activation(preset: Preset, task: str) -> str:
    """The non-linearity of a task's network; `relu` for networks that have no choice."""
    return str(getattr(preset.tasks[task].network, "activation", "relu"))


def trained_cycles(data: Data, gradients: pd.DataFrame) -> pd.DataFrame:
    """The measurements of the cycles whose loss on the batch fell to `gradient_measure.trained` of its first value."""
    ordered = gradients.sort_values("share", kind="stable")
    losses = ordered.groupby([*CHAIN, "weights", "cycle"], sort=False)["loss"]
    trained = losses.transform("min") <= data.config.gradient_measure.trained * losses.transform("first")
    return ordered[trained].sort_index()


def at_matched_loss(data: Data) -> pd.DataFrame:
    """Each chain's rows at the loss that all its trained cycles reach, for whole-network weights."""
    whole = data.gradients[data.gradients["weights"].isin(["surviving", "all", "all_zeroed"])]
    chains = trained_cycles(data, whole).groupby([*CHAIN, "weights"], sort=False)
    return pd.DataFrame(row for _, chain in chains for row in _matched_rows(chain))


def _matched_rows(chain: pd.DataFrame) -> Iterator[Row]:
    """The rows of one chain, whose cycles all trained: another would set the target to the loss of guessing, at which
    no network has learnt anything."""
    target = chain.groupby("cycle")["loss"].min().max()
    for _, cycle in chain.groupby("cycle"):
        ordered = cycle.sort_values("share")
        reached = np.flatnonzero(ordered["loss"].to_numpy() <= target)
        if reached.size == 0 or reached[0] == 0:
            continue  # diverged, or below the target before the first measurement: nothing to interpolate between
        before, after = ordered.iloc[reached[0] - 1], ordered.iloc[reached[0]]
        weight = (before["loss"] - target) / (before["loss"] - after["loss"])
        row = after.to_dict() | {"at": "matched_loss", "loss": target}
        row |= dict.fromkeys(("mean", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"), math.nan)
        for column in ("std", "iqr_over_1349"):
            row[column] = math.nan
            if before[column] > 0 and after[column] > 0:
                row[column] = math.exp((1 - weight) * math.log(before[column]) + weight * math.log(after[column]))
        yield row


def gradient_histograms(data: Data) -> pd.DataFrame | list[Row]:
    """Histograms of dL/dw over surviving weights at the end of each cycle: share of weights per bin, seeds pooled."""
    keys = ["task", "criterion", "schedule", "cycle", "left", "right"]
    histograms = data.histograms
    if not len(histograms):
        return []
    ends = histograms[histograms["share"] == 1.0]
    sums = {"sparsity": ("sparsity", "mean"), "n": ("seed", "nunique"), "count": ("count", "sum")}
    pooled = ends.groupby(keys, sort=False).agg(**sums).reset_index()
    total = pooled.groupby(keys[:4])["count"].transform("sum")
    return pooled.assign(weights_share=pooled["count"] / total)


# --- The released scripts

DEFECTS = (
    *("best_epoch", "augmented", "whole_batches", "smaller_set", "cut_ramp", "first_run", "fifth_run"),
    "repeated_scores",
)
"""What effects are of: each defect alone, all together in the scripts' first and fifth run, and one in sparsity."""


def defects(data: Data) -> pd.DataFrame:
    """What each defect of the released scripts adds, by seed: alone beside a sound protocol, and all together.

    Columns: defect, task, criterion, cycle, sparsity, seed, effect. In the order of `DEFECTS`: test accuracy of the
    best epoch, on augmented images and in whole batches minus that of the last epoch on all images as they are, of the
    same network; that after training on the fifth run's set, and under the cut ramp, minus the sound chain's (paired by
    seed); what the scripts report for their first and fifth run, minus the sound chain's; the sparsity that their
    threshold reaches at a prune minus the one that it is to reach. A diverged cycle stands at chance, and is no network
    to measure on. No rows where the preset leaves the part out.
    """
    part, rows = data.config.released, data.defects
    frames = [pd.DataFrame(columns=["defect", *CELL, "sparsity", "seed", "effect"])]
    if part is None:
        return frames[0]
    ran = {key: chain.set_index(["cycle", "seed"]) for key, chain in rows.groupby(["task", "schedule"])}
    sound, cut, small, both = (
        ran[task, schedule] for task in (part.task, part.small_task) for schedule in (part.schedule, part.truncated)
    )
    end, reported = sound["test_accuracy"], (chain["reported"].fillna(chain["test_accuracy"]) for chain in (cut, both))
    effects = (
        *(sound[name] - sound["accuracy"] for name in ("best", "augmented", "whole_batches")),
        *(chain["test_accuracy"] - end for chain in (small, cut)),
        *(accuracy - end for accuracy in reported),
        sound["reached"] - sound["nominal"],
    )
    sparsity = sound.groupby("cycle")["sparsity"].mean()
    for defect, effect in zip(DEFECTS, effects, strict=True):
        frame = effect.rename("effect").dropna().reset_index()
        axes = {"defect": defect, "task": part.task, "criterion": part.criterion}
        frames.append(frame.assign(**axes, sparsity=frame["cycle"].map(sparsity)))
    return stacked(frames)


def released(data: Data) -> list[Row]:
    """The same by pruning cycle: mean over seeds with its 95 % t interval, in points."""
    return [
        axes | {"sparsity": cell["sparsity"].iloc[0], "n": len(cell)} | summaries.mean("effect", cell["effect"])
        for axes, cell in cells(defects(data), "defect", *CELL)
    ]


# --- LR schedules


def lr_schedules(data: Data, points: int = 120) -> list[Row]:
    """LR of every schedule over the pruning cycles, `points` values per cycle: from the configuration alone."""
    return [
        {"schedule": name, "role": entry.role, "cycle": cycle, "share": step / points, "lr": lr, "max_lr": max_lr}
        for name, entry in data.preset.schedules.items()
        for cycle in range(data.config.pruning.cycles + 1)
        for max_lr in [entry.policy.at(cycle)]
        for step in range(points)
        for lr in [entry.schedule().lr(cycle, step, points)]
    ]
