"""Jobs of the directional study: trajectories, curves between their ends, and the curvature there."""

import json
import math

import pytest
import torch
import yaml
from training_jobs import MLP, RESNET, VOLATILE, Killed, KilledAt, make_job, table

from prunebench.config import ToySpec, parse, parse_preset
from prunebench.errors import InputError
from prunebench.models.batch_norm import recompute_statistics_
from prunebench.models.initial import initialise_
from prunebench.training import connect, curvature, directional, job, overhead, toy, updates
from prunebench.training.checkpoint import load_tensors, save_tensors
from prunebench.training.directional import NETWORKS, load_networks, train_trajectories
from prunebench.training.job import resume_path


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_all():
    """Fixtures of the module train, too; results depend on the number of threads in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


EPOCHS = 3
PRESET = """
preset: tiny
scale: tiny
seeds: [0]
datasets:
  digits: {source: digits, train: 192, validation: 64, test: 64}
tasks:
  tiny:
    dataset: digits
    network: {kind: mlp, depth: 1, width: 0.05}
    training: {epochs: 3, batch_size: 64, momentum: 0, weight_decay: 0, precision: fp32}
    augmentation: {pad: 1}
schedules: {}
directional:
  profile: {kind: hold_then_linear}
  max_lr: 0.2
  grda:
    tiny: [{c: 0.1, mu: 0.6}, {c: 0.05, mu: 0.7}]
  sensitivity: {}
  baselines:
    strong: {max_lr: 0.1}
    l1: [0.005, 0.01]
    ramp: {share: 0.67, every: 2}
    fine_tuning: {epochs: 2, max_lr: 0.05, profile: {kind: cosine}}
  connectivity: {epochs: 2, max_lr: 0.1, profile: {kind: constant}, points: 3, plane: {points: 3}}
  curvature: {epochs: [1], k: [1, 3]}
