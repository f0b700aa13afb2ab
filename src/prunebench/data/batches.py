"""Prepared data in memory, and batches of it: order and augmentation are a pure function of (seed, epoch)."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from prunebench.data.prepare import FORMAT, METADATA_KEY
from prunebench.errors import InputError
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

    def first(self, count: int) -> "Split":
        """The first `count` images."""
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared data set in memory.

    `mean` and `std` are the training images' per channel, in units of [0, 1]; `checksum` is the file's
    SHA-256.
    """

    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    name: str
    checksum: str


@dataclass(frozen=True)
class Augment:
    """What happens to a training image before it is normalised.

    `pad`: that many black pixels on each side, then a random crop back to the image's size (0: none).
    `flip`: mirrored left to right with probability 1/2. Raises InputError for a negative `pad`.
    """

    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise InputError(f"pad: {self.pad} pixels, at least 0 needed")


def load_prepared(
    path: Path, device: str | torch.device = "cpu", check: bool = True, manifest: Path | None = None
) -> Prepared:
    """The prepared file at `path`, whole, on `device`.

    With `check`, its SHA-256 must be the one in `manifest` (default: the same name with .json). Raises
    InputError, naming the file, where either is missing, truncated, corrupt or not what `prepare` writes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    content = _read(path)
    checksum = hashlib.sha256(content).hexdigest()
    if check:
        manifest = path.with_suffix(".json") if manifest is None else Path(manifest)
        try:
            expected = json.loads(_read(manifest))["prepared_sha256"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{manifest} is not the manifest of a prepared data set") from error
        if checksum != expected:
            raise InputError(f"{path} is corrupt: SHA-256 {checksum}, {manifest.name} says {expected}")
    try:
        tensors = load(content)
        facts = json.loads(_metadata(content)[METADATA_KEY])
        if facts["format"] != FORMAT:
            raise InputError(f"{path} has format {facts['format']}, expected {FORMAT}: prepare it again")
        mean, std = (tuple(float(value) for value in facts[key]) for key in ("mean", "std"))
        classes, name = int(facts["classes"]), str(facts["name"])
        splits = [Split(tensors[f"{s}_images"], tensors[f"{s}_labels"]) for s in ("train", "validation", "test")]
        if not all(_is_sound(split, len(mean), classes) for split in splits) or len(mean) != len(std):
            raise ValueError("shapes, types or labels do not fit")
    except InputError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} is not a prepared data set or is corrupt: {str(error)[:120]}") from error
    train, validation, test = (Split(s.images.to(device), s.labels.to(device)) for s in splits)
    return Prepared(train, validation, test, mean, std, classes, name, checksum)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _metadata(content: bytes) -> dict[str, str]:
    """The free entries of a safetensors header: 8 bytes of its length, little-endian, then JSON."""
    header: dict[str, dict[str, str]] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header["__metadata__"]


def _is_sound(split: Split, channels: int, classes: int) -> bool:
    images, labels = split.images, split.labels
    return (
        (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        and images.ndim == 4
        and labels.shape == images.shape[:1]
        and images.shape[1] == channels
        and images.numel() > 0
        and 0 <= int(labels.min()) <= int(labels.max()) < classes
    )


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """How many batches `train_batches` gives: the whole ones. Raises InputError where there is none."""
    if not 1 <= batch_size <= len(split):
        raise InputError(f"batch_size: {batch_size}, allowed: 1 to {len(split)} (the training images)")
    return len(split) // batch_size


def train_batches(
    split: Split,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: Augment,
    mean: Sequence[float],
    std: Sequence[float],
) -> Iterator[Batch]:
    """One epoch of shuffled, augmented, normalised batches on the split's device.

    A pure function of (seed, epoch): called again it gives the same bytes, whatever ran before. Each image
    comes at most once. The last N mod batch_size images of the order are left out: every step then weighs
    the same in an LR schedule counted in steps, and batch normalisation never sees a single image.

    Raises InputError, at the call, for a batch_size outside 1..N.
    """
    steps = steps_per_epoch(split, batch_size)
    return _train_batches(split, batch_size, steps, int(seed), int(epoch), augment, _Scale(mean, std, split))


def _train_batches(
    split: Split, batch_size: int, steps: int, seed: int, epoch: int, augment: Augment, scale: "_Scale"
) -> Iterator[Batch]:
    device = split.images.device
    count, channels, height, width = split.images.shape
    pad = augment.pad

    # Everything random is drawn on the CPU and moved once per epoch: a step then waits for nothing.
    def to_device(drawn: Tensor) -> Iterator[Tensor]:
        return iter(drawn[: steps * batch_size].to(device, non_blocking=True).split(batch_size))

    order = to_device(torch.randperm(count, generator=generator(seed, epoch, "order")))
    if pad == 0 and not augment.flip:
        for index in order:
            yield scale(split.images.index_select(0, index)), split.labels.index_select(0, index)
        return
    # Offsets (top, left) of the crop within the padded image.
    crops = torch.randint(0, 2 * pad + 1, (count, 2), generator=generator(seed, epoch, "crop"))
    mirror = torch.zeros(count, dtype=torch.int64)
    if augment.flip:
        mirror = torch.randint(0, 2, (count,), generator=generator(seed, epoch, "flip"))
    across = torch.arange(width)
    columns = crops[:, 1:] + torch.where(mirror[:, None] == 1, width - 1 - across, across)
    rows = crops[:, :1] + torch.arange(height)
    padded_width = width + 2 * pad
    # Border stays black: only the inside is written again for each batch.
    padded = split.images.new_zeros((batch_size, height + 2 * pad, padded_width, channels))
    inside = padded[:, pad : pad + height, pad : pad + width].permute(0, 3, 1, 2)
    image = torch.arange(batch_size, device=device)[:, None, None]
    for index, row, column in zip(order, to_device(rows), to_device(columns), strict=True):
        inside.copy_(split.images.index_select(0, index))
        cropped = padded[image, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)
        yield scale(cropped), split.labels.index_select(0, index)


def eval_batches(split: Split, *, batch_size: int, mean: Sequence[float], std: Sequence[float]) -> Iterator[Batch]:
    """The whole split in its own order, normalised, without augmentation; the last batch may be smaller.

    Raises InputError, at the call, for a batch_size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size}, at least 1 needed")
    scale = _Scale(mean, std, split)
    return (
        (scale(images), labels)
        for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True)
    )


class _Scale:
    """uint8 (B, C, H, W) -> float32 channels_last, (pixel / 255 - mean) / std; constants on the device."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], split: Split) -> None:
        channels, device = split.images.shape[1], split.images.device
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
