"""Claims B1 to B9, of cascade weight shedding.

The paper is known by its abstract alone, which has no number: quantities, margins and sizes of claimed effects are
[ours] (docs/methods.md).
"""

from prunebench.papers.cascade import observations as see
from prunebench.papers.cascade import rules
from prunebench.suite.cells import value
from prunebench.suite.claim import Claim, Quantity
from prunebench.suite.conditions import Check, declare, every, no, pooled, some

SHRANK = "survivors that shrank to 5 % of their value, minus the unpruned control's"

CLAIMS: tuple[Claim, ...] = (
    declare(
        id="B1",
        sentence="Cascade weight shedding: \"in response to pruning a small percentage of a network's weights, a large "
        'percentage of the remaining is shed over a few epochs during the ensuing fine-tuning phase".',
        quantities=(
            Quantity("relative", SHRANK, "points"),
            Quantity("removable", "survivors that can be removed at 1 % more loss, minus the control's", "points"),
        ),
        rule="On ResNets, within {b1_epochs:g} epochs of pruning at most {b1_dose:.0%}, by the best of the recipes. "
        "Reproduced: with one recipe the intervals of both excesses (corrected for the number of recipes) lie above "
        "{b1_excess:.0%} of the survivors and above the share that was pruned. Not reproduced: with every recipe both "
        "lie below {b1_none:.0%}.",
        reproduced={
            "with some recipe the excess of weights that shrank lies above what is asked for": rules.enough("relative"),
            "with some recipe the excess of removable weights does": rules.enough("removable"),
            "with one and the same recipe both do": rules.enough("relative", "removable"),
        },
        # Neither definition of shed is the paper's: only what holds for both counts against it.
        refuted={
            "with every recipe both excesses lie below the least that counts": (
                every("relative", "<", "b1_none"),
                every("removable", "<", "b1_none"),
            )
        },
        claimed=dict.fromkeys(("relative", "removable"), lambda m: 2 * m.b1_excess),
        false=lambda m, cells: {
            name: {cell: max(m.b1_excess, value(cell, "pruned_share")) for cell in cells[name]}
            for name in ("relative", "removable")
        },
        claimed_as="[ours]: with every recipe an excess of twice the margin",
        observe=see.shrunk,
        tables=("cascade_shedding",),
        figures=("cascade_shedding", "cascade_histograms"),
    ),
    declare(
        id="B1c",
        sentence="Weights are shed in response to the pruning, not by the fine-tuning alone.",
        quantities=(
            Quantity("slope", "rise of the excess (B1's, of weights that shrank) per share of weights pruned", "slope"),
            Quantity("excess", SHRANK, "points"),
        ),
        rule="On ResNets, with recipes that prune several shares. Reproduced: with one recipe the intervals "
        "(corrected for the number of recipes) of the slope lie above 0 and of the excess after the largest prune "
        "above {b1_none:.0%}. Not reproduced: after every prune the excess lies below {b1_none:.0%}.",
        reproduced={
            "with some recipe the excess rises with the share pruned": some("slope", ">", 0),
            "with one and the same recipe it also lies above the least that counts after the largest prune": (
                Check(rules.rises_and_sheds)
            ),
        },
        # "The interval includes 0" is no evidence that there is nothing: it must lie below the least that counts.
        refuted={"after every prune the excess lies below the least that counts": every("excess", "<", "b1_none")},
        claimed=rules.dose_response(lambda margin, largest: largest),
        false=rules.dose_response(lambda margin, largest: margin),
        claimed_as="[ours]: an excess as large as the share that was pruned",
        observe=see.by_dose,
        tables=("cascade_shedding",),
        figures=("cascade_shedding",),
    ),
    declare(
        id="B2",
        sentence="Shedding rescues sub-optimal schemes such as random pruning.",
        quantities=(
            Quantity(
                "over_control",
                "test accuracy after a random prune and a prelude that sheds, "
                "minus after the prelude's control, which does not",
                "points",
            ),
            Quantity(
                "over_one_shot",
                "test accuracy after a random prune and a prelude that sheds, "
                "minus after one-shot random pruning to the same sparsity",
                "points",
            ),
        ),
        rule="Means over networks, random criteria and sparsities. Reproduced: both gains' intervals lie above "
        "{b2_gain:.1%}, and no cell's lies below 0. Not reproduced: one of them lies below {b2_none:.1%}.",
        reproduced={
            "the gain over the prelude's control lies above the margin": pooled("over_control", ">", "b2_gain"),
            "the gain over one-shot random pruning lies above the margin": pooled("over_one_shot", ">", "b2_gain"),
            # Where a control breaks down in one cell, a gain there can outweigh losses in all others.
            "in no cell is either gain a loss": (no("over_control", "<", 0), no("over_one_shot", "<", 0)),
        },
        refuted={
            "the gain over the prelude's control lies below the least that counts": pooled(
                "over_control", "<", "b2_none"
            ),
            "the gain over one-shot random pruning lies below the least that counts": pooled(
                "over_one_shot", "<", "b2_none"
            ),
        },
        claimed=dict.fromkeys(("over_control", "over_one_shot"), lambda m: 3 * m.b2_gain),
        false=dict.fromkeys(("over_control", "over_one_shot"), "b2_gain"),
        claimed_as="[ours]: three times the margin",
        observe=see.rescued,
        tables=("cascade_criteria",),
        figures=("cascade_random_vs_magnitude",),
    ),
    declare(
        id="B3",
        sentence="Shedding explains why what pruning costs depends on the network: ResNet50 against MobileNetV3.",
        quantities=(
            Quantity("excess", "excess (B1's, of weights that shrank) on the ResNet minus on the MobileNet", "points"),
            Quantity(
                "gap",
                "accuracy that random pruning loses to global magnitude (GMP) on the MobileNet, minus on the ResNet",
                "points",
            ),
        ),
        rule="Means over settings with weight decay, and over random criteria and sparsities. Reproduced: both "
        "intervals lie above 0, and the means are at least {b3_excess:.1%} and {b3_gap:.1%}. Not reproduced: both are "
        "equivalent to 0 within these (90 % intervals), or one lies below 0.",
        # A difference for certain, but too small to matter, is none: the means must reach what equivalence allows.
        reproduced={
            "the ResNet's excess lies above the MobileNet's": (
                pooled("excess", ">", 0),
                pooled("excess", ">=", "b3_excess", point=True),
            ),
            "random pruning costs the ResNet less, by an interval above 0": (
                pooled("gap", ">", 0),
                pooled("gap", ">=", "b3_gap", point=True),
            ),
        },
        refuted={
            "both differences are equivalent to none": (
                pooled("excess", "within", "b3_excess"),
                pooled("gap", "within", "b3_gap"),
            ),
            "the ResNet's excess lies below the MobileNet's": pooled("excess", "<", 0),
            "random pruning costs the ResNet more, by an interval below 0": pooled("gap", "<", 0),
        },
        claimed={"excess": lambda m: 3 * m.b3_excess, "gap": lambda m: 6 * m.b3_gap},
        false={"gap": 0},
        claimed_as="[ours]: three times the margin in excess, six times in accuracy",
        observe=see.networks,
        tables=("cascade_shedding", "cascade_criteria"),
        figures=("cascade_networks",),
    ),
    declare(
        id="B4",
        sentence="Global magnitude-based pruning (GMP) is competitive in a wide range of settings.",
        quantities=(Quantity("behind", "test accuracy of another scheme minus GMP's", "points"),),
        rule="GMP against every other scheme in each combination of network, sparsity and retraining. Reproduced: in "
        "{b4_cells:.0%} of these GMP is for certain within {b4_gap:.1%} of every other scheme. Not reproduced: in "
        "{b4_far_cells:.0%} some scheme is for certain more than {b4_far:.1%} above it. Intervals are corrected for "
        "the combinations that need not hold, and for the number of schemes.",
        reproduced={
            "in enough settings GMP is within the margin of every other scheme": (
                Check(rules.competitive, {"behind": ("b4_gap",)})
            ),
        },
        refuted={"in too many settings some scheme is far above it": Check(rules.far_behind, {"behind": ("b4_far",)})},
        claimed={"behind": lambda m: -4 * m.b4_gap},
        false=rules.nearly_competitive,
        claimed_as="[ours]: every other scheme four times the margin below GMP",
        observe=see.competitors,
        tables=("cascade_criteria", "cascade_retraining"),
        figures=("cascade_random_vs_magnitude",),
        asked_sentence="{method} is competitive with every other criterion in a wide range of settings.",
    ),
    declare(
        id="B5a",
        sentence="Shedding can improve GMP's accuracy.",
        quantities=(
            Quantity("gain", "test accuracy of GMP after a prelude that sheds minus that of plain GMP", "points"),
            Quantity("over_control", "the same minus GMP after the prelude's control, which does not shed", "points"),
        ),
        rule="Gradual global magnitude pruning, at the same epochs and sparsity, mean over networks and sparsities. "
        "Reproduced: the gain's interval lies above {b5a_gain:.1%} and no cell's below 0, and the gain over the "
        "prelude's control lies above 0. Not reproduced: the gain lies below {b5a_gain:.1%}.",
        reproduced={
            "the gain over plain GMP lies above the margin": pooled("gain", ">", "b5a_gain"),
            "in no cell is the gain over plain GMP a loss": no("gain", "<", 0),
        },
        # It shows whether it is the shedding that helps, or any small prune and epoch before.
        controls={"the prelude that sheds gains over its control": pooled("over_control", ">", 0)},
        refuted={"the gain over plain GMP lies below the margin": pooled("gain", "<", "b5a_gain")},
        claimed=dict.fromkeys(("gain", "over_control"), lambda m: 5 * m.b5a_gain),
        false={"gain": "b5a_gain", "over_control": lambda m: 3 * m.b5a_gain},
        claimed_as="[ours]: five times the margin",
        observe=see.with_prelude,
        tables=("cascade_gmp",),
        figures=("cascade_gmp",),
    ),
    declare(
        id="B5b",
        sentence="Shedding can cut GMP's computation.",
        quantities=(
            Quantity("steps", "updates until plain GMP's accuracy is reached, over those that plain GMP took", "ratio"),
            Quantity("lead", "best validation accuracy at the final sparsity minus plain GMP's last", "points"),
        ),
        rule="Reached is a validation accuracy at most {b5b_reach:.1%} below plain GMP's last one, at the final "
        "sparsity. Reproduced: every run with the prelude reaches it, and the interval of the mean ratio of updates "
        "lies below {b5b_ratio:g}. Not reproduced: the ratio lies above 1, or some runs never reach it and the lead "
        "lies below -{b5b_reach:.1%}.",
        reproduced={
            "every run with the prelude reaches plain GMP's accuracy": Check(rules.all_reach),
            "the ratio of updates lies below the margin": pooled("steps", "<", "b5b_ratio"),
        },
        refuted={
            "the ratio of updates lies above 1": pooled("steps", ">", 1),
            "runs with the prelude never come near enough to plain GMP's accuracy": (
                Check(rules.some_never_reach),
                pooled("lead", "<", "-b5b_reach"),
            ),
        },
        claimed={"steps": lambda m: m.b5b_ratio**3, "lead": 0},
        false={"steps": "b5b_ratio"},
        claimed_as="[ours]: the margin's ratio to the third power",
        observe=see.reaching,
        tables=("cascade_gmp",),
        figures=("cascade_gmp",),
    ),
    Claim(
        id="B6",
        sentence="Pruning schedules and learning-rate schedules matter.",
        quantities=(
            Quantity("accuracy", "test accuracy", "share"),
            Quantity("excess", SHRANK, "points"),
        ),
        rule="Analysis of variance of pruning schedule x LR schedule with seeds as blocks, on accuracy and on excess. "
        "Reproduced: for one of the two factors, on both outcomes, partial eta squared is at least {b6_effect:g} with "
        "p < {b6_p:g}, and means are at least {b6_accuracy:.1%} and {b6_excess:.1%} apart. Not reproduced: every "
        "partial eta squared, also the interaction's, is below {b6_none:g}, or on one of the outcomes all "
        "combinations are for certain less than that apart.",
        judge=rules.schedules_matter,
        no_effect=rules.by_lr_schedule(0.02, 0.0),
        claimed=rules.by_lr_schedule(0.02, 0.1),
        claimed_as="[ours]: LR schedules 2 points of accuracy and 10 % of the survivors apart",
        headline=None,  # a pattern over several means
        observe=see.schedules,
        tables=("cascade_schedules",),
        figures=("cascade_schedules",),
    ),
    Claim(
        id="B7",
        sentence="Rewinding weights or learning rates has an advantage over fine-tuning, which may be linked to "
        "shedding.",
        quantities=(
            Quantity("accuracy", "test accuracy after rewinding minus after fine-tuning", "points", marks=("b7_gain",)),
            Quantity(
                "excess",
                "excess (B1's, of weights that shrank) with rewinding minus with fine-tuning",
                "points",
                marks=("b7_excess",),
            ),
        ),
        rule="Reproduced: with one way of rewinding the intervals of the gain and of the additional excess (corrected "
        "for the number of ways) lie above 0, their means are at least {b7_gain:.1%} and {b7_excess:.1%}, and over at "
        "least 4 cells, which differ in both at p < 0.05, the interval of their correlation lies above 0. Not "
        "reproduced: with no way of rewinding is the gain, or is the additional excess, above 0.",
        judge=rules.rewinding,
        no_effect=lambda m, cells: {"accuracy": 0.02, "excess": 0.1},
        claimed=lambda m, cells: rules.in_proportion(cells),
        claimed_as="[ours]: 1 to 4 points of accuracy with 5 to 20 % more of the survivors shed",
        observe=see.rewound,
        tables=("cascade_retraining",),
        figures=("cascade_retraining",),
    ),
    declare(
        id="B8",
        sentence="Shedding has an effect on the set of weights that are kept.",
        quantities=(
            Quantity(
                "overlap",
                "Jaccard overlap beyond chance with GMP's mask, of random pruning with a prelude that "
                "sheds minus with the prelude's control",
                "points",
            ),
        ),
        rule="Mean over networks, random criteria and sparsities, direction not given. Reproduced: the interval lies "
        "above {b8_overlap:g} or below -{b8_overlap:g}. Not reproduced: every cell is equivalent to 0 within "
        "{b8_overlap:g} (90 % intervals).",
        reproduced={
            "the overlap with GMP's mask differs, in either direction, by more than the margin": pooled(
                "overlap", "outside", "b8_overlap"
            )
        },
        # Effects of opposite signs may cancel out in a mean.
        refuted={"in every cell the difference is equivalent to none": every("overlap", "within", "b8_overlap")},
        direction=("an effect away from the weights that GMP keeps", "an effect towards the weights that GMP keeps"),
        claimed={"overlap": lambda m: 5 * m.b8_overlap},
        false={"overlap": "b8_overlap"},
        claimed_as="[ours]: five times the margin",
        observe=see.overlaps,
        tables=("cascade_overlap",),
        figures=("cascade_overlap",),
    ),
    declare(
        id="B9",
        sentence="Shedding has implications for semi-structured pruning.",
        quantities=(
            Quantity(
                "accuracy", "test accuracy under a pattern after a prelude that sheds minus after its control", "points"
            ),
        ),
        rule="Mean over patterns, direction not given. Reproduced: the interval lies above {b9_loss:.1%} or below "
        "-{b9_loss:.1%}. Not reproduced: every cell is equivalent to 0 within {b9_loss:.1%} (90 % intervals).",
        reproduced={
            "the accuracy under a pattern differs, in either direction, by more than the margin": pooled(
                "accuracy", "outside", "b9_loss"
            )
        },
        # Effects of opposite signs may cancel out in a mean.
        refuted={"in every cell the difference is equivalent to none": every("accuracy", "within", "b9_loss")},
        direction=("a harmful effect", "a helpful effect"),
        claimed={"accuracy": lambda m: 5 * m.b9_loss},
        false={"accuracy": "b9_loss"},
        claimed_as="[ours]: five times the margin",
        observe=see.patterns,
        tables=("cascade_semi_structured",),
        figures=("cascade_semi_structured",),
    ),
)
"""Claims B1 to B9 in order."""
