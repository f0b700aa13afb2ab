"""The directional-pruning study's tables as readers see them in LaTeX: shares and accuracies in %, differences in
points, what spans orders of magnitude to three digits."""

import math
from collections.abc import Sequence

import pandas as pd

from prunebench.report.latex import accuracy, escape, intervals, number


def _names(frame: pd.DataFrame, *columns: str) -> dict[str, list[str]]:
    return {name.replace("_", " "): [escape(value) for value in frame[name]] for name in columns}


def _digits(values: Sequence[float], none: str = "n/a") -> list[str]:
    """Three significant digits."""
    return [none if math.isnan(value) else f"{value:.3g}" for value in values]


def _digits_interval(frame: pd.DataFrame, name: str) -> list[str]:
    columns = (_digits(frame[name + end], "") for end in ("", "_low", "_high"))
    return [f"{mean} [{low}, {high}]" if low else mean or "n/a" for mean, low, high in zip(*columns, strict=True)]


def _settings(frame: pd.DataFrame) -> dict[str, list[str]]:
    """gRDA's setting: a run's own, or the one that a baseline is matched to."""
    return {"gRDA": [escape(name) if name else "none" for name in frame["matched_to"]]}


def _accuracies(frame: pd.DataFrame) -> dict[str, list[str]]:
    cells = [accuracy(row) for row in frame.itertuples()]
    return _names(frame, "n") | {"sparsity, %": intervals(frame, "sparsity"), "test accuracy, %": cells}


def _accuracy_table(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "method")
        | _settings(frame)
        | {"l1 penalty": _digits(frame["strength"], "none")}
        | _names(frame, "epochs")
        | _accuracies(frame)
        | {
            "minus SGD, points": intervals(frame, "difference"),
            "gRDA minus it, points": intervals(frame, "grda_difference"),
        }
    )


def _sensitivity(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task")
        | {
            "c": _digits(frame["c"]),
            "mu": _digits(frame["mu"]),
            "c / reference": _digits(frame["c_factor"]),
            "mu - reference": _digits(frame["mu_shift"]),
        }
        | _accuracies(frame)
        | {
            "minus SGD, points": intervals(frame, "difference"),
            "sparsity minus reference, points": intervals(frame, "sparsity_change"),
        }
    )


def _overhead(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "network", "parameters", "measure", "optimizer")
        | {
            "blocks": [str(n) for n in frame["n"]],
            "ms": _digits(frame["milliseconds"]),
            "time / SGD": intervals(frame, "ratio_sgd", 1, 2),
            "time / SGD with momentum": intervals(frame, "ratio_momentum", 1, 2),
            "time / authors' gRDA": intervals(frame, "ratio_reference", 1, 2),
            "state / parameters": [number(value, 2) for value in frame["state_ratio"]],
            "peak / parameters": [number(value, 2) for value in frame["peak_ratio"]],
        }
    )


def _connectivity(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "pair", "path", "n")
        | {
            "barrier, nats": _digits_interval(frame, "barrier"),
            "above the line between its ends, nats": _digits_interval(frame, "above_line"),
            "minus SGD to SGD, nats": _digits_interval(frame, "control_difference"),
            "train error rise, points": intervals(frame, "error_rise", 100, 2),
            "higher end, nats": _digits(frame["end_loss"]),
            "lower end, nats": _digits(frame["lower_end_loss"]),
            "test error, most, %": intervals(frame, "test_error_most"),
            "test error, end, %": intervals(frame, "test_error_end"),
            "length / distance": intervals(frame, "length_ratio", 1, 2),
            "barrier with stale statistics, nats": _digits_interval(frame, "stale_barrier"),
        }
    )


def _curvature(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "epoch", "pair", "k", "n")
        | {
            "share": _digits_interval(frame, "share"),
            "chance": _digits(frame["chance"]),
            "share / chance": _digits_interval(frame, "over_chance"),
            "share / control's": _digits_interval(frame, "control_ratio"),
            "share / first epoch's": _digits_interval(frame, "early_ratio"),
            "quadratic term, nats": _digits_interval(frame, "quadratic"),
            "displacement / weights": _digits(frame["norm_ratio"]),
            "weights' own share": _digits(frame["own_share"]),
            "top eigenvalue": _digits(frame["top_eigenvalue"]),
        }
    )


def _norms(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "task", "method")
        | _settings(frame)
        | _names(frame, "n")
        | {
            "start": _digits_interval(frame, "start"),
            "end": _digits_interval(frame, "end"),
            "end / start": intervals(frame, "ratio", 1, 2),
            "floor": _digits(frame["floor"]),
        }
    )


def _toy(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        _names(frame, "problem", "fixed")
        | {name: _digits(frame[name]) for name in ("d", "flat", "gamma")}
        | {"updates": [number(value, 0) for value in frame["steps"]], "lambda": _digits(frame["lam"])}
        | _names(frame, "n")
        | {
            "error": _digits_interval(frame, "error"),
            "error of soft-thresholding": _digits_interval(frame, "soft_error"),
            "cosine": intervals(frame, "cosine", 1, 3),
            "sparsity, %": intervals(frame, "sparsity"),
            "slope of log error": intervals(frame, "slope", 1, 2),
        }
    )


VIEWS = {
    "directional_accuracy": _accuracy_table,
    "directional_sensitivity": _sensitivity,
    "directional_overhead": _overhead,
    "directional_connectivity": _connectivity,
    "directional_curvature": _curvature,
    "directional_norms": _norms,
    "directional_toy": _toy,
}
