"""What the figures of cascade weight shedding share: looks, settings and their order."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from prunebench.suite.report.panels import OTHERS, looks_of
from prunebench.suite.report.style import Look, Tables, plain, pretty, thinned

Setting = tuple[float, float]
"""max_lr and weight_decay."""

CRITERIA = {
    "global_magnitude": ("#009E73", "o"),
    "layer_magnitude": ("#7A7A3A", "s"),
    "random": ("#CC79A7", "v"),
    "layer_random": ("#E69F00", "^"),
    "random_gmp_ratios": ("#56B4E9", "D"),
}
PRELUDES = tuple(zip(("#D55E00", "#0072B2", "#6A3D9A", "#E69F00", "#8C3F00", "#00585C"), "s^Dv<>", strict=True))
NETWORKS = tuple(zip(("#882255", "#44AA99", "#332288", "#999933", "#88CCEE", "#661100"), "os^DvP", strict=True))
SCHEDULES = tuple(zip(("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000"), "os^DvP", strict=True))
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ((0, (4.0, 1.5)), (0, (1.0, 1.0)), (0, (6.0, 1.5, 1.0, 1.5)))
PRUNED = Look("pruned", "#D55E00", "o", width=1.5, size=3.0, order=3.0)
CONTROL = Look("control: trained alike, not pruned", "#0072B2", "s", (0, (3.0, 1.2)), width=1.2, size=3.0)
CLOCK = "Clock: weight decay x sum of the learning rates of all updates"


def _names(tables: Tables, column: str, frames: Sequence[str]) -> list[str]:
    """What `column` holds in any of the frames."""
    present = [tables[f"cascade_{name}"] for name in frames]
    return list(dict.fromkeys(name for frame in present if len(frame) for name in frame[column]))


def criterion_looks(tables: Tables) -> dict[str, Look]:
    """One look per criterion for every figure."""
    present = _names(tables, "criterion", ("criteria", "retraining", "schedules", "shedding"))
    known = {
        name: Look(pretty(name), color, marker, width=1.1, size=4.0)
        for name, (color, marker) in CRITERIA.items()
        if name in present
    }
    return known | looks_of((name for name in present if name not in known), OTHERS)


def prelude_looks(tables: Tables) -> dict[str, Look]:
    """One look per prelude for every figure; only no prelude is black."""
    present = _names(tables, "prelude", ("criteria", "gmp", "semi_structured", "occupancy", "progress"))
    looks = {"none": Look("no prelude", "#000000", width=1.1, size=4.0)} if "none" in present else {}
    for nth, (name, look) in enumerate(looks_of((name for name in present if name != "none"), PRELUDES).items()):
        looks[name] = replace(look, label=f"prelude: {look.label}", dash=DASHES[nth % len(DASHES)])
    return looks


def settings_of(rows: pd.DataFrame) -> list[Setting]:
    """Settings ordered by the least clock of any task, then by max_lr."""
    clocks = rows.groupby(["max_lr", "weight_decay"])["clock"].min().reset_index()
    ordered = clocks.sort_values(["clock", "max_lr", "weight_decay"])
    return list(zip(ordered["max_lr"], ordered["weight_decay"], strict=True))


def rows_of(rows: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    return rows[(rows["max_lr"] == setting[0]) & (rows["weight_decay"] == setting[1])]


def setting_text(rows: pd.DataFrame, setting: Setting) -> str:
    return f"LR {plain(setting[0])}\nwd {plain(setting[1])}\nclock {clock_text(rows, setting)}"


def clock_text(rows: pd.DataFrame, setting: Setting) -> str:
    """A setting's clock, or the least and the greatest where tasks differ: they train for other numbers of updates."""
    clocks = rows_of(rows, setting)["clock"]
    return "\u2013".join(dict.fromkeys(_two_digits(clock) for clock in (clocks.min(), clocks.max())))


def _two_digits(value: float) -> str:
    return plain(float(f"{value:.1e}")) if math.isfinite(value) else "n/a"


def shown_dose(rows: pd.DataFrame, dose: float) -> float:
    """The dose that single-dose panels show: that of claim B1's margin, else the largest."""
    doses = sorted(rows["pruned_share"].unique())
    return next((float(each) for each in doses if math.isclose(each, dose)), float(doses[-1]))


def few_sparsities(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows of as many sparsities as a page has room for, with the least and the highest, and a note on the others."""
    every = sorted(frame["sparsity"].unique())
    shown = thinned(every, 3 if frame["task"].nunique() == 1 else 2)
    return frame[frame["sparsity"].isin(shown)], ["The table has further sparsities"] if len(shown) < len(every) else []
