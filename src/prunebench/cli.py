"""`prunebench VERB`: verbs for people, and those that the workflow's rules call.

Bad input ends with one line and exit code 2; `prunebench --debug VERB` shows the traceback too. Verbs import what they
need when they are called, and torch, pandas and matplotlib, which take seconds, after what they are given is checked.
"""

import codecs
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunebench import __version__
from prunebench.errors import InputError, nearest, printable
from prunebench.runs.numerics import Numerics, unpin

if TYPE_CHECKING:
    from prunebench.suite.paper import Figure, Paper
    from prunebench.suite.preset import Preset

app = typer.Typer(pretty_exceptions_enable=False)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for words that are no command, wherever a version has it."""

PEOPLE, WORKFLOW = "For people", "Called by the workflow"

TRAIN = "prunebench.runs.engine:train"
"""The function of jobs that train arms."""


def _offers(of: str) -> Callable[[str], list[str]]:
    """What a shell offers for a word: a function of `suite/completion.py`, which is imported when a shell asks."""

    def offer(incomplete: str) -> list[str]:
        from prunebench.suite import completion

        return list(getattr(completion, of)(incomplete))

    return offer


def _claims_of(ctx: typer.Context, incomplete: str) -> list[str]:
    from prunebench.suite import completion

    return completion.claims(ctx.params.get("results"), incomplete)


Out = Annotated[Path, typer.Option(help="Folder to write into.")]
Plan = Annotated[Path, typer.Option(help="The resolved preset, plan.json.")]
Results = Annotated[Path, typer.Argument(help="Folder of a preset's results.", autocompletion=_offers("results"))]
Key = Annotated[str, typer.Argument(help="The paper: s_cyc, cascade, directional, or the key of a paper from outside.")]
Tables = Annotated[Path, typer.Option(help="Folder with the tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reproducibility benchmarks for neural-network pruning."""


