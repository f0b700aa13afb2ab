"""Damaged and hostile images, arrays and shards: one line that names the file, nothing left behind, no code run."""

import errno
import io
import json
import os
import pickle
import shutil
import struct
import zlib

import numpy as np
import pytest

from prunebench import files
from prunebench.data import shards
from prunebench.data.batches import eval_batches, load_prepared
from prunebench.data.prepare import FORMAT, METADATA_KEY

# --- Images


def png(width, height, depth=8):
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0 if depth == 16 else 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def bad_images(good):
    """Files that are no image of a data set, by what they are; `good` is a JPEG."""
    return {
        "truncated": (good[: len(good) // 2], "is a damaged image"),
        "a header alone": (good[:20], "image"),
        "empty": (b"", "is no image of a kind that is read"),
        "text": (b"<html>404 not found</html>", "is no image of a kind that is read"),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n", "is no image of a kind"),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "is no image"),
        "GIF": (b"GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x00;", "is no image"),
        "PNG of 10^10 pixels": (png(100_000, 100_000), "image"),
        "PNG of 10^8 pixels": (png(10_000, 10_000), "claims 10000 x 10000 pixels"),
        "PNG without height": (png(5_000, 0), "image"),
        "a line": (png(1, 60_000), "claims 1 x 60000 pixels"),
        "16 bits": (png(50, 50, 16), "8 bits in each channel"),
        "pixels that are not there": (png(50, 50), "is a damaged image"),
    }


@pytest.mark.parametrize("kind", bad_images(b""))
@pytest.mark.parametrize("name", ["folder", "imagenet", "imagenet200 folder"])
@pytest.mark.filterwarnings("error")
def test_a_file_that_is_no_image_is_named(miniatures, refuse, tmp_path, name, kind):
    """ImageNet's are read by processes of their own: an error there arrives as its line, and leaves nothing."""
    miniature = miniatures.make(name, tmp_path)
    images = [path for path in miniature.files if path.suffix.lower() in (".png", ".jpeg")]
    content, words = bad_images(miniatures.encoded(miniature.train[0][0], "JPEG"))[kind]
    for image in images:  # every one, because not all are used
        image.write_bytes(content)
    message = refuse(miniature, words, miniature.raw or tmp_path / "own")
    assert any(f"/{path.parent.name}/{path.name}" in message for path in images)


def test_a_pipe_in_a_folder_of_images_is_not_waited_for(miniatures, refuse, tmp_path):
    miniature = miniatures.make("folder flat", tmp_path)
    for path in miniature.files:
        path.unlink()
        os.mkfifo(path)
    refuse(miniature, tmp_path / "own", "no plain file")


# --- Arrays


def npy(header, content=b""):
    """An array with a header of one's own."""
    text = header.encode().ljust(118 - 10 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def bad_arrays(canary):
    """Files of an .npz that do not serve, by what they are: name -> (changed files, words)."""
    lie = "{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }"
    objects = io.BytesIO()
    call = type("Call", (), {"__reduce__": lambda self: (os.system, (f"touch {canary}",))})()
    np.save(objects, np.array([call] * 16), allow_pickle=True)
    saved = {}
    for name, array in {
        "floats": np.zeros((12, 16, 16, 3)), "16 bits": np.zeros((12, 16, 16, 3), np.uint16),
        "other size": np.zeros((12, 16, 15, 3), np.uint8), "grey": np.zeros((12, 16, 16), np.uint8),
        "flat": np.zeros((12, 768), np.uint8), "nothing": np.zeros((0, 16, 16, 3), np.uint8),
        "high": np.full(12, 5), "low": np.full(12, -1), "few": np.zeros(11, int), "shares": np.zeros(12),
        "pairs": np.zeros((12, 1), int), "huge": np.full(12, 2**64 - 1, np.uint64),
    }.items():  # fmt: skip
        file = io.BytesIO()
        np.save(file, array)
        saved[name] = file.getvalue()
    images, labels = "train_images.npy", "train_labels.npy"
    return {
        "pickled objects": ({images: objects.getvalue()}, "Object arrays"),
        "pickled labels": ({labels: objects.getvalue()}, "Object arrays"),
        "a header that lies": ({images: npy(lie % (1 << 50))}, "cannot be read as an .npz of arrays"),
        "a header of few": ({images: npy(lie % 4, bytes(100))}, "holds more than its header says"),
        "a header of code": ({images: npy(f"open({str(canary)!r}, 'w')")}, "cannot be read as an .npz of arrays"),
        "a header of brackets": ({images: npy("(" * 90)}, "cannot be read as an .npz of arrays"),
        "no array": ({images: b"PK and so on"}, "cannot be read as an .npz of arrays"),
        "no labels": ({labels: None}, "train_images without train_labels"),
        "no images": ({images: None}, "holds no train_images"),
        **{
            f"images: {name}": ({images: saved[name]}, "train_images is")
            for name in ("floats", "16 bits", "other size", "grey", "flat")
        },
        "images: nothing": ({images: saved["nothing"], labels: None}, "train_images without train_labels"),
        "labels: high": ({labels: saved["high"]}, "labels from 5 to 5, expected 0 to 4"),
        "labels: low": ({labels: saved["low"]}, "labels from -1 to -1, expected 0 to 4"),
        "labels: huge": ({labels: saved["huge"]}, "labels from -1 to -1"),
        "labels: few": ({labels: saved["few"]}, "train_labels is int64 (11,), expected integers (12,)"),
        "labels: shares": ({labels: saved["shares"]}, "train_labels is float64 (12,)"),
        "labels: pairs": ({labels: saved["pairs"]}, "train_labels is int64 (12, 1)"),
    }


@pytest.mark.parametrize("kind", bad_arrays("x"))
def test_arrays_that_do_not_serve_are_named(miniatures, refuse, tmp_path, canary, kind):
    miniature = miniatures.make("npz", tmp_path)
    changes, words = bad_arrays(canary)[kind]
    path = miniatures.rezip(miniature.files[0], lambda name, content: changes.get(name, content))
    refuse(miniature, path, words)


def test_a_file_that_is_no_npz_is_named(miniatures, refuse, tmp_path):
    miniature = miniatures.make("npz", tmp_path)
    [path] = miniature.files
    whole = path.read_bytes()
    miniatures.flip(path, whole.index(b"train_images") + 200)
    refuse(miniature, path, "cannot be read as an .npz of arrays")
    np.save(tmp_path / "one.npy", np.zeros((2, 16, 16, 3), np.uint8))
    for content in (whole[: len(whole) // 2], b"", (tmp_path / "one.npy").read_bytes(), pickle.dumps([1])):
        path.write_bytes(content)
        refuse(miniature, path, "cannot be read as an .npz of arrays")
    path.unlink()
    refuse(miniature, path, "No such file")


# --- Shards


@pytest.fixture
def sharded(miniatures, prepare_it, tmp_path):
    """A prepared ImageNet and its shards."""
    out = prepare_it(miniatures.make("imagenet", tmp_path))
    return out, sorted(out.with_suffix(".shards").iterdir())


def read_all(out, workers=0, check=True):
    data = load_prepared(out, check=check, workers=workers)
    for split in (data.train, data.validation, data.test):
        list(eval_batches(split, batch_size=2, mean=data.mean, std=data.std))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_flipped_bit_in_a_shard_is_named(miniatures, sharded, one_line, share, workers):
    out, [shard, *_] = sharded
    read_all(out, workers)
    miniatures.flip(shard, int(share * (shard.stat().st_size - 1)))
    message = one_line(lambda: read_all(out, workers))
    assert message.startswith(f"{shard}, byte ")
    assert "prepare the data set again" in message


@pytest.mark.parametrize("damage", ["truncated", "longer", "missing", "folder"])
def test_a_shard_of_another_size_is_named_before_anything_is_read(sharded, one_line, damage):
    out, [shard, *_] = sharded
    content = shard.read_bytes()
    shard.unlink()
    if damage == "folder":
        shard.mkdir()
    elif damage != "missing":
        shard.write_bytes(content[:-1] if damage == "truncated" else content + b"x")
    message = one_line(lambda: load_prepared(out))
    assert str(shard) in message
    assert "prepare the data set again" in message


def test_a_shard_that_vanishes_while_it_is_read_is_named(sharded, one_line):
    out, _ = sharded
    data = load_prepared(out)
    shutil.rmtree(out.with_suffix(".shards"))
    message = one_line(lambda: list(eval_batches(data.train, batch_size=2, mean=data.mean, std=data.std)))
    assert message.startswith("cannot read ")


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"a": 1}},
        {"files": [["train-00000.bin"]]},
        {"files": None},
        {"files": []},
        {"size": None},
        {"size": 0},
        {"size": 1 << 40},
        {"place": (0, 0, 99)},
        {"place": (0, 0, -1)},
        {"place": (0, 1, -1)},
        {"place": (0, 1, 1 << 62)},
        {"place": (0, 2, 1 << 62)},
        {"place": (0, 2, 0)},
        {"place": (0, 4, 0)},
        {"place": (0, 5, -5)},
        {"place": (0, 4, 9999)},
        {"place": (0, 3, 12345)},
    ],
)
def test_a_prepared_file_that_lies_about_its_shards_is_refused(sharded, one_line, change):
    out, _ = sharded
    tensors, facts = read_prepared(out)
    if "place" in change:
        row, column, value = change["place"]
        tensors["train_place"][row, column] = value
    else:
        facts["shards"] |= change
    write_prepared(out, tensors, facts)
    assert str(out.with_suffix("")) in one_line(lambda: read_all(out, check=False))


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "../../secret.bin"])
def test_a_shard_is_looked_for_in_its_folder_alone(sharded, one_line, name):
    out, [shard, *_] = sharded
    for place in (out.parent, out.parent.parent):
        shutil.copy(shard, place / "secret.bin")
    tensors, facts = read_prepared(out)
    facts["shards"]["files"][0][0] = name
    write_prepared(out, tensors, facts)
    message = one_line(lambda: load_prepared(out, check=False))
    assert f"{out.with_suffix('.shards') / os.path.basename(name)} is missing" in message


