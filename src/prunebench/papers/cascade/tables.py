"""The cascade study's tables and figures, declared: columns, units, what makes them. Imports nothing heavy."""

from functools import partial

from prunebench.suite.columns import ACCURACY, BEST, CRITERION, TASK, N, curve, difference, sparsity, with_interval
from prunebench.suite.notes import best_of, excludes
from prunebench.suite.paper import Column, Figure, Table

_table, _figure = partial(Table.of, "cascade"), partial(Figure.of, "cascade")

PRELUDE = Column("prelude", "small prune and epochs before the real prune, or none", "name")
CLOCK = Column("clock", "weight decay x the sum of the learning rates of all updates, mean over seeds")
SETTING = (
    CRITERION,
    Column("max_lr", "LR of the fine-tuning"),
    Column("weight_decay", "weight decay of the fine-tuning"),
    Column("pruned_share", "share of the weights that the prune takes", "share"),
)
EPOCH = Column("epoch", "epochs behind the measurement")
THRESHOLD = Column("threshold", "what counts as shed: absolute, relative, removable, ... (docs/methods.md)", "name")
EXCESS = with_interval("excess", "shed share of the pruned run minus that of its control, paired by seed", "points")
PRUNED = ("pruned", "shed share of the pruned run's survivors", "share")
CONTROL = ("control", "shed share of the same weights in the control", "share")
CONTROL_DIFFERENCE = (
    Column(
        "prelude_control", "the prelude that is its control, empty where it has none", "name", "control", absent="none"
    ),
    *with_interval("control_difference", "test accuracy minus the control's, by seed", "points", "minus control"),
)
SHED = (
    CLOCK,
    Column("shed", "share of survivors below 5 % of their dense magnitude at the end", "share"),
    Column("control", "the same of the control, over the same weights", "share"),
    *EXCESS,
)


