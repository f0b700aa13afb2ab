"""The ledger: from observations to verdicts, seeds needed and files; incomplete results give a ledger that says so."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prunebench.errors import InputError
from prunebench.suite.asked import all_claims
from prunebench.suite.calibration import power
from prunebench.suite.cells import cell
from prunebench.suite.claim import OBSERVATION, Ruling, above, below, read_observations, sample
from prunebench.suite.ledger import (
    COLUMNS,
    VERDICTS,
    Seen,
    _networks,
    judge,
    observe,
    summary,
    write_ledger,
    write_ledger_again,
)
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset
from prunebench.suite.record import Network, read_ledger
from prunebench.suite.stability import stability

IDS = ["T1", "T2", "T3", "U1"]


def of(ledger, claim="T1"):
    return next(finding for finding in ledger.findings if finding.id == claim)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"a": [0.02, 0.021, 0.022], "b": [0.03, 0.031, 0.029]}, "reproduced"),
        ({"a": [0.0, 0.001, 0.002], "b": [0.001, 0.0, -0.001]}, "not reproduced"),
        ({"a": [0.0, 0.03, 0.01], "b": [0.05, -0.01, 0.0]}, "inconclusive"),
    ],
)
def test_verdicts(toy_preset, observations, gains, verdict):
    finding = of(judge(toy_preset(), Seen(observations(gains))))
    assert finding.verdict == verdict
    means = [np.mean(values) for values in gains.values()]
    assert [cell.mean for cell in finding.quantities[0].cells] == pytest.approx(means)
    assert finding.headline.mean == pytest.approx(np.mean(means))
    assert finding.headline.cell == "mean over 2 cells"
    assert finding.headline.n == 3
    assert (finding.seeds_needed is not None) == (verdict == "inconclusive")
    holding = [text for text, holds in finding.conditions.refuted.items() if holds]
    assert bool(holding) == (verdict == "not reproduced")


def test_cells_stand_with_their_axes_and_a_label(toy_preset, observations):
    cells = of(judge(toy_preset(), Seen(observations({"a": [0.02, 0.021]})))).quantities[0].cells
    assert [(cell.cell, cell.axes) for cell in cells] == [("net · a", {"task": "net", "place": "a"})]


def test_without_a_seed_that_has_every_cell_the_headline_is_a_cell(toy_preset, observations):
    nan = math.nan
    headline = of(judge(toy_preset(), Seen(observations({"a": [0.02, 0.03, nan], "b": [nan, nan, 0.05]})))).headline
    assert (headline.cell, headline.n) == ("net · a", 2)
    assert (headline.lowest, headline.highest) == pytest.approx((0.025, 0.05))


def test_quantities_that_explain_decide_nothing_and_have_no_p_value_without_spread(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [0.8] * 3}, "T2", "time"))), "T2")
    assert finding.verdict == "not run at this scale"
    assert next(quantity for quantity in finding.quantities if quantity.name == "time").cells[0].p is None


def test_counts_and_claims_that_were_not_run(toy_preset, observations):
    ledger = judge(toy_preset(), Seen(observations({"a": [0.02, 0.021, 0.022]})))
    assert ledger.counts == {"reproduced": 1, "not reproduced": 0, "inconclusive": 0, "not run at this scale": 3}
    assert summary(ledger).startswith("4 claims: 1 reproduced, 0 not reproduced")
    assert of(ledger, "U1").why == "This preset does not run the study."
    assert "measured nothing" in of(ledger, "T3").why
    assert of(ledger, "T3").headline is None


def test_a_claim_that_the_scale_cannot_decide_keeps_its_effects(toy_preset, observations):
    seen = observations({"a": [0.02, 0.021, 0.022]})
    finding = of(judge(toy_preset(claims={"not_at_this_scale": {"T1": "too <small>"}}), Seen(seen)))
    assert finding.verdict == "not run at this scale"
    assert finding.why == "Measured, but not decided: too <small>"
    assert finding.headline.mean == pytest.approx(0.021)
    ledger = judge(toy_preset(claims={"not_at_this_scale": {"all": "tiny"}}), Seen(seen))
    assert ledger.counts["not run at this scale"] == 4


def test_the_margins_of_a_quantity_stand_beside_its_effects(toy_preset, observations):
    ledger = judge(toy_preset(), Seen(observations({"a": [0.02, 0.021, 0.022]})))
    [margin] = of(ledger).quantities[0].margins
    assert (margin.label, margin.value) == ("margin +1 points", 0.01)
    gap, time = of(ledger, "T2").quantities
    assert [margin.value for margin in gap.margins] == [-0.005, 0.005]
    assert time.margins[0].value == pytest.approx(math.log(1.05))
    assert of(ledger, "T2").replicates == "timing blocks"


def test_margins_come_from_the_configuration(toy_preset, observations):
    wider = toy_preset(claims={"toy": {"t1_gain": 0.03}})
    finding = of(judge(wider, Seen(observations({"a": [0.02, 0.021, 0.022]}))))
    assert finding.verdict == "not reproduced"
    assert "3.0 %" in finding.rule


def test_the_seeds_needed_are_those_at_which_the_same_mean_and_spread_decide(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [0.0, 0.03, 0.045]}))))
    assert "reproduced" in finding.seeds_note
    assert "as likely as not" in finding.seeds_note
    mean, std = 0.025, float(np.std([0.0, 0.03, 0.045], ddof=1))
    # Student's t by hand, for multiples of three seeds: the first whose interval lies above the margin
    decided = [n for n in range(6, 60, 3) if mean - stats.t.ppf(0.975, n - 1) * std / math.sqrt(n) > 0.01]
    assert finding.seeds_needed == decided[0]


def test_an_effect_at_the_margin_is_decided_by_no_number_of_seeds(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [0.005, 0.01, 0.015]}))))
    assert finding.seeds_needed is None
    assert finding.seeds_note.startswith("no number of seeds")


def test_one_seed_has_no_interval_and_says_so(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [0.05]}))))
    assert finding.verdict == "inconclusive"
    assert "no interval" in finding.why
    assert finding.headline.low is None
    assert "at least two seeds" in finding.seeds_note


def test_a_seed_without_a_value_is_counted_as_missing(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [0.02, math.nan, 0.022], "b": [0.03, 0.031, 0.029]}))))
    first = finding.quantities[0].cells[0]
    assert (first.n, first.missing) == (2, 1)
    assert finding.headline.n == 2  # pairing needs both cells


# --- How sure a verdict is, and what it says


def test_a_finding_knows_its_stability_and_its_power(toy_preset, observations):
    """Those of the modules that compute them, with the seeds that ran."""
    seen = observations({"a": [0.02, 0.021, 0.022], "b": [0.03, 0.031, 0.029]})
    finding = of(judge(toy_preset(), Seen(seen)))
    claim, margins = all_claims(toy_preset())[0], toy_preset().margins("toy")
    again, found = stability(claim, sample(seen, claim), margins), power(claim, sample(seen, claim), margins)
    assert (finding.repeated, finding.stability, finding.opposite) == (3, again.same, again.opposite)
    assert (finding.power, finding.power_seeds) == (found.share, found.seeds)
    assert finding.shown == "reproduced"


def test_a_verdict_that_other_seeds_may_change_is_a_narrow_one(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [0.0168, 0.02, 0.0232]}))))
    assert finding.verdict == "reproduced"
    assert finding.stability < 0.8
    assert finding.shown == "reproduced, narrowly"


def test_where_so_few_seeds_find_no_effect_it_says_how_many_would(toy_preset, observations):
    finding = of(judge(toy_preset(), Seen(observations({"a": [-0.02, 0.01, 0.045]}))))
    assert finding.verdict == "inconclusive"
    assert finding.power < 0.2
    assert finding.shown == "cannot be decided with 3 seeds"
    share = f"{100 * finding.power:.1f} % of runs with this spread"
    assert f"3 seeds find it in {share}; 80 % takes {finding.power_seeds}." in finding.why


def test_what_was_not_judged_has_neither(toy_preset, observations):
    seen = Seen(observations({"a": [0.02, 0.021, 0.022]}))
    ledger = judge(toy_preset(claims={"not_at_this_scale": {"T1": "small"}}), seen)
    assert {(each.stability, each.power, each.repeated) for each in ledger.findings} == {(None, None, 0)}
    single = of(judge(toy_preset(), Seen(observations({"a": [0.02]}))))
    assert (single.stability, single.power, single.repeated, single.shown) == (None, None, 1, "inconclusive")


@pytest.fixture
def with_claim(toy_preset, monkeypatch):
    """The toy's preset, whose first claim has other fields."""

    def change(**fields):
        preset = toy_preset()
        paper = preset.all_papers()["toy"]
        first, *others = paper.claims
        monkeypatch.setitem(paper.__dict__, "claims", (replace(first, **fields), *others))
        return preset

    return change


