"""From a raw data set to one prepared file: resized, split, described by a manifest."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from prunebench.data.sources import RawDataset, load_raw
from prunebench.errors import InputError
from prunebench.files import write_bytes, write_json
from prunebench.seeding import generator

FORMAT = "prunebench-prepared-1"
METADATA_KEY = "prunebench"
_LARGEST_SIZE = 1024

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, C, H, W) and labels (N,)."""


def prepare(
    raw_source: str,
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

    The same input gives the same bytes of both. `raw_source`, `raw_folder` and `cache` are `load_raw`'s.
    Images are resized to `size` x `size` pixels by antialiased bilinear filtering (None keeps them as they
    are). `train`, `validation` and `test` count images; test None is all.

    Splits are drawn uniformly by a permutation that depends on (raw_source, split_seed) alone. Validation
    images come out of the training data before the training images do, so another `train` keeps the
    validation set, and a larger one contains the smaller. A data set without a test split gives its test
    images from the far end of the same permutation; there, test None is what train and validation leave.

    The file holds, for each split, `<split>_images` uint8 (N, C, H, W) and `<split>_labels` int64 (N,). The
    manifest adds per-channel mean and std of the training images in units of [0, 1], counts, checksums and
    versions.

    Raises InputError for counts that the data set cannot fill, for a bad size, for `load_raw`'s reasons,
    and when a file cannot be written (nothing half-written stays).
    """
    for name, count in (("train", train), ("validation", validation), ("test", test)):
        if count is not None and count < 1:
            raise InputError(f"{name}: {count} images asked for, at least 1 needed")
    if size is not None and not 1 <= size <= _LARGEST_SIZE:
        raise InputError(f"size: {size} pixels asked for, allowed: 1 to {_LARGEST_SIZE}")
    raw = load_raw(raw_source, raw_folder, cache)
    splits = {
        name: (_resize(images, size), labels)
        for name, (images, labels) in _split(raw, train, validation, test, split_seed).items()
    }
    mean, std = _channel_statistics(splits["train"][0])
    facts = {
        "format": FORMAT,
        "name": raw.name,
        "classes": raw.classes,
        "split_seed": split_seed,
        "mean": mean,
        "std": std,
    }
    prepared = _serialise(splits, facts)
    write_bytes(out, prepared)
    checksum = {"prepared_file": Path(out).name, "prepared_sha256": hashlib.sha256(prepared).hexdigest()}
    write_json(manifest, facts | checksum | _description(raw, splits))


def _description(raw: RawDataset, splits: dict[str, Arrays]) -> dict[str, object]:
    """What the manifest says beyond the prepared file's own facts."""
    counts = {name: np.bincount(labels, minlength=raw.classes).tolist() for name, (_, labels) in splits.items()}
    return {
        "origin": raw.origin,
        "raw_sha256": raw.checksums,
        "image_shape": list(splits["train"][0].shape[1:]),
        "images": {name: len(labels) for name, (_, labels) in splits.items()},
        "class_counts": counts,
        "versions": {"numpy": np.__version__, "torch": str(torch.__version__)},
    }


def _split(raw: RawDataset, train: int, validation: int, test: int | None, split_seed: int) -> dict[str, Arrays]:
    available = len(raw.train_labels)
    order = _permutation(available, "split", raw.name, split_seed)
    if raw.test_images is None or raw.test_labels is None:
        left = available - train - validation
        wanted = left if test is None else test
        if wanted < 1 or wanted > left:
            raise InputError(
                f"{raw.name} has {available} images: train {train} + validation {validation} + "
                f"test {'at least 1' if test is None else test} asked for"
            )
        test_split = _take(raw.train_images, raw.train_labels, order[available - wanted :])
    else:
        if train + validation > available:
            raise InputError(
                f"{raw.name} has {available} training images: train {train} + validation {validation} asked for"
            )
        if test is not None and test > len(raw.test_labels):
            raise InputError(f"{raw.name} has {len(raw.test_labels)} test images: test {test} asked for")
        test_order = _permutation(len(raw.test_labels), "split", raw.name, split_seed, "test")
        test_split = _take(raw.test_images, raw.test_labels, test_order[:test])
    return {
        "train": _take(raw.train_images, raw.train_labels, order[validation : validation + train]),
        "validation": _take(raw.train_images, raw.train_labels, order[:validation]),
        "test": test_split,
    }


def _permutation(count: int, *names: object) -> NDArray[np.int64]:
    permutation: NDArray[np.int64] = torch.randperm(count, generator=generator(*names)).numpy()
    return permutation


def _take(images: NDArray[np.uint8], labels: NDArray[np.int64], indices: NDArray[np.int64]) -> Arrays:
    return images[indices], labels[indices]


def _resize(images: NDArray[np.uint8], size: int | None, block: int = 1024) -> NDArray[np.uint8]:
    """Images (N, C, H, W) at (N, C, size, size), rounded to the nearest of 0..255."""
    if size is None or images.shape[2:] == (size, size):
        return np.ascontiguousarray(images)
    resized = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for start in range(0, len(images), block):
        # float64, so that the order of additions on this processor does not decide a rounding.
        pixels = torch.from_numpy(images[start : start + block].astype(np.float64))
        pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        resized[start : start + block] = pixels.round().clamp(0, 255).to(torch.uint8).numpy()
    return resized


def _channel_statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and population std per channel of (N, C, H, W), in units of [0, 1], from exact integer sums."""
    pixels = np.arange(256, dtype=np.int64)
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].ravel(), minlength=256)
        total, first, second = (int((counts * pixels**power).sum()) for power in (0, 1, 2))
        variance = (total * second - first * first) / (total * total)
        mean.append(first / total / 255)
        # A constant channel has nothing to scale.
        std.append(variance**0.5 / 255 or 1.0)
    return mean, std


def _serialise(splits: dict[str, Arrays], facts: dict[str, object]) -> bytes:
    from safetensors.numpy import save

    tensors: dict[str, NDArray[np.generic]] = {}
    for name, (images, labels) in splits.items():
        tensors[f"{name}_images"], tensors[f"{name}_labels"] = images, labels
    # One entry, because safetensors does not keep several in a fixed order.
    prepared: bytes = save(tensors, metadata={METADATA_KEY: json.dumps(facts, sort_keys=True)})
    return prepared
