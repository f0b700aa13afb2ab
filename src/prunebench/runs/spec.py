"""The run language, without torch: what a job trains, from where, and what it measures.

    RunSpec   one job: data, network, seed, and arms that are trained one after another
      Arm     a start and a list of phases
        start  Init | Trained(run, arm, epoch) | Best(run) | File(path)
        Phase  prune, weights, epochs, LR, update, probes

A dense network is an arm of one phase, a pruning chain an arm of one phase per cycle, an oracle's cycle one arm per
candidate from the last cycle's best, a gRDA run an update. A spec's content holds what differs from the defaults.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prunebench.errors import InputError
from prunebench.models.kinds import NETWORKS, NetworkKind
from prunebench.parsing import Name, Strict, by_identity, digest_of, registered, registered_name
from prunebench.pruning.criteria import CRITERIA, get_criterion
from prunebench.runs.estimate import Estimate, Sizes, of_arms
from prunebench.runs.plugins import used_plugins
from prunebench.runs.probes import PROBES, Probe
from prunebench.runs.updates import UPDATES, Update
from prunebench.schedules import POLICIES, PROFILES, Constant, Policy, Profile

if TYPE_CHECKING:
    ProfileConfig = Profile
    PolicyConfig = Policy
    UpdateConfig = Update
    NetworkConfig = NetworkKind
    ProbeConfig = Probe
    CriterionName = str
else:
    ProfileConfig = registered(PROFILES, "profile")
    PolicyConfig = registered(POLICIES, "policy")
    UpdateConfig = registered(UPDATES, "update")
    NetworkConfig = registered(NETWORKS, "network")
    ProbeConfig = registered(PROBES, "probe")
    CriterionName = registered_name(CRITERIA, "criterion")

Sparsity = Annotated[float, Field(gt=0, lt=1)]
Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$", max_length=500)]
"""A job's folder below results/<preset>/runs: names joined by /, none of which begins with a dot."""

NETWORKS_FILE = "networks.safetensors"
"""The file of the networks that a job hands on."""


class Augmentation(Strict):
    """Augmentation of training images, on the device."""

    pad: int = Field(default=0, ge=0, le=32)
    """Zero padding on each side before a random crop back to the image's size, in pixels."""
    flip: bool = False
    """Flip left-right with probability 1/2."""
    resized_crop: float | None = Field(default=None, gt=0, le=1)
    """A random box of at least this share of the image, resized to its size, as usual on ImageNet (0.08); null: none.
    Not with `pad`."""

    @model_validator(mode="after")
    def _pads_or_resizes(self) -> Self:
        if self.pad and self.resized_crop is not None:
            raise InputError("augmentation has pad or resized_crop, not both")
        return self


# --- Starts


class Init(Strict):
    """The initialisation, a pure function of (seed, network)."""

    kind: Literal["init"]
    draw: str | None = None
    """Names another initialisation of the seed than its own; null is the seed's own."""


class Trained(Strict):
    """A network that another job handed on: one arm's, after so many of its epochs."""

    kind: Literal["trained"]
    run: Folder
    """The other job's folder."""
    spec: str
    """Digest of its spec: networks of another spec are refused."""
    arm: str
    """Its arm."""
    epoch: int = Field(ge=0)
    """Epochs of the arm that are behind the network."""


class Best(Strict):
    """The network that a selection among jobs picked by validation accuracy (`prunebench.runs.select`)."""

    kind: Literal["best"]
    run: Folder
    """The selection's folder."""
    specs: list[str]
    """Digests of the specs among which it was picked."""


class File(Strict):
    """Weights of a file: a safetensors state_dict, or one that torch saved (read without running code)."""

    kind: Literal["file"]
    path: str
    """The file."""
    sha256: str | None = None
    """SHA-256 of the file's bytes; null takes any."""


Start = Annotated[Init | Trained | Best | File, Field(discriminator="kind")]


# --- Prunes


class Ramp(Strict):
    """Gradual pruning: sparsity follows a cubic curve during a phase (Zhu & Gupta 2017)."""

    share: float = Field(gt=0, le=1)
    """Share of the phase's updates after which the target is reached."""
    every: int = Field(ge=1)
    """Updates between two prunes."""


