"""What the directional study's tables and claims are made from; each frame is computed once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from prunebench.papers.directional.config import INIT, ORDER, UNCUT, Directional, arm_of
from prunebench.runs.spec import Trained
from prunebench.suite.preset import Preset
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
    def preset(self) -> Preset:
        """The preset."""
        return self.study.preset

    @property
    def config(self) -> Directional:
        """The study's part of the preset."""
        config: Directional = self.study.config
        return config

    def reference(self, task: str) -> str:
        """The arm of a task's reference setting of gRDA."""
        return arm_of(self.config.grda[task][0])

    def rows(self, stage: str, table: str) -> pd.DataFrame:
        """A table of all jobs of a stage."""
        return self.study.rows(stage, table)

    # --- Arms

    def _arms(self, table: str, *stages: str) -> pd.DataFrame:
        """A table of the arms of these stages, without the runs of SGD that are controls of other tables.

        With `before`, the epochs behind the network that an arm starts from, and `epochs`, these and its own. c and mu
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

        An arm that had nothing to be matched to was not trained and is left out, and so is an l1 penalty of another
        strength than the one with the best mean validation accuracy at its sparsity.
        """
        phases = self._arms("phases", *stages).drop(columns=["sparsity", "density", "sparsity_start"])
        last = self.study.rows(stages, "weights").drop_duplicates(RUN, keep="last")
        ends = phases.merge(last[[*RUN, "sparsity", "sparsity_all", "parameters"]], on=RUN, how="left")
        ends = ends[ends["status"] != "unmatched"]
        for name in ("sparsity", "sparsity_all"):
            ends[name] = ends[name].where(ends["status"] == "trained")
        scores = ends[ends["method"] == "l1"].groupby(["task", "matched_to", "strength"])["validation_accuracy"].mean()
        chosen = set(scores.groupby(["task", "matched_to"]).idxmax()) if len(scores) else set()
        keys = zip(ends["task"], ends["matched_to"], ends["strength"], strict=True)
        kept = [key in chosen or method != "l1" for key, method in zip(keys, ends["method"], strict=True)]
        return ends[np.array(kept, dtype=bool)]

    @cached_property
    def ends(self) -> pd.DataFrame:
        """The ends of minima and baselines."""
        return self._ends_of(*COMPARED)

    @cached_property
    def around(self) -> pd.DataFrame:
        """The ends of gRDA around the reference."""
        return self._ends_of("train_around")

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

    def between_trained(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Only rows whose `pair`, by methods, names two networks that did not diverge by the end of their training."""
        ends = self.study.rows("train_minima", "phases")
        sound = set(ends.loc[ends["status"] == "trained", RUN].itertuples(index=False, name=None))
        both = [
            all(
                (task, seed, self.reference(task) if method == "grda" else method) in sound
                for method in pair.split(":")
            )
            for task, seed, pair in zip(rows["task"], rows["seed"], rows["pair"], strict=True)
        ]
        return rows.loc[np.array(both, dtype=bool)]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Every point of every path between two networks that did not diverge."""
        return self.between_trained(self.rows("connect_minima", "paths"))

    @cached_property
    def curvature(self) -> pd.DataFrame:
        """Every row of curvature with the largest eigenvalue at its epoch; none where the preset leaves it out."""
        if self.config.curvature is None:
            return pd.DataFrame()
        rows, key = self.between_trained(self.rows("measure_curvature", "curvature")), ["task", "seed", "epoch"]
        top = where(self.rows("measure_curvature", "eigenvalues"), rank=1)[[*key, "eigenvalue"]]
        rows = rows.merge(top.rename(columns={"eigenvalue": "top_eigenvalue"}), on=key, how="left")
        return rows.assign(over_chance=rows["share"] / rows["chance"])

    # --- Without a task

    @cached_property
    def toy(self) -> pd.DataFrame:
        """Every row of every exact problem."""
        return self.rows("solve_exact", "toy")

    @cached_property
    def seconds(self) -> pd.DataFrame:
        """Seconds by network, measure, optimizer and block."""
        return self.rows("time_optimizers", "seconds")

    @cached_property
    def memory(self) -> pd.DataFrame:
        """Bytes by network and optimizer."""
        return self.rows("time_optimizers", "memory")


def read(study: Study) -> Data:
    """The study's data."""
    return Data(study)
