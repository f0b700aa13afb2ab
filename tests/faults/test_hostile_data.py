"""Damaged, wrongly labelled and hostile data sets: one line that names the file, nothing left behind, no code run."""

import builtins
import copy
import gzip
import io
import os
import pickle
import shutil
import struct
import subprocess
import tarfile
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.data import cifar
from prunebench.data.batches import load_prepared
from prunebench.data.pickles import unpickle
from prunebench.errors import InputError

# --- Pickles


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(canary):
    """Pickles that would run code, take all memory, or never end, by what they do."""
    command = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w').close()"
    calls = {
        "os.system": Calls(os.system, command),
        "builtins.eval": Calls(builtins.eval, code),
        "builtins.exec": Calls(builtins.exec, code),
        "subprocess.Popen": Calls(subprocess.Popen, ["touch", str(canary)]),
        "numpy.load": Calls(np.load, str(canary)),
        "numpy.memmap": Calls(np.memmap, str(canary), "u1", "w+", 0, (10,)),
        "numpy.ndarray": Calls(np.ndarray, (1 << 44,)),
        "numpy.zeros": Calls(np.zeros, 1 << 44),
        "getattr": Calls(getattr, "text", "__class__"),
    }
    pickles = {
        f"{name} in protocol {protocol}": pickle.dumps({b"data": call, b"labels": []}, protocol)
        for name, call in calls.items()
        for protocol in (0, 2, 4)
    }
    system = b"cos\nsystem\n"
    text = b"X" + struct.pack("<I", len(command)) + command.encode()
    array = pickle.dumps(np.zeros((2, 3072), np.uint8), 2)
    return pickles | {
        "an instance of old": b"(" + text + b"ios\nsystem\n.",
        "an object of old": b"(" + system + text + b"o.",
        "an object": b"\x80\x02" + system + text + b"\x85\x81.",
        "a name from the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85R.",
        "a persistent id": b"Psomething\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "a state for a function": b"\x80\x02cnumpy\ndtype\n}X\x04\x00\x00\x00coderK\x01sb.",
        "a shape that lies": array.replace(b"M\x00\x0c", b"J\xff\xff\xff\x7f"),
        "an array of objects": pickle.dumps({b"data": np.array([{}, Calls(os.system, command)]), b"labels": []}),
        "an array of numbers": pickle.dumps({b"data": np.zeros((2, 3072)), b"labels": [0, 0]}),
        "an array in another order": pickle.dumps({b"data": np.zeros((3072, 2), np.uint8).T, b"labels": [0, 0]}, 2),
        "a place in memory beyond all": b"\x80\x02}r\xff\xff\xff\x7f.",
        "a string that is not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        "a key that takes for ever to hash": b"\x80\x02})q\x00" + b"h\x00h\x00\x86q\x00" * 200 + b"K\x00s.",
        "a key of many levels": b"\x80\x02})" + b"\x85" * 100_000 + b"K\x00s.",
        "a dictionary in itself": b"\x80\x02}q\x00h\x00K\x01s.",
        "nothing": b"",
        "no dictionary": pickle.dumps([1, 2]),
        "no pickle": b"GIF89a and so on",
        "no end": pickle.dumps({b"data": 1})[:-1],
    }


