"""What must hold of my_idea before anything is trained: `pytest FOLDER/test_my_idea.py`."""

from pathlib import Path

import pytest
import torch

from prunebench.pruning import get_criterion
from prunebench.pruning.criteria import ScoreInputs
from prunebench.pruning.masks import full_masks
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

PRESET = Path(__file__).with_name("my_idea.yaml")


@pytest.fixture(autouse=True)
def loaded():
    """The preset, which loads the file."""
    return load_preset(PRESET)


def test_a_layer_of_larger_weights_is_not_spared():
    weights = {"small": torch.tensor([0.1, 0.2]), "large": torch.tensor([10.0, 20.0])}
    masks = get_criterion("my_idea").prune(ScoreInputs(weights, full_masks(weights)), 0.5)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"small": [False, True], "large": [False, True]}


def test_the_preset_runs_a_chain_of_it_per_seed(loaded):
    chains = [job for job in make_plan(loaded).trained() if job.axes.get("criterion") == "my_idea"]
    assert [job.seed for job in chains] == loaded.seeds
