"""A results folder for the page's tests: the ledger has all claims, its numbers are made up."""

import copy
import csv
import json
import math
import random
from functools import cache
from pathlib import Path

import pandas as pd

from prunebench.claims.ledger import judge
from prunebench.config import load_preset
from prunebench.studies import cascade_names, directional_names, s_cyc_names

RESNET, MOBILE, MLP = "fashion-resnet8", "fashion-mobilenet-long", "fashion-mlp-sgd"
LEVELS = ("75.0 %", "87.5 %", "93.8 %", "96.9 %", "98.4 %")
CRITERIA = ("global_magnitude", "layer_magnitude", "global_gradient")
CELLS = {
    "levels": [f"{RESNET} · global_magnitude · {level}" for level in LEVELS],
    "criteria": [f"{RESNET} · {criterion} · 96.9 %" for criterion in CRITERIA],
    "networks": [f"{RESNET}-long", MOBILE],
    "sgd": ["fashion-resnet8-sgd · c 0.03 mu 0.6", "fashion-resnet8-sgd · c 0.06 mu 0.6", f"{MLP} · c 0.01 mu 0.6"],
    "toy": ["least_squares", "network"],
    "none": [],
}
YES, NO, OPEN, NONE = "reproduced", "not reproduced", "inconclusive", "not run at this scale"

