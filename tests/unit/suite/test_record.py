"""claims.json as a model: files of this version and of others, and files that are none."""

import json

import pytest

from prunebench.errors import InputError
from prunebench.suite.record import Finding, Ledger, read_ledger


@pytest.fixture
def reread(tmp_path):
    """What is read of this content."""

    def read(content):
        (tmp_path / "claims.json").write_text(json.dumps(content))
        return read_ledger(tmp_path)

    return read


def test_a_ledger_is_read_as_it_was_written(reread):
    cell = {"cell": "net \u00b7 50 %", "axes": {"task": "net", "sparsity": 0.5, "cycle": 3}, "n": 2, "mean": 0.1}
    headline = {"quantity": "gain", "cell": "net", "unit": "points", "n": 2, "mean": 0.1, "low": None, "high": None}
    finding = {
        "id": "T1:theirs",
        "paper": "a-paper-from-outside",
        "sentence": "It gains.",
        "verdict": "inconclusive",
        "headline": headline,
        "quantities": [{"name": "gain", "cells": [cell]}],
    }
    ledger = Ledger.model_validate({"preset": "p", "scale": "s", "seeds": [0, 1], "findings": [finding]})
    assert reread(ledger.model_dump(mode="json")) == ledger
    axes = ledger.findings[0].quantities[0].cells[0].axes
    assert [type(value) for value in axes.values()] == [str, float, int]


def finding(verdict, **keys):
    """The one finding of a ledger."""
    content = {"id": "T1", "paper": "toy", "sentence": "It gains.", "verdict": verdict, "headline": None}
    return Finding.model_validate(content | {"quantities": [], "repeated": 3} | keys)


@pytest.mark.parametrize(
    ("verdict", "keys", "shown"),
    [
        ("reproduced", {}, "reproduced"),
        ("reproduced", {"stability": 0.8}, "reproduced"),
        ("reproduced", {"stability": 0.799}, "reproduced, narrowly"),
        ("not reproduced", {"stability": 0.5, "power": 0.01}, "not reproduced, narrowly"),
        ("reproduced", {"stability": 0.9, "found": "a harmful effect"}, "reproduced (a harmful effect)"),
        ("reproduced", {"stability": 0.1, "found": "a helpful effect"}, "reproduced, narrowly (a helpful effect)"),
        ("inconclusive", {"stability": 0.5, "power": 0.2}, "inconclusive"),
        ("inconclusive", {"stability": 0.99, "power": 0.199}, "cannot be decided with 3 seeds"),
        ("inconclusive", {"power": 0.0, "replicates": "timing blocks"}, "cannot be decided with 3 timing blocks"),
        (
            "inconclusive",
            {"power": 0.1, "found": "all but its control holds"},
            "inconclusive (all but its control holds)",
        ),
        ("not run at this scale", {}, "not run at this scale"),
    ],
)
def test_a_verdict_is_shown_with_how_firm_it_is_and_what_was_found(verdict, keys, shown):
    assert finding(verdict, **keys).shown == shown


def test_the_shown_verdict_is_in_the_file_and_made_anew_when_it_is_read(reread):
    ledger = Ledger(preset="p", scale="s", seeds=[0], findings=[finding("reproduced", stability=0.5)])
    content = ledger.model_dump(mode="json")
    assert content["findings"][0]["shown"] == "reproduced, narrowly"
    content["findings"][0]["shown"] = "proven"
    assert reread(content) == ledger


def test_a_file_that_was_written_before_cells_had_axes_is_read(request, tmp_path):
    content = json.loads((request.config.rootpath / "results/reference/laptop/claims.json").read_text())
    for finding in content["findings"]:
        for name in ("repeated", "stability", "opposite", "power", "power_seeds", "networks", "found", "shown"):
            finding.pop(name, None)
        for quantity in finding["quantities"]:
            for cell in quantity["cells"]:
                del cell["axes"]
    (tmp_path / "claims.json").write_text(json.dumps(content))
    ledger = read_ledger(tmp_path)
    cells = [cell for finding in ledger.findings for quantity in finding.quantities for cell in quantity.cells]
    assert len(cells) > 100
    assert all(cell.cell and not cell.axes for cell in cells)
    assert all(finding.shown == finding.verdict and not finding.networks for finding in ledger.findings)


def test_keys_of_a_later_version_are_passed_over_in_what_longer_training_reaches(request, reread):
    content = json.loads((request.config.rootpath / "results/reference/evening/claims.json").read_text())
    known = reread(content)
    stated = [network["longer"] for finding in content["findings"] for network in finding["networks"]]
    assert len(stated) > 20
    for longer in stated:
        longer["later"] = 1
    assert reread(content) == known


def test_keys_of_a_later_version_are_passed_over(reread):
    assert reread({"preset": "p", "scale": "s", "seeds": [], "findings": [], "new": 1}).missing == []


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "mapping"),
        ('{"preset": "x"}', "field required"),
        ('{"preset": "x", "scale": "y", "seeds": [0], "findings": [{"id": "A1"}]}', "findings.0.paper"),
    ],
)
def test_a_file_that_is_no_ledger_is_named(tmp_path, content, part):
    if content is not None:
        (tmp_path / "claims.json").write_text(content)
    with pytest.raises(InputError, match=r"claims\.json") as error:
        read_ledger(tmp_path)
    assert part in str(error.value)
    assert "\n" not in str(error.value)
