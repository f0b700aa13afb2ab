"""The cascade study's tables whose columns in LaTeX are values of a row: thresholds and sparsities."""

import pandas as pd

from prunebench.suite.report.latex import accuracies, escape, intervals, number, pivot, sure_of, typeset


def shedding(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per setting and pruned share, the excess by threshold."""
    keys = ["task", "criterion", "max_lr", "weight_decay", "pruned_share"]
    rows = []
    for (task, criterion, max_lr, weight_decay, pruned_share), cell in frame.groupby(keys, sort=False):
        counts = sorted({int(n) for n in cell["n"]})
        excess = zip(cell["threshold"], intervals(cell, "excess", null=0), strict=True)
        rows.append(
            {"task": escape(task), "criterion": escape(criterion)}
            | {"LR": typeset(f"{max_lr:g}"), "weight decay": typeset(f"{weight_decay:g}")}
            | {"pruned, %": f"{100 * pruned_share:g}", "epochs": f"{cell['epoch'].iloc[0]:g}"}
            | {"clock": number(cell["clock"].iloc[0], ".3g")}
            | {"n": str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"}
            | {f"excess, {threshold}, points": text for threshold, text in excess}
        )
    return pd.DataFrame(rows).fillna("n/a")


def criteria(frame: pd.DataFrame) -> pd.DataFrame:
    """By criterion, prelude and sparsity: test accuracy in %, the best of each column and task in bold.

    Then, where preludes have controls, test accuracy minus that with the control. Accuracies are marked where the
    difference to global magnitude without a prelude excludes 0.
    """
    keys = ["task", "criterion", "prelude", "control", "n"]
    cells = frame.assign(n=frame["n"].astype(str), control=[name or "none" for name in frame["prelude_control"]])
    wide = pivot(cells.assign(cell=accuracies(frame, sure_of(frame, "difference"))), keys, "sparsity")
    if not frame["prelude_control"].any():
        return wide.drop(columns="control")
    minus = pivot(cells.assign(cell=intervals(frame, "control_difference", null=0)), keys, "sparsity")
    return wide.join(minus.drop(columns=keys).add_prefix("minus control, points, "))
