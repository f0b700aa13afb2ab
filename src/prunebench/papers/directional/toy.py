"""gRDA against directional pruning on the problems whose flat directions are known."""

import math
from dataclasses import asdict, fields
from pathlib import Path

import torch

from prunebench.analysis.directional import ToyRun, run_toy, toy_problem
from prunebench.files import write_csv, write_json
from prunebench.papers.directional.spec import ExactProblem
from prunebench.runs.provenance import provenance

COLUMNS = ["seed", "fixed", *(field.name for field in fields(ToyRun))]
"""The columns of toy.csv."""


def solve(spec: ExactProblem, runs: Path, out: Path) -> None:
    """Every seed and learning rate of `spec`, with c fixed and with lam fixed: rows of toy.csv; spec.json and
    provenance.json beside it.

    With c fixed, as the theorem has it, lam = c sqrt(gamma) t^mu falls with gamma, and what is first order in lam looks
    like what is first order in gamma. With lam fixed at what it is for the largest gamma, c grows as gamma falls.
    """
    rows = []
    for seed in spec.seeds:
        problem = toy_problem(spec.problem, seed)
        for gamma in spec.gamma:
            for fixed, c in (("c", spec.c), ("lam", spec.c * math.sqrt(max(spec.gamma) / gamma))):
                done = run_toy(problem, gamma=gamma, t=spec.t, c=c, mu=spec.mu, seed=seed)
                print(f"seed {seed} gamma {gamma:g} {fixed} fixed: error {done.error:.4f}", flush=True)
                rows.append({"seed": seed, "fixed": fixed} | asdict(done))
    write_csv(out / "toy.csv", rows, COLUMNS)
    write_json(out / "spec.json", spec.content())
    write_json(out / "provenance.json", provenance(torch.device("cpu"), "fp64", "none"))
