"""The directional study's tables from run folders written by hand, against numbers worked out by plain loops."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_cascade_tables import assert_interval, latex_lines, only, points, value
from test_s_cyc_tables import all_sure, marked_columns, parse_latex

from prunebench.config import parse_preset
from prunebench.errors import InputError
from prunebench.files import write_csv, write_json
from prunebench.report.tables import write_tables
from prunebench.studies.directional import SCALES, tables
from prunebench.studies.directional_names import DATA, TABLES
from prunebench.studies.runs import write_runs as write_runs_csv

# Written out, not imported: these are the files' formats, and importing them from the training code would load torch.
ARMS = {
    "epochs": "arm epoch lr train_loss validation_loss validation_accuracy",
    "weights": "arm epoch steps sparsity sparsity_all l1 l2 threshold",
    "ends": "arm parameters sparsity sparsity_all status validation_loss validation_accuracy train_loss train_accuracy "
    "test_loss test_accuracy steps images flops flops_sparse seconds peak_memory_mb",
    "layers": "arm layer position weights alive",
}
MEASURED = ("train_loss", "train_error", "test_loss", "test_error")
PAIRED = {
    "paths": f"pair path t statistics {' '.join(MEASURED)}",
    "curves": "pair distance length epochs train_loss",
    "plane": f"pair kind point x y {' '.join(MEASURED)}",
}
HESSIAN = {
    "curvature": "epoch pair k share chance quadratic norm_ratio own_share",
    "eigenvalues": "epoch rank eigenvalue",
}
TOY = "seed fixed problem gamma t c mu steps lam error soft_error cosine sparsity d flat sgd_loss grda_loss"
OVERHEAD = {
    "seconds": "network parameters measure optimizer block seconds",
    "memory": "network parameters optimizer parameter_bytes state_bytes peak_bytes",
}
ARM = "task method c mu matched_to"


def with_interval(*names):
    return " ".join(f"{name} {name}_low {name}_high" for name in names)


SCORE = "test_accuracy std ci_low ci_high"
MADE = {
    "directional_accuracy": f"{ARM} strength n diverged {with_interval('sparsity', 'sparsity_all')} {SCORE} best "
    f"{with_interval('difference', 'grda_difference')} epochs",
    "directional_sensitivity": f"task c mu c_factor mu_shift n diverged {with_interval('sparsity')} {SCORE} "
    f"{with_interval('difference', 'sparsity_change')}",
    "directional_overhead": "network parameters measure optimizer n milliseconds "
    f"{with_interval('ratio_sgd', 'ratio_momentum', 'ratio_reference')} state_ratio peak_ratio",
    "directional_connectivity": "task pair path n "
    f"{with_interval('barrier', 'above_line', 'error_rise')} end_loss lower_end_loss "
    f"{with_interval('test_error_most', 'test_error_end', 'length_ratio', 'control_difference', 'stale_barrier')}",
    "directional_curvature": f"task epoch pair k n {with_interval('share')} chance "
    f"{with_interval('over_chance', 'quadratic', 'control_ratio', 'early_ratio')} norm_ratio own_share top_eigenvalue",
    "directional_norms": f"{ARM} n {with_interval('start', 'end', 'ratio')} floor",
    "directional_toy": "problem fixed gamma n steps c lam "
    f"{with_interval('error', 'soft_error', 'cosine', 'sparsity', 'slope')} d flat",
    "directional_trajectory": f"{ARM} epoch n validation_accuracy low high {with_interval('density')}",
    "directional_norm_curves": f"{ARM} epoch n ratio low high floor",
    "directional_layers": f"{ARM} position layer weights n sparsity low high",
    "directional_paths": f"task pair path statistics t n {with_interval(*MEASURED)}",
    "directional_planes": f"task seed pair kind point x y {' '.join(MEASURED)}",
    "directional_spectrum": "task epoch rank n eigenvalue low high",
    "directional_published": "method schedule c mu sparsity accuracy source",
}
"""The columns that figures and claims read, before the last one, `scale`."""
ALWAYS = (
    *("directional_accuracy", "directional_norms", "directional_trajectory", "directional_norm_curves"),
    *("directional_layers", "directional_published"),
)
PARTS = {
    "sensitivity": ("directional_sensitivity",),
    "baselines": (),
    "connectivity": ("directional_connectivity", "directional_paths", "directional_planes"),
    "curvature": ("directional_curvature", "directional_spectrum"),
    "toy": ("directional_toy",),
    "overhead": ("directional_overhead",),
}
EPOCHS, TUNING, POINTS, D = 4, 3, 5, 400
STRENGTHS = (0.0001, 0.001)
PAIRS = ("grda:sgd", "sgd:sgd_init", "grda:sgd_init")
OPTIMIZERS = ("sgd_momentum", "grda", "grda_reference", "sgd")  # as they happened to be measured
SETTINGS = {"net_a": ("c 0.02, mu 0.6", "c 0.02, mu 0.6, weights only"), "b_0.5_x": ("c 0.01, mu 0.75",)}
"""Labels: two settings of the first task differ in neither c nor mu."""
REFERENCES = {"net_a": "grda.c0.02.mu0.6", "b_0.5_x": "grda.c0.01.mu0.75"}
GRDA = REFERENCES["net_a"]


def make_preset(*, seeds=(0, 1, 2), scale="x", parts=None, **changes):
    """`parts`: those that are run, None for all; `changes` are laid over the study's configuration."""
    training = {"epochs": EPOCHS, "batch_size": 10, "momentum": 0, "weight_decay": 0}
    task = {"dataset": "d", "network": {"kind": "mlp"}, "training": training}
    constant = {"profile": {"kind": "constant"}, "max_lr": 0.1}
    setting = {"c": 0.02, "mu": 0.6}
    directional = {
        **constant,
        "grda": {"net_a": [setting, setting | {"spare_norm_and_bias": True}], "b_0.5_x": [{"c": 0.01, "mu": 0.75}]},
        "sensitivity": {"c_factors": [0.5], "mu_shifts": [0.05]},
        "baselines": {
            "strong": {"max_lr": 0.05},
            "l1": [*STRENGTHS],
            "ramp": {"share": 0.5, "every": 2},
            "fine_tuning": {"epochs": TUNING, **constant},
        },
        "connectivity": {
            "pairs": ["grda:sgd", "sgd:sgd_init", "grda:sgd_init"],
            "epochs": 2,
            "points": POINTS,
            "plane": {"points": 2, "seeds": 2},
            **constant,
        },
        "curvature": {"epochs": [1, 2], "k": [1, 4]},
        "toy": {"t": 50, "c": 0.02, "mu": 0.6, "gamma": [0.1, 0.03, 0.003], "seeds": list(seeds)},
        "overhead": {"tasks": ["net_a"], "blocks": 3},
    }
    for part in PARTS:
        if parts is not None and part not in parts:
            del directional[part]
    content = {
        "preset": "tiny",
        "scale": scale,
        "seeds": list(seeds),
        "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
        "tasks": dict.fromkeys(SETTINGS, task),
        "schedules": {},
        "directional": directional | changes,
    }
    return parse_preset(content, "tiny")


# ------------------------------------------------------------------------- what runs measured, by task, arm and seed


def score(task, arm, seed):
    """Test accuracy at the end."""
    return 0.5 + 0.4 * value(task, arm, seed)


def validation(task, arm, seed):
    """Validation accuracy at the end."""
    return 0.5 + 0.4 * value(task, arm, seed, "validation")


def sparsity(task, arm, seed, which="sparsity"):
    return 0.8 + 0.1 * value(task, arm, seed, which)


def norm_ratio(task, arm, seed, epoch):
    return (1 + value(task, arm, seed, "l2", epoch)) / (10 + value(task, arm, seed, "l1", epoch))


def course(task, arm, seed, epoch, what):
    """Validation accuracy, or sparsity, with so many epochs of the arm's own behind it."""
    return value(task, arm, seed, what, epoch)


LAYERS = {"conv_1.weight": 50, "fc.weight": 20}


def alive(task, arm, seed, layer):
    return 1 + int(19 * value(task, arm, seed, layer))


