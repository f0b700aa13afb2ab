"""The ledger as text: on a terminal, and as a Markdown table."""

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunebench.errors import InputError, nearest, printable
from prunebench.suite import effects, numbers
from prunebench.suite.effects import chance, effect, where
from prunebench.suite.ledger import summary
from prunebench.suite.record import Cell, Effects, Finding, Ledger

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


def finding_of(ledger: Ledger, claim: str) -> Finding:
    """A claim of a ledger; InputError with the nearest one where it is not there."""
    found = {finding.id: finding for finding in ledger.findings}
    if claim not in found:
        raise InputError(f"no claim '{claim}' in {ledger.preset}: {nearest(claim, found)}")
    return found[claim]


def print_finding(finding: Finding, console: Console) -> None:
    """One claim in full: what the ledger says of it, its rule, what it asks, and the effect in every cell."""
    head = Text.assemble(f"{SIGNS[finding.verdict]} ", (printable(f"{finding.id} {finding.shown}"), "bold"))
    console.print(head)
    for line in _in_full(finding):
        console.print(Text(printable(line)))
    for quantity in finding.quantities:
        console.print(Text(printable(f"\n{quantity.name}: {quantity.meaning}{'' if quantity.decides else _NOT}")))
        console.print(_cells(quantity))


_NOT = " (decides nothing)"


def _in_full(finding: Finding) -> Iterator[str]:
    yield f"{finding.sentence} {finding.mark}".strip()
    yield from _details(finding).rstrip().split("\n")
    yield f"Rule: {finding.rule}"
    for what, asked in (("Reproduced", finding.conditions.reproduced), ("Refuted", finding.conditions.refuted)):
        for condition, holds in asked.items():
            yield f"{what} where {condition}: {'yes' if holds else 'no'}"
    for kind, names in (("Tables", finding.tables), ("Figures", finding.figures), ("Notes", finding.notes)):
        if names:
            yield f"{kind}: {', '.join(names)}"


def _cells(quantity: Effects) -> Table:
    unit = quantity.unit
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for name in ("cell", "n", "mean", f"{100 * quantity.confidence:.4g} % interval", "p (Holm)"):
        table.add_column(name, overflow="fold", justify="left" if name == "cell" else "right")
    for each in [*quantity.cells, *([quantity.pooled] if quantity.pooled else [])]:
        shown = numbers.estimate(each.model_dump(), unit, numbers.digits_of([each.model_dump()], unit))
        p = numbers.p_value(each.p_holm) if isinstance(each, Cell) and each.p_holm is not None else ""
        cell = printable(each.cell if isinstance(each, Cell) else "mean over cells")
        table.add_row(Text(cell), str(each.n), numbers.with_unit(shown["mean"], unit), Text(shown["interval"]), p)
    return table


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
