"""Claims B1 to B9, of cascade weight shedding: what they observe in the study's runs, and their rules.

The paper is known by its abstract alone, which has no number: quantities, margins and sizes of claimed effects are
[ours] (docs/methods.md). What is observed is what the study's tables summarise, seed by seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prunebench.claims.claim import (
    OBSERVATION,
    SEPARATOR,
    Bools,
    Claim,
    Floats,
    Quantity,
    Ruling,
    Sample,
    Scenario,
    corrected,
    some,
)
from prunebench.config import Preset
from prunebench.config.claims import CascadeMargins
from prunebench.stats import correlation, slope, t_interval, two_way
from prunebench.studies.cascade import (
    RUN,
    SETTING,
    overlaps,
    pruned_ends,
    reaching,
    run_ends,
    shed_shares,
    study,
)

Cells = Mapping[str, Sequence[str]]

GMP = "global_magnitude"


# --- Cells: their names, and what rules read in them


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


_PARTS: Mapping[str, Callable[[Any], str]] = {
    "sparsity": _percent,
    "max_lr": lambda lr: f"LR {lr:g}",
    "weight_decay": lambda decay: f"weight decay {decay:g}",
    "pruned_share": lambda share: f"pruned {_percent(share)}",
}
"""How an axis stands in a cell's name, where not as it is."""


def _cells(rows: pd.DataFrame, *axes: str) -> list[str]:
    parts = [[_PARTS.get(axis, str)(value) for value in rows[axis]] for axis in axes]
    return [SEPARATOR.join(named) for named in zip(*parts, strict=True)]


def _apart(cell: str) -> tuple[str, str]:
    """A cell without its last part, and that part."""
    before, _, last = cell.rpartition(SEPARATOR)
    return before, last


def _pruned_share(cell: str) -> float:
    return float(_apart(cell)[1].removeprefix("pruned ").removesuffix(" %")) / 100


def _grouped(cells: Sequence[str]) -> dict[str, list[int]]:
    """The positions of the cells that differ in their last part only."""
    groups: dict[str, list[int]] = {}
    for position, cell in enumerate(cells):
        groups.setdefault(_apart(cell)[0], []).append(position)
    return groups


# --- What rules are made of


def _above(values: Floats, bound: "float | Floats") -> Bools:
    """False for NaN; a mean of equal numbers may lie above them by its rounding."""
    return np.asarray(values > bound + 1e-9)


def _below(values: Floats, bound: "float | Floats") -> Bools:
    return np.asarray(values < bound - 1e-9)


# --- Observations


def observations(preset: Preset, runs: Path) -> pd.DataFrame:
    """One number per claim, quantity, cell and seed; none for a part that the preset leaves out."""
    if preset.cascade is None:
        return pd.DataFrame(columns=list(OBSERVATION))
    parts = preset.cascade.parts()
    made: list[pd.DataFrame] = []
    if "shedding" in parts:
        excesses = _excesses(preset, runs)
        made += [*_shedding(preset, excesses), *_networks_shedding(preset, excesses)]
    if "criteria" in parts:
        ends = run_ends(preset, runs, "criteria")
        made += [*_criteria(preset, ends), *_overlaps(preset, runs, ends)]
    if "retraining" in parts:
        made += _retraining(pruned_ends(preset, runs, "retraining"))
    if "schedules" in parts:
        made += _schedules(pruned_ends(preset, runs, "schedules"))
    if "gmp" in parts:
        made += _gmp(preset, runs)
    if "semi_structured" in parts:
        made += _semi_structured(preset, run_ends(preset, runs, "semi_structured"))
    made = [frame for frame in made if len(frame)]
    if not made:
        return pd.DataFrame(columns=list(OBSERVATION))
    whole = pd.concat(made, ignore_index=True)
    order = {claim.id: place for place, claim in enumerate(CLAIMS)}
    return whole.sort_values("claim", key=lambda ids: ids.map(order), kind="stable", ignore_index=True)


def _observed(claim: str, quantity: str, rows: pd.DataFrame, values: Any, *axes: str) -> pd.DataFrame:
    """These values of these rows; `axes` name the cell."""
    columns = {"cell": _cells(rows, *axes), "seed": rows["seed"].tolist(), "value": np.asarray(values, np.float64)}
    return pd.DataFrame({"claim": claim, "quantity": quantity, **columns})


def _minus(rows: pd.DataFrame, reference: pd.DataFrame, *on: str, column: str = "test_accuracy") -> Floats:
    """A column minus the reference's at the same seed and axes; NaN where there is no reference.

    Also where both runs diverged: that two networks at chance are equal says nothing.
    """
    keys = [*on, "seed"]
    other = rows[keys].merge(reference[[*keys, column, "status"]], on=keys, how="left", validate="many_to_one")
    lost = (rows["status"] == "diverged").to_numpy() & (other["status"] == "diverged").to_numpy()
    return np.where(lost, np.nan, rows[column].to_numpy(np.float64) - other[column].to_numpy(np.float64))


def _meant_to_shed(preset: Preset) -> dict[str, str]:
    """The control of each prelude that has one: of those that are meant to shed."""
    return {name: prelude.control for name, prelude in study(preset).preludes.items() if prelude.control}


