"""The one error that is the user's to mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: a key, a file, a number. The command line prints its message as one line and exits with 2."""


def printable(text: str) -> str:
    """`text` with spaces for what steers a terminal: the file that it comes from may be anyone's."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of an error message for an unknown `name`: the nearest of the allowed names, and all of them."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"
