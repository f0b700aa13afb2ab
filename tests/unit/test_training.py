"""Pruning chains: the same bytes whenever and wherever they are interrupted, exact masks, the LR that was asked for."""

import dataclasses
import json
import math
import signal

import pytest
import torch
from training_jobs import (
    CYCLES,
    EPOCHS,
    MLP,
    RESNET,
    STEPS,
    Killed,
    KilledAt,
    make_job,
    make_spec,
    results,
    same,
    table,
    weights,
)

from prunebench.config import ChainSpec
from prunebench.data.prepare import prepare
from prunebench.optim.sgd import sgd_step_
from prunebench.pruning.criteria import CRITERIA
from prunebench.training import chain, job, updates
from prunebench.training.chain import run_chain
from prunebench.training.checkpoint import ResumeFile
from prunebench.training.job import resume_path

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(digits, monkeypatch, tmp_path_factory):
    """Runs a chain in a folder of its own; gives the folder and the final state."""

    def go(spec, *, data=digits, out=None, resume=None, report=lambda line: None):
        out = out or tmp_path_factory.mktemp("run")
        states = []

        def new_state(of):
            states.append(job.new_state(of))
            return states[-1]

        with monkeypatch.context() as patch:
            patch.setattr(chain, "new_state", new_state)
            run_chain(make_job(spec, data, out, resume, report), out)
        return out, states[-1]

    return go


@pytest.fixture
def watch(monkeypatch):
    """Calls before(state), after(state) around each cycle's training and each(state) before every update."""

    def hook(before=lambda state: None, after=lambda state: None, each=lambda state: None):
        def train_(of, state, leg, save, before_update):
            def about_to_update(done):
                each(state)
                before_update(done)

            before(state)
            converged = job.train_(of, state, leg, save, about_to_update)
            after(state)
            return converged

        monkeypatch.setattr(chain, "train_", train_)

    return hook


