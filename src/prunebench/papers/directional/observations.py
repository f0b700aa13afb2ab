"""What claims C1 to C9 observe in the study's runs, seed by seed, and the notes on their verdicts.

The seeds of C1 are those of the exact problems, those of C4 timing blocks. There are no observations of what the preset
does not measure, of C6 and C7 for tasks whose SGD reached no minimum, and of C3 at sparsities that it is not about.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from prunebench.models.kinds import NETWORKS
from prunebench.papers.directional.config import SGD
from prunebench.papers.directional.data import Data, where
from prunebench.papers.directional.measures import CONTROL, ORDERS, barriers, toy_slope
from prunebench.parsing import kind_of
from prunebench.suite.cells import Cell, Value, cell
from prunebench.suite.claim import Observed
from prunebench.suite.notes import TIMING_BLOCKS

PAIR = f"grda:{SGD}"
BASELINES = {"over_gradual": "gmp_gradual", "over_random": "random", "over_one_shot": "gmp_one_shot", "over_l1": "l1"}
"""C3's quantities, and the baseline that gRDA is compared with in each."""


def _observed(quantities: Mapping[str, pd.Series], **axes: Value) -> Iterator[Observed]:
    """One observation per quantity and seed, the index of its values, in the cell of these axes."""
    there: Cell = cell(**axes)
    for quantity, values in quantities.items():
        for seed, number in values.items():
            yield Observed(quantity, there, int(str(seed)), float(number))


def _by_seed(rows: pd.DataFrame, **values: str | float) -> pd.DataFrame:
    """The rows with these values by their seeds, which pair what is subtracted."""
    return where(rows, **values).set_index("seed")


# --- C1


def exact(data: Data, method: str | None) -> Iterator[Observed]:
    """C1: slopes, and error, cosine and control at the smallest learning rate."""
    if data.config.toy is None:
        return
    rows = data.study.rows("solve_exact", "toy")
    for (problem, fixed), group in rows.groupby(["problem", "fixed"], sort=False):
        slopes = pd.Series({seed: toy_slope(rows_of) for seed, rows_of in group.groupby("seed")}, dtype=float)
        yield from _observed({"slope" if fixed == "c" else "slope_at_fixed_lambda": slopes}, problem=problem)
        if fixed == "c":
            end = _by_seed(group, gamma=rows["gamma"].min())
            control = end["soft_error"] - end["error"]
            yield from _observed({"error": end["error"], "cosine": end["cosine"], "control": control}, problem=problem)


# --- C2, C3, C5: accuracy and sparsity


def _sgd(data: Data, task: str) -> pd.DataFrame:
    """SGD's ends, without runs that diverged: a gRDA run at chance would be on a par with these."""
    return _by_seed(data.ends, task=task, method=SGD, status="trained")


def _settings(data: Data, method: str | None) -> Iterator[tuple[str, str, pd.DataFrame, float]]:
    """Settings of gRDA, or another update: task, label, ends of its runs, and their mean sparsity."""
    for task, settings in data.config.grda.items():
        for label in [method] if method else [setting.label for setting in settings]:
            ends = _by_seed(data.ends, task=task, method=method or "grda", matched_to=label)
            yield task, label, ends, float(ends["sparsity"].mean())


def on_par(data: Data, method: str | None) -> Iterator[Observed]:
    """C5: test accuracy minus SGD's."""
    for task, label, ends, _ in _settings(data, method):
        difference = ends["test_accuracy"] - _sgd(data, task)["test_accuracy"]
        yield from _observed({"difference": difference}, task=task, setting=label)


def sparse_by_itself(data: Data, method: str | None) -> Iterator[Observed]:
    """C2: the same, with the sparsity reached, and how both change around the reference."""
    yield from on_par(data, method)
    for task, label, ends, _ in _settings(data, method):
        yield from _observed({"sparsity": ends["sparsity"]}, task=task, setting=label)
    if data.config.sensitivity is None or method:
        return
    for (task, factor, shift), rows in data.around.groupby(["task", "c_factor", "mu_shift"], sort=False):
        ends, reference = _by_seed(rows), _by_seed(data.ends, task=task, arm=data.reference(task))
        changes = {
            "sparsity_change": ends["sparsity"] - reference["sparsity"],
            "accuracy_change": ends["test_accuracy"] - _sgd(data, task)["test_accuracy"],
        }
        yield from _observed(changes, task=task, **({"mu_shift": shift} if shift else {"c_factor": factor}))


