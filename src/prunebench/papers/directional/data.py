"""The frames that the directional study's tables and claims read; each is computed once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from prunebench.papers.directional.config import INIT, ORDER, SGD, UNCUT, Directional, arm_of
from prunebench.runs.spec import Trained
from prunebench.suite.study import RUN, Study

COMPARED = ("train_minima", "train_baselines")
"""Stages whose arms are compared in accuracy, trajectory and layers."""


def where(rows: pd.DataFrame, **values: str | float) -> pd.DataFrame:
    """The rows with these values."""
    for name, value in values.items():
        rows = rows[rows[name] == value]
    return rows


@dataclass
class Data:
    """The study's runs."""

    study: Study

    @property
    def config(self) -> Directional:
        """The study's part of the preset."""
        config: Directional = self.study.config
        return config

    def reference(self, task: str) -> str:
        """The arm of a task's reference setting of gRDA."""
        return arm_of(self.config.grda[task][0])

    # --- Arms

    def _arms(self, table: str, *stages: str) -> pd.DataFrame:
        """A table of the arms of these stages, without the runs of SGD that are controls of other tables.

        Adds `before`, the epochs of the network that an arm starts from, and `epochs`, these and the arm's. c and mu
        are NaN where an arm has none.
        """
        rows = self.study.rows(stages, table)
        starts = {
            (job.task, job.seed, arm.name): arm.start.epoch if isinstance(arm.start, Trained) else 0
            for job in self.study.jobs(*stages)
            for arm in job.arms
        }
        before = [starts[run] for run in zip(*(rows[name] for name in RUN), strict=True)]
        rows = rows.assign(before=before, epochs=rows["last_epoch"] + before)
        rows = rows.assign(strength=rows.get("strength", np.nan))
        rows = rows.astype({"c": float, "mu": float, "strength": float})
        return rows[~rows["method"].isin([ORDER, INIT, UNCUT])]

    def _ends_of(self, *stages: str) -> pd.DataFrame:
        """Where every arm of these stages ended; sparsities (shares of zeros) are NaN where it diverged.

        Left out are arms that were not trained because there was no sparsity to match, and l1 penalties other than the
        one with the best mean validation accuracy at a sparsity.
        """
        phases = self._arms("phases", *stages).drop(columns=["sparsity", "density", "sparsity_start"])
        last = self.study.rows(stages, "weights").drop_duplicates(RUN, keep="last")
        ends = phases.merge(last[[*RUN, "sparsity", "sparsity_all", "parameters"]], on=RUN, how="left")
        ends = ends[ends["status"] != "unmatched"]
        for name in ("sparsity", "sparsity_all"):
            ends[name] = ends[name].where(ends["status"] == "trained")
        setting = ["task", "matched_to", "strength"]
        scores = ends[ends["method"] == "l1"].groupby(setting)["validation_accuracy"].mean()
        chosen = list(scores.groupby(["task", "matched_to"]).idxmax()) if len(scores) else []
        return ends[(ends["method"] != "l1") | pd.MultiIndex.from_frame(ends[setting]).isin(chosen)]

    @cached_property
    def ends(self) -> pd.DataFrame:
        """The ends of minima and baselines."""
        return self._ends_of(*COMPARED)

    @cached_property
    def around(self) -> pd.DataFrame:
        """The ends of gRDA around the reference."""
        return self._ends_of("train_around")

    @cached_property
    def released(self) -> pd.DataFrame:
        """The ends of gRDA as released."""
        return self._ends_of("train_released")

    def trained(self, table: str, *stages: str) -> pd.DataFrame:
        """A table of the arms that are compared and did not diverge."""
        rows = self._arms(table, *(stages or COMPARED))
        return rows.merge(self.ends.loc[self.ends["status"] == "trained", RUN], on=RUN)

    @cached_property
    def concentration(self) -> pd.DataFrame:
        """`ratio`, l2 / l1 over all d parameters, of the minima after every epoch, and its least, d^-1/2."""
        weights = self.trained("weights", "train_minima")
        return weights.assign(ratio=weights["l2"] / weights["l1"], floor=weights["parameters"] ** -0.5)

    # --- Between minima

    def between_trained(self, stage: str, table: str, pair: str = "") -> pd.DataFrame:
        """The rows of a table whose pair names methods that did not diverge by the end of their training.

        pair: that of all rows, for a table without this column.
        """
        rows = self.study.rows(stage, table)
        if not len(rows):
            return rows
        ends = self.study.rows("train_minima", "phases")
        trained = set(ends.loc[ends["status"] == "trained", RUN].itertuples(index=False, name=None))
        pairs = rows["pair"] if not pair else [pair] * len(rows)
        kept = [
            all(
                (task, seed, self.reference(task) if method == "grda" else method) in trained
                for method in each.split(":")
            )
            for task, seed, each in zip(rows["task"], rows["seed"], pairs, strict=True)
        ]
        return rows[kept]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Every point of every path between two networks that did not diverge."""
        return self.between_trained("connect_minima", "paths")

    @cached_property
    def curvature(self) -> pd.DataFrame:
        """Every row of curvature with the largest eigenvalue at its epoch; none where the preset leaves it out."""
        rows, key = self.between_trained("measure_curvature", "curvature"), ["task", "seed", "epoch"]
        if self.config.curvature is None:
            return rows
        top = where(self.study.rows("measure_curvature", "eigenvalues"), rank=1)[[*key, "eigenvalue"]]
        rows = rows.merge(top.rename(columns={"eigenvalue": "top_eigenvalue"}), on=key, how="left")
        return rows.assign(over_chance=rows["share"] / rows["chance"])


def unpruned(study: Study) -> pd.DataFrame:
    """The ends of SGD: this study starts from no dense network."""
    return where(study.rows("train_minima", "phases"), method=SGD)


def read(study: Study) -> Data:
    """The study's data."""
    return Data(study)
