"""What a user adds from outside: a paper in one folder, and a profile, a criterion, an update and a network in one
file. Both run from a preset of the user's to the report."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from prunebench.data.batches import load_prepared

ROOT = Path(__file__).parents[2]

PRESET = """
preset: mine
scale: "mine: bundled digits 8x8; decides no claim"
seeds: [0]

datasets:
  digits: {source: digits, train: 384, validation: 128, test: 256}

tasks:
  digits-two-layers:
    dataset: digits
    network: {kind: two_layers, hidden: 24}
    training: {epochs: 2, batch_size: 64, update: {kind: soft_threshold, momentum: 0.9, threshold: 0.02}}

schedules:
  constant: {profile: {kind: constant}, policy: &fixed {kind: fixed, max_lr: 0.1}, role: benchmark}
  step_decay: {profile: {kind: step_decay, milestones: [0.5]}, policy: *fixed, role: benchmark}
  cyclical: {profile: {kind: cyclical}, policy: *fixed, role: benchmark}
  lr_warmup: {profile: {kind: warmup_step_decay, warmup: 0.5, milestones: [0.5]}, policy: *fixed, role: benchmark}
  s_cyc:
    profile: {kind: cyclical}
    policy: {kind: s_shape, rate: 0.75, delay: 1, eps: 0.1, alpha: 0.13333, beta: 2}
    role: method
  my_schedule: {profile: {kind: sawtooth, teeth: 3}, policy: *fixed, role: method}
"""
IDEAS = (
    PRESET
    + """
plugins: [examples/my_ideas.py]
s_cyc:
  pruning: {rate: 0.75, cycles: 1, score_images: 128}
  accuracy:
    - tasks: [digits-two-layers]
      criteria: [global_squared_gradient]
      schedules: [constant, step_decay, cyclical, lr_warmup, s_cyc, my_schedule]
claims:
  ask: [{like: A3, method: my_schedule}]
  calibration: {tables: 200, seeds: [3]}
