"""The tables of the calibration as readers see them in LaTeX: one line per claim."""

import pandas as pd

from prunebench.suite.calibration import false_too_often, opposite_too_often
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
    return bold(text, false_too_often(cell).any())


def _seeds(rows: pd.DataFrame) -> str:
    if rows["n"].isna().all():
        return "n/a"
    return "$>$ 100" if rows["seeds_for_80"].isna().any() else str(int(rows["seeds_for_80"].max()))


def stability(frame: pd.DataFrame) -> pd.DataFrame:
    """How likely a repeat gives the same verdict and the opposite one, and how forecasts of halves did, in %."""
    shares = {
        "same": "same",
        "opposite": "opposite",
        "halves: same, forecast": "forecast_same",
        "same, found": "found_same",
        "opposite, forecast": "forecast_opposite",
        "opposite, found": "found_opposite",
    }
    lines = pd.DataFrame({"claim": frame["claim"].map(escape)})
    lines["verdict"] = ["not measured" if pd.isna(verdict) else verdict for verdict in frame["verdict"]]
    lines["n"] = ["n/a" if pd.isna(n) else f"{n:.0f}" for n in frame["n"]]
    for header, name in shares.items():
        lines[header] = [number(value, ".1%") for value in frame[name]]
    lines["opposite"] = [bold(*each) for each in zip(lines["opposite"], opposite_too_often(frame), strict=True)]
    return lines