def arm_rows(spec, arm, lost, empty):
    task, seed, name = spec.task, spec.seed, arm.name
    made = {table: [] for table in ARMS}
    if arm.prune and (task, arm.prune.like, seed) in {*lost, *empty}:  # nothing to be matched to: not trained
        cost = dict.fromkeys(("sparsity", "sparsity_all", "steps", "images", "flops", "flops_sparse", "seconds"), 0)
        made["ends"].append({"arm": name, "parameters": D, "status": "unmatched", "peak_memory_mb": 0} | cost)
        return made
    lost = (task, name, seed) in lost
    for epoch in range(arm.epochs + 1):
        if lost and epoch == 2:
            break  # what it measured until then is nonsense
        made["weights"].append(
            {"arm": name, "epoch": epoch, "steps": 10 * epoch, "sparsity": course(task, name, seed, epoch, "zero")}
            | {"l2": 1 + value(task, name, seed, "l2", epoch), "l1": 10 + value(task, name, seed, "l1", epoch)}
        )
        if epoch < arm.epochs:
            reached = course(task, name, seed, epoch + 1, "accuracy")
            made["epochs"].append({"arm": name, "epoch": epoch, "validation_accuracy": reached})
    end = {
        "arm": name,
        "parameters": D,
        "steps": 10,
        "images": 100,
        "flops": 7,
        "flops_sparse": 5,
        "seconds": 2,
        "peak_memory_mb": seed,
    }
    end |= {"sparsity": sparsity(task, name, seed), "sparsity_all": sparsity(task, name, seed, "all")}
    if lost:
        made["ends"].append(end | {"status": "diverged", "validation_accuracy": 0.1, "test_accuracy": 0.1})
        return made
    reached = {"validation_accuracy": validation(task, name, seed), "test_accuracy": score(task, name, seed)}
    made["ends"].append(end | {"status": "trained"} | reached)
    for position, (layer, weights) in enumerate(LAYERS.items()):
        row = {"arm": name, "layer": layer, "position": position, "weights": weights}
        made["layers"].append(row | {"alive": alive(task, name, seed, layer)})
    return made


def on_path(*key):
    """Loss or error at a point: task, seed, pair, path, statistics, t, measure. It is higher between the ends."""
    t = key[-2]
    return value(*key) + 8 * t * (1 - t)


def at_place(*key):
    return {name: value(*key, name) for name in MEASURED}


def connection_rows(spec):
    task, seed, made = spec.task, spec.seed, {table: [] for table in PAIRED}
    for pair in spec.connectivity.pairs:
        for step, (path, statistics) in itertools.product(
            range(POINTS), (("curve", "recomputed"), ("line", "recomputed"), ("curve", "stale"))
        ):
            at = {"pair": pair, "path": path, "t": step / (POINTS - 1), "statistics": statistics}
            key = (task, seed, pair, path, statistics, at["t"])
            made["paths"].append(at | {name: on_path(*key, name) for name in MEASURED})
        row = {"pair": pair, "distance": 1 + value(task, seed, pair, "distance")}
        made["curves"].append(row | {"length": 2 + value(task, seed, pair, "length"), "epochs": 2})
        if spec.connectivity.plane and pair in spec.connectivity.plane.pairs:
            for point in ("a", "b", "bend"):
                at = {"pair": pair, "kind": "point", "point": point, "x": 1.5, "y": 0.5}
                made["plane"].append(at | at_place(task, seed, pair, point))
            for x, y in itertools.product((-1.0, 1.0), repeat=2):
                at = {"pair": pair, "kind": "grid", "point": "", "x": x, "y": y}
                made["plane"].append(at | at_place(task, seed, pair, x, y))
    return made


def hessian(task, seed, epoch, pair, k, what):
    """A positive number."""
    return 0.01 + value(task, seed, epoch, pair, k, what)


def curvature_rows(spec):
    task, seed, made = spec.task, spec.seed, {table: [] for table in HESSIAN}
    for epoch in (1, 2, EPOCHS):
        for rank in (1, 2, 3, 4):
            row = {"epoch": epoch, "rank": rank, "eigenvalue": value(task, seed, epoch, rank) / rank}
            made["eigenvalues"].append(row)
        for pair, k in itertools.product(("grda:sgd", "sgd_order:sgd"), (1, 4)):
            row = {"epoch": epoch, "pair": pair, "k": k, "chance": math.sqrt(k / D)}
            for name in ("share", "quadratic", "norm_ratio", "own_share"):
                row[name] = hessian(task, seed, epoch, pair, k, name)
            made["curvature"].append(row)
    return made


GAMMA = (0.1, 0.03, 0.003)


def toy_rows(problem, seeds):
    """Errors that follow a power law with exponent 0.5, 0.6, 0.7 of seeds 0, 1, 2."""
    return [
        {"seed": seed, "fixed": fixed, "problem": problem, "gamma": gamma, "t": 50, "mu": 0.6, "d": 40}
        | {"steps": round(50 / gamma), "c": 0.02 / scale, "lam": gamma**0.5 / scale, "flat": 20 + seed}
        | {"error": (2 + seed) * gamma ** (0.5 + 0.1 * seed) / scale**2}
        | {name: value(seed, fixed, problem, gamma, name) for name in ("soft_error", "cosine", "sparsity")}
        for seed in seeds
        for gamma in GAMMA
        for fixed, scale in (("c", 1.0), ("lam", gamma**0.5))
    ]


def seconds(network, measure, optimizer, block):
    return 0.01 + value(network, measure, optimizer, block)


def overhead_rows():
    networks = {"net_a": ("optimizer step", "training step"), "resnet50": ("optimizer step",)}
    timed = [
        {"network": network, "parameters": D, "measure": measure, "optimizer": optimizer, "block": block}
        | {"seconds": seconds(network, measure, optimizer, block)}
        for network, measures in networks.items()
        for measure in measures
        for block in (1, 2, 3)
        for optimizer in OPTIMIZERS
        if (measure, optimizer) != ("training step", "grda_reference")
    ]
    kept = [
        {"network": network, "parameters": D, "optimizer": optimizer, "parameter_bytes": 1600}
        | {"state_bytes": 0 if optimizer == "sgd" else 1600, "peak_bytes": 400 * number}
        for network in networks
        for number, optimizer in enumerate(OPTIMIZERS)
    ]
    return {"seconds": timed, "memory": kept}


def write_runs(runs, preset, *, lost=(), empty=(), change=lambda folder, made: None):
    """`lost`: (task, arm, seed) of what diverged; `empty`: of what has no weight left.

    `change` may alter a job's rows.
    """
    jobs = []
    for spec in preset.directional_jobs():
        made = {table: [] for table in ARMS}
        for arm in spec.arms:
            for table, rows in arm_rows(spec, arm, lost, empty).items():
                made[table] += rows
        jobs.append((spec.folder, made, ARMS))
    jobs += [(spec.folder, connection_rows(spec), PAIRED) for spec in preset.connection_jobs()]
    jobs += [(spec.folder, curvature_rows(spec), HESSIAN) for spec in preset.curvature_jobs()]
    jobs += [(spec.folder, {"toy": toy_rows(spec.problem, spec.seeds)}, {"toy": TOY}) for spec in preset.toy_jobs()]
    jobs += [(spec.folder, overhead_rows(), OVERHEAD) for spec in preset.overhead_jobs()]
    for folder, made, columns in jobs:
        change(folder, made)
        for table, rows in made.items():
            write_csv(runs / folder / f"{table}.csv", rows, columns[table].split())
    return runs


@pytest.fixture(scope="module")
def preset():
    return make_preset()


@pytest.fixture(scope="module")
def made(preset, tmp_path_factory):
    return tables(preset, write_runs(tmp_path_factory.mktemp("runs"), preset))


@pytest.fixture(scope="module")
def of_one_seed(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("one_seed"), make_preset(seeds=[0]))


def l1_arm(task, grda, seeds=(0, 1, 2)):
    """The strength with the best mean validation accuracy at this sparsity, and its arm."""
    arms = {strength: f"l1.{strength:g}.{grda}" for strength in STRENGTHS}
    strength = max(arms, key=lambda strength: sum(validation(task, arms[strength], seed) for seed in seeds))
    return strength, arms[strength]


def arms_of(task):
    """(method, matched_to) -> name, as the configuration names the arms that are compared."""
    names = {("sgd", ""): "sgd", ("sgd_strong", ""): "sgd_strong"}
    for label in SETTINGS[task]:
        grda = REFERENCES[task] + (".spared" if "only" in label else "")
        names["grda", label] = grda
        names["l1", label] = l1_arm(task, grda)[1]
        names |= {(method, label): f"{method}.{grda}" for method in ("gmp_gradual", "gmp_one_shot", "random")}
    return names


ALL_ARMS = [(task, *key, name) for task in SETTINGS for key, name in arms_of(task).items()]


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def scores(task, arm, seeds=(0, 1, 2)):
    return [score(task, arm, seed) for seed in seeds]


