"""The command line: help, and one line with exit code 2 for bad input."""

import json
import sys

import pytest

from prunebench import __version__, cli
from prunebench.errors import InputError

VERBS = [
    *(
        "claims",
        "compare",
        "calibrate",
        "plan",
        "doctor",
        "run",
        "prepare-data",
        "tabulate",
        "tabulate-runs",
        "draw",
        "judge-claims",
    ),
    *("judge-claims", "write-report", "document"),
]


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Calls the console command in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERMINAL_WIDTH", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capfd.readouterr()

    return run


def test_the_list_of_verbs_here_is_whole():
    names = {command.name or command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands}
    assert names == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(call, verb):
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert f"prunebench {verb}" in out
    assert len(out.splitlines()) > 4


def test_the_overview_names_every_verb_and_a_version(call):
    code, out, _ = call("--help")
    assert code == 0
    assert all(f" {verb} " in out for verb in VERBS)
    assert call("--version") == (0, f"{__version__}\n", "")


SPEC = ["run", "out", "--spec", "spec.json", "--data", "none.safetensors"]


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        (SPEC, "{}", "spec.json: 'folder': field required"),
        (SPEC, '{"sed": 1}', "unknown key 'sed': did you mean 'seed'?"),
        (SPEC, "{x", "JSON"),
        (["run", "out", "--spec", "none.json"], "", "none.json: No such file or directory"),
        (["run", "out"], "", "--plan or from --spec"),
        (["run", "out", "--plan", "none.json"], "", "none.json"),
        (["claims", "nowhere"], "", "nowhere"),
        (["plan", "nowhere"], "", "nowhere.yaml: No such file or directory"),
        (["plan", "x", "--cores", "2", "--gpus", "1"], "", "give one of them"),
        (["plan", "x", "--cores", "2"], "", "need hours"),
        (["plan", "x", "--save", "x.csv"], "", "--probe --save"),
        (["plan", "x", "--machine", "x.csv", "--probe"], "", "--probe --save"),
        (["compare", "nowhere", "elsewhere"], "", "nowhere"),
        (["calibrate", "nowhere", "--out", "out"], "", "nowhere"),
        (["tabulate", "s_cyc", "--plan", "none.json", "--out", "out"], "", "none.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path, words, content, message):
    (tmp_path / "spec.json").write_text(content)
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("prunebench: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_an_unknown_paper_is_named_with_those_there_are(call, tmp_path):
    from pathlib import Path

    from prunebench.suite.preset import load_preset

    preset = load_preset(Path(__file__).parents[2] / "config/smoke.yaml")
    (tmp_path / "plan.json").write_text(json.dumps(preset.model_dump(mode="json")))
    code, _, err = call("tabulate", "s_cic", "--plan", "plan.json", "--out", "out")
    assert code == 2
    assert "s_cyc" in err


def test_debug_raises_what_was_wrong(call):
    with pytest.raises(InputError, match="nowhere"):
        call("--debug", "claims", "nowhere")


@pytest.mark.parametrize("text", ['{"preset": ', "[" * 100_000, "", "[]", '"x"', "\udcff"])
def test_a_broken_plan_is_one_line(call, tmp_path, text):
    (tmp_path / "plan.json").write_bytes(text.encode(errors="surrogateescape"))
    code, _, err = call("tabulate-runs", "--plan", "plan.json", "--out", "runs.csv")
    assert code == 2
    assert err.startswith("prunebench: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs.csv").exists()
