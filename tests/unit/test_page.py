"""The HTML report: what it says, what it must not believe, and what it says where results are missing."""

import base64
import csv
import hashlib
import html
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from page_results import IDS, calibration, ledger, preset, runs, write_results, write_rows

from prunebench import numbers
from prunebench.claims.ledger import CLAIMS, judge
from prunebench.errors import InputError
from prunebench.report.page import exhibits, forest, inputs, provenance, write_page

ROOT = Path(__file__).parents[2]
SMOKE = preset(ROOT)
LAPTOP = preset(ROOT, "laptop")
EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">&"\''


class Reader(HTMLParser):
    """Elements with their attributes, and the text of a page."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.text, self.within = [], [], []
        self.feed(source)
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.within.append(tag)

    def handle_endtag(self, tag):
        while self.within and self.within.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"style", "script"} & {*self.within}:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def folder(tmp_path):
    """A results folder and its figures that lack nothing."""
    return write_results(tmp_path, LAPTOP)


def written(results, figures):
    out = results / "report.html"
    write_page(results, figures, out)
    return out.read_text(encoding="utf-8")


def read(results, figures):
    return Reader(written(results, figures))


def change(path, **values):
    """Sets columns of the first row of a CSV file."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= values
    write_rows(path, rows)


# --- what it says


def test_the_ledger_has_every_claim_with_verdict_effect_rule_and_published_value(folder):
    page = read(*folder)
    bodies = [a for a in page.all("tbody") if a.get("id", "").startswith("claim-")]
    assert [a["id"].removeprefix("claim-") for a in bodies] == IDS
    assert len(page.all("details")) > len(IDS)
    for finding, body in zip(ledger()["findings"], bodies, strict=True):
        assert body["data-name"] == finding["verdict"]
        for words in (finding["sentence"], finding["rule"], finding["published"], finding["why"], finding["mark"]):
            assert words in page.words, words
        for quantity in finding["quantities"]:
            assert quantity["meaning"] in page.words


def test_the_head_counts_the_verdicts_and_says_preset_scale_seeds_and_date(folder):
    page = read(*folder)
    head = page.words[: page.words.index("Ledger of claims")]
    counts = ledger()["counts"]
    assert re.search(" ".join(rf"{n}\s+{verdict}" for verdict, n in counts.items()), head)
    for words in ("preset laptop", LAPTOP.scale, "Seeds 0, 1, 2", "9 training jobs", "2026-11-22"):
        assert words in head
    assert "Nothing is missing" in head


def test_a_finding_shows_its_conditions_with_yes_and_no(folder):
    page = read(*folder).words
    reproduced, refuted = (f"the mean gain's interval lies {side} the margin" for side in ("above", "below"))
    assert f"Reproduced if all of these hold: yes {reproduced}" in page
    assert f"Otherwise not reproduced if any of these holds: yes {refuted}" in page
    assert f"no {reproduced}" in page


def test_what_is_repeated_has_its_name(folder):
    page = read(*folder).words
    assert "n = 3 timing blocks)" in page
    assert "one timing block" in page
    assert "one seed" in page


def test_what_the_ledger_really_writes_can_be_shown(folder):
    results, figures = folder
    flat = next(claim for claim in CLAIMS if claim.id == "A3")
    rows = [
        ("A3", quantity.name, f"task · criterion · {level} %", seed, 0.01 * (seed + level / 100))
        for quantity in flat.quantities
        for level in (50, 75)
        for seed in LAPTOP.seeds
    ]
    observations = pd.DataFrame(rows, columns=["claim", "quantity", "cell", "seed", "value"])
    found = judge(LAPTOP, observations, ["s_cyc: seed 2: 3 of 25 runs are missing"])
    (results / "claims.json").write_text(json.dumps(found))
    observations.to_csv(results / "observations.csv", index=False)
    page = read(results, figures)
    assert len([a for a in page.all("tbody") if a.get("id", "").startswith("claim-")]) == len(CLAIMS)
    assert "in task · criterion)" in page.words
    assert "s_cyc: seed 2: 3 of 25 runs are missing" in page.words


def test_the_same_results_give_the_same_bytes(folder):
    assert written(*folder) == written(*folder)


