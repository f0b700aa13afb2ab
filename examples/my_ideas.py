"""Four ideas in one file: an LR profile, a pruning criterion, an update and a network.

A preset loads the file (`plugins: [examples/my_ideas.py]`) and uses each idea by its name, in any study.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prunebench.models import register_network
from prunebench.pruning import register
from prunebench.runs.updates import UPDATES, Sgd
from prunebench.schedules import PROFILES

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Sawtooth:
    """LR profile: falls from max_lr to 0, `teeth` times per pruning cycle."""

    teeth: int = 2

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step` of `total_steps`."""
        return max_lr * (1 - step * self.teeth / total_steps % 1)


PROFILES["sawtooth"] = Sawtooth


@register("global_squared_gradient", needs_gradients=True)
def squared_gradient(inputs):
    """(w dL/dw)^2, the squared first-order change of the loss if the weight is removed"""
    return {name: (w * inputs.gradients[name]) ** 2 for name, w in inputs.weights.items()}


@dataclass(frozen=True)
class SoftThreshold(Sgd):
    """SGD, then soft-thresholding: each entry of a weight matrix or kernel moves towards zero by lr x threshold."""

    threshold: float = 0.01
    makes_zeros: ClassVar[bool] = True

    def step_(self, parameters: list[Tensor], gradients: list[Tensor], state, lr: float) -> None:
        """One update."""
        super().step_(parameters, gradients, state, lr)
        for weight in parameters:
            if weight.dim() > 1:
                weight.sub_(weight.clamp(-lr * self.threshold, lr * self.threshold))


UPDATES["soft_threshold"] = SoftThreshold


@register_network("two_layers")
@dataclass(frozen=True)
class TwoLayers:
    """Two linear layers.

    hidden: units of the first.
    """

    hidden: int = 32

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network."""
        from torch import nn

        inputs = in_channels * image_size**2
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, self.hidden), nn.ReLU(), nn.Linear(self.hidden, classes))
