"""What claims B1 to B9 observe in the study's runs: what its tables summarise, seed by seed."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from prunebench.models.kinds import NETWORKS
from prunebench.papers.cascade.data import SETTING, Data
from prunebench.papers.cascade.plan import GMP
from prunebench.parsing import kind_of
from prunebench.stats import slope
from prunebench.suite.claim import ROUNDING, Floats, Observed, observed
from prunebench.suite.preset import Preset
from prunebench.suite.study import RUN

FINE_TUNED = "fine_tune"


def _minus(rows: pd.DataFrame, reference: pd.DataFrame, *on: str, column: str = "test_accuracy") -> Floats:
    """A column minus the reference's at the same seed and axes; NaN where there is no reference.

    Also where both runs diverged: that two networks at chance are equal says nothing.
    """
    keys = [*on, "seed"]
    other = rows[keys].merge(reference[[*keys, column, "status"]], on=keys, how="left", validate="many_to_one")
    lost = (rows["status"] == "diverged").to_numpy() & (other["status"] == "diverged").to_numpy()
    return np.where(lost, np.nan, rows[column].to_numpy(np.float64) - other[column].to_numpy(np.float64))


def _meant_to_shed(data: Data) -> dict[str, str]:
    """The control of each prelude that has one: of those that are meant to shed."""
    return {name: prelude.control for name, prelude in data.config.preludes.items() if prelude.control}


def _against_control(
    rows: pd.DataFrame, controls: Mapping[str, str], *on: str, column: str = "test_accuracy"
) -> tuple[pd.DataFrame, Floats]:
    """The runs with a prelude that is meant to shed, and a column of theirs minus that with its control."""
    shed = rows[rows["prelude"].isin(list(controls))]
    wanted = shed.assign(prelude=shed["prelude"].map(controls))
    return shed, _minus(wanted, rows, "prelude", *on, column=column)


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


def shrunk(data: Data, method: str | None) -> Iterator[Observed]:
    """B1: excesses after small prunes, on ResNets."""
    part = data.config.shedding
    if part is None:
        return
    rows = _on_resnets(data)
    small = rows[rows["pruned_share"] <= data.margins.b1_dose + ROUNDING]
    for name in ("relative", "removable") if part.removable_images else ("relative",):
        yield from observed(name, small, small[name], "task", *SETTING)


def by_dose(data: Data, method: str | None) -> Iterator[Observed]:
    """B1c: how the excess rises with the share pruned, on ResNets."""
    if data.config.shedding is None:
        return
    rows, recipe = _on_resnets(data), ["task", "criterion", "max_lr", "weight_decay"]
    dosed = rows[rows.groupby(recipe)["pruned_share"].transform("nunique") > 1]
    slopes = pd.DataFrame(
        [(*key, _dose_slope(cell)) for key, cell in dosed.groupby([*recipe, "seed"], sort=False)],
        columns=[*recipe, "seed", "slope"],
    )
    yield from observed("slope", slopes, slopes["slope"], *recipe)
    yield from observed("excess", dosed, dosed["relative"], "task", *SETTING)


def _dose_slope(cell: pd.DataFrame) -> float:
    """Of the excess on the share pruned; NaN where a dose is missing: without it the others' slope is another."""
    complete = bool(cell["relative"].notna().all())
    return slope(cell["pruned_share"], cell["relative"]).slope if complete else math.nan


