"""Pruning criteria: one score per weight, higher is kept.

A criterion is a function from `ScoreInputs` to `dict[str, Tensor]` (parameter name -> scores of the weight's
shape) and the scope in which its scores are ranked; how many weights survive is a separate choice
(`masks.keep_top`). Scores of dead weights are never read. To add one:

    from prunebench.pruning import register

    @register("global_cubed", scope="global")
    def cubed(inputs):
        '''|w|^3'''
        return {name: w.abs() ** 3 for name, w in inputs.weights.items()}

Importing this module does not import torch, so that a name can be checked where no tensor is needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prunebench.errors import InputError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from prunebench.pruning.layers import Layer

Scores = dict[str, "Tensor"]
ScoreFunction = Callable[["ScoreInputs"], Scores]


@dataclass(frozen=True)
class ScoreInputs:
    """What a criterion may look at. All dicts have the same names in the same order, and tensors of the same
    shapes.

    weights: the weights at the end of the cycle, w_T.
    masks: bool, True = alive.
    gradients: dL/dw on a batch that the caller states, or None.
    previous_weights: the weights one epoch earlier, w_(T-1), or None.
    seed, cycle: what random criteria draw from, and nothing else.
    layers: of `pruning.layers.layers_of(model)`; lookahead reads transposed convolutions by it.

    >>> import torch
    >>> from prunebench.pruning import ScoreInputs, get_criterion
    >>> from prunebench.pruning.masks import full_masks
    >>> weights, gradients = {"w": torch.tensor([1.0, -3.0])}, {"w": torch.tensor([0.5, 0.0])}
    >>> inputs = ScoreInputs(weights, full_masks(weights), gradients=gradients)
    >>> get_criterion("global_weight_gradient").scores(inputs)
    {'w': tensor([0.5000, 0.0000])}
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor] | None = None
    previous_weights: Mapping[str, Tensor] | None = None
    seed: int = 0
    cycle: int = 0
    layers: Mapping[str, Layer] | None = None


@dataclass(frozen=True)
class Criterion:
    """A named score with the scope in which it is ranked and the inputs that it needs.

    ratios: the name of another criterion that decides how many weights each layer keeps, while this one's scores
    decide which; None: the scope decides.

    score: a function as the module describes it. scope: "global" or "layer", as of `masks.keep_top`. needs_gradients,
    needs_previous_weights: whether `ScoreInputs` must hold them. doc: one line, for lists of criteria.

    >>> import torch
    >>> from prunebench.pruning import ScoreInputs, get_criterion
    >>> from prunebench.pruning.masks import full_masks
    >>> weights = {"w": torch.tensor([1.0, -3.0, 2.0, 0.5])}
    >>> get_criterion("global_magnitude").prune(ScoreInputs(weights, full_masks(weights)), density=0.5)
    {'w': tensor([False,  True,  True, False])}
    """

    name: str
    score: ScoreFunction = field(repr=False)
    scope: str = "global"
    needs_gradients: bool = False
    needs_previous_weights: bool = False
    doc: str = ""
    ratios: str | None = None

    def scores(self, inputs: ScoreInputs) -> Scores:
        """The score of each weight; InputError if an input that the criterion needs is missing."""
        needed = {
            "masks": inputs.masks,
            **({"gradients": inputs.gradients} if self.needs_gradients else {}),
            **({"previous_weights": inputs.previous_weights} if self.needs_previous_weights else {}),
        }
        for key, given in needed.items():
            if given is None:
                raise InputError(f"criterion '{self.name}' needs {key}")
            for name in inputs.weights:
                if name not in given:
                    raise InputError(f"criterion '{self.name}': {key} lack '{name}'")
        import torch

        with torch.no_grad():
            return self.score(inputs)

    def prune(self, inputs: ScoreInputs, density: float | Mapping[str, float]) -> dict[str, Tensor]:
        """New masks with this density: `masks.keep_top` on this criterion's scores in its scope.

        With `ratios`, each layer keeps exactly as many weights as that criterion would keep there: those with this
        criterion's highest scores.
        """
        from prunebench.pruning.masks import keep_top, layer_densities

        scores = self.scores(inputs)
        if self.ratios is not None:
            density = layer_densities(get_criterion(self.ratios).prune(inputs, density))
        return keep_top(scores, inputs.masks, density, self.scope)


