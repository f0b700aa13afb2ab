"""What the tests of hostile data share."""

import pytest

from prunebench.data.prepare import prepare
from prunebench.errors import InputError
from prunebench.parsing import parse
from prunebench.suite.tasks import Dataset


@pytest.fixture
def canary(tmp_path):
    """A file that hostile content would make."""
    return tmp_path / "canary"


@pytest.fixture
def prepare_it(tmp_path, canary):
    """Prepares a miniature into an own folder; gives the prepared file."""

    def run(miniature):
        splits = dict(parse(Dataset, miniature.dataset, "mine"))
        out = tmp_path / "out" / "data.safetensors"
        source = splits.pop("source")
        prepare(source, miniature.raw, tmp_path / "cache", out=out, manifest=out.with_suffix(".json"), **splits)
        return out

    return run


@pytest.fixture
def refuse(prepare_it, tmp_path, canary):
    """Asserts that a miniature is refused in one line with `words`, without a trace; gives the line."""

    def check(miniature, *words):
        message = one_line_error(lambda: prepare_it(miniature))
        for word in words:
            assert str(word) in message
        assert not canary.exists()
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
        return message

    return check


@pytest.fixture
def one_line():
    """Asserts that a call is refused in one line; gives it."""
    return one_line_error


def one_line_error(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
