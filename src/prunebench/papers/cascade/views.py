"""The cascade study's tables as readers see them in LaTeX: shares and accuracies in %, differences in points."""

from collections.abc import Callable

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

View = Callable[[pd.DataFrame], pd.DataFrame]
Texts = Callable[[pd.DataFrame], list[str]]
"""What makes the cells of a column."""


def _view(*columns: str | tuple[str, Texts], best: tuple[str, ...] = ()) -> View:
    """Columns: the name of a column of text, or a header with what makes its cells.

    best: the highest accuracy of the rows that agree in these columns is bold; by default the one that `best` marks.
    """

    def view(frame: pd.DataFrame) -> pd.DataFrame:
        frame = with_best(frame, *best) if best else frame
        named = [(column, _names(column)) if isinstance(column, str) else column for column in columns]
        return pd.DataFrame({header: texts(frame) for header, texts in named})

    return view


def _names(column: str, empty: str = "") -> Texts:
    return lambda frame: [escape(name) if name != "" else empty for name in frame[column]]


def _numbers(column: str, digits: int | None, factor: float = 1) -> Texts:
    return lambda frame: [number(factor * value, digits) for value in frame[column]]


def _intervals(column: str, factor: float = 100, digits: int = 1, null: float = 0) -> Texts:
    return lambda frame: intervals(frame, column, factor, digits, null=null)


SPARSITY = ("sparsity, %", _numbers("sparsity", 1, 100))
ACCURACY = ("n", ("test accuracy, %", accuracies))
CLOCK = ("clock", _numbers("clock", None))
EXCESS = ("excess, points", _intervals("excess"))
AGAINST_PLAIN = ("minus no prelude, points", _intervals("difference"))
AGAINST_CONTROL = (
    ("control", _names("prelude_control", "none")),
    ("minus control, points", _intervals("control_difference")),
)


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
            | {"clock": number(cell["clock"].iloc[0], None)}
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


retraining = _view(
    *("task", "criterion", SPARSITY, "retraining", *ACCURACY),
    ("minus fine-tuning, points", _intervals("difference")),
    *(CLOCK, EXCESS),
    ("excess minus fine-tuning's, points", _intervals("excess_difference")),
    best=("task", "criterion", "sparsity"),
)
schedules = _view(
    *("task", "criterion", SPARSITY, "pruning", "lr_schedule", *ACCURACY, CLOCK),
    *(("shed, %", _numbers("shed", 1, 100)), EXCESS),
)
gmp = _view(
    *("task", "prelude", SPARSITY, *ACCURACY, AGAINST_PLAIN, *AGAINST_CONTROL),
    ("harvested, %", _numbers("harvested", 1, 100)),
    ("reach plain", lambda frame: [f"{row.reached} of {row.n}" for row in frame.itertuples()]),
    ("updates until then", _numbers("steps", 0)),
    ("updates / plain", _intervals("steps_ratio", 1, 2, null=1)),
    ("sparse FLOPs / plain", _intervals("flops_ratio", 1, 2, null=1)),
    best=("task", "sparsity"),
)
overlap = _view(
    *("task", SPARSITY, "comparison", "a", "b", "n"),
    *(("Jaccard", _numbers("jaccard", 3)), ("chance", _numbers("chance", 3)), ("excess", _intervals("excess", 1, 3))),
)
semi_structured = _view(
    *("task", "pattern", "prelude", SPARSITY, *ACCURACY, AGAINST_PLAIN, *AGAINST_CONTROL),
    ("groups that fit before, %", _intervals("fitting", null=float("nan"))),
    best=("task", "pattern"),
)
