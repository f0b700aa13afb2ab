"""The cascade study's tables, made of what its runs wrote and of nothing else (docs/methods.md).

Everything is paired by seed: a difference or an excess is the mean over seeds of the differences within a seed, with
its 95 % t interval. A diverged run counts as chance in accuracies; it has no shed share, histogram or overlap, so its
seed is missing from these.
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from prunebench.config import Cascade, Preset
from prunebench.config.arms import NOfM, Pattern
from prunebench.config.claims import CascadeMargins
from prunebench.errors import InputError
from prunebench.stats import Summary, summarise
from prunebench.studies.runs import read_table
from prunebench.studies.summaries import ACCURACY, DIFFERENCE, Row, accuracy, difference, mark_best, mean, ratio

RUN = ["task", "seed", "arm"]
SETTING = ["criterion", "max_lr", "weight_decay", "pruned_share"]
_SURVIVORS = ("absolute", "relative", "removable", "in_dead")
_STRUCTURES = {"dead_filters": "filters", "dead_channels": "channels"}
THRESHOLDS = (*_SURVIVORS, *_STRUCTURES)
"""What runs measure: shed shares of survivors, and the shares of filters and of input channels that are dead."""

_CONTROL = ("prelude_control", "control_difference", "control_difference_low", "control_difference_high")
_EXCESS = ("excess", "excess_low", "excess_high")
_SHED = ("clock", "shed", "control", *_EXCESS)

COLUMNS = {
    "cascade_shedding": (
        *("task", *SETTING, "epoch", "clock", "threshold", "n", "pruned", "control", *_EXCESS, "cascade"),
    ),
    "cascade_criteria": ("task", "criterion", "prelude", "sparsity", *ACCURACY, "best", *DIFFERENCE, *_CONTROL),
    "cascade_retraining": (
        *("task", "criterion", "sparsity", "retraining", *ACCURACY, *DIFFERENCE, *_SHED),
        *("excess_difference", "excess_difference_low", "excess_difference_high"),
    ),
    "cascade_schedules": ("task", "criterion", "sparsity", "pruning", "lr_schedule", *ACCURACY, "best", *_SHED),
    "cascade_gmp": (
        *("task", "prelude", "sparsity", *ACCURACY, *DIFFERENCE, *_CONTROL, "harvested", "reached", "steps"),
        *("steps_ratio", "steps_ratio_low", "steps_ratio_high"),
        *("flops_ratio", "flops_ratio_low", "flops_ratio_high"),
    ),
    "cascade_overlap": ("task", "sparsity", "comparison", "a", "b", "n", "jaccard", "chance", *_EXCESS),
    "cascade_semi_structured": (
        *("task", "pattern", "prelude", "sparsity", *ACCURACY, *DIFFERENCE, *_CONTROL),
        *("fitting", "fitting_low", "fitting_high"),
    ),
    "cascade_shedding_curves": (
        *("task", *SETTING, "epoch", "clock", "threshold", "n", "pruned", "pruned_low", "pruned_high"),
        *("control", "control_low", "control_high", *_EXCESS),
    ),
    "cascade_magnitudes": ("task", *SETTING, "clock", "run", "moment", "n", "left", "right", "weights_share"),
    "cascade_occupancy": ("task", "prelude", "m", "alive", "n", "share", "share_low", "share_high", "chance"),
    "cascade_progress": (
        *("task", "prelude", "sparsity", "epoch", "steps", "n", "sparsity_now"),
        *("validation_accuracy", "low", "high"),
    ),
}
"""The study's tables and their columns; a last one is `scale`."""


def study(preset: Preset) -> Cascade:
    """The study's configuration; raises InputError where the preset leaves the study out."""
    if preset.cascade is None:
        raise InputError(f"preset '{preset.preset}' does not run the study of cascade weight shedding")
    return preset.cascade


def tables(preset: Preset, runs: Path) -> dict[str, pd.DataFrame]:
    """Every table of the study by name; those of a part that the preset leaves out have no rows."""
    cascade = study(preset)
    made: dict[str, list[Row]] = {}
    if cascade.shedding:
        made["cascade_shedding"] = shedding(preset, runs)
        made["cascade_shedding_curves"] = shedding_curves(preset, runs)
        made["cascade_magnitudes"] = magnitudes(preset, runs)
    if cascade.criteria:
        made["cascade_criteria"] = criteria(preset, runs)
        made["cascade_overlap"] = overlap(preset, runs)
    if cascade.retraining:
        made["cascade_retraining"] = retraining(preset, runs)
    if cascade.schedules:
        made["cascade_schedules"] = schedules(preset, runs)
    if cascade.gmp:
        made["cascade_gmp"] = gmp(preset, runs)
        made["cascade_progress"] = progress(preset, runs)
    if cascade.semi_structured:
        made["cascade_semi_structured"] = semi_structured(preset, runs)
        made["cascade_occupancy"] = occupancy(preset, runs)
    return {
        name: pd.DataFrame(made.get(name, []), columns=list(columns)).assign(scale=preset.scale)
        for name, columns in COLUMNS.items()
    }


