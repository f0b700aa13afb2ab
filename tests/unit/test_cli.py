"""The command line: help, one line and exit code 2 for bad input, specs as JSON and as files."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from prunebench import __version__, cli
from prunebench.config import ChainSpec

VERBS = [
    *("version", "prepare-data", "train-dense", "train-chain", "retrain", "search-max-lr", "select-max-lr"),
    *("train-trajectories", "connect-minima", "measure-curvature", "run-toy", "time-optimizers", "compare-masks"),
    *("tabulate-s-cyc", "tabulate-cascade", "tabulate-directional", "tabulate-runs"),
    *("draw-s-cyc", "draw-cascade", "draw-directional", "judge-claims", "claims", "calibrate", "draw-calibration"),
    *("write-report", "compare", "document-config"),
]
CHAIN = {
    "study": "s_cyc",
    "task": "digits-mlp",
    "dataset": "digits",
    "network": {"kind": "mlp", "width": 0.25},
    "training": {"epochs": 1, "batch_size": 32, "precision": "fp32"},
    "augmentation": {},
    "pruning": {"rate": 0.5, "cycles": 1},
    "criterion": "global_magnitude",
    "seed": 0,
    "schedule_name": "cyclical",
    "schedule": {
        "profile": {"kind": "cyclical"},
        "policy": {"kind": "fixed", "max_lr": 0.1},
    },
    "gradients": {"images": 32, "at": [0.5, 1.0]},
}
DENSE = {key: CHAIN[key] for key in ("task", "dataset", "network", "training", "augmentation", "seed")} | {
    "study": "dense",
    "recipe": "cyclical",
    "profile": {"kind": "cyclical"},
    "max_lr": 0.1,
    "keep": [],
}
PHASE = {"epochs": 1, "profile": {"kind": "constant"}, "max_lr": 0.1, "weight_decay": 0.1, "profile_epochs": 1}
PRUNE = {"kind": "sparsity", "criterion": "global_magnitude", "sparsity": 0.5}
ARMS = {key: CHAIN[key] for key in ("task", "dataset", "network", "training", "augmentation", "seed")} | {
    "study": "cascade",
    "part": "criteria",
    "batch": 0,
    "dense": DENSE,
    "arms": [
        {"name": "a", "axes": {"sparsity": 0.5}, "phases": [PHASE | {"prune": [PRUNE]}]},
        {"name": "b", "axes": {"sparsity": 0.5}, "phases": [PHASE | {"prune": [PRUNE | {"criterion": "random"}]}]},
    ],
    "measure": {"masks": True, "shedding": True, "below": 0.05},
}
CONSTANT = {"kind": "constant"}
ENDS = ["sgd", "sgd_order", "sgd_init", "grda"]
SGD = {"kind": "sgd", "momentum": 0, "weight_decay": 0}
RUN = {key: CHAIN[key] for key in ("task", "dataset", "network", "training", "augmentation", "seed")}
RUN |= {"study": "directional"}
MINIMA = RUN | {
    "part": "minima",
    "arms": [
        {"name": name, "axes": {"method": name}, "order": nth, "epochs": 1, "profile": CONSTANT, "max_lr": 0.1}
        | {"update": {"kind": "grda", "c": 0.1, "mu": 0.6} if name == "grda" else SGD}
        for nth, name in enumerate(ENDS)
    ],
}
BASELINES = MINIMA | {"part": "baselines", "minima": MINIMA, "arms": [MINIMA["arms"][0] | {"start": "sgd"}]}
CONNECT = RUN | {
    "minima": MINIMA,
    "reference": "grda",
    "connectivity": {"epochs": 1, "max_lr": 0.1, "profile": CONSTANT, "points": 3},
}
CURVATURE = RUN | {"minima": MINIMA, "reference": "grda", "curvature": {"epochs": [1], "k": [2]}}
TOY = {"problem": "network", "seeds": [0], "gamma": [0.1, 0.05], "t": 1, "c": 0.1, "mu": 0.6}


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Calls the console command in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERMINAL_WIDTH", "200")

    torch_threads = torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capfd.readouterr()

    yield run
    # What a training verb sets for its whole process, other tests must not inherit.
    torch.set_flush_denormal(False)
    torch.set_num_threads(torch_threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.safetensors"
    spec = json.dumps({"source": "digits", "train": 64, "validation": 32, "test": 32})
    subprocess.run([sys.executable, "-m", "prunebench", "prepare-data", "--spec", spec, "--out", path], check=True)
    return path


def test_the_list_of_verbs_here_is_whole():
    names = {command.name or command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands}
    assert names == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(call, verb):
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert f"prunebench {verb}" in out
    assert len(out.splitlines()) > 4


def test_the_overview_names_every_verb(call):
    code, out, _ = call("--help")
    assert code == 0
    assert all(f" {verb} " in out for verb in VERBS)


def test_version(call):
    assert call("version") == (0, f"{__version__}\n", "")


OUT = ["--data", "none.safetensors", "--out", "out"]
NOT_THERE = "No such file or directory"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train-chain", "--spec", "{}", *OUT], "--spec: 'study': field required"),
        (["train-chain", "--spec", '{"sed": 1}', *OUT], "--spec: unknown key 'sed': did you mean 'seed'? allowed: "),
        (["train-chain", "--spec", "{x", *OUT], "not JSON: "),
        (["train-chain", "--spec", "none.json", *OUT], f"none.json: {NOT_THERE}"),
        (["train-chain", "--spec", "", *OUT], "Is a directory"),
        (["train-chain", "--spec", "x" * 5000, *OUT], "x: File name too long"),
        (["train-chain", "--spec", json.dumps(CHAIN), *OUT], f"cannot read none.safetensors: {NOT_THERE}"),
        (["train-chain", "--spec", json.dumps(CHAIN | {"criterion": "lampp"}), *OUT], "did you mean 'lamp'?"),
        (
            ["train-chain", "--spec", json.dumps(CHAIN), *OUT, "--start", "x"],
            "--start belongs to a chain whose spec names a dense network, and to no other",
        ),
        (
            ["train-chain", "--spec", json.dumps(CHAIN | {"dense": DENSE}), *OUT],
            "--start belongs to a chain whose spec names a dense network, and to no other",
        ),
        (["search-max-lr", "--spec", json.dumps(CHAIN), *OUT], "--spec: unknown key 'schedule_name': "),
        (["train-dense", "--spec", json.dumps(CHAIN), *OUT], "--spec: unknown key 'pruning': "),
        (["train-dense", "--spec", json.dumps(DENSE), *OUT], f"cannot read none.safetensors: {NOT_THERE}"),
        (["train-dense", "--spec", json.dumps(DENSE | {"keep": ["x"]}), *OUT], "--spec: 'keep.0': "),
        (["retrain", "--spec", json.dumps(DENSE), *OUT, "--start", "x"], "--spec: unknown key 'recipe': "),
        (["retrain", "--spec", json.dumps(ARMS | {"arms": []}), *OUT, "--start", "x"], "--spec: 'arms': "),
        (["retrain", "--spec", json.dumps(ARMS), *OUT, "--start", "x"], f"cannot read none.safetensors: {NOT_THERE}"),
        (["train-trajectories", "--spec", json.dumps(MINIMA), *OUT], f"cannot read none.safetensors: {NOT_THERE}"),
        (["train-trajectories", "--spec", json.dumps(MINIMA), *OUT, "--start", "x"], "--start belongs to a job whose"),
        (["train-trajectories", "--spec", json.dumps(BASELINES), *OUT], "--start belongs to a job whose spec names"),
        (
            ["train-trajectories", "--spec", json.dumps(BASELINES | {"minima": None}), *OUT],
            "start of arm sgd is 'sgd', which is no arm of its minima",
        ),
        (["connect-minima", "--spec", json.dumps(CURVATURE), *OUT, "--start", "x"], "unknown key 'curvature'"),
        (["measure-curvature", "--spec", json.dumps(CONNECT), *OUT, "--start", "x"], "unknown key 'connectivity'"),
        (["run-toy", "--spec", json.dumps(TOY | {"mu": 0.5}), "--out", "x"], "mu is 0.5; allowed: > 0.5 and < 1"),
        (["time-optimizers", "--spec", json.dumps(TOY), "--out", "x"], "--spec: unknown key 'problem'"),
        (["compare-masks", "none", "--out", "x.csv"], "none/spec.json is not of a job that keeps its masks"),
        (["prepare-data", "--spec", '{"source": "digit"}', "--out", "x"], "'source' is 'digit': did you mean 'digits'"),
        (
            ["prepare-data", "--spec", '{"source": "digits", "train": 5000, "validation": 1}', "--out", "x"],
            "digits has 1797 images: train 5000",
        ),
        (["select-max-lr", "none", "--out", "x"], f"none/candidates.csv: {NOT_THERE}"),
        (["tabulate-s-cyc", "--plan", "none", "--runs", "r", "--out", "x"], f"none: {NOT_THERE}"),
        (["tabulate-cascade", "--plan", "none", "--runs", "r", "--out", "x"], f"none: {NOT_THERE}"),
        (["tabulate-runs", "--plan", "none", "--runs", "r", "--out", "x"], f"none: {NOT_THERE}"),
        (["draw-s-cyc", "--tables", "none", "--out", "x"], "none"),
        (["tabulate-directional", "--plan", "none", "--runs", "r", "--out", "x"], f"none: {NOT_THERE}"),
        (["draw-cascade", "--tables", "none", "--out", "x"], "none"),
        (["draw-directional", "--tables", "none", "--out", "x"], "none"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path, words, message):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith("prunebench: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], "nope"),
        (["train-chain"], "--spec"),
        (["train-chain", "--bogus", "1"], "--bogus"),
        (["train-chain", "--spec", "{}", *OUT, "--threads", "0"], "--threads"),
        (["train-chain", "--spec", "{}", *OUT, "--save-every", "-1"], "--save-every"),
        (["retrain", "--spec", "{}", *OUT], "--start"),
        (["compare-masks", "--out", "x"], "folders"),
    ],
)
def test_a_misused_option_names_itself_without_a_traceback(call, words, message):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 5


def test_debug_shows_the_traceback(tmp_path):
    words = ["train-chain", "--spec", "{}", *OUT]
    command = [sys.executable, "-m", "prunebench"]
    plain = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path)
    debug = subprocess.run([*command, "--debug", *words], capture_output=True, text=True, cwd=tmp_path)
    assert plain.returncode == 2
    assert plain.stderr == "prunebench: --spec: 'study': field required\n"
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
    assert "'study': field required" in debug.stderr


@pytest.mark.parametrize("text", ['{"preset": ', "[" * 100_000, "", "[]", '"x"', "\udcff"])
def test_a_broken_plan_is_one_line(call, tmp_path, text):
    (tmp_path / "plan.json").write_bytes(text.encode(errors="surrogateescape"))
    code, _, err = call("tabulate-runs", "--plan", "plan.json", "--runs", "runs", "--out", "runs.csv")
    assert code == 2
    assert err.startswith("prunebench: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "runs.csv").exists()


START_UP = """
import sys
from prunebench.cli import app
try:
    app(sys.argv[1:])
