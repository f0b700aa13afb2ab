"""What a user is told where a job fails and where there is no cluster; recipes. tests/slurm has a real cluster."""

import os
import re
import shutil
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_a_failed_job_is_told_in_four_lines(tmp_path, snakemake):
    target = "results/cifar/data/cifar10.safetensors"
    config = ("preset=cifar", f"raw_data={tmp_path}/nowhere")
    done = snakemake.run(tmp_path, "--cores", "1", target, config=config)
    assert done.returncode == 1
    _, _, said = done.stdout.partition("Failed: ")
    lines = said.partition("\nExiting because")[0].splitlines()
    assert lines[0] == "prepare_data/cifar10"
    assert lines[1].startswith("    prunebench: ")
    assert "nowhere" in lines[1]
    log = "results/cifar/logs/prepare_data/cifar10.log"
    assert lines[2] == f"    log: {log}"
    assert lines[1].strip() == (tmp_path / log).read_text().strip()
    assert lines[3] == f"    by hand: prunebench prepare-data --plan results/cifar/plan.json --out {target}"
    assert len(lines) == 4
    assert "CalledProcessError" not in done.stdout


def test_without_slurm_the_profile_says_so_and_starts_nothing(tmp_path, snakemake):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "which"):
        (programs / name).symlink_to(shutil.which(name))
    words = ("--cores", "8", "--profile", ROOT / "slurm")
    done = snakemake.run(tmp_path, *words, environment=os.environ | {"PATH": str(programs)})
    assert done.returncode == 1
    line = "no SLURM here: there is no 'sbatch'. Start it on a login node, or without the profile"
    assert line in done.stdout.splitlines()
    assert not (tmp_path / "results").exists()


def test_both_profiles_name_options_that_snakemake_has(tmp_path, snakemake):
    """It ignores none: an unknown one would end this dry run."""
    done = snakemake.dry_run(tmp_path, "--profile", ROOT / "slurm", "--workflow-profile", ROOT / "profiles/default")
    assert done.returncode == 0, done.stdout


def test_containers_and_conda_install_the_tested_versions():
    """What they copy is there and they install it under constraints.txt, which pins every package that they need."""
    docker = (ROOT / "containers/Dockerfile").read_text()
    apptainer = (ROOT / "containers/prunebench.def").read_text()
    install = "pip install --no-cache-dir --constraint constraints.txt --editable '.[workflow]'"
    assert f"RUN {install}" in docker
    assert f"    {install}\n" in apptainer
    [base] = {re.search(r"^F(?:ROM|rom:) (python:\S+)$", text, re.MULTILINE)[1] for text in (docker, apptainer)}
    assert base == "python:3.11-slim"
    kept = re.findall(r"^!(\S+)$", (ROOT / "containers/Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert re.search(r"^    (.+) /opt/prunebench/$", apptainer, re.MULTILINE)[1].split() == kept
    assert all((ROOT / name).exists() for name in kept)
    constraints = (ROOT / "constraints.txt").read_text()
    pinned = {name.lower() for name in re.findall(r"^([\w.-]+)==", constraints, re.MULTILINE)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["workflow"]
    assert {re.match(r"[\w.-]+", name)[0].lower() for name in wanted} <= pinned
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["dependencies"][-1]["pip"] == ["-c constraints.txt", "-e .[dev]"]