def read_prepared(out):
    from safetensors import safe_open

    with safe_open(out, framework="np") as file:
        return {name: file.get_tensor(name).copy() for name in file.keys()}, json.loads(file.metadata()[METADATA_KEY])  # noqa: SIM118


def write_prepared(out, tensors, facts):
    from safetensors.numpy import save_file

    assert facts["format"] == FORMAT
    save_file(tensors, out, metadata={METADATA_KEY: json.dumps(facts)})


@pytest.mark.parametrize("where", ["shard", "prepared file"])
def test_a_full_disk_leaves_the_old_shards(miniatures, prepare_it, one_line, tmp_path, monkeypatch, where):
    miniature = miniatures.make("imagenet", tmp_path)
    out = prepare_it(miniature)
    before = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()}
    flush, count = os.fsync, []

    def full(file):
        count.append(file)
        if len(count) == (2 if where == "shard" else 4):  # a shard of each split, then the prepared file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(file)

    monkeypatch.setattr(files.os, "fsync", full)
    monkeypatch.setattr(shards, "QUALITY", 50)
    message = one_line(lambda: prepare_it(miniature))
    assert message.startswith("cannot write ")
    assert message.endswith(": No space left on device")
    assert {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()} == before
    assert {path.name for path in out.parent.iterdir()} == {"data.safetensors", "data.json", "data.shards"}


def test_a_process_that_is_killed_while_it_encodes_is_one_line(miniatures, refuse, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_encode", killed)
    refuse(miniatures.make("imagenet", tmp_path), "a process that encodes images was ended")


def killed(*_):
    os.kill(os.getpid(), 9)