CRITERIA: dict[str, Criterion] = {}
"""Criteria by name; `register` adds to it."""


def register(
    name: str,
    scope: str = "global",
    needs_gradients: bool = False,
    needs_previous_weights: bool = False,
    ratios: str | None = None,
) -> Callable[[ScoreFunction], ScoreFunction]:
    """Decorator that puts a score function into CRITERIA. The first line of its docstring describes it.

    ratios: a registered criterion whose layer densities are used (see `Criterion`); what it needs is needed too.
    InputError if the name is taken, the scope is not "global" or "layer", `ratios` is unknown, or is given with a
    scope other than "layer", in which its layers are ranked.

    >>> from prunebench.pruning import get_criterion, register
    >>> @register("layer_fourth_power", scope="layer")
    ... def fourth_power(inputs):
    ...     '''w^4'''
    ...     return {name: w**4 for name, w in inputs.weights.items()}
    >>> get_criterion("layer_fourth_power").doc
    'w^4'
    """
    if name in CRITERIA:
        raise InputError(f"criterion '{name}' exists already: choose another name")
    if scope not in ("global", "layer"):
        raise InputError(f"criterion '{name}': unknown scope '{scope}': {nearest(scope, ('global', 'layer'))}")
    if ratios is not None:
        counts = get_criterion(ratios)
        if scope != "layer":
            raise InputError(f"criterion '{name}' has ratios and scope '{scope}'; allowed: layer")
        needs_gradients |= counts.needs_gradients
        needs_previous_weights |= counts.needs_previous_weights

    def add(score: ScoreFunction) -> ScoreFunction:
        doc = (score.__doc__ or "").strip().split("\n")[0]
        if ratios is not None:
            doc += f"; each layer keeps as many weights as with {ratios}"
        CRITERIA[name] = Criterion(name, score, scope, needs_gradients, needs_previous_weights, doc, ratios)
        return score

    return add


def get_criterion(name: str) -> Criterion:
    """The criterion of that name; InputError with the nearest name if there is none.

    >>> from prunebench.pruning import get_criterion
    >>> get_criterion("lookahead").scope
    'layer'
    """
    if name not in CRITERIA:
        raise InputError(f"unknown criterion '{name}': {nearest(str(name), CRITERIA)}")
    return CRITERIA[name]


@register("layer_magnitude", scope="layer")
@register("global_magnitude")
def magnitude(inputs: ScoreInputs) -> Scores:
    """|w|"""
    return {name: w.abs() for name, w in inputs.weights.items()}


@register("layer_gradient", scope="layer", needs_gradients=True)
@register("global_gradient", needs_gradients=True)
def gradient(inputs: ScoreInputs) -> Scores:
    """|dL/dw|"""
    assert inputs.gradients is not None
    return {name: inputs.gradients[name].abs() for name in inputs.weights}


@register("layer_weight_gradient", scope="layer", needs_gradients=True)
@register("global_weight_gradient", needs_gradients=True)
def weight_gradient(inputs: ScoreInputs) -> Scores:
    """|w * dL/dw|, the first-order change of the loss if the weight is removed"""
    assert inputs.gradients is not None
    return {name: (w * inputs.gradients[name]).abs() for name, w in inputs.weights.items()}


@register("global_weight_change", needs_previous_weights=True)
def weight_change(inputs: ScoreInputs) -> Scores:
    """|w_T - w_(T-1)| over the last epoch: SILO's "global gradient" of ResNet-20 [authors' code]"""
    assert inputs.previous_weights is not None
    return {name: (w - inputs.previous_weights[name]).abs() for name, w in inputs.weights.items()}


@register("layer_weight_times_change", scope="layer", needs_previous_weights=True)
def weight_times_change(inputs: ScoreInputs) -> Scores:
    """|w_T - w_(T-1)| * |w_T| over the last epoch: SILO's "layerwise gradient" of VGG-19 [authors' code]"""
    return {name: change * inputs.weights[name].abs() for name, change in weight_change(inputs).items()}


