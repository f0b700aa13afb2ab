"""What claims C1 to C9 observe in the study's runs, seed by seed, and what a reader must know beside it.

The seeds of C1 are those of the exact problems, those of C4 timing blocks. There are no observations of what the preset
does not measure, of C6 and C7 for tasks whose SGD reached no minimum, of C3 at sparsities that it is not about, and of
C9.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from prunebench.models.kinds import NETWORKS
from prunebench.papers.directional.config import SGD
from prunebench.papers.directional.data import Data, where
from prunebench.papers.directional.measures import CONTROL, ORDERS, barriers, toy_slope
from prunebench.parsing import kind_of
from prunebench.suite.cells import Cell, Value, cell
from prunebench.suite.claim import Observed

PAIR = f"grda:{SGD}"
BASELINES = {"over_gradual": "gmp_gradual", "over_random": "random", "over_one_shot": "gmp_one_shot", "over_l1": "l1"}
"""C3's quantities, and the baseline that gRDA is compared with in each."""

FIXED_LAMBDA = (
    "With c fixed, as the theorem has it, lambda = c sqrt(learning rate) t^mu falls with the learning rate: less is "
    "pruned, and what is of first order in lambda looks like what is of first order in the learning rate. The slope at "
    "fixed lambda shows what a smaller learning rate brings by itself."
)
TIMING_BLOCKS = (
    "n counts timing blocks of one process on one machine: they repeat the measurement, not the machine. Bytes are "
    "counted once and are the same in every block."
)
INDEPENDENT_CURVES = (
    "Low curves join independent minima of SGD as well (Garipov et al. 2018), given enough training of the curve: a "
    "valley that gRDA shares with SGD need be no special one (control_barrier). line_barrier is the straight line's."
)
BATCH_NORM = (
    "With batch normalisation the quadratic term holds SGD's statistics fixed and predicts no loss of gRDA's network: "
    "there it is shown as quadratic_batch_norm and decides nothing."
)


def _seen(quantity: str, values: pd.Series, **axes: Value) -> Iterator[Observed]:
    """One observation per seed, the index of `values`, in the cell of these axes."""
    there: Cell = cell(**axes)
    for seed, number in values.items():
        yield Observed(quantity, there, int(str(seed)), float(number))


def _minus(rows: pd.DataFrame, reference: pd.DataFrame, column: str) -> pd.Series:
    """A column minus the reference's, seed by seed."""
    return rows.set_index("seed")[column] - reference.set_index("seed")[column]


# --- C1


def exact(data: Data, method: str | None) -> Iterator[Observed]:
    """C1: slopes, and error, cosine and control at the smallest learning rate."""
    if data.config.toy is None:
        return
    rows = data.toy
    for (problem, fixed), group in rows.groupby(["problem", "fixed"], sort=False):
        slopes = pd.Series({seed: toy_slope(own) for seed, own in group.groupby("seed")}, dtype=float)
        yield from _seen("slope" if fixed == "c" else "slope_at_fixed_lambda", slopes, problem=problem)
        if fixed == "c":
            end = where(group, gamma=rows["gamma"].min()).set_index("seed")
            values = {"error": end["error"], "cosine": end["cosine"], "control": end["soft_error"] - end["error"]}
            for quantity, numbers in values.items():
                yield from _seen(quantity, numbers, problem=problem)


# --- C2, C3, C5: accuracy and sparsity


def _sound_sgd(data: Data, task: str) -> pd.DataFrame:
    """SGD's ends. Where SGD itself diverged nothing can be on a par with it: two runs at chance would be."""
    return where(data.ends, task=task, method=SGD, status="trained")


def _settings(data: Data, method: str | None) -> Iterator[tuple[str, str, pd.DataFrame, float]]:
    """Settings of gRDA, or another update: task, label, ends of its runs, and their mean sparsity."""
    for task, settings in data.config.grda.items():
        for label in [method] if method else [setting.label for setting in settings]:
            ends = where(data.ends, task=task, method=method or "grda", matched_to=label)
            yield task, label, ends, float(ends["sparsity"].mean())


def on_par(data: Data, method: str | None) -> Iterator[Observed]:
    """C5: test accuracy minus SGD's."""
    for task, label, ends, _ in _settings(data, method):
        difference = _minus(ends, _sound_sgd(data, task), "test_accuracy")
        yield from _seen("difference", difference, task=task, setting=label)


