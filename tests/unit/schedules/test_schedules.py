"""Schedules: published values, exact peaks, bounds, torch's scheduler, one clear line per bad value."""

import dataclasses
import itertools
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunebench.errors import InputError
from prunebench.schedules import (
    POLICIES,
    PROFILES,
    PUBLISHED_S_SHAPES,
    S_CYC,
    SILO,
    WARMUP_RESNET20,
    WARMUP_VGG19,
    Constant,
    Cosine,
    Cyclical,
    Fixed,
    Linear,
    OneCycle,
    Schedule,
    SShape,
    StepDecay,
    Table,
    WarmupStepDecay,
    make_policy,
    make_profile,
    s_cyc,
    silo,
)

SHARES = st.floats(0, 1)
LRS = st.floats(1e-4, 10)


@st.composite
def warmups(draw):
    points = sorted(draw(st.lists(SHARES, min_size=1, max_size=4, unique=True)))
    return WarmupStepDecay(points[0], tuple(points[1:]), draw(st.floats(0.01, 1)))


PROFILE_VALUES = st.one_of(
    st.just(Constant()),
    st.builds(StepDecay, st.lists(SHARES, max_size=3, unique=True).map(lambda x: tuple(sorted(x)))),
    warmups(),
    st.builds(Cyclical, st.floats(0.3, 7), st.floats(0, 0.9)),
    st.builds(OneCycle, st.floats(0.01, 1), SHARES, SHARES),
    st.builds(Cosine, SHARES),
)


# --- profiles


@given(PROFILE_VALUES, st.integers(1, 400), LRS)
def test_an_lr_is_positive_and_at_most_max_lr(profile, total, max_lr):
    rates = [profile.lr(step, total, max_lr) for step in range(total)]
    assert all(0 < rate <= max_lr * (1 + 1e-12) for rate in rates)


@given(PROFILE_VALUES, st.integers(1, 200), LRS)
def test_an_lr_scales_with_max_lr(profile, total, max_lr):
    for step in range(total):
        assert profile.lr(step, total, max_lr) == pytest.approx(max_lr * profile.lr(step, total, 1.0))


@given(warmups(), st.integers(1, 400), LRS)
def test_a_warm_up_always_reaches_max_lr_and_rises_evenly(profile, total, max_lr):
    ramp = max(1, math.floor(profile.warmup * total + 0.5)) if profile.warmup else 0
    if ramp:
        assert profile.lr(ramp - 1, total, max_lr) == max_lr
        for step in range(ramp):
            assert profile.lr(step, total, max_lr) == pytest.approx(max_lr * (step + 1) / ramp)
    after = [profile.lr(step, total, max_lr) for step in range(ramp, total)]
    assert after == sorted(after, reverse=True)


@given(warmups(), st.floats(0.01, 1), st.integers(1, 400), LRS)
def test_a_ramp_that_is_cut_ends_at_its_top_and_what_follows_is_as_ever(profile, top, total, max_lr):
    ramp = max(1, math.floor(profile.warmup * total + 0.5)) if profile.warmup else 0
    cut = dataclasses.replace(profile, top=top)
    for step in range(total):
        share = top if step < ramp else 1.0
        assert cut.lr(step, total, max_lr) == pytest.approx(share * profile.lr(step, total, max_lr))


def test_with_their_tops_the_published_ramps_are_those_of_the_scripts():
    """Slopes of max_lr / 20,000 and / 10,000 per update, cut after 25 epochs of 563 updates, and after 14."""
    for profile, top, updates, slope in ((WARMUP_RESNET20, 0.70375, 563, 20_000), (WARMUP_VGG19, 0.7882, 563, 10_000)):
        total = updates * (50 if profile is WARMUP_RESNET20 else 160)
        cut = dataclasses.replace(profile, top=top)
        for step in (0, 1000, math.floor(profile.warmup * total + 0.5) - 1):
            assert cut.lr(step, total, 1.0) == pytest.approx((step + 1) / slope, rel=1e-4)