@pytest.fixture
def command_line(monkeypatch):
    """Runs a verb in this process; with `killed_after`, up to that many saves. Puts back what it changes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def go(verb, *arguments, killed_after=math.inf, **more):
        saves = 0
        save = ResumeFile.save

        def counted(self, tensors, values):
            nonlocal saves
            save(self, tensors, values)
            saves += 1
            if saves > killed_after:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(ResumeFile, "save", counted)
            verb(*arguments, threads=1, save_every=0, **more)

    yield go
    torch.set_flush_denormal(False)
    for number, handler in before.items():
        signal.signal(number, handler)


# ------------------------------------------------------------------------------------------------------------- SGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-2])
def test_sgd_is_torchs_to_the_bit(momentum, weight_decay):
    draw = torch.Generator().manual_seed(3)

    def tensors():
        return [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in [(7, 5), (3, 2, 3, 3), (11,)]]

    ours = tensors()
    theirs = [tensor.clone().requires_grad_() for tensor in ours]
    buffers = [torch.zeros_like(tensor) for tensor in ours]
    optimizer = torch.optim.SGD(theirs, lr=1.0, momentum=momentum, weight_decay=weight_decay)
    for step in range(200):
        gradients, lr = tensors(), 0.3 / (1 + step)
        optimizer.param_groups[0]["lr"] = lr
        for tensor, gradient in zip(theirs, gradients, strict=True):
            tensor.grad = gradient.clone()
        optimizer.step()
        sgd_step_(ours, gradients, buffers, lr=lr, momentum=momentum, weight_decay=weight_decay)
        assert all(torch.equal(a, b.detach()) for a, b in zip(ours, theirs, strict=True)), step


# ----------------------------------------------------------------------------------------------------- determinism


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
def test_the_same_seed_gives_the_same_bytes(run, network):
    spec = make_spec(network=network, gradients={"images": 100, "at": [0.5, 1.0]})
    torch.manual_seed(1)
    first, state = run(spec)
    torch.manual_seed(2)  # no result may hang on the global generator
    torch.rand(17)
    second, twin = run(spec)
    assert results(first) == results(second)
    assert same(weights(state), weights(twin))


def test_another_seed_has_another_init_and_other_results(run, watch):
    starts = []
    watch(before=lambda state: starts.append(weights(state)))
    out, _ = run(make_spec(pruning={"cycles": 1}))
    other, _ = run(make_spec(pruning={"cycles": 1}, seed=1))
    for mine, its in zip(starts[:2], starts[2:], strict=True):
        assert not torch.equal(mine["hidden.0.weight"], its["hidden.0.weight"])
    columns = ["train_loss", "validation_loss"]
    for mine, its in zip(table(out, "epochs"), table(other, "epochs"), strict=True):
        assert all(mine[column] != its[column] for column in columns)


def test_seed_pairs_schedules_at_the_same_init_and_data(run):
    """A paired comparison: two schedules with the same first LR have the same first loss."""
    losses = []
    for profile in ({"kind": "constant"}, {"kind": "step_decay", "milestones": [0.5]}):
        out, _ = run(make_spec(profile=profile, pruning={"cycles": 1}))
        losses.append([row["train_loss"] for row in table(out, "epochs")])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


# ---------------------------------------------------------------------------------------------------------- resume

RESUMED = {
    "plain": {},
    "previous weights": {"criterion": "layer_weight_times_change"},
    "gradients at mid-cycle": {"gradients": {"images": 100, "at": [0.2, 0.5, 1.0]}},
    "gradient criterion, batch norm": {"criterion": "global_gradient", "network": RESNET},
    "rewind weights": {"pruning": {"after": "rewind_weights", "rewind_epoch": 1}, "training": {"epochs": 3}},
    "rewind lr": {"pruning": {"after": "rewind_lr", "rewind_epoch": 1}, "criterion": "layer_weight_times_change"},
    "keep": {"pruning": {"after": "keep"}, "network": RESNET},
}


@pytest.fixture(scope="module")
def undisturbed():
    return {}


@pytest.mark.parametrize("at", [0, 1, 3, 5, 6, 7, 10])
@pytest.mark.parametrize("case", RESUMED)
def test_killed_and_resumed_ends_with_the_same_bytes(run, tmp_path, capsys, undisturbed, case, at):
    """Updates 0, 3, 6 and so on are borders of epochs, 6 (9 where there are three epochs) of cycles."""
    spec = make_spec(**RESUMED[case])
    if case not in undisturbed:
        out, state = run(spec)
        undisturbed[case] = results(out), weights(state)
    path = resume_path(tmp_path)
    with pytest.raises(Killed):
        run(spec, out=tmp_path, resume=KilledAt(path, spec.digest(), at))
    assert not (tmp_path / "cycles.csv").exists()
    _, state = run(spec, out=tmp_path)
    assert "going on at" in capsys.readouterr().out
    tables, final = undisturbed[case]
    assert results(tmp_path) == tables
    assert same(weights(state), final)
    assert not path.exists()


def test_killed_before_every_single_update(run, tmp_path, undisturbed):
    """A process that never does more than one update between two kills."""
    spec = make_spec(criterion="layer_weight_times_change", gradients={"images": 50, "at": [0.4, 1.0]})
    straight, state = run(spec)
    kills = 0
    while True:
        try:
            _, final = run(spec, out=tmp_path, resume=KilledAt(resume_path(tmp_path), spec.digest(), 1))
            break
        except Killed:
            kills += 1
    assert kills == (CYCLES + 1) * EPOCHS * STEPS - 1
    assert results(tmp_path) == results(straight)
    assert same(weights(state), weights(final))


def test_saving_before_every_update_changes_no_result(run):
    class Eager(ResumeFile):
        saves = 0

        def save(self, tensors, values):
            self.saves += 1
            super().save(tensors, values)

    spec = make_spec()
    straight, _ = run(spec)
    out = straight.parent / "eager"
    resume = Eager(resume_path(out), spec.digest(), 0)
    run(spec, out=out, resume=resume)
    assert resume.saves == (CYCLES + 1) * EPOCHS * STEPS
    assert results(out) == results(straight)


def truncated(content):
    return content[: len(content) // 2]


def without_values(content):
    """A sound safetensors file of the right spec that lacks what the job needs."""
    import safetensors.torch

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return safetensors.torch.save({"loss_sum": torch.zeros(())}, {"spec": header["__metadata__"]["spec"]})


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        lambda content: b"",
        lambda content: b"\xff" * 200,
        lambda content: b"not a resume file",
        without_values,
    ],
    ids=["truncated", "empty", "huge header", "text", "no values"],
)
def test_a_damaged_resume_file_is_named_and_ignored(run, tmp_path, capsys, damage):
    spec = make_spec()
    straight, _ = run(spec)
    out, path = tmp_path / "run", resume_path(tmp_path / "run")
    with pytest.raises(Killed):
        run(spec, out=out, resume=KilledAt(path, spec.digest(), 8))
    path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    run(spec, out=out)
    said = capsys.readouterr().out
    assert str(path) in said
    assert "cannot be read" in said
    assert "starting from the beginning" in said
    assert results(out) == results(straight)
    assert not path.exists()


def test_a_resume_file_of_another_spec_is_named_and_ignored(run, tmp_path, capsys):
    spec, other = make_spec(), make_spec(training={"weight_decay": 0.0})
    straight, _ = run(spec)
    with pytest.raises(Killed):
        run(other, out=tmp_path, resume=KilledAt(resume_path(tmp_path), other.digest(), 8))
    capsys.readouterr()
    run(spec, out=tmp_path)
    assert "another spec" in capsys.readouterr().out
    assert results(tmp_path) == results(straight)


def test_a_resume_file_of_other_data_is_ignored(command_line, digits_file, tmp_path):
    """A preset's data set was changed while a killed job waited: the spec names the data set, not its content."""
    from prunebench.cli import train_chain

    spec, smaller, out = make_spec().to_json(), tmp_path / "smaller.safetensors", tmp_path / "run"
    counts = {"train": 128, "validation": 64, "test": 64}
    manifest = smaller.with_suffix(".json")
    prepare("digits", None, tmp_path, size=None, split_seed=0, out=smaller, manifest=manifest, **counts)
    command_line(train_chain, spec, smaller, tmp_path / "straight")
    with pytest.raises(Killed):
        command_line(train_chain, spec, digits_file, out, killed_after=8)
    command_line(train_chain, spec, smaller, out)
    assert results(out) == results(tmp_path / "straight")