def test_every_link_within_the_page_leads_somewhere_and_ids_are_unique(folder):
    page = read(*folder)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#") and "=" not in a["href"]}
    assert links - {*ids} == set()
    assert {"figure-s_cyc_accuracy", "table-s_cyc_accuracy", "claim-A3"} <= links


def test_figures_have_alternative_texts_and_captions_and_tables_are_closed(folder):
    page = read(*folder)
    images = page.all("img")
    assert len(images) == 23
    assert all(len(image["alt"]) > 20 and image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert {(image["width"], image["height"]) for image in images} == {("691", "288")}
    assert len(page.all("figcaption")) == len(images)
    assert not [a for a in page.all("details") if "open" in a]


def test_nothing_is_loaded_and_only_our_own_script_and_style_may_run(folder):
    source = written(*folder)
    page = Reader(source)
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
        assert re.match(r"#|data:|https://arxiv\.org/abs/[\d.]+$", attributes.get("href", "#"))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_code_versions_are_named_with_what_they_made(folder):
    results, figures = folder
    rows = runs(LAPTOP)
    rows[0] |= {
        "source_digest": "ffff0000ffff0000ffff",
        "commit": "abcdef0123456789",
        "dirty": True,
        "task": "fashion-mlp",
    }
    write_rows(results / "runs.csv", rows)
    page = read(results, figures).words
    assert "2 versions of the code made these results" in page
    assert "1 run came from a source tree with uncommitted changes" in page
    assert "ffff0000ffff0000 Commit abcdef012345 , with uncommitted changes" in page
    assert "1 run: s_cyc (fashion-mlp)" in page
    assert "8 runs: s_cyc (fashion-resnet8); cascade (fashion-resnet8-long); directional (fashion-mlp-sgd)" in page


def test_machines_that_differ_are_listed_with_their_runs(folder):
    results, figures = folder
    change(results / "runs.csv", device="another processor")
    assert "another processor (1 run) , a processor (8 runs)" in read(results, figures).words


def test_costs_are_summed_by_study_and_in_all():
    found = provenance.costs([{k: str(v) for k, v in row.items()} for row in runs(LAPTOP)])
    assert [row["study"] for row in found] == ["s_cyc", "cascade", "directional", "all"]
    assert found[0] | {"study": ""} == {
        "study": "", "runs": "3", "steps": "300", "images": "19\u202f200", "flops": "6.00 × 10¹²",
        "flops_sparse": "3.00 × 10¹²", "seconds": "2 min 2 s", "memory": "310 MB",
    }  # fmt: skip
    assert (found[3]["runs"], found[3]["flops"]) == ("9", "1.80 × 10¹³")


def test_calibration_is_summed_up(folder):
    results, figures = folder
    table = results / "tables" / "calibration.csv"
    change(table, null_reproduced="0.0471", claimed_not_reproduced="0.0123")
    page = read(results, figures).words
    assert "Over 28 rules" in page
    assert "“reproduced” where there is no effect is 4.7 % (claim A1, 3 seeds, noise independent)" in page
    assert "“not reproduced” where the claimed effect is there is 1.2 % (claim A1, 3 seeds, noise independent)" in page
    assert "finds the claimed effect in 27 % with 3, 45 % with 5, 91 % with 10 seeds; 80 % needs 9 seeds." in page
    assert "With 10 seeds each of them finds the claimed effect" in page
    assert "Without rates" not in page
    assert "too often" not in page


def test_power_is_that_under_the_worst_noise(folder):
    results, figures = folder
    rows = calibration()
    for row in rows:
        if row["claim"] in ("A3", "C4") and row["noise"] == "shared by seed":
            row |= {"claimed_reproduced": 0.05 * row["n"], "seeds_for_80": 25 if row["claim"] == "A3" else ""}
    write_rows(results / "tables" / "calibration.csv", rows)
    page = read(results, figures).words
    worst = "under the worst kind of noise simulated, the rule finds the claimed effect in 15 % with 3, 25 % with 5, "
    assert f"{worst}50 % with 10 seeds; 80 % needs 25 seeds." in page
    assert f"{worst}50 % with 10 timing blocks; 100 timing blocks do not give 80 %." in page
    assert "A3 (50 %; 80 % needs 25 seeds), C4 (50 %; 100 timing blocks do not give 80 %)" in page


def test_rules_without_rates_and_rules_that_err_too_often_are_named(folder):
    results, figures = folder
    rows = [row for row in calibration() if row["claim"] not in ("B5b", "C9")]
    empty = dict.fromkeys(rows[0], "")
    rows += [empty | {"claim": "B5b", "noise_from": "not measured: steps"}, empty | {"claim": "C9", "noise_from": ""}]
    rows[1] |= {"null_reproduced": 0.0632, "null_reproduced_low": 0.058}
    write_rows(results / "tables" / "calibration.csv", rows)
    page = read(results, figures).words
    assert "Over 26 rules" in page
    assert "Without rates: B5b (not measured: steps), C9 (not measured)." in page.replace(" ,", ",").replace(" .", ".")
    assert "beyond the simulation's own error: A1 (6.3 %, 3 seeds, noise shared by seed)" in page
    assert "Rules that say “reproduced” to noise too often , in more than 5 % of simulated tables: A1" in page
    write_rows(results / "tables" / "calibration.csv", rows[-1:])
    page = read(results, figures).words
    assert "Without rates: C9" in page
    assert "rules, every number of seeds" not in page


# --- what it must not believe


def test_markup_in_any_value_is_text(tmp_path):
    evil = LAPTOP.model_copy(update={"scale": EVIL})
    results, figures = write_results(tmp_path, evil)
    claims = json.loads((results / "claims.json").read_text())
    claims["missing"] = [EVIL]
    finding = claims["findings"][3]
    for key in ("sentence", "mark", "rule", "published", "why", "scale", "seeds_note"):
        finding[key] = EVIL
    finding |= {"notes": [EVIL, EVIL], "figures": [EVIL], "tables": [EVIL], "conditions": {"reproduced": {EVIL: True}}}
    finding["conditions"]["refuted"] = {}
    finding["headline"] |= {"cell": EVIL, "quantity": EVIL}
    quantity = finding["quantities"][0]
    quantity |= {"meaning": EVIL, "name": EVIL, "margins": [{"value": 0.01, "label": EVIL}]}
    quantity["cells"][0]["cell"] = EVIL
    (results / "claims.json").write_text(json.dumps(claims))
    for column in ("study", "task", "folder", "device", "source_digest", "commit"):
        change(results / "runs.csv", **{column: EVIL, "status": "diverged"})
    change(results / "tables" / "s_cyc_accuracy.csv", task=EVIL)
    change(results / "tables" / "calibration.csv", claim=EVIL, noise=EVIL, null_reproduced="0.9")
    (figures / "s_cyc_oracle.svg").write_text(f'<svg viewBox="0 0 10 10" onload="alert(3)">{EVIL}</svg>')
    source = written(results, figures)
    page, plain = Reader(source), read(*write_results(tmp_path / "plain", LAPTOP))
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert len(page.all("img")) == len(plain.all("img"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.words.count(" ".join(EVIL.split())) >= 25
    assert EVIL not in source
    assert {a["data-scale"] for a in page.all("tbody") if "data-scale" in a} >= {EVIL}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plan.json", None, "plan.json: there is no such file"),
        ("plan.json", "{", "plan.json is not JSON"),
        ("plan.json", "{}", "preset"),
        ("claims.json", "[", "claims.json is not JSON"),
        ("claims.json", "[]", "claims.json: must hold a mapping"),
        ("claims.json", '{"findings": 1}', "claims.json: 'preset'"),
        ("claims.json", "[" * 100_000, "claims.json is not JSON"),
        ("plan.json", "[" * 100_000, "plan.json is not JSON"),
        ("runs.csv", "study,task\ns_cyc,x\n", "runs.csv: column seed is missing; found study, task"),
        ("runs.csv", "study,task\ns_cyc\n", "runs.csv is not a table: line 2"),
        ("tables/s_cyc_accuracy.csv", 'a,b\n"1', "s_cyc_accuracy.csv is not a table"),
        ("tables/s_cyc_accuracy.csv", b"a\n\xff\n", "cannot read"),
    ],
)
def test_a_broken_file_is_one_clear_line(folder, name, content, words):
    results, figures = folder
    path = results / name
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=re.escape(words)) as error:
        write_page(results, figures, results / "report.html")
    assert "\n" not in str(error.value)
    assert not (results / "report.html").exists()


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (["findings"], [1], "'findings.0'"),
        (["findings", 5, "verdict"], "proven", "'findings.5.verdict' is 'proven'"),
        (["findings", 5, "paper"], "lottery", "'findings.5.paper' is 'lottery'"),
        (["findings", 3, "conditions"], [], "'findings.3.conditions'"),
        (["findings", 3, "headline", "mean"], "x", "'findings.3.headline.mean'"),
        (["findings", 3, "quantities", 0, "unit"], None, "'findings.3.quantities.0.unit'"),
        (["findings", 3, "quantities", 0, "cells", 0, "mean"], math.inf, "'findings.3.quantities.0.cells.0.mean'"),
    ],
)
def test_a_ledger_that_is_none_is_refused_in_one_line(folder, where, value, words):
    results, figures = folder
    claims = ledger()
    part = claims
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    (results / "claims.json").write_text(json.dumps(claims))
    with pytest.raises(InputError, match=re.escape(words)) as error:
        write_page(results, figures, results / "report.html")
    assert "claims.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flops", ["1e999", "-1e308", "nan", "1e300"])
