"""The ledger: every claim with its effects, its verdict and what would decide it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from prunebench.claims import cascade, directional, s_cyc
from prunebench.claims.claim import OBSERVATION, Claim, Paper, Quantity, Sample, Verdict, sample
from prunebench.claims.numbers import exact
from prunebench.config import Preset, RunSpec
from prunebench.files import write_csv, write_json, write_text
from prunebench.numbers import FROM_ZERO
from prunebench.stats import bca_interval, holm, interquartile_mean, random_effects, t_interval, t_test_p

PAPERS: Mapping[Paper, ModuleType] = {"s_cyc": s_cyc, "cascade": cascade, "directional": directional}
"""The papers' modules, each with `CLAIMS` and `observations`, in the order of the ledger."""

CLAIMS: tuple[Claim, ...] = tuple(claim for module in PAPERS.values() for claim in module.CLAIMS)

VERDICTS: tuple[Verdict, ...] = ("reproduced", "not reproduced", "inconclusive", "not run at this scale")

MOST_SEEDS = 1000
"""A claim that more seeds than this would leave open is said to lie between its margins."""

COLUMNS = (
    *("id", "paper", "verdict", "quantity", "unit", "n", "mean", "low", "high", "published", "seeds_needed", "scale"),
    *("sentence", "why"),
)


# --- From runs to observations


def observe(preset: Preset, runs: Path) -> tuple[pd.DataFrame, list[str], dict[str, list[str]]]:
    """Observations of every study, what is missing on disk, and notes by claim.

    A seed counts where all its runs of a study are there: pairing needs them all.
    """
    frames, missing = [pd.DataFrame(columns=list(OBSERVATION))], []
    notes: dict[str, list[str]] = {}
    for paper, module in PAPERS.items():
        if getattr(preset, paper) is None:
            continue
        complete, absent = _complete(preset, paper, runs)
        missing += [f"{paper}: {line}" for line in absent]
        if complete is None:
            continue
        frames.append(module.observations(complete, runs))
        if hasattr(module, "notes"):
            notes |= module.notes(complete, runs)
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True), missing, notes


def _complete(preset: Preset, paper: Paper, runs: Path) -> tuple[Preset | None, list[str]]:
    """The preset with the seeds and parts of a study whose runs are all there, and a line for all that is not."""

    def there(folder: str) -> bool:
        return (runs / folder / "provenance.json").exists()

    absent, seeds = [], []
    for seed in preset.seeds:
        needed = [folder for at, folder in _folders(preset, paper) if at == seed]
        gone = [folder for folder in needed if not there(folder)]
        if gone:
            absent.append(f"seed {seed}: {len(gone)} of {len(needed)} runs are missing, such as {gone[0]}")
        else:
            seeds.append(seed)
    changes: dict[str, Any] = {"seeds": seeds}
    if paper == "directional" and preset.directional:
        folders = {
            "toy": [spec.folder for spec in preset.toy_jobs()],
            "overhead": [spec.folder for spec in preset.overhead_jobs()],
        }
        parts = {name: None for name, jobs in folders.items() if not all(map(there, jobs))}
        absent += [f"{name} is missing" for name in parts]
        changes["directional"] = preset.directional.model_copy(update=parts)
    return (preset.model_copy(update=changes) if seeds else None), absent


def _folders(preset: Preset, paper: Paper) -> list[tuple[int, str]]:
    """Seed and folder of every run of a study that belongs to one seed."""
    if paper == "s_cyc":
        jobs: list[RunSpec] = [*preset.s_cyc_chains(), *preset.s_cyc_oracle_jobs()]
    elif paper == "cascade":
        jobs = [*preset.cascade_jobs()]
    else:
        jobs = [*preset.directional_jobs(), *preset.connection_jobs(), *preset.curvature_jobs()]
    return [(spec.seed, spec.folder) for spec in jobs]


# --- From observations to findings


