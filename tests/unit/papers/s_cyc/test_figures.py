"""The S-Cyc figures: files, determinism, and what they say of missing or single-seed data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prunebench.errors import InputError
from prunebench.papers.s_cyc import PAPER
from prunebench.papers.s_cyc.config import SCycMargins
from prunebench.papers.s_cyc.figures.common import schedule_looks
from prunebench.papers.s_cyc.figures.gradients import gradient_spread
from prunebench.papers.s_cyc.figures.released import released
from prunebench.papers.s_cyc.measures import DEFECTS
from prunebench.suite.report.draw import Drawn, draw_figures, draw_paper
from prunebench.suite.report.style import RC, percent, plain, sparsity_position

FIGURES = [figure.name for figure in PAPER.figures]

SCALE = "scaled-down: a toy <of> 1 & $2"
ROLES = {"constant": "benchmark", "cyclical": "benchmark", "s_cyc": "method", "constant_at_top": "control"}
WEIGHTS = ("surviving", "all", "all_zeroed", "fc.weight")


def draw(folder: Path, out: Path, **margins: float) -> None:
    draw_paper(PAPER, SCycMargins(**margins), folder, out)


def tables(
    folder: Path,
    *,
    seeds: int = 3,
    cycles: int = 3,
    roles: dict[str, str] = ROLES,
    tasks: tuple[str, ...] = ("toy-mlp", "toy-mlp-tanh"),
    criteria: tuple[str, ...] = ("global_magnitude", "random"),
    diverged: int = 0,
) -> Path:
    """Tables with the study's columns and invented numbers."""
    rng = np.random.default_rng(0)
    every = range(cycles + 1)
    spread = float("nan") if seeds == 1 else 0.02
    scale = {"scale": SCALE}

    def at(cycle: int) -> dict[str, float]:
        return {"cycle": cycle, "sparsity": 1 - 0.5**cycle, "n": seeds}

    def interval(name: str, value: float) -> dict[str, float]:
        low, high = ("ci_low", "ci_high") if name == "test_accuracy" else (f"{name}_low", f"{name}_high")
        return {name: value, low: value - spread, high: value + spread}

    made: dict[str, list[dict[str, object]]] = {name: [] for name in [table.name for table in PAPER.tables]}
    for name, role in roles.items():
        for cycle in every:
            for step in range(12):
                share = {"share": step / 12, "lr": 0.1 * step / 12, "max_lr": 0.1 + 0.02 * cycle}
                made["s_cyc_lr_schedules"].append({"schedule": name, "role": role, "cycle": cycle} | share)
    for criterion in criteria:
        for cycle in every:
            for schedule, role in ({**roles, "oracle": "oracle"}).items():
                lost = diverged if schedule == "constant_at_top" and cycle == cycles else 0
                cell = {"task": tasks[0], "criterion": criterion, "schedule": schedule, "role": role}
                score = 0.1 if lost else 0.9 - 0.03 * cycle + 0.01 * rng.normal()
                more = {"diverged": lost, "std": spread, "best": False, "validation_accuracy": score}
                gap = interval("difference", 0.01 * rng.normal()) | {"best_benchmark": "cyclical"}
                made["s_cyc_accuracy"].append(cell | at(cycle) | more | interval("test_accuracy", score) | gap | scale)
    where = {"task": tasks[0], "criterion": criteria[0]}
    for defect in DEFECTS:
        for cycle in every[defect == "repeated_scores" :]:
            effect = interval("effect", 0.01 * rng.normal())
            made["s_cyc_released"].append({"defect": defect} | where | at(cycle) | effect | scale)
    for cycle in every:
        choice = {"oracle_max_lr": 0.1, "low": 0.1, "high": 0.2, "schedule": "s_cyc", "schedule_max_lr": 0.15}
        gap = interval("difference", 0.01 * rng.normal())
        made["s_cyc_oracle"].append(where | at(cycle) | choice | {"inside": True} | gap | scale)
        for max_lr in (0.05, 0.1, 0.2, 0.4):
            score = 0.9 - 0.03 * cycle - 0.1 * abs(np.log(max_lr / 0.12))
            lost = diverged if max_lr == 0.4 else 0
            rest = {"max_lr": max_lr, "diverged": lost, "validation_accuracy": score, "near_best": max_lr in (0.1, 0.2)}
            made["s_cyc_oracle_grid"].append(where | at(cycle) | rest | scale)
    inner = 1e-4 * np.sinh(np.linspace(-9.9, 9.9, 102))
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    for nth, task in enumerate(tasks):
        for criterion in criteria if nth == 0 else criteria[:1]:
            line = {"task": task, "criterion": criterion, "schedule": "cyclical"}
            for cycle in every:
                sigma = 1e-3 * 0.7 ** (cycle if "tanh" not in task else 0)
                for moment in ("end", "matched_loss"):
                    for weights in WEIGHTS:
                        ratio = interval("std_ratio", sigma / 1e-3)
                        measured = {"at": moment, "weights": weights, "zero": 0, "std_ratio_n": seeds} | ratio
                        kind = {"activation": "tanh" if "tanh" in task else "relu"}
                        made["s_cyc_gradients"].append(line | kind | at(cycle) | measured | scale)
                values = np.where(rng.random(5000) < 0.1, 0.0, rng.normal(0, sigma, 5000))
                count, _ = np.histogram(values, inner)
                for left, right, n in zip(edges[:-1], edges[1:], [0, *count, 0], strict=True):
                    bin_ = {"left": left, "right": right, "count": n, "weights_share": n / 5000}
                    made["s_cyc_gradient_histograms"].append(line | at(cycle) | bin_)
    for name, rows in made.items():
        folder.mkdir(parents=True, exist_ok=True)
        columns = [*(column.name for column in PAPER.table(name).columns), "scale"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tables and the figures drawn from them."""
    folder = tmp_path_factory.mktemp("figures")
    made = tables(folder / "tables", diverged=1)
    draw(made, folder / "out")
    return made, folder / "out"


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of single tests, unlike `drawn`, have coarse PNGs, which take a fraction of the time."""
    monkeypatch.setitem(RC, "savefig.dpi", 30)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_whole_and_states_the_scale(text_of, png_size, drawn: tuple[Path, Path], name: str) -> None:
    _, out = drawn
    width, height = png_size(out / f"{name}.png")
    assert width == 2160
    assert height > 600
    assert SCALE in text_of(out / f"{name}.svg")
    assert "not run" not in text_of(out / f"{name}.svg")
    assert b"&lt;of&gt;" in (out / f"{name}.svg").read_bytes()


def test_nothing_else_is_written(drawn: tuple[Path, Path]) -> None:
    assert {path.name for path in drawn[1].iterdir()} == {f"{n}.{kind}" for n in FIGURES for kind in ("svg", "png")}


def test_same_tables_same_bytes(draw_coarse, draw_in_another_process, tmp_path: Path) -> None:
    folder = tables(tmp_path / "tables", seeds=1)
    draw_coarse(PAPER, PAPER.margins(), folder, tmp_path / "here")
    draw_in_another_process("s_cyc", folder, tmp_path / "there")
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name


def test_seeds_intervals_and_divergence_are_stated(text_of, drawn: tuple[Path, Path]) -> None:
    text = text_of(drawn[1] / "s_cyc_accuracy.svg")
    assert "n = 3" in text
    assert "95 % t interval" in text
    assert "1/3" in text
    assert "diverged" in text
    assert "1/3" in text_of(drawn[1] / "s_cyc_oracle.svg")


def test_one_seed_has_no_interval(text_of, tmp_path: Path) -> None:
    draw(tables(tmp_path / "tables", seeds=1), tmp_path)
    for name in ("s_cyc_accuracy", "s_cyc_oracle", "s_cyc_gradient_spread", "s_cyc_released"):
        text = text_of(tmp_path / f"{name}.svg")
        assert "n = 1" in text
        assert "no interval" in text
        assert "95 %" not in text


def test_tables_without_rows_are_called_not_run(text_of, tmp_path: Path) -> None:
    made = tables(tmp_path / "tables")
    for name in ("s_cyc_oracle", "s_cyc_gradients", "s_cyc_gradient_histograms", "s_cyc_released"):
        (made / f"{name}.csv").write_text("scale\n")
    draw(made, tmp_path)
    for name in FIGURES:
        absent = name in (*("s_cyc_oracle", "s_cyc_gradient_spread", "s_cyc_gradient_distribution", "s_cyc_released"),)
        assert ("not run in this preset" in text_of(tmp_path / f"{name}.svg")) == absent
        assert SCALE in text_of(tmp_path / f"{name}.svg")


def test_all_tables_without_rows(text_of, tmp_path: Path) -> None:
    for name in [table.name for table in PAPER.tables]:
        (tmp_path / f"{name}.csv").write_text("scale\n")
    draw(tmp_path, tmp_path)
    for name in FIGURES:
        assert "not run in this preset" in text_of(tmp_path / f"{name}.svg")


def test_missing_values_leave_gaps(tmp_path: Path) -> None:
    """No mean, no ratio, no histogram in some cells, and none at all in one criterion."""
    made = tables(tmp_path / "tables")
    for name, columns in {
        "s_cyc_accuracy": ["test_accuracy", "ci_low", "ci_high", "difference", "difference_low", "difference_high"],
        "s_cyc_gradients": ["std_ratio", "std_ratio_low", "std_ratio_high"],
        "s_cyc_gradient_histograms": ["weights_share"],
        "s_cyc_oracle": ["difference", "difference_low", "difference_high"],
        "s_cyc_released": ["effect", "effect_low", "effect_high"],
    }.items():
        frame = pd.read_csv(made / f"{name}.csv")
        frame.loc[(frame["cycle"] == 1) | (frame["criterion"] == "random"), columns] = np.nan
        frame.to_csv(made / f"{name}.csv", index=False)
    draw(made, tmp_path)
    assert all((tmp_path / f"{name}.png").stat().st_size for name in FIGURES)


@pytest.mark.parametrize(("cycles", "seeds"), [(0, 1), (25, 2)])
def test_few_and_many(text_of, tmp_path: Path, cycles: int, seeds: int) -> None:
    """One dense cycle with one schedule; 25 cycles with twelve of long names, and markup and $ in names."""
    roles = {"only": "benchmark"}
    tasks: tuple[str, ...] = ("toy-mlp",)
    if cycles:
        roles = ROLES | {f"a_long_name_of_a_schedule_$x_{i}$": "benchmark" for i in range(7)} | {"<b>&": "control"}
        tasks = ("toy-<i>mlp</i>-with-a-very-long-name-that-must-wrap", "other-tanh")
    draw(tables(tmp_path / "tables", cycles=cycles, seeds=seeds, roles=roles, tasks=tasks), tmp_path)
    text = text_of(tmp_path / "s_cyc_lr_schedules.svg")
    if cycles:
        assert "<b>&" in text
        assert "$x" in text
        assert b"toy-&lt;i&gt;mlp&lt;/i&gt;" in (tmp_path / "s_cyc_gradient_distribution.svg").read_bytes()


def test_bad_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s_cyc_accuracy\.csv"):
        draw(tmp_path, tmp_path / "out")
    made = tables(tmp_path / "tables")
    frame = pd.read_csv(made / "s_cyc_accuracy.csv").drop(columns="difference")
    frame.to_csv(made / "s_cyc_accuracy.csv", index=False)
    with pytest.raises(InputError, match=r"s_cyc_accuracy\.csv: column difference is missing"):
        draw(made, tmp_path / "out")
    (made / "s_cyc_accuracy.csv").write_text("")
    with pytest.raises(InputError, match="not a table"):
        draw(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ratio", [0.2, 0.8, 3.0])
def test_the_margin_lies_within_the_axis_wherever_it_is(drawn: tuple[Path, Path], ratio: float) -> None:
    frames = {table.name: pd.read_csv(drawn[0] / f"{table.name}.csv") for table in PAPER.tables}
    figure = gradient_spread(Drawn(frames, SCALE, SCycMargins(a1_ratio=ratio)))
    bounds = [ax.get_ylim() for ax in figure.axes if ax.get_yscale() == "log"]
    assert bounds
    assert all(low < ratio < high for low, high in bounds)


def test_drawing_does_not_import_torch() -> None:
    modules = ("gradients", "schedules", "oracle", "released")
    imports = ", ".join(f"prunebench.papers.s_cyc.figures.{name}" for name in modules)
    code = f"import sys, prunebench.suite.report.draw, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_figure_marks_is_what_the_ledger_judges_by(text_of, drawn: tuple[Path, Path], tmp_path: Path) -> None:
    figures = [figure for figure in PAPER.figures if figure.name == "s_cyc_gradient_spread"]
    margins = SCycMargins(a1_ratio=0.65)
    draw_figures(figures, PAPER.tables, drawn[0], tmp_path, package=PAPER.package, margins=margins)
    assert "0.8: A1" in text_of(drawn[1] / "s_cyc_gradient_spread.svg")
    assert "0.65: A1" in text_of(tmp_path / "s_cyc_gradient_spread.svg")


def test_defects_have_a_row_each_with_its_intervals_and_the_margin_of_the_ledger(
    text_of, drawn: tuple[Path, Path], tmp_path: Path
) -> None:
    draw(drawn[0], tmp_path, a8_margin=0.02)
    text = text_of(tmp_path / "s_cyc_released.svg")
    assert "A8's margin of ± 2 points" in text
    assert "± 0.5 points" in text_of(drawn[1] / "s_cyc_released.svg")
    for label in ("best epoch on the test set", "augmented test images", "LR ramp cut", "reported by the fifth run"):
        assert label in text
    frames = {table.name: pd.read_csv(drawn[0] / f"{table.name}.csv") for table in PAPER.tables}
    rows = frames["s_cyc_released"]
    rows.loc[(rows["defect"] == "augmented") & (rows["cycle"] == 1), "effect_high"] = 5.0
    alone, together, sparsity = released(Drawn(frames, SCALE, SCycMargins())).axes
    for ax, defects in ((alone, DEFECTS[:5]), (together, DEFECTS[5:7]), (sparsity, DEFECTS[7:])):
        shown = rows[rows["defect"].isin(defects)]
        points = sorted(x for line in ax.lines if line.get_marker() in "osD^" for x in line.get_xdata())
        assert points == pytest.approx(sorted(100 * shown["effect"]))
        left, right = ax.get_xlim()
        assert left < min(points) < max(points) < right < 100
        ends = [end for bars in ax.collections for path in bars.get_segments() for end in path[:, 0]]
        assert sorted(ends) == pytest.approx(
            sorted(np.clip(100 * shown[["effect_low", "effect_high"]].to_numpy().ravel(), left, right))
        )
        # a triangle where a bar goes on
        assert [line.get_marker() for line in ax.lines if line.get_marker() in "<>"] == [">"] * (ax is alone)
    assert together.get_xlim() == alone.get_xlim()


def test_looks_are_distinct_and_do_not_depend_on_other_roles() -> None:
    looks = schedule_looks(ROLES | {f"b{i}": "benchmark" for i in range(4)} | {"oracle": "oracle"})
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)
    assert schedule_looks({"s_cyc": "method"})["s_cyc"] == looks["s_cyc"]
    assert looks["oracle"].color == "#000000"


def test_sparsity_labels_and_positions() -> None:
    assert [percent(1 - 0.5**m) for m in range(5)] == ["0", "50", "75", "87.5", "93.8"]
    assert percent(0.9996) == "99.96"
    assert percent(1.0) == "100"
    np.testing.assert_allclose(np.diff(sparsity_position([1 - 0.8**m for m in range(25)])), -np.log(0.8))
    assert [plain(x) for x in (0.05, 1e-3, 1e-4, 2.5e-6)] == ["0.05", "0.001", "1e\u22124", "2.5e\u22126"]