@pytest.mark.parametrize(("sign", "found"), [(1, "a helpful effect"), (-1, "a harmful effect")])
def test_an_effect_of_no_given_direction_is_named_when_it_is_found(with_claim, observations, sign, found):
    def either(of, margins):
        gain = of.pooled("gain")
        return Ruling({"it differs": above(gain.low, 0.01) | below(gain.high, -0.01)}, {})

    preset = with_claim(judge=either, direction=("a harmful effect", "a helpful effect"))
    finding = of(judge(preset, Seen(observations({"a": [sign * 0.02, sign * 0.021, sign * 0.022]}))))
    assert (finding.shown, finding.found) == (f"reproduced ({found})", found)
    assert finding.why == f"Every condition holds. The paper gives no direction; this is {found}."
    open_one = of(judge(preset, Seen(observations({"a": [-0.02, 0.0, 0.03]}))))
    assert (open_one.verdict, open_one.found) == ("inconclusive", "")


def test_a_claim_that_its_control_alone_speaks_against_says_so(with_claim, observations):
    def with_control(of, margins):
        no, yes = np.zeros(len(of.values["gain"]), bool), np.ones(len(of.values["gain"]), bool)
        return Ruling({"it gains": above(of.pooled("gain").low, 0.0), "the control does not": no}, {"it loses": ~yes})

    preset = with_claim(judge=with_control, controls=("the control does not",))
    finding = of(judge(preset, Seen(observations({"a": [0.02, 0.021, 0.022]}))))
    assert (finding.verdict, finding.found) == ("inconclusive", "all but its control holds")
    assert finding.why == "Its control speaks against it. Not met: the control does not."
    unsure = of(judge(preset, Seen(observations({"a": [-0.02, 0.0, 0.03]}))))
    assert unsure.found == ""
    assert unsure.why.startswith("The data decide neither way. Not met: it gains; the control does not.")


