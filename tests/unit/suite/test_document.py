"""Documents that are generated from the code, of the made-up papers and of the package's."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.schedules import PROFILES
from prunebench.suite import config_docs, document, kept, preset, registry

ROOT = Path(__file__).parents[3]


@pytest.fixture
def toys(only_toys, toy_content, monkeypatch):
    """The made-up papers are those that documents are about."""
    paths = tuple(toy_content()["papers"])
    monkeypatch.setattr(document, "papers", lambda: registry.papers(paths))
    monkeypatch.setattr(config_docs, "preset_model", lambda: preset.preset_model(paths))


def test_every_claim_stands_with_what_is_measured_and_its_rule(toys):
    text = document.claims()
    assert "## Toys (arXiv 0000.00000)" in text
    assert "## Other toys (arXiv 1111.11111, code)" in text
    assert [line for line in text.splitlines() if line.startswith("### ")] == ["### T1", "### T2", "### T3", "### U1"]
    for part in (
        "The toy beats the benchmark. [abstract]",
        "* Rule: Reproduced where the gain lies above 1.0 % (absolute).",
        "  * `time`: time over the benchmark's (decides nothing)",
        "repeated over timing blocks",
        "* Can be asked of another schedule: `claims: {ask: [{like: T1, method: NAME}]}`",
        "* Evidence: `toy_accuracy`",
    ):
        assert part in text
    assert text.count("Can be asked of another") == 2


def test_every_table_stands_with_its_caption_and_columns(toys):
    text = document.tables()
    assert "### toy_accuracy\n\nA row per task.\n" in text
    assert "| `task` | text | task of the preset |" in text
    assert "| `null_reproduced` | share | " in text


def test_every_key_of_a_preset_has_a_meaning(toys):
    text, schema = config_docs.markdown(), json.loads(config_docs.json_schema())
    assert {"Toy", "ToyMargins", "CyclicalConfig", "MlpKindConfig", "SgdConfig"} <= set(schema["$defs"])
    for name, model in {"preset": schema, **schema["$defs"]}.items():
        assert f"## {name}\n" in text
        for key, field in model.get("properties", {}).items():
            assert f"| `{key}` |" in text
            # A kind's keys are told in its class's docstring; a key that only repeats its model's has none.
            if name == "ScheduleConfig" or not name.endswith("Config"):
                assert "$ref" in field or field.get("description"), f"{name}.{key} has no docstring"
            else:
                assert model["description"]


def test_a_kind_stands_once_and_is_linked_where_it_is_allowed(toys):
    text, schema = config_docs.markdown(), json.loads(config_docs.json_schema())
    profile = next(line for line in text.splitlines() if line.startswith("| `profile` "))
    assert "[CyclicalConfig](#cyclicalconfig) or " in profile
    assert text.count("## CyclicalConfig") == 1
    kinds = schema["$defs"]["ScheduleConfig"]["properties"]["profile"]["oneOf"]
    assert {"$ref": "#/$defs/CyclicalConfig"} in kinds
    assert all(kind["$ref"].removeprefix("#/$defs/") in schema["$defs"] for kind in kinds[:-1])
    assert kinds[-1]["enum"] == [*PROFILES]
    assert "| `periods` | number | `1` | see above |" in text
    assert "| `keywords` | object | " in text


def test_the_documents_of_the_repository_are_those_that_the_code_gives(pytestconfig):
    """Stale? Run `prunebench document` (or `make docs`)."""
    documents = document.documents(pytestconfig.rootpath)
    assert {*documents} == {
        *("workflow/schemas/config.schema.json", "config/README.md", "docs/claims.md", "docs/tables.md"),
        *("docs/papers.md", "docs/verdicts.md", "docs/laptop.md", "docs/evening.md", "docs/power.md", "README.md"),
        "docs/commands.md",
    }
    for path, text in documents.items():
        assert (pytestconfig.rootpath / path).read_text() == text, path


# --- Kept runs


@pytest.fixture
def repository(tmp_path):
    """A repository with a README and two kept runs, each of one claim."""
    (tmp_path / "README.md").write_text(f"# Mine\n\n{kept.BEGIN}old\n{kept.END}\nThe end.\n")
    for name, verdict, stability in (("laptop", "inconclusive", None), ("cifar", "reproduced", 0.7)):
        finding = {"id": "A3", "paper": "s_cyc", "sentence": "It | gains.", "verdict": verdict, "stability": stability}
        finding |= {"networks": [{"task": "t", "accuracy": 0.8, "n": 3}], "headline": None, "quantities": []}
        ledger = {"preset": name, "scale": "scaled-down", "seeds": [0, 1], "findings": [finding]}
        folder = tmp_path / "results" / "reference" / name
        folder.mkdir(parents=True)
        (folder / "claims.json").write_text(json.dumps(ledger))
    return tmp_path


def test_the_readme_has_each_kept_runs_verdicts_and_nothing_else_changes(repository):
    text = kept.readme(repository)
    # cifar's is no run of the whole suite
    assert "* **S-Cyc**, 1 claims in the kept `laptop` run of 2 seeds: ? 1 inconclusive." in text
    evening = repository / "results/reference/evening"
    shutil.copytree(repository / "results/reference/cifar", evening)
    later = kept.readme(repository)
    (head,) = [line for line in later.splitlines() if line.startswith("* **S-Cyc**")]
    assert head.endswith("1 claims in the kept `evening` run of 2 seeds: all decided.")
    assert "\n  * ✓ reproduced, narrowly (70 %): It | gains.\n" in later
    shutil.rmtree(evening)
    assert text.startswith("# Mine\n\n<!-- verdicts")
    assert text.endswith("<!-- end of verdicts -->\n\nThe end.\n")
    (repository / "README.md").write_text(text)
    assert kept.readme(repository) == text


def test_kept_runs_stand_side_by_side(repository):
    text = kept.verdicts(repository)
    (row,) = [line for line in text.splitlines() if line.startswith("| A3 |") and "inconclusive | ✓" in line]
    assert row.endswith("| ? inconclusive | ✓ reproduced, narrowly (70 %) |")
    assert "| A1 |" in text  # a claim that no kept ledger has, as those of an older version
    assert "`laptop`: t 80.0 %. `cifar`: t 80.0 %." in text


def test_a_readme_without_the_marks_is_refused(repository):
    (repository / "README.md").write_text(f"{kept.BEGIN}and no end")
    with pytest.raises(InputError, match=r"README\.md lacks the line <!-- end of verdicts -->"):
        kept.readme(repository)


def test_the_power_of_a_preset_is_that_of_its_pilots_noise(repository):
    tables = repository / "results/reference/laptop/tables"
    tables.mkdir()
    head = "claim,n,noise,claimed_reproduced,seeds_for_80,claimed_effect,noise_from"
    of_a3 = ("A3,3,independent,0.25,8,much,x", "A3,10,independent,0.93,8,much,x", "A3,10,heavy-tailed,0.5,8,much,x")
    (tables / "calibration.csv").write_text("\n".join([head, *of_a3, "A4,,,,,,not measured"]) + "\n")
    lines = kept.power(repository).splitlines()
    assert "| A3 | much | 25 % | 93 % | 8 |" in lines
    assert "| A4 | not measured | n/a | n/a | n/a |" in lines


def test_what_a_preset_says_of_longer_training_is_what_the_kept_runs_reached():
    evening, longer = (preset.load_preset(ROOT / f"config/{name}.yaml") for name in ("evening", "longer"))
    runs = pd.read_csv(ROOT / "results/reference/longer/runs.csv").groupby("task")["test_accuracy"].mean()
    assert {*evening.longer} == {*evening.tasks} == {name for name in runs.index if f"{name}-x4" in runs}
    for name, stated in evening.longer.items():
        epochs = longer.tasks[f"{name}-x4"].training.epochs
        assert stated.schedule in longer.schedules
        assert stated.epochs == epochs == 4 * evening.tasks[name].training.epochs
        assert stated.accuracy == pytest.approx(runs[f"{name}-x4"], abs=5e-4)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("reproduced", "**1 of 1 verdicts are the same**;\n70 % was the forecast"),
        ("inconclusive", "**0 of 1 verdicts are the same**;\n70 % was the forecast"),
        ("not reproduced", "and 1 is the opposite."),
        ("not run at this scale", None),
    ],
)
def test_verdicts_stand_beside_those_of_a_repeat_with_other_seeds(repository, verdict, words):
    reference = repository / "results/reference"
    shutil.copytree(reference / "cifar", reference / "evening")
    assert "With other seeds" not in kept.figures(repository, "evening")
    ledger = json.loads((reference / "evening/claims.json").read_text())
    ledger["seeds"] = [2, 3, 4]
    ledger["findings"][0] |= {"verdict": verdict, "stability": 0.6}
    (reference / "evening-again").mkdir()
    (reference / "evening-again/claims.json").write_text(json.dumps(ledger))
    text = kept.figures(repository, "evening")
    if words is None:
        assert "With other seeds" not in text
        return
    assert "S-Cyc ran again with 3 other seeds" in text
    assert words in text
    assert "| | seeds 0 to 1 | seeds 2 to 4 |" in text.replace("|  |", "| |")
    assert "With other seeds" not in kept.figures(repository, "laptop")


def test_a_network_s_accuracy_stands_beside_what_it_reaches_trained_longer(repository):
    reference = repository / "results/reference"
    shutil.copytree(reference / "cifar", reference / "evening")
    assert "How far from fully trained" not in kept.figures(repository, "evening")
    (reference / "longer").mkdir()
    reached = {"t": (0.80, 0.82, 0.84), "t-x2": (0.82, 0.83, 0.85), "t-x4": (0.83, 0.85, 0.87)}
    rows = [f"dense,{task},{seed},{share}" for task, of in reached.items() for seed, share in enumerate(of)]
    lines = ["study,task,seed,test_accuracy", *rows, "s_cyc,t,0,0.1"]
    (reference / "longer/runs.csv").write_text("\n".join(lines) + "\n")
    text = kept.figures(repository, "evening")
    assert "paired by seed (n = 3)" in text
    assert "| t | 82.0 | 83.3 | 85.0 | +3.0 [+3.0, +3.0] |" in text.splitlines()
    assert "How far" not in kept.figures(repository, "laptop")