LEDGER = """
A1: The distribution of weight gradients narrows as a ReLU network is iteratively pruned
  not reproduced | gradient_spread | n/a
  slope | slope | networks | 0.3 | 0.03 | slope of the log spread of gradients over pruning cycles
  ratio | ratio | networks | 1.4 | 0.2 | spread of gradients at the last cycle to that of the dense network
A1b: The narrowing is tied to ReLU
  inconclusive | gradient_spread | n/a
  difference | slope | networks | 0.02 | 0.05 | slope under ReLU minus slope under another activation
A2: Sparser networks need a larger learning rate
  inconclusive | oracle | 0.03 to 0.07, 0.04 to 0.10 [authors' code]
  ratio | ratio | networks | 0.2 | 0.6 | best max_lr of the sparsest network to that of the dense one
A3: S-Cyc consistently beats the best of four benchmark schedules
  inconclusive | accuracy | +2.1 to +3.4 % [abstract]
  gain | points | levels | 0.008 | 0.012 | test accuracy of S-Cyc minus that of the best benchmark
A4: S-Cyc works with any pruning method
  inconclusive | accuracy | n/a
  gain | points | criteria | 0.01 | 0.01 | test accuracy of S-Cyc minus that of the best benchmark
A5: S-Cyc does so without substantially more computation
  reproduced | accuracy | n/a
  updates | ratio | criteria | 0.0 | 0.0 | updates of S-Cyc to those of the cyclical schedule
  time | ratio | criteria | 0.0 | 0.006 | wall time of S-Cyc to that of the cyclical schedule
A6: S-Cyc comes close to an oracle that tunes max_lr by grid search
  inconclusive | oracle | “comparable” [abstract]
  gap | points | levels | 0.003 | 0.01 | test accuracy of the oracle minus that of S-Cyc
  inside | share | criteria | 0.7 | 0.1 | share of cycles in which S-Cyc's max_lr is near the oracle's best
A7: The S-shape of max_lr matters, not only its top
  inconclusive | accuracy | n/a
  gain | points | levels | 0.005 | 0.02 | test accuracy of S-Cyc minus that of a control
B1: After a small prune a large percentage of the remaining weights is shed within a few epochs
  not reproduced | shedding | n/a
  excess | points | networks | -0.01 | 0.02 | share of survivors shed in the pruned arm minus that in its control
B1c: The prune causes the shedding, not the retraining alone
  not reproduced | shedding | n/a
  dose | slope | networks | 0.01 | 0.05 | rise of the excess per share that was pruned
B2: Shedding rescues sub-optimal schemes such as random pruning
  not reproduced | random_vs_magnitude | n/a
  gain | points | networks | -0.049 | 0.012 | test accuracy with shedding minus that of its control
B3: ResNet50 and MobileNetV3 differ because they differ in shedding
  inconclusive | networks | n/a
  excess | points | criteria | -0.01 | 0.03 | excess of the ResNet minus that of the MobileNet
  gap | points | criteria | -0.2 | 0.02 | what random pruning costs in the ResNet minus that in the MobileNet
B4: Global magnitude-based pruning is competitive over a wide range of scenarios
  reproduced | schedules | n/a
  gap | points | levels | 0.001 | 0.001 | test accuracy of the best scheme minus that of GMP
B5a: Shedding can raise the accuracy of GMP
  not reproduced | gmp | n/a
  gain | points | networks | -0.044 | 0.006 | test accuracy of GMP with a shedding phase minus that of plain GMP
B5b: and lower its computation
  inconclusive | gmp | n/a
  ratio | ratio | none | 0.0 | 0.0 | updates to reach plain GMP's accuracy to those of plain GMP
B6: Pruning schedule and learning-rate schedule matter
  reproduced | schedules | n/a
  effect | number | criteria | 0.6 | 0.1 | partial eta squared
B7: The advantage of rewinding over fine-tuning may be linked to shedding
  not reproduced | retraining | n/a
  accuracy | points | networks | 0.007 | 0.002 | test accuracy under LR rewinding minus that under fine-tuning
  correlation | correlation | networks | 0.1 | 0.3 | correlation of gains in accuracy and in excess
B8: Shedding changes which weights are kept
  reproduced | overlap | n/a
  overlap | points | networks | -0.25 | 0.02 | overlap with GMP's mask with shedding minus that without
B9: Shedding has implications for semi-structured pruning
  reproduced | semi_structured | n/a
  loss | points | criteria | -0.05 | 0.008 | test accuracy under a pattern with shedding minus that without
C1: For a small learning rate and enough training gRDA achieves directional pruning
  inconclusive | toy | n/a
  error | number | toy | 0.12 | 0.02 | relative error at the smallest learning rate
  slope | slope | toy | 0.2 | 0.1 | slope of log error on log learning rate
C2: without retraining and without expert knowledge of the sparsity
  inconclusive | accuracy | VGG16: 90.5 % sparse at +0.04 points [computed]
  difference | points | sgd | -0.004 | 0.006 | test accuracy of gRDA minus that of SGD
  sparsity | share | sgd | 0.86 | 0.01 | sparsity that the run reaches by itself
C3: Promising at about 92 % sparsity among many methods on ResNet-50 and ImageNet
  inconclusive | accuracy | 73.24 % at 91.59 % [authors' data]
  gap | points | sgd | 0.01 | 0.008 | test accuracy of gRDA minus that of gradual magnitude pruning
C4: Slightly more wall time and memory than SGD
  reproduced | curvature | × 1.05 to 1.09 per epoch [computed]
  time | ratio | sgd | 0.03 | 0.01 | time of a training step of gRDA to that of SGD
  state | number | sgd | 1.0 | 0.0 | bytes of state to those of the parameters
C5: Accuracy is on a par with SGD
  inconclusive | accuracy | +0.04 to +0.47 points [computed]
  difference | points | sgd | -0.003 | 0.008 | test accuracy of gRDA minus that of SGD
C6: The minimum of gRDA lies in the same valley as that of SGD
  not run at this scale | connectivity | barrier 0.0022 and 0.00007 nats [computed]
  barrier | nats | sgd | 0.002 | 0.001 | highest training loss on the curve minus the higher end's
C7: It does not deviate in directions that impact the training loss
  reproduced | curvature | 0.0034 to 0.0010 [computed]
  share | share | sgd | 0.005 | 0.0004 | share of the displacement in the leading eigenspace
  quadratic | nats | sgd | 8.1 | 1.2 | quadratic term
C8: gRDA concentrates the weights, SGD does not
  reproduced | norms | × 1.90 and 3.97 [authors' data]
  ratio | ratio | sgd | 1.4 | 0.02 | L2/L1 at the end to that at the start
C9: The released code reproduces the results
  not run at this scale | accuracy | n/a
"""
"""Per claim: id, sentence; verdict, figure, published value; quantities: name, unit, cells, mean, spread, meaning."""


def _claims():
    claims = []
    for line in LEDGER.strip().splitlines():
        if not line.startswith(" "):
            identity, sentence = line.split(": ")
        elif line.count(" | ") == 2:
            claims.append((identity, sentence, *line.strip().split(" | "), []))
        else:
            name, unit, cells, mean, spread, meaning = line.strip().split(" | ")
            claims[-1][-1].append((name, meaning, unit, cells, float(mean), float(spread)))
    return claims


CLAIMS = _claims()
IDS = [claim[0] for claim in CLAIMS]
PAPERS = {"A": "s_cyc", "B": "cascade", "C": "directional"}
SCALE = "scaled-down: Fashion-MNIST 16x16, small networks, short training"
T = {2: 12.706, 3: 4.303, 5: 2.776, 10: 2.262}