"""
)
REWINDING = """
papers: [examples/papers/rewinding]
rewinding: {tasks: [digits-resnet8, digits-mobilenet], schedule: step_decay, sparsities: [0.5, 0.8], rewind_epoch: 1}
"""


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def findings(results):
    return {finding["id"]: finding for finding in json.loads((results / "claims.json").read_text())["findings"]}


@pytest.fixture(scope="module")
def ideas(tmp_path_factory, snakemake):
    """All of it as a user runs it."""
    folder = tmp_path_factory.mktemp("ideas")
    (folder / "mine.yaml").write_text(IDEAS)
    done = snakemake.run(folder, "--cores", "2", config=["preset=mine.yaml"])
    assert done.returncode == 0, done.stdout[-6000:]
    return folder


@pytest.fixture(scope="module")
def rewinding(tmp_path_factory, snakemake):
    """The smoke preset with the three papers of the package left out: their jobs run in test_smoke.py."""
    folder = tmp_path_factory.mktemp("rewinding")
    content = [line for line in (ROOT / "config/smoke.yaml").read_text().split("\n\n") if not line.startswith(KEYS)]
    claims = "claims: {calibration: {tables: 200, seeds: [3]}}\n"
    (folder / "smoke.yaml").write_text("\n\n".join(content) + REWINDING + claims)
    done = snakemake.run(folder, "--cores", "2", config=["preset=smoke.yaml"])
    assert done.returncode == 0, done.stdout[-6000:]
    return folder


KEYS = ("s_cyc:", "cascade:", "directional:", "claims:")


@pytest.mark.long
def test_ideas_of_one_file_are_in_the_tables_the_ledger_and_the_report(ideas):
    results = ideas / "results/mine"
    rows = rows_of(results / "tables/s_cyc_accuracy.csv")
    assert {row["task"] for row in rows} == {"digits-two-layers"}
    assert {row["criterion"] for row in rows} == {"global_squared_gradient"}
    assert {"s_cyc", "my_schedule"} <= {row["schedule"] for row in rows}
    asked = findings(results)["A3:my_schedule"]
    assert asked["headline"]["n"] == 1
    assert "my_schedule" in asked["sentence"]
    calibrated = {row["claim"] for row in rows_of(results / "tables/calibration.csv")}
    assert {"A3", "A3:my_schedule"} <= calibrated
    page = (results / "report.html").read_text()
    assert "A3:my_schedule" in page
    assert (ideas / "figures/mine/s_cyc_accuracy.svg").stat().st_size > 5000


@pytest.mark.long
def test_a_user_s_update_and_its_file_are_in_the_specs(ideas):
    specs = list((ideas / "results/mine/runs").rglob("spec.json"))
    assert specs
    for path in specs:
        content = json.loads(path.read_text())
        assert content["network"] == {"kind": "two_layers", "hidden": 24}
        assert list(content["plugins"]) == ["examples/my_ideas.py"]
        assert content["arms"][0]["phases"][0]["update"]["kind"] == "soft_threshold"


def test_an_unknown_file_of_ideas_or_paper_is_one_line(tmp_path, snakemake):
    (tmp_path / "mine.yaml").write_text(IDEAS.replace("my_ideas.py", "my_idea.py"))
    done = snakemake.dry_run(tmp_path, config=["preset=mine.yaml"])
    assert done.returncode == 1
    assert "my_idea.py" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.long
def test_a_fourth_paper_has_table_figure_claims_calibration_and_a_place_in_the_report(rewinding):
    results = rewinding / "results/smoke"
    rows = rows_of(results / "tables/rewinding_accuracy.csv")
    assert len(rows) == 2 * 2 * 3
    assert {row["way"] for row in rows} == {"fine_tune", "rewind_lr", "rewind_weights"}
    assert all(float(row["difference"]) == 0 for row in rows if row["way"] == "fine_tune")
    assert "\\toprule" in (results / "tables/rewinding_accuracy.tex").read_text()
    assert (rewinding / "figures/smoke/rewinding_accuracy.svg").stat().st_size > 5000
    found = findings(results)
    assert {"D1", "D2"} <= found.keys()
    assert found["D1"]["paper"] == "rewinding"
    assert {"D1", "D2"} <= {row["claim"] for row in rows_of(results / "tables/calibration.csv")}
    page = (results / "report.html").read_text()
    assert 'id="claim-D1"' in page
    assert "Rewinding against fine-tuning" in page


@pytest.mark.long
def test_rewound_weights_and_fine_tuned_ones_start_from_one_pruned_network(rewinding):
    """The three ways of a cell have the same masks: their ends have one sparsity, and other accuracies."""
    [folder] = (rewinding / "results/smoke/runs/rewinding/retrained/digits-resnet8").iterdir()
    ends = rows_of(folder / "phases.csv")
    for sparsity in ("s0.5", "s0.8"):
        cell = [row for row in ends if row["arm"].endswith(sparsity)]
        assert len({row["sparsity"] for row in cell}) == 1
        assert len({row["test_loss"] for row in cell}) == 3


def test_the_fourth_paper_has_at_most_250_lines():
    files = [
        path for path in (ROOT / "examples/papers/rewinding").rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 250


# --- A data set of one file

STRIPES = '''
from dataclasses import dataclass
from pathlib import Path

from prunebench.data import Source, register_source


@register_source("stripes")
@dataclass(frozen=True)
class Stripes(Source):
    """Grey 8x8 images of which one column is white; the column is the class."""

    channels, side, classes = 1, 8, 8

    def read(self, raw_folder, cache):
        import numpy as np
        from prunebench.data.raw import Arrays, Part, Raw

        labels = np.arange(160) % 8
        images = np.zeros((160, 1, 8, 8), dtype=np.uint8)
        images[np.arange(160), 0, :, labels] = 255
        return Raw("stripes", Part(Arrays(images), labels), None, 8, "made here")
'''


def test_a_data_set_of_a_user_s_file_is_prepared_and_its_preset_planned(snakemake, tmp_path):
    (tmp_path / "stripes.py").write_text(STRIPES)
    spec = json.dumps({"source": "stripes", "train": 80, "validation": 20})
    words = [sys.executable, "-m", "prunebench", "prepare-data", "--spec", spec, "--out", "stripes.safetensors"]
    without = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert without.returncode == 2
    assert "unknown source 'stripes'" in without.stderr
    done = subprocess.run([*words, "--plugin", "stripes.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = load_prepared(tmp_path / "stripes.safetensors")
    assert (len(data.train), len(data.validation), len(data.test), data.verified) == (80, 20, 60, False)
    assert torch.equal(data.train.images[:, 0, 0].argmax(1), data.train.labels)
    content = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    content["plugins"] = ["stripes.py"]
    content["datasets"]["mine"] = {"source": "stripes", "train": 80, "validation": 20}
    content["tasks"]["mine"] = content["tasks"]["digits-resnet8"] | {"dataset": "mine"}
    content["s_cyc"]["accuracy"].append({"tasks": ["mine"], "criteria": ["random"], "schedules": ["cyclical"]})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    target = "results/smoke/data/mine.safetensors"
    done = snakemake.dry_run(tmp_path, "--printshellcmds", target, config=("preset=mine.yaml",))
    assert done.returncode == 0, done.stdout
    assert f"prepare-data --plan results/smoke/plan.json --out {target}" in done.stdout
