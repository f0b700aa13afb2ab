"""Claims C1 to C9: what is observed in made-up runs, against the study's tables."""

import itertools
import math

import numpy as np
import pytest

from prunebench.papers.directional import PAPER
from prunebench.suite.cells import cell, value
from prunebench.suite.claim import OBSERVATION, sample
from prunebench.suite.ledger import observe

CLAIM = {claim.id: claim for claim in PAPER.claims}
GRDA = "grda.c0.02.mu0.6"
FIRST = "c 0.02, mu 0.6"
BASELINES = {
    "over_gradual": "gmp_gradual",
    "over_random": "random",
    "over_one_shot": "gmp_one_shot",
    "over_l1": "l1",
}


@pytest.fixture(scope="module")
def observed(made):
    found, _ = made.observations()
    return found


def values_of(observed, claim, quantity, **axes):
    """What is observed of a claim's quantity in the cell of these axes, by seed."""
    rows = observed[(observed["claim"] == claim) & (observed["quantity"] == quantity)]
    rows = rows[[at == cell(**axes) for at in rows["cell"]]]
    assert len(rows), (claim, quantity, axes)
    return rows["value"].dropna().to_numpy()


def cells_of(observed, claim, quantity):
    return set(observed.loc[(observed["claim"] == claim) & (observed["quantity"] == quantity), "cell"])


