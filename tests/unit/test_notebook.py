"""examples/notebook.ipynb: its cells run one after another on an exported table, and draw what the table holds."""

import json
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples/notebook.ipynb"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The figures, and the names that the cells leave."""
    from prunebench.suite.export import export

    out = tmp_path_factory.mktemp("notebook") / "laptop-export"
    export(ROOT / "results/reference/laptop", out)
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    names = {}
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEBENCH_EXPORT", str(out))
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    yield figures, names
    plt.close("all")
    matplotlib.use(backend)


def test_it_is_a_notebook_without_output():
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat, which Snakemake brings")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_it_draws_three_figures_of_what_the_tables_hold(drawn):
    figures, _ = drawn
    assert len(figures) == 3
    tables = ROOT / "results/reference/laptop/tables"
    accuracy = pd.read_csv(tables / "s_cyc_accuracy.csv")
    accuracy = accuracy[accuracy["criterion"] == "global_magnitude"]
    lines = {container.get_label(): container.lines[0] for container in figures[0].axes[0].containers}
    assert {*lines} == {*accuracy["schedule"]}
    for schedule, rows in accuracy.groupby("schedule"):
        assert lines[schedule].get_ydata() == pytest.approx(100 * rows["test_accuracy"])
        assert lines[schedule].get_xdata() == pytest.approx(100 * (1 - rows["sparsity"]))
    grid = pd.read_csv(tables / "s_cyc_oracle_grid.csv")
    assert len(figures[1].axes[0].lines) == grid["cycle"].nunique()
    assert sum(len(line.get_xdata()) for line in figures[1].axes[0].lines) == len(grid)
    way = pd.read_csv(tables / "directional_trajectory.csv")
    way = way[(way["task"] == "fashion-mlp-sgd") & way["method"].isin(["sgd", "grda"])]
    below = figures[2].axes[1].lines
    assert sum(len(line.get_xdata()) for line in below) == len(way)
    assert sorted(y for line in below for y in line.get_ydata()) == pytest.approx(sorted(100 * way["density"]))


def test_it_shows_a_claim_seed_by_seed(drawn):
    _, names = drawn
    assert names["verdicts"]["A3"] == "not reproduced"
    assert names["observed"]["seed"].nunique() == 3