def _against_control(
    rows: pd.DataFrame, controls: Mapping[str, str], *on: str, column: str = "test_accuracy"
) -> tuple[pd.DataFrame, Floats]:
    """The runs with a prelude that is meant to shed, and a column of theirs minus that with its control."""
    shed = rows[rows["prelude"].isin(list(controls))]
    wanted = shed.assign(prelude=shed["prelude"].map(controls))
    return shed, _minus(wanted, rows, "prelude", *on, column=column)


def _of_family(preset: Preset, family: str) -> list[str]:
    return [name for name, task in preset.tasks.items() if family in task.network.kind]


def _excesses(preset: Preset, runs: Path) -> pd.DataFrame:
    """Every pruned run of the shedding part, with `relative` and `removable`: the excess after the claim's few epochs.

    That is at the last whole epoch within them, the removable share being measured at whole ones; NaN where the run
    or its control diverged.
    """
    ends = run_ends(preset, runs, "shedding")
    shares = shed_shares(preset, runs, "shedding", ends)
    early = (shares["epoch"] <= preset.claims.cascade.b1_epochs) & (shares["epoch"] % 1 == 0)
    last = shares[early].sort_values("epoch", kind="stable").drop_duplicates(RUN, keep="last")
    measured = {name: last[name] - last[f"{name}_control"] for name in ("relative", "removable")}
    pruned = ends.loc[ends["criterion"] != "none", [*RUN, *SETTING, "last_epoch"]]
    return pruned.merge(last[RUN].assign(**measured), on=RUN, how="left")


def _shedding(preset: Preset, excesses: pd.DataFrame) -> list[pd.DataFrame]:
    """B1 and B1c, on ResNets."""
    part, margins = study(preset).shedding, preset.claims.cascade
    assert part is not None
    rows = excesses[excesses["task"].isin(_of_family(preset, "resnet"))]
    small = rows[rows["pruned_share"] <= margins.b1_dose + 1e-9]
    recipe = ["task", "criterion", "max_lr", "weight_decay"]
    dosed = rows[rows.groupby(recipe)["pruned_share"].transform("nunique") > 1]
    slopes = pd.DataFrame(
        [(*key, _dose_slope(cell)) for key, cell in dosed.groupby([*recipe, "seed"], sort=False)],
        columns=[*recipe, "seed", "slope"],
    )
    thresholds = ("relative", "removable") if part.removable_images else ("relative",)
    return [
        *(_observed("B1", name, small, small[name], "task", *SETTING) for name in thresholds),
        _observed("B1c", "slope", slopes, slopes["slope"], *recipe),
        _observed("B1c", "excess", dosed, dosed["relative"], "task", *SETTING),
    ]


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
    return both.assign(pair=" against ".join(pair)), (both[column] - both[f"{column}_second"]).to_numpy(np.float64)


def _networks_shedding(preset: Preset, excesses: pd.DataFrame) -> list[pd.DataFrame]:
    """B3's excess, with recipes that decay weights: without, neither network sheds (docs/methods.md)."""
    part = study(preset).shedding
    assert part is not None
    made = []
    for pair in _networks(preset, part.tasks):
        decayed = excesses[excesses["weight_decay"] > 0]
        rows, values = _between(decayed, pair, "relative", *SETTING, "last_epoch")
        made.append(_observed("B3", "excess", rows, values, "pair", *SETTING))
    return made


def _criteria(preset: Preset, ends: pd.DataFrame) -> list[pd.DataFrame]:
    """B2, B3's gap and B4."""
    part = study(preset).criteria
    assert part is not None
    plain = ends[ends["prelude"] == "none"]
    at = ("task", "sparsity")
    random = ends[ends["criterion"].str.contains("random")]
    begun, over_control = _against_control(random, _meant_to_shed(preset), *at, "criterion")
    one_shot = _minus(begun, plain, *at, "criterion")
    scheme = ("task", "criterion", "prelude", "sparsity")
    others = plain[plain["criterion"] != GMP]
    behind = _minus(others, plain[plain["criterion"] == GMP], *at)
    made = [
        _observed("B2", "over_control", begun, over_control, *scheme),
        _observed("B2", "over_one_shot", begun, one_shot, *scheme),
    ]
    gaps = others.assign(behind=behind)[others["criterion"].str.contains("random")]
    for pair in _networks(preset, part.tasks):
        rows, values = _between(gaps, pair, "behind", "criterion", "sparsity")
        made.append(_observed("B3", "gap", rows, values, "pair", "criterion", "sparsity"))
    if (plain["criterion"] == GMP).any():
        made.append(_observed("B4", "behind", others, behind, *at, "criterion"))
    return made


