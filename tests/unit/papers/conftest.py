"""What the tests of every paper need: a row of a table; drawing from tables, and what the files then show."""

import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import pandas as pd
import pytest

from prunebench.suite.report import style
from prunebench.suite.report.draw import draw_paper


@pytest.fixture(scope="session")
def only():
    """The one row of a frame with these values."""

    def row(frame, **values):
        rows = frame[(frame[[*values]] == pd.Series(values)).all(axis=1)]
        assert len(rows) == 1, f"{len(rows)} rows for {values}"
        return rows.iloc[0]

    return row


@pytest.fixture(scope="session")
def scale():
    """The label of the runs' scale: with markup, and with what matplotlib would take for mathematics."""
    return "scaled-down: a toy <of> 1 & $2"


@pytest.fixture(scope="session")
def text_of():
    """The text that a reader of an SVG sees, lines joined; parsing fails on a malformed file."""

    def text(svg: Path) -> str:
        root = ElementTree.fromstring(svg.read_bytes())
        texts = ("".join(e.itertext()).strip() for e in root.iter("{http://www.w3.org/2000/svg}text"))
        return re.sub(r"\s+", " ", " ".join(texts))

    return text


@pytest.fixture(scope="session")
def smallest_text():
    """The size, in points, of the smallest text in an SVG."""

    def size(svg: Path) -> float:
        return min(float(points) for points in re.findall(r"font(?:-size)?: (?:\w+ )*?([\d.]+)px", svg.read_text()))

    return size


@pytest.fixture(scope="session")
def png_size():
    """Width and height of a PNG in pixels; every chunk is checked against its CRC."""

    def size(png: Path) -> tuple[int, int]:
        data = png.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        at, kinds = 8, []
        while at < len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            kind = data[at + 4 : at + 8]
            (crc,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
            assert crc == zlib.crc32(data[at + 4 : at + 8 + length])
            kinds.append(kind)
            at += 12 + length
        assert kinds[-1] == b"IEND"
        width, height = struct.unpack(">II", data[16:24])
        return width, height

    return size


@pytest.fixture(scope="session")
def draw_coarse():
    """`draw_paper` with coarse PNGs, which take a fraction of the time."""

    def draw(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(style.RC, "savefig.dpi", 30)
            draw_paper(*args)

    return draw


@pytest.fixture(scope="session")
def draw_in_another_process():
    """`draw_coarse` where hash seeds, addresses and the order of imports differ."""
    code = """
import importlib, pathlib, sys
from prunebench.suite.report import draw, style
style.RC["savefig.dpi"] = 30
paper = importlib.import_module(f"prunebench.papers.{sys.argv[1]}").PAPER
draw.draw_paper(paper, paper.margins(), *map(pathlib.Path, sys.argv[2:]))
"""

    def draw(paper: str, tables: Path, out: Path) -> None:
        run = [sys.executable, "-c", code, paper, str(tables), str(out)]
        subprocess.run(run, check=True, env={"PYTHONHASHSEED": "7", "PATH": ""})

    return draw
