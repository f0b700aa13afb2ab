"""What claims A1 to A8 observe in the study's runs, seed by seed."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd

from prunebench.papers.s_cyc.config import FIFTH_RUN
from prunebench.papers.s_cyc.data import CHAIN, Data
from prunebench.papers.s_cyc.measures import (
    activation,
    at_matched_loss,
    defects,
    differences,
    nearest,
    s_cyc_schedule,
    trained_cycles,
)
from prunebench.papers.s_cyc.plan import ORACLE
from prunebench.schedules import Fixed
from prunebench.stats import slope
from prunebench.suite.cells import Cell, cell
from prunebench.suite.claim import ROUNDING, Observed, observed
from prunebench.suite.notes import TIMING_BLOCKS
from prunebench.suite.preset import Preset

# --- A1, A1b: gradients


def _variants(data: Data) -> dict[str, pd.DataFrame]:
    """The measurements that slopes are fitted to, by quantity.

    A network that has stopped learning has gradients of another kind, so cycles that did not train are left out.
    """
    if not len(data.gradients):
        return {}
    trained, matched = trained_cycles(data, data.gradients), at_matched_loss(data)
    ends = trained[trained["share"] == 1.0]
    return {
        "slope": ends[ends["weights"] == "surviving"],
        "zeros_slope": ends[ends["weights"] == "all_zeroed"],
        "matched_slope": matched[matched["weights"] == "surviving"] if len(matched) else ends[:0],
    }


def _logs(chain: pd.DataFrame) -> np.ndarray:
    return np.log(chain["std"].where(chain["std"] > 0).to_numpy(dtype=np.float64))


def _slope(chain: pd.DataFrame) -> float:
    return float(slope(chain["cycle"].to_numpy(dtype=np.float64), _logs(chain)).slope)


def _network(data: Data, task: str, criterion: str, schedule: str) -> Cell:
    several = data.gradients["schedule"].nunique() > 1
    return cell(task=task, criterion=criterion, **({"schedule": schedule} if several else {}))


def narrowing(data: Data, method: str | None) -> Iterator[Observed]:
    """A1: slopes of log spread over the cycles that train, and the last one's spread over the first one's."""
    for name, frame in _variants(data).items():
        for (task, criterion, schedule, seed), chain in frame.groupby(CHAIN, sort=False):
            control = criterion == "random"
            if activation(data.preset, task) != "relu" or (control and name != "slope"):
                continue
            where, prefix = _network(data, task, criterion, schedule), "random_" if control else ""
            yield Observed(prefix + name, where, seed, _slope(chain))
            if name == "slope":
                logs = _logs(chain)
                change = float(logs[-1] - logs[0]) if chain["cycle"].iloc[0] == 0 else math.nan
                yield Observed(f"{prefix}ratio", where, seed, change)


def other_activations(data: Data, method: str | None) -> Iterator[Observed]:
    """A1b: ReLU's slope minus that of the same network with another activation."""
    ends = _variants(data).get("slope", pd.DataFrame(columns=CHAIN))
    slopes = {key: _slope(chain) for key, chain in ends.groupby(CHAIN, sort=False)}
    for (task, criterion, schedule, seed), other in slopes.items():
        relu = slopes.get((_relu_twin(data.preset, task), criterion, schedule, seed))
        if relu is not None and criterion != "random":
            where = _network(data, task, criterion, schedule)
            yield Observed("difference", where, seed, relu - other)
            yield Observed("relu_slope", where, seed, relu)


def _relu_twin(preset: Preset, task: str) -> str | None:
    """The ReLU network that differs from a task in the activation alone; None for a ReLU network."""

    def without_activation(name: str) -> object:
        content = preset.tasks[name].content()
        return content | {"network": {k: v for k, v in content["network"].items() if k != "activation"}}

    if activation(preset, task) == "relu":
        return None
    same = (name for name in preset.tasks if without_activation(name) == without_activation(task))
    return next((name for name in same if activation(preset, name) == "relu"), None)


# --- A2, A6: the oracle


