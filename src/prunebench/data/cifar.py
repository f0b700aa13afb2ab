"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as their publisher packs them: Python pickles, in a folder or a tar.gz."""

import gzip
import hashlib
import os
import tarfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np

from prunebench.data import fetch
from prunebench.data.fetch import one_line
from prunebench.data.pickles import unpickle
from prunebench.data.raw import Arrays, Part, Raw, content_sha256
from prunebench.data.sources import PUBLISHED
from prunebench.errors import InputError
from prunebench.files import temporary_folder

_URL = "https://www.cs.toronto.edu/~kriz/"
_PIXELS = 3 * 32 * 32
_MOST_BYTES = 1 << 28
"""Largest pickle, 256 MiB: CIFAR-100's training images are 148 MiB."""


@dataclass(frozen=True)
class Edition:
    """What an edition of CIFAR is.

    files: part -> names. counts: part -> images. content: part -> SHA-256 of pixels (channel-first) and labels, where
    known. md5: file -> MD5 as torchvision lists it (`torchvision.datasets.CIFAR10.train_list` and so on), for parts
    whose content has no known digest. labels: the key of the labels.
    """

    folder: str
    archive: str
    labels: bytes
    files: dict[str, tuple[str, ...]]
    counts: dict[str, int]
    content: dict[str, dict[str, str]]
    md5: dict[str, str]


