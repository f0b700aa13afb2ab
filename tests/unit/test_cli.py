"""The command line: help, and one line with exit code 2 for bad input."""

import codecs
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from prunebench import __version__, cli
from prunebench.errors import InputError

CONFIG = Path(__file__).parents[2] / "config"

KEPT = str(CONFIG.parent / "results/reference/laptop")

VERBS = [
    *(
        "claims",
        "runs",
        "show",
        "compare",
        "calibrate",
        "export",
        "clean",
        "plan",
        "doctor",
        "new",
        "run",
        "weigh",
        "do",
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
def test_every_verb_has_help_with_an_example_that_is_a_call_of_it(call, verb):
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert f"prunebench {verb}" in out
    assert len(out.splitlines()) > 4
    example = " ".join(out.partition("Example: ")[2].split())
    assert example.startswith(f"prunebench {verb} ")
    assert example == cli.EXAMPLES[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_the_words_of_an_example_are_a_command(verb):
    """No option is unknown, none is missing: the verb itself is not called."""
    from typer.main import get_command

    command = get_command(cli.app)
    words = shlex.split(cli.EXAMPLES[verb])[1:]
    with command.make_context("prunebench", words, resilient_parsing=False) as context:
        name, verb_command, rest = command.resolve_command(context, words)
        assert name == verb
        verb_command.make_context(name, rest, parent=context)


def test_verbs_for_people_come_first_and_those_of_the_workflow_apart(call):
    _, out, _ = call("--help")
    people, workflow = out.index(cli.PEOPLE), out.index(cli.WORKFLOW)
    assert people < workflow
    for name in ("claims", "runs", "show", "compare", "calibrate", "export", "clean", "plan", "doctor"):
        assert people < out.index(f" {name} ") < workflow, name
    for name in ("prepare-data", "tabulate", "draw", "judge-claims", "write-report", "document"):
        assert out.index(f" {name} ") > workflow, name


def test_the_overview_names_every_verb_and_a_version(call):
    code, out, _ = call("--help")
    assert code == 0
    assert all(f" {verb} " in out for verb in VERBS)
    assert call("--version") == (0, f"{__version__}\n", "")


SPEC = ["do", "out", "--spec", "spec.json"]


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        (SPEC, "{}", "spec.json: 'folder': field required"),
        (SPEC, '{"sed": 1}', "unknown key 'sed': did you mean 'seed'?"),
        (SPEC, "{x", "JSON"),
        (["do", "out", "--spec", "none.json"], "", "none.json: No such file or directory"),
        (["do", "out"], "", "--plan or from --spec"),
        (["do", "out", "--plan", "none.json"], "", "none.json"),
        (["claims", "nowhere"], "", "nowhere"),
        (["plan", "nowhere"], "", "nowhere.yaml: No such file or directory"),
        (["plan", "x", "--cores", "2", "--gpus", "1"], "", "give one of them"),
        (["plan", "x", "--cores", "2"], "", "need hours"),
        (["plan", "x", "--save", "x.csv"], "", "--probe --save"),
        (["plan", "x", "--machine", "x.csv", "--probe"], "", "--probe --save"),
        ([*SPEC, "--job", "os"], '{"a": 1}', "--job 'os' is no `module:function`"),
        ([*SPEC, "--job", "no.such:job"], '{"a": 1}', "--job 'no.such:job' is no `module:function`"),
        ([*SPEC, "--job", "os:getcwd"], '{"a": 1}', "does no job"),
        ([*SPEC, "--job", "os:name"], '{"a": 1}', "does no job"),
        (["prepare-data", "--spec", "{", "--out", "out/x"], "", "--spec is not JSON"),
        (["prepare-data", "--spec", "[" * 9999, "--out", "out/x"], "", "--spec is not JSON"),
        (["prepare-data", "--spec", '{"source": "digts"}', "--out", "out/x"], "", "did you mean 'digits'?"),
        (["prepare-data", "--spec", "{}", "--plugin", "no.py", "--out", "out/x"], "", "no.py: no such file"),
        (["claims", "x" * 5000], "", "File name too long"),
        (["compare", "nowhere", "elsewhere"], "", "nowhere"),
        (["claims", KEPT, "A33"], "", "no claim 'A33' in laptop: did you mean 'A3'?"),
        (["claims", f"{KEPT[:-1]}"], "", "no such folder; did you mean 'laptop'?"),
        (["runs", "nowhere"], "", "nowhere: no such folder"),
        (["runs", "."], "", ". holds no results"),
        (["runs", KEPT, "--state", "dune"], "", "no state 'dune': did you mean 'done'?"),
        (["show", "nowhere"], "", "nowhere: no such folder"),
        (["show", f"{KEPT}/tables"], "", "is no job's folder"),
        (["export", "nowhere", "--out", "out"], "", "nowhere: no such folder"),
        (["export", KEPT, "--out", "."], "", "is not empty and holds no export"),
        (["clean", "nowhere"], "", "nowhere: no such folder"),
        (["clean", KEPT], "", "kept folder"),
        (["clean", KEPT, "--yes"], "", "give --what"),
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plam"], "no such command 'plam'. Did you mean 'plan'"),
        (["claims", "--markdwn"], "no such option: --markdwn"),
        (["claims", "a", "b", "c"], "got unexpected extra argument"),
        (["plan"], "missing argument 'preset' (`prunebench plan --help`)"),
        (["draw", "s_cyc"], "missing option '--plan' (`prunebench draw --help`)"),
        (["plan", "x", "--cores", "many"], "invalid value for '--cores'"),
        (["plan", "x", "--seconds"], "option '--seconds' requires an argument"),
        (["claims", "--markdown=3"], "option '--markdown' does not take a value"),
        (["claims", "--\x1b[2J\n"], "no such option: --"),
    ],
)
def test_words_that_are_no_command_are_one_line_too(call, words, message):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"prunebench: {message}")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


