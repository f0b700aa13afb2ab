"""The preset, the paths and the run specs that the other rule files name. Imports no torch, reads no data."""

import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

from prunebench.config import load_preset, oracle_folder
from prunebench.errors import InputError, nearest
from prunebench.files import write_json
from prunebench.studies.s_cyc_names import DATA, FIGURES, TABLES

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
CHAINS = {spec.folder: spec for spec in PRESET.s_cyc_chains()}
ORACLE_JOBS = {spec.folder: spec for spec in PRESET.s_cyc_oracle_jobs()}
ORACLE_CYCLES = [
    f"{oracle_folder('s_cyc', PRESET.s_cyc.oracle.task, PRESET.s_cyc.oracle.criterion, seed)}/cycle-{cycle}"
    for seed in (PRESET.seeds if PRESET.s_cyc.oracle else [])
    for cycle in range(PRESET.s_cyc.pruning.cycles + 1)
]
ORACLE_BATCHES = range(len(PRESET.s_cyc.oracle.batches()) if PRESET.s_cyc.oracle else 0)
S_CYC_TABLES = [f"{RESULTS}/tables/{name}.csv" for name in (*TABLES, *DATA)] + [
    f"{RESULTS}/tables/{name}.tex" for name in TABLES
]
S_CYC_FIGURES = expand(f"figures/{PRESET.preset}/{{name}}.{{form}}", name=FIGURES, form=["svg", "png"])

CHAIN_PATH = "{study}/{task}/{criterion}/{schedule}/seed-{seed}"
ORACLE_PATH = "{study}/{task}/{criterion}/oracle/seed-{seed}/cycle-{cycle}"


wildcard_constraints:
    study="s_cyc",
    task="|".join(map(re.escape, PRESET.tasks)),
    criterion=r"[a-z_]+",
    schedule="|".join(map(re.escape, PRESET.schedules)),
    dataset="|".join(map(re.escape, PRESET.datasets)),
    seed=r"\d+",
    cycle=r"\d+",
    batch=r"\d+",


def prepared(wildcards):
    """The prepared data set of a task."""
    return f"{RESULTS}/data/{PRESET.tasks[wildcards.task].dataset}.safetensors"


def chain_spec(wildcards):
    """A chain's spec as JSON: a changed number reruns the chains that hold it and no other."""
    return CHAINS[CHAIN_PATH.format(**wildcards)].to_json()


def oracle_spec(wildcards):
    """The spec of one portion of the oracle's grid as JSON."""
    return ORACLE_JOBS[f"{ORACLE_PATH}/batch-{{batch}}".format(**wildcards)].to_json()


def previous_winner(wildcards):
    """The network that a cycle's candidates start from: none in the dense cycle."""
    if wildcards.cycle == "0":
        return []
    previous = ORACLE_PATH.format(**dict(wildcards) | {"cycle": int(wildcards.cycle) - 1})
    return f"{RUNS}/{previous}/winner.safetensors"


def start_option(wildcards, input):
    """The option that hands the previous winner on."""
    return f"--start {input.start}" if input.start else ""


def dataset_spec(wildcards):
    """A data set's entry of the preset as JSON."""
    return PRESET.datasets[wildcards.dataset].model_dump_json()
