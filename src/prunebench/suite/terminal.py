"""The ledger as text: on a terminal, and as a Markdown table."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunebench.errors import printable
from prunebench.suite import effects
from prunebench.suite.effects import chance, effect, where
from prunebench.suite.ledger import summary
from prunebench.suite.record import Finding, Ledger

SIGNS = {"reproduced": "✓", "not reproduced": "✗", "inconclusive": "?", "not run at this scale": "–"}


def print_ledger(ledger: Ledger, console: Console) -> None:
    """Each claim with its verdict, what was measured and why; words and signs, so that no colour is needed."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in ledger.findings:
        head = f"{SIGNS[finding.verdict]} {finding.id}"
        grid.add_row(
            Text(printable(head)), Text.assemble((printable(finding.shown), "bold"), f": {printable(finding.sentence)}")
        )
        grid.add_row("", Text(_details(finding)))
    console.print(grid)
    for line in ledger.missing:
        console.print(Text(printable(f"Missing: {line}")))
    console.print(Text(printable(summary(ledger))))


def _details(finding: Finding) -> str:
    lines = [finding.why]
    if finding.headline:
        lines.insert(0, measured(finding))
    if finding.seeds_note:
        lines.append(f"{finding.seeds_note[:1].upper()}{finding.seeds_note[1:]}.")
    if firm := effects.firmness(finding):
        lines.append(firm)
    if (power := effects.power_of(finding)) and power not in finding.why:
        lines.append(power)
    if networks := effects.networks(finding):
        lines.append(f"Without pruning: {', '.join(networks)}.")
    return "\n".join(map(printable, [*lines, f"Published: {finding.published}", ""]))


def measured(finding: Finding) -> str:
    """The effect that stands for a claim with what it is and where, or why there is none."""
    headline = finding.headline
    return f"{effect(headline)}: {headline.meaning} ({where(headline)})" if headline else finding.why


def markdown(ledger: Ledger) -> str:
    """A Markdown table, one row per claim."""
    lines = [
        "| | claim | verdict | a repeat agrees | power | measured, mean [95 % interval] | published |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for finding in ledger.findings:
        verdict = f"{SIGNS[finding.verdict]} {finding.shown}"
        sure = (chance(finding.stability), chance(finding.power))
        cells = (finding.id, finding.sentence, verdict, *sure, measured(finding), finding.published)
        lines.append(f"| {' | '.join(printable(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"
