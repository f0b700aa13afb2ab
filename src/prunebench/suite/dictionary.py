"""What the columns of results mean that no paper declares: runs.csv, and the tables of jobs that train."""

from prunebench.suite.paper import Column

STUDY = Column("study", "the paper's key, or dense for the dense networks that all share", "name")
SEED = Column("seed", "training seed")
FOLDER = Column("folder", "the job's folder below runs/", "name")
STATUS = Column("status", "trained, diverged or unmatched", "name")

ACCURACIES = (
    Column("validation_accuracy", "accuracy on the validation images", "share"),
    Column("test_accuracy", "accuracy on the test images", "share"),
)

COST = (
    Column("steps", "updates"),
    Column("images", "training images that updates have seen"),
    Column("flops", "FLOPs of training, no zero left out"),
    Column("flops_sparse", "FLOPs with each layer scaled by its density: theoretical"),
    Column("seconds", "wall time with evaluations", "s"),
    Column("peak_memory_mb", "peak resident memory", "MB"),
)

RUNS = (
    STUDY,
    Column("task", "task of the preset", "name"),
    Column("part", "part of the study", "name"),
    Column("criterion", "pruning criterion; empty where arms differ", "name"),
    Column("schedule", "LR schedule; empty where arms differ", "name"),
    Column("cycle", "last pruning cycle"),
    SEED,
    Column("sparsity", "share of the prunable weights that is zero at the end", "share"),
    STATUS,
    *ACCURACIES,
    *COST,
    Column("spec_sha256", "digest of the job's spec", "name"),
    FOLDER,
    Column("prunebench", "version", "name"),
    Column("source_digest", "SHA-256 of the package's sources", "name"),
    Column("commit", "commit of the code", "name"),
    Column("dirty", "whether tracked files differed from the commit", "name"),
    Column("python", "version of Python", "name"),
    Column("torch", "version of torch", "name"),
    Column("numpy", "version of NumPy", "name"),
    Column("platform", "operating system", "name"),
    Column("device", "processor or GPU", "name"),
    Column("threads", "CPU threads"),
    Column("numerics", "how the CPU computed: portable or native", "name"),
    Column("precision", "fp32 or bf16", "name"),
    Column("processes", "processes that trained together"),
    Column("data_sha256", "checksum of the prepared data set", "name"),
    Column("data_verified", "whether the raw files had their publisher's checksums", "name"),
    Column("cpu_seconds", "processor time of the process", "s"),
    Column("others_load", "share of the machine's processors that other work took meanwhile", "share"),
    Column("finished", "when the job ended", "name"),
)
"""Columns of runs.csv."""

LOSSES = (
    Column("train_loss", "mean cross-entropy on training images", "nats"),
    Column("validation_loss", "mean cross-entropy on the validation images", "nats"),
    Column("test_loss", "mean cross-entropy on the test images", "nats"),
)

PHASES = (
    Column("density", "share of the prunable weights that masks keep", "share"),
    Column("sparsity", "share of the prunable weights that masks prune", "share"),
    Column("sparsity_start", "the same after the prunes at the phase's begin", "share"),
    STATUS,
    Column("max_lr", "the profile's highest LR"),
    *ACCURACIES,
    Column("train_accuracy", "accuracy on the training images", "share"),
    *LOSSES,
    *COST,
    Column("clock", "weight decay x the sum of the learning rates of all updates"),
)
"""Columns of phases.csv, the end of a phase: cost and loss are the phase's, the clock is the arm's so far."""

EPOCHS = (
    Column("lr", "LR of the epoch's last update"),
    *(column for column in PHASES if column.name in ("train_loss", "validation_loss", "validation_accuracy")),
    *(column for column in PHASES if column.name in ("sparsity", "steps", "clock", "flops", "flops_sparse")),
)
"""Columns of epochs.csv: steps, clock and FLOPs are the arm's so far."""

AXES = (
    STUDY,
    SEED,
    Column("claim", "the claim", "name"),
    FOLDER,
    Column("arm", "arm of a job: a trajectory from a start through phases", "name"),
    Column("phase", "phase of the arm, from 0"),
    Column("epoch", "epoch of the phase, from 0"),
    Column("cell", "label of the cell in which a quantity is measured", "name"),
)
"""What rows are told apart by, beside axes that tables declare."""

CLAIMS = (
    Column("verdict", "what the rule says", "name"),
    Column("effect", "the effect that stands for the claim; of a ratio its logarithm", "the claim's"),
    Column("effect_low", "lower end of its interval", "the claim's"),
    Column("effect_high", "upper end of its interval", "the claim's"),
    Column("stability", "how likely a repeat with other seeds gives the same verdict", "share"),
    Column("opposite", "how likely it gives the opposite one", "share"),
    Column("power", "how likely so many seeds find the claimed effect if it is there", "share"),
    Column("power_seeds", "the least number of seeds that find it with 80 %", "seeds"),
)
"""Quantities of claims."""

LONG = (
    STUDY,
    Column("table", "the table, or runs, phases, epochs, observations, claims", "name"),
    Column("quantity", "what is measured: a column of that table", "name"),
    Column("unit", "the quantity's unit; empty for plain numbers", "name"),
    Column("value", "the number; truth is 1 or 0"),
    Column("text", "the word, of quantities that are words", "name"),
)
"""Columns of the long table; the others are axes."""