# --- Reading


def _read(preset: Preset, runs: Path, part: str, table: str) -> pd.DataFrame:
    """One table of all jobs of a part, stacked: task, seed, arm, the arm's axes and length, then its rows.

    A run's own `sparsity` becomes `sparsity_now`; `sparsity` is the one that the arm is named by.
    """
    frames = []
    for spec in preset.cascade_jobs():
        if spec.part != part:
            continue
        arms = [
            {"task": spec.task, "seed": spec.seed, "arm": arm.name, **arm.axes}
            | {"last_phase": len(arm.phases) - 1, "last_epoch": sum(phase.epochs for phase in arm.phases)}
            for arm in spec.arms
        ]
        rows = read_table(runs / spec.folder / f"{table}.csv").rename(columns={"sparsity": "sparsity_now"})
        frames.append(pd.DataFrame(arms).merge(rows, on="arm"))
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


def run_ends(preset: Preset, runs: Path, part: str) -> pd.DataFrame:
    """The last phase of every run, with its axes; `clock` is NaN where the run diverged before its end."""
    phases = _read(preset, runs, part, "phases")
    ends = phases[phases["phase"] == phases["last_phase"]]
    kept = [name for name in ends if name not in ("phase", "steps", "images", "flops", "flops_sparse")]
    return ends[kept].assign(clock=ends["clock"].where(ends["status"] == "trained"))


def _trained(rows: pd.DataFrame, ends: pd.DataFrame) -> pd.DataFrame:
    """Only the rows of runs that did not diverge: what a run measured while it did is worth nothing."""
    return rows.merge(ends.loc[ends["status"] == "trained", RUN], on=RUN)


def shed_shares(preset: Preset, runs: Path, part: str, ends: pd.DataFrame) -> pd.DataFrame:
    """Shed shares of every pruned arm, and as `<threshold>_control` of its control, wherever both are measured."""
    rows = _trained(_read(preset, runs, part, "shedding"), ends)
    # 0 of 0, where no layer has input channels, is NaN
    rows = rows.assign(**{dead: rows[dead] / rows[whole] for dead, whole in _STRUCTURES.items()})
    at, own = ["task", "seed", "followed", "epoch"], rows["arm"] == rows["followed"]
    control = rows.loc[~own, [*at, *THRESHOLDS]]
    return rows[own].merge(control, on=at, suffixes=("", "_control"), validate="one_to_one")


def pruned_ends(preset: Preset, runs: Path, part: str) -> pd.DataFrame:
    """The last phase of every pruned run, with the shed shares at its end and `excess`, the relative one's."""
    ends = run_ends(preset, runs, part)
    shares = shed_shares(preset, runs, part, ends)
    measured = [*THRESHOLDS, *(f"{name}_control" for name in THRESHOLDS)]
    last = shares.loc[shares["epoch"] == shares["last_epoch"], [*RUN, *measured]]
    pruned = ends[ends["criterion"] != "none"].merge(last, on=RUN, how="left")
    return pruned.assign(excess=pruned["relative"] - pruned["relative_control"])


# --- Summaries over seeds


def _control_difference(preset: Preset, prelude: str, cell: pd.DataFrame, group: pd.DataFrame) -> Row:
    """Test accuracy minus that of the group's runs with the prelude's control; empty and NaN where it has none."""
    found = study(preset).preludes.get(prelude)  # not there: the arm without a prelude
    control = (found.control if found else None) or ""
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


def shedding(preset: Preset, runs: Path) -> list[Row]:
    """Shed shares of survivors when the fine-tuning ends: pruned runs, their controls over the same weights, excess."""
    part = study(preset).shedding
    assert part is not None
    thresholds = [name for name in THRESHOLDS if name != "removable" or part.removable_images]
    ends = pruned_ends(preset, runs, "shedding")
    rows = []
    for key, cell in ends.groupby(["task", *SETTING], sort=False):
        axes = dict(zip(("task", *SETTING), key, strict=True))
        axes |= {"epoch": cell["last_epoch"].iloc[0], "clock": cell["clock"].mean()}
        for threshold in thresholds:
            row = axes | _excess(cell, threshold)
            verdict = _verdict(row, preset.claims.cascade) if threshold in ("relative", "removable") else ""
            rows.append(row | {"cascade": verdict})
    return rows