@register("lamp")
def lamp(inputs: ScoreInputs) -> Scores:
    """LAMP: w^2 over the sum of w^2 of the layer's survivors that are no smaller (Lee et al. 2021)

    Equal magnitudes in a layer are ordered by index, the lower one as if it were larger. In float64, because
    float32 sums over a large layer make ties. The largest survivor of each layer has score 1, so layers
    are not emptied while as many weights as layers remain. An all-zero layer scores 0.
    """
    scores: Scores = {}
    for name, w in inputs.weights.items():
        # on the CPU, because a cumulative sum on a GPU is not reproducible to the bit
        mask = inputs.masks[name].cpu().contiguous().reshape(-1)
        magnitudes = w.cpu().contiguous().reshape(-1)[mask].abs()
        squares = magnitudes.double().square()
        # by magnitude, not by square: squares of float64 weights can underflow to ties
        order = magnitudes.sort(descending=True, stable=True).indices
        ranked = squares[order]
        sums = ranked.cumsum(0)
        survivors = squares.new_empty(squares.shape)
        survivors[order] = (ranked / sums).where(sums != 0, squares.new_zeros(()))
        flat = squares.new_zeros(mask.shape)
        flat[mask] = survivors
        scores[name] = flat.reshape(w.shape).to(w.device)
    return scores


@register("lookahead", scope="layer")
def lookahead(inputs: ScoreInputs) -> Scores:
    """Lookahead: |w| times the norms of its connections in both neighbour layers (Park et al. 2020)

    For a weight from channel j to channel k: |w| * ||W_prev[j]||_F * ||W_next[:, k]||_F, with dead weights as
    zeros. Neighbours are the consecutive layers (weights of two or more dimensions) in registration order
    whose channel counts match; a linear layer also follows a convolution if its inputs are a multiple of the
    channels (flattened feature maps). Where they do not match - the ends of the network, grouped
    convolutions, the shortcuts of residual networks - the factor is 1. That is exact for plain chains and an
    approximation for residual networks, where a shortcut also feeds a layer; the paper's correction for batch
    normalisation is left out. Scores are comparable within a layer only.
    """
    from prunebench.pruning.layers import transposed

    sizes = {name: w.abs() for name, w in inputs.weights.items()}
    alive = {name: size.where(inputs.masks[name], size.new_zeros(())) for name, size in sizes.items()}
    alive = transposed(alive, inputs.layers)
    layers = [name for name, w in alive.items() if w.dim() >= 2]
    scores: Scores = dict(alive)
    for before, after in itertools.pairwise(layers):
        first, second = alive[before], alive[after]
        channels, inputs_of_second = first.shape[0], second.shape[1]
        flattened = first.dim() > 2 and second.dim() == 2 and inputs_of_second % channels == 0
        if inputs_of_second != channels and not flattened:
            continue
        repeats = inputs_of_second // channels
        produced = first.double().flatten(1).norm(dim=1)
        consumed = second.double().transpose(0, 1).reshape(channels, -1).norm(dim=1)
        scores[after] = scores[after] * _along(produced.repeat_interleave(repeats), second, 1)
        scores[before] = scores[before] * _along(consumed, first, 0)
    return transposed(scores, inputs.layers)


def _along(factors: Tensor, weight: Tensor, dim: int) -> Tensor:
    """`factors` shaped so that they multiply `weight` along `dim`."""
    shape = [1] * weight.dim()
    shape[dim] = -1
    return factors.to(weight.dtype).reshape(shape)


@register("layer_random", scope="layer")
@register("random")
def random(inputs: ScoreInputs) -> Scores:
    """Uniform in [0, 1): a pure function of seed and cycle, the same on every device"""
    return _uniform(inputs, "random-scores")


@register("random_gmp_ratios", scope="layer", ratios="global_magnitude")
def random_gmp_ratios(inputs: ScoreInputs) -> Scores:
    """Uniform in [0, 1), drawn apart from `layer_random`'s; each layer keeps as many as global magnitude would"""
    # Equal scores would make the two schemes' masks nested, and their overlap one of bookkeeping.
    return _uniform(inputs, "random-gmp-ratios-scores")


def _uniform(inputs: ScoreInputs, name: str) -> Scores:
    import torch

    from prunebench.seeding import generator

    draw = generator(inputs.seed, inputs.cycle, name)
    # float64 makes ties, which fall to the lower index, practically impossible
    return {
        name: torch.rand(w.shape, generator=draw, dtype=torch.float64).to(w.device)
        for name, w in inputs.weights.items()
    }
