"""Presets: what they resolve to, what they refuse and in which words, and what changes no job's specification."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from prunebench.errors import InputError
from prunebench.runs.updates import Sgd
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import MOST_CHANGES, changes, load_preset, parse_preset
from prunebench.suite.tasks import Training

ROOT = Path(__file__).parents[3]
KEPT = sorted((ROOT / "config").glob("*.yaml"))
SMOKE = json.loads(json.dumps(yaml.safe_load((ROOT / "config/smoke.yaml").read_text())))  # without shared aliases

LONGER = {"epochs": 3, "schedule": "cosine", "accuracy": 0.5}
NET, TRAINING, OURS = ("tasks", "net"), ("tasks", "net", "training"), ("schedules", "ours")


@pytest.fixture
def refusal(only_toys):
    """The one line with which a preset is refused."""

    def of(content):
        with pytest.raises(InputError) as caught:
            parse_preset(content, "my.yaml")
        message = str(caught.value)
        assert len(message.splitlines()) == 1
        assert message.startswith("my.yaml: ")
        return message

    return of


@pytest.fixture
def digests(only_toys):
    """The digests of a preset's jobs by folder."""
    return lambda content: {job.folder: job.digest() for job in make_plan(parse_preset(content, "x")).jobs()}


# --- What is read


def test_the_two_first_scales_are_kept():
    assert {"smoke", "laptop"} <= {path.stem for path in KEPT}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_preset_has_its_file_s_name_and_survives_its_own_json(path):
    preset = load_preset(path)
    assert preset.preset == path.stem
    assert parse_preset(json.loads(preset.model_dump_json()), "plan.json") == preset


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_preset_s_schedules_say_where_their_numbers_come_from(path):
    for name, schedule in load_preset(path).schedules.items():
        assert any(mark in schedule.source for mark in ("[ours]", "[authors' code", "[paper")), name


def test_a_preset_knows_its_studies_margins_and_methods(toy_preset, changed):
    preset = toy_preset(claims={"toy": {"t1_gain": 0.5}})
    assert [*preset.all_papers()] == ["toy", "other"]
    assert [*preset.studies()] == ["toy"]
    assert preset.study("other") is None
    assert (preset.margins("toy").t1_gain, preset.margins("toy").t2_gap) == (0.5, 0.005)
    assert preset.margins("other").u1_gain == 0.02
    assert preset.methods("schedule") == ["ours", "theirs", "benchmark"]
    assert "global_magnitude" in preset.methods("criterion")
    assert preset.methods("update") == []


def test_the_updates_of_a_study_are_methods_that_a_claim_can_be_asked_of():
    updates = {"mine": {"kind": "adamw"}}
    content = {**SMOKE, "directional": {**SMOKE["directional"], "updates": updates}}
    assert parse_preset(content, "x").methods("update") == ["mine"]


def test_without_an_update_of_its_own_a_task_trains_by_sgd():
    training = Training(epochs=1, batch_size=2, momentum=0.5, weight_decay=0.1)
    assert training.mover == Sgd(0.5, 0.1)
    assert Training(epochs=1, batch_size=2, update={"kind": "adamw"}).mover != Sgd()


def test_every_job_on_a_task_has_the_task_s_fields(toy_preset):
    fields = toy_preset().task_fields("net", 2)
    assert (fields["task"], fields["dataset"], fields["seed"], fields["batch_size"]) == ("net", "d", 2, 10)


