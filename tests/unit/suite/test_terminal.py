"""The ledger as text, and numbers as readers see them."""

import io
import math

import pytest
from rich.console import Console

from prunebench.suite.effects import chance, effect, exact, number, where
from prunebench.suite.ledger import Seen, judge
from prunebench.suite.preset import parse_preset
from prunebench.suite.record import Headline, Network, read_ledger
from prunebench.suite.terminal import markdown, print_ledger

IDS = ["T1", "T2", "T3", "U1"]


@pytest.fixture
def ledger(toy_preset, observations):
    """The ledger of a made-up scale with markup in its name."""
    preset = toy_preset(scale="[bold]x[/bold]")
    return judge(preset, Seen(observations({"a": [0.02, 0.021, 0.022]}), ["toy: [red]seed[/red] 3 is missing"]))


def printed(ledger, width=70):
    out = io.StringIO()
    print_ledger(ledger, Console(file=out, width=width))
    return out.getvalue()


def test_on_a_terminal_every_claim_stands_with_its_verdict_and_markup_is_text(ledger):
    text = printed(ledger)
    for claim in IDS:
        assert f" {claim} " in text
    assert "reproduced: The toy beats the benchmark." in text
    assert "Missing: toy: [red]seed[/red] 3 is missing" in text
    assert "[bold]x[/bold]" in text
    assert all(len(line) <= 70 for line in text.splitlines())


def test_as_markdown_every_claim_is_one_row(ledger):
    lines = markdown(ledger).splitlines()
    assert len(lines) == 2 + len(IDS)
    assert {line.replace("\\|", "").count(" | ") for line in lines} == {6}
    row = next(line for line in lines if line.startswith("| T1 |"))
    assert row.count("points: ") == 1
    assert "+2.1 \\| 3.4" in row


def test_how_sure_a_verdict_is_stands_beside_it(toy_preset, observations):
    network = Network(task="net", accuracy=0.7614, n=3)
    seen = Seen(observations({"a": [0.011, 0.02, 0.03]}), networks={"toy": [network]})
    [finding] = [each for each in judge(toy_preset(), seen).findings if each.id == "T1"]
    text = " ".join(printed(judge(toy_preset(), seen), 400).split())
    assert f"Of repeats with 3 other seeds, {chance(finding.stability)} give the same verdict." in text
    assert f"3 seeds find it in {chance(finding.power)} of runs with this spread; 80 % takes" in text
    assert text.count("of runs with this spread") == 1
    assert "Without pruning: net 76.1 %." in text
    row = markdown(judge(toy_preset(), seen)).splitlines()[2]
    assert f" | ? {finding.shown} | {chance(finding.stability)} | {chance(finding.power)} | " in row


def test_a_network_s_accuracy_stands_beside_what_longer_training_reaches(toy_preset, changed, observations):
    preset = parse_preset(
        changed("longer", to={"net": {"epochs": 48, "schedule": "cosine", "accuracy": 0.8025}}), "tiny"
    )
    network = Network(task="net", accuracy=0.7614, n=3)
    ledger = judge(preset, Seen(observations({"a": [0.011, 0.02, 0.03]}), networks={"toy": [network]}))
    assert "Without pruning: net 76.1 % (80.2 % after 48 epochs, cosine)." in " ".join(printed(ledger, 400).split())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "< 0.1 %"),
        (0.0123, "1.2 %"),
        (0.0996, "10 %"),
        (0.8, "80 %"),
        (0.9949, "99 %"),
        (0.995, "> 99 %"),
        (None, "n/a"),
    ],
)
def test_chances_of_a_simulation_are_neither_none_nor_certain(value, text):
    assert chance(value) == text


def test_a_kept_ledger_of_an_older_version_is_printed(request):
    ledger = read_ledger(request.config.rootpath / "results/reference/laptop")
    assert " A3 " in printed(ledger)
    assert len(markdown(ledger).splitlines()) == 2 + len(ledger.findings)


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


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(0.005, "points", "+0.5 points"), (math.log(1.05), "ratio", "\u00d7 1.05")]
)
def test_a_chosen_number_has_the_digits_that_it_was_given(value, unit, text):
    assert exact(value, unit) == text


def headline(mean, low=None, high=None, unit="points", **keys):
    return Headline(quantity="q", cell="net", unit=unit, n=3, mean=mean, low=low, high=high, **keys)


def test_an_effect_carries_its_interval_and_unit():
    assert effect(headline(0.01, -0.005, 0.025)) == "+1.0 [\u22120.5, +2.5] points"
    assert effect(headline(0.0, unit="ratio")) == "\u00d7 1.00"
    assert effect(headline(None)) == effect(None) == "n/a"


def test_where_an_effect_is_from_and_how_far_its_cells_reach():
    assert where(headline(0.01, lowest=0.01, highest=0.01)) == "net, n = 3"
    assert where(headline(0.01, lowest=-0.01, highest=0.03)) == "net from \u22121.00 to +3.00, n = 3"
