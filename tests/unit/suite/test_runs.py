"""runs.csv: one line per job that trains, and files of runs that are missing or damaged."""

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.files import write_json, write_text
from prunebench.suite.plan import make_plan
from prunebench.suite.runs import write_runs

COST = ("steps", "images", "flops", "flops_sparse", "seconds", "peak_memory_mb")


@pytest.fixture
def preset(toy_preset):
    return toy_preset(seeds=[0, 3])


@pytest.fixture
def jobs(preset):
    return {job.folder: job for job in make_plan(preset).trained()}


@pytest.fixture
def runs(preset, toy_runs, tmp_path):
    return toy_runs(preset, tmp_path)


@pytest.fixture
def listed(preset, runs):
    """runs.csv by folder."""

    def read():
        write_runs(preset, runs, runs / "runs.csv")
        return pd.read_csv(runs / "runs.csv").set_index("folder", drop=False)

    return read


def test_one_line_per_job_that_trains_in_a_folder_of_its_own(jobs, listed):
    table = listed()
    # one dense network for all schedules, whose dense training is the same; chains; candidates; arms; no timings
    assert len(table) == 2 + 2 * 3 + 2 * 2 + 2
    assert table["folder"].tolist() == list(jobs)
    assert table["spec_sha256"].tolist() == [job.digest() for job in jobs.values()]
    assert table["spec_sha256"].is_unique
    assert (table[["commit", "threads", "data_sha256"]] == ["abc", 2, "d00"]).all(axis=None)
    assert list(table.columns[:7]) == ["study", "task", "part", "criterion", "schedule", "cycle", "seed"]


def test_one_study_is_listed_without_the_others_runs(preset, runs):
    shutil.rmtree(runs / "toy")
    write_runs(preset, runs, runs / "dense.csv", study="dense")
    table = pd.read_csv(runs / "dense.csv")
    assert table["folder"].tolist() == ["dense/net/benchmark/seed-0", "dense/net/benchmark/seed-3"]
    with pytest.raises(InputError, match="tiny trains nothing in a study 'dence'"):
        write_runs(preset, runs, runs / "none.csv", study="dence")
    assert not (runs / "none.csv").exists()


def test_a_preset_that_trains_nothing_has_an_empty_table(preset, tmp_path, monkeypatch):
    monkeypatch.setattr("prunebench.suite.runs.make_plan", lambda preset: SimpleNamespace(stages={}))
    write_runs(preset, tmp_path, tmp_path / "runs.csv")
    assert (tmp_path / "runs.csv").read_text().strip() == ""


@pytest.mark.parametrize(
    ("folder", "axes"),
    [
        ("dense/net/benchmark/seed-3", ["dense", "net", "", "", "benchmark", 0, 3]),
        ("toy/chains/net/ours/seed-3", ["toy", "net", "chains", "random", "ours", 2, 3]),
        ("toy/search/net/seed-0/batch-1", ["toy", "net", "search", "random", "oracle", 1, 0]),
        ("toy/arms/net/seed-0", ["toy", "net", "arms", "", "", "", 0]),  # the arms differ in their criterion
    ],
)
def test_a_line_has_the_axes_of_its_job(listed, folder, axes):
    assert listed().astype(object).fillna("").loc[folder].iloc[:7].tolist() == axes


def test_a_dense_network_stands_with_its_only_phase(listed):
    row = listed().loc["dense/net/benchmark/seed-3"]
    assert row[["sparsity", "status", "validation_accuracy"]].tolist() == [0, "trained", 0.8]
    assert row[[*COST]].tolist() == [40, 400, 4000, 2000, 2.0, 204]


def test_a_chain_stands_with_its_last_cycle_and_the_cost_of_its_cycles(listed):
    row = listed().loc["toy/chains/net/benchmark/seed-3"]
    assert row[["sparsity", "status"]].tolist() == [0.75, "trained"]
    assert row[["validation_accuracy", "test_accuracy"]].tolist() == pytest.approx([0.55, 0.5])
    assert row[[*COST]].tolist() == [30, 300, 3000, 1500, 1.5, 202]


def test_arms_stand_with_the_last_phase_that_was_run_and_the_cost_of_all(listed):
    row = listed().loc["toy/arms/net/seed-0"]
    assert (row["status"], row["validation_accuracy"], row["sparsity"]) == ("trained", 0.5, pytest.approx(0.6))
    assert row[[*COST]].tolist() == [100, 1000, 10000, 5000, 5.0, 204]


