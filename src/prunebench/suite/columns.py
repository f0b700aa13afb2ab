"""Columns that tables of several papers share, with `suite/summaries.py` what fills them. Imports no pandas."""

from prunebench.suite.paper import Column


def with_interval(name: str, meaning: str, unit: str = "") -> tuple[Column, Column, Column]:
    """A mean and the ends of its 95 % t interval over seeds."""
    return (
        Column(name, meaning, unit),
        Column(f"{name}_low", f"lower end of the 95 % interval of {name}", unit),
        Column(f"{name}_high", f"upper end of the 95 % interval of {name}", unit),
    )


ACCURACY = (
    Column("n", "seeds"),
    Column("diverged", "seeds that diverged, which count at chance"),
    Column("test_accuracy", "mean test accuracy", "share"),
    Column("std", "sample standard deviation of the test accuracy over seeds", "points"),
    Column("ci_low", "lower end of the 95 % interval of test_accuracy", "share"),
    Column("ci_high", "upper end of the 95 % interval of test_accuracy", "share"),
)
"""What `summaries.accuracy` gives."""
