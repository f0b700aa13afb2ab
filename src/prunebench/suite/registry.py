"""The papers: those of the package, of installed packages, and of folders that a preset names; and claims that a user
adds to them. Imports no torch and no pandas."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from prunebench.errors import InputError
from prunebench.runs.plugins import installed, load_file
from prunebench.suite.paper import Paper

if TYPE_CHECKING:
    from prunebench.suite.claim import Claim

Claims = Callable[[], "Iterable[Claim]"]

BUILT_IN = ("prunebench.papers.s_cyc", "prunebench.papers.cascade", "prunebench.papers.directional")
"""Packages of papers, each with a `PAPER`, in the order of the ledger."""


@cache
def papers(extra: tuple[str, ...] = ()) -> dict[str, Paper]:
    """All papers by key, in the order of the ledger; `extra` are folders (or files) of papers from outside.

    Raises InputError for a folder without a PAPER and for a key that comes twice.
    """
    by_key: dict[str, Paper] = {}
    packages = [module for module in installed().values() if hasattr(module, "PAPER")]
    for module in [*map(import_module, BUILT_IN), *packages, *map(load_file, extra)]:
        paper = getattr(module, "PAPER", None)
        if not isinstance(paper, Paper):
            raise InputError(f"{module.__file__}: defines no PAPER, a prunebench.suite.paper.Paper")
        if paper.key in by_key:
            raise InputError(f"{module.__file__}: the key '{paper.key}' belongs to another paper")
        by_key[paper.key] = paper
    return by_key


_ADDED: dict[str, list[Claims]] = {}


def register_claims(paper: str) -> Callable[[Claims], Claims]:
    """Decorator of a function without arguments that gives claims, judged beside those of the paper with this key.

    It is called when claims are judged, so that what it imports (pandas) is not loaded before.
    """

    def add(claims: Claims) -> Claims:
        _ADDED.setdefault(paper, []).append(claims)
        return claims

    return add


def claims_of(paper: Paper) -> "tuple[Claim, ...]":
    """The claims of a paper, and those that users have added to it."""
    added = [claim for claims in _ADDED.get(paper.key, ()) for claim in claims()]
    return (*paper.claims, *(replace(claim, paper=paper.key) for claim in added))
