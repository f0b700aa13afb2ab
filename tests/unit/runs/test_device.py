"""Where a job computes."""

import subprocess
import sys

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
