"""Minima and baselines, trained for real as the study's plan has them."""

import math

import pytest
import torch

from prunebench.errors import InputError
from prunebench.runs.checkpoint import load_tensors, save_tensors

EPOCHS = 3
SGD, ORDER, INIT = "sgd", "sgd_order", "sgd_init"
FIRST, SECOND = "grda.c0.1.mu0.6", "grda.c0.05.mu0.7"
MATCHED = ("l1", "gmp_gradual", "gmp_one_shot", "random")


def end(jobs, out, arm):
    [row] = jobs.rows(out, "phases", arm=arm)
    return row


def statuses(jobs, out):
    return {row["arm"]: row["status"] for row in jobs.rows(out, "phases")}


def folder(jobs, stage="train_minima"):
    return jobs.runs / jobs.spec(stage).folder


@pytest.mark.parametrize("network", ["mlp", "resnet"])
def test_minima_leave_every_arm_and_its_kept_epochs(request, network):
    jobs = request.getfixturevalue(network)
    out, spec = folder(jobs), jobs.spec("train_minima")
    assert [*statuses(jobs, out)] == [SGD, ORDER, INIT, FIRST, SECOND, "l1.0.005", "l1.0.01"]
    assert {*statuses(jobs, out).values()} == {"trained"}
    tensors, _ = load_tensors(out / "networks.safetensors")
    kept = {tuple(name.split("/")[:2]) for name in tensors}
    assert kept == {(arm.name, "3") for arm in spec.arms} | {(SGD, "1"), (ORDER, "1"), (FIRST, "1")}
    for arm in spec.arms:
        assert [int(row["epoch"]) for row in jobs.rows(out, "weights", arm=arm.name)] == [0, 1, 2, 3]
        assert [int(row["epoch"]) for row in jobs.rows(out, "epochs", arm=arm.name)] == [0, 1, 2]
        assert int(end(jobs, out, arm.name)["steps"]) == EPOCHS * 3


def test_arms_start_alike_but_for_the_independent_one_and_see_what_they_should(mlp):
    out = folder(mlp)
    start = {arm: mlp.rows(out, "weights", arm=arm, epoch=0)[0] for arm in (SGD, ORDER, INIT, FIRST, SECOND)}
    for arm in (ORDER, FIRST, SECOND):
        assert (start[arm]["l1"], start[arm]["l2"]) == (start[SGD]["l1"], start[SGD]["l2"])
    assert start[INIT]["l2"] != start[SGD]["l2"]
    losses = {arm: mlp.rows(out, "epochs", arm=arm, epoch=0)[0]["train_loss"] for arm in start}
    assert len(set(losses.values())) == len(losses)


def test_sparsity_norms_and_threshold_are_those_of_the_network(resnet):
    out = folder(resnet)
    for arm in (SGD, FIRST, SECOND):
        weights = resnet.weights(arm)
        row = resnet.rows(out, "weights", arm=arm, epoch=EPOCHS)[0]
        flat = torch.cat([tensor.flatten() for tensor in weights.values()]).double()
        prunable = torch.cat([tensor.flatten() for tensor in weights.values() if tensor.dim() > 1])
        assert int(row["parameters"]) == len(flat)
        assert float(row["sparsity_all"]) == pytest.approx(float((flat == 0).double().mean()), abs=1e-12)
        assert float(row["sparsity"]) == pytest.approx(float((prunable == 0).double().mean()), abs=1e-12)
        assert float(row["l1"]) == pytest.approx(float(flat.abs().sum()), rel=1e-9)
        assert float(row["l2"]) == pytest.approx(float(flat.norm()), rel=1e-9)
        alive = {row["layer"]: int(row["alive"]) for row in resnet.rows(out, "layers", arm=arm)}
        assert alive == {name: int(tensor.count_nonzero()) for name, tensor in weights.items() if tensor.dim() > 1}
    assert float(resnet.rows(out, "weights", arm=SGD, epoch=EPOCHS)[0]["sparsity"]) == 0
    # The threshold by the formula of papers: increments at each update's own LR.
    lrs = [0.2] * 5 + [0.2 * (1 - k / 3 * 0.99) for k in range(3)] + [0.002]
    expected = sum(0.1 * lr**1.1 * (n**0.6 - (n - 1) ** 0.6) for n, lr in enumerate(lrs, 1))
    assert int(end(resnet, out, FIRST)["steps"]) == len(lrs)
    last = resnet.rows(out, "weights", arm=FIRST, epoch=EPOCHS)[0]
    assert float(last["threshold"]) == pytest.approx(expected)


