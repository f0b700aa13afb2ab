"""A failed job in four lines: which one, the last line of its log, the log, the command that does it by hand."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def in_short(record: logging.LogRecord) -> bool:
    """Filter of Snakemake's logger: a failed job's page becomes four lines, and its command's own traceback none.

    Snakemake has the first as event `job_error`, the second as `error` with a name of an exception.
    """
    event = getattr(record, "event", None)
    if event is None:
        return True
    if event.value == "job_error":
        record.msg = "\n    ".join(lines_of(vars(record)))
        record.failed = True
        record.event = None  # or Snakemake would format it as its page
    return not (event.value == "error" and "CalledProcessError" in str(record.msg))


def lines_of(failed: dict[str, Any]) -> list[str]:
    """Lines about a failed job, told by what Snakemake says of it: rule_name, rule_msg, log, shellcmd, aux."""
    log, last = last_line(failed["log"])
    name = "/".join([failed["rule_name"], *re.findall(r"/logs/[^/]+/(.*)\.log$", (failed["log"] or [""])[0])])
    lines = [f"Failed: {name}{_of_cluster(failed)}", *([last] if last else []), f"log: {log or 'it has none'}"]
    command = re.sub(r" > \S+ 2>&1$", "", failed["shellcmd"] or "")
    return [*lines, *([f"by hand: {command}"] if command else [])]


def _of_cluster(failed: dict[str, Any]) -> str:
    """What the cluster says of a job: its number and state there, or why it could not be submitted."""
    said = failed["rule_msg"]
    if not said:
        return ""
    state = re.search(r"status is: '(\w+)'", said)
    number = failed["aux"].get("external_jobid")
    return f" ({f'SLURM job {number}: {state[1]}' if state else said.splitlines()[0]})"


def last_line(logs: Iterable[str]) -> tuple[str, str]:
    """The first of the logs that says something, and its last line; the first log where none does.

    A cluster's own log ends with what Snakemake wrote there of the same failure.
    """
    for log in logs:
        try:
            lines = Path(log).read_text(errors="replace").partition("\nFailed: ")[0].split("\n")
        except OSError:
            continue
        if said := [line.strip() for line in lines if line.strip()]:
            return log, said[-1]
    return next(iter(logs), ""), ""
