"""The directional study's tables and figures, declared: columns, units, what makes them. Imports nothing heavy."""

import math
from functools import partial
from typing import Any

from prunebench.suite.columns import BEST, DIVERGED, SCORE, TASK, N, curve, difference, with_interval
from prunebench.suite.notes import best_of, excludes
from prunebench.suite.paper import Column, Figure, Table

_table, _figure = partial(Table.of, "directional"), partial(Figure.of, "directional")

C, MU = Column("c", "gRDA's c, empty for other methods"), Column("mu", "gRDA's mu, empty for other methods")
ARM = (
    *(TASK, Column("method", "optimizer or baseline", "name"), C, MU),
    Column(
        "matched_to",
        "setting of gRDA: its own, or the one whose sparsity it is pruned to",
        "name",
        "gRDA",
        absent="none",
    ),
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
NAN = math.nan
"""No value of no effect: such intervals have no mark."""
SPARSITY = with_interval("sparsity", "share of zeros among the prunable weights", "share")


def _intervals(*columns: tuple[Any, ...]) -> tuple[Column, ...]:
    """Means with intervals, each by the arguments of a `Column`."""
    return tuple(column for each in columns for column in with_interval(*each))


TABLES = (
    _table(
        "accuracy",
        *(*ARM, Column("strength", "weight of the l1 penalty", header="l1 penalty", absent="none"), N, DIVERGED),
        *(*SPARSITY, *with_interval("sparsity_all", "share of zeros among all parameters", "share")),
        *(*SCORE, BEST, *difference("SGD", "minus SGD")),
        *with_interval(
            "grda_difference", "gRDA's run of the same sparsity minus this one, by seed", "points", "gRDA minus it"
        ),
        Column("epochs", "epochs of training, those of the network that it starts from among them"),
        latex=(
            *("task", "method", "matched_to", "strength", "epochs", "n", "sparsity", "test_accuracy", "difference"),
            "grda_difference",
        ),
        notes=(best_of("a setting of gRDA and the baselines matched to it"), excludes("Paired difference")),
    ),
    _table(
        "sensitivity",
        *(TASK, C, MU, Column("c_factor", "c over the reference's", header="c / reference")),
        Column("mu_shift", "mu minus the reference's", header="mu minus reference"),
        *(N, DIVERGED, *SPARSITY, *SCORE, *difference("SGD", "minus SGD")),
        *with_interval(
            "sparsity_change", "sparsity minus the reference's, by seed", "points", "sparsity minus reference"
        ),
        latex=(
            *("task", "c", "mu", "c_factor", "mu_shift", "n", "sparsity", "test_accuracy", "difference"),
            "sparsity_change",
        ),
        notes=("Accuracy: mean $\\pm$ standard deviation over seeds.", excludes("Paired difference")),
    ),
    _table(
        "released",
        *(
            TASK,
            C,
            MU,
            Column("lr", "constant, as the released scripts run it, or scheduled: the named fix", "name", "LR"),
        ),
        *(N, DIVERGED, *SPARSITY, *SCORE, *difference("SGD", "minus SGD")),
        *with_interval(
            "released_difference", "test accuracy minus that under the schedule, by seed", "points", "minus scheduled"
        ),
        *with_interval(
            "sparsity_change", "sparsity minus that under the schedule, by seed", "points", "sparsity minus scheduled"
        ),
        latex=(
            *("task", "c", "mu", "lr", "n", "sparsity", "test_accuracy", "difference", "released_difference"),
            "sparsity_change",
        ),
        notes=("Accuracy: mean $\\pm$ standard deviation over seeds.", excludes("Paired difference")),
    ),
    _table(
        "overhead",
        *(Column("network", "whose parameters", "name"), Column("parameters", "how many these are")),
        Column("measure", "optimizer step, or whole training step", "name"),
        *(Column("optimizer", "the optimizer", "name"), Column("n", "timing blocks", header="blocks")),
        Column("milliseconds", "median time, in ms", header="ms"),
        *_intervals(
            ("ratio_sgd", "time over SGD's, within a block", "ratio", "time / SGD"),
            ("ratio_momentum", "time over SGD with momentum's, within a block", "ratio", "time / SGD with momentum"),
            ("ratio_reference", "time over the authors' own gRDA's, within a block", "ratio", "time / authors' gRDA"),
        ),
        Column("state_ratio", "bytes kept between updates per byte of parameters", "", "state / parameters", ".2f"),
        Column(
            "peak_ratio", "most bytes beside these in an update, per byte of parameters", "", "peak / parameters", ".2f"
        ),
        latex=(
            *("network", "parameters", "measure", "optimizer", "n", "milliseconds", "ratio_sgd", "ratio_momentum"),
            *("ratio_reference", "state_ratio", "peak_ratio"),
        ),
        notes=(excludes("Ratio of times", "1", "blocks of one run"),),
        scale="measured at the size named",
    ),
    _table(
        "connectivity",
        *(TASK, PAIR, PATH, N),
        *_intervals(
            ("barrier", "highest training loss on the path above its higher end", "nats"),
            ("above_line", "highest loss above the line of its ends' loss", "nats", "above the line between its ends"),
            ("error_rise", "highest training error above the higher end's", "points", "train error rise", ".2%", NAN),
        ),
        Column("end_loss", "training loss of the higher end", "nats", "higher end"),
        Column("lower_end_loss", "training loss of the lower end", "nats", "lower end"),
        *_intervals(
            ("test_error_most", "highest test error on the path", "share", "test error, most"),
            ("test_error_end", "test error of the higher end", "share", "test error, end"),
            ("length_ratio", "the curve's length over its ends' distance", "ratio", "length / distance", "", NAN),
            ("control_difference", "barrier minus that of two independent SGD runs", "nats", "minus SGD to SGD", "", 0),
            ("stale_barrier", "barrier with the first network's statistics", "nats", "barrier with stale statistics"),
        ),
        latex=(
            *("task", "pair", "path", "n", "barrier", "above_line", "control_difference", "error_rise", "end_loss"),
            *("lower_end_loss", "test_error_most", "test_error_end", "length_ratio", "stale_barrier"),
        ),
        notes=(
            excludes("Difference to the barrier between two independent runs of SGD"),
            "Barriers and rises are highest values over points with the ends among them: they cannot be negative.",
        ),
    ),
    _table(
        "curvature",
        *(TASK, EPOCH, PAIR, Column("k", "size of the leading eigenspace"), N),
        *with_interval("share", "share of the displacement that lies in it", "share", "", ".3g"),
        Column("chance", "the share of a random direction", "share", "", ".3g"),
        *_intervals(
            ("over_chance", "share over chance", "ratio", "share / chance", ".3g"),
            ("quadratic", "training loss that the curvature in it predicts", "nats", "quadratic term"),
            ("control_ratio", "share over that of SGD in another order of data", "ratio", "share / control's", ".3g"),
            ("early_ratio", "share over that at the first measured epoch", "ratio", "share / first epoch's", ".3g"),
        ),
        Column("norm_ratio", "length of the displacement over that of SGD's weights", "", "displacement / weights"),
        Column("own_share", "share of SGD's weights that lies in it", "share", "weights' own share", ".3g"),
        Column("top_eigenvalue", "largest eigenvalue of the Hessian"),
        latex=(
            *("task", "epoch", "pair", "k", "n", "share", "chance", "over_chance", "control_ratio", "early_ratio"),
            *("quadratic", "norm_ratio", "own_share", "top_eigenvalue"),
        ),
        notes=(excludes("Ratio", "1"),),
    ),
    _table(
        "norms",
        *(*ARM, N),
        *_intervals(
            ("start", "l2 over l1 norm of all parameters before training"),
            ("end", "the same after it"),
            ("ratio", "the second over the first, geometric mean over seeds", "ratio", "end / start"),
        ),
        Column("floor", "its least value, one over the root of the number of parameters"),
        latex=("task", "method", "matched_to", "n", "start", "end", "ratio", "floor"),
        notes=(excludes("Ratio", "1"),),
    ),
    _table(
        "toy",
        *(PROBLEM, Column("fixed", "what is fixed as gamma falls: c or lam", "name"), Column("gamma", "learning rate")),
        *(N, Column("steps", "updates", header="updates", form=".0f"), C, Column("lam", "lambda", header="lambda")),
        *_intervals(
            ("error", "distance to directional pruning over the distance that it moves"),
            ("soft_error", "the same of plain soft-thresholding", "", "error of soft-thresholding"),
            ("cosine", "cosine of gRDA's displacement with that of directional pruning", "", "", ".3f"),
            ("sparsity", "share of zeros", "share"),
            ("slope", "slope of log error over log learning rate, by seed", "", "slope of log error", ".2f", 0),
        ),
        *(Column("d", "parameters"), Column("flat", "flat directions")),
        latex=(
            *("problem", "fixed", "d", "flat", "gamma", "steps", "lam", "n", "error", "soft_error", "cosine"),
            *("sparsity", "slope"),
        ),
        notes=(excludes("Slope"),),
        scale="exact problems at their own size",
    ),
    _table(
        "trajectory",
        *(*ARM, EPOCH, N, *curve("validation_accuracy", "mean validation accuracy", "share")),
        *with_interval("density", "share of the prunable weights that are not zero", "share"),
    ),
    _table(
        "norm_curves",
        *(*ARM, EPOCH, N, *curve("ratio", "l2 over l1 norm of all parameters"), Column("floor", "its least value")),
    ),
    _table(
        "layers",
        *(*ARM, Column("position", "place of the layer"), Column("layer", "its parameter", "name")),
        *(Column("weights", "weights of the layer"), N, *curve("sparsity", "share of zeros", "share")),
    ),
    _table(
        "paths",
        *(TASK, PAIR, PATH, Column("statistics", "of batch normalisation: recomputed or stale", "name")),
        *(Column("t", "place on the path, from 0 to 1"), N),
        *_intervals(*MEASURED),
    ),
    _table(
        "planes",
        *(TASK, Column("seed", "training seed"), PAIR, Column("kind", "grid or named point", "name")),
        *(Column("point", "which named point", "name"), Column("x", "first coordinate"), Column("y", "second")),
        *(Column(*each) for each in MEASURED),
    ),
    _table(
        "spectrum",
        *(TASK, EPOCH, Column("rank", "place among the eigenvalues"), N),
        *curve("eigenvalue", "eigenvalue of the Hessian"),
    ),
    _table(
        "published",
        *(Column("method", "the method", "name"), Column("schedule", "gRDA's LR schedule", "name"), C, MU),
        *(Column("sparsity", "published sparsity", "share"), Column("accuracy", "published accuracy", "share")),
        Column("source", "where it was read", "name"),
        scale="published, not measured here",
    ),
)


FIGURES = (
    _figure("accuracy", "Accuracy against sparsity", ("accuracy",), "arms"),
    _figure("toy", "gRDA and directional pruning on toy problems", ("toy",), "exact"),
    _figure("norms", "Concentration of the weights", ("norm_curves",), "arms"),
    _figure("connectivity", "Paths between minima", ("paths",), "minima"),
    _figure("curvature", "Displacement and curvature", ("curvature",), "minima"),
    _figure("trajectory", "Accuracy and density in training", ("trajectory",), "arms"),
    _figure("layerwise", "Sparsity by layer", ("layers",), "arms"),
    _figure("plane", "The plane through two minima", ("planes",), "minima"),
    _figure("published", "Published accuracies on ImageNet", ("published",), "arms"),
)
