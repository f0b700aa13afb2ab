"""`prunebench.load`: a folder of results as tidy frames."""

import subprocess
import sys
from pathlib import Path

import pytest

import prunebench
from prunebench.errors import InputError
from prunebench.runs.engine import COLUMNS
from prunebench.suite import dictionary
from prunebench.suite.plan import make_plan

KEPT = Path(prunebench.__file__).parents[2] / "results/reference/laptop"


@pytest.fixture
def results(toy_results):
    return prunebench.load(toy_results(seeds=[0, 1]))


def test_runs_have_a_row_per_job_that_trains(results):
    assert len(results.runs) == len(make_plan(results.preset).trained())
    assert {*results.runs["seed"]} == {0, 1}


def test_phases_and_epochs_have_the_axes_of_job_arm_and_phase(results):
    trained = make_plan(results.preset).trained()
    assert len(results.epochs) == sum(len(arm.phases) for job in trained for arm in job.arms)
    chain = results.epochs[results.epochs["folder"] == "toy/chains/net/ours/seed-1"]
    assert chain[["study", "task", "seed", "schedule", "arm"]].drop_duplicates().to_numpy().tolist() == [
        ["toy", "net", 1, "ours", "chain"]
    ]
    assert chain["train_loss"].tolist() == [1, 0.5]
    assert [*results.phases.columns][:3] == ["study", "task", "seed"]
    assert results.phases.columns.is_unique
    assert not {"last_phase", "last_epoch"} & {*results.phases.columns}


def test_a_measurement_has_its_name_to_itself(results):
    """The search's arms have an axis max_lr, phases.csv may have the column, too."""
    rows = results.epochs[results.epochs["folder"].str.contains("search")]
    assert sorted(rows["max_lr"].dropna().unique()) == [0.1, 0.2, 0.4]
    assert not [name for name in results.epochs.columns if name.endswith(("_now", "_x", "_y"))]


def test_jobs_that_are_not_done_or_of_another_preset_are_left_out(results):
    folder, before = results.folder / "runs/toy/chains/net/ours/seed-1", len(results.epochs)
    (folder / "provenance.json").unlink()
    again = prunebench.load(results.folder)
    assert "toy/chains/net/ours/seed-1" not in {*again.epochs["folder"]}
    assert len(again.epochs) == before - 2


def test_a_frame_is_its_callers_own(results):
    runs = results.runs
    runs["seed"] = 7
    assert {*results.runs["seed"]} == {0, 1}


def test_an_unknown_name_is_answered_with_the_nearest(results):
    with pytest.raises(KeyError, match=r"did you mean 'epochs'\?"):
        results["epoch"]
    with pytest.raises(InputError, match=r"did you mean 'tiny'\?"):
        prunebench.load(results.folder.with_name("tinny"))
    assert "epochs" in repr(results)


def test_a_kept_folder_has_tables_runs_claims_and_observations():
    kept = prunebench.load(KEPT)
    assert {"runs", "claims", "observations", "s_cyc_accuracy", "calibration"} <= {*kept}
    assert "epochs" not in kept
    with pytest.raises(KeyError, match="no frame 'epochs'"):
        kept.epochs  # noqa: B018
    assert len(kept) == len([*kept])
    for name in kept:
        assert len(kept[name]), name
    observed = kept.observations
    a3 = observed[(observed["claim"] == "A3") & (observed["quantity"] == "gain")]
    assert {*a3["seed"]} == {0, 1, 2}
    assert a3["sparsity"].notna().all()
    assert {*a3["unit"]} == {"points"}
    assert kept.runs["commit"].map(type).eq(str).all()


def test_every_column_of_runs_and_of_training_tables_has_a_meaning():
    declared = {column.name for column in dictionary.RUNS}
    assert {*prunebench.load(KEPT).runs.columns} <= declared
    places = {"arm", "phase", "epoch"}
    for table, columns in (("phases", dictionary.PHASES), ("epochs", dictionary.EPOCHS)):
        assert {column.name for column in columns} == {*COLUMNS[table]} - places
    assert all(column.meaning for column in (*dictionary.RUNS, *dictionary.PHASES, *dictionary.CLAIMS))


def test_the_package_alone_imports_no_pandas():
    line = (
        "import prunebench, sys; print(prunebench.load.__doc__[:11], 'pandas' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == "The results False False\n"
