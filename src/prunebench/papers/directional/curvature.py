"""How much of gRDA's displacement from SGD lies along the directions in which the training loss is most curved."""

from pathlib import Path

import torch

from prunebench.analysis.connectivity import flatten
from prunebench.analysis.curvature import chance, leading_eigenpairs, quadratic, share
from prunebench.config import CurvatureSpec
from prunebench.config.directional import ORDER, SGD
from prunebench.files import write_csv
from prunebench.training.directional import Network, Networks, load_networks
from prunebench.training.job import Job, Row, finish, new_state

COLUMNS = {
    "curvature": ["epoch", "pair", "k", "share", "chance", "quadratic", "norm_ratio", "own_share"],
    "eigenvalues": ["epoch", "rank", "eigenvalue"],
}
"""The tables that a job writes into its folder, each `<name>.csv`, with their columns."""

HESSIAN_BATCH = 512


def measure_curvature(job: Job, start: Path, out: Path) -> None:
    """Eigenpairs at SGD's networks in `start` after each epoch of `job.spec`; writes tables, spec.json and
    provenance.json. An epoch at which a network had diverged has no rows."""
    spec = job.spec
    assert isinstance(spec, CurvatureSpec)
    networks = load_networks(start, spec.minima, job.device)
    rows: dict[str, list[Row]] = {"curvature": [], "eigenvalues": []}
    done: list[int] = []
    if resumed := job.resume.load():
        rows, done = resumed[1]["rows"], resumed[1]["done"]
        print(f"going on behind epochs {done}", flush=True)
    for epoch in spec.epochs():
        if epoch in done:
            continue
        _measure_at(job, networks, epoch, rows)
        done.append(epoch)
        if job.resume.due():
            job.resume.save({}, {"rows": rows, "done": done})
        job.report(f"epoch {epoch}: eigenpairs")
    for table, columns in COLUMNS.items():
        write_csv(out / f"{table}.csv", rows[table], columns)
    finish(job, out)


def _measure_at(job: Job, networks: Networks, epoch: int, rows: dict[str, list[Row]]) -> None:
    spec = job.spec
    assert isinstance(spec, CurvatureSpec)
    settings = spec.curvature
    sgd = networks.at(SGD, epoch)
    if sgd is None:
        return
    model = new_state(job).model
    model.load_state_dict(sgd)
    names = [name for name, _ in model.named_parameters()]
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    pairs = leading_eigenpairs(
        model,
        parameters,
        lambda: job.batches(job.data.train, settings.images, HESSIAN_BATCH),
        max(settings.k),
        tol=settings.tolerance,
        seed=spec.seed,
    )
    values = enumerate(pairs.values.tolist(), 1)
    rows["eigenvalues"] += [{"epoch": epoch, "rank": rank, "eigenvalue": value} for rank, value in values]

    def vector(network: Network) -> torch.Tensor:
        return flatten({name: network[name] for name in names})

    own = vector(sgd)
    for pair, arm in ((f"grda:{SGD}", spec.reference), (f"{ORDER}:{SGD}", ORDER)):
        other = networks.at(arm, epoch)
        if other is None:
            continue
        moved = vector(other) - own
        for k in settings.k:
            vectors = pairs.vectors[:k]
            rows["curvature"].append(
                {
                    "epoch": epoch,
                    "pair": pair,
                    "k": k,
                    "share": share(vectors, moved),
                    "chance": chance(k, len(own)),
                    "quadratic": quadratic(pairs.values[:k], vectors, moved),
                    "norm_ratio": float(moved.norm() / own.norm()),
                    "own_share": share(vectors, own),
                }
            )
