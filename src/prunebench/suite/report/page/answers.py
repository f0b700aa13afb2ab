"""The answer in words: what of each paper holds, what does not, how sure that is, and at which scale."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunebench.suite.effects import chance
from prunebench.suite.record import Finding, Ledger

View = dict[str, Any]
"""What the template shows, by name."""

_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def answers(ledger: Ledger, names: Mapping[str, str]) -> list[View]:
    """A paper each that has findings, as `names` has them (its short title by key).

    total, open, undecidable, unrun: how many claims, in words. holds, fails: those decided, each with its id, sentence
    and what qualifies the verdict. sure: how likely repeats agree. scales: those of what was measured.
    """
    found = [(key, [each for each in ledger.findings if each.paper == key]) for key in names]
    return [_answer(key, names[key], findings, len(ledger.seeds)) for key, findings in found if findings]


def _answer(key: str, name: str, findings: Sequence[Finding], seeds: int) -> View:
    decided = [each for each in findings if each.verdict in ("reproduced", "not reproduced")]
    still = [each for each in findings if each.verdict == "inconclusive"]
    measured = [each for each in findings if each.verdict != "not run at this scale"]
    return {
        "key": key,
        "name": name,
        "total": in_words(len(findings)),
        "holds": [_claim(each) for each in decided if each.verdict == "reproduced"],
        "fails": [_claim(each) for each in decided if each.verdict == "not reproduced"],
        "open": [_claim(each) for each in still],
        "undecidable": sum(each.shown.startswith("cannot be decided") for each in still),
        "unrun": [_claim(each) for each in findings if each not in measured],
        "sure": _sure(decided),
        "scales": list(dict.fromkeys(each.scale for each in measured)),
        "seeds": seeds,
    }


def _claim(finding: Finding) -> View:
    """A decided claim: its sentence without the full stop, and what stands in its verdict beside the word."""
    qualified = finding.shown.removeprefix(finding.verdict).strip(", ").strip("()").replace(" (", ", ")
    return {"id": finding.id, "sentence": finding.sentence.rstrip("."), "qualified": qualified}


def _sure(decided: Sequence[Finding]) -> str:
    """How likely a repeat agrees with what is decided: a share, or the least and the greatest."""
    shares = sorted(each.stability for each in decided if each.stability is not None)
    return " to ".join(dict.fromkeys(chance(share) for share in (shares[0], shares[-1]))) if shares else ""


def in_words(count: int) -> str:
    """A small number as a word."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)
