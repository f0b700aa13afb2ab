"""Shards: JPEG images one after another in large files, which worker processes decode while a network trains.

For data sets that memory does not hold. JPEG at the size that training needs, and not pixels: benchmarks/streaming.py.
Every image carries a CRC-32, so that a damaged one is named and never trained on.
"""

import io
import math
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunebench.data.raw import MOST_BYTES, Images, Part, decode
from prunebench.errors import InputError
from prunebench.files import atomic_output, temporary_folder
from prunebench.seeding import generator

if TYPE_CHECKING:
    from PIL.Image import Image

SHARD_BYTES = 1 << 30
"""A shard is closed at this size: ImageNet-1k becomes about 100 files."""

CENTRE = 0.875
"""Images are stored so large, and evaluated at the centre of this share of the shorter side: 224 of 256 pixels, as
torchvision's weights are."""

QUALITY = 95
"""Of the JPEG files, on Pillow's scale [ours]: beyond it files grow and pixels hardly change."""

PLACE = ("shard", "offset", "length", "crc32", "height", "width")
"""Where an image lies, and its size: int64 (N, 6)."""

LARGEST_SIZE = 1024
"""Of the images that a network sees, in pixels."""

_CHUNK = 256


# --- Writing


@contextmanager
def shard_folder(out: Path) -> Iterator[Path]:
    """A new folder that becomes the one of the prepared file `out` when the block ends, and vanishes if it raises.

    Raises InputError where the system refuses.
    """
    folder = folder_of(out)
    try:
        with temporary_folder(folder) as temporary:
            yield temporary
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def folder_of(path: Path) -> Path:
    """The folder of the shards of a prepared file."""
    return Path(path).with_suffix(".shards")


def write_shards(
    folder: Path,
    chosen: Mapping[str, tuple[Part, NDArray[np.int64]]],
    size: int,
    add: Callable[[str, list[NDArray[Any]]], None],
) -> dict[str, object]:
    """Writes the shards of all splits into `folder`; gives the facts that `Stream` needs.

    chosen: split -> part and places in it. size: of the images that a network sees; stored is size / CENTRE. add:
    called with `<split>_place` and int64 (N, 6), the columns of PLACE. Same images, same bytes, on any number of cores.
    """
    side, files = round(size / CENTRE), list[str]()
    for split, (part, indices) in chosen.items():
        places: list[tuple[int, ...]] = []
        records = _encoded(part.images, indices, side)
        record = next(records, None)
        while record is not None:
            files.append(f"{split}-{len(files):05d}.bin")
            with atomic_output(folder / files[-1]) as file:
                while record is not None and file.tell() + len(record.content) <= max(SHARD_BYTES, len(record.content)):
                    places.append((len(files) - 1, file.tell(), *record.columns))
                    file.write(record.content)
                    record = next(records, None)
        add(f"{split}_place", [np.array(places, dtype=np.int64)])
    return {"shards": {"size": size, "side": side, "files": [[name, (folder / name).stat().st_size] for name in files]}}


@dataclass(frozen=True)
class _Record:
    """An image as it is stored."""

    content: bytes
    height: int
    width: int

    @property
    def columns(self) -> tuple[int, ...]:
        """Those of PLACE from the third on."""
        return len(self.content), zlib.crc32(self.content), self.height, self.width


def _encoded(images: Images, indices: NDArray[np.int64], side: int) -> Iterator[_Record]:
    """The images as JPEG files of `side` pixels on the shorter side, encoded by all cores in the order of `indices`."""
    cores = len(os.sched_getaffinity(0))
    # No more than two chunks for each core: a slow disk must not fill the memory with what waits to be written.
    waiting: deque[Future[list[_Record]]] = deque()
    with ProcessPoolExecutor(cores) as pool:
        try:
            for start in range(0, len(indices), _CHUNK):
                waiting.append(pool.submit(_encode, images.take(indices[start : start + _CHUNK]), side))
                if len(waiting) > 2 * cores:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError("a process that encodes images was ended, perhaps for want of memory") from None
        finally:
            for future in waiting:
                future.cancel()


def _encode(images: Images, side: int) -> list[_Record]:
    from PIL import Image

    records = []
    for (pixels,) in images.blocks(np.arange(len(images))):
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        short = min(image.size)
        width, height = image.width * side // short, image.height * side // short
        file = io.BytesIO()
        image.resize((width, height), Image.Resampling.BILINEAR).save(file, "JPEG", quality=QUALITY)
        records.append(_Record(file.getvalue(), height, width))
    return records


