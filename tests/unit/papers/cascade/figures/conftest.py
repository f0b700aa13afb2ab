"""Tables of the cascade study with made-up numbers of realistic size, and the figures drawn from them."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prunebench.papers.cascade import PAPER

SETTINGS = ((0.01, 5e-4), (0.1, 5e-3))
DOSES = (0.2, 0.3)
SPARSITIES = (0.5, 0.9)
CRITERIA = ("global_magnitude", "random", "random_gmp_ratios")
PRELUDES = ("none", "shedding", "no_decay")
TASKS = ("toy-resnet8", "toy-mobilenet")
THRESHOLDS = {
    "absolute": 1.2,
    "relative": 1.0,
    "removable": 0.8,
    "in_dead": 0.3,
    "dead_filters": 0.2,
    "dead_channels": 0.1,
}
EPOCHS = (*(0.0, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8), *range(1, 11))


def _tables(
    folder: Path,
    scale: str,
    *,
    seeds: int = 3,
    tasks: tuple[str, ...] = TASKS,
    settings: tuple[tuple[float, float], ...] = SETTINGS,
    criteria: tuple[str, ...] = CRITERIA,
    preludes: tuple[str, ...] = PRELUDES,
    sparsities: tuple[float, ...] = SPARSITIES,
    doses: tuple[float, ...] = DOSES,
    only: tuple[str, ...] | None = None,
    diverged: int = 0,
    missing: bool = False,
) -> Path:
    """Writes every table of the study into `folder`.

    diverged: how many seeds diverge, at chance accuracy, in one cell of each table; missing: those cells have no
    numbers at all; only: the tables that have rows, None for all.
    """
    rng = np.random.default_rng(0)
    rows_of: dict[str, list[dict[str, object]]] = {table.name: [] for table in PAPER.tables}

    def interval(name: str, value: float, spread: float) -> dict[str, float]:
        half = math.nan if seeds == 1 else spread * (0.5 + rng.random())
        low, high = ("ci_low", "ci_high") if name == "test_accuracy" else (f"{name}_low", f"{name}_high")
        return {name: value, low: value - half, high: value + half}

    def cell(score: float, gap: float | None, lost: bool) -> dict[str, object]:
        """Accuracy and its difference to a reference; a gap of None: this cell is the reference."""
        score = math.nan if lost and missing else 0.1 if lost else score + 0.004 * rng.normal()
        n = {"n": seeds, "diverged": min(diverged, seeds) if lost else 0}
        shift = 0.0 if gap is None else math.nan if lost and missing else gap + 0.004 * rng.normal()
        spread = 0.0 if gap is None else 0.012
        return n | {"std": 0.01} | interval("test_accuracy", score, 0.015) | interval("difference", shift, spread)

    def beyond(prelude: str, lost: bool) -> dict[str, object]:
        """What the prelude of shedding does beyond its control."""
        if prelude != "shedding":
            none = dict.fromkeys((f"control_difference{end}" for end in ("", "_low", "_high")), math.nan)
            return {"prelude_control": "", **none}
        return {"prelude_control": "no_decay"} | interval("control_difference", math.nan if lost else 0.01, 0.012)

    lost_here = diverged > 0 or missing
    for nth, (task, (lr, decay)) in enumerate(itertools.product(tasks, settings)):
        clock = decay * lr * 10 * 400
        lost = lost_here and nth == len(settings) - 1
        for share in doses:
            where = {"task": task, "criterion": criteria[0], "max_lr": lr, "weight_decay": decay, "pruned_share": share}
            final = math.tanh(clock) * share * (1.1 if task == tasks[0] else 0.4)
            for threshold, factor in THRESHOLDS.items():
                for epoch in EPOCHS:
                    if threshold == "removable" and epoch % 1:
                        continue
                    grown = 1 - math.exp(-epoch / 2)
                    control = interval("control", factor * 0.3 * math.tanh(clock) * grown, 0.01)
                    excess = interval("excess", factor * final * grown + 0.003 * rng.normal(), 0.04 * grown + 0.002)
                    pruned = interval("pruned", control["control"] + excess["excess"], 0.015)
                    row = where | {"epoch": epoch, "clock": clock * epoch / 10, "threshold": threshold, "n": seeds}
                    row |= pruned | control | excess
                    if lost and missing:
                        row |= dict.fromkeys((*pruned, *control, *excess), math.nan)
                    rows_of["cascade_shedding_curves"].append(row | {"scale": scale})
                last = {name: value for name, value in row.items() if name[-4:] not in ("_low", "high")}
                last |= {name: row[name] for name in ("excess_low", "excess_high")}
                verdict = "undecided" if threshold in ("relative", "removable") else ""
                rows_of["cascade_shedding"].append(last | {"cascade": verdict, "scale": scale})
            edges = np.concatenate([[0.0], 10.0 ** np.linspace(-8, 1, 37), [np.inf]])
            for run, moment in itertools.product(("pruned", "control"), ("start", "end")):
                moved = moment == "end"
                values = np.abs(rng.normal(0, 0.05 * (1 - 0.5 * moved * math.tanh(clock)), 4000))
                small = rng.random(4000) < moved * (final if run == "pruned" else 0.0)
                values[small] *= 1e-4
                shares = np.histogram(values, edges)[0] / 4000
                for left, right, height in zip(edges[:-1], edges[1:], shares, strict=True):
                    bar = {"clock": clock, "run": run, "moment": moment, "n": seeds, "left": left, "right": right}
                    rows_of["cascade_magnitudes"].append(where | bar | {"weights_share": height, "scale": scale})

    worth = dict(zip(criteria, np.linspace(0.0, 0.12, len(criteria)), strict=True))
    for nth, task in enumerate(tasks):
        base = 0.9 - 0.08 * nth
        for sparsity in sparsities:
            lost = lost_here and sparsity == sparsities[-1]
            at = {"task": task, "sparsity": sparsity}
            for criterion, prelude in itertools.product(criteria, preludes):
                gap = -worth[criterion] * sparsity + (0.02 if prelude == "shedding" else 0.0)
                reference = criterion == criteria[0] and prelude == "none"
                numbers = cell(base - 0.1 * sparsity + gap, None if reference else gap, lost and criterion == "random")
                names = at | {"criterion": criterion, "prelude": prelude}
                numbers |= {"best": reference} | beyond(prelude, missing)
                rows_of["cascade_criteria"].append(names | numbers | {"scale": scale})
            for criterion, way in itertools.product(criteria[:3], ("fine_tune", "rewind_lr", "rewind_weights")):
                plain = way == "fine_tune"
                gap = 0.02 * sparsity + 0.01 * rng.normal()
                numbers = cell(base - 0.1 * sparsity, None if plain else gap, lost and way == "rewind_weights")
                shift = interval("excess_difference", 0.0 if plain else 2 * gap, 0.0 if plain else 0.03)
                shed = {"clock": 0.2, "shed": 0.3, "control": 0.2} | interval("excess", 0.1, 0.03) | shift
                names = at | {"criterion": criterion, "retraining": way}
                rows_of["cascade_retraining"].append(names | numbers | shed | {"scale": scale})
            for pruning, schedule in itertools.product(
                ("one_shot", "iterative", "gradual"), ("constant", "cyclical", "lr_warmup", "step_decay")
            ):
                bonus = {"one_shot": 0.0, "iterative": 0.01, "gradual": 0.015}[pruning]
                numbers = cell(
                    base - 0.1 * sparsity + bonus, 0.0, lost and (pruning, schedule) == ("gradual", "constant")
                )
                shed = {"clock": 0.2, "shed": 0.3, "control": 0.2} | interval("excess", bonus * 5, 0.03)
                names = at | {"criterion": criteria[0], "pruning": pruning, "lr_schedule": schedule}
                best = {"best": (pruning, schedule) == ("gradual", "cyclical")}
                rows_of["cascade_schedules"].append(names | numbers | best | shed | {"scale": scale})
            for prelude in preludes:
                none = prelude == "none"
                gap = 0.006 if prelude == "shedding" else -0.004
                ratio = {
                    name: value
                    for kind in ("steps", "flops")
                    for name, value in interval(
                        f"{kind}_ratio", 1.0 if none else 1 - 10 * gap, 0.0 if none else 0.1
                    ).items()
                }
                names = at | {"prelude": prelude}
                more = {"harvested": 0.1, "reached": seeds, "steps": 4000} | ratio
                numbers = cell(base - 0.1 * sparsity, None if none else gap, lost and prelude == preludes[-1])
                rows_of["cascade_gmp"].append(names | numbers | beyond(prelude, missing) | more | {"scale": scale})
                for epoch in range(1, 21):
                    now = sparsity * (1 - (1 - min(1.0, epoch / 14)) ** 3)
                    score = base + gap - 0.12 * now - 0.1 * math.exp(-epoch / 3) + 0.004 * rng.normal()
                    half = math.nan if seeds == 1 else 0.01
                    point = {"epoch": float(epoch), "steps": 200 * epoch, "n": seeds, "sparsity_now": now}
                    point |= {"validation_accuracy": score, "low": score - half, "high": score + half}
                    rows_of["cascade_progress"].append(names | point | {"scale": scale})
            schemes = [c if p == "none" else f"{c} + {p}" for c in criteria for p in preludes[: 1 + (c == "random")]]
            for a, b in itertools.combinations(schemes, 2):
                overlap = interval("excess", 0.3 * rng.random() ** 2 - 0.02, 0.04)
                pair = {"comparison": "schemes", "a": a, "b": b, "n": seeds, "jaccard": 0.4, "chance": 0.2}
                rows_of["cascade_overlap"].append(at | pair | overlap | {"scale": scale})
            for a in schemes if seeds > 1 else []:
                overlap = interval("excess", 0.2 * rng.random(), 0.04)
                pair = {"comparison": "seeds", "a": a, "b": a, "n": seeds, "jaccard": 0.4, "chance": 0.2}
                rows_of["cascade_overlap"].append(at | pair | overlap | {"scale": scale})
        for (pattern, sparsity), prelude in itertools.product(
            {"2:4": 0.5, "1:4": 0.75, "4:8": 0.5, "1x4@0.5": 0.5}.items(), preludes
        ):
            gap = None if prelude == "none" else 0.01 if prelude == "shedding" else -0.003
            lost = lost_here and (pattern, prelude) == ("1:4", preludes[-1])
            names = {"task": task, "pattern": pattern, "prelude": prelude, "sparsity": sparsity}
            fits = interval("fitting", 0.05 if prelude == "none" else 0.2, 0.02)
            numbers = cell(base - 0.05, gap, lost) | beyond(prelude, missing)
            rows_of["cascade_semi_structured"].append(names | numbers | fits | {"scale": scale})
        for m, prelude in itertools.product((4, 8), preludes):
            density = {"none": 1.0, "shedding": 0.6}.get(prelude, 0.8)
            for alive in range(m + 1):
                chance = math.comb(m, alive) * density**alive * (1 - density) ** (m - alive)
                share = interval("share", chance + 0.02 * rng.random(), 0.02)
                names = {"task": task, "prelude": prelude, "m": m, "alive": alive, "n": seeds}
                rows_of["cascade_occupancy"].append(names | share | {"chance": chance, "scale": scale})
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in rows_of.items():
        columns = [*(column.name for column in PAPER.table(name).columns), "scale"]
        rows = rows if only is None or name in only else []
        pd.DataFrame(rows, columns=columns).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def tables(scale):
    """Writes tables into a folder; keywords say how many of what."""

    def write(folder: Path, **how) -> Path:
        return _tables(folder, scale, **how)

    return write


@pytest.fixture(scope="session")
def few():
    """One network, one setting, one sparsity, no prelude."""
    return {
        "tasks": TASKS[:1],
        "settings": SETTINGS[1:],
        "preludes": ("none",),
        "sparsities": SPARSITIES[1:],
        "doses": DOSES[:1],
    }


@pytest.fixture(scope="session")
def drawn(tables, draw_coarse, tmp_path_factory):
    """The tables, with diverged seeds, and the figures drawn from them."""
    folder = tmp_path_factory.mktemp("drawn")
    tables(folder / "tables", diverged=1)
    draw_coarse(PAPER, PAPER.margins(), folder / "tables", folder / "out")
    return folder / "tables", folder / "out"


@pytest.fixture(scope="session")
def single(tables, few, draw_coarse, tmp_path_factory):
    """Figures of one seed and few cells, some without numbers; their tables are in `tables` beside them."""
    folder = tmp_path_factory.mktemp("single")
    draw_coarse(PAPER, PAPER.margins(), tables(folder / "tables", seeds=1, diverged=1, missing=True, **few), folder)
    return folder
