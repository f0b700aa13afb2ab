"""The cascade study's tables as files: CSV that reads back, and LaTeX that shows their numbers."""

import itertools

import pandas as pd
import pytest

from prunebench.papers.cascade import PAPER

LATEX = [table.name for table in PAPER.tables if table.latex]
"""Tables that readers get."""
THRESHOLDS = ("absolute", "relative", "removable", "in_dead", "dead_filters", "dead_channels")


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory, write_frames):
    return write_frames(tables, tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def lines_of(parse_latex):
    """(folder, table) -> the lines of its LaTeX, each as cells by header."""

    def lines(folder, name):
        header, rows = parse_latex((folder / f"{name}.tex").read_text())
        assert len({*header}) == len(header)
        return [dict(zip(header, row, strict=True)) for row in rows]

    return lines


def latex(name):
    return name.replace("_", r"\_")


def points(row, name, factor=100, digits=1, null=None):
    """A mean with its interval, marked where that excludes `null`."""
    mean, low, high = (round(factor * row[column], digits) + 0.0 for column in (name, f"{name}_low", f"{name}_high"))
    text = f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "$-$")
    sure = null is not None and not row[f"{name}_low"] <= null <= row[f"{name}_high"]
    return text + sure * "$^{*}$"


# --- Files


def test_every_table_is_written_and_reads_back(written, tables):
    assert {path.name for path in written.iterdir()} == {
        *(f"{name}.csv" for name in tables),
        *(f"{name}.tex" for name in LATEX),
    }
    for name, frame in tables.items():
        back = pd.read_csv(written / f"{name}.csv")
        if "prelude_control" in back:
            back["prelude_control"] = back["prelude_control"].fillna("")
        assert [*back] == [*(column.name for column in PAPER.table(name).columns), "scale"]
        pd.testing.assert_frame_equal(back[[*frame]], frame, check_dtype=False, check_exact=True)


def test_a_part_that_is_left_out_is_a_table_without_rows(cascade, tmp_path, write_frames):
    write_frames(cascade.runs(parts=["retraining"], seeds=[0]).tables(), tmp_path)
    assert "no rows" in (tmp_path / "cascade_gmp.tex").read_text()
    back = pd.read_csv(tmp_path / "cascade_gmp.csv")
    assert not len(back)
    assert [*back] == [*(column.name for column in PAPER.table("cascade_gmp").columns), "scale"]


def test_names_and_scale_with_special_characters_stay_text(cascade, tmp_path, write_frames, parse_latex):
    network = {"kind": "resnet", "depth": 8}
    tasks = {"tasks": ["net_a", "b_0.5_x"]}
    runs = cascade.runs(
        networks={"net_a": network, "b_0.5_x": network},
        seeds=[0],
        shedding=tasks,
        criteria=tasks,
        semi_structured=tasks,
    )
    scale = "10 % of & {data}"
    write_frames(runs.tables(), tmp_path, scale)
    for name in LATEX:
        text = (tmp_path / f"{name}.tex").read_text()
        assert scale in text.splitlines()[0]
        parse_latex(text)
    assert r"b\_0.5\_x" in (tmp_path / "cascade_shedding.tex").read_text()


# --- Numbers


@pytest.mark.parametrize("name", LATEX)
def test_there_is_a_line_per_cell(written, tables, lines_of, name):
    per_line = {"cascade_shedding": len(THRESHOLDS), "cascade_criteria": 2}.get(name, 1)  # thresholds, sparsities
    assert len(lines_of(written, name)) == len(tables[name]) / per_line


def test_shedding_shows_the_excess_of_a_setting_by_threshold(written, tables, lines_of, only):
    line, frame = lines_of(written, "cascade_shedding")[1], tables["cascade_shedding"].iloc[6:12]
    row = frame.iloc[0]
    assert line["criterion"] == latex(row["criterion"])
    assert (line["LR"], line["weight decay"], line["epochs"], line["n"]) == ("0.1", "0.01", "2", "3")
    assert (line[r"pruned, \%"], line["clock"]) == (f"{100 * row['pruned_share']:g}", "0.2")
    for threshold in THRESHOLDS:
        cell = only(frame, threshold=threshold)
        assert line[latex(f"excess, {threshold}, points")] == points(cell, "excess", null=0)


def test_criteria_show_accuracy_in_percent_and_bold_the_best_of_a_column(written, tables, lines_of, only):
    columns = {0.5: r"50.0 \%", 0.9: r"90.0 \%"}
    for line, (sparsity, column) in itertools.product(lines_of(written, "cascade_criteria"), columns.items()):
        names = {name: line[name].replace(r"\_", "_") for name in ("task", "criterion", "prelude")}
        row = only(tables["cascade_criteria"], sparsity=sparsity, **names)
        text = rf"{100 * row['test_accuracy']:.1f} $\pm$ {100 * row['std']:.1f}"
        sure = not row["difference_low"] <= 0 <= row["difference_high"]
        assert line[column] == (rf"\textbf{{{text}}}" if row["best"] else text) + sure * "$^{*}$"
        shed = row["prelude"] == "shedding"
        assert line["control"] == (r"no\_decay" if shed else "none")
        beyond = points(row, "control_difference", null=0) if shed else "n/a"
        assert line[f"minus control, points, {column}"] == beyond


def test_without_controls_criteria_have_no_column_of_them(cascade, tmp_path, write_frames, lines_of):
    runs = cascade.runs(parts=["criteria"], criteria={"preludes": []})
    write_frames({"cascade_criteria": runs.table("cascade_criteria")}, tmp_path)
    header = [*lines_of(tmp_path, "cascade_criteria")[0]]
    assert header == ["task", "criterion", "prelude", "n", r"50.0 \%", r"90.0 \%"]


