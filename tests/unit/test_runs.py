"""runs.csv: one line per training job, and run tables that are missing or damaged."""

import json

import pandas as pd
import pytest

from prunebench.config import ChainSpec, DenseSpec, OracleSpec, RetrainSpec, parse_preset
from prunebench.errors import InputError
from prunebench.files import write_csv, write_json, write_text
from prunebench.studies.runs import AXES, read_chains, read_table, write_runs

CYCLES = ["cycle", "sparsity", "status", "validation_accuracy", "test_accuracy"]
COST = ["cycle", "steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb"]
PROVENANCE = {"commit": "abc", "precision": "bf16", "threads": 2, "source_digest": "f00", "data_sha256": "d00"}


@pytest.fixture
def preset():
    return parse_preset(
        {
            "preset": "tiny",
            "scale": "x",
            "seeds": [0, 3],
            "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
            "tasks": {"net": {"dataset": "d", "network": {"kind": "mlp"}, "training": {"epochs": 1, "batch_size": 10}}},
            "schedules": {
                name: {
                    "profile": {"kind": "cyclical"},
                    "policy": {"kind": "fixed", "max_lr": 0.1},
                    "role": "benchmark",
                }
                for name in ("cyclical", "s_cyc")
            },
            "s_cyc": {
                "pruning": {"rate": 0.5, "cycles": 1},
                "accuracy": [{"tasks": ["net"], "criteria": ["random"], "schedules": ["cyclical", "s_cyc"]}],
                "oracle": {
                    "task": "net",
                    "criterion": "random",
                    "schedule": "s_cyc",
                    "max_lr": [0.1, 0.2, 0.4],
                    "candidates_per_job": 2,
                },
            },
            "cascade": {
                "dense": "cyclical",
                "retrain": {"epochs": 2, "profile": {"kind": "cosine"}, "max_lr": 0.1, "weight_decay": 0},
                "preludes": {"short": {"sparsity": 0.2, "epochs": 1, "max_lr": 0.1, "weight_decay": 0.1}},
                "gmp": {
                    "tasks": ["net"],
                    "sparsities": [0.8],
                    "ramp": {"share": 0.9, "every": 1},
                    "preludes": ["short"],
                },
            },
        },
        "tiny",
    )


def cost(cycle, number):
    values = [cycle, 10 * number, 100 * number, 1000 * number, 500 * number, 0.5 * number, 200 + number]
    return dict(zip(COST, values, strict=True))


def result(cycle, accuracy, status="trained"):
    return dict(zip(CYCLES, [cycle, 1 - 0.5**cycle, status, accuracy, accuracy - 0.05], strict=True))


@pytest.fixture
def runs(preset, tmp_path):
    """Folders of all jobs: dense networks end at 0.8, chains at 0.6, seed 3 of s_cyc diverges; candidates at 0.5, 0.7
    and (alone) 0.4; arms one after another at 0.3, 0.4, 0.5 by phase, seed 3's last phase diverged."""
    for spec in preset.dense_jobs():
        write_csv(tmp_path / spec.folder / "cycles.csv", [result(0, 0.8)], CYCLES)
        write_csv(tmp_path / spec.folder / "cost.csv", [cost(0, 4)], COST)
        write_json(tmp_path / spec.folder / "provenance.json", PROVENANCE)
    for spec in preset.cascade_jobs():
        rows = [
            {"arm": arm, "phase": phase, "sparsity": 0.2 * number, "clock": 0.5}
            | {k: v for k, v in result(0, 0.2 + number / 10).items() if k not in ("cycle", "sparsity")}
            | {k: v for k, v in cost(0, number).items() if k != "cycle"}
            for number, (arm, phase) in enumerate([("none.s0.8", 0), ("short.s0.8", 0), ("short.s0.8", 1)], 1)
        ]
        if spec.seed == 3:
            rows[-1] |= {"status": "diverged", "validation_accuracy": 0.1, "test_accuracy": 0.1}
        columns = ["arm", "phase", *CYCLES[1:], *COST[1:], "clock"]
        write_csv(tmp_path / spec.folder / "phases.csv", rows, columns)
        write_json(tmp_path / spec.folder / "provenance.json", PROVENANCE)
    for spec in preset.s_cyc_chains():
        lost = (spec.schedule_name, spec.seed) == ("s_cyc", 3)
        last = result(1, 0.1, "diverged") if lost else result(1, 0.6)
        write_csv(tmp_path / spec.folder / "cycles.csv", [result(0, 0.8), last], CYCLES)
        write_csv(tmp_path / spec.folder / "cost.csv", [cost(0, 1), cost(1, 2)], COST)
        write_json(tmp_path / spec.folder / "provenance.json", PROVENANCE)
    for spec in preset.s_cyc_oracle_jobs():
        accuracies = [0.5, 0.7] if spec.batch == 0 else [0.4]
        rows = [
            result(spec.cycle, accuracy) | cost(spec.cycle, 1) | {"max_lr": lr}
            for lr, accuracy in zip(spec.max_lr, accuracies, strict=True)
        ]
        write_csv(tmp_path / spec.folder / "candidates.csv", rows, [*CYCLES, "max_lr", *COST[1:]])
        write_json(tmp_path / spec.folder / "provenance.json", PROVENANCE)
    return tmp_path


