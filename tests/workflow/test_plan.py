"""What the workflow plans, and what it says about bad input. Nothing trains here."""

import json
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from prunebench.suite.registry import papers

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))
PAPERS = tuple(papers())
TABULATE = {f"tabulate_{key}" for key in PAPERS}
DRAW = {*(f"draw_{key}" for key in PAPERS), "draw_calibration"}
JUDGE = {"judge_claims", "calibrate"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_dry_run_plans_every_run_of_a_preset_and_nothing_else(snakemake, expected, tmp_path, name):
    wanted = expected(name)
    began = time.monotonic()
    stats, messages = snakemake.plan(tmp_path, config=(f"preset={name}",))
    assert time.monotonic() - began < 60  # 10 s on an idle machine
    assert stats == {
        "prepare_data": len({job.data for job in wanted.plan.jobs() if job.data}),
        **{stage.name: len(stage.jobs) for stage in wanted.plan.stages.values()},
        **{f"{verb}_{study}": 1 for verb in ("tabulate", "draw") for study in wanted.preset.studies()},
        **dict.fromkeys(("tabulate_runs", *JUDGE, "draw_calibration", "write_report", "all"), 1),
    }
    assert wanted.jobs_among(messages) == wanted.messages()
    assert {path.name for path in tmp_path.iterdir()} <= {".snakemake"}


def test_a_dry_run_of_several_thousand_jobs_takes_ten_seconds_at_most(tmp_path):
    """Of processor time, imports included: this machine may do other things beside."""
    words = ["--snakefile", ROOT / "Snakefile", "--directory", tmp_path, "--dry-run", "--quiet", "--cores", "2"]
    seeds = f"seeds={[*range(60)]}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [Path(sys.executable).with_name("snakemake"), *words, "--config", "preset=laptop", seeds]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime - before.ru_utime < 10


def test_the_workflow_s_own_profile_is_found(snakemake, tmp_path):
    """Snakemake looks for profiles/default beside the Snakefile, and only there; without it no job's log is shown."""
    done = snakemake.dry_run(tmp_path)
    assert re.search(r"workflow specific profile \S+ for setting default command line arguments", done.stdout)


def test_without_a_preset_the_laptop_is_planned(snakemake, tmp_path):
    file = "results/laptop/data/fashion-16.safetensors"
    assert snakemake.plan(tmp_path, file, config=())[0] == {"prepare_data": 1}


@pytest.mark.parametrize(
    ("target", "studies", "rules"),
    [
        ("all", PAPERS, {"tabulate_runs", *TABULATE, *DRAW, *JUDGE, "write_report"}),
        ("s_cyc", ("s_cyc",), {"train_dense", "tabulate_s_cyc", "draw_s_cyc"}),
        ("cascade", ("cascade",), {"train_dense", "tabulate_cascade", "draw_cascade"}),
        ("directional", ("directional",), {"tabulate_directional", "draw_directional"}),
        ("tables", PAPERS, {"tabulate_runs", *TABULATE, *JUDGE}),
        ("figures", PAPERS, {*TABULATE, *DRAW, *JUDGE}),
        ("claims", PAPERS, {"tabulate_runs", *TABULATE, *DRAW, *JUDGE, "write_report"}),
    ],
)
def test_each_target_plans_what_its_name_says(snakemake, expected, tmp_path, target, studies, rules):
    stats, _ = snakemake.plan(tmp_path, target)
    stages = set().union(*(expected().stages(study) for study in studies))
    dense = {"train_dense"} if len(studies) > 1 else set()
    assert stats.keys() == {target, "prepare_data", *stages, *dense, *rules}


def test_stages_are_named_for_what_their_jobs_do(expected):
    stages = expected().stages
    assert {"prune_chains", "search_max_lr", "select_max_lr", "measure_gradients"} <= stages("s_cyc")
    assert {"watch_shedding", "retrain_gmp", "compare_masks"} <= stages("cascade")
    assert {"train_minima", "connect_minima", "measure_curvature"} <= stages("directional")


def test_a_target_trains_the_dense_networks_that_its_runs_start_from_and_no_other(snakemake, expected, tmp_path):
    _, messages = snakemake.plan(tmp_path, "cascade")
    plan = expected().plan
    needed = {need.rsplit("/", 1)[0] for job in plan.jobs("cascade") for need in job.needs}
    dense = {expected().message(plan.dense, job) for job in plan.dense.jobs if job.folder in needed}
    assert {message for message in messages if message.startswith("Dense network ")} == dense
    assert 0 < len(dense) < len(plan.dense.jobs)


def test_without_an_oracle_no_max_lr_is_searched(snakemake, expected, tmp_path):
    stats, _ = snakemake.plan(tmp_path, config=("preset=smoke", "s_cyc={oracle: null}"))
    assert "search_max_lr" not in stats
    assert stats["prune_chains"] == len(expected().plan.stages["prune_chains"].jobs)


def test_slurm_plans_the_submission_of_every_job(snakemake, expected, tmp_path):
    """`--profile slurm` finds ./slurm; a folder with a copy of it stands for the repository."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    stats, _ = snakemake.plan(tmp_path, "--profile", "slurm", cores=8)
    assert {name: stats[name] for name in expected().plan.stages} == {
        stage.name: len(stage.jobs) for stage in expected().plan.stages.values()
    }
    assert yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["executor"] == "slurm"


def test_every_training_job_asks_for_the_resources_of_the_preset(snakemake, expected, tmp_path):
    """Snakemake shows a job's resources only where the rule has no message: in a copy of the rules without messages."""
    for part in ("Snakefile", "workflow", "config"):
        copied = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copied(ROOT / part, tmp_path / part)
    for rules in (tmp_path / "workflow/rules").glob("*.smk"):
        rules.write_text(re.sub(r"\n( +)message:\n +.*", "", rules.read_text()))
    asked = ("preset=smoke", "resources={mem_mb: 1234, runtime: 56}")
    done = snakemake.dry_run(tmp_path, "--snakefile", tmp_path / "Snakefile", cores=5, config=asked)
    assert done.returncode == 0, done.stdout
    jobs = re.findall(r"^(?:local)?rule (\w+):\n.*?^    resources: (.*?)$", done.stdout, re.MULTILINE | re.DOTALL)
    shown = {rule: text for rule, text in jobs if rule in expected().plan.stages}
    assert {"train_dense", "prune_chains", "retrain_gmp", "train_minima", "search_max_lr"} <= shown.keys()
    for rule, text in shown.items():
        assert {"mem_mb=1234", "runtime=56"} <= set(text.split(", ")), rule
    # Nothing runs beside a job that takes times: it has all cores.
    wide = re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    threads: 5\n", done.stdout, re.MULTILINE)
    assert {*wide} == {name for name, stage in expected().plan.stages.items() if stage.alone} != set()


@pytest.mark.parametrize("gpu", [0, 1, 2])
def test_a_job_that_trains_is_started_on_as_many_gpus_as_the_preset_asks_for(snakemake, expected, tmp_path, gpu):
    """One process per GPU; jobs that train no arms have one. One GPU is asked for as it always was."""
    asked = ("preset=smoke", f"resources={{threads: 3, gpu: {gpu}}}")
    done = snakemake.dry_run(tmp_path, "--printshellcmds", cores=8, config=asked)
    assert done.returncode == 0, done.stdout
    plan = expected().plan
    torchrun = "python -m torch.distributed.run --standalone --nproc-per-node 2 -m " if gpu == 2 else ""
    trained = {job.folder for job in plan.trained()}
    for folder in (job.folder for job in plan.jobs()):
        out = f"results/smoke/runs/{folder}"
        line = next(line for line in done.stdout.splitlines() if f"prunebench run {out} " in line)
        start = f"{torchrun if folder in trained else ''}prunebench run {out} --plan results/smoke/plan.json --digest "
        assert re.search(rf" {re.escape(start)}\w{{12}} --threads 3 > \S+\.log 2>&1$", line)


ACCEPTED_LINTS = {
    "Specify a conda environment or container for each rule.": "one environment serves all: environment.yml",
    "Param tables is a prefix of input or output file but hardcoded": "their folder, one level above every input",
    "Param figures is a prefix of input or output file but hardcoded": "their folder, one level above every input",
    "Param results is a prefix of input or output file but hardcoded": "the preset's folder, above every input",
    "Mixed rules and functions in same snakefile.": "they are the rules' own inputs and outputs, a few lines each",
}


def test_snakemake_s_linter_reports_only_what_is_accepted_for_a_reason(snakemake, tmp_path):
    done = snakemake.forked(tmp_path, snakemake.words(tmp_path, "--lint"))
    assert "Lints for" in done.stdout or done.returncode == 0, done.stdout
    reported = re.findall(r"^    \* (.*?):?\s*$", done.stdout, re.MULTILINE)
    assert set(reported) <= ACCEPTED_LINTS.keys()


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
def test_a_bad_value_fails_before_anything_runs_and_says_why_in_one_line(snakemake, tmp_path, config, line):
    done = snakemake.dry_run(tmp_path, config=config)
    assert done.returncode == 1
    assert len([text for text in done.stdout.splitlines() if line in text]) == 1, done.stdout
    assert "site-packages" not in done.stdout  # no traceback through other people's code
    assert not (tmp_path / "results").exists()


def test_a_job_s_own_line_reaches_the_terminal_and_odd_paths_reach_the_job(snakemake, tmp_path):
    folder = "/no such/folder; touch injected #'"
    done = snakemake.run(
        tmp_path,
        *("results/laptop/data/fashion-16.safetensors", "--cores", "1"),
        config=("preset=laptop", f"raw_data={json.dumps(folder)}"),
    )
    assert done.returncode == 1
    assert "prunebench: " in done.stdout
    assert folder in done.stdout
    assert not (tmp_path / "injected").exists()
    assert not list(tmp_path.rglob("*.safetensors"))
