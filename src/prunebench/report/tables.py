"""Tables as files: tidy CSV for programs, booktabs LaTeX for papers."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from prunebench.claims import names as claims_names
from prunebench.files import write_text
from prunebench.report import calibration_views, cascade_views, directional_views, latex, s_cyc_views
from prunebench.studies import cascade_names, directional_names, s_cyc_names

STUDIES = (s_cyc_names, cascade_names, directional_names, claims_names)

VIEWS = s_cyc_views.VIEWS | cascade_views.VIEWS | directional_views.VIEWS | calibration_views.VIEWS
"""What readers see of a table, by its name."""

NOTES = s_cyc_views.NOTES | cascade_views.NOTES | directional_views.NOTES | calibration_views.NOTES
"""What a table's marks mean, by its name: LaTeX."""


def write_tables(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Writes every table of a study (or of the claims), the one that `tables` are of, as <name>.csv, and those for
    readers as <name>.tex, too.

    A table that the preset does not make (no oracle, no gradients) is written with a header and no rows, so that its
    absence shows.
    """
    study = next(names for names in STUDIES if {*tables} <= {*names.TABLES, *names.DATA})
    for name in (*study.TABLES, *study.DATA):
        frame = tables.get(name, pd.DataFrame(columns=["scale"]))
        write_text(out / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        if name in study.TABLES:
            view = VIEWS[name](frame) if len(frame) else frame
            write_text(out / f"{name}.tex", latex.table(name, view, frame, NOTES.get(name, ())))