@app.command(rich_help_panel=PEOPLE)
def claims(
    results: Results = Path("results/laptop"),
    claim: Annotated[
        str | None, typer.Argument(help="One claim, such as A3, in full.", autocompletion=_claims_of)
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: Json = False,
) -> None:
    """Print the ledger of claims, or one claim in full: verdicts, effects with intervals, published values."""
    from rich.console import Console

    from prunebench.suite.record import read_ledger
    from prunebench.suite.terminal import finding_of, markdown, print_finding, print_ledger

    ledger = read_ledger(results)
    finding = finding_of(ledger, claim) if claim else None
    if as_json:
        print((finding or ledger).model_dump_json(indent=2))
    elif as_markdown:
        shown = ledger.model_copy(update={"findings": [finding]}) if finding else ledger
        print(markdown(shown), end="")  # not typer.echo, which writes UTF-8 to a terminal that knows ASCII alone
    elif finding:
        print_finding(finding, Console())
    else:
        print_ledger(ledger, Console())
        if (results / "report.html").exists():
            print(f"The report: {results / 'report.html'}")


@app.command(rich_help_panel=PEOPLE)
def runs(
    results: Results = Path("results/laptop"),
    state: Annotated[
        str | None, typer.Option(help="List the jobs of a state alone, one a line.", autocompletion=_offers("states"))
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how every job of a folder of results is: done, failed, stopped, running, stale, damaged or missing."""
    from rich.console import Console

    from prunebench.suite import jobs

    wanted = jobs.known_state(state) if state else None
    found = [job for job in jobs.survey(results) if wanted in (None, job.state)]
    if as_json:
        print(json.dumps(jobs.as_json(results, found), indent=2))
    elif wanted:
        for job in found:
            print(printable(str(results / "runs" / job.folder)))
    else:
        jobs.print_survey(results, found, Console())


@app.command(rich_help_panel=PEOPLE)
def show(
    job: Annotated[
        Path,
        typer.Argument(
            help="A job's folder, such as results/laptop/runs/dense/x/y/seed-0.", autocompletion=_offers("jobs")
        ),
    ],
    arm: Annotated[str | None, typer.Option(help="One of its arms alone.")] = None,
    as_json: Json = False,
) -> None:
    """Draw a job's curves in the terminal (loss, accuracy, LR by epoch) and list the ends of its phases."""
    from rich.console import Console

    from prunebench.suite.show import print_job, read_job

    record = read_job(job, arm)
    if as_json:
        print(json.dumps(record, indent=2))
        return
    print_job(record, Console())


@app.command(rich_help_panel=PEOPLE)
def compare(
    a: Annotated[Path, typer.Argument(help="A folder of results.", autocompletion=_offers("results"))],
    b: Annotated[
        Path,
        typer.Argument(help="Another one: of another preset, machine or version.", autocompletion=_offers("results")),
    ],
    out: Annotated[Path | None, typer.Option(help="Also write the comparison as a table (.csv).")] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Say in a few lines whether A came out as B did.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two folders of results: verdicts, effects, configuration, code, machine, runs."""
    from prunebench.suite import compare as comparison

    comparison.main(a, b, out, brief, as_json)


@app.command(rich_help_panel=PEOPLE)
def calibrate(
    results: Results,
    out: Annotated[Path, typer.Option(help="Folder to write the tables calibration and calibration_stability into.")],
    tables: Annotated[
        int | None, typer.Option(min=100, help="Number of simulated tables; by default the preset's.")
    ] = None,
) -> None:
    """Try every claim's rule on tables simulated without and with the claimed effect, and how firm its verdict is."""
    from prunebench.suite.places import preset_of

    preset = preset_of(results)
    from prunebench.files import seal
    from prunebench.suite import exhibits
    from prunebench.suite.asked import all_claims
    from prunebench.suite.calibration import calibrate_results, failures
    from prunebench.suite.claim import read_observations
    from prunebench.suite.report.tables import write_table
    from prunebench.suite.stability import check, forecast

    rates = calibrate_results(preset, results / "observations.csv", tables, report=print)
    firm = check(all_claims(preset), read_observations(results / "observations.csv"), preset.margins)
    for table, frame in zip(exhibits.TABLES, (rates, firm), strict=True):
        write_table(table, frame, preset.scale, out)
    seal(out / "calibration.sha256", [out / name for table in exhibits.TABLES for name in table.files])
    for line in (forecast(firm), *(f"{claim} fails: {how}" for claim, how in failures(rates, firm))):
        print(line)


@app.command(rich_help_panel=PEOPLE)
def export(
    results: Results,
    out: Annotated[Path, typer.Option(help="Folder to write into: a new or empty one, or an earlier export.")],
    epochs: Annotated[bool, typer.Option("--epochs", help="Every epoch of every run, too.")] = False,
) -> None:
    """Write all results as one tidy long table (CSV, Parquet) with a data dictionary and RO-Crate metadata."""
    from prunebench.suite.places import results_folder

    results_folder(results)
    from prunebench.suite.export import export as write_export

    files, lacking = write_export(results, out, epochs)
    for file in files:
        print(file)
    if lacking:
        print(lacking, file=sys.stderr)


@app.command(rich_help_panel=PEOPLE)
def clean(
    results: Results,
    what: Annotated[
        str | None, typer.Option(help="What goes: resume, stale, runs or all.", autocompletion=_offers("rubbish"))
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without, only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Say what of a folder of results can go and how much disk it takes; delete it with --yes."""
    from prunebench.suite import clean as cleaning

    cleaning.main(results, what, yes, as_json)


@app.command(rich_help_panel=PEOPLE)
def plan(
    preset: Annotated[
        str,
        typer.Argument(
            help="A preset: its name in config/, or the path of a .yaml file.", autocompletion=_offers("presets")
        ),
    ],
    config: Annotated[
        list[str] | None, typer.Option(help="key=value, laid over the preset as Snakemake's --config is; repeat it.")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Schedule the jobs on so many CPU cores.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Schedule the jobs on so many GPUs.")] = None,
    machine: Annotated[Path | None, typer.Option(help="A machine's throughput (.csv), as --save wrote it.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Measure this machine's throughput.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="With --probe: seconds for each network.")] = 20,
    save: Annotated[Path | None, typer.Option(help="With --probe: also write the throughput to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a preset will cost before it runs: jobs, images, FLOPs, files, disk, hours."""
    from rich.console import Console

    from prunebench.suite.costs import costs_of, workloads_of
    from prunebench.suite.forecast import Workers, forecast, preset_of, print_forecast
    from prunebench.suite.machine import Machine
    from prunebench.suite.plan import make_plan

    if cores and gpus:
        raise InputError("--cores and --gpus: give one of them, a job runs on one kind of machine")
    if (machine and probe) or (save and not probe):
        raise InputError("--machine reads what --probe --save wrote: give --machine, or --probe with or without --save")
    if (cores or gpus) and not (machine or probe):
        raise InputError("--cores and --gpus need hours: give --machine or --probe")
    planned = make_plan(preset_of(preset, config or []))
    speed = Machine.read(machine) if machine else None
    costs = costs_of(planned)
    if probe:
        from prunebench.suite.throughput import measure

        speed = measure(workloads_of(costs), seconds, report=lambda line: print(line, file=sys.stderr))
        if save:
            speed.write(save)
    workers = Workers("core", cores) if cores else Workers("gpu", gpus) if gpus else None
    record = forecast(planned, costs, speed, workers)
    if as_json:
        print(json.dumps(record, indent=2))
        return
    print_forecast(record, Console())


@app.command(rich_help_panel=PEOPLE)
def new(
    kind: Annotated[str, typer.Argument(help="schedule, criterion, update, network, dataset or paper.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and _.")],
    to: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("ideas"),
) -> None:
    """Write a working starting point for an idea of your own: its file, a preset that decides its claim, a test."""
    from prunebench.suite.starting import start

    for path in start(kind, name, to):
        print(path)
    print(f"Next: python -m pytest {to / f'test_{name}.py'}; prunebench run {to / f'{name}.yaml'}")


@app.command(rich_help_panel=PEOPLE)
def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder in which Snakemake will run.")] = Path(),
    cache: Annotated[Path, typer.Option(help="Folder to keep downloads in.")] = Path("data"),
    raw_data: Annotated[
        Path | None, typer.Option(envvar="PRUNEBENCH_RAW_DATA", help="Folder with the raw files.")
    ] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Measure the speed, too: half a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a ticket.")] = False,
) -> None:
    """Say what this machine can run, and the mend for each fault; exit code 1 where a fault keeps the suite from it."""
    from prunebench.suite.doctor import examine

    items = []
    for item in examine(folder, cache, raw_data, probe):
        items.append(item)
        if not as_json:
            print(printable(str(item)), flush=True)
    if as_json:
        print(json.dumps({"prunebench": __version__, "items": [vars(item) for item in items]}, indent=2))
    if any(item.state == "fault" for item in items):
        raise typer.Exit(1)


@app.command(rich_help_panel=PEOPLE)
def run(
    preset: Annotated[
        str, typer.Argument(help="A preset: its name in config/, or the path of a .yaml file.")
    ] = "laptop",
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]... [TARGET]...", help="Laid over the preset; what to make, if not all."),
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="CPU cores; by default all.")] = None,
) -> None:
    """Run a preset: what Snakemake does on one screen, then the ledger. Exit code 1 where a job failed."""
    from prunebench.suite.launch import launch

    results = launch(preset, words or [], cores)
    if all("=" in word for word in words or ()):  # no target: all was made
        claims(results)
        kept = Path("results/reference") / results.name
        if kept.is_dir():
            compare(results, kept, brief=True)


@app.command(rich_help_panel=WORKFLOW)
def weigh(plan: Plan) -> None:
    """Print what every job of a plan should take, as JSON: the screen tells the time that is left by it."""
    preset = _preset_of(plan)
    from prunebench.suite.plan import make_plan
    from prunebench.suite.weights import weights_of

    print(json.dumps(weights_of(make_plan(preset))))


@app.command(rich_help_panel=WORKFLOW)
def do(
    out: Annotated[Path, typer.Argument(help="The job's folder, such as results/smoke/runs/dense/x/y/seed-0.")],
    plan: Annotated[Path | None, typer.Option(help="The resolved preset, plan.json, with this job.")] = None,
    digest: Annotated[str, typer.Option(help="With --plan: how the digest of the job's spec must begin.")] = "",
    spec: Annotated[Path | None, typer.Option(help="The job's spec, spec.json, instead of --plan.")] = None,
    job: Annotated[str, typer.Option(help="With --spec: the function that does the job.")] = TRAIN,
    data: Annotated[Path | None, typer.Option(help="With --spec: the prepared data set (.safetensors).")] = None,
    runs: Annotated[Path, typer.Option(help="With --spec: the folder with all runs.")] = Path(),
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")] = 1,
    numerics: Annotated[
        Numerics, typer.Option(help="How a CPU computes: the same bytes on every x86-64 CPU with AVX2, or its own way.")
    ] = "portable",
    workers: Annotated[
        int,
        typer.Option(
            min=0, max=1024, help="Processes that decode images which stream from shards; they change no result."
        ),
    ] = 0,
    save_every: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds between two saves of the state that a killed job resumes from; by default 20, and more where "
            "saves would take more than 1 % of the time.",
        ),
    ] = None,
    eager: Annotated[bool, typer.Option("--eager", help="On a GPU: no recorded updates. Changes no result.")] = False,
) -> None:
    """Do one job, such as training its arms. A killed job resumes where it was."""
    if (plan is None) == (spec is None):
        raise InputError("a job comes from --plan or from --spec: give exactly one of them")
    if numerics == "native":
        unpin()  # before torch is imported
    if plan is not None:
        content, function, runs, data = _planned(plan, out, digest)
    if spec is not None:
        if data and not data.exists():
            raise InputError(f"cannot read {data}: No such file or directory")
        content, function = _given(spec, job)
    from prunebench.runs.run import run_job

    how: dict[str, Any] = {
        "threads": threads,
        "numerics": numerics,
        "workers": workers,
        "save_every": save_every,
        "eager": eager,
    }
    try:
        run_job(content, function, out, runs, data, **how)
    except SystemExit as end:
        if end.code == os.EX_TEMPFAIL:  # told to stop, it has saved
            from prunebench.suite.slurm import queue_again

            queue_again()
        raise


