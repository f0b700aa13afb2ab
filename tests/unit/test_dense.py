"""Dense networks: a chain that starts from one ends as if it had trained it itself; other networks are refused."""

import json

import pytest
import safetensors.torch
import torch
from training_jobs import (
    CYCLES,
    EPOCHS,
    MLP,
    RESNET,
    STEPS,
    Killed,
    KilledAt,
    dense_of,
    make_job,
    make_spec,
    results,
    same,
    table,
    train,
    weights,
)

from prunebench.config import DenseSpec
from prunebench.errors import InputError
from prunebench.training import chain, job
from prunebench.training.chain import run_chain
from prunebench.training.checkpoint import load_tensors, save_tensors
from prunebench.training.dense import COLUMNS, NETWORK, train_dense
from prunebench.training.job import resume_path

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(digits, monkeypatch, tmp_path_factory):
    """Runs a chain, from a network or from its beginning: its folder and its final state."""

    def go(spec, start=None, *, out=None, resume=None):
        out = out or tmp_path_factory.mktemp("chain")
        states = []

        def new_state(of):
            states.append(job.new_state(of))
            return states[-1]

        with monkeypatch.context() as patch:
            patch.setattr(chain, "new_state", new_state)
            run_chain(make_job(spec, digits, out, resume), out, start)
        return out, states[-1]

    return go


@pytest.fixture
def dense(digits, tmp_path_factory):
    """Trains a dense network; gives its file."""

    def go(spec, out=None, resume=None):
        out = out or tmp_path_factory.mktemp("dense")
        return train(spec, digits, out, resume)

    return go


def tables_of(out):
    """All that a chain's folder holds but its spec, which names the network that it started from."""
    return {name: content for name, content in results(out).items() if name != "spec"}


# ------------------------------------------------------------------------------------------ as if trained by itself

SAME = {
    "magnitude": {},
    "batch norm": {"network": RESNET},
    "normalisation pruned": {"network": RESNET, "pruning": {"include_norm": True}},
    "previous weights": {"criterion": "layer_weight_times_change", "keep": [EPOCHS - 1]},
    "previous weights, one epoch": {
        "criterion": "global_weight_change",
        "training": {"epochs": 1},
        "keep": [0],
    },
    "random": {"criterion": "random"},
    "gradient": {"criterion": "global_gradient", "network": RESNET},
    "rewind to the start": {"pruning": {"after": "rewind_weights", "rewind_epoch": 0}, "keep": [0], "network": RESNET},
    "rewind to epoch 1": {"pruning": {"after": "rewind_weights", "rewind_epoch": 1}, "keep": [1], "network": RESNET},
    "rewind, previous weights": {
        "pruning": {"after": "rewind_weights", "rewind_epoch": 1},
        "criterion": "layer_weight_times_change",
        "training": {"epochs": 3},
        "keep": [1, 2],
    },
    "more epochs kept than needed": {"pruning": {"after": "rewind_weights", "rewind_epoch": 1}, "keep": [0, 1, 2]},
    "rewind lr": {"pruning": {"after": "rewind_lr", "rewind_epoch": 1}},
    "fine-tuning": {"pruning": {"after": "keep"}},
    "constant": {"profile": {"kind": "constant"}, "policy": {"kind": "fixed", "max_lr": 0.05}},
    "step decay": {"profile": {"kind": "step_decay", "milestones": [0.5]}, "criterion": "lamp"},
    "s-shape": {"policy": {"kind": "s_shape", "rate": 0.5, "delay": 0, "eps": 0.1, "alpha": 0.2, "beta": 2}},
    "no augmentation": {"augmentation": {}},
}


@pytest.mark.parametrize("case", SAME)
def test_a_chain_from_a_dense_network_ends_with_the_same_bytes_as_one_that_trains_its_own(run, dense, case):
    more = dict(SAME[case])
    keep = more.pop("keep", [])
    alone = make_spec(**more)
    network = dense_of(alone, keep)
    own, state = run(alone)
    started, twin = run(alone.model_copy(update={"dense": network}), dense(network))
    assert tables_of(started) == tables_of(own)
    assert same(weights(state), weights(twin))
    assert same(state.masks, twin.masks)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("criterion", ["global_magnitude", "layer_weight_times_change", "global_gradient"])
