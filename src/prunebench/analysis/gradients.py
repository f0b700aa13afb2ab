"""The distribution of dL/dw over the weights of a pruned network (claims A1 and A1b of the S-Cyc paper)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunebench.analysis._derivatives import differentiation, gradient_of
from prunebench.errors import InputError

Floats = NDArray[np.float64]

QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99}
"""Column -> level. By NumPy, exact at any size: torch.quantile refuses more than 2**24 elements."""


def asinh_edges(bins: int = 201, limit: float = 1.0, linear: float = 1e-4) -> Floats:
    """`bins` + 1 edges from -limit to limit, evenly spaced in asinh(x / linear): logarithmic far from 0.

    The same edges for every pruning cycle make the histograms comparable. `bins` is odd and the edges are
    exactly symmetric, so that exact zeros (dead units) lie in the middle of a bin and not to one side.

    limit, linear: > 0. Raises InputError for another `bins`.

    >>> from prunebench.analysis.gradients import asinh_edges
    >>> asinh_edges(bins=3, limit=1.0, linear=1e-4).round(4).tolist()
    [-1.0, -0.0014, 0.0014, 1.0]
    """
    if bins < 1 or bins % 2 == 0:
        raise InputError(f"bins {bins}: must be odd and positive")
    if not (limit > 0 and linear > 0):
        raise InputError(f"limit {limit:g} and linear {linear:g} of the edges: must be positive")
    right = linear * np.sinh(np.arcsinh(limit / linear) * np.arange(1, bins + 1, 2) / bins)
    right[-1] = limit
    return np.concatenate([-right[::-1], right])


@dataclass(frozen=True)
class GradientSnapshot:
    """Gradient statistics of one network on one fixed batch.

    `rows`: tidy statistics, see `gradient_statistics`. `histogram`: rows of left, right, count over the
    surviving weights; bins are [left, right), the first starts at -inf (underflow) and the last ends at inf
    (overflow). `loss`: mean cross-entropy (nats) over the `images` images of the batch.

    >>> import torch
    >>> from prunebench.analysis.gradients import gradient_statistics
    >>> model = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> masks, batches = {"weight": torch.ones(2, 1, dtype=torch.bool)}, [(torch.ones(1, 1), torch.tensor([0]))]
    >>> snapshot = gradient_statistics(model, {"weight": model.weight}, masks, batches)
    >>> round(snapshot.loss, 4), snapshot.images, sum(row["count"] for row in snapshot.histogram)
    (0.6931, 1, 2)
    """

    rows: list[dict[str, float | int | str]]
    histogram: list[dict[str, float | int]]
    loss: float
    images: int


def mean_gradients(
    model: nn.Module, params: Mapping[str, Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Gradient of the mean cross-entropy over all images of `batches`: tensors like `params`, by name.

    `params`: some or all of the model's, frozen ones too; one that the loss does not depend on has zeros. `batches` are
    the chunks of one fixed batch: x (N, C, H, W), or token ids (N, T), and y (N,) classes.
    How the batch is cut changes nothing beyond rounding within a chunk: sums over chunks are kept in float64.
    BN uses its running statistics (eval mode), and autocast is off, so that neither batch statistics nor low
    precision enter; TF32 on a GPU follows torch's own switches. Pruned weights get their true gradient.
    Neither `.grad`, buffers, modes nor the global RNG change. Raises InputError for an empty batch.

    >>> import torch
    >>> from prunebench.analysis.gradients import mean_gradients
    >>> model = torch.nn.Linear(1, 2, bias=False)
    >>> mean_gradients(model, {"weight": torch.zeros(2, 1)}, [(torch.ones(1, 1), torch.tensor([0]))])
    {'weight': tensor([[-0.5000],
            [ 0.5000]])}
    """
    gradients, _, _ = _mean_gradients(model, params, batches)
    return {name: gradient.to(params[name].dtype) for name, gradient in gradients.items()}


def _mean_gradients(
    model: nn.Module, params: Mapping[str, Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[dict[str, Tensor], float, int]:
    """`mean_gradients` in float64, the mean loss, and the number of images."""
    images = 0
    with differentiation(model, params) as network:
        sums = [torch.zeros_like(w, dtype=torch.float64, requires_grad=False) for w in network.weights.values()]
        loss_sum = torch.zeros((), dtype=torch.float64, device=network.device)
        for x, y in batches:
            loss = network.loss(x, y)
            for total, gradient in zip(sums, gradient_of(loss, network.weights), strict=True):
                total += gradient
            loss_sum += loss.detach()
            images += len(y)
    if images == 0:
        raise InputError("no images to take gradients on")
    return (
        {name: total / images for name, total in zip(params, sums, strict=True)},
        float(loss_sum) / images,
        images,
    )


def describe(values: Floats) -> dict[str, float | int]:
    """n, mean, std (population), iqr_over_1349, the `QUANTILES`, min and max of 1-D `values`.

    IQR / 1.349 estimates the standard deviation of a normal distribution and ignores its tails. All but n
    are NaN where `values` is empty or holds a NaN (a diverged network).

    >>> import numpy as np
    >>> from prunebench.analysis.gradients import describe
    >>> row = describe(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    >>> row["n"], row["mean"], row["q25"], row["max"]
    (5, 3.0, 2.0, 5.0)
    """
    row: dict[str, float | int] = {"n": values.size}
    names = ("mean", "std", "iqr_over_1349", *QUANTILES, "min", "max")
    if not np.isfinite(values).all() or values.size == 0:
        return row | dict.fromkeys(names, float("nan"))
    quantiles = dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values())).tolist(), strict=True))
    numbers = {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "iqr_over_1349": (quantiles["q75"] - quantiles["q25"]) / 1.349,
        **quantiles,
        "min": float(values.min()),
        "max": float(values.max()),
    }
    return row | numbers


