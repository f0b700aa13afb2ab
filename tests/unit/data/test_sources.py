"""Sources: what is read from every layout equals what was written there, and checksums accept and refuse."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from prunebench import cli
from prunebench.data.batches import load_prepared
from prunebench.data.prepare import prepare
from prunebench.data.raw import Arrays, Part, Raw
from prunebench.data.shards import Stream
from prunebench.data.sources import PUBLISHED, SOURCES, Source, register_source
from prunebench.errors import InputError
from prunebench.parsing import parse
from prunebench.suite.tasks import Dataset


def entry(miniature, **options):
    """The entry of a preset, as it is checked there."""
    return parse(Dataset, miniature.dataset | {"source": miniature.source | options}, "datasets.mine")


def read(miniature, folder, **options):
    return entry(miniature, **options).source.read(miniature.raw, folder / "cache")


def prepared(dataset, folder, raw=None):
    """(data, manifest) of an entry of a preset, prepared in a folder."""
    folder.mkdir(exist_ok=True)
    out, splits = folder / "data.safetensors", dict(dataset)
    source = splits.pop("source")
    prepare(source, raw, folder / "cache", out=out, manifest=out.with_suffix(".json"), **splits)
    return load_prepared(out), json.loads(out.with_suffix(".json").read_text())


def pixels(part):
    """Each image of a part of a raw data set, (H, W, C)."""
    return pixels_of(part.images, len(part))


def pixels_of(images, count):
    return [image.transpose(1, 2, 0) for block in images.blocks(np.arange(count)) for image in block]


# --- What is read, and what is prepared


def test_miniatures_cover_every_source_that_reads_files(miniatures):
    assert {name.split()[0] for name in miniatures.MAKERS} == set(SOURCES) - {"digits", "fashion_mnist"}


def test_what_is_read_is_what_was_written(miniature, tmp_path):
    raw = read(miniature, tmp_path)
    assert raw.name == miniature.source["kind"]
    assert (raw.test is None) == (miniature.test is None)
    for part, written in ((raw.train, miniature.train), (raw.test, miniature.test)):
        images, labels = written or ([], [])
        assert (part.labels.tolist() if part else []) == labels
        for found, expected in zip(pixels(part) if part else [], images, strict=True):
            assert (found.dtype, found.shape) == (np.uint8, expected.shape)
            assert np.abs(found.astype(int) - expected).max() <= miniature.tolerance


def test_images_come_in_the_order_asked_for_also_in_another_process(miniature, tmp_path):
    images, order = read(miniature, tmp_path).train.images, np.array([3, 0, 7])
    sent = pickle.loads(pickle.dumps(images.take(order)))
    everything = pixels_of(images, len(images))
    asked_for = [image.transpose(1, 2, 0) for block in images.blocks(order) for image in block]
    for found in (pixels_of(sent, 3), asked_for):
        for image, place in zip(found, order, strict=True):
            np.testing.assert_array_equal(image, everything[place])


def test_what_is_prepared_holds_each_image_once_with_its_label(miniature, tmp_path):
    wanted = entry(miniature)
    data, manifest = prepared(wanted, tmp_path / "out", miniature.raw)
    side, channels = miniature.size or len(miniature.train[0][0]), miniature.train[0][0].shape[2]
    assert data.train.shape == (channels, side, side) == tuple(manifest["image_shape"])
    assert (data.name, data.verified, data.classes) == (miniature.source["kind"], False, wanted.source.classes)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    assert (len(data.train), len(data.validation)) == (wanted.train, wanted.validation)
    labels = [label for split in splits.values() for label in split.labels.tolist()]
    assert sorted(labels) == sorted(miniature.labels)
    assert manifest["images"] == {name: len(split) for name, split in splits.items()}
    assert manifest["class_counts"] == {
        name: np.bincount(split.labels, minlength=data.classes).tolist() for name, split in splits.items()
    }
    if not miniature.tolerance and not miniature.size:
        for split in splits.values():
            shown = [image.numpy().tobytes() for image in split.images]
            assert [miniature.label_of[image] for image in shown] == split.labels.tolist()


def test_mean_and_std_are_the_training_images_or_the_source_s(miniature, tmp_path):
    data, manifest = prepared(entry(miniature), tmp_path / "out", miniature.raw)
    normalise = SOURCES[miniature.source["kind"]].normalise
    if normalise:
        assert (data.mean, data.std) == normalise
    else:
        share = data.train.images.numpy().astype(np.float64) / 255
        assert data.mean == pytest.approx(share.mean((0, 2, 3)), abs=1e-12)
        assert data.std == pytest.approx(share.std((0, 2, 3)), abs=1e-12)
    assert (manifest["mean"], manifest["std"]) == (list(data.mean), list(data.std))


def test_the_same_files_give_the_same_bytes(miniature, tmp_path):
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        prepared(entry(miniature), folder, miniature.raw)
        files = [path for path in folder.rglob("*") if path.is_file()]
        contents.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert {"data.safetensors", "data.json"} <= contents[0].keys()


def test_an_image_keeps_its_shape_until_it_is_cut_to_a_square(miniatures, tmp_path):
    """Shorter side to the size, then the centre: of an image twice as wide as high, the middle half remains."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 200
    for number in range(4):
        miniatures.write(tmp_path / "own" / "ab"[number % 2] / f"{number}.png", miniatures.encoded(image, "PNG"))
    source = {"kind": "folder", "path": str(tmp_path / "own"), "classes": 2}
    dataset = parse(Dataset, {"source": source, "size": 20, "train": 2, "validation": 1}, "mine")
    data, _ = prepared(dataset, tmp_path / "out")
    assert data.train.images.shape == (2, 3, 20, 20)
    assert (data.train.images[..., 1:-1] == 200).all()


