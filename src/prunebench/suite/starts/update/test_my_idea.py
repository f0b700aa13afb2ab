"""What must hold of my_idea before anything is trained: `pytest FOLDER/test_my_idea.py`."""

from pathlib import Path

import pytest
import torch

from prunebench.runs.updates import UPDATES
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

PRESET = Path(__file__).with_name("my_idea.yaml")


@pytest.fixture(autouse=True)
def loaded():
    """The preset, which loads the file."""
    return load_preset(PRESET)


def test_a_gradient_that_is_the_same_for_all_inputs_of_a_unit_moves_nothing():
    weight = torch.ones(2, 3)
    update = UPDATES["my_idea"](momentum=0, weight_decay=0)
    update.step_([weight], [torch.tensor([[1.0] * 3, [2.0] * 3])], update.begin([weight]), lr=0.1)
    assert torch.equal(weight, torch.ones(2, 3))


def test_the_preset_trains_with_it_once_per_seed(loaded):
    chains = [job for job in make_plan(loaded).jobs("s_cyc") if job.task == "digits-my_idea"]
    assert [job.seed for job in chains] == loaded.seeds
