"""Networks that draw random numbers: what they draw is a function of (seed, epoch of the data's order, update)."""

import dataclasses
import itertools

import pytest
import torch

from prunebench.seeding import global_draws

DROPPING = {"kind": "dropping"}


def test_a_network_with_dropout_killed_before_every_update_ends_with_the_same_bytes(workshop, dropping):
    phases = [workshop.phase(), workshop.phase(prune=[workshop.prune()])]
    spec = workshop.spec(phases, network=DROPPING, hands_on="masks")
    killed, deaths = workshop.killed_often(spec)
    assert deaths > 10
    torch.rand(7)  # another process may have drawn before
    assert workshop.results(killed) == workshop.results(workshop.run(spec))


def test_two_arms_of_one_order_drop_the_same_and_every_update_drops_anew(workshop, dropping):
    arms = [[workshop.phase()], [workshop.phase(max_lr=0.01, profile={"kind": "constant"})]]
    arms.append([workshop.phase(epochs=1, order=1)])
    workshop.run(workshop.spec(*arms, network=DROPPING))
    one, other, later = dropping[:6], dropping[6:12], dropping[12:]
    assert len(later) == 3
    assert all(map(torch.equal, one, other))
    assert all(map(torch.equal, one[3:], later))  # the same epoch of the order
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(one, 2))
    dropping.clear()
    workshop.run(workshop.spec(arms[0], network=DROPPING, seed=1))
    assert not any(map(torch.equal, one, dropping))


def test_a_probe_that_draws_changes_no_mask(workshop, dropping):
    """Its rows may depend on when a job was killed; the network may not."""
    from prunebench.runs.probes import PROBES, Probe

    @dataclasses.dataclass(frozen=True)
    class Drawing(Probe):
        def before_update(self, view, done):
            torch.rand(done + 1)

    workshop.run(workshop.spec([workshop.phase()], network=DROPPING))
    alone = [*dropping]
    dropping.clear()
    workshop.monkeypatch.setitem(PROBES, "drawing", Drawing)
    workshop.run(workshop.spec([workshop.phase(probes=[{"kind": "drawing"}])], network=DROPPING))
    assert all(map(torch.equal, alone, dropping))


@pytest.mark.parametrize("network", [DROPPING, {"kind": "mlp", "depth": 1, "width": 0.05}])
def test_training_leaves_the_global_generator_as_it_was(workshop, dropping, network):
    before = torch.get_rng_state()
    workshop.run(workshop.spec([workshop.phase()], network=network))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_generator_is_as_it_was_after_an_error():
    before = torch.get_rng_state()

    def fails():
        with global_draws(torch.device("cpu"), 0) as begin:
            begin(1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_on_a_gpu_its_own_generator_is_seeded_and_given_back():
    device = torch.device("cuda")
    before = torch.cuda.get_rng_state()
    with global_draws(device, 0) as begin:
        drawn = []
        for number in (1, 2, 1):
            begin(number)
            drawn.append(torch.rand(8, device=device))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.cuda.get_rng_state(), before)
