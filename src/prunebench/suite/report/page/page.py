"""The page put together: one file that loads nothing from elsewhere and can be read without its script."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from prunebench.errors import InputError
from prunebench.files import write_text
from prunebench.parsing import known
from prunebench.suite.exhibits import CALIBRATION, POWER
from prunebench.suite.inputs import Download, Record, read_csv, read_json
from prunebench.suite.paper import Paper, Table
from prunebench.suite.preset import Preset, parse_preset
from prunebench.suite.record import read_ledger
from prunebench.suite.report.page import evidence, exhibits, provenance

HERE = Path(__file__).parent

RATES = (
    *("claim", "n", "noise", "null_reproduced", "null_reproduced_low", "claimed_reproduced"),
    *("claimed_not_reproduced", "seeds_for_80", "noise_from"),
)
"""Columns of calibration.csv that the page reads."""


def write_page(results: Path, figures: Path, out: Path) -> None:
    """Writes the report of a results folder as one HTML file.

    Reads `plan.json`, `claims.json`, `claims.csv`, `runs.csv`, `observations.csv` and `tables/` in `results`, and the
    SVG (or PNG) files in `figures`; what is not there is named on the page, except for `plan.json`, which must be.
    The same files give the same bytes. Raises InputError for a file that cannot be read or is not what it should be.
    """
    preset = parse_preset(read_json(results / "plan.json"), str(results / "plan.json"))
    try:
        write_text(out, _render(preset, results, figures))
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from None


def _render(preset: Preset, results: Path, figures: Path) -> str:
    claims = _claims(results, preset.all_papers()) if (results / "claims.json").exists() else None
    runs = read_csv(results / "runs.csv", ("study", "task", "seed", "status", "folder"))
    observations = read_csv(results / "observations.csv", ("claim", "quantity", "cell", "value"))
    calibration = read_csv(results / "tables" / "calibration.csv", RATES)
    ledger = None if claims is None else evidence.findings(claims, observations or [], calibration or [])

    def cited(kind: str, name: str) -> list[str]:
        return [finding["id"] for finding in ledger or [] if name in finding[kind]]

    def exhibit(paper: Paper | None, name: str) -> exhibits.FigureView:
        return exhibits.figure(paper, name, figures, cited("figures", name))

    def table(paper: Paper | None, declared: Table) -> exhibits.TableView:
        return exhibits.table(paper, declared, results / "tables", cited("tables", declared.name))

    rules = evidence.calibration_summary(calibration or [], ledger or [])
    papers = [
        {**_head(paper), **(_exhibits(paper, results / "tables", exhibit, table) if key in preset.studies() else _NONE)}
        for key, paper in preset.all_papers().items()
    ]
    power = {"figure": exhibit(None, POWER.name), "table": table(None, CALIBRATION)}
    shown_figures = [*(figure for paper in papers for figure in paper["figures"]), power["figure"]]
    shown_tables = [*(shown for paper in papers for shown in paper["tables"]), power["table"]]
    absent = [name for name in ("claims.json", "observations.csv", "runs.csv") if not (results / name).is_file()]
    absent += [f"tables/{shown.name}.csv" for shown in shown_tables if shown.rows is None]
    absent += [f"{figure.name}.svg" for figure in shown_figures if figure.uri is None]
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    return _template().render(
        preset=preset,
        plan=preset.model_dump_json(indent=2, exclude={"raw_data"}),
        ledger=ledger,
        counts=evidence.counts(ledger or []),
        signs=evidence.SIGNS,
        scales=list(dict.fromkeys(finding["scale"] for finding in ledger or [])),
        ledger_files=_data(results, ("claims", "observations")),
        papers=papers,
        names={paper["key"]: paper["short"] for paper in papers},
        titles={
            "figure": {figure.name: figure.title for figure in shown_figures},
            "table": {shown.name: shown.title for shown in shown_tables},
        },
        power=power,
        calibration=rules,
        caveats=_caveats(preset, claims, runs, absent, shown_tables, rules),
        runs=runs,
        dates=provenance.dates(runs or []),
        costs=provenance.costs(runs or []),
        versions=provenance.versions(runs or []),
        environment=provenance.environment(runs or []),
        data_sets=provenance.data_sets(preset),
        tasks=provenance.tasks(preset),
        run_files=_data(results, ("runs",)),
        # Marked as safe: our own files. Their hashes are the only style and script that the page lets run.
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _head(paper: Paper) -> dict[str, Any]:
    names = ("key", "short", "title", "reference", "arxiv", "deviations")
    return {name: getattr(paper, name) for name in names}


_NONE: dict[str, Any] = {"run": False, "figures": [], "tables": [], "data": []}
"""Exhibits of a paper that the preset leaves out."""


def _exhibits(
    paper: Paper,
    folder: Path,
    exhibit: Callable[[Paper, str], exhibits.FigureView],
    table: Callable[[Paper, Table], exhibits.TableView],
) -> dict[str, Any]:
    """Figures, tables for readers, and files of the others."""
    return {
        "run": True,
        "figures": [exhibit(paper, figure.name) for figure in paper.figures],
        "tables": [table(paper, each) for each in paper.tables if each.latex],
        "data": _data(folder, [each.name for each in paper.tables if not each.latex]),
    }


def _claims(results: Path, papers: Mapping[str, Paper]) -> dict[str, Any]:
    """The content of claims.json; InputError for one that is no ledger of these papers."""
    claims = read_ledger(results).model_dump()
    for index, finding in enumerate(claims["findings"]):
        known(f"{results / 'claims.json'}: 'findings.{index}.paper'", finding["paper"], papers)
    return claims


def _data(folder: Path, names: Sequence[str]) -> list[Download]:
    return [file for name in names for file in exhibits.files(name, folder)]


def _caveats(
    preset: Preset,
    claims: Mapping[str, Any] | None,
    runs: Sequence[Record] | None,
    absent: Sequence[str],
    tables: Sequence[exhibits.TableView],
    rules: Mapping[str, Any] | None,
) -> provenance.Caveats:
    made = provenance.versions(runs or [])
    # The ledger's own list knows which runs the preset should have; without it seeds are compared with each other.
    missing = claims["missing"] if claims else provenance.missing_seeds(preset, runs or [])
    return provenance.Caveats(
        no_runs=runs is not None and not runs,
        one_seed=len(preset.seeds) == 1,
        missing=tuple(missing),
        diverged=tuple(row["folder"] for row in runs or [] if row["status"] == "diverged"),
        absent=tuple(absent),
        empty=tuple(table.name for table in tables if table.rows is not None and not table.total),
        errs=tuple(row["claim"] for row in rules["above"]) if rules else (),
        left_out=tuple(paper.short for key, paper in preset.all_papers().items() if key not in preset.studies()),
        versions=len(made) if len(made) > 1 else 0,
        dirty=sum(version["runs"] for version in made if version["dirty"]),
        unknown=sum(version["runs"] for version in made if not version["digest"]),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2")


def _hash(text: str) -> str:
    """A content security policy's name for an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