def _matches(data: Data, sparsity: float) -> bool:
    """Whether C3 looks at a setting of this mean sparsity."""
    least, most = data.study.margins.c3_sparsities
    return bool(least <= sparsity <= most)


def against_baselines(data: Data, method: str | None) -> Iterator[Observed]:
    """C3: test accuracy minus that of baselines that are as sparse."""
    for task, label, ends, sparsity in _settings(data, method):
        if _matches(data, sparsity):
            gains = {
                quantity: ends["test_accuracy"]
                - _by_seed(data.ends, task=task, method=baseline, matched_to=label)["test_accuracy"]
                for quantity, baseline in BASELINES.items()
            }
            gains = {quantity: gain.dropna() for quantity, gain in gains.items()}
            yield from _observed(gains, task=task, setting=label, sparsity=sparsity)


# --- C4


def cost(data: Data, method: str | None) -> Iterator[Observed]:
    """C4: times of gRDA over SGD's by timing block (natural logarithms), and bytes."""
    if data.config.overhead is None:
        return
    seconds, memory = (data.study.rows("time_optimizers", table) for table in ("seconds", "memory"))
    for (network, measure), rows in seconds.groupby(["network", "measure"], sort=False):
        log = np.log(rows.pivot(index="block", columns="optimizer", values="seconds"))
        ratios = {"time": log["grda"] - log["sgd"]}
        if measure == "optimizer step":
            ratios = {"update": ratios["time"], "update_over_momentum": log["grda"] - log["sgd_momentum"]}
        yield from _observed(ratios, network=network)
    # Bytes are counted once and are the same in any block.
    blocks = seconds["block"].unique()
    for row in where(memory, optimizer="grda").to_dict("records"):
        shares = {of: pd.Series(row[f"{of}_bytes"] / row["parameter_bytes"], blocks) for of in ("state", "peak")}
        yield from _observed(shares, network=row["network"])


# --- C6, C7: minima


def _sgd_losses(data: Data) -> dict[str, float]:
    """Mean training loss that SGD ended with, by task; NaN where every run diverged."""
    return {task: float(_sgd(data, task)["train_loss"].mean()) for task in data.config.grda}


def _at_a_minimum(data: Data) -> list[str]:
    """Tasks whose SGD reached a minimum: C6 and C7 are about no others."""
    limit = data.study.margins.c6_minimum
    return [task for task, loss in _sgd_losses(data).items() if loss <= limit]


def paths(data: Data, method: str | None) -> Iterator[Observed]:
    """C6: what lies on the curve from gRDA to SGD, on the line, and on other pairs' curves."""
    if data.config.connectivity is None:
        return
    every = barriers(data.points)
    curves = where(every, path="curve")
    for task in _at_a_minimum(data):
        own = _by_seed(curves, task=task, pair=PAIR)
        points = where(data.points, task=task, pair=PAIR, path="curve", statistics="recomputed")
        grda, sgd = (_by_seed(points, t=t)["train_loss"] for t in (0, 1))
        line = _by_seed(every, task=task, pair=PAIR, path="line")
        yield from _observed({"barrier": own["barrier"], "error_rise": own["error_rise"], "gap": grda - sgd}, task=task)
        yield from _observed({"line_barrier": line["barrier"]}, task=task)
        for pair in every["pair"].unique():
            other = _by_seed(curves, task=task, pair=pair)["barrier"]
            if pair != PAIR:
                yield from _observed({"control_barrier": other}, task=task, pair=pair)
            if pair == CONTROL:
                yield from _observed({"control_difference": own["barrier"] - other}, task=task)


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
        end, start = (_by_seed(own, epoch=epoch, k=k) for epoch in (last, first))
        control = _by_seed(rows, task=task, pair=ORDERS, epoch=last, k=k)
        plain = kind_of(NETWORKS, data.study.preset.tasks[task].network) == "mlp"
        seen = {"over_chance": end["over_chance"]}
        if first < last:
            seen["early"] = end["log"] - start["log"]
        seen["control"] = end["log"] - control["log"]
        seen["quadratic" if plain else "quadratic_batch_norm"] = end["quadratic"]
        yield from _observed(seen | {"control_quadratic": control["quadratic"]}, task=task, k=k)
        for epoch, size in [(epoch, size) for epoch in epochs[task] for size in part.k if (epoch, size) != (last, k)]:
            there = _by_seed(own, epoch=epoch, k=size)
            yield from _observed({"elsewhere": there["over_chance"]}, task=task, k=size, epoch=epoch)