def test_the_command_line_resumes_its_own_file(command_line, digits_file, tmp_path, capsys):
    from prunebench.cli import train_chain

    spec, out = make_spec().to_json(), tmp_path / "run"
    command_line(train_chain, spec, digits_file, tmp_path / "straight")
    with pytest.raises(Killed):
        command_line(train_chain, spec, digits_file, out, killed_after=8)
    capsys.readouterr()
    command_line(train_chain, spec, digits_file, out)
    assert "going on at {'cycle': 1, 'epoch': 0, 'step': 2}" in capsys.readouterr().out
    assert results(out) == results(tmp_path / "straight")


def test_told_to_stop_saves_and_exits_with_the_signals_number(run, tmp_path):
    spec = make_spec()
    straight, _ = run(spec)
    resume = ResumeFile(resume_path(tmp_path), spec.digest(), 1e9)

    def stop_in_cycle_1(line):
        if line.startswith("cycle 1 epoch 0"):
            resume._note_signal(15, None)

    with pytest.raises(SystemExit) as stopped:
        run(spec, out=tmp_path, resume=resume, report=stop_in_cycle_1)
    assert stopped.value.code == 143
    assert resume_path(tmp_path).exists()
    run(spec, out=tmp_path)
    assert results(tmp_path) == results(straight)


