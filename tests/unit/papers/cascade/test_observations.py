"""What claims B1 to B9 observe in made-up runs, against the study's tables."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from prunebench.papers.cascade import PAPER
from prunebench.papers.cascade.config import CascadeMargins
from prunebench.suite.cells import label
from prunebench.suite.claim import OBSERVATION, sample
from prunebench.suite.preset import load_preset

CLAIM = {claim.id: claim for claim in PAPER.claims}
MARGINS = CascadeMargins()
PARTS = {
    "shedding": {"B1", "B1c", "B3"},
    "criteria": {"B2", "B3", "B4", "B8"},
    "retraining": {"B4", "B7"},
    "schedules": {"B6"},
    "gmp": {"B5a", "B5b"},
    "semi_structured": {"B9"},
}


def values_of(observed, claim, quantity):
    """By the cell's label and the seed."""
    rows = observed[(observed["claim"] == claim) & (observed["quantity"] == quantity)]
    return rows.assign(cell=rows["cell"].map(label)).set_index(["cell", "seed"])["value"]


def means(observed, claim, quantity):
    """Cell -> mean over the seeds that have a value."""
    return values_of(observed, claim, quantity).groupby("cell").mean().to_dict()


def decided(observed):
    """The verdicts of the claims that are observed."""
    claims = [CLAIM[name] for name in dict.fromkeys(observed["claim"])]
    rulings = {claim.id: claim.judge(sample(observed, claim), MARGINS) for claim in claims}
    return {name: "yes" if ruling.yes[0] else "no" for name, ruling in rulings.items() if ruling.yes[0] or ruling.no[0]}


def percent(share):
    return f"{100 * share:g} %"


def setting(row):
    """A shedding setting as a label names it."""
    recipe = f"LR {row['max_lr']:g} · weight decay {row['weight_decay']:g} · pruned {percent(row['pruned_share'])}"
    return f"{row['task']} · {row['criterion']} · {recipe}"


def by_setting(rows, column="excess"):
    return {setting(row): row[column] for row in rows.to_dict("records")}


# --- Equal to the tables


def test_there_is_one_value_per_claim_quantity_cell_and_seed(observed):
    assert list(observed.columns) == list(OBSERVATION)
    assert list(dict.fromkeys(observed["claim"])) == [*CLAIM]
    assert not observed.duplicated(["claim", "quantity", "cell", "seed"]).any()
    assert set(observed["seed"]) == {0, 1, 2}
    for claim in PAPER.claims:
        found = sample(observed, claim)
        assert all(found.cells[quantity.name] for quantity in claim.quantities), claim.id
        assert np.isfinite(found.values[claim.quantities[0].name]).all() or claim.id == "B5b"


@pytest.mark.parametrize("threshold", ["relative", "removable"])
def test_b1_is_the_excess_of_the_table_on_resnets(tables, observed, threshold):
    frame = tables["cascade_shedding"]
    rows = frame[(frame["threshold"] == threshold) & (frame["task"] == "net_a")]
    assert len(rows) == 6
    assert means(observed, "B1", threshold) == pytest.approx(by_setting(rows))


def test_b1_is_about_few_epochs_after_small_prunes(cascade):
    runs = cascade.runs(parts=["shedding"], margins={"b1_epochs": 1, "b1_dose": 0.1})
    curves, observed = runs.table("cascade_shedding_curves"), runs.observations()
    rows = curves[(curves["epoch"] == 1) & (curves["task"] == "net_a") & (curves["pruned_share"] == 0.1)]
    for threshold in ("relative", "removable"):
        expected = by_setting(rows[rows["threshold"] == threshold])
        assert len(expected) == 2
        assert means(observed, "B1", threshold) == pytest.approx(expected)


def test_b1c_is_the_slope_over_the_shares_that_one_recipe_prunes(tables, observed):
    frame = tables["cascade_shedding"]
    rows = frame[(frame["threshold"] == "relative") & (frame["task"] == "net_a") & (frame["max_lr"] == 0.1)]
    assert means(observed, "B1c", "excess") == pytest.approx(by_setting(rows))
    slopes = {}
    for criterion, doses in rows.groupby("criterion"):
        low, high = doses.sort_values("pruned_share")["excess"]
        slopes[f"net_a · {criterion} · LR 0.1 · weight decay 0.01"] = (high - low) / 0.1
    assert means(observed, "B1c", "slope") == pytest.approx(slopes)


def test_b2_is_the_difference_to_the_control_and_to_one_shot_pruning(tables, observed):
    frame = tables["cascade_criteria"].set_index(["task", "criterion", "prelude", "sparsity"])
    over_control, over_one_shot = {}, {}
    for task, sparsity in itertools.product(("net_a", "net_b"), (0.5, 0.9)):
        cell = f"{task} · random · shedding · {percent(sparsity)}"
        shed, plain = (frame.loc[(task, "random", prelude, sparsity)] for prelude in ("shedding", "none"))
        over_control[cell] = shed["control_difference"]
        over_one_shot[cell] = shed["difference"] - plain["difference"]
    assert means(observed, "B2", "over_control") == pytest.approx(over_control)
    assert means(observed, "B2", "over_one_shot") == pytest.approx(over_one_shot)