def test_a_number_beyond_all_measure_is_no_number(folder, flops):
    results, figures = folder
    change(results / "runs.csv", flops=flops)
    change(results / "tables" / "s_cyc_accuracy.csv", difference=flops)
    change(results / "tables" / "calibration.csv", null_reproduced=flops)
    change(results / "observations.csv", value=flops)
    assert "Ledger of claims" in read(results, figures).words


def test_an_output_that_cannot_be_written_is_an_input_error(folder):
    results, figures = folder
    with pytest.raises(InputError, match="cannot write"):
        write_page(results, figures, results)


# --- what is missing


def test_a_folder_with_nothing_but_the_preset_gives_a_page_that_says_so(tmp_path):
    results, figures = write_results(tmp_path, LAPTOP)
    for path in [*results.rglob("*.csv"), *results.rglob("*.tex"), results / "claims.json", *figures.iterdir()]:
        path.unlink()
    page = read(results, figures).words
    for words in (
        "There is no ledger: claims.json was not found",
        "files are missing",
        "This figure is missing: s_cyc_accuracy.svg was not found",
        "This table is missing: tables/cascade_gmp.csv was not found",
        "Costs are not known: runs.csv was not found",
        "Not known: runs.csv was not found",
    ):
        assert html.unescape(words) in page


