"""The preset, the paths and the run specs that the other rule files name. Imports no torch, reads no data."""

import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

from prunebench.claims import names as claims_names
from prunebench.config import load_preset, oracle_folder
from prunebench.errors import InputError, nearest
from prunebench.files import write_json
from prunebench.report import captions
from prunebench.studies import cascade_names, directional_names, s_cyc_names

min_version("9.0")
PRESET_FILE = Path(workflow.basedir) / "config" / f"{config.get('preset', 'laptop')}.yaml"
if not PRESET_FILE.exists():
    known = (path.stem for path in PRESET_FILE.parent.glob("*.yaml"))
    raise WorkflowError(f"no preset '{config['preset']}' in config/: {nearest(str(config['preset']), known)}")

# Not `configfile:`, which would lay `--config` over the file in place, and so over every alias of a changed mapping.
try:
    PRESET = load_preset(PRESET_FILE, config)
except InputError as error:
    raise WorkflowError(str(error))
validate(PRESET.model_dump(mode="json"), "../schemas/config.schema.json", set_default=False)

# Rules call `prunebench` of the environment that Snakemake itself runs in, whether or not it was activated. The raw
# data's folder is handed on here and not as a parameter: where the same files lie changes no result.
RAW_DATA = f"export PRUNEBENCH_RAW_DATA={shlex.quote(PRESET.raw_data)}; " if PRESET.raw_data else ""
shell.prefix(f'set -euo pipefail; export PATH="{Path(sys.executable).parent}:$PATH"; {RAW_DATA}')

RESULTS = f"results/{PRESET.preset}"
RUNS = f"{RESULTS}/runs"
DENSE = {spec.folder: spec for spec in PRESET.dense_jobs()}
CHAINS = {spec.folder: spec for spec in PRESET.s_cyc_chains()}
ORACLE_JOBS = {spec.folder: spec for spec in PRESET.s_cyc_oracle_jobs()}
RETRAINS = {spec.folder: spec for spec in PRESET.cascade_jobs()}
TRAJECTORIES = {spec.folder: spec for spec in PRESET.directional_jobs()}
CONNECTIONS = {spec.folder: spec for spec in PRESET.connection_jobs()}
CURVATURES = {spec.folder: spec for spec in PRESET.curvature_jobs()}
TOYS = {spec.folder: spec for spec in PRESET.toy_jobs()}
OVERHEADS = {spec.folder: spec for spec in PRESET.overhead_jobs()}
ORACLE = PRESET.s_cyc.oracle if PRESET.s_cyc else None
ORACLE_CYCLES = [
    f"{oracle_folder('s_cyc', ORACLE.task, ORACLE.criterion, seed)}/cycle-{cycle}"
    for seed in (PRESET.seeds if ORACLE else [])
    for cycle in range(PRESET.s_cyc.pruning.cycles + 1)
]
ORACLE_BATCHES = range(len(ORACLE.batches()) if ORACLE else 0)
# Tasks whose kept weights are compared: those of every job that keeps its masks.
COMPARED = list(dict.fromkeys(spec.task for spec in RETRAINS.values() if spec.measure.masks))


def shown(kind, file):
    """A file that Snakemake's own report shows, with its caption."""
    name = Path(file).stem
    caption, labels = captions.path(kind, name), captions.labels(kind, name)
    return report(file, caption=caption, category=captions.category(name), subcategory=f"{kind}s", labels=labels)


def tables_of(names, study):
    """The files of a study's tables; none where the preset leaves the study out."""
    if not study:
        return []
    files = [shown("table", f"{RESULTS}/tables/{name}.csv") for name in (*names.TABLES, *names.DATA)]
    return [*files, *(f"{RESULTS}/tables/{name}.tex" for name in names.TABLES)]


def figures_of(names, study):
    """The files of a study's figures; none where the preset leaves the study out."""
    if not study:
        return []
    folder = f"figures/{PRESET.preset}"
    pairs = [(shown("figure", f"{folder}/{name}.svg"), f"{folder}/{name}.png") for name in names.FIGURES]
    return [file for pair in pairs for file in pair]


