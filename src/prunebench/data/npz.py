"""Your own arrays in an .npz."""

import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunebench.data.fetch import one_line
from prunebench.data.raw import Arrays, Part, Raw, content_sha256
from prunebench.data.sources import Npz
from prunebench.errors import InputError


def read_npz(source: Npz) -> Raw:
    """The arrays of `source.path`; InputError for objects, other types, shapes, labels or content than `source`'s."""
    path = source.path
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            parts = {part: _part(archive, part, source) for part in ("train", "test") if f"{part}_images" in archive}
    except (OSError, EOFError, ValueError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as an .npz of arrays: {one_line(error)}") from None
    if "train" not in parts:
        raise InputError(f"{path} holds no train_images")
    checksums = {
        f"{part}_{what}": digest
        for part, read in parts.items()
        for what, digest in content_sha256(read.images.images, read.labels).items()  # type: ignore[attr-defined]
    }
    if source.checksum not in (None, *checksums.values()):
        raise InputError(f"{path} has training pixels of SHA-256 {checksums['train_pixels']}, not {source.checksum}")
    origin = f"file {path}"
    return Raw("npz", parts["train"], parts.get("test"), source.classes, origin, checksums, source.checksum is not None)


def _part(archive: Any, part: str, source: Npz) -> Part:
    """One part's images and labels."""
    if f"{part}_labels" not in archive:
        raise InputError(f"{source.path} holds {part}_images without {part}_labels")
    images, labels = archive[f"{part}_images"], archive[f"{part}_labels"]
    grey = images[..., None] if images.ndim == 3 else images
    wanted = (source.side, source.side, source.channels)
    if images.dtype != np.uint8 or grey.ndim != 4 or grey.shape[1:] != wanted:
        shape = wanted if source.channels > 1 else wanted[:2]
        expected = f"uint8 (N, {', '.join(map(str, shape))})"
        raise InputError(f"{source.path}: {part}_images is {images.dtype} {images.shape}, expected {expected}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(
            f"{source.path}: {part}_labels is {labels.dtype} {labels.shape}, expected integers ({len(images)},)"
        )
    pixels: NDArray[np.uint8] = np.ascontiguousarray(grey.transpose(0, 3, 1, 2))
    return Part(Arrays(pixels), labels.astype(np.int64))