class _Scored(Strict):
    """Prunes by a criterion."""

    criterion: CriterionName
    """Pruning criterion."""
    ramp: Ramp | None = None
    """Gradual pruning over the phase; null prunes at once, before the phase's training."""
    score_images: int | None = Field(default=None, ge=1)
    """Training images on which gradient criteria take dL/dw; null takes all."""
    draw: int = 0
    """Tells draws of random criteria apart."""


class ToSparsity(_Scored):
    """Prunes by a criterion until this share of all prunable weights is pruned."""

    kind: Literal["sparsity"]
    sparsity: float = Field(ge=0, lt=1)
    """Share of the prunable weights that is pruned afterwards; 0 prunes nothing."""


class Matched(_Scored):
    """Prunes by a criterion until as many weights are zero as in another job's network."""

    kind: Literal["matched"]
    like: Trained
    """That network. An arm is not trained where it has diverged or has no weight left: its status is `unmatched`."""


class Shed(Strict):
    """Prunes what has been shed: survivors below `below` times their magnitude at the arm's start (the harvest)."""

    kind: Literal["shed"]
    below: float = Field(gt=0, lt=1)
    """Share of a weight's first magnitude below which it counts as shed."""
    at_most: Sparsity
    """Sparsity that the harvest does not go beyond."""


class NOfM(Strict):
    """N:M sparsity: of every m consecutive weights along the input dimension the n largest are kept."""

    kind: Literal["n_of_m"]
    """N:M sparsity."""
    n: int = Field(ge=1)
    """Weights kept in each group."""
    m: int = Field(ge=2, le=64)
    """Weights of a group."""

    @model_validator(mode="after")
    def _keeps_fewer_than_all(self) -> Self:
        if self.n >= self.m:
            raise InputError(f"n is {self.n}, which must be below m, {self.m}")
        return self

    @property
    def size(self) -> int:
        """Weights of a group."""
        return self.m

    @property
    def label(self) -> str:
        """As the field writes it: 2:4."""
        return f"{self.n}:{self.m}"


class Blocks(Strict):
    """1 x size blocks along the input dimension, pruned or kept whole by the sum of magnitudes."""

    kind: Literal["blocks"]
    """Blocks."""
    size: int = Field(ge=2, le=64)
    """Weights of a block."""
    sparsity: Sparsity
    """Share of the blocks that is pruned."""

    @property
    def label(self) -> str:
        """1x4@0.5: blocks of 4 at 50 % sparsity."""
        return f"1x{self.size}@{self.sparsity:g}"


Pattern = Annotated[NOfM | Blocks, Field(discriminator="kind")]
Prune = Annotated[ToSparsity | Matched | Shed | NOfM | Blocks, Field(discriminator="kind")]


# --- Phases, arms, jobs


class Phase(Strict):
    """What happens between two positions of an arm: prunes in order, what becomes of the weights, training."""

    axes: dict[str, Any] = Field(default_factory=dict)
    """What the phase is in its study's tables, such as {cycle: 3}."""
    prune: list[Prune] = Field(default_factory=list)
    """Prunes, in order."""
    rewind: int | None = Field(default=None, ge=0)
    """The weights left after the prunes go back to those after this epoch, kept by the arm or by its start."""
    reinitialise: int | None = None
    """The weights left after the prunes are drawn anew; the number tells draws of one seed apart."""
    epochs: int = Field(ge=0, le=100_000)
    """Epochs of training."""
    profile: ProfileConfig = Constant()
    """LR over `profile_epochs` epochs."""
    max_lr: float = Field(ge=0)
    """Peak LR."""
    first_epoch: int = Field(default=0, ge=0)
    """Epoch of the LR profile that the phase begins at."""
    profile_epochs: int | None = Field(default=None, ge=1)
    """Epochs that the LR profile spans; null: those of the phase."""
    update: UpdateConfig
    """What moves the weights."""
    carry: bool = False
    """The update's state (momentum, ...) goes on from the phase before; else it begins anew."""
    order: int = 0
    """Place of the first epoch in the job's order of data: phases of the same place see the same images."""
    keep: list[int] = Field(default_factory=list)
    """Epochs of the arm (0: its start) after which its network is kept, for rewinding and for other jobs."""
    keep_previous: bool = False
    """Keep the weights of one epoch before the phase's end, too, for criteria that compare with them."""
    recalibrate: int = Field(default=0, ge=0)
    """Training images on which batch normalisation's statistics are taken anew after the prunes and after each epoch;
    0 leaves them as training left them."""
    probes: list[ProbeConfig] = Field(default_factory=list)
    """What is measured while the phase runs."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.rewind is not None and self.reinitialise is not None:
            raise InputError("a phase rewinds or re-initialises its weights, not both")
        if self.carry and (self.rewind is not None or self.reinitialise is not None):
            raise InputError("the update's state cannot be carried over to weights that are rewound or drawn anew")
        return self

    def lr(self, step: int, steps_per_epoch: int) -> float:
        """LR of an update, counted from the phase's beginning."""
        total = (self.profile_epochs or self.epochs) * steps_per_epoch
        return self.profile.lr(self.first_epoch * steps_per_epoch + step, total, self.max_lr)

    @property
    def target(self) -> float | None:
        """The sparsity that its prunes are meant to reach; None where the weights decide."""
        return next((p.sparsity for p in reversed(self.prune) if isinstance(p, ToSparsity)), None)


