"""Images per second of one core from three ways to store ImageNet, in one run.

    python benchmarks/streaming.py

All sides give batches of uint8 (B, 3, 224, 224): a random box of each image, resized, mirrored. `original` are JPEG
files of 500x375, as they are published; `jpeg` the suite's shards, JPEG of 256 pixels on the shorter side; `raw` pixels
of that size without JPEG. Images are noise of a spectrum of 1/f, as photographs have, so strong that the originals take
about as many bytes as ImageNet's (108 KB: 137.8 GB of training images). Seconds are of processor time, so that other
work on the machine counts little; files are in the system's cache, so that no disk is measured. Blocks of all sides
alternate; the first of each warms up and does not count.
"""

import argparse
import csv
import io
import json
import os
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from prunebench.data.raw import Block, Files, Folder, Part
from prunebench.data.shards import Request, Shards, Stream, crop_boxes, crop_draws, decode_batches, write_shards

IMAGENET = 1_281_167 + 50_000
"""Training and validation images of ILSVRC 2012."""

SIZE, SMALLEST, HEIGHT, WIDTH, QUALITY = 224, 0.08, 375, 500, 90


def noise(number: int) -> Image.Image:
    """A colour image whose amplitude falls with 1/f; channels differ less than pixels do."""
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = np.inf
    channels = []
    for _ in range(4):
        spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency
        plane = np.fft.irfft2(spectrum, (HEIGHT, WIDTH))
        channels.append(plane / plane.std())
    grey, *colours = channels
    pixels = np.stack([128 + 50 * grey + 15 * colour for colour in colours], axis=2)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def originals(folder: Path, count: int) -> list[bytes]:
    """JPEG files in `folder`, and what they hold."""
    contents = []
    for number in range(count):
        file = io.BytesIO()
        noise(number).save(file, "JPEG", quality=QUALITY)
        contents.append(file.getvalue())
        (folder / f"{number:05d}.JPEG").write_bytes(contents[-1])
    return contents


def stream_of(shards: tuple[Path, ...], place: list[list[int]]) -> Stream:
    """Images in shards, decoded in this process."""
    return Stream(Shards(shards), np.array(place), torch.zeros(len(place), dtype=torch.int64), SIZE)


def original_stream(folder: Path, contents: list[bytes]) -> Stream:
    """The files as they are, in one shard: what is measured is their size, not the opening of files."""
    place, offset = [], 0
    for content in contents:
        place.append([0, offset, len(content), zlib.crc32(content), HEIGHT, WIDTH])
        offset += len(content)
    (folder / "original.bin").write_bytes(b"".join(contents))
    return stream_of((folder / "original.bin",), place)


def jpeg_stream(folder: Path, images: Path, count: int) -> Stream:
    """The suite's own shards of the files in `images`."""
    names, place = Folder(images), list[list[int]]()
    part = Part(Files(names.names, names), np.zeros(count, dtype=np.int64))
    facts = write_shards(
        folder, {"train": (part, np.arange(count))}, SIZE, lambda _, rows: place.extend(rows[0].tolist())
    )
    return stream_of(tuple(folder / name for name, _ in facts["shards"]["files"]), place)  # type: ignore[index]


def pixels_of(stream: Stream, folder: Path) -> Block:
    """The pixels of a stream's images, uint8 (N, height, width, 3), in a file that is mapped."""
    images = np.stack([np.asarray(stream.image(index)) for index in range(len(stream))])
    np.save(folder / "raw.npy", images)
    mapped: Block = np.load(folder / "raw.npy", mmap_mode="r")
    return mapped


def raw_batches(pixels: Block, requests: Sequence[Request]) -> None:
    """What `decode_batches` does, from pixels."""
    _, height, width, _ = pixels.shape
    for request in requests:
        assert request.crops is not None
        assert request.flip is not None
        boxes = crop_boxes(request.crops(), height, width, SMALLEST).tolist()
        batch = np.empty((len(boxes), SIZE, SIZE, 3), dtype=np.uint8)
        for row, (index, (top, left, h, w)) in enumerate(zip(request.indices, boxes, strict=True)):
            cut = Image.fromarray(pixels[index, top : top + h, left : left + w])
            image = np.asarray(cut.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
            batch[row] = image[:, ::-1] if request.flip[row] else image


def requests_of(count: int, batch_size: int) -> list[Request]:
    """An epoch of random boxes, in a random order."""
    order = np.random.default_rng(0).permutation(count)
    return [
        Request(part, partial(crop_draws, len(part), "benchmark", start), SMALLEST, part % 2 == 0)
        for start in range(0, count, batch_size)
        for part in [order[start : start + batch_size]]
    ]


def measure(sides: dict[str, Callable[[], object]], blocks: int, images: int) -> dict[str, list[float]]:
    """Images per second of processor time, by side, in each of `blocks` interleaved blocks after one that warms up."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(blocks + 1):
        for name in sides if number % 2 else reversed(sides):
            start = time.process_time()
            sides[name]()
            if number:
                rates[name].append(images / (time.process_time() - start))
    return rates


def spread(values: list[float], digits: int) -> str:
    """Median [least, greatest]."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the options, measures, prints the table, writes the files asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--blocks", type=int, default=7, help="per side (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write one row per block")
    parser.add_argument("--json", type=Path, help="write options, machine, bytes and all rates")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    requests = requests_of(options.images, options.batch_size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        contents = originals(folder / "images", options.images)
        streams = {
            "original": original_stream(folder, contents),
            "jpeg": jpeg_stream(folder, folder / "images", options.images),
        }
        pixels = pixels_of(streams["jpeg"], folder)
        sides: dict[str, Callable[[], object]] = {
            name: lambda stream=stream: list(decode_batches(stream, requests))  # type: ignore[misc]
            for name, stream in streams.items()
        }
        sides["raw"] = lambda: raw_batches(pixels, requests)
        rates = measure(sides, options.blocks, options.images)
    sizes = {name: float(stream.place[:, 2].mean()) for name, stream in streams.items()} | {"raw": pixels[0].size}
    ratios = {
        name: [ours / theirs for ours, theirs in zip(values, rates["original"], strict=True)]
        for name, values in rates.items()
    }

    print(
        f"{options.images} images of {WIDTH}x{HEIGHT}, random boxes to {SIZE}x{SIZE}, batch {options.batch_size}, "
        f"one core\n"
        f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}; {options.blocks} blocks"
    )
    print(f"{'':9} {'images/s':24} {'over original':20} KB per image   GB of ImageNet")
    for name, values in rates.items():
        size = f"{sizes[name] / 1e3:12.1f}   {sizes[name] * IMAGENET / 1e9:14.0f}"
        print(f"{name:9} {spread(values, 0):24} {spread(ratios[name], 2):20} {size}")

    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["block", *(f"{name}_images_per_s" for name in rates)])
            writer.writerows(zip(range(1, options.blocks + 1), *rates.values(), strict=True))
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key not in ("csv", "json")}
        result = {"options": settings, "torch": torch.__version__, "images_per_s": rates, "ratio": ratios}
        options.json.write_text(json.dumps(result | {"bytes": sizes}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
