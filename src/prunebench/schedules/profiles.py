"""LR profiles: the LR over one pruning cycle, a pure function of the step and of the cycle's max_lr.

`lr(step, total_steps, max_lr)` is the LR of update `step`, 0 <= step < total_steps. Positions in a cycle are
shares of it: share x begins at update round(x * total_steps), halves rounded up.

No update runs at an LR of zero unless a field asks for it: the feet of a ramp lie just outside the updates. A
ramp of n updates gives max_lr * 1/n, 2/n, ..., n/n, so its first update moves the weights and its last one
has max_lr exactly.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from prunebench.schedules import _check


class Profile(Protocol):
    """Anything with this method is a profile."""

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step` (0-based) of a cycle of `total_steps` updates, in [0, max_lr]."""
        ...


def _begin(share: float, total_steps: int) -> int:
    """The update at which `share` of a cycle has passed."""
    return math.floor(share * total_steps + 0.5)


def _ramp_length(share: float, total_steps: int) -> int:
    """Updates in a ramp over `share` of the cycle: at least one, so that a short cycle has its peak too."""
    return max(1, _begin(share, total_steps)) if share > 0 else 0


@dataclass(frozen=True)
class Constant:
    """LR = max_lr at every update."""

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import Constant
        >>> Constant().lr(step=3, total_steps=10, max_lr=0.1)
        0.1
        """
        _check.step(step, total_steps)
        return max_lr


@dataclass(frozen=True)
class StepDecay:
    """max_lr from the first update on, multiplied by `factor` at each milestone.

    milestones: strictly increasing shares of the cycle in [0, 1]; the update that begins there has the lower
    LR.
    factor: in (0, 1].
    """

    milestones: tuple[float, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check.milestones(self)
        _check.number(self, "factor", low=0, low_open=True, high=1)

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import StepDecay
        >>> profile = StepDecay(milestones=(0.5, 0.8), factor=0.5)
        >>> [profile.lr(step, total_steps=10, max_lr=1.0) for step in (0, 4, 5, 7, 8)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
        """
        _check.step(step, total_steps)
        drops = sum(step >= _begin(share, total_steps) for share in self.milestones)
        return max_lr * self.factor**drops


@dataclass(frozen=True)
class WarmupStepDecay:
    """A linear ramp from 0 to max_lr over `warmup` of the cycle, then `factor` at each milestone.

    With W = max(1, round(warmup * total_steps)), update s < W has max_lr * (s + 1) / W: the peak, max_lr to
    the bit, is update W - 1 and lasts until the first milestone. A milestone never cuts the ramp: one inside
    it is refused, and one that rounding would put inside it takes effect right after it.

    warmup: share of the cycle in [0, 1]. milestones: strictly increasing shares in [warmup, 1]. factor: in
    (0, 1]. top: share of max_lr at which the ramp ends, in (0, 1]. Below 1 the ramp is cut before it is there, as
    in the released scripts [authors' code], and what follows it is as ever: max_lr times factor once per milestone.
    """

    warmup: float
    milestones: tuple[float, ...]
    factor: float = 0.1
    top: float = 1.0

    def __post_init__(self) -> None:
        _check.number(self, "warmup", low=0, high=1)
        _check.number(self, "top", low=0, low_open=True, high=1)
        _check.milestones(self)
        _check.number(self, "factor", low=0, low_open=True, high=1)
        for share in self.milestones:
            _check.number_value("WarmupStepDecay", "milestones entry after warmup", share, self.warmup, 1)

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import WarmupStepDecay
        >>> profile = WarmupStepDecay(warmup=0.4, milestones=(0.6,), factor=0.5)
        >>> [profile.lr(step, total_steps=10, max_lr=1.0) for step in range(8)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]
        >>> cut = WarmupStepDecay(warmup=0.5, milestones=(0.5,), factor=0.1, top=0.5)
        >>> [cut.lr(step, total_steps=4, max_lr=1.0) for step in range(4)]
        [0.25, 0.5, 0.1, 0.1]
        """
        _check.step(step, total_steps)
        ramp = _ramp_length(self.warmup, total_steps)
        if step < ramp:
            return max_lr * (self.top * ((step + 1) / ramp))
        drops = sum(step >= _begin(share, total_steps) for share in self.milestones)
        return max_lr * self.factor**drops


@dataclass(frozen=True)
class Cyclical:
    """Triangular LR: 0 -> max_lr -> 0, `periods` times per pruning cycle (Smith 2017, "triangular").

    Period i covers the updates from round(i * total_steps / periods) to the next such boundary. In a period
    of P updates the ramp up takes U = ceil(P / 2), and update U - 1 of the period has max_lr to the bit; the
    ramp down would reach its foot with the update after the period. A fractional last period is cut off:
    periods=0.5 is one ramp up.

    periods: > 0. min_share: the foot as a share of max_lr, in [0, 1).
    """

    periods: float = 1
    min_share: float = 0.0

    def __post_init__(self) -> None:
        _check.number(self, "periods", low=0, low_open=True)
        _check.number(self, "min_share", low=0, high=1, high_open=True)

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import Cyclical
        >>> [Cyclical().lr(step, total_steps=7, max_lr=1.0) for step in range(7)]
        [0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25]
        """
        _check.step(step, total_steps)
        period = math.floor(step * self.periods / total_steps)
        # rounded boundaries can lie one update off the unrounded ones
        while self._boundary(period + 1, total_steps) <= step:
            period += 1
        while self._boundary(period, total_steps) > step:
            period -= 1
        first = self._boundary(period, total_steps)
        length = self._boundary(period + 1, total_steps) - first
        up = (length + 1) // 2
        position = step - first
        height = (position + 1) / up if position < up else (length - position) / (length - up + 1)
        return max_lr * (self.min_share + (1 - self.min_share) * height)

    def _boundary(self, period: int, total_steps: int) -> int:
        return _begin(period / self.periods, total_steps)


