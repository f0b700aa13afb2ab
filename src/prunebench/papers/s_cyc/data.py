"""What the S-Cyc study's tables and claims are made from: ends of cycles, the oracle's candidates, gradients."""

from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from prunebench.papers.s_cyc.config import SCyc
from prunebench.runs.spec import Trained
from prunebench.suite.preset import Preset
from prunebench.suite.study import Study, stacked

CHAIN = ["task", "criterion", "schedule", "seed"]
"""What names a pruning chain."""

CHAINS = ("prune_chains", "measure_gradients")
"""The stages of the chains."""


@dataclass
class Data:
    """The study's runs, stacked, with the axes of each row."""

    study: Study
    differences: dict[tuple[str | None, str | None], pd.DataFrame] = field(default_factory=dict, init=False, repr=False)
    """What `measures.differences` has made, which several claims and their notes ask for."""

    @property
    def preset(self) -> Preset:
        """The preset."""
        return self.study.preset

    @property
    def config(self) -> SCyc:
        """The study's part of the preset."""
        config: SCyc = self.study.config
        return config

    @cached_property
    def cycles(self) -> pd.DataFrame:
        """The end and cost of every cycle of the accuracy comparison, the oracle's choices among them."""
        return stacked([*self._chains(), self.candidates[self.candidates["selected"] == 1]])

    @cached_property
    def cost(self) -> pd.DataFrame:
        """The same, the oracle with all its candidates."""
        return stacked([*self._chains(), self.candidates])

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """Every candidate of the oracle, and whether it was selected; no rows without an oracle."""
        rows = self.study.rows("select_max_lr", "selection")
        return rows if len(rows) else pd.DataFrame(columns=[*CHAIN, "cycle", "selected"])

    @cached_property
    def gradients(self) -> pd.DataFrame:
        """Every measurement of the gradients; no rows where none is measured."""
        return self.study.rows("measure_gradients", "gradients")

    @cached_property
    def histograms(self) -> pd.DataFrame:
        """Histograms of the gradients."""
        return self.study.rows("measure_gradients", "gradient_histograms")

    @cached_property
    def timing(self) -> pd.DataFrame:
        """Seconds and updates of a block's chains by schedule, without those that warm up; no rows without timing."""
        rows = self.study.rows("time_schedules", "phases")
        if not len(rows):
            return rows
        blocks = rows[rows["block"] > 0].groupby(["block", "schedule"], sort=False)
        return blocks[["seconds", "steps"]].sum().reset_index()

    @cached_property
    def defects(self) -> pd.DataFrame:
        """The end of every cycle of the chains that defects are measured on, as the scripts measure it and as we do.

        Of the cycles that trained: `accuracy`, `whole_batches`, `augmented` after the last epoch; `best`, the highest
        accuracy of an epoch; `reported`, the highest of augmented images in whole batches. `nominal` and `reached` are
        sparsities of the prune before the cycle. No rows where the preset leaves the part out.
        """
        ends, tested, prunes = (
            self.study.rows("measure_defects", table) for table in ("phases", "tested", "thresholds")
        )
        if not len(ends):
            return ends
        key = [*CHAIN, "cycle"]
        last = {name: (name, "last") for name in ("accuracy", "whole_batches", "augmented")}
        most = {"best": ("accuracy", "max"), "reported": ("augmented_whole_batches", "max")}
        measured = tested.sort_values("epoch", kind="stable").groupby(key).agg(**last, **most).reset_index()
        rows = ends.merge(measured, on=key, how="left").merge(prunes[[*key, "nominal", "reached"]], on=key, how="left")
        # Epochs before one that diverged say nothing of the network that a cycle ends with.
        named = [*last, *most]
        rows[named] = rows[named].where(rows["status"] == "trained")
        return rows

    def _chains(self) -> list[pd.DataFrame]:
        """The cycles of each chain that is compared: that of the dense network, which chains share, comes first."""
        ends, dense = self.study.rows(CHAINS, "phases").groupby(CHAIN), self.study.rows("train_dense", "phases")
        # A dense network is an arm of one phase: one row per job.
        first = {job.folder: dense.iloc[[row]] for row, job in enumerate(self.study.jobs("train_dense"))}
        chains = {(job.task, *job.axes.values(), job.seed): job for job in self.study.jobs(*CHAINS)}
        compared = self.config.compared()
        parts: list[pd.DataFrame] = []
        for cell in self.config.cells():
            for seed in self.preset.seeds_of(cell.task) if cell in compared else ():
                start = chains[*cell, seed].arms[0].start
                if isinstance(start, Trained):
                    parts.append(first[start.run].assign(criterion=cell.criterion, schedule=cell.schedule))
                parts.append(ends.get_group((*cell, seed)))
        return parts


def unpruned(study: Study) -> pd.DataFrame:
    """The ends of the dense networks, those included that chains which are measured train for themselves."""
    own = [study.rows(stage, "phases") for stage in ("measure_gradients", "measure_defects")]
    return stacked([study.rows("train_dense", "phases"), *(rows[rows["cycle"] == 0] for rows in own if len(rows))])


def read(study: Study) -> Data:
    """The study's data."""
    return Data(study)
