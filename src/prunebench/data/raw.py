"""Raw data sets: labels, and images that are read in blocks, so that no data set has to fit in memory."""

import hashlib
import io
import lzma
import os
import stat
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prunebench.data.fetch import one_line
from prunebench.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Block = NDArray[np.uint8]
"""Images of one size, (n, C, H, W), 0 black to 255 white."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Formats by Pillow's names: its readers of others are little used, and files come from outside."""

MOST_BYTES = 1 << 26
"""Largest image file, 64 MiB: ImageNet's largest has 15."""

MOST_PIXELS = 1 << 26
"""Pixels of the largest image, 67 million: ImageNet's largest has 26."""

MOST_LONG = 100
"""Longer side over shorter, at most: an image of 1 x 60,000 pixels, resized, would take all memory."""

_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of 8 bits or fewer: it cuts off values of others where it should scale them."""

_BLOCK = 1024


class Images(Protocol):
    """The images of a part of a raw data set."""

    def __len__(self) -> int:
        """How many."""
        ...

    def blocks(self, indices: NDArray[np.int64]) -> Iterator[Block]:
        """The images at `indices`, in this order. Raises InputError, naming the file, for one that is damaged."""
        ...

    def take(self, indices: NDArray[np.int64]) -> "Images":
        """These images alone, for another process."""
        ...


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images in memory, uint8 (N, C, H, W)."""

    images: Block

    def __len__(self) -> int:
        return len(self.images)

    def blocks(self, indices: NDArray[np.int64]) -> Iterator[Block]:
        """The images at `indices`, some at a time."""
        for start in range(0, len(indices), _BLOCK):
            yield self.images[indices[start : start + _BLOCK]]

    def take(self, indices: NDArray[np.int64]) -> "Arrays":
        """These images alone."""
        return Arrays(self.images[indices])


