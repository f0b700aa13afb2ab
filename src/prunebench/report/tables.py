"""Tables as files: tidy CSV for programs, booktabs LaTeX for papers."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from prunebench.files import write_text
from prunebench.studies.s_cyc_names import DATA, TABLES


def write_tables(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Writes every table as <name>.csv, and those for readers as <name>.tex too.

    A table that the preset does not make (no oracle, no gradients) is written with a header and no rows, so that its
    absence shows.
    """
    for name in (*TABLES, *DATA):
        frame = tables.get(name, pd.DataFrame(columns=["scale"]))
        write_text(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        if name in TABLES:
            view = VIEWS[name](frame) if len(frame) else frame
            write_text(out / f"{name}.tex", _latex(name, view, frame))


def _latex(name: str, view: pd.DataFrame, frame: pd.DataFrame) -> str:
    scale = str(frame["scale"].iloc[0]) if len(frame) else "no rows"
    body = view.rename(columns=_escape).to_latex(index=False, escape=False, column_format="l" * len(view.columns))
    return f"% {name} ({scale}). Needs booktabs.\n{body}"


def _accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy in % by schedule and sparsity, mean ± std, the best of each column in bold."""
    cells = frame.assign(
        cell=[_bold(_spread(r.test_accuracy, r.std, 100, 1), r.best) for r in frame.itertuples()],
        n=frame["n"].astype(str),
    )
    return _pivot(cells, ["task", "criterion", "schedule", "n"])


def _oracle(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sparsity": [_escape(f"{100 * s:.1f} %") for s in frame["sparsity"]],
            "oracle max_lr": [f"{lr:.3g}" for lr in frame["oracle_max_lr"]],
            "near-best": [f"{r.low:g} to {r.high:g}" for r in frame.itertuples()],
            "schedule max_lr": [f"{lr:.3g}" for lr in frame["schedule_max_lr"]],
            "inside": ["yes" if inside else "no" for inside in frame["inside"]],
            "oracle - schedule, points": [
                _interval(100 * r.difference, 100 * r.difference_low, 100 * r.difference_high, 1)
                for r in frame.itertuples()
            ],
        }
    )


def _cost(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": frame["task"].map(_escape),
            "criterion": frame["criterion"].map(_escape),
            "schedule": frame["schedule"].map(_escape),
            "n": frame["n"].astype(str),
            "updates": [f"{steps:.0f}" for steps in frame["steps"]],
            "TFLOPs": [f"{flops / 1e12:.3g}" for flops in frame["flops"]],
            "seconds": [_spread(r.seconds, r.seconds_std, 1, 1) for r in frame.itertuples()],
            "peak memory, MB": [f"{mb:.0f}" for mb in frame["peak_memory_mb"]],
            "time / cyclical": [
                _interval(r.seconds_ratio, r.seconds_ratio_low, r.seconds_ratio_high, 2) for r in frame.itertuples()
            ],
        }
    )


def _gradients(frame: pd.DataFrame) -> pd.DataFrame:
    """Std of dL/dw over surviving weights relative to the dense network's, by network and sparsity."""
    shown = frame[frame["weights"] == "surviving"]
    cells = shown.assign(
        cell=[_interval(r.std_ratio, r.std_ratio_low, r.std_ratio_high, 2) for r in shown.itertuples()],
    )
    return _pivot(cells, ["task", "criterion", "schedule", "at"])


VIEWS = {
    "s_cyc_accuracy": _accuracy,
    "s_cyc_oracle": _oracle,
    "s_cyc_cost": _cost,
    "s_cyc_gradients": _gradients,
}


def _pivot(cells: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    """One line per index in the order they come in, one column per pruning cycle, named by its mean sparsity.

    By cycle, because sparsities of one cycle differ in rounding (exact counts, networks, scopes) and those of the last
    cycles may print alike.
    """
    wide = cells.pivot_table(index=index, columns="cycle", values="cell", aggfunc="first", sort=False)
    sparsity = cells.groupby("cycle")["sparsity"].mean()  # sorted by cycle
    wide = wide.reindex(columns=sparsity.index).fillna("n/a")
    digits = next((d for d in range(1, 6) if len({f"{100 * s:.{d}f}" for s in sparsity}) == len(sparsity)), 6)
    wide = wide.set_axis([f"{100 * s:.{digits}f} %" for s in sparsity], axis=1).reset_index()
    for name in index:
        wide[name] = wide[name].map(_escape)
    return wide


def _spread(mean: float, std: float, factor: float, digits: int) -> str:
    if math.isnan(std):
        return f"{factor * mean:.{digits}f}"
    return f"{factor * mean:.{digits}f} $\\pm$ {factor * std:.{digits}f}"


def _interval(mean: float, low: float, high: float, digits: int) -> str:
    if math.isnan(mean):
        return "n/a"
    if math.isnan(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _bold(text: str, bold: bool) -> str:
    return f"\\textbf{{{text}}}" if bold else text


def _escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in str(text))
