"""What must hold of my_idea before anything is trained: `pytest FOLDER/test_my_idea.py`."""

from pathlib import Path

import pytest

from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

PRESET = Path(__file__).with_name("my_idea.yaml")


@pytest.fixture(autouse=True)
def loaded():
    """The preset, which loads the file."""
    return load_preset(PRESET)


def test_the_preset_has_a_job_per_seed_with_both_criteria_at_each_sparsity(loaded):
    jobs = make_plan(loaded).jobs("my_idea")
    assert [job.seed for job in jobs] == loaded.seeds
    for job in jobs:
        assert len(job.arms) == 2 * len(loaded.my_idea.sparsities)
