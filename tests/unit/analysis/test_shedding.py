"""Shed weights against cases made by hand and float64 references; nothing may depend on the memory format."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunebench.analysis.shedding import (
    HISTOGRAM_EDGES,
    absolute_threshold,
    below_threshold,
    in_dead,
    magnitude_histogram,
    removable_share,
    shed,
    structures,
)
from prunebench.errors import InputError
from prunebench.pruning.masks import alive, full_masks, keep_top, prunable_parameters

SHAPES = {
    "stem": (8, 1, 3, 3),
    "conv": (16, 8, 3, 3),
    "depthwise": (16, 1, 3, 3),
    "point": (24, 16, 1, 1),
    "head": (10, 24),
    "norm": (10,),
}


def network(seed=0):
    """Weights whose magnitudes are all different: i / n in a random order and with random signs."""
    torch.manual_seed(seed)
    sizes = [math.prod(shape) for shape in SHAPES.values()]
    total = sum(sizes)
    values = (torch.randperm(total) + 1) / total * (2 * torch.randint(2, (total,)) - 1)
    parts = values.split(sizes)
    return {name: part.reshape(shape).clone() for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}


def random_masks(density, seed=1):
    torch.manual_seed(seed)
    return {name: torch.rand(shape) < density for name, shape in SHAPES.items()}


def channels_last(tensors):
    return {n: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for n, t in tensors.items()}


def share(part, masks):
    return alive(part) / alive(masks)


def linear(values):
    """One layer (1, n) as a parameter, and the masks in which all of it is alive."""
    params = {"fc": nn.Parameter(torch.tensor([values]))}
    return params, full_masks(params)


@pytest.fixture(params=["contiguous", "channels_last"])
def layout(request):
    """Puts tensors into a memory format; masks stay contiguous, so that the two are mixed."""
    return channels_last if request.param == "channels_last" else dict


def test_a_known_share_of_decayed_weights_is_measured_exactly(layout):
    dense = network()
    masks = keep_top({n: w.abs() for n, w in dense.items()}, full_masks(dense), 0.8)
    decayed = random_masks(0.3, seed=2)
    # the smallest |w| is 1 / n, tau about 0.2: what decays 100-fold from <= 1 lands below tau, and below 0.05 |w0|
    weights = layout({n: torch.where(decayed[n], 0.01 * w, w) for n, w in dense.items()})
    both = {n: decayed[n] & masks[n] for n in masks}
    known = share(both, masks)
    assert 0.2 < known < 0.4

    relative = shed(weights, layout(dense), masks)
    absolute = below_threshold(weights, masks, absolute_threshold(layout(dense), 0.2))
    for n in masks:
        assert torch.equal(relative[n], both[n])
        assert torch.equal(absolute[n], both[n])

    params = {n: nn.Parameter(w) for n, w in weights.items()}
    resolution = 1 / alive(masks)

    def loss():  # 1, and over 1.01 as soon as one weight that has not decayed is gone
        return 1.0 + 0.02 * sum(int(((params[n] == 0) & masks[n] & ~decayed[n]).sum()) for n in masks)

    assert removable_share(loss, params, masks, resolution=resolution) == pytest.approx(known, abs=1e-12)


def test_the_relative_threshold_lies_where_it_is_said_to():
    dense = network()
    masks = full_masks(dense)
    for factor, expected in ((0.051, 0.0), (0.049, 1.0)):
        weights = {n: -factor * w for n, w in dense.items()}
        assert share(shed(weights, dense, masks), masks) == expected
    weights = {n: 0.25 * w for n, w in dense.items()}  # exact in binary: equal is not below
    assert alive(shed(weights, dense, masks, below=0.25)) == 0
    assert share(shed(weights, dense, masks, below=0.250001), masks) == 1.0


def test_nothing_is_shed_when_weights_do_not_move(layout):
    dense = network()
    for pruned in (0.0, 0.05, 0.2, 0.9):
        masks = keep_top({n: w.abs() for n, w in dense.items()}, full_masks(dense), 1 - pruned)
        assert alive(shed(layout(dense), dense, masks)) == 0
        assert alive(below_threshold(layout(dense), masks, absolute_threshold(dense, pruned))) == 0


def test_pruned_weights_are_not_looked_at():
    dense = network()
    masks = random_masks(0.5)
    still = {n: torch.where(m, dense[n], 0.0) for n, m in masks.items()}
    assert alive(shed(still, dense, masks)) == 0
    assert alive(below_threshold(still, masks, 1e-6)) == 0
    empty = {n: torch.zeros_like(m) for n, m in masks.items()}
    assert alive(shed(still, dense, empty)) == alive(below_threshold(still, empty, 1.0)) == 0


def test_a_reference_of_zero_is_shed_just_if_the_weight_is_zero():
    weights = {"fc": torch.tensor([[0.0, -0.0, 1e-30, 1.0, math.nan, 0.0, 1e-45]])}
    dense = {"fc": torch.tensor([[0.0, -0.0, 0.0, -0.0, 1.0, 1e-45, 1.0]])}
    masks = full_masks(weights)
    assert shed(weights, dense, masks)["fc"].tolist() == [[True, True, False, False, False, True, True]]
    assert below_threshold(weights, masks, 0.0)["fc"].any().item() is False


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=40), st.floats(0, 1))
def test_the_absolute_threshold_is_the_smallest_magnitude_that_pruning_keeps(values, pruned):
    weights = {"fc": torch.tensor([values]), "norm": torch.tensor(values[:3])}
    masks = keep_top({n: w.abs() for n, w in weights.items()}, full_masks(weights), 1 - pruned)
    tau = absolute_threshold(weights, pruned)
    kept = torch.cat([w[masks[n]] for n, w in weights.items()]).abs()
    everything = torch.cat([w.flatten() for w in weights.values()]).abs()
    if len(kept) == len(everything):
        assert tau == 0.0
    else:
        assert tau == (kept.min().item() if len(kept) else math.inf)
    removed = len(everything) - len(kept)
    assert (everything < tau).sum() <= removed <= (everything <= tau).sum()


def test_the_absolute_threshold_by_hand():
    weights = {"a": torch.tensor([[-4.0, 1.0]]), "b": torch.tensor([3.0, -2.0, 5.0])}
    found = [absolute_threshold(weights, s) for s in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert found == [0.0, 2.0, 3.0, 4.0, 5.0, math.inf]
    assert absolute_threshold({"a": torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16)}, 1 / 3) == 2.0
    assert absolute_threshold({"a": torch.nn.Parameter(torch.tensor([1.0, 2.0]))}, 0.5) == 2.0


def test_the_absolute_threshold_is_exact_beyond_2_to_the_24():
    n = 2**24 + 5
    weights = {"a": torch.arange(n - 1, -1, -1, dtype=torch.float64)}
    assert absolute_threshold(weights, 0.25) == n - math.floor(0.75 * n + 0.5)


def test_dead_filters_and_channels_are_counted_by_hand(layout):
    masks = {n: torch.ones(s, dtype=torch.bool) for n, s in SHAPES.items()}
    # 8 + 16 + 16 + 24 + 10 filters; channels only of conv (8), point (16) and head (24)
    assert structures(masks) == {"filters": 74, "dead_filters": 0, "channels": 48, "dead_channels": 0}
    masks["stem"][3] = False  # a filter; its only input channel lives on
    masks["conv"][[0, 5]] = False  # two filters
    masks["conv"][:, 2] = False  # a channel
    masks["conv"][7, :, 1, 1] = False  # nothing whole
    masks["depthwise"][[1, 2, 15]] = False  # three filters
    masks["depthwise"][4, 0, 0] = False
    masks["head"][:, 6:8] = False  # two channels
    masks["head"][9, 1:] = False  # one weight of the filter lives
    assert structures(layout(masks)) == {"filters": 74, "dead_filters": 6, "channels": 48, "dead_channels": 3}
    masks["point"][:] = False
    masks["norm"][:] = False
    assert structures(layout(masks)) == {"filters": 74, "dead_filters": 30, "channels": 48, "dead_channels": 19}


def test_survivors_in_dead_structures_are_counted_by_hand(layout):
    masks = {n: torch.ones(s, dtype=torch.bool) for n, s in SHAPES.items()}
    living = {n: m.clone() for n, m in masks.items()}
    total = alive(masks)
    assert in_dead(layout(living), masks) == 0.0
    living["conv"][0] = False
    living["conv"][:, 2] = False
    living["depthwise"][1] = False
    living["head"][:, 6] = False
    living["norm"][0] = False  # has neither filters nor channels
    crossed = 8 * 9 + 16 * 9 - 9  # the filter and the channel of conv have one kernel in common
    assert in_dead(layout(living), masks) == (crossed + 9 + 10) / total
    # the survivors, not all weights, are counted: a pruned filter holds none
    masks["conv"][0] = False
    assert in_dead(layout(living), masks) == (15 * 9 + 9 + 10) / (total - 72)
    for m in masks.values():
        m[:] = False
    assert math.isnan(in_dead(living, masks))


def test_a_single_input_channel_is_dead_only_with_its_filters():
    masks = {"stem": torch.ones(4, 1, 3, 3, dtype=torch.bool), "fc": torch.ones(3, 1, dtype=torch.bool)}
    living = {"stem": masks["stem"].clone(), "fc": torch.zeros(3, 1, dtype=torch.bool)}
    living["stem"][1:] = False
    assert structures(living) == {"filters": 7, "dead_filters": 6, "channels": 0, "dead_channels": 0}
    assert in_dead(living, masks) == (27 + 3) / 39


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5), st.booleans())
def test_structures_equal_a_loop_over_filters_and_channels(seed, density, last):
    living, masks = random_masks(density * density, seed), random_masks(0.7, seed + 1)
    expected = dict.fromkeys(("filters", "dead_filters", "channels", "dead_channels"), 0)
    doomed = 0
    for n, m in living.items():
        a = m.numpy()
        marked = np.zeros_like(a)
        if a.ndim > 1:
            for i in range(a.shape[0]):
                expected["filters"] += 1
                expected["dead_filters"] += not a[i].any()
                marked[i] |= not a[i].any()
            for j in range(a.shape[1]) if a.shape[1] > 1 else ():
                expected["channels"] += 1
                expected["dead_channels"] += not a[:, j].any()
                marked[:, j] |= not a[:, j].any()
        doomed += int((marked & masks[n].numpy()).sum())
    given_to = channels_last(living) if last else living
    assert structures(given_to) == expected
    assert in_dead(given_to, masks) == doomed / alive(masks)


def counts_in_float64(values):
    bounds = [0.0, *(10.0 ** (k / 4) for k in range(-32, 5)), math.inf]
    values = [abs(float(v)) for v in values]
    bins = [sum(left <= v < right for v in values) for left, right in itertools.pairwise(bounds)]
    bins[-1] += sum(v == math.inf for v in values)
    return bounds, bins


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_histogram_is_right_at_bin_edges(dtype):
    edges = torch.tensor(HISTOGRAM_EDGES, dtype=torch.float64).to(dtype)
    zero, inf = torch.zeros((), dtype=dtype), torch.full((), math.inf, dtype=dtype)
    values = torch.cat([edges, -edges.nextafter(inf), edges.nextafter(zero), torch.stack([zero, -zero, inf, -inf])])
    weights = {"norm": values}
    rows = magnitude_histogram(weights, full_masks(weights))
    bounds, bins = counts_in_float64(values.double())
    assert [r["count"] for r in rows] == bins
    assert [r["left"] for r in rows] == bounds[:-1]
    assert [r["right"] for r in rows] == bounds[1:]
    assert len(rows) == 4 * 9 + 2
    assert (rows[1]["left"], rows[-2]["right"]) == (1e-8, 10.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32) | st.floats(-(2.0**-17), 2.0**-17, width=32), max_size=40),
    st.integers(0, 99),
)
def test_histogram_counts_add_up_to_the_survivors(values, seed):
    torch.manual_seed(seed)
    weights = {"a": torch.tensor([values]), "b": torch.tensor([*values, 0.5])}
    masks = {n: torch.rand(w.shape) < 0.6 for n, w in weights.items()}
    rows = magnitude_histogram(weights, masks)
    assert sum(r["count"] for r in rows) == alive(masks)
    survivors = torch.cat([weights[n][masks[n]] for n in masks]).tolist()
    assert [r["count"] for r in rows] == counts_in_float64(survivors)[1]


def test_the_histogram_leaves_out_nan():
    weights = {"a": torch.tensor([[math.nan, 20.0], [0.1, -math.nan]]), "b": torch.tensor([math.inf, 0.0])}
    counts = [r["count"] for r in magnitude_histogram(weights, full_masks(weights))]
    assert (sum(counts), counts[0], counts[-1]) == (4, 1, 2)
    none = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in weights.items()}
    assert sum(r["count"] for r in magnitude_histogram(weights, none)) == 0


def test_no_measure_depends_on_the_memory_format():
    dense, masks = network(), random_masks(0.7)
    torch.manual_seed(5)
    weights = {n: w * torch.rand(w.shape) ** 4 for n, w in dense.items()}
    small = shed(weights, dense, masks)
    living = {n: masks[n] & ~small[n] for n in masks}

    def measures(dense, weights, masks):
        small = shed(weights, dense, masks)
        living = {n: masks[n] & ~small[n] for n in masks}
        return (
            alive(small),
            absolute_threshold(dense, 0.3),
            structures(living),
            in_dead(living, masks),
            magnitude_histogram(weights, masks),
        )

    expected = measures(dense, weights, masks)
    assert alive(living) < alive(masks)
    assert measures(*map(channels_last, (dense, weights, masks))) == expected
    assert measures(dense, channels_last(weights), masks) == expected


def quadratic(params, masks):
    """1 + the share of the survivors' sum of squares that is gone."""
    before = {n: p.detach().clone() for n, p in params.items()}
    total = torch.cat([p.detach()[masks[n]] for n, p in params.items()]).double().square().sum().item()

    def loss():
        gone = sum(((before[n] - params[n].detach()) * masks[n]).double().square().sum().item() for n in masks)
        return 1 + gone / total

    return loss


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.1, 0.5, 1.0, 2.0])
def test_the_removable_share_is_exact_on_a_quadratic_loss(layout, tolerance):
    params = {n: nn.Parameter(w) for n, w in layout(network()).items()}
    masks = random_masks(0.6)
    squares = np.sort(np.concatenate([p.detach()[masks[n]].double().square().numpy() for n, p in params.items()]))
    gone = np.concatenate([[0.0], np.cumsum(squares)]) / squares.sum()
    passing = [k for k in range(129) if gone[math.floor(len(squares) * k / 128 + 0.5)] <= tolerance + 1e-12]
    found = removable_share(quadratic(params, masks), params, masks, tolerance=tolerance + 1e-12)
    assert found == max(passing) / 128


