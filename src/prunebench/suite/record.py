"""claims.json as a model: what `ledger` writes, and what every reader of the file may rely on.

Files of other versions are read as far as they go: unknown keys are passed over, a missing one that not every version
wrote gets its default. Older files know a cell by its label alone.
"""

from collections import Counter
from pathlib import Path

from pydantic import ConfigDict, computed_field, field_validator

from prunebench.errors import InputError
from prunebench.parsing import Strict, parse
from prunebench.suite import tasks
from prunebench.suite.cells import Value
from prunebench.suite.claim import FIRM, TOO_FEW, Verdict
from prunebench.suite.inputs import read_json
from prunebench.suite.places import results_folder

Number = float | None
"""A raw number, such as a share or the logarithm of a ratio; None where it could not be computed."""


class _Record(Strict):
    model_config = ConfigDict(extra="ignore")


class Estimate(_Record):
    """A mean over `n` values with its 95 % t interval."""

    n: int = 0
    mean: Number
    low: Number = None
    high: Number = None


class Headline(Estimate):
    """The effect that stands for a claim."""

    quantity: str
    meaning: str = ""
    cell: str
    """The label of its cell, or `mean over n cells`."""
    unit: str
    confidence: float = 0.95
    lowest: Number = None
    """The least mean of a cell."""
    highest: Number = None
    """The largest mean of a cell."""


class Cell(Estimate):
    """One cell's effect."""

    cell: str
    """Its label."""
    axes: dict[str, Value] = {}
    missing: int = 0
    """Seeds without a value."""
    std: Number = None
    bca_low: Number = None
    bca_high: Number = None
    p: Number = None
    p_holm: Number = None


class Pooled(Estimate):
    """The mean over cells."""

    iqm: Number = None
    bca_low: Number = None
    bca_high: Number = None
    random_mean: Number = None
    random_low: Number = None
    random_high: Number = None
    i2: Number = None


class Margin(_Record):
    """A value that a plot marks."""

    label: str
    value: float


class Effects(_Record):
    """A quantity with its effects."""

    name: str
    meaning: str = ""
    unit: str = ""
    decides: bool = True
    confidence: float = 0.95
    margins: list[Margin] = []
    pooled: Pooled | None = None
    cells: list[Cell]


class Conditions(_Record):
    """What a rule asks, and whether it holds."""

    reproduced: dict[str, bool] = {}
    refuted: dict[str, bool] = {}


class Longer(tasks.Longer):
    """What a task's network reaches when it trains longer, as the preset states it."""

    model_config = _Record.model_config


class Network(_Record):
    """What a task's network reaches without pruning: its mean test accuracy, under its best recipe by validation."""

    task: str
    accuracy: Number
    n: int
    """Seeds."""
    longer: Longer | None = None


class Finding(_Record):
    """A claim with its verdict, and how sure it is."""

    id: str
    paper: str
    sentence: str
    mark: str = ""
    rule: str = ""
    published: str = ""
    verdict: Verdict
    found: str = ""
    """What the verdict alone does not say: the direction that the paper does not give, or that a control stands against
    it."""
    why: str = ""
    repeated: int = 0
    """How many seeds it rests on, or what `replicates` says."""
    stability: Number = None
    """How likely a repeat with as many other seeds gives the same verdict."""
    opposite: Number = None
    """How likely that gives the opposite verdict; None where it is inconclusive."""
    power: Number = None
    """How likely so many seeds find the claimed effect if it is there, with the observed spread."""
    power_seeds: int | None = None
    """The least number of seeds that find it with 80 %; None where 100 do not, or `power` is not known."""
    networks: list[Network] = []
    """Those that its cells are about."""
    scale: str = ""
    seeds_needed: int | None = None
    seeds_note: str = ""
    conditions: Conditions = Conditions()
    headline: Headline | None
    replicates: str = "seeds"
    quantities: list[Effects]
    notes: list[str] = []
    tables: list[str] = []
    figures: list[str] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def shown(self) -> str:
        """The verdict in the words that readers see: how firm it is, what effect was found, or that nothing can be."""
        if self.verdict == "inconclusive" and not self.found and self.power is not None and self.power < TOO_FEW:
            return f"cannot be decided with {self.repeated} {self.replicates}"
        decided = self.verdict in ("reproduced", "not reproduced")
        narrow = decided and self.stability is not None and self.stability < FIRM
        return f"{self.verdict}{', narrowly' if narrow else ''}{f' ({self.found})' if self.found else ''}"


class Ledger(_Record):
    """The whole file."""

    preset: str
    scale: str
    seeds: list[int]
    missing: list[str] = []
    counts: dict[Verdict, int] = {}
    findings: list[Finding]

    @field_validator("findings")
    @classmethod
    def _has_each_claim_once(cls, findings: list[Finding]) -> list[Finding]:
        for name, times in Counter(finding.id for finding in findings).items():
            if times > 1:
                raise InputError(f"claim {name} is there twice")
        return findings


def read_ledger(results: Path) -> Ledger:
    """claims.json of a folder of results; raises InputError where folder or file is missing, or it is no ledger."""
    path = (results if results.is_dir() else results_folder(results)) / "claims.json"
    return parse(Ledger, read_json(path, "; `snakemake claims` makes it"), str(path))
