"""A data set of yours; files and folders of images need none of this (`source: {kind: folder}` or `npz`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunebench.data import Source, register_source
from prunebench.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from prunebench.data.raw import Raw


@register_source("my_idea")
@dataclass(frozen=True)
class MyIdea(Source):
    """The bundled digits, turned by quarters of a circle: put your own images here.

    quarters: 0 to 3. Every field is a key of the preset: `source: {kind: my_idea, quarters: 2}`.
    """

    channels, side, classes = 1, 8, 10

    quarters: int = 1

    def __post_init__(self) -> None:
        if self.quarters not in range(4):
            raise InputError(f"my_idea: quarters is {self.quarters}; allowed: 0 to 3")

    def read(self, raw_folder: Path | None, cache: Path) -> Raw:
        """The images, uint8 (N, channels, side, side), and labels, int64 (N,); the test images are drawn from them."""
        import numpy as np
        from sklearn.datasets import load_digits

        from prunebench.data.raw import Arrays, Part, Raw

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        turned = np.ascontiguousarray(np.rot90(pixels, self.quarters, axes=(2, 3)))
        return Raw("my_idea", Part(Arrays(turned), digits.target.astype(np.int64)), None, 10, "scikit-learn's digits")
