"""Claims A1 to A8: what is observed in made-up runs of a tiny study, with numbers that can be worked out by hand."""

import math

import numpy as np
import pytest

from prunebench.files import write_json
from prunebench.papers.s_cyc import PAPER
from prunebench.papers.s_cyc.config import SCycMargins
from prunebench.papers.s_cyc.measures import activation
from prunebench.papers.s_cyc.observations import _relu_twin
from prunebench.suite.cells import label, value
from prunebench.suite.claim import sample
from prunebench.suite.ledger import observe
from prunebench.suite.notes import TIMING_BLOCKS
from prunebench.suite.preset import load_preset, parse_preset

CLAIM = {claim.id: claim for claim in PAPER.claims}

GRID = [0.1, 0.2, 0.4]
SCHEDULES = ("cyclical", "constant", "step_decay", "lr_warmup", "s_cyc", "constant_at_top")


def make_preset(
    *, oracle=True, gradients=True, timing=True, criteria=("layer_magnitude", "global_gradient"), seeds=(0, 1, 2)
):
    def task(activation):
        return {
            "dataset": "d",
            "network": {"kind": "mlp", "activation": activation},
            "training": {"epochs": 2, "batch_size": 10},
        }

    s_shape = {"kind": "s_shape", "rate": 0.5, "delay": 1, "eps": 0.1, "alpha": 0.1, "beta": 2}
    policies = {"s_cyc": s_shape, "constant_at_top": {"kind": "fixed", "max_lr": 0.2}}
    roles = {"s_cyc": "method", "constant_at_top": "control"}
    content = {
        "preset": "tiny",
        "scale": "x",
        "seeds": list(seeds),
        "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
        "tasks": {"net": task("relu"), "net-tanh": task("tanh")},
        "schedules": {
            name: {
                "profile": {"kind": "constant" if name == "constant" else "cyclical"},
                "policy": policies.get(name, {"kind": "fixed", "max_lr": 0.1}),
                "role": roles.get(name, "benchmark"),
            }
            for name in SCHEDULES
        },
        "s_cyc": {
            "pruning": {"rate": 0.5, "cycles": 3, "score_images": 100},
            "accuracy": [
                {"tasks": ["net"], "criteria": ["global_magnitude"], "schedules": list(SCHEDULES)},
                {"tasks": ["net"], "criteria": list(criteria), "schedules": ["cyclical", "s_cyc"]},
            ],
        },
    }
    if gradients:
        content["s_cyc"]["gradients"] = [
            {"tasks": ["net"], "criteria": ["global_magnitude", "random"], "schedules": ["cyclical"]},
            {"tasks": ["net-tanh"], "criteria": ["global_magnitude"], "schedules": ["cyclical"]},
        ]
        content["s_cyc"]["gradient_measure"] = {"images": 100}
    if timing:
        content["s_cyc"]["timing"] = {"task": "net", "criterion": "global_magnitude", "blocks": 3}
        content["s_cyc"]["timing"] |= {"schedule": "s_cyc", "reference": "cyclical"}
    if oracle:
        content["s_cyc"]["oracle"] = {
            "task": "net",
            "criterion": "global_magnitude",
            "schedule": "s_cyc",
            "max_lr": GRID,
            "tolerance": 0.01,
        }
    return parse_preset(content, "tiny")


ABOVE = {
    "cyclical": 0.0,
    "constant": -0.05,
    "step_decay": -0.1,
    "lr_warmup": -0.1,
    "s_cyc": 0.02,
    "constant_at_top": 0.015,
}
"""Test accuracy of a schedule above `cyclical`; on validation `constant` is the better benchmark in cycle 1 only."""
SLOPES = {("net", "global_magnitude"): -0.2, ("net", "random"): 0.1, ("net-tanh", "global_magnitude"): -0.05}
CHOSEN = [0.1, 0.1, 0.2, 0.4]
"""The oracle's max_lr by cycle."""


COST = {"steps": 10, "images": 100, "flops": 1, "flops_sparse": 1, "peak_memory_mb": 1}