def _given(spec: Path, job: str) -> tuple[Any, Any]:
    """The spec of a file, and the function of the job, whose first parameter says what kind of spec it takes."""
    from prunebench.parsing import parse
    from prunebench.runs.spec import RunSpec
    from prunebench.suite.inputs import read_json
    from prunebench.suite.paper import resolve

    content = read_json(spec)
    checked = parse(RunSpec, content, str(spec)) if job == TRAIN else None  # before torch is imported
    from prunebench.runs.run import spec_class

    try:
        function = resolve(job, "prunebench")
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--job '{job}' is no `module:function`: {error}") from None
    return checked or parse(spec_class(function), content, str(spec)), function


def _planned(plan: Path, out: Path, digest: str) -> tuple[Any, Any, Path, Path | None]:
    """The spec, the function, the runs folder and the data set of the job in a folder, as the plan has them."""
    from prunebench.runs.spec import RunSpec
    from prunebench.suite.paper import resolve
    from prunebench.suite.plan import make_plan

    preset, runs = _preset_of(plan), plan.parent / "runs"
    try:
        folder = out.resolve().relative_to(runs.resolve()).as_posix()
    except ValueError:
        raise InputError(f"{out} is not below {runs}, the folder of this plan's runs") from None
    stage, spec = make_plan(preset).find(folder)
    if not spec.digest().startswith(digest):
        raise InputError(f"{plan} has another spec for {folder} than {digest}: it is not the plan that was submitted")
    data = plan.parent / "data" / f"{spec.data}.safetensors" if spec.data else None
    package = next((p.package for key, p in preset.all_papers().items() if stage.folder.startswith(f"{key}/")), "")
    if not (preset.resources.tensorboard and isinstance(spec, RunSpec)):
        return spec, resolve(stage.run, package), runs, data
    from prunebench.runs.events import with_events

    return spec, with_events(resolve(stage.run, package)), runs, data