TABLES = (
    _table(
        "shedding",
        *(TASK, *SETTING, EPOCH, CLOCK, THRESHOLD, N, Column(*PRUNED), Column(*CONTROL), *EXCESS),
        latex=".views:shedding",
        notes=(excludes("Excess over the control that is not pruned"),),
    ),
    _table(
        "criteria",
        *(TASK, CRITERION, PRELUDE, sparsity(), *ACCURACY, BEST),
        *(*difference("global magnitude without a prelude"), *CONTROL_DIFFERENCE),
        latex=".views:criteria",
        notes=(
            best_of("its task and sparsity"),
            excludes("Of an accuracy the paired difference to global magnitude without a prelude, else the one shown"),
        ),
    ),
    _table(
        "retraining",
        *(TASK, CRITERION, sparsity(), Column("retraining", "fine-tuning, LR rewinding or weight rewinding", "name")),
        *(*ACCURACY, *difference("fine-tuning", "minus fine-tuning"), *SHED),
        *with_interval(
            "excess_difference", "excess minus fine-tuning's, by seed", "points", "excess minus fine-tuning's"
        ),
        latex=(
            *("task", "criterion", "sparsity", "retraining", "n", "test_accuracy", "difference", "clock", "excess"),
            "excess_difference",
        ),
        best=("task", "criterion", "sparsity"),
        notes=(best_of("its task, criterion and sparsity"), excludes("Paired difference or excess")),
    ),
    _table(
        "schedules",
        *(TASK, CRITERION, sparsity(), Column("pruning", "one-shot, iterative or gradual", "name")),
        *(Column("lr_schedule", "LR schedule", "name", "lr_schedule"), *ACCURACY, BEST, *SHED),
        latex=(
            *("task", "criterion", "sparsity", "pruning", "lr_schedule", "n", "test_accuracy", "clock", "shed"),
            "excess",
        ),
        notes=(best_of("its task"), excludes("Excess over the control that is not pruned")),
    ),
    _table(
        "gmp",
        *(TASK, PRELUDE, sparsity(), *ACCURACY, *difference("plain gradual pruning", "minus no prelude")),
        *CONTROL_DIFFERENCE,
        Column("harvested", "share of all weights that the harvest of shed weights prunes", "share"),
        Column("reached", "seeds that reach plain gradual pruning's accuracy", "seeds", "reach plain"),
        Column("steps", "mean updates until then, the prelude's among them", "", "updates until then", ".0f"),
        *with_interval("steps_ratio", "updates until then over plain pruning's own", "ratio", "updates / plain"),
        *with_interval(
            "flops_ratio", "sparse FLOPs until then over plain pruning's own", "ratio", "sparse FLOPs / plain"
        ),
        latex=(
            *("task", "prelude", "sparsity", "n", "test_accuracy", "difference", "prelude_control"),
            *("control_difference", "harvested", "reached", "steps", "steps_ratio", "flops_ratio"),
        ),
        best=("task", "sparsity"),
        notes=(best_of("its task and sparsity"), excludes("Paired difference (ratio)", "0 (1)")),
    ),
    _table(
        "overlap",
        *(TASK, sparsity(), Column("comparison", "of schemes within a seed, or of seeds of a scheme", "name")),
        *(Column("a", "a scheme", "name"), Column("b", "another, or the same", "name"), N),
        Column("jaccard", "Jaccard index of the kept weights", header="Jaccard", form=".3f"),
        Column("chance", "what chance gives at the same layer densities", form=".3f"),
        *with_interval("excess", "Jaccard index minus chance", form=".3f", null=0),
        latex=("task", "sparsity", "comparison", "a", "b", "n", "jaccard", "chance", "excess"),
        notes=(excludes("Jaccard index above chance"),),
    ),
    _table(
        "semi_structured",
        *(TASK, Column("pattern", "N:M, or 1 x size blocks at a sparsity", "name"), PRELUDE),
        *(sparsity("sparsity of the final networks"), *ACCURACY),
        *(*difference("the pattern without a prelude", "minus no prelude"), *CONTROL_DIFFERENCE),
        *with_interval("fitting", "groups that fit before a pattern is imposed", "share", "groups that fit before"),
        latex=(
            *("task", "pattern", "prelude", "sparsity", "n", "test_accuracy", "difference", "prelude_control"),
            *("control_difference", "fitting"),
        ),
        best=("task", "pattern"),
        notes=(best_of("its task and pattern"), excludes("Paired difference")),
    ),
    _table(
        "shedding_curves",
        *(TASK, *SETTING, EPOCH, CLOCK, THRESHOLD, N, *with_interval(*PRUNED), *with_interval(*CONTROL), *EXCESS),
    ),
    _table(
        "magnitudes",
        *(TASK, *SETTING, CLOCK, Column("run", "pruned or control", "name")),
        *(Column("moment", "start or end of the fine-tuning", "name"), N),
        *(Column("left", "lower edge of the bin of |w|"), Column("right", "upper edge")),
        Column("weights_share", "share of the survivors in the bin, seeds pooled", "share"),
    ),
    _table(
        "occupancy",
        *(TASK, PRELUDE, Column("m", "weights of a group"), Column("alive", "weights of it that are alive"), N),
        *with_interval("share", "share of the groups with so many alive", "share"),
        Column("chance", "binomial share at the same density", "share"),
    ),
    _table(
        "progress",
        *(TASK, PRELUDE, sparsity(), EPOCH, Column("steps", "updates so far"), N),
        Column("sparsity_now", "sparsity after the epoch", "share"),
        *curve("validation_accuracy", "mean validation accuracy", "share"),
    ),
)


FIGURES = (
    _figure("shedding", "Shedding after pruning", ("shedding", "shedding_curves"), "shedding"),
    _figure("random_vs_magnitude", "Random and magnitude pruning", ("criteria",), "accuracy"),
    _figure("gmp", "Gradual magnitude pruning with a prelude", ("gmp",), "accuracy"),
    _figure("semi_structured", "Semi-structured pruning", ("semi_structured",), "masks"),
    _figure("overlap", "Overlap of kept weights", ("overlap",), "masks"),
    _figure("networks", "Shedding by network", ("shedding", "criteria"), "shedding"),
    _figure("retraining", "Rewinding and fine-tuning", ("retraining",), "accuracy"),
    _figure("schedules", "Pruning and learning-rate schedules", ("schedules",), "accuracy"),
    _figure("histograms", "Magnitudes of surviving weights", ("magnitudes",), "shedding"),
)
