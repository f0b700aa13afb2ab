"""`prunebench plan`: what it counts, what it prints, and what it measures."""

import dataclasses
import gc
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from prunebench.errors import InputError
from prunebench.runs.estimate import Estimate, Sizes
from prunebench.runs.spec import Choice, Spec
from prunebench.suite import forecast as forecasts
from prunebench.suite.costs import costs_of, exhibits_of, network_of, workloads_of
from prunebench.suite.forecast import Workers, forecast, preset_of, print_forecast
from prunebench.suite.machine import Machine, Throughput, workload_of
from prunebench.suite.plan import make_plan
from prunebench.suite.preset import load_preset

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def smoke():
    """The plan of the smoke preset, and what its jobs cost."""
    plan = make_plan(load_preset(ROOT / "config/smoke.yaml"))
    return plan, costs_of(plan)


@pytest.fixture
def machine(smoke):
    """A machine that trains 1,000 images/s of every network and evaluates 4,000, and starts a job in 2 s."""
    speeds = {"device": "Made-up CPU", "training_images_per_s": 1000, "evaluation_images_per_s": 4000, "start_s": 2}
    rows = [Throughput.model_validate(vars(workload) | speeds) for workload in workloads_of(smoke[1])]
    return Machine(rows, "made-up.csv")


# --- What is counted


def test_the_papers_own_presets_leave_less_than_a_cluster_s_usual_quota():
    """Networks that are kept are named by what needs them; without data sets."""
    plan = make_plan(load_preset(ROOT / "config/paper.yaml"))
    total = forecast(plan, costs_of(plan))["total"]
    assert total["bytes"] < 50e9
    assert total["files"] < 20_000


def test_every_job_is_counted_once_and_rules_add_up(smoke, machine):
    plan, costs = smoke
    record = forecast(plan, costs, machine)
    assert {row["rule"]: row["jobs"] for row in record["rules"]} == {n: len(s.jobs) for n, s in plan.stages.items()}
    for key in ("jobs", "epochs", "training_images", "evaluation_images", "hours"):
        assert record["total"][key] == pytest.approx(sum(row[key] for row in record["rules"]))
    for key in ("files", "bytes"):
        whole = sum(row[key] for row in record["rules"]) + record["exhibits"][key]
        assert record["total"][key] == whole
    assert json.loads(json.dumps(record)) == record


def test_hours_are_those_of_the_images_and_the_starts(smoke, machine):
    total = forecast(*smoke, machine)["total"]
    images = total["training_images"] / 1000 + total["evaluation_images"] / 4000
    seconds = 3600 * total["hours"]
    known = images + 2 * total["jobs"] + sum(cost.estimate.seconds for cost in smoke[1].values())
    assert seconds == pytest.approx(known, abs=0.01)
    assert forecast(*smoke)["total"]["hours"] is None


def test_every_kind_of_job_says_what_it_costs(smoke):
    """But for what is a selection or a comparison of masks, a job trains, evaluates or takes seconds."""
    for cost in smoke[1].values():
        free = isinstance(cost.job, Choice) or cost.stage.name == "compare_masks"
        assert free == (not cost.images and not cost.estimate.seconds), cost.job.folder
        assert cost.estimate.cells > 0


def test_more_of_everything_costs_more():
    """More seeds, images, epochs and points of a curve: each in proportion to what it changes."""

    def total(**changes):
        plan = make_plan(load_preset(ROOT / "config/smoke.yaml", changes))
        return forecast(plan, costs_of(plan))["total"]

    fewer = {"digits": {"train": 512}, "digits-fifth": {"train": 210}}  # which have 0.8^4 of them
    alone = {"directional": {"overhead": None}, "s_cyc": {"timing": None}}
    once, twice = total(**alone), total(**alone, seeds=[0, 1])
    assert twice["jobs"] - once["jobs"] == once["jobs"] - 4  # the comparisons of masks, and the exact problems
    assert twice["training_images"] == 2 * once["training_images"]
    assert total(directional={"connectivity": {"points": 9}})["evaluation_images"] > total()["evaluation_images"]
    assert total(datasets=fewer)["training_images"] < 0.7 * total()["training_images"]


def test_a_test_set_that_the_preset_leaves_open_has_ten_thousand_images(smoke, monkeypatch):
    seen = []
    monkeypatch.setattr(Spec, "estimate", lambda self, sizes: seen.append(sizes) or Estimate())
    for spec in {type(job) for job in smoke[0].jobs()}:
        monkeypatch.setattr(spec, "estimate", Spec.estimate)
    whole = {name: {"test": None} for name in smoke[0].preset.datasets}
    costs_of(make_plan(load_preset(ROOT / "config/smoke.yaml", {"datasets": whole})))
    assert {sizes.test for sizes in seen if sizes != Sizes()} == {10_000}


def test_the_sizes_of_a_network_need_no_memory_and_are_those_of_the_real_one(smoke):
    from prunebench.analysis.cost import flops_per_image
    from prunebench.models import build

    for workload, job in workloads_of(smoke[1]).items():
        network = network_of(job, workload)
        shape = (workload.channels, workload.side, workload.side)
        model = build(job.network, classes=10, in_channels=shape[0], image_size=shape[1], seed=0)
        assert network.state_bytes == sum(tensor.nbytes for tensor in model.state_dict().values())
        assert network.flops == sum(flops_per_image(model, shape).values())
        assert 0 < network.weights < sum(parameter.numel() for parameter in model.parameters())