@dataclass(frozen=True)
class OneCycle:
    """One cosine ramp up and one cosine ramp down (Smith & Topin 2018, in the cosine form of torch's
    OneCycleLR).

    With W = max(1, round(peak * total_steps)), update W - 1 has max_lr to the bit. The start and the end
    values lie just before the first and just after the last update.

    peak: share of the cycle spent on the ramp up, in (0, 1]. start_share and end_share: LR at the two feet as
    shares of max_lr, in [0, 1]; the defaults 0.3 and 1/25 are those of torch.optim.lr_scheduler.OneCycleLR,
    whose end is 4e-6.
    """

    peak: float = 0.3
    start_share: float = 0.04
    end_share: float = 0.0

    def __post_init__(self) -> None:
        _check.number(self, "peak", low=0, low_open=True, high=1)
        _check.number(self, "start_share", low=0, high=1)
        _check.number(self, "end_share", low=0, high=1)

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import OneCycle
        >>> profile = OneCycle(peak=0.5)
        >>> [round(profile.lr(step, total_steps=4, max_lr=1.0), 3) for step in range(4)]
        [0.52, 1.0, 0.75, 0.25]
        """
        _check.step(step, total_steps)
        up = _ramp_length(self.peak, total_steps)
        if step < up:
            foot, part = self.start_share, (up - step - 1) / up
        else:
            foot, part = self.end_share, (step - up + 1) / (total_steps - up + 1)
        return max_lr * _half_cosine(foot, part)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from max_lr, at update 0 to the bit, down to min_share * max_lr just after the last
    update.

    Loshchilov & Hutter 2017, one period per pruning cycle. min_share: in [0, 1].
    """

    min_share: float = 0.0

    def __post_init__(self) -> None:
        _check.number(self, "min_share", low=0, high=1)

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import Cosine
        >>> [round(Cosine().lr(step, total_steps=3, max_lr=1.0), 3) for step in range(3)]
        [1.0, 0.75, 0.25]
        """
        _check.step(step, total_steps)
        return max_lr * _half_cosine(self.min_share, step / total_steps)


@dataclass(frozen=True)
class HoldThenLinear:
    """max_lr for a while, a straight line down, then a low constant LR.

    hold, end: shares of the cycle at which the line begins and ends, 0 <= hold <= end <= 1. low_share: the last LR over
    max_lr, in [0, 1]. The defaults are those of gRDA's VGG16 and WRN runs [authors' code], after Garipov et al. 2018;
    theirs changes by the epoch, ours by the update.
    """

    hold: float = 0.5
    end: float = 0.9
    low_share: float = 0.01

    def __post_init__(self) -> None:
        _check.number(self, "hold", low=0, high=1)
        _check.number(self, "end", low=self.hold, high=1)
        _check.number(self, "low_share", low=0, high=1)

    def lr(self, step: int, total_steps: int, max_lr: float) -> float:
        """LR of update `step`; InputError if the step is outside the cycle.

        >>> from prunebench.schedules import HoldThenLinear
        >>> profile = HoldThenLinear(hold=0.5, end=0.9, low_share=0.2)
        >>> [round(profile.lr(step, total_steps=10, max_lr=1.0), 3) for step in range(4, 10)]
        [1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
        """
        _check.step(step, total_steps)
        begin, end = _begin(self.hold, total_steps), _begin(self.end, total_steps)
        if step < begin:
            return max_lr
        part = (step - begin) / (end - begin) if step < end else 1.0
        return max_lr * (1 - part * (1 - self.low_share))


def _half_cosine(foot: float, part: float) -> float:
    """1 at part=0, `foot` at part=1."""
    return foot + (1 - foot) * (1 + math.cos(math.pi * part)) / 2 if part else 1.0


WARMUP_RESNET20 = WarmupStepDecay(warmup=25 / 50, milestones=(25 / 50, 32 / 50))
"""ResNet-20 / CIFAR-10, 50 epochs per cycle: ramp until epoch 25, then max_lr/10, from epoch 32 max_lr/100
[authors' code: SILO resnet_20_cifar_10.py]. The script's slope is max_lr / 20,000 per update, and with its
36,000 images the ramp is cut at update 14,075, at 0.70 of max_lr, by the first drop. Ours reaches max_lr
there; with `top=0.70375` it is the script's.
"""

WARMUP_VGG19 = WarmupStepDecay(warmup=14 / 160, milestones=(80 / 160, 120 / 160))
"""VGG-19 / CIFAR-10, 160 epochs per cycle: ramp until epoch 14, drops at epochs 80 and 120 [authors' code:
SILO vgg_19_cifar_10.py]. The script's slope is max_lr / 10,000 per update, so that its ramp is cut at 0.79 of
max_lr (update 7,882) and the LR jumps to max_lr at epoch 14. Ours reaches max_lr there without a jump; with
`top=0.7882` it is the script's.
"""

PUBLISHED_WARMUPS: dict[str, WarmupStepDecay] = {
    "resnet20_cifar10": WARMUP_RESNET20,
    "vgg19_cifar10": WARMUP_VGG19,
}

PROFILES: dict[str, type] = {
    "constant": Constant,
    "step_decay": StepDecay,
    "warmup_step_decay": WarmupStepDecay,
    "cyclical": Cyclical,
    "one_cycle": OneCycle,
    "cosine": Cosine,
    "hold_then_linear": HoldThenLinear,
}
