"""What an optimizer's step costs: counts and order of what is measured; no assertion on times."""

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from prunebench.analysis import optimizer_cost
from prunebench.analysis.optimizer_cost import (
    OPTIMIZERS,
    RESNET50_SHAPES,
    ReferenceGRDA,
    optimizer_memory,
    optimizer_seconds,
    training_seconds,
)
from prunebench.errors import InputError
from prunebench.models import build
from prunebench.optim.grda import GRDA

SHAPES = [(64, 32), (64,)]
BYTES = 4 * (64 * 32 + 64)


class Recorder(Optimizer):
    """Writes its name down at each step, and asks for temporaries of so many bytes, `held` of them at once."""

    def __init__(self, params, log=None, name="", temporary=0, held=1):
        super().__init__(params, {})
        self.log, self.name, self.temporary, self.held = log, name, temporary, held

    def step(self):
        if self.log is not None:
            self.log.append(self.name)
        for _ in range(3):
            kept = [torch.zeros(self.temporary // 4) for _ in range(self.held)]
            assert len(kept) == self.held
            del kept


def test_blocks_are_interleaved_and_their_order_rotates():
    log = []
    makers = {name: lambda params, name=name: Recorder(params, log, name) for name in "abc"}
    rows = optimizer_seconds(SHAPES, makers, blocks=3, steps=2)
    assert [(row["optimizer"], row["block"]) for row in rows] == [
        *(("b", 1), ("c", 1), ("a", 1)),
        *(("c", 2), ("a", 2), ("b", 2)),
        *(("a", 3), ("b", 3), ("c", 3)),
    ]
    # two steps in each block, the first block of each warming up
    assert "".join(log) == "aabbcc" + "bbccaa" + "ccaabb" + "aabbcc"
    assert all(row["seconds"] > 0 for row in rows)
    assert all(list(row) == ["optimizer", "block", "seconds"] for row in rows)


@pytest.mark.parametrize(("blocks", "steps", "optimizers"), [(0, 1, OPTIMIZERS), (1, 0, OPTIMIZERS), (1, 1, {})])
def test_nothing_to_measure_is_refused(blocks, steps, optimizers):
    with pytest.raises(InputError, match="allowed: 1 or more"):
        optimizer_seconds(SHAPES, optimizers, blocks=blocks, steps=steps)


def test_each_optimizer_has_parameters_of_its_own_with_equal_values_and_gradients():
    seen = []

    def make(params):
        seen.append(params)
        return Recorder(params)

    optimizer_seconds(SHAPES, {"a": make, "b": make}, blocks=1, steps=1)
    for p, q in zip(*seen, strict=True):
        assert p.data_ptr() != q.data_ptr()
        assert torch.equal(p, q)
        assert torch.equal(p.grad, q.grad)
        assert bool((p.grad != 0).any())


def test_training_steps_train_a_copy():
    model = build("mlp", classes=3, in_channels=1, image_size=4, width=0.05, depth=1, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copies, start = [], []

    def make(params):
        copies.append(params)
        start.append([p.detach().clone() for p in params])
        return torch.optim.SGD(params, lr=0.1)

    batch = torch.randn(8, 1, 4, 4), torch.randint(3, (8,))
    rows = training_seconds(model, batch, {"one": make, "other": make}, blocks=2, steps=3)
    assert len(rows) == 4
    assert {row["block"] for row in rows} == {1, 2}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for p, q, value in zip(*copies, start[0], strict=True):
        assert torch.equal(p, q)
        assert not torch.equal(p, value)


@pytest.mark.parametrize("held", [1, 2, 5])
def test_memory_sees_temporaries_that_are_alive_together(held):
    sizes = optimizer_memory(SHAPES, lambda params: Recorder(params, temporary=400, held=held))
    assert sizes == {"parameter_bytes": BYTES, "state_bytes": 0, "peak_bytes": 400 * held}


@pytest.mark.parametrize(("name", "states"), [("sgd", 0), ("sgd_momentum", 1), ("grda", 1)])
def test_in_place_optimizers_need_no_temporaries(name, states):
    sizes = optimizer_memory(SHAPES, OPTIMIZERS[name])
    assert sizes == {"parameter_bytes": BYTES, "state_bytes": states * BYTES, "peak_bytes": 0}


def test_a_step_that_replaces_its_parameters_is_not_charged_for_both():
    sizes = optimizer_memory([(64, 32)], OPTIMIZERS["grda_reference"])
    # magnitude less threshold, clamped, sign and product; its counters are scalars
    assert sizes["state_bytes"] == sizes["parameter_bytes"] == 4 * 64 * 32
    assert sizes["peak_bytes"] == 4 * sizes["parameter_bytes"]
    more = optimizer_memory([(64, 32)] * 5, OPTIMIZERS["grda_reference"])
    assert more["peak_bytes"] == sizes["peak_bytes"]


def test_the_reference_agrees_with_grda():
    reference, ours = (optimizer_cost._parameters(SHAPES, torch.device("cpu")) for _ in range(2))
    optimizers = ReferenceGRDA(reference, lr=0.1, c=0.02, mu=0.6), GRDA(ours, lr=0.1, c=0.02, mu=0.6)
    draw = torch.Generator().manual_seed(0)
    for step in range(100):
        for p, q in zip(reference, ours, strict=True):
            p.grad = 0.1 * torch.randn(p.shape, generator=draw)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.1 if step < 50 else 0.01
            optimizer.step()
    for p, q in zip(reference, ours, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
    assert 0.1 < float((ours[0] == 0).float().mean()) < 0.9


def test_the_factories_make_what_their_names_say():
    made = {name: make([nn.Parameter(torch.zeros(2))]) for name, make in OPTIMIZERS.items()}
    assert list(made) == ["sgd", "sgd_momentum", "grda", "grda_reference"]
    assert [type(optimizer) for optimizer in made.values()] == [torch.optim.SGD, torch.optim.SGD, GRDA, ReferenceGRDA]
    assert [made[name].param_groups[0]["momentum"] for name in ("sgd", "sgd_momentum")] == [0, 0.9]
    assert all(made[name].param_groups[0]["foreach"] for name in ("sgd", "sgd_momentum"))
    assert len({optimizer.param_groups[0]["lr"] for optimizer in made.values()}) == 1


def test_resnet50_has_torchvisions_shapes():
    with torch.device("meta"):
        model = build("torchvision_resnet50", classes=1000, in_channels=3, image_size=224, seed=None)
    assert [tuple(p.shape) for p in model.parameters()] == list(RESNET50_SHAPES)
    assert len(RESNET50_SHAPES) == 161
