"""What happens to the surviving weights after a prune."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from prunebench.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor, nn


class AfterPrune(StrEnum):
    """The four ways on. `restarts_lr` says whether the LR schedule of the cycle starts over.

    KEEP: the weights stay and training goes on at the LR it had reached (fine-tuning); after a profile that ends
    near 0, such as the triangle, that hardly moves them.
    REWIND_LR: the weights stay, the LR schedule starts over (Renda et al. 2020).
    REWIND_WEIGHTS: the weights go back to epoch k (Frankle et al. 2019), and the LR schedule with them.
    REINITIALISE: the weights are drawn anew, the default of the S-Cyc and SILO scripts [authors' code].
    """

    KEEP = "keep"
    REWIND_WEIGHTS = "rewind_weights"
    REWIND_LR = "rewind_lr"
    REINITIALISE = "reinitialise"

    @property
    def restarts_lr(self) -> bool:
        """Whether the next cycle's LR schedule begins anew, rewound or not."""
        return self is not AfterPrune.KEEP

    @property
    def rewinds(self) -> bool:
        """Whether the next cycle starts at epoch k of the schedule, and not at its beginning."""
        return self in (AfterPrune.REWIND_WEIGHTS, AfterPrune.REWIND_LR)

    @classmethod
    def parse(cls, name: str) -> AfterPrune:
        """The option of that name; InputError with the nearest name if there is none.

        >>> from prunebench.pruning import AfterPrune
        >>> AfterPrune.parse("rewind_lr").restarts_lr, AfterPrune.parse("keep").restarts_lr
        (True, False)
        """
        try:
            return cls(name)
        except ValueError:
            raise InputError(f"unknown option after a prune '{name}': {nearest(str(name), cls)}") from None


def after_prune_(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    option: AfterPrune | str,
    *,
    saved_state: Mapping[str, Any] | None = None,
    fresh_state: Mapping[str, Any] | None = None,
) -> None:
    """Puts the model, in place, into the state from which the next cycle starts, and zeroes its pruned
    weights.

    saved_state: the state_dict of epoch k, for "rewind_weights". fresh_state: that of a newly initialised
    network, for "reinitialise". Both are loaded to the bit, buffers such as batch-norm statistics included,
    and left unchanged. The optimizer is the caller's: it should be made anew wherever `restarts_lr` is true.

    Raises InputError if the option is unknown, its state is missing or a state does not fit the model.

    >>> import torch
    >>> from prunebench.pruning import after_prune_
    >>> model, masks = torch.nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])}
    >>> early = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.zeros(1)}
    >>> after_prune_(model, masks, "rewind_weights", saved_state=early)
    >>> model.weight.tolist()
    [[3.0, 0.0]]
    """
    from prunebench.pruning.masks import apply_masks_

    option = AfterPrune.parse(option)
    if option is AfterPrune.REWIND_WEIGHTS:
        _load(model, saved_state, "saved_state", option)
    elif option is AfterPrune.REINITIALISE:
        _load(model, fresh_state, "fresh_state", option)
    apply_masks_(model, masks)


def _load(model: nn.Module, state: Mapping[str, Any] | None, key: str, option: AfterPrune) -> None:
    if state is None:
        raise InputError(f"'{option}' after a prune needs {key}")
    own = model.state_dict()
    # before loading, because torch would load what fits and then raise over several lines
    for name in [*own, *state]:
        if name not in state or name not in own:
            raise InputError(f"{key} does not fit the model: '{name}' is only in one of them")
        if hasattr(own[name], "shape") and own[name].shape != state[name].shape:
            raise InputError(
                f"{key} does not fit the model: '{name}' has shape {tuple(state[name].shape)}, "
                f"the model's {tuple(own[name].shape)}"
            )
    model.load_state_dict(state)
