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


# --- Labels


def _percent(share: Any) -> str:
    return f"{100 * share:.4g} %"


_PARTS: Mapping[str, Callable[[Any], str]] = {
    "sparsity": _percent,
    "max_lr": lambda lr: f"LR {lr:g}",
    "pruned_share": lambda share: f"pruned {_percent(share)}",
    "k": lambda k: f"leading {k}",
    "c_factor": lambda factor: f"c x {factor:g}",
    "mu_shift": lambda shift: f"mu {shift:+g}",
}
"""How a label shows the number of an axis; numbers of others as `weight decay 0.005`, text as it is."""


def _part(axis: str, at: Value) -> str:
    if isinstance(at, str):
        return f"against {at}" if axis == "against" else at
    return _PARTS[axis](at) if axis in _PARTS else f"{axis.replace('_', ' ')} {at:g}"


def label(of: Cell) -> str:
    """A cell as a reader sees it: `fashion-resnet8 · global_magnitude · 98.44 %`."""
    return SEPARATOR.join(_part(axis, at) for axis, at in of)


# --- Text of files


def dumps(of: Cell) -> str:
    """A cell as JSON, with its axes in order; ValueError for NaN, which equals no cell."""
    return json.dumps(dict(of), ensure_ascii=False, allow_nan=False, default=lambda number: number.item())


def loads(text: str) -> Cell:
    """The cell of `dumps`; ValueError where the text is none."""
    try:
        axes = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError:
        axes = None
    if not isinstance(axes, dict) or not all(isinstance(at, str | int | float) for at in axes.values()):
        raise ValueError(f"{text:.80} is no cell")
    return tuple(axes.items())


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} equals no cell")


def label_of(text: str) -> str:
    """The label of a cell of a file: of `dumps`, or, as older files have it, the label itself."""
    try:
        return label(loads(text))
    except ValueError:
        return text
