"""Where a job computes."""

import os
import platform
import subprocess
import sys

import pytest

from prunebench.runs import device
from prunebench.runs.device import least_taken


def test_jobs_spread_over_the_gpus_and_give_their_places_back(tmp_path, monkeypatch):
    """However a job ends: here the system takes the places of a killed one."""
    places = []
    monkeypatch.setattr(device, "_PLACES", places)
    assert [least_taken(2, tmp_path) for _ in range(5)] == [0, 1, 0, 1, 0]
    places.pop(1).close()  # the first one of GPU 1
    assert [least_taken(2, tmp_path) for _ in range(2)] == [1, 1]

    code = "import sys; from prunebench.runs.device import *; print(least_taken(2, Path(sys.argv[1])), flush=True)"
    code += "; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "0\n"
        assert least_taken(2, tmp_path) == 1
        other.kill()
    assert least_taken(2, tmp_path) == 0
    for file in places:
        file.close()


def test_each_set_of_visible_gpus_is_counted_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_PLACES", [])
    for visible in ("0,1", "2,3"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert least_taken(2, tmp_path) == 0


FAULTS = """
import resource, torch
from prunebench.runs.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(4 << 20) for _ in range(4)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = [faults() for _ in range(3)][-1]
keep_freed_memory()
print(before, [faults() for _ in range(3)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the parameters")
def test_what_an_evaluation_frees_is_not_asked_of_the_system_again():
    line = [sys.executable, "-c", FAULTS]
    before, after = map(int, subprocess.run(line, capture_output=True, text=True, check=True).stdout.split())
    pages = 4 * (16 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert after < pages / 100, f"{after} page faults for {pages} pages; {before} without it"
    assert before > after
