"""The table of the rules' error rates as readers see it in LaTeX: one line per claim."""

import pandas as pd

from prunebench.suite.claim import ALLOWED
from prunebench.suite.report.latex import bold, escape, number


def calibration(frame: pd.DataFrame) -> pd.DataFrame:
    """Highest error rates and lowest power, in %, by number of seeds; then the seeds that give a power of 80 %."""
    seeds = sorted(frame["n"].dropna().astype(int).unique())
    lines = []
    for claim, rows in frame.groupby("claim", sort=False):
        line = {"claim": escape(str(claim)), "noise": escape(str(rows["noise_from"].iloc[0]))}
        by_n = {n: rows[rows["n"] == n] for n in seeds}
        line |= {f"false, n = {n}": _worst_null(cell) for n, cell in by_n.items()}
        line |= {f"power, n = {n}": number(cell["claimed_reproduced"].min(), ".1%") for n, cell in by_n.items()}
        line |= {f"missed, n = {n}": number(cell["claimed_not_reproduced"].max(), ".1%") for n, cell in by_n.items()}
        lines.append(line | {"seeds for 80 %": _seeds(rows)})
    return pd.DataFrame(lines)


def _worst_null(cell: pd.DataFrame) -> str:
    text = number(cell["null_reproduced"].max(), ".1%")
    return bold(text, (cell["null_reproduced_low"] > ALLOWED).any())


def _seeds(rows: pd.DataFrame) -> str:
    if rows["n"].isna().all():
        return "n/a"
    return "$>$ 100" if rows["seeds_for_80"].isna().any() else str(int(rows["seeds_for_80"].max()))