def assert_geometric(row, name, ratios):
    """Geometric mean and the t interval of the logarithm, by scipy."""
    logs = np.log(ratios)
    bounds = stats.t.interval(0.95, len(logs) - 1, loc=logs.mean(), scale=stats.sem(logs))
    expected = np.exp([logs.mean(), *bounds])
    assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(expected, rel=1e-9)


def assert_nothing(row, *names):
    for name in names:
        assert row[[name, f"{name}_low", f"{name}_high"]].isna().all(), name


# ------------------------------------------------------------------------------------------------------- what is made


def test_every_table_has_the_columns_of_the_design(made, preset):
    assert list(made) == [*TABLES, *DATA] == list(MADE)
    for name, frame in made.items():
        assert list(frame.columns) == [*MADE[name].split(), "scale"]
        assert len(frame)
        assert set(frame["scale"]) == {SCALES.get(name, preset.scale)}


@pytest.mark.parametrize("part", [None, *PARTS])
def test_parts_that_are_left_out_give_tables_without_rows(part, of_one_seed):
    for name, frame in tables(make_preset(parts=[part], seeds=[0]), of_one_seed).items():
        assert list(frame.columns) == [*MADE[name].split(), "scale"]
        assert (len(frame) > 0) == (name in (*ALWAYS, *PARTS.get(part, ()))), name


def test_without_baselines_only_sgd_and_grda_are_compared(tmp_path):
    preset = make_preset(parts=[])
    frame = tables(preset, write_runs(tmp_path, preset))["directional_accuracy"]
    expected = [(task, "sgd", "") for task in SETTINGS]
    expected += [(task, "grda", label) for task, labels in SETTINGS.items() for label in labels]
    assert sorted(frame[["task", "method", "matched_to"]].itertuples(index=False, name=None)) == sorted(expected)
    assert frame["best"].tolist() == (frame["method"] == "grda").tolist()  # alone in its group


def test_a_preset_without_the_study_is_refused(tmp_path):
    content = make_preset().model_dump(mode="json")
    schedule = {"profile": {"kind": "constant"}, "policy": {"kind": "fixed", "max_lr": 0.1}, "role": "benchmark"}
    grid = {"tasks": ["net_a"], "criteria": ["random"], "schedules": ["flat"]}
    content |= {"schedules": {"flat": schedule}, "directional": None}
    content["s_cyc"] = {"pruning": {"rate": 0.5, "cycles": 1}, "accuracy": [grid]}
    with pytest.raises(InputError, match="preset 'tiny' does not run the study of directional pruning"):
        tables(parse_preset(content, "tiny"), tmp_path)


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        *[(None, f"minima/seed-0/{table}.csv") for table in ("ends", "weights")],
        *[("baselines", f"baselines/seed-0/{table}.csv") for table in ("epochs", "layers")],
        ("sensitivity", "sensitivity/seed-0/ends.csv"),
        *[("connectivity", f"connectivity/seed-0/{table}.csv") for table in PAIRED],
        *[("curvature", f"curvature/seed-0/{table}.csv") for table in HESSIAN],
        ("toy", "toy/network/toy.csv"),
        *[("overhead", f"overhead/{table}.csv") for table in OVERHEAD],
    ],
)
def test_a_missing_run_file_is_named(of_one_seed, part, lost):
    path = next(of_one_seed.rglob(lost))
    path.rename(path.with_suffix(".gone"))
    try:
        with pytest.raises(InputError, match=f"cannot read {path}"):
            tables(make_preset(seeds=[0], parts=[part]), of_one_seed)
    finally:
        path.with_suffix(".gone").rename(path)


def test_one_seed_has_means_and_no_intervals(tmp_path):
    preset = make_preset(seeds=[4])
    made = tables(preset, write_runs(tmp_path, preset))
    for name, frame in made.items():
        if name == "directional_overhead":  # its intervals are over blocks
            continue
        bounds = [column for column in frame if column.endswith(("low", "high")) or column == "std"]
        assert frame[bounds].isna().all(axis=None), name
        means = ("difference", "share", "test_accuracy", "barrier", "error", "slope", "density", "ratio", "sparsity")
        assert frame[[column for column in means if column in frame]].notna().all(axis=None), name
    assert only(made["directional_toy"], problem="network", fixed="c", gamma=0.1)["slope"] == pytest.approx(0.9)


# --------------------------------------------------------------------------------------------------- trained networks


def test_accuracy_has_the_compared_arms_and_no_controls_task_by_task(made):
    frame = made["directional_accuracy"]
    rows = list(frame[["task", "method", "matched_to"]].itertuples(index=False, name=None))
    assert len(rows) == len(ALL_ARMS) == 12 + 7
    assert set(rows) == {key[:3] for key in ALL_ARMS}
    assert rows[:4] == [("net_a", "sgd", ""), ("net_a", "sgd_strong", "")] + [
        ("net_a", "grda", label) for label in SETTINGS["net_a"]
    ]
    assert [row[0] for row in rows] == ["net_a"] * 12 + ["b_0.5_x"] * 7


@pytest.mark.parametrize(("task", "method", "matched_to", "arm"), ALL_ARMS)
def test_accuracy_and_sparsity_of_an_arm(made, task, method, matched_to, arm):
    row = only(made["directional_accuracy"], task=task, method=method, matched_to=matched_to)
    own = scores(task, arm)
    assert (row["n"], row["diverged"]) == (3, 0)
    assert_interval(row, "test_accuracy", own, "ci_low", "ci_high")
    assert row["std"] == pytest.approx(np.std(own, ddof=1))
    assert_interval(row, "sparsity", [sparsity(task, arm, seed) for seed in range(3)])
    assert_interval(row, "sparsity_all", [sparsity(task, arm, seed, "all") for seed in range(3)])
    if method == "sgd":
        assert (row["difference"], row["difference_low"], row["difference_high"]) == (0, 0, 0)
    else:
        assert_interval(row, "difference", minus(own, scores(task, "sgd")))
    c_and_mu = {"net_a": (0.02, 0.6), "b_0.5_x": (0.01, 0.75)}[task] if method == "grda" else (math.nan, math.nan)
    assert (row["c"], row["mu"]) == pytest.approx(c_and_mu, nan_ok=True)
    if method == "grda" or not matched_to:
        assert_nothing(row, "grda_difference")
    else:
        assert_interval(row, "grda_difference", minus(scores(task, arms_of(task)["grda", matched_to]), own))
    strength = l1_arm(task, arms_of(task)["grda", matched_to])[0] if method == "l1" else math.nan
    assert row["strength"] == pytest.approx(strength, nan_ok=True)
    # fine-tuning comes on top of the dense network's epochs; the cut after an l1 penalty adds none
    assert row["epochs"] == (EPOCHS + TUNING if method == "gmp_one_shot" else EPOCHS)


def test_of_the_l1_penalties_the_one_with_the_best_mean_validation_accuracy_is_kept(tmp_path):
    """At each sparsity its own: not the best in test accuracy, nor in one seed; a diverged seed counts as chance."""
    preset = make_preset(parts=["baselines"])
    weak, strong = STRENGTHS
    first, second, third = (f"net_a/{GRDA}", f"net_a/{GRDA}.spared", f"b_0.5_x/{REFERENCES['b_0.5_x']}")
    reached = {  # validation accuracy of every seed, and a test accuracy
        (weak, first): ([0.6, 0.9, 0.6], 0.9),
        (strong, first): ([0.7, 0.75, 0.71], 0.6),
        (weak, second): ([0.55, 0.7, 0.7], 0.5),
        (strong, second): ([0.6, 0.6, 0.6], 0.8),
        (weak, third): ([0.65, 0.65, 0.64], 0.55),
        (strong, third): ([0.9, 0.9, 0.1], 0.85),  # the last diverged
    }
    lost = {("b_0.5_x", f"l1.{strong:g}.{REFERENCES['b_0.5_x']}", 2)}

    def scored(folder, made):
        _, task, part, seed = folder.split("/")
        for row in made["ends"] if part == "baselines" else ():
            for (strength, which), (on_validation, on_test) in reached.items():
                if f"{task}/{row['arm']}" == which.replace("/", f"/l1.{strength:g}.") and row["status"] == "trained":
                    row["validation_accuracy"] = on_validation[int(seed.removeprefix("seed-"))]
                    row["test_accuracy"] = on_test

    made = tables(preset, write_runs(tmp_path, preset, lost=lost, change=scored))
    frame = made["directional_accuracy"]
    labels = [(task, label) for task, each in SETTINGS.items() for label in each]
    for (task, label), which, kept in zip(labels, (first, second, third), (strong, weak, weak), strict=True):
        row = only(frame, task=task, method="l1", matched_to=label)
        assert (row["strength"], row["n"], row["diverged"]) == (kept, 3, 0)
        assert row["test_accuracy"] == pytest.approx(reached[kept, which][1])
        arm = which.replace("/", f"/l1.{kept:g}.").partition("/")[2]
        assert_interval(row, "sparsity", [sparsity(task, arm, seed) for seed in range(3)])
        for layer, weights in LAYERS.items():
            shares = [1 - alive(task, arm, seed, layer) / weights for seed in range(3)]
            row = only(made["directional_layers"], task=task, method="l1", matched_to=label, layer=layer)
            assert_interval(row, "sparsity", shares, "low", "high")
    assert frame.loc[frame["method"] != "l1", "strength"].isna().all()


