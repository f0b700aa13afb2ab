"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): four IDX files, each checked before it is parsed."""

import gzip
import hashlib
import os
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prunebench.data import fetch
from prunebench.data.fetch import one_line
from prunebench.data.raw import Arrays, Part, Raw
from prunebench.errors import InputError
from prunebench.files import temporary_folder, write_text


@dataclass(frozen=True)
class IdxFile:
    """What one raw file must be: bytes and SHA-256 of its decompressed content."""

    size: int
    sha256: str


# Checksums of the decompressed content, because Debian compresses the files anew.
FASHION_FILES = {
    "train-images-idx3-ubyte": IdxFile(47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": IdxFile(60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": IdxFile(7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": IdxFile(10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
_COMMAND_SECONDS = 120.0


def read_fashion_mnist(raw_folder: Path | None, cache: Path) -> Raw:
    """60,000 training and 10,000 test images of 28x28.

    Where `raw_folder` is given, they are there or in its folder `fashion-mnist`, or it is an error. Otherwise the
    first that answers: an earlier download in `cache`, Debian's package where installed, torchvision's mirror,
    `apt-get download` (without root). Downloads are kept in `cache`/fashion-mnist.

    Raises InputError for a missing, truncated or corrupt file, or when no source answers.
    """
    if raw_folder is not None:
        inner = Path(raw_folder) / "fashion-mnist"
        named = inner if inner.is_dir() else Path(raw_folder)
        return _parse_fashion(_read_folder(named), f"folder {named}")
    folder = Path(cache).absolute() / "fashion-mnist"
    ways: list[tuple[str, Callable[[], tuple[dict[str, bytes], str]]]] = [
        (f"earlier download in {folder}", lambda: (_read_folder(folder), _noted_origin(folder))),
        (
            f"apt-get install {PACKAGE}",
            lambda: (_read_folder(SYSTEM_FOLDER), f"package {PACKAGE} in {SYSTEM_FOLDER}"),
        ),
        ("torchvision's mirror", lambda: _download(folder, _from_mirror)),
        (f"apt-get download {PACKAGE}", lambda: _download(folder, _from_apt)),
    ]
    failures = ["a folder you name with raw_data: none named"]
    for way, read in ways:
        try:
            contents, origin = read()
        except (OSError, HTTPException, ImportError, RuntimeError, InputError) as error:
            failures.append(f"{way}: {one_line(error)}")
        else:
            return _parse_fashion(contents, origin)
    raise InputError(
        f"found no source of fashion_mnist ({'; '.join(failures)}); any one of these ways is enough, "
        "and `make smoke` needs none: it runs on the bundled digits"
    )


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The checked content of each of FASHION_FILES in `folder`, by name without .gz. Raises InputError."""
    if not os.path.isdir(folder):
        raise InputError(f"no folder {folder}")
    found: dict[str, Path] = {}
    for name in FASHION_FILES:
        # os.path.isfile, unlike Path.is_file, takes a folder that may not be entered as one without the file.
        candidates = [path for path in (folder / name, folder / f"{name}.gz") if os.path.isfile(path)]
        if not candidates:
            raise InputError(f"{folder} has no file {name}[.gz]; expected {', '.join(FASHION_FILES)}")
        found[name] = candidates[0]
    return {name: _read_checked(path, FASHION_FILES[name]) for name, path in found.items()}


def _read_checked(path: Path, expected: IdxFile) -> bytes:
    content = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            # One byte too many tells a file that is too long, however much it would decompress to.
            while block := file.read(min(1 << 20, expected.size + 1 - len(content))):
                content += block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is corrupt: {one_line(error)} after {len(content)} decompressed bytes, expected {expected.size}"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) != expected.size:
        amount = f"more than {expected.size}" if len(content) > expected.size else str(len(content))
        raise InputError(f"{path} is corrupt: holds {amount} decompressed bytes, expected {expected.size}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        raise InputError(f"{path} is corrupt: its content has SHA-256 {digest}, expected {expected.sha256}")
    return bytes(content)


def _parse_fashion(contents: dict[str, bytes], origin: str) -> Raw:
    arrays = {name: _parse_idx(name, content) for name, content in contents.items()}
    train, test = (
        Part(Arrays(arrays[f"{part}-images-idx3-ubyte"][:, None]), arrays[f"{part}-labels-idx1-ubyte"].astype(np.int64))
        for part in ("train", "t10k")
    )
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return Raw("fashion_mnist", train, test, 10, origin, checksums, verified=True)


def _parse_idx(name: str, content: bytes) -> NDArray[np.uint8]:
    """An IDX file of bytes: 0, 0, 8, number of axes, each axis as a big-endian uint32, then the data."""
    axes = 3 if "idx3" in name else 1
    start = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) - start != int(np.prod(shape, dtype=object)):
        raise InputError(f"{name} is not an IDX file of {axes} axes of bytes: header {content[:start].hex()}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _noted_origin(folder: Path) -> str:
    """Where an earlier download came from, so that its manifest is the same as the first time."""
    try:
        return " ".join((folder / "origin.txt").read_text(errors="replace")[:200].split()) or str(folder)
    except OSError:
        return str(folder)


def _download(folder: Path, fetch: Callable[[Path], tuple[Path, str]]) -> tuple[dict[str, bytes], str]:
    """Fetch into a temporary folder beside `folder`, check, and only then move the files into `folder`."""
    with temporary_folder(folder) as temporary:
        fetched, origin = fetch(temporary)
        contents = _read_folder(fetched)
        folder.mkdir(exist_ok=True)
        write_text(folder / "origin.txt", origin + "\n")
        for name in FASHION_FILES:
            for file in (name, f"{name}.gz"):
                if (fetched / file).is_file():
                    os.replace(fetched / file, folder / file)
                else:
                    (folder / file).unlink(missing_ok=True)
    return contents, origin


def _from_mirror(temporary: Path) -> tuple[Path, str]:
    from torchvision.datasets import FashionMNIST

    failure: Exception = InputError("torchvision names no mirror")
    for mirror in FashionMNIST.mirrors:
        try:
            deadline = time.monotonic() + fetch.DOWNLOAD_SECONDS
            for file, _ in FashionMNIST.resources:
                expected = FASHION_FILES[file.removesuffix(".gz")]
                fetch.fetch_url(f"{mirror}{file}", temporary / file, expected.size + (1 << 16), deadline)
            return temporary, mirror
        except (OSError, HTTPException, InputError) as error:
            failure = error
    raise failure


def _from_apt(temporary: Path) -> tuple[Path, str]:
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise InputError(f"there is no {program} here")
    lists = temporary / "lists"
    (lists / "partial").mkdir(parents=True)
    # Private package lists and no package caches: the system's own can be written by root alone.
    options = [f"Dir::State::Lists={lists}", "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache="]
    options += [
        "Acquire::Retries=0",
        *(f"Acquire::{kind}::Timeout={fetch.CONNECT_SECONDS:.0f}" for kind in ("http", "https")),
    ]
    apt = ["apt-get", "-q", *(part for option in options for part in ("-o", option))]
    _command([*apt, "update"], temporary)
    _command([*apt, "download", PACKAGE], temporary)
    archives = sorted(temporary.glob(f"{PACKAGE}_*.deb"))
    if not archives:
        raise InputError("apt-get download left no package")
    _command(["dpkg", "-x", str(archives[0]), str(temporary / "package")], temporary)
    folder = temporary / "package" / SYSTEM_FOLDER.relative_to("/")
    return folder, f"package {archives[0].stem} (apt-get download)"


def _command(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{command[0]} took more than {_COMMAND_SECONDS:.0f} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise InputError(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")
