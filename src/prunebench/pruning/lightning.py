"""Pruning in PyTorch Lightning: a callback. Needs `pip install lightning`."""

from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError("prunebench.pruning.lightning needs Lightning: pip install lightning") from error

from prunebench.errors import InputError
from prunebench.pruning.criteria import ScoreInputs, get_criterion
from prunebench.pruning.layers import prunable_weights, table_of
from prunebench.pruning.masks import Masks, apply_masks_, check_share, full_masks


class Pruning(Callback):
    """Prunes at the start of epochs, and keeps pruned weights at zero after every update.

    densities: epoch (0-based) -> share of the prunable weights that is alive from then on, in [0, 1] and never rising.
    criterion: the name of one that looks at weights alone. include_norm: as of `layers_of`. seed: of random criteria.
    `masks` holds the present masks; a checkpoint keeps them.

    >>> from prunebench.pruning.lightning import Pruning
    >>> Pruning({1: 0.5, 2: 0.2}, criterion="lamp").densities
    {1: 0.5, 2: 0.2}
    """

    def __init__(
        self,
        densities: Mapping[int, float],
        criterion: str = "global_magnitude",
        *,
        include_norm: bool = False,
        seed: int = 0,
    ) -> None:
        self.densities = {epoch: check_share(share, f"density of epoch {epoch}") for epoch, share in densities.items()}
        if not all(isinstance(epoch, int) and epoch >= 0 for epoch in self.densities):
            raise InputError(f"epochs of densities are {list(self.densities)}; allowed: integers >= 0")
        falling = [self.densities[epoch] for epoch in sorted(self.densities)]
        if falling != sorted(falling, reverse=True):
            raise InputError(
                f"densities by epoch are {falling}; allowed: never rising, since pruned weights stay pruned"
            )
        self.criterion = get_criterion(criterion)
        if self.criterion.needs_gradients or self.criterion.needs_previous_weights:
            raise InputError(f"criterion '{criterion}' needs more than the weights; the callback has no more")
        self.include_norm, self.seed = include_norm, seed
        self.masks: Masks = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prunes where `densities` says so."""
        epoch = trainer.current_epoch
        if epoch not in self.densities:
            return
        weights = prunable_weights(pl_module, self.include_norm)
        masks = {name: mask.to(weights[name].device) for name, mask in (self.masks or full_masks(weights)).items()}
        cycle, layers = sorted(self.densities).index(epoch) + 1, table_of(pl_module, self.include_norm)[0]
        inputs = ScoreInputs(weights, masks, seed=self.seed, cycle=cycle, layers=layers)
        self.masks = self.criterion.prune(inputs, self.densities[epoch])
        apply_masks_(pl_module, self.masks)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Pruned weights are zero again."""
        apply_masks_(pl_module, {name: mask.to(pl_module.device) for name, mask in self.masks.items()})

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return dict(self.masks)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the masks of a checkpoint."""
        self.masks = dict(state_dict)
