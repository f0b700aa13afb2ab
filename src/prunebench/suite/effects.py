"""Effects of the ledger, and how sure its verdicts are, in a line of text."""

from prunebench.suite import numbers
from prunebench.suite.claim import POWER
from prunebench.suite.record import Finding, Headline, Network


def number(value: float | None, unit: str) -> str:
    """A raw value (share, logarithm of a ratio, ...) alone, as readers see it; n/a where there is none."""
    shown = numbers.in_unit(value, unit)
    return numbers.text(shown, numbers.decimals([shown], []), unit in numbers.SIGNED)


def exact(value: float, unit: str) -> str:
    """A raw value that somebody chose, with the digits that it has and its unit, such as `+0.5 points`."""
    shown = numbers.in_unit(value, unit)
    return numbers.with_unit(numbers.minus(f"{shown:{'+' if unit in numbers.SIGNED else ''}.6g}"), unit)


def effect(headline: Headline | None) -> str:
    """Mean with its interval and unit, such as `+1.2 [−0.3, +2.7] points`; n/a where nothing was measured."""
    if headline is None or headline.mean is None:
        return numbers.NONE
    summary, unit = headline.model_dump(), headline.unit
    shown = numbers.estimate(summary, unit, numbers.digits_of([summary], unit))
    return numbers.with_unit(" ".join(text for text in (shown["mean"], shown["interval"]) if text), unit)


def where(headline: Headline) -> str:
    """What a headline is of: its cell, or the mean over cells and how far these reach, and how many values."""
    unit = headline.unit
    digits = numbers.digits_of([headline.model_dump()], unit)
    least, most = (
        numbers.text(numbers.in_unit(mean, unit), digits, unit in numbers.SIGNED)
        for mean in (headline.lowest, headline.highest)
    )
    reach = "" if headline.lowest == headline.highest else f" from {least} to {most}"
    return f"{headline.cell}{reach}, n = {headline.n}"


def chance(value: float | None) -> str:
    """A share of simulated cases, or n/a."""
    return numbers.NONE if value is None else numbers.share(value)


def firmness(finding: Finding) -> str:
    """How likely a repeat finds the same, in a sentence; empty where that is not known."""
    if finding.stability is None:
        return ""
    opposite = f", {chance(finding.opposite)} the opposite one" if finding.opposite is not None else ""
    repeats = f"Of repeats with {finding.repeated} other {finding.replicates}"
    return f"{repeats}, {chance(finding.stability)} give the same verdict{opposite}."


def power(share: float, needed: int | None, n: int, replicates: str) -> str:
    """How likely n seeds (`replicates`) find the claimed effect, and how many do with `POWER`, in a sentence."""
    return (
        f"If the claimed effect is there, {n} {replicates} find it in {chance(share)} of runs with this spread; "
        f"{100 * POWER:.0f} % takes {needed or 'more than 100'}."
    )


def power_of(finding: Finding) -> str:
    """The same of a finding; empty where it is not known."""
    if finding.power is None:
        return ""
    return power(finding.power, finding.power_seeds, finding.repeated, finding.replicates)


def networks(finding: Finding) -> list[str]:
    """What a claim's networks reach without pruning, such as `resnet8 76.1 % (80.2 % after 32 epochs, cosine)`."""
    return [f"{network.task} {_share(network.accuracy)}{_longer(network)}" for network in finding.networks]


def _longer(network: Network) -> str:
    longer = network.longer
    return f" ({_share(longer.accuracy)} after {longer.epochs} epochs, {longer.schedule})" if longer else ""


def _share(accuracy: float | None) -> str:
    return numbers.with_unit(numbers.text(numbers.in_unit(accuracy, "share"), 1), "share")
