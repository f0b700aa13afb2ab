"""The directional study's part of a preset: what it refuses in which words, and the settings around the reference."""

import pytest

from prunebench.errors import InputError
from prunebench.papers.directional.config import Sensitivity, arm_of
from prunebench.runs.updates import Grda
from prunebench.suite.preset import parse_preset

GRDA = "digits-resnet8-sgd"
ONE = {"c": 1, "mu": 0.5}


@pytest.mark.parametrize(
    ("path", "to", "words"),
    [
        (("grda",), {}, ["'directional.grda'", "at least 1"]),
        (("grda",), {"digits-mlp-sgd": [ONE]}, ["directional.grda names 'digits-mlp-sgd'", "mean '"]),
        (("grda",), {"digits-mlp": [ONE]}, ["momentum of 'digits-mlp' is 0.9"]),
        (("grda", GRDA), [], ["'directional.grda.digits-resnet8-sgd'", "at least 1"]),
        (("grda", GRDA), [{"c": 0, "mu": 0.5}], ["digits-resnet8-sgd.0: c is 0; allowed: > 0"]),
        (("grda", GRDA), [{"c": 1, "mu": 1}], ["digits-resnet8-sgd.0: mu is 1", "< 1"]),
        (("grda", GRDA), [ONE] * 2, ["directional.grda.digits-resnet8-sgd: holds grda.c1.mu0.5 twice"]),
        (("grda", GRDA), [{"c": 1, "nu": 0.5}], ["unknown key", "mean 'mu'?"]),
        (("grda", GRDA), [{"kind": "sgd"}], ["a setting of 'digits-resnet8-sgd' is not gRDA", "directional.updates"]),
        (("updates",), {"gmp_gradual": {"kind": "adamw"}}, ["directional.updates.gmp_gradual", "choose another"]),
        (("sensitivity", "mu_shifts"), [0.5], ["directional.sensitivity.mu_shifts: 0.5 is too much", "1.1"]),
        (("sensitivity", "mu_shifts"), [0.0], ["directional.sensitivity: holds grda.c0.1.mu0.6 twice"]),
        (("sensitivity", "c_factors"), [0], ["c_factors.0'"]),
        (("sensitivity", "tasks"), ["digits-mlp"], ["directional.sensitivity.tasks names 'digits-mlp'"]),
        (("sensitivity",), {"c_factors": [], "mu_shifts": []}, ["c_factors and mu_shifts are both empty"]),
        (("baselines", "l1"), [], ["'directional.baselines.l1'", "at least 1"]),
        (("baselines", "l1"), [0.1, 0.1], ["directional.baselines.l1: holds 0.1 twice"]),
        (("baselines", "ramp", "share"), 2, ["'directional.baselines.ramp.share'"]),
        (("connectivity", "pairs"), ["sgd:grda"], ["pairs.0'", "'sgd:grda'"]),
        (("connectivity", "pairs"), ["sgd:sgd_init"], ["plane.pairs names 'grda:sgd'"]),
        (("curvature", "epochs"), [5], ["directional.curvature.epochs: 5 is beyond the 4 of"]),
        (("curvature", "images"), 1025, ["directional.curvature.images: 1025"]),
        (("curvature", "k"), [], ["'directional.curvature.k'", "at least 1"]),
        (("curvature", "k"), [5, 5], ["holds 5 twice"]),
        (("curvature", "k"), [0], ["k.0'"]),
        (("toy", "gamma"), [0.1, 0.1], ["holds 0.1 twice"]),
        (("toy", "gamma"), [0.1, 10.0], ["directional.toy: t is 5, less than one update at gamma 10"]),
        (("toy", "mu"), 0.5, ["'directional.toy.mu'", "greater than 0.5"]),
        (("toy", "problems"), [], ["'directional.toy.problems'", "at least 1"]),
        (("toy", "problems"), ["networks"], ["problems.0'", "mean 'network'?"]),
        (("toy", "seeds"), [0, 0], ["holds 0 twice"]),
        (("released", "tasks"), ["digits-mlp"], ["directional.released.tasks names 'digits-mlp'"]),
        (("released", "task"), [GRDA], ["unknown key", "mean 'tasks'?"]),
        (("overhead",), {"resnet50": False}, ["directional.overhead: nothing to time"]),
        (("overhead", "tasks"), ["nope"], ["directional.overhead.tasks names 'nope'"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_bad_value_is_one_line_that_names_file_key_and_what_is_allowed(smoke, path, to, words):
    with pytest.raises(InputError) as caught:
        parse_preset(smoke.changed("directional", *path, to=to), "my.yaml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("my.yaml: ")
    for word in words:
        assert word in message


def test_settings_around_the_reference_change_c_or_mu():
    reference = Grda(c=0.1, mu=0.6, spare_norm_and_bias=True)
    around = Sensitivity(c_factors=[0.5, 2.0], mu_shifts=[-0.1, 0.1]).settings(reference)
    assert [(setting.c, setting.mu, factor, shift) for setting, factor, shift in around] == [
        (0.05, 0.6, 0.5, 0.0),
        (0.2, 0.6, 2.0, 0.0),
        (0.1, 0.5, 1.0, -0.1),
        (0.1, 0.7, 1.0, 0.1),
    ]
    assert all(setting.spare_norm_and_bias for setting, *_ in Sensitivity().settings(reference))


def test_arms_are_named_for_their_setting():
    assert arm_of(Grda(c=0.1, mu=0.6)) == "grda.c0.1.mu0.6"
    assert arm_of(Grda(c=1e-5, mu=0.51, spare_norm_and_bias=True)) == "grda.c1e-05.mu0.51.spared"
