"""Data sets of image files: ImageNet-1k, ImageNet-200 (Tiny-ImageNet), and a user's folder of images by class."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np

from prunebench.data.raw import Files, Folder, Part, Raw
from prunebench.data.sources import PUBLISHED
from prunebench.errors import InputError

_TINY = "tiny-imagenet-200"
_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_imagenet200(checksum: str | None, raw_folder: Path | None) -> Raw:
    """ImageNet-200 from `raw_folder`: a folder or zip archive of Tiny-ImageNet, or its files themselves.

    Classes are numbered in the order of their WordNet ids. checksum: "published", None or a SHA-256, as `ImageNet200`
    says. Raises InputError, naming the file, where one is missing, damaged or not what it should be.
    """
    folder = _tiny(raw_folder)
    ids = sorted(_lines(folder, "wnids.txt"))
    number = {wnid: place for place, wnid in enumerate(ids)}
    if len(number) != 200 or len(ids) != 200:
        raise InputError(f"{folder.path}: wnids.txt lists {len(number)} classes, expected 200")
    train = [name for name in folder.names if name.startswith("train/") and name.endswith(".JPEG")]
    test = _annotated(folder, number)
    classes_of = {name: name.split("/")[1] for name in train}
    if stray := next((name for name, wnid in classes_of.items() if wnid not in number), None):
        raise InputError(f"{folder.path}: {stray} is of no class of wnids.txt")
    _check_counts(folder, checksum, {"train": (classes_of, 500), "val": (test, 50)}, ids)
    parts = [
        Part(Files(list(of), folder), np.array([number[wnid] for wnid in of.values()], dtype=np.int64))
        for of in (classes_of, test)
    ]
    checksums = _pinned(folder, checksum)
    return Raw("imagenet200", parts[0], parts[1], 200, str(folder.path), checksums, verified=bool(checksums))


def _tiny(raw_folder: Path | None) -> Folder:
    """The folder or archive of Tiny-ImageNet."""
    if raw_folder is None:
        raise InputError(f"imagenet200: name with raw_data the folder that holds {_TINY}/ or {_TINY}.zip")
    base = Path(raw_folder)
    for place in (base / _TINY, base, base / f"{_TINY}.zip"):
        if (place / "wnids.txt").is_file() or (place.suffix == ".zip" and place.is_file()):
            return Folder(place, f"{_TINY}/")
    raise InputError(f"{base} has neither {_TINY}/wnids.txt nor {_TINY}.zip")


def _annotated(folder: Folder, classes: Container[str]) -> dict[str, str]:
    """File -> class of the images of val/, as their list says; InputError where list and files do not fit."""
    where, found = f"{folder.path}: val/val_annotations.txt", dict[str, str]()
    images = {name for name in folder.names if name.startswith("val/images/")}
    for number, line in enumerate(_lines(folder, "val/val_annotations.txt"), 1):
        name, wnid = (*line.split("\t"), "")[:2]
        file = f"val/images/{name}"
        if wnid not in classes:
            raise InputError(f"{where}, line {number}: '{wnid:.40}' is no class of wnids.txt")
        if file not in images or file in found:
            raise InputError(f"{where}, line {number}: '{name:.80}' {'comes twice' if file in found else 'is absent'}")
        found[file] = wnid
    if unlabelled := sorted(images - found.keys()):
        raise InputError(f"{where} has no line for {unlabelled[0]}")
    return found


def _lines(folder: Folder, name: str) -> list[str]:
    """The lines of a small text file, without empty ones."""
    return [line for line in folder.read(name).decode("utf-8", "replace").splitlines() if line.strip()]


def _check_counts(
    folder: Folder, checksum: str | None, parts: Mapping[str, tuple[Mapping[str, str], int]], ids: Sequence[str]
) -> None:
    """InputError where a class has another number of images than published and the content is to be the published."""
    for part, (classes_of, wanted) in parts.items():
        if not classes_of:
            raise InputError(f"{folder.path}: no image in {part}/")
        counts = Counter(classes_of.values())
        other = next((wnid for wnid in ids if counts[wnid] != wanted), None)
        if checksum == PUBLISHED and other is not None:
            raise InputError(
                f"{folder.path}: {counts[other]} images of class {other} in {part}/, published are {wanted}; "
                "`checksum: null` of the source takes them, and the provenance says so"
            )


def _pinned(folder: Folder, checksum: str | None) -> dict[str, str]:
    """The content's digest where the user states it; InputError where it is another."""
    if checksum in (None, PUBLISHED):
        return {}
    found = folder.sha256()
    if found != checksum:
        raise InputError(f"{folder.path} has content of SHA-256 {found}, expected {checksum}")
    return {"files": found}


