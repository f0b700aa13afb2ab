"""The directional-pruning study's tables as readers see them in LaTeX: shares and accuracies in %, differences in
points, what spans orders of magnitude to three digits."""

from collections.abc import Sequence

import pandas as pd

from prunebench.suite.report.latex import accuracies, escape, intervals, number


def _names(frame: pd.DataFrame, *columns: str) -> dict[str, list[str]]:
    return {name.replace("_", " "): [escape(value) for value in frame[name]] for name in columns}


def _digits(values: Sequence[float], none: str = "n/a") -> list[str]:
    """Three significant digits."""
    return [text if (text := number(value, None)) != "n/a" else none for value in values]


def _settings(frame: pd.DataFrame) -> dict[str, list[str]]:
    """gRDA's setting: a run's own, or the one that a baseline is matched to."""
    return {"gRDA": [escape(name) if name else "none" for name in frame["matched_to"]]}


def _accuracies(frame: pd.DataFrame) -> dict[str, list[str]]:
    shares = {"sparsity, %": intervals(frame, "sparsity"), "test accuracy, %": accuracies(frame)}
    return _names(frame, "n") | shares


def accuracy_table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "method")
        | _settings(frame)
        | {"l1 penalty": _digits(frame["strength"], "none")}
        | _names(frame, "epochs")
        | _accuracies(frame)
        | {
            "minus SGD, points": intervals(frame, "difference", null=0),
            "gRDA minus it, points": intervals(frame, "grda_difference", null=0),
        }
    )


def sensitivity(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task")
        | {
            "c": _digits(frame["c"]),
            "mu": _digits(frame["mu"]),
            "c / reference": _digits(frame["c_factor"]),
            "mu minus reference": _digits(frame["mu_shift"]),
        }
        | _accuracies(frame)
        | {
            "minus SGD, points": intervals(frame, "difference", null=0),
            "sparsity minus reference, points": intervals(frame, "sparsity_change", null=0),
        }
    )


def overhead(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "network", "parameters", "measure", "optimizer")
        | {
            "blocks": [str(n) for n in frame["n"]],
            "ms": _digits(frame["milliseconds"]),
            "time / SGD": intervals(frame, "ratio_sgd", 1, 2, null=1),
            "time / SGD with momentum": intervals(frame, "ratio_momentum", 1, 2, null=1),
            "time / authors' gRDA": intervals(frame, "ratio_reference", 1, 2, null=1),
            "state / parameters": [number(value, 2) for value in frame["state_ratio"]],
            "peak / parameters": [number(value, 2) for value in frame["peak_ratio"]],
        }
    )


def connectivity(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "pair", "path", "n")
        | {
            "barrier, nats": intervals(frame, "barrier", 1, None),
            "above the line between its ends, nats": intervals(frame, "above_line", 1, None),
            "minus SGD to SGD, nats": intervals(frame, "control_difference", 1, None, null=0),
            "train error rise, points": intervals(frame, "error_rise", 100, 2),
            "higher end, nats": _digits(frame["end_loss"]),
            "lower end, nats": _digits(frame["lower_end_loss"]),
            "test error, most, %": intervals(frame, "test_error_most"),
            "test error, end, %": intervals(frame, "test_error_end"),
            "length / distance": intervals(frame, "length_ratio", 1, 2),
            "barrier with stale statistics, nats": intervals(frame, "stale_barrier", 1, None),
        }
    )


def curvature(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "epoch", "pair", "k", "n")
        | {
            "share": intervals(frame, "share", 1, None),
            "chance": _digits(frame["chance"]),
            "share / chance": intervals(frame, "over_chance", 1, None, null=1),
            "share / control's": intervals(frame, "control_ratio", 1, None, null=1),
            "share / first epoch's": intervals(frame, "early_ratio", 1, None, null=1),
            "quadratic term, nats": intervals(frame, "quadratic", 1, None),
            "displacement / weights": _digits(frame["norm_ratio"]),
            "weights' own share": _digits(frame["own_share"]),
            "top eigenvalue": _digits(frame["top_eigenvalue"]),
        }
    )


def norms(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "method")
        | _settings(frame)
        | _names(frame, "n")
        | {
            "start": intervals(frame, "start", 1, None),
            "end": intervals(frame, "end", 1, None),
            "end / start": intervals(frame, "ratio", 1, 2, null=1),
            "floor": _digits(frame["floor"]),
        }
    )


def toy(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "problem", "fixed")
        | {name: _digits(frame[name]) for name in ("d", "flat", "gamma")}
        | {"updates": [number(value, 0) for value in frame["steps"]], "lambda": _digits(frame["lam"])}
        | _names(frame, "n")
        | {
            "error": intervals(frame, "error", 1, None),
            "error of soft-thresholding": intervals(frame, "soft_error", 1, None),
            "cosine": intervals(frame, "cosine", 1, 3),
            "sparsity, %": intervals(frame, "sparsity"),
            "slope of log error": intervals(frame, "slope", 1, 2, null=0),
        }
    )
