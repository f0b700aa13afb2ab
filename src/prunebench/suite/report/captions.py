"""What every figure and table shows, in words: text for the report page, for LaTeX and for `snakemake --report`.

A caption is a file of its paper, `captions/<kind>s/<name>.rst`; those of the suite's exhibits lie in `suite/captions`.
It begins with a comment of the title (a figure's also with one of its alternative text); what follows is the caption,
in paragraphs without markup. Captions say what is shown and what its intervals are, never how it turned out: the same
text stands beside every preset's numbers. Imports nothing heavy.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from prunebench.suite.paper import Paper

Kind = Literal["figure", "table"]

_SUITE = Path(__file__).parents[1]


def path(paper: Paper | None, kind: Kind, name: str) -> Path:
    """The caption's reST file; KeyError where there is none. `paper` is None for an exhibit of the suite."""
    place = (paper.folder if paper else _SUITE) / "captions" / f"{kind}s" / f"{name}.rst"
    if not place.is_file():
        raise KeyError(f"no caption for {kind} '{name}': {place} is missing")
    return place


def caption(paper: Paper | None, kind: Kind, name: str) -> str:
    """Plain text; paragraphs are separated by an empty line."""
    blocks = _blocks(path(paper, kind, name))
    return "\n\n".join(_flat(block) for block in blocks if not block.startswith(".. "))


def title(paper: Paper | None, kind: Kind, name: str) -> str:
    """What it shows, in a few words without a full stop."""
    return _comment(path(paper, kind, name), "title")


def alt(paper: Paper | None, name: str) -> str:
    """A figure's alternative text: what kind of picture it is, in a sentence or two."""
    return _comment(path(paper, "figure", name), "alt")


def category(paper: Paper | None) -> str:
    """What Snakemake's report groups a paper's exhibits by."""
    return f"{paper.short} ({paper.arxiv[0][0]})" if paper else "Claims and runs"


def labels(paper: Paper | None, kind: Kind, name: str) -> dict[str, str]:
    """What Snakemake's report lists it by; the same keys for all."""
    return {"shows": title(paper, kind, name), "kind": kind}


@cache
def _blocks(file: Path) -> tuple[str, ...]:
    """The file's paragraphs and comments."""
    return tuple(file.read_text(encoding="utf-8").strip().replace("\n.. ", "\n\n.. ").split("\n\n"))


def _comment(file: Path, key: str) -> str:
    begin = f".. {key}: "
    return _flat(next(block for block in _blocks(file) if block.startswith(begin)).removeprefix(begin))


def _flat(text: str) -> str:
    return " ".join(text.split())
