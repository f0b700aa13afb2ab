"""A recorded update reads and writes fixed tensors and nothing that the host knows: here on a CPU, on a tape that plays
the kernels of one update again as a CUDA graph does, into the memory that they wrote to first; and on a GPU."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prunebench.data.batches import Split
from prunebench.runs import engine, step
from prunebench.runs.device import set_up
from prunebench.runs.updates import UPDATES

UPDATE_KINDS = {
    "sgd": {"kind": "sgd", "momentum": 0.9, "weight_decay": 5e-4},
    "plain_sgd": {"kind": "sgd"},
    "nesterov": {"kind": "nesterov", "momentum": 0.9, "weight_decay": 5e-4},
    "grda": {"kind": "grda", "c": 0.02, "mu": 0.6},
    "grda_weights_only": {"kind": "grda", "c": 0.02, "mu": 0.6, "spare_norm_and_bias": True},
    "proximal_l1": {"kind": "proximal_l1", "momentum": 0.9, "l1": 1e-3},
}
NETWORKS = {
    "resnet": {"kind": "resnet", "depth": 8, "width": 0.25},
    "dropout": {"kind": "vgg", "depth": 11, "width": 0.05, "hidden": [16], "dropout": 0.4},
}


def memory(tensor):
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Notes every kernel while it runs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def play(self):
        """Runs them again on the same tensors; what they make goes where it was made first."""
        for func, args, kwargs, first in self.calls:
            for old, new in zip(tree_leaves(first), tree_leaves(func(*args, **kwargs)), strict=True):
                if (
                    isinstance(old, torch.Tensor)
                    and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr()
                ):
                    old.copy_(new)


class Recorder:
    """Stands for `step.record` without a GPU; counts what is recorded and replayed."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, body):
        self.recorded += 1
        tape = Tape()
        with tape:
            body()
        fresh = True

        def replay():
            nonlocal fresh
            self.replayed += 1
            if not fresh:  # recording on the tape has done the first update already, which a GPU's does not
                tape.play()
            fresh = False

        return replay


@pytest.fixture
def recorder(monkeypatch):
    """On the CPU, steps as on a GPU."""
    tapes = Recorder()
    monkeypatch.setattr(engine, "step_of", step.RecordedStep)
    monkeypatch.setattr(step, "record", tapes)
    return tapes


def phases(workshop, update):
    """A dense phase and two pruned ones, of six updates each; the last network is kept."""
    prunes = [[], [workshop.prune(0.5)], [workshop.prune(0.75)]]
    kept = [[], [], [6]]
    return [
        workshop.phase(update=UPDATE_KINDS[update], prune=prune, keep=keep)
        for prune, keep in zip(prunes, kept, strict=True)
    ]


def launched(workshop, spec, out):
    """What the job leaves if every kernel is launched by itself."""
    out.mkdir()
    engine.train(dataclasses.replace(workshop.job(spec, out), eager=True), out)
    return workshop.results(out)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("update", UPDATE_KINDS)
def test_replayed_updates_give_the_bytes_of_launched_ones(workshop, recorder, tmp_path, update, network):
    spec = workshop.spec(phases(workshop, update), network=NETWORKS[network], hands_on="kept")
    replayed = workshop.results(workshop.run(spec))
    assert recorder.recorded == 3
    assert recorder.replayed == 3 * (6 - step.WARM_UP)
    assert replayed == launched(workshop, spec, tmp_path / "launched")
    assert recorder.recorded == 3


def test_numbers_in_tensors_are_the_numbers(workshop, recorder, monkeypatch, tmp_path):
    """The CPU's own step differs by roundings."""
    spec = workshop.spec(phases(workshop, "grda"), network=NETWORKS["resnet"], hands_on="kept")
    replayed = workshop.results(workshop.run(spec))
    monkeypatch.setattr(engine, "step_of", step.Step)
    plain = workshop.results(workshop.run(spec, tmp_path / "plain"))
    for row, other in zip(replayed["epochs.csv"], plain["epochs.csv"], strict=True):
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-4)
        assert row["lr"] == other["lr"]