def test_c_of_almost_nothing_is_sgd(tiny_jobs):
    jobs = tiny_jobs(grda={"tiny": [{"c": 1e-30, "mu": 0.6}]})
    out = jobs.run("train_minima")
    sgd, grda = (end(jobs, out, arm) for arm in (SGD, "grda.c1e-30.mu0.6"))
    other = {"arm", *jobs.VOLATILE, "flops_sparse"}  # which counts what gRDA zeroes
    assert {k: v for k, v in sgd.items() if k not in other} == {k: v for k, v in grda.items() if k not in other}


def test_spared_parameters_are_never_zeroed(tiny_jobs):
    settings = [{"c": 3.0, "mu": 0.6, "spare_norm_and_bias": True}, {"c": 3.0, "mu": 0.6}]
    jobs = tiny_jobs(tiny_jobs.RESNET, grda={"tiny": settings})
    jobs.run("train_minima")
    for arm, spared in (("grda.c3.mu0.6.spared", True), ("grda.c3.mu0.6", False)):
        weights = jobs.weights(arm)
        gammas = torch.cat([t for name, t in weights.items() if "bn" in name and name.endswith("weight")])
        assert bool((gammas != 0).all()) is spared
        assert all(bool((tensor == 0).any()) for tensor in weights.values() if tensor.dim() > 1)


# --- Baselines


@pytest.fixture(scope="module")
def baselines(resnet):
    return resnet, resnet.spec("train_baselines"), resnet.run("train_baselines")


def matched(spec):
    """Arms that are matched, each with the arm whose sparsity it has."""
    return [(arm, arm.phases[0].prune[0].like.arm) for arm in spec.arms[1:]]


def test_baselines_end_at_the_sparsity_of_the_grda_run_that_they_are_matched_to(baselines):
    jobs, spec, out = baselines
    assert len(spec.arms) == 1 + 2 * 5
    for arm, like in matched(spec):
        goal = float(jobs.rows(folder(jobs), "weights", arm=like, epoch=EPOCHS)[0]["sparsity"])
        assert goal > 0.02
        assert float(end(jobs, out, arm.name)["sparsity"]) == pytest.approx(goal, abs=1e-12)
        assert float(jobs.rows(out, "weights", arm=arm.name)[-1]["sparsity"]) == pytest.approx(goal, abs=1e-12)
    assert float(end(jobs, out, "sgd_strong")["sparsity"]) == 0
    assert not (out / "networks.safetensors").exists()


def test_one_shot_starts_from_sgd_s_end_l1_from_its_penalty_s_and_the_others_from_the_beginning(baselines):
    jobs, spec, out = baselines
    whole = {(row["arm"], row["epoch"]): float(row["l1"]) for row in jobs.rows(folder(jobs), "weights")}
    for arm, like in matched(spec):
        first = jobs.rows(out, "weights", arm=arm.name, epoch=0)[0]
        goal = float(jobs.rows(folder(jobs), "weights", arm=like, epoch=EPOCHS)[0]["sparsity"])
        method = arm.axes["method"]
        at_start = {"l1": (arm.start.arm, "3") if method == "l1" else None, "gmp_one_shot": (SGD, "3")}
        l1 = whole[at_start.get(method, (SGD, "0"))]
        if method == "gmp_gradual":
            assert (float(first["l1"]), float(first["sparsity"])) == (l1, 0)
        else:  # pruned before the first update
            assert float(first["l1"]) < l1
            assert float(first["sparsity"]) == pytest.approx(goal, abs=1e-12)
        assert int(end(jobs, out, arm.name)["steps"]) == {"l1": 0, "gmp_one_shot": 2 * 3}.get(method, EPOCHS * 3)


def test_gradual_pruning_prunes_on_the_way(baselines):
    jobs, spec, out = baselines
    for arm, _ in matched(spec):
        if arm.axes["method"] == "gmp_gradual":
            sparsity = [float(row["sparsity"]) for row in jobs.rows(out, "weights", arm=arm.name)]
            assert sparsity == sorted(sparsity)
            assert 0 < sparsity[1] < sparsity[-1]


def test_sensitivity_varies_c_and_mu_around_the_reference(mlp):
    out = mlp.run("train_around")
    zeros = {
        arm.name: float(mlp.rows(out, "weights", arm=arm.name, epoch=EPOCHS)[0]["sparsity"])
        for arm in mlp.spec("train_around").arms
    }
    assert zeros["grda.c0.05.mu0.6"] < zeros["grda.c0.2.mu0.6"]
    assert zeros["grda.c0.1.mu0.55"] < zeros["grda.c0.1.mu0.65"]


