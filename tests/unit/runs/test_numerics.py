"""How a CPU computes: what is pinned, that jobs refuse to run otherwise, and that the bytes are those of other CPUs."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.errors import InputError
from prunebench.runs import numerics

ROOT = Path(__file__).parents[3]
PORTABLE = ROOT / "benchmarks" / "portable.py"
KEPT = json.loads(PORTABLE.with_suffix(".json").read_text())

needs_avx2 = pytest.mark.skipif(not numerics.can_be_portable(), reason="needs an x86-64 CPU with AVX2")


@pytest.fixture
def environment(monkeypatch):
    """An environment without pins, of which numerics has taken nothing yet."""
    for name in (*numerics.PINS, numerics.BEFORE):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    return monkeypatch


@needs_avx2
def test_pins_are_set_and_taken_back(environment):
    environment.setenv("MKL_CBWR", "AVX512")
    assert numerics.found() == "native"
    numerics.pin()
    numerics.pin()  # once more changes nothing
    assert numerics.found() == "portable"
    assert {name: os.environ[name] for name in numerics.PINS} == dict(numerics.PINS)
    numerics.unpin()
    assert numerics.found() == "native"
    assert {name: os.environ.get(name) for name in numerics.PINS if name in os.environ} == {"MKL_CBWR": "AVX512"}


@needs_avx2
def test_what_an_outer_process_pinned_is_taken_back_by_an_inner_one(environment):
    """`prunebench run` pins itself and starts Snakemake, whose jobs may have to compute natively."""
    environment.setenv("MKL_CBWR", "AVX512")
    numerics.pin()
    inner = (
        "import os; from prunebench.runs import numerics as n; n.pin(); before = n.found(); n.unpin(); "
        "print(before, n.found(), os.environ.get('MKL_CBWR'), os.environ.get('ONEDNN_MAX_CPU_ISA'))"
    )
    done = subprocess.run([sys.executable, "-c", inner], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("portable native AVX512 None\n", "")


@needs_avx2
def test_a_process_that_should_compute_natively_and_is_pinned_is_refused(environment):
    numerics.check("native")
    environment.setattr(os, "environ", os.environ | numerics.PINS)
    with pytest.raises(InputError, match="native, but the environment has the pins of portable: unset ONEDNN_MAX"):
        numerics.check("native")


def test_a_cpu_without_avx2_computes_its_own_way(environment):
    environment.setattr(numerics, "cpu_flags", frozenset)
    numerics.pin()
    assert not {*numerics.PINS} & {*os.environ}
    assert numerics.found() == "native"
    numerics.check("portable")


@needs_avx2
def test_a_process_that_was_not_told_in_time_is_refused(environment):
    numerics.check("native")
    with pytest.raises(InputError, match=r"portable, but ONEDNN_MAX_CPU_ISA is not AVX2: call .*pin\(\) before torch"):
        numerics.check("portable")


def test_a_job_says_how_it_computed(workshop):
    out = workshop.run(workshop.spec([workshop.phase(epochs=1)]))
    assert json.loads((out / "provenance.json").read_text())["numerics"] == numerics.found()


def installed():
    """Versions of the libraries here, and whether they are those that the kept digests are of."""
    import numpy
    import scipy
    import torch

    return {"torch": torch.__version__.split("+")[0], "numpy": numpy.__version__, "scipy": scipy.__version__}


same_libraries = pytest.mark.skipif(installed() != KEPT["versions"], reason=f"digests are of {KEPT['versions']}")


@needs_avx2
@same_libraries
def test_this_machine_computes_the_kept_bytes():
    done = subprocess.run([sys.executable, PORTABLE], capture_output=True, text=True)
    assert (done.returncode, "kept:" in done.stdout) == (0, False), done.stdout + done.stderr


@pytest.mark.slow
@needs_avx2
@same_libraries
@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("qemu-x86_64"), reason="needs qemu-user")
@pytest.mark.parametrize("cpu", ["Haswell", "EPYC-Rome"])
def test_an_emulated_cpu_computes_the_kept_bytes(cpu):
    done = subprocess.run(["qemu-x86_64", "-cpu", cpu, sys.executable, PORTABLE], capture_output=True, text=True)
    assert (done.returncode, "kept:" in done.stdout) == (0, False), done.stdout + done.stderr