def test_the_networks_of_a_claim_are_those_that_its_cells_name(toy_preset):
    cells = [cell(task="net", place="a"), cell(task="a + b"), cell(against="d")]
    rows = [("T1", "gain", at, seed, 0.02 + seed / 1e3) for at in cells for seed in range(3)]
    networks = [Network(task=name, accuracy=0.5, n=3) for name in ("net", "a", "b", "c", "d", "+")]
    seen = Seen(pd.DataFrame(rows, columns=list(OBSERVATION)), networks={"toy": networks, "other": networks})
    assert [network.task for network in of(judge(toy_preset(), seen)).networks] == ["net", "a", "b", "d"]


# --- From runs


@pytest.fixture
def results(toy_preset, toy_runs, tmp_path):
    preset = toy_preset()
    toy_runs(preset, tmp_path / "runs")
    return preset, tmp_path


def test_claims_observe_what_their_paper_read_seed_by_seed(results):
    preset, folder = results
    seen = observe(preset, folder / "runs")
    assert seen.missing == []
    assert seen.notes["T1"] == ["Toys ran side by side."]
    assert list(seen.observations.columns) == list(OBSERVATION)
    assert set(seen.observations["claim"]) == {"T1"}
    gains = {(row.cell, row.seed): row.value for row in seen.observations.itertuples()}
    assert len(gains) == 6
    assert gains[(("task", "net"), ("sparsity", 0.75)), 2] == pytest.approx(0.042)
    assert of(judge(preset, seen)).notes == ["Toys ran side by side."]


