"""gRDA against directional pruning on problems whose flat directions are known."""

import math
from dataclasses import asdict
from pathlib import Path

import torch

from prunebench.analysis.directional import run_toy, toy_problem
from prunebench.files import write_json
from prunebench.papers.directional.spec import ExactProblem
from prunebench.runs.provenance import provenance


def solve(spec: ExactProblem, runs: Path, out: Path) -> None:
    """Solves a problem at every seed and learning rate, with c fixed and with lam fixed; writes toy.csv, spec.json and
    provenance.json.

    With c fixed, as the theorem has it, lam = c sqrt(gamma) t^mu falls with gamma, so that an effect of first order in
    lam looks like one of first order in gamma. With lam fixed at its value for the largest gamma, c grows as gamma
    falls.
    """
    rows = []
    for seed in spec.seeds:
        problem = toy_problem(spec.problem, seed)
        for gamma in spec.gamma:
            for fixed, c in (("c", spec.c), ("lam", spec.c * math.sqrt(max(spec.gamma) / gamma))):
                done = run_toy(problem, gamma=gamma, t=spec.t, c=c, mu=spec.mu, seed=seed)
                print(f"seed {seed} gamma {gamma:g} {fixed} fixed: error {done.error:.4f}", flush=True)
                rows.append({"seed": seed, "fixed": fixed} | asdict(done))
    spec.write(out, {"toy": rows})
    write_json(out / "spec.json", spec.content())
    write_json(out / "provenance.json", provenance(torch.device("cpu"), "fp64", "none"))
