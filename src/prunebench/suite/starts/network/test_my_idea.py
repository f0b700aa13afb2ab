"""What must hold of my_idea before anything is trained: `pytest FOLDER/test_my_idea.py`."""

from pathlib import Path

import pytest
import torch

from prunebench.models import build
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

PRESET = Path(__file__).with_name("my_idea.yaml")


@pytest.fixture(autouse=True)
def loaded():
    """The preset, which loads the file."""
    return load_preset(PRESET)


def test_it_gives_a_number_per_class_and_begins_with_what_the_seed_says():
    networks = [build("my_idea", classes=10, in_channels=1, image_size=8, seed=seed) for seed in (0, 0, 1)]
    assert networks[0](torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    first, again, other = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_preset_trains_it_once_per_seed(loaded):
    chains = [job for job in make_plan(loaded).jobs("s_cyc") if job.task == "digits-my_idea"]
    assert [job.seed for job in chains] == loaded.seeds
