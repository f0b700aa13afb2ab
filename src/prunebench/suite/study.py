"""What a paper's tables and claims are made from: its part of the preset, and its runs' tables as stacked frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from prunebench.errors import InputError
from prunebench.runs.spec import NETWORKS_FILE, RunSpec, Spec
from prunebench.suite.inputs import read_frame, read_json
from prunebench.suite.paper import Paper, Stage
from prunebench.suite.plan import Plan, make_plan
from prunebench.suite.preset import Preset

BUSY = 0.05
"""The share of a machine's processors that is said when other work took it from a job that takes times [ours]."""

RUN = ["task", "seed", "arm"]
"""What names an arm's run among those of a stage."""


def read_table(path: Path, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """A run's CSV; raises InputError, naming the file, where it is missing or no CSV.

    A column holds numbers or words: so, too, where one of `numbers` is missing or has a word, or another has both.
    """
    frame = read_frame(path, numbers)
    for name in _words(frame):
        _refuse_words(path, frame[name], name in numbers)
    return frame


def _words(frame: pd.DataFrame) -> list[str]:
    return [name for name, kind in frame.dtypes.items() if not is_numeric_dtype(kind)]


def _refuse_words(path: Path, column: "pd.Series[Any]", numbers: bool) -> None:
    """InputError for the first word of a column that is one of numbers, or has numbers, too."""
    cells = column.dropna()
    words = cells[pd.to_numeric(cells, errors="coerce").isna()]
    if len(words) and (numbers or len(words) < len(cells)):
        raise InputError(f"{path}: column {column.name} has '{words.iloc[0]:.80}', which is no number")


def _refuse_mixed(frames: Mapping[Path, pd.DataFrame]) -> None:
    """InputError for a column that has words in one run's table and numbers in another's."""

    def has_numbers(frame: pd.DataFrame, name: str) -> bool:
        return name in frame and is_numeric_dtype(frame[name]) and bool(frame[name].notna().any())

    words = {path: _words(frame) for path, frame in frames.items()}
    named = {name for names in words.values() for name in names}
    mixed = {name for name in named if any(has_numbers(frame, name) for frame in frames.values())}
    for path, names in words.items():
        for name in mixed.intersection(names):
            _refuse_words(path, frames[path][name], True)


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One frame of all. Frames without rows have no column types: they are left out unless all are empty."""
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)


@dataclass
class Study:
    """A paper's study of one preset, with the folder of its runs."""

    paper: Paper
    plan: Plan
    runs: Path
    _frames: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def of(cls, paper: Paper, preset: Preset, runs: Path) -> "Study":
        """The study of a preset; InputError where the preset leaves it out."""
        if preset.study(paper.key) is None:
            raise InputError(f"preset '{preset.preset}' does not run the study '{paper.key}'")
        return cls(paper, make_plan(preset), runs)

    @property
    def preset(self) -> Preset:
        """The preset."""
        return self.plan.preset

    @property
    def config(self) -> Any:
        """The paper's part of the preset."""
        return self.preset.study(self.paper.key)

    @property
    def margins(self) -> Any:
        """The margins of the paper's claims."""
        return self.preset.margins(self.paper.key)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The study's stages by name, that of the dense networks which its jobs start from among them."""
        stages = self.plan.studies[self.paper.key]
        needed = {need for stage in stages for job in stage.jobs for need in job.needs}
        jobs = [job for job in self.plan.dense.jobs if f"{job.folder}/{NETWORKS_FILE}" in needed]
        return {stage.name: stage for stage in (replace(self.plan.dense, jobs=tuple(jobs)), *stages)}

    def jobs(self, *stages: str) -> list[Any]:
        """The jobs of these stages; a stage that the preset leaves out has none."""
        return [job for name in stages if name in self.stages for job in self.stages[name].jobs]

    def others_load(self, stage: str) -> float | None:
        """The largest share of the machine that other work took while a job of a stage ran; None where nobody knows."""
        files = [self.runs / job.folder / "provenance.json" for job in self.jobs(stage)]
        loads = [read_json(file).get("others_load") for file in files]
        return max((float(load) for load in loads if load is not None), default=None)

    def load_notes(self, stage: str) -> list[str]:
        """A line where other work took more than `BUSY` of the machine while a stage took times."""
        load = self.others_load(stage)
        if load is None:
            return ["Whether the machine did other work meanwhile is not known."]
        return [f"Other work took {100 * load:.0f} % of the machine's processors meanwhile."] if load > BUSY else []

    def rows(self, stages: str | Sequence[str], table: str) -> pd.DataFrame:
        """One table of all jobs of these stages, stacked.

        First task and seed; of jobs that train arms also the axes of the job, of the arm and of the phase, where a row
        has these. Columns that clash with an axis get `_now` behind them. Empty without jobs.
        """
        names = (stages,) if isinstance(stages, str) else tuple(stages)
        key = ("|".join(names), table)
        if key not in self._frames:
            jobs = {self.runs / job.folder / f"{table}.csv": job for job in self.jobs(*names) if table in job.tables}
            tables = {path: self._table(job, table) for path, job in jobs.items()}
            _refuse_mixed(tables)
            frames = [self._job_rows(job, tables[path]) for path, job in jobs.items()]
            self._frames[key] = stacked(frames) if frames else pd.DataFrame()
        return self._frames[key].copy()

    def _table(self, job: Spec, table: str) -> pd.DataFrame:
        """InputError where the job's folder is another preset's, or holds no table."""
        if is_stale(job, self.runs):
            raise InputError(f"{self.runs / job.folder} is of another preset than this one; `snakemake` does it anew")
        return read_table(self.runs / job.folder / f"{table}.csv")

    def _job_rows(self, job: Spec, rows: pd.DataFrame) -> pd.DataFrame:
        axes = {name: getattr(job, name) for name in ("task", "seed") if hasattr(job, name)} | getattr(job, "axes", {})
        if isinstance(job, RunSpec):
            return _with_axes(job, rows, axes)
        for place, (name, value) in enumerate(axes.items()):
            if name not in rows:
                rows.insert(place, name, value)
        return rows


def _with_axes(job: RunSpec, rows: pd.DataFrame, axes: dict[str, Any]) -> pd.DataFrame:
    arms = [
        {**axes, "arm": arm.name, **arm.axes, "last_phase": len(arm.phases) - 1, "last_epoch": arm.epochs}
        for arm in job.arms
    ]
    phases = [
        {"arm": arm.name, "phase": number, **phase.axes}
        for arm in job.arms
        for number, phase in enumerate(arm.phases)
        if any(each.axes for each in arm.phases)
    ]
    named = {name for row in (*arms, *phases) for name in row} - {"arm", "phase"}
    rows = rows.rename(columns={name: f"{name}_now" for name in rows.columns if name in named})
    frame = pd.DataFrame(arms).merge(rows, on="arm")
    if phases and "phase" in frame:
        frame = frame.merge(pd.DataFrame(phases), on=["arm", "phase"], how="left")
    return frame


def dense_ends(study: Study) -> pd.DataFrame:
    """The ends of the dense networks that a study's jobs start from (`Paper.unpruned`)."""
    return study.rows("train_dense", "phases")


# --- What is there


def is_stale(job: Spec, runs: Path) -> bool:
    """Whether the job's folder holds what another spec left, such as that of a preset before it was changed."""
    left = runs / job.folder / "spec.json"
    return left.exists() and read_json(left) != job.content()


def complete(study: Study) -> tuple[Study | None, list[str]]:
    """The study of the seeds and parts whose runs are complete, and a line for each that is not.

    Pairing needs all runs of a seed; a run of another preset is none. A part without seeds, such as timings, is left
    out where a run of it is missing. None where no seed is complete.
    """

    def there(job: Spec) -> bool:
        return (study.runs / job.folder / "provenance.json").exists() and not is_stale(job, study.runs)

    stages = [stage for stage in study.stages.values() if not stage.optional]
    seeds, absent = [], []
    for seed in study.preset.seeds:
        needed = [job for stage in stages if not stage.part for job in stage.jobs if getattr(job, "seed", seed) == seed]
        gone = [job.folder for job in needed if not there(job)]
        if gone:
            absent.append(f"seed {seed}: {len(gone)} of {len(needed)} runs are missing, such as {gone[0]}")
        else:
            seeds.append(seed)
    parts = [stage.part for stage in stages if stage.part and not all(map(there, stage.jobs))]
    absent += [f"{part} is missing" for part in dict.fromkeys(parts)]
    if not seeds:
        return None, absent
    if seeds == study.preset.seeds and not parts:
        return study, absent
    config = study.config.model_copy(update=dict.fromkeys(parts))
    preset = study.preset.model_copy(update={"seeds": seeds, study.paper.key: config})
    return replace(study, plan=make_plan(preset), _frames={}), absent
