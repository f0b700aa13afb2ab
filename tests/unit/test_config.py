"""The configuration: what it resolves to, what it refuses and in which words, and that its documents are not stale."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prunebench import config_docs
from prunebench.config import ChainSpec, Dataset, Gradients, OracleSpec, load_preset, parse, parse_preset
from prunebench.errors import InputError

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "config").glob("*.yaml"))
SMOKE = json.loads(json.dumps(yaml.safe_load((ROOT / "config/smoke.yaml").read_text())))  # no shared aliases
RESNET = ("tasks", "digits-resnet8")
REMOVED = object()


def changed(*path, to, base=SMOKE):
    content = copy.deepcopy(base)
    place = content
    for key in path[:-1]:
        place = place[key]
    if to is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return content


def refusal(content):
    with pytest.raises(InputError) as caught:
        parse_preset(content, "my.yaml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith("my.yaml: ")
    return message


def digests(content):
    preset = parse_preset(content, "my.yaml")
    return {spec.folder: spec.digest() for spec in (*preset.s_cyc_chains(), *preset.s_cyc_oracle_jobs())}


def differing(content):
    before, after = digests(SMOKE), digests(content)
    assert before.keys() == after.keys()
    return {folder for folder in before if before[folder] != after[folder]}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_resolves_into_distinct_runs(path):
    preset = load_preset(path)
    assert preset.preset == path.stem
    study = preset.s_cyc
    cells = {
        (task, criterion, schedule)
        for grid in (*study.accuracy, *study.gradients)
        for task in grid.tasks
        for criterion in grid.criteria
        for schedule in grid.schedules
    }
    chains = preset.s_cyc_chains()
    assert {(c.task, c.criterion, c.schedule_name, c.seed) for c in chains} == {
        (*cell, seed) for cell in cells for seed in preset.seeds
    }
    assert len(chains) == len(cells) * len(preset.seeds)
    jobs = preset.s_cyc_oracle_jobs()
    if study.oracle:
        assert len(jobs) == len(preset.seeds) * (study.pruning.cycles + 1) * len(study.oracle.batches())
    specs = [*chains, *jobs]
    assert len({spec.folder for spec in specs}) == len({spec.digest() for spec in specs}) == len(specs)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_spec_and_a_preset_survive_their_own_json(path):
    preset = load_preset(path)
    assert parse_preset(json.loads(preset.model_dump_json()), "plan.json") == preset
    for spec in (*preset.s_cyc_chains()[:3], *preset.s_cyc_oracle_jobs()[:3]):
        again = parse(type(spec), json.loads(spec.to_json()), "--spec")
        assert (again, again.to_json()) == (spec, spec.to_json())


def test_at_least_the_two_first_scales_are_there():
    assert {"smoke", "laptop"} <= {path.stem for path in PRESETS}


def test_a_cell_in_both_grids_is_one_run_that_is_measured():
    grid = {"tasks": ["digits-resnet8"], "criteria": ["global_magnitude"], "schedules": ["cyclical"]}
    before = parse_preset(SMOKE, "x").s_cyc_chains()
    after = parse_preset(changed("s_cyc", "gradients", to=[*SMOKE["s_cyc"]["gradients"], grid]), "x").s_cyc_chains()
    assert [chain.folder for chain in after] == [chain.folder for chain in before]

    def measured(chains):
        return {chain.folder for chain in chains if chain.gradients}

    assert measured(after) - measured(before) == {
        f"s_cyc/digits-resnet8/global_magnitude/cyclical/seed-{seed}" for seed in SMOKE["seeds"]
    }


def test_the_oracle_s_grid_is_the_same_in_one_job_or_in_many():
    many = parse_preset(changed("s_cyc", "oracle", "candidates_per_job", to=2), "x")
    assert many.s_cyc.oracle.batches() == [[0.03, 0.1], [0.3]]
    cycle = [job for job in many.s_cyc_oracle_jobs() if (job.seed, job.cycle) == (0, 1)]
    assert [(job.batch, job.max_lr) for job in cycle] == [(0, [0.03, 0.1]), (1, [0.3])]


def test_beta_of_s_cyc_changes_only_the_chains_of_s_cyc():
    touched = differing(changed("schedules", "s_cyc", "policy", "beta", to=3))
    assert touched == {folder for folder in digests(SMOKE) if "/s_cyc/seed-" in folder}
    assert touched


def test_one_task_s_recipe_changes_only_that_task_s_runs():
    touched = differing(changed("tasks", "digits-mlp", "training", "epochs", to=3))
    assert touched == {folder for folder in digests(SMOKE) if folder.startswith("s_cyc/digits-mlp/")}
    assert touched


def test_the_pruning_rate_changes_every_run():
    assert differing(changed("s_cyc", "pruning", "rate", to=0.5)) == set(digests(SMOKE))


def test_the_measure_of_gradients_changes_only_measured_runs():
    touched = differing(changed("s_cyc", "gradient_measure", "images", to=64))
    assert touched == {folder for folder in digests(SMOKE) if folder.startswith("s_cyc/digits-mlp")}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("s_cyc", "oracle", "tolerance"), 0.1),
        (("scale",), "another label"),
        (("resources",), {"mem_mb": 3000, "runtime": 5}),
        (("raw_data",), "/some/where"),
        (("s_cyc", "gradient_measure", "at"), Gradients(images=1).at),  # as by default
    ],
)
def test_what_no_run_depends_on_changes_no_spec(path, value):
    assert not differing(changed(*path, to=value))


def test_another_seed_adds_runs_and_changes_none():
    before, after = digests(SMOKE), digests(changed("seeds", to=[0, 1, 2]))
    assert before.items() < after.items()
    assert all(re.search(r"/seed-2(/|$)", folder) for folder in after.keys() - before.keys())


def test_key_order_changes_no_digest():
    def reverse(value):
        return {k: reverse(value[k]) for k in reversed(value)} if isinstance(value, dict) else value

    assert sorted(digests(reverse(SMOKE)).values()) == sorted(digests(SMOKE).values())


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("sedes",), [1], ["unknown key 'sedes'", "did you mean 'seeds'?"]),
        ((*RESNET, "trainning"), {}, ["'tasks.digits-resnet8.trainning'", "did you mean 'training'?"]),
        ((*RESNET, "training", "momentun"), 1, ["'tasks.digits-resnet8.training.momentun'", "mean 'momentum'?"]),
        (("schedules", "s_cyc", "policy", "betta"), 3, ["schedules.s_cyc.policy", "betta'", "mean 'beta'?"]),
        (("schedules", "s_cyc", "profile", "period"), 3, ["schedules.s_cyc.profile", "period'", "mean 'periods'?"]),
        (("s_cyc", "oracle", "tolerence"), 0, ["'s_cyc.oracle.tolerence'", "mean 'tolerance'?"]),
        (("s_cyc", "accuracy", 0, "criterias"), [], ["'s_cyc.accuracy.0.criterias'", "mean 'criteria'?"]),
        ((*RESNET, "network", "kind"), "resnt", ["tasks.digits-resnet8.network.kind", "'resnt'", "mean 'resnet'?"]),
        ((*RESNET, "network", "activation"), "rellu", ["network.activation", "'rellu'", "mean 'relu'?"]),
        (("s_cyc", "accuracy", 0, "criteria"), ["globl_magnitude"], ["s_cyc.accuracy.0.criteria", "global_magnitude"]),
        (("s_cyc", "oracle", "criterion"), "lampp", ["s_cyc.oracle.criterion", "mean 'lamp'?"]),
        (("schedules", "s_cyc", "profile", "kind"), "cyclicl", ["schedules.s_cyc.profile", "mean 'cyclical'?"]),
        (("schedules", "s_cyc", "policy", "kind"), "s_shap", ["schedules.s_cyc.policy", "mean 's_shape'?"]),
        (("schedules", "s_cyc", "profile"), {}, ["schedules.s_cyc.profile", "'kind'"]),
        (("schedules", "constant", "policy", "max_lr"), -1, ["schedules.constant", "max_lr is -1", "> 0"]),
        (("schedules", "constant", "policy", "max_lr"), float("inf"), ["schedules.constant", "max_lr", "finite"]),
        (("schedules", "step_decay", "profile", "milestones"), [0.6, 0.5], ["schedules.step_decay", "milestones"]),
        (("s_cyc", "pruning", "rate"), 1.2, ["'s_cyc.pruning.rate'", "less than 1", "1.2"]),
        (("s_cyc", "pruning", "after"), "rewnd", ["s_cyc.pruning.after", "rewind_weights", "'rewnd'"]),
        (("s_cyc", "pruning", "rewind_epoch"), 2, ["s_cyc.pruning.rewind_epoch"]),
        ((*RESNET, "training", "batch_size"), 5000, ["tasks.digits-resnet8.training.batch_size is 5000", "1024"]),
        ((*RESNET, "training", "epochs"), "two", ["'tasks.digits-resnet8.training.epochs'", "integer", "'two'"]),
        ((*RESNET, "training", "epochs"), 2.5, ["'tasks.digits-resnet8.training.epochs'", "2.5"]),
        ((*RESNET, "training", "weight_decay"), float("inf"), ["training.weight_decay", "finite"]),
        ((*RESNET, "training", "momentum"), float("nan"), ["training.momentum"]),
        ((*RESNET, "training"), REMOVED, ["'tasks.digits-resnet8.training'", "required"]),
        ((*RESNET, "dataset"), "digts", ["tasks.digits-resnet8.dataset", "'digts'", "mean 'digits'?"]),
        (("s_cyc", "accuracy", 0, "tasks"), ["digits-resnet"], ["s_cyc.accuracy[0].tasks", "mean 'digits-resnet8'?"]),
        (("s_cyc", "accuracy", 0, "tasks"), "digits-resnet8", ["'s_cyc.accuracy.0.tasks'", "list"]),
        (("s_cyc", "oracle", "schedule"), "cyclic", ["s_cyc.oracle.schedule", "mean 'cyclical'?"]),
        (("s_cyc", "oracle", "max_lr"), [0.3, 0.1], ["s_cyc.oracle.max_lr", "ascend"]),
        (("s_cyc", "oracle", "max_lr"), [-1, 0.1], ["s_cyc.oracle.max_lr", "greater than 0"]),
        (("s_cyc", "gradient_measure", "at"), [], ["s_cyc.gradient_measure.at"]),
        (("s_cyc", "gradient_measure", "at"), [0.5], ["gradient_measure.at", "end with 1"]),
        (("s_cyc", "pruning", "cycles"), 10**12, ["s_cyc.pruning.cycles", "less than or equal to 1000"]),
        (("seeds",), [0, 0], ["seeds", "twice"]),
        (("seeds",), [], ["'seeds'", "at least 1"]),
        (("seeds",), [-1], ["'seeds.0'", "greater than or equal to 0"]),
        (("preset",), "../x", ["'preset'", "'../x'"]),
        (("preset",), "<b>", ["'preset'", "'<b>'"]),
        (("tasks", "<b>"), SMOKE["tasks"]["digits-mlp"], ["tasks.<b>"]),
        (("tasks", "../x"), SMOKE["tasks"]["digits-mlp"], ["tasks.../x"]),
        (("datasets", "a/b"), SMOKE["datasets"]["digits"], ["datasets.a/b"]),
        (("tasks", "x\n"), SMOKE["tasks"]["digits-mlp"], ["tasks.x"]),
        (("tasks", 5), SMOKE["tasks"]["digits-mlp"], ["tasks.5"]),
        (("a\nb",), 1, ["unknown key"]),
        ((*RESNET, "network", "kind"), "res\nnet", ["network.kind"]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_bad_value_is_one_line_that_names_file_key_and_what_is_allowed(path, value, words):
    message = refusal(changed(*path, to=value))
    for word in words:
        assert word in message


def test_a_policy_that_ends_before_the_cycles_is_refused_before_anything_trains():
    message = refusal(changed("schedules", "constant", "policy", to={"kind": "table", "values": [0.1, 0.1]}))
    assert "schedules.constant" in message
    assert "cycle 2" in message
    parse_preset(changed("schedules", "constant", "policy", to={"kind": "table", "values": [0.1] * 4}), "x")


def test_a_schedule_may_not_take_the_oracle_s_folder():
    assert "schedules.oracle" in refusal(changed("schedules", "oracle", to=SMOKE["schedules"]["constant"]))


@pytest.mark.parametrize("content", [None, [], [1], "x", 5])
def test_what_is_no_mapping_is_refused(content):
    message = refusal(content)
    assert "mapping" in message
    assert "Preset" not in message  # no class of ours says anything to a user


@pytest.mark.parametrize("key", [key for key in SMOKE if key not in ("raw_data", "resources")])
def test_a_missing_key_is_named(key):
    assert f"'{key}': field required" in refusal(changed(key, to=REMOVED))


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


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(places(SMOKE))), ODD, st.booleans()), min_size=1, max_size=3))
def test_a_mutated_preset_resolves_or_is_refused_in_one_line(mutations):
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
        preset, message = parse_preset(content, "my.yaml"), ""
    except InputError as error:
        preset, message = None, str(error)
    assert len(message.splitlines()) == (preset is None)
    for spec in (*preset.s_cyc_chains(), *preset.s_cyc_oracle_jobs()) if preset else ():
        assert ".." not in spec.folder.split("/")
        again = json.loads(spec.to_json())
        json.dumps(again, allow_nan=False)
        assert parse(type(spec), again, "x") == spec


@pytest.mark.parametrize("model", [Dataset, ChainSpec, OracleSpec])
def test_specs_given_by_hand_are_held_to_the_same_standard(model):
    with pytest.raises(InputError, match="--spec: unknown key 'odd'"):
        parse(model, {"odd": 1}, "--spec")


@pytest.mark.parametrize(("key", "value"), [("criterion", "nope"), ("task", "../x"), ("schedule_name", "a/b")])
def test_a_chain_s_spec_by_hand_cannot_name_what_a_preset_could_not(key, value):
    content = json.loads(parse_preset(SMOKE, "x").s_cyc_chains()[0].to_json()) | {key: value}
    with pytest.raises(InputError, match=key):
        parse(ChainSpec, content, "--spec")


def test_the_schema_and_the_readme_are_those_that_the_models_give():
    """Stale? Run `prunebench document-config`."""
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == config_docs.json_schema()
    assert (ROOT / "config/README.md").read_text() == config_docs.markdown()


def test_the_readme_tells_every_key_with_a_meaning():
    text = config_docs.markdown()
    schema = json.loads(config_docs.json_schema())
    for name, model in {"preset": schema, **schema["$defs"]}.items():
        for key, field in model.get("properties", {}).items():
            assert f"| `{key}` |" in text
            # A schedule's fields are told in its class's docstring; a field that only repeats its model's has none.
            if name == "ScheduleConfig" or not name.endswith("Config"):
                assert "$ref" in field or field.get("description"), f"{name}.{key} has no docstring"


def packages_of(lines):
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r.specifier for r in requirements}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wanted(project):
    return packages_of([*project["dependencies"], *project["optional-dependencies"]["dev"]])


def test_the_conda_environment_has_the_packages_and_ranges_of_pyproject(project, wanted):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert f"python{project['requires-python']}" in conda
    assert "-e ." in pip
    assert packages_of(line for line in pip if not line.startswith("-")) == wanted


def test_the_constraints_pin_every_package_inside_its_range(wanted):
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = packages_of(lines)
    assert len(pins) == len(lines)
    for name, allowed in wanted.items():
        assert name in pins, f"{name} is not pinned"
        (pin,) = pins[name]
        assert pin.operator == "=="
        assert pin.version in allowed


def test_reading_a_preset_imports_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from prunebench.config import load_preset; import prunebench.files;"
        "import prunebench.studies.s_cyc_names; load_preset(Path(sys.argv[1])).s_cyc_chains();"
        "print([m for m in ('torch', 'numpy', 'pandas', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, ROOT / "config/smoke.yaml"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
