"""Starting points of users' ideas: each works as it is written, and none writes over anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from prunebench.errors import InputError
from prunebench.suite.starting import KINDS, TEMPLATES, start


def test_every_starting_point_passes_its_own_test(tmp_path):
    """All in one process: each has another name, as ideas of one user do."""
    for kind in KINDS:
        start(kind, f"first_{kind}", tmp_path / "ideas")
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "ideas"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert {path.name for path in TEMPLATES.iterdir()} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_stands_wherever_the_template_has_its_own(tmp_path, kind):
    made = start(kind, "warm_cosine", tmp_path)
    for path in made:
        text = path.read_text()
        assert not any(word in f"{path.name} {text}" for word in ("my_idea", "MyIdea", "FOLDER"))
        assert "warm_cosine" in f"{path} {text}"
    assert any("class WarmCosine" in path.read_text() for path in made) or kind == "criterion"


def test_a_preset_names_its_file_from_where_the_user_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start("schedule", "a", Path("ideas"))
    start("schedule", "b", Path())
    assert "plugins: [ideas/a.py]" in (tmp_path / "ideas/a.yaml").read_text()
    assert "plugins: [b.py]" in (tmp_path / "b.yaml").read_text()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("schedul", "a", "did you mean 'schedule'?"),
        ("schedule", "9a", "'9a' names no idea"),
        ("schedule", "a-b", "'a-b' names no idea"),
        ("schedule", "../a", "names no idea"),
        ("schedule", "class", "'class' names no idea"),
        ("schedule", "Warm", "lower-case"),
        ("schedule", "", "names no idea"),
    ],
)
def test_bad_words_write_nothing(tmp_path, kind, name, said):
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        start(kind, name, tmp_path / "ideas")
    assert said in str(error.value)
    assert not (tmp_path / "ideas").exists()


def test_what_is_there_stays_as_it_is_and_nothing_is_written_beside_it(tmp_path):
    (tmp_path / "a.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"a\.yaml is there already"):
        start("schedule", "a", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
    assert (tmp_path / "a.yaml").read_text() == "mine"