def test_the_best_is_the_highest_of_those_at_one_matched_sparsity_and_never_dense(made):
    frame = made["directional_accuracy"]
    best = set(frame.loc[frame["best"], ["task", "method", "matched_to"]].itertuples(index=False, name=None))
    expected = set()
    for task, labels in SETTINGS.items():
        for label in labels:
            group = {key: sum(scores(task, arm)) for key, arm in arms_of(task).items() if key[1] == label}
            expected.add((task, *max(group, key=group.get)))
    assert best == expected


def test_sensitivity_is_around_the_reference_of_each_task_which_is_a_row_itself(made):
    frame = made["directional_sensitivity"]
    around = {
        "net_a": {
            "": (0.02, 0.6, 1, 0),
            "grda.c0.01.mu0.6": (0.01, 0.6, 0.5, 0),
            "grda.c0.02.mu0.65": (0.02, 0.65, 1, 0.05),
        },
        "b_0.5_x": {
            "": (0.01, 0.75, 1, 0),
            "grda.c0.005.mu0.75": (0.005, 0.75, 0.5, 0),
            "grda.c0.01.mu0.8": (0.01, 0.8, 1, 0.05),
        },
    }
    assert len(frame) == 6
    for (task, arms), first in zip(around.items(), (0, 3), strict=True):
        for nth, (arm, axes) in enumerate(arms.items()):
            row, name = frame.iloc[first + nth], arm or REFERENCES[task]
            assert row["task"] == task
            assert row[["c", "mu", "c_factor", "mu_shift"]].tolist() == pytest.approx(axes)
            assert (row["n"], row["diverged"]) == (3, 0)
            assert_interval(row, "test_accuracy", scores(task, name), "ci_low", "ci_high")
            assert row["std"] == pytest.approx(np.std(scores(task, name), ddof=1))
            assert_interval(row, "difference", minus(scores(task, name), scores(task, "sgd")))
            own, reference = ([sparsity(task, each, seed) for seed in range(3)] for each in (name, REFERENCES[task]))
            assert_interval(row, "sparsity", own)
            if arm:
                assert_interval(row, "sparsity_change", minus(own, reference))
            else:
                assert (row["sparsity_change"], row["sparsity_change_low"]) == (0, 0)


@pytest.mark.parametrize(("task", "method", "matched_to", "arm"), ALL_ARMS)
def test_a_trajectory_counts_the_epochs_behind_the_network_that_it_starts_from(made, task, method, matched_to, arm):
    frame = made["directional_trajectory"]
    own = frame[(frame["task"] == task) & (frame["method"] == method) & (frame["matched_to"] == matched_to)]
    if method == "l1":  # a cut without training has no course
        assert len(own) == 0
        return
    before, last = (EPOCHS, TUNING) if method == "gmp_one_shot" else (0, EPOCHS)
    assert own["epoch"].tolist() == [before + epoch for epoch in range(last + 1)]
    for epoch, (_, row) in enumerate(own.iterrows()):
        assert row["n"] == 3
        assert_interval(row, "density", [1 - course(task, arm, seed, epoch, "zero") for seed in range(3)])
        if epoch == 0:
            assert row[["validation_accuracy", "low", "high"]].isna().all()
        else:
            reached = [course(task, arm, seed, epoch, "accuracy") for seed in range(3)]
            assert_interval(row, "validation_accuracy", reached, "low", "high")


def test_no_table_of_arms_has_the_controls_or_what_is_cut_later(made):
    for name in ("accuracy", "trajectory", "layers", "norms", "norm_curves"):
        assert not set(made[f"directional_{name}"]["method"]) & {"sgd_order", "sgd_init", "l1_uncut"}, name


def test_layers_are_those_of_sparse_networks(made):
    frame = made["directional_layers"]
    assert len(frame) == 2 * sum(1 for key in ALL_ARMS if key[2])
    for (task, method, matched_to, arm), (position, layer) in itertools.product(ALL_ARMS, enumerate(LAYERS)):
        if matched_to:
            row = only(frame, task=task, method=method, matched_to=matched_to, layer=layer)
            weights = LAYERS[layer]
            assert row[["position", "weights", "n"]].tolist() == [position, weights, 3]
            shares = [1 - alive(task, arm, seed, layer) / weights for seed in range(3)]
            assert_interval(row, "sparsity", shares, "low", "high")


def test_norms_are_of_sgd_and_of_every_setting_of_grda(made):
    frame, curves = made["directional_norms"], made["directional_norm_curves"]
    kinds = [key for key in ALL_ARMS if key[1] in ("sgd", "grda")]
    assert len(frame) == len(kinds)
    assert len(curves) == len(kinds) * (EPOCHS + 1)
    for task, method, matched_to, arm in kinds:
        where = {"task": task, "method": method, "matched_to": matched_to}
        row = only(frame, **where)
        start, end = ([norm_ratio(task, arm, seed, epoch) for seed in range(3)] for epoch in (0, EPOCHS))
        assert row["n"] == 3
        assert_interval(row, "start", start)
        assert_interval(row, "end", end)
        assert_geometric(row, "ratio", [b / a for a, b in zip(start, end, strict=True)])
        assert row["floor"] == pytest.approx(0.05)  # 400 parameters
        for epoch in range(EPOCHS + 1):
            point = only(curves, **where, epoch=epoch)
            values = [norm_ratio(task, arm, seed, epoch) for seed in range(3)]
            assert_interval(point, "ratio", values, "low", "high")
            assert (point["n"], point["floor"]) == (3, pytest.approx(0.05))


def test_a_network_without_a_weight_left_has_no_concentration(tmp_path):
    preset = make_preset(parts=[])

    def emptied(folder, made):
        for row in made["weights"]:
            if folder.endswith("net_a/minima/seed-1") and row["arm"] == REFERENCES["net_a"] and row["epoch"] == EPOCHS:
                row |= {"l1": 0, "l2": 0}

    frame = tables(preset, write_runs(tmp_path, preset, change=emptied))["directional_norms"]
    row = only(frame, task="net_a", matched_to=SETTINGS["net_a"][0])
    assert row["n"] == 2
    ends = [norm_ratio("net_a", REFERENCES["net_a"], seed, EPOCHS) for seed in (0, 2)]
    assert_interval(row, "end", ends)


# ------------------------------------------------------------------------------------------------------- connectivity


def rise(task, seed, pair, path, measure, statistics="recomputed"):
    """The most on a path, and the larger of its two ends with recomputed statistics."""
    times = [step / (POINTS - 1) for step in range(POINTS)]
    most = max(on_path(task, seed, pair, path, statistics, t, measure) for t in times)
    return most, max(on_path(task, seed, pair, path, "recomputed", t, measure) for t in (0.0, 1.0))


def barriers(task, pair, path, measure="train_loss", statistics="recomputed", seeds=(0, 1, 2)):
    return [most - end for most, end in (rise(task, s, pair, path, measure, statistics) for s in seeds)]


def at_ends(task, seed, pair, path):
    return [on_path(task, seed, pair, path, "recomputed", t, "train_loss") for t in (0.0, 1.0)]


def above_line(task, seed, pair, path):
    """The most that the training loss is above the straight line between its two ends."""
    start, end = at_ends(task, seed, pair, path)
    times = [step / (POINTS - 1) for step in range(POINTS)]
    losses = [on_path(task, seed, pair, path, "recomputed", t, "train_loss") for t in times]
    return max(loss - (start + t * (end - start)) for t, loss in zip(times, losses, strict=True))


