"""Paths between minima: trained Bezier curves, straight lines, and the plane that holds a curve."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from prunebench.analysis.connectivity import (
    Plane,
    Weights,
    bezier,
    distance,
    length,
    midpoint,
    point,
    segment,
    train_bend_,
)
from prunebench.data.batches import Augment, Batch, train_batches
from prunebench.papers.directional.spec import Curves
from prunebench.runs.checkpoint import join
from prunebench.runs.job import Job, Network, Row
from prunebench.runs.networks import load_networks
from prunebench.runs.spec import NETWORKS_FILE
from prunebench.seeding import generator, global_draws

Rows = dict[str, list[Row]]


def connect(job: Job[Curves], out: Path) -> None:
    """Connects pairs of minima; writes the tables of `job.spec`, spec.json and provenance.json.

    A pair has no rows if one of its networks has diverged.
    """
    spec, minima = job.spec, job.spec.minima
    networks = load_networks(job.runs / minima.run / NETWORKS_FILE, (minima.spec,))
    rows: Rows = {}
    number, resumed = 0, job.resume.load()
    if resumed:
        rows, number = resumed[1]["rows"], resumed[1]["pair"]
        print(f"going on with pair {number + 1} of {len(spec.connectivity.pairs)}", flush=True)
    for at, pair in enumerate(spec.connectivity.pairs[number:], number):
        a, b = (networks.at(minima.arms[name], minima.epochs, job.device) for name in pair.split(":"))
        if a is None or b is None:
            print(f"{pair}: a network has diverged", flush=True)
            continue
        curve = _Curve(job, pair, a.model, b.model, rows, at)
        curve.train_(resumed)
        resumed = None
        curve.evaluate()
    spec.write(out, rows)
    job.finish(out)


class _Curve:
    """One pair: its bend in training, then the points of its paths and of its plane."""

    def __init__(self, job: Job[Curves], pair: str, a: Network, b: Network, rows: Rows, number: int) -> None:
        self.job, self.pair, self.rows, self.number = job, pair, rows, number
        self.settings = job.spec.connectivity
        self.model = job.network()
        names = [name for name, _ in self.model.named_parameters()]
        # Its buffers are the first network's: a point with stale statistics has these.
        self.model.load_state_dict(a)
        self.a, self.b = ({name: network[name] for name in names} for network in (a, b))
        self.bend = midpoint(self.a, self.b)
        self.momentum = {name: torch.zeros_like(weight) for name, weight in self.bend.items()}
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=job.device)  # of the epoch's steps so far
        self.epoch, self.step, self.loss = 0, 0, float("nan")

    def train_(self, resumed: tuple[dict[str, torch.Tensor], dict[str, Any]] | None) -> None:
        """Trains the bend from wherever it is."""
        job, settings = self.job, self.settings
        if resumed:
            self._load_(*resumed)
        profile, spe = settings.profile, job.steps_per_epoch
        total = settings.epochs * spe
        for epoch in range(self.epoch, settings.epochs):
            draw, first = generator("t", job.spec.seed, self.pair, epoch), self.step
            with global_draws(job.device, job.spec.seed, epoch, "network") as begin:
                train_bend_(
                    self.model,
                    self.a,
                    self.b,
                    self.bend,
                    self.momentum,
                    self._batches(epoch, begin),
                    torch.rand(spe, generator=draw, dtype=torch.float64).tolist()[first:],
                    [profile.lr(epoch * spe + step, total, settings.max_lr) for step in range(first, spe)],
                    momentum_factor=settings.momentum,
                    autocast=job.autocast,
                    loss_sum=self.loss_sum,
                )
            self.loss = float(self.loss_sum) / spe
            self.epoch, self.step = epoch + 1, 0
            self.loss_sum.zero_()
            job.report(f"{self.pair} epoch {epoch}: loss {self.loss:.4f}")

    def _batches(self, epoch: int, begin: Callable[[int], None]) -> Iterator[Batch]:
        """The rest of the epoch's batches; each is given right before its forward pass, which `begin` prepares."""
        job, spec = self.job, self.job.spec
        batches = train_batches(
            job.data.train,
            batch_size=spec.batch_size,
            seed=spec.seed,
            epoch=epoch,
            augment=Augment(**dict(spec.augmentation)),
            mean=job.data.mean,
            std=job.data.std,
            first=self.step,
        )
        for batch in batches:
            self._save_where_due()
            begin(self.step)
            yield batch
            self.step += 1

    def _save_where_due(self) -> None:
        if self.job.resume.due():
            self.job.resume.save(*self._state())
        self.job.resume.keep(self._state)

    def _state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What a resume file holds, in memory that nothing changes afterwards."""
        tensors = {name: tensor.clone() for name, tensor in self._tensors().items()}
        rows = {table: [*rows] for table, rows in self.rows.items()}
        return tensors, {"rows": rows, "pair": self.number, "epoch": self.epoch, "step": self.step, "loss": self.loss}

    def _tensors(self) -> dict[str, torch.Tensor]:
        return join({"bend": self.bend, "momentum": self.momentum, "loss": {"sum": self.loss_sum}})

    def _load_(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(tensors[name])
        self.epoch, self.step, self.loss = values["epoch"], values["step"], values["loss"]

    def evaluate(self) -> None:
        """Adds the rows of the pair's curve, its line and, where asked for, its plane; a resumed pair continues."""
        done = sum(row["pair"] == self.pair for table in ("paths", "plane") for row in self.rows.get(table, []))
        for table, at, weights, recomputed in islice(self._points(), done, None):
            self._save_where_due()
            self.rows.setdefault(table, []).append({"pair": self.pair} | at | self._measure(weights, recomputed))
        a, b, bend = self.a, self.b, self.bend
        row = {"pair": self.pair, "distance": distance(a, b), "length": length(a, bend, b)}
        self.rows.setdefault("curves", []).append(row | {"epochs": self.settings.epochs, "train_loss": self.loss})

    def _points(self) -> Iterator[tuple[str, Row, Weights, bool]]:
        """Table, place and weights of each point, and whether batch-normalisation statistics are recomputed there."""
        a, b, bend = self.a, self.b, self.bend
        normalised = any(True for _ in self.model.buffers())
        last = self.settings.points - 1
        for t in (nth / last for nth in range(last + 1)):
            curve, line = bezier(a, bend, b, t), segment(a, b, t)
            yield "paths", {"path": "curve", "t": t, "statistics": "recomputed"}, curve, True
            yield "paths", {"path": "line", "t": t, "statistics": "recomputed"}, line, True
            if normalised:
                yield "paths", {"path": "curve", "t": t, "statistics": "stale"}, curve, False
        if self.settings.plane and self.pair in self.settings.plane.pairs:
            yield from self._points_of_plane(Plane.through(a, b, bend))

    def _points_of_plane(self, plane: Plane) -> Iterator[tuple[str, Row, Weights, bool]]:
        assert self.settings.plane is not None
        corners = {"a": self.a, "b": self.b, "bend": self.bend}
        places = {name: plane.coordinates(weights) for name, weights in corners.items()}
        for name, (x, y) in places.items():
            yield "plane", {"kind": "point", "point": name, "x": x, "y": y}, corners[name], True
        points, margin = self.settings.plane.points, self.settings.plane.margin
        for x in _grid([x for x, _ in places.values()], points, margin):
            for y in _grid([y for _, y in places.values()], points, margin):
                yield "plane", {"kind": "grid", "point": "", "x": x, "y": y}, plane.at(x, y), True

    def _measure(self, weights: Weights, recomputed: bool) -> Row:
        """Loss and error on the training images, without augmentation, and on the test images."""
        job = self.job
        statistics = job.batches(job.data.train) if recomputed else None
        splits = {"train": job.batches(job.data.train), "test": job.batches(job.data.test)}
        measured = point(self.model, weights, statistics, splits)
        return {
            f"{split}_{name}": value
            for split, values in measured.items()
            for name, value in zip(("loss", "error"), values, strict=True)
        }


def _grid(places: list[float], points: int, margin: float) -> Iterator[float]:
    """`points` coordinates from the least to the greatest of `places`, with a margin on both sides."""
    extent = max(places) - min(places)
    begin, end = min(places) - margin * extent, max(places) + margin * extent
    return (begin + nth * (end - begin) / (points - 1) for nth in range(points))