class Folder:
    """The files of a folder or of a zip archive, by their path within it; nothing is unpacked."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        """`prefix`: the folder within an archive that stands for its root. InputError where it cannot be read."""
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        try:
            if path.is_dir():
                names = sorted(_files(path))
            else:
                self._zip = zipfile.ZipFile(path)
                names = sorted(name for name in self._zip.namelist() if not name.endswith("/"))
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise InputError(f"{path} cannot be read as a folder or zip archive: {one_line(error)}") from None
        self._prefix = prefix if self._zip else ""
        self.names = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]

    def read(self, name: str) -> bytes:
        """A file's content; InputError where it is absent, damaged or larger than an image can be."""
        try:
            if self._zip is None:
                file = self.path / name
                status = file.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise OSError("no plain file")
                size = status.st_size
            else:
                size = self._zip.getinfo(self._prefix + name).file_size
            if size > MOST_BYTES:
                raise InputError(f"{self.path}: {name} has {size} bytes, at most {MOST_BYTES} allowed")
            return file.read_bytes() if self._zip is None else self._zip.read(self._prefix + name)
        except (OSError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{self.path}: {name} cannot be read: {one_line(error)}") from None

    def __getstate__(self) -> dict[str, Any]:
        """For processes that read by name: without the list of names, and the archive opened anew there."""
        return {"path": self.path, "prefix": self._prefix, "is_zip": self._zip is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self._prefix, self.names = state["path"], state["prefix"], []
        self._zip = zipfile.ZipFile(self.path) if state["is_zip"] else None

    def sha256(self) -> str:
        """SHA-256 of names and content of all files, in the order of their names."""
        digest = hashlib.sha256()
        for name in sorted(self.names):
            content = self.read(name)
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


def _files(path: Path) -> Iterator[str]:
    """Every file below a folder, by its path within it; links are followed, but into no folder twice."""
    seen: set[tuple[int, int]] = set()
    for base, folders, files in os.walk(path, followlinks=True):
        within = Path(base).relative_to(path).as_posix()
        status = os.stat(base)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (file if within == "." else f"{within}/{file}" for file in files)


@dataclass(frozen=True, eq=False)
class Files:
    """Images in the files of a folder, decoded when they are read. channels: 3 converts to colour, 1 to grey."""

    names: Sequence[str]
    folder: Folder
    channels: int = 3

    def __len__(self) -> int:
        return len(self.names)

    def blocks(self, indices: NDArray[np.int64]) -> Iterator[Block]:
        """The images at `indices`, one at a time: they may differ in size."""
        for index in indices:
            name = self.names[index]
            pixels = np.asarray(decode(self.folder.read(name), self.channels, f"{self.folder.path}: {name}"))
            yield (pixels[..., None] if self.channels == 1 else pixels).transpose(2, 0, 1)[None]

    def take(self, indices: NDArray[np.int64]) -> "Files":
        """These files alone."""
        return Files([self.names[index] for index in indices], self.folder, self.channels)


def decode(content: bytes, channels: int, name: str) -> "Image":
    """An image file in colour (channels 3) or grey (1); InputError, with `name`, where it is none or is damaged."""
    from PIL import Image, UnidentifiedImageError

    wanted = "RGB" if channels == 3 else "L"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what is checked here or changes no pixel
            image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
            _check_image(image, name)
            image.load()
            return image if image.mode == wanted else image.convert(wanted)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name} is no image of a kind that is read: {', '.join(IMAGE_FORMATS)}") from None
    except Exception as error:  # a damaged image raises nearly anything
        raise InputError(f"{name} is a damaged image: {one_line(error)}") from None


def _check_image(image: "Image", name: str) -> None:
    """InputError for an image that is too large, too long, or of more than 8 bits, by what its header says."""
    short, long = sorted(image.size)
    if short * long > MOST_PIXELS or long > MOST_LONG * short:
        raise InputError(f"{name} claims {image.width} x {image.height} pixels: no size of an image of a data set")
    if image.mode not in _MODES:
        raise InputError(f"{name} has pixels of kind {image.mode}, allowed: 8 bits in each channel")


@dataclass(frozen=True, eq=False)
class Part:
    """Images and labels, int64 (N,), of a part of a raw data set."""

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Raw:
    """A data set as it was published, or as the user has it.

    test: None where it has none of its own. classes: how many; labels lie in [0, classes). origin: where it came from,
    in a line. checksums: SHA-256 of content, by what it is of. verified: whether the content is known to be the
    publisher's, or the user's by a checksum.
    """

    name: str
    train: Part
    test: Part | None
    classes: int
    origin: str
    checksums: dict[str, str] = field(default_factory=dict)
    verified: bool = False

    def __post_init__(self) -> None:
        for part in (self.train, self.test):
            if part is None:
                continue
            if len(part.images) != len(part.labels) or not len(part):
                raise InputError(f"{self.origin}: {len(part.images)} images with {len(part.labels)} labels")
            low, high = int(part.labels.min()), int(part.labels.max())
            if not 0 <= low <= high < self.classes:
                raise InputError(f"{self.origin}: labels from {low} to {high}, expected 0 to {self.classes - 1}")


def content_sha256(images: Block, labels: NDArray[np.int64]) -> dict[str, str]:
    """SHA-256 of pixels, uint8 (N, C, H, W), and of labels, uint8 where they fit, whatever container they came in."""
    pixels = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    dtype = np.uint8 if int(labels.max(initial=0)) < 256 else np.int64
    return {"pixels": pixels, "labels": hashlib.sha256(labels.astype(dtype).tobytes()).hexdigest()}


def read_digits() -> Raw:
    """The 1,797 digits of scikit-learn; InputError where it is not installed."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise InputError(f"digits: {error}; pip install 'prunebench[workflow]' brings it") from None

    bundle = load_digits()
    images, labels = bundle.images, bundle.target.astype(np.int64)
    digest = hashlib.sha256(images.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    scaled = np.rint(images * (255 / 16)).astype(np.uint8)[:, None]
    origin = f"bundled with scikit-learn {sklearn.__version__}"
    return Raw("digits", Part(Arrays(scaled), labels), None, 10, origin, {"digits": digest}, verified=True)
