"""Curves, lines and planes between minima that are trained for real."""

import pytest
import torch

PAIRS = ["grda:sgd", "sgd:sgd_order", "sgd:sgd_init", "grda:sgd_init"]
MEASURED = ("train_loss", "train_error", "test_loss", "test_error")


@pytest.fixture(scope="module")
def connected(resnet):
    return resnet, resnet.run("connect_minima")


def test_every_pair_has_its_curve_and_line_and_the_first_its_plane(connected):
    jobs, out = connected
    assert [row["pair"] for row in jobs.rows(out, "curves")] == PAIRS
    for pair in PAIRS:
        for path, statistics in (("curve", "recomputed"), ("line", "recomputed"), ("curve", "stale")):
            rows = jobs.rows(out, "paths", pair=pair, path=path, statistics=statistics)
            assert [float(row["t"]) for row in rows] == [0, 0.5, 1]
    plane = jobs.rows(out, "plane")
    assert [row["point"] for row in plane if row["kind"] == "point"] == ["a", "b", "bend"]
    assert sum(row["kind"] == "grid" for row in plane) == 9
    assert {row["pair"] for row in plane} == {"grda:sgd"}


def test_networks_without_normalisation_have_no_stale_statistics(mlp, tmp_path):
    curves = mlp.spec("connect_minima").connectivity.model_copy(update={"plane": None})
    out = mlp.run("connect_minima", tmp_path, connectivity=curves)
    assert {row["statistics"] for row in mlp.rows(out, "paths")} == {"recomputed"}
    assert not mlp.rows(out, "plane")


def test_a_path_s_ends_are_its_networks(connected):
    """At t = 0 and 1 curve and line agree to the bit, with stale statistics at t = 0 they are the run's own."""
    jobs, out = connected
    minima = jobs.spec("connect_minima").minima
    for curve in jobs.rows(out, "curves"):
        at = {}
        for row in jobs.rows(out, "paths", pair=curve["pair"]):
            at[row["path"], row["statistics"], float(row["t"])] = tuple(row[name] for name in MEASURED)
        for t in (0.0, 1.0):
            assert at["curve", "recomputed", t] == at["line", "recomputed", t]
        assert float(curve["length"]) >= float(curve["distance"]) > 0
        [own] = jobs.rows(jobs.runs / minima.run, "phases", arm=minima.arms[curve["pair"].split(":")[0]])
        loss, error, test_loss, test_error = map(float, at["curve", "stale", 0.0])
        assert loss == pytest.approx(float(own["train_loss"]), rel=1e-5)
        assert error == pytest.approx(1 - float(own["train_accuracy"]), abs=1e-9)
        assert test_loss == pytest.approx(float(own["test_loss"]), rel=1e-5)
        assert test_error == pytest.approx(1 - float(own["test_accuracy"]), abs=1e-9)


def test_a_trained_curve_is_lower_than_its_untrained_bend(connected):
    """The bend begins midway on the straight line: after training the middle of the curve has a lower loss."""
    jobs, out = connected
    [line] = jobs.rows(out, "paths", pair="sgd:sgd_init", path="line", t=0.5)
    [curve] = jobs.rows(out, "paths", pair="sgd:sgd_init", path="curve", statistics="recomputed", t=0.5)
    assert float(curve["train_loss"]) < float(line["train_loss"])


def test_a_plane_s_corners_measure_as_the_curve_s_ends(connected):
    jobs, out = connected
    corners = {row["point"]: row for row in jobs.rows(out, "plane", kind="point")}
    [curve] = jobs.rows(out, "curves", pair="grda:sgd")
    for name, t in (("a", 0.0), ("b", 1.0)):
        [on_curve] = jobs.rows(out, "paths", pair="grda:sgd", path="curve", statistics="recomputed", t=t)
        assert corners[name]["train_loss"] == on_curve["train_loss"]
    assert (float(corners["a"]["x"]), float(corners["a"]["y"])) == (0, 0)
    assert float(corners["b"]["x"]) == pytest.approx(float(curve["distance"]), rel=1e-6)
    assert float(corners["b"]["y"]) == pytest.approx(0, abs=1e-6)
    grid = jobs.rows(out, "plane", kind="grid")
    for axis in "xy":
        places = [float(row[axis]) for row in corners.values()]
        low, high = (which(float(row[axis]) for row in grid) for which in (min, max))
        assert low < min(places)
        assert high > max(places)


@pytest.mark.parametrize("at", [1, 3, 20])
def test_killed_anywhere_curves_end_with_the_same_bytes(connected, tmp_path, at):
    jobs, whole = connected
    assert jobs.run("connect_minima", tmp_path, kill_at=at) is None
    assert jobs.results(jobs.run("connect_minima", tmp_path)) == jobs.results(whole)


def test_a_bend_with_dropout_is_trained_alike_whatever_was_drawn_before(tiny_jobs, tmp_path, dropping):
    jobs = tiny_jobs({"kind": "dropping"})
    jobs.run("train_minima")
    dropping.clear()
    whole = jobs.run("connect_minima")
    drawn = len(dropping)
    assert jobs.run("connect_minima", tmp_path, kill_at=1) is None
    torch.rand(7)
    assert jobs.results(jobs.run("connect_minima", tmp_path)) == jobs.results(whole)
    assert drawn == len(dropping) - drawn == 4 * 6  # updates of four pairs
    assert not torch.equal(dropping[0], dropping[1])
