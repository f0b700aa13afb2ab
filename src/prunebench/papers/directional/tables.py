"""The directional study's tables and figures, declared: columns, units, what makes them. Imports nothing heavy."""

from prunebench.suite.columns import BEST, DIVERGED, SCORE, TASK, N, curve, with_interval
from prunebench.suite.notes import best_of, excludes
from prunebench.suite.paper import Column, Figure, Table

C, MU = Column("c", "gRDA's c, empty for other methods"), Column("mu", "gRDA's mu, empty for other methods")
ARM = (
    *(TASK, Column("method", "optimizer or baseline", "name"), C, MU),
    Column("matched_to", "setting of gRDA: its own, or the one whose sparsity it is pruned to", "name"),
)
EPOCH = Column("epoch", "epochs behind it, those of the network that an arm starts from among them")
PAIR = Column("pair", "methods of the two minima", "name")
PATH = Column("path", "trained curve or straight line", "name")
PROBLEM = Column("problem", "exact problem", "name")
MEASURED = (
    ("train_loss", "training loss, without augmentation", "nats"),
    ("train_error", "training error", "share"),
    ("test_loss", "test loss", "nats"),
    ("test_error", "test error", "share"),
)
SPARSITY = with_interval("sparsity", "share of zeros among the prunable weights", "share")


def _difference(to: str) -> tuple[Column, ...]:
    return with_interval("difference", f"test accuracy minus that of {to}, paired by seed", "points")


def _intervals(*columns: tuple[str, str, str]) -> tuple[Column, ...]:
    return tuple(column for each in columns for column in with_interval(*each))


