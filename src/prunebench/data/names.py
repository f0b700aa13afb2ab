"""The sources of data by name, with what a preset must know of them; without torch or NumPy."""

from dataclasses import dataclass

from prunebench.errors import InputError


@dataclass(frozen=True)
class Source:
    """Facts of a source: channels and side in pixels of its images, and how many classes it has."""

    channels: int
    side: int
    classes: int

    def check(self, network: object) -> None:
        """InputError where a network cannot take the source's images: torchvision's need three channels."""
        if type(network).__name__.startswith("Torchvision") and self.channels != 3:
            raise InputError("torchvision's networks need colour images, these are grey")


SOURCES = {"digits": Source(1, 8, 10), "fashion_mnist": Source(1, 28, 10)}
"""Name -> facts. What reads it is in `prunebench.data.sources`."""
