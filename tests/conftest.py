"""Fixtures that several test files share."""

import os

import pytest
from hypothesis import settings

# Test files run side by side, one per core: a library that starts threads of its own for each would slow all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# CI decides whether a change lands, so it must not depend on luck; elsewhere every run searches afresh.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """A tiny prepared data set: 192 training, 64 validation and 64 test images of scikit-learn's digits, 8x8."""
    from prunebench.data.prepare import prepare

    folder = tmp_path_factory.mktemp("digits")
    out = folder / "digits.safetensors"
    prepare(
        "digits",
        None,
        folder / "cache",
        size=None,
        train=192,
        validation=64,
        test=64,
        split_seed=0,
        out=out,
        manifest=folder / "digits.json",
    )
    return out


@pytest.fixture(scope="session")
def digits(digits_file):
    """`digits_file` in memory."""
    from prunebench.data.batches import load_prepared

    return load_prepared(digits_file)


@pytest.fixture
def one_thread():
    """One CPU thread for the test: tiny networks are slower on more, and results depend on it in the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
