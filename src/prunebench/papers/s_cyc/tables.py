"""The S-Cyc study's tables and figures, declared: columns, units, what makes them. Imports nothing heavy."""

from functools import partial

from prunebench.suite.columns import ACCURACY, BEST, CRITERION, DIVERGED, TASK, N, sparsity, with_interval
from prunebench.suite.notes import best_of, excludes
from prunebench.suite.paper import Column, Figure, Table

_table, _figure = partial(Table.of, "s_cyc"), partial(Figure.of, "s_cyc")

CYCLE = Column("cycle", "pruning cycle, 0 the dense network's")
SCHEDULE = Column("schedule", "LR schedule", "name")
ROLE = Column("role", "benchmark, method, control or oracle", "name")
MAX_LR = Column("max_lr", "peak LR of the cycle")


def _ratio(name: str, of: str) -> tuple[Column, ...]:
    """A ratio to the dense network's, geometric mean over seeds."""
    return (
        Column(f"{name}_ratio_n", "seeds whose ratio is defined"),
        *with_interval(f"{name}_ratio", f"{of} over the dense network's, geometric mean over seeds", "ratio"),
    )


TABLES = (
    _table(
        "accuracy",
        *(TASK, CRITERION, SCHEDULE, ROLE, CYCLE, sparsity(), *ACCURACY, BEST),
        Column("validation_accuracy", "mean validation accuracy", "share"),
        Column("best_benchmark", "benchmark with the best mean validation accuracy of the cell", "name"),
        *with_interval("difference", "test accuracy minus that benchmark's, paired by seed", "points"),
        latex=".views:accuracy",
        notes=(
            best_of("its task, criterion and sparsity") + " Benchmarks have no mark.",
            excludes("Paired difference to the best benchmark, which is chosen on validation accuracy"),
        ),
    ),
    _table(
        "oracle",
        *(TASK, CRITERION, CYCLE, sparsity(), N),
        Column("oracle_max_lr", "geometric mean of the seeds' choices"),
        Column("low", "least max_lr of the grid that is near-best"),
        Column("high", "greatest max_lr of the grid that is near-best"),
        *(SCHEDULE, Column("schedule_max_lr", "max_lr of the schedule that it is compared with")),
        Column("inside", "whether the grid's value nearest to that is near-best"),
        Column("oracle_test_accuracy", "mean test accuracy of the oracle", "share"),
        Column("schedule_test_accuracy", "mean test accuracy of the schedule", "share"),
        *with_interval("difference", "test accuracy of the oracle minus the schedule's, paired by seed", "points"),
        latex=".views:oracle",
        notes=(excludes("Paired difference"),),
    ),
    _table(
        "cost",
        *(TASK, CRITERION, SCHEDULE, ROLE, N),
        Column("steps", "updates of a whole chain", header="updates", form=".0f"),
        Column("images", "training images seen"),
        Column("flops", "dense FLOPs of training", header="TFLOPs", per=1e12),
        Column("flops_sparse", "FLOPs with each layer scaled by its density: theoretical"),
        Column("seconds", "wall time with evaluations, in seconds", form=".1f"),
        Column("seconds_std", "its standard deviation over seeds, in seconds"),
        Column("peak_memory_mb", "peak resident memory, in MB", header="peak memory, MB", form=".0f"),
        Column("steps_ratio", "updates over those of `cyclical`", "ratio"),
        *with_interval("seconds_ratio", "wall time over that of `cyclical`, seed by seed", "ratio", "time / cyclical"),
        latex=(
            *("task", "criterion", "schedule", "n", "steps", "flops", "seconds", "peak_memory_mb", "seconds_ratio"),
        ),
        notes=(excludes("Paired ratio", "1"),),
    ),
    _table(
        "timing",
        *(TASK, CRITERION, SCHEDULE, Column("reference", "the schedule that it is compared with", "name")),
        Column("n", "timing blocks", header="blocks"),
        Column("seconds", "wall time of a block's two chains with evaluations, in seconds", form=".2f"),
        Column("reference_seconds", "that of the reference, in seconds", header="reference", form=".2f"),
        Column("steps_ratio", "updates over the reference's", "ratio"),
        *with_interval("seconds_ratio", "wall time over the reference's, block by block", "ratio", "time / reference"),
        Column("others_load", "share of the machine's processors that other work took meanwhile", "share"),
        latex=(*("task", "criterion", "schedule", "reference", "n", "seconds", "reference_seconds", "seconds_ratio"),),
        notes=(excludes("Ratio", "1"),),
    ),
    _table(
        "gradients",
        *(TASK, CRITERION, SCHEDULE),
        Column("at", "`end` of the cycle's training, or `matched_loss`", "name"),
        Column("weights", "which weights: surviving, all, all_zeroed, or a layer", "name"),
        *(CYCLE, Column("activation", "non-linearity of the network", "name"), sparsity(), N),
        Column("weights_counted", "how many weights that is"),
        Column("loss", "training loss on the batch", "nats"),
        Column("std", "standard deviation of dL/dw, mean over seeds"),
        Column("std_sd", "its standard deviation over seeds"),
        Column("zero", "seeds with a std of 0, which leave the ratio undefined"),
        Column("iqr_over_1349", "interquartile range of dL/dw / 1.349"),
        *(Column(f"q{level:02d}", f"{level} % quantile of dL/dw") for level in (5, 25, 50, 75, 95)),
        *(*_ratio("std", "std of dL/dw"), *_ratio("iqr", "IQR / 1.349 of dL/dw")),
        latex=".views:gradients",
        notes=(excludes("Ratio to the dense network's spread", "1"),),
    ),
    _table(
        "released",
        *(Column("defect", "what the released scripts do", "name"), TASK, CRITERION, CYCLE, sparsity(), N),
        *with_interval("effect", "what it adds to test accuracy, of repeated_scores to sparsity; by seed", "points"),
        latex=".views:released",
        notes=(excludes("Effect, in points of test accuracy, of repeated\\_scores in points of sparsity"),),
    ),
    _table(
        "oracle_grid",
        *(TASK, CRITERION, CYCLE, sparsity(), MAX_LR, N, DIVERGED),
        Column("validation_accuracy", "mean validation accuracy", "share"),
        Column("validation_std", "its standard deviation over seeds", "points"),
        Column("test_accuracy", "mean test accuracy", "share"),
        Column("test_std", "its standard deviation over seeds", "points"),
        Column("selected", "seeds that selected this max_lr"),
        Column("near_best", "whether its mean validation accuracy is near the best"),
    ),
    _table(
        "gradient_histograms",
        *(TASK, CRITERION, SCHEDULE, CYCLE, Column("left", "lower edge of the bin of dL/dw")),
        *(Column("right", "upper edge"), sparsity(), N),
        Column("count", "surviving weights in the bin, seeds pooled"),
        Column("weights_share", "their share", "share"),
    ),
    _table(
        "lr_schedules",
        *(SCHEDULE, ROLE, CYCLE, Column("share", "share of the cycle's updates", "share"), Column("lr", "LR"), MAX_LR),
    ),
)


FIGURES = (
    _figure("accuracy", "Test accuracy", ("accuracy",), "schedules"),
    _figure("gradient_spread", "Spread of weight gradients", ("gradients",), "gradients"),
    _figure("oracle", "Oracle for max_lr", ("oracle", "oracle_grid"), "oracle"),
    _figure("gradient_distribution", "Distribution of weight gradients", ("gradient_histograms",), "gradients"),
    _figure("lr_schedules", "Learning-rate schedules", ("lr_schedules",), "schedules"),
    _figure("released", "What the defects of the released scripts do", ("released",), "released"),
)