def test_ties_go_by_index(layout):
    values = torch.full((4, 4, 3, 3), 0.5)
    values[2, 1, 0, 2] = -0.25
    params = {n: nn.Parameter(w) for n, w in layout({"conv": values}).items()}
    params["head"] = nn.Parameter(torch.tensor([[0.5, -0.25]]))
    masks = full_masks(params)
    masks["conv"][0, 0, 0, 1] = False
    seen = []

    def loss():
        seen.append({n: p.detach().clone().contiguous() for n, p in params.items()})
        return 1.0 if len(seen) == 1 else 2.0

    total = alive(masks)
    assert removable_share(loss, params, masks, resolution=1 / total) == 0.0
    order = [(0, 65 + 9 + 9), (1, 1), *((0, i) for i in range(144) if i not in (1, 83)), (1, 0)]
    assert values.flatten()[83] == -0.25
    assert len(order) == total
    for state in seen[1:]:
        gone = {(k, i) for k, n in enumerate(masks) for i in (state[n].flatten() == 0).nonzero().flatten().tolist()}
        assert gone == set(order[: len(gone)])
    counts = [sum(int((w == 0).sum()) for w in state.values()) for state in seen]
    assert counts[0] == 0
    assert counts[-1] == 1
    assert counts == [0, *sorted(counts[1:], reverse=True)]