def histogram(values: Floats, edges: Floats) -> list[dict[str, float | int]]:
    """Counts of 1-D `values` in [left, right) between, below and above increasing `edges`; NaN left out.

    Raises InputError for other edges.

    >>> import numpy as np
    >>> from prunebench.analysis.gradients import histogram
    >>> rows = histogram(np.array([-1.0, 0.0, 0.5, 2.0]), edges=np.array([0.0, 1.0]))
    >>> [row["count"] for row in rows]
    [1, 2, 1]
    """
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise InputError("histogram edges: must be 2 or more strictly increasing numbers")
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    bins = np.searchsorted(edges, values[~np.isnan(values)], side="right")
    counts = np.bincount(bins, minlength=edges.size + 1)
    return [
        {"left": float(left), "right": float(right), "count": int(count)}
        for left, right, count in zip(bounds[:-1], bounds[1:], counts, strict=True)
    ]


def gradient_statistics(
    model: nn.Module,
    params: Mapping[str, nn.Parameter],
    masks: Mapping[str, Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    edges: Floats | None = None,
) -> GradientSnapshot:
    """Statistics of dL/dw of the prunable `params`; dL/dw as in `mean_gradients`.

    `masks`: name -> bool tensor of the parameter's shape, True = survives; pruned weights must be 0 already.
    Each row holds `weights`, `loss` and the columns of `describe`. By `weights`, in this order:

    * "surviving": mask 1, whole network.
    * "all": every prunable weight. A pruned weight counts with its true dL/dw, which is not 0: pruning fixes
      the weight at 0, not the slope of the loss there.
    * "all_zeroed": pruned weights count as 0. This distribution narrows by construction as a network is
      pruned, so it is no evidence for claim A1; it is here to be compared (a mandatory variant of the claim).
    * each parameter's name: its surviving weights.

    `edges` of the histogram: default `asinh_edges()`. Raises InputError where names, shapes or dtypes of
    params and masks do not fit, where there are none, where a pruned weight is not 0, and for an empty batch.

    >>> import torch
    >>> from prunebench.analysis.gradients import gradient_statistics
    >>> model = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> masks, batches = {"weight": torch.tensor([[True], [False]])}, [(torch.ones(1, 1), torch.tensor([0]))]
    >>> snapshot = gradient_statistics(model, {"weight": model.weight}, masks, batches)
    >>> {row["weights"]: row["mean"] for row in snapshot.rows}  # the gradient is (-0.5, 0.5)
    {'surviving': -0.5, 'all': 0.0, 'all_zeroed': -0.25, 'weight': -0.5}
    """
    if not params:
        raise InputError("no prunable parameters to take gradients of")
    if params.keys() != masks.keys():
        odd = ", ".join(sorted(params.keys() ^ masks.keys()))
        raise InputError(f"parameters and masks must have the same names; only one of them has: {odd}")
    for name, param in params.items():
        mask = masks[name]
        if mask.dtype != torch.bool or mask.shape != param.shape:
            wanted = f"bool {tuple(param.shape)}"
            raise InputError(f"mask of '{name}' is {mask.dtype} {tuple(mask.shape)}; it must be {wanted}")
        # Not `!= 0`: in a diverged network pruned weights are NaN * 0 = NaN.
        if torch.any(param.detach()[~mask.to(param.device)].abs() > 0):
            raise InputError(f"'{name}' has non-zero weights where its mask is False; apply the mask first")

    gradients, loss, images = _mean_gradients(model, params, batches)
    flat = {name: gradient.cpu().numpy().ravel() for name, gradient in gradients.items()}
    kept = {name: masks[name].cpu().numpy().ravel() for name in params}
    survivors = {name: flat[name][kept[name]] for name in params}
    surviving = np.concatenate(list(survivors.values()))

    values = {
        "surviving": surviving,
        "all": np.concatenate(list(flat.values())),
        "all_zeroed": np.concatenate([np.where(kept[name], flat[name], 0.0) for name in params]),
        **survivors,
    }
    rows = [{"weights": weights, "loss": loss, **describe(of)} for weights, of in values.items()]
    return GradientSnapshot(rows, histogram(surviving, asinh_edges() if edges is None else edges), loss, images)
