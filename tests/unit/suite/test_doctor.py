"""`prunebench doctor`: what each check says of a machine that has the fault, and of one that has not."""

import importlib.metadata
import json
import os
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from prunebench import cli
from prunebench.suite import doctor

GOOD = {"version": "2.13.0", "cuda": None, "gpus": [], "threads": 2, "seconds": 1.5, "torchvision": "0.28.0"}
BROKEN = {"fault": "ImportError: libtorch_cpu.so: cannot open shared object file"}


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts programs in front of the system's: what each prints, and how it ends."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def put(name, prints="", ends=0, error=""):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\necho '{prints}'\necho '{error}' >&2\nexit {ends}\n")
        path.chmod(0o755)

    return put


@pytest.fixture
def no_programs(tmp_path, monkeypatch):
    """A machine on which no program is found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)


def shown(item, state, *words):
    assert item.state == state, item
    assert len(str(item).splitlines()) == 1
    assert str(item).startswith(state)
    for word in words:
        assert word in str(item)
    assert bool(item.mend) or state == "ok" or "since torch" in item.found  # what is amiss has a mend


# --- Python, packages, torch


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10), "fault"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "fault")]
)
def test_a_python_that_is_not_tested_is_a_fault(monkeypatch, version, state):
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    shown(doctor.check_python(), state, *(["3.11 to 3.13"] if state == "fault" else []))


def test_a_package_that_is_missing_is_named(monkeypatch):
    shown(doctor.check_packages(), "ok", "none missing", "Snakemake 9")
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name in ("jinja2", "numpy") else version(name))
    shown(doctor.check_packages(), "fault", "numpy, jinja2 missing", "prunebench[workflow]")


def test_a_package_that_is_not_installed_itself_is_told(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    shown(doctor.check_packages(), "fault", "prunebench itself is not installed", "pip install")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("raise ImportError('libtorch_cpu.so: no such file')", "libtorch_cpu.so: no such file"),
        ("import os; os.abort()", "it ends with -6"),
        ("import time; time.sleep(60)", "no answer in 1 s"),
        ("print('hello')", "'torch' has no attribute"),
    ],
)
def test_a_torch_that_does_not_work_is_told_and_never_waited_for(tmp_path, monkeypatch, code, fault):
    """The real question, asked of a package of that name which is broken in one way or another."""
    (tmp_path / "torch.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "ASK_TORCH_SECONDS", 1.0 if "sleep" in code else 60.0)
    shown(doctor.check_torch(doctor.ask_torch()), "fault", fault, "pip install")


def test_of_a_torch_that_works_version_build_and_threads_are_told():
    facts = doctor.ask_torch()
    shown(doctor.check_torch(facts), "ok", f"torch {facts['version']}, built for ")
    assert facts["threads"] >= 1


def test_what_hangs_on_torch_is_told_without_it():
    for check in (doctor.check_torchvision, doctor.check_speed):
        shown(check(BROKEN), "warning", "since torch does not work")
    shown(doctor.check_threads(BROKEN), "ok", "unknown")


def test_a_torchvision_that_does_not_fit_is_told():
    fault = {"torchvision_fault": "RuntimeError: operator torchvision::nms\ndoes not exist"}
    shown(doctor.check_torchvision(GOOD | fault), "warning", "nms does not exist", "one index")
    shown(doctor.check_torchvision(GOOD), "ok", "0.28.0")


# --- Processor, GPU, memory


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_container_s_quota_of_cores_is_read(tmp_path, files, cores):
    put(tmp_path, files)
    assert doctor.cpu_quota(tmp_path) == cores


def put(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")


def test_a_quota_below_the_cores_says_how_to_call_snakemake(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda of: range(8))
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 2.5)
    shown(doctor.check_threads(GOOD), "warning", "a quota allows 2.5", "--cores 2")
    monkeypatch.setattr(doctor, "cpu_quota", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    shown(doctor.check_threads(GOOD), "ok", "8 of", "OMP_NUM_THREADS=3")


@pytest.mark.parametrize(
    ("flags", "state", "words"),
    [
        ({"avx2", "avx512f", "avx512_bf16"}, "ok", ["AVX2, AVX-512; multiplies bf16 natively"]),
        ({"avx2", "amx_tile", "amx_bf16"}, "ok", ["AVX2, AMX; multiplies bf16 natively"]),
        ({"avx2"}, "ok", ["AVX2; emulates bf16"]),
        ({"sse4_2"}, "warning", ["none of AVX2", "slow code"]),
        (set(), "ok", ["none of AVX2, AVX-512, AMX known"]),
    ],
)
def test_the_instruction_sets_are_named(monkeypatch, flags, state, words):
    monkeypatch.setattr(doctor, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(doctor.platform, "machine", lambda: "x86_64")
    shown(doctor.check_instructions(), state, *words)


@pytest.mark.parametrize(
    ("smi", "facts", "state", "words"),
    [
        (None, GOOD, "ok", ["none; jobs run on the CPU"]),
        ("H200, 570.1", GOOD | {"cuda": "13.0", "gpus": ["H200"]}, "ok", ["H200 (H200, 570.1)"]),
        (None, GOOD | {"cuda": "13.0", "gpus": ["H200"]}, "ok", ["H200 (nvidia-smi does not answer)"]),
        ("H200, 570.1", GOOD, "warning", ["570.1, but torch sees none", "an index with CUDA"]),
        ("H200, 470.1", GOOD | {"cuda": "13.0"}, "warning", ["470.1, but torch sees none", "driver"]),
        ("K80, 470.1", GOOD | {"gpus": ["K80"], "gpu_fault": "no kernel\nimage"}, "warning", ["(no kernel image)"]),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_told(no_programs, program, smi, facts, state, words):
    if smi:
        program("nvidia-smi", smi)
    shown(doctor.check_gpu(facts), state, *words)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4000 kB"}, 4_096_000),
        (
            {
                "proc/meminfo": "MemAvailable: 4000 kB",
                "sys/fs/cgroup/memory.max": "3000000",
                "sys/fs/cgroup/memory.current": "1000000",
            },
            2_000_000,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 4000 kB",
                "sys/fs/cgroup/memory.max": "max",
                "sys/fs/cgroup/memory.current": "1",
            },
            4_096_000,
        ),
        ({}, None),
    ],
)
def test_free_memory_is_what_system_and_container_leave(tmp_path, files, free):
    put(tmp_path, files)
    assert doctor.free_memory(tmp_path) == free


@pytest.mark.parametrize(("free", "state"), [(1e9, "warning"), (4e9, "ok"), (None, "ok")])
def test_little_memory_is_told(monkeypatch, free, state):
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    words = {"warning": ["1.0 GB free", "--cores 1"], "ok": ["so 2 at once"] if free else ["not known"]}[state]
    shown(doctor.check_memory(), state, *words)


# --- Places


Room = namedtuple("Room", ["f_bavail", "f_frsize", "f_files", "f_favail"])


@pytest.mark.parametrize(
    ("room", "state", "words"),
    [
        (Room(10**6, 4096, 10**6, 10**6), "ok", ["4.1 GB free, 1,000,000 more files"]),
        (Room(10**6, 4096, 0, 0), "ok", ["4.1 GB free"]),  # a file system that does not count files
        (Room(10**5, 4096, 10**6, 10**6), "warning", ["0.4 GB free", "prunebench plan"]),
        (Room(10**6, 4096, 10**6, 10**4), "warning", ["10,000 more files", "prunebench plan"]),
        (Room(10, 4096, 10**6, 10**6), "fault", ["make room"]),
        (Room(10**6, 4096, 10**6, 10), "fault", ["10 more files", "make room"]),
    ],
)
def test_a_full_disk_or_one_without_inodes_is_told(tmp_path, monkeypatch, room, state, words):
    monkeypatch.setattr(os, "statvfs", lambda path: room)
    shown(doctor.check_disk("disk results", tmp_path / "yet/to/be/made"), state, *words)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def unwritable(tmp_path):
    """A folder into which nobody can write, root neither."""
    return Path("/proc") if Path("/proc").is_dir() else pytest.skip("needs /proc, a folder that takes no file")


def test_a_folder_that_cannot_be_written_is_a_fault(unwritable, tmp_path, monkeypatch):
    shown(doctor.check_disk("disk data", unwritable / "x"), "fault", "cannot be written (")
    monkeypatch.setenv("XDG_CACHE_HOME", str(unwritable))
    shown(doctor.check_home(), "fault", "(XDG_CACHE_HOME) cannot be written", "export XDG_CACHE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    shown(doctor.check_home(), "ok", str(tmp_path / "new"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(unwritable))
    shown(doctor.check_home(), "fault", "(in HOME) cannot be written")


# --- Data sets


@pytest.mark.parametrize("source", [source for source in doctor.DATA if source != "digits"])
def test_a_data_set_is_found_where_its_source_looks_and_else_the_places_are_named(tmp_path, monkeypatch, source):
    monkeypatch.setattr(doctor, "_SYSTEM", tmp_path / "system")
    cache, raw = tmp_path / "data", tmp_path / "raw"
    shown(doctor.check_data(source, cache, None), "warning", f"not in {cache}")
    shown(doctor.check_data(source, cache, raw), "warning", f"not in {raw}", "raw_data")
    for file in doctor.DATA[source]:
        (raw / file).parent.mkdir(parents=True, exist_ok=True)
        (raw / file).touch()
        shown(doctor.check_data(source, cache, raw), "ok", f"found at {raw / file}")
        (raw / file).unlink()


def test_every_source_that_reads_files_is_looked_for():
    from prunebench.data.sources import SOURCES

    assert set(doctor.DATA) == {*SOURCES} - {"folder", "npz"}


def test_what_is_looked_for_is_what_the_sources_look_for():
    from prunebench.data.cifar import EDITIONS
    from prunebench.data.fashion import FASHION_FILES, SYSTEM_FOLDER

    for classes, edition in EDITIONS.items():
        assert edition.archive in doctor.DATA[f"cifar{classes}"]
        assert f"{edition.folder}/{edition.files['test'][0]}" in doctor.DATA[f"cifar{classes}"]
    assert set(doctor.DATA["fashion_mnist"][1:]) <= {*FASHION_FILES}
    assert doctor._SYSTEM / "fashion-mnist" == SYSTEM_FOLDER


# --- Programs


SLURM = {
    "sbatch": "echo slurm 22",
    "sinfo": "echo all up 3",
    "squeue": "exit 0",
    "scontrol": "echo MinJobAge = 300 sec",
}


@pytest.mark.parametrize(
    ("there", "state", "words"),
    [
        ({}, "ok", ["none here"]),
        (SLURM, "ok", ["slurm 22", "all up 3", "--profile slurm asks squeue"]),
        (SLURM | {"scontrol": "echo MinJobAge = 60 sec", "sacct": "exit 0"}, "ok", ["--profile slurm asks sacct"]),
        (SLURM | {"sinfo": "echo no controller >&2; exit 1"}, "warning", ["sinfo says: no controller"]),
        (SLURM | {"scontrol": "echo MinJobAge = 60 sec"}, "warning", ["forgets jobs 60 s after their end"]),
        ({"sbatch": "echo slurm 22"}, "warning", ["slurm 22", "there is no 'sinfo'"]),
    ],
)
def test_slurm_and_what_the_profile_will_ask_of_it(programs, there, state, words):
    programs(**there)
    shown(doctor.check_slurm(), state, *words)


def test_a_browser_that_is_absent_or_does_not_start(no_programs, program, monkeypatch):
    shown(doctor.check_chromium(), "warning", "none of chromium", "apt-get install")
    program("google-chrome", "Chrome 150")
    shown(doctor.check_chromium(), "ok", "Chrome 150 at ")
    program("google-chrome", "", 127, "libnss3.so: cannot open")
    shown(doctor.check_chromium(), "warning", "does not start (libnss3.so: cannot open)")


def test_the_font_of_the_figures_is_looked_for(monkeypatch):
    from prunebench.suite.report.style import RC

    assert RC["font.sans-serif"][0] == doctor.FONT
    shown(doctor.check_font(), "ok", "DejaVuSans.ttf")
    monkeypatch.setattr(doctor, "FONT", "No Such Font")
    shown(doctor.check_font(), "warning", "No Such Font is not found", "matplotlib")


def test_a_clock_that_was_set_back_or_differs_from_the_disk_s_is_told(tmp_path, monkeypatch):
    shown(doctor.check_clock(tmp_path), "ok", "the file system agrees")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    shown(doctor.check_clock(tmp_path), "warning", "-60 s off", "time server")
    monkeypatch.setattr(time, "time", lambda: 10**9)
    shown(doctor.check_clock(tmp_path), "warning", "2001-09-09", "before prunebench's own files", "set the clock")


# --- The verb


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """`prunebench doctor` in an empty folder, with what torch says: (exit code, lines)."""
    monkeypatch.chdir(tmp_path)

    def of(facts, *words):
        monkeypatch.setattr(doctor, "ask_torch", lambda: facts)
        monkeypatch.setattr(sys, "argv", ["prunebench", "doctor", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capfd.readouterr().out

    return of


def test_the_verb_says_one_line_for_each_item_and_ends_with_1_at_a_fault(call, tmp_path):
    code, out = call(GOOD)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} <= {"ok", "warning"}
    names = (
        "python packages torch torchvision threads cpu gpu memory disk home digits cifar10 slurm chromium fonts clock"
    )
    for name in names.split():
        assert f" {name} " in out
    assert "not measured" in out
    code, out = call(BROKEN)
    assert code == 1
    assert "fault    torch          does not work (ImportError: libtorch_cpu.so" in out
    assert len(out.splitlines()) > 20  # the other checks are made all the same
    assert not list(tmp_path.iterdir())


def test_as_json_it_can_go_into_a_ticket(call):
    code, out = call(BROKEN, "--json")
    items = {item["name"]: item for item in json.loads(out)["items"]}
    assert code == 1
    assert items["torch"]["state"] == "fault"
    assert items["torch"]["mend"].startswith("install it anew")
    assert set(items["clock"]) == {"name", "state", "found", "mend"}


def test_with_probe_it_measures(monkeypatch, call):
    """Rows as `measure` gives them; that function is tested where it lies."""
    from prunebench.suite import throughput
    from prunebench.suite.machine import Machine, Throughput

    def measure(workloads, seconds, report):
        rates = {"training_images_per_s": 1234, "evaluation_images_per_s": 1, "start_s": 2.5, "device": "a CPU"}
        assert {job.network.depth for job in workloads.values()} == {8, 20}
        return Machine([Throughput(**vars(workload), **rates) for workload in workloads], "here")

    monkeypatch.setattr(throughput, "measure", measure)
    code, out = call(GOOD, "--probe")
    assert code == 0
    assert "a CPU, fp32, one thread: ResNet-8 at 16x16 1,234 images/s, ResNet-20 at 32x32 1,234 images/s" in out
    assert "a job starts in 2.5 s" in out
