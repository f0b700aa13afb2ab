"""The ledger's findings as the page shows them, and how reliable their rules are."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.suite import effects
from prunebench.suite.cells import label_of
from prunebench.suite.claim import POWER
from prunebench.suite.exhibits import CALIBRATION, STABILITY
from prunebench.suite.inputs import Record, number, read_csv
from prunebench.suite.paper import Table
from prunebench.suite.record import Finding, Ledger
from prunebench.suite.report.page import forest

SIGNS = {"reproduced": "yes", "not reproduced": "no", "inconclusive": "open", "not run at this scale": "none"}
"""Verdicts in the order in which they sort, with the names of their signs."""

READ = {
    CALIBRATION.name: (
        *("claim", "noise", "noise_from", "n", "null_reproduced", "null_reproduced_low"),
        *("claimed_reproduced", "claimed_not_reproduced", "seeds_for_80"),
    ),
    STABILITY.name: ("claim", "opposite", "opposite_low", "forecast_same", "found_same"),
}
"""Columns of the calibration's tables that the page reads."""


def findings(ledger: Ledger, observations: Sequence[Record]) -> list[dict[str, Any]]:
    """The findings of a ledger, each with its sign, its effect and its sureness as text, and its forest plots."""
    seeds: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in observations:
        value = number(row["value"])
        if value is not None:
            seeds.setdefault((row["claim"], row["quantity"]), {}).setdefault(label_of(row["cell"]), []).append(value)
    return [
        {
            **finding,
            "sure": sure,
            "sign": SIGNS[finding["verdict"]],
            "rank": [*SIGNS].index(finding["verdict"]),
            "effect": {**finding["headline"], **forest.headline(finding["headline"])} if finding["headline"] else None,
            # What follows the first colon describes the scale, which the page's head and the evidence say in full.
            "short_scale": finding["scale"].split(":")[0],
            "quantities": [
                {**quantity, "forest": forest.forest(quantity, seeds.get((finding["id"], quantity["name"]), {}))}
                for quantity in finding["quantities"]
            ],
        }
        for finding, sure in ((each.model_dump(), _sureness(each)) for each in ledger.findings)
    ]


def _sureness(finding: Finding) -> dict[str, Any]:
    """How sure a verdict is, as text: in a word for the ledger, in a sentence for the evidence."""
    return {
        "same": effects.chance(finding.stability),
        "power": effects.chance(finding.power),
        "repeat": effects.firmness(finding),
        "seeds": effects.power_of(finding),
        "networks": effects.networks(finding),
    }


def read_table(table: Table, folder: Path) -> pd.DataFrame:
    """One of the calibration's tables from its CSV, the columns that the page reads; NaN where there is no number."""
    rows = read_csv(folder / f"{table.name}.csv", READ[table.name]) or []
    frame = pd.DataFrame(rows, columns=[*READ[table.name]])
    named = [column.name for column in table.columns if column.unit != "name" and column.name in frame]
    return frame.assign(**{name: frame[name].map(number).astype(float) for name in named})


def _powers(rows: pd.DataFrame) -> "pd.Series[float]":
    """The least power over all kinds of noise, by number of seeds."""
    return rows.groupby("n")["claimed_reproduced"].min().dropna()


def _needs(rows: pd.DataFrame, replicates: str) -> str:
    """How many seeds give a power of 80 % under every kind of noise."""
    if rows["seeds_for_80"].isna().any():
        return f"100 {replicates} do not give 80 %"
    return f"80 % needs {rows['seeds_for_80'].max():.0f} {replicates}"


def calibration_summary(calibration: pd.DataFrame, ledger: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How the rules err at worst, which of them are weak with the most seeds, and which have no rates."""
    if calibration.empty:
        return None
    replicates = {finding["id"]: finding["replicates"] for finding in ledger}
    every = calibration.dropna(subset=["n", "claimed_reproduced"])
    rated = dict(iter(every.groupby("claim", sort=False)))
    most = every["n"].max()

    def worst(column: str, rows: pd.DataFrame) -> dict[str, Any]:
        row = rows.loc[rows[column].fillna(0).idxmax()]
        seeds = f"{row['n']:g} {replicates.get(row['claim'], 'seeds')}"
        return {**row, "rate": f"{100 * row[column]:.1f} %", "seeds": seeds}

    def weak() -> Iterator[dict[str, str]]:
        for claim, rows in rated.items():
            power = _powers(rows).get(most, 1.0)
            if power < POWER:
                needs = _needs(rows, replicates.get(claim, "seeds"))
                yield {"claim": claim, "power": f"{100 * power:.0f} %", "needs": needs}

    unrated = calibration[~calibration["claim"].isin(rated)].drop_duplicates("claim")
    return {
        "rules": len(rated),
        "false_yes": worst("null_reproduced", every) if rated else None,
        "false_no": worst("claimed_not_reproduced", every) if rated else None,
        "most": f"{most:g}",
        "weak": [*weak()],
        "unrated": [
            {"claim": row.claim, "why": (row.noise_from or "not measured").split(":")[0]}
            for row in unrated.itertuples()
        ],
    }


def counts(shown: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many claims have each verdict."""
    return {verdict: sum(finding["verdict"] == verdict for finding in shown) for verdict in SIGNS}