def ledger(preset="laptop", scale=SCALE, seeds=(0, 1, 2)):
    """claims.json's content: made up, but for A3, which its rule judges."""
    findings = [
        copy.deepcopy(_judged((*seeds,), scale)) if claim[0] == "A3" else _finding(claim, scale, seeds)
        for claim in CLAIMS
    ]
    counts = {verdict: sum(f["verdict"] == verdict for f in findings) for verdict in (YES, NO, OPEN, NONE)}
    return {"preset": preset, "scale": scale, "seeds": [*seeds], "missing": [], "counts": counts, "findings": findings}


def observations(seeds, only=None):
    """Rows of observations.csv, of one claim or of all."""
    return [
        {"claim": identity, "quantity": name, "cell": cell, "seed": seed, "value": value}
        for identity, *_, quantities in CLAIMS
        if only in (None, identity)
        for name, _, _, *drawn_from in quantities
        for cell, values in _values(identity, name, drawn_from, len(seeds)).items()
        for seed, value in zip(seeds, values, strict=True)
    ]


def _values(identity, name, drawn_from, n):
    cells, mean, spread = drawn_from
    draw = random.Random(f"{identity} {name}")
    return {cell: [draw.gauss(mean * draw.uniform(0.6, 1.4), spread) for _ in range(n)] for cell in CELLS[cells]}


@cache
def _judged(seeds, scale):
    laptop = preset(Path(__file__).parents[1], "laptop").model_copy(update={"seeds": [*seeds], "scale": scale})
    return next(f for f in judge(laptop, pd.DataFrame(observations(seeds, "A3")))["findings"] if f["id"] == "A3")


def _finding(claim, scale, seeds):
    identity, sentence, verdict, evidence, published, quantities = claim
    paper = PAPERS[identity[0]]
    n = len(seeds)
    shown = [_quantity(identity, quantity, n) for quantity in quantities]
    first = shown[0] if shown and shown[0]["cells"] else None
    headline = None
    if first:
        means = [cell["mean"] for cell in first["cells"]]
        headline = {
            "quantity": first["name"],
            "meaning": first["meaning"],
            "cell": f"mean over {len(means)} cells",
            **{name: first["pooled"][name] for name in ("mean", "low", "high", "n")},
            "lowest": min(means),
            "highest": max(means),
            "unit": first["unit"],
            "confidence": 0.95,
        }
    why = {
        YES: "Every condition holds.",
        NO: "The interval of the mean lies below the margin.",
        OPEN: "Neither side is sure. Not met: the interval of the mean lies above the margin.",
        NONE: "Measured, but not decided: the ResNet's SGD has reached no minimum, so valleys cannot be compared.",
    }[verdict]
    needed = random.Random(identity).randint(4, 40) if verdict == OPEN else None
    replicates = "timing blocks" if identity == "C4" else "seeds"
    return {
        "id": identity, "paper": paper, "sentence": sentence, "mark": "(implied)" if identity == "A7" else "[abstract]",
        "rule": "Reproduced: the interval of the mean over cells lies above 1 point. "
        "Not reproduced: it lies below 1 point. Inconclusive otherwise.",
        "published": published, "verdict": verdict, "why": why, "scale": scale, "seeds_needed": needed,
        "seeds_note": f"about {needed} {replicates} would decide, as likely as not" if needed else "",
        "conditions": {
            "reproduced": {"the mean gain's interval lies above the margin": verdict == YES},
            "refuted": {"the mean gain's interval lies below the margin": verdict == NO},
        },
        "headline": headline, "replicates": replicates, "quantities": shown,
        "notes": ["Three seeds: a t interval is 4.3 standard errors wide."],
        "tables": [f"{paper}_{'accuracy' if paper == 's_cyc' else evidence}"], "figures": [f"{paper}_{evidence}"],
    }  # fmt: skip


def _quantity(identity, quantity, n):
    name, meaning, unit, *drawn_from = quantity
    values = _values(identity, name, drawn_from, n)
    shown = {
        "name": name, "meaning": meaning, "decides": True, "unit": unit, "confidence": 0.95,
        "margins": [{"label": "margin +1.00 points", "value": 0.01}] if name == "gain" else [], "pooled": None,
        "cells": [
            {"cell": cell, "missing": 0, "p": 0.04, "p_holm": 0.12 if n > 1 else None, **_summary(own)}
            for cell, own in values.items()
        ],
    }  # fmt: skip
    if values:
        means = [sum(seed) / len(seed) for seed in zip(*values.values(), strict=True)]
        pooled = _summary(means)
        enough = len(values) > 2
        random_effects = {f"random_{end}": pooled[end] if enough else None for end in ("mean", "low", "high")}
        shown["pooled"] = {
            **{name: value for name, value in pooled.items() if name != "std"},
            "iqm": pooled["mean"], **random_effects, "i2": 0.12 if n > 1 and enough else None,
        }  # fmt: skip
    return shown


