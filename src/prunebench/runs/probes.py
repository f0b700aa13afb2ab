"""What is measured while an arm trains: a registry of frozen dataclasses, each with tables of its own.

A probe has a method per moment of an arm and writes rows through the view that it is given; a row begins with the arm
and the phase. A pruned arm is measured over its own survivors; a control (`Arm.follows`) over the survivors of the arms
that it follows, so that an excess compares the same weights. Importing this module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prunebench.errors import InputError
from prunebench.runs.estimate import Estimate, Span

if TYPE_CHECKING:
    from torch import Tensor

    from prunebench.data.batches import Batch
    from prunebench.pruning.masks import Masks
    from prunebench.runs.view import View

GRADIENT_BATCH = 500
"""Images of one backward pass; it changes roundings alone."""

BELOW = 0.05
"""A survivor below this share of its first magnitude counts as shed [ours]."""


def _width(probe: Probe) -> int:
    """Columns of all its tables, `arm` and `phase` included."""
    return sum(2 + len(names) for names in probe.columns.values())


class Probe:
    """A measurement; the base of every probe. Each method is called at one moment of an arm."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Table -> its columns behind `arm` and `phase`."""

    def before_prune(self, view: View) -> None:
        """A phase begins; nothing is pruned yet."""

    def begin(self, view: View) -> None:
        """The arm begins: its first phase's prunes are done, no update is."""

    def before_update(self, view: View, done: int) -> None:
        """The phase has `done` updates behind it, and makes the next one."""

    def after_epoch(self, view: View) -> None:
        """An epoch's row is written."""

    def end_phase(self, view: View) -> None:
        """A phase has ended with finite losses."""

    def end(self, view: View) -> None:
        """The arm has ended with finite losses."""

    def estimate(self, span: Span) -> Estimate:
        """What measuring one phase costs and writes: an estimate, for `prunebench plan`.

        By default nothing beside a row of each table at the phase's beginning, its end, and after each epoch.
        """
        return Estimate(cells=(span.epochs + 2) * _width(self))


@dataclass(frozen=True)
class Gradients(Probe):
    """The distribution of dL/dw on a fixed batch (claim A1).

    images: first training images of the batch, the same for every phase. at: shares of a phase's updates after which
    gradients are measured; ends with 1. The early ones let phases be compared at the same training loss.
    """

    images: int
    at: tuple[float, ...] = (0.0, 0.03, 0.1, 0.3, 0.6, 1.0)
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "gradients": (
            *("share", "sparsity", "weights", "n", "loss", "mean", "std", "iqr_over_1349"),
            *("q01", "q05", "q25", "q50", "q75", "q95", "q99", "min", "max"),
        ),
        "gradient_histograms": ("share", "sparsity", "left", "right", "count"),
    }

    def __post_init__(self) -> None:
        if self.images < 1:
            raise InputError(f"images is {self.images}; allowed: 1 or more")
        if sorted({*self.at}) != [*self.at] or not self.at or self.at[0] < 0 or self.at[-1] != 1:
            raise InputError(f"at must ascend from 0 or more and end with 1, found {[*self.at]}")

    def before_update(self, view: View, done: int) -> None:
        """At each share but the last."""
        shares = {round(share * view.updates): share for share in self.at[:-1]}
        if done in shares:
            self._measure(view, shares[done])

    def end_phase(self, view: View) -> None:
        """At the last share, with a histogram."""
        self._measure(view, 1.0)

    def estimate(self, span: Span) -> Estimate:
        """A backward pass at each share; three rows and one per layer, and one histogram of 201 bins."""
        rows = len(self.at) * (3 + span.layers)
        return Estimate(training=len(self.at) * self.images, cells=21 * rows + 8 * 201)

    def _measure(self, view: View, share: float) -> None:
        from prunebench.analysis.gradients import gradient_statistics

        with view.off_the_clock():  # it is no part of what a schedule costs
            batches = view.job.batches(view.job.data.train.first(self.images), GRADIENT_BATCH)
            snapshot = gradient_statistics(view.state.model, view.parameters, view.state.masks, batches)
            at = {"share": share, "sparsity": view.sparsity()}
            view.write("gradients", [at | row for row in snapshot.rows])
            if share == 1:
                view.write("gradient_histograms", [at | row for row in snapshot.histogram])