def test_a_paper_and_a_plugin_from_outside_are_found_by_their_paths(toy_content, only_toys, refusal, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("raise ValueError('half written')\n")
    for key, path in (("papers", "nowhere"), ("plugins", "nowhere.py"), ("plugins", str(plugin))):
        message = refusal(toy_content(**{key: [path]}))
        assert path in message
    assert "'plugins'" in refusal(toy_content(plugins="mine.py"))
    (tmp_path / "empty.py").write_text("")
    assert "defines no PAPER" in refusal(toy_content(papers=[str(tmp_path / "empty.py")]))
    papers = toy_content()["papers"]
    assert "the key 'toy' belongs to another paper" in refusal(toy_content(papers=[papers[0], papers[0] + "/"]))


# --- Files


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"- 1\n", b"a: [1", b"\xff\xfe\0", b"a: !!python/object:os.system x", b"? {a: 1}\n: 2", b"\t"),
        *(b"a: 2001-99-99", b"a: !!int x", b"[" * 5000, b"seeds: &a [*a]", b"a: \0"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_file_that_is_no_preset_is_one_line_that_names_it(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_bytes(text)
    with pytest.raises(InputError) as caught:
        load_preset(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_comes_with_the_nearest_preset():
    with pytest.raises(InputError, match=r"smok\.yaml: No such file or directory; did you mean 'smoke'\? allowed: "):
        load_preset(ROOT / "config/smok.yaml")
    with pytest.raises(InputError, match="Is a directory"):
        load_preset(ROOT / "config")


def test_overrides_are_laid_over_the_file_key_by_key(only_toys, toy_content, tmp_path):
    """Snakemake hands on `--config`; below the first level it leaves values as text."""
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(toy_content()))
    preset = load_preset(
        path, {"seeds": [7], "tasks": {"net": {"training": {"epochs": 3}}}, "toy": {"timing": "null"}, "resources": {}}
    )
    assert preset.seeds == [7]
    assert (preset.tasks["net"].training.epochs, preset.tasks["net"].training.batch_size) == (3, 10)
    assert preset.toy.timing is None
    assert preset.resources.threads == 1


def test_an_override_says_null_below_what_the_file_does_not_hold(only_toys, toy_content, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(toy_content()))
    cifar = {"kind": "cifar10", "checksum": "null"}
    preset = load_preset(path, {"datasets": {"d": {"source": cifar}}})
    assert preset.datasets["d"].source.checksum is None


def test_an_override_of_one_place_of_a_yaml_alias_leaves_the_others(only_toys, toy_content, tmp_path):
    content = toy_content()
    content["tasks"]["other"] = content["tasks"]["net"]
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(content))
    assert "&" in path.read_text()
    preset = load_preset(path, {"tasks": {"other": {"training": {"epochs": 9}}}})
    assert [task.training.epochs for task in preset.tasks.values()] == [1, 9]


# --- What is refused


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("sedes",), [1], ["unknown key 'sedes'", "did you mean 'seeds'?"]),
        (("a\nb",), 1, ["unknown key"]),
        ((*NET, "trainning"), {}, ["'tasks.net.trainning'", "did you mean 'training'?"]),
        ((*TRAINING, "momentun"), 1, ["'tasks.net.training.momentun'", "mean 'momentum'?"]),
        ((*OURS, "policy", "betta"), 3, ["schedules.ours.policy", "unknown key 'betta'", "allowed: kind, max_lr"]),
        ((*OURS, "profile", "period"), 3, ["schedules.ours.profile", "period'", "mean 'periods'?"]),
        (("longer",), {"net": LONGER | {"epochs": 1}}, ["'longer.net.epochs'", "greater than or equal to 2"]),
        (("longer",), {"net": LONGER | {"accuracy": 86}}, ["'longer.net.accuracy'", "less than or equal to 1"]),
        (("longer",), {"nett": LONGER}, ["longer names 'nett'", "mean 'net'?"]),
        (("toy", "taks"), [], ["'toy.taks'", "mean 'tasks'?"]),
        (("claims",), {"toy": {"t1_gian": 1}}, ["'claims.toy.t1_gian'", "mean 't1_gain'?"]),
        (("claims",), {"toy": {"t1_gain": 2}}, ["'claims.toy.t1_gain'", "less than or equal to 1"]),
        (("claims",), {"toys": {}}, ["'claims.toys'", "mean 'toy'?"]),
        (("claims",), {"not_at_this_scale": {"everything": "x"}}, ["claims.not_at_this_scale.everything"]),
        (("claims",), {"calibration": {"seeds": [3, 3]}}, ["claims.calibration.seeds: holds 3 twice"]),
        (("claims",), {"calibration": {"seeds": [1]}}, ["claims.calibration.seeds.0", "greater than or equal to 2"]),
        ((*NET, "network", "kind"), "resnt", ["tasks.net.network", "'resnt'", "mean 'resnet'?"]),
        ((*NET, "network", "kind"), "res\nnet", ["tasks.net.network"]),
        ((*NET, "network", "activation"), "rellu", ["network", "activation", "'rellu'", "mean 'relu'?"]),
        ((*NET, "network"), {"kind": "torchvision_resnet50"}, ["tasks.net", "colour"]),
        ((*OURS, "profile", "kind"), "cyclicl", ["schedules.ours.profile", "mean 'cyclical'?"]),
        ((*OURS, "policy", "kind"), "s_shap", ["schedules.ours.policy", "mean 's_shape'?"]),
        ((*OURS, "profile"), {}, ["schedules.ours.profile", "'kind'"]),
        ((*OURS, "policy", "max_lr"), -1, ["schedules.ours", "max_lr", "-1", "> 0"]),
        ((*OURS, "policy", "max_lr"), math.inf, ["schedules.ours", "max_lr", "finite"]),
        (
            (*OURS, "profile"),
            {"kind": "step_decay", "milestones": [0.6, 0.5]},
            ["schedules.ours.profile", "milestones"],
        ),
        ((*OURS, "role"), "metod", ["'schedules.ours.role'", "mean 'method'?"]),
        (("schedules", "oracle"), {}, ["schedules.oracle"]),
        ((*TRAINING, "batch_size"), 101, ["tasks.net.training.batch_size is 101", "100", "'d'"]),
        ((*TRAINING, "epochs"), "two", ["'tasks.net.training.epochs'", "integer", "'two'"]),
        ((*TRAINING, "epochs"), 2.5, ["'tasks.net.training.epochs'", "2.5"]),
        ((*TRAINING, "weight_decay"), math.inf, ["training.weight_decay", "finite"]),
        ((*TRAINING, "momentum"), math.nan, ["training.momentum"]),
        ((*TRAINING, "update"), {"kind": "grad"}, ["tasks.net.training.update", "mean 'grda'?"]),
        ((*NET, "dataset"), "dd", ["tasks.net.dataset", "'dd'", "mean 'd'?"]),
        (("datasets", "d", "source"), "digts", ["datasets.d.source", "mean 'digits'?"]),
        (("datasets", "d", "size"), 3, ["'datasets.d.size'", "greater than or equal to 4"]),
        (("toy", "tasks"), ["nett"], ["toy.tasks", "mean 'net'?"]),
        (("toy", "tasks"), ["net", "net"], ["toy.tasks: holds net twice"]),
        (("toy", "tasks"), "net", ["'toy.tasks'", "list"]),
        (("seeds",), [0, 0], ["seeds", "twice"]),
        (("seeds",), [], ["'seeds'", "at least 1"]),
        (("seeds",), [-1], ["'seeds.0'", "greater than or equal to 0"]),
        (("preset",), "../x", ["'preset'", "'../x'"]),
        (("preset",), "<b>", ["'preset'", "'<b>'"]),
        (("tasks", "<b>"), {}, ["tasks.<b>"]),
        (("tasks", "../x"), {}, ["tasks.../x"]),
        (("tasks", "x\n"), {}, ["tasks.x"]),
        (("tasks", 5), {}, ["tasks.5"]),
        (("datasets", "a/b"), {}, ["datasets.a/b"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_bad_value_is_one_line_that_names_file_key_and_what_is_allowed(changed, refusal, path, value, words):
    message = refusal(changed(*path, to=value))
    for word in words:
        assert word in message


def test_longer_training_is_longer_than_the_recipe(changed, refusal):
    content = changed("longer", to={"net": LONGER})
    assert parse_preset(content, "my.yaml").longer["net"].epochs == 3
    content["tasks"]["net"]["training"]["epochs"] = 3
    assert "longer.net.epochs is 3, no more than the recipe's 3" in refusal(content)


@pytest.mark.parametrize("key", ["preset", "scale", "seeds", "datasets", "tasks"])
def test_a_missing_key_is_named(changed, refusal, key):
    assert f"'{key}': field required" in refusal(changed(key, remove=True))


def test_a_missing_key_below_is_named_by_its_path(changed, refusal):
    assert "'tasks.net.training': field required" in refusal(changed(*TRAINING, remove=True))


@pytest.mark.parametrize("content", [None, [], [1], "x", 5])
def test_what_is_no_mapping_is_refused(refusal, content):
    message = refusal(content)
    assert "mapping" in message
    assert "Preset" not in message  # no class of ours says anything to a user


@pytest.mark.parametrize("remove", [True, False])
def test_a_preset_without_a_study_is_refused(changed, refusal, remove):
    assert "no study: a preset needs one of toy, other" in refusal(changed("toy", remove=remove))


def places(value, path=()):
    """The path of every key and list entry of a preset."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["../x", "<script>", "a\nb", "cyclical", "digits", "1e3", "{x}", 10**400, [], {}, [[]], [None]]),
    st.dictionaries(st.text(max_size=4) | st.integers() | st.none(), st.none() | st.integers(), max_size=2),
    st.lists(st.integers() | st.floats() | st.text(max_size=3), max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(places(SMOKE))), ODD, st.booleans()), min_size=1, max_size=3))
def test_a_mutated_preset_of_all_papers_resolves_or_is_refused_in_one_line(mutations):
    content = copy.deepcopy(SMOKE)
    for path, value, as_key in mutations:
        place = content
        try:
            for key in path[:-1]:
                place = place[key]
            if as_key and isinstance(place, dict):
                place[value if isinstance(value, str | int | None) else "odd"] = place.pop(path[-1])
            else:
                place[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier mutation took the place away
    try:
        jobs, message = make_plan(parse_preset(content, "my.yaml")).jobs(), ""
    except InputError as error:
        jobs, message = [], str(error)
    assert len(message.splitlines()) == (not jobs)
    for job in jobs:
        assert ".." not in job.folder.split("/")
        again = json.loads(json.dumps(job.content(), allow_nan=False))
        assert type(job).model_validate(again) == job


# --- What changes which job


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("scale",), "another label"),
        (("raw_data",), "/some/where"),
        (("resources",), {"mem_mb": 3000, "runtime": 5}),
        (("resources",), {"tensorboard": True}),
        (("claims",), {"toy": {"t1_gain": 0.5}, "calibration": {"tables": 100}}),
        ((*TRAINING, "precision"), "fp32"),  # defaults, written out
        ((*NET, "augmentation"), {"pad": 0}),
        ((*TRAINING, "weight_decay"), 5e-4),
        ((*OURS, "role"), "control"),
        ((*OURS, "source"), "[authors' code]"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_no_run_depends_on_changes_no_job(changed, toy_content, digests, path, value):
    assert digests(changed(*path, to=value)) == digests(toy_content())


def test_what_changes_no_result_changes_no_digest_of_the_preset(toy_preset):
    """With which tables, verdicts and the report are made anew."""
    digest = toy_preset().digest()
    assert toy_preset(resources={"tensorboard": True}, raw_data="/some/where").digest() == digest
    assert toy_preset(resources={"threads": 2}).digest() != digest
    with_threads = {"threads": 2}
    quiet, loud = (toy_preset(resources=with_threads | more) for more in ({}, {"tensorboard": True}))
    assert quiet.digest() == loud.digest()


def test_the_order_of_keys_changes_no_job(toy_content, digests):
    def reverse(value):
        return {k: reverse(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    # `theirs` and `benchmark` train the dense network as `ours` does: the first by name gives it its folder.
    assert digests(reverse(toy_content())) == digests(toy_content())


def test_another_seed_adds_jobs_and_changes_none(changed, toy_content, digests):
    before, after = digests(toy_content()), digests(changed("seeds", to=[0, 1, 2, 3]))
    assert before.items() < after.items()
    assert all("/seed-3" in folder for folder in after.keys() - before.keys())


@pytest.mark.parametrize(
    ("path", "value"),
    [((*TRAINING, "epochs"), 2), ((*TRAINING, "momentum"), 0.5), ((*OURS, "policy", "max_lr"), 0.2)],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_number_that_a_job_trains_by_changes_its_specification(changed, toy_content, digests, path, value):
    assert digests(changed(*path, to=value)) != digests(toy_content())


def test_what_changed_since_a_plan_was_written_is_told_key_by_key(toy_preset, tmp_path):
    plan, before = tmp_path / "plan.json", toy_preset()
    assert changes(plan, before) == []
    plan.write_text(before.model_dump_json(exclude={"raw_data"}))
    assert changes(plan, toy_preset(raw_data="/elsewhere")) == []
    assert changes(plan, toy_preset(seeds=[0, 1], scale="y")) == [
        f"Changed since {plan} was written:",
        '  scale: "x" -> "y"',
        "  seeds: [0, 1, 2] -> [0, 1]",
    ]
    schedules = {f"s{n}": {"profile": {"kind": "constant"}, "role": "control"} for n in range(9)}
    schedules = {name: {**entry, "policy": {"kind": "fixed", "max_lr": 0.1}} for name, entry in schedules.items()}
    many = changes(plan, toy_preset(schedules={**toy_preset().model_dump()["schedules"], **schedules}))
    assert len(many) == 1 + MOST_CHANGES + 1
    assert many[-1].endswith(" more")
    plan.write_text("{")
    assert changes(plan, before) == []


# --- What reading costs


@pytest.mark.parametrize("asked", [False, True], ids=["as it is", "with a claim asked of another method"])
@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_reading_and_planning_a_preset_imports_nothing_heavy(path, asked):
    code = (
        "import sys; from pathlib import Path; from prunebench.suite.preset import load_preset;"
        "from prunebench.suite.plan import make_plan; preset = load_preset(Path(sys.argv[1]), eval(sys.argv[2]));"
        "make_plan(preset).jobs();"
        "print([m for m in ('torch', 'numpy', 'pandas', 'scipy', 'matplotlib', 'jinja2') if m in sys.modules])"
    )
    method = next(iter(load_preset(path).methods("schedule")))
    overrides = {"claims": {"ask": [{"like": "A3", "method": method}]}} if asked else {}
    done = subprocess.run([sys.executable, "-c", code, path, repr(overrides)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
