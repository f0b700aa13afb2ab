"""A made-up paper with tables, figures and captions, and a preset that shows it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

PAPERS = [str(Path(__file__).parent / "papers/shown"), str(Path(__file__).parents[1] / "papers/other")]


@pytest.fixture
def paper():
    """The made-up paper, which comes from outside of the package."""
    from prunebench.suite.registry import papers

    return papers((PAPERS[0],))["shown"]


@pytest.fixture
def preset(only_toys, toy_content):
    """Makes presets that run the made-up paper and the one beside it; keys replace what is there."""
    from prunebench.suite.preset import parse_preset

    def make(**keys):
        content = toy_content(**{"papers": PAPERS, "scale": "scaled-down: toys", "shown": {}, "other": {}} | keys)
        del content["toy"]
        return parse_preset(content, "tiny")

    return make


@pytest.fixture
def text_of():
    """The text that a reader of an SVG file sees, as one line."""

    def read(svg):
        texts = ElementTree.fromstring(svg.read_bytes()).iter("{http://www.w3.org/2000/svg}text")
        return re.sub(r"\s+", " ", " ".join("".join(text.itertext()) for text in texts))

    return read
