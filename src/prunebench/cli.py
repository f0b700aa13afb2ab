"""`prunebench VERB`: one verb per rule of the workflow, each usable by hand.

Bad input ends with one line and exit code 2; `prunebench --debug VERB` shows the traceback too. Verbs import what they
need when they are called: torch takes a second.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunebench import __version__
from prunebench.errors import InputError

if TYPE_CHECKING:
    from prunebench.config import Preset, RunSpec
    from prunebench.training.job import Job

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Spec = Annotated[str, typer.Option(help="The run's spec: JSON, or the path of a spec.json.")]
Data = Annotated[Path, typer.Option(help="Prepared data set (.safetensors).")]
Out = Annotated[Path, typer.Option(help="Folder that the results are written into.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
SaveEvery = Annotated[
    float, typer.Option(min=0, help="Seconds between two saves of what a killed job needs to go on; changes no result.")
]
Runs = Annotated[Path, typer.Option(help="Folder of the runs.")]
Start = Annotated[
    Path | None,
    typer.Option(help="The network to start from: a dense one, the oracle's previous winner, or the study's minima."),
]
Minima = Annotated[Path, typer.Option(help="The networks to start from, networks.safetensors of the minima.")]
Plan = Annotated[Path, typer.Option(help="The resolved preset, plan.json.")]
Results = Annotated[Path, typer.Argument(help="Folder of a preset's results.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Reproducibility benchmarks for neural-network pruning."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def prepare_data(
    spec: Annotated[str, typer.Option(help="The data set's entry of the preset: JSON, or a path to it.")],
    out: Annotated[Path, typer.Option(help="Prepared file to write (.safetensors); its manifest lies beside it.")],
    cache: Annotated[Path, typer.Option(help="Folder that downloads are kept in.")] = Path("data"),
    raw_data: Annotated[
        Path | None, typer.Option(envvar="PRUNEBENCH_RAW_DATA", help="Folder that holds the raw files.")
    ] = None,
) -> None:
    """Turn a raw data set into one prepared, checksummed array file."""
    from prunebench.config import Dataset, parse
    from prunebench.data.prepare import prepare

    wanted = parse(Dataset, _json(spec), "--spec")
    prepare(
        wanted.source,
        raw_data,
        cache,
        size=wanted.size,
        train=wanted.train,
        validation=wanted.validation,
        test=wanted.test,
        split_seed=wanted.split_seed,
        out=out,
        manifest=out.with_suffix(".json"),
    )


@app.command()
def train_dense(spec: Spec, data: Data, out: Out, threads: Threads = 1, save_every: SaveEvery = 20) -> None:
    """Train a dense network, for every job that starts from it."""
    from prunebench.config import DenseSpec, parse
    from prunebench.training import dense
    from prunebench.training.progress import reporting

    parsed = parse(DenseSpec, _json(spec), "--spec")
    with reporting(parsed.training.epochs) as report:
        dense.train_dense(_job(parsed, data, out, threads, save_every, report), out)


@app.command()
def train_chain(
    spec: Spec, data: Data, out: Out, threads: Threads = 1, save_every: SaveEvery = 20, start: Start = None
) -> None:
    """Train, prune and measure one chain of pruning cycles under one LR schedule."""
    from prunebench.config import ChainSpec, parse
    from prunebench.training.chain import run_chain
    from prunebench.training.progress import reporting

    parsed = parse(ChainSpec, _json(spec), "--spec")
    if (start is None) != (parsed.dense is None):
        raise InputError("--start belongs to a chain whose spec names a dense network, and to no other")
    with reporting((parsed.pruning.cycles + 1) * parsed.training.epochs) as report:
        run_chain(_job(parsed, data, out, threads, save_every, report, start), out, start)


@app.command()
def retrain(
    spec: Spec,
    data: Data,
    out: Out,
    start: Annotated[Path, typer.Option(help="The dense network, network.safetensors.")],
    threads: Threads = 1,
    save_every: SaveEvery = 20,
) -> None:
    """Prune a dense network in several ways, train each on, and watch its survivors."""
    from prunebench.config import RetrainSpec, parse
    from prunebench.training import retrain
    from prunebench.training.progress import reporting

    parsed = parse(RetrainSpec, _json(spec), "--spec")
    epochs = sum(phase.epochs for arm in parsed.arms for phase in arm.phases)
    with reporting(epochs) as report:
        retrain.retrain(_job(parsed, data, out, threads, save_every, report, start), start, out)


@app.command()
def train_trajectories(
    spec: Spec, data: Data, out: Out, threads: Threads = 1, save_every: SaveEvery = 20, start: Start = None
) -> None:
    """Train SGD, gRDA and their baselines from one initialisation, one after another."""
    from prunebench.config import TrajectoriesSpec, parse
    from prunebench.training import directional
    from prunebench.training.progress import reporting

    parsed = parse(TrajectoriesSpec, _json(spec), "--spec")
    if (start is None) != (parsed.minima is None):
        raise InputError("--start belongs to a job whose spec names the minima that it starts from, and to no other")
    with reporting(sum(arm.epochs for arm in parsed.arms)) as report:
        job = _job(parsed, data, out, threads, save_every, report, start)
        directional.train_trajectories(job, out, start)


@app.command()
def connect_minima(
    spec: Spec, data: Data, out: Out, start: Minima, threads: Threads = 1, save_every: SaveEvery = 20
) -> None:
    """Train curves between minima, and measure loss and error along them, along straight lines and in a plane."""
    from prunebench.config import ConnectSpec, parse
    from prunebench.training.connect import connect
    from prunebench.training.progress import reporting

    parsed = parse(ConnectSpec, _json(spec), "--spec")
    with reporting(len(parsed.connectivity.pairs) * parsed.connectivity.epochs) as report:
        connect(_job(parsed, data, out, threads, save_every, report, start), start, out)


@app.command()
def measure_curvature(
    spec: Spec, data: Data, out: Out, start: Minima, threads: Threads = 1, save_every: SaveEvery = 20
) -> None:
    """Compute the Hessian's leading eigenpairs along SGD's trajectory, and what of other networks lies in them."""
    from prunebench.config import CurvatureSpec, parse
    from prunebench.training import curvature
    from prunebench.training.progress import reporting

    parsed = parse(CurvatureSpec, _json(spec), "--spec")
    with reporting(len(parsed.epochs())) as report:
        curvature.measure_curvature(_job(parsed, data, out, threads, save_every, report, start), start, out)


@app.command()
def run_toy(spec: Spec, out: Out) -> None:
    """Compare gRDA with directional pruning on problems whose flat directions are known exactly."""
    from prunebench.config import ToySpec, parse
    from prunebench.training import toy

    toy.run(parse(ToySpec, _json(spec), "--spec"), out)


@app.command()
def time_optimizers(spec: Spec, out: Out, threads: Threads = 1) -> None:
    """Time updates and training steps of gRDA and SGD, interleaved, and count the memory that they take."""
    import torch

    from prunebench.config import OverheadSpec, parse
    from prunebench.training import overhead

    torch.set_num_threads(threads)
    overhead.run(parse(OverheadSpec, _json(spec), "--spec"), out)


@app.command()
def search_max_lr(
    spec: Spec,
    data: Data,
    out: Out,
    threads: Threads = 1,
    save_every: SaveEvery = 20,
    start: Start = None,
) -> None:
    """Train one portion of the oracle's grid in one pruning cycle."""
    from prunebench.config import OracleSpec, parse
    from prunebench.training.oracle import search
    from prunebench.training.progress import reporting

    parsed = parse(OracleSpec, _json(spec), "--spec")
    if (start is None) != (parsed.cycle == 0):
        raise InputError(f"--start belongs to every cycle but the dense one; this is cycle {parsed.cycle}")
    with reporting(len(parsed.max_lr) * parsed.training.epochs) as report:
        search(_job(parsed, data, out, threads, save_every, report, start), start, out)


