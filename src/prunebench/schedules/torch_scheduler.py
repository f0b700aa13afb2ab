"""A Schedule as a torch LR scheduler; apart, so that `import prunebench.schedules` imports no torch."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from prunebench.errors import InputError
from prunebench.schedules.schedule import Schedule


class ScheduleLR(LRScheduler):
    """Sets the optimizer's LR from a Schedule; step it once after each optimizer.step().

    schedule: the Schedule. steps_per_cycle: updates per pruning cycle, an integer >= 1; the scheduler moves
    on to the next cycle by itself. first_cycle: the cycle at which it starts, for loops that make a new
    optimizer in each cycle. last_epoch: as of torch's schedulers, updates done minus one; -1 begins.

    The schedule's LR is that of the first param group, times the group's factor that of another. factors: one number
    >= 0 per group; None takes the LRs that the groups were made with (`initial_lr`), each over the first one's. A group
    that is added later gets its factor in the same way.

    It behaves as torch's own do, in SequentialLR and ChainedScheduler too: an LR that is a tensor is written in place;
    the optimizer's state_dict holds the LR, so load both. The state_dict is plain numbers (and tensors, where the LR is
    one) and loads with weights_only=True. Past the last cycle of a Table, the step that ends that cycle leaves the LR
    as it is and the next one raises InputError.

    Raises InputError for a number out of range, where `factors` are needed, and for a state that does not fit.

    >>> import torch
    >>> from prunebench.schedules import Constant, Schedule, Table
    >>> optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    >>> scheduler = Schedule(Constant(), Table((0.1, 0.4))).as_torch(optimizer, steps_per_cycle=2)
    >>> lrs = []
    >>> for _ in range(4):
    ...     lrs += scheduler.get_last_lr()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> lrs
    [0.1, 0.1, 0.4, 0.4]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        steps_per_cycle: int,
        first_cycle: int = 0,
        *,
        factors: Sequence[float] | None = None,
        last_epoch: int = -1,
    ) -> None:
        for key, value, low in (("steps_per_cycle", steps_per_cycle, 1), ("first_cycle", first_cycle, 0)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
                raise InputError(f"as_torch: {key} is {value!r}; allowed: an integer >= {low}")
        self.schedule = schedule
        self.steps_per_cycle = int(steps_per_cycle)
        self.first_cycle = int(first_cycle)
        self.factors = None if factors is None else _checked(factors, len(optimizer.param_groups))
        schedule.lr(self.first_cycle, 0, self.steps_per_cycle)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The LR of the coming update, once per param group."""
        passed, step = divmod(self.last_epoch, self.steps_per_cycle)
        try:
            lr = self.schedule.lr(self.first_cycle + passed, step, self.steps_per_cycle)
        except InputError:
            # a loop steps once more after its very last update, when there need not be a next cycle
            if step == 0 and passed > 0:
                return [group["lr"] for group in self.optimizer.param_groups]
            raise
        return [lr * self._factor(index) for index in range(len(self.optimizer.param_groups))]

    def _factor(self, index: int) -> float:
        """The LR of a param group over that of the first."""
        if self.factors is not None and index < len(self.factors):
            return self.factors[index]
        for group in self.optimizer.param_groups[len(self.base_lrs) :]:
            self.base_lrs.append(group.setdefault("initial_lr", float(group["lr"])))
        first, own = float(self.base_lrs[0]), float(self.base_lrs[index])
        if own == first:
            return 1.0
        if not (first > 0 and math.isfinite(own / first)):
            raise InputError(f"as_torch: the param groups begin at LRs of {first} and {own}; give `factors`")
        return own / first

    def state_dict(self) -> dict[str, Any]:
        """What torch's schedulers save, without the schedule: that is given anew when resuming."""
        return {key: value for key, value in super().state_dict().items() if key != "schedule"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes; InputError if the state was saved with another cycle length, first cycle or other factors."""
        needed = ("last_epoch", "steps_per_cycle", "first_cycle", "factors")
        if missing := [key for key in needed if key not in state_dict]:
            raise InputError(f"as_torch: this is no state of ScheduleLR: it has no {' and no '.join(missing)}")
        for key in ("steps_per_cycle", "first_cycle", "factors"):
            if state_dict[key] != getattr(self, key):
                raise InputError(
                    f"as_torch: {key} is {state_dict[key]} in the saved state; allowed: {getattr(self, key)}"
                )
        super().load_state_dict({key: state_dict[key] for key in self.state_dict() if key in state_dict})


def _checked(factors: Sequence[float], groups: int) -> list[float]:
    """`factors` as floats. Raises InputError unless there is one number >= 0 per group."""
    try:
        numbers = [float(factor) for factor in factors]
    except (TypeError, ValueError):
        raise InputError(f"as_torch: factors are {factors!r}; allowed: {groups} numbers, one per param group") from None
    if len(numbers) != groups or not all(0 <= number < math.inf for number in numbers):
        raise InputError(f"as_torch: factors are {numbers}; allowed: {groups} finite numbers >= 0, one per param group")
    return numbers
