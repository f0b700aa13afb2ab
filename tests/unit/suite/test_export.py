"""An export: one long table with every number of the results, its dictionary, its RO-Crate metadata."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

import prunebench
from prunebench.errors import InputError
from prunebench.suite import crate, export

KEPT = Path(prunebench.__file__).parents[2] / "results/reference/laptop"
SHARED = ["quantity", "unit", "value", "text"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "laptop"
    export.export(KEPT, folder)
    return folder


@pytest.fixture(scope="module")
def table(out):
    return pd.read_csv(out / "results.csv", low_memory=False)


@pytest.fixture(scope="module")
def dictionary(out):
    return pd.read_csv(out / "dictionary.csv", keep_default_na=False)


def test_every_number_and_word_of_every_table_is_there_once(table):
    results = prunebench.load(KEPT)
    assert {*results.tables, "runs", "observations", "claims"} == {*table["table"]}
    for name in results.tables:
        rows, frame = table[table["table"] == name], results[name].drop(columns="scale")
        axes = [*rows["quantity"].drop_duplicates()]
        assert len(rows) == int(frame[axes].notna().sum().sum()), name
        for quantity in axes:
            part = rows[rows["quantity"] == quantity]
            column = "text" if part["text"].notna().any() else "value"
            there = frame[quantity].dropna()
            assert part[column].tolist() == pytest.approx(there.astype(float if column == "value" else str).tolist())


def test_axes_tell_all_rows_apart(table):
    key = [name for name in table.columns if name not in ("unit", "value", "text")]
    assert not table.duplicated(key).any()
    assert [*table.columns[:4]] == ["study", "table", "task", "seed"]
    assert [*table.columns[-4:]] == SHARED
    assert (table["value"].notna() ^ table["text"].notna()).all()


def test_a_number_can_be_found_by_what_it_is(table):
    of = table.query("table == 's_cyc_accuracy' and schedule == 's_cyc' and quantity == 'test_accuracy' and cycle == 1")
    frame = prunebench.load(KEPT)["s_cyc_accuracy"]
    want = frame[(frame["schedule"] == "s_cyc") & (frame["cycle"] == 1)]
    assert of["value"].tolist() == pytest.approx(want["test_accuracy"].tolist())
    assert {*of["unit"]} == {"share"}
    assert of["sparsity"].tolist() == pytest.approx(want["sparsity"].tolist())


def test_the_dictionary_has_every_column_axis_and_quantity_with_a_meaning(table, dictionary):
    assert (dictionary["meaning"] != "").all()
    for name, rows in table.groupby("table"):
        words = dictionary[dictionary["table"] == name]
        assert {*rows["quantity"]} <= {*words.loc[words["role"] == "quantity", "name"]}, name
        axes = [c for c in table.columns if c not in ("study", "table", *SHARED) and rows[c].notna().any()]
        assert {*axes} == {*words.loc[words["role"] == "axis", "name"]}, name
    assert {"study", "table", *SHARED} == {*dictionary.loc[dictionary["role"] == "column", "name"]}
    accuracy = dictionary[(dictionary["table"] == "s_cyc_accuracy") & (dictionary["name"] == "std")]
    assert accuracy[["unit", "role"]].to_numpy().tolist() == [["points", "quantity"]]


def test_parquet_holds_the_same_table(out, table):
    pytest.importorskip("pyarrow", reason="needs pyarrow, the extra `export`")
    typed = pd.read_parquet(out / "results.parquet")
    assert [*typed.columns] == [*table.columns]
    assert typed["value"].tolist() == pytest.approx(table["value"].tolist(), nan_ok=True)
    assert str(typed["seed"].dtype) == "Int64"


def test_without_pyarrow_the_rest_is_written_and_a_line_says_so(tmp_path, toy_results, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    files, lacking = export.export(toy_results(seeds=[0]), tmp_path / "out")
    assert "pip install 'prunebench[export]'" in lacking
    names = {path.name for path in files}
    assert names == {path.name for path in (tmp_path / "out").iterdir()}
    assert "results.parquet" not in names


def test_epochs_come_where_they_are_wanted(tmp_path, toy_results):
    results = toy_results(seeds=[0, 1])
    for wanted in (False, True):
        export.export(results, tmp_path / "out", epochs=wanted)
        table = pd.read_csv(tmp_path / "out/results.csv", low_memory=False)
        assert ("epochs" in {*table["table"]}) is wanted
    epochs = prunebench.load(results).epochs
    losses = table.query("table == 'epochs' and quantity == 'train_loss'")
    assert losses["value"].tolist() == pytest.approx(epochs["train_loss"].tolist())
    assert losses["folder"].tolist() == epochs["folder"].tolist()
    assert {*losses["seed"]} == {0, 1}
    phases = table.query("table == 'phases' and quantity == 'test_accuracy'")
    assert len(phases) == len(prunebench.load(results).phases)


# --- RO-Crate


def entities(out):
    content = json.loads((out / crate.METADATA).read_text())
    assert content["@context"] == crate.CONTEXT
    return {entity["@id"]: entity for entity in content["@graph"]}


def test_the_crate_describes_every_file_as_it_is(out):
    graph = entities(out)
    root = graph["./"]
    assert graph[crate.METADATA]["about"] == {"@id": "./"}
    assert all(root[key] for key in ("name", "description", "datePublished", "license", "author"))
    parts = {part["@id"] for part in root["hasPart"]}
    assert parts == {path.name for path in out.iterdir()} - {crate.METADATA}
    for name in parts:
        data = (out / name).read_bytes()
        assert graph[name]["sha256"] == hashlib.sha256(data).hexdigest()
        assert graph[name]["contentSize"] == str(len(data))
        assert graph[name]["encodingFormat"]
    software = graph[graph["#export"]["instrument"]["@id"]]
    assert (software["name"], software["version"]) == ("prunebench", prunebench.__version__)
    assert graph[root["author"][0]["@id"]]["name"] == "The prunebench developers"
    assert graph[root["license"]["@id"]]["name"] == "MIT"


def test_every_reference_within_the_crate_leads_somewhere(out):
    graph = entities(out)

    def references(node):
        if isinstance(node, dict) and set(node) == {"@id"}:
            yield node["@id"]
        for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from references(inner)

    wanted = {each for entity in graph.values() for each in references(entity)} - {crate.PROFILE}
    assert wanted <= graph.keys()


def test_a_reader_of_crates_reads_it(out):
    rocrate = pytest.importorskip("rocrate.rocrate", reason="needs rocrate")
    read = rocrate.ROCrate(out)
    assert read.name == "prunebench: results of the preset laptop"
    assert {entity.id for entity in read.data_entities} == {path.name for path in out.iterdir()} - {crate.METADATA}
    assert read.dereference("results.csv")["encodingFormat"] == "text/csv"


def test_people_and_their_identifiers_come_from_the_citation():
    citation = {"authors": [{"given-names": "A", "family-names": "B", "orcid": "https://orcid.org/0"}, {"name": "C"}]}
    people = [*crate._authors(citation)]
    assert people[0] == {"@id": "https://orcid.org/0", "@type": "Person", "name": "A B"}
    assert people[1]["@type"] == "Organization"
    assert [*crate._authors({})] == []


# --- Where it writes


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path, toy_results):
    results, out = toy_results(seeds=[0]), tmp_path / "out"
    export.export(results, out)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "claims.json").write_text("{}")  # of results that had a ledger
    export.export(results, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    mine = tmp_path / "mine"
    mine.mkdir()
    export.export(results, mine)
    for name, content in (("notes.txt", "x"), (crate.METADATA, '{"@graph": [{"@id": "./"}]}'), (crate.METADATA, "x")):
        for path in mine.iterdir():
            path.unlink()
        (mine / name).write_text(content)
        with pytest.raises(InputError, match="is not empty and holds no export"):
            export.export(results, mine)
        assert [path.name for path in mine.iterdir()] == [name]
    with pytest.raises(InputError, match="is no folder"):
        export.export(results, mine / name)


def test_results_without_anything_yet_are_named(tmp_path, toy_results):
    results = toy_results(seeds=[0])
    (results / "runs.csv").unlink()
    (results / "runs").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="nothing to export"):
        export.export(results, tmp_path / "out")
    assert not (tmp_path / "out").exists()
