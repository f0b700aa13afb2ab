"""How much of gRDA's displacement from SGD lies along the directions in which the training loss is most curved."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunebench.analysis.connectivity import flatten
from prunebench.analysis.curvature import chance, leading_eigenpairs, quadratic, share
from prunebench.data.batches import Batch
from prunebench.papers.directional.config import ORDER, SGD
from prunebench.papers.directional.spec import Curvatures
from prunebench.runs.job import Job, Network, Row
from prunebench.runs.networks import Networks, load_networks
from prunebench.runs.spec import NETWORKS_FILE

HESSIAN_BATCH = 512


def measure(job: Job[Curvatures], out: Path) -> None:
    """Computes eigenpairs at SGD's network after each epoch of the spec; writes tables, spec.json and provenance.json.

    An epoch at which SGD has diverged has no rows.
    """
    minima = job.spec.minima
    networks = load_networks(job.runs / minima.run / NETWORKS_FILE, (minima.spec,))
    rows: dict[str, list[Row]] = {"curvature": [], "eigenvalues": []}
    done: list[int] = []
    known: list[NDArray[np.float64]] = []
    if resumed := job.resume.load():
        tensors, values = resumed
        rows, done = values["rows"], values["done"]
        known = [tensors[f"{number}"].numpy() for number in range(len(tensors))]
        print(f"going on after epochs {done} and {len(known)} products", flush=True)

    def state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors = {f"{number}": torch.from_numpy(product) for number, product in enumerate(known)}
        return tensors, {"rows": {table: [*those] for table, those in rows.items()}, "done": [*done]}

    def save_where_due() -> None:
        if job.resume.due():
            job.resume.save(*state())
        job.resume.keep(state)

    for epoch in job.spec.epochs:
        if epoch in done:
            continue
        _measure_at(job, networks, epoch, rows, known, save_where_due)
        done.append(epoch)
        known.clear()
        save_where_due()
        job.report(f"epoch {epoch}: eigenpairs")
    job.spec.write(out, rows)
    job.finish(out)


def _measure_at(
    job: Job[Curvatures],
    networks: Networks,
    epoch: int,
    rows: dict[str, list[Row]],
    known: list[NDArray[np.float64]],
    save_where_due: Callable[[], None],
) -> None:
    """Adds an epoch's rows. known: the Hessian-vector products so far, before each of which a save may be due."""
    spec, settings, minima = job.spec, job.spec.curvature, job.spec.minima
    sgd = networks.at(minima.arms[SGD], epoch, job.device)
    if sgd is None:
        return
    model = job.network()
    model.load_state_dict(sgd.model)
    names = [name for name, _ in model.named_parameters()]
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    images = job.data.train if settings.images is None else job.data.train.first(settings.images)

    def batches() -> Iterator[Batch]:
        save_where_due()
        return job.batches(images, HESSIAN_BATCH)

    pairs = leading_eigenpairs(
        model, parameters, batches, max(settings.k), tol=settings.tolerance, seed=spec.seed, known=known
    )
    values = enumerate(pairs.values.tolist(), 1)
    rows["eigenvalues"] += [{"epoch": epoch, "rank": rank, "eigenvalue": value} for rank, value in values]

    def vector(network: Network) -> torch.Tensor:
        return flatten({name: network[name] for name in names})

    weights = vector(sgd.model)
    for pair, arm in ((f"grda:{SGD}", "grda"), (f"{ORDER}:{SGD}", ORDER)):
        other = networks.at(minima.arms[arm], epoch, job.device)
        if other is None:
            continue
        moved = vector(other.model) - weights
        for k in settings.k:
            vectors = pairs.vectors[:k]
            rows["curvature"].append(
                {
                    "epoch": epoch,
                    "pair": pair,
                    "k": k,
                    "share": share(vectors, moved),
                    "chance": chance(k, len(weights)),
                    "quadratic": quadratic(pairs.values[:k], vectors, moved),
                    "norm_ratio": float(moved.norm() / weights.norm()),
                    "own_share": share(vectors, weights),
                }
            )