def test_the_other_tables_show_their_numbers(written, tables, lines_of):
    def both(name, place):
        return tables[name].iloc[place], lines_of(written, name)[place]

    row, line = both("cascade_retraining", 1)
    assert line["retraining"] == latex(row["retraining"])
    assert line["minus fine-tuning, points"] == points(row, "difference", null=0)
    assert line["excess, points"] == points(row, "excess", null=0)
    assert line["excess minus fine-tuning's, points"] == points(row, "excess_difference", null=0)
    row, line = both("cascade_schedules", 0)
    assert (line[r"shed, \%"], line["excess, points"]) == (f"{100 * row['shed']:.1f}", points(row, "excess", null=0))
    row, line = both("cascade_overlap", 0)
    assert (line["Jaccard"], line["excess"]) == (f"{row['jaccard']:.3f}", points(row, "excess", 1, 3, null=0))
    row, line = both("cascade_semi_structured", 0)
    assert (line["pattern"], line[r"groups that fit before, \%"]) == ("2:4", points(row, "fitting"))
    row, line = both("cascade_semi_structured", 1)
    assert (line["control"], line["minus control, points"]) == (r"no\_decay", points(row, "control_difference", null=0))


def test_gradual_pruning_shows_what_it_cost(tables, tmp_path, write_frames, lines_of):
    frame = tables["cascade_gmp"].copy()
    ratio = {"steps": 35.0, "steps_ratio": 1.41, "steps_ratio_low": 0.02, "steps_ratio_high": 90.0}
    frame.loc[1, [*ratio]] = [*ratio.values()]
    frame.loc[1, ["harvested", "reached"]] = [0.2, 2]
    frame.loc[0, ["steps_ratio", "steps_ratio_low", "steps_ratio_high"]] = 1.0
    write_frames({"cascade_gmp": frame}, tmp_path)
    plain, shed = lines_of(tmp_path, "cascade_gmp")[:2]
    assert (plain[r"harvested, \%"], plain["updates / plain"]) == ("n/a", "1.00 [1.00, 1.00]")
    assert (shed[r"harvested, \%"], shed["reach plain"], shed["updates until then"]) == ("20.0", "2 of 3", "35")
    assert shed["updates / plain"] == "1.41 [0.02, 90.00]"
    assert shed["minus control, points"] == points(frame.iloc[1], "control_difference", null=0)


def test_where_every_run_diverged_accuracy_is_at_chance_and_says_so(cascade, tmp_path, write_frames, lines_of):
    runs = cascade.runs(parts=["criteria"], lost=lambda job, arm: 0)
    write_frames({"cascade_criteria": runs.table("cascade_criteria")}, tmp_path)
    assert lines_of(tmp_path, "cascade_criteria")[0][r"50.0 \%"] == r"\textbf{10.0 $\pm$ 0.0} (3 diverged)"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("cascade_retraining", ["task", "criterion", "sparsity"]),
        ("cascade_gmp", ["task", "sparsity"]),
        ("cascade_semi_structured", ["task", "pattern"]),
    ],
)
def test_the_best_is_bold_also_where_the_table_does_not_name_it(written, tables, lines_of, name, keys):
    frame = tables[name]
    best = frame["test_accuracy"] >= frame.groupby(keys)["test_accuracy"].transform("max") - 1e-12
    bold = ["textbf" in line[r"test accuracy, \%"] for line in lines_of(written, name)]
    assert bold == best.tolist()
    assert 0 < sum(bold) < len(bold)


# --- Marks

MARKED = {
    "cascade_shedding": {latex(f"excess, {threshold}, points") for threshold in THRESHOLDS},
    "cascade_criteria": {
        f"{before}{sparsity} \\%" for before in ("", "minus control, points, ") for sparsity in ("50.0", "90.0")
    },
    "cascade_retraining": {"minus fine-tuning, points", "excess, points", "excess minus fine-tuning's, points"},
    "cascade_schedules": {"excess, points"},
    "cascade_gmp": {
        *("minus no prelude, points", "minus control, points", "updates / plain", "sparse FLOPs / plain"),
    },
    "cascade_overlap": {"excess"},
    "cascade_semi_structured": {"minus no prelude, points", "minus control, points"},
}
"""Columns that may hold a mark: differences and ratios."""


@pytest.mark.parametrize("name", LATEX)
def test_only_differences_and_ratios_are_marked(tables, tmp_path, write_frames, marked_columns, name):
    """In a table all of whose intervals exclude both 0 and 1."""
    low = {column: 2.0 for column in tables[name] if column.endswith("_low")}
    sure = tables[name].assign(**low, **{column.replace("_low", "_high"): 3.0 for column in low})
    write_frames({name: sure}, tmp_path)
    assert marked_columns((tmp_path / f"{name}.tex").read_text()) == MARKED[name]


@pytest.mark.parametrize(
    ("name", "column", "reference"),
    [
        ("cascade_retraining", "minus fine-tuning, points", ("retraining", r"fine\_tune")),
        ("cascade_gmp", "minus no prelude, points", ("prelude", "none")),
        ("cascade_gmp", "updates / plain", ("prelude", "none")),
        ("cascade_semi_structured", "minus no prelude, points", ("prelude", "none")),
    ],
)
def test_what_is_compared_with_itself_is_not_marked(written, lines_of, name, column, reference):
    lines = [line for line in lines_of(written, name) if line[reference[0]] == reference[1]]
    assert lines
    assert not any("$^{*}$" in line[column] for line in lines)
