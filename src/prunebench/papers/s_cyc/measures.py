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

REFERENCE = "cyclical"
"""The schedule that costs are compared with."""

CELL = ["task", "criterion", "cycle"]
"""What accuracies are compared within."""

Row = dict[str, Any]


def role(preset: Preset, schedule: str) -> str:
    """A schedule's role; the oracle's is its own."""
    return ORACLE if schedule == ORACLE else preset.schedules[schedule].role


def accuracy(data: Data) -> pd.DataFrame:
    """Test accuracy by task, criterion, schedule and sparsity; each schedule also against the best benchmark.

    `best` marks the highest mean test accuracy of a cell. `best_benchmark` is the benchmark with the highest mean
    *validation* accuracy of the cell; `difference` is the mean of the seeds' paired differences of test accuracy to
    it, with its 95 % t interval.
    """
    rows: list[Row] = []
    for (task, criterion, cycle), cell in data.cycles.groupby(CELL, sort=False):
        reference = best_benchmark(data.preset, cell)
        for schedule, group in cell.groupby("schedule", sort=False):
            row = {"task": task, "criterion": criterion, "schedule": schedule, "cycle": cycle}
            row |= {"role": role(data.preset, str(schedule)), "sparsity": group["sparsity"].mean()}
            row |= summaries.accuracy(group) | {"validation_accuracy": group["validation_accuracy"].mean()}
            compared = cell[cell["schedule"] == reference]
            rows.append(row | {"best_benchmark": reference} | summaries.difference(group, compared))
    marked = summaries.mark_best(rows, *CELL)
    return pd.DataFrame(marked).sort_values(["task", "criterion"], kind="stable", ignore_index=True)


def best_benchmark(preset: Preset, cell: pd.DataFrame) -> str | None:
    """The benchmark schedule with the best mean validation accuracy of a cell; None where none ran."""
    ran = cell[[role(preset, name) == "benchmark" for name in cell["schedule"]]]
    return str(ran.groupby("schedule")["validation_accuracy"].mean().idxmax()) if len(ran) else None


def s_cyc_schedule(preset: Preset) -> str | None:
    """The schedule that is S-Cyc: the cyclical profile under the S-shape. None where the preset has none."""
    for name, entry in preset.schedules.items():
        schedule = entry.schedule()
        if isinstance(schedule.profile, Cyclical) and isinstance(schedule.policy, SShape):
            return name
    return None


def gains(data: Data, schedule: str) -> pd.DataFrame:
    """Test accuracy of a schedule minus that of the best benchmark, by task, criterion, cycle and seed (`gain`)."""
    rows = []
    for (task, criterion, cycle), cell in data.cycles.groupby(CELL, sort=False):
        test = cell.pivot(index="seed", columns="schedule", values="test_accuracy")
        reference = best_benchmark(data.preset, cell)
        if schedule in test and reference:
            named = {"task": task, "criterion": criterion, "cycle": cycle, "sparsity": cell["sparsity"].mean()}
            rows += [named | {"seed": seed, "gain": gain} for seed, gain in (test[schedule] - test[reference]).items()]
    return pd.DataFrame(rows, columns=[*CELL, "sparsity", "seed", "gain"])


def oracle_differences(data: Data) -> pd.DataFrame:
    """Test accuracy of the oracle minus that of the schedule it is compared with, by cycle and seed (`difference`)."""
    oracle = data.config.oracle
    assert oracle is not None
    rows: list[tuple[Any, ...]] = []
    for cycle, cell in _oracle_s(data).groupby("cycle"):
        test = cell.pivot(index="seed", columns="schedule", values="test_accuracy")
        if oracle.schedule in test:
            sparsity = cell.loc[cell["schedule"] == "oracle", "sparsity"].mean()
            difference = (test["oracle"] - test[oracle.schedule]).dropna()
            rows += [(cycle, sparsity, seed, value) for seed, value in difference.items()]
    return pd.DataFrame(rows, columns=["cycle", "sparsity", "seed", "difference"])


def _oracle_s(data: Data) -> pd.DataFrame:
    """The cycles of the oracle and of what it is compared with."""
    oracle, cycles = data.config.oracle, data.cycles
    assert oracle is not None
    return cycles[(cycles["task"] == oracle.task) & (cycles["criterion"] == oracle.criterion)]


