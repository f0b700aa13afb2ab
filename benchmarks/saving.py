"""What saving a job's state costs: bytes and seconds of a resume file, and of a copy in memory.

    python benchmarks/saving.py --networks resnet20 vgg16 resnet50 --folder /where/results/lie

A state is that of a pruned network under SGD with momentum: weights, masks, momentum. From the seconds of a save follow
the interval between two (`runs/checkpoint.py`), which is what a job repeats that is killed without warning, and the
share of the time that saves take. The table gives medians and, in brackets, extremes; the first round does not count.
"""

import argparse
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from prunebench.models import build
from prunebench.pruning.masks import full_masks, prunable_parameters
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.device import device_name, pick_device
from prunebench.runs.distributed import ALONE
from prunebench.runs.job import State
from prunebench.runs.updates import Sgd

NETWORKS = {
    "resnet20": ("resnet", {"depth": 20}, 32),
    "vgg16": ("vgg", {"depth": 16}, 32),
    "resnet50": ("torchvision_resnet50", {}, 224),
    "mlp": ("mlp", {"width": 0.25}, 8),
}
"""Name -> network, its options, the size of its images."""


def state_of(name: str, device: torch.device) -> State:
    """The state of a job that trains a network."""
    kind, options, size = NETWORKS[name]
    model = build(kind, classes=10, in_channels=3, image_size=size, seed=0, **options).to(device)
    masks = full_masks(prunable_parameters(model))
    update = Sgd(momentum=0.9).begin(list(model.parameters()))
    return State(model, masks, torch.zeros((), device=device), update=update)


def seconds(action: Callable[[], object], rounds: int) -> list[float]:
    """Of each round but the first."""
    taken = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return taken[1:]


def spread(values: Sequence[float]) -> str:
    """Median [least, greatest] in milliseconds."""
    return f"{1e3 * statistics.median(values):,.1f} [{1e3 * min(values):,.1f}, {1e3 * max(values):,.1f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the options, measures, prints the table, writes the file asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["resnet20", "vgg16", "resnet50"])
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure (default: the system's for temporary files)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="per network (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write one row per network")
    options = parser.parse_args(arguments)

    device, rows = pick_device(), []
    print(f"{device_name(device)}, torch {torch.__version__}")
    print(f"{'':10} {'MB':>7} {'save, ms':>26} {'copy, ms':>22} {'every, s':>9} {'share':>8}")
    for name in options.networks:
        state = state_of(name, device)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            file = ResumeFile(Path(folder) / "resume", "spec")
            saves = seconds(lambda file=file, state=state: file.save(*state.save(ALONE)), options.rounds)
            size = file.path.stat().st_size
        copies = seconds(state.copy, options.rounds)
        share = statistics.median(saves) / (file.interval + statistics.median(saves))
        values = f"{size / 1e6:7.1f} {spread(saves):>26} {spread(copies):>22} {file.interval:9.0f} {share:8.3%}"
        print(f"{name:10} {values}")
        rows.append({"network": name, "bytes": size, "save": statistics.median(saves), "interval": file.interval})
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
