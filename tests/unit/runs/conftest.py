"""Tiny jobs: networks of some hundreds of weights on 192 digits, three updates per epoch; and jobs that are killed."""

import csv
import dataclasses
import itertools

import pytest

VOLATILE = {"seconds", "peak_memory_mb"}
MLP = {"kind": "mlp", "depth": 1, "width": 0.05}
RESNET = {"kind": "resnet", "depth": 8, "width": 0.25}


class Killed(Exception):
    """Stands for the end of the process right after a save."""


def phase(**keys):
    """A phase of two epochs of SGD, but for what is given."""
    sgd = {"kind": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    return {"epochs": 2, "profile": {"kind": "cosine"}, "max_lr": 0.1, "update": sgd} | keys


def prune(sparsity=0.5, criterion="global_magnitude", **keys):
    return {"kind": "sparsity", "criterion": criterion, "sparsity": sparsity, "score_images": 64} | keys


@dataclasses.dataclass
class Moment:
    """An arm right before an update, or at a phase's end."""

    arm: str
    phase: int
    done: int
    weights: dict
    masks: dict
    state: dict

    @property
    def prunable(self):
        return {name: self.weights[name] for name in self.masks}

    @property
    def size(self):
        return sum(mask.numel() for mask in self.masks.values())

    @property
    def alive(self):
        return sum(int(mask.sum()) for mask in self.masks.values())


class Seen:
    """What a job was, update by update, and the tables that it left."""

    def __init__(self):
        self.moments, self.ends, self.lrs, self.out = [], [], [], None

    def at(self, arm="arm0", phase=0, done=0):
        return next(m for m in self.moments if (m.arm, m.phase, m.done) == (arm, phase, done))

    def of(self, arm="arm0", phase=None):
        return [m for m in self.moments if m.arm == arm and phase in (None, m.phase)]

    def end(self, arm="arm0", phase=0):
        return next(m for m in self.ends if (m.arm, m.phase) == (arm, phase))

    def lr(self, arm="arm0", phase=None):
        pairs = zip(self.moments, self.lrs, strict=True)
        return [lr for m, lr in pairs if m.arm == arm and phase in (None, m.phase)]

    def rows(self, table, **where):
        return [row for row in Workshop.rows(self.out, table) if all(row[k] == str(v) for k, v in where.items())]

    def assert_masks_hold(self):
        """Pruned weights are zero before every update and at every end, and no arm's pruned weight comes back."""
        for moment in (*self.moments, *self.ends):
            for name, mask in moment.masks.items():
                assert not moment.weights[name][~mask].any(), (moment.arm, moment.phase, moment.done, name)
        for earlier, later in itertools.pairwise(self.moments):
            if earlier.arm == later.arm:
                assert all(bool((later.masks[name] <= mask).all()) for name, mask in earlier.masks.items())


def same(a, b):
    """Whether two mappings hold the same tensors, to the bit."""
    import torch

    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Workshop:
    """Runs jobs below one folder, kills them, and reads what they leave."""

    phase, prune, same = staticmethod(phase), staticmethod(prune), staticmethod(same)
    mlp, resnet, killed = MLP, RESNET, Killed

    def __init__(self, data, runs, monkeypatch):
        self.data, self.runs, self.monkeypatch = data, runs, monkeypatch
        self.count = 0

    def spec(self, *arms, network=MLP, **keys):
        """A job's spec; an arm is a list of phases, or a mapping."""
        from prunebench.runs.spec import RunSpec

        self.count += 1
        arms = [arm if isinstance(arm, dict) else {"phases": arm} for arm in arms]
        return RunSpec.model_validate(
            {
                "folder": f"test/run-{self.count}",
                "task": "digits",
                "dataset": "digits",
                "network": network,
                "batch_size": 64,
                "precision": "fp32",
                "augmentation": {"pad": 1, "flip": True},
                "seed": 0,
                "arms": [{"name": f"arm{i}"} | arm for i, arm in enumerate(arms)],
            }
            | keys
        )

    def job(self, spec, out=None, kill_at=None, data=None):
        """The job; with `kill_at`, one that is killed after it has saved before that update (from 0, in this try)."""
        import torch

        from prunebench.runs.checkpoint import ResumeFile
        from prunebench.runs.job import Job
        from prunebench.runs.run import resume_path

        class File(ResumeFile):
            left = -1 if kill_at is None else kill_at

            def due(self):
                self.left -= 1
                return kill_at is not None and self.left < 0

            def save(self, tensors, values):
                super().save(tensors, values)
                raise Killed

        resume = File(resume_path(out or self.runs / spec.folder), spec.digest(), 1e9)
        return Job(spec, data or self.data, torch.device("cpu"), self.runs, resume, lambda line: None)

    def run(self, spec, out=None, kill_at=None, data=None):
        """Trains; gives the folder, or None where the job was killed."""
        from prunebench.runs.engine import train

        out = out or self.runs / spec.folder
        out.mkdir(parents=True, exist_ok=True)
        try:
            train(self.job(spec, out, kill_at, data), out)
        except Killed:
            return None
        return out

    def watch(self, spec, **keys):
        """Trains beside the job's folder with a probe in every phase that copies what it sees, and hears SGD's LRs."""
        from prunebench.runs.probes import PROBES, Probe
        from prunebench.runs.updates import Sgd

        seen, step_ = Seen(), Sgd.step_

        def copied(view, done):
            weights = {name: tensor.clone() for name, tensor in view.state.model.state_dict().items()}
            masks = {name: mask.clone() for name, mask in view.state.masks.items()}
            state = {name: [t.clone() for t in group] for name, group in view.state.update.tensors.items()}
            return Moment(view.arm.name, view.number, done, weights, masks, state)

        @dataclasses.dataclass(frozen=True)
        class Spy(Probe):
            def before_update(self, view, done):
                seen.moments.append(copied(view, done))

            def end_phase(self, view):
                seen.ends.append(copied(view, view.updates))

        def heard(update, parameters, gradients, state, lr):
            seen.lrs.append(lr)
            step_(update, parameters, gradients, state, lr)

        def spied(arm):
            return [phase.model_copy(update={"probes": [*phase.probes, Spy()]}) for phase in arm.phases]

        arms = [arm.model_copy(update={"phases": spied(arm)}) for arm in spec.arms]
        with self.monkeypatch.context() as patch:
            patch.setitem(PROBES, "spy", Spy)
            patch.setattr(Sgd, "step_", heard)
            out = self.runs / f"{spec.folder}-watched"
            seen.out = self.run(spec.model_copy(update={"arms": arms}), out, **keys)
        return seen

    def killed_often(self, spec, every=1):
        """Trains a job that is killed before each `every`-th update; gives the folder and how often it was killed."""
        out = self.runs / f"{spec.folder}-killed"
        for deaths in range(1000):
            if self.run(spec, out, kill_at=every if deaths else 0):
                return out, deaths
        raise AssertionError("the job never ends")

    def trained(self, spec, arm="arm0", epoch=None):
        """The start that is this job's network, for other jobs."""
        epoch = spec.arms[0].epochs if epoch is None else epoch
        return {"kind": "trained", "run": spec.folder, "spec": spec.digest(), "arm": arm, "epoch": epoch}

    @staticmethod
    def rows(out, table):
        with (out / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def results(self, out):
        """What a job leaves, but for what clock and memory say."""
        texts = {}
        for path in sorted(out.iterdir()):
            if path.suffix == ".csv":
                rows = self.rows(out, path.stem)
                texts[path.name] = [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows]
            elif path.name not in ("provenance.json", "run.sha256"):
                texts[path.name] = path.read_bytes()
        return texts


@pytest.fixture
def workshop(digits, tmp_path, one_thread, monkeypatch):
    return Workshop(digits, tmp_path, monkeypatch)
