"""gRDA: against an independent scalar implementation, torch.optim.SGD, and its authors' published thresholds."""

import copy
import doctest
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunebench.errors import InputError
from prunebench.optim import GRDA, grda_step
from prunebench.optim.grda_step import grda_step_, threshold_increment

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SHAPES = [(4, 3, 3, 3), (4,), (5, 4), ()]


def draw(shapes=SHAPES, seed=0, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]


def parameters(dtype=torch.float32, seed=0, device="cpu"):
    return [nn.Parameter(0.1 * p) for p in draw(seed=seed, dtype=dtype, device=device)]


def give_gradients(params, step):
    for p, g in zip(params, draw([p.shape for p in params], seed=100 + step), strict=True):
        p.grad = g.to(p)


def take_steps(optimizer, params, steps, scheduler=None):
    for step in steps:
        give_gradients(params, step)
        optimizer.step()
        if scheduler:
            scheduler.step()


def raw(tensor):
    """Its bytes, in its logical order: unlike ==, they tell 0.0 from -0.0 and NaN from nothing."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same_bits(one, other):
    return all(raw(a) == raw(b) for a, b in zip(one, other, strict=True))


# --- the update


def scalar_grda(w, gradient, lrs, c, mu):
    """papers.md C.1 with the incremental threshold of C.4, in plain Python floats, weight by weight."""
    v, w, g = list(w), list(w), 0.0
    for n, lr in enumerate(lrs, start=1):
        slope = gradient(w, n)
        g += c * math.pow(lr, 0.5 + mu) * (math.pow(n, mu) - math.pow(n - 1, mu))
        for j in range(len(w)):
            v[j] -= lr * slope[j]
            w[j] = math.copysign(max(abs(v[j]) - g, 0.0), v[j])
    return w, g


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_a_thousand_steps_with_lr_drops_agree_with_a_scalar_float64_implementation(foreach, capturable):
    target, noise = np.random.default_rng(0).normal(size=20), np.random.default_rng(1).normal(size=(1001, 20))
    target[::2] *= 0.01  # weights that become 0, and some that change their sign
    start = np.random.default_rng(2).normal(size=20).astype(np.float32)
    lrs = [0.1] * 500 + [0.01] * 300 + [0.001] * 200
    expected, threshold = scalar_grda(
        start.tolist(), lambda w, n: (np.array(w) - target + 0.3 * noise[n]).tolist(), lrs, c=0.02, mu=0.6
    )

    p = nn.Parameter(torch.tensor(start))
    optimizer = GRDA([p], lr=0.1, c=0.02, mu=0.6, foreach=foreach, capturable=capturable)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[500, 800], gamma=0.1)
    for n in range(1, 1001):
        p.grad = (p.detach().double() - torch.tensor(target - 0.3 * noise[n])).float()
        optimizer.step()
        scheduler.step()

    got = p.detach().double().numpy()
    assert np.linalg.norm(got - expected) <= 1e-6 * np.linalg.norm(expected)
    assert np.array_equal(got == 0, np.array(expected) == 0)
    assert 3 < (got == 0).sum() < 17
    assert float(optimizer.param_groups[0]["threshold"]) == pytest.approx(threshold, rel=1e-12)
    assert float(optimizer.param_groups[0]["step"]) == 1000


def final_threshold(*, epochs, c, mu):
    """Of the authors' CIFAR schedule: lr 0.1 to half of the epochs, linear to 0.001 at 90 %, then constant; one lr per
    epoch, epochs counted from 1; 50,000 images in batches of 128, the last one smaller: 391 updates an epoch."""
    threshold, n = 0.0, 0
    for epoch in range(1, epochs + 1):
        lr = float(np.interp(epoch / epochs, [0.5, 0.9], [0.1, 0.001]))
        for _ in range(391):
            n += 1
            threshold += threshold_increment(n, lr, c, mu)
    return threshold


@pytest.mark.parametrize(
    ("epochs", "c", "mu", "published"),
    [(600, 0.0005, mu, g) for mu, g in [(0.4, 0.0077), (0.51, 0.0223), (0.6, 0.0529), (0.7, 0.1384)]]
    + [(200, 0.001, mu, g) for mu, g in [(0.501, 0.0235), (0.55, 0.0357), (0.6, 0.0547), (0.65, 0.0837)]],
)
def test_the_authors_schedules_end_at_the_published_thresholds(epochs, c, mu, published):
    # 390 or 352 updates an epoch, or epochs counted from 0, miss at least one of the eight.
    assert final_threshold(epochs=epochs, c=c, mu=mu) == pytest.approx(published, abs=0.51e-4)


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=60), st.floats(0, 0.1), st.floats(0.01, 1.0))
def test_the_threshold_never_falls_whatever_lr_does(lrs, c, mu):
    p = nn.Parameter(torch.zeros(2))
    optimizer = GRDA([p], lr=1.0, c=c, mu=mu)
    before = 0.0
    for lr in lrs:
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.ones(2)
        optimizer.step()
        now = float(optimizer.param_groups[0]["threshold"])
        assert now >= before
        before = now


@given(st.integers(1, 10**7), st.floats(1e-4, 1.0), st.floats(0, 0.1), st.floats(0.05, 1.0))
def test_increments_add_up_to_the_papers_closed_form_at_a_constant_lr(n, lr, c, mu):
    steps = np.arange(1, min(n, 2000) + 1, dtype=np.float64)
    total = sum(threshold_increment(float(k), lr, c, mu) for k in steps)
    assert total == pytest.approx(c * math.sqrt(lr) * (lr * steps[-1]) ** mu, rel=1e-9)
    one = threshold_increment(torch.tensor(n, dtype=torch.float64), lr, c, mu)
    # the difference of two powers is rounded in units of the powers themselves
    assert float(one) == pytest.approx(threshold_increment(float(n), lr, c, mu), rel=1e-9, abs=1e-14 * n**mu)


NUMBERS = st.floats(-4, 4, width=32)


@settings(deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20),
    st.floats(0, 3),
    st.floats(0, 1),
    st.sampled_from(DTYPES),
)
def test_weights_keep_the_sign_of_the_accumulator_and_are_no_larger(values, threshold, lr, dtype):
    p, g = (torch.tensor(column).to(dtype) for column in zip(*values, strict=True))
    v = p.clone()
    grda_step_([p], [g], [v], lr=lr, threshold=threshold)
    # what numbers are rounded to before they are used
    bound = torch.tensor(threshold, dtype=torch.float64).to(dtype)
    assert bool((p.abs() <= v.abs()).all())
    assert bool((p * v >= 0).all())
    assert torch.equal(p == 0, v.abs() <= bound)
    others = [t.clone() for t in (p, v)]
    grda_step_([p], [g], [v], lr=lr, threshold=threshold)
    grda_step_([others[0]], [g], [others[1]], lr=lr, threshold=threshold, foreach=True)
    assert same_bits((p, v), others)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("spare", [False, True])
def test_foreach_and_the_loop_give_the_same_bits(dtype, capturable, spare):
    ends = []
    for foreach in (False, True):
        params = parameters(dtype)
        optimizer = GRDA(params, lr=0.1, c=0.1, foreach=foreach, capturable=capturable, spare_norm_and_bias=spare)
        take_steps(optimizer, params, range(20))
        ends.append(params + [state["accumulator"] for state in optimizer.state.values()])
    assert same_bits(*ends)
    assert 0 < sum(int((p == 0).sum()) for p in ends[0][:4]) < sum(p.numel() for p in ends[0][:4])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 0.05, 3.0])
def test_a_gpus_way_to_shrink_gives_the_values_of_the_cpus(dtype, threshold):
    accumulators = [*draw(dtype=dtype), torch.tensor([0.0, -0.0, math.nan, math.inf, -math.inf], dtype=dtype)]
    many, each, tensors = ([torch.empty_like(v) for v in accumulators] for _ in range(3))
    grda_step._multi_shrink_(many, accumulators, threshold)
    for p, q, v in zip(each, tensors, accumulators, strict=True):
        grda_step._shrink_(p, v, threshold)
        grda_step._shrink_(q, v, torch.tensor(threshold, dtype=torch.float64))
    for others in (many, tensors):
        for p, q in zip(each, others, strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=0, equal_nan=True)


def test_groups_of_mixed_dtypes_train_as_if_alone():
    for foreach in (False, True):
        for capturable in (False, True):
            mixed = parameters(torch.float32) + parameters(torch.bfloat16)
            optimizer = GRDA(mixed, lr=0.1, c=0.1, foreach=foreach, capturable=capturable)
            alone = parameters(torch.bfloat16)
            other = GRDA(alone, lr=0.1, c=0.1, capturable=capturable)
            for step in range(5):
                give_gradients(mixed[:4], step)
                give_gradients(mixed[4:], step)
                give_gradients(alone, step)
                optimizer.step()
                other.step()
            assert same_bits(mixed[4:], alone)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_threshold_it_is_sgd_to_the_bit(foreach, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    for params in (ours, theirs):
        params[2].data[0] = torch.tensor([0.0, -0.0, -1e-7, 2.0])
    optimizer, sgd = GRDA(ours, lr=0.1, c=0.0, foreach=foreach), torch.optim.SGD(theirs, lr=0.1, foreach=foreach)
    schedulers = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 50) for o in (optimizer, sgd)]
    for step in range(50):
        for params, o, scheduler in zip((ours, theirs), (optimizer, sgd), schedulers, strict=True):
            give_gradients(params, step)
            params[2].grad[0] = 0
            o.step()
            scheduler.step()
        assert same_bits(ours, theirs)


def test_an_lr_of_nought_leaves_dense_weights_as_they_are():
    params = parameters()
    before = [p.detach().clone() for p in params]
    take_steps(GRDA(params, lr=0.0, c=1.0), params, range(3))
    assert same_bits(params, before)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_nan_and_infinity_are_not_hidden(foreach, capturable):
    p = nn.Parameter(torch.tensor([0.5, 0.5, 0.5, 0.5]))
    p.grad = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    GRDA([p], lr=0.1, c=100.0, mu=0.5, foreach=foreach, capturable=capturable).step()
    assert p[0].isnan()
    assert p.tolist()[1:] == [-math.inf, math.inf, 0.0]


# --- groups, gradients, hyperparameters


def test_groups_have_their_own_hyperparameters_and_thresholds():
    params, alone = parameters(), parameters()
    optimizer = GRDA([{"params": params[:2]}, {"params": params[2:], "lr": 0.01, "c": 0.2, "mu": 0.9}], lr=0.1, c=0.1)
    others = [GRDA(alone[:2], lr=0.1, c=0.1), GRDA(alone[2:], lr=0.01, c=0.2, mu=0.9)]
    take_steps(optimizer, params, range(10))
    for other in others:
        for step in range(10):
            give_gradients(alone, step)
            other.step()
    assert same_bits(params, alone)
    for group, other in zip(optimizer.param_groups, others, strict=True):
        assert float(group["threshold"]) == float(other.param_groups[0]["threshold"]) > 0
        assert float(group["step"]) == 10


def test_a_group_that_is_added_later_begins_at_step_one():
    params = parameters()
    optimizer = GRDA(params[:2], lr=0.1)
    take_steps(optimizer, params, range(3))
    optimizer.add_param_group({"params": params[2:], "c": 0.5})
    take_steps(optimizer, params, range(2))
    assert [float(group["step"]) for group in optimizer.param_groups] == [5, 2]
    with pytest.raises(InputError, match="mu"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "mu": 2})
    assert len(optimizer.param_groups) == 2


def test_state_is_one_tensor_per_parameter_and_two_numbers_per_group():
    params = parameters()
    before = [p.detach().clone() for p in params]
    optimizer = GRDA(params, lr=0.0)
    take_steps(optimizer, params, range(2))
    for p, start in zip(params, before, strict=True):
        assert list(optimizer.state[p]) == ["accumulator"]
        accumulator = optimizer.state[p]["accumulator"]
        assert accumulator.dtype == p.dtype
        assert torch.equal(accumulator, start)
        assert accumulator.data_ptr() != p.data_ptr()
    for name in ("step", "threshold"):
        number = optimizer.param_groups[0][name]
        assert (number.dtype, number.shape, number.device.type) == (torch.float64, (1,), "cpu")


def test_parameters_without_a_gradient_are_left_alone():
    params = parameters()
    optimizer = GRDA([{"params": params[:2]}, {"params": params[2:]}], lr=0.1, c=0.1)
    take_steps(optimizer, params, range(2))
    before = [p.detach().clone() for p in params]
    optimizer.zero_grad()
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert not torch.equal(params[0], before[0])
    assert same_bits(params[1:], before[1:])
    # the group of a parameter with a gradient counts the step, the other does not
    assert [float(group["step"]) for group in optimizer.param_groups] == [3, 2]


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_spared_norms_and_biases_are_trained_by_sgd(foreach, capturable):
    params, plain = parameters(), parameters()
    optimizer = GRDA(params, lr=0.1, c=0.5, spare_norm_and_bias=True, foreach=foreach, capturable=capturable)
    sgd = GRDA(plain, lr=0.1, c=0.0, foreach=foreach, capturable=capturable)
    full = parameters()
    take_steps(optimizer, params, range(5))
    take_steps(sgd, plain, range(5))
    take_steps(GRDA(full, lr=0.1, c=0.5, foreach=foreach, capturable=capturable), full, range(5))
    flat = [i for i, p in enumerate(params) if p.dim() < 2]
    assert flat == [1, 3]
    for i, p in enumerate(params):
        assert same_bits([p], [plain[i] if i in flat else full[i]])
        assert (p in optimizer.state) == (i not in flat)
        if i not in flat:
            assert (p == 0).any()


def test_a_step_of_spared_parameters_alone_moves_no_threshold():
    p = nn.Parameter(torch.ones(3))
    optimizer = GRDA([p], lr=0.5, c=1.0, spare_norm_and_bias=True)
    p.grad = torch.ones(3)
    optimizer.step()
    assert p.tolist() == [0.5] * 3
    assert float(optimizer.param_groups[0]["threshold"]) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("lr", value) for value in (-0.1, math.nan, math.inf, torch.tensor(-1.0))),
        *(("lr", value) for value in (None, "x", 1j, torch.tensor([0.1, 0.1]), torch.tensor(1j))),
        *(("c", value) for value in (-1e-9, math.nan, math.inf, None, "0.1")),
        *(("mu", value) for value in (0.0, -0.5, 1.01, math.nan, None, "x")),
    ],
)
def test_hyperparameters_out_of_range_or_of_another_kind_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} of GRDA is .*allowed"):
        GRDA([nn.Parameter(torch.zeros(2))], **{"lr": 0.1, name: value})
    with pytest.raises(InputError, match=f"{name} of GRDA is .*allowed"):
        GRDA([{"params": [nn.Parameter(torch.zeros(2))], name: value}], lr=0.1)


def test_hyperparameters_at_their_limits_are_allowed():
    GRDA([nn.Parameter(torch.zeros(2))], lr=0.0, c=0.0, mu=1.0)


def test_complex_and_sparse_parameters_and_gradients_are_refused():
    with pytest.raises(InputError, match=r"complex64.*real"):
        GRDA([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], lr=0.1)
    with pytest.raises(InputError, match=r"parameter is sparse.*dense"):
        GRDA([torch.eye(2).to_sparse().requires_grad_()], lr=0.1)
    embedding = nn.Embedding(5, 2, sparse=True)
    optimizer = GRDA(embedding.parameters(), lr=0.1)
    before = embedding.weight.detach().clone()
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(InputError, match=r"gradient is sparse.*dense"):
        optimizer.step()
    assert torch.equal(embedding.weight, before)
    assert float(optimizer.param_groups[0]["step"]) == 0


def test_a_sparse_gradient_is_refused_before_any_group_is_updated():
    dense, embedding = nn.Parameter(torch.ones(2)), nn.Embedding(5, 2, sparse=True)
    optimizer = GRDA([{"params": [dense]}, {"params": embedding.parameters()}], lr=0.1)
    (dense.sum() + embedding(torch.tensor([1, 2])).sum()).backward()
    with pytest.raises(InputError, match=r"gradient is sparse.*dense"):
        optimizer.step()
    assert dense.tolist() == [1, 1]
    assert not optimizer.state
    assert [float(group["step"]) for group in optimizer.param_groups] == [0, 0]


def test_no_parameters_are_refused_as_by_torch():
    with pytest.raises(ValueError, match="empty parameter list"):
        GRDA([], lr=0.1)


# --- torch's interface


def test_a_closure_is_run_with_gradients_and_its_loss_returned():
    p = nn.Parameter(torch.tensor([2.0]))
    optimizer = GRDA([p], lr=0.1, c=0.0)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss.detach()

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert float(loss) == 4.0
    assert p.item() == pytest.approx(1.6)
    assert optimizer.step() is None


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_updates_are_in_place_in_every_memory_layout(foreach, capturable):
    layouts = [
        draw([(4, 3, 5, 5)])[0].to(memory_format=torch.channels_last),
        draw([(6, 4)])[0].t(),
        draw([(8, 6)])[0][::2, 1::2],
    ]
    params = [nn.Parameter(t.clone() if i < 2 else t) for i, t in enumerate(layouts)]
    assert not any(p.is_contiguous() for p in params)
    plain = [nn.Parameter(p.detach().clone(memory_format=torch.contiguous_format)) for p in params]
    before = [(p.data_ptr(), p.stride()) for p in params]
    view = params[2].detach()
    take_steps(GRDA(params, lr=0.1, c=0.1, foreach=foreach, capturable=capturable), params, range(4))
    take_steps(GRDA(plain, lr=0.1, c=0.1, capturable=capturable), plain, range(4))
    assert [(p.data_ptr(), p.stride()) for p in params] == before
    assert torch.equal(view, params[2])
    # ==: softshrink gives zeros of another sign where strides keep it from vectors
    assert all(torch.equal(p, q) for p, q in zip(params, plain, strict=True))


def new_scheduled(params, **options):
    optimizer = GRDA([{"params": params[:2]}, {"params": params[2:], "mu": 0.8}], lr=0.1, c=0.05, **options)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)


@pytest.mark.parametrize("capturable", [False, True])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, capturable):
    whole = parameters()
    optimizer, scheduler = new_scheduled(whole, capturable=capturable)
    take_steps(optimizer, whole, range(12), scheduler)

    half = parameters()
    optimizer, scheduler = new_scheduled(half, capturable=capturable)
    take_steps(optimizer, half, range(5), scheduler)
    torch.save([half, optimizer.state_dict(), scheduler.state_dict()], tmp_path / "half.pt")
    saved = [p.detach().clone() for p in half]
    take_steps(optimizer, half, range(5, 12), scheduler)
    assert same_bits(half, whole)

    values, state, schedule = torch.load(tmp_path / "half.pt", weights_only=True)
    assert same_bits(values, saved)
    resumed = [nn.Parameter(v.detach()) for v in values]
    optimizer, scheduler = new_scheduled(resumed, capturable=capturable)
    optimizer.load_state_dict(state)
    scheduler.load_state_dict(schedule)
    take_steps(optimizer, resumed, range(5, 12), scheduler)
    assert same_bits(resumed, whole)


def test_a_loaded_state_is_a_copy():
    params, others = parameters(), parameters(seed=1)
    optimizer, other = GRDA(params, lr=0.1, c=0.1), GRDA(others, lr=0.1)
    take_steps(optimizer, params, range(3))
    other.load_state_dict(optimizer.state_dict())
    kept = copy.deepcopy(other.state_dict())
    take_steps(optimizer, params, range(3))
    assert float(other.param_groups[0]["threshold"]) == float(kept["param_groups"][0]["threshold"])
    assert other.param_groups[0]["c"] == 0.1
    for i, p in enumerate(others):
        assert same_bits([other.state[p]["accumulator"]], [kept["state"][i]["accumulator"]])


@pytest.mark.parametrize("capturable", [False, True])
def test_state_goes_from_capturable_to_not_and_back(capturable):
    """What belongs to the machine stays the loading optimizer's own; what belongs to the run is exact."""
    params, others = parameters(), parameters()
    optimizer = GRDA(params, lr=0.1, c=0.1, capturable=capturable, foreach=True)
    take_steps(optimizer, params, range(4))
    optimizer.param_groups[0]["lr"] *= 0.5
    other = GRDA(others, lr=1.0, capturable=not capturable)
    other.load_state_dict(optimizer.state_dict())
    group, (old,) = other.param_groups[0], optimizer.param_groups
    assert group["capturable"] is not capturable
    assert group["foreach"] is None
    assert isinstance(group["lr"], torch.Tensor) is not capturable
    assert float(group["lr"]) == float(old["lr"]) == 0.05
    assert [float(group[k]) for k in ("step", "threshold")] == [float(old[k]) for k in ("step", "threshold")]
    assert same_bits(
        [s["accumulator"] for s in other.state.values()], [s["accumulator"] for s in optimizer.state.values()]
    )
    with torch.no_grad():
        for p, value in zip(others, params, strict=True):
            p.copy_(value)
    take_steps(optimizer, params, range(4, 8))
    take_steps(other, others, range(4, 8))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("old", [0.1, torch.tensor(0.1, dtype=torch.float64)])