def test_a_network_s_accuracy_is_that_of_its_best_recipe_by_validation(results, run_files):
    """Dense networks end at 0.75 in test accuracy; one under another recipe validates better and tests worse."""
    preset, folder = results
    assert observe(preset, folder / "runs").networks == {"toy": [Network(task="net", accuracy=0.75, n=3)]}
    ends = pd.DataFrame(
        [
            {"task": "net", "seed": seed, "schedule": name, "validation_accuracy": validation, "test_accuracy": test}
            for seed in range(3)
            for name, validation, test in (("one", 0.7, 0.72), ("two", 0.8, 0.7), ("two", 0.8, 0.7))
        ]
    )
    paper = replace(preset.all_papers()["toy"], unpruned=lambda study: ends)
    [network] = _networks(paper.resolve(paper.unpruned)(None))
    assert (network.task, network.accuracy, network.n) == ("net", pytest.approx(0.7), 3)
    assert [*_networks(pd.DataFrame())] == []


def test_a_ledger_is_judged_again_from_its_observations_without_runs(results):
    preset, folder = results
    ledger = write_ledger(preset, folder / "runs", folder)
    before = {name: (folder / name).read_bytes() for name in ("claims.json", "claims.csv")}
    shutil.rmtree(folder / "runs")
    assert write_ledger_again(preset, folder) == ledger
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert of(ledger).networks == [Network(task="net", accuracy=0.75, n=3)]
    # by other rules, or from a file that knows less
    content = json.loads(before["claims.json"])
    for finding in content["findings"]:
        for key in ("stability", "power", "networks", "why", "shown"):
            del finding[key]
    (folder / "claims.json").write_text(json.dumps(content))
    again = of(write_ledger_again(preset, folder))
    assert again == of(ledger).model_copy(update={"networks": []})
    (folder / "observations.csv").unlink()
    with pytest.raises(InputError, match=r"observations\.csv"):
        write_ledger_again(preset, folder)


def test_files_hold_the_ledger_and_are_the_same_bytes_again(results):
    preset, folder = results
    ledger = write_ledger(preset, folder / "runs", folder)
    names = ("claims.json", "claims.csv", "observations.csv")
    before = {name: (folder / name).read_bytes() for name in names}
    assert read_ledger(folder) == ledger
    rows = pd.read_csv(folder / "claims.csv")
    assert tuple(rows.columns) == COLUMNS
    assert list(rows["id"]) == IDS
    assert set(rows["verdict"]) <= set(VERDICTS)
    assert rows.loc[0, "n"] == 3
    assert rows.loc[0, "networks"] == "net 0.75"
    assert rows.loc[0, ["shown", "stability", "power"]].tolist() == [
        of(ledger).shown,
        of(ledger).stability,
        of(ledger).power,
    ]
    written = read_observations(folder / "observations.csv")
    seen = replace(observe(preset, folder / "runs"), observations=written)
    assert of(judge(preset, seen)) == of(ledger)  # every digit is kept
    write_ledger(preset, folder / "runs", folder)
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_seed_with_a_missing_run_is_left_out_and_named(results):
    preset, folder = results
    gone = next(job.folder for job in make_plan(preset).stages["prune_toys"].jobs if job.seed == 1)
    shutil.rmtree(folder / "runs" / gone)
    seen = observe(preset, folder / "runs")
    assert set(seen.observations["seed"]) == {0, 2}
    [line] = seen.missing
    assert line.startswith("toy: seed 1: 1 of")
    assert gone in line


def test_a_part_of_no_seed_is_left_out_and_named(results):
    preset, folder = results
    shutil.rmtree(folder / "runs" / "toy/timing")
    seen = observe(preset, folder / "runs")
    assert seen.missing == ["toy: timing is missing"]
    assert set(seen.observations["seed"]) == {0, 1, 2}


