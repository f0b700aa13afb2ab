"""What claims B1 to B9 observe in the study's runs: what its tables summarise, seed by seed."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from prunebench.models.kinds import NETWORKS
from prunebench.papers.cascade.data import SETTING, Data, from_part
from prunebench.papers.cascade.plan import GMP
from prunebench.parsing import kind_of
from prunebench.stats import slope
from prunebench.suite.claim import ROUNDING, Floats, Observed, observed
from prunebench.suite.preset import Preset
from prunebench.suite.study import RUN
from prunebench.suite.summaries import cells

RECIPE = ["task", "criterion", "max_lr", "weight_decay"]
SCHEME = ("task", "criterion", "prelude", "sparsity")


def _minus(rows: pd.DataFrame, reference: pd.DataFrame, *on: str, column: str = "test_accuracy") -> Floats:
    """A column minus the reference's at the same seed and axes; NaN where there is no reference.

    Also where both runs diverged: that two networks at chance are equal says nothing.
    """
    keys = [*on, "seed"]
    other = rows[keys].merge(reference[[*keys, column, "status"]], on=keys, how="left", validate="many_to_one")
    both_lost = (rows["status"] == "diverged").to_numpy() & (other["status"] == "diverged").to_numpy()
    return np.where(both_lost, np.nan, rows[column].to_numpy(np.float64) - other[column].to_numpy(np.float64))


def _against_control(
    data: Data, rows: pd.DataFrame, *on: str, column: str = "test_accuracy"
) -> tuple[pd.DataFrame, Floats]:
    """The runs with a prelude that is meant to shed, and their column minus that with the prelude's control."""
    controls = data.controls()
    shed = rows[rows["prelude"].isin([*controls])]
    return shed, _minus(shed.assign(prelude=shed["prelude"].map(controls)), rows, "prelude", *on, column=column)