@given(st.integers(1, 400), st.integers(1, 5), LRS)
def test_each_triangle_peaks_once_at_max_lr_and_is_continuous(total, periods, max_lr):
    profile = Cyclical(periods)
    rates = [profile.lr(step, total, max_lr) for step in range(total)]
    assert rates.count(max_lr) == min(periods, total)
    shortest = max(1, total // periods // 2)
    for a, b in itertools.pairwise(rates):
        assert abs(a - b) <= max_lr / shortest * (1 + 1e-9)


def test_a_triangle_by_hand():
    assert [Cyclical().lr(s, 6, 1.0) for s in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4])
    assert [Cyclical().lr(s, 5, 1.0) for s in range(5)] == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    assert [Cyclical(0.5).lr(s, 4, 1.0) for s in range(4)] == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert [Cyclical(2, 0.5).lr(s, 4, 1.0) for s in range(4)] == pytest.approx([1, 0.75, 1, 0.75])


@given(st.integers(2, 300), st.floats(0.01, 1), LRS)
def test_one_cycle_peaks_at_the_end_of_its_ramp(total, peak, max_lr):
    profile = OneCycle(peak)
    rates = [profile.lr(step, total, max_lr) for step in range(total)]
    top = max(1, math.floor(peak * total + 0.5)) - 1
    assert rates[top] == max_lr
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_one_cycle_has_the_values_of_torchs():
    # torch's first and last LR are the feet themselves, which lie one update outside ours
    total = 40
    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=1.0)
    share = (12 + 1) / (total + 2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=total + 2, pct_start=share)
    theirs = []
    for _ in range(total + 1):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    profile = OneCycle(peak=12 / total, end_share=0.04e-4)
    assert [profile.lr(step, total, 1.0) for step in range(total)] == pytest.approx(theirs[1:])


def test_a_cosine_starts_at_max_lr_and_halves_in_the_middle():
    assert Cosine().lr(0, 10, 0.3) == 0.3
    assert Cosine().lr(5, 10, 0.3) == pytest.approx(0.15)
    assert Cosine(0.5).lr(5, 10, 1.0) == pytest.approx(0.75)
    assert 0 < Cosine().lr(9, 10, 0.3) < 0.3 * 0.03