def best_max_lr(data: Data, method: str | None) -> Iterator[Observed]:
    """A2: how the selected max_lr moves with sparsity, and what the grid can tell apart (natural logarithms)."""
    candidates = data.candidates
    grid = np.log(np.sort(candidates["max_lr"].unique())) if len(candidates) else np.empty(0)
    step = float(np.diff(grid).max()) if len(grid) > 1 else math.nan
    selected = candidates[candidates["selected"] == 1]
    for (task, criterion, seed), chain in selected.groupby(["task", "criterion", "seed"], sort=False):
        ordered = chain.sort_values("cycle")
        chosen, sparser = np.log(ordered["max_lr"].to_numpy()), -np.log(ordered["density"].to_numpy())
        # Rounding to the grid is taken as uniform and independent between cycles: two standard deviations of a slope.
        rounding = 2 * step / math.sqrt(12 * float(((sparser - sparser.mean()) ** 2).sum()))
        values = {"slope": float(slope(sparser, chosen).slope), "ratio": float(chosen[-1] - chosen[0])}
        for name, number in (values | {"step": step, "slope_step": rounding}).items():
            yield Observed(name, cell(task=task, criterion=criterion), seed, number)


def against_oracle(data: Data, method: str | None) -> Iterator[Observed]:
    """A6: the oracle minus the schedule, and how often the schedule's max_lr is near the grid's best."""
    oracle = data.config.oracle
    if oracle is None:
        return
    gaps = differences(data, ORACLE, oracle.schedule)
    yield from observed("difference", gaps, gaps["difference"], "sparsity")
    policy = data.preset.schedule(oracle.task, oracle.schedule).policy
    for seed, chain in data.candidates.groupby("seed"):
        inside = [
            at.loc[nearest(at["max_lr"], policy.at(int(str(cycle)))), "validation_accuracy"]
            >= at["validation_accuracy"].max() - oracle.tolerance - ROUNDING
            for cycle, at in chain.groupby("cycle")
        ]
        where = cell(task=oracle.task, criterion=oracle.criterion)
        yield Observed("inside", where, int(str(seed)), float(np.mean(inside)))


# --- A3, A4, A7: accuracy


def _schedule(data: Data, method: str | None) -> str | None:
    """The schedule that a claim is about."""
    return method or s_cyc_schedule(data.preset)


def _sparse(data: Data, cycles: pd.DataFrame) -> pd.DataFrame:
    """The cycles that the paper's claims of accuracy are about: S-Cyc differs from its benchmarks in no denser one."""
    return cycles[1 - cycles["sparsity"] <= data.study.margins.a3_density + ROUNDING]


def benchmarks(data: Data, task: str, criterion: str) -> list[str]:
    """The benchmark schedules that ran."""
    cycles = data.cycles
    ran = set(cycles.loc[(cycles["task"] == task) & (cycles["criterion"] == criterion), "schedule"])
    return [name for name, entry in data.preset.schedules.items() if entry.role == "benchmark" and name in ran]


def _gains(data: Data, method: str | None) -> pd.DataFrame:
    """The schedule minus the best benchmark in the sparse cycles."""
    return _sparse(data, differences(data, _schedule(data, method)))


def gains_by_cell(data: Data, method: str | None) -> Iterator[Observed]:
    """A3: the schedule minus the best benchmark (by validation), where all four or more ran."""
    for (task, criterion), rows in _gains(data, method).groupby(["task", "criterion"], sort=False):
        if len(benchmarks(data, task, criterion)) >= 4:
            yield from observed("gain", rows, rows["difference"], "task", "criterion", "sparsity")


def gains_by_criterion(data: Data, method: str | None) -> Iterator[Observed]:
    """A4: the same by criterion, mean over cycles and tasks."""
    for criterion, gains in _gains(data, method).groupby("criterion", sort=False):
        where = cell(task=" + ".join(gains["task"].unique()), criterion=str(criterion))
        for seed, rows in gains.groupby("seed", sort=False):
            yield Observed("gain", where, int(str(seed)), float(rows.groupby("task")["difference"].mean().mean()))


