"""From the runs of the rewinding study to its table, figure and claims."""

import pandas as pd
from matplotlib.figure import Figure

from prunebench.suite import summaries
from prunebench.suite.claim import Observed, Quantity, Sample, observed
from prunebench.suite.conditions import Check, declare, every, some
from prunebench.suite.report.draw import Drawn
from prunebench.suite.report.style import footer, interval_text, new_figure, pretty
from prunebench.suite.study import Study

CELL = ["task", "sparsity"]


def read(study: Study) -> pd.DataFrame:
    """The end of every arm, one row per task, seed, planned sparsity and way."""
    return study.rows("retrain_pruned", "phases").drop(columns="sparsity_now")  # the measured one


def accuracy(ends: pd.DataFrame) -> list[dict]:
    """Rows of the table: mean accuracy over seeds, and its difference to fine-tuning."""
    rows = []
    for axes, cell in summaries.cells(ends, *CELL):
        tuned = cell[cell["way"] == "fine_tune"]
        for way, runs in summaries.cells(cell, "way"):
            rows.append(axes | way | summaries.accuracy(runs) | summaries.difference(runs, tuned))
    return rows


def figure(drawn: Drawn) -> Figure:
    """The gain of each way of rewinding over fine-tuning, with intervals."""
    frame = drawn.tables["rewinding_accuracy"].query("way != 'fine_tune'")
    fig = new_figure(1.2 + 0.32 * len(frame))
    ax = fig.add_subplot()
    mean, low, high = (100 * frame[f"difference{end}"] for end in ("", "_low", "_high"))
    ax.errorbar(mean, range(len(frame)), xerr=[mean - low, high - mean], fmt="o", color="#D55E00", capsize=2)
    ax.axvline(0, color="0.3", linewidth=0.9)
    ax.axvline(100 * drawn.margins.d1_gain, color="0.3", linewidth=0.9, dashes=(1, 1.5))
    names = [f"{pretty(row.way)}\n{row.task}, {100 * row.sparsity:g} %" for row in frame.itertuples()]
    ax.set_yticks(range(len(frame)), names)
    ax.invert_yaxis()
    ax.set_xlabel("test accuracy minus fine-tuning's (points); dotted: margin of D1")
    footer(fig, drawn.scale, [interval_text(frame["n"])])
    return fig


def differences(ends: pd.DataFrame, quantity: str, ways: list[str], reference: str) -> list[Observed]:
    """Check accuracy after each of these ways minus that after `reference`, seed by seed."""
    wide = ends.pivot(index=[*CELL, "seed"], columns="way", values="test_accuracy").reset_index()
    frame = pd.concat([wide.assign(way=way, value=wide[way] - wide[reference]) for way in ways])
    return observed(quantity, frame, frame["value"], *CELL, "way")


def on_several_networks(sample: Sample, margins) -> bool:
    """One network cannot show what is so across networks."""
    return len({dict(cell)["task"] for cell in sample.cells["lag"]}) > 1


SHOWN = ("rewinding_accuracy",)
COMMON = {"tables": SHOWN, "figures": SHOWN}
GAIN = Quantity("gain", "test accuracy after rewinding minus after fine-tuning", "points")
LAG = Quantity("lag", "test accuracy after another way minus after LR rewinding", "points")
CLAIMS = (
    declare(
        id="D1",
        sentence="Weight rewinding and learning-rate rewinding both outperform fine-tuning.",
        quantities=(GAIN,),
        rule="Reproduced where the 95 % interval of the paired difference lies above 0 for both ways in every cell; "
        "not reproduced where for some way it lies below {d1_gain:.1%} (absolute), corrected.",
        reproduced={"in every cell each way of rewinding gains": every("gain", ">", 0)},
        refuted={"in a cell one gains less than the margin": some("gain", "<", "d1_gain")},
        claimed={"gain": 0.01},
        false={"gain": 0},
        claimed_as="one point [ours]",
        observe=lambda ends, method: differences(ends, "gain", ["rewind_lr", "rewind_weights"], "fine_tune"),
        **COMMON,
    ),
    declare(
        id="D2",
        sentence="Learning-rate rewinding is the basis of a pruning algorithm that is competitive across networks.",
        quantities=(LAG,),
        rule="Reproduced where on at least two networks LR rewinding loses less than {d2_margin:.1%} (absolute) to each"
        " other way in every cell; not reproduced where it loses more in some cell, corrected.",
        reproduced={
            "on two networks or more, in every cell, LR rewinding loses less than the margin": (
                Check(on_several_networks),
                every("lag", "<", "d2_margin"),
            )
        },
        refuted={"in a cell it loses more": some("lag", ">", "d2_margin")},
        claimed={"lag": 0},
        false={"lag": "d2_margin"},
        claimed_as="no difference [ours]",
        observe=lambda ends, method: differences(ends, "lag", ["fine_tune", "rewind_weights"], "rewind_lr"),
        **COMMON,
    ),
)