def test_a_table_without_rows_and_runs_without_rows_are_named(folder):
    results, figures = folder
    (results / "tables" / "s_cyc_oracle.csv").write_text("scale\n")
    (results / "runs.csv").write_text("study,task\n")
    page = read(results, figures).words
    assert "this preset does not run that part, or its runs are missing or diverged. s_cyc_oracle" in page
    assert "This table has no rows" in page
    assert "0 training jobs" in page
    assert "No run is recorded : runs.csv has no rows." in page


def test_no_run_at_all_is_something_that_is_missing(folder):
    results, figures = folder
    (results / "runs.csv").write_text("study,task,seed,status,folder\n")
    page = read(results, figures).words
    assert "Nothing is missing" not in page
    assert "No run is recorded" in page[: page.index("Ledger of claims", page.index("training jobs"))]


def test_diverged_runs_are_named(folder):
    results, figures = folder
    rows = runs(LAPTOP)
    for row in rows[:7]:
        row["status"] = "diverged"
    write_rows(results / "runs.csv", rows)
    page = read(results, figures).words
    assert "7 runs diverged" in page
    assert "they count as chance in accuracies and are missing elsewhere" in page
    assert all(row["folder"] in page for row in rows[:7])


def test_one_seed_gives_a_page_without_intervals_that_says_so(tmp_path):
    one = LAPTOP.model_copy(update={"seeds": [0]})
    page = read(*write_results(tmp_path, one)).words
    assert "One seed only." in page
    assert "no interval" in page
    assert "[n/a" not in page
    assert "n = 1 seed)" in page


def test_missing_seeds_are_those_of_the_ledger_or_else_those_with_fewer_runs(folder):
    results, figures = folder
    write_rows(results / "runs.csv", runs(LAPTOP)[:-1])
    assert "Missing runs" not in read(results, figures).words
    (results / "claims.json").unlink()
    assert "directional: seed 2: 1 of 1 runs are missing" in read(results, figures).words


