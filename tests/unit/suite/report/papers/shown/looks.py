"""How the made-up paper's table is made, how it looks in LaTeX, and its figure."""

import pandas as pd

from prunebench.suite.report import latex
from prunebench.suite.report.style import footer, new_figure


def accuracy(data):
    """Rows of the table: `data` is what they are."""
    return data


def view(frame):
    """What readers see."""
    return pd.DataFrame({"schedule": frame["schedule"].map(latex.escape), "n": frame["n"]})


def plain(frame):
    """The schedules alone."""
    return frame[["schedule"]]


def draw(drawn):
    """A point per schedule and the margin."""
    frame = drawn.tables["shown_accuracy"]
    figure = new_figure(2.0)
    axes = figure.subplots()
    axes.plot(frame["schedule"], frame["difference"], "o")
    axes.set_title(f"margin {drawn.margins.s1_gain:g}")
    footer(figure, drawn.scale)
    return figure
