"""The literal command on a real SLURM: the smoke preset from nothing to its report, and a job that meets every fate."""

import csv
import re

import pytest

TIMED = re.compile("seconds|memory|others_load|^ratio_(sgd|momentum|reference)")
"""Columns that differ from run to run."""


def tables(folder):
    """Name -> rows of every CSV file, without times; of LaTeX files and claims the text, where no time stands in it."""
    found = {}
    for path in sorted(folder.rglob("*.csv")):
        if path.name in ("runs.csv", "observations.csv", "claims.csv") or path.name.startswith("calibration"):
            continue  # of each run's provenance, or of claims about time
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found[str(path.relative_to(folder))] = [
            {name: value for name, value in row.items() if not TIMED.search(name)} for row in rows
        ]
    assert found
    return found


@pytest.mark.parametrize("cluster", [{"accounting": True, "age": 60}], indirect=True)
def test_the_literal_command_ends_with_the_tables_of_a_local_run(cluster, snakemake, literal):
    """Jobs of seconds run at home; those of a study that are sent all the same come to the same end. A SLURM that
    forgets its jobs soon is asked for its accounts."""
    preset = ("preset=smoke",)
    sent = snakemake("sent", *literal, "directional", config=(*preset, "resources={submit: all}"))
    whole = snakemake("whole", *literal, config=preset)
    local = snakemake("local", "--cores", "1", config=preset)
    for each in (local, whole, sent):
        assert each.finish() == 0, each.text[-3000:]
    assert "has been submitted" not in whole.text
    assert len(re.findall("has been submitted with SLURM jobid", sent.text)) >= 8
    expected = tables(local.folder / "results/smoke/tables")
    assert tables(whole.folder / "results/smoke/tables") == expected
    assert (whole.folder / "results/smoke/report.html").exists()
    directional = {name: rows for name, rows in expected.items() if name.startswith("directional_")}
    assert tables(sent.folder / "results/smoke/tables") == directional
    assert not [*(sent.folder / ".snakemake/slurm_logs").rglob("*.log")]  # of jobs that failed


JOB = "results/smoke/runs/s_cyc/gradients/digits-mlp/global_magnitude/cyclical/seed-0"
RULE = "measure_gradients"


class Victim:
    """The job of a SLURM that is about to meet its fate."""

    def __init__(self, cluster, submitted, until):
        self.cluster, self.submitted, self._until = cluster, submitted, until
        self.log = submitted.folder / JOB.replace("runs/s_cyc/gradients", f"logs/{RULE}")
        self.log = self.log.with_name(f"{self.log.name}.log")

    def until(self, condition, what):
        """Waits for a condition, while Snakemake runs."""
        self._until(lambda: condition() or self.submitted.process.poll() is not None, what, 600)
        assert self.submitted.process.poll() is None, self.submitted.text

    def jobs(self, state):
        """Numbers of its SLURM jobs in a state."""
        lines = self.cluster.call("squeue", "-h", "-o", "%i %T %k").splitlines()
        return [line.split()[0] for line in lines if f"rule_{RULE}" in line and line.split()[1] == state]

    def trains(self):
        """Waits until it trains; gives its number."""
        self.until(lambda: self.jobs("RUNNING") and self.log.exists() and "epoch" in self.log.read_text(), "it trains")
        return self.jobs("RUNNING")[0]

    def met(self, before):
        """Waits until it does not run any more; gives what it has said."""
        self.until(lambda: before not in self.jobs("RUNNING") + self.jobs("COMPLETING"), "it has met its fate")
        said = self.log.read_text()
        self.log.unlink()  # so that the next try's is known
        return said


@pytest.mark.parametrize("cluster", [{}], indirect=True)
def test_a_job_that_meets_every_fate_ends_with_the_same_tables(cluster, snakemake, literal, until):
    """Cancelled, queued again, preempted, out of time, and its node lost: told to stop it saves, and goes on there. No
    accounts are kept."""
    config = ("preset=smoke", "resources={submit: all}", "tasks={digits-mlp: {training: {epochs: 400}}}")
    target = f"{JOB}/gradients.csv"
    undisturbed = snakemake("undisturbed", "--cores", "1", target, config=config)
    job = Victim(cluster, snakemake("disturbed", *literal, target, config=config), until)
    resume = job.submitted.folder / JOB / ".resume.safetensors"
    goes_on = "state saved in"

    number = job.trains()
    cluster.call("scancel", number)
    assert goes_on in job.met(number)
    assert resume.exists()
    assert job.trains() != number  # Snakemake's second try
    assert f"(SLURM job {number}: CANCELLED)" in job.submitted.text

    number = job.trains()
    cluster.call("scontrol", "requeue", number)
    assert goes_on in job.met(number)

    assert job.trains() == number
    cluster.call("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    assert goes_on in job.met(number)

    assert job.trains() == number
    minutes = int(cluster.call("squeue", "-h", "-j", number, "-o", "%M").split(":")[0])
    cluster.call("scontrol", "update", f"jobid={number}", f"timelimit={minutes + 2}")
    assert goes_on in job.met(number)  # warned before its time is up, it puts itself into the queue again
    cluster.call("scontrol", "update", f"jobid={number}", "timelimit=60")

    assert job.trains() == number
    cluster.lose_node()
    job.met(number)
    cluster.start_node()
    job.trains()

    assert job.submitted.finish() == 0, job.submitted.text[-3000:]
    assert undisturbed.finish() == 0
    assert tables(job.submitted.folder / JOB) == tables(undisturbed.folder / JOB)
    assert not resume.exists()


@pytest.mark.parametrize("cluster", [{"age": 60}], indirect=True)
def test_where_slurm_tells_too_little_or_nothing_no_job_is_started(cluster, snakemake, literal):
    """One line says what is missing: accounts, or the controller."""

    def last_lines(name):
        done = snakemake(name, *literal, config=("preset=smoke", "resources={submit: all}"))
        assert done.finish() == 1
        assert not (done.folder / "results").exists()
        return done.text

    assert re.search("^SLURM forgets jobs 60 s after their end", last_lines("forgetful"), re.MULTILINE)
    cluster.daemons.pop("slurmctld").kill()
    assert re.search("^SLURM does not answer; sinfo says: .*slurm controller", last_lines("silent"), re.MULTILINE)
