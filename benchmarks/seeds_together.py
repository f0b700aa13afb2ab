"""Several seeds in one process, their weights stacked and every operation batched (vmap), against one seed at a time.

A GPU that waits for launches could do k networks for the launches of one. `gpu_steps.py` measures the other way, k
processes side by side. Both train a task's network on random images of its size: forward, backward, SGD with momentum;
normalisation uses each batch's statistics. Blocks alternate; images are those of all seeds together.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))

from gpu_steps import job_of

from prunebench.models import build
from prunebench.runs.device import device_name, pick_device, set_up
from prunebench.suite.machine import Workload

LR, MOMENTUM = 0.1, 0.9
BLOCKS = 5


def networks(workload: Workload, network: object, seeds: int, device: torch.device) -> list[torch.nn.Module]:
    """The same network at several initialisations, in training without running statistics, which vmap cannot update."""
    shape = {"classes": workload.classes, "in_channels": workload.channels, "image_size": workload.side}
    made = [build(network, **shape, seed=seed).to(device) for seed in range(seeds)]  # type: ignore[arg-type]
    for module in (module for model in made for module in model.modules()):
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
            module.num_batches_tracked = None
    return made


def stepper(
    model: torch.nn.Module, weights: dict[str, Tensor], buffers: dict[str, Tensor], many: bool
) -> Callable[[Tensor, Tensor], None]:
    """One update of the weights, of one network or of many stacked ones, on images and classes (of each)."""

    def loss(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, classes: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, (weights, buffers), (images,)), classes)

    gradient = vmap(grad(loss), randomness="different") if many else grad(loss)
    moved = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    def step(images: Tensor, classes: Tensor) -> None:
        found = gradient(weights, buffers, images, classes)
        with torch.no_grad():
            names = list(weights)
            torch._foreach_mul_([moved[name] for name in names], MOMENTUM)
            torch._foreach_add_([moved[name] for name in names], [found[name] for name in names])
            torch._foreach_add_([weights[name] for name in names], [moved[name] for name in names], alpha=-LR)

    return step


def detached(named: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints images per second of both ways and their ratio; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="workstation", help="whose task (default: %(default)s)")
    parser.add_argument("--task", default="cifar10-resnet20", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=8, help="networks at once (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a block (default: %(default)s)")
    options = parser.parse_args(arguments)
    device = pick_device()
    set_up(device)
    torch.set_num_threads(1)
    workload, job = job_of(options.preset, options.task)
    made = networks(workload, job.network, options.seeds, device)
    skeleton = copy.deepcopy(made[0]).to("meta")
    weights, buffers = stack_module_state(made)  # type: ignore[arg-type]
    together = stepper(skeleton, detached(weights), detached(buffers), many=True)
    alone = stepper(
        skeleton, detached(dict(made[0].named_parameters())), detached(dict(made[0].named_buffers())), many=False
    )
    images = torch.randn(options.seeds, workload.batch, workload.channels, workload.side, workload.side, device=device)
    classes = torch.randint(workload.classes, images.shape[:2], device=device)

    def rate(step: Callable[[], None], per_step: int) -> float:
        done, began = 0, time.perf_counter()
        while done == 0 or time.perf_counter() - began < options.seconds:
            step()
            done += per_step
            if device.type == "cuda":
                torch.cuda.synchronize()
        return done / (time.perf_counter() - began)

    ways = {
        "one seed": (lambda: alone(images[0], classes[0]), workload.batch),
        f"{options.seeds} seeds stacked": (lambda: together(images, classes), options.seeds * workload.batch),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(BLOCKS + 1):
        for name, (step, size) in ways.items():
            value = rate(step, size)
            if block:  # the first one warms up
                rates[name].append(value)
    print(f"{device_name(device)}, {workload}")
    for name, values in rates.items():
        print(f"{name:18} {statistics.median(values):,.0f} images/s of {min(values):,.0f} to {max(values):,.0f}")
    one, many = rates.values()
    ratios = sorted(b / a for a, b in zip(one, many, strict=True))
    print(f"stacked over one: {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
