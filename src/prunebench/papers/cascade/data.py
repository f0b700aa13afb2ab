"""What the cascade study's tables and claims are made from: ends of arms, shed shares, overlaps of kept weights."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from prunebench.papers.cascade.plan import STAGES
from prunebench.suite.claim import ROUNDING
from prunebench.suite.study import RUN, Study

SETTING = ["criterion", "max_lr", "weight_decay", "pruned_share"]
_STRUCTURES = {"dead_filters": "filters", "dead_channels": "channels"}
THRESHOLDS = ("absolute", "relative", "removable", "in_dead", *_STRUCTURES)
"""What runs measure: shed shares of survivors, and the shares of filters and of input channels that are dead."""


def from_part(name: str) -> Callable[[Callable[..., Iterable[Any]]], Callable[..., list[Any]]]:
    """Decorates a function of (data, ...) that yields rows of one part: none where the preset leaves the part out."""

    def decorate(make: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
        @wraps(make)
        def rows(data: "Data", *rest: Any) -> list[Any]:
            return [] if getattr(data.config, name) is None else list(make(data, *rest))

        return rows

    return decorate


class Data(Study):
    """The study's runs, part by part."""

    def controls(self) -> dict[str, str]:
        """The control of each prelude that has one: of those that are meant to shed."""
        return {name: prelude.control for name, prelude in self.config.preludes.items() if prelude.control}

    def part_rows(self, part: str, table: str) -> pd.DataFrame:
        """One table of all jobs of a part, with the arms' axes.

        A run's measured `sparsity` becomes `sparsity_now`; `sparsity` is the one that the arm is named by.
        """
        rows = self.rows(STAGES[part], table)
        return rows if "sparsity_now" in rows else rows.rename(columns={"sparsity": "sparsity_now"})

    def ends(self, part: str) -> pd.DataFrame:
        """The last phase of every run, with its axes; `clock` is NaN where the run diverged before its end."""
        phases = self.part_rows(part, "phases")
        # The cost of the last phase is not that of the run.
        ends = phases[phases["phase"] == phases["last_phase"]].drop(columns=["phase", "steps", "flops_sparse"])
        return ends.assign(clock=ends["clock"].where(ends["status"] == "trained"))

    def trained(self, part: str, table: str) -> pd.DataFrame:
        """A table of the runs that did not diverge: what a diverging run measured means nothing."""
        ends = self.ends(part)
        return self.part_rows(part, table).merge(ends.loc[ends["status"] == "trained", RUN], on=RUN)

    def shed_shares(self, part: str) -> pd.DataFrame:
        """Shed shares of every pruned arm, and as `<threshold>_control` of its control, where both are measured."""
        rows = self.trained(part, "shedding")
        # 0 of 0, where no layer has input channels, is NaN
        rows = rows.assign(**{dead: rows[dead] / rows[whole] for dead, whole in _STRUCTURES.items()})
        at, pruned = ["task", "seed", "followed", "epoch"], rows["arm"] == rows["followed"]
        control = rows.loc[~pruned, [*at, *THRESHOLDS]]
        return rows[pruned].merge(control, on=at, suffixes=("", "_control"), validate="one_to_one")

    def pruned_ends(self, part: str) -> pd.DataFrame:
        """The last phase of every pruned run, with the shed shares at its end and `excess`, that of `relative`."""
        ends, shares = self.ends(part), self.shed_shares(part)
        measured = [*THRESHOLDS, *(f"{name}_control" for name in THRESHOLDS)]
        last = shares.loc[shares["epoch"] == shares["last_epoch"], [*RUN, *measured]]
        pruned = ends[ends["criterion"] != "none"].merge(last, on=RUN, how="left")
        return pruned.assign(excess=pruned["relative"] - pruned["relative_control"])

    def reaching(self) -> pd.DataFrame:
        """How near each run of gradual pruning comes to plain gradual pruning of its seed, and what that takes.

        No diverged runs. `lead` is the best validation accuracy at the end of an epoch in which the network is as
        sparse as when its training ends, minus plain gradual pruning's last one; NaN where that diverged. `steps` and
        `flops_sparse` are updates and FLOPs, from the arm's start to the first such epoch with a lead of at least minus
        claim B5b's margin; NaN without.
        """
        ends = self.ends("gmp")
        trained = ends[ends["status"] == "trained"]
        final = trained[[*RUN, "sparsity_now"]].rename(columns={"sparsity_now": "final"})
        plain = trained.loc[trained["prelude"] == "none", ["task", "seed", "sparsity", "validation_accuracy"]]
        plain = plain.rename(columns={"validation_accuracy": "goal"})
        epochs = self.part_rows("gmp", "epochs").merge(final, on=RUN)
        epochs = epochs[(epochs["sparsity_now"] - epochs["final"]).abs() < ROUNDING]
        epochs = epochs.merge(plain, on=["task", "seed", "sparsity"], how="left")
        epochs["lead"] = epochs["validation_accuracy"] - epochs["goal"]
        # at the goal is enough, whichever way the last bit was rounded
        near = epochs["lead"] >= -self.margins.b5b_reach - ROUNDING
        reached = epochs.loc[near, [*RUN, "steps", "flops_sparse"]].drop_duplicates(RUN)
        best = epochs.groupby(RUN, sort=False)["lead"].max().reset_index()
        return best.merge(reached, on=RUN, how="left")

    def overlaps(self) -> pd.DataFrame:
        """All pairs of networks, with `beyond`, their overlap beyond chance, and `sound`: neither diverged."""
        pairs, ends = self.rows("compare_masks", "overlap"), self.ends("criteria")
        trained = pd.MultiIndex.from_frame(ends.loc[ends["status"] == "trained", RUN])
        sides = [pd.MultiIndex.from_frame(pairs[["task", f"seed_{x}", f"arm_{x}"]]).isin(trained) for x in "ab"]
        return pairs.assign(beyond=pairs["jaccard"] - pairs["chance"], sound=np.logical_and(*sides))


def read(study: Study) -> Data:
    """The study's data."""
    return Data(study.paper, study.plan, study.runs)
