"""A machine's throughput: the file that is read back, and what is refused."""

import pytest

from prunebench.errors import InputError
from prunebench.runs.estimate import Estimate
from prunebench.suite.machine import COLUMNS, Machine, Throughput, Workload, workload_of
from prunebench.suite.plan import make_plan

WORKLOAD = Workload('{"kind":"mlp"}', 1, 10, 8, 64, "fp32", 1)


def row(**keys):
    fields = vars(WORKLOAD) | {"device": "Made-up CPU", "start_s": 2.0}
    speeds = {"training_images_per_s": 100, "evaluation_images_per_s": 400}
    return Throughput.model_validate(fields | speeds | keys)


def test_a_file_comes_back_as_it_was(tmp_path):
    machine = Machine([row(), row(batch=32, start_s=3.0)], "here")
    machine.write(tmp_path / "machine.csv")
    back = Machine.read(tmp_path / "machine.csv")
    assert (back.rows, back.device, back.start) == (machine.rows, "Made-up CPU", 2.5)
    assert (tmp_path / "machine.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_seconds_are_those_of_the_start_the_images_and_what_no_network_tells():
    machine = Machine([row()], "here")
    estimate = Estimate(training=1000, evaluation=2000, seconds=7)
    assert machine.seconds(WORKLOAD, estimate) == 2 + 7 + 10 + 5
    assert machine.seconds(None, estimate) == 2 + 7


def test_a_network_that_was_not_measured_is_named():
    with pytest.raises(InputError, match=r'^here has no throughput of {"kind":"mlp"}, 1x8x8, batch 32, .*--probe$'):
        Machine([row()], "here").seconds(Workload(**vars(WORKLOAD) | {"batch": 32}), Estimate())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no such file"),
        ("", "has no rows"),
        (("100", "0"), "row 1: 'training_images_per_s'"),
        (("100", "nan"), "row 1: 'training_images_per_s'"),
        (("100", "fast"), "row 1: 'training_images_per_s'"),
        (("fp32", "fp8"), "row 1: 'precision' is 'fp8'"),
        (("batch", "batches"), "batch"),
        (("64", "32"), "holds a network twice"),
        (("Made-up CPU", "Another"), "several devices: Another, Made-up CPU"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "machine.csv"
    Machine([row(), row(batch=32)], "here").write(path)
    if change is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(*change, 1) if change else path.read_text().splitlines()[0])
    with pytest.raises(InputError) as caught:
        Machine.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_workload_holds_what_a_job_s_speed_depends_on(toy_preset):
    preset = toy_preset()
    jobs = make_plan(preset).jobs("toy")
    workload = workload_of(preset, jobs[0])
    assert workload == workload_of(preset, jobs[1])
    data = preset.datasets[jobs[0].dataset]
    assert (workload.channels, workload.classes, workload.side) == (data.source.channels, 10, data.side)
    assert workload_of(preset, jobs[0].model_copy(update={"batch_size": 99})) != workload
