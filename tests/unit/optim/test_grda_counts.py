"""gRDA where not every parameter moves in every step: each has the count and threshold of its own steps.

The reference is a GRDA per parameter, which is the authors' way: their state counts per parameter.
"""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunebench.errors import InputError
from prunebench.optim import GRDA

SHAPES = [(3, 4), (5,), (2, 2), (6,)]
OPTIONS = {"lr": 0.1, "c": 0.1, "mu": 0.6}


def parameters(dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter((0.3 * torch.randn(shape, generator=draw)).to(dtype)) for shape in SHAPES]


def give_gradients(params, moving, step):
    draw = torch.Generator().manual_seed(100 + step)
    for i, p in enumerate(params):
        gradient = torch.randn(p.shape, generator=draw)
        p.grad = gradient.to(p.dtype) if i in moving else None


def alone(patterns, dtype=torch.float32, **options):
    """The parameters after these steps, each with an optimizer of its own; and the thresholds."""
    params = parameters(dtype)
    optimizers = [GRDA([p], **(OPTIONS | options)) for p in params]
    for step, moving in enumerate(patterns):
        give_gradients(params, moving, step)
        for optimizer in optimizers:
            optimizer.step()
    return params, [float(o.param_groups[0]["threshold"]) for o in optimizers]


def threshold_of(optimizer, p):
    (group,) = (g for g in optimizer.param_groups if any(p is q for q in g["params"]))
    return float(optimizer.state[p].get("threshold", group["threshold"]))


def drive(optimizer, params, patterns, first=0, step=None):
    for number, moving in enumerate(patterns, start=first):
        give_gradients(params, moving, number)
        (step or optimizer.step)()


PATTERNS = {
    "gradual unfreezing": [{0}] * 3 + [{0, 1}] * 3 + [{0, 1, 2, 3}] * 4,
    "experts": [{0, 1}, {0, 2}, {0, 3}, {0, 1}, {0, 2}, {1, 2}, {3}, {0, 1, 2, 3}],
    "layer drop": [{0, 1, 2, 3}, {0, 2, 3}, {0, 1, 2, 3}, {1, 2}, set(), {0, 1, 2, 3}, {3}],
    "all": [{0, 1, 2, 3}] * 6,
}


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_parameter_moves_as_with_an_optimizer_of_its_own(name, dtype, capturable, foreach):
    params = parameters(dtype)
    optimizer = GRDA(params, **OPTIONS, foreach=foreach, capturable=capturable)
    drive(optimizer, params, PATTERNS[name])
    expected, thresholds = alone(PATTERNS[name], dtype, capturable=capturable)
    for p, q in zip(params, expected, strict=True):
        assert torch.equal(p, q)
    moved = set().union(*PATTERNS[name])
    assert [threshold_of(optimizer, params[i]) for i in moved] == [thresholds[i] for i in moved]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 11))