@pytest.mark.parametrize(("task", "pair", "path"), [*itertools.product(SETTINGS, PAIRS, ("curve", "line"))])
def test_a_barrier_is_above_the_larger_end_of_its_own_path(made, task, pair, path):
    assert len(made["directional_connectivity"]) == 2 * 3 * 2
    row = only(made["directional_connectivity"], task=task, pair=pair, path=path)
    assert row["n"] == 3
    assert_interval(row, "barrier", barriers(task, pair, path))
    assert_interval(row, "error_rise", barriers(task, pair, path, "train_error"))
    assert_interval(row, "above_line", [above_line(task, seed, pair, path) for seed in range(3)])
    for name, which in (("end_loss", max), ("lower_end_loss", min)):
        assert row[name] == pytest.approx(sum(which(at_ends(task, seed, pair, path)) for seed in range(3)) / 3)
    for name, which in (("test_error_most", 0), ("test_error_end", 1)):
        assert_interval(row, name, [rise(task, seed, pair, path, "test_error")[which] for seed in range(3)])
    if pair == "sgd:sgd_init":
        assert_nothing(row, "control_difference")
    else:
        control = barriers(task, "sgd:sgd_init", path)
        assert_interval(row, "control_difference", minus(barriers(task, pair, path), control))
    if path == "line":
        assert_nothing(row, "length_ratio", "stale_barrier")
    else:
        lengths = [
            (2 + value(task, seed, pair, "length")) / (1 + value(task, seed, pair, "distance")) for seed in range(3)
        ]
        assert_interval(row, "length_ratio", lengths)
        assert_interval(row, "stale_barrier", barriers(task, pair, path, statistics="stale"))


def test_a_curve_that_is_not_a_number_somewhere_has_no_barrier(tmp_path):
    """Its ends are sound networks: skipping the points between them would make its barrier 0."""
    preset = make_preset(parts=["connectivity"])

    def torn(folder, made):
        for row in made.get("paths", []):
            if "net_a/connectivity/seed-2" in folder and row["path"] == "curve" and row["t"] == 0.5:
                row |= dict.fromkeys(MEASURED, math.nan)

    made = tables(preset, write_runs(tmp_path, preset, change=torn))
    row = only(made["directional_connectivity"], task="net_a", pair="grda:sgd", path="curve")
    assert row["n"] == 2
    assert_interval(row, "barrier", barriers("net_a", "grda:sgd", "curve", seeds=(0, 1)))
    assert_interval(row, "above_line", [above_line("net_a", seed, "grda:sgd", "curve") for seed in (0, 1)])
    point = only(made["directional_paths"], task="net_a", pair="grda:sgd", path="curve", statistics="recomputed", t=0.5)
    assert point["n"] == 2
    assert only(made["directional_connectivity"], task="net_a", pair="grda:sgd", path="line")["n"] == 3


def test_a_path_without_a_bump_is_nowhere_above_the_line_between_its_ends(tmp_path):
    """It falls from its higher end below the line: the ends themselves, 0 above it, are the most."""
    preset = make_preset(parts=["connectivity"])

    def fallen(folder, made):
        for row in made.get("paths", []):
            row["train_loss"] = 3 - 2 * row["t"] - row["t"] * (1 - row["t"])

    frame = tables(preset, write_runs(tmp_path, preset, change=fallen))["directional_connectivity"]
    for name, wanted in {"barrier": 0, "above_line": 0, "end_loss": 3, "lower_end_loss": 1}.items():
        assert frame[name].tolist() == pytest.approx([wanted] * len(frame)), name


@pytest.mark.parametrize("without", [("net_a",), tuple(SETTINGS)], ids=["one task", "every task"])
def test_networks_without_batch_normalisation_have_no_stale_statistics(tmp_path, without):
    preset = make_preset(parts=["connectivity"])

    def plain(folder, made):
        if folder.split("/")[1] in without and "paths" in made:
            made["paths"] = [row for row in made["paths"] if row["statistics"] != "stale"]

    made = tables(preset, write_runs(tmp_path, preset, change=plain))
    frame = made["directional_connectivity"]
    assert (frame["n"] == 3).all()
    for _, row in frame.iterrows():
        assert_interval(row, "barrier", barriers(row["task"], row["pair"], row["path"]))
        if row["task"] in without or row["path"] == "line":
            assert_nothing(row, "stale_barrier")
        else:
            assert_interval(row, "stale_barrier", barriers(row["task"], row["pair"], "curve", statistics="stale"))
    stale = made["directional_paths"].groupby("task")["statistics"].agg(lambda names: "stale" in set(names))
    assert stale.to_dict() == {task: task not in without for task in SETTINGS}


def test_without_the_control_a_barrier_stands_alone(tmp_path):
    constant = {"profile": {"kind": "constant"}, "max_lr": 0.1}
    preset = make_preset(parts=[], connectivity={"epochs": 1, "points": POINTS, "pairs": ["grda:sgd"], **constant})
    made = tables(preset, write_runs(tmp_path, preset))
    assert len(made["directional_connectivity"]) == 2 * 2
    for _, row in made["directional_connectivity"].iterrows():
        assert_interval(row, "barrier", barriers(row["task"], "grda:sgd", row["path"]))
        assert_nothing(row, "control_difference")
    assert len(made["directional_planes"]) == 0


def test_paths_are_means_at_every_point(made):
    frame = made["directional_paths"]
    assert len(frame) == 2 * 3 * 3 * POINTS
    for row in frame.to_dict("records"):
        assert row["n"] == 3
        at = (row["pair"], row["path"], row["statistics"], row["t"])
        for name in MEASURED:
            assert_interval(row, name, [on_path(row["task"], seed, *at, name) for seed in range(3)])


def test_planes_are_of_the_pairs_and_seeds_that_the_preset_asks_for(made):
    frame = made["directional_planes"]
    assert len(frame) == 2 * 2 * (3 + 4)
    assert set(frame["seed"]) == {0, 1}
    assert set(frame["pair"]) == {"grda:sgd"}
    for row in frame.to_dict("records"):
        place = (row["point"],) if row["kind"] == "point" else (row["x"], row["y"])
        assert (row["kind"] == "grid") == (row["point"] == "")
        for name in MEASURED:
            assert row[name] == pytest.approx(value(row["task"], row["seed"], "grda:sgd", *place, name))
    bend = only(frame, task="net_a", seed=1, point="bend")
    assert (bend["x"], bend["y"]) == (1.5, 0.5)


# ---------------------------------------------------------------------------------------------------------- curvature


@pytest.mark.parametrize(
    ("task", "epoch", "pair", "k"),
    [*itertools.product(SETTINGS, (1, 2, EPOCHS), ("grda:sgd", "sgd_order:sgd"), (1, 4))],
)
def test_shares_stand_beside_chance_the_control_and_the_first_epoch(made, task, epoch, pair, k):
    assert len(made["directional_curvature"]) == 2 * 3 * 2 * 2
    row = only(made["directional_curvature"], task=task, epoch=epoch, pair=pair, k=k)

    def over_seeds(what, epoch=epoch, pair=pair):
        return np.array([hessian(task, seed, epoch, pair, k, what) for seed in range(3)])

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
    assert row["top_eigenvalue"] == pytest.approx(np.mean([value(task, seed, epoch, 1) for seed in range(3)]))


def test_the_spectrum_is_by_rank(made):
    frame = made["directional_spectrum"]
    assert len(frame) == 2 * 3 * 4
    for row in frame.to_dict("records"):
        rank = row["rank"]
        values = [value(row["task"], seed, row["epoch"], rank) / rank for seed in range(3)]
        assert row["n"] == 3
        assert_interval(row, "eigenvalue", values, "low", "high")


# ------------------------------------------------------------------------------------------------------ toy, overhead


def test_the_slope_of_the_toy_is_fitted_within_seeds_and_stands_on_every_row(made):
    frame = made["directional_toy"]
    assert len(frame) == 2 * 2 * 3
    problems = ("least_squares", "network")
    for problem, (fixed, less), gamma in itertools.product(problems, (("c", 0.0), ("lam", 1.0)), GAMMA):
        row = only(frame, problem=problem, fixed=fixed, gamma=gamma)
        scale = gamma ** (less / 2)
        assert row[["n", "steps", "d", "flat"]].tolist() == [3, round(50 / gamma), 40, 21]
        assert row[["lam", "c"]].tolist() == pytest.approx([gamma**0.5 / scale, 0.02 / scale])
        assert_interval(row, "error", [(2 + seed) * gamma ** (0.5 + 0.1 * seed - less) for seed in range(3)])
        for name in ("soft_error", "cosine", "sparsity"):
            assert_interval(row, name, [value(seed, fixed, problem, gamma, name) for seed in range(3)])
        # mean 0.6, standard deviation 0.1, t quantile 4.3027 with 2 degrees of freedom
        half = 4.302652729911275 * 0.1 / math.sqrt(3)
        slope = [0.6 - less, 0.6 - less - half, 0.6 - less + half]
        assert row[["slope", "slope_low", "slope_high"]].tolist() == pytest.approx(slope)


