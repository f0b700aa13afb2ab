"""The study's tables of minima, exact problems and cost from made-up runs, against numbers of plain loops."""

import itertools
import math

import numpy as np
import pytest

TASKS = ("net_a", "b_0.5_x")
GRDA = "grda.c0.02.mu0.6"
PAIRS = ("grda:sgd", "sgd:sgd_init", "grda:sgd_init")
MEASURED = ("train_loss", "train_error", "test_loss", "test_error")
HESSIAN_PAIRS = ("grda:sgd", "sgd_order:sgd")


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


# --- Paths


class Paths:
    """What a path's points say, by plain loops."""

    def __init__(self, numbers):
        self.numbers = numbers
        self.times = [step / (numbers.POINTS - 1) for step in range(numbers.POINTS)]

    def at(self, task, seed, pair, path, measure="train_loss", statistics="recomputed", times=None):
        return [self.numbers.on_path(task, seed, pair, path, statistics, t, measure) for t in times or self.times]

    def ends(self, *key, measure="train_loss"):
        return self.at(*key, measure, times=(0.0, 1.0))

    def barriers(self, task, pair, path, measure="train_loss", statistics="recomputed", seeds=(0, 1, 2)):
        """The most on a path above the larger of its two ends, which have recomputed statistics."""
        return [
            max(self.at(task, seed, pair, path, measure, statistics))
            - max(self.ends(task, seed, pair, path, measure=measure))
            for seed in seeds
        ]

    def above_line(self, task, seed, pair, path):
        """The most that the training loss is above the straight line between its two ends."""
        start, end = self.ends(task, seed, pair, path)
        losses = self.at(task, seed, pair, path)
        return max(loss - (start + t * (end - start)) for t, loss in zip(self.times, losses, strict=True))


@pytest.fixture(scope="module")
def along(study):
    return Paths(study)


@pytest.mark.parametrize(("task", "pair", "path"), [*itertools.product(TASKS, PAIRS, ("curve", "line"))])
def test_a_barrier_is_above_the_larger_end_of_its_own_path(
    study, all_tables, along, only, assert_interval, assert_nothing, task, pair, path
):
    assert len(all_tables["connectivity"]) == 2 * 3 * 2
    row = only(all_tables["connectivity"], task=task, pair=pair, path=path)
    assert row["n"] == 3
    assert_interval(row, "barrier", along.barriers(task, pair, path))
    assert_interval(row, "error_rise", along.barriers(task, pair, path, "train_error"))
    assert_interval(row, "above_line", [along.above_line(task, seed, pair, path) for seed in range(3)])
    for name, which in (("end_loss", max), ("lower_end_loss", min)):
        assert row[name] == pytest.approx(sum(which(along.ends(task, seed, pair, path)) for seed in range(3)) / 3)
    most = [max(along.at(task, seed, pair, path, "test_error")) for seed in range(3)]
    assert_interval(row, "test_error_most", most)
    ends = [max(along.ends(task, seed, pair, path, measure="test_error")) for seed in range(3)]
    assert_interval(row, "test_error_end", ends)
    if pair == "sgd:sgd_init":
        assert_nothing(row, "control_difference")
    else:
        control = along.barriers(task, "sgd:sgd_init", path)
        assert_interval(row, "control_difference", minus(along.barriers(task, pair, path), control))
    if path == "line":
        assert_nothing(row, "length_ratio", "stale_barrier")
    else:
        long, apart = ([study.value(task, s, pair, of) for s in range(3)] for of in ("length", "distance"))
        assert_interval(row, "length_ratio", [(2 + a) / (1 + b) for a, b in zip(long, apart, strict=True)])
        assert_interval(row, "stale_barrier", along.barriers(task, pair, path, statistics="stale"))


def test_a_curve_that_is_not_a_number_somewhere_has_no_barrier(study, along, only, assert_interval):
    """Its ends are sound networks: skipping the points between them would make its barrier 0."""

    def torn(job, tables):
        for row in tables.get("paths", ()):
            if (job.task, job.seed, row["path"], row["t"]) == ("net_a", 2, "curve", 0.5):
                row |= dict.fromkeys(MEASURED, math.nan)

    tables = study.runs(parts=["connectivity"], change=torn).tables()
    curve = {"task": "net_a", "pair": "grda:sgd", "path": "curve"}
    row = only(tables["connectivity"], **curve)
    assert row["n"] == 2
    assert_interval(row, "barrier", along.barriers("net_a", "grda:sgd", "curve", seeds=(0, 1)))
    assert_interval(row, "above_line", [along.above_line("net_a", seed, "grda:sgd", "curve") for seed in (0, 1)])
    assert only(tables["paths"], **curve, statistics="recomputed", t=0.5)["n"] == 2
    assert only(tables["connectivity"], **curve | {"path": "line"})["n"] == 3


