"""Names of the directional-pruning study's outputs, for the Snakefile: importing this imports nothing."""

TABLES = (
    "directional_accuracy",
    "directional_sensitivity",
    "directional_overhead",
    "directional_connectivity",
    "directional_curvature",
    "directional_norms",
    "directional_toy",
)
"""Tables for readers: CSV and LaTeX."""

DATA = (
    "directional_trajectory",
    "directional_norm_curves",
    "directional_layers",
    "directional_paths",
    "directional_planes",
    "directional_spectrum",
    "directional_published",
)
"""Tidy data behind figures: CSV."""

FIGURES = (
    "directional_accuracy",
    "directional_trajectory",
    "directional_connectivity",
    "directional_plane",
    "directional_curvature",
    "directional_norms",
    "directional_layerwise",
    "directional_toy",
)
"""Figures: SVG and PNG."""
