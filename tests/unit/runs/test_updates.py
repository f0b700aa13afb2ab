"""Updates against references: torch's optimizers, this project's gRDA, formulas in float64."""

import dataclasses

import pytest
import torch

from prunebench.errors import InputError
from prunebench.optim import GRDA
from prunebench.runs.updates import UPDATES, AdamW, Grda, Nesterov, ProximalL1, Sgd, TorchOptimizer

LRS = [0.1, 0.05, 0.2, 0.0, 0.01, 0.1, 0.3]


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((5, 3), (7,), (2, 3, 2, 2))]


def gradients(step):
    return parameters(100 + step)


def moved(update):
    """The parameters after an update per learning rate."""
    weights = parameters()
    state = update.begin(weights)
    for step, lr in enumerate(LRS):
        update.step_(weights, gradients(step), state, lr)
    return weights


def reference(make):
    """The same under an optimizer of torch's kind."""
    weights = [torch.nn.Parameter(w) for w in parameters()]
    optimizer = make(weights)
    for step, lr in enumerate(LRS):
        for weight, gradient in zip(weights, gradients(step), strict=True):
            weight.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    return [w.detach() for w in weights]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_sgd_is_torchs_to_the_bit(momentum, weight_decay):
    ours = moved(Sgd(momentum, weight_decay))
    torchs = reference(lambda w: torch.optim.SGD(w, lr=1.0, momentum=momentum, weight_decay=weight_decay))
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))


def test_nesterov_is_torchs():
    ours = moved(Nesterov(0.9, 0.01))
    torchs = reference(lambda w: torch.optim.SGD(w, lr=1.0, momentum=0.9, weight_decay=0.01, nesterov=True))
    torch.testing.assert_close(ours, torchs)


def test_adamw_is_torchs():
    ours = moved(AdamW(beta1=0.8, weight_decay=0.1))
    torch.testing.assert_close(ours, reference(lambda w: torch.optim.AdamW(w, betas=(0.8, 0.999), weight_decay=0.1)))


def test_a_torch_optimizer_is_itself():
    ours = moved(TorchOptimizer("torch.optim:RMSprop", {"alpha": 0.9, "momentum": 0.5}))
    torchs = reference(lambda w: torch.optim.RMSprop(w, alpha=0.9, momentum=0.5))
    assert all(torch.equal(a, b) for a, b in zip(ours, torchs, strict=True))


def test_grda_is_the_optimizer_of_the_library():
    ours = moved(Grda(c=1.0, mu=0.6))
    theirs = reference(lambda w: GRDA(w, lr=0.1, c=1.0, mu=0.6))
    torch.testing.assert_close(ours, theirs)
    assert any((w == 0).any() for w in ours)


def test_grda_spares_parameters_of_one_dimension_where_asked():
    spared, plain = moved(Grda(c=0.5, mu=0.6, spare_norm_and_bias=True)), moved(Sgd())
    torch.testing.assert_close(spared[1], plain[1])
    assert (spared[0] == 0).any()


def test_the_l1_penalty_shrinks_weights_alone_after_the_update():
    ours, plain = [w.clone() for w in parameters()], [w.clone() for w in parameters()]
    update, sgd = ProximalL1(l1=0.5), Sgd()
    update.step_(ours, gradients(0), update.begin(ours), 0.1)
    sgd.step_(plain, gradients(0), sgd.begin(plain), 0.1)
    shrunk = [w.sign() * (w.abs() - 0.05).clamp(min=0) if w.dim() > 1 else w for w in plain]
    torch.testing.assert_close(ours, shrunk)


@pytest.mark.parametrize(
    "update",
    [Sgd(0.9), Nesterov(), AdamW(), Grda(c=0.1, mu=0.6), ProximalL1(0.9), TorchOptimizer("torch.optim:Adam")],
    ids=lambda update: type(update).__name__,
)
def test_a_state_that_is_saved_and_loaded_goes_on_to_the_bit(update):
    weights, state = parameters(), None
    state = update.begin(weights)
    for step in range(3):
        update.step_(weights, gradients(step), state, 0.1)
    tensors, numbers = state.save()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    copies = [w.clone() for w in weights]
    again = update.begin(copies)
    again.load_(tensors, numbers)
    for step in range(3, 6):
        update.step_(weights, gradients(step), state, 0.1)
        update.step_(copies, gradients(step), again, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(weights, copies, strict=True))


def test_every_kind_is_a_frozen_dataclass():
    for kind in UPDATES.values():
        assert dataclasses.is_dataclass(kind)
        assert kind.__dataclass_params__.frozen


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Sgd(momentum=1.0), "momentum is 1"),
        (lambda: Sgd(weight_decay=-1.0), "weight_decay is -1"),
        (lambda: Nesterov(0.0), "momentum is 0; allowed: > 0 and < 1"),
        (lambda: Grda(c=0.0, mu=0.6), "c is 0"),
        (lambda: Grda(c=0.1, mu=1.0), "mu is 1"),
        (lambda: ProximalL1(l1=-0.1), "l1 is -0.1"),
        (lambda: AdamW(beta2=1.0), "beta2 is 1"),
        (lambda: TorchOptimizer("Adam"), "module:Class"),
        (lambda: TorchOptimizer("torch.optim:Adam", {"lr": 1}), "the schedule's to set"),
        (lambda: TorchOptimizer("torch.optim:Adom").begin(parameters()), "cannot be made"),
    ],
)
def test_values_out_of_range_are_one_line(make, line):
    with pytest.raises(InputError, match=line) as error:
        make()
    assert "\n" not in str(error.value)
