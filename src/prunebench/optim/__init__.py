"""Optimizers of papers, as torch optimizers for a loop of your own and as functions for prunebench's."""

from prunebench.optim.grda import GRDA

__all__ = ["GRDA"]
