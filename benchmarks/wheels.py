"""Gathers the wheels that `make gpu` takes to a machine without network: `python benchmarks/wheels.py build/wheels`.

Of the packages that the suite and its tests need, in the versions of constraints.txt, all but the large ones, which
such a machine has: torch and what computes and draws. Pure Python without a wheel on the index is built here.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

WANTED = ("snakemake", "pydantic", "pyyaml", "typer", "rich", "jinja2", "safetensors", "pytest", "hypothesis")
THERE = ("torch", "nvidia", "cuda", "triton", "numpy", "pandas", "scipy", "scikit", "matplotlib", "seaborn", "pillow")
"""Beginnings of the names of packages that the machine has."""

PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A call of pip."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def versions(constraints: Path) -> list[str]:
    """`name==version` of everything that is wanted and of what that needs."""
    done = pip("install", "--dry-run", "--ignore-installed", "--report", "-", "-c", str(constraints), *WANTED)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    packages = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    return [f"{p['name']}=={p['version']}" for p in packages if not p["name"].lower().startswith(THERE)]


def fetch(package: str, python: str, out: Path) -> None:
    """One wheel for a version of Python into `out`."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    binary = ["--only-binary=:all:", "--python-version", python, *platforms]
    if pip("download", "--no-deps", *binary, "--dest", str(out), package).returncode:
        built = pip("wheel", "--no-deps", "--wheel-dir", str(out), package)
        if built.returncode or not list(out.glob(f"{package.partition('==')[0].replace('-', '_')}*-none-any.whl")):
            raise SystemExit(f"{package}: no wheel for Python {python}, and none that fits every Python can be built")


def main(arguments: Sequence[str] | None = None) -> int:
    """Gathers them and says how much they are; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--python", default="3.12", help="of the machine (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    packages = versions(Path(__file__).parents[1] / "constraints.txt")
    for package in packages:
        fetch(package, options.python, options.out)
    size = sum(file.stat().st_size for file in options.out.glob("*.whl"))
    print(f"{len(packages)} wheels, {size / 1e6:.1f} MB, in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
