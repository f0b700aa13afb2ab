"""The directional study's figures: files, determinism, and what they say of missing, diverged or single-seed data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from directional_tables import BASELINES, PAIRS, SCALE, SCALES, SETTINGS, label, tables
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from test_figures import png_size, text_of

from prunebench.errors import InputError
from prunebench.report.directional import draw
from prunebench.report.directional.arms import accuracy, layerwise, norms, trajectory
from prunebench.report.directional.common import arm_looks, at_setting, listed, log_ticks, matched_to, round_sparsities
from prunebench.report.directional.minima import connectivity, curvature, plane, toy
from prunebench.report.style import shared_style, sparsity_position
from prunebench.studies.directional_names import DATA, FIGURES, TABLES

NEEDED = {
    "directional_accuracy": ("directional_accuracy",),
    "directional_trajectory": ("directional_trajectory",),
    "directional_paths": ("directional_connectivity",),
    "directional_planes": ("directional_plane",),
    "directional_curvature": ("directional_curvature",),
    "directional_spectrum": ("directional_curvature",),
    "directional_norm_curves": ("directional_norms",),
    "directional_layers": ("directional_layerwise",),
    "directional_toy": ("directional_toy",),
}

HOSTILE = "toy-$x_1$ <b>"

FEW = {
    "tasks": ("toy-resnet8",),
    "settings": SETTINGS[:1],
    "pairs": ("grda:sgd",),
    "ks": (10,),
    "epochs": 3,
    "layers": 5,
    "problems": ("least_squares",),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tables, with diverged seeds and a task's name full of markup, and the figures drawn from them."""
    folder = tmp_path_factory.mktemp("figures")
    tasks, pairs = (HOSTILE, "toy-resnet20"), PAIRS[:2]
    made = tables(folder / "tables", tasks=tasks, pairs=pairs, diverged=1, epochs=6, layers=6, ks=(5, 10))
    draw(made, folder / "out")
    return made, folder / "out"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of one seed, one network, one setting and one pair, some cells without numbers."""
    folder = tmp_path_factory.mktemp("single")
    draw(tables(folder / "tables", seeds=1, diverged=1, missing=True, **FEW), folder)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """Tables of one network."""
    folder = tables(tmp_path_factory.mktemp("frames"), tasks=("toy-vgg",), epochs=4, layers=4, ks=(5,))
    return {name: pd.read_csv(folder / f"{name}.csv") for name in (*TABLES, *DATA)}


def scale_of(figure: str) -> str:
    """The scale that a figure with rows states: its own table's."""
    return SCALES["toy"] if figure == "directional_toy" else SCALE


