"""A Schedule as a torch LR scheduler; apart, so that `import prunebench.schedules` imports no torch."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from prunebench.errors import InputError
from prunebench.schedules.schedule import Schedule


class ScheduleLR(LRScheduler):
    """Sets the optimizer's LR from a Schedule; step it once after each optimizer.step().

    schedule: the Schedule. steps_per_cycle: updates per pruning cycle, an integer >= 1; the scheduler moves
    on to the next cycle by itself. first_cycle: the cycle at which it starts, for loops that make a new
    optimizer in each cycle.

    Every param group gets the same LR, whatever it was made with. The state_dict is plain numbers and loads
    with weights_only=True; loading it also sets the optimizer's LR. Past the last cycle of a Table, the step
    that ends that cycle leaves the LR as it is and the next one raises InputError.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, steps_per_cycle: int, first_cycle: int = 0) -> None:
        for key, value, low in (("steps_per_cycle", steps_per_cycle, 1), ("first_cycle", first_cycle, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InputError(f"as_torch: {key} is {value!r}; allowed: an integer >= {low}")
        self.schedule = schedule
        self.steps_per_cycle = steps_per_cycle
        self.first_cycle = first_cycle
        schedule.lr(first_cycle, 0, steps_per_cycle)
        super().__init__(optimizer)

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
        return [lr] * len(self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: the updates done, steps_per_cycle and first_cycle."""
        return {
            "updates": self.last_epoch,
            "steps_per_cycle": self.steps_per_cycle,
            "first_cycle": self.first_cycle,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes; InputError if the state was saved with another cycle length or first cycle."""
        for key in ("steps_per_cycle", "first_cycle"):
            if state_dict[key] != getattr(self, key):
                raise InputError(
                    f"as_torch: {key} is {state_dict[key]} in the saved state; allowed: {getattr(self, key)}"
                )
        self.last_epoch = state_dict["updates"]
        self._step_count = self.last_epoch + 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
