"""The cascade study's tables, computed from what its runs wrote and from nothing else (docs/methods.md).

Everything is paired by seed: a difference or an excess is the mean over seeds of the differences within a seed, with
its 95 % t interval. A diverged run counts as chance in accuracies; it has no shed share, histogram or overlap, so its
seed is missing from these.
"""

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from prunebench.papers.cascade.data import SETTING, THRESHOLDS, Data, from_part
from prunebench.papers.cascade.plan import GMP
from prunebench.stats import Summary, summarise
from prunebench.suite.study import RUN
from prunebench.suite.summaries import Row, accuracy, cells, curve, difference, mark_best, mean, means, ratio

Rows = Iterator[Row]


# --- Shedding


def _shed_shares(cell: pd.DataFrame, threshold: str) -> tuple[pd.Series, pd.Series]:
    """Shed shares of the pruned runs and of their controls, over the seeds that have both."""
    both = cell[[threshold, f"{threshold}_control"]].dropna()
    return both[threshold], both[f"{threshold}_control"]


def _excess(pruned: pd.Series, control: pd.Series) -> Row:
    """Means of the shed shares, and the excess with its interval."""
    shares = {name: mean(name, of)[name] for name, of in (("pruned", pruned), ("control", control))}
    return shares | mean("excess", pruned - control)


@from_part("shedding")
def shedding(data: Data) -> Rows:
    """Shed shares of survivors when the fine-tuning ends: pruned runs, their controls over the same weights, excess."""
    thresholds = [name for name in THRESHOLDS if name != "removable" or data.config.shedding.removable_images]
    for axes, cell in cells(data.pruned_ends("shedding"), "task", *SETTING):
        axes |= {"epoch": cell["last_epoch"].iloc[0], "clock": cell["clock"].mean()}
        for threshold in thresholds:
            pruned, control = _shed_shares(cell, threshold)
            yield axes | {"threshold": threshold, "n": len(pruned)} | _excess(pruned, control)


@from_part("shedding")
def shedding_curves(data: Data) -> Rows:
    """Shed shares of survivors at every time at which a threshold is measured; runs that diverged are left out."""
    for axes, cell in cells(data.shed_shares("shedding"), "task", *SETTING, "epoch"):
        axes["clock"] = cell["clock"].mean()
        for threshold in THRESHOLDS:
            pruned, control = _shed_shares(cell, threshold)
            row = axes | {"threshold": threshold, "n": len(pruned)} | mean("pruned", pruned) | mean("control", control)
            if len(pruned):
                yield row | mean("excess", pruned - control)


@from_part("shedding")
def magnitudes(data: Data) -> Rows:
    """Histograms of survivors' |w| when fine-tuning starts and ends: share of weights per bin, seeds pooled.

    A control stands once beside each arm that it follows, with that arm's axes, in the seeds in which that arm did
    not diverge. `clock` is the setting's at the end of the fine-tuning.
    """
    ends = data.ends("shedding")
    clocks = ends.groupby(["task", *SETTING])["clock"].mean()
    followed = ends.loc[ends["status"] == "trained", [*RUN, *SETTING]].rename(columns={"arm": "followed"})
    rows = data.trained("shedding", "histograms").drop(columns=SETTING).merge(followed, on=["task", "seed", "followed"])
    rows["run"] = np.where(rows["arm"] == rows["followed"], "pruned", "control")
    rows["moment"] = np.where(rows["epoch"] == 0, "start", "end")
    for axes, histogram in cells(rows, "task", *SETTING, "run", "moment"):
        axes["clock"] = clocks[tuple(axes[name] for name in ("task", *SETTING))]
        sums = {"n": ("seed", "nunique"), "count": ("count", "sum")}
        bins = histogram.groupby(["left", "right"], sort=False).agg(**sums).reset_index()
        bins["weights_share"] = bins.pop("count") / histogram["count"].sum()
        yield from (axes | each for each in bins.to_dict("records"))


def _shed(cell: pd.DataFrame) -> Row:
    """Clock and relative shed share at the arms' end."""
    row = _excess(*_shed_shares(cell, "relative"))
    return {"clock": cell["clock"].mean(), "shed": row.pop("pruned"), **row}


# --- Accuracy


def _control_difference(data: Data, prelude: str, cell: pd.DataFrame, group: pd.DataFrame) -> Row:
    """Test accuracy minus that of the group's runs with the prelude's control; empty and NaN where it has none."""
    control = data.controls().get(prelude, "")
    reference = group[group["prelude"] == control]
    return {"prelude_control": control} | difference(cell, reference, name="control_difference")


