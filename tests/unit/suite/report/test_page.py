"""The HTML report: what it says, what it must not believe, and what it says where results are missing."""

import base64
import csv
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest

from prunebench.errors import InputError
from prunebench.suite import inputs
from prunebench.suite.report.page import exhibits, provenance, write_page

IDS = ["S1", "S2", "S3", "S4", "S5", "S1:theirs", "U1"]
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
def tiny(preset):
    """A preset that asks a claim of another schedule, too."""
    return preset(claims={"ask": [{"like": "S1", "method": "theirs"}]})


@pytest.fixture
def ledger(made_up, tiny):
    return made_up.ledger(tiny)


@pytest.fixture
def folder(made_up, tiny, tmp_path):
    """A results folder and its figures that lack nothing."""
    return made_up.write(tmp_path, tiny)


def written(results, figures):
    out = results / "report.html"
    write_page(results, figures, out)
    return out.read_text(encoding="utf-8")


def read(results, figures):
    return Reader(written(results, figures))


@pytest.fixture
def change(made_up):
    """Sets columns of the first row of a CSV file."""

    def set_values(path, **values):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rows[0] |= values
        made_up.rows(path, rows)

    return set_values


# --- what it says


def test_the_ledger_has_every_claim_with_verdict_effect_rule_and_published_value(folder, ledger):
    page = read(*folder)
    bodies = [a for a in page.all("tbody") if a.get("id", "").startswith("claim-")]
    assert [a["id"].removeprefix("claim-") for a in bodies] == IDS
    assert {"reproduced", "not reproduced", "inconclusive", "not run at this scale"} == {a["data-name"] for a in bodies}
    for finding, body in zip(ledger["findings"], bodies, strict=True):
        assert body["data-name"] == finding["verdict"]
        for words in (finding["sentence"], finding["rule"], finding["published"], finding["why"], finding["mark"]):
            assert words in page.words, words
        for quantity in finding["quantities"]:
            assert quantity["meaning"] in page.words


def test_the_page_opens_with_the_answer_for_each_paper(folder, ledger):
    """Counts and claims come from the findings."""
    results, figures = folder
    for finding, stability in zip(ledger["findings"], (0.7, 0.9), strict=False):
        finding |= {"verdict": "reproduced", "stability": stability, "found": ""}
    ledger["findings"][0]["found"] = "a harmful effect"
    ledger["findings"][2] |= {"verdict": "not reproduced", "stability": 0.999}
    ledger["findings"][3] |= {"verdict": "inconclusive", "power": 0.1}
    (results / "claims.json").write_text(json.dumps(ledger))
    page = read(results, figures).words
    answer = page[page.index("The answer", page.index("Provenance")) : page.index("Nothing is missing")]
    first = ledger["findings"][0]
    assert f"{first['sentence'].rstrip('.')} ( S1 , narrowly, a harmful effect)" in answer
    assert "two hold here" in answer
    assert "one does not" in answer
    assert "decide the same in 70 % to > 99 % of cases" in answer
    assert "all with 3 seeds at the scale “scaled-down: toys”." in answer


def test_no_name_of_a_quantity_is_shown(folder, ledger):
    """Readers see what a quantity means; its name is for programs."""
    results, figures = folder
    for finding in ledger["findings"]:
        for quantity in finding["quantities"]:
            quantity["name"] = "over_control"
        if finding["headline"]:
            finding["headline"]["quantity"] = "over_control"
    (results / "claims.json").write_text(json.dumps(ledger))
    assert "over_control" not in read(results, figures).words


def test_figures_without_rows_are_named_and_not_drawn(folder):
    results, figures = folder
    table = next((results / "tables").glob("shown_accuracy.csv"))
    table.write_text(table.read_text().splitlines()[0] + "\n")
    page = read(results, figures)
    assert "Not run in this preset: Accuracy of shown schedules." in page.words
    assert not any(a.get("id") == "figure-shown_accuracy" for a in page.all("figure"))


def test_an_asked_claim_stands_with_its_paper(folder):
    page = read(*folder)
    body = next(a for a in page.all("tbody") if a.get("id") == "claim-S1:theirs")
    assert body["data-paper"] == "shown"
    assert "theirs beats the others. [asked]" in page.words
    assert "test accuracy of theirs minus the best other's" in page.words