def read_imagenet(checksum: str | None, raw_folder: Path | None) -> Raw:
    """ImageNet-1k from `raw_folder`, or from the folder `imagenet` within it: `train/<class>/*`, `val/<class>/*`.

    Classes are numbered in the order of their WordNet ids. checksum: "published" insists on 1,000 classes, 1,281,167
    and 50,000 images; None takes what is there.
    """
    if raw_folder is None:
        raise InputError("imagenet: name with raw_data the folder that holds train/<class>/ and val/<class>/")
    inner = Path(raw_folder) / "imagenet"
    base = inner if (inner / "train").is_dir() else Path(raw_folder)
    if not (base / "train").is_dir():
        raise InputError(f"{raw_folder} has neither imagenet/train/ nor train/")
    folder = Folder(base)
    raw = _by_class(folder, "imagenet", 1000, 3, ("train", "val"))
    counts = (len(raw.train), len(raw.test) if raw.test else 0)
    if checksum == PUBLISHED and (counts != (1_281_167, 50_000) or len(_classes(folder, "train")) != 1000):
        raise InputError(
            f"{folder.path} holds {counts[0]} images in train/ and {counts[1]} in val/ of "
            f"{len(_classes(folder, 'train'))} classes, published are 1281167, 50000 and 1000; "
            "`checksum: null` of the source takes them, and the provenance says so"
        )
    return raw


def read_folder(path: Path, classes: int, channels: int, checksum: str | None) -> Raw:
    """A user's images by class, as `prunebench.data.sources.ImageFolder` says."""
    if not path.is_dir():
        raise InputError(f"no folder {path}")
    folder = Folder(path)
    raw = _by_class(folder, "folder", classes, channels, ("train", "test"))
    if len(found := _classes(folder, "train") or _classes(folder, "")) != classes:
        raise InputError(f"{path} has {len(found)} folders of classes, expected {classes}: {', '.join(found[:5])}, ...")
    checksums = _pinned(folder, checksum)
    return Raw(raw.name, raw.train, raw.test, classes, raw.origin, checksums, verified=bool(checksums))


def _classes(folder: Folder, part: str) -> list[str]:
    """Names of the folders of classes below a part."""
    prefix = f"{part}/" if part else ""
    inner = (name.removeprefix(prefix) for name in folder.names if name.startswith(prefix))
    return sorted({name.split("/")[0] for name in inner if "/" in name and name.lower().endswith(_SUFFIXES)})


def _by_class(folder: Folder, name: str, classes: int, channels: int, parts: tuple[str, str]) -> Raw:
    """The images of `<part>/<class>/...`; of `<class>/...` where there is no folder of the first part."""
    train = parts[0] if _classes(folder, parts[0]) else ""
    ids = _classes(folder, train)
    if not ids:
        raise InputError(f"{folder.path} holds no image in {parts[0]}/<class>/ or <class>/")
    if len(ids) > classes:
        raise InputError(f"{folder.path} has {len(ids)} folders of classes, expected {classes}")
    number = {wnid: place for place, wnid in enumerate(ids)}
    read: dict[str, Part] = {}
    for part in dict.fromkeys((train, parts[1] if train else "")):
        prefix = f"{part}/" if part else ""
        files = [n for n in folder.names if n.startswith(prefix) and n.lower().endswith(_SUFFIXES)]
        of = {file: file.removeprefix(prefix).split("/")[0] for file in files}
        if stray := next((file for file, wnid in of.items() if wnid not in number), None):
            raise InputError(f"{folder.path}: {stray} is in no folder of a class of {train or '.'}/")
        if files:
            labels = np.array([number[wnid] for wnid in of.values()], dtype=np.int64)
            read[part] = Part(Files(files, folder, channels), labels)
    return Raw(name, read[train], read.get(parts[1]) if train else None, classes, f"folder {folder.path}")