class Arm(Strict):
    """A trajectory: from a start through phases."""

    name: str
    axes: dict[str, Any] = Field(default_factory=dict)
    """What the arm is in its study's tables, such as {criterion: random, sparsity: 0.8}."""
    start: Start = Init(kind="init")
    """Where it starts."""
    phases: list[Phase] = Field(min_length=1)
    """Its phases."""
    follows: list[str] = Field(default_factory=list)
    """For a control: earlier arms of the job over whose survivors probes of survivors measure it."""

    @property
    def epochs(self) -> int:
        """Epochs of all its phases."""
        return sum(phase.epochs for phase in self.phases)


class Spec(Strict):
    """All that a job depends on; the base of every kind of job."""

    folder: Folder
    """The job's folder below results/<preset>/runs: axes in the path, hyperparameters in the spec."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the job writes, each `<name>.csv`."""
        raise NotImplementedError

    @property
    def files(self) -> tuple[str, ...]:
        """All files that the job leaves in its folder."""
        return (*(f"{table}.csv" for table in self.tables), "spec.json", "provenance.json")

    @property
    def needs(self) -> tuple[str, ...]:
        """Files below results/<preset>/runs that the job reads, without repeats."""
        return ()

    @property
    def data(self) -> str | None:
        """The prepared data set that the job reads, by name; None where it needs none."""
        return None

    def estimate(self, sizes: Sizes) -> Estimate:
        """What the job costs and leaves: by default tables of a hundred rows of ten columns, made in no time."""
        return Estimate(cells=1000 * len(self.tables))


class TaskSpec(Spec):
    """What every job on a task's network and data depends on."""

    task: Name
    dataset: Name
    network: NetworkConfig
    batch_size: int = Field(ge=2)
    precision: Literal["fp32", "bf16"] = "fp32"
    augmentation: Augmentation = Augmentation()
    seed: int
    include_norm: bool = False
    """Prune normalisation weights, too."""
    plugins: dict[str, str] = Field(default_factory=dict)
    """The user's files that the job depends on, each with its SHA-256; found by the names that the spec holds."""

    @model_validator(mode="after")
    def _names_its_plugins(self) -> Self:
        used = used_plugins(lambda: _strings(self.model_dump(mode="json", exclude={"plugins"})))
        if self.plugins not in ({}, used):
            raise InputError(f"the files {', '.join(self.plugins)} are not those that this spec was made with")
        self.__dict__["plugins"] = used
        return self

    @property
    def data(self) -> str | None:
        """The prepared data set, by name."""
        return self.dataset


def _strings(content: Any) -> set[str]:
    """Every string in JSON content."""
    if isinstance(content, str):
        return {content}
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return {text for part in inner for text in _strings(part)}


