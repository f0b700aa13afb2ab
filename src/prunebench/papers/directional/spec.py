"""The jobs of the directional study that train no arms: curves, curvature, exact problems, timings. Without torch."""

from typing import TYPE_CHECKING

from prunebench.papers.directional.config import Connectivity, Curvature, Problem
from prunebench.parsing import Name, Strict
from prunebench.runs.spec import NETWORKS_FILE, Folder, NetworkConfig, Spec, TaskSpec, Trained

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from prunebench.runs.job import Network
    from prunebench.runs.networks import Networks


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

    def load(self, runs: "Path") -> "Networks":
        """The job's networks; InputError where they are missing or another spec's."""
        from prunebench.runs.networks import load_networks

        return load_networks(runs / self.run / NETWORKS_FILE, (self.spec,))

    def network(self, networks: "Networks", method: str, epoch: int, device: "torch.device") -> "Network | None":
        """A method's state_dict after so many epochs; None where it has diverged."""
        record = networks.at(self.arms[method], epoch, device)
        return record.model if record else None


class _OfMinima(TaskSpec):
    minima: Minima

    @property
    def needs(self) -> tuple[str, ...]:
        """The minima's networks."""
        return (f"{self.minima.run}/{NETWORKS_FILE}",)


class Curves(_OfMinima):
    """A job: paths between the minima of one task and seed."""

    connectivity: Connectivity

    @property
    def tables(self) -> tuple[str, ...]:
        """Points of paths, trained curves, points of planes."""
        return ("paths", "curves", "plane")


class Curvatures(_OfMinima):
    """A job: the Hessian's leading eigenpairs along SGD's trajectory of one task and seed."""

    curvature: Curvature
    epochs: list[int]
    """Epochs after which eigenpairs are computed, the last included."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Shares of displacements, and eigenvalues."""
        return ("curvature", "eigenvalues")


class ExactProblem(Spec):
    """A job: one exact problem at every seed and learning rate."""

    problem: Problem
    seeds: list[int]
    gamma: list[float]
    t: float
    c: float
    mu: float

    @property
    def tables(self) -> tuple[str, ...]:
        """Errors."""
        return ("toy",)


class Timed(Strict):
    """A network whose training step is timed."""

    name: Name
    network: NetworkConfig
    channels: int
    classes: int
    image_size: int
    batch_size: int


class Timings(Spec):
    """A job: time and memory of the optimizers."""

    timed: list[Timed]
    resnet50: bool
    blocks: int
    steps: int

    @property
    def tables(self) -> tuple[str, ...]:
        """Seconds and bytes."""
        return ("seconds", "memory")
