"""ScheduleLR against torch's own members in the same place: composites, resuming, group layouts, kinds of LR."""

import copy
import itertools
import warnings

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, CosineAnnealingLR, LambdaLR, OneCycleLR, SequentialLR

from prunebench.errors import InputError
from prunebench.schedules import S_CYC, SILO, Constant, Schedule, Table, make_policy, make_profile

SCHEDULE = S_CYC["resnet20_cifar10"]
STEPS = 7
"""Updates per cycle."""

LAYOUTS = {
    "one group": lambda model: ([{"params": list(model.parameters())}], 0.1),
    "two groups": lambda model: ([{"params": [model.weight]}, {"params": [model.bias]}], 0.1),
    "LRs of their own": lambda model: ([{"params": [model.weight], "lr": 0.2}, {"params": [model.bias]}], 0.01),
    "tensor LR": lambda model: ([{"params": list(model.parameters())}], torch.tensor(0.1, dtype=torch.float64)),
    "tensor LRs of their own": lambda model: (
        [
            {"params": [model.weight], "lr": torch.tensor(0.2, dtype=torch.float64)},
            {"params": [model.bias], "lr": torch.tensor(0.4, dtype=torch.float64)},
        ],
        0.1,
    ),
}


def optimizer_of(layout):
    model = torch.nn.Linear(3, 2)
    groups, lr = LAYOUTS[layout](model)
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def ours(optimizer):
    return SCHEDULE.as_torch(optimizer, STEPS)


def by_lambda(optimizer):
    """The same rates from torch's LambdaLR: the schedule over the first group's own LR."""
    first = float(optimizer.param_groups[0].get("initial_lr", optimizer.param_groups[0]["lr"]))
    return LambdaLR(optimizer, lambda update: SCHEDULE.lr(*divmod(update, STEPS), STEPS) / first)


COMPOSITES = {
    "alone": lambda optimizer, member: member(optimizer),
    "first": lambda optimizer, member: SequentialLR(
        optimizer, [member(optimizer), CosineAnnealingLR(optimizer, 20)], milestones=[9]
    ),
    "last": lambda optimizer, member: SequentialLR(
        optimizer, [ConstantLR(optimizer, 0.5, 100), member(optimizer)], milestones=[6]
    ),
    "middle": lambda optimizer, member: SequentialLR(
        optimizer,
        [CosineAnnealingLR(optimizer, 4), member(optimizer), ConstantLR(optimizer, 0.5, 100)],
        milestones=[4, 13],
    ),
    "nested": lambda optimizer, member: SequentialLR(
        optimizer,
        [
            SequentialLR(optimizer, [member(optimizer), member(optimizer)], milestones=[5]),
            ConstantLR(optimizer, 0.1, 100),
        ],
        milestones=[11],
    ),
    "chained": lambda optimizer, member: ChainedScheduler([member(optimizer)], optimizer=optimizer),
    "after one cycle": lambda optimizer, member: SequentialLR(
        optimizer,
        [OneCycleLR(optimizer, 0.3, total_steps=30, cycle_momentum=False), member(optimizer)],
        milestones=[8],
    ),
}


def lrs(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def drive(optimizer, scheduler, updates):
    """The LRs of the next updates, of each group."""
    seen = []
    for _ in range(updates):
        seen.append(lrs(optimizer))
        optimizer.step()
        scheduler.step()
    return seen


def close(seen, expected):
    np.testing.assert_allclose(seen, expected, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:Detected call")  # the nested composite, with torch's own members too
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_it_gives_what_a_lambda_gives_in_its_place(composite, layout):
    runs = []
    for member in (ours, by_lambda):
        optimizer = optimizer_of(layout)
        scheduler = COMPOSITES[composite](optimizer, member)
        runs.append(drive(optimizer, scheduler, 25))
        assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) == ("tensor" in layout)
    close(*runs)


@pytest.mark.filterwarnings("ignore:Detected call")  # the nested composite, with torch's own members too
@pytest.mark.parametrize("order", ["optimizer first", "scheduler first", "optimizer twice"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(composite, layout, order, tmp_path):
    for done in (0, 1, 4, 8, 9, 10, 15):
        optimizer = optimizer_of(layout)
        scheduler = COMPOSITES[composite](optimizer, ours)
        drive(optimizer, scheduler, done)
        torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, tmp_path / "state")
        rest = drive(optimizer, scheduler, 12)

        optimizer = optimizer_of(layout)
        scheduler = COMPOSITES[composite](optimizer, ours)
        state = torch.load(tmp_path / "state", weights_only=True)
        steps = [
            lambda o=optimizer, s=state: o.load_state_dict(s["optimizer"]),
            lambda c=scheduler, s=state: c.load_state_dict(s["scheduler"]),
        ]
        for step in {"optimizer first": steps, "scheduler first": steps[::-1]}.get(order, [*steps, steps[0]]):
            step()
        assert drive(optimizer, scheduler, 12) == rest
        assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor) == ("tensor" in layout)


def test_loading_changes_no_lr_as_with_torchs_own():
    for member in (ours, by_lambda):
        optimizer = optimizer_of("LRs of their own")
        scheduler = member(optimizer)
        state = copy.deepcopy(scheduler.state_dict())
        drive(optimizer, scheduler, 10)
        before = lrs(optimizer)
        scheduler.load_state_dict(state)
        assert lrs(optimizer) == before


def test_a_lr_that_is_a_tensor_stays_that_tensor():
    optimizer = optimizer_of("tensor LR")
    lr = optimizer.param_groups[0]["lr"]
    scheduler = ours(optimizer)
    drive(optimizer, scheduler, 10)
    scheduler.load_state_dict(ours(optimizer_of("tensor LR")).state_dict())
    drive(optimizer, scheduler, 1)
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == pytest.approx(SCHEDULE.lr(0, 1, STEPS))
    scheduler.get_last_lr()[0].fill_(5)
    assert float(lr) < 1


def test_the_schedules_lr_is_the_first_groups_and_others_keep_their_ratio():
    optimizer = optimizer_of("LRs of their own")
    seen = drive(optimizer, ours(optimizer), 10)
    expected = [SCHEDULE.lr(*divmod(update, STEPS), STEPS) for update in range(10)]
    close(seen, [[lr, lr * 0.01 / 0.2] for lr in expected])


def test_factors_are_the_users_where_given():
    optimizer = optimizer_of("LRs of their own")
    scheduler = SCHEDULE.as_torch(optimizer, STEPS, factors=(1, 3))
    close(drive(optimizer, scheduler, 1), [[SCHEDULE.lr(0, 0, STEPS) * factor for factor in (1, 3)]])
    with pytest.raises(InputError, match=r"factors are \[1.0\]; allowed: 2 finite numbers >= 0, one per param group"):
        SCHEDULE.as_torch(optimizer, STEPS, factors=[1])
    with pytest.raises(InputError, match=r"factors is \[1.0, 3.0\] in the saved state; allowed: None"):
        ours(optimizer_of("LRs of their own")).load_state_dict(scheduler.state_dict())


def test_a_first_group_without_a_lr_needs_factors():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.0}, {"params": [model.bias]}], lr=0.1)
    with pytest.raises(InputError, match=r"the param groups begin at LRs of 0\.0 and 0\.1; give `factors`"):
        ours(optimizer)


