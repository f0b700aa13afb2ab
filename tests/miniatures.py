"""Miniatures of data sets in the layouts of their publishers, and what a reader must find in them.

Each maker writes into a folder and returns a `Miniature`. Tests get the module by the fixture `miniatures`.
"""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Images = list[np.ndarray[Any, Any]]
"""Each uint8 (H, W, C), in the order that a reader gives them."""


@dataclass
class Miniature:
    """A data set that was written: how a preset names it, and what must be read from it.

    source: an entry of `datasets`. raw: the folder of raw data. tolerance: grey levels by which a pixel may differ, 0
    where the files are lossless. size: what `prepare` needs where the images differ in size.
    """

    source: dict[str, Any]
    raw: Path | None
    train: tuple[Images, list[int]]
    test: tuple[Images, list[int]] | None
    tolerance: int = 0
    size: int | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def labels(self) -> list[int]:
        """Of both parts."""
        return self.train[1] + (self.test[1] if self.test else [])

    @property
    def label_of(self) -> dict[bytes, int]:
        """Pixels, channel-first -> label."""
        images = self.train[0] + (self.test[0] if self.test else [])
        return {image.transpose(2, 0, 1).tobytes(): y for image, y in zip(images, self.labels, strict=True)}

    @property
    def dataset(self) -> dict[str, Any]:
        """An entry of a preset's `datasets` that takes all of it."""
        train = len(self.train[1])
        held = 2 if self.test else 4
        return {"source": self.source, "size": self.size, "train": train - held, "validation": 2}


def pictures(count: int, seed: int, sizes: list[tuple[int, int]], channels: int = 3) -> Images:
    """Smooth images that differ in colour: JPEG keeps them within a few grey levels."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        low, high = rng.uniform(20, 235, (2, channels))
        across = np.linspace(0, 1, width)[None, :, None] * np.linspace(1, 0.5, height)[:, None, None]
        images.append(np.rint(low + (high - low) * across).astype(np.uint8))
    return images


def noise(count: int, seed: int, side: int, channels: int = 3) -> Images:
    """Images that no lossy file could hold."""
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8))


def encoded(image: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    """An image file of Pillow's `kind`."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, kind, **options)
    return file.getvalue()


def write(path: Path, content: bytes) -> Path:
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def flip(path: Path, place: int) -> None:
    """Another bit in a byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def rezip(path: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Writes a zip archive anew, each file as `change` gives it from name and content; None leaves it out."""
    file = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return write(path, file.getvalue())


# --- CIFAR