def test_a_study_that_the_preset_leaves_out_is_said_to_be(tmp_path):
    results, figures = write_results(tmp_path, LAPTOP.model_copy(update={"cascade": None}))
    for path in [*results.rglob("cascade_*"), *figures.glob("cascade_*")]:
        path.unlink()
    page = read(results, figures)
    assert "Studies that this preset leaves out : Cascade shedding" in page.words
    assert "files are missing" not in page.words
    assert not [a for a in page.all("figure") if a["id"].startswith("figure-cascade")]


def test_runs_that_say_nothing_of_their_version_are_counted(folder):
    results, figures = folder
    keys = ("study", "task", "seed", "status", "folder")
    write_rows(results / "runs.csv", [{key: row[key] for key in keys} for row in runs(LAPTOP)])
    page = read(results, figures).words
    assert "9 runs came without a note of the version of the code" in page
    assert "date not recorded" in page


# --- tables and figures


def test_a_table_is_rounded_with_its_intervals_and_without_empty_columns(folder):
    results, _ = folder
    table = exhibits.table("s_cyc_accuracy", results / "tables", ["A3"])
    assert table.columns == ("task", "n", "test_accuracy", "std", "best", "difference")
    assert table.rows[0] == (
        *("fashion-resnet8", "3", "0.7803 [0.7600, 0.8000]", "0.0080", "yes", "−0.0123 [−0.0200, 0.0010]"),
    )
    assert table.numeric == (False, True, True, True, False, True)
    assert table.left_out == ("control",)


def test_a_word_that_reads_as_a_number_elsewhere_stays_a_word(tmp_path):
    write_rows(tmp_path / "s_cyc_cost.csv", [{"schedule": "nan", "steps": 3}, {"schedule": "inf", "steps": ""}])
    table = exhibits.table("s_cyc_cost", tmp_path, [])
    assert table.rows == (("nan", "3"), ("inf", "–"))


def test_a_ratio_known_within_orders_of_magnitude_keeps_both_ends():
    wide = {"mean": math.log(5.04), "low": math.log(0.121), "high": math.log(209)}
    assert numbers.estimate(wide, "ratio", 0) == {"mean": "5.0", "interval": "[0.12, 209]"}


def test_numbers_of_very_different_sizes_are_rounded_one_by_one(tmp_path):
    write_rows(tmp_path / "s_cyc_cost.csv", [{"a": 123456.0}, {"a": 1.5e-7}])
    assert exhibits.table("s_cyc_cost", tmp_path, []).rows == (("1.23e+05",), ("1.5e−07",))


def test_of_a_long_table_the_page_shows_the_beginning_and_holds_the_file(folder):
    results, figures = folder
    rows = [{"task": f"t{i}", "value": i / 7} for i in range(exhibits.ROWS + 20)]
    write_rows(results / "tables" / "s_cyc_gradients.csv", rows)
    page = read(results, figures)
    assert f"The first {exhibits.ROWS} of {exhibits.ROWS + 20} rows" in page.words
    assert "t99" in page.words
    assert "t100" not in page.words
    uri = next(a["href"] for a in page.all("a") if a.get("download") == "s_cyc_gradients.csv")
    data = base64.b64decode(uri.removeprefix("data:text/csv;base64,"))
    assert data == (results / "tables" / "s_cyc_gradients.csv").read_bytes()


def test_a_file_too_large_for_the_page_is_named(tmp_path):
    path = tmp_path / "large.csv"
    path.write_bytes(b"a\n" * inputs.EMBEDDED)
    assert inputs.download(path, "text/csv") == inputs.Download("large.csv", "1.2 MB", None)


def test_a_figure_without_svg_is_shown_as_png(tmp_path):
    from PIL import Image

    Image.new("RGB", (1382, 500)).save(tmp_path / "s_cyc_oracle.png")
    found = exhibits.figure("s_cyc_oracle", tmp_path, [])
    assert found.uri.startswith("data:image/png;base64,")
    assert (found.width, found.height) == (691, 250)


@pytest.mark.parametrize("box", ["0 0 1.2.3 5", "0 0 0 0", "0 0 10", "0 0 " + "9" * 400 + " 5", "0 0 nan 1"])
def test_a_figure_with_a_senseless_size_is_shown_all_the_same(tmp_path, box):
    (tmp_path / "s_cyc_oracle.svg").write_text(f'<svg viewBox="{box}"/>')
    found = exhibits.figure("s_cyc_oracle", tmp_path, [])
    assert (found.width, found.height) == (691, 400)


