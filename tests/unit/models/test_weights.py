"""Weights of files of others: what is taken, and one line for what is not."""

import io
import re

import pytest
import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.models import build, fitted_state

pytestmark = pytest.mark.usefixtures("one_thread")


def resnet50(classes=10, device="meta", **options):
    with torch.device(device):
        sizes = {"classes": classes, "in_channels": 3, "image_size": 64}
        return build("torchvision_resnet50", seed=None, **sizes, **options)


@pytest.fixture(scope="module")
def model():
    return resnet50()


@pytest.fixture
def state(model):
    """A state dict with the keys of torchvision's resnet50, which are timm's too."""
    names = model.state_dict()
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv1.weight",
        "layer4.2.bn3.bias",
        "fc.weight",
    } <= names.keys()
    return {name: torch.empty_like(value) for name, value in names.items()}


def put(state, *prefixes):
    return {f"{''.join(prefixes)}{name}": value for name, value in state.items()}


SAVED = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 90, "state_dict": state, "optimizer": {"state": {}}},
    "model": lambda state: {"model": state, "args": None},
    "model_state": lambda state: {"model_state": state},
    "model_ema": lambda state: {"model_ema": {"n_averaged": torch.tensor(7), **put(state, "module.")}},
    "of model and model_ema the model": lambda state: {"model_ema": {"other": torch.zeros(1)}, "model": state},
    "two levels": lambda state: {"model": {"state_dict": state}},
    "module.": lambda state: put(state, "module."),
    "_orig_mod.": lambda state: put(state, "_orig_mod."),
    "model.": lambda state: {"state_dict": put(state, "model.")},
    "several": lambda state: put(state, "module.", "_orig_mod.", "model."),
    "no counters of batches": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "half precision": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}


@pytest.mark.parametrize("saved", SAVED.values(), ids=SAVED)
def test_what_scripts_save_fits(saved, model, state):
    fitted = fitted_state(saved(state), model)
    assert [*fitted] == [*model.state_dict()]
    for name, value in fitted.items():
        assert value is state[name] or "num_batches" in name or value.dtype == torch.half


def test_values_arrive_where_they_belong():
    source = build("vgg", depth=11, width=0.05, classes=10, in_channels=3, image_size=8, seed=0)
    target = build("vgg", depth=11, width=0.05, classes=10, in_channels=3, image_size=8, seed=1)
    file = io.BytesIO()
    torch.save({"state_dict": nn.DataParallel(source).state_dict()}, file)
    file.seek(0)
    target.load_state_dict(fitted_state(torch.load(file, weights_only=True), target))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(target.eval()(x), source.eval()(x))


def test_counters_of_batches_that_are_missing_are_zero():
    norm = nn.BatchNorm2d(3)
    norm.num_batches_tracked.fill_(5)
    state = {name: value for name, value in norm.state_dict().items() if "num" not in name}
    assert fitted_state(state, norm)["num_batches_tracked"] == 0


def test_a_prefix_that_the_network_has_itself_stays():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(2, 2)

    model = Wrapped()
    for prefix in ("", "model.", "module."):
        assert [*fitted_state(put(model.state_dict(), prefix), model)] == ["model.weight", "model.bias"]


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


REFUSED = {
    "classes": (
        lambda state: {"state_dict": resnet50(1000).state_dict()},
        "these weights are for 1000 classes, the network has 10 (fc.weight)",
    ),
    "missing": (
        lambda state: without(state, "fc.bias", "conv1.weight"),
        "these weights do not fit: missing conv1.weight, fc.bias",
    ),
    "unexpected": (lambda state: state | {"head.weight": torch.zeros(1)}, "do not fit: unexpected head.weight"),
    "many": (  # 161 parameters, and 53 batch norms with three buffers each, of which the counters may be missing
        lambda state: put(state, "encoder."),
        f"missing conv1.weight, bn1.weight, bn1.bias, ... ({161 + 2 * 53} in all); "
        f"unexpected encoder.conv1.weight, encoder.bn1.weight, encoder.bn1.bias, ... ({161 + 3 * 53} in all)",
    ),
    "another stem": (
        lambda state: resnet50(small_stem=True).state_dict(),
        "these weights do not fit: of another shape conv1.weight (64, 3, 3, 3) for (64, 3, 7, 7)",
    ),
    "classes and more": (
        lambda state: without(resnet50(1000).state_dict(), "conv1.weight"),
        "missing conv1.weight; of another shape fc.weight (1000, 2048) for (10, 2048), fc.bias (1000,) for (10,)",
    ),
    "another width": (
        lambda state: state | {"fc.weight": torch.zeros(10, 512)},
        "of another shape fc.weight (10, 512) for (10, 2048)",
    ),
    "integers": (
        lambda state: state | {"bn1.bias": torch.zeros(64, dtype=torch.int8)},
        "of another shape bn1.bias (64,) of torch.int8 for (64,)",
    ),
    "no tensor": (lambda state: state | {"fc.bias": [0.0] * 10}, "of another shape fc.bias a list for (10,)"),
    "twice": (
        lambda state: state | {"module.fc.bias": state["fc.bias"]},
        "hold fc.bias twice, with another prefix each",
    ),
    "no mapping": (lambda state: [*state.values()], "no weights by name, but a list"),
    "nothing": (lambda state: {}, "missing conv1.weight"),
    "names that are none": (lambda state: state | {3: 1, "a\nb" + "c" * 200: 2}, "unexpected 3, a bccc"),
    "itself": (lambda state: holds_itself(), "missing conv1.weight"),
}


def holds_itself():
    state = {}
    state["model"] = state
    return state


@pytest.mark.parametrize(("saved", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named_in_one_line(saved, message, model, state):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        fitted_state(saved(state), model)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