@app.command()
def select_max_lr(
    batches: Annotated[list[Path], typer.Argument(help="Folders of the cycle's portions of the grid.")], out: Out
) -> None:
    """Pick the oracle's max_lr of one cycle, by validation accuracy."""
    from prunebench.training.selection import select

    select(batches, out)


@app.command()
def compare_masks(
    folders: Annotated[list[Path], typer.Argument(help="Folders of jobs that keep their masks.")],
    out: Annotated[Path, typer.Option(help="Table to write (.csv).")],
) -> None:
    """Measure how far arms and seeds have kept the same weights."""
    from prunebench.training.compare import compare

    compare(folders, out)


@app.command()
def tabulate_s_cyc(plan: Plan, runs: Runs, out: Out) -> None:
    """Write the tables of the S-Cyc study, as CSV and LaTeX."""
    from prunebench.report.tables import write_tables
    from prunebench.studies.s_cyc import tables

    preset = _preset_of(plan)
    write_tables(tables(preset, runs), out)


@app.command()
def tabulate_cascade(plan: Plan, runs: Runs, out: Out) -> None:
    """Write the tables of the study of cascade weight shedding, as CSV and LaTeX."""
    from prunebench.report.tables import write_tables
    from prunebench.studies.cascade import tables

    preset = _preset_of(plan)
    write_tables(tables(preset, runs), out)


@app.command()
def tabulate_directional(plan: Plan, runs: Runs, out: Out) -> None:
    """Write the tables of the study of directional pruning, as CSV and LaTeX."""
    from prunebench.report.tables import write_tables
    from prunebench.studies.directional import tables

    preset = _preset_of(plan)
    write_tables(tables(preset, runs), out)


@app.command()
def tabulate_runs(plan: Plan, runs: Runs, out: Out) -> None:
    """Write runs.csv: every run with its axes, status, cost and provenance."""
    from prunebench.studies.runs import write_runs

    write_runs(_preset_of(plan), runs, out)


@app.command()
def draw_s_cyc(tables: Annotated[Path, typer.Option(help="Folder of the study's tables.")], out: Out) -> None:
    """Draw the figures of the S-Cyc study from its tables, as SVG and PNG."""
    from prunebench.report.s_cyc_figures import draw

    draw(tables, out)


