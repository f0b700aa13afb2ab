"""What other programs say when they are asked, and what is said where there is no SLURM or it tells too little."""

import os
from pathlib import Path

import pytest

from prunebench.errors import InputError
from prunebench.suite.programs import ask, status_command

QUIET = dict.fromkeys(("sbatch", "sinfo", "squeue", "scontrol"), "exit 0")


def test_without_slurm_the_missing_program_is_named(programs):
    with pytest.raises(InputError, match="no SLURM here: there is no 'sbatch'"):
        status_command()
    programs(**{**QUIET, "scontrol": "exit 0"})
    os.remove(Path(os.environ["PATH"]) / "squeue")
    with pytest.raises(InputError, match="there is no 'squeue'"):
        status_command()


def test_where_the_controller_or_munge_is_silent_its_own_words_are_said(programs):
    programs(**QUIET | {"sinfo": "echo first >&2; echo 'Unable to contact slurm controller' >&2; exit 1"})
    with pytest.raises(InputError, match=r"^SLURM does not answer; sinfo says: Unable to contact slurm controller$"):
        status_command()
    programs(sinfo="exit 3")  # in silence
    with pytest.raises(InputError, match="SLURM does not answer"):
        status_command()


ACCOUNTS, NO_ACCOUNTS = "exit 0", "echo 'Slurm accounting storage is disabled' >&2; exit 1"


@pytest.mark.parametrize(
    ("age", "sacct", "command"),
    [(300, ACCOUNTS, "squeue"), (300, NO_ACCOUNTS, "squeue"), (60, ACCOUNTS, "sacct"), (200, NO_ACCOUNTS, "squeue")],
)
def test_states_of_jobs_come_from_accounts_only_where_slurm_forgets_jobs_early(programs, age, sacct, command):
    programs(**QUIET | {"scontrol": f"echo 'Licenses = (null)\nMinJobAge               = {age} sec'", "sacct": sacct})
    assert status_command() == command


def test_where_nothing_tells_how_jobs_end_none_is_started(programs):
    programs(**QUIET | {"scontrol": "echo 'MinJobAge = 60 sec'", "sacct": NO_ACCOUNTS})
    with pytest.raises(InputError, match="forgets jobs 60 s after their end"):
        status_command()


# --- Asking


def test_a_program_s_answer_is_whether_it_succeeds_and_what_it_says(programs):
    programs(good="echo one; echo two", bad="echo no >&2; echo '  the   reason' >&2; exit 1", mute="exit 3")
    assert ask("good") == (True, "one\ntwo")
    assert ask("bad") == (False, "the reason")
    assert ask("mute") == (False, "it ends with 3")
    assert ask("absent") == (False, "No such file or directory")
    programs(slow="exec /bin/sleep 60")
    assert ask("slow", seconds=0.2) == (False, "no answer in 0.2 s")