def test_a_path_without_a_bump_is_nowhere_above_the_line_between_its_ends(study):
    """It falls from its higher end below the line: the ends themselves, 0 above it, are the most."""

    def fallen(job, tables):
        for row in tables.get("paths", ()):
            row["train_loss"] = 3 - 2 * row["t"] - row["t"] * (1 - row["t"])

    frame = study.runs(parts=["connectivity"], change=fallen).table("connectivity")
    for name, wanted in {"barrier": 0, "above_line": 0, "end_loss": 3, "lower_end_loss": 1}.items():
        assert frame[name].tolist() == pytest.approx([wanted] * len(frame)), name


@pytest.mark.parametrize("without", [("net_a",), TASKS], ids=["one task", "every task"])
def test_networks_without_batch_normalisation_have_no_stale_statistics(
    study, along, assert_interval, assert_nothing, without
):
    def plain(job, tables):
        if "paths" in tables and job.task in without:
            tables["paths"] = [row for row in tables["paths"] if row["statistics"] != "stale"]

    tables = study.runs(parts=["connectivity"], change=plain).tables()
    frame = tables["connectivity"]
    assert (frame["n"] == 3).all()
    for _, row in frame.iterrows():
        assert_interval(row, "barrier", along.barriers(row["task"], row["pair"], row["path"]))
        if row["task"] in without or row["path"] == "line":
            assert_nothing(row, "stale_barrier")
        else:
            assert_interval(row, "stale_barrier", along.barriers(row["task"], row["pair"], "curve", statistics="stale"))
    stale = tables["paths"].groupby("task")["statistics"].agg(lambda names: "stale" in set(names))
    assert stale.to_dict() == {task: task not in without for task in TASKS}


def test_without_the_control_a_barrier_stands_alone(study, along, assert_interval, assert_nothing):
    curves = {"epochs": 1, "points": study.POINTS, "pairs": ["grda:sgd"]}
    curves |= {"profile": {"kind": "constant"}, "max_lr": 0.1}
    tables = study.runs(parts=[], connectivity=curves).tables()
    assert len(tables["connectivity"]) == 2 * 2
    for _, row in tables["connectivity"].iterrows():
        assert_interval(row, "barrier", along.barriers(row["task"], "grda:sgd", row["path"]))
        assert_nothing(row, "control_difference")
    assert len(tables["planes"]) == 0


def test_paths_are_means_at_every_point(study, all_tables, along, assert_interval):
    frame = all_tables["paths"]
    assert len(frame) == 2 * 3 * 3 * study.POINTS
    for row in frame.to_dict("records"):
        assert row["n"] == 3
        for name in MEASURED:
            place = (row["pair"], row["path"], name, row["statistics"], [row["t"]])
            assert_interval(row, name, [along.at(row["task"], seed, *place)[0] for seed in range(3)])


def test_planes_are_of_the_pairs_and_seeds_that_the_preset_asks_for(study, all_tables, only):
    frame = all_tables["planes"]
    assert len(frame) == 2 * 2 * (3 + 4)
    assert set(frame["seed"]) == {0, 1}
    assert set(frame["pair"]) == {"grda:sgd"}
    for row in frame.to_dict("records"):
        place = (row["point"],) if row["kind"] == "point" else (row["x"], row["y"])
        assert (row["kind"] == "grid") == (row["point"] == "")
        for name in MEASURED:
            assert row[name] == pytest.approx(study.value(row["task"], row["seed"], "grda:sgd", *place, name))
    bend = only(frame, task="net_a", seed=1, point="bend")
    assert (bend["x"], bend["y"]) == (1.5, 0.5)


# --- Curvature