def notes_of(figure: Figure) -> str:
    """A figure's footer in one line."""
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def lines_of(ax: Axes, color: str) -> list[np.ndarray]:
    """The y values of an axes' lines of a colour."""
    return [np.asarray(line.get_ydata(), float) for line in ax.lines if to_hex(line.get_color()) == color.lower()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_whole_and_states_scale_seeds_and_bars(drawn: tuple[Path, Path], name: str) -> None:
    _, out = drawn
    width, height = png_size(out / f"{name}.png")
    assert width == 2160
    assert 900 < height < 2950, "no higher than a page"
    text = text_of(out / f"{name}.svg")
    assert scale_of(name) in text
    assert (SCALE in text) == (name != "directional_toy")
    assert "n = 1, no interval" in text if name == "directional_plane" else "n = 3" in text
    assert name == "directional_plane" or "95 % t interval" in text
    assert "not run" not in text
    assert "no values" not in text
    assert name == "directional_toy" or (HOSTILE in text and "toy-resnet20" in text)
    assert name == "directional_toy" or b"&lt;of&gt;" in (out / f"{name}.svg").read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_smaller_than_seven_points(drawn: tuple[Path, Path], name: str) -> None:
    svg = (drawn[1] / f"{name}.svg").read_text()
    sizes = [float(part.split("px")[0]) for part in svg.replace("font: ", "font-size: ").split("font-size: ")[1:]]
    assert sizes
    assert min(sizes) >= 7


def test_nothing_else_is_written(drawn: tuple[Path, Path]) -> None:
    assert {path.name for path in drawn[1].iterdir()} == {f"{n}.{kind}" for n in FIGURES for kind in ("svg", "png")}


def test_same_tables_same_bytes(single: Path, tmp_path: Path) -> None:
    """In another process, where hash seeds, addresses and import order differ."""
    code = "import sys, pathlib, prunebench.report.directional as f; f.draw(*map(pathlib.Path, sys.argv[1:]))"
    run = [sys.executable, "-c", code, str(single / "tables"), str(tmp_path)]
    subprocess.run(run, check=True, env={"PYTHONHASHSEED": "7", "PATH": ""})
    for path in single.glob("*.*"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_diverged_seeds_are_marked_and_counted(drawn: tuple[Path, Path]) -> None:
    text = text_of(drawn[1] / "directional_accuracy.svg")
    assert "1/3" in text
    assert "diverged" in text
    told = text_of(drawn[1] / "directional_trajectory.svg")
    assert "Below the axis: " in told
    assert "gRDA, c 0.0005, \u03bc 0.7 (ends at 1" in told


def test_published_numbers_are_said_to_be_published(drawn: tuple[Path, Path]) -> None:
    text = text_of(drawn[1] / "directional_accuracy.svg")
    assert "Published, not measured here" in text
    for said in ("magnitude v2", "variational dropout", "gRDA, 30-epoch decay", "Gale et al. 2019"):
        assert said in text


@pytest.mark.parametrize("name", FIGURES)
def test_one_seed_has_no_interval(single: Path, name: str) -> None:
    text = text_of(single / f"{name}.svg")
    assert "n = 1" in text
    assert "95 %" not in text
    assert scale_of(name) in text


def test_missing_values_are_said(single: Path) -> None:
    assert "no values" in text_of(single / "directional_curvature.svg")
    assert "no values" in text_of(single / "directional_toy.svg")
    assert "White: no finite value" in text_of(single / "directional_plane.svg")
    assert "Not shown, without sparsity or without any weight left: gRDA" in text_of(
        single / "directional_accuracy.svg"
    )


def test_all_tables_without_rows_are_called_not_run(tmp_path: Path) -> None:
    for name in (*TABLES, *DATA):
        (tmp_path / f"{name}.csv").write_text("scale\n")
    draw(tmp_path, tmp_path)
    for name in FIGURES:
        assert "not run in this preset" in text_of(tmp_path / f"{name}.svg")


@pytest.mark.parametrize("present", [("directional_accuracy", "directional_toy"), ("directional_norm_curves",)])
def test_a_figure_is_drawn_from_its_own_tables_alone(tmp_path: Path, present: tuple[str, ...]) -> None:
    made = tables(tmp_path / "tables", only=present, **FEW)  # type: ignore[arg-type]
    draw(made, tmp_path)
    for name in FIGURES:
        run = all(table in present for table, figures in NEEDED.items() if name in figures)
        assert ("not run in this preset" not in text_of(tmp_path / f"{name}.svg")) == run, name
        assert (scale_of(name) if run else SCALE) in text_of(tmp_path / f"{name}.svg")


@pytest.mark.parametrize("table", [*NEEDED, "directional_published"])
def test_missing_column_is_named_in_one_line(drawn: tuple[Path, Path], tmp_path: Path, table: str) -> None:
    column = {"directional_published": "accuracy", "directional_planes": "seed"}.get(table, "n")
    for name in (*TABLES, *DATA):
        frame = pd.read_csv(drawn[0] / f"{name}.csv", nrows=3)
        frame.drop(columns=column if name == table else []).to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(InputError, match=rf"{table}\.csv: column {column} is missing") as error:
        draw(tmp_path, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_and_broken_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*directional_accuracy\.csv"):
        draw(tmp_path, tmp_path / "out")
    (tmp_path / "directional_accuracy.csv").write_text("")
    with pytest.raises(InputError, match=r"directional_accuracy\.csv is not a table"):
        draw(tmp_path, tmp_path / "out")


def test_differences_are_of_grda_minus_the_others(frames: dict[str, pd.DataFrame]) -> None:
    """To SGD: the gRDA rows' own difference; to a baseline: the baseline rows' `grda_difference`."""
    frame = frames["directional_accuracy"]
    with shared_style():
        panel = next(ax for ax in accuracy(frames, SCALE).axes if "minus" in ax.get_ylabel())
    looks = arm_looks(frames)
    own = frame[frame["method"] == "grda"].sort_values("sparsity")["difference"]
    l1 = frame[frame["method"] == "l1"].sort_values("sparsity")["grda_difference"]
    assert any(np.allclose(line, 100 * own) for line in lines_of(panel, looks["sgd", ""].color))
    assert any(np.allclose(line, 100 * l1) for line in lines_of(panel, looks["l1", ""].color))


def test_baselines_are_shown_at_the_first_setting_alone(frames: dict[str, pd.DataFrame]) -> None:
    looks = arm_looks(frames)
    with shared_style():
        courses, layers = trajectory(frames, SCALE), layerwise(frames, SCALE)
    for method in BASELINES:
        color = looks[method, ""].color
        assert len(lines_of(courses.axes[1], color)) == (method != "l1"), method
        assert len([ax for ax in layers.axes if lines_of(ax, color)]) == 1, method
    said = notes_of(courses)
    assert "From SGD's end on, pruned there: one-shot GMP, fine-tuned. No curve for l1" in said
    frame = frames["directional_layers"]
    chosen = (frame["method"] == "l1") & (frame["matched_to"] == label(*SETTINGS[0]))
    (shown,) = (lines_of(ax, looks["l1", ""].color) for ax in layers.axes if lines_of(ax, "#0072b2"))
    assert np.allclose(shown[0], sparsity_position(frame.loc[chosen, "sparsity"]))


def test_baselines_without_the_first_setting_are_shown_at_the_next() -> None:
    rows = [("grda", "c 0.1, mu 0.6"), ("grda", "c 0.1, mu 0.7"), ("l1", "c 0.1, mu 0.7")]
    frame = pd.DataFrame(rows, columns=["method", "matched_to"])
    assert matched_to(frame) == "c 0.1, mu 0.7"
    assert matched_to(frame[:2]) == "c 0.1, mu 0.6"
    assert matched_to(frame[2:]) == "c 0.1, mu 0.7"
    assert list(at_setting(frame, "c 0.1, mu 0.6")["method"]) == ["grda", "grda"]


def test_settings_of_equal_c_and_mu_are_told_apart(frames: dict[str, pd.DataFrame]) -> None:
    """gRDA that spares normalisation and biases has another label alone."""
    frame = frames["directional_norm_curves"]
    spared = frame[frame["matched_to"] == label(*SETTINGS[0])]
    spared = spared.assign(matched_to=spared["matched_to"] + ", weights only", ratio=2 * spared["ratio"])
    twice = {name: pd.DataFrame(columns=["scale"]) for name in frames}
    twice["directional_norm_curves"] = pd.concat([frame, spared])
    looks = arm_looks(twice)
    with shared_style():
        (panel,) = norms(twice, SCALE).axes
    for setting in (label(*SETTINGS[0]), label(*SETTINGS[0]) + ", weights only"):
        rows = twice["directional_norm_curves"]
        expected = rows.loc[rows["matched_to"] == setting, "ratio"]
        (line,) = lines_of(panel, looks["grda", setting].color)
        assert np.allclose(line, expected)


def test_an_emptied_layer_is_marked(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["directional_layers"].copy()
    frame.loc[(frame["position"] == 2) & (frame["method"] == "grda"), ["sparsity", "low", "high"]] = 1.0
    with shared_style():
        figure = layerwise(dict(frames) | {"directional_layers": frame}, SCALE)
    assert "Triangles: no weight of the layer is left" in notes_of(figure)


def test_paths_with_recomputed_statistics_have_bands_and_stale_ones_do_not(frames: dict[str, pd.DataFrame]) -> None:
    with shared_style():
        figure = connectivity(frames, SCALE)
    for ax in (ax for ax in figure.axes if ax.lines):
        assert len(ax.lines) == 4
        assert len(ax.collections) == 2
    one = frames["directional_paths"]
    other = one[one["pair"] == "grda:sgd"].assign(task="other")
    with shared_style():
        figure = connectivity(dict(frames) | {"directional_paths": pd.concat([one, other])}, SCALE)
    assert sum(text.get_text() == "not run" for ax in figure.axes for text in ax.texts) == 6


def test_the_curve_in_the_plane_is_the_bezier_curve_through_its_points(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["directional_planes"]
    points = frame[(frame["kind"] == "point") & (frame["pair"] == "grda:sgd")].set_index("point")[["x", "y"]]
    middle = (points.loc["a"] + 2 * points.loc["bend"] + points.loc["b"]) / 4
    with shared_style():
        panel = next(ax for ax in plane(frames, SCALE).axes if ax.lines)
    (curve,) = (line for line in panel.lines if len(line.get_xdata()) > 2)
    assert np.allclose(curve.get_xydata()[50], middle)


def test_a_plane_of_scattered_points_is_drawn_too(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["directional_planes"]
    with shared_style():
        whole = plane(frames, SCALE)
        scattered = plane(dict(frames) | {"directional_planes": frame.drop(index=frame.index[5])}, SCALE)
    for figure in (whole, scattered):
        assert all(len(ax.collections) == 1 for ax in figure.axes if ax.lines)


def test_chance_is_a_line_at_its_level(frames: dict[str, pd.DataFrame]) -> None:
    with shared_style():
        panel = next(ax for ax in curvature(frames, SCALE).axes if "share" in ax.get_ylabel())
    level = frames["directional_curvature"]["chance"].iloc[0]
    assert panel.get_yscale() == "log"
    assert any(np.allclose(line.get_ydata(), level) for line in panel.lines)


def test_slopes_stand_over_the_toy_problems(drawn: tuple[Path, Path]) -> None:
    frame = pd.read_csv(drawn[0] / "directional_toy.csv").drop_duplicates(["problem", "fixed"])
    text = text_of(drawn[1] / "directional_toy.svg")
    assert len(frame) == 4
    for row in frame.itertuples():
        told = f"slope {row.slope:.2f} [{row.slope_low:.2f}, {row.slope_high:.2f}]".replace("-", "\u2212")
        assert f"{row.fixed.replace('lam', chr(0x3BB))} fixed: {told}" in text


def test_toy_problems_show_both_ways_to_lower_gamma_and_the_control_at_fixed_c(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["directional_toy"]
    with shared_style():
        figure = toy(frames, SCALE)
    panel = next(ax for ax in figure.axes if "error" in ax.get_ylabel())
    rows = frame[frame["problem"] == "least_squares"].sort_values("gamma")
    shown = [line.get_ydata() for line in panel.lines if len(line.get_ydata()) == 4]
    expected = [rows.loc[rows["fixed"] == fixed, name] for name, fixed in (("error", "c"), ("error", "lam"))]
    expected.append(rows.loc[rows["fixed"] == "c", "soft_error"])
    assert len(shown) == 3
    assert all(np.allclose(line, values) for line, values in zip(shown, expected, strict=True))
    assert "\u03bb falls with \u221a\u03b3 (here from 0.243 to 0.0421)" in notes_of(figure)


def test_what_the_runs_of_a_pair_share_is_said(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["directional_paths"]
    with shared_style():
        whole = notes_of(connectivity(frames, SCALE))
        alone = notes_of(
            connectivity(dict(frames) | {"directional_paths": frame[frame["pair"] == "sgd:sgd_init"]}, SCALE)
        )
    both = "gRDA and SGD share initialisation and order of data; SGD "
    assert f"{both}in another order of data shares only the initialisation; SGD with another" in whole
    assert f"{both}with another initialisation shares neither" in alone


def test_the_plane_says_how_far_it_is_stretched(frames: dict[str, pd.DataFrame]) -> None:
    frame = frames["directional_planes"]
    flat = frame.assign(y=frame["y"] / 20)
    tall = frame.assign(y=frame["y"] * 20)
    for planes, sign in ((flat, "stretched"), (tall, "shrunk")):
        with shared_style():
            figure = plane(dict(frames) | {"directional_planes": planes}, SCALE)
        panel = next(ax for ax in figure.axes if ax.lines)
        corner, right, up = panel.transData.transform([(0, 0), (1, 0), (0, 1)])
        factor = (up[1] - corner[1]) / (right[0] - corner[0])
        said = panel.get_ylabel().split()
        assert said[:2] == ["distance,", sign]
        assert float(said[2].rstrip("\u00d7")) == pytest.approx(max(factor, 1 / factor), rel=0.05)


def test_values_that_a_logarithmic_axis_has_no_place_for_are_marked(frames: dict[str, pd.DataFrame]) -> None:
    frame, note = frames["directional_curvature"], "A triangle without a point: 0 or less"
    first = (frame["epoch"] == frame["epoch"].min()) & (frame["pair"] == "grda:sgd")
    # One seed: no interval gives the place away.
    ends = ["quadratic_low", "quadratic_high"]
    lost = frame.assign(quadratic=frame["quadratic"].mask(first, -0.1)).assign(**dict.fromkeys(ends, np.nan))
    with shared_style():
        whole = curvature(frames, SCALE)
        figure = curvature(dict(frames) | {"directional_curvature": lost}, SCALE)
    panel = next(ax for ax in figure.axes if "quadratic" in ax.get_ylabel())
    marks = [line for line in panel.lines if line.get_marker() == "v"]
    assert [list(line.get_ydata()) for line in marks] == [[panel.get_ylim()[0]]]
    assert note in notes_of(figure)
    assert note not in notes_of(whole)


def test_a_linear_axis_shows_values_of_no_more_than_zero(frames: dict[str, pd.DataFrame]) -> None:
    lost = frames["directional_curvature"].assign(quadratic=-0.1)
    with shared_style():
        figure = curvature(dict(frames) | {"directional_curvature": lost}, SCALE)
    panel = next(ax for ax in figure.axes if "quadratic" in ax.get_ylabel())
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


def test_an_unknown_floor_of_norms_is_left_out(frames: dict[str, pd.DataFrame]) -> None:
    """Without curvature the number of parameters is not known."""
    unknown = frames["directional_norm_curves"].assign(floor=np.nan)
    with shared_style():
        figure = norms(dict(frames) | {"directional_norm_curves": unknown}, SCALE)
    assert len(figure.legends[0].get_texts()) == 1 + len(SETTINGS)
    assert len(figure.axes[0].lines) == 1 + len(SETTINGS)


def test_drawing_does_not_import_torch() -> None:
    code = "import sys, prunebench.report.directional; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_import_nothing() -> None:
    module = "prunebench.studies.directional_names"
    code = f"import sys; old = set(sys.modules); import {module}; print(*set(sys.modules) - old)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(run.stdout.split()) == {"prunebench", "prunebench.studies", module}
