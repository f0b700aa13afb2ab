"""The suite's own table and figure: how often the claims' rules err. Imports nothing heavy."""

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

POWER = Figure(
    "calibration_power",
    "Error rates of the claims' rules",
    ("calibration",),
    "prunebench.suite.report.calibration_figure:power",
)