# --- numbers


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (0.4567, 2, False, "0.46"),
        (-0.4567, 1, True, "−0.5"),
        (0.4567, 1, True, "+0.5"),
        (-0.001, 2, True, "0.00"),
        (0.0, 1, True, "0.0"),
        (1.23e-7, 4, False, "1.2e−07"),
        (-2.5e8, 0, False, "−2.5e+08"),
        (None, 2, False, "n/a"),
        (math.nan, 2, False, "n/a"),
    ],
)
def test_a_number_as_text(value, digits, signed, text):
    assert numbers.text(value, digits, signed) == text


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        ("points", 0.02, 2.0),
        ("share", 0.5, 50.0),
        ("ratio", math.log(1.25), 1.25),
        ("nats", 0.3, 0.3),
        ("share", None, None),
    ],
)
def test_units_are_those_of_the_reader(unit, value, shown):
    assert numbers.in_unit(value, unit) == pytest.approx(shown)


def test_decimals_follow_the_uncertainty_or_else_the_size():
    assert numbers.decimals([12.345], [0.52]) == 2
    assert numbers.decimals([12.345], [5.2]) == 1
    assert numbers.decimals([1234.5], [520]) == 0
    assert numbers.decimals([0.01234], [None]) == 4
    assert numbers.decimals([123.4], []) == 0
    assert numbers.decimals([], []) == 1


def test_durations_and_p_values():
    assert [numbers.duration(s) for s in (0.42, 48.3, 725, 12_000)] == ["0.4 s", "48 s", "12 min 5 s", "3 h 20 min"]
    assert [numbers.p_value(p) for p in (0.0004, 0.0123, 0.4567, None)] == ["< 0.001", "0.012", "0.46", "n/a"]


@pytest.mark.parametrize(("low", "high"), [(-3.2, 4.1), (0.0, 1e-5), (87.0, 93.0), (-1e4, -10.0)])
def test_ticks_are_few_round_and_within(low, high):
    found = numbers.ticks(low, high)
    assert 3 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    steps = {round((b - a) / (high - low), 9) for a, b in pairwise(found)}
    assert len(steps) == 1


@pytest.mark.parametrize(
    ("low", "high", "some"), [(0.3, 4.0, {0.5, 1, 2}), (1e-4, 1e4, {0.01, 1, 100}), (0.95, 1.08, {1.0})]
)
def test_ratio_ticks_are_round_ratios(low, high, some):
    found = numbers.ratio_ticks(low, high)
    assert 3 <= len(found) <= 9
    assert some <= {round(tick, 9) for tick in found}


# --- forest plots


def quantity(values, unit="points", **more):
    """A quantity with cells of (mean, half length of the interval)."""
    cells = [
        {
            "cell": name, "n": 3, "missing": 0, "mean": mean, "std": half, "p": 0.1, "p_holm": 0.2,
            "low": mean - half, "high": mean + half, "bca_low": None, "bca_high": None,
        }
        for name, (mean, half) in values.items()
    ]  # fmt: skip
    return {"name": "q", "meaning": "m", "unit": unit, "confidence": 0.95, "pooled": None, "cells": cells, **more}


def test_marks_lie_in_the_order_of_their_numbers():
    plot = forest.forest(quantity({"a": (0.02, 0.01), "b": (-0.01, 0.005)}), {"a": [0.015, 0.025]})
    a, b = (row.marks for row in plot.rows)
    null = plot.lines[0].x
    assert b.low < b.mean < b.high < null < a.low < a.seeds[0] < a.mean < a.seeds[1] < a.high
    assert b.low > 0
    assert a.high < 100
    ticks = {label: x for x, label in plot.ticks}
    assert ticks["0"] == pytest.approx(null)
    assert ticks["2"] == pytest.approx(a.mean)


def test_an_interval_far_longer_than_the_others_is_cut_and_marked():
    plot = forest.forest(quantity({"a": (0.01, 0.002), "b": (0.011, 0.003), "c": (0.012, 5.0)}), {})
    a, _, c = (row.marks for row in plot.rows)
    assert (c.cut_low, c.cut_high) == (True, True)
    assert (c.low, c.high) == (forest.EDGE, 100 - forest.EDGE)
    assert (a.cut_low, a.cut_high) == (False, False)


