"""Shards: JPEG images one after another in large files, which worker processes decode while a network trains.

For data sets that memory does not hold. JPEG at the size that training needs, and not pixels: benchmarks/streaming.py.
Every image carries a CRC-32, so that a damaged one is named and never trained on.
"""

import io
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunebench.data.raw import Images, Part, decode
from prunebench.errors import InputError
from prunebench.files import atomic_output
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

PLACE = ("shard", "offset", "length", "crc32")
"""Where an image lies: int64 (N, 4)."""

_CHUNK = 256


# --- Writing


def write_shards(
    folder: Path,
    chosen: Mapping[str, tuple[Part, NDArray[np.int64]]],
    size: int,
    add: Callable[[str, list[NDArray[Any]]], None],
) -> dict[str, object]:
    """Writes the shards of all splits into `folder`; gives the facts that `Stream` needs.

    chosen: split -> part and places in it. size: of the images that a network sees; stored is size / CENTRE. add:
    called with `<split>_place` and int64 (N, 4), the columns of PLACE. Same images, same bytes, on any number of cores.
    """
    side, files = round(size / CENTRE), list[str]()
    for split, (part, indices) in chosen.items():
        places: list[tuple[int, int, int, int]] = []
        records = _encoded(part.images, indices, side)
        record = next(records, None)
        while record is not None:
            files.append(f"{split}-{len(files):05d}.bin")
            with atomic_output(folder / files[-1]) as file:
                while record is not None and file.tell() + len(record) <= max(SHARD_BYTES, len(record)):
                    places.append((len(files) - 1, file.tell(), len(record), zlib.crc32(record)))
                    file.write(record)
                    record = next(records, None)
        add(f"{split}_place", [np.array(places, dtype=np.int64)])
    return {"shards": {"size": size, "side": side, "files": {name: (folder / name).stat().st_size for name in files}}}


def _encoded(images: Images, indices: NDArray[np.int64], side: int) -> Iterator[bytes]:
    """The images as JPEG files of `side` pixels on the shorter side, encoded by all cores in the order of `indices`."""
    parts = (indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for encoded in pool.map(_encode, ((images.take(part), side) for part in parts)):
            yield from encoded


def _encode(chunk: tuple[Images, int]) -> list[bytes]:
    from PIL import Image

    images, side = chunk
    encoded = []
    for (pixels,) in images.blocks(np.arange(len(images))):
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        short = min(image.size)
        wanted = (image.width * side // short, image.height * side // short)
        file = io.BytesIO()
        image.resize(wanted, Image.Resampling.BILINEAR).save(file, "JPEG", quality=QUALITY)
        encoded.append(file.getvalue())
    return encoded


# --- Reading


@dataclass(frozen=True, eq=False)
class Stream:
    """Images in shards, and their labels, int64 (N,), on one device.

    place: int64 (N, 4), the columns of PLACE. size: of the images that a network sees, in pixels. workers: processes
    that decode; 0 decodes in this one. Their number changes no byte.
    """

    folder: Path
    files: tuple[str, ...]
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
        shard, offset, length, crc = (int(value) for value in self.place[index])
        path = self.folder / self.files[shard]
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                content = file.read(length)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        if zlib.crc32(content) != crc:
            raise InputError(f"{path} is damaged at byte {offset}: prepare the data set again")
        return decode(content, 3, str(path))


def open_stream(
    path: Path, facts: Mapping[str, Any], place: Tensor, labels: Tensor, device: torch.device, workers: int
) -> Stream:
    """The stream of a split of the prepared file `path`; InputError where a shard is missing or has another size."""
    folder = path.with_suffix(".shards")
    files = {str(name): int(size) for name, size in facts["files"].items()}
    for name, size in files.items():
        file = folder / Path(name).name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            raise InputError(f"{file} has {found} bytes, expected {size}: prepare the data set again")
    if place.dtype != torch.int64 or place.ndim != 2 or place.shape[1] != len(PLACE) or len(place) != len(labels):
        raise ValueError("places of images do not fit their labels")
    names = tuple(Path(name).name for name in files)
    if len(place) and not 0 <= int(place[:, 0].min()) <= int(place[:, 0].max()) < len(names):
        raise ValueError("places of images name shards that are not there")
    return Stream(folder, names, place.numpy(), labels.to(device), int(facts["size"]), workers)


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
    """Batches uint8 (B, 3, size, size) in order, on the CPU, decoded ahead by the stream's workers."""
    from torch.utils.data import DataLoader

    pin = stream.device.type == "cuda"
    # A batch per request, in the order of requests: which worker decodes it changes nothing.
    decoder: Any = _Decoder(stream, requests)  # a sequence is enough of a data set
    loader: DataLoader[Tensor] = DataLoader(decoder, batch_size=None, num_workers=stream.workers, pin_memory=pin)
    return iter(loader)


@dataclass(frozen=True, eq=False)
class _Decoder:
    stream: Stream
    requests: Sequence[Request]

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, number: int) -> Tensor:
        from PIL import Image

        request, size = self.requests[number], self.stream.size
        batch = np.empty((len(request.indices), size, size, 3), dtype=np.uint8)
        draws = request.crops() if request.crops else None
        for row, index in enumerate(request.indices):
            image = self.stream.image(int(index))
            if draws is None:
                top, left, height, width = centre_box(image.height, image.width)
            else:
                box = crop_boxes(draws[row : row + 1], image.height, image.width, request.smallest)
                top, left, height, width = (int(value) for value in box[0])
            cut = (left, top, left + width, top + height)
            batch[row] = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=cut))
            if request.flip is not None and request.flip[row]:
                batch[row] = batch[row, :, ::-1]
        return torch.from_numpy(batch).permute(0, 3, 1, 2)