@pytest.mark.parametrize(("task", "epoch", "pair", "k"), [*itertools.product(TASKS, (1, 2, 4), HESSIAN_PAIRS, (1, 4))])
def test_shares_stand_beside_chance_the_control_and_the_first_epoch(
    study, all_tables, only, assert_interval, assert_geometric, assert_nothing, task, epoch, pair, k
):
    assert len(all_tables["curvature"]) == 2 * 3 * 2 * 2
    row = only(all_tables["curvature"], task=task, epoch=epoch, pair=pair, k=k)

    def over_seeds(what, epoch=epoch, pair=pair):
        return np.array([study.hessian(task, seed, epoch, pair, k, what) for seed in range(3)])

    assert row["n"] == 3
    assert_interval(row, "share", over_seeds("share"))
    assert row["chance"] == pytest.approx(math.sqrt(k) / 20)
    assert_interval(row, "over_chance", over_seeds("share") / (math.sqrt(k) / 20))
    assert_interval(row, "quadratic", over_seeds("quadratic"))
    if pair == "grda:sgd":
        assert_geometric(row, "control_ratio", over_seeds("share") / over_seeds("share", pair="sgd_order:sgd"))
    else:
        assert_nothing(row, "control_ratio")
    if epoch == 1:
        assert (row["early_ratio"], row["early_ratio_low"], row["early_ratio_high"]) == (1, 1, 1)
    else:
        assert_geometric(row, "early_ratio", over_seeds("share") / over_seeds("share", epoch=1))
    assert row["norm_ratio"] == pytest.approx(over_seeds("norm_ratio").mean())
    assert row["own_share"] == pytest.approx(over_seeds("own_share").mean())
    assert row["top_eigenvalue"] == pytest.approx(np.mean([study.eigenvalue(task, s, epoch, 1) for s in range(3)]))


def test_the_spectrum_is_by_rank(study, all_tables, assert_interval):
    frame = all_tables["spectrum"]
    assert len(frame) == 2 * 3 * 4
    for row in frame.to_dict("records"):
        values = [study.eigenvalue(row["task"], seed, row["epoch"], row["rank"]) for seed in range(3)]
        assert row["n"] == 3
        assert_interval(row, "eigenvalue", values, "low", "high")


# --- Divergence


def test_a_diverged_end_leaves_its_seed_out_of_paths_and_of_curvature(
    study, along, only, assert_interval, assert_geometric
):
    """Also where a job wrote rows for it: the network was finite still, or had not diverged by an early epoch."""
    tables = study.runs(parts=["connectivity", "curvature"], lost={("net_a", GRDA, 1)}).tables()
    frame = tables["connectivity"]
    for row in frame.to_dict("records"):
        hit = row["task"] == "net_a" and row["pair"].startswith("grda")
        assert row["n"] == (2 if hit else 3)
    row = only(frame, task="net_a", pair="grda:sgd_init", path="curve")
    own, control = (along.barriers("net_a", pair, "curve", seeds=(0, 2)) for pair in ("grda:sgd_init", "sgd:sgd_init"))
    assert_interval(row, "barrier", own)
    assert_interval(row, "control_difference", minus(own, control))
    assert set(tables["planes"].loc[tables["planes"]["task"] == "net_a", "seed"]) == {0}
    paths = tables["paths"]
    assert set(paths.loc[(paths["task"] == "net_a") & (paths["pair"] == "grda:sgd"), "n"]) == {2}

    frame = tables["curvature"]
    for row in frame.to_dict("records"):
        assert row["n"] == (2 if (row["task"], row["pair"]) == ("net_a", "grda:sgd") else 3)
    row = only(frame, task="net_a", epoch=4, pair="grda:sgd", k=4)
    shares, controls = (
        np.array([study.hessian("net_a", seed, 4, pair, 4, "share") for seed in (0, 2)]) for pair in HESSIAN_PAIRS
    )
    assert_geometric(row, "control_ratio", shares / controls)
    assert row["top_eigenvalue"] == pytest.approx(np.mean([study.eigenvalue("net_a", s, 4, 1) for s in (0, 2)]))
    assert (tables["spectrum"]["n"] == 3).all()