# --- C8


def norms(data: Data, method: str | None) -> Iterator[Observed]:
    """C8: concentration of the weights after training over that before (natural logarithms)."""
    rows = data.concentration
    rows = rows[rows["method"].isin([SGD, "grda"])].assign(log=np.log(rows["ratio"]))
    for (task, name, label), group in rows.groupby(["task", "method", "matched_to"], sort=False):
        grown = _by_seed(group[group["epoch"] == group["epochs"]])["log"] - _by_seed(group, epoch=0)["log"]
        yield from _observed({str(name): grown}, task=task, **({"setting": label} if label else {}))


# --- C9


def as_released(data: Data, method: str | None) -> Iterator[Observed]:
    """C9: the reference setting under the scripts' constant LR minus that under the schedule, and the latter minus SGD.

    A run under the schedule that diverged is compared with none: one at chance would be on a par with it.
    """
    if data.config.released is None:
        return
    for task, rows in data.released.groupby("task", sort=False):
        ends = _by_seed(rows)
        scheduled = _by_seed(data.ends, task=task, arm=data.reference(task), status="trained")
        seen = {
            "difference": ends["test_accuracy"] - scheduled["test_accuracy"],
            "sparsity_difference": ends["sparsity"] - scheduled["sparsity"],
            "scheduled_difference": scheduled["test_accuracy"] - _sgd(data, task)["test_accuracy"],
        }
        yield from _observed(seen, task=task)


# --- Notes


def fixed_lambda(data: Data, method: str | None) -> list[str]:
    """C1."""
    text = (
        "With c fixed, as the theorem has it, lambda = c sqrt(learning rate) t^mu falls with the learning rate: less "
        "is pruned, and what is of first order in lambda looks like what is of first order in the learning rate. The "
        "slope at fixed lambda shows what a smaller learning rate brings by itself."
    )
    return [text] if data.config.toy else []


def diverged(data: Data, method: str | None) -> list[str]:
    """C2, C5: runs that diverged, of SGD and of gRDA or the update that the claim is asked of."""
    runs, name = where(data.ends, method=method or "grda"), method or "gRDA"
    lost, without = (int((rows["status"] == "diverged").sum()) for rows in (runs, where(data.ends, method=SGD)))
    lines = [f"{without} runs of SGD diverged: {name} is compared with none of them."] if without else []
    if lost:
        lines.append(f"{lost} of {len(runs)} runs of {name} diverged; each counts as chance in accuracy.")
    return lines


def not_compared(data: Data, method: str | None) -> list[str]:
    """C3: runs and settings that it leaves out."""
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
    if data.config.overhead is None:
        return []
    counted = "Bytes are counted once and are the same in every block."
    return [f"{TIMING_BLOCKS} {counted}", *data.study.load_notes("time_optimizers")]


def curves(data: Data, method: str | None) -> list[str]:
    """C6."""
    part = data.config.connectivity
    text = (
        "Low curves join independent minima of SGD as well (Garipov et al. 2018), given enough training of the curve: "
        "a valley that gRDA shares with SGD need be no special one (control_barrier). line_barrier is the straight "
        "line's."
    )
    return [f"{part.points} points of a path are looked at, by the authors 61.", text, *_left_out(data)] if part else []


def batch_norm(data: Data, method: str | None) -> list[str]:
    """C7."""
    text = (
        "With batch normalisation the quadratic term holds SGD's statistics fixed and predicts no loss of gRDA's "
        "network: there it is shown as quadratic_batch_norm and decides nothing."
    )
    return [text, *_left_out(data)] if data.config.curvature else []


def _left_out(data: Data) -> Iterator[str]:
    """What C6 and C7 leave out, and why."""
    limit, there = data.study.margins.c6_minimum, _at_a_minimum(data)
    for task, loss in _sgd_losses(data).items():
        if task not in there:
            ended = f"SGD ends with a training loss of {loss:.2g} nats" if loss == loss else "no run of SGD has an end"
            yield f"{task} is left out: {ended}, and up to {limit:g} nats count as a minimum."
