"""A job in a terminal: its curves, the ends of its phases; and curves by themselves."""

import io
import json
import math

import pytest
import safetensors.torch
import torch
from rich.console import Console

from prunebench.errors import InputError
from prunebench.suite.curves import chart, has_braille, spark
from prunebench.suite.show import print_job, read_job

CHAIN, ARMS = "toy/chains/net/ours/seed-0", "toy/arms/net/seed-0"


@pytest.fixture
def runs(toy_results):
    return toy_results(seeds=[0]) / "runs"


def printed(job, **how):
    out = io.StringIO()
    print_job(job, Console(file=out, width=100, **how))
    return out.getvalue()


def test_a_chain_is_drawn_over_its_epochs_with_the_ends_of_its_phases(runs):
    job = read_job(runs / CHAIN)
    assert job["done"]
    assert [row["train_loss"] for row in job["tables"]["epochs"]] == [1, 0.5]
    text = printed(job)
    for part in ("training loss, nats", "validation accuracy, share", "learning rate", "(epochs 1 to 2, last 0.5)"):
        assert part in text
    ends = next(line for line in text.splitlines() if line.startswith(" chain") and "trained" in line)
    assert ends.split()[:4] == ["chain", "0", "trained", "0.5"]
    assert json.loads(json.dumps(job)) == job


def test_several_arms_have_a_line_each_and_one_of_them_has_charts(runs):
    text = printed(read_job(runs / ARMS))
    assert "The charts of one: --arm NAME" in text
    assert "training loss, nats" not in text
    one = read_job(runs / ARMS, "second")
    assert {row["arm"] for rows in one["tables"].values() for row in rows} == {"second"}
    assert "training loss, nats" in printed(one)
    with pytest.raises(InputError, match=r"no arm 'secnd' in .*did you mean 'second'\?"):
        read_job(runs / ARMS, "secnd")


def test_a_job_of_another_kind_is_shown_by_its_tables(runs):
    text = printed(read_job(runs / "toy/timing/once"))
    assert "times: 1 rows" in text
    assert "1.5" in text


def test_a_job_that_is_not_done_is_shown_as_it_was_saved_last(runs):
    folder = runs / CHAIN
    rows = {"epochs": [{"arm": "chain", "phase": 0, "epoch": 0, "train_loss": 2.25, "lr": 0.1}]}
    about = {"spec": "x", "values": json.dumps({"rows": rows})}
    for path in folder.glob("*.csv"):
        path.unlink()
    tensors = {"x": torch.zeros(3)}
    saved = folder / ".resume.safetensors"
    saved.write_bytes(safetensors.torch.save(tensors, {"about": json.dumps(about)}))
    job = read_job(folder)
    assert (job["done"], job["tables"]) == (False, rows)
    assert "not done; as it was saved last" in printed(job)
    for broken in (b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}", saved.read_bytes()[:50]):
        saved.write_bytes(broken)
        assert read_job(folder)["tables"] == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("toy/chains/net/ours/seed-3", "did you mean 'toy/chains/net/ours/seed-0'"),
        ("toy/chains/net", "is no job's folder; below it: benchmark, ours, theirs"),
        ("../../tini", "no such folder; did you mean 'tiny'?"),
    ],
)
def test_no_job_is_answered_with_the_nearest(runs, path, message):
    with pytest.raises(InputError) as error:
        read_job((runs / path) if ".." not in path else runs.parent.parent / "tini")
    assert message in str(error.value)


def test_what_files_say_steers_no_terminal(runs):
    path = runs / CHAIN / "phases.csv"
    (runs / CHAIN / "run.sha256").unlink()
    path.write_text(path.read_text().replace("trained", "\x1b[2J[red]x"))
    assert "\x1b" not in printed(read_job(runs / CHAIN))


# --- Curves


def test_a_line_of_blocks_goes_from_the_least_to_the_largest():
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert spark([0, 0, 7, 7], 2) == "▁█"
    assert spark([1, 1, 1], 3, plain=True) == "+++"
    assert spark([0, math.nan, 1], 3) == "▁ █"


def test_a_chart_has_its_range_at_the_left_and_phases_below():
    lines = chart([0, 1, 2, 3], [0, 2], width=14, height=3, plain=True)
    rows = [line.ljust(14)[3:] for line in lines[:3]]
    assert (lines[0][:3], lines[2][:4], lines[0][-1]) == ("3 |", "0 |*", "*")
    assert all("*" in column for column in zip(*rows, strict=True))
    highest = ["".join(column).index("*") for column in zip(*rows, strict=True)]
    assert highest == sorted(highest, reverse=True)
    assert lines[3] == "  ++------+---"  # 2 of 0 to 3
    rising = chart([0, 1], [0], width=20, height=2)
    assert rising[0].startswith("1 │")
    assert rising[1].startswith("0 │⣀")
    assert all(0x2800 <= ord(letter) < 0x2900 or letter == " " for line in rising[:2] for letter in line[3:])


def test_values_that_are_none_are_left_out_and_equal_ones_lie_in_the_middle():
    lines = chart([1, math.nan, math.inf], [0], width=14, height=3, plain=True)
    assert "".join(lines[:3]).count("*") == 1
    assert "*" in chart([5, 5, 5], [0], width=14, height=3, plain=True)[1]


@pytest.mark.parametrize(("encoding", "has"), [("utf-8", True), ("latin-1", False), ("ascii", False), (None, False)])
def test_terminals_without_braille_are_known(encoding, has):
    assert has_braille(encoding) is has
