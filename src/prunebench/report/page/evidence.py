"""The ledger's findings as the page shows them, and how reliable their rules are."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunebench.report.page import forest
from prunebench.report.page.inputs import Record, number

SIGNS = {"reproduced": "yes", "not reproduced": "no", "inconclusive": "open", "not run at this scale": "none"}
"""Verdicts in the order in which they sort, with the names of their signs."""

ENOUGH = 0.8
"""The power that a rule should have."""


def findings(
    claims: Mapping[str, Any], observations: Sequence[Record], calibration: Sequence[Record]
) -> list[dict[str, Any]]:
    """The findings of claims.json, each with its sign, its effect as text, its forest plots and its rule's power."""
    seeds: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in observations:
        value = number(row["value"])
        if value is not None:
            seeds.setdefault((row["claim"], row["quantity"]), {}).setdefault(row["cell"], []).append(value)
    return [
        {
            **finding,
            "sign": SIGNS[finding["verdict"]],
            "rank": [*SIGNS].index(finding["verdict"]),
            "effect": {**finding["headline"], **forest.headline(finding["headline"])} if finding["headline"] else None,
            # What follows the first colon describes the scale, which the page's head and the evidence say in full.
            "short_scale": finding["scale"].split(":")[0],
            "power": _power(finding["id"], calibration),
            "quantities": [
                {**quantity, "forest": forest.forest(quantity, seeds.get((finding["id"], quantity["name"]), {}))}
                for quantity in finding["quantities"]
            ],
        }
        for finding in claims["findings"]
    ]


def _power(claim: str, calibration: Sequence[Record]) -> str:
    """How often a claim's rule finds the claimed effect, by number of seeds, in a sentence; empty where not known."""
    rows = [row for row in calibration if row["claim"] == claim and row["noise"] == "independent"]
    found = [(row, power) for row in rows if (power := number(row["claimed_reproduced"])) is not None]
    if not found:
        return ""
    shares = ", ".join(f"{100 * power:.0f} % with {row['n']}" for row, power in found)
    return f"At the noise measured here the rule finds the claimed effect in {shares} seeds; {_needs(found[0][0])}."


def _needs(row: Record) -> str:
    seeds = number(row["seeds_for_80"])
    return f"80 % needs {seeds:.0f} seeds" if seeds is not None else "100 seeds do not give 80 %"


def calibration_summary(calibration: Sequence[Record]) -> dict[str, Any] | None:
    """The highest rate of a false `reproduced`, and the rules whose power with the most seeds is below 80 %."""
    rated = [row for row in calibration if number(row["null_reproduced"]) is not None]
    if not rated:
        return None
    worst = max(rated, key=lambda row: number(row["null_reproduced"]) or 0.0)
    most = max(rated, key=lambda row: number(row["n"]) or 0.0)["n"]
    weak = []
    for row in rated:
        power = number(row["claimed_reproduced"])
        if row["n"] == most and row["noise"] == "independent" and power is not None and power < ENOUGH:
            weak.append({"claim": row["claim"], "power": f"{100 * power:.0f} %", "needs": _needs(row)})
    return {
        "rules": len({row["claim"] for row in rated}),
        "rate": f"{100 * float(worst['null_reproduced']):.1f} %",
        "worst": worst,
        "most": most,
        "weak": weak,
    }


def counts(shown: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many claims have each verdict."""
    return {verdict: sum(finding["verdict"] == verdict for finding in shown) for verdict in SIGNS}