@app.command()
def draw_cascade(tables: Annotated[Path, typer.Option(help="Folder of the study's tables.")], out: Out) -> None:
    """Draw the figures of the study of cascade weight shedding from its tables, as SVG and PNG."""
    from prunebench.report.cascade import draw

    draw(tables, out)


@app.command()
def draw_directional(tables: Annotated[Path, typer.Option(help="Folder of the study's tables.")], out: Out) -> None:
    """Draw the figures of the study of directional pruning from its tables, as SVG and PNG."""
    from prunebench.report.directional import draw

    draw(tables, out)


@app.command()
def judge_claims(plan: Plan, runs: Runs, out: Out) -> None:
    """Decide every claim: observations.csv, claims.json and claims.csv."""
    from prunebench.claims.ledger import summary, write_ledger

    typer.echo(summary(write_ledger(_preset_of(plan), runs, out)))


@app.command()
def claims(
    results: Results = Path("results/laptop"),
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """Print the ledger of claims: verdicts, effects with intervals, published values."""
    from rich.console import Console

    from prunebench.claims.record import read_ledger
    from prunebench.claims.terminal import markdown, print_ledger

    ledger = read_ledger(results)
    if as_markdown:
        typer.echo(markdown(ledger), nl=False)
        return
    print_ledger(ledger, Console())
    if (results / "report.html").exists():
        typer.echo(f"The report: {results / 'report.html'}")


@app.command()
def calibrate(
    results: Results = Path("results/laptop"),
    tables: Annotated[
        int | None, typer.Option(min=100, help="Simulated tables; the preset's number by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the table; the results' tables by default.")] = None,
) -> None:
    """Try every claim's rule on tables simulated without and with the claimed effect."""
    from prunebench.claims.calibration import write_calibration
    from prunebench.claims.ledger import CLAIMS

    write_calibration(
        CLAIMS, _preset_of(results / "plan.json"), results / "observations.csv", out or results / "tables", tables
    )


@app.command()
def draw_calibration(tables: Annotated[Path, typer.Option(help="Folder of the table.")], out: Out) -> None:
    """Draw the calibration of the claims' rules, as SVG and PNG."""
    from prunebench.report.calibration_figure import draw

    draw(tables, out)


@app.command()
def write_report(
    results: Results,
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")],
    out: Annotated[Path, typer.Option(help="The page to write (.html).")],
) -> None:
    """Write the report: one page that needs no other file and no network."""
    from prunebench.report.page import write_page

    write_page(results, figures, out)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A folder of results.")],
    b: Annotated[Path, typer.Argument(help="Another: of another preset, machine or version.")],
    out: Annotated[Path | None, typer.Option(help="The comparison as a table (.csv).")] = None,
) -> None:
    """Compare two folders of results: verdicts, effects, configuration, code, machine, runs."""
    from prunebench.claims import compare as comparison

    comparison.main(a, b, out)


@app.command()
def document_config(
    schema: Annotated[Path, typer.Option()] = Path("workflow/schemas/config.schema.json"),
    readme: Annotated[Path, typer.Option()] = Path("config/README.md"),
    claims: Annotated[Path, typer.Option()] = Path("docs/claims.md"),
) -> None:
    """Generate the configuration's schema, config/README.md and docs/claims.md from the code they describe."""
    from prunebench.claims.document import markdown as claims_markdown
    from prunebench.config_docs import json_schema, markdown
    from prunebench.files import write_text

    write_text(schema, json_schema())
    write_text(readme, markdown())
    write_text(claims, claims_markdown())


def _job(
    spec: "RunSpec",
    data: Path,
    out: Path,
    threads: int,
    save_every: float,
    report: Callable[[str], None],
    start: Path | None = None,
) -> "Job":
    import hashlib

    import torch

    from prunebench.data.batches import load_prepared
    from prunebench.training.checkpoint import ResumeFile, resume_digest
    from prunebench.training.device import pick_device, resolve_precision
    from prunebench.training.job import Job, resume_path
    from prunebench.training.provenance import source_digest

    torch.set_num_threads(threads)
    # Weights of a pruned, decayed network become denormal numbers, which x86 multiplies many times slower.
    torch.set_flush_denormal(True)
    device = pick_device()
    prepared = load_prepared(data, device)
    start_sha256 = hashlib.sha256(start.read_bytes()).hexdigest() if start and start.is_file() else ""
    precision = resolve_precision(spec.training.precision, device)
    machine = (device.type, precision, str(threads), torch.__version__)
    digest = resume_digest(spec.digest(), source_digest(), prepared.checksum, start_sha256, *machine)
    resume = ResumeFile(resume_path(out), digest, save_every)
    resume.stop_on_signals()
    return Job(spec, prepared, device, resume, report)


def _json(text: str) -> object:
    import json

    try:
        return json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{text}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}: {text:.80}") from None


def _preset_of(plan: Path) -> "Preset":
    from prunebench.config import parse_preset

    return parse_preset(_json(str(plan)), str(plan))


def main() -> None:
    """The console command."""
    try:
        app()
    except InputError as error:
        if "--debug" in sys.argv:
            raise
        print(f"prunebench: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