def _overlaps(preset: Preset, runs: Path, ends: pd.DataFrame) -> list[pd.DataFrame]:
    """B8: after random pruning and a prelude, the overlap beyond chance with what magnitude pruning keeps.

    Between seeds, masks overlap in pairs that share seeds: no number per seed stands for that, so it is in the table
    of overlaps only. While seeds are missing the overlaps are not there yet.
    """
    part = study(preset).criteria
    assert part is not None
    tasks = [task for task in part.tasks if (runs / "cascade" / task / "overlap.csv").exists()]
    if not tasks:
        return []
    pairs = pd.concat([overlaps(runs, task, ends).assign(task=task) for task in tasks], ignore_index=True)
    pairs = pairs[pairs["sound"] & (pairs["seed_a"] == pairs["seed_b"])].rename(columns={"seed_a": "seed"})
    gmp = set(ends.loc[(ends["criterion"] == GMP) & (ends["prelude"] == "none"), "arm"])
    sides = [pairs.rename(columns={f"arm_{a}": "arm", f"arm_{b}": "other"}) for a, b in ("ab", "ba")]
    with_gmp = pd.concat([side.loc[side["other"].isin(gmp), [*RUN, "beyond"]] for side in sides])
    compared = ends[ends["task"].isin(tasks)].merge(with_gmp, on=RUN, how="left", validate="one_to_one")
    random = compared[compared["criterion"].str.contains("random")]
    at = ("task", "sparsity", "criterion")
    rows, values = _against_control(random, _meant_to_shed(preset), *at, column="beyond")
    return [_observed("B8", "overlap", rows, values, "task", "criterion", "prelude", "sparsity")]


def _retraining(ends: pd.DataFrame) -> list[pd.DataFrame]:
    """B7, and B4's schemes under every retraining."""
    at = ("task", "criterion", "sparsity")
    fine = ends[ends["retraining"] == "fine_tune"]
    rewound = ends[ends["retraining"] != "fine_tune"]
    made = [
        _observed("B7", "accuracy", rewound, _minus(rewound, fine, *at), *at, "retraining"),
        _observed("B7", "excess", rewound, _minus(rewound, fine, *at, column="excess"), *at, "retraining"),
    ]
    others, gmp = ends[ends["criterion"] != GMP], ends[ends["criterion"] == GMP]
    if len(gmp):
        where = ("task", "sparsity", "retraining")
        made.append(_observed("B4", "behind", others, _minus(others, gmp, *where), *where, "criterion"))
    return made


def _schedules(ends: pd.DataFrame) -> list[pd.DataFrame]:
    """B6."""
    axes = ("task", "pruning", "lr_schedule")
    return [
        _observed("B6", "accuracy", ends, ends["test_accuracy"], *axes),
        _observed("B6", "excess", ends, ends["excess"], *axes),
    ]


def _gmp(preset: Preset, runs: Path) -> list[pd.DataFrame]:
    """B5a and B5b. A run that diverged ends at chance, which is then what it leads with; it reaches nothing."""
    ends = run_ends(preset, runs, "gmp")
    ends = ends.merge(reaching(preset, runs, ends), on=RUN, how="left", validate="one_to_one")
    ends["log_steps"] = np.log(ends["steps"].astype(float))
    plain = ends[ends["prelude"] == "none"]
    at = ("task", "sparsity")
    shed, over_control = _against_control(ends, _meant_to_shed(preset), *at)
    goal = plain.assign(validation_accuracy=plain["validation_accuracy"].where(plain["status"] == "trained"))
    lead = np.where(shed["status"] == "trained", shed["lead"], _minus(shed, goal, *at, column="validation_accuracy"))
    cell = ("task", "prelude", "sparsity")
    return [
        _observed("B5a", "gain", shed, _minus(shed, plain, *at), *cell),
        _observed("B5a", "over_control", shed, over_control, *cell),
        _observed("B5b", "steps", shed, _minus(shed, plain, *at, column="log_steps"), *cell),
        _observed("B5b", "lead", shed, lead, *cell),
    ]


def _semi_structured(preset: Preset, ends: pd.DataFrame) -> list[pd.DataFrame]:
    """B9."""
    rows, values = _against_control(ends, _meant_to_shed(preset), "task", "pattern")
    return [_observed("B9", "accuracy", rows, values, "task", "pattern", "prelude")]


# --- Rules


