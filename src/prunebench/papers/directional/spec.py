"""The jobs of the directional study that train no arms: curves, curvature, exact problems, timings. Without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prunebench.files import write_csv
from prunebench.papers.directional.config import Connectivity, Curvature, Problem
from prunebench.parsing import Name, Strict
from prunebench.runs.spec import NETWORKS_FILE, Folder, NetworkConfig, Spec, TaskSpec, Trained


class Minima(Strict):
    """The job of a task and seed whose networks are looked at."""

    run: Folder
    spec: str
    """Digest of its spec."""
    arms: dict[str, str]
    """Method -> arm; `grda` is the reference setting's."""
    epochs: int
    """Epochs of every arm."""

    def start(self, arm: str) -> Trained:
        """The network that an arm ended with, as the start of another."""
        return Trained(kind="trained", run=self.run, spec=self.spec, arm=arm, epoch=self.epochs)


class _Writes(Spec):
    columns: ClassVar[dict[str, str]]
    """The tables that the job writes into its folder, each `<name>.csv`, with their columns."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of these tables."""
        return tuple(self.columns)

    def write(self, out: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Writes these tables; one that has no rows has a header."""
        for table, columns in self.columns.items():
            write_csv(out / f"{table}.csv", rows.get(table, []), columns.split())


class _OfMinima(_Writes, TaskSpec):
    minima: Minima

    @property
    def needs(self) -> tuple[str, ...]:
        """The minima's networks."""
        return (f"{self.minima.run}/{NETWORKS_FILE}",)


class Curves(_OfMinima):
    """A job: paths between the minima of one task and seed."""

    connectivity: Connectivity

    columns = {
        "paths": "pair path t statistics train_loss train_error test_loss test_error",
        "curves": "pair distance length epochs train_loss",
        "plane": "pair kind point x y train_loss train_error test_loss test_error",
    }


class Curvatures(_OfMinima):
    """A job: the Hessian's leading eigenpairs along SGD's trajectory of one task and seed."""

    curvature: Curvature
    epochs: list[int]
    """Epochs after which eigenpairs are computed, the last included."""

    columns = {
        "curvature": "epoch pair k share chance quadratic norm_ratio own_share",
        "eigenvalues": "epoch rank eigenvalue",
    }


class ExactProblem(_Writes):
    """A job: one exact problem at every seed and learning rate."""

    problem: Problem
    seeds: list[int]
    gamma: list[float]
    t: float
    c: float
    mu: float

    columns = {
        "toy": "seed fixed problem gamma t c mu steps lam error soft_error cosine d flat largest_flat smallest_steep "
        "sparsity sgd_loss grda_loss"
    }


class Timed(Strict):
    """A network whose training step is timed."""

    name: Name
    network: NetworkConfig
    channels: int
    classes: int
    image_size: int
    batch_size: int


class Timings(_Writes):
    """A job: time and memory of the optimizers."""

    timed: list[Timed]
    resnet50: bool
    blocks: int
    steps: int

    columns = {
        "seconds": "network parameters measure optimizer block seconds",
        "memory": "network parameters optimizer parameter_bytes state_bytes peak_bytes",
    }
