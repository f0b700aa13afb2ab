"""Networks that jobs hand on, and starts: what is kept is what was, and another job's file is refused by name."""

import hashlib
import json

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.errors import InputError
from prunebench.runs.checkpoint import load_tensors, save_tensors
from prunebench.runs.networks import Record, load_networks


def kept(out, arm="arm0"):
    """{epoch: state_dict} of the networks that an arm kept."""
    networks = {}
    for name, tensor in load_tensors(out / "networks.safetensors")[0].items():
        of, epoch, group, rest = name.split("/", 3)
        if (of, group) == (arm, "model"):
            networks.setdefault(int(epoch), {})[rest] = tensor
    return networks


def test_a_kept_network_is_the_one_that_a_shorter_training_ends_with(workshop):
    """Under a constant LR an epoch does not know how many follow; epoch 0 is the network before training."""
    constant = {"profile": {"kind": "constant"}}

    def trained(epochs, keep):
        spec = workshop.spec(
            [workshop.phase(epochs=epochs, keep=keep, **constant)], network=workshop.resnet, hands_on="kept"
        )
        return spec, kept(workshop.run(spec))

    spec, long = trained(3, [0, 1, 2, 3])
    assert workshop.same(long[0], workshop.job(spec).network().state_dict())
    for epochs in (1, 2, 3):
        assert workshop.same(long[epochs], trained(epochs, [epochs])[1][epochs])


@pytest.mark.parametrize("keep", [[], [1], [0, 2], [3, 4]])
def test_only_the_epochs_that_are_asked_for_are_kept(workshop, keep):
    """Counted over the arm's phases."""
    phases = [workshop.phase(keep=keep), workshop.phase(keep=keep)]
    assert {*kept(workshop.run(workshop.spec(phases, hands_on="kept")))} == {*keep}


def test_masks_that_are_handed_on_are_those_that_the_arm_ended_with_bit_by_bit(workshop):
    arms = [[workshop.phase(prune=[workshop.prune(s, c)])] for s, c in ((0.5, "random"), (0.9, "lamp"))]
    spec = workshop.spec(*arms, network=workshop.resnet, hands_on="masks")
    out = workshop.run(spec)
    packed, about = load_tensors(out / "networks.safetensors")
    seen = workshop.watch(spec)
    for arm in ("arm0", "arm1"):
        bits = [int(bit) for byte in packed[f"masks/{arm}"].tolist() for bit in f"{byte:08b}"]
        begin = 0
        for (layer, size), (name, mask) in zip(about["layers"], seen.end(arm).masks.items(), strict=True):
            assert (layer, size) == (name, mask.numel())
            assert bits[begin : begin + size] == mask.flatten().int().tolist()
            begin += size


def test_the_masks_of_a_kept_network_are_its_own_at_a_bit_per_weight(workshop):
    """In a channels_last network, too, whose tensors do not lie in the order of their indices."""
    spec = workshop.spec(
        [workshop.phase(prune=[workshop.prune(0.7, "random")], keep=[2])], network=workshop.resnet, hands_on="kept"
    )
    out = workshop.run(spec)
    stored, _ = load_tensors(out / "networks.safetensors")
    record = load_networks(out / "networks.safetensors", (spec.digest(),)).at("arm0", 2, torch.device("cpu"))
    masks = workshop.watch(spec).end().masks
    assert workshop.same(record.masks, masks)
    for name, mask in masks.items():
        assert stored[f"arm0/2/mask/{name}"].numel() == -(-mask.numel() // 8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans(), st.integers(0, 99))
def test_a_record_comes_back_from_its_own_tensors(shape, last, seed):
    """Masks of any shape and memory format: those that no byte ends with, and those of all or none."""
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    masks = {"w": weights > seed % 3 - 1, "all": torch.ones(shape, dtype=torch.bool), "none": weights > 99}
    if last and len(shape) == 4:
        masks = {name: mask.to(memory_format=torch.channels_last) for name, mask in masks.items()}
    record = Record(dict.fromkeys(masks, weights), masks, {})
    tensors = record.tensors()
    assert all(tensors[f"mask/{name}"].dtype == torch.uint8 for name in masks)
    back = Record.of(tensors, torch.device("cpu"))
    assert all(torch.equal(back.masks[name], mask) for name, mask in masks.items())
    assert [mask.dtype for mask in back.masks.values()] == [torch.bool] * 3


@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [("w", torch.zeros(2, dtype=torch.uint8), "4 weights take 1"), ("v", torch.zeros(1, dtype=torch.uint8), "'v'")],
)
def test_a_mask_that_fits_no_weight_is_refused(name, mask, words):
    with pytest.raises(InputError, match=words):
        Record.of({"model/w": torch.zeros(2, 2), f"mask/{name}": mask}, torch.device("cpu"))


