"""Gradient statistics against an independent float64 calculation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunebench.analysis.gradients import (
    asinh_edges,
    describe,
    gradient_statistics,
    histogram,
    mean_gradients,
)
from prunebench.errors import InputError
from prunebench.models import build


@pytest.fixture(params=["resnet", "mlp"])
def case(request):
    """A small net with lived-in BN statistics, random masks applied, and a fixed batch of 23 images."""
    torch.manual_seed(7)
    model = build(request.param, classes=5, in_channels=1, image_size=8, width=0.25, depth=8, seed=1)
    for _ in range(3):
        model(3 * torch.randn(16, 1, 8, 8) + 1)
    names = [n for n, p in model.named_parameters() if p.dim() > 1]
    params = {n: p for n, p in model.named_parameters() if n in names}
    masks = {n: torch.rand(p.shape) < 0.4 for n, p in params.items()}
    with torch.no_grad():
        for n, p in params.items():
            p.mul_(masks[n])
    return model, params, masks, torch.randn(23, 1, 8, 8), torch.randint(5, (23,))


def reference(model, params, x, y):
    """dL/dw and L in float64, image by image, with the loss written out."""
    import copy

    twin = copy.deepcopy(model).double().eval()
    total = 0.0
    for image, label in zip(x.double(), y, strict=True):
        logits = twin(image[None])[0]
        total = total + torch.logsumexp(logits, 0) - logits[label]
    loss = total / len(x)
    loss.backward()
    named = dict(twin.named_parameters())
    return {n: named[n].grad.numpy() for n in params}, loss.item()


def expect(row, values, rel=1e-4):
    """Statistics by sorting, not by the functions under test."""
    v = sorted(float(a) for a in values)
    n = len(v)
    mean = math.fsum(v) / n
    std = math.sqrt(math.fsum((a - mean) ** 2 for a in v) / n)
    scale = max(abs(v[0]), abs(v[-1]))

    def quantile(q):
        at = q * (n - 1)
        low = math.floor(at)
        return v[low] + (at - low) * (v[min(low + 1, n - 1)] - v[low])

    expected = {"mean": mean, "std": std, "min": v[0], "max": v[-1]}
    expected["iqr_over_1349"] = (quantile(0.75) - quantile(0.25)) / 1.349
    expected |= {f"q{int(100 * q):02d}": quantile(q) for q in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)}
    assert row["n"] == n
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=rel, abs=rel * 0.1 * scale), name


def test_statistics_equal_a_float64_reference(case):
    model, params, masks, x, y = case
    gradients, loss = reference(model, params, x, y)
    snapshot = gradient_statistics(model, params, masks, [(x, y)])
    rows = {r["weights"]: r for r in snapshot.rows}
    kept = {n: m.numpy() for n, m in masks.items()}
    whole = np.concatenate([gradients[n][kept[n]] for n in params])
    expect(rows["surviving"], whole)
    expect(rows["all"], np.concatenate([gradients[n].ravel() for n in params]))
    expect(rows["all_zeroed"], np.concatenate([(gradients[n] * kept[n]).ravel() for n in params]))
    for n in params:
        expect(rows[n], gradients[n][kept[n]])
    assert len(rows) == 3 + len(params)
    assert all(r["loss"] == snapshot.loss == pytest.approx(loss, rel=1e-5) for r in snapshot.rows)
    assert list(rows) == ["surviving", "all", "all_zeroed", *params]
    assert snapshot.images == 23
    fp32 = mean_gradients(model, params, [(x[:9], y[:9]), (x[9:], y[9:])])
    for n, g in fp32.items():
        assert g.dtype == torch.float32
        np.testing.assert_allclose(g.numpy(), gradients[n], rtol=1e-3, atol=1e-4 * np.abs(gradients[n]).max())


def test_pruned_weights_have_gradients_and_zeroing_them_narrows(case):
    model, params, masks, x, y = case
    rows = {r["weights"]: r for r in gradient_statistics(model, params, masks, [(x, y)]).rows[:3]}
    pruned = sum(int((~m).sum()) for m in masks.values())
    assert rows["all"]["n"] == rows["all_zeroed"]["n"] == rows["surviving"]["n"] + pruned
    assert rows["all_zeroed"]["std"] < 0.8 * rows["all"]["std"]


def test_chunks_do_not_matter(case):
    model, params, masks, x, y = case
    model, x = model.double(), x.double()
    whole = gradient_statistics(model, params, masks, [(x, y)])
    chunks = gradient_statistics(model, params, masks, ((x[i : i + 5], y[i : i + 5]) for i in range(0, 23, 5)))
    for a, b in zip(whole.rows, chunks.rows, strict=True):
        assert {k: v for k, v in a.items() if isinstance(v, str)} == {k: v for k, v in b.items() if isinstance(v, str)}
        for name, value in a.items():
            if name != "weights":
                assert b[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_histogram_counts_every_survivor_once(case):
    model, params, masks, x, y = case
    edges = np.array([-1e-3, 0.0, 2e-3])
    snapshot = gradient_statistics(model.double(), params, masks, [(x.double(), y)], edges=edges)
    gradients, _ = reference(model, params, x, y)
    values = np.concatenate([gradients[n][masks[n].numpy()] for n in params])
    counts = [(values < -1e-3).sum(), ((values >= -1e-3) & (values < 0)).sum()]
    counts += [((values >= 0) & (values < 2e-3)).sum(), (values >= 2e-3).sum()]
    assert [r["count"] for r in snapshot.histogram] == counts
    assert [r["left"] for r in snapshot.histogram] == [-math.inf, -1e-3, 0.0, 2e-3]
    assert [r["right"] for r in snapshot.histogram] == [-1e-3, 0.0, 2e-3, math.inf]


def test_nothing_is_left_behind(case):
    model, params, masks, x, y = case
    model.train()
    frozen = next((m for m in model.modules() if isinstance(m, nn.BatchNorm2d)), model.classifier)
    frozen.eval()
    modes = [m.training for m in model.modules()]
    state = {n: t.clone() for n, t in model.state_dict().items()}
    mark = torch.ones_like(model.classifier.weight)
    model.classifier.weight.grad = mark.clone()
    rng = torch.get_rng_state()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        inside = gradient_statistics(model, params, masks, [(x, y)])
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())
    assert torch.equal(model.classifier.weight.grad, mark)
    assert all(p.grad is None for p in model.parameters() if p is not model.classifier.weight)
    assert torch.equal(torch.get_rng_state(), rng)
    assert inside == gradient_statistics(model, params, masks, [(x, y)]), "autocast or no_grad outside reached inside"


def test_a_failing_batch_leaves_the_mode(case):
    model, params, masks, x, _ = case
    model.train()
    with pytest.raises(IndexError):
        gradient_statistics(model, params, masks, [(x, torch.full((23,), 99))])
    assert all(m.training for m in model.modules())


def test_an_empty_layer_and_a_diverged_network_give_nan(case):
    model, params, masks, x, y = case
    last = list(params)[-1]
    masks[last] = torch.zeros_like(masks[last])
    with torch.no_grad():
        params[last].zero_()
    row = gradient_statistics(model, params, masks, [(x, y)]).rows[-1]
    assert row["weights"] == last
    assert row["n"] == 0
    assert math.isnan(row["std"])
    with torch.no_grad():
        for n, p in params.items():
            p.fill_(math.inf).mul_(masks[n])  # what an update and its mask leave of a diverged weight
    snapshot = gradient_statistics(model, params, masks, [(x, y)])
    assert math.isnan(snapshot.loss)
    assert math.isnan(snapshot.rows[0]["std"])
    assert snapshot.rows[0]["n"] == sum(int(m.sum()) for m in masks.values())


def test_bad_input_is_named(case):
    model, params, masks, x, y = case
    first = next(iter(params))
    with pytest.raises(InputError, match="no images"):
        gradient_statistics(model, params, masks, [])
    with pytest.raises(InputError, match=f"only one of them has: {first}"):
        gradient_statistics(model, params, {n: m for n, m in masks.items() if n != first}, [(x, y)])
    with pytest.raises(InputError, match="must be bool"):
        gradient_statistics(model, params, masks | {first: masks[first].float()}, [(x, y)])
    with pytest.raises(InputError, match="must be bool"):
        gradient_statistics(model, params, masks | {first: masks[first][:1]}, [(x, y)])
    with pytest.raises(InputError, match="apply the mask first"):
        gradient_statistics(model, params, masks | {first: torch.zeros_like(masks[first])}, [(x, y)])
    with pytest.raises(InputError, match="no prunable"):
        gradient_statistics(model, {}, {}, [(x, y)])
    with pytest.raises(InputError, match="strictly increasing"):
        gradient_statistics(model, params, masks, [(x, y)], edges=np.array([0.0, 0.0]))


def test_quantiles_are_exact_beyond_2_to_the_24():
    n = 2**24 + 1
    row = describe(np.random.default_rng(0).permutation(n).astype(np.float64))
    assert row["n"] == n
    assert row["q25"] == 2**22
    assert row["q50"] == 2**23
    assert row["q99"] == pytest.approx(0.99 * 2**24, abs=1e-6)


def test_default_edges_are_symmetric_around_a_bin_of_zeros():
    edges = asinh_edges()
    assert len(edges) == 202
    assert np.array_equal(edges, -edges[::-1])
    assert (edges[0], edges[-1]) == (-1.0, 1.0)
    steps = np.diff(np.arcsinh(edges / 1e-4))
    assert steps == pytest.approx(steps[0])
    assert histogram(np.zeros(3), edges)[101] == {"left": edges[100], "right": edges[101], "count": 3}
    with pytest.raises(InputError, match="odd"):
        asinh_edges(200)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3, allow_nan=False), min_size=1, max_size=60))
def test_describe_and_histogram_on_any_values(values):
    array = np.array(values)
    row = describe(array)
    assert row["min"] <= row["q01"] <= row["q25"] <= row["q50"] <= row["q75"] <= row["q99"] <= row["max"]
    assert row["n"] == len(values)
    bins = histogram(array, asinh_edges())
    assert sum(b["count"] for b in bins) == len(values)
    assert all(b["count"] == sum(b["left"] <= v < b["right"] for v in values) for b in bins)