def test_the_published_warm_ups():
    # epochs of 100 updates
    resnet = [WARMUP_RESNET20.lr(epoch * 100, 5000, 0.07) for epoch in (0, 24, 25, 31, 32, 49)]
    assert resnet == pytest.approx([0.07 / 2500, 0.07 * 2401 / 2500, 0.007, 0.007, 0.0007, 0.0007])
    assert WARMUP_RESNET20.lr(2499, 5000, 0.07) == 0.07
    vgg = [WARMUP_VGG19.lr(epoch * 100, 16000, 0.1) for epoch in (0, 14, 79, 80, 119, 120, 159)]
    assert vgg == pytest.approx([0.1 / 1400, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert WARMUP_VGG19.lr(1399, 16000, 0.1) == 0.1


@pytest.mark.parametrize("step", [-1, 10, 11])
@pytest.mark.parametrize("name", PROFILES)
def test_a_step_outside_the_cycle_is_refused(name, step):
    settings = {
        "step_decay": {"milestones": [0.5]},
        "warmup_step_decay": {"warmup": 0.1, "milestones": [0.5]},
    }
    profile = make_profile(name, **settings.get(name, {}))
    profile.lr(9, 10, 1.0)
    with pytest.raises(InputError, match=f"step is {step} of 10"):
        profile.lr(step, 10, 1.0)


# --- policies

PUBLISHED = {
    "resnet20_cifar10": {2: 0.0300, 3: 0.0321, 4: 0.0476, 5: 0.0645, 6: 0.0689, 7: 0.0698, 9: 0.07, 24: 0.07},
    "vgg19_cifar10": {2: 0.0401, 3: 0.0432, 4: 0.0664, 5: 0.0917, 6: 0.0984, 7: 0.0997, 9: 0.1, 24: 0.1},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_s_shape_has_the_published_values(name):
    shape = PUBLISHED_S_SHAPES[name]
    assert shape.at(0) == shape.at(1) == shape.eps
    assert {m: round(shape.at(m), 4) for m in PUBLISHED[name]} == PUBLISHED[name]


@given(
    st.integers(1, 99),
    st.integers(0, 5),
    st.integers(1, 40),
    st.integers(1, 8),
)
def test_the_s_shape_equals_its_formula_in_exact_arithmetic(percent, delay, cycle, beta):
    shape = SShape(percent / 100, delay, 0.03, 0.04, beta)
    if cycle <= delay:
        assert shape.at(cycle) == 0.03
        return
    gamma = 1 - (1 - Fraction(percent, 100)) ** (cycle - delay)
    exact = Fraction(4, 100) / (1 + (gamma / (1 - gamma)) ** -beta) + Fraction(3, 100)
    assert shape.at(cycle) == pytest.approx(float(exact), rel=1e-9)


@given(st.floats(0.001, 0.999), st.integers(0, 3), LRS, st.floats(0, 1), st.floats(0.1, 500))
def test_the_s_shape_never_falls_nor_leaves_its_range(rate, delay, eps, alpha, beta):
    shape = SShape(rate, delay, eps, alpha, beta)
    values = [shape.at(m) for m in [*range(12), 100, 10**6]]
    assert values == sorted(values)
    assert values[0] == eps
    assert values[-1] == pytest.approx(shape.top)
    assert all(eps <= value <= shape.top * (1 + 1e-12) for value in values)


def test_the_other_policies():
    assert [Fixed(0.1).at(m) for m in (0, 30)] == [0.1, 0.1]
    ramp = Linear(0.03, 0.07, 4)
    assert [ramp.at(m) for m in range(6)] == pytest.approx([0.03, 0.04, 0.05, 0.06, 0.07, 0.07])
    assert ramp.at(4) == 0.07
    table = Table([0.1, 0.2])
    assert table.values == (0.1, 0.2)
    assert table.at(1) == 0.2
    with pytest.raises(InputError, match="no max_lr for cycle 2; allowed: cycles 0 to 1"):
        table.at(2)


@pytest.mark.parametrize("policy", [Fixed(0.1), S_CYC["vgg19_cifar10"].policy, Linear(1, 2, 3), Table((1,))])
@pytest.mark.parametrize("cycle", [-1, 0.5, True])
def test_a_bad_cycle_is_refused(policy, cycle):
    with pytest.raises(InputError, match="pruning cycle is"):
        policy.at(cycle)


# --- bad values

BAD = [
    (lambda: Fixed(-1), "Fixed: max_lr is -1; allowed: a finite number > 0"),
    (lambda: Fixed(math.nan), "Fixed: max_lr is nan; allowed: a finite number > 0"),
    (lambda: Fixed(math.inf), "Fixed: max_lr is inf; allowed: a finite number > 0"),
    (lambda: Fixed("0.1"), "Fixed: max_lr is '0.1'; allowed: a number > 0"),
    (lambda: Fixed(True), "Fixed: max_lr is True; allowed: a number > 0"),
    (lambda: SShape(0, 1, 1, 1, 1), "SShape: rate is 0; allowed: a finite number > 0 and < 1"),
    (lambda: SShape(1.0, 1, 1, 1, 1), "SShape: rate is 1.0; allowed: a finite number > 0 and < 1"),
    (lambda: SShape(0.2, -1, 1, 1, 1), "SShape: delay is -1; allowed: an integer >= 0"),
    (lambda: SShape(0.2, 1.5, 1, 1, 1), "SShape: delay is 1.5; allowed: an integer >= 0"),
    (lambda: SShape(0.2, 1, 0, 1, 1), "SShape: eps is 0; allowed: a finite number > 0"),
    (lambda: SShape(0.2, 1, 1, -1, 1), "SShape: alpha is -1; allowed: a finite number >= 0"),
    (lambda: SShape(0.2, 1, 1, 1, 0), "SShape: beta is 0; allowed: a finite number > 0"),
    (lambda: Linear(0, 1, 2), "Linear: start is 0; allowed: a finite number > 0"),
    (lambda: Linear(1, -1, 2), "Linear: top is -1; allowed: a finite number > 0"),
    (lambda: Linear(1, 1, 0), "Linear: last is 0; allowed: an integer >= 1"),
    (lambda: Table(()), "Table: values is empty; allowed: one max_lr > 0 per cycle"),
    (lambda: Table((0.1, -2)), "Table: values entry is -2; allowed: a finite number > 0"),
    (lambda: Table(0.1), "Table: values is 0.1; allowed: a list of numbers"),
    (lambda: StepDecay((0.8, 0.5)), "StepDecay: milestones are [0.8, 0.5]; allowed: strictly increasing"),
    (
        lambda: StepDecay((80, 120)),
        "StepDecay: milestones entry is 80; allowed: a finite number >= 0 and <= 1",
    ),
    (lambda: StepDecay("half"), "StepDecay: milestones is 'half'; allowed: a list of numbers"),
    (lambda: StepDecay((0.5,), 0), "StepDecay: factor is 0; allowed: a finite number > 0 and <= 1"),
    (lambda: WarmupStepDecay(0, (), top=0), "WarmupStepDecay: top is 0; allowed: a finite number > 0 and <= 1"),
    (lambda: WarmupStepDecay(0, (), top=1.1), "WarmupStepDecay: top is 1.1; allowed: a finite number > 0 and <= 1"),
    (lambda: WarmupStepDecay(2, ()), "WarmupStepDecay: warmup is 2; allowed: a finite number >= 0 and <= 1"),
    (
        lambda: WarmupStepDecay(0.5, (0.4,)),
        "milestones entry after warmup is 0.4; allowed: a finite number >= 0.5",
    ),
    (lambda: Cyclical(0), "Cyclical: periods is 0; allowed: a finite number > 0"),
    (lambda: Cyclical(1, 1), "Cyclical: min_share is 1; allowed: a finite number >= 0 and < 1"),
    (lambda: OneCycle(0), "OneCycle: peak is 0; allowed: a finite number > 0 and <= 1"),
    (lambda: OneCycle(start_share=-1), "OneCycle: start_share is -1; allowed"),
    (lambda: OneCycle(end_share=2), "OneCycle: end_share is 2; allowed"),
    (lambda: Cosine(math.nan), "Cosine: min_share is nan; allowed"),
    (lambda: make_profile("cyclic"), "unknown profile 'cyclic': did you mean 'cyclical'?"),
    (lambda: make_policy("sshape"), "unknown policy 'sshape': did you mean 's_shape'?"),
    (lambda: make_policy("fixed", max_rl=1), "policy 'fixed' has no setting 'max_rl': did you mean 'max_lr'?"),
    (lambda: make_profile("constant", x=1), "profile 'constant' has no setting 'x': it has no settings"),
    (lambda: make_policy("linear", top=1), "policy 'linear' needs start, last"),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_value_gives_one_clear_line(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- schedules


def test_the_named_schedules_are_a_profile_under_an_s_shape():
    assert S_CYC["resnet20_cifar10"] == s_cyc(0.2, 1, 0.03, 0.04, 5)
    assert SILO["vgg19_cifar10_beta4"] == silo(WARMUP_VGG19, 0.2, 1, 0.04, 0.06, 4)
    assert S_CYC.keys() == SILO.keys() == PUBLISHED_S_SHAPES.keys()
    assert SILO["resnet20_cifar10"].lr(9, 2499, 5000) == PUBLISHED_S_SHAPES["resnet20_cifar10"].at(9)
    assert SILO["resnet20_cifar10"].profile == WARMUP_RESNET20
    assert PUBLISHED_S_SHAPES["vgg19_cifar10"].top == pytest.approx(0.1)


def test_made_by_name_equals_made_by_class():
    assert make_profile("warmup_step_decay", warmup=0.5, milestones=[0.5, 0.64]) == WARMUP_RESNET20
    assert (
        make_policy("s_shape", rate=0.2, delay=1, eps=0.03, alpha=0.04, beta=5)
        == PUBLISHED_S_SHAPES["resnet20_cifar10"]
    )
    assert set(POLICIES) == {"fixed", "s_shape", "linear", "table"}


def test_schedules_hash_and_pickle():
    schedule = Schedule(make_profile("step_decay", milestones=[0.5]), Table([0.1]))
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert len({schedule, pickle.loads(pickle.dumps(schedule))}) == 1


def test_importing_schedules_and_pruning_does_not_import_torch():
    code = "import sys, prunebench.schedules, prunebench.pruning.criteria; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
