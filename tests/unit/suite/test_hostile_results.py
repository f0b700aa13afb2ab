"""Results that a spreadsheet, an accident or a stranger changed, handed to every verb that reads them.

Each ends in one line that names the file, before anything is written.
"""

import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from prunebench import cli
from prunebench.suite.inputs import read_csv, read_frame
from prunebench.suite.preset import load_preset
from prunebench.suite.registry import papers

KEPT = Path(__file__).parents[3] / "results/reference/laptop"

OBSERVATIONS = """claim,quantity,cell,seed,value
A3,gain,"{""task"": ""net"", ""sparsity"": 0.5}",0,0.125
A3,gain,"{""task"": ""net"", ""sparsity"": 0.5}",1,0.25
"""


def rewritten(text, change, **how):
    """A CSV text with every number changed, written as the csv module's keywords say."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, **how)
    for row in csv.reader(io.StringIO(text, newline="")):
        writer.writerow([change(cell) if re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", cell) else cell for cell in row])
    return out.getvalue()


def comma(cell):
    return cell.replace(".", ",")


def last_number(text, new):
    """The text with `new` in the place of its last number with a point."""
    number = [*re.finditer(r"(?<=,)-?\d+\.\d+(e-?\d+)?(?=[,\n])", text)][-1]
    return text[: number.start()] + new + text[number.end() :]


TABLES = {
    "semicolons and decimal commas": (
        lambda text: rewritten(text, comma, delimiter=";"),
        "';' stands between its cells",
    ),
    "tabs": (lambda text: rewritten(text, str, delimiter="\t"), "'\\t' stands between its cells"),
    "decimal commas": (lambda text: rewritten(text, comma), "with a comma. A spreadsheet wrote it"),
    "UTF-16": (lambda text: text.encode("utf-16"), "is UTF-16: save it as UTF-8"),
    "latin-1": (lambda text: (text + "é").encode("latin-1"), "is not UTF-8"),
    "a cut within a line": (lambda text: text[: text.rindex(",")], "is not a table: line "),
    "a cut within quotes": (lambda text: text + '"', "is not a table: line "),
    "a cell too many": (lambda text: text.rstrip("\n") + ",1\n", "is not a table: line "),
    "nothing": (lambda text: "", "is not a table: it is empty"),
    "a picture": (lambda text: b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8 (line 1: byte 0x89)"),
    "another table": (lambda text: "a,b\n1,2\n", "missing"),
}
"""Damage that every table knows: what it makes of the text, and words of the line."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Kept results without runs, as far as one paper's figures need them; their preset is today's."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "tables").mkdir()
    for name in ("claims.json", "runs.csv"):
        shutil.copy(KEPT / name, folder / name)
    (folder / "plan.json").write_text(load_preset(KEPT.parents[2] / "config/laptop.yaml").model_dump_json())
    (folder / "observations.csv").write_text(OBSERVATIONS)
    for table in papers()["s_cyc"].tables:
        file = KEPT / f"tables/{table.name}.csv"
        header = ",".join(column.name for column in table.columns) + "\n"
        (folder / f"tables/{table.name}.csv").write_text(file.read_text() if file.exists() else header)
    return folder


@pytest.fixture
def results(kept, tmp_path):
    """A copy of them."""
    return shutil.copytree(kept, tmp_path / "results")


@pytest.fixture
def refusal(monkeypatch, capfd, tmp_path):
    """The one line with which `prunebench` refuses these words, when nothing was written."""

    def of(*words):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert (end.value.code, out) == (2, ""), err
        assert (err.startswith("prunebench: "), err.count("\n"), err[:-1].isprintable()) == (True, 1, True), err
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        return err

    return of


