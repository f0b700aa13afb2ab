"""The cascade study's tables, computed from what its runs wrote and from nothing else (docs/methods.md).

Everything is paired by seed: a difference or an excess is the mean over seeds of the differences within a seed, with
its 95 % t interval. A diverged run counts as chance in accuracies; it has no shed share, histogram or overlap, so its
seed is missing from these.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from prunebench.papers.cascade.data import SETTING, THRESHOLDS, Data
from prunebench.papers.cascade.plan import GMP, pattern_size
from prunebench.runs.spec import Pattern
from prunebench.stats import Summary, summarise
from prunebench.suite.study import RUN
from prunebench.suite.summaries import Row, accuracy, difference, mark_best, mean, ratio

_EXCESS = ("excess", "excess_low", "excess_high")


# --- Summaries over seeds


def _control_difference(data: Data, prelude: str, cell: pd.DataFrame, group: pd.DataFrame) -> Row:
    """Test accuracy minus that of the group's runs with the prelude's control; empty and NaN where it has none."""
    entry = data.config.preludes.get(prelude)  # not there: the arm without a prelude
    control = (entry.control if entry else None) or ""
    reference = group[group["prelude"] == control]
    return {"prelude_control": control} | difference(cell, reference, name="control_difference")


def _excess(cell: pd.DataFrame, threshold: str) -> Row:
    """Shed share of the pruned runs, of their controls, and the excess, over the seeds that have both."""
    both = cell[[threshold, f"{threshold}_control"]].dropna()
    pruned, control = both[threshold], both[f"{threshold}_control"]
    row = {"threshold": threshold, "n": len(both), **mean("pruned", pruned), **mean("control", control)}
    return row | mean("excess", pruned - control)


def _shed(cell: pd.DataFrame) -> Row:
    """Clock and relative shed share at the arms' end."""
    row = _excess(cell, "relative")
    return {"clock": cell["clock"].mean(), "shed": row["pruned"], **{name: row[name] for name in ("control", *_EXCESS)}}


# --- Tables


def shedding(data: Data) -> list[Row]:
    """Shed shares of survivors when the fine-tuning ends: pruned runs, their controls over the same weights, excess."""
    part = data.config.shedding
    if part is None:
        return []
    thresholds = [name for name in THRESHOLDS if name != "removable" or part.removable_images]
    rows = []
    for key, cell in data.pruned_ends("shedding").groupby(["task", *SETTING], sort=False):
        axes = dict(zip(("task", *SETTING), key, strict=True))
        axes |= {"epoch": cell["last_epoch"].iloc[0], "clock": cell["clock"].mean()}
        rows += [axes | _ends(_excess(cell, threshold)) for threshold in thresholds]
    return rows


def _ends(row: Row) -> Row:
    """Without the intervals of the two shares, which only curves show."""
    return {k: v for k, v in row.items() if k not in ("pruned_low", "pruned_high", "control_low", "control_high")}


def shedding_curves(data: Data) -> list[Row]:
    """Shed shares of survivors at every time at which a threshold is measured; runs that diverged are left out."""
    if data.config.shedding is None:
        return []
    shares = data.shed_shares("shedding")
    return [
        dict(zip(("task", *SETTING, "epoch"), key, strict=True)) | {"clock": cell["clock"].mean()} | row
        for key, cell in shares.groupby(["task", *SETTING, "epoch"], sort=False)
        for row in (_excess(cell, threshold) for threshold in THRESHOLDS)
        if row["n"]
    ]


def magnitudes(data: Data) -> list[Row]:
    """Histograms of survivors' |w| when fine-tuning starts and ends: share of weights per bin, seeds pooled.

    A control stands once beside each arm that it follows, with that arm's axes, in the seeds in which that arm did
    not diverge. `clock` is the setting's at the end of the fine-tuning.
    """
    if data.config.shedding is None:
        return []
    ends = data.ends("shedding")
    rows = data.trained("shedding", "histograms").drop(columns=SETTING)
    followed = ends.loc[ends["status"] == "trained", [*RUN, *SETTING]].rename(columns={"arm": "followed"})
    rows = rows.merge(followed, on=["task", "seed", "followed"])
    rows["run"] = np.where(rows["arm"] == rows["followed"], "pruned", "control")
    rows["moment"] = np.where(rows["epoch"] == 0, "start", "end")
    histogram = ["task", *SETTING, "run", "moment"]
    sums = {"n": ("seed", "nunique"), "count": ("count", "sum")}
    pooled = rows.groupby([*histogram, "left", "right"], sort=False).agg(**sums).reset_index()
    pooled["weights_share"] = pooled["count"] / pooled.groupby(histogram)["count"].transform("sum")
    pooled = pooled.merge(ends.groupby(["task", *SETTING])["clock"].mean().reset_index(), on=["task", *SETTING])
    shown = ["task", *SETTING, "clock", "run", "moment", "n", "left", "right", "weights_share"]
    rows_of: list[Row] = pooled[shown].to_dict("records")
    return rows_of


