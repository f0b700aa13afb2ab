"""What a paper hands to the suite: declarations. One folder per paper holds all of them (docs/architecture.md).

Importing a paper's package imports no torch and no pandas: what computes is named by a reference, `module:function`,
that is resolved when it is called. A leading dot means a module of the paper's own package.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunebench.errors import InputError
from prunebench.parsing import Strict
from prunebench.runs.spec import Spec

if TYPE_CHECKING:
    from prunebench.suite.claim import Claim
    from prunebench.suite.plan import DenseNetworks, DenseWish
    from prunebench.suite.preset import Preset

Ref = str | Callable[..., Any]
"""A function, or a reference to one: `module:function`, `.module:function` in the paper's own package."""


def resolve(ref: Ref, package: str) -> Any:
    """What a reference names."""
    if not isinstance(ref, str):
        return ref
    module, _, name = ref.partition(":")
    return getattr(import_module(module, package), name)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    unit: points, share, ratio, nats, ...; `name` for text, empty for plain numbers; `seeds` for how many of the n.

    Its look in LaTeX follows from the unit (`report/latex.py`), except for: header, without the unit, by default the
    name. form: a number's Python format, such as `.2f`; with `%`, shares become percent or points. null: an interval
    that excludes this value is marked, NaN: none is. absent: stands where there is no value. per: divides the numbers.
    """

    name: str
    meaning: str
    unit: str = ""
    header: str = ""
    form: str = ""
    null: float | None = None
    absent: str = "n/a"
    per: float = 1


@dataclass(frozen=True)
class Table:
    """A table, declared once: what it holds, how it is made, how it looks in LaTeX. Its caption is a file beside.

    make: (what the paper's `read` gave) -> rows or a DataFrame; none where the preset leaves its part out. latex: the
    columns that readers see, in order, or (DataFrame) -> what they see, cells in LaTeX; None: tidy data behind figures,
    as CSV alone. best: the highest test accuracy of the rows that agree in these columns is bold; by default the one
    that the column `best` marks. notes: what marks mean, in LaTeX. scale: replaces the preset's label where no preset
    scales the table down.
    """

    name: str
    columns: tuple[Column, ...]
    make: Ref
    latex: tuple[str, ...] | Ref | None = None
    notes: tuple[str, ...] = ()
    scale: str | None = None
    best: tuple[str, ...] = ()

    @classmethod
    def of(cls, paper: str, name: str, *columns: Column, **more: Any) -> "Table":
        """A table that the function of its name in the paper's `measures` makes."""
        return cls(f"{paper}_{name}", columns, f".measures:{name}", **more)

    @property
    def files(self) -> tuple[str, ...]:
        """File names: CSV, and LaTeX for readers."""
        return (f"{self.name}.csv", *([f"{self.name}.tex"] if self.latex else []))


@dataclass(frozen=True)
class Figure:
    """A figure.

    title: stands in it where it is not run. needs: the tables whose rows it needs; reads: further ones that it looks
    at. make: (`Drawn`) -> matplotlib Figure.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    make: Ref
    reads: tuple[str, ...] = ()

    @classmethod
    def of(cls, paper: str, name: str, title: str, needs: tuple[str, ...], module: str) -> "Figure":
        """A figure that the function of its name in a module of the paper's `figures` makes of the paper's tables."""
        tables = tuple(f"{paper}_{table}" for table in needs)
        return cls(f"{paper}_{name}", title, tables, f".figures.{module}:{name}")

    @property
    def files(self) -> tuple[str, ...]:
        """File names."""
        return f"{self.name}.svg", f"{self.name}.png"


@dataclass(frozen=True)
class Stage:
    """Jobs of one kind: a rule of the workflow, named verb_noun.

    folder: what the jobs' folders begin with. run: (Job, out) for jobs on a task's data, (spec, runs, out) for others.
    title: what the job's message begins with. part: the key of the study's configuration that it belongs to, for a
    stage of no seed, which a ledger can do without. optional: a ledger waits for it no more than for a missing seed.
    device: whether its jobs use a GPU where there is one. alone: whether nothing else may run beside one of its jobs,
    which take times.
    """

    name: str
    folder: str
    jobs: tuple[Spec, ...]
    title: str
    run: Ref = "prunebench.runs.engine:train"
    priority: int = 0
    local: bool = False
    part: str = ""
    optional: bool = False
    device: bool = True
    alone: bool = False

    def __post_init__(self) -> None:
        files = self.jobs[0].files if self.jobs else ()
        for job in self.jobs:
            if not job.folder.startswith(f"{self.folder}/"):
                raise ValueError(f"stage {self.name}: job {job.folder} is not below {self.folder}")
            if job.files != files:
                raise ValueError(f"stage {self.name}: {job.folder} leaves other files than {self.jobs[0].folder}")

    @property
    def study(self) -> str:
        """The paper's key, or `dense` for the networks that all studies share."""
        return self.folder.partition("/")[0]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that each job leaves."""
        return self.jobs[0].files

    @cached_property
    def by_run(self) -> Mapping[str, Spec]:
        """The jobs by what their folders add to the stage's."""
        return {job.folder.removeprefix(f"{self.folder}/"): job for job in self.jobs}


@dataclass(frozen=True)
class Paper:
    """A paper whose claims are tested.

    key: its name in presets, paths and file names. config: the model of its part of a preset; `config.check(preset)`
    raises InputError where names or numbers do not hold together. margins: the model of its part of `claims`. dense:
    (config, preset) -> the dense networks that its jobs start from. plan: (config, preset, dense networks) -> stages.
    read: (`Study`) -> what tables, claims and notes are made of. unpruned: (`Study`) -> the ends of networks that are
    not pruned, rows with task, seed, validation_accuracy, test_accuracy and, of several recipes, schedule. claims: a
    reference to a tuple of `Claim`. asks: the claims about a method that another could replace, and the kind of method:
    schedule, criterion or update. A preset is checked by these, since claims themselves import pandas.
    """

    key: str
    title: str
    short: str
    reference: str
    arxiv: tuple[tuple[str, str], ...]
    package: str
    config: type[Strict]
    margins: type[Strict]
    plan: "Callable[[Any, Preset, DenseNetworks], Sequence[Stage]]"
    read: Ref
    claims_ref: Ref
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    unpruned: Ref = "prunebench.suite.study:dense_ends"
    asks: Mapping[str, str] = field(default_factory=dict)
    dense: "Callable[[Any, Preset], Iterable[DenseWish]]" = field(default=lambda config, preset: ())
    origin: str = ""

    @property
    def folder(self) -> Path:
        """The folder of its package."""
        return Path(inspect.getfile(import_module(self.package))).parent

    @property
    def deviations(self) -> list[str]:
        """How the study departs from the paper, a sentence or two each: the lines of its deviations.txt."""
        file = self.folder / "deviations.txt"
        return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []

    def resolve(self, ref: Ref) -> Any:
        """What a reference of its declarations names."""
        return resolve(ref, self.package)

    @cached_property
    def claims(self) -> "tuple[Claim, ...]":
        """Its claims, in the order of the ledger."""
        declared = self.resolve(self.claims_ref)
        return tuple(replace(claim, paper=self.key, asks=self.asks.get(claim.id, "")) for claim in declared)

    def table(self, name: str) -> Table:
        """The table of that name; InputError where there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise InputError(f"{self.key} has no table '{name}'")