def test_an_lr_tensor_stays_one_when_a_state_is_loaded(old, capturable):
    params = parameters()
    state = GRDA(params, lr=old).state_dict()
    optimizer = GRDA(params, lr=torch.tensor(0.5), capturable=capturable)
    optimizer.load_state_dict(state)
    lr = optimizer.param_groups[0]["lr"]
    assert isinstance(lr, torch.Tensor)
    assert lr is not old
    assert (lr.shape, lr.dtype, float(lr)) == ((), torch.float64, 0.1)
    number = GRDA(params, lr=0.5)
    number.load_state_dict(state)
    assert type(number.param_groups[0]["lr"]) is float


def test_the_state_of_another_optimizer_is_refused():
    params = parameters()
    with pytest.raises(InputError, match=r"no state of GRDA.*threshold"):
        GRDA(params, lr=0.1).load_state_dict(torch.optim.SGD(params, lr=0.1).state_dict())


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    params = [nn.Parameter(p) for p in draw([(2,), (5, 4, 3)])]
    optimizer = GRDA(params, lr=0.1, c=0.1)
    take_steps(optimizer, params, range(2))
    before = copy.deepcopy(optimizer.state_dict())
    others = [nn.Parameter(p) for p in draw([(2,), (4, 3)])]
    other = GRDA(others, lr=0.2)
    take_steps(other, others, range(2))
    with pytest.raises(InputError, match=r"\(4, 3\).*\(5, 4, 3\)"):
        optimizer.load_state_dict(other.state_dict())
    lacking = copy.deepcopy(before)
    del lacking["state"][1]["accumulator"]
    with pytest.raises(InputError, match="no accumulator"):
        optimizer.load_state_dict(lacking)
    for key in ("step", "threshold", "lr", "c", "mu", "spare_norm_and_bias"):
        lacking = copy.deepcopy(before)
        del lacking["param_groups"][0][key]
        with pytest.raises(InputError, match=f"no {key}"):
            optimizer.load_state_dict(lacking)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert same_bits(*([s["accumulator"] for s in d["state"].values()] for d in (before, after)))