def test_masks_that_change_while_it_trains_are_followed(workshop, recorder, tmp_path):
    """A ramp prunes before every second update: the first prune of a layer makes a new recording, later ones none."""
    ramp = {"share": 0.9, "every": 1}
    spec = workshop.spec(
        [workshop.phase(epochs=4, prune=[workshop.prune(0.8, ramp=ramp)], keep=[4])],
        network=NETWORKS["resnet"],
        hands_on="kept",
    )
    seen = workshop.watch(spec)
    assert recorder.replayed > 0
    seen.assert_masks_hold()
    assert seen.ends[-1].alive == round(0.2 * seen.ends[-1].size)
    replayed = workshop.results(workshop.run(spec))
    assert replayed == launched(workshop, spec, tmp_path / "launched")


def test_a_killed_job_ends_with_the_same_bytes(workshop, recorder):
    """Wherever it is killed: a resumed phase launches some updates that the straight run replayed."""
    spec = workshop.spec(phases(workshop, "sgd"), network=NETWORKS["dropout"], hands_on="kept")
    straight = workshop.results(workshop.run(spec))
    folder, deaths = workshop.killed_often(spec, every=4)
    assert deaths > 3
    assert workshop.results(folder) == straight


def test_an_update_that_only_steps_is_launched(workshop, recorder, monkeypatch):
    """Such as a plugin's: what it does on the host would be recorded once."""
    monkeypatch.setattr(engine, "step_of", step.step_of)

    class Own(UPDATES["sgd"]):
        def step_(self, parameters, gradients, state, lr):
            super().step_(parameters, gradients, state, lr)

    assert UPDATES["sgd"]().recordable
    assert not Own().recordable
    assert not UPDATES["adamw"]().recordable
    workshop.run(workshop.spec(phases(workshop, "sgd")))
    assert recorder.recorded == 0  # on a CPU nothing is


# --- On a GPU


def splits_of(data):
    """The three splits by name."""
    return {name: getattr(data, name) for name in ("train", "validation", "test")}


@pytest.fixture
def on_gpu(workshop, monkeypatch):
    """The workshop with its data and jobs on the GPU."""
    device, job = torch.device("cuda"), workshop.job
    moved = {n: Split(s.images.to(device), s.labels.to(device)) for n, s in splits_of(workshop.data).items()}
    data = dataclasses.replace(workshop.data, **moved)
    monkeypatch.setattr(workshop, "job", lambda *a, **k: dataclasses.replace(job(*a, **k), data=data, device=device))
    set_up(device)
    return workshop


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("update", UPDATE_KINDS)
def test_a_gpu_replays_the_bytes_that_it_launches(on_gpu, tmp_path, update, network, precision):
    spec = on_gpu.spec(phases(on_gpu, update), network=NETWORKS[network], hands_on="kept", precision=precision)
    assert on_gpu.results(on_gpu.run(spec)) == launched(on_gpu, spec, tmp_path / "launched")


@pytest.mark.gpu
def test_a_killed_job_on_a_gpu_ends_with_the_same_bytes(on_gpu):
    spec = on_gpu.spec(phases(on_gpu, "sgd"), network=NETWORKS["dropout"], hands_on="kept")
    straight = on_gpu.results(on_gpu.run(spec))
    folder, _ = on_gpu.killed_often(spec, every=4)
    assert on_gpu.results(folder) == straight


@pytest.mark.gpu
def test_an_epoch_on_a_gpu_waits_for_nothing(on_gpu, monkeypatch):
    """Between the first recorded update of an epoch and its last one the host never asks for a result."""
    replayed = step.RecordedStep.__call__

    def strict(self, *batch):
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error" if self._replay else before)
        try:
            replayed(self, *batch)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    monkeypatch.setattr(step.RecordedStep, "__call__", strict)
    on_gpu.run(on_gpu.spec(phases(on_gpu, "grda"), network=NETWORKS["resnet"]))