def test_weights_outside_the_masks_stay_when_survivors_are_removed():
    """A control network is not pruned: its weights outside the masks are not zero and must not become so."""
    params = {n: nn.Parameter(w) for n, w in network().items()}
    masks = random_masks(0.5)
    outside = {n: p.detach()[~masks[n]].clone() for n, p in params.items()}
    calls = []

    def loss():
        calls.append(sum(int((p == 0).sum()) for p in params.values()))
        assert all(torch.equal(params[n].detach()[~masks[n]], outside[n]) for n in masks)
        return 0.0

    assert removable_share(loss, params, masks) == 1.0
    assert max(calls) == alive(masks)
    assert len(calls) <= 2 + math.log2(128)


def bits(params):
    return {n: p.detach().contiguous().view(torch.int32).clone() for n, p in params.items()}


@pytest.mark.parametrize("fail_at", [1, 2, 5, None])
def test_weights_are_restored_to_the_bit_also_when_the_loss_raises(layout, fail_at):
    dense = network()
    dense["head"][0, :4] = torch.tensor([0.0, -0.0, math.nan, -math.inf])
    params = {n: nn.Parameter(w) for n, w in layout(dense).items()}
    strides = {n: p.stride() for n, p in params.items()}
    pointers = {n: p.data_ptr() for n, p in params.items()}
    before = bits(params)
    calls = []

    def loss():
        calls.append(any(not torch.equal(before[n], b) for n, b in bits(params).items()))
        if len(calls) == fail_at:
            raise RuntimeError("out of memory")
        return 1.0

    if fail_at:
        with pytest.raises(RuntimeError, match="out of memory"):
            removable_share(loss, params, random_masks(0.8))
        assert len(calls) == fail_at
    else:
        assert removable_share(loss, params, random_masks(0.8)) == 1.0
    assert calls == [False] + [True] * (len(calls) - 1), "the first loss is that of the untouched weights"
    assert all(torch.equal(before[n], b) for n, b in bits(params).items())
    assert strides == {n: p.stride() for n, p in params.items()}
    assert pointers == {n: p.data_ptr() for n, p in params.items()}
    assert all(p.requires_grad and p.grad is None for p in params.values())


