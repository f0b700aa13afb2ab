"""Notes on tables, in LaTeX, and on claims, in words that several papers share. Imports nothing heavy."""

TIMING_BLOCKS = (
    "n counts timing blocks of one process on one machine: they repeat the measurement, not the machine. What is "
    "compared runs in alternation, and the workflow runs nothing beside it."
)
"""On a claim that is decided by times."""

MARK = "$^{*}$"
"""At a difference or a ratio: its interval excludes the value of no effect."""


def excludes(what: str, null: str = "0", over: str = "seeds") -> str:
    """The note that says what a mark means, at `what`."""
    return f"{MARK} {what}: the 95 \\% t interval over {over} excludes {null}; not corrected for multiplicity."


def best_of(group: str) -> str:
    """The note on accuracies, of which the highest of a `group` is in bold."""
    return f"Accuracy: mean $\\pm$ standard deviation over seeds. Bold: the highest mean of {group}."
