"""A network of yours, and the claim that it prunes better than the MLP.

`prunebench run FOLDER/my_idea.yaml` decides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunebench.models import register_network
from prunebench.suite.registry import register_claims

if TYPE_CHECKING:
    from torch import nn


@register_network("my_idea")
@dataclass(frozen=True)
class MyIdea:
    """Two convolutions, then a linear layer on the mean over all positions.

    channels: of the convolutions. Every field is a key of the preset: `network: {kind: my_idea, channels: 16}`.
    """

    channels: int = 16

    def build(self, *, classes: int, in_channels: int, image_size: int) -> nn.Module:
        """The network; its initial weights are a function of the seed, whatever stands here."""
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(in_channels, self.channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(self.channels, self.channels, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.channels, classes),
        )


@register_claims("s_cyc")
def claims():
    """Judged with S-Cyc's own claims; the import stands inside, so that a dry run needs no pandas."""
    from prunebench.papers.s_cyc.claims import beats

    yield beats("Z1", "task", "digits-my_idea", "digits-mlp")
