"""Iterative pruning: what a pruning chain and the oracle's candidates do between and within cycles."""

from prunebench.config.s_cyc import PruningSpec
from prunebench.models import fresh_state
from prunebench.pruning.after import AfterPrune, after_prune_
from prunebench.pruning.criteria import get_criterion
from prunebench.pruning.masks import density_after
from prunebench.schedules import Profile
from prunebench.training.job import Job, Leg, State, begin_, pruned_masks
from prunebench.training.updates import Sgd


def spec_of(job: Job) -> PruningSpec:
    """The job's spec, which is one of iterative pruning."""
    assert isinstance(job.spec, PruningSpec)
    return job.spec


def first_epoch(job: Job, cycle: int) -> int:
    """The epoch that a cycle's training starts at: rewinding goes back to epoch k of the schedule."""
    pruning = spec_of(job).pruning
    return pruning.rewind_epoch if cycle > 0 and pruning.after.rewinds else 0


def prune_(job: Job, state: State, cycle: int) -> bool:
    """Prunes to the density of `cycle` and prepares the weights for its training.

    False, with the masks as they were, where the criterion's gradients are not finite: the network has diverged.
    """
    spec = spec_of(job)
    pruning = spec.pruning
    begin_(state, cycle, first_epoch(job, cycle))
    density = density_after(pruning.rate, cycle)
    masks = pruned_masks(job, state, spec.criterion, density, cycle=cycle, score_images=pruning.score_images)
    if masks is None:
        return False
    state.masks = masks
    fresh = saved = None
    if pruning.after is AfterPrune.REINITIALISE:
        fresh = fresh_state(state.model, spec.seed, "cycle", cycle)
    if pruning.after is AfterPrune.REWIND_WEIGHTS:
        saved = state.kept_network(pruning.rewind_epoch)
    after_prune_(state.model, state.masks, pruning.after, saved_state=saved, fresh_state=fresh)
    return True


def cycle_leg(job: Job, cycle: int, profile: Profile, max_lr: float) -> Leg:
    """The training of one cycle."""
    spec = spec_of(job)
    total = spec.training.epochs * job.steps_per_epoch
    # Fine-tuning: the trained weights go on at the schedule's last LR (Renda et al. 2020).
    fine_tuned = cycle > 0 and not spec.pruning.after.restarts_lr
    rewinds = cycle == 0 and spec.pruning.after is AfterPrune.REWIND_WEIGHTS
    return Leg(
        epochs=spec.training.epochs,
        lr=lambda step: profile.lr(total - 1 if fine_tuned else step, total, max_lr),
        update=Sgd(spec.training.momentum, spec.training.weight_decay),
        order=cycle * spec.training.epochs,
        keep=frozenset({spec.pruning.rewind_epoch} if rewinds else ()),
        keep_previous=get_criterion(spec.criterion).needs_previous_weights,
    )
