"""The benchmark scripts run: at their smallest size, where their numbers mean nothing."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def script(name):
    """The script as a module: it lies in no package."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("one_thread")
def test_the_training_step_is_measured_on_both_sides(tmp_path, capsys):
    size = ["--image-size", "8", "--width", "0.25", "--batch-size", "8", "--steps", "2", "--blocks", "2"]
    files = ["--csv", str(tmp_path / "rates.csv"), "--json", str(tmp_path / "rates.json")]
    assert script("training_step").main([*size, *files]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-3:]] == ["plain", "prunebench", "ratio"]
    rows = read(tmp_path / "rates.csv")
    assert [row["block"] for row in rows] == ["1", "2"]
    assert all(float(row["prunebench_images_per_s"]) > 0 for row in rows)
    assert len(json.loads((tmp_path / "rates.json").read_text())["ratio"]) == 2


@pytest.mark.usefixtures("one_thread")
def test_streaming_is_measured_for_each_way_to_store_images(tmp_path, capsys):
    files = ["--csv", str(tmp_path / "rates.csv"), "--json", str(tmp_path / "rates.json")]
    assert script("streaming").main(["--images", "6", "--batch-size", "4", "--blocks", "2", *files]) == 0
    names = ["original", "jpeg", "raw"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-3:]] == names
    assert [row["block"] for row in read(tmp_path / "rates.csv")] == ["1", "2"]
    result = json.loads((tmp_path / "rates.json").read_text())
    assert all(rate > 0 for name in names for rate in result["images_per_s"][name])
    assert result["bytes"]["jpeg"] < result["bytes"]["original"] < result["bytes"]["raw"] == 256 * 341 * 3


@pytest.mark.usefixtures("one_thread")
def test_saving_is_measured_on_the_disk_that_is_named(tmp_path, capsys):
    options = ["--networks", "mlp", "--rounds", "2", "--folder", str(tmp_path), "--csv", str(tmp_path / "saving.csv")]
    assert script("saving").main(options) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("mlp ")
    [row] = read(tmp_path / "saving.csv")
    assert int(row["bytes"]) > 4 * 2 * (192 * 64 + 2 * 64 * 64)  # weights and momentum
    assert float(row["save"]) > 0
    assert float(row["interval"]) >= 20
    assert [path.name for path in tmp_path.iterdir()] == ["saving.csv"]


@pytest.mark.usefixtures("one_thread")
def test_the_optimizer_step_is_measured_for_each_optimizer(tmp_path, capsys):
    size = ["--network", "mlp", "--steps", "1", "--blocks", "2"]
    files = ["--csv", str(tmp_path / "seconds.csv"), "--json", str(tmp_path / "seconds.json")]
    assert script("optimizer_step").main([*size, "--no-check", *files]) == 0
    names = ["sgd", "sgd_momentum", "grda", "grda_reference"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-4:]] == names
    assert sorted((row["optimizer"], row["block"]) for row in read(tmp_path / "seconds.csv")) == sorted(
        (name, block) for name in names for block in "12"
    )
    result = json.loads((tmp_path / "seconds.json").read_text())
    assert list(result["bytes"]) == names
    assert set(result["ratio"]) == {*names} - {"grda"}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("limit", "code"), [(1e9, 0), (0.0, 1)])
def test_a_slow_grda_fails_the_benchmark_unless_told_otherwise(monkeypatch, capsys, limit, code):
    module = script("optimizer_step")
    monkeypatch.setattr(module, "LIMITS", {"grda_reference": limit})
    size = ["--network", "mlp", "--steps", "1", "--blocks", "1"]
    assert module.main(size) == code
    assert ("grda takes more than" in capsys.readouterr().err) == bool(code)
    assert module.main([*size, "--no-check"]) == 0


def test_the_ways_to_train_on_a_gpu_are_measured_side_by_side(tmp_path, capsys):
    """On a CPU, where nothing is recorded."""
    size = ["--preset", "smoke", "--tasks", "digits-mlp", "--chains", "2", "--seconds", "0.1", "--minutes", "60"]
    assert script("gpu_steps").main([*size, "--csv", str(tmp_path / "steps.csv")]) == 0
    rows = read(tmp_path / "steps.csv")
    ways = [("eager", "1"), ("recorded", "1"), ("nondeterministic", "1"), ("eager", "2"), ("recorded", "2")]
    assert [(row["way"], row["chains"]) for row in rows] == ways
    assert all(float(row["images_per_s"]) > 0 < float(row["share_of_limit"]) for row in rows)
    assert rows[0]["ratio_to_eager"] == "1.0"
    assert "TFLOP/s in a matrix product in bf16" in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
def test_seeds_in_one_process_are_measured_beside_one(capsys, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    options = ["--preset", "smoke", "--task", "digits-resnet8", "--seeds", "2", "--seconds", "0"]
    assert script("seeds_together").main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" images/s")[0].rsplit(" ", 1)[0].strip() for line in lines[1:3]] == [
        "one seed",
        "2 seeds stacked",
    ]
    assert lines[3].startswith("stacked over one: ")


def test_stacked_seeds_learn_what_each_learns_alone(monkeypatch):
    import torch

    monkeypatch.syspath_prepend(FOLDER)
    of = script("seeds_together")
    workload, job = of.job_of("smoke", "digits-resnet8")
    made = of.networks(workload, job.network, 2, torch.device("cpu"))
    stacked, _ = torch.func.stack_module_state(made)
    images, classes = torch.randn(2, 16, 1, 8, 8), torch.randint(10, (2, 16))
    together = of.detached(stacked)
    of.stepper(made[0], together, {}, many=True)(images, classes)
    for seed, model in enumerate(made):
        alone = of.detached(dict(model.named_parameters()))
        of.stepper(model, alone, {}, many=False)(images[seed], classes[seed])
        for name, weight in alone.items():
            torch.testing.assert_close(together[name][seed], weight, rtol=1e-3, atol=1e-4)


def test_rows_that_would_begin_too_late_are_left_out(tmp_path, capsys):
    options = ["--preset", "smoke", "--tasks", "digits-mlp", "--minutes", "0", "--csv", str(tmp_path / "steps.csv")]
    assert script("gpu_steps").main(options) == 0
    assert "no time left for 9 of 9 rows" in capsys.readouterr().out
    assert read(tmp_path / "steps.csv") == []


def test_everything_for_a_gpu_keeps_to_its_time(tmp_path):
    """`make gpu` with a second for all: each stage is stopped and says so, and what there is stays."""
    environment = os.environ | {"DEVICE": "cpu", "LIMIT": "1", "OUT": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run([FOLDER / "gpu.sh"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if " ended with 124 " in line] == [
        "tests",
        "steps",
        "seeds",
        "plan-smoke",
        "preset",
    ]
    assert {path.name for path in tmp_path.glob("*.log")} == {
        f"{name}.log" for name in ("tests", "steps", "seeds", "plan-smoke", "preset")
    }


def test_stages_for_a_gpu_can_be_left_out_by_name(tmp_path):
    environment = os.environ | {"DEVICE": "cpu", "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}

    def call(skip):
        line, how = [FOLDER / "gpu.sh"], {"capture_output": True, "text": True, "timeout": 60}
        return subprocess.run(line, env=environment | {"SKIP": skip}, **how)

    done = call("tests steps seeds plan-smoke preset")
    assert (done.returncode, done.stdout.count("left out"), [*tmp_path.rglob("*.log")]) == (0, 5, [])
    wrong = call("tests step")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "SKIP names 'step', but the stages are: tests steps seeds plan-smoke preset \n"
