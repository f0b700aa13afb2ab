"""How likely a repeat gives the same verdict: exact where it can be computed, tried on runs whose truth is known."""

import math
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prunebench.suite.asked import all_claims
from prunebench.suite.calibration import NOISES, draw_noise, failures
from prunebench.suite.cells import cell
from prunebench.suite.claim import OBSERVATION, Claim, Quantity, Ruling, Sample, above, below, read_observations, sample
from prunebench.suite.exhibits import CALIBRATION, STABILITY
from prunebench.suite.inputs import read_json
from prunebench.suite.preset import parse_preset
from prunebench.suite.stability import HALVES, REPEATS, check, forecast, repeats, stability

MARGIN = 0.01
CELLS = tuple(cell(task="toy", sparsity=at) for at in (0.5, 0.75, 0.9))
ERROR = 4 * math.sqrt(0.25 / REPEATS)
"""Of a share of all repeats: four standard errors."""


def superior(of, margins):
    gain = of.pooled("gain")
    return Ruling({"above the margin": above(gain.low, MARGIN)}, {"below it": below(gain.high, MARGIN)})


def unsound(of, margins):
    gain = of.pooled("gain").mean
    return Ruling({"above": gain > MARGIN}, {"below": gain < MARGIN})


def claim(name="T1", judge=superior):
    """A claim of one quantity, `gain`, whose margin is one point."""
    return Claim(
        id=name,
        sentence="It is better.",
        quantities=(Quantity("gain", "what is gained", "points"),),
        rule="by a point",
        judge=judge,
        no_effect=lambda margins, cells: {"gain": MARGIN},
        claimed=lambda margins, cells: {"gain": 2 * MARGIN},
        claimed_as="[ours]",
        observe=lambda data, method: (),
    )


def seeds(*cells):
    """Values over seeds, cell by cell, as a sample of one table."""
    return Sample({"gain": np.array([cells], dtype=float)}, {"gain": CELLS[: len(cells)]})


def frame(name, *cells):
    """The same as observations."""
    rows = [(name, "gain", at, seed, v) for at, of in zip(CELLS, cells, strict=False) for seed, v in enumerate(of)]
    return pd.DataFrame(rows, columns=list(OBSERVATION))


def exactly(mean, std, n):
    """Values with exactly this mean and standard deviation."""
    steps = np.arange(n) - (n - 1) / 2
    return mean + std * steps / steps.std(ddof=1)


# --- What repeats are drawn from


def test_repeats_have_the_observed_means_spread_and_correlations():
    """The predictive covariance of a seed is S (1 + 1/n) times the mean of w, (n - 1) / (n - 3)."""
    n, rng = 12, np.random.default_rng(1)
    shared = rng.standard_normal(n)
    observed = seeds(0.3 + shared + 0.2 * rng.standard_normal(n), shared, -2 * shared + rng.standard_normal(n))
    values = observed.values["gain"][0]
    drawn = repeats(observed, 40_000, rng).values["gain"]
    assert drawn.shape == (40_000, 3, n)
    assert drawn.mean(axis=(0, 2)) == pytest.approx(values.mean(axis=1), abs=0.02)
    expected = np.cov(values) * (1 + 1 / n) * (n - 1) / (n - 3)
    assert np.cov(drawn[:, :, 0].T) == pytest.approx(expected, abs=0.05 * expected.max())
    # Within a repeat seeds share the error of its means alone.
    assert np.cov(drawn[:, 0, 0], drawn[:, 0, 1])[0, 1] == pytest.approx(expected[0, 0] / (n + 1), rel=0.3)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_mean_of_a_repeat_is_students_around_the_observed_one(n):
    """The difference of two means of n seeds, over the observed standard error of it, has n - 1 degrees of freedom."""
    drawn = repeats(seeds(exactly(0.5, 0.2, n)), 20_000, np.random.default_rng(n)).values["gain"]
    t = (drawn.mean(axis=-1)[:, 0] - 0.5) / (0.2 * math.sqrt(2 / n))
    assert stats.kstest(t, stats.t(n - 1).cdf).pvalue > 0.001


def test_what_is_missing_may_be_missing_again_and_an_unknown_spread_stays_unknown():
    nan = math.nan
    observed = seeds([0.1, 0.2, 0.3, nan], [0.1, 0.2, 0.3, 0.4], [0.5, nan, nan, nan])
    drawn = repeats(observed, 10_000, np.random.default_rng(1)).values["gain"]
    missing = np.isnan(drawn)
    assert missing[:, 0].mean() == pytest.approx(0.25, abs=0.01)
    assert not missing[:, 1].any()
    assert missing[:, 2].all()
    assert np.nanmean(drawn[:, 0]) == pytest.approx(0.2, abs=0.01)


# --- The share of repeats with the same verdict


