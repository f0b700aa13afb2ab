"""The ledger's findings as the page shows them, and how reliable their rules are."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunebench.suite.cells import label_of
from prunebench.suite.claim import ALLOWED, POWER
from prunebench.suite.inputs import Record, number
from prunebench.suite.report.page import forest

SIGNS = {"reproduced": "yes", "not reproduced": "no", "inconclusive": "open", "not run at this scale": "none"}
"""Verdicts in the order in which they sort, with the names of their signs."""


def findings(
    claims: Mapping[str, Any], observations: Sequence[Record], calibration: Sequence[Record]
) -> list[dict[str, Any]]:
    """The findings of claims.json, each with its sign, its effect as text, its forest plots and its rule's power."""
    seeds: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in observations:
        value = number(row["value"])
        if value is not None:
            seeds.setdefault((row["claim"], row["quantity"]), {}).setdefault(label_of(row["cell"]), []).append(value)
    return [
        {
            **finding,
            "sign": SIGNS[finding["verdict"]],
            "rank": [*SIGNS].index(finding["verdict"]),
            "effect": {**finding["headline"], **forest.headline(finding["headline"])} if finding["headline"] else None,
            # What follows the first colon describes the scale, which the page's head and the evidence say in full.
            "short_scale": finding["scale"].split(":")[0],
            "power": _power(finding, calibration),
            "quantities": [
                {**quantity, "forest": forest.forest(quantity, seeds.get((finding["id"], quantity["name"]), {}))}
                for quantity in finding["quantities"]
            ],
        }
        for finding in claims["findings"]
    ]


def _power(finding: Mapping[str, Any], calibration: Sequence[Record]) -> str:
    """How often a claim's rule finds the claimed effect, by number of seeds, in a sentence; empty where not known."""
    rows = [row for row in calibration if row["claim"] == finding["id"]]
    powers = _powers(rows)
    if not powers:
        return ""
    shares = ", ".join(f"{100 * power:.0f} % with {n:g}" for n, power in sorted(powers.items()))
    replicates = finding["replicates"]
    return (
        f"At the spread measured here, under the worst kind of noise simulated, the rule finds the claimed effect in "
        f"{shares} {replicates}; {_needs(rows, replicates)}."
    )


def _powers(rows: Sequence[Record]) -> dict[float, float]:
    """The least power over all kinds of noise, by number of seeds."""
    powers: dict[float, float] = {}
    for row in rows:
        n, power = number(row["n"]), number(row["claimed_reproduced"])
        if n is not None and power is not None:
            powers[n] = min(power, powers.get(n, power))
    return powers


def _needs(rows: Sequence[Record], replicates: str) -> str:
    """How many seeds give a power of 80 % under every kind of noise."""
    seeds = [number(row["seeds_for_80"]) for row in rows]
    known = [n for n in seeds if n is not None]
    return (
        f"80 % needs {max(known):.0f} {replicates}"
        if len(known) == len(seeds)
        else f"100 {replicates} do not give 80 %"
    )


def calibration_summary(calibration: Sequence[Record], ledger: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How the rules err at worst, which of them are weak with the most seeds, and which have no rates."""
    if not calibration:
        return None
    replicates = {finding["id"]: finding["replicates"] for finding in ledger}
    claims: dict[str, list[Record]] = {}
    for row in calibration:
        claims.setdefault(row["claim"], []).append(row)
    rated = {claim: rows for claim, rows in claims.items() if _powers(rows)}
    powers = {claim: _powers(rows) for claim, rows in rated.items()}
    most = max((n for found in powers.values() for n in found), default=0.0)

    def of(claim: str) -> str:
        return replicates.get(claim, "seeds")

    def worst(column: str, rows: Sequence[Record]) -> dict[str, str]:
        row = max(rows, key=lambda row: number(row[column]) or 0.0)
        rate = f"{100 * (number(row[column]) or 0.0):.1f} %"
        return {**row, "rate": rate, "seeds": f"{row['n']} {of(row['claim'])}"}

    every = [row for rows in rated.values() for row in rows]
    return {
        "rules": len(rated),
        "false_yes": worst("null_reproduced", every) if every else None,
        "false_no": worst("claimed_not_reproduced", every) if every else None,
        # Where even the lower end of the simulation's own interval lies above what a rule may err.
        "above": [
            worst("null_reproduced", rows)
            for rows in rated.values()
            if any((number(row["null_reproduced_low"]) or 0.0) > ALLOWED for row in rows)
        ],
        "most": f"{most:g}",
        "weak": [
            {"claim": claim, "power": f"{100 * found[most]:.0f} %", "needs": _needs(rated[claim], of(claim))}
            for claim, found in powers.items()
            if found.get(most, 1.0) < POWER
        ],
        "unrated": [
            {"claim": claim, "why": rows[0]["noise_from"] or "not measured"}
            for claim, rows in claims.items()
            if claim not in rated
        ],
    }


def counts(shown: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many claims have each verdict."""
    return {verdict: sum(finding["verdict"] == verdict for finding in shown) for verdict in SIGNS}