def test_margins_of_the_rule_are_drawn():
    plot = forest.forest(quantity({"a": (0.02, 0.001)}, margins=[{"value": 0.01, "label": "margin"}]), {})
    null, margin = plot.lines
    assert (null.kind, margin.kind, margin.label) == ("null", "margin", "margin")
    assert null.x < margin.x < plot.rows[0].marks.low


@pytest.mark.parametrize("cells", [2, 3])
def test_a_mean_between_cells_needs_three_of_them(cells):
    pooled = {"n": 3, "mean": 0.1, "low": 0.0, "high": 0.2, "iqm": 0.1, "i2": 0.5}
    pooled |= dict.fromkeys(("bca_low", "bca_high")) | {f"random_{end}": 0.1 for end in ("mean", "low", "high")}
    values = {f"{cell}": (0.1, 0.05) for cell in range(cells)}
    beside = forest.forest(quantity(values, pooled=pooled), {}).beside
    names = ["interquartile mean", "random-effects mean", "I²"]
    assert [name for name, _ in beside] == (names if cells == 3 else names[:1])
    pooled |= dict.fromkeys(("random_mean", "random_low", "random_high", "i2", "iqm"))
    assert forest.forest(quantity(values, pooled=pooled), {}).beside == ()


def test_an_interval_that_is_not_of_a_whole_percent_is_named_exactly(folder):
    results, figures = folder
    claims = ledger()
    claims["findings"][3]["quantities"][0]["confidence"] = 0.9705
    (results / "claims.json").write_text(json.dumps(claims))
    page = read(results, figures).words
    assert "[97.05 % interval]" in page
    assert "[95 % interval]" in page


def test_ratios_are_shown_as_ratios_on_a_log_axis():
    plot = forest.forest(quantity({"a": (math.log(2), 0.1), "b": (-math.log(2), 0.1)}, "ratio"), {})
    a, b = plot.rows
    assert (a.mean, a.interval) == ("2.000", "[1.810, 2.210]")
    assert a.std == ""
    assert a.marks.mean - plot.lines[0].x == pytest.approx(plot.lines[0].x - b.marks.mean, abs=0.02)


def test_cells_drop_what_their_names_begin_with_alike():
    plot = forest.forest(quantity({"net · gmp · 50 %": (0.0, 0.1), "net · gmp · 75 %": (0.0, 0.1)}), {})
    assert plot.common == "net · gmp"
    assert [row.cell for row in plot.rows] == ["50 %", "75 %"]
    assert forest.forest(quantity({"net · gmp": (0.0, 0.1)}), {}).rows[0].cell == "net · gmp"


def test_one_seed_has_a_mean_and_no_interval():
    one = quantity({"a": (0.02, 0.0)})
    one["cells"][0] |= dict.fromkeys(("std", "low", "high", "p", "p_holm"))
    (row,) = forest.forest(one, {"a": [0.02]}).rows
    assert (row.mean, row.interval, row.std, row.p) == ("+2.00", "", "", "")
    assert (row.marks.low, row.marks.high) == (None, None)
    assert row.marks.mean == row.marks.seeds[0]


def test_a_cell_without_any_value_is_said_to_have_none():
    none = quantity({"a": (0.02, 0.01), "b": (0.0, 0.0)})
    none["cells"][1] |= {"n": 0, "missing": 3} | dict.fromkeys(("mean", "std", "low", "high", "p", "p_holm"))
    row = forest.forest(none, {}).rows[1]
    assert (row.n, row.mean) == ("0 (3 missing)", "n/a")
    assert row.marks.mean is None


@pytest.mark.parametrize("unit", ["ratio", "number"])
def test_numbers_beyond_all_measure_still_have_an_axis(unit):
    plot = forest.forest(quantity({"a": (-800.0, 1e307), "b": (1e307, 1.0)}, unit), {"a": [1e308]})
    assert all(0 <= row.marks.mean <= 100 for row in plot.rows)


def test_equal_values_still_have_an_axis():
    plot = forest.forest(quantity({"a": (0.3, 0.0), "b": (0.3, 0.0)}, "number"), {})
    assert plot.rows[0].marks.mean == pytest.approx(50)
    assert len(plot.ticks) >= 3
