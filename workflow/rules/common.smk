"""The preset, its plan, and the paths that the other rule files name. Imports no torch, reads no data."""

import gc
import inspect
import os
import platform
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version
from snakemake_logger_plugin_prunebench import tell_screen

from prunebench import server
from prunebench.data.sources import SOURCES
from prunebench.errors import InputError, nearest
from prunebench.files import lock, seal, write_json
from prunebench.parsing import kind_of
from prunebench.runs.plugins import ROOT, digests, used_plugins
from prunebench.suite import exhibits, programs, slurm
from prunebench.suite.failures import in_short
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import changes, load_preset
from prunebench.suite.report import captions

min_version("9.0")
logger.addFilter(in_short)
if not os.access(".", os.W_OK):
    raise WorkflowError(
        f"cannot write into {Path.cwd()}: results go there; start from a folder of yours, or mend this one"
    )
CHOSEN = str(config.get("preset", "laptop"))
if Path(CHOSEN).name != CHOSEN and not CHOSEN.endswith(".yaml"):
    raise WorkflowError(f"'preset' is {CHOSEN}, but must be the name of a file in config/ or the path of a .yaml file")
PRESET_FILE = Path(CHOSEN) if CHOSEN.endswith(".yaml") else Path(workflow.basedir) / "config" / f"{CHOSEN}.yaml"
if not PRESET_FILE.exists():
    presets = (path.stem for path in PRESET_FILE.parent.glob("*.yaml"))
    raise WorkflowError(f"no preset '{CHOSEN}' in {PRESET_FILE.parent.name}/: {nearest(CHOSEN, presets)}")

# Nearly all that is made, here and by Snakemake, stays to the end: every 700 objects are too often to look for garbage.
gc.set_threshold(20_000)
os.environ.setdefault(ROOT, str(workflow.basedir))
# Not `configfile:`: Snakemake would write `--config` into the file's mappings, and an alias shares one mapping with
# other keys, which would change, too.
try:
    PRESET = load_preset(PRESET_FILE, {key: value for key, value in config.items() if key != "preset"})
    PLAN = make_plan(PRESET)
except InputError as error:
    raise WorkflowError(str(error))
gc.freeze()  # the plan stays to the end; looking for garbage in it is a quarter of a large dry run's time

# Rules call the `prunebench` of Snakemake's own environment, activated or not. What changes no result is an environment
# variable and no parameter: the folder of raw data, and the process with which jobs end.
VARIABLES = {ROOT: os.environ[ROOT], "PRUNEBENCH_SNAKEMAKE": str(os.getpid())}
VARIABLES |= {"PRUNEBENCH_RAW_DATA": PRESET.raw_data} if PRESET.raw_data else {}
EXPORTS = "".join(f"export {name}={shlex.quote(value)}; " for name, value in VARIABLES.items())
# bash outlives the signals by which a cluster announces an end, until the job has saved: if it died of them, the job
# would be killed with it.
shell.prefix(f'set -euo pipefail; trap : TERM USR1; export PATH="{Path(sys.executable).parent}:$PATH"; {EXPORTS}')

RESULTS = f"results/{PRESET.preset}"
FIGURES_FOLDER = f"figures/{PRESET.preset}"
RUNS = f"{RESULTS}/runs"
PLAN_FILE = f"{RESULTS}/plan.json"
DIGESTS = [PRESET.model_copy(update={"raw_data": None}).digest(), *digests().values()]
DIGEST = "".join(digest[:12] for digest in DIGESTS)
LEDGER = [f"{RESULTS}/{name}" for name in ("claims.json", "claims.csv", "report.html")]
EXHIBITS = [(paper, paper.tables, paper.figures) for paper, _ in PRESET.studies().values()]
EXHIBITS.append((None, exhibits.TABLES, exhibits.FIGURES))

if workflow.is_main_process:
    for line in changes(Path(PLAN_FILE), PRESET):
        logger.info(line)


def signed(function):
    """A function of a rule with its signature: Snakemake asks for it up to five times per job, and would make it anew."""
    function.__signature__ = inspect.signature(function)
    return function


def lock_folder():
    """Locks the folder, instead of Snakemake's lock, which stays when Snakemake is killed."""
    held = os.open(".snakemake/prunebench.lock", os.O_RDWR | os.O_CREAT, 0o666)  # until the process ends, however
    try:
        lock(held)
    except BlockingIOError:
        holder = os.read(held, 200).decode(errors="replace")
        raise WorkflowError(f"another Snakemake works in {Path.cwd()}: {holder}; wait for it, or use another folder")
    except OSError as error:
        logger.warning(f"{Path.cwd()} cannot be locked ({error.strerror}): start no other Snakemake here meanwhile")
    os.truncate(held, 0)
    os.write(held, f"process {os.getpid()} on {platform.node()}".encode())


def in_report(file, paper, kind, name):
    """A file that Snakemake's own report (`--report`) shows with its caption."""
    caption = captions.path(paper, kind, name)
    category, labels = captions.category(paper), captions.labels(paper, kind, name)
    return report(file, caption=caption, category=category, subcategory=f"{kind}s", labels=labels)


def csv_files(tables):
    """The CSV files of tables."""
    return [f"{RESULTS}/tables/{table.name}.csv" for table in tables]


def table_files(paper, tables):
    """All files of tables. Snakemake's report shows the CSV files."""
    latex = [f"{RESULTS}/tables/{table.name}.tex" for table in tables if table.latex]
    csv = [in_report(file, paper, "table", table.name) for file, table in zip(csv_files(tables), tables)]
    return csv + latex


def figure_files(paper, figures):
    """All files of figures. Snakemake's report shows the SVG files."""
    svg = [in_report(f"{FIGURES_FOLDER}/{figure.name}.svg", paper, "figure", figure.name) for figure in figures]
    return svg + [f"{FIGURES_FOLDER}/{figure.name}.png" for figure in figures]


TABLES = [file for paper, tables, _ in EXHIBITS for file in table_files(paper, tables)]
FIGURES = [file for paper, _, figures in EXHIBITS for file in figure_files(paper, figures)]


wildcard_constraints:
    dataset="|".join(map(re.escape, PRESET.datasets)),
    run=".+",