def _summary(values):
    n, mean = len(values), sum(values) / len(values)
    if n == 1:
        empty = dict.fromkeys(("std", "low", "high", "bca_low", "bca_high"))
        return {"n": n, "mean": mean, **empty}
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = T[n] * std / math.sqrt(n)
    ends = {"low": mean - half, "high": mean + half, "bca_low": mean - half / 3, "bca_high": mean + half / 3}
    return {"n": n, "mean": mean, "std": std, **ends}


def write_results(folder, preset, claims=None):
    """A results folder with a ledger, runs and tables for `preset`, and its figures folder; both are returned."""
    results, figures = folder / "results", folder / "figures"
    (results / "tables").mkdir(parents=True)
    figures.mkdir()
    plan = preset.model_dump(mode="json", exclude={"raw_data"})
    (results / "plan.json").write_text(json.dumps(plan))
    claims = claims or ledger(preset.preset, preset.scale, preset.seeds)
    (results / "claims.json").write_text(json.dumps(claims))
    write_rows(results / "observations.csv", observations(claims["seeds"]))
    write_rows(results / "runs.csv", runs(preset))
    for names in (s_cyc_names, cascade_names, directional_names):
        for name in (*names.TABLES, *names.DATA):
            write_rows(results / "tables" / f"{name}.csv", TABLE)
        for name in names.FIGURES:
            (figures / f"{name}.svg").write_text(SVG)
    write_rows(results / "tables" / "calibration.csv", calibration())
    (figures / "calibration_power.svg").write_text(SVG)
    return results, figures


TABLE = [
    {"task": RESNET, "n": 3, "test_accuracy": 0.78033, "std": 0.008, "ci_low": 0.76, "ci_high": 0.80, "best": best,
     "difference": -0.0123, "difference_low": -0.02, "difference_high": 0.001, "control": "", "scale": SCALE}
    for best in (True, False)
]  # fmt: skip

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="518.4pt" height="216pt" viewBox="0 0 518.4 216">'
    '<rect width="518.4" height="216" fill="white"/><path d="M40 180L480 40" stroke="#0072B2" fill="none"/></svg>'
)


def runs(preset):
    """One run per study and seed, as runs.csv has them."""
    return [
        {
            "study": study, "task": task, "part": "", "criterion": "", "schedule": "", "seed": seed, "sparsity": 0.5,
            "status": "trained", "steps": 100, "images": 6400, "flops": 2e12, "flops_sparse": 1e12, "seconds": 40.5,
            "peak_memory_mb": 310.2, "commit": "f3e1277bdd7dbb8c", "dirty": False, "device": "a processor",
            "finished": "2026-11-22T00:42:46+00:00", "platform": "Linux", "precision": "bf16", "threads": 1,
            "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "prunebench": "0.1.0",
            "source_digest": "08dcc1cd457a7472f88f", "folder": f"{study}/{task}/seed-{seed}",
        }
        for study, task in (("s_cyc", RESNET), ("cascade", f"{RESNET}-long"), ("directional", MLP))
        for seed in preset.seeds
    ]  # fmt: skip


def calibration():
    """calibration.csv's rows."""
    return [
        {
            "claim": identity, "n": n, "noise": noise, "tables": 10_000, "null_reproduced": 0.02 + 0.0001 * n,
            "null_reproduced_low": 0.018, "null_reproduced_high": 0.024, "claimed_reproduced": min(0.99, n / 11),
            "claimed_not_reproduced": 0.01, "seeds_for_80": 9, "noise_from": "measured: 3 seeds", "scale": SCALE,
        }
        for identity in IDS
        for n in (3, 5, 10)
        for noise in ("independent", "shared by seed", "heavy-tailed")
    ]  # fmt: skip


def write_rows(path, rows):
    """Rows as CSV; the first names the columns."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def preset(root, name="smoke", **overrides):
    """A preset of the repository at `root`."""
    return load_preset(root / "config" / f"{name}.yaml", overrides)