S_CYC_TABLES = tables_of(s_cyc_names, PRESET.s_cyc)
S_CYC_FIGURES = figures_of(s_cyc_names, PRESET.s_cyc)
CASCADE_TABLES = tables_of(cascade_names, PRESET.cascade)
CASCADE_FIGURES = figures_of(cascade_names, PRESET.cascade)
DIRECTIONAL_TABLES = tables_of(directional_names, PRESET.directional)
DIRECTIONAL_FIGURES = figures_of(directional_names, PRESET.directional)
STUDY_TABLES = [*S_CYC_TABLES, *CASCADE_TABLES, *DIRECTIONAL_TABLES]
STUDY_FIGURES = [*S_CYC_FIGURES, *CASCADE_FIGURES, *DIRECTIONAL_FIGURES]
CALIBRATION_TABLES = tables_of(claims_names, True)
CALIBRATION_FIGURES = figures_of(claims_names, True)
CLAIMS = [f"{RESULTS}/{name}" for name in ("claims.json", "claims.csv", "report.html")]

DENSE_PATH = "dense/{task}/{recipe}/seed-{seed}"
CHAIN_PATH = "s_cyc/{task}/{criterion}/{schedule}/seed-{seed}"
ORACLE_PATH = "s_cyc/{task}/{criterion}/oracle/seed-{seed}/cycle-{cycle}"
RETRAIN_PATH = "cascade/{task}/{part}/seed-{seed}/batch-{batch}"
TRAJECTORIES_PATH = "directional/{task}/{trajectories}/seed-{seed}"
MINIMA_PATH = "directional/{task}/minima/seed-{seed}"
CONNECT_PATH = "directional/{task}/connectivity/seed-{seed}"
CURVATURE_PATH = "directional/{task}/curvature/seed-{seed}"
TOY_PATH = "directional/toy/{problem}"


wildcard_constraints:
    task="|".join(map(re.escape, PRESET.tasks)),
    criterion=r"[a-z_]+",
    schedule="|".join(map(re.escape, PRESET.schedules)),
    recipe="|".join(map(re.escape, PRESET.schedules)),
    part=r"[a-z_]+",
    trajectories="baselines|sensitivity",
    problem=r"[a-z_]+",
    dataset="|".join(map(re.escape, PRESET.datasets)),
    seed=r"\d+",
    cycle=r"\d+",
    batch=r"\d+",


def prepared(wildcards):
    """The prepared data set of a task."""
    return f"{RESULTS}/data/{PRESET.tasks[wildcards.task].dataset}.safetensors"


def spec_json(jobs, path):
    """The spec of the job that wildcards name, as JSON: a changed number reruns the jobs that hold it and no other."""
    return lambda wildcards: jobs[path.format(**wildcards)].to_json()


def dense_network(jobs, path):
    """The dense network that a job starts from: none where it trains its own."""

    def found(wildcards):
        dense = jobs[path.format(**wildcards)].dense
        return f"{RUNS}/{dense.folder}/network.safetensors" if dense else []

    return found


def minima_networks(wildcards):
    """The networks that a job of trajectories starts from: none where it needs none."""
    minima = TRAJECTORIES[TRAJECTORIES_PATH.format(**wildcards)].minima
    return f"{RUNS}/{minima.folder}/networks.safetensors" if minima else []


def previous_winner(wildcards):
    """The network that a cycle's candidates start from: none in the dense cycle."""
    if wildcards.cycle == "0":
        return []
    previous = ORACLE_PATH.format(**dict(wildcards) | {"cycle": int(wildcards.cycle) - 1})
    return f"{RUNS}/{previous}/winner.safetensors"


def start_option(wildcards, input):
    """The option that hands on the network to start from."""
    return f"--start {input.start}" if input.start else ""


def keeping_masks(wildcards):
    """The jobs of a task that keep their masks."""
    return [run for run, spec in RETRAINS.items() if spec.measure.masks and spec.task == wildcards.task]


def dataset_spec(wildcards):
    """A data set's entry of the preset as JSON."""
    return PRESET.datasets[wildcards.dataset].model_dump_json()