def words_of(verb, folder):
    """A verb that reads a table of the folder, and that table."""
    plan, out = folder / "plan.json", folder / "out"
    return {
        "draw": (
            ("draw", "s_cyc", "--plan", plan, "--tables", folder / "tables", "--out", out),
            "tables/s_cyc_accuracy.csv",
        ),
        "compare": (("compare", KEPT, folder), "runs.csv"),
        "calibrate": (("calibrate", folder, "--out", out), "observations.csv"),
        "write-report": (
            ("write-report", folder, "--figures", folder, "--out", out / "report.html"),
            "runs.csv",
        ),
    }[verb]


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("verb", ["draw", "compare", "calibrate", "write-report"])
def test_a_table_that_was_changed_outside_is_named(results, refusal, verb, kind):
    words, name = words_of(verb, results)
    damage, message = TABLES[kind]
    write(results / name, damage((results / name).read_text()))
    line = refusal(*words)
    assert str(results / name) in line
    assert message in line


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("verb", ["draw", "compare", "calibrate", "write-report"])
def test_a_table_that_is_no_file_is_named_and_not_waited_for(results, refusal, verb, kind):
    words, name = words_of(verb, results)
    (results / name).unlink()
    {"folder": os.mkdir, "pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero")}[kind](results / name)
    assert f"cannot read {results / name}: " in refusal(*words)


