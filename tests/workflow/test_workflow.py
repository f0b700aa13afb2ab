"""The DAG: what it plans, what it runs, what it runs again, and what it says about bad input."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset, parse_preset
from prunebench.suite.registry import papers

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))
TOOLS = Path(sys.executable).parent
ONE_SEED = ("preset=smoke", "seeds=[0]")
JUDGE = ("judge_claims", "calibrate")
PAPERS = tuple(papers().values())
TABLES = [table for paper in PAPERS for table in paper.tables]
FIGURES = [figure for paper in PAPERS for figure in paper.figures]


def command(folder, *words):
    return [TOOLS / "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, *words]


def snakemake(folder, *words, config=("preset=smoke",), timeout=600):
    """Snakemake in a folder of its own: its exit code, and stdout and stderr together."""
    return subprocess.run(
        command(folder, *words, "--config", *config),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        timeout=timeout,
    )


def plan(folder, *words, config=("preset=smoke",)):
    """A dry run: ({rule: jobs}, the jobs' messages)."""
    done = snakemake(folder, "--dry-run", "--cores", "2", *words, config=config)
    assert done.returncode == 0, done.stdout
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\n\n", done.stdout, re.MULTILINE | re.DOTALL)
    assert table or "Nothing to be done" in done.stdout, done.stdout
    stats = {}
    for line in table.group(1).splitlines() if table else ():
        rule, count = line.split()
        stats[rule] = int(count)
    stats.pop("total", None)
    return stats, re.findall(r"^Job \d+: (.*)$", done.stdout, re.MULTILINE)


def message_of(stage, job):
    return f"{stage.title} {job.folder.removeprefix(f'{stage.folder}/')}"


def messages_of(preset, wanted=lambda job: True):
    """The messages of a preset's jobs."""
    stages = make_plan(preset).stages.values()
    return {message_of(stage, job) for stage in stages for job in stage.jobs if wanted(job)}


TITLES = tuple(f"{stage.title} " for stage in make_plan(load_preset(ROOT / "config/smoke.yaml")).stages.values())
TRAINING = {"prepare_data", *make_plan(load_preset(ROOT / "config/smoke.yaml")).stages}


def planned_jobs(messages):
    """The messages of jobs of the plan, not of rules that read what jobs leave."""
    return {message for message in messages if message.startswith(TITLES)}


def smoke_with(**changes):
    """The smoke preset with one seed and these dotted changes, read without Snakemake."""
    content = json.loads(json.dumps(yaml.safe_load((ROOT / "config/smoke.yaml").read_text()))) | {"seeds": [0]}
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[key] = value
    return parse_preset(content, "smoke")


def differing(one, other):
    """Messages of the jobs of `other` whose specs the two presets do not share, and of those that read their files."""
    before = {job.digest() for job in make_plan(one).jobs()}
    plan = make_plan(other)
    changed = {job.folder for job in plan.jobs() if job.digest() not in before}
    while further := {job.folder for job in plan.jobs() if job.folder not in changed and reads(job, changed)}:
        changed |= further
    return messages_of(other, lambda job: job.folder in changed)


def reads(job, folders):
    return any(need.rsplit("/", 1)[0] in folders for need in job.needs)


@pytest.mark.parametrize("name", PRESETS)
def test_a_dry_run_plans_every_run_of_a_preset_and_nothing_else(tmp_path, name):
    preset = load_preset(ROOT / f"config/{name}.yaml")
    began = time.monotonic()
    stats, messages = plan(tmp_path, config=(f"preset={name}",))
    assert time.monotonic() - began < 60  # 10 s on an idle machine
    stages = make_plan(preset).stages
    expected = {
        "prepare_data": len({job.data for stage in stages.values() for job in stage.jobs if job.data}),
        **{stage.name: len(stage.jobs) for stage in stages.values()},
        **{f"{verb}_{study}": 1 for verb in ("tabulate", "draw") for study in preset.studies()},
        **dict.fromkeys(("tabulate_runs", *JUDGE, "draw_calibration", "write_report", "all"), 1),
    }
    assert stats == expected
    assert planned_jobs(messages) == messages_of(preset)
    assert {path.name for path in tmp_path.iterdir()} <= {".snakemake"}


def test_the_workflow_s_own_profile_is_found(tmp_path):
    """Snakemake looks for profiles/default beside the Snakefile, and only there; without it no job's log is shown."""
    done = snakemake(tmp_path, "--dry-run", "--cores", "2")
    assert re.search(r"workflow specific profile \S+ for setting default command line arguments", done.stdout), (
        done.stdout
    )


def test_without_a_preset_the_laptop_is_planned(tmp_path):
    done = subprocess.run(
        command(tmp_path, "--dry-run", "--cores", "2"), capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "results/laptop/runs.csv" in done.stdout + done.stderr


def stages_of(key):
    return {stage.name for stage in make_plan(load_preset(ROOT / "config/smoke.yaml")).studies[key]}


EVERY = {"train_dense"}.union(*({*stages_of(paper.key), f"tabulate_{paper.key}"} for paper in PAPERS))
DRAW = {*(f"draw_{paper.key}" for paper in PAPERS), "draw_calibration"}


@pytest.mark.parametrize(
    ("target", "present"),
    [
        ("all", {*EVERY, "tabulate_runs", *DRAW, *JUDGE, "write_report"}),
        ("s_cyc", {"train_dense", *stages_of("s_cyc"), "tabulate_s_cyc", "draw_s_cyc"}),
        ("cascade", {"train_dense", *stages_of("cascade"), "tabulate_cascade", "draw_cascade"}),
        ("directional", {*stages_of("directional"), "tabulate_directional", "draw_directional"}),
        ("tables", {*EVERY, "tabulate_runs", *JUDGE}),
        ("figures", {*EVERY, *DRAW, *JUDGE}),
        ("claims", {*EVERY, "tabulate_runs", *DRAW, *JUDGE, "write_report"}),
    ],
)
def test_each_target_plans_by_its_name(tmp_path, target, present):
    stats, _ = plan(tmp_path, target)
    assert stats.keys() == {target, "prepare_data", *present}


def test_the_stages_tell_what_is_done():
    assert {"prune_chains", "search_max_lr", "select_max_lr", "measure_gradients"} <= stages_of("s_cyc")
    assert {"watch_shedding", "retrain_gmp", "compare_masks"} <= stages_of("cascade")
    assert {"train_minima", "connect_minima", "measure_curvature"} <= stages_of("directional")


def test_the_cascade_target_trains_the_dense_networks_that_its_arms_start_from_and_no_other(tmp_path):
    _, messages = plan(tmp_path, "cascade")
    every = make_plan(load_preset(ROOT / "config/smoke.yaml"))
    needed = {need.rsplit("/", 1)[0] for job in every.jobs("cascade") for need in job.needs}
    dense = {message_of(every.dense, job) for job in every.dense.jobs if job.folder in needed}
    assert {message for message in messages if message.startswith("Dense network ")} == dense
    assert 0 < len(dense) < len(every.dense.jobs)


def test_slurm_plans_the_submission_of_every_job(tmp_path):
    """`--profile slurm` finds ./slurm; a folder that has a copy of it stands for the repository."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    done = snakemake(tmp_path, "--dry-run", "--cores", "8", "--profile", "slurm")
    assert done.returncode == 0, done.stdout
    for stage in make_plan(load_preset(ROOT / "config/smoke.yaml")).stages.values():
        assert re.search(rf"^{stage.name} +{len(stage.jobs)}$", done.stdout, re.MULTILINE)
    profile = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
    assert profile["executor"] == "slurm"


def test_every_training_job_asks_for_what_the_preset_says(tmp_path):
    """Snakemake tells a job's resources where it has no message to tell: in a copy of the rules without messages."""
    for part in ("Snakefile", "workflow", "config"):
        copied = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copied(ROOT / part, tmp_path / part)
    for rules in (tmp_path / "workflow/rules").glob("*.smk"):
        rules.write_text(re.sub(r"\n( +)message:\n +.*", "", rules.read_text()))
    words = ("--snakefile", tmp_path / "Snakefile", "--directory", tmp_path, "--dry-run", "--cores", "2")
    asked = ("--config", "preset=smoke", "resources={mem_mb: 1234, runtime: 56}")
    done = subprocess.run([TOOLS / "snakemake", *words, *asked], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    jobs = re.findall(r"^rule (\w+):\n.*?^    resources: (.*?)$", done.stdout + done.stderr, re.MULTILINE | re.DOTALL)
    told = {rule: text for rule, text in jobs if rule in TRAINING - {"prepare_data"}}
    assert {"train_dense", "prune_chains", "retrain_gmp", "train_minima", "search_max_lr"} <= told.keys()
    for rule, text in told.items():
        assert "mem_mb=1234" in text, rule
        assert "runtime=56" in text, rule


ACCEPTED_LINTS = {
    "Specify a conda environment or container for each rule.": "one environment serves all: environment.yml",
    "Param tables is a prefix of input or output file but hardcoded": "their folder, one level above every input",
    "Param figures is a prefix of input or output file but hardcoded": "their folder, one level above every input",
    "Param results is a prefix of input or output file but hardcoded": "the preset's folder, above every input",
    "Mixed rules and functions in same snakefile.": "they are the rules' own inputs and outputs, a few lines each",
}


def test_lint_says_only_what_is_accepted_for_a_reason(tmp_path):
    done = snakemake(tmp_path, "--lint")
    assert "Lints for" in done.stdout or done.returncode == 0, done.stdout
    rule = ""
    for line in done.stdout.splitlines():
        if heading := re.match(r"Lints for (?:rule )?(\S+)", line):
            rule = heading.group(1)
        elif line.startswith("    * "):
            reason = ACCEPTED_LINTS.get(line.removeprefix("    * ").rstrip(":"))
            assert reason, f"{rule}: {line}"
            assert isinstance(reason, str) or rule in reason, f"{rule}: {line}"


@pytest.mark.parametrize(
    "words",
    [
        ["snakefmt", "--check", "Snakefile", "workflow"],
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_sources_are_formatted_linted_and_typed(words):
    done = subprocess.run([TOOLS / words[0], *words[1:]], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (("preset=smok",), "no preset 'smok' in config/: did you mean 'smoke'? allowed: "),
        (("preset=5",), "no preset '5' in config/: "),
        (("preset=../config/smoke",), "'preset'"),
        (("preset=smoke", "seeds=[0,0]"), "seeds holds a value twice: [0, 0]"),
        (("preset=smoke", "seeds=[x]"), "'seeds.0'"),
        (("preset=smoke", "sedes=[0]"), "unknown key 'sedes': did you mean 'seeds'?"),
        (("preset=smoke", "s_cyc={pruning: {rate: 1.2}}"), "'s_cyc.pruning.rate': input should be less than 1"),
        (("preset=smoke", "schedules={s_cyc: {policy: {betta: 3}}}"), "did you mean 'beta'?"),
        (("preset=smoke", "schedules={constant: {policy: {max_lr: -1}}}"), "max_lr is -1"),
        (("preset=smoke", "tasks={digits-mlp: {network: {kind: mpl}}}"), "did you mean 'mlp'?"),
        (("preset=smoke", "cascade={dense: step_decy}"), "cascade.dense names 'step_decy'"),
        (("preset=smoke", "cascade={preludes: {shedding: {epochs: 3}}}"), "cascade.preludes.shedding.epochs is 3"),
        (("preset=smoke", "directional={curvature: {epochs: [9]}}"), "directional.curvature.epochs: 9 is beyond the 4"),
        (("preset=smoke", "directional={grda: {digits-mlp: [{c: 1, mu: 0.6}]}}"), "gRDA has none"),
        (("preset=smoke", "claims={s_cyc: {a3_gian: 0.1}}"), "did you mean 'a3_gain'?"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_bad_value_fails_before_anything_runs_and_says_why_in_one_line(tmp_path, config, line):
    done = snakemake(tmp_path, "--dry-run", "--cores", "2", config=config)
    assert done.returncode == 1
    assert len([text for text in done.stdout.splitlines() if line in text]) == 1, done.stdout
    assert "site-packages" not in done.stdout  # no traceback through other people's code
    assert not (tmp_path / "results").exists()


def test_a_job_s_own_line_reaches_the_terminal_and_odd_paths_reach_the_job(tmp_path):
    folder = "/no such/folder; touch injected #'"
    done = snakemake(
        tmp_path,
        *("results/laptop/data/fashion-16.safetensors", "--cores", "1"),
        config=("preset=laptop", f'raw_data="{folder}"'),
    )
    assert done.returncode == 1
    assert "prunebench: " in done.stdout
    assert folder in done.stdout
    assert not (tmp_path / "injected").exists()
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke preset with one seed, from nothing to the last figure. Tests that change it do so in a copy."""
    folder = tmp_path_factory.mktemp("smoke")
    done = snakemake(folder, "--cores", "2", config=ONE_SEED)
    assert done.returncode == 0, done.stdout[-6000:]
    return folder


@pytest.fixture
def copy(smoke, tmp_path):
    """A copy of the finished smoke run, with its times, which is how Snakemake knows what is new."""
    return shutil.copytree(smoke, tmp_path / "copy", symlinks=True, copy_function=shutil.copy2)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_smoke_makes_every_table_figure_and_run(smoke):
    preset = smoke_with()
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
    specs = make_plan(preset).trained()
    runs = rows_of(smoke / "results/smoke/runs.csv")
    assert {row["folder"]: row["spec_sha256"] for row in runs} == {spec.folder: spec.digest() for spec in specs}
    assert json.loads((smoke / "results/smoke/plan.json").read_text()) == preset.model_dump(
        mode="json", exclude={"raw_data"}
    )
    assert not list(smoke.rglob(".resume*"))
    assert not list(smoke.rglob("*.tmp"))


def test_smoke_ends_with_a_ledger_that_decides_nothing_and_a_report(smoke):
    ledger = json.loads((smoke / "results/smoke/claims.json").read_text())
    assert len(ledger["findings"]) == 28
    assert {finding["verdict"] for finding in ledger["findings"]} == {"not run at this scale"}
    measured = [finding["id"] for finding in ledger["findings"] if finding["headline"]]
    assert len(measured) > 20  # their effects are there all the same
    assert not ledger["missing"]
    page = (smoke / "results/smoke/report.html").read_text()
    assert all(f'id="claim-{finding["id"]}"' in page for finding in ledger["findings"])
    told = subprocess.run([TOOLS / "prunebench", "claims", "results/smoke"], capture_output=True, text=True, cwd=smoke)
    assert told.returncode == 0, told.stderr
    assert "28 not run at this scale" in " ".join(told.stdout.split())
    assert "results/smoke/report.html" in told.stdout


def test_a_finished_run_is_compared_with_itself_and_calibrated_by_hand(smoke, tmp_path):
    def call(*words):
        done = subprocess.run([TOOLS / "prunebench", *words], capture_output=True, text=True, cwd=smoke, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = call("compare", "results/smoke", "results/smoke", "--out", tmp_path / "comparison.csv")
    assert "verdict changed" not in told
    assert len(rows_of(tmp_path / "comparison.csv")) > 28
    call("calibrate", "results/smoke", "--tables", "100", "--out", tmp_path)
    assert {row["claim"] for row in rows_of(tmp_path / "calibration.csv")} >= {"A3", "B4", "C8"}


def test_a_changed_margin_trains_nothing(smoke):
    stats, _ = plan(smoke, config=(*ONE_SEED, "claims={s_cyc: {a3_gain: 0.02}}"))
    assert not TRAINING & stats.keys()
    assert {*JUDGE, "write_report"} <= stats.keys()


def test_smoke_learns(smoke):
    [dense] = rows_of(smoke / "results/smoke/runs/dense/digits-resnet8/cyclical/seed-0/phases.csv")
    assert float(dense["test_accuracy"]) > 0.6  # chance is 0.1


def test_smoke_s_arms_learn_and_weights_are_shed(smoke):
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


def test_smoke_compares_the_masks_of_one_seed_within_each_task(smoke):
    preset = smoke_with()
    for task in preset.cascade.criteria.tasks:
        rows = rows_of(smoke / f"results/smoke/runs/cascade/overlap/{task}/overlap.csv")
        assert len(rows) > 3
        assert all(0 <= float(row["jaccard"]) <= 1 and 0 < float(row["chance"]) < 1 for row in rows)


def test_nothing_touched_nothing_runs(smoke):
    assert plan(smoke, config=ONE_SEED) == ({}, [])


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("schedules={s_cyc: {policy: {beta: 3}}}", {"schedules__s_cyc__policy__beta": 3}),
        # `cyclical` and `linear_ramp` share this mapping as an alias in the file: they must not change with it
        ("schedules={linear_ramp: {profile: {periods: 2}}}", {"schedules__linear_ramp__profile__periods": 2}),
        ("tasks={digits-mlp: {training: {momentum: 0.8}}}", {"tasks__digits-mlp__training__momentum": 0.8}),
        ("s_cyc={gradient_measure: {images: 64}}", {"s_cyc__gradient_measure__images": 64}),
        ("cascade={gmp: {ramp: {share: 0.5}}}", {"cascade__gmp__ramp__share": 0.5}),
        ("cascade={criteria: {sparsities: [0.5, 0.95]}}", {"cascade__criteria__sparsities": [0.5, 0.95]}),
        ("directional={baselines: {l1: [0.01]}}", {"directional__baselines__l1": [0.01]}),
        # the minima keep another epoch: they are trained again, and all that starts from them
        ("directional={curvature: {epochs: [3]}}", {"directional__curvature__epochs": [3]}),
        # the dense network keeps another epoch: it is trained again, and all that starts from it
        ("cascade={retraining: {rewind_epoch: 0}}", {"cascade__retraining__rewind_epoch": 0}),
    ],
)
def test_a_changed_value_runs_again_what_it_changes_and_nothing_else(smoke, override, change):
    expected = differing(smoke_with(), smoke_with(**change))
    assert expected
    stats, messages = plan(smoke, config=(*ONE_SEED, override))
    assert planned_jobs(messages) == expected
    assert "prepare_data" not in stats
    for paper in PAPERS:
        assert stats[f"tabulate_{paper.key}"] == stats[f"draw_{paper.key}"] == 1


def test_a_new_grid_searches_again_but_trains_no_chain(smoke):
    stats, messages = plan(smoke, config=(*ONE_SEED, "s_cyc={oracle: {max_lr: [0.05, 0.1, 0.3]}}"))
    assert stats["search_max_lr"] == smoke_with().s_cyc.pruning.cycles + 1
    assert all(message.startswith("Oracle") for message in planned_jobs(messages))


def test_a_study_s_threshold_trains_nothing(smoke):
    stats, _ = plan(smoke, config=(*ONE_SEED, "s_cyc={oracle: {tolerance: 0.02}}"))
    assert stats["tabulate_s_cyc"] == 1
    assert not TRAINING & stats.keys()


def test_where_the_raw_files_lie_reruns_nothing(smoke):
    assert plan(smoke, config=(*ONE_SEED, 'raw_data="/elsewhere"')) == ({}, [])


@pytest.mark.parametrize(
    "override", ["schedules={s_cyc: {source: another mark}}", "s_cyc={pruning: {rewind_epoch: 1}}"]
)
def test_what_no_run_reads_retrains_none(smoke, override):
    stats, _ = plan(smoke, config=(*ONE_SEED, override))
    assert not TRAINING & stats.keys()


def test_reruns_name_the_keys_that_changed(smoke):
    done = snakemake(smoke, "--dry-run", "--cores", "2", config=(*ONE_SEED, "schedules={s_cyc: {policy: {beta: 3}}}"))
    assert "schedules.s_cyc.policy.beta: 2" in done.stdout
    assert "-> 3" in done.stdout


def test_no_oracle_plans_none(tmp_path):
    stats, _ = plan(tmp_path, config=(*ONE_SEED, "s_cyc={oracle: null}"))
    assert "search_max_lr" not in stats
    assert stats["prune_chains"] == len(make_plan(smoke_with()).stages["prune_chains"].jobs)


def test_a_new_grid_of_a_plane_connects_again_but_trains_no_network(smoke):
    stats, _ = plan(smoke, config=(*ONE_SEED, "directional={connectivity: {points: 7}}"))
    assert stats["connect_minima"] == 1
    assert TRAINING & stats.keys() == {"connect_minima"}


def test_smoke_s_grda_run_is_sparse_without_masks_and_connected_to_sgd_s(smoke):
    runs = smoke / "results/smoke/runs/directional"
    task = "digits-resnet8-sgd/seed-0"
    ends = {row["arm"]: row for row in rows_of(runs / f"minima/{task}/phases.csv")}
    assert float(ends["sgd"]["test_accuracy"]) > 0.6  # chance is 0.1
    weights = rows_of(runs / f"minima/{task}/weights.csv")
    last = {row["arm"]: float(row["sparsity"]) for row in weights}
    assert last["sgd"] == 0
    assert last["grda.c0.1.mu0.6"] > 0.3
    paths = rows_of(runs / f"connectivity/{task}/paths.csv")
    assert {row["pair"] for row in paths} == {"grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init"}
    assert all(0 <= float(row["share"]) <= 1 for row in rows_of(runs / f"curvature/{task}/curvature.csv"))


def test_another_seed_trains_that_seed_alone(smoke):
    _, messages = plan(smoke, config=("preset=smoke", "seeds=[0,1]"))
    expected = differing(smoke_with(), smoke_with(seeds=[0, 1]))
    assert planned_jobs(messages) == expected
    assert sum("seed-1" in message for message in expected) > 30
    assert {message for message in expected if "seed-1" not in message} == messages_of(
        smoke_with(), lambda job: job.folder.startswith("cascade/overlap/")
    )  # now between seeds, too


def processes_in(folder):
    """Ids of the processes that work in this folder: Snakemake and its jobs, whatever group they are in."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == folder:
                found.append(int(entry.name))
    return found


def without_timings(path):
    """A table's text without its columns of seconds, their ratios and memory."""
    if path.suffix != ".csv":
        return path.read_text()
    rows = rows_of(path)
    kept = [name for name in rows[0] if not re.search("seconds|memory|^ratio_(sgd|momentum|reference)", name)]
    text = io.StringIO()
    writer = csv.DictWriter(text, kept, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def untimed_observations(folder):
    """What claims are judged by, but for those about time."""
    return [row for row in rows_of(folder / "results/smoke/observations.csv") if row["claim"] not in ("A5", "C4")]
