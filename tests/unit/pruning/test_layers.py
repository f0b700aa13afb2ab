"""One table of layers for masks, N:M, structures, FLOPs and lookahead; weights that others hold; what is left out."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from prunebench.analysis.shedding import in_dead, structures
from prunebench.errors import InputError
from prunebench.pruning import ScoreInputs, after_prune_, get_criterion
from prunebench.pruning.layers import LeftOut, layers_of, prunable_parameters, prunable_weights
from prunebench.pruning.masks import apply_masks_, density, full_masks, nonzero
from prunebench.pruning.structured import block_masks, n_of_m_masks, occupancy

CONVOLUTIONS = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


def names(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(layers_of(model, **options))


# --- what is in the table


def test_linear_layers_convolutions_and_projections_are_in_the_table():
    model = nn.ModuleDict(
        {f"conv{d}": kinds[0](2, 4, 3) for d, kinds in CONVOLUTIONS.items()}
        | {f"up{d}": kinds[1](2, 4, 3) for d, kinds in CONVOLUTIONS.items()}
        | {"linear": nn.Linear(3, 3), "attention": nn.MultiheadAttention(4, 2, kdim=3, vdim=5)}
        | {"whole": nn.MultiheadAttention(4, 2), "norm": nn.RMSNorm(4), "batch": nn.BatchNorm1d(4)}
    )
    plain = [f"{kind}{d}.weight" for kind in ("conv", "up") for d in (1, 2, 3)] + ["linear.weight"]
    projections = [f"attention.{x}_proj_weight" for x in "qkv"] + ["attention.out_proj.weight"]
    assert names(model) == [*plain, *projections, "whole.in_proj_weight", "whole.out_proj.weight"]
    assert names(model, include_norm=True)[-2:] == ["norm.weight", "batch.weight"]


def test_what_is_left_out_is_named_in_one_warning():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.cell = nn.Embedding(9, 4), nn.GRU(4, 4)
            self.position = nn.Parameter(torch.zeros(1, 4))
            self.turn = parametrizations.orthogonal(nn.Linear(4, 4))
            self.head = nn.Linear(4, 9)
            self.head.weight = nn.Parameter(torch.ones(9, 4))
            self.scale = nn.Parameter(torch.ones(4))

    with pytest.warns(LeftOut) as caught:
        assert list(layers_of(Net())) == ["head.weight"]
    (warning,) = caught
    assert str(warning.message) == (
        "Net: these weights are never pruned: turn.weight (Linear under what may not keep its zeros), position (Net), "
        "words.weight (Embedding), cell.weight_ih_l0 (GRU), cell.weight_hh_l0 (GRU)"
    )


def test_a_weight_that_an_embedding_shares_is_the_linear_layers():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head, self.again = nn.Embedding(9, 4), nn.Linear(4, 9), nn.Linear(4, 9)
            self.head.weight = self.again.weight = self.words.weight

    assert names(Tied()) == ["head.weight"]


def test_nothing_to_prune_and_no_shape_yet_are_one_line():
    with pytest.raises(InputError, match="ReLU has no convolution or linear weight to prune"):
        layers_of(nn.ReLU())
    with pytest.raises(InputError, match=r"'0\.weight' has no shape yet: run a batch through the lazy layer first"):
        layers_of(nn.Sequential(nn.LazyLinear(3)))


# --- weights that other parameters hold


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


HELD = {
    "weight_norm": parametrizations.weight_norm,
    "weight_norm of all": lambda layer: parametrizations.weight_norm(layer, dim=None),
    "weight_norm over inputs": lambda layer: parametrizations.weight_norm(layer, dim=1),
    "old weight_norm": old_weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": nn.utils.spectral_norm,
    "torch's pruning": lambda layer: prune.random_unstructured(layer, "weight", 0.25),
}


def network(held, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), HELD[held](nn.Conv2d(8, 6, 3)), nn.Flatten(), nn.Linear(24, 5))


def forward_weight(model):
    """The held weight, as a forward pass in eval mode takes it, read off by identity inputs."""
    model.eval()(torch.zeros(1, 3, 6, 6))
    return model[2].weight.detach().clone()


@pytest.mark.parametrize("held", HELD)
def test_a_held_weight_is_that_of_the_forward_pass_and_reading_it_changes_nothing(held):
    model = network(held).train()
    before = copy.deepcopy(model.state_dict())
    weights = prunable_weights(model)
    assert list(weights) == ["0.weight", "2.weight", "4.weight"]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(weights["2.weight"], forward_weight(model))
    assert weights["0.weight"].data_ptr() == model[0].weight.data_ptr()


@pytest.mark.parametrize("held", HELD)
def test_masks_hold_through_whatever_holds_the_weight(held):
    model = network(held)
    weights = prunable_weights(model)
    masks = get_criterion("global_magnitude").prune(ScoreInputs(weights, nonzero(weights)), 0.5)
    masks["2.weight"][3] = False  # a whole filter: weight_norm would divide by its norm of 0
    masks["2.weight"][:, 2] = False
    expected = weights["2.weight"].masked_fill(~masks["2.weight"], 0)
    scale = torch.linalg.matrix_norm(expected.flatten(1), 2) if "spectral" in held else 1.0
    apply_masks_(model, masks)
    now = forward_weight(model)
    assert torch.equal(now != 0, masks["2.weight"] & (expected != 0))
    if "spectral" in held:  # which normalises what is left
        torch.testing.assert_close(now / now.norm(), expected / expected.norm())
        assert float(scale) > 0
    else:
        torch.testing.assert_close(now, expected)
    assert density(nonzero(prunable_weights(model))) == pytest.approx(density(masks), abs=1e-3)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model.train()(torch.randn(4, 3, 6, 6)).square().mean().backward()
        optimizer.step()
        apply_masks_(model, masks)
        held_now = forward_weight(model)
        assert torch.equal(held_now[~masks["2.weight"]], torch.zeros(int((~masks["2.weight"]).sum())))
        assert bool(held_now.isfinite().all())


def test_the_density_of_a_partly_held_network_counts_all_of_it():
    """The case found: 0.20 was reported where it was 0.55, since only the plain layer counted."""
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    prune.l1_unstructured(model[0], "weight", 10)
    with torch.no_grad():
        model[1].weight.copy_(torch.arange(100).reshape(10, 10) < 20)
    assert density(nonzero(prunable_weights(model))) == pytest.approx(0.55)


def test_a_held_weight_is_refused_where_it_would_be_written_in_place():
    model = network("weight_norm")
    with pytest.raises(InputError, match=r"2\.weight: no parameter of its own .*apply_masks_\(model, masks\)"):
        prunable_parameters(model)
    spectral = nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 3)))
    with pytest.raises(InputError, match=r"no weight of '0\.weight' is left: spectral_norm would divide by"):
        apply_masks_(spectral, {"0.weight": torch.zeros(3, 3, dtype=torch.bool)})


def test_nan_is_pruned_through_weight_norm_and_a_mask_is_bool():
    layer = parametrizations.weight_norm(nn.Linear(4, 2))
    with torch.no_grad():
        layer.parametrizations.weight.original1[0, 0] = torch.nan
        layer.parametrizations.weight.original1[1] = torch.nan
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[0, 0] = mask[1, 0] = mask[1, 1] = mask[1, 2] = mask[1, 3] = False
    apply_masks_(nn.Sequential(layer), {"0.weight": mask})
    assert torch.equal(layer.weight != 0, mask)
    assert bool(layer.weight.isfinite().all())
    with pytest.raises(InputError, match=r"mask '0\.weight' has type torch\.uint8; allowed: torch\.bool"):
        apply_masks_(nn.Sequential(nn.Linear(4, 2)), {"0.weight": mask.to(torch.uint8)})


def test_a_mask_that_cannot_be_is_refused_before_any_other_is_applied():
    model = nn.Sequential(nn.Linear(3, 3), parametrizations.spectral_norm(nn.Linear(3, 3)))
    none = torch.zeros(3, 3, dtype=torch.bool)
    with pytest.raises(InputError, match=r"no weight of '1\.weight' is left"):
        apply_masks_(model, {"0.weight": none, "1.weight": none})
    assert bool((model[0].weight != 0).all())


def test_weights_that_are_held_in_ways_not_known_here_are_left_out():
    twice = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 3))
    prune.random_unstructured(twice[0].parametrizations.weight, "original1", 0.5)
    attention = nn.MultiheadAttention(4, 2)
    prune.random_unstructured(attention.out_proj, "weight", 0.5)
    quantised = nn.Sequential(nn.Linear(3, 3), torch.ao.nn.quantized.dynamic.Linear(3, 3))
    for model, name in ((twice, "0.weight"), (attention, "out_proj.weight"), (quantised, "1 ")):
        with pytest.warns(LeftOut, match=name):
            assert len(layers_of(model)) == 1


def test_after_a_prune_held_weights_are_masked_too():
    model = network("weight_norm")
    state, masks = copy.deepcopy(model.state_dict()), full_masks(prunable_weights(model))
    masks["2.weight"][:, ::2] = False
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    after_prune_(model, masks, "rewind_weights", saved_state=state)
    assert torch.equal(forward_weight(model) != 0, masks["2.weight"])
    assert torch.equal(model[0].weight, state["0.weight"])
    with pytest.raises(InputError, match=r"mask '9\.weight' has no parameter"):
        after_prune_(model, {"9.weight": masks["2.weight"]}, "keep")
    assert parametrize.is_parametrized(model[2])


# --- transposed convolutions: the same numbers as the convolution with the same connections


def pair(dim, groups):
    """A transposed convolution, and the convolution whose weight has the same connections, out by in."""
    torch.manual_seed(0)
    conv, transposed = CONVOLUTIONS[dim]
    up = nn.Sequential(transposed(8, 12, 3, groups=groups))
    down = nn.Sequential(conv(8, 12, 3, groups=groups))
    with torch.no_grad():
        by_group = up[0].weight.unflatten(0, (groups, -1))  # groups, in / groups, out / groups, *kernel
        down[0].weight.copy_(torch.cat([part.transpose(0, 1) for part in by_group]))
    return up, down


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_transposed_convolution_is_read_by_its_inputs_and_outputs(dim, groups):
    results = []
    for model in pair(dim, groups):
        layers, weights = layers_of(model), prunable_weights(model)
        scores = {name: w.abs() for name, w in weights.items()}
        masks = full_masks(weights)
        pattern = n_of_m_masks(scores, masks, 2, 4, layers)
        blocks = block_masks(scores, masks, 0.5, 2, layers)
        alive = copy.deepcopy(pattern)
        transposed = layers["0.weight"].transpose
        transposed(alive["0.weight"])[:5] = False  # a view, or a copy where it is grouped
        alive = {"0.weight": transposed(transposed(pattern["0.weight"]).clone().index_fill_(0, torch.arange(5), False))}
        results.append(
            (
                transposed(pattern["0.weight"]),
                transposed(blocks["0.weight"]),
                occupancy(pattern, 4, layers),
                structures(alive, layers),
                in_dead(alive, pattern, layers),
            )
        )
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert results[0][3]["dead_filters"] == 5
    assert results[0][2].tolist()[2] == results[0][2].sum()


def test_lookahead_reads_transposed_convolutions_too():
    up, down = pair(2, 1)
    scores = []
    for model in (up, down):
        whole = nn.Sequential(nn.Conv2d(3, 8, 1), model[0], nn.Conv2d(12, 2, 1))
        with torch.no_grad():
            for i, layer in enumerate((whole[0], whole[2])):
                torch.manual_seed(i)
                layer.weight.copy_(torch.randn(layer.weight.shape))
        weights = prunable_weights(whole)
        inputs = ScoreInputs(weights, full_masks(weights), layers=layers_of(whole))
        scores.append(get_criterion("lookahead").scores(inputs))
    assert torch.equal(scores[0]["1.weight"], scores[1]["1.weight"].transpose(0, 1))
    assert torch.equal(scores[0]["0.weight"], scores[1]["0.weight"])