def test_the_removable_share_of_a_network_agrees_with_its_loss():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    x = torch.randn(64, 6)
    with torch.no_grad():
        model[2].weight.mul_(20)
    y = model(x).argmax(1)  # classes that the network predicts well, so that removing weights costs something
    params = prunable_parameters(model)
    masks = full_masks(params)

    def loss():
        return nn.functional.cross_entropy(model(x), y).item()

    base = loss()
    found = removable_share(loss, params, masks, tolerance=0.05)
    assert loss() == base
    assert 0 < found < 1
    losses = []
    for step in (0, 1):  # the share found passes, one step of the resolution more does not
        kept = keep_top({n: p.detach().abs() for n, p in params.items()}, masks, 1 - found - step / 128)
        twin = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
        twin.load_state_dict(model.state_dict())
        with torch.no_grad():
            for n, p in prunable_parameters(twin).items():
                p.mul_(kept[n])
        losses.append(nn.functional.cross_entropy(twin(x), y).item())
    assert losses[0] <= 1.05 * base < losses[1]


def test_the_resolution_bounds_the_answer_and_its_extremes_are_reached():
    params, masks = linear([float(i) for i in range(1, 101)])
    for resolution in (1.0, 0.5, 0.3, 0.1, 1 / 3, 1 / 7, 1 / 93, 1 / 128):
        steps = math.floor(1.000001 / resolution)
        assert removable_share(lambda: 1.0, params, masks, resolution=resolution) == pytest.approx(steps * resolution)
        assert removable_share(lambda: 1.0, params, masks, resolution=resolution) <= 1.0

        def few():
            return 1.0 if int((params["fc"] == 0).sum()) <= 60 else 3.0

        found = removable_share(few, params, masks, resolution=resolution)
        assert found == pytest.approx(math.floor(0.605 / resolution - 1e-9) * resolution)