@pytest.mark.parametrize(
    ("verb", "change", "message"),
    [
        ("draw", lambda text: last_number(text, "good"), "which is no number"),
        ("draw", lambda text: last_number(text, "0;5"), "has '0;5', which is no number"),
        ("compare", lambda text: text + text.splitlines()[-1] + "\n", "is there twice"),
        ("calibrate", lambda text: last_number(text, "good"), "no table of observations: could not convert"),
        ("calibrate", lambda text: last_number(text, "1e999"), "has the value inf"),
        ("calibrate", lambda text: text + text.splitlines()[-1] + "\n", "has two values of"),
        ("calibrate", lambda text: text.replace('""task""', '""task"": [], ""x""', 1), "is no cell"),
        ("calibrate", lambda text: text.replace('""task""', '""x"": NaN, ""task""', 1), "equals no cell"),
        ("calibrate", lambda text: text.replace("claim,", "clam,", 1), "claim"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cell_that_means_nothing_is_named(results, refusal, verb, change, message):
    words, name = words_of(verb, results)
    write(results / name, change((results / name).read_text()))
    line = refusal(*words)
    assert str(results / name) in line
    assert message in line


def test_a_cell_with_text_where_a_number_is_usual_is_shown_as_it_is(results, refusal):
    from prunebench.suite.cells import label

    assert label((("sparsity", "much"), ("against", "sgd"), ("k", 3))) == "much · against sgd · leading 3"


# --- The ledger


LEDGERS = {
    "cut off": (lambda text: text[: len(text) // 2], "is not JSON: "),
    "a list": (lambda text: f"[{text}]", "must hold a mapping"),
    "nested deeply": (lambda text: '{"findings": ' * 100_000, "is not JSON: maximum recursion"),
    "a number of 10,000 digits": (
        lambda text: text.replace('"seeds": [', f'"seeds": [{"9" * 10_000}, '),
        "is not JSON: ",
    ),
    "NaN": (
        lambda text: re.sub(r'"mean": [\d.e-]+', '"mean": NaN', text, count=1),
        "mean': input should be a finite number",
    ),
    "words for a mean": (lambda text: re.sub(r'"mean": [\d.e-]+', '"mean": "0,5"', text, count=1), "mean': "),
    "no verdict": (lambda text: text.replace('"verdict": "', '"verdict": "not ', 1), "verdict' is 'not "),
    "a claim twice": (lambda text: text.replace('"id": "A2"', '"id": "A1"'), "claim A1 is there twice"),
    "UTF-16": (lambda text: text.encode("utf-16"), "is UTF-16"),
    "a byte that is flipped": (lambda text: text.encode().replace(b"findings", b"fin\xe4ings"), "is not UTF-8"),
    "empty": (lambda text: "", "is not JSON: "),
}


@pytest.mark.parametrize("kind", LEDGERS)
@pytest.mark.parametrize("verb", ["claims", "compare", "write-report"])
def test_a_ledger_that_is_none_is_named(results, refusal, verb, kind):
    damage, message = LEDGERS[kind]
    write(results / "claims.json", damage((results / "claims.json").read_text()))
    words = {"claims": ("claims", results), "compare": words_of("compare", results)[0]}
    line = refusal(*words.get(verb, words_of("write-report", results)[0]))
    assert str(results / "claims.json") in line
    assert message in line


@pytest.mark.parametrize("words", [("claims",), ("claims", "--markdown"), ("compare", KEPT)])
def test_a_ledger_of_a_stranger_cannot_steer_the_terminal(results, monkeypatch, capfd, words):
    """Nor does a number that no ratio has end it."""
    ledger = json.loads((results / "claims.json").read_text())
    for finding in ledger["findings"]:
        finding["sentence"] = finding["published"] = finding["why"] = "\x1b]0;owned\x07[red]\x9b31m"
        if finding["headline"]:
            finding["headline"] |= {"mean": 1e300, "low": -1e300, "unit": "ratio", "cell": "\x1b[2J"}
    ledger["scale"] = ledger["preset"] = "\x1b[2J"
    (results / "claims.json").write_text(json.dumps(ledger))
    monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, words), str(results)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capfd.readouterr()
    assert (end.value.code, err) == (0, "")
    assert "[red]" in out or words[0] == "compare"
    assert not {letter for letter in out if not letter.isprintable()} - {"\n"}


# --- The tables of runs


@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind != "another table"])
@pytest.mark.parametrize("verb", ["judge-claims", "tabulate", "tabulate-runs"])
def test_a_run_s_table_that_was_changed_outside_is_named(toy_preset, toy_runs, refusal, tmp_path, verb, kind):
    preset = toy_preset()
    runs = toy_runs(preset, tmp_path / "runs")
    (tmp_path / "plan.json").write_text(preset.model_dump_json())
    damage, message = TABLES[kind]
    for path in runs.rglob("phases.csv"):
        write(path, damage(path.read_text()))
    line = refusal(
        *(verb, *(["toy"] if verb == "tabulate" else []), "--plan", tmp_path / "plan.json", "--out", tmp_path / "out")
    )
    assert re.search(rf"{runs}\S+/phases\.csv", line)
    assert message in line


@pytest.mark.parametrize(
    ("verb", "which"),
    [
        *(
            (verb, which)
            for verb in ("judge-claims", "tabulate", "tabulate-runs")
            for which in ("one row", "every row")
        ),
        ("tabulate-runs", "the only row"),
    ],
)
def test_a_word_among_a_run_s_numbers_is_named(toy_preset, toy_runs, refusal, tmp_path, verb, which):
    """Of a table without a record of its checksum: sums and means of words are no numbers, or a traceback."""
    preset = toy_preset()
    runs = toy_runs(preset, tmp_path / "runs")
    (tmp_path / "plan.json").write_text(preset.model_dump_json())
    folder = {"the only row": "toy/search/net/seed-0/batch-1"}.get(which, "toy/chains/net/ours/seed-1")
    path = runs / folder / "phases.csv"
    header, *rows = csv.reader(path.read_text().splitlines())
    assert len(rows) == (1 if which == "the only row" else 2)
    for row in rows if which == "every row" else rows[-1:]:
        row[header.index("validation_accuracy")] = "good"
    path.write_text("".join(",".join(row) + "\n" for row in (header, *rows)))
    line = refusal(
        *(verb, *(["toy"] if verb == "tabulate" else []), "--plan", tmp_path / "plan.json", "--out", tmp_path / "out")
    )
    assert f"{path}: column validation_accuracy has 'good', which is no number" in line


# --- What is harmless


@pytest.mark.parametrize(
    "change", [lambda text: text.encode("utf-8-sig"), lambda text: text.replace("\n", "\r\n"), lambda text: text + "\n"]
)
def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path, change):
    text = (KEPT / "runs.csv").read_text()
    write(tmp_path / "runs.csv", change(text))
    assert read_csv(tmp_path / "runs.csv") == read_csv(KEPT / "runs.csv")
    assert read_frame(tmp_path / "runs.csv").equals(read_frame(KEPT / "runs.csv"))


def test_a_list_of_numbers_in_a_column_of_words_is_no_decimal_comma(tmp_path):
    write(tmp_path / "x.csv", 'name,value\n"1,2",3\n"first",4\n')
    assert list(read_frame(tmp_path / "x.csv")["name"]) == ["1,2", "first"]
