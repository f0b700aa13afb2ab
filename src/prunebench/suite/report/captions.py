"""What every figure and table shows, in words: text for the report page, for LaTeX and for `snakemake --report`.

`figures/<name>.rst` and `tables/<name>.rst` begin with a comment of the title (a figure's also with one of its
alternative text); what follows is the caption, in paragraphs without markup. Captions say what is shown and what its
intervals are, never how it turned out: the same text stands beside every preset's numbers.
"""

from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["figure", "table"]

_FOLDER = Path(__file__).parent

_CATEGORIES = {
    "s_cyc": "S-Cyc (arXiv 2110.08764)",
    "cascade": "Cascade weight shedding (arXiv 2103.10629)",
    "directional": "Directional pruning (arXiv 2006.09358)",
}


def path(kind: Kind, name: str) -> Path:
    """The caption's reST file, for Snakemake; raises KeyError where there is none."""
    found = _FOLDER / f"{kind}s" / f"{name}.rst"
    if name not in names(kind):
        raise KeyError(f"no caption for {kind} '{name}': {found} is missing")
    return found


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """Everything that has a caption, sorted."""
    return tuple(sorted(file.stem for file in (_FOLDER / f"{kind}s").glob("*.rst")))


def caption(kind: Kind, name: str) -> str:
    """Plain text; paragraphs are separated by an empty line. Raises KeyError where there is none."""
    return "\n\n".join(_flat(block) for block in _blocks(kind, name) if not block.startswith(".. "))


def title(kind: Kind, name: str) -> str:
    """What it shows, in a few words without a full stop."""
    return _comment(kind, name, "title")


def alt(name: str) -> str:
    """A figure's alternative text: what kind of picture it is, in a sentence or two."""
    return _comment("figure", name, "alt")


def category(name: str) -> str:
    """The paper that a figure or table is of, or `Claims and runs`; Snakemake's report groups by it."""
    studies = (paper for study, paper in _CATEGORIES.items() if name.startswith(f"{study}_"))
    return next(studies, "Claims and runs")


def labels(kind: Kind, name: str) -> dict[str, str]:
    """What Snakemake's report lists it by; the same keys for all."""
    return {"shows": title(kind, name), "kind": kind}


@cache
def _blocks(kind: Kind, name: str) -> tuple[str, ...]:
    """The file's paragraphs and comments."""
    text = path(kind, name).read_text(encoding="utf-8")
    return tuple(text.strip().replace("\n.. ", "\n\n.. ").split("\n\n"))


def _comment(kind: Kind, name: str, key: str) -> str:
    begin = f".. {key}: "
    found = next(block for block in _blocks(kind, name) if block.startswith(begin))
    return _flat(found.removeprefix(begin))


def _flat(text: str) -> str:
    return " ".join(text.split())
