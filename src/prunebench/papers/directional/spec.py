"""The jobs of the directional study that train no arms: curves, curvature, exact problems, timings. Without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prunebench.files import write_csv
from prunebench.papers.directional.config import Connectivity, Curvature, Problem
from prunebench.parsing import Name, Strict
from prunebench.runs.estimate import Estimate, Sizes
from prunebench.runs.spec import NETWORKS_FILE, Folder, NetworkConfig, Spec, TaskSpec, Trained

UPDATE_SECONDS = 4e-5
"""Of one update of both optimizers on an exact problem [ours: 24 and 43 us on an Intel Xeon at 2.5 GHz]."""

ROUND_SECONDS = 0.13
"""Of one update of ResNet-50's parameters by each of the four optimizers [ours: docs/performance.md]."""


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

    def estimate(self, sizes: Sizes) -> Estimate:
        """The bends' training; at each point statistics taken anew and two splits evaluated.

        A curve is looked at with stale statistics, too.
        """
        settings, pairs, steps = self.connectivity, len(self.connectivity.pairs), sizes.train // self.batch_size
        plane = settings.plane
        anew = 2 * pairs * settings.points + (len(plane.pairs) * (plane.points**2 + 3) if plane else 0)
        evaluated = anew * (2 * sizes.train + sizes.test) + pairs * settings.points * (sizes.train + sizes.test)
        return Estimate(
            training=pairs * settings.epochs * steps * self.batch_size,
            evaluation=evaluated,
            cells=9 * (anew + pairs * (settings.points + 1)),
        )


class Curvatures(_OfMinima):
    """A job: the Hessian's leading eigenpairs along SGD's trajectory of one task and seed."""

    curvature: Curvature
    epochs: list[int]
    """Epochs after which eigenpairs are computed, the last included."""

    columns = {
        "curvature": "epoch pair k share chance quadratic norm_ratio own_share",
        "eigenvalues": "epoch rank eigenvalue",
    }

    def estimate(self, sizes: Sizes) -> Estimate:
        """Hessian-vector products, each a double backward, taken as two passes of training.

        About 4 per eigenpair (`analysis.curvature.leading_eigenpairs`: measured, 22 to 34 for 10, 128 to 218 for 50).
        """
        settings, epochs = self.curvature, len(self.epochs)
        images = min(settings.images or sizes.train, sizes.train)
        products = epochs * (4 * max(settings.k) + 2 * len(settings.k))
        cells = epochs * (16 * len(settings.k) + 3 * max(settings.k))
        return Estimate(training=2 * products * images, cells=cells)


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

    def estimate(self, sizes: Sizes) -> Estimate:
        """Two solutions, c fixed and lam fixed, at every seed and learning rate; UPDATE_SECONDS for each update."""
        updates = 2 * len(self.seeds) * sum(self.t / gamma for gamma in self.gamma)
        return Estimate(seconds=updates * UPDATE_SECONDS, cells=17 * 2 * len(self.seeds) * len(self.gamma))


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

    def estimate(self, sizes: Sizes) -> Estimate:
        """ROUND_SECONDS for each step of the optimizers; a task's small network is taken for one of ResNet-50's."""
        networks = len(self.timed) + self.resnet50
        rounds = networks * (self.blocks + 1) * self.steps
        return Estimate(seconds=rounds * ROUND_SECONDS, cells=networks * 4 * (2 * 6 * self.blocks + 6))