# ----------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("after", ["keep", "rewind_weights", "rewind_lr", "reinitialise"])
@pytest.mark.parametrize("criterion", ["global_magnitude", "random", "layer_gradient"])
def test_counts_are_exact_and_pruned_weights_stay_zero_after_every_update(run, watch, after, criterion):
    seen = []

    def masked_weights_are_zero(state):
        for name, mask in state.masks.items():
            assert not state.model.get_parameter(name)[~mask].any(), name
        seen.append({name: mask.clone() for name, mask in state.masks.items()})

    watch(before=masked_weights_are_zero, each=masked_weights_are_zero, after=masked_weights_are_zero)
    out, state = run(make_spec(network=RESNET, criterion=criterion, pruning={"after": after, "rewind_epoch": 1}))
    per_cycle = [seen[0]]
    for masks in seen:
        if not same(masks, per_cycle[-1]):
            per_cycle.append(masks)
    assert len(per_cycle) == CYCLES + 1
    sizes = {name: mask.numel() for name, mask in state.masks.items()}
    for cycle, (masks, row) in enumerate(zip(per_cycle, table(out, "cycles"), strict=True)):
        kept = {name: int(mask.sum()) for name, mask in masks.items()}
        if CRITERIA[criterion].scope == "layer":
            assert kept == {name: int(size * 0.5**cycle + 0.5) for name, size in sizes.items()}
        else:
            assert sum(kept.values()) == int(sum(sizes.values()) * 0.5**cycle + 0.5)
        assert float(row["density"]) == sum(kept.values()) / sum(sizes.values())
        assert float(row["sparsity"]) == 1 - float(row["density"])
        if cycle:
            assert all(bool((masks[name] <= per_cycle[cycle - 1][name]).all()) for name in masks)
    final = [state.model.get_parameter(name)[~mask] for name, mask in state.masks.items()]
    assert sum(part.numel() for part in final) > 0
    assert all(bool((part == 0).all()) for part in final)
    # training moved the survivors
    assert any(state.model.get_parameter(name)[mask].any() for name, mask in state.masks.items())


def test_global_magnitude_keeps_the_largest_weights(run, watch):
    ends, starts = [], []
    watch(
        before=lambda state: starts.append({n: m.clone() for n, m in state.masks.items()}),
        after=lambda state: ends.append(weights(state)),
    )
    run(make_spec(pruning={"cycles": 1}))
    names = list(starts[1])
    magnitudes = torch.cat([ends[0][name].abs().flatten() for name in names])
    kept = torch.cat([starts[1][name].flatten() for name in names])
    assert magnitudes[kept].min() >= magnitudes[~kept].max()


@pytest.mark.parametrize("include_norm", [False, True])
def test_normalisation_weights_are_pruned_only_where_asked(run, include_norm):
    _, state = run(make_spec(network=RESNET, pruning={"cycles": 1, "include_norm": include_norm}))
    assert ("bn.weight" in state.masks) is include_norm


# ------------------------------------------------------------------------------------------------- after the prune


@pytest.fixture
def lrs(monkeypatch):
    """The LR of every update that is made from here on."""
    used = []

    def step(*arguments, lr, **more):
        used.append(lr)
        sgd_step_(*arguments, lr=lr, **more)

    monkeypatch.setattr(updates, "sgd_step_", step)
    return used


