"""How claims are decided: the margins of every rule with their reasons, and what a scale cannot decide."""

from typing import Annotated

from pydantic import AfterValidator, Field

from prunebench.config.parsing import Strict, distinct

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
ClaimId = Annotated[str, Field(pattern=r"^(all|[ABC][1-9][a-c]?)$")]


class SCycMargins(Strict):
    """Margins of claims A1 to A7. Accuracies and their differences are shares: 0.01 is one point."""

    a1_ratio: Positive = 0.8
    """A1 needs the gradients' spread to end at or below this share of the dense network's [ours]: a fifth narrower can
    be seen in a histogram."""
    a1_flat: float = Field(default=-0.01, le=0)
    """A1 fails where the slope of log spread per cycle is above this for certain [ours]: 7 % over seven cycles."""
    a1b_equivalent: Positive = 0.25
    """A1b fails where another activation's slope is within this share of ReLU's [ours]."""
    a2_ratio: Positive = 1.25
    """A2 needs the best max_lr of the sparsest network to be this many times the dense one's [ours]: about a
    quarter of the authors' x2.3 on the logarithm."""
    a2_flat: Positive = 1.1
    """A2 fails where that ratio is below this for certain [ours]."""
    a3_density: Share = 0.34
    """A3 and A4 look at cycles of at most this density: the densest of the published levels is 33 %."""
    a3_gain: Share = 0.01
    """A3 needs more than this: half of the low end of the published gain of 2.1 to 3.4 [abstract]."""
    a4_gain: Share = 0.005
    """A4 fails where the mean over criteria is below this for certain: half of A3's margin [ours]."""
    a5_time: Positive = 1.05
    """A5 allows this ratio of wall time to the cyclical schedule's [ours]."""
    a6_margin: Share = 0.005
    """A6: the oracle is comparable where it is within this of S-Cyc [ours]: a quarter of the published gain."""
    a6_inside: Share = 0.8
    """A6 needs S-Cyc's max_lr to be near the oracle's best in this share of cycles [ours]."""
    a6_outside: Share = 0.5
    """A6 fails where that share is below this for certain [ours]."""
    a7_gain: Share = 0.003
    """A7: the S-shape matters where it gains more than this over each other shape, and does not where it is within it
    of each [ours]: a seventh of the published gain."""


class CascadeMargins(Strict):
    """Margins of claims B1 to B9; the paper gives no number, so all are [ours]."""

    b1_excess: Share = 0.2
    """B1 needs an excess above this share of the survivors: the least that "a large percentage" can mean."""
    b1_none: Share = 0.05
    """B1 and B1c fail where the excess is below this for certain."""
    b1_dose: Share = 0.2
    """B1 looks at prunes of at most this share: the abstract's "small percentage"."""
    b1_epochs: Positive = 10
    """B1 looks at most this many epochs after the prune: the abstract's "few epochs"."""
    b2_gain: Share = 0.01
    """B2 needs the shedding recipe to gain more than this over each control."""
    b2_none: Share = 0.005
    """B2 fails where the gain is below this for certain."""
    b3_excess: Share = 0.05
    """B3: networks do not differ in excess where they are within this of each other."""
    b3_gap: Share = 0.005
    """B3: networks do not differ in what random pruning costs where they are within this of each other."""
    b4_gap: Share = 0.005
    """B4: global magnitude pruning is competitive in a cell where it is within this of the best scheme."""
    b4_far: Share = 0.01
    """B4: it is not in a cell where it is further than this from the best."""
    b4_cells: Share = 0.8
    """B4 needs it to be competitive in this share of the cells."""
    b4_far_cells: Share = 0.5
    """B4 fails where it is far from the best in this share of the cells."""
    b5a_gain: Share = 0.003
    """B5a needs more accuracy than this at the same epochs and sparsity."""
    b5b_reach: Share = 0.002
    """B5b: plain gradual pruning counts as reached within this of its validation accuracy."""
    b5b_ratio: Positive = 0.9
    """B5b needs fewer updates than this ratio to plain gradual pruning's."""
    b6_effect: Share = 0.14
    """B6 needs a partial eta squared of at least this: a large effect (Cohen 1988)."""
    b6_accuracy: Share = 0.005
    """B6 needs a schedule to move accuracy by at least this: with little noise any effect has a large eta squared."""
    b6_excess: Share = 0.05
    """B6 needs it to move the excess by at least this."""
    b6_none: Share = 0.01
    """B6 fails where every partial eta squared is below this: less than a small effect (Cohen 1988)."""
    b6_p: Share = 0.01
    """B6 needs a p-value below this."""
    b7_gain: Share = 0.003
    """B7 needs rewinding to gain at least this over fine-tuning."""
    b7_excess: Share = 0.01
    """B7 needs it to shed at least this much more of the survivors."""
    b8_overlap: Share = 0.01
    """B8 needs the overlap of kept weights to differ by at least this."""
    b9_loss: Share = 0.003
    """B9 needs the accuracy under a pattern to differ by at least this."""


