"""Downloads: bounded in size and time, checked before they count."""

import time
import urllib.request
from pathlib import Path

from prunebench.errors import InputError

CONNECT_SECONDS = 10.0
DOWNLOAD_SECONDS = 300.0


def fetch_url(url: str, path: Path, most: int, deadline: float) -> None:
    """Writes what `url` sends to `path`; InputError for more than `most` bytes or beyond the deadline (monotonic)."""
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as reply, open(path, "wb") as file:
        received = 0
        while block := reply.read(1 << 16):
            received += len(block)
            if received > most:
                raise InputError(f"{url} sends more than {most} bytes")
            if time.monotonic() > deadline:
                raise InputError(f"{url} is too slow: {received} bytes in {DOWNLOAD_SECONDS:.0f} s")
            file.write(block)


def one_line(error: BaseException, limit: int = 160) -> str:
    """What went wrong, as one line."""
    text = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
