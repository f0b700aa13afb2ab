"""Two folders of results side by side."""

import csv
import io
import json
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from prunebench.errors import InputError
from prunebench.parsing import flatten
from prunebench.suite.compare import COLUMNS, PROVENANCE, compare, counts, main, show, write


def finding(name="A3", verdict="inconclusive", effect=(0.012, -0.004, 0.028), unit="points", cells=("x", "y"), **other):
    """A claim of claims.json as the oldest files have it: without axes of cells, and without much else."""
    mean, low, high = effect
    headline = {"quantity": "gain", "cell": "mean over cells", "unit": unit, "n": 3, "confidence": 0.95}
    headline |= {"mean": mean, "low": low, "high": high}
    of_cells = [{"cell": cell, "n": 3, "mean": 0.1} for cell in cells]
    quantities = [{"name": "gain", "meaning": "m", "unit": unit, "pooled": None, "cells": of_cells}]
    return {
        "id": name,
        "paper": "s_cyc",
        "sentence": "It gains.",
        "verdict": verdict,
        "headline": headline,
        "quantities": quantities,
        "why": "because",
    } | other


RUN = {
    "folder": "s_cyc/a",
    "status": "trained",
    "test_accuracy": 0.75,
    "spec_sha256": "s1",
    "torch": "2.13.0",
    "precision": "fp32",
}