class DirectionalMargins(Strict):
    """Margins of claims C1 to C9."""

    c1_error: Positive = 0.2
    """C1 needs a relative error below this at the smallest learning rate [ours]."""
    c1_cosine: Share = 0.9
    """C1 needs a cosine above this between gRDA's displacement and the predicted one [ours]."""
    c1_not_cosine: Share = 0.5
    """C1 fails where that cosine is below this for certain [ours]."""
    c1_flat: Positive = 0.05
    """C1 needs log error to rise by more than this per unit of log learning rate, and fails where it rises by less for
    certain [ours]: 19 % from the largest to the smallest of the preset's learning rates."""
    c2_sparsity: Share = 0.8
    """C2 needs a run to become this sparse by itself [ours]: the sparse settings of the paper's
    wide ResNets (mu above 0.5) are at 83 % and more."""
    c2_margin: Share = 0.005
    """C2: such a run may lose less than this to SGD [ours]."""
    c3_sparsities: tuple[Share, Share] = (0.9, 0.95)
    """C3 looks at runs whose sparsity is between these: the published point is at 91.6 %."""
    c3_margin: Share = 0.005
    """C3: gRDA may lose less than this to magnitude pruning [ours]."""
    c3_not: Share = 0.01
    """C3 fails where gRDA loses more than this to magnitude pruning for certain [ours]."""
    c3_random: Share = 0.03
    """C3 needs gRDA to gain at least this over random pruning [ours]: the published gap at 90 % is 8 points."""
    c4_time: Positive = 1.1
    """C4: "slightly higher" wall time is below this ratio to SGD [ours]; the authors' logs give 1.05 and 1.09."""
    c4_not_time: Positive = 1.25
    """C4 fails where the ratio is above this for certain [ours]."""
    c4_state: Positive = 1.2
    """C4: "slightly higher" memory is at most this many times the parameters' bytes [ours]; one accumulator is 1."""
    c4_not_state: Positive = 2
    """C4 fails where it is more than this [ours]."""
    c5_margin: Share = 0.005
    """C5: gRDA is on par with SGD within this [ours]."""
    c6_minimum: Positive = 0.1
    """C6 and C7 leave out tasks where SGD ends with a training loss (nats) above this: no minimum [ours]."""
    c6_barrier: Positive = 0.01
    """C6 needs a barrier on the curve below this, in nats [ours]; the authors' data give 0.0022 and 0.00007."""
    c6_error: Share = 0.002
    """C6 needs the training error on the curve to rise by less than this [ours]."""
    c6_not_barrier: Positive = 0.1
    """C6 fails where the barrier is above this for certain [ours]."""
    c6_not_error: Share = 0.02
    """C6 fails where the rise of the error is above this for certain [ours]."""
    c7_chance: Positive = 6.2
    """C7 needs the share in the leading eigenspace to be at most this many times chance [ours]: 5e-3 over the chance
    level of the paper's VGG16, because chance depends on the number of weights."""
    c7_early: Positive = 0.3
    """C7 needs the share at the end to be at most this ratio to the first one measured [ours]."""
    c7_control: Positive = 2
    """C7 needs it to be at most this ratio to that of SGD in another order of data [ours]."""
    c7_not_control: Positive = 5
    """C7 fails where that ratio is above this for certain [ours]."""
    c7_quadratic: Positive = 0.1
    """C7 fails where the quadratic term is above this for certain, in nats [ours]."""
    c8_sgd: Share = 0.15
    """C8: SGD's concentration stays within this share of where it began [ours]."""
    c8_grda: Positive = 1.5
    """C8 needs gRDA's concentration to end at this many times where it began [ours]; authors' data: 1.9 and 4."""


class Calibration(Strict):
    """The simulation that shows how often each rule errs."""

    tables: int = Field(default=10_000, ge=100)
    """Simulated tables per claim, number of seeds, noise and truth."""
    seeds: Annotated[list[Annotated[int, Field(ge=2)]], AfterValidator(distinct)] = Field(
        default=[3, 5, 10], min_length=1
    )
    """Numbers of training seeds that are simulated."""


class Claims(Strict):
    """The ledger of claims: margins, and which claims this scale cannot decide."""

    s_cyc: SCycMargins = SCycMargins()
    """Claims A1 to A7."""
    cascade: CascadeMargins = CascadeMargins()
    """Claims B1 to B9."""
    directional: DirectionalMargins = DirectionalMargins()
    """Claims C1 to C9."""
    not_at_this_scale: dict[ClaimId, str] = {}
    """Claims that this preset measures but cannot decide, or `all`, each with the reason; their effects are shown,
    their verdict is *not run at this scale*."""
    calibration: Calibration = Calibration()
    """How the rules are tried on simulated tables."""
