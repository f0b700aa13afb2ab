"""The smoke preset, run once: what it leaves, what a change runs again, and what survives a kill."""

import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from prunebench.cli import app
from prunebench.errors import InputError
from prunebench.suite.costs import costs_of
from prunebench.suite.forecast import forecast
from prunebench.suite.registry import papers
from prunebench.suite.report import captions

PRUNEBENCH = Path(sys.executable).with_name("prunebench")
PAPERS = papers()
TABLES = [table for paper in PAPERS.values() for table in paper.tables]
FIGURES = [figure for paper in PAPERS.values() for figure in paper.figures]
CLAIMS = sum(len(paper.claims) for paper in PAPERS.values())
JUDGE = {"judge_claims", "calibrate"}


@pytest.fixture
def copy(smoke, tmp_path):
    """A copy of the finished smoke run, with its times, which is how Snakemake knows what is new."""
    return shutil.copytree(smoke, tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)


@pytest.fixture
def plan(smoke, snakemake):
    """What the finished smoke run would run again with this `--config` beside the preset."""
    return lambda *overrides: snakemake.plan(smoke, config=("preset=smoke", *overrides))


def test_smoke_makes_every_table_figure_and_run(smoke, expected, rows_of):
    preset = expected().preset
    for table in TABLES:
        frame = rows_of(smoke / f"results/smoke/tables/{table.name}.csv")
        scale = table.scale or preset.scale
        assert {row["scale"] for row in frame} == {scale}, table.name
        assert list(frame[0]) == [*(column.name for column in table.columns), "scale"], table.name
        if table.latex:
            text = (smoke / f"results/smoke/tables/{table.name}.tex").read_text()
            assert text.count("\\\\") > 1
            assert scale.split(":")[0] in text
    for figure in FIGURES:
        svg, png = (smoke / f"figures/smoke/{figure.name}.{form}" for form in ("svg", "png"))
        assert "<svg" in svg.read_text()[:1000]
        assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(svg.stat().st_size, png.stat().st_size) > 5000
    specs = expected().plan.trained()
    runs = rows_of(smoke / "results/smoke/runs.csv")
    assert {row["folder"]: row["spec_sha256"] for row in runs} == {spec.folder: spec.digest() for spec in specs}
    kept = json.loads((smoke / "results/smoke/plan.json").read_text())
    assert kept == preset.model_dump(mode="json", exclude={"raw_data"})
    assert not [path for left in (".resume*", "*.tmp", ".lock") for path in smoke.rglob(left)]
    records = [*smoke.rglob("*.sha256")]
    assert len(records) == len([*expected().plan.jobs()]) + 2 * len(PAPERS) + 5
    for record in records:
        line = ["sha256sum", "--check", "--quiet", record.name]
        done = subprocess.run(line, cwd=record.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_smoke_ends_with_a_ledger_that_decides_nothing_and_a_report(smoke):
    ledger = json.loads((smoke / "results/smoke/claims.json").read_text())
    assert len(ledger["findings"]) == CLAIMS
    assert {finding["verdict"] for finding in ledger["findings"]} == {"not run at this scale"}
    measured = [finding["id"] for finding in ledger["findings"] if finding["headline"]]
    assert len(measured) > 20  # their effects are shown all the same
    assert not ledger["missing"]
    page = (smoke / "results/smoke/report.html").read_text()
    assert all(f'id="claim-{finding["id"]}"' in page for finding in ledger["findings"])
    done = subprocess.run([PRUNEBENCH, "claims", "results/smoke"], capture_output=True, text=True, cwd=smoke)
    assert done.returncode == 0, done.stderr
    assert f"{CLAIMS} not run at this scale" in " ".join(done.stdout.split())
    assert "results/smoke/report.html" in done.stdout


def test_a_finished_run_is_compared_with_itself_and_calibrated_by_hand(smoke, rows_of, tmp_path):
    def call(*words):
        done = subprocess.run([PRUNEBENCH, *words], capture_output=True, text=True, cwd=smoke, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output = call("compare", "results/smoke", "results/smoke", "--out", tmp_path / "comparison.csv")
    assert "verdict changed" not in output
    assert len(rows_of(tmp_path / "comparison.csv")) > CLAIMS
    output = call("calibrate", "results/smoke", "--tables", "100", "--out", tmp_path)
    assert "Halves of the seeds, mean over" in output or "so no half could forecast" in output
    for name in ("calibration", "calibration_stability"):
        assert {row["claim"] for row in rows_of(tmp_path / f"{name}.csv")} >= {"A3", "B4", "C8"}


def test_the_runs_of_one_study_are_listed_by_hand(smoke, rows_of, tmp_path):
    words = ["tabulate-runs", "--plan", "results/smoke/plan.json", "--study", "dense", "--out", tmp_path / "dense.csv"]
    done = subprocess.run([PRUNEBENCH, *words], capture_output=True, text=True, cwd=smoke, timeout=120)
    assert done.returncode == 0, done.stderr
    listed = rows_of(tmp_path / "dense.csv")
    assert listed
    assert listed == [row for row in rows_of(smoke / "results/smoke/runs.csv") if row["study"] == "dense"]


def test_a_finished_run_is_judged_again_without_its_runs(smoke, tmp_path):
    names = ("claims.json", "claims.csv", "observations.csv")
    for name in names:
        shutil.copy(smoke / "results/smoke" / name, tmp_path)
    words = ["judge-claims", "--again", "--plan", smoke / "results/smoke/plan.json", "--out", tmp_path]
    done = subprocess.run([PRUNEBENCH, *words], capture_output=True, text=True, cwd=smoke, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert (tmp_path / name).read_bytes() == (smoke / "results/smoke" / name).read_bytes()


def test_smoke_leaves_the_files_and_bytes_that_its_plan_said(smoke, expected):
    plan = expected().plan
    costs = costs_of(plan)
    found = [path for top in ("results", "figures") for path in (smoke / top).rglob("*") if path.is_file()]
    found = [path for path in found if path.parent != smoke / "results/smoke/data"]
    said = forecast(plan, costs)
    assert len(found) == said["total"]["files"]
    assert sum(path.stat().st_size for path in found) == pytest.approx(said["total"]["bytes"], rel=0.5)
    for cost in costs.values():
        files = [*(smoke / "results/smoke/runs" / cost.job.folder).iterdir()]
        assert len(files) == cost.files - 1
        assert sum(path.stat().st_size for path in files) == pytest.approx(cost.bytes, rel=0.6), cost.job.folder


def test_smoke_learns(smoke, rows_of):
    [dense] = rows_of(smoke / "results/smoke/runs/dense/digits-resnet8/cyclical/seed-0/phases.csv")
    assert float(dense["test_accuracy"]) > 0.6  # chance is 0.1


def test_smoke_s_arms_learn_and_weights_are_shed(smoke, rows_of):
    arms = smoke / "results/smoke/runs/cascade"
    last = rows_of(arms / "criteria/digits-resnet8/seed-0/batch-0/phases.csv")
    plain = [float(row["test_accuracy"]) for row in last if row["arm"].startswith("global_magnitude.s")]
    assert max(plain) > 0.6  # chance is 0.1
    rows = rows_of(arms / "shedding/digits-resnet8/seed-0/batch-0/shedding.csv")
    ends = {
        row["arm"]: float(row["relative"]) for row in rows if float(row["epoch"]) == 2 and row["arm"] == row["followed"]
    }
    assert ends["global_magnitude.p0.2.lr0.1.wd0.1"] > 0
    assert all(0 <= share <= 1 for share in ends.values())


def test_smoke_compares_the_masks_of_one_seed_within_each_task(smoke, expected, rows_of):
    for task in expected().preset.cascade.criteria.tasks:
        rows = rows_of(smoke / f"results/smoke/runs/cascade/overlap/{task}/overlap.csv")
        assert len(rows) > 3
        assert all(0 <= float(row["jaccard"]) <= 1 and 0 < float(row["chance"]) < 1 for row in rows)


def test_smoke_s_grda_run_is_sparse_without_masks_and_connected_to_sgd_s(smoke, rows_of):
    runs = smoke / "results/smoke/runs/directional"
    task = "digits-resnet8-sgd/seed-0"
    ends = {row["arm"]: row for row in rows_of(runs / f"minima/{task}/phases.csv")}
    assert float(ends["sgd"]["test_accuracy"]) > 0.6  # chance is 0.1
    last = {row["arm"]: float(row["sparsity"]) for row in rows_of(runs / f"minima/{task}/weights.csv")}
    assert last["sgd"] == 0
    assert last["grda.c0.1.mu0.6"] > 0.3
    paths = rows_of(runs / f"connectivity/{task}/paths.csv")
    assert {row["pair"] for row in paths} == {"grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init"}
    assert all(0 <= float(row["share"]) <= 1 for row in rows_of(runs / f"curvature/{task}/curvature.csv"))


@pytest.mark.parametrize(
    "override",
    [
        pytest.param((), id="nothing"),
        # the seed of the preset, and a default that the preset leaves out
        "seeds=[0]",
        "s_cyc={pruning: {include_norm: false}}",
        'raw_data="/elsewhere"',
    ],
)
def test_what_changes_no_result_reruns_nothing(plan, override):
    assert plan(*([override] if override else [])) == ({}, [])


@pytest.mark.parametrize(
    "override",
    [
        "schedules={s_cyc: {policy: {beta: 3}}}",
        # `cyclical` and `linear_ramp` share this mapping as an alias in the file: one change must not reach the other
        "schedules={linear_ramp: {profile: {periods: 2}}}",
        "tasks={digits-mlp: {training: {momentum: 0.8}}}",
        "s_cyc={gradient_measure: {images: 64}}",
        "cascade={gmp: {ramp: {share: 0.5}}}",
        "cascade={criteria: {sparsities: [0.5, 0.95]}}",
        "directional={baselines: {l1: [0.01]}}",
        # the minima keep another epoch: they are trained again, and all that starts from them
        "directional={curvature: {epochs: [3]}}",
        # the dense network keeps another epoch: it is trained again, and all that starts from it
        "cascade={retraining: {rewind_epoch: 0}}",
    ],
)
def test_a_changed_value_runs_again_what_it_changes_and_nothing_else(plan, expected, override):
    key, _, value = override.partition("=")
    changed = expected(**{key: yaml.safe_load(value)}).changed_since(expected())
    assert changed
    stats, messages = plan(override)
    assert expected().jobs_among(messages) == changed
    assert "prepare_data" not in stats
    for paper in PAPERS:
        assert stats[f"tabulate_{paper}"] == stats[f"draw_{paper}"] == 1


@pytest.mark.parametrize(
    ("override", "rules"),
    [
        ("claims={s_cyc: {a3_gain: 0.02}}", {*JUDGE, "write_report"}),
        ("s_cyc={oracle: {tolerance: 0.02}}", {"tabulate_s_cyc"}),
        ("s_cyc={pruning: {rewind_epoch: 1}}", {"tabulate_s_cyc"}),
        ("schedules={s_cyc: {source: another mark}}", {"tabulate_s_cyc"}),
    ],
)
def test_what_no_run_reads_trains_nothing(plan, expected, override, rules):
    stats, _ = plan(override)
    assert not expected().training & stats.keys()
    assert rules <= stats.keys()


def test_a_new_grid_searches_again_but_trains_no_chain(plan, expected):
    stats, messages = plan("s_cyc={oracle: {max_lr: [0.05, 0.1, 0.3]}}")
    assert stats["search_max_lr"] == expected().preset.s_cyc.pruning.cycles + 1
    assert all(message.startswith("Oracle") for message in expected().jobs_among(messages))


def test_a_new_grid_of_a_plane_connects_again_but_trains_no_network(plan, expected):
    stats, _ = plan("directional={connectivity: {points: 7}}")
    assert stats["connect_minima"] == 1
    assert expected().training & stats.keys() == {"connect_minima"}


def test_another_seed_trains_that_seed_alone(plan, expected):
    _, messages = plan("seeds=[0,1]")
    changed = expected(seeds=[0, 1]).changed_since(expected())
    assert expected().jobs_among(messages) == changed
    assert sum("seed-1" in message for message in changed) > 30
    assert {message for message in changed if "seed-1" not in message} == expected().messages(
        lambda job: job.folder.startswith("cascade/overlap/")
    )  # masks are now compared between seeds, too


def test_a_clock_that_was_set_back_reruns_nothing(copy, snakemake):
    """What jobs read seems to come from the future, and to be newer than what they have written."""
    inputs = [*copy.glob("results/smoke/data/*"), *copy.glob("results/smoke/runs/**/networks.safetensors")]
    inputs += copy.glob("results/smoke/tables/*.csv")
    assert len(inputs) > 20
    for path in inputs:
        os.utime(path, (time.time() + 86_400,) * 2)
    assert snakemake.plan(copy) == ({}, [])


def test_snakemake_names_the_keys_that_changed(smoke, snakemake):
    done = snakemake.dry_run(smoke, config=("preset=smoke", "schedules={s_cyc: {policy: {beta: 3}}}"))
    assert "schedules.s_cyc.policy.beta: 2" in done.stdout
    assert "-> 3" in done.stdout


def test_figures_are_redrawn_from_the_tables_without_training(copy, snakemake):
    figures = copy / "figures/smoke"
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    shutil.rmtree(figures)
    shutil.rmtree(copy / "results/smoke/data")  # as if only the tables had been handed on
    by_params = ("--rerun-triggers", "params")
    draw = {f"draw_{paper}" for paper in PAPERS} | {"draw_calibration"}
    assert snakemake.plan(copy, "figures", *by_params)[0] == {**dict.fromkeys(draw, 1), "figures": 1}
    # of the others' figures, test_killed_again_and_again... draws cascade's
    done = snakemake.run(copy, "draw_directional", "draw_calibration", "--cores", "1", *by_params)
    assert done.returncode == 0, done.stdout
    after = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert after == {name: drawn for name, drawn in before.items() if name.startswith(("directional", "calibration"))}


def without_timings(path, rows_of):
    """A file's content; a table's without its columns of seconds, their ratios and memory."""
    if path.suffix != ".csv":
        return path.read_bytes()
    rows = rows_of(path)
    kept = [
        name for name in rows[0] if not re.search("seconds|memory|others_load|^ratio_(sgd|momentum|reference)", name)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, kept, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def test_a_deleted_run_is_trained_again_to_the_same_bytes(copy, snakemake, rows_of):
    """Runs that train their own network, runs that start from a dense one, and an exact problem."""
    runs = {
        "s_cyc/gradients/digits-mlp/random/cyclical/seed-0": ("epochs.csv", "phases.csv", "gradients.csv"),
        "cascade/gmp/digits-resnet8/seed-0/batch-0": ("epochs.csv", "spec.json"),
        "directional/minima/digits-resnet8-sgd/seed-0": ("epochs.csv", "weights.csv", "networks.safetensors"),
        "directional/toy/network": ("toy.csv", "spec.json"),
    }
    files = [copy / "results/smoke/runs" / run / name for run, names in runs.items() for name in names]
    before = [without_timings(path, rows_of) for path in files]
    for folder in {path.parent for path in files}:
        shutil.rmtree(folder)
    done = snakemake.run(copy, "--cores", "2", *(path.relative_to(copy) for path in files))
    assert done.returncode == 0, done.stdout
    assert [without_timings(path, rows_of) for path in files] == before


def test_snakemake_s_own_report_holds_the_run_offline(smoke, snakemake, tmp_path):
    done = snakemake.run(smoke, "--report", tmp_path / "report.zip")
    assert done.returncode == 0, done.stdout
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    text = b"".join(content for name, content in packed.items() if name.endswith((".js", ".html"))).decode()
    assert "Cascade shedding (arXiv 2103.10629)" in text  # a category
    assert captions.title(PAPERS["directional"], "figure", "directional_plane") in text  # a label
    assert captions.caption(PAPERS["s_cyc"], "figure", "s_cyc_oracle").split(".")[0][:60] in " ".join(text.split())
    assert sum(name.endswith(".svg") for name in packed) == len(FIGURES) + 2  # the calibration's are the suite's
    assert any(content == (smoke / "results/smoke/report.html").read_bytes() for content in packed.values())


RESULTS, RUNS = "results/smoke", "results/smoke/runs"
ORACLE, CASCADE = "s_cyc/{}/digits-resnet8/global_magnitude/seed-0/{}", "cascade/{}/digits-resnet8/seed-0/batch-0"
REPORT = f"write-report {RESULTS} --figures figures/smoke --out report.html"
READERS = {
    f"{RUNS}/{CASCADE.format('gmp')}/phases.csv": f"tabulate cascade --plan {RESULTS}/plan.json --out out",
    f"{RUNS}/{CASCADE.format('gmp')}/provenance.json": f"tabulate-runs --plan {RESULTS}/plan.json --out runs.csv",
    f"{RUNS}/{CASCADE.format('criteria')}/networks.safetensors": "do cascade/overlap/digits-resnet8",  # masks
    f"{RUNS}/dense/digits-resnet8/cyclical/seed-0/networks.safetensors": (
        "do s_cyc/chains/digits-resnet8/global_magnitude/cyclical/seed-0"
    ),
    f"{RUNS}/{ORACLE.format('oracle', 'cycle-2/batch-0')}/phases.csv": f"do {ORACLE.format('choice', 'cycle-2')}",
    f"{RUNS}/{ORACLE.format('oracle', 'cycle-2/batch-0')}/spec.json": f"do {ORACLE.format('choice', 'cycle-2')}",
    f"{RUNS}/{ORACLE.format('choice', 'cycle-2')}/networks.safetensors": (
        f"do {ORACLE.format('oracle', 'cycle-3/batch-0')}"
    ),
    f"{RUNS}/directional/minima/digits-resnet8-sgd/seed-0/networks.safetensors": (
        "do directional/curvature/digits-resnet8-sgd/seed-0"
    ),
    f"{RESULTS}/data/digits.safetensors": "do dense/digits-resnet8/cyclical/seed-0",
    f"{RESULTS}/plan.json": f"tabulate-runs --plan {RESULTS}/plan.json --out runs.csv",
    f"{RESULTS}/tables/s_cyc_accuracy.csv": (
        f"draw s_cyc --plan {RESULTS}/plan.json --tables {RESULTS}/tables --out drawn"
    ),
    f"{RESULTS}/observations.csv": f"calibrate {RESULTS} --out out",
    f"{RESULTS}/claims.json": f"claims {RESULTS}",
    f"{RESULTS}/runs.csv": f"compare {RESULTS} {RESULTS}",
    f"{RESULTS}/tables/calibration.csv": REPORT,
    "figures/smoke/s_cyc_accuracy.svg": REPORT,
}
"""A file of each kind that something reads -> the command that reads it."""


@pytest.fixture(scope="module")
def damaged_copy(smoke, tmp_path_factory):
    """A copy of the finished smoke run, in which one file after another is damaged and mended."""
    return shutil.copytree(smoke, tmp_path_factory.mktemp("damaged") / "copy", symlinks=True)


@pytest.mark.parametrize("file", READERS)
def test_a_damaged_file_is_named_and_refused_by_whoever_reads_it(damaged_copy, monkeypatch, file):
    """One bit of it, anywhere, or its end. Nothing is written but whole tables that do not need the file."""
    monkeypatch.chdir(damaged_copy)
    verb, *words = READERS[file].split()
    if verb == "do":
        words = [f"{RUNS}/{words[0]}", "--plan", f"{RESULTS}/plan.json"]
    path, draw = Path(file), random.Random(file)
    content = path.read_bytes()
    bits = [(draw.randrange(len(content)), 1 << draw.randrange(8)) for _ in range(3)]
    damages = [content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :] for place, bit in bits]
    before = {each for each in damaged_copy.rglob("*") if each.parent.name != "out"}
    try:
        for damage in (*damages, content[:-1], content[: len(content) // 2], b""):
            path.write_bytes(damage)
            with pytest.raises(InputError) as refused:
                app([verb, *words], standalone_mode=False)
            assert file in str(refused.value)
    finally:
        path.write_bytes(content)
        shutil.rmtree("out", ignore_errors=True)
    assert {each for each in damaged_copy.rglob("*") if each.parent.name != "out"} == before


def processes_in(folder):
    """Ids of the processes that work in this folder: Snakemake and its jobs, whatever group they are in."""
    ids = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == folder:
                ids.append(int(entry.name))
    return ids


def kill_all(process, folder):
    """SIGKILL to Snakemake and to all its jobs, as in a power cut."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left := processes_in(folder):
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


PART = [f"cascade/{part}/digits-resnet8/seed-0/batch-0" for part in ("criteria", "retraining", "schedules", "gmp")]


@pytest.mark.parametrize(
    ("runs", "kills", "most"), [(PART, 3, 30), pytest.param(None, 20, 60, id="whole", marks=pytest.mark.slow)]
)
def test_killed_again_and_again_it_ends_with_the_same_tables(
    smoke, copy, snakemake, rows_of, tmp_path, runs, kills, most
):
    """Runs of a study and its tables are not there yet, or nothing is. Snakemake and its jobs are killed at random
    moments, each when the jobs have said so many lines, and the same command is started again."""
    for gone in [copy / "results", copy / "figures", copy / ".snakemake"] if runs is None else []:
        shutil.rmtree(gone)
    for gone in [copy / "results/smoke/runs" / run for run in runs or ()]:
        shutil.rmtree(gone)
    for table in copy.glob("results/smoke/tables/cascade_*"):
        table.unlink()
    finished = {path: path.stat().st_mtime_ns for path in copy.glob("results/smoke/runs/**/provenance.json")}
    draw = random.Random(20)
    for _ in range(kills):
        started, lines = time.time(), draw.randint(1, most)
        with open(tmp_path / "log", "w") as log:
            line, merged = snakemake.command(copy, "--cores", "2"), {"stdout": log, "stderr": log}
            process = subprocess.Popen(line, cwd=copy, start_new_session=True, **merged)
            while said(copy, started) < lines:
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
                assert time.time() < started + 600
                time.sleep(0.01)
            kill_all(process, copy)
        assert process.returncode == -signal.SIGKILL
    done = snakemake.run(copy, "--cores", "2")
    assert done.returncode == 0, done.stdout[-6000:]

    again = [path for path, when in finished.items() if path.stat().st_mtime_ns != when]
    assert all("overlap" in path.parts for path in again)  # masks are compared again after new criteria
    tables = "results/smoke/tables"
    names = {path.name for path in (smoke / tables).iterdir() if path.suffix != ".sha256"}
    assert {path.name for path in (copy / tables).iterdir() if path.suffix != ".sha256"} == names
    # the calibration simulates with the measured spread of seconds
    for name in (name for name in names if not name.startswith("calibration")):
        assert without_timings(copy / tables / name, rows_of) == without_timings(smoke / tables / name, rows_of), name
    assert untimed_observations(copy, rows_of) == untimed_observations(smoke, rows_of)
    for name in (f"{figure.name}.{form}" for figure in PAPERS["cascade"].figures for form in ("svg", "png")):
        assert (copy / "figures/smoke" / name).read_bytes() == (smoke / "figures/smoke" / name).read_bytes(), name
    assert not [path for left in (".resume*", "*.tmp", ".lock") for path in copy.rglob(left)]


def said(folder, since):
    """Lines that jobs have written into their logs since a time."""
    lines = 0
    for log in folder.glob("results/smoke/logs/**/*.log"):
        with contextlib.suppress(FileNotFoundError):  # Snakemake deletes those of jobs that it starts anew
            lines += log.read_bytes().count(b"\n") if log.stat().st_mtime > since else 0
    return lines


def untimed_observations(folder, rows_of):
    """What claims are judged by, without those about time."""
    return [row for row in rows_of(folder / "results/smoke/observations.csv") if row["claim"] not in ("A5", "C4")]