def test_a_group_that_is_added_later_follows():
    optimizer = optimizer_of("LRs of their own")
    scheduler = ours(optimizer)
    drive(optimizer, scheduler, 9)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.4})
    drive(optimizer, scheduler, 1)
    lr = SCHEDULE.lr(1, 3, STEPS)
    close(lrs(optimizer), [lr, lr / 20, lr * 2])


def test_last_epoch_goes_on_as_torchs_own():
    seen = []
    for member in (
        lambda o, last: SCHEDULE.as_torch(o, STEPS, last_epoch=last),
        lambda o, last: LambdaLR(o, lambda update: SCHEDULE.lr(*divmod(update, STEPS), STEPS) / 0.2, last),
    ):
        optimizer = optimizer_of("LRs of their own")
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        seen.append(drive(optimizer, member(optimizer, 8), 5))
    close(*seen)


def test_numpys_numbers_are_numbers():
    profile = make_profile("cyclical", min_share=np.float32(0.5))
    schedule = Schedule(profile, make_policy("fixed", max_lr=np.float64(0.1)))
    optimizer = optimizer_of("one group")
    scheduler = schedule.as_torch(optimizer, np.int64(4), np.int32(2))
    drive(optimizer, scheduler, 3)
    assert type(scheduler.steps_per_cycle) is int
    assert schedule.lr(np.int64(3), np.int64(1), np.int64(4)) == schedule.lr(3, 1, 4)


def test_a_foreign_state_is_refused_and_changes_nothing():
    scheduler = ours(optimizer_of("one group"))
    before = copy.deepcopy(scheduler.state_dict())
    with pytest.raises(InputError, match="this is no state of ScheduleLR: it has no steps_per_cycle"):
        scheduler.load_state_dict(by_lambda(optimizer_of("one group")).state_dict())
    assert scheduler.state_dict() == before


def test_no_warning_in_the_order_that_torch_asks_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = optimizer_of("two groups")
        rates = drive(optimizer, ours(optimizer), 5)
    assert all(a == b for a, b in rates)
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(rates[:4]))


@pytest.mark.parametrize("schedule", [S_CYC["resnet20_cifar10"], SILO["vgg19_cifar10"]])
def test_it_gives_the_schedules_rates_over_several_cycles(schedule):
    optimizer = optimizer_of("two groups")
    scheduler = schedule.as_torch(optimizer, steps_per_cycle=7)
    expected = [[schedule.lr(cycle, step, 7)] * 2 for cycle in range(6) for step in range(7)]
    assert drive(optimizer, scheduler, 42) == expected
    assert scheduler.get_last_lr() == [schedule.lr(6, 0, 7)] * 2


def test_it_can_start_at_a_later_cycle():
    optimizer = optimizer_of("two groups")
    scheduler = SCHEDULE.as_torch(optimizer, 4, first_cycle=5)
    assert drive(optimizer, scheduler, 6)[-1] == [SCHEDULE.lr(6, 1, 4)] * 2


def test_it_ends_with_its_table():
    schedule = Schedule(Constant(), Table((0.1, 0.2)))
    optimizer = optimizer_of("two groups")
    scheduler = schedule.as_torch(optimizer, 3)
    assert [rate for rate, _ in drive(optimizer, scheduler, 6)] == [0.1] * 3 + [0.2] * 3
    with pytest.raises(InputError, match="no max_lr for cycle 2"):
        drive(optimizer, scheduler, 1)


def test_bad_settings_are_refused():
    optimizer = optimizer_of("one group")
    schedule = Schedule(Constant(), Table((0.1,)))
    with pytest.raises(InputError, match="steps_per_cycle is 0; allowed: an integer >= 1"):
        schedule.as_torch(optimizer, 0)
    with pytest.raises(InputError, match="no max_lr for cycle 3"):
        schedule.as_torch(optimizer, 5, first_cycle=3)
    state = schedule.as_torch(optimizer, 5).state_dict()
    with pytest.raises(InputError, match="steps_per_cycle is 5 in the saved state; allowed: 6"):
        schedule.as_torch(optimizer, 6).load_state_dict(state)