def test_a_diverged_control_leaves_its_pairs_out(study, along, only):
    lost = {("net_a", "sgd", 1), ("b_0.5_x", "sgd_init", 1), ("b_0.5_x", "sgd_order", 2)}
    tables = study.runs(parts=["connectivity", "curvature"], seeds=[1, 2], lost=lost).tables()

    def of_one(name, task):
        frame = tables[name][tables[name]["task"] == task]
        assert set(frame["n"]) <= {1, 2}
        return set(frame.loc[frame["n"] == 1, "pair"])

    assert of_one("connectivity", "net_a") == {"grda:sgd", "sgd:sgd_init"}
    assert of_one("connectivity", "b_0.5_x") == {"sgd:sgd_init", "grda:sgd_init"}
    row = only(tables["connectivity"], task="net_a", pair="grda:sgd_init", path="line")
    own, control = (along.barriers("net_a", pair, "line", seeds=[2]) for pair in ("grda:sgd_init", "sgd:sgd_init"))
    assert row["control_difference"] == pytest.approx(own[0] - control[0])  # of the one seed that both have
    assert of_one("curvature", "net_a") == {*HESSIAN_PAIRS}
    assert of_one("curvature", "b_0.5_x") == {"sgd_order:sgd"}
    spectrum = tables["spectrum"].groupby("task")["n"].agg(set)
    assert spectrum.to_dict() == {"net_a": {1}, "b_0.5_x": {2}}


@pytest.mark.parametrize("written", [True, False], ids=["jobs wrote rows", "jobs wrote none"])
def test_where_every_run_diverged_accuracies_are_chance_and_the_rest_is_not_a_number(study, written):
    parts = ["baselines", "sensitivity", "connectivity", "curvature"]
    planned = study.planned(parts=parts, seeds=[0, 1])
    arms = {arm.name for job in planned.plan.jobs("directional") for arm in getattr(job, "arms", ())}
    lost = {*itertools.product(TASKS, arms, (0, 1))}

    def emptied(job, tables):
        for name in () if written else ({"paths", "curves", "plane", "curvature", "eigenvalues"} & {*tables}):
            tables[name].clear()

    tables = planned.write(lost=lost, change=emptied).tables()
    assert set(tables["accuracy"]["method"]) == {"sgd", "sgd_strong", "grda"}  # the others match nothing
    for name in ("accuracy", "sensitivity"):
        assert tables[name]["test_accuracy"].tolist() == pytest.approx([0.1] * len(tables[name]))
        assert (tables[name]["diverged"] == 2).all()
        assert tables[name][["sparsity", "sparsity_low"]].isna().all(axis=None)
    for name, columns in {
        "norms": ["start", "end", "ratio"],
        "connectivity": [
            *("barrier", "above_line", "end_loss", "lower_end_loss"),
            *("length_ratio", "control_difference", "stale_barrier"),
        ],
        "curvature": ["share", "chance", "control_ratio", "early_ratio", "top_eigenvalue"],
    }.items():
        assert len(tables[name])
        assert (tables[name]["n"] == 0).all()
        assert tables[name][columns].isna().all(axis=None)
    for name in ("trajectory", "norm_curves", "layers", "paths", "planes", "spectrum"):
        assert len(tables[name]) == 0


# --- Exact problems, cost


def test_the_slope_of_an_exact_problem_is_fitted_within_seeds_and_stands_on_every_row(
    study, all_tables, only, assert_interval
):
    frame = all_tables["toy"]
    assert len(frame) == 2 * 2 * 3
    problems = ("least_squares", "network")
    for problem, (fixed, less), gamma in itertools.product(problems, (("c", 0.0), ("lam", 1.0)), study.GAMMA):
        row = only(frame, problem=problem, fixed=fixed, gamma=gamma)
        scale = gamma ** (less / 2)
        assert row[["n", "steps", "d", "flat"]].tolist() == [3, round(50 / gamma), 40, 21]
        assert row[["lam", "c"]].tolist() == pytest.approx([gamma**0.5 / scale, 0.02 / scale])
        assert_interval(row, "error", [study.error(gamma, seed, fixed) for seed in range(3)])
        for name in ("soft_error", "cosine", "sparsity"):
            assert_interval(row, name, [study.value(seed, fixed, problem, gamma, name) for seed in range(3)])
        # mean 0.6, standard deviation 0.1, t quantile 4.3027 with 2 degrees of freedom
        half = 4.302652729911275 * 0.1 / math.sqrt(3)
        slope = [0.6 - less, 0.6 - less - half, 0.6 - less + half]
        assert row[["slope", "slope_low", "slope_high"]].tolist() == pytest.approx(slope)


