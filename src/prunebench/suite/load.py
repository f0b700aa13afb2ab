"""A folder of results as tidy frames: what `prunebench.load` gives."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import pandas as pd

from prunebench.errors import nearest
from prunebench.suite import dictionary
from prunebench.suite.cells import label
from prunebench.suite.claim import read_observations
from prunebench.suite.inputs import read_frame
from prunebench.suite.places import RUNS, preset_of, results_folder
from prunebench.suite.plan import Plan, make_plan
from prunebench.suite.preset import Preset
from prunebench.suite.record import Ledger, read_ledger
from prunebench.suite.study import is_stale, job_rows, read_table, stacked

FILES = ("runs", "claims", "observations")
"""Frames of files of their own: each `<name>.csv`."""


class Results(Mapping[str, pd.DataFrame]):
    """The frames of a folder of results by name: `runs`, `claims`, `observations`, every table in tables/, and, where
    the folder has its jobs, each of their tables: `phases`, `epochs`, `weights`, ... Each is read when it is asked for.

    A row of `runs` is a job that trains; of `phases` and `epochs` what one phase or epoch of an arm ended with: study,
    task, seed and the other axes first. Jobs that are not done, or of another preset, are left out. A row of
    `observations` is what a claim's rule saw of one seed, with the axes of its cell as columns.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = results_folder(Path(folder))
        self._frames: dict[str, pd.DataFrame] = {}

    @cached_property
    def preset(self) -> Preset:
        """The preset, as plan.json has it."""
        return preset_of(self.folder)

    @cached_property
    def plan(self) -> Plan:
        """Every job of the preset."""
        return make_plan(self.preset)

    @cached_property
    def ledger(self) -> Ledger | None:
        """claims.json; None where there is none."""
        return read_ledger(self.folder) if (self.folder / "claims.json").is_file() else None

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables in tables/."""
        return tuple(sorted(path.stem for path in (self.folder / "tables").glob("*.csv")))

    @cached_property
    def job_tables(self) -> tuple[str, ...]:
        """Names of the tables of jobs; none in a kept folder, which has no jobs."""
        if not (self.folder / RUNS).is_dir():
            return ()
        return tuple(dict.fromkeys(name for job in self.plan.jobs() for name in job.tables))

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in FILES if (self.folder / f"{name}.csv").is_file())
        yield from (*self.job_tables, *self.tables)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in [*self]

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            if name not in self:
                raise KeyError(f"{self.folder} has no frame '{name}': {nearest(name, self)}")
            self._frames[name] = self._read(name)
        return self._frames[name].copy()

    def __repr__(self) -> str:
        return f"<results in {self.folder}: {', '.join(self)}>"

    @property
    def runs(self) -> pd.DataFrame:
        """Every job that trains: axes, status, accuracy, cost, provenance."""
        return self["runs"]

    @property
    def claims(self) -> pd.DataFrame:
        """Every claim: verdict, effect with interval, stability, power."""
        return self["claims"]

    @property
    def observations(self) -> pd.DataFrame:
        """What the claims' rules saw: one number per claim, quantity, cell and seed."""
        return self["observations"]

    @property
    def phases(self) -> pd.DataFrame:
        """The end of every phase of every arm."""
        return self["phases"]

    @property
    def epochs(self) -> pd.DataFrame:
        """The end of every epoch of every arm."""
        return self["epochs"]

    def _read(self, name: str) -> pd.DataFrame:
        if name in self.tables:
            return read_frame(self.folder / "tables" / f"{name}.csv")
        if name in self.job_tables:
            return self._of_jobs(name)
        if name == "observations":
            return self._observations()
        words = {column.name: str for column in dictionary.RUNS if column.unit == "name"} if name == "runs" else None
        return read_frame(self.folder / f"{name}.csv", dtype=words)  # a commit of digits is no number

    def _of_jobs(self, table: str) -> pd.DataFrame:
        frames, measured = [], dict[str, None]()
        for stage in self.plan.stages.values():
            for job in stage.jobs:
                folder = self.folder / RUNS / job.folder
                done = (folder / "provenance.json").is_file() and not is_stale(job, self.folder / RUNS)
                if table in job.tables and done:
                    rows = read_table(folder / f"{table}.csv")
                    measured |= dict.fromkeys(rows.columns)
                    frame = _plainly(job_rows(job, rows).drop(columns=_LASTS, errors="ignore"), {*rows.columns})
                    frame.insert(0, "study", stage.study)
                    frames.append(frame.assign(folder=job.folder))
        frame = stacked(frames) if frames else pd.DataFrame()
        values = [name for name in measured if name in frame and name not in _PLACES]
        return frame[[*(name for name in frame.columns if name not in values), *values]]

    def _observations(self) -> pd.DataFrame:
        frame = read_observations(self.folder / "observations.csv")
        findings = self.ledger.findings if self.ledger else ()
        units = {(each.id, quantity.name): quantity.unit for each in findings for quantity in each.quantities}
        axes = pd.DataFrame([dict(cell) for cell in frame["cell"]], index=frame.index)
        named = frame.assign(
            cell=[label(cell) for cell in frame["cell"]],
            unit=[units.get(key, "") for key in zip(frame["claim"], frame["quantity"], strict=True)],
        )
        papers = {each.id: each.paper for each in findings}
        named.insert(0, "study", [papers.get(claim, "") for claim in frame["claim"]])
        own = axes.rename(columns={name: f"{name}_axis" for name in axes.columns if name in named})
        return pd.concat([named[["study", "claim", "quantity", "unit", "seed"]], own, named[["cell", "value"]]], axis=1)


_LASTS = ["last_phase", "last_epoch"]

_PLACES = ("task", "seed", "arm", "phase", "epoch")
"""Columns of jobs' tables that say where a row is, and are no measurement."""


def _plainly(frame: pd.DataFrame, own: set[str]) -> pd.DataFrame:
    """A job's rows where a measurement has its name to itself: an axis of the same name gets `_axis` behind it.

    own: the columns of the job's file. Of an axis that both an arm and its phases have, the phase's stays.
    """
    both = [name.removesuffix("_now") for name in frame.columns if name.endswith("_now")]
    frame = frame.rename(columns={name: f"{name}_axis" for name in both} | {f"{name}_now": name for name in both})
    merged = [name for name in frame.columns if name.endswith("_y") and name not in own]
    twice = [name.removesuffix("_y") for name in merged if f"{name.removesuffix('_y')}_x" in frame]
    frame = frame.drop(columns=[f"{name}_x" for name in twice])
    return frame.rename(columns={f"{name}_y": name for name in twice})
