"""Killed jobs: wherever they were, they end with the same bytes; a file that is not theirs is named and ignored."""

import dataclasses
import itertools
import json
import signal

import pytest
import safetensors.torch
import torch

from prunebench.data.prepare import prepare
from prunebench.errors import InputError
from prunebench.runs import checkpoint
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.engine import train
from prunebench.runs.run import resume_path, run_job

UPDATES = {
    "sgd": {"kind": "sgd"},
    "momentum": {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"kind": "nesterov"},
    "adamw": {"kind": "adamw"},
    "grda": {"kind": "grda", "c": 0.05, "mu": 0.6},
    "proximal_l1": {"kind": "proximal_l1", "l1": 0.01, "momentum": 0.9},
    "torch": {"kind": "torch", "optimizer": "torch.optim:Adam", "keywords": {"betas": [0.8, 0.99]}},
}


def chain(workshop, update=None, **keys):
    """A dense phase and two prunes, each trained again."""
    made = {"update": update} if update else {}
    prunes = [[], [workshop.prune(0.5)], [workshop.prune(0.75)]]
    return [
        workshop.phase(prune=prune, keep=[0, 1], axes={"cycle": n}, **made, **keys) for n, prune in enumerate(prunes)
    ]


# --- Killed and resumed


@pytest.mark.parametrize("update", UPDATES)
def test_a_chain_under_any_update_killed_before_every_update_ends_with_the_same_bytes(workshop, update):
    spec = workshop.spec(chain(workshop, UPDATES[update]), hands_on="kept")
    killed, deaths = workshop.killed_often(spec)
    assert deaths > 15
    assert workshop.results(killed) == workshop.results(workshop.run(spec))


def kinds(workshop):
    prune, phase = workshop.prune, workshop.phase
    ramp = {"share": 0.8, "every": 2}
    probes = [{"kind": "shedding", "removable_images": 32}, {"kind": "histograms"}, {"kind": "layers"}]
    return {
        "rewound weights": [
            [phase(keep=[1]), phase(prune=[prune()], rewind=1, epochs=1, first_epoch=1, profile_epochs=2)]
        ],
        "drawn anew": [[phase(), phase(prune=[prune()], reinitialise=1)]],
        "a carried state": [
            [phase(epochs=1, profile_epochs=2), phase(epochs=1, profile_epochs=2, first_epoch=1, carry=True)]
        ],
        "a ramp": [[phase(prune=[prune(0.8, ramp=ramp)])]],
        "a gradient criterion": [[phase(), phase(prune=[prune(criterion="global_gradient")])]],
        "weights of an epoch before": [
            [phase(keep_previous=True), phase(prune=[prune(criterion="global_weight_change")], keep_previous=True)]
        ],
        "patterns": [
            [phase(prune=[{"kind": "n_of_m", "n": 2, "m": 4}]), phase(prune=[{"kind": "n_of_m", "n": 1, "m": 4}])]
        ],
        "a lost arm": [
            [phase(), phase(max_lr=1e30), phase(prune=[prune()])],
            {"name": "second", "phases": [phase(prune=[prune()])], "start": {"kind": "init", "draw": "second"}},
        ],
        "gradients measured": [[phase(probes=[{"kind": "gradients", "images": 64}])]],
        "arms and a control": [
            [phase(prune=[prune()], probes=probes)],
            {"name": "control", "phases": [phase(probes=probes)], "follows": ["arm0"]},
        ],
    }


@pytest.mark.parametrize(
    "kind",
    [
        *("rewound weights", "drawn anew", "a carried state", "a ramp", "a gradient criterion"),
        *("weights of an epoch before", "patterns", "a lost arm", "gradients measured", "arms and a control"),
    ],
)
def test_any_kind_of_phase_killed_before_every_update_ends_with_the_same_bytes(workshop, kind):
    network = workshop.resnet if kind == "drawn anew" else workshop.mlp
    if kind == "patterns":
        network = {"kind": "mlp", "depth": 1, "width": 0.0625}
    spec = workshop.spec(*kinds(workshop)[kind], network=network, hands_on="masks")
    killed, deaths = workshop.killed_often(spec, every=2)
    assert deaths > 2
    assert workshop.results(killed) == workshop.results(workshop.run(spec))


