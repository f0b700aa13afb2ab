"""Names of the cascade study's outputs, for the Snakefile: importing this imports nothing."""

TABLES = (
    "cascade_shedding",
    "cascade_criteria",
    "cascade_retraining",
    "cascade_schedules",
    "cascade_gmp",
    "cascade_overlap",
    "cascade_semi_structured",
)
"""Tables for readers: CSV and LaTeX."""

DATA = ("cascade_shedding_curves", "cascade_magnitudes", "cascade_occupancy", "cascade_progress")
"""Tidy data behind figures: CSV."""

FIGURES = (
    "cascade_shedding",
    "cascade_histograms",
    "cascade_random_vs_magnitude",
    "cascade_networks",
    "cascade_retraining",
    "cascade_schedules",
    "cascade_gmp",
    "cascade_overlap",
    "cascade_semi_structured",
)
"""Figures: SVG and PNG."""
