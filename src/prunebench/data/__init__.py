"""Data: raw source -> one prepared file per data set -> batches and augmentation on the device."""

from prunebench.data.sources import SOURCES, Source, register_source

__all__ = ["SOURCES", "Source", "register_source"]