@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_a_diverged_dense_network_is_handed_on(run, dense, network, criterion, epochs):
    """In the first of its epochs: a chain stops there, and does not go on with what is left of the network."""
    values = [1e30] * (CYCLES + 1)
    alone = make_spec(
        network=network, criterion=criterion, training={"epochs": epochs}, policy={"kind": "table", "values": values}
    )
    spec = dense_of(alone, [epochs - 1])
    path = dense(spec)
    assert [row["status"] for row in table(path.parent, "cycles")] == ["diverged"]
    assert table(path.parent, "cycles")[0]["test_accuracy"] == "0.1"
    own, _ = run(alone)
    started, _ = run(alone.model_copy(update={"dense": spec}), path)
    assert tables_of(started) == tables_of(own)
    assert [row["status"] for row in table(started, "cycles")] == ["diverged"] * (CYCLES + 1)


def test_divergence_in_the_dense_network_s_last_update_is_seen(run, dense):
    """The loss of the last update is that of the weights before it: finite, while the network is lost."""
    alone = make_spec(
        training={"epochs": 1, "batch_size": 192},
        profile={"kind": "constant"},
        policy={"kind": "table", "values": [1e30, 0.05, 0.05]},
    )
    spec = dense_of(alone)
    own, _ = run(alone)
    started, _ = run(alone.model_copy(update={"dense": spec}), dense(spec))
    assert tables_of(started) == tables_of(own)
    assert [row["status"] for row in table(started, "cycles")] == ["diverged"] * 3


# ------------------------------------------------------------------------------------------------ tables and network


def test_the_tables_are_those_of_a_chain_s_dense_cycle(run, dense):
    alone = make_spec(network=RESNET)
    own, _ = run(alone)
    path = dense(dense_of(alone))
    for name in COLUMNS:
        cycle = [row for row in table(own, name) if row["cycle"] == "0"]
        rows = table(path.parent, name)
        assert len(rows) == (EPOCHS if name == "epochs" else 1)
        for row, expected in zip(rows, cycle, strict=True):
            assert {k: v for k, v in row.items() if k not in ("seconds", "peak_memory_mb")} == {
                k: v for k, v in expected.items() if k not in ("seconds", "peak_memory_mb")
            }
    stored = DenseSpec.model_validate(json.loads((path.parent / "spec.json").read_text()))
    assert stored.digest() == dense_of(alone).digest()
    assert {file.name for file in path.parent.iterdir()} == {
        *("epochs.csv", "cycles.csv", "cost.csv", "network.safetensors", "spec.json", "provenance.json")
    }


def test_a_kept_network_is_the_one_that_a_shorter_training_ends_with(dense):
    """Under a constant LR an epoch does not know how many follow; epoch 0 is the network before training."""
    constant = {"profile": {"kind": "constant"}, "network": RESNET}
    long = dense(dense_of(make_spec(training={"epochs": 3}, **constant), [0, 1, 2, 3]))
    tensors, _ = load_tensors(long)
    for epochs in (1, 2, 3):
        short, _ = load_tensors(dense(dense_of(make_spec(training={"epochs": epochs}, **constant))))
        model = {name.removeprefix("model/"): value for name, value in short.items() if name.startswith("model/")}
        prefix = f"kept/{epochs}/"
        kept = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        assert same(kept, model)
    initial = job.new_state(make_job(make_spec(network=RESNET), FakeData(), long.parent)).model.state_dict()
    kept = {name.removeprefix("kept/0/"): value for name, value in tensors.items() if name.startswith("kept/0/")}
    assert same(kept, dict(initial))


class FakeData:
    """As much of a data set as building a network takes."""

    classes = 10

    class train:
        images = torch.zeros(1, 1, 8, 8)


def test_only_the_epochs_that_are_asked_for_are_kept(dense):
    for keep in ([], [1], [0, 2]):
        tensors, _ = load_tensors(dense(dense_of(make_spec(), keep)))
        assert {int(name.split("/")[1]) for name in tensors if name.startswith("kept/")} == set(keep)


# ---------------------------------------------------------------------------------------------------------- refusals


