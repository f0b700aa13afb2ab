"""An LR profile of yours, and the claim that it beats S-Cyc.

`prunebench run FOLDER/my_idea.yaml` decides it.
"""

from dataclasses import dataclass
from math import cos, pi

from prunebench.errors import InputError
from prunebench.schedules import PROFILES
from prunebench.suite.registry import register_claims


@dataclass(frozen=True)
class MyIdea:
    """LR over one pruning cycle: rises linearly for the share `warmup` of the updates, then falls as half a cosine.

    Every field is a key of the preset: `profile: {kind: my_idea, warmup: 0.2}`.
    """

    warmup: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise InputError(f"my_idea: warmup is {self.warmup}; allowed: 0 to below 1")

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step` (0 to total_steps - 1)."""
        share = step / total_steps
        if share < self.warmup:
            return max_lr * share / self.warmup
        return max_lr * (1 + cos(pi * (share - self.warmup) / (1 - self.warmup))) / 2


PROFILES["my_idea"] = MyIdea


@register_claims("s_cyc")
def claims():
    """Judged with S-Cyc's own claims; the import stands inside, so that a dry run needs no pandas."""
    from prunebench.papers.s_cyc.claims import beats

    yield beats("Z1", "schedule", "my_idea", "s_cyc")