def assert_mean(values, expected, log=False):
    assert (math.exp(values.mean()) if log else values.mean()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_observations_are_one_number_per_claim_quantity_cell_and_seed(observed):
    assert list(observed.columns) == [*OBSERVATION]
    assert not observed.duplicated(["claim", "quantity", "cell", "seed"]).any()
    assert list(dict.fromkeys(observed["claim"])) == [f"C{number}" for number in range(1, 10)]
    for claim in PAPER.claims:
        named = {quantity.name for quantity in claim.quantities}
        assert set(observed.loc[observed["claim"] == claim.id, "quantity"]) <= named


def test_networks_without_pruning_are_sgd_s(study, made, all_tables, only):
    networks = {network.task: network for network in observe(made.preset, made.folder).networks["directional"]}
    assert {*networks} == {*study.settings}
    for task, network in networks.items():
        row = only(all_tables["accuracy"], task=task, method="sgd")
        assert (network.accuracy, network.n) == (pytest.approx(row["test_accuracy"]), row["n"])


# --- As the tables have it


def test_accuracies_and_sparsities_are_those_of_the_tables(study, observed, all_tables, only):
    frame = all_tables["accuracy"]
    for task, label in [(task, label) for task, labels in study.settings.items() for label in labels]:
        own = only(frame, task=task, method="grda", matched_to=label)
        at = {"task": task, "setting": label}
        for claim in ("C2", "C5"):
            assert_mean(values_of(observed, claim, "difference", **at), own["difference"])
        assert_mean(values_of(observed, "C2", "sparsity", **at), own["sparsity"])
        for quantity, method in BASELINES.items():
            other = only(frame, task=task, method=method, matched_to=label)
            found = values_of(observed, "C3", quantity, **at, sparsity=own["sparsity"])
            assert_mean(found, other["grda_difference"])
    assert len(cells_of(observed, "C5", "difference")) == len(cells_of(observed, "C3", "over_random")) == 3


def test_sensitivity_is_that_of_the_table(study, observed, all_tables, only):
    for task, axes in itertools.product(study.settings, ({"c_factor": 0.5}, {"mu_shift": 0.05})):
        row = only(all_tables["sensitivity"], task=task, **axes)
        assert_mean(values_of(observed, "C2", "sparsity_change", task=task, **axes), row["sparsity_change"])
        assert_mean(values_of(observed, "C2", "accuracy_change", task=task, **axes), row["difference"])
    assert len(cells_of(observed, "C2", "sparsity_change")) == 4


def test_exact_problems_are_those_of_the_table(observed, all_tables, only):
    for problem in ("least_squares", "network"):
        row = only(all_tables["toy"], problem=problem, fixed="c", gamma=0.003)
        for quantity in ("slope", "error", "cosine"):
            assert_mean(values_of(observed, "C1", quantity, problem=problem), row[quantity])
        assert_mean(values_of(observed, "C1", "control", problem=problem), row["soft_error"] - row["error"])
        row = only(all_tables["toy"], problem=problem, fixed="lam", gamma=0.003)
        assert_mean(values_of(observed, "C1", "slope_at_fixed_lambda", problem=problem), row["slope"])


def test_cost_is_that_of_the_table_and_its_seeds_are_blocks(observed, all_tables, only):
    frame = all_tables["overhead"]
    step = only(frame, network="net_a", measure="training step", optimizer="grda")
    assert_mean(values_of(observed, "C4", "time", network="net_a"), step["ratio_sgd"], log=True)
    for network in ("net_a", "resnet50"):
        row = only(frame, network=network, measure="optimizer step", optimizer="grda")
        for quantity, column in (("update", "ratio_sgd"), ("update_over_momentum", "ratio_momentum")):
            assert_mean(values_of(observed, "C4", quantity, network=network), row[column], log=True)
        for quantity in ("state", "peak"):
            assert_mean(values_of(observed, "C4", quantity, network=network), row[f"{quantity}_ratio"])
    assert cells_of(observed, "C4", "time") == {cell(network="net_a")}
    assert set(observed.loc[observed["claim"] == "C4", "seed"]) == {1, 2, 3}
    interval = sample(observed, CLAIM["C4"]).each("time")
    ends = np.exp([interval.low[0, 0], interval.high[0, 0]])
    assert ends == pytest.approx([step["ratio_sgd_low"], step["ratio_sgd_high"]])


def test_paths_are_those_of_the_table_where_sgd_reached_a_minimum(observed, all_tables, only):
    frame = all_tables["connectivity"]
    row = only(frame, task="net_a", pair="grda:sgd", path="curve")
    for quantity in ("barrier", "error_rise", "control_difference"):
        assert_mean(values_of(observed, "C6", quantity, task="net_a"), row[quantity])
    line = only(frame, task="net_a", pair="grda:sgd", path="line")
    assert_mean(values_of(observed, "C6", "line_barrier", task="net_a"), line["barrier"])
    for pair in ("sgd:sgd_init", "grda:sgd_init"):
        row = only(frame, task="net_a", pair=pair, path="curve")
        assert_mean(values_of(observed, "C6", "control_barrier", task="net_a", pair=pair), row["barrier"])
    end = {"task": "net_a", "pair": "grda:sgd", "path": "curve", "statistics": "recomputed"}
    grda, sgd = (only(all_tables["paths"], **end, t=t)["train_loss"] for t in (0, 1))
    assert_mean(values_of(observed, "C6", "gap", task="net_a"), grda - sgd)
    there = observed.loc[observed["claim"].isin(["C6", "C7"]), "cell"]
    assert {value(at, "task") for at in there} == {"net_a"}


def test_curvature_is_that_of_the_table_where_sgd_reached_a_minimum(observed, all_tables, only):
    frame, at = all_tables["curvature"], {"task": "net_a", "k": 1}
    row = only(frame, **at, epoch=4, pair="grda:sgd")
    assert_mean(values_of(observed, "C7", "over_chance", **at), row["over_chance"])
    assert_mean(values_of(observed, "C7", "early", **at), row["early_ratio"], log=True)
    assert_mean(values_of(observed, "C7", "control", **at), row["control_ratio"], log=True)
    assert_mean(values_of(observed, "C7", "quadratic", **at), row["quadratic"])
    control = only(frame, **at, epoch=4, pair="sgd_order:sgd")
    assert_mean(values_of(observed, "C7", "control_quadratic", **at), control["quadratic"])
    elsewhere = {cell(task="net_a", k=k, epoch=epoch) for k in (1, 4) for epoch in (1, 2, 4) if (k, epoch) != (1, 4)}
    assert cells_of(observed, "C7", "elsewhere") == elsewhere
    row = only(frame, task="net_a", epoch=2, pair="grda:sgd", k=4)
    assert_mean(values_of(observed, "C7", "elsewhere", task="net_a", k=4, epoch=2), row["over_chance"])
    assert cells_of(observed, "C7", "quadratic_batch_norm") == set()


def test_norms_are_those_of_the_table(study, observed, all_tables, only):
    frame = all_tables["norms"]
    for task, labels in study.settings.items():
        row = only(frame, task=task, method="sgd")
        assert_mean(values_of(observed, "C8", "sgd", task=task), row["ratio"], log=True)
        for label in labels:
            row = only(frame, task=task, method="grda", matched_to=label)
            assert_mean(values_of(observed, "C8", "grda", task=task, setting=label), row["ratio"], log=True)
    assert set(observed.loc[observed["claim"] == "C8", "quantity"]) == {"sgd", "grda"}


# --- What the preset asks for


def test_only_settings_within_the_sparsities_are_compared_with_baselines(study, made):
    found, notes = study.planned(made.folder, margins={}).observations()  # 90 to 95 %: none
    assert "C3" not in set(found["claim"])
    assert len(notes["C3"]) == 3
    reached = found[(found["claim"] == "C2") & (found["quantity"] == "sparsity")].groupby("cell")["value"].mean()
    for at, mean in reached.items():
        where = f"{value(at, 'task')} at {value(at, 'setting')}"
        assert f"{where} is left out: its sparsity is {100 * mean:.1f} %." in notes["C3"]


def test_with_batch_normalisation_the_quadratic_term_decides_nothing(study, made):
    found, _ = study.planned(made.folder, networks={"kind": "resnet", "depth": 8}).observations()
    assert cells_of(found, "C7", "quadratic") == set()
    assert cells_of(found, "C7", "quadratic_batch_norm") == {cell(task="net_a", k=1)}


def test_a_claim_that_is_asked_of_another_update_sees_its_runs_alone(study, all_tables):
    runs = study.runs(parts=[], updates={"adam": {"kind": "adamw"}})
    data = runs.data()
    for claim, quantities in (("C2", {"difference", "sparsity"}), ("C5", {"difference"})):
        found = list(CLAIM[claim].observe(data, "adam"))
        assert {each.quantity for each in found} == quantities
        assert {value(each.cell, "setting") for each in found} == {"adam"}
        differences = [each for each in found if each.quantity == "difference"]
        assert [each.value for each in differences] == pytest.approx(
            [
                study.score(task, "adam", seed) - study.score(task, "sgd", seed)
                for task in study.settings
                for seed in range(3)
            ]
        )
        assert not CLAIM[claim].notes(data, "adam")


CLAIMS_OF = {
    "sensitivity": {"C2"},
    "baselines": {"C3"},
    "connectivity": {"C6"},
    "curvature": {"C7"},
    "toy": {"C1"},
    "overhead": {"C4"},
    "released": {"C9"},
}


@pytest.mark.parametrize("part", [None, *CLAIMS_OF])
def test_a_part_that_is_left_out_leaves_its_claims_unobserved(study, made, part):
    found, notes = study.planned(made.folder, parts=[part] if part else []).observations()
    own = CLAIMS_OF.get(part, set())
    assert set(found["claim"]) == {"C2", "C5", "C8"} | own
    assert set(notes) == {"C9"} | (own & {"C1", "C4", "C6", "C7"}) | ({"C3"} if part != "baselines" else set())


def test_a_run_as_released_is_compared_with_the_schedule_and_that_with_sgd(study, observed, all_tables, only):
    for task, grda in study.references.items():
        found = {name: values_of(observed, "C9", name, task=task) for name in ("difference", "scheduled_difference")}
        ends = {arm: np.array(study.scores(task, arm)) for arm in (f"{grda}.constant", grda, "sgd")}
        assert found["difference"] == pytest.approx(ends[f"{grda}.constant"] - ends[grda])
        assert found["scheduled_difference"] == pytest.approx(ends[grda] - ends["sgd"])
        row = only(all_tables["released"], task=task, lr="constant")
        assert_mean(found["difference"], row["released_difference"])
        assert_mean(values_of(observed, "C9", "sparsity_difference", task=task), row["sparsity_change"])
    assert cells_of(observed, "C9", "difference") == {cell(task=task) for task in study.settings}


SCRIPTS = 4
"""Notes on what was read in the scripts."""


@pytest.mark.parametrize(
    ("released", "scheduled", "fixes"),
    [(0.8, 0.9, True), (0.9, 0.9, False), (0.8, 0.85, False)],  # SGD has 0.9
)
def test_c9_says_where_the_named_fix_is_all_that_the_scripts_need(study, released, scheduled, fixes):
    def ended(job, tables):
        for row in tables.get("phases", ()):
            constant = row["arm"].endswith(".constant")
            score = released if constant else scheduled if row["arm"].startswith("grda") else 0.9
            row["test_accuracy"] = score + 1e-5 * job.seed * (1 + constant)
        for row in tables.get("weights", ()):
            row["sparsity"] = 0.9

    _, notes = study.runs(parts=["released"], change=ended).observations()
    *fix, first, _, _, _ = notes["C9"]
    assert fix == ["Not as released, yes with the named fix: under the schedule gRDA is on a par with SGD."] * fixes
    assert "[authors' code]" in first


def test_without_its_part_c9_is_not_observed_and_says_what_was_read_in_the_scripts(study, made):
    found, notes = study.planned(made.folder, parts=[]).observations()
    assert "C9" not in set(found["claim"])
    assert len(notes["C9"]) == SCRIPTS
    assert all("[authors' code]" in line for line in notes["C9"])


def test_a_schedule_that_diverged_is_no_fix_and_a_released_run_that_did_counts_as_chance(study):
    grda = study.references["net_a"]
    found, _ = study.runs(
        parts=["released"], lost={("net_a", grda, 0), ("net_a", f"{grda}.constant", 1)}
    ).observations()
    assert values_of(found, "C9", "difference", task="net_a") == pytest.approx(
        [
            0.1 - study.score("net_a", grda, 1),
            study.score("net_a", f"{grda}.constant", 2) - study.score("net_a", grda, 2),
        ]
    )
    assert len(values_of(found, "C9", "sparsity_difference", task="net_a")) == 1


def test_one_seed_is_observed_and_decides_nothing_but_bytes(study):
    runs = study.runs(seeds=[4])
    found, notes = runs.observations()
    assert set(found["claim"]) == {f"C{number}" for number in range(1, 10)}
    for claim in PAPER.claims:
        ruling = claim.judge(sample(found, claim), runs.data().study.margins)
        assert claim.id == "C4" or not (ruling.yes[0] or ruling.no[0])
    assert set(notes) >= {"C1", "C4", "C6", "C7", "C9"}


# --- Divergence


def test_a_diverged_run_counts_as_chance_in_accuracy_and_is_missing_elsewhere(study, only):
    runs = study.runs(lost={("net_a", GRDA, 1)})
    found, notes = runs.observations()
    row = only(runs.table("accuracy"), task="net_a", method="grda", matched_to=FIRST)
    differences = values_of(found, "C5", "difference", task="net_a", setting=FIRST)
    assert_mean(differences, row["difference"])
    assert len(differences) == 3
    assert len(values_of(found, "C2", "sparsity", task="net_a", setting=FIRST)) == 2
    for claim, quantity in (("C6", "barrier"), ("C7", "over_chance"), ("C8", "grda"), ("C3", "over_random")):
        rows = found[(found["claim"] == claim) & (found["quantity"] == quantity)]
        mine = [value(at, "task") == "net_a" and value(at, "setting", FIRST) == FIRST for at in rows["cell"]]
        assert sorted(rows.loc[mine, "seed"]) == [0, 2], claim
    for claim in ("C2", "C5"):
        assert notes[claim] == ["1 of 9 runs of gRDA diverged; each counts as chance in accuracy."]
    assert notes["C3"] == ["Where gRDA diverged, nothing was pruned to its sparsity: C3 does not see these runs."]


def test_where_everything_diverged_nothing_is_reproduced(study):
    planned = study.planned()
    arms = {arm.name for job in planned.plan.jobs("directional") for arm in getattr(job, "arms", ())}
    runs = planned.write(lost={*itertools.product(study.settings, arms, (0, 1, 2))})
    found, notes = runs.observations()
    for claim in PAPER.claims:
        if claim.id in set(found["claim"]) - {"C1", "C4"}:
            assert not claim.judge(sample(found, claim), runs.data().study.margins).yes[0], claim.id
    assert set(found["claim"]).isdisjoint({"C3", "C6", "C7"})
    # two runs at chance are not on a par
    assert found.loc[found["claim"] == "C5", "value"].isna().all()
    assert any("no run of SGD has an end" in line for line in notes["C6"])
    assert "6 runs of SGD diverged: gRDA is compared with none of them." in notes["C5"]
    assert not any("nan" in line for lines in notes.values() for line in lines)
    assert sum("no run has a sparsity" in line for line in notes["C3"]) == 3


def test_tasks_without_a_minimum_are_named_with_their_loss(made):
    _, notes = made.observations()
    for claim in ("C6", "C7"):
        [line] = [line for line in notes[claim] if "left out" in line]
        assert line == (
            "b_0.5_x is left out: SGD ends with a training loss of 0.5 nats, and up to 0.1 nats count as a minimum."
        )


def test_an_exact_problem_that_diverged_has_no_slope(study):
    def failed(job, tables):
        for row in tables.get("toy", ()):
            if (job.problem, row["seed"], row["fixed"], row["gamma"]) == ("least_squares", 0, "c", 0.03):
                row["error"] = math.nan

    found, _ = study.runs(parts=["toy"], change=failed).observations()
    assert len(values_of(found, "C1", "slope", problem="least_squares")) == 2
    assert len(values_of(found, "C1", "error", problem="least_squares")) == 3
