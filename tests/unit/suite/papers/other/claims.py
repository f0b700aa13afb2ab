"""The other paper's claim."""

import numpy as np

from prunebench.suite.claim import Claim, Quantity, Ruling

CLAIMS = (
    Claim(
        id="U1",
        sentence="Other toys are better still.",
        mark="[abstract]",
        quantities=(Quantity("gain", "test accuracy minus the toy's", "points", marks=("u1_gain",)),),
        rule="Reproduced where the gain lies above {u1_gain:.0%}.",
        judge=lambda sample, margins: Ruling({"never": np.array([False])}, {}),
        no_effect=lambda margins, cells: {"gain": 0.0},
        claimed=lambda margins, cells: {"gain": 0.1},
        claimed_as="ten points [ours]",
        published="n/a",
        observe=lambda data, method: (),
        tables=(),
        figures=(),
    ),
)
