"""The cascade study's figures: files, determinism, and what they say of missing, diverged or single-seed data."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.papers.cascade import PAPER
from prunebench.papers.cascade.figures.common import setting_text, settings_of
from prunebench.suite.report.style import new_figure, spacing, stacked_labels

FIGURES = [figure.name for figure in PAPER.figures]
TABLES = [table.name for table in PAPER.tables]
MARGINS = PAPER.margins()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_whole_and_states_scale_seeds_and_bars(drawn, scale, text_of, png_size, name) -> None:
    _, out = drawn
    width, height = png_size(out / f"{name}.png")
    assert width == 216
    assert 45 < height < 295, "no higher than a page"
    text = text_of(out / f"{name}.svg")
    assert scale in text
    assert "n = 3" in text
    assert "without bars" in text if name == "cascade_histograms" else "95 % t interval" in text
    assert "not run" not in text
    assert "no values" not in text
    assert all(task in text for task in ("toy-resnet8", "toy-mobilenet"))
    assert b"&lt;of&gt;" in (out / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_smaller_than_seven_points(drawn, smallest_text, name) -> None:
    assert smallest_text(drawn[1] / f"{name}.svg") >= 7


def test_nothing_else_is_written(drawn) -> None:
    assert {path.name for path in drawn[1].iterdir()} == {f"{n}.{kind}" for n in FIGURES for kind in ("svg", "png")}


def test_same_tables_same_bytes(single, draw_in_another_process, tmp_path) -> None:
    draw_in_another_process("cascade", single / "tables", tmp_path)
    for path in single.glob("*.*"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_settings_and_the_claims_margin_are_named(drawn, text_of) -> None:
    text = text_of(drawn[1] / "cascade_shedding.svg")
    for words in ("B1: 20", "LR 0.01, wd 5e\u22124", "control", "excess", ", 30 %"):
        assert words in text
    assert "B1: 20" in text_of(drawn[1] / "cascade_networks.svg")


def test_a_prelude_stands_beside_its_control(drawn, single, text_of) -> None:
    for name, words in (
        ("gmp", "shedding minus its control, no decay"),
        ("semi_structured", "minus its control's (points)"),
    ):
        assert words in text_of(drawn[1] / f"cascade_{name}.svg")
        assert "control" not in text_of(single / f"cascade_{name}.svg")


def test_tasks_whose_clocks_differ_share_a_setting_ordered_by_the_least() -> None:
    rows = [("a", 0.1, 0.01, 0.25), ("b", 0.1, 0.01, 1.0), ("a", 0.2, 0.01, 0.5), ("b", 0.01, 0.2, math.nan)]
    frame = pd.DataFrame(rows, columns=["task", "max_lr", "weight_decay", "clock"])
    assert settings_of(frame) == [(0.1, 0.01), (0.2, 0.01), (0.01, 0.2)]
    texts = [setting_text(frame, setting).split("\n")[-1] for setting in settings_of(frame)]
    assert texts == ["clock 0.25\u20131", "clock 0.5", "clock n/a"]


def test_differences_of_zero_are_told_and_not_drawn(tables, few, draw_coarse, text_of, tmp_path) -> None:
    folder = tables(tmp_path / "tables", only=("cascade_retraining", "cascade_schedules"), **few)
    draw_coarse(PAPER, MARGINS, folder, tmp_path)
    told = {"retraining": "differs from fine-tuning's by less than", "schedules": "differs from 0 by less than"}
    for name, words in told.items():
        assert words not in text_of(tmp_path / f"cascade_{name}.svg")
        frame = pd.read_csv(folder / f"cascade_{name}.csv", keep_default_na=False)
        columns = [column for column in frame if column.startswith("excess")]
        frame[columns] = 0.0002
        frame.to_csv(folder / f"cascade_{name}.csv", index=False)
    draw_coarse(PAPER, MARGINS, folder, tmp_path)
    for name, words in told.items():
        text = text_of(tmp_path / f"cascade_{name}.svg")
        assert words in text
        assert "excess shedding (points)" not in text
        assert "excess shedding minus" not in text


def test_the_number_of_an_effect_stands_beside_its_row(tables, few, draw_coarse, text_of, tmp_path) -> None:
    folder = tables(tmp_path / "tables", only=("cascade_retraining",), **few)
    frame = pd.read_csv(folder / "cascade_retraining.csv", keep_default_na=False)
    frame["difference"], frame["difference_low"], frame["difference_high"] = -0.0123, -0.0345, 0.0099
    frame.to_csv(folder / "cascade_retraining.csv", index=False)
    draw_coarse(PAPER, MARGINS, folder, tmp_path)
    assert "\u22121.2 [\u22123.5, +1.0]" in text_of(tmp_path / "cascade_retraining.svg")


def test_diverged_seeds_are_marked_and_counted(drawn, text_of) -> None:
    for name in ("random_vs_magnitude", "retraining", "schedules", "gmp", "semi_structured"):
        text = text_of(drawn[1] / f"cascade_{name}.svg")
        assert "1/3" in text
        assert "diverged" in text


@pytest.mark.parametrize("name", FIGURES)
def test_one_seed_has_no_interval(single, scale, text_of, name) -> None:
    text = text_of(single / f"{name}.svg")
    assert "n = 1" in text
    assert "95 %" not in text
    assert scale in text


@pytest.mark.parametrize("name", ["shedding"])
def test_panels_without_numbers_say_so(single, text_of, name) -> None:
    assert "no values" in text_of(single / f"cascade_{name}.svg")


def test_all_tables_without_rows_are_called_not_run(draw_coarse, text_of, tmp_path) -> None:
    for name in TABLES:
        (tmp_path / f"{name}.csv").write_text("scale\n")
    draw_coarse(PAPER, MARGINS, tmp_path, tmp_path)
    for name in FIGURES:
        assert "not run in this preset" in text_of(tmp_path / f"{name}.svg")


@pytest.mark.parametrize("present", [("shedding", "gmp", "semi_structured"), ("magnitudes",)])
def test_a_figure_is_drawn_from_its_own_tables_alone(tables, few, draw_coarse, scale, text_of, tmp_path, present):
    present = {f"cascade_{name}" for name in present}
    draw_coarse(PAPER, MARGINS, tables(tmp_path / "tables", only=present, **few), tmp_path)
    for figure in PAPER.figures:
        text = text_of(tmp_path / f"{figure.name}.svg")
        assert ("not run in this preset" not in text) == (set(figure.needs) <= present), figure.name
        assert scale in text


def test_long_names_and_many_settings(tables, draw_coarse, text_of, png_size, tmp_path) -> None:
    """Names with markup and $, more settings than a row holds, more schemes than two maps hold."""
    long = "toy-<i>$x$</i>-with-a-very-long-name-" + "that-must-wrap-" * 8
    folder = tables(
        tmp_path / "tables",
        seeds=2,
        tasks=(long,),
        doses=(0.2,),
        sparsities=(0.5, 0.8, 0.9),
        settings=tuple((lr, decay) for lr in (0.001, 0.01, 0.1) for decay in (0.0, 5e-4, 5e-3)),
        criteria=("global_magnitude", "random", *(f"a_long_name_of_a_criterion_$x_{i}$" for i in range(5))),
        preludes=("none", "a_long_name_of_a_prelude"),
    )
    draw_coarse(PAPER, MARGINS, folder, tmp_path)
    for name in FIGURES:
        png_size(tmp_path / f"{name}.png")
    assert "toy-<i>$x$</i>-with" in text_of(tmp_path / "cascade_shedding.svg")
    assert "Not every sparsity is shown" in text_of(tmp_path / "cascade_overlap.svg")


@pytest.mark.parametrize("table", TABLES)
def test_missing_column_is_named_in_one_line(drawn, draw_coarse, tmp_path, table) -> None:
    for name in TABLES:
        frame = pd.read_csv(drawn[0] / f"{name}.csv", nrows=3)
        frame.drop(columns="n" if name == table else []).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match=rf"{table}\.csv: column n is missing") as error:
        draw_coarse(PAPER, MARGINS, tmp_path, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_tables_are_named(draw_coarse, tmp_path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*cascade_shedding\.csv"):
        draw_coarse(PAPER, MARGINS, tmp_path, tmp_path / "out")
    (tmp_path / "cascade_shedding.csv").write_text("")
    with pytest.raises(InputError, match=r"cascade_shedding\.csv is not a table"):
        draw_coarse(PAPER, MARGINS, tmp_path, tmp_path / "out")


def test_gap_of_random_pruning_has_the_sign_of_magnitude_minus_random(tables, few, draw_coarse, text_of, tmp_path):
    """Tables whose differences, random minus magnitude, are below 0 give an axis of gaps above 0."""
    folder = tables(tmp_path / "tables", only=("cascade_shedding", "cascade_criteria"), **few)
    frame = pd.read_csv(folder / "cascade_criteria.csv", keep_default_na=False)
    frame["difference"], frame["difference_low"], frame["difference_high"] = -0.4, -0.42, -0.39
    frame.to_csv(folder / "cascade_criteria.csv", index=False)
    draw_coarse(PAPER, MARGINS, folder, tmp_path)
    text = text_of(tmp_path / "cascade_networks.svg")
    assert "+40.0 [+39.0, +42.0]" in text
    assert "\u221240" not in text


def test_drawing_does_not_import_torch() -> None:
    modules = ", ".join(f"prunebench.papers.cascade.figures.{name}" for name in ("accuracy", "masks", "shedding"))
    code = f"import sys, prunebench.suite.report.draw, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_labels_that_are_near_are_stacked() -> None:
    ax = new_figure(2.0).subplots()
    ax.set_ylim(0, 1)
    stacked_labels(ax, np.array([0.0, 0.1, 5.0]), np.array([0.5, 0.5, 0.5]), ["a", "b", "c"], apart=0.2)
    heights = [text.xyann[1] for text in ax.texts]
    assert heights[0] == heights[2]
    assert heights[1] >= heights[0] + 7


def test_spacing_is_the_smallest_gap_between_places_that_differ() -> None:
    assert spacing(np.array([3.0, 0.0, 1.0, 1.0 + 1e-9])) == pytest.approx(1.0)
    assert spacing(np.array([2.0])) == 0.5