@app.command(rich_help_panel=WORKFLOW)
def prepare_data(
    out: Annotated[Path, typer.Option(help="Prepared file to write (.safetensors); its manifest lies beside it.")],
    plan: Annotated[
        Path | None, typer.Option(help="The resolved preset, plan.json; the data set is that of the file's name.")
    ] = None,
    spec: Annotated[
        str | None, typer.Option(help="The data set's entry of a preset as JSON, instead of --plan.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder to keep downloads in.")] = Path("data"),
    raw_data: Annotated[
        Path | None, typer.Option(envvar="PRUNEBENCH_RAW_DATA", help="Folder with the raw files.")
    ] = None,
    plugin: Annotated[
        list[str] | None, typer.Option(help="With --spec: a file of yours that registers the source.")
    ] = None,
) -> None:
    """Turn a raw data set into one prepared, checksummed array file."""
    if (plan is None) == (spec is None):
        raise InputError("a data set comes from --plan or from --spec: give exactly one of them")
    if plan is not None:
        entries = _preset_of(plan).datasets
        if out.stem not in entries:
            raise InputError(f"{plan} has no data set '{out.stem}': {nearest(out.stem, entries)}")
        splits = dict(entries[out.stem])
    else:
        splits = _dataset_of(str(spec), plugin or [])
    from prunebench.data.prepare import prepare  # imports torch

    prepare(splits.pop("source"), raw_data, cache, out=out, manifest=out.with_suffix(".json"), **splits)