# --- Divergence


def test_a_diverged_minimum_is_a_result_and_what_hangs_on_it_goes_on(tiny_jobs):
    """Everything diverges at this LR: there is nothing to match baselines to, and nothing raises."""
    # a larger c would prune all that diverges
    jobs = tiny_jobs(max_lr=1e30, grda={"tiny": [{"c": 1e-38, "mu": 0.6}]})
    out = jobs.run("train_minima")
    ends = statuses(jobs, out)
    assert {ends[arm] for arm in (SGD, ORDER, INIT, "grda.c1e-38.mu0.6")} == {"diverged"}
    assert {float(row["test_accuracy"]) for row in jobs.rows(out, "phases", status="diverged")} == {0.1}
    rest = jobs.run("train_baselines")
    ends = {row["arm"]: row for row in jobs.rows(rest, "phases")}
    assert ends.pop("sgd_strong")["status"] == "trained"
    assert {row["status"] for row in ends.values()} == {"unmatched"}
    assert {row["test_accuracy"] for row in ends.values()} == {""}
    for stage in ("connect_minima", "measure_curvature"):
        out = jobs.run(stage)
        for name in jobs.spec(stage).tables:
            assert jobs.rows(out, name) == []


def test_a_grda_run_without_any_weight_left_matches_nothing(tiny_jobs):
    jobs = tiny_jobs(grda={"tiny": [{"c": 100.0, "mu": 0.6}]})
    out = jobs.run("train_minima")
    assert end(jobs, out, "grda.c100.mu0.6")["status"] == "trained"
    assert float(jobs.rows(out, "weights", arm="grda.c100.mu0.6")[-1]["sparsity_all"]) == 1
    ends = statuses(jobs, jobs.run("train_baselines"))
    assert ends.pop("sgd_strong") == "trained"
    assert set(ends.values()) == {"unmatched"}


def test_what_starts_from_a_diverged_sgd_has_diverged_with_it(mlp, tiny_jobs):
    jobs = tiny_jobs()
    tensors, metadata = load_tensors(folder(mlp) / "networks.safetensors")
    tensors = {name: t * math.nan if name.startswith(f"{SGD}/{EPOCHS}/model") else t for name, t in tensors.items()}
    folder(jobs).mkdir(parents=True)
    save_tensors(folder(jobs) / "networks.safetensors", tensors, metadata)
    ends = statuses(jobs, jobs.run("train_baselines"))
    for arm, _ in matched(jobs.spec("train_baselines")):
        assert ends[arm.name] == ("diverged" if arm.axes["method"] == "gmp_one_shot" else "trained")


def test_a_gradual_prune_of_a_network_that_diverges_on_the_way_is_recorded(mlp, tmp_path):
    def wild(arm):
        return arm.model_copy(update={"phases": [phase.model_copy(update={"max_lr": 1e30}) for phase in arm.phases]})

    arms = [wild(arm) for arm in mlp.spec("train_baselines").arms if arm.axes["method"] == "gmp_gradual"]
    out = mlp.run("train_baselines", tmp_path, arms=arms)
    assert {*statuses(mlp, out).values()} == {"diverged"}


def test_networks_of_another_job_or_none_are_refused_in_a_line(mlp, tiny_jobs):
    whole = folder(mlp) / "networks.safetensors"
    jobs = tiny_jobs()
    with pytest.raises(InputError, match=r"networks\.safetensors"):
        jobs.run("connect_minima")
    there = folder(jobs) / "networks.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"networks\.safetensors"):
        jobs.run("connect_minima")
    other = tiny_jobs(max_lr=0.1)
    folder(other).mkdir(parents=True)
    (folder(other) / "networks.safetensors").write_bytes(whole.read_bytes())
    with pytest.raises(InputError, match="another"):
        other.run("measure_curvature")


# --- Killed


@pytest.mark.parametrize("at", [0, 4, 13, 29])
def test_killed_anywhere_minima_end_with_the_same_bytes(mlp, tmp_path, at):
    assert mlp.run("train_minima", tmp_path, kill_at=at) is None
    assert mlp.results(mlp.run("train_minima", tmp_path)) == mlp.results(folder(mlp))


@pytest.mark.parametrize("at", [0, 12, 26])
def test_killed_anywhere_baselines_end_with_the_same_bytes(baselines, tmp_path, at):
    jobs, _, whole = baselines
    assert jobs.run("train_baselines", tmp_path, kill_at=at) is None
    assert jobs.results(jobs.run("train_baselines", tmp_path)) == jobs.results(whole)
