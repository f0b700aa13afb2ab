"""What must hold of my_idea before anything is trained: `pytest FOLDER/test_my_idea.py`."""

from pathlib import Path

import pytest

from prunebench.errors import InputError
from prunebench.schedules import PROFILES
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

PRESET = Path(__file__).with_name("my_idea.yaml")


@pytest.fixture(autouse=True)
def loaded():
    """The preset, which loads the file."""
    return load_preset(PRESET)


def test_the_lr_rises_to_max_lr_and_falls_again():
    lrs = [PROFILES["my_idea"](warmup=0.25).lr(step, 100, max_lr=2.0) for step in range(100)]
    assert max(lrs) == lrs[25] == 2.0
    assert lrs[:26] == sorted(lrs[:26])
    assert lrs[25:] == sorted(lrs[25:], reverse=True)
    assert min(lrs) >= 0


def test_a_warmup_beyond_the_cycle_is_refused():
    with pytest.raises(InputError, match="warmup is 1"):
        PROFILES["my_idea"](warmup=1)


def test_the_preset_runs_a_chain_of_it_per_seed(loaded):
    chains = [job for job in make_plan(loaded).trained() if job.axes.get("schedule") == "my_idea" and len(job.axes) > 1]
    assert [job.seed for job in chains] == loaded.seeds
