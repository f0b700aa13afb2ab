"""Other programs of the machine, asked what they are: SLURM's, and all that `prunebench doctor` looks at.

Imports no package: doctor works where some are missing.
"""

import re
import shutil
import subprocess

from prunebench.errors import InputError

LONGEST_PAUSE = 200
"""Seconds, rounded up, between two questions of Snakemake's plugin how jobs are."""


def ask(*command: str, seconds: float = 15) -> tuple[bool, str]:
    """Whether a program succeeds within the seconds, and what it says: its output, or the last line of its error."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False, f"no answer in {seconds:g} s"
    except OSError as error:
        return False, error.strerror or str(error)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return False, in_line(lines[-1]) if lines else f"it ends with {done.returncode}"
    return True, done.stdout.strip()


def in_line(text: str) -> str:
    """A text as one line of at most 200 letters."""
    return " ".join(text.split())[:200]


def status_command() -> str:
    """The command by which `--profile slurm` asks how jobs are: `squeue`, or `sacct` where SLURM forgets jobs early.

    Not `sacct` first, as the plugin does: without an accounting database it says nothing, and of a job that somebody
    cancelled `CANCELLED by 1000`, which the plugin (2.8) does not know; both times Snakemake waits for ever. Raises
    InputError where jobs cannot be submitted, or nothing tells how they end.
    """
    for program in ("sbatch", "sinfo", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise InputError(
                f"no SLURM here: there is no '{program}'. Start it on a login node, or without the profile"
            )
    there, said = ask("sinfo", "--noheader", seconds=60)
    if not there:
        raise InputError(f"SLURM does not answer; sinfo says: {said}")
    _, config = ask("scontrol", "show", "config", seconds=60)
    age = int((re.search(r"^MinJobAge\s*=\s*(\d+)", config, re.MULTILINE) or "00")[1])
    if age >= LONGEST_PAUSE:
        return "squeue"
    if ask("sacct", "--noheader", "--allocations", seconds=60)[0]:
        return "sacct"
    raise InputError(
        f"SLURM forgets jobs {age} s after their end (MinJobAge) and keeps no accounts: Snakemake, which asks every "
        f"{LONGEST_PAUSE} s, would not see them end"
    )