def _verdict(row: Row, margins: CascadeMargins) -> str:
    """Claim B1's rule in one row: whether weights are shed in a cascade; undecided also where there is no interval."""
    if row["excess_low"] > margins.b1_excess and row["excess_low"] >= row["pruned_share"]:
        return "yes"
    return "no" if row["excess_high"] < margins.b1_none else "undecided"


def shedding_curves(preset: Preset, runs: Path) -> list[Row]:
    """Shed shares of survivors at every time at which a threshold is measured; runs that diverged are left out."""
    shares = shed_shares(preset, runs, "shedding", run_ends(preset, runs, "shedding"))
    return [
        dict(zip(("task", *SETTING, "epoch"), key, strict=True)) | {"clock": cell["clock"].mean()} | row
        for key, cell in shares.groupby(["task", *SETTING, "epoch"], sort=False)
        for row in (_excess(cell, threshold) for threshold in THRESHOLDS)
        if row["n"]
    ]


def magnitudes(preset: Preset, runs: Path) -> list[Row]:
    """Histograms of survivors' |w| when fine-tuning starts and ends: share of weights per bin, seeds pooled.

    A control stands once beside each arm that it follows, with that arm's axes, in the seeds in which that arm did
    not diverge. `clock` is the setting's at the end of the fine-tuning.
    """
    ends = run_ends(preset, runs, "shedding")
    rows = _trained(_read(preset, runs, "shedding", "histograms"), ends).drop(columns=SETTING)
    followed = ends.loc[ends["status"] == "trained", [*RUN, *SETTING]].rename(columns={"arm": "followed"})
    rows = rows.merge(followed, on=["task", "seed", "followed"])
    rows["run"] = np.where(rows["arm"] == rows["followed"], "pruned", "control")
    rows["moment"] = np.where(rows["epoch"] == 0, "start", "end")
    histogram = ["task", *SETTING, "run", "moment"]
    sums = {"n": ("seed", "nunique"), "count": ("count", "sum")}
    pooled = rows.groupby([*histogram, "left", "right"], sort=False).agg(**sums).reset_index()
    pooled["weights_share"] = pooled["count"] / pooled.groupby(histogram)["count"].transform("sum")
    pooled = pooled.merge(ends.groupby(["task", *SETTING])["clock"].mean().reset_index(), on=["task", *SETTING])
    made: list[Row] = pooled.to_dict("records")
    return made


def criteria(preset: Preset, runs: Path) -> list[Row]:
    """Test accuracy by criterion, prelude and sparsity.

    `difference` is to global magnitude without a prelude, `control_difference` to the same criterion with the
    prelude's control.
    """
    rows = []
    for (task, sparsity), group in run_ends(preset, runs, "criteria").groupby(["task", "sparsity"], sort=False):
        reference = group[(group["criterion"] == "global_magnitude") & (group["prelude"] == "none")]
        for (criterion, prelude), cell in group.groupby(["criterion", "prelude"], sort=False):
            axes = {"task": task, "criterion": criterion, "prelude": prelude, "sparsity": sparsity}
            shift = _control_difference(preset, prelude, cell, group[group["criterion"] == criterion])
            rows.append(axes | accuracy(cell) | difference(cell, reference) | shift)
    return mark_best(rows, "task", "sparsity")


def retraining(preset: Preset, runs: Path) -> list[Row]:
    """Test accuracy and shedding by retraining; differences, also that of the excess, are to fine-tuning."""
    rows = []
    keys = ["task", "criterion", "sparsity"]
    for key, group in pruned_ends(preset, runs, "retraining").groupby(keys, sort=False):
        fine_tuned = group[group["retraining"] == "fine_tune"]
        for name, cell in group.groupby("retraining", sort=False):
            axes = dict(zip(keys, key, strict=True)) | {"retraining": name}
            further = difference(cell, fine_tuned, "excess", "excess_difference")
            rows.append(axes | accuracy(cell) | difference(cell, fine_tuned) | _shed(cell) | further)
    return rows


def schedules(preset: Preset, runs: Path) -> list[Row]:
    """Test accuracy and shedding by pruning schedule and LR schedule."""
    keys = ["task", "criterion", "sparsity", "pruning", "lr_schedule"]
    cells = pruned_ends(preset, runs, "schedules").groupby(keys, sort=False)
    rows = [dict(zip(keys, key, strict=True)) | accuracy(cell) | _shed(cell) for key, cell in cells]
    return mark_best(rows, "task")