@pytest.mark.parametrize(
    "profile",
    [
        {"kind": "cyclical"},
        {"kind": "warmup_step_decay", "warmup": 0.5, "milestones": [0.5, 0.7]},
        {"kind": "constant"},
    ],
    ids=lambda profile: profile["kind"],
)
@pytest.mark.parametrize(
    ("after", "first_epoch"), [("reinitialise", 0), ("rewind_lr", 2), ("rewind_weights", 2), ("keep", 0)]
)
def test_every_update_and_every_recorded_lr_is_the_schedules(run, lrs, profile, after, first_epoch):
    epochs, total = 3, 3 * STEPS
    rewind = {"rewind_epoch": first_epoch}
    spec = make_spec(profile=profile, training={"epochs": epochs}, pruning={"after": after} | rewind)
    schedule = spec.schedule.schedule()
    out, _ = run(spec)
    expected, recorded = [], []
    for cycle in range(CYCLES + 1):
        steps = range((first_epoch if cycle else 0) * STEPS, total)
        at = [schedule.lr(cycle, total - 1 if cycle and after == "keep" else step, total) for step in steps]
        expected += at
        epochs_here = range(steps.start // STEPS, epochs)
        recorded += [(str(cycle), str(e), at[(i + 1) * STEPS - 1]) for i, e in enumerate(epochs_here)]
    assert lrs == expected
    assert [(row["cycle"], row["epoch"], float(row["lr"])) for row in table(out, "epochs")] == recorded
    assert [int(row["steps"]) for row in table(out, "cost")] == [total] + [(epochs - first_epoch) * STEPS] * CYCLES
    assert [int(row["images"]) for row in table(out, "cost")] == [64 * int(r["steps"]) for r in table(out, "cost")]
    assert [float(row["max_lr"]) for row in table(out, "cycles")] == [schedule.policy.at(c) for c in range(3)]


def masked_equal(state, start, source):
    """Whether a cycle starts from `source`: pruned weights 0, all else, buffers included, to the bit."""
    for name, tensor in start.items():
        mask = state.masks.get(name)
        wanted = source[name] if mask is None else torch.where(mask, source[name], torch.zeros_like(source[name]))
        if not torch.equal(tensor, wanted):
            return False
    return True


@pytest.mark.parametrize("epoch", [0, 1])
def test_rewind_weights_goes_back_to_epoch_k_to_the_bit(run, watch, epoch):
    at_k, checked = [], []

    def before(state):
        if state.position["cycle"]:
            checked.append(masked_equal(state, weights(state), at_k[0]))
            assert state.position["epoch"] == epoch

    def each(state):
        if state.position == {"cycle": 0, "epoch": epoch, "step": 0}:
            at_k.append(weights(state))

    watch(before=before, each=each)
    run(make_spec(network=RESNET, pruning={"after": "rewind_weights", "rewind_epoch": epoch}))
    assert checked == [True] * CYCLES


@pytest.mark.parametrize("after", ["keep", "rewind_lr"])
def test_keep_and_rewind_lr_go_on_from_the_trained_weights(run, watch, after):
    ends, checked = [], []

    def before(state):
        if state.position["cycle"]:
            checked.append(masked_equal(state, weights(state), ends[-1]))
            assert not any(buffer.any() for buffer in state.buffers)

    watch(before=before, after=lambda state: ends.append(weights(state)))
    run(make_spec(network=RESNET, pruning={"after": after, "rewind_epoch": 1}))
    assert checked == [True] * CYCLES


def test_reinitialise_draws_new_weights_in_every_cycle(run, watch):
    starts, masks = [], []

    def before(state):
        starts.append(weights(state))
        masks.append({name: mask.clone() for name, mask in state.masks.items()})

    watch(before=before)
    run(make_spec(network=RESNET))
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        for name, mask in masks[later].items():
            drawn = starts[later][name][mask]
            # no surviving weight is the one that an earlier cycle started with
            assert not (drawn == starts[earlier][name][mask]).any()
            if drawn.numel() > 50:
                assert drawn.std() == pytest.approx(float(starts[0][name].std()), rel=0.5)
    assert all(bool((start["bn.running_mean"] == 0).all()) for start in starts)


def test_reinitialised_weights_are_paired_across_schedules(run, watch):
    starts = []
    watch(before=lambda state: starts.append(weights(state)))
    for profile in ("constant", "cosine"):
        run(make_spec(profile={"kind": profile}, criterion="random"))
    assert all(same(a, b) for a, b in zip(starts[:3], starts[3:], strict=True))


# ------------------------------------------------------------------------------------------------------ divergence


def assert_diverged_from(rows, first):
    assert [row["cycle"] for row in rows] == [str(cycle) for cycle in range(CYCLES + 1)]
    assert [row["status"] for row in rows] == ["trained"] * first + ["diverged"] * (CYCLES + 1 - first)
    for cycle, row in enumerate(rows[first:], first):
        assert (row["validation_accuracy"], row["test_accuracy"]) == ("0.1", "0.1")
        assert (row["validation_loss"], row["test_loss"]) == ("", "")
        assert float(row["density"]) == pytest.approx(0.5**cycle, abs=1e-3)
        assert float(row["sparsity"]) == 1 - float(row["density"])


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "resnet"])
@pytest.mark.parametrize("criterion", ["global_magnitude", "global_gradient", "layer_weight_times_change"])
@pytest.mark.parametrize("first", [0, 1])
def test_divergence_is_a_recorded_result(run, network, criterion, first):
    policy = {"kind": "table", "values": [*[0.05] * first, *[1e30] * (CYCLES + 1 - first)]}
    spec = make_spec(network=network, criterion=criterion, policy=policy, gradients={"images": 50, "at": [0.5, 1.0]})
    out, _ = run(spec)
    assert_diverged_from(table(out, "cycles"), first)
    assert [float(row["max_lr"]) for row in table(out, "cycles")] == policy["values"]
    # a lost network has no gradients at the end of its cycle
    ended = [str(cycle) for cycle in range(first)]
    assert list(dict.fromkeys(r["cycle"] for r in table(out, "gradients") if r["share"] == "1.0")) == ended
    assert list(dict.fromkeys(row["cycle"] for row in table(out, "gradient_histograms"))) == ended
    assert json.loads((out / "provenance.json").read_text())["precision"] == "fp32"
    assert not resume_path(out).exists()