finally:
    heavy = ("torch._dynamo", "torch._inductor", "torchvision", "pandas", "matplotlib", "scipy", "sklearn")
    print("HEAVY", [name for name in heavy if name in sys.modules])
"""


def test_a_training_job_takes_its_spec_either_way_and_imports_only_what_it_needs(data, tmp_path):
    """Start-up is most of a small job: torch._dynamo alone would double it."""
    (tmp_path / "spec.json").write_text(json.dumps(CHAIN, indent=1))
    logs = []
    for name, spec in (("a", json.dumps(CHAIN)), ("b", "spec.json")):
        words = ["train-chain", "--spec", spec, "--data", data, "--out", name]
        done = subprocess.run(
            [sys.executable, "-c", START_UP, *words], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stderr
        logs.append(done.stdout.splitlines())
    assert logs[0][-1] == "HEAVY []"
    assert logs[0] == logs[1]
    assert any(line.startswith("cycle 1 epoch 0: loss ") for line in logs[0])
    written = json.loads((tmp_path / "a/spec.json").read_text())
    assert ChainSpec.model_validate(written) == ChainSpec.model_validate(CHAIN)
    for path in sorted((tmp_path / "a").iterdir()):
        if path.name not in ("cost.csv", "provenance.json"):
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_from_a_dense_network_to_the_overlap_of_masks_by_hand(call, data, tmp_path):
    """Each verb after the one that it needs, with nothing between them but files; nothing heavy is imported."""
    runs = {
        "dense": ["train-dense", "--spec", json.dumps(DENSE), "--data", data],
        "chain": [
            *("train-chain", "--spec", json.dumps(CHAIN | {"dense": DENSE, "gradients": None}), "--data", data),
            *("--start", "dense/network.safetensors"),
        ],
        "arms": ["retrain", "--spec", json.dumps(ARMS), "--data", data, "--start", "dense/network.safetensors"],
    }
    for out, words in runs.items():
        done = subprocess.run(
            [sys.executable, "-c", START_UP, *map(str, words), "--out", out],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert call("compare-masks", "arms", "--out", "overlap.csv") == (0, "", "")
    assert (tmp_path / "overlap.csv").read_text().splitlines()[1].startswith("0.5,a,0,b,0,")
    other = DENSE | {"seed": 1}
    wrong = ["--spec", json.dumps(ARMS | {"dense": other}), "--start", "dense/network.safetensors"]
    code, _, err = call("retrain", *wrong, "--data", data, "--out", "wrong")
    assert (code, err) == (
        2,
        "prunebench: dense/network.safetensors is another network than dense/digits-mlp/cyclical/seed-1\n",
    )
    assert not (tmp_path / "wrong").exists()


def test_from_minima_to_curves_and_curvature_by_hand(call, data, tmp_path):
    """Each verb after the one that it needs; only the eigenvalue solver loads more than torch."""
    start = ["--data", data, "--start", "minima/networks.safetensors"]
    runs = {
        "minima": (["train-trajectories", "--spec", json.dumps(MINIMA), "--data", data], "[]"),
        "baselines": (["train-trajectories", "--spec", json.dumps(BASELINES), *start], "[]"),
        "curves": (["connect-minima", "--spec", json.dumps(CONNECT), *start], "[]"),
        "curvature": (["measure-curvature", "--spec", json.dumps(CURVATURE), *start], "['scipy']"),
        "toy": (["run-toy", "--spec", json.dumps(TOY)], "[]"),
    }
    for out, (words, heavy) in runs.items():
        done = subprocess.run(
            [sys.executable, "-c", START_UP, *map(str, words), "--out", out],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"HEAVY {heavy}"
        assert (tmp_path / out / "provenance.json").exists()
    other = {"minima": MINIMA | {"seed": 1}}
    for verb, spec in (
        ("connect-minima", CONNECT),
        ("measure-curvature", CURVATURE),
        ("train-trajectories", BASELINES),
    ):
        code, _, err = call(verb, "--spec", json.dumps(spec | other), *start, "--out", "wrong")
        named = "directional/digits-mlp/minima/seed-1"
        assert code == 2
        assert err == f"prunebench: minima/networks.safetensors holds other networks than {named}\n"
    assert not (tmp_path / "wrong").exists()


def test_the_documents_are_generated_where_they_are_wanted(call, tmp_path):
    places = ("--schema", "a/schema.json", "--readme", "a/README.md", "--claims", "a/claims.md")
    assert call("document-config", *places)[0] == 0
    assert (tmp_path / "a/claims.md").read_text().startswith("# Claims")
    assert json.loads((tmp_path / "a/schema.json").read_text())["title"] == "Preset"
    assert (tmp_path / "a/README.md").read_text().startswith("# Configuration")
