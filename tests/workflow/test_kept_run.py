"""The kept laptop run is what this machine computes, to the byte: the same libraries on an x86-64 CPU with AVX2."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from prunebench.runs import numerics
from prunebench.runs.run import run_job
from prunebench.suite.paper import resolve
from prunebench.suite.preset import parse_preset
from prunebench.suite.report.tables import write_table
from prunebench.suite.study import Study

KEPT = Path(__file__).parents[2] / "results" / "reference" / "laptop"


@pytest.fixture
def versions():
    """Skips where the libraries are others than those of the kept run."""
    import numpy
    import torch

    with (KEPT / "runs.csv").open(newline="") as file:
        of = next(csv.DictReader(file))
    kept = of["torch"].split("+")[0], of["numpy"]
    if (torch.__version__.split("+")[0], numpy.__version__) != kept or not numerics.can_be_portable():
        pytest.skip(f"the kept run is of torch {kept[0]} and NumPy {kept[1]} on an x86-64 CPU with AVX2")


@pytest.mark.usefixtures("versions", "one_thread")
def test_the_exact_problems_give_the_kept_table(tmp_path):
    """They need no data set: gRDA's and SGD's ends on 20 problems of 40 weights and the directional pruning of them."""
    preset = parse_preset(json.loads((KEPT / "plan.json").read_text()), "plan.json")
    paper, _ = preset.studies()["directional"]
    study = Study.of(paper, preset, tmp_path)
    for stage in study.stages.values():
        if stage.name == "solve_exact":
            for job in stage.jobs:
                run_job(job, resolve(stage.run, paper.package), tmp_path / job.folder, tmp_path)
    (table,) = [each for each in paper.tables if each.name == "directional_toy"]
    made = pd.DataFrame(paper.resolve(table.make)(paper.resolve(paper.read)(study)))
    write_table(table, made, preset.scale, tmp_path, paper)
    assert (tmp_path / "directional_toy.csv").read_bytes() == (KEPT / "tables" / "directional_toy.csv").read_bytes()
