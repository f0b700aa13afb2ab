"""The S-Cyc study's tables, made of what its runs wrote and of nothing else (docs/methods.md)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prunebench.config import ChainSpec, Preset, SCyc
from prunebench.errors import InputError
from prunebench.schedules import Cyclical, SShape
from prunebench.stats import summarise
from prunebench.studies.runs import read_chains, read_oracle

TRAINED = 0.9
"""A cycle counts as trained where its loss on the fixed batch falls to this share of the first one measured [ours]."""

CHAIN = ["task", "criterion", "schedule", "seed"]
"""What names a pruning chain."""

REFERENCE = "cyclical"
"""The schedule that costs are compared with."""

CELL = ["task", "criterion", "cycle"]
"""What accuracies are compared within."""


def study(preset: Preset) -> SCyc:
    """The study's configuration; raises InputError where the preset leaves the study out."""
    if preset.s_cyc is None:
        raise InputError(f"preset '{preset.preset}' does not run the S-Cyc study")
    return preset.s_cyc


@dataclass(frozen=True)
class Frames:
    """What the runs wrote, stacked, with the axes of each row; None for what the preset does not measure."""

    cycles: pd.DataFrame
    """The end of every pruning cycle of the accuracy comparison, the oracle's choices among them."""
    cost: pd.DataFrame
    """What every one of these cycles cost, the oracle's with all its candidates."""
    candidates: pd.DataFrame | None
    """Every candidate of the oracle."""
    gradients: pd.DataFrame | None
    """Every measurement of the gradients."""


def read(preset: Preset, runs: Path) -> Frames:
    """The study's runs. Raises InputError, naming the file, where one is missing or no CSV."""
    chains = preset.s_cyc_chains()
    cycles, cost = read_chains(chains, runs, "cycles"), read_chains(chains, runs, "cost")
    candidates = None
    if study(preset).oracle:
        candidates = _as_chain(preset, read_oracle(preset.s_cyc_oracle_jobs(), runs))
        cycles = pd.concat([cycles, candidates[candidates["selected"] == 1]], ignore_index=True)
        cost = pd.concat([cost, candidates], ignore_index=True)
    measured = measured_chains(preset)
    gradients = read_chains(measured, runs, "gradients") if measured else None
    return Frames(_in_accuracy_grids(preset, cycles), _in_accuracy_grids(preset, cost), candidates, gradients)


def measured_chains(preset: Preset) -> list[ChainSpec]:
    """The chains whose gradients are measured."""
    return [spec for spec in preset.s_cyc_chains() if spec.gradients is not None]


def tables(preset: Preset, runs: Path) -> dict[str, pd.DataFrame]:
    """Every table of the study by name."""
    frames = read(preset, runs)
    made: dict[str, pd.DataFrame] = {"s_cyc_lr_schedules": lr_schedules(preset)}
    made["s_cyc_accuracy"] = accuracy(preset, frames.cycles)
    made["s_cyc_cost"] = costs(preset, frames.cost)
    if frames.candidates is not None:
        made["s_cyc_oracle_grid"] = oracle_grid(preset, frames.candidates)
        made["s_cyc_oracle"] = oracle_summary(preset, made["s_cyc_oracle_grid"], frames.cycles)
    if frames.gradients is not None:
        made["s_cyc_gradients"] = gradient_spread(preset, frames.gradients)
        histograms = read_chains(measured_chains(preset), runs, "gradient_histograms")
        made["s_cyc_gradient_histograms"] = gradient_histograms(preset, histograms)
    return made


def _as_chain(preset: Preset, candidates: pd.DataFrame) -> pd.DataFrame:
    oracle = study(preset).oracle
    assert oracle is not None
    return candidates.assign(study="s_cyc", task=oracle.task, criterion=oracle.criterion, schedule="oracle")


