"""The tables and figures of the calibration, from rates that are written down here."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.suite.exhibits import CALIBRATION, POWER, STABILITY, STABLE
from prunebench.suite.report.calibration_views import calibration as view
from prunebench.suite.report.calibration_views import stability as view_of_stability
from prunebench.suite.report.draw import draw_figures
from prunebench.suite.report.tables import write_table

SCALE = "scaled-down: a toy <of> 1 & $2"
NOISES = ("independent", "shared by seed", "heavy-tailed")
TITLES = {"toy": "Toys", "other": "Other toys"}


def rated(claim, paper="toy", false=0.02, enough=8, tables=500):
    """Rows of a claim: the rates are worse from noise to noise, the power grows with the seeds."""
    return [
        {
            "claim": claim,
            "paper": paper,
            "n": n,
            "noise": noise,
            "tables": tables,
            "null_reproduced": false + 0.001 * worse,
            "null_reproduced_low": false + 0.001 * worse - 0.005,
            "null_reproduced_high": false + 0.001 * worse + 0.005,
            "claimed_reproduced": n / 12 - 0.01 * worse,
            "claimed_not_reproduced": 0.01,
            "seeds_for_80": enough + worse if enough else None,
            "noise_from": "measured: 3 seeds",
            "null_effect": "gain +1 points",
            "claimed_effect": "gain +2 points",
            "claimed_as": "twice the margin [ours]",
        }
        for worse, noise in enumerate(NOISES)
        for n in (3, 5, 10)
    ]


UNRATED = {"claim": "U1", "paper": "other", "noise_from": "not measured: gain", "claimed_as": "[ours]"}
NAMES = [column.name for column in CALIBRATION.columns]


def frame(*rows):
    whole = pd.DataFrame(list(rows), columns=NAMES)
    return whole.astype(dict.fromkeys(("n", "tables", "seeds_for_80"), "Int64"))


@pytest.fixture(scope="module")
def rates():
    """An unsound rule and a claim that was not measured among them."""
    return frame(*rated("T1"), *rated("T2", enough=None), *rated("T1:theirs", false=0.3), UNRATED)


def draw(tables, out):
    draw_figures((POWER,), (CALIBRATION,), tables, out, titles=TITLES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, rates):
    """Folders of the table and of the figure."""
    folder = tmp_path_factory.mktemp("calibration")
    write_table(CALIBRATION, rates, SCALE, folder / "tables")
    draw(folder / "tables", folder / "out")
    return folder / "tables", folder / "out"


def text_of(svg):
    texts = ElementTree.fromstring(svg.read_bytes()).iter("{http://www.w3.org/2000/svg}text")
    return re.sub(r"\s+", " ", " ".join("".join(text.itertext()) for text in texts))


def test_the_table_has_every_rate_and_a_line_per_claim_in_latex(drawn, rates):
    written = pd.read_csv(drawn[0] / "calibration.csv")
    assert list(written.columns) == [*NAMES, "scale"]
    assert written["null_reproduced"].tolist() == pytest.approx(rates["null_reproduced"].tolist(), nan_ok=True)
    text = (drawn[0] / "calibration.tex").read_text()
    assert "T1 & measured: 3 seeds" in text
    assert "seeds for 80 \\%" in text
    assert sum(line.startswith(("T1", "T2", "U1")) for line in text.splitlines()) == 4


def test_the_figure_is_whole_and_names_its_claims(drawn):
    out = drawn[1]
    assert {path.name for path in out.iterdir()} == {*POWER.files}
    png = (out / "calibration_power.png").read_bytes()
    assert int.from_bytes(png[16:20], "big") == 2160
    assert 600 < int.from_bytes(png[20:24], "big") < 2950
    text = text_of(out / "calibration_power.svg")
    for part in (SCALE, "T1", "T2", "T1:theirs", "U1", "Toys", "Other toys", "3 seeds", "10 seeds", ">100"):
        assert part in text
    assert "500 simulated tables" in text
    assert "observed in the runs, over 3 seeds" in text
    assert "noise not measured" in text
    assert "above 5 %" in text, "T1:theirs is unsound"


def test_no_text_of_the_figure_is_smaller_than_seven_points(drawn):
    svg = (drawn[1] / "calibration_power.svg").read_text()
    sizes = [float(part.split("px")[0]) for part in svg.replace("font: ", "font-size: ").split("font-size: ")[1:]]
    assert min(sizes) >= 7


def test_same_table_same_bytes_in_another_process(drawn, tmp_path):
    tables, out = drawn
    code = f"""