def test_sensitivity_of_one_task_has_rows_of_that_task_alone(tmp_path):
    preset = make_preset(parts=["sensitivity"], sensitivity={"tasks": ["net_a"], "c_factors": [0.5], "mu_shifts": []})
    frame = tables(preset, write_runs(tmp_path, preset))["directional_sensitivity"]
    assert frame[["task", "c_factor"]].values.tolist() == [["net_a", 1.0], ["net_a", 0.5]]


def test_a_toy_run_without_an_error_has_no_slope(tmp_path):
    preset = make_preset(parts=["toy"])

    def failed(folder, made):
        if folder == "directional/toy/least_squares":
            made["toy"][2]["error"] = math.nan  # of seed 0, c fixed, the second learning rate

    frame = tables(preset, write_runs(tmp_path, preset, change=failed))["directional_toy"]
    frame = frame[frame["fixed"] == "c"]
    rows = frame[frame["problem"] == "least_squares"]
    assert rows["n"].tolist() == [3, 2, 3]
    assert rows["slope"].tolist() == pytest.approx([0.65] * 3)
    assert frame.loc[frame["problem"] == "network", "slope"].tolist() == pytest.approx([0.6] * 3)


def test_overhead_is_a_ratio_within_blocks(made):
    frame = made["directional_overhead"]
    assert len(frame) == 4 + 3 + 4
    others = {"ratio_sgd": "sgd", "ratio_momentum": "sgd_momentum", "ratio_reference": "grda_reference"}
    for _, row in frame.iterrows():
        network, measure, optimizer = row["network"], row["measure"], row["optimizer"]
        times = [seconds(network, measure, optimizer, block) for block in (1, 2, 3)]
        assert (row["n"], row["parameters"]) == (3, D)
        assert row["milliseconds"] == pytest.approx(1000 * sorted(times)[1])
        for name, other in others.items():
            if (measure, other) == ("training step", "grda_reference"):
                assert_nothing(row, name)
            elif other == optimizer:
                assert row[[name, f"{name}_low", f"{name}_high"]].tolist() == [1, 1, 1]
            else:
                theirs = [seconds(network, measure, other, block) for block in (1, 2, 3)]
                assert_geometric(row, name, np.array(times) / theirs)
        if measure == "optimizer step":
            expected = [0 if optimizer == "sgd" else 1, OPTIMIZERS.index(optimizer) / 4]
            assert row[["state_ratio", "peak_ratio"]].tolist() == expected
        else:
            assert row[["state_ratio", "peak_ratio"]].isna().all()


# ---------------------------------------------------------------------------------------------------------- published


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
def test_published_numbers_are_those_of_the_paper_s_data(made, method, schedule, c, mu, percent, accuracy):
    frame = made["directional_published"]
    near = frame[(frame["method"] == method) & np.isclose(frame["sparsity"], percent / 100, rtol=0, atol=1e-9)]
    row = only(near, schedule=schedule)
    assert row[["c", "mu"]].tolist() == pytest.approx([c, mu], nan_ok=True)
    assert row["accuracy"] == pytest.approx(accuracy / 100, abs=1e-9)
    assert row["source"] == ("authors' data" if method in ("sgd", "grda") else "Gale et al. 2019")


def test_published_numbers_hold_no_interpolated_ones(made):
    frame = made["directional_published"]
    assert frame.groupby("method").size().to_dict() == {
        "sgd": 1,
        "grda": 3 + 7 + 5 + 6,
        "magnitude": 6,
        "magnitude v2": 4,
        "random": 6,
        "variational dropout": 8,
    }
    others = frame[frame["method"].isin(["magnitude", "magnitude v2"])]
    assert not np.isclose(others["sparsity"], 0.92).any()
    assert frame[["sparsity", "accuracy"]].notna().all(axis=None)


# --------------------------------------------------------------------------------------------------------- divergence


def test_a_diverged_run_counts_as_chance_and_leaves_everything_else(tmp_path):
    preset = make_preset(parts=["baselines", "sensitivity"])
    made = tables(preset, write_runs(tmp_path, preset, lost={("net_a", GRDA, 1)}))
    label = SETTINGS["net_a"][0]
    row = only(made["directional_accuracy"], task="net_a", method="grda", matched_to=label)
    held = [score("net_a", GRDA, 0), 0.1, score("net_a", GRDA, 2)]
    assert (row["n"], row["diverged"]) == (3, 1)
    assert_interval(row, "test_accuracy", held, "ci_low", "ci_high")
    assert_interval(row, "difference", minus(held, scores("net_a", "sgd")))
    assert_interval(row, "sparsity", [sparsity("net_a", GRDA, seed) for seed in (0, 2)])
    assert_interval(row, "sparsity_all", [sparsity("net_a", GRDA, seed, "all") for seed in (0, 2)])
    other = only(made["directional_accuracy"], task="net_a", method="grda", matched_to=SETTINGS["net_a"][1])
    assert other["diverged"] == 0

    around = only(made["directional_sensitivity"], task="net_a", c_factor=0.5)
    own = [sparsity("net_a", "grda.c0.01.mu0.6", seed) for seed in (0, 2)]
    assert_interval(around, "sparsity_change", minus(own, [sparsity("net_a", GRDA, seed) for seed in (0, 2)]))
    assert only(made["directional_sensitivity"], task="net_a", c_factor=1, mu_shift=0)["diverged"] == 1

    for name in ("directional_trajectory", "directional_norm_curves", "directional_norms", "directional_layers"):
        frame = made[name]
        mine = (frame["task"] == "net_a") & (frame["matched_to"] == label)  # what is matched to it, too
        assert set(frame.loc[mine, "n"]) == {2}, name
        assert set(frame.loc[~mine, "n"]) == {3}, name
    norms = only(made["directional_norms"], task="net_a", matched_to=label)
    assert_interval(norms, "end", [norm_ratio("net_a", GRDA, seed, EPOCHS) for seed in (0, 2)])


@pytest.mark.parametrize("why", ["lost", "empty"])
def test_baselines_that_had_nothing_to_be_matched_to_are_left_out(tmp_path, why):
    """Their gRDA run diverged or has no weight left; the other seeds count, also where a strength of l1 is chosen."""
    preset = make_preset(parts=["baselines"])
    made = tables(preset, write_runs(tmp_path, preset, **{why: {("net_a", GRDA, 1)}}))
    frame, label, left = made["directional_accuracy"], SETTINGS["net_a"][0], (0, 2)
    grda = only(frame, task="net_a", method="grda", matched_to=label)
    assert (grda["n"], grda["diverged"]) == (3, 1 if why == "lost" else 0)
    strength, arm = l1_arm("net_a", GRDA, left)
    arms = {"l1": arm} | {method: f"{method}.{GRDA}" for method in ("gmp_gradual", "gmp_one_shot", "random")}
    for method, name in arms.items():
        where = {"task": "net_a", "method": method, "matched_to": label}
        row, own = only(frame, **where), scores("net_a", name, left)
        assert (row["n"], row["diverged"]) == (2, 0)
        assert_interval(row, "test_accuracy", own, "ci_low", "ci_high")
        assert_interval(row, "difference", minus(own, scores("net_a", "sgd", left)))
        assert_interval(row, "grda_difference", minus(scores("net_a", GRDA, left), own))
        assert_interval(row, "sparsity", [sparsity("net_a", name, seed) for seed in left])
        assert_interval(row, "sparsity_all", [sparsity("net_a", name, seed, "all") for seed in left])
        if method != "l1":
            row = only(made["directional_trajectory"], **where, epoch=EPOCHS + (1 if method == "gmp_one_shot" else 0))
            epoch = 1 if method == "gmp_one_shot" else EPOCHS
            assert row["n"] == 2
            assert_interval(row, "density", [1 - course("net_a", name, seed, epoch, "zero") for seed in left])
        row = only(made["directional_layers"], **where, layer="fc.weight")
        assert row["n"] == 2
        shares = [1 - alive("net_a", name, seed, "fc.weight") / 20 for seed in left]
        assert_interval(row, "sparsity", shares, "low", "high")
    assert only(frame, task="net_a", method="l1", matched_to=label)["strength"] == strength
    others = frame[(frame["task"] != "net_a") | (frame["matched_to"] != label)]
    assert (others["n"] == 3).all()
    assert (others["diverged"] == 0).all()


