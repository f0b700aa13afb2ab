"""`prunebench plan`: what a preset will cost, as a record for machines and as tables for people."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from prunebench.errors import InputError
from prunebench.parsing import parse_yaml
from prunebench.runs.plugins import located
from prunebench.suite.costs import JobCost, exhibits_of
from prunebench.suite.machine import Machine
from prunebench.suite.plan import Plan
from prunebench.suite.preset import Preset, load_preset
from prunebench.suite.timetable import Task, longest_chain, simulate

NO_HOURS = "No hours: give a machine's throughput by --machine FILE.csv, or measure this one's by --probe."


def preset_of(name: str, overrides: Iterable[str]) -> Preset:
    """The preset of a name in config/ or of a .yaml file, with `key=value` laid over it as Snakemake's --config does.

    Raises InputError where there is none, and for a bad value.
    """
    file = Path(name) if name.endswith(".yaml") else Path("config") / f"{name}.yaml"
    if Path(name).name != name and not name.endswith(".yaml"):
        raise InputError(f"preset '{name}': allowed are the name of a file in config/ and the path of a .yaml file")
    values: dict[str, Any] = {}
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise InputError(f"--config {text}: must be key=value")
        if key in values:
            raise InputError(f"--config has the key '{key}' twice")
        try:
            values[key] = parse_yaml(value)
        except InputError as error:
            raise InputError(f"--config {key}: {error}") from None
    with suppress(InputError):  # where there is no such file, `load_preset` names the nearest preset
        file = located(str(file))
    return load_preset(file, values)


@dataclass(frozen=True)
class Workers:
    """What runs the jobs: so many cores, or GPUs."""

    kind: str
    number: int

    def of(self, cost: JobCost, preset: Preset) -> int:
        """How many of them a job holds; 0 for one that the machine of submission does by itself."""
        if self.kind == "core":
            return preset.resources.threads
        return 0 if cost.stage.local else max(preset.resources.gpu, 1)


def forecast(
    plan: Plan, costs: Mapping[str, JobCost], machine: Machine | None = None, workers: Workers | None = None
) -> dict[str, Any]:
    """Everything that `prunebench plan` says, as JSON.

    hours are None without a machine. The longest chain and the schedule hold the jobs of the plan: data, tables,
    figures and the report, minutes of one core, are not among them. Raises InputError for a network whose throughput
    the machine's file does not have.
    """
    hours = {f: machine.seconds(c.workload, c.estimate) / 3600 for f, c in costs.items()} if machine else {}
    rules = [
        _sums([c for c in costs.values() if c.stage is stage], hours) | {"rule": stage.name}
        for stage in plan.stages.values()
    ]
    exhibits = exhibits_of(plan.preset)
    total = _sums(costs.values(), hours)
    lengths = hours or {folder: cost.images for folder, cost in costs.items()}
    tasks = {
        folder: Task(
            lengths[folder],
            workers.of(cost, plan.preset) if workers else 1,
            cost.stage.priority,
            tuple(dict.fromkeys(need.rsplit("/", 1)[0] for need in cost.job.needs)),
        )
        for folder, cost in costs.items()
    }
    length, chain = longest_chain(tasks)
    schedule = None
    if machine and workers:
        done = simulate(tasks, workers.number)
        schedule = {workers.kind + "s": workers.number, "hours": done.length, "busy": done.busy}
    return {
        "preset": plan.preset.preset,
        "scale": plan.preset.scale,
        "machine": {"device": machine.device, "file": machine.where} if machine else None,
        "rules": rules,
        "exhibits": {"files": exhibits.files, "bytes": exhibits.bytes},
        "total": total | {key: total[key] + getattr(exhibits, key) for key in ("files", "bytes")},
        "chain": {"jobs": chain, "hours" if machine else "images": length},
        "schedule": schedule,
    }


def _sums(costs: Iterable[JobCost], hours: Mapping[str, float]) -> dict[str, Any]:
    costs = list(costs)
    return {
        "jobs": len(costs),
        "epochs": sum(cost.epochs for cost in costs),
        "images": round(sum(cost.images for cost in costs)),
        "training_images": round(sum(cost.estimate.training for cost in costs)),
        "evaluation_images": round(sum(cost.estimate.evaluation for cost in costs)),
        "flops": sum(cost.flops for cost in costs),
        "files": sum(cost.files for cost in costs),
        "bytes": sum(cost.bytes for cost in costs),
        "hours": sum(hours[cost.job.folder] for cost in costs) if hours else None,
    }


# --- For people


def print_forecast(record: Mapping[str, Any], console: Console) -> None:
    """A table by rule, then the longest chain and the schedule."""
    timed = record["machine"] is not None
    columns = ("rule", "jobs", "epochs", "images", "FLOPs", "files", "disk", *(["time"] if timed else []))
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for column in columns:
        table.add_column(column, justify="left" if column == "rule" else "right", no_wrap=True)
    for row in record["rules"]:
        table.add_row(row["rule"], *_cells(row, timed))
    exhibits = record["exhibits"]
    table.add_row("tables, figures, report", "", "", "", "", f"{exhibits['files']:,}", _size(exhibits["bytes"]))
    table.add_section()
    table.add_row("all", *_cells(record["total"], timed))
    console.print(table)
    chain = record["chain"]
    length = _time(chain["hours"]) if timed else f"{_count(chain['images'])} images"
    console.print("Images are trained ones; one that is only evaluated counts as a third.", markup=False)
    console.print(f"Longest chain of jobs that wait for each other: {length}, {len(chain['jobs'])} jobs:", markup=False)
    for folder in chain["jobs"]:
        console.print(f"  {folder}", markup=False, highlight=False)
    if not timed:
        console.print(NO_HOURS, markup=False)
        return
    console.print(f"Times are those of one job after another on: {record['machine']['device']}.", markup=False)
    if done := record["schedule"]:
        kind = "cores" if "cores" in done else "gpus"
        name = {"cores": "core(s)", "gpus": "GPU(s)"}[kind]
        console.print(f"On {done[kind]} {name}: {_time(done['hours'])}, {done['busy']:.0%} busy.", markup=False)


def _cells(row: Mapping[str, Any], timed: bool) -> list[str]:
    counts = [f"{row['jobs']:,}", f"{row['epochs']:,}"]
    counts += [_count(row["images"]), _count(row["flops"])]
    return [*counts, f"{row['files']:,}", _size(row["bytes"]), *([_time(row["hours"])] if timed else [])]


def _count(number: float) -> str:
    """With a thousand's letter: 12.3M."""
    for letter in ("", "k", "M", "G", "T", "P", "E"):
        if number < 1000:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:.3g}Z"


def _size(size: float) -> str:
    number = _count(size)
    return f"{number} B" if size < 1000 else f"{number[:-1]} {number[-1]}B"


def _time(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
