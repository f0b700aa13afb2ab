"""An update of yours, and the claim that what it trains prunes better than what SGD trains.

`prunebench run FOLDER/my_idea.yaml` decides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prunebench.runs.updates import UPDATES, Sgd
from prunebench.suite.registry import register_claims

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MyIdea(Sgd):
    """SGD whose gradient of each weight tensor is centred: its mean over the inputs of a unit is taken off.

    Fields are keys of the preset beside SGD's: `update: {kind: my_idea, momentum: 0.9, weight_decay: 5.0e-4}`.
    """

    def step_(self, parameters: list[Tensor], gradients: list[Tensor], state: Any, lr: float) -> None:
        """One update, in place."""
        centred = [g - g.mean(dim=tuple(range(1, g.dim())), keepdim=True) if g.dim() > 1 else g for g in gradients]
        super().step_(parameters, centred, state, lr)


UPDATES["my_idea"] = MyIdea


@register_claims("s_cyc")
def claims():
    """Judged with S-Cyc's own claims; the import stands inside, so that a dry run needs no pandas."""
    from prunebench.papers.s_cyc.claims import beats

    yield beats("Z1", "task", "digits-my_idea", "digits-sgd")