def test_where_no_seed_has_anything_to_match_only_grda_itself_stands_at_its_setting(tmp_path):
    preset = make_preset(parts=["baselines"])
    lost = {("net_a", GRDA, 0), ("net_a", GRDA, 2)}
    made = tables(preset, write_runs(tmp_path, preset, lost=lost, empty={("net_a", GRDA, 1)}))
    label = SETTINGS["net_a"][0]
    row = only(made["directional_accuracy"], task="net_a", matched_to=label)
    assert (row["method"], row["n"], row["diverged"], row["best"]) == ("grda", 3, 2, True)
    assert len(made["directional_accuracy"]) == len(ALL_ARMS) - 4
    for name in ("trajectory", "layers"):
        frame = made[f"directional_{name}"]
        assert set(frame.loc[(frame["task"] == "net_a") & (frame["matched_to"] == label), "method"]) == {"grda"}
        assert set(frame.loc[frame["matched_to"] != label, "n"]) == {3}


def test_a_diverged_end_leaves_its_seed_out_of_paths_and_of_curvature(tmp_path):
    """Also where a job wrote rows for it: the network was finite still, or had not diverged by an early epoch."""
    preset = make_preset(parts=["connectivity", "curvature"])
    made = tables(preset, write_runs(tmp_path, preset, lost={("net_a", GRDA, 1)}))
    frame = made["directional_connectivity"]
    for row in frame.to_dict("records"):
        hit = row["task"] == "net_a" and row["pair"].startswith("grda")
        assert row["n"] == (2 if hit else 3)
    row = only(frame, task="net_a", pair="grda:sgd_init", path="curve")
    own = barriers("net_a", "grda:sgd_init", "curve", seeds=(0, 2))
    assert_interval(row, "barrier", own)
    control = barriers("net_a", "sgd:sgd_init", "curve", seeds=(0, 2))
    assert_interval(row, "control_difference", minus(own, control))
    planes = made["directional_planes"]
    assert set(planes.loc[planes["task"] == "net_a", "seed"]) == {0}
    paths = made["directional_paths"]
    assert set(paths.loc[(paths["task"] == "net_a") & (paths["pair"] == "grda:sgd"), "n"]) == {2}

    frame = made["directional_curvature"]
    for row in frame.to_dict("records"):
        assert row["n"] == (2 if (row["task"], row["pair"]) == ("net_a", "grda:sgd") else 3)
    row = only(frame, task="net_a", epoch=EPOCHS, pair="grda:sgd", k=4)
    shares, controls = (
        np.array([hessian("net_a", seed, EPOCHS, pair, 4, "share") for seed in (0, 2)])
        for pair in ("grda:sgd", "sgd_order:sgd")
    )
    assert_geometric(row, "control_ratio", shares / controls)
    assert row["top_eigenvalue"] == pytest.approx(np.mean([value("net_a", seed, EPOCHS, 1) for seed in (0, 2)]))
    assert (made["directional_spectrum"]["n"] == 3).all()


def test_a_diverged_control_leaves_its_pairs_out(tmp_path):
    preset = make_preset(parts=["connectivity", "curvature"], seeds=[1, 2])
    lost = {("net_a", "sgd", 1), ("b_0.5_x", "sgd_init", 1), ("b_0.5_x", "sgd_order", 2)}
    made = tables(preset, write_runs(tmp_path, preset, lost=lost))

    def of_one(name, task):
        frame = _task(made[name], task)
        assert set(frame["n"]) <= {1, 2}
        return set(frame.loc[frame["n"] == 1, "pair"])

    assert of_one("directional_connectivity", "net_a") == {"grda:sgd", "sgd:sgd_init"}
    assert of_one("directional_connectivity", "b_0.5_x") == {"sgd:sgd_init", "grda:sgd_init"}
    row = only(made["directional_connectivity"], task="net_a", pair="grda:sgd_init", path="line")
    shared = (
        barriers("net_a", "grda:sgd_init", "line", seeds=[2])[0] - barriers("net_a", PAIRS[1], "line", seeds=[2])[0]
    )
    assert row["control_difference"] == pytest.approx(shared)  # of the one seed that both have
    assert of_one("directional_curvature", "net_a") == {"grda:sgd", "sgd_order:sgd"}
    assert of_one("directional_curvature", "b_0.5_x") == {"sgd_order:sgd"}
    assert set(_task(made["directional_spectrum"], "net_a")["n"]) == {1}
    assert set(_task(made["directional_spectrum"], "b_0.5_x")["n"]) == {2}


def _task(frame, task):
    return frame[frame["task"] == task]


@pytest.mark.parametrize("written", [True, False], ids=["jobs wrote rows", "jobs wrote none"])
def test_where_every_run_diverged_accuracies_are_chance_and_the_rest_is_not_a_number(tmp_path, written):
    preset = make_preset(parts=["baselines", "sensitivity", "connectivity", "curvature"], seeds=[0, 1])
    lost = {(spec.task, arm.name, spec.seed) for spec in preset.directional_jobs() for arm in spec.arms}

    def emptied(folder, made):
        for table in ({*PAIRED, *HESSIAN} & {*made}) if not written else ():
            made[table].clear()

    made = tables(preset, write_runs(tmp_path, preset, lost=lost, change=emptied))
    assert set(made["directional_accuracy"]["method"]) == {"sgd", "sgd_strong", "grda"}  # the others match nothing
    for name in ("directional_accuracy", "directional_sensitivity"):
        assert made[name]["test_accuracy"].tolist() == pytest.approx([0.1] * len(made[name]))
        assert (made[name]["diverged"] == 2).all()
        assert made[name][["sparsity", "sparsity_low"]].isna().all(axis=None)
    for name, columns in {
        "directional_norms": ["start", "end", "ratio"],
        "directional_connectivity": [
            *("barrier", "above_line", "end_loss", "lower_end_loss"),
            *("length_ratio", "control_difference", "stale_barrier"),
        ],
        "directional_curvature": ["share", "chance", "control_ratio", "early_ratio", "top_eigenvalue"],
    }.items():
        assert len(made[name])
        assert (made[name]["n"] == 0).all()
        assert made[name][columns].isna().all(axis=None)
    for name in ("trajectory", "norm_curves", "layers", "paths", "planes", "spectrum"):
        assert len(made[f"directional_{name}"]) == 0
    write_tables(made, tmp_path / "tables")
    assert latex_lines(tmp_path / "tables", "directional_accuracy")[0][r"test accuracy, \%"].endswith("(2 diverged)")


# ------------------------------------------------------------------------------------------------------------ runs.csv


def test_runs_csv_has_a_job_of_trajectories_with_its_last_arm_and_the_cost_of_all(tmp_path):
    preset = make_preset(parts=["baselines", "sensitivity"])
    write_runs(tmp_path, preset, lost={("net_a", "sgd", 1)})
    for spec in preset.jobs():
        write_json(tmp_path / spec.folder / "provenance.json", {"commit": "abc"})
    write_runs_csv(preset, tmp_path, tmp_path / "runs.csv")
    table = pd.read_csv(tmp_path / "runs.csv").set_index("folder")
    assert table.index.tolist() == [spec.folder for spec in preset.directional_jobs()]
    row = table.loc["directional/net_a/minima/seed-2"]
    assert (row["study"], row["task"], row["part"], row["status"]) == ("directional", "net_a", "minima", "trained")
    last = f"l1.{STRENGTHS[-1]:g}"
    assert row["test_accuracy"] == pytest.approx(score("net_a", last, 2))
    assert row["sparsity"] == pytest.approx(sparsity("net_a", last, 2))
    assert row[["steps", "images", "flops", "flops_sparse", "seconds"]].tolist() == [70, 700, 49, 35, 14]
    assert row["peak_memory_mb"] == 2
    lost = table.loc["directional/net_a/minima/seed-1"]
    assert lost["status"] == "diverged"
    assert lost["validation_accuracy"] == pytest.approx(validation("net_a", last, 1))  # of the last arm, which trained
    assert set(table["part"]) == {"minima", "baselines", "sensitivity"}
    (tmp_path / "directional/net_a/baselines/seed-0/ends.csv").unlink()
    with pytest.raises(InputError, match=r"net_a/baselines/seed-0/ends\.csv"):
        write_runs_csv(preset, tmp_path, tmp_path / "runs.csv")


# --------------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables")
    write_tables(made, out)
    return out


def test_every_table_of_this_study_is_written_and_no_other(written, made):
    assert {path.name for path in written.iterdir()} == {
        *(f"{name}.csv" for name in (*TABLES, *DATA)),
        *(f"{name}.tex" for name in TABLES),
    }
    for name, frame in made.items():
        back = pd.read_csv(written / f"{name}.csv")
        empty = back.columns.intersection(["matched_to", "point", "schedule"])
        back[empty] = back[empty].fillna("")
        pd.testing.assert_frame_equal(back, frame, check_dtype=False)