def _dataset_of(spec: str, plugins: list[str]) -> dict[str, Any]:
    """The data set's entry that JSON describes."""
    from prunebench.parsing import parse
    from prunebench.runs.plugins import load_plugins
    from prunebench.suite.tasks import Dataset

    load_plugins(plugins)
    try:
        content = json.loads(spec)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--spec is not JSON: {error}: {spec:.80}") from None
    return dict(parse(Dataset, content, "--spec"))


@app.command(rich_help_panel=WORKFLOW)
def tabulate(paper: Key, plan: Plan, out: Out) -> None:
    """Write the tables of a paper's study, as CSV and LaTeX."""
    preset = _preset_of(plan)
    known = _paper(preset, paper)
    from prunebench.files import seal
    from prunebench.suite.report.tables import write_tables
    from prunebench.suite.study import Study

    study = Study.of(known, preset, plan.parent / "runs")
    write_tables(study.paper, study.paper.resolve(study.paper.read)(study), preset.scale, out)
    seal(out / f"{paper}.sha256", [out / name for table in study.paper.tables for name in table.files])


@app.command(rich_help_panel=WORKFLOW)
def tabulate_runs(
    plan: Plan,
    out: Annotated[Path, typer.Option(help="Table to write (.csv).")],
    study: Annotated[str | None, typer.Option(help="A paper's key, or dense: its runs alone.")] = None,
) -> None:
    """Write runs.csv: every run with its axes, status, cost and provenance."""
    preset = _preset_of(plan)
    from prunebench.files import seal
    from prunebench.suite.runs import write_runs

    write_runs(preset, plan.parent / "runs", out, study)
    seal(out.with_suffix(".sha256"), [out])


@app.command(rich_help_panel=WORKFLOW)
def draw(paper: Key, plan: Plan, tables: Tables, out: Out) -> None:
    """Draw the figures of a paper's study from its tables; `calibration` draws the rules' error rates and stability."""
    preset = _preset_of(plan)
    known = None if paper == "calibration" else _paper(preset, paper)
    from prunebench.files import seal
    from prunebench.suite import exhibits
    from prunebench.suite.report.draw import draw_figures, draw_paper

    figures: tuple[Figure, ...] = known.figures if known else exhibits.FIGURES
    if known:
        draw_paper(known, preset.margins(paper), tables, out)
    else:
        titles = {key: each.short for key, each in preset.all_papers().items()}
        draw_figures(figures, exhibits.TABLES, tables, out, titles=titles)
    seal(out / f"{paper}.sha256", [out / name for figure in figures for name in figure.files])


@app.command(rich_help_panel=WORKFLOW)
def judge_claims(
    plan: Plan,
    out: Out,
    again: Annotated[
        bool, typer.Option("--again", help="Read no run: decide anew by the observations.csv that is in the folder.")
    ] = False,
) -> None:
    """Decide every claim: observations.csv, claims.json and claims.csv."""
    preset = _preset_of(plan)
    from prunebench.files import seal
    from prunebench.suite.ledger import summary, write_ledger, write_ledger_again

    ledger = write_ledger_again(preset, out) if again else write_ledger(preset, plan.parent / "runs", out)
    print(summary(ledger))
    seal(out / "claims.sha256", [out / name for name in ("claims.json", "claims.csv", "observations.csv")])


@app.command(rich_help_panel=WORKFLOW)
def write_report(
    results: Results,
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")],
    out: Annotated[Path, typer.Option(help="The page to write (.html).")],
) -> None:
    """Write the report: one page that needs no other file and no network."""
    from prunebench.suite.report.page import write_page

    write_page(results, figures, out)