def test_b3_is_the_resnet_minus_the_mobilenet(tables, observed):
    shed = tables["cascade_shedding"]
    shed = shed[(shed["threshold"] == "relative") & (shed["weight_decay"] > 0)]
    of = {task: by_setting(rows) for task, rows in shed.groupby("task")}
    excesses = {
        cell.replace("net_a", "net_a · against net_b"): excess - of["net_b"][cell.replace("net_a", "net_b")]
        for cell, excess in of["net_a"].items()
    }
    assert means(observed, "B3", "excess") == pytest.approx(excesses)
    lost = tables["cascade_criteria"].set_index(["task", "criterion", "prelude", "sparsity"])["difference"]
    gaps = {
        f"net_a · against net_b · random · {percent(sparsity)}": lost["net_a", "random", "none", sparsity]
        - lost["net_b", "random", "none", sparsity]
        for sparsity in (0.5, 0.9)
    }
    assert means(observed, "B3", "gap") == pytest.approx(gaps)


def test_networks_on_different_data_are_not_compared(cascade):
    content = cascade.content(parts=["shedding", "criteria"])
    content["datasets"]["other"] = content["datasets"]["d"]
    content["tasks"]["net_b"] = content["tasks"]["net_b"] | {"dataset": "other"}
    assert set(cascade.runs(content).observations()["claim"]) == {"B1", "B1c", "B2", "B4", "B8"}


def test_b4_is_the_difference_of_every_other_scheme(tables, observed):
    frame = tables["cascade_criteria"]
    rows = frame[(frame["prelude"] == "none") & (frame["criterion"] == "random")].to_dict("records")
    expected = {f"{row['task']} · {percent(row['sparsity'])} · random": row["difference"] for row in rows}
    again = tables["cascade_retraining"].set_index(["criterion", "retraining"])["test_accuracy"]
    expected |= {
        f"net_a · 80 % · {way} · random": again["random", way] - again["global_magnitude", way]
        for way in ("fine_tune", "rewind_lr", "rewind_weights")
    }
    assert means(observed, "B4", "behind") == pytest.approx(expected)


def test_b4_asked_of_another_criterion_compares_with_that_one(made, observed):
    asked = {(each.cell, each.seed): each.value for each in CLAIM["B4"].observe(made.data(), "random")}
    plain = {(each.cell, each.seed): each.value for each in CLAIM["B4"].observe(made.data(), None)}
    swapped = {
        (tuple((axis, "random" if at == "global_magnitude" else at) for axis, at in cell), seed): -value
        for (cell, seed), value in asked.items()
    }
    assert swapped == pytest.approx(plain)
    assert not [*CLAIM["B4"].observe(made.data(), "lamp")]


def test_b5_is_gradual_pruning_with_the_prelude_that_sheds(tables, observed):
    rows = tables["cascade_gmp"]
    rows = rows[rows["prelude"] == "shedding"]
    rows = rows.set_index([[f"net_a · shedding · {percent(sparsity)}" for sparsity in rows["sparsity"]]])
    assert means(observed, "B5a", "gain") == pytest.approx(rows["difference"].to_dict())
    assert means(observed, "B5a", "over_control") == pytest.approx(rows["control_difference"].to_dict())
    for cell, logs in values_of(observed, "B5b", "steps").groupby("cell"):
        assert logs.notna().sum() == rows.loc[cell, "reached"]
        assert np.exp(logs.mean()) == pytest.approx(rows.loc[cell, "steps_ratio"], nan_ok=True)


def test_b5b_who_does_not_reach_the_accuracy_lags_behind_it(observed):
    steps, lead = (values_of(observed, "B5b", quantity) for quantity in ("steps", "lead"))
    assert set(steps.isna()) == {True, False}
    assert ((lead < -MARGINS.b5b_reach - 1e-9) == steps.isna()).all()


def test_b6_and_b7_are_the_cells_of_the_tables(tables, observed):
    rows = tables["cascade_schedules"]
    cells = [" · ".join(each) for each in rows[["task", "pruning", "lr_schedule"]].itertuples(index=False)]
    for name, column in {"accuracy": "test_accuracy", "excess": "excess"}.items():
        assert means(observed, "B6", name) == pytest.approx(dict(zip(cells, rows[column], strict=True)))
    rows = tables["cascade_retraining"]
    rows = rows[rows["retraining"] != "fine_tune"]
    cells = [f"net_a · {row.criterion} · 80 % · {row.retraining}" for row in rows.itertuples()]
    for name, column in {"accuracy": "difference", "excess": "excess_difference"}.items():
        assert means(observed, "B7", name) == pytest.approx(dict(zip(cells, rows[column], strict=True)))


