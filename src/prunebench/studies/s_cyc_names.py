"""Names of the S-Cyc study's outputs, for the Snakefile: importing this imports nothing."""

TABLES = ("s_cyc_accuracy", "s_cyc_oracle", "s_cyc_cost", "s_cyc_gradients")
"""Tables for readers: CSV and LaTeX."""

DATA = ("s_cyc_oracle_grid", "s_cyc_gradient_histograms", "s_cyc_lr_schedules")
"""Tidy data behind figures: CSV."""

FIGURES = (
    "s_cyc_gradient_distribution",
    "s_cyc_gradient_spread",
    "s_cyc_lr_schedules",
    "s_cyc_accuracy",
    "s_cyc_oracle",
)
"""Figures: SVG and PNG."""