def python2(value: Any) -> bytes:
    """A value as Python 2 pickled it in protocol 2: byte strings, and NumPy's module names of then."""
    if isinstance(value, bytes):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(part) for item in value.items() for part in item) + b"u"
    shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + python2(b"b") + b"tR"
    facts = b"(K\x03" + python2(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    dtype = b"cnumpy\ndtype\n(" + python2(b"u1") + b"K\x00K\x01tR" + facts
    return made + b"(K\x01" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"


def pickled(batch: dict[bytes, Any], protocol: int | None) -> bytes:
    """A batch as Python 2 wrote it (None), or as Python 3 does in a protocol."""
    if protocol is None:
        return b"\x80\x02" + python2(batch) + b"."
    return pickle.dumps({key.decode(): value for key, value in batch.items()}, protocol=protocol)


def cifar_batch(edition: Any, images: Images, labels: list[int]) -> dict[bytes, Any]:
    """The dictionary that a file of CIFAR holds."""
    pixels = np.stack(images).transpose(0, 3, 1, 2).reshape(len(images), -1)
    batch = {b"batch_label": b"a batch", edition.labels: labels, b"data": pixels}
    batch[b"filenames"] = [b"image_%d.png" % number for number in range(len(images))]
    return batch | ({b"coarse_labels": [0] * len(images)} if edition.labels != b"labels" else {})


def cifar(folder: Path, classes: int = 10, layout: str = "folder", protocol: int | None = None) -> Miniature:
    """CIFAR-10 or -100 of a few images. layout: the publisher's folder, its files alone, or its archive."""
    from prunebench.data.cifar import EDITIONS

    edition, parts, contents = EDITIONS[classes], {}, {}
    for seed, (part, names) in enumerate(edition.files.items()):
        images = noise(4 * len(names) + 6, seed, 32)
        labels = np.random.default_rng(seed).integers(0, classes, len(images)).tolist()
        parts[part] = images, labels
        cuts = [0, *range(10, len(images), 4), len(images)] if len(names) > 1 else [0, len(images)]
        for name, (start, end) in zip(names, pairwise(cuts), strict=True):
            contents[name] = pickled(cifar_batch(edition, images[start:end], labels[start:end]), protocol)
    raw = folder / "raw"
    if layout == "archive":
        files = [write(raw / edition.archive, tar_gz({f"{edition.folder}/{n}": c for n, c in contents.items()}))]
    else:
        place = raw / edition.folder if layout == "folder" else raw
        files = [write(place / name, content) for name, content in contents.items()]
    source = {"kind": f"cifar{classes}", "checksum": None}
    return Miniature(source, raw, parts["train"], parts["test"], files=files)


def tar_gz(contents: dict[str, bytes]) -> bytes:
    """An archive of files by name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(file.getvalue())


# --- ImageNet


def tiny_imagenet(folder: Path, layout: str = "folder", each: int = 1) -> Miniature:
    """Tiny-ImageNet with `each` training images of its 200 classes, and one test image of each."""
    ids = [f"n{number:08d}" for number in range(9_000_000, 9_000_000 + 200 * 7, 7)]
    images = pictures(200 * each + 200, 0, [(64, 64)])
    train, test = images[: 200 * each], images[200 * each :]
    contents = {
        "wnids.txt": "".join(f"{wnid}\n" for wnid in reversed(ids)).encode(),
        "words.txt": "".join(f"{wnid}\ta word, another\n" for wnid in ids).encode(),
    }
    boxes = dict.fromkeys(ids, "")
    for number, image in enumerate(train):
        wnid = ids[number // each]
        contents[f"train/{wnid}/images/{wnid}_{number % each}.JPEG"] = encoded(image, "JPEG", quality=95)
        boxes[wnid] += f"{wnid}_{number % each}.JPEG\t0\t10\t63\t58\n"
    contents |= {f"train/{wnid}/{wnid}_boxes.txt": lines.encode() for wnid, lines in boxes.items()}
    # Classes in another order than that of the files.
    labels = [(37 * number) % 200 for number in range(200)]
    contents["val/val_annotations.txt"] = "".join(
        f"val_{number}.JPEG\t{ids[label]}\t0\t32\t44\t62\n" for number, label in enumerate(labels)
    ).encode()
    for number, image in enumerate(test):
        contents[f"val/images/val_{number}.JPEG"] = encoded(image, "JPEG", quality=95)
    contents["test/images/test_0.JPEG"] = encoded(train[0], "JPEG")
    raw = folder / "raw"
    if layout == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(f"tiny-imagenet-200/{name}", content)
        files = [write(raw / "tiny-imagenet-200.zip", file.getvalue())]
    else:
        files = [write(raw / "tiny-imagenet-200" / name, content) for name, content in contents.items()]
    source = {"kind": "imagenet200", "checksum": None}
    return Miniature(
        source, raw, (train, [number // each for number in range(len(train))]), (test, labels), 12, files=files
    )


SIZES = [(60, 80), (90, 64), (64, 64), (128, 70)]
"""Height and width of images that differ in size."""


def imagenet(folder: Path, each: int = 4) -> Miniature:
    """ImageNet-1k's folders with three classes; one image is grey, one in CMYK, as some of the published ones are."""
    ids, parts, files = ["n01440764", "n01443537", "n15075141"], {}, []
    for seed, part in enumerate(("train", "val")):
        images = pictures(3 * each, 10 + seed, SIZES)
        labels = [number // each for number in range(len(images))]
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            if number == 1:  # grey in the file, three equal channels when it is read
                images[number] = np.repeat(image[..., :1], 3, axis=2)
                content = encoded(images[number][..., :1], "JPEG", quality=95)
            elif number == 2:
                content = io.BytesIO()
                Image.fromarray(image).convert("CMYK").save(content, "JPEG", quality=95)
                content = content.getvalue()
            else:
                content = encoded(image, "JPEG", quality=95)
            name = f"{ids[label]}_{number:03d}.JPEG" if part == "train" else f"ILSVRC2012_val_{number:08d}.JPEG"
            files.append(write(folder / "raw" / part / ids[label] / name, content))
        parts[part] = images, labels
    source = {"kind": "imagenet", "checksum": None}
    return Miniature(source, folder / "raw", parts["train"], parts["val"], 16, 56, files)


# --- A user's own


def own_folder(folder: Path, flat: bool = False, channels: int = 3, kind: str = "PNG") -> Miniature:
    """Own images by class: with a part of its own to test on, or `flat`."""
    names, files, parts = ["cat", "dog", "eel"], [], {}
    for seed, part in enumerate(("",) if flat else ("train", "test")):
        images, labels = pictures(12, 20 + seed, SIZES, channels), [number // 4 for number in range(12)]
        for number in reversed(range(12)):
            path = folder / "own" / part / names[labels[number]] / f"{number:03d}.{kind.lower()}"
            files.append(write(path, encoded(images[number], kind)))
        parts[part or "train"] = images, labels
    write(folder / "own" / "notes.txt", b"no image")
    source = {"kind": "folder", "path": str(folder / "own"), "classes": 3, "channels": channels}
    return Miniature(source, None, parts["train"], parts.get("test"), size=32, files=files)


def npz(folder: Path, channels: int = 3, test: bool = True) -> Miniature:
    """Own arrays."""
    arrays, parts = {}, {}
    for seed, part in enumerate(("train", "test") if test else ("train",)):
        images = noise(12 - 2 * seed, 30 + seed, 16, channels)
        labels = np.random.default_rng(seed).integers(0, 5, len(images)).tolist()
        parts[part] = images, labels
        arrays[f"{part}_images"] = np.stack(images)[..., 0] if channels == 1 else np.stack(images)
        arrays[f"{part}_labels"] = np.array(labels, dtype=np.uint8 if seed else np.int32)
    path = folder / "own.npz"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    source = {"kind": "npz", "path": str(path), "classes": 5, "channels": channels, "side": 16}
    return Miniature(source, None, parts["train"], parts.get("test"), files=[path])


MAKERS: dict[str, Callable[[Path], Miniature]] = {
    **{f"cifar10 {layout}": lambda f, at=layout: cifar(f, layout=at) for layout in ("folder", "files", "archive")},
    **{f"cifar10 protocol {p}": lambda f, p=p: cifar(f, protocol=p) for p in (2, 4, 5)},
    **{f"cifar100 {layout}": lambda f, at=layout: cifar(f, 100, at) for layout in ("folder", "files", "archive")},
    "cifar100 protocol 4": lambda folder: cifar(folder, 100, protocol=4),
    "imagenet200 folder": tiny_imagenet,
    "imagenet200 zip": lambda folder: tiny_imagenet(folder, "zip"),
    "imagenet": imagenet,
    "folder": own_folder,
    "folder flat": lambda folder: own_folder(folder, flat=True),
    "folder grey": lambda folder: own_folder(folder, channels=1),
    "npz": npz,
    "npz grey": lambda folder: npz(folder, channels=1),
    "npz without a test part": lambda folder: npz(folder, test=False),
}
"""Every layout of every source that reads files, by name; Fashion-MNIST's are in its own tests."""


def make(name: str, folder: Path) -> Miniature:
    """The miniature of that name, written into `folder`."""
    return MAKERS[name](folder)