# --- Refusals


def start_of(workshop, **keys):
    """A job that keeps its network, and the spec of one that starts there."""
    dense = workshop.spec([workshop.phase(keep=[1, 2])], hands_on="kept", **keys)
    workshop.run(dense)
    return dense, workshop.spec({"start": workshop.trained(dense), "phases": [workshop.phase()]})


def refused(workshop, spec, *words):
    out = workshop.runs / "refused"
    with pytest.raises(InputError) as caught:
        workshop.run(spec, out)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message
    assert not any(out.iterdir())


@pytest.mark.parametrize("other", [{"seed": 1}, {"augmentation": {}}, {"batch_size": 32}], ids=str)
def test_a_network_of_another_spec_is_refused(workshop, other):
    dense, spec = start_of(workshop)
    changed = dense.model_validate(dense.content() | other)
    workshop.run(changed)
    refused(workshop, spec, dense.folder, "another spec", "run its job again")


def test_a_network_of_another_architecture_is_refused(workshop):
    dense, spec = start_of(workshop, network=workshop.resnet)
    refused(workshop, spec, dense.folder, "another network")


@pytest.mark.parametrize("missing", [{"epoch": 5}, {"arm": "other"}], ids=str)
def test_a_network_that_was_not_kept_is_refused(workshop, missing):
    dense, _ = start_of(workshop)
    start = workshop.trained(dense) | missing
    refused(workshop, workshop.spec({"start": start, "phases": [workshop.phase()]}), dense.folder, "holds no network")


def test_an_epoch_to_rewind_to_that_was_not_kept_is_refused(workshop):
    dense, _ = start_of(workshop)
    spec = workshop.spec({"start": workshop.trained(dense), "phases": [workshop.phase(rewind=0)]})
    refused(workshop, spec, dense.folder, "holds no network arm0/0")


@pytest.mark.parametrize("damage", ["missing", "text", "truncated", "nothing about it", "a folder", "no tensors"])
def test_a_file_that_holds_no_networks_is_refused_by_name(workshop, damage):
    dense, spec = start_of(workshop)
    path = workshop.runs / dense.folder / "networks.safetensors"
    whole, about = path.read_bytes(), load_tensors(path)[1]
    path.unlink()
    if damage == "text":
        path.write_text("text")
    elif damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "nothing about it":
        path.write_bytes(safetensors.torch.save({"loss_sum": torch.zeros(())}))
    elif damage == "a folder":
        path.mkdir()
    elif damage == "no tensors":
        save_tensors(path, {}, about)
    refused(workshop, spec, str(path))


# --- Files of weights


@pytest.fixture
def weights(workshop):
    """A state_dict of the network, of another seed than the jobs'."""
    return workshop.job(workshop.spec([workshop.phase()], seed=7)).network().state_dict()


def started(workshop, path, **keys):
    start = {"kind": "file", "path": str(path)} | keys
    phases = [workshop.phase(epochs=0, keep=[0])]
    return workshop.spec({"start": start, "phases": phases}, hands_on="kept")


@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch, nested"])
def test_weights_of_a_file_are_a_start(workshop, weights, kind):
    path = workshop.runs / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save({"state_dict": weights} if "nested" in kind else weights, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert workshop.same(kept(workshop.run(started(workshop, path, sha256=digest)))[0], weights)


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return (open, ("trapped", "w"))


@pytest.mark.parametrize("damage", ["missing", "text", "another network", "code", "other bytes"])
def test_a_file_of_no_weights_is_refused_and_runs_no_code(workshop, weights, monkeypatch, damage):
    monkeypatch.chdir(workshop.runs)
    path, keys, word = workshop.runs / "weights.pt", {}, "holds no weights of this network"
    if damage == "missing":
        word = "No such file"
    elif damage == "text":
        path.write_text("text")
    elif damage == "another network":
        word = "these weights do not fit: missing "
        torch.save({"layer": torch.zeros(3)}, path)
    elif damage == "code":
        torch.save({"state_dict": Trap()}, path)
    else:
        torch.save(weights, path)
        keys, word = {"sha256": "0" * 64}, "expected 0000"
    refused(workshop, started(workshop, path, **keys), str(path), word)
    assert not (workshop.runs / "trapped").exists()


def test_a_spec_on_disk_reads_back_as_itself(workshop, weights):
    path = workshop.runs / "weights.pt"
    torch.save(weights, path)
    spec = started(workshop, path)
    out = workshop.run(spec)
    assert type(spec).model_validate(json.loads((out / "spec.json").read_text())) == spec
