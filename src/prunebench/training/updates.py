"""What an update does to the weights: SGD, or gRDA. For either a job keeps a buffer per parameter and a threshold."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from prunebench.optim.grda import grda_step_, threshold_increment
from prunebench.optim.sgd import sgd_step_


class Update(Protocol):
    """How a leg of training moves the weights."""

    def begin_(self, parameters: list[Tensor], buffers: list[Tensor]) -> None:
        """Prepares the buffers at the beginning of a leg."""
        ...

    def step_(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: list[Tensor],
        *,
        lr: float,
        n: int,
        threshold: float,
    ) -> float:
        """Update n (1, 2, ...) of the leg in place; gives the threshold after it. `gradients` are consumed."""
        ...


@dataclass(frozen=True)
class Sgd:
    """SGD with momentum and weight decay on every parameter. The buffers are momentum.

    l1: adds l1 |w| to the loss for weights of two or more dimensions, by a proximal step: w is shrunk towards zero by
    lr l1 after each update, and has exact zeros (ISTA; Daubechies et al. 2004).
    """

    momentum: float
    weight_decay: float
    l1: float = 0.0

    def begin_(self, parameters: list[Tensor], buffers: list[Tensor]) -> None:
        """Momentum is kept or cleared by whoever begins the leg."""

    @torch.no_grad()
    def step_(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: list[Tensor],
        *,
        lr: float,
        n: int,
        threshold: float,
    ) -> float:
        """One update; the threshold is no concern of SGD's."""
        decay = self.weight_decay
        sgd_step_(parameters, gradients, buffers, lr=lr, momentum=self.momentum, weight_decay=decay)
        if self.l1:
            for parameter in parameters:
                if parameter.dim() > 1:
                    parameter.sub_(parameter.clamp(-lr * self.l1, lr * self.l1))
        return threshold


@dataclass(frozen=True)
class Grda:
    """gRDA (`prunebench.optim.GRDA` says more); the buffers are its accumulators.

    spare_norm_and_bias: parameters of fewer than two dimensions follow plain SGD.
    """

    c: float
    mu: float
    spare_norm_and_bias: bool = False

    def begin_(self, parameters: list[Tensor], buffers: list[Tensor]) -> None:
        """The accumulators start at the weights."""
        with torch.no_grad():
            for parameter, buffer in zip(parameters, buffers, strict=True):
                buffer.copy_(parameter)

    def step_(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        buffers: list[Tensor],
        *,
        lr: float,
        n: int,
        threshold: float,
    ) -> float:
        """One update; the threshold grows by this update's increment first."""
        threshold += threshold_increment(n, lr, self.c, self.mu)
        spared = [self.spare_norm_and_bias and p.dim() < 2 for p in parameters]
        for chosen, reached in ((False, threshold), (True, 0.0)):
            part = [i for i, spare in enumerate(spared) if spare is chosen]
            if part:
                lists = ([tensors[i] for i in part] for tensors in (parameters, gradients, buffers))
                grda_step_(*lists, lr=lr, threshold=reached, foreach=parameters[0].is_cuda)
        return threshold