"""
SGD, ORDER, INIT = "sgd", "sgd_order", "sgd_init"
FIRST, SECOND = "grda.c0.1.mu0.6", "grda.c0.05.mu0.7"


def preset(network=MLP, **changes):
    content = yaml.safe_load(PRESET)
    content["tasks"]["tiny"]["network"] = network
    for key, value in changes.items():
        place = content["directional"]
        *parents, last = key.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    return parse_preset(content, "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("directional")


@pytest.fixture(scope="module")
def minima(digits, folder):
    """The minima of a preset, trained once: their file by the digest of their spec."""
    trained = {}

    def go(of):
        [spec] = of.directional.minima_jobs(of)
        if spec.digest() not in trained:
            out = folder / spec.digest()[:12]
            train_trajectories(make_job(spec, digits, out), out)
            trained[spec.digest()] = out
        return trained[spec.digest()] / NETWORKS

    return go


def rows(out, name, **where):
    return [row for row in table(out, name) if all(row[key] == str(value) for key, value in where.items())]


def end(out, arm):
    [row] = rows(out, "ends", arm=arm)
    return row


def weights_of(networks, arm, epoch=EPOCHS):
    found = networks.at(arm, epoch)
    return {name: tensor for name, tensor in found.items() if "running" not in name and "tracked" not in name}


# ------------------------------------------------------------------------------------------------------ trajectories


@pytest.mark.parametrize("network", [MLP, RESNET], ids=["mlp", "batch norm"])
def test_minima_leave_every_arm_and_its_kept_epochs(minima, network):
    of = preset(network)
    file = minima(of)
    [spec] = of.directional.minima_jobs(of)
    out = file.parent
    networks = load_networks(file, spec, torch.device("cpu"))
    assert [row["arm"] for row in table(out, "ends")] == [SGD, ORDER, INIT, FIRST, SECOND, "l1.0.005", "l1.0.01"]
    kept = {tuple(name.split("/")[:2]) for name in networks.tensors}
    last = {(arm.name, str(EPOCHS)) for arm in spec.arms}
    assert kept == last | {(SGD, "1"), (ORDER, "1"), (FIRST, "1")}
    for arm in spec.arms:
        assert [int(row["epoch"]) for row in rows(out, "weights", arm=arm.name)] == [0, 1, 2, 3]
        assert [int(row["epoch"]) for row in rows(out, "epochs", arm=arm.name)] == [0, 1, 2]
        assert end(out, arm.name)["status"] == "trained"
        assert int(end(out, arm.name)["steps"]) == EPOCHS * 3


def test_arms_start_alike_but_for_the_independent_one_and_see_what_they_should(minima):
    of = preset()
    out = minima(of).parent
    start = {arm: rows(out, "weights", arm=arm, epoch=0)[0] for arm in (SGD, ORDER, INIT, FIRST, SECOND)}
    for arm in (ORDER, FIRST, SECOND):
        assert (start[arm]["l1"], start[arm]["l2"]) == (start[SGD]["l1"], start[SGD]["l2"])
    assert start[INIT]["l2"] != start[SGD]["l2"]
    losses = {arm: rows(out, "epochs", arm=arm, epoch=0)[0]["train_loss"] for arm in start}
    assert len(set(losses.values())) == len(losses)


def test_the_independent_arm_starts_from_its_own_pure_function_of_the_seed(digits, monkeypatch, tmp_path):
    seen = []

    def train_(of, state, *arguments):
        seen.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})
        return job.train_(of, state, *arguments)

    monkeypatch.setattr(directional, "train_", train_)
    of = preset()
    [spec] = of.directional.minima_jobs(of)
    here = make_job(spec, digits, tmp_path)
    train_trajectories(here, tmp_path)
    own, other = job.new_state(here).model, job.new_state(here).model
    initialise_(other, spec.seed, "independent")
    for number, arm in enumerate(spec.arms):
        expected = (other if arm.name == INIT else own).state_dict()
        assert all(torch.equal(seen[number][name], tensor) for name, tensor in expected.items())


def test_sparsity_norms_and_threshold_are_those_of_the_network(minima):
    of = preset(RESNET)
    file = minima(of)
    [spec] = of.directional.minima_jobs(of)
    networks = load_networks(file, spec, torch.device("cpu"))
    for arm in (SGD, FIRST, SECOND):
        weights = weights_of(networks, arm)
        prunable = [tensor for tensor in weights.values() if tensor.dim() > 1]
        row = rows(file.parent, "weights", arm=arm, epoch=EPOCHS)[0]
        flat = torch.cat([tensor.flatten() for tensor in weights.values()]).double()
        assert float(row["sparsity_all"]) == pytest.approx(float((flat == 0).double().mean()), abs=1e-12)
        of_prunable = torch.cat([tensor.flatten() for tensor in prunable])
        assert float(row["sparsity"]) == pytest.approx(float((of_prunable == 0).double().mean()), abs=1e-12)
        assert float(row["l1"]) == pytest.approx(float(flat.abs().sum()), rel=1e-9)
        assert float(row["l2"]) == pytest.approx(float(flat.norm()), rel=1e-9)
        ended = end(file.parent, arm)
        assert (ended["sparsity"], ended["sparsity_all"]) == (row["sparsity"], row["sparsity_all"])
        alive = {row["layer"]: int(row["alive"]) for row in rows(file.parent, "layers", arm=arm)}
        assert alive == {name: int(t.count_nonzero()) for name, t in weights.items() if t.dim() > 1}
    assert float(rows(file.parent, "weights", arm=SGD, epoch=EPOCHS)[0]["sparsity"]) == 0
    # The threshold by the formula of papers: increments at each update's own LR.
    lrs = [0.2] * 5 + [0.2 * (1 - k / 3 * 0.99) for k in range(3)] + [0.002]
    expected = sum(0.1 * lr**1.1 * (n**0.6 - (n - 1) ** 0.6) for n, lr in enumerate(lrs, 1))
    assert float(end(file.parent, FIRST)["steps"]) == len(lrs)
    assert float(rows(file.parent, "weights", arm=FIRST, epoch=EPOCHS)[0]["threshold"]) == pytest.approx(expected)


def test_grda_in_the_loop_is_the_optimizer(digits, monkeypatch, tmp_path):
    """The job's gRDA arm, update by update, against prunebench.optim.GRDA with the same gradients."""
    from prunebench.optim import GRDA

    of = preset()
    [spec] = of.directional.minima_jobs(of)
    spec = spec.model_copy(update={"arms": [arm for arm in spec.arms if arm.name == FIRST]})
    theirs, optimizer = [], []
    grda_step_ = updates.grda_step_

    def step(parameters, gradients, accumulators, *, lr, **more):
        if not optimizer:
            theirs.extend(p.detach().clone().requires_grad_() for p in parameters)
            optimizer.append(GRDA(theirs, lr=lr, c=0.1, mu=0.6))
        optimizer[0].param_groups[0]["lr"] = lr
        for twin, gradient in zip(theirs, gradients, strict=True):
            twin.grad = gradient.clone()
        optimizer[0].step()
        grda_step_(parameters, gradients, accumulators, lr=lr, **more)
        assert all(torch.equal(a, b) for a, b in zip(parameters, theirs, strict=True))

    monkeypatch.setattr(updates, "grda_step_", step)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path)
    assert len(optimizer) == 1