def by_integration(mean, std, n, sign):
    """How likely the 95 % interval of a repeat's mean lies above (1) or below (-1) the margin.

    Given w, the repeat's t statistic over the root of 2 is noncentral t; the mean over w = (n - 1) / chi-squared.
    """
    critical = stats.t.ppf(0.975, n - 1) / math.sqrt(2)
    shares = np.linspace(0, 1, 4003)[1:-1]
    apart = sign * (mean - MARGIN) * math.sqrt(n / 2) / (std * np.sqrt((n - 1) / stats.chi2.ppf(shares, n - 1)))
    return stats.nct.sf(critical, n - 1, apart).mean()


@pytest.mark.parametrize(("mean", "verdict"), [(0.03, 1), (0.02, 1), (0.0, -1), (0.012, 0)])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_stability_of_one_mean_is_that_of_students_test(mean, verdict, n):
    std = 0.005 / math.sqrt(n) if verdict else 0.006
    observed = seeds(exactly(mean, std, n))
    assert claim().judge(observed, None).verdicts.tolist() == [verdict]
    got = stability(claim(), observed, None)
    yes, no = (by_integration(mean, std, n, sign) for sign in (1, -1))
    assert got.same == pytest.approx({1: yes, -1: no, 0: 1 - yes - no}[verdict], abs=ERROR)
    assert got.opposite == (pytest.approx(no if verdict == 1 else yes, abs=ERROR) if verdict else None)


def test_seeds_that_agree_repeat_and_a_single_one_says_nothing():
    assert stability(claim(), seeds([0.02] * 3), None).same == 1.0
    assert stability(claim(), seeds([0.02]), None) is None


def test_draws_depend_on_the_claim_alone_and_not_on_how_many_fit_into_memory(monkeypatch):
    observed = seeds([0.0, 0.03, 0.045], [0.02, 0.01, 0.05])
    first = stability(claim(), observed, None)
    assert first == stability(claim(), observed, None)
    assert first != stability(claim("T2"), observed, None)
    monkeypatch.setattr("prunebench.suite.stability._AT_ONCE", 900)
    assert stability(claim(), observed, None).same == pytest.approx(first.same, abs=ERROR)


# --- Against reality


@pytest.fixture(scope="module")
def kept(request):
    """The claims, observations and margins of the kept run of the `cifar` preset."""
    folder = request.config.rootpath / "results/reference/cifar"
    preset = parse_preset(read_json(folder / "plan.json"), "cifar")
    return all_claims(preset), read_observations(folder / "observations.csv"), preset.margins


def runs_of(claim, observed, margins, count, n, rng):
    """Pairs of runs of n seeds, with the observed spread and all kinds of noise.

    Each pair has a truth of its own: from where the claim is false by as much as it could be true to beyond that.
    """
    null, claimed = claim.no_effect(margins, observed.cells), claim.claimed(margins, observed.cells)
    between = rng.uniform(-1, 1.5, count)
    ends = np.cumsum([len(cells) for cells in observed.cells.values()])
    noises = [draw_noise(rng, NOISES[at % len(NOISES)], (1, int(ends[-1]), n)) for at in range(2 * count)]
    errors = np.split(np.concatenate(noises), ends[:-1], axis=1)
    made = {}
    for (name, values), error in zip(observed.values.items(), errors, strict=True):
        ends = [
            np.array([of[at] if isinstance(of, dict) else of for at in observed.cells[name]])
            if (of := truth.get(name)) is not None
            else values[0].mean(axis=-1)
            for truth in (null, claimed)
        ]
        means = ends[0] + between[:, None] * (ends[1] - ends[0])
        spread = values[0].std(axis=-1, ddof=1)[:, None]
        made[name] = np.tile(means, (2, 1))[..., None] + spread * error
    return Sample(made, observed.cells)


def taken_for_true(observed, tables, rng):
    """Repeats for which the observed means and deviations are the true ones."""
    mixed = rng.standard_normal((tables, observed.n, observed.n)) / math.sqrt(observed.n - 1)
    values = {}
    for name, value in observed.values.items():
        mean = value.mean(axis=-1, keepdims=True)
        values[name] = mean + (value[0] - mean[0]) @ mixed.swapaxes(1, 2)
    return Sample(values, observed.cells)


def test_forecasts_come_true_and_those_from_observed_means_promise_too_much(kept):
    """Pairs of runs of five seeds: what the first makes of the second, and what the second is."""
    claims, observations, margins_of = kept
    count, each, rng = 300, 100, np.random.default_rng(5)
    shares = []
    for claim in claims:
        observed, margins = sample(observations, claim), margins_of(claim.paper)
        if observed.n < 2:
            continue
        runs = runs_of(claim, observed, margins, count, 5, rng)
        first, second = np.split(claim.judge(runs, margins).verdicts, 2)
        found = [(first == second).mean()]
        for draw in (repeats, taken_for_true):
            drawn = [
                draw(Sample({name: values[[at]] for name, values in runs.values.items()}, runs.cells), each, rng)
                for at in range(count)
            ]
            values = {name: np.concatenate([of.values[name] for of in drawn]) for name in runs.values}
            again = claim.judge(Sample(values, runs.cells), margins).verdicts.reshape(count, each)
            found.append((again == first[:, None]).mean())
        shares.append(found)
    assert len(shares) == 8
    found, by_forecast, by_means = np.mean(shares, axis=0)
    assert by_forecast == pytest.approx(found, abs=0.02)
    assert by_means > found + 0.03


