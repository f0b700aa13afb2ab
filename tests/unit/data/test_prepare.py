"""Raw sources and prepared files: what they hold, and that the same input gives the same bytes."""

import gzip
import hashlib
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from prunebench.data import fashion
from prunebench.data.batches import load_prepared
from prunebench.data.fashion import IdxFile
from prunebench.data.prepare import prepare
from prunebench.data.sources import source_of
from prunebench.errors import InputError


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def fashion_folder(tmp_path, monkeypatch):
    """A miniature Fashion-MNIST in the published layout: its folder, and its arrays by file name."""
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 60, dtype=np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 20, dtype=np.uint8),
    }
    folder = tmp_path / "named"
    folder.mkdir()
    table = {}
    for name, array in arrays.items():
        content = idx(array)
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        table[name] = IdxFile(len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(fashion, "FASHION_FILES", table)
    monkeypatch.setattr(fashion, "SYSTEM_FOLDER", tmp_path / "absent")
    return folder, arrays


def run(folder, out, source="fashion_mnist", **changes):
    counts = {"size": None, "train": 30, "validation": 10, "test": None, "split_seed": 0} | changes
    manifest = out.with_suffix(".json")
    prepare(source, folder, out.parent / "cache", out=out, manifest=manifest, **counts)
    return load_prepared(out), json.loads(manifest.read_text())


def rows(images):
    """Each image as bytes, to compare sets of them."""
    return [image.numpy().tobytes() for image in images]


def test_digits_are_the_1797_bundled_images_scaled_to_bytes(tmp_path):
    from sklearn.datasets import load_digits

    raw = source_of("digits").read(None, tmp_path)
    assert raw.train.images.images.shape == (1797, 1, 8, 8)
    assert (raw.train.images.images.dtype, raw.train.labels.dtype) == (np.uint8, np.int64)
    assert raw.test is None
    assert (raw.train.images.images.min(), raw.train.images.images.max()) == (0, 255)
    assert np.abs(raw.train.images.images[:, 0] / 255 - load_digits().images / 16).max() <= 0.5 / 255
    assert not list(tmp_path.iterdir())


def test_plain_and_compressed_files_give_the_published_arrays(fashion_folder, tmp_path):
    folder, arrays = fashion_folder
    name = "train-labels-idx1-ubyte"
    (folder / name).write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))
    (folder / f"{name}.gz").unlink()
    raw = source_of("fashion_mnist").read(folder, tmp_path / "cache")
    np.testing.assert_array_equal(raw.train.images.images[:, 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(raw.train.labels, arrays[name])
    np.testing.assert_array_equal(raw.test.images.images[:, 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(raw.test.labels, arrays["t10k-labels-idx1-ubyte"])
    assert raw.checksums == {file: entry.sha256 for file, entry in fashion.FASHION_FILES.items()}
    assert str(folder) in raw.origin


def test_the_installed_package_answers_before_any_download(fashion_folder, tmp_path, monkeypatch):
    folder, _ = fashion_folder
    monkeypatch.setattr(fashion, "SYSTEM_FOLDER", folder)
    monkeypatch.setattr(fashion, "_from_mirror", lambda _: pytest.fail("asked the mirror"))
    assert str(folder) in source_of("fashion_mnist").read(None, tmp_path / "cache").origin


def test_a_download_is_kept_and_found_again_with_its_origin(fashion_folder, tmp_path, monkeypatch):
    folder, _ = fashion_folder
    asked = []

    def mirror(temporary):
        asked.append(temporary)
        for file in folder.iterdir():
            (temporary / file.name).write_bytes(file.read_bytes())
        return temporary, "http://mirror.example/"

    monkeypatch.setattr(fashion, "_from_mirror", mirror)
    first, _ = run(None, tmp_path / "a.safetensors")
    again, manifest = run(None, tmp_path / "b.safetensors")
    assert len(asked) == 1
    assert not asked[0].exists()
    assert manifest["origin"] == "http://mirror.example/"
    assert first.checksum == again.checksum


def test_splits_are_disjoint_uniform_draws_that_cover_what_is_asked(fashion_folder, tmp_path):
    folder, arrays = fashion_folder
    prepared, manifest = run(folder, tmp_path / "a.safetensors", train=50, validation=10)
    train, validation, test = (rows(s.images) for s in (prepared.train, prepared.validation, prepared.test))
    assert sorted(train + validation) == sorted(i.tobytes() for i in arrays["train-images-idx3-ubyte"])
    assert sorted(test) == sorted(i.tobytes() for i in arrays["t10k-images-idx3-ubyte"])
    label = {
        image.tobytes(): int(y)
        for kind in ("train", "t10k")
        for image, y in zip(arrays[f"{kind}-images-idx3-ubyte"], arrays[f"{kind}-labels-idx1-ubyte"], strict=True)
    }
    for split, images in ((prepared.train, train), (prepared.validation, validation), (prepared.test, test)):
        assert split.labels.tolist() == [label[image] for image in images]
    assert manifest["images"] == {"train": 50, "validation": 10, "test": 20}
    assert manifest["class_counts"]["train"] == torch.bincount(prepared.train.labels, minlength=10).tolist()


def test_another_train_keeps_validation_and_test_and_a_larger_one_contains_the_smaller(fashion_folder, tmp_path):
    folder, _ = fashion_folder
    small, _ = run(folder, tmp_path / "a.safetensors", train=5)
    large, _ = run(folder, tmp_path / "b.safetensors", train=40)
    other, _ = run(folder, tmp_path / "c.safetensors", train=5, split_seed=1)
    assert torch.equal(small.validation.images, large.validation.images)
    assert torch.equal(small.test.images, large.test.images)
    assert torch.equal(small.train.images, large.train.images[:5])
    assert not torch.equal(small.validation.images, other.validation.images)


def test_digits_get_their_test_split_from_the_same_permutation(tmp_path):
    first, manifest = run(None, tmp_path / "a.safetensors", "digits", train=1000, validation=300, test=400)
    second, _ = run(None, tmp_path / "b.safetensors", "digits", train=10, validation=300, test=400)
    rest, _ = run(None, tmp_path / "c.safetensors", "digits", train=1000, validation=300, test=None)
    assert torch.equal(first.test.images, second.test.images)
    assert torch.equal(first.validation.images, second.validation.images)
    assert len(rest.test) == 497
    assert torch.equal(rest.test.images[-400:], first.test.images)
    # The three splits together are the data set, with a repeated image as often as it has it.
    everything = source_of("digits").read(None, tmp_path).train.images.images
    parts = rows(rest.train.images) + rows(rest.validation.images) + rows(rest.test.images)
    assert sorted(parts) == sorted(image.tobytes() for image in everything)
    assert manifest["images"] == {"train": 1000, "validation": 300, "test": 400}


def test_the_same_input_gives_the_same_bytes(tmp_path):
    """In this process and in another, because a hash order that changes between processes would not show in one."""
    code = (
        "import sys; from pathlib import Path; from prunebench.data.prepare import prepare;"
        "p = Path(sys.argv[1]);"
        "prepare('digits', None, p, size=6, train=100, validation=50, test=60, split_seed=3,"
        " out=p / 'x.safetensors', manifest=p / 'x.json')"
    )
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    subprocess.run([sys.executable, "-c", code, a], check=True)
    b.mkdir()
    counts = {"size": 6, "train": 100, "validation": 50, "test": 60, "split_seed": 3}
    prepare("digits", None, b, **counts, out=b / "x.safetensors", manifest=b / "x.json")
    for file in ("x.safetensors", "x.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["x.json", "x.safetensors"]


def test_mean_and_std_are_those_of_the_training_images(fashion_folder, tmp_path):
    folder, _ = fashion_folder
    prepared, manifest = run(folder, tmp_path / "a.safetensors", size=14)
    share = prepared.train.images.numpy().astype(np.float64) / 255
    assert prepared.mean == pytest.approx([share.mean()], abs=1e-12)
    assert prepared.std == pytest.approx([share.std()], abs=1e-12)
    assert (list(prepared.mean), list(prepared.std)) == (manifest["mean"], manifest["std"])


def test_halving_the_size_is_the_antialiased_mean_of_neighbours(fashion_folder, tmp_path):
    """Halved, the filter is a triangle of 4 pixels with weights 1/8, 3/8, 3/8, 1/8 in the interior."""
    folder, _ = fashion_folder
    full, _ = run(folder, tmp_path / "a.safetensors")
    half, manifest = run(folder, tmp_path / "b.safetensors", size=14)
    weights = np.array([1, 3, 3, 1]) / 8
    pixels = full.train.images[:, 0].numpy().astype(np.float64)
    inner = np.zeros((len(pixels), 12, 12))
    for i, a in enumerate(weights):
        for j, b in enumerate(weights):
            inner += a * b * pixels[:, 1 + i : 25 + i : 2, 1 + j : 25 + j : 2]
    assert np.abs(half.train.images[:, 0, 1:-1, 1:-1].numpy() - inner).max() <= 0.5 + 1e-9
    assert manifest["image_shape"] == [1, 14, 14]


def test_a_size_that_the_images_have_leaves_them_alone(tmp_path):
    kept, _ = run(None, tmp_path / "a.safetensors", "digits")
    asked, _ = run(None, tmp_path / "b.safetensors", "digits", size=8)
    assert kept.checksum == asked.checksum


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("fashion_mnist", {"train": 51}, r"60 training images: train 51 \+ validation 10"),
        ("fashion_mnist", {"test": 21}, "20 test images: test 21"),
        ("digits", {"train": 1797}, r"1797 images: train 1797 \+ validation 10 \+ test at least 1"),
        ("digits", {"train": 1700, "test": 88}, r"1797 images: train 1700 \+ validation 10 \+ test 88"),
        ("digits", {"train": 0}, "train: 0 images"),
        ("digits", {"validation": -1}, "validation: -1 images"),
        ("digits", {"test": 0}, "test: 0 images"),
        ("digits", {"size": 0}, "size: 0 pixels"),
        ("digits", {"size": 1_000_000}, "size: 1000000 pixels"),
        ("fashion-mnist", {}, "did you mean 'fashion_mnist'"),
    ],
)
def test_impossible_requests_are_refused_with_numbers(fashion_folder, tmp_path, source, changes, message):
    folder, _ = fashion_folder
    out = tmp_path / "out" / "a.safetensors"
    with pytest.raises(InputError, match=message):
        run(folder, out, source, **changes)
    assert not out.parent.exists()


def test_the_real_fashion_mnist(pytestconfig, tmp_path):
    """From whichever source answers here; a download is kept in pytest's cache folder."""
    try:
        raw = source_of("fashion_mnist").read(None, pytestconfig.cache.mkdir("prunebench"))
    except InputError as error:
        pytest.skip(str(error))
    assert raw.train.images.images.shape == (60_000, 1, 28, 28)
    assert raw.test.images.images.shape == (10_000, 1, 28, 28)
    # Published facts: balanced classes, train mean 0.2860, std 0.3530; the first image is a boot (9).
    assert np.bincount(raw.train.labels).tolist() == [6000] * 10
    assert np.bincount(raw.test.labels).tolist() == [1000] * 10
    assert raw.train.images.images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert raw.train.images.images.std() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert raw.train.labels[0] == 9
