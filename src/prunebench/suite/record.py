"""claims.json as a model: what `ledger` writes, and what the page and the terminal may rely on."""

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from prunebench.claims.claim import Paper, Verdict
from prunebench.config.parsing import Strict, parse
from prunebench.errors import InputError


class _Record(Strict):
    """Passes over keys that it does not know, so that a file of a later version can be read; misses none of its own."""

    model_config = ConfigDict(extra="ignore")


class Headline(_Record):
    """The effect that stands for a claim; raw numbers, None where there is none."""

    quantity: str
    meaning: str
    cell: str
    unit: str
    confidence: float
    n: int
    mean: float | None
    low: float | None
    high: float | None
    lowest: float
    highest: float


class Cell(_Record):
    """One cell's effect."""

    cell: str
    n: int
    missing: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    bca_low: float | None
    bca_high: float | None
    p: float | None
    p_holm: float | None


class Pooled(_Record):
    """The mean over cells."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    iqm: float | None
    bca_low: float | None
    bca_high: float | None
    random_mean: float | None
    random_low: float | None
    random_high: float | None
    i2: float | None


class Margin(_Record):
    """A value that a plot marks."""

    label: str
    value: float


class Effects(_Record):
    """A quantity with its effects."""

    name: str
    meaning: str
    unit: str
    decides: bool
    confidence: float
    margins: list[Margin]
    pooled: Pooled | None
    cells: list[Cell]


class Conditions(_Record):
    """What a rule asks, and whether it holds."""

    reproduced: dict[str, bool]
    refuted: dict[str, bool]


class Finding(_Record):
    """A claim with its verdict."""

    id: str
    paper: Paper
    sentence: str
    mark: str
    rule: str
    published: str
    verdict: Verdict
    why: str
    scale: str
    seeds_needed: int | None
    seeds_note: str
    conditions: Conditions
    headline: Headline | None
    replicates: str
    quantities: list[Effects]
    notes: list[str]
    tables: list[str]
    figures: list[str]


class Ledger(_Record):
    """The whole file."""

    preset: str
    scale: str
    seeds: list[int]
    missing: list[str]
    counts: dict[Verdict, int]
    findings: list[Finding]


def read_ledger(results: Path) -> dict[str, Any]:
    """claims.json of a folder of results; raises InputError where it is missing or not what `ledger` writes."""
    path = results / "claims.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `snakemake claims` makes it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    return parse(Ledger, content, str(path)).model_dump()
