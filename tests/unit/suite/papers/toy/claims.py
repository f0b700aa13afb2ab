"""The toy's claims: T1 (asked of schedules), T2 (of nothing, with a control), T3 (of criteria; nothing measures it)."""

from prunebench.stats import tost
from prunebench.suite.claim import Claim, Quantity, Ruling, above, below, observed


def gains(data, method):
    """The method minus the benchmark, in the pruned cycles."""
    config, ends = data
    wide = ends.pivot(index=["task", "cycle", "seed"], columns="schedule", values="test_accuracy").reset_index()
    wide = wide.assign(sparsity=1 - 0.5 ** wide["cycle"])
    gain = wide[method or config.schedules[0]] - wide[config.schedules[-1]]
    return observed("gain", wide, gain, "task", "sparsity")


def superior(sample, margins):
    """Like a claim that one method beats another."""
    mean = sample.pooled("gain")
    return Ruling(
        {
            "the gain is positive in every cell": sample.every("gain", sample.each("gain").mean > 0),
            "its interval lies above the margin": above(mean.low, margins.t1_gain),
        },
        {"its interval lies below the margin": below(mean.high, margins.t1_gain)},
    )


def equivalent(sample, margins):
    """Like a claim that two methods are comparable."""
    gap = sample.pooled("gap")
    return Ruling(
        {"the gap lies within the margin": tost(sample.within("gap"), margins.t2_gap) < 0.05},
        {"the gap lies above it": above(gap.low, margins.t2_gap)},
    )


GAIN = Quantity("gain", "test accuracy of the method minus the benchmark's", "points", marks=("t1_gain",))
GAP = Quantity("gap", "test accuracy of the oracle minus the method's", "points", marks=("-t2_gap", "t2_gap"))
TIME = Quantity("time", "time over the benchmark's", "ratio", decides=False, marks=("t2_time",))

CLAIMS = (
    Claim(
        id="T1",
        sentence="The toy beats the benchmark.",
        mark="[abstract]",
        quantities=(GAIN,),
        rule="Reproduced where the gain lies above {t1_gain:.1%} (absolute).",
        judge=superior,
        no_effect=lambda margins, cells: {"gain": margins.t1_gain},
        claimed=lambda margins, cells: {"gain": 2 * margins.t1_gain},
        claimed_as="twice the margin [ours]",
        published="+2.1 | 3.4 [abstract]",
        observe=gains,
        tables=("toy_accuracy",),
        figures=("toy_accuracy",),
        asked_sentence="{method} beats the benchmark.",
        notes=lambda data, method: ("Toys ran side by side.",),
    ),
    Claim(
        id="T2",
        sentence="The toy is comparable to an oracle.",
        mark="(implied)",
        quantities=(GAP, TIME),
        rule="Reproduced where the gap is within {t2_gap:.1%} (absolute).",
        judge=equivalent,
        no_effect=lambda margins, cells: {"gap": margins.t2_gap},
        claimed=lambda margins, cells: {"gap": 0.0},
        claimed_as="no difference",
        published="n/a",
        observe=lambda data, method: (),
        tables=("toy_accuracy",),
        figures=(),
        replicates="timing blocks",
    ),
    Claim(
        id="T3",
        sentence="The toy works whatever the criterion.",
        mark="(implied)",
        quantities=(GAIN,),
        rule="Reproduced where the gain lies above {t1_gain:.1%} (absolute).",
        judge=superior,
        no_effect=lambda margins, cells: {"gain": margins.t1_gain},
        claimed=lambda margins, cells: {"gain": 2 * margins.t1_gain},
        claimed_as="twice the margin [ours]",
        published="n/a",
        observe=lambda data, method: (),
        tables=(),
        figures=(),
        asked_sentence="The toy works under {method}.",
    ),
)
