"""The cascade study's part of a preset: what it refuses, and in which words."""

import pytest

from prunebench.errors import InputError
from prunebench.papers.cascade.config import PARTS

TWO_OF_FOUR = {"kind": "n_of_m", "n": 2, "m": 4}
PRELUDE = {"sparsity": 0.1, "epochs": 1, "max_lr": 0.1, "weight_decay": 0}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("dense",), "step_decy", ["cascade.dense names 'step_decy'", "mean 'step_decay'?"]),
        (("denso",), 1, ["unknown key 'cascade.denso'", "mean 'dense'?"]),
        (("retrain", "epoch"), 1, ["'cascade.retrain.epoch'", "mean 'epochs'?"]),
        (("retrain", "max_lr"), 0, ["'cascade.retrain.max_lr'", "greater than 0"]),
        (
            ("retrain", "profile"),
            {"kind": "step_decay", "milestones": [0.6, 0.5]},
            ["cascade.retrain.profile: ", "milestones"],
        ),
        (("preludes", "shedding", "epochs"), 3, ["cascade.preludes.shedding.epochs is 3", "retrain has 3"]),
        (("preludes", "shedding", "sparsity"), 0.99, ["cascade.criteria: prelude 'shedding' must prune less"]),
        (("preludes", "shedding", "control"), "no_decoy", ["cascade.preludes.shedding.control", "no_decay"]),
        (("preludes", "none"), PRELUDE, ["cascade.preludes.none", "no prelude"]),
        (("groups_per_job",), 0, ["cascade.groups_per_job", "greater than or equal to 1"]),
        (("criteria", "preludes"), ["sheding"], ["cascade.criteria.preludes", "mean 'shedding'?"]),
        (("gmp", "preludes"), ["none"], ["cascade.gmp.preludes names 'none'"]),
        (("semi_structured", "preludes"), ["x"], ["cascade.semi_structured.preludes names 'x'"]),
        (("gmp", "tasks"), ["digits-resnet"], ["cascade.gmp.tasks", "mean 'digits-resnet8'?"]),
        (("criteria", "tasks"), ["digits-resnet8"] * 2, ["cascade.criteria.tasks: holds digits-resnet8 twice"]),
        (("criteria", "prelude_tasks"), ["digits-mlp"], ["cascade.criteria.prelude_tasks names 'digits-mlp'"]),
        (("criteria", "criteria"), ["lampp"], ["cascade.criteria.criteria.0", "mean 'lamp'?"]),
        (("criteria", "criteria"), ["random", "lamp", "random"], ["cascade.criteria.criteria: holds random twice"]),
        (("schedules", "criterion"), "global_weight_change", ["arm iterative.cosine", "compares", "nothing keeps"]),
        (("criteria", "sparsities"), [0.5, 1], ["cascade.criteria.sparsities.1", "less than 1"]),
        (("retraining", "sparsities"), [0.8, 0.8], ["cascade.retraining.sparsities: holds 0.8 twice"]),
        (("retraining", "rewind_epoch"), 2, ["cascade.retraining.rewind_epoch", "'digits-resnet8'"]),
        (("shedding", "removable_images"), 257, ["cascade.shedding.removable_images", "256 validation images"]),
        (
            ("shedding", "settings", 0, "pruned_shares"),
            [0.2, 0.2],
            ["cascade.shedding.settings.0.pruned_shares: holds 0.2 twice"],
        ),
        (("shedding", "settings", 0, "weight_decay"), 0.1, ["cascade.shedding: the same arm twice"]),
        (("shedding", "settings", 0, "tasks"), ["digits-mlp"], ["cascade.shedding.settings.tasks names 'digits-mlp'"]),
        (
            ("shedding", "settings"),
            [{"max_lr": 0.1, "weight_decay": 0, "pruned_shares": [0.2], "tasks": ["digits-resnet8"]}],
            ["cascade.shedding: no setting names the task 'digits-mobilenet'"],
        ),
        (("schedules", "rounds"), 3, ["cascade.schedules", "epochs is 2", "rounds, 3"]),
        (("schedules", "rounds"), 1, ["cascade.schedules.rounds", "greater than or equal to 2"]),
        (("schedules", "ramp", "share"), 1.1, ["cascade.schedules.ramp.share", "less than or equal to 1"]),
        (("schedules", "lr_schedules"), {}, ["cascade.schedules.lr_schedules", "at least 1"]),
        (("schedules", "lr_schedules", "low", "profile", "kind"), "cosin", ["low.profile", "mean 'cosine'?"]),
        (
            ("schedules", "lr_schedules", "low", "profile"),
            {"kind": "cyclical", "periods": -1},
            ["cascade.schedules.lr_schedules.low.profile: ", "periods", "-1"],
        ),
        (("schedules", "lr_schedules", "../x"), {}, ["lr_schedules.../x"]),
        (("gmp", "ramp", "share"), 0.3, ["cascade.gmp.ramp ends after 0.9 epochs, within a prelude"]),
        (("semi_structured", "patterns", 0, "n"), 4, ["patterns.0", "n is 4", "below m, 4"]),
        (("semi_structured", "patterns", 0, "n"), 0, ["patterns.0", "greater than or equal to 1"]),
        (("semi_structured", "patterns", 0, "kind"), "nofm", ["patterns.0", "mean 'n_of_m'?"]),
        (("semi_structured", "patterns", 1), TWO_OF_FOUR, ["cascade.semi_structured: the same arm twice: 2-of-4.none"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_bad_value_is_one_line_that_names_key_and_what_is_allowed(smoke, path, value, words):
    """What only shows when jobs are made (the same arm twice, a ramp within a prelude) is told by the plan."""
    with pytest.raises(InputError) as caught:
        smoke.plan(smoke.changed("cascade", *path, to=value))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


def test_an_update_without_weight_decay_is_refused(smoke):
    content = smoke.changed("tasks", "digits-resnet8", "training", "update", to={"kind": "grda", "c": 0.005, "mu": 0.6})
    with pytest.raises(
        InputError, match=r"cascade\.shedding\.tasks: the update of 'digits-resnet8' has no weight decay"
    ):
        smoke.plan(content)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_may_be_left_out(smoke, part):
    parts = smoke.plan(smoke.changed("cascade", part, to=None)).preset.cascade.parts()
    assert [*parts] == [name for name in PARTS if name != part]