def gmp(preset: Preset, runs: Path) -> list[Row]:
    """Gradual magnitude pruning by prelude and sparsity: accuracy, and the cost of reaching plain gradual pruning.

    `harvested` is the share of all weights that the harvest of shed weights prunes. `reached` counts the seeds that
    reach plain gradual pruning (`reaching`), `steps` is their mean number of updates until then, those of the
    prelude included. `steps_ratio` and `flops_ratio` are geometric means over these seeds of what it took over what
    plain gradual pruning itself took by the same rule; the latter counts `flops_sparse`, which is theoretical (no
    hardware here skips zeros).
    """
    ends = run_ends(preset, runs, "gmp")
    ends = ends.merge(_harvested(preset, runs), on=RUN, how="left")
    ends = ends.merge(reaching(preset, runs, ends), on=RUN, how="left")
    rows = []
    for (task, sparsity), group in ends.groupby(["task", "sparsity"], sort=False):
        plain = group[group["prelude"] == "none"]
        for prelude, cell in group.groupby("prelude", sort=False):
            rows.append(
                {"task": task, "prelude": prelude, "sparsity": sparsity}
                | accuracy(cell)
                | difference(cell, plain)
                | _control_difference(preset, prelude, cell, group)
                | {"harvested": cell["harvested"].mean()}
                | {"reached": int(cell["steps"].notna().sum()), "steps": cell["steps"].mean()}
                | ratio(cell, plain, "steps", "steps_ratio")
                | ratio(cell, plain, "flops_sparse", "flops_ratio")
            )
    return rows


def _harvested(preset: Preset, runs: Path) -> pd.DataFrame:
    """Share of all weights pruned between the prelude and the phase after it, of every run whose prelude trained."""
    phases = _read(preset, runs, "gmp", "phases")
    before = phases.loc[(phases["phase"] == 0) & (phases["status"] == "trained"), [*RUN, "sparsity_now"]]
    after = phases.loc[phases["phase"] == 1, [*RUN, "sparsity_start"]]
    both = before.merge(after, on=RUN)
    return both.assign(harvested=both["sparsity_start"] - both["sparsity_now"])[[*RUN, "harvested"]]


def reaching(preset: Preset, runs: Path, ends: pd.DataFrame) -> pd.DataFrame:
    """How near each run comes to plain gradual pruning of its seed, and what it takes to reach it; no diverged runs.

    `lead` is the best validation accuracy at the end of an epoch in which the network is as sparse as when its training
    ends, minus plain gradual pruning's last one; NaN where that diverged. `steps` and `flops_sparse` are updates and
    FLOPs, from the arm's start to the first such epoch with a lead of at least minus claim B5b's margin; NaN without.
    """
    sound = ends[ends["status"] == "trained"]
    final = sound[[*RUN, "sparsity_now"]].rename(columns={"sparsity_now": "final"})
    plain = sound.loc[sound["prelude"] == "none", ["task", "seed", "sparsity", "validation_accuracy"]]
    plain = plain.rename(columns={"validation_accuracy": "goal"})
    epochs = _read(preset, runs, "gmp", "epochs").merge(final, on=RUN)
    epochs = epochs[(epochs["sparsity_now"] - epochs["final"]).abs() < 1e-9]
    epochs = epochs.merge(plain, on=["task", "seed", "sparsity"], how="left")
    epochs["lead"] = epochs["validation_accuracy"] - epochs["goal"]
    # 1e-9: at the goal is enough, whichever way the last bit was rounded
    there = epochs.loc[epochs["lead"] >= -preset.claims.cascade.b5b_reach - 1e-9, [*RUN, "steps", "flops_sparse"]]
    best = epochs.groupby(RUN, sort=False)["lead"].max().reset_index()
    return best.merge(there.drop_duplicates(RUN), on=RUN, how="left")


def progress(preset: Preset, runs: Path) -> list[Row]:
    """Validation accuracy and sparsity by epoch of gradual pruning, the prelude's epochs first; no diverged runs."""
    epochs = _trained(_read(preset, runs, "gmp", "epochs"), run_ends(preset, runs, "gmp"))
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


def overlap(preset: Preset, runs: Path) -> list[Row]:
    """Jaccard overlap of kept weights beyond chance: between schemes within a seed, and between a scheme's seeds."""
    part = study(preset).criteria
    assert part is not None
    ends = run_ends(preset, runs, "criteria")
    labels = {run.arm: _label(run.criterion, run.prelude) for run in ends.itertuples()}
    rows = []
    for task in part.tasks:
        for (sparsity, a, b), group in overlaps(runs, task, ends).groupby(["sparsity", "arm_a", "arm_b"], sort=False):
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


