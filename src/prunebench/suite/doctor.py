"""`prunebench doctor`: what this machine can run, and the mend for each fault. Works where torch is missing or broken.

Each check looks at one thing and gives an `Item`. torch and torchvision are asked in a process of their own: a broken
build may end its process, or never answer.
"""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import prunebench
from prunebench.errors import InputError
from prunebench.runs.cpu import BF16, cpu_flags, cpu_name
from prunebench.suite.programs import ask, in_line, status_command

PYTHONS = (3, 11), (3, 13)
"""The first and the last version of Python that is tested."""

JOB_MB = 1500
"""Memory that a job of small networks asks for (`resources.mem_mb`)."""

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FONT = "DejaVu Sans"
"""The figures' first font, which matplotlib brings."""

GB = 1e9
ASK_TORCH_SECONDS = 180.0


@dataclass(frozen=True)
class Item:
    """What one check found. state: `fault` keeps the suite from running. mend: what to do, where something is amiss."""

    name: str
    state: Literal["ok", "warning", "fault"]
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.name:<14} {self.found}" + (f": {self.mend}" if self.mend else "")


def examine(folder: Path, cache: Path, raw_data: Path | None, probe: bool) -> Iterator[Item]:
    """Every check's finding, as soon as it is known.

    folder: where results will lie. cache: where downloads are kept. raw_data: the folder of raw data, if one is named.
    probe: measure the speed, too, half a minute.
    """
    yield check_python()
    yield check_packages()
    torch = ask_torch()
    yield check_torch(torch)
    yield check_torchvision(torch)
    yield check_threads(torch)
    yield check_instructions()
    yield check_gpu(torch)
    yield check_memory()
    for name, place in (("results", folder), ("data", cache), ("temp", Path(tempfile.gettempdir()))):
        yield check_disk(f"disk {name}", place)
    yield check_home()
    yield from (check_data(source, cache, raw_data) for source in DATA)
    yield check_slurm()
    yield check_chromium()
    yield check_font()
    yield check_clock(folder)
    yield check_speed(torch) if probe else Item("speed", "ok", "not measured (--probe measures it, half a minute)")


# --- Python and packages


def check_python() -> Item:
    """Whether this Python is one of those that are tested."""
    first, last = (".".join(map(str, version)) for version in PYTHONS)
    found = f"Python {platform.python_version()}, {platform.platform()}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Item("python", "ok", found)
    return Item("python", "fault", found, f"make a virtual environment with Python {first} to {last}")


def check_packages() -> Item:
    """What the package declares to need, its workflow extra included, and is not installed."""
    try:
        declared = importlib.metadata.requires("prunebench") or []
    except importlib.metadata.PackageNotFoundError:
        return Item("packages", "fault", "prunebench itself is not installed", "pip install 'prunebench[workflow]'")
    needed = [line for line in declared if "extra" not in line or 'extra == "workflow"' in line]
    names = [match[0] for line in needed if (match := re.match(r"[A-Za-z0-9._-]+", line))]
    absent = [name for name in names if not _version(name)]
    found = (
        f"{len(names)} needed, {', '.join(absent) or 'none'} missing; Snakemake {_version('snakemake') or 'missing'}"
    )
    if absent:
        return Item("packages", "fault", found, "pip install 'prunebench[workflow]'")
    return Item("packages", "ok", found)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


# --- torch, in a process of its own

_ASK = """
import json, time
began = time.perf_counter()
import torch
facts = {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": []}
facts |= {"threads": torch.get_num_threads(), "kernels": torch.backends.cpu.get_cpu_capability()}
facts["seconds"] = time.perf_counter() - began
assert (torch.ones(8, 8) @ torch.ones(8, 8)).sum() == 512
try:
    for number in range(torch.cuda.device_count()):
        facts["gpus"].append(torch.cuda.get_device_name(number))
        assert torch.ones(8, device=f"cuda:{number}").sum() == 8
except Exception as error:
    facts["gpu_fault"] = str(error)
try:
    import torchvision
    facts["torchvision"] = torchvision.__version__
except Exception as error:
    facts["torchvision_fault"] = f"{type(error).__name__}: {error}"
print(json.dumps(facts))
"""