TABLES = (
    Table(
        "directional_accuracy",
        (
            *(*ARM, Column("strength", "weight of the l1 penalty"), N, DIVERGED, *SPARSITY),
            *with_interval("sparsity_all", "share of zeros among all parameters", "share"),
            *(*SCORE, BEST, *_difference("SGD")),
            *with_interval("grda_difference", "gRDA's run of the same sparsity minus this one, by seed", "points"),
            Column("epochs", "epochs of training, those of the network that it starts from among them"),
        ),
        ".measures:accuracies",
        ".views:accuracy_table",
        (best_of("a setting of gRDA and the baselines matched to it"), excludes("Paired difference")),
    ),
    Table(
        "directional_sensitivity",
        (
            *(
                TASK,
                C,
                MU,
                Column("c_factor", "c over the reference's"),
                Column("mu_shift", "mu minus the reference's"),
            ),
            *(N, DIVERGED, *SPARSITY, *SCORE, *_difference("SGD")),
            *with_interval("sparsity_change", "sparsity minus the reference's, paired by seed", "points"),
        ),
        ".measures:sensitivity",
        ".views:sensitivity",
        ("Accuracy: mean $\\pm$ standard deviation over seeds.", excludes("Paired difference")),
    ),
    Table(
        "directional_overhead",
        (
            Column("network", "whose parameters", "name"),
            Column("parameters", "how many these are"),
            Column("measure", "optimizer step, or whole training step", "name"),
            Column("optimizer", "the optimizer", "name"),
            Column("n", "timing blocks"),
            Column("milliseconds", "median time, in ms"),
            *_intervals(
                ("ratio_sgd", "time over SGD's, within a block", "ratio"),
                ("ratio_momentum", "time over that of SGD with momentum, within a block", "ratio"),
                ("ratio_reference", "time over that of gRDA as its authors released it, within a block", "ratio"),
            ),
            Column("state_ratio", "bytes kept between updates per byte of parameters"),
            Column("peak_ratio", "most bytes alive within an update beside these, per byte of parameters"),
        ),
        ".measures:overhead",
        ".views:overhead",
        (excludes("Ratio of times", "1", "blocks of one run"),),
        "measured at the size named",
    ),
    Table(
        "directional_connectivity",
        (
            *(TASK, PAIR, PATH, N),
            *_intervals(
                ("barrier", "highest training loss on the path above its higher end", "nats"),
                ("above_line", "highest training loss above the line between the ends' losses", "nats"),
                ("error_rise", "highest training error on the path above its higher end", "points"),
            ),
            Column("end_loss", "training loss of the higher end", "nats"),
            Column("lower_end_loss", "training loss of the lower end", "nats"),
            *_intervals(
                ("test_error_most", "highest test error on the path", "share"),
                ("test_error_end", "test error of the higher end", "share"),
                ("length_ratio", "length of the curve over the distance of its ends", "ratio"),
                ("control_difference", "barrier minus that between two independent runs of SGD, by seed", "nats"),
                ("stale_barrier", "barrier without recomputing batch normalisation's statistics", "nats"),
            ),
        ),
        ".measures:connectivity",
        ".views:connectivity",
        (
            excludes("Difference to the barrier between two independent runs of SGD"),
            "Barriers and rises are highest values over points with the ends among them: they cannot be negative.",
        ),
    ),
    Table(
        "directional_curvature",
        (
            *(TASK, EPOCH, PAIR, Column("k", "size of the leading eigenspace"), N),
            *with_interval("share", "share of the displacement that lies in it", "share"),
            Column("chance", "the share of a random direction", "share"),
            *_intervals(
                ("over_chance", "share over chance", "ratio"),
                ("quadratic", "training loss that the curvature in it predicts", "nats"),
                ("control_ratio", "share over that of SGD in another order of data, by seed", "ratio"),
                ("early_ratio", "share over that at the first epoch at which it was measured", "ratio"),
            ),
            Column("norm_ratio", "length of the displacement over that of SGD's weights"),
            Column("own_share", "share of SGD's weights that lies in it", "share"),
            Column("top_eigenvalue", "largest eigenvalue of the Hessian"),
        ),
        ".measures:curvature",
        ".views:curvature",
        (excludes("Ratio", "1"),),
    ),
    Table(
        "directional_norms",
        (
            *(*ARM, N),
            *_intervals(
                ("start", "l2 over l1 norm of all parameters before training", ""),
                ("end", "the same after it", ""),
                ("ratio", "the second over the first, geometric mean over seeds", "ratio"),
            ),
            Column("floor", "its least value, one over the root of the number of parameters"),
        ),
        ".measures:norms",
        ".views:norms",
        (excludes("Ratio", "1"),),
    ),
    Table(
        "directional_toy",
        (
            *(PROBLEM, Column("fixed", "what is fixed as gamma falls: c or lam", "name")),
            *(Column("gamma", "learning rate"), N, Column("steps", "updates"), C, Column("lam", "lambda")),
            *_intervals(
                ("error", "distance to directional pruning over the distance that it moves", ""),
                ("soft_error", "the same of plain soft-thresholding", ""),
                ("cosine", "cosine of gRDA's displacement with that of directional pruning", ""),
                ("sparsity", "share of zeros", "share"),
                ("slope", "slope of log error over log learning rate, by seed", ""),
            ),
            *(Column("d", "parameters"), Column("flat", "flat directions")),
        ),
        ".measures:toy",
        ".views:toy",
        (excludes("Slope"),),
        "exact problems at their own size",
    ),
    Table(
        "directional_trajectory",
        (
            *(*ARM, EPOCH, N, *curve("validation_accuracy", "mean validation accuracy", "share")),
            *with_interval("density", "share of the prunable weights that are not zero", "share"),
        ),
        ".measures:trajectory",
    ),
    Table(
        "directional_norm_curves",
        (
            *(*ARM, EPOCH, N, *curve("ratio", "l2 over l1 norm of all parameters")),
            Column("floor", "its least value"),
        ),
        ".measures:norm_curves",
    ),
    Table(
        "directional_layers",
        (
            *(*ARM, Column("position", "place of the layer"), Column("layer", "its parameter", "name")),
            *(Column("weights", "weights of the layer"), N, *curve("sparsity", "share of zeros", "share")),
        ),
        ".measures:layers",
    ),
    Table(
        "directional_paths",
        (
            *(TASK, PAIR, PATH, Column("statistics", "of batch normalisation: recomputed or stale", "name")),
            *(Column("t", "place on the path, from 0 to 1"), N, *_intervals(*MEASURED)),
        ),
        ".measures:paths",
    ),
    Table(
        "directional_planes",
        (
            *(TASK, Column("seed", "training seed"), PAIR, Column("kind", "grid or named point", "name")),
            *(Column("point", "which named point", "name"), Column("x", "first coordinate"), Column("y", "second")),
            *(Column(*each) for each in MEASURED),
        ),
        ".measures:planes",
    ),
    Table(
        "directional_spectrum",
        (
            TASK,
            EPOCH,
            Column("rank", "place among the eigenvalues"),
            N,
            *curve("eigenvalue", "eigenvalue of the Hessian"),
        ),
        ".measures:spectrum",
    ),
    Table(
        "directional_published",
        (
            *(Column("method", "the method", "name"), Column("schedule", "gRDA's LR schedule", "name"), C, MU),
            *(Column("sparsity", "published sparsity", "share"), Column("accuracy", "published accuracy", "share")),
            Column("source", "where it was read", "name"),
        ),
        ".measures:published",
        scale="published, not measured here",
    ),
)


def _figure(name: str, title: str, needs: tuple[str, ...], module: str) -> Figure:
    return Figure(
        f"directional_{name}", title, tuple(f"directional_{table}" for table in needs), f".figures.{module}:{name}"
    )


FIGURES = (
    _figure("accuracy", "Accuracy against sparsity", ("accuracy",), "arms"),
    _figure("trajectory", "Accuracy and density in training", ("trajectory",), "arms"),
    _figure("connectivity", "Paths between minima", ("paths",), "minima"),
    _figure("plane", "The plane through two minima", ("planes",), "minima"),
    _figure("curvature", "Displacement and curvature", ("curvature", "spectrum"), "minima"),
    _figure("norms", "Concentration of the weights", ("norm_curves",), "arms"),
    _figure("layerwise", "Sparsity by layer", ("layers",), "arms"),
    _figure("toy", "gRDA and directional pruning on toy problems", ("toy",), "exact"),
)