def test_b8_is_the_overlap_with_gmp_beyond_chance_against_the_control(tables, observed):
    frame = tables["cascade_overlap"]
    rows = frame[frame["comparison"] == "schemes"].to_dict("records")
    beyond = {(row["task"], row["sparsity"], frozenset((row["a"], row["b"]))): row["excess"] for row in rows}
    expected = {}
    for task, sparsity in itertools.product(("net_a", "net_b"), (0.5, 0.9)):
        shed, control = (
            beyond[task, sparsity, frozenset(("global_magnitude", f"random + {prelude}"))]
            for prelude in ("shedding", "no_decay")
        )
        expected[f"{task} · random · shedding · {percent(sparsity)}"] = shed - control
    assert means(observed, "B8", "overlap") == pytest.approx(expected)


def test_b9_is_the_difference_to_the_control_under_every_pattern(tables, observed):
    rows = tables["cascade_semi_structured"]
    rows = rows[rows["prelude"] == "shedding"].to_dict("records")
    expected = {f"net_a · {row['pattern']} · shedding": row["control_difference"] for row in rows}
    assert means(observed, "B9", "accuracy") == pytest.approx(expected)


# --- What may be missing


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_gives_its_claims(cascade, part):
    observed = cascade.runs(parts=[part]).observations()
    assert set(observed["claim"]) == PARTS[part]
    decided(observed)  # no rule fails where some of its quantities are missing


def test_one_seed_decides_nothing(cascade):
    observed = cascade.runs(seeds=[3]).observations()
    assert set(observed["seed"]) == {3}
    assert set(observed["claim"]) == {*CLAIM}
    assert not decided(observed)


def test_where_everything_diverged_nothing_is_decided(cascade):
    observed = cascade.runs(lost=lambda job, arm: 0).observations()
    assert set(observed["claim"]) == {*CLAIM}
    assert not decided(observed)
    assert observed.loc[observed["claim"] != "B6", "value"].isna().all()


def test_a_diverged_run_is_at_chance_in_accuracy_and_missing_in_what_is_shed(cascade, observed):
    def lost(job, arm):
        hit = arm.axes.get("prelude") == "shedding" or arm.name.startswith("control")
        return 0 if job.seed == 1 and hit else None

    again = cascade.runs(lost=lost).observations()
    keys = ["claim", "quantity", "cell", "seed"]
    assert again[keys].equals(observed[keys])
    changed = again["value"].fillna(9) != observed["value"].fillna(9)
    assert set(again.loc[changed, "seed"]) == {1}
    one = again[again["seed"] == 1].set_index(["claim", "quantity"]).sort_index()["value"]
    for name in [("B1", "relative"), ("B1c", "slope"), ("B3", "excess"), ("B6", "excess"), ("B8", "overlap")]:
        assert one.loc[name].isna().all()
    assert one.loc["B5b", "steps"].isna().all()
    # 0.1 minus an accuracy of at least 0.5
    for name in [("B2", "over_control"), ("B5a", "gain"), ("B9", "accuracy")]:
        assert (one.loc[name] <= -0.4).all()
    assert (one.loc["B5b", "lead"] <= 0.1).all()


def test_without_overlaps_there_is_no_b8(cascade):
    runs = cascade.runs(parts=["criteria"])
    for path in runs.folder.rglob("overlap.csv"):
        path.unlink()
    assert set(runs.observations()["claim"]) == PARTS["criteria"] - {"B8"}


def test_without_removable_shares_b1_stays_open(cascade):
    def change(job, rows_of):
        for row in rows_of["shedding"]:
            row["relative"] = 0.5 * (row["arm"] == row["followed"])

    observed = cascade.runs(parts=["shedding"], shedding={"removable_images": 0}, change=change).observations()
    assert set(observed.loc[observed["claim"] == "B1", "quantity"]) == {"relative"}
    assert {*means(observed, "B1", "relative").values()} == {0.5}
    assert "B1" not in decided(observed)


def test_without_a_control_no_prelude_is_meant_to_shed(cascade):
    prelude = {"sparsity": 0.2, "epochs": 1, "max_lr": 0.1, "weight_decay": 0}
    runs = cascade.runs(
        parts=["criteria", "gmp", "semi_structured"], preludes={"shedding": prelude, "no_decay": prelude}
    )
    assert set(runs.observations()["claim"]) == {"B3", "B4"}


@pytest.mark.parametrize("name", ["smoke", "laptop"])
def test_presets_of_the_project_observe_every_claim(cascade, name):
    preset = load_preset(Path(__file__).parents[4] / f"config/{name}.yaml")
    only = preset.model_copy(update={"s_cyc": None, "directional": None, "seeds": preset.seeds[:2]})
    assert set(cascade.written(only).observations()["claim"]) == {*CLAIM}