def test_c_of_almost_nothing_is_sgd(digits, tmp_path):
    of = preset(grda={"tiny": [{"c": 1e-30, "mu": 0.6}]})
    [spec] = of.directional.minima_jobs(of)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path)
    sgd, grda = (end(tmp_path, arm) for arm in (SGD, "grda.c1e-30.mu0.6"))
    volatile = {"arm", *VOLATILE}
    assert {k: v for k, v in sgd.items() if k not in volatile} == {k: v for k, v in grda.items() if k not in volatile}


def test_spared_parameters_are_never_zeroed(digits, tmp_path):
    network = {**RESNET}
    of = preset(network, grda={"tiny": [{"c": 3.0, "mu": 0.6, "spare_norm_and_bias": True}, {"c": 3.0, "mu": 0.6}]})
    [spec] = of.directional.minima_jobs(of)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path)
    networks = load_networks(tmp_path / NETWORKS, spec, torch.device("cpu"))
    for arm, spared in (("grda.c3.mu0.6.spared", True), ("grda.c3.mu0.6", False)):
        weights = weights_of(networks, arm)
        gammas = torch.cat([t for name, t in weights.items() if "bn" in name and name.endswith("weight")])
        assert bool((gammas != 0).all()) is spared
        assert all(bool((t == 0).any()) for t in weights.values() if t.dim() > 1)


@pytest.fixture(scope="module")
def baselines(digits, minima, folder):
    of = preset(RESNET)
    file = minima(of)
    [spec] = of.directional.baseline_jobs(of)
    out = folder / "baselines"
    train_trajectories(make_job(spec, digits, out), out, file)
    return of, file, spec, out


def test_baselines_end_at_the_sparsity_of_the_grda_run_that_they_are_matched_to(baselines):
    _, file, spec, out = baselines
    assert len(spec.arms) == 1 + 2 * 5
    for arm in spec.arms[1:]:
        goal = end(file.parent, arm.prune.like)["sparsity"]
        assert float(goal) > 0.02
        assert float(end(out, arm.name)["sparsity"]) == pytest.approx(float(goal), abs=1e-12)
    assert float(end(out, "sgd_strong")["sparsity"]) == 0
    assert not (out / NETWORKS).exists()


def test_one_shot_pruning_starts_from_sgd_s_end_l1_from_its_penalty_s_and_the_others_from_the_beginning(baselines):
    _, file, spec, out = baselines
    starts = {(row["arm"], row["epoch"]): row for row in table(file.parent, "weights")}
    for arm in spec.arms:
        first = rows(out, "weights", arm=arm.name, epoch=0)[0]
        goal = float(end(file.parent, arm.prune.like)["sparsity"]) if arm.prune else 0
        method = arm.axes["method"]
        if method == "l1":
            assert first["l1"] == starts[arm.start, "3"]["l1"]
        elif method in ("gmp_one_shot", "random"):
            of = (SGD, "3") if method == "gmp_one_shot" else (SGD, "0")
            assert float(first["l1"]) < float(starts[of]["l1"])
            assert float(first["sparsity"]) == pytest.approx(goal, abs=1e-12)
        else:
            assert first["l1"] == starts[SGD, "0"]["l1"]
            assert float(first["sparsity"]) == 0
        steps = {"l1": 0, "gmp_one_shot": 2 * 3}.get(method, EPOCHS * 3)
        assert int(end(out, arm.name)["steps"]) == steps