@dataclass(frozen=True)
class Shedding(Probe):
    """Shares of survivors that have been shed, by several thresholds.

    removable_images: validation images on which the share of removable weights is measured; 0 leaves it out. below:
    share of a weight's first magnitude below which it counts as shed.
    """

    removable_images: int = 0
    below: float = BELOW
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "shedding": (
            *("followed", "epoch", "steps", "clock", "sparsity", "survivors", "tau", "absolute", "relative"),
            *("removable", "filters", "dead_filters", "channels", "dead_channels", "in_dead"),
        )
    }

    def begin(self, view: View) -> None:
        self._measure(view, removable=True)

    end = begin

    def before_update(self, view: View, done: int) -> None:
        """In the arm's first epoch, after 1, 2, 4, 8, ... updates."""
        first = view.number == 0 and 0 < done < view.job.steps_per_epoch
        if first and done & (done - 1) == 0:
            self._measure(view)

    def after_epoch(self, view: View) -> None:
        """At every epoch's end but the arm's last, which `end` measures."""
        if not view.at_end:
            self._measure(view, removable=True)

    def estimate(self, span: Span) -> Estimate:
        """A row per epoch, one more per arm, and those of the first epoch's updates.

        The share of removable weights is found by bisection to 1/128, in 8 evaluations, after 2 of the whole network.
        """
        moments = span.epochs + span.first
        updates = span.updates // max(span.epochs, 1)
        early = max(updates - 1, 0).bit_length() if span.first else 0
        rows = span.followed * (moments + early)
        evaluated = 10 * self.removable_images * span.followed * moments
        return Estimate(evaluation=evaluated, cells=rows * _width(self))

    def _measure(self, view: View, removable: bool = False) -> None:
        from prunebench.analysis.shedding import below_threshold, in_dead, structures
        from prunebench.pruning.masks import alive, density

        weights, at = view.weights(), view.progress()
        for name, masks in view.survivors().items():
            living, count = view.living(masks, self.below), alive(masks)
            if count == 0:
                continue  # nothing survives that could be shed
            tau = view.threshold(density(masks))
            row = at | {
                "followed": name,
                "sparsity": 1 - density(masks),
                "survivors": count,
                "tau": tau,
                "absolute": alive(below_threshold(weights, masks, tau)) / count,
                "relative": (count - alive(living)) / count,
                "in_dead": in_dead(living, masks, view.prunable_layers),
                **structures(living, view.prunable_layers),
            }
            if removable and self.removable_images:
                row["removable"] = self._removable(view, masks)
            view.write("shedding", [row])

    def _removable(self, view: View, masks: Masks) -> float | None:
        """None where the network is no better than guessing: taking weights away cannot hurt it."""
        from prunebench.analysis.shedding import removable_share

        split = view.job.data.validation.first(self.removable_images)

        def loss() -> float:
            return view.evaluate(split, precision="fp32")[0]

        if not loss() < math.log(view.job.data.classes):
            return None
        return removable_share(loss, view.parameters, masks)


@dataclass(frozen=True)
class Histograms(Probe):
    """Histograms of survivors' magnitudes at the arm's beginning and end."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {"histograms": ("followed", "epoch", "left", "right", "count")}

    def estimate(self, span: Span) -> Estimate:
        """38 bins at the arm's beginning and end."""
        return Estimate(cells=38 * span.followed * (span.first + span.last) * _width(self))

    def begin(self, view: View) -> None:
        from prunebench.analysis.shedding import magnitude_histogram

        epoch = view.progress()["epoch"]
        for name, masks in view.survivors().items():
            bins = magnitude_histogram(view.weights(), masks)
            view.write("histograms", [{"followed": name, "epoch": epoch} | each for each in bins])

    end = begin


@dataclass(frozen=True)
class Occupancy(Probe):
    """How many weights of each group of m along the input dimension are alive, kept and not shed.

    sizes: values of m. below: share of a weight's first magnitude below which it counts as shed.
    """

    sizes: tuple[int, ...]
    below: float = BELOW
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {"occupancy": ("moment", "m", "alive", "blocks")}

    def before_prune(self, view: View) -> None:
        self._measure(view, "before")

    def end_phase(self, view: View) -> None:
        self._measure(view, "after")

    def estimate(self, span: Span) -> Estimate:
        """m + 1 rows for each m, before and after the phase."""
        return Estimate(cells=2 * sum(m + 1 for m in self.sizes) * _width(self))

    def _measure(self, view: View, moment: str) -> None:
        from prunebench.pruning.structured import occupancy

        living = view.living(view.state.masks, self.below)
        for m in self.sizes:
            counts = occupancy(living, m, view.prunable_layers).tolist()
            rows = [{"moment": moment, "m": m, "alive": n, "blocks": blocks} for n, blocks in enumerate(counts)]
            view.write("occupancy", rows)