def test_an_exact_problem_without_an_error_has_no_slope(study):
    def failed(job, tables):
        for row in tables.get("toy", ()):
            if (job.problem, row["seed"], row["fixed"], row["gamma"]) == ("least_squares", 0, "c", 0.03):
                row["error"] = math.nan

    frame = study.runs(parts=["toy"], change=failed).table("toy")
    frame = frame[frame["fixed"] == "c"]
    rows = frame[frame["problem"] == "least_squares"]
    assert rows["n"].tolist() == [3, 2, 3]
    assert rows["slope"].tolist() == pytest.approx([0.65] * 3)
    assert frame.loc[frame["problem"] == "network", "slope"].tolist() == pytest.approx([0.6] * 3)


def test_overhead_is_a_ratio_within_blocks(study, all_tables, assert_geometric, assert_nothing):
    frame = all_tables["overhead"]
    assert len(frame) == 4 + 3 + 4
    others = {"ratio_sgd": "sgd", "ratio_momentum": "sgd_momentum", "ratio_reference": "grda_reference"}
    for _, row in frame.iterrows():
        network, measure, optimizer = row["network"], row["measure"], row["optimizer"]
        times = [study.seconds(network, measure, optimizer, block) for block in (1, 2, 3)]
        assert (row["n"], row["parameters"]) == (3, study.D)
        assert row["milliseconds"] == pytest.approx(1000 * sorted(times)[1])
        for name, other in others.items():
            if (measure, other) == ("training step", "grda_reference"):
                assert_nothing(row, name)
            elif other == optimizer:
                assert row[[name, f"{name}_low", f"{name}_high"]].tolist() == [1, 1, 1]
            else:
                theirs = [study.seconds(network, measure, other, block) for block in (1, 2, 3)]
                assert_geometric(row, name, np.array(times) / theirs)
        if measure == "optimizer step":
            expected = [0 if optimizer == "sgd" else 1, study.OPTIMIZERS.index(optimizer) / 4]
            assert row[["state_ratio", "peak_ratio"]].tolist() == expected
        else:
            assert row[["state_ratio", "peak_ratio"]].isna().all()


# --- Published numbers


@pytest.mark.parametrize(
    ("method", "schedule", "c", "mu", "percent", "accuracy"),
    [
        ("sgd", "fixed 0.1", math.nan, math.nan, 0, 68.71),
        ("grda", "fixed 0.1", 0.005, 0.55, 91.54, 69.76),
        ("grda", "fixed 0.1", 0.005, 0.501, 86.03, 70.60),
        ("grda", "0.1->0.01@140", 0.01, 0.4, 79.69, 72.75),
        ("grda", "0.1->0.01@140", 0.005, 0.55, 91.59, 73.24),
        ("grda", "0.1->0.01@140", 0.005, 0.7, 98.17, 65.51),
        ("grda", "30-epoch decay", 0.005, 0.85, 99.84, 22.69),
        ("grda", "30-epoch decay", 0.004, 0.65, 96.36, 68.06),
        ("grda", "30-epoch decay", 0.002, 0.75, 97.06, 67.23),
        ("magnitude", "", math.nan, math.nan, 90, 73.91),
        ("magnitude v2", "", math.nan, math.nan, 96.5, 69.26),
        ("random", "", math.nan, math.nan, 98, 44.00),
        ("variational dropout", "", math.nan, math.nan, 92, 73.58),
    ],
)
def test_published_numbers_are_those_of_the_paper_s_data(all_tables, only, method, schedule, c, mu, percent, accuracy):
    frame = all_tables["published"]
    near = frame[(frame["method"] == method) & np.isclose(frame["sparsity"], percent / 100, rtol=0, atol=1e-9)]
    row = only(near, schedule=schedule)
    assert row[["c", "mu"]].tolist() == pytest.approx([c, mu], nan_ok=True)
    assert row["accuracy"] == pytest.approx(accuracy / 100, abs=1e-9)
    assert row["source"] == ("authors' data" if method in ("sgd", "grda") else "Gale et al. 2019")


def test_published_numbers_hold_no_interpolated_ones(all_tables):
    frame = all_tables["published"]
    counts = {"sgd": 1, "grda": 3 + 7 + 5 + 6, "magnitude": 6, "magnitude v2": 4, "random": 6, "variational dropout": 8}
    assert frame.groupby("method").size().to_dict() == counts
    others = frame[frame["method"].isin(["magnitude", "magnitude v2"])]
    assert not np.isclose(others["sparsity"], 0.92).any()
    assert frame[["sparsity", "accuracy"]].notna().all(axis=None)
