"""Names of the outputs of the claims' calibration, for the Snakefile: importing this imports nothing."""

TABLES = ("calibration",)
"""Tables for readers: CSV and LaTeX."""

DATA: tuple[str, ...] = ()
"""Tidy data behind figures: none."""

FIGURES = ("calibration_power",)
"""Figures: SVG and PNG."""