def test_halves_are_split_in_every_way_and_judged_by_the_rule():
    """Found shares by hand, from all sets of five of the ten seeds."""
    rng = np.random.default_rng(3)
    values = 0.017 + 0.008 * rng.standard_normal((2, 10))
    got = check([claim()], frame("T1", *values), lambda paper: None).iloc[0]
    assert (got["n"], got["half"], got["splits"], got["verdict"]) == (10, 5, 252, "reproduced")

    def verdict(at):
        return claim().judge(seeds(*values[:, list(at)]), None).verdicts[0]

    pairs = [(verdict(at), verdict({*range(10)} - {*at})) for at in combinations(range(10), 5)]
    assert got["found_same"] == np.mean([a == b for a, b in pairs])
    assert got["found_opposite"] == np.mean([a * b == -1 for a, b in pairs])
    singles = [stability(claim(), seeds(*values[:, list(at)]), None).same for at in combinations(range(10), 5)]
    assert got["forecast_same"] == pytest.approx(np.mean(singles), abs=0.01)


@pytest.mark.parametrize(
    ("n", "half", "splits"), [(2, None, None), (3, None, None), (4, 2, 6), (5, 2, 30), (6, 3, 20), (11, 5, HALVES)]
)
def test_from_four_seeds_on_there_are_halves(n, half, splits):
    got = check([claim()], frame("T1", exactly(0.015, 0.005, n)), lambda paper: None).iloc[0]
    assert got["n"] == n
    assert ((got["half"], got["splits"]) == (half, splits)) if half else pd.isna([got["half"], got["splits"]]).all()


def test_every_claim_has_a_row_and_what_was_not_measured_an_empty_one():
    observations = pd.concat([frame("T1", [0.02, 0.021, 0.022]), frame("T2", [0.02])])
    got = check([claim(), claim("T2"), claim("T3")], observations, lambda paper: None)
    assert [*got.columns] == [column.name for column in STABILITY.columns]
    assert got["claim"].tolist() == ["T1", "T2", "T3"]
    assert got["same"].notna().tolist() == [True, False, False]
    assert got.loc[1:, ["n", "verdict", "opposite"]].isna().all(axis=None)
    assert forecast(got).startswith("No run has four seeds")


def test_a_sentence_sums_up_how_forecasts_did():
    observations = pd.concat([frame(name, exactly(0.03, 0.001, 4)) for name in ("T1", "T2")])
    text = forecast(check([claim(), claim("T2")], observations, lambda paper: None))
    assert "mean over 2 claims" in text
    assert "in > 99 % as found; so few claims say little." in text


# --- What fails


def test_a_verdict_that_more_than_a_percent_of_repeats_contradict_fails():
    """A rule without an interval finds the opposite of a mean near its margin about half of the time."""
    observations = pd.concat([frame(name, exactly(0.0102, 0.003, 10)) for name in ("T1", "T2")])
    verdicts = check([claim(), claim("T2", unsound)], observations, lambda paper: None)
    assert verdicts.set_index("claim").loc["T2", "opposite"] == pytest.approx(0.45, abs=0.1)
    rates = pd.DataFrame(columns=[column.name for column in CALIBRATION.columns])
    [(name, how)] = failures(rates, verdicts)
    assert name == "T2"
    assert how == f"{100 * verdicts.loc[1, 'opposite']:.0f} % of repeats give the opposite verdict; 1 % may"


def test_a_rule_that_calls_noise_reproduced_fails_by_its_worst_rate():
    rows = [
        {"claim": "T1", "n": 3, "noise": "independent", "null_reproduced": 0.04, "null_reproduced_low": 0.036},
        {"claim": "T2", "n": 3, "noise": "independent", "null_reproduced": 0.07, "null_reproduced_low": 0.065},
        {"claim": "T2", "n": 5, "noise": "heavy-tailed", "null_reproduced": 0.12, "null_reproduced_low": 0.11},
    ]
    nothing = check([claim()], frame("T1"), lambda paper: SimpleNamespace())
    [(name, how)] = failures(pd.DataFrame(rows), nothing)
    assert name == "T2"
    assert how.startswith('its rule calls noise "reproduced" in 12 % of the tables with n = 5 and noise heavy-tailed;')