class RunSpec(TaskSpec):
    """A job that trains arms, one after another: a process start costs about what a small one trains."""

    axes: dict[str, Any] = Field(default_factory=dict)
    """What the job is in tables that list runs, such as {criterion: random, schedule: s_cyc}."""
    arms: list[Arm] = Field(min_length=1)
    evaluate_train: bool = False
    """Evaluate every phase's end on the training images, too."""
    hands_on: Literal["nothing", "kept", "best", "masks"] = "nothing"
    """What other jobs get: nothing, the kept networks of every arm, the last network of the arm that is best on
    validation, or the last masks of every arm."""

    @model_validator(mode="after")
    def _arms_hold_together(self) -> Self:
        before: set[str] = set()
        for arm in self.arms:
            if arm.name in before:
                raise InputError(f"the same arm twice: {arm.name}")
            for name in arm.follows:
                if name not in before:
                    raise InputError(f"arm {arm.name} follows '{name}', which is no earlier arm of the job")
            before.add(arm.name)
            if fault := _fault_of(type(arm.start) in (Trained, Best), *arm.phases):
                raise InputError(f"arm {arm.name}{fault}")
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        """`epochs`, `phases`, and those of the probes."""
        return ("epochs", "phases", *dict.fromkeys(table for probe in self.probes() for table in probe.columns))

    @property
    def files(self) -> tuple[str, ...]:
        """Tables, spec and provenance, and networks where some are handed on."""
        return super().files if self.hands_on == "nothing" else (*super().files, NETWORKS_FILE)

    @property
    def needs(self) -> tuple[str, ...]:
        """Networks of other jobs that arms start from or are matched to."""
        runs = [start.run for start in self.starts() if isinstance(start, Trained | Best)]
        return tuple(dict.fromkeys(f"{run}/{NETWORKS_FILE}" for run in runs))

    def digest(self) -> str:
        """SHA-256 of `content`, in which phases stand by theirs: many jobs of a plan have the same ones."""
        return _digest_of_run(self)

    def estimate(self, sizes: Sizes) -> Estimate:
        """What its arms cost and leave."""
        return of_arms(self, sizes)

    def starts(self) -> Iterator[Any]:
        """Every network that the job reads."""
        for arm in self.arms:
            yield arm.start
            yield from (p.like for phase in arm.phases for p in phase.prune if isinstance(p, Matched))

    def probes(self) -> Iterator[Any]:
        """Every probe of every phase."""
        return (probe for arm in self.arms for phase in arm.phases for probe in phase.probes)


@by_identity
def _digest_of_run(run: RunSpec) -> str:
    own = run.model_dump(mode="json", exclude_defaults=True, exclude={"arms": {"__all__": {"phases"}}})
    return digest_of([own, [_digests_of(*arm.phases) for arm in run.arms]])


@by_identity
def _digests_of(*phases: Phase) -> list[str]:
    return [_digest_of_phase(phase) for phase in phases]


@by_identity
def _digest_of_phase(phase: Phase) -> str:
    return phase.digest()


@by_identity
def _fault_of(given: bool, *phases: Phase) -> str:
    """What a phase needs that no phase before it leaves; empty where each has what it needs.

    given: whether they start from a network of another job, which leaves what is asked of it.
    """
    kept: set[int] = set()
    before = None
    for number, phase in enumerate(phases):
        kept.update(phase.keep)
        if phase.rewind is not None and phase.rewind not in kept and not given:
            return f" rewinds to epoch {phase.rewind}, which it does not keep"
        if phase.carry and (before is None or type(phase.update) is not type(before.update)):
            return f": phase {number} carries on the state of another update"
        has_previous = before.keep_previous if before else given
        if not has_previous and any(map(_compares, phase.prune)):
            return (
                f": phase {number} prunes by a criterion that compares with weights of an epoch before, "
                "which nothing keeps"
            )
        before = phase
    return ""


def _compares(prune: Any) -> bool:
    """Whether a prune is by a criterion that compares with weights of an epoch before."""
    return isinstance(prune, _Scored) and get_criterion(prune.criterion).needs_previous_weights


class Choice(Spec):
    """A selection: of several jobs' arms the one that is best on validation hands its network on."""

    among: list[Folder] = Field(min_length=1)
    """Folders of the jobs."""
    specs: list[str]
    """Digests of their specs."""
    seed: int
    task: Name
    axes: dict[str, Any] = Field(default_factory=dict)

    @property
    def tables(self) -> tuple[str, ...]:
        """`selection`: every candidate's end, the winner marked."""
        return ("selection",)

    @property
    def files(self) -> tuple[str, ...]:
        """The table and the winner's network."""
        return (*super().files, NETWORKS_FILE)

    @property
    def needs(self) -> tuple[str, ...]:
        """The candidates' ends and best networks."""
        return tuple(f"{run}/{file}" for run in self.among for file in ("phases.csv", "spec.json", NETWORKS_FILE))

    def estimate(self, sizes: Sizes) -> Estimate:
        """A row per candidate; the winner's networks are a copy of its job's file."""
        return Estimate(cells=250 * len(self.among))