# --- Reading


@dataclass(frozen=True, eq=False)
class Stream:
    """Images in shards, and their labels, int64 (N,), on one device.

    place: int64 (N, 6), the columns of PLACE. size: of the images that a network sees, in pixels. workers: processes
    that decode; 0 decodes in this one. Their number changes no byte.
    """

    shards: "Shards"
    place: NDArray[np.int64]
    labels: Tensor
    size: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.place)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        return (3, self.size, self.size)

    @property
    def device(self) -> torch.device:
        """Of the labels, and of the batches."""
        return self.labels.device

    def first(self, count: int) -> "Stream":
        """The first `count` images."""
        return replace(self, place=self.place[:count], labels=self.labels[:count])

    def image(self, index: int) -> "Image":
        """An image as it is stored; InputError, with the file, where it is damaged."""
        shard, offset, length, crc, height, width = (int(value) for value in self.place[index])
        content = self.shards.read(shard, offset, length)
        where = f"{self.shards.paths[shard]}, byte {offset}"
        if zlib.crc32(content) != crc:
            raise InputError(f"{where}: the image is damaged; prepare the data set again")
        image = decode(content, 3, where)
        if image.size != (width, height):
            raise InputError(f"{where}: the image is {image.width} x {image.height}, expected {width} x {height}")
        return image


class Shards:
    """Shards by number, each opened once in a process: on a network's file system that takes longer than to read."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths
        self._files: dict[int, BinaryIO] = {}

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Some bytes of a shard, or fewer where it ends; InputError where it cannot be read."""
        try:
            if shard not in self._files:
                self._files[shard] = open(self.paths[shard], "rb", buffering=0)  # noqa: SIM115 - kept open
            # Not seek and read: processes that were forked share the place in a file.
            return os.pread(self._files[shard].fileno(), length, offset)
        except OSError as error:
            raise InputError(f"cannot read {self.paths[shard]}: {error.strerror or error}") from error

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which opens them anew."""
        return {"paths": self.paths, "_files": {}}


def open_stream(
    path: Path, facts: Mapping[str, Any], place: Tensor, labels: Tensor, device: torch.device, workers: int
) -> Stream:
    """The stream of a split of the prepared file `path`.

    Raises InputError where a shard is missing or has another size, nearly any error for facts of another kind.
    """
    sizes = {folder_of(path) / Path(name).name: int(size) for name, size in facts["files"]}
    for file, size in sizes.items():
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes, expected {size}"
            raise InputError(f"{file} {what}: prepare the data set again")
    if place.dtype != torch.int64 or place.shape != (len(labels), len(PLACE)):
        raise ValueError("places of images do not fit their labels")
    shard, offset, length, _, height, width = place.unbind(1)
    if not ((shard >= 0) & (shard < len(sizes))).all():
        raise ValueError("places of images name shards that are not there")
    end = torch.tensor(list(sizes.values()))[shard]
    if not ((offset >= 0) & (length > 0) & (length <= MOST_BYTES) & (offset <= end - length)).all():
        raise ValueError("places of images lie outside their shards")
    if not ((height > 0) & (width > 0)).all() or not 1 <= facts["size"] <= LARGEST_SIZE:
        raise ValueError("images have no size")
    return Stream(Shards(tuple(sizes)), place.numpy(), labels.to(device), int(facts["size"]), workers)


@dataclass(frozen=True)
class Request:
    """A batch to decode.

    indices: places of its images. crops: gives the uniform numbers of random boxes, of at least the share `smallest`;
    None: the centre. flip: which are mirrored, bool (B,).
    """

    indices: NDArray[np.int64]
    crops: Callable[[], Tensor] | None = None
    smallest: float = 1.0
    flip: NDArray[np.bool_] | None = None


def decode_batches(stream: Stream, requests: Sequence[Request]) -> Iterator[Tensor]:
    """Batches uint8 (B, 3, size, size) in order, on the CPU, decoded ahead by the stream's workers.

    Raises InputError, naming the shard, for an image that is damaged.
    """
    from torch.utils.data import DataLoader

    # A batch per request, in the order of requests: which worker decodes it changes nothing.
    decoder: Any = _Decoder(stream, requests)  # a sequence is enough of a data set
    loader: DataLoader[Tensor | InputError] = DataLoader(
        decoder,
        batch_size=None,
        num_workers=stream.workers,
        pin_memory=stream.device.type == "cuda",
        generator=torch.Generator(),  # else it would draw from the program's own
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


@dataclass(frozen=True, eq=False)
class _Decoder:
    stream: Stream
    requests: Sequence[Request]

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, number: int) -> Tensor | InputError:
        """A batch; an error as a value, because one that is raised in a worker arrives with its whole traceback."""
        try:
            return self._batch(self.requests[number])
        except InputError as error:
            return error

    def _batch(self, request: Request) -> Tensor:
        from PIL import Image

        size, place = self.stream.size, torch.from_numpy(self.stream.place[request.indices])
        boxes = _boxes(request, place[:, 4], place[:, 5]).tolist()
        batch = np.empty((len(boxes), size, size, 3), dtype=np.uint8)
        for row, (index, (top, left, height, width)) in enumerate(zip(request.indices, boxes, strict=True)):
            cut = (left, top, left + width, top + height)
            image = self.stream.image(int(index)).resize((size, size), Image.Resampling.BILINEAR, box=cut)
            flip = request.flip is not None and request.flip[row]
            batch[row] = np.asarray(image)[:, ::-1] if flip else np.asarray(image)
        return torch.from_numpy(batch).permute(0, 3, 1, 2)


def _boxes(request: Request, height: Tensor, width: Tensor) -> Tensor:
    """Top, left, height and width of each image's box, int64 (B, 4)."""
    if request.crops is None:
        return centre_boxes(height, width)
    return crop_boxes(request.crops(), height, width, request.smallest)