def _random(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of random criteria."""
    return rows[rows["criterion"].str.contains("random")]


# --- B1, B1c, B3: shedding


def _of_family(preset: Preset, family: str) -> list[str]:
    return [name for name, task in preset.tasks.items() if family in kind_of(NETWORKS, task.network)]


def _excesses(data: Data) -> pd.DataFrame:
    """Every pruned run of the shedding part, with `relative` and `removable`: the excess after the claim's few epochs.

    That is at the last whole epoch within them, the removable share being measured at whole ones; NaN where the run
    or its control diverged.
    """
    ends, shares = data.ends("shedding"), data.shed_shares("shedding")
    early = (shares["epoch"] <= data.margins.b1_epochs) & (shares["epoch"] % 1 == 0)
    last = shares[early].sort_values("epoch", kind="stable").drop_duplicates(RUN, keep="last")
    measured = {name: last[name] - last[f"{name}_control"] for name in ("relative", "removable")}
    pruned = ends.loc[ends["criterion"] != "none", [*RUN, *SETTING, "last_epoch"]]
    return pruned.merge(last[RUN].assign(**measured), on=RUN, how="left")


def _on_resnets(data: Data) -> pd.DataFrame:
    rows = _excesses(data)
    return rows[rows["task"].isin(_of_family(data.preset, "resnet"))]


@from_part("shedding")
def shrunk(data: Data, method: str | None) -> Iterator[Observed]:
    """B1: excesses after small prunes, on ResNets."""
    rows = _on_resnets(data)
    small = rows[rows["pruned_share"] <= data.margins.b1_dose + ROUNDING]
    for name in ("relative", "removable") if data.config.shedding.removable_images else ("relative",):
        yield from observed(name, small, small[name], "task", *SETTING)


@from_part("shedding")
def by_dose(data: Data, method: str | None) -> Iterator[Observed]:
    """B1c: how the excess rises with the share pruned, on ResNets."""
    rows = _on_resnets(data)
    dosed = rows[rows.groupby(RECIPE)["pruned_share"].transform("nunique") > 1]
    slopes = [axes | {"slope": _dose_slope(cell)} for axes, cell in cells(dosed, *RECIPE, "seed")]
    frame = pd.DataFrame(slopes, columns=[*RECIPE, "seed", "slope"])
    yield from observed("slope", frame, frame["slope"], *RECIPE)
    yield from observed("excess", dosed, dosed["relative"], "task", *SETTING)


def _dose_slope(cell: pd.DataFrame) -> float:
    """Of the excess on the share pruned; NaN where a dose is missing, without which the slope would be another."""
    complete = bool(cell["relative"].notna().all())
    return slope(cell["pruned_share"], cell["relative"]).slope if complete else math.nan


def _network_pairs(preset: Preset, tasks: Sequence[str]) -> list[list[str]]:
    """Every ResNet among these tasks with every MobileNet on the same data."""
    first, second = ([task for task in _of_family(preset, kind) if task in tasks] for kind in ("resnet", "mobilenet"))
    return [[a, b] for a in first for b in second if preset.tasks[a].dataset == preset.tasks[b].dataset]


def _between(rows: pd.DataFrame, first: str, second: str, column: str, *axes: str) -> Iterator[Observed]:
    """A column on the first network minus that on the second, wherever both were run, as the quantity of its name."""
    a, b = (rows.loc[rows["task"] == task, [*axes, "seed", column]] for task in (first, second))
    both = a.merge(b, on=[*axes, "seed"], suffixes=("", "_second"), validate="one_to_one")
    both = both.assign(task=first, against=second)
    named = [axis for axis in axes if axis != "last_epoch"]
    yield from observed(column, both, both[column] - both[f"{column}_second"], "task", "against", *named)


def networks(data: Data, method: str | None) -> Iterator[Observed]:
    """B3: excess and what random pruning costs, on a ResNet minus on a MobileNet.

    The excess with recipes that decay weights: without, neither network sheds (docs/methods.md).
    """
    if data.config.shedding:
        excesses = _excesses(data).rename(columns={"relative": "excess"})
        decayed = excesses[excesses["weight_decay"] > 0]
        for pair in _network_pairs(data.preset, data.config.shedding.tasks):
            yield from _between(decayed, *pair, "excess", *SETTING, "last_epoch")
    if data.config.criteria:
        gaps = _random(_behind(data.ends("criteria"), GMP)).rename(columns={"behind": "gap"})
        for pair in _network_pairs(data.preset, data.config.criteria.tasks):
            yield from _between(gaps, *pair, "gap", "criterion", "sparsity")


# --- B2, B4, B8: criteria


def _behind(ends: pd.DataFrame, leader: str) -> pd.DataFrame:
    """Every other criterion without a prelude, with `behind`, its test accuracy minus the leader's."""
    plain = ends[ends["prelude"] == "none"]
    others = plain[plain["criterion"] != leader]
    return others.assign(behind=_minus(others, plain[plain["criterion"] == leader], "task", "sparsity"))


@from_part("criteria")
def rescued(data: Data, method: str | None) -> Iterator[Observed]:
    """B2: random pruning with a prelude that sheds, against the prelude's control and against one-shot pruning."""
    ends, at = _random(data.ends("criteria")), ("task", "sparsity", "criterion")
    shed, over_control = _against_control(data, ends, *at)
    yield from observed("over_control", shed, over_control, *SCHEME)
    yield from observed("over_one_shot", shed, _minus(shed, ends[ends["prelude"] == "none"], *at), *SCHEME)


def competitors(data: Data, method: str | None) -> Iterator[Observed]:
    """B4: other schemes against GMP (or another criterion in its place), and so under every retraining."""
    leader, config = method or GMP, data.config
    if config.criteria and leader in config.criteria.criteria:
        behind = _behind(data.ends("criteria"), leader)
        yield from observed("behind", behind, behind["behind"], "task", "sparsity", "criterion")
    if config.retraining and leader in config.retraining.criteria:
        ends, at = data.pruned_ends("retraining"), ("task", "sparsity", "retraining")
        others, leading = ends[ends["criterion"] != leader], ends[ends["criterion"] == leader]
        yield from observed("behind", others, _minus(others, leading, *at), *at, "criterion")


@from_part("criteria")
def overlaps(data: Data, method: str | None) -> Iterator[Observed]:
    """B8: after random pruning and a prelude, the overlap beyond chance with what magnitude pruning keeps.

    Between seeds, masks overlap in pairs that share seeds: no number per seed stands for that, so it is in the table
    of overlaps only. While seeds are missing, masks are not compared yet.
    """
    if not all((data.runs / job.folder / "overlap.csv").exists() for job in data.jobs("compare_masks")):
        return
    ends, pairs = data.ends("criteria"), data.overlaps()
    pairs = pairs[pairs["sound"] & (pairs["seed_a"] == pairs["seed_b"])].rename(columns={"seed_a": "seed"})
    gmp = ends.loc[(ends["criterion"] == GMP) & (ends["prelude"] == "none"), "arm"]
    sides = [pairs.rename(columns={f"arm_{a}": "arm", f"arm_{b}": "other"}) for a, b in ("ab", "ba")]
    with_gmp = pd.concat([side.loc[side["other"].isin(gmp), [*RUN, "beyond"]] for side in sides])
    rows = _random(ends.merge(with_gmp, on=RUN, how="left", validate="one_to_one"))
    shed, values = _against_control(data, rows, "task", "sparsity", "criterion", column="beyond")
    yield from observed("overlap", shed, values, *SCHEME)


# --- B5 to B7, B9


@from_part("gmp")
def with_prelude(data: Data, method: str | None) -> Iterator[Observed]:
    """B5a: GMP with a prelude that sheds, against plain GMP and against the prelude's control."""
    ends, at, cell = data.ends("gmp"), ("task", "sparsity"), ("task", "prelude", "sparsity")
    shed, over_control = _against_control(data, ends, *at)
    yield from observed("gain", shed, _minus(shed, ends[ends["prelude"] == "none"], *at), *cell)
    yield from observed("over_control", shed, over_control, *cell)


@from_part("gmp")
def reaching(data: Data, method: str | None) -> Iterator[Observed]:
    """B5b: updates to plain GMP's accuracy, and the lead. A run that diverged leads with chance; it reaches nothing."""
    ends = data.ends("gmp").merge(data.reaching(), on=RUN, how="left", validate="one_to_one")
    ends["log_steps"] = np.log(ends["steps"].astype(float))
    plain, at, cell = ends[ends["prelude"] == "none"], ("task", "sparsity"), ("task", "prelude", "sparsity")
    shed = ends[ends["prelude"].isin([*data.controls()])]
    goal = plain.assign(validation_accuracy=plain["validation_accuracy"].where(plain["status"] == "trained"))
    lead = np.where(shed["status"] == "trained", shed["lead"], _minus(shed, goal, *at, column="validation_accuracy"))
    yield from observed("steps", shed, _minus(shed, plain, *at, column="log_steps"), *cell)
    yield from observed("lead", shed, lead, *cell)


@from_part("schedules")
def schedules(data: Data, method: str | None) -> Iterator[Observed]:
    """B6: accuracy and excess under every pruning schedule and LR schedule."""
    ends = data.pruned_ends("schedules")
    for quantity, column in (("accuracy", "test_accuracy"), ("excess", "excess")):
        yield from observed(quantity, ends, ends[column], "task", "pruning", "lr_schedule")


@from_part("retraining")
def rewound(data: Data, method: str | None) -> Iterator[Observed]:
    """B7: rewinding minus fine-tuning, in accuracy and in excess."""
    ends, at = data.pruned_ends("retraining"), ("task", "criterion", "sparsity")
    tuned, others = ends[ends["retraining"] == "fine_tune"], ends[ends["retraining"] != "fine_tune"]
    for quantity, column in (("accuracy", "test_accuracy"), ("excess", "excess")):
        yield from observed(quantity, others, _minus(others, tuned, *at, column=column), *at, "retraining")


@from_part("semi_structured")
def patterns(data: Data, method: str | None) -> Iterator[Observed]:
    """B9: accuracy under a pattern after a prelude that sheds, minus after its control."""
    shed, values = _against_control(data, data.ends("semi_structured"), "task", "pattern")
    yield from observed("accuracy", shed, values, "task", "pattern", "prelude")
