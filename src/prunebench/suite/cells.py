"""A cell: where one claim's quantity is measured, as axes with their values. Labels are made here and nowhere else."""

import json
from collections.abc import Callable, Mapping
from typing import Any

Value = str | int | float
Cell = tuple[tuple[str, Value], ...]
"""Axes with their values, in the order in which a label names them: (("task", "x"), ("sparsity", 0.8))."""

SEPARATOR = " · "
"""Between the parts of a label."""


def cell(**axes: Value) -> Cell:
    """A cell with these axes."""
    return tuple(axes.items())


def value(of: Cell, axis: str, default: Any = None) -> Any:
    """A cell's value on an axis."""
    return dict(of).get(axis, default)


def without(of: Cell, *axes: str) -> Cell:
    """A cell without these axes."""
    return tuple((axis, at) for axis, at in of if axis not in axes)


def _percent(share: Any) -> str:
    return f"{100 * share:.4g} %"


_PARTS: Mapping[str, Callable[[Any], str]] = {
    "sparsity": _percent,
    "max_lr": lambda lr: f"LR {lr:g}",
    "weight_decay": lambda decay: f"weight decay {decay:g}",
    "pruned_share": lambda share: f"pruned {_percent(share)}",
    "k": lambda k: f"leading {k}",
    "c_factor": lambda factor: f"c x {factor:g}",
    "mu_shift": lambda shift: f"mu {shift:+g}",
    "epoch": lambda epoch: f"epoch {epoch:g}",
    "against": lambda other: f"against {other}",
}
"""How a value stands in a label, where not as it is."""


def label(of: Cell) -> str:
    """A cell as a reader sees it: `fashion-resnet8 · global_magnitude · 98.44 %`."""
    return SEPARATOR.join(_PARTS.get(axis, str)(at) for axis, at in of)


def dumps(of: Cell) -> str:
    """A cell as JSON, with its axes in order."""
    return json.dumps(dict(of), ensure_ascii=False)


def loads(text: str) -> Cell:
    """The cell of `dumps`; ValueError where the text is none."""
    axes = json.loads(text)
    if not isinstance(axes, dict) or not all(isinstance(at, str | int | float) for at in axes.values()):
        raise ValueError(f"{text:.80} is no cell")
    return tuple(axes.items())
