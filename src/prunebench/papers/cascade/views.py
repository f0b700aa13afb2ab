"""The cascade study's tables as readers see them in LaTeX: shares and accuracies in %, differences in points."""

from collections.abc import Sequence

import pandas as pd

from prunebench.suite.report.latex import (
    accuracies,
    escape,
    intervals,
    number,
    pivot,
    sure_of,
    typeset,
    with_best,
)


def _names(frame: pd.DataFrame, *columns: str) -> dict[str, list[str]]:
    return {name: [escape(value) for value in frame[name]] for name in columns}


def _percent(values: Sequence[float], digits: int = 1) -> list[str]:
    return [number(100 * value, digits) for value in values]


def _clocks(values: Sequence[float]) -> list[str]:
    return [number(value, None) for value in values]


def _accuracies(frame: pd.DataFrame) -> dict[str, list[str]]:
    return {"n": [str(n) for n in frame["n"]], "test accuracy, %": accuracies(frame)}


def shedding(frame: pd.DataFrame) -> pd.DataFrame:
    """One line per setting and dose, the excess by threshold."""
    keys = ["task", "criterion", "max_lr", "weight_decay", "pruned_share"]
    rows = []
    for key, cell in frame.groupby(keys, sort=False):
        named = dict(zip(keys, key, strict=True))
        counts = sorted({int(n) for n in cell["n"]})
        excess = zip(cell["threshold"], intervals(cell, "excess", null=0), strict=True)
        rows.append(
            {"task": escape(named["task"]), "criterion": escape(named["criterion"])}
            | {"LR": typeset(f"{named['max_lr']:g}"), "weight decay": typeset(f"{named['weight_decay']:g}")}
            | {"pruned, %": f"{100 * named['pruned_share']:g}", "epochs": f"{cell['epoch'].iloc[0]:g}"}
            | {"clock": _clocks(cell["clock"])[0]}
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
    minus = pivot(cells.assign(cell=intervals(frame, "control_difference", null=0)), keys, "sparsity").drop(
        columns=keys
    )
    return wide.join(minus.add_prefix("minus control, points, "))


def retraining(frame: pd.DataFrame) -> pd.DataFrame:
    frame = with_best(frame, "task", "criterion", "sparsity")
    return pd.DataFrame(
        _names(frame, "task", "criterion")
        | {"sparsity, %": _percent(frame["sparsity"])}
        | _names(frame, "retraining")
        | _accuracies(frame)
        | {
            "minus fine-tuning, points": intervals(frame, "difference", null=0),
            "clock": _clocks(frame["clock"]),
            "excess, points": intervals(frame, "excess", null=0),
            "excess minus fine-tuning's, points": intervals(frame, "excess_difference", null=0),
        }
    )


def schedules(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "criterion")
        | {"sparsity, %": _percent(frame["sparsity"])}
        | _names(frame, "pruning", "lr_schedule")
        | _accuracies(frame)
        | {
            "clock": _clocks(frame["clock"]),
            "shed, %": _percent(frame["shed"]),
            "excess, points": intervals(frame, "excess", null=0),
        }
    )


def _control(frame: pd.DataFrame) -> dict[str, list[str]]:
    """What the prelude does beyond its control, which is named."""
    names = [escape(name) if name else "none" for name in frame["prelude_control"]]
    return {"control": names, "minus control, points": intervals(frame, "control_difference", null=0)}


def gmp(frame: pd.DataFrame) -> pd.DataFrame:
    frame = with_best(frame, "task", "sparsity")
    return pd.DataFrame(
        _names(frame, "task", "prelude")
        | {"sparsity, %": _percent(frame["sparsity"])}
        | _accuracies(frame)
        | {
            "minus no prelude, points": intervals(frame, "difference", null=0),
            **_control(frame),
            "harvested, %": _percent(frame["harvested"]),
            "reach plain": [f"{row.reached} of {row.n}" for row in frame.itertuples()],
            "updates until then": [number(steps, 0) for steps in frame["steps"]],
            "updates / plain": intervals(frame, "steps_ratio", 1, 2, null=1),
            "sparse FLOPs / plain": intervals(frame, "flops_ratio", 1, 2, null=1),
        }
    )


def overlap(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task")
        | {"sparsity, %": _percent(frame["sparsity"])}
        | _names(frame, "comparison", "a", "b", "n")
        | {
            "Jaccard": [number(value, 3) for value in frame["jaccard"]],
            "chance": [number(value, 3) for value in frame["chance"]],
            "excess": intervals(frame, "excess", 1, 3, null=0),
        }
    )


def semi_structured(frame: pd.DataFrame) -> pd.DataFrame:
    frame = with_best(frame, "task", "pattern")
    return pd.DataFrame(
        _names(frame, "task", "pattern", "prelude")
        | {"sparsity, %": _percent(frame["sparsity"])}
        | _accuracies(frame)
        | {
            "minus no prelude, points": intervals(frame, "difference", null=0),
            **_control(frame),
            "groups that fit before, %": intervals(frame, "fitting"),
        }
    )