def test_a_loss_that_is_not_finite_or_no_survivors_give_nan():
    params, masks = linear([1.0, 2.0, 3.0, 4.0])
    for bad in (math.nan, math.inf):
        assert math.isnan(removable_share(lambda bad=bad: bad, params, masks))
        losses = iter([1.0, *[bad] * 20])
        assert removable_share(lambda losses=losses: next(losses), params, masks) == 0.0
    assert math.isnan(removable_share(lambda: 1.0, params, {"fc": torch.zeros(1, 4, dtype=torch.bool)}))
    assert params["fc"].tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_bad_input_is_named():
    weights, masks = network(), random_masks(0.5)
    params = {n: nn.Parameter(w) for n, w in weights.items()}
    fewer = {n: w for n, w in weights.items() if n != "conv"}
    with pytest.raises(InputError, match="weights and masks must have the same names; only one of them has: conv"):
        shed(fewer, weights, masks)
    with pytest.raises(InputError, match="reference weights and masks must"):
        shed(weights, fewer, masks)
    for measure in (
        lambda m: shed(weights, weights, m),
        lambda m: below_threshold(weights, m, 0.1),
        lambda m: in_dead(masks, m),
        lambda m: magnitude_histogram(weights, m),
        lambda m: removable_share(lambda: 1.0, params, m),
    ):
        with pytest.raises(InputError, match="only one of them has: conv"):
            measure({n: m for n, m in masks.items() if n != "conv"})
        with pytest.raises(
            InputError, match=r"mask of 'head' is torch.bool \(24, 10\); the .*weights need bool \(10, 24\)"
        ):
            measure(masks | {"head": masks["head"].T})
        with pytest.raises(InputError, match="need bool"):
            measure(masks | {"head": masks["head"].float()})
    for below in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="below is"):
            shed(weights, weights, masks, below=below)
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="share of pruned weights"):
            absolute_threshold(weights, value)
    with pytest.raises(InputError, match="no reference weights"):
        absolute_threshold({}, 0.5)
    with pytest.raises(InputError, match="'head' contain NaN"):
        absolute_threshold(weights | {"head": torch.full((10, 24), math.nan)}, 0.5)
    for resolution in (0.0, 1.5, math.nan):
        with pytest.raises(InputError, match="resolution is"):
            removable_share(lambda: 1.0, params, masks, resolution=resolution)
    for tolerance in (-0.1, math.nan):
        with pytest.raises(InputError, match="tolerance is"):
            removable_share(lambda: 1.0, params, masks, tolerance=tolerance)