from pathlib import Path
from prunebench.suite.exhibits import CALIBRATION, POWER
from prunebench.suite.report.draw import draw_figures
draw_figures((POWER,), (CALIBRATION,), Path({str(tables)!r}), Path({str(tmp_path)!r}), titles={TITLES!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    for path in out.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_missing_table_or_column_is_an_input_error(rates, tmp_path):
    with pytest.raises(InputError, match=r"calibration\.csv"):
        draw(tmp_path / "none", tmp_path)
    rates.drop(columns="claimed_reproduced").to_csv(tmp_path / "calibration.csv", index=False)
    with pytest.raises(InputError, match="claimed_reproduced is missing"):
        draw(tmp_path, tmp_path)


@pytest.mark.parametrize(("rows", "part"), [((), "not run"), ((UNRATED,), "noise not measured")])
def test_a_figure_of_nothing_says_so(tmp_path, rows, part):
    write_table(CALIBRATION, frame(*rows), SCALE, tmp_path)
    draw(tmp_path, tmp_path)
    assert part in text_of(tmp_path / "calibration_power.svg")


def test_the_view_has_a_line_per_claim_with_the_worst_of_all_noises(rates):
    lines = view(rates).set_index("claim")
    assert lines.index.tolist() == ["T1", "T2", "T1:theirs", "U1"]
    assert lines.loc["T1", "power, n = 5"] == f"{100 * (5 / 12 - 0.02):.1f}"
    assert lines.loc["T1", "false, n = 5"] == "2.2"
    assert lines.loc["T1", "seeds for 80 %"] == "10"
    assert lines.loc["T2", "seeds for 80 %"] == "$>$ 100"
    assert lines.loc["T1:theirs", "false, n = 3"] == "\\textbf{30.2}"
    assert set(lines.loc["U1"].drop("noise")) == {"n/a"}


def test_the_view_of_nothing_measured():
    assert view(frame(UNRATED)).to_dict("records") == [
        {"claim": "U1", "noise": "not measured: gain", "seeds for 80 %": "n/a"}
    ]


# --- Stability


def firm(claim, verdict="reproduced", opposite=0.001, same=0.9, halves=True, paper="toy"):
    """The row of a claim."""
    row = {"claim": claim, "paper": paper, "n": 10, "verdict": verdict, "same": same, "opposite": opposite}
    row["opposite_low"] = None if opposite is None else 0.9 * opposite
    tried = {"half": 5, "splits": 252, "forecast_same": 0.8, "found_same": 0.7, "forecast_opposite": 0.0}
    return row | (tried | {"found_opposite": 0.0} if halves else {})


def stable(*rows):
    whole = pd.DataFrame(list(rows), columns=[column.name for column in STABILITY.columns])
    return whole.astype(dict.fromkeys(("n", "half", "splits"), "Int64"))


VERDICTS = stable(
    firm("T1"),
    firm("T2", "not reproduced", opposite=0.04),
    firm("T1:theirs", "inconclusive", opposite=None, same=0.6),
    {"claim": "U1", "paper": "other"},
)


def drawn_of_stability(rows, folder):
    write_table(STABILITY, rows, SCALE, folder)
    draw_figures((STABLE,), (STABILITY,), folder, folder, titles=TITLES)
    return text_of(folder / "calibration_stability.svg")


def test_the_figure_of_stability_names_claims_halves_and_what_fails(tmp_path):
    text = drawn_of_stability(VERDICTS, tmp_path)
    assert int.from_bytes((tmp_path / "calibration_stability.png").read_bytes()[16:20], "big") == 2160
    for part in (
        SCALE,
        "T1",
        "T2",
        "T1:theirs",
        "U1",
        "Other toys",
        "halves: forecast",
        "not measured, or by one seed",
    ):
        assert part in text
    assert "above 1 % beyond" in text, "T2 fails"
    assert "mean over 3 claims: the same verdict in 80 % of pairs by forecast, in 70 % as found" in text


def test_without_halves_and_failures_the_figure_names_none(tmp_path):
    text = drawn_of_stability(stable(firm("T1", halves=False)), tmp_path)
    assert "halves" not in text
    assert "above 1 %" not in text


@pytest.mark.parametrize(("rows", "part"), [((), "not run"), (({"claim": "U1", "paper": "other"},), "not measured")])
def test_a_figure_of_no_verdict_says_so(tmp_path, rows, part):
    assert part in drawn_of_stability(stable(*rows), tmp_path)


def test_the_view_of_stability_marks_what_fails_in_bold():
    lines = view_of_stability(VERDICTS).set_index("claim")
    assert lines.loc["T1", ["verdict", "n", "same", "opposite"]].tolist() == ["reproduced", "10", "90.0", "0.1"]
    assert lines.loc["T2", "opposite"] == "\\textbf{4.0}"
    assert lines.loc["T1", "halves: same, forecast"] == "80.0"
    assert lines.loc["T1:theirs", "opposite"] == "n/a"
    assert set(lines.loc["U1"].drop("verdict")) == {"n/a"}