def test_saving_changes_no_result_and_a_done_job_leaves_no_resume_file(workshop):
    spec = workshop.spec(chain(workshop))
    one, other = workshop.run(spec), workshop.run(spec, workshop.runs / "again")
    assert workshop.results(one) == workshop.results(other)
    assert not list(workshop.runs.rglob(".resume*"))


def without_values(content):
    """A sound safetensors file of the right spec that lacks what the job needs."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    spec = json.loads(header["__metadata__"]["about"])["spec"]
    about = {"about": json.dumps({"spec": spec})}
    return safetensors.torch.save({"loss_sum": torch.zeros(())}, about)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "huge header": lambda content: b"\xff" * 200,
    "changed header": lambda content: content[:8] + b"\xff" * 64 + content[72:],
    "text": lambda content: b"no tensors",
    "a bit of a weight": lambda content: flipped(content, len(content) - 3),
    "a bit of a number": lambda content: flipped(content, content.index(b"validation_accuracy") + 27),
    "a bit of the spec": lambda content: flipped(content, content.index(b'"spec') + 12),
    "a bit of the checksum": lambda content: flipped(content, content.index(b'"sha256') + 16),
    "no values": without_values,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_resume_file_is_named_and_ignored(workshop, capsys, damage):
    spec = workshop.spec(chain(workshop))
    out = workshop.runs / "killed"
    assert workshop.run(spec, out, kill_at=8) is None
    path = resume_path(out)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    capsys.readouterr()
    assert workshop.results(workshop.run(spec, out)) == workshop.results(workshop.run(spec))
    said = " ".join(capsys.readouterr().out.split())
    assert f"{path} cannot be read" in said
    assert "starting from the beginning" in said
    assert not path.exists()


def test_a_resume_file_of_another_spec_is_named_and_ignored(workshop, capsys):
    spec, other = workshop.spec(chain(workshop)), workshop.spec(chain(workshop), seed=1)
    out = workshop.runs / "killed"
    assert workshop.run(other, out, kill_at=8) is None
    assert workshop.results(workshop.run(spec, out)) == workshop.results(workshop.run(spec))
    assert f"{resume_path(out)} belongs to another spec" in capsys.readouterr().out


SIGNALS = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}
"""75, EX_TEMPFAIL, means that the same command goes on."""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_job_told_to_stop_saves_at_once_and_exits_with_a_code_that_says_so(workshop, number):
    spec, out = workshop.spec(chain(workshop)), workshop.runs / "stopped"
    resume = ResumeFile(resume_path(out), spec.digest(), 1e9)

    def stop(line):
        if "phase 1 epoch 0" in line:
            signal.raise_signal(number)

    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        resume.stop_on_signals()
        with pytest.raises(SystemExit) as stopped:
            train(dataclasses.replace(workshop.job(spec, out), resume=resume, report=stop), out)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert stopped.value.code == SIGNALS[number]
    assert [path.name for path in out.iterdir()] == [resume_path(out).name]
    lines = []
    train(dataclasses.replace(workshop.job(spec, out), report=lines.append), out)
    assert lines[0].startswith("arm0 phase 1 epoch 1:")  # no epoch is trained twice
    assert workshop.results(out) == workshop.results(workshop.run(spec))


class Clock:
    """A clock that saves move, and nothing else."""

    def __init__(self, monkeypatch, save_takes):
        self.now = 1000.0
        monkeypatch.setattr(checkpoint.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(checkpoint, "save_tensors", lambda *_: self.passes(save_takes))

    def passes(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("save_takes", [0.0, 0.003, 0.15, 0.3, 4.0, 60.0])
def test_saves_take_a_hundredth_of_the_time_at_most_and_come_every_20_seconds_where_they_are_quick(
    monkeypatch, tmp_path, save_takes
):
    clock, resume = Clock(monkeypatch, save_takes), ResumeFile(tmp_path / "file", "spec")
    repeated, saved, last = [], 0, clock.now  # what a kill right before each save would repeat
    begin, step = clock.now, 0.5
    while clock.now < begin + 100_000:
        if resume.due():
            repeated.append(clock.now - last)
            resume.save({}, {})
            saved, last = saved + 1, clock.now
        clock.passes(step)
    assert saved * save_takes <= 0.011 * (clock.now - begin)
    assert max(repeated) <= max(20, 100 * save_takes) + step
    assert min(repeated) >= 20


@pytest.mark.parametrize("every", [0.0, 7.0])
def test_a_given_interval_is_kept_whatever_saves_take(monkeypatch, tmp_path, every):
    clock, resume = Clock(monkeypatch, 3.0), ResumeFile(tmp_path / "file", "spec", every)
    for _ in range(3):
        resume.save({}, {})
        clock.passes(max(0.0, every - 0.1))
        assert resume.due() == (every == 0)
        clock.passes(0.2)
        assert resume.due()


def test_copies_in_memory_take_a_hundredth_of_the_time_at_most(monkeypatch, tmp_path):
    clock, resume, copies = Clock(monkeypatch, 0.0), ResumeFile(tmp_path / "file", "spec"), []

    def copy():
        clock.passes(0.02)
        copies.append(clock.now)
        return {}, {}

    begin = clock.now
    while clock.now < begin + 100:
        resume.keep(copy)
        clock.passes(0.1)
    assert len(copies) * 0.02 <= 0.0105 * (clock.now - begin)
    assert max(after - before for before, after in itertools.pairwise(copies)) < 2.2


# --- What a resumed job must share with the killed one beside its spec


@pytest.fixture
def command(workshop, digits_file, monkeypatch):
    """Runs a job as the command line does; with `killed_after`, up to that many saves. Puts back what it changes."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def go(spec, out, data=digits_file, killed_after=None):
        saves, save = 0, ResumeFile.save

        def counted(self, tensors, values):
            nonlocal saves
            save(self, tensors, values)
            saves += 1
            if killed_after is not None and saves > killed_after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ResumeFile, "save", counted)
            run_job(spec, train, out, workshop.runs, data, save_every=0)
        return out

    yield go
    torch.set_flush_denormal(False)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_the_command_s_job_goes_on_from_its_own_file(workshop, command, capsys):
    spec, out = workshop.spec(chain(workshop)), workshop.runs / "killed"
    straight = command(spec, workshop.runs / "straight")
    with pytest.raises(KeyboardInterrupt):
        command(spec, out, killed_after=8)
    capsys.readouterr()
    command(spec, out)
    assert "going on in arm0 at Position(arm=0, phase=1, epoch=0, step=2)" in capsys.readouterr().out
    assert workshop.results(out) == workshop.results(straight)


