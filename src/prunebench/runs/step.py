"""One update of a phase of training; on a GPU it is recorded once and replayed from then on.

An update of a small network is hundreds of kernels of a few microseconds each, and to launch them takes the host longer
than the GPU takes to run them. A recorded update (a CUDA graph) is one launch. It reads and writes the tensors that it
was recorded with, so batches, the LR and masks are copied into these, and what else the host knows has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from prunebench.runs.view import View

WARM_UP = 3
"""Updates before the one that is recorded: in these, libraries set up what they cannot in a recording [ours]."""


class Step:
    """Forward, backward, the update's move and the masks, on the phase that an arm is in.

    network: the model of the arm, or what trains it with other processes.
    """

    def __init__(self, view: View, network: nn.Module) -> None:
        self._job, self._state, self._update = view.job, view.state, view.phase.update
        self._network, self._view = network, view
        self._parameters, self._buffers = view.trained_parameters(), list(view.state.model.buffers())
        self._weights: list[Tensor] = []
        self._kept: dict[str, Tensor] = {}

    def follow_masks_(self) -> None:
        """From now on the weights that the arm's present masks prune stay at zero."""
        masks, parameters = self._state.masks, self._view.parameters
        whole = torch.stack([mask.all() for mask in masks.values()]).tolist()  # one look at the device, not one each
        pruned = [name for name, alive in zip(masks, whole, strict=True) if not alive]
        if pruned == list(self._kept):
            for name in pruned:
                self._kept[name].copy_(masks[name])
        else:
            self._kept = {name: masks[name].to(parameters[name].dtype) for name in pruned}
            self._weights = [parameters[name].detach() for name in pruned]

    def __call__(self, images: Tensor, labels: Tensor, lr: float) -> None:
        """One update on a batch."""
        self._train_(images, labels, lambda g: self._update.step_(self._parameters, g, self._state.update, lr))

    def _train_(self, images: Tensor, labels: Tensor, move_: Callable[[list[Tensor]], None]) -> None:
        with self._job.autocast():
            loss = F.cross_entropy(self._network(images), labels)
        gradients = self._job.processes.gradients(loss, self._parameters)
        with torch.no_grad():
            move_(gradients)
        if self._kept:
            torch._foreach_mul_(self._weights, list(self._kept.values()))
        self._job.processes.copy_first_(self._buffers)
        self._state.loss_sum += loss.detach()


class RecordedStep(Step):
    """A step of which everything that changes lies in fixed tensors on the device, recorded after WARM_UP calls.

    Replayed or launched kernel by kernel (`Job.eager`), it gives the same bytes.
    """

    def __init__(self, view: View, network: nn.Module) -> None:
        super().__init__(view, network)
        self._batch: tuple[Tensor, Tensor] | None = None
        self._numbers: list[Tensor] = []
        self._calls = 0
        self._replay: Callable[[], None] | None = None

    def follow_masks_(self) -> None:
        """As for every step; layers that lose their first weight are no part of the recording, which is made anew."""
        layers = self._kept
        super().follow_masks_()
        if self._kept is not layers:
            self._calls, self._replay = 0, None

    def __call__(self, images: Tensor, labels: Tensor, lr: float) -> None:
        """One update on a batch; it waits for nothing."""
        self._fill_(images, labels, self._update.numbers(self._state.update, lr))
        self._calls += 1
        if self._job.eager or self._calls <= WARM_UP:
            self._train_from_tensors_()
            return
        if self._replay is None:
            self._replay = record(self._train_from_tensors_)
        self._replay()

    def _fill_(self, images: Tensor, labels: Tensor, numbers: tuple[float, ...]) -> None:
        if self._batch is None:
            self._batch = torch.empty_like(images), torch.empty_like(labels)
            self._numbers = [torch.zeros((), device=images.device) for _ in numbers]
        for fixed, new in zip(self._batch, (images, labels), strict=True):
            fixed.copy_(new)
        for tensor, number in zip(self._numbers, numbers, strict=True):
            tensor.fill_(number)

    def _train_from_tensors_(self) -> None:
        assert self._batch is not None
        numbers = self._numbers
        self._train_(*self._batch, lambda g: self._update.move_(self._parameters, g, self._state.update, *numbers))


def record(body: Callable[[], None]) -> Callable[[], None]:
    """A function that does again on the GPU what `body` launches there now; nothing is done yet."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def step_of(view: View, network: nn.Module) -> Step:
    """The step of the phase that the arm is in: recorded on a GPU, if one process trains and the update can be."""
    recordable = view.job.device.type == "cuda" and view.job.processes.size == 1 and view.phase.update.recordable
    return (RecordedStep if recordable else Step)(view, network)
