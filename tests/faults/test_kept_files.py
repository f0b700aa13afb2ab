"""Files that stay: what killed writers leave is cleared away, and a damaged file is known by its checksum."""

import os
import platform
import signal
import subprocess
import threading

import pytest

from prunebench.errors import InputError
from prunebench.files import atomic_output, check, seal, sole_writer, temporary_folder, write_text


def killed_while(write):
    """Calls `write` in a process that ends without tidying up."""
    child = os.fork()
    if child == 0:
        write()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("name", ["table.csv", "with space.csv", "a[0]*?.csv", "ü" * 60])
def test_the_next_writer_removes_what_a_killed_one_has_left(tmp_path, name):
    path = tmp_path / name
    write_text(path, "old")
    (tmp_path / ".another.0123456789ab.tmp").write_text("of another file")

    def write():
        with atomic_output(path) as file:
            file.write(b"half")
            file.flush()
            die(file)

    killed_while(write)
    assert len([*tmp_path.iterdir()]) == 3
    write_text(path, "new")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([".another.0123456789ab.tmp", name])
    assert path.read_text() == "new"


def test_a_writer_that_lives_loses_nothing_to_another(tmp_path):
    path = tmp_path / "file"
    with atomic_output(path) as file:
        file.write(b"first")
        write_text(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("killed", [True, False])
def test_who_comes_second_into_a_folder_waits_until_the_first_has_ended_or_was_killed(tmp_path, capfd, killed):
    folder, (ready, begun), (may, go) = tmp_path / "deep/folder", os.pipe(), os.pipe()
    first = os.fork()
    if first == 0:
        with sole_writer(folder):
            os.write(begun, b"!")
            os.read(may, 1)
        os._exit(0)
    os.read(ready, 1)
    end = (lambda: os.kill(first, signal.SIGKILL)) if killed else (lambda: os.write(go, b"!"))
    threading.Timer(0.3, end).start()
    with sole_writer(folder):
        assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == (-signal.SIGKILL if killed else 0)
        assert (folder / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert capfd.readouterr().out == f"waiting for process {first} on {platform.node()}, which works in {folder}\n"
    assert not [*folder.iterdir()]


def test_folders_of_killed_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    path = tmp_path / "deep" / "folder"

    def write():
        with temporary_folder(path) as folder:
            (folder / "content").write_text("half")
            die(folder)

    killed_while(write)
    [left] = path.parent.iterdir()
    with temporary_folder(path) as living, temporary_folder(path) as other:
        assert {each.name for each in path.parent.iterdir()} == {living.name, other.name}
        assert left not in (living, other)
    assert not [*path.parent.iterdir()]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_for_those_whom_the_umask_lets_read_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "folder/file", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "folder/file").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


DAMAGES = {
    "a bit": lambda content: bytes([content[0] ^ 4]) + content[1:],
    "the last bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "truncated": lambda content: content[:-1],
    "empty": lambda content: b"",
    "longer": lambda content: content + b" ",
}


@pytest.fixture
def sealed(tmp_path):
    """Two files with their record, as sha256sum itself reads it."""
    files = tmp_path / "a b.csv", tmp_path / "ü.csv"
    for path in files:
        write_text(path, f"content of {path.name}")
    seal(tmp_path / "both.sha256", files)
    done = subprocess.run(["sha256sum", "--check", "--strict", "both.sha256"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    return files


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_its_record_and_the_mend(sealed, damage):
    path, other = sealed
    check(path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(InputError) as refused:
        check(path)
    assert str(refused.value).startswith(f"{path} is damaged or was changed")
    assert f"both.sha256; delete {path} and run again" in str(refused.value)
    check(other)


@pytest.mark.parametrize("bit", [1, 4, 16, 128])
def test_a_damaged_record_is_named_or_harms_nothing(sealed, tmp_path, bit):
    """A digest that has changed refuses its file; a name that has changed is that of no file."""
    record = tmp_path / "both.sha256"
    content = record.read_bytes()
    refused = 0
    for place in range(0, len(content), 3):
        record.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        for path in sealed:
            try:
                check(path)
            except InputError:
                refused += 1
    assert refused >= 2 * (64 // 3)  # one for each place of a digest


def test_a_file_without_a_record_and_one_that_is_absent_pass(tmp_path, sealed):
    write_text(tmp_path / "other.csv", "")
    check(tmp_path / "other.csv")
    check(tmp_path / "absent.csv")
    sealed[0].unlink()
    check(sealed[0])  # who reads it says that it is missing