@from_part("criteria")
def criteria(data: Data) -> Rows:
    """Test accuracy by criterion, prelude and sparsity.

    `difference` is to global magnitude without a prelude, `control_difference` to the same criterion with the
    prelude's control.
    """
    for at, group in cells(data.ends("criteria"), "task", "sparsity"):
        reference = group[(group["criterion"] == GMP) & (group["prelude"] == "none")]
        rows = []
        for scheme, cell in cells(group, "criterion", "prelude"):
            same = group[group["criterion"] == scheme["criterion"]]
            differences = difference(cell, reference) | _control_difference(data, scheme["prelude"], cell, same)
            rows.append(at | scheme | accuracy(cell) | differences)
        yield from mark_best(rows)


@from_part("retraining")
def retraining(data: Data) -> Rows:
    """Test accuracy and shedding by retraining; differences, also that of the excess, are to fine-tuning."""
    for at, group in cells(data.pruned_ends("retraining"), "task", "criterion", "sparsity"):
        tuned = group[group["retraining"] == "fine_tune"]
        for way, cell in cells(group, "retraining"):
            differences = difference(cell, tuned) | difference(cell, tuned, "excess", "excess_difference")
            yield at | way | accuracy(cell) | _shed(cell) | differences


@from_part("schedules")
def schedules(data: Data) -> Rows:
    """Test accuracy and shedding by pruning schedule and LR schedule."""
    keys = ("task", "criterion", "sparsity", "pruning", "lr_schedule")
    rows = [axes | accuracy(cell) | _shed(cell) for axes, cell in cells(data.pruned_ends("schedules"), *keys)]
    yield from mark_best(rows, "task")


# --- Gradual magnitude pruning


@from_part("gmp")
def gmp(data: Data) -> Rows:
    """Gradual magnitude pruning by prelude and sparsity: accuracy, and the cost of reaching plain gradual pruning.

    `harvested` is the share of all weights that the harvest of shed weights prunes. `reached` counts the seeds that
    reach plain gradual pruning (`Data.reaching`), `steps` is their mean number of updates until then, those of the
    prelude included. `steps_ratio` and `flops_ratio` are geometric means over these seeds of what it took over what
    plain gradual pruning itself took by the same rule; the latter counts `flops_sparse`, which is theoretical (no
    hardware here skips zeros).
    """
    ends = data.ends("gmp").merge(_harvested(data), on=RUN, how="left").merge(data.reaching(), on=RUN, how="left")
    for at, group in cells(ends, "task", "sparsity"):
        plain = group[group["prelude"] == "none"]
        for prelude, cell in cells(group, "prelude"):
            differences = difference(cell, plain) | _control_difference(data, prelude["prelude"], cell, group)
            reached = {"reached": int(cell["steps"].notna().sum()), "steps": cell["steps"].mean()}
            ratios = ratio(cell, plain, "steps", "steps_ratio") | ratio(cell, plain, "flops_sparse", "flops_ratio")
            harvested = {"harvested": cell["harvested"].mean()}
            yield at | prelude | accuracy(cell) | differences | harvested | reached | ratios


def _harvested(data: Data) -> pd.DataFrame:
    """Share of all weights pruned between the prelude and the phase after it, of every run whose prelude trained."""
    phases = data.part_rows("gmp", "phases")
    before = phases.loc[(phases["phase"] == 0) & (phases["status"] == "trained"), [*RUN, "sparsity_now"]]
    after = phases.loc[phases["phase"] == 1, [*RUN, "sparsity_start"]]
    both = before.merge(after, on=RUN)
    return both.assign(harvested=both["sparsity_start"] - both["sparsity_now"])[[*RUN, "harvested"]]


@from_part("gmp")
def progress(data: Data) -> Rows:
    """Validation accuracy and sparsity by epoch of gradual pruning, the prelude's epochs first; no diverged runs."""
    epochs = data.trained("gmp", "epochs")
    epochs["epoch"] = epochs.groupby(RUN).cumcount() + 1  # a run's count begins again in each phase
    for axes, cell in cells(epochs, "task", "prelude", "sparsity", "epoch"):
        row = {"n": len(cell)} | curve(cell, "validation_accuracy")
        yield axes | row | {name: cell[name].mean() for name in ("steps", "sparsity_now")}


# --- Overlaps