def test_papers_stand_in_the_order_of_the_registry_with_their_references(folder):
    page = read(*folder)
    order = [a["id"] for a in page.all("h2") if a["id"].startswith("paper-")]
    assert order == ["paper-shown", "paper-other"]
    assert "Nobody & Everybody, 2026. arXiv 2222.22222 , code" in page.words
    assert "https://arxiv.org/abs/2222.22223" in {a["href"] for a in page.all("a")}


def test_the_head_counts_the_verdicts_and_says_preset_scale_seeds_and_date(folder, tiny, ledger):
    page = read(*folder)
    head, _, rest = page.words.partition("Ledger of claims")
    assert re.search(" ".join(rf"{n}\s+{verdict}" for verdict, n in ledger["counts"].items()), rest)
    for words in ("preset tiny", tiny.scale, "Seeds 0, 1, 2", "6 training jobs", "2026-11-22"):
        assert words in head
    assert "Nothing is missing" in head


def test_a_verdict_says_how_firm_it_is_with_which_power_and_networks(folder, ledger):
    page = read(*folder)
    for finding in ledger["findings"]:
        assert finding["shown"] in page.words
        if finding["stability"] is not None:
            assert f"Of repeats with {finding['repeated']} other {finding['replicates']}" in page.words
            assert {finding["networks"][0]["task"]} == {"net"}
    assert "Without pruning: net 84.3 %" in page.words
    body = next(a for a in page.all("tbody") if a.get("id") == "claim-S1")
    assert float(body["data-repeat"]) == ledger["findings"][0]["stability"] > 0.8


def test_a_verdict_is_shown_in_its_own_words(folder, ledger):
    results, figures = folder
    ledger["findings"][0] |= {"stability": 0.7, "found": "a harmful effect"}
    ledger["findings"][2] |= {"power": 0.1}
    assert ledger["findings"][2]["verdict"] == "inconclusive"
    (results / "claims.json").write_text(json.dumps(ledger))
    page = read(results, figures)
    assert page.words.count("reproduced, narrowly (a harmful effect)") == 3  # row, evidence, list of the paper's claims
    assert "cannot be decided with 3 seeds" in page.words
    names = [a["data-name"] for a in page.all("tbody") if "data-name" in a]
    assert (names[0], names[2]) == ("reproduced", "inconclusive"), "filters know verdicts alone"


def test_a_ledger_of_an_older_version_knows_no_repeats(folder, ledger):
    results, figures = folder
    for finding in ledger["findings"]:
        for key in ("stability", "opposite", "power", "power_seeds", "networks", "found", "repeated", "shown"):
            finding.pop(key)
    (results / "claims.json").write_text(json.dumps(ledger))
    page = read(results, figures).words
    assert "Of repeats with" not in page
    assert "cannot be decided with" not in page


def test_a_finding_shows_its_conditions_with_yes_and_no(folder):
    page = read(*folder).words
    reproduced, refuted = (f"the mean's interval lies {side} 0.01" for side in ("above", "below"))
    assert f"Reproduced if all of these hold: yes {reproduced}" in page
    assert f"Otherwise not reproduced if any of these holds: yes {refuted}" in page
    assert f"no {reproduced}" in page


def test_an_interval_that_is_not_of_a_whole_percent_is_named_exactly(folder, ledger):
    results, figures = folder
    ledger["findings"][0]["quantities"][0]["confidence"] = 0.9705
    (results / "claims.json").write_text(json.dumps(ledger))
    page = read(results, figures).words
    assert "[97.05 % interval]" in page
    assert "[95 % interval]" in page


def test_what_is_repeated_has_its_name(folder):
    page = read(*folder).words
    assert "n = 3 timing blocks)" in page
    assert "one timing block" in page
    assert "one seed" in page


def test_cells_are_labelled_and_have_the_values_of_single_seeds(folder):
    """The cells of observations.csv are data, those of claims.json have labels as well: they are the same cells."""
    source = written(*folder)
    assert "(in net)" in Reader(source).words.replace("( ", "(")
    assert "93.75 %" in source
    assert source.count('class="seed"') >= 3 * 5 * 5