def end(job, cycle):
    """The end of a chain's cycle; in cycle 0 that of the dense network, which most schedules share."""
    name, density = job.axes["schedule"], 0.5**cycle
    validation = 0.9 if (name, cycle) == ("constant", 1) else 0.75 if name == "cyclical" else 0.7
    return COST | {
        "density": density,
        "sparsity": 1 - density,
        "max_lr": 0.1,
        "status": "trained",
        "validation_accuracy": validation,
        "test_accuracy": 0.6 + ABOVE[name] * cycle + (0.01 if name == "s_cyc" else 0.001) * job.seed,
        "seconds": 1 + 0.1 * job.seed * (name == "s_cyc"),
    }


def gradients(job, untrained=()):
    """Cycles in `untrained` never learn, and have gradients of another kind."""
    rows = []
    for cycle in range(4):
        for share, loss in ((0.2, 2.0), (1.0, 1.9 if cycle in untrained else 0.5)):
            std = math.exp(SLOPES[job.task, job.axes["criterion"]] * cycle + 0.01 * job.seed)
            std *= 100 if cycle in untrained else 1
            for weights in ("surviving", "all_zeroed"):
                measured = {"weights": weights, "n": 10, "loss": loss, "std": std, "iqr_over_1349": std}
                rows.append({"cycle": cycle, "share": share, "sparsity": 1 - 0.5**cycle, **measured})
    return rows


def candidate(choice, cycle, max_lr):
    chosen, density = max_lr == CHOSEN[cycle], 0.5**cycle
    return COST | {
        "density": density,
        "sparsity": 1 - density,
        "status": "trained",
        "validation_accuracy": 0.8 if chosen else 0.75,
        "test_accuracy": 0.65 + 0.01 * choice.seed,
        "seconds": 1,
        "selected": int(chosen),
    }


@pytest.fixture(scope="module")
def write_runs(runs_of):
    """Writes the runs of a preset with the numbers above."""

    def write(preset, untrained=()):
        return runs_of(preset).write(end, lambda job: gradients(job, untrained), lambda job: [], candidate)

    return write


@pytest.fixture(scope="module")
def made(write_runs):
    return write_runs(make_preset())


@pytest.fixture(scope="module")
def observed(made):
    return made.observations()[0]


def values_of(observed, claim, quantity):
    rows = observed[(observed["claim"] == claim) & (observed["quantity"] == quantity)]
    return rows.assign(cell=rows["cell"].map(label)).groupby("cell", sort=False)["value"].apply(list).to_dict()


def test_gains_are_paired_against_the_benchmark_that_validation_picks_and_equal_the_table(made, observed):
    gains = values_of(observed, "A3", "gain")
    # 0.02 (cycle) + 0.009 (seed): cycles 2 and 3, where at most 34 % of the weights are left
    assert gains["net · global_magnitude · 75 %"] == pytest.approx([0.04, 0.049, 0.058])
    assert gains["net · global_magnitude · 87.5 %"] == pytest.approx([0.06, 0.069, 0.078])
    assert len(gains) == 2
    table = made.tables()["s_cyc_accuracy"]
    shown = table[(table["schedule"] == "s_cyc") & (table["criterion"] == "global_magnitude") & (table["cycle"] >= 2)]
    assert list(shown["difference"]) == pytest.approx([np.mean(cell) for cell in gains.values()])


def test_every_criterion_counts_for_a4_and_other_shapes_for_a7(observed):
    by_criterion = values_of(observed, "A4", "gain")
    criteria = ("global_magnitude", "layer_magnitude", "global_gradient")
    assert list(by_criterion) == [f"net · {name}" for name in criteria]
    assert by_criterion["net · global_gradient"] == pytest.approx([0.05, 0.059, 0.068])
    shapes = values_of(observed, "A7", "gain")
    assert shapes == {"net · global_magnitude · constant · constant_at_top": pytest.approx([0.0125, 0.0215, 0.0305])}