def overlaps(runs: Path, task: str, ends: pd.DataFrame) -> pd.DataFrame:
    """A task's pairs of networks, with `beyond`, their overlap beyond chance, and `sound`: neither of them diverged."""
    pairs = read_table(runs / "cascade" / task / "overlap.csv")
    trained = ends[(ends["task"] == task) & (ends["status"] == "trained")]
    known = set(zip(trained["arm"], trained["seed"], strict=True))
    sides = [[run in known for run in zip(pairs[f"arm_{x}"], pairs[f"seed_{x}"], strict=True)] for x in "ab"]
    return pairs.assign(beyond=pairs["jaccard"] - pairs["chance"], sound=np.all(sides, axis=0))


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


def semi_structured(preset: Preset, runs: Path) -> list[Row]:
    """Test accuracy by pattern and prelude; differences are to the same pattern without a prelude and with its control.

    `sparsity` is that of the final networks that did not diverge. `fitting` is the share of groups that fit the
    pattern before it is imposed: at most n of m weights alive, or none of a block's.
    """
    ends = run_ends(preset, runs, "semi_structured")
    ends = ends.merge(_fitting(_groups(preset, runs), _patterns(preset)), on=RUN, how="left")
    rows = []
    for (task, pattern), group in ends.groupby(["task", "pattern"], sort=False):
        plain = group[group["prelude"] == "none"]
        for prelude, cell in group.groupby("prelude", sort=False):
            sparsity = cell.loc[cell["status"] == "trained", "sparsity_now"].mean()
            axes = {"task": task, "pattern": pattern, "prelude": prelude, "sparsity": sparsity}
            shift = difference(cell, plain) | _control_difference(preset, prelude, cell, group)
            rows.append(axes | accuracy(cell) | shift | mean("fitting", cell["fitting"]))
    return rows


def occupancy(preset: Preset, runs: Path) -> list[Row]:
    """Share of groups of m weights with so many alive, before a pattern is imposed.

    `chance` is the binomial share at the density of each seed, as if the same weights were alive anywhere. What comes
    before is the same for every pattern of a prelude: the first one with groups of m serves.
    """
    groups = _groups(preset, runs)
    first: dict[int, str] = {}
    for label, pattern in _patterns(preset).items():
        first.setdefault(_size(pattern), label)
    rows = []
    for m, label in sorted(first.items()):
        at = groups[(groups["m"] == m) & (groups["pattern"] == label)]
        at = at.astype({"alive": int, "blocks": float, "total": float})  # a table without rows knows no types
        density = (at["alive"] * at["blocks"]).groupby([at[name] for name in RUN]).transform("sum") / (m * at["total"])
        at = at.assign(share=at["blocks"] / at["total"], chance=stats.binom.pmf(at["alive"], m, density))
        for (task, prelude, alive), cell in at.groupby(["task", "prelude", "alive"], sort=False):
            axes = {"task": task, "prelude": prelude, "m": m, "alive": alive, "n": len(cell)}
            rows.append(axes | mean("share", cell["share"]) | {"chance": cell["chance"].mean()})
    return rows


def _patterns(preset: Preset) -> dict[str, Pattern]:
    part = study(preset).semi_structured
    assert part is not None
    return {pattern.label: pattern for pattern in part.patterns}


def _size(pattern: Pattern) -> int:
    return pattern.m if isinstance(pattern, NOfM) else pattern.size


def _groups(preset: Preset, runs: Path) -> pd.DataFrame:
    """How many groups of m have how many weights alive before the pattern is imposed; `total`: of all groups of m."""
    rows = _read(preset, runs, "semi_structured", "occupancy")
    rows = rows[(rows["moment"] == "before") & (rows["phase"] == rows["last_phase"])]
    return rows.assign(total=rows.groupby([*RUN, "m"])["blocks"].transform("sum"))


def _fitting(groups: pd.DataFrame, patterns: Mapping[str, Pattern]) -> pd.DataFrame:
    """Share of its own pattern's groups that fit it, of every run."""
    own = groups[groups["m"] == groups["pattern"].map(lambda label: _size(patterns[label]))]
    most = own["pattern"].map(lambda label: getattr(patterns[label], "n", 0))
    fit = own.assign(fitting=(own["blocks"] / own["total"]).where(own["alive"] <= most, 0.0))
    return fit.groupby(RUN)["fitting"].sum().reset_index()
