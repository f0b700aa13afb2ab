"""Each criterion equals an independent calculation with Python's float64 numbers, one weight at a time."""

import math
import random

import pytest
import torch
from torch import nn

from prunebench.errors import InputError
from prunebench.pruning import CRITERIA, ScoreInputs, get_criterion, register
from prunebench.pruning.masks import alive, layer_densities

# in and out channels: 2 -> 3 -> 4, flattened 2x2 maps -> 5 -> 2; the shortcut fits neither neighbour
SHAPES = {
    "conv1": (3, 2, 2, 2),
    "norm": (3,),
    "conv2": (4, 3, 1, 1),
    "fc1": (5, 16),
    "fc2": (2, 5),
    "shortcut": (7, 9),
}


def inputs(kind, seed=0):
    draw = random.Random(seed)

    def values(shape):
        make = {
            "normal": lambda: draw.gauss(0, 1),
            "ties": lambda: draw.choice([-1.0, 0.5, 1.0, 0.0]),
            "equal": lambda: 0.5,
            "zero": lambda: 0.0,
        }[kind]
        return torch.tensor([make() for _ in range(math.prod(shape))], dtype=torch.float64).reshape(shape)

    weights, gradients, previous = ({n: values(s) for n, s in SHAPES.items()} for _ in range(3))
    masks = {
        n: torch.tensor([draw.random() < 0.7 for _ in range(w.numel())]).reshape(w.shape) for n, w in weights.items()
    }
    return ScoreInputs(weights, masks, gradients, previous, seed=seed, cycle=2)


def at(tensors, name):
    return tensors[name].flatten().tolist()


def elementwise(formula):
    def expected(given):
        return {
            name: [
                formula(*values)
                for values in zip(
                    at(given.weights, name),
                    at(given.gradients, name),
                    at(given.previous_weights, name),
                    strict=True,
                )
            ]
            for name in given.weights
        }

    return expected


def lamp(given):
    scores = {}
    for name in given.weights:
        w, living = at(given.weights, name), at(given.masks, name)
        scores[name] = []
        for i in range(len(w)):
            no_smaller = [
                w[j] ** 2
                for j in range(len(w))
                if living[j] and (abs(w[j]) > abs(w[i]) or (abs(w[j]) == abs(w[i]) and j <= i))
            ]
            total = math.fsum(no_smaller)
            scores[name].append(w[i] ** 2 / total if living[i] and total else 0.0)
    return scores


