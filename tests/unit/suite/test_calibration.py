"""The rules' error rates in simulation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prunebench.errors import InputError
from prunebench.suite.calibration import NOISES, calibrate, calibrate_results, draw_noise, power
from prunebench.suite.cells import cell
from prunebench.suite.claim import (
    OBSERVATION,
    Claim,
    Quantity,
    Ruling,
    Sample,
    Scenario,
    sample,
    write_observations,
)
from prunebench.suite.exhibits import CALIBRATION
from prunebench.suite.preset import Calibration

MARGIN = 0.01
SPREAD = 0.006
CELLS = tuple(cell(task="toy", sparsity=sparsity) for sparsity in (0.5, 0.75, 0.9))


def superior(sample: Sample, margins: Any) -> Ruling:
    gain = sample.pooled("gain")
    return Ruling({"above the margin": gain.low > MARGIN}, {"below it": gain.high < MARGIN})


def equivalent(sample: Sample, margins: Any) -> Ruling:
    narrow, wide = sample.pooled("gain", 0.9), sample.pooled("gain")
    outside = {"above": wide.low > MARGIN, "below": wide.high < -MARGIN}
    return Ruling({"inside": (narrow.low > -MARGIN) & (narrow.high < MARGIN)}, outside)


def somewhere(sample: Sample, margins: Any) -> Ruling:
    gain = sample.any_of("gain")
    return Ruling({"above in some cell": (gain.low > MARGIN).any(axis=-1)}, {"below": (gain.high < 0).all(axis=-1)})


def unsound(sample: Sample, margins: Any) -> Ruling:
    mean = sample.pooled("gain").mean
    return Ruling({"above": mean > MARGIN}, {"below": mean < 0})


def claim(name: str, judge: Callable[[Sample, Any], Ruling], null: float | None, claimed: float | None) -> Claim:
    """A claim of one quantity, `gain`, whose true means leave it out where they are None."""

    def truth(mean: float | None) -> Callable[[Any, Any], Scenario]:
        return lambda margins, cells: {} if mean is None else {"gain": mean}

    return Claim(
        id=name,
        paper="toy",
        sentence="It is better.",
        mark="[ours]",
        quantities=(Quantity("gain", "test accuracy minus that of another", "points"),),
        rule="more than the margin",
        judge=judge,
        no_effect=truth(null),
        claimed=truth(claimed),
        claimed_as="twice the margin [ours]",
        published="n/a",
        observe=lambda data, method: (),
        tables=(),
        figures=(),
    )


SUPERIOR = claim("A3", superior, MARGIN, 0.02)
EQUIVALENT = claim("A6", equivalent, MARGIN, 0.0)
SOMEWHERE = claim("B1", somewhere, MARGIN, 0.02)
UNSOUND = claim("C1", unsound, MARGIN, 0.02)


def observed(*names: str, seeds: int = 3, cells: Sequence[Any] = CELLS, spread: float = SPREAD) -> pd.DataFrame:
    """Observations of claims whose seeds have exactly this standard deviation in every cell."""
    steps = np.arange(seeds) - (seeds - 1) / 2
    values = 0.015 + (spread * steps / steps.std(ddof=1) if seeds > 1 else steps)
    rows = [(name, "gain", where, seed, values[seed]) for name in names for where in cells for seed in range(seeds)]
    return pd.DataFrame(rows, columns=list(OBSERVATION))


def no_margins(paper: str) -> None:
    assert paper == "toy"


def table(*claims: Claim, tables: int = 2000, seeds: Sequence[int] = (3, 5, 10), **of: Any) -> pd.DataFrame:
    config = Calibration(tables=tables, seeds=list(seeds))
    observations = observed(*(claim.id for claim in claims), **of)
    return calibrate(claims, observations, config, no_margins)


@pytest.fixture(scope="module")
def rates() -> pd.DataFrame:
    return table(SUPERIOR, EQUIVALENT, SOMEWHERE, UNSOUND)


def test_a_row_per_claim_noise_and_number_of_seeds(rates: pd.DataFrame) -> None:
    assert list(rates.columns) == [column.name for column in CALIBRATION.columns]
    keys = rates[["claim", "noise", "n"]].drop_duplicates()
    assert len(rates) == len(keys) == 4 * len(NOISES) * 3
    assert (rates["tables"] == 2000).all()
    assert (rates["noise_from"] == "measured: 3 seeds").all()
    first = rates.iloc[0]
    assert (first["null_effect"], first["claimed_effect"]) == ("gain +1 points", "gain +2 points")
    assert first["claimed_as"] == "twice the margin [ours]"


@pytest.mark.parametrize(("name", "expected"), [("A3", 0.025), ("B1", None), ("A6", None)])
def test_sound_rules_err_as_often_as_their_intervals_promise(
    rates: pd.DataFrame, name: str, expected: float | None
) -> None:
    null = rates[rates["claim"] == name]
    assert (null["null_reproduced_low"] <= 0.05).all()
    normal = null[null["noise"] != "heavy-tailed"]["null_reproduced"]
    assert (normal <= 0.05 + 0.015).all()
    if expected is not None:
        assert normal.to_numpy() == pytest.approx(expected, abs=4 * math.sqrt(expected / 2000))


def test_a_rule_on_a_point_estimate_errs_half_the_time(rates: pd.DataFrame) -> None:
    null = rates[(rates["claim"] == "C1") & (rates["noise"] != "heavy-tailed")]["null_reproduced"].to_numpy()
    assert null == pytest.approx(0.5, abs=0.045)


@pytest.mark.parametrize("noise", ["independent", "shared by seed"])
def test_power_is_that_of_students_test(rates: pd.DataFrame, noise: str) -> None:
    """From the noncentral t distribution; averaging 3 cells leaves 1/3 of the variance, or 1/2 + 1/6 where shared."""
    std = SPREAD * math.sqrt(1 / 3 if noise == "independent" else 2 / 3)
    for row in rates[(rates["claim"] == "A3") & (rates["noise"] == noise)].itertuples():
        critical = stats.t.ppf(0.975, row.n - 1)
        power = stats.nct.sf(critical, row.n - 1, (0.02 - MARGIN) * math.sqrt(row.n) / std)
        assert row.claimed_reproduced == pytest.approx(power, abs=4 * math.sqrt(0.25 / 2000))


def test_seeds_for_80_percent_are_the_least_that_give_it(rates: pd.DataFrame) -> None:
    """One number per kind of noise, and no contradiction of the simulated power; the exact one by Student's test."""
    for (_, _), rows in rates.groupby(["claim", "noise"]):
        (enough,) = set(rows["seeds_for_80"])
        assert (rows["claimed_reproduced"] >= 0.8).tolist() == (rows["n"] >= enough).tolist()
    shared = rates[(rates["claim"] == "A3") & (rates["noise"] == "shared by seed")]
    ladder = (3, 4, 5, 6, 8, 10)
    power = [stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.01 * math.sqrt(n * 3 / 2) / SPREAD) for n in ladder]
    assert shared["seeds_for_80"].iloc[0] == ladder[int(np.argmax(np.array(power) >= 0.8))] == 5


