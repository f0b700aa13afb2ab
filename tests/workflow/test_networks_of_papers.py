"""Every network on every data set of the presets that hold the papers' own: trained, pruned, killed, resumed.

Nothing is listed here twice: networks, data sets, prunes and updates are those that the presets resolve to. Cut are
images, epochs and batches.
"""

import csv
import json
from pathlib import Path

import pytest
import yaml

from prunebench.data.prepare import prepare
from prunebench.data.sources import source_of
from prunebench.runs.checkpoint import ResumeFile
from prunebench.runs.cpu import BF16, cpu_flags
from prunebench.runs.run import resume_path, run_job
from prunebench.runs.spec import Best, File, Matched, RunSpec, Trained
from prunebench.suite.paper import resolve
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

CONFIG = Path(__file__).parents[2] / "config"
PRESETS = ("paper", "workstation", "cifar")
IMAGES = {"train": 6, "validation": 2, "test": 2}
BATCH = 2
REAL = {"cifar10": "cifar-10", "imagenet200": "tiny-imagenet"}
"""Data sets of which real images may be at hand, by the name under which they are packed."""

LONG = ("torchvision_vgg19_bn", "torchvision_resnet50")
"""Kinds of networks whose tests take a minute of two cores."""


def tasks():
    """One task per network and data set, from the first preset that has it; on real images the first per data set."""
    found, real = {}, {}
    for name in PRESETS:
        content = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())
        for task, entry in content["tasks"].items():
            source = content["datasets"][entry["dataset"]]["source"]
            found.setdefault((json.dumps(entry["network"], sort_keys=True), source), (name, task))
            if source in REAL:
                real.setdefault(source, (name, task))
    return [param(*where, False) for where in found.values()] + [param(*where, True) for where in real.values()]


def param(name, task, real):
    """A test's parameters, with its name and its mark."""
    network = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())["tasks"][task]["network"]
    marks = [pytest.mark.long] if network["kind"] in LONG else []
    return pytest.param(name, task, real, id="-".join((name, task, *["real images"] * real)), marks=marks)


@pytest.fixture(scope="module")
def plans():
    """The plans of the presets, each made once."""
    made = {}

    def plan(name):
        if name not in made:
            made[name] = make_plan(load_preset(CONFIG / f"{name}.yaml"))
        return made[name]

    return plan


@pytest.fixture(scope="module")
def prepared(miniatures, tmp_path_factory):
    """A few images of a data set, prepared from its publisher's layout: a miniature, or the real images."""
    files = {}

    def of(source, size, unpacked):
        if (source, unpacked) not in files:
            folder = tmp_path_factory.mktemp(source)
            maker = next(name for name in miniatures.MAKERS if name.split(" ")[0] == source)
            raw = unpacked(REAL[source]) if unpacked else miniatures.make(maker, folder).raw
            out = folder / f"{source}.safetensors"
            split = {"size": size, "split_seed": 0, "out": out, "manifest": out.with_suffix(".json"), **IMAGES}
            prepare(source_of(source, checksum=None), raw, folder / "cache", **split)
            files[source, unpacked] = out
        return files[source, unpacked]

    return of


# --- A job, cut down


def jobs_of(plan, task):
    """The task's job that prunes, or makes weights zero, with the jobs before it that it starts from."""
    stages = [(stage, job) for stage in plan.stages.values() for job in stage.jobs if isinstance(job, RunSpec)]
    # The oracle's jobs wait for selections among others.
    mine = [pair for pair in stages if pair[1].task == task and not any(type(s) is Best for s in pair[1].starts())]
    last = next((pair for pair in mine if any(pruned(arm) for arm in pair[1].arms)), mine[0])
    needed = {need.rpartition("/")[0] for need in last[1].needs}
    return [*(pair for pair in mine if pair[1].folder in needed), last]


def pruned(arm):
    """Whether an arm prunes and trains."""
    return any(phase.prune for phase in arm.phases) and arm.epochs


def cut_phase(phase):
    """A phase of one epoch that looks at few images."""
    prune = [
        action.model_copy(
            update={"score_images": BATCH if getattr(action, "score_images", None) else None}
            if hasattr(action, "score_images")
            else {}
        )
        for action in phase.prune
    ]
    how = {"epochs": min(phase.epochs, 1), "first_epoch": 0, "profile_epochs": None, "order": 0, "prune": prune}
    how |= {"keep": [1] if phase.keep else [], "recalibrate": min(phase.recalibrate, IMAGES["train"])}
    probes = [probe for probe in phase.probes if not getattr(probe, "images", 0)]
    return phase.model_copy(update=how | {"probes": [p for p in probes if not getattr(p, "removable_images", 0)]})


