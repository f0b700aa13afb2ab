"""The ledger: every claim with its effects, its verdict and what would decide it."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prunebench.files import write_csv, write_json
from prunebench.stats import bca_interval, holm, interquartile_mean, random_effects, t_interval, t_test_p
from prunebench.suite import effects
from prunebench.suite.asked import all_claims
from prunebench.suite.calibration import power
from prunebench.suite.cells import label
from prunebench.suite.claim import (
    OBSERVATION,
    TOO_FEW,
    Claim,
    Quantity,
    Sample,
    Verdict,
    read_observations,
    sample,
    write_observations,
)
from prunebench.suite.numbers import FROM_ZERO
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import Preset
from prunebench.suite.record import Finding, Ledger, Longer, Network, read_ledger
from prunebench.suite.stability import stability
from prunebench.suite.study import Study, complete

VERDICTS: tuple[Verdict, ...] = ("reproduced", "not reproduced", "inconclusive", "not run at this scale")

MOST_SEEDS = 1000
"""The most seeds that are tried when a claim is inconclusive."""

COLUMNS = (
    *("id", "paper", "verdict", "shown", "stability", "opposite", "power", "power_seeds"),
    *("quantity", "unit", "n", "mean", "low", "high", "published", "seeds_needed", "scale", "networks"),
    *("sentence", "why"),
)

Networks = Mapping[str, Sequence[Network]]
"""By paper, what its tasks' networks reach without pruning."""


# --- From runs to observations


@dataclass(frozen=True)
class Seen:
    """What a preset's runs show."""

    observations: pd.DataFrame
    missing: Sequence[str] = ()
    """What is missing on disk."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By claim."""
    networks: Networks = field(default_factory=dict)


def observe(preset: Preset, runs: Path) -> Seen:
    """What the runs of every study show.

    A seed counts where all its runs of a study are complete: pairing needs them all.
    """
    plan, claims = make_plan(preset), all_claims(preset)
    rows: list[tuple[Any, ...]] = []
    missing: list[str] = []
    notes: dict[str, list[str]] = {}
    networks: dict[str, list[Network]] = {}
    for key, (paper, _) in preset.studies().items():
        study, absent = complete(Study(paper, plan, runs))
        missing += [f"{key}: {line}" for line in absent]
        if study is None:
            continue
        data = paper.resolve(paper.read)(study)
        networks[key] = [*_networks(paper.resolve(paper.unpruned)(study))]
        for claim in claims:
            if claim.paper == key:
                rows += [(claim.id, *each) for each in claim.observe(data, claim.method)]
                notes[claim.id] = list(claim.notes(data, claim.method))
    return Seen(pd.DataFrame(rows, columns=list(OBSERVATION)), missing, notes, networks)


def _networks(ends: pd.DataFrame) -> Iterator[Network]:
    """What each task's network reaches: of several recipes the one with the best mean validation accuracy."""
    for task, runs in ends.groupby("task", sort=False) if len(ends) else ():
        recipes = [each for _, each in runs.groupby("schedule", sort=False)] if "schedule" in runs else [runs]
        best = max(recipes, key=lambda each: float(each["validation_accuracy"].mean()))
        by_seed = best.groupby("seed")["test_accuracy"].mean()  # several jobs may train the same network
        yield Network(task=str(task), accuracy=_real(by_seed.mean()), n=len(by_seed))


# --- From observations to findings


def judge(preset: Preset, seen: Seen) -> Ledger:
    """The ledger as claims.json holds it: a finding for every claim, whether or not the preset runs its study."""
    findings = [_finding(claim, preset, seen) for claim in all_claims(preset)]
    counts = Counter(finding["verdict"] for finding in findings)
    ledger = {
        "preset": preset.preset,
        "scale": preset.scale,
        "seeds": preset.seeds,
        "missing": list(seen.missing),
        "counts": {verdict: counts[verdict] for verdict in VERDICTS},
        "findings": findings,
    }
    return Ledger.model_validate(ledger)


