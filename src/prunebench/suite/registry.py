"""The papers: those of the package, and those of folders that a preset names. Imports no torch and no pandas."""

from functools import cache
from importlib import import_module

from prunebench.errors import InputError
from prunebench.runs.plugins import load_file
from prunebench.suite.paper import Paper

BUILT_IN = ("prunebench.papers.s_cyc", "prunebench.papers.cascade", "prunebench.papers.directional")
"""Packages of papers, each with a `PAPER`, in the order of the ledger."""


@cache
def papers(extra: tuple[str, ...] = ()) -> dict[str, Paper]:
    """All papers by key, in the order of the ledger; `extra` are folders (or files) of papers from outside.

    Raises InputError for a folder without a PAPER and for a key that comes twice.
    """
    by_key: dict[str, Paper] = {}
    for module in [import_module(name) for name in BUILT_IN] + [load_file(path) for path in extra]:
        paper = getattr(module, "PAPER", None)
        if not isinstance(paper, Paper):
            raise InputError(f"{module.__file__}: defines no PAPER, a prunebench.suite.paper.Paper")
        if paper.key in by_key:
            raise InputError(f"{module.__file__}: the key '{paper.key}' belongs to another paper")
        by_key[paper.key] = paper
    return by_key