def one_arm(job):
    """The arm of a job that is trained here: one that prunes, or else whose update makes weights zero."""
    zeros = [arm for arm in job.arms if arm.phases[0].update.makes_zeros]
    return next((arm for arm in job.arms if pruned(arm)), (zeros or job.arms)[0])


def sources_of(arm):
    """The networks of other jobs that an arm reads."""
    read = [arm.start, *(action.like for phase in arm.phases for action in phase.prune if isinstance(action, Matched))]
    return [start for start in read if isinstance(start, Trained)]


def cut(job, arms, before, weights):
    """The job with these arms, two phases each, starting from the cut jobs before."""

    def start(of):
        if isinstance(of, Trained):
            return of.model_copy(update={"spec": before[of.run].digest(), "epoch": 1})
        return of.model_copy(update={"path": str(weights), "sha256": None}) if isinstance(of, File) else of

    kept = []
    for arm in arms:
        phases = [cut_phase(phase) for phase in arm.phases[:2]]
        for phase in phases:
            for place, action in enumerate(phase.prune):
                if isinstance(action, Matched):
                    phase.prune[place] = action.model_copy(update={"like": start(action.like)})
        kept.append(arm.model_copy(update={"phases": phases, "start": start(arm.start), "follows": []}))
    precision = job.precision if BF16 & cpu_flags() else "fp32"
    how = {"batch_size": BATCH, "evaluate_train": False, "precision": precision}
    return job.model_copy(update={"arms": kept, **how})


class Killed(BaseException):
    """The process dies here: nothing is tidied up."""


def die_after_a_save(monkeypatch):
    """The job saves before its second update and dies before its third."""
    asked = 0

    def due(self):
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Killed
        return asked == 2

    monkeypatch.setattr(ResumeFile, "due", due)


@pytest.mark.parametrize(("name", "task", "real"), tasks())
def test_a_network_of_the_papers_trains_is_pruned_dies_goes_on_and_writes_its_tables(
    plans, prepared, tmp_path, monkeypatch, capsys, request, name, task, real
):
    plan = plans(name)
    entry = plan.preset.tasks[task]
    dataset = plan.preset.datasets[entry.dataset]
    content = yaml.safe_load((CONFIG / f"{name}.yaml").read_text())
    unpacked = request.getfixturevalue("unpacked") if real else None  # skips where there are none
    data = prepared(content["datasets"][entry.dataset]["source"], dataset.size, unpacked)
    before, jobs, weights = {}, jobs_of(plan, task), tmp_path / "weights.pth"
    if entry.weights:
        save_initial_weights(jobs[-1][1], dataset, weights)
    last = one_arm(jobs[-1][1])
    read = {start.arm for start in sources_of(last)}
    for stage, whole in jobs:
        arms = [last] if whole is jobs[-1][1] else [arm for arm in whole.arms if arm.name in read]
        job = cut(whole, arms, before, weights)
        before[job.folder] = job
        out = tmp_path / "runs" / job.folder
        run = resolve(stage.run, "prunebench")
        if whole is jobs[-1][1]:
            with monkeypatch.context() as dying:
                die_after_a_save(dying)
                with pytest.raises(Killed):
                    run_job(job, run, out, tmp_path / "runs", data)
            assert resume_path(out).exists()
            assert not (out / "provenance.json").exists()
            capsys.readouterr()
        run_job(job, run, out, tmp_path / "runs", data)
        assert "going on in" in capsys.readouterr().out or whole is not jobs[-1][1]
        assert {path.name for path in out.iterdir()} == {*job.files, "run.sha256"}
        phases = list(csv.DictReader((out / "phases.csv").open()))
        assert [row["status"] for row in phases] == ["trained"] * sum(len(arm.phases) for arm in job.arms)
        assert any(float(row["sparsity"]) > 0 for row in phases) or not any(p.prune for a in job.arms for p in a.phases)


def save_initial_weights(job, dataset, path):
    """A file as torchvision's are: the state_dict of the network."""
    import torch

    from prunebench.models import build

    source = dataset.source
    model = build(job.network, classes=source.classes, in_channels=source.channels, image_size=dataset.side, seed=0)
    torch.save(model.state_dict(), path)
