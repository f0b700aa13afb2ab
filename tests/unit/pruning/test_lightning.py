"""A Lightning run that prunes, stays pruned, and resumes to the same bytes."""

import doctest

import lightning.pytorch as lightning
import pytest
import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.pruning import lightning as pruning_lightning
from prunebench.pruning.layers import prunable_weights
from prunebench.pruning.lightning import Pruning
from prunebench.pruning.masks import density, nonzero


def fit(tmp_path, epochs, densities, resume=None, **options):
    """A Lightning run on random images: module, callback, path of its checkpoint."""

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
            self.seen = []

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def on_train_epoch_end(self):
            self.seen.append(density(nonzero(prunable_weights(self))))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    torch.manual_seed(1)
    data = torch.utils.data.TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(10, (64,)))
    callback, module = Pruning(densities, **options), Module()
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[callback], **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=16), ckpt_path=resume)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    return module, callback, tmp_path / "run.ckpt"


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_run_prunes_and_stays_pruned(tmp_path, one_thread):
    module, callback, _ = fit(tmp_path, 3, {1: 0.5, 2: 0.2}, criterion="lamp")
    assert module.seen == pytest.approx([1, 0.5, 0.2], abs=1e-3)
    whole = [p.detach().clone() for p in module.parameters()]

    _, _, checkpoint = fit(tmp_path, 2, {1: 0.5, 2: 0.2}, criterion="lamp")
    resumed, again, _ = fit(tmp_path, 3, {1: 0.5, 2: 0.2}, resume=checkpoint, criterion="lamp")
    assert all(torch.equal(p, q) for p, q in zip(resumed.parameters(), whole, strict=True))
    assert all(torch.equal(again.masks[name], callback.masks[name]) for name in callback.masks)


def test_a_criterion_that_needs_more_is_refused_in_lightning():
    with pytest.raises(InputError, match="criterion 'global_gradient' needs more than the weights"):
        Pruning({1: 0.5}, criterion="global_gradient")
    with pytest.raises(InputError, match="density of epoch 1 is 2; allowed"):
        Pruning({1: 2})
    with pytest.raises(InputError, match=r"densities by epoch are \[0\.2, 0\.5\]; allowed: never rising"):
        Pruning({1: 0.2, 2: 0.5})
    with pytest.raises(InputError, match=r"epochs of densities are \[-1\]"):
        Pruning({-1: 0.2})
    assert doctest.testmod(pruning_lightning).failed == 0