def results(folder, findings=(), plan=None, runs=(RUN,), **header):
    """A folder of results; `plan` or `runs` None: without that file."""
    folder.mkdir(parents=True)
    ledger = {"preset": "laptop", "scale": "scaled-down", "seeds": [0, 1, 2], "missing": [], "counts": {}}
    (folder / "claims.json").write_text(json.dumps(ledger | {"findings": list(findings)} | header))
    if plan is not None:
        (folder / "plan.json").write_text(json.dumps(plan))
    if runs is not None:
        with (folder / "runs.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for run in runs for key in run)))
            writer.writeheader()
            writer.writerows(runs)
    return folder


@pytest.fixture
def compared(tmp_path):
    """Compares folders a and b, each made of what `results` takes."""

    def make(of_a=None, of_b=None):
        return compare(
            results(tmp_path / "a", **{"plan": {}, **(of_a or {})}),
            results(tmp_path / "b", **{"plan": {}, **(of_b or {})}),
        )

    return make


def printed(result, width=200):
    out = io.StringIO()
    show(result, Console(file=out, width=width))
    return out.getvalue()


# --- Claims


def test_verdicts_and_effects_claim_by_claim(compared):
    of_a = [finding(), finding("A5", "reproduced", (0.1, 0.05, 0.15))]
    of_b = [finding(verdict="reproduced", effect=(0.04, 0.03, 0.05)), finding("A5", "reproduced", (0.1, 0.05, 0.15))]
    result = compared({"findings": of_a}, {"findings": of_b})
    first, second = result.claims
    assert (first.id, first.a.verdict, first.b.verdict, first.changed) == ("A3", "inconclusive", "reproduced", True)
    assert first.difference == pytest.approx(0.028)
    assert first.disjoint is True
    assert (second.changed, second.difference, second.disjoint) == (False, 0.0, False)
    assert first.notes == ["verdict changed", "intervals disjoint"]
    assert second.notes == ["intervals overlap"]
    text = printed(result)
    (line,) = [line for line in text.splitlines() if line.startswith("A3 gain")]
    for part in ("inconclusive", "reproduced", "+1.2 [\u22120.4, +2.8] points", "+4.0 [+3.0, +5.0] points", "+2.8"):
        assert part in line
    assert "verdict changed, intervals disjoint" in line
    assert "Verdicts of 2 claims: changed: A3." in text


@pytest.mark.parametrize(
    ("a", "b", "disjoint"),
    [
        ((0.0, -0.1, 0.1), (0.3, 0.2, 0.4), True),
        ((0.3, 0.2, 0.4), (0.0, -0.1, 0.1), True),
        ((0.0, -0.1, 0.1), (0.15, 0.1, 0.2), False),  # they share an end
        ((0.0, -1.0, 1.0), (0.1, 0.05, 0.15), False),
        ((0.0, None, None), (0.3, 0.2, 0.4), None),
        ((None, None, None), (0.3, 0.2, 0.4), None),
    ],
)
def test_intervals_are_disjoint_where_they_have_nothing_in_common(compared, a, b, disjoint):
    (pair,) = compared({"findings": [finding(effect=a)]}, {"findings": [finding(effect=b)]}).claims
    assert pair.disjoint is disjoint
    assert math.isnan(pair.difference) == (a[0] is None)


def test_ratios_are_compared_as_ratios(compared):
    effects = [(math.log(ratio), math.log(ratio / 2), math.log(2 * ratio)) for ratio in (0.5, 1.5)]
    result = compared(*({"findings": [finding(unit="ratio", effect=effect)]} for effect in effects))
    assert result.claims[0].difference == pytest.approx(math.log(3))
    assert "× 0.50 [0.25, 1.0]" in printed(result)
    assert "× 3.00 " in printed(result)


@pytest.mark.parametrize(
    ("unit", "shown"),
    [("share", "+10.00"), ("points", "+10.00"), ("nats", "+0.100"), ("count", "+0.100"), ("slope", "+0.100")],
)
def test_a_difference_has_a_sign_and_that_of_shares_is_in_points(compared, unit, shown):
    result = compared(*({"findings": [finding(unit=unit, effect=(mean, 0.1, 0.9))]} for mean in (0.4, 0.5)))
    (line,) = [line for line in printed(result).splitlines() if line.startswith("A3")]
    assert line.split("│")[5].strip() == shown


def test_what_is_not_comparable_has_no_difference(compared):
    other = finding()
    other["headline"]["quantity"] = "loss"
    result = compared({"findings": [finding(), finding("A4", headline=None)]}, {"findings": [other, finding("A4")]})
    assert [pair.notes for pair in result.claims] == [["other quantity"], []]
    assert all(math.isnan(pair.difference) and pair.disjoint is None for pair in result.claims)
    shutil.rmtree(result.a)
    shutil.rmtree(result.b)
    result = compared({"findings": [finding(cells=("x",))]}, {"findings": [finding()]})
    assert result.claims[0].notes == ["other cells", "intervals overlap"]


def with_axes(*cells):
    """A claim whose file knows the axes of its cells."""
    claim = finding(cells=[label for label, _ in cells])
    for cell, (_, axes) in zip(claim["quantities"][0]["cells"], cells, strict=True):
        cell["axes"] = axes
    return claim


HALF, MOST = {"task": "net", "sparsity": 0.5}, {"sparsity": 0.9375, "task": "net"}


@pytest.mark.parametrize(
    ("other", "note"),
    [
        (with_axes(("net · 93.8 %", MOST), ("net · 50.0 %", HALF)), None),  # whatever labels and the order of axes
        (with_axes(("net · 50 %", HALF), ("net · 93.75 %", MOST | {"sparsity": 0.95})), "other cells"),
        # Older files know labels alone, with other separators and percentages to one decimal.
        (finding(cells=("net (50.0 %)", "net · 93.8 %")), None),
        (finding(cells=("net · 50.0 %", "net · 95.0 %")), "other cells"),
        (finding(cells=("net · 50.0 %",)), "other cells"),
    ],
)
def test_cells_are_matched_by_their_axes_or_by_labels_where_a_file_has_nothing_else(compared, other, note):
    new = with_axes(("net · 50 %", HALF), ("net · 93.75 %", MOST))
    [pair] = compared({"findings": [new]}, {"findings": [other]}).claims
    assert pair.notes == ["intervals overlap"] if note is None else [note, "intervals overlap"]


def test_cells_that_an_older_file_cannot_tell_apart_are_not_compared(compared):
    """98.41 % and 98.44 % are both 98.4 % there: a guess would compare one cell's effect with another's."""
    new = with_axes(("net · 98.41 %", HALF), ("net · 98.44 %", MOST))
    result = compared({"findings": [new]}, {"findings": [finding(cells=("net · 98.4 %", "net · 99.2 %"))]})
    [pair] = result.claims
    assert (pair.effects, pair.disjoint) == (None, None)
    assert math.isnan(pair.difference)
    assert pair.notes == ["not compared: labels of cells are ambiguous"]
    [line] = [line for line in printed(result).splitlines() if line.startswith("A3")]
    assert "not compared: labels of cells are ambiguous" in line


def test_claims_that_one_ledger_lacks(compared):
    result = compared({"findings": [finding("A1")]}, {"findings": [finding("B1")]})
    assert [(pair.id, pair.a is None, pair.b is None) for pair in result.claims] == [
        ("A1", False, True),
        ("B1", True, False),
    ]
    assert all(pair.changed for pair in result.claims)
    assert printed(result).count("not in this ledger") == 2


# --- Presets, code, machine


def test_flatten_joins_keys_by_dots_and_keeps_lists_of_values_whole():
    nested = {"a": {"b": 1, "c": {}}, "d": [1, 2], "e": [{"f": None}, {"f": []}], "g": []}
    assert dict(flatten(nested)) == {"a.b": 1, "a.c": {}, "d": [1, 2], "e[0].f": None, "e[1].f": [], "g": []}


def test_keys_of_the_preset_that_differ(compared):
    a = {"seeds": [0, 1], "tasks": {"net": {"epochs": 3, "lr": 0.1}}, "grids": [{"of": "x"}], "same": 1, "old": True}
    b = {"seeds": [0], "tasks": {"net": {"epochs": 5, "lr": 0.1}}, "grids": [{"of": "x"}, {"of": "y"}], "same": 1.0}
    result = compared({"plan": a}, {"plan": b})
    assert [(pair.name, pair.a, pair.b) for pair in result.preset] == [
        ("seeds", "[0, 1]", "[0]"),
        ("tasks.net.epochs", "3", "5"),
        ("old", "true", None),
        ("grids[1].of", None, '"y"'),
    ]
    assert "not there" in printed(result)


def test_equal_presets_and_many_keys_in_the_terminal(compared):
    assert "The presets are equal in every key." in printed(compared())


def test_a_terminal_shows_the_first_keys_and_says_how_many_more(compared):
    result = compared({"plan": {f"key{i}": 1 for i in range(40)}})
    assert "... and 10 more keys (--out FILE.csv has all)." in printed(result)


def test_code_and_machine_with_every_value_that_runs_have(compared):
    runs = [
        RUN | {"commit": "1" * 40, "device": "CPU one"},
        RUN | {"folder": "s_cyc/b", "commit": "2" * 40, "device": "CPU one"},
    ]
    result = compared({"runs": runs}, {"runs": [RUN | {"commit": "1" * 40, "torch": "2.14.0"}], "seeds": [0, 1]})
    pairs = {pair.name: (pair.a, pair.b) for pair in result.provenance}
    assert pairs["seeds"] == ("0, 1, 2", "0, 1")
    assert pairs["commit"] == (f"{'1' * 40}, {'2' * 40}", "1" * 40)
    assert pairs["device"] == ("CPU one", None)
    assert pairs["torch"] == ("2.13.0", "2.14.0")
    text = printed(result)
    assert f"{'1' * 12}, {'2' * 12}" in text
    assert "1" * 13 not in text
    assert "not recorded" in text
    assert any("torch" in line and "differs" in line for line in text.splitlines())
    assert any("precision" in line and "same" in line for line in text.splitlines())
    assert "numpy" not in pairs  # neither has it


# --- Runs


def test_runs_that_both_have(compared):
    def run(name, accuracy, spec="s1"):
        return RUN | {"folder": name, "test_accuracy": accuracy, "spec_sha256": spec}

    a = [run("same", 0.5), run("up", 0.5), run("down", 0.8), run("lost", "nan"), run("both lost", "nan")]
    b = [run("same", 0.5), run("up", 0.51, "s2"), run("down", 0.7), run("lost", 0.4), run("both lost", "")]
    runs = compared({"runs": [*a, run("old", 1)]}, {"runs": [*b, run("new", 1)]}).runs
    assert [*counts(runs).values()] == [5, 4, 2, 2]
    both = runs[runs["in_a"] & runs["in_b"]]
    assert both.index[~both["equal"]].tolist() == ["down", "up", "lost"]
    assert runs.loc["down", ["a", "b"]].tolist() == [0.8, 0.7]
    assert (runs.index[~runs["in_b"]].tolist(), runs.index[~runs["in_a"]].tolist()) == (["old"], ["new"])


def test_the_terminal_says_which_run_differs_most(compared):
    result = compared({"runs": [RUN, RUN | {"folder": "x"}]}, {"runs": [RUN | {"test_accuracy": 0.7}]})
    text = " ".join(printed(result).split())
    assert "Runs that both have: 1, of the same specification: 1." in text
    assert "Of equal test accuracy: 0 of 1; of the same specification: 0 of 1." in text
    assert "Largest difference: -5.00 points in s_cyc/a (75.00 and 70.00 %)." in text
    assert "Runs that only A has: 1, such as x." in text


def test_runs_of_a_version_without_specifications_are_none_of_the_same(compared):
    run = {"folder": "x", "test_accuracy": 0.5}
    assert not compared({"runs": [run]}, {"runs": [run]}).runs["same_spec"].any()


def test_without_a_plan_or_a_list_of_runs_the_rest_is_compared(compared, tmp_path):
    result = compared({"findings": [finding()], "plan": None}, {"findings": [finding()], "runs": None})
    assert (result.preset, result.runs) == (None, None)
    assert result.absent == (str(tmp_path / "a" / "plan.json"), str(tmp_path / "b" / "runs.csv"))
    assert len(result.claims) == 1
    assert [pair.name for pair in result.provenance] == ["seeds"]
    text = " ".join(printed(result, 400).split())
    assert f"Not compared: {tmp_path / 'a' / 'plan.json'} is missing." in text
    assert "equal in every key" not in text


# --- Output


def test_the_table_holds_everything(compared, tmp_path):
    ratio = finding("A5", unit="ratio", effect=(0.5, None, None))
    other = finding("A4")
    other["headline"]["quantity"] = "loss"
    fewer = finding(effect=(0.04, 0.03, 0.05))
    fewer["headline"]["cell"] = "x"
    result = compared(
        {"findings": [finding(), ratio, other], "plan": {"k": 1}, "runs": [RUN, RUN | {"folder": "gone"}]},
        {
            "findings": [fewer, ratio, finding("A4")],
            "plan": {"k": 2},
            "runs": [RUN | {"test_accuracy": 0.5}],
        },
    )
    write(result, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    by_name = {(line["part"], line["name"], line["what"]): line for line in lines}
    assert len(by_name) == len(lines)
    effect = by_name["claim", "A3", "gain (points), mean over cells / x"]
    assert [effect[name] for name in COLUMNS[3:]] == [
        *("0.012", "0.04", "-0.004", "0.028", "0.03", "0.05", "0.028", "intervals disjoint"),
    ]
    assert by_name["claim", "A3", "verdict"]["note"] == "same"
    assert by_name["claim", "A5", "gain (ratio), mean over cells"]["a_low"] == ""
    assert by_name["claim", "A4", "loss (points), mean over cells"]["b"] == ""
    assert by_name["claim", "A4", "gain (points), mean over cells"]["a"] == ""
    assert (by_name["preset", "k", ""]["a"], by_name["preset", "k", ""]["b"]) == ("1", "2")
    assert by_name["provenance", "torch", ""]["note"] == "same"
    run = by_name["run", "s_cyc/a", "test_accuracy"]
    assert (run["a"], run["b"], run["difference"], run["note"]) == ("0.75", "0.5", "-0.25", "same specification")
    assert by_name["run", "gone", ""]["note"] == "not in b"
    assert by_name["runs", "in both", ""]["a"] == "1"
    first = (tmp_path / "out.csv").read_bytes()
    write(compare(result.a, result.b), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == first


def test_main_prints_plain_text_where_there_is_no_terminal_and_writes_the_table(
    compared, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    result = compared({"findings": [finding()]}, {"findings": [finding(verdict="reproduced")]})
    main(result.a, result.b)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    (line,) = [line for line in text.splitlines() if line.startswith("A3")]
    assert "verdict changed" in line
    assert not (tmp_path / "out.csv").exists()
    main(result.a, result.b, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("part,name,what,")


def test_markup_and_control_characters_in_files_are_text(compared):
    name = "[bold]A3[/bold]"
    other = finding("A4", unit="\x07[bold]no")
    other["headline"]["quantity"] = "\x07[bold]no"
    result = compared(
        {
            "findings": [finding(name)],
            "plan": {"[red]k": "[/]"},
            "scale": "[link=x]s",
            "runs": [RUN | {"torch": "\x1b[31m"}],
        },
        {"findings": [other], "plan": {}, "runs": [RUN | {"folder": "[b]x"}]},
    )
    out = io.StringIO()
    show(result, Console(file=out, width=300, force_terminal=True, no_color=True))
    text = out.getvalue()
    for part in ("[bold]A3[/bold] gain", "[red]k", '"[/]"', "[link=x]s", "[bold]no", "[b]x", " [31m"):
        assert part in text
    assert "\x1b[31m" not in text
    assert "\x07" not in text


def test_a_folder_compared_with_itself_differs_in_nothing(compared):
    result = compared({"findings": [finding()]})
    same = compare(result.a, result.a)
    assert not any(pair.changed for pair in same.claims)
    assert (same.preset, [*counts(same.runs).values()]) == ((), [1, 1, 1, 1])
    assert "none changed" in printed(same)


# --- Bad input


def fault(a, b):
    with pytest.raises(InputError) as caught:
        compare(a, b)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def two(tmp_path):
    return results(tmp_path / "laptop", plan={}), results(tmp_path / "smoke", plan={})


def test_a_folder_that_is_not_there(two):
    assert "laptob: no such folder; did you mean 'laptop'?" in fault(two[0].with_name("laptob"), two[1])
    assert "claims.json: no such folder" in fault(two[0], two[1] / "claims.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("claims.json", None, r"cannot read {}: No such file"),
        ("claims.json", "{", "{} is not JSON: "),
        ("claims.json", "[" * 100_000, "{} is not JSON: "),
        ("claims.json", b"\xff\xfe", "{} is UTF-16"),
        ("claims.json", "[]", "{}: must hold a mapping"),
        ("claims.json", "{}", "{}: 'preset': field required"),
        ("claims.json", {"findings": [{}]}, "{}: 'findings.0.id': field required"),
        (
            "claims.json",
            {"findings": [finding() | {"headline": {}}]},
            "{}: 'findings.0.headline.mean': field required",
        ),
        ("claims.json", {"findings": [finding(effect=("x", 0, 0))]}, "{}: 'findings.0.headline.mean': "),
        ("claims.json", {"findings": [finding(), finding()]}, "{}: findings: claim A3 is there twice"),
        ("plan.json", "nonsense", "{} is not JSON: "),
        ("plan.json", "[1]", "{}: must hold a mapping"),
        ("runs.csv", "", "{} is not a table: it is empty"),
        ("runs.csv", "folder,status\nx,trained\n", "{}: column test_accuracy is missing; found folder, status"),
        ("runs.csv", "folder,test_accuracy\nx,1\nx,2\n", "{}: run x is there twice"),
        ("runs.csv", "folder,test_accuracy\nx,good\n", "{}: column test_accuracy: "),
        ("runs.csv", 'folder,test_accuracy\n"x,1\n', "{} is not a table: line 2"),
    ],
)
def test_a_broken_file_is_named(two, name, content, message):
    path = two[1] / name
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_text(json.dumps({"preset": "p", "scale": "s", "seeds": [0]} | content))
    assert fault(*two).startswith(message.format(path))


def test_a_key_of_a_later_version_is_passed_over(compared):
    result = compared({"findings": [finding(new=1)], "newer": 2})
    assert result.claims[0].a.verdict == "inconclusive"


def test_a_verdict_that_no_version_knows_is_refused(two):
    content = {"preset": "p", "scale": "s", "seeds": [0], "findings": [finding(verdict="repoduced")]}
    (two[1] / "claims.json").write_text(json.dumps(content))
    assert "'findings.0.verdict' is 'repoduced': did you mean 'reproduced'?" in fault(*two)


def test_results_that_were_kept_before_cells_had_axes_can_be_compared(request):
    kept = request.config.rootpath / "results/reference/laptop"
    result = compare(kept, kept)
    assert len(result.claims) > 20
    assert not any(pair.changed or "other cells" in pair.notes for pair in result.claims)


def test_comparing_changes_no_file(compared):
    result = compared({"findings": [finding()]})
    before = {path: path.read_bytes() for path in sorted(Path(result.a).iterdir())}
    compare(result.a, result.b)
    assert {path: path.read_bytes() for path in sorted(Path(result.a).iterdir())} == before


def test_columns_of_provenance_are_those_that_runs_write():
    import torch

    from prunebench.runs.provenance import provenance

    written = provenance(torch.device("cpu"), "fp32", "d")
    assert set(written) == {*PROVENANCE, "finished", "cpu_seconds", "others_load"}


# --- In short


def in_brief(a, b, capsys):
    main(a, b, brief=True)
    return " ".join(capsys.readouterr().out.split())


def observed(folder, *lines):
    (folder / "observations.csv").write_text("\n".join(["claim,quantity,cell,seed,value", *lines]) + "\n")


def test_a_repeat_is_equal_to_the_byte_where_all_observations_are(compared, capsys):
    result = compared({"findings": [finding()]}, {"findings": [finding()]})
    for folder in (result.a, result.b):
        observed(folder, "A3,gain,{},0,0.012")
    text = in_brief(result.a, result.b, capsys)
    assert "to the byte: the numbers behind every claim. Verdicts: 1 of 1 are the same." in text
    observed(result.a, "A3,gain,{},0,0.0120000001")
    text = in_brief(result.a, result.b, capsys)
    assert "equal to the byte for 0 of 1 claims; not A3." in text


@pytest.mark.parametrize(
    ("there", "said"),
    # The halves of both intervals are 0.016: noise explains up to 0.0226.
    [((0.034, 0.018, 0.050), "noise explains"), ((0.035, 0.019, 0.051), "noise does not explain")],
)
def test_a_changed_verdict_is_explained_by_noise_or_not(compared, capsys, there, said):
    result = compared({"findings": [finding()]}, {"findings": [finding(verdict="reproduced", effect=there)]})
    text = in_brief(result.a, result.b, capsys)
    assert f"A3: inconclusive here, reproduced there; {said} +1.2 [−0.4, +2.8] points here, " in text


def test_a_changed_verdict_without_two_effects_is_not_explained(compared, capsys):
    result = compared({"findings": [finding(headline=None)]}, {"findings": [finding(verdict="reproduced")]})
    assert "no two intervals to compare" in in_brief(result.a, result.b, capsys)
