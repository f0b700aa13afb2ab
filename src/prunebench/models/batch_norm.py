"""Batch normalisation's running statistics: taken anew, and left as they were."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recompute_statistics_(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Replaces running means and variances by averages over these batches of images (N, C, H, W), weighted by N.

    Autocast is the caller's. Leaves the model in train mode; does nothing to a model without batch normalisation.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    model.train()
    for layer in layers:
        layer.reset_running_stats()
    seen = 0
    try:
        for batch in images:
            seen += len(batch)
            for layer in layers:
                layer.momentum = len(batch) / seen
            model(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside to the model's buffers, afterwards they hold what they held before."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
