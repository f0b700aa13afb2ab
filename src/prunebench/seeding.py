"""Randomness as a pure function: every random draw comes from a generator named by what it is for.

A run that is killed and resumed, or moved to another device, draws the same numbers, because no draw depends on
how many draws came before it. Seeds alone need no torch, which takes seconds to import.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*names: object) -> int:
    """A seed in [0, 2**63) that depends on all of `names` and on nothing else (SHA-256 of their representations)."""
    digest = hashlib.sha256("\x1f".join(map(repr, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*names: object) -> "torch.Generator":
    """A fresh CPU generator seeded by `names`. CPU on every machine, so that a GPU run sees the same order of data."""
    import torch

    return torch.Generator("cpu").manual_seed(derive_seed(*names))


@contextmanager
def global_draws(device: "torch.device", *names: object) -> Iterator[Callable[[int], None]]:
    """Inside, what a network draws from torch's global generators depends on `names` and on its update's number alone.

    Dropout and stochastic depth draw there without being asked. Gives the function to call with the number before each
    forward pass; it seeds the generators of the CPU and of `device`. Afterwards these are as they were before.

    >>> import torch
    >>> from prunebench.seeding import global_draws
    >>> with global_draws(torch.device("cpu"), "seed", 0) as begin:
    ...     begin(3)
    ...     first = torch.rand(1)
    ...     begin(3)
    ...     torch.equal(first, torch.rand(1))
    True
    """
    import torch

    cuda = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []

    def begin(number: int) -> None:
        seed = derive_seed(*names, number)
        # Not torch.manual_seed: without a GPU it takes 100 us, since it notes the call for one that may come.
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)

    with torch.random.fork_rng(cuda):
        yield begin