def listed(preset, runs):
    write_runs(preset, runs, runs / "runs.csv")
    return pd.read_csv(runs / "runs.csv")


def test_one_line_per_job_in_a_folder_of_its_own(preset, runs):
    table = listed(preset, runs)
    # dense networks (one for both schedules, whose dense training is the same), chains, the oracle's jobs, arms
    assert len(table) == 2 + 2 * 2 + 2 * 2 * 2 + 2
    specs = preset.jobs()
    assert table["folder"].tolist() == [spec.folder for spec in specs]
    assert table["folder"].is_unique
    assert table["spec_sha256"].tolist() == [spec.digest() for spec in specs]
    assert table["spec_sha256"].is_unique
    for column, value in PROVENANCE.items():
        assert set(table[column]) == {value}
    assert list(table.columns[:7]) == ["study", "task", "part", "criterion", "schedule", "cycle", "seed"]
    axes = {
        DenseSpec: ["dense", "net", "", "", "cyclical"],
        RetrainSpec: ["cascade", "net", "gmp", "", ""],
        OracleSpec: ["s_cyc", "net", "", "random", "oracle"],
    }
    for spec, row in zip(specs, table.astype(object).fillna("").to_dict("records"), strict=True):
        chain = isinstance(spec, ChainSpec)
        expected = ["s_cyc", "net", "", "random", spec.schedule_name] if chain else axes[type(spec)]
        assert [row[axis] for axis in table.columns[:5]] == expected
        assert row["seed"] == spec.seed


def test_a_dense_network_s_line_is_its_only_cycle(preset, runs):
    row = listed(preset, runs).set_index("folder").loc["dense/net/cyclical/seed-3"]
    assert row[["cycle", "sparsity", "status", "validation_accuracy"]].tolist() == [0, 0, "trained", 0.8]
    assert row[COST[1:]].tolist() == [40, 400, 4000, 2000, 2.0, 204]


def test_a_job_of_arms_stands_with_its_last_arm_s_last_phase_and_the_cost_of_all(preset, runs):
    table = listed(preset, runs).set_index("folder")
    row = table.loc["cascade/net/gmp/seed-0/batch-0"]
    assert (row["status"], row["validation_accuracy"]) == ("trained", 0.5)
    assert row["sparsity"] == pytest.approx(0.6)
    assert row[COST[1:]].tolist() == [60, 600, 6000, 3000, 3.0, 203]
    assert table.loc["cascade/net/gmp/seed-3/batch-0", "status"] == "diverged"
    assert pd.isna(row["cycle"])


def test_a_job_of_arms_has_diverged_if_any_of_its_phases_has(preset, runs):
    folder = preset.cascade_jobs()[0].folder
    phases = read_table(runs / folder / "phases.csv")
    phases.loc[0, "status"] = "diverged"
    phases.to_csv(runs / folder / "phases.csv", index=False)
    row = listed(preset, runs).set_index("folder").loc[folder]
    assert (row["status"], row["validation_accuracy"]) == ("diverged", 0.5)  # of the last phase, which trained


