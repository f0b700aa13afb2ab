"""The S-Cyc study's part of a preset: its defaults, and what it refuses in which words."""

import pytest

from prunebench.errors import InputError
from prunebench.papers.s_cyc.config import GradientMeasure, Oracle, SCyc
from prunebench.runs.probes import Gradients
from prunebench.suite.preset import parse_preset


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("s_cyc", "oracle", "tolerence"), 0, ["'s_cyc.oracle.tolerence'", "mean 'tolerance'?"]),
        (("s_cyc", "accuracy", 0, "criterias"), [], ["'s_cyc.accuracy.0.criterias'", "mean 'criteria'?"]),
        (("s_cyc", "accuracy", 0, "criteria"), ["globl_magnitude"], ["s_cyc.accuracy.0.criteria", "global_magnitude"]),
        (("s_cyc", "accuracy", 0, "tasks"), ["digits-resnet"], ["s_cyc.accuracy[0].tasks", "mean 'digits-resnet8'?"]),
        (("s_cyc", "accuracy", 0, "tasks"), "digits-resnet8", ["'s_cyc.accuracy.0.tasks'", "list"]),
        (("s_cyc", "accuracy", 1, "schedules"), ["cyclic"], ["s_cyc.accuracy[1].schedules", "mean 'cyclical'?"]),
        (("s_cyc", "gradients", 0, "tasks"), ["digits-mpl"], ["s_cyc.gradients[0].tasks", "mean 'digits-mlp'?"]),
        (("s_cyc", "pruning", "rate"), 1.2, ["'s_cyc.pruning.rate'", "less than 1", "1.2"]),
        (("s_cyc", "pruning", "after"), "rewnd", ["s_cyc.pruning.after", "rewind_weights", "'rewnd'"]),
        (("s_cyc", "pruning", "rewind_epoch"), 2, ["s_cyc.pruning.rewind_epoch"]),
        (("s_cyc", "pruning", "cycles"), 10**12, ["s_cyc.pruning.cycles", "less than or equal to 1000"]),
        (("s_cyc", "pruning", "score_images"), 1025, ["pruning.score_images", "'digits'"]),
        (("s_cyc", "oracle", "criterion"), "lampp", ["s_cyc.oracle.criterion", "mean 'lamp'?"]),
        (("s_cyc", "oracle", "task"), "digits", ["s_cyc.oracle.task", "'digits'"]),
        (("s_cyc", "oracle", "schedule"), "cyclic", ["s_cyc.oracle.schedule", "mean 'cyclical'?"]),
        (("s_cyc", "oracle", "max_lr"), [0.3, 0.1], ["s_cyc.oracle.max_lr", "ascend"]),
        (("s_cyc", "oracle", "max_lr"), [0.1, 0.1], ["s_cyc.oracle.max_lr", "without repeats"]),
        (("s_cyc", "oracle", "max_lr"), [-1, 0.1], ["s_cyc.oracle.max_lr", "greater than 0"]),
        (("s_cyc", "released", "task"), "digits", ["s_cyc.released.task", "'digits'"]),
        (("s_cyc", "released", "small_task"), "digits-fifth", ["s_cyc.released.small_task", "mean '"]),
        (
            ("s_cyc", "released", "small_task"),
            "digits-resnet8",
            ["'digits' has 1024 training images", "419 of the 1024"],
        ),
        (
            ("datasets", "digits-fifth", "split_seed"),
            1,
            ["s_cyc.released.small_task", "number of training images alone"],
        ),
        (("datasets", "digits-fifth", "train"), 420, ["'digits-fifth' has 420 training images", "419 of the 1024"]),
        (("tasks", "digits-resnet8-fifth", "augmentation"), {}, ["must differ from 'digits-resnet8'"]),
        (("s_cyc", "released", "criterion"), "layer_magnitude", ["s_cyc.released.criterion", "each layer by itself"]),
        (("s_cyc", "released", "schedule"), "s_cyc", ["s_cyc.released.schedule", "warmup_step_decay"]),
        (("s_cyc", "released", "schedule"), "silo_cut", ["s_cyc.released.schedule", "reaches max_lr"]),
        (("s_cyc", "released", "truncated"), "silo", ["s_cyc.released.truncated", "ends below max_lr"]),
        (("s_cyc", "released", "truncated"), "s_cyc", ["s_cyc.released.truncated", "must be 'silo'"]),
        (("s_cyc", "released", "truncated"), "slo_cut", ["s_cyc.released.truncated", "mean 'silo_cut'?"]),
        (("schedules", "silo_cut", "policy", "beta"), 3, ["s_cyc.released.truncated"]),
        (("schedules", "silo_cut", "profile", "top"), 0, ["schedules.silo_cut.profile", "top is 0"]),
        (("s_cyc", "timing", "task"), "digits", ["s_cyc.timing.task", "'digits'"]),
        (("s_cyc", "timing", "reference"), "cyclic", ["s_cyc.timing.reference", "mean 'cyclical'?"]),
        (("s_cyc", "timing", "reference"), "s_cyc", ["s_cyc.timing", "'s_cyc' is compared with itself"]),
        (("s_cyc", "timing", "blocks"), 1, ["s_cyc.timing.blocks", "greater than or equal to 2"]),
        (("s_cyc", "gradient_measure", "at"), [], ["s_cyc.gradient_measure.at"]),
        (("s_cyc", "gradient_measure", "at"), [0.5], ["gradient_measure", "end with 1"]),
        (("s_cyc", "gradient_measure", "images"), 1025, ["gradient_measure.images", "'digits'"]),
        (("s_cyc", "gradient_measure", "trained"), 1.5, ["s_cyc.gradient_measure.trained", "1.5"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_bad_value_is_one_line_that_names_file_key_and_what_is_allowed(smoke, path, value, words):
    with pytest.raises(InputError) as caught:
        parse_preset(smoke.changed(*path, to=value), "my.yaml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("my.yaml: ")
    for word in words:
        assert word in message


def test_a_policy_that_ends_before_the_cycles_is_refused_before_anything_trains(smoke):
    def table(values):
        return smoke.changed("schedules", "constant", "policy", to={"kind": "table", "values": values})

    with pytest.raises(InputError, match=r"schedules\.constant.*cycle 2"):
        parse_preset(table([0.1, 0.1]), "my.yaml")
    parse_preset(table([0.1] * 4), "my.yaml")


def test_a_schedule_may_not_take_the_oracle_s_name(smoke):
    with pytest.raises(InputError, match=r"schedules\.oracle"):
        parse_preset(smoke.changed("schedules", "oracle", to=smoke.content["schedules"]["constant"]), "my.yaml")


def test_gradient_images_count_for_gradient_criteria_alone(smoke):
    """Magnitudes need no images: too many of them are no fault where no criterion takes gradients."""
    grid = smoke.content["s_cyc"]["accuracy"][:1]
    study = {**smoke.content["s_cyc"], "accuracy": grid, "pruning": {"rate": 0.75, "cycles": 3, "score_images": 9999}}
    study = parse_preset(smoke.changed("s_cyc", to=study), "my.yaml").s_cyc
    assert study.score_images("global_magnitude") is None
    assert study.score_images("global_gradient") == 9999


def test_a_measure_is_a_probe_and_what_counts_as_trained_is_no_part_of_it():
    measure = GradientMeasure(images=10, at=[0.5, 1.0], trained=0.8)
    assert measure.probe() == Gradients(10, (0.5, 1.0))
    assert (GradientMeasure(images=10).trained, GradientMeasure(images=10).probe()) == (0.9, Gradients(10))


def test_the_grid_is_split_in_portions():
    grid = {"task": "t", "criterion": "random", "schedule": "s", "max_lr": [0.1, 0.2, 0.4]}
    assert Oracle(**grid).batches() == [[0.1, 0.2, 0.4]]
    assert Oracle(**grid, candidates_per_job=2).batches() == [[0.1, 0.2], [0.4]]


def test_a_cell_in_several_grids_is_one_chain():
    grid = {"tasks": ["a", "b"], "criteria": ["random"], "schedules": ["s"]}
    study = SCyc(pruning={"rate": 0.5, "cycles": 1}, accuracy=[grid, grid], gradients=[grid | {"tasks": ["b", "c"]}])
    assert study.cells() == [(task, "random", "s") for task in "abc"]
    assert study.compared() - study.measured() == {("a", "random", "s")}


def test_whole_batches_of_test_images_need_as_many_images(smoke):
    content = smoke.changed("datasets", "digits", "test", to=63)
    content["datasets"]["digits-fifth"]["test"] = 63
    with pytest.raises(InputError, match=r"whole batches, here of 64, and 'digits' has 63 test images"):
        parse_preset(content, "my.yaml")
