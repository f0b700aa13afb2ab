"""What must hold of my_idea before anything is trained: `pytest FOLDER/test_my_idea.py`."""

from pathlib import Path

import pytest

from prunebench.data.sources import source_of
from prunebench.errors import InputError
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

PRESET = Path(__file__).with_name("my_idea.yaml")


@pytest.fixture(autouse=True)
def loaded():
    """The preset, which loads the file."""
    return load_preset(PRESET)


def test_every_image_has_a_label_and_a_turn_moves_pixels(tmp_path):
    raw = source_of("my_idea").read(None, tmp_path)
    other = source_of("my_idea", quarters=0).read(None, tmp_path)
    assert raw.train.images.images.shape == (len(raw.train.labels), 1, 8, 8)
    assert (raw.train.labels == other.train.labels).all()
    assert (raw.train.images.images != other.train.images.images).any()


def test_five_quarters_are_refused():
    with pytest.raises(InputError, match="quarters is 5"):
        source_of("my_idea", quarters=5)


def test_the_preset_trains_on_it(loaded):
    assert {job.data for job in make_plan(loaded).jobs()} == {"my_idea"}
