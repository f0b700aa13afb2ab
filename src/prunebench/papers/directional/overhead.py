"""What gRDA costs beside SGD: time of an update and of a training step, and memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from prunebench.analysis.optimizer_cost import (
    OPTIMIZERS,
    RESNET50_SHAPES,
    optimizer_memory,
    optimizer_seconds,
    training_seconds,
)
from prunebench.files import write_json
from prunebench.models import build
from prunebench.papers.directional.spec import Timed, Timings
from prunebench.runs.device import pick_device
from prunebench.runs.provenance import provenance
from prunebench.seeding import generator

Rows = dict[str, list[dict[str, Any]]]


def time(spec: Timings, runs: Path, out: Path) -> None:
    """Measures every network of `spec`; writes the tables, spec.json and provenance.json into `out`."""
    device, rows = pick_device(), Rows(seconds=[], memory=[])
    for timed in spec.timed:
        model = build(
            timed.network,
            classes=timed.classes,
            in_channels=timed.channels,
            image_size=timed.image_size,
            seed=0,
        ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        shapes = [tuple(p.shape) for p in model.parameters()]
        _measure_updates(timed.name, shapes, spec, device, rows)
        steps = training_seconds(model, _batch(timed, device), blocks=spec.blocks, steps=spec.steps, device=device)
        _add(rows, "seconds", timed.name, shapes, [{"measure": "training step"} | row for row in steps])
    if spec.resnet50:
        _measure_updates("resnet50", RESNET50_SHAPES, spec, device, rows)
    spec.write(out, rows)
    write_json(out / "spec.json", spec.content())
    write_json(out / "provenance.json", provenance(device, "fp32", "none"))


def _measure_updates(
    name: str, shapes: Sequence[Sequence[int]], spec: Timings, device: torch.device, rows: Rows
) -> None:
    print(f"{name}: updates", flush=True)
    updates = optimizer_seconds(shapes, blocks=spec.blocks, steps=spec.steps, device=device)
    _add(rows, "seconds", name, shapes, [{"measure": "optimizer step"} | row for row in updates])
    for optimizer, make in OPTIMIZERS.items():
        _add(rows, "memory", name, shapes, [{"optimizer": optimizer} | optimizer_memory(shapes, make, device=device)])


def _add(rows: Rows, table: str, name: str, shapes: Sequence[Sequence[int]], measured: list[dict[str, Any]]) -> None:
    parameters = sum(torch.Size(shape).numel() for shape in shapes)
    rows[table] += [{"network": name, "parameters": parameters} | row for row in measured]


def _batch(timed: Timed, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images: the cost of a step does not depend on what they show."""
    draw = generator("overhead", timed.name)
    shape = (timed.batch_size, timed.channels, timed.image_size, timed.image_size)
    images = torch.randn(shape, generator=draw).to(device, memory_format=torch.channels_last)
    return images, torch.randint(timed.classes, (timed.batch_size,), generator=draw).to(device)
