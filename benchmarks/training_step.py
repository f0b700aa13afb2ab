"""Images per second of prunebench's training loop against a plain PyTorch loop, in one run.

    python benchmarks/training_step.py --depth 8 --image-size 16 --channels 1 --threads 1

Both sides train the same network, half of its weights pruned, from the same uint8 images with crop and flip.

* plain: torchvision transforms on PIL images (pad and crop, flip, to tensor, normalise) in a DataLoader,
  `torch.nn.utils.prune` masks, fp32, contiguous, torch.optim.SGD: what pruning papers' scripts look like.
* prunebench: the phases of `runs.engine` as a run trains them, its validation of two images included.

Blocks of the two alternate, so that a machine that slows down slows both. The first block of each warms up
and does not count. The ratio is taken within each pair of blocks; the table gives the median and, in
brackets, the extremes.
"""

import argparse
import csv
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prunebench.data.batches import Prepared, Split
from prunebench.models import build
from prunebench.models.kinds import NETWORKS, NetworkKind
from prunebench.parsing import known
from prunebench.pruning.masks import apply_masks_
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.device import device_name, pick_device
from prunebench.runs.engine import begin_, enter_, train_phase
from prunebench.runs.job import Job, State
from prunebench.runs.spec import Arm, Augmentation, Phase, RunSpec
from prunebench.runs.updates import Sgd
from prunebench.runs.view import View

LR, MOMENTUM, WEIGHT_DECAY, PAD, CLASSES, SEED = 0.05, 0.9, 5e-4, 2, 10, 0

Block = Callable[[], None]


def synchronise(device: torch.device) -> None:
    """Waits for a GPU to finish, so that a clock read after it is right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def random_mask(weight: torch.Tensor) -> torch.Tensor:
    """Half of the weights, by position: the same on both sides."""
    kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) < 0.5
    return kept.to(weight.device)


def plain_steps(options: argparse.Namespace, images: torch.Tensor, labels: torch.Tensor, device: torch.device) -> Block:
    """A block of the plain loop: one epoch."""
    from PIL import Image
    from torch.nn.utils import prune
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.RandomCrop(options.image_size, padding=PAD),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * options.channels, [0.25] * options.channels),
        ]
    )

    class Images(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.data: np.ndarray[Any, Any] = images.permute(0, 2, 3, 1).contiguous().numpy()
            if options.channels == 1:
                self.data = self.data[..., 0]
            self.targets = labels.tolist()

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(self.data[index])), self.targets[index]

    loader = torch.utils.data.DataLoader(
        Images(), batch_size=options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers
    )
    model = network(options).to(device)
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            prune.custom_from_mask(module, "weight", random_mask(module.weight))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    criterion = nn.CrossEntropyLoss()

    def block() -> None:
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x.to(device)), y.to(device)).backward()
            optimizer.step()

    return block


def our_steps(options: argparse.Namespace, images: torch.Tensor, labels: torch.Tensor, device: torch.device) -> Block:
    """A block of prunebench's loop: one epoch."""
    phase = Phase(epochs=1, max_lr=LR, update=Sgd(MOMENTUM, WEIGHT_DECAY))
    spec = RunSpec(
        folder="benchmark/training_step",
        task="benchmark",
        dataset="random",
        network=network_kind(options),
        batch_size=options.batch_size,
        precision=options.precision,
        augmentation=Augmentation(pad=PAD, flip=True),
        seed=SEED,
        arms=[Arm(name="arm", phases=[phase, *[phase.model_copy(update={"carry": True})] * options.blocks])],
    )
    train = Split(images.to(device), labels.to(device))
    few = Split(train.images[:2], train.labels[:2])
    channels = (0.5,) * options.channels, (0.25,) * options.channels
    data = Prepared(train, few, few, *channels, classes=CLASSES, name="random", checksum="", verified=False)
    resume = ResumeFile(Path(tempfile.gettempdir()) / "never-written", "", every=float("inf"))
    job = Job(spec, data, device, Path(), resume, report=lambda _: None)
    state = State.new(job)
    view = View.at_start(job, spec.arms[0], state)
    state.masks = {name: random_mask(weight) for name, weight in view.parameters.items()}
    apply_masks_(view.parameters, state.masks)
    phases = iter(range(options.blocks + 1))

    def block() -> None:
        enter_(view, next(phases))
        if not (begin_(view) and train_phase(view)):
            raise RuntimeError("prunebench's side diverged: its time means nothing")

    return block


def network_kind(options: argparse.Namespace) -> NetworkKind:
    """The network that the options ask for."""
    known("network", options.network, NETWORKS)
    kind = NETWORKS[options.network]
    named = {field.name for field in dataclasses.fields(kind)} & {"depth", "width"}
    return kind(**{name: getattr(options, name) for name in named})


def network(options: argparse.Namespace) -> nn.Module:
    """The network of both sides."""
    return build(
        network_kind(options),
        classes=CLASSES,
        in_channels=options.channels,
        image_size=options.image_size,
        seed=SEED,
    )


def measure(sides: dict[str, Block], blocks: int, images: int, device: torch.device) -> dict[str, list[float]]:
    """Images per second of each side in each of `blocks` interleaved blocks, after one that warms up."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(blocks + 1):
        # The order alternates, so that neither side always follows the other.
        for name in sides if number % 2 else reversed(sides):
            synchronise(device)
            start = time.perf_counter()
            sides[name]()
            synchronise(device)
            if number:
                rates[name].append(images / (time.perf_counter() - start))
    return rates


def spread(values: list[float], digits: int) -> str:
    """Median [least, greatest]."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the options, measures, prints the table, writes the files asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet", help="kind (default: %(default)s)")
    parser.add_argument("--depth", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--width", type=float, default=1.0, help="width factor (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=16, help="pixels (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3), help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of torch, both sides (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="the plain side's DataLoader (default: %(default)s)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="prunebench's side")
    parser.add_argument("--steps", type=int, default=20, help="updates in a block (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=7, help="per side (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write one row per pair of blocks")
    parser.add_argument("--json", type=Path, help="write options, machine and all rates")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    device = pick_device()
    count = options.steps * options.batch_size
    draw = torch.Generator().manual_seed(SEED)
    shape = (count, options.channels, options.image_size, options.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, CLASSES, (count,), generator=draw)

    sides = {
        "plain": plain_steps(options, images, labels, device),
        "prunebench": our_steps(options, images, labels, device),
    }
    rates = measure(sides, options.blocks, count, device)
    ratios = [ours / plain for ours, plain in zip(rates["prunebench"], rates["plain"], strict=True)]

    print(
        f"{options.network}-{options.depth}, width factor {options.width:g}, "
        f"{options.channels}x{options.image_size}x{options.image_size}, batch {options.batch_size}, "
        f"{options.threads} thread(s), {options.workers} worker(s), "
        f"precision fp32 against {options.precision}\n"
        f"{device_name(device)}, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}; "
        f"{options.blocks} blocks of {options.steps} steps"
    )
    for name, values in rates.items():
        print(f"{name:12} {spread(values, 0)} images/s")
    print(f"{'ratio':12} {spread(ratios, 2)}")

    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["block", "plain_images_per_s", "prunebench_images_per_s", "ratio"])
            writer.writerows(
                zip(range(1, options.blocks + 1), rates["plain"], rates["prunebench"], ratios, strict=True)
            )
    if options.json:
        settings = {key: value for key, value in vars(options).items() if key not in ("csv", "json")}
        machine = {"device": device_name(device), "torch": torch.__version__}
        result = {"options": settings, "machine": machine, "images_per_s": rates, "ratio": ratios}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
