"""The run language: a bad spec is one line, a digest changes with what matters, files and needs are declared."""

import pytest

from prunebench.errors import InputError
from prunebench.parsing import parse
from prunebench.runs.spec import Choice, RunSpec


def arm(name, *phases, **keys):
    return {"name": name, "phases": list(phases)} | keys


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: [], ["'arms'", "at least 1"]),
        (lambda w: [arm("a")], ["'arms.0.phases'", "at least 1"]),
        (lambda w: [arm("a", w.phase()), arm("a", w.phase())], ["the same arm twice: a"]),
        (
            lambda w: [arm("a", w.phase(), follows=["b"]), arm("b", w.phase())],
            ["arm a follows 'b'", "no earlier arm"],
        ),
        (lambda w: [arm("a", w.phase(), follows=["a"])], ["arm a follows 'a'"]),
        (lambda w: [arm("a", w.phase(), w.phase(rewind=2))], ["arm a rewinds to epoch 2", "does not keep"]),
        (lambda w: [arm("a", w.phase(prune=[w.prune(0.5, "lampp")]))], ["arms.0.phases.0.prune.0", "mean 'lamp'?"]),
        (lambda w: [arm("a", w.phase(prune=[w.prune(1.0)]))], ["sparsity", "less than 1"]),
        (lambda w: [arm("a", w.phase(prune=[{"kind": "n_of_m", "n": 4, "m": 4}]))], ["n is 4", "below m, 4"]),
        (lambda w: [arm("a", w.phase(prune=[{"kind": "of"}]))], ["prune.0", "'of'"]),
        (lambda w: [arm("a", w.phase(profile={"kind": "cosin"}))], ["profile", "mean 'cosine'?"]),
        (lambda w: [arm("a", w.phase(update={"kind": "sdg"}))], ["update", "mean 'sgd'?"]),
        (lambda w: [arm("a", w.phase(update={"kind": "sgd", "momentum": 1.5}))], ["momentum is 1.5"]),
        (lambda w: [arm("a", w.phase(probes=[{"kind": "shed"}]))], ["probe", "'shed'"]),
        (lambda w: [arm("a", w.phase(first=1))], ["unknown key", "mean 'first_epoch'?"]),
        (lambda w: [arm("a", w.phase(max_lr=-1))], ["max_lr", "greater than or equal to 0"]),
        (lambda w: [arm("a", w.phase(epochs=-1))], ["epochs", "greater than or equal to 0"]),
        (lambda w: [arm("a", w.phase(rewind=-1))], ["rewind", "greater than or equal to 0"]),
        (lambda w: [arm("a", w.phase(keep=[0], rewind=0, reinitialise=1))], ["rewinds or re-initialises", "not both"]),
        (lambda w: [arm("a", w.phase(carry=True))], ["phase 0", "state of another update"]),
        (
            lambda w: [arm("a", w.phase(keep=[0]), w.phase(carry=True, rewind=0))],
            ["state cannot be carried over"],
        ),
        (
            lambda w: [arm("a", w.phase(update={"kind": "adamw"}), w.phase(carry=True))],
            ["phase 1", "state of another update"],
        ),
        (
            lambda w: [arm("a", w.phase(), w.phase(prune=[w.prune(0.5, "global_weight_change")]))],
            ["arm a: phase 1", "which nothing keeps"],
        ),
        (lambda w: [arm("a", w.phase(), start={"kind": "trained"})], ["arms.0.start", "run"]),
        (lambda w: [arm("a", w.phase(), start={"kind": "inti"})], ["start", "'inti'"]),
    ],
)
def test_a_spec_that_cannot_be_run_is_one_line(workshop, make, words):
    with pytest.raises(InputError) as caught:
        parse(RunSpec, workshop.spec([workshop.phase()]).content() | {"arms": make(workshop)}, "test")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


@pytest.mark.parametrize("folder", ["../out", "a/../b", "/root", ".hidden", "a//b", "a b", ""])
def test_a_folder_that_leaves_the_runs_is_refused(workshop, folder):
    with pytest.raises(InputError, match="folder"):
        parse(RunSpec, workshop.spec([workshop.phase()]).content() | {"folder": folder}, "test")


def test_defaults_are_no_part_of_a_digest_and_everything_else_is(workshop):
    content = workshop.spec([workshop.phase()]).content()
    digest = RunSpec.model_validate(content).digest()
    written_out = RunSpec.model_validate(content | {"include_norm": False, "hands_on": "nothing", "axes": {}})
    assert written_out.digest() == digest
    for key, value in {"seed": 1, "batch_size": 32, "include_norm": True, "evaluate_train": True}.items():
        assert RunSpec.model_validate(content | {key: value}).digest() != digest, key


def test_a_job_declares_what_it_writes_and_what_it_reads(workshop):
    other = workshop.spec([workshop.phase(keep=[2])], hands_on="kept")
    like = {"kind": "matched", "criterion": "random", "like": workshop.trained(other) | {"run": "test/like"}}
    phases = [workshop.phase(probes=[{"kind": "gradients", "images": 9}]), workshop.phase(prune=[like])]
    spec = workshop.spec(
        {"start": workshop.trained(other), "phases": phases},
        [workshop.phase(probes=[{"kind": "layers"}])],
        {"name": "c", "start": {"kind": "best", "run": "test/best", "specs": []}, "phases": [workshop.phase()]},
        hands_on="masks",
    )
    assert spec.tables == ("epochs", "phases", "gradients", "gradient_histograms", "layers")
    assert spec.files == (*(f"{t}.csv" for t in spec.tables), "spec.json", "provenance.json", "networks.safetensors")
    assert spec.needs == tuple(f"{run}/networks.safetensors" for run in (other.folder, "test/like", "test/best"))
    assert spec.data == "digits"
    choice = Choice(folder="choice", among=["a", "b"], specs=[], seed=0, task="digits")
    assert choice.files == ("selection.csv", "spec.json", "provenance.json", "networks.safetensors")
    assert len(choice.needs) == 2 * 3
    assert choice.data is None


def test_a_phase_s_target_is_that_of_its_last_prune_to_a_sparsity(workshop):
    prunes = [[], [workshop.prune(0.5)], [workshop.prune(0.3), workshop.prune(0.6)]]
    prunes.append([workshop.prune(0.7), {"kind": "shed", "below": 0.1, "at_most": 0.9}])
    spec = workshop.spec([workshop.phase(prune=prune) for prune in prunes])
    assert [phase.target for phase in spec.arms[0].phases] == [None, 0.5, 0.6, 0.7]