def _networks(preset: Preset, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Every ResNet among these tasks with every MobileNet on the same data."""
    pairs = [(a, b) for a in _of_family(preset, "resnet") for b in _of_family(preset, "mobilenet")]
    same = [(a, b) for a, b in pairs if preset.tasks[a].dataset == preset.tasks[b].dataset]
    return [(a, b) for a, b in same if a in tasks and b in tasks]


def _between(rows: pd.DataFrame, pair: tuple[str, str], column: str, *on: str) -> tuple[pd.DataFrame, Floats]:
    """A column on the pair's first network minus that on its second, wherever both were run."""
    keys = [*on, "seed"]
    first, second = (rows.loc[rows["task"] == name, [*keys, column]] for name in pair)
    both = first.merge(second, on=keys, suffixes=("", "_second"), validate="one_to_one")
    return both.assign(task=pair[0], against=pair[1]), (both[column] - both[f"{column}_second"]).to_numpy(np.float64)


def networks(data: Data, method: str | None) -> Iterator[Observed]:
    """B3: excess and what random pruning costs, on a ResNet minus on a MobileNet.

    The excess with recipes that decay weights: without, neither network sheds (docs/methods.md).
    """
    shedding, criteria = data.config.shedding, data.config.criteria
    if shedding is not None:
        excesses = _excesses(data)
        decayed = excesses[excesses["weight_decay"] > 0]
        for pair in _networks(data.preset, shedding.tasks):
            rows, values = _between(decayed, pair, "relative", *SETTING, "last_epoch")
            yield from observed("excess", rows, values, "task", "against", *SETTING)
    if criteria is not None:
        behind = _behind_gmp(data, GMP)
        gaps = behind[behind["criterion"].str.contains("random")]
        for pair in _networks(data.preset, criteria.tasks):
            rows, values = _between(gaps, pair, "behind", "criterion", "sparsity")
            yield from observed("gap", rows, values, "task", "against", "criterion", "sparsity")


# --- B2, B4, B8: criteria


def _behind_gmp(data: Data, leader: str) -> pd.DataFrame:
    """Every other criterion without a prelude, with `behind`, its test accuracy minus the leader's."""
    ends = data.ends("criteria")
    plain = ends[ends["prelude"] == "none"]
    others = plain[plain["criterion"] != leader]
    return others.assign(behind=_minus(others, plain[plain["criterion"] == leader], "task", "sparsity"))


def rescued(data: Data, method: str | None) -> Iterator[Observed]:
    """B2: random pruning with a prelude that sheds, against the prelude's control and against one-shot pruning."""
    if data.config.criteria is None:
        return
    ends, at = data.ends("criteria"), ("task", "sparsity", "criterion")
    random, plain = ends[ends["criterion"].str.contains("random")], ends[ends["prelude"] == "none"]
    begun, over_control = _against_control(random, _meant_to_shed(data), *at)
    scheme = ("task", "criterion", "prelude", "sparsity")
    yield from observed("over_control", begun, over_control, *scheme)
    yield from observed("over_one_shot", begun, _minus(begun, plain, *at), *scheme)


def competitors(data: Data, method: str | None) -> Iterator[Observed]:
    """B4: other schemes against GMP (or another criterion in its place), and so under every retraining."""
    leader = method or GMP
    if data.config.criteria is not None:
        plain = data.ends("criteria")
        if ((plain["criterion"] == leader) & (plain["prelude"] == "none")).any():
            behind = _behind_gmp(data, leader)
            yield from observed("behind", behind, behind["behind"], "task", "sparsity", "criterion")
    if data.config.retraining is not None:
        ends = data.pruned_ends("retraining")
        others, leading = ends[ends["criterion"] != leader], ends[ends["criterion"] == leader]
        if len(leading):
            where = ("task", "sparsity", "retraining")
            yield from observed("behind", others, _minus(others, leading, *where), *where, "criterion")


def overlaps(data: Data, method: str | None) -> Iterator[Observed]:
    """B8: after random pruning and a prelude, the overlap beyond chance with what magnitude pruning keeps.

    Between seeds, masks overlap in pairs that share seeds: no number per seed stands for that, so it is in the table
    of overlaps only. While seeds are missing the overlaps are not there yet.
    """
    tasks = data.compared_tasks()
    if not tasks:
        return
    ends = data.ends("criteria")
    pairs = pd.concat([data.overlaps(task).assign(task=task) for task in tasks], ignore_index=True)
    pairs = pairs[pairs["sound"] & (pairs["seed_a"] == pairs["seed_b"])].rename(columns={"seed_a": "seed"})
    gmp = set(ends.loc[(ends["criterion"] == GMP) & (ends["prelude"] == "none"), "arm"])
    sides = [pairs.rename(columns={f"arm_{a}": "arm", f"arm_{b}": "other"}) for a, b in ("ab", "ba")]
    with_gmp = pd.concat([side.loc[side["other"].isin(gmp), [*RUN, "beyond"]] for side in sides])
    compared = ends[ends["task"].isin(tasks)].merge(with_gmp, on=RUN, how="left", validate="one_to_one")
    random = compared[compared["criterion"].str.contains("random")]
    at = ("task", "sparsity", "criterion")
    rows, values = _against_control(random, _meant_to_shed(data), *at, column="beyond")
    yield from observed("overlap", rows, values, "task", "criterion", "prelude", "sparsity")


# --- B5 to B7, B9


def with_prelude(data: Data, method: str | None) -> Iterator[Observed]:
    """B5a: GMP with a prelude that sheds, against plain GMP and against the prelude's control."""
    if data.config.gmp is None:
        return
    ends, at, cell = data.ends("gmp"), ("task", "sparsity"), ("task", "prelude", "sparsity")
    shed, over_control = _against_control(ends, _meant_to_shed(data), *at)
    yield from observed("gain", shed, _minus(shed, ends[ends["prelude"] == "none"], *at), *cell)
    yield from observed("over_control", shed, over_control, *cell)


def reaching(data: Data, method: str | None) -> Iterator[Observed]:
    """B5b: updates to plain GMP's accuracy, and the lead. A run that diverged leads with chance; it reaches nothing."""
    if data.config.gmp is None:
        return
    ends = data.ends("gmp").merge(data.reaching, on=RUN, how="left", validate="one_to_one")
    ends["log_steps"] = np.log(ends["steps"].astype(float))
    plain, at, cell = ends[ends["prelude"] == "none"], ("task", "sparsity"), ("task", "prelude", "sparsity")
    shed, _ = _against_control(ends, _meant_to_shed(data), *at)
    goal = plain.assign(validation_accuracy=plain["validation_accuracy"].where(plain["status"] == "trained"))
    lead = np.where(shed["status"] == "trained", shed["lead"], _minus(shed, goal, *at, column="validation_accuracy"))
    yield from observed("steps", shed, _minus(shed, plain, *at, column="log_steps"), *cell)
    yield from observed("lead", shed, lead, *cell)


def schedules(data: Data, method: str | None) -> Iterator[Observed]:
    """B6: accuracy and excess under every pruning schedule and LR schedule."""
    if data.config.schedules is None:
        return
    ends, axes = data.pruned_ends("schedules"), ("task", "pruning", "lr_schedule")
    yield from observed("accuracy", ends, ends["test_accuracy"], *axes)
    yield from observed("excess", ends, ends["excess"], *axes)


def rewound(data: Data, method: str | None) -> Iterator[Observed]:
    """B7: rewinding minus fine-tuning, in accuracy and in excess."""
    if data.config.retraining is None:
        return
    ends, at = data.pruned_ends("retraining"), ("task", "criterion", "sparsity")
    fine, others = ends[ends["retraining"] == FINE_TUNED], ends[ends["retraining"] != FINE_TUNED]
    yield from observed("accuracy", others, _minus(others, fine, *at), *at, "retraining")
    yield from observed("excess", others, _minus(others, fine, *at, column="excess"), *at, "retraining")


def patterns(data: Data, method: str | None) -> Iterator[Observed]:
    """B9: accuracy under a pattern after a prelude that sheds, minus after its control."""
    if data.config.semi_structured is None:
        return
    rows, values = _against_control(data.ends("semi_structured"), _meant_to_shed(data), "task", "pattern")
    yield from observed("accuracy", rows, values, "task", "pattern", "prelude")
