"""Tables of the directional study with made-up numbers of realistic size, and the figures drawn from them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prunebench.papers.directional import PAPER

TASKS = ("toy-vgg", "toy-resnet20")
SETTINGS = ((0.0005, 0.6), (0.0005, 0.51), (0.0005, 0.7))
PAIRS = ("grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init")
BASELINES = {"l1": -0.012, "gmp_gradual": 0.006, "gmp_one_shot": -0.004, "random": -0.05}
PROBLEMS = ("least_squares", "network")
NAN = math.nan

PUBLISHED = (
    ("sgd", "fixed", NAN, NAN, 0.0, 0.6871),
    *(("grda", "fixed", 0.005, mu, s, a) for mu, s, a in ((0.55, 0.9154, 0.6976), (0.501, 0.8603, 0.7060))),
    *(
        ("grda", "0.1->0.01@140", 0.005, mu, s, a)
        for mu, s, a in (
            *((0.501, 0.8609, 0.7313), (0.55, 0.9159, 0.7324), (0.6, 0.9498, 0.7216)),
            *((0.65, 0.9710, 0.7004), (0.7, 0.9817, 0.6551)),
        )
    ),
    *(("grda", "30-epoch decay", 0.005, mu, s, a) for mu, s, a in ((0.65, 0.9705, 0.6646), (0.85, 0.9984, 0.2269))),
    *(
        ("magnitude", "", NAN, NAN, s, a)
        for s, a in ((0.5, 0.7653), (0.7, 0.7638), (0.8, 0.7558), (0.9, 0.7391), (0.95, 0.7059), (0.98, 0.579))
    ),
    *(("magnitude v2", "", NAN, NAN, s, a) for s, a in ((0.8, 0.7652), (0.9, 0.7516), (0.95, 0.7271), (0.965, 0.6926))),
    *(("random", "", NAN, NAN, s, a) for s, a in ((0.5, 0.7459), (0.8, 0.7021), (0.9, 0.65), (0.95, 0.5808))),
    *(("variational dropout", "", NAN, NAN, s, a) for s, a in ((0.5, 0.7655), (0.9, 0.7414), (0.98, 0.6874))),
)


def label(c: float, mu: float) -> str:
    return f"c {c:g}, mu {mu:g}"


def _tables(
    folder: Path,
    scale: str,
    *,
    seeds: int = 3,
    tasks: tuple[str, ...] = TASKS,
    settings: tuple[tuple[float, float], ...] = SETTINGS,
    pairs: tuple[str, ...] = PAIRS,
    ks: tuple[int, ...] = (10, 50),
    layers: int = 16,
    epochs: int = 20,
    problems: tuple[str, ...] = PROBLEMS,
    only: tuple[str, ...] | None = None,
    diverged: int = 0,
    missing: bool = False,
) -> Path:
    """Writes every table of the study into `folder`.

    diverged: how many seeds of the last gRDA setting diverge, at chance accuracy; missing: that setting has no numbers
    at all, nor has the curvature, the first point of any path, or the cosine of the toy problems; only: the tables that
    have rows, None for all.
    """
    rng = np.random.default_rng(0)
    rows_of: dict[str, list[dict[str, object]]] = {table.name: [] for table in PAPER.tables}

    def interval(name: str, value: float, spread: float, ends: tuple[str, str] | None = None) -> dict[str, float]:
        half = NAN if seeds == 1 else spread * (0.5 + rng.random())
        low, high = ends or (f"{name}_low", f"{name}_high")
        return {name: value, low: value - half, high: value + half}

    def add(table: str, row: dict[str, object]) -> None:
        rows_of[f"directional_{table}"].append(row | {"scale": PAPER.table(f"directional_{table}").scale or scale})

    names = [f"features.{nth}.conv{nth % 2 + 1}" for nth in range(layers - 1)] + ["classifier"]
    for nth, task in enumerate(tasks):
        base, d = 0.905 - 0.04 * nth, 270_000 * (nth + 1)
        floor = d**-0.5

        def arm(
            method: str,
            c: float = NAN,
            mu: float = NAN,
            matched: str = "",
            *,
            sparsity: float = 0.0,
            score: float,
            lost: bool = False,
            task: str = task,
            base: float = base,
        ) -> None:
            """An arm's row of accuracy, its trajectory and its layers."""
            void = lost and missing
            key = {"task": task, "method": method, "c": c, "mu": mu, "matched_to": matched, "n": seeds}
            score = NAN if void else 0.1 if lost else score
            row: dict[str, object] = key | {"diverged": min(diverged, seeds) if lost else 0}
            row |= interval("sparsity", NAN if void else sparsity, 0.004 * (1 - sparsity) * (sparsity > 0))
            row |= interval("sparsity_all", sparsity * 0.99, 0.002) | {"std": 0.005}
            row |= interval("test_accuracy", score, 0.006, ("ci_low", "ci_high")) | {"best": method == "gmp_gradual"}
            row |= interval("difference", NAN if method == "sgd" else score - base, 0.006)
            gap = (
                NAN
                if method not in BASELINES or void
                else BASELINES[method] * -1 * (1 + sparsity) + 0.002 * rng.normal()
            )
            add("accuracy", row | interval("grda_difference", gap, 0.006) | {"epochs": epochs})
            before = epochs if method == "gmp_one_shot" else 0
            # The l1 baseline is cut without training: it has no trajectory.
            for epoch in range(epochs // (2 if before else 1) + 1) if method != "l1" else ():
                grown = 1 - math.exp(-4 * epoch / epochs)
                part = min(1.0, 1.5 * epoch / epochs)
                density = {
                    "grda": 1 - sparsity * grown,
                    "gmp_gradual": 1 - sparsity * (1 - (1 - part) ** 3),
                }.get(method, 1 - sparsity * (method in ("gmp_one_shot", "random")))
                rise = 0.4 * math.exp(-9 * (before / 2 + epoch) / epochs)
                now = NAN if epoch == 0 or void else score - rise + 0.004 * rng.normal()
                point = key | {"epoch": before + epoch} | interval("validation_accuracy", now, 0.012, ("low", "high"))
                add("trajectory", point | interval("density", NAN if void else density, 0.02 * density))
            if method.startswith("sgd") or void:
                return
            for position, name in enumerate(names):
                bulge = {"grda": 1.2, "l1": 1.0, "gmp_gradual": 0.8}.get(method, 0.7)
                thick = 0.4 + bulge * math.sin(math.pi * position / (layers - 1))
                share = 1 - (1 - sparsity) ** thick if method != "random" else sparsity
                size = int(432 * 1.5 ** min(position, 16))
                row = key | {"position": position, "layer": f"{name}.weight", "weights": size}
                add("layers", row | interval("sparsity", share, 0.05 * (1 - share), ("low", "high")))

        arm("sgd", score=base)
        arm("sgd_strong", score=base + 0.03)
        ends = {}
        for which, (c, mu) in enumerate(settings):
            lost = (diverged > 0 or missing) and which == len(settings) - 1
            ends[c, mu] = 1 - math.exp(-9 * (mu - 0.35) * (c / 0.0005) ** 0.5)
            arm(
                "grda",
                c,
                mu,
                sparsity=ends[c, mu],
                matched=label(c, mu),
                score=base + 0.004 - 0.03 * (mu - 0.5),
                lost=lost,
            )
        for (c, mu), sparsity in ends.items():
            for method, gap in BASELINES.items():
                arm(method, matched=label(c, mu), sparsity=sparsity, score=base + 0.004 + gap * (1 + sparsity))
        for c, mu in settings[:1]:
            key = {"task": task, "c": c, "mu": mu, "c_factor": 1.0, "mu_shift": 0.0, "n": seeds, "diverged": 0}
            add("sensitivity", key | {"test_accuracy": base})
            add("released", key | {"test_accuracy": base})

        for method, c, mu, factor in (
            ("sgd", NAN, NAN, 1.05),
            *(("grda", c, mu, 1 + 4 * (mu - 0.3)) for c, mu in settings),
        ):
            start = 1.27 * floor
            key = {
                "task": task,
                "method": method,
                "c": c,
                "mu": mu,
                "matched_to": "" if method == "sgd" else label(c, mu),
            }
            key |= {"n": seeds}
            change = interval("start", start, 0) | interval("end", start * factor, 0) | interval("ratio", factor, 0.05)
            add("norms", key | change | {"floor": floor})
            for epoch in range(epochs + 1):
                ratio = start * factor ** (1 - math.exp(-4 * epoch / epochs))
                curve = interval("ratio", ratio, 0.02 * ratio * (epoch > 0), ("low", "high"))
                add("norm_curves", key | {"epoch": epoch} | curve | {"floor": floor})

        for pair in pairs:
            key = {"task": task, "pair": pair}
            for path in ("curve", "line"):
                add(
                    "connectivity",
                    key | {"path": path, "n": seeds, "end_loss": 1e-4} | interval("barrier", 0.002, 0.001),
                )
                for statistics in ("recomputed", "stale"):
                    for step in range(41):
                        t = step / 40
                        hill = math.sin(math.pi * t) ** 2
                        loss = 1e-4 * (1 + t) + hill * (0.002 if path == "curve" else 1.8)
                        error = 1 - base + hill * (0.008 if path == "curve" else 0.7)
                        if statistics == "stale":
                            loss, error = loss + 1.2 * hill**0.5, min(0.9, error + 0.4 * hill)
                        void = missing and step == 0
                        row = key | {"path": path, "statistics": statistics, "t": t, "n": seeds}
                        row |= interval("train_loss", NAN if void else loss, 0.4 * loss)
                        row |= interval("train_error", min(1.0, loss), 0.1 * loss)
                        row |= interval("test_loss", 2 * loss, 0.1 * loss)
                        add("paths", row | interval("test_error", NAN if void else error, 0.01 + 0.05 * error * hill))
            a, b, bend = np.array([0.0, 0.0]), np.array([62.0, 0.0]), np.array([30.0, 47.0])
            for name, place in (("a", a), ("b", b), ("bend", bend)):
                row = key | {"seed": 0, "kind": "point", "point": name, "x": place[0], "y": place[1]}
                add("planes", row | {"train_loss": 1e-3, "train_error": 0.0, "test_loss": 0.4, "test_error": 0.1})
            line = np.linspace(0, 1, 60)[:, None]
            valley = (1 - line) ** 2 * a + 2 * line * (1 - line) * bend + line**2 * b
            for x in np.linspace(-12, 74, 15):
                for y in np.linspace(-10, 57, 13):
                    away = float(np.min(np.hypot(*(valley - (x, y)).T)))
                    loss = NAN if missing and x < -10 else 2e-4 * math.exp(min(0.45 * away, 9 + 0.02 * away))
                    error = min(0.9, 0.095 + 0.0015 * away**2)
                    row = key | {"seed": 0, "kind": "grid", "point": "", "x": x, "y": y}
                    add(
                        "planes", row | {"train_loss": loss, "train_error": loss, "test_loss": 1.0, "test_error": error}
                    )

        for epoch in sorted({max(1, round(epochs * share)) for share in (0.05, 0.1, 0.2, 0.4, 0.7, 1)}):
            past = epoch / epochs
            for pair, factor in (("grda:sgd", 1.6), ("sgd_order:sgd", 1.0)):
                for k in ks:
                    chance = math.sqrt(k / d)
                    share = NAN if missing else chance * (2 + 30 * math.exp(-5 * past)) * factor
                    row = {"task": task, "epoch": epoch, "pair": pair, "k": k, "n": seeds, "chance": chance}
                    row |= interval("share", share, 0.3 * share) | interval("over_chance", share / chance, 1.0)
                    power = 0.003 * factor * k**0.2 * (1 + 4 * math.exp(-5 * past))
                    add("curvature", row | interval("quadratic", power, 0.5 * power))
            for rank in range(1, max(ks) + 1):
                value = (0.1 + 16 * math.exp(-5 * past)) / rank**0.8
                point = {"task": task, "epoch": epoch, "rank": rank, "n": seeds}
                add("spectrum", point | interval("eigenvalue", value, 0.3 * value, ("low", "high")))

    for nth, problem in enumerate(problems):
        slopes = {"c": interval("slope", 0.48 + 0.1 * nth, 0.08), "lam": interval("slope", 0.06 - 0.1 * nth, 0.04)}
        for gamma, fixed in ((gamma, fixed) for gamma in (0.1, 0.03, 0.01, 0.003) for fixed in slopes):
            slope = slopes[fixed]
            error = 0.8 * (gamma / 0.1) ** slope["slope"]
            lam = 0.768 * (gamma if fixed == "c" else 0.1) ** 0.5
            row = {"problem": problem, "gamma": gamma, "fixed": fixed, "n": seeds}
            row |= {"steps": round(100 / gamma), "lam": lam} | interval("sparsity", 0.3 * lam, 0.02)
            row |= interval("error", error, 0.1 * error) | interval("soft_error", 1.1 + 0.05 * rng.random(), 0.05)
            row |= interval("cosine", NAN if missing else 1 - 0.4 * error**2, 0.1 * error**2)
            add("toy", row | slope | {"d": 80, "flat": 40})
    for method, schedule, c, mu, sparsity, accuracy in PUBLISHED:
        row = {"method": method, "schedule": schedule, "c": c, "mu": mu, "sparsity": sparsity, "accuracy": accuracy}
        add("published", row | {"source": "authors' data" if method in ("sgd", "grda") else "Gale et al. 2019"})
    add("overhead", {"network": "toy", "measure": "optimizer step", "optimizer": "sgd", "n": 20, "milliseconds": 1.0})
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
    """One network, one setting, one pair, one toy problem."""
    return {
        "tasks": ("toy-resnet8",),
        "settings": SETTINGS[:1],
        "pairs": PAIRS[:1],
        "ks": (10,),
        "epochs": 3,
        "layers": 5,
        "problems": PROBLEMS[:1],
    }


@pytest.fixture(scope="session")
def drawn(tables, draw_coarse, tmp_path_factory):
    """The tables, with diverged seeds and a task's name full of markup, and the figures drawn from them."""
    folder = tmp_path_factory.mktemp("drawn")
    tasks, pairs = ("toy-$x_1$ <b>", "toy-resnet20"), PAIRS[:2]
    tables(folder / "tables", tasks=tasks, pairs=pairs, diverged=1, epochs=6, layers=6, ks=(5, 10))
    draw_coarse(PAPER, PAPER.margins(), folder / "tables", folder / "out")
    return folder / "tables", folder / "out"


@pytest.fixture(scope="session")
def single(tables, few, draw_coarse, tmp_path_factory):
    """Figures of one seed and few cells, some without numbers; their tables are in `tables` beside them."""
    folder = tmp_path_factory.mktemp("single")
    draw_coarse(PAPER, PAPER.margins(), tables(folder / "tables", seeds=1, diverged=1, missing=True, **few), folder)
    return folder


@pytest.fixture(scope="session")
def frames(tables, tmp_path_factory):
    """Tables of one network, by name."""
    folder = tables(tmp_path_factory.mktemp("frames"), tasks=("toy-vgg",), epochs=4, layers=4, ks=(5,))
    return {table.name: pd.read_csv(folder / f"{table.name}.csv") for table in PAPER.tables}
