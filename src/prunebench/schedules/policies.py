"""max_lr policies: the peak LR of each pruning cycle, a pure function of the cycle's index (0 = dense)."""

import math
from dataclasses import dataclass
from typing import Protocol

from prunebench.errors import InputError
from prunebench.schedules import _check


class Policy(Protocol):
    """Anything with this method is a policy."""

    def at(self, cycle: int) -> float:
        """Peak LR of pruning cycle `cycle` (0 = dense), > 0."""
        ...


@dataclass(frozen=True)
class Fixed:
    """The same peak LR in every cycle. max_lr: > 0.

    Fixed(shape.top) is the control for an SShape: the shape's top from the dense network on.
    """

    max_lr: float

    def __post_init__(self) -> None:
        _check.number(self, "max_lr", low=0, low_open=True)

    def at(self, cycle: int) -> float:
        """`max_lr`; InputError if the cycle is negative.

        >>> from prunebench.schedules import Fixed
        >>> Fixed(0.1).at(cycle=7)
        0.1
        """
        _check.cycle(cycle)
        return self.max_lr


@dataclass(frozen=True)
class SShape:
    """The S-shaped peak LR of S-Cyc (arXiv 2110.08764) and SILO (arXiv 2212.06144), as implemented by its
    authors.

        gamma_m = 1 - (1 - rate)^(m - delay)
        max_lr(m) = eps + alpha / (1 + (gamma_m / (1 - gamma_m))^(-beta))    for m > delay, else eps

    rate (p): share of the remaining weights that one cycle prunes, in (0, 1). delay (q): cycles at eps,
    integer >= 0.
    eps: peak LR of the dense network, > 0. alpha: total rise, >= 0. beta: steepness, > 0.
    """

    rate: float
    delay: int
    eps: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _check.number(self, "rate", low=0, low_open=True, high=1, high_open=True)
        _check.integer(self, "delay", low=0)
        _check.number(self, "eps", low=0, low_open=True)
        _check.number(self, "alpha", low=0)
        _check.number(self, "beta", low=0, low_open=True)

    @property
    def top(self) -> float:
        """eps + alpha, which max_lr approaches as the network gets sparser."""
        return self.eps + self.alpha

    def at(self, cycle: int) -> float:
        """Peak LR of the cycle, in [eps, top], never falling; InputError if the cycle is negative.

        >>> from prunebench.schedules import SShape
        >>> shape = SShape(rate=0.5, delay=0, eps=0.25, alpha=0.5, beta=5)
        >>> [round(shape.at(cycle), 3) for cycle in range(4)]  # half of the rise where half of the weights are left
        [0.25, 0.5, 0.748, 0.75]
        """
        _check.cycle(cycle)
        if cycle <= self.delay:
            return self.eps
        # in logarithms: 1 - gamma underflows for a large m, and the power overflows for a large beta
        log_left = (cycle - self.delay) * math.log1p(-self.rate)
        exponent = self.beta * (log_left - math.log(-math.expm1(log_left)))
        if exponent <= 0:  # noqa: SIM108 (the two branches are the same value, each without overflow)
            rise = 1 / (1 + math.exp(exponent))
        else:
            rise = math.exp(-exponent) / (1 + math.exp(-exponent))
        return self.eps + self.alpha * rise


@dataclass(frozen=True)
class Linear:
    """A straight line over the cycles: `start` at cycle 0, `top` at cycle `last` and in every later one.

    start, top: > 0. last: index of the last pruning cycle, an integer >= 1.
    """

    start: float
    top: float
    last: int

    def __post_init__(self) -> None:
        _check.number(self, "start", low=0, low_open=True)
        _check.number(self, "top", low=0, low_open=True)
        _check.integer(self, "last", low=1)

    def at(self, cycle: int) -> float:
        """Peak LR of the cycle, between start and top; InputError if the cycle is negative.

        >>> from prunebench.schedules import Linear
        >>> policy = Linear(start=0.1, top=0.5, last=4)
        >>> [round(policy.at(cycle), 3) for cycle in (0, 1, 2, 3, 4, 9)]
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]
        """
        _check.cycle(cycle)
        if cycle >= self.last:
            return self.top
        return self.start + (self.top - self.start) * (cycle / self.last)


@dataclass(frozen=True)
class Table:
    """One explicit peak LR per cycle, such as an oracle selected.

    values: at least one, each > 0; entry m is that of cycle m.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        items = _check.as_tuple(self, "values")
        if not items:
            raise InputError("Table: values is empty; allowed: one max_lr > 0 per cycle")
        for item in items:
            _check.number_value("Table", "values entry", item, 0, low_open=True)

    def at(self, cycle: int) -> float:
        """values[cycle]; InputError if the table has no such cycle.

        >>> from prunebench.schedules import Table
        >>> Table((0.1, 0.4, 0.2)).at(cycle=1)
        0.4
        """
        _check.cycle(cycle)
        if cycle >= len(self.values):
            raise InputError(f"Table: no max_lr for cycle {cycle}; allowed: cycles 0 to {len(self.values) - 1}")
        return self.values[cycle]


PUBLISHED_S_SHAPES: dict[str, SShape] = {
    "resnet20_cifar10": SShape(rate=0.20, delay=1, eps=0.03, alpha=0.04, beta=5),
    "vgg19_cifar10": SShape(rate=0.20, delay=1, eps=0.04, alpha=0.06, beta=5),
    "vgg19_cifar10_beta4": SShape(rate=0.20, delay=1, eps=0.04, alpha=0.06, beta=4),
}
"""The S-shapes in the SILO scripts [authors' code: Martin1937/SILO at f38ba96]; VGG-19's beta was 4 until
commit 422390d of 7 August 2023. That S-Cyc (2021) used the same constants is not confirmed.
"""

POLICIES: dict[str, type] = {
    "fixed": Fixed,
    "s_shape": SShape,
    "linear": Linear,
    "table": Table,
}
