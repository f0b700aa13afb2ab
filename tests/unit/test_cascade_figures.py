"""The cascade study's figures: files, determinism, and what they say of missing, diverged or single-seed data."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cascade_tables import SCALE, TASKS, tables
from test_figures import png_size, text_of

from prunebench.errors import InputError
from prunebench.report.cascade import draw
from prunebench.report.cascade.common import setting_text, settings_of
from prunebench.report.style import new_figure, spacing, stacked_labels
from prunebench.studies.cascade_names import DATA, FIGURES, TABLES

NEEDED = {
    "cascade_shedding": ("cascade_shedding", "cascade_networks"),
    "cascade_shedding_curves": ("cascade_shedding",),
    "cascade_magnitudes": ("cascade_histograms",),
    "cascade_criteria": ("cascade_random_vs_magnitude", "cascade_networks"),
    "cascade_retraining": ("cascade_retraining",),
    "cascade_schedules": ("cascade_schedules",),
    "cascade_gmp": ("cascade_gmp",),
    "cascade_overlap": ("cascade_overlap",),
    "cascade_semi_structured": ("cascade_semi_structured",),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tables, with diverged seeds, and the figures drawn from them."""
    folder = tmp_path_factory.mktemp("figures")
    made = tables(folder / "tables", diverged=1)
    draw(made, folder / "out")
    return made, folder / "out"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of one seed, one network, one setting, one sparsity and no prelude, some cells without numbers."""
    folder = tmp_path_factory.mktemp("single")
    few = {"tasks": TASKS[:1], "settings": ((0.1, 5e-4),), "preludes": ("none",), "sparsities": (0.9,), "doses": (0.2,)}
    draw(tables(folder / "tables", seeds=1, diverged=1, missing=True, **few), folder)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_whole_and_states_scale_seeds_and_bars(drawn: tuple[Path, Path], name: str) -> None:
    _, out = drawn
    width, height = png_size(out / f"{name}.png")
    assert width == 2160
    assert 1200 < height < 2950, "no higher than a page"
    text = text_of(out / f"{name}.svg")
    assert SCALE in text
    assert "n = 3" in text
    assert "without bars" in text if name == "cascade_histograms" else "95 % t interval" in text
    assert "not run" not in text
    assert "no values" not in text
    assert b"&lt;of&gt;" in (out / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_smaller_than_seven_points(drawn: tuple[Path, Path], name: str) -> None:
    svg = (drawn[1] / f"{name}.svg").read_text()
    sizes = [float(part.split("px")[0]) for part in svg.replace("font: ", "font-size: ").split("font-size: ")[1:]]
    assert sizes
    assert min(sizes) >= 7


def test_nothing_else_is_written(drawn: tuple[Path, Path]) -> None:
    assert {path.name for path in drawn[1].iterdir()} == {f"{n}.{kind}" for n in FIGURES for kind in ("svg", "png")}


def test_same_tables_same_bytes(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    """In another process, where hash seeds, addresses and import order differ."""
    made, out = drawn
    code = "import sys, pathlib, prunebench.report.cascade as f; f.draw(*map(pathlib.Path, sys.argv[1:]))"
    run = [sys.executable, "-c", code, str(made), str(tmp_path)]
    subprocess.run(run, check=True, env={"PYTHONHASHSEED": "7", "PATH": ""})
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_networks_settings_and_claims_marks_are_named(drawn: tuple[Path, Path]) -> None:
    for name in FIGURES:
        assert all(task in text_of(drawn[1] / f"{name}.svg") for task in TASKS), name
    text = text_of(drawn[1] / "cascade_shedding.svg")
    for said in ("20 %: B1", "LR 0.01 wd 5e\u22124 clock 0.02", "control", "excess", "30 % pruned"):
        assert said in text
    assert "20 %: B1" in text_of(drawn[1] / "cascade_networks.svg")


def test_a_prelude_stands_beside_its_control(drawn: tuple[Path, Path], single: Path) -> None:
    for name in ("gmp", "semi_structured"):
        text = text_of(drawn[1] / f"cascade_{name}.svg")
        assert "its control (points)" in text
        assert "(shedding: no decay)" in text
        assert "control" not in text_of(single / f"cascade_{name}.svg")


def test_tasks_whose_clocks_differ_share_a_setting_ordered_by_the_least() -> None:
    rows = [("a", 0.1, 0.01, 0.25), ("b", 0.1, 0.01, 1.0), ("a", 0.2, 0.01, 0.5), ("b", 0.01, 0.2, math.nan)]
    frame = pd.DataFrame(rows, columns=["task", "max_lr", "weight_decay", "clock"])
    assert settings_of(frame) == [(0.1, 0.01), (0.2, 0.01), (0.01, 0.2)]
    texts = [setting_text(frame, setting).split("\n")[-1] for setting in settings_of(frame)]
    assert texts == ["clock 0.25\u20131", "clock 0.5", "clock n/a"]


def test_accuracy_and_excess_of_retraining_are_not_correlated(drawn: tuple[Path, Path]) -> None:
    """Cells of several criteria are no sample."""
    assert "r = " not in text_of(drawn[1] / "cascade_retraining.svg")


def test_diverged_seeds_are_marked_and_counted(drawn: tuple[Path, Path]) -> None:
    for name in ("random_vs_magnitude", "retraining", "schedules", "gmp", "semi_structured"):
        text = text_of(drawn[1] / f"cascade_{name}.svg")
        assert "1/3" in text
        assert "diverged" in text


@pytest.mark.parametrize("name", FIGURES)
def test_one_seed_has_no_interval(single: Path, name: str) -> None:
    text = text_of(single / f"{name}.svg")
    assert "n = 1" in text
    assert "95 %" not in text
    assert SCALE in text


def test_missing_values_are_said(single: Path) -> None:
    assert "no values" in text_of(single / "cascade_shedding.svg")
    assert "no values" in text_of(single / "cascade_networks.svg")
    assert "no values" in text_of(single / "cascade_gmp.svg")


def test_all_tables_without_rows_are_called_not_run(tmp_path: Path) -> None:
    for name in (*TABLES, *DATA):
        (tmp_path / f"{name}.csv").write_text("scale\n")
    draw(tmp_path, tmp_path)
    for name in FIGURES:
        assert "not run in this preset" in text_of(tmp_path / f"{name}.svg")


@pytest.mark.parametrize(
    "present", [("cascade_shedding", "cascade_gmp", "cascade_semi_structured"), ("cascade_magnitudes",)]
)
def test_a_figure_is_drawn_from_its_own_tables_alone(tmp_path: Path, present: tuple[str, ...]) -> None:
    few = {"tasks": TASKS[:1], "settings": ((0.1, 5e-4),), "sparsities": (0.9,), "doses": (0.2,)}
    made = tables(tmp_path / "tables", only=present, **few)  # type: ignore[arg-type]
    draw(made, tmp_path)
    for name in FIGURES:
        run = all(table in present for table, figures in NEEDED.items() if name in figures)
        assert ("not run in this preset" not in text_of(tmp_path / f"{name}.svg")) == run, name
        assert SCALE in text_of(tmp_path / f"{name}.svg")


def test_long_names_and_many_settings(tmp_path: Path) -> None:
    """Names with markup and $, more settings than a row holds, more schemes than two maps hold."""
    long = "toy-<i>$x$</i>-with-a-very-long-name-" + "that-must-wrap-" * 8
    made = tables(
        tmp_path / "tables",
        seeds=2,
        tasks=(long,),
        doses=(0.2,),
        sparsities=(0.5, 0.8, 0.9),
        settings=tuple((lr, decay) for lr in (0.001, 0.01, 0.1) for decay in (0.0, 5e-4, 5e-3)),
        criteria=("global_magnitude", "random", *(f"a_long_name_of_a_criterion_$x_{i}$" for i in range(5))),
        preludes=("none", "a_long_name_of_a_prelude"),
    )
    draw(made, tmp_path)
    for name in FIGURES:
        png_size(tmp_path / f"{name}.png")
    assert "toy-<i>$x$</i>-with" in text_of(tmp_path / "cascade_shedding.svg")
    assert "learning rate, weight decay, clock" in text_of(tmp_path / "cascade_networks.svg")
    assert "Not every sparsity is shown" in text_of(tmp_path / "cascade_overlap.svg")


@pytest.mark.parametrize("table", [*TABLES, *DATA])
def test_missing_column_is_named_in_one_line(drawn: tuple[Path, Path], tmp_path: Path, table: str) -> None:
    for name in (*TABLES, *DATA):
        frame = pd.read_csv(drawn[0] / f"{name}.csv", nrows=3)
        frame.drop(columns="n" if name == table else []).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match=rf"{table}\.csv: column n is missing") as error:
        draw(tmp_path, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*cascade_shedding\.csv"):
        draw(tmp_path, tmp_path / "out")
    (tmp_path / "cascade_shedding.csv").write_text("")
    with pytest.raises(InputError, match=r"cascade_shedding\.csv is not a table"):
        draw(tmp_path, tmp_path / "out")


def test_gap_of_random_pruning_has_the_sign_of_magnitude_minus_random(tmp_path: Path) -> None:
    """Tables whose differences, random minus magnitude, are below 0 give an axis of gaps above 0."""
    few = {"settings": ((0.1, 5e-4),), "sparsities": (0.5,), "preludes": ("none",), "doses": (0.2,)}
    made = tables(tmp_path / "tables", only=("cascade_shedding", "cascade_criteria"), **few)  # type: ignore[arg-type]
    frame = pd.read_csv(made / "cascade_criteria.csv", keep_default_na=False)
    frame["difference"], frame["difference_low"], frame["difference_high"] = -0.4, -0.42, -0.39
    frame.to_csv(made / "cascade_criteria.csv", index=False)
    draw(made, tmp_path)
    text = text_of(tmp_path / "cascade_networks.svg")
    assert " 40 " in text
    assert "\u221240" not in text


def test_drawing_does_not_import_torch() -> None:
    code = "import sys, prunebench.report.cascade; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_import_nothing() -> None:
    code = "import sys; old = set(sys.modules); import prunebench.studies.cascade_names; print(*set(sys.modules) - old)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(run.stdout.split()) == {"prunebench", "prunebench.studies", "prunebench.studies.cascade_names"}


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
