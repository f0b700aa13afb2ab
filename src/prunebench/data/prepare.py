"""From a raw data set to one prepared file: resized, split, described by a manifest."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from prunebench.data import shards
from prunebench.data.raw import Block, Part, Raw
from prunebench.data.sources import Source, source_of
from prunebench.errors import InputError
from prunebench.files import atomic_output, sha256_of, write_json
from prunebench.seeding import generator

FORMAT = "prunebench-prepared-2"
METADATA_KEY = "prunebench"
_HEADER_BYTES = 1 << 16

Chosen = dict[str, tuple[Part, NDArray[np.int64]]]
"""Split -> the part of the raw data set that it is taken from, and the places of its images there."""


def prepare(
    source: str | Source,
    raw_folder: Path | None,
    cache: Path,
    *,
    size: int | None,
    train: int,
    validation: int,
    test: int | None,
    split_seed: int,
    out: Path,
    manifest: Path,
) -> None:
    """Write the prepared file `out` (safetensors) and its `manifest` (JSON).

    The same input gives the same bytes of both. `source`, `raw_folder` and `cache` are those of `Source.read`. Images
    are resized by antialiased bilinear filtering until the shorter side has `size` pixels, and cut to a square at the
    centre (None keeps them as they are, all of one size). `train`, `validation` and `test` count images; test None is
    all.

    Splits are drawn uniformly by a permutation that depends on the source's name and split_seed alone. Validation
    images come out of the training data before the training images do, so another `train` keeps the validation set,
    and a larger one contains the smaller. A data set without a test split gives its test images from the far end of
    the same permutation; there, test None is what train and validation leave.

    The file holds, for each split, `<split>_images` uint8 (N, C, H, W) and `<split>_labels` int64 (N,); for a sharded
    source, in place of images where they lie in the shards beside it (`prunebench.data.shards`). The manifest adds
    per-channel mean and std of the training images in units of [0, 1] (or the source's own), counts, checksums and
    versions. Memory stays within a block of images beyond what the source itself holds.

    Raises InputError for counts that the data set cannot fill, for a bad size, for `Source.read`'s reasons, and when a
    file cannot be written (nothing half-written stays).
    """
    for name, count in (("train", train), ("validation", validation), ("test", test)):
        if count is not None and count < 1:
            raise InputError(f"{name}: {count} images asked for, at least 1 needed")
    if size is not None and not 1 <= size <= shards.LARGEST_SIZE:
        raise InputError(f"size: {size} pixels asked for, allowed: 1 to {shards.LARGEST_SIZE}")
    source = source_of(source)
    if size is None and source.side is None:
        raise InputError("size: missing; the images of this source differ in size")
    raw = source.read(raw_folder, cache)
    chosen = _split(raw, train, validation, test, split_seed)
    facts = {"format": FORMAT, "name": raw.name, "classes": raw.classes, "split_seed": split_seed}
    about = _write(Path(out), source, chosen, size, raw, facts | {"verified": raw.verified})
    write_json(manifest, about | _description(raw, chosen))


def _write(
    out: Path, source: Source, chosen: Chosen, size: int | None, raw: Raw, facts: dict[str, object]
) -> dict[str, object]:
    """Writes the prepared file, and shards where the source has them; what the manifest says of it."""
    with ExitStack() as whole:
        folder = whole.enter_context(shards.shard_folder(out)) if source.sharded else None
        file = whole.enter_context(atomic_output(out))
        written = _Tensors(file)
        for split, (part, indices) in chosen.items():
            written.add(f"{split}_labels", [part.labels[indices]])
        if folder is not None:
            assert size is not None
            assert source.normalise is not None
            facts |= shards.write_shards(folder, chosen, size, written.add)
            mean, std = map(list, source.normalise)
        else:
            histograms = {split: _write_images(written, split, *chosen[split], size, raw) for split in chosen}
            mean, std = map(list, source.normalise or _channel_statistics(histograms["train"]))
        facts |= {"mean": mean, "std": std}
        written.finish({METADATA_KEY: json.dumps(facts, sort_keys=True)})
        file.flush()
        checksum = sha256_of(Path(file.name))
    shape = list(written.image_shape(size))
    return facts | {"prepared_file": out.name, "prepared_sha256": checksum, "image_shape": shape}


def _description(raw: Raw, chosen: Chosen) -> dict[str, object]:
    """What the manifest says beyond the prepared file's own facts."""
    counts = {
        split: np.bincount(part.labels[indices], minlength=raw.classes).tolist()
        for split, (part, indices) in chosen.items()
    }
    return {
        "origin": raw.origin,
        "raw_sha256": raw.checksums,
        "images": {split: len(indices) for split, (_, indices) in chosen.items()},
        "class_counts": counts,
        "versions": {"numpy": np.__version__, "torch": str(torch.__version__)},
    }


# --- Splits


def _split(raw: Raw, train: int, validation: int, test: int | None, split_seed: int) -> Chosen:
    available = len(raw.train)
    order = _permutation(available, "split", raw.name, split_seed)
    if raw.test is None:
        left = available - train - validation
        wanted = left if test is None else test
        if wanted < 1 or wanted > left:
            raise InputError(
                f"{raw.name} has {available} images: train {train} + validation {validation} + "
                f"test {'at least 1' if test is None else test} asked for"
            )
        test_split = raw.train, order[available - wanted :]
    else:
        if train + validation > available:
            raise InputError(
                f"{raw.name} has {available} training images: train {train} + validation {validation} asked for"
            )
        if test is not None and test > len(raw.test):
            raise InputError(f"{raw.name} has {len(raw.test)} test images: test {test} asked for")
        test_split = raw.test, _permutation(len(raw.test), "split", raw.name, split_seed, "test")[:test]
    return {
        "train": (raw.train, order[validation : validation + train]),
        "validation": (raw.train, order[:validation]),
        "test": test_split,
    }


def _permutation(count: int, *names: object) -> NDArray[np.int64]:
    permutation: NDArray[np.int64] = torch.randperm(count, generator=generator(*names)).numpy()
    return permutation


# --- Images


def _write_images(
    written: "_Tensors", split: str, part: Part, indices: NDArray[np.int64], size: int | None, raw: Raw
) -> NDArray[np.int64]:
    """Writes a split's images; gives how often each pixel value occurs in each channel, (C, 256)."""
    counts = np.zeros((1, 256), dtype=np.int64)  # grows to a row per channel

    def fitting() -> Iterator[Block]:
        nonlocal counts
        for block in part.images.blocks(indices):
            images = _fit(block, size)
            if written.shape not in (None, images.shape[1:]) or images.shape[2] != images.shape[3]:
                shapes = f"{written.shape or images.shape[1:]} and {images.shape[1:]}"
                raise InputError(f"{raw.origin} has images that differ in size or are not square: {shapes}; set `size`")
            written.shape = images.shape[1:]
            channels = images.swapaxes(0, 1)
            counts = counts + np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
            yield images

    written.add(f"{split}_images", fitting())
    return counts


def _fit(images: Block, size: int | None) -> Block:
    """Images (N, C, H, W) at (N, C, size, size), rounded to the nearest of 0..255: shorter side, then the centre."""
    height, width = images.shape[2:]
    if size is None or (height, width) == (size, size):
        return images
    short = min(height, width)
    wanted = (height * size // short, width * size // short)
    # float64, so that the order of additions on this processor does not decide a rounding.
    pixels = torch.from_numpy(images.astype(np.float64))
    pixels = F.interpolate(pixels, size=wanted, mode="bilinear", antialias=True, align_corners=False)
    top, left = (wanted[0] - size) // 2, (wanted[1] - size) // 2
    cut = pixels[:, :, top : top + size, left : left + size]
    fitted: Block = cut.round().clamp(0, 255).to(torch.uint8).numpy()
    return fitted


def _channel_statistics(histogram: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and population std per channel in units of [0, 1], from exact integer sums over (C, 256) counts."""
    pixels = np.arange(256, dtype=np.int64)
    mean, std = [], []
    for counts in histogram:
        total, first, second = (int((counts * pixels**power).sum()) for power in (0, 1, 2))
        variance = (total * second - first * first) / (total * total)
        mean.append(first / total / 255)
        # A constant channel has nothing to scale.
        std.append(variance**0.5 / 255 or 1.0)
    return mean, std


# --- The file


_DTYPES = {"int64": "I64", "uint8": "U8"}


@dataclass
class _Tensors:
    """A safetensors file that is written as its tensors come (the library's own writer wants them all in memory).

    The format, from https://github.com/huggingface/safetensors: 8 bytes with the header's length, little-endian, the
    header (JSON: name -> type, shape, place), then the tensors one after another. The header is written last, into
    room left for it, since means are known only then.
    """

    file: BinaryIO
    shape: tuple[int, ...] | None = None
    header: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file.seek(_HEADER_BYTES)

    def add(self, name: str, blocks: "Iterator[NDArray[np.generic]] | list[NDArray[np.generic]]") -> None:
        """Writes a tensor, block after block along its first axis."""
        begin, rows = self.file.tell() - _HEADER_BYTES, 0
        for block in blocks:
            self.file.write(np.ascontiguousarray(block).data)
            rows, inner, dtype = rows + len(block), list(block.shape[1:]), _DTYPES[str(block.dtype)]
        end = self.file.tell() - _HEADER_BYTES
        self.header[name] = {"dtype": dtype, "shape": [rows, *inner], "data_offsets": [begin, end]}

    def finish(self, metadata: dict[str, str]) -> None:
        """Writes the header; `metadata` holds one entry, because the library does not keep several in a fixed order."""
        header = json.dumps({"__metadata__": metadata} | self.header, separators=(",", ":"), sort_keys=True).encode()
        room = _HEADER_BYTES - 8
        assert len(header) <= room
        self.file.seek(0)
        self.file.write(room.to_bytes(8, "little") + header.ljust(room))

    def image_shape(self, size: int | None) -> tuple[int, ...]:
        """Of the images written, or of those that shards are cut to."""
        return self.shape or (3, int(size or 0), int(size or 0))