def ask_torch() -> dict[str, Any]:
    """What torch says of itself; with the key `fault` alone where it cannot be imported or cannot multiply."""
    good, said = ask(sys.executable, "-c", _ASK, seconds=ASK_TORCH_SECONDS)
    if not good:
        return {"fault": said}
    facts: dict[str, Any] = json.loads(said)
    return facts


def check_torch(torch: Mapping[str, Any]) -> Item:
    """Whether torch can be imported and multiplies."""
    if fault := torch.get("fault"):
        return Item(
            "torch", "fault", f"does not work ({fault})", "install it anew: pip install --force-reinstall torch"
        )
    build = f"CUDA {torch['cuda']}" if torch["cuda"] else "CPU"
    return Item("torch", "ok", f"torch {torch['version']}, built for {build}, imported in {torch['seconds']:.1f} s")


def check_torchvision(torch: Mapping[str, Any]) -> Item:
    """Whether torchvision can be imported beside torch."""
    if "fault" in torch:
        return Item("torchvision", "warning", "not asked, since torch does not work")
    if fault := torch.get("torchvision_fault"):
        mend = "install torch and torchvision from one index; its networks and mirror of Fashion-MNIST need it"
        return Item("torchvision", "warning", f"does not work ({in_line(fault)})", mend)
    return Item("torchvision", "ok", f"torchvision {torch['torchvision']}")


# --- Processor, GPU, memory


def check_threads(torch: Mapping[str, Any]) -> Item:
    """How many cores this process may use, and whether a quota below them would be overrun."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cores} of {os.cpu_count()} cores may be used; torch takes {torch.get('threads', 'an unknown number of')}"
    if omp := os.environ.get("OMP_NUM_THREADS"):
        found += f" (OMP_NUM_THREADS={omp})"
    found += ", a job as many as its preset's resources.threads"
    quota = cpu_quota()
    if quota and quota < cores:
        least = max(1, int(quota))
        return Item("threads", "warning", f"{found}; a quota allows {quota:g}", f"call Snakemake with --cores {least}")
    return Item("threads", "ok", found)


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores that the container's quota is worth; None where there is none."""
    quota, _, period = _text(root / "cpu.max").partition(" ")
    if not quota:
        quota, period = (_text(root / f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def check_instructions() -> Item:
    """What of the CPU's instruction sets training is faster with."""
    flags = cpu_flags()
    has = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("AMX", "amx_tile")) if flag in flags]
    native = "multiplies bf16 natively" if BF16 & flags else "emulates bf16, so jobs refuse `precision: bf16`"
    found = f"{cpu_name()}: {', '.join(has) or 'none of AVX2, AVX-512, AMX known'}; {native}"
    if platform.machine() in ("x86_64", "AMD64") and flags and "avx2" not in flags:
        return Item("cpu", "warning", found, "torch falls back to slow code without AVX2; take another machine")
    return Item("cpu", "ok", found)