def refused(run, spec, start, out):
    with pytest.raises(InputError) as caught:
        run(spec, start, out=out)
    message = " ".join(str(caught.value).split())  # as the command line prints it
    assert str(start) in message
    assert not out.exists()
    return message


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"network": {"kind": "mlp", "depth": 1, "width": 0.1}},
        {"training": {"weight_decay": 0.0}},
        {"policy": {"kind": "fixed", "max_lr": 0.11}},
        {"profile": {"kind": "constant"}},
        {"augmentation": {}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_network_than_the_spec_names_is_refused(run, dense, tmp_path, other):
    spec = make_spec()
    spec = spec.model_copy(update={"dense": dense_of(spec)})
    message = refused(run, spec, dense(dense_of(make_spec(**other))), tmp_path / "out")
    assert "is another network than dense/digits-tiny/ramp/seed-0" in message


def test_a_network_that_kept_other_epochs_is_refused(run, dense, tmp_path):
    spec = make_spec(pruning={"after": "rewind_weights", "rewind_epoch": 1})
    spec = spec.model_copy(update={"dense": dense_of(spec, [1])})
    assert "is another network" in refused(run, spec, dense(dense_of(spec, [0])), tmp_path / "out")


@pytest.mark.parametrize("damage", ["missing", "text", "truncated", "no metadata", "a folder", "no tensors"])
def test_a_file_that_is_no_dense_network_is_refused_by_name(run, dense, tmp_path, damage):
    spec = make_spec()
    spec = spec.model_copy(update={"dense": dense_of(spec)})
    start = tmp_path / NETWORK
    if damage == "text":
        start.write_text("text")
    elif damage == "truncated":
        whole = dense(spec.dense).read_bytes()
        start.write_bytes(whole[: len(whole) // 2])
    elif damage == "no metadata":
        start.write_bytes(safetensors.torch.save({"loss_sum": torch.zeros(())}))
    elif damage == "a folder":
        start.mkdir()
    elif damage == "no tensors":
        _, metadata = load_tensors(dense(spec.dense))
        save_tensors(start, {}, metadata)
    refused(run, spec, start, tmp_path / "out")


# ------------------------------------------------------------------------------------------------------------ resume


def network_of(path):
    """The tensors of a network's file and all that it says but seconds."""
    tensors, metadata = load_tensors(path)
    values = json.loads(metadata["values"])
    values.pop("seconds")
    return tensors, values, metadata["spec"]


@pytest.mark.parametrize("keep", [[], [0, 1, 2]])
def test_dense_training_killed_before_any_update_ends_with_the_same_network(dense, tmp_path, keep):
    spec = dense_of(make_spec(network=RESNET), keep)
    straight = dense(spec)
    tensors, values, digest = network_of(straight)
    for at in range(EPOCHS * STEPS):
        out = tmp_path / f"{at}"
        with pytest.raises(Killed):
            dense(spec, out, KilledAt(resume_path(out), spec.digest(), at))
        assert not (out / NETWORK).exists()
        again = network_of(dense(spec, out))
        assert same(again[0], tensors)
        assert again[1:] == (values, digest)
        for name in ("epochs", "cycles"):
            assert (out / f"{name}.csv").read_bytes() == (straight.parent / f"{name}.csv").read_bytes()
        assert not resume_path(out).exists()


@pytest.mark.parametrize(
    ("case", "at"),
    [
        *(("previous weights", at) for at in (0, 1, 3, 5, 6, 8, 11)),
        *(("rewind to epoch 1", at) for at in (0, 1, 3, 5)),
    ],
)
def test_a_chain_from_a_dense_network_resumes_to_the_same_bytes(run, dense, tmp_path, case, at):
    """Updates are those after the dense training. `start` is given again, as the workflow does, and not read."""
    more = dict(SAME[case])
    network = dense_of(make_spec(**{k: v for k, v in more.items() if k != "keep"}), more.pop("keep"))
    spec = make_spec(**more, dense=network)
    start = dense(network)
    straight, state = run(spec, start)
    with pytest.raises(Killed):
        run(spec, start, out=tmp_path, resume=KilledAt(resume_path(tmp_path), spec.digest(), at))
    _, twin = run(spec, start, out=tmp_path)
    assert results(tmp_path) == results(straight)
    assert same(weights(state), weights(twin))


def test_the_dense_file_ends_like_the_state_that_a_killed_chain_would_resume_from(dense):
    """No momentum, no rows and no loss of the dense training may be missing from what is handed on."""
    tensors, values, _ = network_of(dense(dense_of(make_spec(), [1])))
    assert values["position"] == {"cycle": 0, "epoch": EPOCHS, "step": 0}
    assert [row["epoch"] for row in values["rows"]["epochs"]] == [0, 1]
    assert any(tensor.any() for name, tensor in tensors.items() if name.startswith("buffer/"))
    assert all(bool(mask.all()) for name, mask in tensors.items() if name.startswith("mask/"))


def test_dense_training_takes_its_own_spec_only(digits, tmp_path):
    with pytest.raises(AssertionError):
        train_dense(make_job(make_spec(), digits, tmp_path), tmp_path)
