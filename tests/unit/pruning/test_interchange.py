"""Masks and networks that go to others' formats and come back; a plain loop."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from prunebench.errors import InputError
from prunebench.pruning import ScoreInputs, get_criterion
from prunebench.pruning.interchange import (
    load_masks,
    load_pruned,
    masks_from_torch,
    masks_to_torch_,
    save_masks,
    save_pruned,
    semi_structured_,
)
from prunebench.pruning.layers import prunable_weights
from prunebench.pruning.masks import apply_masks_, density, full_masks, nonzero
from prunebench.pruning.structured import n_of_m_masks


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


def pruned(model, share=0.3):
    weights = prunable_weights(model)
    return get_criterion("global_magnitude").prune(ScoreInputs(weights, full_masks(weights)), share)


def test_masks_go_to_torchs_pruning_and_come_back():
    model, x = network(), torch.randn(2, 1, 8, 8)
    masks = pruned(model)
    expected = copy.deepcopy(model)
    apply_masks_(expected, masks)
    masks_to_torch_(model, masks)
    assert prune.is_pruned(model[0])
    torch.testing.assert_close(model(x), expected(x))
    back = masks_from_torch(model)
    assert back.keys() == masks.keys()
    assert all(torch.equal(back[name], masks[name]) for name in masks)
    for layer in (model[0], model[3]):
        prune.remove(layer, "weight")
    assert torch.equal(model[3].weight, expected[3].weight)


def test_what_torch_pruned_comes_as_masks():
    model = network()
    prune.l1_unstructured(model[3], "weight", 0.5)
    prune.random_structured(model[3], "weight", 2, dim=0)
    masks = masks_from_torch(model)
    assert bool(masks["0.weight"].all())
    assert torch.equal(masks["3.weight"], model[3].weight != 0)
    assert 0.3 < density({"3.weight": masks["3.weight"]}) < 0.5


def test_masks_that_fit_no_weight_change_nothing():
    model = network()
    masks = pruned(model)
    with pytest.raises(InputError, match=r"mask '3\.weigth' has no weight: did you mean '3\.weight'"):
        masks_to_torch_(model, {**masks, "3.weigth": masks["3.weight"]})
    with pytest.raises(InputError, match=r"mask '3\.weight' has shape \(8, 1, 3, 3\), its weight \(10, 288\)"):
        masks_to_torch_(model, {**masks, "3.weight": masks["0.weight"]})
    assert not prune.is_pruned(model)
    held = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(InputError, match=r"'0\.weight' is under a parametrization"):
        masks_to_torch_(held, {"0.weight": torch.ones(4, 4, dtype=torch.bool)})


def test_weights_that_torch_would_prune_in_part_are_refused():
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    mask = torch.eye(4, dtype=torch.bool)
    with pytest.raises(InputError, match=r"'0\.weight' is tied"):
        masks_to_torch_(tied, {"0.weight": mask})
    with pytest.raises(InputError, match="attention reads this weight and runs no hook"):
        masks_to_torch_(nn.MultiheadAttention(4, 2), {"out_proj.weight": mask})
    with pytest.raises(InputError, match=r"has type torch\.float32; allowed: torch\.bool"):
        masks_to_torch_(nn.Sequential(nn.Linear(4, 4)), {"0.weight": mask.float()})


def test_masks_go_to_a_file_and_come_back(tmp_path):
    masks = pruned(network())
    save_masks(tmp_path / "masks.safetensors", masks)
    first = (tmp_path / "masks.safetensors").read_bytes()
    back = load_masks(tmp_path / "masks.safetensors")
    assert all(torch.equal(back[name], masks[name]) for name in masks)
    save_masks(tmp_path / "masks.safetensors", back)
    assert (tmp_path / "masks.safetensors").read_bytes() == first


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 8 + b"{}"])
def test_a_file_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    for load in (load_masks, load_pruned):
        with pytest.raises(InputError, match=r"^[^\n]*x is no safetensors file that can be read[^\n]*$"):
            load(tmp_path / "x")
    with pytest.raises(InputError, match="no safetensors file"):
        load_masks(tmp_path / "absent")


def test_numbers_are_no_masks_and_masks_no_network(tmp_path):
    with pytest.raises(InputError, match=r"'a' is torch\.float32; a mask is torch\.bool"):
        save_masks(tmp_path / "x", {"a": torch.ones(2)})
    save_file({"a": torch.ones(2)}, tmp_path / "x")
    with pytest.raises(InputError, match=r"'a' is torch\.float32; a mask is torch\.bool"):
        load_masks(tmp_path / "x")
    with pytest.raises(InputError, match="no file of save_pruned"):
        load_pruned(tmp_path / "x")


def test_a_pruned_network_says_how_sparse_it_is(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.body, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9)
            self.head.weight = self.words.weight

    model = Tied()
    masks = {name: torch.rand(w.shape) < 0.5 for name, w in prunable_weights(model).items()}
    apply_masks_(model, masks)
    info = save_pruned(tmp_path / "net.safetensors", model)
    assert info["sparsity"] == pytest.approx(1 - density(masks))
    assert info["weights"] == 52
    assert info["densities"] == {name: density({name: mask}) for name, mask in masks.items()}
    state, read = load_pruned(tmp_path / "net.safetensors")
    assert read == info
    other = Tied()
    other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_semi_structured_tensors_need_a_pattern_and_a_gpu():
    model = nn.Sequential(nn.Linear(64, 32))
    with pytest.raises(InputError, match="no linear layer in which 2 of every 4 weights are zero"):
        semi_structured_(model)
    weights = prunable_weights(model)
    apply_masks_(model, n_of_m_masks({n: w.abs() for n, w in weights.items()}, full_masks(weights), 2, 4))
    with pytest.raises(InputError, match=r"'0\.weight' lies on the CPU; torch's semi-structured tensors need a CUDA"):
        semi_structured_(model)


@pytest.mark.gpu
def test_semi_structured_tensors_compute_the_same():
    model = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)).half().cuda()
    weights = prunable_weights(model)
    apply_masks_(model, n_of_m_masks({n: w.abs() for n, w in weights.items()}, full_masks(weights), 2, 4))
    x = torch.randn(64, 128, device="cuda", dtype=torch.half)
    expected = model(x)
    assert semi_structured_(model) == ["0.weight", "2.weight"]
    torch.testing.assert_close(model(x), expected, rtol=1e-2, atol=1e-2)


def test_a_plain_loop_of_ten_lines():
    model, x, y = network(), torch.randn(32, 1, 8, 8), torch.randint(10, (32,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    masks = full_masks(prunable_weights(model))
    for cycle in range(3):
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            apply_masks_(model, masks)
        inputs = ScoreInputs(prunable_weights(model), masks, cycle=cycle + 1)
        masks = get_criterion("global_magnitude").prune(inputs, 0.5 ** (cycle + 1))
        apply_masks_(model, masks)
    assert density(nonzero(prunable_weights(model))) == pytest.approx(0.125, abs=1e-3)