def _best_case(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B1. The best of several recipes is looked for, so each one's interval is corrected for their number."""
    cells = sample.cells["relative"]
    needed = np.array([max(margins.b1_excess, _pruned_share(cell)) for cell in cells])
    looks = corrected(len(sample.cells["relative"]))
    relative = _above(sample.each("relative", looks).low, needed)
    measured = cells == sample.cells["removable"]
    removable = _above(sample.each("removable", looks).low, needed) if measured else np.zeros_like(relative)
    small = [sample.every(name, _below(sample.each(name).high, margins.b1_none)) for name in ("relative", "removable")]
    return Ruling(
        reproduced={
            "with some recipe the excess of weights that shrank lies above what is asked for": some(relative),
            "with some recipe the excess of removable weights does": some(removable),
            "with one and the same recipe both do": some(relative & removable),
        },
        # Neither definition of shed is the paper's: only what holds for both counts against it.
        refuted={"with every recipe both excesses lie below the least that counts": small[0] & small[1]},
    )


def _by_dose(cells: Cells) -> dict[str, list[int]]:
    """Positions of the excesses at each recipe's doses, the largest dose last."""
    groups = _grouped(cells["excess"])
    return {name: sorted(groups[name], key=lambda at: _pruned_share(cells["excess"][at])) for name in cells["slope"]}


def _caused(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B1c. A slope alone could lead from less than the control's to as much: the largest dose must have an excess."""
    looks = corrected(len(sample.cells["slope"]))
    largest = [doses[-1] for doses in _by_dose(sample.cells).values()]
    rises = _above(sample.each("slope", looks).low, 0)
    sheds = _above(sample.each("excess", looks).low[:, largest], margins.b1_none)
    # "The interval includes 0" is no evidence that there is nothing: it must lie below the least that counts.
    small = sample.every("excess", _below(sample.each("excess").high, margins.b1_none))
    return Ruling(
        reproduced={
            "with some recipe the excess rises with the share pruned": some(rises),
            "with one and the same recipe it also lies above the least that counts after the largest prune": some(
                rises & sheds
            ),
        },
        refuted={"after every prune the excess lies below the least that counts": small},
    )


def _no_loss(sample: Sample, quantity: str) -> Bools:
    """In no cell for certain: where a control breaks down in one, a gain there can outweigh losses in all others."""
    return ~some(_below(sample.each(quantity).high, 0))


def _rescued(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B2."""
    control, one_shot = sample.pooled("over_control"), sample.pooled("over_one_shot")
    return Ruling(
        reproduced={
            "the gain over the prelude's control lies above the margin": _above(control.low, margins.b2_gain),
            "the gain over one-shot random pruning lies above the margin": _above(one_shot.low, margins.b2_gain),
            "in no cell is either gain a loss": _no_loss(sample, "over_control") & _no_loss(sample, "over_one_shot"),
        },
        refuted={
            "the gain over the prelude's control lies below the least that counts": _below(
                control.high, margins.b2_none
            ),
            "the gain over one-shot random pruning lies below the least that counts": _below(
                one_shot.high, margins.b2_none
            ),
        },
    )


def _network_dependence(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B3. A difference for certain, but too small to matter, is none: the means must reach what equivalence allows."""
    bounds = {"excess": margins.b3_excess, "gap": margins.b3_gap}
    wide = {name: sample.pooled(name) for name in bounds}
    narrow = {name: sample.pooled(name, 0.9) for name in bounds}
    none = {name: _above(narrow[name].low, -bound) & _below(narrow[name].high, bound) for name, bound in bounds.items()}
    large = {name: wide[name].mean >= bound for name, bound in bounds.items()}
    return Ruling(
        reproduced={
            "the ResNet's excess lies above the MobileNet's": _above(wide["excess"].low, 0) & large["excess"],
            "random pruning costs the ResNet less, by an interval above 0": _above(wide["gap"].low, 0) & large["gap"],
        },
        refuted={
            "both differences are equivalent to none": none["excess"] & none["gap"],
            "the ResNet's excess lies below the MobileNet's": _below(wide["excess"].high, 0),
            "random pruning costs the ResNet more, by an interval below 0": _below(wide["gap"].high, 0),
        },
    )


def _at_least(share: float, total: int) -> int:
    """How many of `total` are at least this share."""
    return max(1, math.ceil(share * total - 1e-9))


def _competitive(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B4. GMP is compared with every other scheme, not with the best one, which would have to be chosen.

    That k of n scenes hold is tested as a partial conjunction (Benjamini and Heller 2008): each at 0.05 / (n - k + 1),
    because as many may be mistaken before fewer than k are left.
    """
    scenes = _grouped(sample.cells["behind"])
    needed, failing = (_at_least(share, len(scenes)) for share in (margins.b4_cells, margins.b4_far_cells))
    tables = sample.values["behind"].shape[0]
    close, far = np.zeros((2, tables))
    high = sample.each("behind", corrected(len(scenes) - needed + 1)).high
    low = {
        others: sample.each("behind", corrected((len(scenes) - failing + 1) * others)).low
        for others in {len(cells) for cells in scenes.values()}
    }
    for cells in scenes.values():
        close += _below(high[:, cells], margins.b4_gap).all(axis=-1)
        far += _above(low[len(cells)][:, cells], margins.b4_far).any(axis=-1)
    return Ruling(
        reproduced={"in enough settings GMP is within the margin of every other scheme": np.asarray(close >= needed)},
        refuted={"in too many settings some scheme is far above it": np.asarray(far >= failing)},
    )


def _improves(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B5a. The control shows whether it is the shedding that helps, or any small prune and epoch before."""
    gain, control = sample.pooled("gain"), sample.pooled("over_control")
    return Ruling(
        reproduced={
            "the gain over plain GMP lies above the margin": _above(gain.low, margins.b5a_gain),
            "the prelude that sheds gains over its control": _above(control.low, 0),
            "in no cell is the gain over plain GMP a loss": _no_loss(sample, "gain"),
        },
        refuted={"the gain over plain GMP lies below the margin": _below(gain.high, margins.b5a_gain)},
    )


def _cheaper(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B5b. Runs that never reach the accuracy have no number of updates: a mean of the others would flatter."""
    steps, lead = sample.pooled("steps"), sample.pooled("lead")
    never = np.isnan(sample.values["steps"]) & ~np.isnan(sample.values["lead"])
    all_reach = np.asarray(~never.any(axis=(-2, -1)))
    return Ruling(
        reproduced={
            "every run with the prelude reaches plain GMP's accuracy": all_reach,
            "the ratio of updates lies below the margin": _below(steps.high, math.log(margins.b5b_ratio)),
        },
        refuted={
            "the ratio of updates lies above 1": _above(steps.low, 0),
            "runs with the prelude never come near enough to plain GMP's accuracy": ~all_reach
            & _below(lead.high, -margins.b5b_reach),
        },
    )


def _layouts(sample: Sample) -> list[dict[str, Floats]]:
    """Each task's values by outcome, (tables, prunings, LR schedules, seeds); none where a combination is missing."""
    places = {cell: position for position, cell in enumerate(sample.cells["accuracy"])}
    if sample.cells["excess"] != sample.cells["accuracy"]:
        return []
    made = []
    for task, axes in _factors(sample.cells["accuracy"]).items():
        wanted = [[places.get(SEPARATOR.join((task, first, second))) for second in axes[1]] for first in axes[0]]
        if min(map(len, axes)) < 2 or any(place is None for row in wanted for place in row):
            return []
        made.append({name: sample.values[name][:, np.array(wanted)] for name in ("accuracy", "excess")})
    return made


def _factors(cells: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """By task: the pruning schedules and the LR schedules, in order."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for cell in cells:
        before, second = _apart(cell)
        task, first = _apart(before)
        for known, level in zip(found.setdefault(task, ([], [])), (first, second), strict=True):
            if level not in known:
                known.append(level)
    return found


def _schedules_matter(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B6.

    An eta squared measures an effect by the noise: where nothing is shed in most cells, the least excess has a large
    one, so means must also be apart. That every effect is estimated below that of a small one rests on no interval,
    but it hardly happens where one is large on both outcomes, and an upper bound below it would take hundreds of seeds.
    Iterative and gradual pruning prune what has shed: that the pruning schedule moves the excess is in part how it is
    measured, so there accuracy decides.
    """
    tables = sample.values["accuracy"].shape[0]
    layouts = _layouts(sample)
    least = {"accuracy": margins.b6_accuracy, "excess": margins.b6_excess}
    matters, nothing = np.full(tables, bool(layouts)), np.full(tables, bool(layouts))
    for layout in layouts:
        strong = np.ones((2, tables), dtype=np.bool_)
        for name, values in layout.items():
            effects = two_way(values)
            for nth, factor in enumerate(("first", "second")):
                eta, p = effects[factor]
                levels = t_interval(values.mean(axis=2 - nth)).mean
                strong[nth] &= (eta >= margins.b6_effect) & (p < margins.b6_p)
                strong[nth] &= np.ptp(levels, axis=-1) >= least[name]
            nothing &= np.logical_and.reduce([eta < margins.b6_none for eta, _ in effects.values()])
        matters &= strong.any(axis=0)
    return Ruling(
        reproduced={
            "every pruning schedule was run under every LR schedule": np.full(tables, bool(layouts)),
            "one and the same of the two has a large and certain effect on both outcomes": matters,
        },
        refuted={"no effect of either, or of both together, is as much as a small one": nothing},
    )


def _rewinding(sample: Sample, margins: CascadeMargins) -> Ruling:
    """B7. Either way of rewinding will do, so what one of them must show is corrected for their number.

    Where hardly anything is shed, hardly anything more of it is for certain more: means must be worth the name. Of
    cells that do not differ, those with the most noise alone decide their correlation (up to 46 % false ones in a
    simulation of noise in one cell of twelve): cells must differ for certain in both, which leaves less than 4 %.
    """
    cells = sample.cells["accuracy"]
    ways = list(dict.fromkeys(_apart(cell)[1] for cell in cells))
    better, more, no_better, no_more = np.zeros((4, sample.values["accuracy"].shape[0], len(ways)), dtype=np.bool_)
    for nth, way in enumerate(ways):
        of_way = [position for position, cell in enumerate(cells) if _apart(cell)[1] == way]
        for name, least, above, not_above in (
            ("accuracy", margins.b7_gain, better, no_better),
            ("excess", margins.b7_excess, more, no_more),
        ):
            mean = sample.values[name][:, of_way].mean(axis=1)
            found = t_interval(mean, corrected(len(ways)))
            above[:, nth] = _above(found.low, 0) & (found.mean >= least)
            not_above[:, nth] = t_interval(mean).high <= 1e-9
    link = correlation(sample.each("accuracy").mean, sample.each("excess").mean)
    differ = [two_way(values[:, :, None, :])["first"][1] < 0.05 for values in sample.values.values()]
    return Ruling(
        reproduced={
            "rewinding gains accuracy over fine-tuning": some(better),
            "the same way of rewinding sheds more than fine-tuning": some(better & more),
            "there are the four cells that a correlation needs": np.full(better.shape[:1], len(cells) >= 4),
            "cells differ for certain in both": np.logical_and.reduce(differ),
            "across cells, more accuracy goes with more shedding": _above(link.low, 0),
        },
        refuted={
            "no way of rewinding gains accuracy over fine-tuning": np.asarray(no_better.all(axis=-1) & bool(ways)),
            "no way of rewinding sheds more than fine-tuning": np.asarray(no_more.all(axis=-1) & bool(ways)),
        },
    )


def _two_sided(quantity: str, margin: str, what: str) -> Callable[[Sample, Any], Ruling]:
    """B8 and B9, whose direction the abstract does not give.

    Effects of opposite signs may cancel out in a mean, so only cells that are each without an effect count against it.
    """

    def judge(sample: Sample, margins: CascadeMargins) -> Ruling:
        least = getattr(margins, margin)
        mean, each = sample.pooled(quantity), sample.each(quantity, 0.9)
        return Ruling(
            reproduced={
                f"{what}, in either direction, by more than the margin": _above(mean.low, least)
                | _below(mean.high, -least)
            },
            refuted={
                "in every cell the difference is equivalent to none": sample.every(
                    quantity, _above(each.low, -least) & _below(each.high, least)
                )
            },
        )

    return judge


# --- Truths for the calibration


def _dose_response(size: Callable[[float, float], float]) -> Callable[[Any, Cells], Scenario]:
    """An excess that is proportional to the share pruned, `size` of (margin, largest share) at the largest."""

    def truth(margins: CascadeMargins, cells: Cells) -> Scenario:
        excess: dict[str, float] = {}
        slopes: dict[str, float] = {}
        for recipe, doses in _by_dose(cells).items():
            shares = [_pruned_share(cells["excess"][at]) for at in doses]
            slopes[recipe] = size(margins.b1_none, shares[-1]) / shares[-1]
            excess |= {cells["excess"][at]: slopes[recipe] * share for at, share in zip(doses, shares, strict=True)}
        return {"slope": slopes, "excess": excess}

    return truth


def _nearly_competitive(margins: CascadeMargins, cells: Cells) -> Scenario:
    """One scene too few in which GMP is competitive; in the others one scheme is at the margin."""
    scenes = _grouped(cells["behind"])
    failing = len(scenes) - _at_least(margins.b4_cells, len(scenes)) + 1
    truth = dict.fromkeys(cells["behind"], -4 * margins.b4_far)
    for others in list(scenes.values())[:failing]:
        truth[cells["behind"][others[0]]] = margins.b4_gap
    return {"behind": truth}


def _by_lr_schedule(accuracy: float, excess: float) -> Callable[[Any, Cells], Scenario]:
    """LR schedules that are these steps apart; pruning schedules that make no difference."""

    def truth(margins: CascadeMargins, cells: Cells) -> Scenario:
        factors = _factors(cells["accuracy"])

        def level(cell: str) -> int:
            before, schedule = _apart(cell)
            return factors[_apart(before)[0]][1].index(schedule)

        steps = {"accuracy": accuracy, "excess": excess}
        return {name: {cell: step * level(cell) for cell in cells[name]} for name, step in steps.items()}

    return truth


def _in_proportion(cells: Cells) -> Scenario:
    """Gains in accuracy of 1 to 4 points, and five times as much of the survivors shed."""
    accuracy = dict(zip(cells["accuracy"], np.linspace(0.01, 0.04, len(cells["accuracy"])).tolist(), strict=True))
    return {"accuracy": accuracy, "excess": {cell: 5 * gain for cell, gain in accuracy.items()}}


# --- The claims


def _claim(id: str, sentence: str, quantities: tuple[Quantity, ...], rule: str, **rest: Any) -> Claim:
    """One whose sentence is of the abstract: all that is known of this paper, in which there is no number."""
    return Claim(id, "cascade", sentence, "[abstract]", quantities, rule, published="n/a", **rest)


CLAIMS: tuple[Claim, ...] = (
    _claim(
        "B1",
        "Cascade weight shedding: \"in response to pruning a small percentage of a network's weights, a large "
        'percentage of the remaining is shed over a few epochs during the ensuing fine-tuning phase".',
        (
            Quantity(
                "relative",
                "survivors that shrank to 5 % of their value, minus the unpruned control's",
                "points",
                marks=("b1_excess", "b1_none"),
            ),
            Quantity(
                "removable",
                "survivors that can be removed at 1 % more loss, minus the control's",
                "points",
                marks=("b1_excess", "b1_none"),
            ),
        ),
        "On ResNets, within {b1_epochs:g} epochs of pruning at most {b1_dose:.0%}, by the best of the recipes. "
        "Reproduced: with one recipe the intervals of both excesses (corrected for the number of recipes) lie above "
        "{b1_excess:.0%} of the survivors and above the share that was pruned. Not reproduced: with every recipe both "
        "lie below {b1_none:.0%}.",
        judge=_best_case,
        no_effect=lambda m, cells: {
            name: {cell: max(m.b1_excess, _pruned_share(cell)) for cell in cells[name]}
            for name in ("relative", "removable")
        },
        claimed=lambda m, cells: {"relative": 2 * m.b1_excess, "removable": 2 * m.b1_excess},
        claimed_as="[ours]: with every recipe an excess of twice the margin",
        tables=("cascade_shedding",),
        figures=("cascade_shedding", "cascade_histograms"),
    ),
    _claim(
        "B1c",
        "Weights are shed in response to the pruning, not by the fine-tuning alone.",
        (
            Quantity("slope", "rise of the excess (B1's, of weights that shrank) per share of weights pruned", "slope"),
            Quantity(
                "excess",
                "survivors that shrank to 5 % of their value, minus the unpruned control's",
                "points",
                marks=("b1_none",),
            ),
        ),
        "On ResNets, with recipes that prune several shares. Reproduced: with one recipe the intervals (corrected for "
        "the number of recipes) of the slope lie above 0 and of the excess after the largest prune above "
        "{b1_none:.0%}. Not reproduced: after every prune the excess lies below {b1_none:.0%}.",
        judge=_caused,
        no_effect=_dose_response(lambda margin, largest: margin),
        claimed=_dose_response(lambda margin, largest: largest),
        claimed_as="[ours]: an excess as large as the share that was pruned",
        tables=("cascade_shedding",),
        figures=("cascade_shedding",),
    ),
    _claim(
        "B2",
        "Shedding rescues sub-optimal schemes such as random pruning.",
        (
            Quantity(
                "over_control",
                "test accuracy after a random prune and a prelude that sheds, "
                "minus after the prelude's control, which does not",
                "points",
                marks=("b2_gain", "b2_none"),
            ),
            Quantity(
                "over_one_shot",
                "test accuracy after a random prune and a prelude that sheds, "
                "minus after one-shot random pruning to the same sparsity",
                "points",
                marks=("b2_gain", "b2_none"),
            ),
        ),
        "Means over networks, random criteria and sparsities. Reproduced: both gains' intervals lie above "
        "{b2_gain:.1%}, and no cell's lies below 0. Not reproduced: one of them lies below {b2_none:.1%}.",
        judge=_rescued,
        no_effect=lambda m, cells: {"over_control": m.b2_gain, "over_one_shot": m.b2_gain},
        claimed=lambda m, cells: {"over_control": 3 * m.b2_gain, "over_one_shot": 3 * m.b2_gain},
        claimed_as="[ours]: three times the margin",
        tables=("cascade_criteria",),
        figures=("cascade_random_vs_magnitude",),
    ),
    _claim(
        "B3",
        "Shedding explains why what pruning costs depends on the network: ResNet50 against MobileNetV3.",
        (
            Quantity(
                "excess",
                "excess (B1's, of weights that shrank) on the ResNet minus on the MobileNet",
                "points",
                marks=("±b3_excess",),
            ),
            Quantity(
                "gap",
                "accuracy that random pruning loses to global magnitude (GMP) on the MobileNet, minus on the ResNet",
                "points",
                marks=("±b3_gap",),
            ),
        ),
        "Means over settings with weight decay, and over random criteria and sparsities. Reproduced: both intervals "
        "lie above 0, and the means are at least {b3_excess:.1%} and {b3_gap:.1%}. Not reproduced: both are equivalent "
        "to 0 within these (90 % intervals), or one lies below 0.",
        judge=_network_dependence,
        no_effect=lambda m, cells: {"excess": 3 * m.b3_excess, "gap": 0.0},
        claimed=lambda m, cells: {"excess": 3 * m.b3_excess, "gap": 6 * m.b3_gap},
        claimed_as="[ours]: three times the margin in excess, six times in accuracy",
        tables=("cascade_shedding", "cascade_criteria"),
        figures=("cascade_networks",),
    ),
    _claim(
        "B4",
        "Global magnitude-based pruning (GMP) is competitive in a wide range of settings.",
        (Quantity("behind", "test accuracy of another scheme minus GMP's", "points", marks=("b4_gap", "b4_far")),),
        "GMP against every other scheme in each combination of network, sparsity and retraining. Reproduced: in "
        "{b4_cells:.0%} of these GMP is for certain within {b4_gap:.1%} of every other scheme. Not reproduced: in "
        "{b4_far_cells:.0%} some scheme is for certain more than {b4_far:.1%} above it. Intervals are corrected for "
        "the combinations that need not hold, and for the number of schemes.",
        judge=_competitive,
        no_effect=_nearly_competitive,
        claimed=lambda m, cells: {"behind": -4 * m.b4_gap},
        claimed_as="[ours]: every other scheme four times the margin below GMP",
        tables=("cascade_criteria", "cascade_retraining"),
        figures=("cascade_random_vs_magnitude",),
    ),
    _claim(
        "B5a",
        "Shedding can improve GMP's accuracy.",
        (
            Quantity(
                "gain",
                "test accuracy of GMP after a prelude that sheds minus that of plain GMP",
                "points",
                marks=("b5a_gain",),
            ),
            Quantity("over_control", "the same minus GMP after the prelude's control, which does not shed", "points"),
        ),
        "Gradual global magnitude pruning, at the same epochs and sparsity, mean over networks and sparsities. "
        "Reproduced: the gain's interval lies above {b5a_gain:.1%} and no cell's below 0, and the gain over the "
        "prelude's control lies above 0. Not reproduced: the gain lies below {b5a_gain:.1%}.",
        judge=_improves,
        no_effect=lambda m, cells: {"gain": m.b5a_gain, "over_control": 3 * m.b5a_gain},
        claimed=lambda m, cells: {"gain": 5 * m.b5a_gain, "over_control": 5 * m.b5a_gain},
        claimed_as="[ours]: five times the margin",
        tables=("cascade_gmp",),
        figures=("cascade_gmp",),
    ),
    _claim(
        "B5b",
        "Shedding can cut GMP's computation.",
        (
            Quantity(
                "steps",
                "updates until plain GMP's accuracy is reached, over those that plain GMP took",
                "ratio",
                marks=("b5b_ratio",),
            ),
            Quantity(
                "lead",
                "best validation accuracy at the final sparsity minus plain GMP's last",
                "points",
                marks=("-b5b_reach",),
            ),
        ),
        "Reached is a validation accuracy at most {b5b_reach:.1%} below plain GMP's last one, at the final sparsity. "
        "Reproduced: every run with the prelude reaches it, and the interval of the mean ratio of updates lies below "
        "{b5b_ratio:g}. Not reproduced: the ratio lies above 1, or some runs never reach it and the lead lies below "
        "-{b5b_reach:.1%}.",
        judge=_cheaper,
        no_effect=lambda m, cells: {"steps": math.log(m.b5b_ratio), "lead": 0.0},
        claimed=lambda m, cells: {"steps": 3 * math.log(m.b5b_ratio), "lead": 0.0},
        claimed_as="[ours]: the margin's ratio to the third power",
        tables=("cascade_gmp",),
        figures=("cascade_gmp",),
    ),
    _claim(
        "B6",
        "Pruning schedules and learning-rate schedules matter.",
        (
            Quantity("accuracy", "test accuracy", "share"),
            Quantity("excess", "survivors that shrank to 5 % of their value, minus the unpruned control's", "points"),
        ),
        "Analysis of variance of pruning schedule x LR schedule with seeds as blocks, on accuracy and on excess. "
        "Reproduced: for one of the two factors, on both outcomes, partial eta squared is at least {b6_effect:g} with "
        "p < {b6_p:g}, and means are at least {b6_accuracy:.1%} and {b6_excess:.1%} apart. Not reproduced: every "
        "partial eta squared, also the interaction's, is below {b6_none:g}.",
        judge=_schedules_matter,
        no_effect=_by_lr_schedule(0.02, 0.0),
        claimed=_by_lr_schedule(0.02, 0.1),
        claimed_as="[ours]: LR schedules 2 points of accuracy and 10 % of the survivors apart",
        headline=None,  # a pattern over several means
        tables=("cascade_schedules",),
        figures=("cascade_schedules",),
    ),
    _claim(
        "B7",
        "Rewinding weights or learning rates has an advantage over fine-tuning, which may be linked to shedding.",
        (
            Quantity("accuracy", "test accuracy after rewinding minus after fine-tuning", "points", marks=("b7_gain",)),
            Quantity(
                "excess",
                "excess (B1's, of weights that shrank) with rewinding minus with fine-tuning",
                "points",
                marks=("b7_excess",),
            ),
        ),
        "Reproduced: with one way of rewinding the intervals of the gain and of the additional excess (corrected for "
        "the number of ways) lie above 0, their means are at least {b7_gain:.1%} and {b7_excess:.1%}, and over at "
        "least 4 cells, which differ in both at p < 0.05, the interval of their correlation lies above 0. Not "
        "reproduced: with no way of rewinding is the gain, or is the additional excess, above 0.",
        judge=_rewinding,
        no_effect=lambda m, cells: {"accuracy": 0.02, "excess": 0.1},
        claimed=lambda m, cells: _in_proportion(cells),
        claimed_as="[ours]: 1 to 4 points of accuracy with 5 to 20 % more of the survivors shed",
        tables=("cascade_retraining",),
        figures=("cascade_retraining",),
    ),
    _claim(
        "B8",
        "Shedding has an effect on the set of weights that are kept.",
        (
            Quantity(
                "overlap",
                "Jaccard overlap beyond chance with GMP's mask, of random pruning with a prelude that "
                "sheds minus with the prelude's control",
                "points",
                marks=("±b8_overlap",),
            ),
        ),
        "Mean over networks, random criteria and sparsities, direction not given. Reproduced: the interval lies above "
        "{b8_overlap:g} or below -{b8_overlap:g}. Not reproduced: every cell is equivalent to 0 within "
        "{b8_overlap:g} (90 % intervals).",
        judge=_two_sided("overlap", "b8_overlap", "the overlap with GMP's mask differs"),
        no_effect=lambda m, cells: {"overlap": m.b8_overlap},
        claimed=lambda m, cells: {"overlap": 5 * m.b8_overlap},
        claimed_as="[ours]: five times the margin",
        tables=("cascade_overlap",),
        figures=("cascade_overlap",),
    ),
    _claim(
        "B9",
        "Shedding has implications for semi-structured pruning.",
        (
            Quantity(
                "accuracy",
                "test accuracy under a pattern after a prelude that sheds minus after its control",
                "points",
                marks=("±b9_loss",),
            ),
        ),
        "Mean over patterns, direction not given. Reproduced: the interval lies above {b9_loss:.1%} or below "
        "-{b9_loss:.1%}. Not reproduced: every cell is equivalent to 0 within {b9_loss:.1%} (90 % intervals).",
        judge=_two_sided("accuracy", "b9_loss", "the accuracy under a pattern differs"),
        no_effect=lambda m, cells: {"accuracy": m.b9_loss},
        claimed=lambda m, cells: {"accuracy": 5 * m.b9_loss},
        claimed_as="[ours]: five times the margin",
        tables=("cascade_semi_structured",),
        figures=("cascade_semi_structured",),
    ),
)
"""Claims B1 to B9 in order."""