@from_part("criteria")
def overlap(data: Data) -> Rows:
    """Jaccard overlap of kept weights beyond chance: between schemes within a seed, and between a scheme's seeds."""
    labels = {run.arm: _label(run.criterion, run.prelude) for run in data.ends("criteria").itertuples()}
    for axes, group in cells(data.overlaps(), "task", "sparsity", "arm_a", "arm_b"):
        a, b = (labels[axes.pop(f"arm_{x}")] for x in "ab")
        cell = group[group["sound"]]
        beyond = {(pair.seed_a, pair.seed_b): pair.beyond for pair in cell.itertuples()}
        score = over_pairs(beyond) if a == b else summarise(list(beyond.values()))
        means = {name: summarise(cell[name].tolist()).mean for name in ("jaccard", "chance")}
        excess = {"excess": score.mean, "excess_low": score.low, "excess_high": score.high}
        compared = {"comparison": "seeds" if a == b else "schemes", "a": a, "b": b, "n": score.n}
        yield axes | compared | means | excess


def _label(criterion: str, prelude: str) -> str:
    return criterion if prelude == "none" else f"{criterion} + {prelude}"


def over_pairs(values: Mapping[tuple[int, int], float]) -> Summary:
    """Mean over all pairs of n seeds, with a 95 % t interval by the jackknife over seeds (Tukey 1958).

    Pairs share seeds, so they are not independent: an interval over pairs would be too narrow. Below 3 seeds there is
    no interval.
    """
    seeds = sorted(set(itertools.chain(*values)))
    n, whole = len(seeds), summarise(list(values.values())).mean
    if n < 3:
        return Summary(n, whole, *[math.nan] * 3)
    without = [summarise([value for pair, value in values.items() if seed not in pair]).mean for seed in seeds]
    return summarise([n * whole - (n - 1) * mean for mean in without])


# --- N:M and blocks


@from_part("semi_structured")
def semi_structured(data: Data) -> Rows:
    """Test accuracy by pattern and prelude; differences are to the same pattern without a prelude and with its control.

    `sparsity` is that of the final networks that did not diverge. `fitting` is the share of groups that fit the
    pattern before it is imposed: at most n of m weights alive, or none of a block's.
    """
    groups, most = (
        _groups(data),
        {pattern.label: getattr(pattern, "n", 0) for pattern in data.config.semi_structured.patterns},
    )
    fit = groups.assign(fitting=groups["share"].where(groups["alive"] <= groups["pattern"].map(most), 0.0))
    fitting = fit.groupby(RUN)["fitting"].sum().reset_index()
    for at, group in cells(data.ends("semi_structured").merge(fitting, on=RUN, how="left"), "task", "pattern"):
        plain = group[group["prelude"] == "none"]
        for prelude, cell in cells(group, "prelude"):
            sparsity = {"sparsity": cell.loc[cell["status"] == "trained", "sparsity_now"].mean()}
            differences = difference(cell, plain) | _control_difference(data, prelude["prelude"], cell, group)
            yield at | prelude | sparsity | accuracy(cell) | differences | means(cell, "fitting")


@from_part("semi_structured")
def occupancy(data: Data) -> Rows:
    """Share of groups of m weights by how many of these are alive, before a pattern is imposed.

    `chance` is the binomial share at the density of each seed, as if the same weights were alive anywhere. What comes
    before is the same for every pattern of a prelude: the first one with groups of m serves.
    """
    groups, first = (
        _groups(data),
        {pattern.size: pattern.label for pattern in reversed(data.config.semi_structured.patterns)},
    )
    groups = groups[groups["pattern"] == groups["m"].map(first)].sort_values("m", kind="stable")
    alive = (groups["alive"] * groups["blocks"]).groupby([groups[name] for name in RUN]).transform("sum")
    density = alive / (groups["m"] * groups["total"])
    groups = groups.assign(chance=stats.binom.pmf(groups["alive"], groups["m"], density))
    for axes, cell in cells(groups, "m", "task", "prelude", "alive"):
        yield axes | {"n": len(cell), "chance": cell["chance"].mean()} | means(cell, "share")


def _groups(data: Data) -> pd.DataFrame:
    """Share of the groups of each run's pattern by how many of their weights are alive before it is imposed."""
    rows = data.part_rows("semi_structured", "occupancy")
    sizes = {pattern.label: pattern.size for pattern in data.config.semi_structured.patterns}
    before = (rows["moment"] == "before") & (rows["phase"] == rows["last_phase"])
    rows = rows[before & (rows["m"] == rows["pattern"].map(sizes))]
    rows = rows.astype({"m": int, "alive": int, "blocks": float})  # a table without rows knows no types
    rows["total"] = rows.groupby(RUN)["blocks"].transform("sum")
    return rows.assign(share=rows["blocks"] / rows["total"])
