"""TensorBoard event files: the rows of a job's tables, each once, however often the job was killed."""

import shutil
from collections import Counter

import pytest

from prunebench.errors import InputError
from prunebench.runs import events
from prunebench.runs.engine import train
from prunebench.runs.events import FILES, FOLDER, TAGS, with_events


@pytest.fixture
def spec(workshop):
    chain = [workshop.phase(), workshop.phase(prune=[workshop.prune(0.5)])]
    return workshop.spec(chain, [workshop.phase(max_lr=0.01)])


def shown(out):
    """(arm, tag, step) -> values, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = {}
    for folder in sorted((out / FOLDER).iterdir()):
        read = EventAccumulator(str(folder))
        read.Reload()
        for tag in read.Tags()["scalars"]:
            for event in read.Scalars(tag):
                seen.setdefault((folder.name, tag, event.step), []).append(event.value)
    return seen


def told(workshop, out):
    """The same of the job's tables."""
    seen, steps = {}, Counter()
    for table, tags in TAGS.items():
        for row in workshop.rows(out, table):
            steps[row["arm"]] += int(row["steps"])
            at = int(row["steps"]) if table == "epochs" else steps[row["arm"]]
            seen |= {(row["arm"], tag, at): float(row[name]) for name, tag in tags.items() if row[name]}
        steps.clear()
    return seen


needs_tensorboard = pytest.mark.skipif(
    not events.find_spec("tensorboard"), reason="needs tensorboard, the extra of that name"
)


@needs_tensorboard
def test_every_row_is_there_once_and_no_table_has_another_byte(workshop, spec):
    plain = workshop.run(spec)
    out = plain.with_name("with-events")
    out.mkdir()
    with_events(train)(workshop.job(spec, out), out)
    seen = shown(out)
    assert all(len(values) == 1 for values in seen.values())
    assert {key: values[0] for key, values in seen.items()} == pytest.approx(told(workshop, out), rel=1e-6)
    assert {tag for _, tag, _ in seen} == {tag for tags in TAGS.values() for tag in tags.values()}
    shutil.rmtree(out / FOLDER)
    assert workshop.results(out) == workshop.results(plain)


@needs_tensorboard
def test_a_killed_job_that_resumes_writes_nothing_twice(workshop, spec):
    out = workshop.runs / spec.folder
    out.mkdir(parents=True)
    tries = 0
    for kill_at in (4, 5, 3, None):
        tries += 1
        try:
            with_events(train)(workshop.job(spec, out, kill_at), out)
        except workshop.killed:
            continue
    assert tries == 4
    seen = shown(out)
    assert all(len(values) == 1 for values in seen.values())
    assert {key: values[0] for key, values in seen.items()} == pytest.approx(told(workshop, out), rel=1e-6)
    assert len([*(out / FOLDER).glob(f"*/{FILES}")]) == 2  # one per arm


@needs_tensorboard
def test_of_several_processes_the_first_one_writes(workshop, spec, tmp_path):
    class Second:
        class processes:
            rank = 1

    given = []
    with_events(lambda job, out: given.append(job))(Second, tmp_path)
    assert given == [Second]
    assert not (tmp_path / FOLDER).exists()


def test_without_the_package_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'prunebench\[tensorboard\]'"):
        with_events(train)