def test_networks_without_pruning_are_dense_ones_and_those_that_measured_chains_train(made):
    """Of the schedules `cyclical` is the best by validation; a network that several chains train counts once."""
    networks = {network.task: network for network in observe(made.preset, made.folder).networks["s_cyc"]}
    assert {*networks} == {"net", "net-tanh"}
    for network in networks.values():
        assert (network.accuracy, network.n) == (pytest.approx(0.601), 3)


def test_slopes_of_spread_leave_out_cycles_that_did_not_train(write_runs):
    runs = write_runs(make_preset(), untrained=(3,))
    observed, _ = runs.observations()
    assert values_of(observed, "A1", "slope") == {"net · global_magnitude": pytest.approx([-0.2] * 3)}
    assert values_of(observed, "A1", "ratio") == {"net · global_magnitude": pytest.approx([-0.4] * 3)}
    assert values_of(observed, "A1", "random_slope") == {"net · random": pytest.approx([0.1] * 3)}
    assert values_of(observed, "A1b", "difference") == {"net-tanh · global_magnitude": pytest.approx([-0.15] * 3)}
    assert values_of(observed, "A1b", "relu_slope") == {"net-tanh · global_magnitude": pytest.approx([-0.2] * 3)}


@pytest.mark.parametrize("name", ["laptop", "evening"])
def test_each_other_activation_of_a_kept_preset_has_its_relu_twin(request, name):
    preset = load_preset(request.config.rootpath / f"config/{name}.yaml")
    measured = {task for grid in preset.s_cyc.gradients for task in grid.tasks}
    others = {task for task in measured if activation(preset, task) != "relu"}
    assert len(others) == 3
    assert {_relu_twin(preset, task) for task in others} <= measured


def test_the_oracle_s_choices_and_its_differences_equal_the_table(made, observed):
    [slopes] = values_of(observed, "A2", "slope").values()
    assert slopes == pytest.approx([np.polyfit(np.arange(4) * math.log(2), np.log(CHOSEN), 1)[0]] * 3)
    [ratios] = values_of(observed, "A2", "ratio").values()
    assert ratios == pytest.approx([math.log(4)] * 3)
    table = made.tables()["s_cyc_oracle"]
    differences = values_of(observed, "A6", "difference")
    assert [np.mean(cell) for cell in differences.values()] == pytest.approx(list(table["difference"]))
    # S-Cyc's max_lr by cycle is 0.1, 0.1, 0.15, 0.19: nearest to 0.1, 0.1, 0.2, 0.2 of the grid; the last is not best
    assert values_of(observed, "A6", "inside") == {"net · global_magnitude": [0.75] * 3}


def test_time_is_a_log_ratio_of_chains_in_alternation_without_the_block_that_warms_up(observed):
    rows = observed[observed["claim"] == "A5"]
    assert [*rows.loc[rows["quantity"] == "seconds", "seed"]] == [1, 2, 3]
    assert values_of(observed, "A5", "seconds") == {"net · global_magnitude": pytest.approx(np.log([1.1, 1.2, 1.3]))}
    assert values_of(observed, "A5", "steps") == {"net · global_magnitude": [0, 0, 0]}


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (0.25, ["Other work took 25 % of the machine's processors meanwhile."]),
        (0.05, []),
        (None, ["Whether the machine did other work meanwhile is not known."]),
    ],
)
def test_a_load_that_was_others_is_said_beside_times(write_runs, load, said):
    runs = write_runs(make_preset(oracle=False, gradients=False))
    write_json(runs.folder / "s_cyc/timing/net/global_magnitude/provenance.json", {"others_load": load})
    _, notes = runs.observations()
    assert notes["A5"] == [TIMING_BLOCKS, *said]


def test_what_a_preset_leaves_out_has_no_observations(write_runs):
    runs = write_runs(make_preset(oracle=False, gradients=False, timing=False))
    observations, notes = runs.observations()
    assert set(observations["claim"]) == {"A3", "A4", "A7"}
    assert notes["A5"] == []