def _finding(claim: Claim, preset: Preset, seen: Seen) -> dict[str, Any]:
    observed, margins = sample(seen.observations, claim), preset.margins(claim.paper)
    conditions, verdict, why = _decide(claim, preset, observed, seen.missing)
    needed, note = (None, "") if verdict != "inconclusive" else _seeds_needed(claim, margins, observed)
    quantities = [_effects(quantity, margins, observed) for quantity in claim.quantities]
    shown = claim.quantities[0].name if claim.headline == "" else claim.headline
    headline = next((_headline(each) for each in quantities if each["name"] == shown), None)
    found = _found(claim, verdict, headline, conditions["reproduced"])
    if found and verdict == "reproduced":
        why += f" The paper gives no direction; this is {found}."
    sure = {} if verdict == "not run at this scale" else _sureness(claim, observed, margins)
    if verdict == "inconclusive" and not found and sure["power"] is not None and sure["power"] < TOO_FEW:
        why += f" {effects.power(sure['power'], sure['power_seeds'], observed.n, claim.replicates)}"
    return {
        "id": claim.id,
        "paper": claim.paper,
        "sentence": claim.sentence,
        "mark": claim.mark,
        "rule": claim.rule_in_words(margins),
        "published": claim.published,
        "verdict": verdict,
        "found": found,
        "why": why,
        **sure,
        "networks": _networks_of(claim, preset, seen, observed),
        "scale": preset.scale,
        "seeds_needed": needed,
        "seeds_note": note,
        "conditions": conditions,
        "headline": headline,
        "replicates": claim.replicates,
        "quantities": quantities,
        "notes": list(seen.notes.get(claim.id, ())),
        "tables": list(claim.tables),
        "figures": list(claim.figures),
    }


def _found(claim: Claim, verdict: Verdict, headline: Mapping[str, Any] | None, conditions: Mapping[str, bool]) -> str:
    """What the verdict does not say by itself (`Finding.found`)."""
    if verdict == "reproduced" and claim.direction and headline:
        return claim.direction[headline["mean"] > 0]
    return "all but its control holds" if verdict == "inconclusive" and _unmet(conditions) <= {*claim.controls} else ""


def _unmet(conditions: Mapping[str, bool]) -> set[str]:
    return {text for text, holds in conditions.items() if not holds}


def _networks_of(claim: Claim, preset: Preset, seen: Seen, observed: Sample) -> list[Network]:
    """Those whose tasks the cells name; a cell that is a mean over tasks names them with " + " in between."""
    values = (value for cells in observed.cells.values() for cell in cells for _, value in cell)
    named = {name for value in values if isinstance(value, str) for name in value.split(" + ")}
    networks = [network for network in seen.networks.get(claim.paper, ()) if network.task in named]
    longer = {name: Longer(**stated.model_dump()) for name, stated in preset.longer.items()}
    return [network.model_copy(update={"longer": longer.get(network.task)}) for network in networks]


def _decide(
    claim: Claim, preset: Preset, observed: Sample, missing: Sequence[str]
) -> tuple[dict[str, dict[str, bool]], Verdict, str]:
    """Conditions, verdict and the sentence that says why."""
    if not any(observed.cells[quantity.name] for quantity in claim.quantities if quantity.decides):
        why = "This preset measured nothing that the claim is about."
        if preset.study(claim.paper) is None:
            why = "This preset does not run the study."
        elif any(line.startswith(f"{claim.paper}: ") for line in missing):
            why = "Nothing was measured, and runs of the study are missing."
        return {"reproduced": {}, "refuted": {}}, "not run at this scale", why
    ruling = claim.judge(observed, preset.margins(claim.paper))
    conditions = {
        kind: {text: bool(holds[0]) for text, holds in asked.items()}
        for kind, asked in (("reproduced", ruling.reproduced), ("refuted", ruling.refuted))
    }
    reasons = preset.claims.not_at_this_scale
    # What a scale cannot decide of the paper's method, it cannot of another one.
    if reason := next((reasons[name] for name in (claim.id, claim.id.split(":")[0], "all") if name in reasons), ""):
        return conditions, "not run at this scale", f"Measured, but not decided: {reason}"
    if ruling.yes[0]:
        return conditions, "reproduced", "Every condition holds."
    if ruling.no[0]:
        text = "; ".join(text for text, holds in conditions["refuted"].items() if holds)
        return conditions, "not reproduced", f"{text[:1].upper()}{text[1:]}."
    if observed.n < 2:
        return conditions, "inconclusive", f"A single {claim.replicates.removesuffix('s')} gives no interval."
    unmet = _unmet(conditions["reproduced"])
    why = "Its control speaks against it" if unmet <= {*claim.controls} else "The data decide neither way"
    named = "; ".join(text for text in conditions["reproduced"] if text in unmet)
    return conditions, "inconclusive", f"{why}. Not met: {named}."


