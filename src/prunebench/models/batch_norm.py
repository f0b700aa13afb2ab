"""Batch normalisation's running statistics: taken anew, and left as they were."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunebench.errors import InputError
from prunebench.models.modes import eval_mode


@torch.no_grad()
def recompute_statistics_(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Replaces running means and variances by averages over these batches of images (N, C, H, W), weighted by N.

    All else is in eval mode meanwhile, dropout among it; modes stay as they were. One image has no variance where a
    layer sees one value per channel, so a batch of one joins the batch before. Autocast is the caller's. Does nothing
    to a model without running statistics. Raises InputError where the only batch has one image.

    >>> import torch
    >>> from prunebench.models.batch_norm import recompute_statistics_
    >>> model = torch.nn.BatchNorm1d(1)
    >>> recompute_statistics_(model, [torch.tensor([[1.0], [3.0]])])
    >>> model.running_mean, model.running_var
    (tensor([2.]), tensor([2.]))
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    seen = 0
    with eval_mode(model):
        for layer in layers:
            layer.train()
            layer.reset_running_stats()
        try:
            for batch in _of_two_or_more(images):
                seen += len(batch)
                for layer in layers:
                    layer.momentum = len(batch) / seen
                model(batch)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


def _of_two_or_more(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches; one of a single image together with the batch before it, or after it where it is the first."""
    before: Tensor | None = None
    for batch in batches:
        if before is not None and (len(batch) == 1 or len(before) == 1):
            before = torch.cat([before, batch])
            continue
        if before is not None:
            yield before
        before = batch
    if before is not None and len(before) == 1:
        raise InputError("batch normalisation's statistics are to be taken on one image; allowed: two or more")
    if before is not None:
        yield before


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside to the model's buffers, afterwards they hold what they held before.

    >>> import torch
    >>> from prunebench.models.batch_norm import buffers_kept
    >>> model = torch.nn.BatchNorm1d(1)
    >>> with buffers_kept(model):
    ...     _ = model(torch.tensor([[1.0], [3.0]]))
    >>> model.running_mean
    tensor([0.])
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])