def criteria(data: Data) -> list[Row]:
    """Test accuracy by criterion, prelude and sparsity.

    `difference` is to global magnitude without a prelude, `control_difference` to the same criterion with the
    prelude's control.
    """
    rows: list[Row] = []
    if data.config.criteria is None:
        return rows
    for (task, sparsity), group in data.ends("criteria").groupby(["task", "sparsity"], sort=False):
        reference = group[(group["criterion"] == GMP) & (group["prelude"] == "none")]
        for (criterion, prelude), cell in group.groupby(["criterion", "prelude"], sort=False):
            axes = {"task": task, "criterion": criterion, "prelude": prelude, "sparsity": sparsity}
            shift = _control_difference(data, prelude, cell, group[group["criterion"] == criterion])
            rows.append(axes | accuracy(cell) | difference(cell, reference) | shift)
    return mark_best(rows, "task", "sparsity")


def retraining(data: Data) -> list[Row]:
    """Test accuracy and shedding by retraining; differences, also that of the excess, are to fine-tuning."""
    rows: list[Row] = []
    if data.config.retraining is None:
        return rows
    keys = ["task", "criterion", "sparsity"]
    for key, group in data.pruned_ends("retraining").groupby(keys, sort=False):
        fine_tuned = group[group["retraining"] == "fine_tune"]
        for name, cell in group.groupby("retraining", sort=False):
            axes = dict(zip(keys, key, strict=True)) | {"retraining": name}
            further = difference(cell, fine_tuned, "excess", "excess_difference")
            rows.append(axes | accuracy(cell) | difference(cell, fine_tuned) | _shed(cell) | further)
    return rows


def schedules(data: Data) -> list[Row]:
    """Test accuracy and shedding by pruning schedule and LR schedule."""
    keys = ["task", "criterion", "sparsity", "pruning", "lr_schedule"]
    if data.config.schedules is None:
        return []
    cells = data.pruned_ends("schedules").groupby(keys, sort=False)
    rows = [dict(zip(keys, key, strict=True)) | accuracy(cell) | _shed(cell) for key, cell in cells]
    return mark_best(rows, "task")


def gmp(data: Data) -> list[Row]:
    """Gradual magnitude pruning by prelude and sparsity: accuracy, and the cost of reaching plain gradual pruning.

    `harvested` is the share of all weights that the harvest of shed weights prunes. `reached` counts the seeds that
    reach plain gradual pruning (`reaching`), `steps` is their mean number of updates until then, those of the
    prelude included. `steps_ratio` and `flops_ratio` are geometric means over these seeds of what it took over what
    plain gradual pruning itself took by the same rule; the latter counts `flops_sparse`, which is theoretical (no
    hardware here skips zeros).
    """
    rows: list[Row] = []
    if data.config.gmp is None:
        return rows
    ends = data.ends("gmp").merge(_harvested(data), on=RUN, how="left")
    ends = ends.merge(data.reaching, on=RUN, how="left")
    for (task, sparsity), group in ends.groupby(["task", "sparsity"], sort=False):
        plain = group[group["prelude"] == "none"]
        for prelude, cell in group.groupby("prelude", sort=False):
            rows.append(
                {"task": task, "prelude": prelude, "sparsity": sparsity}
                | accuracy(cell)
                | difference(cell, plain)
                | _control_difference(data, prelude, cell, group)
                | {"harvested": cell["harvested"].mean()}
                | {"reached": int(cell["steps"].notna().sum()), "steps": cell["steps"].mean()}
                | ratio(cell, plain, "steps", "steps_ratio")
                | ratio(cell, plain, "flops_sparse", "flops_ratio")
            )
    return rows


def _harvested(data: Data) -> pd.DataFrame:
    """Share of all weights pruned between the prelude and the phase after it, of every run whose prelude trained."""
    phases = data.rows("gmp", "phases")
    before = phases.loc[(phases["phase"] == 0) & (phases["status"] == "trained"), [*RUN, "sparsity_now"]]
    after = phases.loc[phases["phase"] == 1, [*RUN, "sparsity_start"]]
    both = before.merge(after, on=RUN)
    return both.assign(harvested=both["sparsity_start"] - both["sparsity_now"])[[*RUN, "harvested"]]


def progress(data: Data) -> list[Row]:
    """Validation accuracy and sparsity by epoch of gradual pruning, the prelude's epochs first; no diverged runs."""
    if data.config.gmp is None:
        return []
    epochs = data.trained("gmp", "epochs")
    epochs["epoch"] = epochs.groupby(RUN).cumcount() + 1  # a run's own count begins again in each phase
    keys = ["task", "prelude", "sparsity", "epoch"]
    rows = []
    for key, cell in epochs.groupby(keys, sort=False):
        score = summarise(cell["validation_accuracy"].tolist())
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"steps": cell["steps"].mean(), "n": score.n, "sparsity_now": cell["sparsity_now"].mean()}
            | {"validation_accuracy": score.mean, "low": score.low, "high": score.high}
        )
    return rows