def test_no_run_at_all_gives_a_ledger_in_which_nothing_was_run(toy_preset, tmp_path):
    ledger = write_ledger(toy_preset(), tmp_path / "nowhere", tmp_path)
    assert ledger.counts["not run at this scale"] == 4
    assert [line.partition(": ")[0] for line in ledger.missing] == ["toy"] * 4  # three seeds and the timing
    assert "runs of the study are missing" in of(ledger, "T1").why
    assert of(ledger, "U1").why == "This preset does not run the study."


def test_a_kept_preset_without_runs_names_what_is_missing(tmp_path, request):
    preset = load_preset(request.config.rootpath / "config/laptop.yaml")
    text = "\n".join(observe(preset, tmp_path).missing)
    for part in ("s_cyc: seed 0", "cascade: seed 2", "directional: seed 1", "toy is missing", "overhead is missing"):
        assert part in text


# --- Claims that are asked of other methods


def asking(*entries):
    return {"ask": [dict(zip(("like", "method"), entry, strict=True)) for entry in entries]}


def test_a_claim_asked_of_another_method_stands_behind_the_paper_s(toy_preset, toy_runs, tmp_path):
    preset = toy_preset(claims=asking(("T1", "theirs"), ("T3", "global_magnitude")))
    assert [claim.id for claim in all_claims(preset)] == ["T1", "T2", "T3", "T1:theirs", "T3:global_magnitude", "U1"]
    ledger = write_ledger(preset, toy_runs(preset, tmp_path / "runs"), tmp_path)
    own, asked = of(ledger), of(ledger, "T1:theirs")
    assert (asked.sentence, asked.mark) == ("theirs beats the benchmark.", "[asked]")
    assert asked.published.startswith("n/a: asked of a method")
    assert (asked.rule, asked.tables) == (own.rule, own.tables)
    assert own.headline.mean == pytest.approx(0.031)
    assert asked.headline.mean == pytest.approx(0.046)
    assert asked.verdict == "reproduced"
    assert "measured nothing" in of(ledger, "T3:global_magnitude").why
    assert read_ledger(tmp_path) == ledger


def test_what_a_scale_cannot_decide_it_cannot_of_another_method(toy_preset, observations):
    seen = pd.concat([observations({"a": [0.02, 0.021]}, name) for name in ("T1", "T1:theirs")])
    claims = asking(("T1", "theirs"))
    reasons = ({"T1": "small"}, {"T1:theirs": "odd"}, {"T1": "small", "T1:theirs": "odd"})
    for reason, shown in zip(reasons, ("small", "odd", "odd"), strict=True):
        ledger = judge(toy_preset(claims=claims | {"not_at_this_scale": reason}), Seen(seen))
        assert of(ledger, "T1:theirs").why == f"Measured, but not decided: {shown}"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("T4", "theirs")], "claims.ask.0.like: 'T4' is no claim about a method that another can "),
        ([("T1", "theirs"), ("T2", "theirs")], "claims.ask.1.like: 'T2' is no claim about a method that another can "),
        ([("T1", "their")], "claims.ask.0.method: no schedule 'their': did you mean 'theirs'?"),
        ([("T3", "global_magnitud")], "claims.ask.0.method: no criterion 'global_magnitud': did you mean 'global_m"),
        ([("T1", "theirs")] * 2, "claims.ask.1 asks T1:theirs a second time"),
    ],
)
def test_what_cannot_be_asked_is_named_when_the_preset_is_read(toy_preset, entries, message):
    with pytest.raises(InputError) as error:
        toy_preset(claims=asking(*entries))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_papers_cannot_use_one_identifier(toy_preset, monkeypatch):
    preset = toy_preset()
    other = preset.all_papers()["other"]
    [claim] = other.claims
    monkeypatch.setitem(other.__dict__, "claims", (replace(claim, id="T2"),))
    with pytest.raises(InputError, match="claim T2 is one of 'toy' and one of 'other'"):
        all_claims(preset)


def test_a_ledger_is_json_without_nan(results):
    preset, folder = results
    write_ledger(preset, folder / "runs", folder)
    content = json.loads((folder / "claims.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content["findings"][0]["quantities"][0]["cells"][0]["axes"] == {"sparsity": 0.5, "task": "net"}