def test_a_missing_table_of_a_job_of_arms_is_named(preset, runs):
    path = runs / preset.cascade_jobs()[1].folder / "phases.csv"
    path.unlink()
    with pytest.raises(InputError, match=str(path)):
        write_runs(preset, runs, runs / "runs.csv")


def test_a_chains_line_is_its_last_cycle_and_its_whole_cost(preset, runs):
    table = listed(preset, runs)
    table = table[table["study"] == "s_cyc"].set_index(["schedule", "seed"])
    row = table.loc[("cyclical", 3)]
    assert row[["cycle", "sparsity", "validation_accuracy"]].tolist() == [1, 0.5, 0.6]
    assert row["test_accuracy"] == pytest.approx(0.55)
    assert row[COST[1:]].tolist() == [30, 300, 3000, 1500, 1.5, 202]
    assert row["status"] == "trained"
    assert table.loc[("s_cyc", 3), "status"] == "diverged"
    assert table.loc[("s_cyc", 0), "status"] == "trained"


def test_an_oracle_jobs_line_is_its_best_candidate_and_all_their_cost(preset, runs):
    table = listed(preset, runs).set_index("folder")
    row = table.loc["s_cyc/net/random/oracle/seed-3/cycle-1/batch-0"]
    assert row[["cycle", "validation_accuracy", "test_accuracy"]].tolist() == [1, 0.7, pytest.approx(0.65)]
    assert row[COST[1:]].tolist() == [20, 200, 2000, 1000, 1.0, 201]
    assert table.loc["s_cyc/net/random/oracle/seed-3/cycle-1/batch-1", "steps"] == 10


def test_an_oracle_jobs_line_is_the_candidate_that_selection_would_pick(preset, runs):
    """The grid may reach into divergence, and chance can beat a trained candidate: the winner is a trained one."""
    spec = preset.s_cyc_oracle_jobs()[0]
    candidates = [(0.1, 0.08, "trained"), (0.2, 0.1, "diverged")]
    rows = [result(0, acc, status) | cost(0, 1) | {"max_lr": lr} for lr, acc, status in candidates]
    write_csv(runs / spec.folder / "candidates.csv", rows, [*CYCLES, "max_lr", *COST[1:]])
    row = listed(preset, runs).set_index("folder").loc[spec.folder]
    assert (row["status"], row["validation_accuracy"]) == ("trained", 0.08)


@pytest.mark.parametrize("name", ["cycles.csv", "cost.csv"])
def test_a_missing_table_is_named(preset, runs, name):
    path = runs / preset.s_cyc_chains()[1].folder / name
    path.unlink()
    with pytest.raises(InputError, match=str(path)):
        write_runs(preset, runs, runs / "runs.csv")
    assert not (runs / "runs.csv").exists()


@pytest.mark.parametrize("content", [None, "{"])
def test_missing_provenance_is_named(preset, runs, content):
    path = runs / preset.s_cyc_chains()[1].folder / "provenance.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=r"provenance\.json"):
        write_runs(preset, runs, runs / "runs.csv")


def test_runs_of_another_version_are_listed_too(preset, runs):
    """Results outlive the code: a later version may record more."""
    path = runs / preset.s_cyc_chains()[1].folder / "provenance.json"
    write_json(path, json.loads(path.read_text()) | {"cuda": "12.9"})
    assert listed(preset, runs)["cuda"].notna().sum() == 1


def test_chains_are_stacked_with_their_axes_first(preset, runs):
    chains = preset.s_cyc_chains()
    table = read_chains(chains, runs, "cycles")
    assert AXES == ["study", "task", "criterion", "schedule", "seed"]
    assert list(table.columns) == [*AXES, *CYCLES]
    assert len(table) == 2 * len(chains)
    assert table[["schedule", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["cyclical", 0],
        ["cyclical", 3],
        ["s_cyc", 0],
        ["s_cyc", 3],
    ]


@pytest.mark.parametrize("content", ["", None])
def test_a_table_that_is_no_csv_is_named(tmp_path, content):
    path = tmp_path / "cycles.csv"
    if content is not None:
        write_text(path, content)
    with pytest.raises(InputError, match=r"cycles\.csv"):
        read_table(path)