def shapes(data: Data, method: str | None) -> Iterator[Observed]:
    """A7: the schedule minus every other course of max_lr over the cycles, mean over the sparse cycles."""
    schedule = _schedule(data, method)
    for control, entry in data.preset.schedules.items():
        if entry.role == "control" and control != schedule:
            rows = _sparse(data, differences(data, schedule, control))
            policy = entry.policy
            course = "constant" if isinstance(policy, Fixed) else type(policy).__name__.lower()
            for (task, criterion, seed), gains in rows.groupby(["task", "criterion", "seed"], sort=False):
                where = cell(task=task, criterion=criterion, course=course, schedule=control)
                yield Observed("gain", where, seed, float(gains["difference"].mean()))


Axis = Literal["task", "criterion", "schedule"]
"""What two chains may differ in."""


def gains_between(data: Data, method: str | None, *, axis: Axis, own: str, reference: str) -> Iterator[Observed]:
    """Claims of users': one value of an axis minus another, between chains that are alike in all else."""
    cycles, alike = _sparse(data, data.cycles), [name for name in (*CHAIN, "cycle") if name != axis]
    ends = (cycles[cycles[axis] == value].set_index(alike) for value in (own, reference))
    both = next(ends).join(next(ends)["test_accuracy"], rsuffix="_reference", how="inner").reset_index()
    gain = both["test_accuracy"] - both["test_accuracy_reference"]
    axes = [name for name in alike if name not in ("seed", "cycle")]
    yield from observed("gain", both.round({"sparsity": 6}), gain, *axes, "sparsity")


# --- A5: cost


def costs(data: Data, method: str | None) -> Iterator[Observed]:
    """A5: wall time and updates of a chain over those of the reference, by timing block (natural logarithms)."""
    part = data.config.timing
    if part is None or not len(data.timing):
        return
    there = cell(task=part.task, criterion=part.criterion)
    for name in ("seconds", "steps"):
        log = np.log(data.timing.pivot(index="block", columns="schedule", values=name))
        for block, ratio in (log[part.schedule] - log[part.reference]).items():
            yield Observed(name, there, int(block), float(ratio))


# --- A8: the released scripts


def of_released(data: Data, method: str | None) -> Iterator[Observed]:
    """A8: what the scripts report minus what a sound protocol gives, and what each defect adds alone."""
    for (defect, task, criterion), rows in defects(data).groupby(["defect", "task", "criterion"], sort=False):
        run = {"first_run": "first", "fifth_run": "fifth"}.get(defect)
        rows = rows.assign(task=task, criterion=criterion, **({"run": run} if run else {}))
        axes = ("task", "criterion", *(["run"] if run else []), "sparsity")
        yield from observed("difference" if run else str(defect), rows, rows["effect"], *axes)


# --- Notes


def compared_with(data: Data, method: str | None) -> list[str]:
    """A4: the benchmarks in each comparison of the schedule."""
    cells = _gains(data, method)[["task", "criterion"]].drop_duplicates().itertuples(index=False)
    return [f"{cell.task} · {cell.criterion} is compared with {', '.join(benchmarks(data, *cell))}." for cell in cells]


def ends_of_the_grid(data: Data, method: str | None) -> list[str]:
    """A2: how many choices lie at an end of the grid."""
    if data.config.oracle is None:
        return []
    chosen, grid = data.candidates.loc[data.candidates["selected"] == 1, "max_lr"], data.candidates["max_lr"]
    ends = int(((chosen == grid.min()) | (chosen == grid.max())).sum())
    return [f"{ends} of {len(chosen)} choices lie at an end of the grid, where the best may lie beyond it."]


def how_it_was_timed(data: Data, method: str | None) -> list[str]:
    """A5: what n counts, and what else the machine did."""
    if not len(data.timing):
        return []
    return [TIMING_BLOCKS, *data.study.load_notes("time_schedules")]


def what_defects_are(data: Data, method: str | None) -> list[str]:
    """A8: what stands behind its numbers."""
    part = data.config.released
    if part is None:
        return []
    lost = int((data.defects["status"] == "diverged").sum())
    return [
        f"The scripts' first run has all training images, their fifth {100 * FIFTH_RUN:.0f} % of them; the second to "
        "fourth are not run.",
        "What the threshold over repeated scores reaches is computed at each prune and changes no network: all chains "
        "prune exactly.",
        *([f"{lost} of {len(data.defects)} cycles diverged; each counts as chance."] if lost else []),
    ]