# --- Crops


CROP_DRAWS = 22
"""Uniform numbers that `crop_boxes` takes for an image: ten tries of area and shape, and a place."""

_RATIOS = (math.log(3 / 4), math.log(4 / 3))


def centre_boxes(height: Tensor, width: Tensor) -> Tensor:
    """Top, left, height, width of the square at the centre of CENTRE of each image's shorter side, int64 (B, 4)."""
    side = (torch.minimum(height, width).double() * CENTRE).round().to(torch.int64)
    return torch.stack([(height - side) // 2, (width - side) // 2, side, side], dim=1)


def crop_boxes(draws: Tensor, height: Tensor | int, width: Tensor | int, smallest: float) -> Tensor:
    """Random boxes of an area from `smallest` to 1 of an image's and of a width from 3/4 to 4/3 of their height.

    draws: uniform in [0, 1), float64 (B, CROP_DRAWS). height and width: of the images, in pixels, each int64 (B,), or
    one for all. Gives top, left, height and width, int64 (B, 4). The rule is Szegedy et al.'s (2015, "Going deeper with
    convolutions", 6), as in torchvision's RandomResizedCrop: of ten tries the first that fits; else the largest box of
    an allowed shape, at the centre.
    """
    full = torch.stack([torch.as_tensor(n, dtype=torch.float64).expand(len(draws)) for n in (height, width)], dim=1)
    area = full.prod(1, keepdim=True) * (smallest + (1 - smallest) * draws[:, 0:10])
    ratio = (_RATIOS[0] + (_RATIOS[1] - _RATIOS[0]) * draws[:, 10:20]).exp()
    tries = torch.stack([area / ratio, area * ratio], dim=2).sqrt().round()
    fits = ((tries >= 1) & (tries <= full[:, None])).all(2)
    tried = tries[torch.arange(len(draws)), fits.to(torch.uint8).argmax(1)]
    shape = (full[:, 1] / full[:, 0]).clamp(math.exp(_RATIOS[0]), math.exp(_RATIOS[1]))
    largest = torch.minimum(full, torch.stack([full[:, 1] / shape, full[:, 0] * shape], dim=1).round())
    found = fits.any(1, keepdim=True)
    box = torch.where(found, tried, largest)
    room = full - box
    corner = torch.where(found, draws[:, 20:22] * (room + 1), room / 2).floor()
    return torch.cat([corner, box], dim=1).to(torch.int64)


def crop_draws(count: int, *names: object) -> Tensor:
    """The uniform numbers of a batch of crops, float64 (count, CROP_DRAWS): a function of `names` alone."""
    return torch.rand(count, CROP_DRAWS, dtype=torch.float64, generator=generator(*names, "resized crop"))