def test_one_seed_decides_nothing(write_runs):
    runs = write_runs(make_preset(seeds=(4,)))
    observed, _ = runs.observations()
    for claim in PAPER.claims:
        ruling = claim.judge(sample(observed, claim), SCycMargins())
        assert not ruling.yes.any()
        assert not ruling.no.any()


def test_a_claim_asked_of_another_schedule_sees_that_one(made):
    data = made.data()
    asked = {claim.id: claim for claim in PAPER.claims if claim.asks}
    assert {*asked} == {"A3", "A4", "A7"}
    for claim in asked.values():
        assert claim.asks == "schedule"
        assert [*claim.observe(data, "s_cyc")] == [*claim.observe(data, None)]
    # `constant_at_top` gains 0.015 per cycle on `cyclical`, and 0.001 per seed in both
    gains = [each.value for each in asked["A3"].observe(data, "constant_at_top")]
    assert gains == pytest.approx([0.03] * 3 + [0.045] * 3)
    assert not [*asked["A7"].observe(data, "constant_at_top")]  # no other course of max_lr is there
    against = {label(each.cell): each.value for each in asked["A7"].observe(data, "cyclical") if each.seed == 0}
    assert against == pytest.approx({"net \u00b7 global_magnitude \u00b7 constant \u00b7 constant_at_top": -0.0375})


def test_a3_is_about_criteria_with_four_benchmarks_and_a_method_that_no_run_has_gives_nothing(made):
    data = made.data()
    assert {value(each.cell, "criterion") for each in CLAIM["A3"].observe(data, None)} == {"global_magnitude"}
    for claim in ("A3", "A4", "A7"):
        assert not [*CLAIM[claim].observe(data, "nobody")]


def test_notes_say_what_a_comparison_rests_on(made):
    _, notes = made.observations()
    assert notes["A4"][0] == "net · global_magnitude is compared with cyclical, constant, step_decay, lr_warmup."
    assert notes["A4"][1:] == [
        f"net · {name} is compared with cyclical." for name in ("layer_magnitude", "global_gradient")
    ]
    # of the four choices of each seed 0.1, 0.1 and 0.4 are ends
    assert notes["A2"] == ["9 of 12 choices lie at an end of the grid, where the best may lie beyond it."]


def test_notes_of_an_asked_claim_are_about_its_method(made):
    """`constant_at_top` ran under one criterion alone."""
    notes = CLAIM["A4"].asked_of("constant_at_top").notes(made.data(), "constant_at_top")
    assert notes == ["net · global_magnitude is compared with cyclical, constant, step_decay, lr_warmup."]


# --- A8


def test_what_the_scripts_report_decides_and_each_defect_is_shown_as_in_the_table(by_hand, only):
    runs = by_hand.runs()
    observed, notes = runs.observations()
    table = runs.tables()["s_cyc_released"]
    found = {name: values_of(observed, "A8", name) for name in (quantity.name for quantity in CLAIM["A8"].quantities)}
    assert [len(cells) for cells in found.values()] == [6, 3, 3, 3, 3, 3, 2]
    for row in table.itertuples():
        run = {"first_run": "first", "fifth_run": "fifth"}.get(row.defect)
        at = " · ".join(["net_a", "global_magnitude", *([run] if run else []), f"{100 * row.sparsity:g} %"])
        values = found["difference" if run else row.defect][at]
        assert np.mean(values) == pytest.approx(row.effect)
        assert len(values) == 3
    assert notes["A8"][0].startswith("The scripts' first run has all training images, their fifth 41 % of them")
    assert len(notes["A8"]) == 2


def test_a8_says_how_many_cycles_diverged(by_hand):
    def lost(job, rows):
        return [row | ({"status": "diverged", "test_accuracy": 0.1} if job.seed == 1 else {}) for row in rows]

    _, notes = by_hand.runs(phases=lost).observations()
    assert notes["A8"][2:] == ["12 of 36 cycles diverged; each counts as chance."]
