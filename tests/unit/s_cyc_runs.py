"""Made-up runs of a tiny S-Cyc study, with numbers that can be worked out by hand."""

import math

from prunebench.config import parse_preset
from prunebench.files import write_csv, write_json

GRID = [0.1, 0.2, 0.4]
SCHEDULES = ("cyclical", "constant", "step_decay", "lr_warmup", "s_cyc", "constant_at_top")


def made_preset(*, oracle=True, gradients=True, criteria=("layer_magnitude", "global_gradient"), seeds=(0, 1, 2)):
    def task(activation):
        return {
            "dataset": "d",
            "network": {"kind": "mlp", "activation": activation},
            "training": {"epochs": 2, "batch_size": 10},
        }

    s_shape = {"kind": "s_shape", "rate": 0.5, "delay": 1, "eps": 0.1, "alpha": 0.1, "beta": 2}
    policies = {"s_cyc": s_shape, "constant_at_top": {"kind": "fixed", "max_lr": 0.2}}
    roles = {"s_cyc": "method", "constant_at_top": "control"}
    content = {
        "preset": "tiny",
        "scale": "x",
        "seeds": list(seeds),
        "datasets": {"d": {"source": "digits", "train": 100, "validation": 10}},
        "tasks": {"net": task("relu"), "net-tanh": task("tanh")},
        "schedules": {
            name: {
                "profile": {"kind": "constant" if name == "constant" else "cyclical"},
                "policy": policies.get(name, {"kind": "fixed", "max_lr": 0.1}),
                "role": roles.get(name, "benchmark"),
            }
            for name in SCHEDULES
        },
        "s_cyc": {
            "pruning": {"rate": 0.5, "cycles": 3, "score_images": 100},
            "accuracy": [
                {"tasks": ["net"], "criteria": ["global_magnitude"], "schedules": list(SCHEDULES)},
                {"tasks": ["net"], "criteria": list(criteria), "schedules": ["cyclical", "s_cyc"]},
            ],
        },
    }
    if gradients:
        content["s_cyc"]["gradients"] = [
            {"tasks": ["net"], "criteria": ["global_magnitude", "random"], "schedules": ["cyclical"]},
            {"tasks": ["net-tanh"], "criteria": ["global_magnitude"], "schedules": ["cyclical"]},
        ]
        content["s_cyc"]["gradient_measure"] = {"images": 100}
    if oracle:
        content["s_cyc"]["oracle"] = {
            "task": "net",
            "criterion": "global_magnitude",
            "schedule": "s_cyc",
            "max_lr": GRID,
            "tolerance": 0.01,
        }
    return parse_preset(content, "tiny")


ABOVE = {
    "cyclical": 0.0,
    "constant": -0.05,
    "step_decay": -0.1,
    "lr_warmup": -0.1,
    "s_cyc": 0.02,
    "constant_at_top": 0.015,
}
"""Test accuracy of a schedule above `cyclical`; on validation `constant` is the better benchmark in cycle 1 only."""
SLOPES = {("net", "global_magnitude"): -0.2, ("net", "random"): 0.1, ("net-tanh", "global_magnitude"): -0.05}
CHOSEN = [0.1, 0.1, 0.2, 0.4]
"""The oracle's max_lr by cycle."""


def write_made_runs(preset, runs, *, untrained=()):
    """Run folders with the numbers above; cycles in `untrained` never learn, and have gradients of another kind."""
    for spec in preset.s_cyc_chains():
        folder, cycles, cost, gradients = runs / spec.folder, [], [], []
        for cycle in range(4):
            density = 0.5**cycle
            axes, name = {"cycle": cycle, "density": density, "sparsity": 1 - density}, spec.schedule_name
            validation = 0.9 if (name, cycle) == ("constant", 1) else 0.75 if name == "cyclical" else 0.7
            test = 0.6 + ABOVE[name] * cycle + (0.01 if name == "s_cyc" else 0.001) * spec.seed
            scores = {"validation_accuracy": validation, "test_accuracy": test}
            cycles.append(axes | {"max_lr": 0.1, "status": "trained", **scores})
            took = {"steps": 10, "images": 100, "flops": 1, "flops_sparse": 1, "peak_memory_mb": 1}
            cost.append({"cycle": cycle, "seconds": 1 + 0.1 * spec.seed * (name == "s_cyc"), **took})
            for share, loss in ((0.2, 2.0), (1.0, 1.9 if cycle in untrained else 0.5)):
                std = math.exp(SLOPES.get((spec.task, spec.criterion), 0) * cycle + 0.01 * spec.seed)
                std *= 100 if cycle in untrained else 1
                for weights in ("surviving", "all_zeroed"):
                    measured = {"weights": weights, "n": 10, "loss": loss, "std": std, "iqr_over_1349": std}
                    gradients.append({"cycle": cycle, "share": share, "sparsity": 1 - density, **measured})
        for name, rows in (("cycles", cycles), ("cost", cost), ("gradients", gradients)):
            write_csv(folder / f"{name}.csv", rows, list(rows[0]))
        bins = {"share": 1.0, "sparsity": 0.0, "left": 0.0, "right": 1.0, "count": 1}
        write_csv(folder / "gradient_histograms.csv", [{"cycle": 0, **bins}], ["cycle", *bins])
    for job in preset.s_cyc_oracle_jobs():
        rows = []
        for max_lr in GRID:
            chosen = max_lr == CHOSEN[job.cycle]
            density = 0.5**job.cycle
            rows.append(
                {"cycle": job.cycle, "max_lr": max_lr, "density": density, "sparsity": 1 - density, "status": "trained"}
                | {"validation_accuracy": 0.8 if chosen else 0.75, "test_accuracy": 0.65 + 0.01 * job.seed}
                | {"steps": 10, "images": 100, "flops": 1, "flops_sparse": 1, "seconds": 1, "peak_memory_mb": 1}
                | {"selected": int(chosen)}
            )
        write_csv(runs / job.folder.rsplit("/", 1)[0] / "selection.csv", rows, list(rows[0]))
    for spec in (*preset.s_cyc_chains(), *preset.s_cyc_oracle_jobs()):
        write_json(runs / spec.folder / "provenance.json", {})
