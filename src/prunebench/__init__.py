"""prunebench: schedules, pruning criteria, analyses and one DAG that put three pruning papers to the test."""

__version__ = "0.1.0"

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from prunebench.suite.load import Results


def load(folder: "str | os.PathLike[str]") -> "Results":
    """The results in a folder, such as results/laptop, as tidy pandas frames by name.

    `load("results/laptop").runs`, `.phases`, `.epochs`, `.observations` and `.claims` have one row per run, phase,
    epoch, observation and claim, with task, seed and the other axes as columns; `load(...)["s_cyc_accuracy"]` is a
    table of a study, and `list(load(...))` names all frames. A kept folder (results/reference) has no phases and
    epochs. Raises InputError, with the nearest name, for a folder without results. Needs the extra `workflow`.
    """
    from pathlib import Path

    from prunebench.suite.load import Results

    return Results(Path(folder))
