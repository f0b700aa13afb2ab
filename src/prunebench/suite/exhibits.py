"""The suite's own tables and figures: how often the claims' rules err, how likely a repeat finds the same verdicts.

Imports nothing heavy.
"""

from prunebench.suite.paper import Column, Figure, Table

CALIBRATION = Table(
    "calibration",
    (
        Column("claim", "the claim", "name"),
        Column("paper", "its paper", "name"),
        Column("n", "seeds simulated"),
        Column("noise", "kind of noise", "name"),
        Column("tables", "simulated tables"),
        Column("null_reproduced", "how often the rule says reproduced where the claim is false", "share"),
        Column("null_reproduced_low", "lower end of its 95 % Clopper-Pearson interval", "share"),
        Column("null_reproduced_high", "upper end", "share"),
        Column("claimed_reproduced", "power: how often it says reproduced at the claimed effect", "share"),
        Column("claimed_not_reproduced", "how often it says not reproduced at the claimed effect", "share"),
        Column("seeds_for_80", "least number of seeds with a power of 80 %; empty: 100 do not give it"),
        Column("noise_from", "what the noise is taken from", "name"),
        Column("null_effect", "true means where the claim is false", "name"),
        Column("claimed_effect", "true means where it holds", "name"),
        Column("claimed_as", "where the size of the claimed effect comes from", "name"),
    ),
    "",
    "prunebench.suite.report.calibration_views:calibration",
    (
        "Shares of simulated tables of n seeds in \\%, the worst of all kinds of noise. "
        "False: reproduced at no effect, in bold where its 95 \\% interval lies above 5 \\%. "
        "Power: reproduced at the claimed effect. Missed: not reproduced at the claimed effect. "
        "Seeds for 80 \\%: the least number with that power.",
    ),
)

STABILITY = Table(
    "calibration_stability",
    (
        Column("claim", "the claim", "name"),
        Column("paper", "its paper", "name"),
        Column("n", "seeds of the run, and of each repeat"),
        Column("verdict", "the run's verdict by the rule", "name"),
        Column("same", "how likely a repeat with other seeds gives the same verdict", "share"),
        Column("opposite", "how likely it gives the opposite one; empty: the verdict has none", "share"),
        Column("opposite_low", "lower end of its 95 % Clopper-Pearson interval, the simulation's own", "share"),
        Column("half", "seeds in half of the run; empty: fewer than four to split"),
        Column("splits", "pairs of halves"),
        Column("forecast_same", "how likely one half makes it that the other has the same verdict, mean", "share"),
        Column("found_same", "pairs that have the same verdict", "share"),
        Column("forecast_opposite", "how likely one half makes it that the other has the opposite one, mean", "share"),
        Column("found_opposite", "pairs that have opposite verdicts", "share"),
    ),
    "",
    "prunebench.suite.report.calibration_views:stability",
    (
        "Shares in \\%. Same, opposite: how likely a repeat with n other seeds gives the run's verdict, the opposite "
        "one; in bold where the interval of the latter lies above 1 \\%. Halves: how likely half of the seeds makes it "
        "that the other half has the same verdict, or the opposite one; found: the share of pairs of halves that do.",
    ),
)

POWER = Figure(
    "calibration_power",
    "Error rates of the claims' rules",
    ("calibration",),
    "prunebench.suite.report.calibration_figure:power",
)

STABLE = Figure(
    "calibration_stability",
    "Stability of the verdicts",
    ("calibration_stability",),
    "prunebench.suite.report.calibration_figure:stability",
)

TABLES = (CALIBRATION, STABILITY)
"""What `prunebench calibrate` writes."""

FIGURES = (POWER, STABLE)
"""What is drawn of it."""
