"""A paper's study: the tables of its runs stacked with their axes, and what of it is there."""

import json
import shutil

import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.suite.plan import make_plan
from prunebench.suite.study import Study, complete, read_table, stacked


@pytest.fixture
def study(toy_preset, toy_runs, tmp_path):
    preset = toy_preset(seeds=[0, 1])
    return Study.of(preset.all_papers()["toy"], preset, toy_runs(preset, tmp_path))


def test_a_study_has_its_part_of_the_preset_and_its_margins(study):
    assert study.config.tasks == ["net"]
    assert study.margins.t2_time == 1.05
    assert [*study.stages] == ["train_dense", "prune_toys", "search_toys", "train_toy_arms", "time_toys"]
    assert len(study.jobs("prune_toys", "train_toy_arms")) == 2 * 3 + 2
    assert study.jobs("of_no_such_stage") == []


def test_a_study_that_the_preset_leaves_out_is_refused(toy_preset, tmp_path):
    preset = toy_preset()
    with pytest.raises(InputError, match="preset 'tiny' does not run the study 'other'"):
        Study.of(preset.all_papers()["other"], preset, tmp_path)


def test_only_the_dense_networks_that_its_jobs_start_from_are_a_study_s(study):
    assert [job.folder for job in study.stages["train_dense"].jobs] == [f"dense/net/benchmark/seed-{n}" for n in (0, 1)]


def test_rows_of_all_jobs_stand_with_the_axes_of_job_arm_and_phase(study):
    rows = study.rows("prune_toys", "phases")
    assert list(rows.columns[:5]) == ["task", "seed", "criterion", "schedule", "arm"]
    assert len(rows) == 2 * 3 * 2  # seeds, schedules, cycles
    one = rows[(rows["schedule"] == "ours") & (rows["seed"] == 1)]
    assert one["cycle"].tolist() == [1, 2]
    assert one["sparsity"].tolist() == [0.5, 0.75]
    assert {*rows["last_phase"]} == {1}
    assert {*rows["last_epoch"]} == {2}


def test_rows_of_several_stages_are_stacked(study):
    together = study.rows(["prune_toys", "train_toy_arms"], "phases")
    assert len(together) == len(study.rows("prune_toys", "phases")) + len(study.rows("train_toy_arms", "phases"))
    assert study.rows("prune_toys", "no_such_table").empty
    assert study.rows("of_no_such_stage", "phases").empty


def test_a_column_that_clashes_with_an_axis_is_what_it_is_now(study):
    """The arms' axis `criterion` is what they were pruned by; a table's own column is renamed, not lost."""
    for job in study.jobs("train_toy_arms"):
        path = study.runs / job.folder / "phases.csv"
        pd.read_csv(path).assign(criterion="now").to_csv(path, index=False)
    rows = study.rows("train_toy_arms", "phases")
    assert {*rows["criterion"]} == {"first", "second", "lost"}
    assert {*rows["criterion_now"]} == {"now"}


def test_rows_are_read_once_and_are_the_caller_s_to_change(study):
    first = study.rows("prune_toys", "phases")
    first["sparsity"] = 0
    shutil.rmtree(study.runs)
    assert study.rows("prune_toys", "phases")["sparsity"].max() == 0.75


def test_tables_without_rows_know_no_types_and_leave_those_of_others():
    empty = pd.DataFrame({"a": [], "b": []})
    whole = stacked([empty, pd.DataFrame({"a": [1], "b": ["x"]}), empty])
    assert whole.to_dict("list") == {"a": [1], "b": ["x"]}
    assert whole["a"].dtype == int
    assert list(stacked([empty, empty]).columns) == ["a", "b"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\0a", b'a,b\n1,"'])
def test_a_table_that_is_none_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "phases.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"phases\.csv(: No such| is UTF-16| is not a table)"):
        read_table(tmp_path / "phases.csv")


# --- What is there


def test_a_study_whose_runs_are_all_there_is_the_whole_one(study):
    assert complete(study) == (study, [])


def test_a_seed_without_all_its_runs_and_a_part_without_its_runs_are_left_out(study):
    dense = make_plan(study.preset).stages["train_dense"].jobs[1].folder
    shutil.rmtree(study.runs / dense)
    shutil.rmtree(study.runs / "toy/timing")
    there, absent = complete(study)
    assert there.preset.seeds == [0]
    assert there.config.timing is None
    assert there.rows("prune_toys", "phases")["seed"].unique().tolist() == [0]
    assert absent == [f"seed 1: 1 of 7 runs are missing, such as {dense}", "timing is missing"]
    shutil.rmtree(study.runs / "dense")
    assert complete(study)[0] is None


def test_runs_of_another_preset_are_none_of_this_one(study):
    job = make_plan(study.preset).stages["prune_toys"].jobs[0]
    spec = study.runs / job.folder / "spec.json"
    spec.write_text(json.dumps(job.content() | {"batch_size": 2}))
    _, absent = complete(study)
    assert absent == [f"seed {job.seed}: 1 of 7 runs are missing, such as {job.folder}"]
    with pytest.raises(InputError, match=f"{job.folder} is of another preset than this one"):
        study.rows("prune_toys", "phases")
    spec.write_text(json.dumps(job.content()))
    assert complete(study) == (study, [])
