"""After a prune: each option leaves exactly the state that it names, with the masks applied."""

import copy

import pytest
import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.pruning import AfterPrune, after_prune_
from prunebench.pruning.masks import full_masks, prunable_parameters


def network(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    model(torch.randn(8, 1, 3, 3))
    return model


@pytest.fixture
def states():
    """The trained model, its masks, the state of epoch k and a fresh state."""
    model = network(0)
    masks = full_masks(prunable_parameters(model, include_norm=True))
    for mask in masks.values():
        mask.view(-1)[::2] = False
    return model, masks, network(1).state_dict(), network(2).state_dict()


@pytest.mark.parametrize("option", list(AfterPrune))
def test_each_option_starts_from_its_state_to_the_bit(option, states):
    model, masks, saved, fresh = states
    trained = copy.deepcopy(model.state_dict())
    kept = copy.deepcopy((saved, fresh))
    after_prune_(model, masks, option.value, saved_state=saved, fresh_state=fresh)
    source = {"rewind_weights": kept[0], "reinitialise": kept[1]}.get(option, trained)
    for name, found in model.state_dict().items():
        wanted = source[name] * masks[name] if name in masks else source[name]
        assert torch.equal(found, wanted), name
    for state, copied in zip((saved, fresh), kept, strict=True):
        assert all(torch.equal(state[name], copied[name]) for name in state)


def test_only_fine_tuning_goes_on_at_its_lr():
    assert [option for option in AfterPrune if not option.restarts_lr] == [AfterPrune.KEEP]


@pytest.mark.parametrize(
    ("option", "given", "message"),
    [
        ("rewind", {}, "unknown option after a prune 'rewind': did you mean 'rewind_lr'?"),
        ("rewind_weights", {}, "'rewind_weights' after a prune needs saved_state"),
        ("reinitialise", {"saved_state": {}}, "'reinitialise' after a prune needs fresh_state"),
        (
            "rewind_weights",
            {"saved_state": {}},
            "saved_state does not fit the model: '0.weight' is only in one",
        ),
    ],
)
def test_a_missing_state_is_refused(option, given, message, states):
    model, masks, *_ = states
    with pytest.raises(InputError) as caught:
        after_prune_(model, masks, option, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_shape_changes_nothing(states):
    model, masks, saved, _ = states
    before = copy.deepcopy(model.state_dict())
    saved["3.bias"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"'3.bias' has shape \(3,\), the model's \(2,\)"):
        after_prune_(model, masks, "rewind_weights", saved_state=saved)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_mask_without_a_parameter_is_refused(states):
    model, *_ = states
    with pytest.raises(InputError, match=r"mask '4\.weight' has no parameter"):
        after_prune_(model, {"4.weight": torch.ones(1, dtype=torch.bool)}, "keep")
