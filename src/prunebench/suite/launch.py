"""`prunebench run`: Snakemake on a preset, with the screen instead of its own lines."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prunebench.errors import InputError

MARK = Path("workflow/rules/common.smk")
"""What lies beside this workflow's Snakefile."""

SHOW_CURSOR = "\x1b[?25h"
"""What a terminal needs after a screen that was killed."""

FAILED, INTERRUPTED = 1, 128 + signal.SIGINT


def launch(preset: str, words: Sequence[str], cores: int | None) -> Path:
    """Runs Snakemake in the workflow's folder, which becomes the working one; gives the folder of the results.

    words: key=value are laid over the preset, others are what to make. Raises InputError for what Snakemake would
    refuse, and SystemExit with 1 where a job failed, with 130 on Ctrl-C.
    """
    from prunebench.suite.forecast import preset_of
    from prunebench.suite.plan import make_plan

    given = Path(preset)
    chosen = str(given.resolve()) if preset.endswith(".yaml") else preset
    os.chdir(workflow_folder(Path.cwd()))
    values = [word for word in words if "=" in word]
    resolved = preset_of(chosen, values)
    make_plan(resolved)
    targets = [word for word in words if "=" not in word]
    line = [sys.executable, "-m", "snakemake", "--logger", "prunebench", "--cores", str(cores or "all")]
    code = run_interruptibly([*line, *targets, "--config", f"preset={chosen}", *values])
    if code:
        raise SystemExit(code)
    return Path("results") / resolved.preset


def workflow_folder(start: Path) -> Path:
    """The nearest folder upwards with the workflow; InputError where there is none."""
    for folder in (start, *start.parents):
        if (folder / "Snakefile").is_file() and (folder / MARK).is_file():
            return folder
    raise InputError(
        f"no workflow in {start} or above it: start in a clone of prunebench, the folder with its Snakefile"
    )


def run_interruptibly(line: Sequence[str]) -> int:
    """The exit code of a command, which a terminal's Ctrl-C reaches by itself, and SIGTERM by this process."""
    interrupted = []
    with subprocess.Popen(line) as process:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: interrupted.append(True)),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if code < 0 and sys.stderr.isatty():
        print(SHOW_CURSOR, end="", file=sys.stderr, flush=True)
    if interrupted:
        return INTERRUPTED
    return FAILED if code else 0