def test_weights_that_an_update_leaves_at_zero_count_where_a_probe_counts_them(toy_preset, toy_content, runs):
    """Of the arm that the job stands with, after its last epoch; without a row of it, what is pruned."""
    preset = toy_preset(seeds=[0, 3], toy=toy_content()["toy"] | {"zeros": True})
    counted = [("first", 0.1), ("second", 0.2), ("second", 0.9), ("lost", 0.3)]
    for seed, rows in ((0, counted), (3, counted[:1])):
        table = "".join(f"{arm},{sparsity}\n" for arm, sparsity in rows)
        write_text(runs / f"toy/arms/net/seed-{seed}/weights.csv", f"arm,sparsity\n{table}")
    write_runs(preset, runs, runs / "runs.csv")
    table = pd.read_csv(runs / "runs.csv").set_index("folder")
    assert table.loc["toy/arms/net/seed-0", "sparsity"] == 0.9
    assert table.loc["toy/arms/net/seed-3", "sparsity"] == pytest.approx(0.6)


@pytest.fixture
def changed(runs):
    """Changes cells of a job's phases.csv."""

    def change(folder, *cells):
        path = runs / folder / "phases.csv"
        phases = pd.read_csv(path)
        for row, column, value in cells:
            phases.loc[row, column] = value
        phases.to_csv(path, index=False)

    return change


def test_a_job_has_diverged_if_any_phase_of_an_arm_has(changed, listed):
    changed("toy/arms/net/seed-0", (0, "status", "diverged"))
    row = listed().loc["toy/arms/net/seed-0"]
    assert (row["status"], row["validation_accuracy"]) == ("diverged", 0.5)  # of the last phase, which trained


def test_arms_of_which_none_was_run_are_unmatched(changed, listed):
    changed("toy/arms/net/seed-0", *((row, "status", "unmatched") for row in range(4)))
    row = listed().loc["toy/arms/net/seed-0"]
    assert (row["status"], row["validation_accuracy"]) == ("unmatched", pytest.approx(0.6))


def test_candidates_stand_with_the_best_and_the_cost_of_all(listed):
    table = listed()
    row = table.loc["toy/search/net/seed-3/batch-0"]
    assert row[["validation_accuracy", "test_accuracy"]].tolist() == pytest.approx([0.7, 0.65])
    assert row[[*COST]].tolist() == [20, 200, 2000, 1000, 1.0, 201]
    assert table.loc["toy/search/net/seed-3/batch-1", "steps"] == 10


def test_candidates_stand_with_the_one_that_selection_would_pick(changed, listed):
    """The grid may reach into divergence, and chance can beat a trained candidate: the winner is a trained one."""
    best, lost = ((0, "validation_accuracy", 0.08),), ((1, "validation_accuracy", 0.1), (1, "status", "diverged"))
    changed("toy/search/net/seed-0/batch-0", *best, *lost)
    row = listed().loc["toy/search/net/seed-0/batch-0"]
    assert (row["status"], row["validation_accuracy"]) == ("trained", 0.08)


@pytest.mark.parametrize("folder", ["toy/chains/net/ours/seed-3", "toy/arms/net/seed-0"])
@pytest.mark.parametrize("content", [None, "", "arm,phase,status\n"])
def test_a_table_without_rows_is_named(preset, runs, folder, content):
    path = runs / folder / "phases.csv"
    path.unlink() if content is None else write_text(path, content)
    with pytest.raises(InputError, match=str(path)):
        write_runs(preset, runs, runs / "runs.csv")
    assert not (runs / "runs.csv").exists()


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_provenance_that_is_none_is_named(preset, runs, content):
    path = runs / "toy/chains/net/ours/seed-3/provenance.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=r"provenance\.json"):
        write_runs(preset, runs, runs / "runs.csv")


def test_runs_of_another_version_are_listed_too(runs, listed):
    """Results outlive the code: a later version may record more."""
    path = runs / "toy/chains/net/ours/seed-3/provenance.json"
    write_json(path, json.loads(path.read_text()) | {"cuda": "12.9"})
    assert listed()["cuda"].notna().sum() == 1
