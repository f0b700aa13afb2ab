"""Your own arrays in an .npz."""

import hashlib
import zipfile
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
        with zipfile.ZipFile(path) as archive:
            parts = {
                part: _part(archive, part, source) for part in ("train", "test") if _has(archive, f"{part}_images")
            }
    except InputError:
        raise
    except Exception as error:  # a damaged array raises nearly anything
        raise InputError(f"{path} cannot be read as an .npz of arrays: {one_line(error)}") from None
    if "train" not in parts:
        raise InputError(f"{path} holds no train_images")
    checksums = {
        f"{part}_{what}": digest
        for part, read in parts.items()
        for what, digest in content_sha256(read.images.images, read.labels).items()  # type: ignore[attr-defined]
    }
    whole = hashlib.sha256("".join(f"{what} {digest}\n" for what, digest in checksums.items()).encode()).hexdigest()
    if source.checksum not in (None, whole):
        raise InputError(f"{path} has content of SHA-256 {whole}, expected {source.checksum}")
    checksums["content"] = whole
    origin = f"file {path}"
    return Raw("npz", parts["train"], parts.get("test"), source.classes, origin, checksums, source.checksum is not None)


def _has(archive: zipfile.ZipFile, name: str) -> bool:
    return f"{name}.npy" in archive.namelist()


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array of the archive; ValueError for one of objects."""
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{name} holds more than its header says")
    return array


def _part(archive: zipfile.ZipFile, part: str, source: Npz) -> Part:
    """One part's images and labels."""
    if not _has(archive, f"{part}_labels"):
        raise InputError(f"{source.path} holds {part}_images without {part}_labels")
    images, labels = _array(archive, f"{part}_images"), _array(archive, f"{part}_labels")
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
