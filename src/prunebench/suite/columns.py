"""Columns that tables of several papers share; `suite/summaries.py` fills them. Imports no pandas."""

from typing import Any

from prunebench.suite.paper import Column

TASK = Column("task", "task of the preset", "name")
CRITERION = Column("criterion", "pruning criterion", "name")
N = Column("n", "seeds")
DIVERGED = Column("diverged", "seeds that diverged, which count at chance")
BEST = Column("best", "whether it is the highest mean test accuracy of its group")


def sparsity(meaning: str = "share of the prunable weights that is pruned") -> Column:
    """The sparsity."""
    return Column("sparsity", meaning, "share")


def with_interval(name: str, meaning: str, unit: str = "", *look: Any, **looks: Any) -> tuple[Column, Column, Column]:
    """A mean over seeds and the ends of its 95 % t interval, `<name>_low` and `<name>_high`."""
    low, high = (f"{end} end of the 95 % interval of {name}" for end in ("lower", "upper"))
    mean = Column(name, meaning, unit, *look, **looks)
    return mean, Column(f"{name}_low", low, unit), Column(f"{name}_high", high, unit)


def difference(to: str, header: str = "") -> tuple[Column, Column, Column]:
    """What `summaries.difference` gives of test accuracies."""
    return with_interval("difference", f"test accuracy minus that of {to}, paired by seed", "points", header)


def curve(name: str, meaning: str, unit: str = "") -> tuple[Column, Column, Column]:
    """A mean over seeds that a figure draws, and the ends of its 95 % t interval, `low` and `high`."""
    low, high = (f"{end} end of the 95 % interval of {name}" for end in ("lower", "upper"))
    return Column(name, meaning, unit), Column("low", low, unit), Column("high", high, unit)


SCORE = (
    Column("test_accuracy", "mean test accuracy", "share"),
    Column("std", "sample standard deviation of the test accuracy over seeds", "points"),
    Column("ci_low", "lower end of the 95 % interval of test_accuracy", "share"),
    Column("ci_high", "upper end of the 95 % interval of test_accuracy", "share"),
)

ACCURACY = (N, DIVERGED, *SCORE)
"""What `summaries.accuracy` gives."""