def _in_accuracy_grids(preset: Preset, runs: pd.DataFrame) -> pd.DataFrame:
    """Only the runs of the accuracy comparison: others were trained to measure their gradients."""
    cells = {(t, c, s) for g in study(preset).accuracy for t in g.tasks for c in g.criteria for s in g.schedules}
    wanted = [row.schedule == "oracle" or (row.task, row.criterion, row.schedule) in cells for row in runs.itertuples()]
    return runs[wanted]


def _role(preset: Preset, schedule: str) -> str:
    return "oracle" if schedule == "oracle" else preset.schedules[schedule].role


def accuracy(preset: Preset, cycles: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy by task, criterion, schedule and sparsity; each schedule also against the best benchmark.

    `best` marks the highest mean test accuracy of a cell. `best_benchmark` is the benchmark with the highest mean
    *validation* accuracy of the cell; `difference` is the mean of the seeds' paired differences of test accuracy to
    it, with its 95 % t interval.
    """
    roles = {name: _role(preset, name) for name in cycles["schedule"].unique()}
    rows = []
    for (task, criterion, cycle), cell in cycles.groupby(CELL, sort=False):
        test = cell.pivot(index="seed", columns="schedule", values="test_accuracy")
        reference = best_benchmark(preset, cell)
        means = test.mean()
        for schedule, group in cell.groupby("schedule", sort=False):
            score = summarise(group["test_accuracy"].tolist())
            gap = summarise((test[schedule] - test[reference]).tolist() if reference else [])
            rows.append(
                {
                    "task": task,
                    "criterion": criterion,
                    "schedule": schedule,
                    "role": roles[str(schedule)],
                    "cycle": cycle,
                    "sparsity": group["sparsity"].mean(),
                    "n": score.n,
                    "diverged": int((group["status"] == "diverged").sum()),
                    "test_accuracy": score.mean,
                    "std": score.std,
                    "ci_low": score.low,
                    "ci_high": score.high,
                    "best": bool(np.isclose(means[schedule], means.max(), rtol=0, atol=1e-12)),
                    "validation_accuracy": group["validation_accuracy"].mean(),
                    "best_benchmark": reference,
                    "difference": gap.mean,
                    "difference_low": gap.low,
                    "difference_high": gap.high,
                }
            )
    frame = pd.DataFrame(rows).sort_values(["task", "criterion"], kind="stable", ignore_index=True)
    return frame.assign(scale=preset.scale)


def best_benchmark(preset: Preset, cell: pd.DataFrame) -> str | None:
    """The benchmark schedule with the best mean validation accuracy of a cell; None where none ran."""
    ran = cell[[_role(preset, name) == "benchmark" for name in cell["schedule"]]]
    return str(ran.groupby("schedule")["validation_accuracy"].mean().idxmax()) if len(ran) else None


def s_cyc_schedule(preset: Preset) -> str | None:
    """The schedule that is S-Cyc: the cyclical profile under the S-shape. None where the preset has none."""
    for name, entry in preset.schedules.items():
        schedule = entry.schedule()
        if isinstance(schedule.profile, Cyclical) and isinstance(schedule.policy, SShape):
            return name
    return None


def gains(preset: Preset, cycles: pd.DataFrame, schedule: str) -> pd.DataFrame:
    """Test accuracy of a schedule minus that of the best benchmark, by task, criterion, cycle and seed (`gain`)."""
    rows = []
    for (task, criterion, cycle), cell in cycles.groupby(CELL, sort=False):
        test = cell.pivot(index="seed", columns="schedule", values="test_accuracy")
        reference = best_benchmark(preset, cell)
        if schedule in test and reference:
            named = {"task": task, "criterion": criterion, "cycle": cycle, "sparsity": cell["sparsity"].mean()}
            rows += [named | {"seed": seed, "gain": gain} for seed, gain in (test[schedule] - test[reference]).items()]
    return pd.DataFrame(rows, columns=[*CELL, "sparsity", "seed", "gain"])


def oracle_differences(preset: Preset, cycles: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of the oracle minus that of the schedule it is compared with, by cycle and seed (`difference`)."""
    oracle = study(preset).oracle
    assert oracle is not None
    rows = []
    cells = cycles[(cycles["task"] == oracle.task) & (cycles["criterion"] == oracle.criterion)]
    for cycle, cell in cells.groupby("cycle"):
        test = cell.pivot(index="seed", columns="schedule", values="test_accuracy")
        if oracle.schedule in test:
            sparsity = cell.loc[cell["schedule"] == "oracle", "sparsity"].mean()
            difference = (test["oracle"] - test[oracle.schedule]).dropna()
            rows += [(cycle, sparsity, seed, value) for seed, value in difference.items()]
    return pd.DataFrame(rows, columns=["cycle", "sparsity", "seed", "difference"])


def costs(preset: Preset, cost: pd.DataFrame) -> pd.DataFrame:
    """What a whole chain costs, by schedule; the oracle's is that of all its candidates.

    `seconds` is wall time with evaluations, `flops_sparse` is theoretical (no hardware here skips zeros), the `ratio`
    columns compare with the `cyclical` schedule of the same task and criterion, seed by seed.
    """
    sums = {"steps": "sum", "images": "sum", "flops": "sum", "flops_sparse": "sum", "seconds": "sum"}
    chains = cost.groupby(CHAIN, sort=False).agg(sums | {"peak_memory_mb": "max"}).reset_index()
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
                    "role": _role(preset, str(schedule)),
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
    return pd.DataFrame(rows).assign(scale=preset.scale)


def oracle_grid(preset: Preset, candidates: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every max_lr in every cycle; `near_best` marks the interval of near-best max_lr.

    A max_lr is near-best where its mean validation accuracy is within max(tolerance, one standard error of the best's
    mean) of the best mean (docs/methods.md, Oracle).
    """
    oracle = study(preset).oracle
    assert oracle is not None
    rows = []
    for cycle, at_cycle in candidates.groupby("cycle"):
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
                    # 1e-9: a mean exactly at the tolerance is within it, whichever way its last bit was rounded
                    "near_best": score.mean >= best.mean - max(oracle.tolerance, error) - 1e-9,
                }
            )
    return pd.DataFrame(rows).assign(scale=preset.scale)


def oracle_summary(preset: Preset, grid: pd.DataFrame, cycles: pd.DataFrame) -> pd.DataFrame:
    """The oracle against the schedule it is compared with, cycle by cycle.

    `oracle_max_lr` is the geometric mean of the seeds' choices; `low` and `high` bound the near-best max_lr of the
    grid; `inside`: the max_lr of the grid that is nearest to the schedule's (in log) is near-best; `difference` is the
    oracle's test accuracy minus the schedule's, paired by seed, with its 95 % t interval.
    """
    oracle = study(preset).oracle
    assert oracle is not None
    schedule = preset.schedules[oracle.schedule].schedule()
    cell = cycles[(cycles["task"] == oracle.task) & (cycles["criterion"] == oracle.criterion)]
    differences = oracle_differences(preset, cycles)
    rows = []
    for cycle, at_cycle in grid.groupby("cycle"):
        test = cell[cell["cycle"] == cycle].pivot(index="seed", columns="schedule", values="test_accuracy")
        near = at_cycle.loc[at_cycle["near_best"], "max_lr"]
        chosen = np.repeat(at_cycle["max_lr"], at_cycle["selected"])
        max_lr = schedule.policy.at(int(str(cycle)))
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
    return pd.DataFrame(rows).assign(scale=preset.scale)


def nearest(grid: pd.Series, max_lr: float) -> Any:
    """Index of the grid's value that is nearest to `max_lr` in log: a schedule's max_lr seldom lies on the grid."""
    return (np.log(grid) - math.log(max_lr)).abs().idxmin()


def gradient_spread(preset: Preset, gradients: pd.DataFrame) -> pd.DataFrame:
    """Spread of dL/dw by network, pruning criterion and sparsity, and its ratio to the dense network's.

    `at` is `end` (of the cycle's training) or `matched_loss`: where each cycle of a seed first reaches the lowest loss
    that all its trained cycles reach, found by interpolating log std between measurements; a cycle that did not train
    is left out (`_matched_rows`). Ratios are geometric means over seeds of std (and IQR/1.349) over that of cycle 0,
    with 95 % t intervals on the log; `zero` counts the seeds with a std of 0, which leave the ratio undefined.
    """
    ends = gradients[gradients["share"] == 1.0].assign(at="end")
    both = pd.concat([ends, at_matched_loss(gradients)], ignore_index=True)
    keys = ["task", "criterion", "schedule", "at", "weights", "cycle"]
    chain = [*keys[:-1], "seed"]
    dense = both.loc[both["cycle"] == 0, [*chain, "std", "iqr_over_1349"]]
    both = both.merge(dense, on=chain, how="left", suffixes=("", "_dense"))
    rows = []
    for key, group in both.groupby(keys, sort=False):
        spread = summarise(group["std"].tolist())
        row = dict(zip(keys, key, strict=True)) | {
            "activation": preset.tasks[str(key[0])].network.activation,
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
    return pd.DataFrame(rows).assign(scale=preset.scale)


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


def trained_cycles(gradients: pd.DataFrame) -> pd.DataFrame:
    """The measurements of the cycles whose loss on the batch fell to TRAINED of its first value, or below."""
    ordered = gradients.sort_values("share", kind="stable")
    losses = ordered.groupby([*CHAIN, "weights", "cycle"], sort=False)["loss"]
    return ordered[losses.transform("min") <= TRAINED * losses.transform("first")].sort_index()


def at_matched_loss(gradients: pd.DataFrame) -> pd.DataFrame:
    """Each chain's rows at the loss that all its cycles reach, for whole-network weights."""
    whole = gradients[gradients["weights"].isin(["surviving", "all", "all_zeroed"])]
    return pd.DataFrame(
        row for _, chain in whole.groupby([*CHAIN, "weights"], sort=False) for row in _matched_rows(chain)
    )


def _matched_rows(chain: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Nothing for a cycle that never trained, its loss staying above TRAINED of its first one: it would set the target
    to the loss of guessing, at which no network has learnt anything."""
    trained = [cycle.sort_values("share") for _, cycle in trained_cycles(chain).groupby("cycle")]
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


def gradient_histograms(preset: Preset, histograms: pd.DataFrame) -> pd.DataFrame:
    """Histograms of dL/dw over surviving weights at the end of each cycle: share of weights per bin, seeds pooled."""
    keys = ["task", "criterion", "schedule", "cycle", "left", "right"]
    ends = histograms[histograms["share"] == 1.0]
    sums = {"sparsity": ("sparsity", "mean"), "n": ("seed", "nunique"), "count": ("count", "sum")}
    pooled = ends.groupby(keys, sort=False).agg(**sums).reset_index()
    total = pooled.groupby(keys[:4])["count"].transform("sum")
    return pooled.assign(weights_share=pooled["count"] / total, scale=preset.scale)


def lr_schedules(preset: Preset, points: int = 120) -> pd.DataFrame:
    """LR of every schedule over the pruning cycles, `points` values per cycle: from the configuration alone."""
    rows = [
        {"schedule": name, "role": entry.role, "cycle": cycle, "share": step / points, "lr": lr, "max_lr": max_lr}
        for name, entry in preset.schedules.items()
        for cycle in range(study(preset).pruning.cycles + 1)
        for max_lr in [entry.schedule().policy.at(cycle)]
        for step in range(points)
        for lr in [entry.schedule().lr(cycle, step, points)]
    ]
    return pd.DataFrame(rows).assign(scale=preset.scale)