def test_gradual_pruning_prunes_on_the_way_and_l1_at_the_end_alone(baselines):
    _, file, spec, out = baselines
    for arm in spec.arms:
        sparsity = [float(row["sparsity"]) for row in rows(out, "weights", arm=arm.name)]
        if arm.axes["method"] == "gmp_gradual":
            assert sparsity == sorted(sparsity)
            assert 0 < sparsity[1] < sparsity[-1] == float(end(out, arm.name)["sparsity"])
        if arm.axes["method"] == "l1":
            [before] = sparsity
            uncut = [float(row["sparsity"]) for row in rows(file.parent, "weights", arm=arm.start)]
            assert 0 == uncut[0] < uncut[-1] == before < float(end(out, arm.name)["sparsity"])
            assert end(out, arm.name)["status"] == "trained"


def test_the_l1_penalty_shrinks_weights_alone_after_the_update():
    """Against a scalar soft threshold of SGD's own step."""
    weight, bias = torch.tensor([[1.0, -2.0, 0.2, -0.1]]), torch.tensor([0.01])
    gradients = [torch.tensor([[0.5, 0.5, 0.5, 0.5]]), torch.tensor([0.25])]
    expected = []
    for w, g in zip(weight[0].tolist(), gradients[0][0].tolist(), strict=True):
        moved = w - 0.3 * g
        expected.append(math.copysign(max(abs(moved) - 0.3 * 0.4, 0.0), moved))
    update = updates.Sgd(momentum=0.0, weight_decay=0.0, l1=0.4)
    ours = [weight.clone(), bias.clone()]
    assert update.step_(ours, gradients, [torch.zeros_like(p) for p in ours], lr=0.3, n=1, threshold=0.0) == 0.0
    assert ours[0][0].tolist() == pytest.approx(expected, abs=1e-6)
    assert ours[0][0, 2] == 0
    assert ours[1].item() == pytest.approx(0.01 - 0.3 * 0.25)


def test_sensitivity_varies_c_and_mu_around_the_reference(digits, tmp_path):
    of = preset()
    [spec] = of.directional.sensitivity_jobs(of)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path)
    assert [arm.name for arm in spec.arms] == [
        *("grda.c0.05.mu0.6", "grda.c0.2.mu0.6", "grda.c0.1.mu0.55", "grda.c0.1.mu0.65"),
    ]
    sparsity = {arm.name: float(end(tmp_path, arm.name)["sparsity"]) for arm in spec.arms}
    assert sparsity["grda.c0.05.mu0.6"] < sparsity["grda.c0.2.mu0.6"]


def test_a_diverged_minimum_is_a_result_and_what_hangs_on_it_goes_on(digits, tmp_path):
    """Everything diverges at this LR: there is nothing to match baselines to, and nothing raises."""
    of = preset(max_lr=1e30, grda={"tiny": [{"c": 1e-38, "mu": 0.6}]})  # a larger c would prune all that diverges
    [spec] = of.directional.minima_jobs(of)
    out = tmp_path / "minima"
    train_trajectories(make_job(spec, digits, out), out)
    statuses = {row["arm"]: row["status"] for row in table(out, "ends")}
    assert {statuses[arm] for arm in (SGD, ORDER, INIT, "grda.c1e-38.mu0.6")} == {"diverged"}
    lost = [row for row in table(out, "ends") if row["status"] == "diverged"]
    assert {float(row["test_accuracy"]) for row in lost} == {0.1}
    [rest] = of.directional.baseline_jobs(of)
    train_trajectories(make_job(rest, digits, tmp_path / "rest"), tmp_path / "rest", out / NETWORKS)
    ends = {row["arm"]: row for row in table(tmp_path / "rest", "ends")}
    assert ends.pop("sgd_strong")["status"] == "trained"
    assert {row["status"] for row in ends.values()} == {"unmatched"}
    assert {row["test_accuracy"] for row in ends.values()} == {""}
    for module, jobs, run in (
        (connect, of.connection_jobs(), connect.connect),
        (curvature, of.curvature_jobs(), curvature.measure_curvature),
    ):
        [of_job] = jobs
        run(make_job(of_job, digits, tmp_path / "x"), out / NETWORKS, tmp_path / "x")
        for name in module.COLUMNS:
            assert table(tmp_path / "x", name) == []