def test_a_selection_copies_the_networks_of_a_candidate(smoke):
    _, costs = smoke
    for cost in costs.values():
        if isinstance(cost.job, Choice):
            picked = costs[cost.job.among[0]]
            assert picked.estimate.networks == cost.estimate.networks == 1
            assert cost.bytes > picked.network.state_bytes


def test_the_oracle_waits_for_itself_and_the_curves_for_the_minima(smoke, machine):
    slow = dataclasses.replace(machine, rows=[row.model_copy(update={"start_s": 1000.0}) for row in machine.rows])
    chain = forecast(*smoke, slow)["chain"]["jobs"]
    assert len(chain) == 8  # a search and a choice in each of four cycles
    assert {folder.split("/")[1] for folder in chain} == {"oracle", "choice"}
    assert forecast(*smoke)["chain"]["jobs"][0].startswith("directional/minima")


def test_more_workers_take_less_time_down_to_the_longest_chain(smoke, machine):
    records = [forecast(*smoke, machine, Workers("core", cores)) for cores in (1, 2, 1000)]
    hours = [record["schedule"]["hours"] for record in records]
    assert hours[0] == pytest.approx(records[0]["total"]["hours"])
    assert hours[0] > hours[1] > hours[2] == pytest.approx(records[0]["chain"]["hours"])
    gpus = forecast(*smoke, machine, Workers("gpu", 1))["schedule"]
    assert gpus["hours"] < hours[0]  # selections need no GPU


def test_exhibits_are_those_that_are_declared(smoke):
    preset = smoke[0].preset
    exhibits = exhibits_of(preset)
    figures = sum(len(paper.figures) for paper, _ in preset.studies().values()) + 1
    assert exhibits.files > 2 * figures
    assert exhibits.bytes > 1_000_000


# --- What is said


def shown(record):
    out = io.StringIO()
    print_forecast(record, Console(file=out, width=80))
    return out.getvalue()


def test_the_tables_fit_eighty_columns_and_name_every_rule(smoke, machine):
    plan, costs = smoke
    for record in (forecast(plan, costs), forecast(plan, costs, machine, Workers("core", 2))):
        text = shown(record)
        assert max(map(len, text.splitlines())) <= 80
        assert all(name in text for name in plan.stages)
        assert "…" not in text
    assert "On 2 core(s): " in text
    assert "Made-up CPU" in text
    assert " ".join(shown(forecast(plan, costs)).split()).endswith(forecasts.NO_HOURS)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (12_345, "12.3k"), (5e9, "5G"), (2.5e21, "2.5Z")]
)
def test_large_numbers_have_a_letter(number, text):
    assert forecasts._count(number) == text


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("smok", (), "did you mean 'smoke'?"),
        ("../smoke", (), "the path of a .yaml file"),
        ("smoke", ("seeds",), "--config seeds: must be key=value"),
        ("smoke", ("seeds=[0",), "--config seeds: "),
        ("smoke", ("sedes=[0]",), "did you mean 'seeds'?"),
    ],
)
def test_a_bad_preset_is_refused_in_one_line(monkeypatch, name, overrides, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as caught:
        preset_of(name, overrides)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_overrides_are_those_of_snakemake(monkeypatch):
    monkeypatch.chdir(ROOT)
    preset = preset_of("smoke", ["seeds=[4, 5]", "s_cyc={pruning: {cycles: 2}, oracle: null}"])
    assert (preset.seeds, preset.s_cyc.pruning.cycles, preset.s_cyc.oracle) == ([4, 5], 2, None)
    assert preset_of("config/smoke.yaml", ["raw_data=here"]).raw_data == "here"


# --- What is measured


def test_a_probe_measures_every_network_and_its_file_serves_the_plan(smoke, tmp_path, one_thread):
    from prunebench.suite.throughput import measure

    plan, costs = smoke
    lines = []
    [(workload, job), *_] = workloads_of(costs).items()
    measured = measure({workload: job}, 0.3, lines.append)
    measured.write(tmp_path / "here.csv")
    [row] = Machine.read(tmp_path / "here.csv").rows
    assert row.workload == workload == workload_of(plan.preset, job)
    assert row.evaluation_images_per_s > row.training_images_per_s > 100
    assert row.start_s > 0.5
    assert len(lines) == 2


# --- Speed


def test_a_plan_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from prunebench.suite.plan import make_plan; "
        "from prunebench.suite.forecast import preset_of; "
        "jobs = make_plan(preset_of('config/laptop.yaml', [])).jobs(); "
        "assert jobs and 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_plan_takes_time_in_proportion_to_its_jobs():
    """Of processor time, all digests included, as for Snakemake; what grew with the square would take 100 times."""

    def seconds(seeds):
        preset = load_preset(ROOT / "config/laptop.yaml", {"seeds": list(range(seeds))})
        began = time.process_time()
        plan = make_plan(preset)
        gc.freeze()
        jobs = [job.digest() for job in plan.jobs()]
        taken = time.process_time() - began
        gc.unfreeze()
        return taken, len(jobs)

    (few, some), (long, many) = min(seconds(12) for _ in range(3)), seconds(120)
    assert 9.5 * some < many
    assert long < 20 * few


def test_the_collector_of_cycles_rests_while_a_plan_is_made_and_goes_on_afterwards():
    preset, ran = load_preset(ROOT / "config/laptop.yaml", {"seeds": list(range(12))}), []
    gc.callbacks.append(lambda phase, info: ran.append(phase))
    try:
        make_plan(preset)
        assert ran.count("start") <= 1  # before it rests
        assert gc.isenabled()
    finally:
        gc.callbacks.pop()
