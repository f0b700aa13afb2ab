"""Time and memory of gRDA's step against SGD, SGD with momentum and the gRDA of its paper, in one run.

    python benchmarks/optimizer_step.py --network resnet50 --threads 1

All optimizers update the same parameters with the same gradients, `Optimizer.step` alone; they are those of
`analysis/optimizer_cost.py`. Blocks of all of them alternate, so that a machine that slows down slows all. The first
block of each warms up and does not count. A ratio is taken within each block; the table gives the median and, in
brackets, the extremes. Exit code 1 where the median is above 1.1 of SGD with momentum or 0.35 of the paper's gRDA.
"""

import argparse
import csv
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from prunebench.analysis.optimizer_cost import OPTIMIZERS, RESNET50_SHAPES, optimizer_memory, optimizer_seconds
from prunebench.models import build
from prunebench.runs.device import device_name, pick_device

LIMITS = {"sgd_momentum": 1.1, "grda_reference": 0.35}


def shapes_of(network: str) -> list[tuple[int, ...]]:
    """Of a network's parameters: torchvision's ResNet-50 for ImageNet, or a small network for 32x32 images."""
    if network == "resnet50":
        return list(RESNET50_SHAPES)
    model = build(network, classes=10, in_channels=3, image_size=32, seed=None)
    return [tuple(p.shape) for p in model.parameters()]


def spread(values: list[float], digits: int) -> str:
    """Median [least, greatest]."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the options, measures, prints the table, writes the files asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", default="resnet50", help="resnet50, or a kind of prunebench's (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="in a block (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=12, help="per optimizer (default: %(default)s)")
    parser.add_argument("--no-check", action="store_true", help="exit with 0 whatever the ratios are")
    parser.add_argument("--csv", type=Path, help="write one row per optimizer and block")
    parser.add_argument("--json", type=Path, help="write options, machine, times, ratios and bytes")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    device = pick_device()
    shapes = shapes_of(options.network)
    memory = {name: optimizer_memory(shapes, make, device=device) for name, make in OPTIMIZERS.items()}
    rows = optimizer_seconds(shapes, OPTIMIZERS, blocks=options.blocks, steps=options.steps, device=device)
    seconds = {
        name: [row["seconds"] for row in sorted(rows, key=lambda row: row["block"]) if row["optimizer"] == name]
        for name in OPTIMIZERS
    }
    ratios = {
        name: [ours / theirs for ours, theirs in zip(seconds["grda"], seconds[name], strict=True)]
        for name in OPTIMIZERS
        if name != "grda"
    }

    print(
        f"{options.network}: {len(shapes)} parameters, {memory['grda']['parameter_bytes'] / 1e6:,.1f} MB; "
        f"{options.threads} thread(s)\n"
        f"{device_name(device)}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}; "
        f"{options.blocks} blocks of {options.steps} steps"
    )
    print(f"{'':15} {'ms per step':27} {'grda over it':20} state tensors   peak of temporaries, MB")
    for name, sizes in memory.items():
        milliseconds = spread([1000 * value for value in seconds[name]], 2)
        ratio = spread(ratios[name], 2) if name in ratios else ""
        state = sizes["state_bytes"] / sizes["parameter_bytes"]
        print(f"{name:15} {milliseconds:27} {ratio:20} {state:13.2f}   {sizes['peak_bytes'] / 1e6:.2f}")

    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["optimizer", "block", "seconds"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key not in ("csv", "json")}
        machine = {"device": device_name(device), "torch": torch.__version__}
        result = {"options": settings, "machine": machine, "seconds": seconds, "ratio": ratios, "bytes": memory}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    slow = {name: limit for name, limit in LIMITS.items() if statistics.median(ratios[name]) > limit}
    for name, limit in slow.items():
        print(f"grda takes more than {limit:g} of the time of {name}", file=sys.stderr)
    return 1 if slow and not options.no_check else 0


if __name__ == "__main__":
    sys.exit(main())
