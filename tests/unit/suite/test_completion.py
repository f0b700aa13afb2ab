"""What a shell's Tab offers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.suite import completion

ROOT = Path(__file__).parents[3]
PRUNEBENCH = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'prunebench'; from prunebench.__main__ import main; main()",
]


@pytest.fixture
def results(toy_results, monkeypatch):
    found = toy_results(seeds=[0])
    monkeypatch.chdir(found.parent.parent)
    return found


def test_folders_of_results_and_of_jobs(results):
    (results.parent / "notes").mkdir()
    assert completion.results("") == ["results/tiny"]
    assert completion.results("results/n") == ["results/notes"]
    jobs = completion.jobs("results/tiny/runs/toy/ch")
    assert jobs == [f"results/tiny/runs/toy/chains/net/{name}/seed-0" for name in ("benchmark", "ours", "theirs")]
    assert len(completion.jobs("")) > len(jobs)
    absolute = f"{results}/runs/toy/arms"
    assert completion.jobs(absolute) == [f"{absolute}/net/seed-0"]
    assert completion.jobs("nowhere/") == []


def test_claims_of_a_ledger(results):
    assert completion.claims(ROOT / "results/reference/laptop", "B5") == ["B5a", "B5b"]
    for content in ("", "[]", "{", '{"findings": 3}'):
        (results / "claims.json").write_text(content)
        assert completion.claims(results, "") == []
    assert completion.claims(None, "") == []


def test_presets_states_and_what_can_go(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert completion.presets("lap") == ["laptop"]
    assert completion.presets("config/sm") == ["config/smoke.yaml"]
    assert completion.states("st") == ["stopped", "stale"]
    assert completion.rubbish("r") == ["resume", "runs"]


def asked(shell, words, number):
    """What the command answers a shell at its Tab."""
    bash = {"COMP_WORDS": words, "COMP_CWORD": str(number)}
    other = {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    environment = os.environ | (bash if shell == "bash" else other) | {"_PRUNEBENCH_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(PRUNEBENCH, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_verbs_folders_and_claims(shell):
    assert "calibrate" in asked(shell, "prunebench cal", 1)
    assert "results/reference/laptop" in asked(shell, "prunebench claims results/reference/l", 2)
    assert "B5a" in asked(shell, "prunebench claims results/reference/laptop B5", 3)
    script = subprocess.run(
        PRUNEBENCH, env=os.environ | {"_PRUNEBENCH_COMPLETE": f"source_{shell}"}, capture_output=True, text=True
    )
    assert f"_PRUNEBENCH_COMPLETE=complete_{shell}" in script.stdout


def test_the_script_completes_in_a_real_bash(tmp_path):
    """`claims results/reference/laptop B5<Tab>` in bash itself, with the function that the script defines."""
    command = tmp_path / "prunebench"
    command.write_text(f"#!{sys.executable}\nfrom prunebench.__main__ import main\nmain()\n")
    command.chmod(0o755)
    words = "prunebench claims results/reference/laptop B5"
    lines = f"""
        source <(_PRUNEBENCH_COMPLETE=source_bash prunebench)
        COMP_WORDS=({words}); COMP_CWORD=3
        _prunebench_completion prunebench
        echo "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", lines], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["B5a", "B5b"], "")


IMPORTED = """
import sys
from prunebench import cli
sys.argv[0] = "prunebench"
try:
    cli.main()
except SystemExit:
    print([name for name in ("torch", "pandas", "numpy", "yaml", "rich.console") if name in sys.modules])
"""


def test_tab_imports_nothing_heavy():
    ask = os.environ | {
        "_PRUNEBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "prunebench claims results/re",
        "COMP_CWORD": "2",
    }
    done = subprocess.run([sys.executable, "-c", IMPORTED], env=ask, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_imports_neither_torch_nor_pandas():
    done = subprocess.run([sys.executable, "-c", IMPORTED, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "['rich.console']"  # which draws it