def test_links_to_folders_are_followed_and_circles_end(miniatures, tmp_path):
    """Clusters keep images elsewhere, and link them into one place."""
    miniature = miniatures.make("imagenet", tmp_path / "elsewhere")
    inner = tmp_path / "raw" / "imagenet"
    inner.mkdir(parents=True)
    for part in ("train", "val"):
        (inner / part).symlink_to(miniature.raw / part)
    (miniature.raw / "train" / "n01440764" / "circle").symlink_to(miniature.raw / "train")
    miniature.raw = tmp_path / "raw"
    assert read(miniature, tmp_path).train.labels.tolist() == miniature.train[1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_own_images_may_be_of_each_kind_that_is_promised(miniatures, tmp_path, kind):
    raw = read(miniatures.own_folder(tmp_path, kind=kind), tmp_path)
    for found, expected in zip(pixels(raw.train), miniatures.own_folder(tmp_path / "again").train[0], strict=True):
        assert np.abs(found.astype(int) - expected).mean() <= (8 if kind in ("JPEG", "WEBP") else 0)


def test_processes_share_the_memory_of_a_prepared_file(tmp_path):
    """Mapped: what a process has for itself does not grow by the images, though it reads all of them."""
    images = np.random.default_rng(0).integers(0, 256, (4_000, 64, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", train_images=images, train_labels=np.arange(4_000) % 10)
    source = {"kind": "npz", "path": str(tmp_path / "own.npz"), "side": 64}
    prepared(parse(Dataset, {"source": source, "train": 3_000, "validation": 500}, "mine"), tmp_path / "large")
    prepared(parse(Dataset, {"source": "digits", "train": 9, "validation": 9}, "small"), tmp_path / "small")
    code = """if True:
        import sys
        from prunebench.data.batches import load_prepared
        def own_bytes():
            line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
            return int(line.split()[1]) << 10
        load_prepared(sys.argv[1])  # what the first use of a library takes
        before = own_bytes()
        data = load_prepared(sys.argv[2])
        assert sum(int(data.train.images[n : n + 500].sum()) for n in range(0, len(data.train), 500)) > 0
        print(own_bytes() - before)
    """
    small, large = (tmp_path / name / "data.safetensors" for name in ("small", "large"))
    done = subprocess.run([sys.executable, "-c", code, small, large], capture_output=True, text=True, check=True)
    assert large.stat().st_size > images.nbytes
    assert int(done.stdout) < images.nbytes / 3


# --- Checksums


def test_published_content_is_insisted_on_where_it_is_known(miniature, tmp_path):
    if SOURCES[miniature.source["kind"]].__dataclass_fields__["checksum"].default != PUBLISHED:
        with pytest.raises(InputError, match="allowed: null or a SHA-256"):
            entry(miniature, checksum=PUBLISHED)
        return
    del miniature.source["checksum"]  # published is what a preset means that says nothing
    with pytest.raises(InputError) as caught:
        read(miniature, tmp_path)
    assert "\n" not in str(caught.value)
    assert str(miniature.raw) in str(caught.value)


PINNED = ["imagenet200 folder", "imagenet200 zip", "folder", "folder flat", "npz", "npz grey"]


@pytest.mark.parametrize("name", PINNED)
def test_a_pin_accepts_that_content_and_refuses_any_other(miniatures, name, tmp_path):
    miniature = miniatures.make(name, tmp_path)
    with pytest.raises(InputError, match=f"SHA-256 [0-9a-f]{{64}}, expected {'0' * 64}$") as caught:
        read(miniature, tmp_path, checksum="0" * 64)
    digest = str(caught.value).split("SHA-256 ")[1][:64]
    data, manifest = prepared(entry(miniature, checksum=digest), tmp_path / "out", miniature.raw)
    assert data.verified
    assert digest in manifest["raw_sha256"].values()
    copy = miniatures.make(name, tmp_path / "copy")
    assert read(copy, tmp_path, checksum=digest).verified
    copy.files[-1].write_bytes(other_content(copy.files[-1]))
    with pytest.raises(InputError, match=f"expected {digest}"):
        read(copy, tmp_path, checksum=digest)


def other_content(path):
    """What a file holds, with another last byte: of each file within, if it is an archive."""
    content = path.read_bytes()
    if path.suffix not in (".npz", ".zip"):
        return content + b"\0"
    file = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            changed = bytes([content[-1] ^ 1]) if name in ("train_images.npy", "tiny-imagenet-200/words.txt") else b""
            new.writestr(name, content[:-1] + changed if changed else content)
    return file.getvalue()


def test_a_folder_and_a_zip_of_it_have_one_digest(miniatures, tmp_path):
    digests = set()
    for name in ("imagenet200 folder", "imagenet200 zip"):
        with pytest.raises(InputError) as caught:
            read(miniatures.make(name, tmp_path / name), tmp_path, checksum="0" * 64)
        digests.add(str(caught.value).split("SHA-256 ")[1])
    assert len(digests) == 1


@pytest.mark.parametrize("checksum", ["publisched", "0" * 63, "G" * 64, ""])
@pytest.mark.parametrize("kind", ["cifar10", "imagenet200", "imagenet", "folder", "npz"])
def test_a_checksum_that_is_none_is_refused_where_the_preset_is_read(kind, checksum):
    path = {"path": "somewhere"} if kind in ("folder", "npz") else {}
    content = {"source": {"kind": kind, "checksum": checksum, **path}, "train": 1, "validation": 1, "size": 32}
    with pytest.raises(InputError, match=f"checksum.*'{checksum}', allowed: .*null"):
        parse(Dataset, content, "datasets.mine")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kind": "folder"}, "path: missing"),
        ({"kind": "npz", "path": "x", "classes": 1}, "classes is 1"),
        ({"kind": "npz", "path": "x", "channels": 2}, "channels 2"),
        ({"kind": "cifar"}, "did you mean 'cifar10'"),
        ({"kind": "digits", "path": "x"}, "unknown key"),
    ],
)
def test_options_that_make_no_source_are_refused_where_the_preset_is_read(source, message):
    with pytest.raises(InputError, match=message):
        parse(Dataset, {"source": source, "train": 1, "validation": 1}, "datasets.mine")


# --- The command line, and a source of one's own


@pytest.fixture
def command(monkeypatch, capfd, tmp_path):
    """Prepares a data set on the command line: (exit code, stdout, stderr, prepared file)."""
    monkeypatch.delenv("PRUNEBENCH_RAW_DATA", raising=False)

    def run(miniature):
        out = tmp_path / "results" / "data.safetensors"
        words = ["prepare-data", "--spec", json.dumps(entry(miniature).content()), "--out", str(out)]
        words += ["--cache", str(tmp_path / "cache"), *(("--raw-data", str(miniature.raw)) if miniature.raw else ())]
        monkeypatch.setattr(sys, "argv", ["prunebench", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capfd.readouterr(), out

    return run


def test_the_command_line_prepares_every_layout(miniature, command):
    code, said, complaint, out = command(miniature)
    assert (code, said, complaint) == (0, "", "")
    data = load_prepared(out)
    assert len(data.train) == miniature.dataset["train"]
    beside = {"data.safetensors", "data.json"} | ({"data.shards"} if isinstance(data.train, Stream) else set())
    assert set(os.listdir(out.parent)) == beside


def test_the_command_line_refuses_cut_files_in_one_line(miniature, command):
    """ImageNet's are read by other processes."""
    for path in miniature.files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, said, complaint, out = command(miniature)
    assert (code, said) == (2, "")
    assert complaint.startswith("prunebench: ")
    assert complaint.count("\n") == 1
    assert any(path.name in complaint for path in miniature.files)
    assert str(miniature.raw or miniature.source["path"]) in complaint
    assert not out.parent.exists() or not os.listdir(out.parent)


def test_a_source_of_ones_own_is_one_class(tmp_path):
    @register_source("stripes")
    @dataclass(frozen=True)
    class Stripes(Source):
        """Grey stripes."""

        channels, side, classes = 1, 8, 2

        def read(self, raw_folder, cache):
            images = np.zeros((40, 1, 8, 8), np.uint8)
            images[::2, :, ::2] = 255
            return Raw("stripes", Part(Arrays(images), np.arange(40) % 2), None, 2, "made here")

    try:
        dataset = parse(Dataset, {"source": "stripes", "train": 20, "validation": 10}, "mine")
        assert dataset.source == Stripes()
        with pytest.raises(InputError, match="exists already"):
            register_source("stripes")
        data, _ = prepared(dataset, tmp_path / "out")
        tops = [int(image[0, 0, 0]) for image in data.train.images]
        assert tops == [255 * (1 - label) for label in data.train.labels.tolist()]
    finally:
        del SOURCES["stripes"]


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_the_examples_of_the_documentation_are_presets(miniatures, kind, tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    examples = [
        yaml.safe_load(block)["datasets"]["mine"] for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    ]
    [dataset] = [parse(Dataset, each, "docs/data.md") for each in examples if each["source"]["kind"] == kind]
    miniature = miniatures.make(kind, tmp_path)
    os.rename(miniature.source["path"], tmp_path / dataset.source.path)
    monkeypatch.chdir(tmp_path)
    data, _ = prepared(dataset, tmp_path / "out")
    assert (len(data.train), len(data.validation)) == (dataset.train, dataset.validation)
    assert len(data.test) == len(miniature.test[1])