EDITIONS = {
    10: Edition(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        labels=b"labels",
        files={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
        counts={"train": 50_000, "test": 10_000},
        content={
            "train": {
                "pixels": "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
                "labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            }
        },
        md5={"test_batch": "40351d587109b95175f43aff81a1287e"},
    ),
    100: Edition(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        labels=b"fine_labels",
        files={"train": ("train",), "test": ("test",)},
        counts={"train": 50_000, "test": 10_000},
        content={},
        md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    ),
}
"""Classes -> edition."""


def read_cifar(classes: int, checksum: str | None, raw_folder: Path | None, cache: Path) -> Raw:
    """50,000 training and 10,000 test images, uint8 (N, 3, 32, 32), in the publisher's order.

    Where `raw_folder` is given they are there, as the publisher's folder, its tar.gz, or its files, or it is an error.
    Else an earlier download in `cache`, or the publisher's server. checksum: "published" or None, as `Cifar10` says.
    Raises InputError, naming the file, for one that is missing, truncated, hostile or not the publisher's.
    """
    edition = EDITIONS[classes]
    contents, origin = _contents(edition, raw_folder, Path(cache).absolute())
    parts: dict[str, Part] = {}
    checksums: dict[str, str] = {}
    foreign: list[str] = []
    for part, names in edition.files.items():
        parts[part] = _part(edition, part, classes, checksum, contents, origin)
        found = content_sha256(parts[part].images.images, parts[part].labels)  # type: ignore[attr-defined]
        checksums |= {f"{part}_{what}": digest for what, digest in found.items()}
        known = edition.content.get(part)
        same = found == known if known else all(_md5(contents[name]) == edition.md5[name] for name in names)
        foreign += [] if same else [part]
    if foreign and checksum == PUBLISHED:
        raise InputError(
            f"{origin}: the {' and '.join(foreign)} images of CIFAR-{classes} are not the publisher's; "
            "`checksum: null` of the source takes them, and the provenance says so"
        )
    return Raw(f"cifar{classes}", parts["train"], parts["test"], classes, origin, checksums, not foreign)


def _part(
    edition: Edition, part: str, classes: int, checksum: str | None, contents: dict[str, bytes], origin: str
) -> Part:
    """One part from its pickles."""
    images, labels = [], []
    for name in edition.files[part]:
        where = f"{origin}: {name}"
        batch = unpickle(contents[name], where)
        pixels, numbers = batch.get(b"data"), batch.get(edition.labels)
        if not isinstance(pixels, np.ndarray) or not isinstance(numbers, list):
            raise InputError(f"{where} holds no images b'data' with labels {edition.labels!r}")
        if pixels.ndim != 2 or pixels.shape[1] != _PIXELS or len(numbers) != len(pixels):
            raise InputError(f"{where} holds pixels {pixels.shape} with {len(numbers)} labels, expected (N, {_PIXELS})")
        if not all(type(number) is int and 0 <= number < classes for number in numbers):
            raise InputError(f"{where} holds labels that are no integers from 0 to {classes - 1}")
        images.append(pixels.reshape(-1, 3, 32, 32))
        labels += numbers
    if checksum == PUBLISHED and len(labels) != edition.counts[part]:
        raise InputError(f"{origin} holds {len(labels)} {part} images, expected {edition.counts[part]}")
    return Part(Arrays(np.concatenate(images)), np.array(labels, dtype=np.int64))


def _md5(content: bytes) -> str:
    # Told apart from other content here, not from a forgery of it.
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


# --- Where the files are


def _contents(edition: Edition, raw_folder: Path | None, cache: Path) -> tuple[dict[str, bytes], str]:
    """The content of every file by name, and where it came from."""
    if raw_folder is not None:
        return _read(edition, Path(raw_folder))
    ways: list[tuple[str, Callable[[], tuple[dict[str, bytes], str]]]] = [
        (f"earlier download in {cache}", lambda: (_read(edition, cache)[0], f"{_URL}{edition.archive}")),
        (_URL, lambda: _download(edition, cache)),
    ]
    failures = ["a folder you name with raw_data: none named"]
    for way, read in ways:
        try:
            return read()
        except (OSError, HTTPException, InputError) as error:
            failures.append(f"{way}: {one_line(error)}")
    raise InputError(f"found no source of {edition.archive} ({'; '.join(failures)}); any one of these is enough")


def _read(edition: Edition, folder: Path) -> tuple[dict[str, bytes], str]:
    """From the publisher's folder within `folder`, from `folder` itself, or from the archive within it."""
    names = [name for part in edition.files.values() for name in part]
    for place in (folder / edition.folder, folder):
        if os.path.isfile(place / names[0]):
            return {name: _bytes(place / name) for name in names}, f"folder {place}"
    archive = folder / edition.archive
    if not os.path.isfile(archive):
        raise InputError(f"{folder} has neither {edition.folder}/{names[0]} nor {edition.archive}")
    try:
        # Nothing is unpacked: no path of the archive is ever opened, and no link followed.
        with _Gzip(archive) as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            contents = {name: _member(tar, f"{edition.folder}/{name}") for name in names}
            while plain.read(1 << 20):  # its checksum comes last
                pass
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{archive} is damaged or is not {edition.archive}: {one_line(error)}") from None
    return contents, f"archive {archive}"


class _Gzip(gzip.GzipFile):
    """A gzip file that does not grow: tarfile reads headers whole, however long they claim to be."""

    def read(self, size: int | None = -1) -> bytes:
        """Some bytes; OSError for more than a batch of images, or beyond what an archive of them holds."""
        if size is None or not 0 <= size <= _MOST_BYTES or self.tell() > 2 * _MOST_BYTES:
            raise OSError("it unpacks to more than it should")
        return super().read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As `read`: what is passed over is unpacked, too."""
        if offset > 2 * _MOST_BYTES:
            raise OSError("it unpacks to more than it should")
        return super().seek(offset, whence)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """A file of an archive; KeyError where it is absent, OSError for a link or a folder."""
    member = tar.getmember(name)
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise OSError(f"{name} is no plain file")
    return file.read()


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise OSError(f"no file of at most {_MOST_BYTES} bytes" if path.exists() else "No such file")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def _download(edition: Edition, cache: Path) -> tuple[dict[str, bytes], str]:
    """Into a temporary folder beside the cache's file; read, and only then moved there."""
    with temporary_folder(cache / edition.archive) as temporary:
        url, path = f"{_URL}{edition.archive}", temporary / edition.archive
        fetch.fetch_url(url, path, _MOST_BYTES, time.monotonic() + fetch.DOWNLOAD_SECONDS)
        contents, _ = _read(edition, temporary)
        os.replace(path, cache / edition.archive)
    return contents, url