def test_a_grda_run_without_any_weight_left_matches_nothing(digits, tmp_path):
    of = preset(grda={"tiny": [{"c": 100.0, "mu": 0.6}]})
    [spec] = of.directional.minima_jobs(of)
    out = tmp_path / "minima"
    train_trajectories(make_job(spec, digits, out), out)
    emptied = end(out, "grda.c100.mu0.6")
    assert (emptied["status"], float(emptied["sparsity_all"])) == ("trained", 1)
    [rest] = of.directional.baseline_jobs(of)
    train_trajectories(make_job(rest, digits, tmp_path / "rest"), tmp_path / "rest", out / NETWORKS)
    statuses = {row["arm"]: row["status"] for row in table(tmp_path / "rest", "ends")}
    assert statuses.pop("sgd_strong") == "trained"
    assert set(statuses.values()) == {"unmatched"}


def test_what_starts_from_a_diverged_sgd_has_diverged_with_it(digits, minima, tmp_path):
    of = preset()
    file = minima(of)
    [spec] = of.directional.baseline_jobs(of)
    tensors, metadata = load_tensors(file)
    tensors = {name: t * math.nan if name.startswith(f"{SGD}/{EPOCHS}/") else t for name, t in tensors.items()}
    save_tensors(tmp_path / NETWORKS, tensors, metadata)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path, tmp_path / NETWORKS)
    for arm in spec.arms:
        assert end(tmp_path, arm.name)["status"] == ("diverged" if arm.start == SGD else "trained")


def test_a_gradual_prune_of_a_network_that_diverges_on_the_way_is_recorded(digits, minima, tmp_path):
    of = preset()
    file = minima(of)
    [spec] = of.directional.baseline_jobs(of)
    arms = [arm.model_copy(update={"max_lr": 1e30}) for arm in spec.arms if arm.axes["method"] == "gmp_gradual"]
    spec = spec.model_copy(update={"arms": arms})
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path, file)
    assert {row["status"] for row in table(tmp_path, "ends")} == {"diverged"}


@pytest.mark.parametrize("at", [0, 4, 10, 13, 29])
def test_killed_anywhere_trajectories_end_with_the_same_bytes(digits, minima, tmp_path, at):
    of = preset()
    whole = minima(of).parent
    [spec] = of.directional.minima_jobs(of)
    resume = KilledAt(resume_path(tmp_path), spec.digest(), at)
    with pytest.raises(Killed):
        train_trajectories(make_job(spec, digits, tmp_path, resume), tmp_path)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path)
    assert not resume_path(tmp_path).exists()
    for name in directional.COLUMNS:
        one, other = (
            [{k: v for k, v in row.items() if k not in VOLATILE} for row in table(out, name)]
            for out in (whole, tmp_path)
        )
        assert one == other
    assert (tmp_path / NETWORKS).read_bytes() == (whole / NETWORKS).read_bytes()


@pytest.mark.parametrize("at", [0, 7, 12, 20, 26])
def test_killed_anywhere_baselines_end_with_the_same_bytes(digits, baselines, tmp_path, at):
    _, file, spec, whole = baselines
    resume = KilledAt(resume_path(tmp_path), spec.digest(), at)
    with pytest.raises(Killed):
        train_trajectories(make_job(spec, digits, tmp_path, resume), tmp_path, file)
    train_trajectories(make_job(spec, digits, tmp_path), tmp_path, file)
    for name in directional.COLUMNS:
        one, other = (
            [{k: v for k, v in row.items() if k not in VOLATILE} for row in table(out, name)]
            for out in (whole, tmp_path)
        )
        assert one == other