def test_a_pre_hook_may_convert_an_old_state():
    params = parameters()
    optimizer = GRDA(params, lr=0.1, c=0.1)
    take_steps(optimizer, params, range(2))
    old = copy.deepcopy(optimizer.state_dict())
    old["param_groups"][0]["g"] = old["param_groups"][0].pop("threshold")

    def convert(_, state):
        state["param_groups"] = [{**group, "threshold": group["g"]} for group in state["param_groups"]]
        return state

    other = GRDA(params, lr=0.1)
    other.register_load_state_dict_pre_hook(convert)
    other.load_state_dict(old)
    assert float(other.param_groups[0]["threshold"]) == float(optimizer.param_groups[0]["threshold"])


def test_a_deep_copy_goes_on_by_itself():
    params = parameters()
    optimizer = GRDA(params, lr=0.1, c=0.1)
    take_steps(optimizer, params, range(3))
    twins, twin = copy.deepcopy((params, optimizer))
    take_steps(optimizer, params, range(3, 6))
    assert float(twin.param_groups[0]["step"]) == 3
    take_steps(twin, twins, range(3, 6))
    assert same_bits(params, twins)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=30, cycle_momentum=False),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    ],
)
def test_capturable_follows_torchs_schedulers_as_numbers_do(make):
    """lr stays the same tensor, so that a captured graph sees it change."""
    params, others = parameters(), parameters()
    numbers, tensors = GRDA(params, lr=0.1, c=0.1), GRDA(others, lr=0.1, c=0.1, capturable=True)
    schedulers = make(numbers), make(tensors)
    place = tensors.param_groups[0]["lr"].data_ptr()
    take_steps(numbers, params, range(20), schedulers[0])
    take_steps(tensors, others, range(20), schedulers[1])
    group = tensors.param_groups[0]
    assert group["lr"].data_ptr() == place
    assert float(group["lr"]) == pytest.approx(numbers.param_groups[0]["lr"], rel=1e-12)
    assert float(group["threshold"]) == pytest.approx(float(numbers.param_groups[0]["threshold"]), rel=1e-12)
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_an_lr_tensor_is_followed_without_capturable_too():
    params, others = parameters(), parameters()
    lr = torch.tensor(0.125)
    take_steps(GRDA(params, lr=lr, c=0.1), params, range(5))
    take_steps(GRDA(others, lr=0.125, c=0.1), others, range(5))
    assert same_bits(params, others)


