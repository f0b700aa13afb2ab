"""Prepared data in memory, and batches of it: order and augmentation are a pure function of (seed, epoch)."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from prunebench.data.prepare import FORMAT, METADATA_KEY
from prunebench.data.shards import Request, Stream, crop_boxes, crop_draws, decode_batches, open_stream
from prunebench.errors import InputError
from prunebench.files import sha256_of
from prunebench.seeding import generator

Batch = tuple[Tensor, Tensor]
"""Images, float32 (B, C, H, W) channels_last, normalised; labels, int64 (B,)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images, uint8 (N, C, H, W), and their labels, int64 (N,), on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Of images and labels."""
        return self.images.device

    def first(self, count: int) -> "Split":
        """The first `count` images."""
        return Split(self.images[:count], self.labels[:count])


AnySplit = Split | Stream
"""Images and labels, in memory or in shards."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared data set: in memory, or as streams from shards.

    `mean` and `std` are the training images' per channel, in units of [0, 1], or the source's own; `checksum` is the
    file's SHA-256; `verified`: whether the raw content is known to be the publisher's, or pinned by its user.
    """

    train: AnySplit
    validation: AnySplit
    test: AnySplit
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    name: str
    checksum: str
    verified: bool


@dataclass(frozen=True)
class Augment:
    """What happens to a training image before it is normalised.

    `pad`: that many black pixels on each side, then a random crop back to the image's size (0: none).
    `flip`: mirrored left to right with probability 1/2. `resized_crop`: a random box of at least this share of the
    image, resized to the image's size (`prunebench.data.shards.crop_boxes`; None: none; not with `pad`). Raises
    InputError for a negative `pad` and a share outside (0, 1].
    """

    pad: int = 0
    flip: bool = False
    resized_crop: float | None = None

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise InputError(f"pad: {self.pad} pixels, at least 0 needed")
        if self.resized_crop is not None and (self.pad or not 0 < self.resized_crop <= 1):
            raise InputError(f"resized_crop: {self.resized_crop:g}, must be in (0, 1] and without pad")


def load_prepared(
    path: Path,
    device: str | torch.device = "cpu",
    check: bool = True,
    manifest: Path | None = None,
    workers: int = 0,
) -> Prepared:
    """The prepared file at `path` on `device`: on the CPU mapped, so that processes share its memory.

    With `check`, its SHA-256 must be the one in `manifest` (default: the same name with .json). workers: processes that
    decode images which stream from shards; their number changes no byte. Raises InputError, naming the file, where
    either is missing, truncated, corrupt or not what `prepare` writes.
    """
    path, device = Path(path), torch.device(device)
    checksum = sha256_of(path)
    if check:
        manifest = path.with_suffix(".json") if manifest is None else Path(manifest)
        if checksum != (expected := _expected(manifest)):
            raise InputError(f"{path} is corrupt: SHA-256 {checksum}, {manifest.name} says {expected}")
    try:
        return _parse(path, device, workers, checksum)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises nearly anything
        raise InputError(f"{path} is not a prepared data set or is corrupt: {str(error)[:120]}") from error


def _expected(manifest: Path) -> object:
    """The checksum that a manifest states."""
    try:
        return json.loads(manifest.read_bytes())["prepared_sha256"]
    except OSError as error:
        raise InputError(f"cannot read {manifest}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{manifest} is not the manifest of a prepared data set") from error


def _parse(path: Path, device: torch.device, workers: int, checksum: str) -> Prepared:
    """What a prepared file holds; nearly any error for another file."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if facts["format"] != FORMAT:
        raise InputError(f"{path} has format {facts['format']}, expected {FORMAT}: prepare it again")
    mean, std = (tuple(float(value) for value in facts[key]) for key in ("mean", "std"))
    if len(mean) != len(std):
        raise ValueError("mean and std do not fit")
    classes = int(facts["classes"])
    splits: list[AnySplit] = []
    for split in ("train", "validation", "test"):
        labels = tensors[f"{split}_labels"]
        if labels.dtype != torch.int64 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"labels of {split} do not fit")
        if "shards" in facts:
            splits.append(open_stream(path, facts["shards"], tensors[f"{split}_place"], labels, device, workers))
        elif _is_sound(tensors[f"{split}_images"], labels, len(mean)):
            splits.append(Split(tensors[f"{split}_images"].to(device), labels.to(device)))
        else:
            raise ValueError(f"images of {split} do not fit")
    train, validation, test = splits
    return Prepared(train, validation, test, mean, std, classes, str(facts["name"]), checksum, bool(facts["verified"]))


