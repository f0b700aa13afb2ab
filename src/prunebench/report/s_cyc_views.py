"""The S-Cyc study's tables as readers see them in LaTeX."""

import pandas as pd

from prunebench.report.latex import bold, escape, interval, pivot, spread


def _accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy in % by schedule and sparsity, mean ± std, the best of each column in bold."""
    cells = frame.assign(
        cell=[bold(spread(r.test_accuracy, r.std, 100, 1), r.best) for r in frame.itertuples()],
        n=frame["n"].astype(str),
    )
    return pivot(cells, ["task", "criterion", "schedule", "n"], "cycle")


def _oracle(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sparsity": [escape(f"{100 * s:.1f} %") for s in frame["sparsity"]],
            "oracle max_lr": [f"{lr:.3g}" for lr in frame["oracle_max_lr"]],
            "near-best": [f"{r.low:g} to {r.high:g}" for r in frame.itertuples()],
            "schedule max_lr": [f"{lr:.3g}" for lr in frame["schedule_max_lr"]],
            "inside": ["yes" if inside else "no" for inside in frame["inside"]],
            "oracle - schedule, points": [
                interval(100 * r.difference, 100 * r.difference_low, 100 * r.difference_high, 1)
                for r in frame.itertuples()
            ],
        }
    )


def _cost(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": frame["task"].map(escape),
            "criterion": frame["criterion"].map(escape),
            "schedule": frame["schedule"].map(escape),
            "n": frame["n"].astype(str),
            "updates": [f"{steps:.0f}" for steps in frame["steps"]],
            "TFLOPs": [f"{flops / 1e12:.3g}" for flops in frame["flops"]],
            "seconds": [spread(r.seconds, r.seconds_std, 1, 1) for r in frame.itertuples()],
            "peak memory, MB": [f"{mb:.0f}" for mb in frame["peak_memory_mb"]],
            "time / cyclical": [
                interval(r.seconds_ratio, r.seconds_ratio_low, r.seconds_ratio_high, 2) for r in frame.itertuples()
            ],
        }
    )


def _gradients(frame: pd.DataFrame) -> pd.DataFrame:
    """Std of dL/dw over surviving weights relative to the dense network's, by network and sparsity."""
    shown = frame[frame["weights"] == "surviving"]
    cells = shown.assign(
        cell=[interval(r.std_ratio, r.std_ratio_low, r.std_ratio_high, 2) for r in shown.itertuples()],
    )
    return pivot(cells, ["task", "criterion", "schedule", "at"], "cycle")


VIEWS = {
    "s_cyc_accuracy": _accuracy,
    "s_cyc_oracle": _oracle,
    "s_cyc_cost": _cost,
    "s_cyc_gradients": _gradients,
}