def _sureness(claim: Claim, observed: Sample, margins: Any) -> dict[str, Any]:
    """How firm the verdict is, and how likely so many seeds were to find the claimed effect."""
    again, found = stability(claim, observed, margins), power(claim, observed, margins)
    return {
        "repeated": observed.n,
        "stability": again and again.same,
        "opposite": again and again.opposite,
        "power": found and found.share,
        "power_seeds": found and found.seeds,
    }


def _seeds_needed(claim: Claim, margins: Any, observed: Sample) -> tuple[int | None, str]:
    """How many seeds would decide if they spread as the observed ones do: the same means, deviations and correlations.

    The observed seeds are repeated as a whole, so the number is a multiple of theirs.
    """
    n = observed.n
    if n < 2:
        return None, f"at least two {claim.replicates} are needed to tell"
    for times in range(2, MOST_SEEDS // n + 1):
        ruling = claim.judge(_repeated(observed, times), margins)
        if ruling.yes[0] or ruling.no[0]:
            outcome = "reproduced" if ruling.yes[0] else "not reproduced"
            return times * n, (
                f"about {times * n} {claim.replicates} would decide ({outcome}) if means and spread stay as observed, "
                "as likely as not"
            )
    return None, f"no number of {claim.replicates} up to {MOST_SEEDS} would decide with means and spread as observed"


def _repeated(observed: Sample, times: int) -> Sample:
    """Each cell's values `times` over, drawn together so that their sample deviation stays what it was."""
    values = {}
    for name, value in observed.values.items():
        each = t_interval(value)
        n, centre = each.n[..., None], each.mean[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):
            shrink = np.sqrt((times * n - 1) / (times * (n - 1)))
        values[name] = np.tile(centre + (value - centre) * np.where(n > 1, shrink, 1), times)
    return Sample(values, observed.cells)


# --- Effects


def _effects(quantity: Quantity, margins: Any, observed: Sample) -> dict[str, Any]:
    values, cells = observed.values[quantity.name][0], observed.cells[quantity.name]
    each = t_interval(values)
    # Against 0, where that is what no effect would be; without any spread there is no test.
    p = np.where((each.std > 0) & (quantity.unit in FROM_ZERO), t_test_p(values, 0.0), np.nan)
    adjusted = holm(p)
    rows = []
    for index, cell in enumerate(cells):
        rows.append(
            {
                "cell": label(cell),
                "axes": dict(cell),
                "n": int(each.n[index]),
                "missing": int(np.isnan(values[index]).sum()),
                **{name: _real(getattr(each, name)[index]) for name in ("mean", "std", "low", "high")},
                **_bca(values[index]),
                "p": _real(p[index]),
                "p_holm": _real(adjusted[index]),
            }
        )
    return {
        "name": quantity.name,
        "meaning": quantity.meaning,
        "decides": quantity.decides,
        "unit": quantity.unit,
        "confidence": 0.95,
        "margins": [
            {"label": f"margin {effects.exact(value, quantity.unit)}", "value": value}
            for value in quantity.margins(margins)
        ],
        "pooled": _pooled(values) if len(cells) > 1 else None,
        "cells": rows,
    }


def _pooled(values: np.ndarray) -> dict[str, Any]:
    """The mean over cells, within each seed, and between cells."""
    within = values.mean(axis=0)
    pooled, each = t_interval(within), t_interval(values)
    # Two cells would have an interval with one degree of freedom, 12.7 standard errors wide.
    enough = each.mean if len(values) > 2 else np.full(0, np.nan)
    between = random_effects(enough, each.std[: len(enough)] ** 2 / each.n[: len(enough)])
    return {
        "n": int(pooled.n),
        **{name: _real(getattr(pooled, name)) for name in ("mean", "low", "high")},
        "iqm": _real(interquartile_mean(values.ravel())),
        **_bca(within),
        **{f"random_{name}": _real(getattr(between, name)) for name in ("mean", "low", "high")},
        "i2": _real(between.i2),
    }


def _headline(of: dict[str, Any]) -> dict[str, Any] | None:
    """A quantity's effect in the ledger: the mean over cells where there are several."""
    cells = [cell for cell in of["cells"] if cell["mean"] is not None]
    if not cells:
        return None
    shown, cell = cells[0], cells[0]["cell"]
    if of["pooled"] and of["pooled"]["mean"] is not None:
        shown, cell = of["pooled"], f"mean over {len(of['cells'])} cells"
    means = [cell["mean"] for cell in cells]
    return {
        "quantity": of["name"],
        "meaning": of["meaning"],
        "cell": cell,
        **{name: shown[name] for name in ("mean", "low", "high", "n")},
        "lowest": min(means),
        "highest": max(means),
        **{name: of[name] for name in ("unit", "confidence")},
    }


def _bca(values: np.ndarray) -> dict[str, float | None]:
    interval = bca_interval(values)
    return {"bca_low": _real(interval.low), "bca_high": _real(interval.high)}


def _real(value: Any) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


# --- Files


def write_ledger(preset: Preset, runs: Path, out: Path) -> Ledger:
    """Writes observations.csv, claims.json and claims.csv; returns the ledger."""
    seen = observe(preset, runs)
    write_observations(out / "observations.csv", seen.observations)
    return _write(judge(preset, seen), out)


def write_ledger_again(preset: Preset, out: Path) -> Ledger:
    """Writes claims.json and claims.csv anew, by today's rules, from observations.csv beside them; returns the ledger.

    What the observations do not hold (notes, missing runs, networks' accuracies) is taken from the claims.json that is
    there. Raises InputError where one of the two is missing or is none.
    """
    before = read_ledger(out)
    networks: dict[str, dict[str, Network]] = {}
    for finding in before.findings:
        networks.setdefault(finding.paper, {}).update({network.task: network for network in finding.networks})
    seen = Seen(
        read_observations(out / "observations.csv"),
        before.missing,
        {finding.id: finding.notes for finding in before.findings},
        {key: [*of_tasks.values()] for key, of_tasks in networks.items()},
    )
    return _write(judge(preset, seen), out)


def _write(ledger: Ledger, out: Path) -> Ledger:
    write_json(out / "claims.json", ledger.model_dump(mode="json"))
    write_csv(out / "claims.csv", [_row(finding) for finding in ledger.findings], COLUMNS)
    return ledger


def _row(finding: Finding) -> dict[str, Any]:
    content = (finding.headline.model_dump() if finding.headline else {}) | finding.model_dump()
    content["networks"] = "; ".join(f"{network.task} {network.accuracy}" for network in finding.networks)
    return {name: content.get(name) for name in COLUMNS}


def summary(ledger: Ledger) -> str:
    """How many claims have each verdict, in one line."""
    verdicts = Counter(finding.verdict for finding in ledger.findings)
    counts = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{len(ledger.findings)} claims: {counts} ({ledger.preset}, {ledger.scale})"