def lookahead(given):
    w = {name: (given.weights[name] * given.masks[name]).tolist() for name in given.weights}
    conv1, conv2, fc1, fc2 = w["conv1"], w["conv2"], w["fc1"], w["fc2"]

    def norm(values):
        return math.sqrt(math.fsum(v * v for v in values))

    def flat(x):
        return [v for item in x for v in flat(item)] if isinstance(x, list) else [x]

    out1 = [norm(flat(conv1[k])) for k in range(3)]
    in2 = [norm([conv2[o][k][0][0] for o in range(4)]) for k in range(3)]
    out2 = [norm(flat(conv2[k])) for k in range(4)]
    in3 = [norm([fc1[o][4 * k + p] for o in range(5) for p in range(4)]) for k in range(4)]
    out3 = [norm(fc1[k]) for k in range(5)]
    in4 = [norm([fc2[o][k] for o in range(2)]) for k in range(5)]
    return {
        "conv1": [
            abs(conv1[o][i][y][x]) * in2[o] for o in range(3) for i in range(2) for y in range(2) for x in range(2)
        ],
        "norm": [abs(v) for v in w["norm"]],
        "conv2": [abs(conv2[o][i][0][0]) * out1[i] * in3[o] for o in range(4) for i in range(3)],
        "fc1": [abs(fc1[o][i]) * out2[i // 4] * in4[o] for o in range(5) for i in range(16)],
        "fc2": [abs(fc2[o][i]) * out3[i] for o in range(2) for i in range(5)],
        "shortcut": [abs(v) for v in flat(w["shortcut"])],
    }


EXPECTED = {
    "global_magnitude": ("global", elementwise(lambda w, g, p: abs(w))),
    "layer_magnitude": ("layer", elementwise(lambda w, g, p: abs(w))),
    "global_gradient": ("global", elementwise(lambda w, g, p: abs(g))),
    "layer_gradient": ("layer", elementwise(lambda w, g, p: abs(g))),
    "global_weight_gradient": ("global", elementwise(lambda w, g, p: abs(w * g))),
    "layer_weight_gradient": ("layer", elementwise(lambda w, g, p: abs(w * g))),
    "global_weight_change": ("global", elementwise(lambda w, g, p: abs(w - p))),
    "layer_weight_times_change": ("layer", elementwise(lambda w, g, p: abs(w - p) * abs(w))),
    "lamp": ("global", lamp),
    "lookahead": ("layer", lookahead),
}


def test_every_criterion_is_tested():
    assert set(EXPECTED) | {"random", "layer_random", "random_gmp_ratios"} == set(CRITERIA)


@pytest.mark.parametrize("kind", ["normal", "ties", "equal", "zero"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_criterion_equals_its_scalar_definition(name, kind):
    given = inputs(kind)
    scope, expected = EXPECTED[name]
    criterion = get_criterion(name)
    assert criterion.scope == scope
    assert criterion.doc
    scores = criterion.scores(given)
    assert list(scores) == list(SHAPES)
    for layer, values in expected(given).items():
        assert scores[layer].shape == SHAPES[layer]
        living = at(given.masks, layer)
        found = [s for s, a in zip(at(scores, layer), living, strict=True) if a]
        wanted = [s for s, a in zip(values, living, strict=True) if a]
        assert found == pytest.approx(wanted, rel=1e-12, abs=0)


@pytest.mark.parametrize("kind", ["normal", "ties", "equal", "zero"])
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_prunes_the_exact_count(name, kind):
    given = inputs(kind)
    criterion = get_criterion(name)
    kept = criterion.prune(given, 0.25)
    if criterion.ratios is not None:
        assert layer_densities(kept) == layer_densities(get_criterion(criterion.ratios).prune(given, 0.25))
    elif criterion.scope == "global":
        assert alive(kept) == math.floor(sum(map(math.prod, SHAPES.values())) * 0.25 + 0.5)
    else:
        for layer, shape in SHAPES.items():
            assert alive({layer: kept[layer]}) == math.floor(math.prod(shape) * 0.25 + 0.5)
    assert all(bool((given.masks[layer] | ~kept[layer]).all()) for layer in SHAPES)


def test_lamp_keeps_the_largest_weight_of_every_layer():
    kept = get_criterion("lamp").prune(inputs("normal"), len(SHAPES) / sum(map(math.prod, SHAPES.values())))
    assert [alive({name: mask}) for name, mask in kept.items()] == [1] * len(SHAPES)


def test_lamp_orders_ties_by_index_as_the_masks_do():
    w = {"w": torch.tensor([1.0, -1.0, 1.0, 2.0])}
    scores = get_criterion("lamp").scores(ScoreInputs(w, {"w": torch.ones(4, dtype=torch.bool)}))["w"]
    assert scores.tolist() == pytest.approx([1 / 5, 1 / 6, 1 / 7, 1])


@pytest.mark.parametrize("name", ["random", "layer_random", "random_gmp_ratios"])
def test_random_scores_depend_on_seed_and_cycle_only(name):
    criterion = get_criterion(name)
    given = inputs("normal")
    torch.manual_seed(1)
    first = criterion.scores(given)
    torch.manual_seed(2)
    again = criterion.scores(ScoreInputs(inputs("zero").weights, given.masks, seed=0, cycle=2))
    assert all(torch.equal(first[layer], again[layer]) for layer in SHAPES)
    for seed, cycle in ((1, 2), (0, 3)):
        other = criterion.scores(ScoreInputs(given.weights, given.masks, seed=seed, cycle=cycle))
        assert not torch.equal(first["fc1"], other["fc1"])
    assert len({value for layer in SHAPES for value in at(first, layer)}) == sum(map(math.prod, SHAPES.values()))
    assert all(0 <= value < 1 for layer in SHAPES for value in at(first, layer))


def test_random_pruning_with_the_layer_densities_of_another_mask():
    other = get_criterion("global_magnitude").prune(inputs("normal"), 0.3)
    full = {name: torch.ones_like(mask) for name, mask in other.items()}
    kept = get_criterion("random").prune(ScoreInputs(inputs("normal").weights, full), layer_densities(other))
    assert layer_densities(kept) == layer_densities(other)
    assert any(not torch.equal(kept[name], other[name]) for name in kept)


def counts(masks):
    return [alive({name: mask}) for name, mask in masks.items()]


def test_random_pruning_with_global_magnitudes_layer_ratios_over_many_cycles():
    weights = inputs("normal").weights
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    total = sum(map(math.prod, SHAPES.values()))
    for cycle in range(1, 9):
        given = ScoreInputs(weights, masks, seed=3, cycle=cycle)
        by_magnitude = get_criterion("global_magnitude").prune(given, 0.7**cycle)
        kept = get_criterion("random_gmp_ratios").prune(given, 0.7**cycle)
        assert counts(kept) == counts(by_magnitude)
        assert alive(kept) == math.floor(total * 0.7**cycle + 0.5)
        assert all(bool((masks[name] | ~kept[name]).all()) for name in SHAPES)
        assert any(not torch.equal(kept[name], by_magnitude[name]) for name in SHAPES)
        scores = get_criterion("random_gmp_ratios").scores(given)
        # Not the draws of the other random criteria: masks from equal scores would be nested.
        assert not torch.equal(scores["conv1"], get_criterion("layer_random").scores(given)["conv1"])
        for name, mask in kept.items():
            dropped = scores[name][masks[name] & ~mask].tolist()
            assert all(score > max(dropped, default=-1) for score in scores[name][mask].tolist())
        masks = kept


def test_ratios_add_what_their_criterion_needs(monkeypatch):
    monkeypatch.setattr("prunebench.pruning.criteria.CRITERIA", dict(CRITERIA))
    needs = {"global_gradient": (True, False), "global_weight_change": (False, True), "lamp": (False, False)}
    given = inputs("normal")
    for ratios in needs:

        @register(f"{ratios}_ratios", scope="layer", ratios=ratios)
        def magnitude(given):
            """|w|"""
            return {name: w.abs() for name, w in given.weights.items()}

        criterion = get_criterion(f"{ratios}_ratios")
        assert (criterion.needs_gradients, criterion.needs_previous_weights) == needs[ratios]
        assert criterion.doc == f"|w|; each layer keeps as many weights as with {ratios}"
        kept = criterion.prune(given, 0.3)
        assert counts(kept) == counts(get_criterion(ratios).prune(given, 0.3))
        for name, mask in kept.items():
            ranked = given.weights[name].abs()[given.masks[name]].sort(descending=True).values.tolist()
            assert sorted(given.weights[name].abs()[mask].tolist(), reverse=True) == ranked[: int(mask.sum())]
    register("own_need", scope="layer", needs_previous_weights=True, ratios="layer_gradient")(magnitude)
    assert get_criterion("own_need").needs_gradients
    assert get_criterion("own_need").needs_previous_weights


def test_parameters_may_be_scored_as_they_are():
    layer = nn.Linear(3, 2)
    given = ScoreInputs({"weight": layer.weight}, {"weight": torch.ones(2, 3, dtype=torch.bool)})
    for name in ("global_magnitude", "lamp", "lookahead", "random"):
        assert not get_criterion(name).scores(given)["weight"].requires_grad


def test_a_diverged_network_is_refused():
    given = inputs("normal")
    given.masks["fc1"][0, 0] = True
    given.weights["fc1"][0, 0] = math.nan
    for name in ("global_magnitude", "lamp", "lookahead", "random_gmp_ratios"):
        with pytest.raises(InputError, match="contain NaN"):
            get_criterion(name).prune(given, 0.2)


def test_a_user_can_add_a_criterion(monkeypatch):
    monkeypatch.setattr("prunebench.pruning.criteria.CRITERIA", dict(CRITERIA))
    before = dict(CRITERIA)

    @register("layer_smallest", scope="layer")
    def smallest(given):
        """-|w|"""
        return {name: -w.abs() for name, w in given.weights.items()}

    criterion = get_criterion("layer_smallest")
    assert (criterion.scope, criterion.doc, criterion.needs_gradients) == ("layer", "-|w|", False)
    assert criterion.prune(inputs("normal"), 0.25).keys() == SHAPES.keys()
    assert before == CRITERIA


def test_bad_names_and_missing_inputs_give_one_clear_line():
    given = inputs("normal")
    bare = ScoreInputs(given.weights, given.masks)
    partial = ScoreInputs(given.weights, given.masks, {"conv1": given.weights["conv1"]})
    cases = [
        (
            lambda: get_criterion("global_magnitud"),
            "unknown criterion 'global_magnitud': did you mean 'global_magnitude'?",
        ),
        (lambda: register("lamp"), "criterion 'lamp' exists already"),
        (
            lambda: register("new", scope="layers"),
            "criterion 'new': unknown scope 'layers': did you mean 'layer'?",
        ),
        (
            lambda: register("new", scope="layer", ratios="global_magnitud"),
            "unknown criterion 'global_magnitud': did you mean 'global_magnitude'?",
        ),
        (lambda: register("new", ratios="lamp"), "criterion 'new' has ratios and scope 'global'; allowed: layer"),
        (lambda: get_criterion("layer_gradient").scores(bare), "criterion 'layer_gradient' needs gradients"),
        (
            lambda: get_criterion("global_weight_change").scores(bare),
            "criterion 'global_weight_change' needs previous_weights",
        ),
        (
            lambda: get_criterion("layer_gradient").scores(partial),
            "criterion 'layer_gradient': gradients lack 'norm'",
        ),
    ]
    for make, message in cases:
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