@pytest.mark.parametrize("name", TABLES)
def test_latex_is_a_booktabs_table_with_a_line_per_row(written, made, name):
    header, lines = parse_latex((written / f"{name}.tex").read_text())
    assert len(set(header)) == len(header)
    assert len(lines) == len(made[name])


def digits(row, name, null=None):
    text = f"{row[name]:.3g} [{row[f'{name}_low']:.3g}, {row[f'{name}_high']:.3g}]".replace("-", "$-$")
    assert "e" not in text
    sure = null is not None and not row[f"{name}_low"] <= null <= row[f"{name}_high"]
    return text + sure * "$^{*}$"


def test_latex_shows_accuracy_in_percent_differences_in_points_and_the_best_in_bold(written, made):
    frame = made["directional_accuracy"]
    for (_, row), line in zip(frame.iterrows(), latex_lines(written, "directional_accuracy"), strict=True):
        text = rf"{100 * row['test_accuracy']:.1f} $\pm$ {100 * row['std']:.1f}"
        assert line[r"test accuracy, \%"] == (rf"\textbf{{{text}}}" if row["best"] else text)
        assert (line["task"], line["method"]) == (row["task"].replace("_", r"\_"), row["method"].replace("_", r"\_"))
        assert (line["gRDA"], line["epochs"]) == (row["matched_to"] or "none", str(row["epochs"]))
        assert line[r"sparsity, \%"] == points(row, "sparsity")
        assert line["l1 penalty"] == ("none" if math.isnan(row["strength"]) else f"{row['strength']:g}")
        assert line["minus SGD, points"] == points(row, "difference", null=0)
        none = math.isnan(row["grda_difference"])
        assert line["gRDA minus it, points"] == ("n/a" if none else points(row, "grda_difference", null=0))


def test_latex_shows_the_other_tables_numbers(written, made):
    def first(name, **where):
        frame = made[f"directional_{name}"].reset_index(drop=True)
        row = only(frame, **where)
        return row, latex_lines(written, f"directional_{name}")[row.name]

    row, line = first("sensitivity", task="net_a", mu_shift=0.05)
    assert (line["c"], line["mu"], line["c / reference"], line["mu minus reference"]) == ("0.02", "0.65", "1", "0.05")
    assert line["sparsity minus reference, points"] == points(row, "sparsity_change", null=0)
    row, line = first("overhead", network="net_a", measure="optimizer step", optimizer="grda")
    assert (line["parameters"], line["blocks"], line["state / parameters"]) == ("400", "3", "1.00")
    assert (line["ms"], line["peak / parameters"]) == (f"{row['milliseconds']:.3g}", "0.25")
    assert line["time / SGD"] == points(row, "ratio_sgd", 1, 2, null=1)
    assert line["time / SGD with momentum"] == points(row, "ratio_momentum", 1, 2, null=1)
    assert line["time / authors' gRDA"] == points(row, "ratio_reference", 1, 2, null=1)
    row, line = first("connectivity", task="b_0.5_x", pair="grda:sgd", path="curve")
    assert (line["barrier, nats"], line["n"]) == (digits(row, "barrier"), "3")
    assert line["minus SGD to SGD, nats"] == digits(row, "control_difference", null=0)
    assert line["train error rise, points"] == points(row, "error_rise", 100, 2)
    assert line["above the line between its ends, nats"] == digits(row, "above_line")
    assert line["higher end, nats"] == f"{row['end_loss']:.3g}"
    assert line["lower end, nats"] == f"{row['lower_end_loss']:.3g}"
    assert line[r"test error, most, \%"] == points(row, "test_error_most")
    assert line[r"test error, end, \%"] == points(row, "test_error_end")
    assert line["length / distance"] == points(row, "length_ratio", 1, 2)
    assert line["barrier with stale statistics, nats"] == digits(row, "stale_barrier")
    _, line = first("connectivity", task="b_0.5_x", pair="sgd:sgd_init", path="line")
    assert {line[name] for name in ("minus SGD to SGD, nats", "length / distance")} == {"n/a"}
    row, line = first("curvature", task="net_a", epoch=EPOCHS, pair="grda:sgd", k=4)
    assert (line["epoch"], line["k"], line["share"]) == ("4", "4", digits(row, "share"))
    assert (line["chance"], line["share / chance"]) == ("0.1", digits(row, "over_chance", null=1))
    assert line["share / control's"] == digits(row, "control_ratio", null=1)
    assert line["share / first epoch's"] == digits(row, "early_ratio", null=1)
    assert line["quadratic term, nats"] == digits(row, "quadratic")
    for column, name in {
        "displacement / weights": "norm_ratio",
        "weights' own share": "own_share",
        "top eigenvalue": "top_eigenvalue",
    }.items():
        assert line[column] == f"{row[name]:.3g}"
    row, line = first("norms", task="net_a", method="sgd")
    assert (line["gRDA"], line["floor"], line["end / start"]) == ("none", "0.05", points(row, "ratio", 1, 2, null=1))
    assert (line["start"], line["end"]) == (digits(row, "start"), digits(row, "end"))
    row, line = first("toy", problem="least_squares", fixed="c", gamma=0.03)
    assert (line["d"], line["flat"], line["gamma"], line["updates"]) == ("40", "21", "0.03", "1667")
    assert line["fixed"] == "c"
    assert (line["lambda"], line["error"]) == (f"{row['lam']:.3g}", digits(row, "error"))
    assert line["error of soft-thresholding"] == digits(row, "soft_error")
    assert line["cosine"] == points(row, "cosine", 1, 3)
    assert line["slope of log error"] == points(row, "slope", 1, 2, null=0)
    assert line[r"sparsity, \%"] == points(row, "sparsity")


MARKED = {
    "directional_accuracy": {"minus SGD, points", "gRDA minus it, points"},
    "directional_sensitivity": {"minus SGD, points", "sparsity minus reference, points"},
    "directional_overhead": {"time / SGD", "time / SGD with momentum", "time / authors' gRDA"},
    "directional_connectivity": {"minus SGD to SGD, nats"},
    "directional_curvature": {"share / chance", "share / control's", "share / first epoch's"},
    "directional_norms": {"end / start"},
    "directional_toy": {"slope of log error"},
}
"""Columns that may hold a mark: differences and ratios, but no barriers, which cannot be below 0."""


@pytest.mark.parametrize("name", TABLES)
def test_only_differences_and_ratios_are_marked(made, tmp_path, name):
    write_tables(made | {name: all_sure(made[name])}, tmp_path)
    assert marked_columns((tmp_path / f"{name}.tex").read_text()) == MARKED[name]


def test_what_is_compared_with_itself_is_not_marked(written, made):
    for name, column, (where, itself) in (
        ("accuracy", "minus SGD, points", ("method", "sgd")),
        ("sensitivity", "sparsity minus reference, points", ("c / reference", "1")),
        ("overhead", "time / SGD", ("optimizer", "sgd")),
        ("curvature", "share / first epoch's", ("epoch", "2")),
    ):
        lines = [line for line in latex_lines(written, f"directional_{name}") if line[where] == itself]
        if name == "sensitivity":
            lines = [line for line in lines if line["mu minus reference"] == "0"]
        assert lines
        assert not any("$^{*}$" in line[column] for line in lines), name


def test_names_and_scale_with_special_characters_stay_text_also_of_one_seed(tmp_path):
    preset = make_preset(seeds=[0], scale="10 % of & {data}")
    write_tables(tables(preset, write_runs(tmp_path, preset)), tmp_path / "tables")
    for name in TABLES:
        text = (tmp_path / "tables" / f"{name}.tex").read_text()
        assert SCALES.get(name, preset.scale) in text.splitlines()[0]
        parse_latex(text)
    for name in ("accuracy", "sensitivity", "connectivity", "curvature", "norms"):
        assert r"b\_0.5\_x" in (tmp_path / "tables" / f"directional_{name}.tex").read_text(), name


def test_a_part_that_is_left_out_is_written_as_a_table_without_rows(tmp_path):
    preset = make_preset(parts=[], seeds=[0])
    write_tables(tables(preset, write_runs(tmp_path, preset)), tmp_path / "tables")
    for name in ("directional_sensitivity", "directional_toy", "directional_connectivity"):
        assert "no rows" in (tmp_path / "tables" / f"{name}.tex").read_text()
        back = pd.read_csv(tmp_path / "tables" / f"{name}.csv")
        assert len(back) == 0
        assert list(back.columns) == [*MADE[name].split(), "scale"]
