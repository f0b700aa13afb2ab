"""A learning-rate schedule over a whole pruning chain: a profile in each cycle, a policy across cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunebench.schedules.policies import Policy
from prunebench.schedules.profiles import Profile

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from prunebench.schedules.torch_scheduler import ScheduleLR


@dataclass(frozen=True)
class Schedule:
    """The LR of every update: `profile` shapes one pruning cycle, `policy` gives each cycle its peak.

    profile: any object with the method of `Profile`. policy: any with that of `Policy`.

    >>> from prunebench.schedules import Cosine, Fixed, S_CYC, Schedule
    >>> Schedule(Cosine(), Fixed(0.1)).lr(cycle=3, step=0, total_steps=100)
    0.1
    >>> S_CYC["resnet20_cifar10"].lr(cycle=0, step=49, total_steps=100)
    0.03
    """

    profile: Profile
    policy: Policy

    def lr(self, cycle: int, step: int, total_steps: int) -> float:
        """LR of update `step` (0-based) of `total_steps` in pruning cycle `cycle` (0 = dense).

        InputError if the step is outside the cycle or the policy has no such cycle.
        """
        return self.profile.lr(step, total_steps, self.policy.at(cycle))

    def as_torch(
        self,
        optimizer: Optimizer,
        steps_per_cycle: int,
        first_cycle: int = 0,
        *,
        factors: Sequence[float] | None = None,
        last_epoch: int = -1,
    ) -> ScheduleLR:
        """A torch LRScheduler with these values, to be stepped once per update (see `ScheduleLR`)."""
        from prunebench.schedules.torch_scheduler import ScheduleLR

        return ScheduleLR(optimizer, self, steps_per_cycle, first_cycle, factors=factors, last_epoch=last_epoch)
