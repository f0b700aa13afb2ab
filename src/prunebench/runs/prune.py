"""What happens at the beginning of a phase: prunes in order, then what becomes of the weights; and gradual pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prunebench.analysis.gradients import mean_gradients
from prunebench.analysis.shedding import shed
from prunebench.errors import InputError
from prunebench.models import fresh_state
from prunebench.pruning.amounts import cubic_density
from prunebench.pruning.criteria import ScoreInputs, get_criterion
from prunebench.pruning.masks import Masks, apply_masks_, density, keep_top
from prunebench.pruning.structured import block_masks, groupable, n_of_m_masks
from prunebench.runs.checkpoint import group
from prunebench.runs.networks import start_record
from prunebench.runs.probes import GRADIENT_BATCH
from prunebench.runs.spec import Matched, NOfM, Shed, ToSparsity, Trained

if TYPE_CHECKING:
    from prunebench.runs.spec import Prune
    from prunebench.runs.view import View


def begin_phase_(view: View) -> bool:
    """Prunes, then rewinds or re-initialises; False where weights or a criterion's gradients are not finite."""
    state, phase = view.state, view.phase
    for action in phase.prune:
        masks = _masks_of(view, action)
        if masks is None:
            return False
        state.masks = masks
        apply_masks_(view.parameters, masks)
    if phase.rewind is not None:
        state.model.load_state_dict(_kept_model(view, phase.rewind))
    elif phase.reinitialise is not None:
        state.model.load_state_dict(fresh_state(state.model, view.job.spec.seed, "cycle", phase.reinitialise))
    else:
        return True
    apply_masks_(view.parameters, state.masks)
    return True


def _kept_model(view: View, epoch: int) -> dict[str, Tensor]:
    """The state_dict kept at an epoch, by the arm itself or by the job that it starts from."""
    if own := group(view.state.kept, f"{epoch}/model", view.job.device):
        return own
    start = view.arm.start
    record = start_record(start, view.job.runs, view.job.device, epoch) if isinstance(start, Trained) else None
    if record is None:
        raise InputError(f"arm {view.arm.name} rewinds to epoch {epoch}, of which no network was kept")
    return record.model


def _masks_of(view: View, action: Prune) -> Masks | None:
    """The masks after a prune at the beginning of a phase."""
    state = view.state
    if isinstance(action, ToSparsity | Matched):
        sparsity = _target(view, action)
        if action.ramp or sparsity == 0:
            return state.masks
        return pruned_masks(view, action, 1 - sparsity)
    weights = {name: weight.abs() for name, weight in view.weights().items()}
    if isinstance(action, Shed):
        return harvest(weights, view.first, state.masks, action)
    # A pattern takes every weight into account, pruned ones at their 0: each group has exactly n, each block is whole.
    layers = view.prunable_layers
    grouped = set(groupable(state.masks, action.size, layers))
    free = {n: torch.ones_like(mask) if n in grouped else mask for n, mask in state.masks.items()}
    if isinstance(action, NOfM):
        return n_of_m_masks(weights, free, action.n, action.m, layers)
    return block_masks(weights, free, 1 - action.sparsity, action.size, layers)


def _target(view: View, action: ToSparsity | Matched) -> float:
    return view.matched if isinstance(action, Matched) else action.sparsity


def harvest(magnitudes: dict[str, Tensor], reference: dict[str, Tensor], masks: Masks, action: Shed) -> Masks:
    """Prunes what has been shed, and of it the weights that have shrunk most where all of it would be too much."""
    gone = shed(magnitudes, reference, masks, action.below)
    kept = {name: mask & ~gone[name] for name, mask in masks.items()}
    if density(kept) >= 1 - action.at_most:
        return kept
    ratios = {name: torch.nan_to_num(w / reference[name].abs(), nan=0.0) for name, w in magnitudes.items()}
    return keep_top(ratios, masks, min(1 - action.at_most, density(masks)))


def pruned_masks(view: View, action: ToSparsity | Matched, kept: float) -> Masks | None:
    """New masks of density `kept` by the criterion of a prune; None where weights or gradients are not finite."""
    inputs = score_inputs(view, action)
    return None if inputs is None else get_criterion(action.criterion).prune(inputs, kept)


def score_inputs(view: View, action: ToSparsity | Matched) -> ScoreInputs | None:
    """What the criterion of a prune looks at; None where weights or gradients are not finite."""
    state, parameters = view.state, view.parameters
    if not all(bool(weight.isfinite().all()) for weight in parameters.values()):
        return None
    gradients = None
    if get_criterion(action.criterion).needs_gradients:
        images = view.job.data.train
        images = images if action.score_images is None else images.first(action.score_images)
        gradients = mean_gradients(state.model, parameters, view.job.batches(images, GRADIENT_BATCH))
        # A GPU does not round them alike every time, and all processes have to prune the same weights.
        view.job.processes.copy_first_(gradients.values())
        if not all(bool(gradient.isfinite().all()) for gradient in gradients.values()):
            return None
    return ScoreInputs(
        weights=view.weights(),
        masks=state.masks,
        gradients=gradients,
        previous_weights=state.previous or None,
        seed=view.job.spec.seed,
        cycle=action.draw,
        layers=view.prunable_layers,
    )


def follow_ramp_(view: View, done: int) -> None:
    """Gradual pruning on its cubic curve from the density at the phase's beginning, before the update after `done`.

    The target is reached before the last update.
    """
    for action in view.phase.prune:
        if not isinstance(action, ToSparsity | Matched) or action.ramp is None:
            continue
        last = min(max(1, round(action.ramp.share * view.updates)), view.updates - 1)
        if not (done == last or (0 < done < last and done % action.ramp.every == 0)):
            continue
        # The network may be sparser than the target already.
        start = view.state.density_start
        target = cubic_density(start, min(start, 1 - _target(view, action)), done / last if last else 1.0)
        masks = pruned_masks(view, action, target)
        if masks is not None:  # None: gradients have become infinite, which the epoch's loss will show
            view.state.masks = masks
            apply_masks_(view.parameters, masks)