@pytest.mark.parametrize("criterion", ["global_magnitude", "global_gradient"])
def test_divergence_in_the_very_last_update_is_seen(run, criterion):
    """The loss of the last update is that of the weights before it: finite, while the network is lost."""
    policy = {"kind": "table", "values": [0.05, 1e30, 0.05]}
    spec = make_spec(
        criterion=criterion, policy=policy, training={"epochs": 1, "batch_size": 192}, profile={"kind": "constant"}
    )
    out, _ = run(spec)
    assert_diverged_from(table(out, "cycles"), 1)


def test_a_diverged_chain_resumes_to_the_same_bytes(run, tmp_path):
    spec = make_spec(policy={"kind": "table", "values": [0.05, 1e30, 1e30]})
    straight, _ = run(spec)
    with pytest.raises(Killed):
        run(spec, out=tmp_path, resume=KilledAt(resume_path(tmp_path), spec.digest(), 8))
    run(spec, out=tmp_path)
    assert results(tmp_path) == results(straight)


# ------------------------------------------------------------------------------------------------ data, provenance


@pytest.mark.parametrize("criterion", ["global_gradient", "lamp"])
def test_the_test_split_selects_nothing(run, digits, criterion):
    order = torch.arange(len(digits.test)).roll(7)
    permuted = dataclasses.replace(digits, test=dataclasses.replace(digits.test, labels=digits.test.labels[order]))
    spec = make_spec(network=RESNET, criterion=criterion, gradients={"images": 64, "at": [1.0]})
    (out, state), (other, twin) = run(spec), run(spec, data=permuted)
    mine, its = results(out), results(other)
    assert mine.pop("cycles") != its.pop("cycles")
    assert mine == its
    assert same(weights(state), weights(twin))
    for a, b in zip(table(out, "cycles"), table(other, "cycles"), strict=True):
        assert {k for k in a if a[k] != b[k]} <= {"test_loss", "test_accuracy"}
        assert a["test_loss"] != b["test_loss"]


