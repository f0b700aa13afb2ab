"""The directional study's figures: files, determinism, and what they say of missing, diverged or single-seed data."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from prunebench.errors import InputError
from prunebench.papers.directional import PAPER
from prunebench.papers.directional.figures import arms, exact, minima
from prunebench.papers.directional.figures.common import (
    FULL,
    arm_looks,
    at_setting,
    listed,
    matched_to,
    round_sparsities,
)
from prunebench.suite import numbers
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.panels import log_ticks
from prunebench.suite.report.style import shared_style, sparsity_position

FIGURES = [figure.name for figure in PAPER.figures]
TABLES = [table.name for table in PAPER.tables]
MARGINS = PAPER.margins()
SETTINGS = ("c 0.0005, mu 0.6", "c 0.0005, mu 0.51", "c 0.0005, mu 0.7")
PROBLEMS = PAPER.table("directional_toy").scale


def make(figure, frames: dict[str, pd.DataFrame], **changed: pd.DataFrame) -> Figure:
    """A figure of the tables, some of them changed."""
    tables = dict(frames) | {f"directional_{name}": frame for name, frame in changed.items()}
    with shared_style():
        return figure(Drawn(tables, "toy", MARGINS))


def notes_of(figure: Figure) -> str:
    """A figure's footer in one line."""
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def lines_of(ax: Axes, color: str) -> list[np.ndarray]:
    """The y values of an axes' lines of a colour."""
    return [np.asarray(line.get_ydata(), float) for line in ax.lines if to_hex(line.get_color()) == color.lower()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_whole_and_states_scale_seeds_and_bars(drawn, scale, text_of, png_size, name) -> None:
    _, out = drawn
    width, height = png_size(out / f"{name}.png")
    assert width == 216
    assert 60 < height < 295, "no higher than a page"
    text = text_of(out / f"{name}.svg")
    assert "not run" not in text
    assert "no values" not in text
    plane, toy = name == "directional_plane", name == "directional_toy"
    if name == "directional_published":
        assert "no intervals are known" in text
        assert "published, not measured here" in text
        return
    assert ("n = 1, no interval" if plane else "n = 3") in text
    assert plane or "95 % t interval" in text
    if toy:
        assert PROBLEMS in text
        assert scale not in text
    else:
        assert all(words in text for words in (scale, "toy-$x_1$ <b>", "toy-resnet20"))
        assert b"&lt;of&gt;" in (out / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_smaller_than_seven_points(drawn, smallest_text, name) -> None:
    assert smallest_text(drawn[1] / f"{name}.svg") >= 7


def test_nothing_else_is_written(drawn) -> None:
    assert {path.name for path in drawn[1].iterdir()} == {f"{n}.{kind}" for n in FIGURES for kind in ("svg", "png")}


def test_same_tables_same_bytes(single, draw_in_another_process, tmp_path) -> None:
    draw_in_another_process("directional", single / "tables", tmp_path)
    for path in single.glob("*.*"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_diverged_seeds_are_marked_and_counted(drawn, text_of) -> None:
    text = text_of(drawn[1] / "directional_accuracy.svg")
    assert "1/3" in text
    assert "diverged" in text
    text = text_of(drawn[1] / "directional_trajectory.svg")
    assert "Below the axis: " in text
    assert "gRDA, c 0.0005, \u03bc 0.7 (ends at 1" in text


def test_published_numbers_are_named_as_published(drawn, text_of) -> None:
    text = text_of(drawn[1] / "directional_published.svg")
    assert "none measured here" in text
    for words in ("magnitude v2", "variational dropout", "gRDA, LR 30-epoch decay", "Gale et al. 2019"):
        assert words in text
    assert "variational dropout" not in text_of(drawn[1] / "directional_accuracy.svg")


@pytest.mark.parametrize("name", FIGURES)
def test_one_seed_has_no_interval(single, scale, text_of, name) -> None:
    text = text_of(single / f"{name}.svg")
    assert "95 %" not in text
    if name == "directional_published":
        return
    assert "n = 1" in text
    assert (PROBLEMS if name == "directional_toy" else scale) in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("curvature", "no values"),
        ("toy", "no values"),
        ("plane", "White: no finite value"),
        ("accuracy", "Not shown, without sparsity or without any weight left: gRDA"),
    ],
)
def test_missing_values_are_stated(single, text_of, name, words) -> None:
    assert words in text_of(single / f"directional_{name}.svg")


def test_all_tables_without_rows_are_called_not_run(draw_coarse, text_of, tmp_path) -> None:
    for name in TABLES:
        (tmp_path / f"{name}.csv").write_text("scale\n")
    draw_coarse(PAPER, MARGINS, tmp_path, tmp_path)
    for name in FIGURES:
        assert "not run in this preset" in text_of(tmp_path / f"{name}.svg")


@pytest.mark.parametrize("present", [("accuracy", "toy"), ("norm_curves",)])
def test_a_figure_is_drawn_from_its_own_tables_alone(tables, few, draw_coarse, scale, text_of, tmp_path, present):
    present = {f"directional_{name}" for name in present}
    draw_coarse(PAPER, MARGINS, tables(tmp_path / "tables", only=present, **few), tmp_path)
    for figure in PAPER.figures:
        text = text_of(tmp_path / f"{figure.name}.svg")
        run = set(figure.needs) <= present
        assert ("not run in this preset" not in text) == run, figure.name
        assert (PROBLEMS if run and figure.name == "directional_toy" else scale) in text


@pytest.mark.parametrize("table", TABLES)
def test_missing_column_is_named_in_one_line(drawn, draw_coarse, tmp_path, table) -> None:
    last = [column.name for column in PAPER.table(table).columns][-1]
    for name in TABLES:
        frame = pd.read_csv(drawn[0] / f"{name}.csv", nrows=3)
        frame.drop(columns=last if name == table else []).to_csv(tmp_path / f"{name}.csv", index=False)
    message = rf"{table}\.csv: column {last} is missing"
    with pytest.raises(InputError, match=message) as error:
        draw_coarse(PAPER, MARGINS, tmp_path, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_tables_are_named(draw_coarse, tmp_path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*directional_accuracy\.csv"):
        draw_coarse(PAPER, MARGINS, tmp_path, tmp_path / "out")
    (tmp_path / "directional_accuracy.csv").write_text("")
    with pytest.raises(InputError, match=r"directional_accuracy\.csv is not a table"):
        draw_coarse(PAPER, MARGINS, tmp_path, tmp_path / "out")


def test_differences_are_of_grda_minus_the_others(frames) -> None:
    """To SGD: the gRDA rows' own difference; to a baseline: the baseline rows' `grda_difference`."""
    frame = frames["directional_accuracy"]
    panel = next(ax for ax in make(arms.accuracy, frames).axes if "minus" in ax.get_xlabel())
    looks = arm_looks(frames)

    def shown(method: str) -> list[float]:
        color = looks[method, ""].color.lower()
        return [float(line.get_xdata()[0]) for line in panel.lines if to_hex(line.get_color()) == color]

    own = frame[(frame["method"] == "grda") & (frame["sparsity"] < FULL)]["difference"]
    l1 = frame[(frame["method"] == "l1") & (frame["sparsity"] < FULL)]["grda_difference"]
    assert sorted(set(shown("sgd")) & set(100 * own)) == pytest.approx(sorted(100 * own))
    assert shown("l1") == pytest.approx(list(100 * l1))
    texts = [text.get_text() for text in panel.texts]
    assert sum(text.startswith(numbers.text(100 * own.iloc[0], 1, signed=True)[:4]) for text in texts) >= 1


def test_baselines_are_shown_at_the_first_setting_alone(frames) -> None:
    looks = arm_looks(frames)
    courses, layers = make(arms.trajectory, frames), make(arms.layerwise, frames)
    for method in ("l1", "gmp_gradual", "gmp_one_shot", "random"):
        color = looks[method, ""].color
        assert len(lines_of(courses.axes[1], color)) == (method != "l1"), method
        assert len([ax for ax in layers.axes if lines_of(ax, color)]) == 1, method
    said = notes_of(courses)
    assert "From SGD's end on, pruned there: one-shot GMP, fine-tuned. No curve for l1" in said
    frame = frames["directional_layers"]
    chosen = (frame["method"] == "l1") & (frame["matched_to"] == SETTINGS[0])
    (shown,) = (lines_of(ax, looks["l1", ""].color) for ax in layers.axes if lines_of(ax, "#0072b2"))
    assert np.allclose(shown[0], sparsity_position(frame.loc[chosen, "sparsity"]))


def test_baselines_without_the_first_setting_are_shown_at_the_next() -> None:
    rows = [("grda", "c 0.1, mu 0.6"), ("grda", "c 0.1, mu 0.7"), ("l1", "c 0.1, mu 0.7")]
    frame = pd.DataFrame(rows, columns=["method", "matched_to"])
    assert matched_to(frame) == "c 0.1, mu 0.7"
    assert matched_to(frame[:2]) == "c 0.1, mu 0.6"
    assert matched_to(frame[2:]) == "c 0.1, mu 0.7"
    assert list(at_setting(frame, "c 0.1, mu 0.6")["method"]) == ["grda", "grda"]


def test_settings_of_equal_c_and_mu_are_told_apart(frames) -> None:
    """gRDA that spares normalisation and biases has another label alone."""
    frame = frames["directional_norm_curves"]
    spared = frame[frame["matched_to"] == SETTINGS[0]]
    spared = spared.assign(matched_to=spared["matched_to"] + ", weights only", ratio=2 * spared["ratio"])
    twice = {name: pd.DataFrame(columns=["scale"]) for name in frames}
    twice["directional_norm_curves"] = pd.concat([frame, spared])
    looks = arm_looks(twice)
    (panel,) = make(arms.norms, twice).axes
    for setting in (SETTINGS[0], SETTINGS[0] + ", weights only"):
        rows = twice["directional_norm_curves"]
        ratios = rows.loc[rows["matched_to"] == setting, "ratio"]
        expected = ratios / ratios.iloc[0]
        (line,) = lines_of(panel, looks["grda", setting].color)
        assert np.allclose(line, expected)


def test_an_emptied_layer_is_marked(frames) -> None:
    frame = frames["directional_layers"].copy()
    frame.loc[(frame["position"] == 2) & (frame["method"] == "grda"), ["sparsity", "low", "high"]] = 1.0
    figure = make(arms.layerwise, frames, layers=frame)
    assert "Triangles: no weight of the layer is left" in notes_of(figure)


def test_paths_have_bands_and_their_barriers_in_the_title(frames) -> None:
    """Statistics that were not recomputed may raise the loss a thousandfold: they are not drawn."""
    figure = make(minima.connectivity, frames)
    barriers = frames["directional_connectivity"]
    row = barriers[(barriers["pair"] == "grda:sgd") & (barriers["path"] == "curve")].iloc[0]
    for ax in (ax for ax in figure.axes if ax.lines):
        assert len(ax.lines) == 2
        assert len(ax.collections) == 2
    titles = [ax.get_title("left") for ax in figure.axes]
    assert any(f"curve: {numbers.text(row.barrier, 2)} [" in title for title in titles)
    one = frames["directional_paths"]
    other = one[one["pair"] == "grda:sgd"].assign(task="other")
    figure = make(minima.connectivity, frames, paths=pd.concat([one, other]))
    assert sum(text.get_text() == "not run" for ax in figure.axes for text in ax.texts) == 3


def test_the_curve_in_the_plane_is_the_bezier_curve_through_its_points(frames) -> None:
    frame = frames["directional_planes"]
    points = frame[(frame["kind"] == "point") & (frame["pair"] == "grda:sgd")].set_index("point")[["x", "y"]]
    middle = (points.loc["a"] + 2 * points.loc["bend"] + points.loc["b"]) / 4
    panel = next(ax for ax in make(minima.plane, frames).axes if ax.lines)
    (curve,) = (line for line in panel.lines if len(line.get_xdata()) > 2)
    assert np.allclose(curve.get_xydata()[50], middle)


def test_a_plane_of_scattered_points_is_drawn_too(frames) -> None:
    frame = frames["directional_planes"]
    whole = make(minima.plane, frames)
    scattered = make(minima.plane, frames, planes=frame.drop(index=frame.index[5]))
    for figure in (whole, scattered):
        assert all(len(ax.collections) == 1 for ax in figure.axes if ax.lines)


def test_one_plane_has_the_figure_to_itself(frames) -> None:
    frame = frames["directional_planes"]
    one = frame[(frame["task"] == frame["task"].iloc[0]) & (frame["pair"] == "grda:sgd")]
    figure = make(minima.plane, frames, planes=one)
    [panel] = [ax for ax in figure.axes if ax.get_subplotspec() and ax.lines]
    assert panel.get_subplotspec().get_gridspec().ncols == 1
    assert all(ax.axison for ax in figure.axes)


def test_chance_is_a_line_at_one(frames) -> None:
    panel = next(ax for ax in make(minima.curvature, frames).axes if "over chance" in ax.get_ylabel())
    assert panel.get_yscale() == "log"
    assert any(np.allclose(line.get_ydata(), 1.0) for line in panel.lines)


def test_slopes_stand_over_the_toy_problems(drawn, text_of) -> None:
    frame = pd.read_csv(drawn[0] / "directional_toy.csv").drop_duplicates(["problem", "fixed"])
    text = text_of(drawn[1] / "directional_toy.svg")
    assert len(frame) == 4
    for row in frame.itertuples():
        told = f"slope {row.slope:.2f} [{row.slope_low:.2f}, {row.slope_high:.2f}]".replace("-", "\u2212")
        assert f"{row.fixed.replace('lam', chr(0x3BB))} fixed: {told}" in text


def test_toy_problems_show_both_ways_to_lower_gamma_and_the_control_at_fixed_c(frames) -> None:
    frame = frames["directional_toy"]
    figure = make(exact.toy, frames)
    panel = next(ax for ax in figure.axes if "error" in ax.get_ylabel())
    rows = frame[frame["problem"] == "least_squares"].sort_values("gamma")
    shown = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) == 4]
    expected = [rows.loc[rows["fixed"] == fixed, name] for name, fixed in (("error", "c"), ("error", "lam"))]
    expected.append(rows.loc[rows["fixed"] == "c", "soft_error"])
    assert len(shown) == 3
    assert all(np.allclose(line, values) for line, values in zip(shown, expected, strict=True))
    assert "\u03bb falls with \u03b3, from 0.243 to 0.0421" in notes_of(figure)


def test_what_the_runs_of_a_pair_share_is_said(frames) -> None:
    frame = frames["directional_paths"]
    whole = notes_of(make(minima.connectivity, frames))
    alone = notes_of(make(minima.connectivity, frames, paths=frame[frame["pair"] == "sgd:sgd_init"]))
    both = "gRDA and SGD share initialisation and order of data; SGD "
    assert f"{both}in another order of data shares only the initialisation; SGD with another" in whole
    assert f"{both}with another initialisation shares neither" in alone


def test_both_axes_of_the_plane_have_one_scale_and_a_cell_is_an_evaluation(frames) -> None:
    figure = make(minima.plane, frames)
    panel = next(ax for ax in figure.axes if ax.lines)
    corner, right, up = panel.transData.transform([(0, 0), (1, 0), (0, 1)])
    assert up[1] - corner[1] == pytest.approx(right[0] - corner[0], rel=0.01)
    grid = frames["directional_planes"]
    task = grid["task"].iloc[0]
    cells = grid[(grid["kind"] == "grid") & (grid["pair"] == "grda:sgd") & (grid["task"] == task)]
    assert panel.collections[0].get_array().size == len(cells.drop_duplicates(["x", "y"]))


def test_values_that_a_logarithmic_axis_has_no_place_for_are_marked(frames) -> None:
    frame, note = frames["directional_curvature"], "A triangle without a point: 0 or less"
    first = (frame["epoch"] == frame["epoch"].min()) & (frame["pair"] == "grda:sgd")
    # One seed: no interval gives the place away.
    ends = ["quadratic_low", "quadratic_high"]
    lost = frame.assign(quadratic=frame["quadratic"].mask(first, -0.1)).assign(**dict.fromkeys(ends, np.nan))
    whole = make(minima.curvature, frames)
    figure = make(minima.curvature, frames, curvature=lost)
    panel = next(ax for ax in figure.axes if "predicts" in ax.get_ylabel())
    marks = [line for line in panel.lines if line.get_marker() == "v"]
    assert [list(line.get_ydata()) for line in marks] == [[panel.get_ylim()[0]]]
    assert note in notes_of(figure)
    assert note not in notes_of(whole)


def test_a_linear_axis_shows_values_of_no_more_than_zero(frames) -> None:
    lost = frames["directional_curvature"].assign(quadratic=-0.1)
    figure = make(minima.curvature, frames, curvature=lost)
    panel = next(ax for ax in figure.axes if "predicts" in ax.get_ylabel())
    assert panel.get_yscale() == "linear"
    assert any(np.allclose(line.get_ydata(), -0.1) for line in panel.lines)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (5e-5, 3.0, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (5e-13, 1.0, [1e-12, 1e-9, 1e-6, 1e-3, 1.0]),
        (0.05, 1.2, [0.1, 0.3, 1.0]),
        (9.0, 110.0, [10.0, 30.0, 100.0]),
    ],
)
def test_ticks_of_logarithmic_axes_are_few_and_round(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.55, 0.972, [0.7, 0.8, 0.9, 0.95, 0.97]),
        (0.915, 0.93, [0.915, 0.92, 0.925, 0.93]),
        (0.79, 0.91, [0.8, 0.85, 0.9]),
    ],
)
def test_ticks_of_sparsity_are_round(low: float, high: float, ticks: list[float]) -> None:
    ends = sparsity_position(np.array([low - 1e-6, high + 1e-6]))
    assert round_sparsities(*ends) == pytest.approx(ticks)


def test_footers_name_a_few_and_count_the_rest() -> None:
    assert listed(["a", "b"]) == "a; b"
    assert listed(["a", "b", "c"], most=2) == "a; b; and 1 more"


def test_norms_begin_at_one_and_say_where_they_end(frames) -> None:
    figure = make(arms.norms, frames)
    panel, frame = figure.axes[0], frames["directional_norm_curves"]
    part = frame[frame["task"] == frame["task"].iloc[0]]
    curves = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) > 2]
    assert all(curve[0] == pytest.approx(1.0) for curve in curves)
    sgd = part[part["method"] == "sgd"].sort_values("epoch")["ratio"]
    assert f"\u00d7 {sgd.iloc[-1] / sgd.iloc[0]:.2f}" in [text.get_text() for text in panel.texts]


def test_drawing_does_not_import_torch() -> None:
    modules = ", ".join(f"prunebench.papers.directional.figures.{name}" for name in ("arms", "exact", "minima"))
    code = f"import sys, prunebench.suite.report.draw, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