def costs(data: Data) -> list[Row]:
    """What a whole chain costs, by schedule; the oracle's is that of all its candidates.

    `seconds` is wall time with evaluations, `flops_sparse` is theoretical (no hardware here skips zeros), the `ratio`
    columns compare with the `cyclical` schedule of the same task and criterion, seed by seed.
    """
    sums = {"steps": "sum", "images": "sum", "flops": "sum", "flops_sparse": "sum", "seconds": "sum"}
    chains = data.cost.groupby(CHAIN, sort=False).agg(sums | {"peak_memory_mb": "max"}).reset_index()
    rows = []
    for (task, criterion), cell in chains.groupby(["task", "criterion"], sort=False):
        reference = cell[cell["schedule"] == REFERENCE].set_index("seed")
        for schedule, group in cell.groupby("schedule", sort=False):
            by_seed = group.set_index("seed")
            time = summarise(by_seed["seconds"].tolist())
            ratios = summarise((by_seed["seconds"] / reference["seconds"]).dropna().tolist())
            rows.append(
                {
                    "task": task,
                    "criterion": criterion,
                    "schedule": schedule,
                    "role": role(data.preset, str(schedule)),
                    "n": time.n,
                    "steps": by_seed["steps"].mean(),
                    "images": by_seed["images"].mean(),
                    "flops": by_seed["flops"].mean(),
                    "flops_sparse": by_seed["flops_sparse"].mean(),
                    "seconds": time.mean,
                    "seconds_std": time.std,
                    "peak_memory_mb": by_seed["peak_memory_mb"].max(),
                    "steps_ratio": (by_seed["steps"] / reference["steps"]).mean(),
                    "seconds_ratio": ratios.mean,
                    "seconds_ratio_low": ratios.low,
                    "seconds_ratio_high": ratios.high,
                }
            )
    return rows


def oracle_grid(data: Data) -> list[Row]:
    """Accuracy of every max_lr in every cycle; `near_best` marks the interval of near-best max_lr.

    A max_lr is near-best where its mean validation accuracy is within max(tolerance, one standard error of the best's
    mean) of the best mean (docs/methods.md, Oracle).
    """
    oracle = data.config.oracle
    if oracle is None:
        return []
    rows: list[Row] = []
    for cycle, at_cycle in data.candidates.groupby("cycle"):
        scores = {lr: summarise(group["validation_accuracy"].tolist()) for lr, group in at_cycle.groupby("max_lr")}
        best = max(scores.values(), key=lambda score: score.mean)
        error = 0.0 if math.isnan(best.std) else best.std / math.sqrt(best.n)
        for lr, group in at_cycle.groupby("max_lr"):
            score, test = scores[lr], summarise(group["test_accuracy"].tolist())
            rows.append(
                {
                    "task": oracle.task,
                    "criterion": oracle.criterion,
                    "cycle": cycle,
                    "sparsity": group["sparsity"].mean(),
                    "max_lr": lr,
                    "n": score.n,
                    "diverged": int((group["status"] == "diverged").sum()),
                    "validation_accuracy": score.mean,
                    "validation_std": score.std,
                    "test_accuracy": test.mean,
                    "test_std": test.std,
                    "selected": int(group["selected"].sum()),
                    # a mean exactly at the tolerance is within it, whichever way its last bit was rounded
                    "near_best": score.mean >= best.mean - max(oracle.tolerance, error) - ROUNDING,
                }
            )
    return rows


def oracle_summary(data: Data) -> list[Row]:
    """The oracle against the schedule it is compared with, cycle by cycle.

    `oracle_max_lr` is the geometric mean of the seeds' choices; `low` and `high` bound the near-best max_lr of the
    grid; `inside`: the max_lr of the grid that is nearest to the schedule's (in log) is near-best; `difference` is the
    oracle's test accuracy minus the schedule's, paired by seed, with its 95 % t interval.
    """
    oracle = data.config.oracle
    if oracle is None:
        return []
    policy = data.preset.schedules[oracle.schedule].policy
    cell, differences = _oracle_s(data), oracle_differences(data)
    rows: list[Row] = []
    for cycle, at_cycle in pd.DataFrame(oracle_grid(data)).groupby("cycle"):
        test = cell[cell["cycle"] == cycle].pivot(index="seed", columns="schedule", values="test_accuracy")
        near = at_cycle.loc[at_cycle["near_best"], "max_lr"]
        chosen = np.repeat(at_cycle["max_lr"], at_cycle["selected"])
        max_lr = policy.at(int(str(cycle)))
        compared = test[oracle.schedule] if oracle.schedule in test else pd.Series(dtype=float)
        gap = summarise(differences.loc[differences["cycle"] == cycle, "difference"].tolist())
        rows.append(
            {
                "task": oracle.task,
                "criterion": oracle.criterion,
                "cycle": cycle,
                "sparsity": at_cycle["sparsity"].mean(),
                "n": len(test),
                "oracle_max_lr": float(np.exp(np.log(chosen).mean())),
                "low": near.min(),
                "high": near.max(),
                "schedule": oracle.schedule,
                "schedule_max_lr": max_lr,
                "inside": bool(at_cycle.loc[nearest(at_cycle["max_lr"], max_lr), "near_best"]),
                "oracle_test_accuracy": test["oracle"].mean(),
                "schedule_test_accuracy": compared.mean(),
                "difference": gap.mean,
                "difference_low": gap.low,
                "difference_high": gap.high,
            }
        )
    return rows