@app.command(rich_help_panel=WORKFLOW)
def document(
    root: Annotated[Path, typer.Argument(help="The repository, whose generated documents are written anew.")] = Path(),
) -> None:
    """Generate what nobody writes by hand: from the code the configuration's schema and documents, docs/claims.md,
    docs/tables.md and docs/commands.md; from the kept runs docs/verdicts.md, docs/papers.md, docs/laptop.md,
    docs/evening.md, docs/power.md and README's verdicts."""
    from prunebench.files import write_text
    from prunebench.suite.document import documents

    for path, text in documents(root).items():
        write_text(root / path, text)


EXAMPLES = {
    "claims": "prunebench claims results/laptop A3",
    "runs": "prunebench runs results/laptop --state failed",
    "show": "prunebench show results/laptop/runs/dense/fashion-resnet8/constant/seed-0",
    "compare": "prunebench compare results/laptop results/reference/laptop --brief",
    "calibrate": "prunebench calibrate results/laptop --out calibration",
    "export": "prunebench export results/laptop --out laptop-export",
    "clean": "prunebench clean results/laptop --what stale --yes",
    "plan": "prunebench plan laptop --probe --cores 2",
    "new": "prunebench new schedule warm_cosine",
    "doctor": "prunebench doctor --probe",
    "run": "prunebench run laptop --cores 2",
    "weigh": "prunebench weigh --plan results/smoke/plan.json",
    "do": "prunebench do results/smoke/runs/dense/digits-mlp/constant/seed-0 --plan results/smoke/plan.json",
    "prepare-data": "prunebench prepare-data --plan results/smoke/plan.json --out data/digits.safetensors",
    "tabulate": "prunebench tabulate s_cyc --plan results/smoke/plan.json --out results/smoke/tables",
    "tabulate-runs": "prunebench tabulate-runs --plan results/smoke/plan.json --out results/smoke/runs.csv",
    "draw": "prunebench draw s_cyc --plan results/smoke/plan.json --tables results/smoke/tables --out figures/smoke",
    "judge-claims": "prunebench judge-claims --plan results/smoke/plan.json --out results/smoke",
    "write-report": "prunebench write-report results/smoke --figures figures/smoke --out results/smoke/report.html",
    "document": "prunebench document .",
}
"""A call of each verb, which ends its help and stands in docs/commands.md."""

for _command in app.registered_commands:
    _name = _command.name or str(getattr(_command.callback, "__name__", "")).replace("_", "-")
    _command.epilog = f"Example: {EXAMPLES[_name]}"


def _preset_of(plan: Path) -> "Preset":
    from prunebench.suite.inputs import read_json
    from prunebench.suite.preset import parse_preset

    return parse_preset(read_json(plan), str(plan))


def _paper(preset: "Preset", key: str) -> "Paper":
    papers = preset.all_papers()
    if key not in papers:
        raise InputError(f"no paper '{key}': {nearest(key, papers)}")
    return papers[key]


PLAIN = {"✓": "+", "✗": "x", "–": "-", "−": "-", "×": "x", "·": "*", "…": "...", "→": "->", "≤": "<=", "≥": ">="}
"""Signs of ours as a terminal shows them that knows ASCII alone; `?` stays that of what is undecided."""


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What stands for letters that an output's encoding lacks (an error handler of `codecs`)."""
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    decomposed = (unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() for letter in letters)
    return "".join(PLAIN.get(a, b or "?") for a, b in zip(letters, decomposed, strict=True)), error.end


codecs.register_error("prunebench-plainly", _plainly)


def main() -> None:
    """The console command."""
    for stream in (sys.stdout, sys.stderr):
        if stream:  # not closed, as by `>&-`
            stream.reconfigure(errors="prunebench-plainly")  # type: ignore[union-attr]
    try:
        try:
            raise SystemExit(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:  # its reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(1) from None
    except (InputError, OSError, UsageError) as error:  # of the system's refusals, those that nothing of ours foresaw
        if "--debug" in sys.argv:
            raise
        said = _of_usage(error) if isinstance(error, UsageError) else str(error)
        print(f"prunebench: {printable(' '.join(said.split()))[:2000]}", file=sys.stderr)
        raise SystemExit(2) from None


def _of_usage(error: Any) -> str:
    """What is wrong with the words of a command, and where it says which there are."""
    said = error.format_message().rstrip(".")
    verb = error.ctx.command_path if error.ctx else "prunebench"
    return f"{said[:1].lower()}{said[1:]} (`{verb} --help`)"
