"""What a training job says while it runs: a bar on a terminal, plain lines in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def reporting(epochs: int) -> Iterator[Callable[[str], None]]:
    """A function that takes one line per epoch of a job with `epochs` of them."""
    if not sys.stdout.isatty():
        yield lambda line: print(line, flush=True)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns) as progress:
        task = progress.add_task("", total=epochs)
        # Text from files and configuration is shown as it is, not read as rich's markup.
        yield lambda line: progress.update(task, advance=1, description=line.replace("[", r"\["))