@pytest.mark.parametrize("name", hostile("x"))
def test_a_hostile_pickle_is_named_and_runs_nothing(miniatures, refuse, tmp_path, canary, name):
    miniature = miniatures.make("cifar10 folder", tmp_path)
    path = miniature.files[2]
    path.write_bytes(hostile(canary)[name])
    start = time.monotonic()
    tracemalloc.start()
    refuse(miniature, path.name, str(path.parent))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    assert time.monotonic() - start < 20


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_pickle_gives_a_dictionary_or_one_line(data):
    batch = {b"data": np.zeros((3, 8), np.uint8), b"labels": [1, 2, 3], b"names": [b"a", b"b"]}
    content = bytearray(pickle.dumps(batch, data.draw(st.sampled_from([2, 4, 5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    message = ""
    try:
        assert isinstance(unpickle(bytes(content), "batch"), dict)
    except InputError as error:
        message = str(error)
    assert not message or message.startswith("batch cannot be read as a batch of images: ")
    assert "\n" not in message


def test_the_test_s_pickles_do_run_code_where_they_are_loaded(canary):
    """Else the tests above would show nothing."""
    pickle.loads(hostile(canary)["os.system in protocol 2"])
    assert canary.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({b"labels": [0] * 9}, "(10, 3072) with 9 labels"),
        ({b"labels": [0] * 9 + [10]}, "labels that are no integers from 0 to 9"),
        ({b"labels": [0] * 9 + [-1]}, "labels that are no integers from 0 to 9"),
        ({b"labels": [0] * 9 + [True]}, "labels that are no integers from 0 to 9"),
        ({b"labels": [b"cat"] * 10}, "labels that are no integers from 0 to 9"),
        ({b"labels": "abcdefghij"}, "holds no images b'data' with labels b'labels'"),
        ({b"labels": None, b"fine_labels": [0] * 10}, "holds no images b'data' with labels b'labels'"),
        ({b"data": np.zeros((10, 3071), np.uint8)}, "(10, 3071) with 10 labels, expected (N, 3072)"),
        ({b"data": np.zeros(30720, np.uint8)}, "(30720,) with 10 labels"),
        ({b"data": b"pixels"}, "holds no images b'data'"),
    ],
)
def test_batches_with_wrong_labels_or_pixels_are_named(miniatures, refuse, tmp_path, change, words):
    miniature = miniatures.make("cifar10 folder", tmp_path)
    batch = pickle.loads(miniature.files[0].read_bytes(), encoding="bytes")
    miniature.files[0].write_bytes(pickle.dumps(batch | change, 2))
    refuse(miniature, miniature.files[0].name, words)


def test_a_batch_that_is_missing_is_named(miniatures, refuse, tmp_path):
    miniature = miniatures.make("cifar100 folder", tmp_path)
    miniature.files[1].unlink()
    refuse(miniature, f"cannot read {miniature.files[1]}: No such file")


# --- Archives


def archive_of(miniature, change):
    """Writes a CIFAR archive anew, each member as `change` gives it: TarInfo and content in, a list of such out."""
    [path] = miniature.files
    file = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=file, mode="w") as new:
        for info in old:
            for member, content in change(info, old.extractfile(info).read()):
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(file.getvalue()))
    return path


def linked(info, content, to, kind):
    link = copy.copy(info)
    link.type, link.linkname = kind, to
    return [(link, b"")] if info.name.endswith("data_batch_2") else [(info, content)]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("to", ["/etc/passwd", "data_batch_2", "../../../etc/passwd", "data_batch_1"])
def test_a_link_pipe_or_device_in_an_archive_is_not_followed(miniatures, refuse, tmp_path, to, kind):
    miniature = miniatures.make("cifar10 archive", tmp_path)
    path = archive_of(miniature, lambda info, content: linked(info, content, to, kind))
    refuse(miniature, path, "data_batch_2 is no plain file")


def test_a_path_out_of_an_archive_is_never_written(miniatures, prepare_it, tmp_path, canary):
    miniature = miniatures.make("cifar10 archive", tmp_path)
    before = set(tmp_path.rglob("*"))

    def add(info, content):
        return [(info, content), *((tarfile.TarInfo(name), b"x") for name in ("../canary", str(canary), "canary"))]

    archive_of(miniature, add)
    out = prepare_it(miniature)
    assert len(load_prepared(out).test) == len(miniature.test[1])
    assert set(tmp_path.rglob("*")) - before == {out.parent, out, out.with_suffix(".json")}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_archive_is_named(miniatures, refuse, tmp_path, share):
    miniature = miniatures.make("cifar10 archive", tmp_path)
    [path] = miniature.files
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuse(miniature, path, "is damaged or is not cifar-10-python.tar.gz")


def test_an_archive_with_a_flipped_byte_or_without_a_batch_is_named(miniatures, refuse, tmp_path):
    miniature = miniatures.make("cifar100 archive", tmp_path)
    miniatures.flip(miniature.files[0], miniature.files[0].stat().st_size // 2)
    refuse(miniature, miniature.files[0], "is damaged")
    miniature = miniatures.make("cifar100 archive", tmp_path)
    path = archive_of(miniature, lambda info, content: [(info, content)] if info.name.endswith("train") else [])
    refuse(miniature, path, "cifar-100-python/test")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_an_archive_that_unpacks_without_end_does_not_fill_the_memory(miniatures, refuse, tmp_path, monkeypatch, kind):
    """A header that claims to be long is read whole by tarfile, and a file is passed over by unpacking it."""
    monkeypatch.setattr(cifar, "_MOST_BYTES", 1 << 22)
    miniature = miniatures.make("cifar10 archive", tmp_path)
    [path] = miniature.files
    info = tarfile.TarInfo("bomb")
    info.size, info.type = 1 << 26, kind
    with gzip.open(path, "wb") as bomb:
        bomb.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            bomb.write(bytes(1 << 20))
    tracemalloc.start()
    refuse(miniature, path, "unpacks to more than it should")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


IMAGE = "tiny-imagenet-200/val/images/val_7.JPEG"


def test_a_zip_bomb_is_refused_by_its_size(miniatures, refuse, tmp_path):
    miniature = miniatures.make("imagenet200 zip", tmp_path)
    path = miniatures.rezip(
        miniature.files[0], lambda name, content: bytes((1 << 26) + 1) if name == IMAGE else content
    )
    refuse(miniature, path, "val_7.JPEG has 67108865 bytes, at most 67108864")


@pytest.mark.parametrize("place", ["size", "crc", "method", "encrypted"])
def test_a_zip_whose_directory_lies_is_refused(miniatures, refuse, tmp_path, place):
    miniature = miniatures.make("imagenet200 zip", tmp_path)
    [path] = miniature.files
    content = bytearray(path.read_bytes())
    entry = content.rindex(IMAGE.encode()) - 46
    assert content[entry : entry + 4] == b"PK\1\2"
    at, value = {"size": (24, 9), "crc": (16, 1), "method": (10, 97), "encrypted": (8, 1)}[place]
    content[entry + at : entry + at + 2] = struct.pack("<H", value)
    path.write_bytes(content)
    refuse(miniature, path, "val_7.JPEG")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_zip_is_named(miniatures, refuse, tmp_path, share):
    miniature = miniatures.make("imagenet200 zip", tmp_path)
    [path] = miniature.files
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuse(miniature, path, "cannot be read as a folder or zip archive")


# --- Lists and folders of classes


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("val/val_annotations.txt", lambda t: t.replace("n09000000\t", "n00000001\t", 1), "'n00000001' is no class"),
        ("val/val_annotations.txt", lambda t: t + "val_900.JPEG\tn09000000\n", "'val_900.JPEG' is absent"),
        ("val/val_annotations.txt", lambda t: t + "../words.txt\tn09000000\n", "'../words.txt' is absent"),
        ("val/val_annotations.txt", lambda t: t + t.splitlines()[3] + "\n", "'val_3.JPEG' comes twice"),
        ("val/val_annotations.txt", lambda t: t[t.index("\n") + 1 :], "no line for val/images/val_0.JPEG"),
        ("val/val_annotations.txt", lambda t: t.replace("\t", " "), "line 1: '' is no class"),
        ("val/val_annotations.txt", lambda t: "\0\ud800\n" + t, "line 1"),
        ("val/val_annotations.txt", lambda t: "", "no line for val/images/val_0.JPEG"),
        ("wnids.txt", lambda t: t.replace("n09000000\n", ""), "lists 199 classes, expected 200"),
        ("wnids.txt", lambda t: t + "n09000000\n", "wnids.txt"),
        (
            "wnids.txt",
            lambda t: t.replace("n09000000", "n00000001"),
            "'n09000000' is no class of wnids.txt",
        ),
    ],
)
@pytest.mark.parametrize("layout", ["folder", "zip"])
def test_lists_that_do_not_fit_the_files_are_named(miniatures, refuse, tmp_path, name, change, words, layout):
    miniature = miniatures.make(f"imagenet200 {layout}", tmp_path)

    def changed(text):
        return change(text.decode()).encode(errors="surrogatepass")

    if layout == "zip":
        miniatures.rezip(
            miniature.files[0], lambda file, content: changed(content) if file.endswith(f"/{name}") else content
        )
    else:
        path = miniature.raw / "tiny-imagenet-200" / name
        path.write_bytes(changed(path.read_bytes()))
    refuse(miniature, miniature.raw, words)