def test_observations_of_older_files_have_labels_for_cells(folder, made_up, ledger):
    results, figures = folder

    def label(cell):
        axes = json.loads(cell)
        return f"{axes['task']} · {100 * axes['sparsity']:.4g} %"

    before = written(results, figures)
    with open(results / "observations.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    made_up.rows(results / "observations.csv", [row | {"cell": label(row["cell"])} for row in rows])
    body = re.compile(r'<table class="ledger" id="claims".*?<p class="quiet after">', re.DOTALL)
    assert body.search(before)[0] == body.search(written(results, figures))[0]


def test_a_ledger_tells_which_seeds_are_missing(made_up, tiny, tmp_path):
    line = "shown: seed 2: 3 of 25 runs are missing"
    assert line in read(*made_up.write(tmp_path, tiny, made_up.ledger(tiny, [line]))).words


def test_the_same_results_give_the_same_bytes(folder):
    assert written(*folder) == written(*folder)


def test_every_link_within_the_page_leads_somewhere_and_ids_are_unique(folder):
    page = read(*folder)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#") and "=" not in a["href"]}
    assert links - {*ids} == set()
    assert {"figure-shown_accuracy", "table-shown_accuracy", "claim-S3", "claim-S1:theirs"} <= links


def test_figures_have_alternative_texts_and_captions_and_tables_are_closed(folder):
    page = read(*folder)
    images = page.all("img")
    assert len(images) == 4
    assert all(len(image["alt"]) > 20 and image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert {(image["width"], image["height"]) for image in images} == {("691", "288")}
    assert len(page.all("figcaption")) == len(images)
    assert not [a for a in page.all("details") if "open" in a]


def test_columns_say_what_they_hold_and_in_which_unit(folder):
    titles = [a["title"] for a in read(*folder).all("th") if "title" in a]
    assert "test accuracy minus the benchmark's (points)" in titles
    assert "schedule of the preset" in titles


def test_tasks_are_told_with_their_network_and_update(folder):
    page = read(*folder).words
    assert "net d mlp, depth 3, width 1 relu 1 10 sgd, momentum 0.9, weight decay 0.0005 none" in page


def test_tables_of_data_are_files_to_download(folder):
    page = read(*folder)
    assert "table-shown_curve" not in {attributes.get("id") for _, attributes in page.elements}
    assert {"shown_curve.csv", "shown_accuracy.csv"} <= {a["download"] for a in page.all("a") if "download" in a}


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


def test_code_versions_are_named_with_what_they_made(folder, made_up, tiny):
    results, figures = folder
    rows = made_up.runs(tiny)
    rows[0] |= {"source_digest": "ffff0000ffff0000ffff", "commit": "abcdef0123456789", "dirty": True, "task": "mlp"}
    made_up.rows(results / "runs.csv", rows)
    page = read(results, figures).words
    assert "2 versions of the code made these results" in page
    assert "1 run came from a source tree with uncommitted changes" in page
    assert "ffff0000ffff0000 Commit abcdef012345 , with uncommitted changes" in page
    assert "1 run: shown (mlp)" in page
    assert "5 runs: shown (net); other (net)" in page


def test_machines_that_differ_are_listed_with_their_runs(folder, change):
    results, figures = folder
    change(results / "runs.csv", device="another processor")
    assert "another processor (1 run) , a processor (5 runs)" in read(results, figures).words


def test_costs_are_summed_by_study_and_in_all(made_up, tiny):
    costs = provenance.costs([{k: str(v) for k, v in row.items()} for row in made_up.runs(tiny)])
    assert [row["study"] for row in costs] == ["shown", "other", "all"]
    assert costs[0] | {"study": ""} == {
        "study": "", "runs": "3", "steps": "300", "images": "19\u202f200", "flops": "6.00 × 10¹²",
        "flops_sparse": "3.00 × 10¹²", "seconds": "2 min 2 s", "memory": "310 MB",
    }  # fmt: skip
    assert (costs[2]["runs"], costs[2]["flops"]) == ("6", "1.20 × 10¹³")


def test_calibration_is_summed_up(folder, change):
    results, figures = folder
    change(results / "tables" / "calibration.csv", null_reproduced="0.0471", claimed_not_reproduced="0.0123")
    page = read(results, figures).words
    assert f"Over {len(IDS)} rules" in page
    assert "“reproduced” where there is no effect is 4.7 % (claim S1, 3 seeds, noise independent)" in page
    assert "“not reproduced” where the claimed effect is there is 1.2 % (claim S1, 3 seeds, noise independent)" in page
    assert "With 10 seeds each of them finds the claimed effect" in page
    assert "Without rates" not in page
    assert "These claims fail" not in page
    halves = f"Halves of the seeds, mean over {len(IDS)} claims: the same verdict in 80 % of pairs by forecast, in 75 %"
    assert halves in page


def test_power_is_that_under_the_worst_noise(folder, made_up, tiny):
    results, figures = folder
    rows = made_up.calibration(tiny)
    for row in rows:
        if row["claim"] in ("S1", "S2") and row["noise"] == "shared by seed":
            row |= {"claimed_reproduced": 0.05 * row["n"], "seeds_for_80": 25 if row["claim"] == "S1" else ""}
    made_up.rows(results / "tables" / "calibration.csv", rows)
    page = read(results, figures).words
    assert "S1 (50 %; 80 % needs 25 seeds), S2 (50 %; 100 timing blocks do not give 80 %)" in page


def test_rules_without_rates_and_rules_that_err_too_often_are_named(folder, made_up, tiny):
    results, figures = folder
    rows = [row for row in made_up.calibration(tiny) if row["claim"] not in ("S4", "S5")]
    empty = dict.fromkeys(rows[0], "")
    rows += [empty | {"claim": "S4", "noise_from": "not measured: steps"}, empty | {"claim": "S5", "noise_from": ""}]
    rows[1] |= {"null_reproduced": 0.0632, "null_reproduced_low": 0.058}
    made_up.rows(results / "tables" / "calibration.csv", rows)
    verdicts = made_up.stability(tiny)
    verdicts[1] |= {"opposite": 0.0231, "opposite_low": 0.0187}
    made_up.rows(results / "tables" / "calibration_stability.csv", verdicts)
    page = read(results, figures).words
    assert f"Over {len(IDS) - 2} rules" in page
    assert "Without rates: S4 (not measured), S5 (not measured)." in page.replace(" ,", ",").replace(" .", ".")
    noise = 'its rule calls noise "reproduced" in 6.3 % of the tables with n = 3 and noise shared by seed; 5 % may be'
    opposite = "2.3 % of repeats give the opposite verdict; 1 % may"
    assert f"beyond the simulation's own error: S1 : {noise}. S2 : {opposite}." in page
    assert "Claims that fail the calibration : S1 , S2" in page
    made_up.rows(results / "tables" / "calibration.csv", rows[-1:])
    page = read(results, figures).words
    assert "Without rates: S5" in page
    assert "rules, every number of seeds" not in page


# --- what it must not believe


def test_markup_in_any_value_is_text(made_up, preset, change, tmp_path):
    evil = preset(scale=EVIL)
    results, figures = made_up.write(tmp_path, evil)
    claims = json.loads((results / "claims.json").read_text())
    claims["missing"] = [EVIL]
    finding = claims["findings"][0]
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
    change(results / "tables" / "shown_accuracy.csv", schedule=EVIL)
    change(results / "tables" / "calibration.csv", claim=EVIL, noise=EVIL, null_reproduced="0.9")
    (figures / "shown_curve.svg").write_text(f'<svg viewBox="0 0 10 10" onload="alert(3)">{EVIL}</svg>')
    source = written(results, figures)
    page, plain = Reader(source), read(*made_up.write(tmp_path / "plain", preset()))
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert len(page.all("img")) == len(plain.all("img"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.words.count(" ".join(EVIL.split())) >= 25
    assert EVIL not in source
    assert {a["data-scale"] for a in page.all("tbody") if "data-scale" in a} >= {EVIL}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plan.json", None, "plan.json: No such file"),
        ("plan.json", "{", "plan.json is not JSON"),
        ("plan.json", "{}", "preset"),
        ("claims.json", "[", "claims.json is not JSON"),
        ("claims.json", "[]", "claims.json: must hold a mapping"),
        ("claims.json", '{"findings": 1}', "claims.json: 'preset'"),
        ("claims.json", "[" * 100_000, "claims.json is not JSON"),
        ("plan.json", "[" * 100_000, "plan.json is not JSON"),
        ("runs.csv", "study,task\nshown,x\n", "runs.csv: column seed is missing; found study, task"),
        ("runs.csv", "study,task\nshown\n", "runs.csv is not a table: line 2"),
        ("tables/shown_accuracy.csv", 'a,b\n"1', "shown_accuracy.csv is not a table"),
        ("tables/shown_accuracy.csv", b"a\n\xff\n", "is not UTF-8 (line 2"),
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
        (["findings", 1, "verdict"], "proven", "'findings.1.verdict' is 'proven'"),
        (["findings", 1, "paper"], "lottery", "'findings.1.paper' names 'lottery'"),
        (["findings", 0, "conditions"], [], "'findings.0.conditions'"),
        (["findings", 0, "headline", "mean"], "x", "'findings.0.headline.mean'"),
        (["findings", 0, "quantities", 0, "unit"], None, "'findings.0.quantities.0.unit'"),
        (["findings", 0, "quantities", 0, "cells", 0, "mean"], math.inf, "'findings.0.quantities.0.cells.0.mean'"),
    ],
)
def test_a_ledger_that_is_none_is_refused_in_one_line(folder, ledger, where, value, words):
    results, figures = folder
    part = ledger
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    (results / "claims.json").write_text(json.dumps(ledger))
    with pytest.raises(InputError, match=re.escape(words)) as error:
        write_page(results, figures, results / "report.html")
    assert "claims.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("flops", ["1e999", "-1e308", "nan", "1e300"])
def test_a_number_beyond_all_measure_is_no_number(folder, change, flops):
    results, figures = folder
    change(results / "runs.csv", flops=flops)
    change(results / "tables" / "shown_accuracy.csv", difference=flops)
    change(results / "tables" / "calibration.csv", null_reproduced=flops)
    change(results / "observations.csv", value=flops)
    assert "Ledger of claims" in read(results, figures).words


def test_an_output_that_cannot_be_written_is_an_input_error(folder):
    results, figures = folder
    with pytest.raises(InputError, match="cannot write"):
        write_page(results, figures, results)


# --- what is missing


def test_a_folder_with_nothing_but_the_preset_gives_a_page_that_says_so(folder):
    results, figures = folder
    for path in [*results.rglob("*.csv"), results / "claims.json", *figures.iterdir()]:
        path.unlink()
    page = read(results, figures).words
    for words in (
        "There is no ledger: claims.json was not found",
        "files are missing",
        "This figure is missing: shown_accuracy.svg was not found",
        "This table is missing: tables/shown_accuracy.csv was not found",
        "Costs are not known: runs.csv was not found",
        "Not known: runs.csv was not found",
    ):
        assert words in page


def test_a_table_without_rows_and_runs_without_rows_are_named(folder):
    results, figures = folder
    (results / "tables" / "shown_accuracy.csv").write_text("scale\n")
    (results / "runs.csv").write_text("study,task\n")
    page = read(results, figures).words
    assert "this preset does not run that part, or its runs are missing or diverged. shown_accuracy" in page
    assert "This table has no rows" in page
    assert "0 training jobs" in page
    assert "No run is recorded : runs.csv has no rows." in page


def test_no_run_at_all_is_something_that_is_missing(folder):
    results, figures = folder
    (results / "runs.csv").write_text("study,task,seed,status,folder\n")
    page = read(results, figures).words
    assert "Nothing is missing" not in page
    assert "No run is recorded" in page[: page.index("Ledger of claims", page.index("training jobs"))]


def test_diverged_runs_are_named(folder, made_up, tiny):
    results, figures = folder
    rows = made_up.runs(tiny)
    for row in rows[:4]:
        row["status"] = "diverged"
    made_up.rows(results / "runs.csv", rows)
    page = read(results, figures).words
    assert "4 runs diverged" in page
    assert "they count as chance in accuracies and are missing elsewhere" in page
    assert all(row["folder"] in page for row in rows[:4])


def test_one_seed_gives_a_page_without_intervals_that_says_so(made_up, preset, tmp_path):
    page = read(*made_up.write(tmp_path, preset(seeds=[0]))).words
    assert "One seed only." in page
    assert "no interval" in page
    assert "[n/a" not in page
    assert "n = 1 seed)" in page


def test_missing_seeds_are_those_of_the_ledger_or_else_those_with_fewer_runs(folder, made_up, tiny):
    results, figures = folder
    made_up.rows(results / "runs.csv", made_up.runs(tiny)[:-1])
    assert "Missing runs" not in read(results, figures).words
    (results / "claims.json").unlink()
    assert "other: seed 2: 1 of 1 runs are missing" in read(results, figures).words


def test_a_study_that_the_preset_leaves_out_is_said_to_be(made_up, preset, tmp_path):
    page = read(*made_up.write(tmp_path, preset(shown=None)))
    assert "Studies that this preset leaves out : Shown" in page.words
    assert "files are missing" not in page.words
    assert not [a for a in page.all("figure") if a["id"].startswith("figure-shown")]


def test_runs_that_say_nothing_of_their_version_are_counted(folder, made_up, tiny):
    results, figures = folder
    keys = ("study", "task", "seed", "status", "folder")
    made_up.rows(results / "runs.csv", [{key: row[key] for key in keys} for row in made_up.runs(tiny)])
    page = read(results, figures).words
    assert "6 runs came from an unknown version of the code" in page
    assert "date not recorded" in page


# --- tables and figures


@pytest.fixture
def table_of(paper, made_up, tmp_path):
    """The view of the paper's first table with these rows."""

    def view(rows):
        made_up.rows(tmp_path / "shown_accuracy.csv", rows)
        return exhibits.table(paper, paper.tables[0], tmp_path, ["S1"])

    return view


def test_a_table_is_rounded_with_its_intervals_and_without_empty_columns(table_of, made_up):
    table = table_of(made_up.table())
    names, _, numeric = zip(*table["columns"], strict=True)
    assert names == ("schedule", "n", "test_accuracy", "std", "best", "difference")
    assert table["rows"][0] == (
        *("ours", "3", "0.7803 [0.7600, 0.8000]", "0.0080", "yes", "−0.0123 [−0.0200, 0.0010]"),
    )
    assert numeric == (False, True, True, True, False, True)
    assert table["left_out"] == ["control"]


def test_a_name_that_reads_as_a_number_elsewhere_stays_text(table_of):
    table = table_of([{"schedule": "nan", "steps": 3}, {"schedule": "inf", "steps": ""}])
    assert table["rows"] == [("nan", "3"), ("inf", "–")]


def test_numbers_of_very_different_sizes_are_rounded_one_by_one(table_of):
    assert table_of([{"a": 123456.0}, {"a": 1.5e-7}])["rows"] == [("1.23e+05",), ("1.5e−07",)]


def test_of_a_long_table_the_page_shows_the_beginning_and_holds_the_file(folder, made_up):
    results, figures = folder
    path = results / "tables" / "shown_accuracy.csv"
    made_up.rows(path, [{"task": f"t{i}", "value": i / 7} for i in range(exhibits.ROWS + 20)])
    page = read(results, figures)
    assert f"The first {exhibits.ROWS} of {exhibits.ROWS + 20} rows" in page.words
    assert "t99" in page.words
    assert "t100" not in page.words
    uri = next(a["href"] for a in page.all("a") if a.get("download") == "shown_accuracy.csv")
    assert base64.b64decode(uri.removeprefix("data:text/csv;base64,")) == path.read_bytes()


def test_a_file_too_large_for_the_page_is_named(tmp_path):
    path = tmp_path / "large.csv"
    path.write_bytes(b"a\n" * inputs.EMBEDDED)
    assert inputs.download(path, "text/csv") == inputs.Download("large.csv", "1.2 MB", None)


def test_a_figure_without_svg_is_shown_as_png(paper, tmp_path):
    from PIL import Image

    Image.new("RGB", (1382, 500)).save(tmp_path / "shown_curve.png")
    figure = exhibits.figure(paper, "shown_curve", tmp_path, [])
    assert figure["uri"].startswith("data:image/png;base64,")
    assert (figure["width"], figure["height"]) == (691, 250)


@pytest.mark.parametrize("box", ["0 0 1.2.3 5", "0 0 0 0", "0 0 10", "0 0 " + "9" * 400 + " 5", "0 0 nan 1"])
def test_a_figure_with_a_senseless_size_is_shown_all_the_same(paper, tmp_path, box):
    (tmp_path / "shown_curve.svg").write_text(f'<svg viewBox="{box}"/>')
    figure = exhibits.figure(paper, "shown_curve", tmp_path, [])
    assert (figure["width"], figure["height"]) == (691, 400)
