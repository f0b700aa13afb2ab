"""docs/tutorial.md as a reader would type it: from an empty file to a verdict, with fewer seeds, trained for less."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
SHORTER = {"seeds: [0, 1, 2, 3, 4]": "seeds: [0, 1]", "epochs: 6": "epochs: 1", "tables: 1000": "tables: 100"}
"""What is changed in the preset that `prunebench new` writes."""


def commands():
    blocks = re.findall(r"^```console\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def typed(tmp_path_factory, clone):
    """Types all commands in a folder with the workflow; gives the folder and what each printed, by command."""
    folder = clone(tmp_path_factory.mktemp("clone"))
    printed = {}
    for command in commands():
        words = shlex.split(command.replace("seeds=[0,1,2,3,4,5,6,7,8,9]", "seeds=[0,1,2]"))
        if words[0] == "source":
            continue
        words[0] = str(Path(sys.executable).with_name(words[0]))
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed[command] = done.stdout
        if "new" in words:
            preset = folder / "ideas/warm_cosine.yaml"
            text = preset.read_text()
            for long, short in SHORTER.items():
                assert long in text
                text = text.replace(long, short)
            preset.write_text(text)
    return folder, printed


def test_the_tutorial_s_schedule_stands_in_ledger_and_report(typed):
    folder, printed = typed
    ledger = json.loads((folder / "results/warm_cosine/claims.json").read_text())
    (found,) = [each for each in ledger["findings"] if each["id"] == "Z1"]
    assert found["sentence"] == "warm_cosine prunes better than s_cyc."
    assert found["headline"]["n"] == 3  # after the last command
    assert found["stability"] is not None
    assert 'id="claim-Z1"' in (folder / "results/warm_cosine/report.html").read_text()
    said = printed["prunebench claims results/warm_cosine Z1"]
    assert "warm_cosine prunes better than s_cyc." in " ".join(said.split())
    assert re.search(r"[\d.]+ \[[+−-][\d.]+, [+−-][\d.]+\] points", said)


def test_a_changed_line_trains_its_schedule_alone(typed):
    """The run with a shorter rise: what S-Cyc and the benchmark left was not made again."""
    folder, _ = typed
    runs = folder / "results/warm_cosine/runs/s_cyc/chains/digits-resnet8/global_magnitude"
    own, other = (json.loads((runs / name / "seed-0/provenance.json").read_text()) for name in ("warm_cosine", "s_cyc"))
    assert own["finished"] > other["finished"]


def test_the_code_that_the_tutorial_shows_is_what_the_starting_point_has(typed):
    folder, _ = typed
    (shown,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    code = (folder / "ideas/warm_cosine.py").read_text()
    for line in shown.splitlines():
        assert line.strip() in code