def test_no_number_of_seeds_gives_power_against_too_much_noise() -> None:
    got = table(replace(SUPERIOR, id="A4"), tables=200, seeds=[3], spread=0.5)
    assert got["seeds_for_80"].isna().all()
    assert (got["claimed_reproduced"] < 0.2).all()


def test_a_claim_that_holds_is_called_not_reproduced_as_often_as_its_rule_errs() -> None:
    """At the margin itself, 2.5 % of intervals lie below it."""
    got = table(claim("A3", superior, 0.0, MARGIN), seeds=[5])
    missed = got[got["noise"] != "heavy-tailed"]["claimed_not_reproduced"].to_numpy()
    assert missed == pytest.approx(0.025, abs=4 * math.sqrt(0.025 / 2000))


def test_the_interval_of_a_rate_is_clopper_and_pearsons(rates: pd.DataFrame) -> None:
    """Its ends by the beta distribution."""
    row = rates[rates["null_reproduced"] > 0].iloc[0]
    hits = round(row["null_reproduced"] * 2000)
    assert row["null_reproduced_low"] == pytest.approx(stats.beta.ppf(0.025, hits, 2001 - hits))
    assert row["null_reproduced_high"] == pytest.approx(stats.beta.ppf(0.975, hits + 1, 2000 - hits))


def test_other_claims_and_numbers_of_seeds_change_nothing(rates: pd.DataFrame) -> None:
    alone = table(SOMEWHERE, seeds=[5])
    same = rates[(rates["claim"] == "B1") & (rates["n"] == 5)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)


def test_a_claim_without_measured_noise_has_one_row_without_rates() -> None:
    config = Calibration(tables=100, seeds=[3])
    single = observed("A3", seeds=1)
    for observations, why in ((single, "not measured: gain"), (single[:0], "not measured")):
        got = calibrate([SUPERIOR, EQUIVALENT], observations, config, no_margins)
        assert got["claim"].tolist() == ["A3", "A6"]
        assert got["noise_from"].tolist() == [why, "not measured"]
        assert got[["n", "null_reproduced", "claimed_reproduced", "seeds_for_80"]].isna().all(axis=None)