# --- Crops


CROP_DRAWS = 22
"""Uniform numbers that `crop_boxes` takes for an image: ten tries of area and shape, and a place."""

_RATIOS = (math.log(3 / 4), math.log(4 / 3))


def centre_box(height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height, width of the square at the centre of CENTRE of the shorter side."""
    side = round(min(height, width) * CENTRE)
    return (height - side) // 2, (width - side) // 2, side, side


def crop_boxes(draws: Tensor, height: int, width: int, smallest: float) -> Tensor:
    """Random boxes of an area from `smallest` to 1 of an image's and of a width from 3/4 to 4/3 of their height.

    draws: uniform in [0, 1), float64 (B, CROP_DRAWS). Gives top, left, height and width, int64 (B, 4). The rule is
    Szegedy et al.'s (2015, "Going deeper with convolutions", 6), as in torchvision's RandomResizedCrop: of ten tries
    the first that fits; else the largest box of an allowed shape, at the centre.
    """
    area = height * width * (smallest + (1 - smallest) * draws[:, 0:10])
    ratio = (_RATIOS[0] + (_RATIOS[1] - _RATIOS[0]) * draws[:, 10:20]).exp()
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    low, high = math.exp(_RATIOS[0]), math.exp(_RATIOS[1])
    shape = min(max(width / height, low), high)
    largest = (min(height, round(width / shape)), min(width, round(height * shape)))
    found = fits.any(1)
    h = torch.where(found, heights.gather(1, first)[:, 0], torch.tensor(float(largest[0]), dtype=draws.dtype))
    w = torch.where(found, widths.gather(1, first)[:, 0], torch.tensor(float(largest[1]), dtype=draws.dtype))
    top = torch.where(found, (draws[:, 20] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (draws[:, 21] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return torch.stack([top, left, h, w], dim=1).to(torch.int64)


def crop_draws(count: int, *names: object) -> Tensor:
    """The uniform numbers of a batch of crops, float64 (count, CROP_DRAWS): a function of `names` alone."""
    return torch.rand(count, CROP_DRAWS, dtype=torch.float64, generator=generator(*names, "resized crop"))
