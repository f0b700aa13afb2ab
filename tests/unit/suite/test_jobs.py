"""How every job of a folder of results is: `prunebench runs`."""

import fcntl
import io
import json

import pytest
from rich.console import Console

from prunebench.errors import InputError
from prunebench.files import write_json
from prunebench.suite.jobs import STATES, as_json, is_locked, known_state, print_survey, survey

CHAIN = "toy/chains/net/ours/seed-0"


@pytest.fixture
def results(toy_results):
    return toy_results(seeds=[0, 1])


def state(results, folder=CHAIN):
    return next(job for job in survey(results) if job.folder == folder)


def unfinished(results):
    """The chain's folder and log, its provenance gone."""
    folder = results / "runs" / CHAIN
    (folder / "provenance.json").unlink()
    log = results / "logs/prune_toys/net/ours/seed-0.log"
    log.parent.mkdir(parents=True)
    return folder, log


def test_jobs_with_all_their_files_are_done(results):
    found = survey(results)
    assert {job.state for job in found} == {"done"}
    assert [job.stage for job in found][:2] == ["train_dense"] * 2
    assert as_json(results, found)["counts"] == {"done": len(found)}


def test_a_job_that_never_ran_is_missing(results):
    folder, _ = unfinished(results)
    assert state(results).state == "missing"
    (folder / "phases.csv").unlink()
    assert state(results).state == "missing"


def test_a_failed_job_shows_the_last_line_of_its_log(results):
    folder, log = unfinished(results)
    log.write_text("arm chain\n\nprunebench: cannot write x: No space left on device\n\n")
    found = state(results)
    assert (found.state, found.why) == ("failed", "prunebench: cannot write x: No space left on device")
    assert found.log == str(log)
    (folder / ".resume.safetensors").write_text("x")  # saved before it failed
    assert state(results).state == "failed"


@pytest.mark.parametrize("line", ["told to stop (signal 15): state saved in x", "chain phase 0 epoch 1: loss 0.7"])
def test_a_job_that_was_stopped_or_killed_goes_on(results, line):
    folder, log = unfinished(results)
    log.write_text(f"{line}\n")
    (folder / ".resume.safetensors").write_text("x")
    assert (state(results).state, state(results).why) == ("stopped", line)


def test_a_job_in_whose_folder_a_process_works_is_running(results):
    folder, _ = unfinished(results)
    (folder / ".lock").touch()
    assert not is_locked(folder / ".lock")
    with open(folder / ".lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert state(results).state == "running"
    assert state(results).state == "missing"


def test_a_job_of_another_spec_is_stale(results):
    path = results / "runs" / CHAIN / "spec.json"
    (results / "runs" / CHAIN / "run.sha256").unlink()
    write_json(path, json.loads(path.read_text()) | {"seed": 7})
    assert state(results).state == "stale"


def test_a_changed_or_lost_file_is_damage(results):
    table = results / "runs" / CHAIN / "epochs.csv"
    table.write_text(table.read_text() + "x")
    found = state(results)
    assert found.state == "damaged"
    assert "epochs.csv is damaged or was changed" in found.why
    table.unlink()
    assert (state(results).state, state(results).why) == ("damaged", "epochs.csv is missing")


def test_of_a_kept_folder_the_runs_of_runs_csv_are_kept(results):
    import shutil

    shutil.rmtree(results / "runs")
    found = survey(results)
    assert {job.state for job in found} == {"kept"}
    assert not any(job.stage == "time_toys" for job in found)


def test_the_table_names_what_somebody_has_to_look_after(results):
    _, log = unfinished(results)
    log.write_text("prunebench: [bold]no[/bold] room\n")
    out = io.StringIO()
    print_survey(results, survey(results), Console(file=out, width=100))
    text = out.getvalue()
    assert "prune_toys" in text
    assert f"  {CHAIN}: prunebench: [bold]no[/bold] room\n    log: {log}" in text
    header = next(line for line in text.splitlines() if "stage" in line)
    assert header.split() == ["stage", "jobs", "done", "failed"]


def test_an_unknown_state_is_answered_with_the_nearest():
    assert known_state("stale") == "stale"
    with pytest.raises(InputError, match=r"did you mean 'failed'\?"):
        known_state("faild")
    assert len(STATES) == 8
