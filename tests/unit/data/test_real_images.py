"""Real CIFAR-10 and ImageNet-200 images, where they are: in PRUNEBENCH_SHARED_DATA, or shared/data above."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from prunebench.data.sources import source_of
from prunebench.errors import InputError


@pytest.fixture(scope="session")
def cifar(unpacked):
    return unpacked("cifar-10")


@pytest.fixture(scope="session")
def tiny_imagenet(unpacked):
    return unpacked("tiny-imagenet")


def test_the_training_images_of_cifar10_are_the_published(cifar, tmp_path):
    """Mean and std per channel as everybody states them; twenty of the test images here come from a JPEG copy."""
    raw = source_of("cifar10", checksum=None).read(cifar, tmp_path)
    images = raw.train.images.images
    assert images.shape == (50_000, 3, 32, 32)
    share = images.transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float32) / 255
    assert share.mean(1, dtype=np.float64) == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-7)
    assert share.std(1, dtype=np.float64) == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=1e-7)
    assert np.bincount(raw.train.labels).tolist() == [5000] * 10
    assert np.bincount(raw.test.labels).tolist() == [1000] * 10
    with pytest.raises(InputError) as caught:
        source_of("cifar10").read(cifar, tmp_path)
    message = str(caught.value)
    assert "the test images of CIFAR-10 are not the publisher's" in message  # and not the training images
    assert str(cifar / "cifar-10-batches-py") in message
    assert "`checksum: null`" in message


def test_a_part_of_imagenet200_is_read_and_not_taken_for_the_published(tiny_imagenet, tmp_path):
    raw = source_of("imagenet200", checksum=None).read(tiny_imagenet, tmp_path)
    assert np.bincount(raw.train.labels).tolist() == [100] * 200
    assert np.bincount(raw.test.labels).tolist() == [25] * 200
    # Grey files among them are read in colour.
    for block in raw.train.images.blocks(np.arange(0, 20_000, 97)):
        assert block.shape == (1, 3, 64, 64)
    with pytest.raises(InputError, match="100 images of class n01443537 in train/, published are 500"):
        source_of("imagenet200").read(tiny_imagenet, tmp_path)


def test_all_of_imagenet200_is_prepared_within_a_gigabyte(tiny_imagenet, tmp_path):
    """The published number of files: each of the part's five times, as links."""
    full = tmp_path / "raw" / "tiny-imagenet-200"
    source = tiny_imagenet / "tiny-imagenet-200"
    for name in ("wnids.txt", "words.txt"):
        (full / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(source / name, full / name)
    for path in source.glob("train/*/images/*.JPEG"):
        target = full / path.relative_to(source).parent
        target.mkdir(parents=True, exist_ok=True)
        for copy in range(5):
            os.link(path, target / f"{copy}_{path.name}")
    (full / "val").mkdir()
    os.link(source / "val" / "val_annotations.txt", full / "val" / "val_annotations.txt")
    (full / "val" / "images").symlink_to(source / "val" / "images")
    code = """if True:
        import json, sys
        from pathlib import Path
        from prunebench.data.prepare import prepare
        from prunebench.data.sources import source_of
        raw, folder = map(Path, sys.argv[1:])
        out = folder / "x.safetensors"
        prepare(source_of("imagenet200", checksum=None), raw, folder, size=None, train=90_000, validation=10_000,
                test=None, split_seed=0, out=out, manifest=folder / "x.json")
        # Not getrusage, whose peak begins with the parent's memory.
        line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(json.dumps({"peak": int(line.split()[1]) << 10, "bytes": out.stat().st_size}))
    """
    words = [sys.executable, "-c", code, full.parent, tmp_path]
    measured = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert measured["bytes"] > 105_000 * 3 * 64 * 64
    assert measured["peak"] < 1e9