def test_networks_of_another_job_or_none_are_refused_in_a_line(minima, tmp_path):
    of = preset()
    file = minima(of)
    [spec] = of.directional.minima_jobs(of)
    other = spec.model_copy(update={"seed": 1})
    with pytest.raises(InputError, match="holds other networks than directional/tiny/minima/seed-1"):
        load_networks(file, other, torch.device("cpu"))
    broken = tmp_path / "networks.safetensors"
    broken.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        load_networks(broken, spec, torch.device("cpu"))
    with pytest.raises(InputError, match="cannot be read"):
        load_networks(tmp_path / "none", spec, torch.device("cpu"))


# -------------------------------------------------------------------------------------------- paths between minima


@pytest.fixture(scope="module")
def connected(digits, minima, folder):
    of = preset(RESNET)
    file = minima(of)
    [spec] = of.connection_jobs()
    out = folder / "connected"
    connect.connect(make_job(spec, digits, out), file, out)
    return of, file, spec, out


def test_every_pair_has_its_curve_and_line_and_the_first_its_plane(connected):
    *_, out = connected
    pairs = ["grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init"]
    assert [row["pair"] for row in table(out, "curves")] == pairs
    for pair in pairs:
        ways = [("curve", "recomputed"), ("line", "recomputed"), ("curve", "stale")]
        for path, statistics in ways:
            found = rows(out, "paths", pair=pair, path=path, statistics=statistics)
            assert [float(row["t"]) for row in found] == [0, 0.5, 1]
    plane = table(out, "plane")
    assert [row["point"] for row in plane if row["kind"] == "point"] == ["a", "b", "bend"]
    assert sum(row["kind"] == "grid" for row in plane) == 9
    assert {row["pair"] for row in plane} == {"grda:sgd"}


def test_networks_without_normalisation_have_no_stale_statistics(digits, minima, tmp_path):
    of = preset(connectivity__plane=None)
    [spec] = of.connection_jobs()
    connect.connect(make_job(spec, digits, tmp_path), minima(of), tmp_path)
    assert {row["statistics"] for row in table(tmp_path, "paths")} == {"recomputed"}
    assert not table(tmp_path, "plane")


def test_a_path_s_ends_are_its_networks(digits, connected):
    """At t = 0 and 1 curve and line agree to the bit, with stale statistics at t = 0 they are the run's own."""
    _, file, spec, out = connected
    for curve in table(out, "curves"):
        at = {}
        for row in rows(out, "paths", pair=curve["pair"]):
            measured = tuple(row[name] for name in ("train_loss", "train_error", "test_loss", "test_error"))
            at[row["path"], row["statistics"], float(row["t"])] = measured
        for t in (0.0, 1.0):
            assert at["curve", "recomputed", t] == at["line", "recomputed", t]
        assert float(curve["length"]) >= float(curve["distance"]) > 0
        arm = spec.arm(curve["pair"].split(":")[0])
        own = end(file.parent, arm)
        loss, error, test_loss, test_error = map(float, at["curve", "stale", 0.0])
        assert loss == pytest.approx(float(own["train_loss"]), rel=1e-5)
        assert error == pytest.approx(1 - float(own["train_accuracy"]), abs=1e-9)
        assert test_loss == pytest.approx(float(own["test_loss"]), rel=1e-5)
        assert test_error == pytest.approx(1 - float(own["test_accuracy"]), abs=1e-9)


def test_a_plane_s_corners_measure_as_the_curve_s_ends(connected):
    *_, out = connected
    corners = {row["point"]: row for row in table(out, "plane") if row["kind"] == "point"}
    [curve] = rows(out, "curves", pair="grda:sgd")
    for name, t in (("a", 0.0), ("b", 1.0)):
        [on_curve] = rows(out, "paths", pair="grda:sgd", path="curve", statistics="recomputed", t=t)
        assert corners[name]["train_loss"] == on_curve["train_loss"]
    assert (float(corners["a"]["x"]), float(corners["a"]["y"])) == (0, 0)
    assert float(corners["b"]["x"]) == pytest.approx(float(curve["distance"]), rel=1e-6)
    assert float(corners["b"]["y"]) == pytest.approx(0, abs=1e-6)
    grid = [row for row in table(out, "plane") if row["kind"] == "grid"]
    for axis in "xy":
        places = [float(row[axis]) for row in corners.values()]
        low, high = (f(float(row[axis]) for row in grid) for f in (min, max))
        assert low < min(places)
        assert high > max(places)


