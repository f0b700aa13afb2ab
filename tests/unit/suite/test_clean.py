"""What of a folder of results can go: only what prunebench made, never behind a link, never without --yes."""

import fcntl
import json
import os

import pytest

from prunebench.errors import InputError
from prunebench.files import write_json
from prunebench.suite.clean import KINDS, Folder, main, remove

CHAIN, OTHER = "toy/chains/net/ours/seed-0", "toy/chains/net/theirs/seed-0"


@pytest.fixture
def results(toy_results):
    results = toy_results(seeds=[0])
    for name in ("logs/prune_toys/net/ours/seed-0.log", "tables/toy_accuracy.csv", "tables/toy.sha256", "claims.json"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("x")
    return results


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def gone(results, what):
    before = files(results)
    remove(results, Folder(results).rubbish(what))
    return before - files(results)


def test_without_yes_nothing_is_deleted(results, capsys):
    before = files(results)
    main(results, None, False)
    main(results, "all", False)
    assert files(results) == before
    out = capsys.readouterr().out
    for kind, meaning in KINDS.items():
        assert f"would go: {meaning}" in out, kind
    assert "Nothing is deleted without --yes" in out


def test_yes_deletes_only_what_is_named(results):
    with pytest.raises(InputError, match="give --what"):
        main(results, None, True)
    with pytest.raises(InputError, match=r"did you mean 'stale'\?"):
        main(results, "stal", True)
    before = files(results)
    main(results, "resume", True)
    assert files(results) == before


def test_what_killed_jobs_left_goes_and_what_is_being_written_stays(results):
    folder = results / "runs" / CHAIN
    (folder / ".resume.safetensors").write_bytes(b"x" * 5000)
    left, held = (folder / f".epochs.csv.{n * 12}.tmp" for n in "01")
    left.write_text("x")
    with open(held, "w") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        rubbish = Folder(results).rubbish("resume")
        assert rubbish.size >= 5000
        remove(results, rubbish)
    assert not left.exists()
    assert held.exists()
    assert (folder / "epochs.csv").exists()


def test_jobs_of_another_spec_and_jobs_that_the_preset_has_no_more_are_stale(results):
    assert gone(results, "stale") == set()
    (results / "runs" / CHAIN / "run.sha256").unlink()
    spec = results / "runs" / CHAIN / "spec.json"
    write_json(spec, json.loads(spec.read_text()) | {"seed": 7})
    plan = json.loads((results / "plan.json").read_text())
    plan["toy"]["schedules"].remove("theirs")
    write_json(results / "plan.json", plan)
    before = files(results / "runs" / OTHER)
    assert gone(results, "stale") == {
        *(f"runs/{CHAIN}/{name}" for name in ("epochs.csv", "phases.csv", "spec.json", "provenance.json")),
        *(f"runs/{OTHER}/{name}" for name in before),
    }
    assert not (results / "runs" / OTHER).exists()


def test_runs_are_all_jobs_with_their_event_files_and_nothing_beside(results):
    job = results / "runs" / CHAIN
    events = job / "tensorboard/chain/events.out.tfevents.1.x.2.3"
    events.parent.mkdir(parents=True)
    for path in (events, job / "notes.txt", results / "runs/mine/plot.png", events.with_name("mine")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    beside = {name for name in files(results) if not name.startswith("runs/")}
    gone(results, "runs")
    kept = {f"runs/{CHAIN}/notes.txt", "runs/mine/plot.png", f"runs/{CHAIN}/tensorboard/chain/mine"}
    assert files(results) == beside | kept


def test_all_leaves_what_others_put_there(results):
    for name in ("notes.txt", "tables/mine.csv", "logs/mine.txt"):
        (results / name).write_text("x")
    gone(results, "all")
    assert files(results) == {"notes.txt", "tables/mine.csv", "logs/mine.txt"}


def test_no_link_is_followed_and_none_deleted(results, tmp_path):
    outside = tmp_path / "outside"
    (results / "runs" / OTHER).rename(outside)
    (results / "runs" / OTHER).symlink_to(outside)
    (results / "runs" / CHAIN / "epochs.csv").unlink()
    (results / "runs" / CHAIN / "epochs.csv").symlink_to(outside / "epochs.csv")
    (results / "tables").rename(tmp_path / "tables")
    (results / "tables").symlink_to(tmp_path / "tables")
    before = files(outside) | files(tmp_path / "tables")
    rubbish = Folder(results).rubbish("all")
    assert not [path for path in rubbish.files if path.is_symlink()]
    remove(results, rubbish)
    assert files(outside) | files(tmp_path / "tables") == before
    assert (results / "runs" / CHAIN / "epochs.csv").is_symlink()
    assert any("tables: it lies behind a link" in line for line in rubbish.kept)


def test_a_link_that_appears_after_the_look_is_not_followed(results, tmp_path):
    rubbish = Folder(results).rubbish("all")
    (results / "tables").rename(tmp_path / "tables")
    (results / "tables").symlink_to(tmp_path / "tables")
    before = files(tmp_path / "tables")
    remove(results, rubbish)
    assert files(tmp_path / "tables") == before


def test_a_record_cannot_name_files_elsewhere(results, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("x")
    record = results / "runs" / CHAIN / "run.sha256"
    up = os.path.relpath(victim, record.parent)
    record.write_text(record.read_text() + f"{'0' * 64}  {up}\n{'0' * 64}  {victim}\n{'0' * 64}  ..\n")
    gone(results, "all")
    assert victim.exists()


def test_a_job_in_whose_folder_a_process_works_stays(results):
    folder = results / "runs" / CHAIN
    with open(folder / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        rubbish = Folder(results).rubbish("runs")
        remove(results, rubbish)
    assert (folder / "epochs.csv").exists()
    assert rubbish.kept == [f"{folder}: a process works in it"]


def test_nothing_goes_while_snakemake_works_or_from_a_kept_folder(results):
    lock = results.parent.parent / ".snakemake/prunebench.lock"
    lock.parent.mkdir()
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="a Snakemake works in"):
            Folder(results)
    (results / "runs").rename(results.parent / "elsewhere")
    with pytest.raises(InputError, match="kept folder"):
        Folder(results)
