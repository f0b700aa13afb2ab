"""The made-up paper's claims: one that can be asked of schedules, one of two quantities, one repeated over blocks."""

import numpy as np

from prunebench.suite.claim import Claim, Quantity, Ruling


def claim(name, sentence, *quantities, **more):
    """A claim whose rule is never asked: the tests bring one."""
    return Claim(
        **{
            "id": name,
            "sentence": sentence,
            "mark": "[abstract]",
            "quantities": quantities,
            "rule": "Reproduced where the mean lies above {s1_gain:.1%} (absolute).",
            "judge": lambda sample, margins: Ruling({"never": np.array([False])}, {}),
            "no_effect": lambda margins, cells: {},
            "claimed": lambda margins, cells: {},
            "claimed_as": "twice the margin [ours]",
            "published": "+2.1 to +3.4 % [abstract]",
            "observe": lambda data, method: (),
            "tables": ("shown_accuracy",),
            "figures": ("shown_accuracy",),
        }
        | more
    )


CLAIMS = (
    claim(
        "S1",
        "Shown schedules beat the others.",
        Quantity("gain", "test accuracy of the shown one minus the best other's", "points", marks=("s1_gain",)),
        subject="the shown one",
        asked_sentence="{method} beats the others.",
    ),
    claim(
        "S2",
        "They cost nothing.",
        Quantity("time", "time over the others'", "ratio"),
        Quantity("memory", "bytes over the others'", "ratio", decides=False),
        replicates="timing blocks",
        mark="(implied)",
    ),
    claim("S3", "Their slope is steep.", Quantity("slope", "slope of accuracy", "slope"), published="n/a"),
    claim("S4", "Their loss is low.", Quantity("loss", "training loss", "nats"), figures=("shown_curve",)),
    claim("S5", "They are easy to use.", Quantity("ease", "ease of use", "share"), tables=(), figures=()),
)
