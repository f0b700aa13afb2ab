"""Files that are whole or absent: each is written under a temporary name, then renamed into its place.

A temporary is locked while its writer lives, so that what a killed writer has left can be told from what another one is
writing: the kernel drops a lock with its process.

And text that comes from outside: read only where it is a file, of a bounded size, in UTF-8.
"""

import codecs
import csv
import fcntl
import glob
import hashlib
import io
import json
import os
import platform
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from prunebench.errors import InputError

RUN_RECORD = "run.sha256"
"""The checksums of all files of a job's folder."""

RESUME_FILE = ".resume.safetensors"
"""What a job keeps in its folder to go on where it was, until it is done: no declared output."""


@contextmanager
def atomic_output(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and vanishes if the block raises.

    Missing parent folders are made. A reader sees the old content or the new, never a part of it.
    Raises InputError, naming `path`, when the system refuses (full disk, no permission, path is a folder).
    """
    path = Path(path)
    temporary = temporary_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            with suppress(OSError):
                lock(file.fileno())
            remove_leftovers(path)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def temporary_of(path: Path) -> Path:
    """A new name beside `path`, hidden, under which its content is written.

    Not tempfile's: its files are readable by the owner alone, which a shared results folder must not be.
    """
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")


def lock(descriptor: int) -> None:
    """Locks an open file or folder until it is closed; BlockingIOError where another process has it locked.

    Raises another OSError where the disk has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Waits, with a line, until no other process is in such a block of the folder, which is made if it is missing.

    A file `.lock` names the process within; it is gone afterwards, and the kernel drops the lock of a killed one. Where
    the disk has no locks, none is waited for. Raises InputError where the system refuses the file.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path)
        while not _is(path, descriptor):  # the one who was waited for has removed it
            os.close(descriptor)
            descriptor = _locked(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with suppress(OSError):  # no room, which a job may not need
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock(descriptor)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors="replace")
        print(f"waiting for {holder or 'another process'}, which works in {path.parent}", flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        pass
    return descriptor


def _is(path: Path, descriptor: int) -> bool:
    """Whether a path is that of an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def remove_leftovers(path: Path) -> None:
    """Removes the temporaries of `path` whose writers were killed; nothing where the disk has no locks."""
    for left in path.parent.glob(f".{glob.escape(path.name[:100])}.{'[0-9a-f]' * 12}.tmp"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                lock(descriptor)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, hidden and locked, which vanishes when the block ends unless it has been renamed.

    Missing parent folders are made, and what killed processes have left is removed. Raises OSError.
    """
    folder = temporary_of(path)
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            lock(descriptor)
        remove_leftovers(path)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; InputError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def seal(record: Path, files: Iterable[Path]) -> None:
    """Writes the checksums of `files`, which lie beside `record`, into it, as sha256sum does: `-c` checks them."""
    write_text(record, "".join(f"{sha256_of(path)}  {path.name}\n" for path in files))


def check(path: Path) -> None:
    """Raises InputError where a record beside `path` (`*.sha256`) has another checksum of it.

    A file of which there is no record passes, and one that is not there.
    """
    for record in sorted(path.parent.glob("*.sha256")) if path.is_file() else ():
        lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        for digest in (line[:64] for line in lines if line[64:] == f"  {path.name}"):
            if digest != sha256_of(path):
                gone = path.parent if record.name == RUN_RECORD else path
                raise InputError(
                    f"{path} is damaged or was changed: its checksum is not the one in {record.name}; "
                    f"delete {gone} and run again"
                )


def read_text(path: Path, most: int) -> str:
    """The text of a file in UTF-8, without a byte order mark; of a file of more than `most` bytes nothing is kept.

    Raises InputError, naming `path`, for a file that cannot be read, is larger, or is no text in UTF-8; and for a pipe
    or a device, which might send for ever or nothing at all.
    """
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"cannot read {path}: it is a pipe or a device, no file")
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > most:
        raise InputError(f"cannot read {path}: it has more than {most:,} bytes")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is UTF-16: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 (line {line}: byte {data[error.start]:#x}): save it as UTF-8") from None


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises InputError as `atomic_output` does."""
    with atomic_output(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with the line ends it has, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, obj: object) -> None:
    """Write `obj` as indented JSON with sorted keys and a final newline: equal objects give equal bytes.

    Raises ValueError for NaN and infinity, which JSON does not have, and TypeError for other types.
    """
    write_text(path, json.dumps(obj, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    r"""Write `rows` as CSV with a header, in the order of `columns`; lines end in \n on every system.

    None and absent keys become empty cells; floats keep every digit. Raises ValueError for a key not in
    `columns`.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
