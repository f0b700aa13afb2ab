"""Randomness as a pure function: every random draw comes from a generator named by what it is for.

A run that is killed and resumed, or moved to another device, draws the same numbers, because no draw depends on
how many draws came before it.
"""

import hashlib

import torch


def derive_seed(*names: object) -> int:
    """A seed in [0, 2**63) that depends on all of `names` and on nothing else (SHA-256 of their representations)."""
    digest = hashlib.sha256("\x1f".join(map(repr, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*names: object) -> torch.Generator:
    """A fresh CPU generator seeded by `names`. CPU on every machine, so that a GPU run sees the same order of data."""
    return torch.Generator("cpu").manual_seed(derive_seed(*names))