class Counting:
    """A backend of torch.compile that runs a graph as it is after all that comes before inductor, which writes and
    compiles C++; counts graphs."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        from torch._dynamo.backends.common import aot_autograd  # 1.3 s, which other tests do without

        return aot_autograd(fw_compiler=self.count)(graph, inputs)

    def count(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("spare", [False, True])
def test_it_compiles_to_one_graph_that_serves_every_step(tensor_lr, spare):
    torch._dynamo.reset()
    params, eager = parameters(), parameters()
    lr = torch.tensor(0.1, dtype=torch.float64) if tensor_lr else 0.1
    optimizer = GRDA(params, lr=lr, c=0.1, spare_norm_and_bias=spare)
    reference = GRDA(eager, lr=0.1, c=0.1, spare_norm_and_bias=spare)
    backend = Counting()
    step = torch.compile(optimizer.step, backend=backend, fullgraph=True)
    for n in range(8):
        give_gradients(params, n)
        give_gradients(eager, n)
        if tensor_lr:  # a number that changes is a new graph, as for torch.optim's
            lr.fill_(0.1 / (n + 1))
            reference.param_groups[0]["lr"] = 0.1 / (n + 1)
        step()
        reference.step()
    assert backend.graphs == 1
    group = optimizer.param_groups[0]
    assert float(group["step"]) == 8
    assert float(group["threshold"]) == pytest.approx(float(reference.param_groups[0]["threshold"]), rel=1e-12)
    for p, q in zip(params, eager, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        assert torch.equal(p == 0, q == 0)
    torch._dynamo.reset()


def test_a_loaded_state_or_a_copy_goes_on_in_a_compiled_step():
    torch._dynamo.reset()
    params = parameters()
    optimizer = GRDA(params, lr=0.1, c=0.1)
    take_steps(optimizer, params, range(3))
    loaded = GRDA(params, lr=0.1)
    loaded.load_state_dict(optimizer.state_dict())
    for other, its in ((loaded, params), copy.deepcopy((loaded, params))):
        step = torch.compile(other.step, backend="aot_eager", fullgraph=True)
        before = [p.data_ptr() for p in its]
        for n in range(2):
            give_gradients(its, n)
            step()
        other.load_state_dict(optimizer.state_dict())
        step()
        assert float(other.param_groups[0]["step"]) == 4
        assert float(other.param_groups[0]["threshold"]) == pytest.approx(0.1 * 0.1**0.5 * 0.4**0.6, rel=1e-12)
        assert [p.data_ptr() for p in its] == before
    assert float(optimizer.param_groups[0]["step"]) == 3
    torch._dynamo.reset()


def test_importing_it_does_not_import_dynamo():
    """prunebench's training loop calls the functions: 1.3 s of each job's start."""
    code = "import sys, prunebench.optim.grda_step; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_docstrings_example_runs():
    (example,) = doctest.DocTestFinder(recurse=False).find(GRDA, "GRDA", globs={})
    assert len(example.examples) > 10
    assert doctest.DocTestRunner().run(example).failed == 0


# --- GPUs


@pytest.mark.gpu
def test_a_captured_graph_replays_the_steps():
    params, eager = parameters(device="cuda"), parameters(device="cuda")
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer = GRDA(params, lr=0.1, c=0.1, capturable=True)
    reference = GRDA(eager, lr=0.1, c=0.1, capturable=True)
    group = optimizer.param_groups[0]
    assert group["threshold"].device.type == group["lr"].device.type == "cuda"

    def both(n, step):
        for p, q, g in zip(params, eager, draw(seed=100 + n, device="cuda"), strict=True):
            p.grad.copy_(g)
            q.grad = g.clone()
        step()
        reference.step()

    for n in range(3):
        both(n, optimizer.step)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for n in range(3, 10):
        for o in (optimizer, reference):
            o.param_groups[0]["lr"].fill_(0.1 / n)
        both(n, graph.replay)
    assert same_bits(params, eager)
    assert float(group["step"]) == 10


@pytest.mark.gpu
def test_capture_without_capturable_is_refused():
    params = parameters(device="cuda")
    optimizer = GRDA(params, lr=0.1)
    take_steps(optimizer, params, range(1))
    with pytest.raises(InputError, match="capturable"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step()


@pytest.mark.gpu
def test_inductor_compiles_it_on_a_gpu():
    torch._dynamo.reset()
    params, eager = parameters(device="cuda"), parameters(device="cuda")
    optimizer, reference = GRDA(params, lr=0.1, c=0.1), GRDA(eager, lr=0.1, c=0.1)
    step = torch.compile(optimizer.step)
    for n in range(4):
        give_gradients(params, n)
        give_gradients(eager, n)
        step()
        reference.step()
    for p, q in zip(params, eager, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_foreach_and_the_loop_give_the_same_bits_on_a_gpu(dtype):
    ends = []
    for foreach in (False, True, None):
        params = parameters(dtype, device="cuda")
        take_steps(GRDA(params, lr=0.1, c=0.1, foreach=foreach), params, range(20))
        ends.append(params)
    assert same_bits(ends[0], ends[1])
    assert same_bits(ends[0], ends[2])


@pytest.mark.gpu
@pytest.mark.parametrize("capturable", [False, True])
def test_a_run_moves_between_devices(capturable):
    params = parameters()
    optimizer = GRDA(params, lr=0.1, c=0.1)
    take_steps(optimizer, params, range(4))
    moved = [nn.Parameter(p.detach().cuda()) for p in params]
    other = GRDA(moved, lr=0.1, c=0.1, capturable=capturable)
    other.load_state_dict(optimizer.state_dict())
    back = GRDA(parameters(), lr=0.1, c=0.1)
    back.load_state_dict(other.state_dict())
    values = zip(back.state.values(), optimizer.state.values(), strict=True)
    assert all(same_bits([a["accumulator"]], [b["accumulator"]]) for a, b in values)
    for name in ("step", "threshold"):
        assert other.param_groups[0][name].device.type == ("cuda" if capturable else "cpu")
        assert float(back.param_groups[0][name]) == float(optimizer.param_groups[0][name])
    take_steps(optimizer, params, range(4, 8))
    take_steps(other, moved, range(4, 8))
    for p, q in zip(params, moved, strict=True):
        torch.testing.assert_close(p, q.cpu(), rtol=1e-5, atol=1e-6)