@dataclass(frozen=True)
class Weights(Probe):
    """Zeros and norms of the weights when the arm begins and after each epoch.

    `sparsity` is the share of zeros among the prunable weights, `sparsity_all` that among all `parameters`; `l1` and
    `l2` are norms over all parameters; `threshold` is the update's, 0 where it has none.
    """

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "weights": ("epoch", "steps", "parameters", "sparsity", "sparsity_all", "l1", "l2", "threshold")
    }

    def begin(self, view: View) -> None:
        import torch

        from prunebench.pruning.masks import nonzero, sparsity

        everything: dict[str, Tensor] = {name: p.detach() for name, p in view.state.model.named_parameters()}
        at = view.progress()
        row: dict[str, Any] = {
            "epoch": round(at["epoch"]),
            "steps": at["steps"],
            "parameters": sum(p.numel() for p in everything.values()),
            "sparsity": sparsity(nonzero(view.parameters)),
            "sparsity_all": sparsity(nonzero(everything)),
            "l1": sum(float(p.abs().sum(dtype=torch.float64)) for p in everything.values()),
            "l2": sum(float(p.double().square().sum()) for p in everything.values()) ** 0.5,
            "threshold": view.state.update.numbers.get("threshold", 0.0),
        }
        view.write("weights", [row])

    after_epoch = begin


@dataclass(frozen=True)
class Layers(Probe):
    """How many weights of each layer are not zero at the arm's end."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {"layers": ("layer", "position", "weights", "alive")}

    def estimate(self, span: Span) -> Estimate:
        """A row per layer at the arm's end."""
        return Estimate(cells=span.last * span.layers * _width(self))

    def end(self, view: View) -> None:
        from prunebench.pruning.masks import nonzero

        rows = [
            {"layer": name, "position": i, "weights": mask.numel(), "alive": int(mask.count_nonzero())}
            for i, (name, mask) in enumerate(nonzero(view.parameters).items())
        ]
        view.write("layers", rows)


@dataclass(frozen=True)
class Defects(Probe):
    """What defects of measuring and of pruning would change, beside a sound run that has none of them (claim A8).

    After every epoch, in `tested`: the share of the test images that are classified right; of those in whole batches
    alone, over the number of all; the share of augmented ones (those in whole batches; order, crop and flip are a pure
    function of seed and epoch); and of these over the number of all. Before every prune at once to a sparsity by a
    global criterion, in `thresholds`: that sparsity, and the one of a threshold over scores with repeats.
    """

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "tested": ("epoch", "accuracy", "whole_batches", "augmented", "augmented_whole_batches"),
        "thresholds": ("nominal", "reached"),
    }

    def after_epoch(self, view: View) -> None:
        from prunebench.data.batches import Augment, eval_batches, train_batches
        from prunebench.seeding import derive_seed

        job, test, size = view.job, view.job.data.test, view.job.spec.batch_size
        how, epoch = view.job.spec.augmentation, view.state.position.epoch
        with view.off_the_clock():  # it is no part of what a schedule costs
            # Not the job's own batches, which are smaller where images are large: here they decide what is whole.
            plain = self._right(view, eval_batches(test, batch_size=size, mean=job.data.mean, std=job.data.std))
            changed = train_batches(
                test,
                batch_size=size,
                seed=derive_seed(job.spec.seed, "test"),
                epoch=view.phase.order + epoch,
                augment=Augment(**dict(how)),
                mean=job.data.mean,
                std=job.data.std,
            )
            augmented = sum(self._right(view, changed))
        images, whole = len(test), len(test) // size
        row = {"epoch": epoch, "accuracy": sum(plain) / images, "whole_batches": sum(plain[:whole]) / images}
        row |= {"augmented": augmented / (whole * size), "augmented_whole_batches": augmented / images}
        view.write("tested", [row])

    def _right(self, view: View, batches: Iterable[Batch]) -> list[int]:
        """How many images of each batch the network classifies right, in the job's precision."""
        import torch

        model, counts = view.state.model.eval(), []
        with torch.no_grad(), view.job.autocast():
            for images, labels in view.job.stoppable(batches):
                counts.append((model(images).argmax(1) == labels).sum())
        return [int(count) for count in counts]

    def before_prune(self, view: View) -> None:
        from prunebench.analysis.thresholds import sparsity_with_repeats
        from prunebench.pruning.criteria import get_criterion
        from prunebench.pruning.masks import survivors
        from prunebench.runs.prune import score_inputs
        from prunebench.runs.spec import ToSparsity

        total = sum(mask.numel() for mask in view.state.masks.values())
        names = [name for name, _ in view.state.model.named_parameters()]
        for action in view.phase.prune:
            if not isinstance(action, ToSparsity) or action.ramp or get_criterion(action.criterion).scope != "global":
                continue
            with view.off_the_clock():
                inputs = score_inputs(view, action)
                if inputs is None:
                    return  # the prune finds it, too, and ends the arm
                scores = get_criterion(action.criterion).scores(inputs)
                reached = sparsity_with_repeats(scores, view.state.masks, names, 1 - action.sparsity)
            nominal = 1 - survivors(total, 1 - action.sparsity) / total
            view.write("thresholds", [{"nominal": nominal, "reached": reached}])


PROBES: dict[str, type[Probe]] = {
    "gradients": Gradients,
    "shedding": Shedding,
    "histograms": Histograms,
    "occupancy": Occupancy,
    "weights": Weights,
    "layers": Layers,
    "defects": Defects,
}
"""Kind -> class. A plugin adds its own."""
