"""The ledger: from observations to verdicts, seeds needed and files; incomplete results give a ledger that says so."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from s_cyc_runs import made_preset, write_made_runs

from prunebench.claims.claim import OBSERVATION, sample
from prunebench.claims.ledger import CLAIMS, COLUMNS, VERDICTS, judge, observe, summary, write_ledger
from prunebench.claims.numbers import effect, number
from prunebench.claims.record import read_ledger
from prunebench.claims.terminal import markdown, print_ledger
from prunebench.config import load_preset
from prunebench.errors import InputError
from prunebench.studies import cascade_names, directional_names, s_cyc_names

IDS = [
    *("A1", "A1b", "A2", "A3", "A4", "A5", "A6", "A7"),
    *("B1", "B1c", "B2", "B3", "B4", "B5a", "B5b", "B6", "B7", "B8", "B9"),
    *("C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9"),
]
STUDIES = (s_cyc_names, cascade_names, directional_names)


def observed(gains, claim="A3"):
    """Observations of one quantity: by cell a list over seeds."""
    rows = [(claim, "gain", cell, seed, value) for cell, values in gains.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=list(OBSERVATION))


def found(ledger, claim="A3"):
    return next(finding for finding in ledger["findings"] if finding["id"] == claim)


def test_every_claim_of_the_three_abstracts_has_a_rule_and_evidence_that_exists():
    assert [claim.id for claim in CLAIMS] == IDS
    tables = {
        name for names in (s_cyc_names, cascade_names, directional_names) for name in (*names.TABLES, *names.DATA)
    }
    figures = {name for names in (s_cyc_names, cascade_names, directional_names) for name in names.FIGURES}
    preset = made_preset()
    for claim in CLAIMS:
        margins = getattr(preset.claims, claim.paper)
        assert "{" not in claim.rule_in_words(margins)
        assert set(claim.tables) <= tables
        assert set(claim.figures) <= figures
        assert claim.mark == "[abstract]" or claim.mark.startswith("(implied")
        assert claim.published
        quantities = {quantity.name for quantity in claim.quantities}
        cells = {name: [] for name in quantities}
        assert claim.headline in {"", None, *quantities}
        for quantity in claim.quantities:
            assert all(math.isfinite(value) for value in quantity.margins(margins))
        for scenario in (claim.no_effect(margins, cells), claim.claimed(margins, cells)):
            assert set(scenario) <= quantities


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"a": [0.02, 0.021, 0.022], "b": [0.03, 0.031, 0.029]}, "reproduced"),
        ({"a": [0.0, 0.001, 0.002], "b": [0.001, 0.0, -0.001]}, "not reproduced"),
        ({"a": [0.0, 0.03, 0.01], "b": [0.05, -0.01, 0.0]}, "inconclusive"),
    ],
)
def test_verdicts(gains, verdict):
    finding = found(judge(made_preset(), observed(gains)))
    assert finding["verdict"] == verdict
    means = [np.mean(values) for values in gains.values()]
    assert [cell["mean"] for cell in finding["quantities"][0]["cells"]] == pytest.approx(means)
    assert finding["headline"]["mean"] == pytest.approx(np.mean(means))
    assert finding["headline"]["n"] == 3
    assert (finding["seeds_needed"] is not None) == (verdict == "inconclusive")
    holding = [text for text, holds in finding["conditions"]["refuted"].items() if holds]
    assert bool(holding) == (verdict == "not reproduced")


def test_without_a_seed_that_has_every_cell_the_headline_is_a_cell():
    nan = math.nan
    headline = found(judge(made_preset(), observed({"a": [0.02, 0.03, nan], "b": [nan, nan, 0.05]})))["headline"]
    assert (headline["cell"], headline["n"]) == ("a", 2)
    assert (headline["lowest"], headline["highest"]) == pytest.approx((0.025, 0.05))


def test_quantities_that_explain_decide_nothing_and_have_no_p_value_without_spread():
    rows = [("A2", "step", "a", seed, 0.8) for seed in range(3)]
    finding = found(judge(made_preset(), pd.DataFrame(rows, columns=list(OBSERVATION))), "A2")
    assert finding["verdict"] == "not run at this scale"
    assert next(q for q in finding["quantities"] if q["name"] == "step")["cells"][0]["p"] is None


def test_counts_and_claims_that_were_not_run():
    ledger = judge(made_preset(), observed({"a": [0.02, 0.021, 0.022]}))
    assert ledger["counts"] == {"reproduced": 1, "not reproduced": 0, "inconclusive": 0, "not run at this scale": 27}
    assert "1 reproduced, 0 not reproduced" in summary(ledger)
    assert found(ledger, "B1")["why"] == "This preset does not run the study."
    assert "measured nothing" in found(ledger, "A1")["why"]
    assert found(ledger, "A1")["headline"] is None


def test_a_claim_that_the_scale_cannot_decide_keeps_its_effects():
    preset = made_preset()
    claims = preset.claims.model_copy(update={"not_at_this_scale": {"A3": "too <small>"}})
    finding = found(judge(preset.model_copy(update={"claims": claims}), observed({"a": [0.02, 0.021, 0.022]})))
    assert finding["verdict"] == "not run at this scale"
    assert finding["why"] == "Measured, but not decided: too <small>"
    assert finding["headline"]["mean"] == pytest.approx(0.021)
    everything = preset.claims.model_copy(update={"not_at_this_scale": {"all": "tiny"}})
    ledger = judge(preset.model_copy(update={"claims": everything}), observed({"a": [0.02, 0.021, 0.022]}))
    assert ledger["counts"]["not run at this scale"] == 28


def test_the_margins_of_a_quantity_stand_beside_its_effects():
    ledger = judge(made_preset(), observed({"a": [0.02, 0.021, 0.022]}))
    assert found(ledger)["quantities"][0]["margins"] == [{"label": "margin +1 points", "value": 0.01}]
    both = found(ledger, "A6")["quantities"][0]["margins"]
    assert [margin["value"] for margin in both] == [-0.005, 0.005]
    assert found(ledger, "A5")["quantities"][0]["margins"][0]["value"] == pytest.approx(math.log(1.05))
    assert found(ledger, "C4")["replicates"] == "timing blocks"


def test_margins_come_from_the_configuration():
    preset = made_preset()
    margins = preset.claims.s_cyc.model_copy(update={"a3_gain": 0.03})
    wider = preset.model_copy(update={"claims": preset.claims.model_copy(update={"s_cyc": margins})})
    finding = found(judge(wider, observed({"a": [0.02, 0.021, 0.022]})))
    assert finding["verdict"] == "not reproduced"
    assert "3.0 %" in finding["rule"]


def test_the_seeds_needed_are_those_at_which_the_same_mean_and_spread_decide():
    finding = found(judge(made_preset(), observed({"a": [0.0, 0.03, 0.045]})))
    needed = finding["seeds_needed"]
    assert "reproduced" in finding["seeds_note"]
    assert "as likely as not" in finding["seeds_note"]
    mean, std = 0.025, float(np.std([0.0, 0.03, 0.045], ddof=1))
    # Student's t by hand, for multiples of three seeds: the first whose interval lies above the margin
    from scipy import stats

    decided = [n for n in range(6, 60, 3) if mean - stats.t.ppf(0.975, n - 1) * std / math.sqrt(n) > 0.01]
    assert needed == decided[0]


def test_an_effect_at_the_margin_is_decided_by_no_number_of_seeds():
    finding = found(judge(made_preset(), observed({"a": [0.005, 0.01, 0.015]})))
    assert finding["seeds_needed"] is None
    assert finding["seeds_note"].startswith("no number of seeds")


def test_one_seed_has_no_interval_and_says_so():
    finding = found(judge(made_preset(), observed({"a": [0.05]})))
    assert finding["verdict"] == "inconclusive"
    assert "no interval" in finding["why"]
    assert finding["headline"]["low"] is None
    assert "at least two seeds" in finding["seeds_note"]


def test_a_seed_without_a_value_is_counted_as_missing():
    finding = found(judge(made_preset(), observed({"a": [0.02, math.nan, 0.022], "b": [0.03, 0.031, 0.029]})))
    cells = {cell["cell"]: cell for cell in finding["quantities"][0]["cells"]}
    assert (cells["a"]["n"], cells["a"]["missing"]) == (2, 1)
    assert finding["headline"]["n"] == 2  # pairing needs both cells


# --- Files


@pytest.fixture
def results(tmp_path):
    preset = made_preset()
    write_made_runs(preset, tmp_path / "runs")
    return preset, tmp_path


def test_files_hold_the_ledger_and_are_the_same_bytes_again(results):
    preset, folder = results
    ledger = write_ledger(preset, folder / "runs", folder)
    names = ("claims.json", "claims.csv", "observations.csv")
    before = {name: (folder / name).read_bytes() for name in names}
    assert read_ledger(folder) == json.loads(json.dumps(ledger))
    rows = pd.read_csv(folder / "claims.csv")
    assert tuple(rows.columns) == COLUMNS
    assert list(rows["id"]) == IDS
    assert set(rows["verdict"]) <= set(VERDICTS)
    written = pd.read_csv(folder / "observations.csv")
    assert found(judge(preset, written)) == found(ledger)  # every digit is kept
    write_ledger(preset, folder / "runs", folder)
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_seed_with_a_missing_run_is_left_out_and_named(results):
    preset, folder = results
    gone = next(spec.folder for spec in preset.s_cyc_chains() if spec.seed == 1)
    shutil.rmtree(folder / "runs" / gone)
    observations, missing, _ = observe(preset, folder / "runs")
    assert set(observations["seed"]) == {0, 2}
    [line] = missing
    assert "s_cyc: seed 1: 1 of" in line
    assert gone in line


def test_no_run_at_all_gives_a_ledger_in_which_nothing_was_run(tmp_path):
    ledger = write_ledger(made_preset(), tmp_path / "nowhere", tmp_path)
    assert ledger["counts"]["not run at this scale"] == 28
    assert len(ledger["missing"]) == 3
    assert "runs of the study are missing" in found(ledger, "A3")["why"]
    assert found(ledger, "C3")["why"] == "This preset does not run the study."


def test_a_real_preset_without_runs_names_what_is_missing(tmp_path, request):
    preset = load_preset(request.config.rootpath / "config/laptop.yaml")
    ledger = write_ledger(preset, tmp_path, tmp_path)
    text = "\n".join(ledger["missing"])
    for part in ("s_cyc: seed 0", "cascade: seed 2", "directional: seed 1", "toy is missing", "overhead is missing"):
        assert part in text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "mapping"),
        ('{"preset": "x"}', "field required"),
    ],
)
def test_a_file_that_is_no_ledger_is_named(tmp_path, content, part):
    if content is not None:
        (tmp_path / "claims.json").write_text(content)
    with pytest.raises(InputError, match=r"claims\.json") as error:
        read_ledger(tmp_path)
    assert part in str(error.value)


def test_on_a_terminal_every_claim_stands_with_its_verdict_and_markup_is_text(results):
    preset, folder = results
    ledger = write_ledger(preset.model_copy(update={"scale": "[bold]x[/bold]"}), folder / "runs", folder)
    console = Console(width=70, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_ledger(ledger, console)
    text = console.export_text()
    for claim in IDS:
        assert f" {claim} " in text
    assert "[bold]x[/bold]" in text
    assert all(len(line) <= 70 for line in text.splitlines())


def test_as_markdown_every_claim_is_one_row(results):
    preset, folder = results
    lines = markdown(write_ledger(preset, folder / "runs", folder)).splitlines()
    assert len(lines) == 2 + len(IDS)
    assert {line.count(" | ") for line in lines} == {4}
    assert next(line for line in lines if line.startswith("| A3 |")).count("points: ") == 1


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "points", "+1.23"),
        (-0.0031, "points", "\u22120.310"),
        (0.5, "share", "50.0"),
        (math.log(2), "ratio", "2.00"),
        (None, "points", "n/a"),
        (math.nan, "nats", "n/a"),
        (0.00002, "nats", "2.0e\u221205"),
        (0.25, "slope", "+0.250"),
    ],
)
def test_numbers_as_readers_see_them(value, unit, text):
    assert number(value, unit) == text


def test_an_effect_carries_its_interval_and_unit():
    assert effect({"mean": 0.01, "low": -0.005, "high": 0.025, "unit": "points"}) == "+1.0 [\u22120.5, +2.5] points"
    assert effect({"mean": 0.0, "low": None, "high": None, "unit": "ratio"}) == "× 1.00"
    assert effect(None) == "n/a"


def test_a_sample_of_a_claim_without_observations_has_no_cells():
    empty = sample(pd.DataFrame(columns=list(OBSERVATION)), CLAIMS[0])
    assert all(len(cells) == 0 for cells in empty.cells.values())