def sparse_by_itself(data: Data, method: str | None) -> Iterator[Observed]:
    """C2: the same, with the sparsity reached, and how both change around the reference."""
    yield from on_par(data, method)
    for task, label, ends, _ in _settings(data, method):
        yield from _seen("sparsity", ends.set_index("seed")["sparsity"], task=task, setting=label)
    if data.config.sensitivity is None or method:
        return
    for (task, factor, shift), rows in data.around.groupby(["task", "c_factor", "mu_shift"], sort=False):
        axes = {"mu_shift": shift} if shift else {"c_factor": factor}
        reference = where(data.ends, task=task, arm=data.reference(task))
        yield from _seen("sparsity_change", _minus(rows, reference, "sparsity"), task=task, **axes)
        gain = _minus(rows, _sound_sgd(data, task), "test_accuracy")
        yield from _seen("accuracy_change", gain, task=task, **axes)


def _matches(data: Data, sparsity: float) -> bool:
    """Whether C3 looks at a setting of this mean sparsity."""
    least, most = data.study.margins.c3_sparsities
    return bool(least <= sparsity <= most)


def against_baselines(data: Data, method: str | None) -> Iterator[Observed]:
    """C3: test accuracy minus that of baselines that are as sparse."""
    for task, label, ends, sparsity in _settings(data, method):
        if _matches(data, sparsity):
            for quantity, baseline in BASELINES.items():
                other = where(data.ends, task=task, method=baseline, matched_to=label)
                gain = _minus(ends, other, "test_accuracy").dropna()
                yield from _seen(quantity, gain, task=task, setting=label, sparsity=sparsity)


# --- C4


def cost(data: Data, method: str | None) -> Iterator[Observed]:
    """C4: times of gRDA over SGD's by timing block (natural logarithms), and bytes."""
    if data.config.overhead is None:
        return
    blocks = data.seconds["block"].unique()
    for (network, measure), rows in data.seconds.groupby(["network", "measure"], sort=False):
        log = np.log(rows.pivot(index="block", columns="optimizer", values="seconds"))
        if measure == "training step":
            yield from _seen("time", log["grda"] - log["sgd"], network=network)
        else:
            yield from _seen("update", log["grda"] - log["sgd"], network=network)
            yield from _seen("update_over_momentum", log["grda"] - log["sgd_momentum"], network=network)
    # Bytes are counted once and are the same in any block.
    for row in where(data.memory, optimizer="grda").to_dict("records"):
        for name in ("state", "peak"):
            share = pd.Series(row[f"{name}_bytes"] / row["parameter_bytes"], index=blocks)
            yield from _seen(name, share, network=row["network"])


# --- C6, C7: minima


def _sgd_losses(data: Data) -> dict[str, float]:
    """Mean training loss that SGD ended with, by task; NaN where every run diverged."""
    return {task: float(_sound_sgd(data, task)["train_loss"].mean()) for task in data.config.grda}


def _at_a_minimum(data: Data) -> list[str]:
    """Tasks whose SGD reached a minimum: of others, C6 and C7 have nothing to say."""
    limit = data.study.margins.c6_minimum
    return [task for task, loss in _sgd_losses(data).items() if loss <= limit]


def paths(data: Data, method: str | None) -> Iterator[Observed]:
    """C6: what lies on the curve from gRDA to SGD, on the line, and on other pairs' curves."""
    if data.config.connectivity is None:
        return
    every = barriers(data.points)
    controls = [pair for pair in dict.fromkeys(every["pair"]) if pair != PAIR]
    for task in _at_a_minimum(data):
        own = where(every, task=task, pair=PAIR, path="curve")
        yield from _seen("barrier", own.set_index("seed")["barrier"], task=task)
        yield from _seen("error_rise", own.set_index("seed")["error_rise"], task=task)
        curve = where(data.points, task=task, pair=PAIR, path="curve", statistics="recomputed")
        yield from _seen("gap", _minus(where(curve, t=0), where(curve, t=1), "train_loss"), task=task)
        line = where(every, task=task, pair=PAIR, path="line")
        yield from _seen("line_barrier", line.set_index("seed")["barrier"], task=task)
        for pair in controls:
            other = where(every, task=task, pair=pair, path="curve")
            yield from _seen("control_barrier", other.set_index("seed")["barrier"], task=task, pair=pair)
            if pair == CONTROL:
                yield from _seen("control_difference", _minus(own, other, "barrier"), task=task)