def judge(
    preset: Preset,
    observations: pd.DataFrame,
    missing: Sequence[str] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The ledger as claims.json holds it: a finding for every claim, whether or not the preset runs its study."""
    findings = [
        _finding(claim, preset, observations, missing, list((notes or {}).get(claim.id, ()))) for claim in CLAIMS
    ]
    counts = Counter(finding["verdict"] for finding in findings)
    return {
        "preset": preset.preset,
        "scale": preset.scale,
        "seeds": preset.seeds,
        "missing": list(missing),
        "counts": {verdict: counts[verdict] for verdict in VERDICTS},
        "findings": findings,
    }


def _finding(
    claim: Claim, preset: Preset, observations: pd.DataFrame, missing: Sequence[str], notes: list[str]
) -> dict[str, Any]:
    margins = getattr(preset.claims, claim.paper)
    observed = sample(observations, claim)
    conditions, verdict, why = _decide(claim, preset, observed, missing)
    needed, note = (None, "") if verdict != "inconclusive" else _seeds_needed(claim, margins, observed)
    quantities = [_effects(quantity, margins, observed) for quantity in claim.quantities]
    shown = claim.quantities[0].name if claim.headline == "" else claim.headline
    return {
        "id": claim.id,
        "paper": claim.paper,
        "sentence": claim.sentence,
        "mark": claim.mark,
        "rule": claim.rule_in_words(margins),
        "published": claim.published,
        "verdict": verdict,
        "why": why,
        "scale": preset.scale,
        "seeds_needed": needed,
        "seeds_note": note,
        "conditions": conditions,
        "headline": next((_headline(found) for found in quantities if found["name"] == shown), None),
        "replicates": claim.replicates,
        "quantities": quantities,
        "notes": notes,
        "tables": list(claim.tables),
        "figures": list(claim.figures),
    }


def _decide(
    claim: Claim, preset: Preset, observed: Sample, missing: Sequence[str]
) -> tuple[dict[str, dict[str, bool]], Verdict, str]:
    """Conditions, verdict and the sentence that says why."""
    nothing: dict[str, dict[str, bool]] = {"reproduced": {}, "refuted": {}}
    if not any(observed.cells[quantity.name] for quantity in claim.quantities if quantity.decides):
        if getattr(preset, claim.paper) is None:
            return nothing, "not run at this scale", "This preset does not run the study."
        if any(line.startswith(f"{claim.paper}: ") for line in missing):
            return nothing, "not run at this scale", "Nothing was measured, and runs of the study are missing."
        return nothing, "not run at this scale", "This preset measured nothing that the claim is about."
    ruling = claim.judge(observed, getattr(preset.claims, claim.paper))
    conditions = {
        kind: {text: bool(holds[0]) for text, holds in found.items()}
        for kind, found in (("reproduced", ruling.reproduced), ("refuted", ruling.refuted))
    }
    reasons = preset.claims.not_at_this_scale
    if reason := reasons.get(claim.id) or reasons.get("all"):
        return conditions, "not run at this scale", f"Measured, but not decided: {reason}"
    if ruling.yes[0]:
        return conditions, "reproduced", "Every condition holds."
    if ruling.no[0]:
        return conditions, "not reproduced", _sentence(text for text, holds in conditions["refuted"].items() if holds)
    if all(values.shape[-1] < 2 for values in observed.values.values()):
        return conditions, "inconclusive", f"One of the {claim.replicates} alone has no interval."
    unmet = [text for text, holds in conditions["reproduced"].items() if not holds]
    return conditions, "inconclusive", "Neither side is sure. Not met: " + "; ".join(unmet) + "."


def _sentence(parts: Any) -> str:
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "."


def _seeds_needed(claim: Claim, margins: Any, observed: Sample) -> tuple[int | None, str]:
    """How many seeds would decide if they spread as the observed ones do: the same means, deviations and correlations.

    In whole repetitions of the observed seeds, so to the next multiple of their number.
    """
    n = max((values.shape[-1] for values in observed.values.values()), default=0)
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
        found = t_interval(value)
        n = found.n[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):
            shrink = np.sqrt((times * n - 1) / (times * (n - 1)))
        centre = found.mean[..., None]
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
        own = values[index]
        low, high = _bca(own)
        rows.append(
            {
                "cell": cell,
                "n": int(each.n[index]),
                "missing": int(np.isnan(own).sum()),
                **{name: _real(getattr(each, name)[index]) for name in ("mean", "std", "low", "high")},
                "bca_low": low,
                "bca_high": high,
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
            {"label": f"margin {exact(value, quantity.unit)}", "value": value} for value in quantity.margins(margins)
        ],
        "pooled": _pooled(values) if len(cells) > 1 else None,
        "cells": rows,
    }


def _pooled(values: np.ndarray) -> dict[str, Any]:
    """The mean over cells, within each seed, and between cells."""
    within = values.mean(axis=0)
    found, each = t_interval(within), t_interval(values)
    low, high = _bca(within)
    # Two cells would have an interval with one degree of freedom, 12.7 standard errors wide.
    enough = each.mean if len(values) > 2 else np.full(0, np.nan)
    between = random_effects(enough, each.std[: len(enough)] ** 2 / each.n[: len(enough)])
    return {
        "n": int(found.n),
        **{name: _real(getattr(found, name)) for name in ("mean", "low", "high")},
        "iqm": _real(interquartile_mean(values.ravel())),
        "bca_low": low,
        "bca_high": high,
        **{f"random_{name}": _real(getattr(between, name)) for name in ("mean", "low", "high")},
        "i2": _real(between.i2),
    }


def _headline(effects: dict[str, Any]) -> dict[str, Any] | None:
    """A quantity's effect in the ledger: the mean over cells where there are several."""
    cells = [cell for cell in effects["cells"] if cell["mean"] is not None]
    if not cells:
        return None
    found, cell = cells[0], cells[0]["cell"]
    if effects["pooled"] and effects["pooled"]["mean"] is not None:
        found, cell = effects["pooled"], f"mean over {len(effects['cells'])} cells"
    means = [cell["mean"] for cell in cells]
    return {
        "quantity": effects["name"],
        "meaning": effects["meaning"],
        "cell": cell,
        **{name: found[name] for name in ("mean", "low", "high", "n")},
        "lowest": min(means),
        "highest": max(means),
        **{name: effects[name] for name in ("unit", "confidence")},
    }


def _bca(values: np.ndarray) -> tuple[float | None, float | None]:
    found = bca_interval(values)
    return _real(found.low), _real(found.high)


def _real(value: Any) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


# --- Files


def write_ledger(preset: Preset, runs: Path, out: Path) -> dict[str, Any]:
    """Writes observations.csv, claims.json and claims.csv; returns the ledger."""
    observations, missing, notes = observe(preset, runs)
    ledger = judge(preset, observations, missing, notes)
    write_text(out / "observations.csv", observations.to_csv(index=False, lineterminator="\n"))
    write_json(out / "claims.json", ledger)
    write_csv(out / "claims.csv", [_row(finding) for finding in ledger["findings"]], COLUMNS)
    return ledger


def _row(finding: dict[str, Any]) -> dict[str, Any]:
    headline = finding["headline"] or {}
    return {name: finding.get(name, headline.get(name)) for name in COLUMNS}


def summary(ledger: Mapping[str, Any]) -> str:
    """The counts in one line."""
    counts = ", ".join(f"{ledger['counts'][verdict]} {verdict}" for verdict in VERDICTS)
    return f"{len(ledger['findings'])} claims: {counts} ({ledger['preset']}, {ledger['scale']})"