def nearest(grid: pd.Series, max_lr: float) -> Any:
    """Index of the grid's value that is nearest to `max_lr` in log: a schedule's max_lr seldom lies on the grid."""
    return (np.log(grid) - math.log(max_lr)).abs().idxmin()


def gradient_spread(data: Data) -> list[Row]:
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
    rows = []
    for key, group in both.groupby(keys, sort=False):
        spread = summarise(group["std"].tolist())
        row = dict(zip(keys, key, strict=True)) | {
            "activation": activation(data.preset, str(key[0])),
            "sparsity": group["sparsity"].mean(),
            "n": spread.n,
            "weights_counted": group["n"].mean(),
            "loss": group["loss"].mean(),
            "std": spread.mean,
            "std_sd": spread.std,
            "zero": int((group["std"] == 0).sum()),
            "iqr_over_1349": group["iqr_over_1349"].mean(),
            **{name: group[name].mean() for name in ("q05", "q25", "q50", "q75", "q95")},
        }
        rows.append(row | _ratio(group, "std") | _ratio(group, "iqr_over_1349"))
    return rows


def _ratio(group: pd.DataFrame, column: str) -> dict[str, float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(group[column].to_numpy() / group[f"{column}_dense"].to_numpy())
    # A spread of 0 is -inf on the log: leaving such a seed out would bias the mean upwards, so there is no mean.
    score = summarise([] if np.isinf(logs).any() else logs[np.isfinite(logs)].tolist())
    name = column.split("_")[0]
    return {
        f"{name}_ratio_n": score.n,
        f"{name}_ratio": _exp(score.mean),
        f"{name}_ratio_low": _exp(score.low),
        f"{name}_ratio_high": _exp(score.high),
    }


def _exp(log: float) -> float:
    """e**log; infinite, not an error, where that is too large for a float."""
    return math.inf if log > 700 else math.exp(log)


def activation(preset: Preset, task: str) -> str:
    """The non-linearity of a task's network; `relu` for networks that have no choice."""
    return str(getattr(preset.tasks[task].network, "activation", "relu"))


def trained_cycles(data: Data, gradients: pd.DataFrame) -> pd.DataFrame:
    """The measurements of the cycles whose loss on the batch fell to `gradient_measure.trained` of its first value."""
    ordered = gradients.sort_values("share", kind="stable")
    losses = ordered.groupby([*CHAIN, "weights", "cycle"], sort=False)["loss"]
    return ordered[
        losses.transform("min") <= data.config.gradient_measure.trained * losses.transform("first")
    ].sort_index()


def at_matched_loss(data: Data) -> pd.DataFrame:
    """Each chain's rows at the loss that all its cycles reach, for whole-network weights."""
    gradients = data.gradients
    whole = gradients[gradients["weights"].isin(["surviving", "all", "all_zeroed"])]
    return pd.DataFrame(
        row for _, chain in whole.groupby([*CHAIN, "weights"], sort=False) for row in _matched_rows(data, chain)
    )


def _matched_rows(data: Data, chain: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Nothing for a cycle that never trained, its loss staying high: it would set the target
    to the loss of guessing, at which no network has learnt anything."""
    trained = [cycle.sort_values("share") for _, cycle in trained_cycles(data, chain).groupby("cycle")]
    target = max((cycle["loss"].min() for cycle in trained), default=math.nan)
    for ordered in trained:
        reached = np.flatnonzero(ordered["loss"].to_numpy() <= target)
        if reached.size == 0 or reached[0] == 0:
            continue  # diverged, or below the target before the first measurement: nothing to interpolate between
        before, after = ordered.iloc[reached[0] - 1], ordered.iloc[reached[0]]
        weight = (before["loss"] - target) / (before["loss"] - after["loss"])
        row = after.to_dict() | {"at": "matched_loss", "loss": target}
        for column in ("std", "iqr_over_1349"):
            row[column] = math.nan
            if before[column] > 0 and after[column] > 0:
                row[column] = math.exp((1 - weight) * math.log(before[column]) + weight * math.log(after[column]))
        for column in ("mean", "q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"):
            row[column] = math.nan
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


def lr_schedules(data: Data, points: int = 120) -> list[Row]:
    """LR of every schedule over the pruning cycles, `points` values per cycle: from the configuration alone."""
    return [
        {"schedule": name, "role": entry.role, "cycle": cycle, "share": step / points, "lr": lr, "max_lr": max_lr}
        for name, entry in data.preset.schedules.items()
        for cycle in range(data.config.pruning.cycles + 1)
        for max_lr in [entry.schedule().policy.at(cycle)]
        for step in range(points)
        for lr in [entry.schedule().lr(cycle, step, points)]
    ]