def directions(data: Data, method: str | None) -> Iterator[Observed]:
    """C7: the share of gRDA's displacement in the leading eigenspace, against chance, its start, and another order."""
    part = data.config.curvature
    if part is None:
        return
    rows = data.curvature.assign(log=np.log(data.curvature["share"]))
    epochs = {job.task: job.epochs for job in data.study.jobs("measure_curvature")}
    for task in _at_a_minimum(data):
        first, last, k = epochs[task][0], epochs[task][-1], part.k[0]
        own = where(rows, task=task, pair=PAIR)
        end, control = (where(rows, task=task, pair=pair, epoch=last, k=k) for pair in (PAIR, ORDERS))
        yield from _seen("over_chance", end.set_index("seed")["over_chance"], task=task, k=k)
        if first < last:
            yield from _seen("early", _minus(end, where(own, epoch=first, k=k), "log"), task=task, k=k)
        yield from _seen("control", _minus(end, control, "log"), task=task, k=k)
        plain = kind_of(NETWORKS, data.preset.tasks[task].network) == "mlp"
        quadratic = "quadratic" if plain else "quadratic_batch_norm"
        yield from _seen(quadratic, end.set_index("seed")["quadratic"], task=task, k=k)
        yield from _seen("control_quadratic", control.set_index("seed")["quadratic"], task=task, k=k)
        for epoch, size in [(epoch, size) for epoch in epochs[task] for size in part.k if (epoch, size) != (last, k)]:
            there = where(own, epoch=epoch, k=size)
            yield from _seen("elsewhere", there.set_index("seed")["over_chance"], task=task, k=size, epoch=epoch)


# --- C8, C9


def norms(data: Data, method: str | None) -> Iterator[Observed]:
    """C8: concentration of the weights after training over that before (natural logarithms)."""
    rows = data.concentration
    rows = rows.assign(log=np.log(rows["ratio"]))
    rows = rows[rows["method"].isin([SGD, "grda"])]
    for (task, name, label), group in rows.groupby(["task", "method", "matched_to"], sort=False):
        grown = _minus(group[group["epoch"] == group["epochs"]], where(group, epoch=0), "log")
        yield from _seen(str(name), grown, task=task, **({"setting": label} if label else {}))


def nothing(data: Data, method: str | None) -> Iterator[Observed]:
    """C9: the scripts were read and not run."""
    return iter(())


# --- Notes


def fixed_lambda(data: Data, method: str | None) -> list[str]:
    """C1."""
    return [FIXED_LAMBDA] if data.config.toy else []


def diverged(data: Data, method: str | None) -> list[str]:
    """C2, C5: runs that diverged, of SGD and of gRDA or the update that the claim is asked of."""
    runs, name = where(data.ends, method=method or "grda"), method or "gRDA"
    lost, without = (int((rows["status"] == "diverged").sum()) for rows in (runs, where(data.ends, method=SGD)))
    lines = [f"{without} runs of SGD diverged: {name} is compared with none of them."] if without else []
    if lost:
        lines.append(f"{lost} of {len(runs)} runs of {name} diverged; each counts as chance in accuracy.")
    return lines


def not_compared(data: Data, method: str | None) -> list[str]:
    """C3: what it does not see."""
    lines = []
    if (where(data.ends, method="grda")["status"] == "diverged").any():
        lines.append("Where gRDA diverged, nothing was pruned to its sparsity: C3 does not see these runs.")
    if data.config.baselines is None:
        return [*lines, "The preset trains nothing to compare with."]
    return lines + [
        f"{task} at {label} is left out: "
        + (f"its sparsity is {100 * sparsity:.1f} %." if sparsity == sparsity else "no run has a sparsity.")
        for task, label, _, sparsity in _settings(data, None)
        if not _matches(data, sparsity)
    ]


def timing_blocks(data: Data, method: str | None) -> list[str]:
    """C4."""
    return [TIMING_BLOCKS] if data.config.overhead else []


def curves(data: Data, method: str | None) -> list[str]:
    """C6."""
    part = data.config.connectivity
    if part is None:
        return []
    return [f"{part.points} points of a path are looked at, by the authors 61.", INDEPENDENT_CURVES, *_left_out(data)]


def batch_norm(data: Data, method: str | None) -> list[str]:
    """C7."""
    return [BATCH_NORM, *_left_out(data)] if data.config.curvature else []


def _left_out(data: Data) -> Iterator[str]:
    """What C6 and C7 leave out, and why."""
    limit, there = data.study.margins.c6_minimum, _at_a_minimum(data)
    for task, loss in _sgd_losses(data).items():
        if task not in there:
            ended = f"SGD ends with a training loss of {loss:.2g} nats" if loss == loss else "no run of SGD has an end"
            yield f"{task} is left out: {ended}, and up to {limit:g} nats count as a minimum."
