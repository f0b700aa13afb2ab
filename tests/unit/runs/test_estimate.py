"""What a job is estimated to cost and leave, against what the engine does and writes."""

import collections

import pytest
import torch
from torch import nn

from prunebench.models import CifarResNet
from prunebench.runs.checkpoint import load_tensors
from prunebench.runs.estimate import Estimate, Sizes
from prunebench.suite.costs import Network

MEASURED = {
    "plain": {},
    "no validation of its own": {"epochs": 0, "prune": [{"criterion": "global_magnitude"}]},
    "two epochs, recalibrated": {"recalibrate": 100},
    "gradients for a prune": {"prune": [{"criterion": "global_gradient"}]},
    "gradients on a ramp": {"prune": [{"criterion": "global_gradient", "ramp": {"share": 0.7, "every": 2}}]},
    "gradients as a probe": {"probes": [{"kind": "gradients", "images": 50, "at": [0, 0.5, 1]}]},
}


@pytest.fixture
def passed(monkeypatch):
    """Images that went through the network, by whether they go backward; one alone is counted for its FLOPs."""
    counts = collections.Counter()

    def count(module, args):
        if isinstance(module, CifarResNet) and len(args[0]) > 1:
            counts[torch.is_grad_enabled()] += len(args[0])

    handle = nn.modules.module.register_module_forward_pre_hook(count)
    yield counts
    handle.remove()


def sizes(workshop, spec):
    data, job = workshop.data, workshop.job(spec)
    layers = len(job.prunable(job.network()))
    return Sizes(*(len(getattr(data, split)) for split in ("train", "validation", "test")), layers)


@pytest.mark.parametrize("evaluate_train", [False, True])
@pytest.mark.parametrize("keys", MEASURED.values(), ids=MEASURED)
def test_the_images_of_a_job_are_those_that_pass_its_network(workshop, passed, keys, evaluate_train):
    keys = keys | {"prune": [workshop.prune(0.5, **prune) for prune in keys.get("prune", [])]}
    spec = workshop.spec(
        [workshop.phase(**keys), workshop.phase()], network=workshop.resnet, evaluate_train=evaluate_train
    )
    estimate = spec.estimate(sizes(workshop, spec))
    passed.clear()
    workshop.run(spec)
    assert (estimate.training, estimate.evaluation) == (passed[True], passed[False])


def test_the_share_of_removable_weights_costs_about_what_it_is_said_to(workshop, passed):
    """It is left out where the network is no better than guessing, and bisection may end early."""
    arm = [workshop.phase(probes=[{"kind": "shedding", "removable_images": 64}])]
    without = workshop.spec([workshop.phase()], network=workshop.resnet)
    spec = workshop.spec(arm, network=workshop.resnet)
    more = spec.estimate(sizes(workshop, spec)).evaluation - without.estimate(sizes(workshop, spec)).evaluation
    workshop.run(without)
    base = passed[False]
    passed.clear()
    workshop.run(spec)
    assert 0 < passed[False] - base <= more <= 3 * 10 * 64


@pytest.mark.parametrize("probe", ["gradients", "shedding", "histograms", "occupancy", "weights", "layers"])
def test_a_probe_s_tables_have_no_more_cells_than_estimated_and_not_far_fewer(workshop, probe):
    options = {"gradients": {"images": 64}, "occupancy": {"sizes": [2, 4]}}.get(probe, {})
    phases = [workshop.phase(probes=[{"kind": probe} | options], prune=[workshop.prune(0.5)]) for _ in range(2)]
    spec = workshop.spec(phases, network=workshop.resnet)
    out = workshop.run(spec)
    cells = sum(len(rows) * len(rows[0]) for table in spec.tables if (rows := workshop.rows(out, table)))
    assert cells <= spec.estimate(sizes(workshop, spec)).cells <= 2 * cells


@pytest.mark.parametrize("hands_on", ["nothing", "kept", "best", "masks"])
def test_a_file_of_networks_is_as_large_as_estimated(workshop, hands_on):
    """But for its header."""
    phases = [
        workshop.phase(keep=[0, 2], prune=[workshop.prune(0.5)]),
        workshop.phase(keep=[4], prune=[workshop.prune(0.8)], keep_previous=True),
    ]
    spec = workshop.spec(phases, phases, network=workshop.resnet, hands_on=hands_on)
    job = workshop.job(spec)
    model = job.network()
    network = Network(
        state_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        weights=sum(weight.numel() for weight in job.prunable(model).values()),
        layers=0,
        flops=0,
    )
    estimated = network.file_bytes(spec.estimate(sizes(workshop, spec)))
    out = workshop.run(spec)
    if hands_on == "nothing":
        assert estimated == 0
        return
    tensors, _ = load_tensors(out / "networks.safetensors")
    found = sum(tensor.nbytes for tensor in tensors.values())
    # At most: the weights of one epoch before are kept with the last networks alone.
    assert found <= estimated + 8 * len(tensors)
    assert estimated <= 1.5 * found


def test_estimates_add_up_field_by_field():
    assert Estimate(1, 2, 3, 4, 5, 6, 7) + Estimate(10, 20, 30, 40, 50, 60, 70) == Estimate(11, 22, 33, 44, 55, 66, 77)