def _is_sound(images: Tensor, labels: Tensor, channels: int) -> bool:
    return (
        images.dtype == torch.uint8
        and images.ndim == 4
        and labels.shape == images.shape[:1]
        and images.shape[1] == channels
        and images.numel() > 0
    )


def steps_per_epoch(split: AnySplit, batch_size: int) -> int:
    """How many batches `train_batches` gives: the whole ones. Raises InputError where there is none."""
    if not 1 <= batch_size <= len(split):
        raise InputError(f"batch_size: {batch_size}, allowed: 1 to {len(split)} (the training images)")
    return len(split) // batch_size


def train_batches(
    split: AnySplit,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: Augment,
    mean: Sequence[float],
    std: Sequence[float],
    part: tuple[int, int] = (0, 1),
    first: int = 0,
) -> Iterator[Batch]:
    """One epoch of shuffled, augmented, normalised batches on the split's device, from batch `first` on.

    A pure function of (seed, epoch): called again it gives the same bytes, whatever ran before. Each image
    comes at most once. The last N mod batch_size images of the order are left out: every step then weighs
    the same in an LR schedule counted in steps, and batch normalisation never sees a single image.

    part: (rank, size), for one of several processes: the images at rank, rank + size, ... of every batch.

    Raises InputError, at the call, for a batch_size outside 1..N or no multiple of the number of processes, and for an
    augmentation that the images cannot have.
    """
    steps = steps_per_epoch(split, batch_size)
    rank, size = part
    if batch_size % size:
        raise InputError(f"batch_size: {batch_size}, no multiple of the {size} processes")
    scale = _Scale(mean, std, split)
    plan = _Epoch(split, batch_size, int(seed), int(epoch), augment, slice(rank, None, size), range(first, steps))
    if isinstance(split, Stream):
        if augment.pad:
            raise InputError(f"pad: {augment.pad} pixels, but images that stream from shards have resized_crop")
        return _streamed(split, plan, scale)
    return _resized(split, plan, scale) if augment.resized_crop is not None else _shifted(split, plan, scale)


@dataclass(frozen=True, eq=False)
class _Epoch:
    """What an epoch of batches is made of. mine: this process's part of a batch. steps: the batches that are wanted."""

    split: AnySplit
    batch_size: int
    seed: int
    epoch: int
    augment: Augment
    mine: slice
    steps: range

    def of_batches(self, drawn: Tensor) -> list[Tensor]:
        """This process's part of what was drawn for each image, by batch."""
        batches = drawn[: self.steps.stop * self.batch_size].split(self.batch_size)
        return [batch[self.mine] for batch in batches[self.steps.start :]]

    def on_device(self, drawn: Tensor) -> Iterator[Tensor]:
        """The same on the device. All that is random is drawn on the CPU and moved once: a step waits for nothing."""
        return iter(self.of_batches(drawn.to(self.split.device, non_blocking=True)))

    def order(self) -> Tensor:
        """The images' places in the order of the epoch, int64 (N,)."""
        return torch.randperm(len(self.split), generator=generator(self.seed, self.epoch, "order"))

    def mirror(self) -> Tensor:
        """Which are mirrored, bool (N,)."""
        if not self.augment.flip:
            return torch.zeros(len(self.split), dtype=torch.bool)
        return torch.randint(0, 2, (len(self.split),), generator=generator(self.seed, self.epoch, "flip")) == 1

    def crops(self, step: int) -> Tensor:
        """What draws the resized crops of a batch."""
        return crop_draws(self.batch_size, self.seed, self.epoch, step)[self.mine]


def _shifted(split: Split, epoch: _Epoch, scale: "_Scale") -> Iterator[Batch]:
    """Images from memory, padded and cut back to size at a random place, and mirrored."""
    pad, augment = epoch.augment.pad, epoch.augment
    order = epoch.on_device(epoch.order())
    if pad == 0 and not augment.flip:
        for index in order:
            yield scale(split.images.index_select(0, index)), split.labels.index_select(0, index)
        return
    channels, height, width = split.shape
    # Offsets (top, left) of the crop within the padded image.
    crops = torch.randint(0, 2 * pad + 1, (len(split), 2), generator=generator(epoch.seed, epoch.epoch, "crop"))
    across = torch.arange(width)
    columns = crops[:, 1:] + torch.where(epoch.mirror()[:, None], width - 1 - across, across)
    rows = crops[:, :1] + torch.arange(height)
    padded_width = width + 2 * pad
    # Border stays black: only the inside is written again for each batch.
    count = len(range(epoch.batch_size)[epoch.mine])
    padded = split.images.new_zeros((count, height + 2 * pad, padded_width, channels))
    inside = padded[:, pad : pad + height, pad : pad + width].permute(0, 3, 1, 2)
    image = torch.arange(count, device=split.device)[:, None, None]
    for index, row, column in zip(order, epoch.on_device(rows), epoch.on_device(columns), strict=True):
        inside.copy_(split.images.index_select(0, index))
        cropped = padded[image, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)
        yield scale(cropped), split.labels.index_select(0, index)


