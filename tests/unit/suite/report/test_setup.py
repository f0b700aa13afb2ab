"""What the report says of a task's set-up."""

from pathlib import Path

import pytest

from prunebench.suite.preset import load_preset
from prunebench.suite.report.page.provenance import setup

CONFIG = Path(__file__).parents[4] / "config"


@pytest.fixture(scope="module")
def paper():
    return load_preset(CONFIG / "paper.yaml").tasks


def test_options_stand_in_words_whatever_their_type(paper):
    assert setup(paper["cifar10-vgg16"]) == {
        "network": "vgg, depth 16, width 1, batch norm no, hidden 512 512, dropout 0.5",
        "activation": "relu",
        "update": "sgd, momentum 0.0, weight decay 0.0",
        "augmentation": "crop 4, flip",
    }
    shown = setup(paper["imagenet-resnet50-pretrained"])
    assert shown["network"] == "torchvision_resnet50, small stem no, weights of resnet50-0676ba61.pth"
    assert shown["augmentation"] == "resized crop of 8% or more, flip"


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_task_of_a_kept_preset_has_one(path):
    for task in load_preset(path).tasks.values():
        assert all(setup(task).values())
