"""The page put together: one file that loads nothing from elsewhere and can be read without its script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from prunebench.errors import InputError
from prunebench.files import write_text
from prunebench.parsing import known
from prunebench.suite import exhibits as own
from prunebench.suite import numbers
from prunebench.suite.calibration import failures
from prunebench.suite.claim import FIRM, TOO_FEW
from prunebench.suite.inputs import Download, Record, read_csv, read_json
from prunebench.suite.paper import Paper, Table
from prunebench.suite.preset import Preset, parse_preset
from prunebench.suite.record import Ledger, read_ledger
from prunebench.suite.report import captions
from prunebench.suite.report.page import evidence, exhibits, provenance
from prunebench.suite.report.page.answers import answers, in_words
from prunebench.suite.stability import forecast

HERE = Path(__file__).parent

LEADING = 2
"""Figures of a paper that are open; the others are folded. Papers declare those first that carry their main claims."""


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
    rates, firm = (evidence.read_table(table, results / "tables") for table in own.TABLES)
    failing = failures(rates, firm)
    ledger = None if claims is None else evidence.findings(claims, observations or [])

    def cited(kind: str, name: str) -> list[str]:
        return [finding["id"] for finding in ledger or [] if name in finding[kind]]

    def figure(paper: Paper | None, name: str) -> exhibits.View:
        return exhibits.figure(paper, name, figures, cited("figures", name))

    def table(paper: Paper | None, declared: Table) -> exhibits.View:
        return exhibits.table(paper, declared, results / "tables", cited("tables", declared.name))

    def has_rows(name: str) -> bool:
        return read_csv(results / "tables" / f"{name}.csv") != []

    def section(paper: Paper, run: bool) -> exhibits.View:
        """A paper's head and, where the preset runs it, figures, tables for readers, and files of the others."""
        names = ("key", "short", "title", "reference", "arxiv", "deviations")
        # A figure without rows to draw is a sentence; one whose table is missing is named as missing.
        empty = [each for each in paper.figures if run and not all(has_rows(need) for need in each.needs)]
        return {
            **{name: getattr(paper, name) for name in names},
            "run": run,
            "figures": [figure(paper, each.name) for each in paper.figures if run and each not in empty],
            "unrun": [captions.title(paper, "figure", each.name) for each in empty],
            "tables": [table(paper, each) for each in paper.tables if run and each.latex],
            "data": _data(results / "tables", [each.name for each in paper.tables if run and not each.latex]),
        }

    def own_figure(finding: exhibits.View) -> str:
        """The figure beside a claim's forest plots: the one of its figures that its paper declares first."""
        declared = preset.all_papers()[finding["paper"]].figures
        return next((each.name for each in declared if each.name in finding["figures"]), "")

    rules = evidence.calibration_summary(rates, ledger or [])
    papers = [section(paper, key in preset.studies()) for key, paper in preset.all_papers().items()]
    suite = {
        "figure": [figure(None, each.name) for each in own.FIGURES],
        "table": [table(None, each) for each in own.TABLES],
    }
    shown = {kind: [each for paper in papers for each in paper[f"{kind}s"]] + suite[kind] for kind in suite}
    absent = [name for name in ("claims.json", "observations.csv", "runs.csv") if not (results / name).is_file()]
    absent += [f"tables/{each['name']}.csv" for each in shown["table"] if each["rows"] is None]
    absent += [f"{each['name']}.svg" for each in shown["figure"] if each["uri"] is None]
    return _template().render(
        preset=preset,
        plan=preset.model_dump_json(indent=2, exclude={"raw_data"}),
        ledger=ledger,
        answers=answers(claims, {key: paper.short for key, paper in preset.all_papers().items()}) if claims else [],
        in_words=in_words,
        counts=evidence.counts(ledger or []),
        own_figures={finding["id"]: own_figure(finding) for finding in ledger or []},
        leading=LEADING,
        signs=evidence.SIGNS,
        scales=list(dict.fromkeys(finding["scale"] for finding in ledger or [])),
        ledger_files=_data(results, ("claims", "observations")),
        papers=papers,
        names={paper["key"]: paper["short"] for paper in papers},
        titles={kind: {each["name"]: each["title"] for each in views} for kind, views in shown.items()},
        suite=suite,
        calibration=rules,
        failures=failing,
        forecast=forecast(firm) if len(firm) else "",
        levels={"firm": f"{100 * FIRM:.0f} %", "too_few": f"{100 * TOO_FEW:.0f} %"},
        caveats=_caveats(preset, claims, runs, absent, shown["table"], [claim for claim, _ in failing]),
        runs=runs,
        dates=provenance.dates(runs or []),
        costs=provenance.costs(runs or []),
        versions=provenance.versions(runs or []),
        environment=provenance.environment(runs or []),
        setups={name: provenance.setup(task) for name, task in preset.tasks.items()},
        run_files=_data(results, ("runs",)),
        **_style_and_script(),
    )


def _claims(results: Path, papers: Mapping[str, Paper]) -> Ledger:
    """The content of claims.json; InputError for one that is no ledger of these papers."""
    claims = read_ledger(results)
    for index, finding in enumerate(claims.findings):
        known(f"{results / 'claims.json'}: 'findings.{index}.paper'", finding.paper, papers)
    return claims


def _data(folder: Path, names: Sequence[str]) -> list[Download]:
    return [file for name in names for file in exhibits.files(name, folder)]


def _caveats(
    preset: Preset,
    claims: Ledger | None,
    runs: Sequence[Record] | None,
    absent: Sequence[str],
    tables: Sequence[exhibits.View],
    failing: Sequence[str],
) -> dict[str, Any]:
    """What is missing from the results, or limits them, by what the template calls it."""
    versions = provenance.versions(runs or [])
    return {
        "no_runs": runs is not None and not runs,
        "one_seed": len(preset.seeds) == 1,
        # The ledger knows which runs the preset should have; without it seeds are compared with each other.
        "missing": claims.missing if claims else provenance.missing_seeds(preset, runs or []),
        "diverged": [row["folder"] for row in runs or [] if row["status"] == "diverged"],
        "absent": absent,
        "empty": [each["name"] for each in tables if each["rows"] is not None and not each["total"]],
        "fails": list(dict.fromkeys(failing)),
        "left_out": [paper.short for key, paper in preset.all_papers().items() if key not in preset.studies()],
        "versions": len(versions) if len(versions) > 1 else 0,
        "dirty": sum(version["runs"] for version in versions if version["dirty"]),
        "unknown": sum(version["runs"] for version in versions if not version["digest"]),
    }


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = numbers.count
    return environment.get_template("template.html.j2")


def _style_and_script() -> dict[str, str]:
    """The only style and script that the page lets run, by their hashes; marked as safe because they are our own."""
    texts = {name: (HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js")}
    parts: dict[str, str] = {}
    for name, text in texts.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        parts |= {Path(name).stem: Markup(text), f"{Path(name).stem}_hash": f"sha256-{digest}"}
    return parts
