"""The preset, its plan, and the paths that the other rule files name. Imports no torch, reads no data."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

from prunebench.errors import InputError, nearest
from prunebench.files import write_json
from prunebench.runs.plugins import ROOT
from prunebench.suite.exhibits import CALIBRATION, POWER
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import changes, load_preset
from prunebench.suite.report import captions

min_version("9.0")
NAMED = str(config.get("preset", "laptop"))
if Path(NAMED).name != NAMED and not NAMED.endswith(".yaml"):
    raise WorkflowError(f"'preset' is {NAMED}: the name of a file in config/, or the path of a .yaml file")
PRESET_FILE = Path(NAMED) if NAMED.endswith(".yaml") else Path(workflow.basedir) / "config" / f"{NAMED}.yaml"
if not PRESET_FILE.exists():
    known = (path.stem for path in PRESET_FILE.parent.glob("*.yaml"))
    raise WorkflowError(f"no preset '{config['preset']}' in config/: {nearest(str(config['preset']), known)}")

os.environ.setdefault(ROOT, str(workflow.basedir))
# Not `configfile:`, which would lay `--config` over the file in place, and so over every alias of a changed mapping.
try:
    PRESET = load_preset(PRESET_FILE, {key: value for key, value in config.items() if key != "preset"})
    PLAN = make_plan(PRESET)
except InputError as error:
    raise WorkflowError(str(error))

# Rules call `prunebench` of the environment that Snakemake itself runs in, whether or not it was activated. The raw
# data's folder is handed on here and not as a parameter: where the same files lie changes no result.
EXPORTS = {ROOT: os.environ[ROOT]} | ({"PRUNEBENCH_RAW_DATA": PRESET.raw_data} if PRESET.raw_data else {})
EXPORTED = "".join(f"export {name}={shlex.quote(value)}; " for name, value in EXPORTS.items())
shell.prefix(f'set -euo pipefail; export PATH="{Path(sys.executable).parent}:$PATH"; {EXPORTED}')

RESULTS = f"results/{PRESET.preset}"
FIGURES_FOLDER = f"figures/{PRESET.preset}"
RUNS = f"{RESULTS}/runs"
PLAN_FILE = f"{RESULTS}/plan.json"
DIGEST = PRESET.model_copy(update={"raw_data": None}).digest()[:12]
LEDGER = [f"{RESULTS}/{name}" for name in ("claims.json", "claims.csv", "report.html")]
EXHIBITS = [(paper, paper.tables, paper.figures) for paper, _ in PRESET.studies().values()]
EXHIBITS.append((None, (CALIBRATION,), (POWER,)))

if workflow.is_main_process:
    for line in changes(Path(PLAN_FILE), PRESET):
        logger.info(line)


def shown(file, paper, kind, name):
    """A file that Snakemake's own report shows, with its caption."""
    caption = captions.path(paper, kind, name)
    category, labels = captions.category(paper), captions.labels(paper, kind, name)
    return report(file, caption=caption, category=category, subcategory=f"{kind}s", labels=labels)


def csv_files(tables):
    """The CSV files of tables."""
    return [f"{RESULTS}/tables/{table.name}.csv" for table in tables]


def table_files(paper, tables):
    """All files of tables, their CSV files for Snakemake's report."""
    latex = [f"{RESULTS}/tables/{table.name}.tex" for table in tables if table.latex]
    csv = [shown(file, paper, "table", table.name) for file, table in zip(csv_files(tables), tables)]
    return csv + latex


def figure_files(paper, figures):
    """All files of figures, their SVG files for Snakemake's report."""
    svg = [shown(f"{FIGURES_FOLDER}/{figure.name}.svg", paper, "figure", figure.name) for figure in figures]
    return svg + [f"{FIGURES_FOLDER}/{figure.name}.png" for figure in figures]


TABLES = [file for paper, tables, _ in EXHIBITS for file in table_files(paper, tables)]
FIGURES = [file for paper, _, figures in EXHIBITS for file in figure_files(paper, figures)]


wildcard_constraints:
    dataset="|".join(map(re.escape, PRESET.datasets)),
    run=".+",