def check_gpu(torch: Mapping[str, Any]) -> Item:
    """The GPUs that torch sees and computes on, beside those that the driver sees."""
    there, said = ask("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    driver = in_line(said) if there else ""
    if fault := torch.get("gpu_fault"):
        return Item("gpu", "warning", f"{driver or 'seen'}, but torch cannot compute on it ({in_line(fault)})", _DRIVER)
    if gpus := torch.get("gpus"):
        return Item("gpu", "ok", f"{', '.join(gpus)} ({driver or 'nvidia-smi does not answer'})")
    if driver and "fault" not in torch:
        mend = _DRIVER if torch["cuda"] else "pip install torch from an index with CUDA (https://pytorch.org)"
        return Item("gpu", "warning", f"{driver}, but torch sees none", mend)
    return Item("gpu", "ok", driver or "none; jobs run on the CPU")


_DRIVER = "the driver must be as new as torch's CUDA: update it, or install a torch built for an older CUDA"


def check_memory() -> Item:
    """Memory that is free, within the container's limit."""
    free = free_memory()
    if free is None:
        return Item("memory", "ok", "not known on this system")
    found = f"{free / GB:.1f} GB free; a job of small networks asks for {JOB_MB / 1000:.1f}"
    if free < JOB_MB * 1e6:
        return Item("memory", "warning", found, "close other programs, or run with --cores 1")
    return Item("memory", "ok", f"{found}, so {int(free / (JOB_MB * 1e6))} at once")


def free_memory(root: Path = Path("/")) -> float | None:
    """Bytes that new processes can have: the system's, or what a container's limit leaves; None where not known."""
    match = re.search(r"^MemAvailable: +(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    group = root / "sys/fs/cgroup"
    known = [int(match[1]) * 1024] if match else []
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, taken = _text(group / most), _text(group / used)
        known += [int(limit) - int(taken)] if limit.isdigit() and taken.isdigit() else []
    return float(min(known)) if known else None


# --- Places


def check_disk(name: str, place: Path) -> Item:
    """Whether a folder, which may be yet to be made, can be written, and what room it has."""
    there = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    if fault := _unwritable(there):
        return Item(name, "fault", f"{place.absolute()} cannot be written ({fault})", "work in a folder of your own")
    room = os.statvfs(there)
    size = room.f_bavail * room.f_frsize
    found = f"{place.absolute()}: {size / GB:.1f} GB free"
    if room.f_files:  # some file systems do not count them
        found += f", {room.f_favail:,} more files"
    if size < 0.1 * GB or (room.f_files and room.f_favail < 1000):
        return Item(name, "fault", found, "make room: the smallest preset needs 0.1 GB and 1,000 files")
    if size < 2 * GB or (room.f_files and room.f_favail < 20_000):
        return Item(name, "warning", found, "`prunebench plan PRESET` says how many files and bytes a preset writes")
    return Item(name, "ok", found)


def check_home() -> Item:
    """Whether Snakemake and matplotlib can keep what they keep: XDG_CACHE_HOME, or .cache in the home folder."""
    named = os.environ.get("XDG_CACHE_HOME")
    place = Path(named) if named else Path(os.path.expanduser("~")) / ".cache"
    found = f"{place.absolute()} ({'XDG_CACHE_HOME' if named else 'in HOME'})"
    there = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    if fault := _unwritable(there):
        mend = "Snakemake needs one that can: export XDG_CACHE_HOME=/tmp/cache"
        return Item("home", "fault", f"{found} cannot be written ({fault})", mend)
    return Item("home", "ok", f"{found} can be written")


def _unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder; empty where something can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


# --- Data sets

DATA: Mapping[str, tuple[str, ...]] = {
    "digits": (),
    "fashion_mnist": ("fashion-mnist/train-images-idx3-ubyte", "train-images-idx3-ubyte"),
    "cifar10": ("cifar-10-batches-py/test_batch", "cifar-10-python.tar.gz", "test_batch"),
    "cifar100": ("cifar-100-python/test", "cifar-100-python.tar.gz", "test"),
    "imagenet200": ("tiny-imagenet-200/wnids.txt", "tiny-imagenet-200.zip", "wnids.txt"),
    "imagenet": ("imagenet/train", "train"),
}
"""Source -> the files or folders by which it is known in a folder of raw data, or of downloads."""

_SYSTEM = Path("/usr/share/datasets")
_FETCHED = {"fashion_mnist": "a mirror or Debian's package", "cifar10": "its publisher", "cifar100": "its publisher"}


def check_data(source: str, cache: Path, raw_data: Path | None) -> Item:
    """Whether a data set's files lie where the sources look; their content is checked when they are prepared."""
    if source == "digits":
        bundled = _version("scikit-learn")
        found = f"bundled with scikit-learn {bundled}" if bundled else "scikit-learn, which brings it, is missing"
        return Item(
            source, "ok" if bundled else "fault", found, "" if bundled else "pip install 'prunebench[workflow]'"
        )
    places = [raw_data] if raw_data else [cache, *([_SYSTEM] if source == "fashion_mnist" else [])]
    for place in places:
        for file in DATA[source]:
            for path in (place / file, place / f"{file}.gz"):
                if os.path.exists(path):
                    return Item(source, "ok", f"found at {path}")
    looked = f"not in {', '.join(str(place.absolute()) for place in places)}"
    if source in _FETCHED and not raw_data:
        return Item(source, "warning", looked, f"fetched from {_FETCHED[source]} when a preset asks for it")
    return Item(source, "warning", looked, "to use it, name its folder: raw_data=FOLDER or PRUNEBENCH_RAW_DATA")


# --- Programs


def check_slurm() -> Item:
    """Whether jobs can be submitted, and by which command `--profile slurm` will ask how they end."""
    if not shutil.which("sbatch"):
        return Item("slurm", "ok", "none here; without --profile slurm jobs run on this machine")
    version = in_line(ask("sbatch", "--version")[1])
    try:
        command = status_command()
    except InputError as error:
        return Item("slurm", "warning", f"{version}; {error}", "ask who runs the cluster (docs/cluster.md)")
    partitions = in_line(ask("sinfo", "--noheader", "--format=%P %a %D")[1])
    return Item("slurm", "ok", f"{version}, partitions {partitions}; --profile slurm asks {command} how jobs end")


def check_chromium() -> Item:
    """Whether there is a browser for the report page's own tests."""
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not program:
        mend = "only the page's tests need it: apt-get install chromium, or set CHROMIUM"
        return Item("chromium", "warning", f"none of {', '.join(CHROMIUM)}", mend)
    good, said = ask(program, "--version")
    if not good:
        return Item("chromium", "warning", f"{program} does not start ({said})", "install it anew, or set CHROMIUM")
    return Item("chromium", "ok", f"{in_line(said)} at {program}")


def check_font() -> Item:
    """Whether matplotlib finds the font of the figures, whose bytes depend on it."""
    try:
        from matplotlib import font_manager

        found = font_manager.findfont(FONT, fallback_to_default=False)
    except (ImportError, ValueError, OSError) as error:
        mend = "pip install --force-reinstall matplotlib, which brings it"
        return Item("fonts", "warning", f"{FONT} is not found ({in_line(str(error))})", mend)
    return Item("fonts", "ok", f"{FONT} at {found}")


def check_clock(folder: Path) -> Item:
    """Whether clock, file system and the package's own files agree: Snakemake decides by times what is out of date."""
    now = time.time()
    newest = max(path.stat().st_mtime for path in Path(prunebench.__file__).parent.rglob("*.py"))
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < newest - 60:
        then = time.strftime("%Y-%m-%d", time.gmtime(newest))
        return Item("clock", "warning", f"{found}, before prunebench's own files of {then}", "set the clock")
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            apart = os.stat(file.name).st_mtime - time.time()
    except OSError:
        return Item("clock", "ok", found)  # what is wrong with the folder, `check_disk` says
    if abs(apart) > 5:
        mend = "set both by one time server, else Snakemake runs jobs again or leaves them out"
        return Item("clock", "warning", f"{found}; the file system of {folder.absolute()} is {apart:+.0f} s off", mend)
    return Item("clock", "ok", f"{found}; the file system agrees")


# --- Speed


def check_speed(torch: Mapping[str, Any]) -> Item:
    """Images per second of two small networks on the device that a job would take, and the seconds of a job's start."""
    if "fault" in torch:
        return Item("speed", "warning", "not measured, since torch does not work")
    from prunebench.models.kinds import ResNetKind
    from prunebench.runs.spec import TaskSpec
    from prunebench.suite.machine import Workload
    from prunebench.suite.throughput import measure

    workloads = {}
    for kind, side, channels in ((ResNetKind(depth=8, stem_stride=2), 16, 1), (ResNetKind(), 32, 3)):
        job = TaskSpec(
            folder="probe/doctor",
            task="probe",
            dataset="random",
            network=kind,
            batch_size=128,
            precision="fp32",
            seed=0,
        )
        workloads[Workload(f"ResNet-{kind.depth}", channels, 10, side, 128, "fp32", threads=1)] = job
    rows = measure(workloads, 3, report=lambda line: None).rows
    speeds = (f"{row.network} at {row.side}x{row.side} {row.training_images_per_s:,.0f} images/s" for row in rows)
    return Item(
        "speed", "ok", f"{rows[0].device}, fp32, one thread: {', '.join(speeds)}; a job starts in {rows[0].start_s} s"
    )


def _text(path: Path) -> str:
    """A small file of the system; empty where there is none."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
