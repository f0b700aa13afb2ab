"""The S-Cyc study's tables as readers see them in LaTeX."""

import pandas as pd

from prunebench.suite.report.latex import accuracies, escape, intervals, number, pivot, sure_of, typeset


def accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy in % by schedule and sparsity, mean ± std, the best of each column in bold.

    Marked where the paired difference to the best benchmark excludes 0; not for benchmarks, one of which was selected.
    """
    sure = pd.Series(sure_of(frame, "difference"), frame.index)
    marks = sure & (frame["role"] != "benchmark")
    cells = frame.assign(cell=accuracies(frame, marks), n=frame["n"].astype(str))
    return pivot(cells, ["task", "criterion", "schedule", "n"], "cycle")


def oracle(frame: pd.DataFrame) -> pd.DataFrame:
    """The oracle's max_lr, the near-best range and the schedule's max_lr by cycle, and the difference in accuracy."""
    return pd.DataFrame(
        {
            "sparsity": [escape(f"{100 * s:.1f} %") for s in frame["sparsity"]],
            "oracle max_lr": [number(lr, ".3g") for lr in frame["oracle_max_lr"]],
            "near-best": [f"{typeset(f'{r.low:g}')} to {typeset(f'{r.high:g}')}" for r in frame.itertuples()],
            "schedule max_lr": [number(lr, ".3g") for lr in frame["schedule_max_lr"]],
            "inside": frame["inside"].map({True: "yes", False: "no"}),
            "oracle minus schedule, points": intervals(frame, "difference", null=0),
        }
    )


def gradients(frame: pd.DataFrame) -> pd.DataFrame:
    """Std of dL/dw over surviving weights relative to the dense network's, by network and sparsity."""
    shown = frame[frame["weights"] == "surviving"]
    cells = shown.assign(cell=intervals(shown, "std_ratio", ".2f", null=1))
    return pivot(cells, ["task", "criterion", "schedule", "at"], "cycle")


def released(frame: pd.DataFrame) -> pd.DataFrame:
    """What each defect of the released scripts adds, in points, by sparsity."""
    cells = frame.assign(cell=intervals(frame, "effect", ".2%", null=0))
    return pivot(cells, ["task", "criterion", "defect"], "cycle")