def test_only_as_many_seeds_as_asked_for_have_planes():
    content = yaml.safe_load(PRESET) | {"seeds": [5, 3, 4]}
    of = parse_preset(content, "tiny")
    assert {spec.seed: spec.connectivity.plane is not None for spec in of.connection_jobs()} == {
        5: True,
        3: False,
        4: False,
    }


@pytest.mark.parametrize("at", [0, 1, 3, 9, 20])
def test_killed_anywhere_curves_end_with_the_same_bytes(digits, connected, tmp_path, at):
    _, file, spec, whole = connected
    resume = KilledAt(resume_path(tmp_path), spec.digest(), at)
    with pytest.raises(Killed):
        connect.connect(make_job(spec, digits, tmp_path, resume), file, tmp_path)
    connect.connect(make_job(spec, digits, tmp_path), file, tmp_path)
    assert not resume_path(tmp_path).exists()
    for name in connect.COLUMNS:
        assert (tmp_path / f"{name}.csv").read_bytes() == (whole / f"{name}.csv").read_bytes()


def test_statistics_are_weighted_by_the_images_of_a_batch(digits, tmp_path):
    """However the images are cut; a network without normalisation has no stale statistics to show."""
    of = preset(RESNET)
    model = job.new_state(make_job(of.directional.minima_jobs(of)[0], digits, tmp_path)).model
    images = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (50, 40):
        recompute_statistics_(model, images.split(size))
        found.append(model.bn.running_mean.clone())
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert model.bn.momentum == 0.1


# ------------------------------------------------------------------------------------------------------- curvature


@pytest.fixture(scope="module")
def curved(digits, minima, folder):
    of = preset()
    file = minima(of)
    [spec] = of.curvature_jobs()
    out = folder / "curved"
    curvature.measure_curvature(make_job(spec, digits, out), file, out)
    return of, file, spec, out


def test_curvature_is_measured_at_each_epoch_for_grda_and_its_control(curved):
    *_, out = curved
    found = [(int(row["epoch"]), row["pair"], int(row["k"])) for row in table(out, "curvature")]
    pairs = ("grda:sgd", "sgd_order:sgd")
    assert found == [(epoch, pair, k) for epoch in (1, EPOCHS) for pair in pairs for k in (1, 3)]
    for row in table(out, "curvature"):
        assert 0 <= float(row["share"]) <= 1
        assert float(row["chance"]) == pytest.approx(math.sqrt(int(row["k"]) / (64 * 13 + 13 + 13 * 10 + 10)))


def test_eigenvalues_and_shares_are_those_of_the_dense_hessian(digits, curved):
    """Against the Hessian as a whole, built by autograd in float64 from the file's own networks."""
    from torch.func import functional_call, hessian

    _, file, spec, out = curved
    networks = load_networks(file, spec.minima, torch.device("cpu"))
    here = make_job(spec, digits, out)
    model = job.new_state(here).model.double()
    [(images, labels)] = list(here.batches(digits.train))
    for epoch in (1, EPOCHS):
        sgd = weights_of(networks, SGD, epoch)
        flat = torch.cat([t.flatten() for t in sgd.values()]).double()
        shapes = {name: t.shape for name, t in sgd.items()}

        def loss(vector, shapes=shapes):
            parts = vector.split([shape.numel() for shape in shapes.values()])
            named = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
            logits = functional_call(model, named, (images.double(),))
            return torch.nn.functional.cross_entropy(logits, labels)

        values, vectors = torch.linalg.eigh(hessian(loss)(flat))
        leading, top = values.flip(0)[:3], vectors.flip(1)[:, :3].T
        told = [float(row["eigenvalue"]) for row in rows(out, "eigenvalues", epoch=epoch)]
        assert told == pytest.approx(leading.tolist(), rel=2e-3)
        for pair, arm in (("grda:sgd", FIRST), ("sgd_order:sgd", ORDER)):
            other = torch.cat([t.flatten() for t in weights_of(networks, arm, epoch).values()]).double()
            moved = other - flat
            [row] = rows(out, "curvature", epoch=epoch, pair=pair, k=3)
            along = top @ moved
            assert float(row["share"]) == pytest.approx(float(along.norm() / moved.norm()), rel=0.02)
            assert float(row["quadratic"]) == pytest.approx(float(0.5 * (leading * along**2).sum()), rel=0.02)
            assert float(row["norm_ratio"]) == pytest.approx(float(moved.norm() / flat.norm()), rel=1e-6)
            assert float(row["own_share"]) == pytest.approx(float((top @ flat).norm() / flat.norm()), rel=0.02)