def test_a_missing_control_is_no_obstacle_but_a_missing_part_of_the_claim_is() -> None:
    """`loss` has no cells: a claim that says what it is where it holds cannot be simulated."""
    quantities = (*SUPERIOR.quantities, Quantity("loss", "what it costs", "nats"))
    control = replace(SUPERIOR, quantities=quantities)
    part = replace(control, claimed=lambda margins, cells: {"gain": 0.02, "loss": 0.1})
    pd.testing.assert_frame_equal(table(control, tables=100), table(SUPERIOR, tables=100))
    assert table(part, tables=100)["noise_from"].tolist() == ["not measured: loss"]


def test_a_cell_of_one_seed_has_the_median_spread_of_the_others() -> None:
    """The pooled power with two of three spreads known is that with all three."""
    complete = observed("A3")
    gaps = complete.copy()
    places = gaps["cell"].map(CELLS.index)
    gaps.loc[(places == 1) & (gaps["seed"] > 0), "value"] = math.nan
    config = Calibration(tables=300, seeds=[3])
    whole, part = (calibrate([SUPERIOR], frame, config, no_margins) for frame in (complete, gaps))
    pd.testing.assert_frame_equal(whole, part)
    gaps.loc[(places == 0) & (gaps["seed"] == 0), "value"] = math.nan
    assert set(calibrate([SUPERIOR], gaps, config, no_margins)["noise_from"]) == {"measured: 2–3 seeds"}


def test_without_noise_a_truth_at_the_margin_is_not_beyond_it() -> None:
    """The mean of three times 0.1 is 0.1, not 0.10000000000000002."""
    for seeds in (3, 7):
        at_margin = Sample({"gain": np.full((1, len(CELLS), seeds), MARGIN)}, {"gain": CELLS})
        assert not SUPERIOR.judge(at_margin, None).yes[0]


def test_without_any_spread_nothing_is_simulated() -> None:
    got = table(SUPERIOR, tables=100, seeds=[3], spread=0.0)
    assert list(got["noise_from"]) == ["not measured: no spread between seeds"]
    assert got["null_reproduced"].isna().all()


def test_a_quantity_that_a_scenario_leaves_out_keeps_its_observed_mean() -> None:
    got = table(claim("A3", superior, None, 0.02), tables=200, seeds=[10], spread=1e-4)
    assert (got["null_reproduced"] == 1).all(), "the observed mean of 1.5 points is above the margin"
    assert (got["null_effect"] == "").all()


def test_true_means_by_cell() -> None:
    """A rule on one cell of a scenario that differs by cell."""

    def first(sample: Sample, margins: Any) -> Ruling:
        only = sample.only(lambda where: where == CELLS[0]).pooled("gain")
        return Ruling({"above": only.low > MARGIN}, {"below": only.high < MARGIN})

    def by_cell(margins: Any, cells: Any) -> Scenario:
        return {"gain": dict(zip(cells["gain"], (0.03, -0.01, 0.0), strict=True))}

    got = table(replace(SUPERIOR, judge=first, claimed=by_cell), tables=100, seeds=[3], spread=1e-4)
    assert (got["claimed_reproduced"] == 1).all()
    assert (got["claimed_effect"] == "gain −1 points to +3 points").all()


@pytest.mark.parametrize(
    ("scenario", "message"),
    [({"loss": 0.0}, "names loss"), ({"gain": {cell(task="elsewhere"): 0.0}}, "cells of gain")],
)
def test_a_scenario_that_does_not_fit_is_an_error(scenario: Scenario, message: str) -> None:
    wrong = replace(SUPERIOR, claimed=lambda margins, cells: scenario)
    with pytest.raises(ValueError, match=f"claim A3: .*{message}"):
        table(wrong, tables=100, seeds=[3])


