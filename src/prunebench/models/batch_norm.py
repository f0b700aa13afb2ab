"""Batch normalisation's running statistics: taken anew, and left as they were."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from prunebench.errors import InputError
from prunebench.models.modes import eval_mode


@torch.no_grad()
def recompute_statistics_(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Replaces running means and variances by averages over these batches of images (N, C, H, W), weighted by N.

    All else is in eval mode meanwhile, dropout among it; modes stay as they were. One image has no variance where a
    layer sees one value per channel, so a batch of one joins the batch before. A layer that a pass uses more than once
    takes all of its uses. Autocast is the caller's. Does nothing to a model without running statistics. Raises
    InputError where there is one image alone or none.

    >>> import torch
    >>> from prunebench.models.batch_norm import recompute_statistics_
    >>> model = torch.nn.BatchNorm1d(1)
    >>> recompute_statistics_(model, [torch.tensor([[1.0], [3.0]])])
    >>> model.running_mean, model.running_var
    (tensor([2.]), tensor([2.]))
    """
    layers = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    seen = dict.fromkeys(layers, 0)

    def weight_by_size(layer: _NormBase, inputs: tuple[Tensor, ...]) -> None:
        seen[layer] += len(inputs[0])
        layer.momentum = len(inputs[0]) / seen[layer]

    batches = _of_two_or_more(images)
    first = next(batches)
    handles = [layer.register_forward_pre_hook(weight_by_size) for layer in layers]
    try:
        with eval_mode(model):
            for layer in layers:
                layer.train()
                layer.reset_running_stats()
            for batch in chain([first], batches):
                model(batch)
    finally:
        for layer, momentum, handle in zip(layers, momenta, handles, strict=True):
            layer.momentum = momentum
            handle.remove()


def _of_two_or_more(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches; one of a single image together with the batch before it, or after it where it is the first."""
    before: Tensor | None = None
    for batch in batches:
        if not len(batch):
            continue
        if before is not None and (len(batch) == 1 or len(before) == 1):
            if batch.shape[1:] != before.shape[1:]:
                shapes = f"{tuple(before.shape[1:])} and {tuple(batch.shape[1:])}"
                raise InputError(f"a batch of one image is to join its neighbour, but their shapes are {shapes}")
            before = torch.cat([before, batch])
            continue
        if before is not None:
            yield before
        before = batch
    if before is None or len(before) == 1:
        images = "no image" if before is None else "one image"
        raise InputError(f"batch normalisation's statistics are to be taken on {images}; allowed: two or more")
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
    # Those made in inference mode cannot change outside of it.
    before = {
        name: buffer.clone()
        for name, buffer in model.named_buffers()
        if torch.is_inference_mode_enabled() or not buffer.is_inference()
    }
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in before:
                    buffer.copy_(before[name])
