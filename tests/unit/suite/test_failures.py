"""A failed job in four lines."""

import logging

from snakemake_interface_logger_plugins.common import LogEvent

from prunebench.suite.failures import in_short, lines_of


def failed(tmp_path, said="first\nprunebench: x is corrupt\n", **more):
    """What Snakemake says of a failed job."""
    log = tmp_path / "results/smoke/logs/prune_chains/task/seed-0.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(said)
    about = {"rule_name": "prune_chains", "rule_msg": None, "log": [str(log)], "aux": {}}
    return about | {"shellcmd": f"prunebench do 'a b' --threads 1 > {log} 2>&1"} | more


def test_it_says_which_job_why_where_and_how_by_hand(tmp_path):
    about = failed(tmp_path)
    assert lines_of(about) == [
        "Failed: prune_chains/task/seed-0",
        "prunebench: x is corrupt",
        f"log: {about['log'][0]}",
        "by hand: prunebench do 'a b' --threads 1",
    ]


def test_the_cluster_s_word_and_log_stand_in_where_the_job_said_nothing(tmp_path):
    own = tmp_path / "17.log"
    own.write_text("srun: Job step aborted\nslurmstepd: error: DUE TO TIME LIMIT\nFailed: x\n    by hand: y\n")
    message = "SLURM-job '17' failed, SLURM status is: 'TIMEOUT'. Reason: Unknown."
    about = failed(tmp_path, said="", rule_msg=message, aux={"external_jobid": "17"})
    about["log"].append(str(own))
    first, last, log, _ = lines_of(about)
    assert first == "Failed: prune_chains/task/seed-0 (SLURM job 17: TIMEOUT)"
    assert last == "slurmstepd: error: DUE TO TIME LIMIT"
    assert log == f"log: {own}"


def test_a_job_that_could_not_be_submitted_says_why(tmp_path):
    about = failed(
        tmp_path, rule_msg="SLURM sbatch failed. The error message was 'no such partition'.\n  sbatch call: x"
    )
    assert lines_of(about)[0].endswith("(SLURM sbatch failed. The error message was 'no such partition'.)")


def test_a_job_without_log_and_command_has_a_name(tmp_path):
    about = failed(tmp_path, log=[], shellcmd=None)
    assert lines_of(about) == ["Failed: prune_chains", "log: it has none"]


def record(event, text="x", **more):
    made = logging.LogRecord("snakemake", logging.ERROR, "", 0, text, None, None)
    vars(made).update(event=event, **more)
    return made


def test_snakemake_s_log_has_these_lines_and_no_second_account_of_the_same(tmp_path):
    job = record(LogEvent.JOB_ERROR, **failed(tmp_path))
    assert in_short(job)
    assert job.event is None  # as which Snakemake prints the message
    assert job.getMessage().splitlines()[1] == "    prunebench: x is corrupt"
    assert not in_short(record(LogEvent.ERROR, "RuleException:\nCalledProcessError in file x, line 3"))
    for kept in (record(LogEvent.ERROR, "WorkflowError: no preset"), record(None, "CalledProcessError"), record(None)):
        assert in_short(kept)