def _resized(split: Split, epoch: _Epoch, scale: "_Scale") -> Iterator[Batch]:
    """Images from memory, of each a random box resized bilinearly to its size, and mirrored."""
    _, height, width = split.shape
    smallest = epoch.augment.resized_crop or 1.0
    mirrors = epoch.of_batches(epoch.mirror())
    for step, index, mirror in zip(epoch.steps, epoch.on_device(epoch.order()), mirrors, strict=True):
        box = crop_boxes(epoch.crops(step), height, width, smallest)
        grid = _grid(box, mirror, height, width).to(split.device, non_blocking=True)
        images = split.images.index_select(0, index).float()
        cut = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        yield scale(cut), split.labels.index_select(0, index)


def _grid(box: Tensor, mirror: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel of a resized box lies in its image, in grid_sample's units: float32 (B, height, width, 2)."""
    top, left, h, w = (column[:, None].double() for column in box.unbind(1))
    # No further than the middle of the box's outermost pixels: a pixel beside the box has no part in it.
    y = top + ((torch.arange(height) + 0.5) * h / height).clamp(0.5).minimum(h - 0.5)
    x = left + ((torch.arange(width) + 0.5) * w / width).clamp(0.5).minimum(w - 0.5)
    y, x = y * (2 / height) - 1, x * (2 / width) - 1
    x = torch.where(mirror[:, None], x.flip(1), x)
    return torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3).float()


def _streamed(stream: Stream, epoch: _Epoch, scale: "_Scale") -> Iterator[Batch]:
    """Images from shards, of each a random box or the centre resized to the stream's size, and mirrored."""
    orders, smallest = epoch.of_batches(epoch.order()), epoch.augment.resized_crop
    requests = [
        Request(order.numpy(), partial(epoch.crops, step) if smallest else None, smallest or 1.0, mirror.numpy())
        for step, order, mirror in zip(epoch.steps, orders, epoch.of_batches(epoch.mirror()), strict=True)
    ]
    for order, batch in zip(orders, decode_batches(stream, requests), strict=True):
        images = batch.to(stream.device, non_blocking=True)
        yield scale(images), stream.labels.index_select(0, order.to(stream.device))


def eval_batches(
    split: AnySplit,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The whole split in its own order, normalised, without augmentation; the last batch may be smaller.

    part: (rank, size), for one of several processes: the images at rank, rank + size, ... of every batch. Raises
    InputError, at the call, for a batch_size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size}, at least 1 needed")
    scale, (rank, size) = _Scale(mean, std, split), part
    # The last batch may have nothing for this process.
    begins = [begin for begin in range(0, len(split), batch_size) if begin + rank < len(split)]
    batches = [slice(begin + rank, min(begin + batch_size, len(split)), size) for begin in begins]
    if isinstance(split, Stream):
        everything = np.arange(len(split))
        decoded = decode_batches(split, [Request(everything[batch]) for batch in batches])
        return (
            (scale(images.to(split.device)), split.labels[batch])
            for images, batch in zip(decoded, batches, strict=True)
        )
    return ((scale(split.images[batch]), split.labels[batch]) for batch in batches)


class _Scale:
    """uint8 (B, C, H, W) -> float32 channels_last, (pixel / 255 - mean) / std; constants on the device."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], split: AnySplit) -> None:
        channels, device = split.shape[0], split.device
        if not len(mean) == len(std) == channels or not all(s > 0 and math.isfinite(s) for s in std):
            raise InputError(f"mean and std: {mean} and {std}, need {channels} values each, std above 0")
        factor, offset = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
        # float64 up to here, so that each constant is rounded once.
        self.factor, self.offset = (
            torch.tensor(v, dtype=torch.float32, device=device)[:, None, None] for v in (factor, offset)
        )

    def __call__(self, images: Tensor) -> Tensor:
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return pixels.mul_(self.factor).add_(self.offset)