def test_a_resume_file_of_other_data_is_not_used(workshop, command, tmp_path, capsys):
    """The spec names its data set, not its content: prepared anew under that name, it must not meet the old weights."""
    other = tmp_path / "other.safetensors"
    counts = {"train": 192, "validation": 64, "test": 64}
    prepare("digits", None, tmp_path, size=None, split_seed=1, out=other, manifest=tmp_path / "other.json", **counts)
    spec, out = workshop.spec(chain(workshop)), workshop.runs / "killed"
    straight = command(spec, workshop.runs / "straight", other)
    with pytest.raises(KeyboardInterrupt):
        command(spec, out, killed_after=8)
    command(spec, out, other)
    assert "belongs to another spec, data" in capsys.readouterr().out
    assert workshop.results(out) == workshop.results(straight)


def test_a_resume_file_that_began_with_another_network_is_not_used(workshop, command, digits, capsys):
    """What a job starts from was trained anew: its file has other bytes, its spec is the same."""
    dense = workshop.spec([workshop.phase(keep=[2])], hands_on="kept")
    workshop.run(dense)
    spec = workshop.spec({"start": workshop.trained(dense), "phases": chain(workshop)[1:]})
    out = workshop.runs / "killed"
    with pytest.raises(KeyboardInterrupt):
        command(spec, out, killed_after=4)
    turned = dataclasses.replace(digits.train, labels=digits.train.labels.flip(0))
    workshop.run(dense, data=dataclasses.replace(digits, train=turned))
    straight = command(spec, workshop.runs / "straight")
    command(spec, out)
    assert "belongs to another spec" in capsys.readouterr().out
    assert workshop.results(out) == workshop.results(straight)


def test_a_job_without_its_data_or_its_start_is_one_line(workshop, command):
    with pytest.raises(InputError, match="needs the prepared data set 'digits'"):
        command(workshop.spec(chain(workshop)), workshop.runs / "out", data=None)
    dense = workshop.spec([workshop.phase(keep=[2])], hands_on="kept")
    spec = workshop.spec({"start": workshop.trained(dense), "phases": chain(workshop)[1:]})
    with pytest.raises(InputError, match=f"{dense.folder}/networks.safetensors: No such file.*comes first"):
        command(spec, workshop.runs / "out")