def test_accuracies_and_losses_are_those_of_the_final_network(run, digits):
    """Against a plain forward pass, image by image."""
    out, state = run(make_spec(network=RESNET, pruning={"cycles": 1}))
    row = table(out, "cycles")[-1]
    state.model.eval()
    for name, split in (("validation", digits.validation), ("test", digits.test)):
        losses, hits = [], 0
        for image, label in zip(split.images, split.labels, strict=True):
            x = (image.double() / 255 - digits.mean[0]) / digits.std[0]
            logits = state.model(x[None].float()).detach().double()[0]
            losses.append(float(torch.logsumexp(logits, 0) - logits[label]))
            hits += int(logits.argmax()) == int(label)
        assert float(row[f"{name}_accuracy"]) == hits / len(split)
        assert float(row[f"{name}_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    last = table(out, "epochs")[-1]
    assert (last["validation_loss"], last["validation_accuracy"]) == (
        row["validation_loss"],
        row["validation_accuracy"],
    )


def test_gradient_criteria_see_the_stated_images_plain(run, digits, monkeypatch):
    seen = []

    def spy(model, parameters, batches):
        batches = list(batches)
        seen.append(batches)
        return real(model, parameters, batches)

    real = job.mean_gradients
    monkeypatch.setattr(job, "mean_gradients", spy)
    run(make_spec(criterion="global_gradient", pruning={"score_images": 70}))
    assert len(seen) == CYCLES
    for batches in seen:
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        assert torch.equal(labels, digits.train.labels[:70])
        expected = (digits.train.images[:70].double() / 255 - digits.mean[0]) / digits.std[0]
        torch.testing.assert_close(images.double(), expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_measured_where_asked_on_the_stated_images(run, digits, monkeypatch):
    seen = []
    real = job.gradient_statistics

    def spy(model, parameters, masks, batches):
        batches = list(batches)
        seen.append((int(sum(len(y) for _, y in batches)), torch.cat([y for _, y in batches])))
        return real(model, parameters, masks, batches)

    monkeypatch.setattr(job, "gradient_statistics", spy)
    out, _ = run(make_spec(gradients={"images": 90, "at": [0.34, 0.5, 1.0]}))
    assert [count for count, _ in seen] == [90] * 9
    assert all(torch.equal(labels, digits.train.labels[:90]) for _, labels in seen)
    rows = [row for row in table(out, "gradients") if row["weights"] == "surviving"]
    where = [(row["cycle"], row["share"]) for row in rows]
    assert where == [(str(cycle), share) for cycle in range(3) for share in ("0.34", "0.5", "1.0")]
    by_cycle = {row["cycle"]: row for row in table(out, "cycles")}
    assert all(row["sparsity"] == by_cycle[row["cycle"]]["sparsity"] for row in rows)
    ends = {row["cycle"]: row for row in table(out, "gradient_histograms")}
    assert list(ends) == ["0", "1", "2"]
    for row in rows:
        if row["share"] == "1.0":
            counts = [int(h["count"]) for h in table(out, "gradient_histograms") if h["cycle"] == row["cycle"]]
            assert sum(counts) == int(row["n"])


def test_measuring_gradients_changes_no_other_table(run):
    plain, _ = run(make_spec(network=RESNET))
    measured, _ = run(make_spec(network=RESNET, gradients={"images": 100, "at": [0.2, 0.5, 1.0]}))
    for name in ("epochs", "cycles"):
        assert (plain / f"{name}.csv").read_bytes() == (measured / f"{name}.csv").read_bytes()
    assert table(plain, "gradients") == []


@pytest.mark.parametrize(
    ("flags", "wish", "precision"),
    [
        ({"avx512_bf16"}, "auto", "bf16"),
        ({"amx_bf16"}, "auto", "bf16"),
        ({"avx512f"}, "auto", "fp32"),
        (set(), "bf16", "bf16"),
        ({"avx512_bf16"}, "fp32", "fp32"),
    ],
)
def test_precision_is_resolved_used_and_recorded(run, monkeypatch, flags, wish, precision):
    contexts = []
    real = job.autocast

    def spy(*arguments):
        contexts.append(arguments[0])
        return real(*arguments)

    monkeypatch.setattr("prunebench.training.device.cpu_flags", lambda: flags)
    monkeypatch.setattr(job, "autocast", spy)
    out, _ = run(make_spec(training={"precision": wish, "epochs": 1}, pruning={"cycles": 1}))
    assert json.loads((out / "provenance.json").read_text())["precision"] == precision
    assert set(contexts) == {precision}


def test_bf16_trains_otherwise_than_fp32(run):
    (fp32, _), (bf16, _) = (run(make_spec(training={"precision": name})) for name in ("fp32", "bf16"))
    assert table(fp32, "epochs")[0]["train_loss"] != table(bf16, "epochs")[0]["train_loss"]


@pytest.mark.parametrize("threads", [1, 2])
def test_provenance_says_what_a_result_depends_on(run, digits, threads):
    torch.set_num_threads(threads)
    spec = make_spec(pruning={"cycles": 1}, training={"epochs": 1})
    out, _ = run(spec)
    record = json.loads((out / "provenance.json").read_text())
    assert record["threads"] == threads
    assert record["data_sha256"] == digits.checksum
    assert record["torch"] == torch.__version__
    assert len(record["source_digest"]) == 64
    stored = ChainSpec.model_validate(json.loads((out / "spec.json").read_text()))
    assert stored.digest() == spec.digest()


def test_cost_counts_dense_and_sparse_flops(run):
    """Against the sizes written down: an MLP of 64 inputs, 13 hidden units, 10 classes, each layer halved."""
    out, _ = run(make_spec(criterion="layer_magnitude"))
    images = EPOCHS * STEPS * 64
    for row, alive in zip(table(out, "cost"), [832 + 130, 416 + 65, 208 + 33], strict=True):
        assert int(row["images"]) == images
        assert float(row["flops"]) == 3 * images * 2 * (832 + 130)
        assert float(row["flops_sparse"]) == pytest.approx(3 * images * 2 * alive, rel=1e-12)
        assert float(row["seconds"]) > 0
        assert float(row["peak_memory_mb"]) > 0
