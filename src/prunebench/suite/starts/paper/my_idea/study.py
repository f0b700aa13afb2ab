"""From the paper's runs to its table, figure and claim."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from prunebench.suite import summaries
from prunebench.suite.claim import Observed, Quantity, observed
from prunebench.suite.conditions import declare, pooled
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import footer, interval_text, new_figure, pretty
from prunebench.suite.study import Study


def read(study: Study) -> pd.DataFrame:
    """The end of every arm, one row per task, seed, planned sparsity and criterion."""
    return study.rows("prune_my_idea", "phases").drop(columns="sparsity_now")  # the measured one


def accuracy(ends: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table: mean accuracy over seeds."""
    return [axes | summaries.accuracy(runs) for axes, runs in summaries.cells(ends, "task", "sparsity", "criterion")]


def figure(drawn: Drawn) -> Figure:
    """Accuracy by criterion and sparsity."""
    frame = drawn.tables["my_idea_accuracy"]
    fig = new_figure(1.2 + 0.3 * len(frame))
    ax = fig.add_subplot()
    names = [f"{row.task}, {100 * row.sparsity:g} %\n{pretty(row.criterion)}" for row in frame.itertuples()]
    ax.barh(range(len(frame)), 100 * frame["test_accuracy"], color="#0072B2")
    ax.set_yticks(range(len(frame)), names)
    ax.invert_yaxis()
    ax.set_xlabel("test accuracy (%), mean over seeds")
    footer(fig, drawn.scale, [interval_text(frame["n"])])
    return fig


def gains(ends: pd.DataFrame, method: str | None) -> list[Observed]:
    """Test accuracy after a prune by magnitude minus after a random one, seed by seed."""
    wide = ends.pivot(index=["task", "sparsity", "seed"], columns="criterion", values="test_accuracy").reset_index()
    return observed("gain", wide, wide["global_magnitude"] - wide["random"], "task", "sparsity")


CLAIMS = (
    declare(
        id="Z1",
        sentence="Magnitude keeps more accuracy than random pruning.",
        mark="[ours]",
        quantities=(Quantity("gain", "test accuracy after a prune by magnitude minus after a random one", "points"),),
        rule="Reproduced where the 95 % interval of the mean gain over cells lies above {z1_gain:.0%} (absolute), not "
        "reproduced where it lies below.",
        reproduced={"the mean gain is above the margin": pooled("gain", ">", "z1_gain")},
        refuted={"the mean gain is below the margin": pooled("gain", "<", "z1_gain")},
        claimed={"gain": 0.1},
        false={"gain": "z1_gain"},
        claimed_as="ten points [ours]",
        observe=gains,
        tables=("my_idea_accuracy",),
        figures=("my_idea_accuracy",),
    ),
)