@pytest.mark.parametrize("at", [0, 1])
def test_killed_between_epochs_curvature_ends_with_the_same_bytes(digits, curved, tmp_path, at):
    _, file, spec, whole = curved
    resume = KilledAt(resume_path(tmp_path), spec.digest(), at)
    with pytest.raises(Killed):
        curvature.measure_curvature(make_job(spec, digits, tmp_path, resume), file, tmp_path)
    curvature.measure_curvature(make_job(spec, digits, tmp_path), file, tmp_path)
    for name in curvature.COLUMNS:
        assert (tmp_path / f"{name}.csv").read_bytes() == (whole / f"{name}.csv").read_bytes()


# ------------------------------------------------------------------------------------------------- the exact problems


def test_the_toy_writes_every_seed_and_learning_rate(tmp_path):
    content = {"problem": "least_squares", "seeds": [3], "gamma": [0.1, 0.05], "t": 5, "c": 0.02, "mu": 0.6}
    spec = parse(ToySpec, content, "test")
    toy.run(spec, tmp_path)
    found = table(tmp_path, "toy")
    assert [(row["fixed"], row["seed"], float(row["gamma"]), int(row["steps"])) for row in found] == [
        ("c", "3", 0.1, 50),
        ("lam", "3", 0.1, 50),
        ("c", "3", 0.05, 100),
        ("lam", "3", 0.05, 100),
    ]
    lam = [float(row["lam"]) for row in found]
    assert lam[0] == lam[1] == pytest.approx(lam[3])
    assert lam[2] == pytest.approx(lam[0] / math.sqrt(2))
    assert [float(row["c"]) for row in found] == pytest.approx([0.02, 0.02, 0.02, 0.02 * math.sqrt(2)])
    assert all(math.isfinite(float(row["error"])) for row in found)
    assert json.loads((tmp_path / "spec.json").read_text()) == spec.model_dump(mode="json")
    first = (tmp_path / "toy.csv").read_bytes()
    toy.run(spec, tmp_path)
    assert (tmp_path / "toy.csv").read_bytes() == first


# ---------------------------------------------------------------------------------------------------------- overhead


def test_overhead_times_every_network_and_counts_its_memory(digits, tmp_path):
    of = preset(RESNET, overhead={"tasks": ["tiny"], "resnet50": False, "blocks": 2, "steps": 1})
    [spec] = of.overhead_jobs()
    overhead.run(spec, tmp_path)
    optimizers = {"sgd", "sgd_momentum", "grda", "grda_reference"}
    seconds = table(tmp_path, "seconds")
    measures = ("optimizer step", "training step")
    expected = {(m, o, str(b)) for m in measures for o in optimizers for b in (1, 2)}
    assert {(row["measure"], row["optimizer"], row["block"]) for row in seconds} == expected
    assert len(seconds) == len(expected)
    assert all(float(row["seconds"]) > 0 for row in seconds)
    [minimum] = of.directional.minima_jobs(of)
    model = job.new_state(make_job(minimum, digits, tmp_path)).model
    size = sum(p.numel() for p in model.parameters())
    memory = {row["optimizer"]: row for row in table(tmp_path, "memory")}
    assert memory.keys() == optimizers
    assert {int(row["parameters"]) for row in (*memory.values(), *seconds)} == {size}
    assert {name: int(row["state_bytes"]) / (4 * size) for name, row in memory.items()} == {
        "sgd": 0,
        "sgd_momentum": 1,
        "grda": 1,
        "grda_reference": 1,
    }
