"""What several test folders share: readers of LaTeX tables, and a network that draws random numbers."""

import re

import pytest

MATH = re.compile(r"\$(?:\\pm|-|n|\^\{\*\}|-?\\infty|-?[\d.]+ \\cdot 10\^\{-?\d+\})\$")
"""All the mathematics that a cell or a note may hold."""


@pytest.fixture(scope="session")
def check_latex():
    """Asserts that LaTeX compiles: balanced braces, known mathematics and commands, no bare special character."""

    def check(text):
        assert text.count("{") == text.count("}")
        plain = MATH.sub("", text)
        plain = re.sub(r"\\(?:textbf|textbackslash|textasciitilde|textasciicircum|[&%$#_{}])", "", plain)
        assert not re.search(r"[&%#$_\\~^]", plain), text
        assert not re.search(r"(?<!\w)-\.?\d", plain), f"{text}: a hyphen for a minus"

    return check


@pytest.fixture(scope="session")
def parse_latex(check_latex):
    """The header and the rows of a booktabs table, as lists of cells; asserts the table's structure."""

    def parse(text):
        lines = text.splitlines()
        assert lines[0].startswith("% ")
        assert re.fullmatch(r"% \\caption\{.+\.\}", lines[1])
        check_latex(lines[1].removeprefix(r"% \caption"))
        assert re.fullmatch(r"% \\label\{tab:[a-z_]+\}", lines[2])
        lines = lines[next(i for i, line in enumerate(lines) if not line.startswith("% ")) :]
        bottom = lines.index(r"\bottomrule")
        assert [lines[i] for i in (1, 3, -1)] == [r"\toprule", r"\midrule", r"\end{tabular}"]
        begin = re.fullmatch(r"\\begin\{tabular\}\{(l+)\}", lines[0])
        assert begin, lines[0]
        rows = []
        for line in [lines[2], *lines[4:bottom]]:
            assert line.endswith(r" \\"), line
            cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line[:-3])]
            assert len(cells) == len(begin[1]), line
            for cell in cells:
                check_latex(cell)
            rows.append(cells)
        for line in lines[bottom + 1 : -1]:
            note = re.fullmatch(r"\\multicolumn\{(\d+)\}\{p\{\.95\\linewidth\}\}\{\\footnotesize (.+\.)\} \\\\", line)
            assert note, line
            assert int(note[1]) == len(begin[1])
            check_latex(note[2])
        return rows[0], rows[1:]

    return parse


@pytest.fixture(scope="session")
def marked_columns(parse_latex):
    """The headers of the columns with a mark; asserts that a note explains the mark where there is one."""

    def columns(text):
        header, rows = parse_latex(text)
        marked = {name for row in rows for name, cell in zip(header, row, strict=True) if "$^{*}$" in cell}
        assert not marked or re.search(r"footnotesize \$\^\{\*\}\$ .*not corrected for multiplicity", text)
        return marked

    return columns


@pytest.fixture
def dropping(monkeypatch):
    """Registers the network `dropping`, a perceptron with dropout; gives the list of the masks that it draws."""
    from dataclasses import dataclass

    import torch
    from torch import nn

    from prunebench.models.kinds import NETWORKS

    drawn = []

    class Dropping(nn.Module):
        """Draws as modules from outside do: from torch's global generator."""

        def forward(self, x):
            if not self.training:
                return x
            drawn.append(nn.functional.dropout(torch.ones_like(x)))
            return x * drawn[-1]

    @dataclass(frozen=True)
    class Kind:
        def build(self, *, classes, in_channels, image_size):
            first = nn.Linear(in_channels * image_size**2, 12)
            return nn.Sequential(nn.Flatten(), first, nn.ReLU(), Dropping(), nn.Linear(12, classes))

    monkeypatch.setitem(NETWORKS, "dropping", Kind)
    return drawn