def test_no_words_at_all_are_answered_with_the_overview(call):
    assert call() == call("--help")


def test_an_unknown_paper_is_named_with_those_there_are(call, tmp_path):
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


# --- TensorBoard


@pytest.mark.parametrize("wanted", [False, True])
def test_a_job_that_trains_writes_event_files_where_the_preset_says_so(tmp_path, monkeypatch, wanted):
    from prunebench.runs import events
    from prunebench.runs.engine import train
    from prunebench.suite.plan import make_plan
    from prunebench.suite.preset import load_preset

    monkeypatch.setattr(events, "find_spec", lambda name: True)
    preset = load_preset(CONFIG / "smoke.yaml", {"resources": {"tensorboard": wanted}})
    plan = tmp_path / "plan.json"
    plan.write_text(preset.model_dump_json())
    made = make_plan(preset)
    dense, toy = made.dense.jobs[0], next(job for job in made.jobs() if not hasattr(job, "arms"))
    _, function, _, _ = cli._planned(plan, tmp_path / "runs" / dense.folder, "")
    assert (function is train) is not wanted
    _, other, _, _ = cli._planned(plan, tmp_path / "runs" / toy.folder, "")
    assert other.__module__ != events.__name__


def test_where_tensorboard_is_missing_a_job_says_so_in_one_line(call, tmp_path, monkeypatch):
    from prunebench.runs import events
    from prunebench.suite.plan import make_plan
    from prunebench.suite.preset import load_preset

    monkeypatch.setattr(events, "find_spec", lambda name: None)
    preset = load_preset(CONFIG / "smoke.yaml", {"resources": {"tensorboard": True}})
    (tmp_path / "plan.json").write_text(preset.model_dump_json())
    folder = make_plan(preset).dense.jobs[0].folder
    code, _, err = call("do", f"runs/{folder}", "--plan", "plan.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'prunebench[tensorboard]'" in err


# --- JSON


def of_kept(call, *words):
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_what_verbs_for_people_print_is_there_as_json(call):
    ledger = of_kept(call, "claims", KEPT, "--json")
    assert [finding["id"] for finding in ledger["findings"]][:3] == ["A1", "A1b", "A2"]
    claim = of_kept(call, "claims", KEPT, "A3", "--json")
    assert claim == next(finding for finding in ledger["findings"] if finding["id"] == "A3")
    jobs = of_kept(call, "runs", KEPT, "--json")
    assert sum(jobs["counts"].values()) == len(jobs["jobs"])
    assert jobs["counts"]["kept"] == sum(job["state"] == "kept" for job in jobs["jobs"]) > 100
    compared = of_kept(call, "compare", KEPT, KEPT, "--json")
    verdicts = [row for row in compared["rows"] if row.get("what") == "verdict"]
    assert len(verdicts) == len(ledger["findings"])
    assert {row["note"] for row in verdicts} == {"same"}


def test_one_claim_in_full_has_its_rule_conditions_and_cells(call):
    code, out, err = call("claims", KEPT, "A3")
    assert (code, err) == (0, "")
    for part in ("A3 not reproduced", "Rule: ", "Refuted where", "93.75 %", "mean over cells", "s_cyc_accuracy"):
        assert part in " ".join(out.split()), part
    assert "A4" not in out


def test_runs_of_a_state_are_paths_one_a_line(call):
    code, out, _ = call("runs", KEPT, "--state", "kept")
    assert code == 0
    assert all(line.startswith(f"{KEPT}/runs/") for line in out.splitlines())
    assert len(out.splitlines()) > 100


def test_an_export_lists_its_files(call, tmp_path):
    code, out, _ = call("export", KEPT, "--out", "out")
    assert code == 0
    assert {Path(line).name for line in out.splitlines()} == {path.name for path in (tmp_path / "out").iterdir()}


# --- Wrong input is found before what is slow to import

WRONG = [
    "plan nowhere",
    "plan smoke --config seeds=[0,0]",
    "plan smoke --machine none.csv",
    "run out --spec none.json",
    "run out --spec {}.json",
    "run out --plan none.json",
    "run out --plan plan.json",
    "run runs/dense/x --plan plan.json",
    "prepare-data --spec {x --out out/x",
    'prepare-data --spec {"source":"digts"} --out out/x',
    "tabulate s_cic --plan plan.json --out out",
    "tabulate s_cyc --plan plan.json --out out",
    "tabulate-runs --plan plan.json --out out.csv",
    "draw s_cic --plan plan.json --tables . --out out",
    "draw s_cyc --plan plan.json --tables . --out out",
    "judge-claims --plan {}.json --out out",
    "write-report . --figures . --out {}.json/x",
    "calibrate . --out out",
    "compare . .",
    "claims .",
    "runs nowhere",
    "show .",
    "export . --out out",
    "clean .",
]

ASK = """
import shlex, sys
from prunebench import cli
for line in sys.stdin.read().splitlines():
    sys.argv = ["prunebench", *line.split()]
    try:
        cli.main()
    except SystemExit as end:
        print(end.code, *(name for name in ("torch", "torchvision", "sklearn") if name in sys.modules), flush=True)
"""


def test_wrong_input_is_found_before_torch_is_imported(tmp_path):
    """Every verb that may need torch, one after another in a fresh process."""
    from prunebench.suite.preset import load_preset

    (tmp_path / "config").symlink_to(CONFIG)
    (tmp_path / "{}.json").write_text("{}")
    (tmp_path / "plan.json").write_text(load_preset(CONFIG / "smoke.yaml").model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", ASK], input="\n".join(WRONG), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "2\n" * len(WRONG), done.stdout + done.stderr
    assert done.stderr.count("\n") == len(WRONG)
    assert {path.name for path in tmp_path.iterdir()} == {"config", "{}.json", "plan.json"}


# --- Terminals

LAPTOP = CONFIG.parent / "results/reference/laptop"


def command(*words, **how):
    return subprocess.run([sys.executable, "-m", "prunebench", *words], stderr=subprocess.PIPE, timeout=300, **how)


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda settings: " ".join(settings.values()),
)
def test_a_terminal_without_unicode_gets_plain_signs(settings):
    """Of a verdict no letter is lost, and `?` stays the sign of what is undecided."""
    words = ["claims", LAPTOP] if "LC_ALL" in settings else ["claims", LAPTOP, "--markdown"]
    done = command(*words, stdout=subprocess.PIPE, env=os.environ | settings)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(settings.get("PYTHONIOENCODING", "ascii"))
    assert "x A1 " in text or "x not reproduced" in text
    assert "+ B8 " in text or "+ reproduced" in text
    assert "[-0.93, +0.81] points" in text


def test_letters_that_an_encoding_lacks_are_spelt_out():
    assert "✓ ✗ – × − é ß 漢".encode("ascii", "prunebench-plainly") == b"+ x - x - e ? ?"
    assert "× é ✓".encode("latin-1", "prunebench-plainly") == b"\xd7 \xe9 +"
    with pytest.raises(AssertionError):
        codecs.lookup_error("prunebench-plainly")(UnicodeDecodeError("ascii", b"x", 0, 1, ""))


def test_a_closed_pipe_is_no_fault_of_ours():
    """As behind `| head -1`: no word is said, and the exit code tells that not all was read."""
    read, write = os.pipe()
    os.close(read)
    done = command("claims", LAPTOP, "--markdown", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device without room")
def test_no_room_for_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = command("claims", LAPTOP, "--markdown", stdout=full)
    assert done.returncode == 2
    assert done.stderr.decode() == "prunebench: [Errno 28] No space left on device\n"
