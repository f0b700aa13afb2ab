"""What the cascade study's tables and claims are made from: ends of arms, shed shares, overlaps; each computed once."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from prunebench.papers.cascade.config import Cascade, CascadeMargins
from prunebench.papers.cascade.plan import STAGES
from prunebench.suite.claim import ROUNDING
from prunebench.suite.preset import Preset
from prunebench.suite.study import RUN, Study, read_table

SETTING = ["criterion", "max_lr", "weight_decay", "pruned_share"]
_SURVIVORS = ("absolute", "relative", "removable", "in_dead")
_STRUCTURES = {"dead_filters": "filters", "dead_channels": "channels"}
THRESHOLDS = (*_SURVIVORS, *_STRUCTURES)
"""What runs measure: shed shares of survivors, and the shares of filters and of input channels that are dead."""


@dataclass
class Data:
    """The study's runs, part by part."""

    study: Study
    _ends: dict[str, pd.DataFrame] = field(default_factory=dict)
    _shares: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def preset(self) -> Preset:
        """The preset."""
        return self.study.preset

    @property
    def config(self) -> Cascade:
        """The study's part of the preset."""
        config: Cascade = self.study.config
        return config

    @property
    def margins(self) -> CascadeMargins:
        """The margins of the claims."""
        margins: CascadeMargins = self.study.margins
        return margins

    def rows(self, part: str, table: str) -> pd.DataFrame:
        """One table of all jobs of a part, with the arms' axes.

        A run's own `sparsity` becomes `sparsity_now`; `sparsity` is the one that the arm is named by.
        """
        rows = self.study.rows(STAGES[part], table)
        return rows if "sparsity_now" in rows else rows.rename(columns={"sparsity": "sparsity_now"})

    def ends(self, part: str) -> pd.DataFrame:
        """The last phase of every run, with its axes; `clock` is NaN where the run diverged before its end."""
        if part not in self._ends:
            phases = self.rows(part, "phases")
            ends = phases[phases["phase"] == phases["last_phase"]]
            kept = [name for name in ends if name not in ("phase", "steps", "images", "flops", "flops_sparse")]
            self._ends[part] = ends[kept].assign(clock=ends["clock"].where(ends["status"] == "trained"))
        return self._ends[part]

    def trained(self, part: str, table: str) -> pd.DataFrame:
        """A table of the runs that did not diverge: what a run measured while it did is worth nothing."""
        ends = self.ends(part)
        return self.rows(part, table).merge(ends.loc[ends["status"] == "trained", RUN], on=RUN)

    def shed_shares(self, part: str) -> pd.DataFrame:
        """Shed shares of every pruned arm, and as `<threshold>_control` of its control, wherever both are measured."""
        if part not in self._shares:
            rows = self.trained(part, "shedding")
            # 0 of 0, where no layer has input channels, is NaN
            rows = rows.assign(**{dead: rows[dead] / rows[whole] for dead, whole in _STRUCTURES.items()})
            at, own = ["task", "seed", "followed", "epoch"], rows["arm"] == rows["followed"]
            control = rows.loc[~own, [*at, *THRESHOLDS]]
            self._shares[part] = rows[own].merge(control, on=at, suffixes=("", "_control"), validate="one_to_one")
        return self._shares[part]

    def pruned_ends(self, part: str) -> pd.DataFrame:
        """The last phase of every pruned run, with the shed shares at its end and `excess`, the relative one's."""
        ends, shares = self.ends(part), self.shed_shares(part)
        measured = [*THRESHOLDS, *(f"{name}_control" for name in THRESHOLDS)]
        last = shares.loc[shares["epoch"] == shares["last_epoch"], [*RUN, *measured]]
        pruned = ends[ends["criterion"] != "none"].merge(last, on=RUN, how="left")
        return pruned.assign(excess=pruned["relative"] - pruned["relative_control"])

    @cached_property
    def reaching(self) -> pd.DataFrame:
        """How near each run of GMP comes to plain gradual pruning of its seed, and what it takes to reach it.

        No diverged runs. `lead` is the best validation accuracy at the end of an epoch in which the network is as
        sparse as when its training ends, minus plain gradual pruning's last one; NaN where that diverged. `steps` and
        `flops_sparse` are updates and FLOPs, from the arm's start to the first such epoch with a lead of at least minus
        claim B5b's margin; NaN without.
        """
        ends = self.ends("gmp")
        sound = ends[ends["status"] == "trained"]
        final = sound[[*RUN, "sparsity_now"]].rename(columns={"sparsity_now": "final"})
        plain = sound.loc[sound["prelude"] == "none", ["task", "seed", "sparsity", "validation_accuracy"]]
        plain = plain.rename(columns={"validation_accuracy": "goal"})
        epochs = self.rows("gmp", "epochs").merge(final, on=RUN)
        epochs = epochs[(epochs["sparsity_now"] - epochs["final"]).abs() < ROUNDING]
        epochs = epochs.merge(plain, on=["task", "seed", "sparsity"], how="left")
        epochs["lead"] = epochs["validation_accuracy"] - epochs["goal"]
        # at the goal is enough, whichever way the last bit was rounded
        near = epochs["lead"] >= -self.margins.b5b_reach - ROUNDING
        there = epochs.loc[near, [*RUN, "steps", "flops_sparse"]].drop_duplicates(RUN)
        best = epochs.groupby(RUN, sort=False)["lead"].max().reset_index()
        return best.merge(there, on=RUN, how="left")

    def compared_tasks(self) -> list[str]:
        """Tasks whose kept weights have been compared: while seeds are missing they are not."""
        jobs = {job.task: job for job in self.study.jobs("compare_masks")}
        return [task for task, job in jobs.items() if (self.study.runs / job.folder / "overlap.csv").exists()]

    def overlaps(self, task: str) -> pd.DataFrame:
        """A task's pairs of networks, with `beyond`, their overlap beyond chance, and `sound`: neither diverged."""
        (job,) = (job for job in self.study.jobs("compare_masks") if job.task == task)
        pairs, ends = read_table(self.study.runs / job.folder / "overlap.csv"), self.ends("criteria")
        trained = ends[(ends["task"] == task) & (ends["status"] == "trained")]
        known = set(zip(trained["arm"], trained["seed"], strict=True))
        sides = [[run in known for run in zip(pairs[f"arm_{x}"], pairs[f"seed_{x}"], strict=True)] for x in "ab"]
        return pairs.assign(beyond=pairs["jaccard"] - pairs["chance"], sound=np.all(sides, axis=0))


def read(study: Study) -> Data:
    """The study's data."""
    return Data(study)