def test_whatever_moves_when_and_wherever_it_is_saved(patterns, cut):
    cut = min(cut, len(patterns))
    params = parameters()
    optimizer = GRDA([{"params": params[:3]}, {"params": params[3:]}], **OPTIONS)
    drive(optimizer, params, patterns[:cut])
    other = GRDA([{"params": params[:3]}, {"params": params[3:]}], lr=5.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(other, params, patterns[cut:], first=cut)
    expected, _ = alone(patterns)
    assert all(torch.equal(p, q) for p, q in zip(params, expected, strict=True))


def test_late_weights_are_not_zeroed_by_the_groups_threshold():
    """The case found: 1,349 of 2,500 late weights became zero in their first step."""
    torch.manual_seed(0)
    early, late = nn.Parameter(0.1 * torch.randn(50, 50)), nn.Parameter(0.1 * torch.randn(50, 50))
    optimizer = GRDA([early, late], lr=0.1, c=0.1, mu=0.6)
    for _ in range(100):
        early.grad = torch.zeros_like(early)
        optimizer.step()
    late.grad = torch.zeros_like(late)
    optimizer.step()
    first = 0.1 * 0.1**1.1
    assert int((late == 0).sum()) == int((optimizer.state[late]["accumulator"].abs() <= first).sum()) < 250
    assert float(optimizer.state[late]["step"]) == 1
    assert float(optimizer.param_groups[0]["step"]) == 101


def test_the_common_case_keeps_one_tensor_per_parameter():
    params = parameters()
    optimizer = GRDA(params, **OPTIONS)
    drive(optimizer, params, [{0, 1, 2, 3}] * 3 + [set()] * 2 + [{0, 1, 2, 3}])
    assert [list(state) for state in optimizer.state.values()] == [["accumulator"]] * 4
    assert float(optimizer.param_groups[0]["step"]) == 4


@pytest.mark.parametrize("capturable", [False, True])
def test_counts_of_their_own_are_saved_exactly_in_any_dtype(tmp_path, capturable):
    pattern = PATTERNS["layer drop"]
    params = parameters(torch.bfloat16)
    optimizer = GRDA(params, **OPTIONS, capturable=capturable)
    drive(optimizer, params, pattern)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    others = [nn.Parameter(p.detach().clone()) for p in params]
    other = GRDA(others, **OPTIONS, capturable=not capturable)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for p, q in zip(params, others, strict=True):
        assert threshold_of(optimizer, p) == threshold_of(other, q)
        for key, value in optimizer.state[p].items():
            assert other.state[q][key].dtype == value.dtype
            assert torch.equal(other.state[q][key], value)
            assert other.state[q][key].data_ptr() != value.data_ptr()


@pytest.mark.parametrize("name", PATTERNS)
def test_a_compiled_step_counts_for_each_too(name):
    torch._dynamo.reset()
    params = parameters()
    optimizer = GRDA(params, **OPTIONS)
    step = torch.compile(optimizer.step, backend="eager", fullgraph=True)
    drive(optimizer, params, PATTERNS[name] * 2, step=step)
    expected, thresholds = alone(PATTERNS[name] * 2)
    for p, q, threshold in zip(params, expected, thresholds, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
        assert threshold_of(optimizer, p) == pytest.approx(threshold, rel=1e-12)
    torch._dynamo.reset()


# --- a step that fails, a model that is cast, sharded parameters


def test_a_step_that_fails_has_moved_nothing():
    params = parameters()
    optimizer = GRDA([{"params": params[:2]}, {"params": params[2:]}], **OPTIONS)
    drive(optimizer, params, [{0, 1, 2, 3}] * 2)
    before = copy.deepcopy((params, optimizer.state_dict()))
    give_gradients(params, {0, 1, 2, 3}, 9)
    optimizer.param_groups[1]["lr"] = -0.1
    with pytest.raises(InputError, match=r"lr of GRDA is -0\.1; allowed: a finite number, 0 or more"):
        optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.1
    optimizer.param_groups[1]["mu"] = -1
    with pytest.raises(InputError, match="mu of GRDA is -1"):
        optimizer.step()
    optimizer.param_groups[1]["mu"] = 0.6
    optimizer.state[params[3]]["accumulator"] = torch.zeros(6, device="meta")
    with pytest.raises(
        InputError, match="an accumulator lies on meta, its parameter on cpu: make GRDA after the model"
    ):
        optimizer.step()
    optimizer.state[params[3]]["accumulator"] = before[1]["state"][3]["accumulator"]
    assert all(torch.equal(p, q) for p, q in zip(params, before[0], strict=True))
    after = optimizer.state_dict()
    assert after["param_groups"] == before[1]["param_groups"]
    for state, earlier in zip(after["state"].values(), before[1]["state"].values(), strict=True):
        assert all(torch.equal(state[key], earlier[key]) for key in earlier)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_that_is_cast_later_goes_on_with_its_accumulators(dtype, foreach):
    model = nn.Linear(20, 10)
    optimizer = GRDA(model.parameters(), **OPTIONS, foreach=foreach)
    accumulators = []
    for step in range(6):
        if step == 3:
            model.to(dtype)
        for p in model.parameters():
            p.grad = torch.ones_like(p) * (-1) ** step
        optimizer.step()
        accumulators.append([optimizer.state[p]["accumulator"].clone() for p in model.parameters()])
    threshold = float(optimizer.param_groups[0]["threshold"])
    for p, v, before in zip(model.parameters(), accumulators[-1], accumulators[-2], strict=True):
        assert (p.dtype, v.dtype) == (dtype, torch.float32)
        torch.testing.assert_close(v, before + 0.1)
        shrunk = v.double().sign() * (v.double().abs() - threshold).clamp(min=0)
        torch.testing.assert_close(p.double(), shrunk, rtol=1e-2 if dtype != torch.float64 else 1e-6, atol=1e-7)
    state = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(state)
    for p, v in zip(model.parameters(), accumulators[-1], strict=True):
        assert torch.equal(optimizer.state[p]["accumulator"], v.to(torch.promote_types(v.dtype, dtype)))


@pytest.fixture
def mesh(tmp_path):
    """A mesh of one process."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_sharded_parameters_move_as_whole_ones(mesh, foreach, capturable):
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    whole = parameters()
    sharded = [nn.Parameter(distribute_tensor(p.detach().clone(), mesh, [Shard(0)])) for p in whole]
    optimizers = [GRDA(ps, **OPTIONS, foreach=foreach, capturable=capturable) for ps in (whole, sharded)]
    for step in range(5):
        give_gradients(whole, {0, 1, 2, 3}, step)
        for p, q in zip(whole, sharded, strict=True):
            q.grad = distribute_tensor(p.grad, mesh, [Shard(0)])
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(whole, sharded, strict=True):
        assert isinstance(optimizers[1].state[q]["accumulator"], DTensor)
        torch.testing.assert_close(q.full_tensor(), p, rtol=1e-6, atol=1e-7)


def test_the_way_of_a_gpu_serves_sharded_parameters(mesh, monkeypatch):
    """On a CPU the multi-tensor way shrinks in a loop, so the GPU's is put in its place."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    from prunebench.optim import grda_step

    def shrink(p, v, threshold):
        grda_step._multi_shrink_([p], [v], threshold)

    monkeypatch.setattr(grda_step, "_shrink_", shrink)
    whole, sharded = parameters(), [distribute_tensor(p.detach(), mesh, [Shard(0)]) for p in parameters()]
    accumulators = [p.clone() for p in sharded]
    gradients = [distribute_tensor(torch.ones(shape), mesh, [Replicate()]) for shape in SHAPES]
    grda_step.grda_step_(sharded, gradients, accumulators, lr=0.1, threshold=0.2, foreach=True)
    for p, v, w in zip(sharded, accumulators, whole, strict=True):
        torch.testing.assert_close(v.full_tensor(), w - 0.1)
        torch.testing.assert_close(p.full_tensor(), torch.nn.functional.softshrink(w - 0.1, 0.2))


def test_maximize_climbs():
    down, up = parameters(), parameters()
    optimizers = GRDA(down, **OPTIONS), GRDA(up, **OPTIONS, maximize=True)
    for step in range(4):
        give_gradients(down, {0, 1, 2, 3}, step)
        for p, q in zip(down, up, strict=True):
            q.grad = -p.grad
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(down, up, strict=True))


@pytest.mark.parametrize("capturable", [False, True])
def test_an_lr_of_one_element_is_one(capturable):
    params, others = parameters(), parameters()
    optimizers = GRDA(params, **(OPTIONS | {"lr": torch.tensor([0.1])}), capturable=capturable), GRDA(others, **OPTIONS)
    for optimizer, its in zip(optimizers, (params, others), strict=True):
        drive(optimizer, its, PATTERNS["all"])
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)