def overlap(data: Data) -> list[Row]:
    """Jaccard overlap of kept weights beyond chance: between schemes within a seed, and between a scheme's seeds."""
    part = data.config.criteria
    if part is None:
        return []
    ends = data.ends("criteria")
    labels = {run.arm: _label(run.criterion, run.prelude) for run in ends.itertuples()}
    rows = []
    for task in part.tasks:
        for (sparsity, a, b), group in data.overlaps(task).groupby(["sparsity", "arm_a", "arm_b"], sort=False):
            cell = group[group["sound"]]
            beyond = {(pair.seed_a, pair.seed_b): pair.beyond for pair in cell.itertuples()}
            score = over_pairs(beyond) if a == b else summarise(list(beyond.values()))
            rows.append(
                {"task": task, "sparsity": sparsity, "comparison": "seeds" if a == b else "schemes"}
                | {"a": labels[a], "b": labels[b], "n": score.n}
                | {name: summarise(cell[name].tolist()).mean for name in ("jaccard", "chance")}
                | {"excess": score.mean, "excess_low": score.low, "excess_high": score.high}
            )
    return rows


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


def semi_structured(data: Data) -> list[Row]:
    """Test accuracy by pattern and prelude; differences are to the same pattern without a prelude and with its control.

    `sparsity` is that of the final networks that did not diverge. `fitting` is the share of groups that fit the
    pattern before it is imposed: at most n of m weights alive, or none of a block's.
    """
    rows: list[Row] = []
    if data.config.semi_structured is None:
        return rows
    ends = data.ends("semi_structured").merge(_fitting(_groups(data), _patterns(data)), on=RUN, how="left")
    for (task, pattern), group in ends.groupby(["task", "pattern"], sort=False):
        plain = group[group["prelude"] == "none"]
        for prelude, cell in group.groupby("prelude", sort=False):
            sparsity = cell.loc[cell["status"] == "trained", "sparsity_now"].mean()
            axes = {"task": task, "pattern": pattern, "prelude": prelude, "sparsity": sparsity}
            shift = difference(cell, plain) | _control_difference(data, prelude, cell, group)
            rows.append(axes | accuracy(cell) | shift | mean("fitting", cell["fitting"]))
    return rows


def occupancy(data: Data) -> list[Row]:
    """Share of groups of m weights with so many alive, before a pattern is imposed.

    `chance` is the binomial share at the density of each seed, as if the same weights were alive anywhere. What comes
    before is the same for every pattern of a prelude: the first one with groups of m serves.
    """
    rows: list[Row] = []
    if data.config.semi_structured is None:
        return rows
    groups = _groups(data)
    first: dict[int, str] = {}
    for label, pattern in _patterns(data).items():
        first.setdefault(pattern_size(pattern), label)
    for m, label in sorted(first.items()):
        at = groups[(groups["m"] == m) & (groups["pattern"] == label)]
        at = at.astype({"alive": int, "blocks": float, "total": float})  # a table without rows knows no types
        density = (at["alive"] * at["blocks"]).groupby([at[name] for name in RUN]).transform("sum") / (m * at["total"])
        at = at.assign(share=at["blocks"] / at["total"], chance=stats.binom.pmf(at["alive"], m, density))
        for (task, prelude, alive), cell in at.groupby(["task", "prelude", "alive"], sort=False):
            axes = {"task": task, "prelude": prelude, "m": m, "alive": alive, "n": len(cell)}
            rows.append(axes | mean("share", cell["share"]) | {"chance": cell["chance"].mean()})
    return rows


def _patterns(data: Data) -> dict[str, Pattern]:
    part = data.config.semi_structured
    assert part is not None
    return {pattern.label: pattern for pattern in part.patterns}


def _groups(data: Data) -> pd.DataFrame:
    """How many groups of m have how many weights alive before the pattern is imposed; `total`: of all groups of m."""
    rows = data.rows("semi_structured", "occupancy")
    rows = rows[(rows["moment"] == "before") & (rows["phase"] == rows["last_phase"])]
    return rows.assign(total=rows.groupby([*RUN, "m"])["blocks"].transform("sum"))


def _fitting(groups: pd.DataFrame, patterns: Mapping[str, Pattern]) -> pd.DataFrame:
    """Share of its own pattern's groups that fit it, of every run."""
    own = groups[groups["m"] == groups["pattern"].map(lambda label: pattern_size(patterns[label]))]
    most = own["pattern"].map(lambda label: getattr(patterns[label], "n", 0))
    fit = own.assign(fitting=(own["blocks"] / own["total"]).where(own["alive"] <= most, 0.0))
    return fit.groupby(RUN)["fitting"].sum().reset_index()