def test_a_condition_that_is_not_one_per_table_is_an_error() -> None:
    def by_cell(sample: Sample, margins: Any) -> Ruling:
        return Ruling({"above": sample.each("gain").low > 0}, {})

    with pytest.raises(ValueError, match="claim A3: condition 'above'"):
        table(replace(SUPERIOR, judge=by_cell), tables=100, seeds=[3])


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_variance_one_and_correlates_within_a_seed_where_it_says(noise: str) -> None:
    drawn = draw_noise(np.random.default_rng(1), noise, (100_000, 2, 3))
    assert drawn.shape == (100_000, 2, 3)
    flat = drawn.reshape(len(drawn), -1)
    expected = np.eye(6)
    if noise == "shared by seed":
        expected += 0.5 * (np.kron(np.ones((2, 2)), np.eye(3)) - np.eye(6))
    if noise == "heavy-tailed":
        # Its fourth moment is infinite: quantiles instead of variances.
        quantiles = np.quantile(flat, [0.25, 0.5, 0.9, 0.99]) * math.sqrt(3)
        assert quantiles == pytest.approx(stats.t.ppf([0.25, 0.5, 0.9, 0.99], 3), abs=0.05)
        assert np.abs(stats.spearmanr(flat).statistic - expected).max() < 0.02
    else:
        assert np.abs(np.cov(flat.T) - expected).max() < 0.02
        assert np.abs(flat.mean(axis=0)).max() < 0.02


# --- Power with the seeds that ran


def sample_of(claim: Claim, **of: Any) -> Sample:
    return sample(observed(claim.id, **of), claim)


@pytest.mark.parametrize("n", [3, 4, 10])
def test_power_is_the_least_rate_of_all_noises_with_the_seeds_that_ran(n: int) -> None:
    """By a calibration of as many tables; the seeds that give 80 % are the most that any noise asks for."""
    got = power(SUPERIOR, sample_of(SUPERIOR, seeds=n), None)
    assert got is not None
    rates = table(SUPERIOR, tables=1000, seeds=[n])
    # What is observed of more seeds has the same spread.
    expected = calibrate([SUPERIOR], observed("A3", seeds=n), Calibration(tables=1000, seeds=[n]), no_margins)
    assert (got.share, got.seeds) == (expected["claimed_reproduced"].min(), expected["seeds_for_80"].max())
    pd.testing.assert_series_equal(expected["claimed_reproduced"], rates["claimed_reproduced"])
    exact = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.01 * math.sqrt(n * 3 / 2) / SPREAD)
    assert got.share == pytest.approx(exact, abs=0.06), "shared noise has the least power"


def test_power_that_no_number_of_seeds_gives_and_power_that_cannot_be_known() -> None:
    hopeless = power(SUPERIOR, sample_of(SUPERIOR, spread=0.5), None)
    assert hopeless is not None
    assert hopeless.share < 0.2
    assert hopeless.seeds is None
    assert power(SUPERIOR, sample_of(SUPERIOR, seeds=1), None) is None
    assert power(SUPERIOR, sample_of(SUPERIOR, spread=0.0), None) is None


# --- From files


def test_every_claim_of_a_preset_is_tried_from_its_observations(
    toy_preset: Any, observations: Any, tmp_path: Path
) -> None:
    """Also one that is asked of another method; a line per claim says how far the simulation is."""
    calibration = {"tables": 100, "seeds": [3]}
    preset = toy_preset(claims={"calibration": calibration, "ask": [{"like": "T1", "method": "theirs"}]})
    gains = {"NA": [0.015, 0.02, 0.03], "1.0": [0.01, 0.02, 0.025]}
    frame = pd.concat([observations(gains, name) for name in ("T1", "T1:theirs")], ignore_index=True)
    write_observations(tmp_path / "observations.csv", frame)
    lines: list[str] = []
    rates = calibrate_results(preset, tmp_path / "observations.csv", tables=200, report=lines.append)
    rated = rates[rates["n"].notna()]
    assert list(dict.fromkeys(rates["claim"])) == ["T1", "T2", "T3", "T1:theirs", "U1"]
    assert set(rated["claim"]) == {"T1", "T1:theirs"}
    assert set(rates["paper"]) == {"toy", "other"}
    assert (rated["tables"] == 200).all()
    assert rated["null_effect"].iloc[0] == "gain +1 points"
    assert [line.partition(":")[0] for line in lines][:2] == ["T1 (1 of 5)", "T2 (2 of 5)"]
    assert 'false "reproduced" at most' in lines[0]
    assert lines[1] == "T2 (2 of 5): not measured"
    assert (calibrate_results(preset, tmp_path / "observations.csv")["tables"].dropna() == 100).all()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "claim,quantity\nA3,gain\n",
        "a\n1\n",
        ",".join(OBSERVATION) + "\n1,2,{},x,y\n",
        ",".join(OBSERVATION) + "\n1,2,toy · 50 %,0,0.5\n",
    ],
)
def test_no_table_of_observations_is_an_input_error(toy_preset: Any, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "observations.csv").write_text(content)
    with pytest.raises(InputError, match=r"observations\.csv") as caught:
        calibrate_results(toy_preset(), tmp_path / "observations.csv")
    assert "\n" not in str(caught.value)
