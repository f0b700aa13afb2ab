"""Corrupt, hostile and missing data, a full disk: one clear line each, and nothing half-written."""

import contextlib
import csv
import errno
import gzip
import hashlib
import http.server
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import types

import numpy as np
import pytest

from prunebench import files
from prunebench.data import fashion, fetch
from prunebench.data.batches import load_prepared
from prunebench.data.fashion import IdxFile
from prunebench.data.prepare import FORMAT, METADATA_KEY, prepare
from prunebench.data.sources import source_of
from prunebench.errors import InputError

IMAGES = "train-images-idx3-ubyte"
REAL_MIRROR, REAL_APT = fashion._from_mirror, fashion._from_apt


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A miniature Fashion-MNIST in a named folder; no other source answers."""
    rng = np.random.default_rng(0)
    shapes = {IMAGES: (60, 28, 28), "train-labels-idx1-ubyte": (60,)}
    shapes |= {"t10k-images-idx3-ubyte": (20, 28, 28), "t10k-labels-idx1-ubyte": (20,)}
    folder = tmp_path / "named"
    folder.mkdir()
    table = {}
    for name, shape in shapes.items():
        content = idx(rng.integers(0, 10, shape, dtype=np.uint8))
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        table[name] = IdxFile(len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(fashion, "FASHION_FILES", table)
    monkeypatch.setattr(fashion, "SYSTEM_FOLDER", tmp_path / "absent")
    for way in ("_from_mirror", "_from_apt"):
        monkeypatch.setattr(fashion, way, refuse)
    return folder


def refuse(_):
    raise OSError("no network\nhere")


def one_line_error(call):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


def digits(folder, **changes):
    out = folder / "digits.safetensors"
    counts = {"size": None, "train": 100, "validation": 50, "test": 60, "split_seed": 0} | changes
    prepare("digits", None, folder / "cache", out=out, manifest=folder / "digits.json", **counts)
    return out


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.9999])
def test_a_flipped_bit_in_a_raw_archive_is_found(folder, tmp_path, share):
    path = folder / f"{IMAGES}.gz"
    # Past the 10 bytes of gzip's header, some of which (time, system) mean nothing.
    flip(path, 10 + int(share * (path.stat().st_size - 11)))
    message = one_line_error(lambda: source_of("fashion_mnist").read(folder, tmp_path / "cache"))
    assert f"{path} is corrupt" in message
    assert "expected" in message


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_truncated_raw_file_is_found(folder, tmp_path, share, suffix):
    path = folder / f"{IMAGES}{suffix}"
    if not suffix:
        path.write_bytes(gzip.decompress((folder / f"{IMAGES}.gz").read_bytes()))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = one_line_error(lambda: source_of("fashion_mnist").read(folder, tmp_path / "cache"))
    assert str(path) in message
    assert str(fashion.FASHION_FILES[IMAGES].size) in message


def test_content_of_the_right_length_with_another_checksum_is_found(folder, tmp_path):
    path = folder / f"{IMAGES}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[100] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    message = one_line_error(lambda: source_of("fashion_mnist").read(folder, tmp_path / "cache"))
    assert fashion.FASHION_FILES[IMAGES].sha256 in message


def test_a_gzip_bomb_does_not_fill_the_memory(folder, tmp_path):
    with gzip.open(folder / f"{IMAGES}.gz", "wb") as bomb:
        for _ in range(256):
            bomb.write(bytes(1 << 20))
    tracemalloc.start()
    message = one_line_error(lambda: source_of("fashion_mnist").read(folder, tmp_path / "cache"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"more than {fashion.FASHION_FILES[IMAGES].size}" in message
    assert peak < 8 << 20


@pytest.mark.parametrize(
    "header", [b"\0\0\x08\x01" + struct.pack(">I", 2**32 - 1), b"\0\0\x0d\x01" + struct.pack(">I", 60), b"\0"]
)
def test_a_header_that_lies_is_refused_even_behind_a_right_checksum(header):
    message = one_line_error(lambda: fashion._parse_idx("train-labels-idx1-ubyte", header + bytes(60)))
    assert "not an IDX file" in message


def test_a_named_folder_is_never_replaced_by_another_source(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "SYSTEM_FOLDER", folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"{empty} has no file {IMAGES}" in one_line_error(
        lambda: source_of("fashion_mnist").read(empty, tmp_path / "cache")
    )
    assert "no folder" in one_line_error(
        lambda: source_of("fashion_mnist").read(tmp_path / "nowhere", tmp_path / "cache")
    )


def test_no_source_anywhere_is_one_line_that_names_every_way(folder, tmp_path):
    message = one_line_error(lambda: source_of("fashion_mnist").read(None, tmp_path / "cache"))
    for words in (
        "raw_data",
        "apt-get install dataset-fashion-mnist",
        "mirror: no network here",
        "apt-get download dataset-fashion-mnist: no network here",
        "make smoke",
    ):
        assert words in message


def test_a_corrupt_earlier_download_is_fetched_again(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    (cache / "fashion-mnist").mkdir(parents=True)
    for file in folder.iterdir():
        (cache / "fashion-mnist" / file.name).write_bytes(file.read_bytes())
    broken = cache / "fashion-mnist" / IMAGES
    broken.write_bytes(b"not the images")
    assert "is corrupt" in one_line_error(lambda: source_of("fashion_mnist").read(None, cache))
    monkeypatch.setattr(fashion, "_from_apt", lambda _: (folder, "a package"))
    assert source_of("fashion_mnist").read(None, cache).origin == "a package"
    monkeypatch.setattr(fashion, "_from_apt", refuse)
    assert source_of("fashion_mnist").read(None, cache).origin == "a package"
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


@pytest.fixture
def mirror(folder, monkeypatch):
    """A local web server that torchvision names as its mirror; `mirror[path]` is what it answers to /path."""
    answers = {f"/{file.name}": file.read_bytes() for file in folder.iterdir()}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(answers.get(self.path, b""))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        published = types.SimpleNamespace(
            mirrors=[f"http://127.0.0.1:{server.server_port}/"],
            resources=[(f"{name}.gz", "md5 of the compressed file") for name in fashion.FASHION_FILES],
        )
        monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(FashionMNIST=published))
        monkeypatch.setattr(fashion, "_from_mirror", REAL_MIRROR)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield answers
        server.shutdown()


def test_a_mirror_that_answers_fills_the_cache(mirror, tmp_path):
    cache = tmp_path / "cache"
    raw = source_of("fashion_mnist").read(None, cache)
    assert raw.origin.startswith("http://127.0.0.1")
    assert len(raw.train.images.images) == 60
    assert {path.name for path in cache.rglob("*.gz")} == {path[1:] for path in mirror}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-9], "is corrupt"),
        (lambda content: gzip.compress(b"other"), "is corrupt"),
        (lambda content: content + bytes(1 << 20), "sends more than"),
        (None, "Not Found"),
    ],
)
def test_a_mirror_that_answers_wrongly_leaves_no_trace(mirror, tmp_path, damage, words):
    path = f"/{IMAGES}.gz"
    if damage is None:
        del mirror[path]
    else:
        mirror[path] = damage(mirror[path])
    assert words in one_line_error(lambda: source_of("fashion_mnist").read(None, tmp_path / "cache"))
    assert not list((tmp_path / "cache").iterdir())


def test_a_mirror_that_stalls_is_given_up(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "DOWNLOAD_SECONDS", -1.0)
    assert "too slow" in one_line_error(lambda: source_of("fashion_mnist").read(None, tmp_path / "cache"))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr(fetch, "CONNECT_SECONDS", 0.2)
        sys.modules["torchvision.datasets"].FashionMNIST.mirrors[:] = [f"http://127.0.0.1:{deaf.getsockname()[1]}/"]
        assert "timed out" in one_line_error(lambda: source_of("fashion_mnist").read(None, tmp_path / "cache"))


def test_apt_that_is_absent_or_fails_says_why(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "_from_apt", REAL_APT)
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert "there is no apt-get here" in one_line_error(
        lambda: source_of("fashion_mnist").read(None, tmp_path / "cache")
    )
    for name in ("apt-get", "dpkg"):
        (programs / name).write_text("#!/bin/sh\necho noise >&2\necho 'E: Unable to locate' >&2\nexit 100\n")
        (programs / name).chmod(0o755)
    assert "E: Unable to locate" in one_line_error(lambda: source_of("fashion_mnist").read(None, tmp_path / "cache"))


def test_a_cache_that_cannot_be_written_is_one_of_the_reasons(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "_from_mirror", REAL_MIRROR)
    (tmp_path / "cache").write_text("a file where the folder should be")
    message = one_line_error(lambda: source_of("fashion_mnist").read(None, tmp_path / "cache"))
    assert "File exists" in message or "Not a directory" in message


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.5, 1.0])
def test_a_flipped_bit_in_a_prepared_file_is_found(tmp_path, share):
    out = digits(tmp_path)
    flip(out, int(share * (out.stat().st_size - 1)))
    message = one_line_error(lambda: load_prepared(out))
    assert f"{out} is corrupt" in message


@pytest.mark.parametrize("length", [0, 5, 8, 100, 1000, -1])
@pytest.mark.parametrize("check", [True, False])
def test_a_truncated_prepared_file_is_found_even_without_its_manifest(tmp_path, length, check):
    out = digits(tmp_path)
    out.write_bytes(out.read_bytes()[:length])
    if not check:
        out.with_suffix(".json").unlink()
    assert str(out) in one_line_error(lambda: load_prepared(out, check=check))


@pytest.mark.parametrize(
    "change",
    [
        {"train_labels": np.full(4, 10)},
        {"train_labels": np.full(4, -1)},
        {"train_labels": np.zeros(5, np.int64)},
        {"train_labels": np.zeros(4, np.int32)},
        {"train_images": np.zeros((4, 1, 8, 8), np.float32)},
        {"train_images": np.zeros((4, 8, 8), np.uint8)},
        {"train_images": np.zeros((4, 3, 8, 8), np.uint8)},
        {"train_images": np.zeros((0, 1, 8, 8), np.uint8), "train_labels": np.zeros(0, np.int64)},
        {"test_images": None},
        {"metadata": None},
        {"metadata": "[]"},
        {"metadata": "{"},
        {"metadata": {"mean": "x"}},
        {"metadata": {"classes": None}},
        {"metadata": {"std": [1.0, 1.0]}},
        {"metadata": {"format": "prunebench-prepared-0"}},
    ],
)
def test_a_file_that_prepare_would_not_write_is_refused(tmp_path, change):
    from safetensors.numpy import save_file

    facts = {"format": FORMAT, "name": "x", "classes": 10, "mean": [0.5], "std": [0.5], "verified": True}
    content = {f"{s}_images": np.zeros((4, 1, 8, 8), np.uint8) for s in ("train", "validation", "test")}
    content |= {f"{s}_labels": np.zeros(4, np.int64) for s in ("train", "validation", "test")}
    path = tmp_path / "x.safetensors"
    save_file(content, path, metadata={METADATA_KEY: json.dumps(facts)})
    load_prepared(path, check=False)
    changed = change.pop("metadata", {})
    metadata = {METADATA_KEY: changed if isinstance(changed, str) else json.dumps(facts | (changed or {}))}
    content = {name: array for name, array in (content | change).items() if array is not None}
    save_file(content, path, metadata=metadata if changed is not None else None)
    assert str(path) in one_line_error(lambda: load_prepared(path, check=False))


@pytest.mark.parametrize("manifest", [None, "", "{}", "[1]", '{"prepared_sha256"', "[" * 100_000, "\udcff"])
def test_a_missing_or_broken_manifest_is_named(tmp_path, manifest):
    out = digits(tmp_path)
    path = out.with_suffix(".json")
    path.unlink() if manifest is None else path.write_bytes(manifest.encode(errors="surrogateescape"))
    assert str(path) in one_line_error(lambda: load_prepared(out))


def test_a_missing_prepared_file_is_named(tmp_path):
    assert f"cannot read {tmp_path / 'x'}: No such file" in one_line_error(lambda: load_prepared(tmp_path / "x"))


def test_a_full_disk_leaves_the_old_file_and_no_half_written_one(tmp_path, monkeypatch):
    out = digits(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    message = one_line_error(lambda: digits(tmp_path, train=200))
    assert message == f"cannot write {out}: No space left on device"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_system_s_limit_in_the_middle_of_a_write_leaves_nothing(tmp_path):
    """A real refusal by the kernel (a file size limit) after the first bytes are on the disk."""
    code = (
        "import resource, sys; from pathlib import Path; from prunebench.files import write_bytes;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "write_bytes(Path(sys.argv[1]), bytes(300_000))"
    )
    path = tmp_path / "deep" / "file"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert f"InputError: cannot write {path}: File too large" in done.stderr
    assert not list(path.parent.iterdir())


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def write_and_be_interrupted():
        with files.atomic_output(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_be_interrupted()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    assert f"cannot write {tmp_path / 'folder'}: " in one_line_error(lambda: files.write_text(tmp_path / "folder", ""))
    files.write_text(tmp_path / "file", "")
    below = tmp_path / "file" / "below"
    assert f"cannot write {below}: " in one_line_error(lambda: files.write_text(below, ""))
    assert len(list(tmp_path.iterdir())) == 2


def test_json_and_csv_are_the_same_bytes_for_equal_content(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": "é"})
    files.write_json(tmp_path / "b.json", {"a": "é", "b": [1, 0.1]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text().endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "c.json", float("nan"))
    rows = [{"y": 0.1 + 0.2, "x": "a,b"}, {"x": None}]
    files.write_csv(tmp_path / "a.csv", rows, ["x", "y"])
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n"a,b",0.30000000000000004\n,\n'
    with open(tmp_path / "a.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["y"]) == 0.1 + 0.2
    with pytest.raises(ValueError, match="z"):
        files.write_csv(tmp_path / "b.csv", [{"z": 1}], ["x"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json", "b.json"]