def test_folders_of_classes_that_do_not_fit_are_named(miniatures, refuse, tmp_path):
    miniature = miniatures.make("folder", tmp_path)
    miniatures.write(tmp_path / "own" / "test" / "fox" / "1.png", miniatures.encoded(miniature.train[0][0], "PNG"))
    refuse(miniature, tmp_path / "own", "test/fox/1.png is in no folder of a class of train/")
    for part in ("train", "test"):
        shutil.rmtree(tmp_path / "own" / part / "cat")
    shutil.rmtree(tmp_path / "own" / "test" / "fox")
    refuse(miniature, tmp_path / "own", "has 2 folders of classes, expected 3")
    shutil.rmtree(tmp_path / "own" / "train")
    shutil.rmtree(tmp_path / "own" / "test")
    refuse(miniature, tmp_path / "own", "holds no image")


def test_a_training_image_of_no_class_is_named(miniatures, refuse, tmp_path):
    miniature = miniatures.make("imagenet200 folder", tmp_path)
    stray = miniature.raw / "tiny-imagenet-200" / "train" / "n00000001" / "images" / "x.JPEG"
    miniatures.write(stray, miniatures.encoded(miniature.train[0][0], "JPEG"))
    refuse(miniature, "train/n00000001/images/x.JPEG is of no class of wnids.txt")


def test_imagenet_without_its_folders_is_not_made_of_whatever_lies_there(miniatures, refuse, tmp_path):
    miniature = miniatures.make("imagenet", tmp_path)
    (miniature.raw / "train").rename(miniature.raw / "training")
    refuse(miniature, miniature.raw, "neither imagenet/train/ nor train/")
